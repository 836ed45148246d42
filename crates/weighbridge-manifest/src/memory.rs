//! The memory of accepted heads, which prevents rollbacks and forks (`spec/trust.md`, memory).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::fmt;

use weighbridge_tree::{Coded, ErrorCode, HeadId, head_id};

use crate::{
    belief::{Belief, believed, counting, signed_by},
    entry::Sha256,
    head::Head,
    key::KeyName,
    name::ModelName,
    note::{MAX_NOTE, MAX_SIGNATURES, Note, NoteSignature},
    policy::{TrustPolicy, distinct},
    publisher::Role,
    shown::shown,
    trust::VerifiedHead,
    trust_error::TrustError,
};

/// The notes of accepted heads, by model name. A model can have several, of its publisher and of its importer too. A
/// verifier keeps this memory from one run to the next.
///
/// # Guarantee
/// Only [`accept`](Self::accept) changes the notes. It removes no note on which a policy with other keys may rely. From
/// a source's note it adds only lines that verified.
///
/// # Non-guarantee
/// The memory is not believed by itself: each policy judges the notes anew. Anyone who can write to the memory's
/// storage can remove notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    names: BTreeMap<ModelName, Notes>,
}

/// The notes of one model, by the SHA-256 of their bytes.
type Notes = BTreeMap<[u8; 32], RememberedNote>;

/// A head that was accepted before and that the current policy believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    name: ModelName,
    revision: u64,
    id: HeadId,
    role: Role,
}

impl Remembered {
    /// The name of the model.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.name
    }

    /// The revision of the model.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The id of the head.
    pub fn id(&self) -> HeadId {
        self.id
    }

    /// The role of the policy's entry that believes the head, or would believe it if its keys were not revoked.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

impl Memory {
    /// Makes a memory of these notes, in the form that [`notes`](Self::notes) returns.
    ///
    /// # Errors
    /// [`MemoryError::Note`] if a note is malformed.
    pub fn from_notes<N: AsRef<str>>(notes: impl IntoIterator<Item = N>) -> Result<Self, MemoryError> {
        let mut memory = Self::default();
        for note in notes {
            memory.add(RememberedNote::parse(note.as_ref()).map_err(MemoryError::Note)?);
        }
        Ok(memory)
    }

    /// All notes, by name. A head that was accepted by its id can have a note without signature lines, which ends with
    /// the empty line.
    pub fn notes(&self) -> impl Iterator<Item = (&ModelName, String)> {
        self.names.iter().flat_map(|(name, notes)| notes.values().map(move |note| (name, note.to_note())))
    }

    pub(crate) fn add(&mut self, note: RememberedNote) {
        self.names.entry(note.head.name.clone()).or_default().insert(note.sha256().0, note);
    }

    /// The remembered heads of a name that this policy believes, for
    /// [`Expectation::remembering`](crate::Expectation::remembering).
    ///
    /// # Errors
    /// [`MemoryError::BadSignature`].
    ///
    /// # Cost
    /// The same as that of [`SignedHead::verify`](crate::SignedHead::verify), for each note of the name.
    pub fn recall(&self, name: &ModelName, policy: &TrustPolicy) -> Result<Vec<Remembered>, MemoryError> {
        let mut believed = Vec::new();
        for note in self.names.get(name).into_iter().flat_map(BTreeMap::values) {
            if let Standing::Believed(role) = note.standing(policy)? {
                believed.push(note.remembered(role));
            }
        }
        Ok(believed)
    }

    /// Compares a head with the remembered heads of its name that the policy's entry of the same role believes, and
    /// remembers it. `policy` must be the policy that believed the head. Returns the heads that were forgotten, because
    /// only keys signed them that the policy revokes. Tell the user about these.
    ///
    /// Do not call this if the caller chose the head by its id: such a choice may go back to an older revision on
    /// purpose.
    ///
    /// # Errors
    /// [`MemoryError`]: the memory is unchanged, and the head must not be used.
    ///
    /// # Cost
    /// The same as that of [`recall`](Self::recall).
    pub fn accept(
        &mut self,
        head: &VerifiedHead,
        policy: &TrustPolicy,
    ) -> Result<Vec<Remembered>, MemoryError> {
        let name = &head.head().name;
        let notes = self.names.get(name).into_iter().flat_map(BTreeMap::values);
        let judged: Vec<(&RememberedNote, Standing)> =
            notes.map(|note| Ok((note, note.standing(policy)?))).collect::<Result<_, MemoryError>>()?;
        let role = head.role();
        let by_entry = judged.iter().filter(|(_, standing)| *standing == Standing::Believed(role));
        let by_entry: Vec<Remembered> = by_entry.map(|(note, _)| note.remembered(role)).collect();
        leads_on(&by_entry, role, head.head(), &head.id()).map_err(MemoryError::Trust)?;

        let (same, others): (Vec<_>, Vec<_>) = judged.into_iter().partition(|(note, _)| note.id == head.id());
        let Merged { new, mut kept } = merge(head, same.into_iter().map(|(note, _)| note));
        let mut forgotten = Vec::new();
        for (note, standing) in others {
            let is_covered = || new.iter().any(|new| note.labels().is_subset(&new.labels()));
            match standing {
                // Another entry's revisions are counted apart.
                Standing::Believed(by) if by == role && is_covered() => {}
                Standing::Forgotten(by) => forgotten.push(note.remembered(by)),
                Standing::Believed(_) | Standing::Foreign => kept.push(note.clone()),
            }
        }
        self.names.remove(name);
        new.into_iter().chain(kept).for_each(|note| self.add(note));
        Ok(forgotten)
    }
}

/// Step 7 of the verdict: refuses a head that is a rollback or a fork relative to the remembered heads that an entry of
/// the same role believes. Publisher and importer each count their own revisions.
pub(crate) fn leads_on(
    remembered: &[Remembered],
    role: Role,
    head: &Head,
    id: &HeadId,
) -> Result<(), TrustError> {
    let of_entry = || remembered.iter().filter(|before| before.name == head.name && before.role == role);
    if let Some(last) = of_entry().max_by_key(|before| before.revision)
        && head.revision < last.revision
    {
        return Err(TrustError::Rollback { found: head.revision, remembered: last.revision });
    }
    for before in of_entry() {
        let same = head.revision == before.revision && *id != before.id;
        let next = before.revision.checked_add(1) == Some(head.revision) && head.previous != Some(before.id);
        if same || next {
            return Err(TrustError::Fork { revision: head.revision, remembered: before.id });
        }
    }
    Ok(())
}

/// A note that was accepted. Its signature lines verified at that time. It may have no signature lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RememberedNote {
    pub(crate) head: Head,
    id: HeadId,
    note: Note,
}

/// The verdict of a policy on a remembered note.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// An entry of this role believes the note.
    Believed(Role),
    /// An entry of this role would believe the note if no key were revoked, and only revoked keys signed the note.
    Forgotten(Role),
    /// The note means nothing to this policy, but may mean something to another policy.
    Foreign,
}

impl RememberedNote {
    pub(crate) fn parse(note: &str) -> Result<Self, NoteFault> {
        let note = match note.strip_suffix('\n') {
            Some(text) if text.ends_with('\n') => Note::of(text, Vec::new()),
            _ => Note::parse(note.as_bytes()).map_err(|_| NoteFault::Malformed)?,
        };
        let head = Head::parse(note.text()).map_err(|_| NoteFault::NoHead)?;
        Ok(Self { head, id: head_id(note.text().as_bytes()), note })
    }

    fn to_note(&self) -> String {
        let mut note = format!("{}\n", self.note.text());
        for line in self.note.signatures() {
            note.push_str(&format!("{line}\n"));
        }
        note
    }

    pub(crate) fn sha256(&self) -> Sha256 {
        sha256(&self.to_note())
    }

    fn remembered(&self, role: Role) -> Remembered {
        Remembered { name: self.head.name.clone(), revision: self.head.revision, id: self.id, role }
    }

    /// The names and ids that distinguish the keys of the note's signature lines.
    fn labels(&self) -> BTreeSet<(&KeyName, [u8; 4])> {
        self.note.signatures().iter().map(label).collect()
    }

    fn standing(&self, policy: &TrustPolicy) -> Result<Standing, MemoryError> {
        let signed = signed_by(&self.note, &policy.publisher_keys(), |_| false);
        if let Some(key) = signed.bad {
            return Err(MemoryError::BadSignature { model: self.head.name.clone(), key: key.clone() });
        }
        if let Ok(Belief { role, .. }) = believed(policy, &signed, &self.head, &self.id) {
            return Ok(Standing::Believed(role));
        }
        let of_revoked = signed.good.iter().filter(|(_, key)| policy.is_revoked(key.public_key()));
        let by_revoked: BTreeSet<_> = of_revoked.map(|(line, _)| label(line)).collect();
        let would_believe = policy.entries_of(&self.head.name).find(|entry| {
            let counting = counting(&entry.keys, &signed, self.head.created, |_| false);
            distinct(counting.iter().map(|key| key.public_key())) >= entry.threshold
        });
        Ok(match would_believe {
            Some(entry) if self.labels() == by_revoked => Standing::Forgotten(entry.role),
            _ => Standing::Foreign,
        })
    }
}

fn label(line: &NoteSignature) -> (&KeyName, [u8; 4]) {
    (line.name(), line.id())
}

pub(crate) fn sha256(note: &str) -> Sha256 {
    Sha256::of(note.as_bytes())
}

/// The notes to be remembered for the accepted head.
struct Merged {
    /// One note with all lines, or two notes if one note has no room for them.
    new: Vec<RememberedNote>,
    /// Notes of the same head that the limits of a note keep apart.
    kept: Vec<RememberedNote>,
}

/// Unites the remembered lines of a head with the lines that verified now.
fn merge<'m>(head: &VerifiedHead, same: impl Iterator<Item = &'m RememberedNote>) -> Merged {
    let note_of = |lines| RememberedNote {
        head: head.head().clone(),
        id: head.id(),
        note: Note::of(head.text(), lines),
    };
    let fits = |lines: &[NoteSignature]| {
        lines.len() <= MAX_SIGNATURES && note_of(lines.to_vec()).to_note().len() <= MAX_NOTE
    };
    let (mut lines, mut kept) = (Vec::new(), Vec::new());
    for note in same {
        let new = note.note.signatures().iter().filter(|line| !lines.contains(*line));
        let more: Vec<_> = lines.iter().chain(new).cloned().collect();
        if fits(&more) {
            lines = more;
        } else {
            kept.push(note.clone());
        }
    }
    // Keep one line per key: its owner could make any number of them.
    let mut served: Vec<NoteSignature> = Vec::new();
    for line in head.lines() {
        if !served.iter().any(|other| label(other) == label(line)) {
            served.push(line.clone());
        }
    }
    let new = served.iter().filter(|line| !lines.iter().any(|other| label(other) == label(line)));
    let more: Vec<_> = lines.iter().chain(new).cloned().collect();
    let new = if fits(&more) {
        [more].into_iter().map(note_of).collect()
    } else {
        [lines, served].into_iter().map(note_of).collect()
    };
    Merged { new, kept }
}

/// The reason why the memory was not read, or why it refuses a head.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The file is not JSON in the form of `spec/trust.md`, or a name occurs twice.
    Form {
        /// The line, counted from 1.
        line: usize,
        /// The column in the line, counted from 1.
        column: usize,
    },
    /// A note is malformed.
    Note(NoteFault),
    /// A line of a remembered note claims to be by a key of the policy, but is not. It verified when it was remembered.
    BadSignature {
        /// The note's model.
        model: ModelName,
        /// The key's name.
        key: KeyName,
    },
    /// The head is a rollback or a fork. The memory itself is good.
    Trust(TrustError),
}

/// The fault of a remembered note.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteFault {
    /// The note's key in the file is not the note's SHA-256.
    Sha256,
    /// The text is not a note, with or without signature lines.
    Malformed,
    /// The note's text is not a head.
    NoHead,
    /// The note is filed under another name than its head's.
    OtherName,
}

impl Coded for MemoryError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Form { .. } | Self::Note(_) | Self::BadSignature { .. } => ErrorCode::STATE_FILE_MALFORMED,
            Self::Trust(error) => error.error_code(),
        }
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { line, column } => write!(f, "line {line}, column {column} is not of its form"),
            Self::Note(fault) => fault.fmt(f),
            Self::BadSignature { model, key } => {
                let key = shown(key.as_str());
                write!(f, "of '{model}', a signature by '{key}' that verified once does not verify")
            }
            Self::Trust(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for NoteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "a note does not stand under its SHA-256",
            Self::Malformed => "a note is malformed",
            Self::NoHead => "a note's text is no head",
            Self::OtherName => "a note stands under another name than its head's",
        })
    }
}

impl core::error::Error for MemoryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Trust(error) => Some(error),
            _ => None,
        }
    }
}
