//! Metadata of a signer, while it comes to be.
//!
//! Everything new is written and synced in a folder of its own, `.new`, inside the metadata folder; only then are the
//! files renamed to their places, `head.note` last. Errors for want of space or permission have then happened.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use weighbridge_manifest::MAX_NOTE;

use crate::{
    disk::{Disk, DiskFile, FileKind, Folder, Opening, SequentialWriter},
    io::IoError,
    kept::{Replaces, Standing, being_replaced, id_of, standing},
    lock::{FolderLock, LockError, read_holder, write_holder},
    metadata::{CHUNKS, FILES, HEAD, NEW, TENSORS, TEXT},
    naming::{Incoming, Naming},
    site::Site,
    stamp::identity_of,
    store_error::StoreError,
};

/// Whether what is there may be replaced: metadata in a model folder, or `refs/main` in a Hugging Face cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Keep,
    /// Once the new is complete.
    Replace,
}

/// New metadata that is being written. Dropping it without publishing leaves everything as it was.
///
/// # Example
/// ```
/// use weighbridge_store::{Existing, Staging};
///
/// let place = tempfile::tempdir()?;
/// let staging = Staging::open(&place.path().join("weighbridge"), Existing::Keep)?;
/// staging.write("head.txt", |file| file.write_all(b"the text of a head\n"))?;
/// let lock = staging.lock()?;
/// // Compare what was weighed or signed with what is there now; then:
/// staging.publish(lock)?;
/// assert!(place.path().join("weighbridge/head.txt").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Staging {
    site: Arc<Site>,
    folder: PathBuf,
    /// Held for as long as this lives, so that no other signer writes new files here. The lock goes with the open file: a
    /// killed process leaves none behind.
    reserved: Option<Arc<dyn DiskFile>>,
    made_folder: bool,
}

impl Staging {
    /// Prepares to write metadata into `folder`, which is made if need be.
    ///
    /// The folder may have come with the model: it must not be a link, and only weighbridge's own files in it are removed.
    ///
    /// # Errors
    /// [`StoreError`] if metadata is there already (9101), another process is writing there (9102), the folder is a link
    /// (9104) or cannot be written (9002), or something else lies among the new files (9105).
    pub fn open(folder: &Path, existing: Existing) -> Result<Self, StoreError> {
        // Without a `/` at the end, which would follow the link.
        let folder = folder.components().as_path();
        if folder.is_symlink() {
            return Err(StoreError::Link { folder: folder.to_owned() });
        }
        existing.allows(folder)?;
        let made_folder = !folder.exists();
        let disk = Folder::open_no_link(folder).map_err(IoError::at("create", folder))?;
        Self::on(Arc::new(disk), folder, existing, made_folder)
    }

    /// As [`open`](Self::open), on a disk of the caller's, which lies at `folder`.
    fn on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        existing: Existing,
        made_folder: bool,
    ) -> Result<Self, StoreError> {
        let site = Site::of_metadata(disk, folder);
        let mut staging = Self { site, folder: folder.to_owned(), reserved: None, made_folder };
        staging.make_new()?;
        staging.reserved = Some(staging.reserve()?);
        // No other signer can write now; metadata that was not there may have been published meanwhile.
        existing.allows(folder)?;
        // Files that a killed process left.
        sweep(&staging.site)?;
        Ok(staging)
    }

    fn make_new(&self) -> Result<(), StoreError> {
        match self.site.make_folder(NEW) {
            // A link came with the model, and leads to where no file of ours is to be written or removed.
            Err(StoreError::InTheWay { .. }) => {
                Err(self.site.at("write to", NEW)(io::ErrorKind::NotADirectory.into()).into())
            }
            made => made,
        }
    }

    fn reserve(&self) -> Result<Arc<dyn DiskFile>, StoreError> {
        let (site, path) = (&self.site, format!("{NEW}/{LOCK}"));
        let busy = |holder| StoreError::Busy(LockError { folder: self.folder.clone(), holder });
        let file = match site.disk().write(&path, Opening::New) {
            // A process that was killed left the file, or one that lives holds it. A link or a FIFO may have come with the
            // model.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && site.look(&path)? == Some(FileKind::File) =>
            {
                site.disk().write(&path, Opening::Old)
            }
            created => created,
        };
        let file: Arc<dyn DiskFile> = match file {
            // The last holder has just removed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(busy(None)),
            file => Arc::from(file.map_err(site.at("create", &path))?),
        };
        match file.file().try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(busy(site.read(&path)?.and_then(|(file, _)| read_holder(file))));
            }
            // A file system without locks: two writers there are on their own, and each file is still renamed whole.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if !self.is_at(file.file(), &path)? {
            return Err(busy(None));
        }
        // The line is for people; the folder is reserved without it as well.
        let _ = write_holder(file.file(), SIGNER);
        Ok(file)
    }

    /// Whether a file is still what lies at `path`: the last holder of the lock may have removed it.
    fn is_at(&self, file: &File, path: &str) -> Result<bool, StoreError> {
        let held = file.metadata().ok().and_then(|metadata| identity_of(&metadata));
        // Where files have no identity, an open file is not removed.
        let there = self.site.disk().stamp(path).map_err(self.site.at("look at", path))?;
        let there = there.and_then(|stamp| stamp.identity());
        Ok(held == there)
    }

    /// Waits until no other process gives names in the folder. Until the lock is dropped, what is there stays as it is, so
    /// that the caller can look whether what was weighed or signed is there still.
    ///
    /// # Errors
    /// [`StoreError::Busy`] (9102) if another process does not end; [`StoreError::BeingReplaced`] (9108) if a fetch was
    /// replacing files of the model when it was killed, so that files of two releases may have been weighed.
    pub fn lock(&self) -> Result<FolderLock, StoreError> {
        let lock = self.site.lock(SIGNER)?;
        let head = standing(&self.site)?.map(|(id, _)| id);
        match being_replaced(&self.folder, head) {
            Some(error) => Err(StoreError::BeingReplaced(error)),
            None => Ok(lock),
        }
    }

    /// Does the same as dropping this, for a process that a signal ends: such an end drops nothing.
    ///
    /// Meant to be called once, by the process that holds this, when it writes no more.
    pub fn undo(&self) -> impl FnOnce() + Send + 'static {
        let (site, made_folder) = (Arc::clone(&self.site), self.made_folder);
        move || undo(&site, made_folder)
    }

    /// Writes and syncs one file.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be written, as on a full disk.
    pub fn write(
        &self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = format!("{NEW}/{name}");
        let written = self.site.disk().write(&path, Opening::New).and_then(|file| {
            let file: Arc<dyn DiskFile> = Arc::from(file);
            let mut writer = BufWriter::with_capacity(1 << 16, SequentialWriter::new(Arc::clone(&file)));
            write(&mut writer)?;
            writer.flush()?;
            file.sync()
        });
        Ok(written.map_err(self.site.at("write", &path))?)
    }

    /// Moves everything written to its place, the note last.
    ///
    /// Metadata of the standing release that this one does not have is removed, so that no list of an earlier release stands
    /// beside the new head.
    ///
    /// # Errors
    /// [`StoreError`] if a file cannot be moved; verifiers then say that the release is being replaced (9108), and weighing
    /// again ends it.
    pub fn publish(mut self, lock: FolderLock) -> Result<(), StoreError> {
        let note = format!("{NEW}/{HEAD}");
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        let next = self.site.read_bounded(&note, limit)?.and_then(|note| id_of(&note));
        let has_note = self.site.has_file(&note)?;
        let mut naming = Naming::begin(&self.site, lock, next, Replaces::Metadata, SIGNER)?;
        naming.publish(NEW, has_note.then_some(note.as_str()), Incoming::WithAll)?;
        self.made_folder = false;
        naming.sweep(Standing::IsWhole)
    }

    /// Moves the note alone to its place: the other files stay, and the head has to be the one that stands.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be moved; the old note then stays.
    pub fn publish_note(mut self, _lock: FolderLock) -> Result<(), StoreError> {
        let note = format!("{NEW}/{HEAD}");
        if self.site.has_file(&note)? {
            self.site.rename(&note, HEAD)?;
        }
        self.made_folder = false;
        self.site.sync_folder("")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.reserved.is_some() {
            undo(&self.site, self.made_folder);
        } else {
            remove_empty(&self.site, self.made_folder);
        }
    }
}

/// Removes what its holder has written. An error is not told; the next writer removes what stays. The lock goes last: another
/// writer may just be making a lock of its own.
fn undo(site: &Site, made_folder: bool) {
    let _ = sweep(site);
    let _ = site.disk().remove(&format!("{NEW}/{LOCK}"));
    remove_empty(site, made_folder);
}

/// Removes the folders that were made, if nothing is in them.
fn remove_empty(site: &Site, made_folder: bool) {
    let _ = site.disk().remove_folder(NEW);
    if made_folder {
        let _ = fs::remove_dir(site.place(""));
    }
}

/// Removes new files, except the lock. If there is anything else, everything stays.
fn sweep(site: &Site) -> Result<(), StoreError> {
    let mut left = Vec::new();
    let names = site.disk().names(NEW).map_err(site.at("sweep", NEW))?;
    for name in names.into_iter().filter(|name| name != LOCK) {
        let path = format!("{NEW}/{name}");
        let is_ours = ALL.contains(&name.as_str());
        if !is_ours || site.look(&path)? == Some(FileKind::Folder) {
            return Err(StoreError::Foreign { path: site.place(&path) });
        }
        left.push(path);
    }
    left.iter().try_for_each(|path| site.remove_if_there(path))
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

/// Everything that a signer writes.
const ALL: [&str; 5] = [HEAD, TEXT, FILES, TENSORS, CHUNKS];
const LOCK: &str = "lock";
/// The name of this work in the messages of processes that wait for it.
const SIGNER: &str = "a weighing or signing";
