//! Bytes that are here already: whole files, and tensors, of other models.

use std::{collections::HashMap, ops::Range};

use weighbridge_manifest::{VerifiedFileList, VerifiedTensorList};
use weighbridge_tree::{FileRoot, TensorHash};

/// The files and tensors of models that are here, by their hashes. `M` is the caller's handle of a model.
///
/// A hash says where bytes are worth looking for. The bytes are judged by the new model's own layers when they are copied.
///
/// # Cost
/// About 100 bytes for each file and each tensor.
#[derive(Debug)]
pub struct Known<M> {
    files: HashMap<FileRoot, Place<M>>,
    tensors: HashMap<(TensorHash, u64), Place<M>>,
}

/// The place of known bytes.
#[derive(Clone, Debug)]
pub struct Place<M> {
    /// The model.
    pub model: M,
    /// The position of the file in the model's list.
    pub file: usize,
    /// The offset of the first byte in the file.
    pub offset: u64,
}

/// Reads bytes of a known model, from an offset in the place's file on, and returns whether it could.
pub type ReadKnown<'a, M> = dyn FnMut(&Place<M>, u64, &mut [u8]) -> bool + 'a;

/// A part of a new file, and where its bytes are; `None` for a gap between tensors, which mostly is filled with zeros.
#[derive(Debug)]
pub(super) struct Part<'k, M> {
    pub(super) range: Range<u64>,
    pub(super) place: Option<&'k Place<M>>,
}

impl<M> Default for Known<M> {
    fn default() -> Self {
        Self { files: HashMap::new(), tensors: HashMap::new() }
    }
}

impl<M: Clone> Known<M> {
    /// Adds the files and tensors of a model.
    pub fn add(&mut self, model: &M, files: &VerifiedFileList, tensors: Option<&VerifiedTensorList>) {
        for (file, entry) in files.entries().iter().enumerate() {
            let place = || Place { model: model.clone(), file, offset: 0 };
            self.files.entry(entry.root).or_insert_with(place);
        }
        for tensor in tensors.map(VerifiedTensorList::entries).unwrap_or_default() {
            let Some((file, _)) = files.find(tensor.file.as_str()) else { continue };
            let place = || Place { model: model.clone(), file, offset: tensor.offset };
            self.tensors.entry((tensor.hash, tensor.size)).or_insert_with(place);
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The known parts of a new file, in their order, without overlaps.
    pub(super) fn parts(
        &self,
        files: &VerifiedFileList,
        tensors: Option<&VerifiedTensorList>,
        position: usize,
    ) -> Vec<Part<'_, M>> {
        let Some(entry) = files.entries().get(position) else { return Vec::new() };
        if let Some(place) = self.files.get(&entry.root) {
            return vec![Part { range: 0..entry.size, place: Some(place) }];
        }
        let mut tensors: Vec<_> =
            tensors.map(|all| all.of_file(entry.path.as_str())).unwrap_or_default().iter().collect();
        tensors.sort_by_key(|tensor| tensor.offset);
        let mut parts: Vec<Part<'_, M>> = Vec::new();
        // The end of the tensor before: a gap behind one that is not known is not known either way.
        let mut end_before = None;
        for tensor in tensors.into_iter().filter(|tensor| tensor.size > 0) {
            let range = tensor.offset..tensor.offset.saturating_add(tensor.size);
            if end_before.is_some_and(|end| range.start < end) {
                continue;
            }
            if let Some(end) = end_before.filter(|end| (1..=GAP).contains(&range.start.saturating_sub(*end)))
            {
                parts.push(Part { range: end..range.start, place: None });
            }
            end_before = Some(range.end);
            if let Some(place) = self.tensors.get(&(tensor.hash, tensor.size)) {
                parts.push(Part { range, place: Some(place) });
            }
        }
        if let Some(end) = end_before.filter(|end| (1..=GAP).contains(&entry.size.saturating_sub(*end))) {
            parts.push(Part { range: end..entry.size, place: None });
        }
        parts
    }
}

/// The longest gap that is taken for padding. GGUF aligns tensors to 32 bytes, or to what the file says.
const GAP: u64 = 4096;

/// The chunks of a file of which every byte is in a known part, as runs. `unit` is the length of a chunk.
pub(super) fn covered<M>(parts: &[Part<'_, M>], size: u64, unit: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < parts.len() {
        // Parts that touch are one.
        let Some(first) = parts.get(at) else { break };
        let mut whole = first.range.clone();
        at += 1;
        while let Some(next) = parts.get(at).filter(|next| next.range.start == whole.end) {
            whole.end = next.range.end;
            at += 1;
        }
        let first = whole.start.div_ceil(unit);
        let end = if whole.end >= size { size.div_ceil(unit) } else { whole.end / unit };
        if first < end {
            runs.push(first..end);
        }
    }
    runs
}

/// Fills `buffer` with the bytes of a new file from `offset` on, from known parts that cover them. Returns whether all could be read.
pub(super) fn fill<M>(
    parts: &[Part<'_, M>],
    offset: u64,
    buffer: &mut [u8],
    read: &mut ReadKnown<'_, M>,
) -> bool {
    let end = offset.saturating_add(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
    let first = parts.partition_point(|part| part.range.end <= offset);
    for part in parts.iter().skip(first).take_while(|part| part.range.start < end) {
        let (from, to) = (part.range.start.max(offset), part.range.end.min(end));
        let index = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(into) = buffer.get_mut(index(from)..index(to)) else { return false };
        match part.place {
            None => into.fill(0),
            Some(place) => {
                let within = from.saturating_sub(part.range.start);
                if !read(place, place.offset.saturating_add(within), into) {
                    return false;
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: Range<u64>, place: &Place<()>) -> Part<'_, ()> {
        Part { range, place: Some(place) }
    }

    #[test]
    fn only_chunks_of_which_every_byte_is_known_are_covered() {
        let place = Place { model: (), file: 0, offset: 0 };
        let parts = [part(5..20, &place), part(20..43, &place), part(44..100, &place)];
        // Chunks of 10 bytes: the one with byte 43 is not covered, and the last one, of 5 bytes, is.
        assert_eq!(covered(&parts, 95, 10), [1..4, 5..10]);
        assert_eq!(covered(&parts, 1000, 10), [1..4, 5..10]);
        assert_eq!(covered(&parts[..1], 1000, 16), []);
        assert_eq!(covered::<()>(&[], 10, 10), []);
    }

    #[test]
    fn chunks_are_put_together_from_several_places_and_padding() {
        let (one, two) = (Place { model: (), file: 1, offset: 100 }, Place { model: (), file: 2, offset: 7 });
        let parts = [part(0..10, &one), Part { range: 10..12, place: None }, part(12..30, &two)];
        let mut asked = Vec::new();
        let mut buffer = [9; 16];
        let read = &mut |place: &Place<()>, offset: u64, into: &mut [u8]| {
            asked.push((place.file, offset, into.len()));
            into.fill(1);
            true
        };
        assert!(fill(&parts, 8, &mut buffer, read));
        assert_eq!(asked, [(1, 108, 2), (2, 7, 12)]);
        assert_eq!(buffer, [1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(!fill(&parts, 8, &mut buffer, &mut |_, _, _| false));
    }
}
