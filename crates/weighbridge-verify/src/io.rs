//! Errors of the operating system with the place where they happened, and positioned reads.

use std::{
    borrow::ToOwned,
    fmt,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

#[cfg(unix)]
use {rustix::fs::OFlags, std::os::unix::fs::OpenOptionsExt};

/// An error of the operating system: what was being done, and where.
#[derive(Debug)]
pub struct IoError {
    /// What was being done, as in "cannot read".
    pub doing: &'static str,
    /// To which file or folder.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

impl IoError {
    /// For `map_err`.
    pub fn at(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.as_ref().to_owned(), source }
    }

    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        9002
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.path.display(), self.source)
    }
}

impl std::error::Error for IoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Opens a file for reading, and never waits for it, as opening a FIFO would.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    options().open(path)
}

/// As [`open`], but a link is an error.
pub(crate) fn open_no_link(path: &Path) -> io::Result<File> {
    let mut options = options();
    #[cfg(unix)]
    OpenOptionsExt::custom_flags(&mut options, flags(OFlags::NOFOLLOW));
    options.open(path)
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    OpenOptionsExt::custom_flags(&mut options, flags(OFlags::empty()));
    options
}

/// Nothing that is opened here is waited for, or becomes the process's terminal.
#[cfg(unix)]
fn flags(more: OFlags) -> i32 {
    (OFlags::NONBLOCK | OFlags::NOCTTY | more).bits().cast_signed()
}

/// Fills `buffer` from `offset` on, without moving a file position that other threads share.
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match read_at(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = buffer.get_mut(read..).unwrap_or_default();
                offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
