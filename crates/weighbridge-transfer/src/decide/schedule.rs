//! Which chunks are to be asked for, and from whom.
//!
//! Pure: it asks nobody and knows no clock. Times come from the caller.

mod pace;

use std::{collections::BTreeMap, ops::Range, time::Instant};

use crate::{
    decide::schedule::pace::{Asker, Paces},
    event::SourceIndex,
    ranges::RangeSet,
};

/// What is left to fetch of a model, and who works on it.
///
/// A chunk that was added is *pending* until a connection gets a [lease](Lease) of it, and *done* when it was accepted.
/// What is pending goes out in the order of files and of positions. When nothing is, a connection takes over chunks that
/// another one would come to later, and at last repeats what others are late with.
///
/// # Guarantee
/// Each chunk that was added is pending, leased or done, and once it is done it is not asked for again. No chunk is in more
/// than two leases. No source is asked for a file that it may not serve. If any source gives the chunks of its leases, all
/// files that it may serve come to their end, whatever others do, and whatever is said of their rates.
///
/// # Non-guarantee
/// That no chunk comes twice: what is taken over may be on its way already.
///
/// # Cost
/// [`take`](Self::take), [`done`](Self::done) and [`give_back`](Self::give_back): logarithmic in the number of files and
/// chunks, and a step for each running lease; for each pair of them in a file when there is nothing left to take over. A
/// file costs some hundred bytes, however many chunks it has, and more only where they do not come in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Bytes of a chunk. The last one of a file may have fewer, which is neglected here.
    chunk: u64,
    /// How many chunks a connection has in hand at once. They are judged together, and so are not taken apart.
    grain: u64,
    done: BTreeMap<usize, RangeSet>,
    /// Only files of which something is pending.
    pending: BTreeMap<usize, RangeSet>,
    leases: BTreeMap<LeaseId, Running>,
    /// Nothing is pending of files before this one that the source may serve: so nobody passes over them twice.
    from: BTreeMap<SourceIndex, usize>,
    next: u64,
}

/// A lease, as long as its connection has it.
#[derive(Debug)]
struct Running {
    connection: ConnectionId,
    source: SourceIndex,
    file: usize,
    /// What is left of it.
    chunks: RangeSet,
    /// When it last brought a chunk, or began.
    since: Instant,
    /// Until then: how many bytes come before its first chunk, of a source of whole files.
    before: u64,
}

/// One connection to a source. It has one lease at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId(u64);

/// What a connection is to fetch, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) file: usize,
    /// Never empty. Some chunks in the midst of it may not be needed, but only for a source that knows no ranges.
    pub(crate) chunks: Range<u64>,
    pub(crate) kind: LeaseKind,
}

/// Where the chunks of a lease come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseKind {
    /// They were pending.
    Fresh,
    /// They were the last ones of another lease, or the first ones of two, and are no more.
    Stolen,
    /// Another lease has them too: whoever is first has done it for both.
    Hedge,
}

/// What a connection can make use of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    /// How many bytes one request should have. A lease has one chunk at least.
    pub(crate) bytes: u64,
    /// The source gives whole files only, from the beginning: it gets all that is pending of one.
    pub(crate) whole_files: bool,
}

impl Schedule {
    /// Nothing to fetch yet. `chunk` is in bytes, `grain` in chunks: so many a connection has in hand at once.
    pub(crate) fn new(chunk: u64, grain: u64) -> Self {
        Self {
            chunk: chunk.max(1),
            grain: grain.max(1),
            done: BTreeMap::new(),
            pending: BTreeMap::new(),
            leases: BTreeMap::new(),
            from: BTreeMap::new(),
            next: 0,
        }
    }

    /// Makes chunks of a file pending, but for those that are leased or done. A file may be added again, with others.
    pub(crate) fn add(&mut self, file: usize, chunks: &RangeSet) {
        let done = self.done.entry(file).or_default();
        let mut new = RangeSet::default();
        for run in chunks.iter() {
            for run in done.missing_in(&run) {
                new.insert(run);
            }
        }
        self.make_pending(file, new);
    }

    /// Work for a connection of a source; `None` if there is nothing sensible to do until something changes.
    ///
    /// `may` tells whether the source may serve a file; once it may not, it never may again. `rate_of` is what a source
    /// gives of verified bytes per second, 0 if that is unknown or nothing.
    pub(crate) fn take(
        &mut self,
        connection: ConnectionId,
        source: SourceIndex,
        limits: Take,
        may: &dyn Fn(usize) -> bool,
        rate_of: &dyn Fn(SourceIndex) -> u64,
        now: Instant,
    ) -> Option<Lease> {
        let (file, chunks, kind) = self.fresh(source, limits, may).or_else(|| {
            let paces = Paces::new(self.chunk, self.grain, self.leases.values(), rate_of, now);
            let asker = Asker { connection, source, limits };
            self.steal(asker, may, &paces).or_else(|| self.hedge(asker, may, &paces))
        })?;
        self.next += 1;
        let id = LeaseId(self.next);
        let lease = Lease { id, file, chunks: chunks.span(), kind };
        let before = if limits.whole_files { lease.chunks.start.saturating_mul(self.chunk) } else { 0 };
        self.leases.insert(id, Running { connection, source, file, chunks, since: now, before });
        Some(lease)
    }

    /// What is left to fetch of a lease: less when others took chunks over from its end, or did those at its front.
    /// Empty: nothing, and the connection need not wait for its body.
    pub(crate) fn extent(&self, lease: LeaseId) -> Range<u64> {
        self.leases.get(&lease).map_or(0..0, |running| running.chunks.span())
    }

    /// The connection of this lease brought chunks of its file, and they were accepted: any, also after the lease was given
    /// back. No connection need fetch them any more. Says whether another lease had some of them.
    pub(crate) fn done(&mut self, lease: LeaseId, file: usize, chunks: &Range<u64>, now: Instant) -> bool {
        self.done.entry(file).or_default().insert(chunks.clone());
        if let Some(pending) = self.pending.get_mut(&file) {
            pending.remove(chunks);
            if pending.is_empty() {
                self.pending.remove(&file);
            }
        }
        let mut is_shared = false;
        for (id, running) in self.leases.iter_mut().filter(|(_, running)| running.file == file) {
            is_shared |= *id != lease && running.chunks.within(chunks).next().is_some();
            running.chunks.remove(chunks);
        }
        if let Some(running) = self.leases.get_mut(&lease) {
            running.since = now;
            running.before = 0;
        }
        is_shared
    }

    /// The connection ended. What is left of its lease is pending again, but for what another lease has too.
    pub(crate) fn give_back(&mut self, lease: LeaseId) {
        if let Some(running) = self.leases.remove(&lease) {
            self.make_pending(running.file, running.chunks);
        }
    }

    /// Whether every chunk is done.
    pub(crate) fn is_finished(&self) -> bool {
        self.pending.is_empty() && self.leases.values().all(|running| running.chunks.is_empty())
    }

    /// The files of which chunks are pending, in order.
    pub(crate) fn pending_files(&self) -> impl Iterator<Item = usize> {
        self.pending.keys().copied()
    }

    /// What has been waited for longest: from whom, and chunks of which file.
    pub(crate) fn oldest(&self) -> Option<(SourceIndex, usize, Range<u64>)> {
        let waited_for = self.leases.values().filter(|running| !running.chunks.is_empty());
        let oldest = waited_for.min_by_key(|running| running.since)?;
        Some((oldest.source, oldest.file, oldest.chunks.span()))
    }

    /// Pending chunks of the first file of which there are any that the source may serve.
    fn fresh(
        &mut self,
        source: SourceIndex,
        limits: Take,
        may: &dyn Fn(usize) -> bool,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        let from = self.from.entry(source).or_insert(0);
        let first = self.pending.range(*from..).map(|(file, _)| *file).find(|file| may(*file));
        let Some(mut file) = first else {
            *from = usize::MAX;
            return None;
        };
        *from = file;
        if limits.whole_files {
            let is_busy =
                |file| self.leases.values().any(|running| running.file == file && !running.chunks.is_empty());
            let near = self.pending.range(file..).map(|(file, _)| *file).take(LOOK_AHEAD);
            file = near.filter(|file| may(*file)).find(|file| !is_busy(*file)).unwrap_or(file);
            return self.pending.remove(&file).map(|chunks| (file, chunks, LeaseKind::Fresh));
        }
        let pending = self.pending.get_mut(&file)?;
        let run = pending.pop_first(limits.bytes / self.chunk)?;
        if pending.is_empty() {
            self.pending.remove(&file);
        }
        Some((file, set_of(run), LeaseKind::Fresh))
    }

    /// The last chunks of the lease that would otherwise take longest.
    fn steal(
        &mut self,
        thief: Asker,
        may: &dyn Fn(usize) -> bool,
        paces: &Paces<'_>,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        let of_others = self.leases.iter().filter(|(_, lease)| lease.connection != thief.connection);
        let worth_it = of_others
            .filter(|(_, lease)| may(lease.file))
            .filter_map(|(id, lease)| Some((paces.time_left(lease), *id, paces.loot(lease, thief)?)));
        let (_, victim, count) = worth_it.max_by_key(|(time_left, ..)| *time_left)?;
        let victim = self.leases.get_mut(&victim)?;
        let last = victim.chunks.last()?;
        let run = last.start.max(last.end.saturating_sub(count))..last.end;
        victim.chunks.remove(&run);
        Some((victim.file, set_of(run), LeaseKind::Stolen))
    }

    /// The next chunks of the lease that has been silent longest, of those whose chunks the connection is expected to have
    /// before anybody else. What two leases have already is taken over from one of them.
    fn hedge(
        &mut self,
        asker: Asker,
        may: &dyn Fn(usize) -> bool,
        paces: &Paces<'_>,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        let late = self.leases.values().filter_map(|lease| {
            let first = lease.chunks.first()?;
            let mut chunks = first.start..first.end.min(first.start.saturating_add(self.grain));
            let mut owners = Vec::new();
            // Up to the first chunk that not all of them have, or somebody else has.
            for (id, other) in self.leases.iter().filter(|(_, other)| other.file == lease.file) {
                match other.chunks.within(&chunks).next() {
                    Some(there) if there.start == chunks.start => {
                        chunks.end = there.end;
                        owners.push((*id, other));
                    }
                    Some(there) => chunks.end = there.start,
                    None => {}
                }
            }
            let is_late = |owner: &Running| {
                owner.connection != asker.connection && paces.is_late(owner, &chunks, asker)
            };
            let is_wanted = may(lease.file) && owners.iter().all(|(_, owner)| is_late(owner));
            let (since, oldest) = owners.iter().map(|(id, owner)| (owner.since, *id)).min()?;
            // What has no copy comes first.
            is_wanted.then_some((owners.len(), since, oldest, lease.file, chunks))
        });
        let (copies, _, oldest, file, chunks) = late.min_by_key(|(copies, since, ..)| (*copies, *since))?;
        if copies == 1 {
            return Some((file, set_of(chunks), LeaseKind::Hedge));
        }
        self.leases.get_mut(&oldest)?.chunks.remove(&chunks);
        Some((file, set_of(chunks), LeaseKind::Stolen))
    }

    /// Chunks that are neither done nor pending are pending now, but for those that are in a running lease.
    fn make_pending(&mut self, file: usize, mut chunks: RangeSet) {
        for running in self.leases.values().filter(|running| running.file == file) {
            for run in running.chunks.iter() {
                chunks.remove(&run);
            }
        }
        if chunks.is_empty() {
            return;
        }
        let pending = self.pending.entry(file).or_default();
        for run in chunks.iter() {
            pending.insert(run);
        }
        for from in self.from.values_mut() {
            *from = file.min(*from);
        }
    }
}

#[cfg(test)]
impl Schedule {
    /// How many chunks are pending.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.values().map(RangeSet::len).sum()
    }

    /// How many chunks are leased, each counted once.
    pub(crate) fn outstanding(&self) -> u64 {
        let mut leased: BTreeMap<usize, RangeSet> = BTreeMap::new();
        for running in self.leases.values() {
            let leased = leased.entry(running.file).or_default();
            for run in running.chunks.iter() {
                leased.insert(run);
            }
        }
        leased.values().map(RangeSet::len).sum()
    }
}

fn set_of(run: Range<u64>) -> RangeSet {
    let mut set = RangeSet::default();
    set.insert(run);
    set
}

/// So many pending files are looked at for one that nobody works on.
const LOOK_AHEAD: usize = 256;

#[cfg(test)]
mod tests;
