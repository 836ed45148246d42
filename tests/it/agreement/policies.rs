//! With random policies, memories, heads and signatures, both sides reach the same verdict, name the same signers and
//! remember the same notes.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
};

use ed25519_dalek::{Signer as _, SigningKey};
use weighbridge_manifest::{
    Expectation, KeyName, Memory, ModelName, NoteSignature, Role, Signature, Time, TrustPolicy, Vkey,
};
use weighbridge_tree::{Coded, HeadId, head_id};

use super::{Numbers, Vectors};
use crate::vectors::{Asked, Remembered, reads_as_it_is_written, remember};

#[test]
fn both_readings_agree_on_3_000_random_policies_with_memory() {
    let rounds = env::var("WEIGHBRIDGE_POLICIES").map_or(3_000, |rounds| rounds.parse().unwrap());
    let mut world = Drawn::new();
    let mut vectors = Vectors::new();
    let (mut codes, mut forgotten, mut several, mut bare, mut imported) = (BTreeMap::new(), 0, 0, 0, 0);
    let mut state: Option<String> = None;
    for round in 0..rounds {
        if round % 40 == 0 {
            state = None;
        }
        let text = world.policy();
        let policy = match TrustPolicy::from_toml(&text) {
            Ok(policy) => policy,
            Err(error) => {
                let code = error.error_code().get();
                *codes.entry(code).or_insert(0) += 1;
                vectors.add("policy", Err(code), &[], &[("policy.toml", text.as_bytes())]);
                continue;
            }
        };
        reads_as_it_is_written(&policy);
        let before = world.meddle(state.as_deref());
        let Asking { note, expected, now, asked, mut keys } = world.asking();
        let after = remember(&note, &policy, &expected, now, (asked, before.as_deref().map(str::as_bytes)));
        let mut sections = vec![("head.note", note.as_slice()), ("policy.toml", text.as_bytes())];
        sections.extend(before.as_deref().map(|state| ("state", state.as_bytes())));
        let verdict = after.as_ref().map(drop).map_err(|code| *code);
        *codes.entry(verdict.err().unwrap_or_default()).or_insert(0) += 1;
        let Ok(Remembered { head, memory, forgotten: gone }) = after else {
            vectors.add("memory", verdict, &keys, &sections);
            continue;
        };
        let signers: Vec<&str> = head.signers().iter().map(|signer| signer.name.as_str()).collect();
        keys.push(("head-id", head.id().to_string()));
        keys.push(("signers", signers.join(" ")));
        keys.push(("role", head.role().word().to_owned()));
        imported += usize::from(head.role() == Role::Import);
        let json = memory.to_json();
        if asked == Asked::Yes {
            keys.push(("forgotten", gone.join(" ")));
            sections.push(("state-after", json.as_bytes()));
        }
        vectors.add("memory", verdict, &keys, &sections);
        forgotten += gone.len();
        several += usize::from(memory.notes().filter(|(name, _)| **name == head.head().name).count() > 1);
        bare += memory.notes().filter(|(_, note)| note.ends_with("\n\n")).count();
        if asked == Asked::Yes {
            state = Some(json);
        }
    }
    vectors.agree();
    println!(
        "{codes:?}; {forgotten} forgotten, {several} memories of several notes, {bare} notes without lines, \
         {imported} imported"
    );
    let every = [
        0, 1602, 1604, 1606, 3101, 3102, 3103, 3104, 3105, 3106, 3201, 3202, 3203, 3204, 3205, 3206, 3207,
        3208, 9004,
    ];
    let seen: BTreeSet<u16> = codes.into_keys().collect();
    assert!(every.iter().all(|code| seen.contains(code)), "{seen:?}");
    assert!(forgotten > 2, "{forgotten}");
    assert!(several > 100, "{several}");
    assert!(bare > 20, "{bare}");
    assert!(imported > 40, "{imported}");
}

/// Keys, heads and signatures, and the numbers that choose among them. There are few, so that both sides check each
/// signature only once.
struct Drawn {
    numbers: Numbers,
    keys: Vec<(Vkey, SigningKey)>,
    /// Three histories of the same shape, each with forks.
    heads: Vec<String>,
    lines: BTreeMap<(usize, usize), NoteSignature>,
}

/// A note, and the caller's expectation of its head.
struct Asking {
    note: Vec<u8>,
    expected: Expectation,
    now: Option<Time>,
    asked: Asked,
    keys: Vec<(&'static str, String)>,
}

const NAMES: [&str; 3] = ["org/m", "org/team/m", "other"];
const SCOPES: [&str; 5] = ["*", "org/*", "org/m", "org/team/*", "other"];
const TIMES: [&str; 5] = [
    "2026-01-01T00:00:00Z",
    "2026-02-01T00:00:00Z",
    "2026-03-01T00:00:00Z",
    "2026-04-01T00:00:00Z",
    "2026-05-01T00:00:00Z",
];

impl Drawn {
    fn new() -> Self {
        // Six names: two of them share one key, and two keys share one name.
        let names = [("a", 1), ("again", 1), ("b", 2), ("c", 3), ("c", 4), ("d", 5)];
        let key = |(name, seed): (&str, u8)| {
            let secret = SigningKey::from_bytes(&[seed; 32]);
            let vkey = Vkey::new(KeyName::parse(name).unwrap(), secret.verifying_key().as_bytes()).unwrap();
            (vkey, secret)
        };
        let heads = NAMES.into_iter().flat_map(history).collect();
        Self { numbers: Numbers(0x7057), keys: names.map(key).to_vec(), heads, lines: BTreeMap::new() }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.numbers.below(count) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.numbers.index(all.len())].clone()
    }

    fn vkey(&mut self) -> String {
        let at = self.numbers.index(self.keys.len());
        self.keys[at].0.to_string()
    }

    fn policy(&mut self) -> String {
        let mut text = String::new();
        let revoked: Vec<String> = (0..self.numbers.below(3)).map(|_| format!("{:?}", self.vkey())).collect();
        if self.one_in(3) {
            writeln!(text, "revoked = [{}]", revoked.join(", ")).unwrap();
        }
        if self.one_in(3) {
            let heads: Vec<String> =
                (0..1 + self.numbers.below(3)).map(|_| format!("'{}'", self.head_id())).collect();
            writeln!(text, "accepted-heads = [{}]", heads.join(", ")).unwrap();
        }
        let mut scopes = SCOPES.to_vec();
        for _ in 0..1 + self.numbers.below(3) {
            let at = self.numbers.index(scopes.len());
            let scope = if self.one_in(4) { scopes[at] } else { scopes.remove(at) };
            writeln!(text, "[[publisher]]\nscope = '{scope}'").unwrap();
            if self.one_in(3) {
                writeln!(text, "role = '{}'", self.of(&["import", "import", "import", "publisher"])).unwrap();
            }
            if self.one_in(5) {
                writeln!(text, "threshold = {}", self.of(&[2, 2, 2, 2, 2, 2, 3, 1, 0])).unwrap();
            }
            for _ in 0..2 + self.numbers.below(4) {
                writeln!(text, "[[publisher.key]]\nvkey = '{}'", self.vkey()).unwrap();
                for date in ["from", "until"] {
                    if self.one_in(10) {
                        writeln!(text, "{date} = '{}'", self.of(&TIMES)).unwrap();
                    }
                }
            }
        }
        text
    }

    /// Most heads have the first name, so that its memory fills.
    fn head(&mut self) -> usize {
        let of_name = self.heads.len() / NAMES.len();
        if self.one_in(3) { self.numbers.index(self.heads.len()) } else { self.numbers.index(of_name) }
    }

    fn head_id(&mut self) -> HeadId {
        let text = self.of(&self.heads.clone());
        head_id(text.as_bytes())
    }

    /// A good signature line. The same key and head always give the same line.
    fn line(&mut self, key: usize, head: usize) -> NoteSignature {
        let (vkey, secret) = &self.keys[key];
        let sign = || {
            let signature = secret.sign(self.heads[head].as_bytes());
            NoteSignature::new(vkey.name().clone(), vkey.id(), Signature::new(signature.to_bytes()))
        };
        self.lines.entry((key, head)).or_insert_with(sign).clone()
    }

    /// A note of this head. With `most` 0 it has no signature lines, as a remembered note may have none.
    fn note(&mut self, head: usize, most: u64, bad_one_in: u64) -> String {
        let mut note = format!("{}\n", self.heads[head]);
        for _ in 0..self.numbers.below(most + 1) {
            let key = self.numbers.index(self.keys.len());
            let of_head = if self.one_in(bad_one_in) { (head + 1) % self.heads.len() } else { head };
            writeln!(note, "{}", self.line(key, of_head)).unwrap();
        }
        note
    }

    /// The state as it was left, or with an added note, or damaged.
    fn meddle(&mut self, state: Option<&str>) -> Option<String> {
        match self.numbers.below(12) {
            0..2 => {
                let mut notes: Vec<String> = state
                    .and_then(|state| Memory::from_json(state.as_bytes()).ok())
                    .map(|memory| memory.notes().map(|(_, note)| note).collect())
                    .unwrap_or_default();
                let head = self.head();
                notes.push(self.note(head, 2, 12));
                Some(Memory::from_notes(notes).unwrap().to_json())
            }
            2 => {
                let mut bytes = state?.as_bytes().to_vec();
                let at = self.numbers.index(bytes.len());
                if bytes[at].is_ascii() {
                    bytes[at] ^= 1 << self.numbers.below(3);
                }
                String::from_utf8(bytes).ok()
            }
            _ => state.map(str::to_owned),
        }
    }

    fn asking(&mut self) -> Asking {
        let head = self.head();
        let mut note = self.note(head, 4, 24);
        if note.ends_with("\n\n") {
            note.push_str("\u{2014} nobody AAAAAAE=\n");
        }
        let (mut expected, mut keys, mut asked) = (Expectation::any(), Vec::new(), Asked::Yes);
        if self.one_in(8) {
            let name = self.of(&NAMES);
            expected = expected.named(ModelName::parse(name).unwrap());
            keys.push(("name", name.to_owned()));
        }
        if self.one_in(20) {
            let id = if self.one_in(2) { self.head_id() } else { head_id(self.heads[head].as_bytes()) };
            (expected, asked) = (expected.head(id), Asked::No);
            keys.push(("head", id.to_string()));
        }
        if self.one_in(10) {
            let least = 1 + self.numbers.below(3);
            expected = expected.min_revision(least);
            keys.push(("min-revision", least.to_string()));
        }
        if self.one_in(10) {
            expected = expected.allow_expired();
            keys.push(("allow-expired", "yes".to_owned()));
        }
        let now = if self.one_in(6) {
            None
        } else {
            Some(self.of(&["2026-02-15T00:00:00Z", TIMES[4], TIMES[4], TIMES[4]]))
        };
        keys.extend(now.map(|now| ("now", now.to_owned())));
        let now = now.map(|now| Time::parse(now).unwrap());
        Asking { note: note.into_bytes(), expected, now, asked, keys }
    }
}

/// Revisions 1 to 4, a fork beside each of the first three, and one head that expires.
fn history(name: &str) -> Vec<String> {
    let head = |revision: u64, previous: Option<&str>, expires: &str, bytes: u64| {
        let previous = previous.map_or("none".to_owned(), |text| head_id(text.as_bytes()).to_string());
        let root = "d367a6a908c4f35aef18d217f8c80529ef19cffdd83fc419af09614ea67a63d4";
        format!(
            "weighbridge/head/v1\nname {name}\nrevision {revision}\nprevious {previous}\n\
             created 2026-0{revision}-01T00:00:00Z\nexpires {expires}\nbytes {bytes}\nfiles 13 1527\nroot {root}\n\
             tensors none\ntensors-root none\nchunk-size 262144\n"
        )
    };
    let mut all = Vec::new();
    for (branch, expires) in [(1, "never"), (2, "never"), (3, "2026-04-15T00:00:00Z")] {
        let mut previous: Option<String> = None;
        for revision in 1..=if branch == 1 { 4 } else { 3 } {
            let text = head(revision, previous.as_deref(), expires, branch);
            all.push(text.clone());
            previous = Some(text);
        }
    }
    all
}
