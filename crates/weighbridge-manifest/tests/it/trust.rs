//! Tests which signatures count: signatures, thresholds, dates, scopes, and the order of the checks.

use std::time::Instant;

use weighbridge_manifest::{
    Expectation, KeyName, NoteSignature, Publisher, Role, Scope, Shortage, Signature, SignedHead, TrustError,
    TrustPolicy, TrustedKey, tree::head_id,
};

use crate::kit::{
    EXAMPLE, Key, alice, bob, carol, created_plus, mallory, note, policy, publisher, signed, trusted, verdict,
};

/// The code of the verdict on the example, for a caller that wants any model and knows no time.
fn code(note: SignedHead, policy: &TrustPolicy) -> u16 {
    verdict(note, policy, &Expectation::any(), None)
}

fn of(threshold: usize, keys: &[Key]) -> TrustPolicy {
    policy(vec![publisher("*", threshold, keys)], &[])
}

/// The names of the signers that counted.
fn signers(note: SignedHead, policy: &TrustPolicy) -> Vec<String> {
    let verified = note.verify(policy, &Expectation::any(), None).unwrap();
    verified.signers().iter().map(|signer| signer.name.as_str().to_owned()).collect()
}

fn renamed(text: &str, name: &str) -> String {
    text.replace("sentence-transformers/all-MiniLM-L6-v2", name)
}

#[test]
fn believes_a_head_that_enough_trusted_keys_signed() {
    let one = of(1, &[alice()]);
    assert_eq!(signers(signed(EXAMPLE, &[alice()]), &one), ["alice"]);
    assert_eq!(signers(signed(EXAMPLE, &[mallory(), alice(), carol()]), &one), ["alice"]);
    let two = of(2, &[alice(), bob(), carol()]);
    assert_eq!(signers(signed(EXAMPLE, &[carol(), alice()]), &two), ["alice", "carol"]);
    let verified = signed(EXAMPLE, &[alice()]).verify(&one, &Expectation::any(), None).unwrap();
    assert_eq!((verified.text(), verified.id()), (EXAMPLE, head_id(EXAMPLE.as_bytes())));
    assert_eq!(verified.head().to_string(), EXAMPLE);
    assert_eq!(verified.signers()[0].key, *alice().vkey().public_key());
    let any = TrustPolicy::any_of(vec![alice().vkey(), bob().vkey()]).unwrap();
    assert_eq!(signers(signed(EXAMPLE, &[bob()]), &any), ["bob"]);
}

#[test]
fn unknown_keys_are_ignored_and_do_not_count() {
    let one = of(1, &[alice()]);
    assert_eq!(code(signed(EXAMPLE, &[mallory()]), &one), 3102);
    assert_eq!(code(signed(EXAMPLE, &[Key::new("alice2", 1)]), &one), 3102, "a known key, an unknown name");
    assert_eq!(code(signed(EXAMPLE, &[Key::new("alice", 66)]), &one), 3102, "a known name, an unknown key");
    // A line by an unknown key is ignored, whether or not it is valid, and of any type.
    let unknown = |bytes: usize| {
        NoteSignature::new(KeyName::parse("pq").unwrap(), [1, 2, 3, 4], Signature::new(vec![7; bytes]))
    };
    let good = alice().line(EXAMPLE);
    let lines = [mallory().claim([0; 64]), unknown(1), unknown(2_420), unknown(7_856), good];
    assert_eq!(code(note(EXAMPLE, &lines), &one), 0);
    assert_eq!(code(note(EXAMPLE, &lines[..4]), &one), 3102);
    // An id is not a key: a line under alice's name with another id is not hers.
    let other_id = NoteSignature::new(KeyName::parse("alice").unwrap(), [0; 4], alice().sign(EXAMPLE));
    assert_eq!(code(note(EXAMPLE, &[other_id]), &one), 3102);
}

#[test]
fn a_bad_signature_by_a_known_key_refuses_whatever_stands_beside_it() {
    let one = of(1, &[alice(), bob()]);
    let good = alice().sign(EXAMPLE).as_bytes().to_vec();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    let longer = [good.as_slice(), &[0]].concat();
    for bad in [
        flipped(0),
        flipped(31),
        flipped(32),
        flipped(63),
        good[..63].to_vec(),
        longer,
        vec![0; 64],
        vec![1],
        bob().sign(EXAMPLE).as_bytes().to_vec(),
        alice().sign(&EXAMPLE[..EXAMPLE.len() - 1]).as_bytes().to_vec(),
    ] {
        let line = alice().claim(bad);
        assert_eq!(code(note(EXAMPLE, std::slice::from_ref(&line)), &one), 3101);
        assert_eq!(code(note(EXAMPLE, &[bob().line(EXAMPLE), line.clone()]), &one), 3101);
        assert_eq!(
            code(note(EXAMPLE, &[line, alice().line(EXAMPLE)]), &one),
            3101,
            "beside its own good one"
        );
    }
    let elsewhere = policy(vec![publisher("*", 1, &[alice()]), publisher("org/*", 1, &[bob()])], &[]);
    let lines = [alice().line(EXAMPLE), bob().claim([0; 64])];
    assert_eq!(code(note(EXAMPLE, &lines), &elsewhere), 3101, "by a key of another publisher");
    let error = note(EXAMPLE, &lines).verify(&elsewhere, &Expectation::any(), None).unwrap_err();
    assert_eq!(error.to_string(), "the signature by 'bob' does not verify: the head was altered");
}

#[test]
fn a_signature_in_other_bytes_is_another_signature() {
    // S + L satisfies the same equation. Libraries that accept it allow many notes for one head.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = alice().sign(EXAMPLE).as_bytes().to_vec();
    let mut carry = 0;
    for (s, l) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        [*s, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits");
    assert_eq!(code(note(EXAMPLE, &[alice().claim(signature)]), &of(1, &[alice()])), 3101);
}

#[test]
fn the_signed_text_is_the_received_one() {
    let one = of(1, &[alice()]);
    let line = alice().line(EXAMPLE);
    for altered in [
        EXAMPLE.replace("revision 1", "revision 01"),
        EXAMPLE.replace("91618861", "91618860"),
        format!("{EXAMPLE}ext a b\n"),
        EXAMPLE.replace("never", "never "),
    ] {
        assert_eq!(code(note(&altered, std::slice::from_ref(&line)), &one), 3101, "{altered}");
    }
}

#[test]
fn a_key_counts_once_under_all_its_names_and_lines() {
    let again = Key::new("alice-again", 1);
    let two = of(2, &[alice(), again.clone(), bob()]);
    assert_eq!(code(signed(EXAMPLE, &[alice(), again.clone()]), &two), 3103);
    assert_eq!(code(signed(EXAMPLE, &[alice(), alice(), alice()]), &two), 3103);
    assert_eq!(signers(signed(EXAMPLE, &[alice(), again, bob()]), &two), ["alice", "bob"]);
    let error = signed(EXAMPLE, &[alice()]).verify(&two, &Expectation::any(), None).unwrap_err();
    assert_eq!(error, TrustError::NotEnough { why: Shortage::TooFew, have: 1, need: 2 });
    assert_eq!(error.to_string(), "1 of 2 demanded keys signed");
}

#[test]
fn a_revoked_key_never_counts_under_any_name() {
    let keys = [alice(), bob(), carol()];
    let revoking = |threshold, revoked: &[Key]| policy(vec![publisher("*", threshold, &keys)], revoked);
    let one_down = revoking(1, &[alice()]);
    assert_eq!(code(signed(EXAMPLE, &[alice()]), &one_down), 3104);
    assert_eq!(code(signed(EXAMPLE, &[alice()]), &revoking(1, &[Key::new("other", 1)])), 3104);
    assert_eq!(signers(signed(EXAMPLE, &[alice(), bob()]), &one_down), ["bob"]);
    assert_eq!(code(signed(EXAMPLE, &[mallory()]), &one_down), 3102);
    // The signature of a revoked key need not be valid.
    assert_eq!(code(note(EXAMPLE, &[alice().claim([0; 64])]), &one_down), 3102);
    assert_eq!(code(note(EXAMPLE, &[alice().claim([0; 63]), bob().line(EXAMPLE)]), &one_down), 0);
    // Revoked keys are not the reason if there would be too few keys even with them.
    assert_eq!(code(signed(EXAMPLE, &[alice()]), &revoking(2, &[alice()])), 3103);
    assert_eq!(code(signed(EXAMPLE, &[alice(), bob()]), &revoking(2, &[alice()])), 3104);
    assert_eq!(code(signed(EXAMPLE, &[alice(), bob()]), &revoking(3, &[alice(), bob()])), 3103);
    assert_eq!(code(signed(EXAMPLE, &[alice(), bob()]), &revoking(2, &[alice(), bob()])), 3104);
}

/// A policy of alice, who counts in the given span around the example's `created`, and of bob and carol.
fn dated(threshold: usize, from: Option<i64>, until: Option<i64>, revoked: &[Key]) -> TrustPolicy {
    let dated =
        TrustedKey { vkey: alice().vkey(), from: from.map(created_plus), until: until.map(created_plus) };
    let keys = [vec![dated], trusted(&[bob(), carol()])].concat();
    policy(vec![Publisher { scope: Scope::All, role: Role::Publisher, threshold, keys }], revoked)
}

#[test]
fn a_key_counts_from_the_first_second_until_before_the_last() {
    let by_alice = || signed(EXAMPLE, &[alice()]);
    assert_eq!(code(by_alice(), &dated(1, Some(0), Some(1), &[])), 0);
    assert_eq!(code(by_alice(), &dated(1, Some(1), None, &[])), 3105, "a second before from");
    assert_eq!(code(by_alice(), &dated(1, None, Some(0), &[])), 3105, "at until");
    assert_eq!(code(by_alice(), &dated(1, None, Some(-1), &[])), 3105, "after until");
    // The dates are compared with `created`, not with the time of the check.
    let (ended, long_after) = (dated(1, None, Some(1), &[]), Some(created_plus(1 << 30)));
    assert_eq!(verdict(by_alice(), &ended, &Expectation::any(), long_after), 0);
}

#[test]
fn a_shortage_is_explained_by_what_would_have_made_up_the_number() {
    let both = || signed(EXAMPLE, &[alice(), bob()]);
    let late = Some(0);
    assert_eq!(code(both(), &dated(2, None, late, &[])), 3105);
    assert_eq!(code(both(), &dated(2, None, late, &[bob()])), 3105, "one out of date, one revoked");
    assert_eq!(code(both(), &dated(1, None, late, &[bob()])), 3104, "the revoked one would have been enough");
    assert_eq!(code(both(), &dated(1, None, late, &[alice(), bob()])), 3104, "revoked before out of date");
    assert_eq!(code(both(), &dated(3, None, late, &[bob()])), 3103);
    assert_eq!(code(both(), &dated(3, None, late, &[])), 3103);
    assert_eq!(code(signed(EXAMPLE, &[alice()]), &dated(2, None, late, &[])), 3103);
    assert_eq!(code(signed(EXAMPLE, &[mallory()]), &dated(2, None, late, &[bob()])), 3102);
    let text =
        |policy: &TrustPolicy| both().verify(policy, &Expectation::any(), None).unwrap_err().to_string();
    assert_eq!(
        text(&dated(2, None, late, &[])),
        "1 of 2 demanded keys signed, the others were out of date when it was created"
    );
    assert_eq!(text(&dated(2, None, None, &[bob()])), "1 of 2 demanded keys signed, the others are revoked");
}

#[test]
fn a_key_has_the_dates_of_the_name_under_which_it_signs() {
    // One key was renewed under another name. Once, the dates of any of its names counted.
    let renewed = Key::new("alice-2027", 1);
    let until = TrustedKey { vkey: alice().vkey(), from: None, until: Some(created_plus(0)) };
    let from = TrustedKey { vkey: renewed.vkey(), from: Some(created_plus(0)), until: None };
    let policy = policy(
        vec![Publisher { scope: Scope::All, role: Role::Publisher, threshold: 1, keys: vec![until, from] }],
        &[],
    );
    assert_eq!(code(signed(EXAMPLE, &[alice()]), &policy), 3105);
    assert_eq!(signers(signed(EXAMPLE, &[renewed]), &policy), ["alice-2027"]);
    // The same vkey listed twice counts in both spans.
    let span = |from, until| TrustedKey {
        vkey: alice().vkey(),
        from: Some(created_plus(from)),
        until: Some(created_plus(until)),
    };
    for keys in [vec![span(-9, -5), span(-1, 1)], vec![span(-1, 1), span(5, 9)]] {
        let policy = TrustPolicy::new(
            vec![Publisher { scope: Scope::All, role: Role::Publisher, threshold: 1, keys }],
            vec![],
            vec![],
        );
        assert_eq!(code(signed(EXAMPLE, &[alice()]), &policy.unwrap()), 0);
    }
}

#[test]
fn the_longest_scope_decides_alone() {
    let publishers = vec![
        publisher("*", 1, &[carol()]),
        publisher("org/*", 1, &[alice()]),
        publisher("org/team/*", 1, &[mallory()]),
        publisher("org/team", 1, &[Key::new("team", 9)]),
        publisher("org/secret", 1, &[bob()]),
    ];
    let reversed: Vec<Publisher> = publishers.iter().rev().cloned().collect();
    // The order of publishers in the policy has no effect.
    let orders = [policy(publishers, &[]), policy(reversed, &[])];
    let by = |name: &str, key: &Key| {
        let text = renamed(EXAMPLE, name);
        let codes = orders.each_ref().map(|policy| code(signed(&text, std::slice::from_ref(key)), policy));
        assert_eq!(codes[0], codes[1], "{name}");
        codes[0]
    };
    let keys = [alice(), bob(), carol(), mallory(), Key::new("team", 9)];
    for (name, who) in [
        ("org/model", 0),
        ("org/a/b/c", 0),
        ("org/secret/more", 0),
        ("org/secrets", 0),
        ("org/team2", 0),
        ("org/secret", 1),
        ("org", 2),
        ("orgx/a", 2),
        ("other/org/a", 2),
        ("ORG/model", 2),
        ("org/team/model", 3),
        ("org/team/a/b", 3),
        ("org/team", 4),
    ] {
        for (i, key) in keys.iter().enumerate() {
            let expected = if i == who { 0 } else { 3102 };
            assert_eq!(by(name, key), expected, "{name} by key {i}");
        }
    }
}

#[test]
fn a_name_that_no_scope_covers_has_no_publisher() {
    let org = policy(vec![publisher("org/*", 1, &[alice()]), publisher("one/model", 1, &[alice()])], &[]);
    for (name, expected) in [
        ("org/a", 0),
        ("one/model", 0),
        ("orgx/a", 3106),
        ("org", 3106),
        ("or/g", 3106),
        ("one/model/b", 3106),
        ("one", 3106),
        ("one/model2", 3106),
    ] {
        assert_eq!(code(signed(&renamed(EXAMPLE, name), &[alice()]), &org), expected, "{name}");
    }
    let error = signed(EXAMPLE, &[alice()]).verify(&org, &Expectation::any(), None).unwrap_err();
    assert_eq!(error.to_string(), "the policy trusts nobody for 'sentence-transformers/all-MiniLM-L6-v2'");
}

#[test]
fn a_scope_has_its_own_threshold_and_counts_only_its_own_keys() {
    let policy = policy(
        vec![
            publisher("*", 1, &[alice(), bob()]),
            publisher("sentence-transformers/*", 2, &[alice(), carol()]),
        ],
        &[],
    );
    assert_eq!(code(signed(EXAMPLE, &[alice(), bob()]), &policy), 3103);
    assert_eq!(code(signed(EXAMPLE, &[alice(), carol()]), &policy), 0);
    assert_eq!(code(signed(EXAMPLE, &[bob()]), &policy), 3102);
}

#[test]
fn an_accepted_head_needs_no_signature_that_counts() {
    let id = head_id(EXAMPLE.as_bytes());
    let accepting = |publishers: Vec<Publisher>, revoked: &[Key]| {
        let revoked = revoked.iter().map(Key::vkey).collect();
        TrustPolicy::new(publishers, revoked, vec![id]).unwrap()
    };
    assert_eq!(code(signed(EXAMPLE, &[mallory()]), &accepting(vec![], &[])), 0);
    assert_eq!(
        code(signed(EXAMPLE, &[alice()]), &accepting(vec![publisher("*", 1, &[alice()])], &[alice()])),
        0
    );
    assert_eq!(
        code(signed(EXAMPLE, &[alice()]), &accepting(vec![publisher("org/*", 1, &[alice()])], &[])),
        0
    );
    // The signers that count are named.
    let two = accepting(vec![publisher("*", 2, &[alice(), bob()])], &[]);
    assert_eq!(signers(signed(EXAMPLE, &[alice()]), &two), ["alice"]);
    // A bad signature by a known key still means that the note was altered.
    assert_eq!(code(note(EXAMPLE, &[alice().claim([0; 64])]), &two), 3101);
    // A head with another text is another head.
    let other = EXAMPLE.replace("91618861", "91618860");
    assert_eq!(code(signed(&other, &[mallory()]), &accepting(vec![], &[])), 3106);
    assert_eq!(code(signed(&other, &[mallory()]), &TrustPolicy::pinned(id)), 3106);
    assert_eq!(code(signed(EXAMPLE, &[mallory()]), &TrustPolicy::pinned(id)), 0);
    let text = "no head\n";
    assert_eq!(code(signed(text, &[alice()]), &TrustPolicy::pinned(head_id(text.as_bytes()))), 1202);
}

#[test]
fn the_first_failing_check_is_the_verdict() {
    let name = |name| Expectation::any().named(crate::kit::name(name));
    let in_scope = policy(vec![publisher("org/*", 1, &[alice()])], &[]);
    let malformed = EXAMPLE.replace("revision 1", "revision one");
    let bad = |text: &str| note(text, &[alice().claim([0; 64])]);
    let now = Some(created_plus(-1 << 30));
    // The order of checks: signature, grammar, name, head, revision, scope, threshold, time.
    assert_eq!(verdict(bad(&malformed), &in_scope, &name("x"), now), 3101);
    assert_eq!(verdict(bad("junk\n"), &in_scope, &name("x"), now), 3101);
    assert_eq!(verdict(signed(&malformed, &[alice()]), &in_scope, &name("x"), now), 1204);
    assert_eq!(verdict(signed(&malformed, &[mallory()]), &in_scope, &name("x"), now), 1204);
    let other_id = head_id(b"");
    let expected = name("x").head(other_id).min_revision(2);
    assert_eq!(verdict(signed(EXAMPLE, &[mallory()]), &in_scope, &expected, now), 3201);
    let expected = Expectation::any().head(other_id).min_revision(2);
    assert_eq!(verdict(signed(EXAMPLE, &[mallory()]), &in_scope, &expected, now), 3202);
    let expected = Expectation::any().min_revision(2);
    assert_eq!(verdict(signed(EXAMPLE, &[mallory()]), &in_scope, &expected, now), 3203);
    assert_eq!(verdict(signed(EXAMPLE, &[mallory()]), &in_scope, &Expectation::any(), now), 3106);
    assert_eq!(verdict(signed(EXAMPLE, &[mallory()]), &of(1, &[alice()]), &Expectation::any(), now), 3102);
    assert_eq!(verdict(signed(EXAMPLE, &[alice()]), &of(1, &[alice()]), &Expectation::any(), now), 3206);
}

#[test]
fn a_hundred_lines_by_a_known_key_cost_a_hundred_checks() {
    let check = Instant::now();
    assert!((0..100).all(|_| alice().vkey().has_signed(EXAMPLE.as_bytes(), &alice().sign(EXAMPLE))));
    let a_hundred_checks = check.elapsed();

    // All hundred bad signatures by a revoked key are skipped. Many publishers list that key.
    let scopes = (0..50).map(|i| publisher(&format!("org{i}/*"), 1, &[alice()]));
    let publishers: Vec<Publisher> = scopes.chain([publisher("*", 1, &[bob()])]).collect();
    let policy = policy(publishers, &[alice()]);
    let note = note(EXAMPLE, &vec![alice().claim(bob().sign(EXAMPLE).as_bytes()); 100]);
    let verify = Instant::now();
    assert_eq!(code(note, &policy), 3102);
    let elapsed = verify.elapsed();
    assert!(elapsed < 10 * a_hundred_checks, "{elapsed:?} for {a_hundred_checks:?}");
}

#[test]
fn two_keys_may_share_a_name_and_an_id() {
    // Ids have 32 bits, and these two keys were found in seconds. A line is valid if it is by either key, and counts
    // for that key.
    let twin = |number: u32| {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        Key::of("twin", seed)
    };
    let (one, other) = (twin(36_558), twin(82_648));
    assert_eq!(one.vkey().id(), other.vkey().id());
    for keys in [[one.clone(), other.clone()], [other.clone(), one.clone()]] {
        let both = of(2, &keys);
        assert_eq!(code(signed(EXAMPLE, std::slice::from_ref(&one)), &both), 3103);
        assert_eq!(code(signed(EXAMPLE, &[one.clone(), other.clone()]), &both), 0);
        assert_eq!(code(note(EXAMPLE, &[one.claim([0; 64])]), &both), 3101);
        let one_down = policy(vec![publisher("*", 1, &keys)], std::slice::from_ref(&one));
        assert_eq!(code(signed(EXAMPLE, std::slice::from_ref(&other)), &one_down), 0);
        assert_eq!(code(signed(EXAMPLE, std::slice::from_ref(&one)), &one_down), 3104);
        assert_eq!(code(note(EXAMPLE, &[one.claim([0; 64])]), &one_down), 3101);
    }
}

#[test]
fn key_ids_help_to_find_keys() {
    let note = signed(EXAMPLE, &[alice(), mallory()]);
    let ids: Vec<(String, [u8; 4])> =
        note.key_ids().map(|(name, id)| (name.as_str().to_owned(), id)).collect();
    assert_eq!(ids, [("alice".into(), alice().vkey().id()), ("mallory".into(), mallory().vkey().id())]);
}
