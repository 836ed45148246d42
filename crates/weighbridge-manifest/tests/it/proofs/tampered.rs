//! Honest proofs with one thing changed.
//!
//! The prover chooses the absent paths and the slice freely, so nothing binds these two kinds of line except their
//! truth. A changed line may make another true claim. The test then asserts that the accepted text is the one proof of
//! that claim.

use weighbridge_manifest::{Head, SignedProof, tree::SiblingHash};

use super::model::{Model, Opened, Parts, head_over, verify};

/// Proofs with and without every kind of line, in trees of several shapes.
fn proofs() -> Vec<(Model, Parts)> {
    let mut proofs = Vec::new();
    for (count, positions) in [
        (1, &[0_u64][..]),
        (2, &[0, 1]),
        (3, &[0]),
        (3, &[1]),
        (5, &[1, 2]),
        (7, &[3, 6]),
        (11, &[0, 4, 5, 10]),
        (64, &[17]),
    ] {
        let model = Model::of_files(count);
        let parts = model.parts(positions, &[]);
        proofs.push((model, parts));
    }
    let gap = Model::of_files(6);
    let parts = gap.parts(&[0, 1, 2, 5], &[]).absent(&["a", "f01", "f03", "g"]);
    proofs.push((gap, parts));
    for (files, positions, tensors, chosen) in
        [(3, &[2][..], 3, &[1][..]), (6, &[0, 1, 5], 9, &[0, 4, 8]), (4, &[1, 3], 1, &[0])]
    {
        let model = Model::with_tensors(files, tensors);
        let parts = model.parts(positions, chosen).slice(positions[positions.len() - 1], 3..800);
        proofs.push((model, parts));
    }
    proofs
}

/// Whether the proof is accepted. An accepted text must be the only proof of its content.
fn accepted(model: &Opened, proof: &[u8]) -> bool {
    let Ok(proven) = SignedProof::parse(proof).and_then(|proof| proof.under(&model.head)) else {
        return false;
    };
    assert_eq!(model.prove_again(&proven).as_bytes(), proof);
    true
}

fn is_free(line: &str) -> bool {
    line.starts_with("absent ") || line.starts_with("slice ")
}

#[test]
fn every_proof_here_is_accepted_unchanged() {
    for (model, parts) in proofs() {
        assert_eq!(parts.verdict(), 0);
        assert!(accepted(&model.open(), parts.text().as_bytes()));
    }
}

#[test]
fn refuses_every_single_byte_changed_above_the_note() {
    let mut free_accepted = 0;
    for (model, parts) in proofs() {
        let opened = model.open();
        let mut proof = parts.text().into_bytes();
        let mut at = 0;
        for line in parts.lines() {
            for _ in 0..=line.len() {
                let byte = proof[at];
                for changed in (0..=255).filter(|changed| *changed != byte) {
                    proof[at] = changed;
                    if accepted(&opened, &proof) {
                        assert!(is_free(&line), "byte {at} from {byte} to {changed}");
                        free_accepted += 1;
                    }
                }
                proof[at] = byte;
                at += 1;
            }
        }
        // Every other byte in place of the empty line.
        for changed in (0..=255).filter(|changed| *changed != b'\n') {
            proof[at] = changed;
            assert!(!accepted(&opened, &proof), "the empty line is {changed}");
        }
    }
    assert!(free_accepted > 0, "no other absent path and no other range was tried");
}

#[test]
fn refuses_every_single_byte_changed_in_the_note() {
    for (model, parts) in proofs().into_iter().skip(8) {
        let mut proof = parts.text().into_bytes();
        for at in proof.len() - model.note.len()..proof.len() {
            for bit in 0..8 {
                proof[at] ^= 1 << bit;
                assert!(verify(&proof).is_err(), "byte {at}, bit {bit}");
                proof[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn refuses_a_proof_that_is_cut_or_goes_on() {
    for (model, parts) in proofs() {
        let (opened, proof) = (model.open(), parts.text());
        for end in 0..proof.len() {
            assert!(!accepted(&opened, &proof.as_bytes()[..end]), "cut at {end}");
            assert!(!accepted(&opened, &proof.as_bytes()[end + 1..]), "begun at {}", end + 1);
        }
        for more in ["\n", " ", "\0", "0 {\"file\":", "\n\n", "\u{2014} alice AAAAAA==\n"] {
            assert!(!accepted(&opened, format!("{proof}{more}").as_bytes()));
            assert!(!accepted(&opened, format!("{more}{proof}").as_bytes()));
        }
    }
}

#[test]
fn refuses_every_line_dropped_repeated_exchanged_or_added() {
    for (model, parts) in proofs() {
        let (opened, lines) = (model.open(), parts.lines());
        let refused = |lines: &[String], what: &str| {
            let proof = format!("{}\n{}", super::model::text(lines), model.note);
            assert!(!accepted(&opened, proof.as_bytes()), "{what}:\n{proof}");
        };
        for (at, line) in lines.iter().enumerate() {
            let without: Vec<_> = [&lines[..at], &lines[at + 1..]].concat();
            // Without its only tensor, the tensor list leaves nothing in the proof, not even sibling hashes.
            let only_tensor = line.starts_with("0 {\"tensor\"") && model.tensors.as_ref().unwrap().len() == 1;
            if !is_free(line) && !only_tensor {
                refused(&without, "dropped");
            }
            for to in 0..=lines.len() {
                let mut with = lines.clone();
                with.insert(to, line.clone());
                refused(&with, "repeated");
                with[to].clear();
                refused(&with, "an empty line");
            }
            for other in at + 1..lines.len() {
                let mut exchanged = lines.clone();
                exchanged.swap(at, other);
                refused(&exchanged, "exchanged");
            }
        }
        // Entries of the same lists at their true positions, but without their sibling hashes.
        for list in [&Some(model.files.clone()), &model.tensors].into_iter().flatten() {
            for entry in list.iter().enumerate().map(|(position, entry)| format!("{position} {entry}")) {
                for to in (0..=lines.len()).filter(|_| !lines.contains(&entry)) {
                    let mut with = lines.clone();
                    with.insert(to, entry.clone());
                    refused(&with, "added");
                }
            }
        }
    }
}

#[test]
fn refuses_every_hash_dropped_repeated_exchanged_or_added() {
    let siblings: [fn(&mut Parts) -> &mut Vec<SiblingHash>; 2] =
        [|parts| &mut parts.file_siblings, |parts| &mut parts.tensor_siblings];
    for (model, parts) in proofs() {
        let opened = model.open();
        for of in siblings {
            let hashes = of(&mut parts.clone()).clone();
            let refused = |hashes: Vec<SiblingHash>, what: &str| {
                let mut changed = parts.clone();
                *of(&mut changed) = hashes;
                assert!(!accepted(&opened, changed.text().as_bytes()), "{what}");
            };
            let foreign = SiblingHash::from_bytes([7; 32]);
            for at in 0..hashes.len() {
                refused([&hashes[..at], &hashes[at + 1..]].concat(), "dropped");
                let mut replaced = hashes.clone();
                replaced[at] = foreign;
                refused(replaced, "replaced");
                for other in at + 1..hashes.len() {
                    let mut exchanged = hashes.clone();
                    exchanged.swap(at, other);
                    refused(exchanged, "exchanged");
                }
            }
            for at in 0..=hashes.len() {
                for added in hashes.iter().chain([&foreign]) {
                    let mut more = hashes.clone();
                    more.insert(at, *added);
                    refused(more, "repeated or added");
                }
            }
        }
    }
}

#[test]
fn refuses_every_other_position() {
    for (model, parts) in proofs() {
        let opened = model.open();
        let lines = parts.lines();
        for (at, line) in lines.iter().enumerate() {
            let Some((position, entry)) = line.split_once(" {") else { continue };
            let far = [(1_u64 << 24) - 1, 1 << 24, u64::from(u32::MAX), (1 << 53) - 1, 1 << 53, u64::MAX];
            for other in (0..140).chain(far).map(|other| other.to_string()) {
                let mut changed = lines.clone();
                changed[at] = format!("{other} {{{entry}");
                let proof = format!("{}\n{}", super::model::text(&changed), model.note);
                assert_eq!(accepted(&opened, proof.as_bytes()), other == position, "{position}: {other}");
            }
        }
    }
}

#[test]
fn refuses_the_same_proof_under_every_other_count() {
    for (model, parts) in proofs() {
        let head = head_over(&model.files, model.tensors.as_deref());
        let refused = |head: &Head| {
            let other = Model::under(model.files.clone(), model.tensors.clone(), head);
            let code = Parts { note: other.note, ..parts.clone() }.verdict();
            assert!(matches!(code, 2401..=2405 | 2505), "{code}: {head}");
        };
        for count in (1..=130).chain([1 << 24]).filter(|count| *count != head.files.count) {
            let mut other = head.clone();
            other.files.count = count;
            refused(&other);
        }
        for bytes in [head.bytes + 1, 0].into_iter().filter(|bytes| *bytes != head.bytes) {
            refused(&Head { bytes, ..head.clone() });
        }
        let Some(tensors) = head.tensors else { continue };
        for count in (0..=40).chain([1 << 24]).filter(|count| *count != tensors.list.count) {
            let mut other = tensors;
            other.list.count = count;
            other.list.length = if count == 0 { 0 } else { other.list.length };
            refused(&Head { tensors: Some(other), ..head.clone() });
        }
        refused(&Head { tensors: None, ..head });
    }
}
