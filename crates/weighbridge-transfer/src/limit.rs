//! A rate limit that the caller sets for all sources together.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const SLACK: Duration = Duration::from_millis(5);
/// About the number of bytes that a connection delivers at once.
const SLICE: usize = 16 << 10;

/// The number of bytes per second that all sources together may give.
#[derive(Debug)]
pub struct Limit {
    rate: Option<u64>,
    /// The time until which the bytes taken so far keep the line busy.
    busy_until: Mutex<Instant>,
}

impl Limit {
    /// A limit of so many bytes per second; none if `None`.
    #[must_use]
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), busy_until: Mutex::new(Instant::now()) }
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.rate.is_some()
    }

    /// Waits until the bytes that have come are paid for. A connection that waits reads no more, and so the sender is
    /// slowed.
    ///
    /// The bytes are paid slice by slice, in turn with those of other connections: a source that gives much at once
    /// gets no larger share.
    pub async fn pay(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let mut left = bytes;
        while left > 0 {
            let slice = left.min(SLICE);
            left -= slice;
            let nanos = u128::try_from(slice).unwrap_or(0) * 1_000_000_000 / u128::from(rate);
            let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            let now = Instant::now();
            let until = {
                let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
                // The time by which a sleep was too long is made up for.
                *busy_until = (*busy_until).max(now.checked_sub(SLACK).unwrap_or(now)) + cost;
                *busy_until
            };
            // Timers have a resolution of milliseconds, so shorter sleeps are combined.
            if until > now + SLACK {
                tokio::time::sleep_until(until.into()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_paid_by_all_together_takes_its_time() {
        let limit = Limit::new(Some(1_000_000));
        let start = Instant::now();
        let pay = async |bytes| {
            limit.pay(bytes).await;
            start.elapsed()
        };
        let (large, small) = tokio::join!(pay(200_000), pay(16_384));
        assert!(large.max(small) >= Duration::from_millis(200), "{large:?} {small:?}");
        assert!(small < large, "{small:?}: it waits for one slice of the other, not for all");
        let start = Instant::now();
        let unlimited = Limit::new(None);
        unlimited.pay(usize::MAX).await;
        assert!(!unlimited.is_set() && limit.is_set() && start.elapsed() < Duration::from_secs(10));
    }
}
