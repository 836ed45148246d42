//! The reason why a proof is refused, or why no proof is made.

use core::fmt;

use weighbridge_tree::{Coded, ErrorCode, MAX_PROOF_ENTRIES, SliceError, TreeError};

use crate::{
    entry::LineError,
    list::ListKind,
    note::NoteError,
    path::PathError,
    proof::{MAX_PROOF, VERSION},
    trust_error::TrustError,
};

/// The reason why a proof was refused. No part of it was returned. Lines are counted from 1.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The proof is longer than [`MAX_PROOF`].
    TooLong {
        /// The length of the proof in bytes.
        bytes: usize,
    },
    /// There is no empty line, and so no note.
    NoEmptyLine,
    /// The text after the first empty line is not a note.
    Note(NoteError),
    /// The head is not believed.
    Head(TrustError),
    /// The head is not the one that the caller holds.
    OtherHead,
    /// The first line is not `weighbridge/proof/v1`.
    Version,
    /// A line is malformed, or out of its place.
    Form {
        /// The line.
        line: usize,
        /// The fault.
        fault: FormFault,
    },
    /// There are more than 4,096 entries and absent paths.
    TooMany {
        /// The number of entries and absent paths.
        lines: usize,
    },
    /// The text of an entry is not an entry.
    Entry {
        /// The line of the proof.
        line: usize,
        /// The fault. Its column is counted from the beginning of the entry.
        error: LineError,
    },
    /// The entry sorts before the one above it.
    Order {
        /// The entry's line.
        line: usize,
    },
    /// The entry is the same as the one on the line above.
    Duplicate {
        /// The entry's line.
        line: usize,
    },
    /// The absent path is not a path.
    Path {
        /// The absent path's line.
        line: usize,
        /// The fault.
        error: PathError,
    },
    /// The entries are not shown to be in the signed list (rule 7).
    Tree {
        /// The list.
        list: ListKind,
        /// The reason.
        error: TreeError,
    },
    /// The path is listed, or the entries next to its place are not shown.
    NotAbsent {
        /// The path's line.
        line: usize,
    },
    /// The tensor's file is not among the files of the proof.
    FileNotShown {
        /// The tensor's line.
        line: usize,
    },
    /// The tensor list does not cover files with this name.
    NoTensorFile {
        /// The tensor's line.
        line: usize,
    },
    /// The tensor does not lie within its file.
    OutsideFile {
        /// The tensor's line.
        line: usize,
        /// The file's size.
        size: u64,
    },
    /// There are tensor entries, but the head says `tensors none`.
    NoTensorList,
    /// The slice's file is not among the files of the proof.
    SliceFileNotShown {
        /// The slice's line.
        line: usize,
    },
    /// No slice of the file has this range.
    SliceRange {
        /// The slice's line.
        line: usize,
        /// The reason.
        error: SliceError,
    },
}

/// The fault in the form of a proof's line.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormFault {
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is not one that is allowed here.
    Place,
    /// The position is not a number in canonical form.
    Position,
    /// The line is not canonical base64 of one or more hashes.
    Siblings,
    /// The line is not `slice POSITION A..B`.
    Slice,
    /// The absent path is not greater than the one above it.
    AbsentOrder,
}

impl ProofError {
    /// The line at fault, counted from 1; `None` unless the fault is in a line above the note.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match *self {
            Self::Form { line, .. }
            | Self::Entry { line, .. }
            | Self::Order { line }
            | Self::Duplicate { line }
            | Self::Path { line, .. }
            | Self::NotAbsent { line }
            | Self::FileNotShown { line }
            | Self::NoTensorFile { line }
            | Self::OutsideFile { line, .. }
            | Self::SliceFileNotShown { line }
            | Self::SliceRange { line, .. } => Some(line),
            Self::Version => Some(1),
            Self::TooLong { .. }
            | Self::NoEmptyLine
            | Self::Note(_)
            | Self::Head(_)
            | Self::OtherHead
            | Self::TooMany { .. }
            | Self::Tree { .. }
            | Self::NoTensorList => None,
        }
    }
}

impl Coded for ProofError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::TooLong { .. } => ErrorCode::PROOF_TOO_LONG,
            Self::Note(error) => error.error_code(),
            Self::Head(error) => error.error_code(),
            Self::OtherHead => ErrorCode::PROOF_OF_ANOTHER_HEAD,
            Self::Version => ErrorCode::PROOF_VERSION,
            Self::NoEmptyLine | Self::Form { .. } => ErrorCode::PROOF_LINE,
            Self::TooMany { .. } => ErrorCode::TREE_TOO_MANY_ENTRIES,
            Self::Entry { error, .. } => error.error_code(),
            Self::Order { .. } => ErrorCode::LIST_ORDER,
            Self::Duplicate { .. } => ErrorCode::LIST_DUPLICATE,
            Self::Path { error, .. } => error.error_code(),
            Self::Tree { error, .. } => error.error_code(),
            Self::NotAbsent { .. } => ErrorCode::PROOF_NOT_ABSENT,
            Self::FileNotShown { .. } => ErrorCode::PROOF_FILE_NOT_SHOWN,
            Self::NoTensorFile { .. } => ErrorCode::LIST_NO_TENSOR_FILE,
            Self::OutsideFile { .. } => ErrorCode::LIST_TENSOR_OUTSIDE_FILE,
            Self::NoTensorList => ErrorCode::TREE_COUNT,
            Self::SliceFileNotShown { .. } => ErrorCode::SLICE_FILE_NOT_SHOWN,
            Self::SliceRange { error, .. } => error.error_code(),
        }
    }
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line() {
            write!(f, "line {line} of the proof: ")?;
        }
        match self {
            Self::TooLong { bytes } => write!(f, "a proof has at most {MAX_PROOF} bytes, this one {bytes}"),
            Self::NoEmptyLine => f.write_str("the proof has no empty line, and so no note"),
            Self::Note(error) => error.fmt(f),
            Self::Head(error) => error.fmt(f),
            Self::OtherHead => f.write_str("the proof is of another head than the one that is held"),
            Self::Version => write!(f, "not {VERSION}"),
            Self::Form { fault, .. } => fault.fmt(f),
            Self::TooMany { lines } => {
                write!(
                    f,
                    "a proof has at most {MAX_PROOF_ENTRIES} entries and absent paths, this one {lines}"
                )
            }
            Self::Entry { error, .. } => error.fmt(f),
            Self::Order { .. } => f.write_str("sorts before the entry above it"),
            Self::Duplicate { .. } => f.write_str("the same entry twice"),
            Self::Path { error, .. } => error.fmt(f),
            Self::Tree { list, error } => write!(f, "{list}: {error}"),
            Self::NotAbsent { .. } => f.write_str("the path is not shown to be absent"),
            Self::FileNotShown { .. } => f.write_str("the tensor's file is not among the proof's files"),
            Self::NoTensorFile { .. } => f.write_str("the tensor's file is no tensor file"),
            Self::OutsideFile { size, .. } => {
                write!(f, "the tensor does not lie within its file of {size} bytes")
            }
            Self::NoTensorList => write!(f, "{}: the head binds no tensor list", ListKind::Tensors),
            Self::SliceFileNotShown { .. } => f.write_str("the slice's file is not among the proof's files"),
            Self::SliceRange { error, .. } => error.fmt(f),
        }
    }
}

impl fmt::Display for FormFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "not UTF-8",
            Self::Place => "missing, or not a line that may stand here",
            Self::Position => "the position is malformed",
            Self::Siblings => "not the base64 of sibling hashes",
            Self::Slice => "not of the form 'slice POSITION A..B'",
            Self::AbsentOrder => "not greater than the absent path above it",
        })
    }
}

impl core::error::Error for ProofError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Note(error) => Some(error),
            Self::Head(error) => Some(error),
            Self::Entry { error, .. } => Some(error),
            Self::Path { error, .. } => Some(error),
            Self::Tree { error, .. } => Some(error),
            Self::SliceRange { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The reason why no proof was made.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProveError {
    /// The requested file or tensor is not in the list.
    NotListed {
        /// The list.
        list: ListKind,
    },
    /// A tensor was requested, but there is no tensor list.
    NoTensorList,
    /// The path requested as absent is not a valid path, so no list could have it.
    Path(PathError),
    /// The path requested as absent is in the list.
    Listed,
    /// No slice of the file has this range.
    Range(SliceError),
    /// A receiver would refuse the proof: nothing or too much was requested, or the note or the lists do not belong to
    /// the head.
    Refused(ProofError),
}

impl Coded for ProveError {
    /// [`ErrorCode::USAGE`] where the caller asked for what this model does not list: nothing was found bad.
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotListed { .. } | Self::NoTensorList => ErrorCode::USAGE,
            Self::Path(error) => error.error_code(),
            Self::Listed => ErrorCode::PROOF_NOT_ABSENT,
            Self::Range(error) => error.error_code(),
            Self::Refused(error) => error.error_code(),
        }
    }
}

impl fmt::Display for ProveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed { list } => write!(f, "{list} has no such entry"),
            Self::NoTensorList => write!(f, "a tensor takes {}, which is not there", ListKind::Tensors),
            Self::Path(error) => error.fmt(f),
            Self::Listed => f.write_str("the path is listed, and so not absent"),
            Self::Range(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ProveError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Path(error) => Some(error),
            Self::Range(error) => Some(error),
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ProofError> for ProveError {
    fn from(error: ProofError) -> Self {
        Self::Refused(error)
    }
}
