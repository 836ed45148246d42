//! BLAKE3 geometry, chunk layers and Merkle trees over lists.
//!
//! A weighed model has two kinds of tree, and this crate implements both:
//!
//! - **Inside a file**, the tree is BLAKE3's own. A [`Grid`] divides a file into granules of a power of two. The
//!   chaining values of the file's chunks are one level of that tree and form its chunk layer. A [`Layer`] is a chunk
//!   layer that merges to the file's root. It checks chunks in any order, on any core.
//! - **Over a list** of files or tensors, the tree is a complete binary Merkle tree of domain-separated hashes, with
//!   proofs for any number of entries at once: [`ListTree`], [`root_of_proof`].
//!
//! # Guarantee
//! Accepted data is the data from which the given root was made. Sizes, counts and roots are believed as passed in: the
//! caller takes them from signed data (rule 1).
//!
//! # What is absent on purpose
//! No I/O, no threads, no locks, no clock. No `Default` on a hash: an unknown hash is `None` (rule 5). No `Deref` or
//! `AsRef` from a hash to its bytes: a comparison of bytes would lose constant time unnoticed. No panic, for any
//! arguments (rule 12); an impossible argument is an error.
//!
//! Rules are numbered as in `spec/rules.md`. Every error has a stable number of `spec/error-codes.md`: [`Coded`] gives its
//! [`ErrorCode`].
//!
//! # Modules
//! - [`hash`]: 32-byte values, one type for each meaning
//! - [`geometry`]: chunk sizes, and the division of a file into chunks
//! - [`merge`]: from chaining values up to coarser ones and to the root
//! - [`layer`]: accepting a chunk layer, and checking chunks against it
//! - [`collect`]: gathering chaining values that arrive in any order
//! - [`list`]: trees over lists, and their proofs
//! - [`mod@slice`]: ranges of a file with the tree path that leads to them
//! - [`sample`]: drawing BLAKE3 chunks for an audit, and the path from them to the root
//!
//! The other modules are private. `subtree` computes single nodes of a file's tree, for layers, slices and samples. The
//! public items of `slicer` and `slice_error` are exported by [`mod@slice`], those of `draw` and `sample_error` by
//! [`sample`]. `heap` and `cbt` implement [`list`].

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
mod error_code;
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
pub use error_code::{Coded, ErrorCode};
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
