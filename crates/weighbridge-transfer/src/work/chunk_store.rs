//! Chunks that arrive at a folder: judged, written, counted, synced. The callers of this module fetch them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;
use weighbridge_manifest::{VerifiedFileList, VerifiedTensorList};
use weighbridge_store::{Destination, PartialFile, Stamp};
use weighbridge_verify::{ModelVerifier, ReadyTensors, VerifiedChunk, VerifiedRun};

use super::{selection::Selection, target::Target};
use crate::{
    board::lock,
    error::FetchError,
    event::{Event, FetchProgress},
    figures::Figures,
    options::Wanted,
    ranges::RangeSet,
    source::Inventory,
};

/// The wanted chunks of a model in a folder, which arrive in any order and from any source.
///
/// A fetch is built on it. So can be any other program that takes chunks from machines that it does not trust.
///
/// # Guarantee
/// A chunk is written, counted and put into the [inventory](Self::inventory) only after it was accepted, and from the
/// buffer in which it was accepted (rule 10). It is called durable only after it was synced. No file gets its final
/// name here.
///
/// # Non-guarantee
/// Files that are on disk already are not examined: [`fetch`](crate::fetch) hashes them first.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use weighbridge_transfer::{ChunkStore, Wanted};
/// # use weighbridge_testkit::{Folder, Sample};
/// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
/// # let (folder, files) = (Folder::new(), Arc::clone(&sample.list));
/// # let (layer, mut bytes) = (sample.layers.clone(), sample.bytes(0).to_vec());
/// # let chunk = weighbridge_testkit::CHUNK as usize;
///
/// let store = ChunkStore::open(folder.path(), files, None, &Wanted::default(), |_event| {})?;
/// store.accept_layer(0, &layer)?;
/// bytes[chunk] ^= 1; // The second chunk of three is not the signed one.
/// let accepted = store.accept(0, 0, &bytes)?;
/// assert_eq!(accepted.wrong.iter().map(|wrong| wrong.chunk).collect::<Vec<_>>(), [1]);
/// assert!(store.has(0, 0) && !store.has(0, 1) && store.has(0, 2));
///
/// bytes[chunk] ^= 1;
/// store.accept(0, 1, &bytes[chunk..2 * chunk])?;
/// store.sync()?;
/// assert!(store.is_durable());
/// assert_eq!(store.read(0, 1..2)?, bytes[chunk..2 * chunk]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ChunkStore {
    pub(crate) files: Arc<VerifiedFileList>,
    pub(crate) verifier: ModelVerifier,
    pub(crate) destination: Destination,
    pub(crate) targets: BTreeMap<usize, Arc<Target>>,
    pub(crate) tensors: Option<Arc<VerifiedTensorList>>,
    /// Tracks which tensors are complete.
    ready: Option<ReadyTensors>,
    inventory: Inventory,
    figures: Arc<Figures>,
    tell: Box<dyn Fn(Event) + Send + Sync>,
    /// Called with each run of chunks of a file that is here.
    holds: Box<Holds>,
    /// Wanted bytes that are not durable yet.
    open: AtomicU64,
    unsynced: AtomicU64,
    /// The files whose chunks were counted since the last sync.
    written: Mutex<BTreeSet<usize>>,
    sync_now: Notify,
    /// Held while files are synced: the next sync finds the files that the previous one synced already counted.
    syncing: Mutex<()>,
}

/// A listener to the runs of chunks that are here, by the position of their file.
type Holds = dyn Fn(usize, &Range<u64>) + Send + Sync;

/// The result of offered bytes.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// The bytes of wanted chunks that are good and were not there before.
    pub new: u64,
    /// The good chunks, by position, as runs in ascending order.
    pub good: Vec<Range<u64>>,
    /// The chunks that are not the signed ones, ascending.
    pub wrong: Vec<WrongChunk>,
}

/// A chunk that is not the signed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongChunk {
    /// The position of the chunk in its file.
    pub chunk: u64,
    /// The reason why it was refused.
    pub why: String,
}

/// The most written bytes that wait for one sync.
const BATCH: u64 = 64 << 20;
/// The longest time that written bytes wait for a sync.
pub(crate) const BATCH_TIME: Duration = Duration::from_secs(1);

/// About how many incomplete files are open at once: systems allow 256, and connections need some too.
pub(crate) const MAX_OPEN: usize = 96;

impl ChunkStore {
    /// Opens a folder for the wanted chunks of a model, and creates it if it does not exist. `tell` is called for each
    /// [`Event::Durable`] and [`Event::Tensor`].
    ///
    /// # Errors
    /// [`FetchError`]: no file or tensor is as wanted, or the folder cannot be written.
    pub fn open(
        folder: impl Into<PathBuf>,
        files: Arc<VerifiedFileList>,
        tensors: Option<Arc<VerifiedTensorList>>,
        wanted: &Wanted,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, FetchError> {
        let selection = Selection::of(&files, tensors.as_deref(), wanted)?;
        let destination = Destination::open(&folder.into())?;
        Self::new(destination, files, tensors, selection.targets, Arc::default(), Box::new(tell))
    }

    pub(crate) fn new(
        destination: Destination,
        files: Arc<VerifiedFileList>,
        tensors: Option<Arc<VerifiedTensorList>>,
        targets: Vec<Target>,
        figures: Arc<Figures>,
        tell: Box<dyn Fn(Event) + Send + Sync>,
    ) -> Result<Self, FetchError> {
        let targets: BTreeMap<_, _> =
            targets.into_iter().map(|target| (target.position, Arc::new(target))).collect();
        let verifier = ModelVerifier::only(Arc::clone(&files), targets.keys().copied());
        // A list that lets tensors overlap does not prevent the fetch: `verify` refuses its files.
        let ready = tensors.as_ref().and_then(|list| ReadyTensors::new(&files, Arc::clone(list)).ok());
        let open = targets.values().map(|target| target.wanted_bytes()).sum();
        figures.set_wanted(open);
        Ok(Self {
            verifier: verifier.map_err(FetchError::Entry)?,
            files,
            destination,
            targets,
            tensors,
            ready,
            inventory: Inventory::default(),
            figures,
            tell,
            holds: Box::new(|_, _| {}),
            open: AtomicU64::new(open),
            unsynced: AtomicU64::new(0),
            written: Mutex::default(),
            sync_now: Notify::new(),
            syncing: Mutex::default(),
        })
    }

    /// Calls a function with each run of chunks of a file that is here from now on, by the file's position.
    pub(crate) fn telling_runs(self, holds: impl Fn(usize, &Range<u64>) + Send + Sync + 'static) -> Self {
        Self { holds: Box::new(holds), ..self }
    }

    /// Accepts the layer of a file, by its position in the list. The chunks of the file can be judged from then on.
    ///
    /// # Errors
    /// [`FetchError::Entry`]: the layer is not the signed one, or the file is not wanted.
    pub fn accept_layer(&self, position: usize, layer: &[u8]) -> Result<(), FetchError> {
        self.verifier.accept_layer(position, layer).map_err(FetchError::Entry)
    }

    /// Judges whole chunks of a file from `first` on, and writes the good ones.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`FetchError`]: the file is not wanted, has no layer yet, or cannot be written. Wrong chunks are no error.
    pub fn accept(&self, position: usize, first: u64, bytes: &[u8]) -> Result<Accepted, FetchError> {
        let file = self.verifier.file(position).map_err(FetchError::Entry)?;
        let target = self.target(position)?;
        let mut accepted = Accepted::default();
        let mut take = |run: &VerifiedRun<'_>| {
            accepted.good.push(run.indices());
            self.write(target, run).map(|new| accepted.new += new)
        };
        let refused = match file.accept_run(first, bytes) {
            Ok(run) => return take(&run).map(|()| accepted),
            Err(refused) => refused,
        };
        let mut at = first;
        if let Some(run) = refused.accepted {
            at = run.indices().end;
            take(&run)?;
        }
        // Chunks behind a wrong one may be good.
        let unit = usize::try_from(target.grid.granule().bytes()).unwrap_or(usize::MAX).max(1);
        let from = usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX).saturating_mul(unit);
        let mut wrong = Vec::new();
        let rest = bytes.get(from..).unwrap_or_default();
        // An empty offer is refused as one wrong chunk.
        let pieces: Vec<&[u8]> = if rest.is_empty() { vec![rest] } else { rest.chunks(unit).collect() };
        for (nth, piece) in (0..).zip(pieces) {
            // A position beyond the last one is refused as such.
            let chunk = at.saturating_add(nth);
            match file.accept_run(chunk, piece) {
                Ok(run) => take(&run)?,
                Err(refused) => wrong.push(WrongChunk { chunk, why: refused.fault.to_string() }),
            }
        }
        accepted.wrong = wrong;
        Ok(accepted)
    }

    fn target(&self, position: usize) -> Result<&Arc<Target>, FetchError> {
        self.targets.get(&position).ok_or(FetchError::NothingWanted)
    }

    /// Writes an accepted run, unless it is there already.
    pub(crate) fn write(&self, target: &Target, run: &VerifiedRun<'_>) -> Result<u64, FetchError> {
        self.make_room_to_open(target)?;
        let Some(partial) = target.to_store(&run.indices(), &self.destination)? else { return Ok(0) };
        partial.write(run)?;
        let new = target.store(&run.indices());
        self.hold(target, run.indices());
        self.count(target, new);
        run.chunks().for_each(|chunk| self.tell_tensors(&chunk));
        Ok(new)
    }

    /// Counts chunks that are there and good. Returns how many bytes of them were not counted before.
    pub(crate) fn found(&self, target: &Target, chunks: &Range<u64>) -> u64 {
        let new = target.store(chunks);
        self.hold(target, chunks.clone());
        self.count(target, new);
        new
    }

    fn hold(&self, target: &Target, chunks: Range<u64>) {
        self.inventory.add(target.root, chunks.clone());
        (self.holds)(target.position, &chunks);
    }

    /// Counts a whole file that was found under its final name, as it was when it was read.
    pub(crate) fn found_in_place(&self, target: &Target, stamp: Option<Stamp>) {
        let new = target.is_in_place_already(stamp);
        self.hold(target, 0..target.grid.count());
        self.count(target, new);
    }

    /// The accepted and written chunks. Other tasks can wait for new ones.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Whether a chunk of a file was accepted and written.
    #[must_use]
    pub fn has(&self, position: usize, chunk: u64) -> bool {
        self.targets.get(&position).is_some_and(|target| self.inventory.has(&target.root, chunk))
    }

    /// Whether each of these chunks of a file was accepted and written.
    pub(crate) fn has_all(&self, position: usize, chunks: &Range<u64>) -> bool {
        let target = self.targets.get(&position);
        target.is_some_and(|target| self.inventory.has_all(&target.root, chunks))
    }

    /// Reads stored chunks, and verifies them again.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`FetchError`]: the chunks are not there, cannot be read, or are not the signed ones any more.
    pub fn read(&self, position: usize, chunks: Range<u64>) -> Result<Vec<u8>, FetchError> {
        let target = self.target(position)?;
        let file = self.verifier.file(position).map_err(FetchError::Entry)?;
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        let changed = |what: &str| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
            FetchError::from(weighbridge_store::IoError::at("read", target.path.as_str())(error))
        };
        if !self.inventory.has_all(&target.root, &chunks) {
            return Err(changed("these chunks are not there"));
        }
        let range = target.range(&chunks);
        let len = usize::try_from(target.bytes(&chunks)).unwrap_or(usize::MAX);
        let mut bytes = weighbridge_verify::PageBuffer::new();
        bytes.resize(len);
        if target.open_if_there(&self.destination)? {
            target.partial(&self.destination)?.read_at(&mut bytes, range.start)?;
        } else {
            let named = self.destination.finished(&target.path)?;
            let (named, _) = named.ok_or_else(|| changed("it was removed"))?;
            let read = weighbridge_store::read_exact_at(&named, &mut bytes, range.start);
            read.map_err(weighbridge_store::IoError::at("read", target.path.as_str()))?;
        }
        let run = file.accept_run(chunks.start, &bytes);
        let run = run.map_err(|_| changed("it was changed since it was verified"))?;
        Ok(run.bytes().to_vec())
    }

    /// The progress of the chunks.
    #[must_use]
    pub fn progress(&self) -> FetchProgress {
        self.figures.progress()
    }

    /// Whether everything that is wanted is durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.open.load(SeqCst) == 0
    }

    /// Closes files before the process has too many open: small files come faster than the sync batches.
    pub(crate) fn make_room_to_open(&self, target: &Target) -> Result<(), FetchError> {
        if self.destination.open_files() >= MAX_OPEN && !target.is_open() {
            self.sync()?;
            // Chunks may come to many files in turn, and complete none.
            if self.destination.open_files() >= MAX_OPEN {
                self.targets.values().for_each(|target| target.put_aside());
            }
        }
        Ok(())
    }

    /// Reports the tensors that a written chunk makes complete.
    pub(crate) fn tell_tensors(&self, chunk: &VerifiedChunk<'_>) {
        let complete = self.ready.iter().flat_map(|ready| ready.record(chunk));
        complete.for_each(|(_, tensor)| (self.tell)(Event::Tensor(Box::new(tensor.clone()))));
    }

    /// Reports that every tensor of a file is complete.
    pub(crate) fn tell_all_tensors(&self, target: &Target) {
        let tensors = self.tensors.iter().flat_map(|tensors| tensors.of_file(target.path.as_str()));
        let complete = tensors.filter(|tensor| tensor.size > 0);
        complete.for_each(|tensor| (self.tell)(Event::Tensor(Box::new(tensor.clone()))));
    }

    /// Counts verified bytes that wait to be synced.
    pub(crate) fn count(&self, target: &Target, bytes: u64) {
        lock(&self.written).insert(target.position);
        self.figures.add_verified(bytes);
        let before = self.unsynced.fetch_add(bytes, SeqCst);
        let FetchProgress { verified, wanted, .. } = self.figures.progress();
        // Once all is verified, no more bytes will come to fill the batch.
        if before + bytes >= BATCH || verified == wanted {
            self.sync_now.notify_one();
        }
    }

    /// Waits until enough is written to be synced, or a second has passed.
    pub(crate) async fn batch(&self) {
        let _ = tokio::time::timeout(BATCH_TIME, self.sync_now.notified()).await;
    }

    /// The file that will be synced first.
    pub(crate) fn first_unsynced(&self) -> Option<&str> {
        let first = *lock(&self.written).first()?;
        Some(self.targets.get(&first)?.path.as_str())
    }

    /// Syncs written chunks, and reports the durable ones. A file that cannot be synced does not keep the others from
    /// being synced.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`FetchError::Store`]: the first file that cannot be synced.
    pub fn sync(&self) -> Result<(), FetchError> {
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
                // Another process may have written the file and given it its name.
                let settled = self.destination.settle(&target.path).map_err(FetchError::from);
                result = result.and(settled.map(|()| self.count_durable(target, &chunks)));
            }
        }
        let synced = self.destination.sync(&files.iter().map(Arc::as_ref).collect::<Vec<&PartialFile>>());
        for ((target, chunks), synced) in written.into_iter().zip(synced) {
            result =
                result.and(synced.map(|()| self.count_durable(target, &chunks)).map_err(FetchError::from));
        }
        result
    }

    /// Counts chunks that were synced, reports them, and closes the file if nothing is left to write.
    fn count_durable(&self, target: &Target, chunks: &RangeSet) {
        let mut bytes = 0;
        for run in chunks.iter() {
            bytes += target.wanted.within(&run).map(|run| target.bytes(&run)).sum::<u64>();
            (self.tell)(Event::Durable { path: target.path.clone(), chunks: run });
        }
        self.figures.add_durable(bytes);
        self.open.fetch_sub(bytes, SeqCst);
        if target.is_done() {
            target.close();
        }
    }
}

impl fmt::Debug for ChunkStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkStore").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_testkit::{CHUNK, Sample};

    use super::*;

    /// Three chunks, the last of them shorter, and a file of one byte, which has no layer.
    fn sample() -> Sample {
        Sample::of(&[("a", 40_000), ("b", 1)], 1)
    }

    fn store(sample: &Sample) -> (tempfile::TempDir, ChunkStore) {
        let place = tempfile::tempdir().unwrap();
        let list = Arc::clone(&sample.list);
        let store = ChunkStore::open(place.path(), list, None, &Wanted::default(), |_| {}).unwrap();
        (place, store)
    }

    fn wrong(accepted: &Accepted) -> Vec<u64> {
        accepted.wrong.iter().map(|wrong| wrong.chunk).collect()
    }

    #[test]
    fn bytes_at_any_position_are_judged_and_only_good_ones_count() {
        let sample = sample();
        let (_place, store) = store(&sample);
        assert!(store.accept(0, 0, sample.bytes(0)).is_err(), "it has no layer yet");
        store.accept_layer(0, &sample.layers).unwrap();
        let chunk = usize::try_from(CHUNK).unwrap();
        let all = sample.bytes(0);
        for first in [1, 2, 3, 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX] {
            let accepted = store.accept(0, first, &all[..2 * chunk]).unwrap();
            assert!(accepted.good.is_empty() && accepted.new == 0, "{first}");
            assert_eq!(wrong(&accepted), [first, first.saturating_add(1)]);
        }
        // Nothing at all, a byte less than a chunk, and a byte more.
        assert_eq!(wrong(&store.accept(0, 0, b"").unwrap()), [0]);
        assert_eq!(wrong(&store.accept(0, 0, &all[..chunk - 1]).unwrap()), [0]);
        let longer = store.accept(0, 0, &all[..chunk + 1]).unwrap();
        assert_eq!((longer.good.clone(), wrong(&longer)), (vec![0..1; 1], vec![1]));
        // Past the end of the file, and once more what is there.
        let mut past = all.to_vec();
        past.push(0);
        let past = store.accept(0, 0, &past).unwrap();
        assert_eq!((past.new, wrong(&past)), (CHUNK, vec![2]));
        let again = store.accept(0, 0, all).unwrap();
        assert_eq!((again.new, wrong(&again)), (u64::try_from(all.len()).unwrap() - 2 * CHUNK, vec![]));
        assert!(store.accept(2, 0, b"x").is_err() && store.accept(usize::MAX, 0, b"x").is_err());
        assert_eq!(store.accept(1, 0, sample.bytes(1)).unwrap().new, 1);
        store.sync().unwrap();
        assert!(store.is_durable());
        assert_eq!(store.progress().verified, store.progress().wanted);
    }

    #[test]
    fn only_chunks_that_are_there_are_read() {
        let sample = sample();
        let (place, store) = store(&sample);
        store.accept_layer(0, &sample.layers).unwrap();
        store.accept(0, 0, sample.bytes(0)).unwrap();
        assert_eq!(store.read(0, 0..3).unwrap(), sample.bytes(0));
        for empty in [0..0, 5..5, Range { start: 5, end: 3 }, u64::MAX..u64::MAX] {
            assert!(store.read(0, empty).unwrap().is_empty());
        }
        for past in [2..4, 3..4, 0..1 << 63, u64::MAX - 1..u64::MAX] {
            assert!(store.read(0, past.clone()).is_err(), "{past:?}");
        }
        assert!(store.read(1, 0..1).is_err() && store.read(9, 0..1).is_err());
        assert!(!store.has(0, 3) && !store.has(0, u64::MAX) && !store.has(9, 0));
        // Somebody changes a byte on the disk.
        let root = sample.list.entries()[0].root;
        let path = place.path().join(format!("weighbridge/partial/{root}"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(store.read(0, 0..1).is_err() && store.read(0, 1..3).is_ok());
    }
}
