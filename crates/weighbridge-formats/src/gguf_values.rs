//! What a GGUF header says beside its tensors, for people: its version and its key-values.

use crate::gguf_types::Kind;
use crate::gguf_walk::{Item, walk};

/// What a GGUF header says beside its tensors. A claim as all of it, and nothing here depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufAbout<'a> {
    /// The version of the format: 2 or 3.
    pub version: u32,
    /// The key-values, in the order of the header.
    pub values: Vec<(&'a str, GgufValue<'a>)>,
}

/// The value of a key.
// Exhaustive on purpose: these are all that the format has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GgufValue<'a> {
    /// An integer without sign, of up to 64 bits.
    Unsigned(u64),
    /// An integer with sign, of up to 64 bits.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A truth.
    Bool(bool),
    /// A string. Nobody looked whether it is UTF-8.
    String(&'a [u8]),
    /// An array. Its elements are not given: a vocabulary has hundreds of thousands.
    Array {
        /// The type of its elements, as gguf-py names it.
        kind: &'static str,
        /// How many there are.
        count: u64,
    },
}

impl<'a> GgufAbout<'a> {
    /// Reads it from the first bytes of a file of `file_size` bytes, which have all of the header.
    ///
    /// `None` if [`Format::parse`](crate::Format::parse) would not go through the whole header of these bytes. That
    /// nothing is wrong with keys and tensors as a whole is not looked at here.
    ///
    /// # Cost
    /// One pass over the header, and 48 bytes for each key-value.
    #[must_use]
    pub fn read(prefix: &'a [u8], file_size: u64) -> Option<Self> {
        let mut values = Vec::new();
        let whole = walk(prefix, file_size, |item| {
            if let Item::Value { key, kind, bytes } = item {
                values.extend(value(kind, bytes).map(|value| (key, value)));
            }
        });
        whole.ok()?;
        let version = u32::from_le_bytes(*prefix.get(4..)?.first_chunk()?);
        Some(Self { version, values })
    }
}

/// The value in its bytes, which were stepped over as one of this type.
fn value(kind: Kind, bytes: &[u8]) -> Option<GgufValue<'_>> {
    Some(match kind.name() {
        "UINT8" => GgufValue::Unsigned(u8::from_le_bytes(*bytes.first_chunk()?).into()),
        "INT8" => GgufValue::Signed(i8::from_le_bytes(*bytes.first_chunk()?).into()),
        "UINT16" => GgufValue::Unsigned(u16::from_le_bytes(*bytes.first_chunk()?).into()),
        "INT16" => GgufValue::Signed(i16::from_le_bytes(*bytes.first_chunk()?).into()),
        "UINT32" => GgufValue::Unsigned(u32::from_le_bytes(*bytes.first_chunk()?).into()),
        "INT32" => GgufValue::Signed(i32::from_le_bytes(*bytes.first_chunk()?).into()),
        "FLOAT32" => GgufValue::Float(f32::from_le_bytes(*bytes.first_chunk()?).into()),
        "BOOL" => GgufValue::Bool(bytes.first() == Some(&1)),
        "STRING" => GgufValue::String(bytes.get(8..)?),
        "ARRAY" => {
            let kind = Kind::of(u32::from_le_bytes(*bytes.first_chunk()?))?.name();
            GgufValue::Array { kind, count: u64::from_le_bytes(*bytes.get(4..)?.first_chunk()?) }
        }
        "UINT64" => GgufValue::Unsigned(u64::from_le_bytes(*bytes.first_chunk()?)),
        "INT64" => GgufValue::Signed(i64::from_le_bytes(*bytes.first_chunk()?)),
        "FLOAT64" => GgufValue::Float(f64::from_le_bytes(*bytes.first_chunk()?)),
        _ => return None,
    })
}
