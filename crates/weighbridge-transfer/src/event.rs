//! What a fetch says while it runs.

use std::{fmt, ops::Range, path::PathBuf, time::Duration};

use weighbridge_manifest::{EntryPath, TensorEntry, VerifiedHead};
use weighbridge_store::ExtraFault;

/// Which source, counted from 0 in the order in which they were given; a place for metadata comes behind them.
pub type SourceIndex = usize;

/// How far a fetch is. None of the figures ever falls, and each chunk counts once in the last two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes that came from sources: files, lists and layers, also those that were refused or came twice; not heads.
    pub received: u64,
    /// Bytes of wanted chunks that are accepted and written, whether they came from a source or were there already.
    pub verified: u64,
    /// Those of them that are synced.
    pub durable: u64,
    /// Bytes of all wanted chunks; 0 before [`Event::Wanted`].
    pub wanted: u64,
}

/// What a source is blamed for (rule 11).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It gave other bytes than those of the head that it serves, or that it was to serve.
    Lied,
    /// It gave too few good bytes for too long.
    Stalled,
    /// It is honest, and has another revision.
    Stale,
    /// It answers, and does not give what it was asked for.
    Refused,
    /// It does not answer, or breaks off.
    Unreachable,
}

impl Blame {
    /// The word, as `--json` spells it.
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

/// What a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It was not asked for anything yet, or there is nothing left to ask it for.
    Idle,
    /// It is asked for bytes.
    Active,
    /// It is left alone until it is tried again, or until its head has been read again.
    Waiting,
    /// It is not asked any more.
    SetAside,
}

impl SourceState {
    /// The word, as `--json` spells it.
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

/// How a source does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Which.
    pub source: SourceIndex,
    /// What it is doing.
    pub state: SourceState,
    /// What it is blamed for, most lately, and why.
    pub blame: Option<(Blame, String)>,
    /// When it is tried again, if it is waiting; from now on.
    pub again_in: Option<Duration>,
    /// Verified bytes that came from it.
    pub verified: u64,
    /// Verified bytes of it per second, over the last seconds.
    pub rate: u64,
}

/// Why nothing was verified for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// For what: a file, or `head.note` and such.
    pub for_what: String,
    /// Which chunks of it were asked for, if they were.
    pub chunks: Option<Range<u64>>,
    /// From whom; `None` if it is this machine that is waited for.
    pub from: Option<SourceIndex>,
    /// When that source is tried again, from now on, if every source is left alone.
    pub again_in: Option<Duration>,
    /// What this machine does, if it is this machine that is waited for.
    pub here: Option<Here>,
    /// How long nothing was verified.
    pub since: Duration,
}

/// The work of this machine while no source is waited for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// Reads a file that was there before.
    Reading,
    /// Judges and writes what came.
    Writing,
    /// Syncs what is written.
    Syncing,
    /// Gives files their final names: everything that is wanted is verified and durable.
    Naming,
    /// Looks for files that are not listed: everything has its name.
    Listing,
}

impl Here {
    /// The word, as `--json` spells it.
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

/// What happens, in the order in which it happens.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Event {
    /// The head that is fetched: it is believed, and the caller has not refused it.
    Head(Box<VerifiedHead>),
    /// What is wanted: files, and their bytes.
    Wanted {
        /// How many files, or files of which a part is wanted.
        files: u64,
        /// How many bytes their wanted chunks have. Files with the same content are fetched once, and counted once.
        bytes: u64,
        /// Where the metadata lies while the fetch runs. With it the folder can be read by a
        /// [`ModelView`](weighbridge_store::ModelView) already: what has come is there.
        metadata: PathBuf,
    },
    /// How far it is. Comes several times a second while something changes, and once at the end.
    Progress(FetchProgress),
    /// A source begins, ends, or is blamed; or its rate, from time to time.
    Source(SourceStatus),
    /// Nothing was verified for two seconds or more. Comes once a second while it is so.
    Waiting(Waiting),
    /// Chunks of a file are accepted, written and synced: no later run asks for them.
    Durable {
        /// The file.
        path: EntryPath,
        /// Its chunks, by position.
        chunks: Range<u64>,
    },
    /// Every chunk of a tensor is accepted and written: a view of the folder gives it, once the beginning of its file has
    /// come too. Comes once for each tensor of the list that has bytes, in the order in which they become complete; not,
    /// if the list lets two of them overlap.
    Tensor(Box<TensorEntry>),
    /// Everything that is wanted is durable, and files begin to get their final names.
    Naming {
        /// How many files get one: those of which all is wanted.
        files: u64,
    },
    /// All of a file is durable and has its final name.
    File {
        /// The file.
        path: EntryPath,
        /// Its length.
        size: u64,
    },
    /// Something in the folder is not listed.
    Extra {
        /// Where it lies, relative to the folder.
        path: String,
        /// Whether it was removed.
        removed: bool,
        /// Why it is no file that could be part of a model, if it is none: a verifier lets none pass.
        fault: Option<ExtraFault>,
    },
}
