//! Objects of `inspect`. It verifies nothing: its objects are what files claim.

use std::collections::BTreeMap;

use serde::Serialize;

use super::values::{Always, Hash, HeadLines, UnknownDtype};

/// A head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Head<'a> {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The names on the signatures.
    pub(crate) signers: &'a [&'a str],
    /// The lines of the head.
    pub(crate) says: HeadLines<'a>,
}

/// A signed statement other than a head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) struct Statement {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The names on the signatures.
    pub(crate) signers: Vec<String>,
    /// The lines of the statement below its first: each value by its key.
    pub(crate) says: BTreeMap<String, String>,
}

/// A challenge of an audit.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Challenge(pub(crate) Statement);

/// A report of an audit.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report(pub(crate) Statement);

/// A receipt.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Receipt(pub(crate) Statement);

/// A proof, behind its claims and before its head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Proof {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The length of the proof.
    pub(crate) bytes: usize,
}

/// A claim of a proof.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Claim<'a> {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The line of the proof.
    pub(crate) line: &'a str,
}

/// A tensor of a tensor file.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Tensor<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// The type of its elements, as the format spells it.
    pub(crate) dtype: &'a str,
    /// The dimensions, slowest first.
    pub(crate) shape: &'a [u64],
    /// The position of the first byte in the file.
    pub(crate) offset: u64,
    /// The number of bytes.
    pub(crate) size: u64,
}

/// A tensor file, behind its tensors.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Tensors {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The number of tensors.
    pub(crate) count: usize,
    /// The dtype for which no tensor of the file is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unknown_dtype: Option<UnknownDtype>,
}

/// The header of a GGUF file.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Gguf {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The version of the format.
    pub(crate) version: u32,
    /// The alignment of tensors, in bytes.
    pub(crate) alignment: u64,
    /// The part of a split model that the file is; null if it is whole.
    pub(crate) part: Option<Part>,
}

/// A part of a split model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Part {
    /// The number of the part, counted from 0.
    pub(crate) number: u16,
    /// The number of parts.
    pub(crate) count: u16,
    /// The number of tensors in all parts; null if the header does not say it.
    pub(crate) tensors: Option<u32>,
}

/// A key of a GGUF header.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Value<'a> {
    /// The key. A long one is cut.
    pub(crate) key: &'a str,
    /// The value.
    pub(crate) value: GgufValue,
}

/// The value of a GGUF key.
#[derive(Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum GgufValue {
    Unsigned(u64),
    Signed(i64),
    /// A float; null if it is no number or infinite.
    Float(#[cfg_attr(test, schemars(with = "Option<f64>"))] f64),
    Bool(bool),
    /// A text. A long one is cut.
    Text(String),
    /// An array, without its elements.
    Array {
        /// The type of the elements.
        array: &'static str,
        /// The number of elements.
        count: u64,
    },
}

/// A tensor of an index.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Placed<'a> {
    /// The name of the tensor.
    pub(crate) tensor: &'a str,
    /// The file that has it.
    pub(crate) file: &'a str,
}

/// An index, behind its tensors.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Index {
    /// Nothing was verified.
    pub(crate) verified: Always<false>,
    /// The number of tensors.
    pub(crate) count: usize,
}
