//! Audit samples are drawn as `spec/audits.md` says, and only the file's own bytes lead to its root.

use std::convert::Infallible;

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use weighbridge_tree::{
    Coded, ErrorCode, FileRoot, FileSamples, Granule, Grid, Layer, PartError, SampleError, TooLong, draw,
};

use crate::kit::{as_u64, data};

/// A slow and plain drawing: the drawn numbers in the order of drawing, and the number of values that were too high.
fn naive_draw(text: &[u8], count: u64, samples: u64) -> (Vec<u64>, usize) {
    let mut bytes = vec![0; 1 << 20];
    blake3::Hasher::new_derive_key("weighbridge 2026-11-20 v1 audit samples")
        .update(text)
        .finalize_xof()
        .fill(&mut bytes);
    let (mut drawn, mut too_high) = (Vec::new(), 0);
    let mut values = bytes.as_chunks::<8>().0.iter().map(|value| u128::from(u64::from_le_bytes(*value)));
    while as_u64(drawn.len()) < samples.min(count) {
        let value = values.next().unwrap();
        let number = u64::try_from(value % u128::from(count)).unwrap();
        if value >= (1 << 64) - (1 << 64) % u128::from(count) {
            too_high += 1;
        } else if !drawn.contains(&number) {
            drawn.push(number);
        }
    }
    (drawn, too_high)
}

#[test]
fn draws_what_a_naive_reading_of_the_page_draws() {
    let half = 1 << 63;
    let counts =
        [1, 2, 3, 5, 97, 4095, 4096, 4097, (1 << 43) - 1, half - 1, half, half + 1, 3 << 62, u64::MAX];
    let mut too_high = 0;
    for (count, samples) in counts.iter().flat_map(|count| [1, 2, 90, 4096].map(|it| (*count, it))) {
        let text = format!("challenge of {samples} from {count}");
        let (mut drawn, passed_over) = naive_draw(text.as_bytes(), count, samples);
        drawn.sort_unstable();
        assert_eq!(draw(text.as_bytes(), count, samples), drawn, "{text}");
        if count == half + 1 && samples == 4096 {
            too_high = passed_over;
        }
    }
    assert!(
        (3700..4500).contains(&too_high),
        "just above 2^63, every other value is passed over: {too_high}"
    );
}

#[test]
fn draws_all_numbers_if_as_many_are_wanted_and_none_of_none() {
    for count in [1, 2, 3, 90, 4096] {
        let all: Vec<u64> = (0..count).collect();
        for samples in [count, count + 1, 4096, u64::MAX] {
            assert_eq!(draw(b"text", count, samples), all);
        }
    }
    assert!(draw(b"text", 0, 4096).is_empty());
    assert!(draw(b"text", 4096, 0).is_empty());
    assert_eq!(draw(b"text", u64::MAX, u64::MAX).len(), 4096, "never more");
}

#[test]
fn every_number_is_drawn_about_as_often() {
    let mut often = [0_u32; 97];
    for text in 0..97 * 40_u32 {
        for number in draw(&text.to_le_bytes(), 97, 5) {
            often[usize::try_from(number).unwrap()] += 1;
        }
    }
    // Each number is expected 200 times. With 96 degrees of freedom, the sum is 96 on average, and rarely far from it.
    let squares: f64 = often.iter().map(|it| (f64::from(*it) - 200.0).powi(2) / 200.0).sum();
    assert!((45.0..165.0).contains(&squares), "{squares}");

    // If high values were not skipped, the lowest third would be drawn as often as the two others together.
    let mut thirds = [0_u32; 3];
    for number in draw(b"thirds", 3 << 62, 4096) {
        thirds[usize::try_from(number >> 62).unwrap()] += 1;
    }
    assert!(thirds.iter().all(|it| (1_230..1_500).contains(it)), "{thirds:?}");
}

fn layer(file: &[u8], granule: u64) -> Layer {
    let grid = Grid::new(as_u64(file.len()), Granule::new(granule).unwrap()).unwrap();
    let chunks = (0..).zip(file.chunks(usize::try_from(granule).unwrap()));
    let values: Vec<u8> = chunks
        .filter(|_| grid.has_layer())
        .flat_map(|(index, chunk)| *grid.chaining_value(index, chunk).unwrap().as_bytes())
        .collect();
    Layer::accept(grid, FileRoot::of(file), &values).unwrap()
}

/// Makes a part as `spec/audits.md` describes it, by recursion over the bytes; returns the value of these bytes.
fn naive_part(
    bytes: &[u8],
    first: u64,
    top: bool,
    drawn: &[u64],
    part: &mut (Vec<u8>, Vec<[u8; 32]>),
) -> [u8; 32] {
    let count = as_u64(bytes.len().div_ceil(1024));
    let is_inside = |index: &&u64| (first..first + count).contains(*index);
    let hash = |bytes: &[u8]| match top {
        true => *blake3::hash(bytes).as_bytes(),
        false => blake3::Hasher::new().set_input_offset(first * 1024).update(bytes).finalize_non_root(),
    };
    if !drawn.iter().any(|index| is_inside(&index)) {
        part.1.push(hash(bytes));
        return hash(bytes);
    }
    if count == 1 {
        part.0.extend(bytes);
        return hash(bytes);
    }
    let mut left = 1;
    while left * 2 < count {
        left *= 2;
    }
    let (left_bytes, right_bytes) = bytes.split_at(usize::try_from(left * 1024).unwrap());
    let left_value = naive_part(left_bytes, first, false, drawn, part);
    let right_value = naive_part(right_bytes, first + left, false, drawn, part);
    match top {
        true => *merge_subtrees_root(&left_value, &right_value, Mode::Hash).as_bytes(),
        false => merge_subtrees_non_root(&left_value, &right_value, Mode::Hash),
    }
}

/// The part of a file, and the positions of the chunks that were read for it.
fn made(file: &[u8], layer: &Layer, samples: &FileSamples) -> (Vec<u8>, Vec<u64>) {
    let mut asked = Vec::new();
    let part = samples.part(layer, |index, bytes| {
        assert!(bytes.is_empty());
        asked.push(index);
        let range = layer.grid().range(index).unwrap();
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        bytes.extend_from_slice(&file[range]);
        Ok::<(), Infallible>(())
    });
    (part.unwrap(), asked)
}

fn assert_good(file: &[u8], layers: &[Layer], drawn: &[u64]) {
    let what = format!("{} bytes, {drawn:?}", file.len());
    let samples = FileSamples::new(as_u64(file.len()), drawn.to_vec()).unwrap();
    let mut naive = (Vec::new(), Vec::new());
    let root = naive_part(file, 0, true, drawn, &mut naive);
    let expected = [naive.0.clone(), naive.1.concat()].concat();
    assert_eq!(root, *blake3::hash(file).as_bytes(), "the naive tree itself");
    assert_eq!(samples.drawn(), drawn);
    assert_eq!(samples.sample_bytes(), as_u64(naive.0.len()), "{what}");
    assert_eq!(samples.path_values(), as_u64(naive.1.len()), "{what}");
    assert_eq!(samples.part_len(), as_u64(expected.len()), "{what}");
    assert_eq!(samples.root_of(&expected), Ok(FileRoot::of(file)), "{what}");
    for layer in layers {
        let (part, asked) = made(file, layer, &samples);
        assert_eq!(part, expected, "{what}, {:?}", layer.grid());
        let per_chunk = layer.grid().granule().bytes() / 1024;
        let mut holding: Vec<u64> = drawn.iter().map(|index| index / per_chunk).collect();
        holding.dedup();
        assert_eq!(asked, holding, "{what}: exactly the chunks that hold a sample, each once");
    }
}

/// Some of the numbers below `count`, the same in every run.
fn some_of(count: u64, seed: u64) -> Vec<u64> {
    let text = format!("subset {seed} of {count}");
    draw(text.as_bytes(), count, 1 + seed % count.min(40))
}

#[test]
fn parts_are_those_of_a_naive_tree() {
    const CHUNK: usize = 16 << 10;
    const MIB: usize = 1 << 20;
    let mut sizes = vec![1, 1023, 1024, 1025, CHUNK - 1, CHUNK, CHUNK + 1, MIB - 1, MIB, MIB + 1];
    // Sizes at which the left-full tree changes its shape, in BLAKE3 chunks and in chunks.
    for count in [3, 5, 6, 7, 11, 13] {
        sizes.extend([count * 1024 - 1, count * 1024, count * 1024 + 1]);
        sizes.extend([count * CHUNK - 1, count * CHUNK, count * CHUNK + 1]);
    }
    for size in sizes {
        let file = data(size);
        let layers = [1 << 10, 1 << 12, 1 << 14, 1 << 18, 1 << 24].map(|granule| layer(&file, granule));
        let count = as_u64(size.div_ceil(1024));
        let mut subsets: Vec<Vec<u64>> = (0..24).map(|seed| some_of(count, seed)).collect();
        subsets.extend([0, count / 2, count - 1].map(|index| vec![index]));
        subsets.push((0..count).collect());
        if count <= 7 {
            let bits = 1..1_u64 << count;
            subsets = bits.map(|bits| (0..count).filter(|index| bits >> index & 1 == 1).collect()).collect();
        }
        subsets.iter().for_each(|drawn| assert_good(&file, &layers, drawn));
    }
}

/// Parts of several shapes, each with the root to which it leads.
fn parts() -> Vec<(FileSamples, FileRoot, Vec<u8>)> {
    let cases: [(usize, &[u64]); 8] = [
        (1, &[0]),
        (1024, &[0]),
        (1025, &[1]),
        (5000, &[1, 4]),
        (7 * 1024, &[0, 3, 5]),
        (13 * 1024 - 5, &[2, 3, 12]),
        (13 * 1024, &[6]),
        (40_000, &[1, 17, 39]),
    ];
    let case = |(size, drawn): (usize, &[u64])| {
        let file = data(size);
        let samples = FileSamples::new(as_u64(size), drawn.to_vec()).unwrap();
        let (part, _) = made(&file, &layer(&file, 1 << 14), &samples);
        (samples, FileRoot::of(&file), part)
    };
    cases.into_iter().map(case).collect()
}

#[test]
fn no_changed_byte_leads_to_the_root() {
    for (samples, root, part) in parts() {
        assert_eq!(samples.root_of(&part), Ok(root));
        for at in 0..part.len() {
            let mut changed = part.clone();
            changed[at] ^= 1 << (at % 8);
            assert_ne!(samples.root_of(&changed), Ok(root), "byte {at}");
        }
    }
}

#[test]
fn refuses_every_other_length() {
    for (samples, _, part) in parts() {
        let lengths = (0..part.len()).chain([1, 31, 32, 64, 1023, 1024].map(|more| part.len() + more));
        for length in lengths {
            let mut changed = part.clone();
            changed.resize(length, 0);
            let wrong = SampleError::WrongLength { expected: as_u64(part.len()), actual: as_u64(length) };
            assert_eq!(wrong.error_code().get(), 2707);
            assert_eq!(samples.root_of(&changed), Err(wrong));
        }
    }
}

#[test]
fn exchanged_samples_and_exchanged_path_values_do_not_lead_to_the_root() {
    let mut exchanges = [0, 0];
    for (samples, root, part) in parts() {
        let (bytes, path) = part.split_at(usize::try_from(samples.sample_bytes()).unwrap());
        // The last sample may be shorter; then it is not exchanged.
        for (kind, unit, from, whole) in [(0, 1024, 0, bytes), (1, 32, bytes.len(), path)] {
            let count = whole.len() / unit;
            for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let mut changed = part.clone();
                let (first, second) = (from + a * unit, from + b * unit);
                changed[first..first + unit].copy_from_slice(&part[second..second + unit]);
                changed[second..second + unit].copy_from_slice(&part[first..first + unit]);
                assert_ne!(samples.root_of(&changed), Ok(root));
                exchanges[kind] += 1;
            }
        }
    }
    assert!(exchanges[0] > 4 && exchanges[1] > 20, "{exchanges:?}");
}

#[test]
fn a_part_leads_to_the_root_at_its_own_positions_only() {
    let file = data(8 * 1024);
    let samples = FileSamples::new(8 * 1024, vec![2]).unwrap();
    let (part, _) = made(&file, &layer(&file, 1 << 14), &samples);
    for index in 0..8 {
        let other = FileSamples::new(8 * 1024, vec![index]).unwrap();
        assert_eq!(other.part_len(), samples.part_len());
        assert_eq!(other.root_of(&part) == Ok(FileRoot::of(&file)), index == 2);
    }
}

#[test]
fn a_subtree_is_no_file_and_a_path_value_no_sample() {
    // The value of the left half is a genuine inner node, offered here as the root of a file of four BLAKE3 chunks.
    let file = data(8 * 1024);
    let (half, _) = file.split_at(4 * 1024);
    let value = layer(&file, 4 * 1024).values()[0];
    let samples = FileSamples::new(4 * 1024, vec![0, 1, 2, 3]).unwrap();
    let root = samples.root_of(half).unwrap();
    assert_eq!(root, FileRoot::of(half));
    assert_ne!(root, FileRoot::from_bytes(*value.as_bytes()), "the root is made at the top only (rule 4)");
    // Two values that merge to one, offered as the 64 bytes of a file's only BLAKE3 chunk.
    let pair: Vec<u8> = layer(&file, 4 * 1024).values().iter().flat_map(|it| *it.as_bytes()).collect();
    let samples = FileSamples::new(64, vec![0]).unwrap();
    assert_ne!(samples.root_of(&pair), Ok(FileRoot::of(&file)));
}

#[test]
fn refuses_positions_that_do_not_increase_or_are_past_the_end() {
    let refusal = |len, drawn: &[u64]| FileSamples::new(len, drawn.to_vec()).unwrap_err();
    assert_eq!(refusal(5000, &[]), SampleError::NothingDrawn);
    assert_eq!(refusal(5000, &[1, 1]), SampleError::NotIncreasing);
    assert_eq!(refusal(5000, &[2, 1]), SampleError::NotIncreasing);
    assert_eq!(refusal(5000, &[1, 5]), SampleError::OutOfRange { index: 5, count: 5 });
    assert_eq!(refusal(5000, &[u64::MAX]), SampleError::OutOfRange { index: u64::MAX, count: 5 });
    assert_eq!(refusal(0, &[0]), SampleError::OutOfRange { index: 0, count: 0 });
    let many: Vec<u64> = (0..4097).collect();
    assert_eq!(refusal(1 << 30, &many), SampleError::TooMany { count: 4097 });
    assert_eq!(refusal(1 << 53, &[0]), SampleError::TooLong(TooLong { len: 1 << 53 }));
    assert!(FileSamples::new(1 << 30, many[..4096].to_vec()).is_ok());
    for error in [refusal(5000, &[]), refusal(5000, &[1, 1]), refusal(5000, &[5]), refusal(1 << 53, &[0])] {
        assert_eq!(error.error_code().get(), 9999, "{error}");
    }
}

#[test]
fn the_largest_file_costs_43_levels() {
    let len = (1 << 53) - 1;
    let one = FileSamples::new(len, vec![(1 << 43) - 1]).unwrap();
    assert_eq!((one.path_values(), one.sample_bytes()), (43, 1023));
    let drawn = draw(b"the largest file", 1 << 43, 4096);
    let samples = FileSamples::new(len, drawn).unwrap();
    // The 4,096 samples have about 12 levels in common.
    assert!((4096 * 30..4096 * 33).contains(&samples.path_values()));
    let part = vec![0; usize::try_from(samples.part_len()).unwrap()];
    assert!(samples.root_of(&part).is_ok());
    assert!(samples.part_len() < 10_000_000);
}

#[test]
fn a_part_is_made_of_checked_chunks_only() {
    let file = data(40_000);
    let samples = FileSamples::new(40_000, vec![1, 17, 39]).unwrap();
    let accepted = layer(&file, 1 << 14);
    let give = |bad: u64, change: fn(&mut Vec<u8>)| {
        samples.part(&accepted, |index, bytes| {
            let range = accepted.grid().range(index).unwrap();
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            bytes.extend_from_slice(&file[range]);
            if index == bad {
                change(bytes);
            }
            Ok::<(), Infallible>(())
        })
    };
    assert!(give(3, Vec::clear).is_ok());
    for bad in 0..3 {
        // The last byte of a chunk is in a sample only in the third chunk. In the others it would change a path value
        // only.
        let flipped = give(bad, |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap_err();
        assert_eq!(flipped.error_code().map(ErrorCode::get), Some(2102), "{flipped}");
        assert_eq!(
            give(bad, |bytes| bytes.push(0)).unwrap_err().error_code().map(ErrorCode::get),
            Some(2107)
        );
        assert_eq!(give(bad, Vec::clear).unwrap_err().error_code().map(ErrorCode::get), Some(2107));
    }
    let refused = samples.part(&accepted, |index, _| if index == 1 { Err("no disk") } else { Ok(()) });
    assert_eq!(
        refused.unwrap_err().error_code().map(ErrorCode::get),
        Some(2107),
        "chunk 0 came empty, before chunk 1"
    );
    let failed = samples.part(&accepted, |_, _| Err("no disk")).unwrap_err();
    assert_eq!((failed.error_code(), format!("{failed}")), (None, "no disk".into()));
    let other = layer(&data(40_001), 1 << 14);
    let misused = samples.part(&other, |_, _| Ok::<(), Infallible>(())).unwrap_err();
    assert_eq!(misused, PartError::Misuse(SampleError::OtherFile { expected: 40_000, actual: 40_001 }));
    assert_eq!(misused.error_code().map(ErrorCode::get), Some(9999));
}
