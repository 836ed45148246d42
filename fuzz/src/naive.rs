//! The trees of the specification, written by its pages alone.

use std::collections::{BTreeMap, BTreeSet};

/// A node of any tree.
pub type Hash = [u8; 32];

/// The leaf of a list's line, which is given without its LF.
pub fn leaf(line: &[u8]) -> Hash {
    blake3::derive_key("weighbridge 2026-11-20 v1 entry", line)
}

fn parent(left: Hash, right: Hash) -> Hash {
    blake3::derive_key("weighbridge 2026-11-20 v1 node", &[left, right].concat())
}

/// The top of the tree over a non-empty list: node 0 of the heap, whose last nodes are the leaves.
pub fn top(leaves: &[Hash]) -> Hash {
    let first_leaf = leaves.len() - 1;
    fn node(leaves: &[Hash], first_leaf: usize, index: usize) -> Hash {
        match index.checked_sub(first_leaf) {
            Some(position) => leaves[position],
            None => parent(node(leaves, first_leaf, 2 * index + 1), node(leaves, first_leaf, 2 * index + 2)),
        }
    }
    node(leaves, first_leaf, 0)
}

/// The `root` of a head, for a file list.
pub fn model_root(leaves: &[Hash], bytes: u64) -> Hash {
    let count = leaves.len() as u64;
    let text = [&count.to_le_bytes()[..], &bytes.to_le_bytes(), &top(leaves)].concat();
    blake3::derive_key("weighbridge 2026-11-20 v1 model root", &text)
}

/// The `tensors-root` of a head, for a tensor list.
pub fn tensors_root(leaves: &[Hash]) -> Hash {
    let mut text = (leaves.len() as u64).to_le_bytes().to_vec();
    if !leaves.is_empty() {
        text.extend(top(leaves));
    }
    blake3::derive_key("weighbridge 2026-11-20 v1 tensors root", &text)
}

/// The root to which a proof leads; `None` if the proof is malformed.
pub fn root_of_proof(count: u64, entries: &[(u64, Hash)], siblings: &[Hash]) -> Option<Hash> {
    let increasing = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let listed = entries.iter().all(|(position, _)| *position < count);
    if count > 1 << 24 || entries.is_empty() || entries.len() > 4096 || !increasing || !listed {
        return None;
    }
    let nodes: Vec<u64> = entries.iter().map(|(position, _)| count - 1 + position).collect();
    let mut known: BTreeMap<u64, Hash> =
        nodes.iter().copied().zip(entries.iter().map(|(_, hash)| *hash)).collect();
    let mut computed = BTreeSet::new();
    for mut node in nodes {
        computed.insert(node);
        while node > 0 {
            node = (node - 1) / 2;
            computed.insert(node);
        }
    }
    let missing: BTreeSet<u64> = computed
        .iter()
        .filter(|node| **node < count - 1)
        .flat_map(|node| [2 * node + 1, 2 * node + 2])
        .filter(|child| !computed.contains(child))
        .collect();
    if missing.len() != siblings.len() {
        return None;
    }
    known.extend(missing.into_iter().rev().zip(siblings.iter().copied()));
    Some(compute(&known, 0))
}

fn compute(known: &BTreeMap<u64, Hash>, node: u64) -> Hash {
    match known.get(&node) {
        Some(hash) => *hash,
        None => parent(compute(known, 2 * node + 1), compute(known, 2 * node + 2)),
    }
}
