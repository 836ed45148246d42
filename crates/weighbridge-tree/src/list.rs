//! Trees over lists, and proofs that entries belong to one.
//!
//! The tree binds the entries and their order; [`model_root`] and [`tensors_root`] bind the count as well. A proof
//! shows any number of entries at once, and contains no hash that can be computed from them.
//!
//! ```
//! use weighbridge_tree::{EntryHash, ListTree, model_root, root_of_proof};
//!
//! let lines = [r#"{"file":"a"}"#, r#"{"file":"b"}"#, r#"{"file":"c"}"#];
//! let entries: Vec<_> = lines.iter().map(|line| EntryHash::of_line(line.as_bytes())).collect();
//! let tree = ListTree::build(entries.clone())?;
//! let signed = model_root(612, &tree.root());
//!
//! let siblings = tree.prove(&[1])?;
//! assert_eq!(siblings.len(), 2);
//!
//! // The verifier has the count 3, the sum 612 and the root from signed data; the rest is not signed.
//! let claimed = root_of_proof(3, &[(1, entries[1])], &siblings)?;
//! assert_eq!(model_root(612, &claimed), signed);
//! # Ok::<(), weighbridge_tree::TreeError>(())
//! ```

use alloc::vec::Vec;
use core::fmt;

use crate::cbt;
use crate::error_code::{Coded, ErrorCode};
use crate::hash::{Context, EntryHash, ModelRoot, SiblingHash, TensorsRoot, TreeHash};
use crate::heap::{LeafCount, ProofShape};

/// The most entries of a list: 2^24.
pub const MAX_ENTRIES: u64 = 1 << 24;

/// The most entries of one proof.
pub const MAX_PROOF_ENTRIES: usize = 4096;

/// The tree over a list, with all its nodes. It makes proofs.
#[must_use]
pub struct ListTree(cbt::Tree);

impl ListTree {
    /// Builds the tree over the entries, in the order of the list.
    ///
    /// # Errors
    /// [`TreeError::Count`] (2401) for no entries or more than 2^24.
    ///
    /// # Cost
    /// One compression and at most 96 bytes per entry, of which 64 bytes are kept. [`list_root`] keeps nothing.
    pub fn build(entries: Vec<EntryHash>) -> Result<Self, TreeError> {
        cbt::Tree::build(entries).map(Self)
    }

    /// The top node and the count.
    pub fn root(&self) -> CountedTree {
        CountedTree { count: self.0.count(), hash: self.0.root() }
    }

    /// The sibling hashes that [`root_of_proof`] takes for the entries at these positions. The positions strictly
    /// increase.
    ///
    /// # Errors
    /// [`TreeError`]: 2402, 2403, 2406.
    pub fn prove(&self, positions: &[u64]) -> Result<Vec<SiblingHash>, TreeError> {
        self.0.prove(positions.iter().copied())
    }
}

impl fmt::Debug for ListTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ListTree").field(&self.root()).finish()
    }
}

/// Computes the top node of the tree over a list, without keeping the tree.
///
/// # Errors
/// [`TreeError::Count`] (2401) for no entries or more than 2^24.
pub fn list_root(entries: Vec<EntryHash>) -> Result<CountedTree, TreeError> {
    cbt::root(entries).map(|(count, hash)| CountedTree { count, hash })
}

/// Computes the top node that follows from entries and sibling hashes, in a list of `count` entries.
///
/// `count` is signed (rule 1). `entries` are pairs of a position and the hash of the line that is claimed to be there;
/// the positions strictly increase. `siblings` are in strictly descending heap index. Node indices and the number of
/// siblings are never taken from input: both follow from `count` and the positions (rule 7).
///
/// # Guarantee
/// If [`model_root`] or [`tensors_root`] of the result is the signed root, then each entry is the one at its position
/// of the signed list.
///
/// # Non-guarantee
/// By itself the result is a claim, since any entries lead to some hash. Compare the root with the signed one.
///
/// # Errors
/// [`TreeError`], checked in this order: 2401; 2402 for no entries; 2406; 2402 and 2403 position by position; 2404.
///
/// # Panics
/// Never, for any arguments.
///
/// # Cost
/// One compression per computed node, fewer than 25 per entry. No allocation depends on an unchecked number.
pub fn root_of_proof(
    count: u64,
    entries: &[(u64, EntryHash)],
    siblings: &[SiblingHash],
) -> Result<CountedTree, TreeError> {
    let shape = ProofShape::new(count, entries.iter().map(|(position, _)| *position))?;
    let hash = cbt::root_of_proof(&shape, entries.iter().map(|(_, entry)| *entry), siblings)?;
    Ok(CountedTree { count: shape.count(), hash })
}

/// The number of sibling hashes in a proof of these positions, in a list of `count` entries.
///
/// # Errors
/// [`TreeError`]: 2401, 2402, 2403, 2406.
pub fn sibling_count(count: u64, positions: &[u64]) -> Result<usize, TreeError> {
    ProofShape::new(count, positions.iter().copied()).map(|shape| shape.sibling_count())
}

/// The top node of a list's tree and the number of entries below it, at least one.
///
/// Only building a tree, or computing one from a proof, makes this value. So the count of a root is always the count
/// that gave the tree its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CountedTree {
    count: LeafCount,
    hash: TreeHash,
}

impl CountedTree {
    /// The number of entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// The top node.
    pub fn hash(&self) -> TreeHash {
        self.hash
    }
}

/// The `root` of a head. It covers the file list's tree, its count, and the sum of all file sizes.
pub fn model_root(bytes: u64, files: &CountedTree) -> ModelRoot {
    let (count, bytes) = (files.count().to_le_bytes(), bytes.to_le_bytes());
    let hash = Context::MODEL_ROOT.hash(&[&count, &bytes, files.hash.as_bytes()]);
    ModelRoot::from_bytes(*hash.as_bytes())
}

/// The `tensors-root` of a head. It covers the tensor list's tree and its count; `None` is a list of no tensors.
///
/// A head with the line `tensors none` has no `tensors-root` at all, unlike a head with an empty tensor list.
pub fn tensors_root(tensors: Option<&CountedTree>) -> TensorsRoot {
    let hash = match tensors {
        None => Context::TENSORS_ROOT.hash(&[&0_u64.to_le_bytes()]),
        Some(tree) => Context::TENSORS_ROOT.hash(&[&tree.count().to_le_bytes(), tree.hash.as_bytes()]),
    };
    TensorsRoot::from_bytes(*hash.as_bytes())
}

/// The reason why a list has no tree, or why a proof proves nothing.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TreeError {
    /// The number of entries is not between 1 and 2^24.
    Count {
        /// The claimed number of entries.
        count: u64,
    },
    /// A proof without entries proves nothing.
    NoEntries,
    /// A position is not above the one before it (rule 7).
    Order {
        /// The position at fault.
        position: u64,
    },
    /// A position is past the end of the list (rule 7).
    Position {
        /// The position at fault.
        position: u64,
        /// The number of entries of the list.
        count: u64,
    },
    /// There are more or fewer sibling hashes than the positions require (rule 7).
    SiblingCount {
        /// The number that the positions require.
        expected: usize,
        /// The number found.
        actual: usize,
    },
    /// The entries do not lead to the signed root. Mostly returned by callers, since they know that root.
    WrongRoot,
    /// There are more than 4,096 entries in one proof (rule 12).
    TooManyEntries {
        /// The number of entries in the proof.
        actual: usize,
    },
}

impl Coded for TreeError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Count { .. } => ErrorCode::TREE_COUNT,
            Self::NoEntries | Self::Order { .. } => ErrorCode::TREE_ORDER,
            Self::Position { .. } => ErrorCode::TREE_POSITION,
            Self::SiblingCount { .. } => ErrorCode::TREE_SIBLING_COUNT,
            Self::WrongRoot => ErrorCode::TREE_MISMATCH,
            Self::TooManyEntries { .. } => ErrorCode::TREE_TOO_MANY_ENTRIES,
        }
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { count } => write!(f, "a list has 1 to 16777216 entries, not {count}"),
            Self::NoEntries => write!(f, "the proof has no entries"),
            Self::Order { position } => {
                write!(f, "position {position} is not above the one before it in the proof")
            }
            Self::Position { position, count } => {
                write!(f, "position {position} is past the end of a list of {count} entries")
            }
            Self::SiblingCount { expected, actual } => {
                write!(f, "the proof has {actual} sibling hashes, its positions take {expected}")
            }
            Self::WrongRoot => write!(f, "the entries do not lead to the signed root"),
            Self::TooManyEntries { actual } => {
                write!(f, "the proof has {actual} entries, at most 4096 are allowed")
            }
        }
    }
}

impl core::error::Error for TreeError {}
