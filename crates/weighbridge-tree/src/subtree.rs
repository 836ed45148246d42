//! Nodes of a file's BLAKE3 tree. Each node is named by the byte range below it.
//!
//! The tree is left-full: the length of a node's left child is the largest power of two that is smaller than the node.
//! So every node begins at a multiple of its own size, rounded up to a power of two: its left neighbour is at least
//! that large.

use core::ops::Range;

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::geometry::{Granule, as_u64, len_of};
use crate::hash::{ChainingValue, FileRoot};

/// BLAKE3's own chunk, the leaf of the tree.
pub(crate) const LEAF: Granule = Granule::MIN;
pub(crate) const LEAF_LEN: usize = 1024;

/// The left and right child of a node; `None` if the node is no longer than `unit`.
///
/// Units are powers of two, so the left child consists of whole units. Each level halves the size, rounded up to a
/// power of two. So below a file of fewer than 2^53 bytes, recursion goes at most 43 levels deep.
pub(crate) fn halves(node: &Range<u64>, unit: Granule) -> Option<[Range<u64>; 2]> {
    let len = len_of(node);
    if len <= unit.bytes() {
        return None;
    }
    let left = 1_u64.checked_shl(len.saturating_sub(1).checked_ilog2()?)?;
    let middle = node.start.saturating_add(left);
    Some([node.start..middle, middle..node.end])
}

/// Whether a node has a byte of the range.
pub(crate) fn touches(node: &Range<u64>, range: &Range<u64>) -> bool {
    node.start < range.end && range.start < node.end
}

/// The value of a node below the root, from all of its bytes; `None` if no tree has a node with this many bytes there.
///
/// BLAKE3 panics on an offset that is not a multiple of 1,024, on empty input, and on more bytes than a subtree at that
/// offset can hold: the largest power of two that divides the offset. The comparison below excludes all three. The
/// counter of the BLAKE3 chunks follows from the node's place (rule 4).
pub(crate) fn from_bytes(node: &Range<u64>, bytes: &[u8]) -> Option<ChainingValue> {
    let size = len_of(node).checked_next_power_of_two()?.max(LEAF.bytes());
    let is_aligned = node.start.checked_rem(size) == Some(0);
    if bytes.is_empty() || as_u64(bytes.len()) != len_of(node) || !is_aligned {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(node.start).update(bytes);
    Some(ChainingValue::from_bytes(hasher.finalize_non_root()))
}

/// The value of a node below the root, from the values of its children.
pub(crate) fn merge(left: &ChainingValue, right: &ChainingValue) -> ChainingValue {
    ChainingValue::from_bytes(merge_subtrees_non_root(left.as_bytes(), right.as_bytes(), Mode::Hash))
}

/// A file's root, from the values of the top node's children. Only this function and [`FileRoot::of`] set the flag
/// ROOT, at the top node (rule 4).
pub(crate) fn merge_root(left: &ChainingValue, right: &ChainingValue) -> FileRoot {
    let root = merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash);
    FileRoot::from_bytes(*root.as_bytes())
}

/// The bytes of the node `part`, cut out of the bytes of the node `whole`.
pub(crate) fn part_of<'b>(bytes: &'b [u8], whole: &Range<u64>, part: &Range<u64>) -> Option<&'b [u8]> {
    let start = usize::try_from(part.start.checked_sub(whole.start)?).ok()?;
    let end = usize::try_from(part.end.checked_sub(whole.start)?).ok()?;
    bytes.get(start..end)
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use blake3::hazmat::left_subtree_len;

    use super::*;
    use crate::geometry::FILE_LEN_LIMIT;

    #[test]
    fn halves_are_those_of_blake3() {
        let near_powers = (10..53).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for len in (1..5000).chain(near_powers).chain([FILE_LEN_LIMIT - 1]) {
            for start in [0, 1 << 60] {
                let halves = halves(&(start..start + len), LEAF);
                // BLAKE3's own function has no value for a single BLAKE3 chunk: the caller has to exclude 1,024 bytes
                // and fewer.
                let expected = (len > 1024).then(|| start + left_subtree_len(len));
                assert_eq!(halves, expected.map(|middle| [start..middle, middle..start + len]), "{len}");
            }
        }
    }

    /// Checks the value of every node below against the values of its children; returns the value of `node`.
    fn value_of_all_below(node: &Range<u64>, bytes: &[u8]) -> ChainingValue {
        let value = from_bytes(node, part_of(bytes, &(0..as_u64(bytes.len())), node).unwrap()).unwrap();
        if let Some([left, right]) = halves(node, LEAF) {
            let [left, right] = [left, right].map(|child| value_of_all_below(&child, bytes));
            assert_eq!(merge(&left, &right), value, "{node:?}");
        }
        value
    }

    #[test]
    fn every_node_has_the_value_of_its_children_merged() {
        for len in [1025, 2048, 2049, 5000, 7 * 1024, 13 * 1024 + 1, 33 * 1024 - 1] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let [left, right] = halves(&(0..as_u64(len)), LEAF).unwrap();
            let [left, right] = [left, right].map(|child| value_of_all_below(&child, &bytes));
            assert_eq!(merge_root(&left, &right), FileRoot::of(&bytes), "{len}");
        }
    }

    #[test]
    fn what_is_no_node_has_no_value() {
        for (node, len) in [
            // Nodes of no bytes, nodes of another length than the bytes, and a reversed range.
            (0..0, 0),
            (1024..1024, 0),
            (0..9, 8),
            (0..8, 9),
            (0..0, 1),
            (Range { start: 9, end: 8 }, 1),
            // Nodes at an offset where no BLAKE3 chunk begins, or no subtree of that size.
            (1..2, 1),
            (1023..1024, 1),
            (1024..1024 + 1025, 1025),
            (2048..2048 + 2049, 2049),
            (6144..6144 + 3072, 3072),
            (0..u64::MAX, 1),
        ] {
            assert_eq!(from_bytes(&node, &vec![7; len]), None, "{node:?}");
        }
        let last = u64::MAX - 1023;
        for (node, len) in [(0..1, 1), (1024..2048, 1024), (2048..4095, 2047), (last..last + 9, 9)] {
            assert!(from_bytes(&node, &vec![7; len]).is_some(), "{node:?}");
        }
    }
}
