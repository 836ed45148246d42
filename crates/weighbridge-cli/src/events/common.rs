//! Objects that belong to several commands, or to none of the groups.

use std::borrow::Cow;

use serde::Serialize;
use weighbridge_manifest as manifest;

use super::values::{Code, Hash};

/// Something for people to know. It changes no result.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Note<'a> {
    /// The sentence.
    pub(crate) message: &'a str,
}

/// The end of a run that did not end well.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Error<'a> {
    /// The error code.
    pub(crate) code: Code,
    /// The sentence, for people.
    pub(crate) message: &'a str,
    /// The advice on what to do about it, for people.
    pub(crate) hints: &'a [String],
}

/// A head that satisfies the caller's trust.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Head<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The revision.
    pub(crate) revision: u64,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The names of the keys that count; none if the head was accepted by its id.
    pub(crate) signers: &'a [&'a str],
    /// The facts about an imported head; null of any other.
    pub(crate) imported: Option<Imported<'a>>,
    /// Whether the head has expired; `unknown` if this machine's clock tells no time.
    pub(crate) freshness: Freshness,
}

/// A head that its signers imported, and that the publisher of the model has not signed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) struct Imported<'a> {
    /// The places from which the importer says to have the model: the values of the head's `ext source` lines.
    from: Vec<&'a str>,
    /// The publisher, as far as the model's name tells: its first part.
    not_signed_by: &'a str,
}

impl<'a> From<manifest::Imported<'a>> for Imported<'a> {
    fn from(imported: manifest::Imported<'a>) -> Self {
        let manifest::Imported { from, not_signed_by } = imported;
        Self { from, not_signed_by }
    }
}

/// Whether a head has expired.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Freshness {
    Current,
    Expired,
    Unknown,
}

impl From<manifest::Freshness> for Freshness {
    fn from(freshness: manifest::Freshness) -> Self {
        match freshness {
            manifest::Freshness::Current => Self::Current,
            manifest::Freshness::Expired { .. } => Self::Expired,
            manifest::Freshness::Unknown { .. } => Self::Unknown,
        }
    }
}

/// A head that is not remembered any more, since the keys that signed it are revoked.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Forgotten<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The revision.
    pub(crate) revision: u64,
    /// The id of the head.
    pub(crate) head: Hash,
}

/// The manual pages were written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Man<'a> {
    /// The folder of the pages.
    pub(crate) folder: Cow<'a, str>,
    /// The names of the files.
    pub(crate) pages: &'a [String],
}
