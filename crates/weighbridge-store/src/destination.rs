//! The folder that is fetched into.
//!
//! Two processes may fetch into one folder, the same release or different ones: nothing is locked while they run, and
//! neither takes the other's incomplete file for its own.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::{self, ErrorKind::NotFound},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use weighbridge_manifest::{EntryPath, ModelName};
use weighbridge_store::{FOLDER, IoError, is_hub_snapshot};
use weighbridge_tree::{FileRoot, HeadId};

use crate::{
    disk::{Disk, Folder, Identity, Kind, Opening, identity_of, links_to},
    error::FetchError,
    partial::{PARTIAL, PartialFile, path_of},
};

mod quarantine;
mod staged;
mod unlisted;

pub(crate) use quarantine::Quarantine;
pub(crate) use staged::{LayersFile, Staged};

/// A folder in which a model comes to be.
///
/// # Guarantee
/// A final name stands for a file of which every chunk was accepted, or for what was there before; at no moment for
/// anything else, and not after a power cut either. No link below the folder is followed when something is written,
/// moved or removed. Only files of this model and ours in `weighbridge` are replaced or removed, but for what
/// [`remove`](Self::remove) is asked to.
#[derive(Debug)]
pub(crate) struct Destination {
    site: Arc<Site>,
    /// Files that this fetch has placed, to be told from one another where two names mean one file, as `A` and `a` do
    /// on some file systems.
    placed: Mutex<HashMap<Identity, EntryPath>>,
    /// Files that a killed process was about to place, where others with their names have been begun since.
    claims: Vec<(FileRoot, String)>,
    /// Another process has left something, or is at work.
    is_used: bool,
}

impl Destination {
    /// Opens a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`FetchError`]: it cannot be made, or something that is no folder is in the way of `weighbridge`.
    pub(crate) fn open(root: &Path) -> Result<Self, FetchError> {
        if is_hub_snapshot(root) {
            return Err(FetchError::HubSnapshot { folder: root.to_owned() });
        }
        let disk = Folder::open(root).map_err(|error| match root.metadata() {
            Ok(there) if !there.is_dir() => {
                let kind = if there.is_file() { Kind::File } else { Kind::Special };
                let (path, what, needed) = (root.to_owned(), kind.what(), Kind::Folder.what());
                FetchError::InTheWay { path, what, needed }
            }
            _ => IoError::at("create", root)(error).into(),
        })?;
        Self::on(Arc::new(disk), root)
    }

    /// As [`open`](Self::open), by way of a disk of the caller's. `root` is where it lies.
    pub(crate) fn on(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, FetchError> {
        let root = std::path::absolute(root).map_err(IoError::at("find", root))?;
        let site = Arc::new(Site { root, disk, lasting: Mutex::default(), open_files: AtomicUsize::new(0) });
        site.make_folder(PARTIAL)?;
        let mut destination = Self { site, placed: Mutex::default(), claims: Vec::new(), is_used: false };
        destination.take_back()?;
        Ok(destination)
    }

    /// The name of the model that is in the folder, by its head, which nobody has verified. `None` if there is no head, or
    /// none that can be read: that is repaired.
    ///
    /// # Errors
    /// [`FetchError`]: the head cannot be read, or is no file.
    pub(crate) fn model(&self) -> Result<Option<ModelName>, FetchError> {
        Ok(staged::published_head(&self.site)?.map(|head| head.name))
    }

    /// Opens the incomplete file of a root, or makes it, a hole as long as it will be.
    ///
    /// Of two files of one root only one can be incomplete at a time: the second is begun when the first is placed.
    ///
    /// # Errors
    /// [`FetchError`]: it cannot be opened, or a folder or link has its name.
    pub(crate) fn partial(&self, root: FileRoot, size: u64) -> Result<PartialFile, FetchError> {
        PartialFile::open(&self.site, root, size, Opening::Any)
    }

    /// As [`partial`](Self::partial), and makes none: `None`, if none is there.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn partial_if_there(
        &self,
        root: FileRoot,
        size: u64,
    ) -> Result<Option<PartialFile>, FetchError> {
        match PartialFile::open(&self.site, root, size, Opening::Old) {
            Err(FetchError::Io(error)) if error.source.kind() == NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The file that is there under its final name, and its length; `None` if there is none. It is not verified.
    ///
    /// # Errors
    /// [`FetchError`]: it cannot be opened, or something that is no file is in its place, or no folder in that of one
    /// above it.
    pub(crate) fn finished(&self, path: &EntryPath) -> Result<Option<(File, u64)>, FetchError> {
        if self.site.look_for_file(path.as_str())?.is_none() {
            return Ok(None);
        }
        self.site.read(path.as_str())
    }

    /// Whether an earlier fetch, or another process, has left something of a file.
    ///
    /// # Errors
    /// [`FetchError`]: it cannot be told, or what is there is no file.
    pub(crate) fn has_partial(&self, root: FileRoot) -> Result<bool, FetchError> {
        Ok(self.site.look_for_file(&path_of(root))?.is_some())
    }

    /// Whether another process had begun something here, and may be at work.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// How many incomplete files are open.
    pub(crate) fn open_files(&self) -> usize {
        self.site.open_files.load(SeqCst)
    }

    /// Makes a file that is there under its final name durable, and its name: whoever gave it that may not have.
    ///
    /// # Errors
    /// [`FetchError::Io`].
    pub(crate) fn settle(&self, path: &EntryPath) -> Result<(), FetchError> {
        let site = &self.site;
        let (folder, _) = path.as_str().rsplit_once('/').unwrap_or_default();
        site.disk.sync_file(path.as_str()).map_err(site.at("sync", path.as_str()))?;
        site.make_folder(folder)?;
        site.sync_folder(folder)
    }

    /// Makes a file durable and gives it its final name, in place of a file that has it.
    ///
    /// The caller has accepted and written every chunk of it, in this run or by reading it back.
    ///
    /// # Errors
    /// [`FetchError`]. It is then where it was; or nowhere, if somebody else has removed it; or in its place, if only the
    /// last sync failed.
    ///
    /// # Non-guarantee
    /// Where the system does not tell one open file from another (outside POSIX), two processes that place the same file
    /// at once may place one that a third has just begun.
    pub(crate) fn place(&self, partial: &PartialFile, path: &EntryPath) -> Result<(), FetchError> {
        partial.check_len()?;
        partial.sync_bytes()?;
        let mut tries = 0;
        loop {
            let moved = self.move_to(partial, path);
            tries += 1;
            match moved {
                // Another process has taken the file back, or removed a folder that was empty.
                Err(FetchError::Io(error)) if error.source.kind() == NotFound && tries < TRIES => {
                    self.site.forget_folders();
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        if let Some(identity) = partial.identity() {
            self.placed().insert(identity, path.clone());
        }
        Ok(())
    }

    /// One attempt. The file gets a name that nobody else knows, is looked at under it, and only then gets its final
    /// one: another process may place this file at any moment, and a third begin a new one under the old name.
    fn move_to(&self, partial: &PartialFile, path: &EntryPath) -> Result<(), FetchError> {
        let (site, place) = (&self.site, path.as_str());
        if site.look_for_file(place)?.is_some() {
            self.may_be_replaced(path)?;
        }
        let (folder, _) = place.rsplit_once('/').unwrap_or_default();
        site.make_folder(folder)?;
        if !self.is_at(partial, partial.path()) {
            return self.placed_by_another(partial, path);
        }
        let claim = format!("{}.{}", partial.path(), random_name()?);
        match site.disk.rename(partial.path(), &claim) {
            Err(error) if error.kind() == NotFound => {
                return self.placed_by_another(partial, path);
            }
            claimed => claimed.map_err(site.at("rename", partial.path()))?,
        }
        if !self.is_at(partial, &claim) {
            site.give_back(&claim, partial.path())?;
            return self.placed_by_another(partial, path);
        }
        if let Err(error) = site.disk.rename(&claim, place) {
            // Unless another process has taken it back already. What the first error says is worth more than a second.
            let _ = site.give_back(&claim, partial.path());
            return Err(site.at("write", place)(error).into());
        }
        site.sync_folder(folder)?;
        site.sync_folder(PARTIAL)
    }

    /// Nobody's file has our name. It is well if the final name is our file's, and durable.
    fn placed_by_another(&self, partial: &PartialFile, path: &EntryPath) -> Result<(), FetchError> {
        if partial.identity().is_some() && self.is_at(partial, path.as_str()) {
            let (folder, _) = path.as_str().rsplit_once('/').unwrap_or_default();
            return self.site.sync_folder(folder);
        }
        let error = io::Error::new(NotFound, "it was removed or placed elsewhere by another process");
        Err(self.site.at("finish", partial.path())(error).into())
    }

    /// Whether this name is that of our open file. Where the system cannot tell, it is believed to be.
    fn is_at(&self, partial: &PartialFile, path: &str) -> bool {
        let Ok(Some((there, _))) = self.site.read(path) else { return false };
        let there = there.metadata().ok().and_then(|metadata| identity_of(&metadata));
        there == partial.identity()
    }

    /// Refuses to replace a file that this fetch has placed under another path.
    fn may_be_replaced(&self, path: &EntryPath) -> Result<(), FetchError> {
        let Some((there, _)) = self.site.read(path.as_str())? else { return Ok(()) };
        let metadata = there.metadata().map_err(self.site.at("look at", path.as_str()))?;
        let known = identity_of(&metadata).and_then(|identity| self.placed().get(&identity).cloned());
        if known.is_some_and(|known| known != *path) && links_to(&metadata) == 1 {
            let what = "another file of the model, whose name this file system takes for the same";
            let (path, needed) = (self.site.place(path.as_str()), "a file of its own");
            return Err(FetchError::InTheWay { path, what, needed });
        }
        Ok(())
    }

    /// Gives files that a killed process was about to place the names by which they are found.
    fn take_back(&mut self) -> Result<(), FetchError> {
        for name in self.site.names(PARTIAL)? {
            self.is_used = true;
            let Some((root, _)) = claimed(&name) else { continue };
            let claim = format!("{PARTIAL}/{name}");
            self.site.give_back(&claim, &format!("{PARTIAL}/{root}"))?;
            if let Ok(root) = FileRoot::from_hex(root) {
                self.claims.push((root, claim));
            }
        }
        Ok(())
    }

    /// What processes that were killed had of a file when others had begun it anew. It is not verified.
    pub(crate) fn claims(&self, root: FileRoot) -> Vec<File> {
        let claims = self.claims.iter().filter(|(of, _)| *of == root);
        // One that was given back has this name no more.
        claims.filter_map(|(_, claim)| self.site.read(claim).ok().flatten()).map(|(file, _)| file).collect()
    }

    /// Where metadata is kept until it is complete.
    ///
    /// # Errors
    /// [`FetchError`]: the folder for it cannot be made.
    pub(crate) fn stage(&self, head: HeadId) -> Result<Staged, FetchError> {
        Staged::open(&self.site, head)
    }

    fn placed(&self) -> MutexGuard<'_, HashMap<Identity, EntryPath>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often placing is tried when another process comes in between.
const TRIES: u32 = 8;

/// The folder that is fetched into, with what is known of it.
pub(crate) struct Site {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Folders that outlast a power cut.
    lasting: Mutex<HashSet<String>>,
    /// How many incomplete files are open.
    pub(crate) open_files: AtomicUsize,
}

impl Site {
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// For messages, and for reading whole folders.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// For `map_err`.
    pub(crate) fn at(&self, doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> IoError + use<> {
        IoError::at(doing, self.place(path))
    }

    /// What has this name, if everything above it is there, and folders.
    pub(crate) fn look(&self, path: &str) -> Result<Option<Kind>, FetchError> {
        for (end, _) in path.match_indices('/') {
            match self.look_once(&path[..end])? {
                None => return Ok(None),
                Some(Kind::Folder) => {}
                Some(kind) => return Err(self.in_the_way(&path[..end], kind, Kind::Folder)),
            }
        }
        self.look_once(path)
    }

    fn look_once(&self, path: &str) -> Result<Option<Kind>, FetchError> {
        Ok(self.disk.look(path).map_err(self.at("look at", path))?)
    }

    /// Whether there is a regular file.
    pub(crate) fn look_for_file(&self, path: &str) -> Result<Option<()>, FetchError> {
        match self.look(path)? {
            None => Ok(None),
            Some(Kind::File) => Ok(Some(())),
            Some(kind) => Err(self.in_the_way(path, kind, Kind::File)),
        }
    }

    /// Opens a regular file; `None` if there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<(File, u64)>, FetchError> {
        let file = match self.disk.read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == NotFound => return Ok(None),
            Err(error) => return Err(self.at("open", path)(error).into()),
        };
        let metadata = file.metadata().map_err(self.at("look at", path))?;
        if metadata.is_file() {
            Ok(Some((file, metadata.len())))
        } else {
            let kind = if metadata.is_dir() { Kind::Folder } else { Kind::Special };
            Err(self.in_the_way(path, kind, Kind::File))
        }
    }

    pub(crate) fn in_the_way(&self, path: &str, kind: Kind, needed: Kind) -> FetchError {
        FetchError::InTheWay { path: self.place(path), what: kind.what(), needed: needed.what() }
    }

    /// Makes a folder and those above it, and makes their names durable: also of one that is there, which another
    /// process may have made a moment ago.
    pub(crate) fn make_folder(&self, path: &str) -> Result<(), FetchError> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]).filter(|folder| !folder.is_empty()) {
            if self.lasting().contains(folder) {
                continue;
            }
            match self.disk.make_folder(folder) {
                Ok(()) => {}
                Err(error) => match self.look_once(folder)? {
                    Some(Kind::Folder) => {}
                    Some(kind) => return Err(self.in_the_way(folder, kind, Kind::Folder)),
                    None => return Err(self.at("create", folder)(error).into()),
                },
            }
            self.sync_folder(folder.rsplit_once('/').unwrap_or_default().0)?;
            self.lasting().insert(folder.to_owned());
        }
        Ok(())
    }

    /// Folders may have been removed: they are made anew when they are needed.
    pub(crate) fn forget_folders(&self) {
        self.lasting().clear();
    }

    pub(crate) fn sync_folder(&self, path: &str) -> Result<(), FetchError> {
        Ok(self.disk.sync_folder(path).map_err(self.at("sync", path))?)
    }

    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, FetchError> {
        Ok(self.disk.names(path).map_err(self.at("read the folder", path))?)
    }

    /// Gives a file its old name again, unless somebody else has given that to another.
    fn give_back(&self, claim: &str, path: &str) -> Result<(), FetchError> {
        if self.look_once(path)?.is_some() || self.look_once(claim)? != Some(Kind::File) {
            return Ok(());
        }
        match self.disk.rename(claim, path) {
            Err(error) if error.kind() == NotFound => Ok(()),
            renamed => Ok(renamed.map_err(self.at("rename", claim))?),
        }
    }

    fn lasting(&self) -> MutexGuard<'_, HashSet<String>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A name that nobody else will use.
pub(crate) fn random_name() -> Result<String, FetchError> {
    let number = getrandom::u64().map_err(|_| {
        IoError::at("name a file in", FOLDER)(io::Error::other("the system gives no random bytes"))
    })?;
    Ok(format!("{number:016x}"))
}

/// The two parts of a name that a file has while it is placed: `<file root>.<random>`.
fn claimed(name: &str) -> Option<(&str, &str)> {
    let (root, random) = name.split_once('.')?;
    (is_hex(root, 64) && is_hex(random, 16)).then_some((root, random))
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod cuts;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
