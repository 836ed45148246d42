//! Availability: which chunks each source says it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{event::SourceId, ranges::RangeSet};

/// The inventories of the sources that have one.
#[derive(Debug, Default)]
pub(crate) struct Availability {
    inventories: BTreeMap<SourceId, BTreeMap<usize, RangeSet>>,
    /// The sources that will gain no more chunks.
    finished: BTreeSet<SourceId>,
}

impl Availability {
    /// Records that the source has an inventory. It has no chunks until it gains some.
    pub(crate) fn declare(&mut self, source: SourceId) {
        self.inventories.entry(source).or_default();
    }

    /// Whether the source says which chunks it has.
    pub(crate) fn has_inventory(&self, source: SourceId) -> bool {
        self.inventories.contains_key(&source)
    }

    /// The source will gain no more chunks.
    pub(crate) fn finish(&mut self, source: SourceId) {
        self.finished.insert(source);
    }

    /// Whether the source may still gain chunks.
    pub(crate) fn may_gain(&self, source: SourceId) -> bool {
        self.inventories.contains_key(&source) && !self.finished.contains(&source)
    }

    pub(crate) fn leave(&mut self, source: SourceId) {
        self.inventories.remove(&source);
        self.finished.remove(&source);
    }

    /// Records that the source has these chunks of a file now. Returns whether any of them is new.
    pub(crate) fn gained(&mut self, source: SourceId, file: usize, chunks: &RangeSet) -> bool {
        // The source may have left.
        let Some(files) = self.inventories.get_mut(&source) else { return false };
        let there = files.entry(file).or_default();
        let before = there.len();
        chunks.iter().for_each(|run| there.insert(run));
        there.len() > before
    }

    /// The chunks of a file that the source may be asked for, by its inventory.
    pub(crate) fn of(&self, source: SourceId, file: usize) -> Eligible {
        match self.inventories.get(&source).map(|files| files.get(&file)) {
            None => Eligible::All,
            Some(None) => Eligible::None,
            Some(Some(chunks)) => Eligible::Only(chunks.clone()),
        }
    }
}

/// The chunks of a file that a source may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Eligible {
    None,
    All,
    Only(RangeSet),
    Except(RangeSet),
}

impl Eligible {
    /// The eligible chunks except these.
    pub(crate) fn without(self, chunks: &RangeSet) -> Self {
        match self {
            _ if chunks.is_empty() => self,
            Self::None => Self::None,
            Self::All => Self::Except(chunks.clone()),
            Self::Only(mut only) => {
                chunks.iter().for_each(|run| only.remove(&run));
                if only.is_empty() { Self::None } else { Self::Only(only) }
            }
            Self::Except(mut except) => {
                chunks.iter().for_each(|run| except.insert(run));
                Self::Except(except)
            }
        }
    }

    /// The eligible chunks except those of `other`.
    pub(crate) fn without_those_of(self, other: Self) -> Self {
        match other {
            Self::None => self,
            Self::All => Self::None,
            Self::Only(chunks) => self.without(&chunks),
            Self::Except(left) => match self {
                Self::None => Self::None,
                Self::All => Self::Only(left),
                own => {
                    let both = own.within(&left);
                    if both.is_empty() { Self::None } else { Self::Only(both) }
                }
            },
        }
    }

    /// The chunks of a set that are eligible.
    pub(crate) fn within(&self, set: &RangeSet) -> RangeSet {
        let mut both = RangeSet::default();
        set.iter().flat_map(|run| self.runs_in(&run)).for_each(|run| both.insert(run));
        both
    }

    /// The first run of a set's chunks that is eligible.
    pub(crate) fn first_in(&self, set: &RangeSet) -> Option<Range<u64>> {
        match self {
            Self::None => None,
            Self::All => set.first(),
            _ => set.iter().find_map(|run| self.runs_in(&run).into_iter().next()),
        }
    }

    /// The longest eligible prefix of a run.
    pub(crate) fn prefix(&self, run: &Range<u64>) -> Range<u64> {
        let first = self.runs_in(run).into_iter().next().filter(|first| first.start == run.start);
        first.unwrap_or(run.start..run.start)
    }

    /// The longest eligible suffix of a run.
    pub(crate) fn suffix(&self, run: &Range<u64>) -> Range<u64> {
        let last = self.runs_in(run).pop().filter(|last| last.end == run.end);
        last.unwrap_or(run.end..run.end)
    }

    /// The eligible parts of a run, ascending.
    pub(crate) fn runs_in(&self, run: &Range<u64>) -> Vec<Range<u64>> {
        match self {
            Self::None => Vec::new(),
            Self::All => vec![run.clone()],
            Self::Only(chunks) => chunks.within(run).collect(),
            Self::Except(chunks) => chunks.missing_in(run).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = RangeSet> {
        prop::collection::vec((0..24_u64, 0..6_u64), 0..4).prop_map(|runs| {
            let mut set = RangeSet::default();
            runs.into_iter().for_each(|(start, len)| set.insert(start..start + len));
            set
        })
    }

    fn eligible() -> impl Strategy<Value = Eligible> {
        prop_oneof![
            Just(Eligible::None),
            Just(Eligible::All),
            set().prop_map(Eligible::Only),
            set().prop_map(Eligible::Except),
        ]
    }

    fn has(eligible: &Eligible, chunk: u64) -> bool {
        !eligible.runs_in(&(chunk..chunk + 1)).is_empty()
    }

    proptest! {
        #[test]
        fn sets_are_subtracted_chunk_by_chunk(one in eligible(), other in eligible(), set in set()) {
            let apart = one.clone().without_those_of(other.clone());
            let less = one.clone().without(&set);
            let both = one.within(&set);
            for chunk in 0..40 {
                let in_set = set.contains_range(&(chunk..chunk + 1));
                prop_assert_eq!(has(&apart, chunk), has(&one, chunk) && !has(&other, chunk));
                prop_assert_eq!(has(&less, chunk), has(&one, chunk) && !in_set);
                prop_assert_eq!(both.contains_range(&(chunk..chunk + 1)), has(&one, chunk) && in_set);
            }
            prop_assert_eq!(one.first_in(&set), both.first());
        }

        #[test]
        fn prefix_and_suffix_are_the_longest(one in eligible(), start in 0..24_u64, len in 1..9_u64) {
            let run = start..start + len;
            let (prefix, suffix) = (one.prefix(&run), one.suffix(&run));
            prop_assert!(prefix.start == run.start && suffix.end == run.end);
            prop_assert!(prefix.clone().chain(suffix.clone()).all(|chunk| has(&one, chunk)));
            prop_assert!(prefix.end == run.end || !has(&one, prefix.end));
            prop_assert!(suffix.start == run.start || !has(&one, suffix.start - 1));
        }
    }

    #[test]
    fn an_inventory_grows_and_goes() {
        let mut availability = Availability::default();
        let (with, without) = (SourceId::new(0), SourceId::new(1));
        let run = |run| {
            let mut set = RangeSet::default();
            set.insert(run);
            set
        };
        availability.declare(with);
        assert_eq!(availability.of(with, 3), Eligible::None);
        assert_eq!(availability.of(without, 3), Eligible::All);
        assert!(availability.gained(with, 3, &run(2..4)) && !availability.gained(with, 3, &run(2..3)));
        assert!(availability.gained(with, 3, &run(4..5)));
        assert_eq!(availability.of(with, 3), Eligible::Only(run(2..5)));
        assert_eq!(availability.of(with, 4), Eligible::None);
        availability.leave(with);
        assert_eq!(availability.of(with, 3), Eligible::All);
    }
}
