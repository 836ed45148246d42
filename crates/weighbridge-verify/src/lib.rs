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
//! for files without a layer, [`WholeFile`]. With `fs` come local files, and whole model folders:
//!
//! - [`FileView`] and [`ModelView`] read at any position, and verify what is touched; a [`TensorView`] reads by name
//! - [`Metadata`] reads what a publisher put beside a model, never more than is signed for
//! - [`walk()`] finds out what is in a model folder
//! - [`scan`] reads files once, on all cores, and computes every hash that is asked for
//! - [`ModelCheck`] compares the three
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
#![cfg_attr(not(feature = "fs"), allow(rustdoc::broken_intra_doc_links))]
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

#[cfg(feature = "fs")]
mod accept_file;
#[cfg(feature = "fs")]
mod chunk_cache;
#[cfg(feature = "fs")]
mod folder;
#[cfg(feature = "fs")]
mod io;
#[cfg(feature = "fs")]
mod metadata;
#[cfg(feature = "fs")]
mod model;
#[cfg(feature = "fs")]
pub mod scan;
#[cfg(feature = "fs")]
mod tensor;
#[cfg(feature = "fs")]
mod tensor_hashes;
#[cfg(feature = "fs")]
mod tensors;
#[cfg(feature = "fs")]
mod view;
#[cfg(feature = "fs")]
mod view_error;
#[cfg(feature = "fs")]
mod walk;

pub use audit::{Answered, AuditError, ResponseError, Samples, UnsignedResponse, chance_of_missing};
pub use chunk_set::Missing;
pub use holding::Holding;
pub use model_verifier::{ModelVerifier, VerifiedModel};
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

#[cfg(feature = "fs")]
pub use {
    accept_file::accept_file,
    folder::{HeldFolder, HoldingError},
    io::{IoError, read_bounded, shown_path},
    metadata::{
        CHUNKS, FILES, FOLDER, HEAD, Layers, LayersError, Metadata, MetadataError, NEW, PARTIAL, TENSORS,
        TEXT,
    },
    model::{
        BadChunks, BadRun, Event, ExtraFiles, FileFault, FileReport, ModelCheck, Outcome, Summary,
        TensorHashing, Uncompared,
    },
    tensor::{TensorError, TensorView, VerifiedTensor},
    tensors::{Difference, TensorFault, compare},
    view::{FileView, ModelView, Reads},
    view_error::ViewError,
    walk::{Found, Unfit, UnfitFault, Unread, Walk, walk},
};
