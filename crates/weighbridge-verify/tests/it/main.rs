//! Tests of the pure core: verifiers, streams, audits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapters;
mod audit;
mod model_verifier;
mod tensors_ready;
mod verifier;
