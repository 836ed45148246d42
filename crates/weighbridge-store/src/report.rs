//! Reports on the files of a folder that is compared with a list.

use std::{collections::BTreeMap, fmt, ops::Range, sync::Mutex};

use weighbridge_formats::{FormatError, UnknownDtype};
use weighbridge_manifest::{EntryPath, ListedDigest, TensorEntry, shown};
use weighbridge_tree::{Coded, ErrorCode, LayerError};

use crate::{
    io::IoError,
    scan::lock,
    tensors::TensorFault,
    walk::{UnfitFault, Walk},
};

/// Whether files that are not listed are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraFiles {
    /// Files that are not listed are refused.
    Refuse,
    /// Files that are not listed are reported, and not refused.
    Report,
}

/// A step of a check. Events come from many threads; those about files come one at a time, in list order.
#[derive(Debug)]
pub enum Event<'a> {
    /// This number of further bytes was read and hashed.
    Read(u64),
    /// The result of one file.
    File(&'a FileReport),
}

/// The result of checking one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file's path in the model.
    pub path: String,
    /// The file's length in bytes: the listed length, if the file is listed.
    pub size: u64,
    /// The number of chunks of the file.
    pub chunks: u64,
    /// Whether the file is as signed.
    pub outcome: Outcome,
    /// For a tensor file whose bytes are as signed, while tensors are listed: the reason why its header was not
    /// compared with the tensor list. Not a refusal: the file's root is the authority over its bytes (rule 13).
    pub uncompared: Option<Uncompared>,
}

/// The reason why the verified header of a tensor file was not compared with the tensor list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncompared {
    /// No tensor of the file is listed: the signer covered it as a file, as signers do with a dtype that they do not
    /// know.
    NotListed,
    /// The header has a dtype that this version does not know. The list may be right; the check cannot tell.
    UnknownDtype(UnknownDtype),
}

/// Whether a file is as signed.
#[derive(Debug)]
pub enum Outcome {
    /// The whole file is as signed.
    Verified,
    /// The file is not listed, and the caller or the specification permits that.
    Extra,
    /// The place is not listed, and was not looked into because models have nothing there (`None`); or it could not
    /// be looked at, for this reason, and the caller permits files that are not listed.
    LeftOut(Option<IoError>),
    /// The file is refused for these reasons, at least one.
    Refused(Vec<FileFault>),
    /// The file could not be read.
    Unknown(IoError),
}

/// The reason why a file is refused.
#[non_exhaustive]
#[derive(Debug)]
pub enum FileFault {
    /// The file is listed and absent.
    Missing,
    /// The file is present and not listed.
    Extra,
    /// The thing on disk cannot be part of a model.
    Unfit(UnfitFault),
    /// The file has another length than the listed one.
    Length {
        /// The listed length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// The file's bytes do not give the signed root.
    Mismatch {
        /// The chunks that differ, if a layer tells which.
        chunks: Option<BadChunks>,
        /// Another listed file that has exactly these bytes, if there is one.
        bytes_of: Option<EntryPath>,
    },
    /// The file changed while it was read.
    Changed,
    /// The file's published layer does not merge to the file's root.
    Layer(LayerError),
    /// The file's verified header is malformed, and tensors of the file are listed.
    Format(FormatError),
    /// The tensor list differs from the file's verified header or bytes.
    Tensor(TensorFault),
    /// The file has another length than its listing says.
    ListedLength {
        /// The listed length.
        listed: u64,
        /// The length found.
        found: u64,
    },
    /// The file does not have the digest that its listing says.
    ListedMismatch {
        /// The listed digest.
        listed: ListedDigest,
        /// The digest of the file, of the same kind.
        found: ListedDigest,
    },
    /// The listing says the id of the file's Git blob, and the file is made for a collision of SHA-1.
    Sha1Collision,
}

/// The chunks of a file that differ from the signed ones.
#[derive(Clone, Debug)]
pub struct BadChunks {
    /// Runs of neighbouring bad chunks, by position.
    pub runs: Vec<BadRun>,
    /// The number of bad chunks.
    pub bad: u64,
    /// The number of chunks of the file.
    pub of: u64,
}

/// A run of bad chunks.
#[derive(Clone, Debug)]
pub struct BadRun {
    /// The positions of the first and the last chunk.
    pub chunks: (u64, u64),
    /// The byte range of the run.
    pub bytes: Range<u64>,
    /// The tensors that have bytes in this range, by offset.
    pub tensors: Vec<TensorEntry>,
}

/// The totals of a whole check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Summary {
    /// The number of files that are as signed.
    pub verified: u64,
    /// The sum of the sizes of the files that are as signed, in bytes.
    pub bytes: u64,
    /// The number of files that are refused.
    pub refused: u64,
    /// The number of files that could not be read.
    pub unknown: u64,
    /// The number of files that are as signed and [`Uncompared`].
    pub uncompared: u64,
}

/// Reports on every selected thing in the folder that is not listed.
pub(crate) fn unlisted(
    found: &Walk,
    is_listed: &dyn Fn(&str) -> bool,
    wanted: &dyn Fn(&str) -> bool,
    policy: ExtraFiles,
) -> Vec<FileReport> {
    let extra = found.files.iter().filter(|f| !is_listed(f.path.as_str())).map(|f| {
        let hub = f.path.as_str() == ".gitattributes";
        let passes = hub || policy == ExtraFiles::Report;
        let outcome = if passes { Outcome::Extra } else { Outcome::Refused(vec![FileFault::Extra]) };
        FileReport { path: f.path.as_str().to_owned(), size: f.size, chunks: 0, outcome, uncompared: None }
    });
    let unlisted = |place: &String, outcome| FileReport {
        path: place.clone(),
        size: 0,
        chunks: 0,
        outcome,
        uncompared: None,
    };
    let unfit = found.unfit.iter().filter(|u| !u.has_path() || !is_listed(&u.place));
    let unfit = unfit.map(|u| unlisted(&u.place, Outcome::Refused(vec![FileFault::Unfit(u.fault.clone())])));
    let unread = found.unread.iter().filter(|u| !is_listed(&u.place)).map(|u| {
        let passes = policy == ExtraFiles::Report && !u.is_link;
        let error = u.error.again();
        unlisted(&u.place, if passes { Outcome::LeftOut(Some(error)) } else { Outcome::Unknown(error) })
    });
    let left_out = found.left_out.iter().map(|place| unlisted(place, Outcome::LeftOut(None)));
    let all = extra.chain(unfit).chain(unread).chain(left_out);
    let mut reports: Vec<FileReport> = all.filter(|report| wanted(&report.path)).collect();
    reports.sort_by(|a, b| a.path.cmp(&b.path));
    reports
}

/// Passes reports on in order, whatever the order in which they arrive.
pub(crate) struct Reports<'a> {
    state: Mutex<ReportState>,
    tell: &'a (dyn Fn(Event<'_>) + Sync),
}

#[derive(Default)]
struct ReportState {
    next: usize,
    waiting: BTreeMap<usize, FileReport>,
    summary: Summary,
}

impl<'a> Reports<'a> {
    pub(crate) fn new(tell: &'a (dyn Fn(Event<'_>) + Sync)) -> Self {
        Self { state: Mutex::default(), tell }
    }

    /// Tells of further bytes that were read.
    pub(crate) fn read(&self, bytes: u64) {
        (self.tell)(Event::Read(bytes));
    }

    pub(crate) fn put(&self, order: usize, report: FileReport) {
        let mut state = lock(&self.state);
        state.waiting.insert(order, report);
        loop {
            let next = state.next;
            let Some(report) = state.waiting.remove(&next) else { return };
            state.next = state.next.saturating_add(1);
            state.summary.count(&report);
            (self.tell)(Event::File(&report));
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        lock(&self.state).summary
    }
}

impl Summary {
    fn count(&mut self, report: &FileReport) {
        let field = match report.outcome {
            Outcome::Verified => {
                self.bytes = self.bytes.saturating_add(report.size);
                self.uncompared = self.uncompared.saturating_add(report.uncompared.is_some().into());
                &mut self.verified
            }
            Outcome::Refused(_) => &mut self.refused,
            Outcome::Unknown(_) => &mut self.unknown,
            Outcome::Extra | Outcome::LeftOut(_) => return,
        };
        *field = field.saturating_add(1);
    }
}

impl Coded for FileFault {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Mismatch { .. } => ErrorCode::FILE_MISMATCH,
            Self::Length { .. } => ErrorCode::FILE_LENGTH,
            Self::Missing => ErrorCode::FILE_MISSING,
            Self::Extra => ErrorCode::FILE_NOT_LISTED,
            Self::Changed => ErrorCode::FILE_CHANGED,
            Self::Unfit(fault) => fault.error_code(),
            Self::Layer(error) => error.error_code(),
            Self::Format(error) => error.error_code(),
            Self::Tensor(fault) => fault.error_code(),
            Self::ListedLength { .. } => ErrorCode::LISTED_LENGTH,
            Self::ListedMismatch { .. } => ErrorCode::LISTED_MISMATCH,
            Self::Sha1Collision => ErrorCode::SHA1_COLLISION,
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is missing"),
            Self::Extra => f.write_str("the file is not listed"),
            Self::Changed => f.write_str("the file changed while it was read"),
            Self::Length { expected, actual } => write!(f, "{actual} bytes, {expected} are signed"),
            Self::Mismatch { bytes_of: Some(path), .. } => {
                write!(
                    f,
                    "data does not match the signed root: these are the bytes of {}",
                    shown(path.as_str())
                )
            }
            Self::Mismatch { .. } => f.write_str("data does not match the signed root"),
            Self::Unfit(fault) => fault.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::Tensor(fault) => fault.fmt(f),
            Self::ListedLength { listed, found } => write!(f, "{found} bytes, {listed} are listed"),
            Self::ListedMismatch { listed, found } => write!(f, "has {found}, listed is {listed}"),
            Self::Sha1Collision => f.write_str("the file is made for a collision of SHA-1"),
        }
    }
}

impl std::error::Error for FileFault {}
