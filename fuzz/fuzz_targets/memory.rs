//! The memory of accepted heads: a memory that was read is written with the same content, every note in it is read,
//! and accepting a head removes no note that its policy does not trust.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{Expectation, Memory, SignedHead, TrustPolicy, Vkey, tree::head_id};

/// Keys that sign in the vectors.
const KEYS: [&str; 2] = [
    "alice.example/models+29278fa7+ARvnN0S/uK6SDoa86geGZ2V2RVzJ5tDjw9ZAtX/e95GQ",
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
];

fuzz_target!(|data: &[u8]| {
    let Ok(memory) = bounded(data.len(), || Memory::from_json(data)) else { return };
    let notes: Vec<String> = memory.notes().map(|(_, note)| note).collect();
    assert_eq!(Memory::from_json(memory.to_json().as_bytes()).as_ref(), Ok(&memory));
    assert_eq!(Memory::from_notes(&notes).as_ref(), Ok(&memory));

    // Another JSON library finds exactly these notes.
    let names: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_value(serde_json::from_slice::<Value>(data).expect("JSON"))
            .expect("objects of notes");
    let mut found: Vec<&String> = names.values().flat_map(BTreeMap::values).collect();
    found.sort_unstable();
    let mut expected: Vec<&String> = notes.iter().collect();
    expected.sort_unstable();
    assert_eq!(found, expected);

    let known =
        TrustPolicy::any_of(KEYS.map(|line| Vkey::parse(line).expect("a vkey")).to_vec()).expect("keys");
    for (name, note) in memory.notes() {
        let _ = memory.recall(name, &known);
        // A caller that trusts one id accepts the notes of this head, and removes no others.
        let text = note
            .strip_suffix("\n\n")
            .map_or_else(|| note.rsplit_once("\n\n").expect("a note").0.to_owned(), str::to_owned)
            + "\n";
        let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
        let served = format!("{text}\n\u{2014} nobody AAAAAAE=\n");
        let head = SignedHead::parse(served.as_bytes()).expect("a note");
        let head = head.verify(&policy, &Expectation::any().allow_expired(), None).expect("its id is known");
        let mut after = memory.clone();
        assert_eq!(after.accept(&head, &policy).as_deref(), Ok(&[][..]));
        let of_others = |memory: &Memory| -> Vec<String> {
            let all = memory.notes().map(|(_, note)| note);
            all.filter(|note| !note.starts_with(&text)).collect()
        };
        assert_eq!(of_others(&after), of_others(&memory));
    }
});
