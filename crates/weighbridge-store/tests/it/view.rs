//! Views of local files verify every touched chunk, read no other chunk, and never return bad bytes.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::prelude::*;
use weighbridge_store::{Coded, FileView, HeldFolder, HoldingError, Metadata, ModelView, Reads, ViewError};
use weighbridge_testkit::{Draft, Folder, Signed, bytes, layer};
use weighbridge_verify::{
    FileVerifier, Holding as _, PageBuffer,
    tree::{ChunkError, ChunkSize, FileRoot},
};

const UNIT: usize = 16 << 10;
/// The content of a buffer before a read.
const BEFORE: u8 = 0xAA;

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

/// A model of one file on disk, with its content and signed metadata.
struct Case {
    file: Vec<u8>,
    signed: Signed,
    folder: Folder,
}

impl Case {
    fn new(len: usize) -> Self {
        Self::of(bytes(len, 1), ChunkSize::MIN)
    }

    fn of(file: Vec<u8>, size: ChunkSize) -> Self {
        let signed = Draft::of(&[("model.bin", file.clone())], size).sign();
        let folder = Folder::of(&[("model.bin", file.clone())]);
        Self { file, signed, folder }
    }

    fn verifier(&self) -> FileVerifier {
        let layer = layer(&self.file, self.signed.files.chunk_size()).concat();
        FileVerifier::from_layer_bytes(&self.signed.files, 0, &layer).unwrap()
    }

    fn view(&self) -> FileView {
        FileView::open(&self.folder.at("model.bin"), self.verifier()).unwrap()
    }

    fn model(&self) -> ModelView {
        ModelView::open(self.folder.path(), &self.signed.metadata, self.signed.files.clone()).unwrap()
    }

    /// Overwrites a part of the file in place.
    fn overwrite(&self, at: usize, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(self.folder.at("model.bin")).unwrap();
        file.seek(SeekFrom::Start(as_u64(at))).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn set_len(&self, len: usize) {
        OpenOptions::new()
            .write(true)
            .open(self.folder.at("model.bin"))
            .unwrap()
            .set_len(as_u64(len))
            .unwrap();
    }
}

/// Reads `len` bytes; returns the result and the buffer's content afterwards.
fn read(view: &FileView, offset: usize, len: usize) -> (Result<(), ViewError>, Vec<u8>) {
    let mut into = vec![BEFORE; len];
    let result = view.read_at(as_u64(offset), &mut into);
    (result, into)
}

/// Lengths of 0 and 1, around a chunk, and with chunk counts that give other tree shapes.
const LENGTHS: [usize; 8] = [0, 1, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, 5 * UNIT - 1, 7 * UNIT + 5];

#[test]
fn any_range_of_a_good_file_is_read() {
    for len in LENGTHS {
        let case = Case::new(len);
        let (file, model) = (case.view(), case.model());
        let near = |at: usize| [at.saturating_sub(1), at, at + 1];
        let places: BTreeSet<usize> =
            (0..=len.div_ceil(UNIT)).flat_map(|chunk| near(chunk * UNIT)).chain(near(len)).collect();
        let places: Vec<_> = places.into_iter().filter(|at| *at <= len).collect();
        for start in &places {
            for end in places.iter().filter(|end| *end >= start) {
                let (result, found) = read(&file, *start, end - start);
                result.unwrap();
                assert_eq!(found, case.file[*start..*end]);
                let mut found = vec![BEFORE; end - start];
                model.read_at(0, as_u64(*start), &mut found).unwrap();
                assert_eq!(found, case.file[*start..*end]);
            }
        }
        assert!(file.verifier().is_complete());
    }
}

#[test]
fn bytes_past_the_end_are_refused() {
    for len in [0, 1, UNIT, 2 * UNIT + 1] {
        let view = Case::new(len).view();
        for (offset, wanted) in [(len, 1), (len + 1, 0), (0, len + 1), (UNIT, 2 * UNIT)] {
            let (result, found) = read(&view, offset, wanted);
            let error = result.unwrap_err();
            assert_eq!(error.error_code().get(), 9999);
            assert!(matches!(error, ViewError::PastEnd { size, .. } if size == as_u64(len)), "{error:?}");
            assert!(found.iter().all(|byte| *byte == BEFORE));
        }
        for offset in [u64::MAX, u64::MAX - 1] {
            assert_eq!(view.read_at(offset, &mut [0; 2]).unwrap_err().error_code().get(), 9999);
        }
        assert_eq!(
            view.read_at(0, &mut [0; UNIT * 4]).unwrap_err().to_string(),
            format!("API misuse: bytes 0..65536 are past the end of model.bin, which has {len}")
        );
        assert_eq!(view.reads(), Reads { chunks: 0, bytes: 0 }, "nothing was read");
    }
}

/// Alterations at every chunk that do not change the file's length.
fn alterations(file: &[u8]) -> Vec<Vec<u8>> {
    let mut altered = Vec::new();
    let mut add = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = file.to_vec();
        change(&mut bytes);
        altered.push(bytes);
    };
    let last = file.len() - 1;
    for (index, chunk) in file.chunks(UNIT).enumerate() {
        let range = index * UNIT..index * UNIT + chunk.len();
        for at in [range.start, range.end - 1] {
            add(&|bytes| bytes[at] ^= 0x80);
        }
        // A hole; the chunk of another place; everything from here on shifted by a byte, to the right and to the
        // left.
        add(&|bytes| bytes[range.clone()].fill(0));
        let other = if index == 0 { UNIT..2 * UNIT } else { 0..UNIT };
        add(&|bytes| bytes[range.clone()].copy_from_slice(&file[other.clone()][..chunk.len()]));
        add(&|bytes| bytes[range.start..].rotate_right(1));
        add(&|bytes| bytes[range.start..].rotate_left(1));
        if range.end <= last {
            // Truncated here, and filled up with zeros.
            add(&|bytes| bytes[range.end..].fill(0));
        }
    }
    altered
}

#[test]
fn nothing_of_an_altered_chunk_is_given_and_everything_of_the_others() {
    let case = Case::new(4 * UNIT + 7);
    for altered in alterations(&case.file) {
        case.folder.write("model.bin", &altered);
        let good = |index: usize| {
            let range = index * UNIT..((index + 1) * UNIT).min(case.file.len());
            altered[range.clone()] == case.file[range]
        };
        let first_bad = (0..5).find(|index| !good(*index)).unwrap();
        let view = case.view();

        // One read over the whole file: bytes are returned up to the first bad chunk, and no further.
        let (result, found) = read(&view, 3, case.file.len() - 3);
        let error = result.unwrap_err();
        assert_eq!(error.error_code().get(), 2102);
        let index = as_u64(first_bad);
        assert!(
            matches!(&error, ViewError::Chunk { fault: ChunkError::Mismatch { index: at, .. }, .. } if *at == index)
        );
        let released = (first_bad * UNIT).saturating_sub(3);
        assert_eq!(blake3::hash(&found[..released]), blake3::hash(&case.file[3..][..released]));
        assert!(found[released..].iter().all(|byte| *byte == BEFORE));

        // Each chunk alone, twice: a refused chunk stays refused.
        for index in (0..5).chain(0..5) {
            let start = index * UNIT;
            let len = UNIT.min(case.file.len() - start) - 1;
            let (result, found) = read(&view, start + 1, len);
            assert_eq!(result.is_ok(), good(index));
            assert!(if good(index) {
                found == case.file[start + 1..][..len]
            } else {
                found == vec![BEFORE; len]
            });
        }
        // Reads of whole chunks, which are not cached.
        for index in 0..5 {
            let (result, _) = read(&view, index * UNIT, UNIT.min(case.file.len() - index * UNIT));
            assert_eq!(result.is_ok(), good(index));
        }
    }
}

#[test]
fn refusals_name_file_and_chunk() {
    let case = Case::new(2 * UNIT + 7);
    let view = case.view();
    case.overwrite(UNIT, &[0; 3]);
    let (result, _) = read(&view, UNIT, 9);
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "model.bin: chunk 1 (bytes 16384..32768) does not match the signed root");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "chunk 1 (bytes 16384..32768) does not match the signed root"
    );
    case.set_len(2 * UNIT);
    let (result, _) = read(&view, 0, 9);
    assert_eq!(result.unwrap_err().to_string(), "model.bin changed since it was opened");
}

#[test]
fn a_hole_passes_only_where_the_signed_bytes_are_zeros() {
    let mut file = bytes(6 * UNIT, 1);
    file[2 * UNIT..4 * UNIT].fill(0);
    let case = Case::of(file, ChunkSize::MIN);
    // The file is one hole.
    File::create(case.folder.at("model.bin")).unwrap().set_len(as_u64(6 * UNIT)).unwrap();
    for view in [case.view(), FileView::open(&case.folder.at("model.bin"), case.verifier()).unwrap()] {
        for index in 0..6 {
            let (result, found) = read(&view, index * UNIT, UNIT);
            if (2..4).contains(&index) {
                result.unwrap();
                assert_eq!(found, vec![0; UNIT]);
            } else {
                assert_eq!(result.unwrap_err().error_code().get(), 2102);
                assert_eq!(found, vec![BEFORE; UNIT]);
            }
        }
        assert_eq!(view.verifier().missing().collect::<Vec<_>>(), [0..2, 4..6]);
    }
}

#[test]
fn a_file_that_is_being_completed_gives_each_chunk_once_it_is_there() {
    let case = Case::new(5 * UNIT + 3);
    File::create(case.folder.at("model.bin")).unwrap().set_len(as_u64(case.file.len())).unwrap();
    let view = case.view();
    for index in [3, 0, 5, 1, 4, 2] {
        let range = index * UNIT..((index + 1) * UNIT).min(case.file.len());
        assert_eq!(read(&view, range.start, range.len()).0.unwrap_err().error_code().get(), 2102);
        case.overwrite(range.start, &case.file[range.clone()]);
        let (result, found) = read(&view, range.start, range.len());
        result.unwrap();
        assert_eq!(found, case.file[range]);
    }
    assert!(view.verifier().is_complete());
}

#[test]
fn a_file_that_is_not_the_opened_one_any_more_is_refused() {
    type Change = fn(&Case);
    let changes: [(&str, Change); 7] = [
        ("truncated to nothing", |case| case.set_len(0)),
        ("truncated in the chunk", |case| case.set_len(UNIT + 9)),
        ("truncated behind the chunk", |case| case.set_len(2 * UNIT)),
        ("extended", |case| case.set_len(4 * UNIT)),
        ("removed", |case| fs::remove_file(case.folder.at("model.bin")).unwrap()),
        ("replaced by its equal", |case| {
            case.folder.write("new", &case.file);
            fs::rename(case.folder.at("new"), case.folder.at("model.bin")).unwrap();
        }),
        ("replaced by another", |case| {
            case.folder.write("new", &bytes(case.file.len(), 2));
            fs::rename(case.folder.at("new"), case.folder.at("model.bin")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let case = Case::new(3 * UNIT - 5);
        let (view, model) = (case.view(), case.model());
        assert_eq!(read(&view, UNIT, 9).1, case.file[UNIT..][..9]);
        let _ = model.file(0).unwrap();
        change(&case);
        for (offset, len) in [(0, 9), (0, UNIT), (2 * UNIT, 9), (2 * UNIT, UNIT - 5)] {
            let (result, found) = read(&view, offset, len);
            assert_eq!(result.unwrap_err().error_code().get(), 2106, "{what}");
            assert_eq!(found, vec![BEFORE; len], "{what}");
            assert_eq!(
                model.read_at(0, as_u64(offset), &mut vec![0; len]).unwrap_err().error_code().get(),
                2106
            );
        }
        // A verified chunk that is still in memory needs no file.
        let (result, found) = read(&view, UNIT + 100, 900);
        result.unwrap();
        assert_eq!(found, case.file[UNIT + 100..][..900], "{what}");
        // A read of cached bytes alone succeeds; a longer read fails and writes nothing.
        assert_eq!(read(&view, 0, 3 * UNIT - 5).1, vec![BEFORE; 3 * UNIT - 5], "{what}");
    }
}

#[test]
fn what_is_read_again_is_verified_again() {
    let case = Case::new(3 * UNIT);
    let view = case.view();
    for _ in 0..2 {
        assert_eq!(read(&view, 0, 3 * UNIT).1, case.file);
    }
    assert_eq!(view.reads(), Reads { chunks: 6, bytes: as_u64(6 * UNIT) });
    assert_eq!((view.verifier().accepted(), view.verifier().accepted_bytes()), (3, as_u64(3 * UNIT)));
    case.overwrite(UNIT, b"another");
    let (result, found) = read(&view, 0, 3 * UNIT);
    assert_eq!(result.unwrap_err().error_code().get(), 2102);
    assert_eq!(found[..UNIT], case.file[..UNIT]);
    assert_eq!(found[UNIT..], vec![BEFORE; 2 * UNIT]);
}

#[test]
fn small_reads_hash_their_chunk_once() {
    let case = Case::new(3 * UNIT + 7);
    let view = case.view();
    for at in (0..case.file.len()).step_by(100) {
        let len = 100.min(case.file.len() - at);
        assert_eq!(read(&view, at, len).1, case.file[at..][..len]);
    }
    assert_eq!(view.reads(), Reads { chunks: 4, bytes: as_u64(case.file.len()) });
    // The files of a model share the cache, and never get each other's chunks.
    let files = [("a", bytes(2 * UNIT, 1)), ("b", bytes(2 * UNIT, 2))];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let folder = Folder::of(&files);
    let model = ModelView::open(folder.path(), &signed.metadata, signed.files).unwrap();
    for at in (0..2 * UNIT).step_by(64) {
        for (position, (_, file)) in files.iter().enumerate() {
            let mut found = [0; 64];
            model.read_at(position, as_u64(at), &mut found).unwrap();
            assert_eq!(found, file[at..at + 64]);
        }
    }
    assert_eq!(model.reads(), Reads { chunks: 4, bytes: as_u64(4 * UNIT) });
    assert_eq!(model.file(1).unwrap().reads(), Reads { chunks: 2, bytes: as_u64(2 * UNIT) });
}

#[test]
fn memory_of_chunks_is_bounded_and_drops_the_least_recently_used() {
    let touch = |view: &FileView, unit: usize, index: usize| {
        let before = view.reads().chunks;
        read(view, index * unit, 1).0.unwrap();
        view.reads().chunks > before
    };
    // The cache holds at most 64 chunks.
    let case = Case::new(66 * UNIT);
    let view = case.view();
    assert!((0..64).all(|index| touch(&view, UNIT, index)));
    assert!(!touch(&view, UNIT, 0), "still there");
    assert!(touch(&view, UNIT, 64), "one too many: 1 goes, not 0");
    assert!(!touch(&view, UNIT, 0) && !touch(&view, UNIT, 2) && touch(&view, UNIT, 1));
    // The cache holds at most 16 MiB.
    let unit = 16 << 20;
    let case = Case::of(bytes(unit + 5, 1), ChunkSize::MAX);
    let view = case.view();
    assert!([0, 1, 0, 1].into_iter().all(|index| touch(&view, unit, index)));
    assert!(!touch(&view, unit, 1));
}

#[test]
fn many_threads_read_one_model() {
    let files = [("a", bytes(9 * UNIT + 5, 1)), ("b", bytes(70 * UNIT, 2)), ("c", bytes(7, 3))];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let folder = Folder::of(&files);
    let model = ModelView::open(folder.path(), &signed.metadata, signed.files).unwrap();
    thread::scope(|scope| {
        for seed in 0..8 {
            let (model, files) = (&model, &files);
            scope.spawn(move || {
                for draw in bytes(400, seed + 10).chunks(4) {
                    let position = usize::from(draw[0]) % 3;
                    let file = &files[position].1;
                    let at = (usize::from(draw[1]) * 256 + usize::from(draw[2])) * 37 % file.len();
                    let len = (usize::from(draw[3]) * 300).min(file.len() - at);
                    let mut found = vec![BEFORE; len];
                    model.read_at(position, as_u64(at), &mut found).unwrap();
                    assert!(found == file[at..at + len]);
                }
            });
        }
    });
}

#[test]
fn while_others_write_to_the_file_only_signed_bytes_are_given() {
    let case = Case::new(8 * UNIT);
    let (view, stop) = (case.view(), AtomicBool::new(false));
    let given = thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let at = turn % 8 * UNIT + turn % 97;
                case.overwrite(at, b"not what was signed");
                case.overwrite(at, &case.file[at..at + 19]);
            }
        });
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let (view, file) = (&view, &case.file);
                scope.spawn(move || {
                    let mut given = 0;
                    for turn in 0..3000 {
                        let at = (turn + reader) % 8 * UNIT;
                        let (result, found) = read(view, at, UNIT);
                        match result {
                            Ok(()) => {
                                assert!(found == file[at..at + UNIT]);
                                given += 1;
                            }
                            Err(error) => {
                                assert_eq!(error.error_code().get(), 2102);
                                assert!(found == vec![BEFORE; UNIT]);
                            }
                        }
                    }
                    given
                })
            })
            .collect();
        let given = readers.into_iter().map(|reader| reader.join()).collect::<Vec<_>>();
        stop.store(true, Ordering::Relaxed);
        given.into_iter().map(Result::unwrap).sum::<u32>()
    });
    assert!(given > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn of_any_file_with_any_damage_any_reads_give_what_is_signed_or_nothing(
        len in 1..6 * UNIT,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..3),
        reads in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let case = Case::new(len);
        let mut found = case.file.clone();
        for (at, flip) in &damage {
            found[at.index(len)] ^= flip;
        }
        case.folder.write("model.bin", &found);
        let view = case.view();
        for (start, end) in reads {
            let start = start.index(len);
            let end = start + end.index(len - start + 1);
            // The end of the good chunks before the first bad chunk of the range.
            let good = (start / UNIT..end.div_ceil(UNIT)).find(|index| {
                let chunk = index * UNIT..((index + 1) * UNIT).min(len);
                start < end && found[chunk.clone()] != case.file[chunk]
            });
            let until = good.map_or(end, |bad| (bad * UNIT).max(start));
            let (result, given) = read(&view, start, end - start);
            prop_assert_eq!(result.is_ok(), good.is_none());
            prop_assert!(given[..until - start] == case.file[start..until]);
            prop_assert!(given[until - start..].iter().all(|byte| *byte == BEFORE));
        }
    }
}

fn code_of(result: Result<&FileView, ViewError>) -> u16 {
    result.unwrap_err().error_code().get()
}

#[test]
fn opening_checks_the_length_and_nothing_else() {
    let case = Case::new(2 * UNIT);
    case.folder.write("model.bin", &bytes(2 * UNIT, 9));
    assert_eq!(case.view().reads(), Reads { chunks: 0, bytes: 0 });
    assert_eq!(case.model().file(0).unwrap().reads(), Reads { chunks: 0, bytes: 0 });
    for len in [0, 2 * UNIT - 1, 2 * UNIT + 1] {
        case.set_len(len);
        let error = FileView::open(&case.folder.at("model.bin"), case.verifier()).unwrap_err();
        assert_eq!(error.error_code().get(), 2103);
        assert_eq!(error.to_string(), format!("model.bin has {len} bytes, the signed length is 32768"));
        assert_eq!(code_of(case.model().file(0)), 2103);
    }
    let error = FileView::open(&case.folder.at("nothing"), case.verifier()).unwrap_err();
    assert_eq!(error.error_code().get(), 9002);
    // Regression: the error called a folder a FIFO, socket or device.
    let error = FileView::open(case.folder.path(), case.verifier()).unwrap_err();
    assert!(matches!(error, ViewError::Holding(HoldingError::Io(_))), "{error:?}");
}

#[test]
fn what_a_fetch_has_not_completed_is_read_where_it_lies() {
    let file = bytes(4 * UNIT, 1);
    let files = [("sub/a", file.clone()), ("z", bytes(9, 2))];
    let (signed, folder) = (Draft::of(&files, ChunkSize::MIN).sign(), Folder::of(&files[1..]));
    let partial = format!("weighbridge/partial/{}", FileRoot::of(&file));
    // The second chunk is a hole, and reads as zeros.
    let mut holes = file.clone();
    holes[UNIT..2 * UNIT].fill(0);
    folder.write(&partial, &holes);
    let model = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let mut read = vec![0; UNIT];
    model.read_at(0, 0, &mut read).unwrap();
    assert_eq!(read, file[..UNIT]);
    let hole = model.read_at(0, as_u64(UNIT), &mut read);
    assert!(
        matches!(hole, Err(ViewError::Chunk { fault: ChunkError::Mismatch { index: 1, .. }, .. })),
        "{hole:?}"
    );
    assert_eq!(read, file[..UNIT], "what is refused gives nothing");
    // The fetch completes the file and renames it. A view that has the file open reads on.
    folder.write(&partial, &file);
    fs::create_dir(folder.at("sub")).unwrap();
    fs::rename(folder.at(&partial), folder.at("sub/a")).unwrap();
    let mut whole = vec![0; file.len()];
    model.read_at(0, 0, &mut whole).unwrap();
    assert_eq!(whole, file);
    // A partial file of another length was not left by a fetch.
    folder.write(&partial, &file[1..]);
    fs::remove_file(folder.at("sub/a")).unwrap();
    let model = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    assert_eq!(code_of(model.file(0)), 2103);
}

#[test]
fn a_file_that_is_gone_before_it_is_touched_is_missing() {
    type Change = fn(&Folder);
    let changes: [(&str, Change, u16); 5] = [
        ("removed", |folder| fs::remove_file(folder.at("sub/a")).unwrap(), 2104),
        (
            "now a folder",
            |folder| {
                fs::remove_file(folder.at("sub/a")).unwrap();
                fs::create_dir(folder.at("sub/a")).unwrap();
            },
            2104,
        ),
        ("its folder removed", |folder| fs::remove_dir_all(folder.at("sub")).unwrap(), 2104),
        (
            "its folder now a file",
            |folder| {
                fs::remove_dir_all(folder.at("sub")).unwrap();
                folder.write("sub", b"file");
            },
            2104,
        ),
        ("of another length", |folder| folder.write("sub/a", b"short"), 2103),
    ];
    for (what, change, code) in changes {
        let files = [("sub/a", bytes(2 * UNIT, 1)), ("z", bytes(9, 2))];
        let (signed, folder) = (Draft::of(&files, ChunkSize::MIN).sign(), Folder::of(&files));
        let model = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
        let held = HeldFolder::open(folder.path(), &signed.metadata, &signed.files).unwrap();
        change(&folder);
        assert_eq!(code_of(model.file(0)), code, "{what}");
        assert_eq!(held.read_chunk(0, 0, &mut Vec::new()).unwrap_err().error_code().get(), code, "{what}");
        // The other file is unaffected, and the first file can be read again once it is back.
        model.read_at(1, 0, &mut [0; 9]).unwrap();
        let _ = fs::remove_file(folder.at("sub"));
        let _ = fs::remove_dir(folder.at("sub/a"));
        folder.write("sub/a", &files[0].1);
        model.read_at(0, 0, &mut [0; 2 * UNIT]).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_became_a_fifo_before_it_is_touched_is_not_waited_for() {
    let case = Case::new(UNIT + 1);
    let model = case.model();
    fs::remove_file(case.folder.at("model.bin")).unwrap();
    case.folder.fifo("model.bin");
    assert_eq!(weighbridge_testkit::in_time(move || code_of(model.file(0))), 5104);
}

#[cfg(unix)]
#[test]
fn a_file_whose_name_is_something_else_since_it_was_opened_is_refused() {
    type Change = fn(&Folder);
    let changes: [(&str, Change); 4] = [
        ("a FIFO", |folder| folder.fifo("sub/a")),
        ("a folder", |folder| fs::create_dir(folder.at("sub/a")).unwrap()),
        ("a link to itself", |folder| folder.link("sub/a", "a")),
        ("in what is no folder any more", |folder| {
            fs::remove_dir(folder.at("sub")).unwrap();
            folder.write("sub", b"file");
        }),
    ];
    for (what, change) in changes {
        let files = [("sub/a", bytes(2 * UNIT, 1))];
        let (signed, folder) = (Draft::of(&files, ChunkSize::MIN).sign(), Folder::of(&files));
        let model = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
        model.read_at(0, 0, &mut [0; 2 * UNIT]).unwrap();
        fs::remove_file(folder.at("sub/a")).unwrap();
        change(&folder);
        let mut found = [BEFORE; UNIT];
        assert_eq!(model.read_at(0, 0, &mut found).unwrap_err().error_code().get(), 2106, "{what}");
        assert_eq!(found, [BEFORE; UNIT], "{what}");
    }
}

#[test]
fn a_file_that_cannot_be_had_is_refused_when_it_is_touched_and_the_others_are_not() {
    let files = ["a", "b", "c", "d"].map(|path| (path, bytes(2 * UNIT + 1, path.as_bytes()[0])));
    let draft = Draft::of(&files, ChunkSize::MIN);
    let signed = draft.sign();
    let folder = Folder::of(&files[1..]);
    folder.alter("c", |bytes| bytes.truncate(5));
    let open = |metadata: &Metadata| ModelView::open(folder.path(), metadata, signed.files.clone());
    let model = open(&signed.metadata).unwrap();
    assert_eq!(code_of(model.file(0)), 2104);
    assert_eq!(code_of(model.file(2)), 2103);
    assert_eq!(code_of(model.file(4)), 9999);
    model.read_at(1, 7, &mut [0; UNIT]).unwrap();
    // A file may be completed later, as long as the walk found it.
    folder.write("c", &files[2].1);
    model.read_at(2, 7, &mut [0; UNIT]).unwrap();

    // The layer of the first file is replaced by that of another file.
    let mut lie = draft.layers.clone();
    lie[..96].copy_from_slice(&draft.layers[96..192]);
    signed.folder.write("chunks.layer", &lie);
    folder.write("a", &files[0].1);
    let model = open(&signed.metadata).unwrap();
    assert_eq!(code_of(model.file(0)), 2202);
    model.read_at(3, 7, &mut [0; UNIT]).unwrap();
    // Layers of another length, and no layers at all.
    signed.folder.write("chunks.layer", &lie[1..]);
    assert_eq!(open(&signed.metadata).unwrap_err().error_code().get(), 2201);
    fs::remove_file(signed.folder.at("chunks.layer")).unwrap();
    assert_eq!(code_of(open(&signed.metadata).unwrap().file(0)), 9106);
    let nowhere = ModelView::open(&folder.at("nothing"), &signed.metadata, signed.files.clone());
    assert_eq!(nowhere.unwrap_err().error_code().get(), 9002);
}

#[cfg(unix)]
#[test]
fn links_and_special_files_are_those_of_a_model_folder() {
    let files = ["a", "fifo", "in", "out", "to"].map(|path| (path, bytes(UNIT + 1, path.as_bytes()[0])));
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let (folder, outside) = (Folder::new(), Folder::of(&[("out", files[3].1.clone())]));
    folder.write("blob", &files[2].1);
    folder.link("in", folder.at("blob"));
    folder.link("out", outside.at("out"));
    folder.link("a", "nothing");
    fs::create_dir(folder.at("sub")).unwrap();
    folder.link("to", "sub");
    folder.fifo("fifo");
    let model = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let codes: Vec<_> = [0, 1, 3, 4].map(|position| code_of(model.file(position))).into();
    assert_eq!(codes, [5105, 5104, 5102, 5103]);
    let mut found = vec![0; UNIT + 1];
    model.read_at(2, 0, &mut found).unwrap();
    assert_eq!(found, files[2].1);

    // `FileView::open` takes no link, and does not wait for a FIFO.
    let layer = layer(&files[1].1, ChunkSize::MIN).concat();
    let (fifo, link) = (folder.at("fifo"), folder.at("in"));
    let codes = weighbridge_testkit::in_time(move || {
        let verifier = || FileVerifier::from_layer_bytes(&signed.files, 1, &layer).unwrap();
        [fifo, link].map(|path| FileView::open(&path, verifier()).unwrap_err().error_code().get())
    });
    assert_eq!(codes, [5104, 9002]);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_elsewhere_since_the_folder_was_walked_is_not_followed() {
    let case = Case::new(UNIT + 1);
    let outside = Folder::of(&[("out", case.file.clone())]);
    let model = case.model();
    fs::remove_file(case.folder.at("model.bin")).unwrap();
    case.folder.link("model.bin", outside.at("out"));
    assert!(matches!(model.file(0), Err(ViewError::Holding(HoldingError::Io(_)))));
    // A link that takes the place of an open file is not followed either.
    let case = Case::new(UNIT + 1);
    let view = case.view();
    fs::remove_file(case.folder.at("model.bin")).unwrap();
    case.folder.link("model.bin", outside.at("out"));
    assert_eq!(read(&view, 0, 9).0.unwrap_err().error_code().get(), 2106);
}

#[test]
fn an_empty_file_is_a_view_of_nothing() {
    let case = Case::new(0);
    let view = case.view();
    view.read_at(0, &mut []).unwrap();
    assert_eq!(view.read_at(0, &mut [0]).unwrap_err().error_code().get(), 9999);
    assert!(view.verifier().is_complete());
    // Only the empty file has this root.
    assert_eq!(view.verifier().layer().root(), FileRoot::of(&[]));
}

#[test]
fn views_are_shared_between_threads_and_show_no_bytes() {
    fn shared<T: Send + Sync>(_: &T) {}
    let case = Case::of(vec![b'x'; UNIT + 1], ChunkSize::MIN);
    let (view, model) = (case.view(), case.model());
    shared(&view);
    shared(&model);
    read(&view, 0, 1).0.unwrap();
    let shown = format!("{view:?} {model:?}");
    assert!(shown.contains("model.bin") && !shown.contains("120, 120") && !shown.contains("xx"), "{shown}");
}

#[cfg(unix)]
#[test]
fn a_relative_place_is_kept_as_an_absolute_one() {
    // The working directory may have changed when the path is looked up again.
    let case = Case::new(UNIT + 1);
    let here = std::env::current_dir().unwrap();
    let up: std::path::PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(case.folder.at("model.bin").strip_prefix("/").unwrap());
    let view = FileView::open(&relative, case.verifier()).unwrap();
    assert_eq!(read(&view, 0, 9).1, case.file[..9]);
    assert!(format!("{view:?}").contains(here.to_str().unwrap()));
}

/// A view opens a file when it is first touched, which may be long after the walk.
#[cfg(unix)]
#[test]
fn a_folder_that_has_become_a_link_leads_nowhere() {
    let files = [("deep/sub/a", bytes(70_000, 1)), ("deep/sub/b", bytes(70_000, 2))];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    // The same bytes, so that the content is not the reason for the refusal.
    let (model, outside) = (Folder::of(&files), Folder::of(&files));
    let view = ModelView::open(model.path(), &signed.metadata, signed.files.clone()).unwrap();
    let mut read = [0; 100];
    view.read_at(0, 0, &mut read).unwrap();
    fs::rename(model.at("deep"), model.at("aside")).unwrap();
    model.link("deep", outside.at("deep"));
    assert!(view.read_at(1, 0, &mut read).is_err());
    fs::remove_file(model.at("deep")).unwrap();
    fs::rename(model.at("aside"), model.at("deep")).unwrap();
    view.read_at(1, 0, &mut read).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// On all cores, each chunk of the buffer has its signed bytes, what was there before, or zeros; and all of it is there if no chunk is
    /// bad.
    #[test]
    fn on_all_cores_bad_bytes_are_given_to_nobody(
        offset in 0usize..2_000_000,
        len in 0usize..4_000_000,
        flipped in proptest::collection::vec(0usize..3_000_000, 0..4),
    ) {
        let case = Case::new(3_000_000);
        let len = len.min(3_000_000 - offset);
        let mut bad = BTreeSet::new();
        for place in flipped {
            if bad.insert(place / UNIT) {
                case.overwrite(place, &[case.file[place] ^ 1]);
            }
        }
        let view = case.view();
        let mut into = vec![BEFORE; len];
        let result = view.fill_at_on_all_cores(as_u64(offset), &mut into);
        let touched = |chunk: &&usize| **chunk * UNIT < offset + len && (**chunk + 1) * UNIT > offset;
        let first = bad.iter().find(touched).filter(|_| len > 0);
        match (&result, first) {
            (Ok(()), None) => prop_assert!(into == case.file[offset..offset + len]),
            (Err(ViewError::Chunk { fault: ChunkError::Mismatch { index, .. }, .. }), Some(first)) => {
                prop_assert_eq!(*index, as_u64(*first));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        for (at, byte) in into.iter().enumerate() {
            let signed = case.file[offset + at];
            prop_assert!([signed, BEFORE, 0].contains(byte), "{}", offset + at);
            let is_bad = bad.contains(&((offset + at) / UNIT));
            prop_assert!(!is_bad || [BEFORE, 0].contains(byte), "a byte of a bad chunk");
        }
    }
}

#[test]
fn what_is_past_the_end_is_refused_on_all_cores_too() {
    let case = Case::new(3_000_000);
    let view = case.view();
    for (offset, len) in [(0, 3_000_001), (3_000_000, 1), (usize::MAX / 2, 2_000_000)] {
        let mut into = vec![BEFORE; len];
        let error = view.fill_at_on_all_cores(as_u64(offset), &mut into).unwrap_err();
        assert!(matches!(error, ViewError::PastEnd { .. }), "{error:?}");
    }
    assert!(view.fill_at_on_all_cores(3_000_000, &mut []).is_ok());
}

/// Of memory that begins with a page, whole chunks are read where they lie; other memory is filled by copies. Both have the signed
/// bytes, and nothing of a bad chunk.
#[test]
fn memory_is_filled_in_place_and_by_copies_with_the_signed_bytes_alone() {
    let case = Case::new(4 * UNIT + 7);
    for bad in [None, Some(2)] {
        if let Some(chunk) = bad {
            case.overwrite(chunk * UNIT + 9, &[!case.file[chunk * UNIT + 9]]);
        }
        for (lead, start, end) in [
            (0, 0, case.file.len()),
            (1, 0, case.file.len()),
            (4_095, 1, case.file.len()),
            (0, 5, 3 * UNIT - 1),
            (5, 5, case.file.len() - 2),
            (0, UNIT, 2 * UNIT),
            (0, 2 * UNIT, 3 * UNIT),
        ] {
            let mut memory = PageBuffer::zeroed(lead + end - start);
            memory.fill(BEFORE);
            let view = case.view();
            let result = view.fill_at(as_u64(start), &mut memory[lead..]);
            let (found, signed) = (&memory[lead..], &case.file[start..end]);
            assert!(memory[..lead].iter().all(|byte| *byte == BEFORE));
            match bad.filter(|chunk| start < (chunk + 1) * UNIT && chunk * UNIT < end) {
                None => assert!(result.is_ok() && found == signed, "{lead} {start}..{end}"),
                Some(chunk) => {
                    assert_eq!(result.unwrap_err().error_code().get(), 2102);
                    let (here, behind) = ((chunk * UNIT).saturating_sub(start), (chunk + 1) * UNIT - start);
                    assert!(found[..here] == signed[..here], "{lead} {start}..{end}");
                    let rest = &found[here..behind.min(found.len())];
                    assert!(rest.iter().all(|byte| *byte == 0) || rest.iter().all(|byte| *byte == BEFORE));
                    assert!(found[behind.min(found.len())..].iter().all(|byte| *byte == BEFORE));
                }
            }
        }
    }
}
