//! Honest proofs show exactly what was requested.

use std::ops::Range;

use weighbridge_manifest::{
    Coded, Expectation, ListKind, ProofError, ProveError, Proven, SignedProof, TrustPolicy, Wanted,
    tree::FileRoot,
};

use super::model::{Model, Opened, file, numbered, policy, verdict, verify};
use crate::kit::{bob, name};

/// Pseudo-random numbers, the same in every run.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// At most 16 positions below `count`, and at least one.
    fn subset(&mut self, count: u64) -> Vec<u64> {
        let size = 1 + self.next() % count.min(16);
        let mut positions: Vec<u64> = (0..size).map(|_| self.next() % count).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}

/// All subsets of small lists, and some of large ones.
fn subsets(count: u64) -> Vec<Vec<u64>> {
    if count <= 10 {
        let members = |set: u64| (0..count).filter(|position| set >> position & 1 == 1).collect();
        return (1..1_u64 << count).map(members).collect();
    }
    let mut seeded = Seeded(count);
    let ends = [vec![0], vec![count - 1], vec![0, count - 1]];
    ends.into_iter().chain((0..40).map(|_| seeded.subset(count))).collect()
}

fn positions<E>(entries: &[(u64, E)]) -> Vec<u64> {
    entries.iter().map(|(position, _)| *position).collect()
}

fn absent(proven: &Proven) -> Vec<&str> {
    proven.absent().iter().map(|path| path.as_str()).collect()
}

/// Asserts that each shown entry is the listed one.
fn assert_true(model: &Opened, proven: &Proven) {
    for (position, file) in proven.files() {
        assert_eq!(&model.files.entries()[usize::try_from(*position).unwrap()], file);
    }
    for (position, tensor) in proven.tensors() {
        assert_eq!(&model.tensors.as_ref().unwrap().entries()[usize::try_from(*position).unwrap()], tensor);
    }
    for path in proven.absent() {
        assert_eq!(model.files.find(path.as_str()), None);
    }
}

#[test]
fn files_of_every_subset_are_proved_and_nothing_else() {
    for count in 1..=64 {
        let model = Model::of_files(count);
        let opened = model.open();
        for wanted in subsets(count) {
            let path = |position: &u64| numbered(2 * position);
            let made = wanted.iter().rev().try_fold(opened.wanted(), |made, p| made.file(&path(p))).unwrap();
            let proof = opened.prove(made).unwrap();
            assert_eq!(proof, model.parts(&wanted, &[]).text(), "{count} {wanted:?}");
            let proven = opened.check(&proof).unwrap();
            assert_eq!(positions(proven.files()), wanted);
            assert!(proven.tensors().is_empty() && proven.absent().is_empty() && proven.slice().is_none());
            assert_true(&opened, &proven);
        }
        let whole = model.parts(&(0..count).collect::<Vec<_>>(), &[]).text();
        assert_eq!(verify(whole.as_bytes()).unwrap().files().len() as u64, count);
    }
}

#[test]
fn tensors_of_every_subset_are_proved_with_their_file() {
    for count in 1..=64 {
        let model = Model::with_tensors(3, count);
        let opened = model.open();
        for wanted in subsets(count).into_iter().step_by(3) {
            let mut made = opened.wanted();
            for position in &wanted {
                made = made.tensor("f1.safetensors", &format!("t{position:02}")).unwrap();
            }
            let proof = opened.prove(made).unwrap();
            assert_eq!(proof, model.parts(&[2], &wanted).text(), "{count} {wanted:?}");
            let proven = opened.check(&proof).unwrap();
            assert_eq!((positions(proven.files()), positions(proven.tensors())), (vec![2], wanted));
            assert_true(&opened, &proven);
        }
    }
}

#[test]
fn absence_is_proved_at_the_first_the_last_and_every_place_between() {
    for count in 1..=20 {
        let model = Model::of_files(count);
        let opened = model.open();
        for place in 0..=count {
            // The files are `f00`, `f02` and so on; odd numbers are absent.
            let path = if place == 0 { "a".to_owned() } else { format!("f{:02}", 2 * place - 1) };
            let proof = opened.prove(opened.wanted().absent(&path).unwrap()).unwrap();
            let neighbours: Vec<u64> = (place.saturating_sub(1)..=place).filter(|p| *p < count).collect();
            let neighbours = if place == 0 { vec![0] } else { neighbours };
            assert_eq!(proof, model.parts(&neighbours, &[]).absent(&[&path]).text());
            let proven = opened.check(&proof).unwrap();
            assert_eq!((positions(proven.files()), absent(&proven)), (neighbours, vec![path.as_str()]));
        }
        let all: Vec<String> = (0..count).map(|i| format!("f{:02}", 2 * i + 1)).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let made = all.iter().rev().try_fold(opened.wanted(), |made, path| made.absent(path)).unwrap();
        let proven = opened.check(&opened.prove(made).unwrap()).unwrap();
        assert_eq!(absent(&proven), all);
        assert_eq!(proven.files().len() as u64, count);
    }
}

#[test]
fn everything_stands_together_in_one_proof() {
    let model = Model::with_tensors(9, 5);
    let opened = model.open();
    let wanted = opened.wanted().slice("f1.safetensors", 8..16).unwrap().absent("f01").unwrap();
    let wanted = wanted.tensor("f1.safetensors", "t03").unwrap().file("f08").unwrap().file("f08").unwrap();
    let proof = opened.prove(wanted).unwrap();
    assert_eq!(proof, model.parts(&[0, 1, 7, 8], &[3]).absent(&["f01"]).slice(8, 8..16).text());
    let proven = verify(proof.as_bytes()).unwrap();
    assert_true(&opened, &proven);
    let slice = proven.slice().unwrap();
    assert_eq!((slice.position, slice.range.range(), slice.range.file_len()), (8, 8..16, 1_000));
    assert_eq!(slice.file.root, FileRoot::of(b"f1.safetensors"));
    assert_eq!(proven.head().text(), model.text);
}

#[test]
fn an_empty_file_has_the_slice_of_nothing() {
    let model = Model::of_files(2);
    let opened = model.open();
    let proof = opened.prove(opened.wanted().slice("f00", 0..0).unwrap()).unwrap();
    assert_eq!(opened.check(&proof).unwrap().slice().unwrap().range.range(), 0..0);
    assert_eq!(opened.wanted().slice("f02", 0..0).unwrap_err().error_code().get(), 2601);
    assert_eq!(opened.wanted().slice("f00", 0..1).unwrap_err().error_code().get(), 2601);
}

#[test]
fn what_cannot_be_proved_is_not_written() {
    let opened = Model::with_tensors(3, 2).open();
    let code = |made: Result<_, ProveError>| {
        made.and_then(|made| opened.prove(made)).unwrap_err().error_code().get()
    };
    assert_eq!(code(Ok(opened.wanted())), 2402, "nothing was asked for");
    assert_eq!(code(opened.wanted().file("f01")), 9001);
    assert_eq!(code(opened.wanted().tensor("f1.safetensors", "t02")), 9001);
    assert_eq!(code(opened.wanted().tensor("f00", "t00")), 9001);
    assert_eq!(code(opened.wanted().slice("f01", 0..1)), 9001);
    assert_eq!(code(opened.wanted().absent("f00")), 2505);
    assert_eq!(code(opened.wanted().absent("f1.safetensors")), 2505);
    assert_eq!(code(opened.wanted().absent("/f")), 1402);
    for range in [0..0, 3..3, 999..1_001, 1_000..1_000, 0..u64::MAX, Range { start: 5, end: 4 }] {
        assert_eq!(code(opened.wanted().slice("f1.safetensors", range)), 2601);
    }
    let without = Wanted::of(&opened.files, None).tensor("f1.safetensors", "t00");
    assert_eq!(without.unwrap_err(), ProveError::NoTensorList);
    let not_listed = opened.wanted().file("f01").unwrap_err();
    assert_eq!(not_listed, ProveError::NotListed { list: ListKind::Files });

    let other = Model::with_tensors(4, 2).open();
    let wanted = || opened.wanted().file("f00").unwrap();
    let refused = |made: Result<String, ProveError>| made.unwrap_err().error_code().get();
    assert_eq!(refused(wanted().prove(other.note.as_bytes())), 2506, "another head's note");
    assert_eq!(refused(wanted().prove(b"\xff")), 1102);
    assert_eq!(refused(wanted().prove(b"")), 1103);
}

#[test]
fn a_proof_has_at_most_4096_entries_and_absent_paths() {
    let path = |i: u64| format!("f{i:05}");
    let opened = Model::of((0..4_100).map(|i| file(&path(i), 1)).collect(), None).open();
    let wanted = |count| (0..count).try_fold(opened.wanted(), |made, i| made.file(&path(i))).unwrap();
    let most = opened.prove(wanted(4_096)).unwrap();
    assert_eq!(opened.check(&most).unwrap().files().len(), 4_096);
    let too_many = ProveError::Refused(ProofError::TooMany { lines: 4_097 });
    assert_eq!(opened.prove(wanted(4_097)), Err(too_many.clone()));
    assert_eq!(opened.prove(wanted(4_096).absent("a").unwrap()), Err(too_many));
}

#[test]
fn a_proof_is_believed_only_as_its_head_is() {
    let model = Model::of_files(3);
    let proof = model.parts(&[1], &[]).text();
    let check = |policy: &TrustPolicy, expected: &Expectation| {
        let proof = SignedProof::parse(proof.as_bytes()).unwrap();
        assert_eq!(proof.note(), model.note.as_bytes());
        proof.verify(policy, expected, None).map_or_else(|error| error.error_code().get(), |_| 0)
    };
    let any = Expectation::any();
    assert_eq!(check(&policy(), &any), 0);
    assert_eq!(check(&TrustPolicy::pinned(model.head().id()), &any), 0);
    assert_eq!(check(&TrustPolicy::any_of(vec![bob().vkey()]).unwrap(), &any), 3102);
    assert_eq!(check(&policy(), &Expectation::any().named(name("example/few"))), 3201);
    assert_eq!(check(&policy(), &Expectation::any().min_revision(2)), 3203);
    assert_eq!(Model::of_files(4).open().check(&proof).unwrap_err(), ProofError::OtherHead);
    // Under a held head, signatures are not checked, but the note has to be a note.
    let unsigned = format!("{}\n\u{2014} nobody AAAAAAE=\n", model.text);
    let others = proof.replace(&model.note, &unsigned);
    assert!(model.open().check(&others).is_ok());
    assert_eq!(verdict(others.as_bytes()), 3102);
    assert_eq!(model.open().check(&format!("{others} ")).unwrap_err().error_code().get(), 1103);
}
