//! Swarms of real members on loopback, and others that do not keep to `spec/swarm.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]
#![allow(clippy::disallowed_methods, reason = "tests name their own files")]
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
#![cfg(unix)]

mod doors;
mod floods;
mod givers;
mod honest;
mod kit;
mod liars;
mod messages;
mod open;
mod requests;
