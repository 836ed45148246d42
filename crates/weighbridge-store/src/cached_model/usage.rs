//! The bytes that a model takes in a cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Metadata as FileMetadata,
    io,
    path::Path,
    sync::Arc,
};

use weighbridge_manifest::{MAX_NOTE, ModelName, VerifiedFileList};
use weighbridge_tree::HeadId;

use super::{
    BLOBS, CachedModel, FOLDER, HEAD, INCOMING, MAIN, MAX_PUBLISHING, Moves, PUBLISHING, Site, StoreError,
    is_hex, list_of, revision_in,
};
use crate::{
    disk::{FileKind, Folder, links_to},
    hub_cache::is_id_of,
    io::IoError,
};

/// The bytes that a model takes in a cache, and the release that `refs/main` names.
///
/// Only files of releases that were put there by their lists count, and what has come of the next one. Files of another program
/// and metadata do not. Nothing is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes of the files of its releases, each file once.
    pub kept: u64,
    /// The bytes that have come of a release that is not complete.
    pub coming: u64,
    /// The head of the release that `refs/main` names, and the bytes of that release's files, each file once. `None` if it names
    /// none, or one that another program has put there.
    pub main: Option<(HeadId, u64)>,
}

impl Usage {
    /// All bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.kept.saturating_add(self.coming)
    }
}

impl CachedModel {
    /// Counts the bytes that a model takes in the cache at `hub`. What changes meanwhile counts, or not.
    ///
    /// # Errors
    /// [`StoreError`]: the name has no place (9210), or something cannot be read.
    pub fn usage(hub: &Path, name: &ModelName) -> Result<Usage, StoreError> {
        let repository = Self::folder_of(name)?;
        let disk = match Folder::at(hub) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Usage::default()),
            disk => disk.map_err(IoError::at("open", hub))?,
        };
        let (site, at) =
            (Site::of_metadata(Arc::new(disk), hub), |path: &str| format!("{repository}/{path}"));
        let mut lists: BTreeMap<String, VerifiedFileList> = BTreeMap::new();
        for id in site.names_if_there(&at(FOLDER))?.into_iter().filter(|name| is_hex(name, 64)) {
            let metadata = at(&format!("{FOLDER}/{id}"));
            let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
            let note = site.read_bounded(&format!("{metadata}/{HEAD}"), limit)?;
            if let Some(list) = note.and_then(|note| list_of(&site.place(&metadata), &note)) {
                lists.insert(id, list);
            }
        }
        // A process that was killed may have moved files whose list was to follow.
        let publishing = site.read_bounded(&at(PUBLISHING), MAX_PUBLISHING)?;
        let moved = publishing.and_then(|text| Moves::parse(&text)).map(|moves| moves.files);
        let listed = lists.values().flat_map(VerifiedFileList::entries).map(|entry| entry.root);
        let moved = moved.into_iter().flatten().map(|(root, _)| root);
        let roots: BTreeSet<_> = listed.chain(moved).collect();
        let mut kept = 0_u64;
        for root in roots {
            let blob = at(&format!("{BLOBS}/{root}"));
            if site.look_once(&blob)? == Some(FileKind::File) {
                kept = kept.saturating_add(site.read(&blob)?.map_or(0, |(_, len)| len));
            }
        }
        let main = match site.look_once(&at(MAIN))? {
            Some(FileKind::File) => revision_in(&site, &at(MAIN))?,
            _ => None,
        };
        let main = main.and_then(|revision| {
            let (_, list) = lists.iter().find(|(id, _)| is_id_of(id, &revision))?;
            Some((list.head().id(), distinct_bytes(list)))
        });
        Ok(Usage { kept, coming: coming_in(&site, &at(INCOMING)), main })
    }
}

/// The bytes of the files of a list, where files with the same root count once, as they lie in a cache.
pub fn distinct_bytes(list: &VerifiedFileList) -> u64 {
    let files: BTreeMap<_, _> = list.entries().iter().map(|entry| (entry.root, entry.size)).collect();
    files.into_values().fold(0, u64::saturating_add)
}

/// The bytes below a folder that are on the disk, without second names of files that are elsewhere too.
fn coming_in(site: &Site, folder: &str) -> u64 {
    let sizes = site.names_if_there(folder).unwrap_or_default().into_iter().map(|name| {
        let below = format!("{folder}/{name}");
        match site.look_once(&below) {
            Ok(Some(FileKind::Folder)) => coming_in(site, &below),
            Ok(Some(FileKind::File)) => {
                let found = site.read(&below).ok().flatten().and_then(|(file, _)| file.metadata().ok());
                found.filter(|found| links_to(found) == 1).map_or(0, |found| allocated(&found))
            }
            _ => 0,
        }
    });
    sizes.fold(0, u64::saturating_add)
}

/// The bytes of a file that are on the disk: one that is not complete has holes.
#[cfg(unix)]
fn allocated(found: &FileMetadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    found.len().min(found.blocks().saturating_mul(512))
}

#[cfg(not(unix))]
fn allocated(found: &FileMetadata) -> u64 {
    found.len()
}
