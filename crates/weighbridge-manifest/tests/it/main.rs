//! Tests heads, lists, proofs, statements and verdicts through the public API: each refusal of the specification, with its code.

#![allow(clippy::unwrap_used)] // a test may stop where it fails

mod compare;
mod entry;
mod expectation;
mod head;
mod held;
mod kit;
mod list;
mod memory;
mod proofs;
mod statements;
mod trust;
