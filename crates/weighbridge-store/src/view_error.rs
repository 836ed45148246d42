//! The errors of views.

use std::{fmt, ops::Range};

use weighbridge_manifest::shown;
use weighbridge_tree::{ChunkError, Coded, ErrorCode};

use crate::{folder::HoldingError, io::IoError};

/// The reason why a view gives no bytes of a file, or no more of them.
#[non_exhaustive]
#[derive(Debug)]
pub enum ViewError {
    /// The file, or its layer, cannot be read.
    Holding(HoldingError),
    /// A chunk of the file is not the signed one; a chunk that has not arrived yet reads as zeros.
    Chunk {
        /// The file.
        path: String,
        /// The fault of the chunk.
        fault: ChunkError,
    },
    /// The file was truncated, extended, replaced or removed since it was opened.
    Changed {
        /// The file.
        path: String,
    },
    /// The file has no such bytes. The caller's fault, never that of the data.
    PastEnd {
        /// The file.
        path: String,
        /// The requested range of bytes.
        range: Range<u64>,
        /// The file's signed length.
        size: u64,
    },
}

impl From<HoldingError> for ViewError {
    fn from(error: HoldingError) -> Self {
        Self::Holding(error)
    }
}

impl From<IoError> for ViewError {
    fn from(error: IoError) -> Self {
        Self::Holding(HoldingError::Io(error))
    }
}

impl Coded for ViewError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Holding(error) => error.error_code(),
            Self::Chunk { fault, .. } => fault.error_code(),
            Self::Changed { .. } => ErrorCode::FILE_CHANGED,
            Self::PastEnd { .. } => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holding(error) => error.fmt(f),
            Self::Chunk { path, fault } => write!(f, "{}: {fault}", shown(path)),
            Self::Changed { path } => write!(f, "{} changed since it was opened", shown(path)),
            Self::PastEnd { path, range, size } => write!(
                f,
                "API misuse: bytes {}..{} are past the end of {}, which has {size}",
                range.start,
                range.end,
                shown(path)
            ),
        }
    }
}

impl std::error::Error for ViewError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Holding(error) => Some(error),
            Self::Chunk { fault, .. } => Some(fault),
            Self::Changed { .. } | Self::PastEnd { .. } => None,
        }
    }
}
