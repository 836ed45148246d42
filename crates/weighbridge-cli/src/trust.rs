//! Turns the caller's trust arguments into a verified head.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use weighbridge_manifest::{
    Expectation, Freshness, Imported, MAX_NOTE, Note, Remembered, SignedHead, Time, TrustPolicy,
    VerifiedHead, Vkey,
};
use weighbridge_publish::TEXT;
use weighbridge_store::{HEAD, IoError, Metadata, PARTIAL, read_bounded, shown_path};
use weighbridge_tree::{ErrorCode, head_id};

use crate::{
    args::{Trust, Which},
    events::common,
    failure::Failure,
    memory::{Kept, StateFile, Unaccepted},
    output::{Output, count, shown_names},
    user_policy::{self, Found},
};

/// The policy of a file.
pub(crate) fn policy_of(path: &Path) -> Result<TrustPolicy, Failure> {
    let bytes = fs::read(path).map_err(IoError::at("read", path))?;
    TrustPolicy::from_toml(bytes).map_err(|error| Failure::from(error).about(path))
}

impl Trust {
    /// The policy that the command line names, if any.
    pub(crate) fn policy(&self) -> Result<Option<TrustPolicy>, Failure> {
        if let Some(path) = &self.trust {
            return policy_of(path).map(Some);
        }
        if self.vkeys.is_empty() {
            return Ok(None);
        }
        let keys = self.vkeys.iter().map(|line| vkey(line)).collect::<Result<_, _>>()?;
        Ok(Some(TrustPolicy::any_of(keys)?))
    }
}

/// A public key from the command line: a vkey line, or else the path of a file with one.
pub(crate) fn vkey(line_or_file: &str) -> Result<Vkey, Failure> {
    let parse = |line: &str| Vkey::parse(line.trim_end_matches(['\r', '\n']));
    let path = Path::new(line_or_file);
    match parse(line_or_file) {
        Err(_) if path.is_file() => {
            // A text that is not UTF-8 is refused just as the replaced characters would be.
            let bytes = read_bounded(path, MAX_NOTE as u64)?;
            parse(&String::from_utf8_lossy(&bytes)).map_err(|error| Failure::from(error).about(path))
        }
        parsed => Ok(parsed?),
    }
}

/// The policy and the expectations that a head has to meet.
pub(crate) struct Demand<'a> {
    which: &'a Which,
    pub(crate) policy: TrustPolicy,
    pub(crate) expected: Expectation,
    pub(crate) now: Option<Time>,
    /// Whether the id of the head is all the trust that was given.
    pub(crate) is_by_id_alone: bool,
}

impl<'a> Demand<'a> {
    /// Prints which policy is in use if the command line names none.
    pub(crate) fn of(trust: &Trust, which: &'a Which, output: &Output) -> Result<Self, Failure> {
        let named = trust.policy()?;
        let is_by_id_alone = named.is_none() && which.head.is_some();
        let policy = match (named, which.head) {
            (Some(policy), _) => policy,
            (None, Some(head)) => TrustPolicy::pinned(head),
            (None, None) => {
                let found = Found::find()?.ok_or_else(no_trust)?;
                found.tell(output);
                found.policy
            }
        };
        let mut expected = Expectation::any();
        if let Some(name) = &which.name {
            expected = expected.named(name.clone());
        }
        if let Some(id) = which.head {
            expected = expected.head(id);
        }
        if let Some(revision) = which.min_revision {
            expected = expected.min_revision(revision);
        }
        if which.allow_expired {
            expected = expected.allow_expired();
        }
        Ok(Self { which, policy, expected, now: now(), is_by_id_alone })
    }

    /// The expectation for choosing one head among several. If the wanted name is known, remembered heads of that name
    /// are part of it. The state file is not kept locked: [`accept`](Self::accept) asks it again.
    pub(crate) fn beforehand(&self) -> Result<Expectation, Failure> {
        let expected = self.expected.clone();
        let (None, Some(name)) = (self.which.head, &self.which.name) else { return Ok(expected) };
        let remembered = StateFile::open(self.which.state.as_ref())?.recall(name, &self.policy)?;
        Ok(remembered.into_iter().fold(expected, Expectation::remembering))
    }

    /// Compares a believed head with the remembered heads of its name, and remembers it. `None` if memory was not
    /// asked.
    pub(crate) fn accept(&self, head: &VerifiedHead) -> Result<Option<Kept>, Unaccepted> {
        if self.which.head.is_some() {
            // The caller chose the head by its id, so memory has no say.
            return Ok(None);
        }
        // The lock is held until the head is remembered, so that two runs at once cannot replace a newer head by an
        // older one.
        StateFile::open(self.which.state.as_ref())?.accept(head, &self.policy).map(Some)
    }
}

impl Demand<'_> {
    /// Verifies a note, and remembers its head.
    pub(crate) fn believe(&self, note: &[u8], output: &Output) -> Result<VerifiedHead, Failure> {
        let head = SignedHead::parse(note)?.verify(&self.policy, &self.expected, self.now)?;
        // Memory is looked up only now, by a name that is believed.
        if let Some(kept) = self.accept(&head)? {
            kept.tell(output);
        }
        Ok(head)
    }
}

impl Kept {
    /// Prints which heads were forgotten, or that nothing is remembered.
    pub(crate) fn tell(&self, output: &Output) {
        match self {
            Self::No { trouble } => output.talk(&format!(
                "this head is not remembered, so an older one could be accepted later: {trouble}"
            )),
            Self::Yes { forgotten } => forgotten.iter().for_each(|head| tell_forgotten(head, output)),
        }
    }
}

fn tell_forgotten(head: &Remembered, output: &Output) {
    let (name, revision, id) = (head.name(), head.revision(), head.id());
    let text =
        format!("forgotten: {name} revision {revision}, head {id}: the keys that signed it are revoked");
    output.event(&text, || common::Forgotten { name: name.as_str(), revision, head: id.into() });
}

/// Verifies a note as the caller demands, and remembers its head.
pub(crate) fn believe(
    note: &[u8],
    trust: &Trust,
    which: &Which,
    output: &Output,
) -> Result<VerifiedHead, Failure> {
    Demand::of(trust, which, output)?.believe(note, output)
}

/// A head that is read without trust, only for its lists. For callers that pass the head on and let others judge it.
pub(crate) fn by_its_word(note: &[u8]) -> Result<VerifiedHead, Failure> {
    let id = head_id(Note::parse(note)?.text().as_bytes());
    // Others judge the expiry too.
    let expected = Expectation::any().allow_expired();
    Ok(SignedHead::parse(note)?.verify(&TrustPolicy::pinned(id), &expected, None)?)
}

pub(crate) fn no_trust() -> Failure {
    let hint = "pass the publisher's key with --vkey LINE, a policy with --trust FILE, or the head's id with --head ID";
    Failure::new(ErrorCode::NO_TRUST, "whom to trust was not said").hint(hint).hint(user_policy::advice())
}

/// The time, if the clock tells one.
pub(crate) fn now() -> Option<Time> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Time::from_unix(i64::try_from(since.as_secs()).ok()?)
}

/// The metadata of the model folder `path`, or in `path` itself.
///
/// Those of the model come first. A model may have its own files with the names of metadata files, and
/// these must not be taken for the model's metadata.
pub(crate) fn metadata(path: &Path) -> Metadata {
    let holds = |folder: &Path| [HEAD, TEXT].iter().any(|name| folder.join(name).exists());
    let of_model = Metadata::of_model(path);
    if holds(of_model.folder()) || !holds(path) { of_model } else { Metadata::at(path) }
}

/// The signed head's note, or a failure with the next step.
pub(crate) fn note(metadata: &Metadata) -> Result<Vec<u8>, Failure> {
    metadata.note().map_err(|error| {
        let failure = Failure::from(error);
        if metadata.folder().join(TEXT).exists() {
            failure.hint("this release is not signed yet: `weighbridge sign`")
        } else if metadata.folder().join(PARTIAL).is_dir() {
            failure.hint("a fetch was not finished here: go on with it, or see with --partial what is there")
        } else {
            failure.hint("name the folder that holds head.note with --meta; the publisher makes it with `weighbridge weigh`")
        }
    })
}

/// The reason why a head is believed, for people: its signers, and of an imported head what they are not.
pub(crate) fn by(head: &VerifiedHead) -> String {
    let signers: Vec<&str> = head.signers().iter().map(|signer| signer.name.as_str()).collect();
    let names = shown_names(&signers);
    match head.imported() {
        Some(Imported { from, not_signed_by }) => {
            let from = if from.is_empty() { String::new() } else { format!(" from {}", shown_names(&from)) };
            format!("imported by {names}{from}; not signed by {not_signed_by}")
        }
        None if signers.is_empty() => "accepted by its id".to_owned(),
        None => format!("signed by {names}"),
    }
}

/// Prints the name, revision and signers of a head.
pub(crate) fn print(head: &VerifiedHead, output: &Output) {
    let what = head.head();
    let signers: Vec<&str> = head.signers().iter().map(|s| s.name.as_str()).collect();
    let note = match head.freshness() {
        Freshness::Current => String::new(),
        Freshness::Expired { at } => format!(", EXPIRED at {at}"),
        Freshness::Unknown { at } => format!(", expires at {at}, and the time is not known"),
    };
    let text = format!("head     {} revision {}, {}{note}", what.name, what.revision, by(head));
    output.result(&text, || common::Head {
        name: what.name.as_str(),
        revision: what.revision,
        head: head.id().into(),
        signers: &signers,
        imported: head.imported().map(Into::into),
        freshness: head.freshness().into(),
    });
}

/// A summary of a head in one line, for people.
pub(crate) fn head_line(head: &weighbridge_manifest::Head) -> String {
    let tensors = head.tensors.map_or("tensors not listed".to_owned(), |t| count(t.list.count, "tensor"));
    format!("{}, {}, {tensors}", count(head.files.count, "file"), crate::output::size(head.bytes))
}

/// Checks that a path from the command line is a folder.
pub(crate) fn folder(path: &PathBuf) -> Result<(), Failure> {
    let metadata = fs::metadata(path).map_err(IoError::at("open", path))?;
    if metadata.is_dir() {
        Ok(())
    } else {
        Err(Failure::usage(format!("{} is not a folder", shown_path(path))))
    }
}
