//! The reasons why a model was not imported.

use std::{fmt, path::PathBuf};

use weighbridge_manifest::{EntryPath, HeadError, ListedDigest, ListedFile, ModelName, shown};
use weighbridge_publish::{SigningError, WeighError};
use weighbridge_store::{IoError, StoreError, scan::ScanError, shown_path};
use weighbridge_transfer::{Fault, ListingError};
use weighbridge_tree::{Coded, ErrorCode};

/// A file that is not what its place lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The file, with the listed digest.
    pub file: ListedFile,
    /// The digest of the bytes that came, of the same kind.
    pub found: ListedDigest,
}

/// The reason why a model was not imported. No file has a new final name then, unless [`Store`](Self::Store) says so.
#[non_exhaustive]
#[derive(Debug)]
pub enum ImportError {
    /// The place does not say what the model is.
    List(ListingError),
    /// The place lists a file, and does not give it.
    Source {
        /// The file.
        path: Option<EntryPath>,
        /// The fault of the source.
        fault: Fault,
    },
    /// Files are not what their place lists.
    Wrong(Vec<Wrong>),
    /// The listing has changed since the import began.
    Changed {
        /// The first file that is listed otherwise, or not in both listings.
        path: EntryPath,
    },
    /// A model is there already.
    Exists {
        /// The name of that model.
        name: ModelName,
    },
    /// The release that is there is of the listed commit, and not whole.
    Incomplete {
        /// The folder of the release.
        folder: PathBuf,
        /// The first file that is missing, or has another length.
        path: EntryPath,
    },
    /// The bytes are what the place lists, and no model.
    Weigh(WeighError),
    /// A file that was there could not be read.
    Scan {
        /// The file.
        path: EntryPath,
        /// The fault of the file.
        error: ScanError,
    },
    /// The head cannot be written.
    Head(HeadError),
    /// The head cannot be signed.
    Sign(SigningError),
    /// The folder cannot be written.
    Store(StoreError),
    /// A fault of weighbridge.
    Bug,
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<IoError> for ImportError {
    fn from(error: IoError) -> Self {
        Self::Store(error.into())
    }
}

impl Coded for ImportError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::List(error) => error.error_code(),
            Self::Source { fault: Fault::OtherFile(_), .. } | Self::Wrong(_) => ErrorCode::LISTED_MISMATCH,
            Self::Source { .. } => ErrorCode::NO_SOURCE,
            Self::Changed { .. } => ErrorCode::LISTING_CHANGED,
            Self::Exists { .. } => ErrorCode::METADATA_EXISTS,
            Self::Incomplete { .. } => ErrorCode::INCOMPLETE,
            Self::Weigh(error) => error.error_code(),
            Self::Scan { error, .. } => error.error_code(),
            Self::Head(error) => error.error_code(),
            Self::Sign(error) => error.error_code(),
            Self::Store(error) => error.error_code(),
            Self::Bug => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(error) => error.fmt(f),
            Self::Source { path: Some(path), fault } => {
                write!(f, "the source does not give {}: it {fault}", shown(path.as_str()))
            }
            Self::Source { path: None, fault } => write!(f, "the source {fault}"),
            Self::Wrong(wrong) => match wrong.as_slice() {
                [Wrong { file, found }] => {
                    let (path, listed) = (shown(file.path.as_str()), file.digest);
                    write!(f, "{path} is not what is listed: {listed} is, {found} came")
                }
                wrong => write!(f, "{} files are not what is listed", wrong.len()),
            },
            Self::Changed { path } => {
                write!(f, "the listing has changed since the import began: {}", shown(path.as_str()))
            }
            Self::Exists { name } => write!(f, "a model is there already: {name}"),
            Self::Incomplete { folder, path } => write!(
                f,
                "the release in {} is of the listed commit, and not whole: {} is missing, or has another length",
                shown_path(folder),
                shown(path.as_str())
            ),
            Self::Weigh(error) => error.fmt(f),
            Self::Scan { path, error } => write!(f, "{}: {error}", shown(path.as_str())),
            Self::Head(error) => error.fmt(f),
            Self::Sign(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Bug => f.write_str("not everything was read; this is a fault of weighbridge"),
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::List(error) => Some(error),
            Self::Source { fault, .. } => Some(fault),
            Self::Weigh(error) => Some(error),
            Self::Scan { error, .. } => Some(error),
            Self::Head(error) => Some(error),
            Self::Sign(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Wrong(_)
            | Self::Changed { .. }
            | Self::Exists { .. }
            | Self::Incomplete { .. }
            | Self::Bug => None,
        }
    }
}
