//! Accepting the chunks of one file, in any order, on any core.

use alloc::boxed::Box;
use core::{fmt, ops::Range};

use weighbridge_manifest::{EntryPath, FileEntry, Proven, VerifiedFileList};
use weighbridge_tree::{ChunkError, ChunkSize, Grid, Layer, LayerError};

use crate::{
    audit::check_is_layer_of,
    chunk_set::{ChunkSet, Missing},
    released::{VerifiedChunk, VerifiedFile, VerifiedRun, unit_of},
    verifier_error::{Incomplete, RunError, VerifierError},
};

/// Checks the chunks of one file as they arrive, and records the accepted ones.
///
/// All methods but [`finish`](Self::finish) take `&self`: threads share one verifier and offer chunks in any order,
/// even the same chunk at the same time. An accepted chunk stays accepted, whatever is refused later and whichever
/// thread panics.
///
/// # Guarantee
/// The released bytes are byte for byte those at that place of the signed file (rules 1 to 4 and 13). A file is
/// [finished](Self::finish) only if each of its chunks was accepted.
///
/// # Non-guarantee
/// Bytes that are read from a disk again may no longer be the accepted ones (rule 10).
///
/// # Example
/// ```
/// use weighbridge_verify::{Coded, FileVerifier};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (files, layer, content) = (&sample.list, &sample.layers, sample.bytes(0));
///
/// // `files` is a verified list with one file, of three chunks of 16 KiB; `layer` is that file's part of `chunks.layer`.
/// let verifier = FileVerifier::from_layer_bytes(files, 0, layer)?;
/// let chunk = verifier.accept(1, &content[16_384..32_768])?;
/// assert_eq!((chunk.range(), chunk.bytes()), (16_384..32_768, &content[16_384..32_768]));
///
/// // A wrong chunk is refused and not counted.
/// let mut wrong = content[..16_384].to_vec();
/// wrong[5] ^= 1;
/// assert_eq!(verifier.accept(0, &wrong).unwrap_err().error_code().get(), 2102);
/// let missing: Vec<_> = verifier.missing().collect();
/// assert_eq!(missing, [0..1, 2..3]);
///
/// // Another source has the right chunks.
/// let _ = verifier.accept(0, &content[..16_384])?;
/// let _ = verifier.accept(2, &content[32_768..])?;
/// assert_eq!(verifier.finish()?.size(), 40_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct FileVerifier {
    position: usize,
    path: EntryPath,
    layer: Layer,
    accepted: ChunkSet,
}

impl FileVerifier {
    /// Verifies the file at `position` of a list by its accepted layer.
    ///
    /// # Errors
    /// [`VerifierError`]: the list has no such file, or the layer belongs to another file or other chunks. The code is
    /// 2201 if the layer has another number of values, and 2202 if it has the same number.
    pub fn new(files: &VerifiedFileList, position: usize, layer: Layer) -> Result<Self, VerifierError> {
        let entry = files.entries().get(position).ok_or(VerifierError::NotWanted { position })?;
        Self::of_layer(position, entry, files.chunk_size(), layer)
    }

    /// Accepts the bytes of a layer, and verifies by it the file at `position` of a list.
    ///
    /// `layer` is the part of `chunks.layer` that belongs to this file: nothing, if the file has at most one chunk.
    ///
    /// # Errors
    /// [`VerifierError`]: the list has no such file, or [`Layer::accept`] refuses (2201, 2202, 2101).
    ///
    /// # Cost
    /// The cost of [`Layer::accept`], and a bit for each chunk.
    pub fn from_layer_bytes(
        files: &VerifiedFileList,
        position: usize,
        layer: &[u8],
    ) -> Result<Self, VerifierError> {
        let entry = files.entries().get(position).ok_or(VerifierError::NotWanted { position })?;
        Self::of_bytes(position, entry, files.chunk_size(), layer)
    }

    /// Accepts the bytes of a layer, and verifies by it a file that a proof shows. `position` is the file's position in
    /// a list that the caller does not have.
    ///
    /// # Errors
    /// Those of [`from_layer_bytes`](Self::from_layer_bytes), with the proof in place of the list.
    ///
    /// # Example
    /// ```
    /// use weighbridge_verify::{FileVerifier, manifest::{Expectation, SignedProof, TrustPolicy, Wanted}};
    /// # let sample = weighbridge_testkit::Sample::of(&[("config.json", 100), ("model.bin", 40_000)], 1);
    ///
    /// // A peer that has the list proves that the model has this file.
    /// let proof = Wanted::of(&sample.list, None).file("model.bin")?.prove(&sample.note)?;
    ///
    /// // The node has no list. It believes the head by a policy of its own, here by the head's id.
    /// let policy = TrustPolicy::pinned(sample.id);
    /// let proven = SignedProof::parse(proof.as_bytes())?.verify(&policy, &Expectation::any(), None)?;
    /// let verifier = FileVerifier::of_proven(&proven, 1, &sample.layers)?;
    /// let chunk = verifier.accept(2, sample.chunks(1, 2..3))?;
    /// assert_eq!(chunk.range(), 32_768..40_000);
    ///
    /// // The proof shows no other file.
    /// assert!(FileVerifier::of_proven(&proven, 0, &[]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_proven(proven: &Proven, position: usize, layer: &[u8]) -> Result<Self, VerifierError> {
        let shown = |(at, _): &&(u64, FileEntry)| usize::try_from(*at) == Ok(position);
        let (_, entry) = proven.files().iter().find(shown).ok_or(VerifierError::NotWanted { position })?;
        Self::of_bytes(position, entry, proven.head().head().chunk_size, layer)
    }

    pub(crate) fn of_bytes(
        position: usize,
        entry: &FileEntry,
        chunk_size: ChunkSize,
        layer: &[u8],
    ) -> Result<Self, VerifierError> {
        let layer = Layer::accept(grid_of(entry, chunk_size)?, entry.root, layer)
            .map_err(|fault| VerifierError::Layer { path: entry.path.clone(), fault })?;
        Self::of_layer(position, entry, chunk_size, layer)
    }

    /// The only place where a layer is bound to an entry, so no layer checks the chunks of another file.
    pub(crate) fn of_layer(
        position: usize,
        entry: &FileEntry,
        chunk_size: ChunkSize,
        layer: Layer,
    ) -> Result<Self, VerifierError> {
        check_is_layer_of(&layer, grid_of(entry, chunk_size)?, entry.root)
            .map_err(|fault| VerifierError::Layer { path: entry.path.clone(), fault })?;
        let accepted = ChunkSet::of(&layer);
        Ok(Self { position, path: entry.path.clone(), layer, accepted })
    }

    /// Checks one chunk, and releases the chunk only if it is the signed one.
    ///
    /// `index` counts from 0. `bytes` is one whole chunk: the model's chunk size, or fewer bytes for the last chunk. A
    /// chunk that was accepted before is checked again.
    ///
    /// # Guarantee
    /// A returned [`VerifiedChunk`] is byte for byte the chunk at `index` of the signed file (rules 1 to 4), in the
    /// buffer that was given (rule 10). An accepted chunk is counted once, before this returns; a refused chunk is not
    /// counted (rule 2). If two threads accept one chunk at the same moment, one of them counts it before it returns;
    /// the other may return earlier.
    ///
    /// # Non-guarantee
    /// It says nothing about other chunks.
    ///
    /// # Errors
    /// [`ChunkError`]: 2108, 2107, 2102. The verifier is unchanged and the chunk may be offered again.
    ///
    /// # Panics
    /// Never, for any `index` and `bytes`.
    ///
    /// # Cost
    /// One BLAKE3 pass over `bytes` and two atomic additions; no copy, no allocation, no lock. With the feature `rayon`
    /// a large chunk is hashed on all cores, see [`Layer::check`].
    pub fn accept<'b>(&self, index: u64, bytes: &'b [u8]) -> Result<VerifiedChunk<'b>, ChunkError> {
        self.layer.check(index, bytes)?;
        self.accepted.insert(index);
        Ok(VerifiedChunk::new(self.position, self.layer.root(), self.layer.grid(), index, bytes))
    }

    /// Checks a run of whole chunks that begins with chunk `first`, and releases the chunks before the first bad one.
    ///
    /// # Guarantee
    /// The guarantee of [`accept`](Self::accept), for each chunk of the returned run. The run is one slice of
    /// `bytes`.
    ///
    /// # Errors
    /// [`RunError`] names the first bad chunk and holds the chunks before it, which stay accepted. Chunks behind the
    /// bad one are neither released nor counted. An empty run, or a part of a chunk, is one bad chunk (rule 6).
    ///
    /// # Panics
    /// Never, for any `first` and `bytes`.
    ///
    /// # Cost
    /// One BLAKE3 pass over `bytes`; no copy, no allocation, no lock. With the feature `rayon` the chunks of a long run
    /// are hashed on all cores, and some behind a bad chunk may be hashed too.
    pub fn accept_run<'b>(&self, first: u64, bytes: &'b [u8]) -> Result<VerifiedRun<'b>, RunError<'b>> {
        let Some((nth, fault)) = self.first_bad(first, bytes) else { return Ok(self.release(first, bytes)) };
        let good = nth.saturating_mul(unit_of(self.layer.grid()));
        let (good, _) = bytes.split_at_checked(good).unwrap_or_default();
        let accepted = (!good.is_empty()).then(|| self.release(first, good));
        Err(RunError { accepted, fault })
    }

    /// The first bad chunk of a run, by its place in the run.
    fn first_bad(&self, first: u64, bytes: &[u8]) -> Option<(usize, ChunkError)> {
        let check = |(nth, piece)| {
            let index = first.saturating_add(u64::try_from(nth).unwrap_or(u64::MAX));
            self.layer.check(index, piece).err().map(|fault| (nth, fault))
        };
        if bytes.is_empty() {
            return check((0, bytes));
        }
        let unit = unit_of(self.layer.grid());
        #[cfg(feature = "rayon")]
        if bytes.len() > unit && bytes.len() >= LONG_RUN {
            use rayon::prelude::*;
            return bytes.par_chunks(unit).enumerate().find_map_first(check);
        }
        bytes.chunks(unit).enumerate().find_map(check)
    }

    /// Counts checked whole chunks, and releases them.
    fn release<'b>(&self, first: u64, checked: &'b [u8]) -> VerifiedRun<'b> {
        let run = VerifiedRun::new(self.position, self.layer.root(), self.layer.grid(), first, checked);
        run.indices().for_each(|index| self.accepted.insert(index));
        run
    }

    /// Whether the chunk at `index` was accepted.
    #[must_use]
    pub fn is_accepted(&self, index: u64) -> bool {
        self.accepted.contains(index)
    }

    /// The number of accepted chunks. The number never falls.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        let (before_last, last) = self.accepted.counts();
        before_last.saturating_add(u64::from(last))
    }

    /// The number of accepted bytes, each counted once. The number never falls.
    #[must_use]
    pub fn accepted_bytes(&self) -> u64 {
        let grid = self.layer.grid();
        let (before_last, last) = self.accepted.counts();
        let before_last = before_last.saturating_mul(grid.granule().bytes());
        before_last.saturating_add(if last { last_len(grid) } else { 0 })
    }

    /// Whether every chunk was accepted. An empty file is complete at once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.accepted() == self.count()
    }

    /// The positions of the chunks that were not accepted yet, as runs.
    ///
    /// # Cost
    /// One step for each run and for each 32 chunks.
    pub fn missing(&self) -> Missing<'_> {
        Missing::new(Some(&self.accepted), 0..self.count())
    }

    /// The positions of the chunks that hold bytes of a range, such as a tensor's, and were not accepted yet. `None` if
    /// the range is reversed or ends past the file's end. No chunk holds an empty range.
    #[must_use]
    pub fn missing_in(&self, bytes: Range<u64>) -> Option<Missing<'_>> {
        Some(Missing::new(Some(&self.accepted), self.layer.grid().chunks_of(&bytes)?))
    }

    /// Whether every chunk that holds a byte of this range was accepted. `false` for a range that is reversed or ends
    /// past the file's end.
    ///
    /// If several threads accept the chunks of a range, and each calls this afterwards, at least one of them gets
    /// `true`.
    #[must_use]
    pub fn has(&self, bytes: &Range<u64>) -> bool {
        self.layer.grid().chunks_of(bytes).is_some_and(|chunks| self.accepted.contains_all(&chunks))
    }

    /// The verified file, if every chunk was accepted.
    ///
    /// # Guarantee
    /// The number of chunks is that of the signed size (rule 1).
    ///
    /// # Errors
    /// [`Incomplete`] (9107) names the missing chunks, and gives the verifier back.
    pub fn finish(self) -> Result<VerifiedFile, Incomplete<Self>> {
        let first = self.missing().next();
        match first {
            None => Ok(self.verified()),
            Some(run) => Err(Incomplete {
                path: self.path.clone(),
                run,
                missing: self.count().saturating_sub(self.accepted()),
                count: self.count(),
                verifier: Box::new(self),
            }),
        }
    }

    fn verified(&self) -> VerifiedFile {
        VerifiedFile::new(self.position, self.path.clone(), self.layer.grid().len(), self.layer.root())
    }

    pub(crate) fn chunks(&self) -> &ChunkSet {
        &self.accepted
    }

    /// The position of the file in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The file's path in the model.
    #[must_use]
    pub fn path(&self) -> &EntryPath {
        &self.path
    }

    /// The accepted layer.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The number of chunks of the file.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.layer.grid().count()
    }
}

impl fmt::Debug for FileVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FileVerifier");
        shown.field("position", &self.position).field("path", &self.path);
        shown.field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

pub(crate) fn grid_of(entry: &FileEntry, chunk_size: ChunkSize) -> Result<Grid, VerifierError> {
    // Never fails: sizes of verified entries are below 2^53, the limit of a grid.
    Grid::new(entry.size, chunk_size).map_err(|_| VerifierError::Layer {
        path: entry.path.clone(),
        fault: LayerError::WrongLength { expected: u64::MAX, actual: 0 },
    })
}

fn last_len(grid: Grid) -> u64 {
    let last = grid.count().checked_sub(1).and_then(|last| grid.range(last));
    last.map_or(0, |range| range.end.saturating_sub(range.start))
}

/// The length in bytes from which the chunks of a run are spread over cores. One core takes most of a millisecond for
/// it.
#[cfg(feature = "rayon")]
const LONG_RUN: usize = 4 << 20;
