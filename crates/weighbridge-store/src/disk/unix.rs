//! A folder of a POSIX system. Each path is resolved from the open folder, so that no link is followed, even one that is put
//! in the way at that moment.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    ops::Range,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
use rustix::fs::{SeekFrom, seek};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, openat, readlinkat, renameat,
        statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::{Disk, DiskFile, FileKind, Opening, make_root, settled};
use crate::{
    beneath::{self, FILE, FOLDER},
    scan::lock,
    stamp::Stamp,
};

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: Arc<OwnedFd>,
    /// The folders below that were opened last. Of many small files, most lie in few folders.
    recent: Mutex<VecDeque<Recent>>,
    /// Whether a sync of the whole file system failed. The system tells of each error once, and one of several threads.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    is_broken: Mutex<bool>,
}

#[derive(Debug)]
struct Recent {
    path: String,
    folder: Arc<OwnedFd>,
    since: Instant,
}

/// The maximum number of folders that stay open, and the time for which they do: a folder that another program moves
/// away is written to for as long.
const RECENT: usize = 4;
const RECENT_TIME: Duration = Duration::from_millis(200);

impl Folder {
    /// Opens the folder, which is made if it is not there. The folder itself may be a link: the caller chose it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        Self::at(root)
    }

    /// As [`open`](Self::open), but the folder is no link.
    pub(crate) fn open_no_link(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        Ok(Self::of(rustix::fs::open(root, FOLDER, Mode::empty())?))
    }

    /// As [`open`](Self::open), for a folder that is there.
    pub(crate) fn at(root: &Path) -> io::Result<Self> {
        Ok(Self::of(rustix::fs::open(root, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?))
    }

    fn of(root: OwnedFd) -> Self {
        Self {
            root: Arc::new(root),
            recent: Mutex::default(),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            is_broken: Mutex::default(),
        }
    }

    /// A folder below this one; this one, for the empty path.
    fn below(&self, path: &str) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(folder) = self.recent(path) {
            return Ok(folder);
        }
        // Without the lock: opening can take long, and other threads need other folders meanwhile.
        let folder = beneath::open(self.root.as_fd(), Path::new(path), FOLDER, Mode::empty())?;
        let folder = Arc::new(folder);
        let one = Recent { path: path.to_owned(), folder: Arc::clone(&folder), since: Instant::now() };
        let mut recent = lock(&self.recent);
        recent.retain(|other| other.path != path);
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(one);
        Ok(folder)
    }

    /// A folder that was opened a moment ago. A folder that was removed has no links; another one may have its name by now.
    fn recent(&self, path: &str) -> Option<Arc<OwnedFd>> {
        let folder = {
            let mut recent = lock(&self.recent);
            let at = recent.iter().position(|one| one.path == path && one.since.elapsed() < RECENT_TIME)?;
            let one = recent.remove(at)?;
            let folder = Arc::clone(&one.folder);
            recent.push_back(one);
            folder
        };
        // Without the lock, for which other threads would wait.
        fstat(&folder).is_ok_and(|stat| stat.st_nlink > 0).then_some(folder)
    }

    /// The folder in which a path ends, and its last name.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(Arc<OwnedFd>, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.below(folder)?, name))
    }

    /// Opens a file. The last name is no link, and neither is any folder above it.
    fn open_file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        // The umask decides who may read a new file, as for any file.
        Ok(openat(folder, name, FILE | flags, Mode::from_raw_mode(0o666))?.into())
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let found = self.parent(path).and_then(|(folder, name)| {
            statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
        });
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl FileKind {
    pub(crate) fn of_stat(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            _ => Self::Special,
        }
    }
}

impl Disk for Folder {
    fn look(&self, path: &str) -> io::Result<Option<FileKind>> {
        Ok(self.stat(path)?.map(|stat| FileKind::of_stat(&stat)))
    }

    fn stamp(&self, path: &str) -> io::Result<Option<Stamp>> {
        Ok(self.stat(path)?.map(|stat| Stamp::of_stat(&stat)))
    }

    fn read(&self, path: &str) -> io::Result<File> {
        self.open_file(path, OFlags::RDONLY)
    }

    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>> {
        let how = match opening {
            Opening::Old => OFlags::empty(),
            Opening::New => OFlags::CREATE | OFlags::EXCL,
            Opening::Any => OFlags::CREATE,
        };
        Ok(Box::new(self.open_file(path, OFlags::RDWR | how)?))
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        self.read(path)?.sync_data()
    }

    fn make_folder(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(mkdirat(folder, name, Mode::from_raw_mode(0o777))?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, old) = self.parent(from)?;
        let (to, new) = self.parent(to)?;
        Ok(renameat(from, old, to, new)?)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, old) = self.parent(from)?;
        let (to, new) = self.parent(to)?;
        Ok(linkat(from, old, to, new, AtFlags::empty())?)
    }

    fn symlink(&self, target: &str, path: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(symlinkat(target, folder, name)?)
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        let (folder, name) = self.parent(path)?;
        let target = readlinkat(folder, name, Vec::new())?;
        target.into_string().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(unlinkat(folder, name, AtFlags::empty())?)
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.below(path)?.as_fd())? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        settled(rustix::fs::fsync(self.below(path)?).map_err(io::Error::from))
    }

    /// The kernel tells of a write that failed since 5.8. Earlier ones tell whoever syncs the file itself.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sync_all(&self) -> io::Result<bool> {
        // One after the other: a thread whose bytes were lost learns it, whichever thread is told.
        let mut is_broken = lock(&self.is_broken);
        if *is_broken {
            return Err(io::Error::other("an earlier attempt failed, and what was written may be lost"));
        }
        if let Err(error) = rustix::fs::syncfs(&self.root) {
            *is_broken = true;
            return Err(error.into());
        }
        Ok(true)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn sync_all(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn lockable(&self, path: &str) -> io::Result<File> {
        // Opened anew: a lock is of the open file, which a copy of the handle would share.
        Ok(openat(self.below(path)?, ".", FOLDER, Mode::empty())?.into())
    }
}

/// The number of names of a file.
pub(crate) fn links_to(metadata: &fs::Metadata) -> u64 {
    metadata.nlink()
}

/// The parts of a file's first `len` bytes that may hold data: all of them, if the file system cannot tell.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
pub(crate) fn extents(file: &File, len: u64) -> io::Result<Vec<Range<u64>>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data behind this.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return Ok(std::iter::once(0..len).collect());
            }
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end,
            // It was cut meanwhile.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        if start >= len {
            break;
        }
        super::add_extent(&mut extents, start..end.min(len));
        at = end.max(at.saturating_add(1));
    }
    Ok(extents)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd")))]
pub(crate) fn extents(_: &File, len: u64) -> io::Result<Vec<Range<u64>>> {
    Ok(std::iter::once(0..len).filter(|all| !all.is_empty()).collect())
}
