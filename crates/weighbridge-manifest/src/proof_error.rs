//! Why a proof is refused, or none can be made.

use core::fmt;

use weighbridge_tree::{MAX_PROOF_ENTRIES, SliceError, TreeError};

use crate::{
    entry::LineError,
    list::ListKind,
    note::NoteError,
    path::PathError,
    proof::{MAX_PROOF, VERSION},
    trust_error::TrustError,
};

/// Why a proof was refused. Nothing of it was returned. Lines are counted from 1.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// Longer than [`MAX_PROOF`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// No empty line: so there is no note.
    NoEmptyLine,
    /// What stands behind the first empty line is no note.
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
        /// What is wrong.
        fault: FormFault,
    },
    /// More than 4,096 entries and absent paths.
    TooMany {
        /// How many there are.
        lines: usize,
    },
    /// What is to be an entry is none.
    Entry {
        /// The line of the proof.
        line: usize,
        /// What is wrong, in the entry counted from its own beginning.
        error: LineError,
    },
    /// The entry sorts before the one above it.
    Order {
        /// Its line.
        line: usize,
    },
    /// The entry is that of the line above.
    Duplicate {
        /// Its line.
        line: usize,
    },
    /// What is to be absent is no path.
    Path {
        /// Its line.
        line: usize,
        /// What is wrong.
        error: PathError,
    },
    /// The entries are not shown to be in the signed list (rule 7).
    Tree {
        /// The list.
        list: ListKind,
        /// Why.
        error: TreeError,
    },
    /// The path is listed, or the entries beside its place are not there.
    NotAbsent {
        /// The path's line.
        line: usize,
    },
    /// The tensor's file is not among the files of the proof.
    FileNotShown {
        /// The tensor's line.
        line: usize,
    },
    /// Tensors are not listed for files of this name.
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
    /// There are tensor entries, and the head says `tensors none`.
    NoTensorList,
    /// The slice's file is not among the files of the proof.
    SliceFileNotShown {
        /// The slice's line.
        line: usize,
    },
    /// No slice of this file can have this range.
    SliceRange {
        /// The slice's line.
        line: usize,
        /// Why.
        error: SliceError,
    },
}

/// What is wrong with the form of a proof's line.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormFault {
    /// Not UTF-8.
    NotUtf8,
    /// No line that may stand here.
    Place,
    /// The position is not a number in its one form.
    Position,
    /// Not base64 of one or more hashes in its one form.
    Siblings,
    /// Not `slice POSITION A..B`.
    Slice,
    /// The absent path is not greater than the one above it.
    AbsentOrder,
}

impl ProofError {
    /// The line at fault, counted from 1, if the fault lies in one above the note.
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

    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::TooLong { .. } => 2501,
            Self::Note(error) => error.error_code(),
            Self::Head(error) => error.error_code(),
            Self::OtherHead => 2506,
            Self::Version => 2502,
            Self::NoEmptyLine | Self::Form { .. } => 2503,
            Self::TooMany { .. } => 2406,
            Self::Entry { error, .. } => error.error_code(),
            Self::Order { .. } => 1304,
            Self::Duplicate { .. } => 1305,
            Self::Path { error, .. } => error.error_code(),
            Self::Tree { error, .. } => error.error_code(),
            Self::NotAbsent { .. } => 2505,
            Self::FileNotShown { .. } => 2504,
            Self::NoTensorFile { .. } => 1309,
            Self::OutsideFile { .. } => 1310,
            Self::NoTensorList => 2401,
            Self::SliceFileNotShown { .. } => 2605,
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

/// Why no proof was made.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProveError {
    /// What was asked for is not in the list.
    NotListed {
        /// The list.
        list: ListKind,
    },
    /// A tensor was asked for, without a tensor list.
    NoTensorList,
    /// What is to be absent is no path, so that no list could have it.
    Path(PathError),
    /// What is to be absent is listed.
    Listed,
    /// No slice of the file can have the range.
    Range(SliceError),
    /// The proof would be refused: nothing or too much was asked for, or note and lists are not those of the head.
    Refused(ProofError),
}

impl ProveError {
    /// The code of `spec/error-codes.md`: 9001 for what the caller should not have asked for, since then nothing was
    /// found bad.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::NotListed { .. } | Self::NoTensorList => 9001,
            Self::Path(error) => error.error_code(),
            Self::Listed => 2505,
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
