//! The place of a model in a Hugging Face cache, into which releases are put (`spec/model-folder.md`).
//!
//! A release comes to be in `weighbridge/incoming`, a model folder as any other. Only when it is complete do its files move to
//! where the clients of the cache look for them.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use weighbridge_manifest::{EntryPath, MAX_NOTE, ModelName, VerifiedFileList};
use weighbridge_tree::{FileRoot, HeadId};

use crate::{
    Metadata,
    disk::{Disk, FileKind, Folder, Opening},
    hub_cache::{REVISION, is_id_of},
    io::IoError,
    kept::list_of,
    lock::FolderLock,
    metadata::{CHUNKS, FILES, FOLDER, HEAD, TENSORS, TEXT},
    site::{Site, folder_of, is_hex},
    staging::Existing,
    store_error::StoreError,
    walk::walk,
};

/// A model's folder in a Hugging Face cache, while this process alone writes to it.
///
/// # Guarantee
/// Until a release is [published](Self::publish), nothing outside `weighbridge` is changed. At every moment, and after a power
/// cut, `refs/main` names a snapshot all of whose files are there, or what it named before. What another program has put
/// there stays, but for `refs/main` if the caller says so. Nothing is written through a link.
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
/// // Whatever makes a model folder makes one there: a fetch, an import.
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
/// let snapshot = cached.publish(|_| true)?;
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
        let repository = Self::folder_of(name)?;
        let disk = Folder::open(hub).map_err(IoError::at("create", hub))?;
        let hub = fs::canonicalize(hub).map_err(IoError::at("open", hub))?;
        Self::on(Arc::new(disk), &hub, (name, repository), existing, waits)
    }

    fn on(
        disk: Arc<dyn Disk>,
        hub: &Path,
        (name, repository): (&ModelName, String),
        existing: Existing,
        waits: impl FnOnce(Option<&str>),
    ) -> Result<Self, StoreError> {
        let site = Site::of_metadata(disk, hub);
        let is_same = |other: &String| *other != repository && other.eq_ignore_ascii_case(&repository);
        if let Some(taken) = site.names("")?.into_iter().find(is_same) {
            return Err(StoreError::NoPlaceInCache { name: name.clone(), taken: Some(site.place(&taken)) });
        }
        let folder = format!("{repository}/{FOLDER}");
        site.make_folder(&folder)?;
        let lock = match site.disk().lockable(&folder) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => FolderLock::none(),
            opened => FolderLock::wait(opened.map_err(site.at("lock", &folder))?, WORK, waits),
        };
        let cached = Self { site, repository, existing, _lock: lock };
        cached.refuse_foreign_revision()?;
        cached.go_on()?;
        cached.link_what_is_there()?;
        Ok(cached)
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
        let flat = name.as_str().replace('/', "--");
        // Only names that can be told from the folder again.
        let is_told = flat.split("--").eq(name.as_str().split('/')) && flat.split("--").count() == 2;
        if is_told {
            Ok(format!("models--{flat}"))
        } else {
            Err(StoreError::NoPlaceInCache { name: name.clone(), taken: None })
        }
    }

    /// The folder in which the next release comes to be.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.site.place(&self.at(INCOMING))
    }

    /// Puts the release that stands in [`incoming`](Self::incoming) into its place in the cache, and returns the path of its
    /// snapshot. `is_wanted` says which files of its list do: the caller has verified all of them.
    ///
    /// # Errors
    /// [`StoreError`]. Whoever opens this place next goes on from there.
    pub fn publish(self, is_wanted: impl Fn(&EntryPath) -> bool) -> Result<PathBuf, StoreError> {
        let (site, metadata) = (&self.site, self.at(&format!("{INCOMING}/{FOLDER}")));
        let note =
            site.read_bounded(&format!("{metadata}/{HEAD}"), u64::try_from(MAX_NOTE).unwrap_or(u64::MAX))?;
        let files = note.as_ref().and_then(|note| list_of(&site.place(&metadata), note));
        let Some(files) = files else {
            let missing = io::Error::new(io::ErrorKind::InvalidData, "no head stands there with its list");
            return Err(site.at("publish", &metadata)(missing).into());
        };
        let moves = Moves::of(&files, is_wanted);
        self.refuse_foreign_revision()?;
        self.write(PUBLISHING, moves.text().as_bytes())?;
        self.put(&moves)?;
        Ok(site.place(&self.snapshot(moves.head)))
    }

    /// Refuses a `refs/main` that another program has written, unless it may be replaced.
    fn refuse_foreign_revision(&self) -> Result<(), StoreError> {
        let place = self.at(MAIN);
        if self.existing == Existing::Replace || !self.site.has_file(&place)? {
            return Ok(());
        }
        let ids = self.site.names(&self.at(FOLDER))?;
        let revision = self.revision()?;
        match revision.is_some_and(|revision| ids.iter().any(|id| is_id_of(id, &revision))) {
            true => Ok(()),
            false => Err(StoreError::ForeignRevision { place: self.site.place(&place) }),
        }
    }

    /// The revision that `refs/main` names, if it is a name of one.
    fn revision(&self) -> Result<Option<String>, StoreError> {
        let text = self.site.read_bounded(&self.at(MAIN), MAX_REVISION)?;
        let text = text.and_then(|text| String::from_utf8(text).ok());
        Ok(text.map(|text| text.trim_end().to_owned()).filter(|revision| is_hex(revision, REVISION)))
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

    /// Gives what the snapshot of `refs/main` has second names in `incoming`, unless a head stands there: files that are wanted
    /// still are not fetched again. What cannot have a second name is fetched.
    fn link_what_is_there(&self) -> Result<(), StoreError> {
        let (site, metadata) = (&self.site, self.at(&format!("{INCOMING}/{FOLDER}")));
        site.make_folder(&metadata)?;
        if site.has_file(&format!("{metadata}/{HEAD}"))? {
            return Ok(());
        }
        let Some(revision) = self.revision()? else { return Ok(()) };
        let snapshot = site.place(&self.at(&format!("snapshots/{revision}")));
        let Ok(found) = walk(&snapshot) else { return Ok(()) };
        for found in found.files {
            let to = self.at(&format!("{INCOMING}/{}", found.path.as_str()));
            self.link(&found.file, &to)?;
        }
        let of_snapshot = Metadata::of_model(&snapshot);
        if of_snapshot.folder().starts_with(site.place(&self.at(FOLDER))) {
            for name in METADATA {
                self.link(&of_snapshot.folder().join(name), &format!("{metadata}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Gives a file of the cache a second name, if the file system can.
    fn link(&self, from: &Path, to: &str) -> Result<(), StoreError> {
        let (site, hub) = (&self.site, self.site.place(""));
        let Some(from) = from.strip_prefix(&hub).ok().and_then(Path::to_str) else { return Ok(()) };
        site.make_folder(folder_of(to))?;
        // A name that is there stays, and what gets none is fetched.
        let _ = site.disk().link(from, to);
        Ok(())
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
        self.at(&format!("snapshots/{}", revision_of(head)))
    }

    /// The path of what lies in the model's folder.
    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.repository)
    }
}

/// The files of a release that get into their places: the content of `publishing`.
#[derive(Debug, PartialEq, Eq)]
struct Moves {
    head: HeadId,
    files: Vec<(FileRoot, EntryPath)>,
}

impl Moves {
    fn of(list: &VerifiedFileList, is_wanted: impl Fn(&EntryPath) -> bool) -> Self {
        let wanted = list.entries().iter().filter(|entry| is_wanted(&entry.path));
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

/// What a release has in its metadata folder, the head last.
const METADATA: [&str; 5] = [FILES, TENSORS, CHUNKS, TEXT, HEAD];
const BLOBS: &str = "blobs";
const MAIN: &str = "refs/main";
const NEW: &str = "weighbridge/new";
const INCOMING: &str = "weighbridge/incoming";
const PUBLISHING: &str = "weighbridge/publishing";
/// More than any name of a revision has.
const MAX_REVISION: u64 = 256;
/// More than the lines of as many files need as a list may have.
const MAX_PUBLISHING: u64 = 2 << 30;
/// The name of this work in the messages of processes that wait for it.
const WORK: &str = "a fetch or import";

#[cfg(test)]
mod tests;
