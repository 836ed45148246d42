//! The constants of the plan.

use std::time::Duration;

/// The constants that govern a [`Plan`](super::Plan).
///
/// The defaults hold for pieces of 256 KiB to 1 MiB. They are the ones that were simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The most requests that are out at all neighbours together.
    pub requests_at_once: usize,
    /// The most of these at neighbours that take twice as long as others, if there are more neighbours than requests.
    pub slow_requests_at_once: usize,
    /// The lead of owners: they may ask the origin for the pieces whose positions are below the number of pieces seen
    /// nearby plus this. It bounds how many members share the line of the origin, whatever their number, so that pieces
    /// leave it one after another and not all at the end.
    pub window: u32,
    /// The window of a swarm of up to [`small_swarm`](Self::small_swarm) members. They are few enough to share the line
    /// of the origin, and none is to wait for a slow one.
    pub small_window: u32,
    /// The most members of a small swarm.
    pub small_swarm: usize,
    /// The leases that an owner that is no neighbour has, before others ask the origin for its pieces.
    pub grace: usize,
    /// The least time for which a claim is live, and before a request counts as late.
    pub least_lease: Duration,
    /// The time of a lease before any piece has been measured.
    pub first_lease: Duration,
    /// The most time of a lease.
    pub most_lease: Duration,
    /// The pause after the first failure of a giver; it doubles with each further one.
    pub least_pause: Duration,
    /// The most time for which a giver is left alone, whatever it asks for.
    pub most_pause: Duration,
    /// The time for which a neighbour is not asked again for a piece that it lacked.
    pub forget_lack: Duration,
    /// Whether a neighbour is asked only while it gives this member a slot, as in open swarms.
    pub needs_slots: bool,
    /// The time for which the pieces of a new neighbour count as near though it gives this member no slot. Those of one
    /// that has given something before count for longer.
    pub benefit_of_doubt: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            requests_at_once: 8,
            slow_requests_at_once: 1,
            window: 48,
            small_window: 128,
            small_swarm: 16,
            grace: 3,
            least_lease: Duration::from_secs(1),
            first_lease: Duration::from_secs(8),
            most_lease: Duration::from_secs(60),
            least_pause: Duration::from_millis(250),
            most_pause: Duration::from_secs(30),
            forget_lack: Duration::from_secs(10),
            needs_slots: false,
            benefit_of_doubt: Duration::from_secs(30),
        }
    }
}

impl Rules {
    /// The window of a swarm with so many members.
    pub(super) fn window_of(&self, members: usize) -> u32 {
        if self.is_small(members) { self.small_window.max(self.window) } else { self.window }
    }

    /// Whether a swarm with so many members is a small one.
    pub(super) fn is_small(&self, members: usize) -> bool {
        members <= self.small_swarm
    }

    /// The lease for pieces that take this time: six times as long, within the limits. On a line that many share, some
    /// flows get a quarter of what others get.
    pub(super) fn lease(&self, time: Option<Duration>) -> Duration {
        let Some(time) = time else { return self.first_lease };
        time.saturating_mul(6).min(self.most_lease).max(self.least_lease)
    }
}

/// A part of a time; nothing if `by` is 0.
pub(super) fn divide(time: Duration, by: u32) -> Duration {
    time.checked_div(by).unwrap_or_default()
}
