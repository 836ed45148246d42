//! Model folders on disk.
//!
//! - [`walk()`] lists the files of a model folder
//! - [`scan`] reads files once, on all cores, and computes every requested hash
//! - [`Metadata`] reads the files that a publisher put beside a model, never more of them than is signed
//! - [`ModelCheck`] compares the files of a folder with the signed lists
//! - [`ListedCheck`] compares them with what a hub lists, which nobody signed
//! - [`FileView`] and [`ModelView`] read at any position and verify each chunk they touch; a [`TensorView`] reads by
//!   name
//! - [`HeldFolder`] answers audits and gives slices
//! - [`Destination`] is a folder in which a model comes to be, and [`CachedModel`] its place in a Hugging Face cache
//!
//! # Guarantee
//! A file is called good only if all its bytes, as they were read, give the root that the verified list has for it
//! (rule 13).
//!
//! # Non-guarantee
//! A later read of the same file is not covered by an earlier verification (rule 10).

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

mod accept_file;
#[cfg(unix)]
mod beneath;
mod cached_model;
mod chunk_cache;
mod destination;
mod disk;
mod folder;
mod hub_cache;
mod io;
mod kept;
mod listed;
mod lock;
mod metadata;
mod model;
mod naming;
mod open_model;
mod partial;
mod place;
mod quarantine;
mod report;
pub mod scan;
mod site;
mod spare;
mod staged;
mod staging;
mod stamp;
mod store_error;
mod tensor;
mod tensor_hashes;
mod tensors;
mod unjudged;
mod unlisted;
mod view;
mod view_error;
mod walk;

#[cfg(any(test, feature = "power-cut"))]
pub mod power_cut;

pub use accept_file::{accept_chunks, accept_file};
pub use cached_model::{CachedModel, Usage, distinct_bytes};
pub use destination::Destination;
pub use disk::{Disk, DiskFile, FileKind, Opening, SequentialWriter, hint};
pub use folder::{HeldFolder, HoldingError};
pub use hub_cache::is_hub_snapshot;
pub use io::{
    IoError, descriptor_limit, open_to_read, read_bounded, read_exact_at, read_some_at, shown_path,
};
pub use kept::Standing;
pub use listed::ListedCheck;
pub use lock::{FolderLock, LockError};
pub use metadata::{
    CHUNKS, FILES, FOLDER, HEAD, KEPT, Layers, LayersError, Metadata, MetadataError, NEW, PARTIAL, PUSHED,
    TENSORS, TEXT, UPLOADS,
};
pub use model::{ModelCheck, TensorHashing};
pub use naming::Naming;
pub use open_model::{OpenError, OpenModel};
pub use partial::{ClosedFile, PartialFile};
pub use place::Place;
pub use quarantine::Quarantine;
pub use report::{BadChunks, BadRun, Event, ExtraFiles, FileFault, FileReport, Outcome, Summary, Uncompared};
pub use staged::{LayersFile, Staged};
pub use staging::{Existing, Staging};
pub use stamp::Stamp;
pub use store_error::{BeingReplaced, StoreError};
pub use tensor::{TensorError, TensorView, VerifiedTensor};
pub use tensors::{Difference, TensorFault, compare};
pub use unjudged::Unjudged;
pub use unlisted::{Extra, ExtraFault};
pub use view::{FileView, ModelView, Reads};
pub use view_error::ViewError;
pub use walk::{Found, Unfit, UnfitFault, Unread, Walk, walk};
pub use weighbridge_tree::{Coded, ErrorCode};
pub use weighbridge_verify as verify;
