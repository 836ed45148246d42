//! Helpers with which the tests make heads, notes and policies.

use weighbridge_manifest::{
    Coded, Expectation, Head, ListSize, ModelName, NoteSignature, Publisher, Role, Scope, SignedHead,
    Tensors, Time, TrustPolicy, TrustedKey, VerifiedHead,
    tree::{EntryHash, ModelRoot, TensorsRoot, head_id, list_root, model_root, tensors_root},
};
pub(crate) use weighbridge_testkit::Key;

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
    let scope = Scope::parse(scope).unwrap();
    Publisher { scope, role: Role::Publisher, threshold, keys: trusted(keys) }
}

pub(crate) fn importer(scope: &str, threshold: usize, keys: &[Key]) -> Publisher {
    Publisher { role: Role::Import, ..publisher(scope, threshold, keys) }
}

pub(crate) fn policy(publishers: Vec<Publisher>, revoked: &[Key]) -> TrustPolicy {
    let revoked = revoked.iter().map(Key::vkey).collect();
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
