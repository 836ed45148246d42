//! Caches of Hugging Face's clients: snapshots are folders of links, and the links lead to files elsewhere in the
//! cache.
//!
//! ```text
//! hub/models--ORG--NAME/snapshots/REVISION/FILE -> ../../blobs/ETAG
//! hub/models--ORG--NAME/blobs/ETAG                 a file, or -> ../../blobs/AB/AB…
//! hub/blobs/AB/AB…                                 a file that all repositories share
//! hub/blobs/.huggingface-shared-blobs              the mark of that store, with the version of its layout
//! ```
//!
//! The shared store came with huggingface_hub 1.32 (its module `_shared_blobs`). `AB` is the first two of the 64
//! hexadecimal digits that follow it.
//!
//! Releases that weighbridge has put there (`spec/model-folder.md`) have links alone in their snapshots, and their metadata beside
//! these:
//!
//! ```text
//! hub/models--ORG--NAME/weighbridge/ID             of snapshots/REVISION, with which ID begins
//! ```
//!
//! The links are read and matched name by name beneath the hub's open folder, and the files are opened beneath it: a
//! folder of the cache that somebody replaces by a link leads nowhere.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::FileKind,
    metadata::FOLDER,
    place::{Place, Root},
    site::{Site, is_hex},
    store_error::StoreError,
};

/// A cache, as its snapshot sees it. All paths are beneath the hub's folder.
pub(crate) struct HubCache {
    hub: Arc<Root>,
    snapshot: PathBuf,
    /// The folder of the repository's files. Never a link: a link could make any folder acceptable.
    blobs: PathBuf,
    /// Whether the cache has the store of the files of all repositories.
    has_store: bool,
}

impl HubCache {
    /// Returns the cache of which `snapshot` is a snapshot. The path `snapshot` has no links left in it.
    pub(crate) fn of(snapshot: &Path) -> Option<Self> {
        let repository = repository_of(snapshot)?;
        let hub = repository.parent()?;
        let snapshot = snapshot.strip_prefix(hub).ok()?.to_owned();
        let hub = Root::open(hub).ok()?;
        let repository = Path::new(repository.file_name()?);
        let blobs = repository.join("blobs");
        let is_folder = hub.look(&blobs).is_ok_and(|(kind, _)| kind == FileKind::Folder);
        let is_model = repository.as_os_str().as_encoded_bytes().starts_with(b"models--");
        is_folder.then(|| Self { has_store: is_model && has_store(&hub), hub, snapshot, blobs })
    }

    /// Returns the place to which a link of the snapshot leads, if the snapshot may lead there, and what is there.
    /// `link` is relative to the snapshot.
    pub(crate) fn target(&self, link: &Path) -> Option<(Place, FileKind, u64)> {
        let blob =
            self.leads_out(&self.snapshot.join(link)).filter(|blob| blob.parent() == Some(&self.blobs))?;
        let (file, kind, size) = match self.hub.look(&blob).ok()? {
            (FileKind::Link, _) => {
                let file = self.leads_to(&blob).filter(|file| self.has_store && is_of_store(file))?;
                let (kind, size) = self.hub.look(&file).ok().filter(|(kind, _)| *kind != FileKind::Link)?;
                (file, kind, size)
            }
            (kind, size) => (blob, kind, size),
        };
        Some((self.hub.place(&file), kind, size))
    }

    /// Returns the path outside the snapshot to which a link leads, by as many links of the snapshot as it may.
    fn leads_out(&self, link: &Path) -> Option<PathBuf> {
        let mut path = self.leads_to(link)?;
        for _ in 0..MAX_LINKS {
            if !path.starts_with(&self.snapshot) {
                return Some(path);
            }
            path = self.leads_to(&path)?;
        }
        None
    }

    /// Returns the path that a link names, without a look at what is there. `link` and the result are beneath the hub.
    fn leads_to(&self, link: &Path) -> Option<PathBuf> {
        let target = self.hub.read_link(link).ok()?;
        if target.is_absolute() {
            let folder = fs::canonicalize(target.parent()?).ok()?;
            return Some(self.hub.strip(&folder)?.join(target.file_name()?));
        }
        let mut path = link.parent()?.to_owned();
        let mut is_named = false;
        for part in target.components() {
            match part {
                Component::Normal(name) => {
                    path.push(name);
                    is_named = true;
                }
                // The folder above one that the target names itself depends on where that one leads.
                Component::ParentDir if !is_named && path.pop() => {}
                Component::CurDir => {}
                _ => return None,
            }
        }
        is_named.then_some(path)
    }
}

/// The number of links in a row that Linux follows.
const MAX_LINKS: usize = 40;

/// Whether a path beneath the hub is that of a file in the store that all repositories share.
fn is_of_store(file: &Path) -> bool {
    let mut names = file.iter().map(OsStr::to_str);
    let (Some(Some("blobs")), Some(Some(beginning)), Some(Some(name)), None) =
        (names.next(), names.next(), names.next(), names.next())
    else {
        return false;
    };
    let is_hash = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hash && name.get(..2) == Some(beginning)
}

/// Whether a folder is a snapshot in a cache of Hugging Face's clients. Those clients manage its content; other
/// programs change nothing in it.
///
/// # Example
/// ```
/// use weighbridge_store::is_hub_snapshot;
/// # use std::fs::create_dir_all;
///
/// let hub = tempfile::tempdir()?;
/// let repository = hub.path().join("models--org--name");
/// let snapshot = repository.join("snapshots/0123abcd");
/// create_dir_all(&snapshot)?;
/// create_dir_all(repository.join("blobs"))?;
///
/// assert!(is_hub_snapshot(&snapshot));
/// assert!(!is_hub_snapshot(hub.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn is_hub_snapshot(model: &Path) -> bool {
    fs::canonicalize(model).is_ok_and(|model| {
        let blobs = repository_of(&model).map(|repository| repository.join("blobs"));
        blobs.is_some_and(|blobs| fs::symlink_metadata(blobs).is_ok_and(|found| found.is_dir()))
    })
}

/// The metadata of a snapshot that weighbridge has put into a cache: the folder beside `snapshots` for the head whose id
/// begins as the snapshot is named. `None` if there is none, or more than one.
pub(crate) fn metadata_of(snapshot: &Path) -> Option<PathBuf> {
    let snapshot = fs::canonicalize(snapshot).ok()?;
    let revision = snapshot.file_name()?.to_str().filter(|name| is_hex(name, REVISION))?;
    let folder = repository_of(&snapshot)?.join(FOLDER);
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let names = fs::read_dir(&folder).ok()?.filter_map(|entry| entry.ok().and_then(name));
    let mut ids = names.filter(|name| is_id_of(name, revision));
    let id = ids.next()?;
    ids.next().is_none().then(|| folder.join(id))
}

/// The revision that a file such as `refs/main` names, if it is a name of one.
pub(crate) fn revision_in(site: &Site, path: &str) -> Result<Option<String>, StoreError> {
    let text = site.read_bounded(path, MAX_REVISION)?.and_then(|text| String::from_utf8(text).ok());
    Ok(text.map(|text| text.trim_end().to_owned()).filter(|revision| is_hex(revision, REVISION)))
}

/// More than any name of a revision has.
const MAX_REVISION: u64 = 256;

/// Whether a name is that of the metadata of a revision: a head id that begins with it.
pub(crate) fn is_id_of(name: &str, revision: &str) -> bool {
    is_hex(name, 64) && name.starts_with(revision)
}

/// The number of hexadecimal digits in the name of a revision.
pub(crate) const REVISION: usize = 40;

/// The repository of which a folder is a snapshot, by its path.
fn repository_of(snapshot: &Path) -> Option<&Path> {
    let snapshots = snapshot.parent().filter(|folder| folder.file_name() == Some(OsStr::new("snapshots")))?;
    snapshots.parent()
}

fn has_store(hub: &Arc<Root>) -> bool {
    let mark = hub.place(Path::new("blobs/.huggingface-shared-blobs"));
    let Ok(file) = mark.open() else { return false };
    let mut version = Vec::new();
    file.metadata().is_ok_and(|found| found.is_file())
        && file.take(16).read_to_end(&mut version).is_ok()
        && version == b"1\n"
}
