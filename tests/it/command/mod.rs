//! The command as people and programs meet it: its output, its exit status, and the files it leaves.

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
mod importers;
mod inspect;
mod json_schema;
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
#[cfg(unix)]
mod user_policy;
#[cfg(unix)]
mod verify_hub;
