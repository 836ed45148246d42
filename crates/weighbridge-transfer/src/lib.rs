//! Fetches a model from many untrusted sources at once.
//!
//! - a [`Source`] is any place that claims to have the model: a [`SourceFactory`] makes those of web servers, hubs, buckets
//!   and folders, and anybody can implement others
//! - [`fetch`] takes the wanted files from all [`Sources`], which may come and go, and reports its progress by [`Event`]s
//! - [`SourceFactory::list`] asks a hub for the [`Listing`] of a model that nobody may have weighed
//! - a [`ChunkStore`] judges, writes and syncs chunks that come from anywhere, without a fetch
//!
//! # Guarantee
//! No byte is written under its final name, counted as [verified](FetchProgress::verified) or handed on before its
//! chunk was accepted (rule 2), whatever the sources do. None of the three figures ever falls. No chunk that an
//! [`Event::Durable`] named is asked for again, in this run or another.
//!
//! # Non-guarantee
//! A fetch can deliver only what its sources give. If none of them has a chunk, the fetch says so.

#![forbid(unsafe_code)]

mod board;
mod catalog;
mod decide;
mod error;
mod event;
mod fetch;
mod figures;
mod guide;
mod nearby;
mod options;
mod push;
mod ranges;
mod source;
mod tasks;
mod upload;
mod work;

pub use error::{FetchError, Missing, Unpruned};
pub use event::{Blame, Event, FetchProgress, Here, SourceId, SourceState, SourceStatus, Waiting};
pub use fetch::{Fetched, Observer, fetch};
pub use guide::{Claim, Guide, Holding, NamedRun, Wish};
pub use nearby::{Nearby, NearbyTensor, NearbyTensors};
pub use options::{AnotherModel, Options, Stop, Unlisted, Wanted, Watchdog};
pub use push::messages::{
    MissingChunks, PUSH_VERSION, PushMissing, PushMissingFile, PushNeeds, PushState, PushWork,
    parse_push_range, push_range,
};
pub use push::{
    PUSH_PATIENCE, PushError, PushEvent, PushOptions, PushProgress, PushReason, PushTarget, PushTargets,
    PushWaiting, ReceiptFault, check_receipt, push,
};
pub use source::contract::{ExactBody, open as read_range};
pub use source::{
    Body, Fault, Inventory, Listing, ListingError, ListingFault, SecretError, Source, SourceError,
    SourceFactory, SourceOptions, Sources, What,
};
pub use upload::{Known, Lacking, Needs, Place, ReadKnown, Upload};
pub use weighbridge_manifest::{ListedDigest, ListedFile};
pub use weighbridge_tree::{Coded, ErrorCode, FileRoot};
pub use work::{Accepted, ChunkStore, WrongChunk};
