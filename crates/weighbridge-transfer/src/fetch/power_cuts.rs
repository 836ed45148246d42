//! A whole fetch on a disk that loses all that was not synced.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Mutex, atomic::AtomicBool},
};

use weighbridge_store::{
    CHUNKS, Disk, FILES, Opening,
    power_cut::{Dice, PowerCut},
};
use weighbridge_testkit::{CHUNK, Sample};

use super::{coming_and_going::options, *};
use crate::{
    board::lock,
    event::Waiting,
    source::{SourceFactory, SourceOptions},
};

/// The last two files are the same.
const MODEL: [(&str, usize); 5] =
    [("a", 2_200_000), ("deep/b", 600_000), ("deep/er/c", 30_000), ("empty", 0), ("twin", 30_000)];

/// The events that a fetch reported.
#[derive(Default)]
struct Heard {
    durable: Mutex<BTreeSet<(String, u64)>>,
    placed: Mutex<BTreeSet<String>>,
    lied: AtomicBool,
    waiting: Mutex<Vec<Waiting>>,
}

impl Observer for Heard {
    fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> {
        Ok(())
    }

    fn event(&self, event: Event) {
        match event {
            Event::Durable { path, chunks } => {
                let chunks = chunks.map(|chunk| (path.as_str().to_owned(), chunk));
                lock(&self.durable).extend(chunks);
            }
            Event::File { path, .. } => _ = lock(&self.placed).insert(path.as_str().to_owned()),
            Event::Waiting(waiting) => lock(&self.waiting).push(waiting),
            Event::Source(status) if status.blame.is_some() => self.lied.store(true, SeqCst),
            _ => {}
        }
    }
}

/// Makes a folder of a release. The `poisoned` chunks have wrong bytes, so a fetch that asks for one calls the folder a
/// liar.
fn publish(at: &Path, release: &Sample, with_layers: bool, poisoned: &BTreeSet<(String, u64)>) {
    for (path, bytes) in &release.contents {
        let (place, mut bytes) = (at.join(path.as_str()), bytes.clone());
        for (_, chunk) in poisoned.iter().filter(|(of, _)| of == path.as_str()) {
            bytes[usize::try_from(chunk * CHUNK).unwrap()] ^= 1;
        }
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }
    let metadata = at.join(FOLDER);
    fs::create_dir_all(&metadata).unwrap();
    fs::write(metadata.join(HEAD), &release.note).unwrap();
    fs::write(metadata.join(FILES), &release.files).unwrap();
    if with_layers {
        fs::write(metadata.join(CHUNKS), &release.layers).unwrap();
    }
}

fn run(disk: &Arc<PowerCut>, source: &Path, release: &Sample, heard: &Heard) -> Result<Fetched, FetchError> {
    let source = SourceFactory::new().parse(source.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let options = options(release, vec![source].into(), disk.root().to_owned());
    let (disk, root) = (Arc::clone(disk), disk.root().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(fetch_into(options, move || Destination::on(disk, &root), heard, &Stop::default()))
}

/// Checks the properties that hold after a power cut at any point.
fn check(root: &Path, old: Option<&Sample>, new: &Sample, heard: &Heard, published: bool) {
    let read = |path: &str| fs::read(root.join(path)).ok();
    for (file, (path, bytes)) in new.contents.iter().enumerate() {
        let there = read(path.as_str());
        let is_new = there.as_ref() == Some(bytes);
        let is_old = there.as_deref() == old.map(|old| old.bytes(file));
        assert!(is_new || is_old, "something else is under the final name {path:?}");
        assert!(is_new || !lock(&heard.placed).contains(path.as_str()), "{path:?} had its name, and has not");
    }
    let Some(note) = read("weighbridge/head.note") else { return assert!(!published, "the head is lost") };
    let release = [Some(new), old].into_iter().flatten().find(|release| release.note == note).unwrap();
    assert!(!published || release.id == new.id, "the old head is back");
    release.assert_stands(root);
}

/// Cuts the power at each operation of a fetch, or at each second or third. Checks the state that the cut may leave,
/// and fetches on from there.
fn cut_everywhere(old: Option<&Sample>, with_layers: bool, step: usize) {
    let new = Sample::of(&MODEL, 1);
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    publish(&source, &new, with_layers, &BTreeSet::new());
    let begin = |at: &Path| {
        if let Some(old) = old {
            publish(at, old, true, &BTreeSet::new());
        }
        PowerCut::over(at)
    };
    let disk = begin(&place.path().join("whole"));
    let heard = Heard::default();
    run(&disk, &source, &new, &heard).unwrap();
    check(disk.root(), old, &new, &heard, true);
    assert_eq!(lock(&heard.placed).len(), MODEL.len());
    let operations = disk.operations();
    let mut confirmed = 0;
    for after in (0..operations).step_by(step) {
        let place = tempfile::tempdir().unwrap();
        let disk = begin(&place.path().join("live"));
        disk.fail_after(after);
        let heard = Heard::default();
        let ended = run(&disk, &source, &new, &heard);
        check(disk.root(), old, &new, &heard, ended.is_ok());
        confirmed += lock(&heard.durable).len();
        for fate in 0..3 {
            let cut = place.path().join(format!("cut{fate}"));
            disk.cut(&cut, Dice(after * 3 + fate).roll(u64::MAX));
            check(&cut, old, &new, &heard, ended.is_ok());
            if fate != after % 3 {
                continue;
            }
            // A fetch that asks for a durable chunk again gets a wrong one.
            let poisoned = place.path().join("poisoned");
            publish(&poisoned, &new, with_layers, &lock(&heard.durable));
            let again = Heard::default();
            let ended = run(&PowerCut::over(&cut), &poisoned, &new, &again);
            assert!(ended.is_ok(), "after {after}: {ended:?}");
            assert!(!again.lied.load(SeqCst), "after {after}: a durable chunk was asked for");
            check(&cut, old, &new, &again, true);
        }
    }
    assert!(confirmed > 0, "no chunk was durable before the power failed");
}

#[test]
fn a_first_fetch_goes_on_from_every_durable_chunk() {
    cut_everywhere(None, true, 1);
}

#[test]
fn an_update_goes_on_from_every_durable_chunk() {
    cut_everywhere(Some(&Sample::of(&MODEL, 2)), true, 3);
}

#[test]
fn a_fetch_without_layers_goes_on_from_every_durable_file() {
    cut_everywhere(None, false, 2);
}

/// A file under its final name may have been put there a moment ago by a process that synced nothing.
#[test]
fn what_was_there_already_is_synced_before_it_is_called_durable() {
    let new = Sample::of(&MODEL, 1);
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    publish(&source, &new, true, &BTreeSet::new());
    let disk = PowerCut::over(&place.path().join("live"));
    for folder in ["deep", "deep/er"] {
        disk.make_folder(folder).unwrap();
    }
    for (path, bytes) in &new.contents {
        let file = disk.write(path.as_str(), Opening::New).unwrap();
        file.write_at(bytes, 0).unwrap();
    }
    let heard = Heard::default();
    run(&disk, &source, &new, &heard).unwrap();
    for fate in 0..20 {
        let cut = place.path().join(format!("cut{fate}"));
        disk.cut(&cut, fate);
        check(&cut, None, &new, &heard, true);
    }
}

/// Regression: while all files got their names on a slow disk, the fetch said for 62 s that nothing was verified, and
/// that a file was read or written.
#[test]
fn while_names_are_given_on_a_slow_disk_that_is_said() {
    let new = Sample::of(&MODEL, 1);
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    publish(&source, &new, true, &BTreeSet::new());
    for operations in 0.. {
        let disk = PowerCut::over(&place.path().join(format!("live{operations}")));
        let (first, slept) = (disk.root().join("a"), Arc::new(AtomicBool::new(false)));
        let is_slow = Arc::clone(&slept);
        disk.interrupt_after(operations, move || {
            // The first file has its name, so the naming of the others has begun.
            if first.exists() {
                is_slow.store(true, SeqCst);
                std::thread::sleep(PATIENCE * 2);
            }
        });
        let heard = Heard::default();
        run(&disk, &source, &new, &heard).unwrap();
        if slept.load(SeqCst) {
            let waiting = lock(&heard.waiting);
            let is_naming = |waiting: &Waiting| waiting.here == Some(Here::Naming) && waiting.from.is_none();
            assert!(!waiting.is_empty() && waiting.iter().all(is_naming), "{waiting:?}");
            return;
        }
    }
}

/// Regression: the fetch never ended.
#[test]
fn ends_if_nobody_has_a_file_without_layer() {
    let new = Sample::of(&MODEL, 1);
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    publish(&source, &new, false, &BTreeSet::from([("a".to_owned(), 7)]));
    let ended = run(&PowerCut::over(&place.path().join("live")), &source, &new, &Heard::default());
    assert!(matches!(ended, Err(FetchError::NoSource { .. })), "{ended:?}");
    let left = fs::read_dir(place.path().join("live/weighbridge/partial")).unwrap();
    let hidden = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    assert!(!left.map(|entry| entry.unwrap()).any(hidden), "a quarantine is left");
}
