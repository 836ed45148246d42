//! Finds the tensors in model files.
//!
//! A list line holds the name, dtype, shape, offset and size of a tensor. This crate reads them from the header of a
//! model file. It also reads the index next to the shards of a sharded model, and compares the parts of a split model.
//! It sees headers only and performs no I/O: the caller reads as many bytes from the file's start as the parser
//! requests.
//!
//! ```
//! use weighbridge_formats::{Format, Parsed, parse};
//!
//! let header = br#"{"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let file = [&57_u64.to_le_bytes(), &header[..], &[0; 8]].concat();
//!
//! let format = Format::of("model.safetensors").ok_or("no tensor file")?;
//! let mut known = 0;
//! let tensors = loop {
//!     match parse(format, &file[..known], 73)? {
//!         Parsed::NeedPrefix(length) => known = length.try_into()?, // read more of the file here
//!         Parsed::Tensors { tensors, .. } => break tensors,
//!         Parsed::UnknownDtype { dtype, .. } => return Err(dtype.to_string().into()),
//!     }
//! };
//! assert_eq!((tensors[0].name.as_str(), tensors[0].offset, tensors[0].size), ("bias", 65, 8));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantee
//! Accepted tensors have unique names, lie within the file and do not overlap. They cover every byte after the header,
//! except the padding between tensors in GGUF. Each has exactly the size that follows from its dtype and shape. Two
//! readers that accept the same header read the same tensors from it: forms that parsers are known to read differently
//! are refused (repeated keys, trailing bytes, numbers that are not integers). Some readers refuse some accepted
//! headers; `spec/tensors.md` lists the known differences. The rules, their order and their codes are in
//! `spec/tensors.md` and `spec/gguf.md`.
//!
//! # Not guaranteed
//! The header need not be the publisher's: verify its bytes first. The values of the tensors need not make sense. Names
//! need not be fit for a list: length and control characters are checked when lists are written.
//!
//! # Hostile input
//! The parser never panics. Memory is proportional to the header, and time to n log n of it. A header has at most
//! 100,000,000 bytes, and no number in it is believed before it is compared with the file's size.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

mod error;
#[cfg(feature = "generate")]
pub mod generate;
#[cfg(feature = "generate")]
pub mod generate_gguf;
#[cfg(feature = "generate")]
mod generate_gguf_header;
mod gguf;
mod gguf_error;
mod gguf_types;
mod gguf_values;
mod gguf_walk;
pub mod index;
mod json;
mod safetensors;
pub mod split;
mod unknown;

pub use error::{EntryFault, Excerpt, FormatError};
pub use gguf_error::GgufError;
pub use gguf_values::{GgufAbout, GgufValue};
use split::Split;
pub use unknown::UnknownDtype;
pub use weighbridge_manifest::{Coded, ErrorCode, Format};

/// Whether this whole file is a Git LFS pointer, so the file that it stands for was not downloaded. The file may have
/// any name.
#[must_use]
pub fn is_lfs_pointer(file: &[u8]) -> bool {
    u64::try_from(file.len()).is_ok_and(|length| length <= MAX_LFS_POINTER)
        && file.starts_with(safetensors::LFS_POINTER)
}

/// The longest file, in bytes, that Git LFS accepts as a pointer.
pub const MAX_LFS_POINTER: u64 = 1_024;

/// Guesses the format of a file from its first bytes, for any name. Files with only a guessed format are never
/// listed.
///
/// GGUF begins with its name. A safetensors file begins with a length that the format allows, then `{`. White space
/// may come before the `{`, as far as `prefix` reaches. No file has the beginning of two formats.
#[must_use]
pub fn guess(prefix: &[u8]) -> Option<Format> {
    let seems = |format: &Format| match format {
        Format::Safetensors => safetensors::seems(prefix),
        Format::Gguf => prefix.starts_with(gguf_walk::MAGIC),
    };
    Format::ALL.into_iter().find(seems)
}

/// The number of bytes from the file's start that [`parse`] needs; `None` if `prefix` is long enough.
///
/// For callers that keep the prefix and parse it later, when they know its origin. This looks only for the length
/// of the header and keeps no part of it. Also `None` if the file is malformed, which `parse` reports.
///
/// # Cost
/// No allocation. For safetensors, a few comparisons. For GGUF, which states no header length, a walk over the
/// prefix: a few nanoseconds for each key, string, array and tensor.
#[must_use]
pub fn needs_prefix(format: Format, prefix: &[u8], file_size: u64) -> Option<u64> {
    match format {
        Format::Safetensors => safetensors::needs_prefix(prefix, file_size),
        Format::Gguf => gguf::needs_prefix(prefix, file_size),
    }
}

/// Reads a header from the first bytes of a file of `file_size` bytes.
///
/// Call this with the bytes at hand, even with none. If it requests more, read more and call it again. Bytes after
/// the header are ignored. The verdict does not depend on how the prefix grew.
///
/// # Errors
/// [`FormatError`], the first in the order of `spec/tensors.md` or `spec/gguf.md`.
///
/// # Panics
/// Never, for any `prefix` and `file_size`.
///
/// # Cost
/// One pass over the header, a sort of its tensors, and memory proportional to it. Safetensors needs at most two
/// requests for a longer prefix. GGUF requests a quarter more each time, so all calls together cost at most five
/// passes.
pub fn parse(format: Format, prefix: &[u8], file_size: u64) -> Result<Parsed, FormatError> {
    match format {
        Format::Safetensors => safetensors::parse(prefix, file_size),
        Format::Gguf => gguf::parse(prefix, file_size),
    }
}

/// The result of [`parse`].
// Exhaustive on purpose: a caller that overlooks a variant loops forever, misses the tensors, or refuses a good file.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// The prefix is too short. The value is the required number of bytes from the file's start.
    ///
    /// It is always more than the length of the prefix, and never more than the length of the file.
    NeedPrefix(u64),
    /// The header is well-formed.
    Tensors {
        /// All tensors, ordered by offset, then size, then name. Of several tensors at one offset, all but the last are
        /// empty.
        tensors: Vec<TensorSpan>,
        /// The number of bytes before the tensors: the first tensor's position, if there is a tensor.
        header_len: u64,
        /// The split to which the file claims to belong; always `None` for safetensors.
        split: Option<Split>,
    },
    /// The header is well-formed as far as can be checked, but has an unknown dtype. Its tensors cannot be listed.
    ///
    /// For safetensors, all rules hold except those about the size of this tensor. For GGUF, the places after such a
    /// tensor are unknown too.
    UnknownDtype {
        /// The first such dtype, in the order of the header.
        dtype: UnknownDtype,
        /// The names of all tensors, each once.
        names: Vec<String>,
        /// The split to which the file claims to belong; always `None` for safetensors.
        split: Option<Split>,
    },
}

/// The description of one tensor: the content of its list line, except its file and hash.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TensorSpan {
    /// The unescaped name from the header. It may be any Unicode text, even empty.
    pub name: String,
    /// The type of the elements, spelled as in the format.
    pub dtype: String,
    /// The dimensions, slowest first; a scalar has none. Each is below 2^53.
    pub shape: Vec<u64>,
    /// The position of the first byte, counted from the start of the file.
    pub offset: u64,
    /// The number of bytes of the tensor. `offset + size` is at most the file's size and below 2^53.
    pub size: u64,
}
