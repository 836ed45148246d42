//! Audit samples: which BLAKE3 chunks are drawn, and the path from them to their files' roots (`spec/audits.md`).
//!
//! ```
//! use weighbridge_tree::{FileRoot, FileSamples, Granule, Grid, Layer};
//!
//! // Where the file is: five BLAKE3 chunks, of which 1 and 4 are drawn.
//! let file = vec![7; 5_000];
//! let grid = Grid::new(5_000, Granule::new(16_384).unwrap())?;
//! let samples = FileSamples::new(5_000, vec![1, 4])?;
//! let layer = Layer::accept(grid, FileRoot::of(&file), &[])?;
//! let part = samples.part(&layer, |_index, bytes| {
//!     bytes.extend_from_slice(&file);
//!     Ok::<(), core::convert::Infallible>(())
//! })?;
//!
//! // Elsewhere: size and root are signed, the part is anybody's.
//! assert_eq!(samples.part_len(), 1_024 + 904 + 2 * 32);
//! assert_eq!(samples.root_of(&part)?, FileRoot::of(&file));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use alloc::{collections::BTreeSet, vec::Vec};
use core::convert::Infallible;
use core::fmt;
use core::ops::Range;

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::geometry::{Granule, Grid, TooLong};
use crate::hash::{ChainingValue, Context, FileRoot};
use crate::layer::{ChunkError, Layer};
use crate::merge::Merger;

/// The most BLAKE3 chunks that one challenge asks for.
pub const MAX_SAMPLES: u64 = 4_096;

/// Draws min(`samples`, `count`) distinct numbers below `count` from a challenge's text, ascending; never more than
/// [`MAX_SAMPLES`].
///
/// # Guarantee
/// Every number is equally likely, as far as the text holds 32 bytes that nobody could choose: values that would favour
/// low numbers are passed over.
///
/// # Non-guarantee
/// Whoever chooses the text chooses the numbers, by trying.
///
/// # Cost
/// Memory for the numbers drawn. On average fewer than two values of the BLAKE3 output for each that is not too high,
/// and of these at most about 37,000, if all of 4,096 are wanted.
#[must_use]
pub fn draw(text: &[u8], count: u64, samples: u64) -> Vec<u64> {
    draw_from(values(text), count, samples)
}

/// One u64le after the other of the samples' output. It has 2^64 bytes: more than anyone reads.
fn values(text: &[u8]) -> impl Iterator<Item = u64> {
    let mut output = Context::AUDIT_SAMPLES.output(text);
    core::iter::repeat_with(move || {
        let mut value = [0; 8];
        output.fill(&mut value);
        u64::from_le_bytes(value)
    })
}

fn draw_from(values: impl Iterator<Item = u64>, count: u64, samples: u64) -> Vec<u64> {
    let wanted = usize::try_from(samples.min(count).min(MAX_SAMPLES)).unwrap_or(0);
    // 2^64 mod count, without 2^64; `None` is a count of 0.
    let Some(surplus) = u64::MAX.checked_rem(count).and_then(|it| it.saturating_add(1).checked_rem(count))
    else {
        return Vec::new();
    };
    let last = u64::MAX.saturating_sub(surplus);
    let mut drawn = BTreeSet::new();
    for value in values {
        if drawn.len() >= wanted {
            break;
        }
        if value <= last {
            drawn.extend(value.checked_rem(count));
        }
    }
    drawn.into_iter().collect()
}

/// The BLAKE3 chunks that were drawn from one file, and so the shape of its part of a response.
///
/// A part is the bytes of these chunks, ascending; then its path values, from left to right: the chaining values of the
/// largest subtrees in which nothing was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct FileSamples {
    /// The file in BLAKE3 chunks.
    grid: Grid,
    /// Not empty, strictly increasing, below the grid's count.
    drawn: Vec<u64>,
    bytes: u64,
    path_values: u64,
}

impl FileSamples {
    /// Takes the positions of BLAKE3 chunks in a file of `len` bytes. `len` comes from signed data (rule 1).
    ///
    /// # Errors
    /// [`SampleError`] unless there are 1 to [`MAX_SAMPLES`] positions, which strictly increase and are below the number
    /// of BLAKE3 chunks (rule 7).
    ///
    /// # Cost
    /// At most 43 steps for each position.
    pub fn new(len: u64, drawn: Vec<u64>) -> Result<Self, SampleError> {
        let grid = Grid::new(len, Granule::MIN)?;
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
            bytes = bytes.saturating_add(length(&grid.range(*index).ok_or_else(outside)?));
        }
        let mut path_values = 0_u64;
        let counted: Result<(), Infallible> = visit(0..grid.count(), &drawn, &mut |node| {
            if matches!(node, Node::Path(_)) {
                path_values = path_values.saturating_add(1);
            }
            Ok(())
        });
        let Ok(()) = counted;
        Ok(Self { grid, drawn, bytes, path_values })
    }

    /// The positions, from 0 in this file.
    #[must_use]
    pub fn drawn(&self) -> &[u64] {
        &self.drawn
    }

    /// The bytes of the drawn BLAKE3 chunks together.
    #[must_use]
    pub fn sample_bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of path values, of 32 bytes each.
    #[must_use]
    pub fn path_values(&self) -> u64 {
        self.path_values
    }

    /// The exact length of the part: less than 10 MB, whatever the file.
    #[must_use]
    pub fn part_len(&self) -> u64 {
        self.bytes.saturating_add(self.path_values.saturating_mul(32))
    }

    /// The root to which a part leads. The part is the file's if that is the signed one.
    ///
    /// # Guarantee
    /// If the root is a file's of this length, the drawn BLAKE3 chunks in `part` are that file's, at these positions
    /// (rules 1, 3 and 4).
    ///
    /// # Errors
    /// [`SampleError::WrongLength`] before anything is hashed (rule 6).
    ///
    /// # Cost
    /// One pass over `part`, and one compression for each of at most 43 levels above each sample; no allocation.
    pub fn root_of(&self, part: &[u8]) -> Result<FileRoot, SampleError> {
        let wrong_length = SampleError::WrongLength { expected: self.part_len(), actual: to_u64(part.len()) };
        let split = usize::try_from(self.bytes).ok().and_then(|at| part.split_at_checked(at));
        let Some((samples, path)) = split.filter(|_| to_u64(part.len()) == self.part_len()) else {
            return Err(wrong_length);
        };
        if !self.grid.has_layer() {
            // One BLAKE3 chunk, and drawn: it is the file.
            return Ok(FileRoot::of(samples));
        }
        let mut samples = samples.chunks(1_024);
        let (path, _) = path.as_chunks::<32>();
        let mut path = path.iter();
        let mut value = |node: Node| match node {
            // Only the file's last BLAKE3 chunk is shorter, so it is the last sample here.
            Node::Sample(index) => samples.next().and_then(|it| self.grid.chaining_value(index, it).ok()),
            Node::Path(_) => path.next().map(|value| ChainingValue::from_bytes(*value)),
        };
        let (left, right) = halves(0..self.grid.count());
        let (in_left, in_right) = divide(&self.drawn, left.end);
        let left = merged(left, in_left, &mut value);
        // Both are there: the length was right, and with it the number of samples and of path values.
        let (Some(left), Some(right)) = (left, merged(right, in_right, &mut value)) else {
            return Err(wrong_length);
        };
        // The only place where a root is made (rule 4).
        let root = merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash);
        Ok(FileRoot::from_bytes(*root.as_bytes()))
    }

    /// Makes the part from the file's accepted layer, and those of its chunks that hold a sample.
    ///
    /// `chunk` is asked for each of these once, in ascending order, and puts its bytes into the empty buffer.
    ///
    /// # Guarantee
    /// The part leads to the layer's root, or there is none: each chunk is checked before it is used (rule 3).
    ///
    /// # Errors
    /// [`PartError`]: what `chunk` gives; 2102 and 2107 for its bytes; misuse if the layer is of a file of another
    /// length.
    ///
    /// # Cost
    /// At most two passes over each chunk that holds a sample, and one compression for each value of the layer. Memory
    /// for the part and one chunk.
    pub fn part<E>(
        &self,
        layer: &Layer,
        chunk: impl FnMut(u64, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Vec<u8>, PartError<E>> {
        if layer.grid().len() != self.grid.len() {
            let (expected, actual) = (self.grid.len(), layer.grid().len());
            return Err(PartError::Misuse(SampleError::OtherFile { expected, actual }));
        }
        let mut maker = Maker { grid: self.grid, layer, chunk, open: None, bytes: Vec::new() };
        let mut part = Vec::with_capacity(usize::try_from(self.part_len()).unwrap_or(0));
        let mut path = Vec::with_capacity(usize::try_from(self.path_values).unwrap_or(0));
        visit(0..self.grid.count(), &self.drawn, &mut |node| {
            match node {
                Node::Sample(index) => {
                    part.extend_from_slice(maker.bytes_of(&(index..index.saturating_add(1)))?);
                }
                Node::Path(run) => path.push(maker.value_of(&run)?),
            }
            Ok(())
        })?;
        path.iter().for_each(|value| part.extend_from_slice(value.as_bytes()));
        Ok(part)
    }
}

/// What a part has of the tree: a drawn BLAKE3 chunk, or a run of them that is a subtree without any.
#[derive(Debug)]
enum Node {
    Sample(u64),
    Path(Range<u64>),
}

/// Where the tree over a run of BLAKE3 chunks ends, of which `drawn` are those in the run; `None` if it goes on.
fn end_of(run: &Range<u64>, drawn: &[u64]) -> Option<Node> {
    match drawn {
        [] => Some(Node::Path(run.clone())),
        [index] if run.end.saturating_sub(run.start) <= 1 => Some(Node::Sample(*index)),
        _ => None,
    }
}

/// Visits the nodes of a part from left to right. Each level halves the run, and a file has at most 43 of them.
fn visit<E>(run: Range<u64>, drawn: &[u64], each: &mut impl FnMut(Node) -> Result<(), E>) -> Result<(), E> {
    if let Some(node) = end_of(&run, drawn) {
        return each(node);
    }
    let (left, right) = halves(run);
    let (in_left, in_right) = divide(drawn, left.end);
    visit(left, in_left, each)?;
    visit(right, in_right, each)
}

/// The chaining value of a run that is not the whole file, from those of its nodes, which are asked for from left to
/// right. As deep as [`visit`].
fn merged(
    run: Range<u64>,
    drawn: &[u64],
    value: &mut impl FnMut(Node) -> Option<ChainingValue>,
) -> Option<ChainingValue> {
    if let Some(node) = end_of(&run, drawn) {
        return value(node);
    }
    let (left, right) = halves(run);
    let (in_left, in_right) = divide(drawn, left.end);
    let left = merged(left, in_left, value)?;
    let right = merged(right, in_right, value)?;
    let merged = merge_subtrees_non_root(left.as_bytes(), right.as_bytes(), Mode::Hash);
    Some(ChainingValue::from_bytes(merged))
}

/// The two subtrees of a run of two or more: the left one is the largest power of two that leaves something over.
fn halves(run: Range<u64>) -> (Range<u64>, Range<u64>) {
    let count = run.end.saturating_sub(run.start);
    let left = count.div_ceil(2).checked_next_power_of_two().unwrap_or(0);
    let middle = run.start.saturating_add(left).min(run.end);
    (run.start..middle, middle..run.end)
}

fn divide(drawn: &[u64], at: u64) -> (&[u64], &[u64]) {
    let in_left = drawn.partition_point(|index| *index < at);
    drawn.split_at_checked(in_left).unwrap_or_default()
}

/// Gives bytes and values of a file that it reads chunk by chunk, from left to right.
struct Maker<'a, C> {
    /// The file in BLAKE3 chunks; the layer has its chunks.
    grid: Grid,
    layer: &'a Layer,
    chunk: C,
    /// The position of the chunk in `bytes`, which was accepted.
    open: Option<u64>,
    bytes: Vec<u8>,
}

impl<E, C: FnMut(u64, &mut Vec<u8>) -> Result<(), E>> Maker<'_, C> {
    /// BLAKE3 chunks in a chunk, or in any other granule of the layer: a power of two.
    fn per_chunk(&self) -> u64 {
        self.layer.grid().granule().bytes() >> 10
    }

    /// The bytes of a run within one chunk, which is read and checked unless it is the one that is open.
    fn bytes_of(&mut self, run: &Range<u64>) -> Result<&[u8], PartError<E>> {
        let index = run.start.checked_div(self.per_chunk()).unwrap_or(0);
        if self.open != Some(index) {
            self.open = None;
            self.bytes.clear();
            (self.chunk)(index, &mut self.bytes).map_err(PartError::Source)?;
            self.layer.check(index, &self.bytes).map_err(PartError::Chunk)?;
            self.open = Some(index);
        }
        let first = index.saturating_mul(self.per_chunk());
        let start = run.start.saturating_sub(first).saturating_mul(1_024);
        let end = run.end.saturating_sub(first).saturating_mul(1_024).min(to_u64(self.bytes.len()));
        let within = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        Ok(within.and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or_default())
    }

    /// The value of a subtree that is not the whole file. A subtree smaller than a chunk lies in one that holds a
    /// sample, or it would be part of a larger one; the others follow from the layer.
    fn value_of(&mut self, run: &Range<u64>) -> Result<ChainingValue, PartError<E>> {
        let grid = self.layer.grid();
        let each = self.per_chunk();
        let first = run.start.checked_div(each).unwrap_or(0);
        let end = run.end.div_ceil(each.max(1));
        let whole =
            grid.has_layer() && (run.end == self.grid.count() || run.end & each.saturating_sub(1) == 0);
        if whole && first.saturating_mul(each) == run.start {
            let range = usize::try_from(first).ok().zip(usize::try_from(end).ok());
            let values =
                range.and_then(|(first, end)| self.layer.values().get(first..end)).unwrap_or_default();
            let mut merger = Merger::new();
            values.iter().for_each(|value| merger.push(*value));
            return merger.take_subtree().ok_or(PartError::Chunk(ChunkError::NoLayer));
        }
        // Of a granule of its own size, rounded up, a subtree begins at a multiple: its left neighbour is that large.
        let count = run.end.saturating_sub(run.start).checked_next_power_of_two().unwrap_or(1);
        let position = run.start.checked_div(count).unwrap_or(0);
        let granule = Granule::new(count.saturating_mul(1_024)).unwrap_or(Granule::MIN);
        let grid = Grid::new(self.grid.len(), granule).map_err(|error| PartError::Misuse(error.into()))?;
        let bytes = self.bytes_of(run)?;
        grid.chaining_value(position, bytes).map_err(PartError::Chunk)
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Why positions are no samples of a file, or bytes are no part of a response.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SampleError {
    /// The part has another length than the samples give (rules 1 and 6).
    WrongLength {
        /// The length that the samples give, in bytes.
        expected: u64,
        /// The length found, in bytes.
        actual: u64,
    },
    /// No position. The caller's fault, as all that follow: samples are computed, and never read (rule 7).
    NothingDrawn,
    /// More positions than [`MAX_SAMPLES`].
    TooMany {
        /// How many.
        count: usize,
    },
    /// A position is not above the one before it.
    NotIncreasing,
    /// A position is past the end of the file.
    OutOfRange {
        /// The position.
        index: u64,
        /// How many BLAKE3 chunks the file has.
        count: u64,
    },
    /// The layer is of a file of another length.
    OtherFile {
        /// The length of the sampled file, in bytes.
        expected: u64,
        /// The length of the layer's file, in bytes.
        actual: u64,
    },
    /// No list can say this length.
    TooLong(TooLong),
}

impl From<TooLong> for SampleError {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}

impl SampleError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::WrongLength { .. } => 2707,
            _ => 9999,
        }
    }
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { expected, actual } => {
                write!(f, "the samples of a file have {actual} bytes with their path, expected {expected}")
            }
            Self::NothingDrawn => write!(f, "API misuse: no samples of a file"),
            Self::TooMany { count } => write!(f, "API misuse: {count} samples, at most {MAX_SAMPLES}"),
            Self::NotIncreasing => write!(f, "API misuse: samples do not strictly increase"),
            Self::OutOfRange { index, count } => {
                write!(f, "API misuse: sample {index} is past the end of a file of {count} BLAKE3 chunks")
            }
            Self::OtherFile { expected, actual } => {
                write!(f, "API misuse: the layer is of a file of {actual} bytes, expected {expected}")
            }
            Self::TooLong(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SampleError {}

/// Why the part of a file was not made.
///
/// Exhaustive: whoever makes a response has to tell the three apart, since only one of them is its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PartError<E> {
    /// A chunk is not there; whoever was to give it says why.
    Source(E),
    /// A chunk is not the signed one (rule 3).
    Chunk(ChunkError),
    /// The layer is not of this file.
    Misuse(SampleError),
}

impl<E> PartError<E> {
    /// The number in `spec/error-codes.md`; `None` for the error of whoever was to give a chunk, which has its own.
    #[must_use]
    pub fn error_code(&self) -> Option<u16> {
        match self {
            Self::Source(_) => None,
            Self::Chunk(error) => Some(error.error_code()),
            Self::Misuse(error) => Some(error.error_code()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for PartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Chunk(error) => error.fmt(f),
            Self::Misuse(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for PartError<E> {}

#[cfg(test)]
mod tests {
    use std::{format, vec, vec::Vec};

    use blake3::hazmat::HasherExt as _;

    use super::*;

    /// Slow and plain: what was drawn, in the order of drawing, and how many values were passed over as too high.
    fn naive_draw(text: &[u8], count: u64, samples: u64) -> (Vec<u64>, usize) {
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new_derive_key("weighbridge 2026-11-20 v1 audit samples")
            .update(text)
            .finalize_xof()
            .fill(&mut bytes);
        let (mut drawn, mut too_high) = (Vec::new(), 0);
        let mut values = bytes.as_chunks::<8>().0.iter().map(|value| u128::from(u64::from_le_bytes(*value)));
        while to_u64(drawn.len()) < samples.min(count) {
            let value = values.next().unwrap();
            let number = u64::try_from(value % u128::from(count)).unwrap();
            if value >= (1 << 64) - (1 << 64) % u128::from(count) {
                too_high += 1;
            } else if !drawn.contains(&number) {
                drawn.push(number);
            }
        }
        (drawn, too_high)
    }

    #[test]
    fn draws_what_a_naive_reading_of_the_page_draws() {
        let half = 1 << 63;
        let counts =
            [1, 2, 3, 5, 97, 4095, 4096, 4097, (1 << 43) - 1, half - 1, half, half + 1, 3 << 62, u64::MAX];
        let mut too_high = 0;
        for (count, samples) in counts.iter().flat_map(|count| [1, 2, 90, 4096].map(|it| (*count, it))) {
            let text = format!("challenge of {samples} from {count}");
            let (mut drawn, passed_over) = naive_draw(text.as_bytes(), count, samples);
            drawn.sort_unstable();
            assert_eq!(draw(text.as_bytes(), count, samples), drawn, "{text}");
            if count == half + 1 && samples == 4096 {
                too_high = passed_over;
            }
        }
        assert!(
            (3700..4500).contains(&too_high),
            "just above 2^63, every other value is passed over: {too_high}"
        );
    }

    #[test]
    fn values_that_would_favour_low_numbers_are_passed_over() {
        // 2^64 mod 10 is 6: the six highest values would make 0 to 5 more likely.
        let from = |values: &[u64]| draw_from(values.iter().copied(), 10, 1);
        for back in 0..6 {
            assert_eq!(from(&[u64::MAX - back, 7]), [7]);
        }
        assert_eq!(from(&[u64::MAX - 6, 7]), [9]);
        // Powers of two divide 2^64, and nothing is passed over.
        assert_eq!(draw_from([u64::MAX].into_iter(), 1 << 63, 1), [(1 << 63) - 1]);
        assert_eq!(draw_from([u64::MAX].into_iter(), 1, 1), [0]);
        // Just above 2^63, what is as high as the count is passed over.
        let count = (1 << 63) + 1;
        assert_eq!(draw_from([u64::MAX, count, 5].into_iter(), count, 1), [5]);
        assert_eq!(draw_from([count - 1].into_iter(), count, 1), [count - 1]);
    }

    #[test]
    fn repeats_are_passed_over() {
        assert_eq!(draw_from([3, 13, 3, 23, 1].into_iter(), 10, 2), [1, 3]);
    }

    #[test]
    fn draws_all_numbers_if_as_many_are_wanted_and_none_of_none() {
        for count in [1, 2, 3, 90, 4096] {
            let all: Vec<u64> = (0..count).collect();
            for samples in [count, count + 1, 4096, u64::MAX] {
                assert_eq!(draw(b"text", count, samples), all);
            }
        }
        assert!(draw(b"text", 0, 4096).is_empty());
        assert!(draw(b"text", 4096, 0).is_empty());
        assert_eq!(draw(b"text", u64::MAX, u64::MAX).len(), 4096, "never more");
    }

    #[test]
    fn every_number_is_drawn_about_as_often() {
        let mut often = [0_u32; 97];
        for text in 0..97 * 40_u32 {
            for number in draw(&text.to_le_bytes(), 97, 5) {
                often[usize::try_from(number).unwrap()] += 1;
            }
        }
        // Each is expected 200 times. With 96 degrees of freedom, the sum is 96 on average, and rarely far from it.
        let squares: f64 = often.iter().map(|it| (f64::from(*it) - 200.0).powi(2) / 200.0).sum();
        assert!((45.0..165.0).contains(&squares), "{squares}");

        // Without passing over, the lowest third would be drawn as often as the two others together.
        let mut thirds = [0_u32; 3];
        for number in draw(b"thirds", 3 << 62, 4096) {
            thirds[usize::try_from(number >> 62).unwrap()] += 1;
        }
        assert!(thirds.iter().all(|it| (1_230..1_500).contains(it)), "{thirds:?}");
    }

    /// Period 251 is prime to every power of two: no two BLAKE3 chunks are equal.
    fn data(len: usize) -> Vec<u8> {
        (0..=250).cycle().take(len).collect()
    }

    fn layer(file: &[u8], granule: u64) -> Layer {
        let grid = Grid::new(to_u64(file.len()), Granule::new(granule).unwrap()).unwrap();
        let chunks = (0..).zip(file.chunks(usize::try_from(granule).unwrap()));
        let values: Vec<u8> = chunks
            .filter(|_| grid.has_layer())
            .flat_map(|(index, chunk)| *grid.chaining_value(index, chunk).unwrap().as_bytes())
            .collect();
        Layer::accept(grid, FileRoot::of(file), &values).unwrap()
    }

    /// A part as the page describes it, by recursion over the bytes; gives the value of these bytes.
    fn naive_part(
        bytes: &[u8],
        first: u64,
        top: bool,
        drawn: &[u64],
        part: &mut (Vec<u8>, Vec<[u8; 32]>),
    ) -> [u8; 32] {
        let count = to_u64(bytes.len().div_ceil(1024));
        let is_inside = |index: &&u64| (first..first + count).contains(*index);
        let hash = |bytes: &[u8]| match top {
            true => *blake3::hash(bytes).as_bytes(),
            false => blake3::Hasher::new().set_input_offset(first * 1024).update(bytes).finalize_non_root(),
        };
        if !drawn.iter().any(|index| is_inside(&index)) {
            part.1.push(hash(bytes));
            return hash(bytes);
        }
        if count == 1 {
            part.0.extend(bytes);
            return hash(bytes);
        }
        let mut left = 1;
        while left * 2 < count {
            left *= 2;
        }
        let (left_bytes, right_bytes) = bytes.split_at(usize::try_from(left * 1024).unwrap());
        let left_value = naive_part(left_bytes, first, false, drawn, part);
        let right_value = naive_part(right_bytes, first + left, false, drawn, part);
        match top {
            true => *merge_subtrees_root(&left_value, &right_value, Mode::Hash).as_bytes(),
            false => merge_subtrees_non_root(&left_value, &right_value, Mode::Hash),
        }
    }

    /// The part of a file, and the chunks that were asked for.
    fn made(file: &[u8], layer: &Layer, samples: &FileSamples) -> (Vec<u8>, Vec<u64>) {
        let mut asked = Vec::new();
        let part = samples.part(layer, |index, bytes| {
            assert!(bytes.is_empty());
            asked.push(index);
            let range = layer.grid().range(index).unwrap();
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            bytes.extend_from_slice(&file[range]);
            Ok::<(), Infallible>(())
        });
        (part.unwrap(), asked)
    }

    fn assert_good(file: &[u8], layers: &[Layer], drawn: &[u64]) {
        let what = format!("{} bytes, {drawn:?}", file.len());
        let samples = FileSamples::new(to_u64(file.len()), drawn.to_vec()).unwrap();
        let mut naive = (Vec::new(), Vec::new());
        let root = naive_part(file, 0, true, drawn, &mut naive);
        let expected = [naive.0.clone(), naive.1.concat()].concat();
        assert_eq!(root, *blake3::hash(file).as_bytes(), "the naive tree itself");
        assert_eq!(samples.drawn(), drawn);
        assert_eq!(samples.sample_bytes(), to_u64(naive.0.len()), "{what}");
        assert_eq!(samples.path_values(), to_u64(naive.1.len()), "{what}");
        assert_eq!(samples.part_len(), to_u64(expected.len()), "{what}");
        assert_eq!(samples.root_of(&expected), Ok(FileRoot::of(file)), "{what}");
        for layer in layers {
            let (part, asked) = made(file, layer, &samples);
            assert_eq!(part, expected, "{what}, {:?}", layer.grid());
            let per_chunk = layer.grid().granule().bytes() / 1024;
            let mut holding: Vec<u64> = drawn.iter().map(|index| index / per_chunk).collect();
            holding.dedup();
            assert_eq!(asked, holding, "{what}: exactly the chunks that hold a sample, each once");
        }
    }

    /// Some of the numbers below `count`, the same each time.
    fn some_of(count: u64, seed: u64) -> Vec<u64> {
        let text = format!("subset {seed} of {count}");
        draw(text.as_bytes(), count, 1 + seed % count.min(40))
    }

    #[test]
    fn parts_are_those_of_a_naive_tree() {
        const CHUNK: usize = 16 << 10;
        const MIB: usize = 1 << 20;
        let mut sizes = vec![1, 1023, 1024, 1025, CHUNK - 1, CHUNK, CHUNK + 1, MIB - 1, MIB, MIB + 1];
        // Where the left-full tree changes shape, in BLAKE3 chunks and in chunks.
        for count in [3, 5, 6, 7, 11, 13] {
            sizes.extend([count * 1024 - 1, count * 1024, count * 1024 + 1]);
            sizes.extend([count * CHUNK - 1, count * CHUNK, count * CHUNK + 1]);
        }
        for size in sizes {
            let file = data(size);
            let layers = [1 << 10, 1 << 12, 1 << 14, 1 << 18, 1 << 24].map(|granule| layer(&file, granule));
            let count = to_u64(size.div_ceil(1024));
            let mut subsets: Vec<Vec<u64>> = (0..24).map(|seed| some_of(count, seed)).collect();
            subsets.extend([0, count / 2, count - 1].map(|index| vec![index]));
            subsets.push((0..count).collect());
            if count <= 7 {
                let bits = 1..1_u64 << count;
                subsets =
                    bits.map(|bits| (0..count).filter(|index| bits >> index & 1 == 1).collect()).collect();
            }
            subsets.iter().for_each(|drawn| assert_good(&file, &layers, drawn));
        }
    }

    /// Parts of several shapes, with the root to which they lead.
    fn parts() -> Vec<(FileSamples, FileRoot, Vec<u8>)> {
        let cases: [(usize, &[u64]); 8] = [
            (1, &[0]),
            (1024, &[0]),
            (1025, &[1]),
            (5000, &[1, 4]),
            (7 * 1024, &[0, 3, 5]),
            (13 * 1024 - 5, &[2, 3, 12]),
            (13 * 1024, &[6]),
            (40_000, &[1, 17, 39]),
        ];
        let case = |(size, drawn): (usize, &[u64])| {
            let file = data(size);
            let samples = FileSamples::new(to_u64(size), drawn.to_vec()).unwrap();
            let (part, _) = made(&file, &layer(&file, 1 << 14), &samples);
            (samples, FileRoot::of(&file), part)
        };
        cases.into_iter().map(case).collect()
    }

    #[test]
    fn no_changed_byte_leads_to_the_root() {
        for (samples, root, part) in parts() {
            assert_eq!(samples.root_of(&part), Ok(root));
            for at in 0..part.len() {
                let mut changed = part.clone();
                changed[at] ^= 1 << (at % 8);
                assert_ne!(samples.root_of(&changed), Ok(root), "byte {at}");
            }
        }
    }

    #[test]
    fn refuses_every_other_length() {
        for (samples, _, part) in parts() {
            let lengths = (0..part.len()).chain([1, 31, 32, 64, 1023, 1024].map(|more| part.len() + more));
            for length in lengths {
                let mut changed = part.clone();
                changed.resize(length, 0);
                let wrong = SampleError::WrongLength { expected: to_u64(part.len()), actual: to_u64(length) };
                assert_eq!(wrong.error_code(), 2707);
                assert_eq!(samples.root_of(&changed), Err(wrong));
            }
        }
    }

    #[test]
    fn exchanged_samples_and_exchanged_path_values_do_not_lead_to_the_root() {
        let mut exchanges = [0, 0];
        for (samples, root, part) in parts() {
            let (bytes, path) = part.split_at(usize::try_from(samples.sample_bytes()).unwrap());
            // The last sample may be shorter, and then stays.
            for (kind, unit, from, whole) in [(0, 1024, 0, bytes), (1, 32, bytes.len(), path)] {
                let count = whole.len() / unit;
                for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))) {
                    let mut changed = part.clone();
                    let (first, second) = (from + a * unit, from + b * unit);
                    changed[first..first + unit].copy_from_slice(&part[second..second + unit]);
                    changed[second..second + unit].copy_from_slice(&part[first..first + unit]);
                    assert_ne!(samples.root_of(&changed), Ok(root));
                    exchanges[kind] += 1;
                }
            }
        }
        assert!(exchanges[0] > 4 && exchanges[1] > 20, "{exchanges:?}");
    }

    #[test]
    fn a_part_leads_to_the_root_at_its_own_positions_only() {
        let file = data(8 * 1024);
        let samples = FileSamples::new(8 * 1024, vec![2]).unwrap();
        let (part, _) = made(&file, &layer(&file, 1 << 14), &samples);
        for index in 0..8 {
            let other = FileSamples::new(8 * 1024, vec![index]).unwrap();
            assert_eq!(other.part_len(), samples.part_len());
            assert_eq!(other.root_of(&part) == Ok(FileRoot::of(&file)), index == 2);
        }
    }

    #[test]
    fn a_subtree_is_no_file_and_a_path_value_no_sample() {
        // The value of the left half, which is a genuine inner node, passed off as a file of four BLAKE3 chunks.
        let file = data(8 * 1024);
        let (half, _) = file.split_at(4 * 1024);
        let value = layer(&file, 4 * 1024).values()[0];
        let samples = FileSamples::new(4 * 1024, vec![0, 1, 2, 3]).unwrap();
        let root = samples.root_of(half).unwrap();
        assert_eq!(root, FileRoot::of(half));
        assert_ne!(
            root,
            FileRoot::from_bytes(*value.as_bytes()),
            "the root is made at the top only (rule 4)"
        );
        // Two values that merge to one, passed off as the 64 bytes of a file's only BLAKE3 chunk.
        let pair: Vec<u8> = layer(&file, 4 * 1024).values().iter().flat_map(|it| *it.as_bytes()).collect();
        let samples = FileSamples::new(64, vec![0]).unwrap();
        assert_ne!(samples.root_of(&pair), Ok(FileRoot::of(&file)));
    }

    #[test]
    fn refuses_positions_that_do_not_increase_or_are_past_the_end() {
        let refusal = |len, drawn: &[u64]| FileSamples::new(len, drawn.to_vec()).unwrap_err();
        assert_eq!(refusal(5000, &[]), SampleError::NothingDrawn);
        assert_eq!(refusal(5000, &[1, 1]), SampleError::NotIncreasing);
        assert_eq!(refusal(5000, &[2, 1]), SampleError::NotIncreasing);
        assert_eq!(refusal(5000, &[1, 5]), SampleError::OutOfRange { index: 5, count: 5 });
        assert_eq!(refusal(5000, &[u64::MAX]), SampleError::OutOfRange { index: u64::MAX, count: 5 });
        assert_eq!(refusal(0, &[0]), SampleError::OutOfRange { index: 0, count: 0 });
        let many: Vec<u64> = (0..4097).collect();
        assert_eq!(refusal(1 << 30, &many), SampleError::TooMany { count: 4097 });
        assert_eq!(refusal(1 << 53, &[0]), SampleError::TooLong(TooLong { len: 1 << 53 }));
        assert!(FileSamples::new(1 << 30, many[..4096].to_vec()).is_ok());
        for error in [refusal(5000, &[]), refusal(5000, &[1, 1]), refusal(5000, &[5]), refusal(1 << 53, &[0])]
        {
            assert_eq!(error.error_code(), 9999, "{error}");
        }
    }

    #[test]
    fn the_largest_file_costs_43_levels() {
        let len = (1 << 53) - 1;
        let one = FileSamples::new(len, vec![(1 << 43) - 1]).unwrap();
        assert_eq!((one.path_values(), one.sample_bytes()), (43, 1023));
        let drawn = draw(b"the largest file", 1 << 43, 4096);
        let samples = FileSamples::new(len, drawn).unwrap();
        // 4,096 samples have 12 levels in common, more or less.
        assert!((4096 * 30..4096 * 33).contains(&samples.path_values()));
        let part = vec![0; usize::try_from(samples.part_len()).unwrap()];
        assert!(samples.root_of(&part).is_ok());
        assert!(samples.part_len() < 10_000_000);
    }

    #[test]
    fn a_part_is_made_of_checked_chunks_only() {
        let file = data(40_000);
        let samples = FileSamples::new(40_000, vec![1, 17, 39]).unwrap();
        let accepted = layer(&file, 1 << 14);
        let give = |bad: u64, change: fn(&mut Vec<u8>)| {
            samples.part(&accepted, |index, bytes| {
                let range = accepted.grid().range(index).unwrap();
                let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                bytes.extend_from_slice(&file[range]);
                if index == bad {
                    change(bytes);
                }
                Ok::<(), Infallible>(())
            })
        };
        assert!(give(3, Vec::clear).is_ok());
        for bad in 0..3 {
            // The last byte of a chunk is in no sample of ours but in the third; its value would be in the path.
            let flipped = give(bad, |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap_err();
            assert_eq!(flipped.error_code(), Some(2102), "{flipped}");
            assert_eq!(give(bad, |bytes| bytes.push(0)).unwrap_err().error_code(), Some(2107));
            assert_eq!(give(bad, Vec::clear).unwrap_err().error_code(), Some(2107));
        }
        let refused = samples.part(&accepted, |index, _| if index == 1 { Err("no disk") } else { Ok(()) });
        assert_eq!(refused.unwrap_err().error_code(), Some(2107), "chunk 0 came empty, before chunk 1");
        let failed = samples.part(&accepted, |_, _| Err("no disk")).unwrap_err();
        assert_eq!((failed.error_code(), format!("{failed}")), (None, "no disk".into()));
        let other = layer(&data(40_001), 1 << 14);
        let misused = samples.part(&other, |_, _| Ok::<(), Infallible>(())).unwrap_err();
        assert_eq!(misused, PartError::Misuse(SampleError::OtherFile { expected: 40_000, actual: 40_001 }));
        assert_eq!(misused.error_code(), Some(9999));
    }
}
