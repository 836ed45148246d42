//! Chunk layers: a layer is accepted exactly if a naive merge leads to the root. Chunks are then accepted exactly if
//! they are those of the file.
//!
//! Input: the file's size and the chunk size as eight bytes each, least significant first; the file's root; the
//! layer.
#![no_main]

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{bounded, naive::Hash};
use weighbridge_tree::{ChainingValue, ChunkSize, Collector, FileRoot, Granule, Grid, Layer};

fuzz_target!(|data: &[u8]| {
    let Some((size, rest)) = data.split_first_chunk() else { return };
    let Some((chunk_size, rest)) = rest.split_first_chunk() else { return };
    let Some((root, layer)) = rest.split_first_chunk() else { return };
    let (size, chunk_size) = (u64::from_le_bytes(*size), u64::from_le_bytes(*chunk_size));
    if let Some(granule) = ChunkSize::new(chunk_size).ok().map(Granule::from).or(Granule::new(chunk_size)) {
        hostile(size, granule, *root, layer);
        // The same bytes, as the layer of a file that has one value for each chunk.
        let whole = (layer.len() as u64 / 32).saturating_mul(granule.bytes());
        hostile(whole.saturating_sub(size % granule.bytes()), granule, *root, layer);
    }
    honest(1 + size % (9 << 10), root[0]);
});

fn hostile(size: u64, granule: Granule, root: Hash, bytes: &[u8]) {
    let grid = Grid::new(size, granule);
    assert_eq!(grid.is_ok(), size < 1 << 53);
    let Ok(grid) = grid else { return };
    let (values, rest) = bytes.as_chunks::<32>();
    let chunks = size.div_ceil(granule.bytes());
    let expected = if chunks > 1 { chunks } else { 0 };
    // No bytes are known whose chaining value is all zeros. Such a value is a hole in `chunks.layer`, and never
    // valid.
    let has_hole = values.contains(&[0; 32]);
    let fits = rest.is_empty() && values.len() as u64 == expected && !has_hole;
    let merged = (fits && chunks > 1).then(|| merge_root(values));

    let accept = |root: Hash, bytes: &[u8]| {
        bounded(bytes.len(), || Layer::accept(grid, FileRoot::from_bytes(root), bytes)).is_ok()
    };
    let is_root =
        |root: Hash| merged.map_or(size > 0 || root == *blake3::hash(b"").as_bytes(), |it| it == root);
    assert_eq!(accept(root, bytes), fits && is_root(root));
    let Some(merged) = merged else { return };
    assert!(accept(merged, bytes));
    let mut changed = bytes.to_vec();
    changed[bytes.len() / 2] ^= 1;
    assert!(!accept(merged, &changed) && !accept(merged, &bytes[32..]));
}

/// Section 2.1 of the BLAKE3 paper: the left subtree is the largest power of two that leaves at least one value to
/// the right.
fn merge_root(values: &[Hash]) -> Hash {
    let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
    *merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).as_bytes()
}

fn merge(values: &[Hash]) -> Hash {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
    merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
}

/// A small generated file in chunks of one or two BLAKE3 chunks: its layer is accepted under its hash, and each chunk
/// only at its own position.
fn honest(size: u64, seed: u8) {
    let granule = Granule::new(if seed & 1 == 0 { 1024 } else { 2048 }).expect("a power of two");
    let grid = Grid::new(size, granule).expect("a small file");
    let data: Vec<u8> = (0..size).map(|i| ((i + u64::from(seed)) % 251) as u8).collect();
    let chunks: Vec<&[u8]> = data.chunks(granule.bytes() as usize).collect();
    let root = FileRoot::of(&data);
    assert_eq!(chunks.len() as u64, grid.count());

    let mut bytes = Vec::new();
    if grid.has_layer() {
        // The values are collected in an order that depends on the seed.
        let mut collector = Collector::new(grid).expect("a layer");
        let start = usize::from(seed) % chunks.len();
        for index in (0..chunks.len()).map(|i| (i + start) % chunks.len()) {
            let value = grid.chaining_value(index as u64, chunks[index]).expect("a whole chunk");
            collector.insert(index as u64, value).expect("the first time");
            assert!(collector.insert(index as u64, value).is_err());
        }
        let values: Vec<ChainingValue> = collector.finish().expect("all of them");
        assert_eq!(grid.merge_root(&values), Ok(root));
        bytes = values.iter().flat_map(|value| *value.as_bytes()).collect();
    }
    let layer = Layer::accept(grid, root, &bytes).expect("the file's own layer");
    for (index, chunk) in (0_u64..).zip(&chunks) {
        for (other, at) in chunks.iter().zip(0_u64..) {
            // The bytes have a period of 251, so that no two chunks are alike.
            assert_eq!(layer.check(index, other).is_ok(), at == index, "chunk {at} at {index}");
        }
        assert!(layer.check(index, &chunk[1..]).is_err());
        let mut changed = chunk.to_vec();
        changed[usize::from(seed) % chunk.len()] ^= 1;
        assert!(layer.check(index, &changed).is_err());
    }
    assert!(layer.check(grid.count(), &data).is_err());
}
