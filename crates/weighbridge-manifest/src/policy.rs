//! Trust policies name the publishers and keys that are believed, per model. A policy comes from the caller, never from
//! the artifact (rule 9).

use alloc::{vec, vec::Vec};

use weighbridge_tree::HeadId;

use crate::{
    key::{PublicKey, Vkey},
    name::ModelName,
    policy_error::{PolicyError, PublisherFault},
    publisher::{Publisher, Role, Scope, TrustedKey},
};

/// A trust policy. It is made by [`new`](Self::new), from TOML, or for one purpose by [`any_of`](Self::any_of) and
/// [`pinned`](Self::pinned).
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    publishers: Vec<Publisher>,
    revoked: Vec<Vkey>,
    accepted_heads: Vec<HeadId>,
    auditors: Option<Auditors>,
}

/// The auditors whose reports count, and the number of reports required.
#[derive(Clone, Debug)]
pub(crate) struct Auditors {
    /// The required number of reports of distinct auditors and provers, at least 1.
    pub(crate) threshold: usize,
    pub(crate) keys: Vec<TrustedKey>,
}

impl TrustPolicy {
    /// Makes a policy. The public keys in `revoked` never count, under any name. Heads in `accepted_heads` are believed
    /// regardless of their signatures.
    ///
    /// # Errors
    /// [`PolicyError`] if the policy trusts nobody, if a publisher could never be satisfied, or if two publishers have
    /// the same scope and role.
    pub fn new(
        publishers: Vec<Publisher>,
        revoked: Vec<Vkey>,
        accepted_heads: Vec<HeadId>,
    ) -> Result<Self, PolicyError> {
        Self::of(publishers.into_iter().map(Ok), revoked, accepted_heads)
    }

    /// Makes a policy publisher by publisher, so that the error reports the first fault in their order.
    pub(crate) fn of(
        publishers: impl Iterator<Item = Result<Publisher, PublisherFault>>,
        revoked: Vec<Vkey>,
        accepted_heads: Vec<HeadId>,
    ) -> Result<Self, PolicyError> {
        let mut policy = Self { publishers: Vec::new(), revoked, accepted_heads, auditors: None };
        for (number, publisher) in (1..).zip(publishers) {
            let added = publisher.and_then(|publisher| policy.add(publisher));
            added.map_err(|fault| PolicyError::Publisher { number, fault })?;
        }
        if policy.publishers.is_empty() && policy.accepted_heads.is_empty() {
            return Err(PolicyError::TrustsNobody);
        }
        Ok(policy)
    }

    fn add(&mut self, publisher: Publisher) -> Result<(), PublisherFault> {
        let Publisher { scope, role, threshold, keys } = publisher;
        let keys = sufficient(threshold, keys)?;
        if self.publishers.iter().any(|other| other.scope == scope && other.role == role) {
            return Err(PublisherFault::SameScope);
        }
        self.publishers.push(Publisher { scope, role, threshold, keys });
        Ok(())
    }

    /// Adds the condition for calling a model held: reports by `threshold` of these auditors, about distinct provers.
    /// Replaces earlier auditors of the policy.
    ///
    /// # Non-guarantee
    /// Auditors never decide about heads, and publishers never decide about reports.
    ///
    /// # Errors
    /// [`PolicyError::Held`] if the threshold is 0 or could never be reached.
    pub fn with_auditors(self, threshold: usize, keys: Vec<TrustedKey>) -> Result<Self, PolicyError> {
        let keys = sufficient(threshold, keys).map_err(|fault| PolicyError::Held { fault })?;
        Ok(Self { auditors: Some(Auditors { threshold, keys }), ..self })
    }

    /// Makes a policy under which any one of these keys suffices, for every name.
    ///
    /// # Errors
    /// [`PolicyError::TrustsNobody`] if there are no keys.
    pub fn any_of(keys: Vec<Vkey>) -> Result<Self, PolicyError> {
        if keys.is_empty() {
            return Err(PolicyError::TrustsNobody);
        }
        let keys = keys.into_iter().map(TrustedKey::from).collect();
        let publisher = Publisher { scope: Scope::All, role: Role::Publisher, threshold: 1, keys };
        Self::new(vec![publisher], Vec::new(), Vec::new())
    }

    /// Makes a policy that believes this head alone, regardless of signatures. A chain or a deployment gave its id.
    #[must_use]
    pub fn pinned(head: HeadId) -> Self {
        Self { publishers: Vec::new(), revoked: Vec::new(), accepted_heads: vec![head], auditors: None }
    }

    /// The publisher of a name, then its importer, as far as it has them. Of each role, the scope that fits the name most
    /// closely decides.
    pub(crate) fn entries_of(&self, name: &ModelName) -> impl Iterator<Item = &Publisher> {
        let closest = |role| {
            let of_role = self.publishers.iter().filter(|entry| entry.role == role);
            of_role.filter_map(|entry| Some((entry.scope.fit(name)?, entry))).max_by_key(|(fit, _)| *fit)
        };
        let publisher = closest(Role::Publisher);
        // Otherwise a key that may import anything would get past the publisher of a narrower scope.
        let has_say = |fit: usize| publisher.is_none_or(|(least, _)| fit >= least);
        let importer = closest(Role::Import).filter(|(fit, _)| has_say(*fit));
        [publisher, importer].into_iter().flatten().map(|(_, entry)| entry)
    }

    /// The keys of all publishers, including revoked ones.
    pub(crate) fn publisher_keys(&self) -> impl Iterator<Item = &Vkey> + Clone {
        self.publishers.iter().flat_map(|p| &p.keys).map(|k| &k.vkey)
    }

    /// The condition for calling a model held; `None` if the policy has none.
    pub(crate) fn auditors(&self) -> Option<&Auditors> {
        self.auditors.as_ref()
    }

    pub(crate) fn is_revoked(&self, key: &PublicKey) -> bool {
        self.revoked.iter().any(|revoked| revoked.public_key() == key)
    }

    /// The entries, of publishers and importers, in the order in which they were given.
    #[must_use]
    pub fn publishers(&self) -> &[Publisher] {
        &self.publishers
    }

    /// The revoked keys.
    #[must_use]
    pub fn revoked(&self) -> &[Vkey] {
        &self.revoked
    }

    /// The ids of heads that are believed regardless of their signatures.
    pub fn accepted_heads(&self) -> &[HeadId] {
        &self.accepted_heads
    }

    /// The auditors; none if the policy does not say when a model is held.
    #[must_use]
    pub fn auditor_keys(&self) -> &[TrustedKey] {
        self.auditors.as_ref().map(|auditors| auditors.keys.as_slice()).unwrap_or_default()
    }

    /// This policy with other publishers.
    pub(crate) fn of_publishers(&self, publishers: Vec<Publisher>) -> Result<Self, PolicyError> {
        let policy = Self::new(publishers, self.revoked.clone(), self.accepted_heads.clone())?;
        Ok(Self { auditors: self.auditors.clone(), ..policy })
    }

    /// This policy with other revoked keys.
    pub(crate) fn of_revoked(&self, revoked: Vec<Vkey>) -> Self {
        Self { revoked, ..self.clone() }
    }

    pub(crate) fn accepts(&self, head: &HeadId) -> bool {
        self.accepted_heads.contains(head)
    }
}

/// Returns the keys if each of them can count and there are enough for the threshold.
fn sufficient(threshold: usize, keys: Vec<TrustedKey>) -> Result<Vec<TrustedKey>, PublisherFault> {
    let in_order = |(number, key): (usize, TrustedKey)| {
        key.with_dates_in_order().map_err(|fault| PublisherFault::Key { number, fault })
    };
    let keys = (1..).zip(keys).map(in_order).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(PublisherFault::NoKeys);
    }
    let count = distinct(keys.iter().map(|k| k.vkey.public_key()));
    if threshold == 0 || threshold > count {
        return Err(PublisherFault::Threshold { threshold, keys: count });
    }
    Ok(keys)
}

/// The number of different keys. Keys are counted only here, so that one key under two names is one key.
pub(crate) fn distinct<'a>(keys: impl Iterator<Item = &'a PublicKey>) -> usize {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::KeyName, time::Time};
    use weighbridge_tree::Coded as _;

    fn key() -> Vkey {
        Vkey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap()
    }

    fn publisher(scope: &str) -> Publisher {
        let scope = Scope::parse(scope).unwrap();
        Publisher { scope, role: Role::Publisher, threshold: 1, keys: vec![key().into()] }
    }

    fn fault(publishers: Vec<Publisher>) -> Option<(u16, usize)> {
        match TrustPolicy::new(publishers, Vec::new(), Vec::new()) {
            Err(error @ PolicyError::Publisher { number, .. }) => Some((error.error_code().get(), number)),
            Err(error) => Some((error.error_code().get(), 0)),
            Ok(_) => None,
        }
    }

    #[test]
    fn refuses_publishers_that_mean_nothing() {
        assert_eq!(fault(vec![publisher("*"), publisher("a"), publisher("a/*")]), None);
        assert_eq!(fault(Vec::new()), Some((1605, 0)));
        assert_eq!(
            fault(vec![publisher("*"), Publisher { keys: Vec::new(), ..publisher("a") }]),
            Some((1605, 2))
        );
        assert_eq!(fault(vec![Publisher { threshold: 0, ..publisher("a") }]), Some((1604, 1)));
        assert_eq!(fault(vec![Publisher { threshold: 2, ..publisher("a") }]), Some((1604, 1)));
        let twice = vec![
            key().into(),
            Vkey::new(KeyName::parse("other").unwrap(), key().public_key()).unwrap().into(),
        ];
        assert_eq!(fault(vec![Publisher { threshold: 2, keys: twice, ..publisher("a") }]), Some((1604, 1)));
        assert_eq!(fault(vec![publisher("a/*"), publisher("*"), publisher("a/*")]), Some((1602, 3)));
        let importer = |scope| Publisher { role: Role::Import, ..publisher(scope) };
        assert_eq!(fault(vec![publisher("a/*"), importer("a/*")]), None);
        assert_eq!(fault(vec![importer("a/*"), publisher("a/*"), importer("a/*")]), Some((1602, 3)));
        let time = |seconds| Time::from_unix(seconds);
        for (from, until, expected) in [(0, 1, None), (0, 0, Some((1606, 1))), (1, 0, Some((1606, 1)))] {
            let keys = vec![TrustedKey { vkey: key(), from: time(from), until: time(until) }];
            assert_eq!(fault(vec![Publisher { keys, ..publisher("a") }]), expected);
        }
    }

    #[test]
    fn trust_in_any_key_takes_one_and_a_pinned_head_takes_none() {
        assert_eq!(TrustPolicy::any_of(Vec::new()).err(), Some(PolicyError::TrustsNobody));
        let any = TrustPolicy::any_of(vec![key(), key()]).unwrap();
        let name = ModelName::parse("x/y").unwrap();
        let entries: Vec<_> = any.entries_of(&name).map(|entry| (entry.role, entry.threshold)).collect();
        assert_eq!(entries, [(Role::Publisher, 1)]);
        let id = HeadId::from_bytes([7; 32]);
        let pinned = TrustPolicy::pinned(id);
        assert!(pinned.accepts(&id) && !pinned.accepts(&HeadId::from_bytes([0; 32])));
        assert!(pinned.entries_of(&name).next().is_none());
        assert!(TrustPolicy::new(Vec::new(), Vec::new(), vec![id]).is_ok());
    }

    #[test]
    fn an_importer_has_a_say_where_no_publisher_has_a_longer_scope() {
        let [publishers, importers] = [Role::Publisher, Role::Import]
            .map(|role| ["*", "a/*", "a/b/*", "a/b/c"].map(|scope| Publisher { role, ..publisher(scope) }));
        let name = ModelName::parse("a/b/c").unwrap();
        // Each set of publishers with each set of importers; the scopes are in the order of their closeness.
        for (of_publishers, of_importers) in (0..16_u8).flat_map(|p| (0..16_u8).map(move |i| (p, i))) {
            let chosen = |all: &[Publisher], mask: u8| -> Vec<Publisher> {
                (0..).zip(all).filter(|(at, _)| mask >> at & 1 == 1).map(|(_, entry)| entry.clone()).collect()
            };
            let mut entries = chosen(&importers, of_importers);
            entries.extend(chosen(&publishers, of_publishers));
            let Ok(policy) = TrustPolicy::new(entries, Vec::new(), Vec::new()) else { continue };
            let [publisher, importer] = [of_publishers, of_importers].map(|mask| mask.checked_ilog2());
            let importer = importer.filter(|importer| publisher.is_none_or(|least| *importer >= least));
            let all = [(publisher, &publishers), (importer, &importers)];
            let expected: Vec<(Role, &Scope)> = all
                .iter()
                .filter_map(|(at, of)| at.map(|at| &of[at as usize]))
                .map(|entry| (entry.role, &entry.scope))
                .collect();
            let found: Vec<_> = policy.entries_of(&name).map(|entry| (entry.role, &entry.scope)).collect();
            assert_eq!(found, expected, "{of_publishers:04b} {of_importers:04b}");
        }
    }
}
