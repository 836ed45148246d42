//! Audits: an honest prover always passes. A prover that lost a sample, or sends another answer, never passes.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    thread,
};

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root};
use weighbridge_store::{CHUNKS, HeldFolder, Metadata};
use weighbridge_testkit::{Draft, Folder, Key, Signed, bytes};
use weighbridge_verify::{
    Answered, AuditError, Coded, ErrorCode, Holding, ResponseError, Samples, UnsignedResponse,
    chance_of_missing,
    manifest::{Challenge, Report, SignedChallenge, Time, VerifiedChallenge, response_message},
    tree::{
        ChallengeHash, ChunkSize, FileRoot, Granule, Grid, Layer, ModelRoot, Nonce, ResponseHash, SliceRange,
        Slicer, draw,
    },
};

const LEAF: usize = 1024;

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn issued() -> Time {
    time("2026-11-20T18:00:00Z")
}

fn deadline() -> Time {
    time("2026-11-20T18:00:30Z")
}

/// Between the times `issued` and `deadline`.
fn received() -> Time {
    time("2026-11-20T18:00:02Z")
}

fn auditor() -> Key {
    Key::new("auditor", 1)
}

fn prover() -> Key {
    Key::new("prover", 2)
}

/// A model with all data that an honest node holds.
struct Model {
    /// In the order of their paths, as in the list.
    files: Vec<Vec<u8>>,
    layers: Vec<Layer>,
    signed: Signed,
}

impl Model {
    fn of(files: &[(&str, Vec<u8>)], chunk_size: ChunkSize) -> Self {
        let draft = Draft::of(files, chunk_size);
        let signed = draft.sign();
        let mut sorted = files.to_vec();
        sorted.sort_by_key(|(path, _)| *path);
        let files: Vec<Vec<u8>> = sorted.into_iter().map(|(_, bytes)| bytes).collect();
        let layers = files
            .iter()
            .map(|file| {
                let grid = Grid::new(as_u64(file.len()), chunk_size).unwrap();
                let values = weighbridge_testkit::layer(file, chunk_size).concat();
                Layer::accept(grid, FileRoot::of(file), &values).unwrap()
            })
            .collect();
        Self { files, layers, signed }
    }

    /// Files of none, one, some and many chunks; also of one BLAKE3 chunk, and with and without a shorter last one.
    fn mixed() -> Self {
        let files = [
            ("a", bytes(1, 1)),
            ("b/empty", Vec::new()),
            ("b/one", bytes(LEAF, 2)),
            ("c.bin", bytes(16 << 10, 3)),
            ("d.bin", bytes((16 << 10) + 1, 4)),
            ("e.bin", bytes((176 << 10) + 77, 5)),
            ("f.bin", bytes(300_000, 6)),
            ("z", Vec::new()),
        ];
        Self::of(&files, ChunkSize::MIN)
    }

    fn challenge(&self, samples: u64, seed: u64) -> Challenge {
        Challenge {
            head: self.signed.head.id(),
            root: self.signed.head.head().root,
            prover: prover().vkey(),
            nonce: Nonce::from_bytes(*blake3::hash(&seed.to_le_bytes()).as_bytes()),
            issued: issued(),
            deadline: deadline(),
            samples,
        }
    }

    fn holding(&self) -> Memory<'_> {
        Memory { model: self, layers: RefCell::default(), chunks: RefCell::default(), lost: BTreeSet::new() }
    }

    /// The response of an honest prover to a challenge.
    fn response(&self, challenge: &Challenge) -> Vec<u8> {
        let unsigned = self.unsigned(challenge, &self.holding(), Some(received())).unwrap();
        let signature = prover().sign(unsigned.message());
        unsigned.sign(&signature).unwrap()
    }

    fn unsigned<H: Holding>(
        &self,
        challenge: &Challenge,
        holding: &H,
        now: Option<Time>,
    ) -> Result<UnsignedResponse, ResponseError<H::Error>> {
        let claims = SignedChallenge::parse(&note(challenge)).unwrap().claims().unwrap();
        let files = &self.signed.files;
        UnsignedResponse::make(&claims, &prover().vkey(), files, holding, now)
    }

    fn samples(&self, challenge: &Challenge) -> Samples {
        Samples::of(&challenge.to_text().unwrap(), challenge.samples, &self.signed.files).unwrap()
    }

    fn check(&self, challenge: &Challenge, response: &[u8]) -> Result<Answered, AuditError> {
        self.check_at(challenge, response, received())
    }

    fn check_at(
        &self,
        challenge: &Challenge,
        response: &[u8],
        received: Time,
    ) -> Result<Answered, AuditError> {
        let files = &self.signed.files;
        Answered::check(&verified(challenge), files, response, received, |_| false)
    }

    fn code(&self, challenge: &Challenge, response: &[u8]) -> u16 {
        self.check(challenge, response).map_or_else(|error| error.error_code().get(), |_| 0)
    }
}

fn note(challenge: &Challenge) -> Vec<u8> {
    let text = challenge.to_text().unwrap();
    let line = auditor().line(&text);
    format!("{text}\n{line}\n").into_bytes()
}

fn verified(challenge: &Challenge) -> VerifiedChallenge {
    SignedChallenge::parse(&note(challenge)).unwrap().verify(&auditor().vkey()).unwrap()
}

/// A body with a valid signature.
fn signed(challenge: &Challenge, body: &[u8]) -> Vec<u8> {
    let hash = ChallengeHash::of_text(challenge.to_text().unwrap().as_bytes());
    let message = response_message(&hash, &ResponseHash::of_body(body));
    [body, prover().sign(message).as_bytes()].concat()
}

/// A holding in memory that records each request.
struct Memory<'a> {
    model: &'a Model,
    layers: RefCell<Vec<usize>>,
    chunks: RefCell<Vec<(usize, u64)>>,
    /// Chunks that the holding has lost.
    lost: BTreeSet<(usize, u64)>,
}

impl Holding for Memory<'_> {
    type Error = &'static str;

    fn layer(&self, position: usize) -> Result<Layer, &'static str> {
        self.layers.borrow_mut().push(position);
        Ok(self.model.layers[position].clone())
    }

    fn read_chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
        self.chunks.borrow_mut().push((position, index));
        if self.lost.contains(&(position, index)) {
            return Err("the chunk is gone");
        }
        let range = self.model.layers[position].grid().range(index).unwrap();
        bytes.clear();
        bytes.extend_from_slice(&self.model.files[position][as_usize(range.start)..as_usize(range.end)]);
        Ok(())
    }
}

/// All nodes of a file's tree but the root, by the BLAKE3 chunks that they cover. A node could keep these to save
/// space.
struct Hashes {
    leaves: usize,
    values: BTreeMap<(usize, usize), [u8; 32]>,
}

impl Hashes {
    fn of(file: &[u8]) -> Self {
        let leaves = file.len().div_ceil(LEAF);
        let mut hashes = Self { leaves, values: BTreeMap::new() };
        if leaves > 1 {
            let left = left_leaves(leaves);
            hashes.add(file, 0, left);
            hashes.add(file, left, leaves);
        }
        hashes
    }

    fn add(&mut self, file: &[u8], start: usize, end: usize) -> [u8; 32] {
        let value = if end - start == 1 {
            let leaf = &file[start * LEAF..file.len().min(end * LEAF)];
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(as_u64(start * LEAF)).update(leaf).finalize_non_root()
        } else {
            let middle = start + left_leaves(end - start);
            let (left, right) = (self.add(file, start, middle), self.add(file, middle, end));
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        };
        self.values.insert((start, end), value);
        value
    }

    /// The path values of a part, from left to right: of each subtree without a drawn leaf whose parent has one.
    fn path(&self, drawn: &[u64]) -> Vec<((usize, usize), [u8; 32])> {
        let has_drawn = |start, end| drawn.iter().any(|leaf| (start..end).contains(&as_usize(*leaf)));
        let mut path = Vec::new();
        let mut runs = vec![(0, self.leaves)];
        while let Some((start, end)) = runs.pop() {
            if !has_drawn(start, end) {
                path.push(((start, end), self.values[&(start, end)]));
            } else if end - start > 1 {
                let middle = start + left_leaves(end - start);
                runs.extend([(middle, end), (start, middle)]);
            }
        }
        path
    }
}

/// The largest power of two below `leaves`.
fn left_leaves(leaves: usize) -> usize {
    1 << (leaves - 1).ilog2()
}

/// A response with any bytes for the samples and any path values, with the prover's true signature. `leaf` and `value`
/// give the bytes.
fn answer(
    model: &Model,
    challenge: &Challenge,
    hashes: &[Hashes],
    leaf: impl Fn(usize, u64) -> Vec<u8>,
    value: impl Fn((usize, usize), [u8; 32]) -> [u8; 32],
) -> Vec<u8> {
    let mut body = Vec::new();
    for (position, samples) in model.samples(challenge).files() {
        samples.drawn().iter().for_each(|index| body.extend(leaf(position, *index)));
        for (run, true_value) in hashes[position].path(samples.drawn()) {
            body.extend(value(run, true_value));
        }
    }
    signed(challenge, &body)
}

fn true_leaf(model: &Model, position: usize, index: u64) -> Vec<u8> {
    model.files[position].chunks(LEAF).nth(as_usize(index)).unwrap().to_vec()
}

#[test]
fn samples_are_numbered_through_the_whole_list() {
    let model = Model::mixed();
    let numbered: Vec<(usize, u64)> = model
        .files
        .iter()
        .enumerate()
        .flat_map(|(position, file)| (0..as_u64(file.len().div_ceil(LEAF))).map(move |leaf| (position, leaf)))
        .collect();
    for (samples, seed) in [(1, 1), (2, 2), (90, 3), (4096, 4)].into_iter().chain((5..60).map(|it| (7, it))) {
        let challenge = model.challenge(samples, seed);
        let found = model.samples(&challenge);
        let flat: Vec<(usize, u64)> =
            found.files().flat_map(|(at, it)| it.drawn().iter().map(move |leaf| (at, *leaf))).collect();
        let text = challenge.to_text().unwrap();
        let drawn = draw(text.as_bytes(), as_u64(numbered.len()), samples);
        let expected: Vec<(usize, u64)> = drawn.iter().map(|number| numbered[as_usize(*number)]).collect();
        assert_eq!(flat, expected);
        assert_eq!(found.count(), as_u64(numbered.len()));
        assert_eq!(found.drawn(), samples.min(found.count()));
    }
}

#[test]
fn an_honest_prover_passes_and_the_report_says_what_was_shown() {
    let model = Model::mixed();
    for (samples, seed) in [(1, 1), (2, 2), (3, 3), (40, 4), (90, 5), (600, 6), (4096, 7)] {
        let challenge = model.challenge(samples, seed);
        let response = model.response(&challenge);
        let answered = model.check(&challenge, &response).unwrap();
        let report = answered.report();
        let (body, _) = response.split_at(response.len() - 64);
        let expected = Report {
            name: model.signed.head.head().name.clone(),
            head: model.signed.head.id(),
            root: model.signed.head.head().root,
            prover: prover().vkey(),
            challenge: ChallengeHash::of_text(challenge.to_text().unwrap().as_bytes()),
            response: ResponseHash::of_body(body),
            samples: samples.min(505),
            of: 505,
            issued: issued(),
            received: received(),
        };
        assert_eq!(*report, expected);
        assert_eq!(Report::parse(&report.to_text().unwrap()), Ok(expected));
        assert!(report.check_is_of(&model.signed.head).is_ok());
    }
}

#[test]
fn a_response_is_the_samples_the_path_values_and_the_signature_and_nothing_else() {
    let model = Model::mixed();
    let hashes: Vec<Hashes> = model.files.iter().map(|file| Hashes::of(file)).collect();
    for (samples, seed) in
        [(1, 1), (2, 2), (10, 3), (90, 4), (4096, 5)].into_iter().chain((6..30).map(|s| (20, s)))
    {
        let challenge = model.challenge(samples, seed);
        let response = model.response(&challenge);
        let by_hand = answer(&model, &challenge, &hashes, |at, leaf| true_leaf(&model, at, leaf), |_, it| it);
        assert!(response == by_hand, "Ed25519 is deterministic: all bytes are the same");
        let found = model.samples(&challenge);
        let (mut bytes, mut path) = (0, 0);
        for (position, samples) in found.files() {
            bytes += samples.drawn().iter().map(|it| true_leaf(&model, position, *it).len()).sum::<usize>();
            path += 32 * hashes[position].path(samples.drawn()).len();
        }
        assert_eq!(response.len(), bytes + path + 64);
        assert_eq!(found.response_len(&prover().vkey()), as_u64(response.len()));
    }
}

#[test]
fn exactly_the_chunks_that_hold_a_sample_are_read() {
    let model = Model::mixed();
    for (samples, seed) in [(1, 1), (5, 2), (20, 3), (90, 4), (4096, 5)] {
        let challenge = model.challenge(samples, seed);
        let holding = model.holding();
        let _ = model.unsigned(&challenge, &holding, None).unwrap();
        let drawn = model.samples(&challenge);
        let files: Vec<usize> = drawn.files().map(|(position, _)| position).collect();
        let mut chunks: Vec<(usize, u64)> =
            drawn.files().flat_map(|(at, it)| it.drawn().iter().map(move |leaf| (at, leaf / 16))).collect();
        chunks.dedup();
        assert_eq!(holding.layers.into_inner(), files);
        assert_eq!(holding.chunks.into_inner(), chunks);
    }
}

#[test]
fn a_folder_answers_for_its_model() {
    let files = [
        ("config.json", bytes(600, 1)),
        ("weights.bin", bytes(300_000, 2)),
        ("z/more.bin", bytes(70_000, 3)),
    ];
    let model = Model::of(&files, ChunkSize::MIN);
    let folder = Folder::of(&files);
    let metadata = Metadata::at(model.signed.folder.path());
    let challenge = model.challenge(60, 1);
    let make = |metadata: &Metadata| {
        let holding = HeldFolder::open(folder.path(), metadata, &model.signed.files).unwrap();
        model.unsigned(&challenge, &holding, None)
    };
    let unsigned = make(&metadata).unwrap();
    let signature = prover().sign(unsigned.message());
    assert_eq!(model.code(&challenge, &unsigned.sign(&signature).unwrap()), 0);

    folder.alter("weights.bin", |bytes| bytes[299_999] ^= 1);
    let refused = make(&metadata).unwrap_err();
    assert_eq!(refused.error_code().map(ErrorCode::get), Some(2102));
    assert_eq!(
        refused.to_string(),
        "weights.bin: chunk 18 (bytes 294912..300000) does not match the signed root"
    );
    std::fs::remove_file(model.signed.folder.at(CHUNKS)).unwrap();
    let ResponseError::Holding(error) = make(&metadata).unwrap_err() else { panic!("no layers") };
    assert_eq!(error.error_code().get(), 9106);
}

#[test]
fn one_folder_answers_many_threads_at_once_as_it_answers_each_alone() {
    // More files than stay open, and of several chunks each.
    let files: Vec<(String, Vec<u8>)> =
        (0..20_u8).map(|seed| (format!("part-{seed:02}.bin"), bytes(100_000, seed))).collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let model = Model::of(&files, ChunkSize::MIN);
    let folder = Folder::of(&files);
    let metadata = Metadata::at(model.signed.folder.path());
    let held = || HeldFolder::open(folder.path(), &metadata, &model.signed.files).unwrap();
    let answer = |holding: &HeldFolder<'_>, seed| {
        let unsigned = model.unsigned(&model.challenge(60, seed), holding, None).unwrap();
        let signature = prover().sign(unsigned.message());
        unsigned.sign(&signature).unwrap()
    };
    let slice = |holding: &HeldFolder<'_>, position: usize| {
        let layer = holding.layer(position).unwrap();
        let range = SliceRange::new(layer.grid().len(), 20_000..90_000).unwrap();
        let (mut chunk, mut encoded) = (Vec::new(), Vec::new());
        let mut slicer = Slicer::new(&layer, range, &mut encoded).unwrap();
        while let Some(index) = slicer.wanted() {
            holding.read_chunk(position, index, &mut chunk).unwrap();
            slicer.push(&chunk, &mut encoded).unwrap();
        }
        slicer.finish().unwrap();
        encoded
    };
    let answers: Vec<Vec<u8>> = (0..8).map(|seed| answer(&held(), seed)).collect();
    let slices: Vec<Vec<u8>> = (0..files.len()).map(|position| slice(&held(), position)).collect();
    let (shared, rounds) = (held(), 3);
    thread::scope(|threads| {
        for (seed, alone) in (0..).zip(&answers) {
            let (shared, answer) = (&shared, &answer);
            threads
                .spawn(move || (0..rounds).for_each(|_| assert!(answer(shared, seed) == *alone, "{seed}")));
        }
        for first in 0..4 {
            let (shared, slice, slices) = (&shared, &slice, &slices);
            threads.spawn(move || {
                for (position, alone) in slices.iter().enumerate().skip(first).step_by(4) {
                    assert!(slice(shared, position) == *alone, "{position}");
                }
            });
        }
    });
}

#[test]
fn every_changed_byte_is_refused() {
    let model = Model::of(&[("a", bytes(5_000, 1)), ("b", bytes(1_500, 2))], ChunkSize::MIN);
    let challenge = model.challenge(3, 9);
    let good = model.response(&challenge);
    assert_eq!(model.code(&challenge, &good), 0);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert_eq!(model.code(&challenge, &bad), 2708, "byte {at}");
    }
    // Every 13th byte changed, and the body signed again, as by a prover that lies on purpose.
    let body = &good[..good.len() - 64];
    for at in (0..body.len()).step_by(13) {
        let mut bad = body.to_vec();
        bad[at] ^= 1 << (at % 8);
        assert_eq!(model.code(&challenge, &signed(&challenge, &bad)), 2709, "byte {at}");
    }
}

#[test]
fn every_other_length_is_refused() {
    let model = Model::of(&[("a", bytes(5_000, 1)), ("b", bytes(1_500, 2))], ChunkSize::MIN);
    let challenge = model.challenge(3, 9);
    let good = model.response(&challenge);
    for length in (0..good.len()).chain(good.len() + 1..good.len() + 1_100) {
        let mut bad = good.clone();
        bad.resize(length, 0);
        let wrong = AuditError::WrongLength { expected: as_u64(good.len()), actual: as_u64(length) };
        assert_eq!(model.check(&challenge, &bad), Err(wrong));
    }
    // A signature over the body does not help.
    let body = &good[..good.len() - 64];
    for bad in [&body[1..], &body[..body.len() - 32], &[body, &[0]].concat(), &[body, body].concat(), &[]] {
        assert_eq!(model.code(&challenge, &signed(&challenge, bad)), 2707);
    }
}

#[test]
fn exchanged_parts_samples_and_path_values_are_refused() {
    // Exchange within a file and between files.
    let model = Model::of(&[("a", bytes(10 * LEAF, 1)), ("b", bytes(10 * LEAF, 2))], ChunkSize::MIN);
    let mut exchanged = 0;
    for seed in 0..12 {
        let challenge = model.challenge(6, seed);
        let good = model.response(&challenge);
        let body = &good[..good.len() - 64];
        // The places of the samples and of the path values in the body, for both files.
        let (mut leaves, mut values, mut at) = (Vec::new(), Vec::new(), 0);
        for (_, samples) in model.samples(&challenge).files() {
            leaves.extend((0..samples.drawn().len()).map(|i| at + i * LEAF));
            at += as_usize(samples.sample_bytes());
            values.extend((0..as_usize(samples.path_values())).map(|i| at + i * 32));
            at += 32 * as_usize(samples.path_values());
        }
        assert_eq!(at, body.len());
        for (places, unit) in [(leaves, LEAF), (values, 32)] {
            for (a, b) in (0..places.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let (first, second) = (places[a], places[b]);
                let mut bad = body.to_vec();
                bad[first..first + unit].copy_from_slice(&body[second..second + unit]);
                bad[second..second + unit].copy_from_slice(&body[first..first + unit]);
                assert_eq!(model.code(&challenge, &signed(&challenge, &bad)), 2709);
                exchanged += 1;
            }
        }
    }
    assert!(exchanged > 300, "{exchanged}");
}

/// 5 % of the BLAKE3 chunks of all files, drawn at random.
fn lost_leaves(model: &Model) -> BTreeSet<(usize, u64)> {
    let all = model.files.iter().enumerate();
    let all: Vec<(usize, u64)> = all
        .flat_map(|(at, file)| (0..as_u64(file.len().div_ceil(LEAF))).map(move |leaf| (at, leaf)))
        .collect();
    draw(b"lost", as_u64(all.len()), as_u64(all.len() / 20)).iter().map(|it| all[as_usize(*it)]).collect()
}

fn several_megabytes() -> Model {
    let files = [
        ("a.bin", bytes(1 << 20, 1)),
        ("b.bin", bytes(1_500_000, 2)),
        ("c.json", bytes(70_000, 3)),
        ("d.bin", bytes((1 << 20) - 1, 4)),
    ];
    Model::of(&files, ChunkSize::MIN)
}

#[test]
fn of_1000_audits_of_a_cheater_that_lost_a_twentieth_about_10_miss_it() {
    let model = several_megabytes();
    // The prover keeps all hashes, and sends zeros for the lost bytes.
    let hashes: Vec<Hashes> = model.files.iter().map(|file| Hashes::of(file)).collect();
    let lost = lost_leaves(&model);
    let mut missed = 0;
    for seed in 0..1000 {
        let challenge = model.challenge(90, seed);
        let leaf = |position, index| {
            let mut leaf = true_leaf(&model, position, index);
            if lost.contains(&(position, index)) {
                leaf.fill(0);
            }
            leaf
        };
        let verdict = model.code(&challenge, &answer(&model, &challenge, &hashes, leaf, |_, it| it));
        let samples = model.samples(&challenge);
        let hit = samples.files().any(|(at, it)| it.drawn().iter().any(|leaf| lost.contains(&(at, *leaf))));
        assert_eq!(verdict, if hit { 2709 } else { 0 });
        missed += u32::from(!hit);
    }
    let leaves = model.files.iter().map(|file| as_u64(file.len().div_ceil(LEAF))).sum();
    let expected = 1000.0 * chance_of_missing(as_u64(lost.len()), leaves, 90);
    assert!((9.0..11.0).contains(&expected), "{expected}");
    assert!((2..=20).contains(&missed), "{missed}");
}

#[test]
fn of_1000_audits_of_an_honest_node_that_lost_a_twentieth_about_10_miss_it() {
    let model = several_megabytes();
    // Whole chunks are lost: a node that checks its chunks notices a chunk that has lost any byte.
    let grids = model.layers.iter().enumerate();
    let all: Vec<(usize, u64)> =
        grids.flat_map(|(at, layer)| (0..layer.grid().count()).map(move |index| (at, index))).collect();
    let lost: BTreeSet<(usize, u64)> = draw(b"lost", as_u64(all.len()), as_u64(all.len() / 20))
        .iter()
        .map(|it| all[as_usize(*it)])
        .collect();
    let mut missed = 0;
    for seed in 0..1000 {
        let challenge = model.challenge(90, seed);
        let holding = Memory { lost: lost.clone(), ..model.holding() };
        match model.unsigned(&challenge, &holding, None) {
            Ok(unsigned) => {
                let signature = prover().sign(unsigned.message());
                assert_eq!(model.code(&challenge, &unsigned.sign(&signature).unwrap()), 0);
                missed += 1;
            }
            Err(error) => assert_eq!(error, ResponseError::Holding("the chunk is gone")),
        }
    }
    assert!((2..=20).contains(&missed), "{missed}");
}

#[test]
fn who_kept_only_hashes_is_always_refused() {
    let model = Model::mixed();
    let hashes: Vec<Hashes> = model.files.iter().map(|file| Hashes::of(file)).collect();
    for seed in 0..200 {
        let challenge = model.challenge(1 + seed % 90, seed);
        let length = |position, index| true_leaf(&model, position, index).len();
        let zeros = answer(&model, &challenge, &hashes, |at, leaf| vec![0; length(at, leaf)], |_, it| it);
        assert_eq!(model.code(&challenge, &zeros), 2709);
        // The leaf's hash, repeated, in place of the bytes.
        let values = |at: usize, leaf: u64| {
            let start = as_usize(leaf);
            let value = hashes[at].values.get(&(start, start + 1)).copied().unwrap_or([7; 32]);
            value.into_iter().cycle().take(length(at, leaf)).collect()
        };
        let values = answer(&model, &challenge, &hashes, values, |_, it| it);
        assert_eq!(model.code(&challenge, &values), 2709);
        // Other bytes.
        let elsewhere =
            |at: usize, leaf: u64| bytes(length(at, leaf), u8::try_from(seed).unwrap().wrapping_add(100));
        let elsewhere = answer(&model, &challenge, &hashes, elsewhere, |_, it| it);
        assert_eq!(model.code(&challenge, &elsewhere), 2709);
    }
}

#[test]
fn who_kept_only_the_layers_is_always_refused() {
    let model = Model::mixed();
    let hashes: Vec<Hashes> = model.files.iter().map(|file| Hashes::of(file)).collect();
    for seed in 0..200 {
        let challenge = model.challenge(1 + seed % 90, seed);
        let zeros = |at, leaf| vec![0; true_leaf(&model, at, leaf).len()];
        // The prover has the values of chunks and larger subtrees, and no others.
        let value = |(start, end): (usize, usize), value| {
            if end - start >= 16 { value } else { [u8::try_from(start % 251).unwrap(); 32] }
        };
        let response = answer(&model, &challenge, &hashes, zeros, value);
        assert_eq!(model.code(&challenge, &response), 2709);
    }
}

#[test]
fn a_response_is_for_one_head_only() {
    let model = Model::mixed();
    let other = Model::of(&[("a", bytes(5_000, 9))], ChunkSize::MIN);
    let challenge = model.challenge(20, 1);
    let response = model.response(&challenge);
    assert_eq!(other.code(&challenge, &response), 2701);
    assert_eq!(
        other.unsigned(&challenge, &other.holding(), None).unwrap_err().error_code().map(ErrorCode::get),
        Some(2701)
    );
    // The same head under another root, which an auditor can write and no head can have.
    let mixed = Challenge { root: other.challenge(1, 1).root, ..challenge.clone() };
    assert_eq!(model.code(&mixed, &response), 2701);
    assert_eq!(
        model.unsigned(&mixed, &model.holding(), None).unwrap_err().error_code().map(ErrorCode::get),
        Some(2701)
    );
    let mixed = Challenge { head: other.signed.head.id(), ..challenge };
    assert_eq!(model.code(&mixed, &response), 2701);
}

#[test]
fn a_response_is_by_one_prover_only() {
    let model = Model::mixed();
    let asking = |prover: &Key| Challenge { prover: prover.vkey(), ..model.challenge(20, 1) };
    let other = Key::new("prover", 3);
    let refused = model.unsigned(&asking(&other), &model.holding(), None).unwrap_err();
    assert_eq!(refused.error_code().map(ErrorCode::get), Some(2702));
    // The key decides: its name is the auditor's to choose.
    assert!(model.unsigned(&asking(&Key::new("another", 2)), &model.holding(), None).is_ok());
    let challenge = model.challenge(20, 1);
    let unsigned = model.unsigned(&challenge, &model.holding(), None).unwrap();
    let signature = other.sign(unsigned.message());
    assert_eq!(unsigned.clone().sign(&signature), Err(AuditError::BadSignature));
    let good = model.response(&challenge);
    let body = &good[..good.len() - 64];
    assert_eq!(model.code(&challenge, &[body, signature.as_bytes()].concat()), 2708);
    // A prover passes on another prover's challenge or response.
    let theirs = Challenge { prover: other.vkey(), ..challenge };
    assert!([2707, 2708].contains(&model.code(&theirs, &good)));
}

#[test]
fn a_response_is_to_one_challenge_only() {
    // All BLAKE3 chunks are drawn, so that responses to all challenges have the same body.
    let model = Model::of(&[("a", bytes(5_000, 1)), ("b", bytes(1_500, 2))], ChunkSize::MIN);
    let challenge = model.challenge(7, 1);
    let good = model.response(&challenge);
    let later = Time::from_unix(deadline().unix() + 1).unwrap();
    let others = [
        model.challenge(7, 2),
        model.challenge(8, 1),
        Challenge { deadline: later, ..challenge.clone() },
        Challenge { issued: Time::from_unix(issued().unix() - 1).unwrap(), ..challenge.clone() },
    ];
    for other in others {
        assert_eq!(model.response(&other)[..6_500], good[..6_500]);
        assert_eq!(model.code(&other, &good), 2708);
        assert_eq!(model.code(&other, &model.response(&other)), 0);
    }
    assert_eq!(model.code(&challenge, &good), 0);
}

#[test]
fn another_nonce_asks_for_other_samples() {
    let model = several_megabytes();
    let challenge = model.challenge(20, 1);
    let good = model.response(&challenge);
    for seed in 2..40 {
        let code = model.code(&model.challenge(20, seed), &good);
        assert!([2707, 2708].contains(&code), "{code}");
        // A signature does not help: these are not the samples.
        let other = model.challenge(20, seed);
        let code = model.code(&other, &signed(&other, &good[..good.len() - 64]));
        assert!([2707, 2709].contains(&code), "{code}");
    }
}

#[test]
fn a_response_has_its_time() {
    let model = Model::mixed();
    let challenge = model.challenge(5, 1);
    let good = model.response(&challenge);
    let at = |base: Time, seconds| Time::from_unix(base.unix() + seconds).unwrap();
    for (received, code) in [
        (at(issued(), -1), 2705),
        (issued(), 0),
        (deadline(), 0),
        (at(deadline(), 1), 2704),
        (time("0000-01-01T00:00:00Z"), 2705),
        (time("9999-12-31T23:59:59Z"), 2704),
    ] {
        let verdict = model.check_at(&challenge, &good, received);
        assert_eq!(verdict.map_or_else(|error| error.error_code().get(), |_| 0), code, "{received}");
        let made = model.unsigned(&challenge, &model.holding(), Some(received));
        // A prover whose clock is behind answers all the same.
        let code = if code == 2704 { Some(2704) } else { None };
        assert_eq!(made.err().and_then(|error| error.error_code()).map(ErrorCode::get), code);
    }
    assert!(model.unsigned(&challenge, &model.holding(), None).is_ok());
}

#[test]
fn a_nonce_is_answered_once_and_rubbish_does_not_burn_it() {
    let model = Model::mixed();
    let challenge = model.challenge(5, 1);
    let good = model.response(&challenge);
    let mut nonces = BTreeSet::new();
    let mut check = |response: &[u8]| {
        let files = &model.signed.files;
        let seen = |nonce: &Nonce| nonces.contains(nonce);
        let verdict = Answered::check(&verified(&challenge), files, response, received(), seen);
        if verdict.is_ok() {
            nonces.insert(challenge.nonce);
        }
        verdict.map_or_else(|error| error.error_code().get(), |_| 0)
    };
    let mut rubbish = good.clone();
    rubbish[0] ^= 1;
    assert_eq!([check(&rubbish), check(&[]), check(&good), check(&good)], [2708, 2707, 0, 2706]);
}

#[test]
fn a_model_of_no_bytes_cannot_be_audited() {
    let model = Model::of(&[("a", Vec::new()), ("b", Vec::new())], ChunkSize::MIN);
    let challenge = model.challenge(5, 1);
    let refused = Samples::of(&challenge.to_text().unwrap(), 5, &model.signed.files);
    assert_eq!(refused, Err(AuditError::NoBytes));
    for response in [Vec::new(), signed(&challenge, &[])] {
        assert_eq!(model.code(&challenge, &response), 2703);
    }
    let holding = model.holding();
    assert_eq!(
        model.unsigned(&challenge, &holding, None).unwrap_err().error_code().map(ErrorCode::get),
        Some(2703)
    );
    assert!(holding.layers.borrow().is_empty() && holding.chunks.borrow().is_empty());
}

#[test]
fn the_first_failure_is_the_verdict() {
    let (model, none) = (Model::mixed(), Model::of(&[("a", Vec::new())], ChunkSize::MIN));
    let asked = Cell::new(false);
    let verdict = |on: &Model, challenge: &Challenge, response: &[u8], received: Time, seen: bool| {
        asked.set(false);
        let files = &on.signed.files;
        let answered = |_: &Nonce| asked.replace(true) || seen;
        Answered::check(&verified(challenge), files, response, received, answered)
            .map_or_else(|error| error.error_code().get(), |_| 0)
    };
    let early = time("2026-01-01T00:00:00Z");
    let late = time("2027-01-01T00:00:00Z");
    let challenge = none.challenge(5, 1);
    assert_eq!(verdict(&model, &challenge, &[], early, true), 2701);
    assert_eq!(verdict(&none, &challenge, &[], early, true), 2705);
    assert_eq!(verdict(&none, &challenge, &[], late, true), 2704);
    assert!(!asked.get(), "a nonce is looked up for a response in time only");
    assert_eq!(verdict(&none, &challenge, &[], received(), true), 2706);
    assert!(asked.get());
    assert_eq!(verdict(&none, &challenge, &[], received(), false), 2703);
    let challenge = model.challenge(5, 1);
    let mut response = model.response(&challenge);
    response[0] ^= 1;
    assert_eq!(verdict(&model, &challenge, &response, received(), true), 2706);
    assert_eq!(verdict(&model, &challenge, &response[1..], received(), false), 2707);
    assert_eq!(verdict(&model, &challenge, &response, received(), false), 2708);
    let body = &response[..response.len() - 64];
    assert_eq!(verdict(&model, &challenge, &signed(&challenge, body), received(), false), 2709);

    // A prover refuses in the order head, key, deadline, bytes.
    let other = Challenge { prover: Key::new("other", 3).vkey(), ..none.challenge(5, 1) };
    let refused = |on: &Model, challenge: &Challenge, now| {
        let holding = on.holding();
        let code = on.unsigned(challenge, &holding, Some(now)).unwrap_err().error_code().map(ErrorCode::get);
        assert!(holding.layers.borrow().is_empty(), "nothing is read");
        code
    };
    assert_eq!(refused(&model, &other, late), Some(2701));
    assert_eq!(refused(&none, &other, late), Some(2702));
    assert_eq!(refused(&none, &none.challenge(5, 1), late), Some(2704));
    assert_eq!(refused(&none, &none.challenge(5, 1), received()), Some(2703));
}

/// The fault of a holding.
enum Wrong {
    LayerOfAnotherFile,
    LayerOfAnotherSize,
    LayerOfAnotherGranule,
    Flipped,
    Short,
}

struct Spoilt<'a>(Memory<'a>, Wrong);

impl Holding for Spoilt<'_> {
    type Error = &'static str;

    fn layer(&self, position: usize) -> Result<Layer, &'static str> {
        let file = &self.0.model.files[position];
        let other = |bytes: &[u8], granule: Granule| {
            let grid = Grid::new(as_u64(bytes.len()), granule).unwrap();
            let each = as_usize(granule.bytes());
            let values: Vec<u8> = (0..)
                .zip(bytes.chunks(each))
                .filter(|_| grid.has_layer())
                .flat_map(|(index, bytes)| *grid.chaining_value(index, bytes).unwrap().as_bytes())
                .collect();
            Layer::accept(grid, FileRoot::of(bytes), &values).unwrap()
        };
        match self.1 {
            Wrong::LayerOfAnotherFile => Ok(other(&vec![0; file.len()], ChunkSize::MIN.into())),
            Wrong::LayerOfAnotherSize => Ok(other(&[file.as_slice(), &[0]].concat(), ChunkSize::MIN.into())),
            Wrong::LayerOfAnotherGranule => Ok(other(file, Granule::MIN)),
            _ => self.0.layer(position),
        }
    }

    fn read_chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
        self.0.read_chunk(position, index, bytes)?;
        match self.1 {
            Wrong::Flipped => *bytes.last_mut().unwrap() ^= 1,
            Wrong::Short => bytes.truncate(bytes.len() - 1),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn nothing_is_sent_of_a_holding_that_is_not_the_signed_model() {
    let model = Model::of(&[("weights.bin", bytes(100_000, 1))], ChunkSize::MIN);
    let challenge = model.challenge(3, 1);
    for (wrong, code) in [
        (Wrong::LayerOfAnotherFile, 2202),
        (Wrong::LayerOfAnotherSize, 2202),
        (Wrong::LayerOfAnotherGranule, 2201),
        (Wrong::Flipped, 2102),
        (Wrong::Short, 2107),
    ] {
        let refused = model.unsigned(&challenge, &Spoilt(model.holding(), wrong), None).unwrap_err();
        assert_eq!(refused.error_code().map(ErrorCode::get), Some(code), "{refused}");
        assert!(refused.to_string().starts_with("weights.bin: "), "{refused}");
    }
    let lost = (0..7).map(|index| (0, index)).collect();
    let refused = model.unsigned(&challenge, &Memory { lost, ..model.holding() }, None).unwrap_err();
    assert_eq!((refused.error_code(), refused.to_string().as_str()), (None, "the chunk is gone"));
}

#[test]
fn refusals_name_the_place() {
    let model = Model::of(&[("dir/a\u{202e}.bin", bytes(5_000, 1)), ("b", bytes(1_500, 2))], ChunkSize::MIN);
    let challenge = model.challenge(7, 1);
    let say = |result: Result<Answered, AuditError>| {
        let error = result.unwrap_err();
        format!("{} {error}", error.error_code())
    };
    let good = model.response(&challenge);
    let mut body = good[..good.len() - 64].to_vec();
    // The body has the files in the order of their paths: `b` comes first.
    body[1_500] ^= 1;
    let wrong = model.check(&challenge, &signed(&challenge, &body));
    assert_eq!(say(wrong), "2709 dir/a\\u{202e}.bin: its samples do not lead to the signed root");
    assert_eq!(
        say(model.check_at(&challenge, &good, time("2026-11-20T18:00:31Z"))),
        "2704 the deadline was 2026-11-20T18:00:30Z, and had passed at 2026-11-20T18:00:31Z"
    );
    assert_eq!(
        say(model.check_at(&challenge, &good, time("2026-11-20T17:59:59Z"))),
        "2705 the response came at 2026-11-20T17:59:59Z, and the challenge was issued at 2026-11-20T18:00:00Z"
    );
    assert_eq!(say(model.check(&challenge, &good[1..])), "2707 the response has 6563 bytes, expected 6564");
    let (nonce, head) = (challenge.nonce, model.signed.head.id());
    assert_eq!(AuditError::Replayed { nonce }.to_string(), format!("the nonce {nonce} was answered before"));
    let zeros = Challenge { root: ModelRoot::from_bytes([0; 32]), ..challenge };
    let wrong_root = say(model.check(&zeros, &good));
    assert_eq!(wrong_root, format!("2701 the challenge has another root than its head {head}"));
    for (error, text) in [
        (AuditError::OtherProver, "the challenge is for another prover"),
        (AuditError::NoBytes, "the model has no bytes to sample"),
        (AuditError::BadSignature, "the prover's signature is not over this challenge and this response"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn the_chance_of_missing_is_the_product_of_the_page() {
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() <= expected * 1e-9, "{found} is not {expected}");
    };
    near(chance_of_missing(3, 10, 2), 7.0 / 10.0 * 6.0 / 9.0);
    near(chance_of_missing(1, 2, 1), 0.5);
    near(chance_of_missing(1, 4096, 4095), 1.0 / 4096.0);
    // Nothing lost; nothing drawn; losses that cannot be missed.
    for (lost, count, samples, chance) in [
        (0, 10, 5, 1.0),
        (5, 10, 0, 1.0),
        (0, 0, 5, 1.0),
        (10, 10, 1, 0.0),
        (11, 10, 1, 0.0),
        (3, 10, 8, 0.0),
        (1, 10, 10, 0.0),
        (1, 10, 4096, 0.0),
        (u64::MAX, u64::MAX, 1, 0.0),
        (0, u64::MAX, 4096, 1.0),
    ] {
        assert_eq!(chance_of_missing(lost, count, samples), chance, "{lost} of {count}, {samples} drawn");
    }
    assert!(chance_of_missing(3, 10, 7) > 0.0, "exactly what is left can be drawn");
    // No audit draws more than 4,096.
    assert_eq!(chance_of_missing(5, 1 << 40, u64::MAX), chance_of_missing(5, 1 << 40, 4096));
    // The table in `spec/audits.md`, for a large model.
    for (per_mille, samples, percent, last_digit) in [
        (100, 90, 0.0076, 0.0001),
        (100, 460, 9e-20, 1e-20),
        (100, 4096, 4e-186, 1e-186),
        (10, 90, 40.0, 1.0),
        (10, 460, 0.98, 0.01),
        (10, 4096, 1.3e-16, 1e-17),
        (1, 90, 91.0, 1.0),
        (1, 460, 63.0, 1.0),
        (1, 4096, 1.7, 0.1),
    ] {
        let found = 100.0 * chance_of_missing((1 << 33) / 1000 * per_mille, 1 << 33, samples);
        assert!((found - percent).abs() <= last_digit / 2.0, "{found} is not {percent} %");
    }
}
