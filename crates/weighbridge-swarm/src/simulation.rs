//! Whole swarms in virtual time, with the [`Plan`](crate::Plan), the [`Neighbours`](crate::Neighbours) and the
//! [`Uploads`](crate::Uploads) of real members.
//!
//! Links are fluid: transfers share them fairly. Messages take a fixed time for each pair of members. The origin is a
//! plain server: all requests to it share its line, and it refuses none. Equal scenes give equal outcomes.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the scenes are our own, and their numbers are small"
)]

mod cases;
mod churn;
mod network;
mod scene;
mod stage;
mod world;

pub use cases::Case;
pub use scene::{Bound, FreeRiders, Hostile, Outcome, Scene, Term};

/// The bytes of a piece in all scenes.
pub const PIECE: u64 = 256 << 10;

#[cfg(test)]
mod tests;
