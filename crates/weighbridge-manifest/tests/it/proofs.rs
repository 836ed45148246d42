//! Tests proofs through the public API: honest proofs show their entries, and no other proof is accepted.

mod codes;
mod honest;
mod model;
mod sizes;
mod tampered;
