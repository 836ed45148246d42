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

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::io::read_bounded;

/// The places to which the links of a snapshot may lead.
pub(crate) struct HubCache {
    /// The folder of the repository's files. Never a link: a link could make any folder acceptable.
    blobs: PathBuf,
    /// The store of the files of all repositories, if the cache has one. Never a link either.
    shared: Option<PathBuf>,
}

impl HubCache {
    /// Returns the cache of which `snapshot` is a snapshot. The path `snapshot` has no links left in it.
    pub(crate) fn of(snapshot: &Path) -> Option<Self> {
        let snapshots = snapshot.parent().filter(|folder| is_named(folder, "snapshots"))?;
        let repository = snapshots.parent()?;
        let blobs = real_folder(repository.join("blobs"))?;
        let is_model =
            repository.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"models--"));
        let shared = repository.parent().filter(|_| is_model).map(|hub| hub.join("blobs"));
        Some(Self { blobs, shared: shared.and_then(real_folder).filter(|store| is_marked(store)) })
    }

    /// Whether the snapshot may contain `link`, which finally leads to `target`. The path `target` has no links left
    /// in it.
    pub(crate) fn allows(&self, link: &Path, target: &Path) -> bool {
        target.parent() == Some(&self.blobs) || self.is_shared(link, target)
    }

    /// Whether `link` leads to a link in the repository's `blobs`, and that one directly to `target`, a file of the
    /// shared store.
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

/// Whether a folder is a snapshot in a cache of Hugging Face's clients. Those clients manage its content; other
/// programs change nothing in it.
#[must_use]
pub fn is_hub_snapshot(model: &Path) -> bool {
    fs::canonicalize(model).is_ok_and(|model| HubCache::of(&model).is_some())
}

/// The path that a link names, with no links left in the path of its folder; `None` if `link` is no link.
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
