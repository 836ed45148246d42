//! Removing a model from a cache.

use std::collections::BTreeSet;

use weighbridge_manifest::MAX_NOTE;
use weighbridge_tree::FileRoot;

use super::{
    BLOBS, CachedModel, FOLDER, HEAD, INCOMING, MAIN, PUBLISHING, SNAPSHOTS, Site, StoreError, folder_of,
    is_hex, list_of, remove_all, remove_empty, revision_in,
};
use crate::{disk::FileKind, hub_cache::REVISION};

impl CachedModel {
    /// Removes the releases that were put into this place, and what has come of the next one. Returns the bytes of the files that
    /// are gone.
    ///
    /// # Guarantee
    /// `refs/main` goes first: at every moment, and after a power cut, it names a whole snapshot, or is not there. What another
    /// program has put into the cache stays. Whoever has a file open reads on. A removal that was ended at any point is completed by the
    /// next one.
    ///
    /// # Errors
    /// [`StoreError`]: something cannot be removed.
    pub fn remove(self) -> Result<u64, StoreError> {
        let site = &self.site;
        let ids: Vec<_> = site.names(&self.at(FOLDER))?.into_iter().filter(|name| is_hex(name, 64)).collect();
        let is_ours = |revision: &str| ids.iter().any(|id| id.starts_with(revision));
        if revision_in(site, &self.at(MAIN))?.is_some_and(|revision| is_ours(&revision)) {
            site.remove_if_there(&self.at(MAIN))?;
            site.sync_folder(&self.at("refs"))?;
        }
        site.remove_if_there(&self.at(PUBLISHING))?;
        let mut freed = 0;
        for id in &ids {
            let roots = self.unlink_snapshot(id)?;
            for root in roots {
                let blob = self.at(&format!("{BLOBS}/{root}"));
                let size = site.read(&blob).ok().flatten().map_or(0, |(_, size)| size);
                site.remove_if_there(&blob)?;
                freed = u64::saturating_add(freed, size);
            }
            if site.look_once(&self.at(BLOBS))? == Some(FileKind::Folder) {
                site.sync_folder(&self.at(BLOBS))?;
            }
            // The lists say which files are the release's: they go last.
            remove_all(site, &self.at(&format!("{FOLDER}/{id}")))?;
        }
        if site.look_once(&self.at(INCOMING))? == Some(FileKind::Folder) {
            freed = freed.saturating_add(size_of(site, &self.at(INCOMING)));
            remove_all(site, &self.at(INCOMING))?;
        }
        for folder in [SNAPSHOTS, "refs", BLOBS] {
            remove_empty(site, &self.at(folder));
        }
        Ok(freed)
    }

    /// Removes the links of a release in its snapshot, and returns the roots of its files. Other names there are another program's.
    fn unlink_snapshot(&self, id: &str) -> Result<BTreeSet<FileRoot>, StoreError> {
        let (site, metadata) = (&self.site, self.at(&format!("{FOLDER}/{id}")));
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        let note = site.read_bounded(&format!("{metadata}/{HEAD}"), limit)?;
        let Some(files) = note.and_then(|note| list_of(&site.place(&metadata), &note)) else {
            return Ok(BTreeSet::new());
        };
        let snapshot = self.at(&format!("{SNAPSHOTS}/{}", id.get(..REVISION).unwrap_or(id)));
        let mut folders = BTreeSet::new();
        for entry in files.entries() {
            let link = format!("{snapshot}/{}", entry.path.as_str());
            if site.look_once(&link)? == Some(FileKind::Link) {
                site.remove_if_there(&link)?;
                folders.insert(folder_of(&link).to_owned());
            }
        }
        folders.iter().try_for_each(|folder| site.sync_folder(folder))?;
        Ok(files.entries().iter().map(|entry| entry.root).collect())
    }
}

/// The bytes of the files below a folder.
fn size_of(site: &Site, folder: &str) -> u64 {
    let sizes = site.names_if_there(folder).unwrap_or_default().into_iter().map(|name| {
        let below = format!("{folder}/{name}");
        match site.look_once(&below) {
            Ok(Some(FileKind::Folder)) => size_of(site, &below),
            Ok(Some(FileKind::File)) => site.read(&below).ok().flatten().map_or(0, |(_, size)| size),
            _ => 0,
        }
    });
    sizes.fold(0, u64::saturating_add)
}
