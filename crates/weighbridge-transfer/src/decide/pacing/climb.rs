//! The rate of a source, and the number of connections that it is worth.

use std::time::{Duration, Instant};

/// A rate averaged over about the last two seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The rate in bytes per second.
    pub(crate) rate: u64,
    last: Option<(Instant, u64)>,
}

impl Meter {
    pub(crate) fn tick(&mut self, now: Instant, total: u64) {
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
        // The first figure counts in full, later ones by a fifth each.
        self.rate = if self.rate == 0 { given } else { self.rate - self.rate.div_ceil(5) + given / 5 };
        self.last = Some((now, total));
    }
}

/// How many connections a source gets: one more as long as that raises the rate, one fewer when it did not.
#[derive(Debug)]
pub(crate) struct Climb {
    pub(crate) target: usize,
    /// The rate with one connection fewer.
    best: u64,
    /// When the number of connections was last reviewed, and how many requests had ended by then.
    since: Option<(Instant, u64)>,
    held_until: Option<Instant>,
}

pub(crate) const FIRST_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 8;
const STEP: Duration = Duration::from_secs(2);
/// The requests that each connection ends before the rate counts as known, even early: small files end soon.
const MANY_REQUESTS: u64 = 32;
const SHORT_STEP: Duration = Duration::from_millis(300);
const HOLD: Duration = Duration::from_secs(30);

impl Default for Climb {
    fn default() -> Self {
        Self { target: FIRST_CONNECTIONS, best: 0, since: None, held_until: None }
    }
}

impl Climb {
    /// `answered` is how many requests have ended since the fetch began.
    pub(crate) fn tick(&mut self, now: Instant, rate: u64, running: usize, answered: u64) {
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
        // The measured rate lags behind, so a missing rise proves nothing this early.
        if is_soon && !is_faster {
            return;
        }
        self.since = Some((now, answered));
        if is_faster {
            self.best = rate;
            self.target = (self.target + 1).min(MAX_CONNECTIONS);
        } else if self.target > FIRST_CONNECTIONS {
            self.fall_back(self.target - 1, now);
        }
    }

    /// Lowers the number of connections to `target` at most, and holds it for a while.
    pub(crate) fn fall_back(&mut self, target: usize, now: Instant) {
        self.target = self.target.min(target);
        self.best = 0;
        self.since = None;
        self.held_until = Some(now + HOLD);
    }
}
