//! The guide of a fetch that shares its sources with other fetches, and the chunks that such a fetch holds for others.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use weighbridge_manifest::{VerifiedFileList, VerifiedTensorList};
use weighbridge_tree::{FileRoot, Layer};

use crate::{
    board::Board,
    decide::WishId,
    error::FetchError,
    event::{SourceId, SourceStatus},
    work::chunk_store::ChunkStore,
};

/// Says what each source of a fetch is asked for, where others ask the same sources: the plan of a swarm.
///
/// Without a guide, a fetch asks each source for as much as the source gives. With one, each source has one connection,
/// and is asked for one run of chunks at a time: the one that the guide names.
///
/// One that never [directs](Self::directs) needs [`begin`](Self::begin) and [`holds`](Self::holds) alone: it hears what comes, and
/// reads it while the fetch runs.
///
/// # Guarantee
/// A guide decides about speed and load alone. Whatever it says, no source is asked for a chunk that it may not serve,
/// no chunk is asked of more than two sources at once, and each chunk is judged as ever.
///
/// # Non-guarantee
/// A fetch whose guide names nothing for ever does not end by itself.
///
/// # Contract
/// The methods are called between two decisions of the fetch: they return at once, wait for nothing, and call nothing
/// of the fetch.
pub trait Guide: fmt::Debug + Send + Sync {
    /// The lists are known, and the folder is open. Called once, before any other method.
    fn begin(&self, holding: &Holding);

    /// Whether the guide directs the fetch now. While it does not, the fetch asks its sources as if it had no guide.
    fn directs(&self) -> bool {
        false
    }

    /// Whether [`next`](Self::next) may name a run for this source now. It is asked before a connection is begun: a wrong yes costs
    /// little, and a wrong no lets the source rest until something changes.
    fn may_ask(&self, _source: SourceId) -> bool {
        true
    }

    /// The next run for a source whose connection is free; `None` if it is to rest for now. The source is asked for
    /// those chunks of the run that are missing and that no other connection has.
    fn next(&self, _source: SourceId, _now: Instant) -> Option<NamedRun> {
        None
    }

    /// A request to a source has ended: that for the run that [`next`](Self::next) named last for it, or one from the time
    /// in which the guide did not direct. `is_done` tells whether
    /// each of its chunks is here now; if not, the rest is to be asked for again.
    fn ended(&self, _source: SourceId, _is_done: bool, _now: Instant) {}

    /// Chunks of a file are not on the disk, and are to be asked for. No run has any others: the fetch looks at what is there, while it
    /// asks for what is not. May be called for the same chunks twice.
    fn lacks(&self, _file: usize, _chunks: &Range<u64>) {}

    /// Chunks of a file were accepted and written, or found on the disk. May be called for the same chunks twice.
    fn holds(&self, file: usize, chunks: &Range<u64>);

    /// The run that [`next`](Self::next) named last for this source was not asked for: none of its chunks may be asked of
    /// the source now.
    fn not_asked(&self, _source: SourceId, _now: Instant) {}

    /// The source gives the run that [`next`](Self::next) named last for it to another fetch now, and for this time to that one
    /// alone. It is no fault of the source. [`ended`](Self::ended) follows.
    fn held_back(&self, _source: SourceId, _time: Duration, _now: Instant) {}

    /// A source gave this many bytes that were accepted, and were not here before. The source may have left meanwhile.
    fn gave(&self, _source: SourceId, _bytes: u64) {}

    /// A source gave chunks that are not the signed ones. Its blame is decided later (rule 11). The source may have left
    /// meanwhile.
    fn gave_wrong(&self, _source: SourceId) {}

    /// The status of a source has changed.
    fn source(&self, _status: &SourceStatus) {}
}

/// Chunks of one file that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRun {
    /// The position of the file in the list.
    pub file: usize,
    /// The chunks, by position.
    pub chunks: Range<u64>,
    /// Whether chunks that are being asked of one other source are asked for once more.
    pub is_copy: bool,
    /// The claim of the run, for sources that tell the fetches of a swarm apart.
    pub claim: Option<Claim>,
}

/// The claim of a member of a swarm to a range that it asks a source for (`spec/swarm.md`, W21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The tag by which a source that has the swarm's ticket knows the member.
    pub tag: [u8; 16],
    /// The time for which the source is to give the range to no other member; zero if it may.
    pub lease: Duration,
}

/// The chunks that a fetch holds, for as long as anybody keeps this: also while it runs, and after it has ended.
///
/// # Guarantee
/// Only accepted chunks are there, and they are judged again in the memory into which they are read (rule 10).
#[derive(Clone)]
pub struct Holding {
    chunks: Arc<ChunkStore>,
    note: Arc<[u8]>,
    /// The fetch, while it runs.
    board: Weak<Board>,
}

impl Holding {
    pub(crate) fn new(chunks: Arc<ChunkStore>, note: &[u8], board: &Arc<Board>) -> Self {
        Self { chunks, note: note.into(), board: Arc::downgrade(board) }
    }

    /// The bytes of `head.note`.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// The list of files.
    #[must_use]
    pub fn files(&self) -> &Arc<VerifiedFileList> {
        &self.chunks.files
    }

    /// The list of tensors, if the model has one.
    #[must_use]
    pub fn tensors(&self) -> Option<&Arc<VerifiedTensorList>> {
        self.chunks.tensors.as_ref()
    }

    /// The wanted files: the position and root of each, and whether all of it is wanted. Of several whole files with
    /// the same root only the first is named.
    pub fn wanted(&self) -> impl Iterator<Item = (usize, FileRoot, bool)> {
        self.chunks.targets.values().map(|target| (target.position, target.root, target.is_whole()))
    }

    /// The layer of a file, once it is known.
    #[must_use]
    pub fn layer(&self, file: usize) -> Option<&Layer> {
        self.chunks.verifier.file(file).ok().map(weighbridge_verify::FileVerifier::layer)
    }

    /// Whether all of these chunks are here.
    #[must_use]
    pub fn has(&self, file: usize, chunks: &Range<u64>) -> bool {
        self.chunks.has_all(file, chunks)
    }

    /// Asks for missing chunks before all others, for as long as the wish is kept; several wishes have turns. `None` once the
    /// fetch has ended.
    ///
    /// # Non-guarantee
    /// What a source has begun to send comes first: up to 1 MiB of each connection, or a chunk. While a [`Guide`] directs the fetch,
    /// wishes change nothing.
    ///
    /// # Cost
    /// Each wish costs a look whenever a source is asked for more: the caller limits their number.
    pub fn wish(&self, file: usize, chunks: Range<u64>) -> Option<Wish> {
        let board = self.board.upgrade()?;
        let id = board.decide().wish(file, chunks);
        board.shortened.notify_waiters();
        Some(Wish { id, board: Weak::clone(&self.board) })
    }

    /// Reads chunks that are here, and judges them again.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`FetchError`]: the chunks are not there, cannot be read, or are not the signed ones any more.
    pub fn read(&self, file: usize, chunks: Range<u64>) -> Result<Vec<u8>, FetchError> {
        self.chunks.read(file, chunks)
    }
}

/// A wish for chunks that somebody waits for. It ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Wish {
    id: WishId,
    board: Weak<Board>,
}

impl Drop for Wish {
    fn drop(&mut self) {
        if let Some(board) = self.board.upgrade() {
            board.decide().end_wish(self.id);
        }
    }
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").finish_non_exhaustive()
    }
}
