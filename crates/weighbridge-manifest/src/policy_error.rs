//! The reason why a policy was not loaded.

use alloc::string::String;
use core::fmt;

use weighbridge_tree::{Coded, ErrorCode};

use crate::{key::VkeyError, time::TimeError};

/// The reason why a policy was not loaded.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The text is not TOML 1.0 in UTF-8, or has an unknown key.
    Form {
        /// The place and the reason, in one line of bounded length.
        message: String,
    },
    /// The policy has no publisher and no accepted head.
    TrustsNobody,
    /// A scope is not a name, `PREFIX/*` or `*`.
    Scope,
    /// A key among the revoked ones was refused.
    Revoked {
        /// The number of the key, counted from 1.
        number: usize,
        /// The fault.
        fault: VkeyError,
    },
    /// A head id among the accepted ones is malformed.
    AcceptedHead {
        /// The number of the head id, counted from 1.
        number: usize,
    },
    /// A publisher is at fault.
    Publisher {
        /// The number of the publisher, counted from 1.
        number: usize,
        /// The fault.
        fault: PublisherFault,
    },
    /// The auditors of `held` are at fault.
    Held {
        /// The fault.
        fault: PublisherFault,
    },
}

/// The fault of a publisher of a policy, or of the policy's auditors.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherFault {
    /// The publisher's scope is not a name, `PREFIX/*` or `*`.
    Scope,
    /// The publisher's role is neither `publisher` nor `import`.
    Role,
    /// A key is at fault.
    Key {
        /// The number of the key, counted from 1.
        number: usize,
        /// The fault.
        fault: KeyFault,
    },
    /// There are no keys.
    NoKeys,
    /// The threshold is zero or cannot be reached.
    Threshold {
        /// The threshold in the policy.
        threshold: usize,
        /// The number of distinct keys.
        keys: usize,
    },
    /// Another publisher has the same scope and role.
    SameScope,
}

/// The fault of a key of a policy.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// The key was refused.
    Vkey(VkeyError),
    /// The key's `from` or `until` is malformed.
    Time(TimeError),
    /// The key's `from` is not before its `until`.
    Dates,
}

impl Coded for PolicyError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Form { .. } => ErrorCode::POLICY_MALFORMED,
            Self::TrustsNobody => ErrorCode::POLICY_TRUSTS_NOBODY,
            Self::Scope => ErrorCode::POLICY_SCOPE,
            Self::Revoked { fault, .. } => fault.error_code(),
            Self::AcceptedHead { .. } => ErrorCode::HASH_MALFORMED,
            Self::Publisher { fault, .. } | Self::Held { fault } => match fault {
                PublisherFault::Scope => ErrorCode::POLICY_SCOPE,
                PublisherFault::Role => ErrorCode::POLICY_ROLE,
                PublisherFault::Key { fault: KeyFault::Vkey(error), .. } => error.error_code(),
                PublisherFault::Key { fault: KeyFault::Time(error), .. } => error.error_code(),
                PublisherFault::Key { fault: KeyFault::Dates, .. } => ErrorCode::POLICY_KEY_DATES,
                PublisherFault::NoKeys => ErrorCode::POLICY_TRUSTS_NOBODY,
                PublisherFault::Threshold { .. } => ErrorCode::POLICY_THRESHOLD,
                PublisherFault::SameScope => ErrorCode::POLICY_SAME_SCOPE,
            },
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { message } => write!(f, "not a trust policy: {message}"),
            Self::TrustsNobody => f.write_str("the policy trusts nobody"),
            Self::Scope => PublisherFault::Scope.fmt(f),
            Self::Revoked { number, fault } => write!(f, "revoked key {number}: {fault}"),
            Self::AcceptedHead { number } => {
                write!(f, "accepted head {number}: a head id is 64 lower-case hexadecimal digits")
            }
            Self::Publisher { number, fault } => write!(f, "publisher {number}: {fault}"),
            Self::Held { fault } => write!(f, "held: {fault}"),
        }
    }
}

impl fmt::Display for PublisherFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope => f.write_str("a scope is a model name, PREFIX/* or *"),
            Self::Role => f.write_str("a role is 'publisher' or 'import'"),
            Self::Key { number, fault } => write!(f, "key {number}: {fault}"),
            Self::NoKeys => f.write_str("it has no keys"),
            Self::Threshold { threshold, keys } => {
                write!(f, "a threshold of {threshold} with {keys} distinct keys")
            }
            Self::SameScope => f.write_str("another publisher has the same scope and role"),
        }
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vkey(error) => error.fmt(f),
            Self::Time(error) => error.fmt(f),
            Self::Dates => f.write_str("'from' is not before 'until'"),
        }
    }
}

impl core::error::Error for PolicyError {}
