//! A digest is that of the bytes, and a file that changes gives none.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::Digest as _;
use weighbridge_manifest::{DigestKind, ListedDigest, Sha256};
use weighbridge_store::scan::{DigestJob, ScanError, digest_files};
use weighbridge_testkit::{Folder, POOLS, bytes, long_ago};

fn job(folder: &Folder, path: &str, kind: DigestKind) -> DigestJob {
    DigestJob { file: folder.at(path).into(), size: fs::metadata(folder.at(path)).unwrap().len(), kind }
}

fn run(jobs: &[DigestJob], on_read: impl Fn() + Sync) -> (Vec<Result<ListedDigest, ScanError>>, u64) {
    let results = Mutex::new(jobs.iter().map(|_| None).collect::<Vec<_>>());
    let sum = AtomicU64::new(0);
    let read = |bytes| {
        sum.fetch_add(bytes, Ordering::Relaxed);
        on_read();
    };
    digest_files(jobs, &read, &|job, result| {
        assert!(results.lock().unwrap()[job].replace(result).is_none(), "job {job} ended twice");
    });
    let results = results.into_inner().unwrap();
    (results.into_iter().map(|result| result.expect("every job ends")).collect(), sum.into_inner())
}

#[test]
fn gives_the_digests_of_the_bytes_at_sizes_around_each_border() {
    let sizes = [0, 1, 55, 56, 63, 64, 65, 65_535, 65_536, 65_537, 131_072, 1_000_000];
    let content = bytes(1_000_000, 3);
    let folder = Folder::new();
    sizes.iter().for_each(|size| folder.write(&size.to_string(), &content[..*size]));
    let of = |kind| sizes.map(|size| job(&folder, &size.to_string(), kind));
    for pool in &*POOLS {
        let (found, read) = pool.install(|| run(&of(DigestKind::Sha256), || {}));
        assert_eq!(usize::try_from(read).unwrap(), sizes.iter().sum::<usize>());
        for (size, found) in sizes.iter().zip(found) {
            let expected = Sha256(sha2::Sha256::digest(&content[..*size]).into());
            assert_eq!(found.unwrap(), ListedDigest::Sha256(expected), "{size} bytes");
        }
        let (found, _) = pool.install(|| run(&of(DigestKind::GitBlob), || {}));
        for (size, found) in sizes.iter().zip(found) {
            let blob = [format!("blob {size}\0").as_bytes(), &content[..*size]].concat();
            let mut sha1 = sha1_checked::Sha1::default();
            sha1_checked::Digest::update(&mut sha1, blob);
            let expected = sha1.try_finalize();
            assert_eq!(found.unwrap(), ListedDigest::GitBlob((*expected.hash()).into()), "{size} bytes");
        }
    }
}

#[test]
fn ids_of_blobs_are_those_of_git() {
    let folder = Folder::of(&[("empty", Vec::new()), ("hello", b"hello\n".to_vec())]);
    let jobs = ["empty", "hello"].map(|path| job(&folder, path, DigestKind::GitBlob));
    let found = run(&jobs, || {}).0.into_iter().map(|found| found.unwrap().to_string());
    let expected = [
        "git-blob:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "git-blob:ce013625030ba8dba906f756967f9e9ca394464a",
    ];
    assert!(found.eq(expected));
}

#[test]
fn a_file_that_changes_while_it_is_read_has_no_digest() {
    let changes: [fn(&Path); 4] = [
        |path| fs::write(path, bytes(200_000, 2)).unwrap(),
        |path| fs::write(path, b"short").unwrap(),
        |path| fs::write(path, bytes(200_001, 1)).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for change in changes {
        let folder = Folder::of(&[("a", bytes(200_000, 1))]);
        let path = folder.at("a");
        fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago()).unwrap();
        let times = AtomicU64::new(0);
        let on_read = || {
            if times.fetch_add(1, Ordering::Relaxed) == 0 {
                change(&path);
            }
        };
        let (found, _) = run(&[job(&folder, "a", DigestKind::Sha256)], on_read);
        assert!(matches!(found[..], [Err(ScanError::Changed)]), "{found:?}");
    }
    let folder = Folder::of(&[("a", bytes(10, 1))]);
    let other = DigestJob { size: 11, ..job(&folder, "a", DigestKind::Sha256) };
    assert!(matches!(run(&[other], || {}).0[..], [Err(ScanError::Changed)]));
}
