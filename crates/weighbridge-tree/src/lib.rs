//! BLAKE3 geometry, chunk layers and Merkle trees over lists.
//!
//! Two kinds of tree hold a weighed model together, and both are here:
//!
//! - **Inside a file** it is BLAKE3's own tree. A [`Grid`] divides a file into granules of a power of two; the
//!   chaining values of its chunks, one level of that tree, are its chunk layer. A [`Layer`] is such a layer
//!   after it was merged to the file's root, and checks chunks in any order, on any core.
//! - **Over a list** of files or tensors it is a complete binary Merkle tree of domain-separated hashes, with
//!   proofs for any number of entries at once: [`ListTree`], [`root_of_proof`].
//!
//! # Guarantee
//! What is accepted here is what the given root was made of. Sizes, counts and roots are believed as they are
//! passed in: whoever calls takes them from signed data (rule 1).
//!
//! # What is absent on purpose
//! No I/O, no threads, no locks, no clock. No `Default` on a hash: an unknown hash is an `Option` (rule 5). No
//! `Deref` or `AsRef` from a hash to its bytes: comparing these would lose constant time unnoticed. Nothing
//! panics, whatever the arguments (rule 12); what cannot be is an error.
//!
//! Rules are numbered as in `spec/rules.md`, error codes as in `spec/error-codes.md`.
//!
//! # Modules
//! - [`hash`]: 32-byte values, one type for each meaning
//! - [`geometry`]: chunk sizes, and how they divide a file
//! - [`merge`]: from chaining values up to coarser ones and to the root
//! - [`layer`]: accepting a chunk layer, checking chunks by it
//! - [`collect`]: gathering chaining values that arrive in any order
//! - [`list`]: trees over lists, and their proofs
//! - [`mod@slice`]: ranges of a file with the path that leads to them
//! - [`sample`]: drawing BLAKE3 chunks for an audit, and the path from them to the root
//!
//! The others are private. `subtree` is one node of a file's tree, of which layers, slices and samples are made; what is
//! in `slicer` and `slice_error` is public in [`mod@slice`], what is in `draw` and `sample_error` in [`sample`]; `heap`
//! and `cbt` are below [`list`].

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod cbt;
pub mod collect;
mod draw;
pub mod geometry;
pub mod hash;
mod heap;
pub mod layer;
pub mod list;
pub mod merge;
pub mod sample;
mod sample_error;
pub mod slice;
mod slice_error;
mod slicer;
mod subtree;

pub use collect::{CollectError, Collector};
pub use geometry::{ChunkSize, ChunkSizeError, Granule, Grid, TooLong};
pub use hash::{
    ChainingValue, ChallengeHash, EntryHash, FileRoot, HashError, HeadId, ModelRoot, Nonce, ResponseHash,
    SiblingHash, TensorHash, TensorsRoot, TreeHash, head_id,
};
pub use layer::{ChunkError, Layer, LayerError, LayerReader};
pub use list::{
    CountedTree, ListTree, MAX_ENTRIES, MAX_PROOF_ENTRIES, TreeError, list_root, model_root, root_of_proof,
    sibling_count, tensors_root,
};
pub use merge::MergeError;
pub use sample::{FileSamples, MAX_SAMPLES, PartError, SampleError, draw};
pub use slice::{SliceDecoder, SliceError, SliceRange, Slicer, check_slice};
