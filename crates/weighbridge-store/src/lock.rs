//! The one lock on the metadata folder of a model: whoever gives names in the folder holds it.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use weighbridge_manifest::{Time, shown};
use weighbridge_tree::{Coded, ErrorCode};

use crate::io::shown_path;

/// Held by one process at a time, for as long as it gives names in a model folder: a signer that puts metadata in its place,
/// or a fetch that names files and then metadata. Dropping it lets the next one in.
///
/// # Guarantee
/// Of two processes that hold one, for the same folder, the second began after the first had ended, or had died: the system
/// frees the lock of a process that is killed.
///
/// # Non-guarantee
/// It is held against others that ask for it, not against those who write to the folder without. Where a file system has no
/// locks, and outside POSIX, everybody gets one at once.
#[derive(Debug)]
pub struct FolderLock {
    /// The metadata folder. `None` where there are no locks.
    folder: Option<File>,
}

impl FolderLock {
    /// Waits for the lock of a metadata folder, for a minute at the most. `what` is what others are told that wait for it.
    ///
    /// # Errors
    /// [`LockError`] (9102): another process holds it, and does not end.
    pub(crate) fn take(folder: File, place: &Path, what: &str) -> Result<Self, LockError> {
        Self::take_within(PATIENCE, folder, place, what)
    }

    /// Waits for the lock of a folder for as long as another process holds it. `waits` hears of the holder, if there is one.
    pub(crate) fn wait(folder: File, what: &str, waits: impl FnOnce(Option<&str>)) -> Self {
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(_)) => return Self { folder: None },
            Err(TryLockError::WouldBlock) => {
                let holder = below::open(&folder, below::How::Read).ok().and_then(read_holder);
                waits(holder.as_deref());
                loop {
                    match folder.lock() {
                        Ok(()) => break,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => return Self { folder: None },
                    }
                }
            }
        }
        Self::held(folder, what)
    }

    fn take_within(patience: Duration, folder: File, place: &Path, what: &str) -> Result<Self, LockError> {
        let until = Instant::now().checked_add(patience);
        loop {
            match folder.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(_)) => return Ok(Self { folder: None }),
                Err(TryLockError::WouldBlock) if until.is_some_and(|until| Instant::now() < until) => {
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = below::open(&folder, below::How::Read).ok().and_then(read_holder);
                    return Err(LockError { folder: place.to_owned(), holder });
                }
            }
        }
        Ok(Self::held(folder, what))
    }

    fn held(folder: File, what: &str) -> Self {
        // The file is for people alone: the lock holds without it.
        let _ = below::open(&folder, below::How::Write).and_then(|file| write_holder(&file, what));
        Self { folder: Some(folder) }
    }

    /// Whether no other process can hold the lock at the same time.
    pub(crate) fn is_held(&self) -> bool {
        self.folder.is_some()
    }

    /// For systems whose folders cannot be locked.
    pub(crate) fn none() -> Self {
        Self { folder: None }
    }

    /// As [`take`](Self::take), without waiting: `None` if another process holds the lock, or if there are no locks.
    pub(crate) fn try_take(folder: File, what: &str) -> Option<Self> {
        folder.try_lock().ok()?;
        Some(Self::held(folder, what))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            below::remove(folder);
        }
    }
}

/// The work of this process, its number and the time, as one line for people.
pub(crate) fn holder_line(what: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = i64::try_from(now.as_secs()).ok().and_then(Time::from_unix);
    let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
    format!("{what}, process {}{since}", std::process::id())
}

/// Writes the holder's line into a file that is locked.
///
/// # Errors
/// The error of the operating system. The lock holds all the same.
pub(crate) fn write_holder(mut file: &File, what: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", holder_line(what)).as_bytes())
}

/// The line that [`write_holder`] wrote, as people may see it; `None` if nothing can be read.
#[must_use]
pub(crate) fn read_holder(file: File) -> Option<String> {
    let mut line = Vec::new();
    file.take(MAX_HOLDER).read_to_end(&mut line).ok()?;
    let line = String::from_utf8(line).ok()?;
    line.lines().next().filter(|line| !line.is_empty()).map(shown)
}

/// Another process holds the lock of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockError {
    /// The folder.
    pub folder: PathBuf,
    /// The holder's work, its process number and the time it began, if they can be read.
    pub holder: Option<String>,
}

impl Coded for LockError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::FOLDER_BUSY
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another process is writing to {}", shown_path(&self.folder))?;
        self.holder.iter().try_for_each(|holder| write!(f, ": {holder}"))
    }
}

impl std::error::Error for LockError {}

/// Its name in the folder, while it is held.
pub(crate) const LOCK: &str = "lock";
/// The maximum time for another process to give names.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// More than any line of ours has.
const MAX_HOLDER: u64 = 200;

/// The file that says who holds the lock. It may have come with the model: it is no link, and never waited for.
#[cfg(unix)]
mod below {
    use std::{fs::File, io};

    use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

    #[derive(Clone, Copy)]
    pub(super) enum How {
        Read,
        Write,
    }

    pub(super) fn open(folder: &File, how: How) -> io::Result<File> {
        let how = match how {
            How::Read => OFlags::RDONLY,
            How::Write => {
                // One that is there may be another name of somebody's file.
                remove(folder);
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL
            }
        };
        let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(openat(folder, super::LOCK, flags, Mode::from_raw_mode(0o666))?.into())
    }

    pub(super) fn remove(folder: &File) {
        // An error changes nothing: the next holder writes over the file.
        let _ = unlinkat(folder, super::LOCK, AtFlags::empty());
    }
}

#[cfg(not(unix))]
mod below {
    use std::{fs::File, io};

    #[derive(Clone, Copy)]
    pub(super) enum How {
        Read,
        Write,
    }

    pub(super) fn open(_: &File, _: How) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn remove(_: &File) {}
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn take(place: &Path, what: &str) -> Result<FolderLock, LockError> {
        FolderLock::take_within(Duration::from_millis(30), File::open(place).unwrap(), place, what)
    }

    #[test]
    fn the_second_is_told_who_is_first_and_since_when_and_comes_in_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path(), "a fetch").unwrap();
        let error = take(folder.path(), "a weighing").unwrap_err();
        assert_eq!(error.error_code().get(), 9102);
        let holder = format!("a fetch, process {} since ", std::process::id());
        assert!(error.holder.as_ref().unwrap().starts_with(&holder), "{error}");
        assert!(error.to_string().contains(&format!(": {holder}")), "{error}");
        drop(first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        let _ = take(folder.path(), "a weighing").unwrap();
    }

    #[test]
    fn what_a_killed_holder_left_is_no_lock_and_what_is_no_file_of_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join(LOCK);
        fs::write(&lock, "a fetch, process 1 since 2026-01-01T00:00:00Z\n and more").unwrap();
        drop(take(folder.path(), "a weighing").unwrap());
        assert!(!lock.exists());
        // Neither a link that came with a model nor another name of a file leads to it.
        let mine = folder.path().join("mine");
        fs::write(&mine, "precious").unwrap();
        for is_link in [true, false] {
            if is_link { symlink(&mine, &lock) } else { fs::hard_link(&mine, &lock) }.unwrap();
            let first = take(folder.path(), "a weighing").unwrap();
            assert!(take(folder.path(), "a fetch").unwrap_err().holder.is_some());
            assert_eq!(fs::read_to_string(&mine).unwrap(), "precious");
            drop(first);
        }
    }

    #[test]
    fn what_a_holder_says_cannot_pass_for_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        let _first = take(folder.path(), "a fetch").unwrap();
        for (said, shown) in [("\u{1b}[2Jx\n", Some("\\u{1b}[2Jx")), ("", None), ("\n", None)] {
            fs::write(folder.path().join(LOCK), said).unwrap();
            assert_eq!(take(folder.path(), "a weighing").unwrap_err().holder.as_deref(), shown, "{said:?}");
        }
        fs::write(folder.path().join(LOCK), [0xff]).unwrap();
        assert_eq!(take(folder.path(), "a weighing").unwrap_err().holder, None);
    }
}
