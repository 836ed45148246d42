//! Compares two models by their lists: which files and tensors are the same, and which differ.
//!
//! `spec/diff.md` defines the classes.

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
/// Every entry of both lists is in exactly one [`Difference`]. If the two lists are exchanged, only the two sides of
/// each difference are exchanged.
///
/// # Non-guarantee
/// Equal roots are the signers' statements. They say nothing about bytes on any disk.
///
/// # Cost
/// O(n log n) comparisons of entries, and a few words of memory per entry, for any lists (rule 12).
pub fn compare_files<'a>(old: &'a VerifiedFileList, new: &'a VerifiedFileList) -> Comparison<'a, FileEntry> {
    compare(old.entries(), new.entries())
}

/// Compares the tensors of two models, regardless of the files that hold them.
///
/// # Guarantee
/// The same as that of [`compare_files`].
///
/// # Non-guarantee
/// The same as that of [`compare_files`]. In addition, a tensor's hash only serves to find and compare (rule 13).
///
/// # Cost
/// The same as that of [`compare_files`].
pub fn compare_tensors<'a>(
    old: &'a VerifiedTensorList,
    new: &'a VerifiedTensorList,
) -> Comparison<'a, TensorEntry> {
    compare(old.entries(), new.entries())
}

/// The number of bytes of the new model's files that the old model has: whole files, and tensors in the other files.
/// Bytes that several tensors share count once.
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
    // The file of the previous range, and the furthest end of all ranges in that file so far.
    let mut before: Option<(&EntryPath, u64)> = None;
    for (file, start, end) in ranges {
        let counted = before.filter(|(path, _)| *path == file).map_or(0, |(_, counted)| counted);
        bytes = bytes.saturating_add(end.saturating_sub(start.max(counted)));
        before = Some((file, end.max(counted)));
    }
    bytes
}

/// The result of a comparison: the class of every entry of an old and a new list.
#[derive(Clone, Debug)]
pub struct Comparison<'a, E> {
    /// All differences, including those of class [`Same`](Class::Same). They are sorted by class, then in the order of
    /// the new list; entries that are gone are in the order of the old list.
    pub differences: Vec<Difference<'a, E>>,
    /// The number of entries of the old list in each class. None is [`Added`](Class::Added).
    pub old: Classes,
    /// The number of entries of the new list in each class. None is [`Gone`](Class::Gone).
    pub new: Classes,
    /// The entries of the new list whose bytes the old list has, in any class.
    pub in_old: Tally,
}

impl<'a, E> Comparison<'a, E> {
    /// Whether the two lists have the same entries.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.iter().all(|difference| difference.class == Class::Same)
    }

    fn new_in_old(&self) -> impl Iterator<Item = &'a E> {
        self.differences.iter().filter(|difference| difference.in_old).filter_map(|difference| difference.new)
    }
}

/// An entry with its counterpart in the other list, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a, E> {
    /// The class of the entry.
    pub class: Class,
    /// The old entry; `None` if the entry was added.
    pub old: Option<&'a E>,
    /// The new entry; `None` if the entry is gone.
    pub new: Option<&'a E>,
    /// Whether the old list has the bytes of the new entry, under any name. An entry of no bytes counts as present in
    /// every list.
    pub in_old: bool,
}

/// The change of an entry between the two lists.
// Exhaustive on purpose: every entry is in one of these classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A file with the same path and bytes, or a tensor with the same name, dtype, shape and bytes, in any file.
    Same,
    /// The same bytes, at least one, under another path or name. The other list has no counterpart of this entry's
    /// name.
    Moved,
    /// The same path or name with other bytes; a tensor also with another dtype or shape.
    Changed,
    /// An entry of the new list that is in no other class.
    Added,
    /// An entry of the old list that is in no other class.
    Gone,
}

impl Class {
    /// All classes, in order.
    pub const ALL: [Self; 5] = [Self::Same, Self::Moved, Self::Changed, Self::Added, Self::Gone];

    /// The word for the class in reports.
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

/// The number of entries of one list in each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// One tally per class, in the order of [`Class::ALL`].
    tallies: [Tally; 5],
}

impl Classes {
    const NONE: Self = Self { tallies: [Tally::NONE; 5] };

    /// The tally of this class.
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

    /// The tally of the whole list.
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

/// A number of entries and the sum of their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Tally {
    /// The number of entries.
    pub entries: u64,
    /// The sum of the entries' sizes, in bytes. A list may claim that its tensors overlap, so the sum can exceed every
    /// number; the maximum 2^64 - 1 stands for such a sum.
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

/// The parts of an entry that are compared.
trait Entry {
    type Hash: Ord + Copy;

    fn name(&self) -> &str;
    /// The interpretation of the bytes: dtype and shape.
    fn form(&self) -> (&str, &[u64]);
    /// Identifies the bytes, by hash and size. Honest lists never give one hash two sizes; for other lists, entries
    /// with two sizes are never equal.
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

/// An entry that is still without a counterpart.
struct Item<'a, E> {
    entry: &'a E,
    side: Side,
    position: usize,
}

// By hand: a derived `Clone` would require that `E` is `Clone`.
impl<E> Clone for Item<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Item<'_, E> {}

/// A difference with the positions that determine its order.
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
    // An entry without bytes cannot have moved.
    let (items, empty): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.entry.content().1 > 0);
    let items = pair_all(items, Class::Moved, |entry| entry.content(), &mut rows);
    rows.extend(items.into_iter().chain(empty).map(|item| match item.side {
        Side::Old => Row { class: Class::Gone, old: Some(item), new: None },
        Side::New => Row { class: Class::Added, old: None, new: Some(item) },
    }));
    rows.sort_unstable_by_key(Row::place);
    tell(rows, old)
}

/// Groups entries by `key`, and pairs the entries of the two lists within each group. Returns the entries without a
/// counterpart.
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

/// Pairs entries of one group. Entries in files of the same path are paired first, then the remaining entries in order.
///
/// Both slices are in the order of their lists, and so sorted by file.
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

/// Counts the differences, and finds the new entries whose bytes the old list has.
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
