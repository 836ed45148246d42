//! Helpers with which the tests make heads, notes and policies.

use ed25519_dalek::{
    Signer as _, SigningKey,
    hazmat::{ExpandedSecretKey, raw_sign},
};
use sha2::Sha512;
use weighbridge_manifest::{
    Coded, Expectation, Head, KeyName, ListSize, ModelName, NoteSignature, Publisher, Scope, Signature,
    SignedHead, Tensors, Time, TrustPolicy, TrustedKey, VerifiedHead, Vkey,
    tree::{EntryHash, ModelRoot, TensorsRoot, head_id, list_root, model_root, tensors_root},
};

/// The head of the model all-MiniLM-L6-v2, as the design gives it.
pub(crate) const EXAMPLE: &str = "\
weighbridge/head/v1
name sentence-transformers/all-MiniLM-L6-v2
revision 1
previous none
created 2026-11-20T16:31:00Z
expires never
bytes 91618861
files 13 1527
root d367a6a908c4f35aef18d217f8c80529ef19cffdd83fc419af09614ea67a63d4
tensors 104 22612
tensors-root a59115395702898d170dac39d2a3befb1a1affb9a764103b6db1bb7663e7c01b
chunk-size 262144
";

pub(crate) fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

pub(crate) fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

/// The time `seconds` after [`EXAMPLE`] was created.
pub(crate) fn created_plus(seconds: i64) -> Time {
    Time::from_unix(time("2026-11-20T16:31:00Z").unix() + seconds).unwrap()
}

/// A key pair under a name. One seed is one key, under any name.
#[derive(Clone)]
pub(crate) struct Key {
    name: KeyName,
    secret: SigningKey,
}

impl Key {
    pub(crate) fn new(name: &str, seed: u8) -> Self {
        Self::of(name, [seed; 32])
    }

    pub(crate) fn of(name: &str, seed: [u8; 32]) -> Self {
        Self { name: KeyName::parse(name).unwrap(), secret: SigningKey::from_bytes(&seed) }
    }

    pub(crate) fn vkey(&self) -> Vkey {
        Vkey::new(self.name.clone(), self.secret.verifying_key().as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self, text: &str) -> Vec<u8> {
        self.secret.sign(text.as_bytes()).to_bytes().to_vec()
    }

    /// A signature line that claims to be by this key.
    pub(crate) fn claim(&self, signature: &[u8]) -> NoteSignature {
        NoteSignature::new(self.name.clone(), self.vkey().id(), Signature::new(signature))
    }

    pub(crate) fn line(&self, text: &str) -> NoteSignature {
        self.claim(&self.sign(text))
    }

    /// A different valid line for each nonce. Only the key's owner can make these.
    pub(crate) fn line_with_nonce(&self, text: &str, nonce: u8) -> NoteSignature {
        let mut expanded = ExpandedSecretKey::from(&self.secret.to_bytes());
        expanded.hash_prefix = [nonce; 32];
        let signature =
            raw_sign::<Sha512>(&expanded, text.as_bytes(), &self.secret.verifying_key()).to_bytes();
        self.claim(&signature)
    }
}

pub(crate) fn alice() -> Key {
    Key::new("alice", 1)
}

pub(crate) fn bob() -> Key {
    Key::new("bob", 2)
}

pub(crate) fn carol() -> Key {
    Key::new("carol", 3)
}

/// A key that no policy lists.
pub(crate) fn mallory() -> Key {
    Key::new("mallory", 66)
}

pub(crate) fn note(text: &str, lines: &[NoteSignature]) -> SignedHead {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    SignedHead::parse(format!("{text}\n{lines}").as_bytes()).unwrap()
}

pub(crate) fn signed(text: &str, keys: &[Key]) -> SignedHead {
    note(text, &keys.iter().map(|key| key.line(text)).collect::<Vec<_>>())
}

pub(crate) fn trusted(keys: &[Key]) -> Vec<TrustedKey> {
    keys.iter().map(|key| key.vkey().into()).collect()
}

pub(crate) fn publisher(scope: &str, threshold: usize, keys: &[Key]) -> Publisher {
    Publisher { scope: Scope::parse(scope).unwrap(), threshold, keys: trusted(keys) }
}

pub(crate) fn policy(publishers: Vec<Publisher>, revoked: &[Key]) -> TrustPolicy {
    let revoked = revoked.iter().map(|key| *key.vkey().public_key()).collect();
    TrustPolicy::new(publishers, revoked, Vec::new()).unwrap()
}

/// The code of a verdict; 0 if the head is believed.
pub(crate) fn verdict(
    note: SignedHead,
    policy: &TrustPolicy,
    expected: &Expectation,
    now: Option<Time>,
) -> u16 {
    note.verify(policy, expected, now).map_or_else(|error| error.error_code().get(), |_| 0)
}

/// The head as believed by a verifier that knows its id.
pub(crate) fn believed(head: &Head) -> VerifiedHead {
    let text = head.to_text().unwrap();
    let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
    signed(&text, &[mallory()]).verify(&policy, &Expectation::any(), None).unwrap()
}

/// A head that signs any such lists, with `bytes` as the sum of sizes.
pub(crate) fn head_over(files: &[u8], bytes: u64, tensors: Option<&[u8]>) -> Head {
    Head {
        bytes,
        files: size(files),
        root: list_root(leaves(files))
            .map_or(ModelRoot::from_bytes([0; 32]), |tree| model_root(bytes, &tree)),
        tensors: tensors.map(|list| Tensors { list: size(list), root: tensors_root_of(list) }),
        ..Head::parse(EXAMPLE).unwrap()
    }
}

fn tensors_root_of(list: &[u8]) -> TensorsRoot {
    tensors_root(list_root(leaves(list)).ok().as_ref())
}

fn size(list: &[u8]) -> ListSize {
    ListSize { count: leaves(list).len() as u64, length: list.len() as u64 }
}

fn leaves(list: &[u8]) -> Vec<EntryHash> {
    let lines = list.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| EntryHash::of_line(line.strip_suffix(b"\n").unwrap_or(line))).collect()
}

/// This revision of the example's model. Each revision is created one hour after the previous one.
pub(crate) fn revision(number: u64, previous: &str) -> String {
    let hours = i64::try_from(number).unwrap() - 1;
    let head = Head {
        revision: number,
        previous: (number > 1).then(|| head_id(previous.as_bytes())),
        created: created_plus(3_600 * hours),
        ..Head::parse(EXAMPLE).unwrap()
    };
    head.to_text().unwrap()
}
