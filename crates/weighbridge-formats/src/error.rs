//! The reason why a header was refused: the place, the numbers, and the stable code of `spec/error-codes.md`.

use std::error::Error;
use std::fmt;

use weighbridge_manifest::{Coded, ErrorCode};

use crate::gguf_error::GgufError;
use crate::json;

/// The reason why a model file has no valid description of its tensors, by its format's rules.
///
/// Positions are bytes from the start of the file. Names come from the file and may have any content; they are cut and
/// escaped ([`Excerpt`]).
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FormatError {
    /// The file is a Git LFS pointer, which replaces the model file in a Git repository (4117).
    LfsPointer,
    /// The file has fewer than the eight bytes of the header's length (4101).
    TooShort {
        /// The file's size.
        file_size: u64,
    },
    /// The header has more than the 100,000,000 bytes that the format allows (4102).
    HeaderTooLong {
        /// The header's length, as claimed by the file.
        len: u64,
    },
    /// The header would go on after the file's end (4103).
    HeaderPastEnd {
        /// The header's length, as claimed by the file, counted from byte 8.
        len: u64,
        /// The file's size.
        file_size: u64,
    },
    /// The first byte of the header, after white space, is not `{` (4104).
    HeaderStart {
        /// That first byte; `None` for an empty header.
        found: Option<u8>,
    },
    /// The header is not one JSON object with white space around it (4105).
    NotJson {
        /// The first byte that is not allowed in its place.
        at: u64,
        /// A description of the allowed bytes.
        expected: &'static str,
    },
    /// A name occurs twice in the header (4106).
    RepeatedName {
        /// The name.
        name: Excerpt,
        /// The position of the name's second entry.
        at: u64,
    },
    /// A key occurs twice in `__metadata__` (4106).
    RepeatedMetadataKey {
        /// The key.
        key: Excerpt,
        /// The position of the key's second value.
        at: u64,
    },
    /// A tensor's entry does not have the required keys and types (4107).
    Entry {
        /// The tensor.
        tensor: Excerpt,
        /// The fault of the entry.
        fault: EntryFault,
    },
    /// A tensor begins after its end (4109).
    OffsetsReversed {
        /// The tensor.
        tensor: Excerpt,
        /// The offset at which the tensor begins, counted from the header's end.
        begin: u64,
        /// The offset at which the tensor ends, counted from the header's end.
        end: u64,
    },
    /// A tensor reaches 2^53 or beyond, counted from the file's start (4109).
    OffsetTooLarge {
        /// The tensor.
        tensor: Excerpt,
    },
    /// A tensor's number of bytes is not the one that follows from its dtype and shape (4110).
    SizeMismatch {
        /// The tensor.
        tensor: Excerpt,
        /// The number of bytes that follows from dtype and shape; `None` for 2^125 bytes or more.
        needed: Option<u128>,
        /// The number of bytes that follows from the tensor's offsets.
        found: u64,
    },
    /// The last element of a tensor ends within a byte (4111).
    NotWholeBytes {
        /// The tensor.
        tensor: Excerpt,
        /// The tensor's dtype.
        dtype: &'static str,
    },
    /// There are bytes that belong to no tensor (4112).
    Hole {
        /// The first such byte.
        from: u64,
        /// The byte after the last such byte, at which a tensor begins.
        to: u64,
        /// The tensor that begins after the hole.
        tensor: Excerpt,
    },
    /// A tensor begins before the end of another (4113).
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
    /// The file is longer or shorter than its tensors (4114).
    FileEnd {
        /// The position at which the last tensor ends; the end of the header if there is no tensor.
        tensors_end: u64,
        /// The file's size.
        file_size: u64,
    },
    /// A tensor has more than 16 dimensions (4115).
    TooManyDimensions {
        /// The tensor.
        tensor: Excerpt,
    },
    /// `__metadata__` is neither an object nor `null` (4116).
    MetadataNotObject,
    /// A value in `__metadata__` is not a string (4116).
    MetadataNotString {
        /// The key of the value.
        key: Excerpt,
    },
    /// A GGUF file breaks its own format (43xx).
    Gguf(GgufError),
}

/// The fault of a tensor's entry in a header.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryFault {
    /// The entry is not an object.
    NotObject,
    /// The entry lacks a key.
    MissingKey(&'static str),
    /// The entry has a key that the format does not define.
    UnknownKey(Excerpt),
    /// The entry has a key twice.
    RepeatedKey(&'static str),
    /// `dtype` is not a string.
    Dtype,
    /// `shape` is not an array of integers from 0 to 2^53 − 1.
    Shape,
    /// `data_offsets` is not an array of two integers, both 0 or more.
    DataOffsets,
}

impl Coded for FormatError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::TooShort { .. } => ErrorCode::SAFETENSORS_TOO_SHORT,
            Self::HeaderTooLong { .. } => ErrorCode::SAFETENSORS_HEADER_TOO_LONG,
            Self::HeaderPastEnd { .. } => ErrorCode::SAFETENSORS_HEADER_PAST_END,
            Self::HeaderStart { .. } => ErrorCode::SAFETENSORS_HEADER_START,
            Self::NotJson { .. } => ErrorCode::SAFETENSORS_NOT_JSON,
            Self::RepeatedName { .. } | Self::RepeatedMetadataKey { .. } => {
                ErrorCode::SAFETENSORS_REPEATED_NAME
            }
            Self::Entry { .. } => ErrorCode::SAFETENSORS_ENTRY,
            Self::OffsetsReversed { .. } | Self::OffsetTooLarge { .. } => ErrorCode::SAFETENSORS_OFFSETS,
            Self::SizeMismatch { .. } => ErrorCode::SAFETENSORS_TENSOR_SIZE,
            Self::NotWholeBytes { .. } => ErrorCode::SAFETENSORS_NOT_WHOLE_BYTES,
            Self::Hole { .. } => ErrorCode::SAFETENSORS_HOLE,
            Self::Overlap { .. } => ErrorCode::SAFETENSORS_OVERLAP,
            Self::FileEnd { .. } => ErrorCode::SAFETENSORS_FILE_END,
            Self::TooManyDimensions { .. } => ErrorCode::SAFETENSORS_TOO_MANY_DIMENSIONS,
            Self::MetadataNotObject | Self::MetadataNotString { .. } => ErrorCode::SAFETENSORS_METADATA,
            Self::LfsPointer => ErrorCode::LFS_POINTER,
            Self::Gguf(error) => error.error_code(),
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LfsPointer => write!(f, "the file is a Git LFS pointer, not the model"),
            Self::TooShort { file_size } => {
                write!(f, "the file has {file_size} bytes, too few to hold the 8 of a header length")
            }
            Self::HeaderTooLong { len } => {
                write!(f, "the header claims {len} bytes, more than the limit of 100000000")
            }
            Self::HeaderPastEnd { len, file_size } => {
                write!(f, "the header claims {len} bytes from byte 8 on, but the file has only {file_size}")
            }
            Self::HeaderStart { found: Some(byte) } => {
                write!(f, "the header begins with the byte 0x{byte:02x}, expected `{{`")
            }
            Self::HeaderStart { found: None } => write!(f, "the header is empty, expected `{{`"),
            Self::NotJson { at, expected } => {
                write!(f, "the header is not well-formed JSON at byte {at} of the file: expected {expected}")
            }
            Self::RepeatedName { name, at } => {
                write!(f, "the name {name} occurs a second time in the header, at byte {at} of the file")
            }
            Self::RepeatedMetadataKey { key, at } => {
                write!(f, "the key {key} occurs a second time in `__metadata__`, at byte {at} of the file")
            }
            Self::Entry { tensor, fault } => write!(f, "tensor {tensor}: {fault}"),
            Self::OffsetsReversed { tensor, begin, end } => {
                write!(f, "tensor {tensor}: its begin offset {begin} is after its end offset {end}")
            }
            Self::OffsetTooLarge { tensor } => {
                write!(f, "tensor {tensor}: it would end at 2^53 bytes or beyond, more than a file can hold")
            }
            Self::SizeMismatch { tensor, needed: Some(needed), found } => {
                write!(f, "tensor {tensor}: dtype and shape need {needed} bytes, its offsets give {found}")
            }
            Self::SizeMismatch { tensor, needed: None, found } => {
                write!(f, "tensor {tensor}: dtype and shape need over 2^125 bytes, its offsets give {found}")
            }
            Self::NotWholeBytes { tensor, dtype } => {
                write!(f, "tensor {tensor}: elements of dtype {dtype} do not fill whole bytes in this shape")
            }
            Self::Hole { from, to, tensor } => {
                write!(f, "bytes {from}..{to} before tensor {tensor} belong to no tensor")
            }
            Self::Overlap { tensor, at, other, other_end } => {
                write!(
                    f,
                    "tensor {tensor} begins at byte {at}, before tensor {other} ends at byte {other_end}"
                )
            }
            Self::FileEnd { tensors_end, file_size } => {
                write!(f, "the tensors end at byte {tensors_end}, but the file has {file_size} bytes")
            }
            Self::TooManyDimensions { tensor } => write!(f, "tensor {tensor}: more than 16 dimensions"),
            Self::MetadataNotObject => write!(f, "`__metadata__` is neither an object nor null"),
            Self::MetadataNotString { key } => {
                write!(f, "the value of {key} in `__metadata__` is not a string")
            }
            Self::Gguf(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotObject => write!(f, "its entry is not an object"),
            Self::MissingKey(key) => write!(f, "its entry lacks `{key}`"),
            Self::UnknownKey(key) => write!(f, "its entry has the unknown key {key}"),
            Self::RepeatedKey(key) => write!(f, "its entry has `{key}` twice"),
            Self::Dtype => write!(f, "its dtype is not a string"),
            Self::Shape => write!(f, "its shape is not an array of integers from 0 to 2^53 - 1"),
            Self::DataOffsets => write!(f, "its data_offsets are not two integers from 0 up"),
        }
    }
}

impl Error for FormatError {}

impl From<GgufError> for FormatError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(error)
    }
}

impl From<json::Fault> for FormatError {
    fn from(fault: json::Fault) -> Self {
        Self::NotJson { at: fault.at, expected: fault.expected }
    }
}

/// The beginning of an untrusted text, fit for display: at most 80 characters.
///
/// `Display` quotes the text and escapes all characters that do not print. So it cannot pass for other text or steer a
/// terminal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excerpt {
    text: String,
    is_cut: bool,
}

impl Excerpt {
    pub(crate) fn of(text: &str) -> Self {
        let mut characters = text.chars();
        let text = characters.by_ref().take(EXCERPT_CHARACTERS).collect();
        Self { text, is_cut: characters.next().is_some() }
    }

    /// The unescaped text, without the part that was cut off.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}{}\"", weighbridge_manifest::shown(&self.text), if self.is_cut { "…" } else { "" })
    }
}

const EXCERPT_CHARACTERS: usize = 80;

/// Lists hold only integers below this limit, and so does every number here that ends up in a list.
pub(crate) const NUMBER_LIMIT: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_escaped() {
        for (name, shown) in [
            ("model.norm.weight", "\"model.norm.weight\"".to_owned()),
            ("a\n\u{1b}[31m\"\\", r#""a\n\u{1b}[31m\"\\""#.to_owned()),
            ("left\u{202e}right\u{200b}", r#""left\u{202e}right\u{200b}""#.to_owned()),
            (&"é".repeat(80), format!("\"{}\"", "é".repeat(80))),
            (&"é".repeat(81), format!("\"{}…\"", "é".repeat(80))),
        ] {
            assert_eq!(Excerpt::of(name).to_string(), shown);
        }
    }
}
