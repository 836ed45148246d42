//! The parts that the targets share: a limit on memory, second readers of lines, headers and swarms, and naive trees.
//!
//! The second opinion of a target shares no code with the crates. It is slow, recursive and short.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub mod gguf;
pub mod lines;
pub mod naive;
pub mod swarm;

/// Runs `work`, and panics if it held at any moment more memory than an input of `len` bytes may cost.
///
/// All targets use the same bound: linear in the input, with the factor that a vector of parsed lines needs. Memory
/// of a size that the input claims would exceed it by far (rules 1 and 12).
pub fn bounded<T>(len: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    let held = PEAK.load(Relaxed).saturating_sub(before);
    let most = 64 * len + (64 << 10);
    assert!(held <= most, "{held} bytes of memory for {len} bytes of input");
    result
}

/// Counts allocated bytes. libFuzzer calls the target on one thread.
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

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches no other memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator requires.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        shrink(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator requires.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator requires.
        unsafe { System.dealloc(at, layout) }
    }
}
