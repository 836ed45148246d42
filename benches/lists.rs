//! Opening and writing large lists, and the verdict on a head.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark has nobody to return an error to")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weighbridge_benches::{believed, head};
use weighbridge_manifest::{
    Dtype, EntryPath, FileEntry, TensorEntry, TensorName, write_files, write_tensors,
};
use weighbridge_publish::Weighed;
use weighbridge_tree::{ChunkSize, FileRoot, TensorHash};

const TENSORS: u64 = 1_000_000;

fn tensors() -> Vec<TensorEntry> {
    let file = EntryPath::parse("model.safetensors").expect("a path");
    let dtype = Dtype::parse("BF16").expect("a dtype");
    let tensor = |i: u64| TensorEntry {
        name: TensorName::parse(&format!(
            "model.layers.{}.mlp.experts.{}.down_proj.weight",
            i / 256,
            i % 256
        ))
        .expect("a name"),
        file: file.clone(),
        dtype: dtype.clone(),
        shape: vec![8, 64],
        offset: i * 1024,
        size: 1024,
        hash: TensorHash::of(&i.to_le_bytes()),
    };
    (0..TENSORS).map(tensor).collect()
}

fn lists(c: &mut Criterion) {
    let path = EntryPath::parse("model.safetensors").expect("a path");
    let file = FileEntry { path, size: TENSORS * 1024, root: FileRoot::of(b""), sha256: None };
    let files = write_files(vec![file]).expect("a list");
    let written = write_tensors(tensors()).expect("a list");
    let head = head(&files, Some(&written), ChunkSize::new(1 << 18).expect("a size"));
    let text = head.to_text().expect("a head");
    let weighed = Weighed {
        head,
        text,
        files: files.text,
        tensors: Some(written.text),
        layers: Vec::new(),
        unlisted: Vec::new(),
        read: Vec::new(),
    };
    let head = believed(&weighed);
    let opened = head.open_files(weighed.files.as_bytes()).expect("files");
    let list = weighed.tensors.as_deref().unwrap_or_default();

    let mut group = c.benchmark_group("a list of 1,000,000 tensors");
    group.sample_size(10).throughput(Throughput::Elements(TENSORS));
    group.bench_function("open", |b| b.iter(|| opened.open_tensors(list.as_bytes()).expect("opened")));
    group.bench_function("write", |b| {
        b.iter_batched(tensors, |entries| write_tensors(entries).expect("written"), BatchSize::LargeInput);
    });
    group.finish();
    c.bench_function("sign and verify a head", |b| b.iter(|| believed(&weighed)));
}

criterion_group!(benches, lists);
criterion_main!(benches);
