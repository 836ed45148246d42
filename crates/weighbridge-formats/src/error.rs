//! Why a header was refused: place, numbers, and the stable code of `spec/error-codes.md`.

use std::error::Error;
use std::fmt;

use crate::gguf_error::GgufError;
use crate::json;

/// Why a model file does not say, by its format's rules, where its tensors lie.
///
/// Positions are bytes from the start of the file. Names come from the file and may be anything; they are cut and
/// escaped ([`Excerpt`]).
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FormatError {
    /// The file stands in for the model in a Git repository (4117).
    LfsPointer,
    /// Less than the eight bytes of the header's length (4101).
    TooShort {
        /// The file's size.
        file_size: u64,
    },
    /// More than the 100,000,000 bytes that the format allows (4102).
    HeaderTooLong {
        /// The length that the file claims.
        len: u64,
    },
    /// The header would go on after the file's end (4103).
    HeaderPastEnd {
        /// The length that the file claims, counted from byte 8.
        len: u64,
        /// The file's size.
        file_size: u64,
    },
    /// The header does not begin with `{`, white space apart (4104).
    HeaderStart {
        /// What it begins with; `None` for an empty one.
        found: Option<u8>,
    },
    /// The header is not one JSON object with white space around it (4105).
    NotJson {
        /// The first byte that cannot stand where it does.
        at: u64,
        /// What could.
        expected: &'static str,
    },
    /// A name occurs twice in the header (4106).
    RepeatedName {
        /// The name.
        name: Excerpt,
        /// Where its second entry begins.
        at: u64,
    },
    /// A key occurs twice in `__metadata__` (4106).
    RepeatedMetadataKey {
        /// The key.
        key: Excerpt,
        /// Where its second value begins.
        at: u64,
    },
    /// A tensor's entry has not the keys and types that it should have (4107).
    Entry {
        /// The tensor.
        tensor: Excerpt,
        /// What is wrong with its entry.
        fault: EntryFault,
    },
    /// A tensor begins after its end (4109).
    OffsetsReversed {
        /// The tensor.
        tensor: Excerpt,
        /// Where it begins, counted from the header's end.
        begin: u64,
        /// Where it ends.
        end: u64,
    },
    /// A tensor lies at 2^53 or beyond, counted from the file's start (4109).
    OffsetTooLarge {
        /// The tensor.
        tensor: Excerpt,
    },
    /// A tensor has another number of bytes than dtype and shape give (4110).
    SizeMismatch {
        /// The tensor.
        tensor: Excerpt,
        /// What dtype and shape give; `None` for 2^125 bytes or more.
        needed: Option<u128>,
        /// What its offsets give.
        found: u64,
    },
    /// The elements of a tensor end within a byte (4111).
    NotWholeBytes {
        /// The tensor.
        tensor: Excerpt,
        /// Its dtype.
        dtype: &'static str,
    },
    /// Bytes that belong to no tensor (4112).
    Hole {
        /// The first such byte.
        from: u64,
        /// The byte after the last such byte, where a tensor begins.
        to: u64,
        /// The tensor that begins there.
        tensor: Excerpt,
    },
    /// A tensor begins before the end of another (4113).
    Overlap {
        /// The tensor.
        tensor: Excerpt,
        /// Where it begins.
        at: u64,
        /// The tensor before it.
        other: Excerpt,
        /// Where that one ends.
        other_end: u64,
    },
    /// The file is longer or shorter than its tensors (4114).
    FileEnd {
        /// Where the last tensor ends, or the header when there is none.
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
        /// Its key.
        key: Excerpt,
    },
    /// A GGUF file breaks its own format (43xx).
    Gguf(GgufError),
}

/// What is wrong with a tensor's entry in a header.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryFault {
    /// It is not an object.
    NotObject,
    /// It lacks a key.
    MissingKey(&'static str),
    /// It has a key that the format does not know.
    UnknownKey(Excerpt),
    /// It has a key twice.
    RepeatedKey(&'static str),
    /// `dtype` is not a string.
    Dtype,
    /// `shape` is not an array of integers from 0 to 2^53 − 1.
    Shape,
    /// `data_offsets` is not an array of two integers, both 0 or more.
    DataOffsets,
}

impl FormatError {
    /// The stable number of this refusal in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::TooShort { .. } => 4101,
            Self::HeaderTooLong { .. } => 4102,
            Self::HeaderPastEnd { .. } => 4103,
            Self::HeaderStart { .. } => 4104,
            Self::NotJson { .. } => 4105,
            Self::RepeatedName { .. } | Self::RepeatedMetadataKey { .. } => 4106,
            Self::Entry { .. } => 4107,
            Self::OffsetsReversed { .. } | Self::OffsetTooLarge { .. } => 4109,
            Self::SizeMismatch { .. } => 4110,
            Self::NotWholeBytes { .. } => 4111,
            Self::Hole { .. } => 4112,
            Self::Overlap { .. } => 4113,
            Self::FileEnd { .. } => 4114,
            Self::TooManyDimensions { .. } => 4115,
            Self::MetadataNotObject | Self::MetadataNotString { .. } => 4116,
            Self::LfsPointer => 4117,
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

/// The start of a text that somebody else wrote, fit to be shown: at most 80 characters of it.
///
/// `Display` quotes it and escapes whatever does not print, so that it cannot pass for other text or steer a
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

    /// The text as it was read, unescaped, without what was cut off.
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

/// Lists hold integers below this, and so does every number here that ends up in one.
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
