//! Weighs and signs models that nobody weighed: those of a hub, or of a folder with a `SHA256SUMS` file.
//!
//! [`import`] fetches a model, checks each file by the digest that its place lists for it, weighs it from the same read, and
//! signs it by the importer's key.
//!
//! # Guarantee
//! A signed file is, byte for byte, one whose digest the place listed, at the beginning of the import and again at its end.
//! No file gets its final name before all files were checked.
//!
//! # Non-guarantee
//! Listing and digests come from one server, which could give anybody's model under any name: the head says that the
//! importer took the files from there, not that the publisher made them. A commit id is what the server says; its tree
//! objects are not checked.

#![forbid(unsafe_code)]

mod arrived;
mod checked;
mod download;
mod error;
mod figures;
mod import;
mod pauses;
mod pulse;

pub use error::{ImportError, Wrong};
pub use import::{Earlier, Import, Imported, Observer, import};
