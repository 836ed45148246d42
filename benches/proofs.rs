//! Checking a proof beside the one signature check that it needs in any case, and making a proof of a large list.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark has nobody to return an error to")]

use criterion::{Criterion, criterion_group, criterion_main};
use weighbridge_benches::head;
use weighbridge_manifest::{
    Dtype, EntryPath, Expectation, FileEntry, KeyName, NoteSignature, SignedHead, SignedProof, TensorEntry,
    TensorName, TrustPolicy, VerifiedFileList, VerifiedHead, VerifiedTensorList, Vkey, Wanted, WrittenFiles,
    WrittenTensors, write_files, write_tensors,
};
use weighbridge_publish::{SecretKey, Signing};
use weighbridge_tree::{ChunkSize, FileRoot, TensorHash};

const FILES: u64 = 100_000;
const TENSORS: u64 = 1_000_000;

/// A signed and trusted model that exists only as lists.
struct Signed {
    vkey: Vkey,
    policy: TrustPolicy,
    note: String,
    signature: NoteSignature,
    head: VerifiedHead,
    files: VerifiedFileList,
}

impl Signed {
    fn new(files: &WrittenFiles, tensors: Option<&WrittenTensors>) -> Self {
        let head = head(files, tensors, ChunkSize::new(1 << 18).expect("a size"));
        let key = SecretKey::generate(KeyName::parse("alice").expect("a name")).expect("randomness");
        let mut signing = Signing::of_text(head.to_text().expect("a head")).expect("a head");
        let signature = key.sign(signing.text().as_bytes());
        signing.add(key.vkey(), signature.clone()).expect("a signature");
        let note = signing.note().expect("a note");
        let policy = TrustPolicy::any_of(vec![key.vkey().clone()]).expect("a policy");
        let head = believed(&note, &policy);
        let files = head.open_files(files.text.as_bytes()).expect("files");
        Self { vkey: key.vkey().clone(), policy, note, signature, head, files }
    }
}

fn believed(note: &str, policy: &TrustPolicy) -> VerifiedHead {
    let note = SignedHead::parse(note.as_bytes()).expect("a note");
    note.verify(policy, &Expectation::any(), None).expect("believed")
}

fn file(path: &str, size: u64) -> FileEntry {
    let path = EntryPath::parse(path).expect("a path");
    FileEntry { root: FileRoot::of(path.as_str().as_bytes()), path, size, sha256: None }
}

/// A path of 64 bytes.
fn path(number: u64) -> String {
    format!("{number:0>52}.safetensors")
}

fn name(number: u64) -> String {
    format!("model.layers.{}.mlp.experts.{}.down_proj.weight", number / 256, number % 256)
}

fn tensor(number: u64) -> TensorEntry {
    TensorEntry {
        name: TensorName::parse(&name(number)).expect("a name"),
        file: EntryPath::parse("model.safetensors").expect("a path"),
        dtype: Dtype::parse("BF16").expect("a dtype"),
        shape: vec![8, 64],
        offset: number * 1024,
        size: 1024,
        hash: TensorHash::of(&number.to_le_bytes()),
    }
}

/// Both measurements are in one group, since only their ratio counts.
fn check(c: &mut Criterion) {
    let files = write_files((0..FILES).map(|i| file(&path(i), 4_999_999_999)).collect()).expect("a list");
    let signed = Signed::new(&files, None);
    let wanted = Wanted::of(&signed.files, None).file(&path(FILES - 1)).expect("a file");
    let proof = wanted.prove(signed.note.as_bytes()).expect("a proof");
    let mut group = c.benchmark_group("one of 100,000 files");
    group.bench_function("verify_strict alone", |b| {
        b.iter(|| {
            assert!(signed.vkey.has_signed(signed.head.text().as_bytes(), signed.signature.signature()));
        });
    });
    group.bench_function("check a proof", |b| {
        b.iter(|| {
            let proof = SignedProof::parse(proof.as_bytes()).expect("a proof");
            proof.verify(&signed.policy, &Expectation::any(), None).expect("proved")
        });
    });
    group.bench_function("check a proof under a held head", |b| {
        b.iter(|| {
            SignedProof::parse(proof.as_bytes()).expect("a proof").under(&signed.head).expect("proved")
        });
    });
    group.finish();
}

fn prove(c: &mut Criterion) {
    let files = write_files(vec![file("model.safetensors", TENSORS * 1024)]).expect("a list");
    let tensors = write_tensors((0..TENSORS).map(tensor).collect()).expect("a list");
    let signed = Signed::new(&files, Some(&tensors));
    let list: VerifiedTensorList = signed.files.open_tensors(tensors.text.as_bytes()).expect("tensors");
    let mut group = c.benchmark_group("one of 1,000,000 tensors");
    group.bench_function("prove", |b| {
        b.iter(|| {
            let wanted = Wanted::of(&signed.files, Some(&list));
            let wanted = wanted.tensor("model.safetensors", &name(TENSORS / 3)).expect("a tensor");
            wanted.prove(signed.note.as_bytes()).expect("a proof")
        });
    });
    group.sample_size(10);
    group.bench_function("open and verify both lists", |b| {
        b.iter(|| {
            let head = believed(&signed.note, &signed.policy);
            let opened = head.open_files(files.text.as_bytes()).expect("files");
            opened.open_tensors(tensors.text.as_bytes()).expect("tensors")
        });
    });
    group.finish();
}

criterion_group!(benches, check, prove);
criterion_main!(benches);
