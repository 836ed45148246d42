//! The objects of a push, and how far each is.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use object_store::{MultipartId, multipart::PartId, path::Path};
use weighbridge_store::{CHUNKS, FILES, FOLDER, HEAD, TENSORS};

use super::{Bucket, refused};
use crate::{
    board::lock,
    push::{
        PushError, blocking,
        model::{Model, judged::Judged},
    },
};

/// An object that is to stand in the bucket.
pub(super) struct Object {
    pub(super) key: Path,
    /// The path of the file, or the name of the metadata, for people.
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) size: u64,
    /// The bytes of a part that is judged by itself; of the last one, perhaps fewer.
    pub(super) unit: u64,
    /// The root of the file, as the bucket notes it.
    pub(super) root: Option<String>,
    /// Whether its bytes count: of files with the same content, those of the first.
    pub(super) counts: bool,
    state: Mutex<State>,
}

/// The content of an object.
pub(super) enum Content {
    /// The file at this position of the list.
    File(usize),
    Metadata(Judged),
}

#[derive(Default)]
pub(super) struct State {
    /// Whether the bucket has all of it, as it says.
    pub(super) stands: bool,
    /// Whether what the bucket has of it was wrong, and it is sent anew; and the unit that was.
    pub(super) wrong: Option<u64>,
    /// The upload in parts that is under way.
    pub(super) upload: Option<Upload>,
    /// How often one was begun anew.
    pub(super) begun_anew: u32,
    /// The most bytes of it that the bucket has taken in one upload, and whether it has taken all.
    taken: u64,
    is_whole: bool,
}

/// An upload in parts.
pub(super) struct Upload {
    pub(super) id: MultipartId,
    pub(super) parts: Vec<Option<PartId>>,
    /// The bytes of its parts.
    taken: u64,
}

impl Object {
    fn new(
        bucket: &Bucket,
        path: &str,
        content: Content,
        (size, unit): (u64, u64),
    ) -> Result<Self, PushError> {
        let no_name =
            || refused(format!("cannot have an object of the name {}", weighbridge_manifest::shown(path)));
        let key = bucket.place.object(path).ok_or_else(no_name)?;
        let (name, state) = (path.to_owned(), Mutex::default());
        Ok(Self { key, name, content, size, unit: unit.max(1), root: None, counts: false, state })
    }

    /// The objects of the files of a model.
    pub(super) fn files(bucket: &Bucket, model: &Model) -> Result<Vec<Self>, PushError> {
        let (unit, mut seen) = (model.files.chunk_size().bytes(), HashSet::new());
        let entries = model.files.entries().iter().enumerate();
        let object = entries.map(|(position, entry)| {
            let content = Content::File(position);
            let object = Self::new(bucket, entry.path.as_str(), content, (entry.size, unit))?;
            Ok(Self { root: Some(entry.root.to_string()), counts: seen.insert(entry.root), ..object })
        });
        object.collect()
    }

    /// The objects of its metadata, but for the head.
    pub(super) async fn metadata(bucket: &Bucket, model: &Arc<Model>) -> Result<Vec<Self>, PushError> {
        let mut objects = Vec::new();
        let has_tensors = model.head().head().tensors.is_some();
        for name in [FILES, TENSORS].into_iter().filter(|name| *name == FILES || has_tensors) {
            let of = Arc::clone(model);
            let list = blocking(move || of.list(name)).await?;
            let size = u64::try_from(list.len()).unwrap_or(u64::MAX);
            objects.push((name, Judged::List(list), size));
        }
        if model.layers_len() > 0 {
            objects.push((CHUNKS, Judged::Layers, model.layers_len()));
        }
        let object = |(name, judged, size)| {
            Self::new(bucket, &format!("{FOLDER}/{name}"), Content::Metadata(judged), (size, METADATA_UNIT))
        };
        objects.into_iter().map(object).collect()
    }

    /// The name of the head's object.
    pub(super) fn head(bucket: &Bucket) -> Result<Path, PushError> {
        bucket.place.object(&format!("{FOLDER}/{HEAD}")).ok_or(PushError::Bug)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The parts in which it is sent; a single one, if it is sent as a whole.
    pub(super) fn part(&self, piece: u64) -> u64 {
        part_size(piece, self.size, self.unit)
    }

    /// The range of a unit.
    pub(super) fn range(&self, unit: u64) -> Range<u64> {
        let start = unit.saturating_mul(self.unit).min(self.size);
        start..start.saturating_add(self.unit).min(self.size)
    }

    pub(super) fn units(&self) -> u64 {
        self.size.div_ceil(self.unit)
    }
}

impl State {
    /// Notes a part that the bucket has taken, if it is one of the upload that is under way. Returns the bytes that are new.
    pub(super) fn take_part(&mut self, id: &MultipartId, index: usize, part: PartId, bytes: u64) -> u64 {
        let Some(upload) = self.upload.as_mut().filter(|upload| upload.id == *id) else { return 0 };
        let Some(place) = upload.parts.get_mut(index) else { return 0 };
        *place = Some(part);
        upload.taken = upload.taken.saturating_add(bytes);
        let taken = upload.taken;
        self.take(taken)
    }

    /// Notes that the bucket has all of it. Returns the bytes that are verified, and durable, and were not before.
    pub(super) fn take_whole(&mut self, size: u64) -> (u64, u64) {
        (self.stands, self.upload) = (true, None);
        let durable = if self.is_whole { 0 } else { size };
        self.is_whole = true;
        (self.take(size), durable)
    }

    fn take(&mut self, taken: u64) -> u64 {
        let new = taken.saturating_sub(self.taken);
        self.taken = self.taken.max(taken);
        new
    }
}

impl Upload {
    pub(super) fn new(id: MultipartId, parts: u64) -> Self {
        let parts = vec![None; usize::try_from(parts).unwrap_or_default()];
        Self { id, parts, taken: 0 }
    }

    /// The parts that are missing.
    pub(super) fn missing(&self) -> Vec<usize> {
        let missing = self.parts.iter().enumerate().filter(|(_, part)| part.is_none());
        missing.map(|(index, _)| index).collect()
    }
}

/// The size of the parts of a file: whole units, not smaller than `piece`, and not too many.
fn part_size(piece: u64, size: u64, unit: u64) -> u64 {
    piece.max(size.div_ceil(MAX_PARTS)).checked_next_multiple_of(unit).unwrap_or(u64::MAX)
}

/// Draws units to be read back: of each object one, `more` of all by size, and those that were wrong before.
pub(super) fn draw(objects: &[&Object], more: u64) -> Result<BTreeSet<(usize, u64)>, PushError> {
    let mut drawn = BTreeSet::new();
    let mut ends = Vec::with_capacity(objects.len());
    let mut all = 0_u64;
    for (number, object) in objects.iter().enumerate() {
        drawn.insert((number, below(object.units())?));
        drawn.extend(object.state().wrong.map(|unit| (number, unit)));
        all = all.saturating_add(object.size);
        ends.push(all);
    }
    for _ in 0..more.min(all) {
        let at = below(all)?;
        let number = ends.partition_point(|end| *end <= at);
        let Some(object) = objects.get(number) else { continue };
        let start = ends.get(number).map_or(0, |end| end.saturating_sub(object.size));
        drawn.insert((number, at.saturating_sub(start) / object.unit));
    }
    Ok(drawn)
}

/// A random number below another; 0, if that is 0. The bias is less than one in 2^64 for each value.
fn below(end: u64) -> Result<u64, PushError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| PushError::Bug)?;
    let scaled = (u128::from(u64::from_le_bytes(bytes)) * u128::from(end)) >> 64;
    u64::try_from(scaled).map_err(|_| PushError::Bug)
}

/// The most parts that S3 takes.
const MAX_PARTS: u64 = 10_000;
/// The bytes of metadata that are compared at once.
const METADATA_UNIT: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_chunks_not_small_and_not_too_many() {
        let (mib, gib) = (1_u64 << 20, 1_u64 << 30);
        let sizes = [1, 8 * mib, 8 * mib + 1, 80 * gib, 84 * gib, 5 << 40, 500 << 40];
        for (size, unit) in sizes.iter().flat_map(|size| [16 << 10, mib, 16 * mib].map(|unit| (*size, unit)))
        {
            let part = part_size(8 * mib, size, unit);
            assert!(part >= 8 * mib && part.is_multiple_of(unit), "{size} {unit}");
            assert!(size.div_ceil(part) <= 10_000, "{size} {unit}");
            assert!(
                part < (8 * mib).max(size / 10_000 + 1) + unit,
                "no more memory than needed: {size} {unit}"
            );
        }
    }

    #[test]
    fn numbers_are_below_their_end() {
        assert_eq!(below(0).unwrap(), 0);
        assert_eq!(below(1).unwrap(), 0);
        let drawn: BTreeSet<_> = (0..200).map(|_| below(3).unwrap()).collect();
        assert_eq!(drawn, BTreeSet::from([0, 1, 2]));
    }
}
