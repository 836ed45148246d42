//! Objects of `verify --hub`.

use serde::Serialize;
use weighbridge_manifest::ListedFile;
use weighbridge_store::{FileFault, FileReport, Outcome};

use super::values::{Always, Code, Fault};

/// A listing of a hub, or of a folder's `SHA256SUMS`. Nobody signed it: the server said so, at this time.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Listing<'a> {
    /// The listed place: `hf://ORG/NAME@COMMIT`, or the address of the folder.
    pub(crate) origin: &'a str,
    /// The commit; null for a folder.
    pub(crate) commit: Option<&'a str>,
    /// The models on which this one is based, in the words of its card.
    pub(crate) base_models: &'a [String],
    /// The number of listed files.
    pub(crate) files: u64,
    /// The sum of their sizes.
    pub(crate) bytes: u64,
    /// Whether somebody signed the listing: never.
    pub(crate) signed: Always<false>,
    /// Whether the id of the commit was compared with the tree and the blobs that it stands for: never.
    pub(crate) commit_checked: Always<false>,
}

/// A file of the model, or something else in its folder.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ListedFile"))]
pub(crate) struct File<'a> {
    /// The path in the model.
    path: &'a str,
    /// Whether the file is as listed; `extra` if it is not listed and may be there.
    status: Status,
    /// The size: the listed one, if the file is listed.
    size: u64,
    /// The listed digest, as in `sha256:…` or `git-blob:…`; null of what is not listed.
    digest: Option<String>,
    /// The digest of the file, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    /// The reasons why the file is refused, was left out or could not be read.
    faults: Vec<Fault>,
}

/// Whether a file is as listed.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
enum Status {
    #[serde(rename = "as listed")]
    AsListed,
    Extra,
    Refused,
    #[serde(rename = "left out")]
    LeftOut,
    Unknown,
}

impl<'a> File<'a> {
    pub(crate) fn new(report: &'a FileReport, listed: Option<&ListedFile>) -> Self {
        let (status, faults) = match &report.outcome {
            Outcome::Verified => (Status::AsListed, Vec::new()),
            Outcome::Extra => (Status::Extra, Vec::new()),
            Outcome::Refused(faults) => (Status::Refused, faults.iter().map(Fault::of).collect()),
            Outcome::LeftOut(why) => (Status::LeftOut, why.iter().map(Fault::of).collect()),
            Outcome::Unknown(error) => (Status::Unknown, vec![Fault::of(error)]),
        };
        let found = match &report.outcome {
            Outcome::Refused(faults) => faults.iter().find_map(|fault| match fault {
                FileFault::ListedMismatch { found, .. } => Some(found.to_string()),
                _ => None,
            }),
            _ => None,
        };
        let digest = listed.map(|file| file.digest.to_string());
        Self { path: &report.path, status, size: report.size, digest, found, faults }
    }
}

/// The end of a comparison with a listing.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ListedResult"))]
pub(crate) struct Result<'a> {
    /// Whether everything that was looked at is as listed. Nobody signed the listing.
    pub(crate) as_listed: bool,
    /// The error code; null if everything is as listed.
    pub(crate) code: Option<Code>,
    /// The listed place.
    pub(crate) origin: &'a str,
    /// The commit; null for a folder.
    pub(crate) commit: Option<&'a str>,
    /// The number of listed files.
    pub(crate) listed: u64,
    /// Whether all listed files were looked at.
    pub(crate) complete: bool,
    /// The number of files that are not listed and may be there.
    pub(crate) extra: u64,
    /// The number of places that are not listed and were not looked into.
    pub(crate) left_out: u64,
    /// The number of files that are as listed.
    pub(crate) files: u64,
    /// The sum of their sizes.
    pub(crate) bytes: u64,
    /// The number of files that are refused.
    pub(crate) refused: u64,
    /// The number of files that could not be read.
    pub(crate) unknown: u64,
}
