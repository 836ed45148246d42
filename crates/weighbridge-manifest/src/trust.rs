//! From a received note to a head that may be believed.
//!
//! The order of checks is that of `spec/trust.md` (rule 8): signatures, grammar, expectation, scope, dates, threshold,
//! time, memory.

use alloc::{string::String, vec::Vec};

use weighbridge_tree::{HeadId, head_id};

use crate::{
    head::Head,
    key::{KeyName, PublicKey, Vkey},
    memory::{Remembered, leads_on},
    name::ModelName,
    note::{Note, NoteError, NoteSignature},
    policy::{TrustPolicy, TrustedKey, distinct},
    time::Time,
    trust_error::{Shortage, TrustError},
};

/// A note that is well-formed and not yet believed. Its text cannot be read; only [`verify`](Self::verify) gives it out.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedHead {
    note: Note,
}

/// A head that satisfied a policy and an expectation.
///
/// # Guarantee
/// Trusted keys, in sufficient number, signed exactly [`text`](Self::text), or its id was accepted as it is.
///
/// # Non-guarantee
/// It says nothing about bytes of the model, and `created` is the publisher's word.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedHead {
    id: HeadId,
    text: String,
    head: Head,
    signers: Vec<Signer>,
    freshness: Freshness,
    lines: Vec<NoteSignature>,
}

/// A key whose signature counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name under which it signed; of several the one that the policy has first.
    pub name: KeyName,
    /// The key.
    pub key: PublicKey,
}

/// Whether a verified head is still good at the caller's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Freshness {
    /// It does not expire, or not yet.
    Current,
    /// It expired, and the caller chose to go on.
    Expired {
        /// When it did.
        at: Time,
    },
    /// It expires, the caller knows no time, and chose to go on.
    Unknown {
        /// When it expires.
        at: Time,
    },
}

/// Which head the caller wants, and what it remembers.
///
/// A mirror can serve another model by the same publisher, or an older revision; only the caller knows better.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Expectation {
    name: Option<ModelName>,
    head: Option<HeadId>,
    min_revision: Option<u64>,
    remembered: Vec<Remembered>,
    allow_expired: bool,
}

impl Expectation {
    /// Any model that the policy covers. The caller has to look at the name itself.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only the model of this name.
    pub fn named(mut self, name: ModelName) -> Self {
        self.name = Some(name);
        self
    }

    /// Only this head. Memory is then not asked: the caller chose the revision.
    pub fn head(mut self, id: HeadId) -> Self {
        self.head = Some(id);
        self
    }

    /// No earlier revision than this.
    pub fn min_revision(mut self, revision: u64) -> Self {
        self.min_revision = Some(revision);
        self
    }

    /// Nothing that leads back or aside from this head, nor from those that were named so before.
    pub fn remembering(mut self, remembered: Remembered) -> Self {
        self.remembered.push(remembered);
        self
    }

    /// Go on with a head that has expired, or expires while the time is unknown; [`VerifiedHead::freshness`] says so.
    pub fn allow_expired(mut self) -> Self {
        self.allow_expired = true;
        self
    }
}

impl SignedHead {
    /// Takes a received note apart.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// The names and key ids of the signature lines: claims that help to find keys.
    pub fn key_ids(&self) -> impl Iterator<Item = (&KeyName, [u8; 4])> {
        self.note.signatures().iter().map(|s| (s.name(), s.id()))
    }

    /// Decides whether this is the head that the caller wants, signed as its policy demands.
    ///
    /// `now` is the caller's time, `None` if it knows none.
    ///
    /// # Errors
    /// [`TrustError`], the first in the order of `spec/trust.md`.
    ///
    /// # Cost
    /// One Ed25519 check for each signature line whose key the policy knows; at most 100.
    pub fn verify(
        self,
        policy: &TrustPolicy,
        expected: &Expectation,
        now: Option<Time>,
    ) -> Result<VerifiedHead, TrustError> {
        let signed = signed_by(&self.note, &policy.publisher_keys(), |key| policy.is_revoked(key));
        if let Some(name) = signed.bad {
            return Err(TrustError::BadSignature { name: name.clone() });
        }
        let text = self.note.text();
        let head = Head::parse(text).map_err(TrustError::Head)?;
        let id = head_id(text.as_bytes());
        expected.fits(&head, &id)?;
        let signers = believed(policy, &signed, &head, &id)?;
        let freshness = expected.freshness(&head, now)?;
        if expected.head.is_none() {
            leads_on(&expected.remembered, &head, &id)?;
        }
        let lines = signed.good.iter().map(|(line, _)| (*line).clone()).collect();
        Ok(VerifiedHead { id, text: text.into(), head, signers, freshness, lines })
    }
}

/// The signature lines of a note that verified, in their order, and by which key.
pub(crate) struct Signed<'n, 'p> {
    pub(crate) good: Vec<(&'n NoteSignature, &'p Vkey)>,
    /// The name on the first line that claims to be by a known key that is not revoked, and is not.
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

/// Which of the known keys signed the note.
pub(crate) fn signed_by<'n, 'p>(
    note: &'n Note,
    known: &(impl Iterator<Item = &'p Vkey> + Clone),
    is_revoked: impl Fn(&PublicKey) -> bool,
) -> Signed<'n, 'p> {
    let text = note.text().as_bytes();
    let mut signed = Signed { good: Vec::new(), bad: None };
    for (number, line) in note.signatures().iter().enumerate() {
        // Nobody but the signer makes a second good line, and anybody repeats one (rule 12).
        if note.signatures().iter().take(number).any(|before| before == line) {
            continue;
        }
        let mut bad = false;
        // The same key may stand in a policy more than once; each is checked once (rule 12).
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

/// Those of `keys` that signed and count at this time, in their order; a key under several names by the first of them.
///
/// The order of signature lines is that of whoever served the note, and decides nothing.
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

/// Who of the deciding publisher signed, if that is enough.
pub(crate) fn believed(
    policy: &TrustPolicy,
    signed: &Signed<'_, '_>,
    head: &Head,
    id: &HeadId,
) -> Result<Vec<Signer>, TrustError> {
    let accepted = policy.accepts(id);
    let Some(publisher) = policy.publisher_of(&head.name) else {
        return if accepted {
            Ok(Vec::new())
        } else {
            Err(TrustError::OutOfScope { name: head.name.clone() })
        };
    };
    let counted = counting(&publisher.keys, signed, head.created, |key| policy.is_revoked(key));
    let need = publisher.threshold;
    let have = distinct(counted.iter().map(|key| key.public_key()));
    if !accepted && have < need {
        let listed = || publisher.keys.iter().map(|key| &key.vkey).filter(|key| signed.has(key));
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
        return Err(TrustError::NotEnough { why, have, need });
    }
    let signer = |key: &Vkey| Signer { name: key.name().clone(), key: *key.public_key() };
    Ok(counted.into_iter().map(signer).collect())
}

impl Expectation {
    fn fits(&self, head: &Head, id: &HeadId) -> Result<(), TrustError> {
        if let Some(wanted) = &self.name
            && *wanted != head.name
        {
            return Err(TrustError::OtherModel { found: head.name.clone(), wanted: wanted.clone() });
        }
        if let Some(wanted) = self.head
            && wanted != *id
        {
            return Err(TrustError::OtherHead { found: *id, wanted });
        }
        match self.min_revision {
            Some(least) if head.revision < least => {
                Err(TrustError::OldRevision { found: head.revision, least })
            }
            _ => Ok(()),
        }
    }

    fn freshness(&self, head: &Head, now: Option<Time>) -> Result<Freshness, TrustError> {
        if let Some(now) = now
            && head.created.seconds_after(now) > MAX_AHEAD
        {
            return Err(TrustError::FromTheFuture { created: head.created, now });
        }
        let (freshness, refusal) = match (head.expires, now) {
            (Some(at), Some(now)) if at <= now => (Freshness::Expired { at }, TrustError::Expired { at }),
            (Some(at), None) => (Freshness::Unknown { at }, TrustError::TimeUnknown { expires: at }),
            _ => return Ok(Freshness::Current),
        };
        if self.allow_expired { Ok(freshness) } else { Err(refusal) }
    }
}

impl VerifiedHead {
    /// The identity of this release.
    pub fn id(&self) -> HeadId {
        self.id
    }

    /// What it says.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The text exactly as it was signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys that counted, each once, in the order of the policy; may be empty for a head that was accepted by its id.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// Whether it is still good.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// The signature lines that verified under keys of the policy, revoked ones too, in the order of the note.
    pub(crate) fn lines(&self) -> &[NoteSignature] {
        &self.lines
    }
}

/// How far a signed time may lie ahead of now, in seconds: clocks differ, heads are not from next week.
pub(crate) const MAX_AHEAD: i64 = 86_400;
