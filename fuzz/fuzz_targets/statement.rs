//! Statements: each has exactly one text, no text is of two kinds, and no signature verifies that was not made.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{
    Challenge, Coded, Head, MAX_TEXT, Note, Receipt, Report, SignedChallenge, SignedReceipt, SignedReport,
    StatementError,
};
use weighbridge_tree::MAX_SAMPLES;

fuzz_target!(|data: &[u8]| {
    note(data);
    let Ok(text) = str::from_utf8(data) else { return };
    let challenge = bounded(text.len(), || Challenge::parse(text));
    let report = bounded(text.len(), || Report::parse(text));
    let receipt = bounded(text.len(), || Receipt::parse(text));
    let written = [
        challenge.as_ref().map(|it| it.to_text()).ok(),
        report.as_ref().map(|it| it.to_text()).ok(),
        receipt.as_ref().map(|it| it.to_text()).ok(),
    ];
    let kinds = written.iter().flatten().count() + usize::from(Head::parse(text).is_ok());
    assert!(kinds <= 1, "one text of two kinds");
    let Some(again) = written.into_iter().flatten().next() else { return };
    assert_eq!(again.as_deref(), Ok(text), "written again it is another statement");

    // The rules of the specification, checked without the parser.
    assert!(text.len() <= MAX_TEXT && text.ends_with('\n'));
    if let Ok(it) = &challenge {
        assert_eq!(text.lines().count(), 8);
        assert!((1..=MAX_SAMPLES).contains(&it.samples) && it.issued < it.deadline);
    }
    if let Ok(it) = &report {
        assert_eq!(text.lines().count(), 10);
        assert!((1..=MAX_SAMPLES).contains(&it.samples) && it.samples <= it.of && it.of < 1 << 53);
        assert!(it.issued <= it.received);
    }

    // The parser consumes its input exactly (rule 6).
    let accepted = |text: &str| {
        Challenge::parse(text).is_ok() || Report::parse(text).is_ok() || Receipt::parse(text).is_ok()
    };
    for changed in [format!("{text}\n"), format!("{text} "), format!("\u{feff}{text}"), text.repeat(2)] {
        assert!(!accepted(&changed), "accepted: {changed:?}");
    }
    assert!(!accepted(&text[..text.len() - 1]), "the last LF is missing");

    // The signature line is a dummy.
    let unsigned = format!("{text}\n\u{2014} k AAAAAAE=\n");
    if let Ok(it) = &challenge {
        let signed = SignedChallenge::parse(unsigned.as_bytes()).expect("this is a note");
        assert_eq!(code(signed.verify(&it.prover)), 3301);
        assert_eq!(signed.claims().expect("its form is good").text(), text);
    }
    if let Ok(it) = &report {
        let signed = SignedReport::parse(unsigned.as_bytes()).expect("this is a note");
        assert_eq!(code(signed.verify(&it.prover)), 3301);
    }
    if receipt.is_ok() {
        let signed = SignedReceipt::parse(unsigned.as_bytes()).expect("this is a note");
        assert_eq!(code(signed.check()), 3301);
    }
});

/// A receipt names the key that signs it, so a note alone can be accepted.
fn note(data: &[u8]) {
    let Ok(signed) = SignedReceipt::parse(data) else {
        assert!(Note::parse(data).is_err(), "a receipt's note is a note");
        return;
    };
    let note = Note::parse(data).expect("a receipt's note is a note");
    if let Ok(claim) = bounded(data.len(), || signed.check()) {
        let node = &claim.receipt().node;
        assert_eq!(claim.receipt().to_text().as_deref(), Ok(note.text()));
        let mut lines =
            note.signatures().iter().filter(|line| line.name() == node.name() && line.id() == node.id());
        assert!(lines.any(|line| node.has_signed(note.text().as_bytes(), line.signature())));
    }
}

fn code<T>(result: Result<T, StatementError>) -> u16 {
    result.map_or_else(|error| error.error_code().get(), |_| 0)
}
