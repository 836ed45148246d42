//! Tests of the server over connections, by requests as bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![allow(clippy::disallowed_methods, reason = "tests name their own files")]
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
#![cfg(unix)]

mod admission;
mod audits;
mod claims;
mod clients;
mod damage;
mod files;
mod heads;
mod hub;
mod kit;
mod limits;
mod proofs;
#[cfg(feature = "accept")]
mod push;
