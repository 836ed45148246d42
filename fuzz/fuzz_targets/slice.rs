//! Slices: a slice is accepted exactly if a naive checker accepts it, with the same bytes, in pieces of any length;
//! and an honest slice with any change is refused.
//!
//! Input: the file's size, and the beginning and end of the range, as eight bytes each, least significant first; the
//! file's root; the slice.
#![no_main]

use std::ops::Range;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{bounded, naive::Hash};
use weighbridge_tree::{FileRoot, Granule, Grid, Layer, SliceDecoder, SliceRange, Slicer, check_slice};

fuzz_target!(|data: &[u8]| {
    let Some((size, rest)) = data.split_first_chunk() else { return };
    let Some((start, rest)) = rest.split_first_chunk() else { return };
    let Some((end, rest)) = rest.split_first_chunk() else { return };
    let Some((root, slice)) = rest.split_first_chunk() else { return };
    let [size, start, end] = [size, start, end].map(|number| u64::from_le_bytes(*number));
    hostile(size, start..end, *root, slice);
    honest(size % (9 << 10), start, end, *root, slice);
});

fn hostile(size: u64, range: Range<u64>, root: Hash, slice: &[u8]) {
    let checked = SliceRange::new(size, range.clone());
    let has_slice = range.start < range.end && range.end <= size || (size, &range) == (0, &(0..0));
    assert_eq!(checked.is_ok(), size < 1 << 53 && has_slice);
    if let Ok(checked) = checked {
        assert!(checked.encoded_len() >= 8 + (range.end - range.start));
        judge(checked, root, slice);
        // The same parts, behind the expected size.
        if let Some((_, parts)) = slice.split_first_chunk::<8>() {
            judge(checked, root, &[&size.to_le_bytes(), parts].concat());
        }
    }
}

/// Compares both ways of checking with the naive checker; returns whether the slice was accepted.
fn judge(range: SliceRange, root: Hash, slice: &[u8]) -> bool {
    let expected = naive(range, root, slice);
    let file_root = FileRoot::from_bytes(root);
    let whole = bounded(slice.len(), || check_slice(file_root, range, slice)).ok();
    assert_eq!(whole, expected);
    // In pieces of a length that the slice decides.
    let piece = 1 + usize::from(slice.last().copied().unwrap_or(0)) * 9;
    let (released, accepted) = bounded(slice.len(), || {
        let mut decoder = SliceDecoder::new(file_root, range);
        let mut released = Vec::new();
        let refused = slice.chunks(piece).any(|mut input| {
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(bytes)) => released.extend_from_slice(bytes),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            }
        });
        let accepted = decoder.finish(&[]).is_ok();
        assert!(!(refused && accepted));
        (released, accepted)
    });
    assert_eq!(accepted.then_some(released), expected);
    accepted
}

/// The bytes of the range; `None` if the slice is bad. Recursive, by the page of the specification.
fn naive(range: SliceRange, root: Hash, slice: &[u8]) -> Option<Vec<u8>> {
    let (size, wanted) = (range.file_len(), range.range());
    let (header, mut rest) = slice.split_first_chunk::<8>()?;
    if *header != size.to_le_bytes() {
        return None;
    }
    let mut bytes = Vec::new();
    if size == 0 {
        return (rest.is_empty() && root == *blake3::hash(b"").as_bytes()).then_some(bytes);
    }
    node(&(0..size), &wanted, root, true, &mut rest, &mut bytes)?;
    rest.is_empty().then_some(bytes)
}

fn node(
    place: &Range<u64>,
    wanted: &Range<u64>,
    expected: Hash,
    is_root: bool,
    rest: &mut &[u8],
    bytes: &mut Vec<u8>,
) -> Option<()> {
    if place.end <= wanted.start || wanted.end <= place.start {
        return Some(());
    }
    if place.end - place.start <= 1024 {
        let (leaf, after) = rest.split_at_checked((place.end - place.start) as usize)?;
        *rest = after;
        let from = wanted.start.max(place.start) - place.start;
        let to = wanted.end.min(place.end) - place.start;
        bytes.extend_from_slice(&leaf[from as usize..to as usize]);
        return (leaf_value(place.start, leaf, is_root) == expected).then_some(());
    }
    let (left, after) = rest.split_first_chunk()?;
    let (right, after) = after.split_first_chunk()?;
    *rest = after;
    if parent_value(left, right, is_root) != expected {
        return None;
    }
    let [before, behind] = halves(place);
    node(&before, wanted, *left, false, rest, bytes)?;
    node(&behind, wanted, *right, false, rest, bytes)
}

/// Appends the slice of a subtree; returns the subtree's value.
fn encode(data: &[u8], place: &Range<u64>, wanted: &Range<u64>, is_root: bool, slice: &mut Vec<u8>) -> Hash {
    let is_touched = place.start < wanted.end && wanted.start < place.end;
    if place.end - place.start <= 1024 {
        let leaf = &data[place.start as usize..place.end as usize];
        if is_touched {
            slice.extend_from_slice(leaf);
        }
        return leaf_value(place.start, leaf, is_root);
    }
    let [before, behind] = halves(place);
    let mut parts = Vec::new();
    let left = encode(data, &before, wanted, false, &mut parts);
    let right = encode(data, &behind, wanted, false, &mut parts);
    if is_touched {
        slice.extend(left.iter().chain(&right).chain(&parts));
    }
    parent_value(&left, &right, is_root)
}

/// Section 2.1 of the BLAKE3 paper: the left subtree is the largest power of two that leaves at least one byte to the
/// right.
fn halves(place: &Range<u64>) -> [Range<u64>; 2] {
    let middle = place.start + (place.end - place.start).next_power_of_two() / 2;
    [place.start..middle, middle..place.end]
}

fn leaf_value(start: u64, leaf: &[u8], is_root: bool) -> Hash {
    if is_root {
        return *blake3::hash(leaf).as_bytes();
    }
    blake3::Hasher::new().set_input_offset(start).update(leaf).finalize_non_root()
}

fn parent_value(left: &Hash, right: &Hash, is_root: bool) -> Hash {
    if is_root {
        return *merge_subtrees_root(left, right, Mode::Hash).as_bytes();
    }
    merge_subtrees_non_root(left, right, Mode::Hash)
}

/// A small generated file, its slice from chunks of one, two or four BLAKE3 chunks, and changes that the input
/// chooses.
fn honest(size: u64, a: u64, b: u64, seed: Hash, noise: &[u8]) {
    let data: Vec<u8> = (0..size).map(|i| ((i + u64::from(seed[0])) % 251) as u8).collect();
    let start = if size == 0 { 0 } else { a % size };
    let end = if size == 0 { 0 } else { start + 1 + b % (size - start) };
    let range = SliceRange::new(size, start..end).expect("a range of the file");
    let root = FileRoot::of(&data);

    let granule = Granule::new(1024 << (seed[1] % 3)).expect("a power of two");
    let grid = Grid::new(size, granule).expect("a small file");
    let chunks: Vec<&[u8]> = data.chunks(granule.bytes() as usize).collect();
    let mut values = Vec::new();
    if grid.has_layer() {
        for (index, chunk) in (0..).zip(&chunks) {
            values.extend(grid.chaining_value(index, chunk).expect("a whole chunk").as_bytes());
        }
    }
    let layer = Layer::accept(grid, root, &values).expect("the file's own layer");
    let mut slice = Vec::new();
    let mut slicer = Slicer::new(&layer, range, &mut slice).expect("of one file");
    while let Some(index) = slicer.wanted() {
        let before = slice.len();
        assert!(slicer.push(noise, &mut slice).is_err() || noise == chunks[index as usize]);
        if slicer.wanted() == Some(index) {
            assert_eq!(slice.len(), before);
            slicer.push(chunks[index as usize], &mut slice).expect("the file's own chunk");
        }
    }
    slicer.finish().expect("nothing more is wanted");

    let mut expected = size.to_le_bytes().to_vec();
    assert_eq!(encode(&data, &(0..size), &(start..end), true, &mut expected), *root.as_bytes());
    assert_eq!(slice, expected);
    assert_eq!(slice.len() as u64, range.encoded_len());
    assert!(judge(range, *root.as_bytes(), &slice));

    let at = usize::from(u16::from_le_bytes([seed[2], seed[3]])) % slice.len();
    let mut changed = slice.clone();
    changed[at] ^= seed[4].max(1);
    let cut = &slice[..at];
    let longer = [&slice[..], &noise[..noise.len().min(100)], &[seed[5]]].concat();
    let mut turned = slice.clone();
    turned.rotate_left(at);
    for bad in [&changed[..], cut, &longer, &turned] {
        assert!(bad == slice || !judge(range, *root.as_bytes(), bad));
    }
    assert!(!judge(range, seed, &slice) || seed == *root.as_bytes());
}
