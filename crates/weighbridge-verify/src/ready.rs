//! Which tensors become complete with which chunk.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    ops::Range,
    sync::atomic::{
        AtomicU32, AtomicUsize,
        Ordering::{AcqRel, Acquire},
    },
};

use once_cell::race::OnceBox;
use weighbridge_manifest::{EntryPath, TensorEntry, TensorName, VerifiedFileList, VerifiedTensorList, shown};
use weighbridge_tree::{FileRoot, Grid};

use crate::{released::VerifiedChunk, verifier::grid_of};

/// Is told of each accepted chunk, and says which tensors have become complete with it.
///
/// Threads share it, as they share a [`ModelVerifier`](crate::ModelVerifier), and tell it of chunks in any order. One that
/// was told before completes nothing again.
///
/// # Guarantee
/// Each tensor that has bytes is given once: to the thread that tells of the last of its chunks. What other threads wrote
/// before they told of theirs is visible to that one.
///
/// # Non-guarantee
/// The list is what its signer saw. That the file's own header says the same is only known once the two were compared
/// (`spec/tensors.md`, V1 to V3).
///
/// # Cost
/// 32 bytes for each tensor that has bytes, and a bit for each chunk of the files of which one was told.
#[must_use]
pub struct ReadyTensors {
    tensors: Arc<VerifiedTensorList>,
    /// The files that have tensors with bytes, by position.
    files: Vec<Shard>,
    waiting: AtomicUsize,
}

/// A file with tensors.
struct Shard {
    position: usize,
    root: FileRoot,
    grid: Grid,
    /// A bit for each chunk that was told. Not there before the first: by then the layer of the file was accepted, and
    /// takes 256 times as much.
    told: OnceBox<Box<[AtomicU32]>>,
    /// Those with bytes, by offset. They are disjoint, so the first and the last chunks ascend too.
    tensors: Vec<Waiting>,
}

struct Waiting {
    /// In the tensor list.
    position: usize,
    chunks: Range<u64>,
    /// How many chunks were not told. Only whoever sets a chunk's bit subtracts, so it reaches 0 once.
    missing: AtomicUsize,
}

impl ReadyTensors {
    /// Waits for all tensors of a list that have bytes. `files` is the list that opened it.
    ///
    /// # Errors
    /// [`ReadyError`]: two tensors overlap (4113), which no header bears out; or the list is that of another model.
    ///
    /// # Cost
    /// A sort of the tensors of each file.
    pub fn new(
        files: &VerifiedFileList,
        tensors: impl Into<Arc<VerifiedTensorList>>,
    ) -> Result<Self, ReadyError> {
        let tensors = tensors.into();
        let mut shards = Vec::new();
        let mut first = 0_usize;
        for entries in tensors.entries().chunk_by(|a, b| a.file == b.file) {
            shards.extend(Shard::of(files, first, entries)?);
            first = first.saturating_add(entries.len());
        }
        let waiting = AtomicUsize::new(shards.iter().map(|shard| shard.tensors.len()).sum());
        // In the order of their paths, and so of their positions.
        Ok(Self { tensors, files: shards, waiting })
    }

    /// The tensors of no bytes, which are complete from the start, with their positions in the list.
    pub fn empty(&self) -> impl Iterator<Item = (usize, &TensorEntry)> {
        self.tensors.entries().iter().enumerate().filter(|(_, tensor)| tensor.size == 0)
    }

    /// Takes note of an accepted chunk, and gives the tensors that are complete with it, by offset, with their positions
    /// in the list.
    ///
    /// None, if the chunk was told before, no tensor has bytes in it, or it is of another model.
    ///
    /// # Panics
    /// Never, for any chunk.
    ///
    /// # Cost
    /// Two binary searches, and an atomic operation for the chunk and each tensor that has bytes in it; nothing is
    /// allocated but the first time for a file, and for what is given. No lock.
    #[must_use = "no tensor is given twice"]
    pub fn told(&self, chunk: &VerifiedChunk<'_>) -> Vec<(usize, &TensorEntry)> {
        let mut ready = Vec::new();
        for waiting in self.first_told(chunk) {
            if waiting.missing.fetch_sub(1, AcqRel) == 1 {
                self.waiting.fetch_sub(1, AcqRel);
                ready.extend(
                    self.tensors.entries().get(waiting.position).map(|tensor| (waiting.position, tensor)),
                );
            }
        }
        ready
    }

    /// The tensors that have bytes in a chunk, if it was not told before.
    fn first_told(&self, chunk: &VerifiedChunk<'_>) -> &[Waiting] {
        let shard = self.files.binary_search_by_key(&chunk.position(), |shard| shard.position);
        let Some(shard) = shard.ok().and_then(|at| self.files.get(at)) else { return &[] };
        if shard.is_own(chunk) && shard.tell(chunk.index()) { shard.touched(chunk.index()) } else { &[] }
    }

    /// How many tensors are not complete yet. Never rises.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Acquire)
    }

    /// The list.
    #[must_use]
    pub fn tensors(&self) -> &VerifiedTensorList {
        &self.tensors
    }
}

impl Shard {
    /// For the tensors of one file, of which the first is at position `first` of the list; `None` if none has bytes.
    fn of(
        files: &VerifiedFileList,
        first: usize,
        entries: &[TensorEntry],
    ) -> Result<Option<Self>, ReadyError> {
        let mut sorted: Vec<_> = (first..).zip(entries).filter(|(_, tensor)| tensor.size != 0).collect();
        let Some((_, any)) = sorted.first() else { return Ok(None) };
        let stranger = |tensor: &TensorEntry| ReadyError::NotInModel { file: tensor.file.clone() };
        let (position, file) = files.find(any.file.as_str()).ok_or_else(|| stranger(any))?;
        let grid = grid_of(file, files.chunk_size()).map_err(|_| stranger(any))?;
        sorted.sort_unstable_by_key(|(position, tensor)| (tensor.offset, *position));
        let mut before: Option<&TensorEntry> = None;
        let mut tensors = Vec::with_capacity(sorted.len());
        for (position, tensor) in sorted {
            let bytes = tensor.offset..tensor.offset.saturating_add(tensor.size);
            if let Some(before) = before.filter(|b| b.offset.saturating_add(b.size) > bytes.start) {
                let (first, second) = (before.name.clone(), tensor.name.clone());
                return Err(ReadyError::Overlap { file: tensor.file.clone(), first, second });
            }
            before = Some(tensor);
            let chunks = grid.chunks_of(&bytes).ok_or_else(|| stranger(tensor))?;
            // Where this does not fit, no layer of so many chunks can be accepted, and none is ever told.
            let missing = usize::try_from(chunks.end.saturating_sub(chunks.start)).unwrap_or(usize::MAX);
            tensors.push(Waiting { position, chunks, missing: AtomicUsize::new(missing) });
        }
        Ok(Some(Self { position, root: file.root, grid, told: OnceBox::new(), tensors }))
    }

    /// Whether a chunk is one of this file, in this division into chunks.
    fn is_own(&self, chunk: &VerifiedChunk<'_>) -> bool {
        chunk.root() == self.root && self.grid.range(chunk.index()) == Some(chunk.range())
    }

    /// Whether this chunk is told for the first time.
    fn tell(&self, index: u64) -> bool {
        let told = self.told.get_or_init(|| {
            let words = usize::try_from(self.grid.count().div_ceil(32)).unwrap_or(0);
            Box::new(core::iter::repeat_with(AtomicU32::default).take(words).collect())
        });
        let word = usize::try_from(index >> 5).ok().and_then(|word| told.get(word));
        let bit = 1_u32.wrapping_shl(u32::try_from(index & 31).unwrap_or(0));
        word.is_some_and(|word| word.fetch_or(bit, AcqRel) & bit == 0)
    }

    fn touched(&self, index: u64) -> &[Waiting] {
        let first = self.tensors.partition_point(|tensor| tensor.chunks.end <= index);
        let end = self.tensors.partition_point(|tensor| tensor.chunks.start <= index);
        self.tensors.get(first..end).unwrap_or_default()
    }
}

impl fmt::Debug for ReadyTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyTensors").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// Why the tensors of a list cannot be waited for.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyError {
    /// Two tensors of one file overlap. No header bears that out, and one chunk could be told for all tensors (rule 12).
    Overlap {
        /// The file.
        file: EntryPath,
        /// The tensor that begins first, or the first in the list of two that begin together.
        first: TensorName,
        /// The other.
        second: TensorName,
    },
    /// The model has no such file, or not with bytes where a tensor lies: two lists that do not belong together. The
    /// caller's fault.
    NotInModel {
        /// The file.
        file: EntryPath,
    },
}

impl ReadyError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Overlap { .. } => 4113,
            Self::NotInModel { .. } => 9999,
        }
    }
}

impl fmt::Display for ReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { file, first, second } => {
                let (first, second) = (shown(first.as_str()), shown(second.as_str()));
                let file = shown(file.as_str());
                write!(f, "{file}: tensors '{first}' and '{second}' are listed with the same bytes")
            }
            Self::NotInModel { file } => {
                write!(
                    f,
                    "API misuse: the tensor list is of another model, which has {}",
                    shown(file.as_str())
                )
            }
        }
    }
}

impl core::error::Error for ReadyError {}
