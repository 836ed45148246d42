//! The schedule: which chunks are to be asked for, and from which source.
//!
//! The schedule is pure: it asks no source and reads no clock. The caller supplies the times.

mod pace;
mod wishes;

use std::{collections::BTreeMap, ops::Range, time::Instant};

use super::{availability::Eligible, pacing::Meter};
use crate::{
    event::SourceId,
    guide::{Claim, NamedRun},
    ranges::RangeSet,
};

use pace::{Asker, Paces};
pub(crate) use wishes::WishId;

/// The chunks of a model that are left to fetch, and the connections that work on them.
///
/// A chunk that was added is *pending* until a connection gets a [lease](Lease) of it, and *done* when it was accepted.
/// Pending chunks go out by file and position, so that a reader that starts at the beginning of the model waits least; before
/// them those that somebody [waits for](Self::wish). When none is pending, a connection takes over
/// chunks that another one would come to later. At last it repeats chunks that others are late with.
///
/// # Guarantee
/// Each chunk that was added is pending, leased or done, and a done chunk is not asked for again. No chunk is in more
/// than two leases. No source is asked for a chunk that it may not serve. If one source gives the chunks of its leases,
/// all chunks that it may serve become done, whatever other sources do and whatever rates are reported.
///
/// # Non-guarantee
/// A chunk may come twice: a chunk that is taken over may be on its way already.
///
/// # Cost
/// [`take`](Self::take), [`done`](Self::done) and [`give_back`](Self::give_back): logarithmic in the number of files
/// and chunks, and a step for each running lease; for each pair of leases in a file when there is nothing left to take
/// over. A file costs some hundred bytes, however many chunks it has, and more only if its chunks do not come in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The bytes of a chunk. The last chunk of a file may have fewer; the schedule ignores that.
    chunk: u64,
    /// How many chunks a connection has in hand at once. They are judged together, so the schedule does not split them.
    grain: u64,
    done: BTreeMap<usize, RangeSet>,
    /// The pending chunks by file, without files that have none.
    pending: BTreeMap<usize, RangeSet>,
    /// The number of pending chunks.
    pending_chunks: u64,
    /// The chunks that somebody waits for.
    wishes: BTreeMap<WishId, (usize, Range<u64>)>,
    /// The wish that was served last: the next one has its turn.
    served: WishId,
    leases: BTreeMap<LeaseId, Running>,
    /// The first file, for each source, that may have pending chunks for it: so no file is passed over twice.
    from: BTreeMap<SourceId, usize>,
    next: u64,
    /// Raised whenever there may be work for a source that had none.
    version: u64,
    /// The recent number of leases with something left, in thousandths. It falls slowly, because the other leases do
    /// not become faster at once when some end.
    active: u64,
}

/// A lease while its connection holds it.
#[derive(Debug)]
struct Running {
    connection: ConnectionId,
    source: SourceId,
    file: usize,
    /// The chunks that are left of the lease.
    chunks: RangeSet,
    /// Whether somebody waits for them.
    is_wished: bool,
    /// When the lease last brought a chunk, or began.
    since: Instant,
    /// Until the first chunk, for a source of whole files: the number of bytes that come before it.
    before: u64,
    /// When a byte last came, if any has, and the rate at which bytes come.
    heard: Option<Instant>,
    meter: Meter,
    received: u64,
    /// How many bytes have come since the lease last brought a chunk.
    in_hand: u64,
    /// Since when it gets less than half of an equal share of the line.
    slow_since: Option<Instant>,
}

/// One connection to a source. It has one lease at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId(u64);

/// The chunks that a connection is to fetch, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) file: usize,
    /// Never empty. Some chunks in the middle may not be needed, but only for a source that knows no ranges.
    pub(crate) chunks: Range<u64>,
    pub(crate) kind: LeaseKind,
    /// The claim of a member of a swarm.
    pub(crate) claim: Option<Claim>,
}

impl Lease {
    /// Whether the chunks were pending, and no other lease has or had them.
    pub(crate) fn is_fresh(&self) -> bool {
        self.kind == LeaseKind::Fresh
    }
}

/// Where the chunks of a lease came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseKind {
    /// The chunks were pending.
    Fresh,
    /// The chunks were taken over, and the other lease lost them: its last ones, or the next ones of two leases that
    /// both had them.
    Stolen,
    /// Another lease has the chunks too. The first to bring a chunk completes it for both.
    Hedge,
}

/// The request of a connection for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    /// The bytes that one request should have. A lease has at least one chunk.
    pub(crate) bytes: u64,
    /// Whether the source gives whole files only, from the beginning. It then gets all that is pending of one file.
    pub(crate) whole_files: bool,
    /// Whether the line is full, or the caller's limit is reached. Then only leases that have stalled are taken over or
    /// repeated: help for a lease that makes progress would slow down others by as much.
    pub(crate) only_stalled: bool,
}

/// The known rates of the sources.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    /// The bytes per second of each source; 0 if that is unknown or nothing.
    pub(crate) rate_of: &'a dyn Fn(SourceId) -> u64,
    /// The most bytes per second that all sources together gave recently; 0 if that is unknown.
    pub(crate) capacity: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self::new(1, 1)
    }
}

impl Schedule {
    /// An empty schedule. `chunk` is in bytes. `grain` is the number of chunks that a connection has in hand at once.
    pub(crate) fn new(chunk: u64, grain: u64) -> Self {
        Self {
            chunk: chunk.max(1),
            grain: grain.max(1),
            done: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_chunks: 0,
            wishes: BTreeMap::new(),
            served: WishId::default(),
            leases: BTreeMap::new(),
            from: BTreeMap::new(),
            next: 0,
            version: 0,
            active: 0,
        }
    }

    /// Makes chunks of a file pending, except those that are leased or done. A file may be added again, with other
    /// chunks.
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

    /// Returns work for a connection of a source; `None` if there is nothing useful to do until something changes.
    ///
    /// `eligible` tells which chunks of a file the source may serve. When that grows, the caller has to call
    /// [`look_again`](Self::look_again).
    pub(crate) fn take(
        &mut self,
        connection: ConnectionId,
        source: SourceId,
        limits: Take,
        eligible: &dyn Fn(usize) -> Eligible,
        line: &Line<'_>,
        now: Instant,
    ) -> Option<Lease> {
        let wished = self.wished(limits, eligible);
        let is_wished = wished.is_some();
        let (file, chunks, kind) = wished.or_else(|| self.fresh(source, limits, eligible)).or_else(|| {
            let paces = Paces::new(self.chunk, self.grain, self.leases.values(), self.active, line, now);
            let asker = Asker { connection, source, limits };
            self.steal(asker, eligible, &paces).or_else(|| self.hedge(asker, eligible, &paces))
        })?;
        self.next += 1;
        let id = LeaseId(self.next);
        let lease = Lease { id, file, chunks: chunks.span(), kind, claim: None };
        let before = if limits.whole_files { lease.chunks.start.saturating_mul(self.chunk) } else { 0 };
        let running = Running { is_wished, ..Running::new(connection, source, file, chunks, now, before) };
        self.leases.insert(id, running);
        Some(lease)
    }

    /// Returns a lease of chunks that the caller names: the first run of them that is pending and that the source may
    /// serve. If there is none and a copy is wanted, the first run of them that one other lease has.
    pub(crate) fn take_named(
        &mut self,
        connection: ConnectionId,
        source: SourceId,
        named: &NamedRun,
        eligible: &Eligible,
        now: Instant,
    ) -> Option<Lease> {
        let pending = self.pending.get(&named.file).map(|pending| {
            let mut here = RangeSet::default();
            pending.within(&named.chunks).for_each(|run| here.insert(run));
            here
        });
        let fresh = pending.and_then(|pending| eligible.first_in(&pending));
        let (chunks, kind) = match fresh {
            Some(run) => {
                self.take_pending(named.file, &run);
                (run, LeaseKind::Fresh)
            }
            None if named.is_copy => (self.leased_once(named, eligible)?, LeaseKind::Hedge),
            None => return None,
        };
        self.next += 1;
        let id = LeaseId(self.next);
        let lease = Lease { id, file: named.file, chunks: chunks.clone(), kind, claim: named.claim };
        self.leases.insert(id, Running::new(connection, source, named.file, set_of(chunks), now, 0));
        Some(lease)
    }

    /// Leaves each lease the chunks that its connection has in hand: the others become pending again.
    pub(crate) fn shorten(&mut self) {
        self.shorten_those(|_| true);
    }

    fn shorten_those(&mut self, which: impl Fn(&Running) -> bool) {
        let grain = self.grain;
        let shorten = |running: &mut Running| {
            let first = running.chunks.first()?;
            let end = first.start.saturating_add(grain);
            let mut rest = RangeSet::default();
            running.chunks.within(&(end..u64::MAX)).for_each(|run| rest.insert(run));
            running.chunks.remove(&(end..u64::MAX));
            Some((running.file, rest))
        };
        let leases = self.leases.values_mut().filter(|running| which(running));
        let rests: Vec<_> = leases.filter_map(shorten).collect();
        rests.into_iter().for_each(|(file, rest)| self.make_pending(file, rest));
    }

    /// The first run of the named chunks that exactly one lease has.
    fn leased_once(&self, named: &NamedRun, eligible: &Eligible) -> Option<Range<u64>> {
        let (mut once, mut twice) = (RangeSet::default(), RangeSet::default());
        for running in self.leases.values().filter(|running| running.file == named.file) {
            for run in running.chunks.within(&named.chunks) {
                once.within(&run).for_each(|again| twice.insert(again));
                once.insert(run);
            }
        }
        twice.iter().for_each(|run| once.remove(&run));
        eligible.first_in(&once)
    }

    /// The chunks that are left to fetch of a lease. They shrink when other leases take chunks over from the end, or
    /// complete those at the front. If empty, the connection need not wait for its body.
    pub(crate) fn extent(&self, lease: LeaseId) -> Range<u64> {
        self.leases.get(&lease).map_or(0..0, |running| running.chunks.span())
    }

    /// Records that the connection of this lease brought chunks of its file, and that they were accepted. The chunks
    /// may be any, even after the lease was given back. No connection need fetch them any more. Returns whether another
    /// lease had some of them.
    pub(crate) fn done(&mut self, lease: LeaseId, file: usize, chunks: &Range<u64>, now: Instant) -> bool {
        self.done.entry(file).or_default().insert(chunks.clone());
        self.take_pending(file, chunks);
        let mut is_shared = false;
        for (id, running) in self.leases.iter_mut().filter(|(_, running)| running.file == file) {
            is_shared |= *id != lease && running.chunks.within(chunks).next().is_some();
            running.chunks.remove(chunks);
        }
        if let Some(running) = self.leases.get_mut(&lease) {
            running.since = now;
            running.before = 0;
            running.in_hand = 0;
        }
        is_shared
    }

    /// Records that bytes came over the connection of this lease.
    pub(crate) fn received(&mut self, lease: LeaseId, bytes: u64, now: Instant) {
        if let Some(running) = self.leases.get_mut(&lease) {
            running.heard = Some(now);
            running.received += bytes;
            running.in_hand += bytes;
        }
    }

    /// Lets time pass: the rates of leases are measured. `capacity` is what all sources together gave lately.
    pub(crate) fn tick(&mut self, now: Instant, capacity: u64) {
        let active = self.leases.values().filter(|running| !running.chunks.is_empty()).count();
        let active = u64::try_from(active).unwrap_or(u64::MAX).saturating_mul(1000);
        self.active = active.max(self.active - self.active / FADES);
        let least = capacity.saturating_mul(1000) / self.active.max(1000) / 2;
        for running in self.leases.values_mut() {
            running.meter.tick(now, running.received);
            let is_slow = running.meter.rate < least;
            running.slow_since = running.slow_since.or(Some(now)).filter(|_| is_slow);
        }
    }

    /// Ends a lease whose connection ended. Its remaining chunks become pending again, except those that another lease
    /// has too. Returns its source, and whether nothing was left of it.
    pub(crate) fn give_back(&mut self, lease: LeaseId) -> Option<(SourceId, bool)> {
        let running = self.leases.remove(&lease)?;
        let is_done = running.chunks.is_empty();
        self.make_pending(running.file, running.chunks);
        Some((running.source, is_done))
    }

    /// Whether every chunk is done.
    pub(crate) fn is_finished(&self) -> bool {
        self.pending.is_empty() && self.leases.values().all(|running| running.chunks.is_empty())
    }

    /// Records that the connection of this lease brought other bytes than the signed ones for these chunks. They become
    /// pending again, for other sources.
    pub(crate) fn refuse(&mut self, lease: LeaseId, chunks: &Range<u64>) {
        let Some(running) = self.leases.get_mut(&lease) else { return };
        let file = running.file;
        let mut refused = RangeSet::default();
        running.chunks.within(chunks).for_each(|run| refused.insert(run));
        running.chunks.remove(chunks);
        self.make_pending(file, refused);
    }

    /// Tells the schedule that sources may serve more chunks than before, or others.
    pub(crate) fn look_again(&mut self) {
        self.from.clear();
        self.version += 1;
    }

    /// A counter that changes whenever there may be work for a source that had none.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The files that have pending chunks, in order.
    pub(crate) fn pending_files(&self) -> impl Iterator<Item = usize> {
        self.pending.keys().copied()
    }

    /// The pending chunks of a file, if there are any.
    pub(crate) fn pending_of(&self, file: usize) -> Option<&RangeSet> {
        self.pending.get(&file)
    }

    /// How many chunks are pending.
    pub(crate) fn pending(&self) -> u64 {
        self.pending_chunks
    }

    /// The request that has been waited for longest: its source, its file and its chunks.
    pub(crate) fn oldest(&self) -> Option<(SourceId, usize, Range<u64>)> {
        let waited_for = self.leases.values().filter(|running| !running.chunks.is_empty());
        let oldest = waited_for.min_by_key(|running| running.since)?;
        Some((oldest.source, oldest.file, oldest.chunks.span()))
    }

    /// Pending chunks that the source may serve: the first ones in order, or all of one file.
    fn fresh(
        &mut self,
        source: SourceId,
        limits: Take,
        eligible: &dyn Fn(usize) -> Eligible,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        let from = self.from.get(&source).copied().unwrap_or(0);
        let mut runs = self.pending.range(from..).filter_map(|(file, pending)| {
            let run = eligible(*file).first_in(pending)?;
            Some((*file, run))
        });
        let Some((mut file, run)) = runs.next() else {
            self.from.insert(source, usize::MAX);
            return None;
        };
        self.from.insert(source, file);
        if limits.whole_files {
            let is_busy =
                |file| self.leases.values().any(|running| running.file == file && !running.chunks.is_empty());
            let near = self.pending.range(file..).take(LOOK_AHEAD);
            let near = near.filter(|(file, pending)| eligible(**file).first_in(pending).is_some());
            file = near.map(|(file, _)| *file).find(|file| !is_busy(*file)).unwrap_or(file);
            let chunks = eligible(file).within(self.pending.get(&file)?);
            chunks.iter().for_each(|run| self.take_pending(file, &run));
            return Some((file, chunks, LeaseKind::Fresh));
        }
        let most = (limits.bytes / self.chunk).max(1);
        let run = run.start..run.end.min(run.start.saturating_add(most));
        self.take_pending(file, &run);
        Some((file, set_of(run), LeaseKind::Fresh))
    }

    /// Removes these chunks from the pending ones.
    fn take_pending(&mut self, file: usize, chunks: &Range<u64>) {
        let Some(pending) = self.pending.get_mut(&file) else { return };
        let before = pending.len();
        pending.remove(chunks);
        self.pending_chunks -= before - pending.len();
        if pending.is_empty() {
            self.pending.remove(&file);
        }
    }

    /// Takes over the last chunks of the lease that would otherwise take longest.
    fn steal(
        &mut self,
        thief: Asker,
        eligible: &dyn Fn(usize) -> Eligible,
        paces: &Paces<'_>,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        let of_others = self.leases.iter().filter(|(_, lease)| lease.connection != thief.connection);
        let worth_it = of_others.filter_map(|(id, lease)| {
            let count = paces.loot(lease, thief)?;
            let last = lease.chunks.last()?;
            let run = last.start.max(last.end.saturating_sub(count))..last.end;
            // Takes chunks from the end, as far as the asking source may serve them: the other lease goes on up to the
            // first of them.
            let run = eligible(lease.file).suffix(&run);
            (!run.is_empty()).then(|| (paces.time_left(lease), *id, run))
        });
        let (_, victim, run) = worth_it.max_by_key(|(time_left, ..)| *time_left)?;
        let victim = self.leases.get_mut(&victim)?;
        victim.chunks.remove(&run);
        Some((victim.file, set_of(run), LeaseKind::Stolen))
    }

    /// Repeats the next chunks of the lease that has been silent longest, among those whose chunks this connection is
    /// expected to bring first. If two leases have the chunks already, one of them loses them.
    fn hedge(
        &mut self,
        asker: Asker,
        eligible: &dyn Fn(usize) -> Eligible,
        paces: &Paces<'_>,
    ) -> Option<(usize, RangeSet, LeaseKind)> {
        let late = self.leases.values().filter_map(|lease| {
            let first = lease.chunks.first()?;
            let grain = first.start..first.end.min(first.start.saturating_add(paces.copied()));
            let mut chunks = eligible(lease.file).prefix(&grain);
            if chunks.is_empty() {
                return None;
            }
            let mut owners = Vec::new();
            // The run ends before the first chunk that another set of leases has.
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
            let is_wanted = owners.iter().all(|(_, owner)| is_late(owner));
            let (since, oldest) = owners.iter().map(|(id, owner)| (owner.since, *id)).min()?;
            // Chunks that no second lease has come first.
            is_wanted.then_some((owners.len(), since, oldest, lease.file, chunks))
        });
        let (copies, _, oldest, file, chunks) = late.min_by_key(|(copies, since, ..)| (*copies, *since))?;
        if copies == 1 {
            return Some((file, set_of(chunks), LeaseKind::Hedge));
        }
        self.leases.get_mut(&oldest)?.chunks.remove(&chunks);
        Some((file, set_of(chunks), LeaseKind::Stolen))
    }

    /// Makes chunks pending that are neither done nor pending, except those in a running lease.
    fn make_pending(&mut self, file: usize, mut chunks: RangeSet) {
        for running in self.leases.values().filter(|running| running.file == file) {
            for run in running.chunks.iter() {
                chunks.remove(&run);
            }
        }
        if chunks.is_empty() {
            return;
        }
        self.version += 1;
        let pending = self.pending.entry(file).or_default();
        let before = pending.len();
        for run in chunks.iter() {
            pending.insert(run);
        }
        self.pending_chunks += pending.len() - before;
        for from in self.from.values_mut() {
            *from = file.min(*from);
        }
    }
}

#[cfg(test)]
impl Schedule {
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

impl Running {
    fn new(
        connection: ConnectionId,
        source: SourceId,
        file: usize,
        chunks: RangeSet,
        since: Instant,
        before: u64,
    ) -> Self {
        Self {
            connection,
            source,
            file,
            chunks,
            is_wished: false,
            since,
            before,
            heard: None,
            meter: Meter::default(),
            received: 0,
            in_hand: 0,
            slow_since: None,
        }
    }
}

/// The divisor by which the recent number of leases fades with each tick of a tenth of a second.
const FADES: u64 = 20;

/// How many pending files the schedule searches for one that no connection works on.
const LOOK_AHEAD: usize = 256;

#[cfg(test)]
mod tests;
