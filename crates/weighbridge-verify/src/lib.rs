//! What a node links to check a model.
//!
//! At its core, without features, the crate is `no_std`. It is
//!
//! - the types of [`manifest`], by which a head and lists are verified
//! - verifiers: a [`FileVerifier`] or [`ModelVerifier`] accepts chunks in any order from any number of threads, and is
//!   finished only when all are there
//! - a [`ChunkSink`], which takes a stream in any splits and hands on each accepted chunk
//! - [`ReadyTensors`], which says as chunks are accepted which tensors they have completed
//! - audits: [`UnsignedResponse`] answers a challenge from a [`Holding`], [`Answered`] checks the answer
//!
//! The feature `rayon` spreads one large chunk, run or layer over all cores. With `std` come a [`VerifyingReader`] and,
//! for files without a layer, [`WholeFile`]. Files on a disk are the business of `weighbridge-store`.
//!
//! # Guarantee
//! A file is called good only if all its bytes, as they were read, give the root that the verified list has for it
//! (rule 13).
//!
//! # Non-guarantee
//! Whoever reads the file again later has not verified what is then read (rule 10).

#![no_std]
#![forbid(unsafe_code)]
// What a feature would add is named here all the same, and leads nowhere.
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]
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
#[cfg(feature = "std")]
extern crate std;

mod audit;
mod chunk_set;
mod holding;
mod model_verifier;
mod page_buffer;
mod ready;
mod released;
mod sink;
mod stream;
mod verifier;
mod verifier_error;

#[cfg(feature = "std")]
mod reader;
#[cfg(feature = "std")]
mod whole;

pub use audit::{Answered, AuditError, ResponseError, Samples, UnsignedResponse, chance_of_missing};
pub use chunk_set::Missing;
pub use holding::Holding;
pub use model_verifier::{ModelVerifier, VerifiedModel};
pub use page_buffer::{PAGE, PageBuffer};
pub use ready::{ReadyError, ReadyTensors};
pub use released::{VerifiedChunk, VerifiedFile, VerifiedRun};
pub use sink::{ChunkSink, SinkError};
pub use stream::{LengthError, NoSuchRun};
pub use verifier::FileVerifier;
pub use verifier_error::{Incomplete, RunError, VerifierError};
pub use weighbridge_manifest as manifest;
pub use weighbridge_tree as tree;

#[cfg(feature = "std")]
pub use {
    reader::VerifyingReader,
    whole::{WholeError, WholeFile, verify_whole},
};
