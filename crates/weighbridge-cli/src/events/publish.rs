//! Objects of `keygen`, `vkey`, `weigh` and `sign`.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{Fault, Hash, HeadLines, UnknownDtype};

/// A key was made.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Key<'a> {
    /// The vkey line of the public key.
    pub(crate) vkey: String,
    /// The file of the secret key.
    pub(crate) secret_file: Cow<'a, str>,
    /// The file of the vkey line.
    pub(crate) vkey_file: Cow<'a, str>,
    /// Whether the secret key is encrypted.
    pub(crate) encrypted: bool,
}

/// A public key as a vkey line.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Vkey {
    /// The line.
    pub(crate) vkey: String,
}

/// A file was taken over from an earlier release, and not read.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Reused<'a> {
    /// The path of the file in the model.
    pub(crate) path: &'a str,
}

/// A tensor file was covered as a file, without its tensors.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Unlisted<'a> {
    /// The path of the file in the model.
    pub(crate) path: &'a str,
    /// The reason.
    pub(crate) unknown_dtype: UnknownDtype,
}

/// A place in the model folder that was left out, or that is refused.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct File<'a> {
    /// The path of the place in the model.
    pub(crate) path: &'a str,
    /// Whether the place was left out or is refused.
    pub(crate) status: PlaceStatus,
    /// The reasons, of a place that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) faults: Option<[Fault; 1]>,
}

/// The outcome for a place.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum PlaceStatus {
    #[serde(rename = "left out")]
    LeftOut,
    Refused,
}

/// A model was weighed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Weighed<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The names of the keys that signed the head.
    pub(crate) signers: &'a [&'a str],
    /// The folder of the metadata.
    pub(crate) folder: Cow<'a, str>,
    /// The number of places that were left out.
    pub(crate) left_out: u64,
    /// The lines of the head.
    pub(crate) says: HeadLines<'a>,
}

/// A head was signed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Signed<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The revision.
    pub(crate) revision: u64,
    /// The name of the key.
    pub(crate) signer: &'a str,
    /// Whether the signature is new; false if the key had signed the head before.
    pub(crate) added: bool,
}
