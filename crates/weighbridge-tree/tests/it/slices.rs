//! Slices: their ranges, their lengths, and the state after a refusal.

use weighbridge_tree::geometry::FILE_LEN_LIMIT;
use weighbridge_tree::{Coded, FileRoot, SliceDecoder, SliceError, SliceRange, TooLong};

const LONGEST: u64 = FILE_LEN_LIMIT - 1;

#[test]
fn ranges_are_within_the_file_and_not_empty() {
    for (len, start, end) in [(1, 0, 1), (5000, 2000, 2100), (5000, 4999, 5000), (LONGEST, 0, LONGEST)] {
        let range = SliceRange::new(len, start..end).unwrap();
        assert_eq!((range.file_len(), range.range()), (len, start..end));
    }
    assert_eq!(SliceRange::new(0, 0..0).map(SliceRange::range), Ok(0..0));
    let refused = [
        (0, 0, 1),
        (0, 1, 1),
        (1, 0, 0),
        (1, 1, 1),
        (1, 1, 2),
        (1, 0, 2),
        (9, 6, 5),
        (9, 5, 5),
        (9, 9, 9),
        (9, 9, 10),
        (9, 0, u64::MAX),
        (9, u64::MAX, u64::MAX),
        (9, u64::MAX, 3),
    ];
    for (len, start, end) in refused {
        assert_eq!(SliceRange::new(len, start..end), Err(SliceError::Range { len, start, end }));
    }
    for len in [FILE_LEN_LIMIT, u64::MAX] {
        assert_eq!(SliceRange::new(len, 0..1), Err(SliceError::TooLong(TooLong { len })));
    }
}

#[test]
fn the_encoded_length_is_exact_at_the_limits() {
    let encoded_len = |len, range| SliceRange::new(len, range).unwrap().encoded_len();
    // The example of spec/slices.md.
    assert_eq!(encoded_len(5000, 2000..2100), 2312);
    assert_eq!((encoded_len(0, 0..0), encoded_len(1, 0..1), encoded_len(1024, 9..10)), (8, 9, 1032));
    assert_eq!(encoded_len(1025, 1024..1025), 8 + 64 + 1);
    // 2^43 BLAKE3 chunks, with 43 parents above each. In the middle of the file only the root is shared.
    assert_eq!(encoded_len(LONGEST, 0..LONGEST), 8 + LONGEST + 64 * ((1 << 43) - 1));
    assert_eq!(encoded_len(LONGEST, 0..1), 8 + 64 * 43 + 1024);
    assert_eq!(encoded_len(LONGEST, LONGEST - 1..LONGEST), 8 + 64 * 43 + 1023);
    let middle = 1 << 52;
    assert_eq!(encoded_len(LONGEST, middle - 1..middle + 1), 8 + 64 * (1 + 2 * 42) + 2048);
    assert_eq!(encoded_len(LONGEST, 1..LONGEST - 1), encoded_len(LONGEST, 0..LONGEST));
}

#[test]
fn a_refused_slice_stays_refused() {
    let file = [7; 1024];
    let range = SliceRange::new(1024, 5..9).unwrap();
    let good = [&1024_u64.to_le_bytes()[..], &file].concat();
    let mut long = good.clone();
    long.push(0);
    let mut changed = good.clone();
    changed[500] ^= 1;
    let mut other_size = good.clone();
    other_size[1] ^= 1;
    for (bad, code) in [(long, 2602), (changed, 2604), (other_size, 2603)] {
        let mut decoder = SliceDecoder::new(FileRoot::of(&file), range);
        let mut input = &bad[..];
        let error = loop {
            match decoder.next(&mut input) {
                Ok(bytes) => assert_eq!(bytes, Some(&[7; 4][..])),
                Err(error) => break error,
            }
        };
        assert_eq!(error.error_code().get(), code);
        for mut more in [&good[..], &[]] {
            let before = more;
            assert_eq!(decoder.next(&mut more), Err(error.clone()));
            assert_eq!(more, before, "nothing is looked at");
        }
        assert_eq!(decoder.finish(&[]), Err(error));
    }
}

/// A reader once stopped when it had all bytes of its range, and bytes after them went unnoticed.
#[test]
fn what_is_left_when_all_bytes_are_there_is_refused() {
    let bytes = [7; 100];
    let range = SliceRange::new(100, 0..100).unwrap();
    let slice = [&100_u64.to_le_bytes()[..], &bytes, b"more"].concat();
    let mut decoder = SliceDecoder::new(FileRoot::of(&bytes), range);
    let mut input = slice.as_slice();
    assert_eq!(decoder.next(&mut input), Ok(Some(&bytes[..])));
    assert_eq!(input, b"more");
    assert_eq!(decoder.finish(input), Err(SliceError::Long { expected: 108 }));
}
