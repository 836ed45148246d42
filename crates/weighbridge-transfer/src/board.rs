//! The state that all parts of a fetch share: the sources, the decisions about them, the figures, and the work under
//! way.

use std::{
    ops::{Deref, DerefMut, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc::UnboundedSender};
use weighbridge_bandwidth::{Class, Share};

use crate::{
    decide::{Decisions, Gives, LeaseId},
    event::{Event, Here, SourceId, Waiting},
    figures::Figures,
    source::{Source, Sources},
    tasks::Spawner,
};

/// The shared state of one fetch.
#[derive(Debug)]
pub(crate) struct Board {
    sources: Sources,
    /// The place for metadata, if the caller named one.
    metadata: Option<(SourceId, Arc<dyn Source>)>,
    decisions: Mutex<Decisions>,
    pub(crate) receive: Share,
    /// The share of what somebody waits for.
    awaited: Share,
    /// The time after which a request is ended that a class above keeps waiting.
    held_up_after: Duration,
    pub(crate) figures: Arc<Figures>,
    under_way: Mutex<Vec<UnderWay>>,
    events: UnboundedSender<Event>,
    pub(crate) tasks: Spawner,
    /// Notified when there may be new work, or when the fetch may be over.
    pub(crate) changed: Notify,
    /// Notified when another connection's progress has shortened a lease.
    pub(crate) shortened: Notify,
    /// Notified when the requests of a source have to end.
    broken_off: Notify,
}

/// Work under way and its file: a request to a source, or local work of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct UnderWay {
    what: String,
    of: Party,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Source(SourceId),
    Here(Here),
}

impl Board {
    pub(crate) fn new(
        sources: Sources,
        metadata: Option<(SourceId, Arc<dyn Source>)>,
        decisions: Decisions,
        receive: Share,
        held_up_after: Duration,
        events: UnboundedSender<Event>,
        tasks: Spawner,
    ) -> Self {
        let board = Self {
            sources,
            metadata,
            decisions: Mutex::new(decisions),
            awaited: receive.in_class(Class::Awaited),
            receive,
            held_up_after,
            figures: Arc::default(),
            under_way: Mutex::default(),
            events,
            tasks,
            changed: Notify::new(),
            shortened: Notify::new(),
            broken_off: Notify::new(),
        };
        let _ = board.meet_sources();
        board
    }

    /// Locks the decisions of the fetch. When the guard is dropped, it wakes the tasks that wait for a decision.
    pub(crate) fn decide(&self) -> Deciding<'_> {
        let decisions = lock(&self.decisions);
        let before = (decisions.version(), decisions.broken_off());
        Deciding { decisions, board: self, before }
    }

    /// Adds the sources that have joined, and drops those that have left. Returns those that joined.
    pub(crate) fn meet_sources(&self) -> Vec<(SourceId, Arc<dyn Source>)> {
        let there = self.sources.all();
        let mut decisions = self.decide();
        let known: Vec<_> = decisions.sources().collect();
        let is_metadata = |id: SourceId| self.metadata.as_ref().is_some_and(|(metadata, _)| *metadata == id);
        for gone in known.iter().filter(|id| !there.contains_key(id) && !is_metadata(**id)) {
            decisions.leave(*gone);
        }
        let mut joined: Vec<_> = there.into_iter().filter(|(id, _)| !known.contains(id)).collect();
        for (id, source) in &joined {
            decisions.join(*id, Gives::Model, source.inventory().is_some());
        }
        if let Some((id, source)) = self.metadata.as_ref().filter(|(id, _)| !known.contains(id)) {
            decisions.join(*id, Gives::Metadata, false);
            joined.push((*id, Arc::clone(source)));
        }
        joined
    }

    pub(crate) fn source(&self, id: SourceId) -> Option<Arc<dyn Source>> {
        match &self.metadata {
            Some((metadata, source)) if *metadata == id => Some(Arc::clone(source)),
            _ => self.sources.get(id),
        }
    }

    /// All sources that are present.
    pub(crate) fn all_sources(&self) -> Vec<Arc<dyn Source>> {
        let metadata = self.metadata.iter().map(|(_, source)| Arc::clone(source));
        self.sources.all().into_values().chain(metadata).collect()
    }

    /// Returns when the requests of a source that were begun in this generation have to end.
    pub(crate) async fn broken_off(&self, source: SourceId, generation: u64) {
        loop {
            let notified = self.broken_off.notified();
            if lock(&self.decisions).generation(source) != generation {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn say(&self, event: Event) {
        // The receiver is gone only when the fetch is over.
        let _ = self.events.send(event);
    }

    pub(crate) fn listener(&self) -> UnboundedSender<Event> {
        self.events.clone()
    }

    /// Counts bytes of the head, the lists or layers that came from a source. Waits until it is their turn; that wait does not count
    /// against the source.
    pub(crate) async fn received_metadata(&self, bytes: usize, from: SourceId) {
        // Where nothing is limited they keep nothing off: the chunks of this fetch are next.
        if !self.count(bytes, from, |_| false).passes() {
            let is_awaited = |_: &Decisions| self.receive.class() == Class::Rest;
            let _paying = self.pays(from);
            let _ = self.turn(bytes, is_awaited, || false).await;
        }
    }

    /// Does the same for bytes of a file that comes as a whole.
    pub(crate) async fn received_of_file(&self, bytes: usize, from: SourceId, file: usize) {
        let is_awaited = |decisions: &Decisions| decisions.is_file_awaited(file);
        if !self.count(bytes, from, is_awaited).passes() {
            let _paying = self.pays(from);
            let _ = self.turn(bytes, is_awaited, || false).await;
        }
    }

    /// Does the same for bytes of a lease, but for no longer than the source can be expected to wait while bytes of a class above go
    /// first, nor while somebody waits for others. Returns whether their turn came.
    pub(crate) async fn received_of_lease(&self, bytes: usize, from: SourceId, lease: LeaseId) -> bool {
        let is_awaited = |decisions: &Decisions| decisions.is_awaited(lease);
        if self.count(bytes, from, is_awaited).passes() {
            return true;
        }
        let _paying = self.pays(from);
        let held_up = async {
            loop {
                tokio::time::sleep(self.held_up_after).await;
                if !self.decide().is_awaited(lease) && self.receive.is_outranked() {
                    return;
                }
            }
        };
        let yields = || self.receive.is_outranked() && self.decide().may_serve_wish();
        tokio::select! {
            came = self.turn(bytes, is_awaited, yields) => came,
            () = held_up => false,
        }
    }

    /// Waits while bytes of a class above go first: what is asked for is to come soon. Whoever may serve a wish does not wait.
    pub(crate) async fn may_ask(&self) {
        while self.receive.is_outranked() {
            let mut wished = std::pin::pin!(self.shortened.notified());
            wished.as_mut().enable();
            if self.decide().may_serve_wish() {
                return;
            }
            tokio::select! {
                _ = self.receive.take(1) => return,
                () = wished => {}
            }
        }
    }

    /// Counts bytes that came, and returns the share that they wait for.
    fn count(&self, bytes: usize, from: SourceId, is_awaited: impl Fn(&Decisions) -> bool) -> &Share {
        let len = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.figures.add_received(len);
        let mut decisions = self.decide();
        decisions.add_received(from, len);
        if is_awaited(&decisions) { &self.awaited } else { &self.receive }
    }

    /// Waits for the turn of bytes, whose class changes when somebody begins to wait for them. Returns `false` if they are not awaited
    /// and yield to others.
    async fn turn(
        &self,
        bytes: usize,
        is_awaited: impl Fn(&Decisions) -> bool,
        yields: impl Fn() -> bool,
    ) -> bool {
        let mut left = bytes;
        while left > 0 {
            // A wish that comes from here on is heard.
            let mut wished = std::pin::pin!(self.shortened.notified());
            wished.as_mut().enable();
            let is_awaited = is_awaited(&self.decide());
            if !is_awaited && yields() {
                return false;
            }
            let share = if is_awaited { &self.awaited } else { &self.receive };
            tokio::select! {
                taken = share.take(left) => left = left.saturating_sub(taken),
                () = wished => {}
            }
        }
        true
    }

    /// Records that what came of a source waits for its turn, as long as the returned guard lives.
    fn pays(&self, from: SourceId) -> impl Drop + use<'_> {
        struct Paying<'a>(&'a Board, SourceId);
        impl Drop for Paying<'_> {
            fn drop(&mut self) {
                self.0.decide().pay(self.1, false);
            }
        }
        self.decide().pay(from, true);
        Paying(self, from)
    }

    /// Records that a source is being asked for metadata or a whole file, as long as the returned guard lives.
    pub(crate) fn asks(&self, what: &str, from: SourceId) -> impl Drop + use<'_> {
        self.under_way(UnderWay { what: what.to_owned(), of: Party::Source(from) })
    }

    /// Records what this machine does with a file, as long as the returned guard lives.
    pub(crate) fn works(&self, what: &str, here: Here) -> impl Drop + use<'_> {
        self.under_way(UnderWay { what: what.to_owned(), of: Party::Here(here) })
    }

    fn under_way(&self, one: UnderWay) -> impl Drop + use<'_> {
        struct Ends<'a>(&'a Board, UnderWay);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                let mut under_way = lock(&self.0.under_way);
                if let Some(at) = under_way.iter().position(|one| *one == self.1) {
                    under_way.remove(at);
                }
            }
        }
        lock(&self.under_way).push(one.clone());
        Ends(self, one)
    }

    /// The work that the fetch waits for, if nothing was verified for a while and that work is known. `chunks` were
    /// asked for first and did not come; `next` gives the file that will be asked for next.
    pub(crate) fn waiting(
        &self,
        chunks: Option<(String, Range<u64>, SourceId)>,
        next: impl FnOnce() -> Option<String>,
        now: Instant,
    ) -> Option<Waiting> {
        let since = now.saturating_duration_since(self.figures.last_good());
        if since < PATIENCE {
            return None;
        }
        let waiting = |for_what, of| {
            let (from, here) = match of {
                Party::Source(source) => (Some(source), None),
                Party::Here(here) => (None, Some(here)),
            };
            Waiting { for_what, chunks: None, from, again_in: None, here, since }
        };
        if let Some((file, chunks, from)) = chunks {
            // A source is not blamed for bytes that have come and are not judged yet.
            let has_come = self.decide().is_landing(from);
            let of = if has_come { Party::Here(Here::Writing) } else { Party::Source(from) };
            return Some(Waiting { chunks: Some(chunks), ..waiting(file, of) });
        }
        let first = lock(&self.under_way).first().cloned();
        if let Some(UnderWay { what, of }) = first {
            return Some(waiting(what, of));
        }
        let (from, time) = self.decide().first_again(now)?;
        Some(Waiting { again_in: Some(time), ..waiting(next()?, Party::Source(from)) })
    }
}

/// A guard of the decisions: no other task changes them while it lives.
pub(crate) struct Deciding<'b> {
    decisions: MutexGuard<'b, Decisions>,
    board: &'b Board,
    before: (u64, u64),
}

impl Deref for Deciding<'_> {
    type Target = Decisions;

    fn deref(&self) -> &Decisions {
        &self.decisions
    }
}

impl DerefMut for Deciding<'_> {
    fn deref_mut(&mut self) -> &mut Decisions {
        &mut self.decisions
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        let (version, broken_off) = self.before;
        if self.decisions.broken_off() != broken_off {
            self.board.broken_off.notify_waiters();
        }
        if self.decisions.version() != version {
            self.board.changed.notify_waiters();
        }
    }
}

/// How long nothing may be verified before the fetch reports that it waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Locks a mutex, and ignores poisoning: the data is consistent between any two statements, so a panic elsewhere does
/// not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
