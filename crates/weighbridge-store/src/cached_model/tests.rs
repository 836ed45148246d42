//! The states of a cache while a release is put there, and after kills and power cuts.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt as _, symlink},
    sync::mpsc,
    thread,
    time::Duration,
};

use proptest::prelude::*;
use weighbridge_testkit::Sample;
use weighbridge_tree::Coded as _;

use super::*;
use crate::{Destination, Standing, naming::Naming, power_cut::PowerCut};

const NAME: &str = "org/model";
const REPOSITORY: &str = "models--org--model";

fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

fn open(hub: &Path) -> Result<CachedModel, StoreError> {
    CachedModel::open(hub, &name(NAME), Existing::Keep, |_| panic!("nobody else is there"))
}

/// Two releases that have one file in common.
fn releases() -> (Sample, Sample) {
    let of = |seed| Sample::of_seeds(&[("deep/er/a", 20_000, seed), ("same", 5_000, 1), ("z", 0, 1)]);
    (of(1), of(2))
}

/// Does what a fetch does in the folder, and takes what the cache has. Returns the files that come from elsewhere.
fn fetch(into: &Path, sample: &Sample) -> Vec<usize> {
    let destination = Destination::open(into).unwrap();
    let mut came = Vec::new();
    for (file, (path, bytes)) in sample.contents.iter().enumerate() {
        let size = bytes.len().try_into().unwrap();
        destination.take_from_cache(path, Some(sample.root(file)), size);
    }
    let staged = destination.stage(sample.id).unwrap();
    staged.write(HEAD, &sample.note).unwrap();
    staged.write(FILES, &sample.files).unwrap();
    let len = sample.layers.len().try_into().unwrap();
    staged.layers(len).unwrap().write(0..len, &sample.layers).unwrap();
    let mut naming: Naming = destination.begin_naming(destination.lock().unwrap(), &staged).unwrap();
    for (file, (path, bytes)) in sample.contents.iter().enumerate() {
        if fs::read(into.join(path.as_str())).ok().as_ref() == Some(bytes) {
            continue;
        }
        came.push(file);
        let partial = destination.partial(sample.root(file), sample.size(file)).unwrap();
        if !bytes.is_empty() {
            partial.write(&sample.verifier(file).accept_run(0, bytes).unwrap()).unwrap();
        }
        naming.place(&destination, &partial, path).unwrap();
    }
    naming.settle().unwrap();
    staged.publish(&mut naming).unwrap();
    naming.sweep(Standing::IsWhole).unwrap();
    came
}

/// Puts a release into the cache, and expects which files come from elsewhere.
#[track_caller]
fn put(hub: &Path, sample: &Sample, from_elsewhere: &[usize]) -> PathBuf {
    let cached = open(hub).unwrap();
    assert_eq!(fetch(&cached.incoming(), sample), from_elsewhere);
    cached.publish(sample.id, |_| true).unwrap()
}

/// Everything below a folder: the bytes of files, and the targets of links.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let below = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(path).unwrap();
                drop(found.insert(below, format!("-> {}", target.to_str().unwrap()).into()));
            } else {
                drop(found.insert(below, fs::read(path).unwrap()));
            }
        }
    }
    found
}

/// The bytes of all blobs, and of what has come, in the folder of a model.
fn counted(repository: &Path) -> u64 {
    let (mut bytes, mut folders) = (0, vec![repository.join(BLOBS), repository.join(INCOMING)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += found.len().min(found.blocks() * 512);
            }
        }
    }
    bytes
}

/// What a cache has to have that these releases were put into, one after the other.
fn expected(releases: &[&Sample]) -> BTreeMap<String, Vec<u8>> {
    let mut expected = BTreeMap::new();
    for sample in releases {
        let revision = revision_of(sample.id);
        for (file, (path, bytes)) in sample.contents.iter().enumerate() {
            let (root, path) = (sample.root(file), path.as_str());
            let up = if path.contains('/') { "../../../.." } else { "../.." };
            expected.insert(format!("blobs/{root}"), bytes.clone());
            expected.insert(format!("snapshots/{revision}/{path}"), format!("-> {up}/blobs/{root}").into());
        }
        for (name, bytes) in [(HEAD, &sample.note), (FILES, &sample.files), (CHUNKS, &sample.layers)] {
            expected.insert(format!("weighbridge/{}/{name}", sample.id), bytes.clone());
        }
        expected.insert("refs/main".to_owned(), revision.into());
    }
    expected
}

/// Asserts that `refs/main` names a snapshot that is whole, and returns the number of its release.
#[track_caller]
fn assert_main(hub: &Path, releases: &[&Sample]) -> usize {
    let repository = hub.join(REPOSITORY);
    let main = fs::read_to_string(repository.join("refs/main")).unwrap();
    let at = releases.iter().position(|sample| revision_of(sample.id) == main).unwrap();
    let snapshot = repository.join("snapshots").join(main);
    for (path, bytes) in &releases[at].contents {
        assert!(fs::read(snapshot.join(path.as_str())).unwrap() == *bytes, "{}", path.as_str());
    }
    let metadata = Metadata::of_model(&snapshot);
    assert_eq!(metadata.note().unwrap(), releases[at].note);
    at
}

#[test]
fn each_release_has_a_snapshot_and_what_they_share_is_there_once() {
    let hub = tempfile::tempdir().unwrap();
    let (first, second) = releases();
    let snapshot = put(hub.path(), &first, &[0, 1, 2]);
    let repository = fs::canonicalize(hub.path()).unwrap().join(REPOSITORY);
    assert_eq!(snapshot, repository.join("snapshots").join(revision_of(first.id)));
    assert_eq!(tree(&repository), expected(&[&first]));
    let shared = repository.join(format!("blobs/{}", first.root(1)));
    let before = fs::metadata(&shared).unwrap().ino();

    drop(put(hub.path(), &second, &[0]));
    assert_eq!(tree(&repository), expected(&[&first, &second]));
    assert_eq!(fs::metadata(&shared).unwrap().ino(), before, "it was written again");
    // The same releases again change nothing but the current one.
    drop(put(hub.path(), &second, &[]));
    drop(put(hub.path(), &first, &[]));
    assert_eq!(tree(&repository), expected(&[&second, &first]));
    let cached = open(hub.path()).unwrap();
    let mut notes: Vec<_> = cached.releases().unwrap().iter().map(|one| one.note().unwrap()).collect();
    notes.sort();
    let mut both = [first.note.clone(), second.note.clone()];
    both.sort();
    assert_eq!(notes, both);
    assert_eq!(cached.snapshot_of(first.id), snapshot);
}

/// What was a folder may be a file in the next release.
#[test]
fn paths_of_an_earlier_release_are_not_in_the_way() {
    let hub = tempfile::tempdir().unwrap();
    let folder = Sample::of_seeds(&[("a/b", 20_000, 1), ("c", 5, 1)]);
    let file = Sample::of_seeds(&[("a", 20_000, 2), ("c", 5, 1)]);
    for sample in [&folder, &file, &folder, &file] {
        let cached = open(hub.path()).unwrap();
        drop(fetch(&cached.incoming(), sample));
        drop(cached.publish(sample.id, |_| true).unwrap());
        assert_eq!(fs::read(cached_path(hub.path(), sample, "c")).unwrap(), sample.bytes(1));
    }
}

fn cached_path(hub: &Path, sample: &Sample, path: &str) -> PathBuf {
    hub.join(REPOSITORY).join("snapshots").join(revision_of(sample.id)).join(path)
}

#[test]
fn files_that_have_not_come_are_in_the_snapshot_only_if_the_cache_has_them() {
    let hub = tempfile::tempdir().unwrap();
    let (first, second) = releases();
    let put_some = |sample: &Sample, wanted: &str| {
        let cached = open(hub.path()).unwrap();
        drop(fetch(&cached.incoming(), sample));
        cached.publish(sample.id, |path| path.as_str() == wanted).unwrap()
    };
    let snapshot = put_some(&first, "same");
    assert_eq!(tree(&snapshot).keys().collect::<Vec<_>>(), ["same"]);
    let of_second = put_some(&second, "z");
    assert_eq!(tree(&of_second).keys().collect::<Vec<_>>(), ["same", "z"], "`same` is the same file");
    assert_eq!(put(hub.path(), &first, &[0]), snapshot);
    assert_eq!(assert_main(hub.path(), &[&first]), 0);
}

#[test]
fn a_snapshot_that_somebody_has_changed_is_mended() {
    let hub = tempfile::tempdir().unwrap();
    let (first, _) = releases();
    let snapshot = put(hub.path(), &first, &[0, 1, 2]);
    fs::remove_file(snapshot.join("z")).unwrap();
    fs::remove_file(snapshot.join("same")).unwrap();
    symlink("../../blobs/other", snapshot.join("same")).unwrap();
    fs::remove_file(snapshot.join("deep/er/a")).unwrap();
    fs::write(snapshot.join("deep/er/a"), "a copy, as of clients where there are no links").unwrap();
    assert_eq!(put(hub.path(), &first, &[]), snapshot);
    assert_eq!(tree(&hub.path().join(REPOSITORY)), expected(&[&first]));
    // A folder in the place of a link is somebody's.
    fs::remove_file(snapshot.join("z")).unwrap();
    fs::create_dir(snapshot.join("z")).unwrap();
    let cached = open(hub.path()).unwrap();
    drop(fetch(&cached.incoming(), &first));
    assert_eq!(cached.publish(first.id, |_| true).unwrap_err().error_code().get(), 9204);
    fs::remove_dir(snapshot.join("z")).unwrap();
    drop(open(hub.path()).unwrap());
    assert_eq!(assert_main(hub.path(), &[&first]), 0);
}

/// The process is killed before each of its operations, or the power fails there.
#[test]
fn at_every_moment_main_is_whole_and_whoever_comes_next_goes_on() {
    let (first, second) = releases();
    let prepared = tempfile::tempdir().unwrap();
    drop(put(prepared.path(), &first, &[0, 1, 2]));
    let cached = open(prepared.path()).unwrap();
    drop(fetch(&cached.incoming(), &second));

    let mut operations = 0;
    for kill in 0.. {
        let place = tempfile::tempdir().unwrap();
        let hub = fs::canonicalize(place.path()).unwrap().join("hub");
        copy(prepared.path(), &hub);
        let disk = PowerCut::over(&hub);
        disk.fail_after(kill);
        // What is there before the kill is as a process left it that was killed before.
        let published = opened_by_a_killed(&disk).publish(second.id, |_| true);
        let is_done = published.is_ok();
        operations = kill;
        // Without a power cut, and with one.
        for seed in 0..4 {
            let cut = place.path().join(format!("cut-{seed}"));
            if seed > 0 {
                disk.cut(&cut, seed);
            }
            let left = if seed > 0 { &cut } else { &hub };
            let main = assert_main(left, &[&first, &second]);
            assert!(!is_done || main == 1, "killed at {kill}: forgotten");
            let usage = CachedModel::usage(left, &name(NAME)).unwrap();
            assert_eq!(usage.bytes(), counted(&left.join(REPOSITORY)), "killed at {kill}: {usage:?}");
            // Nothing of it is fetched again.
            drop(put(left, &second, &[]));
            assert_eq!(tree(&left.join(REPOSITORY)), expected(&[&first, &second]), "killed at {kill}");
        }
        if is_done {
            break;
        }
    }
    assert!(operations > 20, "{operations}");
}

/// Copies a folder with its links. No program does it: until a new process becomes that program, it has the files of this one, and so
/// the locks of the tests beside this one.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let place = to.join(entry.file_name().unwrap());
        if kind.is_symlink() {
            symlink(fs::read_link(&entry).unwrap(), place).unwrap();
        } else if kind.is_dir() {
            copy(&entry, &place);
        } else {
            fs::copy(&entry, place).unwrap();
        }
    }
}

/// A cached model as a process has it that has fetched a release into it.
fn opened_by_a_killed(disk: &Arc<PowerCut>) -> CachedModel {
    CachedModel {
        site: Site::of_metadata(Arc::<PowerCut>::clone(disk), disk.root()),
        repository: REPOSITORY.to_owned(),
        existing: Existing::Keep,
        is_published: false,
        _lock: FolderLock::none(),
    }
}

/// The process is killed before each of its operations, or the power fails there. What another program has put there stays.
#[test]
fn a_removal_that_is_killed_leaves_main_whole_or_gone_and_the_next_one_ends_it() {
    let (first, second) = releases();
    let prepared = tempfile::tempdir().unwrap();
    drop(put(prepared.path(), &first, &[0, 1, 2]));
    drop(put(prepared.path(), &second, &[0]));
    let repository = prepared.path().join(REPOSITORY);
    let foreign = ["blobs/of another", "snapshots/other/file", "weighbridge/notes"];
    for path in foreign {
        fs::create_dir_all(repository.join(path).parent().unwrap()).unwrap();
        fs::write(repository.join(path), path).unwrap();
    }
    let mut operations = 0;
    for kill in 0.. {
        let place = tempfile::tempdir().unwrap();
        let hub = fs::canonicalize(place.path()).unwrap().join("hub");
        copy(prepared.path(), &hub);
        let disk = PowerCut::over(&hub);
        disk.fail_after(kill);
        let removed = opened_by_a_killed(&disk).remove();
        let is_done = removed.is_ok();
        operations = kill;
        for seed in 0..4 {
            let cut = place.path().join(format!("cut-{seed}"));
            if seed > 0 {
                disk.cut(&cut, seed);
            }
            let left = if seed > 0 { &cut } else { &hub };
            if left.join(REPOSITORY).join("refs/main").exists() {
                assert_eq!(assert_main(left, &[&first, &second]), 1);
            }
            let usage = CachedModel::usage(left, &name(NAME)).unwrap();
            let others = foreign[0].len() as u64;
            assert_eq!(
                usage.bytes() + others,
                counted(&left.join(REPOSITORY)),
                "killed at {kill}: {usage:?}"
            );
            let again = open(left).unwrap().remove().unwrap();
            assert!(!is_done || seed > 0 || again == 0, "killed at {kill}: {again} bytes were left");
            let mut there = tree(&left.join(REPOSITORY));
            there.remove("weighbridge/lock");
            assert!(there.keys().eq(foreign.iter()), "killed at {kill}: {:?}", there.keys());
        }
        if is_done {
            let bytes = [&first, &second]
                .map(|sample| sample.contents.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
            let shared = first.contents[1].1.len();
            assert_eq!(removed.unwrap(), u64::try_from(bytes[0] + bytes[1] - shared).unwrap());
            break;
        }
    }
    assert!(operations > 10, "{operations}");
}

/// A cache without anything of another program is as empty as before.
#[test]
fn a_removed_model_leaves_no_folder_and_can_be_put_there_again() {
    let hub = tempfile::tempdir().unwrap();
    let (first, _) = releases();
    drop(put(hub.path(), &first, &[0, 1, 2]));
    open(hub.path()).unwrap().remove().unwrap();
    assert_eq!(fs::read_dir(hub.path()).unwrap().count(), 0);
    drop(put(hub.path(), &first, &[0, 1, 2]));
}

#[test]
fn a_place_that_is_written_to_is_not_opened_to_be_removed() {
    let hub = tempfile::tempdir().unwrap();
    let (first, _) = releases();
    let unused = || CachedModel::open_unused(hub.path(), &name(NAME)).unwrap();
    let cached = open(hub.path()).unwrap();
    assert!(unused().is_none());
    fetch(&cached.incoming(), &first);
    drop(cached.publish(first.id, |_| true).unwrap());
    assert_eq!(unused().unwrap().remove().unwrap(), 25_000);
    assert_eq!(fs::read_dir(hub.path()).unwrap().count(), 0);
}

#[test]
fn usage_counts_files_of_releases_once_and_what_has_come() {
    let hub = tempfile::tempdir().unwrap();
    let (first, second) = releases();
    let usage = || CachedModel::usage(hub.path(), &name(NAME)).unwrap();
    assert_eq!(usage(), Usage::default());
    drop(put(hub.path(), &first, &[0, 1, 2]));
    let main = |sample: &Sample| Some((sample.id, 25_000));
    assert_eq!(usage(), Usage { kept: 25_000, coming: 0, main: main(&first) });
    // One file is in both, and what another program has put there is not of them.
    drop(put(hub.path(), &second, &[0]));
    let blob = hub.path().join(REPOSITORY).join("blobs/other");
    fs::write(blob, [1; 70_000]).unwrap();
    assert_eq!(usage(), Usage { kept: 45_000, coming: 0, main: main(&second) });
    let cached = open(hub.path()).unwrap();
    let destination = Destination::open(&cached.incoming()).unwrap();
    let sample = Sample::of_seeds(&[("new", 40_000, 3)]);
    let partial = destination.partial(sample.root(0), sample.size(0)).unwrap();
    assert!(usage().coming < 40_000, "{:?}", usage());
    partial.write(&sample.verifier(0).accept_run(0, &sample.contents[0].1).unwrap()).unwrap();
    assert!((40_000..50_000).contains(&usage().coming), "{:?}", usage());
    assert_eq!(usage().bytes(), 45_000 + usage().coming);
    // `refs/main` of another program names no release of ours.
    fs::write(hub.path().join(REPOSITORY).join(MAIN), "0".repeat(40)).unwrap();
    assert_eq!((usage().kept, usage().main), (45_000, None));
    let other = CachedModel::usage(hub.path(), &name("a--b/c"));
    assert!(matches!(other, Err(StoreError::NoPlaceInCache { .. })), "{other:?}");
}

#[test]
fn a_release_whose_files_a_client_has_removed_meanwhile_is_not_published() {
    let hub = tempfile::tempdir().unwrap();
    let (first, second) = releases();
    drop(put(hub.path(), &first, &[0, 1, 2]));
    let cached = open(hub.path()).unwrap();
    drop(fetch(&cached.incoming(), &second));
    cached.write(PUBLISHING, Moves::of(&second.list, |_| true).text().as_bytes()).unwrap();
    fs::remove_file(cached.incoming().join("same")).unwrap();
    fs::remove_file(hub.path().join(REPOSITORY).join(format!("blobs/{}", second.root(1)))).unwrap();
    drop(cached);
    drop(open(hub.path()).unwrap());
    assert!(!hub.path().join(REPOSITORY).join("weighbridge/publishing").exists());
    drop(put(hub.path(), &second, &[1]));
    assert_eq!(assert_main(hub.path(), &[&second]), 0);
}

/// The process lives on, and drops what it had opened.
#[test]
fn who_fails_while_it_publishes_leaves_all_that_the_next_one_needs() {
    let (first, second) = releases();
    for file in 0..2 {
        let hub = tempfile::tempdir().unwrap();
        drop(put(hub.path(), &first, &[0, 1, 2]));
        let cached = open(hub.path()).unwrap();
        assert_eq!(fetch(&cached.incoming(), &second), [0]);
        let blob = hub.path().join(REPOSITORY).join(format!("blobs/{}", second.root(file)));
        let saved = fs::read(&blob).ok();
        let _ = fs::remove_file(&blob);
        fs::create_dir(&blob).unwrap();
        let published = cached.publish(second.id, |_| true);
        assert!(published.is_err(), "a folder is in the place of file {file}");
        // As long as it is there, nobody goes on; and nothing is lost.
        assert!(open(hub.path()).is_err());
        assert_eq!(
            fs::read_to_string(hub.path().join(REPOSITORY).join("refs/main")).unwrap(),
            revision_of(first.id)
        );
        fs::remove_dir(&blob).unwrap();
        if let Some(saved) = saved {
            fs::write(&blob, saved).unwrap();
        }
        drop(open(hub.path()).unwrap());
        assert_eq!(assert_main(hub.path(), &[&first, &second]), 1);
    }
}

#[test]
fn what_is_no_file_in_the_folder_for_the_next_release_is_removed() {
    let hub = tempfile::tempdir().unwrap();
    let (first, _) = releases();
    let outside = hub.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    let incoming = hub.path().join(REPOSITORY).join("weighbridge/incoming");
    fs::create_dir_all(&incoming).unwrap();
    symlink(&outside, incoming.join("same")).unwrap();
    drop(put(hub.path(), &first, &[0, 1, 2]));
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    assert_eq!(tree(&hub.path().join(REPOSITORY)), expected(&[&first]));
}

/// A run that fetches nothing leaves nothing, and one that is stopped leaves what has come, for the next.
#[test]
fn who_publishes_nothing_leaves_nothing_but_what_has_come() {
    let hub = tempfile::tempdir().unwrap();
    let (first, second) = releases();
    let cached = open(hub.path()).unwrap();
    drop(Destination::open(&cached.incoming()).unwrap());
    drop(cached);
    assert_eq!(fs::read_dir(hub.path()).unwrap().count(), 0, "something is left");

    drop(put(hub.path(), &first, &[0, 1, 2]));
    let before = tree(&hub.path().join(REPOSITORY));
    let cached = open(hub.path()).unwrap();
    assert_eq!(fetch(&cached.incoming(), &second), [0]);
    drop(cached);
    // The file that came is there; second names of what the cache has are not: a client may want to remove those.
    let mut left = tree(&hub.path().join(REPOSITORY));
    left.retain(|path, _| !before.contains_key(path));
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["weighbridge/incoming/deep/er/a"]);
    drop(put(hub.path(), &second, &[]));
    assert_eq!(tree(&hub.path().join(REPOSITORY)), expected(&[&first, &second]));
}

#[test]
fn names_that_share_a_folder_have_no_place() {
    let hub = tempfile::tempdir().unwrap();
    let open = |text| CachedModel::open(hub.path(), &name(text), Existing::Keep, |_| {});
    for text in ["model", "a/b/c", "a--b/c", "a/b--c", "a-/b", "a/b--", "a/b.", "a/b..c", "a/b.git"] {
        let error = open(text).unwrap_err();
        assert_eq!(error.error_code().get(), 9210, "{text}");
        assert!(error.to_string().starts_with(&format!("{text} has no place in ")), "{error}");
    }
    assert_eq!(fs::read_dir(hub.path()).unwrap().count(), 0, "something was made");
    for text in ["org/model", "a-b/c_d.e", "0/1"] {
        let cached = open(text).unwrap();
        assert!(hub.path().join(format!("models--{}", text.replace('/', "--"))).is_dir());
        drop(cached);
        assert_eq!(fs::read_dir(hub.path()).unwrap().count(), 0, "an empty folder is left");
    }
    fs::create_dir(hub.path().join(REPOSITORY)).unwrap();
    for text in ["Org/model", "org/MODEL"] {
        let error = open(text).unwrap_err();
        assert_eq!(error.error_code().get(), 9210, "{text}");
        assert!(error.to_string().contains("models--org--model by the case"), "{error}");
    }
}

#[test]
fn a_revision_that_somebody_else_has_put_there_is_replaced_only_if_it_may_be() {
    let (first, _) = releases();
    let foreign = "0123456789abcdef0123456789abcdef01234567";
    for main in [foreign, "main", "", "../../x", "\u{fffd}", &"a".repeat(500)] {
        let hub = tempfile::tempdir().unwrap();
        let repository = hub.path().join(REPOSITORY);
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), main).unwrap();
        let error = open(hub.path()).unwrap_err();
        assert_eq!(error.error_code().get(), 9211, "{main:?}");
        assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), main);

        let cached = CachedModel::open(hub.path(), &name(NAME), Existing::Replace, |_| {}).unwrap();
        drop(fetch(&cached.incoming(), &first));
        drop(cached.publish(first.id, |_| true).unwrap());
        assert_eq!(assert_main(hub.path(), &[&first]), 0);
        // From now on it is ours; until a client of the hub replaces it, at any moment.
        let cached = open(hub.path()).unwrap();
        drop(fetch(&cached.incoming(), &first));
        fs::write(repository.join("refs/main"), foreign).unwrap();
        assert_eq!(cached.publish(first.id, |_| true).unwrap_err().error_code().get(), 9211);
        assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), foreign);
    }
}

#[test]
fn files_of_a_clients_snapshot_are_there_for_the_next_release() {
    let hub = tempfile::tempdir().unwrap();
    let (first, _) = releases();
    let repository = hub.path().join(REPOSITORY);
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = repository.join("snapshots").join(revision);
    let hash = "ab".repeat(32);
    for folder in
        [&repository.join("refs"), &repository.join("blobs"), &snapshot, &hub.path().join("blobs/ab")]
    {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repository.join("refs/main"), revision).unwrap();
    fs::write(hub.path().join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
    fs::write(hub.path().join("blobs/ab").join(&hash), first.bytes(1)).unwrap();
    symlink(format!("../../blobs/ab/{hash}"), repository.join("blobs").join(&hash)).unwrap();
    symlink(format!("../../blobs/{hash}"), snapshot.join("same")).unwrap();
    fs::write(repository.join("blobs/e1"), "other").unwrap();
    symlink("../../blobs/e1", snapshot.join("z")).unwrap();
    let outside = hub.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, snapshot.join("out")).unwrap();

    let cached = CachedModel::open(hub.path(), &name(NAME), Existing::Replace, |_| {}).unwrap();
    let destination = Destination::open(&cached.incoming()).unwrap();
    for (path, size) in [("same", first.size(1)), ("z", 4), ("out", 8), ("none", 1)] {
        destination.take_from_cache(&EntryPath::parse(path).unwrap(), None, size);
    }
    let incoming = tree(&cached.incoming());
    assert_eq!(
        incoming.keys().collect::<Vec<_>>(),
        ["same"],
        "of the others the length is another, or they lie outside"
    );
    assert_eq!(fetch(&cached.incoming(), &first), [0, 2]);
    drop(cached.publish(first.id, |_| true).unwrap());
    assert_eq!(assert_main(hub.path(), &[&first]), 0);
    // The client's own snapshot is as it was.
    assert_eq!(fs::read(snapshot.join("same")).unwrap(), first.bytes(1));
    assert_eq!(fs::read(snapshot.join("z")).unwrap(), b"other");
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
}

#[test]
fn no_link_is_followed_to_where_something_is_written() {
    let (first, _) = releases();
    for folder in ["", "/blobs", "/snapshots", "/refs", "/weighbridge", "/weighbridge/incoming"] {
        let place = tempfile::tempdir().unwrap();
        let (hub, outside) = (place.path().join("hub"), place.path().join("outside"));
        fs::create_dir_all(&outside).unwrap();
        let link = hub.join(format!("{REPOSITORY}{folder}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&outside, &link).unwrap();
        let ended = open(&hub).and_then(|cached| {
            drop(fetch(&cached.incoming(), &first));
            cached.publish(first.id, |_| true)
        });
        assert_eq!(ended.unwrap_err().error_code().get(), 9204, "{folder:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{folder:?}");
    }
}

#[test]
fn the_second_waits_for_the_first_and_hears_of_it() {
    let hub = tempfile::tempdir().unwrap();
    let first = open(hub.path()).unwrap();
    let (tell, heard) = mpsc::channel();
    thread::scope(|scope| {
        let place = hub.path();
        scope.spawn(move || {
            let waits = |holder: Option<&str>| tell.send(holder.map(str::to_owned)).unwrap();
            let cached = CachedModel::open(place, &name(NAME), Existing::Keep, waits).unwrap();
            tell.send(Some("in".to_owned())).unwrap();
            drop(cached);
        });
        let holder = heard.recv().unwrap().unwrap();
        assert!(
            holder.starts_with(&format!("a fetch or import, process {}", std::process::id())),
            "{holder}"
        );
        assert!(heard.recv_timeout(Duration::from_millis(50)).is_err(), "two at once");
        drop(first);
        assert_eq!(heard.recv().unwrap().as_deref(), Some("in"));
    });
}

#[test]
fn who_waits_for_a_folder_that_is_removed_takes_the_lock_of_the_new_one() {
    let hub = tempfile::tempdir().unwrap();
    let first = open(hub.path()).unwrap();
    let (tell, heard) = mpsc::channel();
    thread::scope(|scope| {
        let place = hub.path();
        let second = scope.spawn(move || {
            let waits = |_: Option<&str>| tell.send(()).unwrap();
            CachedModel::open(place, &name(NAME), Existing::Keep, waits).unwrap()
        });
        heard.recv().unwrap();
        fs::remove_dir_all(place.join(REPOSITORY)).unwrap();
        drop(first);
        let second = second.join().unwrap();
        let (tell, heard) = mpsc::channel();
        let third = scope.spawn(move || {
            let waits = |_: Option<&str>| tell.send(()).unwrap();
            drop(CachedModel::open(place, &name(NAME), Existing::Keep, waits).unwrap());
        });
        heard.recv().expect("the third waits for the second");
        drop(second);
        third.join().unwrap();
    });
}

#[test]
fn a_list_of_moves_that_is_none_of_ours_moves_nothing() {
    let (first, _) = releases();
    let moves = Moves::of(&first.list, |_| true);
    let text = moves.text();
    assert_eq!(Moves::parse(text.as_bytes()).as_ref(), Some(&moves));
    let root = first.root(0);
    let id = first.id;
    for text in [
        "".to_owned(),
        "\n".to_owned(),
        format!("{id}"),
        format!("{id}\n\n"),
        format!("{id}\n{root}\n"),
        format!("{id}\n{root} \n"),
        format!("{id}\n{root} ../x\n"),
        format!("{id}\n{root} /x\n"),
        format!("{id}\n{root} a//b\n"),
        format!("{id}\n{root} weighbridge/head.note\n"),
        format!("{id}\n../{root} x\n"),
        format!("{}\n{root} x\n", id.to_string().to_uppercase()),
    ] {
        assert_eq!(Moves::parse(text.as_bytes()), None, "{text:?}");
        let hub = tempfile::tempdir().unwrap();
        let folder = hub.path().join(REPOSITORY).join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("publishing"), &text).unwrap();
        drop(open(hub.path()).unwrap());
        assert!(!folder.join("publishing").exists());
    }
}

proptest! {
    #[test]
    fn parsing_moves_never_panics_and_takes_what_it_writes(text: Vec<u8>, cut in 0usize..400, byte: u8) {
        let _ = Moves::parse(&text);
        let mut text = Moves::of(&releases().0.list, |_| true).text().into_bytes();
        let at = cut % text.len();
        text[at] = byte;
        if let Some(moves) = Moves::parse(&text) {
            prop_assert_eq!(moves.text().into_bytes(), text);
        }
    }
}

#[test]
fn metadata_of_a_snapshot_are_those_of_its_head_alone() {
    let hub = tempfile::tempdir().unwrap();
    let (first, second) = releases();
    let of_first = put(hub.path(), &first, &[0, 1, 2]);
    let of_second = put(hub.path(), &second, &[0]);
    assert_eq!(Metadata::of_model(&of_first).note().unwrap(), first.note);
    assert_eq!(Metadata::of_model(&of_second).note().unwrap(), second.note);
    // Its own come first.
    fs::create_dir(of_first.join(FOLDER)).unwrap();
    assert_eq!(Metadata::of_model(&of_first).note().unwrap(), first.note);
    fs::write(of_first.join("weighbridge/head.note"), "own").unwrap();
    assert_eq!(Metadata::of_model(&of_first).note().unwrap(), b"own");
    // Of two heads that could be meant, none is.
    let folder = hub.path().join(REPOSITORY).join(FOLDER);
    let other = format!("{}{}", revision_of(second.id), "0".repeat(24));
    fs::create_dir(folder.join(other)).unwrap();
    assert!(Metadata::of_model(&of_second).note().is_err());
    // A snapshot of another name has none.
    let elsewhere = of_second.with_file_name("main");
    fs::rename(&of_second, &elsewhere).unwrap();
    assert!(Metadata::of_model(&elsewhere).note().is_err());
}
