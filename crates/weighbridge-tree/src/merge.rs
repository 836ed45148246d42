//! Merging chaining values: to coarser ones, and to the root.
//!
//! BLAKE3's tree is left-full: in any run of granules that ends at the file's end, the left subtree has the largest
//! power of two of granules strictly below the run's count. This tree results if values are added from the left, and
//! two subtrees are merged as soon as a third begins.

use alloc::vec::Vec;
use core::fmt;

use crate::error_code::{Coded, ErrorCode};
use crate::geometry::{Grid, as_u64};
use crate::hash::{ChainingValue, FileRoot};
use crate::subtree::{merge, merge_root};

impl Grid {
    /// Merges the chaining values of all granules, in order, to the root.
    ///
    /// # Guarantee
    /// The result is the root of the one file whose granules have these values. For values of unknown origin the result
    /// is only a claim, until the root is compared with a signed one (rule 3).
    ///
    /// # Errors
    /// [`MergeError`] if there is no layer, or not exactly one value for each granule.
    ///
    /// # Cost
    /// One compression per value; a stack of at most 44 values. With the feature `rayon`, many values are merged on all
    /// cores.
    pub fn merge_root(self, values: &[ChainingValue]) -> Result<FileRoot, MergeError> {
        self.check_layer_values(values)?;
        root_of(values).ok_or(MergeError::NoLayer)
    }

    /// Merges the chaining values of all granules, in order, to those of a coarser grid of the same file.
    ///
    /// Returns no values if the coarser grid has no layer. Then only the root is left, which
    /// [`merge_root`](Self::merge_root) computes.
    ///
    /// # Errors
    /// [`MergeError`] if there is no layer, if there is not exactly one value for each granule, or if `coarser` is
    /// finer or has another file length.
    pub fn coarsen(self, values: &[ChainingValue], coarser: Grid) -> Result<Vec<ChainingValue>, MergeError> {
        self.check_layer_values(values)?;
        if coarser.len() != self.len() || coarser.granule() < self.granule() {
            return Err(MergeError::NotCoarser);
        }
        if !coarser.has_layer() {
            return Ok(Vec::new());
        }
        // Both sizes are powers of two, so the quotient is exact. If it does not fit, one group takes all values.
        let each = coarser.granule().bytes().checked_div(self.granule().bytes()).unwrap_or(1);
        let each = usize::try_from(each).unwrap_or(usize::MAX).max(1);
        let mut merger = Merger::new();
        let merged = values.chunks(each).filter_map(|group| {
            merger.push_all(group);
            merger.take_subtree()
        });
        Ok(merged.collect())
    }

    /// Checks that the file has a layer, and that there is one value for each granule. A layer has two values or more:
    /// merging fewer would finalise the root in the wrong place (rule 4).
    fn check_layer_values(self, values: &[ChainingValue]) -> Result<(), MergeError> {
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

/// The root over the values of all granules; `None` for fewer than two values, which cannot be merged to a root.
pub(crate) fn root_of(values: &[ChainingValue]) -> Option<FileRoot> {
    #[cfg(feature = "rayon")]
    if values.len() > spread::SERIAL {
        return spread::root_of(values);
    }
    let mut merger = Merger::new();
    merger.push_all(values);
    merger.root()
}

/// Merges on all cores.
#[cfg(feature = "rayon")]
mod spread {
    use super::*;

    /// The number of values that one core merges, in less than half a millisecond, before another core is asked.
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

    /// The left child takes the largest power of two of values that leaves at least one for the right child.
    fn children_of(values: &[ChainingValue]) -> Option<(ChainingValue, ChainingValue)> {
        let left = 1_usize.checked_shl(values.len().checked_sub(1)?.checked_ilog2()?)?;
        let (left, right) = values.split_at_checked(left)?;
        let (left, right) = rayon::join(|| subtree_of(left), || subtree_of(right));
        left.zip(right)
    }
}

/// Merges chaining values that come in order, from the left.
///
/// Invariant: the stack holds complete subtrees, the largest at the bottom. Their sizes are the bits of `pushed - 1`,
/// with one single value on top. Merging waits until the next value comes. Until then, the two subtrees on top could be
/// the root's children, which are merged differently (rule 4).
#[derive(Debug)]
pub(crate) struct Merger {
    stack: Vec<ChainingValue>,
    pushed: u64,
}

impl Merger {
    pub(crate) fn new() -> Self {
        // The number of granules has at most 43 bits.
        Self { stack: Vec::with_capacity(48), pushed: 0 }
    }

    pub(crate) fn push(&mut self, value: ChainingValue) {
        // Each trailing zero bit of the number of values already pushed completes one pair of subtrees.
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

    /// The root of the pushed values; `None` for fewer than two values, which cannot be merged to a root.
    pub(crate) fn root(mut self) -> Option<FileRoot> {
        while self.stack.len() > 2 {
            self.merge_top();
        }
        let (right, left) = (self.stack.pop()?, self.stack.pop()?);
        Some(merge_root(&left, &right))
    }

    /// The value of the subtree of the pushed values, to be merged further; `None` if there are none. The merger starts
    /// anew.
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

/// The reason why values were not merged. The caller is at fault, never the data: a length from outside is checked
/// where it comes in.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MergeError {
    /// A file of at most one granule has no chaining values, only a root.
    NoLayer,
    /// The number of values is not the number of granules.
    WrongCount {
        /// The number of granules.
        expected: u64,
        /// The number of values.
        actual: u64,
    },
    /// The other grid is finer, or has another length.
    NotCoarser,
}

impl Coded for MergeError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::BUG
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
