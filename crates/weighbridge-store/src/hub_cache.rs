//! Caches of Hugging Face's clients: snapshots of links, and the files that these lead to.
//!
//! ```text
//! hub/models--ORG--NAME/snapshots/REVISION/FILE -> ../../blobs/ETAG
//! hub/models--ORG--NAME/blobs/ETAG                 a file, or -> ../../blobs/AB/AB…
//! hub/blobs/AB/AB…                                 a file that all repositories share
//! hub/blobs/.huggingface-shared-blobs              the mark of that store, with the version of its layout
//! ```
//!
//! The store came with huggingface_hub 1.32 (its module `_shared_blobs`); `AB` is the beginning of the 64 hexadecimal digits
//! that follow it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::io::read_bounded;

/// Where the links of a snapshot may lead.
pub(crate) struct HubCache {
    /// The files of the repository. A folder, and no link: that could make any folder acceptable.
    blobs: PathBuf,
    /// The files of all repositories, if the cache has such a store. No link either.
    shared: Option<PathBuf>,
}

impl HubCache {
    /// The cache of which this folder, whose path has no links left in it, is a snapshot.
    pub(crate) fn of(snapshot: &Path) -> Option<Self> {
        let snapshots = snapshot.parent().filter(|folder| is_named(folder, "snapshots"))?;
        let repository = snapshots.parent()?;
        let blobs = real_folder(repository.join("blobs"))?;
        let is_model =
            repository.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"models--"));
        let shared = repository.parent().filter(|_| is_model).map(|hub| hub.join("blobs"));
        Some(Self { blobs, shared: shared.and_then(real_folder).filter(|store| is_marked(store)) })
    }

    /// Whether a link of the snapshot may lead to the file that it finally leads to, whose path has no links left in it.
    pub(crate) fn allows(&self, link: &Path, target: &Path) -> bool {
        target.parent() == Some(&self.blobs) || self.is_shared(link, target)
    }

    /// Whether the link goes by a link of the repository's own to a file of the store, and by no other.
    fn is_shared(&self, link: &Path, target: &Path) -> bool {
        let Some(store) = &self.shared else { return false };
        let (Some(name), Some(folder)) = (target.file_name().and_then(OsStr::to_str), target.parent()) else {
            return false;
        };
        let is_hash = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_in_store = name.get(..2).is_some_and(|beginning| folder == store.join(beginning));
        let blob = || leads_to(link).filter(|blob| blob.parent() == Some(&self.blobs));
        is_hash && is_in_store && blob().and_then(|blob| leads_to(&blob)).as_deref() == Some(target)
    }
}

/// Whether a folder is a snapshot of a cache of Hugging Face's clients. These look after what lies there: others change
/// nothing in it.
#[must_use]
pub fn is_hub_snapshot(model: &Path) -> bool {
    fs::canonicalize(model).is_ok_and(|model| HubCache::of(&model).is_some())
}

/// What a link says, with no links left in the path of the folder; `None` if it is no link.
fn leads_to(link: &Path) -> Option<PathBuf> {
    let target = link.parent()?.join(fs::read_link(link).ok()?);
    Some(fs::canonicalize(target.parent()?).ok()?.join(target.file_name()?))
}

fn is_named(folder: &Path, name: &str) -> bool {
    folder.file_name() == Some(OsStr::new(name))
}

fn real_folder(folder: PathBuf) -> Option<PathBuf> {
    fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()).then_some(folder)
}

fn is_marked(store: &Path) -> bool {
    let mark = store.join(".huggingface-shared-blobs");
    let is_file = fs::symlink_metadata(&mark).is_ok_and(|found| found.is_file());
    is_file && read_bounded(&mark, 16).is_ok_and(|version| version == b"1\n")
}
