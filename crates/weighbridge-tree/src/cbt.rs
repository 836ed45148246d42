//! The only file that names merkle-cbt. That crate's word "lemma" is used here alone; elsewhere it is a sibling hash.
//!
//! merkle-cbt 0.3.2 builds trees and honest proofs, but is not safe on hostile proofs. It takes heap indices unchecked,
//! so a duplicate, an out-of-range or an inner index passes a forged leaf. It drops a node when the lemmas run out. It
//! panics on `u32::MAX`. It gives an empty tree the root zero. `tests/it/attacks.rs` has each attack twice: once against
//! the bare crate and once against this one.
//!
//! Rule 7 makes merkle-cbt safe: every call here is given a [`ProofShape`] (distinct leaves below the count) and
//! exactly as many lemmas as that shape takes. Then no node is dropped, no lemma is left over, and every leaf takes
//! part in the root. Node indices never come from outside.

use alloc::vec::Vec;

use merkle_cbt::merkle_tree::Merge;
use merkle_cbt::{CBMT, MerkleProof, MerkleTree};

use crate::hash::{Context, EntryHash, SiblingHash, TreeHash};
use crate::heap::{LeafCount, ProofShape};
use crate::list::TreeError;

/// A node in the form that merkle-cbt takes. That crate demands `Default` and `Ord`; both stay in this file. The
/// default is a placeholder in `build_merkle_tree`, overwritten before the tree is returned.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Node([u8; 32]);

impl From<EntryHash> for Node {
    fn from(entry: EntryHash) -> Self {
        Self(*entry.as_bytes())
    }
}

struct MergeNodes;

impl Merge for MergeNodes {
    type Item = Node;

    fn merge(left: &Node, right: &Node) -> Node {
        Node(*Context::NODE.hash(&[&left.0, &right.0]).as_bytes())
    }
}

/// A tree with all its nodes.
pub(crate) struct Tree {
    count: LeafCount,
    nodes: MerkleTree<Node, MergeNodes>,
}

impl Tree {
    pub(crate) fn build(entries: Vec<EntryHash>) -> Result<Self, TreeError> {
        let count = leaf_count(&entries)?;
        let leaves: Vec<Node> = entries.into_iter().map(Node::from).collect();
        Ok(Self { count, nodes: CBMT::build_merkle_tree(&leaves) })
    }

    pub(crate) fn count(&self) -> LeafCount {
        self.count
    }

    pub(crate) fn root(&self) -> TreeHash {
        TreeHash::from_bytes(self.nodes.root().0)
    }

    /// The lemmas for these positions, in strictly descending heap index; a test below checks that order.
    pub(crate) fn prove(
        &self,
        positions: impl ExactSizeIterator<Item = u64>,
    ) -> Result<Vec<SiblingHash>, TreeError> {
        let shape = ProofShape::new(self.count.get(), positions)?;
        // `None` comes only for no positions or for positions past the end. The shape has neither.
        let proof = self.nodes.build_proof(shape.positions()).ok_or(TreeError::NoEntries)?;
        Ok(proof.lemmas().iter().map(|lemma| SiblingHash::from_bytes(lemma.0)).collect())
    }
}

/// The root alone; the tree is not kept.
pub(crate) fn root(entries: Vec<EntryHash>) -> Result<(LeafCount, TreeHash), TreeError> {
    let count = leaf_count(&entries)?;
    let leaves: Vec<Node> = entries.into_iter().map(Node::from).collect();
    Ok((count, TreeHash::from_bytes(CBMT::<Node, MergeNodes>::build_merkle_root(&leaves).0)))
}

/// The root that follows from these entries, at the positions of the shape, and the siblings.
pub(crate) fn root_of_proof(
    shape: &ProofShape,
    entries: impl ExactSizeIterator<Item = EntryHash>,
    siblings: &[SiblingHash],
) -> Result<TreeHash, TreeError> {
    let expected = shape.sibling_count();
    if siblings.len() != expected {
        return Err(TreeError::SiblingCount { expected, actual: siblings.len() });
    }
    // merkle-cbt sorts the given leaves by value and pairs them with the indices in that order. Leaves and indices
    // sorted in the same order give each leaf its own index. Among equal leaves the order does not matter.
    let mut pairs: Vec<(Node, u32)> = entries.map(Node::from).zip(shape.nodes()).collect();
    pairs.sort_unstable();
    let (leaves, indices): (Vec<Node>, Vec<u32>) = pairs.into_iter().unzip();
    let lemmas = siblings.iter().map(|sibling| Node(*sibling.as_bytes())).collect();
    let root = MerkleProof::<Node, MergeNodes>::new(indices, lemmas).root(&leaves);
    // With the right number of lemmas, `None` is impossible. If it came, nothing would be proved.
    root.map(|root| TreeHash::from_bytes(root.0)).ok_or(TreeError::WrongRoot)
}

/// Refuses an empty tree: merkle-cbt gives it the root zero, which is also the root of one zero leaf (rule 5).
fn leaf_count(entries: &[EntryHash]) -> Result<LeafCount, TreeError> {
    LeafCount::new(u64::try_from(entries.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // small numbers of a test
mod tests {
    use std::format;

    use super::*;

    /// Takes many subsets of many trees. The order of merkle-cbt's lemmas is the order of our specification.
    #[test]
    fn lemmas_come_in_strictly_descending_heap_index() {
        for count in 1..=40_u64 {
            let entries: Vec<_> = (0..count).map(|i| EntryHash::of_line(format!("{i}").as_bytes())).collect();
            let tree = Tree::build(entries).unwrap();
            for seed in 0..200_u64 {
                let chosen = blake3::hash(&[count.to_le_bytes(), seed.to_le_bytes()].concat());
                let density = [1, 16, 64, 128, 250][seed as usize % 5];
                let positions: Vec<u64> = (0..count)
                    .filter(|p| chosen.as_bytes()[*p as usize % 32].wrapping_mul(*p as u8 | 1) < density)
                    .collect();
                let Ok(shape) = ProofShape::new(count, positions.iter().copied()) else { continue };
                let nodes = tree.nodes.nodes();
                let expected: Vec<_> = shape
                    .sibling_nodes()
                    .into_iter()
                    .map(|node| SiblingHash::from_bytes(nodes[node as usize].0))
                    .collect();
                assert_eq!(tree.prove(positions.iter().copied()).unwrap(), expected, "{count} {positions:?}");
            }
        }
    }
}
