//! Objects of `verify` and `verify --partial`.

use std::borrow::Cow;

use serde::Serialize;
use weighbridge_store::{self as store, FileFault, FileReport, Outcome};
use weighbridge_tree::ErrorCode;

use super::values::{self, Code, Hash, Rfc3339, UnknownDtype};

/// A file of the model, or something else in its folder.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct File<'a> {
    /// The path in the model.
    path: &'a str,
    /// Whether the file is as signed; `extra` if it is not listed and may be there.
    status: FileStatus,
    /// The size: the listed one, if the file is listed.
    size: u64,
    /// The number of chunks.
    chunks: u64,
    /// The reasons why the file is refused, was left out or could not be read.
    faults: Vec<Fault>,
    /// The reason why the header of a verified tensor file was not compared with the tensor list.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncompared: Option<Uncompared>,
    /// The dtype that kept it from being compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_dtype: Option<UnknownDtype>,
}

/// Whether a file is as signed.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
enum FileStatus {
    Verified,
    Extra,
    Refused,
    #[serde(rename = "left out")]
    LeftOut,
    Unknown,
}

/// The reason why a header was not compared with the tensor list.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
enum Uncompared {
    NotListed,
    UnknownDtype,
}

/// The reason why a file is refused, was left out or could not be read.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "FileFault"))]
struct Fault {
    /// The code and the reason.
    #[serde(flatten)]
    fault: values::Fault,
    /// The runs of bad chunks, of bytes that do not match, if the chunk layer of the file is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_chunks: Option<Vec<BadRun>>,
}

/// Neighbouring chunks that do not match.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct BadRun {
    /// The error code of a chunk that does not match.
    code: Code,
    /// The position of the first chunk, counted from 0.
    first: u64,
    /// The position of the last chunk.
    last: u64,
    /// The position of the first byte in the file.
    start: u64,
    /// The position behind the last byte.
    end: u64,
    /// The names of the tensors that have bytes here.
    tensors: Vec<String>,
}

impl<'a> From<&'a FileReport> for File<'a> {
    fn from(report: &'a FileReport) -> Self {
        let (status, faults) = match &report.outcome {
            Outcome::Verified => (FileStatus::Verified, Vec::new()),
            Outcome::Extra => (FileStatus::Extra, Vec::new()),
            Outcome::Refused(faults) => (FileStatus::Refused, faults.iter().map(Fault::from).collect()),
            Outcome::LeftOut(why) => (FileStatus::LeftOut, why.iter().map(Fault::from).collect()),
            Outcome::Unknown(error) => (FileStatus::Unknown, vec![error.into()]),
        };
        let (uncompared, unknown_dtype) = match &report.uncompared {
            None => (None, None),
            Some(store::Uncompared::NotListed) => (Some(Uncompared::NotListed), None),
            Some(store::Uncompared::UnknownDtype(dtype)) => {
                (Some(Uncompared::UnknownDtype), Some(dtype.into()))
            }
        };
        let FileReport { path, size, chunks, .. } = report;
        Self { path, status, size: *size, chunks: *chunks, faults, uncompared, unknown_dtype }
    }
}

impl From<&store::IoError> for Fault {
    fn from(error: &store::IoError) -> Self {
        Self { fault: values::Fault::of(error), bad_chunks: None }
    }
}

impl From<&FileFault> for Fault {
    fn from(fault: &FileFault) -> Self {
        let bad_chunks = match fault {
            FileFault::Mismatch { chunks: Some(chunks), .. } => {
                Some(chunks.runs.iter().map(BadRun::from).collect())
            }
            _ => None,
        };
        Self { fault: values::Fault::of(fault), bad_chunks }
    }
}

impl From<&store::BadRun> for BadRun {
    fn from(store::BadRun { chunks: (first, last), bytes, tensors }: &store::BadRun) -> Self {
        Self {
            code: ErrorCode::CHUNK_MISMATCH.into(),
            first: *first,
            last: *last,
            start: bytes.start,
            end: bytes.end,
            tensors: tensors.iter().map(|tensor| tensor.name.as_str().to_owned()).collect(),
        }
    }
}

/// A listed file without its final name, of a fetch that is not finished.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PartialFile<'a> {
    /// The path in the model.
    pub(crate) path: &'a str,
    /// Whether a part of the file is there; `unknown` if its chunk layer is not.
    pub(crate) status: PartialStatus,
    /// The listed size.
    pub(crate) size: u64,
    /// The number of chunks; null if no file may be so long.
    pub(crate) chunks: Option<u64>,
    /// The part that is there, of a file that is there in part.
    #[serde(flatten)]
    pub(crate) there: Option<There>,
}

/// The extent to which a file is there.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum PartialStatus {
    Absent,
    Unknown,
    Part,
}

/// The part of a file that is there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct There {
    /// The number of accepted chunks.
    pub(crate) there: u64,
    /// The bytes of accepted chunks.
    pub(crate) bytes: u64,
    /// The runs of accepted chunks: the position of the first, and the position behind the last.
    pub(crate) runs: Vec<[u64; 2]>,
    /// The number of tensors that are complete, if the tensor list is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tensors: Option<u64>,
}

/// The end of a verification.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Result {
    /// Whether everything that was looked at is as signed.
    pub(crate) verified: bool,
    /// The error code; null if everything is as signed.
    pub(crate) code: Option<Code>,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The number of listed files.
    pub(crate) listed: u64,
    /// Whether all listed files were looked at.
    pub(crate) complete: bool,
    /// The number of files that are not listed and may be there.
    pub(crate) extra: u64,
    /// The number of places that are not listed and were not looked into.
    pub(crate) left_out: u64,
    /// The number of files that are as signed.
    pub(crate) files: u64,
    /// The sum of their sizes.
    pub(crate) bytes: u64,
    /// The number of files that are refused.
    pub(crate) refused: u64,
    /// The number of files that could not be read.
    pub(crate) unknown: u64,
    /// The number of verified tensor files whose headers were not compared with the tensor list.
    pub(crate) uncompared: u64,
}

/// The part of an unfinished fetch that is there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PartialResult {
    /// Whether no file with its final name is refused or unread.
    pub(crate) verified: bool,
    /// The error code; null if there is none.
    pub(crate) code: Option<Code>,
    /// The id of the head.
    pub(crate) head: Hash,
    /// Whether all files are there.
    pub(crate) complete: bool,
    /// The number of files that are there and as signed.
    pub(crate) files: u64,
    /// The number of files that were looked for.
    pub(crate) of_files: u64,
    /// The number of files of which a part is there.
    pub(crate) part: u64,
    /// The number of files of which nothing is there.
    pub(crate) absent: u64,
    /// The number of files that could not be read or judged.
    pub(crate) unknown: u64,
    /// The number of files that are refused.
    pub(crate) refused: u64,
    /// The verified bytes.
    pub(crate) bytes: u64,
    /// The sum of the sizes of the files that were looked for.
    pub(crate) of_bytes: u64,
    /// The number of complete tensors; null without a tensor list.
    pub(crate) tensors: Option<u64>,
    /// The number of tensors of these files; null without a tensor list.
    pub(crate) of_tensors: Option<u64>,
    /// The number of verified tensor files whose headers were not compared with the tensor list.
    pub(crate) uncompared: u64,
}

/// A receipt was written: the signed claim of this node that it verified the model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Receipt<'a> {
    /// The file of the receipt.
    pub(crate) file: Cow<'a, str>,
    /// The vkey line of this node.
    pub(crate) node: String,
    /// The time at which the model was verified.
    pub(crate) verified: Rfc3339,
}
