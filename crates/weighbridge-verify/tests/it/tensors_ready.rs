//! Tensors: each becomes ready once, with the last of its chunks, and is read by name only if the verified header has
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use weighbridge_formats::generate::Llama;
use weighbridge_store::{Difference, ModelView, Reads, TensorError, TensorFault, TensorView, ViewError};
use weighbridge_testkit::{Draft, Folder, Signed, bytes, safetensors};
use weighbridge_verify::{
    Coded, ModelVerifier, ReadyError, ReadyTensors,
    manifest::{Dtype, TensorEntry, TensorName},
    tree::{ChunkError, ChunkSize},
};

const UNIT: usize = 16 << 10;
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// A model with its true tensor list or a false one.
struct Model {
    files: BTreeMap<&'static str, Vec<u8>>,
    draft: Draft,
    signed: Signed,
}

impl Model {
    /// Two shards with tensors of these sizes, and files without tensors before and behind them.
    fn new(first: &[usize], second: &[usize]) -> Self {
        Self::changed(first, second, |_| {})
    }

    /// A model whose tensor list is changed before it is signed.
    fn changed(first: &[usize], second: &[usize], change: impl FnOnce(&mut Vec<TensorEntry>)) -> Self {
        let files = [
            ("config.json", bytes(611, 1)),
            (FIRST, shard("a", first)),
            (SECOND, shard("b", second)),
            ("vocabulary.bin", bytes(UNIT + 1, 2)),
        ];
        let mut draft = Draft::of(&files, ChunkSize::MIN);
        change(draft.tensors.as_mut().unwrap());
        let signed = draft.sign();
        Self { files: files.into(), draft, signed }
    }

    fn verifier(&self) -> ModelVerifier {
        let verifier = ModelVerifier::new(self.signed.files.clone()).unwrap();
        verifier.accept_layers(&self.draft.layers).unwrap();
        verifier
    }

    fn ready(&self) -> ReadyTensors {
        ReadyTensors::new(&self.signed.files, self.signed.tensors.clone().unwrap()).unwrap()
    }

    fn tensors(&self) -> &[TensorEntry] {
        self.signed.tensors.as_ref().unwrap().entries()
    }

    /// The file position and the index of every chunk.
    fn all(&self) -> Vec<(usize, u64)> {
        let files = self.files.values().enumerate();
        files
            .flat_map(|(position, file)| {
                (0..as_u64(file.len().div_ceil(UNIT))).map(move |index| (position, index))
            })
            .collect()
    }

    fn chunk(&self, position: usize, index: u64) -> &[u8] {
        self.files.values().nth(position).unwrap().chunks(UNIT).nth(as_usize(index)).unwrap()
    }

    /// The chunks that hold bytes of a tensor, found byte by byte.
    fn chunks_of(&self, tensor: &TensorEntry) -> BTreeSet<(usize, u64)> {
        let file = self.files.keys().position(|path| *path == tensor.file.as_str()).unwrap();
        (tensor.offset..tensor.offset + tensor.size).map(|byte| (file, byte / as_u64(UNIT))).collect()
    }

    fn bytes_of(&self, tensor: &TensorEntry) -> &[u8] {
        let from = as_usize(tensor.offset);
        &self.files[tensor.file.as_str()][from..from + as_usize(tensor.size)]
    }

    fn folder(&self) -> Folder {
        let folder = Folder::new();
        self.files.iter().for_each(|(path, bytes)| folder.write(path, bytes));
        folder
    }

    fn view(&self, folder: &Folder) -> TensorView {
        let view = ModelView::open(folder.path(), &self.signed.metadata, self.signed.files.clone()).unwrap();
        TensorView::new(view, self.signed.tensors.clone().unwrap())
    }
}

/// A tensor file whose names are in another order than the offsets.
fn shard(prefix: &str, sizes: &[usize]) -> Vec<u8> {
    let names: Vec<_> = (0..sizes.len()).map(|at| format!("{prefix}{:02}", (at * 7 + 3) % 97)).collect();
    let contents: Vec<_> = (7..).zip(sizes).map(|(seed, size)| bytes(*size, seed)).collect();
    let tensors: Vec<_> = names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    safetensors(&tensors)
}

/// The names of the returned tensors.
fn names(given: &[(usize, &TensorEntry)]) -> Vec<String> {
    given.iter().map(|(_, tensor)| tensor.name.as_str().to_owned()).collect()
}

/// Many tensors in one chunk, one over several chunks, two without bytes, and one at the very end.
const SIZES: [usize; 9] = [5, 0, 900, 3 * UNIT, 1, 77, 0, UNIT, 12];

#[test]
fn tensors_that_share_a_chunk_become_ready_with_it_by_offset() {
    let model = Model::new(&[100, 200, 0, 300], &[1]);
    let (verifier, ready) = (model.verifier(), model.ready());
    assert_eq!(ready.waiting(), 4);
    let chunk = verifier.accept(1, 0, model.chunk(1, 0)).unwrap();
    let given = ready.record(&chunk);
    assert_eq!(names(&given), ["a03", "a10", "a24"]);
    assert!(given.iter().all(|(position, tensor)| model.tensors()[*position] == **tensor));
    assert_eq!(ready.waiting(), 1);
    assert!(ready.record(&chunk).is_empty(), "given twice");
}

#[test]
fn a_tensor_over_several_chunks_becomes_ready_with_the_last_one_told() {
    let model = Model::new(&[3 * UNIT], &[1]);
    let (verifier, ready) = (model.verifier(), model.ready());
    for (index, expected) in [(2, 0), (0, 0), (2, 0), (3, 0), (0, 0), (1, 1), (1, 0)] {
        let chunk = verifier.accept(1, index, model.chunk(1, index)).unwrap();
        assert_eq!(ready.record(&chunk).len(), expected, "chunk {index}");
    }
}

#[test]
fn tensors_of_no_bytes_are_complete_from_the_start_and_never_given() {
    let model = Model::new(&SIZES, &[0, 0]);
    let (verifier, ready) = (model.verifier(), model.ready());
    assert_eq!(ready.empty().count(), 4);
    assert!(ready.empty().all(|(position, tensor)| model.tensors()[position] == *tensor && tensor.size == 0));
    assert_eq!(ready.waiting(), 7);
    let mut given = Vec::new();
    for (position, index) in model.all() {
        given.extend(ready.record(&verifier.accept(position, index, model.chunk(position, index)).unwrap()));
    }
    assert_eq!(given.len(), 7);
    assert!(given.iter().all(|(_, tensor)| tensor.size != 0));
    assert_eq!(ready.waiting(), 0);
}

#[test]
fn the_chunks_of_a_run_are_told_one_by_one() {
    let model = Model::new(&SIZES, &[1]);
    let (verifier, ready) = (model.verifier(), model.ready());
    let run = verifier.file(1).unwrap().accept_run(0, &model.files[FIRST]).unwrap();
    let given: usize = run.chunks().map(|chunk| ready.record(&chunk).len()).sum();
    assert_eq!((given, ready.waiting()), (7, 1));
}

#[test]
fn a_chunk_of_another_model_completes_nothing() {
    let (model, other) = (Model::new(&[100], &[1]), Model::new(&[101], &[1]));
    let ready = model.ready();
    let verifier = other.verifier();
    assert!(ready.record(&verifier.accept(1, 0, other.chunk(1, 0)).unwrap()).is_empty());
    assert!(ready.record(&verifier.accept(0, 0, other.chunk(0, 0)).unwrap()).is_empty(), "no tensor file");
    assert_eq!(ready.waiting(), 2);
}

#[test]
fn a_chunk_of_the_same_file_in_another_chunk_size_completes_nothing() {
    let model = Model::new(&[100, 3 * UNIT], &[1]);
    let files: Vec<_> = model.files.iter().map(|(path, bytes)| (*path, bytes.clone())).collect();
    let draft = Draft::of(&files, ChunkSize::new(as_u64(2 * UNIT)).unwrap());
    let verifier = ModelVerifier::new(draft.sign().files).unwrap();
    verifier.accept_layers(&draft.layers).unwrap();
    let ready = model.ready();
    for (index, chunk) in (0..).zip(model.files[FIRST].chunks(2 * UNIT)) {
        assert!(ready.record(&verifier.accept(1, index, chunk).unwrap()).is_empty());
    }
    assert_eq!(ready.waiting(), 3);
}

#[test]
fn refuses_to_wait_for_tensors_that_overlap() {
    let grown = |tensors: &mut Vec<TensorEntry>| {
        let first = tensors.iter_mut().find(|tensor| tensor.name.as_str() == "a03").unwrap();
        first.size += 1;
    };
    let model = Model::changed(&[100, 200], &[1], grown);
    let error = ReadyTensors::new(&model.signed.files, model.signed.tensors.clone().unwrap()).unwrap_err();
    assert!(matches!(&error, ReadyError::Overlap { first, .. } if first.as_str() == "a03"), "{error:?}");
    assert_eq!(error.error_code().get(), 4113);
    assert_eq!(
        error.to_string(),
        "model-00001-of-00002.safetensors: tensors 'a03' and 'a10' are listed with the same bytes"
    );
}

#[test]
fn refuses_the_tensor_list_of_another_model() {
    let model = Model::new(&[100], &[1]);
    let other = Draft::of(&[("x.safetensors", shard("x", &[9]))], ChunkSize::MIN).sign();
    let error = ReadyTensors::new(&model.signed.files, other.tensors.unwrap()).unwrap_err();
    assert!(matches!(error, ReadyError::NotInModel { .. }), "{error:?}");
    assert_eq!(error.error_code().get(), 9999);
    assert_eq!(error.to_string(), "API misuse: the tensor list is of another model, which has x.safetensors");
    // The same paths, but a tensor lies past the end of the smaller file.
    let larger = Model::new(&[100, 5 * UNIT], &[1]).signed.tensors.unwrap();
    let error = ReadyTensors::new(&model.signed.files, larger).unwrap_err();
    assert_eq!(error.error_code().get(), 9999);
}

#[test]
fn every_tensor_is_given_to_exactly_one_of_many_threads() {
    // Tensors of two, three and one chunks, and of parts. Each thread offers every chunk, from another start.
    let model = Model::new(&[UNIT, 2 * UNIT, 30, 40, 50, 3 * UNIT, 7], &[UNIT / 2; 12]);
    let all = model.all();
    for _ in 0..40 {
        for threads in [2_usize, 3, 8] {
            let (verifier, ready) = (model.verifier(), model.ready());
            let given: Vec<_> = model.tensors().iter().map(|_| AtomicU32::new(0)).collect();
            let barrier = Barrier::new(threads);
            thread::scope(|scope| {
                for nth in 0..threads {
                    let (all, verifier, ready, given, barrier, model) =
                        (&all, &verifier, &ready, &given, &barrier, &model);
                    scope.spawn(move || {
                        barrier.wait();
                        for at in 0..all.len() {
                            let (position, index) = all[(at + nth * all.len() / threads) % all.len()];
                            let bytes = model.chunk(position, index);
                            let chunk = verifier.accept(position, index, bytes).unwrap();
                            for (tensor, entry) in ready.record(&chunk) {
                                given[tensor].fetch_add(1, Ordering::Relaxed);
                                assert!(verifier.has_tensor(entry));
                            }
                        }
                    });
                }
            });
            assert!(given.iter().all(|times| times.load(Ordering::Relaxed) == 1), "{given:?}");
            assert_eq!(ready.waiting(), 0);
        }
    }
}

#[test]
fn whoever_is_given_a_tensor_sees_what_the_others_wrote_before_they_told() {
    let model = Model::new(&[6 * UNIT], &[1]);
    for _ in 0..100 {
        let (verifier, ready) = (model.verifier(), model.ready());
        let count = as_usize(verifier.file(1).unwrap().count());
        // Relaxed stores: only `record` orders them.
        let written: Vec<_> = (0..count).map(|_| AtomicU32::new(0)).collect();
        let winners = Mutex::new(0);
        let barrier = Barrier::new(count);
        thread::scope(|scope| {
            for (index, cell) in (0..).zip(&written) {
                let (model, verifier, ready, written, winners, barrier) =
                    (&model, &verifier, &ready, &written, &winners, &barrier);
                scope.spawn(move || {
                    let chunk = verifier.accept(1, index, model.chunk(1, index)).unwrap();
                    barrier.wait();
                    cell.store(1, Ordering::Relaxed);
                    for _ in ready.record(&chunk) {
                        assert!(written.iter().all(|cell| cell.load(Ordering::Relaxed) == 1));
                        *winners.lock().unwrap() += 1;
                    }
                });
            }
        });
        assert_eq!(*winners.lock().unwrap(), 1);
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![Just(0), 1..200_usize, UNIT - 2..UNIT + 3, 1..4 * UNIT];
    prop::collection::vec(size, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_any_order_each_chunk_gives_what_is_complete_with_it(
        (first, second) in (sizes(), sizes()),
        order in any::<u64>(),
    ) {
        let model = Model::new(&first, &second);
        let (verifier, ready) = (model.verifier(), model.ready());
        let needed: Vec<_> = model.tensors().iter().map(|tensor| model.chunks_of(tensor)).collect();
        let mut told = BTreeSet::new();
        for (position, index) in shuffled(&model.all(), order) {
            let before = told.clone();
            told.insert((position, index));
            let complete = |set: &BTreeSet<_>, chunks: &BTreeSet<_>| chunks.is_subset(set);
            let expected: BTreeSet<_> = (0..needed.len())
                .filter(|at| complete(&told, &needed[*at]) && !complete(&before, &needed[*at]))
                .collect();
            let chunk = verifier.accept(position, index, model.chunk(position, index)).unwrap();
            let given = ready.record(&chunk);
            prop_assert!(given.is_sorted_by_key(|(_, tensor)| tensor.offset));
            prop_assert_eq!(given.len(), expected.len());
            prop_assert_eq!(given.into_iter().map(|(at, _)| at).collect::<BTreeSet<_>>(), expected);
            prop_assert!(ready.record(&chunk).is_empty());
        }
        prop_assert_eq!(ready.waiting(), 0);
    }

    #[test]
    fn in_any_order_the_first_tensor_is_there_before_the_last_chunk(order in any::<u64>()) {
        // The last chunk is of one file, so the tensors of the other file are complete before.
        let model = Model::new(&SIZES, &SIZES);
        let (verifier, ready) = (model.verifier(), model.ready());
        let order = shuffled(&model.all(), order);
        let first = order.iter().position(|(position, index)| {
            let chunk = verifier.accept(*position, *index, model.chunk(*position, *index)).unwrap();
            !ready.record(&chunk).is_empty()
        });
        prop_assert!(first.unwrap() < order.len() - 1);
        prop_assert!(!verifier.is_complete());
    }
}

fn shuffled<T: Clone>(of: &[T], seed: u64) -> Vec<T> {
    let mut keyed: Vec<_> = (0_u64..).zip(of).collect();
    keyed.sort_by_key(|(at, _)| *blake3::hash(&[at.to_le_bytes(), seed.to_le_bytes()].concat()).as_bytes());
    keyed.into_iter().map(|(_, item)| item.clone()).collect()
}

#[test]
fn a_tensor_is_read_by_name_with_dtype_and_shape() {
    let model = Model::new(&SIZES, &SIZES);
    let folder = model.folder();
    let view = model.view(&folder);
    for tensor in model.tensors() {
        let by_name = view.read(tensor.name.as_str()).unwrap();
        assert_eq!(by_name.dtype().as_str(), "U8");
        assert_eq!(by_name.shape(), [tensor.size]);
        assert_eq!(by_name.bytes(), model.bytes_of(tensor));
        assert_eq!(by_name.entry(), tensor);
        let in_file = view.read_in(tensor.file.as_str(), tensor.name.as_str()).unwrap();
        assert_eq!(in_file.into_bytes(), model.bytes_of(tensor));
    }
}

#[test]
fn threads_read_tensors_at_once() {
    let model = Model::new(&SIZES, &SIZES);
    let folder = model.folder();
    let view = model.view(&folder);
    thread::scope(|scope| {
        for nth in 0..4 {
            let (model, view) = (&model, &view);
            scope.spawn(move || {
                for at in shuffled(&(0..model.tensors().len()).collect::<Vec<_>>(), nth) {
                    let read = view.read_at(at).unwrap();
                    assert_eq!(read.bytes(), model.bytes_of(&model.tensors()[at]));
                }
            });
        }
    });
}

#[test]
fn a_name_that_several_files_have_needs_the_file() {
    let files = [("1.safetensors", shard("x", &[9])), ("2.safetensors", shard("x", &[8, 7]))];
    let (signed, folder) = (Draft::of(&files, ChunkSize::MIN).sign(), Folder::of(&files));
    let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let view = TensorView::new(view, signed.tensors.unwrap());
    let error = view.read("x03").unwrap_err();
    assert!(matches!(error, TensorError::Ambiguous { .. }), "{error:?}");
    assert_eq!(
        (error.error_code().get(), error.to_string().as_str()),
        (9001, "several files have a tensor 'x03'")
    );
    assert_eq!(view.read_in("2.safetensors", "x03").unwrap().shape(), [8]);
    assert_eq!(view.read("x10").unwrap().shape(), [7]);
    let error = view.read_in("1.safetensors", "x10").unwrap_err();
    assert_eq!((error.error_code().get(), error.to_string().as_str()), (9001, "no tensor 'x10' is listed"));
    for name in ["", "a", "x0", "x1\n", "z"] {
        assert!(matches!(view.read(name), Err(TensorError::NotListed { .. })), "{name:?}");
    }
    assert_eq!(view.read_at(3).unwrap_err().error_code().get(), 9999);
    assert_eq!(view.read_at(usize::MAX).unwrap_err().error_code().get(), 9999);
}

/// A change to a true tensor list, and the difference and code of the refusal.
type Lie = (fn(&mut Vec<TensorEntry>), Difference, u16);

const LIES: [Lie; 6] = [
    (|list| list[0].name = TensorName::parse("a02").unwrap(), Difference::NotInHeader, 2301),
    (|list| drop(list.remove(0)), Difference::NotListed, 2302),
    (|list| list[0].dtype = Dtype::parse("I8").unwrap(), Difference::Dtype, 2303),
    (|list| list[0].shape.insert(0, 1), Difference::Shape, 2304),
    (|list| list[0].offset += 1, Difference::Offset, 2305),
    (|list| list[0].size -= 1, Difference::Size, 2306),
];

#[test]
fn a_wrong_tensor_list_is_refused_whichever_tensor_of_the_file_is_read() {
    for (lie, difference, code) in LIES {
        let model = Model::changed(&[100, 3 * UNIT, 5], &[1], lie);
        let folder = model.folder();
        let view = model.view(&folder);
        // The entries of the other tensors of the file are true.
        for name in ["a10", "a17"] {
            for _ in 0..2 {
                let error = view.read(name).unwrap_err();
                assert_eq!(error.error_code().get(), code);
                let TensorError::Header { file, fault } = &error else { panic!("{error:?}") };
                assert_eq!((file.as_str(), fault.difference), (FIRST, difference));
                assert_eq!(error.to_string(), format!("{FIRST}: {fault}"));
            }
        }
        // Only the header's chunk was read, then served from memory; no tensor's chunk was.
        assert_eq!(view.view().reads(), Reads { chunks: 1, bytes: as_u64(UNIT) });
        // The entries of the other file are true.
        assert_eq!(view.read("b03").unwrap().bytes().len(), 1);
    }
}

#[test]
fn a_header_is_compared_once_whichever_tensors_are_read() {
    // The header fills whole chunks. Those are not kept in memory, so a second comparison would read them again.
    let (a, b) = (bytes(100, 1), bytes(2 * UNIT - 100, 2));
    let plain = safetensors(&[("a", &a), ("b", &b)]);
    let (header, data) = plain[8..].split_at(plain.len() - 8 - a.len() - b.len());
    let padded = [header, &vec![b' '; 7 * UNIT - 8 - header.len()]].concat();
    let file = [&as_u64(padded.len()).to_le_bytes(), &padded[..], data].concat();
    let files = [("model.safetensors", file)];
    let (signed, folder) = (Draft::of(&files, ChunkSize::MIN).sign(), Folder::of(&files));
    let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let view = TensorView::new(view, signed.tensors.unwrap());
    assert_eq!(view.read("a").unwrap().bytes(), a);
    assert_eq!(view.view().reads().chunks, 8, "the header's, and that of the tensor");
    for _ in 0..2 {
        assert_eq!(view.read("b").unwrap().bytes(), b);
        assert_eq!(view.read("a").unwrap().bytes(), a);
    }
    // The chunk that `a` and `b` share is kept in memory. The second chunk of `b` is wanted whole, and was read each
    // time.
    assert_eq!(view.view().reads().chunks, 8 + 2);
}

/// The length of a tensor's name is limited only by the size of the header.
#[test]
fn of_a_long_name_the_beginning_is_shown() {
    let long = "\u{1b}x".repeat(50_000);
    let shown = format!("{}…", r"\u{1b}x".repeat(40));
    for difference in [Difference::NotInHeader, Difference::NotListed, Difference::Dtype, Difference::Hash] {
        let text = TensorFault { tensor: long.clone(), difference }.to_string();
        // The message does not hold the whole name.
        assert!(text.len() < 400 && text.starts_with(&format!("tensor '{shown}' is ")), "{difference:?}");
    }
    // Names may also come from an index, which is not always verified.
    let model = Model::new(&[1], &[1]);
    let folder = model.folder();
    let error = model.view(&folder).read(&long).unwrap_err();
    assert!(error.to_string() == format!("no tensor '{shown}' is listed"));
}

#[test]
fn a_header_is_parsed_only_when_its_chunks_are_accepted() {
    let model = Model::new(&[100, 3 * UNIT, 5], &[1]);
    let folder = model.folder();
    let view = model.view(&folder);
    // Set the length of the header far too high.
    folder.alter(FIRST, |file| file[7] = 0xFF);
    let error = view.read("a17").unwrap_err();
    let TensorError::View(ViewError::Chunk { fault: ChunkError::Mismatch { index: 0, .. }, .. }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(error.error_code().get(), 2102);
    // The tensor can be read again once the bytes are good.
    folder.alter(FIRST, |file| file[7] = 0);
    assert_eq!(view.read("a17").unwrap().bytes().len(), 5);
}

#[test]
fn a_malformed_header_is_refused_though_it_is_signed() {
    let model = Model::new(&[100], &[1]);
    let mut files: Vec<_> = model.files.iter().map(|(path, bytes)| (*path, bytes.clone())).collect();
    let mut draft = Draft::of(&files, ChunkSize::MIN);
    // List the same tensors for a file that has one byte more than they cover.
    files[1].1.push(0);
    let longer = Draft { tensors: None, ..Draft::of(&files, ChunkSize::MIN) };
    (draft.files, draft.layers) = (longer.files, longer.layers);
    let (signed, folder) = (draft.sign(), Folder::of(&files));
    let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let error = TensorView::new(view, signed.tensors.unwrap()).read("a03").unwrap_err();
    assert!(matches!(error, TensorError::Format { .. }), "{error:?}");
    assert_eq!(error.error_code().get(), 4114);
    assert!(error.to_string().starts_with(FIRST), "{error}");
}

#[test]
fn a_tensor_is_read_from_a_file_full_of_holes_and_another_is_refused() {
    let model = Model::new(&[UNIT, UNIT, 5], &[1]);
    let folder = model.folder();
    // Keep only the header's chunk and the last one.
    let end = model.files[FIRST].len() / UNIT * UNIT;
    folder.alter(FIRST, |file| file[UNIT..end].fill(0));
    fs::remove_file(folder.at(SECOND)).unwrap();
    let view = model.view(&folder);
    assert_eq!(view.read("a17").unwrap().bytes(), bytes(5, 9));
    let error = view.read("a10").unwrap_err();
    assert_eq!(error.error_code().get(), 2102);
    assert!(error.to_string().starts_with(FIRST), "{error}");
    assert_eq!(view.read("b03").unwrap_err().error_code().get(), 2104);
}

#[test]
fn three_tensors_of_a_generated_model_cost_their_chunks_and_the_headers() {
    let folder = Folder::new();
    let written = Llama::small(5).write(folder.path()).unwrap();
    let names = written.files.iter().map(String::as_str);
    let files: Vec<_> = names.map(|path| (path, fs::read(folder.at(path)).unwrap())).collect();
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let tensors = signed.tensors.clone().unwrap();
    let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let view = TensorView::new(view, tensors.clone());
    assert_eq!(view.view().reads().chunks, 0);

    // One tensor of one shard, two of the other.
    let entries = tensors.entries();
    let chosen = [1, entries.len() - 1, entries.len() - 4].map(|at| &entries[at]);
    let mut expected = BTreeSet::new();
    for entry in chosen {
        let tensor = view.read(entry.name.as_str()).unwrap();
        let (_, file) = files.iter().find(|(path, _)| *path == entry.file.as_str()).unwrap();
        let from = as_usize(entry.offset);
        assert_eq!(tensor.bytes(), &file[from..from + as_usize(entry.size)]);
        let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap());
        let touched = (0..header).chain(entry.offset..entry.offset + entry.size);
        expected.extend(touched.map(|byte| (entry.file.as_str(), byte / as_u64(UNIT))));
    }
    let reads = view.view().reads();
    assert_eq!(reads.chunks, as_u64(expected.len()));
    assert!(reads.bytes <= as_u64(expected.len() * UNIT));
    let all: usize = files.iter().map(|(_, bytes)| bytes.len().div_ceil(UNIT)).sum();
    assert!(expected.len() * 4 < all, "{} of {all}", expected.len());
    // Exactly these chunks were accepted.
    for (path, index) in &expected {
        let (position, _) = signed.files.find(path).unwrap();
        assert!(view.view().file(position).unwrap().verifier().is_accepted(*index));
    }
}
