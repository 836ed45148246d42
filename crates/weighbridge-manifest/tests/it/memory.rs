//! The memory of accepted heads: the notes it keeps, the notes it drops, and the heads it refuses. The vectors cover
//! each case once; these tests cover what vectors cannot express.

use proptest::prelude::*;
use weighbridge_manifest::{
    Coded, Expectation, Memory, MemoryError, NoteSignature, Publisher, Role, Scope, SignedHead, TrustPolicy,
    TrustedKey, tree::head_id,
};

use crate::kit::{
    EXAMPLE, Key, alice, bob, created_plus, importer, mallory, name, note, policy, publisher, revision,
    signed, verdict,
};

fn trust() -> TrustPolicy {
    policy(vec![publisher("*", 1, &[alice()])], &[])
}

fn by_alice(text: &str) -> SignedHead {
    signed(text, &[alice()])
}

/// Accepts a note, and returns the code of the refusal, or 0.
fn accept(memory: &mut Memory, note: SignedHead, policy: &TrustPolicy) -> u16 {
    let head = note.verify(policy, &Expectation::any().allow_expired(), None).unwrap();
    memory.accept(&head, policy).map_or_else(|error| error.error_code().get(), |_| 0)
}

/// A memory into which this policy accepted these notes, one after the other.
fn having(policy: &TrustPolicy, notes: impl IntoIterator<Item = SignedHead>) -> Memory {
    let mut memory = Memory::default();
    for note in notes {
        assert_eq!(accept(&mut memory, note, policy), 0);
    }
    memory
}

/// The verdict on `then` if `text` is remembered. A caller that knows the name beforehand and a caller that asks
/// afterwards must get the same verdict.
fn after(text: &str, then: &str) -> u16 {
    let mut memory = having(&trust(), [by_alice(text)]);
    let recalled = memory.recall(&name("sentence-transformers/all-MiniLM-L6-v2"), &trust()).unwrap();
    let expected = recalled.into_iter().fold(Expectation::any(), Expectation::remembering);
    let beforehand = verdict(by_alice(then), &trust(), &expected, None);
    assert_eq!(accept(&mut memory, by_alice(then), &trust()), beforehand);
    beforehand
}

fn revisions(memory: &Memory) -> Vec<u64> {
    let revision = |(_, note): (_, String)| {
        let line = note.lines().nth(2).unwrap().to_owned();
        line.strip_prefix("revision ").unwrap().parse().unwrap()
    };
    let mut revisions: Vec<u64> = memory.notes().map(revision).collect();
    revisions.sort_unstable();
    revisions
}

#[test]
fn memory_refuses_rollback_and_forks_of_both_kinds() {
    let first = revision(1, "");
    let second = revision(2, &first);
    let third = revision(3, &second);
    assert_eq!(after(&second, &second), 0, "the same again");
    assert_eq!(after(&second, &third), 0, "the next");
    assert_eq!(after(&second, &first), 3204, "the one before");
    assert_eq!(after(&third, &first), 3204);
    let other_second = second.replace("91618861", "91618860");
    assert_eq!(after(&second, &other_second), 3205, "the same revision, another head");
    assert_eq!(after(&second, &revision(3, &other_second)), 3205, "the next of another head");
    assert_eq!(after(&second, &revision(3, &first)), 3205);
    // The heads between the two are not known.
    assert_eq!(after(&second, &revision(4, &third)), 0, "one skipped");
    assert_eq!(after(&second, &revision(4, &other_second)), 0);
    assert_eq!(after(&first, &revision(1000, &third)), 0);
    let mut memory = having(&trust(), [by_alice(&third)]);
    let back = by_alice(&second).verify(&trust(), &Expectation::any(), None).unwrap();
    let error = memory.accept(&back, &trust()).unwrap_err();
    assert_eq!(error.to_string(), "rollback: the head is revision 2, revision 3 was accepted before");
}

#[test]
fn memory_is_of_one_name() {
    let other = revision(5, "x").replace("all-MiniLM", "other");
    assert_eq!(after(&other, EXAMPLE), 0);
}

#[test]
fn memory_is_not_asked_where_the_caller_names_the_head() {
    let (first, third) = (revision(1, ""), revision(3, "x"));
    let memory = having(&trust(), [by_alice(&third)]);
    let recalled = memory.recall(&name("sentence-transformers/all-MiniLM-L6-v2"), &trust()).unwrap();
    let expected = recalled.into_iter().fold(Expectation::any(), Expectation::remembering);
    assert_eq!(verdict(by_alice(&first), &trust(), &expected.clone(), None), 3204);
    assert_eq!(verdict(by_alice(&first), &trust(), &expected.head(head_id(first.as_bytes())), None), 0);
}

#[test]
fn memory_comes_last() {
    let (first, third) = (revision(1, ""), revision(3, "x"));
    let expiring = first.replace("expires never", "expires 2026-11-20T16:31:01Z");
    let memory = having(&trust(), [by_alice(&third)]);
    let recalled = memory.recall(&name("sentence-transformers/all-MiniLM-L6-v2"), &trust()).unwrap();
    let expected = recalled.into_iter().fold(Expectation::any(), Expectation::remembering);
    assert_eq!(verdict(by_alice(&expiring), &trust(), &expected, None), 3208);
    assert_eq!(verdict(by_alice(&expiring), &trust(), &expected.allow_expired(), None), 3204);
}

#[test]
fn what_todays_policy_would_not_believe_refuses_nothing() {
    // The heads of a stolen key must not lock out the publisher after the key is revoked.
    let text = revision(7, "x");
    let keys = [alice(), bob()];
    let of = |threshold, revoked: &[Key]| policy(vec![publisher("*", threshold, &keys)], revoked);
    let memory = having(&of(1, &[]), [by_alice(&text)]);
    let recalled = |policy: &TrustPolicy| {
        memory.recall(&name("sentence-transformers/all-MiniLM-L6-v2"), policy).unwrap().len()
    };
    assert_eq!(recalled(&of(1, &[])), 1);
    assert_eq!(recalled(&of(1, &[alice()])), 0, "revoked");
    assert_eq!(recalled(&of(2, &[])), 0, "another threshold");
    assert_eq!(recalled(&policy(vec![publisher("org/*", 1, &keys)], &[])), 0, "another scope");
    assert_eq!(recalled(&policy(vec![publisher("*", 1, &[bob()])], &[])), 0, "an unknown key");
    assert_eq!(recalled(&TrustPolicy::pinned(head_id(text.as_bytes()))), 1, "accepted by its id");
    // A head that has expired since is not forgotten.
    let expired = EXAMPLE.replace("expires never", "expires 2026-11-20T16:31:01Z");
    let memory = having(&trust(), [by_alice(&expired)]);
    let name = name("sentence-transformers/all-MiniLM-L6-v2");
    assert_eq!(memory.recall(&name, &trust()).map(|heads| heads.len()), Ok(1));
}

#[test]
fn a_damaged_line_stops_recall_and_acceptance_alike() {
    let text = revision(1, "");
    let damaged = format!("{text}\n{}\n", alice().claim([7; 64]));
    let mut memory = Memory::from_notes([damaged]).unwrap();
    let expected = MemoryError::BadSignature {
        model: name("sentence-transformers/all-MiniLM-L6-v2"),
        key: alice().vkey().name().clone(),
    };
    let before = memory.clone();
    assert_eq!(
        memory.recall(&name("sentence-transformers/all-MiniLM-L6-v2"), &trust()),
        Err(expected.clone())
    );
    let head = by_alice(&text).verify(&trust(), &Expectation::any(), None).unwrap();
    assert_eq!(memory.accept(&head, &trust()), Err(expected));
    assert_eq!(memory, before);
}

#[test]
fn a_policy_takes_no_note_away_on_which_one_of_other_keys_relies() {
    // A run that required one signature once replaced the note on which a run that required two relied. That run could
    // then be led back to revision 1.
    let (first, second) = (revision(1, ""), revision(2, &revision(1, "")));
    let third = revision(3, &second);
    let both = [alice(), bob()];
    let any = policy(vec![publisher("*", 1, &both)], &[]);
    let all = policy(vec![publisher("*", 2, &both)], &[]);
    let mut memory = having(&all, [signed(&second, &both)]);
    assert_eq!(accept(&mut memory, by_alice(&third), &any), 0);
    assert_eq!(revisions(&memory), [2, 3]);
    assert_eq!(accept(&mut memory, signed(&first, &both), &all), 3204);
    // A later head signed by both keys replaces both notes.
    assert_eq!(accept(&mut memory, signed(&third, &both), &all), 0);
    assert_eq!(revisions(&memory), [3]);
}

/// The heads of two histories: revisions 1 and 2 of the publisher, revisions 1, 6, 7 and 8 of the importer.
fn histories() -> (Vec<String>, Vec<String>) {
    let first = revision(1, "");
    let second = revision(2, &first);
    let imported = |text: String| text.replace("bytes 91618861", "bytes 91618860");
    let sixth = imported(revision(6, "x"));
    let seventh = imported(revision(7, &sixth));
    let eighth = imported(revision(8, &seventh));
    (vec![first.clone(), second], vec![imported(first), sixth, seventh, eighth])
}

#[test]
fn an_importers_revisions_neither_block_nor_imitate_the_publishers_in_any_order() {
    let both = policy(vec![publisher("*", 1, &[alice()]), importer("*", 1, &[bob()])], &[]);
    let (own, imported) = histories();
    let (own, seventh) = (&own[0], &imported[2]);
    // Each sequence of four heads, of the publisher or of the importer.
    for sequence in 0..16_u8 {
        let mut memory = Memory::default();
        for step in 0..4 {
            let is_own = sequence >> step & 1 == 1;
            let (note, role) = if is_own {
                (by_alice(own), Role::Publisher)
            } else {
                (signed(seventh, &[bob()]), Role::Import)
            };
            let recalled = memory.recall(&name("sentence-transformers/all-MiniLM-L6-v2"), &both).unwrap();
            let expected = recalled.into_iter().fold(Expectation::any(), Expectation::remembering);
            let head = note.verify(&both, &expected, None).unwrap();
            assert_eq!(head.role(), role, "{sequence:04b}, {step}");
            assert_eq!(memory.accept(&head, &both), Ok(Vec::new()), "{sequence:04b}, {step}");
        }
        let expected: &[u64] = match sequence {
            0 => &[7],
            15 => &[1],
            _ => &[1, 7],
        };
        assert_eq!(revisions(&memory), expected, "{sequence:04b}");
    }
}

proptest! {
    /// Beside each other, publisher and importer get the verdicts that each would get alone.
    #[test]
    fn two_entries_share_a_memory_as_if_each_had_its_own(
        steps in prop::collection::vec((any::<bool>(), 0..8_usize), 0..12)
    ) {
        let both = policy(vec![publisher("*", 1, &[alice()]), importer("*", 1, &[bob()])], &[]);
        let (own, imported) = histories();
        let mut shared = Memory::default();
        let mut apart = [Memory::default(), Memory::default()];
        for (is_own, which) in steps {
            let (texts, key) = if is_own { (&own, alice()) } else { (&imported, bob()) };
            let note = signed(&texts[which % texts.len()], &[key]);
            let alone = accept(&mut apart[usize::from(is_own)], note.clone(), &both);
            prop_assert_eq!(accept(&mut shared, note, &both), alone);
        }
        let [of_importer, of_publisher] = apart.map(|memory| revisions(&memory));
        let mut all = [of_publisher, of_importer].concat();
        all.sort_unstable();
        prop_assert_eq!(revisions(&shared), all);
    }
}

#[test]
fn a_key_owner_who_signs_again_and_again_does_not_fill_the_note() {
    // The key's lines would have kept out the lines of another policy's keys.
    let text = revision(1, "");
    let mut memory = Memory::default();
    let mine = policy(vec![publisher("*", 1, &[mallory()])], &[]);
    let lines: Vec<NoteSignature> = (0..100).map(|nonce| mallory().line_with_nonce(&text, nonce)).collect();
    assert_eq!(accept(&mut memory, note(&text, &lines), &mine), 0);
    assert_eq!(accept(&mut memory, by_alice(&text), &trust()), 0);
    let notes: Vec<String> = memory.notes().map(|(_, note)| note).collect();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0], format!("{text}\n{}\n{}\n", lines[0], alice().line(&text)));
}

#[test]
fn memory_is_kept_as_notes_too() {
    let keys = [alice(), bob()];
    let text = revision(1, "");
    let dated = TrustPolicy::new(
        vec![Publisher {
            scope: Scope::All,
            role: Role::Publisher,
            threshold: 1,
            keys: vec![TrustedKey { vkey: bob().vkey(), from: None, until: Some(created_plus(0)) }],
        }],
        Vec::new(),
        vec![head_id(text.as_bytes())],
    );
    let mut memory = having(&policy(vec![publisher("*", 1, &keys)], &[]), [signed(&revision(4, "x"), &keys)]);
    assert_eq!(accept(&mut memory, signed(&text, &[mallory()]), &dated.unwrap()), 0);
    let notes: Vec<String> = memory.notes().map(|(_, note)| note).collect();
    assert!(notes.contains(&format!("{text}\n")), "accepted by its id, it has no line that verified");
    assert_eq!(Memory::from_notes(&notes), Ok(memory));
    for bad in ["", "\n", "\n\n", "x\n\n", &text, &notes[0][1..], &notes[0][..notes[0].len() - 2]] {
        assert_eq!(Memory::from_notes([bad]).map_err(|error| error.error_code().get()), Err(9004), "{bad:?}");
    }
}

#[test]
fn no_changed_byte_of_the_state_file_is_passed_over() {
    // One changed character of a name or a signature once turned a note into one that nobody believes.
    let keys = [alice(), bob()];
    let text = revision(2, &revision(1, ""));
    let by_id = TrustPolicy::pinned(head_id(text.as_bytes()));
    let mut memory = having(&policy(vec![publisher("*", 2, &keys)], &[]), [signed(&text, &keys)]);
    let other = revision(3, &text).replace("all-MiniLM", "other");
    assert_eq!(accept(&mut memory, by_alice(&other), &trust()), 0);
    let bare = having(&by_id, [signed(&text, &[mallory()])]);
    for memory in [memory, bare] {
        let json = memory.to_json().into_bytes();
        for at in 0..json.len() {
            for bit in 0..8 {
                let mut changed = json.clone();
                changed[at] ^= 1 << bit;
                let read = Memory::from_json(&changed).map_err(|error| error.error_code().get());
                // A change of white space does not change the content.
                assert!(read == Err(9004) || read.as_ref() == Ok(&memory), "byte {at}, bit {bit}");
            }
            if at + 1 < json.len() {
                assert_eq!(
                    Memory::from_json(&json[..at]).map_err(|error| error.error_code().get()),
                    Err(9004)
                );
            }
        }
    }
}
