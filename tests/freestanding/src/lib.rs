//! A light node without the standard library, to be linked into a C program: the part of the C interface that needs no operating
//! system, with the allocator of the program.
//!
//! The compiler refuses a second panic handler, so this crate does not build if any dependency links `std`.

#![no_std]

// What C calls is there.
extern crate weighbridge_capi as _;

use core::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_void,
    panic::PanicInfo,
};

unsafe extern "C" {
    fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn free(pointer: *mut c_void);
    fn abort() -> !;
}

/// The allocator of the C program.
struct CHeap;

// SAFETY: `aligned_alloc` returns null, or a block of at least the layout's size and alignment; `free` takes it back.
unsafe impl GlobalAlloc for CHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let alignment = layout.align().max(size_of::<usize>());
        // C requires a multiple of the alignment. By the contract of `Layout`, the rounded size fits.
        let size = layout.size().next_multiple_of(alignment);
        // SAFETY: the alignment is a power of two that the system supports, and the size is a multiple of it.
        unsafe { aligned_alloc(alignment, size).cast() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        // SAFETY: the caller returns a block that `alloc` gave out.
        unsafe { free(pointer.cast()) }
    }
}

#[global_allocator]
static HEAP: CHeap = CHeap;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: abort may be called at any time.
    unsafe { abort() }
}

/// The precompiled `core` refers to this symbol for unwinding, which an aborting program never does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
