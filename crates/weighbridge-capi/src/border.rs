//! The border to C: pointers and lengths of the caller become references, values become handles.

use alloc::boxed::Box;
use core::{
    ffi::{CStr, c_char},
    ptr, slice,
};

use weighbridge_manifest::Time;

use crate::error::Failure;

/// Text in memory of a handle: UTF-8, without a NUL at its end. It is valid as long as the handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_text {
    /// The first byte. It is not null, even if there are no bytes.
    pub data: *const c_char,
    /// The number of bytes.
    pub len: usize,
}

impl wb_text {
    pub(crate) const EMPTY: Self = Self { data: c"".as_ptr(), len: 0 };

    pub(crate) fn of(text: &str) -> Self {
        if text.is_empty() { Self::EMPTY } else { Self { data: text.as_ptr().cast(), len: text.len() } }
    }
}

/// Bytes of the caller. Null stands for no bytes.
///
/// # Safety
/// Unless it is null, `start` points to `len` bytes that nobody changes for as long as the result lives.
pub(crate) unsafe fn bytes<'a>(
    start: *const u8,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], Failure> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::misuse_of(what, "is null, and its length is not 0")),
        // No object is as long. The end of the memory would lie before its beginning.
        _ if isize::try_from(len).is_err() => Err(Failure::misuse_of(what, "is longer than memory can be")),
        // SAFETY: the caller's promise; the length is not above `isize::MAX`.
        _ => Ok(unsafe { slice::from_raw_parts(start, len) }),
    }
}

/// Things of the caller, one behind the other. Null stands for none.
///
/// # Safety
/// Unless it is null, `start` points to `count` things that nobody changes for as long as the result lives.
pub(crate) unsafe fn items<'a, T>(
    start: *const T,
    count: usize,
    what: &'static str,
) -> Result<&'a [T], Failure> {
    let fits = count.checked_mul(size_of::<T>()).is_some_and(|len| isize::try_from(len).is_ok());
    match (start.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::misuse_of(what, "are null, and their number is not 0")),
        _ if !fits => Err(Failure::misuse_of(what, "are more than memory can have")),
        // SAFETY: the caller's promise; no more bytes than `isize::MAX`.
        _ => Ok(unsafe { slice::from_raw_parts(start, count) }),
    }
}

/// Memory of the caller that is filled. Null stands for no memory.
///
/// # Safety
/// Unless it is null, `start` points to `len` bytes that nobody else uses for as long as the result lives.
pub(crate) unsafe fn memory<'a>(
    start: *mut u8,
    len: usize,
    what: &'static str,
) -> Result<&'a mut [u8], Failure> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Failure::misuse_of(what, "is null, and its length is not 0")),
        _ if isize::try_from(len).is_err() => Err(Failure::misuse_of(what, "is longer than memory can be")),
        // SAFETY: the caller's promise; the length is not above `isize::MAX`. Whatever the bytes are, they are bytes.
        _ => Ok(unsafe { slice::from_raw_parts_mut(start, len) }),
    }
}

/// Text of the caller that ends with NUL, unless it is null.
///
/// # Safety
/// Unless it is null, `text` points to bytes that end with NUL, and that nobody changes for as long as the result lives.
pub(crate) unsafe fn optional_text<'a>(
    text: *const c_char,
    what: &'static str,
) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::misuse_of(what, "is not UTF-8"))
}

/// Text of the caller that ends with NUL.
///
/// # Safety
/// As for [`optional_text`].
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &'static str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise.
    unsafe { optional_text(text, what) }?.ok_or_else(|| Failure::misuse_of(what, "is null"))
}

/// A handle, or another thing of the caller's that is read.
///
/// # Safety
/// Unless it is null, `pointer` points to a `T` that lives longer than the result.
pub(crate) unsafe fn given<'a, T>(pointer: *const T, what: &'static str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::misuse_of(what, "is null"))
}

/// The place for a new handle. It is null until a handle is made.
pub(crate) struct Place<T>(*mut *mut T);

impl<T> Place<T> {
    /// # Safety
    /// Unless it is null, `place` points to memory for a pointer, which nobody else uses until the call ends.
    pub(crate) unsafe fn at(place: *mut *mut T) -> Result<Self, Failure> {
        if place.is_null() {
            return Err(Failure::misuse_of("the place for the handle", "is null"));
        }
        // SAFETY: the caller's promise.
        unsafe { place.write(ptr::null_mut()) };
        Ok(Self(place))
    }

    pub(crate) fn fill(self, value: T) {
        // SAFETY: by the promise to `at`, the place can be written to.
        unsafe { self.0.write(Box::into_raw(Box::new(value))) };
    }
}

/// Frees a handle.
///
/// # Safety
/// `handle` is null, or was made by [`Place::fill`] and is used by nobody any more.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// Writes a value, if there is a place for it; returns whether there is a value.
///
/// # Safety
/// Unless it is null, `place` points to memory for a `T`, which nobody else uses until the call ends.
pub(crate) unsafe fn put<T>(place: *mut T, value: Option<T>) -> bool {
    let is_there = value.is_some();
    if let Some(value) = value.filter(|_| !place.is_null()) {
        // SAFETY: the caller's promise.
        unsafe { place.write(value) };
    }
    is_there
}

/// A time of the caller's, in seconds since 1970; 0 stands for no clock.
pub(crate) fn time(seconds: i64, what: &'static str) -> Result<Option<Time>, Failure> {
    match seconds {
        0 => Ok(None),
        _ => match Time::from_unix(seconds) {
            Some(time) => Ok(Some(time)),
            None => Err(Failure::misuse_of(what, "is no time between the years 1 and 9999")),
        },
    }
}
