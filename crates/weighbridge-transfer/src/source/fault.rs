//! The reasons why a source gave no bytes, before any bytes were judged.

use std::{fmt, time::Duration};

/// Why a source did not give the requested bytes. A fault never concerns the content of bytes: that is judged by roots,
/// elsewhere.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The source cannot be reached, or the connection ended before the answer did. A broken connection is not a lie
    /// (rule 11).
    Unreachable(String),
    /// The source answers, and denies the request. Holds its words, such as a status.
    Refused(String),
    /// The source answers that it has no such file.
    Missing,
    /// The source says that its own copy of the first requested chunk is not the signed one, and gives no byte of it. It may have
    /// all other chunks.
    BadChunk(String),
    /// The source asks to be left alone for a while, and may say for how long.
    Busy {
        /// The time to wait, from now on.
        retry_after: Option<Duration>,
        /// The words of the source.
        what: String,
    },
    /// The source gives these bytes to another member of the swarm now, and for this time to nobody else. Only an answer to a
    /// [claim](crate::Claim) can say so.
    HeldBack(Duration),
    /// The source answers with something that cannot be the requested file, such as another length than the signed one:
    /// it lies, or has another revision.
    OtherFile(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) | Self::Refused(what) | Self::BadChunk(what) | Self::OtherFile(what) => {
                f.write_str(what)
            }
            Self::Missing => f.write_str("has no such file"),
            Self::HeldBack(time) => {
                write!(f, "gives these bytes to another member for {} ms", time.as_millis())
            }
            Self::Busy { retry_after: Some(time), what } => {
                write!(f, "{what}, asks to wait {} s", time.as_secs())
            }
            Self::Busy { retry_after: None, what } => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}
