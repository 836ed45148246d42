//! Accepting the chunks of many files of one model.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    ops::Range,
    sync::atomic::{Ordering::SeqCst, fence},
};

use once_cell::race::OnceBox;
use weighbridge_manifest::{FileEntry, TensorEntry, VerifiedFileList};
use weighbridge_tree::{FileRoot, Grid, Layer, LayerError};

use crate::{
    chunk_set::Missing,
    released::{VerifiedChunk, VerifiedFile},
    verifier::{FileVerifier, grid_of},
    verifier_error::{Incomplete, VerifierError},
};

/// Checks the chunks of a model's files as they arrive: of all files, or of the wanted ones.
///
/// All methods but [`finish`](Self::finish) take `&self`. Layers may arrive while other threads accept chunks of other
/// files. A file's chunks can be checked once its layer is accepted; a file of at most one chunk needs no layer.
///
/// # Guarantee
/// The guarantee of [`FileVerifier`], for each file. A model is [finished](Self::finish) only if each wanted file is.
///
/// # Cost
/// A small slot for each file of the list. Files with an accepted layer or an offered chunk take more.
///
/// # Example
/// ```
/// use std::thread;
/// use weighbridge_verify::{Coded, ModelVerifier};
/// # let sample = weighbridge_testkit::Sample::of(&[("a.bin", 40_000), ("b.bin", 20_000)], 1);
/// # let (files, layers, wrong) = (sample.list.clone(), &sample.layers, vec![0; 16_384]);
///
/// // `files` is the verified list of two files, `layers` the bytes of `chunks.layer`.
/// let verifier = ModelVerifier::new(files)?;
/// verifier.accept_layers(layers)?;
///
/// // Any thread offers any chunk of any file. A wrong chunk is refused, and stays missing.
/// thread::scope(|scope| {
///     for position in [0, 1] {
///         let (verifier, content) = (&verifier, sample.bytes(position));
///         scope.spawn(move || verifier.accept(position, 0, &content[..16_384]).is_ok());
///     }
/// });
/// assert_eq!(verifier.accept(1, 1, &wrong[..3_616]).unwrap_err().error_code().get(), 2102);
/// let incomplete = verifier.finish().unwrap_err();
/// assert_eq!((incomplete.path().as_str(), incomplete.missing()), ("a.bin", 3));
///
/// // Nothing that was accepted is lost: the fetch goes on with the same verifier.
/// let verifier = incomplete.into_verifier();
/// for (position, run) in verifier.missing() {
///     let _ = verifier.file(position)?.accept_run(run.start, sample.chunks(position, run)).unwrap();
/// }
/// assert!(verifier.finish()?.is_whole());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ModelVerifier {
    files: Arc<VerifiedFileList>,
    /// One slot for each file of the list; `None` for a file that is not wanted.
    slots: Vec<Option<Slot>>,
}

/// A wanted file.
struct Slot {
    grid: Grid,
    /// Filled once and then only read. If two threads fill the slot at the same moment, both have accepted the same
    /// layer; the second verifier is dropped before it has counted any chunk. No thread waits, so there is no lock to
    /// poison.
    verifier: OnceBox<FileVerifier>,
}

impl ModelVerifier {
    /// Verifies all files of a list.
    ///
    /// # Errors
    /// [`VerifierError`] (2101) if a listed file is empty and its root is not the root of no bytes: no bytes could ever
    /// complete it.
    pub fn new(files: impl Into<Arc<VerifiedFileList>>) -> Result<Self, VerifierError> {
        let files = files.into();
        let all = 0..files.entries().len();
        Self::only(files, all)
    }

    /// Verifies the files at these positions of a list. A repeated position counts once.
    ///
    /// # Errors
    /// [`VerifierError`]: the list has no file at one of the positions; also the errors of [`new`](Self::new).
    ///
    /// # Example
    /// ```
    /// use weighbridge_verify::{Coded, ModelVerifier};
    /// # let sample = weighbridge_testkit::Sample::of(&[("config.json", 100), ("model.bin", 40_000)], 1);
    /// # let files = sample.list.clone();
    ///
    /// // Of a model of two files, only the first is wanted. It has one chunk, and so needs no layer.
    /// let verifier = ModelVerifier::only(files, [0])?;
    /// assert!(verifier.missing_layers().next().is_none());
    /// let _ = verifier.accept(0, 0, sample.bytes(0))?;
    /// assert!(verifier.accept(1, 0, sample.chunks(1, 0..1)).is_err(), "it is not wanted");
    ///
    /// let model = verifier.finish()?;
    /// assert!(!model.is_whole(), "the model has another file");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn only(
        files: impl Into<Arc<VerifiedFileList>>,
        wanted: impl IntoIterator<Item = usize>,
    ) -> Result<Self, VerifierError> {
        let files = files.into();
        let mut slots = Vec::new();
        slots.resize_with(files.entries().len(), || None);
        for position in wanted {
            let (Some(entry), Some(slot)) = (files.entries().get(position), slots.get_mut(position)) else {
                return Err(VerifierError::NotWanted { position });
            };
            if entry.size == 0 && entry.root != FileRoot::of(&[]) {
                let fault = LayerError::NotEmpty { expected: entry.root };
                return Err(VerifierError::Layer { path: entry.path.clone(), fault });
            }
            *slot = Some(Slot { grid: grid_of(entry, files.chunk_size())?, verifier: OnceBox::new() });
        }
        Ok(Self { files, slots })
    }

    /// The file list.
    #[must_use]
    pub fn files(&self) -> &VerifiedFileList {
        &self.files
    }

    /// The positions of the wanted files, ascending.
    pub fn wanted(&self) -> impl Iterator<Item = usize> {
        self.slots().map(|(position, ..)| position)
    }

    /// The positions of the wanted files whose layer was not accepted yet, ascending.
    pub fn missing_layers(&self) -> impl Iterator<Item = usize> {
        let lacking = |(_, _, slot): &(_, _, &Slot)| slot.grid.has_layer() && slot.verifier.get().is_none();
        self.slots().filter(lacking).map(|(position, ..)| position)
    }

    /// Accepts the bytes of one file's layer: the part of `chunks.layer` that belongs to this file.
    ///
    /// If a layer was accepted before, that layer stays; the new bytes are checked all the same.
    ///
    /// # Errors
    /// [`VerifierError`]: the file is not wanted, or [`Layer::accept`] refuses (2201, 2202). A refusal changes nothing,
    /// for this file or another (rule 3), and the layer may be offered again.
    ///
    /// # Cost
    /// The cost of [`Layer::accept`], and a bit for each chunk.
    pub fn accept_layer(&self, position: usize, layer: &[u8]) -> Result<(), VerifierError> {
        let (entry, slot) = self.slot(position)?;
        let verifier = FileVerifier::of_bytes(position, entry, self.files.chunk_size(), layer)?;
        slot.fill(verifier);
        Ok(())
    }

    /// Takes over a layer for the file at `position` that was accepted elsewhere.
    ///
    /// # Errors
    /// [`VerifierError`]: the file is not wanted, or the layer belongs to another file (2201, 2202).
    pub fn add_layer(&self, position: usize, layer: Layer) -> Result<(), VerifierError> {
        let (entry, slot) = self.slot(position)?;
        let verifier = FileVerifier::of_layer(position, entry, self.files.chunk_size(), layer)?;
        slot.fill(verifier);
        Ok(())
    }

    /// Accepts the bytes of `chunks.layer`. Each wanted file's layer is judged alone: a refused layer does not stop the
    /// next.
    ///
    /// # Errors
    /// [`LayersLength`](VerifierError::LayersLength) (2201), before anything else is checked, if the length is not the
    /// one that the file list gives; otherwise the first refusal (2202). [`missing_layers`](Self::missing_layers) then
    /// lists the files whose layers were refused.
    pub fn accept_layers(&self, layers: &[u8]) -> Result<(), VerifierError> {
        let grids = || self.files.entries().iter().map(|entry| grid_of(entry, self.files.chunk_size()));
        let mut expected = 0_u64;
        for grid in grids() {
            expected = expected.saturating_add(grid?.layer_len());
        }
        let actual = u64::try_from(layers.len()).unwrap_or(u64::MAX);
        if actual != expected {
            return Err(VerifierError::LayersLength { expected, actual });
        }
        let mut rest = layers;
        let mut refused = Ok(());
        for (position, grid) in grids().enumerate() {
            let len = usize::try_from(grid?.layer_len()).unwrap_or(usize::MAX);
            let (layer, behind) = rest.split_at_checked(len).unwrap_or_default();
            rest = behind;
            if !layer.is_empty() && self.is_wanted(position) {
                refused = refused.and(self.accept_layer(position, layer));
            }
        }
        refused
    }

    /// Whether the file at `position` is wanted.
    #[must_use]
    pub fn is_wanted(&self, position: usize) -> bool {
        self.slots.get(position).is_some_and(Option::is_some)
    }

    /// The verifier of one file. Threads that offer chunks of the file can share it.
    ///
    /// # Errors
    /// [`VerifierError`]: the file is not wanted, or its layer was not accepted yet (9106).
    pub fn file(&self, position: usize) -> Result<&FileVerifier, VerifierError> {
        let (entry, slot) = self.slot(position)?;
        if let Some(verifier) = slot.verifier.get() {
            return Ok(verifier);
        }
        if slot.grid.has_layer() {
            return Err(VerifierError::NoLayer { path: entry.path.clone() });
        }
        let verifier = FileVerifier::of_bytes(position, entry, self.files.chunk_size(), &[])?;
        Ok(slot.fill(verifier))
    }

    /// Checks chunk `index` of the file at `position`, and releases the chunk only if it is the signed one.
    ///
    /// # Guarantee
    /// The guarantee of [`FileVerifier::accept`].
    ///
    /// # Errors
    /// [`VerifierError`]: the errors of [`file`](Self::file), and 2108, 2107, 2102. Nothing changes; the chunk may be
    /// offered again.
    ///
    /// # Panics
    /// Never, for any arguments.
    ///
    /// # Cost
    /// The cost of [`FileVerifier::accept`].
    pub fn accept<'b>(
        &self,
        position: usize,
        index: u64,
        bytes: &'b [u8],
    ) -> Result<VerifiedChunk<'b>, VerifierError> {
        let file = self.file(position)?;
        let refused = |fault| VerifierError::Chunk { path: file.path().clone(), fault };
        file.accept(index, bytes).map_err(refused)
    }

    /// The chunks that were not accepted yet: the position of a file, and a run of chunk positions in the file.
    pub fn missing(&self) -> impl Iterator<Item = (usize, Range<u64>)> {
        self.missing_with_entries().map(|(position, _, run)| (position, run))
    }

    /// The runs of [`missing`](Self::missing) for the file at `position`: the whole file, while its layer is missing.
    ///
    /// # Errors
    /// [`VerifierError`]: the file is not wanted.
    pub fn missing_of_file(&self, position: usize) -> Result<Missing<'_>, VerifierError> {
        self.slot(position).map(|(_, slot)| slot.missing())
    }

    /// The position of a tensor's file, and the positions of the file's chunks that hold bytes of the tensor and were
    /// not accepted yet. `None` if the file is not wanted, or if the tensor's range is not in the file; no tensor of a
    /// verified list has such a range.
    #[must_use]
    pub fn missing_of_tensor(&self, tensor: &TensorEntry) -> Option<(usize, Missing<'_>)> {
        let (position, _) = self.files.find(tensor.file.as_str())?;
        let (_, slot) = self.slot(position).ok()?;
        let bytes = tensor.offset..tensor.offset.checked_add(tensor.size)?;
        Some((position, slot.missing_of(slot.grid.chunks_of(&bytes)?)))
    }

    /// Whether every chunk that holds a byte of the tensor was accepted: [`FileVerifier::has`] for the tensor's range.
    #[must_use]
    pub fn has_tensor(&self, tensor: &TensorEntry) -> bool {
        self.missing_of_tensor(tensor).is_some_and(|(_, mut missing)| missing.next().is_none())
    }

    /// The number of accepted bytes, each counted once. The number never falls.
    #[must_use]
    pub fn accepted_bytes(&self) -> u64 {
        self.sum(|slot| slot.verifier.get().map_or(0, FileVerifier::accepted_bytes))
    }

    /// The sum of the sizes of the wanted files.
    #[must_use]
    pub fn wanted_bytes(&self) -> u64 {
        self.sum(|slot| slot.grid.len())
    }

    /// Whether every chunk of every wanted file was accepted.
    ///
    /// If several threads accept the last chunks, of one file or of several, and each calls this afterwards, at least
    /// one of them gets `true`.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        // Orders the slots that this thread filled before its reads of the slots that other threads filled.
        fence(SeqCst);
        let complete = |slot: &Slot| slot.verifier.get().is_some_and(FileVerifier::is_complete);
        self.slots().all(|(_, _, slot)| slot.grid.is_empty() || complete(slot))
    }

    /// The wanted files, if every chunk of each was accepted.
    ///
    /// # Errors
    /// [`Incomplete`] (9107) names the missing chunks, and gives the verifier back.
    pub fn finish(self) -> Result<VerifiedModel, Incomplete<Self>> {
        let first = self.missing_with_entries().next();
        let Some((_, entry, run)) = first else {
            let wanted = self.wanted().collect();
            return Ok(VerifiedModel { files: self.files, wanted });
        };
        let count = self.sum(|slot| slot.grid.count());
        let accepted = self.sum(|slot| slot.verifier.get().map_or(0, FileVerifier::accepted));
        Err(Incomplete {
            path: entry.path.clone(),
            run,
            missing: count.saturating_sub(accepted),
            count,
            verifier: Box::new(self),
        })
    }

    fn missing_with_entries(&self) -> impl Iterator<Item = (usize, &FileEntry, Range<u64>)> {
        self.slots().flat_map(|(position, entry, slot)| slot.missing().map(move |run| (position, entry, run)))
    }

    fn sum(&self, of: impl Fn(&Slot) -> u64) -> u64 {
        self.slots().fold(0, |sum, (_, _, slot)| sum.saturating_add(of(slot)))
    }

    fn slots(&self) -> impl Iterator<Item = (usize, &FileEntry, &Slot)> {
        let all = self.files.entries().iter().zip(&self.slots).enumerate();
        all.filter_map(|(position, (entry, slot))| Some((position, entry, slot.as_ref()?)))
    }

    fn slot(&self, position: usize) -> Result<(&FileEntry, &Slot), VerifierError> {
        let entry = self.files.entries().get(position);
        let slot = self.slots.get(position).and_then(Option::as_ref);
        entry.zip(slot).ok_or(VerifierError::NotWanted { position })
    }
}

impl Slot {
    fn fill(&self, verifier: FileVerifier) -> &FileVerifier {
        self.verifier.get_or_init(|| Box::new(verifier))
    }

    fn missing(&self) -> Missing<'_> {
        self.missing_of(0..self.grid.count())
    }

    fn missing_of(&self, chunks: Range<u64>) -> Missing<'_> {
        Missing::new(self.verifier.get().map(FileVerifier::chunks), chunks)
    }
}

impl fmt::Debug for ModelVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ModelVerifier");
        shown.field("accepted_bytes", &self.accepted_bytes()).field("wanted_bytes", &self.wanted_bytes());
        shown.finish_non_exhaustive()
    }
}

/// The files of a model of which every chunk was accepted: all files, or the wanted ones.
///
/// # Guarantee
/// The guarantee of [`VerifiedFile`], for each file.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedModel {
    files: Arc<VerifiedFileList>,
    wanted: Vec<usize>,
}

impl VerifiedModel {
    /// The list of all files of the model.
    #[must_use]
    pub fn list(&self) -> &VerifiedFileList {
        &self.files
    }

    /// The verified files, in list order.
    pub fn files(&self) -> impl Iterator<Item = VerifiedFile> {
        let entry = |position: &usize| Some((*position, self.files.entries().get(*position)?));
        let verified = |(position, entry): (usize, &FileEntry)| {
            VerifiedFile::new(position, entry.path.clone(), entry.size, entry.root)
        };
        self.wanted.iter().filter_map(entry).map(verified)
    }

    /// Whether the verified files are all files of the model.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.wanted.len() == self.files.entries().len()
    }
}
