//! Errors of sampling: invalid positions, an invalid part, or a part that was not made.

use core::fmt;

use crate::draw::MAX_SAMPLES;
use crate::error_code::{Coded, ErrorCode};
use crate::geometry::TooLong;
use crate::layer::ChunkError;

/// The reason why positions are no samples of a file, or why bytes are no part of a response.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SampleError {
    /// The length of the part is not the one that the samples require (rules 1 and 6).
    WrongLength {
        /// The length that the samples require, in bytes.
        expected: u64,
        /// The length found, in bytes.
        actual: u64,
    },
    /// There is no position. The caller is at fault, as for all variants below: samples are computed, never read
    /// (rule 7).
    NothingDrawn,
    /// More positions than [`MAX_SAMPLES`].
    TooMany {
        /// The number of positions.
        count: usize,
    },
    /// A position is not above the one before it.
    NotIncreasing,
    /// A position is past the end of the file.
    OutOfRange {
        /// The position.
        index: u64,
        /// The number of BLAKE3 chunks of the file.
        count: u64,
    },
    /// The layer belongs to a file of another length.
    OtherFile {
        /// The length of the sampled file, in bytes.
        expected: u64,
        /// The length of the layer's file, in bytes.
        actual: u64,
    },
    /// Lists cannot express this length.
    TooLong(TooLong),
}

impl From<TooLong> for SampleError {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}

impl Coded for SampleError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::WrongLength { .. } => ErrorCode::RESPONSE_LENGTH,
            _ => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { expected, actual } => {
                write!(f, "the samples of a file have {actual} bytes with their path, expected {expected}")
            }
            Self::NothingDrawn => write!(f, "API misuse: no samples of a file"),
            Self::TooMany { count } => write!(f, "API misuse: {count} samples, at most {MAX_SAMPLES}"),
            Self::NotIncreasing => write!(f, "API misuse: samples do not strictly increase"),
            Self::OutOfRange { index, count } => {
                write!(f, "API misuse: sample {index} is past the end of a file of {count} BLAKE3 chunks")
            }
            Self::OtherFile { expected, actual } => {
                write!(f, "API misuse: the layer is of a file of {actual} bytes, expected {expected}")
            }
            Self::TooLong(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SampleError {}

/// The reason why the part of a file was not made.
///
/// Exhaustive: a prover has to tell the three apart, since only one of them is its own fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PartError<E> {
    /// The caller's function did not give a chunk. Holds that function's error.
    Source(E),
    /// A chunk is not the signed one (rule 3).
    Chunk(ChunkError),
    /// The layer belongs to another file.
    Misuse(SampleError),
}

impl<E> PartError<E> {
    /// The number in `spec/error-codes.md`; `None` for the error of whoever was to give a chunk, which has its own.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Source(_) => None,
            Self::Chunk(error) => Some(error.error_code()),
            Self::Misuse(error) => Some(error.error_code()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for PartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Chunk(error) => error.fmt(f),
            Self::Misuse(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for PartError<E> {}
