//! The folder that is fetched into.
//!
//! Two processes may fetch into one folder, the same release or different ones: nothing is locked while bytes come, and
//! neither takes the other's incomplete file for its own.

use std::{
    collections::HashMap,
    fs::File,
    io::ErrorKind::NotFound,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering::SeqCst},
};

use weighbridge_manifest::{EntryPath, ModelName};
use weighbridge_tree::{FileRoot, HeadId};

use crate::{
    cached_model::Shelf,
    disk::{Disk, FileKind, Folder, Opening, links_to},
    hub_cache::is_hub_snapshot,
    io::IoError,
    kept::Replaces,
    lock::FolderLock,
    metadata::{FOLDER, KEPT, UPLOADS},
    naming::Naming,
    partial::{self, PartialFile},
    place::{Place, Root},
    site::{Site, folder_of, is_hex},
    staged::{Staged, published_head},
    stamp::{Identity, identity_of},
    store_error::StoreError,
};

/// A folder in which a model comes to be.
///
/// # Guarantee
/// A final name stands for a file of which every chunk was accepted, or for what was there before; at no moment for
/// anything else, and not after a power cut either. No link below the folder is followed when something is written,
/// moved or removed. Only files of this model, and weighbridge's own in `weighbridge`, are replaced or removed, apart from what
/// [`remove`](Self::remove) is asked to remove.
///
/// # Example
/// ```
/// use weighbridge_store::{Destination, FILES, HEAD, Standing};
/// # use weighbridge_testkit::{Folder, Sample};
/// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
/// # let (verifier, content) = (sample.verifier(0), sample.bytes(0));
/// # let (head, files) = (sample.list.head(), &sample.list);
/// # let (note, list, layers) = (&sample.note, &sample.files, &sample.layers);
/// # let folder = Folder::new();
///
/// // Only accepted chunks are written, to a file that has no name in the model yet.
/// let destination = Destination::open(folder.path())?;
/// let entry = &files.entries()[0];
/// let partial = destination.partial(entry.root, entry.size)?;
/// partial.write(&verifier.accept_run(0, content).unwrap())?;
///
/// // The metadata are staged beside it.
/// let staged = destination.stage(head.id())?;
/// staged.write(HEAD, note)?;
/// staged.write(FILES, list)?;
/// staged.layers(96)?.write(0..96, layers)?;
/// assert!(!folder.at("model.bin").exists());
///
/// // When all is there, files get their names first, and the head comes last.
/// let mut naming = destination.begin_naming(destination.lock()?, &staged)?;
/// naming.place(&destination, &partial, &entry.path)?;
/// naming.settle()?;
/// staged.publish(&mut naming)?;
/// naming.sweep(Standing::IsWhole)?;
/// assert_eq!(std::fs::read(folder.at("model.bin"))?, content);
/// assert!(folder.at("weighbridge/head.note").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Destination {
    site: Arc<Site>,
    /// The files that this fetch has placed. Some file systems take two names for one, such as `A` and `a`: a file that was
    /// placed is not replaced under the other name.
    placed: Mutex<HashMap<Identity, EntryPath>>,
    /// Files that a killed process was about to place, where others with their names have been begun since.
    claims: Vec<(FileRoot, String)>,
    /// Whether files of a replaced release are kept.
    has_kept: bool,
    /// Whether another process has left something, or may be at work.
    is_used: bool,
    /// The folder, for reading beneath it.
    root: OnceLock<Arc<Root>>,
    /// What there is already in the cache to which the folder belongs.
    shelf: Option<Shelf>,
}

impl Destination {
    /// Opens a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError`]: the folder cannot be made, is a snapshot of a Hugging Face cache, or something that is no folder is in the
    /// way of `weighbridge`.
    ///
    /// # Example
    /// ```
    /// use weighbridge_store::Destination;
    ///
    /// let place = tempfile::tempdir()?;
    /// let destination = Destination::open(&place.path().join("model"))?;
    /// assert!(destination.model()?.is_none(), "no head is there yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        if is_hub_snapshot(root) {
            return Err(StoreError::HubSnapshot { folder: root.to_owned() });
        }
        let disk = Folder::open(root).map_err(|error| match root.metadata() {
            Ok(there) if !there.is_dir() => {
                let kind = if there.is_file() { FileKind::File } else { FileKind::Special };
                let (path, what, needed) = (root.to_owned(), kind.what(), FileKind::Folder.what());
                StoreError::InTheWay { path, what, needed }
            }
            _ => IoError::at("create", root)(error).into(),
        })?;
        Ok(Self { shelf: Shelf::beside(root), ..Self::on(Arc::new(disk), root)? })
    }

    /// As [`open`](Self::open), on a disk of the caller's, which lies at `root`.
    ///
    /// # Errors
    /// As there.
    pub fn on(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, StoreError> {
        Self::at(Site::of_model(disk, root)?)
    }

    /// Opens a folder for one upload of a release: what is not complete lies in `weighbridge/uploads/KEY`, where nobody else looks for
    /// it. `key` is `CLIENT/HEAD`, or any other path of plain names.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn for_upload(root: &Path, key: &str) -> Result<Self, StoreError> {
        if is_hub_snapshot(root) {
            return Err(StoreError::HubSnapshot { folder: root.to_owned() });
        }
        let disk = Folder::open(root).map_err(IoError::at("create", root))?;
        Self::at(Site::apart(Arc::new(disk), root, format!("{FOLDER}/{UPLOADS}/{key}"))?)
    }

    fn at(site: Arc<Site>) -> Result<Self, StoreError> {
        site.make_folder(site.incomplete())?;
        let has_kept = site.look(&site.meta(KEPT))? == Some(FileKind::Folder);
        let (placed, claims) = (Mutex::default(), Vec::new());
        let mut destination =
            Self { site, placed, claims, has_kept, is_used: false, root: OnceLock::new(), shelf: None };
        destination.take_back()?;
        Ok(destination)
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The name of the model in the folder, by its head, which is not verified. `None` if there is no head, or none that can be
    /// read: a fetch repairs that.
    ///
    /// # Errors
    /// [`StoreError`]: the head cannot be read, or is no file.
    pub fn model(&self) -> Result<Option<ModelName>, StoreError> {
        Ok(published_head(&self.site)?.map(|head| head.name))
    }

    /// Opens the incomplete file of a root, or makes it, a hole as long as it will be.
    ///
    /// Of two files of one root only one can be incomplete at a time: the second is begun when the first is placed.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be opened, or a folder or link has its name.
    pub fn partial(&self, root: FileRoot, size: u64) -> Result<PartialFile, StoreError> {
        PartialFile::open(&self.site, root, size, Opening::Any)
    }

    /// As [`partial`](Self::partial), and makes none: `None`, if none is there.
    ///
    /// # Errors
    /// As there.
    pub fn partial_if_there(&self, root: FileRoot, size: u64) -> Result<Option<PartialFile>, StoreError> {
        match PartialFile::open(&self.site, root, size, Opening::Old) {
            Err(StoreError::Io(error)) if error.source.kind() == NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Takes a file from the cache to which the folder belongs, if it belongs to one ([`CachedModel`](crate::CachedModel)) and
    /// nothing has the final name yet: the file of this root, or else one that has this path in an earlier release. It has this
    /// length, and is not verified.
    pub fn take_from_cache(&self, path: &EntryPath, root: Option<FileRoot>, size: u64) {
        if let Some(shelf) = &self.shelf {
            shelf.take(path, root, size);
        }
    }

    /// The file that is there under its final name, and its length; `None` if there is none. It is not verified.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be opened, or something that is no file is in its place, or no folder in that of one
    /// above it.
    pub fn finished(&self, path: &EntryPath) -> Result<Option<(File, u64)>, StoreError> {
        if !self.site.has_file(path.as_str())? {
            return Ok(None);
        }
        self.site.read(path.as_str())
    }

    /// The place of a file under its final name, for a scan: no link is followed on the way to it, now or later.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the folder cannot be opened.
    pub fn place_of(&self, path: &EntryPath) -> Result<Place, StoreError> {
        self.place_beneath(path.as_str())
    }

    pub(crate) fn place_beneath(&self, path: &str) -> Result<Place, StoreError> {
        let root = match self.root.get() {
            Some(root) => root,
            None => {
                let folder = self.site.place("");
                let opened = Root::open(&folder).map_err(IoError::at("open", &folder))?;
                self.root.get_or_init(|| opened)
            }
        };
        Ok(root.place(Path::new(path)))
    }

    /// Whether an earlier fetch, or another process, has left something of a file.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be told, or what is there is no file.
    pub fn has_partial(&self, root: FileRoot) -> Result<bool, StoreError> {
        self.site.has_file(&self.site.incomplete_file(root))
    }

    /// Whether another process had begun something here, and may be at work.
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// The number of incomplete files that are open.
    pub fn open_files(&self) -> usize {
        self.site.open_files.load(SeqCst)
    }

    /// Makes a file that is there under its final name durable, and its name: whoever gave it that may not have.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn settle(&self, path: &EntryPath) -> Result<(), StoreError> {
        let (site, folder) = (&self.site, folder_of(path.as_str()));
        site.disk().sync_file(path.as_str()).map_err(site.at("sync", path.as_str()))?;
        site.make_folder(folder)?;
        site.sync_folder(folder)
    }

    /// Makes files durable, with their names in `partial`. Gives a result for each file, in their order: a file that cannot be
    /// synced does not keep the others from it.
    ///
    /// # Cost
    /// One sync for each file and one for the folder; for many files, one sync of the whole file system instead.
    #[must_use]
    pub fn sync(&self, files: &[&PartialFile]) -> Vec<Result<(), StoreError>> {
        partial::sync(&self.site, files)
    }

    /// Waits until no other process gives names in the folder. Until the lock is dropped, nothing in it gets a name by a process
    /// that follows `spec/model-folder.md`, so that the caller can look at what is there.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: another process holds the lock, and does not end.
    pub fn lock(&self) -> Result<FolderLock, StoreError> {
        self.site.lock(FETCH)
    }

    /// Begins to give names, for the release whose metadata is staged.
    ///
    /// # Errors
    /// [`StoreError`]: the standing head cannot be read.
    pub fn begin_naming(&self, lock: FolderLock, staged: &Staged) -> Result<Naming, StoreError> {
        Naming::begin(&self.site, lock, Some(staged.head()), Replaces::Files, FETCH)
    }

    pub(crate) fn note_placed(&self, file: Option<Identity>, path: &EntryPath) {
        if let Some(identity) = file {
            self.placed().insert(identity, path.clone());
        }
    }

    /// Refuses to replace a file that this fetch has placed under another path.
    pub(crate) fn may_be_replaced(&self, path: &EntryPath) -> Result<(), StoreError> {
        let Some((there, _)) = self.site.read(path.as_str())? else { return Ok(()) };
        let metadata = there.metadata().map_err(self.site.at("look at", path.as_str()))?;
        let known = identity_of(&metadata).and_then(|identity| self.placed().get(&identity).cloned());
        if known.is_some_and(|known| known != *path) && links_to(&metadata) == 1 {
            let what = "another file of the model, whose name this file system takes for the same";
            let (path, needed) = (self.site.place(path.as_str()), "a file of its own");
            return Err(StoreError::InTheWay { path, what, needed });
        }
        Ok(())
    }

    /// Gives files that a killed process was about to place the names by which they are found.
    fn take_back(&mut self) -> Result<(), StoreError> {
        let incomplete = self.site.incomplete().to_owned();
        for name in self.site.names(&incomplete)? {
            self.is_used = true;
            let Some((root, _)) = claimed(&name) else { continue };
            let claim = format!("{incomplete}/{name}");
            self.give_back(&claim, &format!("{incomplete}/{root}"))?;
            if let Ok(root) = FileRoot::from_hex(root) {
                self.claims.push((root, claim));
            }
        }
        Ok(())
    }

    /// Gives a file its old name again, unless another process has given that name to another file.
    pub(crate) fn give_back(&self, claim: &str, path: &str) -> Result<(), StoreError> {
        let site = &self.site;
        if site.look_once(path)?.is_some() || site.look_once(claim)? != Some(FileKind::File) {
            return Ok(());
        }
        match site.disk().rename(claim, path) {
            Err(error) if error.kind() == NotFound => Ok(()),
            renamed => Ok(renamed.map_err(site.at("rename", claim))?),
        }
    }

    /// Other files in which bytes of this root may lie: what killed processes were about to place when others had begun the file
    /// anew, and what is kept of a release that is being replaced. None is verified.
    pub fn claims(&self, root: FileRoot) -> Vec<File> {
        let claims = self.claims.iter().filter(|(of, _)| *of == root).map(|(_, claim)| claim.clone());
        let kept = self.has_kept.then(|| format!("{}/{root}", self.site.meta(KEPT)));
        // A claim that was given back has this name no more.
        let there = claims.chain(kept).filter_map(|path| self.site.read(&path).ok().flatten());
        there.map(|(file, _)| file).collect()
    }

    /// The place of metadata that is not complete yet.
    ///
    /// # Errors
    /// [`StoreError`]: the folder for it cannot be made.
    pub fn stage(&self, head: HeadId) -> Result<Staged, StoreError> {
        Staged::open(&self.site, head)
    }

    fn placed(&self) -> MutexGuard<'_, HashMap<Identity, EntryPath>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of this work in the messages of processes that wait for it.
const FETCH: &str = "a fetch";

/// The two parts of a name that a file has while it is placed: `<file root>.<random>`.
pub(crate) fn claimed(name: &str) -> Option<(&str, &str)> {
    let (root, random) = name.split_once('.')?;
    (is_hex(root, 64) && is_hex(random, 16)).then_some((root, random))
}

#[cfg(test)]
mod cuts;
#[cfg(test)]
mod tests;
