//! Heads that are believed.

use core::ffi::c_char;

use weighbridge_manifest::{SignedHead, VerifiedHead};

use crate::{
    border::{Place, bytes, free, given, put, wb_text},
    error::{Failure, call, wb_code, wb_error},
    policy::{expectation, wb_expected, wb_policy},
};

/// The number of bytes of an id as text: 64 hexadecimal digits, and the NUL behind them.
pub const WB_ID_LEN: usize = 65;

/// A head that a policy believes: what a publisher signed of one release of a model. It never changes.
pub struct wb_head(pub(crate) VerifiedHead);

/// Decides whether the bytes of `head.note` are believed, and are the head of the model that is meant.
///
/// Errors: the note is malformed (11xx), the head is (12xx), is not believed, or not the one that is meant (31xx, 32xx).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_verify(
    note: *const u8,
    note_len: usize,
    policy: *const wb_policy,
    expected: *const wb_expected,
    head: *mut *mut wb_head,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(head)?;
            let (policy, (expected, now)) = (given(policy, "the policy")?, expectation(expected)?);
            let note = SignedHead::parse(bytes(note, note_len, "the note")?);
            let head = note.map_err(|error| Failure::of(&error))?.verify(&policy.0, &expected, now);
            place.fill(wb_head(head.map_err(|error| Failure::of(&error))?));
            Ok(())
        })
    }
}

/// The name of the model, `ORG/MODEL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_name(head: *const wb_head) -> wb_text {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.map_or(wb_text::EMPTY, |head| wb_text::of(head.0.head().name.as_str()))
}

/// The revision of the model, counted from 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_revision(head: *const wb_head) -> u64 {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.map_or(0, |head| head.0.head().revision)
}

/// Writes the id of the head into `WB_ID_LEN` bytes of the caller: 64 hexadecimal digits, and NUL. Nothing is written if
/// a pointer is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_id(head: *const wb_head, id: *mut c_char) {
    // SAFETY: the rules of the header.
    let head = unsafe { head.as_ref() };
    let text = head.map(|head| {
        let mut text = [0; WB_ID_LEN];
        let digits = alloc::string::ToString::to_string(&head.0.id());
        for (place, digit) in text.iter_mut().zip(digits.bytes()) {
            *place = c_char::from_le_bytes([digit]);
        }
        text
    });
    // SAFETY: the rules of the header.
    unsafe { put(id.cast::<[c_char; WB_ID_LEN]>(), text) };
}

/// The text of the head, exactly as it was signed (`spec/head.md`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_text(head: *const wb_head) -> wb_text {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.map_or(wb_text::EMPTY, |head| wb_text::of(head.0.text()))
}

/// The size of a chunk in bytes: 16 KiB to 16 MiB, a power of two. The last chunk of a file may be shorter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_chunk_size(head: *const wb_head) -> u64 {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.map_or(0, |head| head.0.head().chunk_size.bytes())
}

/// The number of bytes of all files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_bytes(head: *const wb_head) -> u64 {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.map_or(0, |head| head.0.head().bytes)
}

/// The number of signers that the policy counts; 0 for a head that is trusted by its id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_signers(head: *const wb_head) -> usize {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.map_or(0, |head| head.0.signers().len())
}

/// The name of a signer's key, counted from 0; empty if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_signer(head: *const wb_head, signer: usize) -> wb_text {
    // SAFETY: the rules of the header.
    let signer = unsafe { head.as_ref() }.and_then(|head| head.0.signers().get(signer));
    signer.map_or(wb_text::EMPTY, |signer| wb_text::of(signer.name.as_str()))
}

/// Whether the head is an importer's: the signers say where the model came from, not that they made it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_is_imported(head: *const wb_head) -> bool {
    // SAFETY: the rules of the header.
    unsafe { head.as_ref() }.is_some_and(|head| head.0.imported().is_some())
}

/// Frees a head. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_free(head: *mut wb_head) {
    // SAFETY: the rules of the header.
    unsafe { free(head) }
}
