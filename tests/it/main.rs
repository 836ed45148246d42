//! End-to-end tests: vectors, the command, tampering, agreement with other tools.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "tests name their own files")]

mod agreement;
#[cfg(unix)]
mod bandwidth;
mod command;
#[cfg(unix)]
mod fetch;
#[cfg(unix)]
mod fleet;
#[cfg(unix)]
mod hub_cache;
#[cfg(unix)]
mod import;
#[cfg(unix)]
mod node;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod push;
#[cfg(unix)]
mod python;
mod readme;
mod reference;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod swarm;
#[cfg(unix)]
mod torture;
mod vectors;
