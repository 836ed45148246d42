//! Large chunks and large layers. The feature `rayon` spreads their work over cores without a change to any result.
//! These tests pass with and without the feature.

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use proptest::prelude::*;
use weighbridge_tree::{ChainingValue, Coded, FileRoot, Granule, Grid, Layer};

use crate::kit::{as_u64, data};

/// The layer, computed by the crate `blake3` alone on one core.
fn layer_of(bytes: &[u8], granule: usize) -> Vec<u8> {
    if bytes.len() <= granule {
        return Vec::new();
    }
    let starts = (0_u64..).step_by(granule);
    let value = |(start, chunk): (u64, &[u8])| {
        blake3::Hasher::new().set_input_offset(start).update(chunk).finalize_non_root()
    };
    starts.zip(bytes.chunks(granule)).flat_map(value).collect()
}

fn assert_checks(len: usize, granule: usize) {
    let bytes = data(len);
    let root = FileRoot::from_bytes(*blake3::hash(&bytes).as_bytes());
    let grid = Grid::new(as_u64(len), Granule::new(as_u64(granule)).unwrap()).unwrap();
    let layer = Layer::accept(grid, root, &layer_of(&bytes, granule)).unwrap();
    for (index, chunk) in (0..).zip(bytes.chunks(granule)) {
        assert_eq!(layer.check(index, chunk), Ok(()), "chunk {index} of {len} bytes");
        for at in [0, chunk.len() / 2, chunk.len() - 1] {
            let mut bad = chunk.to_vec();
            bad[at] ^= 1;
            assert_eq!(layer.check(index, &bad).unwrap_err().error_code().get(), 2102);
        }
    }
}

#[test]
fn large_chunks_are_checked_as_blake3_hashes_them() {
    const MIB: usize = 1 << 20;
    // Lengths around the smallest that is spread over cores, and the largest chunk size.
    for granule in [4 * MIB, 8 * MIB, 16 * MIB] {
        for len in
            [4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 4 * MIB + 1025, 5 * MIB - 1023, 7 * MIB / 2 + 1, 16 * MIB]
        {
            assert_checks(len, granule);
            assert_checks(granule + len, granule);
        }
    }
}

type Value = [u8; 32];

/// Section 2.1 of the BLAKE3 paper: the left subtree has the largest power of two of values that leaves some to the
/// right.
fn naive_root(values: &[Value]) -> Value {
    let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
    *merge_subtrees_root(&naive(left), &naive(right), Mode::Hash).as_bytes()
}

fn naive(values: &[Value]) -> Value {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
    merge_subtrees_non_root(&naive(left), &naive(right), Mode::Hash)
}

fn assert_merges(count: usize, seed: u64) {
    let mut bytes = vec![0; 32 * count];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let root = FileRoot::from_bytes(naive_root(bytes.as_chunks().0));
    let grid = Grid::new(as_u64(count) * 1024 - seed % 1024, Granule::MIN).unwrap();
    let layer = Layer::accept(grid, root, &bytes).unwrap();
    assert_eq!(layer.values().len(), count);
    assert_eq!(grid.merge_root(layer.values()), Ok(root));
    let as_values: Vec<_> = bytes.as_chunks().0.iter().map(|it| ChainingValue::from_bytes(*it)).collect();
    assert_eq!(layer.values(), as_values);
    bytes[usize::try_from(seed).unwrap() % (32 * count)] ^= 1;
    assert_eq!(Layer::accept(grid, root, &bytes).unwrap_err().error_code().get(), 2202);
}

#[test]
fn large_layers_merge_as_the_paper_says() {
    // Counts around the smallest that is spread over cores, and counts above it at which the tree changes its shape.
    for parts in [1, 2, 3, 5, 6, 7, 11, 13] {
        for count in [parts * 8192 - 1, parts * 8192, parts * 8192 + 1] {
            assert_merges(count, 7);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn layers_of_any_length_merge_as_the_paper_says(count in 2_usize..60_000, seed in 0_u64..1 << 32) {
        assert_merges(count, seed);
    }

    #[test]
    fn chunks_of_any_length_are_checked_as_blake3_hashes_them(len in 1_usize..20 << 20, log in 20_u32..25) {
        assert_checks(len, 1 << log);
    }
}
