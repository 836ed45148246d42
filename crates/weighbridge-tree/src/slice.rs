//! Slices: ranges of a file with the path of its tree that leads to them (`spec/slices.md`).
//!
//! The encoding is Bao's: the file's size, then the tree from the root downwards, left before right, without the
//! subtrees that have no byte of the range. The length of a slice follows from the size and the range alone.
//!
//! ```
//! use weighbridge_tree::{
//!     ChunkSize, Coded, ErrorCode, FileRoot, Grid, Layer, SliceRange, Slicer, check_slice,
//! };
//!
//! // The source makes a slice of 100 bytes, from the only chunk that the range touches.
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
//! // The receiver has the size and root from signed data and chooses the range; the slice may come from anybody.
//! assert_eq!(check_slice(root, range, &slice)?, [7; 100]);
//! slice[700] ^= 1;
//! assert_eq!(check_slice(root, range, &slice).unwrap_err().error_code(), ErrorCode::SLICE_MISMATCH);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use crate::geometry::{FILE_LEN_LIMIT, Granule, TooLong, as_u64, len_of};
use crate::hash::{ChainingValue, FileRoot};
pub use crate::slice_error::SliceError;
pub use crate::slicer::Slicer;
use crate::subtree::{self, LEAF, LEAF_LEN, halves, merge, merge_root, part_of, touches};

/// A range that a slice can have: 0 ≤ A < B ≤ size, or 0..0 of an empty file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct SliceRange {
    len: u64,
    start: u64,
    end: u64,
}

impl SliceRange {
    /// Takes `range`, in bytes, as a range of a file of `len` bytes.
    ///
    /// `len` comes from signed data (rule 1), the range from the party that wants the bytes.
    ///
    /// # Errors
    /// [`SliceError::Range`] (2601) for a range that is empty, reversed, or past the end; [`SliceError::TooLong`] for a
    /// file of 2^53 bytes or more, a size that lists cannot express.
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

    /// The range, in bytes. It is empty only for an empty file.
    #[must_use]
    pub const fn range(self) -> Range<u64> {
        self.start..self.end
    }

    /// The length of the slice's encoding, in bytes. A slice of this range has no other length.
    ///
    /// # Cost
    /// At most two steps per level of the tree, for any length of the range.
    #[must_use]
    pub fn encoded_len(self) -> u64 {
        // The whole BLAKE3 chunks that the range touches, up to the end of the file.
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
        granule.into().positions(&self.range())
    }

    /// The node at the top of the tree.
    pub(crate) fn file(self) -> Range<u64> {
        0..self.len
    }
}

/// Checks a slice as it arrives, in pieces of any lengths.
///
/// # Guarantee
/// The bytes that [`next`](Self::next) releases are, joined, the beginning of the range of the one file that has the
/// root and the length. No byte is released before its BLAKE3 chunk is accepted (rule 2). When [`finish`](Self::finish)
/// succeeds, the whole range was released, and the slice had no byte too few or too many (rule 6).
///
/// # Non-guarantee
/// The decoder says nothing about the rest of the file, nor whether the slice's sender has it.
///
/// # Cost
/// The memory of one path, at most 44 awaited values, and one BLAKE3 chunk, for any length of the file and of the
/// range. One BLAKE3 pass over the slice; no allocation after [`new`](Self::new).
#[derive(Debug)]
#[must_use]
pub struct SliceDecoder {
    range: SliceRange,
    /// The awaited nodes, the next one last, each with its expected value. Each value here was merged to the root
    /// before (rule 3).
    awaited: Vec<Awaited>,
    has_size: bool,
    /// The beginning of an incomplete part: the size, a parent, or a BLAKE3 chunk.
    buffer: [u8; LEAF_LEN],
    filled: usize,
    received: u64,
    refused: Option<SliceError>,
}

/// A subtree that the slice contains at least in part.
#[derive(Debug)]
struct Awaited {
    /// The byte range of the subtree in the file.
    node: Range<u64>,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Root(FileRoot),
    Value(ChainingValue),
}

impl SliceDecoder {
    /// Begins a slice of `range` of the file with this root. The size and the root come from signed data.
    pub fn new(root: FileRoot, range: SliceRange) -> Self {
        let mut awaited = Vec::with_capacity(MAX_AWAITED);
        awaited.push(Awaited { node: range.file(), expected: Expected::Root(root) });
        Self { range, awaited, has_size: false, buffer: [0; LEAF_LEN], filled: 0, received: 0, refused: None }
    }

    /// Takes bytes from the front of `input`, and releases the next bytes of the range.
    ///
    /// Call this until it returns `None`. Then all of `input` was taken, and either more input is needed, or the slice
    /// has ended and [`finish`](Self::finish) succeeds. Released bytes are never empty and never more than one BLAKE3
    /// chunk. They are the bytes that were checked, in `input` itself if `input` holds the whole BLAKE3 chunk
    /// (rule 10).
    ///
    /// # Errors
    /// [`SliceError`]: 2603, 2604, and 2602 if `input` goes on after the end. After an error, every call, and `finish`,
    /// returns the same error and reads nothing (rule 3). Bytes released before stay good.
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

        // The next part is a BLAKE3 chunk, unless the input is used up or the slice has ended.
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
        // The range may begin or end within the BLAKE3 chunk. The bytes outside the range are checked, but not
        // released.
        let within = self.range.start.max(node.start)..self.range.end.min(node.end);
        let is_good = |_: &&[u8]| expected.is_value_of(node, bytes);
        let Some(released) = part_of(bytes, node, &within).filter(is_good) else {
            let error = SliceError::Mismatch { range: node.clone() };
            return Err(self.refused.insert(error).clone());
        };
        self.awaited.pop();
        Ok(Some(released))
    }

    /// Ends the slice. `rest` is the remaining input that was not passed to [`next`](Self::next). A reader that stops
    /// when it has all bytes of its range has not seen whether more bytes follow them.
    ///
    /// # Errors
    /// The [`SliceError`] that refused the slice, [`SliceError::Short`] (2602) if bytes are missing, and
    /// [`SliceError::Long`] (2602) if bytes are left over.
    pub fn finish(self, rest: &[u8]) -> Result<(), SliceError> {
        let expected = self.range.encoded_len();
        match self.refused {
            Some(refused) => Err(refused),
            None if !self.awaited.is_empty() => Err(SliceError::Short { expected, actual: self.received }),
            None if !rest.is_empty() => Err(SliceError::Long { expected }),
            None => Ok(()),
        }
    }

    /// Accepts the size and the parents, up to the next BLAKE3 chunk, the end of the slice, or the end of `input`.
    fn accept_parents(&mut self, input: &mut &[u8]) -> Result<(), SliceError> {
        if !self.has_size {
            let Some(part) = take(&mut self.buffer, &mut self.filled, HEADER_LEN, input) else {
                return Ok(());
            };
            let actual = part.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
            // The size is compared and not used otherwise: the shape follows from the signed size (rule 1).
            if actual != self.range.len {
                return Err(SliceError::OtherSize { expected: self.range.len, actual });
            }
            self.has_size = true;
            // An empty file has no BLAKE3 chunk to check, so its root is checked here.
            if let Some(Awaited { node, expected }) = self.awaited.pop_if(|top| top.node.is_empty())
                && !expected.is_value_of(&node, &[])
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
            // The left node comes first in the slice, so it goes on top of the stack.
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

/// The flag ROOT is set at the top node only. The counter of a BLAKE3 chunk follows from its place (rule 4).
impl Expected {
    fn is_value_of(&self, node: &Range<u64>, bytes: &[u8]) -> bool {
        match self {
            Self::Root(root) => FileRoot::of(bytes) == *root,
            Self::Value(value) => subtree::from_bytes(node, bytes) == Some(*value),
        }
    }

    fn is_parent_of(&self, [left, right]: &[ChainingValue; 2]) -> bool {
        match self {
            Self::Root(root) => merge_root(left, right) == *root,
            Self::Value(value) => merge(left, right) == *value,
        }
    }
}

/// Checks a slice that is wholly in memory, and returns the bytes of its range.
///
/// # Guarantee
/// The bytes are those of the range in the one file that has the root and the length. The slice is the only encoding of
/// them (rule 6). Like [`SliceDecoder`], this says nothing about the rest of the file.
///
/// # Errors
/// [`SliceError`]: 2603, 2602, 2604; then nothing is released.
///
/// # Cost
/// One BLAKE3 pass over the slice. The length is compared before anything is hashed, so the memory for the result is
/// never larger than the slice.
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
    // The slice has the right length and holds every byte of the range, so the range is not longer than the slice.
    let capacity = usize::try_from(len_of(&range.range())).unwrap_or(0).min(slice.len());
    let mut bytes = Vec::with_capacity(capacity);
    let mut decoder = SliceDecoder::new(root, range);
    let mut input = slice;
    while let Some(accepted) = decoder.next(&mut input)? {
        bytes.extend_from_slice(accepted);
    }
    decoder.finish(input)?;
    Ok(bytes)
}

/// The number of parents that have a byte of the range, among `node` and the nodes below it.
fn parents_of(node: &Range<u64>, range: &Range<u64>) -> u64 {
    let Some([left, right]) = halves(node, LEAF).filter(|_| touches(node, range)) else { return 0 };
    if range.start <= node.start && node.end <= range.end {
        // The range covers the node, so all parents count: one fewer than BLAKE3 chunks.
        return len_of(node).div_ceil(LEAF.bytes()).saturating_sub(1);
    }
    parents_of(&left, range).saturating_add(parents_of(&right, range)).saturating_add(1)
}

fn pair(part: &[u8]) -> Option<[ChainingValue; 2]> {
    let (left, right) = part.split_first_chunk()?;
    Some([ChainingValue::from_bytes(*left), ChainingValue::from_bytes(right.try_into().ok()?)])
}

/// Takes a part of `len` bytes, at most the buffer's length, from the front of `input`. A part that comes in several
/// pieces is collected in the buffer; `None` until the part is complete.
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

/// The number of bytes taken from an input that had `before` bytes.
fn taken(before: usize, input: &[u8]) -> u64 {
    as_u64(before.saturating_sub(input.len()))
}

const LEAF_MASK: u64 = 1023;
/// The length of a parent: two values.
const PARENT_LEN: usize = 64;
const PARENT_LEN_U64: u64 = 64;
/// The length of the header: the size of the file.
const HEADER_LEN: usize = 8;
const HEADER_LEN_U64: u64 = 8;
/// A file has at most 2^43 BLAKE3 chunks, so at most 43 parents are above one of them. Each parent leaves at most its
/// right child waiting; the next node is one more.
const MAX_AWAITED: usize = 44;

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    const LONGEST: u64 = FILE_LEN_LIMIT - 1;

    /// The beginning of a slice of the longest file: the size and the parents, then the BLAKE3 chunk. The root is made
    /// so that the path to one end of the file is good; the rest of the file does not exist.
    fn path_of_the_longest(to_the_left: bool) -> (FileRoot, Vec<u8>, Vec<u8>) {
        let mut nodes = vec![SliceRange::new(LONGEST, 0..1).unwrap().file()];
        while let Some([left, right]) = halves(nodes.last().unwrap(), LEAF) {
            nodes.push(if to_the_left { left } else { right });
        }
        let leaf = nodes.pop().unwrap();
        let bytes = vec![7; usize::try_from(len_of(&leaf)).unwrap()];
        let mut value = subtree::from_bytes(&leaf, &bytes).unwrap();
        let other = ChainingValue::from_bytes([9; 32]);
        let mut pairs = Vec::new();
        while nodes.pop().is_some() {
            let [left, right] = if to_the_left { [value, other] } else { [other, value] };
            pairs.push([left, right]);
            value = merge(&left, &right);
        }
        let [left, right] = pairs.last().unwrap();
        let mut above = LONGEST.to_le_bytes().to_vec();
        above.extend(pairs.iter().rev().flatten().flat_map(ChainingValue::as_bytes));
        (merge_root(left, right), above, bytes)
    }

    #[test]
    fn memory_is_that_of_one_path_however_long_the_file() {
        let (root, above, leaf) = path_of_the_longest(true);
        let mut decoder = SliceDecoder::new(root, SliceRange::new(LONGEST, 0..LONGEST).unwrap());
        assert_eq!(decoder.awaited.capacity(), MAX_AWAITED);
        let input = [&above[..], &leaf, &[0; 64]].concat();
        let (mut most, mut released) = (0, 0);
        // Byte by byte, so that the test sees every state.
        let refused = input.chunks(1).find_map(|mut byte| {
            let next = decoder.next(&mut byte).map(|bytes| bytes.map_or(0, <[u8]>::len));
            most = most.max(decoder.awaited.len());
            next.map(|len| released += len).err()
        });
        assert_eq!((most, decoder.awaited.capacity()), (MAX_AWAITED, MAX_AWAITED));
        // The next node is a BLAKE3 chunk, of which 64 bytes came. It is checked once 960 more bytes come.
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
        assert_eq!(decoder.finish(&[]), Ok(()));
        // The claimed range determines the shape, but no allocation.
        let whole = SliceRange::new(LONGEST, 0..LONGEST).unwrap();
        let expected = SliceError::Short { expected: whole.encoded_len(), actual: as_u64(slice.len()) };
        assert_eq!(check_slice(root, whole, &slice), Err(expected));
    }
}
