//! A disk that forgets what was not synced.
//!
//! It lies over a real folder, in which everything happens at once, so that whoever reads sees what is there. Beside it
//! stands what is durable, and what was done since. [`PowerCut::cut`] writes to another folder what a power cut might
//! have left: of all that was not synced each thing, by itself, is there or lost, and bytes are torn.
//!
//! It forgets more than real file systems do, but for one thing: a file that was renamed has its old name, its new one,
//! or both, and never none.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a disk for tests: a test that cannot go on fails"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    disk::{Disk, DiskFile, FileKind, Folder, Opening},
    stamp::Stamp,
};

/// The disk. Any number of destinations may share it.
///
/// # Example
/// ```
/// use weighbridge_store::{Destination, power_cut::PowerCut};
/// # use weighbridge_testkit::{Folder, Sample};
/// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
/// # let (verifier, entry) = (sample.verifier(0), &sample.list.entries()[0]);
/// # let (first, second) = (sample.chunks(0, 0..1), sample.chunks(0, 1..2));
/// # let [folder, after] = [Folder::new(), Folder::new()];
///
/// // `first` and `second` are chunks of a file. Only the first was synced when the power fails.
/// let disk = PowerCut::over(folder.path());
/// let destination = Destination::on(disk.clone(), folder.path())?;
/// let partial = destination.partial(entry.root, entry.size)?;
/// partial.write(&verifier.accept_run(0, first).unwrap())?;
/// destination.sync(&[&partial]).into_iter().collect::<Result<Vec<()>, _>>()?;
/// partial.write(&verifier.accept_run(1, second).unwrap())?;
/// disk.cut(after.path(), 7);
///
/// // The seed decides what is left of the second chunk, but never loses a byte of the first.
/// let left = Destination::open(after.path())?.partial(entry.root, entry.size)?;
/// let mut bytes = [0; 16_384];
/// left.read_at(&mut bytes, 0)?;
/// assert_eq!(bytes, first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PowerCut {
    real: Folder,
    root: PathBuf,
    state: Arc<Mutex<DiskState>>,
    interruption: Mutex<Option<Interruption>>,
}

/// The number of operations before somebody else comes in between, and the action of that other.
type Interruption = (u64, Box<dyn FnOnce() + Send>);

/// A folder or file, whatever its names.
type Node = usize;
/// A name in a folder.
type Key = (Node, String);
const ROOT: Node = 0;

#[derive(Debug)]
struct DiskState {
    /// The names as they are, and as they are on disk.
    names: BTreeMap<Key, Node>,
    durable: BTreeMap<Key, Node>,
    /// The changes to names since they were synced, in order.
    renamings: Vec<Renaming>,
    /// The files; a node that is neither here nor in `links` is a folder.
    files: HashMap<Node, Contents>,
    /// The targets of symbolic links.
    links: HashMap<Node, PathBuf>,
    next: Node,
    /// The number of operations until the power fails.
    left: Option<u64>,
    done: u64,
}

#[derive(Clone, Debug)]
enum Renaming {
    Made(Key, Node),
    Gone(Key),
    Moved(Key, Key, Node),
}

#[derive(Debug, Default)]
struct Contents {
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl PowerCut {
    /// Over a folder, which is made if it is not there. What is in it is durable.
    pub fn over(root: &Path) -> Arc<Self> {
        // Nothing has to be durable on the real disk.
        fs::create_dir_all(root).unwrap();
        let real = Folder::at(root).unwrap();
        let mut state = DiskState {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            renamings: Vec::new(),
            files: HashMap::new(),
            links: HashMap::new(),
            next: ROOT + 1,
            left: None,
            done: 0,
        };
        state.load(ROOT, root);
        state.durable = state.names.clone();
        let state = Arc::new(Mutex::new(state));
        Arc::new(Self { real, root: root.to_owned(), state, interruption: Mutex::default() })
    }

    /// The folder of this disk.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lets the power fail after so many more operations that change something: the next one is an error, and so are
    /// all behind it.
    pub fn fail_after(&self, operations: u64) {
        self.state().left = Some(operations);
    }

    /// Lets somebody else do something after so many more operations on names.
    pub fn interrupt_after(&self, operations: u64, what: impl FnOnce() + Send + 'static) {
        *lock(&self.interruption) = Some((operations, Box::new(what)));
    }

    /// The number of operations that have changed something.
    pub fn operations(&self) -> u64 {
        self.state().done
    }

    /// Writes to an empty folder what may be left if the power fails now; another seed leaves something else. This disk
    /// goes on as it was.
    pub fn cut(&self, into: &Path, seed: u64) {
        let state = self.state();
        let mut dice = Dice(seed);
        let mut names = state.durable.clone();
        for renaming in &state.renamings {
            match (renaming, dice.roll(3)) {
                (_, 0) => {}
                (Renaming::Moved(_, to, node), 1) => {
                    names.insert(to.clone(), *node);
                }
                _ => apply(&mut names, renaming),
            }
        }
        let mut folders = vec![(ROOT, into.to_owned())];
        while let Some((folder, place)) = folders.pop() {
            fs::create_dir_all(&place).unwrap();
            for ((_, name), node) in names.range((folder, String::new())..(folder + 1, String::new())) {
                match (state.files.get(node), state.links.get(node)) {
                    (Some(contents), _) => write_sparse(&place.join(name), &contents.survivor(&mut dice)),
                    (None, Some(target)) => link_to(target, &place.join(name)),
                    (None, None) => folders.push((*node, place.join(name))),
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        lock(&self.state)
    }

    /// For an operation on names.
    fn operate(&self) -> io::Result<MutexGuard<'_, DiskState>> {
        let mut interruption = lock(&self.interruption);
        match &mut *interruption {
            Some((0, _)) => {
                let (_, what) = interruption.take().unwrap();
                // It operates on this disk too.
                drop(interruption);
                what();
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        let mut state = self.state();
        state.operate()?;
        Ok(state)
    }
}

impl fmt::Debug for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PowerCut").field("root", &self.root).finish_non_exhaustive()
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn apply(names: &mut BTreeMap<Key, Node>, renaming: &Renaming) {
    match renaming {
        Renaming::Made(key, node) => {
            names.insert(key.clone(), *node);
        }
        Renaming::Gone(key) => {
            names.remove(key);
        }
        Renaming::Moved(from, to, node) => {
            if names.get(from) == Some(node) {
                names.remove(from);
            }
            names.insert(to.clone(), *node);
        }
    }
}

impl Renaming {
    fn keys(&self) -> Vec<&Key> {
        match self {
            Self::Made(key, _) | Self::Gone(key) => vec![key],
            Self::Moved(from, to, _) => vec![from, to],
        }
    }
}

impl DiskState {
    fn load(&mut self, folder: Node, place: &Path) {
        for entry in fs::read_dir(place).unwrap() {
            let entry = entry.unwrap();
            let node = self.new_node();
            self.names.insert((folder, entry.file_name().into_string().unwrap()), node);
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.load(node, &entry.path());
            } else if kind.is_symlink() {
                self.links.insert(node, fs::read_link(entry.path()).unwrap());
            } else {
                let durable = fs::read(entry.path()).unwrap();
                self.files.insert(node, Contents { durable, changes: Vec::new() });
            }
        }
    }

    /// Counts an operation, unless the power has failed.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => return Err(io::Error::other("the power has failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.done += 1;
        Ok(())
    }

    fn new_node(&mut self) -> Node {
        self.next += 1;
        self.next - 1
    }

    /// The folder at a path, which is there.
    fn folder(&self, path: &str) -> Node {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(ROOT, |folder, name| self.names[&(folder, name.to_owned())])
    }

    fn key(&self, path: &str) -> Key {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.folder(folder), name.to_owned())
    }

    fn rename(&mut self, renaming: Renaming) {
        apply(&mut self.names, &renaming);
        self.renamings.push(renaming);
    }

    /// Makes what was done in a folder durable, and what that rests on.
    fn sync_folder(&mut self, folder: Node) {
        let mut taken = vec![false; self.renamings.len()];
        for later in (0..self.renamings.len()).rev() {
            // A file that was moved away may still have its old name.
            let is_there = match &self.renamings[later] {
                Renaming::Made((there, _), _)
                | Renaming::Gone((there, _))
                | Renaming::Moved(_, (there, _), _) => *there == folder,
            };
            let is_needed = (later + 1..taken.len()).any(|other| {
                let keys = self.renamings[other].keys();
                taken[other] && self.renamings[later].keys().iter().any(|key| keys.contains(key))
            });
            taken[later] = is_there || is_needed;
        }
        for (renaming, is_taken) in std::mem::take(&mut self.renamings).into_iter().zip(taken) {
            if is_taken {
                apply(&mut self.durable, &renaming);
            } else {
                self.renamings.push(renaming);
            }
        }
    }

    fn contents(&mut self, node: Node) -> &mut Contents {
        self.files.get_mut(&node).unwrap()
    }
}

impl Contents {
    /// Makes what was changed durable.
    fn settle(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.durable);
        }
    }

    /// The bytes that are left of the file: each change is there, torn or lost.
    fn survivor(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.changes {
            let fate = dice.roll(3);
            match change {
                _ if fate == 0 => {}
                Change::Bytes(at, new) if fate == 1 => {
                    for (nth, sector) in new.chunks(SECTOR).enumerate() {
                        if dice.roll(2) == 0 {
                            write(&mut bytes, at + nth * SECTOR, sector);
                        }
                    }
                }
                change => change.apply(&mut bytes),
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Bytes(at, new) => write(bytes, *at, new),
        }
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(new);
}

#[cfg(unix)]
fn link_to(target: &Path, place: &Path) {
    std::os::unix::fs::symlink(target, place).unwrap();
}

/// No disk has made one.
#[cfg(not(unix))]
fn link_to(_: &Path, _: &Path) {}

/// The number of bytes that a disk writes at once.
const SECTOR: usize = 512;

/// With a hole wherever there are zeros.
fn write_sparse(place: &Path, bytes: &[u8]) {
    let file = File::create_new(place).unwrap();
    file.set_len(bytes.len().try_into().unwrap()).unwrap();
    for (block, at) in bytes.chunks(4_096).zip((0..).step_by(4_096)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_at(block, at).unwrap();
        }
    }
}

/// Numbers that follow from a seed: splitmix64.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

impl Disk for PowerCut {
    fn look(&self, path: &str) -> io::Result<Option<FileKind>> {
        self.real.look(path)
    }

    fn stamp(&self, path: &str) -> io::Result<Option<Stamp>> {
        self.real.stamp(path)
    }

    fn read(&self, path: &str) -> io::Result<File> {
        self.real.read(path)
    }

    fn write(&self, path: &str, opening: Opening) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.operate()?;
        let file = self.real.write(path, opening)?;
        let key = state.key(path);
        let node = match state.names.get(&key) {
            Some(node) => *node,
            None => {
                let node = state.new_node();
                state.files.insert(node, Contents::default());
                state.rename(Renaming::Made(key, node));
                node
            }
        };
        Ok(Box::new(CutFile { file, node, state: Arc::clone(&self.state) }))
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.look(path)?.ok_or(io::ErrorKind::NotFound)?;
        let node = state.names[&state.key(path)];
        state.contents(node).settle();
        Ok(())
    }

    fn make_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.make_folder(path)?;
        let (key, node) = (state.key(path), state.new_node());
        state.rename(Renaming::Made(key, node));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.rename(from, to)?;
        let (from, to) = (state.key(from), state.key(to));
        let node = state.names[&from];
        state.rename(Renaming::Moved(from, to, node));
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.link(from, to)?;
        let (from, to) = (state.key(from), state.key(to));
        let node = state.names[&from];
        state.rename(Renaming::Made(to, node));
        Ok(())
    }

    fn symlink(&self, target: &str, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.symlink(target, path)?;
        let (key, node) = (state.key(path), state.new_node());
        state.links.insert(node, target.into());
        state.rename(Renaming::Made(key, node));
        Ok(())
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        self.real.read_link(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.remove(path)?;
        let key = state.key(path);
        state.rename(Renaming::Gone(key));
        Ok(())
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.remove_folder(path)?;
        let key = state.key(path);
        state.rename(Renaming::Gone(key));
        Ok(())
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        self.real.names(path)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        self.real.lockable(path)?;
        let folder = state.folder(path);
        state.sync_folder(folder);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<bool> {
        let mut state = self.operate()?;
        for renaming in std::mem::take(&mut state.renamings) {
            apply(&mut state.durable, &renaming);
        }
        state.files.values_mut().for_each(Contents::settle);
        Ok(true)
    }

    fn lockable(&self, path: &str) -> io::Result<File> {
        self.real.lockable(path)
    }
}

#[derive(Debug)]
struct CutFile {
    file: Box<dyn DiskFile>,
    node: Node,
    state: Arc<Mutex<DiskState>>,
}

impl DiskFile for CutFile {
    fn file(&self) -> &File {
        self.file.file()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate()?;
        self.file.set_len(len)?;
        state.contents(self.node).changes.push(Change::Length(len.try_into().unwrap()));
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate()?;
        self.file.write_at(bytes, offset)?;
        let change = Change::Bytes(offset.try_into().unwrap(), bytes.to_vec());
        state.contents(self.node).changes.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate()?;
        state.contents(self.node).settle();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, Arc<PowerCut>) {
        let folder = tempfile::tempdir().unwrap();
        let disk = PowerCut::over(&folder.path().join("disk"));
        (folder, disk)
    }

    /// The states that cuts now may leave, told by a function.
    fn cuts<T: Ord>(disk: &PowerCut, folder: &tempfile::TempDir, tell: impl Fn(&Path) -> T) -> Vec<T> {
        let states = (0..200).map(|seed| {
            let into = folder.path().join("cut");
            disk.cut(&into, seed);
            let told = tell(&into);
            fs::remove_dir_all(into).unwrap();
            told
        });
        let mut states: Vec<_> = states.collect();
        states.sort();
        states.dedup();
        states
    }

    #[test]
    fn keeps_what_was_synced() {
        let (folder, disk) = disk();
        disk.make_folder("a").unwrap();
        let file = disk.write("a/b", Opening::New).unwrap();
        file.write_at(b"synced", 0).unwrap();
        file.sync().unwrap();
        disk.sync_folder("").unwrap();
        disk.sync_folder("a").unwrap();
        assert_eq!(cuts(&disk, &folder, |cut| fs::read(cut.join("a/b")).unwrap()), [b"synced"]);
    }

    #[test]
    fn loses_a_synced_file_whose_name_is_not_synced() {
        let (folder, disk) = disk();
        let file = disk.write("a", Opening::New).unwrap();
        file.sync().unwrap();
        assert_eq!(cuts(&disk, &folder, |cut| cut.join("a").exists()), [false, true]);
    }

    #[test]
    fn tears_and_loses_bytes_that_are_not_synced() {
        let (folder, disk) = disk();
        let file = disk.write("a", Opening::New).unwrap();
        disk.sync_folder("").unwrap();
        file.write_at(&[1; 2 * SECTOR], 0).unwrap();
        let states = cuts(&disk, &folder, |cut| fs::read(cut.join("a")).unwrap());
        let torn = [vec![0; SECTOR], vec![1; SECTOR]].concat();
        assert_eq!(states, [vec![], torn, vec![1; SECTOR], vec![1; 2 * SECTOR]]);
    }

    #[test]
    fn never_loses_both_names_of_a_renamed_file() {
        let (folder, disk) = disk();
        disk.write("a", Opening::New).unwrap();
        disk.make_folder("f").unwrap();
        disk.sync_folder("").unwrap();
        disk.rename("a", "f/b").unwrap();
        let states = cuts(&disk, &folder, |cut| (cut.join("a").exists(), cut.join("f/b").exists()));
        assert_eq!(states, [(false, true), (true, false), (true, true)]);
        disk.sync_folder("f").unwrap();
        let states = cuts(&disk, &folder, |cut| (cut.join("a").exists(), cut.join("f/b").exists()));
        assert_eq!(states, [(false, true)]);
    }

    #[test]
    fn fails_at_the_operation_that_was_asked_for() {
        let (_folder, disk) = disk();
        disk.fail_after(1);
        disk.make_folder("a").unwrap();
        assert!(disk.make_folder("b").is_err() && disk.sync_folder("").is_err());
        assert!(disk.root().join("a").exists() && !disk.root().join("b").exists());
    }
}
