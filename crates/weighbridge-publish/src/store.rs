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

use weighbridge_store::{
    CHUNKS, FILES, FolderLock, HEAD, IoError, LockError, NEW, TENSORS, TEXT, read_holder, shown_path,
    write_holder,
};
use weighbridge_tree::{ChainingValue, Coded, ErrorCode};

use crate::weigh::Weighed;

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
    /// Held as long as this lives, so that nobody else writes new files here. The lock goes with the file: a killed process
    /// leaves none behind.
    reserved: Option<File>,
    made_folder: bool,
}

impl Staging {
    /// Prepares to write metadata into `folder`, which is made if need be.
    ///
    /// The folder may have come with the model: it is no link, and in it nothing is removed that is not ours.
    ///
    /// # Errors
    /// [`StoreError`] if metadata is there already, another process is writing there, the folder is a link or cannot be
    /// written, or something else lies among the new files.
    pub fn open(folder: &Path, existing: Existing) -> Result<Self, StoreError> {
        // Without a `/` at the end, which would follow the link.
        let folder = folder.components().as_path();
        if folder.is_symlink() {
            return Err(StoreError::Link { folder: folder.to_owned() });
        }
        existing.allows(folder)?;
        let made_folder = !folder.exists();
        let new = folder.join(NEW);
        fs::create_dir_all(&new).map_err(IoError::at("create", &new))?;
        if new.is_symlink() {
            // It came with the model, and leads to where nothing of ours is to be written or swept.
            return Err(IoError::at("write to", &new)(io::ErrorKind::NotADirectory.into()).into());
        }
        let mut staging = Self { folder: folder.to_owned(), new, reserved: None, made_folder };
        staging.reserved = Some(staging.reserve()?);
        // Now that nobody else can write: what was not there may have been published meanwhile.
        existing.allows(folder)?;
        // Files that a killed process left.
        sweep(&staging.new)?;
        Ok(staging)
    }

    fn reserve(&self) -> Result<File, StoreError> {
        let path = self.new.join(LOCK);
        let busy = || StoreError::Busy(LockError { folder: self.folder.clone(), holder: None });
        let file = match File::create_new(&path) {
            // Left behind by a process that was killed, or held by one that lives. What came with a model may be a link,
            // which would be followed, or a FIFO, which would be waited for.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && path.symlink_metadata().is_ok_and(|m| m.is_file()) =>
            {
                File::options().read(true).write(true).open(&path)
            }
            created => created,
        };
        let file = match file {
            // Its last holder has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(busy()),
            file => file.map_err(IoError::at("create", &path))?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let folder = self.folder.clone();
                return Err(StoreError::Busy(LockError { folder, holder: read_holder(file) }));
            }
            // A file system without locks: two writers there are on their own, and each file is still renamed whole.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if !is_at(&file, &path) {
            return Err(busy());
        }
        // For people. Without it the folder is reserved as well.
        let _ = write_holder(&file, SIGNER);
        Ok(file)
    }

    /// Waits until nobody else gives names in the folder. From then on until the lock is dropped, what is there stays as it
    /// is, so that the caller can look whether what was weighed or signed is there still.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another process does not end.
    pub fn lock(&self) -> Result<FolderLock, StoreError> {
        FolderLock::at(&self.folder, SIGNER).map_err(StoreError::Busy)
    }

    /// Does the same as dropping this, for a process that a signal ends: such an end drops nothing.
    ///
    /// Meant to be called once, by the process that holds this, when it writes no more.
    pub fn undo(&self) -> impl FnOnce() + Send + 'static {
        let (folder, new, made_folder) = (self.folder.clone(), self.new.clone(), self.made_folder);
        move || undo(&folder, &new, made_folder)
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
    /// Metadata of an earlier release that this one does not have is removed, so that no list of an earlier
    /// release stands beside the new head.
    ///
    /// # Errors
    /// [`StoreError`] if a file cannot be moved; verifiers then refuse the mixture, and weighing again mends it.
    pub fn publish(self, _lock: &FolderLock) -> Result<(), StoreError> {
        for name in [FILES, TENSORS, CHUNKS, TEXT] {
            self.place(name, Absent::Remove)?;
        }
        // The note is last on disk too, should the power fail.
        self.sync()?;
        self.place(HEAD, Absent::Remove)?;
        self.finish()
    }

    /// Moves the note alone to its place: the other files stay.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be moved; the old note then stays.
    pub fn publish_note(self, _lock: &FolderLock) -> Result<(), StoreError> {
        self.place(HEAD, Absent::Keep)?;
        self.finish()
    }

    fn place(&self, name: &str, absent: Absent) -> Result<(), StoreError> {
        let (new, place) = (self.new.join(name), self.folder.join(name));
        let moved = match absent {
            _ if new.exists() => fs::rename(&new, &place),
            Absent::Keep => Ok(()),
            Absent::Remove => match fs::remove_file(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        Ok(moved.map_err(IoError::at("replace", &place))?)
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.made_folder = false;
        self.sync()
    }

    fn sync(&self) -> Result<(), StoreError> {
        #[cfg(unix)]
        File::open(&self.folder).and_then(|f| f.sync_all()).map_err(IoError::at("sync", &self.folder))?;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.reserved.is_some() {
            undo(&self.folder, &self.new, self.made_folder);
        } else {
            remove_empty(&self.folder, &self.new, self.made_folder);
        }
    }
}

/// Removes what its holder has written. There is nobody to tell; what stays is swept by the next writer. The lock goes last:
/// another writer may just be making a lock of its own.
fn undo(folder: &Path, new: &Path, made_folder: bool) {
    let _ = sweep(new);
    let _ = fs::remove_file(new.join(LOCK));
    remove_empty(folder, new, made_folder);
}

/// Removes the folders that were made, if nothing is in them.
fn remove_empty(folder: &Path, new: &Path, made_folder: bool) {
    let _ = fs::remove_dir(new);
    if made_folder {
        let _ = fs::remove_dir(folder);
    }
}

/// Removes new files, but for the lock. If there is anything else, everything stays.
fn sweep(new: &Path) -> Result<(), StoreError> {
    let failed = |error| IoError::at("sweep", new)(error);
    let mut left = Vec::new();
    for entry in fs::read_dir(new).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() == LOCK {
            continue;
        }
        let is_ours = ALL.iter().any(|name| entry.file_name() == *name);
        if !is_ours || entry.file_type().map_err(failed)?.is_dir() {
            return Err(StoreError::Foreign { path: entry.path() });
        }
        left.push(entry.path());
    }
    left.iter().try_for_each(fs::remove_file).map_err(failed)?;
    Ok(())
}

impl Existing {
    fn allows(self, folder: &Path) -> Result<(), StoreError> {
        let there = |path: &PathBuf| path.symlink_metadata().is_ok();
        let found = ALL.iter().map(|name| folder.join(name)).find(there);
        match (self, found) {
            (Self::Keep, Some(file)) => Err(StoreError::Exists { file }),
            _ => Ok(()),
        }
    }
}

/// Whether `file` is still what lies at `path`: whoever held the lock before may have removed it.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |m: io::Result<fs::Metadata>| m.ok().map(|m| (m.dev(), m.ino()));
        let held = identity(file.metadata());
        held.is_some() && held == identity(path.symlink_metadata())
    }
    // Elsewhere a file that somebody has open is not removed.
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

/// Whether an old file goes in place of which no new one was written.
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

/// Everything that is ever written.
const ALL: [&str; 5] = [HEAD, TEXT, FILES, TENSORS, CHUNKS];
const LOCK: &str = "lock";
/// The name of this work in the messages of processes that wait for it.
const SIGNER: &str = "a weighing or signing";

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
    Busy(LockError),
    /// The folder for metadata is a link. It may have come with a model, and lead anywhere.
    Link {
        /// The link.
        folder: PathBuf,
    },
    /// Among the new files of a killed process lies something that is not ours to remove.
    Foreign {
        /// The thing in the way.
        path: PathBuf,
    },
}

impl From<IoError> for StoreError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl Coded for StoreError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Exists { .. } => ErrorCode::METADATA_EXISTS,
            Self::Busy(error) => error.error_code(),
            Self::Link { .. } => ErrorCode::METADATA_FOLDER_IS_LINK,
            Self::Foreign { .. } => ErrorCode::FOREIGN_AMONG_METADATA,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Exists { file } => write!(f, "{} exists already", shown_path(file)),
            Self::Busy(error) => error.fmt(f),
            Self::Link { folder } => {
                write!(f, "{} is a symbolic link; metadata is written to no link", shown_path(folder))
            }
            Self::Foreign { path } => {
                write!(f, "{} is in the way, and was not written by weighbridge", shown_path(path))
            }
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
