//! Reading what a publisher put beside a model, never more of it than is signed for.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{ListError, MAX_NOTE, VerifiedFileList, VerifiedHead, VerifiedTensorList};
use weighbridge_tree::{Grid, Layer, LayerError, LayerReader};

use weighbridge_verify::PageBuffer;

use crate::io::{IoError, open_regular, read_beginning, read_exact_at};
use crate::lock::LOCK;

/// The folder beside a model's files.
pub const FOLDER: &str = "weighbridge";
/// The signed head. Written last.
pub const HEAD: &str = "head.note";
/// The file list.
pub const FILES: &str = "files.jsonl";
/// The tensor list.
pub const TENSORS: &str = "tensors.jsonl";
/// The chunk layers of all files that are larger than one chunk, in list order.
pub const CHUNKS: &str = "chunks.layer";
/// The exact bytes to sign, for signers. No verifier reads it.
pub const TEXT: &str = "head.txt";
/// The folder in [`FOLDER`] where a publisher has what is not complete.
pub const NEW: &str = ".new";
/// The folder in [`FOLDER`] where a fetch has what is not complete: files under their roots, metadata under its head's id.
pub const PARTIAL: &str = "partial";
/// Everything that weighbridge writes into [`FOLDER`].
pub(crate) const ALL: [&str; 8] = [HEAD, TEXT, FILES, TENSORS, CHUNKS, NEW, PARTIAL, LOCK];

/// A folder of metadata. Nothing in it is believed by itself.
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

    /// The metadata of a model folder.
    #[must_use]
    pub fn of_model(model: &Path) -> Self {
        Self::at(model.join(FOLDER))
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bytes of the note, up to one more than a note may have.
    ///
    /// # Errors
    /// [`IoError`] if it cannot be read.
    pub fn note(&self) -> Result<Vec<u8>, IoError> {
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        read_beginning(&self.folder.join(HEAD), limit).map(|(bytes, _)| bytes)
    }

    /// The file list, as the head binds it.
    ///
    /// # Errors
    /// [`MetadataError`] if it cannot be read or is not the signed one.
    pub fn files(&self, head: &VerifiedHead) -> Result<VerifiedFileList, MetadataError> {
        let (mut pieces, length) = Pieces::of(self.folder.join(FILES))?;
        let mut list = head.read_files(length)?;
        while let Some(piece) = pieces.next()? {
            list.push(piece)?;
        }
        Ok(list.finish()?)
    }

    /// The tensor list, as the head binds it; `None` if the head says `tensors none`.
    ///
    /// # Errors
    /// [`MetadataError`] if it cannot be read or is not the signed one.
    pub fn tensors(&self, files: &VerifiedFileList) -> Result<Option<VerifiedTensorList>, MetadataError> {
        if files.tensors().is_none() {
            return Ok(None);
        }
        let (mut pieces, length) = Pieces::of(self.folder.join(TENSORS))?;
        let mut list = files.read_tensors(length)?;
        while let Some(piece) = pieces.next()? {
            list.push(piece)?;
        }
        Ok(Some(list.finish()?))
    }

    /// The chunk layers; `None` if they are not published. Each is accepted on its own, when it is asked for.
    ///
    /// # Errors
    /// [`MetadataError`] if they cannot be read or have another length than the file list gives.
    pub fn layers(&self, files: &VerifiedFileList) -> Result<Option<Layers>, MetadataError> {
        let path = self.folder.join(CHUNKS);
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
        Ok(Some(Layers { path, file, places }))
    }
}

/// A file that is read piece by piece, as far as its reader goes on.
struct Pieces {
    path: PathBuf,
    file: File,
    buffer: PageBuffer,
}

impl Pieces {
    /// The file, and its length.
    fn of(path: PathBuf) -> Result<(Self, u64), IoError> {
        let (file, length) = open_regular(&path)?;
        Ok((Self { path, file, buffer: PageBuffer::zeroed(PIECE) }, length))
    }

    /// The next bytes, until there are none.
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

/// How many bytes of a file are read at once.
const PIECE: usize = 64 << 10;

/// The file `chunks.layer`, whose length is the right one.
#[derive(Debug)]
pub struct Layers {
    path: PathBuf,
    file: File,
    /// Where each file's layer begins, and the shape of the file; in list order.
    places: Vec<(u64, Grid)>,
}

impl Layers {
    /// Reads and accepts the layer of the file at `position` of `files`, alone (rule 3).
    ///
    /// # Errors
    /// [`LayersError`] if it cannot be read or does not merge to the file's root.
    pub fn of(&self, files: &VerifiedFileList, position: usize) -> Result<Layer, LayersError> {
        let (Some((offset, grid)), Some(entry)) = (self.places.get(position), files.entries().get(position))
        else {
            return Err(LayersError::Layer(LayerError::WrongLength { expected: 0, actual: 0 }));
        };
        // A list by which the layers were not opened: its values lie elsewhere, or divide another length.
        if Grid::new(entry.size, files.chunk_size()).as_ref() != Ok(grid) {
            return Err(LayersError::Layer(LayerError::DoesNotMerge { expected: entry.root }));
        }
        let mut layer = LayerReader::new(*grid, entry.root);
        let mut buffer = PageBuffer::zeroed(PIECE);
        let (mut at, mut left) = (*offset, grid.layer_len());
        while left > 0 {
            // The file had this length: it may have more holes than values.
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

/// Why a file's layer is not there to be used.
#[derive(Debug)]
pub enum LayersError {
    /// It cannot be read.
    Io(IoError),
    /// It is not that of the file's root.
    Layer(LayerError),
}

/// Why metadata was refused.
#[non_exhaustive]
#[derive(Debug)]
pub enum MetadataError {
    /// It cannot be read.
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

impl MetadataError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Io(error) => error.error_code(),
            Self::List(error) => error.error_code(),
            Self::LayersLength { .. } => 2201,
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
