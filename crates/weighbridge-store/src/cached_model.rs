//! The place of a model in a Hugging Face cache, into which releases are put (`spec/model-folder.md`).
//!
//! A release comes to be in `weighbridge/incoming`, a model folder as any other. Only when it is complete do its files move to
//! where the clients of the cache look for them.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use weighbridge_manifest::{EntryPath, FileEntry, MAX_NOTE, ModelName, VerifiedFileList};
use weighbridge_tree::{FileRoot, HeadId};

use crate::{
    Metadata,
    disk::{Disk, FileKind, Folder, Opening, links_to},
    hub_cache::{REVISION, is_id_of, revision_in},
    io::IoError,
    kept::list_of,
    lock::{FolderLock, LOCK},
    metadata::{self, CHUNKS, FILES, FOLDER, HEAD, KEPT, TENSORS, TEXT},
    site::{Site, folder_of, is_hex},
    staging::Existing,
    stamp::{Identity, identity_of},
    store_error::StoreError,
};

mod evict;
mod shelf;
mod usage;
pub(crate) use shelf::Shelf;
pub use usage::{Usage, distinct_bytes};

/// A model's folder in a Hugging Face cache, while this process alone writes to it.
///
/// # Guarantee
/// Until a release is [published](Self::publish), nothing that others see is changed. At every moment, and after a power
/// cut, `refs/main` names a snapshot all of whose files are there, or what it named before. What another program has put
/// there stays, but for `refs/main` if the caller says so, and for files under paths of the release in the release's own snapshot.
/// Nothing is written through a link.
///
/// # Non-guarantee
/// Clients of the hub take no part in the lock. On file systems without locks, several processes may write at once.
///
/// # Example
/// ```
/// use weighbridge_store::{CachedModel, Destination, Existing, Metadata};
/// # use weighbridge_store::{FILES, HEAD, Standing};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let cache = tempfile::tempdir()?;
/// # let hub = cache.path();
/// # let name = weighbridge_manifest::ModelName::parse("example/tiny")?;
///
/// let cached = CachedModel::open(hub, &name, Existing::Keep, |holder| eprintln!("waiting for {holder:?}"))?;
/// // Whatever makes a model folder makes one there: a fetch, an import. What the cache has already is not fetched.
/// let destination = Destination::open(&cached.incoming())?;
/// # let entry = &sample.list.entries()[0];
/// # let partial = destination.partial(entry.root, entry.size)?;
/// # partial.write(&sample.verifier(0).accept_run(0, sample.bytes(0)).unwrap())?;
/// # let staged = destination.stage(sample.id)?;
/// # staged.write(HEAD, &sample.note)?;
/// # staged.write(FILES, &sample.files)?;
/// # let mut naming = destination.begin_naming(destination.lock()?, &staged)?;
/// # naming.place(&destination, &partial, &entry.path)?;
/// # staged.publish(&mut naming)?;
/// # naming.sweep(Standing::IsWhole)?;
/// # drop(naming);
///
/// let snapshot = cached.publish(sample.id, |_| true)?;
/// assert_eq!(std::fs::read(snapshot.join("model.bin"))?, sample.bytes(0));
/// assert_eq!(std::fs::read(Metadata::of_model(&snapshot).folder().join("head.note"))?, sample.note);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CachedModel {
    /// The folder of the hub, without links in its path.
    site: Arc<Site>,
    /// The model's folder in it.
    repository: String,
    existing: Existing,
    is_published: bool,
    _lock: FolderLock,
}

impl CachedModel {
    /// Opens the place of a model in the cache at `hub`, and makes it if need be. Waits for as long as another process writes
    /// there, of which `waits` is told what is known. What a killed process had begun to publish is published. Files that are
    /// there already get second names in [`incoming`](Self::incoming); nobody has verified them.
    ///
    /// `existing` says whether a `refs/main` may be replaced that another program has written.
    ///
    /// # Errors
    /// [`StoreError`]: the name has no place there (9210), `refs/main` is not to be replaced (9211), or the cache cannot be written.
    pub fn open(
        hub: &Path,
        name: &ModelName,
        existing: Existing,
        waits: impl FnOnce(Option<&str>),
    ) -> Result<Self, StoreError> {
        let mut waits = Some(waits);
        let lock = |folder| {
            Some(FolderLock::wait(folder, WORK, |holder| {
                if let Some(waits) = waits.take() {
                    waits(holder);
                }
            }))
        };
        let (disk, hub, repository) = Self::find(hub, name)?;
        // It waits for the lock, so it has it.
        Self::on(Arc::new(disk), &hub, (name, repository.clone()), existing, lock)?.ok_or_else(|| {
            let place = hub.join(repository);
            IoError::at("lock", &place)(io::ErrorKind::WouldBlock.into()).into()
        })
    }

    /// Opens the place of a model in the cache at `hub`, as [`open`](Self::open) does, to [remove](Self::remove) it. `None` if
    /// another process or thread writes there, or if the file system has no locks.
    ///
    /// # Errors
    /// [`StoreError`]: the name has no place there (9210), or the cache cannot be written.
    pub fn open_unused(hub: &Path, name: &ModelName) -> Result<Option<Self>, StoreError> {
        let (disk, hub, repository) = Self::find(hub, name)?;
        let lock = |folder| FolderLock::try_take(folder, WORK);
        Self::on(Arc::new(disk), &hub, (name, repository), Existing::Replace, lock)
    }

    fn find(hub: &Path, name: &ModelName) -> Result<(Folder, PathBuf, String), StoreError> {
        let repository = Self::folder_of(name)?;
        let disk = Folder::open(hub).map_err(IoError::at("create", hub))?;
        let hub = fs::canonicalize(hub).map_err(IoError::at("open", hub))?;
        Ok((disk, hub, repository))
    }

    fn on(
        disk: Arc<dyn Disk>,
        hub: &Path,
        (name, repository): (&ModelName, String),
        existing: Existing,
        mut lock: impl FnMut(File) -> Option<FolderLock>,
    ) -> Result<Option<Self>, StoreError> {
        let site = Site::of_metadata(disk, hub);
        let is_same = |other: &String| *other != repository && other.eq_ignore_ascii_case(&repository);
        if let Some(taken) = site.names("")?.into_iter().find(is_same) {
            return Err(StoreError::NoPlaceInCache { name: name.clone(), taken: Some(site.place(&taken)) });
        }
        let folder = format!("{repository}/{FOLDER}");
        let lock = loop {
            site.make_folder(&folder)?;
            let opened = match site.disk().lockable(&folder) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => break FolderLock::none(),
                opened => opened.map_err(site.at("lock", &folder))?,
            };
            let locked = identity(&opened);
            let Some(lock) = lock(opened) else { return Ok(None) };
            // Somebody may have removed the folder meanwhile: its lock holds nobody else.
            if site
                .disk()
                .stamp(&folder)
                .is_ok_and(|there| there.and_then(|there| there.identity()) == locked)
            {
                break lock;
            }
            site.forget_folders();
        };
        let cached = Self { site, repository, existing, is_published: false, _lock: lock };
        cached.refuse_foreign_revision()?;
        cached.check_places()?;
        cached.go_on()?;
        cached.tidy()?;
        Ok(Some(cached))
    }

    /// The name of a model's folder in a cache.
    ///
    /// # Errors
    /// [`StoreError`] (9210): another name would have the same folder, or clients of the cache would not find it.
    ///
    /// # Example
    /// ```
    /// use weighbridge_manifest::ModelName;
    /// use weighbridge_store::CachedModel;
    ///
    /// let folder = |name| CachedModel::folder_of(&ModelName::parse(name).unwrap());
    /// assert_eq!(folder("org/model").ok().as_deref(), Some("models--org--model"));
    /// assert!(folder("a--b/c").is_err() && folder("a/b--c").is_err());
    /// ```
    pub fn folder_of(name: &ModelName) -> Result<String, StoreError> {
        let folder = format!("models--{}", name.as_str().replace('/', "--"));
        // Clients take no other names; the folder has to give the name back.
        let is_part =
            |part: &str| !part.contains("--") && !part.contains("..") && !part.ends_with(['-', '.']);
        let has_place = match name.as_str().split_once('/') {
            Some((organisation, model)) => {
                is_part(organisation)
                    && is_part(model)
                    && !model.contains('/')
                    && !model.ends_with(".git")
                    && model.len() <= MAX_MODEL
                    && folder.len() <= MAX_FOLDER
            }
            None => false,
        };
        has_place
            .then_some(folder)
            .ok_or_else(|| StoreError::NoPlaceInCache { name: name.clone(), taken: None })
    }

    /// The folder in which the next release comes to be.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.site.place(&self.at(INCOMING))
    }

    /// Puts the release of this head, which stands in [`incoming`](Self::incoming), into its place in the cache, and returns the
    /// path of its snapshot. `is_there` says which files of its list have come: the caller has verified all of them. Others are in
    /// the snapshot too if the cache has them by their roots.
    ///
    /// # Errors
    /// [`StoreError`]. Whoever opens this place next goes on from there.
    pub fn publish(
        mut self,
        head: HeadId,
        is_there: impl Fn(&EntryPath) -> bool,
    ) -> Result<PathBuf, StoreError> {
        let (site, metadata) = (&self.site, self.at(&format!("{INCOMING}/{FOLDER}")));
        let note =
            site.read_bounded(&format!("{metadata}/{HEAD}"), u64::try_from(MAX_NOTE).unwrap_or(u64::MAX))?;
        let files = note.as_ref().and_then(|note| list_of(&site.place(&metadata), note));
        let Some(files) = files.filter(|files| files.head().id() == head) else {
            let missing =
                io::Error::new(io::ErrorKind::InvalidData, "that head does not stand there with its list");
            return Err(site.at("publish", &metadata)(missing).into());
        };
        self.refuse_foreign_revision()?;
        for entry in files.entries().iter().filter(|entry| !is_there(&entry.path)) {
            site.remove_if_there(&self.at(&format!("{INCOMING}/{}", entry.path.as_str())))?;
        }
        let has = |root: FileRoot| site.look_once(&self.at(&format!("{BLOBS}/{root}")));
        let moves = Moves::of(&files, |entry| {
            is_there(&entry.path) || has(entry.root).is_ok_and(|there| there == Some(FileKind::File))
        });
        self.write(PUBLISHING, moves.text().as_bytes())?;
        self.put(&moves)?;
        let snapshot = site.place(&self.snapshot(moves.head));
        self.is_published = true;
        Ok(snapshot)
    }

    /// The path of the snapshot of a head, which need not be there.
    #[must_use]
    pub fn snapshot_of(&self, head: HeadId) -> PathBuf {
        self.site.place(&self.snapshot(head))
    }

    /// The metadata of the releases that were put into this place, in no order. None is verified.
    ///
    /// # Errors
    /// [`StoreError::Io`]: they cannot be listed.
    pub fn releases(&self) -> Result<Vec<Metadata>, StoreError> {
        let folder = self.at(FOLDER);
        let ids = self.site.names(&folder)?.into_iter().filter(|name| is_hex(name, 64));
        Ok(ids.map(|id| Metadata::at(self.site.place(&format!("{folder}/{id}")))).collect())
    }

    /// Refuses a `refs/main` that another program has written, unless it may be replaced.
    fn refuse_foreign_revision(&self) -> Result<(), StoreError> {
        let place = self.at(MAIN);
        if self.existing == Existing::Replace || !self.site.has_file(&place)? {
            return Ok(());
        }
        let ids = self.site.names(&self.at(FOLDER))?;
        let revision = revision_in(&self.site, &place)?;
        match revision.is_some_and(|revision| ids.iter().any(|id| is_id_of(id, &revision))) {
            true => Ok(()),
            false => Err(StoreError::ForeignRevision { place: self.site.place(&place) }),
        }
    }

    /// Puts into its place what a killed process had begun to put there.
    fn go_on(&self) -> Result<(), StoreError> {
        let Some(text) = self.site.read_bounded(&self.at(PUBLISHING), MAX_PUBLISHING)? else {
            return Ok(());
        };
        let put = Moves::parse(&text).map(|moves| self.put(&moves));
        match put {
            Some(Err(StoreError::Io(error))) if error.source.kind() == io::ErrorKind::NotFound => {}
            Some(put) => return put,
            None => {}
        }
        // A client of the hub has removed files of it meanwhile, or this is no file of ours.
        self.site.remove_if_there(&self.at(PUBLISHING))
    }

    /// Removes what killed processes have left in `incoming`, but for bytes that have come: second names of files of the cache, and
    /// metadata of whatever stood there.
    fn tidy(&self) -> Result<(), StoreError> {
        let (site, incoming) = (&self.site, self.at(INCOMING));
        let own = format!("{incoming}/{FOLDER}");
        for file in shelf::named_files(site, &incoming, &own) {
            let found = site.read(&file).ok().flatten().and_then(|(file, _)| file.metadata().ok());
            // What is no file did not come by a fetch.
            if found.is_none_or(|found| links_to(&found) != 1) {
                site.remove_if_there(&file)?;
            }
        }
        METADATA.iter().rev().try_for_each(|name| site.remove_if_there(&format!("{own}/{name}")))?;
        for folder in [KEPT, metadata::NEW] {
            let _ = remove_all(site, &format!("{own}/{folder}"));
        }
        Ok(())
    }

    /// Refuses a cache into which nothing could be put in the end.
    fn check_places(&self) -> Result<(), StoreError> {
        let site = &self.site;
        for folder in [BLOBS, SNAPSHOTS, "refs", INCOMING] {
            if let Some(kind) = site.look(&self.at(folder))?.filter(|kind| *kind != FileKind::Folder) {
                return Err(site.in_the_way(&self.at(folder), kind, FileKind::Folder));
            }
        }
        site.make_folder(&self.at(BLOBS))?;
        let trial = self.at(NEW);
        site.remove_if_there(&trial)?;
        site.disk().symlink(BLOBS, &trial).map_err(|_| StoreError::NoLinks { folder: site.place("") })?;
        site.remove_if_there(&trial)
    }

    /// Takes the steps by which a release gets into its place. They can be taken again from any point.
    fn put(&self, moves: &Moves) -> Result<(), StoreError> {
        let site = &self.site;
        let (metadata, blobs) = (self.at(&format!("{FOLDER}/{}", moves.head)), self.at(BLOBS));
        [&metadata, &blobs].into_iter().try_for_each(|folder| site.make_folder(folder))?;
        for (root, path) in &moves.files {
            self.take(&format!("{INCOMING}/{}", path.as_str()), &format!("{BLOBS}/{root}"))?;
        }
        site.sync_folder(&blobs)?;
        for name in METADATA {
            let from = format!("{INCOMING}/{FOLDER}/{name}");
            if site.look(&self.at(&from))? == Some(FileKind::File) {
                self.take(&from, &format!("{FOLDER}/{}/{name}", moves.head))?;
            }
        }
        site.sync_folder(&metadata)?;
        let head = format!("{metadata}/{HEAD}");
        if !site.has_file(&head)? {
            return Err(site.at("publish", &head)(io::ErrorKind::NotFound.into()).into());
        }
        self.link_snapshot(moves)?;
        site.make_folder(&self.at("refs"))?;
        self.write(MAIN, revision_of(moves.head).as_bytes())?;
        site.remove_if_there(&self.at(PUBLISHING))?;
        site.sync_folder(&self.at(FOLDER))?;
        // What stays is in nobody's way.
        let _ = remove_all(site, &self.at(INCOMING));
        Ok(())
    }

    /// Renames a file, unless that was done already.
    fn take(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (site, from, to) = (&self.site, self.at(from), self.at(to));
        if site.look(&from)? == Some(FileKind::File) {
            site.rename(&from, &to)?;
            // Two names of one file both stay.
            return site.remove_if_there(&from);
        }
        if site.has_file(&to)? {
            return Ok(());
        }
        Err(site.at("publish", &from)(io::ErrorKind::NotFound.into()).into())
    }

    /// Makes the links of a snapshot.
    fn link_snapshot(&self, moves: &Moves) -> Result<(), StoreError> {
        let (site, snapshot) = (&self.site, self.snapshot(moves.head));
        let mut folders = BTreeSet::new();
        for (root, path) in &moves.files {
            let place = format!("{snapshot}/{}", path.as_str());
            let up = "../".repeat(path.as_str().matches('/').count().saturating_add(2));
            let target = format!("{up}{BLOBS}/{root}");
            let folder = folder_of(&place).to_owned();
            site.make_folder(&folder)?;
            match site.look(&place)? {
                Some(FileKind::Link) if site.disk().read_link(&place).is_ok_and(|there| there == target) => {}
                Some(FileKind::Folder) => {
                    return Err(site.in_the_way(&place, FileKind::Folder, FileKind::Link));
                }
                there => {
                    if there.is_some() {
                        site.remove_if_there(&place)?;
                    }
                    site.disk().symlink(&target, &place).map_err(site.at("link", &place))?;
                }
            }
            folders.insert(folder);
        }
        site.make_folder(&snapshot)?;
        folders.iter().try_for_each(|folder| site.sync_folder(folder))
    }

    /// Writes a small file of ours, and makes it durable with its name.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (site, place, new) = (&self.site, self.at(name), self.at(NEW));
        site.remove_if_there(&new)?;
        let written = site.disk().write(&new, Opening::New).and_then(|file| {
            file.write_at(bytes, 0)?;
            file.sync()
        });
        written.map_err(site.at("write", &new))?;
        site.rename(&new, &place)?;
        site.sync_folder(folder_of(&place))
    }

    fn snapshot(&self, head: HeadId) -> String {
        self.at(&format!("{SNAPSHOTS}/{}", revision_of(head)))
    }

    /// The path of what lies in the model's folder.
    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.repository)
    }
}

impl Drop for CachedModel {
    /// Leaves nothing behind but what has come, unless the release was published, or that was begun: whoever comes next goes on.
    fn drop(&mut self) {
        let site = &self.site;
        if self.is_published || !site.look(&self.at(PUBLISHING)).is_ok_and(|there| there.is_none()) {
            return;
        }
        let _ = self.tidy();
        remove_empty(site, &self.at(INCOMING));
        let _ = site.disk().remove_folder(&self.at(BLOBS));
        // A folder with releases, or with what a client has put there, is not empty.
        if site.names(&self.at(FOLDER)).is_ok_and(|names| names == [LOCK]) {
            let _ = site.remove_if_there(&self.at(&format!("{FOLDER}/{LOCK}")));
            let _ = site.disk().remove_folder(&self.at(FOLDER));
            let _ = site.disk().remove_folder(&self.repository);
        }
    }
}

/// The files of a release that get into their places: the content of `publishing`.
#[derive(Debug, PartialEq, Eq)]
struct Moves {
    head: HeadId,
    files: Vec<(FileRoot, EntryPath)>,
}

impl Moves {
    fn of(list: &VerifiedFileList, is_wanted: impl Fn(&FileEntry) -> bool) -> Self {
        let wanted = list.entries().iter().filter(|entry| is_wanted(entry));
        let files = wanted.map(|entry| (entry.root, entry.path.clone())).collect();
        Self { head: list.head().id(), files }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.head);
        for (root, path) in &self.files {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{root} {}", path.as_str());
        }
        text
    }

    /// `None` if it is nothing that [`text`](Self::text) writes.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        let head = HeadId::from_hex(lines.next()?).ok()?;
        let file = |line: &str| {
            let (root, path) = line.split_once(' ')?;
            Some((FileRoot::from_hex(root).ok()?, EntryPath::parse(path).ok()?))
        };
        Some(Self { head, files: lines.map(file).collect::<Option<_>>()? })
    }
}

fn revision_of(head: HeadId) -> String {
    head.to_string().chars().take(REVISION).collect()
}

/// Removes a folder and all that is in it. Of a link, the link is removed.
fn remove_all(site: &Site, path: &str) -> Result<(), StoreError> {
    // No path of a file list is as deep as a call stack.
    for name in site.names_if_there(path)? {
        let below = format!("{path}/{name}");
        match site.look_once(&below)? {
            Some(FileKind::Folder) => remove_all(site, &below)?,
            _ => site.remove_if_there(&below)?,
        }
    }
    site.disk().remove_folder(path).map_err(site.at("remove", path))?;
    site.forget_folders();
    Ok(())
}

/// Removes the folders at a path and below that are empty.
fn remove_empty(site: &Site, path: &str) {
    for name in site.names_if_there(path).unwrap_or_default() {
        let below = format!("{path}/{name}");
        if site.look_once(&below).is_ok_and(|kind| kind == Some(FileKind::Folder)) {
            remove_empty(site, &below);
        }
    }
    let _ = site.disk().remove_folder(path);
    site.forget_folders();
}

fn identity(folder: &File) -> Option<Identity> {
    folder.metadata().ok().and_then(|found| identity_of(&found))
}

/// What a release has in its metadata folder, the head last.
const METADATA: [&str; 5] = [FILES, TENSORS, CHUNKS, TEXT, HEAD];
/// The longest second part of a name that clients take, and the longest name of a folder.
const MAX_MODEL: usize = 96;
const MAX_FOLDER: usize = 255;
const BLOBS: &str = "blobs";
const SNAPSHOTS: &str = "snapshots";
const MAIN: &str = "refs/main";
const NEW: &str = "weighbridge/new";
const INCOMING: &str = "weighbridge/incoming";
const PUBLISHING: &str = "weighbridge/publishing";
/// More than the lines of as many files need as a list may have.
const MAX_PUBLISHING: u64 = 2 << 30;
/// The name of this work in the messages of processes that wait for it.
const WORK: &str = "a fetch or import";

#[cfg(test)]
mod tests;
