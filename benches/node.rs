//! A node's cache beside one line, in virtual time: traces, policies, and what readers wait.
//!
//! Models come over a line that all fetches share fairly, each at the rate of its origin at most. A reader waits from its
//! request to the last byte. Requests for a model that is being fetched join that fetch. Fetches that nobody waits for
//! have what the others leave.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers are our own: bytes of models, and seconds of two weeks"
)]

pub mod catalogue;
mod line;
mod outcome;
pub mod policy;
mod random;
#[cfg(test)]
mod tests;
pub mod trace;
mod world;

pub use outcome::Outcome;
pub use world::{LINE, Room, Shelf, play};
