//! A light node without the standard library, to be linked into a C program.
//!
//! The compiler refuses a second panic handler, so this crate does not build if any dependency links `std`.

#![no_std]

extern crate alloc;

use core::{
    alloc::{GlobalAlloc, Layout},
    ffi::{c_int, c_void},
    panic::PanicInfo,
    slice,
};

use alloc::vec;
use weighbridge_verify::{
    Coded, ErrorCode,
    manifest::{Expectation, SignedProof, TrustPolicy, Vkey},
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

/// Checks a proof by one trusted key; returns 0, or the code of the refusal.
///
/// # Safety
/// Each pointer must point to at least as many readable bytes as its length says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_proof(
    proof: *const u8,
    proof_length: usize,
    vkey: *const u8,
    vkey_length: usize,
) -> c_int {
    // SAFETY: the caller guarantees both pointers and lengths.
    let (proof, vkey) =
        unsafe { (slice::from_raw_parts(proof, proof_length), slice::from_raw_parts(vkey, vkey_length)) };
    match check(proof, vkey) {
        Ok(()) => 0,
        Err(code) => code.get().into(),
    }
}

fn check(proof: &[u8], vkey: &[u8]) -> Result<(), ErrorCode> {
    let line = core::str::from_utf8(vkey).map_err(|_| ErrorCode::VKEY_MALFORMED)?;
    let key = Vkey::parse(line.trim_ascii_end()).map_err(|e| e.error_code())?;
    let policy = TrustPolicy::any_of(vec![key]).map_err(|e| e.error_code())?;
    let proof = SignedProof::parse(proof).map_err(|e| e.error_code())?;
    // A light node has no clock.
    proof.verify(&policy, &Expectation::any(), None).map(drop).map_err(|e| e.error_code())
}
