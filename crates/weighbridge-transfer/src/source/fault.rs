//! Why a source gave no bytes, before any were judged.

use std::{fmt, time::Duration};

/// Why a source did not give what it was asked for. Nothing here is about the bytes that it gave: those are judged by
/// their roots, elsewhere.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be reached, or the connection ended before the answer did. A broken connection is not a lie (rule 11).
    Unreachable(String),
    /// It answers, and denies what it was asked for: its words, such as a status.
    Refused(String),
    /// It answers that it has no such file.
    Missing,
    /// It asks to be left alone for a while, and says for how long, if it does.
    Busy {
        /// From now on.
        retry_after: Option<Duration>,
        /// Its words.
        what: String,
    },
    /// It answers with what cannot be the file that was asked for, such as another length than the signed one: it lies,
    /// or has another revision.
    OtherFile(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) | Self::Refused(what) | Self::OtherFile(what) => f.write_str(what),
            Self::Missing => f.write_str("has no such file"),
            Self::Busy { retry_after: Some(time), what } => {
                write!(f, "{what}, asks to wait {} s", time.as_secs())
            }
            Self::Busy { retry_after: None, what } => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}
