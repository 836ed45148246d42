//! Slices are byte for byte those of Bao, in both directions, and only the honest slice passes.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::{Cursor, Read as _};
use std::ops::Range;

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use proptest::prelude::*;
use weighbridge_tree::{
    ChunkError, ChunkSize, Coded, FileRoot, Granule, Grid, Layer, SliceDecoder, SliceError, SliceRange,
    Slicer, check_slice,
};

use crate::kit::{as_u64, data};

fn slice_range(len: usize, range: &Range<usize>) -> SliceRange {
    SliceRange::new(as_u64(len), as_u64(range.start)..as_u64(range.end)).unwrap()
}

fn layer(bytes: &[u8], granule: Granule) -> Layer {
    let grid = Grid::new(as_u64(bytes.len()), granule).unwrap();
    let mut values = Vec::new();
    if grid.has_layer() {
        let each = usize::try_from(granule.bytes()).unwrap();
        for (index, chunk) in (0..).zip(bytes.chunks(each)) {
            values.extend(grid.chaining_value(index, chunk).unwrap().as_bytes());
        }
    }
    Layer::accept(grid, FileRoot::of(bytes), &values).unwrap()
}

/// Makes a slice with our code, from the touched chunks alone.
fn ours(bytes: &[u8], layer: &Layer, range: &Range<usize>) -> Vec<u8> {
    let range = slice_range(bytes.len(), range);
    let mut slice = Vec::new();
    let mut slicer = Slicer::new(layer, range, &mut slice).unwrap();
    let mut asked = Vec::new();
    while let Some(index) = slicer.wanted() {
        let chunk = layer.grid().range(index).unwrap();
        let chunk = usize::try_from(chunk.start).unwrap()..usize::try_from(chunk.end).unwrap();
        slicer.push(&bytes[chunk], &mut slice).unwrap();
        asked.push(index);
    }
    assert_eq!(slicer.finish(), Ok(()));
    assert_eq!(asked, range.chunks(layer.grid().granule()).collect::<Vec<_>>());
    slice
}

/// Makes a slice with Bao, from Bao's own encoding.
fn theirs(encoded: &[u8], range: &Range<usize>) -> Vec<u8> {
    let (start, len) = (as_u64(range.start), as_u64(range.len()));
    let mut slice = Vec::new();
    bao::encode::SliceExtractor::new(Cursor::new(encoded), start, len).read_to_end(&mut slice).unwrap();
    slice
}

/// Decodes a slice with Bao.
fn they_read(root: FileRoot, slice: &[u8], range: &Range<usize>) -> std::io::Result<Vec<u8>> {
    let (start, len) = (as_u64(range.start), as_u64(range.len()));
    let mut bytes = Vec::new();
    bao::decode::SliceDecoder::new(slice, &bao::Hash::from_bytes(*root.as_bytes()), start, len)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bao_slice(bytes: &[u8], range: &Range<usize>) -> Vec<u8> {
    theirs(&bao::encode::encode(bytes).0, range)
}

/// All bytes that a decoder releases, and its verdict, when the slice arrives in these pieces.
fn stream<'a>(
    root: FileRoot,
    range: SliceRange,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Result<(), SliceError>) {
    let mut decoder = SliceDecoder::new(root, range);
    let mut released = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(bytes)) => {
                    assert!(!bytes.is_empty() && bytes.len() <= 1024);
                    released.extend_from_slice(bytes);
                }
                Ok(None) => break,
                Err(error) => return (released, Err(error)),
            }
        }
        assert!(piece.is_empty(), "all was taken");
    }
    (released, decoder.finish(&[]))
}

/// Checks a slice in both ways: in one call, and streamed.
fn assert_accepted(bytes: &[u8], range: &Range<usize>, slice: &[u8]) {
    let (root, wanted) = (FileRoot::of(bytes), &bytes[range.clone()]);
    let slice_range = slice_range(bytes.len(), range);
    assert_eq!(slice_range.encoded_len(), as_u64(slice.len()), "{range:?} of {}", bytes.len());
    assert_eq!(check_slice(root, slice_range, slice).as_deref(), Ok(wanted));
    assert_eq!(stream(root, slice_range, [slice]), (wanted.to_vec(), Ok(())));
}

/// Ranges between all interesting places: both ends of the file, and both sides of every kind of boundary.
fn ranges(len: usize) -> Vec<Range<usize>> {
    let half = (len.next_power_of_two() / 2).max(1);
    let last = len.saturating_sub(1) / 1024 * 1024;
    let places = [0, 1024, 16384, half, half / 2, last, len];
    let points: BTreeSet<usize> = places
        .iter()
        .flat_map(|place| [place.saturating_sub(1), *place, place + 1])
        .filter(|point| *point <= len)
        .collect();
    let pairs = points.iter().flat_map(|start| points.range(start + 1..).map(move |end| *start..*end));
    if len == 0 { std::iter::once(0..0).collect() } else { pairs.collect() }
}

#[test]
fn agrees_with_bao_at_every_size_and_boundary() {
    const KIB: usize = 1024;
    let mut sizes = BTreeSet::from([0, 1, 2 * KIB, 4 * KIB]);
    // The count 1 is the chunk itself. At the others the tree has another shape than at the count before.
    for count in [1, 3, 5, 6, 7, 11, 13] {
        for unit in [KIB, 16 * KIB] {
            sizes.extend([count * unit - 1, count * unit, count * unit + 1]);
        }
    }
    for len in sizes {
        let bytes = data(len);
        let (encoded, root) = bao::encode::encode(&bytes);
        assert_eq!(FileRoot::of(&bytes).as_bytes(), root.as_bytes());
        let layers = [1, 4, 16].map(|kib| layer(&bytes, Granule::new(kib << 10).unwrap()));
        for range in ranges(len) {
            let slice = theirs(&encoded, &range);
            for layer in &layers {
                assert!(ours(&bytes, layer, &range) == slice, "{range:?} of {len}, {:?}", layer.grid());
            }
            assert_accepted(&bytes, &range, &slice);
            assert_eq!(they_read(FileRoot::of(&bytes), &slice, &range).unwrap(), bytes[range]);
        }
    }
}

#[test]
fn agrees_with_bao_around_a_mebibyte() {
    const MIB: usize = 1 << 20;
    for len in [MIB - 1, MIB, MIB + 1] {
        let bytes = data(len);
        let encoded = bao::encode::encode(&bytes).0;
        // One chunk for all of the file, and more than enough chunks.
        let layers = [10, 14, 18, 24].map(|log| layer(&bytes, Granule::new(1 << log).unwrap()));
        let ranges = [
            0..1,
            0..len,
            len - 1..len,
            MIB / 2 - 1..MIB / 2 + 1,
            MIB / 2..MIB / 2 + 1024,
            16383..16385,
            1..len - 1,
            262_144..524_288,
            len - 1025..len,
        ];
        for range in ranges {
            let slice = theirs(&encoded, &range);
            for layer in &layers {
                assert!(ours(&bytes, layer, &range) == slice, "{range:?} of {len}, {:?}", layer.grid());
            }
            assert_accepted(&bytes, &range, &slice);
            assert_eq!(they_read(FileRoot::of(&bytes), &slice, &range).unwrap(), bytes[range]);
        }
    }
}

#[test]
fn names_the_chunks_that_a_range_touches() {
    let chunks = |range| slice_range(100_000, &range).chunks(ChunkSize::MIN);
    assert_eq!(chunks(0..1), 0..1);
    assert_eq!(chunks(16383..16384), 0..1);
    assert_eq!(chunks(16383..16385), 0..2);
    assert_eq!(chunks(16384..16385), 1..2);
    assert_eq!(chunks(99_999..100_000), 6..7);
    assert_eq!(chunks(0..100_000), 0..7);
    assert_eq!(slice_range(0, &(0..0)).chunks(ChunkSize::MIN), 0..0);
}

/// The example of `spec/slices.md`.
const EXAMPLE: Range<usize> = 2000..2100;

/// A part of a slice: its place in the slice, the byte range of the file below it, and the number of bytes released
/// once the part is accepted.
#[derive(Clone, Debug)]
struct Part {
    place: Range<usize>,
    node: Range<usize>,
    released: usize,
}

/// The parts of a slice by the specification, computed recursively from the sizes alone.
fn parts(len: usize, range: &Range<usize>) -> Vec<Part> {
    fn add(node: Range<usize>, range: &Range<usize>, parts: &mut Vec<Part>) {
        if node.end <= range.start || range.end <= node.start {
            return;
        }
        let Part { place: Range { end: at, .. }, released, .. } = *parts.last().unwrap();
        if node.len() <= 1024 {
            let released = released + (node.end.min(range.end) - node.start.max(range.start));
            parts.push(Part { place: at..at + node.len(), node, released });
            return;
        }
        parts.push(Part { place: at..at + 64, node: node.clone(), released });
        let mut left = 1024;
        while 2 * left < node.len() {
            left *= 2;
        }
        let middle = node.start + left;
        add(node.start..middle, range, parts);
        add(middle..node.end, range, parts);
    }
    let mut parts = vec![Part { place: 0..8, node: 0..len, released: 0 }];
    add(0..len, range, &mut parts);
    parts
}

/// An honest slice, with all data needed to judge another slice in its place.
struct Honest {
    bytes: Vec<u8>,
    range: Range<usize>,
    slice: Vec<u8>,
    parts: Vec<Part>,
}

impl Honest {
    fn new(len: usize, range: Range<usize>) -> Self {
        let bytes = data(len);
        let slice = ours(&bytes, &layer(&bytes, ChunkSize::MIN.into()), &range);
        let parts = parts(len, &range);
        assert_eq!(parts.last().unwrap().place.end, slice.len());
        Self { bytes, range, slice, parts }
    }

    /// Asserts that both ways of checking refuse `bad`, and that exactly the bytes in the parts before the first
    /// changed byte are released.
    fn assert_refused(&self, bad: &[u8]) {
        assert_ne!(bad, self.slice);
        let good = self.slice.iter().zip(bad).take_while(|(good, bad)| good == bad).count();
        let accepted = self.parts.iter().take_while(|part| part.place.end <= good).last();
        let accepted = accepted.map_or(0, |part| part.released);
        let honest = &self.bytes[self.range.clone()][..accepted];

        let (root, range) = (FileRoot::of(&self.bytes), slice_range(self.bytes.len(), &self.range));
        let (released, verdict) = stream(root, range, [bad]);
        assert_eq!(released, honest, "{good} good bytes of {range:?}");

        // The part with the first changed byte determines the error. If that part is incomplete, the slice is too
        // short.
        let (expected, actual) = (range.encoded_len(), as_u64(bad.len()));
        let error = match self.parts.iter().find(|part| part.place.end > good) {
            None => SliceError::Long { expected },
            Some(part) if part.place.end > bad.len() => SliceError::Short { expected, actual },
            Some(part) if part.place.start == 0 => SliceError::OtherSize {
                expected: range.file_len(),
                actual: u64::from_le_bytes(*bad.first_chunk().unwrap()),
            },
            Some(part) => SliceError::Mismatch { range: as_u64(part.node.start)..as_u64(part.node.end) },
        };
        assert_eq!(verdict, Err(error.clone()));
        // A slice in memory has its length checked directly after the size.
        let error = match (error, actual.cmp(&expected)) {
            (error @ SliceError::OtherSize { .. }, _) | (error, Ordering::Equal) => error,
            (_, Ordering::Less) => SliceError::Short { expected, actual },
            (_, Ordering::Greater) => SliceError::Long { expected },
        };
        assert_eq!(check_slice(root, range, bad), Err(error));
    }
}

/// Small slices of every kind: the size alone, one leaf, one leaf of several, both halves, the short end, the whole
/// file.
fn honest() -> Vec<Honest> {
    let all = [
        (0, 0..0),
        (1, 0..1),
        (1024, 3..5),
        (1025, 0..1025),
        (1025, 1024..1025),
        (5000, EXAMPLE),
        (5000, 4999..5000),
        (3073, 1000..3073),
        (6144, 4095..4097),
    ];
    all.into_iter().map(|(len, range)| Honest::new(len, range)).collect()
}

#[test]
fn the_example_of_the_specification_is_as_printed() {
    let example = Honest::new(5000, EXAMPLE);
    let lengths: Vec<usize> = example.parts.iter().map(|part| part.place.len()).collect();
    assert_eq!(lengths, [8, 64, 64, 64, 1024, 64, 1024]);
    assert_eq!(example.slice.len(), 2312);
    assert_eq!(example.slice[..8], 5000_u64.to_le_bytes());
}

#[test]
fn refuses_every_changed_byte() {
    for honest in honest() {
        for at in 0..honest.slice.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = honest.slice.clone();
                bad[at] ^= flip;
                honest.assert_refused(&bad);
            }
        }
    }
}

#[test]
fn refuses_every_cut_and_whatever_is_appended() {
    for honest in honest() {
        for end in 0..honest.slice.len() {
            honest.assert_refused(&honest.slice[..end]);
        }
        for more in [&[0][..], &[0; 64], &honest.slice[..8], &honest.slice] {
            honest.assert_refused(&[&honest.slice, more].concat());
        }
    }
}

#[test]
fn refuses_parts_exchanged_repeated_or_left_out() {
    for honest in honest() {
        let parts: Vec<&[u8]> = honest.parts.iter().map(|part| &honest.slice[part.place.clone()]).collect();
        for i in 0..parts.len() {
            let mut bad = parts.clone();
            bad.remove(i);
            honest.assert_refused(&bad.concat());
            for j in 0..parts.len() {
                let mut bad = parts.clone();
                bad.insert(j, parts[i]);
                honest.assert_refused(&bad.concat());
                if i != j {
                    let mut bad = parts.clone();
                    bad.swap(i, j);
                    honest.assert_refused(&bad.concat());
                    bad.clone_from(&parts);
                    bad[j] = parts[i];
                    honest.assert_refused(&bad.concat());
                }
            }
            if let Some((left, right)) = parts[i].split_at_checked(32).filter(|_| parts[i].len() == 64) {
                let (exchanged, doubled) = ([right, left].concat(), [left, left].concat());
                for children in [exchanged, doubled] {
                    let mut bad = parts.clone();
                    bad[i] = &children;
                    honest.assert_refused(&bad.concat());
                }
            }
        }
    }
}

#[test]
fn a_slice_of_one_range_is_not_one_of_another() {
    let bytes = data(7 * 1024 - 1);
    let root = FileRoot::of(&bytes);
    let encoded = bao::encode::encode(&bytes).0;
    let ends = [0, 1, 1024, 1025, 2048, 4095, 4096, 6143, 6144, 7166, 7167];
    let ranges = || ends.iter().flat_map(|a| ends.iter().filter(move |b| a < *b).map(move |b| *a..*b));
    let mut refused = 0;
    for offered in ranges() {
        let slice = theirs(&encoded, &offered);
        for wanted in ranges() {
            let checked = check_slice(root, slice_range(bytes.len(), &wanted), &slice);
            // Ranges that touch the same BLAKE3 chunks have the same slice; each range yields its own bytes.
            if theirs(&encoded, &wanted) == slice {
                assert_eq!(checked.as_deref(), Ok(&bytes[wanted]));
            } else {
                let code = checked.unwrap_err().error_code().get();
                assert!(code == 2602 || code == 2604, "{offered:?} for {wanted:?}: {code}");
                refused += 1;
            }
        }
    }
    assert!(refused > 1000);
}

/// Bao believes the size in the slice. For a range in the middle, other sizes lead to the same root.
#[test]
fn refuses_another_size_with_the_same_left_part() {
    let bytes = data(13 * 1024);
    let (root, range) = (FileRoot::of(&bytes), 5000..6000);
    let good = bao_slice(&bytes, &range);
    for other in [13 * 1024 - 1, 12 * 1024 + 1, 12 * 1024, 9 * 1024, 14 * 1024, 16 * 1024] {
        let bad = [&as_u64(other).to_le_bytes()[..], &good[8..]].concat();
        assert_eq!(
            they_read(root, &bad, &range).unwrap(),
            bytes[range.clone()],
            "Bao is deceived by {other}"
        );
        let expected = SliceError::OtherSize { expected: as_u64(bytes.len()), actual: as_u64(other) };
        let slice_range = slice_range(bytes.len(), &range);
        assert_eq!(check_slice(root, slice_range, &bad), Err(expected.clone()));
        assert_eq!(stream(root, slice_range, [&bad[..]]), (Vec::new(), Err(expected)));
    }
}

#[test]
fn refuses_a_slice_under_another_root() {
    for honest in honest() {
        let len = honest.bytes.len();
        let range = slice_range(len, &honest.range);
        let other = FileRoot::of(b"some other file");
        let expected = SliceError::Mismatch { range: 0..as_u64(len) };
        assert_eq!(check_slice(other, range, &honest.slice), Err(expected.clone()));
        assert_eq!(stream(other, range, [&honest.slice[..]]), (Vec::new(), Err(expected)));
    }
}

fn value_at(offset: usize, bytes: &[u8]) -> [u8; 32] {
    blake3::Hasher::new().set_input_offset(as_u64(offset)).update(bytes).finalize_non_root()
}

/// Two BLAKE3 chunks of equal bytes both have the value that belongs to the first place. No file has this root.
#[test]
fn refuses_a_chunk_with_the_counter_of_another_place() {
    let bytes = [7; 1024];
    let value = value_at(0, &bytes);
    let root = FileRoot::from_bytes(*merge_subtrees_root(&value, &value, Mode::Hash).as_bytes());
    let slice = [&2048_u64.to_le_bytes()[..], &value, &value, &bytes].concat();
    assert_eq!(check_slice(root, slice_range(2048, &(0..9)), &slice).as_deref(), Ok(&bytes[..9]));
    let expected = SliceError::Mismatch { range: 1024..2048 };
    assert_eq!(check_slice(root, slice_range(2048, &(1024..1033)), &slice), Err(expected));
}

/// The flag ROOT is set at the top node only, so a subtree is not a file and a file is not a subtree.
#[test]
fn refuses_a_subtree_as_a_file_and_a_file_as_a_subtree() {
    let bytes = data(2048);
    let [left, right] = [value_at(0, &bytes[..1024]), value_at(1024, &bytes[1024..])];
    let header = |len: u64| len.to_le_bytes();
    let refused = |root: [u8; 32], len: usize, slice: &[u8], at: Range<u64>| {
        let range = slice_range(len, &(0..len.min(1024)));
        let checked = check_slice(FileRoot::from_bytes(root), range, slice);
        assert_eq!(checked, Err(SliceError::Mismatch { range: at }));
    };
    // One BLAKE3 chunk, and two, offered as files under their chaining values.
    refused(left, 1024, &[&header(1024)[..], &bytes[..1024]].concat(), 0..1024);
    let slice = [&header(2048)[..], &left, &right, &bytes[..1024]].concat();
    refused(merge_subtrees_non_root(&left, &right, Mode::Hash), 2048, &slice, 0..2048);
    // A leaf, and a parent, whose value in the tree is the root of a file with these bytes.
    let file = *blake3::hash(&bytes[..1024]).as_bytes();
    let top = *merge_subtrees_root(&file, &right, Mode::Hash).as_bytes();
    refused(top, 2048, &[&header(2048)[..], &file, &right, &bytes[..1024]].concat(), 0..1024);
    let file = *blake3::hash(&bytes).as_bytes();
    let top = *merge_subtrees_root(&file, &right, Mode::Hash).as_bytes();
    let slice = [&header(3072)[..], &file, &right, &left, &right, &bytes[..1024]].concat();
    refused(top, 3072, &slice, 0..2048);
    // The two values of a parent, offered as a BLAKE3 chunk of the file.
    let pair = [left, right].concat();
    refused(file, 64, &[&header(64)[..], &pair].concat(), 0..64);
}

#[test]
fn a_claimed_length_costs_nothing() {
    let longest = (1 << 53) - 1;
    let root = FileRoot::of(b"nothing of it is here");
    for range in [longest - 1..longest, 0..longest, 0..1] {
        let range = SliceRange::new(longest, range).unwrap();
        let expected = SliceError::Short { expected: range.encoded_len(), actual: 8 };
        let header = longest.to_le_bytes();
        assert_eq!(check_slice(root, range, &header), Err(expected.clone()));
        assert_eq!(stream(root, range, [&header[..]]), (Vec::new(), Err(expected)));
        let (released, verdict) = stream(root, range, [&header[..], &[0; 100]]);
        assert_eq!((released, verdict), (Vec::new(), Err(SliceError::Mismatch { range: 0..longest })));
    }
}

#[test]
fn an_empty_file_has_the_root_of_nothing() {
    let range = slice_range(0, &(0..0));
    assert_eq!(check_slice(FileRoot::of(b""), range, &[0; 8]), Ok(Vec::new()));
    assert_eq!(bao_slice(b"", &(0..0)), [0; 8]);
    let expected = SliceError::Mismatch { range: 0..0 };
    assert_eq!(check_slice(FileRoot::of(b"x"), range, &[0; 8]), Err(expected));
}

#[test]
fn a_slicer_refuses_chunks_that_are_not_the_files() {
    let bytes = data(40_000);
    let layer = layer(&bytes, ChunkSize::MIN.into());
    let range = slice_range(40_000, &(16_000..40_000));
    let mut slice = Vec::new();
    let mut slicer = Slicer::new(&layer, range, &mut slice).unwrap();
    for (index, chunk) in (0..).zip(bytes.chunks(16384)) {
        let written = slice.clone();
        let mut changed = chunk.to_vec();
        // The changed byte is in the first chunk but outside the range. The slicer checks the whole chunk and refuses
        // it.
        changed[5] ^= 1;
        let range = layer.grid().range(index).unwrap();
        let mismatch = SliceError::Chunk(ChunkError::Mismatch { index, range: range.clone() });
        assert_eq!(slicer.push(&changed, &mut slice), Err(mismatch));
        let wrong_length = ChunkError::WrongLength { index, range, actual: as_u64(chunk.len()) - 1 };
        assert_eq!(slicer.push(&chunk[1..], &mut slice), Err(SliceError::Chunk(wrong_length)));
        assert_eq!((slicer.wanted(), &slice), (Some(index), &written), "a refusal changes nothing");
        assert_eq!(slicer.push(chunk, &mut slice), Ok(()));
    }
    assert_eq!(slicer.wanted(), None);
    assert_eq!(slicer.push(&bytes[..16384], &mut slice), Err(SliceError::NothingWanted));
    assert_eq!(slicer.finish(), Ok(()));
    assert_eq!(slice, bao_slice(&bytes, &(16_000..40_000)));
}

#[test]
fn a_slicer_knows_misuse() {
    let bytes = data(40_000);
    let layer = layer(&bytes, ChunkSize::MIN.into());
    let mut out = Vec::new();
    let other = Slicer::new(&layer, slice_range(40_001, &(0..1)), &mut out);
    assert_eq!(other.err(), Some(SliceError::OtherFile { layer: 40_000, range: 40_001 }));
    assert!(out.is_empty());
    let slicer = Slicer::new(&layer, slice_range(40_000, &(39_999..40_000)), &mut out).unwrap();
    assert_eq!(slicer.finish(), Err(SliceError::Unfinished { wanted: 2 }));
}

/// A length of a file and a range of the file.
fn any_slice() -> impl Strategy<Value = (usize, Range<usize>)> {
    (1..40_000_usize, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(len, a, b)| {
        let start = a.index(len);
        (len, start..start + 1 + b.index(len - start))
    })
}

/// The slice, cut at these places.
fn cut<'a>(slice: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(slice.len() + 1)).collect();
    places.extend([0, slice.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &slice[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_range_agrees_with_bao((len, range) in any_slice(), log in 10..16_u32) {
        let bytes = data(len);
        let slice = bao_slice(&bytes, &range);
        prop_assert_eq!(&ours(&bytes, &layer(&bytes, Granule::new(1 << log).unwrap()), &range), &slice);
        assert_accepted(&bytes, &range, &slice);
        prop_assert_eq!(they_read(FileRoot::of(&bytes), &slice, &range).unwrap(), &bytes[range]);
    }

    #[test]
    fn any_split_ends_the_same(
        (len, range) in any_slice(),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        change in proptest::option::of((any::<prop::sample::Index>(), 1..=255_u8)),
        end in proptest::option::of(any::<prop::sample::Index>()),
        more in proptest::option::of(any::<u8>()),
    ) {
        let honest = Honest::new(len, range.clone());
        let root = FileRoot::of(&honest.bytes);
        let slice_range = slice_range(len, &range);
        let mut slice = honest.slice.clone();
        if let Some((at, flip)) = change {
            let at = at.index(slice.len());
            slice[at] ^= flip;
        }
        slice.truncate(end.map_or(slice.len(), |end| end.index(slice.len())));
        slice.extend(more);
        let whole = stream(root, slice_range, [&slice[..]]);
        prop_assert_eq!(&stream(root, slice_range, cut(&slice, &places)), &whole);
        prop_assert_eq!(&stream(root, slice_range, slice.chunks(1)), &whole);
        if slice == honest.slice {
            prop_assert_eq!(whole, (honest.bytes[range].to_vec(), Ok(())));
        } else {
            honest.assert_refused(&slice);
        }
    }

    #[test]
    fn any_bytes_offered_as_a_slice_are_refused(
        (len, range) in any_slice(),
        mut bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        exact in any::<bool>(),
    ) {
        let range = slice_range(len, &range);
        if exact {
            bytes.resize(usize::try_from(range.encoded_len()).unwrap(), 1);
            bytes[..8].copy_from_slice(&as_u64(len).to_le_bytes());
        }
        let root = FileRoot::of(b"some other file");
        let (released, verdict) = stream(root, range, [&bytes[..]]);
        prop_assert_eq!((released.len(), verdict.is_err()), (0, true));
        prop_assert!(check_slice(root, range, &bytes).is_err());
    }
}
