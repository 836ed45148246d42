//! A verifier of one file gets good and bad pieces. Its released bytes, its counts and its missing chunks are those
//! of a naive implementation.
//!
//! Input: the file's size as four bytes, least significant first; then steps of six bytes each: an action, a
//! position, and two numbers. The steps as a whole are also offered as a layer.
#![no_main]

use std::collections::BTreeSet;
use std::ops::Range;

use blake3::hazmat::HasherExt as _;
use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{
    EntryPath, Expectation, FileEntry, Head, ModelName, SignedHead, Time, TrustPolicy, VerifiedFileList,
    write_files,
};
use weighbridge_tree::{ChunkError, ChunkSize, FileRoot, head_id};
use weighbridge_verify::{FileVerifier, ModelVerifier};

const UNIT: usize = 16 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((size, steps)) = data.split_first_chunk() else { return };
    let size = u32::from_le_bytes(*size) as usize % (9 * UNIT);
    // The bytes have a period of 251, so that no two chunks are alike.
    let file: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let (list, layer) = (list(&file), layer(&file));

    let accepted = bounded(data.len(), || FileVerifier::from_layer_bytes(&list, 0, steps).is_ok());
    assert_eq!(accepted, steps == layer);
    let model = ModelVerifier::new(list.clone()).expect("no false empty file");
    assert_eq!(model.accept_layers(steps).is_ok(), steps == layer);
    assert_eq!(model.missing_layers().count(), usize::from(steps != layer && size > UNIT));
    model.accept_layers(&layer).expect("the file's own layer");

    let verifier = model.file(0).expect("its layer is accepted");
    let mut known = Known { file: &file, accepted: BTreeSet::new() };
    for step in steps.as_chunks::<6>().0.iter().take(64) {
        known.step(verifier, step);
    }
    known.compare(verifier);
    let missing = known.missing(0..known.count());
    match model.finish() {
        Ok(_) => assert!(missing.is_empty()),
        Err(incomplete) => {
            assert_eq!(incomplete.missing(), missing.len() as u64);
            assert_eq!(incomplete.run().start, missing[0]);
            known.compare(incomplete.into_verifier().file(0).expect("nothing is lost"));
        }
    }
});

/// The file, and the positions that must have been accepted by now.
struct Known<'a> {
    file: &'a [u8],
    accepted: BTreeSet<u64>,
}

impl<'a> Known<'a> {
    fn step(&mut self, verifier: &FileVerifier, [what, index, a0, a1, b0, b1]: &[u8; 6]) {
        // Some positions far outside, the others in the file or just behind it.
        let index = if *index > 250 { u64::MAX - u64::from(index % 2) } else { u64::from(index % 12) };
        let (a, b) = (u16::from_le_bytes([*a0, *a1]) as usize, u16::from_le_bytes([*b0, *b1]) as usize);
        let chunk = self.chunk(index).unwrap_or_default();
        match what % 6 {
            0 => self.offer(verifier, index, chunk),
            1 => self.offer(verifier, index, &[chunk, &vec![7; a % 3]].concat()),
            2 => {
                let mut bytes = chunk.to_vec();
                let at = a % bytes.len().max(1);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (b % 8));
                self.offer(verifier, index, &bytes);
            }
            3 => {
                // Whole chunks from any position, offered at any position.
                let from = (a % 12 * UNIT).min(self.file.len());
                let to = (from + b % 12 * UNIT).min(self.file.len());
                self.offer_run(verifier, index, &self.file[from..to]);
            }
            4 => {
                let from = (index.min(12) as usize * UNIT).min(self.file.len());
                let mut bytes = self.file[from..].to_vec();
                bytes.truncate(a * 4);
                bytes.iter_mut().skip(b * 4).take(1).for_each(|byte| *byte ^= 1);
                self.offer_run(verifier, index, &bytes);
            }
            _ => self.range(verifier, (a * 4) as u64..(b * 4) as u64),
        }
    }

    fn offer(&mut self, verifier: &FileVerifier, index: u64, bytes: &[u8]) {
        let released = verifier.accept(index, bytes);
        assert_eq!(released.is_ok(), self.chunk(index) == Some(bytes), "chunk {index}");
        if let Ok(chunk) = released {
            assert_eq!(chunk.bytes(), bytes);
            assert_eq!(chunk.range().start, index * UNIT as u64);
            self.accepted.insert(index);
        }
    }

    fn offer_run(&mut self, verifier: &FileVerifier, first: u64, bytes: &[u8]) {
        let pieces = bytes.chunks(UNIT).zip(0_u64..);
        let good =
            pieces.take_while(|(piece, nth)| self.chunk(first.saturating_add(*nth)) == Some(*piece)).count();
        let end = first.saturating_add(good as u64);
        let accepted = match verifier.accept_run(first, bytes) {
            Ok(run) => {
                assert!(!bytes.is_empty() && run.bytes() == bytes);
                Some(run)
            }
            Err(error) => {
                let (ChunkError::Mismatch { index, .. }
                | ChunkError::WrongLength { index, .. }
                | ChunkError::OutOfRange { index, .. }) = error.fault
                else {
                    panic!("{error}")
                };
                assert_eq!(index, end);
                error.accepted
            }
        };
        assert_eq!(accepted.map(|run| run.indices()), (good > 0).then_some(first..end));
        self.accepted.extend(first..end);
    }

    fn range(&self, verifier: &FileVerifier, bytes: Range<u64>) {
        let missing = verifier.missing_in(bytes.clone());
        let fits = bytes.start <= bytes.end && bytes.end <= self.file.len() as u64;
        assert_eq!(missing.is_some(), fits);
        let unit = UNIT as u64;
        let chunks = if bytes.is_empty() { 0..0 } else { bytes.start / unit..(bytes.end - 1) / unit + 1 };
        let expected = if fits { self.missing(chunks) } else { Vec::new() };
        assert!(missing.into_iter().flatten().flatten().eq(expected.iter().copied()));
        assert_eq!(verifier.has(&bytes), fits && expected.is_empty());
    }

    fn compare(&self, verifier: &FileVerifier) {
        assert!(verifier.missing().flatten().eq(self.missing(0..self.count())));
        assert_eq!(verifier.accepted(), self.accepted.len() as u64);
        let bytes: usize = self.accepted.iter().filter_map(|index| self.chunk(*index)).map(<[u8]>::len).sum();
        assert_eq!(verifier.accepted_bytes(), bytes as u64);
        assert_eq!(verifier.is_complete(), self.accepted.len() as u64 == self.count());
    }

    fn missing(&self, chunks: Range<u64>) -> Vec<u64> {
        chunks.filter(|index| !self.accepted.contains(index)).collect()
    }

    fn chunk(&self, index: u64) -> Option<&'a [u8]> {
        self.file.chunks(UNIT).nth(usize::try_from(index).ok()?)
    }

    fn count(&self) -> u64 {
        self.file.len().div_ceil(UNIT) as u64
    }
}

/// The list of a model of this file, whose head is pinned by its id.
fn list(file: &[u8]) -> VerifiedFileList {
    let path = EntryPath::parse("file").expect("a path");
    let entry = FileEntry { path, size: file.len() as u64, root: FileRoot::of(file), sha256: None };
    let files = write_files(vec![entry]).expect("a list");
    let head = Head {
        name: ModelName::parse("fuzz/model").expect("a name"),
        revision: 1,
        previous: None,
        created: Time::parse("2026-11-20T16:31:00Z").expect("a time"),
        expires: None,
        bytes: files.bytes,
        files: files.list,
        root: files.root,
        tensors: None,
        chunk_size: ChunkSize::MIN,
        ext: Vec::new(),
    };
    let text = head.to_text().expect("a head");
    let policy = TrustPolicy::new(Vec::new(), Vec::new(), vec![head_id(text.as_bytes())]).expect("a policy");
    let note = format!("{text}\n\u{2014} nobody AAAAAAE=\n");
    let head = SignedHead::parse(note.as_bytes()).expect("a note");
    let head = head.verify(&policy, &Expectation::any(), None).expect("a pinned head");
    head.open_files(files.text.as_bytes()).expect("its list")
}

fn layer(file: &[u8]) -> Vec<u8> {
    if file.len() <= UNIT {
        return Vec::new();
    }
    let starts = (0_u64..).step_by(UNIT);
    let value = |(start, chunk): (u64, &[u8])| {
        blake3::Hasher::new().set_input_offset(start).update(chunk).finalize_non_root()
    };
    starts.zip(file.chunks(UNIT)).flat_map(value).collect()
}
