//! The tensors that become complete as chunks are accepted.

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
use weighbridge_tree::{Coded, ErrorCode, FileRoot, Grid};

use crate::{released::VerifiedChunk, verifier::grid_of};

/// Records each accepted chunk, and returns the tensors that the chunk completes.
///
/// Threads share it as they share a [`ModelVerifier`](crate::ModelVerifier), and record chunks in any order. A chunk
/// that was recorded before completes nothing again.
///
/// # Guarantee
/// Each tensor that has bytes is returned once: to the thread that records the last of the tensor's chunks. All writes
/// of other threads before they recorded their chunks are visible to that thread.
///
/// # Non-guarantee
/// The tensor list is the signer's claim. Whether the file's own header says the same is known only once the two are
/// compared (`spec/tensors.md`, V1 to V3).
///
/// # Cost
/// 32 bytes for each tensor that has bytes, and one bit for each chunk of every file with a recorded chunk.
///
/// # Example
/// ```
/// use weighbridge_verify::{ModelVerifier, ReadyTensors};
/// # use weighbridge_testkit::{Draft, bytes, safetensors};
/// # let content = safetensors(&[("first", &bytes(20_000, 1)), ("second", &bytes(20_000, 2))]);
/// # let model = [("model.safetensors", content.clone())];
/// # let signed = Draft::of(&model, weighbridge_verify::tree::ChunkSize::MIN).sign();
/// # let layers = std::fs::read(signed.folder.at("chunks.layer"))?;
/// # let (files, tensors) = (signed.files, signed.tensors.unwrap());
///
/// // A model of one file, in which two tensors of 20,000 bytes follow a short header.
/// let verifier = ModelVerifier::new(files)?;
/// verifier.accept_layers(&layers)?;
/// let ready = ReadyTensors::new(verifier.files(), tensors)?;
///
/// let chunks: Vec<_> = (0..).zip(content.chunks(16_384)).collect();
/// let mut completed = Vec::new();
/// for (index, bytes) in chunks.into_iter().rev() {
///     let chunk = verifier.accept(0, index, bytes)?;
///     // Write the chunk to its place; then:
///     completed.extend(ready.record(&chunk).iter().map(|(_, tensor)| (index, tensor.name.as_str())));
/// }
/// assert_eq!(completed, [(1, "second"), (0, "first")]);
/// assert_eq!(ready.waiting(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// One bit for each recorded chunk. Allocated once a chunk is recorded: by then the layer of the file is accepted,
    /// which takes 256 times as much memory.
    recorded: OnceBox<Box<[AtomicU32]>>,
    /// The tensors with bytes, by offset. They do not overlap, so their first and last chunks ascend too.
    tensors: Vec<Waiting>,
}

struct Waiting {
    /// The position in the tensor list.
    position: usize,
    chunks: Range<u64>,
    /// The number of chunks that were not recorded yet. Only the thread that sets a chunk's bit subtracts, so this
    /// reaches 0 once.
    missing: AtomicUsize,
}

impl ReadyTensors {
    /// Waits for all tensors of a list that have bytes. `files` is the file list that opened the tensor list.
    ///
    /// # Errors
    /// [`ReadyError`]: two tensors overlap (4113), which no valid header allows; or the tensor list is that of another
    /// model.
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
        // The tensor list is sorted by path, so the shards are sorted by file position.
        Ok(Self { tensors, files: shards, waiting })
    }

    /// The tensors of no bytes, with their positions in the list. They are complete from the start.
    pub fn empty(&self) -> impl Iterator<Item = (usize, &TensorEntry)> {
        self.tensors.entries().iter().enumerate().filter(|(_, tensor)| tensor.size == 0)
    }

    /// Records an accepted chunk, and returns the tensors that this chunk completes, by offset, with their positions in
    /// the list.
    ///
    /// Returns nothing if the chunk was recorded before, if no tensor has bytes in the chunk, or if it is of another
    /// model.
    ///
    /// # Panics
    /// Never, for any chunk.
    ///
    /// # Cost
    /// Two binary searches, and an atomic operation for the chunk and for each tensor that has bytes in it. Allocates
    /// only for the first chunk of a file, and for the returned tensors. No lock.
    #[must_use = "no tensor is given twice"]
    pub fn record(&self, chunk: &VerifiedChunk<'_>) -> Vec<(usize, &TensorEntry)> {
        let mut ready = Vec::new();
        for waiting in self.take_touched(chunk) {
            if waiting.missing.fetch_sub(1, AcqRel) == 1 {
                self.waiting.fetch_sub(1, AcqRel);
                ready.extend(
                    self.tensors.entries().get(waiting.position).map(|tensor| (waiting.position, tensor)),
                );
            }
        }
        ready
    }

    /// Records a chunk, and returns the tensors that have bytes in it; none if the chunk was recorded before.
    fn take_touched(&self, chunk: &VerifiedChunk<'_>) -> &[Waiting] {
        let shard = self.files.binary_search_by_key(&chunk.position(), |shard| shard.position);
        let Some(shard) = shard.ok().and_then(|at| self.files.get(at)) else { return &[] };
        if shard.is_own(chunk) && shard.record(chunk.index()) { shard.touched(chunk.index()) } else { &[] }
    }

    /// The number of tensors that are not complete yet. The number never rises.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Acquire)
    }

    /// The tensor list.
    #[must_use]
    pub fn tensors(&self) -> &VerifiedTensorList {
        &self.tensors
    }
}

impl Shard {
    /// The shard of one file's tensors, the first of which is at position `first` of the list; `None` if none has
    /// bytes.
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
            // If the count does not fit, no layer of as many chunks can be accepted, and no chunk is ever recorded.
            let missing = usize::try_from(chunks.end.saturating_sub(chunks.start)).unwrap_or(usize::MAX);
            tensors.push(Waiting { position, chunks, missing: AtomicUsize::new(missing) });
        }
        Ok(Some(Self { position, root: file.root, grid, recorded: OnceBox::new(), tensors }))
    }

    /// Whether a chunk is of this file, with the same chunk size.
    fn is_own(&self, chunk: &VerifiedChunk<'_>) -> bool {
        chunk.root() == self.root && self.grid.range(chunk.index()) == Some(chunk.range())
    }

    /// Sets the chunk's bit. Whether the chunk was not recorded before.
    fn record(&self, index: u64) -> bool {
        let recorded = self.recorded.get_or_init(|| {
            let words = usize::try_from(self.grid.count().div_ceil(32)).unwrap_or(0);
            Box::new(core::iter::repeat_with(AtomicU32::default).take(words).collect())
        });
        let word = usize::try_from(index >> 5).ok().and_then(|word| recorded.get(word));
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

/// The reason why [`ReadyTensors`] refuses a tensor list.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyError {
    /// Two tensors of one file overlap. No valid header allows that, and one chunk could complete all tensors at once
    /// (rule 12).
    Overlap {
        /// The file.
        file: EntryPath,
        /// The tensor that begins first; of two that begin together, the first in the list.
        first: TensorName,
        /// The tensor that overlaps it.
        second: TensorName,
    },
    /// The model has no such file, or the file is too small for the tensor: the two lists do not belong together. The
    /// caller's fault.
    NotInModel {
        /// The file.
        file: EntryPath,
    },
}

impl Coded for ReadyError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Overlap { .. } => ErrorCode::SAFETENSORS_OVERLAP,
            Self::NotInModel { .. } => ErrorCode::BUG,
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
