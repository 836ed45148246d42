//! Accepting a chunk layer, and checking chunks by it.
//!
//! ```
//! use weighbridge_tree::{ChunkSize, FileRoot, Grid, Layer};
//!
//! // Where the file is: a layer of three values.
//! let file = vec![7; 40_000];
//! let grid = Grid::new(40_000, ChunkSize::MIN)?;
//! let mut published = Vec::new();
//! for (index, chunk) in (0..).zip(file.chunks(16_384)) {
//!     published.extend(grid.chaining_value(index, chunk)?.as_bytes());
//! }
//! let signed = FileRoot::of(&file);
//!
//! // Elsewhere: size, chunk size and root are signed; the layer and the chunks are anybody's.
//! let layer = Layer::accept(grid, signed, &published)?;
//! assert_eq!(layer.check(2, &file[32_768..]), Ok(()));
//! assert_eq!(layer.check(0, &[8; 16_384]).unwrap_err().error_code(), 2102);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::geometry::{Grid, as_u64, len_of};
use crate::hash::{ChainingValue, FileRoot};
use crate::merge::{MergeError, Merger, root_of};
use crate::subtree;

/// A file's chunk layer that was merged to the file's root.
///
/// A file of at most one chunk has no layer of its own; here it is one too, checked against the root directly, so
/// that callers have one path. Checking takes `&self`: chunks may come in any order, on any core.
///
/// # Guarantee
/// A chunk that [`check`](Self::check) accepts is byte for byte the chunk at that position of the one file that has
/// the root and the length (rules 1 to 4).
///
/// # Non-guarantee
/// That all chunks were seen: whoever needs the whole file counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Layer {
    grid: Grid,
    root: FileRoot,
    /// One value for each granule if the grid has a layer, else none.
    values: Vec<ChainingValue>,
}

impl Layer {
    /// Accepts the bytes of a layer if they merge to the root. Refused bytes leave nothing behind (rule 3).
    ///
    /// `grid` and `root` come from signed data. `bytes` is the layer of this one file, as in `chunks.layer`: 32
    /// bytes a chunk, nothing at all for a file of at most one chunk. An empty file has no chunk that could be
    /// checked later, so its root is compared here.
    ///
    /// # Errors
    /// [`LayerError`]: 2201, 2202, and 2101 for an empty file with another root than that of nothing.
    ///
    /// # Cost
    /// One compression and 32 bytes a chunk. Nothing is allocated before the length is checked. With the feature `rayon`,
    /// large layers are merged on all cores, as [`check`](Self::check) hashes large chunks.
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

    /// How the file divides into chunks.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The file's root.
    pub fn root(&self) -> FileRoot {
        self.root
    }

    /// The chaining values of the chunks, in order; none for a file of at most one chunk.
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// Checks that `bytes` is the whole chunk at position `index`, from 0.
    ///
    /// # Errors
    /// [`ChunkError`]: 2108, 2107, 2102. Nothing changes; the chunk may be offered again.
    ///
    /// # Panics
    /// Never, for any `index` and `bytes`.
    ///
    /// # Cost
    /// One BLAKE3 pass over `bytes`; no allocation. With the feature `rayon`, a chunk of 4 MiB or more is hashed on all
    /// cores: those of the pool in which this is called, else those of rayon's own, which the first call starts. While it
    /// waits for them, a thread of a pool takes up other work of the pool: no lock that such work needs may be held.
    pub fn check(&self, index: u64, bytes: &[u8]) -> Result<(), ChunkError> {
        let range = self.grid.expect_granule(index, bytes)?;
        let matches = if self.grid.has_layer() {
            value_of(&range, bytes).is_some_and(|found| self.value(index) == Some(&found))
        } else {
            file_root_of(bytes) == Some(self.root)
        };
        if matches { Ok(()) } else { Err(ChunkError::Mismatch { index, range }) }
    }

    /// The positions of the chunks whose values are not those of the layer, in order.
    ///
    /// `values` are those of what was found, one for each chunk, as [`Grid::chaining_value`] or [`Grid::coarsen`]
    /// give them.
    ///
    /// # Errors
    /// [`MergeError`] if there is not one value for each chunk, or no layer.
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

    /// The value of a node below the root, if the node is made of whole chunks. One compression for each of them.
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

/// A layer that is accepted as it is read.
///
/// # Cost
/// Memory in proportion to the values that came, never by the length that a file claims: the zeros of a file with holes
/// are refused at the first (rule 12).
#[derive(Clone, Debug)]
pub struct LayerReader {
    grid: Grid,
    root: FileRoot,
    values: Vec<ChainingValue>,
    /// The beginning of the value that is coming: fewer than 32 bytes.
    begun: Vec<u8>,
}

impl LayerReader {
    /// For the layer of one file; `grid` and `root` come from signed data.
    pub fn new(grid: Grid, root: FileRoot) -> Self {
        Self { grid, root, values: Vec::new(), begun: Vec::new() }
    }

    /// Takes the next bytes of the layer, in pieces of any size.
    ///
    /// # Errors
    /// [`LayerError`] if they are more than the layer has (2201), or a value is all zeros (2202): no chaining value is.
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
            // Rule 5: zeros are a hole, and would be believed only to be refused after gigabytes of them.
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

    /// Accepts what came if it merges to the root. Refused values leave nothing behind (rule 3).
    ///
    /// # Errors
    /// As [`Layer::accept`].
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
    /// The chaining value of granule `index`, whose whole bytes are given.
    ///
    /// # Errors
    /// [`ChunkError`]: 2108 and 2107, and [`ChunkError::NoLayer`] if there is at most one granule: that one is the
    /// root and has no chaining value; hash it with [`FileRoot::of`].
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

    /// The byte range of granule `index`, if `bytes` has its length.
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

/// As [`subtree::from_bytes`]; with the feature `rayon`, on all cores if it is worth it.
fn value_of(node: &Range<u64>, bytes: &[u8]) -> Option<ChainingValue> {
    #[cfg(feature = "rayon")]
    if bytes.len() >= spread::WORTH {
        return spread::value_of(node, bytes);
    }
    subtree::from_bytes(node, bytes)
}

/// As [`FileRoot::of`]; with the feature `rayon`, on all cores if it is worth it.
fn file_root_of(bytes: &[u8]) -> Option<FileRoot> {
    #[cfg(feature = "rayon")]
    if bytes.len() >= spread::WORTH {
        return spread::file_root_of(bytes);
    }
    Some(FileRoot::of(bytes))
}

/// Hashing on all cores, by the tree that the bytes have anyway: a node's value is that of its children, merged.
#[cfg(feature = "rayon")]
mod spread {
    use super::*;
    use crate::subtree::{LEAF, halves, merge, merge_root, part_of};

    /// One core takes most of a millisecond for this. Two are faster from a quarter of it on; but where all cores are
    /// busy with chunks of their own, handing pieces around costs a fifth there, and a twelfth here.
    pub(super) const WORTH: usize = 4 << 20;
    /// What one core hashes before another one is asked.
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

/// Why a layer was refused. Nothing of it is used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LayerError {
    /// It has another length than the file's size gives (rule 1).
    WrongLength {
        /// Its length by the file's size, in bytes.
        expected: u64,
        /// Its length, in bytes.
        actual: u64,
    },
    /// It merges to another root (rule 3).
    DoesNotMerge {
        /// The signed root.
        expected: FileRoot,
    },
    /// The file is said to be empty, and its root is not that of nothing.
    NotEmpty {
        /// The signed root.
        expected: FileRoot,
    },
}

impl LayerError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::WrongLength { .. } => 2201,
            Self::DoesNotMerge { .. } => 2202,
            Self::NotEmpty { .. } => 2101,
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

/// Why a chunk was refused. None of its bytes may be used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChunkError {
    /// The bytes are not the signed ones for this position (rules 3 and 4).
    Mismatch {
        /// The chunk's position.
        index: u64,
        /// Its bytes in the file.
        range: Range<u64>,
    },
    /// The bytes are more or fewer than the chunk has at this position (rule 1).
    WrongLength {
        /// The chunk's position.
        index: u64,
        /// Its bytes in the file: their number is the length expected.
        range: Range<u64>,
        /// The length offered.
        actual: u64,
    },
    /// The file has no chunk at this position.
    OutOfRange {
        /// The position asked for.
        index: u64,
        /// How many chunks the file has.
        count: u64,
    },
    /// A file of at most one granule has no chaining values. The caller's fault, never that of the data.
    NoLayer,
}

impl ChunkError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Mismatch { .. } => 2102,
            Self::WrongLength { .. } => 2107,
            Self::OutOfRange { .. } => 2108,
            Self::NoLayer => 9999,
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
