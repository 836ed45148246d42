//! The errors of making, opening, keeping and using keys.

use std::{error::Error, fmt, io, path::PathBuf};

use weighbridge_manifest::VkeyError;
use weighbridge_store::shown_path;
use weighbridge_tree::{Coded, ErrorCode};

use crate::key::{ENCRYPTED, MAX_FILE, MAX_PASSPHRASE, MAX_STEM, PLAIN, PUBLIC};

pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// The reason why a key could not be made, opened, kept or used.
#[non_exhaustive]
#[derive(Debug)]
pub enum KeyError {
    /// The system gave no randomness.
    Random(io::Error),
    /// A new key is not a good one. This does not happen.
    Unusable(VkeyError),
    /// The text is not exactly one secret key in PEM.
    SecretPem(PemFault),
    /// The text is not exactly one public key in PEM.
    PublicPem(PemFault),
    /// The key needs a passphrase and none is at hand. Callers return this from `passphrase` if they cannot ask a
    /// user.
    NoPassphrase(io::Error),
    /// The given bytes cannot be a passphrase.
    UnfitPassphrase(PassphraseFault),
    /// The passphrase is wrong, or the file is damaged: the two cannot be told apart.
    WrongPassphrase,
    /// The secret key is not the one whose public half is the vkey.
    OtherKey,
    /// There is no vkey beside the secret key.
    NoVkey {
        /// The path where the vkey was expected.
        path: PathBuf,
    },
    /// The vkey beside the secret key is malformed or not a good one.
    VkeyFile {
        /// The vkey's file.
        path: PathBuf,
        /// The fault of the vkey.
        source: VkeyError,
    },
    /// The key's name cannot be the name of a file.
    FileName,
    /// A key file exists already, and is kept.
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
    /// A signature made by another program does not have the 64 bytes of a bare Ed25519 signature.
    SignatureLength {
        /// The signature's length in bytes.
        bytes: usize,
    },
    /// A signature made by another program is not by this key, or is of another text.
    Signature,
    /// The operating system reported an error.
    Io {
        /// The operation: "reading" or "writing".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A fault of weighbridge: a new key could not be encoded.
    Internal(Cause),
}

pub(crate) fn our_fault(error: impl Into<Cause>) -> KeyError {
    KeyError::Internal(error.into())
}

impl Coded for KeyError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::PublicPem(_) => ErrorCode::KEY_PEM,
            Self::Unusable(source) | Self::VkeyFile { source, .. } => source.error_code(),
            Self::Signature => ErrorCode::SIGNATURE_NOT_BY_KEY,
            Self::SignatureLength { .. } => ErrorCode::SIGNATURE_LENGTH,
            Self::SecretPem(_) => ErrorCode::KEY_FILE_MALFORMED,
            Self::WrongPassphrase => ErrorCode::WRONG_PASSPHRASE,
            Self::NoPassphrase(_) | Self::UnfitPassphrase(_) => ErrorCode::PASSPHRASE_NEEDED,
            Self::OtherKey => ErrorCode::KEY_PAIR_MISMATCH,
            Self::FileName => ErrorCode::USAGE,
            Self::Random(_) | Self::NoVkey { .. } | Self::Io { .. } => ErrorCode::IO,
            Self::Exists { .. } => ErrorCode::KEY_EXISTS,
            Self::Internal(_) => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(_) => f.write_str("the system gave no randomness"),
            Self::Unusable(_) => f.write_str("the new key is not a good one"),
            Self::SecretPem(fault) => {
                write!(f, "not an Ed25519 secret key in PEM ({PLAIN} or {ENCRYPTED}): {fault}")
            }
            Self::PublicPem(fault) => write!(f, "not an Ed25519 public key in PEM ({PUBLIC}): {fault}"),
            Self::NoPassphrase(_) => f.write_str("the secret key is encrypted and there is no passphrase"),
            Self::UnfitPassphrase(fault) => write!(f, "the passphrase {fault}"),
            Self::WrongPassphrase => f.write_str("the passphrase is wrong, or the key file was damaged"),
            Self::OtherKey => {
                f.write_str("the secret key and the vkey do not belong together, or the key file was damaged")
            }
            Self::NoVkey { path } => {
                write!(f, "no vkey beside the secret key: {} is missing", shown_path(path))
            }
            Self::VkeyFile { path, source } => write!(f, "{}: {source}", shown_path(path)),
            Self::FileName => write!(
                f,
                "the key's name makes no file name: at most {MAX_STEM} bytes, letters, digits and - . _ @ /, \
                 beginning with a letter, a digit or _, and not what Windows calls a device"
            ),
            Self::Exists { path } => {
                write!(f, "{} exists already and is never overwritten", shown_path(path))
            }
            Self::SignatureLength { bytes } => {
                write!(f, "an Ed25519 signature is 64 bytes, this one {bytes}")
            }
            Self::Signature => f.write_str("the signature is not by this key over this text"),
            Self::Io { doing, path, .. } => write!(f, "{doing} {} failed", shown_path(path)),
            Self::Internal(_) => f.write_str("a fault of weighbridge, please report it"),
        }
    }
}

impl Error for KeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Random(source) | Self::NoPassphrase(source) | Self::Io { source, .. } => Some(source),
            // The sentence about a vkey file already ends with that of its fault, and the fault has no source.
            Self::Unusable(source) => Some(source),
            Self::SecretPem(fault) | Self::PublicPem(fault) => fault.source(),
            Self::Internal(source) => Some(&**source),
            Self::NoVkey { .. }
            | Self::VkeyFile { .. }
            | Self::UnfitPassphrase(_)
            | Self::WrongPassphrase
            | Self::OtherKey
            | Self::FileName
            | Self::Exists { .. }
            | Self::SignatureLength { .. }
            | Self::Signature => None,
        }
    }
}

/// The reason why bytes cannot be a passphrase.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphraseFault {
    /// There are no bytes.
    Empty,
    /// There are more than [`MAX_PASSPHRASE`] bytes.
    TooLong,
    /// A byte is NUL. OpenSSL ends a passphrase there, so OpenSSL and weighbridge could not open each other's keys.
    Nul,
}

impl fmt::Display for PassphraseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "is longer than {MAX_PASSPHRASE} bytes"),
            Self::Nul => f.write_str("has a NUL byte, as no line of text has"),
        }
    }
}

/// The fault of a key in PEM.
#[non_exhaustive]
#[derive(Debug)]
pub enum PemFault {
    /// The text is longer than any key.
    TooLong,
    /// The text is not one PEM block with nothing before or behind it.
    NotOneBlock(Cause),
    /// The block has another label.
    Label,
    /// The content is not what the label announces.
    Der(Cause),
    /// The key is of another algorithm.
    Algorithm,
    /// The encryption is not supported.
    Encryption(Cause),
    /// Deriving the encryption key would take unreasonable work, or none at all.
    Cost,
    /// The public half does not belong to the secret half.
    PublicHalf,
}

impl PemFault {
    pub(crate) fn der(cause: impl Into<Cause>) -> Self {
        Self::Der(cause.into())
    }
}

impl fmt::Display for PemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {MAX_FILE} bytes"),
            Self::NotOneBlock(_) => f.write_str("not one PEM block with nothing before or behind it"),
            Self::Label => f.write_str("a PEM block of another kind"),
            Self::Der(_) => f.write_str("malformed within the PEM block"),
            Self::Algorithm => f.write_str("a key of another algorithm"),
            Self::Encryption(_) => {
                f.write_str("encrypted by other means than PBES2 with scrypt or PBKDF2 (SHA-2) and AES")
            }
            Self::Cost => f.write_str("the passphrase would take unreasonable work, or none"),
            Self::PublicHalf => f.write_str("the public half is not that of the secret half"),
        }
    }
}

impl Error for PemFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotOneBlock(cause) | Self::Der(cause) | Self::Encryption(cause) => Some(&**cause),
            Self::TooLong | Self::Label | Self::Algorithm | Self::Cost | Self::PublicHalf => None,
        }
    }
}
