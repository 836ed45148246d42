//! Files as a hub, or a `SHA256SUMS`, lists them: by digests that others compute, and that nobody signed.

use core::fmt;

use crate::{EntryPath, Sha256};

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// The path in the model.
    pub path: EntryPath,
    /// The length in bytes, less than 2^53.
    pub size: u64,
    /// The digest of the content.
    pub digest: ListedDigest,
}

/// The digest of a listed file. No `Default` (rule 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedDigest {
    /// The SHA-256 of the bytes.
    Sha256(Sha256),
    /// The id of a Git blob: the SHA-1 of `blob`, a space, the length in decimal digits, a zero byte, and the bytes.
    GitBlob([u8; 20]),
}

/// The kind of a [`ListedDigest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestKind {
    /// SHA-256.
    Sha256,
    /// The id of a Git blob.
    GitBlob,
}

impl ListedDigest {
    /// The digest, if it is a SHA-256.
    #[must_use]
    pub fn sha256(self) -> Option<Sha256> {
        match self {
            Self::Sha256(digest) => Some(digest),
            Self::GitBlob(_) => None,
        }
    }

    /// The kind of the digest.
    #[must_use]
    pub fn kind(self) -> DigestKind {
        match self {
            Self::Sha256(_) => DigestKind::Sha256,
            Self::GitBlob(_) => DigestKind::GitBlob,
        }
    }
}

impl fmt::Display for ListedDigest {
    /// Writes the kind and the hexadecimal digits, as in `sha256:9f86…` or `git-blob:d670…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{digest}"),
            Self::GitBlob(id) => {
                f.write_str("git-blob:")?;
                id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}
