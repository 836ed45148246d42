//! Hashes the tensors of a file from the blocks in which the file is read. The blocks may come in any order.
//!
//! A tensor may begin anywhere in a file, so the granules of its own tree straddle the blocks. A granule that lies in
//! one block is hashed from that block. A granule that straddles two blocks is hashed once both halves are here. A
//! granule is never longer than a block, so there are never more than two halves.

use std::{collections::HashMap, ops::Range, sync::Mutex};

use weighbridge_tree::{ChainingValue, Collector, Granule, Grid, TensorHash};

use crate::scan::{BLOCK, lock};

/// The tensors of one file, hashed by many threads.
///
/// # Cost
/// 32 bytes for each 32 KiB of the tensors being hashed, and at most one granule for each end of a run of blocks that
/// was read.
pub(crate) struct TensorHashes {
    /// Sorted and disjoint.
    ranges: Vec<Range<u64>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hashes: Vec<Option<TensorHash>>,
    values: HashMap<usize, Collector>,
    halves: HashMap<(usize, u64), Vec<u8>>,
}

/// The result of hashing one block, or the bytes of half a granule.
enum Piece {
    Whole { tensor: usize, hash: TensorHash },
    Value { tensor: usize, grid: Grid, granule: u64, value: ChainingValue },
    Half { tensor: usize, grid: Grid, granule: u64, first: bool, bytes: Vec<u8> },
}

impl TensorHashes {
    /// Prepares the hashes of these ranges of a file; `None` unless the ranges are sorted and disjoint.
    pub(crate) fn new(ranges: Vec<Range<u64>>) -> Option<Self> {
        let sorted = ranges.windows(2).all(|pair| matches!(pair, [a, b] if a.end <= b.start));
        if !sorted || ranges.iter().any(|r| r.end < r.start) {
            return None;
        }
        let nothing = |r: &Range<u64>| r.is_empty().then(|| TensorHash::of(&[]));
        let state = State { hashes: ranges.iter().map(nothing).collect(), ..State::default() };
        Some(Self { ranges, state: Mutex::new(state) })
    }

    /// Adds the bytes of the file from `start` on.
    pub(crate) fn block(&self, start: u64, bytes: &[u8]) {
        let pieces = self.pieces(start, bytes);
        let mut joined = Vec::new();
        {
            let mut state = lock(&self.state);
            for piece in pieces {
                joined.extend(state.take_in(piece));
            }
        }
        // Joined granules are hashed without the lock, and their results are added like any other.
        for piece in joined {
            lock(&self.state).take_in(piece);
        }
    }

    /// All hashes, in the order of the ranges; `None` if bytes are missing.
    pub(crate) fn hashes(&self) -> Option<Vec<TensorHash>> {
        lock(&self.state).hashes.iter().copied().collect()
    }

    fn pieces(&self, start: u64, bytes: &[u8]) -> Vec<Piece> {
        let end = start.saturating_add(len(bytes));
        let first = self.ranges.partition_point(|r| r.end <= start);
        let touched = (first..).zip(self.ranges.iter().skip(first)).take_while(|(_, r)| r.start < end);
        let mut pieces = Vec::new();
        for (tensor, range) in touched.filter(|(_, r)| !r.is_empty()) {
            let Ok(grid) = Grid::new(range.end.saturating_sub(range.start), GRANULE) else { continue };
            // Offsets from the start of the tensor, as in its tree.
            let here = range.start.max(start).saturating_sub(range.start)
                ..range.end.min(end).saturating_sub(range.start);
            let mut granule = here.start.checked_div(GRANULE.bytes()).unwrap_or(0);
            while let Some(whole) = grid.range(granule).filter(|g| g.start < here.end) {
                let part = whole.start.max(here.start)..whole.end.min(here.end);
                let from = range.start.saturating_add(part.start).saturating_sub(start);
                let Some(bytes) = slice(bytes, from, part.end.saturating_sub(part.start)) else { break };
                pieces.extend(if part == whole {
                    hash(tensor, grid, granule, bytes)
                } else {
                    let first = part.start == whole.start;
                    Some(Piece::Half { tensor, grid, granule, first, bytes: bytes.to_vec() })
                });
                granule = granule.saturating_add(1);
            }
        }
        pieces
    }
}

impl State {
    /// Adds a piece; returns the hashed granule if two halves came together.
    fn take_in(&mut self, piece: Piece) -> Option<Piece> {
        match piece {
            Piece::Whole { tensor, hash } => {
                *self.hashes.get_mut(tensor)? = Some(hash);
                None
            }
            Piece::Value { tensor, grid, granule, value } => {
                let values = match self.values.entry(tensor) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert(Collector::new(grid).ok()?)
                    }
                };
                values.insert(granule, value).ok()?;
                if values.is_complete() {
                    let values = self.values.remove(&tensor)?.finish().ok()?;
                    let root = grid.merge_root(&values).ok()?;
                    *self.hashes.get_mut(tensor)? = Some(TensorHash::from_bytes(*root.as_bytes()));
                }
                None
            }
            Piece::Half { tensor, grid, granule, first, bytes } => {
                let Some(other) = self.halves.remove(&(tensor, granule)) else {
                    self.halves.insert((tensor, granule), bytes);
                    return None;
                };
                let whole = if first { [bytes, other].concat() } else { [other, bytes].concat() };
                hash(tensor, grid, granule, &whole)
            }
        }
    }
}

fn hash(tensor: usize, grid: Grid, granule: u64, bytes: &[u8]) -> Option<Piece> {
    if grid.has_layer() {
        let value = grid.chaining_value(granule, bytes).ok()?;
        Some(Piece::Value { tensor, grid, granule, value })
    } else {
        Some(Piece::Whole { tensor, hash: TensorHash::of(bytes) })
    }
}

fn slice(bytes: &[u8], from: u64, length: u64) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The granule of tensor hashing: large enough to fill vector registers, small enough that copying the granule that
/// straddles each block costs little.
const GRANULE: Granule = match Granule::new(1 << 15) {
    Some(granule) => granule,
    None => Granule::MIN,
};
const _: () = assert!(GRANULE.bytes() <= BLOCK, "a granule lies in at most two blocks");
