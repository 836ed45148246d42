//! Chunks of many files: layers may come at any time, each file is judged alone, and the model finishes only when
//! complete.

use std::{
    collections::BTreeSet,
    iter::once,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use weighbridge_testkit::{Draft, Signed, bytes, layer, safetensors};
use weighbridge_verify::{
    Coded, ModelVerifier, VerifierError,
    tree::{ChunkSize, Grid},
};

const UNIT: usize = 16 << 10;
const SIZE: ChunkSize = ChunkSize::MIN;

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

struct Model {
    files: Vec<(&'static str, Vec<u8>)>,
    layers: Vec<u8>,
    signed: Signed,
}

impl Model {
    /// Files in list order: small, empty, of one chunk, large, and one with tensors.
    fn new() -> Self {
        // Tensors within a chunk, over several chunks, at the very end, and of no bytes.
        let (a, b, c) = (bytes(9, 3), bytes(3 * UNIT, 4), bytes(UNIT / 2, 5));
        let tensors = safetensors(&[("a", &a), ("b", &b), ("c", &c), ("none", &[])]);
        let files = vec![
            ("config.json", bytes(611, 1)),
            ("empty", Vec::new()),
            ("exact.bin", bytes(UNIT, 6)),
            ("large.bin", bytes(5 * UNIT + 1, 2)),
            ("model.safetensors", tensors),
        ];
        let draft = Draft::of(&files, SIZE);
        Self { files, layers: draft.layers.clone(), signed: draft.sign() }
    }

    fn verifier(&self) -> ModelVerifier {
        ModelVerifier::new(self.signed.files.clone()).unwrap()
    }

    fn layer(&self, position: usize) -> Vec<u8> {
        layer(&self.files[position].1, SIZE).concat()
    }

    fn chunk(&self, position: usize, index: u64) -> &[u8] {
        self.files[position].1.chunks(UNIT).nth(as_usize(index)).unwrap()
    }

    /// The file position and the index of every chunk.
    fn all(&self) -> Vec<(usize, u64)> {
        let count = |file: &[u8]| as_u64(file.chunks(UNIT).len());
        let files = self.files.iter().enumerate();
        files.flat_map(|(position, (_, file))| (0..count(file)).map(move |index| (position, index))).collect()
    }
}

const LARGE: usize = 3;
const TENSORS: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_order_on_any_number_of_threads_completes_the_model(
        threads in 1_usize..5,
        seed in any::<[u64; 16]>(),
        layers_first in any::<bool>(),
    ) {
        let model = Model::new();
        let verifier = model.verifier();
        let mut order = model.all();
        prop_assert!(order.len() <= seed.len());
        let mut keys = seed.iter();
        order.sort_by_cached_key(|_| keys.next());
        if layers_first {
            verifier.accept_layers(&model.layers).unwrap();
        }
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((position, index)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (before, bytes) = (verifier.accepted_bytes(), model.chunk(*position, *index));
                        let chunk = match verifier.accept(*position, *index, bytes) {
                            // Each thread that needs the layer brings it.
                            Err(VerifierError::NoLayer { .. }) => {
                                verifier.accept_layer(*position, &model.layer(*position)).unwrap();
                                verifier.accept(*position, *index, bytes)
                            }
                            other => other,
                        };
                        let chunk = chunk.unwrap();
                        assert_eq!((chunk.position(), chunk.index(), chunk.bytes()), (*position, *index, bytes));
                        assert!(before < verifier.accepted_bytes());
                    }
                });
            }
        });
        prop_assert!(verifier.is_complete());
        prop_assert_eq!(verifier.accepted_bytes(), model.signed.files.bytes());
        let finished = verifier.finish().unwrap();
        prop_assert!(finished.is_whole());
        let paths: Vec<_> = finished.files().map(|file| file.path().as_str().to_owned()).collect();
        prop_assert!(paths.iter().eq(model.files.iter().map(|(path, _)| path)));
    }

    #[test]
    fn what_is_missing_is_what_a_naive_set_says(taken in any::<u16>()) {
        let model = Model::new();
        let verifier = model.verifier();
        verifier.accept_layers(&model.layers).unwrap();
        let mut accepted = BTreeSet::new();
        for (bit, (position, index)) in model.all().into_iter().enumerate() {
            if taken >> bit & 1 == 1 {
                prop_assert!(verifier.accept(position, index, model.chunk(position, index)).is_ok());
                accepted.insert((position, index));
            }
        }
        let missing: Vec<_> = verifier.missing().flat_map(|(at, run)| run.map(move |index| (at, index))).collect();
        let expected: Vec<_> = model.all().into_iter().filter(|it| !accepted.contains(it)).collect();
        prop_assert_eq!(&missing, &expected);
        for position in 0..model.files.len() {
            let of_file: Vec<_> = verifier.missing_of_file(position).unwrap().flatten().collect();
            let expected: Vec<_> = expected.iter().filter(|it| it.0 == position).map(|it| it.1).collect();
            prop_assert_eq!(of_file, expected);
        }
        for tensor in model.signed.tensors.as_ref().unwrap().entries() {
            let (position, missing) = verifier.missing_of_tensor(tensor).unwrap();
            prop_assert_eq!(position, TENSORS);
            let bytes = tensor.offset..tensor.offset + tensor.size;
            let touched = bytes.map(|byte| byte / as_u64(UNIT)).collect::<BTreeSet<_>>();
            let expected: Vec<_> = touched.into_iter().filter(|it| !accepted.contains(&(TENSORS, *it))).collect();
            prop_assert_eq!(verifier.has_tensor(tensor), expected.is_empty());
            prop_assert_eq!(missing.flatten().collect::<Vec<_>>(), expected);
        }
        let bytes: usize = accepted.iter().map(|(position, index)| model.chunk(*position, *index).len()).sum();
        prop_assert_eq!(verifier.accepted_bytes(), as_u64(bytes));
        prop_assert_eq!(verifier.is_complete(), missing.is_empty());
        match verifier.finish() {
            Ok(_) => prop_assert!(missing.is_empty()),
            Err(incomplete) => {
                prop_assert_eq!(incomplete.missing(), as_u64(missing.len()));
                prop_assert_eq!(incomplete.path().as_str(), model.files[missing[0].0].0);
                prop_assert_eq!(incomplete.run().start, missing[0].1);
                prop_assert_eq!(incomplete.into_verifier().accepted_bytes(), as_u64(bytes));
            }
        }
    }
}

#[test]
fn files_of_at_most_one_chunk_need_no_layer() {
    let model = Model::new();
    let verifier = model.verifier();
    assert!(verifier.missing_layers().eq([LARGE, TENSORS]));
    for position in [0, 2] {
        assert!(verifier.accept(position, 0, &model.files[position].1).is_ok());
        assert!(verifier.file(position).unwrap().is_complete());
    }
    assert!(verifier.file(1).unwrap().is_complete(), "an empty file");
    let error = verifier.accept(LARGE, 0, model.chunk(LARGE, 0)).unwrap_err();
    assert_eq!(error.error_code().get(), 9106);
    // Without its layer, the whole file is missing.
    assert!(verifier.missing_of_file(LARGE).unwrap().eq(once(0..6)));
    let tensors = model.signed.tensors.as_ref().unwrap();
    let (_, b) = tensors.find("model.safetensors", "b").unwrap();
    assert!(!verifier.has_tensor(b));
    assert!(verifier.missing_of_tensor(b).unwrap().1.eq(once(0..4)));
    let (_, none) = tensors.find("model.safetensors", "none").unwrap();
    assert!(verifier.has_tensor(none), "a tensor of no bytes");
}

#[test]
fn each_layer_stands_alone() {
    let model = Model::new();
    let len = model.layer(LARGE).len();
    assert_eq!(model.layers, [model.layer(LARGE), model.layer(TENSORS)].concat());
    for (at, refused, accepted) in [(0, LARGE, TENSORS), (len - 1, LARGE, TENSORS), (len, TENSORS, LARGE)] {
        let verifier = model.verifier();
        let mut bad = model.layers.clone();
        bad[at] ^= 1;
        let error = verifier.accept_layers(&bad).unwrap_err();
        assert_eq!(error.error_code().get(), 2202);
        assert!(
            matches!(error, VerifierError::Layer { path, .. } if path.as_str() == model.files[refused].0)
        );
        assert!(verifier.missing_layers().eq([refused]));
        assert!(verifier.accept(accepted, 0, model.chunk(accepted, 0)).is_ok());
        assert_eq!(
            verifier.accept(refused, 0, model.chunk(refused, 0)).unwrap_err().error_code().get(),
            9106
        );
        verifier.accept_layer(refused, &model.layer(refused)).unwrap();
        assert!(verifier.missing_layers().next().is_none());
        assert!(verifier.accept(refused, 0, model.chunk(refused, 0)).is_ok());
    }
    // Another file's layer, and layers of other lengths.
    let verifier = model.verifier();
    let error = verifier.accept_layer(LARGE, &model.layer(TENSORS)).unwrap_err();
    assert_eq!(error.error_code().get(), 2201);
    for len in (0..model.layers.len()).chain([model.layers.len() + 1, model.layers.len() + 32]) {
        let bytes: Vec<u8> = model.layers.iter().copied().cycle().take(len).collect();
        assert_eq!(verifier.accept_layers(&bytes).unwrap_err().error_code().get(), 2201);
    }
    assert!(verifier.missing_layers().eq([LARGE, TENSORS]));
}

#[test]
fn a_layer_that_comes_again_changes_nothing() {
    let model = Model::new();
    let verifier = model.verifier();
    verifier.accept_layers(&model.layers).unwrap();
    assert!(verifier.accept(LARGE, 2, model.chunk(LARGE, 2)).is_ok());
    let first = verifier.file(LARGE).unwrap();
    let mut bad = model.layer(LARGE);
    bad[0] ^= 1;
    assert_eq!(verifier.accept_layer(LARGE, &bad).unwrap_err().error_code().get(), 2202);
    verifier.accept_layer(LARGE, &model.layer(LARGE)).unwrap();
    verifier.accept_layers(&model.layers).unwrap();
    verifier
        .add_layer(
            LARGE,
            model
                .signed
                .metadata
                .layers(&model.signed.files)
                .unwrap()
                .unwrap()
                .of(&model.signed.files, LARGE)
                .unwrap(),
        )
        .unwrap();
    assert!(std::ptr::eq(first, verifier.file(LARGE).unwrap()));
    assert!(first.missing().eq([0..2, 3..6]));
}

#[test]
fn threads_that_bring_one_layer_at_once_share_what_they_accept() {
    let model = Model::new();
    for _ in 0..200 {
        let verifier = model.verifier();
        let barrier = Barrier::new(2);
        let work = |index| {
            barrier.wait();
            verifier.accept_layer(LARGE, &model.layer(LARGE)).unwrap();
            assert!(verifier.accept(LARGE, index, model.chunk(LARGE, index)).is_ok());
        };
        thread::scope(|scope| {
            scope.spawn(|| work(0));
            work(5);
        });
        assert!(verifier.missing_of_file(LARGE).unwrap().eq(once(1..5)), "neither is lost");
    }
}

/// The same as for the ranges of one file; here each thread completes another file, and the model with it.
#[test]
fn of_two_threads_that_complete_a_model_one_sees_it_whole() {
    let model = Model::new();
    let files = Arc::new(model.signed.files.clone());
    for _ in 0..2000 {
        let verifier = ModelVerifier::only(Arc::clone(&files), [0, 2]).unwrap();
        let barrier = Barrier::new(2);
        let last = |position: usize| {
            barrier.wait();
            assert!(verifier.accept(position, 0, &model.files[position].1).is_ok());
            verifier.is_complete()
        };
        let (a, b) = thread::scope(|scope| {
            let other = scope.spawn(|| last(0));
            (last(2), other.join().unwrap())
        });
        assert!(a || b, "nobody saw the model whole");
    }
}

#[test]
fn only_wanted_files_are_verified_and_finished() {
    let model = Model::new();
    let files = Arc::new(model.signed.files.clone());
    let verifier = ModelVerifier::only(Arc::clone(&files), [LARGE, 0, LARGE]).unwrap();
    assert!(verifier.wanted().eq([0, LARGE]));
    assert!(verifier.missing_layers().eq([LARGE]));
    // The bytes hold the layers of all files; a fault in the layer of a file that is not wanted is not noticed.
    let mut layers = model.layers.clone();
    *layers.last_mut().unwrap() ^= 1;
    verifier.accept_layers(&layers).unwrap();
    for position in [1, 2, TENSORS, 5, usize::MAX] {
        let expected = VerifierError::NotWanted { position };
        assert_eq!(expected.error_code().get(), 9999);
        assert!(!verifier.is_wanted(position));
        assert_eq!(verifier.accept(position, 0, &[]).unwrap_err(), expected);
        assert_eq!(verifier.accept_layer(position, &[]).unwrap_err(), expected);
        assert_eq!(verifier.file(position).unwrap_err(), expected);
        assert_eq!(verifier.missing_of_file(position).unwrap_err(), expected);
    }
    let tensors = model.signed.tensors.as_ref().unwrap().entries();
    assert!(tensors.iter().all(|it| !verifier.has_tensor(it) && verifier.missing_of_tensor(it).is_none()));
    assert_eq!(verifier.wanted_bytes(), as_u64(611 + 5 * UNIT + 1));
    assert!(verifier.accept(0, 0, &model.files[0].1).is_ok());
    assert!(verifier.file(LARGE).unwrap().accept_run(0, &model.files[LARGE].1).is_ok());
    assert_eq!(verifier.accepted_bytes(), verifier.wanted_bytes());
    let finished = verifier.finish().unwrap();
    assert!(!finished.is_whole());
    assert!(finished.files().map(|file| file.position()).eq([0, LARGE]));
    assert_eq!(finished.list().entries().len(), 5);

    let error = ModelVerifier::only(files, [0, 5]).unwrap_err();
    assert_eq!(error, VerifierError::NotWanted { position: 5 });
}

#[test]
fn a_chunk_of_another_file_is_refused() {
    let model = Model::new();
    let verifier = model.verifier();
    verifier.accept_layers(&model.layers).unwrap();
    for (position, index) in model.all() {
        for (other, at) in model.all() {
            let result = verifier.accept(position, index, model.chunk(other, at));
            assert_eq!(result.is_ok(), (position, index) == (other, at));
            if let Err(error) = result {
                let grid = Grid::new(as_u64(model.files[position].1.len()), SIZE).unwrap();
                let range = grid.range(index).unwrap();
                let same_len = as_usize(range.end - range.start) == model.chunk(other, at).len();
                assert_eq!(error.error_code().get(), if same_len { 2102 } else { 2107 });
            }
        }
    }
}
