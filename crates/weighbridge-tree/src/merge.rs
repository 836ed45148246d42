//! From chaining values up: to coarser ones, and to the root.
//!
//! BLAKE3's tree is left-full: of any run of granules that ends at the file's end, the left subtree is the largest
//! power of two strictly below its count. Adding values from the left, and merging two subtrees as soon as a
//! third begins, builds exactly that tree.

use alloc::vec::Vec;
use core::fmt;

use crate::geometry::{Grid, as_u64};
use crate::hash::{ChainingValue, FileRoot};
use crate::subtree::{merge, merge_root};

impl Grid {
    /// Merges the chaining values of all granules, in order, to the root.
    ///
    /// # Guarantee
    /// The root of the one file whose granules have these values. With values of unknown origin that is no more
    /// than a claim, until the root is compared with a signed one (rule 3).
    ///
    /// # Errors
    /// [`MergeError`] if there is no layer, or not exactly one value for each granule.
    ///
    /// # Cost
    /// One compression a value; a stack of at most 44 values. With the feature `rayon`, many values are merged on all
    /// cores.
    pub fn merge_root(self, values: &[ChainingValue]) -> Result<FileRoot, MergeError> {
        self.expect_layer_of(values)?;
        root_of(values).ok_or(MergeError::NoLayer)
    }

    /// Merges the chaining values of all granules, in order, to those of a coarser grid of the same file.
    ///
    /// Empty if the coarser grid has no layer: then only the root is left, which
    /// [`merge_root`](Self::merge_root) computes.
    ///
    /// # Errors
    /// [`MergeError`] if there is no layer, not exactly one value for each granule, or if `coarser` is finer or of
    /// another file's length.
    pub fn coarsen(self, values: &[ChainingValue], coarser: Grid) -> Result<Vec<ChainingValue>, MergeError> {
        self.expect_layer_of(values)?;
        if coarser.len() != self.len() || coarser.granule() < self.granule() {
            return Err(MergeError::NotCoarser);
        }
        if !coarser.has_layer() {
            return Ok(Vec::new());
        }
        // Both are powers of two, so this is exact; if it does not fit, one group takes all.
        let each = coarser.granule().bytes().checked_div(self.granule().bytes()).unwrap_or(1);
        let each = usize::try_from(each).unwrap_or(usize::MAX).max(1);
        let mut merger = Merger::new();
        let merged = values.chunks(each).filter_map(|group| {
            merger.push_all(group);
            merger.take_subtree()
        });
        Ok(merged.collect())
    }

    /// Layers exist from two granules on; merging fewer would finalise the root in the wrong place (rule 4).
    fn expect_layer_of(self, values: &[ChainingValue]) -> Result<(), MergeError> {
        if !self.has_layer() {
            return Err(MergeError::NoLayer);
        }
        let actual = as_u64(values.len());
        if actual != self.count() {
            return Err(MergeError::WrongCount { expected: self.count(), actual });
        }
        Ok(())
    }
}

/// The root over the values of all granules; `None` below two values, which have no root by merging.
pub(crate) fn root_of(values: &[ChainingValue]) -> Option<FileRoot> {
    #[cfg(feature = "rayon")]
    if values.len() > spread::SERIAL {
        return spread::root_of(values);
    }
    let mut merger = Merger::new();
    merger.push_all(values);
    merger.root()
}

/// Merging on all cores.
#[cfg(feature = "rayon")]
mod spread {
    use super::*;

    /// How many values one core merges, in less than half a millisecond, before another one is asked.
    pub(super) const SERIAL: usize = 1 << 13;

    pub(super) fn root_of(values: &[ChainingValue]) -> Option<FileRoot> {
        let (left, right) = children_of(values)?;
        Some(merge_root(&left, &right))
    }

    fn subtree_of(values: &[ChainingValue]) -> Option<ChainingValue> {
        if values.len() > SERIAL {
            let (left, right) = children_of(values)?;
            return Some(merge(&left, &right));
        }
        let mut merger = Merger::new();
        merger.push_all(values);
        merger.take_subtree()
    }

    /// The left child has the largest power of two of values that leaves one to the right.
    fn children_of(values: &[ChainingValue]) -> Option<(ChainingValue, ChainingValue)> {
        let left = 1_usize.checked_shl(values.len().checked_sub(1)?.checked_ilog2()?)?;
        let (left, right) = values.split_at_checked(left)?;
        let (left, right) = rayon::join(|| subtree_of(left), || subtree_of(right));
        left.zip(right)
    }
}

/// Merges chaining values that come in order, from the left.
///
/// Invariant: the stack holds complete subtrees, the largest at the bottom, of sizes that are the bits of
/// `pushed - 1` and one single value on top. Merging is put off until the next value comes, because until then the
/// two on top could be the root's children, and these are merged in another way (rule 4).
#[derive(Debug)]
pub(crate) struct Merger {
    stack: Vec<ChainingValue>,
    pushed: u64,
}

impl Merger {
    pub(crate) fn new() -> Self {
        // Granules are counted by at most 43 bits.
        Self { stack: Vec::with_capacity(48), pushed: 0 }
    }

    pub(crate) fn push(&mut self, value: ChainingValue) {
        // One pair of subtrees becomes complete for each zero below the lowest bit of what is already there.
        let complete = if self.pushed == 0 { 0 } else { self.pushed.trailing_zeros() };
        for _ in 0..complete {
            self.merge_top();
        }
        self.stack.push(value);
        self.pushed = self.pushed.saturating_add(1);
    }

    pub(crate) fn push_all(&mut self, values: &[ChainingValue]) {
        values.iter().for_each(|value| self.push(*value));
    }

    /// The root of what was pushed; `None` below two values, which have no root by merging.
    pub(crate) fn root(mut self) -> Option<FileRoot> {
        while self.stack.len() > 2 {
            self.merge_top();
        }
        let (right, left) = (self.stack.pop()?, self.stack.pop()?);
        Some(merge_root(&left, &right))
    }

    /// The subtree of what was pushed, to be merged further; `None` of nothing. Begins anew.
    pub(crate) fn take_subtree(&mut self) -> Option<ChainingValue> {
        while self.stack.len() > 1 {
            self.merge_top();
        }
        self.pushed = 0;
        self.stack.pop()
    }

    fn merge_top(&mut self) {
        let Some(right) = self.stack.pop() else { return };
        let Some(left) = self.stack.last_mut() else {
            self.stack.push(right);
            return;
        };
        *left = merge(left, &right);
    }
}

/// Why values were not merged. The caller's fault, never that of the data: a length that comes from outside is
/// checked where it comes in.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MergeError {
    /// A file of at most one granule has no chaining values, only a root.
    NoLayer,
    /// There is not one value for each granule.
    WrongCount {
        /// The number of granules.
        expected: u64,
        /// The number of values.
        actual: u64,
    },
    /// The other grid is finer, or of another length.
    NotCoarser,
}

impl MergeError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        9999
    }
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLayer => write!(f, "API misuse: a file of at most one granule has no chaining values"),
            Self::WrongCount { expected, actual } => {
                write!(f, "API misuse: {actual} chaining values for {expected} granules")
            }
            Self::NotCoarser => write!(f, "API misuse: the other grid is finer, or of another length"),
        }
    }
}

impl core::error::Error for MergeError {}
