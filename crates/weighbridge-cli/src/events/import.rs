//! Objects of `import`.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{Hash, HeadLines};

/// What the place lists.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Listed<'a> {
    /// The place: `hf://ORG/NAME@COMMIT`, or the address of a folder.
    pub(crate) origin: &'a str,
    /// The commit, if the place is a hub.
    pub(crate) commit: Option<&'a str>,
    /// The number of files.
    pub(crate) files: u64,
    /// The bytes of all files.
    pub(crate) bytes: u64,
}

/// A branch has another commit since the import began, which has the earlier one.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Moved<'a> {
    /// The commit that the branch has now.
    pub(crate) commit: &'a str,
}

/// A file is not what the place lists.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Wrong<'a> {
    /// The path of the file in the model.
    pub(crate) path: &'a str,
    /// The digest that the place lists.
    pub(crate) listed: &'a str,
    /// The digest of the bytes that came.
    pub(crate) came: &'a str,
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
    /// The place that vouches for the files.
    pub(crate) origin: &'a str,
    /// What vouches for the files: the place listed their digests.
    pub(crate) vouched_by: VouchedBy,
    /// Whether the commit id was compared with the tree that it stands for.
    pub(crate) commit_checked: bool,
    /// The number of bytes that came from the place.
    pub(crate) received: u64,
    /// The lines of the head.
    pub(crate) says: HeadLines<'a>,
}

/// What vouches for the files of an import.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum VouchedBy {
    Listing,
}
