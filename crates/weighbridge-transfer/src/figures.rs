//! The figures of a fetch. None of them ever falls.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use crate::event::FetchProgress;

/// The progress of the fetch, and when something good last came.
#[derive(Debug)]
pub(crate) struct Figures {
    received: AtomicU64,
    verified: AtomicU64,
    nearby: AtomicU64,
    durable: AtomicU64,
    wanted: AtomicU64,
    last_good: Mutex<Instant>,
}

impl Default for Figures {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        let last_good = Mutex::new(Instant::now());
        Self {
            received: none(),
            verified: none(),
            nearby: none(),
            durable: none(),
            wanted: none(),
            last_good,
        }
    }
}

impl Figures {
    pub(crate) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn add_verified(&self, bytes: u64) {
        self.verified.fetch_add(bytes, SeqCst);
        self.note_good();
    }

    pub(crate) fn add_nearby(&self, bytes: u64) {
        self.nearby.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn add_durable(&self, bytes: u64) {
        self.durable.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn set_wanted(&self, bytes: u64) {
        self.wanted.store(bytes, SeqCst);
    }

    /// Records that something verified has come, even if only a list: the fetch makes progress.
    pub(crate) fn note_good(&self) {
        *self.last_good.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(crate) fn last_good(&self) -> Instant {
        *self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn nearby(&self) -> u64 {
        self.nearby.load(SeqCst)
    }

    pub(crate) fn progress(&self) -> FetchProgress {
        // In this order, no figure is ahead of the one that it derives from.
        let durable = self.durable.load(SeqCst);
        let verified = self.verified.load(SeqCst);
        let received = self.received.load(SeqCst);
        FetchProgress { received, verified, durable, wanted: self.wanted.load(SeqCst) }
    }
}
