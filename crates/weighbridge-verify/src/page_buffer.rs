//! Memory into which an operating system copies without a detour.

use alloc::{vec, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Bytes that begin at the start of a page.
///
/// Some processors copy to addresses that are a few bytes past the start of a page at a quarter of the speed, and that is
/// where general allocators put large buffers: reading a file then takes longer than hashing it. A buffer that an operating
/// system fills is therefore one of these.
///
/// # Cost
/// One page more than its length. It grows, keeps its content, and never shrinks.
#[derive(Default)]
pub struct PageBuffer {
    memory: Vec<u8>,
    /// Where the first page begins in `memory`, which is not moved as long as it does not grow.
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// An empty one, for which no memory is asked yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { memory: Vec::new(), start: 0, len: 0 }
    }

    /// This many bytes, all of them zero.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::new();
        buffer.resize(len);
        buffer
    }

    /// Makes it as long as that. Bytes that it had stay as they were; others may be anything that it held before, or zero.
    ///
    /// # Panics
    /// If there is no memory, as [`Vec::resize`] does.
    pub fn resize(&mut self, len: usize) {
        if len > self.memory.len().saturating_sub(self.start) {
            let mut memory = vec![0; len.saturating_add(PAGE)];
            // At most a page, so that `len` bytes follow it.
            let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
            for (new, old) in memory.iter_mut().skip(start).zip(self.iter()) {
                *new = *old;
            }
            (self.memory, self.start) = (memory, start);
        }
        self.len = len;
    }
}

/// The smallest page of the systems that this runs on. A larger one begins at such an address too.
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

/// Its length, not its bytes.
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
            // No memory has no page.
            assert!(len == 0 || buffer.as_ptr().align_offset(PAGE) == 0, "{len}");
            assert_eq!(buffer.get(..kept.len()), Some(&*kept));
            buffer.fill(u8::try_from(len % 251).unwrap());
        }
        assert!(PageBuffer::zeroed(70_000).iter().all(|byte| *byte == 0));
    }
}
