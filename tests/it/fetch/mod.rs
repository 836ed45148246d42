//! `fetch` from end to end: real servers on loopback, honest and not, and the real command, or the library.
//!
//! Whatever a test is about, the kit holds every run to what no source may change: figures that never fall, chunks that
//! are told to be durable once, and not asked for again.

mod belongings;
mod blame;
mod ends;
mod faults;
mod kit;
mod library;
mod lock;
mod metadata;
mod places;
mod resume;
mod revisions;
mod selection;
#[cfg(unix)]
mod terminal;
