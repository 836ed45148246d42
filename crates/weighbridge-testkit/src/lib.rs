//! Helpers that tests of several crates share: keys, and models on disk.
//!
//! Keys depend on `weighbridge-manifest` alone, so that its own tests can use them whatever state the outer crates are in.
//! Models on disk need the feature `disk`, which is on by default. The suite for sources needs the feature `conformance`.

#![allow(
    missing_docs,
    missing_debug_implementations,
    reason = "names and types say it; who reads this writes a test"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![allow(clippy::disallowed_methods, reason = "tests name their own files")]

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "disk")]
mod disk;
mod key;
#[cfg(feature = "disk")]
mod sample;
#[cfg(all(unix, feature = "servers"))]
pub mod servers;

#[cfg(feature = "disk")]
pub use disk::*;
pub use key::Key;
#[cfg(feature = "disk")]
pub use sample::{CHUNK, Sample};

/// Prints why a test is skipped.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}
