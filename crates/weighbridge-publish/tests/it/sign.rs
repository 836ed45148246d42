//! Notes: signatures are added behind a text that never changes.

use weighbridge_manifest::{
    Challenge, Expectation, Head, KeyName, Note, NoteSignature, Receipt, Report, Signature, SignedChallenge,
    SignedHead, SignedReceipt, SignedReport, Time, TrustPolicy, response_message,
};
use weighbridge_publish::{
    Added, Coded, SecretKey, Signing, external_signature, sign_challenge, sign_receipt, sign_report,
};
use weighbridge_testkit::Folder;
use weighbridge_tree::{ChallengeHash, Nonce, ResponseHash, head_id};

use crate::kit::{KEY, note, weigh};

fn text() -> String {
    weigh(Folder::with(&[("a", b"x")]).path()).unwrap().text
}

fn key(name: &str) -> SecretKey {
    SecretKey::generate(KeyName::parse(name).unwrap()).unwrap()
}

fn sign(signing: &mut Signing, key: &SecretKey) -> Added {
    signing.add(key.vkey(), key.sign(signing.text().as_bytes())).unwrap()
}

fn lines(note: &str) -> usize {
    Note::parse(note.as_bytes()).unwrap().signatures().len()
}

#[test]
fn a_note_is_the_text_an_empty_line_and_signatures_in_the_order_in_which_they_came() {
    let (one, two, text) = (key("one"), key("two"), text());
    let mut signing = Signing::of_text(text.clone()).unwrap();
    assert_eq!(signing.note(), None);
    assert_eq!(sign(&mut signing, &two), Added::Added);
    assert_eq!(sign(&mut signing, &one), Added::Added);
    let note = signing.note().unwrap();
    let [a, b] = [two.sign(text.as_bytes()), one.sign(text.as_bytes())];
    assert_eq!(note, format!("{text}\n{a}\n{b}\n"));
    assert_eq!(signing.head().to_text().unwrap(), text);
    for key in [one, two] {
        let policy = TrustPolicy::any_of(vec![key.vkey().clone()]).unwrap();
        let signed = SignedHead::parse(note.as_bytes()).unwrap();
        assert!(signed.verify(&policy, &Expectation::any(), None).is_ok());
    }
}

#[test]
fn signing_again_changes_nothing() {
    let before = note(&text());
    let mut signing = Signing::of_note(before.as_bytes()).unwrap();
    assert_eq!(sign(&mut signing, &KEY), Added::AlreadyThere);
    assert_eq!(signing.note().unwrap(), before);
    assert_eq!(sign(&mut signing, &key("more")), Added::Added);
    let after = signing.note().unwrap();
    assert!(after.starts_with(&before));
    assert_eq!(lines(&after), 2);
}

#[test]
fn a_broken_line_of_the_same_key_is_replaced_and_no_other() {
    let text = text();
    let (name, id) = (KEY.vkey().name().clone(), KEY.vkey().id());
    let other = key("test");
    let foreign = NoteSignature::new(KeyName::parse("else").unwrap(), id, Signature::new(vec![1; 64]));
    let same_name = other.sign(text.as_bytes());
    let broken =
        [vec![0; 64], vec![7]].map(|bytes| NoteSignature::new(name.clone(), id, Signature::new(bytes)));
    let note = format!("{text}\n{}\n{foreign}\n{}\n{same_name}\n", broken[0], broken[1]);
    let mut signing = Signing::of_note(note.as_bytes()).unwrap();
    assert_eq!(sign(&mut signing, &KEY), Added::Added);
    let good = KEY.sign(text.as_bytes());
    assert_eq!(signing.note().unwrap(), format!("{text}\n{foreign}\n{same_name}\n{good}\n"));
}

#[test]
fn a_broken_line_beside_a_good_one_of_the_same_key_goes() {
    // Regression: since the good line was present already, the broken line stayed, and verifiers refused the note.
    let text = text();
    let broken = NoteSignature::new(KEY.vkey().name().clone(), KEY.vkey().id(), Signature::new(vec![0; 64]));
    let good = KEY.sign(text.as_bytes());
    let policy = TrustPolicy::any_of(vec![KEY.vkey().clone()]).unwrap();
    let mut signing = Signing::of_note(format!("{text}\n{broken}\n{good}\n").as_bytes()).unwrap();
    assert_eq!(sign(&mut signing, &KEY), Added::Added);
    assert_eq!(lines(&signing.note().unwrap()), 1);
    let signed = SignedHead::parse(signing.note().unwrap().as_bytes()).unwrap();
    assert!(signed.verify(&policy, &Expectation::any(), None).is_ok());
}

#[test]
fn a_signature_made_elsewhere_is_added_if_it_is_one() {
    let text = text();
    let made = KEY.sign(text.as_bytes());
    let line = external_signature(KEY.vkey(), text.as_bytes(), made.signature().as_bytes()).unwrap();
    let mut signing = Signing::of_text(text.clone()).unwrap();
    assert_eq!(signing.add(KEY.vkey(), line), Ok(Added::Added));
    assert_eq!(signing.note().unwrap(), note(&text));
    let error = external_signature(KEY.vkey(), b"another text", made.signature().as_bytes()).unwrap_err();
    assert_eq!(error.error_code().get(), 5401);
}

#[test]
fn a_line_that_is_not_the_keys_own_is_not_added() {
    let text = text();
    let mut signing = Signing::of_text(text.clone()).unwrap();
    for foreign in [KEY.sign(b"another text"), key("else").sign(text.as_bytes())] {
        assert_eq!(signing.add(KEY.vkey(), foreign).map_err(|e| e.error_code().get()), Err(5401));
    }
    assert_eq!(signing.note(), None);
}

#[test]
fn a_note_that_nobody_could_read_is_not_made() {
    let text = text();
    let line =
        |n: u8| NoteSignature::new(KeyName::parse("else").unwrap(), [n; 4], Signature::new(vec![1; 64]));
    let full: String = (0..100).map(|n| format!("{}\n", line(n))).collect();
    let mut signing = Signing::of_note(format!("{text}\n{full}").as_bytes()).unwrap();
    let signature = KEY.sign(text.as_bytes());
    assert_eq!(signing.add(KEY.vkey(), signature).map_err(|e| e.error_code().get()), Err(1105));
    assert_eq!(signing.note().unwrap(), format!("{text}\n{full}"));
}

#[test]
fn what_is_no_head_is_not_signed() {
    let text = text();
    let of_text = |text: String| Signing::of_text(text).map_or_else(|e| e.error_code().get(), |_| 0);
    assert_eq!(of_text("any text\n".into()), 1202);
    assert_eq!(of_text(text.replace("revision 1", "revision 01")), 1204);
    assert_eq!(of_text(text.replace("expires never\n", "")), 1203);
    assert_eq!(of_text(text.replace("revision 1", "revision 2")), 1205);
    assert_eq!(of_text(format!("{text}\n")), 1203);
    let of_note = |note: &str| Signing::of_note(note.as_bytes()).map_or_else(|e| e.error_code().get(), |_| 0);
    assert_eq!(of_note(&text), 1103);
    assert_eq!(of_note(&note(&text).replace("chunk-size 262144", "chunk-size 262145")), 1204);
    assert_eq!(of_note(&note(&text)), 0);
}

fn challenge(prover: &SecretKey) -> Challenge {
    let text = text();
    let head = Head::parse(&text).unwrap();
    Challenge {
        head: head_id(text.as_bytes()),
        root: head.root,
        prover: prover.vkey().clone(),
        nonce: Nonce::from_bytes([3; 32]),
        issued: head.created,
        deadline: Time::from_unix(head.created.unix() + 1).unwrap(),
        samples: 1,
    }
}

fn report(prover: &SecretKey) -> Report {
    let head = Head::parse(&text()).unwrap();
    let Challenge { head: id, root, prover, issued, .. } = challenge(prover);
    Report {
        name: head.name,
        head: id,
        root,
        prover,
        challenge: ChallengeHash::from_bytes([1; 32]),
        response: ResponseHash::from_bytes([2; 32]),
        samples: 1,
        of: 1,
        issued,
        received: issued,
    }
}

fn receipt(node: &SecretKey) -> Receipt {
    let Report { name, head, root, received: verified, .. } = report(node);
    Receipt { name, head, root, node: node.vkey().clone(), verified, nonce: None }
}

#[test]
fn a_signed_statement_is_its_text_an_empty_line_and_one_signature() {
    let (auditor, node) = (key("auditor"), key("node"));
    let expected = |text: String, key: &SecretKey| format!("{text}\n{}\n", key.sign(text.as_bytes()));
    let challenge = challenge(&node);
    let note = sign_challenge(&challenge, &auditor).unwrap();
    assert_eq!(note, expected(challenge.to_text().unwrap(), &auditor));
    let signed = SignedChallenge::parse(note.as_bytes()).unwrap();
    assert_eq!(signed.verify(auditor.vkey()).unwrap().challenge(), &challenge);
    let report = report(&node);
    let note = sign_report(&report, &auditor).unwrap();
    assert_eq!(note, expected(report.to_text().unwrap(), &auditor));
    let signed = SignedReport::parse(note.as_bytes()).unwrap();
    assert_eq!(signed.verify(auditor.vkey()).unwrap().report(), &report);
    let receipt = receipt(&node);
    let note = sign_receipt(&receipt, &node).unwrap();
    assert_eq!(note, expected(receipt.to_text().unwrap(), &node));
    assert_eq!(SignedReceipt::parse(note.as_bytes()).unwrap().check().unwrap().receipt(), &receipt);
}

#[test]
fn a_statement_that_nobody_would_read_is_not_signed() {
    let (auditor, node) = (key("auditor"), key("node"));
    let none = Challenge { samples: 0, ..challenge(&node) };
    assert_eq!(sign_challenge(&none, &auditor).map_err(|e| e.error_code().get()), Err(1804));
    let late = Challenge { deadline: none.issued, ..challenge(&node) };
    let error = sign_challenge(&late, &auditor).unwrap_err();
    assert_eq!(error.error_code().get(), 1805);
    assert_eq!(
        error.to_string(),
        "the challenge contradicts itself: its deadline is not after it was issued"
    );
    let above = Report { samples: 2, ..report(&node) };
    assert_eq!(sign_report(&above, &auditor).map_err(|e| e.error_code().get()), Err(1804));
    // Only the node itself may sign its receipt.
    assert_eq!(sign_receipt(&receipt(&node), &auditor).map_err(|e| e.error_code().get()), Err(3301));
    // A key name that makes the note longer than notes may be.
    let long = key(&"k".repeat(131_072));
    assert_eq!(sign_report(&report(&node), &long).map_err(|e| e.error_code().get()), Err(1101));
    assert_eq!(sign_receipt(&receipt(&long), &long).map_err(|e| e.error_code().get()), Err(1801));
}

#[test]
fn a_response_is_signed_over_both_hashes_and_nothing_else() {
    let (challenge, response) = (ChallengeHash::from_bytes([1; 32]), ResponseHash::from_bytes([2; 32]));
    let signature = KEY.sign_response(&challenge, &response);
    let signed = |message: &[u8]| KEY.vkey().has_signed(message, &signature);
    assert!(signed(&response_message(&challenge, &response)));
    let exchanged = (ChallengeHash::from_bytes([2; 32]), ResponseHash::from_bytes([1; 32]));
    assert!(!signed(&response_message(&exchanged.0, &exchanged.1)));
    assert!(!signed(&[[1; 32], [2; 32]].concat()));
}
