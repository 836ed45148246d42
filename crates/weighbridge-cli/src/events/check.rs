//! Objects of `check`.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{Always, Code, Hash, Rfc3339};

/// A file that is in the model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct File<'a> {
    /// The file is listed.
    pub(crate) status: Listed,
    /// The position in the file list, counted from 0.
    pub(crate) position: u64,
    /// The path in the model.
    pub(crate) path: &'a str,
    /// The size.
    pub(crate) size: u64,
    /// The root of the file.
    pub(crate) blake3: Hash,
}

/// The status of what is in the model.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Listed {
    Listed,
}

/// A path that is not in the model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct AbsentFile<'a> {
    /// No file of this path is listed.
    pub(crate) status: Absent,
    /// The path.
    pub(crate) path: &'a str,
}

/// The status of what is not in the model.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Absent {
    Absent,
}

/// A tensor that is in the model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Tensor<'a> {
    /// The tensor is listed.
    pub(crate) status: Listed,
    /// The position in the tensor list, counted from 0.
    pub(crate) position: u64,
    /// The name.
    pub(crate) name: &'a str,
    /// The file of the tensor.
    pub(crate) file: &'a str,
    /// The type of its elements.
    pub(crate) dtype: &'a str,
    /// The dimensions, slowest first.
    pub(crate) shape: &'a [u64],
    /// The position of the first byte in the file.
    pub(crate) offset: u64,
    /// The number of bytes.
    pub(crate) size: u64,
    /// The hash of the tensor.
    pub(crate) blake3: Hash,
}

/// A receipt of this head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Receipt {
    /// The node claims it, and nothing shows it.
    pub(crate) claim: Always<true>,
    /// The vkey line of the node.
    pub(crate) node: String,
    /// The time at which it verified the model, as it says.
    pub(crate) verified: Rfc3339,
}

/// A report that counts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    /// The name of the auditor.
    pub(crate) auditor: &'a str,
    /// The vkey line of the prover.
    pub(crate) prover: String,
    /// The time at which the auditor had the whole response.
    pub(crate) received: Rfc3339,
}

/// A slice was checked.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Slice<'a> {
    /// The path of the file in the model.
    pub(crate) file: &'a str,
    /// The position of the first byte.
    pub(crate) start: u64,
    /// The position behind the last byte.
    pub(crate) end: u64,
    /// The file that got the bytes; null if none was asked for.
    pub(crate) extracted: Option<Cow<'a, str>>,
}

/// The end of a check. A proof that is refused has none.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Result {
    /// Everything that the proof says is so.
    pub(crate) verified: Always<true>,
    /// There is no error.
    pub(crate) code: Option<Code>,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The level that is shown of the model: `held` if auditors found that it can be had.
    pub(crate) level: Level,
    /// The number of files that are in the model.
    pub(crate) files: usize,
    /// The number of tensors that are in the model.
    pub(crate) tensors: usize,
    /// The number of paths that are not.
    pub(crate) absent: usize,
}

/// The level that is shown of a model.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Level {
    Published,
    Held,
}
