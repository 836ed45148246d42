//! Signed notes: an accepted note can be written again byte for byte, and a pinned id alone opens a head.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{Coded, Expectation, Head, Note, SignedHead, TrustPolicy, tree::head_id};

fuzz_target!(|data: &[u8]| {
    let note = bounded(data.len(), || Note::parse(data));
    let signed = bounded(data.len(), || SignedHead::parse(data));
    let Ok(note) = note else {
        assert_eq!(note.err(), signed.err(), "a head's note is a note");
        return;
    };
    let lines: String = note.signatures().iter().map(|signature| format!("{signature}\n")).collect();
    assert_eq!(format!("{}\n{lines}", note.text()).as_bytes(), data, "written again it is another note");

    let signed = signed.expect("a note is a note");
    assert_eq!(signed.key_ids().count(), note.signatures().len());
    // The caller trusts the id and no key, so the grammar alone decides: no signature is checked, and none counts.
    let text = note.text();
    let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
    match signed.verify(&policy, &Expectation::any().allow_expired(), None) {
        Ok(verified) => {
            assert_eq!(verified.text(), text);
            assert_eq!(verified.head().to_string(), text);
            assert!(verified.signers().is_empty(), "nobody is trusted, nobody signed");
        }
        Err(error) => {
            let grammar = Head::parse(text).expect_err("only a malformed head is refused here");
            assert_eq!(error.error_code(), grammar.error_code());
        }
    }
});
