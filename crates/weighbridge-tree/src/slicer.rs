//! Making slices from a file's layer and the chunks that the range touches.

use alloc::vec::Vec;
use core::ops::Range;

use crate::geometry::Granule;
use crate::hash::ChainingValue;
use crate::layer::Layer;
use crate::slice::SliceRange;
use crate::slice_error::SliceError;
use crate::subtree::{self, LEAF, halves, merge, part_of, touches};

/// Makes a slice from a file's accepted layer and the chunks that the range touches.
///
/// # Guarantee
/// The output is the slice of the range, byte for byte the one that every implementation of Bao writes. Each chunk is
/// checked against the layer before any of its bytes are written, so the receiver accepts the slice.
///
/// # Cost
/// [`new`](Self::new): one compression per value of the layer, and 64 bytes for each parent above the chunks that has a
/// byte of the range, at most twice the size of the layer. [`push`](Self::push): two BLAKE3 passes over the chunk, and
/// 64 bytes per KiB of the chunk; it appends the chunk's part of the slice.
#[derive(Debug)]
#[must_use]
pub struct Slicer<'l> {
    layer: &'l Layer,
    range: SliceRange,
    /// The positions of the chunks still to be pushed.
    chunks: Range<u64>,
    /// The nodes still to be written, the next one last.
    nodes: Vec<Range<u64>>,
    /// The values of the parents in and below `nodes`, the next pair last. The pairs above the chunks are there from
    /// the start, the pairs within a chunk only while that chunk is written.
    pairs: Vec<[ChainingValue; 2]>,
}

impl<'l> Slicer<'l> {
    /// Begins a slice of `range`. Appends the first 8 bytes, the file's size, to `out`.
    ///
    /// # Errors
    /// [`SliceError::OtherFile`] if the size of the layer's file is not the range's file size: the caller is at fault.
    pub fn new(layer: &'l Layer, range: SliceRange, out: &mut Vec<u8>) -> Result<Self, SliceError> {
        if layer.grid().len() != range.file_len() {
            return Err(SliceError::OtherFile { layer: layer.grid().len(), range: range.file_len() });
        }
        let granule = layer.grid().granule();
        let mut pairs = Vec::new();
        let value = |node: &Range<u64>| layer.subtree_value(node);
        Pairs { range: range.range(), unit: granule, value, found: &mut pairs }
            .find(&range.file())
            .ok_or(SliceError::Bug)?;
        out.extend_from_slice(&range.file_len().to_le_bytes());
        let nodes = alloc::vec![range.file()];
        Ok(Self { layer, range, chunks: range.chunks(granule), nodes, pairs })
    }

    /// The position of the chunk to be pushed next; `None` when the slice is complete. The slice of an empty file is
    /// complete from the start.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        Some(self.chunks.start).filter(|index| *index < self.chunks.end)
    }

    /// Takes the whole bytes of the [`wanted`](Self::wanted) chunk, and appends the chunk's part of the slice to `out`,
    /// with the parents that lead to it.
    ///
    /// # Errors
    /// [`SliceError::Chunk`] (2107, 2102) if `bytes` is another chunk, and [`SliceError::NothingWanted`]. Then `out`
    /// and the slicer are unchanged; the chunk may be offered again.
    ///
    /// # Panics
    /// Never, for any `bytes`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SliceError> {
        let index = self.wanted().ok_or(SliceError::NothingWanted)?;
        self.layer.check(index, bytes).map_err(SliceError::Chunk)?;
        self.write(index, bytes, out).ok_or(SliceError::Bug)?;
        self.chunks.start = index.saturating_add(1);
        Ok(())
    }

    /// Ends the slice.
    ///
    /// # Errors
    /// [`SliceError::Unfinished`] if a chunk is still missing.
    pub fn finish(self) -> Result<(), SliceError> {
        self.wanted().map_or(Ok(()), |wanted| Err(SliceError::Unfinished { wanted }))
    }

    /// Writes one chunk's part of the slice. `None` means a bug of this library.
    fn write(&mut self, index: u64, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let grid = self.layer.grid();
        let chunk = grid.range(index)?;
        // Write the parents down to the chunk.
        while let Some(halves) = halves(self.nodes.last()?, grid.granule()) {
            self.write_parent(halves, out)?;
        }
        // Write the parents and BLAKE3 chunks within the chunk.
        let value = |node: &Range<u64>| subtree::from_bytes(node, part_of(bytes, &chunk, node)?);
        let range = self.range.range();
        Pairs { range, unit: LEAF, value, found: &mut self.pairs }.find(&chunk)?;
        while let Some(node) = self.nodes.last().filter(|node| node.start < chunk.end) {
            if let Some(halves) = halves(node, LEAF) {
                self.write_parent(halves, out)?;
            } else {
                out.extend_from_slice(part_of(bytes, &chunk, node)?);
                self.nodes.pop();
            }
        }
        Some(())
    }

    /// Writes the values of the next node's halves, and puts the halves in the node's place.
    fn write_parent(&mut self, [left, right]: [Range<u64>; 2], out: &mut Vec<u8>) -> Option<()> {
        let values = self.pairs.pop()?;
        self.nodes.pop();
        out.extend(values.iter().flat_map(ChainingValue::as_bytes));
        let range = self.range.range();
        self.nodes.extend([right, left].into_iter().filter(|node| touches(node, &range)));
        Some(())
    }
}

/// Finds the two values of each parent that has a byte of the range.
///
/// Values are computed from the bottom up, each once, but a slice has them from the top down. So `found` gets the pairs
/// in the reverse order of the slice, and the writer takes them from its end. The recursion goes as deep as the tree,
/// at most 43 levels.
struct Pairs<'a, F> {
    range: Range<u64>,
    /// The nodes at which the parents end: the layer's chunks, or BLAKE3 chunks.
    unit: Granule,
    /// Returns the value of a node that is a unit or has no byte of the range.
    value: F,
    found: &'a mut Vec<[ChainingValue; 2]>,
}

impl<F: Fn(&Range<u64>) -> Option<ChainingValue>> Pairs<'_, F> {
    /// Finds the values below `top`. The value of `top` itself is not computed: it is known, or `top` is the root and
    /// has none (rule 4).
    fn find(mut self, top: &Range<u64>) -> Option<()> {
        match halves(top, self.unit) {
            Some(halves) => self.pair(halves).map(|_| ()),
            None => Some(()),
        }
    }

    fn pair(&mut self, [left, right]: [Range<u64>; 2]) -> Option<[ChainingValue; 2]> {
        // Visits the right half, then the left half, then their parent: pre-order, reversed.
        let right = self.value(&right)?;
        let left = self.value(&left)?;
        self.found.push([left, right]);
        Some([left, right])
    }

    fn value(&mut self, node: &Range<u64>) -> Option<ChainingValue> {
        match halves(node, self.unit).filter(|_| touches(node, &self.range)) {
            Some(halves) => self.pair(halves).map(|[left, right]| merge(&left, &right)),
            None => (self.value)(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Grid, as_u64};
    use crate::subtree::merge_root;

    #[test]
    fn a_million_chunks_are_planned_with_one_pair_a_parent() {
        // The values need not be those of a real file, since no chunk is pushed.
        let count = (1 << 20) + 3;
        let grid = Grid::new(count * 1024 - 7, LEAF).unwrap();
        let values: Vec<_> = (0..count)
            .map(|i| ChainingValue::from_bytes(*blake3::hash(&i.to_le_bytes()).as_bytes()))
            .collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| *value.as_bytes()).collect();
        let layer = Layer::accept(grid, grid.merge_root(&values).unwrap(), &bytes).unwrap();
        for (range, pairs) in [(0..grid.len(), count - 1), (0..1, 21), (grid.len() - 1..grid.len(), 2)] {
            let range = SliceRange::new(grid.len(), range).unwrap();
            let mut out = Vec::new();
            let slicer = Slicer::new(&layer, range, &mut out).unwrap();
            assert_eq!(as_u64(slicer.pairs.len()), pairs);
            assert_eq!(out, grid.len().to_le_bytes());
            // The last pair found is the first one written, and must be the root's pair.
            let [left, right] = slicer.pairs.last().unwrap();
            assert_eq!(merge_root(left, right), layer.root());
        }
    }
}
