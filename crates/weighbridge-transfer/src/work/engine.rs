//! What happens to bytes when they have come: judged, written, counted, synced.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};
use weighbridge_manifest::{VerifiedFileList, VerifiedTensorList};
use weighbridge_store::Destination;
use weighbridge_tree::ChunkError;
use weighbridge_verify::{ModelVerifier, ReadyTensors, VerifiedChunk, VerifiedRun};

use crate::{
    board::{Board, lock},
    catalog::Case,
    decide::schedule::{LeaseId, Schedule},
    error::FetchError,
    event::{Event, FetchProgress, Here},
    ranges::RangeSet,
    work::budget::Buffers,
    work::landing::Landings,
    work::target::Target,
};

/// A fetch whose lists are there: what is wanted, where it goes, who works on what.
pub(crate) struct Engine {
    pub(crate) board: Arc<Board>,
    pub(crate) case: Case,
    pub(crate) files: Arc<VerifiedFileList>,
    pub(crate) verifier: ModelVerifier,
    pub(crate) destination: Destination,
    pub(crate) targets: BTreeMap<usize, Arc<Target>>,
    pub(crate) tensors: Option<Arc<VerifiedTensorList>>,
    /// Says which tensors are complete.
    ready: Option<ReadyTensors>,
    schedule: Mutex<Schedule>,
    pub(crate) buffers: Buffers,
    pub(crate) landings: Arc<Landings>,
    /// The length of a piece: what is read, judged and written at once.
    pub(crate) piece: u64,
    /// Files whose layer nobody has, to be fetched as a whole.
    pub(crate) layerless: Mutex<VecDeque<usize>>,
    /// So many files are looked for at once, and so many are read.
    pub(crate) glancing: Semaphore,
    pub(crate) looking: Semaphore,
    /// Tasks that may yet find something to fetch, and files that are fetched without a schedule.
    pub(crate) searching: AtomicUsize,
    /// Wanted bytes that are not durable yet.
    open: AtomicU64,
    unsynced: AtomicU64,
    /// The files of which chunks were counted since they were last synced.
    written: Mutex<BTreeSet<usize>>,
    sync_now: Notify,
    /// Held while files are synced: whoever syncs next finds what the last one synced counted.
    syncing: Mutex<()>,
    failure: Mutex<Option<FetchError>>,
    failed: AtomicBool,
}

/// Why a piece was not taken.
pub(crate) enum Refusal {
    /// Its chunk is not the signed one: the source gave it.
    Chunk(ChunkError),
    /// This machine cannot take it.
    Here(FetchError),
}

/// Written bytes are synced in batches of at most this.
const BATCH: u64 = 64 << 20;
/// Or as often as this.
const BATCH_TIME: Duration = Duration::from_secs(1);

impl Engine {
    #[allow(clippy::too_many_arguments, reason = "the only caller names each")]
    pub(crate) fn new(
        board: Arc<Board>,
        case: Case,
        files: Arc<VerifiedFileList>,
        verifier: ModelVerifier,
        destination: Destination,
        targets: BTreeMap<usize, Arc<Target>>,
        tensors: Option<Arc<VerifiedTensorList>>,
        memory: u64,
    ) -> Self {
        let chunk = files.chunk_size().bytes();
        let piece = chunk.max(PIECE);
        let open = targets.values().map(|target| target.wanted_bytes()).sum();
        board.want(open);
        // A list that lets tensors overlap is no reason not to fetch: `verify` refuses its files.
        let ready = tensors.as_ref().and_then(|list| ReadyTensors::new(&files, Arc::clone(list)).ok());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            schedule: Mutex::new(Schedule::new(chunk, piece / chunk)),
            buffers: Buffers::new(memory, usize::try_from(piece).unwrap_or(usize::MAX)),
            landings: Landings::new(cores),
            piece,
            layerless: Mutex::default(),
            glancing: Semaphore::new(cores),
            looking: Semaphore::new(cores),
            searching: AtomicUsize::new(0),
            open: AtomicU64::new(open),
            unsynced: AtomicU64::new(0),
            written: Mutex::default(),
            sync_now: Notify::new(),
            syncing: Mutex::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            board,
            case,
            files,
            verifier,
            destination,
            tensors,
            ready,
            targets,
        }
    }

    pub(crate) fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    /// Ends the fetch.
    pub(crate) fn fail(&self, error: FetchError) {
        lock(&self.failure).get_or_insert(error);
        self.end();
    }

    /// The fetch has ended, whatever made it: nothing more is begun.
    pub(crate) fn end(&self) {
        self.failed.store(true, SeqCst);
        self.board.changed.notify_waiters();
    }

    /// Runs what may wait for the disk where no other task waits for it. If it panics, the fetch ends, and does not wait
    /// for ever for what it was to do.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let here = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _watch = Watch(&here);
            work(&here)
        });
        done.await.ok()
    }

    /// As [`blocking`](Self::blocking), when it is its turn: there are only so many at once.
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

    /// Whether everything that is wanted is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.open.load(SeqCst) == 0
    }

    /// Makes chunks of a file to be asked for.
    pub(crate) fn lack(&self, target: &Target, chunks: &RangeSet) {
        if !chunks.is_empty() {
            self.schedule().add(target.position, chunks);
            self.board.changed.notify_waiters();
        }
    }

    /// Judges a piece of a source and writes what is accepted. Gives how many bytes of it were not there before, and
    /// what was refused, if not all of it was good.
    ///
    /// Waits for the disk: not for an async thread.
    pub(crate) fn land(
        &self,
        lease: LeaseId,
        target: &Target,
        first: u64,
        bytes: &[u8],
    ) -> (u64, Option<Refusal>) {
        let _watch = Watch(self);
        let file = match self.verifier.file(target.position) {
            Ok(file) => file,
            Err(error) => return (0, Some(Refusal::Here(FetchError::Entry(error)))),
        };
        let (run, fault) = match file.accept_run(first, bytes) {
            Ok(run) => (Some(run), None),
            Err(refused) => (refused.accepted, Some(Refusal::Chunk(refused.fault))),
        };
        let Some(run) = run.filter(|_| !self.has_failed()) else { return (0, fault) };
        match self.store(target, &run) {
            Ok(new) => {
                if self.schedule().done(lease, target.position, &run.indices(), Instant::now()) {
                    self.board.shortened.notify_waiters();
                }
                (new, fault)
            }
            Err(error) => (0, Some(Refusal::Here(error))),
        }
    }

    /// Writes what was accepted, unless it is there.
    pub(crate) fn store(&self, target: &Target, run: &VerifiedRun<'_>) -> Result<u64, FetchError> {
        self.make_room_to_open(target)?;
        let Some(partial) = target.to_store(&run.indices(), &self.destination)? else { return Ok(0) };
        partial.write(run)?;
        let new = target.store(&run.indices());
        self.count(target, new);
        run.chunks().for_each(|chunk| self.tell(&chunk));
        Ok(new)
    }

    /// Closes files before so many are open that the system gives no more: small ones come faster than the batches.
    pub(crate) fn make_room_to_open(&self, target: &Target) -> Result<(), FetchError> {
        if self.destination.open_files() >= MAX_OPEN && !target.is_open() {
            self.sync()?;
        }
        Ok(())
    }

    /// Says which tensors are complete with a chunk that is written.
    pub(crate) fn tell(&self, chunk: &VerifiedChunk<'_>) {
        let complete = self.ready.iter().flat_map(|ready| ready.record(chunk));
        complete.for_each(|(_, tensor)| self.board.say(Event::Tensor(Box::new(tensor.clone()))));
    }

    /// Counts verified bytes that wait to be synced.
    pub(crate) fn count(&self, target: &Target, bytes: u64) {
        lock(&self.written).insert(target.position);
        self.board.add_verified(bytes);
        let before = self.unsynced.fetch_add(bytes, SeqCst);
        let FetchProgress { verified, wanted, .. } = self.board.progress();
        // Nothing more will come, so nothing is waited for.
        if before + bytes >= BATCH || verified == wanted {
            self.sync_now.notify_one();
        }
    }

    /// Syncs what is written, batch after batch, for as long as the fetch runs.
    pub(crate) async fn sync_always(self: Arc<Self>) {
        loop {
            let _ = tokio::time::timeout(BATCH_TIME, self.sync_now.notified()).await;
            match self.blocking(Self::sync).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return self.fail(error),
                None => return,
            }
        }
    }

    /// Syncs what is written, and says what is durable now. A file that cannot be synced does not keep the others from it.
    pub(crate) fn sync(&self) -> Result<(), FetchError> {
        let _turn = lock(&self.syncing);
        self.unsynced.store(0, SeqCst);
        let (mut written, mut files) = (Vec::new(), Vec::new());
        let mut result = Ok(());
        let positions = std::mem::take(&mut *lock(&self.written));
        for target in positions.iter().filter_map(|position| self.targets.get(position)) {
            let (partial, chunks) = target.take_unsynced();
            if chunks.is_empty() {
                continue;
            }
            if let Some(partial) = partial {
                files.push(partial);
                written.push((target, chunks));
            } else {
                // Another process wrote the file and gave it its name.
                let _here = self.board.works(target.path.as_str(), Here::Syncing);
                let settled = self.destination.settle(&target.path).map_err(FetchError::from);
                result = result.and(settled.map(|()| self.count_durable(target, &chunks)));
            }
        }
        let _here = written.first().map(|(target, _)| self.board.works(target.path.as_str(), Here::Syncing));
        for ((target, chunks), synced) in
            written.into_iter().zip(self.destination.sync(&files.iter().map(Arc::as_ref).collect::<Vec<_>>()))
        {
            result =
                result.and(synced.map(|()| self.count_durable(target, &chunks)).map_err(FetchError::from));
        }
        result
    }

    /// Counts chunks that were synced, says so, and closes the file if nothing is left to write.
    fn count_durable(&self, target: &Target, chunks: &RangeSet) {
        let mut bytes = 0;
        for run in chunks.iter() {
            bytes += target.wanted.within(&run).map(|run| target.bytes(&run)).sum::<u64>();
            self.board.say(Event::Durable { path: target.path.clone(), chunks: run });
        }
        self.board.add_durable(bytes);
        if self.open.fetch_sub(bytes, SeqCst) == bytes {
            self.board.changed.notify_waiters();
        }
        if target.is_done() {
            target.close();
        }
    }
}

/// Ends the fetch if the thread panics in which it lives.
struct Watch<'a>(&'a Engine);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(FetchError::Bug);
        }
    }
}

/// So many incomplete files may be open at once, or a few more: systems allow 256, and connections need some too.
const MAX_OPEN: usize = 96;

/// Larger pieces take fewer turns, smaller ones less memory.
const PIECE: u64 = 1 << 20;
