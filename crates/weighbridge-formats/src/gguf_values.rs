//! The version and the key-values of a GGUF header, for people.

use crate::gguf_types::ValueType;
use crate::gguf_walk::{Item, walk};

/// The version and the key-values of a GGUF header. They are claims, and no code depends on them.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufAbout<'a> {
    /// The version of the format: 2 or 3.
    pub version: u32,
    /// The key-values, in the order of the header.
    pub values: Vec<(&'a str, GgufValue<'a>)>,
}

/// The value of a key.
// Exhaustive on purpose: the format has no other values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GgufValue<'a> {
    /// An unsigned integer of up to 64 bits.
    Unsigned(u64),
    /// A signed integer of up to 64 bits.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string. Its bytes are not checked, and need not be UTF-8.
    String(&'a [u8]),
    /// An array. Its elements are not returned, because a vocabulary has hundreds of thousands.
    Array {
        /// The type of the elements, by its name in gguf-py.
        kind: &'static str,
        /// The number of elements.
        count: u64,
    },
}

impl<'a> GgufAbout<'a> {
    /// Reads the version and the key-values from the first bytes of a file of `file_size` bytes. `prefix` has to
    /// contain the whole header.
    ///
    /// `None` if [`parse`](crate::parse()) would stop before the end of this header. Rules about all keys
    /// and all tensors together are not checked here.
    ///
    /// # Cost
    /// One pass over the header, and 48 bytes per key-value.
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

/// Reads a value of this type from its bytes. The walk has already checked the bytes.
fn value(kind: ValueType, bytes: &[u8]) -> Option<GgufValue<'_>> {
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
            let kind = ValueType::of(u32::from_le_bytes(*bytes.first_chunk()?))?.name();
            GgufValue::Array { kind, count: u64::from_le_bytes(*bytes.get(4..)?.first_chunk()?) }
        }
        "UINT64" => GgufValue::Unsigned(u64::from_le_bytes(*bytes.first_chunk()?)),
        "INT64" => GgufValue::Signed(i64::from_le_bytes(*bytes.first_chunk()?)),
        "FLOAT64" => GgufValue::Float(f64::from_le_bytes(*bytes.first_chunk()?)),
        _ => return None,
    })
}
