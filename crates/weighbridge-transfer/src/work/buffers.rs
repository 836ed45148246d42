//! Memory for pieces that are being received, within the budget of the fetch.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Buffers of one piece each: as many as fit into the budget, made when they are needed and used again.
#[derive(Clone, Debug)]
pub(crate) struct Buffers {
    piece: usize,
    permits: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Room for one piece. Empty when it is handed out.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
    _permit: OwnedSemaphorePermit,
}

/// The memory of everything but the buffers, in bytes: code, TLS, and the state of connections.
const BASE: u64 = 32 << 20;

impl Buffers {
    /// Makes at least two buffers, however small the budget is.
    pub(crate) fn new(memory: u64, piece: usize) -> Self {
        let count = Self::count(memory, u64::try_from(piece).unwrap_or(u64::MAX));
        Self { piece, permits: Arc::new(Semaphore::new(count)), spare: Arc::default() }
    }

    /// How many pieces fit into the memory of a fetch: two at least.
    pub(crate) fn count(memory: u64, piece: u64) -> usize {
        let room = memory.saturating_sub(BASE) / piece.max(1);
        usize::try_from(room).unwrap_or(usize::MAX).clamp(2, 256)
    }

    /// Waits for a free buffer.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
