//! Two models compared by what their lists say: which files and tensors are the same, and which are not.
//!
//! The classes are those of `spec/diff.md`.

use alloc::{collections::BTreeSet, vec::Vec};
use core::cmp::Ordering;

use weighbridge_tree::{FileRoot, TensorHash};

use crate::{
    entry::{FileEntry, TensorEntry},
    list::{VerifiedFileList, VerifiedTensorList},
    path::EntryPath,
};

/// Compares the files of two models.
///
/// # Guarantee
/// Every entry of both lists stands in exactly one [`Difference`]. With the lists exchanged, so are the two sides of each
/// difference, and nothing else.
///
/// # Non-guarantee
/// It says nothing about bytes on any disk: equal roots are what two signers say.
///
/// # Cost
/// O(n log n) comparisons of entries, and a few words of memory for each, whatever the lists say (rule 12).
pub fn compare_files<'a>(old: &'a VerifiedFileList, new: &'a VerifiedFileList) -> Comparison<'a, FileEntry> {
    compare(old.entries(), new.entries())
}

/// Compares the tensors of two models, in whichever files they lie.
///
/// # Guarantee
/// As that of [`compare_files`].
///
/// # Non-guarantee
/// As there; and a tensor's hash only ever finds and compares (rule 13).
///
/// # Cost
/// As there.
pub fn compare_tensors<'a>(
    old: &'a VerifiedTensorList,
    new: &'a VerifiedTensorList,
) -> Comparison<'a, TensorEntry> {
    compare(old.entries(), new.entries())
}

/// How many bytes of the new model's files the old model has: whole files, and in other files tensors. Bytes that
/// several tensors share count once.
#[must_use]
pub fn bytes_in_old(files: &Comparison<'_, FileEntry>, tensors: Option<&Comparison<'_, TensorEntry>>) -> u64 {
    let whole: BTreeSet<&EntryPath> = files.new_in_old().map(|file| &file.path).collect();
    let tensors = tensors.into_iter().flat_map(Comparison::new_in_old);
    let mut ranges: Vec<_> = tensors
        .filter(|tensor| !whole.contains(&tensor.file))
        .map(|tensor| (&tensor.file, tensor.offset, tensor.offset.saturating_add(tensor.size)))
        .collect();
    ranges.sort_unstable();
    let mut bytes = files.in_old.bytes;
    // The file of the range before, and the end of all ranges in it so far.
    let mut before: Option<(&EntryPath, u64)> = None;
    for (file, start, end) in ranges {
        let counted = before.filter(|(path, _)| *path == file).map_or(0, |(_, counted)| counted);
        bytes = bytes.saturating_add(end.saturating_sub(start.max(counted)));
        before = Some((file, end.max(counted)));
    }
    bytes
}

/// What became of the entries of an old list in a new one.
#[derive(Clone, Debug)]
pub struct Comparison<'a, E> {
    /// All of them, the same ones too: by class, then in the order of the new list, of what is gone in that of the old.
    pub differences: Vec<Difference<'a, E>>,
    /// How many entries of the old list are in which class. None is added.
    pub old: Classes,
    /// How many entries of the new list are in which class. None is gone.
    pub new: Classes,
    /// The entries of the new list whose bytes the old list has, whatever their class.
    pub in_old: Tally,
}

impl<'a, E> Comparison<'a, E> {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.iter().all(|difference| difference.class == Class::Same)
    }

    fn new_in_old(&self) -> impl Iterator<Item = &'a E> {
        self.differences.iter().filter(|difference| difference.in_old).filter_map(|difference| difference.new)
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a, E> {
    /// In a word.
    pub class: Class,
    /// The old entry; `None` of what was added.
    pub old: Option<&'a E>,
    /// The new entry; `None` of what is gone.
    pub new: Option<&'a E>,
    /// Whether the old list has the bytes of the new entry, under any name. An entry of no bytes is in every list.
    pub in_old: bool,
}

/// What became of an entry, in a word.
// Exhaustive on purpose: every entry is in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Of files: the same path and bytes. Of tensors: the same name, dtype, shape and bytes, in whichever file.
    Same,
    /// The same bytes, and at least one, under another path or name; the other list has no counterpart of its name.
    Moved,
    /// The same path or name with other bytes; of tensors also with another dtype or shape.
    Changed,
    /// None of these, in the new list.
    Added,
    /// None of these, in the old list.
    Gone,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Same, Self::Moved, Self::Changed, Self::Added, Self::Gone];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Moved => "moved",
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Gone => "gone",
        }
    }
}

/// How many entries of one list are in which class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// In the order of [`Class::ALL`].
    tallies: [Tally; 5],
}

impl Classes {
    const NONE: Self = Self { tallies: [Tally::NONE; 5] };

    /// How many are of this class.
    pub fn of(&self, class: Class) -> Tally {
        let [same, moved, changed, added, gone] = self.tallies;
        match class {
            Class::Same => same,
            Class::Moved => moved,
            Class::Changed => changed,
            Class::Added => added,
            Class::Gone => gone,
        }
    }

    /// The whole list.
    pub fn all(&self) -> Tally {
        self.tallies.into_iter().fold(Tally::NONE, Tally::and)
    }

    fn count(&mut self, class: Class, bytes: u64) {
        let [same, moved, changed, added, gone] = &mut self.tallies;
        let tally = match class {
            Class::Same => same,
            Class::Moved => moved,
            Class::Changed => changed,
            Class::Added => added,
            Class::Gone => gone,
        };
        *tally = tally.and(Tally { entries: 1, bytes });
    }
}

/// Entries and their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Tally {
    /// How many they are.
    pub entries: u64,
    /// The sum of their sizes. A list may say of its tensors that they lie over each other, and so more than any number
    /// holds: 2^64 - 1 stands for that.
    pub bytes: u64,
}

impl Tally {
    const NONE: Self = Self { entries: 0, bytes: 0 };

    fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What entries are compared by.
trait Entry {
    type Hash: Ord + Copy;

    fn name(&self) -> &str;
    /// What the bytes are taken for.
    fn form(&self) -> (&str, &[u64]);
    /// What stands for the bytes. Honest lists never give one hash two sizes; of others nothing is taken to be equal.
    fn content(&self) -> (Self::Hash, u64);
    fn file(&self) -> &EntryPath;
}

impl Entry for FileEntry {
    type Hash = FileRoot;

    fn name(&self) -> &str {
        self.path.as_str()
    }

    fn form(&self) -> (&str, &[u64]) {
        ("", &[])
    }

    fn content(&self) -> (FileRoot, u64) {
        (self.root, self.size)
    }

    fn file(&self) -> &EntryPath {
        &self.path
    }
}

impl Entry for TensorEntry {
    type Hash = TensorHash;

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn form(&self) -> (&str, &[u64]) {
        (self.dtype.as_str(), &self.shape)
    }

    fn content(&self) -> (TensorHash, u64) {
        (self.hash, self.size)
    }

    fn file(&self) -> &EntryPath {
        &self.file
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Old,
    New,
}

/// An entry that has no counterpart yet.
struct Item<'a, E> {
    entry: &'a E,
    side: Side,
    position: usize,
}

// By hand: `E` itself need not be copied.
impl<E> Clone for Item<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Item<'_, E> {}

/// A difference that knows where it belongs.
struct Row<'a, E> {
    class: Class,
    old: Option<Item<'a, E>>,
    new: Option<Item<'a, E>>,
}

impl<E> Row<'_, E> {
    fn place(&self) -> (Class, Option<usize>, Option<usize>) {
        (self.class, self.new.map(|item| item.position), self.old.map(|item| item.position))
    }
}

fn compare<'a, E: Entry>(old: &'a [E], new: &'a [E]) -> Comparison<'a, E> {
    let of = |entries: &'a [E], side| {
        entries.iter().enumerate().map(move |(position, entry)| Item { entry, side, position })
    };
    let mut rows = Vec::with_capacity(old.len().max(new.len()));
    let items = of(old, Side::Old).chain(of(new, Side::New)).collect();
    let whole = |entry: &'a E| (entry.name(), entry.form(), entry.content());
    let items = pair_all(items, Class::Same, whole, &mut rows);
    let items = pair_all(items, Class::Changed, |entry| entry.name(), &mut rows);
    // Nothing has no place from which it could move.
    let (items, empty): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.entry.content().1 > 0);
    let items = pair_all(items, Class::Moved, |entry| entry.content(), &mut rows);
    rows.extend(items.into_iter().chain(empty).map(|item| match item.side {
        Side::Old => Row { class: Class::Gone, old: Some(item), new: None },
        Side::New => Row { class: Class::Added, old: None, new: Some(item) },
    }));
    rows.sort_unstable_by_key(Row::place);
    tell(rows, old)
}

/// Groups entries by `key`, and in each group gives those of one list counterparts of the other. Returns those that have
/// none.
fn pair_all<'a, E: Entry, K: Ord>(
    mut items: Vec<Item<'a, E>>,
    class: Class,
    key: impl Fn(&'a E) -> K,
    rows: &mut Vec<Row<'a, E>>,
) -> Vec<Item<'a, E>> {
    items.sort_unstable_by(|a, b| {
        let place = || (a.side, a.position).cmp(&(b.side, b.position));
        key(a.entry).cmp(&key(b.entry)).then_with(place)
    });
    let mut rest = Vec::new();
    for group in items.chunk_by(|a, b| key(a.entry) == key(b.entry)) {
        let (old, new) =
            group.split_at_checked(group.partition_point(|item| item.side == Side::Old)).unwrap_or_default();
        pair(class, old, new, rows, &mut rest);
    }
    rest
}

/// Those that lie in files of the same path are counterparts first, then one after the other as they come.
///
/// Both are in the order of their lists, so by file.
fn pair<'a, E: Entry>(
    class: Class,
    old: &[Item<'a, E>],
    new: &[Item<'a, E>],
    rows: &mut Vec<Row<'a, E>>,
    rest: &mut Vec<Item<'a, E>>,
) {
    let row = |(old, new): (&Item<'a, E>, &Item<'a, E>)| Row { class, old: Some(*old), new: Some(*new) };
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    let (mut old_left, mut new_left) = (Vec::new(), Vec::new());
    while let (Some(a), Some(b)) = (olds.peek(), news.peek()) {
        match a.entry.file().cmp(b.entry.file()) {
            Ordering::Less => old_left.extend(olds.next()),
            Ordering::Greater => new_left.extend(news.next()),
            Ordering::Equal => rows.extend(olds.next().zip(news.next()).map(row)),
        }
    }
    old_left.extend(olds);
    new_left.extend(news);
    rows.extend(old_left.iter().copied().zip(new_left.iter().copied()).map(row));
    let more =
        |left: &[&Item<'a, E>], others: usize| left.iter().skip(others).copied().copied().collect::<Vec<_>>();
    rest.extend(more(&old_left, new_left.len()));
    rest.extend(more(&new_left, old_left.len()));
}

/// Counts the differences, and says which of the new entries' bytes the old list has.
fn tell<'a, E: Entry>(rows: Vec<Row<'a, E>>, old: &[E]) -> Comparison<'a, E> {
    let mut contents: Vec<_> = old.iter().map(E::content).collect();
    contents.sort_unstable();
    let mut told = Comparison {
        differences: Vec::with_capacity(rows.len()),
        old: Classes::NONE,
        new: Classes::NONE,
        in_old: Tally::NONE,
    };
    for Row { class, old, new } in rows {
        let (old, new) = (old.map(|item| item.entry), new.map(|item| item.entry));
        if let Some(entry) = old {
            told.old.count(class, entry.content().1);
        }
        let mut in_old = false;
        if let Some(entry) = new {
            let (hash, bytes) = entry.content();
            told.new.count(class, bytes);
            in_old = bytes == 0 || contents.binary_search(&(hash, bytes)).is_ok();
            if in_old {
                told.in_old = told.in_old.and(Tally { entries: 1, bytes });
            }
        }
        told.differences.push(Difference { class, old, new, in_old });
    }
    told
}
