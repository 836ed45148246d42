//! Tests of walking, scanning, viewing and checking model folders on disk.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accept_file;
#[cfg(unix)]
mod digest_files;
mod gguf_tensors;
#[cfg(unix)]
mod model;
#[cfg(unix)]
mod read;
#[cfg(unix)]
mod scan;
mod view;
#[cfg(unix)]
mod walk;
