//! A light node without the standard library, to be linked into a C program.
//!
//! A second panic handler is an error of the compiler's, so this does not build as soon as anything below links `std`.

#![no_std]

extern crate alloc;

use core::{
    alloc::{GlobalAlloc, Layout},
    ffi::{c_int, c_void},
    panic::PanicInfo,
    slice,
};

use alloc::vec;
use weighbridge_verify::manifest::{Expectation, SignedProof, TrustPolicy, Vkey};

unsafe extern "C" {
    fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn free(pointer: *mut c_void);
    fn abort() -> !;
}

/// The memory of the C program.
struct CHeap;

// SAFETY: aligned_alloc gives null or a block of at least the size and alignment of the layout; free takes it back.
unsafe impl GlobalAlloc for CHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let alignment = layout.align().max(size_of::<usize>());
        // C wants a multiple of the alignment. A layout's size, rounded up, fits by its own contract.
        let size = layout.size().next_multiple_of(alignment);
        // SAFETY: the alignment is a power of two that the system supports, the size a multiple of it.
        unsafe { aligned_alloc(alignment, size).cast() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        // SAFETY: the caller gives back what `alloc` gave it.
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

/// The precompiled core names it for unwinding, which an aborting program never does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Checks a proof by one trusted key: 0, or the code of the refusal.
///
/// # Safety
/// Each pointer has to lead to as many readable bytes as its length says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_proof(
    proof: *const u8,
    proof_length: usize,
    vkey: *const u8,
    vkey_length: usize,
) -> c_int {
    // SAFETY: the caller's.
    let (proof, vkey) =
        unsafe { (slice::from_raw_parts(proof, proof_length), slice::from_raw_parts(vkey, vkey_length)) };
    match check(proof, vkey) {
        Ok(()) => 0,
        Err(code) => code.into(),
    }
}

fn check(proof: &[u8], vkey: &[u8]) -> Result<(), u16> {
    let line = core::str::from_utf8(vkey).map_err(|_| 1501_u16)?;
    let key = Vkey::parse(line.trim_ascii_end()).map_err(|e| e.error_code())?;
    let policy = TrustPolicy::any_of(vec![key]).map_err(|e| e.error_code())?;
    let proof = SignedProof::parse(proof).map_err(|e| e.error_code())?;
    // This node has no clock.
    proof.verify(&policy, &Expectation::any(), None).map(drop).map_err(|e| e.error_code())
}
