//! The set of accepted chunks of a file: one bit for each chunk, set from any thread.

use alloc::boxed::Box;
use core::{
    fmt,
    iter::FusedIterator,
    ops::Range,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
};

use weighbridge_tree::Layer;

/// The accepted chunks of one file. The set grows and never shrinks.
///
/// No operation waits. A thread that stops or panics at any point leaves a valid set of all inserted chunks.
///
/// Every access is `SeqCst`. If two threads each insert one of the last two chunks of a range and then ask for the
/// range, at least one of them finds it whole. With acquire and release alone both could miss the other's chunk, and no
/// thread would ever see the range complete.
pub(crate) struct ChunkSet {
    /// Bit `index % 32` of word `index / 32`. Bits past the count stay zero.
    words: Box<[AtomicU32]>,
    count: u64,
    /// The number of chunks in the set, not counting the last chunk of the file. The last one may be shorter;
    /// counting it apart means that the number of accepted bytes never seems to fall.
    before_last: AtomicUsize,
}

impl ChunkSet {
    /// The empty set for the file of this layer.
    ///
    /// # Cost
    /// One bit for each 32 bytes of the layer, which is in memory already: the allocation is smaller than the accepted
    /// layer.
    pub(crate) fn of(layer: &Layer) -> Self {
        let count = layer.grid().count();
        let words = usize::try_from(count.div_ceil(32)).unwrap_or(0);
        let words = core::iter::repeat_with(AtomicU32::default).take(words).collect();
        Self { words, count, before_last: AtomicUsize::new(0) }
    }

    /// Adds a chunk below the count. Adding a chunk again changes nothing.
    pub(crate) fn insert(&self, index: u64) {
        let Some((word, bit)) = self.place(index) else { return };
        let was_absent = word.fetch_or(bit, SeqCst) & bit == 0;
        if was_absent && index.saturating_add(1) != self.count {
            self.before_last.fetch_add(1, SeqCst);
        }
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.place(index).is_some_and(|(word, bit)| word.load(SeqCst) & bit != 0)
    }

    /// Whether all chunks of a range of positions are in the set. Positions past the count never are.
    pub(crate) fn contains_all(&self, range: &Range<u64>) -> bool {
        self.next(range.clone(), false) == range.end
    }

    /// The number of chunks before the last one of the file that are in the set, and whether the last one is.
    pub(crate) fn counts(&self) -> (u64, bool) {
        let before_last = u64::try_from(self.before_last.load(SeqCst)).unwrap_or(u64::MAX);
        (before_last, self.count.checked_sub(1).is_some_and(|last| self.contains(last)))
    }

    /// The first position in `range` whose chunk is accepted, or is not accepted; the end of the range if there is
    /// none.
    fn next(&self, range: Range<u64>, accepted: bool) -> u64 {
        let mut at = range.start;
        while at < range.end {
            // Only positions past the count have no word, and none of those is accepted.
            let bits = self.place(at).map_or(0, |(word, _)| word.load(SeqCst));
            let wanted = if accepted { bits } else { !bits };
            let ahead = wanted & u32::MAX.wrapping_shl(bit_of(at));
            if ahead != 0 {
                let found = (at & !31).saturating_add(u64::from(ahead.trailing_zeros()));
                return found.min(range.end);
            }
            at = (at | 31).saturating_add(1);
        }
        range.end
    }

    fn place(&self, index: u64) -> Option<(&AtomicU32, u32)> {
        let word = self.words.get(usize::try_from(index >> 5).ok()?)?;
        Some((word, 1_u32.wrapping_shl(bit_of(index))))
    }
}

fn bit_of(index: u64) -> u32 {
    u32::try_from(index & 31).unwrap_or(0)
}

impl fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before_last, last) = self.counts();
        write!(f, "{} of {}", before_last.saturating_add(u64::from(last)), self.count)
    }
}

/// Runs of positions of chunks that were not accepted, ascending. No run is empty, and no two touch.
///
/// While other threads accept chunks, each run was missing at the moment the iterator came to it, not when it was made.
#[derive(Clone, Debug)]
#[must_use]
pub struct Missing<'a> {
    /// `None` if no chunk of the file was accepted yet.
    set: Option<&'a ChunkSet>,
    rest: Range<u64>,
}

impl<'a> Missing<'a> {
    pub(crate) fn new(set: Option<&'a ChunkSet>, range: Range<u64>) -> Self {
        Self { set, rest: range }
    }
}

impl Iterator for Missing<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let Range { start, end } = self.rest;
        let (first, after) = match self.set {
            None => (start, end),
            Some(set) => {
                let first = set.next(start..end, false);
                // Start behind `first`: its chunk may have been accepted since, and a run must not be empty.
                (first, set.next(first.saturating_add(1)..end, true))
            }
        };
        self.rest = after..end;
        (first < end).then_some(first..after)
    }
}

impl FusedIterator for Missing<'_> {}
