//! Errors of the operating system with the file concerned, bounded reads, and reads at an offset.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use weighbridge_manifest::shown_beginning;
use weighbridge_verify::PAGE;

use weighbridge_tree::{Coded, ErrorCode};
#[cfg(unix)]
use {rustix::fs::OFlags, std::os::unix::fs::OpenOptionsExt};

/// An error of the operating system, with the operation and the file or folder concerned.
#[derive(Debug)]
pub struct IoError {
    /// The verb of the message, as in "cannot read".
    pub doing: &'static str,
    /// The file or folder of the operation.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

impl IoError {
    /// Builds the closure for `map_err`.
    ///
    /// # Example
    /// ```
    /// use weighbridge_store::IoError;
    ///
    /// let path = "no/such/file";
    /// let error = std::fs::read(path).map_err(IoError::at("read", path)).unwrap_err();
    /// assert!(error.to_string().starts_with("cannot read no/such/file: "));
    /// ```
    pub fn at(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.as_ref().to_owned(), source }
    }

    /// Copies the error for a second report. `io::Error` is not `Clone`.
    pub(crate) fn again(&self) -> Self {
        Self { doing: self.doing, path: self.path.clone(), source: same(&self.source) }
    }
}

/// The same error of the operating system once more.
pub(crate) fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

impl Coded for IoError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::IO
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, shown_path(&self.path), self.source)
    }
}

impl std::error::Error for IoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Formats a path of this machine for people, as [`weighbridge_manifest::shown`] does; bytes that are not UTF-8
/// become `\x..`, and of a long path only the beginning is shown.
///
/// File names and link targets come with a model, so they are hostile input; shell patterns pass them on as
/// arguments.
///
/// # Example
/// ```
/// use weighbridge_store::shown_path;
///
/// assert_eq!(shown_path("models/tiny/model.bin"), "models/tiny/model.bin");
/// // A terminal that printed this name as it is would clear its screen.
/// assert_eq!(shown_path("model\u{1b}[2J.bin"), r"model\u{1b}[2J.bin");
/// ```
#[must_use]
pub fn shown_path(path: impl AsRef<Path>) -> String {
    let mut shown = String::new();
    let mut left = MAX_SHOWN;
    for chunk in path.as_ref().as_os_str().as_encoded_bytes().utf8_chunks() {
        shown.push_str(&shown_beginning(chunk.valid(), left));
        let Some(rest) = left.checked_sub(chunk.valid().chars().count()) else { break };
        left = rest;
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// The maximum number of characters shown of a path.
const MAX_SHOWN: usize = 300;

/// Reads a regular file of at most `limit` bytes. Anything but a regular file is refused without waiting.
///
/// # Errors
/// [`IoError`] if the file cannot be read, is no regular file, or is longer than `limit` (of the kind
/// [`io::ErrorKind::FileTooLarge`]).
///
/// # Cost
/// At most `limit` bytes of memory and one byte more, whatever length the file claims.
///
/// # Example
/// ```
/// use std::io::ErrorKind::{FileTooLarge, InvalidInput};
/// use weighbridge_store::read_bounded;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("config.json");
/// std::fs::write(&path, "{}")?;
///
/// assert_eq!(read_bounded(&path, 2)?, b"{}");
/// assert_eq!(read_bounded(&path, 1).unwrap_err().source.kind(), FileTooLarge);
/// # #[cfg(unix)]
/// assert_eq!(read_bounded(folder.path(), 2).unwrap_err().source.kind(), InvalidInput, "no regular file");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, IoError> {
    let (bytes, length) = read_beginning(path, limit)?;
    if length <= limit {
        return Ok(bytes);
    }
    let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
    Err(IoError::at("read", path)(error))
}

/// Reads at most `limit` bytes of a regular file and one more; returns them and the file's length.
pub(crate) fn read_beginning(path: &Path, limit: u64) -> Result<(Vec<u8>, u64), IoError> {
    let (file, length) = open_regular(path)?;
    let mut bytes = Vec::new();
    if length <= limit {
        // Reserve the whole length, so that growing does not copy the bytes.
        let room = bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX));
        room.map_err(|_| IoError::at("read", path)(io::ErrorKind::OutOfMemory.into()))?;
    }
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(IoError::at("read", path))?;
    let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok((bytes, if read > limit { length.max(read) } else { read }))
}

/// Opens a regular file; returns it and its length. A folder that came with a model can hold anything, such as a
/// FIFO; opening one would wait for a writer, so it is refused instead.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), IoError> {
    let file = open_to_read(path).map_err(IoError::at("open", path))?;
    let metadata = file.metadata().map_err(IoError::at("look at", path))?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(IoError::at("read", path)(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
    }
}

/// Whether the file no longer exists under its name, including when another kind of file has taken its name or the
/// name of a folder above it.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

/// Opens what a path leads to for reading, and never waits for it, as opening a FIFO would. Links are followed.
///
/// # Errors
/// The error of the operating system.
///
/// # Example
/// ```
/// use weighbridge_store::open_to_read;
/// # let folder = weighbridge_testkit::Folder::new();
/// # #[cfg(unix)]
/// # folder.fifo("model.bin");
///
/// // Here `model.bin` is a FIFO to which nobody writes: `File::open` would wait for ever.
/// # #[cfg(unix)]
/// let file = open_to_read(&folder.at("model.bin"))?;
/// # #[cfg(unix)]
/// assert!(!file.metadata()?.is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_to_read(path: &Path) -> io::Result<File> {
    options().open(path)
}

/// Like [`open_to_read`], but a link is an error.
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

/// Opening never blocks, and never makes the file the process's controlling terminal.
#[cfg(unix)]
fn flags(more: OFlags) -> i32 {
    (OFlags::NONBLOCK | OFlags::NOCTTY | more).bits().cast_signed()
}

/// Fills `buffer` from `offset` on, without moving the file position, which other threads share.
///
/// A large buffer has to be a [`PageBuffer`](weighbridge_verify::PageBuffer), from its first byte on.
///
/// # Errors
/// The error of the operating system; [`io::ErrorKind::UnexpectedEof`] if the file ends first. The buffer may then be
/// partly filled.
///
/// # Example
/// ```
/// use std::io::ErrorKind::UnexpectedEof;
/// use weighbridge_store::{open_to_read, read_exact_at, verify::PageBuffer};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.bin");
/// # std::fs::write(&path, [[1; 4_096], [2; 4_096]].concat())?;
///
/// // 4,096 bytes of 1 and 4,096 of 2.
/// let file = open_to_read(&path)?;
/// let mut buffer = PageBuffer::zeroed(4_096);
/// read_exact_at(&file, &mut buffer, 4_096)?;
/// assert!(buffer.iter().all(|byte| *byte == 2));
/// assert_eq!(read_exact_at(&file, &mut buffer, 4_097).unwrap_err().kind(), UnexpectedEof);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    debug_assert!(is_placed(buffer), "{} bytes that begin within a page", buffer.len());
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

/// Reads at most `buffer.len()` bytes from `offset` on, and returns the number read. Otherwise like
/// [`read_exact_at`].
///
/// # Errors
/// The error of the operating system.
///
/// # Example
/// ```
/// use weighbridge_store::{open_to_read, read_some_at};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.bin");
/// # std::fs::write(&path, "weights")?;
///
/// let file = open_to_read(&path)?;
/// let mut buffer = [0; 16];
/// assert_eq!(read_some_at(&file, &mut buffer, 3)?, 4);
/// assert_eq!(&buffer[..4], b"ghts");
/// assert_eq!(read_some_at(&file, &mut buffer, 7)?, 0, "the file ends there");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_some_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    debug_assert!(is_placed(buffer), "{} bytes that begin within a page", buffer.len());
    loop {
        match read_at(file, buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Whether the buffer begins on a page, so that the system copies into it at full speed, or is too short for that to
/// matter.
pub(crate) fn is_placed(buffer: &[u8]) -> bool {
    buffer.len() < LARGE || buffer.as_ptr().align_offset(PAGE) == 0
}

/// Shorter reads cost about as much as the system call itself.
const LARGE: usize = 64 << 10;

/// Whether the file has a byte at `offset`.
pub(crate) fn has_byte_at(file: &File, offset: u64) -> io::Result<bool> {
    match read_exact_at(file, &mut [0], offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
/// How many files and connections the process may have open; `None` if the system sets no limit that can be asked for.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current
    }
    #[cfg(not(unix))]
    None
}
