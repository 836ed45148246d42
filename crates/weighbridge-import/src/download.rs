//! Gets the bytes of files from one source, over several connections, in the order of the files.
//!
//! Nothing is judged here. Bytes are written where the file comes to be, and whoever hashes it is told.

use std::{
    collections::VecDeque,
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
#[derive(Debug)]
struct Piece {
    file: usize,
    range: Range<u64>,
}

/// Why a request did not give what it was to give.
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
    queue: Mutex<VecDeque<Piece>>,
    figures: Arc<Figures>,
}

impl Download {
    /// Prepares to get what is missing of the files.
    pub(crate) fn new(
        source: Arc<dyn Source>,
        destination: Arc<Destination>,
        figures: Arc<Figures>,
        files: Vec<Coming>,
    ) -> Self {
        let mut queue = VecDeque::new();
        for (file, coming) in files.iter().enumerate() {
            for missing in coming.arrived.missing(coming.size) {
                let mut start = missing.start;
                while start < missing.end {
                    // Requests end at the same places in each run.
                    let end = missing.end.min((start / PIECE + 1) * PIECE);
                    queue.push_back(Piece { file, range: start..end });
                    start = end;
                }
            }
        }
        Self { source, destination, files, queue: Mutex::new(queue), figures }
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
        Ok(())
    }

    async fn connection(self: Arc<Self>) -> Result<(), ImportError> {
        while let Some(mut piece) = self.take() {
            self.figures.pauses.wait().await;
            match self.get(&mut piece).await {
                Ok(()) => self.figures.pauses.end(),
                Err(End::Here(error)) => return Err(*error),
                Err(End::NoRanges) => self.ask_for_all_of(piece.file),
                Err(End::Fault(fault)) => {
                    let path = self.path(&piece);
                    self.give_back(piece);
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
        if body.start() < piece.range.start {
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
            let mut rest = &frame[..];
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

    /// Asks for all of a file in one request, in place of all other requests for it.
    fn ask_for_all_of(&self, file: usize) {
        let mut queue = self.queue();
        queue.retain(|piece| piece.file != file);
        if let Some(coming) = self.files.get(file) {
            queue.push_front(Piece { file, range: 0..coming.size });
        }
    }

    fn take(&self) -> Option<Piece> {
        self.queue().pop_front()
    }

    fn give_back(&self, piece: Piece) {
        self.queue().push_front(piece);
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Piece>> {
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
const PIECE: u64 = 16 << 20;
/// The bytes that are written at once.
const BLOCK: usize = 1 << 20;
/// A multiple of the pages of all systems.
const PAGE: usize = 1 << 16;
/// How long a source may give nothing.
const SILENCE: Duration = Duration::from_secs(30);
