//! Tests challenges, reports and receipts through the public API, and whether reports count: each refusal, with its
//! code.

use weighbridge_manifest::{
    Challenge, Coded, Head, HeadError, HeldError, MAX_REPORTS, NotCounted, NoteSignature, PolicyError,
    Receipt, Report, SignedChallenge, SignedReceipt, SignedReport, StatementError, TrustPolicy, TrustedKey,
    VerifiedHead, response_message,
    tree::{ChallengeHash, HeadId, ModelRoot, Nonce, ResponseHash},
};

use crate::kit::{
    self, EXAMPLE, Key, alice, believed, bob, carol, created_plus, mallory, policy, publisher, trusted,
};

fn head() -> VerifiedHead {
    believed(&Head::parse(EXAMPLE).unwrap())
}

fn node(seed: u8) -> Key {
    Key::new(&format!("node-{seed}"), seed)
}

fn challenge() -> Challenge {
    Challenge {
        head: head().id(),
        root: head().head().root,
        prover: node(100).vkey(),
        nonce: Nonce::from_bytes([7; 32]),
        issued: created_plus(0),
        deadline: created_plus(60),
        samples: 90,
    }
}

/// A report about `prover`, whose response came at `received`.
fn report(prover: &Key, received: i64) -> Report {
    Report {
        name: head().head().name.clone(),
        head: head().id(),
        root: head().head().root,
        prover: prover.vkey(),
        challenge: ChallengeHash::from_bytes([8; 32]),
        response: ResponseHash::from_bytes([9; 32]),
        samples: 90,
        of: 89_478,
        issued: created_plus(received - 1),
        received: created_plus(received),
    }
}

fn receipt() -> Receipt {
    Receipt {
        name: head().head().name.clone(),
        head: head().id(),
        root: head().head().root,
        node: node(100).vkey(),
        verified: created_plus(5),
        nonce: None,
    }
}

fn note(text: &str, lines: &[NoteSignature]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{text}\n{lines}")
}

fn code<T>(result: Result<T, StatementError>) -> u16 {
    result.map_or_else(|error| error.error_code().get(), |_| 0)
}

/// A kind of statement, for the tests that apply to all three kinds.
struct Kind {
    /// The word for it: a receipt has two forms.
    name: &'static str,
    text: String,
    keys: &'static [&'static str],
    /// Reads a text and writes it again.
    again: fn(&str) -> Result<String, StatementError>,
    /// Reads a note that Alice has to have signed. For a receipt, that is the key it names.
    signed: fn(&[u8]) -> u16,
}

fn kinds() -> [Kind; 4] {
    let receipt = Receipt { node: alice().vkey(), ..receipt() };
    let answer = Receipt { nonce: Some(Nonce::from_bytes([6; 32])), ..receipt.clone() };
    let receipt_code = |note: &[u8]| match SignedReceipt::parse(note) {
        Ok(signed) => code(signed.check()),
        Err(error) => error.error_code().get(),
    };
    [
        Kind {
            name: "challenge",
            text: challenge().to_text().unwrap(),
            keys: &["head", "root", "prover", "nonce", "issued", "deadline", "samples"],
            again: |text| Challenge::parse(text)?.to_text(),
            signed: |note| match SignedChallenge::parse(note) {
                Ok(signed) => code(signed.verify(&alice().vkey())),
                Err(error) => error.error_code().get(),
            },
        },
        Kind {
            name: "report",
            text: report(&node(100), 5).to_text().unwrap(),
            keys: &[
                "name",
                "head",
                "root",
                "prover",
                "challenge",
                "response",
                "samples",
                "issued",
                "received",
            ],
            again: |text| Report::parse(text)?.to_text(),
            signed: |note| match SignedReport::parse(note) {
                Ok(signed) => code(signed.verify(&alice().vkey())),
                Err(error) => error.error_code().get(),
            },
        },
        Kind {
            name: "receipt",
            text: receipt.to_text().unwrap(),
            keys: &["name", "head", "root", "node", "verified"],
            again: |text| Receipt::parse(text)?.to_text(),
            signed: receipt_code,
        },
        Kind {
            name: "receipt",
            text: answer.to_text().unwrap(),
            keys: &["name", "head", "root", "node", "verified", "nonce"],
            again: |text| Receipt::parse(text)?.to_text(),
            signed: receipt_code,
        },
    ]
}

/// The text with its line `number`, counted from 1, replaced by `lines`.
fn with_line(text: &str, number: usize, lines: &str) -> String {
    text.split_inclusive('\n').zip(1..).map(|(line, n)| if n == number { lines } else { line }).collect()
}

#[test]
fn each_text_is_read_as_what_it_was_written_from() {
    assert_eq!(Challenge::parse(&challenge().to_text().unwrap()), Ok(challenge()));
    let report = report(&node(100), 5);
    assert_eq!(Report::parse(&report.to_text().unwrap()), Ok(report));
    assert_eq!(Receipt::parse(&receipt().to_text().unwrap()), Ok(receipt()));
    let vkey = node(100).vkey();
    assert_eq!(
        challenge().to_text().unwrap(),
        format!(
            "weighbridge/audit-challenge/v1\nhead {}\nroot {}\nprover {vkey}\nnonce {}\n\
             issued 2026-11-20T16:31:00Z\ndeadline 2026-11-20T16:32:00Z\nsamples 90\n",
            head().id(),
            head().head().root,
            "07".repeat(32),
        )
    );
}

#[test]
fn a_line_missing_repeated_exchanged_or_unknown_is_refused_where_it_stands() {
    for kind in kinds() {
        let lines: Vec<&str> = kind.text.split_inclusive('\n').collect();
        assert_eq!(lines.len(), 1 + kind.keys.len());
        for (number, key) in (2..).zip(kind.keys) {
            let line = lines[number - 1];
            assert!(line.starts_with(&format!("{key} ")), "{line}");
            let refused = |changed: &str, at: usize| {
                let error = (kind.again)(changed).unwrap_err();
                assert_eq!((error.error_code().get(), error.line), (1803, at), "{changed}");
            };
            refused(&with_line(&kind.text, number, ""), number);
            refused(&with_line(&kind.text, number, &line.repeat(2)), number + 1);
            refused(&with_line(&kind.text, number, &format!("x{line}")), number);
            refused(&with_line(&kind.text, number, &line.to_uppercase()), number);
            refused(&with_line(&kind.text, number, &format!(" {line}")), number);
            refused(&with_line(&kind.text, number, &format!("\n{line}")), number);
            if let Some(next) = lines.get(number) {
                let exchanged = with_line(&with_line(&kind.text, number, next), number + 1, line);
                refused(&exchanged, number);
            }
            let before = lines[..number - 1].concat();
            refused(&before, number);
            refused(&format!("{before}{}", line.trim_end()), number);
        }
    }
}

#[test]
fn nothing_stands_behind_the_last_line() {
    for kind in kinds() {
        for behind in ["\n", " ", "x", "ext a b\n", "samples 1\n", &kind.text] {
            let error = (kind.again)(&format!("{}{behind}", kind.text)).unwrap_err();
            assert_eq!((error.error_code().get(), error.line), (1803, kind.keys.len() + 2), "{behind:?}");
        }
    }
}

#[test]
fn each_malformed_value_is_refused_where_it_stands() {
    let hash = "0".repeat(64);
    let hashes =
        [&hash[1..], &format!("{hash}0"), &"A".repeat(64), &"g".repeat(64), "none"].map(String::from);
    let times =
        ["never", "2026-11-20", "2026-02-29T00:00:00Z", "2026-11-20T16:31:60Z", "2026-11-20T16:31:00+00:00"]
            .map(String::from);
    let good = node(100).vkey().to_string();
    let vkeys = [good.replace('+', " "), good.replace("node", "mode"), good[..good.len() - 1].into()];
    let names = ["/a", "a/", "a b", ".a", "a//b"].map(String::from);
    for kind in kinds() {
        for (number, key) in (2..).zip(kind.keys) {
            let two = kind.text.contains("/audit-report/");
            let bad: &[String] = match *key {
                "head" | "root" | "nonce" | "challenge" | "response" => &hashes,
                "issued" | "deadline" | "received" | "verified" => &times,
                "prover" | "node" => &vkeys,
                "name" => &names,
                "samples" if two => &[
                    "90".into(),
                    "90 ".into(),
                    "0 5".into(),
                    "6 5".into(),
                    "4097 5000".into(),
                    "01 5".into(),
                    "1 05".into(),
                    "1 9007199254740992".into(),
                    "1 5 ".into(),
                    "1  5".into(),
                ],
                _ => &["0".into(), "4097".into(), "01".into(), "1 5".into(), "-1".into(), "1 ".into()],
            };
            let value = kind.text.lines().nth(number - 1).unwrap().split_once(' ').unwrap().1;
            let padded = [String::new(), format!(" {value}"), format!("{value} "), format!("{value}\u{a0}")];
            for bad in bad.iter().chain(&padded) {
                let changed = with_line(&kind.text, number, &format!("{key} {bad}\n"));
                let error = (kind.again)(&changed).unwrap_err();
                assert_eq!((error.error_code().get(), error.line), (1804, number), "{changed}");
            }
            let alone = with_line(&kind.text, number, &format!("{key}\n"));
            assert_eq!((kind.again)(&alone).map_err(|e| (e.error_code().get(), e.line)), Err((1804, number)));
        }
    }
}

#[test]
fn another_kind_of_text_is_refused_at_its_first_line() {
    let texts: Vec<(&str, String)> = kinds()
        .into_iter()
        .map(|kind| (kind.name, kind.text))
        .chain([("head", EXAMPLE.into()), ("nothing", String::new())])
        .collect();
    for kind in kinds() {
        for (name, text) in &texts {
            let expected = if *name == kind.name { 0 } else { 1802 };
            assert_eq!(code((kind.again)(text)), expected, "{text}");
        }
        let first = kind.text.lines().next().unwrap();
        let (before, version) = first.split_at(first.len() - 2);
        for other in ["v0", "v9", &format!("{version} "), &format!("{version}\r"), &format!("{version}1")] {
            let changed = with_line(&kind.text, 1, &format!("{before}{other}\n"));
            let error = (kind.again)(&changed).unwrap_err();
            assert_eq!((error.error_code().get(), error.line), (1802, 1), "{changed}");
        }
        assert_eq!(code((kind.again)(first)), 1802, "a line without LF is no line");
        assert_eq!(code((kind.again)(&kind.text[1..])), 1802);
        // The head's reader refuses such a text in the same way.
        assert_eq!(Head::parse(&kind.text).map_err(|e: HeadError| e.error_code().get()), Err(1202));
    }
}

#[test]
fn another_kinds_text_is_refused_under_a_good_signature() {
    let all = kinds();
    for kind in &all {
        for other in &all {
            let note = note(&other.text, &[alice().line(&other.text)]);
            assert_eq!((kind.signed)(note.as_bytes()), if kind.name == other.name { 0 } else { 1802 });
        }
        let head = note(EXAMPLE, &[alice().line(EXAMPLE)]);
        assert_eq!((kind.signed)(head.as_bytes()), 1802);
    }
}

#[test]
fn lines_that_contradict_each_other_are_refused() {
    let deadline = |seconds| Challenge { deadline: created_plus(seconds), ..challenge() };
    for (seconds, expected) in [(1, 0), (0, 1805), (-1, 1805)] {
        assert_eq!(code(deadline(seconds).to_text()), expected);
        assert_eq!(code(Challenge::parse(&deadline(seconds).to_string())), expected);
    }
    let received = |seconds| Report { received: created_plus(seconds), ..report(&node(100), 1) };
    for (seconds, expected) in [(1, 0), (0, 0), (-1, 1805)] {
        assert_eq!(code(received(seconds).to_text()), expected);
        assert_eq!(code(Report::parse(&received(seconds).to_string())), expected);
    }
    // A line after the last expected one is reported before a contradiction.
    let trailing = format!("{}\n", deadline(0));
    assert_eq!(code(Challenge::parse(&trailing)), 1803);
}

#[test]
fn samples_stay_within_their_bounds() {
    for (samples, expected) in [(0, 1804), (1, 0), (4_096, 0), (4_097, 1804), (u64::MAX, 1804)] {
        assert_eq!(code(Challenge { samples, ..challenge() }.to_text()), expected);
        let all = Report { samples, of: samples, ..report(&node(100), 1) };
        assert_eq!(code(all.to_text()), expected);
    }
    for (of, expected) in [(89, 1804), (90, 0), ((1 << 53) - 1, 0), (1 << 53, 1804)] {
        assert_eq!(code(Report { of, ..report(&node(100), 1) }.to_text()), expected);
    }
}

#[test]
fn a_text_of_more_than_4096_bytes_is_refused_whatever_it_says() {
    let room = 4_096 - challenge().to_text().unwrap().len();
    let named = |more: usize| {
        let name = format!("node-100{}", "x".repeat(more));
        Challenge { prover: Key::new(&name, 100).vkey(), ..challenge() }
    };
    assert_eq!(named(room).to_text().unwrap().len(), 4_096);
    let error = named(room + 1).to_text().unwrap_err();
    assert_eq!((error.error_code().get(), error.line), (1801, 0));
    assert_eq!(error.to_string(), "the challenge's text has at most 4096 bytes, this one 4097");
    assert_eq!(code(Report::parse(&"x".repeat(4_097))), 1801);
    assert_eq!(code(Receipt::parse(&"x".repeat(4_096))), 1802);
}

#[test]
fn each_fault_is_said_in_a_sentence_with_its_line() {
    let say = |error: StatementError| error.to_string();
    let text = challenge().to_text().unwrap();
    for (changed, sentence) in [
        (with_line(&text, 1, "x\n"), "the challenge does not begin weighbridge/audit-challenge/v1 (line 1)"),
        (with_line(&text, 3, ""), "the challenge's line 'root' is missing (line 3)"),
        (with_line(&text, 5, "nonce 1\n"), "the challenge's value of 'nonce' is malformed (line 5)"),
        (format!("{text}x"), "the challenge goes on behind its last line (line 9)"),
    ] {
        assert_eq!(Challenge::parse(&changed).map_err(say), Err(sentence.into()));
    }
    let early = Challenge { deadline: created_plus(0), ..challenge() };
    assert_eq!(
        early.to_text().map_err(say),
        Err("the challenge contradicts itself: its deadline is not after it was issued".into())
    );
    let signed = |lines: &[NoteSignature]| {
        let text = receipt().to_text().unwrap();
        SignedReceipt::parse(note(&text, lines).as_bytes()).unwrap().check().map_err(say).unwrap_err()
    };
    assert_eq!(
        signed(&[mallory().line(EXAMPLE)]),
        "the receipt is not signed by the key that has to have signed it"
    );
    assert_eq!(
        signed(&[node(100).line(EXAMPLE)]),
        "the signature of the receipt does not verify: it was altered"
    );
    let of_another = Receipt { head: HeadId::from_bytes([1; 32]), ..receipt() };
    assert_eq!(of_another.check_is_of(&head()).map_err(say), Err("the receipt is of another head".into()));
}

#[test]
fn every_changed_byte_of_a_signed_statement_is_refused() {
    for kind in kinds() {
        let good = note(&kind.text, &[alice().line(&kind.text)]);
        assert_eq!((kind.signed)(good.as_bytes()), 0);
        for at in 0..good.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128] {
                let mut changed = good.clone().into_bytes();
                changed[at] ^= flip;
                assert_ne!((kind.signed)(&changed), 0, "byte {at} ^ {flip}");
            }
            let mut removed = good.clone().into_bytes();
            removed.remove(at);
            assert_ne!((kind.signed)(&removed), 0, "without byte {at}");
            assert_ne!((kind.signed)(&good.as_bytes()[..at]), 0, "cut at {at}");
        }
    }
}

#[test]
fn what_stands_in_the_line_of_another_key_changes_nothing() {
    for kind in kinds() {
        let foreign = mallory().line(&kind.text);
        let good = note(&kind.text, &[foreign.clone(), alice().line(&kind.text), foreign.clone()]);
        assert_eq!((kind.signed)(good.as_bytes()), 0);
        // A signature line matches by the key itself, not by its name or its id alone.
        let altered = mallory().claim([0; 64]);
        let lines = [altered, Key::new("alice", 66).line(EXAMPLE), alice().line(&kind.text)];
        assert_eq!((kind.signed)(note(&kind.text, &lines).as_bytes()), 0);
    }
}

#[test]
fn the_wanted_key_has_to_have_signed_and_every_line_of_its_has_to_verify() {
    for kind in kinds() {
        let code = |lines: &[NoteSignature]| (kind.signed)(note(&kind.text, lines).as_bytes());
        let good = alice().line(&kind.text);
        assert_eq!(code(&[mallory().line(&kind.text)]), 3301);
        assert_eq!(code(&[Key::new("alicia", 1).line(&kind.text)]), 3301, "the same key under another name");
        assert_eq!(code(&[Key::new("alice", 66).line(&kind.text)]), 3301, "another key under the same name");
        assert_eq!(code(&[alice().line(EXAMPLE)]), 3101);
        assert_eq!(code(&[alice().claim([7; 63])]), 3101);
        assert_eq!(code(&[alice().claim([7; 65])]), 3101);
        assert_eq!(code(&[good.clone(), alice().line(EXAMPLE)]), 3101, "a bad line beside a good one");
        assert_eq!(code(&[good.clone(), good]), 0);
        assert_eq!((kind.signed)(kind.text.as_bytes()), 1103);
    }
}

#[test]
fn signatures_come_before_the_text_except_of_a_receipt() {
    let [challenge, report, receipt, _] = kinds();
    for (kind, expected) in [(challenge, 3101), (report, 3101), (receipt, 1803)] {
        let broken = format!("{}x\n", kind.text);
        assert_eq!((kind.signed)(note(&broken, &[alice().line(&kind.text)]).as_bytes()), expected);
        assert_eq!((kind.signed)(note(&broken, &[alice().line(&broken)]).as_bytes()), 1803);
    }
}

#[test]
fn a_challenge_has_the_hash_of_its_text_alone() {
    let text = challenge().to_text().unwrap();
    let hash = ChallengeHash::of_text(text.as_bytes());
    for lines in [vec![alice().line(&text)], vec![mallory().line(&text), alice().line(&text)]] {
        let signed = SignedChallenge::parse(note(&text, &lines).as_bytes()).unwrap();
        let verified = signed.verify(&alice().vkey()).unwrap();
        assert_eq!((verified.challenge(), verified.hash(), verified.text()), (&challenge(), hash, &*text));
        let claims = signed.claims().unwrap();
        assert_eq!((claims.challenge(), claims.hash(), claims.text()), (&challenge(), hash, &*text));
    }
    // A prover need not know the auditor, and reads by form alone.
    let unsigned = SignedChallenge::parse(note(&text, &[alice().claim([0; 64])]).as_bytes()).unwrap();
    assert!(unsigned.claims().is_ok());
    let broken = text.replace("samples 90", "samples 0");
    let broken = SignedChallenge::parse(note(&broken, &[alice().line(&broken)]).as_bytes()).unwrap();
    assert_eq!(code(broken.claims()), 1804);
}

#[test]
fn a_receipt_is_checked_by_the_key_that_it_names_and_for_the_head_that_it_is_shown_with() {
    let text = receipt().to_text().unwrap();
    let signed = SignedReceipt::parse(note(&text, &[node(100).line(&text)]).as_bytes()).unwrap();
    let claim = signed.check().unwrap();
    assert_eq!(claim.receipt(), &receipt());
    assert_eq!(code(claim.receipt().check_is_of(&head())), 0);
    let head = head();
    for other in [
        Receipt { name: kit::name("another/model"), ..receipt() },
        Receipt { head: HeadId::from_bytes([1; 32]), ..receipt() },
        Receipt { root: ModelRoot::from_bytes([1; 32]), ..receipt() },
    ] {
        assert_eq!(code(other.check_is_of(&head)), 3302);
    }
}

#[test]
fn a_response_is_signed_with_a_first_line_of_its_own() {
    let message = response_message(&ChallengeHash::from_bytes([1; 32]), &ResponseHash::from_bytes([2; 32]));
    let expected = [b"weighbridge/audit-response/v1\n".as_slice(), &[1; 32], &[2; 32]].concat();
    assert_eq!(message.as_slice(), expected);
}

// The reports that count.

fn signed_by(report: &Report, auditors: &[&Key]) -> SignedReport {
    let text = report.to_text().unwrap();
    let lines: Vec<_> = auditors.iter().map(|auditor| auditor.line(&text)).collect();
    SignedReport::parse(note(&text, &lines).as_bytes()).unwrap()
}

/// A report by `auditor` about `prover`, received when the head was created.
fn by(auditor: &Key, prover: &Key) -> SignedReport {
    signed_by(&report(prover, 0), &[auditor])
}

fn listing(threshold: usize, auditors: Vec<TrustedKey>, revoked: &[Key]) -> TrustPolicy {
    let policy = policy(vec![publisher("*", 1, &[carol()])], revoked);
    policy.with_auditors(threshold, auditors).unwrap()
}

fn auditors(threshold: usize, keys: &[Key]) -> TrustPolicy {
    listing(threshold, trusted(keys), &[])
}

/// The code, or 0; the number of reports that count; and the reasons why the others do not, by number.
fn verdict(reports: &[SignedReport], policy: &TrustPolicy) -> (u16, usize, Vec<(usize, NotCounted)>) {
    let result = head().held(reports, policy, Some(created_plus(0)), 100);
    let why = |all: &[weighbridge_manifest::PassedOver]| all.iter().map(|p| (p.number, p.why)).collect();
    match result {
        Ok(held) => (0, held.counted().len(), why(held.passed_over())),
        Err(HeldError::TooFew { have, ref passed_over, .. }) => (3303, have, why(passed_over)),
        Err(error) => (error.error_code().get(), 0, Vec::new()),
    }
}

#[test]
fn enough_reports_by_distinct_auditors_of_distinct_provers_make_a_model_held() {
    let policy = auditors(2, &[alice(), bob()]);
    let reports = [by(&alice(), &node(101)), by(&bob(), &node(102))];
    let held = head().held(&reports, &policy, Some(created_plus(10)), 11).unwrap();
    let counted: Vec<_> = held
        .counted()
        .iter()
        .map(|c| (c.number, c.auditor.name.as_str(), c.auditor.key, c.prover.to_string(), c.received))
        .collect();
    let expected = |number, auditor: Key, prover: u8| {
        let name = if number == 1 { "alice" } else { "bob" };
        (number, name, *auditor.vkey().public_key(), node(prover).vkey().to_string(), created_plus(0))
    };
    assert_eq!(counted, [expected(1, alice(), 101), expected(2, bob(), 102)]);
    assert!(held.passed_over().is_empty());
    assert_eq!(verdict(&reports[..1], &policy), (3303, 1, vec![]));
    assert_eq!(verdict(&[], &policy), (3303, 0, vec![]));
    // Reports beyond the threshold count too.
    assert_eq!(verdict(&reports, &auditors(1, &[alice(), bob()])), (0, 2, vec![]));
}

/// Asserts that either of the two reports may count, but not both.
fn one_of_two(reports: &[SignedReport; 2], policy: &TrustPolicy) {
    let (code, have, why) = verdict(reports, policy);
    assert_eq!((code, have), (3303, 1));
    assert!(matches!(why[..], [(1 | 2, NotCounted::Repeated)]), "{why:?}");
}

#[test]
fn an_auditor_that_reports_twice_has_looked_once_and_a_node_asked_twice_is_one_node() {
    let policy = auditors(2, &[alice(), bob()]);
    one_of_two(&[by(&alice(), &node(101)), by(&alice(), &node(102))], &policy);
    one_of_two(&[by(&alice(), &node(101)), by(&bob(), &node(101))], &policy);
    one_of_two(&[by(&alice(), &node(101)), by(&alice(), &node(101))], &policy);
}

#[test]
fn one_key_under_two_names_counts_once_on_either_side() {
    let anna = Key::new("anna", 1);
    let policy = listing(2, trusted(&[alice(), anna.clone(), bob()]), &[]);
    one_of_two(&[by(&alice(), &node(101)), by(&anna, &node(102))], &policy);
    let renamed = Key::new("another-name", 101);
    one_of_two(&[by(&alice(), &node(101)), by(&bob(), &renamed)], &policy);
}

#[test]
fn a_choice_that_takes_reports_as_they_come_would_fall_short() {
    // Alice has reports about both nodes, Bob only about the first. So Alice has to count for the second.
    let [a, b] = [node(101), node(102)];
    let reports = [by(&alice(), &a), by(&alice(), &b), by(&bob(), &a)];
    let policy = auditors(2, &[alice(), bob()]);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let reports = order.map(|i| reports[i].clone());
        let passed_over = 1 + order.iter().position(|&i| i == 0).unwrap();
        assert_eq!(verdict(&reports, &policy), (0, 2, vec![(passed_over, NotCounted::Repeated)]));
    }
    // An augmenting path that goes back over two auditors.
    let (c, three) = (node(103), auditors(3, &[alice(), bob(), carol()]));
    let reports = [by(&alice(), &a), by(&alice(), &b), by(&bob(), &b), by(&bob(), &c), by(&carol(), &a)];
    assert_eq!(verdict(&reports, &three).0, 0);
}

#[test]
fn a_report_by_several_auditors_counts_for_one_of_them() {
    let both = signed_by(&report(&node(101), 0), &[&alice(), &bob()]);
    let policy = auditors(2, &[alice(), bob()]);
    assert_eq!(verdict(std::slice::from_ref(&both), &policy), (3303, 1, vec![]));
    // The report counts for the auditor that leaves the other one free for another report.
    for auditor in [alice(), bob()] {
        assert_eq!(verdict(&[both.clone(), by(&auditor, &node(102))], &policy), (0, 2, vec![]));
    }
}

#[test]
fn of_two_reports_of_the_same_pair_the_later_is_shown() {
    let at = |received| signed_by(&report(&node(101), received), &[&alice()]);
    let policy = auditors(1, &[alice()]);
    for (reports, number) in [([at(-5), at(-2)], 2), ([at(-2), at(-5)], 1), ([at(-2), at(-2)], 1)] {
        let held = head().held(&reports, &policy, Some(created_plus(0)), 100).unwrap();
        assert_eq!(held.counted()[0].number, number);
        assert_eq!(held.counted()[0].received, created_plus(-2));
        assert_eq!(held.passed_over()[0].why, NotCounted::Repeated);
    }
}

#[test]
fn a_policy_without_auditors_calls_nothing_held() {
    let none = policy(vec![publisher("*", 1, &[alice()])], &[]);
    assert_eq!(verdict(&[by(&alice(), &node(101))], &none).0, 3304);
    assert_eq!(verdict(&[], &none).0, 3304);
    // A publisher is not an auditor.
    let other = auditors(1, &[bob()]);
    assert_eq!(
        verdict(&[by(&carol(), &node(101))], &other),
        (3303, 0, vec![(1, NotCounted::UnknownAuditor)])
    );
}

#[test]
fn a_report_of_a_revoked_key_is_passed_over_under_every_name() {
    let report = by(&alice(), &node(101));
    for revoked in [alice(), Key::new("anna", 1)] {
        let policy = listing(1, trusted(&[alice(), bob()]), &[revoked]);
        let revoked = (1, NotCounted::Revoked);
        assert_eq!(verdict(std::slice::from_ref(&report), &policy), (3303, 0, vec![revoked]));
        assert_eq!(verdict(&[report.clone(), by(&bob(), &node(101))], &policy), (0, 1, vec![revoked]));
        // Signatures by a revoked key are checked no more than those by an unknown key.
        let text = self::report(&node(101), 0).to_text().unwrap();
        let bad = SignedReport::parse(note(&text, &[alice().line(EXAMPLE)]).as_bytes()).unwrap();
        assert_eq!(verdict(&[bad], &policy), (3303, 0, vec![(1, NotCounted::UnknownAuditor)]));
    }
}

#[test]
fn an_auditors_dates_are_compared_with_the_time_of_the_answer() {
    let between = |from: i64, until: i64| TrustedKey {
        vkey: alice().vkey(),
        from: Some(created_plus(from)),
        until: Some(created_plus(until)),
    };
    let report = [by(&alice(), &node(101))];
    for (from, until, counts) in [(0, 1, true), (-1, 1, true), (-1, 0, false), (1, 2, false)] {
        let expected = if counts { (0, 1, vec![]) } else { (3303, 0, vec![(1, NotCounted::OutOfDate)]) };
        assert_eq!(verdict(&report, &listing(1, vec![between(from, until)], &[])), expected);
    }
    // One key is listed twice with different dates, and either listing suffices.
    let policy = listing(1, vec![between(-9, -8), between(0, 1)], &[]);
    assert_eq!(verdict(&report, &policy).0, 0);
    // Alice is out of date and Bob is not, so the report counts for Bob.
    let policy = listing(1, vec![between(1, 2), bob().vkey().into()], &[]);
    let both = signed_by(&self::report(&node(101), 0), &[&alice(), &bob()]);
    let held = head().held(&[both], &policy, Some(created_plus(0)), 1).unwrap();
    assert_eq!(held.counted()[0].auditor.name.as_str(), "bob");
}

#[test]
fn a_report_too_old_or_from_the_future_or_without_a_time_does_not_count() {
    let policy = auditors(1, &[alice()]);
    let at = |received| [signed_by(&report(&node(101), received), &[&alice()])];
    for (received, why) in [
        // The challenge was issued a second before.
        (-99, None),
        (-100, Some(NotCounted::TooOld)),
        (86_400, None),
        (86_401, Some(NotCounted::FromTheFuture)),
    ] {
        let expected = why.map_or((0, 1, vec![]), |why| (3303, 0, vec![(1, why)]));
        assert_eq!(verdict(&at(received), &policy), expected, "{received}");
    }
    let error = head().held(&at(0), &policy, None, u64::MAX).unwrap_err();
    assert_eq!(error.error_code().get(), 3303);
    let HeldError::TooFew { passed_over, .. } = error else { unreachable!("it is 3303") };
    assert_eq!((passed_over.len(), passed_over[0].why), (1, NotCounted::TimeUnknown));
}

/// A prover computed its response when the challenge was issued, and sent it a year later, when nothing of the model
/// was left.
#[test]
fn the_age_of_a_report_counts_from_when_the_challenge_was_issued() {
    let policy = auditors(1, &[alice()]);
    let late = Report { issued: created_plus(-31_536_000), ..report(&node(101), 0) };
    assert_eq!(verdict(&[signed_by(&late, &[&alice()])], &policy), (3303, 0, vec![(1, NotCounted::TooOld)]));
}

#[test]
fn a_signature_line_that_is_repeated_is_checked_once_and_changes_nothing() {
    let policy = auditors(1, &[alice()]);
    let text = report(&node(101), 0).to_text().unwrap();
    let line = alice().line(&text);
    let bad = alice().line("another text");
    let of = |lines: &[NoteSignature]| SignedReport::parse(note(&text, lines).as_bytes()).unwrap();
    assert_eq!(verdict(&[of(&vec![line.clone(); 100])], &policy).0, 0);
    assert_eq!(verdict(&[of(&[line.clone(), bad.clone(), bad, line])], &policy).0, 3101);
}

#[test]
fn a_report_that_no_listed_auditor_signed_is_not_even_read() {
    let policy = auditors(1, &[alice()]);
    let text = "no report at all\n";
    let foreign = |lines: &[NoteSignature]| SignedReport::parse(note(text, lines).as_bytes()).unwrap();
    let unknown = vec![(1, NotCounted::UnknownAuditor)];
    let good = by(&alice(), &node(101));
    for reports in [
        [foreign(&[mallory().line(text)]), good.clone()],
        [foreign(&[mallory().claim([0; 64])]), good.clone()],
        [foreign(&[Key::new("alice", 66).line(text)]), good],
    ] {
        assert_eq!(verdict(&reports, &policy), (0, 1, unknown.clone()));
    }
}

#[test]
fn a_bad_report_by_a_listed_auditor_is_named() {
    let policy = auditors(1, &[alice(), bob()]);
    let good = by(&alice(), &node(101));
    let text = report(&node(102), 0).to_text().unwrap();
    let of = |text: &str, lines: &[NoteSignature]| SignedReport::parse(note(text, lines).as_bytes()).unwrap();
    let malformed = format!("{text}x\n");
    let challenge = challenge().to_text().unwrap();
    let early = text.replace("received 2026", "received 2025");
    let long = "x".repeat(4_096) + "\n";
    let empty = text.replace("samples 90 ", "samples 0 ");
    for (bad, code) in [
        (of(&text, &[bob().line(EXAMPLE)]), 3101),
        (of(&text, &[alice().line(&text), bob().claim([0; 63])]), 3101),
        (of(&malformed, &[bob().line(&text)]), 3101),
        (of(&long, &[bob().line(&long)]), 1801),
        (of(&challenge, &[bob().line(&challenge)]), 1802),
        (of(&malformed, &[bob().line(&malformed)]), 1803),
        (of(&empty, &[bob().line(&empty)]), 1804),
        (of(&early, &[bob().line(&early)]), 1805),
        (signed_by(&Report { name: kit::name("a/b"), ..report(&node(102), 0) }, &[&bob()]), 3302),
        (signed_by(&Report { head: HeadId::from_bytes([0; 32]), ..report(&node(102), 0) }, &[&bob()]), 3302),
        (
            signed_by(&Report { root: ModelRoot::from_bytes([0; 32]), ..report(&node(102), 0) }, &[&bob()]),
            3302,
        ),
    ] {
        let reports = [good.clone(), bad, good.clone()];
        let error = head().held(&reports, &policy, Some(created_plus(0)), 100).unwrap_err();
        assert_eq!(error.error_code().get(), code);
        assert!(error.to_string().starts_with("report 2: "), "{error}");
    }
    let bad = [of(&text, &[bob().line(EXAMPLE)])];
    let error = head().held(&bad, &policy, None, 0).unwrap_err();
    assert_eq!(error.to_string(), "report 1: the signature by 'bob' does not verify: it was altered");
}

#[test]
fn a_report_of_another_head_is_refused_even_if_it_is_old_and_passed_over_if_its_auditor_is_revoked() {
    let other = Report { head: HeadId::from_bytes([0; 32]), ..report(&node(101), -10_000) };
    let policy = listing(1, trusted(&[alice(), bob()]), &[alice()]);
    assert_eq!(verdict(&[signed_by(&other, &[&alice()])], &policy).0, 3303);
    assert_eq!(verdict(&[signed_by(&other, &[&bob()])], &policy).0, 3302);
}

#[test]
fn more_reports_than_the_limit_are_not_judged() {
    let policy = auditors(1, &[alice()]);
    let good = by(&alice(), &node(101));
    let unknown = by(&mallory(), &node(101));
    let mut reports = vec![unknown; MAX_REPORTS];
    reports[MAX_REPORTS - 1] = good;
    assert_eq!(verdict(&reports, &policy).0, 0);
    reports.push(by(&mallory(), &node(101)));
    let error = head().held(&reports, &policy, None, 0).unwrap_err();
    assert_eq!(error.error_code().get(), 9001);
    assert_eq!(error.to_string(), "at most 1000 reports are judged at once, these are 1001");
}

#[test]
fn refusals_are_said_in_sentences() {
    assert_eq!(HeldError::NoAuditors.to_string(), "the policy lists no auditors");
    let error = head().held(&[], &auditors(2, &[alice(), bob()]), None, 0).unwrap_err();
    assert_eq!(error.to_string(), "0 of 2 demanded reports count");
    let sentences = [
        NotCounted::UnknownAuditor,
        NotCounted::Revoked,
        NotCounted::OutOfDate,
        NotCounted::TimeUnknown,
        NotCounted::TooOld,
        NotCounted::FromTheFuture,
        NotCounted::Repeated,
    ]
    .map(|why| why.to_string());
    assert_eq!(
        sentences,
        [
            "no listed auditor signed it",
            "its auditor's key is revoked",
            "its auditor's key was out of date when the response came",
            "the time is not known",
            "it is too old",
            "it is from the future",
            "its auditor or its prover counts already",
        ]
    );
}

#[test]
fn auditors_that_could_never_be_enough_are_refused() {
    let with = |threshold, keys: Vec<TrustedKey>| {
        let policy = policy(vec![publisher("*", 1, &[carol()])], &[]);
        policy.with_auditors(threshold, keys).map_or_else(|error| error.error_code().get(), |_| 0)
    };
    assert_eq!(with(2, trusted(&[alice(), bob()])), 0);
    assert_eq!(with(0, trusted(&[alice()])), 1604);
    assert_eq!(with(2, trusted(&[alice()])), 1604);
    assert_eq!(with(2, trusted(&[alice(), Key::new("anna", 1)])), 1604, "one key under two names");
    assert_eq!(with(1, Vec::new()), 1605);
    let dates = |from, until| TrustedKey {
        vkey: bob().vkey(),
        from: Some(created_plus(from)),
        until: Some(created_plus(until)),
    };
    assert_eq!(with(1, vec![alice().vkey().into(), dates(0, 1)]), 0);
    assert_eq!(with(1, vec![alice().vkey().into(), dates(0, 0)]), 1606);
    let error = TrustPolicy::pinned(head().id()).with_auditors(1, vec![alice().vkey().into(), dates(1, 0)]);
    assert_eq!(
        error.map_err(|error: PolicyError| error.to_string()).err(),
        Some("held: key 2: 'from' is not before 'until'".into())
    );
}

#[test]
fn auditors_have_no_say_over_heads() {
    let policy = TrustPolicy::any_of(vec![alice().vkey()]).unwrap();
    let policy = policy.with_auditors(1, trusted(&[bob()])).unwrap();
    let verdict = |keys: &[Key]| {
        kit::verdict(kit::signed(EXAMPLE, keys), &policy, &weighbridge_manifest::Expectation::any(), None)
    };
    assert_eq!(verdict(&[alice()]), 0);
    assert_eq!(verdict(&[bob()]), 3102);
    // A bad line under an auditor's name counts as a line by an unknown key.
    let lines = [alice().line(EXAMPLE), bob().claim([0; 64])];
    let signed = kit::note(EXAMPLE, &lines);
    assert_eq!(kit::verdict(signed, &policy, &weighbridge_manifest::Expectation::any(), None), 0);
}
