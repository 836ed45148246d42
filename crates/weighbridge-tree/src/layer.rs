//! Accepting a chunk layer, and checking chunks against it.
//!
//! ```
//! use weighbridge_tree::{ChunkSize, Coded, ErrorCode, FileRoot, Grid, Layer};
//!
//! // The publisher makes a layer of three values.
//! let file = vec![7; 40_000];
//! let grid = Grid::new(40_000, ChunkSize::MIN)?;
//! let mut published = Vec::new();
//! for (index, chunk) in (0..).zip(file.chunks(16_384)) {
//!     published.extend(grid.chaining_value(index, chunk)?.as_bytes());
//! }
//! let signed = FileRoot::of(&file);
//!
//! // The receiver has the size, chunk size and root from signed data; the layer and the chunks may come from anybody.
//! let layer = Layer::accept(grid, signed, &published)?;
//! assert_eq!(layer.check(2, &file[32_768..]), Ok(()));
//! assert_eq!(layer.check(0, &[8; 16_384]).unwrap_err().error_code(), ErrorCode::CHUNK_MISMATCH);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::error_code::{Coded, ErrorCode};
use crate::geometry::{Grid, as_u64, len_of};
use crate::hash::{ChainingValue, FileRoot};
use crate::merge::{MergeError, Merger, root_of};
use crate::subtree;

/// A file's chunk layer that merges to the file's root.
///
/// A file of at most one chunk has no chunk layer. It has a `Layer` all the same, which checks the chunk against the
/// root directly, so that callers have one path. Checking takes `&self`: chunks may come in any order, on any core.
///
/// # Guarantee
/// A chunk that [`check`](Self::check) accepts is byte for byte the chunk at that position of the one file that has the
/// root and the length (rules 1 to 4).
///
/// # Non-guarantee
/// A layer does not tell whether all chunks were checked. A caller that needs the whole file counts its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Layer {
    grid: Grid,
    root: FileRoot,
    /// One value for each granule if the grid has a layer, otherwise empty.
    values: Vec<ChainingValue>,
}

impl Layer {
    /// Accepts the bytes of a layer if they merge to the root. Refused bytes leave nothing behind (rule 3).
    ///
    /// `grid` and `root` come from signed data. `bytes` is the layer of this one file, as in `chunks.layer`: 32 bytes
    /// per chunk, and no bytes for a file of at most one chunk. An empty file has no chunk to check later, so its root
    /// is compared here.
    ///
    /// # Errors
    /// [`LayerError`]: 2201, 2202, and 2101 for an empty file whose root is not the root of no bytes.
    ///
    /// # Cost
    /// One compression and 32 bytes per chunk. Nothing is allocated before the length is checked. With the feature
    /// `rayon`, large layers are merged on all cores, in the same way as [`check`](Self::check) hashes large chunks.
    pub fn accept(grid: Grid, root: FileRoot, bytes: &[u8]) -> Result<Self, LayerError> {
        let actual = as_u64(bytes.len());
        if actual != grid.layer_len() {
            return Err(LayerError::WrongLength { expected: grid.layer_len(), actual });
        }
        let mut reader = LayerReader::new(grid, root);
        reader.values.reserve_exact(bytes.len() / 32);
        reader.push(bytes)?;
        reader.finish()
    }

    /// The division of the file into chunks.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The file's root.
    pub fn root(&self) -> FileRoot {
        self.root
    }

    /// The chaining values of the chunks, in order; empty for a file of at most one chunk.
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// Checks that `bytes` is the whole chunk at position `index`, counted from 0.
    ///
    /// # Errors
    /// [`ChunkError`]: 2108, 2107, 2102. The layer is unchanged; the chunk may be offered again.
    ///
    /// # Panics
    /// Never, for any `index` and `bytes`.
    ///
    /// # Cost
    /// One BLAKE3 pass over `bytes`; no allocation. With the feature `rayon`, a chunk of 4 MiB or more is hashed on all
    /// cores: by the pool in which this is called, otherwise by rayon's own pool, which the first call starts. A pool
    /// thread that waits for the others takes up other work of the pool, so the caller must not hold a lock that such
    /// work needs.
    pub fn check(&self, index: u64, bytes: &[u8]) -> Result<(), ChunkError> {
        let range = self.grid.expect_granule(index, bytes)?;
        let matches = if self.grid.has_layer() {
            value_of(&range, bytes).is_some_and(|found| self.value(index) == Some(&found))
        } else {
            file_root_of(bytes) == Some(self.root)
        };
        if matches { Ok(()) } else { Err(ChunkError::Mismatch { index, range }) }
    }

    /// The positions of the chunks whose values differ from those of the layer, in order.
    ///
    /// `values` are the computed values, one for each chunk, as [`Grid::chaining_value`] or [`Grid::coarsen`] return
    /// them.
    ///
    /// # Errors
    /// [`MergeError`] if there is no layer, or not exactly one value for each chunk.
    pub fn differing<'a>(
        &'a self,
        values: &'a [ChainingValue],
    ) -> Result<impl Iterator<Item = u64> + 'a, MergeError> {
        if !self.grid.has_layer() {
            return Err(MergeError::NoLayer);
        }
        let actual = as_u64(values.len());
        if actual != self.grid.count() {
            return Err(MergeError::WrongCount { expected: self.grid.count(), actual });
        }
        let pairs = (0_u64..).zip(self.values.iter().zip(values));
        Ok(pairs.filter(|(_, (signed, found))| signed != found).map(|(index, _)| index))
    }

    /// The value of a node below the root, if the node consists of whole chunks. Costs one compression per chunk.
    pub(crate) fn subtree_value(&self, node: &Range<u64>) -> Option<ChainingValue> {
        let Range { start, end } = self.grid.granule().positions(node);
        let (first, last) = (self.grid.range(start)?, self.grid.range(end.checked_sub(1)?)?);
        if first.start != node.start || last.end != node.end {
            return None;
        }
        match self.values.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)? {
            [value] => Some(*value),
            values => {
                let mut merger = Merger::new();
                merger.push_all(values);
                merger.take_subtree()
            }
        }
    }

    fn value(&self, index: u64) -> Option<&ChainingValue> {
        self.values.get(usize::try_from(index).ok()?)
    }
}

/// Reads a layer piece by piece, and accepts it at the end.
///
/// # Cost
/// Memory grows with the values received, never with the length that a file claims. The zeros of a sparse file are
/// refused at the first all-zero value (rule 12).
#[derive(Clone, Debug)]
pub struct LayerReader {
    grid: Grid,
    root: FileRoot,
    values: Vec<ChainingValue>,
    /// The beginning of an incomplete value: fewer than 32 bytes.
    begun: Vec<u8>,
}

impl LayerReader {
    /// Starts reading the layer of one file. `grid` and `root` come from signed data.
    pub fn new(grid: Grid, root: FileRoot) -> Self {
        Self { grid, root, values: Vec::new(), begun: Vec::new() }
    }

    /// Takes the next bytes of the layer, of any length.
    ///
    /// # Errors
    /// [`LayerError`] if the layer is longer than expected (2201), or a value is all zeros (2202): no chaining value is
    /// all zeros.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        if !self.begun.is_empty() {
            let missing = 32_usize.saturating_sub(self.begun.len()).min(bytes.len());
            let (first, rest) = bytes.split_at_checked(missing).unwrap_or_default();
            self.begun.extend_from_slice(first);
            bytes = rest;
        }
        let (begun, _) = self.begun.as_chunks::<32>();
        let (values, rest) = bytes.as_chunks::<32>();
        for value in begun.iter().chain(values) {
            if as_u64(self.values.len()) >= self.grid.layer_len() / 32 {
                let actual = self.grid.layer_len().saturating_add(1);
                return Err(LayerError::WrongLength { expected: self.grid.layer_len(), actual });
            }
            // Zeros mean a hole in the file (rule 5). Without this check, gigabytes of zeros would be read before they
            // are refused.
            if *value == [0; 32] {
                return Err(LayerError::DoesNotMerge { expected: self.root });
            }
            self.values.push(ChainingValue::from_bytes(*value));
        }
        if !begun.is_empty() {
            self.begun.clear();
        }
        self.begun.extend_from_slice(rest);
        Ok(())
    }

    /// Accepts the received layer if it merges to the root. Refused values leave nothing behind (rule 3).
    ///
    /// # Errors
    /// The errors of [`Layer::accept`].
    pub fn finish(self) -> Result<Layer, LayerError> {
        let Self { grid, root, values, begun } = self;
        let actual = as_u64(values.len()).saturating_mul(32).saturating_add(as_u64(begun.len()));
        if actual != grid.layer_len() {
            return Err(LayerError::WrongLength { expected: grid.layer_len(), actual });
        }
        if grid.is_empty() && root != FileRoot::of(&[]) {
            return Err(LayerError::NotEmpty { expected: root });
        }
        if grid.has_layer() && root_of(&values) != Some(root) {
            return Err(LayerError::DoesNotMerge { expected: root });
        }
        Ok(Layer { grid, root, values })
    }
}

impl Grid {
    /// The chaining value of granule `index`. `bytes` is the whole granule.
    ///
    /// # Errors
    /// [`ChunkError`]: 2108 and 2107, and [`ChunkError::NoLayer`] if there is at most one granule. A single granule is
    /// the root and has no chaining value; hash it with [`FileRoot::of`].
    ///
    /// # Panics
    /// Never, for any `index` and `bytes`.
    ///
    /// # Cost
    /// One BLAKE3 pass over `bytes`; no allocation.
    pub fn chaining_value(self, index: u64, bytes: &[u8]) -> Result<ChainingValue, ChunkError> {
        if !self.has_layer() {
            return Err(ChunkError::NoLayer);
        }
        let range = self.expect_granule(index, bytes)?;
        let actual = as_u64(bytes.len());
        subtree::from_bytes(&range, bytes).ok_or(ChunkError::WrongLength { index, range, actual })
    }

    /// The byte range of granule `index`, if `bytes` has the same length.
    fn expect_granule(self, index: u64, bytes: &[u8]) -> Result<Range<u64>, ChunkError> {
        let Some(range) = self.range(index) else {
            return Err(ChunkError::OutOfRange { index, count: self.count() });
        };
        let actual = as_u64(bytes.len());
        if actual == len_of(&range) {
            Ok(range)
        } else {
            Err(ChunkError::WrongLength { index, range, actual })
        }
    }
}

/// Computes [`subtree::from_bytes`]; with the feature `rayon`, on all cores if there are enough bytes.
fn value_of(node: &Range<u64>, bytes: &[u8]) -> Option<ChainingValue> {
    #[cfg(feature = "rayon")]
    if bytes.len() >= spread::WORTH {
        return spread::value_of(node, bytes);
    }
    subtree::from_bytes(node, bytes)
}

/// Computes [`FileRoot::of`]; with the feature `rayon`, on all cores if there are enough bytes.
fn file_root_of(bytes: &[u8]) -> Option<FileRoot> {
    #[cfg(feature = "rayon")]
    if bytes.len() >= spread::WORTH {
        return spread::file_root_of(bytes);
    }
    Some(FileRoot::of(bytes))
}

/// Hashes on all cores, along the BLAKE3 tree of the bytes: a node's value is the merge of its children's values.
#[cfg(feature = "rayon")]
mod spread {
    use super::*;
    use crate::subtree::{LEAF, halves, merge, merge_root, part_of};

    /// Hashing this many bytes takes one core most of a millisecond. Two cores are faster from a quarter of this length
    /// on. But where all cores are busy with their own chunks, the distribution of pieces costs a fifth of the time at
    /// that length, and a twelfth at this one.
    pub(super) const WORTH: usize = 4 << 20;
    /// The number of bytes that one core hashes before another core is asked.
    const SERIAL: usize = 512 << 10;

    pub(super) fn file_root_of(bytes: &[u8]) -> Option<FileRoot> {
        let [left, right] = children_of(&(0..as_u64(bytes.len())), bytes)?;
        Some(merge_root(&left, &right))
    }

    pub(super) fn value_of(node: &Range<u64>, bytes: &[u8]) -> Option<ChainingValue> {
        if bytes.len() <= SERIAL {
            return subtree::from_bytes(node, bytes);
        }
        let [left, right] = children_of(node, bytes)?;
        Some(merge(&left, &right))
    }

    fn children_of(node: &Range<u64>, bytes: &[u8]) -> Option<[ChainingValue; 2]> {
        let children = halves(node, LEAF)?;
        let [left, right] = children.each_ref().map(|child| (child, part_of(bytes, node, child)));
        let value = |(child, bytes): (_, Option<&[u8]>)| value_of(child, bytes?);
        let (left, right) = rayon::join(|| value(left), || value(right));
        Some([left?, right?])
    }
}

/// The reason why a layer was refused. No part of it is used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LayerError {
    /// The layer has another length than the file's size requires (rule 1).
    WrongLength {
        /// The length that follows from the file's size, in bytes.
        expected: u64,
        /// The length found, in bytes.
        actual: u64,
    },
    /// The layer merges to another root (rule 3).
    DoesNotMerge {
        /// The signed root.
        expected: FileRoot,
    },
    /// The signed size is 0, but the signed root is not the root of no bytes.
    NotEmpty {
        /// The signed root.
        expected: FileRoot,
    },
}

impl Coded for LayerError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::WrongLength { .. } => ErrorCode::LAYERS_LENGTH,
            Self::DoesNotMerge { .. } => ErrorCode::LAYER_MISMATCH,
            Self::NotEmpty { .. } => ErrorCode::FILE_MISMATCH,
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { expected, actual } => {
                write!(f, "the chunk layer has {actual} bytes, expected {expected}")
            }
            Self::DoesNotMerge { .. } => write!(f, "the chunk layer does not merge to the signed root"),
            Self::NotEmpty { .. } => {
                write!(f, "the file is empty, and the signed root is not that of no bytes")
            }
        }
    }
}

impl core::error::Error for LayerError {}

/// The reason why a chunk was refused. None of its bytes may be used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChunkError {
    /// The bytes are not the signed ones for this position (rules 3 and 4).
    Mismatch {
        /// The chunk's position.
        index: u64,
        /// The chunk's byte range in the file.
        range: Range<u64>,
    },
    /// The number of bytes is not that of the chunk at this position (rule 1).
    WrongLength {
        /// The chunk's position.
        index: u64,
        /// The chunk's byte range in the file. The length of the range is the expected length.
        range: Range<u64>,
        /// The length offered, in bytes.
        actual: u64,
    },
    /// The file has no chunk at this position.
    OutOfRange {
        /// The position asked for.
        index: u64,
        /// The number of chunks of the file.
        count: u64,
    },
    /// A file of at most one granule has no chaining values. The caller is at fault, never the data.
    NoLayer,
}

impl Coded for ChunkError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Mismatch { .. } => ErrorCode::CHUNK_MISMATCH,
            Self::WrongLength { .. } => ErrorCode::CHUNK_LENGTH,
            Self::OutOfRange { .. } => ErrorCode::CHUNK_PAST_END,
            Self::NoLayer => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { index, range } => {
                write!(
                    f,
                    "chunk {index} (bytes {}..{}) does not match the signed root",
                    range.start, range.end
                )
            }
            Self::WrongLength { index, range, actual } => {
                let expected = len_of(range);
                write!(
                    f,
                    "chunk {index} (bytes {}..{}) has {actual} bytes, expected {expected}",
                    range.start, range.end
                )
            }
            Self::OutOfRange { index, count } => {
                write!(f, "chunk {index} is past the end of a file of {count} chunks")
            }
            Self::NoLayer => {
                write!(f, "API misuse: a file of at most one granule has no chaining values")
            }
        }
    }
}

impl core::error::Error for ChunkError {}
