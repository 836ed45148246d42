//! Handles that free themselves, and results that tests look at.

use std::{
    ffi::{CStr, CString},
    ops::Deref,
    ptr, slice,
};

use weighbridge_capi::*;

/// A handle of C's.
pub(crate) struct Handle<T: Freed>(*mut T);

pub(crate) trait Freed {
    fn free(handle: *mut Self);
}

macro_rules! freed {
    ($($handle:ident $free:ident,)+) => {
        $(impl Freed for $handle {
            fn free(handle: *mut Self) {
                // SAFETY: `Handle` frees each handle once.
                unsafe { $free(handle) }
            }
        })+
    };
}

freed! {
    wb_policy wb_policy_free,
    wb_head wb_head_free,
    wb_files wb_files_free,
    wb_tensors wb_tensors_free,
    wb_proof wb_proof_free,
    wb_verifier wb_verifier_free,
    wb_model wb_model_free,
}

impl<T: Freed> Drop for Handle<T> {
    fn drop(&mut self) {
        T::free(self.0);
    }
}

impl<T: Freed> Deref for Handle<T> {
    type Target = *mut T;

    fn deref(&self) -> &*mut T {
        &self.0
    }
}

// SAFETY: the header says that any thread may use a handle.
unsafe impl<T: Freed> Sync for Handle<T> {}

/// What a call that failed has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) code: i32,
    /// The chunk, and its bytes.
    pub(crate) chunk: Option<(u64, u64, u64)>,
    pub(crate) message: String,
}

/// Calls, and checks that code and error agree.
pub(crate) fn called(call: impl FnOnce(*mut wb_error) -> wb_code) -> Result<(), Failed> {
    let mut error = wb_error { code: -1, chunk: 7, start: 7, end: 7, message: [1; WB_MESSAGE_LEN] };
    let code = call(&raw mut error);
    if code == WB_OK {
        assert_eq!((error.code, error.chunk, error.message[0]), (-1, 7, 1), "success writes no error");
        return Ok(());
    }
    assert_eq!(code, error.code);
    let chunk = (error.chunk != WB_NO_CHUNK).then_some((error.chunk, error.start, error.end));
    assert!(chunk.is_some() || (error.start, error.end) == (0, 0));
    // SAFETY: the header says that the message ends with NUL.
    let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
    Err(Failed { code, chunk, message: message.to_str().expect("UTF-8").to_owned() })
}

/// Makes a handle. What a failed call gives is null.
pub(crate) fn made<T: Freed>(
    call: impl FnOnce(*mut *mut T, *mut wb_error) -> wb_code,
) -> Result<Handle<T>, Failed> {
    let mut handle = ptr::dangling_mut();
    let result = called(|error| call(&raw mut handle, error));
    assert_eq!(handle.is_null(), result.is_err());
    result.map(|()| Handle(handle))
}

pub(crate) fn code<T>(result: Result<T, Failed>) -> i32 {
    result.err().map_or(0, |failed| failed.code)
}

pub(crate) fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

pub(crate) fn text(text: wb_text) -> String {
    // SAFETY: the header says what a text is.
    let bytes = unsafe { slice::from_raw_parts(text.data.cast::<u8>(), text.len) };
    str::from_utf8(bytes).expect("UTF-8").to_owned()
}

pub(crate) const ANY: wb_expected = wb_expected {
    name: ptr::null(),
    head: ptr::null(),
    any_model: true,
    allow_expired: false,
    min_revision: 0,
    now: 0,
};

pub(crate) fn policy_of_vkeys(lines: &[u8]) -> Result<Handle<wb_policy>, Failed> {
    // SAFETY: pointer and length are those of a slice.
    made(|place, error| unsafe { wb_policy_of_vkeys(lines.as_ptr(), lines.len(), place, error) })
}

pub(crate) fn policy_of_head(id: &str) -> Result<Handle<wb_policy>, Failed> {
    let id = c(id);
    // SAFETY: the text ends with NUL.
    made(|place, error| unsafe { wb_policy_of_head(id.as_ptr(), place, error) })
}

pub(crate) fn head(
    note: &[u8],
    policy: &Handle<wb_policy>,
    expected: &wb_expected,
) -> Result<Handle<wb_head>, Failed> {
    // SAFETY: pointer and length are those of a slice, the others are references.
    made(|place, error| unsafe {
        wb_head_verify(note.as_ptr(), note.len(), **policy, expected, place, error)
    })
}

pub(crate) fn files(head: *const wb_head, list: &[u8]) -> Result<Handle<wb_files>, Failed> {
    // SAFETY: pointer and length are those of a slice.
    made(|place, error| unsafe { wb_files_verify(head, list.as_ptr(), list.len(), place, error) })
}

pub(crate) fn file(files: *const wb_files, position: usize) -> Option<wb_file> {
    let mut file = std::mem::MaybeUninit::uninit();
    // SAFETY: the place is one for a file, and is filled if there is one.
    unsafe { wb_files_get(files, position, file.as_mut_ptr()).then(|| file.assume_init()) }
}
