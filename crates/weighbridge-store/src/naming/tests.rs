//! One release replaces another: whoever reads, and wherever the process that replaces is killed.

use std::{fs, io, path::Path};

use tempfile::TempDir;
use weighbridge_manifest::{Expectation, SignedHead, TrustPolicy, VerifiedFileList};
use weighbridge_testkit::Sample;
use weighbridge_tree::Coded as _;

use super::*;
use crate::{
    Existing, HeldFolder, Metadata, ModelView, Staging,
    disk::{Disk, DiskFile, Folder},
    metadata::FOLDER,
    power_cut::PowerCut,
    stamp::Stamp,
    verify::Holding as _,
};

/// Both releases have other bytes under each path but `same`; the second has a file less, and one more.
const FIRST: [(&str, usize); 4] = [("a", 70_000), ("deep/b", 40_000), ("gone", 20_000), ("same/empty", 0)];
const SECOND: [(&str, usize); 4] = [("a", 70_000), ("deep/b", 50_000), ("new/c", 20_000), ("same/empty", 0)];

fn releases() -> (Sample, Sample) {
    (Sample::of(&FIRST, 1), Sample::of(&SECOND, 2))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Brings a release into a folder as a fetch does, and removes what is not listed.
fn install(disk: Arc<dyn Disk>, root: &Path, release: &Sample) -> Result<(), StoreError> {
    install_some(disk, root, release, Standing::IsWhole, &|_| true)
}

/// As [`install`], but only the files that are wanted are named.
fn install_some(
    disk: Arc<dyn Disk>,
    root: &Path,
    release: &Sample,
    state: Standing,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<(), StoreError> {
    let destination = Destination::on(disk, root)?;
    let staged = destination.stage(release.id)?;
    staged.write(HEAD, &release.note)?;
    staged.write(FILES, &release.files)?;
    let len = release.layers.len().try_into().unwrap();
    staged.layers(len)?.write(0..len, &release.layers)?;
    let mut partials = Vec::new();
    for file in 0..release.contents.len() {
        let place = root.join(release.path(file).as_str());
        let is_there = fs::read(place).is_ok_and(|there| there == release.bytes(file));
        if is_there || !is_wanted(release.path(file).as_str()) {
            continue;
        }
        let partial = destination.partial(release.root(file), release.size(file))?;
        for chunk in 0..release.count(file) {
            let bytes = release.chunks(file, chunk..chunk + 1);
            partial.write(&release.verifier(file).accept_run(chunk, bytes).unwrap())?;
        }
        partials.push((partial, release.path(file)));
    }
    let files: Vec<_> = partials.iter().map(|(partial, _)| partial).collect();
    destination.sync(&files).into_iter().collect::<Result<(), _>>()?;
    let mut naming = destination.begin_naming(destination.lock()?, &staged)?;
    for (partial, path) in &partials {
        naming.place(&destination, partial, path)?;
    }
    naming.settle()?;
    staged.publish(&mut naming)?;
    if state == Standing::IsWhole {
        for extra in destination.unlisted(&|path| release.list.find(path).is_some())? {
            assert!(destination.remove(&mut naming, &extra)?);
        }
    }
    naming.sweep(state)
}

fn install_at(root: &Path, release: &Sample) {
    install(Arc::new(Folder::open(root).unwrap()), root, release).unwrap();
}

fn view(root: &Path, release: &Sample) -> ModelView {
    ModelView::open(root, &Metadata::of_model(root), Arc::clone(&release.list)).unwrap()
}

/// Reads every byte of a release through a view.
#[track_caller]
fn assert_reads(view: &ModelView, release: &Sample) {
    for file in 0..release.contents.len() {
        let mut bytes = vec![0; release.bytes(file).len()];
        view.read_at(file, 0, &mut bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", release.path(file).as_str()));
        assert!(bytes == release.bytes(file), "{}", release.path(file).as_str());
    }
}

fn has_kept(root: &Path) -> bool {
    root.join("weighbridge/kept").exists()
}

fn note(root: &Path) -> Vec<u8> {
    fs::read(root.join("weighbridge/head.note")).unwrap()
}

/// Opens the file list of a release as a node does that begins to read.
fn list(root: &Path, release: &Sample) -> VerifiedFileList {
    let head = SignedHead::parse(&release.note).unwrap();
    let head = head.verify(&TrustPolicy::pinned(release.id), &Expectation::any(), None).unwrap();
    Metadata::of_model(root).files(&head).unwrap()
}

#[test]
fn readers_of_a_release_read_it_to_its_end_after_another_has_replaced_it() {
    let (place, (first, second)) = (folder(), releases());
    let root = place.path();
    install_at(root, &first);
    assert!(!has_kept(root), "nothing was replaced");
    let (untouched, touched) = (view(root, &first), view(root, &first));
    let metadata = Metadata::of_model(root);
    let held = HeldFolder::open(root, &metadata, &first.list).unwrap();
    assert_reads(&touched, &first);
    install_at(root, &second);
    assert_eq!(note(root), second.note);
    assert!(metadata.being_replaced().is_none());
    assert_reads(&view(root, &second), &second);
    assert_reads(&untouched, &first);
    assert_reads(&touched, &first);
    let mut chunk = Vec::new();
    held.read_chunk(2, 0, &mut chunk).unwrap();
    assert_eq!(chunk, first.chunks(2, 0..1));
    assert_eq!(held.layer(0).unwrap().grid().len(), 70_000);
    // A reader that comes late, and knows the old head, reads it as well.
    assert_eq!(list(root, &first).entries().len(), 4);
    assert_reads(&view(root, &first), &first);
    // The last reader takes with it what was kept.
    drop((untouched, held));
    assert!(has_kept(root));
    drop(touched);
    assert!(!has_kept(root));
    assert_reads(&view(root, &second), &second);
}

#[test]
fn what_nobody_reads_any_more_goes_with_the_next_release() {
    let (place, (first, second)) = (folder(), releases());
    let (root, third) = (place.path(), Sample::of(&FIRST, 3));
    install_at(root, &first);
    let of_first = view(root, &first);
    install_at(root, &second);
    let of_second = view(root, &second);
    // As a killed reader: the lease goes, and nothing is removed.
    let kept = root.join("weighbridge/kept");
    let aside = root.join("weighbridge/aside");
    fs::rename(&kept, &aside).unwrap();
    drop(of_first);
    fs::rename(&aside, &kept).unwrap();
    install_at(root, &third);
    assert!(!kept.join(first.id.to_string()).exists() && !kept.join(first.root(0).to_string()).exists());
    assert!(kept.join(second.root(0).to_string()).exists());
    assert_reads(&of_second, &second);
    drop(of_second);
    assert!(!has_kept(root));
}

/// A file system without hard links.
#[derive(Debug)]
struct WithoutLinks(Folder);

impl Disk for WithoutLinks {
    fn look(&self, path: &str) -> io::Result<Option<FileKind>> {
        self.0.look(path)
    }
    fn stamp(&self, path: &str) -> io::Result<Option<Stamp>> {
        self.0.stamp(path)
    }
    fn read(&self, path: &str) -> io::Result<fs::File> {
        self.0.read(path)
    }
    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>> {
        self.0.write(path, opening)
    }
    fn sync_file(&self, path: &str) -> io::Result<()> {
        self.0.sync_file(path)
    }
    fn make_folder(&self, path: &str) -> io::Result<()> {
        self.0.make_folder(path)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn symlink(&self, target: &str, path: &str) -> io::Result<()> {
        self.0.symlink(target, path)
    }
    fn read_link(&self, path: &str) -> io::Result<String> {
        self.0.read_link(path)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }
    fn remove_folder(&self, path: &str) -> io::Result<()> {
        self.0.remove_folder(path)
    }
    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        self.0.names(path)
    }
    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.0.sync_folder(path)
    }
    fn sync_all(&self) -> io::Result<bool> {
        Ok(false)
    }
    fn lockable(&self, path: &str) -> io::Result<fs::File> {
        self.0.lockable(path)
    }
}

#[test]
fn a_file_system_without_hard_links_keeps_the_files_all_the_same() {
    let (place, (first, second)) = (folder(), releases());
    let root = place.path();
    install_at(root, &first);
    let reader = view(root, &first);
    // A process that was killed has kept a file, and put the new one in its place.
    fs::create_dir(root.join("weighbridge/kept")).unwrap();
    fs::rename(root.join("a"), root.join("weighbridge/kept").join(first.root(0).to_string())).unwrap();
    fs::write(root.join("a"), "of the second").unwrap();
    install(Arc::new(WithoutLinks(Folder::open(root).unwrap())), root, &second).unwrap();
    assert_reads(&reader, &first);
    assert_reads(&view(root, &second), &second);
    drop(reader);
    assert!(!has_kept(root));
}

/// The process that replaces is killed before each of its operations.
#[test]
fn a_release_can_be_read_at_every_moment_and_a_kill_is_told_and_mended() {
    let (first, second) = releases();
    let whole = folder();
    install_at(whole.path(), &first);
    let disk = PowerCut::over(whole.path());
    install(Arc::<PowerCut>::clone(&disk), whole.path(), &second).unwrap();
    let (mut marked, mut told_late) = (0, 0);
    for operations in 0..disk.operations() {
        let place = folder();
        let root = place.path();
        install_at(root, &first);
        let before = view(root, &first);
        let disk = PowerCut::over(root);
        disk.fail_after(operations);
        if install(disk, root, &second).is_ok() {
            // The files that are read are not removed: there is less to do.
            break;
        }
        let metadata = Metadata::of_model(root);
        let is_new = note(root) == second.note;
        let mark = metadata.being_replaced();
        if is_new {
            assert!(mark.is_none(), "at {operations}");
            assert_reads(&view(root, &second), &second);
        } else {
            assert_eq!(note(root), first.note);
            // A reader that begins now.
            assert_eq!(list(root, &first).entries().len(), 4, "at {operations}");
            assert_reads(&view(root, &first), &first);
            let is_changed = (0..4).any(|file| {
                let there = fs::read(root.join(first.path(file).as_str()));
                there.is_ok_and(|there| there != first.bytes(file))
            });
            assert!(mark.is_some() || !is_changed, "at {operations}: a mixture, and nothing says so");
            told_late += u32::from(mark.is_some() && !is_changed);
        }
        assert_reads(&before, &first);
        drop(before);
        if let Some(mark) = mark {
            marked += 1;
            assert_eq!(mark.error_code().get(), 9108);
            assert!(mark.by.as_ref().unwrap().starts_with("a fetch, process "), "{mark}");
            // Nobody signs half of two releases.
            let staging = Staging::open(&root.join(FOLDER), Existing::Replace).unwrap();
            assert_eq!(staging.lock().unwrap_err().error_code().get(), 9108);
        }
        // The same command ends it; so does one that brings the first release back.
        for again in if operations % 2 == 0 { [&second, &first] } else { [&first, &second] } {
            install_at(root, again);
            assert!(metadata.being_replaced().is_none() && !has_kept(root), "at {operations}");
            assert_reads(&view(root, again), again);
            let lists = [(FILES, &again.files), (CHUNKS, &again.layers), (HEAD, &again.note)];
            for (name, bytes) in lists {
                assert!(fs::read(root.join(FOLDER).join(name)).unwrap() == *bytes, "{name} at {operations}");
            }
        }
    }
    assert!(marked > 10 && told_late > 0, "{marked} {told_late}");
}

#[test]
fn a_first_fetch_that_is_killed_says_so_too() {
    let (place, (first, _)) = (folder(), releases());
    let root = place.path();
    let disk = PowerCut::over(root);
    let metadata = Metadata::of_model(root);
    let mut operations = 0;
    while metadata.being_replaced().is_none() || !root.join("a").exists() {
        let _ = fs::remove_dir_all(root);
        fs::create_dir(root).unwrap();
        let disk = PowerCut::over(root);
        disk.fail_after(operations);
        install(disk, root, &first).unwrap_err();
        operations += 1;
    }
    drop(disk);
    assert!(!root.join("weighbridge/head.note").exists());
    let staging = Staging::open(&root.join(FOLDER), Existing::Keep).unwrap();
    assert_eq!(staging.lock().unwrap_err().error_code().get(), 9108);
    drop(staging);
    install_at(root, &first);
    assert!(metadata.being_replaced().is_none() && !has_kept(root));
}

/// A part of the standing release is fetched again after a process was killed that had begun to replace it: the other part is
/// still that of two releases.
#[test]
fn a_part_of_a_release_that_was_being_replaced_takes_no_mark_away() {
    let (place, (first, second)) = (folder(), releases());
    let root = place.path();
    let metadata = Metadata::of_model(root);
    let mut operations = 0;
    while !root.join("new/c").exists() {
        let _ = fs::remove_dir_all(root);
        fs::create_dir(root).unwrap();
        install_at(root, &first);
        let disk = PowerCut::over(root);
        disk.fail_after(operations);
        install(disk, root, &second).unwrap_err();
        operations += 1;
    }
    assert!(metadata.being_replaced().is_some());
    let disk = Arc::new(Folder::open(root).unwrap());
    install_some(disk, root, &first, Standing::MayBeReplaced, &|path| path == "a").unwrap();
    assert!(metadata.being_replaced().is_some(), "deep/b is that of the second release");
    assert!(root.join("weighbridge/kept").join(first.root(1).to_string()).exists());
    install_at(root, &first);
    assert!(metadata.being_replaced().is_none() && !has_kept(root));
}

/// The list of a release that is read may be anybody's, and of any length.
#[test]
fn a_list_of_any_length_keeps_the_files_that_it_names() {
    let (place, (first, second)) = (folder(), releases());
    let root = place.path();
    install_at(root, &first);
    let kept = root.join("weighbridge/kept");
    let (named, other) = (second.root(0).to_string(), second.root(1).to_string());
    let odd = ["", "x", &named[1..], &format!("{named}0"), &named.to_uppercase()].join("\"");
    for list in [
        format!("\"{odd}\"{named}\""),
        format!("{}\"{named}\"", "z".repeat(200_001)),
        format!("{}\"{named}\"", "z".repeat(65_500)),
    ] {
        fs::create_dir_all(kept.join(second.id.to_string())).unwrap();
        let path = kept.join(second.id.to_string()).join(FILES);
        fs::write(&path, list).unwrap();
        [&named, &other].iter().for_each(|root| fs::write(kept.join(root), "kept").unwrap());
        let lease = fs::File::open(&path).unwrap();
        lease.lock_shared().unwrap();
        install_at(root, &first);
        assert!(kept.join(&named).exists() && !kept.join(&other).exists());
        drop(lease);
        install_at(root, &first);
        assert!(!has_kept(root));
    }
}

/// Files that nobody of ours wrote are neither followed nor removed.
#[cfg(unix)]
#[test]
fn what_lies_in_kept_and_is_not_ours_stays() {
    let (place, (first, second)) = (folder(), releases());
    let root = place.path();
    install_at(root, &first);
    let mine = root.join("weighbridge/mine");
    fs::write(&mine, "mine").unwrap();
    let kept = root.join("weighbridge/kept");
    fs::create_dir(&kept).unwrap();
    for name in ["notes", &first.root(0).to_string()] {
        std::os::unix::fs::symlink(&mine, kept.join(name)).unwrap();
    }
    fs::create_dir(kept.join(second.id.to_string())).unwrap();
    fs::write(kept.join(second.id.to_string()).join("precious"), "precious").unwrap();
    install_at(root, &second);
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    assert!(kept.join("notes").is_symlink());
    assert_eq!(fs::read(kept.join(second.id.to_string()).join("precious")).unwrap(), b"precious");
    assert!(Metadata::of_model(root).being_replaced().is_none());
    assert_reads(&view(root, &second), &second);
    // A link in place of the folder leads nowhere.
    fs::remove_dir_all(&kept).unwrap();
    let outside = folder();
    std::os::unix::fs::symlink(outside.path(), &kept).unwrap();
    let error = install(Arc::new(Folder::open(root).unwrap()), root, &first).unwrap_err();
    assert_eq!(error.error_code().get(), 9204, "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_reads(&view(root, &second), &second);
}
