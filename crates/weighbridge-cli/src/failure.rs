//! The end of an unsuccessful run: a code, a sentence, and the next step.

use std::io;

use weighbridge_manifest::{
    HeadError, HeldError, LineError, ListError, NoteError, PolicyError, ProofError, ProveError,
    StatementError, TrustError, VkeyError,
};
use weighbridge_publish::{KeyError, SigningError};
use weighbridge_store::{HoldingError, IoError, MetadataError, StoreError, shown_path};
use weighbridge_transfer::{Blame, FetchError, FetchProgress, ListingError, SourceStatus, Unpruned};
use weighbridge_tree::{Coded, ErrorCode, SliceError};
use weighbridge_verify::{AuditError, ResponseError};

use crate::{output::size, signals::Signal};

/// The reason why a run failed. Codes from 9000 on mean that nothing was judged.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    /// The signal that ended the run, if one did.
    pub(crate) signal: Option<Signal>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new(), signal: None }
    }

    /// The code and the sentence of an error, without hints.
    pub(crate) fn of(error: &impl Coded) -> Self {
        Self::new(error.error_code(), error.to_string())
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::USAGE, message)
    }

    /// Adds a next step. Each hint is printed on its own line.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Replaces the hints that came with the error.
    pub(crate) fn only_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.clear();
        self.hint(hint)
    }

    /// Puts the path of a file in front of the message.
    pub(crate) fn about(mut self, path: &std::path::Path) -> Self {
        self.message = format!("{}: {}", shown_path(path), self.message);
        self
    }

    /// Turns a failure to read a file into a refusal if the file is longer than its kind allows, which the length shows
    /// without reading (rule 1).
    pub(crate) fn unless_longer(error: IoError, refusal: impl FnOnce(usize) -> Self) -> Self {
        if error.source.kind() != io::ErrorKind::FileTooLarge {
            return error.into();
        }
        let length = std::fs::metadata(&error.path).map_or(u64::MAX, |found| found.len());
        refusal(usize::try_from(length).unwrap_or(usize::MAX)).about(&error.path)
    }

    /// The exit status of the run.
    pub(crate) fn status(&self) -> u8 {
        match self.signal {
            Some(signal) => signal.status(),
            None if self.code.is_refusal() => 1,
            None => 2,
        }
    }
}

macro_rules! from_coded {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of(&error)
            }
        }
    )*};
}

from_coded!(
    HeadError,
    IoError,
    LineError,
    ListError,
    NoteError,
    PolicyError,
    ProofError,
    ProveError,
    SigningError,
    SliceError,
    StatementError,
    VkeyError,
);

impl From<HeldError> for Failure {
    fn from(error: HeldError) -> Self {
        let failure = Self::of(&error);
        match error {
            HeldError::NoAuditors => failure.hint("a policy lists them under [held]; name it with --trust"),
            _ => failure,
        }
    }
}

impl From<HoldingError> for Failure {
    fn from(error: HoldingError) -> Self {
        let failure = Self::of(&error);
        match error {
            HoldingError::NoLayer { .. } => {
                failure.hint("get chunks.layer from where the metadata came from")
            }
            HoldingError::Missing { .. } => {
                failure.hint("name the folder that has the model's files; --meta names its metadata")
            }
            HoldingError::Metadata(error) => error.into(),
            _ => failure,
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let failure = Self::of(&error);
        match error {
            AuditError::OtherHead { .. } => failure.hint("name the metadata of the challenge's head"),
            AuditError::Late { .. } | AuditError::Replayed { .. } => {
                failure.hint("a new challenge is needed")
            }
            _ => failure,
        }
    }
}

impl From<ResponseError<HoldingError>> for Failure {
    fn from(error: ResponseError<HoldingError>) -> Self {
        match error {
            ResponseError::Refused(error) => error.into(),
            ResponseError::Holding(error) => error.into(),
            other => Self::new(other.error_code().unwrap_or(ErrorCode::BUG), other.to_string())
                .hint("`weighbridge verify` says what else of this model is bad"),
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let failure = Self::of(&error);
        match error {
            TrustError::BadSignature { .. } => failure.hint("get head.note again, from the publisher"),
            TrustError::NotEnough { .. } | TrustError::OutOfScope { .. } => failure
                .hint("`weighbridge inspect` shows whose signatures the head has; compare with your trust"),
            TrustError::OtherModel { .. } | TrustError::OtherHead { .. } => failure
                .hint("this place serves another model than you asked for; look for the right one elsewhere"),
            TrustError::Rollback { .. } | TrustError::OldRevision { .. } => failure
                .hint("this place is behind; use another, or name the older head with --head if you want it"),
            TrustError::Fork { .. } => failure.hint("ask the publisher which of the two heads is theirs"),
            TrustError::Expired { .. } => failure.hint("get a newer head, or go on with --allow-expired"),
            TrustError::FromTheFuture { .. } => failure.hint("check this machine's clock"),
            _ => failure,
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let mut failure = Self::of(&error);
        match error {
            FetchError::Trust(error) => error.into(),
            FetchError::NoSource { progress, sources, .. } => {
                let is_unheard = |status: &SourceStatus| {
                    matches!(status.blame, Some((Blame::Unreachable, _))) && status.verified == 0
                };
                let address = if sources.iter().all(is_unheard) { "look at the address, " } else { "" };
                let there = on_disk(&progress);
                failure.hint(format!("{there}; {address}name more sources, or try again later"))
            }
            FetchError::Overwritten { .. } => {
                failure.hint("fetch again to get the new revision; what both have is not fetched again")
            }
            FetchError::Store(StoreError::Io(error)) => match weighbridge_store::hint(&error.source) {
                Some(hint) => failure.hint(hint),
                None => failure,
            },
            FetchError::Store(StoreError::Busy(_)) => {
                failure.hint("wait for it to end; what is on disk is not fetched again")
            }
            FetchError::Store(error) => error.into(),
            FetchError::AnotherModel { .. } => {
                failure.hint("fetch into another folder; --replace puts this model in place of that one")
            }
            FetchError::NotPruned { why: Unpruned::Foreign { .. }, .. } => {
                failure.hint("fetch without --prune: it lists what is not the model's, and removes nothing")
            }
            FetchError::NotPruned { why: Unpruned::Source { .. }, .. } => {
                failure.hint("fetch into another folder, or without --prune")
            }
            FetchError::NothingWanted => {
                failure.hint("look at the patterns of --only and --tensor: `*` does not match `/`, `**` does")
            }
            FetchError::NoTensors => failure.hint("--only picks files"),
            FetchError::List(_) | FetchError::Entry(_) => failure
                .hint("it is the signed list that is wrong, so that no source can help; tell the publisher"),
            FetchError::Stopped { progress } => {
                failure.message = format!("{}; {}", failure.message, on_disk(&progress));
                failure.hint("the same command goes on from there")
            }
            _ => failure,
        }
    }
}

impl From<ListingError> for Failure {
    fn from(error: ListingError) -> Self {
        let failure = Self::of(&error);
        match error {
            _ if error.is_denied() => failure.hint(DENIED_BY_HUB),
            ListingError::NotGiven { .. } => failure.hint("look at the address, or try again later"),
            ListingError::Malformed { .. } => {
                failure.hint("nothing of this model was judged; tell whoever runs that server")
            }
            _ => failure,
        }
    }
}

/// What to do where a hub denies.
pub(crate) const DENIED_BY_HUB: &str = "a hub answers so for what is private, gated or not there; it is given the token in HF_TOKEN, or that of `hf auth login`";

/// The way to repair a model in a cache of Hugging Face's clients: we do not replace files there.
pub(crate) const BESIDE_THE_CACHE: &str =
    "get the signed release by a fetch with --hf-cache: what is good in the cache is not fetched again";

/// Describes the bytes on disk after a fetch that did not end well.
fn on_disk(progress: &FetchProgress) -> String {
    let FetchProgress { durable, verified, wanted, .. } = progress;
    let there = match durable {
        0 => "nothing was added to what is on disk".to_owned(),
        _ => format!("{} of {} is on disk", size(*durable), size(*wanted)),
    };
    match verified.saturating_sub(*durable) {
        0 => there,
        more if *durable == 0 => format!("{} of {} was written and not synced", size(more), size(*wanted)),
        more => format!("{there}, and {} more was written and not synced", size(more)),
    }
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        let failure = Self::of(&error);
        match error {
            MetadataError::Io(_) => failure,
            MetadataError::List(_) => {
                failure.hint("get the metadata again; the model's files need not be fetched anew")
            }
            _ => failure.hint("get chunks.layer again, or remove it: the files can be verified without it"),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::of(&error);
        match error {
            StoreError::Exists { .. } => {
                failure.hint("--force replaces it, once the new metadata is complete")
            }
            StoreError::Busy { .. } => failure.hint("wait for it to end"),
            StoreError::InTheWay { .. } => failure.hint("move it away, or fetch into another folder"),
            StoreError::HubSnapshot { .. } => failure.hint(BESIDE_THE_CACHE),
            StoreError::NoPlaceInCache { .. } | StoreError::NoLinks { .. } => {
                failure.hint("put it into a folder: -o DIR")
            }
            StoreError::ForeignRevision { .. } => failure.hint(
                "--replace replaces it; the snapshot that it names stays, and what the cache has is not fetched again",
            ),
            StoreError::BeingReplaced(_) => failure.hint(
                "wait for it to end; if it was ended before, the same command goes on, and a fetch of any release replaces both",
            ),
            StoreError::Link { .. } => failure.hint("name the real folder with -o"),
            StoreError::Foreign { .. } => {
                failure.hint("move it away; only unfinished metadata belongs there")
            }
            _ => failure,
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let mut failure = Self::of(&error);
        if let KeyError::Io { source, .. } | KeyError::NoPassphrase(source) | KeyError::Random(source) =
            &error
        {
            failure.message = format!("{error}: {source}");
        }
        match error {
            KeyError::NoPassphrase(_) => failure.hint(
                "pass it by --passphrase-file, --passphrase-fd or the environment (WEIGHBRIDGE_PASSPHRASE)",
            ),
            KeyError::UnfitPassphrase(_) => {
                failure.hint("of a file or descriptor, its first line is the passphrase")
            }
            KeyError::NoVkey { .. } => failure.hint("put the key's NAME.vkey beside its NAME.key"),
            KeyError::Exists { .. } => {
                failure.hint("keys are never overwritten; choose another name or folder")
            }
            KeyError::SignatureLength { .. } | KeyError::Signature => failure
                .hint("sign the bytes of head.txt: openssl pkeyutl -sign -rawin -inkey KEY.pem -in head.txt"),
            _ => failure,
        }
    }
}
