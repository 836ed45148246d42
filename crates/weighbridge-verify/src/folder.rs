//! A model folder as a [`Holding`]: what slices and answers to audits are made from.

use std::{fmt, fs::File, path::Path, string::String, vec::Vec};

use weighbridge_manifest::VerifiedFileList;
use weighbridge_tree::{Grid, Layer, LayerError, TooLong};

use crate::{
    Holding,
    io::{IoError, open_no_link, read_exact_at},
    metadata::{CHUNKS, Layers, LayersError, Metadata, MetadataError},
    walk::{UnfitFault, Walk, walk},
};

/// A model folder with its metadata. Files are opened when they are asked for, one at a time.
///
/// # Non-guarantee
/// Chunks are given as they are read. Whoever makes a proof of them checks them against the layer.
#[derive(Debug)]
pub struct HeldFolder<'a> {
    files: &'a VerifiedFileList,
    layers: Option<Layers>,
    walk: Walk,
    open: Option<(usize, File)>,
}

impl<'a> HeldFolder<'a> {
    /// Looks at a folder, without reading a file of it.
    ///
    /// # Errors
    /// [`HoldingError`] if the folder cannot be walked, or the layers have a wrong length.
    pub fn open(
        model: &Path,
        metadata: &Metadata,
        files: &'a VerifiedFileList,
    ) -> Result<Self, HoldingError> {
        let layers = metadata.layers(files).map_err(HoldingError::Metadata)?;
        let walk = walk(model).map_err(HoldingError::Io)?;
        Ok(Self { files, layers, walk, open: None })
    }

    fn file(&mut self, position: usize) -> Result<&File, HoldingError> {
        if self.open.as_ref().is_none_or(|(opened, _)| *opened != position) {
            self.open = Some((position, self.find(position)?));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or(HoldingError::NoSuchEntry)
    }

    fn find(&self, position: usize) -> Result<File, HoldingError> {
        let entry = self.files.entries().get(position).ok_or(HoldingError::NoSuchEntry)?;
        let path = entry.path.as_str();
        let place = || String::from(path);
        let found = self.walk.files.binary_search_by(|found| found.path.as_str().cmp(path));
        let Some(found) = found.ok().and_then(|index| self.walk.files.get(index)) else {
            return Err(match self.walk.unfit_at(path) {
                Some(unfit) => HoldingError::Unfit { path: place(), fault: unfit.fault.clone() },
                None => HoldingError::Missing { path: place() },
            });
        };
        let file = open_no_link(&found.file).map_err(IoError::at("open", &found.file))?;
        let length = file.metadata().map_err(IoError::at("look at", &found.file))?.len();
        if length != entry.size {
            return Err(HoldingError::WrongLength { path: place(), expected: entry.size, actual: length });
        }
        Ok(file)
    }

    fn grid(&self, position: usize) -> Result<Grid, HoldingError> {
        let entry = self.files.entries().get(position).ok_or(HoldingError::NoSuchEntry)?;
        Grid::new(entry.size, self.files.chunk_size()).map_err(HoldingError::TooLong)
    }
}

impl Holding for HeldFolder<'_> {
    type Error = HoldingError;

    fn layer(&mut self, position: usize) -> Result<Layer, HoldingError> {
        let grid = self.grid(position)?;
        let entry = self.files.entries().get(position).ok_or(HoldingError::NoSuchEntry)?;
        let path = || String::from(entry.path.as_str());
        if !grid.has_layer() {
            return Layer::accept(grid, entry.root, &[])
                .map_err(|fault| HoldingError::Layer { path: path(), fault });
        }
        let layers = self.layers.as_ref().ok_or_else(|| HoldingError::NoLayer { path: path() })?;
        layers.of(self.files, position).map_err(|error| match error {
            LayersError::Io(error) => HoldingError::Io(error),
            LayersError::Layer(fault) => HoldingError::Layer { path: path(), fault },
        })
    }

    fn chunk(&mut self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), HoldingError> {
        let range = self.grid(position)?.range(index).ok_or(HoldingError::NoSuchEntry)?;
        let length = range.end.saturating_sub(range.start);
        // At most one chunk, 16 MiB.
        bytes.clear();
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        let shown = self.files.entries().get(position).map(|entry| entry.path.as_str()).unwrap_or_default();
        let read = read_exact_at(self.file(position)?, bytes, range.start);
        Ok(read.map_err(IoError::at("read", shown))?)
    }
}

/// Why a folder does not give what it was asked for.
#[non_exhaustive]
#[derive(Debug)]
pub enum HoldingError {
    /// It cannot be read.
    Io(IoError),
    /// The layers were refused as a whole.
    Metadata(MetadataError),
    /// The layer of a file was refused.
    Layer {
        /// The file.
        path: String,
        /// Why.
        fault: LayerError,
    },
    /// A file of more than one chunk, and no layers are published.
    NoLayer {
        /// The file.
        path: String,
    },
    /// The file is not there.
    Missing {
        /// The file.
        path: String,
    },
    /// What is there can be no part of a model.
    Unfit {
        /// The file.
        path: String,
        /// Why.
        fault: UnfitFault,
    },
    /// The file has another length than the signed one.
    WrongLength {
        /// The file.
        path: String,
        /// The signed length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// No file or chunk has this position; never caused by the data.
    NoSuchEntry,
    /// No list can say this length; never caused by the data.
    TooLong(TooLong),
}

impl From<IoError> for HoldingError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl HoldingError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Metadata(error) => error.error_code(),
            Self::Layer { fault, .. } => fault.error_code(),
            Self::NoLayer { .. } => 9106,
            Self::Missing { .. } => 2104,
            Self::Unfit { fault, .. } => fault.error_code(),
            Self::WrongLength { .. } => 2103,
            Self::NoSuchEntry => 9999,
            Self::TooLong(error) => error.error_code(),
        }
    }
}

impl fmt::Display for HoldingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::io::shown;
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Metadata(error) => error.fmt(f),
            Self::Layer { path, fault } => write!(f, "{}: {fault}", shown(path)),
            Self::NoLayer { path } => {
                write!(f, "{}: its chunk layer is needed, and there is no {CHUNKS}", shown(path))
            }
            Self::Missing { path } => write!(f, "{} is missing", shown(path)),
            Self::Unfit { path, fault } => write!(f, "{}: {fault}", shown(path)),
            Self::WrongLength { path, expected, actual } => {
                write!(f, "{} has {actual} bytes, the signed length is {expected}", shown(path))
            }
            Self::NoSuchEntry => f.write_str("API misuse: no file or chunk has this position"),
            Self::TooLong(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HoldingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Metadata(error) => Some(error),
            Self::Layer { fault, .. } => Some(fault),
            _ => None,
        }
    }
}
