//! Chunks that somebody waits for: they go out before others.

use std::ops::{Bound, Range};

use super::{Eligible, LeaseId, LeaseKind, RangeSet, Schedule, Take, set_of};

/// Chunks of a file that somebody waits for. Wishes are counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WishId(u64);

impl Schedule {
    /// Lets pending chunks of a file go out before all others, until the wish [ends](Self::end_wish). Leases of chunks that nobody waits for
    /// keep what they have in hand. Several wishes have turns, each for a quarter of what a request has.
    ///
    /// # Cost
    /// A step for each running lease. Each wish costs a look whenever a lease is taken: the caller limits their number.
    pub(crate) fn wish(&mut self, file: usize, chunks: Range<u64>) -> WishId {
        self.next += 1;
        let id = WishId(self.next);
        self.wishes.insert(id, (file, chunks));
        self.shorten_those(|running| !running.is_wished);
        id
    }

    /// Ends a wish, whether or not its chunks have come.
    pub(crate) fn end_wish(&mut self, wish: WishId) {
        self.wishes.remove(&wish);
    }

    /// Returns true if a connection that is free may serve a wish: chunks of one are pending, or nothing is, and it could take over
    /// those of another connection.
    pub(crate) fn may_serve_wish(&self) -> bool {
        let is_pending = |(file, chunks): &(usize, Range<u64>)| {
            self.pending.get(file).is_some_and(|pending| pending.within(chunks).next().is_some())
        };
        self.wishes.values().any(is_pending) || (!self.wishes.is_empty() && self.pending.is_empty())
    }

    /// Returns true if somebody waits for a chunk that is left of a lease.
    pub(crate) fn is_awaited(&self, lease: LeaseId) -> bool {
        let Some(running) = self.leases.get(&lease) else { return false };
        let mut of_file = self.wishes.values().filter(|(file, _)| *file == running.file);
        of_file.any(|(_, chunks)| running.chunks.within(chunks).next().is_some())
    }

    /// Returns true if somebody waits for chunks of a file.
    pub(crate) fn is_file_awaited(&self, file: usize) -> bool {
        self.wishes.values().any(|(wished, _)| *wished == file)
    }

    /// Pending chunks of the next wish that the source may serve. Sources of whole files serve wishes by accident alone.
    pub(super) fn wished(
        &mut self,
        limits: Take,
        eligible: &dyn Fn(usize) -> Eligible,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        if limits.whole_files {
            return None;
        }
        let behind = self.wishes.range((Bound::Excluded(self.served), Bound::Unbounded));
        let mut in_turn = behind.chain(self.wishes.range(..=self.served));
        let (id, file, run) = in_turn.find_map(|(id, (file, chunks))| {
            let mut here = RangeSet::default();
            self.pending.get(file)?.within(chunks).for_each(|run| here.insert(run));
            Some((*id, *file, eligible(*file).first_in(&here)?))
        })?;
        self.served = id;
        let most = (limits.bytes / self.chunk / SHARE_OF_A_WISH).max(self.grain);
        let run = run.start..run.end.min(run.start.saturating_add(most));
        self.take_pending(file, &run);
        Some((file, set_of(run), LeaseKind::Fresh))
    }
}

/// A lease for a wish has at most this part of what a request has: another wish may come.
const SHARE_OF_A_WISH: u64 = 4;
