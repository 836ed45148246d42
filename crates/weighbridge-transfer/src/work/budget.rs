//! What a fetch may use: memory for what is coming, bytes per second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Buffers of one piece each: so many as fit into the budget, made when they are needed and used again.
#[derive(Clone, Debug)]
pub(crate) struct Buffers {
    piece: usize,
    permits: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Room for one piece. Empty when it is given out.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
    _permit: OwnedSemaphorePermit,
}

/// What everything but the buffers needs: code, TLS, what connections hold on their own.
const BASE: u64 = 32 << 20;

impl Buffers {
    /// At least two buffers, however small the budget is.
    pub(crate) fn new(memory: u64, piece: usize) -> Self {
        let room = memory.saturating_sub(BASE) / u64::try_from(piece).unwrap_or(u64::MAX).max(1);
        let count = usize::try_from(room).unwrap_or(usize::MAX).clamp(2, 256);
        Self { piece, permits: Arc::new(Semaphore::new(count)), spare: Arc::default() }
    }

    /// A buffer, as soon as one is free.
    pub(crate) async fn take(&self) -> Option<Buffer> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = spare.unwrap_or_else(|| Vec::with_capacity(self.piece));
        Some(Buffer { bytes, home: Arc::clone(&self.spare), _permit: permit })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

const SLACK: Duration = Duration::from_millis(5);
/// About what a connection gives at once.
const SLICE: usize = 16 << 10;

/// A number of bytes per second that all sources together may give.
#[derive(Debug)]
pub(crate) struct Limit {
    rate: Option<u64>,
    /// Until when what was taken so far keeps the line busy.
    busy_until: Mutex<Instant>,
}

impl Limit {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), busy_until: Mutex::new(Instant::now()) }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.rate.is_some()
    }

    /// Waits until the bytes that have come are paid for. Whoever waits reads no more, and so the sender is slowed.
    ///
    /// Slice by slice, each in turn with those of others: a source that gives much at once gets no larger share.
    pub(crate) async fn pay(&self, bytes: usize) {
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
                // What a sleep was too long is made up for.
                *busy_until = (*busy_until).max(now.checked_sub(SLACK).unwrap_or(now)) + cost;
                *busy_until
            };
            // Sleeps have milliseconds: shorter ones are put together.
            if until > now + SLACK {
                tokio::time::sleep_until(until.into()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 1 << 20;

    #[tokio::test]
    async fn there_are_as_many_buffers_as_fit_and_two_in_any_case() {
        let piece = PIECE as u64;
        for (memory, count) in [(0, 2), (BASE + piece, 2), (BASE + 5 * piece + 1, 5), (u64::MAX, 256)] {
            let buffers = Buffers::new(memory, PIECE);
            let mut taken = Vec::new();
            while taken.len() < count {
                taken.push(buffers.take().await.unwrap());
            }
            let one_more = tokio::time::timeout(Duration::from_millis(20), buffers.take());
            assert!(one_more.await.is_err(), "{memory}");
            taken[0].bytes.extend_from_slice(b"somebody else's");
            taken.swap_remove(0);
            let again = buffers.take().await.unwrap();
            assert!(again.bytes.is_empty() && again.bytes.capacity() >= PIECE, "used again, and empty");
        }
    }

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
