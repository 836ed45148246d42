//! The command as people and programs meet it: what it prints, how it ends, and what it leaves on disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod check;
mod diff;
pub(crate) mod events;
mod fetch_args;
mod files;
mod forge;
mod formats;
mod gguf;
mod hostile;
mod inspect;
mod keys;
pub(crate) mod kit;
mod layouts;
mod leftovers;
mod lists;
mod memory;
mod names;
#[cfg(unix)]
mod openssl;
mod partial;
mod prove;
mod reuse;
mod sign;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod store;
mod surface;
mod tamper;
#[cfg(unix)]
mod terminal;
mod trust;
