//! The number of bytes that are sent at the same time: few requests where the line is slow, so that each soon counts.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::board::Trouble;

/// The number of requests that bring something at the same time. Short ones raise it, long ones and failures lower it.
pub(super) struct Pace(AtomicUsize);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicUsize::new(FIRST_AT_ONCE))
    }
}

impl Pace {
    /// Works on all items, some at a time. The work says how long its request took, if it sent one.
    ///
    /// # Errors
    /// The first trouble. Nothing begins after it. If it may be another time, what is under way has a while to end: its bytes
    /// are mostly on the line already.
    pub(super) async fn all<I, F>(
        &self,
        items: impl IntoIterator<Item = I>,
        work: impl Fn(I) -> F,
    ) -> Result<(), Trouble>
    where
        F: Future<Output = Result<Option<Duration>, Trouble>>,
    {
        let mut items = items.into_iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < self.0.load(Relaxed) {
                let Some(item) = items.next() else { break };
                under_way.push(work(item));
            }
            match under_way.next().await {
                None => return Ok(()),
                Some(Ok(took)) => self.learn(took),
                Some(Err(trouble)) => {
                    self.0.store((self.0.load(Relaxed) / 2).max(1), Relaxed);
                    if matches!(trouble, Trouble::Again { .. }) {
                        let rest = async { while under_way.next().await.is_some() {} };
                        // Whether the rest ends in time or not, there is trouble.
                        let _ = tokio::time::timeout(LAST_CHANCE, rest).await;
                    }
                    return Err(trouble);
                }
            }
        }
    }

    fn learn(&self, took: Option<Duration>) {
        let at_once = self.0.load(Relaxed);
        let at_once = match took {
            Some(took) if took < SHORT => at_once.saturating_add(1).min(MOST_AT_ONCE),
            Some(took) if took >= LONG => at_once.saturating_sub(1).max(1),
            _ => at_once,
        };
        self.0.store(at_once, Relaxed);
    }
}

/// The requests that bring chunks at the same time: at most, and at first.
pub(super) const MOST_AT_ONCE: usize = 8;
const FIRST_AT_ONCE: usize = 2;
/// A request that took less time than this makes room for one more; one that took as long as that, for one less.
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(4);
/// How long what is under way may take after another request has failed.
const LAST_CHANCE: Duration = Duration::from_secs(5);
