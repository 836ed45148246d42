//! The reason why a slice was refused, or not made.

use core::fmt;
use core::ops::Range;

use crate::error_code::{Coded, ErrorCode};
use crate::geometry::TooLong;
use crate::layer::ChunkError;

/// The reason why a slice was refused, or not made.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SliceError {
    /// No slice has this range (rule 6).
    Range {
        /// The size of the file.
        len: u64,
        /// The start of the range.
        start: u64,
        /// The end of the range.
        end: u64,
    },
    /// The slice ended too soon (rule 6).
    Short {
        /// The length that follows from the range, in bytes.
        expected: u64,
        /// The number of bytes found.
        actual: u64,
    },
    /// The slice goes on after its end (rule 6).
    Long {
        /// The length that follows from the range, in bytes.
        expected: u64,
    },
    /// The slice claims to be of a file of another size (rule 1).
    OtherSize {
        /// The signed size.
        expected: u64,
        /// The size in the slice.
        actual: u64,
    },
    /// A parent or a BLAKE3 chunk of the slice does not lead to the file's root (rules 3 and 4).
    Mismatch {
        /// The byte range of the file below that node; 0..0 if the root of an empty file is not the root of no bytes.
        range: Range<u64>,
    },
    /// The slicer refused a chunk that was pushed to it.
    Chunk(ChunkError),
    /// No file can be this long. The caller is at fault, never the data.
    TooLong(TooLong),
    /// The range and the layer belong to files of different sizes. The caller is at fault, never the data.
    OtherFile {
        /// The size of the layer's file.
        layer: u64,
        /// The size of the range's file.
        range: u64,
    },
    /// A chunk was pushed although the slice was complete. The caller is at fault, never the data.
    NothingWanted,
    /// A slice was finished before it was complete. The caller is at fault, never the data.
    Unfinished {
        /// The position of the chunk that is wanted next.
        wanted: u64,
    },
    /// A bug of this library.
    Bug,
}

impl Coded for SliceError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Range { .. } => ErrorCode::SLICE_RANGE,
            Self::Short { .. } | Self::Long { .. } => ErrorCode::SLICE_LENGTH,
            Self::OtherSize { .. } => ErrorCode::SLICE_FILE_SIZE,
            Self::Mismatch { .. } => ErrorCode::SLICE_MISMATCH,
            Self::Chunk(error) => error.error_code(),
            Self::TooLong(error) => error.error_code(),
            Self::OtherFile { .. } | Self::NothingWanted | Self::Unfinished { .. } | Self::Bug => {
                ErrorCode::BUG
            }
        }
    }
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { len, start, end } => {
                write!(f, "a file of {len} bytes has no slice of the bytes {start}..{end}")
            }
            Self::Short { expected, actual } => {
                write!(f, "the slice ends after {actual} bytes, expected {expected}")
            }
            Self::Long { expected } => {
                write!(f, "the slice goes on after {expected} bytes, where it has to end")
            }
            Self::OtherSize { expected, actual } => {
                write!(f, "the slice is of a file of {actual} bytes, expected {expected}")
            }
            Self::Mismatch { range } => {
                write!(
                    f,
                    "the slice does not lead to the file's root at bytes {}..{}",
                    range.start, range.end
                )
            }
            Self::Chunk(error) => fmt::Display::fmt(error, f),
            Self::TooLong(error) => fmt::Display::fmt(error, f),
            Self::OtherFile { layer, range } => {
                write!(f, "API misuse: a range of a file of {range} bytes, and a layer of one of {layer}")
            }
            Self::NothingWanted => write!(f, "API misuse: a chunk was pushed to a slice that is whole"),
            Self::Unfinished { wanted } => write!(f, "API misuse: the slice still needs chunk {wanted}"),
            Self::Bug => write!(f, "a slice could not be made; please report it"),
        }
    }
}

impl core::error::Error for SliceError {}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::geometry::FILE_LEN_LIMIT;

    #[test]
    fn each_refusal_has_its_number_and_names_the_place() {
        let chunk = ChunkError::Mismatch { index: 3, range: 3072..4096 };
        for (error, said) in [
            (
                SliceError::Range { len: 9, start: 6, end: 5 },
                "2601 a file of 9 bytes has no slice of the bytes 6..5",
            ),
            (SliceError::Short { expected: 72, actual: 8 }, "2602 the slice ends after 8 bytes, expected 72"),
            (SliceError::Long { expected: 72 }, "2602 the slice goes on after 72 bytes, where it has to end"),
            (
                SliceError::OtherSize { expected: 9, actual: 8 },
                "2603 the slice is of a file of 8 bytes, expected 9",
            ),
            (
                SliceError::Mismatch { range: 1024..2048 },
                "2604 the slice does not lead to the file's root at bytes 1024..2048",
            ),
            (SliceError::Chunk(chunk), "2102 chunk 3 (bytes 3072..4096) does not match the signed root"),
            (
                SliceError::TooLong(TooLong { len: FILE_LEN_LIMIT }),
                "9999 a file has fewer than 2^53 bytes, not 9007199254740992",
            ),
            (
                SliceError::OtherFile { layer: 8, range: 9 },
                "9999 API misuse: a range of a file of 9 bytes, and a layer of one of 8",
            ),
            (SliceError::NothingWanted, "9999 API misuse: a chunk was pushed to a slice that is whole"),
            (SliceError::Unfinished { wanted: 4 }, "9999 API misuse: the slice still needs chunk 4"),
            (SliceError::Bug, "9999 a slice could not be made; please report it"),
        ] {
            assert_eq!(format!("{} {error}", error.error_code()), said);
        }
    }
}
