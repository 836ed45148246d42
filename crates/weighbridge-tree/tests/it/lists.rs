//! Trees over lists equal a naive tree of our own, and only the honest proof passes.

use proptest::prelude::*;
use weighbridge_tree::{
    Coded, CountedTree, EntryHash, ListTree, MAX_PROOF_ENTRIES, SiblingHash, TreeError, list_root,
    model_root, root_of_proof, sibling_count, tensors_root,
};

use crate::{kit::as_u64, naive};

fn entries(leaves: &[naive::Hash]) -> Vec<EntryHash> {
    leaves.iter().map(|leaf| EntryHash::from_bytes(*leaf)).collect()
}

fn siblings(hashes: &[naive::Hash]) -> Vec<SiblingHash> {
    hashes.iter().map(|hash| SiblingHash::from_bytes(*hash)).collect()
}

fn build(leaves: &[naive::Hash]) -> ListTree {
    ListTree::build(entries(leaves)).unwrap()
}

fn assert_agrees(count: usize) {
    let leaves = naive::leaves(count);
    let tree = build(&leaves);
    assert_eq!(tree.root().count(), as_u64(count));
    assert_eq!(tree.root().hash().as_bytes(), &naive::node(&leaves, 0), "{count} entries");
    assert_eq!(list_root(entries(&leaves)).unwrap(), tree.root(), "{count} entries");
}

#[test]
fn agrees_with_the_naive_tree_for_every_small_count() {
    (1..=64).for_each(assert_agrees);
}

#[test]
fn agrees_with_the_naive_tree_around_powers_of_two() {
    for power in [128, 256, 512, 1024] {
        (power - 2..=power + 2).for_each(assert_agrees);
    }
}

#[test]
fn entry_is_the_hash_of_its_line_alone() {
    let line = br#"{"file":"config.json","size":612,"blake3":"00"}"#;
    assert_eq!(EntryHash::of_line(line).as_bytes(), &naive::leaf(line));
}

#[test]
fn roots_bind_the_count_and_the_sum() {
    let leaves = naive::leaves(5);
    let tree = build(&leaves).root();
    let [count, bytes] = [5_u64, 612].map(u64::to_le_bytes);
    let top = naive::node(&leaves, 0);

    let expected = blake3::derive_key(
        "weighbridge 2026-11-20 v1 model root",
        &[&count[..], &bytes[..], &top[..]].concat(),
    );
    assert_eq!(model_root(612, &tree).as_bytes(), &expected);
    assert_ne!(model_root(613, &tree).as_bytes(), &expected);

    let context = "weighbridge 2026-11-20 v1 tensors root";
    let expected = blake3::derive_key(context, &[&count[..], &top[..]].concat());
    assert_eq!(tensors_root(Some(&tree)).as_bytes(), &expected);
    assert_eq!(tensors_root(None).as_bytes(), &blake3::derive_key(context, &[0; 8]));
}

/// Whether a proof leads to the signed root. Callers check proofs in this way.
fn passes(signed: &CountedTree, count: u64, entries: &[(u64, EntryHash)], siblings: &[SiblingHash]) -> bool {
    root_of_proof(count, entries, siblings).is_ok_and(|tree| model_root(1, &tree) == model_root(1, signed))
}

/// Tries all subsets of all trees of up to 7 entries, with 0 to 11 siblings. Only the computed number of siblings is
/// accepted, and then every entry and every sibling influences the result. This makes merkle-cbt safe behind this
/// crate.
#[test]
fn every_entry_and_every_sibling_counts() {
    for count in 1..=7_usize {
        let leaves = naive::leaves(count);
        let tree = build(&leaves);
        for subset in 1..1_usize << count {
            let positions: Vec<usize> = (0..count).filter(|p| subset >> p & 1 == 1).collect();
            let chosen: Vec<(u64, EntryHash)> =
                positions.iter().map(|p| (as_u64(*p), EntryHash::from_bytes(leaves[*p]))).collect();
            let honest = tree.prove(&chosen.iter().map(|(p, _)| *p).collect::<Vec<_>>()).unwrap();
            assert_eq!(honest, siblings(&naive::prove(&leaves, &positions)));
            assert!(passes(&tree.root(), as_u64(count), &chosen, &honest));

            for number in 0..=11 {
                let mut offered = honest.clone();
                offered.resize(number, SiblingHash::from_bytes([7; 32]));
                let result = root_of_proof(as_u64(count), &chosen, &offered);
                if number == honest.len() {
                    assert_eq!(result, Ok(tree.root()));
                } else {
                    let expected = TreeError::SiblingCount { expected: honest.len(), actual: number };
                    assert_eq!(result, Err(expected));
                }
            }
            for at in 0..chosen.len() {
                let mut forged = chosen.clone();
                forged[at].1 = EntryHash::of_line(b"forged");
                assert!(!passes(&tree.root(), as_u64(count), &forged, &honest));
            }
            for at in 0..honest.len() {
                let mut forged = honest.clone();
                forged[at] = SiblingHash::from_bytes([7; 32]);
                assert!(!passes(&tree.root(), as_u64(count), &chosen, &forged));
            }
        }
    }
}

#[test]
fn equal_entries_in_two_places_do_not_confuse_the_pairing() {
    // merkle-cbt pairs by value. A list has no two equal lines, but a hostile proof may have them.
    for count in 2..=20_usize {
        let mut leaves = naive::leaves(count);
        leaves[count - 1] = leaves[0];
        let tree = build(&leaves);
        let last = as_u64(count - 1);
        let twice = [(0, EntryHash::from_bytes(leaves[0])), (last, EntryHash::from_bytes(leaves[0]))];
        let proof = tree.prove(&[0, last]).unwrap();
        assert!(passes(&tree.root(), as_u64(count), &twice, &proof));
        // In a list without equal lines the same claim is false.
        let other = build(&naive::leaves(count));
        assert!(!passes(&other.root(), as_u64(count), &twice, &other.prove(&[0, last]).unwrap()));
    }
}

#[test]
fn limits_are_those_of_the_specification() {
    assert_eq!(ListTree::build(Vec::new()).unwrap_err().error_code().get(), 2401);
    assert_eq!(list_root(Vec::new()).unwrap_err().error_code().get(), 2401);
    let any = EntryHash::of_line(b"");
    assert_eq!(root_of_proof(0, &[(0, any)], &[]).unwrap_err().error_code().get(), 2401);
    assert_eq!(root_of_proof((1 << 24) + 1, &[(0, any)], &[]).unwrap_err().error_code().get(), 2401);
    assert_eq!(root_of_proof(3, &[], &[]).unwrap_err().error_code().get(), 2402);
    assert_eq!(root_of_proof(3, &[(1, any), (1, any)], &[]).unwrap_err().error_code().get(), 2402);
    assert_eq!(root_of_proof(3, &[(2, any), (1, any)], &[]).unwrap_err().error_code().get(), 2402);
    assert_eq!(root_of_proof(3, &[(3, any)], &[]).unwrap_err().error_code().get(), 2403);
    assert_eq!(root_of_proof(3, &[(1, any)], &[]).unwrap_err().error_code().get(), 2404);
    let many: Vec<_> = (0..4097).map(|position| (position, any)).collect();
    assert_eq!(root_of_proof(1 << 24, &many, &[]).unwrap_err().error_code().get(), 2406);

    // The largest possible proof: 4,096 entries spread over 2^24.
    let spread: Vec<u64> = (0..4096).map(|i| i * 4096).collect();
    let number = sibling_count(1 << 24, &spread).unwrap();
    assert_eq!(number, MAX_PROOF_ENTRIES * 12);
    let spread: Vec<_> = spread.into_iter().map(|position| (position, any)).collect();
    let siblings = vec![SiblingHash::from_bytes([0; 32]); number];
    assert!(root_of_proof(1 << 24, &spread, &siblings).is_ok());
}

#[test]
fn no_error_text_shows_debug_output() {
    let all = [
        TreeError::Count { count: 0 },
        TreeError::NoEntries,
        TreeError::Order { position: 3 },
        TreeError::Position { position: 9, count: 5 },
        TreeError::SiblingCount { expected: 2, actual: 3 },
        TreeError::WrongRoot,
        TreeError::TooManyEntries { actual: 4097 },
    ];
    let text: Vec<String> = all.iter().map(|error| format!("{} {error}", error.error_code())).collect();
    let expected = [
        "2401 a list has 1 to 16777216 entries, not 0",
        "2402 the proof has no entries",
        "2402 position 3 is not above the one before it in the proof",
        "2403 position 9 is past the end of a list of 5 entries",
        "2404 the proof has 3 sibling hashes, its positions take 2",
        "2405 the entries do not lead to the signed root",
        "2406 the proof has 4097 entries, at most 4096 are allowed",
    ];
    assert_eq!(text, expected);
}

/// A tree of up to 300 entries and some of its positions.
fn tree_and_positions() -> impl Strategy<Value = (usize, Vec<usize>)> {
    (1..300_usize).prop_flat_map(|count| {
        let positions = proptest::sample::subsequence((0..count).collect::<Vec<_>>(), 1..=count.min(12));
        (Just(count), positions)
    })
}

proptest! {
    #[test]
    fn honest_proofs_pass_and_the_verifiers_agree((count, positions) in tree_and_positions()) {
        let leaves = naive::leaves(count);
        let tree = build(&leaves);
        let claimed: Vec<_> = positions.iter().map(|p| (as_u64(*p), leaves[*p])).collect();
        let proof = naive::prove(&leaves, &positions);
        let ours: Vec<_> = claimed.iter().map(|(p, hash)| (*p, EntryHash::from_bytes(*hash))).collect();
        prop_assert!(passes(&tree.root(), as_u64(count), &ours, &siblings(&proof)));
        prop_assert_eq!(naive::root_of_proof(as_u64(count), &claimed, &proof), Some(naive::node(&leaves, 0)));
        let at: Vec<u64> = ours.iter().map(|(p, _)| *p).collect();
        prop_assert_eq!(tree.prove(&at).unwrap(), siblings(&proof));
        prop_assert_eq!(sibling_count(as_u64(count), &at).unwrap(), proof.len());
    }

    #[test]
    fn no_change_of_an_honest_proof_passes(
        (count, positions) in tree_and_positions(),
        change in 0..8_usize,
        place in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        byte in 0..32_usize,
        flip in 1..=255_u8,
    ) {
        let leaves = naive::leaves(count);
        let signed = build(&leaves).root();
        let mut count = as_u64(count);
        let mut claimed: Vec<_> = positions.iter().map(|p| (as_u64(*p), leaves[*p])).collect();
        let mut proof = naive::prove(&leaves, &positions);
        let honest = (count, claimed.clone(), proof.clone());
        match change {
            0 => claimed[place.index(positions.len())].1[byte] ^= flip,
            1 if !proof.is_empty() => { let at = place.index(proof.len()); proof[at][byte] ^= flip; }
            2 if !proof.is_empty() => { proof.remove(place.index(proof.len())); }
            3 => proof.insert(place.index(proof.len() + 1), leaves[other.index(leaves.len())]),
            4 if proof.len() > 1 => { let (a, b) = (place.index(proof.len()), other.index(proof.len())); proof.swap(a, b); }
            5 => claimed[place.index(positions.len())].0 = as_u64(other.index(leaves.len() + 3)),
            6 => count = as_u64(other.index(600)),
            7 => { let (a, b) = (place.index(positions.len()), other.index(positions.len()));
                let hash = claimed[a].1; claimed[a].1 = claimed[b].1; claimed[b].1 = hash; }
            _ => {}
        }
        let ours: Vec<_> = claimed.iter().map(|(p, hash)| (*p, EntryHash::from_bytes(*hash))).collect();
        let unchanged = (count, claimed.clone(), proof.clone()) == honest;
        prop_assert_eq!(passes(&signed, count, &ours, &siblings(&proof)), unchanged);
        let ours = root_of_proof(count, &ours, &siblings(&proof)).ok().map(|tree| *tree.hash().as_bytes());
        prop_assert_eq!(ours, naive::root_of_proof(count, &claimed, &proof));
    }

    #[test]
    fn agrees_with_the_naive_tree_for_any_count(count in 65..2000_usize) {
        assert_agrees(count);
    }

    #[test]
    fn any_input_gets_the_verdict_of_the_naive_verifier(
        count in prop_oneof![0..12_u64, Just(1 << 24), Just(u64::MAX), any::<u64>().prop_map(|n| n >> 50)],
        positions in proptest::collection::vec(prop_oneof![0..12_u64, Just(u64::from(u32::MAX)), any::<u64>()], 0..6),
        sorted in any::<bool>(),
        number in 0..14_usize,
    ) {
        let mut positions = positions;
        if sorted { positions.sort_unstable(); }
        let claimed: Vec<_> = positions.iter().map(|p| (*p, naive::leaf(&p.to_le_bytes()))).collect();
        let proof = naive::leaves(number);
        let ours: Vec<_> = claimed.iter().map(|(p, hash)| (*p, EntryHash::from_bytes(*hash))).collect();
        let result = root_of_proof(count, &ours, &siblings(&proof));
        if count <= 1 << 14 {
            let expected = naive::root_of_proof(count, &claimed, &proof);
            prop_assert_eq!(result.ok().map(|tree| *tree.hash().as_bytes()), expected);
        }
    }
}
