//! Which chunks of a file were accepted: a bit for each, set from any thread.

use alloc::boxed::Box;
use core::{
    fmt,
    iter::FusedIterator,
    ops::Range,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
};

use weighbridge_tree::Layer;

/// The accepted chunks of one file. Grows and never shrinks.
///
/// Nothing here waits: a thread that stops or panics, wherever it does, leaves a set that holds what was inserted.
///
/// Every access is `SeqCst`. Of two threads that each insert the last chunk but one of a range and then ask for the
/// range, at least one finds it whole; with acquire and release alone both may miss the other's chunk, and nobody
/// would ever hear of the range.
pub(crate) struct ChunkSet {
    /// Bit `index % 32` of word `index / 32`. Bits past the count stay zero.
    words: Box<[AtomicU32]>,
    count: u64,
    /// How many are there, the last chunk of the file apart: it may be shorter, and so bytes can be counted without
    /// a moment at which there seem to be fewer than before.
    before_last: AtomicUsize,
}

impl ChunkSet {
    /// No chunk of the file of this layer.
    ///
    /// # Cost
    /// One bit for each 32 bytes of the layer, which are in memory: no larger allocation than what was accepted.
    pub(crate) fn of(layer: &Layer) -> Self {
        let count = layer.grid().count();
        let words = usize::try_from(count.div_ceil(32)).unwrap_or(0);
        let words = core::iter::repeat_with(AtomicU32::default).take(words).collect();
        Self { words, count, before_last: AtomicUsize::new(0) }
    }

    /// Adds a chunk below the count; there may be one already.
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

    /// Whether all chunks of a range of positions are there; positions past the count never are.
    pub(crate) fn contains_all(&self, range: &Range<u64>) -> bool {
        self.next(range.clone(), false) == range.end
    }

    /// How many chunks are there but for the last one of the file, and whether that one is.
    pub(crate) fn counts(&self) -> (u64, bool) {
        let before_last = u64::try_from(self.before_last.load(SeqCst)).unwrap_or(u64::MAX);
        (before_last, self.count.checked_sub(1).is_some_and(|last| self.contains(last)))
    }

    /// The first position in `range` whose chunk is accepted, or is not; the end of the range if there is none.
    fn next(&self, range: Range<u64>, accepted: bool) -> u64 {
        let mut at = range.start;
        while at < range.end {
            // There is no word only past the count, and what is there is not accepted.
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

/// Runs of positions of chunks that were not accepted, ascending; none is empty, no two touch.
///
/// While other threads accept chunks, each run was missing when it was looked at, and later ones are looked at later.
#[derive(Clone, Debug)]
#[must_use]
pub struct Missing<'a> {
    /// `None`: nothing was accepted.
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
                // The position itself is not asked again: it may have been accepted since, and no run is empty.
                (first, set.next(first.saturating_add(1)..end, true))
            }
        };
        self.rest = after..end;
        (first < end).then_some(first..after)
    }
}

impl FusedIterator for Missing<'_> {}
