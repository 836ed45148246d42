//! Objects of `fetch`. `spec/fetching.md` says what their keys mean.

use std::borrow::Cow;

use serde::Serialize;
#[cfg(test)]
use weighbridge_transfer::{Blame, Here, SourceState};

#[cfg(test)]
use super::schema::or_null;
use super::values::{Code, Hash};

/// The part of the model that is wanted.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Wanted<'a> {
    /// The number of files, whole or in part.
    pub(crate) files: u64,
    /// The bytes of their wanted chunks. Files with the same content count once.
    pub(crate) bytes: u64,
    /// The folder of the metadata while the fetch runs.
    pub(crate) metadata: Cow<'a, str>,
}

/// The progress of the fetch. None of the figures ever falls.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Progress {
    /// The bytes that came from sources, also those that were refused or came twice.
    pub(crate) received: u64,
    /// The bytes that were accepted, from sources or from this disk.
    pub(crate) verified: u64,
    /// The verified bytes that are written and synced.
    pub(crate) durable: u64,
    /// The bytes of all wanted chunks.
    pub(crate) wanted: u64,
}

/// The status of a source.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Source<'a> {
    /// The position of the source on the command line, counted from 0. Members of a swarm follow as they come.
    pub(crate) source: usize,
    /// The name of the source.
    pub(crate) name: Option<&'a str>,
    /// The state of the source.
    #[cfg_attr(test, schemars(extend("enum" = STATES.map(SourceState::word))))]
    pub(crate) state: &'static str,
    /// The latest blame; null if it has none.
    #[cfg_attr(test, schemars(extend("enum" = or_null(BLAMES.map(Blame::word)))))]
    pub(crate) blame: Option<&'static str>,
    /// The reason of the blame, for people.
    pub(crate) why: Option<&'a str>,
    /// The seconds from now until the source is tried again; null if it is not waiting.
    pub(crate) again_in: Option<f64>,
    /// The verified bytes that came from it.
    pub(crate) verified: u64,
    /// Its verified bytes per second, over the last seconds.
    pub(crate) rate: u64,
}

#[cfg(test)]
const STATES: [SourceState; 4] =
    [SourceState::Idle, SourceState::Active, SourceState::Waiting, SourceState::SetAside];
#[cfg(test)]
const BLAMES: [Blame; 5] = [Blame::Lied, Blame::Stalled, Blame::Stale, Blame::Refused, Blame::Unreachable];

/// The reason why nothing was verified for a while.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Waiting<'a> {
    /// The file that is waited for, or `head.note` and such.
    #[serde(rename = "for")]
    pub(crate) for_what: &'a str,
    /// The chunks of it that were asked for: the position of the first, and the position behind the last.
    pub(crate) chunks: Option<[u64; 2]>,
    /// The source that is waited for; null if this machine is.
    pub(crate) from: Option<usize>,
    /// The name of the source.
    pub(crate) name: Option<&'a str>,
    /// The seconds until the source is tried again, if every source is left alone.
    pub(crate) again_in: Option<f64>,
    /// The work of this machine; null if a source is waited for.
    #[cfg_attr(test, schemars(extend("enum" = or_null(HERE.map(Here::word)))))]
    pub(crate) here: Option<&'static str>,
    /// The seconds in which nothing was verified.
    pub(crate) since: f64,
}

#[cfg(test)]
const HERE: [Here; 5] = [Here::Reading, Here::Writing, Here::Syncing, Here::Naming, Here::Listing];

/// Chunks that are verified, written and synced.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Durable<'a> {
    /// The path of the file in the model.
    pub(crate) file: &'a str,
    /// The position of the first chunk, and the position behind the last.
    pub(crate) chunks: [u64; 2],
}

/// A tensor that is verified and written as a whole.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Tensor<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// The file of the tensor.
    pub(crate) file: &'a str,
    /// The position of the first byte in the file.
    pub(crate) offset: u64,
    /// The number of bytes.
    pub(crate) size: u64,
}

/// Everything that is wanted is synced, and files begin to get their final names.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Naming {
    /// The number of these files.
    pub(crate) files: u64,
}

/// A file that is complete and has its final name.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct File<'a> {
    /// The path in the model.
    pub(crate) path: &'a str,
    /// The size.
    pub(crate) size: u64,
    /// The file is as signed.
    pub(crate) status: Verified,
}

/// The status of a file that has its final name.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Verified {
    Verified,
}

/// Something in the folder that is not listed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Extra<'a> {
    /// The path in the folder.
    pub(crate) path: &'a str,
    /// Whether it was removed.
    pub(crate) removed: bool,
    /// The error code with which a verifier refuses it, whatever it allows; null if it may be allowed.
    pub(crate) code: Option<Code>,
    /// The reason, for people.
    pub(crate) message: Option<&'a str>,
}

/// The end of a fetch.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Result<'a> {
    /// Whether all that is wanted is there.
    pub(crate) fetched: bool,
    /// The error code; null if the fetch ended well.
    pub(crate) code: Option<Code>,
    /// The id of the head; null if none was believed.
    pub(crate) head: Option<Hash>,
    /// The folder of the model, which is its snapshot if it was put into a cache; null unless the fetch ended well.
    pub(crate) folder: Option<Cow<'a, str>>,
    /// The number of files with their final names; null unless the fetch ended well.
    pub(crate) files: Option<u64>,
    /// The number of files that are there in part, as wanted; null unless the fetch ended well.
    pub(crate) partial: Option<u64>,
    /// The bytes of what was wanted, as the list counts them; null unless the fetch ended well.
    pub(crate) bytes: Option<u64>,
    /// The sources, as they were at the end.
    pub(crate) sources: Vec<Source<'a>>,
    /// The part of the swarm; null without --swarm.
    pub(crate) swarm: Option<super::swarm::Part>,
    /// The chunks that no source could deliver.
    pub(crate) missing: Vec<MissingChunks<'a>>,
    /// The progress of the fetch at its end.
    #[serde(flatten)]
    pub(crate) progress: Progress,
}

/// Chunks of a file that no source could deliver.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct MissingChunks<'a> {
    /// The path of the file.
    pub(crate) file: &'a str,
    /// Runs of chunks, by position; the end is not part of a run.
    pub(crate) chunks: Vec<[u64; 2]>,
}
