//! The entries of a trust policy: which keys count for which models, and in which role.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    key::Vkey,
    name::ModelName,
    policy_error::{KeyFault, PolicyError},
    time::Time,
};

/// The trusted keys of one role for the models of one scope.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The models.
    pub scope: Scope,
    /// The role of the keys.
    pub role: Role,
    /// The number of distinct keys that have to sign, at least 1.
    pub threshold: usize,
    /// The keys.
    pub keys: Vec<TrustedKey>,
}

/// The role of an entry of a policy, and of the heads that it believes. A publisher's head goes before an imported one.
///
/// All roles are known to callers, who have to say of an imported head that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The keys sign copies of models that their publisher has not signed.
    Import,
    /// The keys sign for the publisher of the models.
    Publisher,
}

impl Role {
    /// Reads a role as a policy writes it; `None` if the text is no role.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Import, Self::Publisher].into_iter().find(|role| role.word() == text)
    }

    /// The role as a policy writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Publisher => "publisher",
        }
    }
}

/// A key with its dates. It counts for heads with `from <= created < until`, and for reports with `from <= received <
/// until`.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The key.
    pub vkey: Vkey,
    /// The first time at which the key counts; `None` for no lower limit.
    pub from: Option<Time>,
    /// The time from which the key no longer counts; `None` for no upper limit.
    pub until: Option<Time>,
}

impl TrustedKey {
    /// Returns the key, or an error if its dates leave no time at which it counts.
    pub(crate) fn with_dates_in_order(self) -> Result<Self, KeyFault> {
        match (self.from, self.until) {
            (Some(from), Some(until)) if from >= until => Err(KeyFault::Dates),
            _ => Ok(self),
        }
    }

    /// Whether this key counts whenever the other one does.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let from = self.from.is_none_or(|from| other.from.is_some_and(|other| from <= other));
        let until = self.until.is_none_or(|until| other.until.is_some_and(|other| other <= until));
        self.vkey == other.vkey && from && until
    }

    pub(crate) fn counts_at(&self, time: Time) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}

impl From<Vkey> for TrustedKey {
    fn from(vkey: Vkey) -> Self {
        Self { vkey, from: None, until: None }
    }
}

/// The model names for which a publisher is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This name alone.
    Name(ModelName),
    /// `PREFIX/*`: all names that begin with `PREFIX/`.
    Below(ModelName),
    /// `*`: all names.
    All,
}

impl Scope {
    /// Reads a scope as a policy writes it.
    ///
    /// # Errors
    /// [`PolicyError::Scope`] if the text is not a name, `PREFIX/*` or `*`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let scope = match (text, text.strip_suffix("/*")) {
            ("*", _) => Some(Self::All),
            (_, Some(prefix)) => ModelName::parse(prefix).ok().map(Self::Below),
            (name, None) => ModelName::parse(name).ok().map(Self::Name),
        };
        scope.ok_or(PolicyError::Scope)
    }

    /// Whether the scope has this name in it.
    #[must_use]
    pub fn covers(&self, name: &ModelName) -> bool {
        self.fit(name).is_some()
    }

    /// The closeness of the scope's fit to a name; `None` if it does not cover the name.
    pub(crate) fn fit(&self, name: &ModelName) -> Option<usize> {
        let covers = match self {
            Self::All => true,
            Self::Below(prefix) => {
                name.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
            Self::Name(exact) => exact == name,
        };
        covers.then(|| self.closeness())
    }

    /// How closely the scope fits the names that it covers. The closest scope decides.
    pub(crate) fn closeness(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Below(prefix) => prefix.as_str().len(),
            Self::Name(_) => usize::MAX,
        }
    }

    /// Whether this scope covers every name that the other one covers.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::Name(name)) => self.fit(name).is_some(),
            (Self::Below(prefix), Self::Below(longer)) => prefix == longer || self.fit(longer).is_some(),
            (Self::Name(_), _) | (_, Self::All) => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn scopes_are_names_prefixes_or_everything() {
        for good in ["*", "a", "a/b", "a/*", "a/b/c/*"] {
            assert_eq!(Scope::parse(good).map(|scope| scope.to_string()).as_deref(), Ok(good));
        }
        for bad in
            ["", "/*", "a*", "*/a", "**", "a/**", "a/*/*", "*/*", "a/*/b", "a/", "/a", "a b", " *", "a/*\n"]
        {
            assert_eq!(Scope::parse(bad), Err(PolicyError::Scope), "{bad:?}");
        }
    }
}
