//! What C programs get wrong: null, lengths, text, and handles in the wrong order.

use std::{
    ffi::CStr,
    ptr::{self, null_mut as none},
};

use weighbridge_capi::*;
use weighbridge_testkit::Sample;

use crate::handle::{
    ANY, Failed, c, called, code, file, files, head, made, policy_of_head, policy_of_vkeys, text,
};

const USAGE: i32 = 9001;

fn sample() -> Sample {
    Sample::of(&[("config.json", 100), ("empty", 0), ("model.bin", 40_000)], 1)
}

#[test]
fn null_is_refused_or_answered_by_nothing() {
    // SAFETY: null is taken everywhere.
    unsafe {
        let any = ANY;
        let expected = &raw const any;
        let policy = policy_of_head(&"0".repeat(64)).ok().unwrap();
        assert_eq!(wb_policy_of_vkeys(ptr::null(), 0, none(), none()), USAGE);
        assert_eq!(wb_policy_of_toml(ptr::null(), 0, none(), none()), USAGE);
        assert_eq!(
            code(made::<wb_policy>(|place, error| wb_policy_of_head(ptr::null(), place, error))),
            USAGE
        );
        let bytes = b"text".as_ptr();
        assert_eq!(
            code(made::<wb_policy>(|place, error| wb_policy_of_vkeys(ptr::null(), 4, place, error))),
            USAGE
        );
        assert_eq!(
            code(made::<wb_head>(|p, e| wb_head_verify(bytes, 4, ptr::null(), expected, p, e))),
            USAGE
        );
        assert_eq!(code(made::<wb_head>(|p, e| wb_head_verify(bytes, 4, *policy, ptr::null(), p, e))), USAGE);
        assert_eq!(wb_head_verify(bytes, 4, *policy, expected, none(), none()), USAGE);
        assert_eq!(code(made::<wb_files>(|p, e| wb_files_verify(ptr::null(), bytes, 4, p, e))), USAGE);
        assert_eq!(code(made::<wb_tensors>(|p, e| wb_tensors_verify(ptr::null(), bytes, 4, p, e))), USAGE);
        assert_eq!(
            code(made::<wb_proof>(|p, e| wb_proof_verify(bytes, 4, ptr::null(), expected, p, e))),
            USAGE
        );
        assert_eq!(code(made::<wb_proof>(|p, e| wb_proof_verify_under(bytes, 4, ptr::null(), p, e))), USAGE);
        assert_eq!(code(made::<wb_verifier>(|p, e| wb_verifier_of_all(ptr::null(), p, e))), USAGE);
        assert_eq!(
            code(made::<wb_verifier>(|p, e| wb_verifier_of_proof(ptr::null(), 0, bytes, 4, p, e))),
            USAGE
        );
        let folder = c"/";
        assert_eq!(
            code(made::<wb_model>(|p, e| wb_model_open(
                folder.as_ptr(),
                ptr::null(),
                ptr::null(),
                expected,
                p,
                e
            ))),
            USAGE
        );
        assert_eq!(
            code(made::<wb_model>(|p, e| wb_model_open(ptr::null(), ptr::null(), *policy, expected, p, e))),
            USAGE
        );
        for call in [
            wb_verifier_accept(ptr::null(), 0, 0, bytes, 4, none()),
            wb_verifier_accept_layer(ptr::null(), 0, bytes, 4, none()),
            wb_verifier_missing(ptr::null(), 0, 0, none(), none()),
            wb_verifier_of_files(ptr::null(), ptr::null(), 1, none(), none()),
            wb_verifier_accept_descriptor(ptr::null(), 0, 0, 0, 1, none()),
            wb_proof_check_slice(ptr::null(), bytes, 4, none(), 0, none()),
            wb_files_check_slice(ptr::null(), 0, 0, 1, bytes, 4, none(), 0, none()),
            wb_model_read(ptr::null(), 0, 0, none(), 0, none()),
            wb_model_read_tensor(ptr::null(), 0, 0, none(), 0, none()),
            wb_model_verify_file(ptr::null(), 0, none()),
            wb_head_held(ptr::null(), *policy, ptr::null(), 0, 1, 1, none(), none()),
            wb_audit_check(ptr::null(), bytes, 4, c"".as_ptr(), bytes, 4, 1, None, none(), none(), none()),
        ] {
            assert_eq!(call, USAGE);
        }
        assert_eq!(
            (wb_head_revision(ptr::null()), wb_head_chunk_size(ptr::null()), wb_head_bytes(ptr::null())),
            (0, 0, 0)
        );
        assert_eq!(
            (text(wb_head_name(ptr::null())), text(wb_head_text(ptr::null()))),
            <(String, String)>::default()
        );
        assert_eq!((wb_head_signers(ptr::null()), text(wb_head_signer(ptr::null(), 0))), (0, String::new()));
        assert!(!wb_head_is_imported(ptr::null()));
        wb_head_id(ptr::null(), none());
        assert_eq!((wb_files_count(ptr::null()), wb_tensors_count(ptr::null())), (0, 0));
        assert!(!wb_files_get(ptr::null(), 0, none()) && !wb_files_find(ptr::null(), c"a".as_ptr(), none()));
        assert!(!wb_tensors_get(ptr::null(), 0, none()));
        assert!(!wb_tensors_find(ptr::null(), c"a".as_ptr(), c"a".as_ptr(), none()));
        assert!(wb_proof_head(ptr::null()).is_null());
        assert_eq!((wb_proof_files(ptr::null()), wb_proof_tensors(ptr::null())), (0, 0));
        assert!(!wb_proof_file(ptr::null(), 0, none()) && !wb_proof_tensor(ptr::null(), 0, none()));
        assert!(!wb_proof_is_absent(ptr::null(), c"a".as_ptr()) && !wb_proof_slice(ptr::null(), none()));
        assert!(!wb_verifier_has(ptr::null(), 0, 0, 0));
        assert!(!wb_verifier_is_complete(ptr::null()), "nothing is not complete");
        assert_eq!((wb_verifier_accepted_bytes(ptr::null()), wb_verifier_wanted_bytes(ptr::null())), (0, 0));
        assert!(wb_model_head(ptr::null()).is_null() && wb_model_files(ptr::null()).is_null());
        assert!(wb_model_tensors(ptr::null()).is_null());
        wb_model_reads(ptr::null(), none(), none());
        wb_policy_free(none());
        wb_head_free(none());
        wb_files_free(none());
        wb_tensors_free(none());
        wb_proof_free(none());
        wb_verifier_free(none());
        wb_model_free(none());
    }
}

#[test]
fn lengths_that_no_memory_has_are_refused() {
    let (byte, len) = (b"x".as_ptr(), usize::MAX - 7);
    let refused: Result<_, Failed> =
        // SAFETY: what is longer than memory can be is not looked at.
        made::<wb_policy>(|place, error| unsafe { wb_policy_of_vkeys(byte, len, place, error) });
    assert_eq!(code(refused), USAGE);
    let sample = sample();
    let policy = policy_of_head(&sample.id.to_string()).ok().unwrap();
    let head = head(&sample.note, &policy, &ANY).ok().unwrap();
    let files = files(*head, &sample.files).ok().unwrap();
    let position = 0_usize;
    // SAFETY: as above.
    unsafe {
        for count in [usize::MAX, usize::MAX / 8, isize::MAX.unsigned_abs() / 8 + 1] {
            let wanted = &raw const position;
            assert_eq!(
                code(made::<wb_verifier>(|p, e| wb_verifier_of_files(*files, wanted, count, p, e))),
                USAGE
            );
            let report = wb_bytes { data: byte, len: 1 };
            assert_eq!(
                code(called(|e| wb_head_held(
                    *head,
                    *policy,
                    &raw const report,
                    count,
                    1,
                    1,
                    ptr::null_mut(),
                    e
                ))),
                USAGE
            );
        }
    }
}

#[test]
fn which_model_is_meant_has_to_be_said() {
    let sample = sample();
    let id = c(&sample.id.to_string());
    let policy = policy_of_head(id.to_str().unwrap()).ok().unwrap();
    let nothing = wb_expected { any_model: false, ..ANY };
    let failed = head(&sample.note, &policy, &nothing).err().unwrap();
    assert_eq!(failed.code, USAGE);
    assert!(failed.message.contains("which model"), "{}", failed.message);
    assert_eq!(code(head(&sample.note, &policy, &wb_expected { head: id.as_ptr(), ..nothing })), 0);
    let other = c("org/other");
    assert_eq!(code(head(&sample.note, &policy, &wb_expected { name: other.as_ptr(), ..nothing })), 3201);
    for (name, expected) in [(c"no slash", USAGE), (c"", USAGE), (c"\xff", USAGE)] {
        assert_eq!(
            code(head(&sample.note, &policy, &wb_expected { name: name.as_ptr(), ..nothing })),
            expected
        );
    }
    for id in [c"", c"00", c"\xff"] {
        assert_eq!(code(head(&sample.note, &policy, &wb_expected { head: id.as_ptr(), ..nothing })), USAGE);
    }
    assert_eq!(code(head(&sample.note, &policy, &wb_expected { now: i64::MIN, ..ANY })), USAGE);
    assert_eq!(code(head(&sample.note, &policy, &wb_expected { min_revision: 2, ..ANY })), 3203);
}

#[test]
fn keys_are_lines() {
    assert_eq!(code(policy_of_vkeys(b"")), 1605);
    assert_eq!(code(policy_of_vkeys(b"\n")), 1501);
    assert_eq!(code(policy_of_vkeys(b"\xff")), 1501);
    let key = weighbridge_testkit::Key::new("alice", 1).vkey().to_string();
    for lines in [key.clone(), format!("{key}\n"), format!("{key}\r\n"), format!("{key}\n{key}\n")] {
        assert_eq!(code(policy_of_vkeys(lines.as_bytes())), 0, "{lines:?}");
    }
    assert_eq!(code(policy_of_vkeys(format!("{key}\nx\n").as_bytes())), 1501);
}

#[test]
fn handles_are_freed_in_any_order() {
    let sample = sample();
    let policy = policy_of_head(&sample.id.to_string()).ok().unwrap();
    let head = head(&sample.note, &policy, &ANY).ok().unwrap();
    drop(policy);
    let list = files(*head, &sample.files).ok().unwrap();
    drop(head);
    // SAFETY: the list lives.
    let verifier = made::<wb_verifier>(|place, error| unsafe { wb_verifier_of_all(*list, place, error) });
    let (verifier, layer) = (verifier.ok().unwrap(), file(*list, 2).unwrap());
    drop(list);
    let at = usize::try_from(layer.layer_offset).unwrap();
    let bytes = &sample.layers[at..at + usize::try_from(layer.layer_len).unwrap()];
    // SAFETY: pointers and lengths are those of slices.
    unsafe {
        assert_eq!(
            wb_verifier_accept_layer(*verifier, 2, bytes.as_ptr(), bytes.len(), ptr::null_mut()),
            WB_OK
        );
        let chunk = sample.chunks(2, 1..2);
        assert_eq!(wb_verifier_accept(*verifier, 2, 1, chunk.as_ptr(), chunk.len(), ptr::null_mut()), WB_OK);
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    // SAFETY: it ends with NUL.
    let version = unsafe { CStr::from_ptr(wb_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}

#[test]
fn only_refusals_are_refusals() {
    for code in [1101, 2102, 5104] {
        assert!(wb_is_refusal(code), "{code}");
    }
    for code in [0, -1, 4108, 4314, 9001, 9999, 1100, i32::MAX, i32::MIN, 2102 + (1 << 16)] {
        assert!(!wb_is_refusal(code), "{code}");
    }
}
