//! Page-aligned memory, into which operating systems copy at full speed.

use alloc::{vec, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Bytes that begin at the start of a page.
///
/// Some processors copy at a quarter of the speed to addresses a few bytes past the start of a page. General allocators
/// put large buffers at such addresses, so that reading a file takes longer than hashing it. Buffers that an operating
/// system fills are therefore page buffers.
///
/// # Cost
/// One page more than the buffer's length. The buffer grows, keeps its content, and never shrinks.
///
/// # Example
/// ```
/// use std::io::Read;
/// use weighbridge_verify::{PAGE, PageBuffer};
/// # let file = tempfile::NamedTempFile::new()?;
/// # std::fs::write(&file, [7; 100_000])?;
///
/// let mut buffer = PageBuffer::zeroed(100_000);
/// std::fs::File::open(file)?.read_exact(&mut buffer)?;
/// assert!(buffer.iter().all(|byte| *byte == 7));
/// assert_eq!(buffer.as_ptr().align_offset(PAGE), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct PageBuffer {
    memory: Vec<u8>,
    /// The beginning of the first page in `memory`. The memory is not moved as long as it does not grow.
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// An empty buffer, which allocates nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { memory: Vec::new(), start: 0, len: 0 }
    }

    /// A buffer of `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::new();
        buffer.resize(len);
        buffer
    }

    /// Sets the length. Existing bytes stay as they were; added bytes are zero or anything that the buffer held before.
    ///
    /// # Panics
    /// If there is not enough memory, as [`Vec::resize`] does.
    pub fn resize(&mut self, len: usize) {
        if len > self.memory.len().saturating_sub(self.start) {
            let mut memory = vec![0; len.saturating_add(PAGE)];
            // At most one page, so that `len` bytes follow `start`.
            let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
            for (new, old) in memory.iter_mut().skip(start).zip(self.iter()) {
                *new = *old;
            }
            (self.memory, self.start) = (memory, start);
        }
        self.len = len;
    }
}

/// The smallest page of all supported systems. A larger page begins at a multiple of this size too.
pub const PAGE: usize = 4096;

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.start..self.start.saturating_add(self.len)).unwrap_or_default()
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start.saturating_add(self.len)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for PageBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Shows the length, not the bytes.
impl fmt::Debug for PageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageBuffer of {} bytes", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_a_page_at_every_length_and_keeps_what_it_has() {
        let mut buffer = PageBuffer::new();
        assert!(buffer.is_empty());
        for len in [0, 1, 4095, 4096, 4097, 100, 1 << 18, 5, (1 << 20) + 1, 1 << 20] {
            let kept: Vec<u8> = buffer.iter().copied().take(len).collect();
            buffer.resize(len);
            assert_eq!(buffer.len(), len);
            // An empty buffer may have no memory, and so no alignment.
            assert!(len == 0 || buffer.as_ptr().align_offset(PAGE) == 0, "{len}");
            assert_eq!(buffer.get(..kept.len()), Some(&*kept));
            buffer.fill(u8::try_from(len % 251).unwrap());
        }
        assert!(PageBuffer::zeroed(70_000).iter().all(|byte| *byte == 0));
    }
}
