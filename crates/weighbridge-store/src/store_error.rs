//! The reason why a model folder was not written.

use std::{fmt, path::PathBuf};

use weighbridge_manifest::ModelName;
use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    io::{IoError, shown_path},
    lock::LockError,
};

/// The reason why something was not written to a model folder.
#[non_exhaustive]
#[derive(Debug)]
pub enum StoreError {
    /// The operating system reported an error.
    Io(IoError),
    /// Another process gives names in the folder, or writes metadata there, and does not end.
    Busy(LockError),
    /// Something else lies where a file, or a folder for files, has to be.
    InTheWay {
        /// The path of the thing.
        path: PathBuf,
        /// The kind of the thing, such as "a symbolic link".
        what: &'static str,
        /// The kind of thing that has to be there, such as "a file".
        needed: &'static str,
    },
    /// The folder is a snapshot of a Hugging Face cache. Its files are links that the hub's clients look after.
    HubSnapshot {
        /// The folder.
        folder: PathBuf,
    },
    /// A model of this name has no place of its own in a Hugging Face cache.
    NoPlaceInCache {
        /// The name.
        name: ModelName,
        /// The folder of another name that differs from it by the case of its letters; `None` if it is no name of two parts
        /// without `--`.
        taken: Option<PathBuf>,
    },
    /// The file system of a Hugging Face cache has no symbolic links, or this user may make none.
    NoLinks {
        /// The cache.
        folder: PathBuf,
    },
    /// A `refs/main` in a Hugging Face cache names a revision that weighbridge did not put there, and was not to be replaced.
    ForeignRevision {
        /// The path of `refs/main`.
        place: PathBuf,
    },
    /// Metadata is there already, and was not to be replaced.
    Exists {
        /// A file of it.
        file: PathBuf,
    },
    /// The folder for metadata is a link. It may have come with a model, and lead anywhere.
    Link {
        /// The link.
        folder: PathBuf,
    },
    /// Among the new files of a killed process lies something that weighbridge did not write.
    Foreign {
        /// The thing in the way.
        path: PathBuf,
    },
    /// A fetch was replacing the release that is there when it was killed: files of two releases may lie in the folder.
    BeingReplaced(BeingReplaced),
}

impl From<IoError> for StoreError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl Coded for StoreError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Busy(error) => error.error_code(),
            Self::InTheWay { .. } => ErrorCode::IN_THE_WAY,
            Self::HubSnapshot { .. } => ErrorCode::HUB_SNAPSHOT,
            Self::NoPlaceInCache { .. } | Self::NoLinks { .. } => ErrorCode::NO_PLACE_IN_CACHE,
            Self::ForeignRevision { .. } => ErrorCode::FOREIGN_REVISION,
            Self::Exists { .. } => ErrorCode::METADATA_EXISTS,
            Self::Link { .. } => ErrorCode::METADATA_FOLDER_IS_LINK,
            Self::Foreign { .. } => ErrorCode::FOREIGN_AMONG_METADATA,
            Self::BeingReplaced(error) => error.error_code(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Busy(error) => error.fmt(f),
            Self::InTheWay { path, what, needed } => {
                write!(f, "{} is {what}, where {needed} has to be", shown_path(path))
            }
            Self::HubSnapshot { folder } => write!(
                f,
                "{} is a snapshot of a Hugging Face cache, in which only the hub's clients change files",
                shown_path(folder)
            ),
            Self::NoPlaceInCache { name, taken: None } => write!(
                f,
                "{name} has no place in a Hugging Face cache: that takes names ORG/NAME with no `--` or `..` in them, with no \
                 `-`, `.` or `.git` at the end of a part, and with a NAME of at most 96 characters"
            ),
            Self::NoPlaceInCache { name, taken: Some(folder) } => write!(
                f,
                "{name} has no place of its own in this cache: it differs from {} by the case of its letters alone",
                shown_path(folder)
            ),
            Self::NoLinks { folder } => {
                write!(
                    f,
                    "no symbolic links can be made in {}, and snapshots consist of them",
                    shown_path(folder)
                )
            }
            Self::ForeignRevision { place } => {
                write!(f, "{} names a revision that weighbridge did not put there", shown_path(place))
            }
            Self::Exists { file } => write!(f, "{} exists already", shown_path(file)),
            Self::Link { folder } => {
                write!(f, "{} is a symbolic link; metadata is written to no link", shown_path(folder))
            }
            Self::Foreign { path } => {
                write!(f, "{} is in the way, and was not written by weighbridge", shown_path(path))
            }
            Self::BeingReplaced(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Busy(error) => Some(error),
            Self::BeingReplaced(error) => Some(error),
            _ => None,
        }
    }
}

/// The release in a model folder is being replaced by another, or was when a process was killed: what its head says of the
/// files may be true of some of them only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeingReplaced {
    /// The metadata folder.
    pub folder: PathBuf,
    /// The work of the process that replaces it, its number and the time it began, if they can be read.
    pub by: Option<String>,
}

impl Coded for BeingReplaced {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::BEING_REPLACED
    }
}

impl fmt::Display for BeingReplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the release in {} is being replaced by another", shown_path(&self.folder))?;
        self.by.iter().try_for_each(|by| write!(f, ": {by}"))
    }
}

impl std::error::Error for BeingReplaced {}
