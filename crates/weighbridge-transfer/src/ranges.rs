//! Sets of positions that mostly form runs.

use std::{collections::VecDeque, ops::Range};

/// A set of positions, stored as runs that are ascending, disjoint, not touching and not empty.
///
/// # Cost
/// A lookup is logarithmic in the number of runs. A change also moves the runs before or behind the place, whichever
/// are fewer. Chunks are fetched from the front, so that these are few. Most of the many files of a model are one run,
/// which takes 16 bytes here and a whole node in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    runs: VecDeque<Range<u64>>,
    len: u64,
}

impl RangeSet {
    /// Adds a run. Some of its positions may be in the set already.
    pub(crate) fn insert(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        if self.runs.is_empty() {
            self.runs.reserve_exact(1);
        }
        // Runs that overlap or touch the new one are merged with it.
        let first = self.runs.partition_point(|old| old.end < run.start);
        let behind = self.runs.partition_point(|old| old.start <= run.end);
        let mut there = 0;
        let mut merged = run;
        for old in self.runs.range(first..behind) {
            there += count(old);
            merged = merged.start.min(old.start)..merged.end.max(old.end);
        }
        self.len += count(&merged) - there;
        self.runs.drain(first..behind);
        self.runs.insert(first, merged);
    }

    /// Removes a run. Some of its positions may not be in the set.
    pub(crate) fn remove(&mut self, run: &Range<u64>) {
        let there = self.overlapping(run);
        let (Some(first), Some(last)) =
            (self.runs.range(there.clone()).next(), self.runs.range(there.clone()).next_back())
        else {
            return;
        };
        let (before, behind) = (first.start..run.start, run.end..last.end);
        let found: u64 = self.runs.range(there.clone()).map(count).sum();
        let gone = found - count(&before) - count(&behind);
        let at = there.start;
        self.runs.drain(there);
        for rest in [behind, before] {
            if !rest.is_empty() {
                self.runs.insert(at, rest);
            }
        }
        self.len -= gone;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number of positions.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether every position of a run is in the set.
    pub(crate) fn contains_range(&self, run: &Range<u64>) -> bool {
        let around = self.runs.get(self.overlapping(run).start);
        run.is_empty() || around.is_some_and(|around| around.start <= run.start && run.end <= around.end)
    }

    /// The first run.
    pub(crate) fn first(&self) -> Option<Range<u64>> {
        self.runs.front().cloned()
    }

    /// The last run.
    pub(crate) fn last(&self) -> Option<Range<u64>> {
        self.runs.back().cloned()
    }

    /// The range from the first position to the last one; `0..0` if the set is empty.
    pub(crate) fn span(&self) -> Range<u64> {
        let ends = self.runs.front().zip(self.runs.back());
        ends.map_or(0..0, |(first, last)| first.start..last.end)
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + use<'_> {
        self.runs.iter().cloned()
    }

    /// The parts of a run that are in the set, ascending.
    pub(crate) fn within(&self, run: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<'_> {
        let Range { start, end } = *run;
        self.runs.range(self.overlapping(run)).map(move |there| there.start.max(start)..there.end.min(end))
    }

    /// The parts of a run that are not in the set, ascending.
    pub(crate) fn missing_in(&self, run: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<'_> {
        let Range { start: mut at, end } = *run;
        self.within(run).chain(std::iter::once(end..end)).filter_map(move |there| {
            let gap = at..there.start;
            at = there.end;
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// The indices of the runs that share positions with this one; none if it is empty.
    fn overlapping(&self, run: &Range<u64>) -> Range<usize> {
        let first = self.runs.partition_point(|old| old.end <= run.start);
        let behind = self.runs.partition_point(|old| old.start < run.end);
        first..if run.is_empty() { first } else { behind }
    }
}

/// The number of positions of a run. `Range<u64>` has no `len`, since it may be too long for `usize`.
fn count(run: &Range<u64>) -> u64 {
    run.end.saturating_sub(run.start)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Range<u64>),
        Remove(Range<u64>),
    }

    fn run() -> impl Strategy<Value = Range<u64>> {
        // Includes empty and reversed runs.
        prop_oneof![9 => (0..70_u64, 0..20_u64).prop_map(|(start, len)| start..start + len), 1 => Just(Range { start: 9, end: 3 })]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => run().prop_map(Step::Insert),
            4 => run().prop_map(Step::Remove),
        ]
    }

    fn runs_of(positions: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for position in positions {
            match runs.last_mut() {
                Some(run) if run.end == position => run.end += 1,
                _ => runs.push(position..position + 1),
            }
        }
        runs
    }

    fn apply(naive: &mut BTreeSet<u64>, step: &Step) {
        match step {
            Step::Insert(run) => naive.extend(run.clone()),
            Step::Remove(run) => naive.retain(|position| !run.contains(position)),
        }
    }

    proptest! {
        #[test]
        fn is_the_set_that_it_stands_for(steps in prop::collection::vec(step(), 0..60), asked in run()) {
            let (mut set, mut naive) = (RangeSet::default(), BTreeSet::new());
            for step in steps {
                apply(&mut naive, &step);
                match step {
                    Step::Insert(run) => set.insert(run),
                    Step::Remove(run) => set.remove(&run),
                }
                let runs = runs_of(naive.iter().copied());
                // Touching runs would be a second form of the same set.
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), &runs[..]);
                prop_assert_eq!((set.first(), set.last()), (runs.first().cloned(), runs.last().cloned()));
                prop_assert_eq!(set.len(), u64::try_from(naive.len()).unwrap());
                prop_assert_eq!(set.is_empty(), naive.is_empty());
                let span = naive.first().zip(naive.last()).map_or(0..0, |(first, last)| *first..last + 1);
                prop_assert_eq!(set.span(), span);
            }
            let there = runs_of(asked.clone().filter(|position| naive.contains(position)));
            let missing = runs_of(asked.clone().filter(|position| !naive.contains(position)));
            prop_assert_eq!(set.within(&asked).collect::<Vec<_>>(), there);
            prop_assert_eq!(set.contains_range(&asked), missing.is_empty());
            prop_assert_eq!(set.missing_in(&asked).collect::<Vec<_>>(), missing);
        }
    }

    #[test]
    fn holds_positions_up_to_the_last_one() {
        let mut set = RangeSet::default();
        set.insert(0..u64::MAX);
        assert_eq!(set.len(), u64::MAX);
        set.insert(7..u64::MAX);
        set.remove(&(1..u64::MAX));
        assert_eq!(set.first(), Some(0..1));
    }
}
