//! Objects of `prove`.

use std::borrow::Cow;

use serde::Serialize;

use super::values::Hash;

/// A proof was written to a file.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ProofFile<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The length of the proof.
    pub(crate) bytes: usize,
    /// The file.
    pub(crate) file: Cow<'a, str>,
}

/// A proof.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Proof<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The length of the proof.
    pub(crate) bytes: usize,
    /// The proof itself.
    pub(crate) proof: &'a str,
}

/// A slice was written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Slice<'a> {
    /// The length of the slice.
    pub(crate) bytes: u64,
    /// The file.
    pub(crate) file: Cow<'a, str>,
}
