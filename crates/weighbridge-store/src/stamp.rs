//! Whether a file is still the one that was looked at: the one rule for what counts as changed.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// The identity of a file, whatever its name: device and inode.
pub(crate) type Identity = (u64, u64);

/// The state of a file at one moment: which file it was, of which kind, how long, and when it was last changed.
///
/// # Guarantee
/// Two equal stamps of one path mean that nobody has written to the file in between, renamed it, or put another file in its place,
/// as far as the clock of the file system tells two moments apart. The times are those of the last write and of the last change
/// of any kind (`ctime`), which no program can set. Where files have no identity (outside POSIX), it is the time of the last write, which any program
/// can set, and another file of the same length and time counts as the same.
///
/// # Non-guarantee
/// A write through a memory mapping may show later, or never while the mapping lives. A new hard link, or other rights, count as a
/// change although the bytes are the same.
///
/// # Example
/// ```
/// use std::fs::{self, File};
/// use weighbridge_store::Stamp;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.bin");
/// # fs::write(&path, "weights")?;
///
/// let stamp = Stamp::of(&File::open(&path)?)?;
/// assert!(stamp.is_of(&path));
/// fs::write(&path, "other weights")?;
/// assert!(!stamp.is_of(&path));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    is_file: bool,
    size: u64,
    identity: Option<Identity>,
    changed: Changed,
}

impl Stamp {
    /// The stamp of an open file.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::of_metadata(&file.metadata()?))
    }

    pub(crate) fn of_metadata(metadata: &fs::Metadata) -> Self {
        Self {
            is_file: metadata.is_file(),
            size: metadata.len(),
            identity: identity_of(metadata),
            changed: last_change(metadata),
        }
    }

    #[cfg(unix)]
    #[allow(
        clippy::useless_conversion,
        clippy::allow_attributes,
        reason = "systems have different types for these numbers"
    )]
    pub(crate) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        let number = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let nanos = |nanos| i64::try_from(nanos).unwrap_or(i64::MAX);
        Self {
            is_file: rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            identity: Some((number(stat.st_dev), stat.st_ino.into())),
            changed: [(stat.st_mtime, nanos(stat.st_mtime_nsec)), (stat.st_ctime, nanos(stat.st_ctime_nsec))],
        }
    }

    /// Which file it was, whatever its name.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether the file at this path is still the same, with links followed.
    #[must_use]
    pub fn is_of(&self, file: &Path) -> bool {
        fs::metadata(file).is_ok_and(|now| Self::of_metadata(&now) == *self)
    }

    /// Whether it was a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// The length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the stamp tells the file from every other one.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.identity.is_some()
    }
}

#[cfg(unix)]
type Changed = [(i64, i64); 2];
#[cfg(not(unix))]
type Changed = Option<std::time::SystemTime>;

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "not every system tells")]
pub(crate) fn identity_of(metadata: &fs::Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(unix)]
fn last_change(metadata: &fs::Metadata) -> Changed {
    use std::os::unix::fs::MetadataExt as _;
    [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())]
}

/// Elsewhere an open file is not told from another one of its length. Its chunks are.
#[cfg(not(unix))]
pub(crate) fn identity_of(_: &fs::Metadata) -> Option<Identity> {
    None
}

#[cfg(not(unix))]
fn last_change(metadata: &fs::Metadata) -> Changed {
    metadata.modified().ok()
}
