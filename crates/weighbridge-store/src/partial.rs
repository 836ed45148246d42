//! An incomplete file, which has no name that a loader would look for.

use std::{
    fs::File,
    io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use weighbridge_tree::FileRoot;
use weighbridge_verify::VerifiedRun;

use crate::{
    disk::{DiskFile, FileKind, MANY, Opening, extents, links_to},
    io::{IoError, read_exact_at, same},
    site::Site,
    stamp::{Identity, Stamp, identity_of},
    store_error::StoreError,
};

/// A file of which some chunks may be there, at `weighbridge/partial/<file root>`.
///
/// All methods take `&self`. Threads and processes may write one such file at once: all of them write the same bytes, since
/// only chunks that were accepted for this root are written.
///
/// # Guarantee
/// Chunks that were written before [`Destination::sync`](crate::Destination::sync) was called, and returned, are there after a
/// power cut: under this name or, once [placed](crate::Naming::place), under the final one.
///
/// # Non-guarantee
/// Bytes that are read from the file are not verified: a hole reads as zeros, and an earlier run, or any other program, may
/// have left anything there (rule 10).
#[derive(Debug)]
pub struct PartialFile {
    root: FileRoot,
    sparse: SparseFile,
    site: Arc<Site>,
    identity: Option<Identity>,
    /// Whether the name is durable.
    is_named: AtomicBool,
    /// The number of writes so far, and of those that are synced. An earlier process may have left bytes that are not: they
    /// count as one write.
    writes: AtomicU64,
    synced: AtomicU64,
    /// Whether a sync failed. The system may have dropped what it could not write, and report success for the next sync.
    is_broken: AtomicBool,
}

impl PartialFile {
    pub(crate) fn open(
        site: &Arc<Site>,
        root: FileRoot,
        size: u64,
        opening: Opening,
    ) -> Result<Self, StoreError> {
        let sparse = SparseFile::open(site, site.incomplete_file(root), size, opening)?;
        Ok(Self::of(site, root, sparse))
    }

    /// The file that has just been given its name. It is not opened by its name: another process may have given that to another
    /// file since.
    pub(crate) fn named(site: &Arc<Site>, root: FileRoot, size: u64, file: Arc<dyn DiskFile>) -> Self {
        let path = site.incomplete_file(root);
        let place = site.place(&path);
        let named = Self::of(site, root, SparseFile { path, place, len: size, file });
        // The quarantine was synced before it got the name.
        named.synced.fetch_max(named.writes.load(SeqCst), SeqCst);
        named
    }

    pub(crate) fn of(site: &Arc<Site>, root: FileRoot, sparse: SparseFile) -> Self {
        let (is_named, is_broken) = (AtomicBool::new(false), AtomicBool::new(false));
        site.open_files.fetch_add(1, SeqCst);
        let identity = sparse.file.file().metadata().ok().and_then(|metadata| identity_of(&metadata));
        Self {
            root,
            sparse,
            identity,
            site: Arc::clone(site),
            is_named,
            writes: AtomicU64::new(1),
            synced: AtomicU64::new(0),
            is_broken,
        }
    }

    /// The path, relative to the folder that is fetched into.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.sparse.path
    }

    /// The open file, for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        self.sparse.file().file()
    }

    /// The parts that may hold data, in order: all of the file, if the file system does not tell its holes.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn extents(&self) -> Result<Vec<Range<u64>>, StoreError> {
        let found =
            extents(self.file(), self.sparse.len).map_err(IoError::at("look at", &self.sparse.place))?;
        Ok(found)
    }

    /// Fills `buffer` with the bytes from `offset` on, which are not verified.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if the file ends before.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.sparse.read_at(buffer, offset)
    }

    /// Writes accepted chunks at their place.
    ///
    /// # Errors
    /// [`StoreError::Io`]; also if the chunks are of another file, and then nothing is written.
    pub fn write(&self, run: &VerifiedRun<'_>) -> Result<(), StoreError> {
        let range = run.range();
        if run.root() != self.root || range.end > self.sparse.len {
            return Err(self.sparse.misuse("write"));
        }
        let written = self.sparse.write_at(run.bytes(), range.start);
        self.writes.fetch_add(1, SeqCst);
        written
    }

    /// Makes the bytes durable that were written before the call; not the name.
    ///
    /// # Errors
    /// [`StoreError::Io`], and then from every later call: no byte that was written since the last success counts as durable.
    pub(crate) fn sync_bytes(&self) -> Result<(), StoreError> {
        self.check_unbroken()?;
        let writes = self.writes.load(SeqCst);
        // Another thread may be syncing the same writes: they count once that has ended, and not before.
        if self.synced.load(SeqCst) < writes {
            self.sparse.file().sync().map_err(|error| self.break_by(&error))?;
            self.synced.fetch_max(writes, SeqCst);
        }
        Ok(())
    }

    fn check_unbroken(&self) -> Result<(), StoreError> {
        if !self.is_broken.load(SeqCst) {
            return Ok(());
        }
        let error = io::Error::other("an earlier attempt failed, and what was written may be lost");
        Err(IoError::at("sync", &self.sparse.place)(error).into())
    }

    /// Removes the file if it could not be synced: what it shows may not be on the disk.
    pub fn remove_if_broken(&self) {
        if self.is_broken.load(SeqCst) {
            // Where it cannot be removed either, nothing of it counts until somebody reads it again.
            let _ = self.site.disk().remove(&self.sparse.path);
        }
    }

    fn break_by(&self, error: &io::Error) -> StoreError {
        self.is_broken.store(true, SeqCst);
        IoError::at("sync", &self.sparse.place)(same(error)).into()
    }

    /// Whether the file still has the length that it has to have. Another program may have cut it.
    pub(crate) fn check_len(&self) -> Result<(), StoreError> {
        let metadata = self.file().metadata().map_err(IoError::at("look at", &self.sparse.place))?;
        if metadata.len() == self.sparse.len {
            return Ok(());
        }
        let error = io::Error::new(io::ErrorKind::InvalidData, "its length was changed by somebody else");
        Err(IoError::at("finish", &self.sparse.place)(error).into())
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The file as it can be recognised once it is closed. `None` if not all of its bytes and its name are durable, or if the
    /// system cannot recognise it.
    #[must_use]
    pub fn closed(&self) -> Option<ClosedFile> {
        let is_synced = self.synced.load(SeqCst) >= self.writes.load(SeqCst);
        if !is_synced || !self.is_named.load(SeqCst) || self.is_broken.load(SeqCst) {
            return None;
        }
        let stamp = Stamp::of(self.file()).ok().filter(|stamp| stamp.size() == self.sparse.len)?;
        Some(ClosedFile { path: self.sparse.path.clone(), identity: stamp.identity()?, stamp })
    }
}

/// A file that was a [`PartialFile`] until all of it was durable. It is not open: a system takes only so many open files.
///
/// Nobody has changed it for as long as what has its name has its stamp.
#[derive(Debug)]
pub struct ClosedFile {
    path: String,
    identity: Identity,
    stamp: Stamp,
}

impl ClosedFile {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

/// Makes files durable, with their names. A result for each file, in their order: one that cannot be synced does not keep the
/// others from it.
pub(crate) fn sync(site: &Site, files: &[&PartialFile]) -> Vec<Result<(), StoreError>> {
    if files.len() >= MANY {
        let writes: Vec<u64> = files.iter().map(|file| file.writes.load(SeqCst)).collect();
        match site.disk().sync_all() {
            Ok(true) => {
                for (file, writes) in files.iter().zip(writes) {
                    file.synced.fetch_max(writes, SeqCst);
                    file.is_named.store(true, SeqCst);
                }
                return files.iter().map(|file| file.check_unbroken()).collect();
            }
            Ok(false) => {}
            Err(error) => return files.iter().map(|file| Err(file.break_by(&error))).collect(),
        }
    }
    let mut synced: Vec<_> = files.iter().map(|file| file.sync_bytes()).collect();
    let new = || files.iter().enumerate().filter(|(_, file)| !file.is_named.load(SeqCst));
    if new().any(|(at, _)| synced.get(at).is_some_and(Result::is_ok)) {
        let named = site.disk().sync_folder(site.incomplete());
        for (at, file) in new() {
            match (&named, synced.get_mut(at)) {
                (Ok(()), Some(Ok(()))) => file.is_named.store(true, SeqCst),
                (Err(error), Some(synced @ Ok(()))) => {
                    *synced = Err(site.at("sync", site.incomplete())(same(error)).into());
                }
                _ => {}
            }
        }
    }
    synced
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        self.site.open_files.fetch_sub(1, SeqCst);
    }
}

/// The folder of incomplete files, in a model folder.
pub(crate) const PARTIAL: &str = "weighbridge/partial";

/// A file that has its length from the beginning, and is a hole where nothing was written.
#[derive(Debug)]
pub(crate) struct SparseFile {
    path: String,
    /// For messages.
    place: PathBuf,
    len: u64,
    file: Arc<dyn DiskFile>,
}

impl SparseFile {
    /// Opens the file, or makes it. A file that is there and has another length gets this one; no other byte of it changes.
    pub(crate) fn open(site: &Site, path: String, len: u64, opening: Opening) -> Result<Self, StoreError> {
        let place = site.place(&path);
        let in_the_way = |what, needed| StoreError::InTheWay { path: place.clone(), what, needed };
        let file = match site.disk().write(&path, opening) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IoError::at("open", &place)(error).into());
            }
            Err(error) => {
                return Err(match site.disk().look(&path) {
                    Ok(Some(kind)) if kind != FileKind::File => {
                        in_the_way(kind.what(), FileKind::File.what())
                    }
                    _ => IoError::at("open", &place)(error).into(),
                });
            }
        };
        let metadata = file.file().metadata().map_err(IoError::at("look at", &place))?;
        if !metadata.is_file() {
            return Err(in_the_way(FileKind::Special.what(), FileKind::File.what()));
        }
        // Bytes that are written here would appear in a file elsewhere, which may be anybody's.
        if links_to(&metadata) > 1 {
            return Err(in_the_way("a file that has a second name elsewhere", "a file of its own"));
        }
        if metadata.len() != len {
            file.set_len(len).map_err(IoError::at("set the length of", &place))?;
        }
        Ok(Self { path, place, len, file: Arc::from(file) })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// The error of a caller that asks for bytes past the end; no source can cause it.
    pub(crate) fn misuse(&self, doing: &'static str) -> StoreError {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no such bytes in this file");
        IoError::at(doing, &self.place)(error).into()
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        Ok(read_exact_at(self.file.file(), buffer, offset).map_err(IoError::at("read", &self.place))?)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        Ok(self.file.write_at(bytes, offset).map_err(IoError::at("write", &self.place))?)
    }
}

#[cfg(test)]
mod tests;
