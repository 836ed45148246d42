//! How fast a source gives, and how many connections that is worth.

use std::time::{Duration, Instant};

/// A rate that follows the last two seconds or so.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes per second.
    pub(super) rate: u64,
    last: Option<(Instant, u64)>,
}

impl Meter {
    pub(super) fn tick(&mut self, now: Instant, total: u64) {
        let Some((since, before)) = self.last else {
            self.last = Some((now, total));
            return;
        };
        let elapsed = now.duration_since(since).as_millis();
        if elapsed < 200 {
            return;
        }
        let given = u128::from(total.saturating_sub(before)) * 1000 / elapsed;
        let given = u64::try_from(given).unwrap_or(u64::MAX);
        // The first figure counts as it is, later ones by a fifth each.
        self.rate = if self.rate == 0 { given } else { self.rate - self.rate.div_ceil(5) + given / 5 };
        self.last = Some((now, total));
    }
}

/// How many connections a source gets: one more as long as that brings more, one fewer when it did not.
#[derive(Debug)]
pub(super) struct Climb {
    pub(super) target: usize,
    /// The rate that one connection fewer gave.
    best: u64,
    /// When the number of connections was last looked at, and how many requests had ended by then.
    since: Option<(Instant, u64)>,
    held_until: Option<Instant>,
}

pub(super) const FIRST_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 8;
const STEP: Duration = Duration::from_secs(2);
/// Small files end soon: once each connection has ended so many requests, its rate is known as well.
const MANY_REQUESTS: u64 = 32;
const SHORT_STEP: Duration = Duration::from_millis(300);
const HOLD: Duration = Duration::from_secs(30);

impl Climb {
    pub(super) fn new() -> Self {
        Self { target: FIRST_CONNECTIONS, best: 0, since: None, held_until: None }
    }

    /// `answered` is how many requests have ended since the fetch began.
    pub(super) fn tick(&mut self, now: Instant, rate: u64, running: usize, answered: u64) {
        if running < self.target {
            self.since = None;
            return;
        }
        let (since, before) = *self.since.get_or_insert((now, answered));
        let (elapsed, ended) = (now.duration_since(since), answered.saturating_sub(before));
        let is_soon = elapsed < STEP;
        let is_known = ended >= MANY_REQUESTS.saturating_mul(u64::try_from(running).unwrap_or(u64::MAX));
        if is_soon && !(is_known && elapsed >= SHORT_STEP) || self.held_until.is_some_and(|until| now < until)
        {
            return;
        }
        let is_faster = rate > self.best + self.best / 10;
        // The rate follows slowly: that it has not risen yet says nothing so soon.
        if is_soon && !is_faster {
            return;
        }
        self.since = Some((now, answered));
        if is_faster {
            self.best = rate;
            self.target = (self.target + 1).min(MAX_CONNECTIONS);
        } else if self.target > FIRST_CONNECTIONS {
            self.falls_back(self.target - 1, now);
        }
    }

    /// To so many at the most, and no more for a while.
    pub(super) fn falls_back(&mut self, target: usize, now: Instant) {
        self.target = self.target.min(target);
        self.best = 0;
        self.since = None;
        self.held_until = Some(now + HOLD);
    }
}
