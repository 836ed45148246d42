//! Every hash is that of the bytes, however the work is divided, and a file that changes gives no hash.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    ops::{ControlFlow, Range},
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;
use sha2::Digest as _;
use weighbridge_formats::{Format, Parsed};
use weighbridge_manifest::{DigestKind, ListedDigest, Sha256};
use weighbridge_store::Coded;
use weighbridge_store::scan::{Arrivals, Job, ScanError, Scanned, Tensors, Watch, scan};
use weighbridge_testkit::{Folder, POOLS, bytes, in_time, layer, long_ago, safetensors};
use weighbridge_verify::tree::{ChunkSize, FileRoot, Grid, Layer};

/// Keeps all results. `on_read` is called with the number of blocks read so far.
struct Watcher<'a> {
    results: Mutex<BTreeMap<usize, Result<Scanned, ScanError>>>,
    read: AtomicU64,
    blocks: AtomicU64,
    on_read: &'a (dyn Fn(u64) + Sync),
}

impl Watch for Watcher<'_> {
    fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        (self.on_read)(self.blocks.fetch_add(1, Ordering::Relaxed));
    }

    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
        let before = self.results.lock().unwrap().insert(job, result);
        assert!(before.is_none(), "job {job} ended twice");
        ControlFlow::Continue(())
    }
}

/// The results of all jobs, in order.
fn run_with(
    jobs: &[Job],
    chunk_size: ChunkSize,
    sha256: bool,
    on_read: &(dyn Fn(u64) + Sync),
) -> (Vec<Result<Scanned, ScanError>>, u64) {
    let watcher =
        Watcher { results: Mutex::default(), read: AtomicU64::new(0), blocks: AtomicU64::new(0), on_read };
    let digest = sha256.then_some(DigestKind::Sha256);
    let jobs: Vec<Job> = jobs.iter().map(|job| Job { digest, ..job.clone() }).collect();
    scan(&jobs, chunk_size, &watcher);
    let results = watcher.results.into_inner().unwrap();
    assert!(results.keys().copied().eq(0..jobs.len()), "every job ends");
    (results.into_values().collect(), watcher.read.into_inner())
}

fn run(jobs: &[Job], chunk_size: ChunkSize, sha256: bool) -> Vec<Result<Scanned, ScanError>> {
    run_with(jobs, chunk_size, sha256, &|_| {}).0
}

fn job(folder: &Folder, path: &str, tensors: Tensors) -> Job {
    let file = folder.at(path);
    let size = fs::metadata(&file).unwrap().len();
    Job::of(file, size, tensors)
}

fn listed(ranges: Vec<Range<u64>>) -> Tensors {
    Tensors::HashListed(Format::Safetensors, ranges)
}

fn hash_of(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

fn part<'b>(bytes: &'b [u8], range: &Range<u64>) -> &'b [u8] {
    &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Sizes around BLAKE3's chunk, around every size at which files are divided, and for each shape of a small tree.
fn sizes() -> Vec<usize> {
    let around = |n: usize| [n - 1, n, n + 1];
    let mut sizes = vec![0, 1];
    for n in [KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, MIB, 16 * MIB] {
        sizes.extend(around(n));
    }
    for block in [128 * KIB, 256 * KIB, 512 * KIB] {
        for blocks in [3, 5, 6, 7, 11, 13] {
            sizes.extend(around(blocks * block));
        }
    }
    sizes
}

#[test]
fn gives_the_hashes_of_the_bytes_at_every_size_and_chunk_size() {
    let whole = bytes(16 * MIB + 1, 1);
    let sizes = sizes();
    let folder = Folder::new();
    let names: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.iter().zip(&names).for_each(|(size, name)| folder.write(name, &whole[..*size]));
    let jobs: Vec<Job> = names.iter().map(|name| job(&folder, name, Tensors::Ignore)).collect();
    for (chunk_size, sha256) in [(14, false), (18, true), (20, false), (24, false)] {
        let chunk_size = ChunkSize::new(1 << chunk_size).unwrap();
        for pool in &*POOLS {
            let results = pool.install(|| run(&jobs, chunk_size, sha256));
            for (size, result) in sizes.iter().zip(results) {
                let (bytes, found) = (&whole[..*size], result.unwrap());
                assert_eq!(*found.root.as_bytes(), hash_of(bytes), "{size} bytes");
                let values: Vec<[u8; 32]> = found.values.iter().map(|v| *v.as_bytes()).collect();
                assert_eq!(values, layer(bytes, chunk_size), "{size} bytes");
                let grid = Grid::new(u64::try_from(*size).unwrap(), chunk_size).unwrap();
                let _ = Layer::accept(grid, found.root, &values.concat()).unwrap();
                let digest = sha256.then(|| <[u8; 32]>::from(sha2::Sha256::digest(bytes)));
                assert_eq!(found.digest.and_then(ListedDigest::sha256).map(|s| s.0), digest, "{size} bytes");
                assert!(found.header.is_none() && found.parsed.is_none() && found.tensor_hashes.is_none());
            }
        }
    }
}

#[test]
fn reads_files_of_several_of_the_largest_chunks() {
    // These chunks are larger than blocks, and the last chunk is shorter than a block.
    for size in [32 * MIB, 32 * MIB + 1, 49 * MIB + 777] {
        let content = bytes(size, 2);
        let folder = Folder::of(&[("a", content.clone())]);
        let size = ChunkSize::new(1 << 24).unwrap();
        let found = run(&[job(&folder, "a", Tensors::Ignore)], size, false).remove(0).unwrap();
        assert_eq!(*found.root.as_bytes(), hash_of(&content));
        assert!(found.values.iter().map(|v| *v.as_bytes()).eq(layer(&content, size)));
    }
}

#[test]
fn counts_every_byte_once() {
    let folder = Folder::of(&[("a", bytes(3 * MIB + 5, 1)), ("b", Vec::new()), ("c", bytes(7, 2))]);
    let jobs: Vec<Job> = ["a", "b", "c"].iter().map(|p| job(&folder, p, Tensors::Ignore)).collect();
    for sha256 in [false, true] {
        let (_, read) = run_with(&jobs, ChunkSize::MIN, sha256, &|_| {});
        assert_eq!(usize::try_from(read).unwrap(), 3 * MIB + 12);
    }
}

#[test]
fn a_job_has_the_digest_that_it_asks_for_beside_its_root() {
    let content = bytes(MIB + 5, 6);
    let folder = Folder::of(&[("a", content.clone()), ("b", b"hello\n".to_vec()), ("c", content.clone())]);
    let with = |path, digest| Job { digest, ..job(&folder, path, Tensors::Ignore) };
    let jobs = [with("a", Some(DigestKind::Sha256)), with("b", Some(DigestKind::GitBlob)), with("c", None)];
    for pool in &*POOLS {
        let watcher = Watcher {
            results: Mutex::default(),
            read: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            on_read: &|_| {},
        };
        pool.install(|| scan(&jobs, ChunkSize::MIN, &watcher));
        let found: Vec<_> = watcher.results.into_inner().unwrap().into_values().map(Result::unwrap).collect();
        let sha256 = Sha256(sha2::Sha256::digest(&content).into());
        assert_eq!(found[0].digest, Some(ListedDigest::Sha256(sha256)));
        let id = found[1].digest.unwrap().to_string();
        assert_eq!(id, "git-blob:ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(found[2].digest, None);
        assert_eq!(found[0].root, found[2].root);
        assert_eq!(*found[0].root.as_bytes(), hash_of(&content));
    }
}

#[test]
fn reads_thousands_of_files() {
    let folder = Folder::new();
    let content = |i: usize| bytes(i * 37 % 5_000, 3);
    let names: Vec<String> = (0..3_000).map(|i| format!("{i:04}")).collect();
    names.iter().enumerate().for_each(|(i, name)| folder.write(name, &content(i)));
    let jobs: Vec<Job> = names.iter().map(|name| job(&folder, name, Tensors::Ignore)).collect();
    for pool in &*POOLS {
        let results = pool.install(|| run(&jobs, ChunkSize::MIN, false));
        for (i, result) in results.into_iter().enumerate() {
            assert_eq!(*result.unwrap().root.as_bytes(), hash_of(&content(i)));
        }
    }
}

/// A file's length, and disjoint ranges in it: the ranges between sorted cuts, some omitted, some empty.
fn ranges() -> impl Strategy<Value = (usize, Vec<Range<u64>>)> {
    let edges = || {
        let near = |n: usize| (n - 2)..=(n + 2);
        prop_oneof![
            (1usize..8, prop::sample::select(vec![KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB]))
                .prop_flat_map(move |(n, unit)| near(n * unit)),
            0usize..2 * MIB,
            0usize..200,
        ]
    };
    (edges(), prop::collection::vec((edges(), 0u8..4), 0..24)).prop_map(|(len, cuts)| {
        let mut cuts: Vec<(u64, u8)> =
            cuts.into_iter().map(|(at, kind)| (u64::try_from(at.min(len)).unwrap(), kind)).collect();
        cuts.sort_unstable();
        let mut ranges = Vec::new();
        for pair in cuts.windows(2) {
            let ((start, kind), (end, _)) = (pair[0], pair[1]);
            match kind {
                0 => {}
                1 => ranges.extend([start..start, start..end]),
                2 => ranges.extend([start..start + (end - start).min(9), end..end]),
                _ => ranges.push(start..end),
            }
        }
        (len, ranges)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn hashes_any_disjoint_ranges((len, ranges) in ranges(), sha256: bool) {
        let content = bytes(len, 4);
        let folder = Folder::of(&[("a", content.clone())]);
        let job = job(&folder, "a", listed(ranges.clone()));
        let expected: Vec<[u8; 32]> = ranges.iter().map(|r| hash_of(part(&content, r))).collect();
        for pool in &*POOLS {
            let found = pool.install(|| run(std::slice::from_ref(&job), ChunkSize::MIN, sha256)).remove(0).unwrap();
            prop_assert_eq!(*found.root.as_bytes(), hash_of(&content));
            let hashes: Option<Vec<[u8; 32]>> = found.tensor_hashes.map(|h| h.iter().map(|h| *h.as_bytes()).collect());
            prop_assert_eq!(hashes.as_ref(), Some(&expected));
        }
    }
}

#[test]
fn hashes_thousands_of_tiny_tensors_of_one_block() {
    let content = bytes(600 * KIB, 5);
    let folder = Folder::of(&[("a", content.clone())]);
    let ranges: Vec<Range<u64>> = (0..60_000).map(|i| i * 10..i * 10 + i % 11).collect();
    let found = run(&[job(&folder, "a", listed(ranges.clone()))], ChunkSize::MIN, false).remove(0).unwrap();
    for (range, hash) in ranges.iter().zip(found.tensor_hashes.unwrap()) {
        assert_eq!(*hash.as_bytes(), hash_of(part(&content, range)), "{range:?}");
    }
}

#[test]
fn hashes_nothing_of_ranges_that_are_unsorted_or_overlap() {
    let folder = Folder::of(&[("a", bytes(MIB, 6))]);
    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    for ranges in
        [vec![10..20, 0..5], vec![0..10, 9..20], vec![0..10, 5..5], vec![20..10], vec![0..u64::MAX, 3..4]]
    {
        let found = run(&[job(&folder, "a", listed(ranges))], ChunkSize::MIN, false).remove(0).unwrap();
        assert!(found.tensor_hashes.is_none());
        assert_eq!(*found.root.as_bytes(), hash_of(&bytes(MIB, 6)));
    }
}

#[test]
fn ranges_past_the_end_of_the_file_have_no_hashes() {
    let folder = Folder::of(&[("a", bytes(MIB, 6))]);
    for range in [0..u64::MAX, 1 << 20..(1 << 20) + 1, u64::MAX - 1..u64::MAX] {
        let found = run(&[job(&folder, "a", listed(vec![range]))], ChunkSize::MIN, false).remove(0).unwrap();
        assert!(found.tensor_hashes.is_none());
    }
}

#[test]
fn takes_header_and_tensor_hashes_from_one_reading() {
    let (a, b) = (bytes(700_001, 7), bytes(3, 8));
    let folder = Folder::of(&[("m.safetensors", safetensors(&[("b", &b), ("a", &a), ("empty", &[])]))]);
    let tensors = Tensors::Hash(Format::Safetensors);
    let found = run(&[job(&folder, "m.safetensors", tensors)], ChunkSize::MIN, true).remove(0).unwrap();
    let names = names(found.parsed.unwrap());
    let hashes: Vec<[u8; 32]> = found.tensor_hashes.unwrap().iter().map(|h| *h.as_bytes()).collect();
    assert_eq!(names, ["b", "a", "empty"]);
    assert_eq!(hashes, [hash_of(&b), hash_of(&a), hash_of(&[])]);
}

#[test]
fn a_header_longer_than_a_block_is_not_read_again() {
    // A header of 900 KB. Once it was read, the test alters it on disk and leaves size and time of writing as they were. The
    // time of the change shows it all the same, unless it is in the same tick of the clock: then the bytes that were read count.
    let names: Vec<String> = (0..12_000).map(|i| format!("tensor.{i}")).collect();
    let tensors: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"xy"[..])).collect();
    let content = safetensors(&tensors);
    assert!(content.len() > 3 * 256 * KIB);
    for _ in 0..20 {
        let folder = Folder::of(&[("m.safetensors", content.clone())]);
        let disk = File::options().write(true).open(folder.at("m.safetensors")).unwrap();
        disk.set_modified(long_ago()).unwrap();
        let alter = |block| {
            if block == 0 {
                disk.write_all_at(&[b' '; 2 * 256 * KIB], 256 * 1_024).unwrap();
                disk.set_modified(long_ago()).unwrap();
            }
        };
        let job = job(&folder, "m.safetensors", Tensors::Hash(Format::Safetensors));
        let found = POOLS[0].install(|| run_with(&[job], ChunkSize::MIN, false, &alter).0).remove(0);
        assert_ne!(fs::read(folder.at("m.safetensors")).unwrap(), content);
        match found {
            Ok(found) => {
                assert_eq!(*found.root.as_bytes(), hash_of(&content));
                assert_eq!(found.tensor_hashes.unwrap().len(), 12_000);
            }
            Err(error) => assert!(matches!(error, ScanError::Changed), "{error}"),
        }
    }
}

#[test]
fn a_malformed_header_ends_the_file_only_where_tensors_are_to_be_hashed() {
    let folder = Folder::of(&[("a.safetensors", b"nothing of the kind".to_vec())]);
    let with = |tensors| run(&[job(&folder, "a.safetensors", tensors)], ChunkSize::MIN, false).remove(0);
    assert_eq!(with(Tensors::Hash(Format::Safetensors)).unwrap_err().error_code().get(), 4102);
    let found = with(Tensors::Header(Format::Safetensors)).unwrap();
    assert!(found.parsed.is_none());
    assert_eq!(found.header.unwrap().parse().unwrap_err().error_code().get(), 4102);
    assert_eq!(*found.root.as_bytes(), hash_of(b"nothing of the kind"));
}

#[test]
fn a_header_that_is_kept_is_the_one_whose_bytes_were_hashed() {
    let content = safetensors(&[("b", b"12"), ("a", &bytes(700_001, 7))]);
    let folder = Folder::of(&[("m.safetensors", content.clone())]);
    for tensors in [Tensors::Header(Format::Safetensors), listed(vec![])] {
        let found = run(&[job(&folder, "m.safetensors", tensors)], ChunkSize::MIN, false).remove(0).unwrap();
        assert_eq!(*found.root.as_bytes(), hash_of(&content));
        let names = names(found.header.unwrap().parse().unwrap());
        assert_eq!(names, ["b", "a"]);
    }
}

/// The results of reading four blocks when `change` runs after the first block.
fn changed_while_read(change: impl Fn(&Path) + Sync) -> Vec<Result<Scanned, ScanError>> {
    let mut results = Vec::new();
    for pool in &*POOLS {
        for (sha256, tensors) in
            [(false, Tensors::Ignore), (true, Tensors::Ignore), (false, listed(vec![5..900_000]))]
        {
            let folder = Folder::of(&[("a", bytes(MIB, 9)), ("other", bytes(MIB, 10))]);
            for path in ["a", "other"] {
                File::options().write(true).open(folder.at(path)).unwrap().set_modified(long_ago()).unwrap();
            }
            let job = job(&folder, "a", tensors);
            let on_read = |block| {
                if block == 0 {
                    change(&folder.at("a"));
                }
            };
            results.extend(pool.install(|| run_with(&[job], ChunkSize::MIN, sha256, &on_read).0));
        }
    }
    results
}

#[test]
fn a_file_that_changes_while_it_is_read_gives_nothing() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("truncated", |file| File::options().write(true).open(file).unwrap().set_len(1).unwrap()),
        ("emptied", |file| drop(File::create(file).unwrap())),
        ("grown", |file| File::options().write(true).open(file).unwrap().set_len(2 << 20).unwrap()),
        ("overwritten", |file| fs::write(file, bytes(MIB, 11)).unwrap()),
        ("touched", |file| fs::write(file, bytes(MIB, 9)).unwrap()),
        ("replaced by one of the same size and time", |file| {
            fs::rename(file.with_file_name("other"), file).unwrap();
        }),
        ("removed", |file| fs::remove_file(file).unwrap()),
        ("replaced by a folder", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (how, change) in changes {
        for result in changed_while_read(change) {
            assert!(matches!(result, Err(ScanError::Changed)), "{how}: {result:?}");
        }
    }
    assert!(changed_while_read(|_| {}).iter().all(Result::is_ok));
}

#[test]
fn a_file_of_another_size_than_it_was_listed_with_has_changed() {
    let folder = Folder::of(&[("a", bytes(1_000, 1))]);
    for size in [0, 999, 1_001, u64::MAX] {
        let job = Job { size, ..job(&folder, "a", Tensors::Ignore) };
        let error = run(&[job], ChunkSize::MIN, false).remove(0).unwrap_err();
        assert_eq!(error.error_code().get(), 2106);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_holds_more_than_its_size_says_gives_nothing() {
    // Regression: files of procfs have the size 0 and passed for empty files.
    let job = Job::of(PathBuf::from("/proc/version"), 0, Tensors::Ignore);
    assert!(!fs::read(&job.file).unwrap().is_empty());
    let error = run(&[job], ChunkSize::MIN, false).remove(0).unwrap_err();
    assert!(matches!(error, ScanError::Changed), "{error}");
}

#[test]
fn a_file_too_large_for_any_list_is_called_that() {
    // Regression: such a file was reported as changed while it was read.
    let folder = Folder::new();
    let place = ["/dev/shm".as_ref(), folder.path()].into_iter().find_map(|place: &Path| {
        let file = tempfile::NamedTempFile::new_in(place).ok()?;
        file.as_file().set_len(1 << 53).is_ok().then_some(file)
    });
    let Some(file) = place else {
        println!("skipped: no file system here has files of 2^53 bytes");
        return;
    };
    for tensors in [Tensors::Ignore, Tensors::Hash(Format::Safetensors)] {
        let job = Job::of(file.path().to_owned(), 1 << 53, tensors);
        let error = run(&[job], ChunkSize::MIN, false).remove(0).unwrap_err();
        assert_eq!(error.error_code().get(), 2109);
        assert_eq!(error.to_string(), "9007199254740992 bytes; a file of a model has less than 2^53");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_of_its_own_and_the_rest_is_read() {
    let folder = Folder::of(&[("a", b"a".to_vec()), ("c", b"c".to_vec())]);
    let missing = Job::of(folder.at("b"), 1, Tensors::Ignore);
    let jobs = [job(&folder, "a", Tensors::Ignore), missing, job(&folder, "c", Tensors::Ignore)];
    for pool in &*POOLS {
        let results = pool.install(|| run(&jobs, ChunkSize::MIN, false));
        assert!(results[0].is_ok() && results[2].is_ok());
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.error_code().get(), 9002);
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot open {}", weighbridge_store::shown_path(folder.at("b"))))
        );
    }
}

#[test]
fn nothing_but_a_file_is_read_whatever_took_its_place() {
    // A FIFO has the size 0, and opening one waits for a writer.
    let folder = Folder::new();
    folder.write("target", b"");
    folder.fifo("fifo");
    folder.link("link", folder.at("target"));
    folder.link("to-fifo", folder.at("fifo"));
    fs::create_dir(folder.at("folder")).unwrap();
    let size = |path: &str| fs::metadata(folder.at(path)).map_or(0, |m| m.len());
    let jobs: Vec<Job> = [("fifo", 0), ("link", 0), ("to-fifo", 0), ("folder", size("folder"))]
        .map(|(path, size)| Job::of(folder.at(path), size, Tensors::Header(Format::Safetensors)))
        .into();
    for result in in_time(move || run(&jobs, ChunkSize::MIN, false)) {
        assert!(matches!(result, Err(ScanError::Changed)), "{result:?}");
    }
}

#[test]
fn break_ends_the_scan_without_another_word() {
    struct First(AtomicU64);
    impl Watch for First {
        fn read(&self, _: u64) {}
        fn done(&self, _: usize, _: Result<Scanned, ScanError>) -> ControlFlow<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Break(())
        }
    }
    let folder = Folder::of(&[("a", bytes(10, 1))]);
    let jobs = vec![job(&folder, "a", Tensors::Ignore); 5_000];
    let first = First(AtomicU64::new(0));
    POOLS[0].install(|| scan(&jobs, ChunkSize::MIN, &first));
    assert_eq!(first.0.into_inner(), 1);
}

#[test]
fn a_panic_of_the_watcher_reaches_the_caller_and_ends_no_file_well() {
    let folder = Folder::of(&[("a", bytes(MIB, 1)), ("b", bytes(MIB, 1))]);
    let path = folder.path().to_owned();
    in_time(move || {
        let jobs = ["a", "b"].map(|p| Job::of(path.join(p), 1 << 20, listed(vec![7..99_999])));
        for pool in &*POOLS {
            for at in [0, 3, 7] {
                let watcher = Watcher {
                    results: Mutex::default(),
                    read: AtomicU64::new(0),
                    blocks: AtomicU64::new(0),
                    on_read: &|block| assert!(block != at, "as it was meant to"),
                };
                let scan = || scan(&jobs, ChunkSize::MIN, &watcher);
                assert!(catch_unwind(AssertUnwindSafe(|| pool.install(scan))).is_err());
                let ended = watcher.results.lock().unwrap();
                assert!(ended.len() < 2, "the file whose block panicked has no result");
                let root = FileRoot::of(&bytes(MIB, 1));
                assert!(ended.values().all(|r| r.as_ref().is_ok_and(|s| s.root == root)));
            }
        }
    });
}

fn names(parsed: Parsed) -> Vec<String> {
    let Parsed::Tensors { tensors, .. } = parsed else { panic!("{parsed:?}") };
    tensors.into_iter().map(|tensor| tensor.name).collect()
}

/// The end of what is there, as the scans of a test wait for it.
#[derive(Debug, Default)]
struct Growing {
    there: Mutex<(u64, bool)>,
    grown: Condvar,
}

impl Growing {
    fn grow(&self, end: u64) {
        self.there.lock().unwrap().0 = end;
        self.grown.notify_all();
    }

    fn end(&self) {
        self.there.lock().unwrap().1 = true;
        self.grown.notify_all();
    }
}

impl Arrivals for Growing {
    fn wait(&self, end: u64) -> bool {
        let there = self.there.lock().unwrap();
        let there = self.grown.wait_while(there, |(there, ended)| *there < end && !*ended).unwrap();
        there.0 >= end
    }
}

#[test]
fn a_file_is_hashed_while_it_is_written_as_one_that_is_there() {
    let content = safetensors(&[("a", &bytes(700_000, 1)), ("b", &bytes(5, 2))]);
    let whole = Folder::of(&[("model.safetensors", content.clone())]);
    let hashes = |job: Job| {
        let job = Job { digest: Some(DigestKind::Sha256), ..job };
        run(&[job], ChunkSize::MIN, false).remove(0)
    };
    let expected = hashes(job(&whole, "model.safetensors", Tensors::Hash(Format::Safetensors))).unwrap();

    let size = u64::try_from(content.len()).unwrap();
    let grown = |steps: &'static [u64]| {
        let folder = Folder::of(&[("model.safetensors", vec![0; content.len()])]);
        let growing = Arc::new(Growing::default());
        let of = job(&folder, "model.safetensors", Tensors::Hash(Format::Safetensors));
        let of = Job { arrivals: Some(Arc::clone(&growing) as _), ..of };
        let (file, content) = (File::options().write(true).open(&of.file).unwrap(), content.clone());
        let writer = thread::spawn(move || {
            let mut at = 0;
            for step in steps {
                thread::sleep(Duration::from_millis(5));
                let end = size.min(*step);
                let part = usize::try_from(at).unwrap()..usize::try_from(end).unwrap();
                file.write_all_at(&content[part], at).unwrap();
                growing.grow(end);
                at = end;
            }
            growing.end();
        });
        let scanned = in_time(move || hashes(of));
        writer.join().unwrap();
        scanned
    };
    let found = grown(&[1, 9, 100, 200_000, 262_144, 600_001, 1 << 30]).unwrap();
    assert_eq!(found.root, expected.root);
    assert_eq!(found.digest, expected.digest);
    assert!(found.tensor_hashes.is_some() && found.tensor_hashes == expected.tensor_hashes);
    assert_eq!(found.values, expected.values);
    for cut in [&[][..], &[4], &[100], &[600_000]] {
        assert!(matches!(grown(cut), Err(ScanError::Changed)), "{cut:?}");
    }
}
