//! Fetches a model from many untrusted sources at once.
//!
//! - a [`Source`] is any place that claims to have the model: a web server, a hub, a bucket, a folder
//! - [`fetch`] takes what is wanted from all of them, and tells what happens by [`Event`]s
//!
//! # Guarantee
//! No byte is written under its final name, counted as [verified](FetchProgress::verified) or handed on before its
//! chunk was accepted (rule 2), whatever the sources do. None of the three figures ever falls. No chunk that an
//! [`Event::Durable`] named is asked for again, in this run or another.
//!
//! # Non-guarantee
//! A fetch ends only with what its sources give: if none of them has a chunk, it says so.

#![forbid(unsafe_code)]

mod board;
mod catalog;
mod decide;
mod error;
mod event;
mod fetch;
mod options;
mod ranges;
mod source;
mod work;

pub use error::{FetchError, Unpruned};
pub use event::{Blame, Event, FetchProgress, Here, SourceIndex, SourceState, SourceStatus, Waiting};
pub use fetch::{Fetched, Observer, fetch};
pub use options::{AnotherModel, Options, Stop, Unlisted, Wanted, Watchdog};
pub use source::{Body, Fault, Inventory, Source, SourceError, SourceFactory, SourceOptions, What};
pub use weighbridge_tree::{Coded, ErrorCode, FileRoot};
