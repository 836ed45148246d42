//! Trust policies: who is believed, for which models. They come from the caller, never from the artifact (rule 9).

use alloc::{string::String, vec, vec::Vec};
use core::fmt;

use weighbridge_tree::HeadId;

use crate::{
    key::{PublicKey, Vkey, VkeyError},
    name::ModelName,
    time::{Time, TimeError},
};

/// Who is believed. Made by [`new`](Self::new), from TOML, or for one purpose by [`any_of`](Self::any_of) and
/// [`pinned`](Self::pinned).
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    publishers: Vec<Publisher>,
    revoked: Vec<PublicKey>,
    accepted_heads: Vec<HeadId>,
}

/// Whom to believe for the models of one scope.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The models.
    pub scope: Scope,
    /// How many distinct keys have to sign, at least 1.
    pub threshold: usize,
    /// The keys.
    pub keys: Vec<TrustedKey>,
}

/// A key, and when it counts: for heads with `from <= created < until`.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The key.
    pub vkey: Vkey,
    /// From when on, if not always.
    pub from: Option<Time>,
    /// Until when, if not for ever.
    pub until: Option<Time>,
}

impl TrustedKey {
    pub(crate) fn counts_at(&self, created: Time) -> bool {
        self.from.is_none_or(|from| from <= created) && self.until.is_none_or(|until| created < until)
    }
}

impl From<Vkey> for TrustedKey {
    fn from(vkey: Vkey) -> Self {
        Self { vkey, from: None, until: None }
    }
}

/// Which model names a publisher speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This name alone.
    Name(ModelName),
    /// `PREFIX/*`: all names that begin with `PREFIX/`.
    Below(ModelName),
    /// `*`
    All,
}

impl Scope {
    /// Reads a scope as a policy writes it.
    ///
    /// # Errors
    /// [`PolicyError::Scope`] if it is no name, `PREFIX/*` or `*`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let scope = match (text, text.strip_suffix("/*")) {
            ("*", _) => Some(Self::All),
            (_, Some(prefix)) => ModelName::parse(prefix).ok().map(Self::Below),
            (name, None) => ModelName::parse(name).ok().map(Self::Name),
        };
        scope.ok_or(PolicyError::Scope)
    }

    /// How closely the scope fits a name, or `None` if it does not cover it. The longest match decides.
    fn fit(&self, name: &ModelName) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::Below(prefix) => {
                let rest = name.as_str().strip_prefix(prefix.as_str())?;
                rest.starts_with('/').then_some(prefix.as_str().len())
            }
            Self::Name(exact) => (exact == name).then_some(usize::MAX),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Below(prefix) => write!(f, "{prefix}/*"),
            Self::All => f.write_str("*"),
        }
    }
}

impl TrustPolicy {
    /// Makes a policy. `revoked` keys never count, under whatever name; `accepted_heads` are believed whatever their
    /// signatures.
    ///
    /// # Errors
    /// [`PolicyError`] if the policy trusts nobody, a publisher could never be satisfied, or two publishers have the
    /// same scope.
    pub fn new(
        publishers: Vec<Publisher>,
        revoked: Vec<PublicKey>,
        accepted_heads: Vec<HeadId>,
    ) -> Result<Self, PolicyError> {
        if publishers.is_empty() && accepted_heads.is_empty() {
            return Err(PolicyError::TrustsNobody);
        }
        for (number, publisher) in (1..).zip(&publishers) {
            check(publisher).map_err(|fault| PolicyError::Publisher { number, fault })?;
        }
        for (number, publisher) in (1..).zip(&publishers) {
            let same = publishers.iter().filter(|other| other.scope == publisher.scope).count();
            if same > 1 {
                return Err(PolicyError::Publisher { number, fault: PublisherFault::SameScope });
            }
        }
        Ok(Self { publishers, revoked, accepted_heads })
    }

    /// Any one of these keys suffices, for every name.
    ///
    /// # Errors
    /// [`PolicyError::TrustsNobody`] if there is none.
    pub fn any_of(keys: Vec<Vkey>) -> Result<Self, PolicyError> {
        if keys.is_empty() {
            return Err(PolicyError::TrustsNobody);
        }
        let keys = keys.into_iter().map(TrustedKey::from).collect();
        Self::new(vec![Publisher { scope: Scope::All, threshold: 1, keys }], Vec::new(), Vec::new())
    }

    /// This head alone, whoever signed it: a chain or a deployment gave its id.
    #[must_use]
    pub fn pinned(head: HeadId) -> Self {
        Self { publishers: Vec::new(), revoked: Vec::new(), accepted_heads: vec![head] }
    }

    /// The publisher whose scope fits the name most closely.
    pub(crate) fn publisher_of(&self, name: &ModelName) -> Option<&Publisher> {
        let fitting = self.publishers.iter().filter_map(|p| Some((p.scope.fit(name)?, p)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, p)| p)
    }

    /// The keys that may have made a signature of this name and id, with whether they are revoked.
    pub(crate) fn keys_of(&self, name: &str, id: [u8; 4]) -> impl Iterator<Item = &Vkey> {
        let all = self.publishers.iter().flat_map(|p| &p.keys).map(|k| &k.vkey);
        all.filter(move |k| k.id() == id && k.name().as_str() == name)
    }

    pub(crate) fn is_revoked(&self, key: &PublicKey) -> bool {
        self.revoked.contains(key)
    }

    pub(crate) fn accepts(&self, head: &HeadId) -> bool {
        self.accepted_heads.contains(head)
    }
}

fn check(publisher: &Publisher) -> Result<(), PublisherFault> {
    for key in &publisher.keys {
        if let (Some(from), Some(until)) = (key.from, key.until)
            && from >= until
        {
            return Err(PublisherFault::Dates);
        }
    }
    if publisher.keys.is_empty() {
        return Err(PublisherFault::NoKeys);
    }
    let keys = distinct(publisher.keys.iter().map(|k| k.vkey.public_key()));
    if publisher.threshold == 0 || publisher.threshold > keys {
        return Err(PublisherFault::Threshold { threshold: publisher.threshold, keys });
    }
    Ok(())
}

/// How many different keys these are. The only place where keys are counted: one key under two names is one key.
pub(crate) fn distinct<'a>(keys: impl Iterator<Item = &'a PublicKey>) -> usize {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

/// Why a policy was not loaded.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// Not TOML of the known keys.
    Form {
        /// What the TOML reader says.
        message: String,
    },
    /// No publisher and no accepted head.
    TrustsNobody,
    /// A scope is no name, `PREFIX/*` or `*`.
    Scope,
    /// A key was refused.
    Key(VkeyError),
    /// A time is malformed.
    Time(TimeError),
    /// A head id is malformed.
    HeadId,
    /// A publisher is at fault.
    Publisher {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong.
        fault: PublisherFault,
    },
}

/// What is wrong with a publisher of a policy.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherFault {
    /// It has no keys.
    NoKeys,
    /// The threshold is zero or cannot be reached.
    Threshold {
        /// What the policy demands.
        threshold: usize,
        /// How many distinct keys there are.
        keys: usize,
    },
    /// Another publisher has the same scope.
    SameScope,
    /// A key's `from` is not before its `until`.
    Dates,
}

impl PolicyError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Form { .. } => 1601,
            Self::Scope => 1603,
            Self::Key(error) => error.error_code(),
            Self::Time(error) => error.error_code(),
            Self::HeadId => 1703,
            Self::TrustsNobody | Self::Publisher { fault: PublisherFault::NoKeys, .. } => 1605,
            Self::Publisher { fault: PublisherFault::Threshold { .. }, .. } => 1604,
            Self::Publisher { fault: PublisherFault::SameScope, .. } => 1602,
            Self::Publisher { fault: PublisherFault::Dates, .. } => 1606,
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { message } => write!(f, "not a trust policy: {message}"),
            Self::TrustsNobody => f.write_str("the policy trusts nobody"),
            Self::Scope => f.write_str("a scope is a model name, PREFIX/* or *"),
            Self::Key(error) => error.fmt(f),
            Self::Time(error) => error.fmt(f),
            Self::HeadId => f.write_str("a head id is 64 lower-case hexadecimal digits"),
            Self::Publisher { number, fault } => {
                write!(f, "publisher {number}: ")?;
                match fault {
                    PublisherFault::NoKeys => f.write_str("it has no keys"),
                    PublisherFault::Threshold { threshold, keys } => {
                        write!(f, "a threshold of {threshold} with {keys} distinct keys")
                    }
                    PublisherFault::SameScope => f.write_str("another publisher has the same scope"),
                    PublisherFault::Dates => f.write_str("a key's 'from' is not before its 'until'"),
                }
            }
        }
    }
}

impl core::error::Error for PolicyError {}
