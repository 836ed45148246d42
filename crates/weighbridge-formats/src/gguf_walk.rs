//! Walks over a GGUF header once, from its first byte to its last, by rules G1 to G13 of `spec/gguf.md`, in their
//! order.
//!
//! The walk does not allocate: it passes each item to the visitor as it goes, borrowed from the header. So it can
//! determine the length of a header from unverified bytes. [`crate::gguf`] reads a header in the same walk.

use crate::error::{Excerpt, FormatError, NUMBER_LIMIT};
use crate::gguf_error::GgufError;
use crate::gguf_types::{Dtype, ValueType};
use crate::safetensors::{LFS_POINTER, MAX_HEADER};

/// An item of a header. Items come in the order of the header.
pub(crate) enum Item<'a> {
    /// A key-value. `bytes` are all bytes of the value, without its type.
    Value {
        key: &'a str,
        kind: ValueType,
        bytes: &'a [u8],
    },
    Tensor(Info<'a>),
}

/// A header's description of a tensor.
pub(crate) struct Info<'a> {
    pub(crate) name: &'a str,
    /// The number of the dtype. The table may lack it.
    pub(crate) number: u32,
    pub(crate) dtype: Option<&'static Dtype>,
    /// The dimensions, of eight bytes each.
    dims: &'a [u8],
    /// The offset, counted from the first tensor's position.
    pub(crate) offset: u64,
}

impl Info<'_> {
    /// The shape, slowest dimension first. The file has the slowest dimension last.
    pub(crate) fn shape(&self) -> Vec<u64> {
        self.dims.as_chunks().0.iter().rev().map(|dim| u64::from_le_bytes(*dim)).collect()
    }
}

/// The reason why a walk stopped before the end of the header.
pub(crate) enum Stop {
    /// The prefix ends before the header does. The value is the number of bytes to read next, from the file's start.
    Need(u64),
    Fault(FormatError),
}

impl From<GgufError> for Stop {
    fn from(error: GgufError) -> Self {
        Self::Fault(FormatError::Gguf(error))
    }
}

/// Walks over the whole header, and returns the position of its end.
pub(crate) fn walk<'a>(
    prefix: &'a [u8],
    file_size: u64,
    mut visit: impl FnMut(Item<'a>),
) -> Result<u64, Stop> {
    let file_len = usize::try_from(file_size).unwrap_or(usize::MAX);
    let known = prefix.get(..file_len).unwrap_or(prefix);
    let mut cursor = Cursor { known, at: 0, file_size };
    let (tensors, values) = cursor.start()?;
    for _ in 0..values {
        let key = cursor.key()?;
        let kind = cursor.kind()?;
        let bytes = cursor.value(kind)?;
        visit(Item::Value { key, kind, bytes });
    }
    for _ in 0..tensors {
        visit(Item::Tensor(cursor.tensor()?));
    }
    Ok(cursor.at)
}

struct Cursor<'a> {
    known: &'a [u8],
    at: u64,
    file_size: u64,
}

impl<'a> Cursor<'a> {
    /// Reads the magic, the version and the two counts (G1 to G4).
    fn start(&mut self) -> Result<(u64, u64), Stop> {
        if self.known.starts_with(LFS_POINTER) {
            return Err(Stop::Fault(FormatError::LfsPointer));
        }
        let pointer = length(LFS_POINTER);
        if LFS_POINTER.starts_with(self.known) && self.file_size >= pointer {
            return Err(self.need(pointer));
        }
        if self.file_size < length(MAGIC) || self.take(length(MAGIC))? != MAGIC {
            return Err(GgufError::Magic.into());
        }
        match self.u32()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 2 | 3) => return Err(GgufError::BigEndian.into()),
            version => return Err(GgufError::Version { version }.into()),
        }
        let (tensors, values) = (self.u64()?, self.u64()?);
        let least = tensors.saturating_mul(LEAST_TENSOR).saturating_add(values.saturating_mul(LEAST_VALUE));
        let room = self.file_size.saturating_sub(self.at);
        if tensors > MAX_COUNT || values > MAX_COUNT || least > room {
            return Err(GgufError::Counts { tensors, values, file_size: self.file_size }.into());
        }
        Ok((tensors, values))
    }

    /// Reads a key (G7).
    fn key(&mut self) -> Result<&'a str, Stop> {
        let at = self.at;
        let len = self.u64()?;
        if !(1..=MAX_KEY).contains(&len) {
            return Err(GgufError::Key { at }.into());
        }
        str::from_utf8(self.take(len)?).map_err(|_| GgufError::Key { at }.into())
    }

    fn kind(&mut self) -> Result<ValueType, Stop> {
        let at = self.at;
        let number = self.u32()?;
        ValueType::of(number).ok_or_else(|| GgufError::ValueType { at, number }.into())
    }

    /// Steps over a value (G8 to G10), and returns its bytes.
    fn value(&mut self, kind: ValueType) -> Result<&'a [u8], Stop> {
        let start = self.at;
        match kind {
            ValueType::STRING => drop(self.string()?),
            ValueType::ARRAY => self.array(1)?,
            _ => self.many(kind, 1)?,
        }
        Ok(self.passed(start))
    }

    /// The bytes from `start` to the current position.
    fn passed(&self, start: u64) -> &'a [u8] {
        let range = usize::try_from(start).ok().zip(usize::try_from(self.at).ok());
        range.and_then(|(start, end)| self.known.get(start..end)).unwrap_or_default()
    }

    /// Steps over an array. `depth` is the number of open arrays, including this one.
    fn array(&mut self, depth: u32) -> Result<(), Stop> {
        if depth > MAX_NESTING {
            return Err(GgufError::Nesting { at: self.at }.into());
        }
        let kind = self.kind()?;
        let count = self.u64()?;
        if kind.width().is_some() {
            return self.many(kind, count);
        }
        // Every element takes bytes, so the file's size bounds the loop.
        self.require(count.saturating_mul(kind.least()))?;
        for _ in 0..count {
            if kind == ValueType::ARRAY {
                self.array(depth.saturating_add(1))?;
            } else {
                self.string()?;
            }
        }
        Ok(())
    }

    /// Steps over `count` values of a type with a fixed width.
    fn many(&mut self, kind: ValueType, count: u64) -> Result<(), Stop> {
        let at = self.at;
        let bytes = self.take(count.saturating_mul(kind.least()))?;
        if kind == ValueType::BOOL
            && let Some(place) = bytes.iter().position(|byte| *byte > 1)
        {
            let at = at.saturating_add(u64::try_from(place).unwrap_or(u64::MAX));
            return Err(GgufError::Bool { at }.into());
        }
        Ok(())
    }

    /// Reads the description of a tensor (G11 to G13).
    fn tensor(&mut self) -> Result<Info<'a>, Stop> {
        let at = self.at;
        let name = str::from_utf8(self.string()?).map_err(|_| GgufError::Name { at })?;
        let tensor = || Excerpt::of(name);
        let rank = self.u32()?;
        if rank > MAX_DIMENSIONS {
            return Err(GgufError::Dimensions { tensor: tensor(), found: rank }.into());
        }
        let start = self.at;
        let mut first = None;
        for _ in 0..rank {
            let dim = self.u64()?;
            if dim >= NUMBER_LIMIT {
                return Err(GgufError::Dimension { tensor: tensor(), found: dim }.into());
            }
            first = first.or(Some(dim));
        }
        let dims = self.passed(start);
        let number = self.u32()?;
        let dtype = Dtype::of(number);
        let first = first.unwrap_or(1);
        if let Some(Dtype { name, block, .. }) = dtype.filter(|dtype| !first.is_multiple_of(dtype.block)) {
            return Err(
                GgufError::Block { tensor: tensor(), dtype: name, block: *block, found: first }.into()
            );
        }
        let offset = self.u64()?;
        Ok(Info { name, number, dtype, dims, offset })
    }

    fn string(&mut self) -> Result<&'a [u8], Stop> {
        let len = self.u64()?;
        self.take(len)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        // `take` returns exactly the requested number of bytes.
        Ok(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default()))
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default()))
    }

    /// The next `len` bytes.
    fn take(&mut self, len: u64) -> Result<&'a [u8], Stop> {
        let end = self.require(len)?;
        let range = usize::try_from(self.at).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(at, end)| self.known.get(at..end)).ok_or_else(|| self.need(end))?;
        self.at = end;
        Ok(bytes)
    }

    /// The position after the next `len` bytes, if the file (G5) and the limit (G6) have room for them.
    fn require(&self, len: u64) -> Result<u64, GgufError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.file_size);
        let end = end.ok_or(GgufError::PastEnd { at: self.at, len, file_size: self.file_size })?;
        if end > MAX_HEADER { Err(GgufError::HeaderTooLong { at: self.at, len }) } else { Ok(end) }
    }

    /// The length to read next: at least up to `end`, and a quarter more than is known. The walk starts again each
    /// time, so all walks together cost at most five times a single walk.
    fn need(&self, end: u64) -> Stop {
        let known = length(self.known);
        let wanted = known.saturating_add(known / 4).clamp(FIRST_READ, MAX_HEADER);
        Stop::Need(wanted.min(self.file_size).max(end))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

pub(crate) const MAGIC: &[u8] = b"GGUF";
/// The most tensors, and the most key-values, of a file.
const MAX_COUNT: u64 = 1 << 20;
/// The fewest bytes of a key-value: a key of one byte, a type, a value of one byte.
const LEAST_VALUE: u64 = 8 + 1 + 4 + 1;
/// The fewest bytes of a tensor's description: an empty name, no dimensions, a type, an offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;
const MAX_KEY: u64 = 65_535;
const MAX_NESTING: u32 = 8;
/// The same limit as a list line's. ggml itself allows four dimensions; gguf-py writes and reads more.
const MAX_DIMENSIONS: u32 = 16;
/// The length of the first read. Most headers without a vocabulary fit.
const FIRST_READ: u64 = 1 << 16;
