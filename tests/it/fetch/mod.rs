//! End-to-end tests of `fetch`: real servers on loopback, honest and not, with the real command or the library.
//!
//! The kit checks every run for rules that no source may break: figures never fall, each chunk becomes durable once,
//! and no durable chunk is asked for again.

mod accounts;
mod belongings;
mod blame;
mod conformance;
mod ends;
mod faults;
mod kit;
mod library;
mod lines;
mod lock;
mod metadata;
mod places;
mod resume;
mod revisions;
mod selection;
#[cfg(unix)]
mod terminal;
