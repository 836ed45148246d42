//! The work of one fetch: its chunks, its decisions, and how it ends.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use tokio::{sync::Semaphore, task::AbortHandle};
use weighbridge_manifest::shown;

use super::{
    buffers::Buffers,
    chunk_store::{Accepted, ChunkStore},
    landing::Landings,
    target::Target,
};
use crate::{
    board::{Board, lock},
    catalog::Case,
    decide::{ConnectionId, Lease, LeaseId},
    error::FetchError,
    event::{Here, SourceId},
    nearby::NearbyTensors,
    ranges::RangeSet,
};

/// A fetch whose lists are known: the wanted files, their destination, and the work under way.
pub(crate) struct Engine {
    pub(crate) board: Arc<Board>,
    pub(crate) case: Case,
    pub(crate) chunks: Arc<ChunkStore>,
    pub(crate) buffers: Buffers,
    pub(crate) landings: Arc<Landings>,
    /// The length of a piece in bytes. A piece is read, judged and written at once.
    pub(crate) piece: u64,
    /// Limits how many files are looked for at once, and how many are read.
    pub(crate) glancing: Semaphore,
    pub(crate) looking: Semaphore,
    /// The number of tasks that may yet find something to fetch, and of files that are fetched without a schedule.
    pub(crate) searching: AtomicUsize,
    /// Tensors of other releases on this machine.
    pub(crate) nearby: NearbyTensors,
    failure: Mutex<Option<FetchError>>,
    failed: AtomicBool,
}

/// The preferred length of a piece in bytes. Larger pieces need fewer turns, smaller ones less memory.
const PIECE: u64 = 1 << 20;

/// The length of a piece for chunks of this length.
pub(crate) fn piece_of(chunk: u64) -> u64 {
    chunk.max(PIECE)
}

impl Engine {
    pub(crate) fn new(
        board: Arc<Board>,
        case: Case,
        chunks: Arc<ChunkStore>,
        nearby: NearbyTensors,
        memory: u64,
    ) -> Self {
        let chunk = chunks.files.chunk_size().bytes();
        let piece = piece_of(chunk);
        board.decide().plan(chunk, piece, Buffers::count(memory, piece));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            buffers: Buffers::new(memory, usize::try_from(piece).unwrap_or(usize::MAX)),
            landings: Landings::new(cores, board.tasks.clone()),
            piece,
            glancing: Semaphore::new(cores),
            looking: Semaphore::new(cores),
            searching: AtomicUsize::new(0),
            nearby,
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            board,
            case,
            chunks,
        }
    }

    /// Ends the fetch with an error.
    pub(crate) fn fail(&self, error: FetchError) {
        lock(&self.failure).get_or_insert(error);
        self.end();
    }

    /// Marks the fetch as ended, for any reason: no more work is begun.
    pub(crate) fn end(&self) {
        self.failed.store(true, SeqCst);
        self.landings.close();
        self.board.changed.notify_waiters();
    }

    /// Begins a task of the fetch. If it panics, the fetch ends: a panicked task never reports.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let here = Arc::clone(self);
        self.board.tasks.spawn(async move {
            let _watch = Watch(&here);
            task.await;
        })
    }

    /// Runs a call that may block on a disk on a thread where it delays no other task. If the call panics, the fetch
    /// ends, instead of waiting for its result for ever.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let here = Arc::clone(self);
        let done = self.board.tasks.blocking(move || {
            let _watch = Watch(&here);
            work(&here)
        });
        done.await.ok()
    }

    /// Does as [`blocking`](Self::blocking), once it is the call's turn: a semaphore limits how many run at once.
    pub(crate) async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        turns: &Semaphore,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let _permit = turns.acquire().await;
        self.blocking(work).await
    }

    pub(crate) fn take_failure(&self) -> Option<FetchError> {
        if self.failed.load(SeqCst) { lock(&self.failure).take() } else { None }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(SeqCst)
    }

    /// Makes chunks of a file wanted from sources.
    pub(crate) fn lack(&self, target: &Target, chunks: &RangeSet) {
        if !chunks.is_empty() {
            self.board.decide().add(target.position, chunks);
        }
    }

    /// Takes a lease for a connection, if there is work for it.
    pub(crate) fn take(&self, connection: ConnectionId, source: SourceId) -> Option<Lease> {
        let lease = self.board.decide().take(connection, source, Instant::now())?;
        if !lease.is_fresh() {
            self.board.shortened.notify_waiters();
        }
        Some(lease)
    }

    /// Judges a piece of a source and writes the accepted chunks. If not all of it is good, returns the reason for the
    /// first wrong chunk.
    ///
    /// Blocks on the disk: not for an async thread.
    pub(crate) fn land(
        &self,
        (lease, source): (LeaseId, SourceId),
        target: &Target,
        first: u64,
        bytes: &[u8],
    ) -> Option<String> {
        let _watch = Watch(self);
        let mut accepted = Accepted::default();
        if !self.has_failed() {
            match self.chunks.accept(target.position, first, bytes) {
                Ok(judged) => accepted = judged,
                Err(error) => self.fail(error),
            }
        }
        let mut is_shared = false;
        {
            let mut decisions = self.board.decide();
            let good = accepted.good.iter().map(|run| target.bytes(run)).sum();
            decisions.piece_landed(source, good, accepted.new);
            for run in &accepted.good {
                is_shared |= decisions.done(lease, target.position, run, Instant::now());
            }
            for wrong in &accepted.wrong {
                let run = wrong.chunk..wrong.chunk + 1;
                let bytes = target.bytes(&run);
                decisions.refuse(lease, source, target.position, run, bytes);
            }
        }
        if is_shared || !accepted.wrong.is_empty() {
            self.board.shortened.notify_waiters();
        }
        let wrong = accepted.wrong.first();
        wrong.map(|wrong| format!("{}: {}", shown(target.path.as_str()), wrong.why))
    }

    /// Syncs written chunks, batch after batch, for as long as the fetch runs.
    pub(crate) async fn sync_always(self: Arc<Self>) {
        loop {
            self.chunks.batch().await;
            match self.blocking(Self::sync).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return self.fail(error),
                None => return,
            }
            if self.chunks.is_durable() {
                self.board.changed.notify_waiters();
            }
        }
    }

    /// Syncs written chunks. Blocks on the disk: not for an async thread.
    pub(crate) fn sync(&self) -> Result<(), FetchError> {
        let _here = self.chunks.first_unsynced().map(|path| self.board.works(path, Here::Syncing));
        self.chunks.sync()
    }
}

/// Ends the fetch if the task or thread that holds it panics.
struct Watch<'a>(&'a Engine);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(FetchError::Bug);
        }
    }
}
