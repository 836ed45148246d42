//! Slices: ranges of a file with the path of its tree that leads to them (`spec/slices.md`).
//!
//! The encoding is that of Bao: the file's size, then the tree from the root downwards, left before right, without
//! the subtrees that have no byte of the range. Its length follows from the size and the range alone.
//!
//! ```
//! use weighbridge_tree::{ChunkSize, FileRoot, Grid, Layer, SliceRange, Slicer, check_slice};
//!
//! // Where the file is: a slice of 100 bytes, made from the only chunk that the range touches.
//! let file = vec![7; 40_000];
//! let root = FileRoot::of(&file);
//! let grid = Grid::new(40_000, ChunkSize::MIN)?;
//! let mut layer = Vec::new();
//! for (index, chunk) in (0..).zip(file.chunks(16_384)) {
//!     layer.extend(grid.chaining_value(index, chunk)?.as_bytes());
//! }
//! let layer = Layer::accept(grid, root, &layer)?;
//! let range = SliceRange::new(40_000, 20_000..20_100)?;
//! let mut slice = Vec::new();
//! let mut slicer = Slicer::new(&layer, range, &mut slice)?;
//! assert_eq!(slicer.wanted(), Some(1));
//! slicer.push(&file[16_384..32_768], &mut slice)?;
//! slicer.finish()?;
//!
//! // Elsewhere: size and root are signed, the range is wanted, and the slice is anybody's.
//! assert_eq!(check_slice(root, range, &slice)?, [7; 100]);
//! slice[700] ^= 1;
//! assert_eq!(check_slice(root, range, &slice).unwrap_err().error_code(), 2604);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::geometry::{FILE_LEN_LIMIT, Granule, Grid, TooLong};
use crate::hash::{ChainingValue, FileRoot};
use crate::layer::{ChunkError, Layer};
use crate::merge::Merger;

/// A range that a slice can have: 0 ≤ A < B ≤ size, or 0..0 of an empty file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct SliceRange {
    len: u64,
    start: u64,
    end: u64,
}

impl SliceRange {
    /// Takes `range`, in bytes, to be a range of a file of `len` bytes.
    ///
    /// `len` comes from signed data (rule 1), the range from whoever wants the bytes.
    ///
    /// # Errors
    /// [`SliceError::Range`] (2601) for a range that is empty, turned round, or past the end;
    /// [`SliceError::TooLong`] from 2^53 bytes of file on, which lists cannot say.
    pub fn new(len: u64, range: Range<u64>) -> Result<Self, SliceError> {
        if len >= FILE_LEN_LIMIT {
            return Err(SliceError::TooLong(TooLong { len }));
        }
        let Range { start, end } = range;
        let is_nothing_of_nothing = len == 0 && start == 0 && end == 0;
        if (start < end && end <= len) || is_nothing_of_nothing {
            Ok(Self { len, start, end })
        } else {
            Err(SliceError::Range { len, start, end })
        }
    }

    /// The size of the file, in bytes.
    #[must_use]
    pub const fn file_len(self) -> u64 {
        self.len
    }

    /// The range, in bytes. Empty for an empty file only.
    #[must_use]
    pub const fn range(self) -> Range<u64> {
        self.start..self.end
    }

    /// The length of the slice's encoding, in bytes: the only one that a slice of this range can have.
    ///
    /// # Cost
    /// At most two steps for each level of the tree, however long the range is.
    #[must_use]
    pub fn encoded_len(self) -> u64 {
        // Whole BLAKE3 chunks, up to the end of the file.
        let first = self.start.saturating_sub(self.start & LEAF_MASK);
        let end = self.end.saturating_add(LEAF_MASK) & !LEAF_MASK;
        let leaves = end.min(self.len).saturating_sub(first);
        // Nothing saturates: `leaves` is below 2^53, there are fewer than 2^43 parents, and the sum is below 2^54.
        let parents = parents_of(&self.file(), &self.range()).saturating_mul(PARENT_LEN_U64);
        HEADER_LEN_U64.saturating_add(leaves).saturating_add(parents)
    }

    /// The positions of the chunks, or of other granules, that the range touches.
    #[must_use]
    pub fn chunks(self, granule: impl Into<Granule>) -> Range<u64> {
        positions(&self.range(), granule.into())
    }

    /// The node at the top of the tree.
    fn file(self) -> Range<u64> {
        0..self.len
    }
}

/// Checks a slice as it arrives, in pieces of any lengths.
///
/// # Guarantee
/// What [`next`](Self::next) releases is, joined, the beginning of the range of the one file that has the root and the
/// length; no byte comes before its BLAKE3 chunk is accepted (rule 2). When [`finish`](Self::finish) passes, it
/// was the whole range, and of the slice nothing was missing and nothing left over (rule 6).
///
/// # Non-guarantee
/// Nothing about the rest of the file, nor that the slice's sender has it.
///
/// # Cost
/// The memory of one path, at most 44 values that are awaited, and one BLAKE3 chunk, whatever the length of the file
/// and of the range. One BLAKE3 pass over the slice; no allocation after [`new`](Self::new).
#[derive(Debug)]
#[must_use]
pub struct SliceDecoder {
    range: SliceRange,
    /// The nodes that are still to come, the next one last, with what they have to come to. Each value here was merged
    /// to the root before (rule 3).
    awaited: Vec<Awaited>,
    has_size: bool,
    /// The beginning of a part whose rest has not come yet: the size, a parent, or a BLAKE3 chunk.
    buffer: [u8; LEAF_LEN],
    filled: usize,
    received: u64,
    refused: Option<SliceError>,
}

/// A subtree of which the slice has a part.
#[derive(Debug)]
struct Awaited {
    /// Its bytes in the file.
    node: Range<u64>,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Root(FileRoot),
    Value(ChainingValue),
}

impl SliceDecoder {
    /// Begins a slice of `range` of the file with this root. Size and root come from signed data.
    pub fn new(root: FileRoot, range: SliceRange) -> Self {
        let mut awaited = Vec::with_capacity(MAX_AWAITED);
        awaited.push(Awaited { node: range.file(), expected: Expected::Root(root) });
        Self { range, awaited, has_size: false, buffer: [0; LEAF_LEN], filled: 0, received: 0, refused: None }
    }

    /// Takes what it needs from the front of `input`, and releases the next bytes of the range.
    ///
    /// Call it until it says `None`: then the whole of `input` was taken, and more is needed, or the slice has ended
    /// and [`finish`](Self::finish) passes. Released bytes are never empty and never more than one BLAKE3 chunk;
    /// they are those that were checked, in `input` itself where it holds the whole chunk (rule 10).
    ///
    /// # Errors
    /// [`SliceError`]: 2603, 2604, and 2602 if `input` goes on after the end. From then on every call, and `finish`,
    /// says the same error and looks at nothing (rule 3). What was released before stays good.
    ///
    /// # Panics
    /// Never, for any `input`.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, SliceError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let before = input.len();
        let result = self.accept_parents(input);
        self.received = self.received.saturating_add(taken(before, input));
        if let Err(error) = result {
            return Err(self.refused.insert(error).clone());
        }

        // The next part is a BLAKE3 chunk, unless the input is used up or the slice at its end.
        let Some(Awaited { node, expected }) = self.awaited.last().filter(|next| self.is_leaf(next)) else {
            if self.awaited.is_empty() && !input.is_empty() {
                let error = SliceError::Long { expected: self.range.encoded_len() };
                return Err(self.refused.insert(error).clone());
            }
            return Ok(None);
        };
        let before = input.len();
        let len = usize::try_from(len_of(node)).unwrap_or(LEAF_LEN);
        let part = take(&mut self.buffer, &mut self.filled, len, input);
        self.received = self.received.saturating_add(taken(before, input));
        let Some(bytes) = part else { return Ok(None) };
        // Where the range begins or ends within the BLAKE3 chunk, the rest is checked and not released.
        let within = self.range.start.max(node.start)..self.range.end.min(node.end);
        let is_good = |_: &&[u8]| expected.is_value_of(self.range.len, node, bytes);
        let Some(released) = bytes_of(bytes, node, &within).filter(is_good) else {
            let error = SliceError::Mismatch { range: node.clone() };
            return Err(self.refused.insert(error).clone());
        };
        self.awaited.pop();
        Ok(Some(released))
    }

    /// Ends the slice.
    ///
    /// # Errors
    /// The [`SliceError`] by which it was refused, and [`SliceError::Short`] (2602) if more was to come.
    pub fn finish(self) -> Result<(), SliceError> {
        match self.refused {
            Some(refused) => Err(refused),
            None if self.awaited.is_empty() => Ok(()),
            None => Err(SliceError::Short { expected: self.range.encoded_len(), actual: self.received }),
        }
    }

    /// The size and the parents, up to the next BLAKE3 chunk, the end, or what `input` holds.
    fn accept_parents(&mut self, input: &mut &[u8]) -> Result<(), SliceError> {
        if !self.has_size {
            let Some(part) = take(&mut self.buffer, &mut self.filled, HEADER_LEN, input) else {
                return Ok(());
            };
            let actual = part.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
            // Compared, and not used for anything: the shape is that of the signed size (rule 1).
            if actual != self.range.len {
                return Err(SliceError::OtherSize { expected: self.range.len, actual });
            }
            self.has_size = true;
            // An empty file has no BLAKE3 chunk that would show its root.
            if let Some(Awaited { node, expected }) = self.awaited.pop_if(|top| top.node.is_empty())
                && !expected.is_value_of(self.range.len, &node, &[])
            {
                return Err(SliceError::Mismatch { range: node });
            }
        }
        while let Some(next) = self.awaited.last()
            && let Some([left, right]) = halves(&next.node, LEAF)
        {
            let Some(part) = take(&mut self.buffer, &mut self.filled, PARENT_LEN, input) else {
                return Ok(());
            };
            let Some(values) = pair(part).filter(|values| next.expected.is_parent_of(values)) else {
                return Err(SliceError::Mismatch { range: next.node.clone() });
            };
            self.awaited.pop();
            // The left one comes first, so it goes on top.
            for (node, value) in [right, left].into_iter().zip(values.into_iter().rev()) {
                if touches(&node, &self.range.range()) {
                    self.awaited.push(Awaited { node, expected: Expected::Value(value) });
                }
            }
        }
        Ok(())
    }

    fn is_leaf(&self, next: &Awaited) -> bool {
        self.has_size && halves(&next.node, LEAF).is_none()
    }
}

/// ROOT is set at the top, and only there; the counter of a BLAKE3 chunk is that of its place (rule 4).
impl Expected {
    fn is_value_of(&self, file_len: u64, node: &Range<u64>, bytes: &[u8]) -> bool {
        match self {
            Self::Root(root) => FileRoot::of(bytes) == *root,
            Self::Value(value) => subtree(file_len, node, bytes) == Some(*value),
        }
    }

    fn is_parent_of(&self, [left, right]: &[ChainingValue; 2]) -> bool {
        match self {
            Self::Root(root) => {
                let merged = merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash);
                FileRoot::from_bytes(*merged.as_bytes()) == *root
            }
            Self::Value(value) => merge(left, right) == *value,
        }
    }
}

/// Checks a slice that is in memory whole, and gives the bytes of its range.
///
/// # Guarantee
/// The bytes are those of the range in the one file that has the root and the length; the slice is the only encoding
/// of them (rule 6). As with [`SliceDecoder`], nothing is said of the rest of the file.
///
/// # Errors
/// [`SliceError`]: 2603, 2602, 2604; nothing is released then.
///
/// # Cost
/// One BLAKE3 pass over the slice. The length is compared before anything is hashed, so that no more memory is taken than the slice has.
pub fn check_slice(root: FileRoot, range: SliceRange, slice: &[u8]) -> Result<Vec<u8>, SliceError> {
    let (expected, actual) = (range.encoded_len(), as_u64(slice.len()));
    let size = slice.first_chunk::<8>().map(|size| u64::from_le_bytes(*size));
    if let Some(actual) = size.filter(|size| *size != range.file_len()) {
        return Err(SliceError::OtherSize { expected: range.file_len(), actual });
    }
    if actual < expected {
        return Err(SliceError::Short { expected, actual });
    }
    if actual > expected {
        return Err(SliceError::Long { expected });
    }
    // Every byte of the range is in the slice, whose length is right: it holds at least that many.
    let capacity = usize::try_from(len_of(&range.range())).unwrap_or(0).min(slice.len());
    let mut bytes = Vec::with_capacity(capacity);
    let mut decoder = SliceDecoder::new(root, range);
    let mut input = slice;
    while let Some(accepted) = decoder.next(&mut input)? {
        bytes.extend_from_slice(accepted);
    }
    decoder.finish()?;
    Ok(bytes)
}

/// Makes a slice from a file's accepted layer and the chunks that the range touches.
///
/// # Guarantee
/// What is written is the slice of the range, byte for byte the one that every implementation of Bao writes. Each chunk
/// is checked against the layer before anything of it is written, so what is sent is what the other side accepts.
///
/// # Cost
/// [`new`](Self::new): one compression for each value of the layer, and 64 bytes for each parent above the chunks that
/// has a byte of the range, which is at most twice the layer. [`push`](Self::push): two BLAKE3 passes over the chunk,
/// and 64 bytes for each KiB of it; what it appends is the chunk's part of the slice.
#[derive(Debug)]
#[must_use]
pub struct Slicer<'l> {
    layer: &'l Layer,
    range: SliceRange,
    /// The chunks that are still to be pushed.
    chunks: Range<u64>,
    /// The nodes that are still to be written, the next one last.
    nodes: Vec<Range<u64>>,
    /// The values of the parents among them and below, the next ones last: those above the chunks from the start, those
    /// within a chunk while it is written.
    pairs: Vec<[ChainingValue; 2]>,
}

impl<'l> Slicer<'l> {
    /// Begins a slice of `range`; its first 8 bytes, the file's size, are appended to `out`.
    ///
    /// # Errors
    /// [`SliceError::OtherFile`] if the layer is not of a file of the range's size: a fault of the caller.
    pub fn new(layer: &'l Layer, range: SliceRange, out: &mut Vec<u8>) -> Result<Self, SliceError> {
        if layer.grid().len() != range.len {
            return Err(SliceError::OtherFile { layer: layer.grid().len(), range: range.len });
        }
        let granule = layer.grid().granule();
        let mut pairs = Vec::new();
        let value = |node: &Range<u64>| value_above(layer, node);
        Pairs { range: range.range(), unit: granule, value, found: &mut pairs }
            .find(&range.file())
            .ok_or(SliceError::Fault)?;
        out.extend_from_slice(&range.len.to_le_bytes());
        let nodes = alloc::vec![range.file()];
        Ok(Self { layer, range, chunks: range.chunks(granule), nodes, pairs })
    }

    /// The position of the chunk to be pushed next; `None` when the slice is whole. For an empty file that is so from
    /// the start.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        Some(self.chunks.start).filter(|index| *index < self.chunks.end)
    }

    /// Takes the whole bytes of the chunk that is [`wanted`](Self::wanted), and appends its part of the slice, with the
    /// parents that lead to it, to `out`.
    ///
    /// # Errors
    /// [`SliceError::Chunk`] (2107, 2102) if it is another chunk, and [`SliceError::NothingWanted`]. `out` and the slicer
    /// are unchanged then; the chunk may be offered again.
    ///
    /// # Panics
    /// Never, for any `bytes`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SliceError> {
        let index = self.wanted().ok_or(SliceError::NothingWanted)?;
        self.layer.check(index, bytes).map_err(SliceError::Chunk)?;
        self.write(index, bytes, out).ok_or(SliceError::Fault)?;
        self.chunks.start = index.saturating_add(1);
        Ok(())
    }

    /// Ends the slice.
    ///
    /// # Errors
    /// [`SliceError::Unfinished`] if a chunk is still wanted.
    pub fn finish(self) -> Result<(), SliceError> {
        self.wanted().map_or(Ok(()), |wanted| Err(SliceError::Unfinished { wanted }))
    }

    /// `None` is a fault of ours.
    fn write(&mut self, index: u64, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let grid = self.layer.grid();
        let chunk = grid.range(index)?;
        // Down to the chunk.
        while let Some(halves) = halves(self.nodes.last()?, grid.granule()) {
            self.write_parent(halves, out)?;
        }
        // And from it to its BLAKE3 chunks.
        let value = |node: &Range<u64>| subtree(grid.len(), node, bytes_of(bytes, &chunk, node)?);
        let range = self.range.range();
        Pairs { range, unit: LEAF, value, found: &mut self.pairs }.find(&chunk)?;
        while let Some(node) = self.nodes.last().filter(|node| node.start < chunk.end) {
            if let Some(halves) = halves(node, LEAF) {
                self.write_parent(halves, out)?;
            } else {
                out.extend_from_slice(bytes_of(bytes, &chunk, node)?);
                self.nodes.pop();
            }
        }
        Some(())
    }

    /// Writes the values of the next node's halves, which take its place.
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
/// They are found from the bottom up, each once, and wanted from the top down: `found` gets them in the reverse of the
/// order in which a slice has them, to be taken from its end. Recursion goes as deep as the tree, at most 43 levels.
struct Pairs<'a, F> {
    range: Range<u64>,
    /// Where parents end: the layer's chunks, or BLAKE3's.
    unit: Granule,
    /// The value of a node that is a unit, or has no byte of the range.
    value: F,
    found: &'a mut Vec<[ChainingValue; 2]>,
}

impl<F: Fn(&Range<u64>) -> Option<ChainingValue>> Pairs<'_, F> {
    /// The values below `top`. Its own is not computed: it is known, or there is none since it is the root (rule 4).
    fn find(mut self, top: &Range<u64>) -> Option<()> {
        match halves(top, self.unit) {
            Some(halves) => self.pair(halves).map(|_| ()),
            None => Some(()),
        }
    }

    fn pair(&mut self, [left, right]: [Range<u64>; 2]) -> Option<[ChainingValue; 2]> {
        // All of the right half, then all of the left one, then their parent: pre-order, backwards.
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

/// The value of a node of whole chunks below the root.
fn value_above(layer: &Layer, node: &Range<u64>) -> Option<ChainingValue> {
    let Range { start, end } = positions(node, layer.grid().granule());
    match layer.values().get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)? {
        [value] => Some(*value),
        values => {
            let mut merger = Merger::new();
            values.iter().for_each(|value| merger.push(*value));
            merger.take_subtree()
        }
    }
}

/// The value of the node below the root that has these bytes.
///
/// Every such node is a granule of some grid: its size, rounded up to a power of two, divides its start. So the
/// counter of its BLAKE3 chunks comes from its position (rule 4), and lengths are checked there.
fn subtree(file_len: u64, node: &Range<u64>, bytes: &[u8]) -> Option<ChainingValue> {
    let size = len_of(node).checked_next_power_of_two()?.max(LEAF.bytes());
    let grid = Grid::new(file_len, Granule::new(size)?).ok()?;
    grid.chaining_value(node.start.checked_div(size)?, bytes).ok()
}

fn merge(left: &ChainingValue, right: &ChainingValue) -> ChainingValue {
    ChainingValue::from_bytes(merge_subtrees_non_root(left.as_bytes(), right.as_bytes(), Mode::Hash))
}

/// The children of a node; `None` if it is no longer than a unit.
///
/// The left child is the largest power of two that is smaller than the node. Units are powers of two too, so it is made
/// of whole ones.
fn halves(node: &Range<u64>, unit: Granule) -> Option<[Range<u64>; 2]> {
    let len = len_of(node);
    if len <= unit.bytes() {
        return None;
    }
    let left = 1_u64.checked_shl(len.saturating_sub(1).checked_ilog2()?)?;
    let middle = node.start.saturating_add(left);
    Some([node.start..middle, middle..node.end])
}

/// How many parents of a node, itself among them, have a byte of the range.
fn parents_of(node: &Range<u64>, range: &Range<u64>) -> u64 {
    let Some([left, right]) = halves(node, LEAF).filter(|_| touches(node, range)) else { return 0 };
    if range.start <= node.start && node.end <= range.end {
        // All of them: one fewer than BLAKE3 chunks.
        return len_of(node).div_ceil(LEAF.bytes()).saturating_sub(1);
    }
    parents_of(&left, range).saturating_add(parents_of(&right, range)).saturating_add(1)
}

fn touches(node: &Range<u64>, range: &Range<u64>) -> bool {
    node.start < range.end && range.start < node.end
}

fn positions(range: &Range<u64>, granule: Granule) -> Range<u64> {
    let granule = granule.bytes();
    range.start.checked_div(granule).unwrap_or(0)..range.end.div_ceil(granule)
}

fn len_of(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// The bytes of `part`, out of those of `whole`.
fn bytes_of<'b>(bytes: &'b [u8], whole: &Range<u64>, part: &Range<u64>) -> Option<&'b [u8]> {
    let start = usize::try_from(part.start.checked_sub(whole.start)?).ok()?;
    let end = usize::try_from(part.end.checked_sub(whole.start)?).ok()?;
    bytes.get(start..end)
}

fn pair(part: &[u8]) -> Option<[ChainingValue; 2]> {
    let (left, right) = part.split_first_chunk()?;
    Some([ChainingValue::from_bytes(*left), ChainingValue::from_bytes(right.try_into().ok()?)])
}

/// A part of `len` bytes, at most those of the buffer, from the front of `input`. It is collected in the buffer if its
/// bytes come one after the other; `None` until all have come.
fn take<'a, 'i: 'a>(
    buffer: &'a mut [u8; LEAF_LEN],
    filled: &mut usize,
    len: usize,
    input: &mut &'i [u8],
) -> Option<&'a [u8]> {
    if *filled == 0
        && let Some((part, rest)) = input.split_at_checked(len)
    {
        *input = rest;
        return Some(part);
    }
    let missing = buffer.get_mut(*filled..len)?;
    let (now, rest) = input.split_at(input.len().min(missing.len()));
    missing.get_mut(..now.len())?.copy_from_slice(now);
    *input = rest;
    *filled = filled.saturating_add(now.len());
    if *filled < len {
        return None;
    }
    *filled = 0;
    buffer.get(..len)
}

/// How many bytes were taken from an input that had `before`.
fn taken(before: usize, input: &[u8]) -> u64 {
    as_u64(before.saturating_sub(input.len()))
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// BLAKE3's own chunk, where slices end.
const LEAF: Granule = Granule::MIN;
const LEAF_LEN: usize = 1024;
const LEAF_MASK: u64 = 1023;
/// The two values of a parent.
const PARENT_LEN: usize = 64;
const PARENT_LEN_U64: u64 = 64;
/// The size of the file.
const HEADER_LEN: usize = 8;
const HEADER_LEN_U64: u64 = 8;
/// A file has at most 2^43 BLAKE3 chunks, so at most 43 parents are above one. Each leaves at most its right child
/// waiting, and there is the node that is next.
const MAX_AWAITED: usize = 44;

/// Why a slice was refused, or not made.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SliceError {
    /// No slice can have this range (rule 6).
    Range {
        /// The size of the file.
        len: u64,
        /// Where the range begins.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// The slice ended too soon (rule 6).
    Short {
        /// The length of the slice by its range, in bytes.
        expected: u64,
        /// How many bytes there were.
        actual: u64,
    },
    /// The slice goes on after its end (rule 6).
    Long {
        /// The length of the slice by its range, in bytes.
        expected: u64,
    },
    /// The slice says to be of a file of another size (rule 1).
    OtherSize {
        /// The signed size.
        expected: u64,
        /// The size in the slice.
        actual: u64,
    },
    /// A parent or a BLAKE3 chunk of the slice does not lead to the file's root (rules 3 and 4).
    Mismatch {
        /// The bytes of the file that are below it; 0..0 if an empty file has not the root of nothing.
        range: Range<u64>,
    },
    /// A chunk from which a slice was to be made was refused.
    Chunk(ChunkError),
    /// A file cannot be as long. The caller's fault, never that of the data.
    TooLong(TooLong),
    /// The range and the layer are of files of different sizes. The caller's fault, never that of the data.
    OtherFile {
        /// The size of the layer's file.
        layer: u64,
        /// The size of the range's file.
        range: u64,
    },
    /// A chunk was pushed when the slice was whole. The caller's fault, never that of the data.
    NothingWanted,
    /// A slice was finished before it was whole. The caller's fault, never that of the data.
    Unfinished {
        /// The position of the chunk that is wanted next.
        wanted: u64,
    },
    /// A fault of this library.
    Fault,
}

impl SliceError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Range { .. } => 2601,
            Self::Short { .. } | Self::Long { .. } => 2602,
            Self::OtherSize { .. } => 2603,
            Self::Mismatch { .. } => 2604,
            Self::Chunk(error) => error.error_code(),
            Self::TooLong(error) => error.error_code(),
            Self::OtherFile { .. } | Self::NothingWanted | Self::Unfinished { .. } | Self::Fault => 9999,
        }
    }
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { len, start, end } => {
                write!(f, "a file of {len} bytes has no slice of the bytes {start}..{end}")
            }
            Self::Short { expected, actual } => {
                write!(f, "the slice ends after {actual} bytes, expected {expected}")
            }
            Self::Long { expected } => {
                write!(f, "the slice goes on after {expected} bytes, where it has to end")
            }
            Self::OtherSize { expected, actual } => {
                write!(f, "the slice is of a file of {actual} bytes, expected {expected}")
            }
            Self::Mismatch { range } => {
                write!(
                    f,
                    "the slice does not lead to the file's root at bytes {}..{}",
                    range.start, range.end
                )
            }
            Self::Chunk(error) => fmt::Display::fmt(error, f),
            Self::TooLong(error) => fmt::Display::fmt(error, f),
            Self::OtherFile { layer, range } => {
                write!(f, "API misuse: a range of a file of {range} bytes, and a layer of one of {layer}")
            }
            Self::NothingWanted => write!(f, "API misuse: a chunk was pushed to a slice that is whole"),
            Self::Unfinished { wanted } => write!(f, "API misuse: the slice still needs chunk {wanted}"),
            Self::Fault => write!(f, "a slice could not be made; please report it"),
        }
    }
}

impl core::error::Error for SliceError {}

#[cfg(test)]
mod tests {
    use std::{format, vec};

    use blake3::hazmat::left_subtree_len;

    use super::*;

    const LONGEST: u64 = FILE_LEN_LIMIT - 1;

    #[test]
    fn ranges_are_within_the_file_and_not_empty() {
        for (len, start, end) in [(1, 0, 1), (5000, 2000, 2100), (5000, 4999, 5000), (LONGEST, 0, LONGEST)] {
            let range = SliceRange::new(len, start..end).unwrap();
            assert_eq!((range.file_len(), range.range()), (len, start..end));
        }
        assert_eq!(SliceRange::new(0, 0..0).map(SliceRange::range), Ok(0..0));
        let refused = [
            (0, 0, 1),
            (0, 1, 1),
            (1, 0, 0),
            (1, 1, 1),
            (1, 1, 2),
            (1, 0, 2),
            (9, 6, 5),
            (9, 5, 5),
            (9, 9, 9),
            (9, 9, 10),
            (9, 0, u64::MAX),
            (9, u64::MAX, u64::MAX),
            (9, u64::MAX, 3),
        ];
        for (len, start, end) in refused {
            assert_eq!(SliceRange::new(len, start..end), Err(SliceError::Range { len, start, end }));
        }
        for len in [FILE_LEN_LIMIT, u64::MAX] {
            assert_eq!(SliceRange::new(len, 0..1), Err(SliceError::TooLong(TooLong { len })));
        }
    }

    #[test]
    fn halves_are_those_of_blake3() {
        let near_powers = (10..53).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for len in (1..5000).chain(near_powers).chain([LONGEST]) {
            for start in [0, 1 << 60] {
                let halves = halves(&(start..start + len), LEAF);
                // BLAKE3's own function knows no whole BLAKE3 chunks: 1,024 and below are for the caller to catch.
                let expected = (len > 1024).then(|| start + left_subtree_len(len));
                assert_eq!(halves, expected.map(|middle| [start..middle, middle..start + len]), "{len}");
            }
        }
    }

    #[test]
    fn the_encoded_length_is_exact_at_the_limits() {
        let encoded_len = |len, range| SliceRange::new(len, range).unwrap().encoded_len();
        // The example of spec/slices.md.
        assert_eq!(encoded_len(5000, 2000..2100), 2312);
        assert_eq!((encoded_len(0, 0..0), encoded_len(1, 0..1), encoded_len(1024, 9..10)), (8, 9, 1032));
        assert_eq!(encoded_len(1025, 1024..1025), 8 + 64 + 1);
        // 2^43 BLAKE3 chunks, 43 parents above each; in the middle only the root is shared.
        assert_eq!(encoded_len(LONGEST, 0..LONGEST), 8 + LONGEST + 64 * ((1 << 43) - 1));
        assert_eq!(encoded_len(LONGEST, 0..1), 8 + 64 * 43 + 1024);
        assert_eq!(encoded_len(LONGEST, LONGEST - 1..LONGEST), 8 + 64 * 43 + 1023);
        let middle = 1 << 52;
        assert_eq!(encoded_len(LONGEST, middle - 1..middle + 1), 8 + 64 * (1 + 2 * 42) + 2048);
        assert_eq!(encoded_len(LONGEST, 1..LONGEST - 1), encoded_len(LONGEST, 0..LONGEST));
    }

    /// The beginning of a slice of the longest file, whose root is made so that the path to one end of it is good: no
    /// one has the rest. Size and parents, then the BLAKE3 chunk.
    fn path_of_the_longest(to_the_left: bool) -> (FileRoot, Vec<u8>, Vec<u8>) {
        let mut nodes = vec![SliceRange::new(LONGEST, 0..1).unwrap().file()];
        while let Some([left, right]) = halves(nodes.last().unwrap(), LEAF) {
            nodes.push(if to_the_left { left } else { right });
        }
        let leaf = nodes.pop().unwrap();
        let bytes = vec![7; usize::try_from(len_of(&leaf)).unwrap()];
        let mut value = subtree(LONGEST, &leaf, &bytes).unwrap();
        let other = ChainingValue::from_bytes([9; 32]);
        let mut pairs = Vec::new();
        while nodes.pop().is_some() {
            let [left, right] = if to_the_left { [value, other] } else { [other, value] };
            pairs.push([left, right]);
            value = merge(&left, &right);
        }
        let [left, right] = pairs.last().unwrap();
        let root = merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash);
        let mut above = LONGEST.to_le_bytes().to_vec();
        above.extend(pairs.iter().rev().flatten().flat_map(ChainingValue::as_bytes));
        (FileRoot::from_bytes(*root.as_bytes()), above, bytes)
    }

    #[test]
    fn memory_is_that_of_one_path_however_long_the_file() {
        let (root, above, leaf) = path_of_the_longest(true);
        let mut decoder = SliceDecoder::new(root, SliceRange::new(LONGEST, 0..LONGEST).unwrap());
        assert_eq!(decoder.awaited.capacity(), MAX_AWAITED);
        let input = [&above[..], &leaf, &[0; 64]].concat();
        let (mut most, mut released) = (0, 0);
        // Byte by byte, so that every state is seen.
        let refused = input.chunks(1).find_map(|mut byte| {
            let next = decoder.next(&mut byte).map(|bytes| bytes.map_or(0, <[u8]>::len));
            most = most.max(decoder.awaited.len());
            next.map(|len| released += len).err()
        });
        assert_eq!((most, decoder.awaited.capacity()), (MAX_AWAITED, MAX_AWAITED));
        // Its neighbour is a BLAKE3 chunk, of which 64 bytes came; one kilobyte more decides.
        assert_eq!((released, refused), (1024, None));
        let refused = decoder.next(&mut &[0; 960][..]).map(|_| ());
        assert_eq!(refused, Err(SliceError::Mismatch { range: 1024..2048 }));
    }

    #[test]
    fn the_end_of_the_longest_file_awaits_one_value_at_a_time() {
        let (root, above, leaf) = path_of_the_longest(false);
        let range = SliceRange::new(LONGEST, LONGEST - 3..LONGEST).unwrap();
        let slice = [above, leaf].concat();
        assert_eq!(check_slice(root, range, &slice), Ok(vec![7; 3]));
        let mut decoder = SliceDecoder::new(root, range);
        for mut byte in slice.chunks(1) {
            assert!(decoder.next(&mut byte).is_ok() && decoder.awaited.len() <= 1);
        }
        assert_eq!(decoder.finish(), Ok(()));
        // What the range says is believed for the shape, and for nothing that is allocated.
        let whole = SliceRange::new(LONGEST, 0..LONGEST).unwrap();
        let expected = SliceError::Short { expected: whole.encoded_len(), actual: as_u64(slice.len()) };
        assert_eq!(check_slice(root, whole, &slice), Err(expected));
    }

    #[test]
    fn a_million_chunks_are_planned_with_one_pair_a_parent() {
        // The values need not be those of any file: nothing is pushed.
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
            // The last one found is the first one written; it has to be that of the root.
            let [left, right] = slicer.pairs.last().unwrap();
            let root = merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash);
            assert_eq!(FileRoot::from_bytes(*root.as_bytes()), layer.root());
        }
    }

    #[test]
    fn a_refused_slice_stays_refused() {
        let file = [7; 1024];
        let range = SliceRange::new(1024, 5..9).unwrap();
        let good = [&1024_u64.to_le_bytes()[..], &file].concat();
        let mut long = good.clone();
        long.push(0);
        let mut changed = good.clone();
        changed[500] ^= 1;
        let mut other_size = good.clone();
        other_size[1] ^= 1;
        for (bad, code) in [(long, 2602), (changed, 2604), (other_size, 2603)] {
            let mut decoder = SliceDecoder::new(FileRoot::of(&file), range);
            let mut input = &bad[..];
            let error = loop {
                match decoder.next(&mut input) {
                    Ok(bytes) => assert_eq!(bytes, Some(&[7; 4][..])),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.error_code(), code);
            for mut more in [&good[..], &[]] {
                let before = more;
                assert_eq!(decoder.next(&mut more), Err(error.clone()));
                assert_eq!(more, before, "nothing is looked at");
            }
            assert_eq!(decoder.finish(), Err(error));
        }
    }

    #[test]
    fn each_refusal_has_its_number_and_names_the_place() {
        let chunk = ChunkError::Mismatch { index: 3, range: 3072..4096 };
        for (error, said) in [
            (
                SliceError::Range { len: 9, start: 6, end: 5 },
                "2601 a file of 9 bytes has no slice of the bytes 6..5",
            ),
            (SliceError::Short { expected: 72, actual: 8 }, "2602 the slice ends after 8 bytes, expected 72"),
            (SliceError::Long { expected: 72 }, "2602 the slice goes on after 72 bytes, where it has to end"),
            (
                SliceError::OtherSize { expected: 9, actual: 8 },
                "2603 the slice is of a file of 8 bytes, expected 9",
            ),
            (
                SliceError::Mismatch { range: 1024..2048 },
                "2604 the slice does not lead to the file's root at bytes 1024..2048",
            ),
            (SliceError::Chunk(chunk), "2102 chunk 3 (bytes 3072..4096) does not match the signed root"),
            (
                SliceError::TooLong(TooLong { len: FILE_LEN_LIMIT }),
                "9999 a file has fewer than 2^53 bytes, not 9007199254740992",
            ),
            (
                SliceError::OtherFile { layer: 8, range: 9 },
                "9999 API misuse: a range of a file of 9 bytes, and a layer of one of 8",
            ),
            (SliceError::NothingWanted, "9999 API misuse: a chunk was pushed to a slice that is whole"),
            (SliceError::Unfinished { wanted: 4 }, "9999 API misuse: the slice still needs chunk 4"),
            (SliceError::Fault, "9999 a slice could not be made; please report it"),
        ] {
            assert_eq!(format!("{} {error}", error.error_code()), said);
        }
    }
}
