//! The places in which models are looked for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use weighbridge_store::{HEAD, Metadata, read_bounded};

/// A place may be a model folder, or have some in it, or in folders in it; or a Hugging Face cache.
pub(super) const DEPTH: u32 = 2;

/// The model folders that a look has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) models: Vec<PathBuf>,
    /// Places that could not be read. Models that were there before are not gone.
    pub(super) unread: Vec<PathBuf>,
}

impl Found {
    pub(super) fn look_in(&mut self, place: &Path, depth: u32) {
        match has_head(place) {
            Ok(true) => self.models.push(place.to_owned()),
            Ok(false) if is_cached_model(place) => {
                if let Some(snapshot) = snapshot_of(place)
                    && has_head(&snapshot).is_ok_and(|has| has)
                {
                    self.models.push(snapshot);
                }
            }
            Ok(false) if depth > 0 => match entries(place) {
                Ok(entries) => {
                    entries.iter().for_each(|entry| self.look_in(entry, depth.saturating_sub(1)));
                }
                Err(error) if is_gone(&error) => {}
                Err(_) => self.unread.push(place.to_owned()),
            },
            Ok(false) => {}
            Err(_) => self.unread.push(place.to_owned()),
        }
    }
}

/// Whether a folder has the name of a model's place in a Hugging Face cache.
fn is_cached_model(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"models--"))
}

/// The snapshot that clients of a cache load.
fn snapshot_of(cached: &Path) -> Option<PathBuf> {
    let revision = read_bounded(&cached.join("refs/main"), MOST_OF_REVISION).ok()?;
    let revision = std::str::from_utf8(&revision).ok()?.trim();
    let is_name = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| cached.join("snapshots").join(revision))
}

/// The longest name of a revision.
const MOST_OF_REVISION: u64 = 256;

/// Whether two folders are one place for models: the same folder, or snapshots of the same cached model.
pub(super) fn is_same_place(one: &Path, other: &Path) -> bool {
    let cached = |folder: &Path| {
        let cached = folder.parent()?.parent()?;
        is_cached_model(cached).then(|| cached.to_owned())
    };
    one == other || cached(one).is_some_and(|one| cached(other) == Some(one))
}

fn has_head(folder: &Path) -> io::Result<bool> {
    match fs::metadata(Metadata::of_model(folder).folder().join(HEAD)) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The entries of a folder, in the order of their names.
fn entries(place: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(place)?.map(|entry| Ok(entry?.path())).collect();
    let mut entries = entries?;
    entries.sort();
    Ok(entries)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
