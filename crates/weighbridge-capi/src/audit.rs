//! Audits: what an auditor checks, and what a node that has none of the model asks of auditors.

use alloc::vec::Vec;
use core::ffi::{c_char, c_void};

use weighbridge_manifest::{SignedChallenge, SignedReport};
use weighbridge_verify::Answered;

use crate::{
    border::{bytes, given, items, put, text, time},
    error::{Failure, call, wb_code, wb_error},
    head::wb_head,
    lists::wb_files,
    policy::{vkey, wb_policy},
};

/// The result of an answer that is accepted.
#[repr(C)]
pub struct wb_answer {
    /// The number of BLAKE3 chunks (1 KiB) that the prover showed.
    pub samples: u64,
    /// The number of BLAKE3 chunks of the model, of which they were drawn.
    pub of: u64,
    /// The nonce of the challenge, which is answered now: `wb_answered` returns true for it from now on.
    pub nonce: [u8; 32],
}

/// Says whether a nonce of 32 bytes was answered before. It must not leave by an exception or by longjmp.
pub type wb_answered = Option<unsafe extern "C" fn(context: *mut c_void, nonce: *const u8) -> bool>;

/// A text of some length, in memory of the caller.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wb_bytes {
    /// The first byte.
    pub data: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// Decides whether a response answers the auditor's own challenge: `auditor` is the vkey that signed it, `received` the
/// time at which the last byte of the response came. `answered` is called at most once, with `context`; the caller holds
/// one lock from before the call until it keeps the nonce of an accepted answer, so that no response counts twice.
/// `answer` may be null.
///
/// Errors: the challenge is malformed or not the auditor's (11xx, 18xx, 3101, 33xx), the vkey is malformed (15xx), or the
/// response does not answer it, or not in time (27xx).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_audit_check(
    files: *const wb_files,
    challenge: *const u8,
    challenge_len: usize,
    auditor: *const c_char,
    response: *const u8,
    response_len: usize,
    received: i64,
    answered: wb_answered,
    context: *mut c_void,
    answer: *mut wb_answer,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (files, auditor) =
                (given(files, "the file list")?, vkey(text(auditor, "the auditor's vkey")?)?);
            let answered =
                answered.ok_or_else(|| Failure::misuse("nobody says which nonces were answered"))?;
            let received = time(received, "the time")?;
            let received = received.ok_or_else(|| Failure::misuse("an auditor needs a clock"))?;
            let challenge = SignedChallenge::parse(bytes(challenge, challenge_len, "the challenge")?);
            let challenge = challenge.map_err(|error| Failure::of(&error))?.verify(&auditor);
            let challenge = challenge.map_err(|error| Failure::of(&error))?;
            let response = bytes(response, response_len, "the response")?;
            let was_answered =
                |nonce: &weighbridge_verify::tree::Nonce| answered(context, nonce.as_bytes().as_ptr());
            let checked = Answered::check(&challenge, &files.list, response, received, was_answered);
            let checked = checked.map_err(|error| Failure::of(&error))?;
            let (report, nonce) = (checked.report(), *challenge.challenge().nonce.as_bytes());
            put(answer, Some(wb_answer { samples: report.samples, of: report.of, nonce }));
            Ok(())
        })
    }
}

/// Decides whether a model is held: whether enough auditors of the policy have signed, in these reports and in the last `max_age`
/// seconds, that nodes could produce random parts of it. `counted` is the number of reports that count, and may be null.
///
/// Errors: too few reports count, one is of another head, the policy has no auditors (33xx), or a report is malformed or
/// has a bad signature (11xx, 15xx, 18xx, 3101).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_head_held(
    head: *const wb_head,
    policy: *const wb_policy,
    reports: *const wb_bytes,
    reports_count: usize,
    now: i64,
    max_age: u64,
    counted: *mut usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (head, policy) = (given(head, "the head")?, given(policy, "the policy")?);
            let now = time(now, "the time")?;
            let reports = items(reports, reports_count, "the reports")?;
            let signed = reports.iter().map(|report| {
                let report = SignedReport::parse(bytes(report.data, report.len, "a report")?);
                report.map_err(|error| Failure::of(&error))
            });
            let held = head.0.held(&signed.collect::<Result<Vec<_>, _>>()?, &policy.0, now, max_age);
            put(counted, Some(held.map_err(|error| Failure::of(&error))?.counted().len()));
            Ok(())
        })
    }
}
