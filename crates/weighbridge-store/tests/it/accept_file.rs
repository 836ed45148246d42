//! `accept_file` reads a local file on all cores and accepts exactly the chunks that are as signed.

use std::{
    fs::File,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use proptest::prelude::*;
use weighbridge_store::accept_file;
use weighbridge_testkit::{Draft, Folder, bytes};
use weighbridge_verify::{FileVerifier, ModelVerifier, tree::ChunkSize};

const SIZE: ChunkSize = match ChunkSize::new(1 << 14) {
    Ok(size) => size,
    Err(_) => panic!("a power of two"),
};

/// Accepts `there` against the signed file `signed`; returns the accepted chunks, the sum of all `progress` lengths,
/// and whether the file is complete.
fn accepted(signed: &[u8], there: &[u8]) -> (Vec<u64>, u64, bool) {
    let folder = Folder::of(&[("a", there.to_vec())]);
    let list = Draft::of(&[("a", signed.to_vec())], SIZE).sign();
    let model = ModelVerifier::new(list.files).unwrap();
    let layer: Vec<u8> = weighbridge_testkit::layer(signed, SIZE).concat();
    let _ = model.accept_layer(0, &layer);
    let verifier: &FileVerifier = model.file(0).unwrap();
    let read = AtomicU64::new(0);
    let file = File::open(folder.at("a")).unwrap();
    accept_file(verifier, &file, |bytes| _ = read.fetch_add(bytes, Relaxed)).unwrap();
    let missing: Vec<_> = verifier.missing().flatten().collect();
    let have = (0..verifier.count()).filter(|index| !missing.contains(index)).collect();
    (have, read.into_inner(), verifier.is_complete())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Exactly the altered chunks and those behind a cut are missing, and a wrong length is no error.
    #[test]
    fn exactly_the_honest_chunks_are_accepted(
        len in 0_usize..300_000, cut in 0_usize..400_000, flips in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let signed = bytes(len, 3);
        let mut there = signed.clone();
        there.resize(cut, 9);
        let mut altered: Vec<usize> = Vec::new();
        if !there.is_empty() {
            for flip in flips {
                let at = flip.index(there.len());
                there[at] ^= 1;
                altered.push(at);
            }
        }
        let unit = usize::try_from(SIZE.bytes()).unwrap();
        let is_good = |index: usize| {
            let range = index * unit..((index + 1) * unit).min(len);
            range.end <= there.len() && there[range.clone()] == signed[range]
        };
        let expected: Vec<u64> = (0..len.div_ceil(unit)).filter(|index| is_good(*index)).map(|index| index as u64).collect();
        let is_all = expected.len() == len.div_ceil(unit);
        prop_assert_eq!(accepted(&signed, &there), (expected, len as u64, is_all));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_loses_nothing() {
    let folder = Folder::of(&[("a", Vec::new())]);
    let list = Draft::of(&[("a", bytes(100_000, 1))], SIZE).sign();
    let model = ModelVerifier::new(list.files).unwrap();
    model.accept_layer(0, &weighbridge_testkit::layer(&bytes(100_000, 1), SIZE).concat()).unwrap();
    let verifier = model.file(0).unwrap();
    let _ = verifier.accept(1, &bytes(100_000, 1)[16_384..32_768]).unwrap();
    // A file opened only for writing cannot be read.
    let file = File::options().write(true).open(folder.at("a")).unwrap();
    assert!(accept_file(verifier, &file, |_| {}).is_err());
    assert_eq!(verifier.missing().collect::<Vec<_>>(), [0..1, 2..7]);
}
