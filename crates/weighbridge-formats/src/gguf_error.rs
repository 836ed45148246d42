//! The reason why a GGUF header was refused: the place, the numbers, and the stable code of `spec/error-codes.md`.

use std::error::Error;
use std::fmt;

use weighbridge_manifest::{Coded, ErrorCode};

use crate::error::Excerpt;

/// The reason why a GGUF file has no valid description of its tensors, by the format's rules.
///
/// Positions are bytes from the start of the file. Names and keys come from the file and may have any content; they are
/// cut and escaped ([`Excerpt`]).
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GgufError {
    /// The file does not begin with `GGUF` (4301).
    Magic,
    /// The version is not supported (4302).
    Version {
        /// The version, as claimed by the file.
        version: u32,
    },
    /// The file is written in big-endian byte order (4303).
    BigEndian,
    /// The file claims more tensors or key-values than the limit, or than the file has room for (4304).
    Counts {
        /// The number of tensors, as claimed by the file.
        tensors: u64,
        /// The number of key-values, as claimed by the file.
        values: u64,
        /// The file's size.
        file_size: u64,
    },
    /// The header would go on after the file's end (4305).
    PastEnd {
        /// The position of the bytes of which some are missing.
        at: u64,
        /// The number of these bytes.
        len: u64,
        /// The file's size.
        file_size: u64,
    },
    /// The header is longer than 100,000,000 bytes (4306).
    HeaderTooLong {
        /// The position of the bytes that exceed the limit.
        at: u64,
        /// The number of these bytes.
        len: u64,
    },
    /// A key is empty, longer than 65,535 bytes, or not UTF-8 (4307).
    Key {
        /// The position of the key's length.
        at: u64,
    },
    /// A value has a type that the format does not define (4308).
    ValueType {
        /// The position of the type.
        at: u64,
        /// The number in place of a type.
        number: u32,
    },
    /// Arrays are nested deeper than 8 levels (4309).
    Nesting {
        /// The position of the ninth array.
        at: u64,
    },
    /// A bool is neither 0 nor 1 (4310).
    Bool {
        /// The position of the bool.
        at: u64,
    },
    /// A tensor's name is not UTF-8 (4311).
    Name {
        /// The position of the name's length.
        at: u64,
    },
    /// A tensor has more than 16 dimensions (4325).
    Dimensions {
        /// The tensor.
        tensor: Excerpt,
        /// The number of dimensions, as claimed by the file.
        found: u32,
    },
    /// A dimension is 2^53 or more (4313).
    Dimension {
        /// The tensor.
        tensor: Excerpt,
        /// The dimension.
        found: u64,
    },
    /// The first dimension is not a multiple of the type's block (4315).
    Block {
        /// The tensor.
        tensor: Excerpt,
        /// The tensor's dtype.
        dtype: &'static str,
        /// The number of elements in a block.
        block: u64,
        /// The first dimension; 1 for a scalar.
        found: u64,
    },
    /// A key occurs twice (4316).
    RepeatedKey {
        /// The key.
        key: Excerpt,
    },
    /// `general.alignment` is not a 32-bit power of two from 8 to 1,048,576 (4317).
    Alignment {
        /// The value; `None` for a value of another type.
        found: Option<u32>,
    },
    /// The keys of a split are incomplete, of another type, or contradict each other (4318).
    Split,
    /// A tensor's name occurs twice (4319).
    RepeatedName {
        /// The name.
        tensor: Excerpt,
    },
    /// A tensor's offset is not a multiple of the alignment (4320).
    Offset {
        /// The tensor.
        tensor: Excerpt,
        /// The tensor's offset, counted from the first tensor's position.
        offset: u64,
        /// The alignment.
        alignment: u64,
    },
    /// A tensor ends after the end of the file (4321).
    TensorPastEnd {
        /// The tensor.
        tensor: Excerpt,
        /// The tensor's offset, counted from the first tensor's position.
        offset: u64,
        /// The file's size.
        file_size: u64,
    },
    /// There are bytes that belong to no tensor and are not padding (4322).
    Hole {
        /// The first such byte.
        from: u64,
        /// The byte after the last such byte, at which a tensor begins.
        to: u64,
        /// The tensor that begins after the hole.
        tensor: Excerpt,
    },
    /// A tensor begins before the end of another or of its padding (4323).
    Overlap {
        /// The tensor.
        tensor: Excerpt,
        /// The position at which the tensor begins.
        at: u64,
        /// The other tensor, which comes first in the file.
        other: Excerpt,
        /// The position at which the other tensor ends.
        other_end: u64,
    },
    /// The file ends neither with its last tensor nor with the padding of that tensor (4324).
    FileEnd {
        /// The position at which the last tensor ends; the end of the header if there is no tensor.
        tensors_end: u64,
        /// The position at which the padding after it ends.
        padded: u64,
        /// The file's size.
        file_size: u64,
    },
}

impl Coded for GgufError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Magic => ErrorCode::GGUF_MAGIC,
            Self::Version { .. } => ErrorCode::GGUF_VERSION,
            Self::BigEndian => ErrorCode::GGUF_BIG_ENDIAN,
            Self::Counts { .. } => ErrorCode::GGUF_COUNTS,
            Self::PastEnd { .. } => ErrorCode::GGUF_HEADER_PAST_END,
            Self::HeaderTooLong { .. } => ErrorCode::GGUF_HEADER_TOO_LONG,
            Self::Key { .. } => ErrorCode::GGUF_KEY,
            Self::ValueType { .. } => ErrorCode::GGUF_VALUE_TYPE,
            Self::Nesting { .. } => ErrorCode::GGUF_NESTING,
            Self::Bool { .. } => ErrorCode::GGUF_BOOL,
            Self::Name { .. } => ErrorCode::GGUF_TENSOR_NAME,
            Self::Dimensions { .. } => ErrorCode::GGUF_TOO_MANY_DIMENSIONS,
            Self::Dimension { .. } => ErrorCode::GGUF_DIMENSION,
            Self::Block { .. } => ErrorCode::GGUF_BLOCK,
            Self::RepeatedKey { .. } => ErrorCode::GGUF_REPEATED_KEY,
            Self::Alignment { .. } => ErrorCode::GGUF_ALIGNMENT,
            Self::Split => ErrorCode::GGUF_SPLIT_KEYS,
            Self::RepeatedName { .. } => ErrorCode::GGUF_REPEATED_NAME,
            Self::Offset { .. } => ErrorCode::GGUF_OFFSET,
            Self::TensorPastEnd { .. } => ErrorCode::GGUF_TENSOR_PAST_END,
            Self::Hole { .. } => ErrorCode::GGUF_HOLE,
            Self::Overlap { .. } => ErrorCode::GGUF_OVERLAP,
            Self::FileEnd { .. } => ErrorCode::GGUF_FILE_END,
        }
    }
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "the file does not begin with `GGUF`"),
            Self::Version { version } => write!(f, "GGUF version {version} is not read, only 2 and 3 are"),
            Self::BigEndian => write!(f, "a big-endian GGUF file; only little-endian ones are read"),
            Self::Counts { tensors, values, file_size } => {
                write!(
                    f,
                    "the header claims {tensors} tensors and {values} key-values, more than 1048576 of one, or \
                     more than a file of {file_size} bytes has room for"
                )
            }
            Self::PastEnd { at, len, file_size } => {
                write!(
                    f,
                    "the header claims {len} bytes from byte {at} on, but the file has only {file_size}"
                )
            }
            Self::HeaderTooLong { at, len } => {
                write!(f, "the header claims {len} bytes from byte {at} on, past the limit of 100000000")
            }
            Self::Key { at } => {
                write!(f, "the key at byte {at} is not UTF-8 text of 1 to 65535 bytes")
            }
            Self::ValueType { at, number } => write!(f, "unknown type of value {number} at byte {at}"),
            Self::Nesting { at } => write!(f, "the array at byte {at} is nested deeper than 8 levels"),
            Self::Bool { at } => write!(f, "the bool at byte {at} is neither 0 nor 1"),
            Self::Name { at } => write!(f, "the tensor name at byte {at} is not UTF-8"),
            Self::Dimensions { tensor, found } => {
                write!(f, "tensor {tensor}: {found} dimensions, more than 16")
            }
            Self::Dimension { tensor, found } => {
                write!(f, "tensor {tensor}: a dimension of {found}, not below 2^53")
            }
            Self::Block { tensor, dtype, block, found } => {
                write!(
                    f,
                    "tensor {tensor}: its first dimension of {found} is no multiple of {dtype}'s block of {block}"
                )
            }
            Self::RepeatedKey { key } => write!(f, "the key {key} occurs a second time in the header"),
            Self::Alignment { found: Some(found) } => {
                write!(f, "`general.alignment` is {found}, expected a power of two from 8 to 1048576")
            }
            Self::Alignment { found: None } => {
                write!(f, "`general.alignment` is no unsigned 32-bit integer")
            }
            Self::Split => {
                write!(f, "`split.no`, `split.count` and `split.tensors.count` do not name a part of a split")
            }
            Self::RepeatedName { tensor } => {
                write!(f, "the name {tensor} occurs a second time in the header")
            }
            Self::Offset { tensor, offset, alignment } => {
                write!(f, "tensor {tensor}: its offset {offset} is no multiple of the alignment {alignment}")
            }
            Self::TensorPastEnd { tensor, offset, file_size } => {
                write!(
                    f,
                    "tensor {tensor}: from its offset {offset} on it would end after the file, which has \
                     {file_size} bytes"
                )
            }
            Self::Hole { from, to, tensor } => {
                write!(f, "bytes {from}..{to} before tensor {tensor} belong to no tensor and are no padding")
            }
            Self::Overlap { tensor, at, other, other_end } => {
                write!(
                    f,
                    "tensor {tensor} begins at byte {at}, before tensor {other}, which ends at byte {other_end}, \
                     and its padding end"
                )
            }
            Self::FileEnd { tensors_end, padded, file_size } => {
                write!(
                    f,
                    "the tensors end at byte {tensors_end}, with padding at byte {padded}, but the file has \
                     {file_size} bytes"
                )
            }
        }
    }
}

impl Error for GgufError {}
