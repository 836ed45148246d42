//! Why a fetch ended without what was wanted.

use std::{fmt, path::PathBuf};

use weighbridge_manifest::{ListError, ModelName, TrustError, shown};
use weighbridge_store::{IoError, StoreError, shown_path};
use weighbridge_tree::{Coded, ErrorCode, HeadId};
use weighbridge_verify::VerifierError;

use crate::event::{FetchProgress, SourceStatus};

/// Why a fetch ended. Whatever it is: nothing unverified has its final name, and what is on disk is used by the next run.
#[non_exhaustive]
#[derive(Debug)]
pub enum FetchError {
    /// Heads were found, and none is believed: why not the best of them.
    Trust(TrustError),
    /// No source can deliver what is missing.
    NoSource {
        /// What is missing, such as `head.note` or a file.
        what: String,
        /// How each source ended.
        sources: Vec<SourceStatus>,
        /// How far it was.
        progress: FetchProgress,
    },
    /// Every source that is left has a later revision than the one that was begun, or another head of the same one.
    Overwritten {
        /// The head that was begun.
        begun: HeadId,
        /// The head that is served now.
        now: HeadId,
        /// How far it was.
        progress: FetchProgress,
    },
    /// The folder that is fetched into cannot be written. Nothing unverified was named.
    Store(StoreError),
    /// The folder has another model, which was not to be replaced. No file was written.
    AnotherModel {
        /// The folder.
        folder: PathBuf,
        /// The model that it has, by the name in its head, which is not verified.
        there: ModelName,
        /// The model that was to be fetched.
        wanted: ModelName,
    },
    /// Files were to be removed that may be anybody's. None was.
    NotPruned {
        /// The folder.
        folder: PathBuf,
        /// Why they may not be removed.
        why: Unpruned,
    },
    /// Nothing in the model is as wanted.
    NothingWanted,
    /// Tensors are wanted, and the head lists none.
    NoTensors,
    /// A list that the head binds contradicts itself; no source can mend that.
    List(ListError),
    /// A file of the list can never be completed.
    Entry(VerifierError),
    /// A part of it has panicked, and said so on standard error.
    Bug,
    /// The caller asked it to end.
    Stopped {
        /// How far it was.
        progress: FetchProgress,
    },
}

/// Why files that are not listed are not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpruned {
    /// The folder has no head of this model, so that nothing shows that these files were ever part of it.
    Foreign {
        /// The first of them, relative to the folder.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// A source of this fetch is the folder, or lies in it.
    Source {
        /// The source.
        source: PathBuf,
    },
}

impl FetchError {
    /// With the figures and the sources as they are when everything has ended: what was under way when the error was made
    /// has been judged and synced since.
    pub(crate) fn at_the_end(mut self, now: FetchProgress, statuses: Vec<SourceStatus>) -> Self {
        if let Self::NoSource { progress, .. }
        | Self::Overwritten { progress, .. }
        | Self::Stopped { progress } = &mut self
        {
            *progress = now;
        }
        if let Self::NoSource { sources, .. } = &mut self {
            *sources = statuses;
        }
        self
    }
}

impl Coded for FetchError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Trust(error) => error.error_code(),
            Self::NoSource { .. } => ErrorCode::NO_SOURCE,
            Self::Stopped { .. } => ErrorCode::FETCH_STOPPED,
            Self::Overwritten { .. } => ErrorCode::MODEL_OVERWRITTEN,
            Self::AnotherModel { .. } => ErrorCode::FOLDER_HAS_ANOTHER_MODEL,
            Self::NotPruned { .. } => ErrorCode::NOT_PRUNED,
            Self::Store(error) => error.error_code(),
            Self::NothingWanted | Self::NoTensors => ErrorCode::USAGE,
            Self::List(error) => error.error_code(),
            Self::Entry(error) => error.error_code(),
            Self::Bug => ErrorCode::BUG,
        }
    }
}

impl From<IoError> for FetchError {
    fn from(error: IoError) -> Self {
        Self::Store(error.into())
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(error) => error.fmt(f),
            Self::NoSource { what, sources, .. } => {
                let what = shown(what);
                match sources.len() {
                    1 => write!(f, "the only source cannot deliver {what}"),
                    n => write!(f, "none of {n} sources can deliver {what}"),
                }
            }
            Self::Overwritten { begun, now, .. } => {
                write!(
                    f,
                    "the model was overwritten while it was fetched: every source serves head {now} now, in place of {begun}"
                )
            }
            Self::Store(error) => error.fmt(f),
            Self::AnotherModel { folder, there, wanted } => {
                write!(f, "{} has the model {there}, which is not {wanted}", shown_path(folder))
            }
            Self::NotPruned { folder, why: Unpruned::Foreign { first, count } } => {
                let others = match count.saturating_sub(1) {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                write!(
                    f,
                    "{} has no head of this model, so that {}{others} may be anybody's: nothing is removed",
                    shown_path(folder),
                    shown(first),
                )
            }
            Self::NotPruned { folder, why: Unpruned::Source { source } } => write!(
                f,
                "the source {} lies in {}, where files would be removed",
                shown_path(source),
                shown_path(folder)
            ),
            Self::NothingWanted => f.write_str("no listed file or tensor matches"),
            Self::NoTensors => f.write_str("tensors are wanted, and this head lists none"),
            Self::List(error) => error.fmt(f),
            Self::Entry(error) => error.fmt(f),
            Self::Bug => f.write_str("a fault of weighbridge, told above; please report it"),
            Self::Stopped { .. } => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Trust(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::List(error) => Some(error),
            Self::Entry(error) => Some(error),
            _ => None,
        }
    }
}
