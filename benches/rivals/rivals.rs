//! The same 256 MiB in memory: accepted in chunks of 256 KiB, decoded by other verified streams, and hashed.
//!
//! Each rival is used in its fastest way: verified bytes are dropped at once, and go into no file and no large
//! vector. The encodings are made beforehand. Before the timing, each rival must return the same bytes, and refuse an
//! encoding with one flipped bit.

use std::{
    hint::black_box,
    io::{self, Cursor, Read},
    time::Duration,
};

use bao_tree::{
    BaoTree, BlockSize, ChunkRanges,
    io::{
        BaoContentItem, DecodeError,
        outboard::PreOrderMemOutboard,
        sync::{DecodeResponseIter, encode_ranges},
    },
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use weighbridge_benches::{Generated, OneFile, accept_all};
use weighbridge_tree::ChunkSize;

const LEN: u64 = 256 << 20;
const CHUNK: usize = 256 << 10;

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    Generated::new(LEN).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Decodes a Bao encoding with leaves of 1 KiB, and passes on pieces of up to a chunk.
fn bao(encoded: &[u8], root: &blake3::Hash, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut decoder = bao::decode::Decoder::new(encoded, root);
    let mut piece = vec![0; CHUNK];
    loop {
        match decoder.read(&mut piece)? {
            0 => return Ok(()),
            read => take(&piece[..read]),
        }
    }
}

/// Decodes the encoding that `bao-tree` sends for a whole file, with leaves of one chunk. The encoding has neither
/// the file's size nor the block size, and bytes behind its end are not looked at.
fn bao_tree(encoded: &[u8], root: blake3::Hash, mut take: impl FnMut(&[u8])) -> Result<(), DecodeError> {
    let tree = BaoTree::new(LEN, BlockSize::from_chunk_log(8));
    let ranges = ChunkRanges::all();
    let mut encoded = Cursor::new(encoded);
    for item in DecodeResponseIter::new(root, tree, &mut encoded, &ranges) {
        if let BaoContentItem::Leaf(leaf) = item? {
            take(&leaf.data);
        }
    }
    assert_eq!(encoded.position(), encoded.get_ref().len() as u64, "trailing bytes");
    Ok(())
}

fn bao_tree_encoding(bytes: &[u8]) -> (Vec<u8>, blake3::Hash) {
    let outboard = PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(8));
    let mut encoded = Vec::new();
    encode_ranges(bytes, &outboard, &ChunkRanges::all(), &mut encoded).unwrap();
    (encoded, outboard.root)
}

/// Asserts that a decoder returns these bytes, and refuses an encoding with one flipped bit in the middle.
fn try_out<E>(bytes: &[u8], encoded: &[u8], decode: impl Fn(&[u8], &mut dyn FnMut(&[u8])) -> Result<(), E>) {
    let mut rest = bytes;
    let decoded = decode(encoded, &mut |piece| {
        let (expected, behind) = rest.split_at(piece.len());
        assert!(piece == expected, "it decodes to other bytes");
        rest = behind;
    });
    assert!(decoded.is_ok() && rest.is_empty());
    let mut turned = encoded.to_vec();
    turned[encoded.len() / 2] ^= 1;
    assert!(decode(&turned, &mut |_| {}).is_err(), "it does not verify");
}

fn rivals(c: &mut Criterion) {
    let bytes = bytes();
    let file = OneFile::of(&bytes[..], LEN, ChunkSize::new(CHUNK as u64).unwrap());
    let root = blake3::hash(&bytes);
    assert_eq!(file.verifier().layer().root().as_bytes(), root.as_bytes());
    let mut turned = bytes[..CHUNK].to_vec();
    turned[CHUNK / 2] ^= 1;
    assert!(file.verifier().accept(0, &turned).is_err());
    drop(turned);

    let mut group = c.benchmark_group("256 MiB beside others");
    group.sample_size(20).measurement_time(Duration::from_secs(8)).throughput(Throughput::BytesDecimal(LEN));
    for (threads, name) in [(1, "accept, 1 thread"), (2, "accept, 2 threads")] {
        group.bench_function(name, |b| {
            b.iter_batched(|| file.verifier(), |v| accept_all(v, &bytes, threads), BatchSize::PerIteration);
        });
    }
    group.bench_function("blake3::hash", |b| b.iter(|| blake3::hash(black_box(&bytes))));
    group.bench_function("blake3 update_rayon", |b| {
        b.iter(|| blake3::Hasher::new().update_rayon(black_box(&bytes)).finalize());
    });

    let (encoded, its_root) = bao_tree_encoding(&bytes);
    assert_eq!(its_root, root);
    try_out(&bytes, &encoded, |encoded, take| bao_tree(encoded, root, take));
    group.bench_function("bao-tree, blocks of 256 KiB", |b| {
        b.iter(|| bao_tree(&encoded, root, |piece| _ = black_box(piece)).unwrap());
    });

    let (encoded, its_root) = bao::encode::encode(&bytes);
    assert_eq!(its_root, root);
    try_out(&bytes, &encoded, |encoded, take| bao(encoded, &root, take));
    group.bench_function("bao", |b| {
        b.iter(|| bao(&encoded, &root, |piece| _ = black_box(piece)).unwrap());
    });
    drop(encoded);

    group.sample_size(10);
    group.bench_function("sha2", |b| b.iter(|| Sha256::digest(black_box(&bytes))));
    group.finish();
}

criterion_group!(benches, rivals);
criterion_main!(benches);
