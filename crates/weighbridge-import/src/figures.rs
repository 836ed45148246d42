//! The figures of an import, which all its threads share.

use std::sync::atomic::AtomicU64;

use crate::pauses::Pauses;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Bytes that came from the source.
    pub(crate) received: AtomicU64,
    /// Bytes that were hashed.
    pub(crate) hashed: AtomicU64,
    /// Bytes of files that are what is listed.
    pub(crate) good: AtomicU64,
    pub(crate) pauses: Pauses,
}
