use std::{
    collections::BTreeSet,
    fmt, fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

#[cfg(target_os = "linux")]
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;
use weighbridge_testkit::{CHUNK, Sample};
use weighbridge_verify::PageBuffer;

use super::*;
use crate::{
    disk::hint,
    metadata::{CHUNKS, FILES, HEAD, TENSORS},
    power_cut::PowerCut,
};

const MODEL: [(&str, usize); 3] = [("a", 100_000), ("deep/er/b", 50_000), ("empty", 0)];

struct Place {
    folder: TempDir,
    sample: Sample,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), sample: Sample::of(&MODEL, 1) }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn open(&self) -> Destination {
        Destination::open(self.folder.path()).unwrap()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.at(path)).ok()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), bytes).unwrap();
    }

    /// An incomplete file, all of whose chunks are there.
    fn whole(&self, destination: &Destination, file: usize) -> PartialFile {
        let partial = self.begun(destination, file);
        write_all(&partial, &self.sample, file).unwrap();
        partial
    }

    fn begun(&self, destination: &Destination, file: usize) -> PartialFile {
        destination.partial(self.sample.root(file), self.sample.size(file)).unwrap()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Names are given without a lock, as on a file system that has none: other processes may come in between.
fn naming(destination: &Destination, head: HeadId) -> Naming {
    Naming::begin(&destination.site, FolderLock::none(), Some(head), Replaces::Files, "a test").unwrap()
}

impl Destination {
    fn place(&self, partial: &PartialFile, path: &EntryPath) -> Result<(), StoreError> {
        let mut naming = naming(self, Sample::of(&MODEL, 1).id);
        naming.place(self, partial, path)?;
        naming.settle()
    }

    fn remove_at_once(&self, extra: &crate::Extra) -> Result<bool, StoreError> {
        self.remove(&mut naming(self, Sample::of(&MODEL, 1).id), extra)
    }
}

/// Puts staged metadata in its place.
pub(super) fn publish(staged: &Staged) -> Result<(), StoreError> {
    let lock = staged.site().lock("a test")?;
    let mut naming = Naming::begin(staged.site(), lock, Some(staged.head()), Replaces::Files, "a test")?;
    staged.publish(&mut naming)?;
    naming.sweep(crate::Standing::IsWhole)
}

pub(super) fn write_all(partial: &PartialFile, sample: &Sample, file: usize) -> Result<(), StoreError> {
    for chunk in 0..sample.count(file) {
        let bytes = sample.chunks(file, chunk..chunk + 1);
        partial.write(&sample.verifier(file).accept_run(chunk, bytes).unwrap())?;
    }
    Ok(())
}

/// `weighbridge` was a file, and it was said that it "is a file, where a file has to be".
#[test]
fn what_is_in_the_way_is_said_and_what_is_needed() {
    let message = |result: Result<Destination, StoreError>| result.unwrap_err().to_string();
    let place = Place::new();
    place.write("weighbridge", b"mine");
    let said = message(Destination::open(place.folder.path()));
    assert!(said.ends_with("weighbridge is a file, where a folder has to be"), "{said}");
    let said = message(Destination::open(&place.at("weighbridge")));
    assert!(said.ends_with("weighbridge is a file, where a folder has to be"), "{said}");
    fs::remove_file(place.at("weighbridge")).unwrap();
    fs::create_dir(place.at("a")).unwrap();
    let said = place.open().finished(place.sample.path(0)).unwrap_err().to_string();
    assert!(said.ends_with("a is a folder, where a file has to be"), "{said}");
}

fn in_the_way<T: fmt::Debug>(result: Result<T, StoreError>) -> PathBuf {
    match result {
        Err(StoreError::InTheWay { path, .. }) => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn places_whole_files_and_makes_their_folders() {
    let place = Place::new();
    let destination = place.open();
    for file in 0..3 {
        let path = place.sample.path(file);
        assert!(destination.finished(path).unwrap().is_none());
        destination.place(&place.whole(&destination, file), path).unwrap();
        assert_eq!(place.read(path.as_str()).unwrap(), place.sample.bytes(file));
        assert_eq!(destination.finished(path).unwrap().unwrap().1, place.sample.size(file));
    }
    assert!(place.names("weighbridge/partial").is_empty());
}

#[test]
fn places_a_file_in_place_of_an_older_one() {
    let place = Place::new();
    place.write("a", b"old");
    let destination = place.open();
    assert_eq!(destination.finished(place.sample.path(0)).unwrap().unwrap().1, 3);
    destination.place(&place.whole(&destination, 0), place.sample.path(0)).unwrap();
    assert_eq!(place.read("a").unwrap(), place.sample.bytes(0));
}

#[test]
fn leaves_older_files_alone_before_the_new_ones_are_placed() {
    let place = Place::new();
    place.write("a", b"old");
    let destination = place.open();
    destination.sync(&[&place.whole(&destination, 0)]).remove(0).unwrap();
    assert_eq!(place.read("a").unwrap(), b"old");
}

#[test]
fn places_no_file_that_somebody_has_cut() {
    let place = Place::new();
    let destination = place.open();
    let partial = place.whole(&destination, 0);
    File::options().write(true).open(place.at(partial.path())).unwrap().set_len(5).unwrap();
    assert!(destination.place(&partial, place.sample.path(0)).is_err());
    assert!(place.read("a").is_none());
}

#[cfg(unix)]
#[test]
fn replaces_nothing_but_files_below_folders() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;
    let place = Place::new();
    let destination = place.open();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("b"), b"mine").unwrap();
    let check = |path: &str, what: &str| {
        let file = usize::from(path != "a");
        let partial = place.whole(&destination, file);
        assert_eq!(in_the_way(destination.finished(place.sample.path(file))), place.at(path), "{what}");
        assert_eq!(
            in_the_way(destination.place(&partial, place.sample.path(file))),
            place.at(path),
            "{what}"
        );
        // The fetched bytes are not lost.
        assert_eq!(place.read(partial.path()).unwrap(), place.sample.bytes(file), "{what}");
        let there = place.at(path);
        let is_folder = there.symlink_metadata().unwrap().is_dir();
        let removed = if is_folder { fs::remove_dir_all(there) } else { fs::remove_file(there) };
        removed.unwrap();
        assert_eq!(fs::read(outside.path().join("b")).unwrap(), b"mine", "{what}");
    };
    fs::create_dir(place.at("a")).unwrap();
    check("a", "folder");
    symlink(outside.path().join("b"), place.at("a")).unwrap();
    check("a", "link");
    symlink("nowhere", place.at("a")).unwrap();
    check("a", "link to nothing");
    mknodat(CWD, place.at("a"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    check("a", "fifo");
    place.write("deep", b"file");
    check("deep", "file above");
    symlink(outside.path(), place.at("deep")).unwrap();
    check("deep", "link above");
    fs::create_dir(place.at("deep")).unwrap();
    symlink(outside.path(), place.at("deep/er")).unwrap();
    check("deep/er", "deeper link above");
    destination.place(&place.whole(&destination, 1), place.sample.path(1)).unwrap();
}

#[cfg(unix)]
#[test]
fn opens_no_folder_whose_own_folders_lead_elsewhere() {
    let outside = tempfile::tempdir().unwrap();
    for folder in ["weighbridge", "weighbridge/partial"] {
        let place = Place::new();
        fs::create_dir_all(place.at(folder).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(outside.path(), place.at(folder)).unwrap();
        assert_eq!(in_the_way(Destination::open(place.folder.path())), place.at(folder));
        fs::remove_file(place.at(folder)).unwrap();
        place.write(folder, b"a file");
        assert_eq!(in_the_way(Destination::open(place.folder.path())), place.at(folder));
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn is_content_if_another_process_has_placed_the_file() {
    let place = Place::new();
    let (first, second) = (place.open(), place.open());
    let (a, b) = (place.begun(&first, 1), place.begun(&second, 1));
    write_all(&a, &place.sample, 1).unwrap();
    first.place(&a, place.sample.path(1)).unwrap();
    write_all(&b, &place.sample, 1).unwrap();
    second.sync(&[&b]).remove(0).unwrap();
    second.place(&b, place.sample.path(1)).unwrap();
    assert_eq!(place.read("deep/er/b").unwrap(), place.sample.bytes(1));
}

/// The name under which a file was opened may be another file's when it is to be placed.
#[cfg(unix)]
#[test]
fn never_places_a_file_that_another_process_has_begun_anew() {
    let place = Place::new();
    let (first, second, third) = (place.open(), place.open(), place.open());
    let path = place.sample.path(0);
    let (a, b) = (place.whole(&first, 0), place.begun(&second, 0));
    first.place(&a, path).unwrap();
    let c = place.begun(&third, 0);
    assert_ne!(b.identity(), c.identity());
    second.place(&b, path).unwrap();
    assert_eq!(place.read("a").unwrap(), place.sample.bytes(0));
    // And with nothing under the final name that would be ours.
    fs::remove_file(place.at("a")).unwrap();
    assert!(second.place(&b, path).is_err());
    assert!(place.read("a").is_none());
    assert_eq!(place.names("weighbridge/partial"), [place.sample.root(0).to_string()]);
    write_all(&c, &place.sample, 0).unwrap();
    third.place(&c, path).unwrap();
    assert_eq!(place.read("a").unwrap(), place.sample.bytes(0));
}

#[test]
fn says_that_a_file_was_removed_by_somebody() {
    let place = Place::new();
    let destination = place.open();
    let partial = place.whole(&destination, 0);
    fs::remove_file(place.at(partial.path())).unwrap();
    let error = destination.place(&partial, place.sample.path(0)).unwrap_err();
    assert!(matches!(error, StoreError::Io(_)) && error.to_string().contains(partial.path()), "{error}");
}

#[test]
fn finds_what_a_killed_process_was_about_to_place() {
    let place = Place::new();
    let partial = place.whole(&place.open(), 0);
    let claim = format!("{}.0123456789abcdef", partial.path());
    fs::rename(place.at(partial.path()), place.at(&claim)).unwrap();
    let destination = place.open();
    let mut bytes = PageBuffer::zeroed(100_000);
    place.begun(&destination, 0).read_at(&mut bytes, 0).unwrap();
    assert_eq!(&*bytes, place.sample.bytes(0));
    // Of two, the one that can be found stays.
    place.write(&claim, b"other");
    place.open();
    assert_eq!(place.read(partial.path()).unwrap(), place.sample.bytes(0));
}

/// Lets somebody else do `what` at each point of placing a file.
#[cfg(unix)]
fn interrupted(what: impl Fn(&Arc<PowerCut>, &Place) + Clone + Send + 'static, always_placed: bool) {
    for point in 0..20 {
        let place = Arc::new(Place::new());
        let disk = PowerCut::over(place.folder.path());
        let destination = Destination::on(Arc::<PowerCut>::clone(&disk), disk.root()).unwrap();
        let partial = place.whole(&destination, 1);
        // An interruption that is never reached must not keep the disk, which keeps it.
        let (other, there, what) = (Arc::downgrade(&disk), Arc::downgrade(&place), what.clone());
        disk.interrupt_after(point, move || what(&other.upgrade().unwrap(), &there.upgrade().unwrap()));
        let placed = destination.place(&partial, place.sample.path(1));
        let there = place.read("deep/er/b");
        assert!(there.as_deref().is_none_or(|there| there == place.sample.bytes(1)), "at {point}");
        assert_eq!(placed.is_ok(), there.is_some(), "at {point}: {placed:?}");
        assert!(placed.is_ok() || !always_placed, "at {point}: {placed:?}");
    }
}

#[cfg(unix)]
fn another(disk: &Arc<PowerCut>) -> Destination {
    Destination::on(Arc::<PowerCut>::clone(disk), disk.root()).unwrap()
}

#[cfg(unix)]
#[test]
fn never_places_what_another_process_begins_in_between() {
    let place_and_begin = |disk: &Arc<PowerCut>, place: &Place| {
        let other = another(disk);
        let _ = other.place(&place.whole(&other, 1), place.sample.path(1));
        place.begun(&other, 1);
    };
    interrupted(place_and_begin, true);
    let remove_and_begin = |disk: &Arc<PowerCut>, place: &Place| {
        let other = another(disk);
        let _ = disk.remove(place.begun(&other, 1).path());
        place.begun(&other, 1);
    };
    interrupted(remove_and_begin, false);
}

#[cfg(unix)]
#[test]
fn places_its_file_though_another_process_takes_it_back_or_removes_the_folder() {
    interrupted(|disk, _| drop(another(disk)), true);
    let remove_folders = |disk: &Arc<PowerCut>, _: &Place| {
        let _ = disk.remove_folder("deep/er").and_then(|()| disk.remove_folder("deep"));
    };
    interrupted(remove_folders, true);
}

/// Each thread is a process that fetches the same file, again and again; others come in between.
#[cfg(unix)]
#[test]
fn shows_nothing_but_the_signed_bytes_whoever_comes_in_between() {
    let place = Place::new();
    let done = AtomicBool::new(false);
    let (path, whole) = (place.sample.path(1), place.sample.bytes(1));
    thread::scope(|scope| {
        let fetchers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut placed = 0;
                    for _ in 0..40 {
                        let destination = place.open();
                        let partial = place.whole(&destination, 1);
                        placed += u32::from(destination.place(&partial, path).is_ok());
                    }
                    placed
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(SeqCst) {
                place.open();
            }
        });
        scope.spawn(|| {
            while !done.load(SeqCst) {
                assert!(place.read(path.as_str()).is_none_or(|there| there == whole));
            }
        });
        let placed: u32 = fetchers.into_iter().map(|fetcher| fetcher.join().unwrap()).sum();
        done.store(true, SeqCst);
        // A file may be taken away by those who begin and end in between, but that is the exception.
        assert!(placed > 40, "{placed} of 160");
    });
    assert_eq!(place.read(path.as_str()).unwrap(), whole);
}

#[cfg(unix)]
#[test]
fn does_not_replace_a_file_of_the_model_by_another_whose_name_is_the_same_here() {
    let place = Place::new();
    let destination = place.open();
    destination.place(&place.whole(&destination, 0), place.sample.path(0)).unwrap();
    // As a file system would that takes both names for one.
    fs::create_dir_all(place.at("deep/er")).unwrap();
    fs::rename(place.at("a"), place.at("deep/er/b")).unwrap();
    let partial = place.whole(&destination, 1);
    assert_eq!(in_the_way(destination.place(&partial, place.sample.path(1))), place.at("deep/er/b"));
    assert_eq!(place.read("deep/er/b").unwrap(), place.sample.bytes(0));
}

#[test]
fn publishes_metadata_in_place_of_that_of_an_older_release() {
    let place = Place::new();
    for name in [HEAD, "head.txt", FILES, TENSORS, CHUNKS, "mine"] {
        place.write(&format!("weighbridge/{name}"), b"old");
    }
    let staged = place.open().stage(place.sample.id).unwrap();
    staged.write(HEAD, &place.sample.note).unwrap();
    staged.write(FILES, &place.sample.files).unwrap();
    assert_eq!(staged.read(FILES, 1 << 20).unwrap().unwrap(), place.sample.files);
    assert_eq!(place.read("weighbridge/files.jsonl").unwrap(), b"old");
    publish(&staged).unwrap();
    assert_eq!(place.names("weighbridge"), [FILES, HEAD, "mine", "partial"]);
    assert_eq!(place.read("weighbridge/files.jsonl").unwrap(), place.sample.files);
    assert_eq!(place.read("weighbridge/head.note").unwrap(), place.sample.note);
    assert!(place.names("weighbridge/partial").is_empty());
}

#[test]
fn finds_staged_metadata_again() {
    let place = Place::new();
    let len = u64::try_from(place.sample.layers.len()).unwrap();
    {
        let staged = place.open().stage(place.sample.id).unwrap();
        assert!(staged.read(HEAD, 1 << 20).unwrap().is_none());
        staged.write(HEAD, &place.sample.note).unwrap();
        staged.write(FILES, &place.sample.files).unwrap();
        let layers = staged.layers(len).unwrap();
        layers.write(32..96, &place.sample.layers[32..96]).unwrap();
    }
    let staged = place.open().stage(place.sample.id).unwrap();
    assert_eq!(staged.read(HEAD, 1 << 20).unwrap().unwrap(), place.sample.note);
    assert!(staged.read(FILES, 5).unwrap().is_none());
    let layers = staged.layers(len).unwrap();
    assert_eq!(*layers.read(0..32).unwrap(), [0; 32]);
    assert_eq!(*layers.read(32..96).unwrap(), place.sample.layers[32..96]);
    publish(&staged).unwrap();
    assert_eq!(place.read("weighbridge/chunks.layer").unwrap().len(), place.sample.layers.len());
}

#[test]
fn takes_layers_only_within_the_file_and_of_the_right_length() {
    let place = Place::new();
    let layers = place.open().stage(place.sample.id).unwrap().layers(64).unwrap();
    assert!(layers.write(0..32, &[1; 33]).is_err());
    assert!(layers.write(32..96, &[1; 64]).is_err());
    assert!(layers.read(32..65).is_err());
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is tried")]
    let backwards = 40..32;
    assert!(layers.read(backwards).is_err());
    assert_eq!(*layers.read(0..64).unwrap(), [0; 64]);
}

/// A first fetch wants one file, a second another: the layer of the first must not be lost by the second.
#[test]
fn keeps_layers_that_are_published_when_more_are_fetched() {
    let place = Place::new();
    let len = u64::try_from(place.sample.layers.len()).unwrap();
    for range in [0..32, 64..96] {
        let staged = place.open().stage(place.sample.id).unwrap();
        staged.write(HEAD, &place.sample.note).unwrap();
        staged.write(FILES, &place.sample.files).unwrap();
        let at = usize::try_from(range.start).unwrap();
        staged.layers(len).unwrap().write(range, &place.sample.layers[at..at + 32]).unwrap();
        publish(&staged).unwrap();
    }
    let there = place.read("weighbridge/chunks.layer").unwrap();
    assert_eq!(there[..32], place.sample.layers[..32]);
    assert_eq!(there[32..64], [0; 32]);
    assert_eq!(there[64..96], place.sample.layers[64..96]);
}

#[test]
fn does_not_take_over_layers_of_another_release() {
    let place = Place::new();
    place.write("weighbridge/chunks.layer", &[7; 64]);
    place.write("weighbridge/head.note", &Sample::of(&MODEL, 2).note);
    let layers = place.open().stage(place.sample.id).unwrap().layers(64).unwrap();
    assert_eq!(*layers.read(0..64).unwrap(), [0; 64]);
}

#[test]
fn publishes_once_for_two_processes() {
    let place = Place::new();
    let (first, second) = (place.open(), place.open());
    let stage = |destination: &Destination| {
        let staged = destination.stage(place.sample.id).unwrap();
        staged.write(HEAD, &place.sample.note).unwrap();
        staged.write(FILES, &place.sample.files).unwrap();
        staged
    };
    let (a, b) = (stage(&first), stage(&second));
    publish(&a).unwrap();
    // Written when the folder is gone already.
    b.write(TENSORS, b"tensors").unwrap();
    publish(&b).unwrap();
    assert_eq!(place.names("weighbridge"), [FILES, HEAD, "partial", TENSORS]);
    assert_eq!(place.read("weighbridge/head.note").unwrap(), place.sample.note);
    assert!(place.names("weighbridge/partial").is_empty());
}

/// The folder of its metadata was gone with the first.
#[test]
fn publishes_a_release_that_another_process_has_just_published() {
    let place = Place::new();
    let staged = [place.open(), place.open()].map(|destination| {
        let staged = destination.stage(place.sample.id).unwrap();
        staged.write(HEAD, &place.sample.note).unwrap();
        staged.write(FILES, &place.sample.files).unwrap();
        staged
    });
    staged.iter().for_each(|staged| publish(staged).unwrap());
    assert_eq!(place.names("weighbridge"), [FILES, HEAD, "partial"]);
    assert!(place.names("weighbridge/partial").is_empty());
}

#[test]
fn never_mixes_releases_that_are_published_at_once() {
    let place = Place::new();
    let samples = [Sample::of(&MODEL, 1), Sample::of(&MODEL, 2), Sample::of(&MODEL, 3)];
    thread::scope(|scope| {
        for sample in &samples {
            scope.spawn(|| {
                for _ in 0..30 {
                    let staged = place.open().stage(sample.id).unwrap();
                    staged.write(HEAD, &sample.note).unwrap();
                    staged.write(FILES, &sample.files).unwrap();
                    publish(&staged).unwrap();
                }
            });
        }
    });
    let note = place.read("weighbridge/head.note").unwrap();
    let published = samples.iter().find(|sample| sample.note == note).unwrap();
    assert_eq!(place.read("weighbridge/files.jsonl").unwrap(), published.files);
}

#[test]
fn publishes_no_note_of_another_release_and_none_without_a_list() {
    let place = Place::new();
    place.write("weighbridge/head.note", b"old");
    let staged = place.open().stage(place.sample.id).unwrap();
    staged.write(HEAD, &Sample::of(&MODEL, 2).note).unwrap();
    staged.write(FILES, &place.sample.files).unwrap();
    assert!(publish(&staged).is_err());
    let place = Place::new();
    place.write("weighbridge/head.note", b"old");
    let staged = place.open().stage(place.sample.id).unwrap();
    staged.write(HEAD, &place.sample.note).unwrap();
    assert!(publish(&staged).is_err());
    assert_eq!(place.read("weighbridge/head.note").unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn replaces_no_link_among_metadata() {
    let place = Place::new();
    let mine = place.at("mine");
    fs::write(&mine, b"mine").unwrap();
    let destination = place.open();
    std::os::unix::fs::symlink(&mine, place.at("weighbridge/files.jsonl")).unwrap();
    let staged = destination.stage(place.sample.id).unwrap();
    staged.write(HEAD, &place.sample.note).unwrap();
    staged.write(FILES, &place.sample.files).unwrap();
    assert_eq!(in_the_way(publish(&staged)), place.at("weighbridge/files.jsonl"));
    let staged = destination.stage(place.sample.id).unwrap();
    let path = format!("weighbridge/partial/{}/tensors.jsonl", place.sample.id);
    std::os::unix::fs::symlink(&mine, place.at(&path)).unwrap();
    assert_eq!(in_the_way(staged.read(TENSORS, 100)), place.at(&path));
    assert_eq!(in_the_way(staged.write(TENSORS, b"new")), place.at(&path));
    assert_eq!(fs::read(mine).unwrap(), b"mine");
}

#[test]
fn refuses_names_that_are_no_metadata() {
    let place = Place::new();
    let staged = place.open().stage(place.sample.id).unwrap();
    assert!(staged.write("../../a", b"x").is_err());
    assert!(staged.read("head.txt", 10).is_err());
}

#[cfg(unix)]
#[test]
fn finds_and_removes_what_is_not_listed() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("mine"), b"mine").unwrap();
    for path in
        ["a", "deep/er/b", "deep/old/er/c", "deep/old/d", ".gitattributes", "weighbridge/mine", ".git/e"]
    {
        place.write(path, b"there");
    }
    std::os::unix::fs::symlink(outside.path(), place.at("out")).unwrap();
    mknodat(CWD, place.at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let destination = place.open();
    let extras = destination.unlisted(&|path| ["a", "deep/er/b"].contains(&path)).unwrap();
    let paths: Vec<_> = extras.iter().map(|extra| extra.path.as_str()).collect();
    assert_eq!(paths, [".gitattributes", "deep/old/d", "deep/old/er/c", "fifo", "out"]);
    let removed: Vec<_> = extras.iter().map(|extra| destination.remove_at_once(extra).unwrap()).collect();
    assert_eq!(removed, [true, true, true, false, true]);
    assert_eq!(place.names(""), [".git", "a", "deep", "fifo", "weighbridge"]);
    assert_eq!(place.names("deep"), ["er"]);
    assert_eq!(fs::read(outside.path().join("mine")).unwrap(), b"mine");
    assert!(destination.remove_at_once(&extras[0]).unwrap(), "what is gone is gone");
}

#[cfg(unix)]
#[test]
fn removes_nothing_through_a_link_that_came_since() {
    let place = Place::new();
    place.write("folder/mine", b"extra");
    let destination = place.open();
    let extras = destination.unlisted(&|_| false).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("mine"), b"mine").unwrap();
    fs::remove_dir_all(place.at("folder")).unwrap();
    std::os::unix::fs::symlink(outside.path(), place.at("folder")).unwrap();
    assert_eq!(in_the_way(destination.remove_at_once(&extras[0])), place.at("folder"));
    assert_eq!(fs::read(outside.path().join("mine")).unwrap(), b"mine");
}

#[test]
fn finds_and_removes_what_other_fetches_left() {
    let place = Place::new();
    let other = Sample::of(&MODEL, 2);
    let destination = place.open();
    place.whole(&destination, 0);
    destination.partial(other.root(0), other.size(0)).unwrap();
    let ours = destination.stage(place.sample.id).unwrap();
    let theirs = destination.stage(other.id).unwrap();
    ours.write(FILES, &place.sample.files).unwrap();
    theirs.write(FILES, &other.files).unwrap();
    theirs.layers(100).unwrap();
    place.write(&format!("weighbridge/partial/{}.0123456789abcdef", other.root(1)), b"claimed");
    place.write("weighbridge/partial/mine", b"mine");
    let wanted = BTreeSet::from([place.sample.root(0), place.sample.root(1)]);
    let extras = destination.left_over(&wanted, place.sample.id).unwrap();
    assert_eq!(extras.len(), 3, "{extras:?}");
    assert!(extras.iter().all(|extra| destination.remove_at_once(extra).unwrap()));
    let mut left = [place.sample.root(0).to_string(), place.sample.id.to_string(), "mine".to_owned()];
    left.sort();
    assert_eq!(place.names("weighbridge/partial"), left);
    assert!(destination.left_over(&wanted, place.sample.id).unwrap().is_empty());
    // Something else among staged metadata is not ours to remove.
    let foreign = format!("weighbridge/partial/{}/mine", other.id);
    place.write(&foreign, b"mine");
    let extras = destination.left_over(&wanted, place.sample.id).unwrap();
    assert!(!destination.remove_at_once(&extras[0]).unwrap());
    assert_eq!(place.read(&foreign).unwrap(), b"mine");
}

#[test]
fn a_quarantine_goes_with_its_process() {
    let place = Place::new();
    let destination = place.open();
    let root = place.sample.root(0);
    let living = destination.quarantine(root).unwrap();
    // As a killed process leaves it: nobody holds it.
    let dead = format!("weighbridge/partial/.{root}.0123456789abcdef");
    place.write(&dead, b"unjudged");
    let extras = destination.left_over(&BTreeSet::from([root]), place.sample.id).unwrap();
    assert_eq!(extras.len(), 2, "{extras:?}");
    let second = place.open().quarantine(root).unwrap();
    assert!(place.read(&dead).is_none());
    assert_eq!(place.names("weighbridge/partial").len(), 2);
    drop((living, second));
    assert!(place.names("weighbridge/partial").is_empty());
}

#[test]
fn goes_on_from_what_a_killed_process_was_about_to_place_beside_another() {
    let place = Place::new();
    let partial = place.whole(&place.open(), 0);
    let claim = format!("{}.0123456789abcdef", partial.path());
    fs::rename(place.at(partial.path()), place.at(&claim)).unwrap();
    place.write(partial.path(), b"begun anew");
    let claims = place.open().claims(place.sample.root(0));
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].metadata().unwrap().len(), place.sample.size(0));
    assert!(place.open().claims(place.sample.root(1)).is_empty());
}

#[test]
fn says_that_the_folder_has_vanished() {
    let place = Place::new();
    let destination = place.open();
    let partial = place.whole(&destination, 1);
    fs::remove_dir_all(place.folder.path()).unwrap();
    for error in [
        destination.place(&partial, place.sample.path(1)).unwrap_err(),
        destination.partial(place.sample.root(0), 100_000).unwrap_err(),
        destination.stage(place.sample.id).unwrap_err(),
    ] {
        let StoreError::Io(error) = error else { panic!("{error}") };
        assert!(hint(&error.source).is_some_and(|hint| hint.contains("removed or unmounted")), "{error}");
    }
    assert!(!place.folder.path().exists());
}

/// A small file system of its own, for the superuser. No program mounts it: until a new process becomes that program, it has the locks
/// of the tests beside this one.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf, #[allow(dead_code, reason = "goes with it")] TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("disk");
        fs::create_dir(&place).unwrap();
        let mounted = mount("none", &place, "tmpfs", MountFlags::empty(), Some(c"size=96k"));
        if mounted.is_err() {
            eprintln!("skipped: only the superuser can mount a small file system");
        }
        mounted.is_ok().then_some(Self(place, folder))
    }

    fn remount(&self, flags: MountFlags, data: &str) {
        mount_remount(&self.0, flags, data).unwrap();
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn says_that_the_disk_is_full_and_leaves_nothing_half_under_a_final_name() {
    let Some(disk) = SmallDisk::mount() else { return };
    let place = Place::new();
    fs::write(disk.0.join("a"), b"old").unwrap();
    let destination = Destination::open(&disk.0).unwrap();
    let partial = place.begun(&destination, 0);
    let StoreError::Io(error) = write_all(&partial, &place.sample, 0).unwrap_err() else { panic!() };
    assert!(hint(&error.source).is_some_and(|hint| hint.contains("make room")), "{error}");
    assert!(error.path.ends_with(partial.path()));
    assert_eq!(fs::read(disk.0.join("a")).unwrap(), b"old");
    let staged = destination.stage(place.sample.id).unwrap();
    assert!(staged.write(FILES, &[b'x'; 100_000]).is_err());
    let left = fs::read_dir(disk.0.join(format!("weighbridge/partial/{}", place.sample.id))).unwrap().count();
    assert_eq!(left, 0);
    // The bytes that were written before are there, and writing goes on from there when there is room.
    let mut first = PageBuffer::zeroed(usize::try_from(CHUNK).unwrap());
    partial.read_at(&mut first, 0).unwrap();
    assert_eq!(&*first, place.sample.chunks(0, 0..1));
    disk.remount(MountFlags::empty(), "size=1m");
    write_all(&partial, &place.sample, 0).unwrap();
    destination.place(&partial, place.sample.path(0)).unwrap();
    assert_eq!(fs::read(disk.0.join("a")).unwrap(), place.sample.bytes(0));
}

#[cfg(target_os = "linux")]
#[test]
fn says_that_the_file_system_is_read_only() {
    let Some(disk) = SmallDisk::mount() else { return };
    let place = Place::new();
    let destination = Destination::open(&disk.0).unwrap();
    disk.remount(MountFlags::RDONLY, "");
    for error in [
        destination.partial(place.sample.root(1), 50_000).unwrap_err(),
        destination.stage(place.sample.id).unwrap_err(),
        Destination::open(&disk.0.join("other")).unwrap_err(),
    ] {
        let StoreError::Io(error) = error else { panic!("{error}") };
        assert!(hint(&error.source).is_some_and(|hint| hint.contains("read-only")), "{error}");
    }
}
