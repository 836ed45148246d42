//! A folder of a POSIX system. Each path is gone along from the folder itself, name by name, so that a link is never
//! followed, even one that is put in the way at that moment.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
use rustix::fs::{SeekFrom, seek};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::{Disk, DiskFile, Identity, Kind, Opening, Stamp, make_root, settled};

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Opens the folder, which is made if it is not there. It may be a link itself: the caller chose it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        Self::at(root)
    }

    /// As [`open`](Self::open), for one that is there.
    pub(crate) fn at(root: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(root, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?))
    }

    /// A folder below this one; itself, for the empty path.
    fn below(&self, path: &str) -> io::Result<OwnedFd> {
        let mut folder = self.0.try_clone()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder = openat(&folder, name, FOLDER, Mode::empty())?;
        }
        Ok(folder)
    }

    /// The folder in which a path ends, and its last name.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.below(folder)?, name))
    }
}

impl Disk for Folder {
    fn look(&self, path: &str) -> io::Result<Option<Kind>> {
        let found = self.parent(path).and_then(|(folder, name)| {
            statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
        });
        match found {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                FileType::Symlink => Kind::Link,
                _ => Kind::Special,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        Ok(openat(folder, name, FILE | OFlags::RDONLY, Mode::empty())?.into())
    }

    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>> {
        let (folder, name) = self.parent(path)?;
        let how = match opening {
            Opening::Old => OFlags::empty(),
            Opening::New => OFlags::CREATE | OFlags::EXCL,
            Opening::Any => OFlags::CREATE,
        };
        // Others may read it as far as the umask lets them, like any file.
        let file = openat(folder, name, FILE | OFlags::RDWR | how, Mode::from_raw_mode(0o666))?;
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

    fn lockable(&self, path: &str) -> io::Result<File> {
        Ok(self.below(path)?.into())
    }
}

/// Neither waited for, nor made the process's terminal, nor left open in programs that it starts.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens whatever a path leads to for reading. Links are followed, nothing is waited for.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

#[allow(clippy::unnecessary_wraps, reason = "not every system tells")]
pub(crate) fn identity_of(metadata: &fs::Metadata) -> Option<Identity> {
    Some((metadata.dev(), metadata.ino()))
}

#[allow(clippy::unnecessary_wraps, reason = "not every system tells")]
pub(crate) fn stamp_of(metadata: &fs::Metadata) -> Option<Stamp> {
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Some(((metadata.dev(), metadata.ino()), metadata.len(), changed))
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
        at = end.max(at + 1);
    }
    Ok(extents)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd")))]
pub(crate) fn extents(_: &File, len: u64) -> io::Result<Vec<Range<u64>>> {
    Ok(std::iter::once(0..len).filter(|all| !all.is_empty()).collect())
}
