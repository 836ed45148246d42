//! The reason why chunks, layers and unfinished files are refused.

use alloc::boxed::Box;
use core::{fmt, ops::Range};

use weighbridge_manifest::{EntryPath, shown};
use weighbridge_tree::{ChunkError, Coded, ErrorCode, LayerError};

use crate::released::VerifiedRun;

/// The reason why a file has no verifier, or why its verifier refuses a layer or chunk.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifierError {
    /// The file at this position does not exist, or is not among the wanted ones. The caller's fault.
    NotWanted {
        /// The position that the caller named.
        position: usize,
    },
    /// The file's layer has to be accepted before its chunks.
    NoLayer {
        /// The file.
        path: EntryPath,
    },
    /// The length of the layers of all files is not the one that the file list gives (rule 1). No layer was checked.
    LayersLength {
        /// The length that the file list gives.
        expected: u64,
        /// The length offered.
        actual: u64,
    },
    /// The layer is not the file's. A layer that was accepted before stays.
    Layer {
        /// The file.
        path: EntryPath,
        /// The fault of the layer.
        fault: LayerError,
    },
    /// The chunk is not the signed one. None of its bytes were released.
    Chunk {
        /// The file.
        path: EntryPath,
        /// The fault of the chunk.
        fault: ChunkError,
    },
}

impl Coded for VerifierError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotWanted { .. } => ErrorCode::BUG,
            Self::NoLayer { .. } => ErrorCode::LAYER_NEEDED,
            Self::LayersLength { .. } => ErrorCode::LAYERS_LENGTH,
            Self::Layer { fault, .. } => fault.error_code(),
            Self::Chunk { fault, .. } => fault.error_code(),
        }
    }
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWanted { position } => {
                write!(f, "API misuse: the file at position {position} is not among those to verify")
            }
            Self::NoLayer { path } => {
                write!(f, "{}: its chunk layer has to be accepted before its chunks", shown(path.as_str()))
            }
            Self::LayersLength { expected, actual } => {
                write!(f, "the chunk layers have {actual} bytes, the file list gives {expected}")
            }
            Self::Layer { path, fault } => write!(f, "{}: {fault}", shown(path.as_str())),
            Self::Chunk { path, fault } => write!(f, "{}: {fault}", shown(path.as_str())),
        }
    }
}

impl core::error::Error for VerifierError {}

/// The reason why a run of chunks was not accepted as a whole. Nothing from the bad chunk on was released.
#[derive(Clone, Debug)]
pub struct RunError<'b> {
    /// The chunks before the bad one, accepted as if they had come alone; `None` if the first chunk is bad.
    pub accepted: Option<VerifiedRun<'b>>,
    /// The first bad chunk, and what is wrong with it.
    pub fault: ChunkError,
}

impl Coded for RunError<'_> {
    fn error_code(&self) -> ErrorCode {
        self.fault.error_code()
    }
}

impl fmt::Display for RunError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl core::error::Error for RunError<'_> {}

/// Chunks are missing. The accepted chunks are not lost: [`into_verifier`](Self::into_verifier) gives the verifier
/// back.
#[derive(Debug)]
pub struct Incomplete<V> {
    pub(crate) verifier: Box<V>,
    pub(crate) path: EntryPath,
    pub(crate) run: Range<u64>,
    pub(crate) missing: u64,
    pub(crate) count: u64,
}

impl<V> Incomplete<V> {
    /// The verifier, as it was before `finish` was called.
    #[must_use]
    pub fn into_verifier(self) -> V {
        *self.verifier
    }

    /// The first file that lacks chunks.
    #[must_use]
    pub fn path(&self) -> &EntryPath {
        &self.path
    }

    /// The first run of positions of chunks that this file lacks.
    #[must_use]
    pub fn run(&self) -> Range<u64> {
        self.run.clone()
    }

    /// The number of missing chunks, in all files.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

impl<V: fmt::Debug> Coded for Incomplete<V> {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::INCOMPLETE
    }
}

impl<V> fmt::Display for Incomplete<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, run, missing, count, .. } = self;
        write!(
            f,
            "{missing} of {count} chunks are missing, the first is chunk {} of {}",
            run.start,
            shown(path.as_str())
        )
    }
}

impl<V: fmt::Debug> core::error::Error for Incomplete<V> {}
