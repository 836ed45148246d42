//! Accepting chunks in memory, beside hashing the same bytes with `blake3` alone.
//!
//! Both measurements are in one group, since only their ratio counts. The feature `rayon` spreads a large chunk over
//! all cores, so "1 thread" is one thread that offers chunks.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark has nobody to return an error to")]

use std::{hint::black_box, io::Read, iter, time::Duration};

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use weighbridge_benches::{Generated, OneFile, accept_all};
use weighbridge_tree::ChunkSize;

const LEN: u64 = 256 << 20;

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    Generated::new(LEN).read_to_end(&mut bytes).expect("bytes");
    bytes
}

/// Makes a new verifier for each run, outside of the timed part.
fn accept(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    file: &OneFile,
    bytes: &[u8],
    threads: usize,
) {
    group.bench_function(id, |b| {
        b.iter_batched(|| file.verifier(), |v| accept_all(v, bytes, threads), BatchSize::PerIteration);
    });
}

fn beside_blake3(c: &mut Criterion) {
    let bytes = bytes();
    let file = OneFile::of(&bytes[..], LEN, ChunkSize::DEFAULT_MIN);
    assert_eq!(file.verifier().layer().root().as_bytes(), blake3::hash(&bytes).as_bytes());

    let mut group = c.benchmark_group("256 MiB in chunks of 256 KiB");
    group.sample_size(40).measurement_time(Duration::from_secs(8)).throughput(Throughput::BytesDecimal(LEN));
    accept(&mut group, BenchmarkId::new("accept", "1 thread"), &file, &bytes, 1);
    group.bench_function("blake3::hash", |b| b.iter(|| blake3::hash(black_box(&bytes))));
    accept(&mut group, BenchmarkId::new("accept", "2 threads"), &file, &bytes, 2);
    group.bench_function("blake3 update_rayon", |b| {
        b.iter(|| blake3::Hasher::new().update_rayon(black_box(&bytes)).finalize());
    });
    group.finish();
}

fn chunk_sizes(c: &mut Criterion) {
    let bytes = bytes();
    let mut group = c.benchmark_group("256 MiB by chunk size");
    group.sample_size(20).measurement_time(Duration::from_secs(3)).throughput(Throughput::BytesDecimal(LEN));
    let doubled = |size: &ChunkSize| ChunkSize::new(size.bytes() * 2).ok();
    for size in iter::successors(Some(ChunkSize::MIN), doubled) {
        let file = OneFile::of(&bytes[..], LEN, size);
        for (threads, name) in [(1, "1 thread"), (2, "2 threads")] {
            let kib = format!("{} KiB", size.bytes() >> 10);
            accept(&mut group, BenchmarkId::new(name, kib), &file, &bytes, threads);
        }
    }
    group.finish();
}

criterion_group!(benches, beside_blake3, chunk_sizes);
criterion_main!(benches);
