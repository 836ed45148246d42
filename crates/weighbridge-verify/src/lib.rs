//! The library that a node links to check a model.
//!
//! Without features, the crate is `no_std`. It has
//!
//! - the types of [`manifest`], which verify a head and its lists
//! - verifiers: a [`FileVerifier`] or [`ModelVerifier`] accepts chunks in any order from any number of threads, and
//!   finishes only when all chunks are accepted
//! - a [`ChunkSink`], which takes a stream in any splits and hands on each accepted chunk
//! - [`ReadyTensors`], which says which tensors each accepted chunk completes
//! - audits: [`UnsignedResponse`] answers a challenge from a [`Holding`], [`Answered`] checks the answer
//!
//! The feature `rayon` spreads one large chunk, run or layer over all cores. The feature `std` adds a
//! [`VerifyingReader`] and, for files without a layer, [`WholeFile`]. `weighbridge-store` reads files on a disk.
//!
//! # Guarantee
//! A file is called good only if all its bytes, as they were read, give the root that the verified list has for it
//! (rule 13).
//!
//! # Non-guarantee
//! A file that is read again later is not verified again (rule 10).

#![no_std]
#![forbid(unsafe_code)]
// The docs name items of features that may be off, so that their links lead nowhere.
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
pub use weighbridge_tree::{Coded, ErrorCode};

#[cfg(feature = "std")]
pub use {
    reader::VerifyingReader,
    whole::{WholeError, WholeFile, verify_whole},
};
