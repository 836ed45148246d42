//! Audit samples: the drawn BLAKE3 chunks, and the path from them to their files' roots (`spec/audits.md`).
//!
//! ```
//! use weighbridge_tree::{FileRoot, FileSamples, Granule, Grid, Layer};
//!
//! // The prover has the file: five BLAKE3 chunks, of which 1 and 4 are drawn.
//! let file = vec![7; 5_000];
//! let grid = Grid::new(5_000, Granule::new(16_384).unwrap())?;
//! let samples = FileSamples::new(5_000, vec![1, 4])?;
//! let layer = Layer::accept(grid, FileRoot::of(&file), &[])?;
//! let part = samples.part(&layer, |_index, bytes| {
//!     bytes.extend_from_slice(&file);
//!     Ok::<(), core::convert::Infallible>(())
//! })?;
//!
//! // The auditor has the size and root from signed data; the part may come from anybody.
//! assert_eq!(samples.part_len(), 1_024 + 904 + 2 * 32);
//! assert_eq!(samples.root_of(&part)?, FileRoot::of(&file));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use alloc::vec::Vec;
use core::convert::Infallible;
use core::ops::Range;

pub use crate::draw::{MAX_SAMPLES, draw};
use crate::geometry::{Grid, as_u64, len_of};
use crate::hash::{ChainingValue, FileRoot};
use crate::layer::{ChunkError, Layer};
pub use crate::sample_error::{PartError, SampleError};
use crate::subtree::{self, LEAF, LEAF_LEN, halves, merge, merge_root, part_of};

/// The BLAKE3 chunks that were drawn from one file. They determine the shape of the file's part of a response.
///
/// A part holds the bytes of these BLAKE3 chunks, ascending, and then its path values, from left to right. The path
/// values are the chaining values of the largest subtrees in which nothing was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct FileSamples {
    /// The division of the file into BLAKE3 chunks.
    grid: Grid,
    /// The drawn positions: not empty, strictly increasing, below the grid's count.
    drawn: Vec<u64>,
    bytes: u64,
    path_values: u64,
}

impl FileSamples {
    /// Takes the positions of the BLAKE3 chunks drawn from a file of `len` bytes. `len` comes from signed data
    /// (rule 1).
    ///
    /// # Errors
    /// [`SampleError`] unless there are 1 to [`MAX_SAMPLES`] positions, strictly increasing and below the number of
    /// BLAKE3 chunks (rule 7).
    ///
    /// # Cost
    /// At most 43 steps per position.
    pub fn new(len: u64, drawn: Vec<u64>) -> Result<Self, SampleError> {
        let grid = Grid::new(len, LEAF)?;
        let too_many = || SampleError::TooMany { count: drawn.len() };
        let number = u64::try_from(drawn.len()).ok().filter(|it| *it <= MAX_SAMPLES).ok_or_else(too_many)?;
        if number == 0 {
            return Err(SampleError::NothingDrawn);
        }
        if !drawn.is_sorted_by(|a, b| a < b) {
            return Err(SampleError::NotIncreasing);
        }
        let mut bytes = 0_u64;
        for index in &drawn {
            let outside = || SampleError::OutOfRange { index: *index, count: grid.count() };
            bytes = bytes.saturating_add(len_of(&grid.range(*index).ok_or_else(outside)?));
        }
        let mut count = |piece| Ok::<u64, Infallible>(u64::from(matches!(piece, Piece::Path(_))));
        let Ok(path_values) = fold(&(0..len), &drawn, &mut count, &u64::saturating_add);
        Ok(Self { grid, drawn, bytes, path_values })
    }

    /// The drawn positions, counted from 0 in this file.
    #[must_use]
    pub fn drawn(&self) -> &[u64] {
        &self.drawn
    }

    /// The sum of the lengths of the drawn BLAKE3 chunks, in bytes.
    #[must_use]
    pub fn sample_bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of path values, of 32 bytes each.
    #[must_use]
    pub fn path_values(&self) -> u64 {
        self.path_values
    }

    /// The exact length of the part in bytes: less than 10 MB for any file.
    #[must_use]
    pub fn part_len(&self) -> u64 {
        self.bytes.saturating_add(self.path_values.saturating_mul(32))
    }

    /// Computes the root that follows from a part. If it is the signed root, the part belongs to the file.
    ///
    /// # Guarantee
    /// If the result is the root of a file of this length, the drawn BLAKE3 chunks in `part` are those of that file, at
    /// these positions (rules 1, 3 and 4).
    ///
    /// # Errors
    /// [`SampleError::WrongLength`], before anything is hashed (rule 6).
    ///
    /// # Cost
    /// One pass over `part`, and one compression per level above each sample, at most 43 levels; no allocation.
    pub fn root_of(&self, part: &[u8]) -> Result<FileRoot, SampleError> {
        let wrong_length =
            || SampleError::WrongLength { expected: self.part_len(), actual: as_u64(part.len()) };
        let split = usize::try_from(self.bytes).ok().and_then(|at| part.split_at_checked(at));
        let right_length = split.filter(|_| as_u64(part.len()) == self.part_len());
        let (samples, path) = right_length.ok_or_else(wrong_length)?;
        let Some([left, right]) = halves(&self.file(), LEAF) else {
            // The file is one BLAKE3 chunk, which was drawn.
            return Ok(FileRoot::of(samples));
        };
        // Only the file's last BLAKE3 chunk can be shorter, so only the last sample here can be.
        let mut samples = samples.chunks(LEAF_LEN);
        let mut path = path.as_chunks::<32>().0.iter();
        // No sample and no path value is missing: the length was right, so both numbers are.
        let mut value = |piece| match piece {
            Piece::Sample(leaf) => samples.next().and_then(|bytes| subtree::from_bytes(&leaf, bytes)),
            Piece::Path(_) => path.next().map(|value| ChainingValue::from_bytes(*value)),
        };
        let mut each = |piece| value(piece).ok_or_else(wrong_length);
        let join = |left, right| merge(&left, &right);
        let (in_left, in_right) = divide(&self.drawn, &right);
        let left = fold(&left, in_left, &mut each, &join)?;
        let right = fold(&right, in_right, &mut each, &join)?;
        Ok(merge_root(&left, &right))
    }

    /// Makes the part from the file's accepted layer and the chunks that hold a sample.
    ///
    /// `chunk` is called once for each of these chunks, in ascending order. It puts the chunk's bytes into the empty
    /// buffer.
    ///
    /// # Guarantee
    /// A returned part leads to the layer's root: each chunk is checked before it is used (rule 3).
    ///
    /// # Errors
    /// [`PartError`]: the error that `chunk` returns; 2102 and 2107 for its bytes; misuse if the layer belongs to a
    /// file of another length.
    ///
    /// # Cost
    /// At most two passes over each chunk that holds a sample, and one compression per value of the layer. Memory for
    /// the part and one chunk.
    pub fn part<E>(
        &self,
        layer: &Layer,
        chunk: impl FnMut(u64, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Vec<u8>, PartError<E>> {
        if layer.grid().len() != self.grid.len() {
            let (expected, actual) = (self.grid.len(), layer.grid().len());
            return Err(PartError::Misuse(SampleError::OtherFile { expected, actual }));
        }
        let mut maker = Maker { layer, chunk, open: None, bytes: Vec::new() };
        let mut part = Vec::with_capacity(usize::try_from(self.part_len()).unwrap_or(0));
        let mut path = Vec::with_capacity(usize::try_from(self.path_values).unwrap_or(0));
        let mut each = |piece| {
            match piece {
                Piece::Sample(leaf) => part.extend_from_slice(maker.bytes_of(&leaf)?),
                Piece::Path(node) => path.push(maker.value_of(&node)?),
            }
            Ok(())
        };
        fold(&self.file(), &self.drawn, &mut each, &|(), ()| ())?;
        path.iter().for_each(|value| part.extend_from_slice(value.as_bytes()));
        Ok(part)
    }

    /// The node at the top of the tree.
    fn file(&self) -> Range<u64> {
        0..self.grid.len()
    }
}

/// A piece of the tree that a part contains: a drawn BLAKE3 chunk, or one of the largest subtrees in which nothing was
/// drawn.
#[derive(Debug)]
enum Piece {
    Sample(Range<u64>),
    Path(Range<u64>),
}

/// Visits the pieces of a part from left to right with `each`, and joins the results as the tree joins the pieces.
/// `drawn` are the samples below `node`. The recursion is as deep as that of [`halves`].
fn fold<T, E>(
    node: &Range<u64>,
    drawn: &[u64],
    each: &mut impl FnMut(Piece) -> Result<T, E>,
    join: &impl Fn(T, T) -> T,
) -> Result<T, E> {
    if drawn.is_empty() {
        return each(Piece::Path(node.clone()));
    }
    let Some([left, right]) = halves(node, LEAF) else {
        return each(Piece::Sample(node.clone()));
    };
    let (in_left, in_right) = divide(drawn, &right);
    let left = fold(&left, in_left, each, join)?;
    let right = fold(&right, in_right, each, join)?;
    Ok(join(left, right))
}

/// Splits the samples of a node into those before its right half and those in it.
fn divide<'d>(drawn: &'d [u64], right: &Range<u64>) -> (&'d [u64], &'d [u64]) {
    let first = LEAF.positions(right).start;
    drawn.split_at_checked(drawn.partition_point(|index| *index < first)).unwrap_or_default()
}

/// Provides bytes and values of a file, which it reads chunk by chunk, from left to right.
struct Maker<'a, C> {
    layer: &'a Layer,
    chunk: C,
    /// The position of the accepted chunk in `bytes`.
    open: Option<u64>,
    bytes: Vec<u8>,
}

impl<E, C: FnMut(u64, &mut Vec<u8>) -> Result<(), E>> Maker<'_, C> {
    /// The bytes of a node within one chunk. The chunk is read and checked unless it is already open.
    fn bytes_of(&mut self, node: &Range<u64>) -> Result<&[u8], PartError<E>> {
        let grid = self.layer.grid();
        let index = grid.granule().positions(node).start;
        if self.open != Some(index) {
            self.open = None;
            self.bytes.clear();
            (self.chunk)(index, &mut self.bytes).map_err(PartError::Source)?;
            self.layer.check(index, &self.bytes).map_err(PartError::Chunk)?;
            self.open = Some(index);
        }
        let within = grid.range(index).and_then(|chunk| part_of(&self.bytes, &chunk, node));
        Ok(within.unwrap_or_default())
    }

    /// The value of a node below the root. A node without a value in the layer lies within a chunk that holds a sample;
    /// otherwise the node would be part of a larger one.
    fn value_of(&mut self, node: &Range<u64>) -> Result<ChainingValue, PartError<E>> {
        if let Some(value) = self.layer.subtree_value(node) {
            return Ok(value);
        }
        let bytes = self.bytes_of(node)?;
        subtree::from_bytes(node, bytes).ok_or(PartError::Chunk(ChunkError::NoLayer))
    }
}
