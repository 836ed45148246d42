//! Answers that are written: lists, pages and proofs.

use std::{sync::Arc, thread};

use bytes::Bytes;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    refusal::{Refusal, failed},
    reply::{Answer, Sent},
    room::{Portion, Room},
    seat::Seat,
};

/// The place where answers are written that take work and memory: as many at a time as there are cores, so that reads of files do
/// not wait behind them.
#[derive(Debug)]
pub(crate) struct Desk {
    room: Arc<Room>,
    places: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(room: Arc<Room>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { room, places: Arc::new(Semaphore::new(cores)) }
    }

    /// Does some work, when it is its turn.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| failed())?;
        // A client that leaves does not free the place before the work is done.
        let done = spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|_| failed())
    }

    /// Writes an answer, for which it takes this many bytes of memory until the answer is sent.
    pub(crate) async fn write(
        &self,
        memory: u64,
        seat: &Arc<Seat>,
        write: impl FnOnce() -> Result<Answer, Refusal> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let mut portion = Arc::clone(&self.room).take(memory, Arc::clone(seat)).await;
        let written = self.work(move || {
            let mut answer = write()?;
            if let Sent::Whole(bytes) = &mut answer.content {
                portion.shrink(bytes.len());
                *bytes = Bytes::from_owner(Held { bytes: std::mem::take(bytes), _portion: portion });
            }
            Ok(answer)
        });
        written.await?
    }
}

/// Bytes with the right to their memory.
struct Held {
    bytes: Bytes,
    _portion: Portion,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
