//! Objects of `audit`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

use super::values::{Hash, Rfc3339};

/// A challenge was written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Challenge<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The vkey line of the node that is asked.
    pub(crate) prover: String,
    /// The number of BLAKE3 chunks that are drawn.
    pub(crate) samples: u64,
    /// The number of BLAKE3 chunks of the model.
    pub(crate) of: u64,
    /// The time of the challenge.
    pub(crate) issued: Rfc3339,
    /// The time by which the response has to come.
    pub(crate) deadline: Rfc3339,
    /// The file of the challenge.
    pub(crate) file: Cow<'a, str>,
}

/// A response was written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Response<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The hash of the challenge.
    pub(crate) challenge: Hash,
    /// The time by which the auditor has to have it.
    pub(crate) deadline: Rfc3339,
    /// The length of the response.
    pub(crate) bytes: usize,
    /// The file of the response.
    pub(crate) file: Cow<'a, str>,
}

/// A response was checked, and a report of it written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The vkey line of the node that answered.
    pub(crate) prover: String,
    /// The vkey line of the auditor.
    pub(crate) auditor: String,
    /// The hash of the challenge.
    pub(crate) challenge: Hash,
    /// The hash of the response.
    pub(crate) response: Hash,
    /// The number of BLAKE3 chunks that were shown.
    pub(crate) samples: u64,
    /// The number of BLAKE3 chunks from which they were drawn.
    pub(crate) of: u64,
    /// The time of the challenge.
    pub(crate) issued: Rfc3339,
    /// The time at which the whole response had come.
    pub(crate) received: Rfc3339,
    /// By the lost part of the model, such as `1%`: the chance that no drawn chunk lies in it.
    pub(crate) chance_of_missing: BTreeMap<String, f64>,
    /// The file of the report.
    pub(crate) file: Cow<'a, str>,
}
