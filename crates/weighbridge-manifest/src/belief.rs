//! Which signatures of a note are good, which of their keys count, and whether these are enough (`spec/trust.md`, steps 2
//! and 5 of the verdict).

use alloc::vec::Vec;

use weighbridge_tree::HeadId;

use crate::{
    head::Head,
    key::{KeyName, PublicKey, Vkey},
    note::{Note, NoteSignature},
    policy::{TrustPolicy, distinct},
    publisher::{Publisher, Role, TrustedKey},
    time::Time,
    trust_error::{Shortage, TrustError},
};

/// A key whose signature counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name under which the key signed. If it signed under several, this is the one that comes first in the policy.
    pub name: KeyName,
    /// The key.
    pub key: PublicKey,
}

/// The signature lines of a note that verified, in their order, each with its key.
pub(crate) struct Signed<'n, 'p> {
    pub(crate) good: Vec<(&'n NoteSignature, &'p Vkey)>,
    /// The name on the first line that claims a known key that is not revoked, but is not by that key.
    pub(crate) bad: Option<&'n KeyName>,
}

impl<'n, 'p> Signed<'n, 'p> {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'p Vkey> {
        self.good.iter().map(|(_, key)| *key)
    }

    fn has(&self, key: &Vkey) -> bool {
        self.keys().any(|other| other == key)
    }
}

/// Finds the known keys that signed the note.
pub(crate) fn signed_by<'n, 'p>(
    note: &'n Note,
    known: &(impl Iterator<Item = &'p Vkey> + Clone),
    is_revoked: impl Fn(&PublicKey) -> bool,
) -> Signed<'n, 'p> {
    let text = note.text().as_bytes();
    let mut signed = Signed { good: Vec::new(), bad: None };
    for (number, line) in note.signatures().iter().enumerate() {
        // Only the signer can make a second valid line, but anybody can repeat a line (rule 12).
        if note.signatures().iter().take(number).any(|before| before == line) {
            continue;
        }
        let mut bad = false;
        // A policy may have the same key more than once. Check each key once (rule 12).
        let mut checked: Vec<&Vkey> = Vec::new();
        for key in known.clone().filter(|key| key.id() == line.id() && key.name() == line.name()) {
            if checked.contains(&key) {
                continue;
            }
            checked.push(key);
            if key.has_signed(text, line.signature()) {
                signed.good.push((line, key));
                bad = false;
                break;
            }
            bad |= !is_revoked(key.public_key());
        }
        if bad {
            signed.bad.get_or_insert(line.name());
        }
    }
    signed
}

/// The keys of `keys` that signed and count at this time, in their order. A key with several names counts under the
/// first.
///
/// The source that served the note chose the order of the signature lines, so that order decides nothing.
pub(crate) fn counting<'p>(
    keys: &'p [TrustedKey],
    signed: &Signed<'_, '_>,
    at: Time,
    is_revoked: impl Fn(&PublicKey) -> bool,
) -> Vec<&'p Vkey> {
    let mut counting: Vec<&Vkey> = Vec::new();
    for vkey in keys.iter().filter(|key| key.counts_at(at)).map(|key| &key.vkey) {
        let key = vkey.public_key();
        if signed.has(vkey) && !is_revoked(key) && !counting.iter().any(|other| other.public_key() == key) {
            counting.push(vkey);
        }
    }
    counting
}

/// The entry of a policy that believes a head, and the keys by which it does.
pub(crate) struct Belief {
    pub(crate) role: Role,
    pub(crate) signers: Vec<Signer>,
}

/// Step 5 of the verdict: finds the entry that believes the head, the publisher's before the importer's.
pub(crate) fn believed(
    policy: &TrustPolicy,
    signed: &Signed<'_, '_>,
    head: &Head,
    id: &HeadId,
) -> Result<Belief, TrustError> {
    let mut of_publisher = Vec::new();
    let mut refusal = None;
    for entry in policy.entries_of(&head.name) {
        let counted = counting(&entry.keys, signed, head.created, |key| policy.is_revoked(key));
        let signer = |key: &&Vkey| Signer { name: key.name().clone(), key: *key.public_key() };
        let signers = counted.iter().map(signer).collect();
        if distinct(counted.iter().map(|key| key.public_key())) >= entry.threshold {
            return Ok(Belief { role: entry.role, signers });
        }
        if entry.role == Role::Publisher {
            of_publisher = signers;
        }
        // The importer's shortage is reported only if the publisher has nothing to do with the head.
        if matches!(refusal, None | Some(TrustError::NotEnough { why: Shortage::NobodyKnown, .. })) {
            refusal = Some(shortage(policy, entry, signed, &counted));
        }
    }
    if policy.accepts(id) {
        return Ok(Belief { role: Role::Publisher, signers: of_publisher });
    }
    Err(refusal.unwrap_or_else(|| TrustError::OutOfScope { name: head.name.clone() }))
}

/// The reason why the keys that count are fewer than the entry demands.
fn shortage(
    policy: &TrustPolicy,
    entry: &Publisher,
    signed: &Signed<'_, '_>,
    counted: &[&Vkey],
) -> TrustError {
    let need = entry.threshold;
    let listed = || entry.keys.iter().map(|key| &key.vkey).filter(|key| signed.has(key));
    let revoked = listed().filter(|key| policy.is_revoked(key.public_key()));
    let with_revoked = distinct(counted.iter().copied().chain(revoked).map(Vkey::public_key));
    let with_all = distinct(listed().map(Vkey::public_key));
    let why = if with_revoked >= need {
        Shortage::Revoked
    } else if with_all >= need {
        Shortage::OutOfDate
    } else if with_all == 0 {
        Shortage::NobodyKnown
    } else {
        Shortage::TooFew
    };
    TrustError::NotEnough { why, have: distinct(counted.iter().map(|key| key.public_key())), need }
}
