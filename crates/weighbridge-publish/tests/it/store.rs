//! Writing metadata: after any failure the old files are as they were, and no unfinished file is left.

#![allow(clippy::disallowed_methods)] // a test names its own files

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::Barrier,
    thread,
};

use weighbridge_publish::{Coded, Existing, Staging, StoreError, TEXT, TensorListing, Weighed, Weighing};
use weighbridge_store::{CHUNKS, FILES, HEAD, TENSORS};
use weighbridge_testkit::{Folder, bytes};

use crate::kit::{all, note, publish, put_in_place, put_note_in_place, snapshot, weigh, weighing};

const ALL: [&str; 5] = [CHUNKS, FILES, HEAD, TEXT, TENSORS];

/// A weighed model of two files. `fill` is the seed of the first.
fn weighed(fill: u8) -> Weighed {
    weigh(Folder::with(&[("a", &bytes(300_000, fill)), ("b", b"x")]).path()).unwrap()
}

/// A folder with metadata that was published the usual way.
fn published() -> Folder {
    let folder = Folder::new();
    publish(&weighed(1), folder.path(), Existing::Keep);
    folder
}

fn code<T>(result: Result<T, StoreError>) -> u16 {
    result.map_or_else(|e| e.error_code().get(), |_| 0)
}

#[test]
fn publishes_all_files_and_nothing_else() {
    let folder = published();
    let weighed = weighed(1);
    let mut names = ALL;
    names.sort_unstable();
    assert!(snapshot(folder.path()).keys().eq(names.iter()));
    let read = |name: &str| fs::read_to_string(folder.at(name)).unwrap();
    assert_eq!(read(FILES), weighed.files);
    assert_eq!(read(TEXT), weighed.text);
    assert_eq!(read(HEAD), note(&weighed.text));
    assert_eq!(read(TENSORS), "");
    let layers: Vec<u8> = weighed.layers.iter().flatten().flat_map(|v| *v.as_bytes()).collect();
    assert_eq!(fs::read(folder.at(CHUNKS)).unwrap(), layers);
    assert_eq!(layers.len(), 64);
}

#[test]
fn existing_metadata_is_refused_unless_it_may_be_replaced() {
    let folder = published();
    let before = snapshot(folder.path());
    assert_eq!(code(Staging::open(folder.path(), Existing::Keep)), 9101);
    assert_eq!(snapshot(folder.path()), before);
    // Each file alone counts as existing metadata, and so does a dangling link.
    for name in ALL {
        let folder = Folder::with(&[(name, b"x")]);
        assert_eq!(code(Staging::open(folder.path(), Existing::Keep)), 9101);
        let folder = Folder::new();
        symlink("nothing", folder.at(name)).unwrap();
        assert_eq!(code(Staging::open(folder.path(), Existing::Keep)), 9101);
        assert!(!folder.at(".new").exists());
    }
    let new = weighed(2);
    publish(&new, folder.path(), Existing::Replace);
    assert_eq!(fs::read_to_string(folder.at(FILES)).unwrap(), new.files);
    assert!(!folder.at(".new").exists());
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = Folder::with(&[("notes.txt", b"mine"), ("sub/x", b"mine too")]);
    publish(&weighed(1), folder.path(), Existing::Keep);
    publish(&weighed(2), folder.path(), Existing::Replace);
    assert_eq!(fs::read(folder.at("notes.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(folder.at("sub/x")).unwrap(), b"mine too");
}

#[test]
fn what_this_release_does_not_have_goes_with_the_earlier_one() {
    let folder = published();
    let model = Folder::with(&[("a", b"x")]);
    let weighed = Weighing { tensors: TensorListing::Omit, ..weighing(model.path()) }.weigh(&|_| {}).unwrap();
    let staging = Staging::open(folder.path(), Existing::Replace).unwrap();
    weighed.write(&staging).unwrap();
    put_in_place(staging).unwrap();
    // The new release is not signed yet, so the head of the earlier release must not stand beside the new lists.
    let left = snapshot(folder.path());
    assert!(left.keys().map(String::as_str).eq([CHUNKS, FILES, TEXT]));
    assert_eq!(left[CHUNKS], Some(Vec::new()));
}

#[test]
fn a_note_alone_leaves_the_other_files() {
    let folder = published();
    let mut expected = snapshot(folder.path());
    let staging = Staging::open(folder.path(), Existing::Replace).unwrap();
    staging.write(HEAD, all(b"signed once more")).unwrap();
    put_note_in_place(staging).unwrap();
    expected.insert(HEAD.to_owned(), Some(b"signed once more".to_vec()));
    assert_eq!(snapshot(folder.path()), expected);
    // Without a new note, publishing the note changes nothing.
    put_note_in_place(Staging::open(folder.path(), Existing::Replace).unwrap()).unwrap();
    assert_eq!(snapshot(folder.path()), expected);
}

#[test]
fn a_write_that_fails_leaves_the_old_files_byte_for_byte() {
    let folder = published();
    let before = snapshot(folder.path());
    let fail = |w: &mut dyn Write| {
        w.write_all(&[0; 100_000])?;
        Err(ErrorKind::StorageFull.into())
    };
    let full = |_: &mut dyn Write| File::options().write(true).open("/dev/full")?.write_all(b"x");
    for write in [&fail as &dyn Fn(&mut dyn Write) -> io::Result<()>, &full] {
        for name in ALL {
            let staging = Staging::open(folder.path(), Existing::Replace).unwrap();
            staging.write(if name == FILES { TEXT } else { FILES }, all(b"new")).unwrap();
            let error = staging.write(name, write).unwrap_err();
            assert_eq!(error.error_code().get(), 9002);
            let said = error.to_string();
            assert!(said.starts_with("cannot write ") && said.contains(name), "{said}");
            drop(staging);
            assert_eq!(snapshot(folder.path()), before);
        }
    }
}

#[test]
fn a_file_is_written_once() {
    let folder = Folder::new();
    let staging = Staging::open(folder.path(), Existing::Keep).unwrap();
    staging.write(HEAD, all(b"1")).unwrap();
    assert_eq!(code(staging.write(HEAD, all(b"2"))), 9002);
}

/// A disk of 64 KiB. It is unmounted on drop.
struct TinyDisk(Folder);

impl TinyDisk {
    /// Mounts the disk; `None` without the right to mount.
    fn mount() -> Option<Self> {
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "weighbridge-test"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|m| m.status.success()).then_some(Self(folder))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|s| s.success()), "{} stays mounted", self.0.path().display());
    }
}

#[test]
fn a_full_disk_leaves_the_old_files_byte_for_byte() {
    let Some(disk) = TinyDisk::mount() else {
        println!("skipped: no right to mount a small disk");
        return;
    };
    let folder = disk.0.at("weighbridge");
    publish(&weighed(1), &folder, Existing::Keep);
    let before = snapshot(&folder);
    // In the smallest chunks, 16 MiB have a layer of 32 KiB; the second layer does not fit the disk.
    let model = Folder::with(&[("a", &bytes(16 << 20, 1)), ("b", &bytes(16 << 20, 2))]);
    let chunk_size = weighbridge_tree::ChunkSize::new(1 << 14).ok();
    let large = Weighing { chunk_size, ..weighing(model.path()) }.weigh(&|_| {}).unwrap();
    let staging = Staging::open(&folder, Existing::Replace).unwrap();
    let error = large.write(&staging).unwrap_err();
    assert!(matches!(&error, StoreError::Io(io) if io.source.kind() == ErrorKind::StorageFull), "{error}");
    drop(staging);
    assert_eq!(snapshot(&folder), before);
    // The disk is full to the last byte: either the folder for new files cannot be made, or it is removed again.
    let mut filler = File::create(disk.0.at("filler")).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
    for _ in 0..2 {
        match Staging::open(&folder, Existing::Replace) {
            Ok(staging) => assert_eq!(code(weighed(2).write(&staging)), 9002),
            Err(error) => assert_eq!(error.error_code().get(), 9002),
        }
        assert_eq!(snapshot(&folder), before);
        assert_eq!(
            code(Staging::open(&disk.0.at("another"), Existing::Keep).and_then(|s| weighed(2).write(&s))),
            9002
        );
        assert!(!disk.0.at("another").exists());
    }
    drop(filler);
    fs::remove_file(disk.0.at("filler")).unwrap();
    publish(&weighed(2), &folder, Existing::Replace);
}

#[test]
fn a_file_that_cannot_be_replaced_is_an_error_and_the_old_head_stays() {
    let folder = published();
    fs::remove_file(folder.at(FILES)).unwrap();
    fs::create_dir(folder.at(FILES)).unwrap();
    let before = snapshot(folder.path());
    let staging = Staging::open(folder.path(), Existing::Replace).unwrap();
    weighed(2).write(&staging).unwrap();
    staging.write(HEAD, all(b"new")).unwrap();
    assert_eq!(code(put_in_place(staging)), 9002);
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn one_writer_at_a_time() {
    let folder = published();
    let first = Staging::open(folder.path(), Existing::Replace).unwrap();
    first.write(HEAD, all(b"first")).unwrap();
    let error = Staging::open(folder.path(), Existing::Replace).unwrap_err();
    assert_eq!(error.error_code().get(), 9102);
    let said =
        format!("another process is writing to {}: a weighing or signing, process ", folder.path().display());
    assert!(error.to_string().starts_with(&said), "{error}");
    // The second writer took nothing away from the first.
    put_note_in_place(first).unwrap();
    assert_eq!(fs::read(folder.at(HEAD)).unwrap(), b"first");
    assert!(Staging::open(folder.path(), Existing::Replace).is_ok());
}

#[test]
fn of_many_writers_one_publishes_and_the_others_are_told() {
    // Regression: existing files were looked for before the lock was held, and a lock could be held on a removed
    // file.
    for _ in 0..50 {
        let folder = Folder::new();
        let place = folder.at("weighbridge");
        let start = Barrier::new(4);
        let codes: Vec<u16> = thread::scope(|scope| {
            let writer = |name: u8| {
                let (place, start) = (&place, &start);
                move || {
                    start.wait();
                    code(Staging::open(place, Existing::Keep).and_then(|staging| {
                        for file in ALL {
                            staging.write(file, all(&[name]))?;
                        }
                        put_in_place(staging)
                    }))
                }
            };
            let writers: Vec<_> = (0..4).map(|name| scope.spawn(writer(name))).collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        let winners: Vec<u8> = (0..4).filter(|name| codes[usize::from(*name)] == 0).collect();
        assert_eq!(winners.len(), 1, "{codes:?}");
        assert!(codes.iter().all(|code| [0, 9101, 9102].contains(code)), "{codes:?}");
        let written = snapshot(&place);
        assert_eq!(written.len(), ALL.len());
        assert!(written.values().all(|bytes| *bytes == Some(winners.clone())));
    }
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let folder = published();
    let new = folder.at(".new");
    fs::create_dir(&new).unwrap();
    for name in ALL.into_iter().chain(["lock"]) {
        fs::write(new.join(name), b"half a fi").unwrap();
    }
    let staging = Staging::open(folder.path(), Existing::Replace).unwrap();
    assert!(snapshot(&new).keys().eq(["lock"]));
    put_note_in_place(staging).unwrap();
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(folder.at(HEAD)).unwrap(), note(&weighed(1).text));
}

#[test]
fn what_is_not_ours_among_the_new_files_stays_and_nothing_is_written() {
    // Regression: everything in `.new` was removed, folders with their content.
    for (foreign, path) in
        [("something else", "something else"), ("folder/in/x", "folder"), ("head.note/x", HEAD)]
    {
        let folder = published();
        let before = snapshot(folder.path());
        folder.write(&format!(".new/{foreign}"), b"precious");
        folder.write(".new/files.jsonl", b"half a fi");
        let error = Staging::open(folder.path(), Existing::Replace).unwrap_err();
        assert_eq!(error.error_code().get(), 9105);
        let place = folder.at(".new").join(path);
        let said = format!("{} is in the way, and was not written by weighbridge", place.display());
        assert_eq!(error.to_string(), said);
        assert_eq!(fs::read(folder.at(".new").join(foreign)).unwrap(), b"precious");
        assert!(folder.at(".new/files.jsonl").exists() && !folder.at(".new/lock").exists());
        fs::remove_dir_all(folder.at(".new")).unwrap();
        assert_eq!(snapshot(folder.path()), before);
    }
}

#[test]
fn a_folder_for_metadata_that_is_a_link_is_refused() {
    // Regression: with `weighbridge -> ../home` in a downloaded model, files were written through the link, and
    // home/.new was emptied.
    let home = Folder::with(&[(".new/folder/file", b"precious"), (".new/files.jsonl", b"precious")]);
    let model = Folder::new();
    symlink(home.path(), model.at("weighbridge")).unwrap();
    symlink(home.at("nothing"), model.at("dangling")).unwrap();
    for name in ["weighbridge", "weighbridge/", "weighbridge/.", "dangling"] {
        for existing in [Existing::Keep, Existing::Replace] {
            let error = Staging::open(&model.at(name), existing).unwrap_err();
            assert_eq!(error.error_code().get(), 9104);
            let link = model.at(name.trim_end_matches(['/', '.']));
            let said = format!("{} is a symbolic link; metadata is written to no link", link.display());
            assert_eq!(error.to_string(), said);
        }
    }
    assert_eq!(fs::read(home.at(".new/folder/file")).unwrap(), b"precious");
    assert_eq!(fs::read(home.at(".new/files.jsonl")).unwrap(), b"precious");
    assert!(!home.at("nothing").exists());
}

#[test]
fn paths_in_errors_do_not_reach_a_terminal_as_they_are() {
    let folder = Folder::with(&[("\u{1b}[2J/files.jsonl", b"x")]);
    let error = Staging::open(&folder.at("\u{1b}[2J"), Existing::Keep).unwrap_err();
    assert!(error.to_string().ends_with(r"/\u{1b}[2J/files.jsonl exists already"), "{error}");
}

#[test]
fn giving_up_takes_away_the_folder_that_was_made_and_no_other() {
    let folder = Folder::new();
    let made = folder.at("weighbridge");
    let staging = Staging::open(&made, Existing::Keep).unwrap();
    staging.write(FILES, all(b"x")).unwrap();
    drop(staging);
    assert!(!made.exists());
    fs::create_dir(&made).unwrap();
    drop(Staging::open(&made, Existing::Keep).unwrap());
    assert!(snapshot(&made).is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = Folder::with(&[("file", b"x")]);
    assert_eq!(code(Staging::open(&folder.at("file/weighbridge"), Existing::Keep)), 9002);
    assert_eq!(code(Staging::open(&folder.at("file"), Existing::Replace)), 9002);
    assert_eq!(fs::read(folder.at("file")).unwrap(), b"x");
}

/// Publishes into a folder that `prepare` has made hostile; returns the code. The folder of a model, its
/// `weighbridge/` included, may come from anybody.
fn hostile(prepare: impl FnOnce(&Path, &Path)) -> u16 {
    let victim = Folder::with(&[("file", b"precious"), ("folder/files.jsonl", b"precious")]);
    let folder = Folder::new();
    prepare(folder.path(), victim.path());
    let code = code(Staging::open(folder.path(), Existing::Replace).and_then(|staging| {
        weighed(1).write(&staging)?;
        put_in_place(staging)
    }));
    assert_eq!(fs::read(victim.at("file")).unwrap(), b"precious");
    assert_eq!(fs::read(victim.at("folder/files.jsonl")).unwrap(), b"precious");
    assert!(snapshot(&victim.at("folder")).keys().eq(["files.jsonl"]));
    code
}

#[test]
fn links_that_came_with_a_model_are_never_written_through() {
    // Regression: creating the lock followed a link, and emptied the file it led to.
    let lock = |folder: &Path, victim: &Path| {
        fs::create_dir(folder.join(".new")).unwrap();
        symlink(victim.join("file"), folder.join(".new/lock")).unwrap();
    };
    assert_eq!(hostile(lock), 9002);
    let new = |folder: &Path, victim: &Path| symlink(victim.join("folder"), folder.join(".new")).unwrap();
    assert_eq!(hostile(new), 9002);
    let in_new = |folder: &Path, victim: &Path| {
        fs::create_dir(folder.join(".new")).unwrap();
        symlink(victim.join("file"), folder.join(".new/files.jsonl")).unwrap();
    };
    assert_eq!(hostile(in_new), 0);
    let folder_in_new = |folder: &Path, victim: &Path| {
        fs::create_dir(folder.join(".new")).unwrap();
        symlink(victim.join("folder"), folder.join(".new/folder")).unwrap();
    };
    assert_eq!(hostile(folder_in_new), 9105);
    let folder_called_as_a_file = |folder: &Path, victim: &Path| {
        fs::create_dir(folder.join(".new")).unwrap();
        symlink(victim.join("folder"), folder.join(".new/head.note")).unwrap();
    };
    assert_eq!(hostile(folder_called_as_a_file), 0);
    let in_place = |folder: &Path, victim: &Path| symlink(victim.join("file"), folder.join(FILES)).unwrap();
    assert_eq!(hostile(in_place), 0);
}
