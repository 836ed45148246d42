//! Publishes model folders over HTTP, and hashes every chunk in the buffer from which it is sent.
//!
//! - [`Models`] are the folders that are published; new releases are noticed
//! - [`Site`] answers requests: files with ranges, metadata, proofs and slices, and the routes of a hub
//! - [`Server`] has the connections, with TLS, and [`Limits`] that bound them
//! - [`Rules`] say who may ask, [`Clients`] who they are, [`Audits`] which auditors are answered
//! - with the feature `accept`, `Accept` is a folder into which models are taken
//!
//! The routes are those of `spec/serving.md` and `spec/push.md`.
//!
//! # Guarantee
//! No byte of a file is sent that was not hashed with its chunk, in the memory from which it is sent, and found to be signed (rule
//! 10). Only paths of the signed list, and four files of metadata, are answered; they are opened beneath the model folder.
//!
//! # Non-guarantee
//! The head is believed by its own word: whoever receives the model judges who signed it. Clients of a hub verify nothing, so that
//! what happens to bytes on their way is up to the connection.

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

#[cfg(feature = "accept")]
mod accept;
mod admission;
mod answer;
mod audit;
mod body;
mod claims;
mod clients;
mod coming;
mod desk;
mod figures;
mod heads;
mod hub;
mod models;
mod page;
mod proof;
#[cfg(feature = "accept")]
mod push;
mod range;
mod refusal;
mod release;
mod reply;
mod room;
mod route;
mod rules;
mod seat;
mod server;
mod wire;

#[cfg(feature = "accept")]
pub use accept::{Accept, Judge, NotTaken};
pub use answer::Site;
pub use audit::Audits;
pub use body::{Body, CutShort};
pub use claims::{Claim, Swarms};
pub use clients::{Client, Clients, ClientsError, ClientsFileError, Tickets};
pub use coming::{Coming, NoSupply, Supplier, Supplying, Waiting, Wished};
pub use models::{Change, Models};
pub use release::ReleaseError;
pub use room::Limits;
pub use route::{MetadataFile, PushRoute, Route, ServedName};
pub use rules::{MoreFigures, Rules};
pub use server::{Server, Tls, TlsFiles, serve_stream};
