//! What the targets share: a limit on memory, lines read in another way, and trees of our own.
//!
//! A target's second opinion shares no code with the crates. It is slow, recursive and short.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub mod gguf;
pub mod lines;
pub mod naive;

/// Does the work and panics if it held, at any moment, more memory than input of `len` bytes may cost.
///
/// The bound is the same everywhere: linear in the input, with a factor that a vector of parsed lines needs. A number
/// that is read and believed is far outside of it (rules 1 and 12).
pub fn bounded<T>(len: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    let held = PEAK.load(Relaxed).saturating_sub(before);
    let most = 64 * len + (64 << 10);
    assert!(held <= most, "{held} bytes of memory for {len} bytes of input");
    result
}

/// Counts the bytes that are allocated. libFuzzer calls the target on one thread.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grow(by: usize) {
    PEAK.fetch_max(LIVE.fetch_add(by, Relaxed) + by, Relaxed);
}

fn shrink(by: usize) {
    LIVE.fetch_sub(by, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of others.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}
