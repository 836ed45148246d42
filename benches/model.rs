//! Weighing and verifying a model folder, of safetensors and of GGUF, beside `b3sum` and `sha256sum` on the same
//! files.
//!
//! The environment variable `BENCH_BYTES` gives the size; the default is 2 GB. The files are in the page cache.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark has nobody to return an error to")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weighbridge_benches::{believed, gguf_model, model, weighing};
use weighbridge_publish::TensorListing;
use weighbridge_store::{ExtraFiles, ModelCheck, TensorHashing};

fn folders(c: &mut Criterion) {
    let bytes =
        env::var("BENCH_BYTES").map_or(2_000_000_000, |text| text.parse().expect("BENCH_BYTES is a number"));
    folder(c, "model folder", &model(bytes).expect("a model"));
    folder(c, "GGUF folder", &gguf_model(bytes).expect("a model"));
}

fn folder(c: &mut Criterion, group: &str, folder: &Path) {
    let weighed = weighing(folder, TensorListing::List).weigh(&|_| {}).expect("weighed");
    let head = believed(&weighed);
    let files = head.open_files(weighed.files.as_bytes()).expect("files");
    let tensors =
        files.open_tensors(weighed.tensors.as_deref().unwrap_or_default().as_bytes()).expect("tensors");

    let mut group = c.benchmark_group(group);
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(15));
    group.throughput(Throughput::BytesDecimal(weighed.head.bytes));
    for (name, tensor_hashes) in [("verify", TensorHashing::Skip), ("verify --tensors", TensorHashing::Check)]
    {
        let check = ModelCheck {
            model: folder,
            files: &files,
            tensors: Some(&tensors),
            layers: None,
            only: None,
            tensor_hashes,
            extra: ExtraFiles::Refuse,
        };
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(check.run(&|_| {}).expect("readable").refused, 0));
        });
    }
    for (name, listing) in [("weigh", TensorListing::List), ("weigh --no-tensors", TensorListing::Omit)] {
        group.bench_function(name, |b| b.iter(|| weighing(folder, listing).weigh(&|_| {}).expect("weighed")));
    }
    let paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    for tool in ["b3sum", "sha256sum"] {
        if run(tool, &[PathBuf::from("--version")]) {
            group.bench_function(tool, |b| b.iter(|| assert!(run(tool, &paths))));
        } else {
            println!("{tool} is not installed: left out");
        }
    }
}

fn run(tool: impl AsRef<Path>, paths: &[PathBuf]) -> bool {
    Command::new(tool.as_ref()).args(paths).stdout(Stdio::null()).status().is_ok_and(|s| s.success())
}

criterion_group!(benches, folders);
criterion_main!(benches);
