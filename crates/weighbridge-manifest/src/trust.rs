//! Turns a received note into a believed head.
//!
//! The checks follow the order of `spec/trust.md` (rule 8): signatures, grammar, expectation, scope, dates, threshold,
//! time, memory.

use alloc::{string::String, vec::Vec};

use weighbridge_tree::{HeadId, head_id};

use crate::{
    belief::{Belief, Signer, believed, signed_by},
    head::Head,
    key::KeyName,
    memory::{Remembered, leads_on},
    name::ModelName,
    note::{Note, NoteError, NoteSignature},
    policy::TrustPolicy,
    publisher::Role,
    time::Time,
    trust_error::TrustError,
};

/// A note that is well-formed but not yet believed. Only [`verify`](Self::verify) gives access to its text.
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedHead {
    note: Note,
}

/// A head that satisfied a policy and an expectation.
///
/// # Guarantee
/// A sufficient number of trusted keys signed exactly [`text`](Self::text), or the policy accepted the head's id.
///
/// # Non-guarantee
/// The head says nothing about the model's bytes, and `created` is the publisher's statement.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedHead {
    id: HeadId,
    text: String,
    head: Head,
    role: Role,
    signers: Vec<Signer>,
    freshness: Freshness,
    lines: Vec<NoteSignature>,
}

/// The facts to report of an imported head. Its signers have imported the model; the publisher has not signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported<'a> {
    /// The places from which the importer says to have the model: the values of the head's `ext source` lines.
    pub from: Vec<&'a str>,
    /// The publisher, as far as a name tells: the first part of the model's name.
    pub not_signed_by: &'a str,
}

/// Whether a verified head is still good at the caller's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Freshness {
    /// The head never expires, or has not expired yet.
    Current,
    /// The head expired, and the caller allowed that.
    Expired {
        /// The time at which the head expired.
        at: Time,
    },
    /// The head expires, the caller does not know the time, and the caller allowed that.
    Unknown {
        /// The time at which the head expires.
        at: Time,
    },
}

/// The head that the caller wants, and the heads that the caller remembers.
///
/// A mirror can serve another model by the same publisher, or an older revision. Only the caller can detect that.
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
    /// Accepts any model that the policy covers. The caller has to check the name itself.
    pub fn any() -> Self {
        Self::default()
    }

    /// Accepts only the model of this name.
    pub fn named(mut self, name: ModelName) -> Self {
        self.name = Some(name);
        self
    }

    /// Accepts only this head. Then memory is not consulted, because the caller chose the revision.
    pub fn head(mut self, id: HeadId) -> Self {
        self.head = Some(id);
        self
    }

    /// Accepts no earlier revision than this.
    pub fn min_revision(mut self, revision: u64) -> Self {
        self.min_revision = Some(revision);
        self
    }

    /// Refuses a rollback or a fork relative to this head, and to the heads given before, if the policy's entry of the same
    /// role believes the head.
    pub fn remembering(mut self, remembered: Remembered) -> Self {
        self.remembered.push(remembered);
        self
    }

    /// Accepts a head that has expired, or that expires while the time is unknown. [`VerifiedHead::freshness`] tells
    /// which.
    pub fn allow_expired(mut self) -> Self {
        self.allow_expired = true;
        self
    }
}

impl SignedHead {
    /// Reads a received note.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not exactly one note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Note::parse(bytes).map(|note| Self { note })
    }

    /// The names and key ids of the signature lines. They are unverified claims that help to find keys.
    pub fn key_ids(&self) -> impl Iterator<Item = (&KeyName, [u8; 4])> {
        self.note.signatures().iter().map(|s| (s.name(), s.id()))
    }

    /// Decides whether this is the head that the caller wants, signed as the policy demands.
    ///
    /// `now` is the caller's time; `None` if the caller does not know the time.
    ///
    /// # Errors
    /// [`TrustError`], the first in the order of `spec/trust.md`.
    ///
    /// # Cost
    /// One Ed25519 check for each signature line whose key the policy knows; at most 100 checks.
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
        let Belief { role, signers } = believed(policy, &signed, &head, &id)?;
        let freshness = expected.freshness(&head, now)?;
        if expected.head.is_none() {
            leads_on(&expected.remembered, role, &head, &id)?;
        }
        let lines = signed.good.iter().map(|(line, _)| (*line).clone()).collect();
        Ok(VerifiedHead { id, text: text.into(), head, role, signers, freshness, lines })
    }
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
    /// The id of this release.
    pub fn id(&self) -> HeadId {
        self.id
    }

    /// The fields of the head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The text exactly as signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The role of the policy's entry that believed the head; the publisher's if the policy accepted the head's id.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The facts to report of an imported head together with its signers; `None` of a head that is not imported.
    #[must_use]
    pub fn imported(&self) -> Option<Imported<'_>> {
        (self.role == Role::Import).then(|| Imported {
            from: self
                .head
                .ext
                .iter()
                .filter(|ext| ext.key == "source")
                .map(|ext| ext.value.as_str())
                .collect(),
            not_signed_by: self.head.name.organisation(),
        })
    }

    /// The keys that counted, each once, in the order of the policy. May be empty for a head that was accepted by its
    /// id.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// Whether the head is still good.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// The signature lines that verified under keys of the policy, including revoked keys, in the order of the note.
    pub(crate) fn lines(&self) -> &[NoteSignature] {
        &self.lines
    }
}

/// The limit in seconds by which a signed time may be ahead of now. Clocks differ by less than a day.
pub(crate) const MAX_AHEAD: i64 = 86_400;
