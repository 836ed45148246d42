//! Objects of `serve`.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{Code, Hash};

/// The server takes connections.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Listening<'a> {
    /// The address, as the beginning of a URL.
    pub(crate) url: &'a str,
    /// Whether clients of a hub are answered.
    pub(crate) hub: bool,
}

/// The server is a tracker of swarms, too.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Tracking {
    /// The address at which members are let in.
    pub(crate) address: String,
}

/// A release is served from now on.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Published<'a> {
    /// The model's folder.
    pub(crate) folder: Cow<'a, str>,
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The revision.
    pub(crate) revision: u64,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The sum of the sizes of its files.
    pub(crate) bytes: u64,
}

/// A model is not served any more, since its folder has no head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Withdrawn<'a> {
    /// The folder.
    pub(crate) folder: Cow<'a, str>,
    /// The name of the model.
    pub(crate) name: &'a str,
}

/// A folder cannot be served as it is. What was served of it before still is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Unpublished<'a> {
    /// The folder.
    pub(crate) folder: Cow<'a, str>,
    /// The error code.
    pub(crate) code: Code,
    /// The reason, for people.
    pub(crate) message: &'a str,
}
