//! A tree and a verifier of our own: slow, recursive, written from `spec/trees.md`, and sharing no code with the crate.
//! They have to agree with the crate on every input.

use std::collections::BTreeMap;

pub(crate) type Hash = [u8; 32];

pub(crate) fn parent(left: &Hash, right: &Hash) -> Hash {
    blake3::derive_key("weighbridge 2026-11-20 v1 node", &[*left, *right].concat())
}

pub(crate) fn leaf(line: &[u8]) -> Hash {
    blake3::derive_key("weighbridge 2026-11-20 v1 entry", line)
}

/// `count` different leaves.
pub(crate) fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|i| leaf(format!("entry {i}").as_bytes())).collect()
}

/// Node `index` of the heap over the leaves; node 0 is the top.
pub(crate) fn node(leaves: &[Hash], index: usize) -> Hash {
    match index.checked_sub(leaves.len() - 1) {
        Some(position) => leaves[position],
        None => parent(&node(leaves, 2 * index + 1), &node(leaves, 2 * index + 2)),
    }
}

/// The nodes that are neither at nor above one of the positions, but whose parent is; in descending heap index.
pub(crate) fn sibling_nodes(count: usize, positions: &[usize]) -> Vec<usize> {
    let is_computed = |node: usize| {
        positions.iter().any(|position| {
            let mut at = count - 1 + position;
            while at > node {
                at = (at - 1) / 2;
            }
            at == node
        })
    };
    (1..2 * count - 1).rev().filter(|node| !is_computed(*node) && is_computed((node - 1) / 2)).collect()
}

/// The sibling hashes of an honest proof.
pub(crate) fn prove(leaves: &[Hash], positions: &[usize]) -> Vec<Hash> {
    sibling_nodes(leaves.len(), positions).into_iter().map(|index| node(leaves, index)).collect()
}

/// The root to which a proof leads; `None` if the proof is malformed.
pub(crate) fn root_of_proof(count: u64, entries: &[(u64, Hash)], siblings: &[Hash]) -> Option<Hash> {
    let increasing = entries.is_sorted_by(|a, b| a.0 < b.0);
    if count == 0 || count > 1 << 24 || entries.is_empty() || entries.len() > 4096 || !increasing {
        return None;
    }
    if entries.iter().any(|(position, _)| *position >= count) {
        return None;
    }
    let count = usize::try_from(count).ok()?;
    let positions: Vec<usize> =
        entries.iter().map(|(p, _)| usize::try_from(*p).ok()).collect::<Option<_>>()?;
    let nodes = sibling_nodes(count, &positions);
    if nodes.len() != siblings.len() {
        return None;
    }
    let mut known: BTreeMap<usize, Hash> = nodes.into_iter().zip(siblings.iter().copied()).collect();
    known.extend(positions.iter().map(|p| count - 1 + p).zip(entries.iter().map(|(_, hash)| *hash)));
    Some(compute(&known, 0))
}

fn compute(known: &BTreeMap<usize, Hash>, index: usize) -> Hash {
    known
        .get(&index)
        .copied()
        .unwrap_or_else(|| parent(&compute(known, 2 * index + 1), &compute(known, 2 * index + 2)))
}
