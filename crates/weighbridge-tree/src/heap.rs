//! The shape of a proof, computed from the count and the positions alone (rule 7).
//!
//! A tree of n leaves is a heap of 2n - 1 nodes: node 0 is the top, the children of node i are 2i + 1 and 2i + 2, and
//! leaf p is node n - 1 + p.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::list::{MAX_ENTRIES, MAX_PROOF_ENTRIES, TreeError};

/// The number of leaves of a tree: 1 to 2^24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafCount(u32);

impl LeafCount {
    pub(crate) fn new(count: u64) -> Result<Self, TreeError> {
        match u32::try_from(count) {
            Ok(n) if n >= 1 && count <= MAX_ENTRIES => Ok(Self(n)),
            _ => Err(TreeError::Count { count }),
        }
    }

    pub(crate) fn get(self) -> u64 {
        u64::from(self.0)
    }

    /// The heap index of the leaf at `position`. `position` is below the count, so the index is at most 2^25 and the
    /// additions never saturate.
    fn node(self, position: u32) -> u32 {
        self.0.saturating_sub(1).saturating_add(position)
    }
}

/// The leaves that a proof is about. The sibling hashes that the proof takes follow from them.
///
/// Invariant: positions strictly increase and are below the count; there are 1 to 4,096 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProofShape {
    count: LeafCount,
    positions: Vec<u32>,
}

impl ProofShape {
    /// Checks the count first, then the number of positions, and then for each position whether it is above the
    /// previous position and below the count.
    pub(crate) fn new(count: u64, positions: impl ExactSizeIterator<Item = u64>) -> Result<Self, TreeError> {
        let count = LeafCount::new(count)?;
        match positions.len() {
            0 => return Err(TreeError::NoEntries),
            n if n > MAX_PROOF_ENTRIES => return Err(TreeError::TooManyEntries { actual: n }),
            _ => {}
        }
        let mut checked: Vec<u32> = Vec::with_capacity(positions.len());
        for position in positions {
            if checked.last().is_some_and(|last| position <= u64::from(*last)) {
                return Err(TreeError::Order { position });
            }
            match u32::try_from(position) {
                Ok(below) if position < count.get() => checked.push(below),
                _ => return Err(TreeError::Position { position, count: count.get() }),
            }
        }
        Ok(Self { count, positions: checked })
    }

    pub(crate) fn count(&self) -> LeafCount {
        self.count
    }

    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The heap indices of the leaves, in the order of their positions.
    pub(crate) fn nodes(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.positions.iter().map(|position| self.count.node(*position))
    }

    /// Calls `each` with the heap index of every node that is needed for the top but not computed from the leaves, in
    /// strictly descending order.
    ///
    /// Works level by level from the bottom, and from right to left on each level. The indices in the queue strictly
    /// descend: leaves of the upper level come after the leaves of the lower level and before the parents of those. So
    /// a sibling that is computed too is always at the front of the queue when its turn comes.
    fn visit_siblings(&self, mut each: impl FnMut(u32)) {
        let mut queue: VecDeque<u32> = self.nodes().rev().collect();
        while let Some(node) = queue.pop_front() {
            let Some(above) = node.checked_sub(1) else { break };
            // Left children have odd indices, right children even ones.
            let sibling = if node & 1 == 1 { node.saturating_add(1) } else { above };
            if queue.front() == Some(&sibling) {
                queue.pop_front();
            } else {
                each(sibling);
            }
            queue.push_back(above >> 1);
        }
    }

    pub(crate) fn sibling_count(&self) -> usize {
        let mut count = 0_usize;
        self.visit_siblings(|_| count = count.saturating_add(1));
        count
    }

    #[cfg(test)]
    pub(crate) fn sibling_nodes(&self) -> Vec<u32> {
        let mut nodes = Vec::new();
        self.visit_siblings(|node| nodes.push(node));
        nodes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;
    use crate::Coded as _;

    fn shape(count: u64, positions: &[u64]) -> Result<ProofShape, TreeError> {
        ProofShape::new(count, positions.iter().copied())
    }

    /// The siblings by their definition: nodes that are not computed but have a computed sibling.
    fn siblings_by_definition(count: u64, positions: &[u64]) -> Vec<u32> {
        let mut computed = BTreeSet::new();
        for position in positions {
            let mut node = u32::try_from(count - 1 + position).unwrap();
            while computed.insert(node) && node > 0 {
                node = (node - 1) / 2;
            }
        }
        let sibling = |node: u32| if node % 2 == 1 { node + 1 } else { node - 1 };
        let needed: BTreeSet<u32> = computed
            .iter()
            .filter(|n| **n > 0)
            .map(|n| sibling(*n))
            .filter(|n| !computed.contains(n))
            .collect();
        needed.into_iter().rev().collect()
    }

    #[test]
    fn siblings_are_those_of_the_definition_in_strictly_descending_order() {
        for count in 1..=11_u64 {
            for subset in 1..1_u32 << count {
                let positions: Vec<u64> = (0..count).filter(|p| subset >> p & 1 == 1).collect();
                let shape = shape(count, &positions).unwrap();
                let nodes = shape.sibling_nodes();
                assert!(nodes.is_sorted_by(|a, b| a > b));
                assert_eq!(nodes, siblings_by_definition(count, &positions), "{count} {positions:?}");
                assert_eq!(nodes.len(), shape.sibling_count());
            }
        }
    }

    #[test]
    fn refuses_what_is_no_shape() {
        assert_eq!(shape(0, &[0]), Err(TreeError::Count { count: 0 }));
        assert_eq!(shape((1 << 24) + 1, &[0]), Err(TreeError::Count { count: (1 << 24) + 1 }));
        assert_eq!(shape(u64::MAX, &[0]), Err(TreeError::Count { count: u64::MAX }));
        assert!(shape(1 << 24, &[(1 << 24) - 1]).is_ok());
        assert_eq!(shape(5, &[]), Err(TreeError::NoEntries));
        assert_eq!(shape(5, &[1, 1]), Err(TreeError::Order { position: 1 }));
        assert_eq!(shape(5, &[2, 1]), Err(TreeError::Order { position: 1 }));
        assert_eq!(shape(5, &[4, 5]), Err(TreeError::Position { position: 5, count: 5 }));
        assert_eq!(shape(5, &[u64::MAX]), Err(TreeError::Position { position: u64::MAX, count: 5 }));
        assert_eq!(shape(5, &[u64::from(u32::MAX) + 1]).unwrap_err().error_code().get(), 2403);
        let many: Vec<u64> = (0..4097).collect();
        assert_eq!(shape(1 << 20, &many), Err(TreeError::TooManyEntries { actual: 4097 }));
        assert!(shape(1 << 20, &many[..4096]).is_ok());
    }
}
