//! The events that a fetch reports while it runs.

use std::{fmt, ops::Range, path::PathBuf, time::Duration};

use weighbridge_manifest::{EntryPath, TensorEntry, VerifiedHead};
use weighbridge_store::ExtraFault;

/// A source of one fetch. Numbers count from 0 in the order in which sources joined; the place for metadata follows
/// those that were there at the beginning.
///
/// ```
/// use weighbridge_transfer::SourceId;
/// assert_eq!(SourceId::new(3).number(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

impl SourceId {
    /// The source of this number.
    #[must_use]
    pub const fn new(number: usize) -> Self {
        Self(number)
    }

    /// The number of the source.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0
    }
}

/// The progress of a fetch. None of the figures ever falls, and each chunk counts once in `verified` and `durable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes that came from sources: files, lists and layers, including those that were refused or came twice, but not
    /// heads.
    pub received: u64,
    /// Bytes of wanted chunks that are accepted and written, from a source or from what was on disk before.
    pub verified: u64,
    /// The verified bytes that are synced.
    pub durable: u64,
    /// Bytes of all wanted chunks; 0 before [`Event::Wanted`].
    pub wanted: u64,
}

/// The blame of a source (rule 11).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The source gave other bytes than those of the head that it serves, or that it was to serve.
    Lied,
    /// The source gave too few good bytes for too long.
    Stalled,
    /// The source is honest, and has another revision.
    Stale,
    /// The source answers, and does not give the requested bytes.
    Refused,
    /// The source does not answer, or breaks off.
    Unreachable,
}

impl Blame {
    /// The word for the blame in `--json` output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lied => "lied",
            Self::Stalled => "stalled",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The activity of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// The source was not asked for anything yet, or there is nothing left to ask it for.
    Idle,
    /// The source is being asked for bytes.
    Active,
    /// The source is not asked until a retry is due, or until its head has been read again.
    Waiting,
    /// The source is not asked any more.
    SetAside,
}

impl SourceState {
    /// The word for the state in `--json` output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::SetAside => "set aside",
        }
    }
}

/// The status of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The source.
    pub source: SourceId,
    /// The activity of the source.
    pub state: SourceState,
    /// The latest blame of the source, and the reason.
    pub blame: Option<(Blame, String)>,
    /// The time until the source is tried again, if it is waiting.
    pub again_in: Option<Duration>,
    /// Verified bytes that came from the source.
    pub verified: u64,
    /// Verified bytes per second of the source, over the last seconds.
    pub rate: u64,
}

impl SourceStatus {
    /// Whether the source gave bytes that were refused.
    #[must_use]
    pub fn has_lied(&self) -> bool {
        matches!(self.blame, Some((Blame::Lied, _)))
    }
}

/// Why nothing was verified for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The file that the fetch waits for, or the name of a metadata file such as `head.note`.
    pub for_what: String,
    /// The chunks of the file that were asked for, if chunks were.
    pub chunks: Option<Range<u64>>,
    /// The source that the fetch waits for; `None` if it waits for this machine.
    pub from: Option<SourceId>,
    /// The time until that source is tried again, if every source is waiting for a retry.
    pub again_in: Option<Duration>,
    /// The work of this machine, if the fetch waits for this machine.
    pub here: Option<Here>,
    /// How long nothing was verified.
    pub since: Duration,
}

/// The work of this machine while the fetch waits for no source.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// Reads a file that was there before the fetch.
    Reading,
    /// Judges and writes received bytes.
    Writing,
    /// Syncs written bytes.
    Syncing,
    /// Gives files their final names: everything that is wanted is verified and durable.
    Naming,
    /// Looks for files that are not listed: all wanted files have their names.
    Listing,
}

impl Here {
    /// The word for the work in `--json` output.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Writing => "writing",
            Self::Syncing => "syncing",
            Self::Naming => "naming",
            Self::Listing => "listing",
        }
    }
}

/// An event of a fetch. Events come in the order in which they happen.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Event {
    /// The head that is fetched: the policy believes it, and the caller has not refused it.
    Head(Box<VerifiedHead>),
    /// The wanted files and their bytes are known.
    Wanted {
        /// The number of files of which all or a part is wanted.
        files: u64,
        /// The bytes of their wanted chunks. Files with the same content are fetched once, and counted once.
        bytes: u64,
        /// The folder of the metadata while the fetch runs. With it a [`ModelView`](weighbridge_store::ModelView) can
        /// already read the chunks that have come.
        metadata: PathBuf,
    },
    /// The progress of the fetch. Comes several times a second while something changes, and once at the end.
    Progress(FetchProgress),
    /// The status of a source: when it begins, ends or is blamed, and from time to time its rate.
    Source(SourceStatus),
    /// Nothing was verified for two seconds or more. Comes once a second while that lasts.
    Waiting(Waiting),
    /// Chunks of a file are accepted, written and synced. No later run asks for them.
    Durable {
        /// The file.
        path: EntryPath,
        /// The durable chunks, by position.
        chunks: Range<u64>,
    },
    /// Every chunk of a tensor is accepted and written. A view of the folder can read the tensor once the beginning of
    /// its file has come too. Comes once for each tensor of the list that has bytes, in the order in which they become
    /// complete. Does not come if the list lets two tensors overlap.
    Tensor(Box<TensorEntry>),
    /// All wanted chunks are durable, and the fetch begins to give files their final names.
    Naming {
        /// The number of files that get a final name: those of which all is wanted.
        files: u64,
    },
    /// All of a file is durable and has its final name.
    File {
        /// The file.
        path: EntryPath,
        /// The length of the file in bytes.
        size: u64,
    },
    /// The folder has an entry that is not listed.
    Extra {
        /// The path of the entry, relative to the folder.
        path: String,
        /// Whether the fetch removed the entry.
        removed: bool,
        /// Why the entry cannot be a file of a model, if it cannot. A verifier rejects every such entry.
        fault: Option<ExtraFault>,
    },
}
