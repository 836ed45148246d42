//! Audits: samples are drawn as a naive implementation of the specification draws them, and a part of a response
//! leads to the same root as a naive tree over its bytes, whatever the bytes are.
//!
//! Input: a count (or a file's size) and a number of samples as eight bytes each, least significant first; then a
//! text, which also serves as positions, and as a part.
#![no_main]

use std::collections::BTreeSet;
use std::ops::Range;

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{bounded, naive::Hash};
use weighbridge_tree::{FileRoot, FileSamples, Granule, Grid, Layer, draw};

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first_chunk() else { return };
    let Some((samples, text)) = rest.split_first_chunk() else { return };
    let (count, samples) = (u64::from_le_bytes(*count), u64::from_le_bytes(*samples));
    drawing(text, count, samples);

    let positions = text.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it));
    claimed(count, positions.take(16).collect());
    let leaves = count.min((1 << 53) - 1).div_ceil(1024);
    let drawn = draw(text, leaves, 1 + samples % 16);
    hostile(count, &drawn, text);

    let size = 1 + count % (9 << 10);
    honest(size, &draw(text, size.div_ceil(1024), 1 + samples % 12), samples);
});

fn drawing(text: &[u8], count: u64, samples: u64) {
    // Memory for 4,096 numbers, whatever number of samples is requested.
    let drawn = bounded(text.len() + (4 << 10), || draw(text, count, samples));
    let mut output =
        blake3::Hasher::new_derive_key("weighbridge 2026-11-20 v1 audit samples").update(text).finalize_xof();
    let mut expected = BTreeSet::new();
    while (expected.len() as u64) < samples.min(count).min(4096) {
        let mut value = [0; 8];
        output.fill(&mut value);
        let value = u128::from(u64::from_le_bytes(value));
        if value < (1 << 64) - (1 << 64) % u128::from(count) {
            expected.insert((value % u128::from(count)) as u64);
        }
    }
    assert!(drawn.into_iter().eq(expected));
}

/// Asserts that positions are accepted exactly if they strictly increase and lie in the file.
fn claimed(size: u64, positions: Vec<u64>) {
    let increasing = positions.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = positions.last().is_some_and(|last| *last < size.div_ceil(1024));
    let fits = size < 1 << 53 && increasing && inside;
    assert_eq!(FileSamples::new(size, positions).is_ok(), fits);
}

fn hostile(size: u64, drawn: &[u64], bytes: &[u8]) {
    let samples = FileSamples::new(size, drawn.to_vec());
    assert_eq!(samples.is_ok(), size > 0 && size < 1 << 53);
    let Ok(samples) = samples else { return };
    let shape = Shape::of(size, drawn);
    let length = shape.samples.iter().map(|leaf| leaf.end - leaf.start).sum::<u64>() + 32 * shape.path;
    assert_eq!(samples.part_len(), length);
    let root = bounded(bytes.len(), || samples.root_of(bytes));
    assert_eq!(root.is_ok(), bytes.len() as u64 == length);

    // The input's bytes, repeated up to the length that the samples need.
    let part: Vec<u8> = bytes.iter().copied().chain([0]).cycle().take(length as usize).collect();
    let root = bounded(part.len(), || samples.root_of(&part)).expect("the right length");
    assert_eq!(*root.as_bytes(), shape.root(&part));
}

/// The part of a file's tree that its samples leave, with BLAKE3 chunks counted and compared one by one.
struct Shape<'a> {
    size: u64,
    drawn: &'a [u64],
    /// The bytes of the drawn BLAKE3 chunks in the file.
    samples: Vec<Range<u64>>,
    path: u64,
}

impl<'a> Shape<'a> {
    fn of(size: u64, drawn: &'a [u64]) -> Self {
        let samples = drawn.iter().map(|leaf| leaf * 1024..size.min((leaf + 1) * 1024)).collect();
        let mut shape = Self { size, drawn, samples, path: 0 };
        shape.path = shape.path_values(0..size.div_ceil(1024));
        shape
    }

    fn is_path(&self, run: &Range<u64>) -> bool {
        !self.drawn.iter().any(|leaf| run.contains(leaf))
    }

    fn path_values(&self, run: Range<u64>) -> u64 {
        match split(&run) {
            _ if self.is_path(&run) => 1,
            None => 0,
            Some(at) => self.path_values(run.start..at) + self.path_values(at..run.end),
        }
    }

    fn root(&self, part: &[u8]) -> Hash {
        let length: u64 = self.samples.iter().map(|leaf| leaf.end - leaf.start).sum();
        let (mut samples, mut path) = part.split_at(length as usize);
        let run = 0..self.size.div_ceil(1024);
        match split(&run) {
            None => *blake3::hash(samples).as_bytes(),
            Some(at) => {
                let left = self.value(0..at, &mut samples, &mut path);
                let right = self.value(at..run.end, &mut samples, &mut path);
                assert!(samples.is_empty() && path.is_empty());
                *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
            }
        }
    }

    fn value(&self, run: Range<u64>, samples: &mut &[u8], path: &mut &[u8]) -> Hash {
        if self.is_path(&run) {
            return *path.split_off(..32).expect("a value").first_chunk().expect("32 bytes");
        }
        match split(&run) {
            None => {
                let bytes = self.size.min(run.end * 1024) - run.start * 1024;
                let leaf = samples.split_off(..bytes as usize).expect("a sample");
                blake3::Hasher::new().set_input_offset(run.start * 1024).update(leaf).finalize_non_root()
            }
            Some(at) => {
                let left = self.value(run.start..at, samples, path);
                let right = self.value(at..run.end, samples, path);
                merge_subtrees_non_root(&left, &right, Mode::Hash)
            }
        }
    }
}

/// Section 2.1 of the BLAKE3 paper: the left subtree is the largest power of two that leaves at least one BLAKE3
/// chunk to the right.
fn split(run: &Range<u64>) -> Option<u64> {
    let count = run.end - run.start;
    (count > 1).then(|| run.start + (1 << (count - 1).ilog2()))
}

/// A small generated file: its part holds only the BLAKE3 chunks with samples and leads to its hash, and a changed
/// part does not.
fn honest(size: u64, drawn: &[u64], seed: u64) {
    let granule = Granule::new(1024 << (seed % 5)).expect("a power of two");
    let grid = Grid::new(size, granule).expect("a small file");
    let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    let chunks: Vec<&[u8]> = data.chunks(granule.bytes() as usize).collect();
    let values: Vec<u8> = (0..)
        .zip(&chunks)
        .filter(|_| grid.has_layer())
        .flat_map(|(index, chunk)| *grid.chaining_value(index, chunk).expect("a whole chunk").as_bytes())
        .collect();
    let layer = Layer::accept(grid, FileRoot::of(&data), &values).expect("the file's own layer");
    let samples = FileSamples::new(size, drawn.to_vec()).expect("drawn from the file");
    let mut asked = Vec::new();
    let part = samples.part(&layer, |index, bytes| {
        asked.push(index);
        bytes.extend_from_slice(chunks.get(index as usize).ok_or("no such chunk")?);
        Ok::<(), &str>(())
    });
    let mut part = part.expect("good chunks");
    let mut holding: Vec<u64> = drawn.iter().map(|leaf| leaf * 1024 / granule.bytes()).collect();
    holding.dedup();
    assert_eq!(asked, holding);
    assert_eq!(samples.root_of(&part), Ok(FileRoot::of(&data)));
    let at = seed as usize % part.len();
    part[at] ^= 1;
    assert_ne!(samples.root_of(&part), Ok(FileRoot::of(&data)));
}
