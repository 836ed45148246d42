//! Reads the metadata that a publisher put beside a model, never more of it than is signed.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{ListError, MAX_NOTE, VerifiedFileList, VerifiedHead, VerifiedTensorList};
use weighbridge_tree::{Coded, ErrorCode, Grid, HeadId, Layer, LayerError, LayerReader};

use weighbridge_verify::PageBuffer;

use crate::hub_cache;
use crate::io::{IoError, open_regular, read_beginning, read_exact_at};
use crate::kept::{being_replaced, id_of};
use crate::lock::LOCK;
use crate::store_error::BeingReplaced;

/// The folder beside a model's files.
pub const FOLDER: &str = "weighbridge";
/// The signed head. The publisher writes it last.
pub const HEAD: &str = "head.note";
/// The file list.
pub const FILES: &str = "files.jsonl";
/// The tensor list.
pub const TENSORS: &str = "tensors.jsonl";
/// The chunk layers of all files that are larger than one chunk, in list order.
pub const CHUNKS: &str = "chunks.layer";
/// The exact bytes to sign, for signers. No verifier reads this file.
pub const TEXT: &str = "head.txt";
/// The folder in [`FOLDER`] in which a publisher keeps incomplete files.
pub const NEW: &str = ".new";
/// The folder in [`FOLDER`] in which a fetch keeps incomplete files: model files under their roots, metadata under
/// the head's id.
pub const PARTIAL: &str = "partial";
/// The folder in [`FOLDER`] where files of replaced releases stay for their readers.
pub const KEPT: &str = "kept";
/// The folder in [`FOLDER`] in which a server keeps uploads that are not complete.
pub const UPLOADS: &str = "uploads";
/// The file in [`FOLDER`] that says which client of a server has pushed the release.
pub const PUSHED: &str = "pushed";
/// All names that weighbridge uses in [`FOLDER`].
pub(crate) const ALL: [&str; 11] =
    [HEAD, TEXT, FILES, TENSORS, CHUNKS, NEW, PARTIAL, KEPT, UPLOADS, PUSHED, LOCK];

/// A folder of metadata. None of its files is trusted by itself.
///
/// # Example
/// ```
/// use weighbridge_manifest::{Expectation, SignedHead, TrustPolicy};
/// use weighbridge_store::Metadata;
/// # let sample = weighbridge_testkit::Sample::of(&[("config.json", 100), ("model.bin", 40_000)], 1);
/// # let (folder, id) = (weighbridge_testkit::Folder::new(), sample.id);
/// # folder.write("weighbridge/head.note", &sample.note);
/// # folder.write("weighbridge/files.jsonl", &sample.files);
/// # folder.write("weighbridge/chunks.layer", &sample.layers);
/// # let model = folder.path();
///
/// // The note is read first, and believed by the caller's own policy: by keys, or by the id of one head as here.
/// let metadata = Metadata::of_model(model);
/// let policy = TrustPolicy::pinned(id);
/// let head = SignedHead::parse(&metadata.note()?)?.verify(&policy, &Expectation::any(), None)?;
///
/// // Then the head says what the rest has to be.
/// let files = metadata.files(&head)?;
/// assert_eq!(files.find("model.bin").map(|(position, file)| (position, file.size)), Some((1, 40_000)));
/// let layers = metadata.layers(&files)?.ok_or("no layers are published")?;
/// assert!(layers.of(&files, 1).is_ok_and(|layer| layer.values().len() == 3));
///
/// // A list that is not the signed one is refused, wherever it lies.
/// std::fs::write(model.join("weighbridge/files.jsonl"), "{}\n")?;
/// assert!(metadata.files(&head).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metadata {
    folder: PathBuf,
}

impl Metadata {
    /// The metadata in this folder.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The metadata of a model folder. Those of a snapshot in a Hugging Face cache, if it has none of its own, are the ones that
    /// weighbridge has put beside `snapshots`.
    #[must_use]
    pub fn of_model(model: &Path) -> Self {
        let own = model.join(FOLDER);
        let has_own = [HEAD, TEXT].iter().any(|name| own.join(name).symlink_metadata().is_ok());
        let of_snapshot = if has_own { None } else { hub_cache::metadata_of(model) };
        Self::at(of_snapshot.unwrap_or(own))
    }

    /// The folder of the metadata.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the note: at most one byte more than a note may have, so that a longer note is noticed.
    ///
    /// # Errors
    /// [`IoError`] if the note cannot be read.
    pub fn note(&self) -> Result<Vec<u8>, IoError> {
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        read_beginning(&self.folder.join(HEAD), limit).map(|(bytes, _)| bytes)
    }

    /// Reads the file list that the head binds.
    ///
    /// # Errors
    /// [`MetadataError`] if the list cannot be read or is not the signed one.
    pub fn files(&self, head: &VerifiedHead) -> Result<VerifiedFileList, MetadataError> {
        self.wherever(head.id(), FILES, |path| {
            let (mut pieces, length) = Pieces::of(path)?;
            let mut list = head.read_files(length)?;
            while let Some(piece) = pieces.next()? {
                list.push(piece)?;
            }
            Ok(list.finish()?)
        })
    }

    /// Reads the tensor list that the head binds; `None` if the head says `tensors none`.
    ///
    /// # Errors
    /// [`MetadataError`] if the list cannot be read or is not the signed one.
    pub fn tensors(&self, files: &VerifiedFileList) -> Result<Option<VerifiedTensorList>, MetadataError> {
        if files.tensors().is_none() {
            return Ok(None);
        }
        self.wherever(files.head().id(), TENSORS, |path| {
            let (mut pieces, length) = Pieces::of(path)?;
            let mut list = files.read_tensors(length)?;
            while let Some(piece) = pieces.next()? {
                list.push(piece)?;
            }
            Ok(Some(list.finish()?))
        })
    }

    /// Opens the chunk layers; `None` if they are not published. [`Layers::of`] reads and accepts each layer on its
    /// own.
    ///
    /// # Errors
    /// [`MetadataError`] if the layers cannot be opened or have another length than the file list gives.
    pub fn layers(&self, files: &VerifiedFileList) -> Result<Option<Layers>, MetadataError> {
        self.wherever(files.head().id(), CHUNKS, |path| Layers::open(path, files))
    }

    /// Whether the release in this folder is being replaced by another, or was when a process was killed. The model folder may
    /// then have files of both.
    #[must_use]
    pub fn being_replaced(&self) -> Option<BeingReplaced> {
        let standing = self.note().ok().and_then(|note| id_of(&note));
        being_replaced(&self.folder, standing)
    }

    /// Reads a list, or the layers, of a head where they lie, and once more if they have moved meanwhile. A release that is being
    /// replaced has moved to `kept` once its file list has; before, each file is in one of the two places.
    fn wherever<T>(
        &self,
        head: HeadId,
        name: &str,
        read: impl Fn(PathBuf) -> Result<T, MetadataError>,
    ) -> Result<T, MetadataError> {
        let kept = self.folder.join(KEPT).join(head.to_string());
        let place = || {
            let has_moved = kept.join(FILES).is_file() || kept.join(name).is_file();
            if has_moved { kept.join(name) } else { self.folder.join(name) }
        };
        let before = place();
        let result = read(before.clone());
        let after = place();
        if before == after { result } else { read(after) }
    }
}

impl Layers {
    fn open(path: PathBuf, files: &VerifiedFileList) -> Result<Option<Self>, MetadataError> {
        let (file, actual) = match open_regular(&path) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut places = Vec::with_capacity(files.entries().len());
        let mut expected = 0u64;
        for entry in files.entries() {
            // Sizes of a verified list are below 2^53.
            let grid = Grid::new(entry.size, files.chunk_size())
                .map_err(|_| MetadataError::LayersLength { expected: u64::MAX, actual: 0 })?;
            places.push((expected, grid));
            expected = expected.saturating_add(grid.layer_len());
        }
        if actual != expected {
            return Err(MetadataError::LayersLength { expected, actual });
        }
        Ok(Some(Self { path, file, places }))
    }
}

/// A file that is read piece by piece, only as far as the reader asks.
struct Pieces {
    path: PathBuf,
    file: File,
    buffer: PageBuffer,
}

impl Pieces {
    /// Opens the file; returns the reader and the file's length.
    fn of(path: PathBuf) -> Result<(Self, u64), IoError> {
        let (file, length) = open_regular(&path)?;
        Ok((Self { path, file, buffer: PageBuffer::zeroed(PIECE) }, length))
    }

    /// Returns the next bytes; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&[u8]>, IoError> {
        let read = loop {
            match self.file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(IoError::at("read", &self.path))?,
            }
        };
        Ok(self.buffer.get(..read).filter(|piece| !piece.is_empty()))
    }
}

/// The number of bytes read at once.
const PIECE: usize = 64 << 10;

/// The open file `chunks.layer`, whose length is that of the file list.
#[derive(Debug)]
pub struct Layers {
    path: PathBuf,
    file: File,
    /// For each file, in list order: the offset of its layer, and its grid.
    places: Vec<(u64, Grid)>,
}

impl Layers {
    /// Reads and accepts the layer of one file, the one at `position` of `files` (rule 3).
    ///
    /// # Errors
    /// [`LayersError`] if the layer cannot be read or does not merge to the file's root.
    pub fn of(&self, files: &VerifiedFileList, position: usize) -> Result<Layer, LayersError> {
        let (Some((offset, grid)), Some(entry)) = (self.places.get(position), files.entries().get(position))
        else {
            return Err(LayersError::Layer(LayerError::WrongLength { expected: 0, actual: 0 }));
        };
        // `files` is not the list with which the layers were opened: its layer lies elsewhere, or has another shape.
        if Grid::new(entry.size, files.chunk_size()).as_ref() != Ok(grid) {
            return Err(LayersError::Layer(LayerError::DoesNotMerge { expected: entry.root }));
        }
        let mut layer = LayerReader::new(*grid, entry.root);
        let mut buffer = PageBuffer::zeroed(PIECE);
        let (mut at, mut left) = (*offset, grid.layer_len());
        while left > 0 {
            // The layer is read piece by piece: a sparse file of the right length may stand for more bytes than
            // memory holds.
            let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let piece = buffer.get_mut(..length).unwrap_or_default();
            read_exact_at(&self.file, piece, at)
                .map_err(|e| LayersError::Io(IoError::at("read", &self.path)(e)))?;
            layer.push(piece).map_err(LayersError::Layer)?;
            let read = u64::try_from(length).unwrap_or(u64::MAX);
            (at, left) = (at.saturating_add(read), left.saturating_sub(read));
        }
        layer.finish().map_err(LayersError::Layer)
    }
}

/// The reason why a file's layer cannot be used.
#[derive(Debug)]
pub enum LayersError {
    /// The layer cannot be read.
    Io(IoError),
    /// The layer does not merge to the file's root, or its position is not in the list.
    Layer(LayerError),
}

impl Coded for LayersError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Layer(error) => error.error_code(),
        }
    }
}

impl fmt::Display for LayersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Layer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LayersError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Layer(error) => Some(error),
        }
    }
}

/// The reason why metadata was refused.
#[non_exhaustive]
#[derive(Debug)]
pub enum MetadataError {
    /// The metadata cannot be read.
    Io(IoError),
    /// A list is not the signed one.
    List(ListError),
    /// The layers have another length than the file list gives.
    LayersLength {
        /// The length that the file list gives.
        expected: u64,
        /// The length found.
        actual: u64,
    },
}

impl From<IoError> for MetadataError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<ListError> for MetadataError {
    fn from(error: ListError) -> Self {
        Self::List(error)
    }
}

impl Coded for MetadataError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::List(error) => error.error_code(),
            Self::LayersLength { .. } => ErrorCode::LAYERS_LENGTH,
        }
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::List(error) => error.fmt(f),
            Self::LayersLength { expected, actual } => {
                write!(f, "{CHUNKS} has {actual} bytes, the file list gives {expected}")
            }
        }
    }
}

impl std::error::Error for MetadataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::List(error) => Some(error),
            Self::LayersLength { .. } => None,
        }
    }
}
