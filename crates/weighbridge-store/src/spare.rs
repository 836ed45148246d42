//! Buffers of one chunk that are used again.

use std::sync::Mutex;

use weighbridge_tree::ChunkSize;
use weighbridge_verify::PageBuffer;

use crate::scan::lock;

/// Buffers that no thread uses now, so that memory is not asked for, and zeroed, for each chunk.
///
/// # Cost
/// At most four buffers of one chunk each, and together at most 16 MiB. A thread that finds none allocates one.
#[derive(Debug)]
pub(crate) struct SpareBuffers {
    buffers: Mutex<Vec<PageBuffer>>,
    capacity: usize,
}

impl SpareBuffers {
    /// None yet, for chunks of this many bytes.
    pub(crate) fn new(chunk_size: u64) -> Self {
        Self { buffers: Mutex::default(), capacity: fitting(chunk_size).min(MAX_SPARE) }
    }

    /// A buffer of any length, with anything in it.
    pub(crate) fn take(&self) -> PageBuffer {
        lock(&self.buffers).pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next thread, or frees it if there are enough.
    pub(crate) fn give_back(&self, buffer: PageBuffer) {
        let mut buffers = lock(&self.buffers);
        if buffers.len() < self.capacity {
            buffers.push(buffer);
        }
    }
}

/// The number of chunks that together have the size of the largest one, 16 MiB.
pub(crate) fn fitting(chunk_size: u64) -> usize {
    let fitting = ChunkSize::MAX.bytes().checked_div(chunk_size).unwrap_or(1);
    usize::try_from(fitting).unwrap_or(1).max(1)
}

const MAX_SPARE: usize = 4;
