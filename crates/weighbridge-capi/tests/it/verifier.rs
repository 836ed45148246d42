//! Chunks, layers, descriptors and slices, as C offers them.

use std::{fs::File, os::fd::AsRawFd as _, ptr, thread};

use proptest::prelude::*;
use weighbridge_capi::*;
use weighbridge_manifest::Wanted;
use weighbridge_testkit::{Folder, Sample};
use weighbridge_verify::tree::{SliceRange, Slicer};

use crate::handle::{ANY, Failed, Handle, called, code, files, head, made, policy_of_head};

struct Fixture {
    sample: Sample,
    policy: Handle<wb_policy>,
    head: Handle<wb_head>,
    files: Handle<wb_files>,
}

impl Fixture {
    fn new() -> Self {
        let sample = Sample::of(&[("config.json", 100), ("empty", 0), ("model.bin", 40_000)], 1);
        let policy = policy_of_head(&sample.id.to_string()).ok().unwrap();
        let head = head(&sample.note, &policy, &ANY).ok().unwrap();
        let files = files(*head, &sample.files).ok().unwrap();
        Self { sample, policy, head, files }
    }

    fn verifier(&self, wanted: Option<&[usize]>) -> Result<Handle<wb_verifier>, Failed> {
        // SAFETY: pointer and length are those of a slice.
        made(|place, error| unsafe {
            match wanted {
                None => wb_verifier_of_all(*self.files, place, error),
                Some(wanted) => {
                    wb_verifier_of_files(*self.files, wanted.as_ptr(), wanted.len(), place, error)
                }
            }
        })
    }
}

fn accept(verifier: &Handle<wb_verifier>, file: usize, index: u64, chunk: &[u8]) -> Result<(), Failed> {
    // SAFETY: pointer and length are those of a slice.
    called(|error| unsafe { wb_verifier_accept(**verifier, file, index, chunk.as_ptr(), chunk.len(), error) })
}

fn accept_layer(verifier: &Handle<wb_verifier>, file: usize, layer: &[u8]) -> Result<(), Failed> {
    // SAFETY: pointer and length are those of a slice.
    called(|error| unsafe { wb_verifier_accept_layer(**verifier, file, layer.as_ptr(), layer.len(), error) })
}

fn missing(verifier: &Handle<wb_verifier>, file: usize) -> Vec<(u64, u64)> {
    let (mut runs, mut run) = (Vec::new(), wb_run { first: 0, end: 0 });
    loop {
        let from = run.end;
        // SAFETY: the place is one for a run.
        called(|error| unsafe { wb_verifier_missing(**verifier, file, from, &raw mut run, error) }).unwrap();
        if run.end == from {
            return runs;
        }
        runs.push((run.first, run.end));
    }
}

#[test]
fn chunks_are_accepted_once_the_layer_is() {
    let fixture = Fixture::new();
    let (sample, verifier) = (&fixture.sample, fixture.verifier(None).ok().unwrap());
    assert_eq!(code(accept(&verifier, 2, 0, sample.chunks(2, 0..1))), 9106);
    assert_eq!(missing(&verifier, 2), [(0, 3)]);
    for layer in [&sample.layers[1..], &[], &[0; 96][..]] {
        assert!((2201..=2202).contains(&code(accept_layer(&verifier, 2, layer))));
    }
    assert_eq!(code(accept_layer(&verifier, 2, &sample.layers)), 0);
    assert_eq!(code(accept_layer(&verifier, 2, &sample.layers)), 0, "again");
    let mut wrong = sample.chunks(2, 1..2).to_vec();
    wrong[77] ^= 4;
    let failed = accept(&verifier, 2, 1, &wrong).err().unwrap();
    assert_eq!((failed.code, failed.chunk), (2102, Some((1, 16_384, 32_768))));
    assert!(failed.message.starts_with("model.bin: chunk 1"), "{}", failed.message);
    assert_eq!(code(accept(&verifier, 2, 1, &wrong[1..])), 2107);
    assert_eq!(code(accept(&verifier, 2, 1, &[])), 2107);
    assert_eq!(code(accept(&verifier, 2, 3, &wrong)), 2108);
    assert_eq!(code(accept(&verifier, 2, u64::MAX, &wrong)), 2108);
    assert_eq!(code(accept(&verifier, 3, 0, &wrong)), 9001);
    assert_eq!(code(accept(&verifier, usize::MAX, 0, &wrong)), 9001);
    assert_eq!(code(accept(&verifier, 2, 1, sample.chunks(2, 1..2))), 0);
    assert_eq!(missing(&verifier, 2), [(0, 1), (2, 3)]);
    // A file of one chunk needs no layer, and an empty one no chunk.
    assert_eq!((missing(&verifier, 0), missing(&verifier, 1)), (vec![(0, 1)], vec![]));
    let mut config = sample.bytes(0).to_vec();
    config[0] ^= 1;
    let failed = accept(&verifier, 0, 0, &config).err().unwrap();
    assert_eq!((failed.code, failed.chunk), (2102, Some((0, 0, 100))));
    // SAFETY: the verifier lives.
    unsafe {
        assert_eq!(
            (wb_verifier_accepted_bytes(*verifier), wb_verifier_wanted_bytes(*verifier)),
            (16_384, 40_100)
        );
        assert!(
            wb_verifier_has(*verifier, 2, 16_384, 32_768) && !wb_verifier_has(*verifier, 2, 16_383, 32_768)
        );
        assert!(!wb_verifier_has(*verifier, 2, 0, u64::MAX) && !wb_verifier_has(*verifier, 9, 0, 0));
        for (file, chunk) in [(0, 0), (2, 0), (2, 2)] {
            assert!(!wb_verifier_is_complete(*verifier));
            assert_eq!(code(accept(&verifier, file, chunk, sample.chunks(file, chunk..chunk + 1))), 0);
        }
        assert!(wb_verifier_is_complete(*verifier));
        assert_eq!(wb_verifier_accepted_bytes(*verifier), 40_100);
    }
}

#[test]
fn only_wanted_files_count() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Some(&[0, 1])).ok().unwrap();
    assert_eq!(code(accept(&verifier, 2, 0, fixture.sample.chunks(2, 0..1))), 9001);
    assert_eq!(code(accept_layer(&verifier, 2, &fixture.sample.layers)), 9001);
    assert_eq!(code(accept(&verifier, 0, 0, fixture.sample.bytes(0))), 0);
    // SAFETY: the verifiers live.
    unsafe {
        assert!(wb_verifier_is_complete(*verifier));
        let nothing = fixture.verifier(Some(&[])).ok().unwrap();
        assert!(wb_verifier_is_complete(*nothing) && wb_verifier_wanted_bytes(*nothing) == 0);
        let nothing: Handle<wb_verifier> =
            made(|place, error| wb_verifier_of_files(*fixture.files, ptr::null(), 0, place, error))
                .ok()
                .unwrap();
        assert!(wb_verifier_is_complete(*nothing), "null is no position, and not all");
        // Who asks wrongly is not told that nothing is missing.
        let mut run = wb_run { first: 7, end: 7 };
        for file in [2, 3, usize::MAX] {
            let asked = called(|error| wb_verifier_missing(*verifier, file, 0, &raw mut run, error));
            assert_eq!(code(asked), 9001);
        }
        assert_eq!(wb_verifier_missing(*verifier, 0, 0, ptr::null_mut(), ptr::null_mut()), 9001);
    }
    assert_eq!(code(fixture.verifier(Some(&[3]))), 9001);
}

#[test]
fn a_descriptor_is_read_at_the_places_of_its_chunks() {
    let fixture = Fixture::new();
    let sample = &fixture.sample;
    let folder = Folder::with(&[("model.bin", sample.bytes(2))]);
    let read = |first, count| {
        let verifier = fixture.verifier(Some(&[2])).ok().unwrap();
        assert_eq!(code(accept_layer(&verifier, 2, &sample.layers)), 0);
        let opened = File::open(folder.at("model.bin")).unwrap();
        // SAFETY: the descriptor is open.
        let result = called(|error| unsafe {
            wb_verifier_accept_descriptor(*verifier, 2, opened.as_raw_fd(), first, count, error)
        });
        // The descriptor is still open.
        assert!(opened.metadata().is_ok());
        (result.err().map(|failed| (failed.code, failed.chunk)), missing(&verifier, 2))
    };
    assert_eq!(read(0, u64::MAX), (None, vec![]));
    assert_eq!(read(1, 1), (None, vec![(0, 1), (2, 3)]));
    assert_eq!(read(u64::MAX, u64::MAX), (None, vec![(0, 3)]), "nothing was asked for");
    folder.alter("model.bin", |bytes| bytes[20_000] ^= 1);
    assert_eq!(read(0, u64::MAX), (Some((2102, Some((1, 16_384, 32_768)))), vec![(1, 2)]));
    folder.alter("model.bin", |bytes| {
        bytes[20_000] ^= 1;
        bytes.push(0);
    });
    assert_eq!(read(0, u64::MAX), (Some((2103, None)), vec![]), "a byte too many");
    assert_eq!(read(2, 1), (Some((2103, None)), vec![(0, 2)]), "behind the last chunk");
    assert_eq!(read(u64::MAX, 1), (None, vec![(0, 3)]), "nobody asked for the end");
    assert_eq!(read(0, 0), (None, vec![(0, 3)]));
    assert_eq!(read(0, 2), (None, vec![(2, 3)]), "which nobody has looked at");
    folder.alter("model.bin", |bytes| bytes.truncate(39_999));
    assert_eq!(read(2, 1), (Some((2107, Some((2, 32_768, 40_000)))), vec![(0, 3)]));
    let verifier = fixture.verifier(Some(&[0])).ok().unwrap();
    // SAFETY: descriptors that are not open are not used by anybody.
    unsafe {
        assert_eq!(wb_verifier_accept_descriptor(*verifier, 0, -1, 0, 1, ptr::null_mut()), 9001);
        let of_folder = File::open(folder.path()).unwrap();
        assert_eq!(
            wb_verifier_accept_descriptor(*verifier, 0, of_folder.as_raw_fd(), 0, 1, ptr::null_mut()),
            9002
        );
    }
}

#[test]
fn threads_share_a_verifier() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(None).ok().unwrap();
    assert_eq!(code(accept_layer(&verifier, 2, &fixture.sample.layers)), 0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for index in 0..3 {
                    let chunk = fixture.sample.chunks(2, index..index + 1);
                    assert_eq!(code(accept(&verifier, 2, index, &chunk[1..])), 2107);
                    assert_eq!(code(accept(&verifier, 2, index, chunk)), 0);
                }
            });
        }
    });
    // SAFETY: the verifier lives.
    assert_eq!(unsafe { wb_verifier_accepted_bytes(*verifier) }, 40_000);
}

#[test]
fn a_proof_is_enough_to_verify_its_file() {
    let fixture = Fixture::new();
    let sample = &fixture.sample;
    let text = Wanted::of(&sample.list, None).file("model.bin").unwrap().prove(&sample.note).unwrap();
    let text = text.as_bytes();
    // SAFETY: pointers and lengths are those of slices.
    unsafe {
        let proof: Handle<wb_proof> = made(|place, error| {
            wb_proof_verify(text.as_ptr(), text.len(), *fixture.policy, &ANY, place, error)
        })
        .ok()
        .unwrap();
        let of_proof = |file, layer: &[u8]| {
            made(|place, error| wb_verifier_of_proof(*proof, file, layer.as_ptr(), layer.len(), place, error))
        };
        assert_eq!(code(of_proof(0, &[])), 9001, "the proof does not show it");
        assert_eq!(code(of_proof(2, &sample.layers[32..])), 2201);
        let verifier = of_proof(2, &sample.layers).ok().unwrap();
        assert_eq!(code(accept_layer(&verifier, 2, &sample.layers)), 9001);
        assert_eq!(code(accept(&verifier, 1, 0, &[])), 9001);
        assert_eq!(missing(&verifier, 2), [(0, 3)]);
        assert_eq!(wb_verifier_wanted_bytes(*verifier), 40_000);
        for index in (0..3).rev() {
            assert!(!wb_verifier_is_complete(*verifier));
            assert_eq!(code(accept(&verifier, 2, index, sample.chunks(2, index..index + 1))), 0);
        }
        assert!(wb_verifier_is_complete(*verifier));
        // Under a head that was believed before, no signature is needed.
        let again: Result<Handle<wb_proof>, _> = made(|place, error| {
            wb_proof_verify_under(text.as_ptr(), text.len(), *fixture.head, place, error)
        });
        assert_eq!(code(again), 0);
        assert_eq!(
            wb_proof_check_slice(*proof, text.as_ptr(), 8, ptr::null_mut(), 0, ptr::null_mut()),
            9001,
            "no slice"
        );
    }
}

#[test]
fn slices_are_checked_into_memory_of_their_length() {
    let fixture = Fixture::new();
    let sample = &fixture.sample;
    let slice = slice_of(sample, SliceRange::new(40_000, 5_000..9_000).unwrap());
    let check = |slice: &[u8], start, end, len| {
        let mut into = vec![0; len];
        // SAFETY: pointers and lengths are those of slices.
        let result = called(|error| unsafe {
            let (first, room) = (into.as_mut_ptr(), into.len());
            wb_files_check_slice(
                *fixture.files,
                2,
                start,
                end,
                slice.as_ptr(),
                slice.len(),
                first,
                room,
                error,
            )
        });
        result.map(|()| into)
    };
    assert_eq!(check(&slice, 5_000, 9_000, 4_000).ok().unwrap(), &sample.bytes(2)[5_000..9_000]);
    assert_eq!(code(check(&slice, 5_000, 9_000, 3_999)), 9001);
    assert_eq!(code(check(&slice, 5_000, 9_000, 4_001)), 9001);
    assert_eq!(code(check(&slice, 9_000, 5_000, 0)), 2601);
    assert_eq!(code(check(&slice, 5_000, u64::MAX, 0)), 2601);
    assert_eq!(code(check(&slice[..slice.len() - 1], 5_000, 9_000, 4_000)), 2602);
    assert_eq!(code(check(&[&slice[..], b"x"].concat(), 5_000, 9_000, 4_000)), 2602);
    // Memory that is read and written by one call is refused.
    let mut one = slice.clone();
    let (first, len) = (one.as_mut_ptr(), one.len());
    for lead in [0, 1, len - 1] {
        // SAFETY: what overlaps is not touched.
        let code = unsafe {
            let into = first.add(lead);
            wb_files_check_slice(*fixture.files, 2, 5_000, 9_000, first, len, into, 4_000, ptr::null_mut())
        };
        assert_eq!(code, 9001);
    }
    // Each byte of it counts.
    for at in (0..slice.len()).step_by(7) {
        let mut flipped = slice.clone();
        flipped[at] ^= 1;
        assert!((2601..=2604).contains(&code(check(&flipped, 5_000, 9_000, 4_000))), "byte {at}");
    }
}

/// The slice of a range of `model.bin`.
fn slice_of(sample: &Sample, range: SliceRange) -> Vec<u8> {
    let mut slice = Vec::new();
    let mut slicer = Slicer::new(sample.verifier(2).layer(), range, &mut slice).unwrap();
    while let Some(chunk) = slicer.wanted() {
        slicer.push(sample.chunks(2, chunk..chunk + 1), &mut slice).unwrap();
    }
    slicer.finish().unwrap();
    slice
}

proptest! {
    /// What is accepted by way of C is what Rust accepts, and it is the signed bytes alone.
    #[test]
    fn nothing_but_the_signed_bytes_is_accepted(
        file in 0..4_usize,
        index in 0..5_u64,
        from in 0..40_001_usize,
        len in 0..20_000_usize,
    ) {
        let fixture = Fixture::new();
        let sample = &fixture.sample;
        let verifier = fixture.verifier(None).ok().unwrap();
        prop_assert_eq!(code(accept_layer(&verifier, 2, &sample.layers)), 0);
        let bytes = sample.bytes(2);
        let offered = &bytes[from..(from + len).min(bytes.len())];
        let signed = (file < 3 && index < sample.count(file)).then(|| sample.chunks(file, index..index + 1));
        prop_assert_eq!(accept(&verifier, file, index, offered).is_ok(), signed == Some(offered));
    }
}
