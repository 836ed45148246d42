//! The reasons why a fetch ended without the wanted files.

use std::{fmt, ops::Range, path::PathBuf};

use weighbridge_manifest::{EntryPath, ListError, ModelName, TrustError, shown};
use weighbridge_store::{IoError, StoreError, shown_path};
use weighbridge_tree::{Coded, ErrorCode, HeadId};
use weighbridge_verify::VerifierError;

use crate::event::{FetchProgress, SourceStatus};

/// Why a fetch ended. In every case, no unverified byte has a final name, and the next run uses what is on disk.
#[non_exhaustive]
#[derive(Debug)]
pub enum FetchError {
    /// Heads were found, and none is believed. This is the reason for the best of them.
    Trust(TrustError),
    /// No source can deliver the missing part.
    NoSource {
        /// The missing part, such as `head.note` or a file.
        what: String,
        /// The missing chunks, if chunks are missing: those that no source gave, and others that were not asked for any
        /// more.
        missing: Vec<Missing>,
        /// The final status of each source.
        sources: Vec<SourceStatus>,
        /// The progress at the end.
        progress: FetchProgress,
    },
    /// Every source that is left has a later revision than the one that the fetch began, or another head of the same
    /// one.
    Overwritten {
        /// The head that the fetch began with.
        begun: HeadId,
        /// The head that the sources serve now.
        now: HeadId,
        /// The progress at the end.
        progress: FetchProgress,
    },
    /// The target folder cannot be written. No unverified byte has a final name.
    Store(StoreError),
    /// The folder has another model, and the caller did not allow its replacement. No file was written.
    AnotherModel {
        /// The folder.
        folder: PathBuf,
        /// The model in the folder, by the name in its head, which is not verified.
        there: ModelName,
        /// The model that was to be fetched.
        wanted: ModelName,
    },
    /// Files were to be removed that may not belong to the model. No file was removed.
    NotPruned {
        /// The folder.
        folder: PathBuf,
        /// Why they may not be removed.
        why: Unpruned,
    },
    /// No part of the model matches the wanted files or tensors.
    NothingWanted,
    /// Tensors are wanted, and the head lists none.
    NoTensors,
    /// A list that the head binds contradicts itself. No source can mend that.
    List(ListError),
    /// A file of the list can never be completed.
    Entry(VerifierError),
    /// A task of the fetch panicked, and said so on standard error.
    Bug,
    /// The caller asked the fetch to end.
    Stopped {
        /// The progress at the end.
        progress: FetchProgress,
    },
}

/// Chunks of a file that no source gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The file.
    pub path: EntryPath,
    /// Runs of chunks, by position, ascending.
    pub chunks: Vec<Range<u64>>,
}

/// Why files that are not listed are not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpruned {
    /// The folder has no head of this model, so that nothing shows that these files were ever part of it.
    Foreign {
        /// The first of the files, relative to the folder.
        first: String,
        /// The number of files.
        count: usize,
    },
    /// A source of this fetch is the folder, or lies in it.
    Source {
        /// The folder of the source.
        source: PathBuf,
    },
}

impl FetchError {
    /// An error for a part that no source can deliver. The statuses of the sources are added at the end.
    pub(crate) fn no_source(what: &str) -> Self {
        let (missing, sources) = (Vec::new(), Vec::new());
        Self::NoSource { what: what.to_owned(), missing, sources, progress: FetchProgress::default() }
    }

    /// Adds the figures, the sources and the missing chunks, as they are when all work has ended.
    pub(crate) fn at_the_end(
        mut self,
        now: FetchProgress,
        statuses: Vec<SourceStatus>,
        lacking: Vec<Missing>,
    ) -> Self {
        if let Self::NoSource { progress, .. }
        | Self::Overwritten { progress, .. }
        | Self::Stopped { progress } = &mut self
        {
            *progress = now;
        }
        if let Self::NoSource { sources, missing, .. } = &mut self {
            (*sources, *missing) = (statuses, lacking);
        }
        self
    }
}

impl Coded for FetchError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Trust(error) => error.error_code(),
            Self::NoSource { sources, .. } if sources.iter().any(SourceStatus::has_lied) => {
                ErrorCode::SOURCES_REFUSED
            }
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
            Self::NoSource { what, missing, sources, .. } => {
                let what = if missing.is_empty() { shown(what) } else { named(missing) };
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

/// Missing chunks in words: `chunk 3, chunks 7 to 9 of model.safetensors`. The list is cut to the length of a sentence.
fn named(missing: &[Missing]) -> String {
    let words = |run: &Range<u64>| match run.end.saturating_sub(run.start) {
        1 => format!("chunk {}", run.start),
        _ => format!("chunks {} to {}", run.start, run.end.saturating_sub(1)),
    };
    let mut left = MOST_RUNS;
    let mut said = Vec::new();
    for Missing { path, chunks } in missing {
        let runs: Vec<_> = chunks.iter().take(left).map(words).collect();
        left -= runs.len();
        if !runs.is_empty() {
            said.push(format!("{} of {}", runs.join(", "), shown(path.as_str())));
        }
    }
    let unsaid = missing.iter().map(|missing| missing.chunks.len()).sum::<usize>().saturating_sub(MOST_RUNS);
    if unsaid > 0 {
        said.push(format!("{unsaid} more"));
    }
    said.join(", ")
}

const MOST_RUNS: usize = 12;

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
