//! Streams of a file: for any bytes in any splits, exactly the honest chunks before the first bad one are released, and
//! the error names the fault.

use std::{
    cell::Cell,
    convert::Infallible,
    io::{self, BufRead as _, ErrorKind, Read, Write},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    thread,
};

use proptest::{prelude::*, sample::Index};
use weighbridge_testkit::{Draft, Signed, bytes, layer};
use weighbridge_verify::{
    ChunkSink, Coded, ErrorCode, FileVerifier, LengthError, SinkError, VerifiedChunk, VerifierError,
    VerifyingReader, WholeError, WholeFile,
    manifest::{SignedProof, Wanted},
    tree::{ChunkError, ChunkSize, FileRoot},
    verify_whole,
};

const UNIT: usize = 16 << 10;

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

/// A model of one file.
struct Case {
    file: Vec<u8>,
    unit: usize,
    layer: Vec<u8>,
    signed: Signed,
}

impl Case {
    fn new(len: usize) -> Self {
        Self::of(bytes(len, 1), UNIT)
    }

    fn of(file: Vec<u8>, unit: usize) -> Self {
        let size = ChunkSize::new(as_u64(unit)).unwrap();
        let layer = layer(&file, size).concat();
        let signed = Draft::of(&[("model.bin", file.clone())], size).sign();
        Self { file, unit, layer, signed }
    }

    fn verifier(&self) -> FileVerifier {
        FileVerifier::from_layer_bytes(&self.signed.files, 0, &self.layer).unwrap()
    }

    fn count(&self) -> usize {
        self.file.len().div_ceil(self.unit)
    }

    fn chunk(&self, index: usize) -> Range<usize> {
        index * self.unit..((index + 1) * self.unit).min(self.file.len())
    }

    /// The bytes that a stream of these chunks has to release, and the fault it has to end with, found by comparing
    /// bytes.
    fn expected(&self, chunks: Range<usize>, stream: &[u8]) -> (Vec<u8>, Option<Fault>) {
        let start = self.chunk(chunks.start).start;
        let end = self.chunk(chunks.end.saturating_sub(1)).end.min(self.file.len());
        for index in chunks {
            let chunk = self.chunk(index);
            let good = self.file[start..chunk.start].to_vec();
            let Some(found) = stream.get(chunk.start - start..chunk.end - start) else {
                let at = as_u64(start + stream.len());
                return (good, Some(Fault::Length(LengthError::EndsEarly { at, end: as_u64(end) })));
            };
            if found != &self.file[chunk.clone()] {
                let range = as_u64(chunk.start)..as_u64(chunk.end);
                return (good, Some(Fault::Chunk(ChunkError::Mismatch { index: as_u64(index), range })));
            }
        }
        let goes_on = (stream.len() > end - start).then(|| LengthError::GoesOn { end: as_u64(end) });
        (self.file[start..end].to_vec(), goes_on.map(Fault::Length))
    }

    /// The file itself, and streams that differ from it at every chunk boundary.
    fn streams(&self) -> Vec<Vec<u8>> {
        let Self { file, .. } = self;
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut stream = file.clone();
            change(&mut stream);
            stream
        };
        let mut streams =
            vec![file.clone(), [&file[..], &[0]].concat(), [&file[..], file].concat(), Vec::new()];
        streams.push([&file[..], &bytes(self.unit, 9)].concat());
        for index in 0..self.count() {
            let chunk = self.chunk(index);
            // Flip a bit in the first, the middle and the last byte of a chunk.
            for at in [chunk.start, (chunk.start + chunk.end) / 2, chunk.end - 1] {
                streams.push(changed(&|stream| stream[at] ^= 1));
            }
            // Cut the file before a chunk and inside it.
            for at in [chunk.start, chunk.start + 1, chunk.end - 1] {
                streams.push(file[..at].to_vec());
            }
            // Fill the chunk with zeros.
            streams.push(changed(&|stream| stream[chunk.clone()].fill(0)));
            // Insert a byte, remove a byte, or remove a whole chunk: the rest is shifted.
            streams.push(changed(&|stream| stream.insert(chunk.start, 7)));
            streams.push(changed(&|stream| _ = stream.remove(chunk.start)));
            streams.push(changed(&|stream| _ = stream.drain(chunk.clone())));
            // Repeat the chunk.
            streams.push([&file[..chunk.end], &file[chunk.start..]].concat());
            // Swap the chunk with each earlier one.
            for other in 0..index {
                let other = self.chunk(other);
                let between = &file[other.end..chunk.start];
                let parts =
                    [&file[..other.start], &file[chunk.clone()], between, &file[other], &file[chunk.end..]];
                streams.push(parts.concat());
            }
        }
        streams
    }
}

/// The reason why a stream was refused.
#[derive(Clone, Debug, PartialEq)]
enum Fault {
    Chunk(ChunkError),
    Length(LengthError),
}

impl Fault {
    /// The fault in an `io::Error`, whose kind has to match.
    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().unwrap();
        if let Some(fault) = inner.downcast_ref::<ChunkError>() {
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            return Self::Chunk(fault.clone());
        }
        let fault = inner.downcast_ref::<LengthError>().unwrap();
        let early = matches!(fault, LengthError::EndsEarly { .. });
        assert_eq!(error.kind(), if early { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData });
        Self::Length(fault.clone())
    }

    fn code(&self) -> u16 {
        match self {
            Self::Chunk(fault) => fault.error_code().get(),
            Self::Length(fault) => fault.error_code().get(),
        }
    }
}

/// Gives at most this many bytes at a time; the sizes take turns.
struct Splits<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl<'a> Splits<'a> {
    fn new(rest: &'a [u8], sizes: &'a [usize]) -> Self {
        Self { rest, sizes: sizes.iter().cycle() }
    }
}

impl Read for Splits<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(*self.sizes.next().unwrap());
        self.rest.read(&mut into[..len])
    }
}

impl<'a> Iterator for Splits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (now, rest) = self.rest.split_at(self.rest.len().min(*self.sizes.next()?));
        self.rest = rest;
        (!now.is_empty()).then_some(now)
    }
}

/// The bytes that a verifying reader releases to reads of these sizes, and the fault at its end.
fn read(mut reader: impl Read, sizes: &[usize]) -> (Vec<u8>, Option<Fault>) {
    let mut released = Vec::new();
    let mut buffer = vec![0; sizes.iter().copied().max().unwrap()];
    for size in sizes.iter().cycle() {
        match reader.read(&mut buffer[..*size]) {
            Ok(0) => {
                assert_eq!(reader.read(&mut buffer).unwrap(), 0, "the end is the end");
                return (released, None);
            }
            Ok(read) => released.extend(&buffer[..read]),
            Err(error) => {
                let again = reader.read(&mut buffer).unwrap_err();
                assert_eq!(again.kind(), error.kind());
                assert_eq!(Fault::of(&again), Fault::of(&error), "a refusal stays one");
                return (released, Some(Fault::of(&error)));
            }
        }
    }
    unreachable!("sizes are cycled")
}

/// The bytes that a sink releases, and the fault at its end.
fn sink<'v>(
    verifier: &'v FileVerifier,
    chunks: Range<usize>,
    stream: Splits<'_>,
) -> (Vec<u8>, Option<Fault>) {
    let mut released = Vec::new();
    let mut next = as_u64(chunks.start);
    let handler = |chunk: VerifiedChunk<'_>| {
        assert_eq!(chunk.index(), next);
        assert!(verifier.is_accepted(next));
        next += 1;
        released.extend(chunk.bytes());
        Ok::<_, Infallible>(())
    };
    let whole = chunks == (0..usize::try_from(verifier.count()).unwrap());
    let mut sink: ChunkSink<&'v FileVerifier, _> = if whole {
        ChunkSink::new(verifier, handler)
    } else {
        ChunkSink::of_run(verifier, as_u64(chunks.start)..as_u64(chunks.end), handler).unwrap()
    };
    let mut refused = Ok(());
    for piece in stream {
        refused = sink.push(piece);
        if refused.is_err() {
            assert_eq!(sink.push(&[]), Err(SinkError::Stopped));
            assert_eq!(sink.push(piece), Err(SinkError::Stopped));
            break;
        }
    }
    let ended_at = sink.next();
    let refused = match refused {
        Ok(()) => sink.finish(),
        Err(error) => {
            assert_eq!(sink.finish(), Err(SinkError::Stopped));
            Err(error)
        }
    };
    assert_eq!(ended_at, next, "the next chunk is the first that was not handed on");
    let fault = refused.err().map(|error| match error {
        SinkError::Chunk(fault) => Fault::Chunk(fault),
        SinkError::Length(fault) => Fault::Length(fault),
        other => panic!("{other:?}"),
    });
    (released, fault)
}

fn expect_same(found: &(Vec<u8>, Option<Fault>), expected: &(Vec<u8>, Option<Fault>)) {
    assert_eq!(found.1, expected.1);
    // Compare hashes: a failure would print all bytes.
    assert_eq!(blake3::hash(&found.0), blake3::hash(&expected.0), "{:?}", expected.1);
}

/// Lengths of 0, of 1, around one and two chunks, and with other tree shapes.
const LENGTHS: [usize; 10] =
    [0, 1, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, 2 * UNIT + 1, 3 * UNIT, 5 * UNIT - 1, 7 * UNIT + 5];

#[test]
fn a_reader_releases_the_honest_chunks_before_the_first_bad_one() {
    for len in LENGTHS {
        let case = Case::new(len);
        for stream in case.streams() {
            let expected = case.expected(0..case.count(), &stream);
            for sizes in [&[usize::MAX][..], &[1000, 1, 40_000], &[UNIT]] {
                let verifier = case.verifier();
                let reader = VerifyingReader::new(&verifier, Splits::new(&stream, sizes));
                expect_same(&read(reader, &[UNIT / 3]), &expected);
                assert_eq!(verifier.accepted_bytes(), as_u64(expected.0.len()));
                let complete = expected.0.len() == case.file.len();
                assert_eq!(verifier.finish().is_ok(), complete, "all chunks, though more may follow");
            }
        }
    }
}

#[test]
fn a_sink_hands_on_the_honest_chunks_before_the_first_bad_one() {
    for len in LENGTHS {
        let case = Case::new(len);
        for stream in case.streams() {
            let expected = case.expected(0..case.count(), &stream);
            for sizes in [&[usize::MAX][..], &[1000, 1, 40_000], &[UNIT]] {
                let verifier = case.verifier();
                expect_same(&sink(&verifier, 0..case.count(), Splits::new(&stream, sizes)), &expected);
                assert_eq!(verifier.accepted_bytes(), as_u64(expected.0.len()));
            }
        }
    }
}

#[test]
fn errors_name_the_chunk_or_the_end() {
    let case = Case::new(3 * UNIT + 5);
    let mut flipped = case.file.clone();
    flipped[UNIT + 3] ^= 1;
    let long = [&case.file[..], &[0]].concat();
    for (stream, kind, code, text) in [
        (
            &flipped[..],
            ErrorKind::InvalidData,
            2102,
            "chunk 1 (bytes 16384..32768) does not match the signed root",
        ),
        (&long, ErrorKind::InvalidData, 2103, "the stream goes on behind byte 49157, where it has to end"),
        (
            &case.file[..20_000],
            ErrorKind::UnexpectedEof,
            2103,
            "the stream ends at byte 20000, expected up to byte 49157",
        ),
    ] {
        let verifier = case.verifier();
        let error = VerifyingReader::new(&verifier, stream).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        assert_eq!(Fault::of(&error).code(), code);

        let mut sink = ChunkSink::new(&verifier, |_| Ok(()));
        let error = io::copy(&mut &stream[..], &mut sink).err().or_else(|| {
            let SinkError::Length(fault) = sink.finish().unwrap_err() else { panic!("{text}") };
            Some(fault.into())
        });
        let error = error.unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        assert_eq!(Fault::of(&error).code(), code);
    }
}

#[test]
fn a_run_of_chunks_begins_and_ends_where_it_was_said_to() {
    let case = Case::new(5 * UNIT + 9);
    for chunks in (0..6).flat_map(|start| (start + 1..=6).map(move |end| start..end)) {
        let verifier = case.verifier();
        let run = as_u64(chunks.start)..as_u64(chunks.end);
        let from = chunks.start * UNIT;
        let to = (chunks.end * UNIT).min(case.file.len());
        // The honest run, the run and the bytes behind it, a part of the run, and other bytes of the same length.
        let shifted = case.file[from / 2..].get(..to - from).unwrap_or_default();
        for stream in [&case.file[from..to], &case.file[from..], &case.file[from..to - 1], shifted, &[]] {
            let expected = case.expected(chunks.clone(), stream);
            let reader = VerifyingReader::of_run(&verifier, run.clone(), stream).unwrap();
            expect_same(&read(reader, &[5000]), &expected);
            expect_same(&sink(&verifier, chunks.clone(), Splits::new(stream, &[7000])), &expected);
        }
    }
}

#[test]
fn a_run_that_the_file_does_not_have_is_refused() {
    let runs = [0..0, 2..2, 3..3, 0..4, 3..4, Range { start: 2, end: 1 }, 0..u64::MAX, u64::MAX..u64::MAX];
    for (len, runs) in [(2 * UNIT + 1, &runs[..]), (0, &[0..0, 0..1])] {
        let verifier = Case::new(len).verifier();
        for run in runs {
            let error = VerifyingReader::of_run(&verifier, run.clone(), &[][..]).unwrap_err();
            assert_eq!((error.error_code().get(), &error.chunks, error.count), (9999, run, verifier.count()));
            let handler = |_: VerifiedChunk<'_>| Ok::<_, Infallible>(());
            assert_eq!(ChunkSink::of_run(&verifier, run.clone(), handler).unwrap_err(), error);
        }
    }
    let verifier = Case::new(2 * UNIT + 1).verifier();
    let error = VerifyingReader::of_run(&verifier, 3..4, &[][..]).unwrap_err();
    assert_eq!(error.to_string(), "API misuse: 3..4 is no run of chunks of a file of 3");
}

#[test]
fn threads_complete_one_file_from_several_readers_and_sinks() {
    let case = Case::new(40 * UNIT + 3);
    let verifier = Arc::new(case.verifier());
    let released = Mutex::new(vec![0; case.file.len()]);
    thread::scope(|scope| {
        for at in 0..8 {
            let (verifier, released, case) = (Arc::clone(&verifier), &released, &case);
            scope.spawn(move || {
                // 5 chunks for each run, and 6 for the last.
                let chunks = at * 5..if at == 7 { 41 } else { at * 5 + 5 };
                let bytes = chunks.start * UNIT..(chunks.end * UNIT).min(case.file.len());
                let run = as_u64(chunks.start)..as_u64(chunks.end);
                let mut stream = &case.file[bytes.clone()];
                if at % 2 == 0 {
                    let mut reader = VerifyingReader::of_run(verifier, run, stream).unwrap();
                    let mut found = Vec::new();
                    reader.read_to_end(&mut found).unwrap();
                    released.lock().unwrap()[bytes].copy_from_slice(&found);
                } else {
                    let mut sink = ChunkSink::of_run(verifier, run, |chunk: VerifiedChunk<'_>| {
                        let start = usize::try_from(chunk.range().start).unwrap();
                        released.lock().unwrap()[start..][..chunk.bytes().len()]
                            .copy_from_slice(chunk.bytes());
                        Ok(())
                    });
                    io::copy(&mut stream, sink.as_mut().unwrap()).unwrap();
                    sink.unwrap().finish().unwrap();
                }
            });
        }
    });
    assert_eq!(FileRoot::of(&released.into_inner().unwrap()), FileRoot::of(&case.file));
    assert!(verifier.is_complete());
}

/// A reader that fails once at each of these places of a stream.
struct Broken<'a> {
    stream: &'a [u8],
    at: usize,
    errors: Vec<(usize, ErrorKind)>,
}

impl Read for Broken<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let next = self.errors.first().copied();
        if let Some((_, kind)) = next.filter(|(at, _)| *at == self.at) {
            self.errors.remove(0);
            return Err(kind.into());
        }
        let until = next.map_or(self.stream.len(), |(at, _)| at);
        let read = (&self.stream[self.at..until]).read(into)?;
        self.at += read;
        Ok(read)
    }
}

#[test]
fn an_error_of_the_reader_below_loses_nothing() {
    let case = Case::new(3 * UNIT + 5);
    let all = case.file.len();
    use ErrorKind::{ConnectionReset, Interrupted, WouldBlock};
    let errors =
        [(0, WouldBlock), (9, Interrupted), (9, WouldBlock), (UNIT, ConnectionReset), (all, WouldBlock)];
    let verifier = case.verifier();
    let mut reader =
        VerifyingReader::new(&verifier, Broken { stream: &case.file, at: 0, errors: errors.to_vec() });
    let mut released = Vec::new();
    let mut seen = Vec::new();
    while let Err(error) = reader.read_to_end(&mut released) {
        seen.push(error.kind());
        assert!(released.len() % UNIT == 0 || released.len() == all, "whole chunks alone");
    }
    assert_eq!(seen, [WouldBlock, WouldBlock, ConnectionReset, WouldBlock]);
    assert_eq!(blake3::hash(&released), blake3::hash(&case.file));
}

#[test]
fn a_panic_below_releases_nothing_and_stops_what_cannot_go_on() {
    /// Panics once, in the middle of a chunk; `takes` says whether the panic loses a byte.
    struct Panics<'a> {
        stream: &'a [u8],
        takes: bool,
        done: bool,
    }
    impl Read for Panics<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.stream.len() < UNIT / 2 && !self.done {
                self.done = true;
                self.stream = &self.stream[usize::from(self.takes)..];
                panic!("on purpose");
            }
            let len = into.len().min(100);
            self.stream.read(&mut into[..len])
        }
    }
    let case = Case::new(2 * UNIT);
    for takes in [false, true] {
        let verifier = case.verifier();
        let below = Panics { stream: &case.file, takes, done: false };
        let mut reader = VerifyingReader::new(&verifier, below);
        let mut released = Vec::new();
        assert!(catch_unwind(AssertUnwindSafe(|| reader.read_to_end(&mut released))).is_err());
        assert_eq!((reader.next(), verifier.accepted()), (1, 1));
        let mut rest = Vec::new();
        let result = reader.read_to_end(&mut rest);
        if takes {
            assert_eq!(Fault::of(&result.unwrap_err()).code(), 2103, "a byte is missing");
            assert!(rest.is_empty());
        } else {
            result.unwrap();
            assert!(rest == case.file[UNIT..]);
        }
    }

    struct Torn;
    impl Write for Torn {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("on purpose");
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut whole = WholeFile::new(&case.signed.files, 0, Torn).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| whole.push(&case.file))).is_err());
    assert!(matches!(whole.push(&case.file), Err(WholeError::Stopped)));
    assert!(matches!(whole.finish(), Err(WholeError::Stopped)));
}

#[test]
fn the_end_is_looked_for_once() {
    // A source that ends, and then gives another byte.
    struct Undecided<'a>(&'a [u8], usize);
    impl Read for Undecided<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                self.1 += 1;
                return Ok(usize::from(self.1 > 1));
            }
            self.0.read(into)
        }
    }
    let case = Case::new(UNIT + 1);
    let verifier = case.verifier();
    let mut reader = VerifyingReader::new(&verifier, Undecided(&case.file, 0));
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), UNIT + 1);
    for _ in 0..3 {
        assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
    }
    assert_eq!(reader.into_inner().1, 1);
}

#[test]
fn a_reader_that_lies_about_how_much_it_read_gets_nothing_released() {
    struct Liar;
    impl Read for Liar {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(usize::MAX)
        }
    }
    let case = Case::new(2 * UNIT + 5);
    let verifier = case.verifier();
    let (released, fault) = read(VerifyingReader::new(&verifier, Liar), &[99]);
    assert!(released.is_empty());
    assert_eq!(fault.unwrap().code(), 2102);
    assert_eq!(
        WholeFile::new(&case.signed.files, 0, Vec::new())
            .unwrap()
            .take_all(Liar)
            .unwrap_err()
            .error_code()
            .get(),
        2103
    );
}

#[test]
fn a_reader_reads_one_chunk_ahead_at_most() {
    struct Counted<'a>(&'a [u8], &'a Cell<usize>, &'a Cell<usize>);
    impl Read for Counted<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(into)?;
            self.1.set(self.1.get() + read);
            self.2.set(self.2.get().max(into.len()));
            Ok(read)
        }
    }
    let case = Case::new(4 * UNIT);
    let verifier = case.verifier();
    let (consumed, most) = (Cell::new(0), Cell::new(0));
    let mut reader = VerifyingReader::new(&verifier, Counted(&case.file, &consumed, &most));
    assert_eq!((reader.next(), consumed.get()), (0, 0), "nothing before it is asked for");
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    assert_eq!(consumed.get(), 0);
    for read in 1..=2 * UNIT {
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(consumed.get(), read.div_ceil(UNIT) * UNIT);
        assert_eq!(reader.next(), as_u64(read.div_ceil(UNIT)));
    }
    assert_eq!(most.get(), UNIT);
    // The reader lends only the unread bytes of an accepted chunk.
    assert_eq!(reader.fill_buf().unwrap(), &case.file[2 * UNIT..3 * UNIT]);
    reader.consume(UNIT - 1);
    assert_eq!(reader.fill_buf().unwrap(), &case.file[3 * UNIT - 1..3 * UNIT]);
    reader.consume(usize::MAX);
    assert_eq!(reader.fill_buf().unwrap(), &case.file[3 * UNIT..]);
    reader.consume(UNIT);
    assert_eq!(reader.fill_buf().unwrap(), &[0; 0]);
    reader.consume(1);
    assert_eq!(reader.fill_buf().unwrap(), &[0; 0]);
    assert_eq!(reader.into_inner().0, &[0; 0]);
}

#[test]
fn a_chunk_that_lies_in_the_pushed_bytes_is_not_copied() {
    let case = Case::new(4 * UNIT + 5);
    let verifier = case.verifier();
    let places = Mutex::new(Vec::new());
    let mut sink = ChunkSink::new(&verifier, |chunk: VerifiedChunk<'_>| {
        places.lock().unwrap().push(case.file.as_ptr_range().contains(&chunk.bytes().as_ptr()));
        Ok::<_, Infallible>(())
    });
    // Chunk 0 whole; chunk 1 in two pieces, the second together with chunk 2 and a part of chunk 3; then the rest.
    for piece in [0..UNIT, UNIT..UNIT + 1, UNIT + 1..3 * UNIT + 7, 3 * UNIT + 7..4 * UNIT + 5] {
        sink.push(&case.file[piece]).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(places.into_inner().unwrap(), [true, false, true, false, true]);
}

#[test]
fn a_handler_that_fails_or_panics_stops_the_sink() {
    let case = Case::new(4 * UNIT);
    for panics in [false, true] {
        let verifier = case.verifier();
        let handed_on = Cell::new(0);
        let mut sink = ChunkSink::new(&verifier, |chunk: VerifiedChunk<'_>| {
            assert!(!panics || chunk.index() < 2, "on purpose");
            if chunk.index() == 2 {
                return Err("disk full");
            }
            handed_on.set(handed_on.get() + 1);
            Ok(())
        });
        match catch_unwind(AssertUnwindSafe(|| sink.push(&case.file))) {
            Ok(result) => {
                let error = result.unwrap_err();
                assert_eq!((error.error_code(), error.to_string().as_str()), (None, "disk full"));
                assert_eq!(error, SinkError::Handler("disk full"));
            }
            Err(_) => assert!(panics),
        }
        let error = sink.push(&case.file).unwrap_err();
        assert_eq!(error.error_code().map(ErrorCode::get), Some(9999));
        assert_eq!(error.to_string(), "API misuse: the sink has refused already");
        assert_eq!((sink.next(), handed_on.get()), (2, 2));
        assert_eq!(sink.finish(), Err(SinkError::Stopped));
        // The chunk was accepted although its handler failed; another sink continues from it.
        assert_eq!(verifier.accepted(), 3);
        let mut sink = ChunkSink::of_run(&verifier, 2..4, |_| Ok::<_, Infallible>(())).unwrap();
        sink.push(&case.file[2 * UNIT..]).unwrap();
        sink.finish().unwrap();
        assert!(verifier.is_complete());
    }
}

#[test]
fn as_a_writer_a_sink_gives_the_errors_of_its_handler() {
    let case = Case::new(2 * UNIT);
    let verifier = case.verifier();
    let mut sink = ChunkSink::new(&verifier, |_| Err(ErrorKind::StorageFull.into()));
    assert_eq!(sink.write(&case.file).unwrap_err().kind(), ErrorKind::StorageFull);
    let error = sink.write(&case.file).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Other, "API misuse: the sink has refused already")
    );
    assert_eq!(
        SinkError::<io::Error>::Length(LengthError::GoesOn { end: 1 }).error_code().map(ErrorCode::get),
        Some(2103)
    );
    let mut sink = ChunkSink::new(&verifier, |_| Ok(()));
    assert_eq!(sink.write(&case.file).unwrap(), 2 * UNIT);
    sink.flush().unwrap();
}

/// Callers such as `write_all` retry interrupted writes. The sink had stopped by then, and reported misuse.
#[test]
fn an_interrupted_handler_is_an_error_of_the_handler_and_not_tried_again() {
    let case = Case::new(2 * UNIT);
    let verifier = case.verifier();
    let calls = Cell::new(0);
    let mut sink = ChunkSink::new(&verifier, |_| {
        calls.set(calls.get() + 1);
        Err(ErrorKind::Interrupted.into())
    });
    let error = sink.write_all(&case.file).unwrap_err();
    assert_eq!((error.kind(), calls.get()), (ErrorKind::Other, 1));
    let inner = error.into_inner().unwrap().downcast::<io::Error>().unwrap();
    assert_eq!(inner.kind(), ErrorKind::Interrupted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_stream_in_any_splits_is_released_up_to_its_first_bad_chunk(
        len in 0..9 * UNIT,
        unit in prop::sample::select(vec![UNIT, 2 * UNIT, 4 * UNIT]),
        which in any::<Index>(),
        splits in prop::collection::vec(1..3 * UNIT, 1..6),
        sizes in prop::collection::vec(1..3 * UNIT, 1..6),
        from in any::<Index>(),
    ) {
        let case = Case::of(bytes(len, 1), unit);
        let streams = case.streams();
        let stream = which.get(&streams);
        let chunks = if len == 0 { 0..0 } else { from.index(case.count())..case.count() };
        let stream = stream.get(chunks.start * unit..).unwrap_or_default();
        let expected = case.expected(chunks.clone(), stream);
        let verifier = case.verifier();
        let below = Splits::new(stream, &splits);
        if len == 0 {
            expect_same(&read(VerifyingReader::new(&verifier, below), &sizes), &expected);
        } else {
            let run = as_u64(chunks.start)..as_u64(chunks.end);
            expect_same(&read(VerifyingReader::of_run(&verifier, run, below).unwrap(), &sizes), &expected);
        }
        expect_same(&sink(&verifier, chunks, Splits::new(stream, &splits)), &expected);
        prop_assert_eq!(verifier.accepted_bytes(), as_u64(expected.0.len()));
    }
}

/// Lengths around the pieces in which a whole file is hashed.
const PIECE: usize = 256 << 10;
const WHOLE: [usize; 8] = [0, 1, UNIT + 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 7];

#[test]
fn a_file_without_a_layer_is_verified_as_a_whole() {
    for len in WHOLE {
        let case = Case::new(len);
        for splits in [&[usize::MAX][..], &[1000, 1, 400_000], &[PIECE]] {
            let mut quarantine = Vec::new();
            let source = Splits::new(&case.file, splits);
            let file = verify_whole(&case.signed.files, 0, source, &mut quarantine).unwrap();
            assert_eq!(file.root(), FileRoot::of(&quarantine));
            assert_eq!((file.position(), file.path().as_str(), file.size()), (0, "model.bin", as_u64(len)));

            let mut quarantine = Vec::new();
            let mut whole = WholeFile::new(&case.signed.files, 0, &mut quarantine).unwrap();
            Splits::new(&case.file, splits).for_each(|piece| whole.push(piece).unwrap());
            assert_eq!(whole.finish().unwrap(), file);
            assert_eq!(blake3::hash(&quarantine), blake3::hash(&case.file));
        }
    }
}

#[test]
fn a_whole_file_that_is_not_the_signed_one_gives_no_proof() {
    for len in [0, 1, 3 * UNIT + 1, 2 * PIECE + UNIT] {
        let case = Case::new(len);
        for stream in case.streams().into_iter().filter(|stream| *stream != case.file) {
            let mut quarantine = Vec::new();
            let error = verify_whole(&case.signed.files, 0, &stream[..], &mut quarantine).unwrap_err();
            match (&error, stream.len()) {
                (WholeError::Mismatch { expected }, found) if found == len => {
                    assert_eq!((error.error_code().get(), *expected), (2101, FileRoot::of(&case.file)));
                    assert_eq!(error.to_string(), "data does not match the signed root");
                }
                (WholeError::Length(LengthError::EndsEarly { at, end }), found) if found < len => {
                    assert_eq!((error.error_code().get(), *at, *end), (2103, as_u64(found), as_u64(len)));
                }
                (WholeError::Length(LengthError::GoesOn { end }), found) if found > len => {
                    assert_eq!((error.error_code().get(), *end), (2103, as_u64(len)));
                }
                _ => panic!("{error:?}"),
            }
            assert!(quarantine.len() <= len, "no more than is signed for");
        }
    }
}

#[test]
fn a_whole_file_that_never_ends_is_refused() {
    let case = Case::new(PIECE + 3);
    let mut quarantine = Vec::new();
    let error = verify_whole(&case.signed.files, 0, io::repeat(1), &mut quarantine).unwrap_err();
    assert_eq!((error.error_code().get(), quarantine.len()), (2103, PIECE + 3));
}

#[test]
fn what_cannot_be_read_or_put_aside_is_no_verdict() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct NotFlushed;
    impl Write for NotFlushed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(ErrorKind::StorageFull.into())
        }
    }
    let case = Case::new(UNIT);
    let files = &case.signed.files;
    for error in [
        verify_whole(files, 0, &case.file[..], Full).unwrap_err(),
        verify_whole(files, 0, &case.file[..], NotFlushed).unwrap_err(),
    ] {
        assert!(matches!(error, WholeError::Quarantine(_)));
        assert_eq!(error.error_code().get(), 9002);
        assert!(error.to_string().starts_with("cannot write to the quarantine: "), "{error}");
    }
    let broken = Broken { stream: &case.file, at: 0, errors: vec![(9, ErrorKind::ConnectionReset)] };
    let error = verify_whole(files, 0, broken, io::sink()).unwrap_err();
    assert!(matches!(error, WholeError::Source(_)));
    assert_eq!(error.error_code().get(), 9002);
    assert!(error.to_string().starts_with("cannot read the source: "), "{error}");

    // An interrupted read is repeated.
    let interrupted = Broken { stream: &case.file, at: 0, errors: vec![(9, ErrorKind::Interrupted)] };
    let _ = verify_whole(files, 0, interrupted, io::sink()).unwrap();

    let mut whole = WholeFile::new(files, 0, Full).unwrap();
    whole.push(&case.file).unwrap_err();
    let error = whole.push(&case.file).unwrap_err();
    assert_eq!(
        (error.error_code().get(), error.to_string().as_str()),
        (9999, "API misuse: the file was refused already")
    );
    assert!(matches!(whole.finish(), Err(WholeError::Stopped)));

    let error = verify_whole(files, 1, &case.file[..], io::sink()).unwrap_err();
    assert!(matches!(error, WholeError::Entry(VerifierError::NotWanted { position: 1 })));
    assert_eq!(error.error_code().get(), 9999);
}

#[test]
fn a_file_that_a_proof_shows_is_verified_without_list_or_layer() {
    let files = [("a", bytes(UNIT + 1, 1)), ("b", bytes(PIECE + 1, 2))];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let note = signed.metadata.note().unwrap();
    let proof = Wanted::of(&signed.files, None).file("b").unwrap().prove(&note).unwrap();
    let proven = SignedProof::parse(proof.as_bytes()).unwrap().under(&signed.head).unwrap();
    let file = WholeFile::of_proven(&proven, 1, io::sink()).unwrap().take_all(&files[1].1[..]).unwrap();
    assert_eq!((file.path().as_str(), file.root()), ("b", FileRoot::of(&files[1].1)));
    let error = WholeFile::of_proven(&proven, 1, io::sink()).unwrap().take_all(&files[0].1[..]).unwrap_err();
    assert_eq!(error.error_code().get(), 2103);
    assert_eq!(
        WholeFile::of_proven(&proven, 0, io::sink()).unwrap_err(),
        VerifierError::NotWanted { position: 0 }
    );
}

#[test]
fn adapters_show_what_they_are_at_and_no_bytes() {
    let case = Case::of(vec![b'x'; 2 * UNIT], UNIT);
    let verifier = case.verifier();
    let mut reader = VerifyingReader::new(&verifier, &case.file[..]);
    reader.read_exact(&mut [0]).unwrap();
    let mut sink = ChunkSink::new(&verifier, |_| Ok::<_, Infallible>(()));
    sink.push(&case.file[..9]).unwrap();
    let whole = WholeFile::new(&case.signed.files, 0, io::sink()).unwrap();
    for shown in [format!("{reader:?}"), format!("{sink:?}"), format!("{whole:?}")] {
        assert!(shown.contains("model.bin"), "{shown}");
        assert!(!shown.contains("120, 120") && !shown.contains("xx"), "{shown}");
    }
}
