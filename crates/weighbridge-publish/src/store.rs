//! Writing metadata so that a failure at any point leaves the old files as they were.
//!
//! Everything new is written and synced in a folder of its own, `.new`, inside the metadata folder; only then are the
//! files renamed to their places, `head.note` last. What can fail for want of space or permission has then happened.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use weighbridge_tree::ChainingValue;
use weighbridge_verify::{CHUNKS, FILES, HEAD, IoError, TENSORS};

use crate::weigh::Weighed;

/// The exact bytes to sign, beside the note, for signers. No verifier reads it.
pub const TEXT: &str = "head.txt";

/// Whether metadata that is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Keep,
    /// By the new files, once these are complete.
    Replace,
}

/// A place where metadata is being written. Dropping it without publishing leaves everything as it was.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    new: PathBuf,
    /// Held as long as this lives. The lock goes with the file, so a killed process leaves none behind.
    lock: Option<File>,
    made_folder: bool,
}

impl Staging {
    /// Prepares to write metadata into `folder`, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError`] if metadata is there already, another process is writing there, or the folder cannot be written.
    pub fn open(folder: &Path, existing: Existing) -> Result<Self, StoreError> {
        if existing == Existing::Keep
            && let Some(file) =
                [HEAD, TEXT, FILES].iter().map(|name| folder.join(name)).find(|path| path.exists())
        {
            return Err(StoreError::Exists { file });
        }
        let made_folder = !folder.exists();
        let new = folder.join(".new");
        fs::create_dir_all(&new).map_err(IoError::at("create", &new))?;
        let mut staging = Self { folder: folder.to_owned(), new, lock: None, made_folder };
        staging.lock()?;
        // Left behind by a process that was killed.
        for name in [HEAD, TEXT, FILES, TENSORS, CHUNKS] {
            match fs::remove_file(staging.new.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(IoError::at("remove", staging.new.join(name))(error).into());
                }
                _ => {}
            }
        }
        Ok(staging)
    }

    fn lock(&mut self) -> Result<(), StoreError> {
        let path = self.new.join(LOCK);
        let file = File::create(&path).map_err(IoError::at("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { folder: self.folder.clone() }),
            // A file system without locks: two writers there are on their own, and each file is still renamed whole.
            Err(TryLockError::Error(_)) => {}
        }
        self.lock = Some(file);
        Ok(())
    }

    /// Writes and syncs one file.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written, as on a full disk.
    pub fn write(
        &self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = self.new.join(name);
        let result = File::create_new(&path).and_then(|file| {
            let mut writer = BufWriter::with_capacity(1 << 16, file);
            write(&mut writer)?;
            writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        });
        Ok(result.map_err(IoError::at("write", &path))?)
    }

    /// Writes everything that was weighed, but the note.
    ///
    /// # Errors
    /// [`StoreError`] if something cannot be written.
    pub fn write_weighed(&self, weighed: &Weighed) -> Result<(), StoreError> {
        self.write(FILES, |w| w.write_all(weighed.files.as_bytes()))?;
        if let Some(tensors) = &weighed.tensors {
            self.write(TENSORS, |w| w.write_all(tensors.as_bytes()))?;
        }
        self.write(CHUNKS, |w| write_values(w, weighed.layers.iter().flatten()))?;
        self.write(TEXT, |w| w.write_all(weighed.text.as_bytes()))
    }

    /// Moves everything written to its place, the note last.
    ///
    /// Of what was there before, files that this release does not have are removed, so that no list of an earlier
    /// release stands beside the new head.
    ///
    /// # Errors
    /// [`StoreError`] if a file cannot be moved; verifiers then refuse the mixture, and weighing again mends it.
    pub fn publish(self) -> Result<(), StoreError> {
        for name in [FILES, TENSORS, CHUNKS, TEXT, HEAD] {
            self.place(name, Absent::Remove)?;
        }
        self.finish()
    }

    /// Moves the note alone to its place: the other files stay.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be moved; the old note then stays.
    pub fn publish_note(self) -> Result<(), StoreError> {
        self.place(HEAD, Absent::Keep)?;
        self.finish()
    }

    fn place(&self, name: &str, absent: Absent) -> Result<(), StoreError> {
        let (new, place) = (self.new.join(name), self.folder.join(name));
        let moved = match (new.exists(), absent) {
            (true, _) => fs::rename(&new, &place),
            (false, Absent::Remove) => fs::remove_file(&place),
            (false, Absent::Keep) => Ok(()),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(IoError::at("replace", &place)(error).into())
            }
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.made_folder = false;
        #[cfg(unix)]
        File::open(&self.folder).and_then(|f| f.sync_all()).map_err(IoError::at("sync", &self.folder))?;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // There is nobody to tell; what stays is swept by the next writer.
        let _ = fs::remove_dir_all(&self.new);
        if self.made_folder {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// What to do about a file in place of which nothing new was written.
#[derive(Clone, Copy)]
enum Absent {
    Remove,
    Keep,
}

fn write_values<'v>(w: &mut dyn Write, values: impl Iterator<Item = &'v ChainingValue>) -> io::Result<()> {
    for value in values {
        w.write_all(value.as_bytes())?;
    }
    Ok(())
}

const LOCK: &str = "lock";

/// Why metadata was not written.
#[non_exhaustive]
#[derive(Debug)]
pub enum StoreError {
    /// The operating system reported an error.
    Io(IoError),
    /// Metadata is there already.
    Exists {
        /// A file of it.
        file: PathBuf,
    },
    /// Another process is writing there.
    Busy {
        /// Where.
        folder: PathBuf,
    },
}

impl From<IoError> for StoreError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl StoreError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Exists { .. } => 9101,
            Self::Busy { .. } => 9102,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Exists { file } => write!(f, "{} exists already", file.display()),
            Self::Busy { folder } => write!(f, "another process is writing to {}", folder.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
