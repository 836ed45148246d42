//! Objects about policies.

use std::borrow::Cow;

use serde::Serialize;
use weighbridge_manifest::{self as manifest, Publisher, TrustedKey};

use super::values::{Hash, Rfc3339};

/// A policy that is in use though the command line does not name it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct InUse<'a> {
    /// The path of the policy.
    pub(crate) file: Cow<'a, str>,
    /// The SHA-256 of the file.
    pub(crate) sha256: String,
    /// The reason why it is in use.
    pub(crate) from: Origin,
}

/// The reason why a policy is in use.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Origin {
    Environment,
    User,
}

/// The user's policy.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Kept<'a> {
    /// The path of the policy.
    pub(crate) file: Cow<'a, str>,
    /// The SHA-256 of the file.
    pub(crate) sha256: String,
    /// The entries, of publishers and of importers.
    pub(crate) publishers: Vec<Entry>,
    /// The ids of heads that are believed whatever their signatures.
    pub(crate) accepted_heads: Vec<Hash>,
    /// The auditors.
    pub(crate) auditors: Vec<Key>,
    /// The vkey lines of revoked keys.
    pub(crate) revoked: Vec<String>,
}

/// An entry of a policy.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) struct Entry {
    /// The models.
    scope: String,
    /// The role of the keys.
    role: Role,
    /// The number of distinct keys that have to sign.
    threshold: usize,
    /// The keys.
    keys: Vec<Key>,
}

impl From<&Publisher> for Entry {
    fn from(entry: &Publisher) -> Self {
        let Publisher { scope, role, threshold, keys } = entry;
        let keys = keys.iter().map(Into::into).collect();
        Self { scope: scope.to_string(), role: (*role).into(), threshold: *threshold, keys }
    }
}

/// The role of an entry of a policy.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Role {
    Publisher,
    Import,
}

impl From<manifest::Role> for Role {
    fn from(role: manifest::Role) -> Self {
        match role {
            manifest::Role::Publisher => Self::Publisher,
            manifest::Role::Import => Self::Import,
        }
    }
}

/// A key of a policy.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) struct Key {
    /// The vkey line.
    vkey: String,
    /// The first time at which the key counts; null for no limit.
    from: Option<Rfc3339>,
    /// The time from which it no longer counts; null for no limit.
    until: Option<Rfc3339>,
}

impl From<&TrustedKey> for Key {
    fn from(key: &TrustedKey) -> Self {
        let TrustedKey { vkey, from, until } = key;
        Self { vkey: vkey.to_string(), from: from.map(Into::into), until: until.map(Into::into) }
    }
}

/// A remembered head about which a changed policy has another verdict.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Verdict<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The revision.
    pub(crate) revision: u64,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The role of the entry that believed it so far; null if none did.
    pub(crate) before: Option<Role>,
    /// The role of the entry that believes it now; null if none does.
    pub(crate) after: Option<Role>,
}
