//! What all parts of a fetch share: the sources, what is known of them, the figures, and what is being waited for.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc::UnboundedSender};

use crate::{
    decide::roster::Roster,
    event::{Event, FetchProgress, Here, SourceIndex, Waiting},
    source::Source,
    work::budget::Limit,
};

/// See above. One for each fetch.
#[derive(Debug)]
pub(crate) struct Board {
    /// Those of bytes; behind them the place for metadata, if there is one.
    pub(crate) sources: Vec<Arc<dyn Source>>,
    /// How many of them are asked for bytes.
    pub(crate) byte_sources: usize,
    roster: Mutex<Roster>,
    pub(crate) limit: Limit,
    /// What the watchdog asks of a source per second.
    pub(crate) least: u64,
    received: AtomicU64,
    verified: AtomicU64,
    durable: AtomicU64,
    wanted: AtomicU64,
    last_good: Mutex<Instant>,
    asking: Mutex<Vec<Asking>>,
    events: UnboundedSender<Event>,
    /// Told when there may be something to do.
    pub(crate) changed: Notify,
    /// Told when a lease has become shorter by what another connection did.
    pub(crate) shortened: Notify,
}

/// The work under way, and its file: a request to a source, or work of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asking {
    what: String,
    of: Party,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Source(SourceIndex),
    Here(Here),
}

impl Board {
    pub(crate) fn new(
        sources: Vec<Arc<dyn Source>>,
        byte_sources: usize,
        roster: Roster,
        limit: Option<u64>,
        events: UnboundedSender<Event>,
    ) -> Self {
        let least = roster.least(limit);
        Self {
            sources,
            byte_sources,
            roster: Mutex::new(roster),
            limit: Limit::new(limit),
            least,
            received: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            last_good: Mutex::new(Instant::now()),
            asking: Mutex::default(),
            events,
            changed: Notify::new(),
            shortened: Notify::new(),
        }
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.roster)
    }

    pub(crate) fn say(&self, event: Event) {
        // Nobody listens only when the fetch is over.
        let _ = self.events.send(event);
    }

    /// Bytes came. Waits if they came too fast; that is not the source's doing.
    pub(crate) async fn received(&self, bytes: usize, from: SourceIndex) {
        struct Paying<'a>(&'a Board, SourceIndex);
        impl Drop for Paying<'_> {
            fn drop(&mut self) {
                self.0.roster().pays(self.1, false);
            }
        }
        self.received.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), SeqCst);
        self.roster().heard(from);
        if self.limit.is_set() {
            self.roster().pays(from, true);
            let _paying = Paying(self, from);
            self.limit.pay(bytes).await;
        }
    }

    pub(crate) fn add_verified(&self, bytes: u64) {
        self.verified.fetch_add(bytes, SeqCst);
        self.did_good();
    }

    pub(crate) fn add_durable(&self, bytes: u64) {
        self.durable.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn want(&self, bytes: u64) {
        self.wanted.store(bytes, SeqCst);
    }

    /// Something verified has come, if only a list: nobody waits in vain.
    pub(crate) fn did_good(&self) {
        *lock(&self.last_good) = Instant::now();
    }

    pub(crate) fn progress(&self) -> FetchProgress {
        // In this order no figure is ahead of the one that it comes from.
        let durable = self.durable.load(SeqCst);
        let verified = self.verified.load(SeqCst);
        let received = self.received.load(SeqCst);
        FetchProgress { received, verified, durable, wanted: self.wanted.load(SeqCst) }
    }

    /// Says that a source is being asked for metadata or a whole file, as long as what it gives lives.
    pub(crate) fn asks(&self, what: &str, from: SourceIndex) -> impl Drop + '_ {
        self.under_way(Asking { what: what.to_owned(), of: Party::Source(from) })
    }

    /// Says what this machine does with a file, as long as what it gives lives.
    pub(crate) fn works(&self, what: &str, here: Here) -> impl Drop + '_ {
        self.under_way(Asking { what: what.to_owned(), of: Party::Here(here) })
    }

    fn under_way(&self, one: Asking) -> impl Drop + '_ {
        struct Asked<'a>(&'a Board, Asking);
        impl Drop for Asked<'_> {
            fn drop(&mut self) {
                let mut asking = lock(&self.0.asking);
                if let Some(at) = asking.iter().position(|one| *one == self.1) {
                    asking.remove(at);
                }
            }
        }
        lock(&self.asking).push(one.clone());
        Asked(self, one)
    }

    /// What it waits for, if nothing was verified for a while and it is known. `chunks` is what was asked for first and did
    /// not come, `next` what will be asked for next.
    pub(crate) fn waiting(
        &self,
        chunks: Option<(String, Range<u64>, SourceIndex)>,
        next: impl FnOnce() -> Option<String>,
        now: Instant,
    ) -> Option<Waiting> {
        let since = now.saturating_duration_since(*lock(&self.last_good));
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
            // What has come and is not judged yet is not the source's doing.
            let has_come = self.roster().is_landing(from);
            let of = if has_come { Party::Here(Here::Writing) } else { Party::Source(from) };
            return Some(Waiting { chunks: Some(chunks), ..waiting(file, of) });
        }
        let asked = lock(&self.asking).first().cloned();
        if let Some(Asking { what, of }) = asked {
            return Some(waiting(what, of));
        }
        let (from, time) = self.roster().first_again(now)?;
        Some(Waiting { again_in: Some(time), ..waiting(next()?, Party::Source(from)) })
    }
}

/// For how long nothing need be said.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A panic elsewhere does not make what is locked wrong: everything here is whole between two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
