//! Where the tensors lie in model files.
//!
//! A list line says of each tensor its name, dtype, shape, offset and size. This crate reads them from the
//! header of a model file, reads the index that a sharded model carries beside its shards, and compares the parts of a
//! split one. It sees headers only and performs no I/O: the caller reads as many bytes from the file's start as it is
//! asked for.
//!
//! ```
//! use weighbridge_formats::{Format, Parsed};
//!
//! let header = br#"{"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let file = [&57_u64.to_le_bytes(), &header[..], &[0; 8]].concat();
//!
//! let format = Format::of("model.safetensors").ok_or("no tensor file")?;
//! let mut known = 0;
//! let tensors = loop {
//!     match format.parse(&file[..known], 73)? {
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
//! Accepted tensors have unique names, lie within the file, do not overlap, cover every byte after the header but the
//! padding that GGUF has between them, and have exactly the size that dtype and shape give. Two readers that take an
//! accepted header read the same from it: what parsers are known to read differently (repeated keys, trailing bytes,
//! numbers that are no integers) is refused. Not every reader takes every accepted header; `spec/tensors.md` says which
//! differences are known. The rules, their order and their codes are there and in `spec/gguf.md`.
//!
//! # Not guaranteed
//! That the header is the publisher's: for that its bytes are verified first. That the values of the tensors make
//! sense. That names are fit for a list: length and control characters are checked where lists are written.
//!
//! # Hostile input
//! Never panics. Memory is proportional to the header, time to n log n of it; a header is at most 100,000,000 bytes,
//! and no number in it is believed before it was compared with the file's size.

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

/// Tells whether this whole file is a Git LFS pointer: the one that it stands for was not downloaded. It may have any name.
#[must_use]
pub fn is_lfs_pointer(file: &[u8]) -> bool {
    u64::try_from(file.len()).is_ok_and(|length| length <= MAX_LFS_POINTER)
        && file.starts_with(safetensors::LFS_POINTER)
}

/// Git LFS takes nothing longer for a pointer, in bytes.
pub const MAX_LFS_POINTER: u64 = 1_024;

/// A file format whose tensors are listed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// A length, a JSON header, the tensors' bytes: <https://github.com/huggingface/safetensors>.
    Safetensors,
    /// Key-values and places of tensors in binary, the tensors' bytes: <https://github.com/ggml-org/ggml>.
    ///
    /// Versions 2 and 3, little-endian.
    Gguf,
}

impl Format {
    /// The format of the file at `path`, by the ending of its name, or `None` for a file that is no tensor file.
    ///
    /// The ending is compared exactly: `MODEL.SAFETENSORS` is no tensor file, on any operating system. Lists go by this
    /// alone, since a path says the same to everyone who has the list.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        if path.ends_with(".safetensors") {
            Some(Self::Safetensors)
        } else {
            path.ends_with(".gguf").then_some(Self::Gguf)
        }
    }

    /// The format that a file seems to have by its first bytes, whatever it is called; of a guess nothing is listed.
    ///
    /// GGUF begins with its name. A safetensors file begins with a length that the format allows, and then `{`; as many
    /// white spaces as `prefix` has may stand before that.
    #[must_use]
    pub fn guess(prefix: &[u8]) -> Option<Self> {
        if prefix.starts_with(gguf_walk::MAGIC) {
            return Some(Self::Gguf);
        }
        safetensors::seems(prefix).then_some(Self::Safetensors)
    }

    /// How many bytes from the file's start [`parse`](Self::parse) needs, if `prefix` is too short for it to tell.
    ///
    /// For callers that keep the prefix and parse it later, once they know whose bytes these are: it looks for the
    /// length of a header and keeps nothing of it. `None` also if the file is malformed, which is for `parse` to say.
    ///
    /// # Cost
    /// No allocation. For safetensors a few comparisons; for GGUF, which has no length to read, a walk over the prefix,
    /// a few nanoseconds for each key, string, array and tensor.
    #[must_use]
    pub fn needs_prefix(self, prefix: &[u8], file_size: u64) -> Option<u64> {
        match self {
            Self::Safetensors => safetensors::needs_prefix(prefix, file_size),
            Self::Gguf => gguf::needs_prefix(prefix, file_size),
        }
    }

    /// Reads a header from the first bytes of a file of `file_size` bytes.
    ///
    /// Call it with what is at hand, an empty slice will do; read more when it says so, and call it again. Bytes
    /// after the header may be there and are not looked at. The verdict does not depend on how the prefix grew.
    ///
    /// # Errors
    /// [`FormatError`], the first failure in the order of `spec/tensors.md` or `spec/gguf.md`.
    ///
    /// # Panics
    /// Never, for any `prefix` and `file_size`.
    ///
    /// # Cost
    /// One pass over the header, a sort of its tensors, and memory proportional to it. For safetensors the prefix is
    /// asked for at most twice. For GGUF each time a quarter more is asked for, so that all calls together cost at most
    /// five passes.
    pub fn parse(self, prefix: &[u8], file_size: u64) -> Result<Parsed, FormatError> {
        match self {
            Self::Safetensors => safetensors::parse(prefix, file_size),
            Self::Gguf => gguf::parse(prefix, file_size),
        }
    }
}

/// What [`Format::parse`] found out.
// Exhaustive on purpose: a caller that overlooks one loops for ever, misses the tensors, or refuses a good file.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// The prefix is too short to tell: so many bytes from the file's start are wanted.
    ///
    /// Always more than were given, and never more than the file has.
    NeedPrefix(u64),
    /// The header is well-formed.
    Tensors {
        /// All tensors, ordered by offset, then size, then name. Only empty tensors share an offset with another.
        tensors: Vec<TensorSpan>,
        /// How many bytes lie before the tensors' own: where the first tensor begins, if there is one.
        header_len: u64,
        /// Of which split the file says to be a part; always `None` for safetensors.
        split: Option<Split>,
    },
    /// The header is well-formed as far as it can be told, and has a dtype that is not known. Its tensors cannot be listed.
    ///
    /// For safetensors all rules hold but those about this tensor's own size. For GGUF all that lies behind such a tensor
    /// is unknown too.
    UnknownDtype {
        /// The first such dtype, in the order of the header.
        dtype: UnknownDtype,
        /// The names of all tensors, each once.
        names: Vec<String>,
        /// Of which split the file says to be a part; always `None` for safetensors.
        split: Option<Split>,
    },
}

/// Where one tensor lies: what a list line says of it, but for its file and hash.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TensorSpan {
    /// The name as the header has it, unescaped; any Unicode text, the empty one too.
    pub name: String,
    /// The type of the elements, spelled as the format spells it.
    pub dtype: String,
    /// The dimensions, slowest first; a scalar has none. Each is below 2^53.
    pub shape: Vec<u64>,
    /// The place of the first byte, counted from the start of the file.
    pub offset: u64,
    /// How many bytes the tensor has. `offset + size` is at most the file's size and below 2^53.
    pub size: u64,
}
