//! The reasons why a model is not weighed.

use std::fmt;

use weighbridge_formats::{index::IndexError, split::SplitError};
use weighbridge_manifest::{
    EntryPath, HeadError, ListError, ModelName, TensorNameError, shown, shown_beginning,
};
use weighbridge_store::{IoError, scan::ScanError};
use weighbridge_tree::{Coded, ErrorCode};

use crate::{refusal::Refusal, reuse::ReuseFault};

/// The reason why a model was not weighed.
#[non_exhaustive]
#[derive(Debug)]
pub enum WeighError {
    /// The operating system reported an error.
    Io(IoError),
    /// The folder holds no file.
    Empty,
    /// Things in the folder that cannot be weighed; at least one, sorted by place.
    Refused(Vec<Refusal>),
    /// A file could not be read, or gave no result.
    Scan {
        /// The file.
        path: Option<EntryPath>,
        /// The fault.
        error: ScanError,
    },
    /// A tensor's name cannot stand in a list.
    TensorName {
        /// The file.
        path: EntryPath,
        /// The name.
        name: String,
        /// The fault of the name.
        fault: TensorNameError,
    },
    /// An index is malformed, or names files or tensors that the model does not have.
    Index {
        /// The index.
        path: EntryPath,
        /// The fault of the index.
        error: IndexError,
    },
    /// The parts of a split model do not fit together.
    Split {
        /// The first part.
        path: EntryPath,
        /// The fault of the parts.
        error: SplitError,
    },
    /// A tensor's name has a character that people do not see, so that it could pass for another name.
    Unseen {
        /// The file.
        path: EntryPath,
        /// The tensor's name.
        tensor: String,
        /// The first such character.
        character: char,
    },
    /// A file cannot be taken over unread.
    Reuse {
        /// The file, if a single file is at fault.
        path: Option<EntryPath>,
        /// The reason.
        fault: ReuseFault,
    },
    /// The previous head is of another model.
    OtherModel {
        /// The name in the previous head.
        name: ModelName,
    },
    /// A file has no result although nothing failed: a fault of weighbridge.
    Incomplete,
    /// No verifier could open the new list.
    List(ListError),
    /// No verifier could read the new head.
    Head(HeadError),
}

impl WeighError {
    /// Whether the same files could be weighed if their tensors were not listed.
    #[must_use]
    pub fn is_about_tensors(&self) -> bool {
        match self {
            Self::TensorName { .. } | Self::Unseen { .. } | Self::Split { .. } => true,
            Self::Scan { error, .. } => matches!(error, ScanError::Format(_)),
            Self::Index { error, .. } => matches!(error, IndexError::NoTensor { .. }),
            _ => false,
        }
    }
}

impl Coded for WeighError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Empty => ErrorCode::FOLDER_EMPTY,
            Self::Unseen { .. } => ErrorCode::NAME_UNSEEN_CHARACTER,
            Self::Refused(refused) => {
                refused.first().map_or(ErrorCode::BUG, |refusal| refusal.fault.error_code())
            }
            Self::Scan { error, .. } => error.error_code(),
            Self::TensorName { fault, .. } => fault.error_code(),
            Self::Index { error, .. } => error.error_code(),
            Self::Split { error, .. } => error.error_code(),
            Self::Reuse { fault, .. } => fault.error_code(),
            Self::OtherModel { .. } => ErrorCode::PREVIOUS_OF_ANOTHER_MODEL,
            Self::Incomplete => ErrorCode::BUG,
            Self::List(error) => error.error_code(),
            Self::Head(error) => error.error_code(),
        }
    }
}

/// Returns an error if anything is refused.
pub(crate) fn refuse(mut refused: Vec<Refusal>) -> Result<(), WeighError> {
    refused.sort_by(|a, b| a.place.cmp(&b.place));
    if refused.is_empty() { Ok(()) } else { Err(WeighError::Refused(refused)) }
}

impl fmt::Display for WeighError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Empty => f.write_str("the model folder holds no file"),
            Self::Refused(refused) => match refused.as_slice() {
                [] => f.write_str("nothing is refused; this is a fault of weighbridge"),
                [one] => one.fmt(f),
                [first, more @ ..] => write!(f, "{first}; and {} more", more.len()),
            },
            Self::Scan { path: Some(path), error } => write!(f, "{}: {error}", shown(path.as_str())),
            Self::Scan { path: None, error } => error.fmt(f),
            Self::TensorName { path, name, fault } => {
                write!(f, "{}: tensor '{}': {fault}", shown(path.as_str()), shown_beginning(name, 80))
            }
            Self::Unseen { path, tensor, character } => {
                let (path, tensor) = (shown(path.as_str()), shown_beginning(tensor, 80));
                write!(
                    f,
                    "{path}: tensor '{tensor}': the name has a character that is not seen, U+{:04X}",
                    u32::from(*character)
                )
            }
            Self::Index { path, error } => write!(f, "{}: {error}", shown(path.as_str())),
            Self::Split { path, error } => write!(f, "{}: {error}", shown(path.as_str())),
            Self::Reuse { path: Some(path), fault } => write!(f, "{}: {fault}", shown(path.as_str())),
            Self::Reuse { path: None, fault } => fault.fmt(f),
            Self::OtherModel { name } => write!(f, "the previous head is of '{name}'"),
            Self::Incomplete => f.write_str("not everything was read; this is a fault of weighbridge"),
            Self::List(error) => error.fmt(f),
            Self::Head(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WeighError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Scan { error, .. } => Some(error),
            Self::Index { error, .. } => Some(error),
            Self::Split { error, .. } => Some(error),
            Self::TensorName { fault, .. } => Some(fault),
            Self::List(error) => Some(error),
            Self::Head(error) => Some(error),
            _ => None,
        }
    }
}
