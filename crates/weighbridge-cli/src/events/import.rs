//! Objects of `import`.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{Always, Hash, HeadLines};

/// A branch has another commit since the import began, which has the earlier one.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Moved<'a> {
    /// The commit that the branch has now.
    pub(crate) commit: &'a str,
}

/// The model in the folder is of the listed commit already.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Current<'a> {
    /// The folder of the model.
    pub(crate) folder: Cow<'a, str>,
}

/// A model was imported.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Imported<'a> {
    /// The id of the head.
    pub(crate) head: Hash,
    /// The names of the keys that signed the head.
    pub(crate) signers: &'a [&'a str],
    /// The folder of the model.
    pub(crate) folder: Cow<'a, str>,
    /// The place that vouches for the files, by its listing.
    pub(crate) origin: &'a str,
    /// Whether the publisher signed anything: never. The place listed the digests.
    pub(crate) signed_by_publisher: Always<false>,
    /// Whether the id of the commit was compared with the tree and the blobs that it stands for: never.
    pub(crate) commit_checked: Always<false>,
    /// The number of bytes that came from the place.
    pub(crate) received: u64,
    /// The lines of the head.
    pub(crate) says: HeadLines<'a>,
}
