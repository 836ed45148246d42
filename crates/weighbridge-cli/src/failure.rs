//! How a run that was not successful ends: a code, a sentence, what to do next.

use std::process::ExitCode;

use weighbridge_manifest::{HeadError, LineError, ListError, NoteError, PolicyError, TrustError, VkeyError};
use weighbridge_publish::{KeyError, SigningError, StoreError};
use weighbridge_verify::{IoError, MetadataError};

use crate::output::shown;

/// Why a run failed. From 9000 on, codes mean that nothing was judged.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(9001, message)
    }

    /// What to do next. Of several hints each stands on a line of its own.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// In place of the hints that came with the error.
    pub(crate) fn only_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.clear();
        self.hint(hint)
    }

    /// Says which file the message is about.
    pub(crate) fn about(mut self, path: &std::path::Path) -> Self {
        self.message = format!("{}: {}", shown(&path.to_string_lossy()), self.message);
        self
    }

    pub(crate) fn exit(&self) -> ExitCode {
        ExitCode::from(if self.code < 9000 { 1 } else { 2 })
    }
}

macro_rules! from_coded {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.error_code(), error.to_string())
            }
        }
    )*};
}

from_coded!(HeadError, IoError, LineError, ListError, NoteError, PolicyError, SigningError, VkeyError);

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let failure = Self::new(error.error_code(), error.to_string());
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

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        let failure = Self::new(error.error_code(), error.to_string());
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
        let failure = Self::new(error.error_code(), error.to_string());
        match error {
            StoreError::Exists { .. } => {
                failure.hint("--force replaces it, once the new metadata is complete")
            }
            StoreError::Busy { .. } => failure.hint("wait for it to end"),
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
        let mut failure = Self::new(error.error_code(), error.to_string());
        if let KeyError::Io { source, .. } | KeyError::NoPassphrase(source) | KeyError::Random(source) =
            &error
        {
            failure.message = format!("{error}: {source}");
        }
        match error {
            KeyError::NoPassphrase(_) => failure.hint(
                "pass it by --passphrase-file, --passphrase-fd or the environment (WEIGHBRIDGE_PASSPHRASE)",
            ),
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
