//! Codes, and what is said beside them.

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::{
    ffi::{c_char, c_int},
    fmt::Display,
    ops::Range,
};

use weighbridge_verify::{Coded, ErrorCode, tree::ChunkError};

use crate::border::put;

/// The result of a call: `WB_OK`, or a number of the table in `spec/error-codes.md`, which never changes its meaning.
/// `wb_is_refusal` tells whether bytes were read and found bad; the size of the number does not.
pub type wb_code = c_int;

/// The call did what it was asked to do.
pub const WB_OK: wb_code = 0;

/// The error is about no chunk (`wb_error`).
pub const WB_NO_CHUNK: u64 = u64::MAX;

/// The number of bytes of a message, with the NUL at its end.
pub const WB_MESSAGE_LEN: usize = 1024;

/// The place and the text of a failure. The caller has the memory; a call that succeeds does not write to it.
#[repr(C)]
pub struct wb_error {
    /// The code that the call returns.
    pub code: wb_code,
    /// The chunk that is bad, counted from 0 in its file; `WB_NO_CHUNK` if the error is about no single chunk.
    pub chunk: u64,
    /// The first byte of the chunk in its file. 0 without a chunk.
    pub start: u64,
    /// The byte behind the chunk. 0 without a chunk.
    pub end: u64,
    /// One line for people, in English: UTF-8, with NUL at its end. Control characters of foreign names are escaped. What is longer
    /// is cut.
    pub message: [c_char; WB_MESSAGE_LEN],
}

/// The reason why a call fails.
pub(crate) struct Failure {
    code: ErrorCode,
    message: String,
    chunk: Option<(u64, Range<u64>)>,
}

impl Failure {
    pub(crate) fn of(error: &(impl Coded + Display)) -> Self {
        Self { code: error.error_code(), message: error.to_string(), chunk: None }
    }

    /// A refusal that only C has, of what Rust knows as text.
    pub(crate) fn refused(code: ErrorCode, message: &str) -> Self {
        Self { code, message: message.into(), chunk: None }
    }

    /// The call itself is wrong.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::USAGE, message: message.into(), chunk: None }
    }

    pub(crate) fn misuse_of(what: &str, fault: &str) -> Self {
        Self::misuse(format!("{what} {fault}"))
    }

    /// A refusal of a chunk of a file, which is named.
    pub(crate) fn of_chunk(path: &str, fault: &ChunkError) -> Self {
        let mut failure = Self::of(fault).at_chunk(fault);
        failure.message = format!("{}: {}", weighbridge_manifest::shown(path), failure.message);
        failure
    }

    /// Adds the place of the chunk that is bad.
    pub(crate) fn at_chunk(mut self, fault: &ChunkError) -> Self {
        if let ChunkError::Mismatch { index, range } | ChunkError::WrongLength { index, range, .. } = fault {
            self.chunk = Some((*index, range.clone()));
        }
        self
    }

    fn number(&self) -> wb_code {
        wb_code::from(self.code.get())
    }

    fn to_c(&self) -> wb_error {
        let (chunk, range) = self.chunk.clone().unwrap_or((WB_NO_CHUNK, 0..0));
        let mut message = [0; WB_MESSAGE_LEN];
        let room = WB_MESSAGE_LEN.saturating_sub(1);
        // The text is cut between two characters.
        let cut = (0..=room).rev().find(|at| self.message.is_char_boundary(*at)).unwrap_or(0);
        for (place, byte) in message.iter_mut().zip(self.message.bytes().take(cut)) {
            *place = c_char::from_le_bytes([byte]);
        }
        wb_error { code: self.number(), chunk, start: range.start, end: range.end, message }
    }
}

/// Does what a function is for, and tells how it ended. A panic ends here.
///
/// # Safety
/// Unless it is null, `error` points to memory for a `wb_error`, which nobody else uses until the call ends.
pub(crate) unsafe fn call(error: *mut wb_error, work: impl FnOnce() -> Result<(), Failure>) -> wb_code {
    let failure = match caught(work) {
        Ok(()) => return WB_OK,
        Err(failure) => failure,
    };
    // SAFETY: the caller's promise.
    unsafe { put(error, Some(failure.to_c())) };
    failure.number()
}

#[cfg(feature = "std")]
fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // Handles stay whole after a panic: verifiers count by atomics alone, views fill each slot at once.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure { code: ErrorCode::BUG, message: "weighbridge panicked".into(), chunk: None })
    })
}

/// Without the standard library, a panic ends the program.
#[cfg(not(feature = "std"))]
fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    work()
}

/// Tells whether a code means that bytes were read and found bad. Of other codes but `WB_OK`, nothing was decided: the same call may
/// succeed later.
#[unsafe(no_mangle)]
pub extern "C" fn wb_is_refusal(code: wb_code) -> bool {
    ErrorCode::ALL.iter().any(|known| wb_code::from(known.get()) == code && known.is_refusal())
}

/// The version of the library, such as "0.1.0". It is valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn wb_version() -> *const c_char {
    const VERSION: &core::ffi::CStr =
        match core::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::ffi::CStr;

    use super::*;

    #[test]
    fn long_messages_are_cut_between_two_characters() {
        for (pad, len) in [("", 1022), ("x", 1023)] {
            let failure = Failure::misuse(format!("{pad}{}", "\u{e9}".repeat(600))).to_c();
            let bytes: Vec<_> = failure.message.iter().map(|byte| byte.to_le_bytes()[0]).collect();
            let message = CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap();
            assert_eq!(message.len(), len);
        }
        let failure = Failure::misuse("short").to_c();
        assert!(failure.message.iter().skip(5).all(|byte| *byte == 0));
    }

    #[test]
    fn a_panic_is_a_code() {
        // SAFETY: no error is asked for.
        let code = unsafe { call(core::ptr::null_mut(), || panic!("on purpose")) };
        assert_eq!(code, 9999);
    }
}
