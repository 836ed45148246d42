//! The reference implementation in Python and this one reach the same verdicts on proofs, slices and answers made
//! here, and on altered ones. The verdicts of both sides are compared by vectors that are written for one run.

mod policies;

use std::{fmt::Write as _, fs, ops::Range, process::Command};

use tempfile::TempDir;
use weighbridge_formats::{
    Format, Parsed,
    generate_gguf::{Gguf, Variant, Version},
    parse,
};
use weighbridge_manifest::{
    Challenge, Dtype, EntryPath, Expectation, FileEntry, Head, ModelName, SignedChallenge, SignedHead,
    SignedProof, TensorEntry, TensorName, Time, TrustPolicy, VerifiedFileList, VerifiedTensorList, Wanted,
    write_files, write_tensors,
};
use weighbridge_publish::sign_challenge;
use weighbridge_tree::{
    ChunkSize, Coded, FileRoot, Grid, Layer, Nonce, SliceDecoder, SliceRange, Slicer, TensorHash,
    check_slice, head_id,
};
use weighbridge_verify::{Answered, Holding, UnsignedResponse};

use crate::command::kit::{World, root};

/// The vectors of one run, for the reference to judge.
struct Vectors {
    folder: TempDir,
    count: usize,
}

impl Vectors {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), count: 0 }
    }

    fn add(
        &mut self,
        test: &str,
        verdict: Result<(), u16>,
        keys: &[(&str, String)],
        sections: &[(&str, &[u8])],
    ) {
        let verdict = match verdict {
            Ok(()) => "expect: accepted".to_owned(),
            Err(code) => format!("expect: refused\ncode: {code}"),
        };
        let mut header = format!("test: {test}\n{verdict}\n");
        for (key, value) in keys {
            writeln!(header, "{key}: {value}").unwrap();
        }
        let mut vector = [header.as_bytes(), b"\n"].concat();
        for (name, bytes) in sections {
            vector.extend(format!("--- {name} {}\n", bytes.len()).bytes());
            vector.extend_from_slice(bytes);
            vector.push(b'\n');
        }
        fs::write(self.folder.path().join(self.count.to_string()), vector).unwrap();
        self.count += 1;
    }

    #[track_caller]
    fn agree(&self) {
        let run = root().join("tests/reference/run_vectors.py");
        let output =
            Command::new("python3").arg(run).arg(self.folder.path()).output().expect("python3 is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains(&format!("{} passed, 0 failed", self.count)), "{said}");
    }
}

/// Pseudorandom numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }
}

/// The lists and bytes of a model whose head is taken as verified.
struct Model {
    text: String,
    files_text: String,
    files: VerifiedFileList,
    tensors: VerifiedTensorList,
}

const SHARD: &str = "x.safetensors";

impl Model {
    /// A model of files with these bytes, and of tensors of four bytes each, which lie in the file [`SHARD`].
    fn of(contents: &[(String, Vec<u8>)], tensors: u64) -> Self {
        let entry = |(path, bytes): &(String, Vec<u8>)| FileEntry {
            path: EntryPath::parse(path).unwrap(),
            size: bytes.len() as u64,
            root: FileRoot::of(bytes),
            sha256: None,
        };
        let tensor = |i: u64| TensorEntry {
            name: TensorName::parse(&format!("t{i:03}")).unwrap(),
            file: EntryPath::parse(SHARD).unwrap(),
            dtype: Dtype::parse("F32").unwrap(),
            shape: vec![],
            offset: 4 * i,
            size: 4,
            hash: TensorHash::of(&i.to_le_bytes()),
        };
        let written = write_files(contents.iter().map(entry).collect()).unwrap();
        let listed = write_tensors((0..tensors).map(tensor).collect()).unwrap();
        let head = Head {
            name: ModelName::parse("org/agreed").unwrap(),
            revision: 1,
            previous: None,
            created: Time::from_unix(1_800_000_000).unwrap(),
            expires: None,
            bytes: written.bytes,
            files: written.list,
            root: written.root,
            tensors: Some(listed.tensors),
            chunk_size: ChunkSize::MIN,
            ext: Vec::new(),
        };
        let text = head.to_text().unwrap();
        let signed = SignedHead::parse(note(&text).as_bytes()).unwrap();
        let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
        let head = signed.verify(&policy, &Expectation::any(), None).unwrap();
        let files = head.open_files(written.text.as_bytes()).unwrap();
        let tensors = files.open_tensors(listed.text.as_bytes()).unwrap();
        Self { text, files_text: written.text, files, tensors }
    }

    fn prove(&self, wanted: Wanted<'_>) -> Vec<u8> {
        wanted.prove(note(&self.text).as_bytes()).unwrap().into_bytes()
    }
}

/// A note whose only signature is a dummy.
fn note(text: &str) -> String {
    format!("{text}\n\u{2014} nobody AAAAAAE=\n")
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 31 + seed * 7 + i / 1024) % 251).unwrap()).collect()
}

/// Files `f000`, `f002` and so on, so that absent paths lie between them, and the tensor file behind all of them.
fn numbered(files: u64) -> Vec<(String, Vec<u8>)> {
    let numbered = (1..files).map(|i| (format!("f{:03}", 2 * i), bytes(0, 0)));
    numbered.chain([(SHARD.to_owned(), bytes(1_024, 1))]).collect()
}

#[test]
fn of_every_model_of_1_to_64_entries_both_readings_agree_on_proofs() {
    let mut numbers = Numbers(0x5eed);
    let mut vectors = Vectors::new();
    for count in 1..=64_u64 {
        let model = Model::of(&numbered(count), count);
        for round in 0..5 {
            let mut wanted = Wanted::of(&model.files, Some(&model.tensors));
            // One entry at each end in turn, then up to 16 entries of either list, then absent paths as well.
            let take = if round < 2 { 1 } else { 1 + numbers.below(count.min(16)) };
            for nth in 0..take {
                let at = match round {
                    0 => nth,
                    1 => count - 1,
                    _ => numbers.below(count),
                };
                let position = usize::try_from(at).unwrap();
                wanted = wanted.file(model.files.entries()[position].path.as_str()).unwrap();
                if round % 2 == 1 {
                    wanted = wanted.tensor(SHARD, &format!("t{at:03}")).unwrap();
                }
            }
            if round >= 3 {
                wanted = wanted.absent(&format!("f{:03}", 2 * numbers.below(count + 2) + 1)).unwrap();
            }
            let honest = model.prove(wanted);
            let above = honest.windows(2).position(|pair| pair == b"\n\n").unwrap();
            let mut offered = vec![honest.clone()];
            for _ in 0..2 {
                let mut changed = honest.clone();
                changed[numbers.index(above)] ^= 1 << numbers.below(7);
                offered.push(changed);
            }
            let lines: Vec<&[u8]> = honest[..=above].split_inclusive(|b| *b == b'\n').collect();
            let mut dropped = lines.clone();
            dropped.remove(numbers.index(lines.len()));
            offered.push([dropped.concat().as_slice(), &honest[above + 1..]].concat());
            for proof in offered {
                let verdict = SignedProof::parse(&proof).and_then(|proof| proof.under(model.files.head()));
                let verdict = verdict.map(drop).map_err(|e| e.error_code().get());
                let sections = [("proof", proof.as_slice()), ("held-head.txt", model.text.as_bytes())];
                vectors.add("proof", verdict, &[], &sections);
            }
        }
    }
    vectors.agree();
}

/// The files of a model, in list order.
struct Bytes<'a>(&'a [(String, Vec<u8>)]);

impl Holding for Bytes<'_> {
    type Error = std::convert::Infallible;

    fn layer(&self, position: usize) -> Result<Layer, Self::Error> {
        Ok(layer(&self.0[position].1))
    }

    fn read_chunk(&self, position: usize, index: u64, into: &mut Vec<u8>) -> Result<(), Self::Error> {
        let Range { start, end } = grid(&self.0[position].1).range(index).unwrap();
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        into.clear();
        into.extend_from_slice(&self.0[position].1[range]);
        Ok(())
    }
}

fn grid(bytes: &[u8]) -> Grid {
    Grid::new(bytes.len() as u64, ChunkSize::MIN).unwrap()
}

fn layer(bytes: &[u8]) -> Layer {
    let grid = grid(bytes);
    let mut values = Vec::new();
    if grid.has_layer() {
        for (index, chunk) in (0..).zip(bytes.chunks(16_384)) {
            values.extend_from_slice(grid.chaining_value(index, chunk).unwrap().as_bytes());
        }
    }
    Layer::accept(grid, FileRoot::of(bytes), &values).unwrap()
}

fn slice_of(bytes: &[u8], range: SliceRange) -> Vec<u8> {
    let layer = layer(bytes);
    let mut slice = Vec::new();
    let mut slicer = Slicer::new(&layer, range, &mut slice).unwrap();
    while let Some(index) = slicer.wanted() {
        let start = usize::try_from(index).unwrap() * 16_384;
        slicer.push(&bytes[start..bytes.len().min(start + 16_384)], &mut slice).unwrap();
    }
    slicer.finish().unwrap();
    slice
}

#[test]
fn both_readings_agree_on_slices() {
    let mut numbers = Numbers(0x511ce);
    let mut vectors = Vectors::new();
    for size in [1, 1_023, 1_024, 1_025, 3_000, 5_120, 6_145, 7_168, 11_000, 13_312, 16_383, 16_385, 33_000] {
        let bytes = bytes(size, size);
        let root = FileRoot::of(&bytes);
        for round in 0..4 {
            let (a, b) = (numbers.below(size as u64), numbers.below(size as u64));
            let range = match round {
                0 => 0..1,
                1 => size as u64 - 1..size as u64,
                _ => a.min(b)..a.max(b) + 1,
            };
            let wanted = SliceRange::new(size as u64, range.clone()).unwrap();
            let honest = slice_of(&bytes, wanted);
            let mut changed = honest.clone();
            changed[numbers.index(honest.len())] ^= 1 << numbers.below(8);
            let cut = honest[..numbers.index(honest.len())].to_vec();
            for slice in [honest, changed, cut] {
                let verdict = check_slice(root, wanted, &slice).map(drop).map_err(|e| e.error_code().get());
                let mut released = Vec::new();
                let (mut decoder, mut rest) = (SliceDecoder::new(root, wanted), slice.as_slice());
                while let Ok(Some(bytes)) = decoder.next(&mut rest) {
                    released.extend_from_slice(bytes);
                }
                if verdict == Err(2602) {
                    released.clear();
                }
                let keys = [
                    ("root", root.to_string()),
                    ("size", size.to_string()),
                    ("range", format!("{}..{}", range.start, range.end)),
                    ("released", blake3::hash(&released).to_string()),
                ];
                vectors.add("slice", verdict, &keys, &[("slice", &slice)]);
            }
        }
    }
    vectors.agree();
}

#[test]
fn both_readings_agree_on_audits() {
    let mut numbers = Numbers(0xa0d17);
    let mut vectors = Vectors::new();
    let world = World::empty();
    let (auditor, prover) = (world.key("auditor"), world.key("prover"));
    let at = |seconds: i64| Time::from_unix(1_800_000_000 + seconds).unwrap();
    for round in 0..12_u8 {
        let mut contents: Vec<_> = (0..1 + numbers.below(5))
            .map(|i| (format!("f{i}"), bytes(numbers.index(40_000), usize::from(round))))
            .collect();
        contents.push((SHARD.to_owned(), bytes(3_000, 9)));
        let model = Model::of(&contents, 2);
        let challenge = Challenge {
            head: model.files.head().id(),
            root: model.files.head().head().root,
            prover: prover.vkey().clone(),
            nonce: Nonce::from_bytes([round; 32]),
            issued: at(0),
            deadline: at(60),
            samples: 1 + numbers.below(20),
        };
        let note = sign_challenge(&challenge, &auditor).unwrap();
        let signed = SignedChallenge::parse(note.as_bytes()).unwrap();
        let holding = Bytes(&contents);
        let asked = signed.claims().unwrap();
        let unsigned = UnsignedResponse::make(&asked, prover.vkey(), &model.files, &holding, None).unwrap();
        let sign = |unsigned: &UnsignedResponse| prover.sign_response(&asked.hash(), &unsigned.hash());
        let signature = sign(&unsigned);
        let honest = unsigned.sign(&signature).unwrap();
        // A lying prover signs its altered response.
        let mut lie = honest.clone();
        let body = honest.len() - 64;
        lie[numbers.index(body)] ^= 1;
        let hash = weighbridge_tree::ResponseHash::of_body(&lie[..body]);
        lie.truncate(body);
        lie.extend_from_slice(prover.sign_response(&asked.hash(), &hash).as_bytes());
        let mut changed = honest.clone();
        changed[numbers.index(honest.len())] ^= 1;
        let cut = honest[..numbers.index(honest.len())].to_vec();
        for (response, received) in
            [(&honest, 60), (&lie, 1), (&changed, 1), (&cut, 1), (&honest, 61), (&honest, -1)]
        {
            let verified = signed.verify(auditor.vkey()).unwrap();
            let verdict = Answered::check(&verified, &model.files, response, at(received), |_| false);
            let verdict = verdict.map(drop).map_err(|e| e.error_code().get());
            let vkey = auditor.vkey().to_string();
            let sections = [
                ("head.txt", model.text.as_bytes()),
                ("files.jsonl", model.files_text.as_bytes()),
                ("challenge.note", note.as_bytes()),
                ("vkey", vkey.as_bytes()),
                ("response", response),
            ];
            vectors.add("audit", verdict, &[("received", at(received).to_string())], &sections);
        }
    }
    vectors.agree();
}

#[test]
fn both_readings_agree_on_gguf_headers() {
    let mut numbers = Numbers(0x6667_7567);
    let mut vectors = Vectors::new();
    let folder = tempfile::tempdir().unwrap();
    let every = Gguf { variant: Variant::Every, ..Gguf::small(1) };
    let models = [
        Gguf { parts: 6, ..every.clone() },
        Gguf { version: Version::V2, alignment: 64, parts: 3, ..every },
        Gguf { parts: 2, ..Gguf::small(3) },
    ];
    let (mut accepted, mut unlisted, mut codes) = (0, 0, std::collections::BTreeSet::new());
    for (number, model) in models.iter().enumerate() {
        let place = folder.path().join(number.to_string());
        for name in model.write(&place).unwrap().files {
            let honest = fs::read(place.join(&name)).unwrap();
            let header = header_len(&honest);
            // Only the ends of the header are altered: a change within a long vocabulary changes no verdict.
            let ends = [0..200.min(header), header.saturating_sub(1_500)..header];
            for round in 0..60 {
                let (mut changed, mut size) = (honest[..header].to_vec(), honest.len() as u64);
                let end = &ends[numbers.index(2)];
                let place = end.start + numbers.index(end.len());
                match round % 6 {
                    0 if round > 0 => changed[place] ^= 1 << (round % 8),
                    1 => changed[place] = changed[place].wrapping_add(1),
                    2 => changed[place] = 0xff,
                    3 => changed[place] = 0,
                    4 => changed[place..header.min(place + 8)].fill(0),
                    5 => size = size - 70 + numbers.below(140),
                    _ => {}
                }
                let verdict = judge(&mut changed, size);
                accepted += usize::from(verdict.is_ok());
                codes.extend(verdict.as_ref().err().copied());
                unlisted += usize::from(verdict.as_ref().is_ok_and(|why| why != "none"));
                let mut keys = vec![("file-size", size.to_string())];
                keys.extend(verdict.as_ref().ok().map(|why| ("unlisted", why.clone())));
                vectors.add("gguf", verdict.map(drop), &keys, &[("prefix", &changed)]);
            }
        }
    }
    assert!(accepted > 30 && codes.len() > 8, "{accepted} accepted, refused with {codes:?}");
    assert!(unlisted > 0, "no changed dtype was met");
    vectors.agree();
}

/// The number of bytes before the first tensor.
fn header_len(file: &[u8]) -> usize {
    match parse(Format::Gguf, file, file.len() as u64).unwrap() {
        Parsed::Tensors { header_len, .. } => usize::try_from(header_len).unwrap(),
        Parsed::UnknownDtype { .. } | Parsed::NeedPrefix(_) => unreachable!("all of it is there, and known"),
    }
}

/// The verdict on a file that begins with `prefix`. Zeros follow as far as the parser asks for them. If the file is
/// accepted, the result names the reason for which its tensors are not listed, or `none`.
fn judge(prefix: &mut Vec<u8>, file_size: u64) -> Result<String, u16> {
    loop {
        match parse(Format::Gguf, prefix, file_size) {
            Ok(Parsed::NeedPrefix(length)) => prefix.resize(usize::try_from(length).unwrap(), 0),
            Ok(Parsed::Tensors { .. }) => return Ok("none".to_owned()),
            Ok(Parsed::UnknownDtype { dtype, .. }) => return Ok(dtype.error_code().to_string()),
            Err(error) => return Err(error.error_code().get()),
        }
    }
}
