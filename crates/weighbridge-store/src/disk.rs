//! The few operations of a file system by which a model comes to be in a folder.
//!
//! Whatever alters something goes through [`Disk`], so that a test can put one in its place that forgets what was not
//! synced. Paths are relative to the folder, with `/` between names; on the way to a file no link is followed.

use std::{fmt, fs::File, io, ops::Range, path::Path};

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use elsewhere::{Folder, extents, identity_of, links_to, open_to_read, stamp_of};
#[cfg(unix)]
pub(crate) use unix::{Folder, extents, identity_of, links_to, open_to_read, stamp_of};

/// A folder in which files are made, moved and removed.
///
/// What was done is there after a power cut only if it was synced: bytes and lengths by [`DiskFile::sync`], names by
/// [`sync_folder`](Self::sync_folder).
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// What has this name, if anything has.
    fn look(&self, path: &str) -> io::Result<Option<Kind>>;

    /// Opens what is there for reading: never a link, and nothing is waited for.
    fn read(&self, path: &str) -> io::Result<File>;

    /// Opens a file for reading and writing: never a link, and nothing is waited for.
    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>>;

    /// Makes the bytes of a file durable that others may have written; not its name.
    fn sync_file(&self, path: &str) -> io::Result<()>;

    /// Makes a folder in one that is there.
    fn make_folder(&self, path: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name that is no folder's. A link is removed, not what it leads to.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a folder that is empty.
    fn remove_folder(&self, path: &str) -> io::Result<()>;

    /// The names in a folder, in no order; those that are not UTF-8 are left out.
    fn names(&self, path: &str) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &str) -> io::Result<()>;

    /// The folder itself, to be locked.
    fn lockable(&self, path: &str) -> io::Result<File>;
}

/// An open file that is written.
pub(crate) trait DiskFile: fmt::Debug + Send + Sync {
    /// The file, for reading.
    fn file(&self) -> &File;

    /// Cuts it, or makes it longer by a hole.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes its bytes and its length durable; not its name.
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

/// How a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It has to be there.
    Old,
    /// It must not be there.
    New,
    /// It is made if it is not there.
    Any,
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Special,
}

impl Kind {
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

/// What a file is, whatever its name: device and inode.
pub(crate) type Identity = (u64, u64);

/// What a file is, how long, and when it was last changed (seconds and nanoseconds, by the clock of the file system): the
/// same only if nobody has written to it since.
pub(crate) type Stamp = (Identity, u64, (i64, i64));

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

/// Whoever may make a folder need not be allowed to open the one above it.
fn sync_parent(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match open_to_read(parent).and_then(|parent| settled(parent.sync_all())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The empty path is the folder that we are in.
fn names_something(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.symlink_metadata().is_ok()
}

/// Some file systems cannot sync a folder, and say so: they have nothing to sync.
fn settled(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}

/// What a person can do about an error of the file system that is fetched into, if it is one of those that come from
/// there and not from us.
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
