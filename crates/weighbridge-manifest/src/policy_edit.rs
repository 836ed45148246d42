//! Changes of a policy. Each makes a new policy, and leaves the old one as it is.

use alloc::{vec, vec::Vec};

use crate::{
    key::{KeyName, Vkey},
    policy::TrustPolicy,
    policy_error::PolicyError,
    publisher::{Publisher, Role, Scope, TrustedKey},
};

impl TrustPolicy {
    /// Adds a key to the entry of this scope and role, which keeps its threshold. Without such an entry, makes one of this
    /// key alone. A key that the entry has already gets the new dates.
    ///
    /// # Non-guarantee
    /// A new entry takes the names of its scope away from an entry of a wider one; [`shadowed`](Self::shadowed) tells from
    /// which.
    ///
    /// # Errors
    /// [`PolicyError`] if the key's dates leave no time at which it counts.
    pub fn with_key(&self, scope: Scope, role: Role, key: TrustedKey) -> Result<Self, PolicyError> {
        let mut publishers = self.publishers().to_vec();
        let entry = publishers.iter_mut().find(|entry| entry.scope == scope && entry.role == role);
        match entry {
            None => publishers.push(Publisher { scope, role, threshold: 1, keys: vec![key] }),
            Some(Publisher { keys, .. }) => match keys.iter_mut().find(|known| known.vkey == key.vkey) {
                Some(known) => *known = key,
                None => keys.push(key),
            },
        }
        self.of_publishers(publishers)
    }

    /// Like [`with_key`](Self::with_key), but the key is the only one of its entry.
    ///
    /// # Errors
    /// Those of [`with_key`](Self::with_key).
    pub fn with_key_alone(&self, scope: Scope, role: Role, key: TrustedKey) -> Result<Self, PolicyError> {
        let mut publishers = self.publishers().to_vec();
        let new = Publisher { scope, role, threshold: 1, keys: vec![key] };
        match publishers.iter_mut().find(|entry| entry.scope == new.scope && entry.role == role) {
            Some(entry) => *entry = new,
            None => publishers.push(new),
        }
        self.of_publishers(publishers)
    }

    /// The entry of the same role that decides so far about names of this scope, if it is stricter than a new entry of this
    /// key alone: if it refuses heads that the new one would believe. `None` if the scope has an entry of this role
    /// already, because that one takes the key in.
    #[must_use]
    pub fn shadowed(&self, scope: &Scope, role: Role, key: &TrustedKey) -> Option<&Publisher> {
        let of_role = || self.publishers().iter().filter(|entry| entry.role == role);
        if of_role().any(|entry| entry.scope == *scope) {
            return None;
        }
        let wider = of_role().filter(|entry| entry.scope.contains(scope));
        let decides = wider.max_by_key(|entry| entry.scope.closeness())?;
        let believes_as_much = decides.threshold == 1 && decides.keys.iter().any(|known| known.covers(key));
        (!believes_as_much).then_some(decides)
    }

    /// Removes the keys of this name from all publishers. A publisher without keys goes too; auditors and revoked keys
    /// stay.
    ///
    /// # Errors
    /// [`PolicyError`] if the policy would trust nobody, or a publisher's threshold could not be reached any more.
    pub fn without_keys_of(&self, name: &KeyName) -> Result<Self, PolicyError> {
        let mut publishers = self.publishers().to_vec();
        for entry in &mut publishers {
            entry.keys.retain(|key| key.vkey.name() != name);
        }
        publishers.retain(|entry| !entry.keys.is_empty());
        self.of_publishers(publishers)
    }

    /// Revokes a key, which then never counts, under any name.
    #[must_use]
    pub fn revoking(&self, vkey: Vkey) -> Self {
        let mut revoked = self.revoked().to_vec();
        if !revoked.contains(&vkey) {
            revoked.push(vkey);
        }
        self.of_revoked(revoked)
    }

    /// The keys of this name, of publishers and of auditors, each once.
    #[must_use]
    pub fn keys_of(&self, name: &KeyName) -> Vec<&Vkey> {
        let auditors = self.auditors().map(|auditors| auditors.keys.as_slice()).unwrap_or_default();
        let publishers = self.publishers().iter().flat_map(|entry| &entry.keys);
        let mut keys: Vec<&Vkey> = Vec::new();
        for key in publishers.chain(auditors) {
            if key.vkey.name() == name && !keys.contains(&&key.vkey) {
                keys.push(&key.vkey);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use alloc::string::{String, ToString as _};
    use weighbridge_tree::Coded as _;

    const ALICE: &str = "alice+de76a46f+ATCFBfp91mdpKy2bOk6+lUsJ81iWG36v5SfvrGMHvb+S";
    const BOB: &str = "bob+463458b4+AaM6g3B1fK4JeE6Sq8ul2YGKiuqicQ2EdMHssnxFRWgr";

    fn key(line: &str) -> TrustedKey {
        Vkey::parse(line).unwrap().into()
    }

    fn dated(line: &str, from: Option<i64>, until: Option<i64>) -> TrustedKey {
        let time = |seconds: Option<i64>| seconds.and_then(Time::from_unix);
        TrustedKey { from: time(from), until: time(until), ..key(line) }
    }

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    /// A policy with these entries of one key each, added one after the other.
    fn of(entries: &[(&str, Role, &str)]) -> TrustPolicy {
        let [(first_scope, role, line), rest @ ..] = entries else { panic!("no entry") };
        let first = Publisher { scope: scope(first_scope), role: *role, threshold: 1, keys: vec![key(line)] };
        let policy = TrustPolicy::new(vec![first], Vec::new(), Vec::new()).unwrap();
        rest.iter().fold(policy, |policy, (text, role, line)| {
            policy.with_key(scope(text), *role, key(line)).unwrap()
        })
    }

    /// The entries, as scope, role, threshold and names of keys.
    fn entries(policy: &TrustPolicy) -> Vec<(String, Role, usize, Vec<&str>)> {
        policy
            .publishers()
            .iter()
            .map(|entry| {
                let names = entry.keys.iter().map(|key| key.vkey.name().as_str()).collect();
                (entry.scope.to_string(), entry.role, entry.threshold, names)
            })
            .collect()
    }

    use Role::{Import, Publisher as Own};

    #[test]
    fn a_key_joins_the_entry_of_its_scope_and_role_or_makes_one() {
        let policy =
            of(&[("org/*", Own, ALICE), ("org/*", Own, BOB), ("org/*", Import, BOB), ("*", Own, BOB)]);
        let expected = [
            ("org/*".into(), Own, 1, vec!["alice", "bob"]),
            ("org/*".into(), Import, 1, vec!["bob"]),
            ("*".into(), Own, 1, vec!["bob"]),
        ];
        assert_eq!(entries(&policy), expected);
        let again = policy.with_key(scope("org/*"), Own, dated(ALICE, None, Some(9))).unwrap();
        assert_eq!(entries(&again), expected, "the key is there once, with new dates");
        assert_eq!(again.publishers()[0].keys[0].until, Time::from_unix(9));
        let out_of_order = policy.with_key(scope("x"), Own, dated(ALICE, Some(9), Some(9)));
        assert_eq!(out_of_order.unwrap_err().error_code().get(), 1606);
        let alone = policy.with_key_alone(scope("org/*"), Own, key(BOB)).unwrap();
        assert_eq!(entries(&alone)[0], ("org/*".into(), Own, 1, vec!["bob"]));
        assert_eq!(entries(&alone)[1..], expected[1..]);
    }

    #[test]
    fn an_entry_is_shadowed_if_it_is_wider_and_refuses_what_the_new_one_believes() {
        let shadowed = |policy: &TrustPolicy, text: &str, role, key: &TrustedKey| {
            policy.shadowed(&scope(text), role, key).map(|entry| entry.scope.to_string())
        };
        let policy = of(&[("*", Own, BOB), ("org/*", Own, ALICE), ("org/a/*", Import, ALICE)]);
        for (text, by) in [
            ("org/m", Some("org/*")),
            ("org/sub/*", Some("org/*")),
            ("orgs/*", Some("*")),
            ("orgs", Some("*")),
            ("org", Some("*")),
            ("*", None),
            ("org/*", None),
        ] {
            // Bob is believed under `*`, and alice is not.
            let line = if by == Some("*") { ALICE } else { BOB };
            assert_eq!(shadowed(&policy, text, Own, &key(line)).as_deref(), by, "{text}");
        }
        // The entry believes the key already.
        assert_eq!(shadowed(&policy, "org/m", Own, &key(ALICE)), None);
        assert_eq!(shadowed(&policy, "other/*", Own, &key(BOB)), None);
        // An importer takes nothing from a publisher, nor a publisher from an importer.
        assert_eq!(shadowed(&policy, "org/m", Import, &key(BOB)), None);
        assert_eq!(shadowed(&policy, "org/a/m", Import, &key(BOB)).as_deref(), Some("org/a/*"));
        // A threshold is stricter even where it names the key.
        let two =
            Publisher { threshold: 2, keys: vec![key(ALICE), key(BOB)], ..policy.publishers()[0].clone() };
        let two = TrustPolicy::new(vec![two], Vec::new(), Vec::new()).unwrap();
        assert_eq!(shadowed(&two, "org/m", Own, &key(ALICE)).as_deref(), Some("*"));
    }

    #[test]
    fn an_entry_with_narrower_dates_is_stricter() {
        let all = [None, Some(10), Some(20)];
        for (from, until) in all.iter().flat_map(|from| all.iter().map(move |until| (*from, *until))) {
            let policy = of(&[("x", Own, BOB)]).with_key(scope("*"), Own, dated(ALICE, from, until));
            let Ok(policy) = policy else { continue };
            for (new_from, new_until) in
                all.iter().flat_map(|from| all.iter().map(move |until| (*from, *until)))
            {
                let new = dated(ALICE, new_from, new_until);
                let Ok(new) = new.with_dates_in_order() else { continue };
                // Whether there is a time, before, between or after the dates, at which the new key counts alone.
                let counts_alone = [5, 10, 15, 20, 25]
                    .into_iter()
                    .filter_map(Time::from_unix)
                    .any(|time| new.counts_at(time) && !policy.publishers()[1].keys[0].counts_at(time));
                assert_eq!(policy.shadowed(&scope("org/m"), Own, &new).is_some(), counts_alone, "{new:?}");
            }
        }
    }

    #[test]
    fn a_removed_key_goes_everywhere_and_entries_without_keys_with_it() {
        let name = |text: &str| KeyName::parse(text).unwrap();
        let policy = of(&[("org/*", Own, ALICE), ("org/*", Own, BOB), ("a", Import, ALICE)]);
        assert_eq!(policy.keys_of(&name("alice")).len(), 1);
        let left = policy.without_keys_of(&name("alice")).unwrap();
        assert_eq!(entries(&left), [("org/*".into(), Own, 1, vec!["bob"])]);
        assert!(left.keys_of(&name("alice")).is_empty());
        assert_eq!(left.without_keys_of(&name("bob")).unwrap_err().error_code().get(), 1605);
        let two = Publisher { threshold: 2, ..policy.publishers()[0].clone() };
        let two = TrustPolicy::new(vec![two], Vec::new(), Vec::new()).unwrap();
        assert_eq!(two.without_keys_of(&name("bob")).unwrap_err().error_code().get(), 1604);
    }

    #[test]
    fn a_revoked_key_is_revoked_once_and_what_else_there_is_stays() {
        let policy = of(&[("org/*", Own, ALICE)]).with_auditors(1, vec![key(BOB)]).unwrap();
        let alice = Vkey::parse(ALICE).unwrap();
        let revoked = policy.revoking(alice.clone()).revoking(alice.clone());
        assert_eq!(revoked.revoked(), core::slice::from_ref(&alice));
        assert!(revoked.is_revoked(alice.public_key()) && revoked.auditors().is_some());
        assert_eq!(revoked.keys_of(&KeyName::parse("bob").unwrap()).len(), 1, "an auditor");
        let more = revoked.with_key(scope("b"), Own, key(BOB)).unwrap();
        assert!(more.is_revoked(alice.public_key()) && more.auditors().is_some());
    }
}
