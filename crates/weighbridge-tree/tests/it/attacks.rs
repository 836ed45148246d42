//! Proofs that merkle-cbt 0.3.2 accepts by itself and this crate refuses.
//!
//! Each test has two halves. The first half shows that the attack deceives the bare crate, which is why only `cbt.rs`
//! may call it. The second half shows that this crate refuses the attack. If a new release of merkle-cbt refuses an
//! attack, the first half of its test fails and can be removed.

use std::panic::catch_unwind;

use merkle_cbt::merkle_tree::Merge;
use merkle_cbt::{CBMT, MerkleProof, MerkleTree};
use weighbridge_tree::{
    EntryHash, ListTree, SiblingHash, TreeError, list_root, model_root, root_of_proof, sibling_count,
};

use crate::naive;

/// Our own parent hash, with its context. Domain separation alone stops none of these attacks.
struct MergeNodes;

impl Merge for MergeNodes {
    type Item = naive::Hash;

    fn merge(left: &naive::Hash, right: &naive::Hash) -> naive::Hash {
        naive::parent(left, right)
    }
}

type Bare = CBMT<naive::Hash, MergeNodes>;
type BareTree = MerkleTree<naive::Hash, MergeNodes>;
type BareProof = MerkleProof<naive::Hash, MergeNodes>;

/// Converts a small number to a heap index.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}

fn position(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn bare(count: usize) -> (Vec<naive::Hash>, BareTree) {
    let leaves = naive::leaves(count);
    let tree = Bare::build_merkle_tree(&leaves);
    (leaves, tree)
}

fn entry(hash: &naive::Hash) -> EntryHash {
    EntryHash::from_bytes(*hash)
}

fn siblings(hashes: &[naive::Hash]) -> Vec<SiblingHash> {
    hashes.iter().map(|hash| SiblingHash::from_bytes(*hash)).collect()
}

/// The first of the lines "forged 0", "forged 1", ... whose leaf suits the attacker.
fn grind(suits: impl Fn(&naive::Hash) -> bool) -> naive::Hash {
    (0..1000).map(|i| naive::leaf(format!("forged {i}").as_bytes())).find(|leaf| suits(leaf)).unwrap()
}

/// Two leaves claim one index. Both climb the tree side by side, and each takes a lemma per level. The last lemma is
/// left out, and merkle-cbt drops the node that finds no lemma without an error. Only the true leaf reaches the top,
/// but `verify` accepts both. The forged leaf has to sort after the true one, which takes two tries on average.
#[test]
fn forged_leaf_by_duplicate_index() {
    for count in [2, 3, 4, 5, 7, 13, 64, 100, 1000] {
        let (leaves, tree) = bare(count);
        for place in [0, count / 2, count - 1] {
            let genuine = leaves[place];
            let forged = grind(|forged| *forged > genuine);
            let junk = [0xee; 32];

            let node = index(count - 1 + place);
            let mut lemmas = Vec::new();
            let mut at = count - 1 + place;
            while at > 0 {
                let sibling = if at % 2 == 1 { at + 1 } else { at - 1 };
                lemmas.extend([tree.nodes()[sibling], junk]);
                at = (at - 1) / 2;
            }
            lemmas.pop();

            let proof = BareProof::new(vec![node, node], lemmas.clone());
            assert!(proof.verify(&tree.root(), &[genuine, forged]), "the bare crate is deceived");
            assert!(proof.verify(&tree.root(), &[forged, genuine]), "in either order");

            let at = position(place);
            for entries in [[genuine, forged], [forged, genuine]] {
                let entries = entries.map(|leaf| (at, entry(&leaf)));
                let verdict = root_of_proof(position(count), &entries, &siblings(&lemmas));
                assert_eq!(verdict, Err(TreeError::Order { position: at }));
            }
        }
    }
}

/// All true leaves are given, so the proof takes no lemma. One more leaf, forged, has an index past the end. It is
/// visited first, finds no lemma, and is dropped. `verify` accepts all leaves.
#[test]
fn forged_leaf_by_index_out_of_range() {
    for count in [1, 2, 3, 5, 8, 100] {
        let (leaves, tree) = bare(count);
        let forged = naive::leaf(b"forged");
        for beyond in [2 * count - 1, 2 * count, 1 << 20] {
            // Sort by the leaves' values: merkle-cbt pairs leaves and indices in that order.
            let mut pairs: Vec<_> =
                leaves.iter().enumerate().map(|(i, leaf)| (*leaf, index(count - 1 + i))).collect();
            pairs.push((forged, index(beyond)));
            pairs.sort_unstable();
            let (values, indices): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let proof = BareProof::new(indices, Vec::new());
            assert!(proof.verify(&tree.root(), &values), "the bare crate is deceived");

            let claimed = position(beyond - (count - 1));
            let mut entries: Vec<_> =
                leaves.iter().enumerate().map(|(i, l)| (position(i), entry(l))).collect();
            entries.push((claimed, entry(&forged)));
            let verdict = root_of_proof(position(count), &entries, &[]);
            assert_eq!(verdict, Err(TreeError::Position { position: claimed, count: position(count) }));
        }
    }
}

/// Indices below count - 1 are inner nodes. A bare proof may name any inner node, the top included, and then that node
/// passes as a leaf.
#[test]
fn inner_node_offered_as_leaf() {
    for count in 2..=40 {
        let (_, tree) = bare(count);
        let nodes = tree.nodes();
        let signed = list_root(naive::leaves(count).iter().map(entry).collect()).unwrap();
        for inner in 0..count - 1 {
            let mut lemmas = Vec::new();
            let mut at = inner;
            while at > 0 {
                lemmas.push(nodes[if at % 2 == 1 { at + 1 } else { at - 1 }]);
                at = (at - 1) / 2;
            }
            let proof = BareProof::new(vec![index(inner)], lemmas.clone());
            assert!(proof.verify(&tree.root(), &[nodes[inner]]), "the bare crate is deceived");

            // For every claimed position, the proof has another number of siblings or leads to another root.
            for claimed in 0..count {
                let entries = [(position(claimed), entry(&nodes[inner]))];
                let verdict = root_of_proof(position(count), &entries, &siblings(&lemmas));
                assert!(verdict != Ok(signed), "node {inner} of {count} at {claimed}");
            }
        }
    }
}

/// One node is leaf 2 of 3, leaf 1 of 4 and leaf 0 of 5: a bare proof does not bind the number of leaves. In this crate
/// the count is signed, and part of the root.
#[test]
fn one_proof_for_several_counts() {
    let (leaves, tree) = bare(4);
    let proof = tree.build_proof(&[1]).unwrap();
    assert!(BareProof::new(vec![4], proof.lemmas().to_vec()).verify(&tree.root(), &[leaves[1]]));

    let signed = model_root(612, &list_root(leaves.iter().map(entry).collect()).unwrap());
    let mut tops = Vec::new();
    for (count, claimed) in [(3, 2), (4, 1), (5, 0)] {
        let found = root_of_proof(count, &[(claimed, entry(&leaves[1]))], &siblings(proof.lemmas())).unwrap();
        tops.push(found.hash());
        assert_eq!(model_root(612, &found) == signed, count == 4);
    }
    assert!(tops.iter().all(|top| top.as_bytes() == &tree.root()), "the top alone binds no count");
}

/// In merkle-cbt, the root of an empty tree is zero, and so is the root of one leaf of zeros; the root of one leaf is
/// the leaf itself. In this crate an empty list has no tree, and a top node is never a root.
#[test]
fn tree_of_nothing_and_tree_of_one() {
    assert_eq!(Bare::build_merkle_root(&[]), [0; 32]);
    assert_eq!(Bare::build_merkle_tree(&[]).root(), [0; 32]);
    assert_eq!(Bare::build_merkle_root(&[[0; 32]]), [0; 32]);
    let (leaves, tree) = bare(1);
    assert_eq!(tree.root(), leaves[0]);

    assert_eq!(list_root(Vec::new()), Err(TreeError::Count { count: 0 }));
    assert_eq!(ListTree::build(Vec::new()).unwrap_err(), TreeError::Count { count: 0 });
    assert_eq!(root_of_proof(0, &[(0, entry(&[0; 32]))], &[]), Err(TreeError::Count { count: 0 }));
    let one = list_root(vec![entry(&leaves[0])]).unwrap();
    assert_ne!(model_root(612, &one).as_bytes(), &leaves[0]);
}

/// merkle-cbt computes with unchecked indices. It panics where overflow is checked; elsewhere the indices wrap to other
/// nodes.
#[test]
fn indices_that_panic() {
    let lemmas = vec![[1; 32]; 64];
    let outcome = catch_unwind(|| BareProof::new(vec![u32::MAX, 1], lemmas).root(&[[2; 32], [3; 32]]));
    if cfg!(debug_assertions) {
        assert!(outcome.is_err(), "the bare crate panics in `root`");
    }
    // `build_proof` panics in release builds too.
    assert!(catch_unwind(|| bare(1).1.build_proof(&[0, 0]).is_some()).is_err(), "and in `build_proof`");
    let outcome = catch_unwind(|| bare(4).1.build_proof(&[u32::MAX]).map(|proof| proof.indices().to_vec()));
    match outcome {
        Err(_) => {}
        // 4 + MAX - 1 wraps to 2: an inner node.
        Ok(indices) => assert_eq!(indices, Some(vec![2])),
    }
    // If one leaf is asked for twice, merkle-cbt gives a proof that never verifies.
    let (leaves, tree) = bare(4);
    let proof = tree.build_proof(&[0, 0]).unwrap();
    assert!(!proof.verify(&tree.root(), &[leaves[0], leaves[0]]));

    let tree = ListTree::build(leaves.iter().map(entry).collect()).unwrap();
    let one = ListTree::build(vec![entry(&leaves[0])]).unwrap();
    assert_eq!(one.prove(&[0, 0]), Err(TreeError::Order { position: 0 }));
    assert_eq!(tree.prove(&[0, 0]), Err(TreeError::Order { position: 0 }));
    assert_eq!(tree.prove(&[]), Err(TreeError::NoEntries));
    for past in [4, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        assert_eq!(tree.prove(&[past]), Err(TreeError::Position { position: past, count: 4 }));
        let verdict = root_of_proof(4, &[(0, entry(&leaves[0])), (past, entry(&leaves[1]))], &[]);
        assert_eq!(verdict, Err(TreeError::Position { position: past, count: 4 }));
    }
}

/// A bare proof has no size limit. This crate counts the entries first, and the siblings before it looks at any.
#[test]
fn oversized_proofs() {
    let (leaves, tree) = bare(2);
    let lemmas = vec![leaves[1]; 100_000];
    assert!(
        !BareProof::new(vec![1], lemmas.clone()).verify(&tree.root(), &[leaves[0]]),
        "refused at the end only"
    );

    let verdict = root_of_proof(2, &[(0, entry(&leaves[0]))], &siblings(&lemmas));
    assert_eq!(verdict, Err(TreeError::SiblingCount { expected: 1, actual: 100_000 }));
    let many: Vec<u64> = (0..100_000).collect();
    assert_eq!(sibling_count(1 << 20, &many), Err(TreeError::TooManyEntries { actual: 100_000 }));
}
