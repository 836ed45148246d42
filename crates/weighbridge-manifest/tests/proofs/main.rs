//! Tests proofs through the public API: honest proofs show their entries, and no other proof is accepted.

#![allow(clippy::unwrap_used)] // a test may stop where it fails

mod codes;
mod honest;
#[allow(dead_code, reason = "keys are needed here, and the other tests' helpers are not")]
#[path = "../it/kit.rs"]
mod kit;
mod model;
mod sizes;
mod tampered;
