//! The C interface gets hostile lengths, positions and texts, and pointers to any part of the input. No memory is touched that was not
//! given, what a failed call should have made is null, and every code is one of the table.
//!
//! Input: steps of eight bytes each, up to one whose first byte is 255: a function, what it is called on, and an offset and a length
//! in what follows, as two bytes each, least significant first. Behind the steps there is memory. A step whose offset is past its end
//! takes something good instead: an example of the specification.
#![no_main]
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_void},
    ptr::{self, null, null_mut},
};

use libfuzzer_sys::fuzz_target;
use weighbridge_capi::*;
use weighbridge_tree::ErrorCode;

const NOTE: &[u8] = include_bytes!("../../spec/examples/head.note");
const FILES: &[u8] = include_bytes!("../../spec/examples/files.jsonl");
const TENSORS: &[u8] = include_bytes!("../../spec/examples/tensors.jsonl");
const PROOF: &[u8] = include_bytes!("../../spec/examples/scale.proof");
const VKEY: &[u8] = include_bytes!("../../spec/examples/vkey");
const CHALLENGE: &[u8] = include_bytes!("../../spec/examples/challenge.note");
const REPORT: &[u8] = include_bytes!("../../spec/examples/report.note");

fuzz_target!(|data: &[u8]| {
    let (steps, rest) = data.as_chunks::<8>();
    let end = steps.iter().position(|step| step[0] == 255).unwrap_or(steps.len()).min(64);
    let behind = steps.get(end + 1..).unwrap_or_default();
    let memory = [behind.as_flattened(), rest].concat();
    let mut handles = Handles::default();
    // SAFETY: pointers and lengths are those of slices, and the handles are those that the interface made.
    unsafe {
        for step in &steps[..end] {
            handles.step(step, &memory);
        }
        handles.free();
    }
});

struct Handles {
    policy: *mut wb_policy,
    head: *mut wb_head,
    files: *mut wb_files,
    tensors: *mut wb_tensors,
    proof: *mut wb_proof,
    verifier: *mut wb_verifier,
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            policy: null_mut(),
            head: null_mut(),
            files: null_mut(),
            tensors: null_mut(),
            proof: null_mut(),
            verifier: null_mut(),
        }
    }
}

/// Calls, and looks at how it ended.
fn call(work: impl FnOnce(*mut wb_error) -> wb_code) -> bool {
    let mut error = wb_error { code: 0, chunk: 0, start: 0, end: 0, message: [1; WB_MESSAGE_LEN] };
    let code = work(&raw mut error);
    let known = ErrorCode::ALL.iter().any(|known| wb_code::from(known.get()) == code);
    assert!(code == WB_OK || known && code == error.code && code != 9999, "{code}");
    assert!(code == WB_OK || error.message.contains(&0));
    assert_eq!(wb_is_refusal(code), (1..9000).contains(&code) && ![4108, 4314].contains(&code));
    code == WB_OK
}

/// Puts a new handle in the place of an old one, which is freed.
unsafe fn made<T>(
    place: &mut *mut T,
    free: unsafe extern "C" fn(*mut T),
    work: impl FnOnce(*mut *mut T, *mut wb_error) -> wb_code,
) {
    let mut new = ptr::dangling_mut();
    let is_made = call(|error| work(&raw mut new, error));
    assert_eq!(is_made, !new.is_null());
    if is_made {
        // SAFETY: the handle was made by the interface, and is freed once.
        unsafe { free(std::mem::replace(place, new)) };
    }
}

unsafe extern "C" fn answered(context: *mut c_void, nonce: *const u8) -> bool {
    // SAFETY: a nonce has 32 bytes.
    !context.is_null() && unsafe { std::slice::from_raw_parts(nonce, 32) }[0] > 250
}

impl Handles {
    unsafe fn step(&mut self, step: &[u8; 8], memory: &[u8]) {
        let [what, on, a0, a1, b0, b1, c0, c1] = *step;
        let number = |low, high| usize::from(u16::from_le_bytes([low, high]));
        let (offset, len, position) = (number(a0, a1), number(b0, b1), number(c0, c1));
        // One position of some is far outside.
        let position = if position > 60_000 { usize::MAX - (position & 1) } else { position % 16 };
        let at = u64::try_from(position).unwrap();
        let part = memory.get(offset..).map(|from| &from[..len.min(from.len())]);
        let or = |good: &'static [u8]| part.unwrap_or(good);
        // A text ends at its first NUL.
        let text = CString::new(
            part.unwrap_or(b"model.safetensors").split(|byte| *byte == 0).next().unwrap_or_default(),
        );
        let text = text.expect("no NUL");
        let expected = wb_expected {
            name: if on & 1 == 0 { null() } else { text.as_ptr() },
            head: if on & 2 == 0 { null() } else { text.as_ptr() },
            any_model: on & 4 == 0,
            allow_expired: on & 8 == 0,
            min_revision: at,
            now: if on & 16 == 0 { 0 } else { i64::try_from(len).unwrap() << (on >> 3) },
        };
        let mut into = vec![0; len];
        // SAFETY: as the caller of this says.
        unsafe {
            match what % 24 {
                0 if on & 128 != 0 => made(&mut self.policy, wb_policy_free, |place, error| {
                    // No memory has this length.
                    wb_policy_of_vkeys(VKEY.as_ptr(), usize::MAX - len, place, error)
                }),
                0 => made(&mut self.policy, wb_policy_free, |place, error| {
                    let lines = or(VKEY);
                    wb_policy_of_vkeys(lines.as_ptr(), lines.len(), place, error)
                }),
                1 => made(&mut self.policy, wb_policy_free, |place, error| {
                    wb_policy_of_head(text.as_ptr(), place, error)
                }),
                2 => made(&mut self.head, wb_head_free, |place, error| {
                    let note = or(NOTE);
                    wb_head_verify(note.as_ptr(), note.len(), self.policy, &expected, place, error)
                }),
                3 => made(&mut self.files, wb_files_free, |place, error| {
                    let list = or(FILES);
                    wb_files_verify(self.head, list.as_ptr(), list.len(), place, error)
                }),
                4 => made(&mut self.tensors, wb_tensors_free, |place, error| {
                    let list = or(TENSORS);
                    wb_tensors_verify(self.files, list.as_ptr(), list.len(), place, error)
                }),
                5 => made(&mut self.proof, wb_proof_free, |place, error| {
                    let proof = or(PROOF);
                    wb_proof_verify(proof.as_ptr(), proof.len(), self.policy, &expected, place, error)
                }),
                6 => made(&mut self.proof, wb_proof_free, |place, error| {
                    let proof = or(PROOF);
                    wb_proof_verify_under(proof.as_ptr(), proof.len(), self.head, place, error)
                }),
                7 => made(&mut self.verifier, wb_verifier_free, |place, error| {
                    let wanted = [position, len];
                    match on % 4 {
                        0 => wb_verifier_of_all(self.files, place, error),
                        1 => wb_verifier_of_files(self.files, null(), usize::from(on >> 2), place, error),
                        2 => wb_verifier_of_files(self.files, wanted.as_ptr(), usize::MAX - 1, place, error),
                        _ => wb_verifier_of_files(
                            self.files,
                            wanted.as_ptr(),
                            usize::from(on >> 2) % 3,
                            place,
                            error,
                        ),
                    }
                }),
                8 => made(&mut self.verifier, wb_verifier_free, |place, error| {
                    let layer = or(b"");
                    wb_verifier_of_proof(self.proof, position, layer.as_ptr(), layer.len(), place, error)
                }),
                9 => {
                    let layer = or(b"");
                    call(|error| {
                        wb_verifier_accept_layer(self.verifier, position, layer.as_ptr(), layer.len(), error)
                    });
                }
                10 => {
                    let chunk = or(b"");
                    let index = if on > 250 { u64::MAX } else { u64::from(on) };
                    call(|error| {
                        wb_verifier_accept(self.verifier, position, index, chunk.as_ptr(), chunk.len(), error)
                    });
                }
                11 => {
                    let mut run = wb_run { first: 0, end: 0 };
                    let from = u64::from(on);
                    if call(|error| wb_verifier_missing(self.verifier, position, from, &raw mut run, error)) {
                        assert!(run.first <= run.end && run.first >= from);
                    }
                    let (start, end) = (u64::from(on), u64::try_from(len).unwrap() << (on & 48));
                    wb_verifier_has(self.verifier, position, start, end);
                    let done = wb_verifier_accepted_bytes(self.verifier);
                    assert!(done <= wb_verifier_wanted_bytes(self.verifier));
                    assert!(
                        self.verifier.is_null()
                            || !wb_verifier_is_complete(self.verifier)
                            || done == wb_verifier_wanted_bytes(self.verifier)
                    );
                }
                12 => {
                    let mut file = std::mem::zeroed();
                    let is_there = wb_files_get(self.files, position, &raw mut file);
                    assert_eq!(is_there, position < wb_files_count(self.files));
                    assert!(!is_there || file.position == position && file.path.len > 0);
                    assert!(
                        !wb_files_find(self.files, text.as_ptr(), &raw mut file)
                            || shown(file.path) == text.to_bytes()
                    );
                }
                13 => {
                    let mut tensor = std::mem::zeroed();
                    let is_there = wb_tensors_get(self.tensors, position, &raw mut tensor);
                    assert_eq!(is_there, position < wb_tensors_count(self.tensors));
                    assert!(!is_there || tensor.size >= 1);
                    wb_tensors_find(self.tensors, text.as_ptr(), text.as_ptr(), &raw mut tensor);
                }
                14 => {
                    let (mut file, mut tensor) = (std::mem::zeroed(), std::mem::zeroed());
                    let has_file = wb_proof_file(self.proof, position, &raw mut file);
                    assert_eq!(has_file, position < wb_proof_files(self.proof));
                    let has_tensor = wb_proof_tensor(self.proof, position, &raw mut tensor);
                    assert_eq!(has_tensor, position < wb_proof_tensors(self.proof));
                    let has = wb_proof_find_file(self.proof, text.as_ptr(), &raw mut file);
                    assert!(!(has && wb_proof_is_absent(self.proof, text.as_ptr())));
                    wb_proof_find_tensor(self.proof, text.as_ptr(), text.as_ptr(), &raw mut tensor);
                }
                15 => {
                    let mut slice = std::mem::zeroed();
                    let bytes = or(b"");
                    let has = wb_proof_slice(self.proof, &raw mut slice);
                    let is_good = call(|error| {
                        let (first, room) = (into.as_mut_ptr(), into.len());
                        wb_proof_check_slice(self.proof, bytes.as_ptr(), bytes.len(), first, room, error)
                    });
                    assert!(!is_good || has && slice.end - slice.start == into.len() as u64);
                }
                16 => {
                    let (bytes, start) = (or(b""), u64::from(on));
                    call(|error| {
                        let (first, room) = (into.as_mut_ptr(), into.len());
                        let end = start.wrapping_add(at);
                        wb_files_check_slice(
                            self.files,
                            position,
                            start,
                            end,
                            bytes.as_ptr(),
                            bytes.len(),
                            first,
                            room,
                            error,
                        )
                    });
                }
                17 => {
                    let (challenge, response) = (or(CHALLENGE), or(b""));
                    let vkey = CString::new(VKEY.trim_ascii_end()).expect("no NUL");
                    let auditor = if on & 1 == 0 { vkey.as_ptr() } else { text.as_ptr() };
                    let mut answer = std::mem::zeroed();
                    call(|error| {
                        wb_audit_check(
                            self.files,
                            challenge.as_ptr(),
                            challenge.len(),
                            auditor,
                            response.as_ptr(),
                            response.len(),
                            expected.now,
                            (on & 2 == 0).then_some(answered),
                            (&raw mut into).cast(),
                            &raw mut answer,
                            error,
                        )
                    });
                }
                18 => {
                    let report = or(REPORT);
                    let reports =
                        vec![wb_bytes { data: report.as_ptr(), len: report.len() }; usize::from(on % 4)];
                    let (mut counted, max_age) = (0, u64::try_from(len).unwrap());
                    call(|error| {
                        let (first, count) = (reports.as_ptr(), reports.len());
                        wb_head_held(
                            self.head,
                            self.policy,
                            first,
                            count,
                            expected.now,
                            max_age,
                            &raw mut counted,
                            error,
                        )
                    });
                    assert!(counted <= reports.len());
                }
                19 => {
                    let mut id = [1; WB_ID_LEN];
                    wb_head_id(self.head, id.as_mut_ptr());
                    assert!(self.head.is_null() || id[WB_ID_LEN - 1] == 0);
                    for text in [
                        wb_head_name(self.head),
                        wb_head_text(self.head),
                        wb_head_signer(self.head, position),
                    ] {
                        assert!(str::from_utf8(shown(text)).is_ok());
                    }
                    let _ = wb_head_revision(self.head);
                    assert!(self.head.is_null() || wb_head_chunk_size(self.head).is_power_of_two());
                    assert!(wb_head_bytes(self.head) < 1 << 53 && wb_head_signers(self.head) <= 100);
                    wb_head_is_imported(self.head);
                    assert_eq!(wb_proof_head(self.proof).is_null(), self.proof.is_null());
                }
                // Handles go in any order.
                20 => wb_policy_free(std::mem::replace(&mut self.policy, null_mut())),
                21 => wb_head_free(std::mem::replace(&mut self.head, null_mut())),
                22 => wb_files_free(std::mem::replace(&mut self.files, null_mut())),
                _ => wb_proof_free(std::mem::replace(&mut self.proof, null_mut())),
            }
        }
    }

    unsafe fn free(self) {
        // SAFETY: each was made by the interface, or is null, and is freed once.
        unsafe {
            wb_policy_free(self.policy);
            wb_head_free(self.head);
            wb_files_free(self.files);
            wb_tensors_free(self.tensors);
            wb_proof_free(self.proof);
            wb_verifier_free(self.verifier);
        }
    }
}

unsafe fn shown<'a>(text: wb_text) -> &'a [u8] {
    // SAFETY: the header says what a text is.
    unsafe { std::slice::from_raw_parts(text.data.cast(), text.len) }
}
