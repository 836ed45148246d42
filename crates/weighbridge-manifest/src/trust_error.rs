//! The reason why a head is not believed.

use core::fmt;

use weighbridge_tree::{Coded, ErrorCode, HeadId};

use crate::{head::HeadError, key::KeyName, name::ModelName, shown::shown, time::Time};

/// The reason why a head is not believed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// A signature line names a key of the policy, but the signature is not by that key.
    BadSignature {
        /// The key's name.
        name: KeyName,
    },
    /// The signed text is not a head.
    Head(HeadError),
    /// No publisher of the policy covers this name.
    OutOfScope {
        /// The head's name.
        name: ModelName,
    },
    /// Fewer distinct keys signed than the threshold demands.
    NotEnough {
        /// The reason why the other signatures do not count.
        why: Shortage,
        /// The number of keys that count.
        have: usize,
        /// The number of keys that the policy demands.
        need: usize,
    },
    /// The head is of another model than the wanted one.
    OtherModel {
        /// The head's name.
        found: ModelName,
        /// The wanted name.
        wanted: ModelName,
    },
    /// The head is not the wanted head.
    OtherHead {
        /// The head's id.
        found: HeadId,
        /// The wanted id.
        wanted: HeadId,
    },
    /// The revision is lower than the least wanted revision.
    OldRevision {
        /// The head's revision.
        found: u64,
        /// The least wanted revision.
        least: u64,
    },
    /// The revision is lower than one that was accepted before.
    Rollback {
        /// The head's revision.
        found: u64,
        /// The revision that was accepted before.
        remembered: u64,
    },
    /// Two heads claim one place in the model's history.
    Fork {
        /// The revision at which the two heads differ.
        revision: u64,
        /// The head that was accepted before.
        remembered: HeadId,
    },
    /// The head was created more than a day ahead of the caller's time.
    FromTheFuture {
        /// The time at which the head was created, as stated in the head.
        created: Time,
        /// The caller's time.
        now: Time,
    },
    /// The head has expired.
    Expired {
        /// The time at which the head expired.
        at: Time,
    },
    /// The head expires, and the caller does not know the time.
    TimeUnknown {
        /// The time at which the head expires.
        expires: Time,
    },
}

/// The reason why too few signatures count.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// No key of the publisher signed.
    NobodyKnown,
    /// Some keys of the publisher signed, but too few.
    TooFew,
    /// With the revoked keys there would be enough.
    Revoked,
    /// With the keys that are out of date there would be enough.
    OutOfDate,
}

impl Coded for TrustError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::BadSignature { .. } => ErrorCode::BAD_SIGNATURE,
            Self::Head(error) => error.error_code(),
            Self::NotEnough { why: Shortage::NobodyKnown, .. } => ErrorCode::NO_KNOWN_KEY,
            Self::NotEnough { why: Shortage::TooFew, .. } => ErrorCode::TOO_FEW_KEYS,
            Self::NotEnough { why: Shortage::Revoked, .. } => ErrorCode::KEYS_REVOKED,
            Self::NotEnough { why: Shortage::OutOfDate, .. } => ErrorCode::KEYS_OUT_OF_DATE,
            Self::OutOfScope { .. } => ErrorCode::OUT_OF_SCOPE,
            Self::OtherModel { .. } => ErrorCode::ANOTHER_MODEL,
            Self::OtherHead { .. } => ErrorCode::ANOTHER_HEAD,
            Self::OldRevision { .. } => ErrorCode::OLD_REVISION,
            Self::Rollback { .. } => ErrorCode::ROLLBACK,
            Self::Fork { .. } => ErrorCode::FORK,
            Self::FromTheFuture { .. } => ErrorCode::FROM_THE_FUTURE,
            Self::Expired { .. } => ErrorCode::EXPIRED,
            Self::TimeUnknown { .. } => ErrorCode::TIME_UNKNOWN,
        }
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature { name } => {
                write!(f, "the signature by '{}' does not verify: the head was altered", shown(name.as_str()))
            }
            Self::Head(error) => error.fmt(f),
            Self::OutOfScope { name } => write!(f, "the policy trusts nobody for '{name}'"),
            Self::NotEnough { why, have, need } => match why {
                Shortage::NobodyKnown => f.write_str("none of the signatures is by a trusted key"),
                Shortage::TooFew => write!(f, "{have} of {need} demanded keys signed"),
                Shortage::Revoked => {
                    write!(f, "{have} of {need} demanded keys signed, the others are revoked")
                }
                Shortage::OutOfDate => {
                    write!(
                        f,
                        "{have} of {need} demanded keys signed, the others were out of date when it was created"
                    )
                }
            },
            Self::OtherModel { found, wanted } => write!(f, "the head is of '{found}', wanted is '{wanted}'"),
            Self::OtherHead { found, wanted } => write!(f, "the head is {found}, wanted is {wanted}"),
            Self::OldRevision { found, least } => {
                write!(f, "the head is revision {found}, wanted is {least} or later")
            }
            Self::Rollback { found, remembered } => {
                write!(f, "rollback: the head is revision {found}, revision {remembered} was accepted before")
            }
            Self::Fork { revision, remembered } => {
                write!(
                    f,
                    "fork: this revision {revision} does not agree with head {remembered}, accepted before"
                )
            }
            Self::FromTheFuture { created, now } => {
                write!(f, "the head says it was created at {created}, and it is {now}")
            }
            Self::Expired { at } => write!(f, "the head expired at {at}"),
            Self::TimeUnknown { expires } => {
                write!(f, "the head expires at {expires}, and the time is not known")
            }
        }
    }
}

impl core::error::Error for TrustError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Head(error) => Some(error),
            _ => None,
        }
    }
}
