//! Decisions: which source is asked for which chunks and when, over how many connections, and the blame of each source.
//!
//! This module is pure: nothing here asks a source or reads a clock. The fetch reports what it saw and when, and
//! carries out the decisions; the simulations of the tests do the same in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use crate::{
    event::{Blame, SourceId, SourceStatus},
    guide::Guide,
    options::Watchdog,
    ranges::RangeSet,
};

mod availability;
mod governor;
mod pacing;
mod reports;
pub(crate) mod schedule;
#[cfg(test)]
mod simulation;
mod standing;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;
mod verdicts;

use availability::{Availability, Eligible};
use governor::Governor;
pub(crate) use governor::Means;
pub(crate) use pacing::MAX_WAIT;
use pacing::{Next, Pacing};
pub(crate) use schedule::{ConnectionId, Lease, LeaseId, WishId};
use schedule::{Line, Schedule, Take};
pub(crate) use standing::Moved;
use standing::{Rank, Standing};

/// All decisions of one fetch.
#[derive(Debug)]
pub(crate) struct Decisions {
    /// The sources of this fetch, and whether each is asked for model files, or for metadata alone.
    sources: BTreeMap<SourceId, Gives>,
    standing: Standing,
    pacing: Pacing,
    availability: Availability,
    governor: Governor,
    schedule: Schedule,
    /// The lengths of a chunk and of a piece in bytes. They mean nothing before the list is known.
    chunk: u64,
    piece: u64,
    /// The sources that had no work when they were last asked, each with the version at that time.
    resting: BTreeMap<SourceId, u64>,
    /// As of which versions of standing and pacing the schedule was last told to look again.
    looked: (u64, u64),
    /// Files without a layer, to be fetched as a whole.
    layerless: VecDeque<usize>,
    /// How many pieces have come, and are not judged yet.
    landing: usize,
    /// Sources that are not asked any more, and whose requests were broken off for that.
    ended: BTreeSet<SourceId>,
    /// Sources of the last resort that had something to give when it was last looked.
    of_use: BTreeSet<SourceId>,
    told: BTreeMap<SourceId, SourceStatus>,
    guide: Option<Arc<dyn Guide>>,
    /// Whether the guide directed the fetch when that was last looked at.
    was_directed: bool,
}

/// The things that a source is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    /// Files of the model, and metadata.
    Model,
    /// Metadata alone.
    Metadata,
}

/// The size of a first request in bytes, while the rate of the source is unknown.
const FIRST_REQUEST: u64 = 4 << 20;
const MAX_REQUEST: u64 = 64 << 20;

impl Decisions {
    pub(crate) fn new(watchdog: Watchdog, means: Means, seed: u64) -> Self {
        Self {
            sources: BTreeMap::new(),
            standing: Standing::default(),
            pacing: Pacing::new(watchdog, seed),
            availability: Availability::default(),
            governor: Governor::new(means),
            schedule: Schedule::new(1, 1),
            chunk: 0,
            piece: 1,
            resting: BTreeMap::new(),
            looked: (0, 0),
            layerless: VecDeque::new(),
            landing: 0,
            ended: BTreeSet::new(),
            of_use: BTreeSet::new(),
            told: BTreeMap::new(),
            guide: None,
            was_directed: false,
        }
    }

    /// Lets a guide name what each source is asked for, whenever it [directs](Guide::directs) the fetch.
    pub(crate) fn follow(&mut self, guide: Arc<dyn Guide>) {
        self.guide = Some(guide);
    }

    /// The guide, if there is one that directs the fetch now.
    fn directing(&self) -> Option<Arc<dyn Guide>> {
        self.guide.as_ref().filter(|guide| guide.directs()).map(Arc::clone)
    }

    /// Whether a guide directs the fetch now.
    pub(crate) fn is_directed(&self) -> bool {
        self.directing().is_some()
    }

    /// Adds a source. If it says which chunks it has (`has_inventory`), it is asked for none before it
    /// [gains](Self::gain) some.
    pub(crate) fn join(&mut self, source: SourceId, gives: Gives, has_inventory: bool) {
        self.sources.insert(source, gives);
        self.standing.join(source);
        self.pacing.join(source);
        if has_inventory {
            self.availability.declare(source);
        }
    }

    /// Removes a source. Its requests go to other sources, and it is not blamed.
    pub(crate) fn leave(&mut self, source: SourceId) {
        self.sources.remove(&source);
        self.standing.leave(source);
        self.pacing.leave(source);
        self.availability.leave(source);
        self.told.remove(&source);
        self.resting.remove(&source);
        self.ended.remove(&source);
        self.of_use.remove(&source);
    }

    /// The file list is known: chunks of `chunk` bytes, which are judged in pieces of `piece`.
    ///
    /// No more than `pieces` of them fit into memory.
    pub(crate) fn plan(&mut self, chunk: u64, piece: u64, pieces: usize) {
        self.governor.set_pieces(pieces);
        self.chunk = chunk;
        self.piece = piece;
        self.standing.set_chunk(chunk);
        self.schedule = Schedule::new(chunk, piece / chunk.max(1));
    }

    /// Sets the caller's limit in bytes per second for all sources together.
    pub(crate) fn set_rate(&mut self, rate: Option<u64>) {
        self.governor.set_rate(rate);
    }

    // Sources that are present and may be asked.

    pub(crate) fn sources(&self) -> impl Iterator<Item = SourceId> {
        self.sources.keys().copied()
    }

    /// The sources that are asked for files of the model.
    pub(crate) fn model_sources(&self) -> BTreeSet<SourceId> {
        let of_model = |(source, gives): (&SourceId, &Gives)| (*gives == Gives::Model).then_some(*source);
        self.sources.iter().filter_map(of_model).collect()
    }

    /// The sources that are asked for metadata, in order of preference: a place for metadata goes before all others.
    pub(crate) fn metadata_sources(&self) -> Vec<SourceId> {
        let mut sources: Vec<_> = self.sources().collect();
        sources.sort_by_key(|source| self.sources.get(source) != Some(&Gives::Metadata));
        sources
    }

    /// Whether the source is a place for metadata alone.
    pub(crate) fn is_of_metadata(&self, source: SourceId) -> bool {
        self.sources.get(&source) == Some(&Gives::Metadata)
    }

    /// Whether the source may be asked for metadata, now or later. A convicted source may be asked only if no other
    /// source is left.
    pub(crate) fn may_give_metadata(&self, source: SourceId) -> bool {
        !self.standing.is_out(source)
    }

    /// Whether the source lied, and is asked only if no other source is left.
    pub(crate) fn is_last_resort(&self, source: SourceId) -> bool {
        self.standing.rank(source) == Rank::LastResort
    }

    /// Whether the source may be asked now.
    pub(crate) fn is_usable(&self, source: SourceId) -> bool {
        self.standing.rank(source) != Rank::None && self.pacing.waits_until(source).is_none()
    }

    /// Whether the source may ever give any of the `missing` chunks of a file.
    pub(crate) fn may_serve(&self, source: SourceId, file: usize, missing: &RangeSet) -> bool {
        if self.standing.is_suspect(source) {
            return true;
        }
        if self.standing.rank(source) == Rank::None || !self.standing.may_have(source, file) {
            return false;
        }
        self.own(source, file).first_in(missing).is_some()
    }

    /// Whether the source may be asked for a file as a whole, now or later.
    pub(crate) fn may_serve_whole(&self, source: SourceId, file: usize) -> bool {
        !self.standing.is_out(source)
            && self.standing.may_have(source, file)
            && self.availability.of(source, file) == Eligible::All
    }

    /// Whether the source is to be asked for a file as a whole now.
    pub(crate) fn is_asked_for_whole(&self, source: SourceId, file: usize) -> bool {
        let may_now = |source: SourceId| self.is_usable(source) && self.may_serve_whole(source, file);
        let is_better = |other: &SourceId| !self.is_last_resort(*other) && may_now(*other);
        may_now(source) && (!self.is_last_resort(source) || !self.model_sources().iter().any(is_better))
    }

    /// Records that the source gave metadata that is not the signed one.
    pub(crate) fn refuse_metadata(&mut self, source: SourceId, bytes: u64) {
        self.standing.add_wrong_bytes(source, bytes);
        self.pacing.add_useless(source, bytes);
        self.break_off_if_out(source);
    }

    /// Records that the source gave a whole file that is not the signed one. The source is not asked for that file
    /// again.
    pub(crate) fn refuse_whole(&mut self, source: SourceId, file: usize, bytes: u64) {
        self.standing.add_wrong_bytes(source, bytes);
        self.pacing.add_useless(source, bytes);
        self.standing.lack(source, Some(file));
        self.break_off_if_out(source);
    }

    /// Whether no source can give any pending chunk of `file`, or all of it while it has no layer.
    pub(crate) fn is_hopeless(&self, file: usize, is_whole: bool) -> bool {
        let sources = self.model_sources();
        if is_whole {
            return !sources.iter().any(|source| self.may_serve_whole(*source, file));
        }
        let Some(missing) = self.schedule.pending_of(file) else { return false };
        let may_gain = |source: &SourceId| {
            self.availability.may_gain(*source)
                && !self.standing.is_out(*source)
                && self.standing.may_have(*source, file)
        };
        !sources.iter().any(may_gain) && !sources.iter().any(|source| self.may_serve(*source, file, missing))
    }

    /// The chunks of a file that the source has, and was not wrong about.
    fn own(&self, source: SourceId, file: usize) -> Eligible {
        let has = self.availability.of(source, file);
        match self.standing.wrong_in(source, file) {
            Some(wrong) => has.without(wrong),
            None => has,
        }
    }

    /// The chunks of a file for which the source may be asked now. A convicted source is asked only for chunks that no
    /// usable source of good standing has.
    fn eligible(&self, source: SourceId, file: usize) -> Eligible {
        if !self.is_usable(source) || !self.standing.may_have(source, file) {
            return Eligible::None;
        }
        let mut own = self.own(source, file);
        if self.standing.rank(source) == Rank::LastResort {
            for other in self.model_sources() {
                let is_good = self.standing.rank(other) == Rank::Good && self.is_usable(other);
                if is_good && self.standing.may_have(other, file) {
                    own = own.without_those_of(self.own(other, file));
                }
            }
        }
        own
    }

    // Chunks.

    /// Makes chunks of a file wanted.
    pub(crate) fn add(&mut self, file: usize, chunks: &RangeSet) {
        self.schedule.add(file, chunks);
        if let Some(guide) = &self.guide {
            chunks.iter().for_each(|run| guide.lacks(file, &run));
        }
    }

    /// Records that a source has these chunks of a file now.
    pub(crate) fn gain(&mut self, source: SourceId, file: usize, chunks: &RangeSet) -> bool {
        let is_new = self.availability.gained(source, file, chunks);
        if is_new {
            self.schedule.look_again();
        }
        is_new
    }

    /// Records that a source will gain no more chunks.
    pub(crate) fn finish_inventory(&mut self, source: SourceId) {
        self.availability.finish(source);
        self.schedule.look_again();
    }

    /// Work for a connection of a source; `None` if there is none for it now.
    pub(crate) fn take(&mut self, connection: ConnectionId, source: SourceId, now: Instant) -> Option<Lease> {
        // A source that waits has no work, and that says nothing of when it is asked again.
        if !self.is_usable(source) {
            return None;
        }
        let versions = (self.standing.version(), self.pacing.waits());
        if self.looked != versions {
            self.looked = versions;
            self.schedule.look_again();
        }
        if let Some(guide) = self.directing() {
            return self.take_guided(&*guide, connection, source, now);
        }
        let rate = self.pacing.flow(source);
        let usual = if rate == 0 { FIRST_REQUEST } else { rate.clamp(self.piece, MAX_REQUEST) };
        // Towards the end requests become small, so that all connections end at about the same time and take little
        // over from each other.
        let connections = u64::try_from(self.pacing.all_running()).unwrap_or(u64::MAX).max(1);
        let share = self.schedule.pending().saturating_mul(self.chunk) / connections.saturating_mul(2);
        let limits = Take {
            bytes: usual.min(share.max(self.piece)),
            whole_files: !self.pacing.knows_ranges(source),
            only_stalled: self.governor.is_scarce(self.pacing.line()),
        };
        let mut schedule = std::mem::take(&mut self.schedule);
        let line = Line { rate_of: &|source| self.pacing.flow(source), capacity: self.pacing.capacity() };
        let lease =
            schedule.take(connection, source, limits, &|file| self.eligible(source, file), &line, now);
        self.schedule = schedule;
        match lease {
            Some(_) => _ = self.resting.remove(&source),
            None => _ = self.resting.insert(source, self.version()),
        }
        lease
    }

    /// Asks for chunks of a file before all others, until the wish ends. A guide that directs the fetch does not look at wishes.
    pub(crate) fn wish(&mut self, file: usize, chunks: Range<u64>) -> WishId {
        self.schedule.wish(file, chunks)
    }

    /// Returns true if a connection that is free may serve a wish.
    pub(crate) fn may_serve_wish(&self) -> bool {
        self.schedule.may_serve_wish()
    }

    /// Returns true if somebody waits for a chunk that is left of a lease.
    pub(crate) fn is_awaited(&self, lease: LeaseId) -> bool {
        self.schedule.is_awaited(lease)
    }

    /// Returns true if somebody waits for chunks of a file.
    pub(crate) fn is_file_awaited(&self, file: usize) -> bool {
        self.schedule.is_file_awaited(file)
    }

    pub(crate) fn end_wish(&mut self, wish: WishId) {
        self.schedule.end_wish(wish);
    }

    /// The run that the guide names for a source, as far as it is missing.
    fn take_guided(
        &mut self,
        guide: &dyn Guide,
        connection: ConnectionId,
        source: SourceId,
        now: Instant,
    ) -> Option<Lease> {
        let lease = guide.next(source, now).and_then(|run| {
            let mut schedule = std::mem::take(&mut self.schedule);
            let eligible = self.eligible(source, run.file);
            let lease = schedule.take_named(connection, source, &run, &eligible, now);
            self.schedule = schedule;
            if lease.is_none() {
                guide.not_asked(source, now);
            }
            lease
        });
        match lease {
            Some(_) => _ = self.resting.remove(&source),
            None => _ = self.resting.insert(source, self.version()),
        }
        lease
    }

    /// A counter that changes whenever there may be new work.
    pub(crate) fn version(&self) -> u64 {
        self.schedule.version().wrapping_add(self.standing.version())
    }

    pub(crate) fn extent(&self, lease: LeaseId) -> Range<u64> {
        self.schedule.extent(lease)
    }

    /// Records that bytes came over the connection of a lease.
    pub(crate) fn lease_received(&mut self, lease: LeaseId, bytes: u64, now: Instant) {
        self.schedule.received(lease, bytes, now);
    }

    /// Records that chunks of a lease were accepted. Returns whether another lease had some of them.
    pub(crate) fn done(&mut self, lease: LeaseId, file: usize, chunks: &Range<u64>, now: Instant) -> bool {
        self.schedule.done(lease, file, chunks, now)
    }

    /// Records that chunks of a lease, which have `bytes` bytes, were not the signed ones. The source is not asked for them
    /// again; others are.
    pub(crate) fn refuse(
        &mut self,
        lease: LeaseId,
        source: SourceId,
        file: usize,
        chunks: Range<u64>,
        bytes: u64,
    ) {
        self.standing.add_wrong(source, file, chunks.clone(), bytes);
        if let Some(guide) = &self.guide {
            guide.gave_wrong(source);
        }
        self.pacing.add_useless(source, bytes);
        self.schedule.refuse(lease, &chunks);
        self.break_off_if_out(source);
    }

    /// A source that is not asked any more gives nothing more either.
    fn break_off_if_out(&mut self, source: SourceId) {
        if self.standing.is_out(source) && self.ended.insert(source) {
            self.pacing.break_off(source);
        }
    }

    // Files without a layer.

    /// Makes a file wanted as a whole.
    pub(crate) fn add_layerless(&mut self, file: usize) {
        self.layerless.push_back(file);
    }

    /// A file for this source to give as a whole, if there is one.
    pub(crate) fn take_layerless(&mut self, source: SourceId) -> Option<usize> {
        let at = self.layerless.iter().position(|file| self.is_asked_for_whole(source, *file))?;
        self.layerless.remove(at)
    }

    pub(crate) fn layerless(&self) -> &VecDeque<usize> {
        &self.layerless
    }

    /// Whether pieces have come that are not judged yet.
    pub(crate) fn is_judging_pieces(&self) -> bool {
        self.landing > 0
    }

    pub(crate) fn give_back(&mut self, lease: LeaseId) {
        let ended = self.schedule.give_back(lease);
        // Also if the guide does not direct any more: it has named the run.
        if let (Some(guide), Some((source, is_done))) = (&self.guide, ended) {
            guide.ended(source, is_done, Instant::now());
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.schedule.is_finished()
    }

    pub(crate) fn pending_files(&self) -> impl Iterator<Item = usize> {
        self.schedule.pending_files()
    }

    pub(crate) fn pending_of(&self, file: usize) -> Option<&RangeSet> {
        self.schedule.pending_of(file)
    }

    /// The request that has been waited for longest: its source, file and chunks.
    pub(crate) fn oldest(&self) -> Option<(SourceId, usize, Range<u64>)> {
        self.schedule.oldest()
    }

    // Connections.

    /// How many connections each source is to have. Sources of good standing come first, then those at work, then the
    /// fast ones.
    pub(crate) fn crew(&self) -> BTreeMap<SourceId, usize> {
        let version = self.version();
        // A source that had nothing to do is asked again when something has changed, or with the next tick.
        let rests = |source: &SourceId| self.resting.get(source) == Some(&version);
        let mut order: Vec<SourceId> = self.model_sources().into_iter().collect();
        order.retain(|source| self.is_usable(*source) && !rests(source));
        order.retain(|source| !self.is_last_resort(*source) || self.of_use.contains(source));
        order.sort_by_key(|source| {
            let works = self.pacing.running(*source) > 0;
            let rate = self.pacing.rate(*source);
            (self.standing.rank(*source), !works, std::cmp::Reverse(rate), *source)
        });
        if let Some(guide) = self.directing() {
            // One that has a connection keeps it.
            let may = |source: &SourceId| self.pacing.running(*source) > 0 || guide.may_ask(*source);
            return order.into_iter().filter(may).map(|source| (source, 1)).collect();
        }
        let mut left = self.governor.level();
        let mut crew = BTreeMap::new();
        for source in &order {
            let first = left.min(1);
            left -= first;
            crew.insert(*source, first);
        }
        for source in order {
            let connections = crew.entry(source).or_insert(0);
            let more = left.min(self.pacing.target(source).saturating_sub(*connections));
            if *connections > 0 {
                *connections += more;
                left -= more;
            }
        }
        crew
    }

    /// Whether a source of the last resort can give something that no source of good standing can give now.
    fn has_something(&self, source: SourceId) -> bool {
        let has_all = |other: &SourceId| {
            self.standing.rank(*other) == Rank::Good
                && self.is_usable(*other)
                && !self.availability.has_inventory(*other)
                && self.standing.has_everything(*other)
        };
        if !self.is_usable(source) || self.model_sources().iter().any(has_all) {
            return false;
        }
        let is_pending = |file: usize| {
            let pending = self.schedule.pending_of(file);
            pending.is_some_and(|pending| self.eligible(source, file).first_in(pending).is_some())
        };
        self.schedule.pending_files().any(is_pending)
            || self.layerless.iter().any(|file| self.is_asked_for_whole(source, *file))
            // Leases of sources that have stalled are helped, too.
            || self.model_sources().iter().all(|other| self.is_last_resort(*other) || !self.is_usable(*other))
    }

    /// Whether a connection of the source is to end after its current request, because the source has too many.
    pub(crate) fn is_crowded(&self, source: SourceId) -> bool {
        let running = self.pacing.running(source);
        if self.directing().is_some() {
            return !self.is_usable(source) || running > 1;
        }
        !self.is_usable(source)
            || running > self.pacing.target(source)
            || (self.pacing.all_running() > self.governor.level() && running > 1)
    }

    /// How many requests for metadata may be under way at once.
    pub(crate) fn most_requests(&self) -> usize {
        self.governor.requests()
    }

    pub(crate) fn connection_begins(&mut self, source: SourceId) {
        self.pacing.connection_begins(source);
    }

    pub(crate) fn connection_ends(&mut self, source: SourceId) {
        self.pacing.connection_ends(source);
    }

    /// A counter that changes whenever the requests of any source have to end.
    pub(crate) fn broken_off(&self) -> u64 {
        self.pacing.broken_off()
    }

    /// A counter that changes whenever the requests of this source have to end.
    pub(crate) fn generation(&self, source: SourceId) -> u64 {
        self.pacing.generation(source)
    }

    pub(crate) fn ask_begins(&mut self, source: SourceId) {
        self.pacing.ask_begins(source);
    }

    pub(crate) fn ask_ends(&mut self, source: SourceId) {
        self.pacing.ask_ends(source);
    }

    pub(crate) fn pay(&mut self, source: SourceId, begins: bool) {
        self.pacing.pay(source, begins);
    }

    pub(crate) fn hear(&mut self, source: SourceId) {
        self.pacing.hear(source);
    }

    pub(crate) fn add_received(&mut self, source: SourceId, bytes: u64) {
        self.pacing.add_received(source, bytes);
    }

    /// Records bytes that came before the wanted ones. They do not count against a source that cannot begin elsewhere.
    pub(crate) fn add_passed(&mut self, source: SourceId, bytes: u64) {
        if self.pacing.knows_ranges(source) {
            self.pacing.add_useless(source, bytes);
        }
    }

    pub(crate) fn has_no_ranges(&mut self, source: SourceId) {
        self.pacing.has_no_ranges(source);
    }

    pub(crate) fn is_slow(&self, source: SourceId) -> bool {
        self.pacing.is_slow(source)
    }

    pub(crate) fn set_slow(&mut self, source: SourceId, slow: bool) {
        self.pacing.set_slow(source, slow);
    }

    pub(crate) fn piece_came(&mut self, source: SourceId) {
        self.landing += 1;
        self.pacing.piece_came(source);
    }

    /// Records that a piece was judged: `good` bytes of it are the signed ones, of which `new` were not there before.
    pub(crate) fn piece_landed(&mut self, source: SourceId, good: u64, new: u64) {
        self.landing = self.landing.saturating_sub(1);
        self.standing.add_verified(source, new);
        if let Some(guide) = &self.guide {
            guide.gave(source, new);
        }
        self.pacing.piece_landed(source, good);
    }

    pub(crate) fn is_landing(&self, source: SourceId) -> bool {
        self.pacing.is_landing(source)
    }

    // Time.

    /// Advances the time to `now`.
    pub(crate) fn tick(&mut self, now: Instant) {
        let standing = &self.standing;
        let stalled = self.pacing.tick(now, |source| standing.rank(source) != Rank::None);
        for stalled in stalled {
            match stalled.next {
                Next::GiveUp => self.set_aside(stalled.source, Blame::Stalled, stalled.what),
                _ => self.standing.set_blame(stalled.source, Blame::Stalled, stalled.what),
            }
            self.schedule.look_again();
        }
        let is_directed = self.is_directed();
        if is_directed && !self.was_directed {
            self.schedule.shorten();
        }
        self.was_directed = is_directed;
        self.schedule.tick(now, self.pacing.capacity());
        self.resting.clear();
        let last: Vec<_> = self.sources().filter(|source| self.is_last_resort(*source)).collect();
        self.of_use = last.into_iter().filter(|source| self.has_something(*source)).collect();
        self.give_up_on_the_unheard();
        self.governor.tick(now, self.pacing.line(), self.pacing.all_running());
    }

    /// Gives up the sources that never answered, if no other source answers: the fetch is to end within seconds. Beside
    /// a source that answers, they are waited for.
    fn give_up_on_the_unheard(&mut self) {
        if self.sources().any(|source| self.pacing.has_answered(source) && !self.standing.is_out(source)) {
            return;
        }
        for source in self.pacing.unheard() {
            if let Some((blame, what)) = self.standing.blame(source).filter(|_| !self.standing.is_out(source))
            {
                self.set_aside(source, blame, what);
            }
        }
    }
}
