//! Chunk layers are levels of BLAKE3's own tree, at every granule, and only the genuine chunk passes.

use proptest::prelude::*;
use weighbridge_tree::{
    ChainingValue, ChunkError, ChunkSize, Coded, CollectError, Collector, FileRoot, Granule, Grid, Layer,
    LayerError, LayerReader, MergeError,
};

use crate::kit::{as_u64, data};

fn grid(len: usize, granule: usize) -> Grid {
    Grid::new(as_u64(len), Granule::new(as_u64(granule)).unwrap()).unwrap()
}

fn values(bytes: &[u8], granule: usize) -> Vec<ChainingValue> {
    let grid = grid(bytes.len(), granule);
    let granules = (0..).zip(bytes.chunks(granule));
    granules.map(|(index, bytes)| grid.chaining_value(index, bytes).unwrap()).collect()
}

fn layer_bytes(bytes: &[u8], granule: usize) -> Vec<u8> {
    if bytes.len() <= granule {
        return Vec::new();
    }
    values(bytes, granule).iter().flat_map(|value| *value.as_bytes()).collect()
}

/// Takes a file through all steps: merges it, accepts its layer, and checks every chunk in its place and in the next
/// one.
fn assert_good(bytes: &[u8], granule: usize) {
    let (grid, root) = (grid(bytes.len(), granule), FileRoot::of(bytes));
    let layer_bytes = layer_bytes(bytes, granule);
    assert_eq!(as_u64(layer_bytes.len()), grid.layer_len());
    if grid.has_layer() {
        assert_eq!(grid.merge_root(&values(bytes, granule)), Ok(root), "{} at {granule}", bytes.len());
    }
    let layer = Layer::accept(grid, root, &layer_bytes).unwrap();
    let chunks: Vec<&[u8]> = bytes.chunks(granule).collect();
    assert_eq!(as_u64(chunks.len()), grid.count());
    for (index, chunk) in (0..).zip(&chunks) {
        assert_eq!(layer.check(index, chunk), Ok(()));
        let elsewhere = layer.check(index + 1, chunk);
        assert!(elsewhere.is_err(), "a chunk of another place");
    }
    assert_eq!(
        layer.check(grid.count(), &[]),
        Err(ChunkError::OutOfRange { index: grid.count(), count: grid.count() })
    );
}

#[test]
fn agrees_with_blake3_where_the_tree_changes_shape() {
    for granule in [1024, 4096, 16 << 10, 64 << 10] {
        // 1 has no layer, and 2 has the smallest. At the others the left-full tree has another shape than at the count
        // before.
        for count in [1, 2, 3, 5, 6, 7, 11, 13] {
            for len in [count * granule - 1, count * granule, count * granule + 1] {
                assert_good(&data(len), granule);
            }
        }
    }
}

#[test]
fn agrees_with_blake3_at_the_smallest_files() {
    for granule in [1024, 2048, 16 << 10, 1 << 24] {
        for len in [0, 1, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 16383, 16384, 16385] {
            assert_good(&data(len), granule);
        }
    }
}

#[test]
fn agrees_with_blake3_at_every_granule() {
    let bytes = data((16 << 20) * 3 + 12345);
    for log in 10..=24 {
        let granule = 1 << log;
        let grid = grid(bytes.len(), granule);
        assert_eq!(grid.merge_root(&values(&bytes, granule)), Ok(FileRoot::of(&bytes)), "granule {granule}");
    }
}

/// The first 32 bytes of the outputs in BLAKE3's own test_vectors.json.
#[test]
fn agrees_with_the_test_vectors_of_blake3() {
    let vectors = [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
        (2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"),
        (2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"),
        (3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"),
        (3073, "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3"),
        (4096, "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969"),
        (4097, "9b4052b38f1c5fc8b1f9ff7ac7b27cd242487b3d890d15c96a1c25b8aa0fb995"),
        (5120, "9cadc15fed8b5d854562b26a9536d9707cadeda9b143978f319ab34230535833"),
        (5121, "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff"),
        (6144, "3e2e5b74e048f3add6d21faab3f83aa44d3b2278afb83b80b3c35164ebeca205"),
        (6145, "f1323a8631446cc50536a9f705ee5cb619424d46887f3c376c695b70e0f0507f"),
        (7168, "61da957ec2499a95d6b8023e2b0e604ec7f6b50e80a9678b89d2628e99ada77a"),
        (7169, "a003fc7a51754a9b3c7fae0367ab3d782dccf28855a03d435f8cfe74605e7817"),
        (8192, "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63"),
        (8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"),
        (16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4"),
        (31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"),
        (102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
    ];
    for (len, hex) in vectors {
        let (bytes, root) = (data(len), FileRoot::from_hex(hex).unwrap());
        assert_eq!(FileRoot::of(&bytes), root);
        for log in 10..=17 {
            let layer = Layer::accept(grid(len, 1 << log), root, &layer_bytes(&bytes, 1 << log)).unwrap();
            assert!((0..).zip(bytes.chunks(1 << log)).all(|(i, chunk)| layer.check(i, chunk).is_ok()));
        }
    }
}

#[test]
fn refuses_every_flipped_bit_of_a_layer() {
    let bytes = data(13 * 1024 - 1);
    let (grid, root) = (grid(bytes.len(), 1024), FileRoot::of(&bytes));
    let good = layer_bytes(&bytes, 1024);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(Layer::accept(grid, root, &bad).unwrap_err().error_code().get(), 2202);
        }
    }
}

#[test]
fn refuses_layers_of_another_length_or_order() {
    for count in [2, 3, 5, 6, 7, 11, 13] {
        let bytes = data(count * 1024 - 1);
        let (grid, root) = (grid(bytes.len(), 1024), FileRoot::of(&bytes));
        let good = layer_bytes(&bytes, 1024);
        for len in (0..good.len()).chain([good.len() + 1, good.len() + 31, good.len() + 32, good.len() + 64])
        {
            let mut bad = good.clone();
            bad.resize(len, 0);
            let expected = LayerError::WrongLength { expected: as_u64(good.len()), actual: as_u64(len) };
            assert_eq!(Layer::accept(grid, root, &bad), Err(expected));
        }
        for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let mut bad: Vec<_> = good.chunks(32).collect();
            bad.swap(a, b);
            assert_eq!(Layer::accept(grid, root, &bad.concat()).unwrap_err().error_code().get(), 2202);
        }
        assert_eq!(Layer::accept(grid, root, &vec![0; good.len()]).unwrap_err().error_code().get(), 2202);
    }
}

#[test]
fn refuses_an_inner_level_and_a_subtree_as_a_file() {
    let bytes = data(4 * 1024);
    let pairs = layer_bytes(&bytes, 2048);
    let root = FileRoot::of(&bytes);
    // The level above has another length. As the layer of a shorter file it merges to the root, but the chunks do not
    // match: they are leaves, and the layer holds parents.
    assert_eq!(Layer::accept(grid(4096, 1024), root, &pairs).unwrap_err().error_code().get(), 2201);
    let shorter = Layer::accept(grid(2048, 1024), root, &pairs).unwrap();
    let halves = values(&bytes, 2048);
    assert!(shorter.check(0, &bytes[..1024]).is_err() && shorter.check(1, &bytes[1024..2048]).is_err());
    // A chaining value is not a root, even of the bytes from which it was computed (rule 4).
    let half = FileRoot::from_bytes(*halves[0].as_bytes());
    let as_file = Layer::accept(grid(2048, 4096), half, &[]).unwrap();
    assert_eq!(as_file.check(0, &bytes[..2048]), Err(ChunkError::Mismatch { index: 0, range: 0..2048 }));
}

#[test]
fn an_empty_file_is_checked_when_its_layer_is_accepted() {
    let grid = grid(0, 16384);
    let layer = Layer::accept(grid, FileRoot::of(b""), &[]).unwrap();
    assert_eq!(layer.check(0, &[]), Err(ChunkError::OutOfRange { index: 0, count: 0 }));
    assert_eq!(Layer::accept(grid, FileRoot::of(b"x"), &[]).unwrap_err().error_code().get(), 2101);
    assert_eq!(Layer::accept(grid, FileRoot::of(b""), &[0]).unwrap_err().error_code().get(), 2201);
}

#[test]
fn refusals_name_the_place() {
    let bytes = data(40_000);
    let layer =
        Layer::accept(grid(40_000, 16384), FileRoot::of(&bytes), &layer_bytes(&bytes, 16384)).unwrap();
    let mut bad = bytes[16384..32768].to_vec();
    bad[77] ^= 1;
    let say = |result: Result<(), ChunkError>| {
        let error = result.unwrap_err();
        format!("{} {error}", error.error_code())
    };
    assert_eq!(say(layer.check(1, &bad)), "2102 chunk 1 (bytes 16384..32768) does not match the signed root");
    assert_eq!(
        say(layer.check(2, &bytes[32768..39_999])),
        "2107 chunk 2 (bytes 32768..40000) has 7231 bytes, expected 7232"
    );
    assert_eq!(say(layer.check(3, &bytes)), "2108 chunk 3 is past the end of a file of 3 chunks");
    assert_eq!(layer.check(1, &bytes[16384..32768]), Ok(()), "a refusal changes nothing");
}

#[test]
fn names_the_chunks_that_differ() {
    let bytes = data(13 * 1024 - 5);
    let layer =
        Layer::accept(grid(bytes.len(), 1024), FileRoot::of(&bytes), &layer_bytes(&bytes, 1024)).unwrap();
    let mut found = bytes.clone();
    found[3 * 1024] ^= 1;
    found[12 * 1024 + 9] ^= 1;
    assert_eq!(layer.differing(&values(&found, 1024)).unwrap().collect::<Vec<_>>(), [3, 12]);
    assert_eq!(layer.differing(layer.values()).unwrap().count(), 0);
    let wrong = MergeError::WrongCount { expected: 13, actual: 12 };
    assert_eq!(layer.differing(&layer.values()[1..]).err(), Some(wrong));
}

#[test]
fn coarsens_to_every_coarser_grid() {
    for len in [1025, 5 * 1024, 64 * 1024 + 1, 102_400, 300_001] {
        let bytes = data(len);
        for fine in 10..=17 {
            for coarse in fine..=20 {
                let (from, to) = (grid(len, 1 << fine), grid(len, 1 << coarse));
                if !from.has_layer() {
                    continue;
                }
                let expected = if to.has_layer() { values(&bytes, 1 << coarse) } else { Vec::new() };
                assert_eq!(from.coarsen(&values(&bytes, 1 << fine), to), Ok(expected));
                if coarse > fine && to.has_layer() {
                    let refused = to.coarsen(&values(&bytes, 1 << coarse), from);
                    assert_eq!(refused, Err(MergeError::NotCoarser));
                }
            }
        }
        let from = grid(len, 1024);
        let refused = from.coarsen(&values(&bytes, 1024), grid(len + 1, 2048));
        assert_eq!(refused, Err(MergeError::NotCoarser), "another length");
    }
}

#[test]
fn a_million_granules_merge_to_the_root() {
    // The values need not be those of a real file: the test compares two ways of merging them.
    let count = (1 << 20) + 3;
    let fine = Grid::new(count * 1024 - 7, Granule::MIN).unwrap();
    let values: Vec<_> =
        (0..count).map(|i| ChainingValue::from_bytes(*blake3::hash(&i.to_le_bytes()).as_bytes())).collect();
    let coarse = Grid::new(fine.len(), ChunkSize::MAX).unwrap();
    let chunks = fine.coarsen(&values, coarse).unwrap();
    assert_eq!(as_u64(chunks.len()), coarse.count());
    assert_eq!(coarse.merge_root(&chunks), fine.merge_root(&values));
}

#[test]
fn collects_in_any_order_and_only_once() {
    for len in [1025, 64 * 1024, 65 * 1024 + 1, 200 * 1024 + 5] {
        let bytes = data(len);
        let grid = grid(len, 1024);
        let values = values(&bytes, 1024);
        let mut order: Vec<u64> = (0..grid.count()).collect();
        order.sort_by_key(|i| *blake3::hash(&i.to_le_bytes()).as_bytes());
        let mut collector = Collector::new(grid).unwrap();
        for (done, index) in (0..).zip(&order) {
            let value = values[usize::try_from(*index).unwrap()];
            assert_eq!(collector.missing(), grid.count() - done);
            assert!(!collector.is_complete());
            assert_eq!(collector.get(*index), None, "unknown is not zero");
            assert_eq!(collector.insert(*index, value), Ok(()));
            assert_eq!(collector.get(*index), Some(value));
            let zero = ChainingValue::from_bytes([0; 32]);
            assert_eq!(collector.insert(*index, zero), Err(CollectError::Twice { index: *index }));
            let past = CollectError::OutOfRange { index: grid.count(), count: grid.count() };
            assert_eq!(collector.insert(grid.count(), value), Err(past));
        }
        assert!(collector.is_complete());
        assert_eq!(collector.finish(), Ok(values));
    }
}

#[test]
fn an_incomplete_collection_is_not_handed_out() {
    let mut collector = Collector::new(grid(3000, 1024)).unwrap();
    collector.insert(2, ChainingValue::from_bytes([1; 32])).unwrap();
    assert_eq!((collector.get(0), collector.get(1)), (None, None));
    assert_eq!(collector.finish(), Err(CollectError::Incomplete { missing: 2 }));
    assert_eq!(Collector::new(grid(1024, 1024)).err(), Some(CollectError::NoLayer));
    let huge = Grid::new((1 << 53) - 1, Granule::MIN).unwrap();
    assert_eq!(Collector::new(huge).unwrap_err().error_code().get(), 9002);
}

#[test]
fn a_layer_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Layer>();
    shared::<Collector>();
    shared::<weighbridge_tree::ListTree>();
}

/// Lengths near powers of two and near multiples of the granule, where mistakes are likely.
fn any_grid() -> impl Strategy<Value = Grid> {
    let len = prop_oneof![
        0..5000_u64,
        (0..=53_u32, -2..=2_i64)
            .prop_map(|(log, by)| (1_u64 << log).saturating_add_signed(by).min((1 << 53) - 1)),
        0..1_u64 << 53,
    ];
    (len, 10..=53_u32).prop_map(|(len, log)| Grid::new(len, Granule::new(1 << log).unwrap()).unwrap())
}

proptest! {
    #[test]
    fn nothing_offered_to_a_grid_panics(
        grid in any_grid(),
        index in prop_oneof![0..4_u64, any::<u64>()],
        from_end in 0..3_u64,
        use_end in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        exact in any::<bool>(),
    ) {
        let index = if use_end { grid.count().wrapping_sub(from_end) } else { index };
        let range = grid.range(index);
        let mut bytes = bytes;
        if let Some(range) = range.clone().filter(|range| exact && range.end - range.start < 1 << 16) {
            bytes.resize(usize::try_from(range.end - range.start).unwrap(), 1);
        }
        let fits = range.is_some_and(|range| range.end - range.start == as_u64(bytes.len()));
        prop_assert_eq!(grid.chaining_value(index, &bytes).is_ok(), fits && grid.has_layer());
        prop_assert!(!fits || index < grid.count());
        let accepted = Layer::accept(grid, FileRoot::of(&bytes), &[]);
        prop_assert_eq!(accepted.is_ok(), !grid.has_layer() && (!grid.is_empty() || bytes.is_empty()));
        if let Ok(layer) = accepted {
            prop_assert_eq!(layer.check(index, &bytes).is_ok(), fits);
        }
    }

    #[test]
    fn any_bytes_offered_as_a_layer_are_refused(
        len in 0..40_000_u64,
        log in 10..16_u32,
        bytes in proptest::collection::vec(any::<u8>(), 0..1400),
        exact in any::<bool>(),
    ) {
        let grid = Grid::new(len, Granule::new(1 << log).unwrap()).unwrap();
        let mut bytes = bytes;
        if exact { bytes.resize(usize::try_from(grid.layer_len()).unwrap(), 1); }
        let result = Layer::accept(grid, FileRoot::of(b"some other file"), &bytes);
        let accepted = !grid.has_layer() && !grid.is_empty() && bytes.is_empty();
        prop_assert_eq!(result.is_ok(), accepted);
    }

    #[test]
    fn any_split_into_subtrees_gives_the_root(len in 1025..200_000_usize, fine in 10..15_u32, coarse in 15..18_u32) {
        let bytes = data(len);
        let (from, to) = (grid(len, 1 << fine), grid(len, 1 << coarse));
        prop_assume!(from.has_layer());
        let values = values(&bytes, 1 << fine);
        prop_assert_eq!(from.merge_root(&values), Ok(FileRoot::of(&bytes)));
        let coarser = from.coarsen(&values, to).unwrap();
        if to.has_layer() {
            prop_assert_eq!(to.merge_root(&coarser), Ok(FileRoot::of(&bytes)));
        } else {
            prop_assert_eq!(to.merge_root(&coarser), Err(MergeError::NoLayer));
        }
    }

    #[test]
    fn no_changed_chunk_passes(len in 1..60_000_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let bytes = data(len);
        let layer = Layer::accept(grid(len, 16384), FileRoot::of(&bytes), &layer_bytes(&bytes, 16384)).unwrap();
        let at = at.index(len);
        let mut bad = bytes;
        bad[at] ^= flip;
        for (index, chunk) in (0..).zip(bad.chunks(16384)) {
            prop_assert_eq!(layer.check(index, chunk).is_ok(), index != as_u64(at / 16384));
        }
    }
}

/// Layers are read from files piece by piece. The sizes of the pieces must not matter.
#[test]
fn a_layer_read_in_pieces_is_judged_as_one_read_whole() {
    for len in [0, 1, 16_384, 16_385, 100_000, 250_000] {
        let bytes = data(len);
        let (grid, root, good) = (grid(len, 16_384), FileRoot::of(&bytes), layer_bytes(&bytes, 16_384));
        let mut bad = good.clone();
        if let Some(last) = bad.last_mut() {
            *last ^= 1;
        }
        for layer in [
            good.clone(),
            bad,
            [&good[..], &[7]].concat(),
            [&good[..], &[7; 32]].concat(),
            good[1.min(good.len())..].to_vec(),
        ] {
            let whole = Layer::accept(grid, root, &layer).map_err(|error| error.error_code().get());
            for size in [1, 31, 32, 33, 100, 4_096] {
                let read = || {
                    let mut reader = LayerReader::new(grid, root);
                    layer.chunks(size).try_for_each(|piece| reader.push(piece))?;
                    reader.finish()
                };
                assert_eq!(
                    read().map_err(|error: LayerError| error.error_code().get()),
                    whole,
                    "{len} {size}"
                );
            }
        }
    }
}

/// A sparse file of 16 GiB was once read into memory before its zeros were refused.
#[test]
fn zeros_are_refused_as_soon_as_they_come() {
    let grid = Grid::new(1 << 50, Granule::new(16_384).unwrap()).unwrap();
    let mut reader = LayerReader::new(grid, FileRoot::of(b"anything"));
    reader.push(&[7; 64]).unwrap();
    assert_eq!(reader.push(&[0; 32]).unwrap_err().error_code().get(), 2202);
}
