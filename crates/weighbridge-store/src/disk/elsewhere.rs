//! A folder of a system without POSIX. A link is looked for before each step, not in the same moment.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::windows::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{Disk, DiskFile, FileKind, Opening, make_root};
use crate::stamp::Stamp;

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, which is made if it is not there.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        make_root(root)?;
        Self::at(root)
    }

    /// As [`open`](Self::open), but the folder is no link.
    pub(crate) fn open_no_link(root: &Path) -> io::Result<Self> {
        if root.is_symlink() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Self::open(root)
    }

    /// As [`open`](Self::open), for one that is there.
    pub(crate) fn at(root: &Path) -> io::Result<Self> {
        std::path::absolute(root).map(Self)
    }

    fn below(&self, path: &str) -> io::Result<PathBuf> {
        let mut place = self.0.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if place.is_symlink() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            // The system would cut these names, give them to a device, or find a stream by them.
            let stem = name.split('.').next().unwrap_or(name).trim_end();
            let is_reserved = RESERVED.iter().any(|reserved| stem.eq_ignore_ascii_case(reserved));
            if is_reserved || name.ends_with(['.', ' ']) || name.contains(['<', '>', ':', '"', '|', '?', '*'])
            {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            place.push(name);
        }
        Ok(place)
    }

    fn no_link(&self, path: &str) -> io::Result<PathBuf> {
        let place = self.below(path)?;
        if place.is_symlink() { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(place) }
    }
}

impl Disk for Folder {
    fn look(&self, path: &str) -> io::Result<Option<FileKind>> {
        match fs::symlink_metadata(self.below(path)?) {
            Ok(found) => Ok(Some(FileKind::of(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn stamp(&self, path: &str) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(self.below(path)?) {
            Ok(found) => Ok(Some(Stamp::of_metadata(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str) -> io::Result<File> {
        File::open(self.no_link(path)?)
    }

    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>> {
        let mut options = File::options();
        options.read(true).write(true);
        match opening {
            Opening::Old => &mut options,
            Opening::New => options.create_new(true),
            Opening::Any => options.create(true).truncate(false),
        };
        Ok(Box::new(options.open(self.no_link(path)?)?))
    }

    /// A file that is open for reading alone is not synced by the system.
    fn sync_file(&self, path: &str) -> io::Result<()> {
        File::options().read(true).write(true).open(self.no_link(path)?)?.sync_data()
    }

    fn make_folder(&self, path: &str) -> io::Result<()> {
        fs::create_dir(self.below(path)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.below(from)?, self.below(to)?)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.below(from)?, self.below(to)?)
    }

    /// Only administrators may make links, or who works on the system itself.
    fn symlink(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        let target = fs::read_link(self.below(path)?)?;
        target.into_os_string().into_string().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.below(path)?)
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.below(path)?)
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.below(path)?)?;
        entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    /// Names are durable as the file system pleases.
    fn sync_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// A folder cannot be locked: the caller goes on without a lock.
    fn lockable(&self, _: &str) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn links_to(_: &fs::Metadata) -> u64 {
    1
}

/// The file system is not asked.
pub(crate) fn extents(_: &File, len: u64) -> io::Result<Vec<Range<u64>>> {
    Ok(std::iter::once(0..len).filter(|all| !all.is_empty()).collect())
}
