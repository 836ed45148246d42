//! The admission of requests from other members.

use std::{collections::BTreeMap, ops::Bound, time::Duration};

use super::rules::divide;
use crate::MemberKey;

/// The limits of [`Uploads`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRules {
    /// The most requests that are served at once.
    pub at_once: usize,
    /// The most requests of one peer that wait.
    pub queued_per_peer: usize,
    /// The least time after which a refused peer may ask again.
    pub least_retry: Duration,
    /// The most time after which a refused peer may ask again.
    pub most_retry: Duration,
}

impl Default for UploadRules {
    fn default() -> Self {
        Self {
            at_once: 8,
            queued_per_peer: 2,
            least_retry: Duration::from_millis(50),
            most_retry: Duration::from_secs(5),
        }
    }
}

/// The answer to a request of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is served now, and counts until [`Uploads::done`].
    Serve,
    /// It waits until [`Uploads::serve_next`] names its peer.
    Wait,
    /// It is refused. The peer may ask again after this time.
    Busy(Duration),
}

/// The requests of peers that are served or wait.
///
/// # Guarantee
/// At most [`at_once`](UploadRules::at_once) requests are served, and [`queued_per_peer`](UploadRules::queued_per_peer)
/// of each peer wait. Peers that wait are served in turn, by their keys, so a peer with many requests does not delay
/// the next of another by more than one request for each peer that waits.
///
/// # Non-guarantee
/// Requests are counted, not bytes. The caller limits the number of peers.
///
/// # Cost
/// Each method: logarithmic in the number of peers.
#[derive(Debug, Default)]
pub struct Uploads {
    rules: UploadRules,
    served: BTreeMap<MemberKey, usize>,
    served_at_once: usize,
    /// The number of requests of each peer that wait; no peer has none.
    waiting: BTreeMap<MemberKey, usize>,
    /// The peer whose turn was last.
    last: Option<MemberKey>,
    /// The recent time of a request.
    time: Duration,
}

impl Uploads {
    /// No requests yet.
    #[must_use]
    pub fn new(rules: UploadRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Admits a request of this peer, or refuses it.
    pub fn ask(&mut self, peer: MemberKey) -> Admission {
        if self.waiting.is_empty() && self.served_at_once < self.rules.at_once {
            self.serve(peer);
            return Admission::Serve;
        }
        let waiting = self.waiting.get(&peer).copied().unwrap_or(0);
        if waiting < self.rules.queued_per_peer {
            self.waiting.insert(peer, waiting.saturating_add(1));
            return Admission::Wait;
        }
        let rounds = self.waiting.len().div_ceil(self.rules.at_once.max(1)).saturating_add(1);
        let time = self.time.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        Admission::Busy(time.min(self.rules.most_retry).max(self.rules.least_retry))
    }

    /// Records that a request of this peer has been served, or has failed, after this time.
    /// [`serve_next`](Self::serve_next) may have another now.
    pub fn done(&mut self, peer: &MemberKey, took: Duration) {
        let Some(served) = self.served.get_mut(peer) else { return };
        *served = served.saturating_sub(1);
        if *served == 0 {
            self.served.remove(peer);
        }
        self.served_at_once = self.served_at_once.saturating_sub(1);
        self.time = divide(self.time.saturating_mul(3).saturating_add(took), 4);
    }

    /// Drops all requests of a peer that has left. [`serve_next`](Self::serve_next) may have others now.
    pub fn left(&mut self, peer: &MemberKey) {
        self.waiting.remove(peer);
        let served = self.served.remove(peer).unwrap_or(0);
        self.served_at_once = self.served_at_once.saturating_sub(served);
    }

    /// The peer whose oldest waiting request is to be served now, which counts until [`done`](Self::done). `None` if no
    /// request waits, or all places are taken. The caller asks until there is none.
    pub fn serve_next(&mut self) -> Option<MemberKey> {
        if self.served_at_once >= self.rules.at_once {
            return None;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut peers = self.waiting.range_mut((after, Bound::Unbounded));
        let (peer, waiting) = match peers.next() {
            Some(first) => first,
            None => self.waiting.iter_mut().next()?,
        };
        let peer = *peer;
        *waiting = waiting.saturating_sub(1);
        if *waiting == 0 {
            self.waiting.remove(&peer);
        }
        self.last = Some(peer);
        self.serve(peer);
        Some(peer)
    }

    /// The number of requests that are served now.
    #[must_use]
    pub fn served_at_once(&self) -> usize {
        self.served_at_once
    }

    fn serve(&mut self, peer: MemberKey) {
        let served = self.served.entry(peer).or_default();
        *served = served.saturating_add(1);
        self.served_at_once = self.served_at_once.saturating_add(1);
    }
}
