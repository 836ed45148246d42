//! Proofs over lists: the same result as a naive verifier, whatever the claims; and no proof of another entry.
//!
//! Input: the count as eight bytes, least significant first; one byte, the number of entries; for each entry its
//! position as eight bytes and its hash; then sibling hashes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{bounded, naive};
use weighbridge_tree::{EntryHash, ListTree, SiblingHash, root_of_proof, sibling_count};

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first_chunk() else { return };
    let Some((number, rest)) = rest.split_first() else { return };
    let (claims, rest) = rest.as_chunks::<40>();
    // The input decides the number of claims. The bytes behind the last claim are sibling hashes.
    let number = usize::from(*number).min(claims.len());
    let (claims, others) = claims.split_at(number);
    let tail = [others.as_flattened(), rest].concat();
    let (siblings, _) = tail.as_chunks::<32>();
    let claims: Vec<(u64, naive::Hash)> = claims.iter().map(claim).collect();
    let count = u64::from_le_bytes(*count);
    hostile(count, &claims, siblings);
    honest(1 + count % 48, &claims);
});

fn claim(bytes: &[u8; 40]) -> (u64, naive::Hash) {
    let (position, hash) = bytes.split_at(8);
    (u64::from_le_bytes(position.try_into().expect("8 bytes")), hash.try_into().expect("32 bytes"))
}

fn hostile(count: u64, claims: &[(u64, naive::Hash)], siblings: &[naive::Hash]) {
    let verdict = prove(count, claims, siblings);
    assert_eq!(verdict, naive::root_of_proof(count, claims, siblings));
    let positions: Vec<u64> = claims.iter().map(|(position, _)| *position).collect();
    if verdict.is_some() {
        assert_eq!(sibling_count(count, &positions), Ok(siblings.len()));
    }
    // The tree of a single entry is the entry. Every other proof has to hash.
    if count == 1 && verdict.is_some() {
        assert_eq!(verdict, Some(claims[0].1));
    }
}

fn prove(count: u64, claims: &[(u64, naive::Hash)], siblings: &[naive::Hash]) -> Option<naive::Hash> {
    let claims: Vec<_> = claims.iter().map(|(at, hash)| (*at, EntryHash::from_bytes(*hash))).collect();
    let siblings: Vec<_> = siblings.iter().map(|hash| SiblingHash::from_bytes(*hash)).collect();
    let size = 40 * claims.len() + 32 * siblings.len();
    let verdict = bounded(size, || root_of_proof(count, &claims, &siblings)).ok()?;
    assert_eq!(verdict.count(), count);
    Some(*verdict.hash().as_bytes())
}

/// A true proof of the claimed positions in a generated list, then the same proof with one change.
fn honest(count: u64, claims: &[(u64, naive::Hash)]) {
    let leaves: Vec<naive::Hash> = (0..count).map(|i| naive::leaf(&i.to_le_bytes())).collect();
    let entries = leaves.iter().map(|leaf| EntryHash::from_bytes(*leaf)).collect();
    let tree = ListTree::build(entries).expect("1 to 48 entries");
    let top = naive::top(&leaves);
    assert_eq!(tree.root().hash().as_bytes(), &top);

    let mut positions: Vec<u64> = claims.iter().map(|(position, _)| position % count).collect();
    positions.sort_unstable();
    positions.dedup();
    let Some(changed_at) = positions.len().checked_sub(1) else { return };
    let siblings = tree.prove(&positions).expect("positions of the list, in order");
    let siblings: Vec<naive::Hash> = siblings.iter().map(|hash| *hash.as_bytes()).collect();
    let true_claims: Vec<_> = positions.iter().map(|at| (*at, leaves[*at as usize])).collect();
    assert_eq!(prove(count, &true_claims, &siblings), Some(top));

    // Another entry, position or count, or one sibling more or less, never leads to the same top.
    let refused = |count, claims: &[_], siblings: &[_]| assert_ne!(prove(count, claims, siblings), Some(top));
    let mut changed = true_claims.clone();
    // A flipped bit instead of the claimed hash: the fuzzer traces comparisons, and would soon claim the true hash.
    changed[changed_at].1[usize::from(claims[0].1[0] % 32)] ^= 1;
    refused(count, &changed, &siblings);
    for position in (0..count).filter(|position| *position != true_claims[changed_at].0) {
        let mut changed = true_claims.clone();
        changed[changed_at].0 = position;
        refused(count, &changed, &siblings);
    }
    refused(count, &[&true_claims[..], &true_claims[changed_at..]].concat(), &siblings);
    refused(count, &true_claims, &[&siblings[..], &[claims[0].1]].concat());
    if let [_, fewer @ ..] = &siblings[..] {
        refused(count, &true_claims, fewer);
        let mut flipped = siblings.clone();
        flipped[claims.len() % siblings.len()][0] ^= 1;
        refused(count, &true_claims, &flipped);
    }
}
