//! Why heads are not believed.

use core::fmt;

use weighbridge_tree::HeadId;

use crate::{head::HeadError, key::KeyName, name::ModelName, shown::shown, time::Time};

/// Why a head is not believed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// A key of the policy is named, and the signature is not its.
    BadSignature {
        /// The key's name.
        name: KeyName,
    },
    /// The signed text is no head.
    Head(HeadError),
    /// No publisher of the policy speaks for this name.
    OutOfScope {
        /// The head's name.
        name: ModelName,
    },
    /// Fewer distinct keys signed than the threshold demands.
    NotEnough {
        /// What is the matter with those that are missing.
        why: Shortage,
        /// How many count.
        have: usize,
        /// How many have to.
        need: usize,
    },
    /// Another model than the one wanted.
    OtherModel {
        /// The head's name.
        found: ModelName,
        /// The name wanted.
        wanted: ModelName,
    },
    /// Another head than the one wanted.
    OtherHead {
        /// The head's id.
        found: HeadId,
        /// The id wanted.
        wanted: HeadId,
    },
    /// A lower revision than the least wanted.
    OldRevision {
        /// The head's revision.
        found: u64,
        /// The least wanted.
        least: u64,
    },
    /// A lower revision than one accepted before.
    Rollback {
        /// The head's revision.
        found: u64,
        /// The one accepted before.
        remembered: u64,
    },
    /// Two heads claim one place in the model's history.
    Fork {
        /// The revision at which they part.
        revision: u64,
        /// The head accepted before.
        remembered: HeadId,
    },
    /// Created more than a day ahead of the caller's time.
    FromTheFuture {
        /// When it says it was created.
        created: Time,
        /// The caller's time.
        now: Time,
    },
    /// No longer good.
    Expired {
        /// Since when.
        at: Time,
    },
    /// It expires, and the caller knows no time.
    TimeUnknown {
        /// When it expires.
        expires: Time,
    },
}

/// Why too few signatures count.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// No key of the publisher signed.
    NobodyKnown,
    /// Some did, and too few.
    TooFew,
    /// Revoked keys would have made up the number.
    Revoked,
    /// Keys that were out of date would have made up the number.
    OutOfDate,
}

impl TrustError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::BadSignature { .. } => 3101,
            Self::Head(error) => error.error_code(),
            Self::NotEnough { why: Shortage::NobodyKnown, .. } => 3102,
            Self::NotEnough { why: Shortage::TooFew, .. } => 3103,
            Self::NotEnough { why: Shortage::Revoked, .. } => 3104,
            Self::NotEnough { why: Shortage::OutOfDate, .. } => 3105,
            Self::OutOfScope { .. } => 3106,
            Self::OtherModel { .. } => 3201,
            Self::OtherHead { .. } => 3202,
            Self::OldRevision { .. } => 3203,
            Self::Rollback { .. } => 3204,
            Self::Fork { .. } => 3205,
            Self::FromTheFuture { .. } => 3206,
            Self::Expired { .. } => 3207,
            Self::TimeUnknown { .. } => 3208,
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
