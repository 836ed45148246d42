//! Chunks of one file: in any order and on any thread, exactly the honest chunks are released, and the missing ones are
//! known.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter, panic,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use weighbridge_testkit::{Draft, Signed, bytes, layer};
use weighbridge_verify::{
    Coded, FileVerifier, Missing, ModelVerifier, VerifiedChunk, VerifiedFile, VerifiedRun, VerifierError,
    manifest::{SignedProof, Wanted},
    tree::{ChunkError, ChunkSize, FileRoot, Grid, Layer, LayerError},
};

const UNIT: usize = 16 << 10;

/// The smallest chunk counts, and counts at which the tree has another shape than at the count before.
const COUNTS: [usize; 9] = [0, 1, 2, 3, 5, 6, 7, 11, 13];

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// Lengths around each of the counts, among them 0, 1, chunk − 1, chunk and chunk + 1.
fn lengths(unit: usize) -> impl Iterator<Item = usize> {
    let around = COUNTS
        .into_iter()
        .flat_map(move |count| [(count * unit).checked_sub(1), Some(count * unit), Some(count * unit + 1)]);
    around.flatten()
}

/// A model of one file.
struct Case {
    file: Vec<u8>,
    unit: usize,
    layer: Vec<u8>,
    signed: Signed,
}

impl Case {
    fn new(len: usize, unit: usize) -> Self {
        let file = bytes(len, 1);
        let size = ChunkSize::new(as_u64(unit)).unwrap();
        let signed = Draft::of(&[("model.bin", file.clone())], size).sign();
        let layer = layer(&file, size).concat();
        Self { file, unit, layer, signed }
    }

    fn verifier(&self) -> FileVerifier {
        FileVerifier::from_layer_bytes(&self.signed.files, 0, &self.layer).unwrap()
    }

    fn chunk(&self, index: u64) -> &[u8] {
        self.chunks()[as_usize(index)]
    }

    fn chunks(&self) -> Vec<&[u8]> {
        self.file.chunks(self.unit).collect()
    }

    fn is_chunk(&self, chunk: &VerifiedChunk<'_>) -> bool {
        let range = as_usize(chunk.range().start)..as_usize(chunk.range().end);
        range.start == as_usize(chunk.index()) * self.unit
            && chunk.bytes() == self.chunk(chunk.index())
            && chunk.bytes() == &self.file[range]
            && chunk.position() == 0
            && chunk.root() == FileRoot::of(&self.file)
    }
}

fn shared_by_threads<T: Send + Sync>() {}

#[test]
fn verifiers_and_what_they_release_are_shared_by_threads() {
    shared_by_threads::<FileVerifier>();
    shared_by_threads::<ModelVerifier>();
    shared_by_threads::<VerifiedChunk<'_>>();
    shared_by_threads::<VerifiedRun<'_>>();
    shared_by_threads::<VerifiedFile>();
    shared_by_threads::<Missing<'_>>();
}

#[test]
fn every_length_is_accepted_chunk_by_chunk_and_as_one_run() {
    for unit in [UNIT, 4 * UNIT] {
        for len in lengths(unit) {
            let case = Case::new(len, unit);
            let one_by_one = case.verifier();
            assert_eq!(one_by_one.is_complete(), len == 0);
            for (index, chunk) in (0..).zip(case.chunks()) {
                assert!(!one_by_one.is_complete() && !one_by_one.is_accepted(index));
                let released = one_by_one.accept(index, chunk).unwrap();
                assert!(case.is_chunk(&released) && one_by_one.is_accepted(index));
                assert_eq!(released.bytes().as_ptr(), chunk.as_ptr(), "the buffer that was checked");
                assert_eq!(one_by_one.accepted(), index + 1);
                assert_eq!(one_by_one.accepted_bytes(), released.range().end);
            }
            let finished = one_by_one.finish().unwrap();
            assert_eq!((finished.position(), finished.path().as_str()), (0, "model.bin"));
            assert_eq!((finished.size(), finished.root()), (as_u64(len), FileRoot::of(&case.file)));

            let at_once = case.verifier();
            if len > 0 {
                let run = at_once.accept_run(0, &case.file).unwrap();
                assert_eq!(run.bytes().as_ptr_range(), case.file.as_ptr_range());
                assert_eq!((run.range(), run.indices()), (0..as_u64(len), 0..at_once.count()));
                assert!(run.chunks().all(|chunk| case.is_chunk(&chunk)));
                assert!(run.chunks().map(|chunk| chunk.index()).eq(0..at_once.count()));
            }
            assert_eq!(at_once.finish().unwrap(), finished);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_order_with_repeats_on_any_number_of_threads_completes_the_file(
        len in proptest::sample::select(lengths(UNIT).collect::<Vec<_>>()),
        shift in 0_usize..2,
        threads in 1_usize..5,
        seed in any::<[u64; 40]>(),
    ) {
        let case = Case::new(len << shift, UNIT << shift);
        let verifier = case.verifier();
        let count = verifier.count();
        // Each chunk once, in an order chosen by the seed, and some chunks again.
        let mut order: Vec<u64> = (0..count).collect();
        order.sort_by_key(|index| seed[as_usize(*index)]);
        order.extend(seed[20..].iter().filter_map(|it| it.checked_rem(count)));
        let next = AtomicUsize::new(0);
        let released: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| {
                let mut released = 0;
                while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let before = (verifier.accepted(), verifier.accepted_bytes());
                    let chunk = verifier.accept(*index, case.chunk(*index)).unwrap();
                    assert!(case.is_chunk(&chunk) && verifier.is_accepted(*index));
                    assert!(before.0 <= verifier.accepted() && before.1 <= verifier.accepted_bytes());
                    assert!(verifier.accepted() <= count && verifier.accepted_bytes() <= as_u64(case.file.len()));
                    released += 1;
                }
                released
            })).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        prop_assert_eq!(released, order.len());
        prop_assert_eq!((verifier.accepted(), verifier.accepted_bytes()), (count, as_u64(case.file.len())));
        prop_assert!(verifier.is_complete() && verifier.missing().next().is_none());
        prop_assert!(verifier.finish().is_ok());
    }

    /// A hundred chunks take four words of the set; ranges begin and end within words and between them.
    #[test]
    fn what_is_missing_is_what_a_naive_set_says(
        len in 1_usize..100 * UNIT,
        runs in proptest::collection::vec((0_u64..100, 1_u64..40), 0..8),
        ranges in proptest::collection::vec((0_u64..100, 0_u64..100, 0_u64..4, 0_u64..4), 1..20),
    ) {
        let case = Case::new(len, UNIT);
        let (verifier, unit, len) = (case.verifier(), as_u64(UNIT), as_u64(len));
        let mut accepted = BTreeSet::new();
        for (first, many) in runs {
            let (first, end) = (first.min(verifier.count()), (first + many).min(verifier.count()));
            if first < end {
                let bytes = &case.file[as_usize(first) * UNIT..case.file.len().min(as_usize(end) * UNIT)];
                prop_assert_eq!(verifier.accept_run(first, bytes).unwrap().indices(), first..end);
                accepted.extend(first..end);
            }
        }
        let missing = |chunks: std::ops::Range<u64>| chunks.filter(|it| !accepted.contains(it)).collect::<Vec<_>>();
        let runs: Vec<_> = verifier.missing().collect();
        prop_assert_eq!(runs.iter().cloned().flatten().collect::<Vec<_>>(), missing(0..verifier.count()));
        prop_assert!(runs.iter().all(|run| !run.is_empty()));
        prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs touch");
        prop_assert_eq!(verifier.accepted(), as_u64(accepted.len()));
        let bytes: usize = accepted.iter().map(|index| case.chunk(*index).len()).sum();
        prop_assert_eq!(verifier.accepted_bytes(), as_u64(bytes));
        prop_assert_eq!(verifier.is_complete(), accepted.len() == case.chunks().len());

        for (from, to, a, b) in ranges {
            // Ranges that begin and end on the bounds of chunks and one byte beside them; some are reversed or past the
            // end.
            let range = (from * unit).saturating_sub(1) + a..(to * unit).saturating_sub(1) + b;
            let holds = |index: &u64| index * unit < range.end && range.start < ((index + 1) * unit).min(len);
            let touched: Vec<u64> = (0..verifier.count()).filter(holds).filter(|_| !range.is_empty()).collect();
            let found = verifier.missing_in(range.clone());
            if range.start > range.end || range.end > len {
                prop_assert!(found.is_none() && !verifier.has(&range));
                continue;
            }
            let expected: Vec<u64> = touched.into_iter().filter(|it| !accepted.contains(it)).collect();
            prop_assert_eq!(verifier.has(&range), expected.is_empty());
            prop_assert_eq!(found.unwrap().flatten().collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn finish_passes_only_the_complete_file_and_gives_the_others_back() {
    for len in lengths(UNIT).filter(|len| *len > 0) {
        let case = Case::new(len, UNIT);
        for lacking in 0..case.verifier().count() {
            let verifier = case.verifier();
            let others = (0..verifier.count()).filter(|index| *index != lacking);
            others.for_each(|index| assert!(verifier.accept(index, case.chunk(index)).is_ok()));
            let accepted = verifier.accepted();
            let incomplete = verifier.finish().unwrap_err();
            assert_eq!((incomplete.missing(), incomplete.run()), (1, lacking..lacking + 1));
            assert_eq!((incomplete.path().as_str(), incomplete.error_code().get()), ("model.bin", 9107));
            let verifier = incomplete.into_verifier();
            assert_eq!(verifier.accepted(), accepted, "nothing is lost");
            assert!(verifier.accept(lacking, case.chunk(lacking)).is_ok());
            assert_eq!(verifier.finish().unwrap().root(), FileRoot::of(&case.file));
        }
    }
}

/// The file after every kind of transfer error at the bounds of chunks, with a description.
fn corruptions(case: &Case) -> Vec<(String, Vec<u8>)> {
    let file = &case.file;
    let bounds: BTreeSet<usize> = (0..=file.len()).step_by(case.unit).chain([file.len()]).collect();
    let mut all = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>| all.push((what, bytes));
    for at in bounds.iter().copied() {
        for flipped in [at.checked_sub(1), Some(at)].into_iter().flatten().filter(|it| *it < file.len()) {
            let mut bytes = file.clone();
            bytes[flipped] ^= 1;
            add(format!("bit flipped in byte {flipped}"), bytes);
        }
        let mut inserted = file.clone();
        inserted.insert(at, 7);
        add(format!("byte inserted, the rest shifted, at {at}"), inserted);
        if at < file.len() {
            add(format!("cut at {at}"), file[..at].to_vec());
            let mut removed = file.clone();
            removed.remove(at);
            add(format!("byte removed, the rest shifted, at {at}"), removed);
        }
    }
    add("a whole chunk appended".into(), [file, &file[..case.unit.min(file.len())]].concat());
    let chunks = case.chunks();
    for from in 0..chunks.len() {
        for to in 0..chunks.len() {
            if from != to {
                let mut repeated = chunks.clone();
                repeated[to] = chunks[from];
                add(format!("chunk {from} repeated at {to}"), repeated.concat());
            }
            if from < to {
                let mut swapped = chunks.clone();
                swapped.swap(from, to);
                add(format!("chunks {from} and {to} exchanged"), swapped.concat());
            }
        }
    }
    all
}

fn hash_of(released: &BTreeMap<u64, &[u8]>) -> FileRoot {
    FileRoot::of(&released.values().copied().collect::<Vec<_>>().concat())
}

/// The bytes released of corrupted bytes have the hash of exactly the honest chunks among them.
#[test]
fn what_is_released_of_corrupted_files_is_exactly_the_honest_chunks() {
    for len in lengths(UNIT).filter(|len| *len > 0) {
        let case = Case::new(len, UNIT);
        for (what, bad) in corruptions(&case) {
            let what = format!("{len} bytes, {what}");
            let chunks = case.chunks();
            let pieces: Vec<&[u8]> = bad.chunks(UNIT).collect();
            let is_honest = |(at, piece): &(usize, &&[u8])| chunks.get(*at) == Some(piece);
            let honest: BTreeMap<u64, &[u8]> =
                pieces.iter().enumerate().filter(is_honest).map(|(at, piece)| (as_u64(at), *piece)).collect();

            let verifier = case.verifier();
            let mut released = BTreeMap::new();
            for (index, piece) in (0_u64..).zip(&pieces) {
                match verifier.accept(index, piece) {
                    Ok(chunk) => drop(released.insert(chunk.index(), chunk.bytes())),
                    Err(error) if index >= verifier.count() => {
                        assert_eq!(error.error_code().get(), 2108, "{what}");
                    }
                    Err(error) if piece.len() != chunks[as_usize(index)].len() => {
                        assert_eq!(error.error_code().get(), 2107, "{what}");
                    }
                    Err(error) => assert_eq!(error.error_code().get(), 2102, "{what}"),
                }
            }
            assert_eq!(hash_of(&released), hash_of(&honest), "{what}");
            assert!(released.keys().eq(honest.keys()), "{what}");
            assert!((0..verifier.count()).all(|it| verifier.is_accepted(it) == honest.contains_key(&it)));
            assert_eq!(verifier.is_complete(), honest.len() == chunks.len(), "{what}");

            // As one run, the chunks before the first bad one are released.
            let verifier = case.verifier();
            let good = (0..as_u64(pieces.len())).take_while(|index| honest.contains_key(index)).count();
            let released = match verifier.accept_run(0, &bad) {
                Ok(run) => {
                    // A file that is cut between chunks still has whole chunks.
                    assert_eq!(good, pieces.len(), "{what}");
                    Some(run)
                }
                Err(error) => {
                    let index = match error.fault {
                        ChunkError::Mismatch { index, .. }
                        | ChunkError::WrongLength { index, .. }
                        | ChunkError::OutOfRange { index, .. } => index,
                        ref other => panic!("{other}"),
                    };
                    assert_eq!(index, as_u64(good), "{what}");
                    error.accepted
                }
            };
            let bytes = released.map_or(&[][..], |run| run.bytes());
            assert_eq!(bytes, &bad[..bad.len().min(good * UNIT)], "{what}");
            assert!(
                (0..verifier.count()).all(|it| verifier.is_accepted(it) == (as_usize(it) < good)),
                "{what}"
            );
        }
    }
}

#[test]
fn a_refused_layer_leaves_nothing_and_a_good_one_is_accepted_after_it() {
    for len in lengths(UNIT).filter(|len| *len > UNIT) {
        let case = Case::new(len, UNIT);
        let (values, rest) = case.layer.as_chunks::<32>();
        assert!(rest.is_empty());
        let mut bad: Vec<(Vec<u8>, u16)> = Vec::new();
        let mut add = |bytes: Vec<u8>, code| bad.push((bytes, code));
        for at in 0..values.len() {
            for byte in [0, 31] {
                let mut flipped = values.to_vec();
                flipped[at][byte] ^= 1;
                add(flipped.concat(), 2202);
            }
            add(values[..at].concat(), 2201);
            add(case.layer[..at * 32 + 31].to_vec(), 2201);
            add([&values[..at], &values[at..=at], &values[at..]].concat().concat(), 2201);
            let mut shifted = values.to_vec();
            shifted.rotate_left(at);
            if at > 0 {
                add(shifted.concat(), 2202);
            }
            for other in at + 1..values.len() {
                let mut swapped = values.to_vec();
                swapped.swap(at, other);
                add(swapped.concat(), 2202);
                let mut repeated = values.to_vec();
                repeated[other] = repeated[at];
                add(repeated.concat(), 2202);
            }
        }
        add([&case.layer[..], &[0]].concat(), 2201);
        // The layer of another file of the same size.
        let size = ChunkSize::new(as_u64(UNIT)).unwrap();
        add(layer(&bytes(len, 2), size).concat(), 2202);

        let model = ModelVerifier::new(case.signed.files.clone()).unwrap();
        for (bytes, code) in bad {
            let alone = FileVerifier::from_layer_bytes(&case.signed.files, 0, &bytes).unwrap_err();
            assert_eq!(alone.error_code().get(), code);
            assert_eq!(model.accept_layer(0, &bytes).unwrap_err(), alone);
            assert!(model.missing_layers().eq([0]));
            let early = model.accept(0, 0, case.chunk(0)).unwrap_err();
            assert_eq!(early.error_code().get(), 9106, "no chunk is checked by what was refused");
        }
        model.accept_layer(0, &case.layer).unwrap();
        for (index, chunk) in (0..).zip(case.chunks()) {
            assert!(case.is_chunk(&model.accept(0, index, chunk).unwrap()));
        }
        assert!(model.finish().unwrap().is_whole());
    }
}

#[test]
fn an_accepted_layer_of_another_file_is_refused() {
    let case = Case::new(3 * UNIT, UNIT);
    let accept = |file: &[u8], unit: usize| {
        let size = ChunkSize::new(as_u64(unit)).unwrap();
        let grid = Grid::new(as_u64(file.len()), size).unwrap();
        Layer::accept(grid, FileRoot::of(file), &layer(file, size).concat()).unwrap()
    };
    assert!(FileVerifier::new(&case.signed.files, 0, accept(&case.file, UNIT)).is_ok());
    for (other, code) in [
        (accept(&bytes(3 * UNIT, 2), UNIT), 2202),
        (accept(&bytes(2 * UNIT, 1), UNIT), 2201),
        // The same file in other chunks: its layer cannot check the wanted ones.
        (accept(&case.file, 2 * UNIT), 2201),
        // Files of as many chunks, of another length. The error said 96 bytes where 96 were expected.
        (accept(&bytes(3 * UNIT - 1, 1), UNIT), 2202),
        (accept(&bytes(5 * UNIT, 1), 2 * UNIT), 2202),
    ] {
        let error = FileVerifier::new(&case.signed.files, 0, other.clone()).unwrap_err();
        assert_eq!(error.error_code().get(), code);
        let model = ModelVerifier::new(case.signed.files.clone()).unwrap();
        assert_eq!(model.add_layer(0, other).unwrap_err(), error);
    }
    let error = FileVerifier::new(&case.signed.files, 1, accept(&case.file, UNIT)).unwrap_err();
    assert_eq!(error, VerifierError::NotWanted { position: 1 });
}

#[test]
fn positions_past_the_end_and_wrong_lengths_are_refused() {
    for len in lengths(UNIT) {
        let case = Case::new(len, UNIT);
        let verifier = case.verifier();
        let count = verifier.count();
        let first = case.chunks().first().copied().unwrap_or(&[7]);
        for index in [count, count + 1, count + 64, u64::MAX - 1, u64::MAX] {
            assert_eq!(verifier.accept(index, first), Err(ChunkError::OutOfRange { index, count }));
            for bytes in [&[][..], first, &case.file] {
                let error = verifier.accept_run(index, bytes).unwrap_err();
                assert_eq!(error.fault, ChunkError::OutOfRange { index, count });
                assert!(error.accepted.is_none());
            }
            assert!(!verifier.is_accepted(index));
        }
        for index in 0..count {
            let chunk = case.chunk(index);
            for bad in [&chunk[1..], &chunk[..chunk.len() - 1], &[], &[chunk, &[0]].concat()] {
                let error = verifier.accept(index, bad).unwrap_err();
                assert_eq!(error.error_code().get(), 2107, "chunk {index} of {count}");
            }
            assert_eq!(verifier.accept_run(index, &[]).unwrap_err().error_code().get(), 2107);
        }
        assert_eq!((verifier.accepted(), verifier.accepted_bytes()), (0, 0));
    }
}

#[test]
fn an_empty_file_is_complete_from_the_start_if_its_root_is_that_of_nothing() {
    let case = Case::new(0, UNIT);
    let verifier = case.verifier();
    assert!(verifier.is_complete() && verifier.has(&(0..0)) && !verifier.has(&(0..1)));
    assert!(verifier.finish().is_ok());

    let size = ChunkSize::new(as_u64(UNIT)).unwrap();
    let mut draft = Draft::of(&[("empty", Vec::new()), ("full", bytes(9, 1))], size);
    draft.files[0].root = FileRoot::of(b"something");
    let signed = draft.sign();
    let expected = LayerError::NotEmpty { expected: FileRoot::of(b"something") };
    for error in [
        FileVerifier::from_layer_bytes(&signed.files, 0, &[]).unwrap_err(),
        ModelVerifier::new(signed.files.clone()).unwrap_err(),
    ] {
        assert!(matches!(&error, VerifierError::Layer { fault, .. } if *fault == expected));
        assert_eq!(error.error_code().get(), 2101);
    }
    let others = ModelVerifier::only(signed.files, [1]).unwrap();
    assert!(others.accept(1, 0, &bytes(9, 1)).is_ok());
    assert!(!others.finish().unwrap().is_whole());
}

#[test]
fn of_a_good_and_a_bad_chunk_offered_at_once_only_the_good_one_is_released() {
    let case = Case::new(3 * UNIT - 5, UNIT);
    for round in 0..300 {
        let (verifier, index) = (case.verifier(), round % 3);
        let mut bad = case.chunk(index).to_vec();
        bad[as_usize(round)] ^= 0x40;
        let barrier = Barrier::new(3);
        let offer = |bytes: &[u8]| {
            barrier.wait();
            verifier.accept(index, bytes).map(|chunk| assert!(case.is_chunk(&chunk)))
        };
        thread::scope(|scope| {
            let refused = scope.spawn(|| offer(&bad));
            let again = scope.spawn(|| offer(case.chunk(index)));
            assert_eq!(offer(case.chunk(index)), Ok(()));
            assert_eq!(again.join().unwrap(), Ok(()));
            assert_eq!(refused.join().unwrap().unwrap_err().error_code().get(), 2102);
        });
        assert_eq!(verifier.accepted(), 1, "counted once");
        assert_eq!(verifier.accepted_bytes(), as_u64(case.chunk(index).len()));
        assert!(verifier.missing().flatten().eq((0..3).filter(|it| *it != index)));
    }
}

/// A loader waits for ranges, not for threads: the thread that accepts the last chunk has to see the range whole. With
/// weaker orderings both threads could miss the other's chunk, on machines that reorder memory accesses that way; many
/// do not.
#[test]
fn of_two_threads_that_complete_a_range_one_sees_it_whole() {
    // 70 chunks, so that the last two offered, 0 and 69, lie in different words of the set.
    let case = Case::new(70 * UNIT, UNIT);
    let all = 0..as_u64(case.file.len());
    for _ in 0..300 {
        let verifier = case.verifier();
        assert!(verifier.accept_run(1, &case.file[UNIT..69 * UNIT]).is_ok());
        let barrier = Barrier::new(2);
        let last = |index| {
            barrier.wait();
            assert!(verifier.accept(index, case.chunk(index)).is_ok());
            (verifier.has(&all), verifier.is_complete())
        };
        let (a, b) = thread::scope(|scope| {
            let other = scope.spawn(|| last(0));
            (last(69), other.join().unwrap())
        });
        assert!(a.0 || b.0, "nobody saw the range whole");
        assert!(a.1 || b.1, "nobody saw the file complete");
    }
}

#[test]
fn a_thread_that_panics_poisons_nothing() {
    let case = Case::new(7 * UNIT + 3, UNIT);
    let verifier = case.verifier();
    thread::scope(|scope| {
        let panicking = scope.spawn(|| {
            let released = verifier.accept(2, case.chunk(2)).unwrap();
            let missing = verifier.missing();
            // Resume without the panic hook, which would print a message.
            panic::resume_unwind(Box::new((released.index(), missing.count())));
        });
        let working = scope.spawn(|| (3..8).all(|index| verifier.accept(index, case.chunk(index)).is_ok()));
        assert!(panicking.join().is_err());
        assert!(working.join().unwrap());
    });
    assert!(verifier.missing().eq(iter::once(0..2)));
    assert!(verifier.accept_run(0, &case.file[..2 * UNIT]).is_ok());
    assert!(verifier.finish().is_ok());
}

#[test]
fn an_accepted_chunk_stays_accepted_when_a_bad_one_is_offered_in_its_place() {
    let case = Case::new(3 * UNIT, UNIT);
    let verifier = case.verifier();
    assert!(verifier.accept(1, case.chunk(1)).is_ok());
    assert_eq!(verifier.accept(1, case.chunk(0)).unwrap_err().error_code().get(), 2102);
    assert_eq!(verifier.accept_run(0, &case.file[1..]).unwrap_err().error_code().get(), 2102);
    assert_eq!(verifier.missing().collect::<Vec<_>>(), [0..1, 2..3]);
}

/// Runs from several starts with one bad chunk at several places. The feature `rayon` spreads long runs over cores, and
/// must give the same result.
#[test]
fn a_run_is_accepted_up_to_its_first_bad_chunk_wherever_it_begins() {
    // 70 chunks of 64 KiB are long enough to be spread over cores.
    let case = Case::new(70 * 4 * UNIT - 9, 4 * UNIT);
    let (unit, count) = (4 * UNIT, case.verifier().count());
    for (first, end) in [(0, count), (0, 69), (3, 40), (3, count), (64, count), (69, count), (8, 9)] {
        let from = as_usize(first) * unit;
        let honest = &case.file[from..case.file.len().min(as_usize(end) * unit)];
        let verifier = case.verifier();
        assert_eq!(verifier.accept_run(first, honest).unwrap().indices(), first..end);
        assert_eq!(verifier.accepted(), end - first);
        // Try the place before the middle often: another core begins at the middle, and finds a bad chunk at once.
        let middle = iter::repeat_n((first.midpoint(end) - 1).max(first), 30);
        for bad in (first..end).step_by(7).chain([end - 1]).chain(middle) {
            let mut bytes = honest.to_vec();
            // All chunks from `bad` on are bad. The first one counts, although another core may find a later one
            // earlier.
            for index in bad..end {
                bytes[as_usize(index - first) * unit + 100] ^= 1;
            }
            let verifier = case.verifier();
            let error = verifier.accept_run(first, &bytes).unwrap_err();
            assert!(matches!(error.fault, ChunkError::Mismatch { index, .. } if index == bad));
            assert_eq!(error.accepted.map(|run| run.indices()), (bad > first).then_some(first..bad));
            assert_eq!(verifier.accepted(), bad - first);
            assert!((first..bad).all(|index| verifier.is_accepted(index)));
        }
    }
}

/// Lengths around the one from which the feature `rayon` spreads a single chunk over cores.
#[test]
fn large_chunks_are_accepted_like_small_ones() {
    for len in [(4 << 20) - 1, 4 << 20, (4 << 20) + 1, (7 << 20) + 77, 8 << 20, (8 << 20) + 1, (17 << 20) - 1]
    {
        let case = Case::new(len, 8 << 20);
        let verifier = case.verifier();
        for (index, chunk) in (0..).zip(case.chunks()) {
            for at in [0, chunk.len() / 2, chunk.len() - 1] {
                let mut bad = chunk.to_vec();
                bad[at] ^= 1;
                assert_eq!(verifier.accept(index, &bad).unwrap_err().error_code().get(), 2102);
            }
            assert!(case.is_chunk(&verifier.accept(index, chunk).unwrap()));
        }
        assert!(verifier.finish().is_ok());
    }
}

#[test]
fn a_file_of_which_only_a_proof_is_held_is_verified() {
    let size = ChunkSize::new(as_u64(UNIT)).unwrap();
    let files = ["a", "b", "c"].map(|path| (path, bytes(3 * UNIT, path.as_bytes()[0])));
    let signed = Draft::of(&files, size).sign();
    let note = signed.metadata.note().unwrap();
    let proof = Wanted::of(&signed.files, None).file("b").unwrap().prove(&note).unwrap();
    let proven = SignedProof::parse(proof.as_bytes()).unwrap().under(&signed.head).unwrap();
    let (_, b) = &files[1];
    let verifier = FileVerifier::of_proven(&proven, 1, &layer(b, size).concat()).unwrap();
    assert_eq!((verifier.position(), verifier.path().as_str()), (1, "b"));
    assert!(verifier.accept_run(0, b).is_ok());
    assert!(verifier.finish().is_ok());
    let error = FileVerifier::of_proven(&proven, 0, &layer(&files[0].1, size).concat()).unwrap_err();
    assert_eq!(error, VerifierError::NotWanted { position: 0 });
    let error = FileVerifier::of_proven(&proven, 1, &layer(&files[0].1, size).concat()).unwrap_err();
    assert_eq!(error.error_code().get(), 2202);
}

#[test]
fn refusals_name_place_and_numbers() {
    let case = Case::new(3 * UNIT - 4, UNIT);
    let verifier = case.verifier();
    let bad = [&case.file[..UNIT], &[0; UNIT]].concat();
    let error = verifier.accept_run(0, &bad).unwrap_err();
    assert_eq!(error.to_string(), "chunk 1 (bytes 16384..32768) does not match the signed root");
    let model = ModelVerifier::only(case.signed.files.clone(), [0]).unwrap();
    let text = |error: VerifierError| (error.error_code().get(), error.to_string());
    assert_eq!(
        text(model.accept(0, 0, &[]).unwrap_err()),
        (9106, "model.bin: its chunk layer has to be accepted before its chunks".into())
    );
    assert_eq!(
        text(model.accept_layer(0, &[0; 96]).unwrap_err()),
        (2202, "model.bin: the chunk layer does not merge to the signed root".into())
    );
    assert_eq!(
        text(model.accept_layers(&[0; 97]).unwrap_err()),
        (2201, "the chunk layers have 97 bytes, the file list gives 96".into())
    );
    assert_eq!(
        text(model.accept(1, 0, &[]).unwrap_err()),
        (9999, "API misuse: the file at position 1 is not among those to verify".into())
    );
    model.accept_layers(&case.layer).unwrap();
    assert_eq!(
        text(model.accept(0, 2, &case.file[2 * UNIT + 1..]).unwrap_err()),
        (2107, "model.bin: chunk 2 (bytes 32768..49148) has 16379 bytes, expected 16380".into())
    );
    assert_eq!(
        verifier.finish().unwrap_err().to_string(),
        "2 of 3 chunks are missing, the first is chunk 1 of model.bin"
    );
}
