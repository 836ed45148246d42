use proptest::{collection::vec, prelude::*};

use super::*;

const CHUNK: u64 = 16 << 10;
const MIB: u64 = 1 << 20;

fn root(number: u8) -> FileRoot {
    FileRoot::from_bytes([number; 32])
}

fn of(files: &[(u8, u64)], chunk: u64) -> Option<Pieces> {
    Pieces::of(files.iter().map(|(number, size)| (root(*number), *size)), chunk)
}

/// Files of which each root has one size, as in a list.
fn any_files() -> impl Strategy<Value = Vec<(u8, u64)>> {
    let size = prop_oneof![0..=1u64, 0..20_000_000u64, (0..100u64).prop_map(|count| count * 256 * 1024)];
    (vec(size, 6), vec(0..6u8, 0..10)).prop_map(|(sizes, numbers)| {
        numbers.into_iter().map(|number| (number, sizes[usize::from(number)])).collect()
    })
}

proptest! {
    #[test]
    fn pieces_are_disjoint_and_cover_each_file_once(files in any_files(), power in 14..=24u32) {
        let chunk = 1u64 << power;
        let pieces = of(&files, chunk).unwrap();
        prop_assert_eq!(pieces.is_empty(), files.iter().all(|(_, size)| *size == 0));

        let mut wanted: Vec<(u8, u64)> = Vec::new();
        for file in files.iter().filter(|(_, size)| *size > 0) {
            if !wanted.contains(file) {
                wanted.push(*file);
            }
        }
        let mut piece = 0;
        for (number, size) in wanted {
            let (mut at, mut bytes) = (0, 0);
            while bytes < size {
                let place = pieces.place(piece).unwrap();
                prop_assert_eq!((place.root, place.chunks.start), (root(number), at));
                prop_assert!(place.chunks.start < place.chunks.end);
                // Whole pieces but for the last one of a file.
                let len = pieces.bytes(piece);
                prop_assert_eq!(len, pieces.len().min(size - bytes));
                (at, bytes, piece) = (place.chunks.end, bytes + len, piece + 1);
            }
            prop_assert_eq!((bytes, at), (size, size.div_ceil(chunk)));
        }
        prop_assert_eq!(piece, pieces.count());
        for none in [piece, piece + 1, u32::MAX] {
            prop_assert_eq!((pieces.place(none), pieces.bytes(none)), (None, 0));
        }
    }

    #[test]
    fn touched_is_the_inverse_of_place(files in any_files(), power in 14..=24u32, start in 0..200u64, len in 1..200u64) {
        let pieces = of(&files, 1 << power).unwrap();
        for piece in 0..pieces.count() {
            let Place { root, chunks } = pieces.place(piece).unwrap();
            prop_assert_eq!(pieces.touched(&root, &chunks), piece..piece + 1);
            prop_assert_eq!(pieces.touched(&root, &(chunks.start..chunks.start + 1)), piece..piece + 1);
            prop_assert_eq!(pieces.touched(&root, &(chunks.end - 1..chunks.end)), piece..piece + 1);
        }
        // Any chunks touch those pieces of the file that have one of them.
        let chunks = start..start + len;
        for number in 0..7 {
            let is_touched = |piece: &u32| {
                let place = pieces.place(*piece).unwrap();
                place.root == root(number) && place.chunks.start < chunks.end && chunks.start < place.chunks.end
            };
            let expected: Vec<u32> = (0..pieces.count()).filter(is_touched).collect();
            prop_assert_eq!(pieces.touched(&root(number), &chunks).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn the_length_of_a_piece_follows_from_the_sum_of_all_sizes() {
    const GIB: u64 = 1 << 30;
    for (bytes, chunk, len) in [
        (0, CHUNK, MIB / 4),
        (GIB, CHUNK, MIB / 4),
        (GIB + 1, CHUNK, MIB / 2),
        (2 * GIB, CHUNK, MIB / 2),
        (2 * GIB + 1, CHUNK, MIB),
        (4096 * GIB, CHUNK, MIB),
        (1, 16 * MIB, 16 * MIB),
        (GIB, MIB / 2, MIB / 2),
    ] {
        assert_eq!(of(&[(1, bytes)], chunk).unwrap().len(), len, "{bytes} bytes in chunks of {chunk}");
        // A file that is there twice counts twice.
        assert_eq!(of(&[(1, bytes / 2), (1, bytes - bytes / 2)], chunk).unwrap().len(), len);
    }
}

#[test]
fn extremes() {
    for none in [&[][..], &[(1, 0)], &[(1, 0), (2, 0)]] {
        let pieces = of(none, CHUNK).unwrap();
        assert!(
            pieces.is_empty() && pieces.count() == 0 && pieces.place(0).is_none() && pieces.bytes(0) == 0
        );
        assert_eq!(pieces.touched(&root(1), &(0..u64::MAX)), 0..0);
    }
    let pieces = of(&[(1, 1)], 16 * MIB).unwrap();
    assert_eq!((pieces.count(), pieces.bytes(0)), (1, 1));
    assert_eq!(pieces.place(0), Some(Place { root: root(1), chunks: 0..1 }));

    // As many pieces as there may be.
    for chunk in [CHUNK, 16 * MIB] {
        let len = chunk.max(MIB);
        let most = u64::from(MAX_PIECES) * len;
        let pieces = of(&[(1, most)], chunk).unwrap();
        assert_eq!((pieces.count(), pieces.bytes(MAX_PIECES - 1)), (MAX_PIECES, len));
        let last = pieces.place(MAX_PIECES - 1).unwrap();
        assert_eq!(last.chunks, (most - len) / chunk..most / chunk);
        assert_eq!(pieces.touched(&root(1), &(0..u64::MAX)), 0..MAX_PIECES);
        assert_eq!(pieces.touched(&root(1), &(most / chunk..u64::MAX)), 0..0);
        assert!(of(&[(1, most), (1, most)], chunk).is_some(), "the same file again");
        for too_many in [
            &[(1, most + 1)][..],
            &[(1, most), (2, 1)],
            &[(2, 1), (1, most)],
            &[(1, 1 << 53)],
            &[(1, u64::MAX)],
        ] {
            assert!(of(too_many, chunk).is_none(), "{too_many:?}");
        }
        // The count of pieces does not wrap, nor does the sum of sizes.
        assert!(
            of(&[(1, (1 << 32) * len)], chunk).is_none()
                && of(&[(1, ((1 << 32) + 1) * len)], chunk).is_none()
        );
        assert!(of(&[(1, u64::MAX), (2, u64::MAX)], chunk).is_none());
    }
}

#[test]
#[allow(clippy::reversed_empty_ranges, reason = "a caller may have one")]
fn chunks_that_are_not_there_touch_nothing() {
    let pieces = of(&[(1, 10 * MIB), (2, 1)], CHUNK).unwrap();
    for chunks in [0..0, 5..5, 7..3, 640..641, u64::MAX - 1..u64::MAX, u64::MAX..0] {
        assert!(pieces.touched(&root(1), &chunks).is_empty(), "{chunks:?}");
    }
    assert!(pieces.touched(&root(3), &(0..10)).is_empty());
    assert_eq!(pieces.touched(&root(2), &(0..u64::MAX)), 40..41);
}

#[test]
fn no_chunk_size_makes_it_panic() {
    for chunk in [0, 1, 3, CHUNK + 1, u64::MAX] {
        let _ = of(&[(1, 100_000), (2, u64::MAX)], chunk);
    }
}
