//! A folder of a POSIX system. Each path is resolved from the open folder, so that no link is followed, even one that is put
//! in the way at that moment.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
use rustix::fs::{SeekFrom, seek};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, linkat, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::{Disk, DiskFile, Kind, Opening, make_root, settled};
use crate::{
    beneath::{self, FILE, FOLDER},
    stamp::Identity,
};

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// An open folder: the root itself, or one below it that is closed after use.
enum At<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for At<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => *root,
            Self::Below(folder) => folder.as_fd(),
        }
    }
}

impl Folder {
    /// Opens the folder, which is made if it is not there. The folder itself may be a link: the caller chose it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        Self::at(root)
    }

    /// As [`open`](Self::open), for a folder that is there.
    pub(crate) fn at(root: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(root, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?))
    }

    /// A folder below this one; this one, for the empty path.
    fn below(&self, path: &str) -> io::Result<At<'_>> {
        if path.is_empty() {
            return Ok(At::Root(self.0.as_fd()));
        }
        Ok(At::Below(beneath::open(self.0.as_fd(), Path::new(path), FOLDER, Mode::empty())?))
    }

    /// The folder in which a path ends, and its last name.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(At<'_>, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.below(folder)?, name))
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

impl Disk for Folder {
    fn look(&self, path: &str) -> io::Result<Option<Kind>> {
        Ok(self.stat(path)?.map(|stat| match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        }))
    }

    #[allow(clippy::useless_conversion, reason = "systems number devices and inodes by different types")]
    fn identity(&self, path: &str) -> io::Result<Option<Identity>> {
        let number = |device| u64::try_from(device).unwrap_or(u64::MAX);
        Ok(self.stat(path)?.map(|stat| (number(stat.st_dev), stat.st_ino.into())))
    }

    fn read(&self, path: &str) -> io::Result<File> {
        Ok(beneath::open(self.0.as_fd(), Path::new(path), FILE | OFlags::RDONLY, Mode::empty())?.into())
    }

    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>> {
        let how = match opening {
            Opening::Old => OFlags::empty(),
            Opening::New => OFlags::CREATE | OFlags::EXCL,
            Opening::Any => OFlags::CREATE,
        };
        // The umask decides who may read the file, as for any file.
        let mode = Mode::from_raw_mode(0o666);
        let file = beneath::open(self.0.as_fd(), Path::new(path), FILE | OFlags::RDWR | how, mode)?;
        Ok(Box::new(File::from(file)))
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
        rustix::fs::syncfs(&self.0)?;
        Ok(true)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn sync_all(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn lockable(&self, path: &str) -> io::Result<File> {
        Ok(match self.below(path)? {
            At::Below(folder) => folder.into(),
            // Opened anew: a lock is of the open file, which a copy of the handle would share.
            At::Root(root) => openat(root, ".", FOLDER, Mode::empty())?.into(),
        })
    }
}

/// How many names a file has.
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
