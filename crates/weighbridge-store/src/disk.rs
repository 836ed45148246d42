//! The few operations of a file system by which a model comes to be in a folder.
//!
//! Every change goes through [`Disk`], so that a test can put a disk in its place that forgets whatever was not synced. Paths
//! are relative to the folder, with `/` between names. No link is followed on the way to a file.

use std::{fmt, fs::File, io, ops::Range, path::Path, sync::Arc};

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use elsewhere::{Folder, extents, links_to};
#[cfg(unix)]
pub(crate) use unix::{Folder, extents, links_to};

use crate::{Stamp, io::open_to_read};

/// A folder in which files are made, moved and removed.
///
/// A change outlasts a power cut only if it was synced: bytes and lengths by [`DiskFile::sync`], names by
/// [`sync_folder`](Self::sync_folder), and both by [`sync_all`](Self::sync_all).
pub trait Disk: fmt::Debug + Send + Sync {
    /// The kind of what has this name; `None` if nothing has.
    ///
    /// # Errors
    /// The error of the operating system, also if something above the name is no folder.
    fn look(&self, path: &str) -> io::Result<Option<FileKind>>;

    /// The stamp of what has this name, with no link followed; `None` if nothing has. It has no identity if the system has none.
    ///
    /// # Errors
    /// The error of the operating system.
    fn stamp(&self, path: &str) -> io::Result<Option<Stamp>>;

    /// Opens what has this name for reading: never a link, and without waiting, as opening a FIFO would.
    ///
    /// # Errors
    /// The error of the operating system.
    fn read(&self, path: &str) -> io::Result<File>;

    /// Opens a file for reading and writing: never a link, and without waiting.
    ///
    /// # Errors
    /// The error of the operating system.
    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>>;

    /// Makes the bytes of a file durable that other processes may have written; not its name.
    ///
    /// # Errors
    /// The error of the operating system.
    fn sync_file(&self, path: &str) -> io::Result<()>;

    /// Makes a folder in one that is there.
    ///
    /// # Errors
    /// The error of the operating system.
    fn make_folder(&self, path: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it.
    ///
    /// # Errors
    /// The error of the operating system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file a second name, which nothing may have.
    ///
    /// # Errors
    /// The error of the operating system, also if the file system has no second names.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes a symbolic link, under a name that nothing may have. Its target is not looked at.
    ///
    /// # Errors
    /// The error of the operating system; of the kind `Unsupported` where links need a right of their own.
    fn symlink(&self, target: &str, path: &str) -> io::Result<()>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// The error of the operating system, also if there is no link; of the kind `InvalidData` for a target that is not UTF-8.
    fn read_link(&self, path: &str) -> io::Result<String>;

    /// Removes a name that is no folder's. Of a link, the link is removed and not its target.
    ///
    /// # Errors
    /// The error of the operating system.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a folder that is empty.
    ///
    /// # Errors
    /// The error of the operating system.
    fn remove_folder(&self, path: &str) -> io::Result<()>;

    /// The names in a folder, in no order. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// The error of the operating system.
    fn names(&self, path: &str) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The error of the operating system.
    fn sync_folder(&self, path: &str) -> io::Result<()>;

    /// Makes all bytes and names durable that were written before the call. `false` if the system has no such call.
    ///
    /// # Errors
    /// The error of the operating system.
    ///
    /// # Cost
    /// Writes the whole file system to its device, with whatever other processes have written.
    fn sync_all(&self) -> io::Result<bool>;

    /// The folder itself, to be locked.
    ///
    /// # Errors
    /// The error of the operating system; of the kind `Unsupported` where folders cannot be locked.
    fn lockable(&self, path: &str) -> io::Result<File>;
}

/// An open file that is written.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// The file, for reading.
    fn file(&self) -> &File;

    /// Cuts the file, or makes it longer by a hole.
    ///
    /// # Errors
    /// The error of the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The error of the operating system.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable; not its name.
    ///
    /// # Errors
    /// The error of the operating system.
    fn sync(&self) -> io::Result<()>;
}

impl DiskFile for File {
    fn file(&self) -> &File {
        self
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        elsewhere::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Writes a file from its beginning on.
#[derive(Debug)]
pub struct SequentialWriter {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl SequentialWriter {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, at: 0 }
    }
}

impl io::Write for SequentialWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The mode in which a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It has to be there.
    Old,
    /// It must not be there.
    New,
    /// It is made if it is not there.
    Any,
}

/// The kind of file under a name. Folders, links and devices are files too, as for operating systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Special,
}

impl FileKind {
    pub(crate) fn of(found: &std::fs::Metadata) -> Self {
        if found.is_symlink() {
            Self::Link
        } else if found.is_dir() {
            Self::Folder
        } else if found.is_file() {
            Self::File
        } else {
            Self::Special
        }
    }

    /// For people.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Special => "a FIFO, socket or device",
        }
    }
}

/// From this number of files or folders on, one sync of the whole file system takes the place of one for each.
pub(crate) const MANY: usize = 24;

/// Adds a part that may hold data. A file in very many parts is told as fewer, longer ones.
fn add_extent(extents: &mut Vec<Range<u64>>, part: Range<u64>) {
    let is_full = extents.len() >= MAX_EXTENTS;
    match extents.last_mut() {
        Some(last) if last.end >= part.start || is_full => last.end = part.end,
        _ => extents.push(part),
    }
}

/// 1 MiB of memory.
const MAX_EXTENTS: usize = 65_536;

/// Makes a folder, and those above it that are not there, so that they outlast a power cut.
fn make_root(root: &Path) -> io::Result<()> {
    let missing: Vec<_> = root.ancestors().take_while(|folder| !names_something(folder)).collect();
    for folder in missing.iter().rev() {
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    // One that is there may have been made a moment ago, by a process that was then killed.
    for folder in missing.iter().copied().chain([root]) {
        sync_parent(folder)?;
    }
    Ok(())
}

/// Syncs the folder above. The right to make a folder does not bring the right to open the folder above it.
fn sync_parent(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match open_to_read(parent).and_then(|parent| settled(parent.sync_all())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Whether a path leads to anything. The empty path is the current folder.
fn names_something(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.symlink_metadata().is_ok()
}

/// Takes the error of a file system that cannot sync a folder for success: it has nothing to sync.
fn settled(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}

/// Advice for an error of the file system that is fetched into; `None` for errors that are no fault of it.
///
/// # Example
/// ```
/// use std::io::ErrorKind::{InvalidData, StorageFull};
/// use weighbridge_store::hint;
///
/// assert!(hint(&StorageFull.into()).is_some_and(|advice| advice.starts_with("make room")));
/// assert_eq!(hint(&InvalidData.into()), None);
/// ```
#[must_use]
pub fn hint(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind::{
        FileTooLarge, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StaleNetworkFileHandle,
        StorageFull,
    };
    Some(match error.kind() {
        StorageFull => "make room on this file system and fetch again: what is there already is used",
        QuotaExceeded => {
            "your quota there is used up: make room, or have it raised, and fetch again; what is there \
                          already is used"
        }
        ReadOnlyFilesystem => {
            "the file system is mounted read-only, or became so after a fault of the disk: see the \
                               system's log, or fetch to another place"
        }
        NotFound => {
            "the folder was removed or unmounted meanwhile: bring it back and fetch again; what is still \
                     there is used"
        }
        StaleNetworkFileHandle => {
            "the network file system was exported anew: mount it again and fetch again; what \
                                   is there already is used"
        }
        PermissionDenied => "the folder and everything in `weighbridge` have to be yours to read and write",
        FileTooLarge => {
            "this file system, or a limit of your system, does not allow a file as long as that: fetch \
                         to another place"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
