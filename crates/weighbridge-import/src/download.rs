//! Gets the bytes of files from one source, over several connections, in the order of the files.
//!
//! Nothing is judged here. Bytes are written where the file comes to be, and whoever hashes it is told.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};
use weighbridge_manifest::EntryPath;
use weighbridge_store::{Destination, StoreError, Unjudged};
use weighbridge_transfer::{Fault, Source, What, read_range};
use weighbridge_tree::FileRoot;

use crate::{arrived::Arrived, error::ImportError, figures::Figures};

/// A file that comes from the source.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) path: EntryPath,
    pub(crate) size: u64,
    /// The key of the file in which the bytes come together.
    pub(crate) key: FileRoot,
    pub(crate) arrived: Arc<Arrived>,
    state: Mutex<FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    /// Open while bytes come. A system takes only so many open files.
    file: Option<Arc<Unjudged>>,
    /// The number of bytes that are still to be written.
    left: u64,
}

impl Coming {
    pub(crate) fn new(path: EntryPath, size: u64, key: FileRoot) -> Self {
        let state = Mutex::new(FileState { file: None, left: size });
        Self { path, size, key, arrived: Arc::default(), state }
    }

    /// Makes the file, or notes what an earlier run has written of it. Returns how many bytes that is.
    pub(crate) fn resume(&self, destination: &Destination) -> Result<u64, StoreError> {
        let mut found = 0;
        for run in destination.unjudged(self.key, self.size)?.written()? {
            found += run.end - run.start;
            self.arrived.add(&run);
        }
        self.arrived.made();
        self.came(found);
        Ok(found)
    }

    /// Opens the file, unless it is open.
    fn open(&self, destination: &Destination) -> Result<Arc<Unjudged>, StoreError> {
        let mut state = self.state();
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(destination.unjudged(self.key, self.size)?);
        state.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Counts written bytes, and closes the file after the last one.
    fn came(&self, bytes: u64) {
        let mut state = self.state();
        state.left = state.left.saturating_sub(bytes);
        if state.left == 0 {
            state.file = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a file that one request asks for.
#[derive(Clone, Debug)]
struct Piece {
    file: usize,
    range: Range<u64>,
    /// Whether this is all that is left of a file which the source gives from its beginning on, whatever it is asked for.
    is_rest: bool,
}

/// The requests that are still to be sent.
#[derive(Debug)]
struct Queue {
    /// The missing parts, in order. They are cut into pieces when they are taken: nobody has checked how long a listed file is.
    pieces: VecDeque<Piece>,
    /// The length of a piece in bytes.
    piece: u64,
    /// The number of pieces of each file that are being asked for.
    asked: BTreeMap<usize, usize>,
    /// The files that the source gives from their beginning on, whatever it is asked for.
    whole: BTreeSet<usize>,
}

impl Queue {
    /// The first piece. All that is left of a file which is given as a whole is one piece, once no other is asked for.
    fn take(&mut self) -> Option<Piece> {
        let is_asked = |file: &usize| self.asked.get(file).is_some_and(|count| *count > 0);
        let is_free = |piece: &Piece| !self.whole.contains(&piece.file) || !is_asked(&piece.file);
        let at = self.pieces.iter().position(is_free)?;
        let mut piece = self.pieces.remove(at)?;
        if self.whole.contains(&piece.file) {
            piece.is_rest = true;
            let of_file = |other: &Piece| other.file == piece.file;
            let others = self.pieces.iter().filter(|other| of_file(other)).map(|other| other.range.clone());
            let range = others
                .fold(piece.range.clone(), |all, other| all.start.min(other.start)..all.end.max(other.end));
            self.pieces.retain(|other| !of_file(other));
            piece.range = range;
        }
        // Requests end at the same places in each run.
        let border = (piece.range.start / self.piece).saturating_add(1).saturating_mul(self.piece);
        if !piece.is_rest && border < piece.range.end {
            self.pieces.insert(at, Piece { range: border..piece.range.end, ..piece.clone() });
            piece.range.end = border;
        }
        *self.asked.entry(piece.file).or_default() += 1;
        Some(piece)
    }

    /// A request for a piece has ended. What is left of it is asked for again.
    fn ended(&mut self, piece: Piece) {
        let asked = self.asked.entry(piece.file).or_default();
        *asked = asked.saturating_sub(1);
        if !piece.range.is_empty() {
            self.pieces.push_front(piece);
        }
    }
}

/// The reason why a request did not give all that it asked for.
enum End {
    Fault(Fault),
    /// The source begins at the beginning of files, whatever it is asked for.
    NoRanges,
    Here(Box<ImportError>),
}

/// The files that come, and what is still to be asked for.
pub(crate) struct Download {
    source: Arc<dyn Source>,
    destination: Arc<Destination>,
    pub(crate) files: Vec<Coming>,
    queue: Mutex<Queue>,
    /// The error of the first file that the source does not have. The others come all the same.
    missing: Mutex<Option<ImportError>>,
    figures: Arc<Figures>,
}

impl Download {
    /// Prepares to get what is missing of the files, in requests for at most `piece` bytes.
    pub(crate) fn new(
        source: Arc<dyn Source>,
        destination: Arc<Destination>,
        figures: Arc<Figures>,
        files: Vec<Coming>,
        piece: u64,
    ) -> Self {
        let mut pieces = VecDeque::new();
        for (file, coming) in files.iter().enumerate() {
            let missing = coming.arrived.missing(coming.size).into_iter();
            pieces.extend(missing.map(|range| Piece { file, range, is_rest: false }));
        }
        let queue = Queue { pieces, piece, asked: BTreeMap::new(), whole: BTreeSet::new() };
        Self { source, destination, files, queue: Mutex::new(queue), missing: Mutex::default(), figures }
    }

    /// Gets everything. Whoever waits for bytes is told if they will not come.
    pub(crate) async fn run(self: &Arc<Self>) -> Result<(), ImportError> {
        let _end = Ending(self);
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let this = Arc::clone(self);
            connections.spawn(async move { this.connection().await });
        }
        while let Some(ended) = connections.join_next().await {
            ended.unwrap_or(Err(ImportError::Bug))?;
        }
        self.missing().take().map_or(Ok(()), Err)
    }

    async fn connection(self: Arc<Self>) -> Result<(), ImportError> {
        while let Some(mut piece) = self.take() {
            self.figures.pauses.wait().await;
            let got = self.get(&mut piece).await;
            let (file, path) = (piece.file, self.path(&piece));
            self.queue().ended(piece);
            match got {
                Ok(()) => self.figures.pauses.end(),
                Err(End::NoRanges) => {}
                Err(End::Here(error)) => return Err(*error),
                Err(End::Fault(fault @ (Fault::Missing | Fault::OtherFile(_)))) => {
                    self.queue().pieces.retain(|piece| piece.file != file);
                    self.files.get(file).into_iter().for_each(|coming| coming.arrived.end());
                    self.missing().get_or_insert(ImportError::Source { path, fault });
                }
                Err(End::Fault(fault)) => {
                    self.figures
                        .pauses
                        .begin(&fault, Instant::now())
                        .map_err(|()| ImportError::Source { path, fault })?;
                }
            }
        }
        Ok(())
    }

    /// Gets a piece, and writes it as it comes. Afterwards `piece` is what is left of it.
    async fn get(self: &Arc<Self>, piece: &mut Piece) -> Result<(), End> {
        let coming = self.coming(piece)?;
        let what = What::Listed { path: coming.path.clone(), size: coming.size };
        let opened = timeout(SILENCE, read_range(&*self.source, &what, piece.range.clone())).await;
        let mut body = opened.map_err(|_| End::Fault(silent()))?.map_err(End::Fault)?;
        let mut skipped = piece.range.start.saturating_sub(body.start());
        if skipped > 0 && !piece.is_rest {
            self.queue().whole.insert(piece.file);
            return Err(End::NoRanges);
        }
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            let frame = match timeout(SILENCE, body.next()).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(fault)) => {
                    self.write_pages(piece, block).await?;
                    return Err(End::Fault(fault));
                }
                Err(_) => {
                    self.write_pages(piece, block).await?;
                    return Err(End::Fault(silent()));
                }
            };
            let Some(frame) = frame else { break };
            self.figures.received.fetch_add(u64::try_from(frame.len()).unwrap_or(u64::MAX), SeqCst);
            let unwanted = usize::try_from(skipped).unwrap_or(usize::MAX).min(frame.len());
            skipped -= u64::try_from(unwanted).unwrap_or(0);
            let mut rest = frame.get(unwanted..).unwrap_or_default();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(BLOCK.saturating_sub(block.len())));
                block.extend_from_slice(now);
                rest = later;
                if block.len() == BLOCK {
                    block = self.write(piece, block).await?;
                }
            }
        }
        self.write(piece, block).await.map(drop)
    }

    /// Writes the whole pages of a block that is not complete: a later run cannot tell which bytes of a page were written.
    async fn write_pages(self: &Arc<Self>, piece: &mut Piece, mut block: Vec<u8>) -> Result<(), End> {
        block.truncate(block.len() - block.len() % PAGE);
        self.write(piece, block).await.map(drop)
    }

    /// Writes a block, and gives its memory back.
    async fn write(self: &Arc<Self>, piece: &mut Piece, mut block: Vec<u8>) -> Result<Vec<u8>, End> {
        let written = piece.range.start..piece.range.start + u64::try_from(block.len()).unwrap_or(u64::MAX);
        if written.is_empty() {
            return Ok(block);
        }
        let (this, file, range) = (Arc::clone(self), piece.file, written.clone());
        let work = tokio::task::spawn_blocking(move || {
            let coming = this.files.get(file).ok_or(ImportError::Bug)?;
            let unjudged = coming.open(&this.destination)?;
            unjudged.write_at(&block, range.start)?;
            drop(unjudged);
            coming.came(range.end - range.start);
            coming.arrived.add(&range);
            block.clear();
            Ok(block)
        });
        let block =
            work.await.unwrap_or(Err(ImportError::Bug)).map_err(|error| End::Here(Box::new(error)))?;
        piece.range.start = written.end;
        Ok(block)
    }

    fn coming(&self, piece: &Piece) -> Result<&Coming, End> {
        self.files.get(piece.file).ok_or_else(|| End::Here(Box::new(ImportError::Bug)))
    }

    fn path(&self, piece: &Piece) -> Option<EntryPath> {
        self.files.get(piece.file).map(|coming| coming.path.clone())
    }

    fn take(&self) -> Option<Piece> {
        self.queue().take()
    }

    fn missing(&self) -> MutexGuard<'_, Option<ImportError>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends all waiting for bytes, however the download ends.
struct Ending<'a>(&'a Download);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.files.iter().for_each(|coming| coming.arrived.end());
    }
}

fn silent() -> Fault {
    Fault::Unreachable(format!("gave nothing for {} s", SILENCE.as_secs()))
}

/// As many connections as browsers and other clients of hubs have to one server.
const CONNECTIONS: usize = 8;
/// The most bytes that one request asks for.
pub(crate) const PIECE: u64 = 16 << 20;
/// The bytes that are written at once.
const BLOCK: usize = 1 << 20;
/// A multiple of the pages of all systems.
const PAGE: usize = 1 << 16;
/// The longest time for which a source may give nothing.
const SILENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use async_trait::async_trait;
    use futures_util::{StreamExt as _, stream};
    use weighbridge_transfer::Body;

    use super::*;

    /// A file in memory, which is given from its beginning on, or from where it is asked for.
    #[derive(Debug)]
    struct InMemory {
        bytes: Vec<u8>,
        has_ranges: bool,
        /// The bytes that were read of all answers.
        given: Arc<AtomicU64>,
        /// The number of answers that are still broken off in their middle.
        breaks: AtomicU64,
    }

    #[async_trait]
    impl Source for InMemory {
        fn name(&self) -> &'static str {
            "memory"
        }

        async fn whole(&self, _: &What, _: u64) -> Result<Vec<u8>, Fault> {
            Err(Fault::Missing)
        }

        async fn open(&self, _: &What, range: Range<u64>) -> Result<Body, Fault> {
            // All requests of the beginning are answered at the same time.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let start = if self.has_ranges { range.start } else { 0 };
            let part = usize::try_from(start).unwrap()..usize::try_from(range.end).unwrap();
            let bytes = self.bytes[part].to_vec();
            let is_broken = self.breaks.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            let bytes = if is_broken { bytes[..bytes.len() / 2].to_vec() } else { bytes };
            let given = Arc::clone(&self.given);
            let pieces: Vec<Vec<u8>> = bytes.chunks(10_000).map(<[u8]>::to_vec).collect();
            let pieces = stream::iter(pieces).map(move |piece| {
                given.fetch_add(piece.len() as u64, SeqCst);
                Ok(piece.into())
            });
            Ok(Body::new(start, pieces))
        }
    }

    const SIZE: u64 = 40 << 16;

    async fn downloaded(has_ranges: bool, breaks: u64, there: &[Range<u64>]) -> (u64, u64) {
        let place = tempfile::tempdir().unwrap();
        let destination = Arc::new(Destination::open(place.path()).unwrap());
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let bytes: Vec<u8> = b"weights, ".iter().copied().cycle().take(at(SIZE)).collect();
        let key = FileRoot::of(b"key");
        for run in there {
            let part = &bytes[at(run.start)..at(run.end)];
            destination.unjudged(key, SIZE).unwrap().write_at(part, run.start).unwrap();
        }
        let coming = Coming::new(EntryPath::parse("model.bin").unwrap(), SIZE, key);
        let found = coming.resume(&destination).unwrap();
        let (given, breaks) = (Arc::default(), AtomicU64::new(breaks));
        let source = Arc::new(InMemory { bytes: bytes.clone(), has_ranges, given, breaks });
        let figures = Arc::<Figures>::default();
        let of = Arc::clone(&source) as Arc<dyn Source>;
        let download = Download::new(of, Arc::clone(&destination), figures, vec![coming], 4 << 16);
        Arc::new(download).run().await.unwrap();
        assert!(std::fs::read(&*destination.place_of_unjudged(key).unwrap()).unwrap() == bytes);
        (found, source.given.load(SeqCst))
    }

    /// A listing may say anything below 2^53.
    #[test]
    fn a_file_of_any_length_takes_no_memory_before_it_comes() {
        for size in [0, 1, PIECE, PIECE + 1, 1 << 32, (1 << 53) - 1, u64::MAX] {
            let all = Piece { file: 0, range: 0..size, is_rest: false };
            let pieces = if size == 0 { VecDeque::new() } else { VecDeque::from([all]) };
            let mut queue = Queue { pieces, piece: PIECE, asked: BTreeMap::new(), whole: BTreeSet::new() };
            let mut at = 0;
            while let Some(piece) = queue.take().filter(|_| at < 5 * PIECE) {
                assert!(piece.range.start == at && piece.range.end <= (at + PIECE).min(size), "{piece:?}");
                at = piece.range.end;
                assert!(queue.pieces.len() <= 1);
            }
            assert!(at == size || at == 5 * PIECE, "{at} of {size}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_comes_once() {
        assert_eq!(downloaded(true, 0, &[]).await, (0, SIZE));
        let there = [0..1 << 16, 9 << 16..30 << 16];
        assert_eq!(downloaded(true, 0, &there).await, (22 << 16, SIZE - (22 << 16)));
        // What came of a broken answer is kept, by the page.
        let (_, given) = downloaded(true, 2, &[]).await;
        assert!(given <= SIZE + (2 << 16), "{given}");
    }

    #[tokio::test]
    async fn a_source_without_ranges_gives_the_rest_once_and_not_for_each_request() {
        let (_, given) = downloaded(false, 0, &[]).await;
        assert_eq!(given, SIZE + (4 << 16), "the first piece, and the rest from the beginning on");
        let (_, given) = downloaded(false, 0, &[0..39 << 16; 1]).await;
        assert_eq!(given, SIZE);
    }
}
