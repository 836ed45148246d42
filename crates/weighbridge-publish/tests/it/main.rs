//! Weighing, keys, signatures, and the writing of metadata, through the public API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod keys;
#[cfg_attr(not(unix), allow(dead_code, reason = "some of its users need Unix"))]
mod kit;
mod sign;
#[cfg(unix)]
mod store;
#[cfg(unix)]
mod weigh;
