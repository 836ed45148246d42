//! What a cache has already of the release that comes to be in it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::Path,
    sync::{Arc, OnceLock},
};

use weighbridge_manifest::EntryPath;
use weighbridge_tree::FileRoot;

use super::{BLOBS, INCOMING, MAIN, SNAPSHOTS};
use crate::{
    disk::{FileKind, Folder},
    hub_cache::revision_in,
    site::{Site, folder_of},
    walk::walk,
};

/// The files of a model in a cache: by their roots, and by their paths in its snapshots. Nobody has verified them now.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// The folder of the hub, without links in its path.
    site: Arc<Site>,
    repository: String,
    /// The files of all snapshots, by path: their places in the hub's folder, and their sizes.
    by_path: OnceLock<HashMap<String, Vec<(String, u64)>>>,
}

impl Shelf {
    /// The shelf beside a folder, if that is `incoming` of a model in a cache.
    pub(crate) fn beside(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let repository = folder.ancestors().nth(INCOMING.split('/').count())?;
        let name =
            repository.file_name().and_then(OsStr::to_str).filter(|name| name.starts_with("models--"))?;
        if repository.join(INCOMING) != folder || !repository.join(BLOBS).is_dir() {
            return None;
        }
        let hub = repository.parent()?;
        let site = Site::of_metadata(Arc::new(Folder::at(hub).ok()?), hub);
        Some(Self { site, repository: name.to_owned(), by_path: OnceLock::new() })
    }

    /// Gives a file of this size a second name at `path` of `incoming`, unless something has that name: the file of this root, or
    /// else one that has this path in a snapshot, as a part of it may be the same. What cannot have a second name is fetched.
    pub(crate) fn take(&self, path: &EntryPath, root: Option<FileRoot>, size: u64) {
        let (site, to) = (&self.site, format!("{}/{INCOMING}/{}", self.repository, path.as_str()));
        if site.look_once(&to).is_ok_and(|there| there.is_some()) {
            return;
        }
        let is_of_size = |from: &String| {
            site.look_once(from).is_ok_and(|there| there == Some(FileKind::File))
                && site.read(from).is_ok_and(|there| there.is_some_and(|(_, len)| len == size))
        };
        let blob = root.map(|root| format!("{}/{BLOBS}/{root}", self.repository)).filter(is_of_size);
        if let Some(from) = blob.or_else(|| self.of_path(path, size))
            && site.make_folder(folder_of(&to)).is_ok()
        {
            let _ = site.disk().link(&from, &to);
        }
    }

    /// A file of a snapshot: of the one that `refs/main` names, if that has it.
    fn of_path(&self, path: &EntryPath, size: u64) -> Option<String> {
        let there = self.by_path.get_or_init(|| self.snapshots()).get(path.as_str())?;
        there.iter().find(|(_, len)| *len == size).map(|(place, _)| place.clone())
    }

    fn snapshots(&self) -> HashMap<String, Vec<(String, u64)>> {
        let site = &self.site;
        let snapshots = format!("{}/{SNAPSHOTS}", self.repository);
        let main = revision_in(site, &format!("{}/{MAIN}", self.repository)).ok().flatten();
        let mut names = site.names_if_there(&snapshots).unwrap_or_default();
        names.sort_by_key(|name| (Some(name) != main.as_ref(), name.clone()));
        let mut files: HashMap<String, Vec<(String, u64)>> = HashMap::new();
        for name in names {
            let Ok(found) = walk(&site.place(&format!("{snapshots}/{name}"))) else { continue };
            for found in found.files {
                let place = found.file.strip_prefix(site.place("")).ok().and_then(Path::to_str);
                if let Some(place) = place {
                    files
                        .entry(found.path.as_str().to_owned())
                        .or_default()
                        .push((place.to_owned(), found.size));
                }
            }
        }
        files
    }
}

/// The paths of the files below `incoming` that are not weighbridge's own.
pub(super) fn named_files(site: &Site, incoming: &str, own: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![incoming.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in site.names_if_there(&folder).unwrap_or_default() {
            let path = format!("{folder}/{name}");
            match site.look_once(&path) {
                Ok(Some(FileKind::Folder)) if path == own => {}
                Ok(Some(FileKind::Folder)) => folders.push(path),
                Ok(Some(_)) => files.push(path),
                _ => {}
            }
        }
    }
    files
}
