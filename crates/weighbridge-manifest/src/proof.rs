//! Proofs that entries are in a model, or that a path is not (`spec/proofs.md`).
//!
//! The checks follow the order of that page: length, note, forms, file entries, absent paths, file tree, absence,
//! tensor entries, tensor tree, slice. The module `prove` makes these proofs.

use alloc::vec::Vec;
use core::{cmp::Ordering, ops::Range};

use base64ct::{Base64, Encoding};
use weighbridge_tree::{
    CountedTree, EntryHash, MAX_PROOF_ENTRIES, SiblingHash, SliceRange, TreeError, model_root, root_of_proof,
    tensors_root,
};

use crate::{
    cursor::{Cursor, canonical_number},
    entry::{FileEntry, TensorEntry},
    format::Format,
    list::ListKind,
    note::Note,
    path::EntryPath,
    policy::TrustPolicy,
    proof_error::{FormFault, ProofError},
    time::Time,
    trust::{Expectation, SignedHead, VerifiedHead},
};

/// A received proof with a well-formed note. No part of it is believed, and the text above the note was not read
/// (rule 8).
#[derive(Clone, Debug)]
#[must_use]
pub struct SignedProof<'a> {
    claims: &'a [u8],
    note: &'a [u8],
    head: SignedHead,
}

/// The verified content of a proof, under a believed head. Only verification makes this type.
///
/// # Guarantee
/// Each entry is at its position of the signed list, byte for byte (rule 7). No absent path is in the signed file list,
/// if the publisher's list is in order.
///
/// # Non-guarantee
/// A proof may show other entries than the caller wants, since the prover chooses them. Query [`file`](Self::file),
/// [`tensor`](Self::tensor) and [`is_absent`](Self::is_absent) for the wanted ones. The guarantee holds against
/// provers, not against publishers: a publisher that signs an unordered list can hide a file in it. A proof says
/// nothing about bytes, nor whether a newer head exists.
#[derive(Clone, Debug)]
#[must_use]
pub struct Proven {
    head: VerifiedHead,
    files: Vec<(u64, FileEntry)>,
    tensors: Vec<(u64, TensorEntry)>,
    absent: Vec<EntryPath>,
    slice: Option<(usize, SliceRange)>,
}

/// The claimed content of the slice that goes with a proof.
///
/// # Non-guarantee
/// The file and the range are verified. The slice's bytes remain the prover's claim until the slice is accepted for
/// this file and range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceClaim<'a> {
    /// The file's position in its list.
    pub position: u64,
    /// The file.
    pub file: &'a FileEntry,
    /// The byte range of the file. A slice of the file can have this range.
    pub range: SliceRange,
}

impl<'a> SignedProof<'a> {
    /// Splits a received proof at its first empty line, and reads the note.
    ///
    /// # Errors
    /// [`ProofError`]: 2501, 2503 if there is no empty line, 11xx.
    ///
    /// # Cost
    /// One pass up to the empty line, and [`SignedHead::parse`]. The text above the empty line is not copied.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF {
            return Err(ProofError::TooLong { bytes: bytes.len() });
        }
        let (claims, note) = split_at_first_empty_line(bytes).ok_or(ProofError::NoEmptyLine)?;
        let head = SignedHead::parse(note).map_err(ProofError::Note)?;
        Ok(Self { claims, note, head })
    }

    /// The note as received, to be verified or remembered by itself.
    #[must_use]
    pub fn note(&self) -> &'a [u8] {
        self.note
    }

    /// Decides whether the head is believed, and then whether the proof shows its claims under that head.
    ///
    /// `now` is the caller's time; `None` if the caller does not know the time.
    ///
    /// # Errors
    /// [`ProofError`], the first in the order of `spec/proofs.md`. No part of a refused proof is returned, not even the
    /// head.
    ///
    /// # Panics
    /// Never, for any bytes.
    ///
    /// # Cost
    /// [`SignedHead::verify`], then one pass over the text, and one BLAKE3 compression per 64 bytes of entries and per
    /// node on their paths. Memory in proportion to the text.
    pub fn verify(
        self,
        policy: &TrustPolicy,
        expected: &Expectation,
        now: Option<Time>,
    ) -> Result<Proven, ProofError> {
        let head = self.head.verify(policy, expected, now).map_err(ProofError::Head)?;
        Claims::parse(self.claims)?.check(head)
    }

    /// Checks the proof under a head that was verified before. The text of the proof's note must be the text of the
    /// head. Signatures, expectation and time are not checked again.
    ///
    /// # Errors
    /// The same as those of [`verify`](Self::verify), except that [`ProofError::OtherHead`] (2506) replaces all
    /// refusals of a head.
    ///
    /// # Cost
    /// The same as that of [`verify`](Self::verify), without the signature checks.
    pub fn under(self, head: &VerifiedHead) -> Result<Proven, ProofError> {
        let note = Note::parse(self.note).map_err(ProofError::Note)?;
        if note.text() != head.text() {
            return Err(ProofError::OtherHead);
        }
        Claims::parse(self.claims)?.check(head.clone())
    }
}

impl Proven {
    /// The head that binds all entries of the proof.
    pub fn head(&self) -> &VerifiedHead {
        &self.head
    }

    /// Files of the model with their positions, in the order of the list; at least one. They include the neighbours of
    /// absent paths and the files of tensors.
    #[must_use]
    pub fn files(&self) -> &[(u64, FileEntry)] {
        &self.files
    }

    /// Tensors of the model with their positions, in the order of the list.
    #[must_use]
    pub fn tensors(&self) -> &[(u64, TensorEntry)] {
        &self.tensors
    }

    /// Paths that are not in the model's file list, in order.
    #[must_use]
    pub fn absent(&self) -> &[EntryPath] {
        &self.absent
    }

    /// The file of this path, if the proof shows it.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        let index = self.files.binary_search_by(|(_, file)| file.path.as_str().cmp(path)).ok()?;
        self.files.get(index).map(|(_, file)| file)
    }

    /// The tensor of this name in this file, if the proof shows it.
    #[must_use]
    pub fn tensor(&self, file: &str, name: &str) -> Option<&TensorEntry> {
        let wanted = (file, name);
        let found = self.tensors.binary_search_by(|(_, t)| (t.file.as_str(), t.name.as_str()).cmp(&wanted));
        self.tensors.get(found.ok()?).map(|(_, tensor)| tensor)
    }

    /// Whether the proof shows that the model's file list does not have this path. `false` says nothing about the path.
    #[must_use]
    pub fn is_absent(&self, path: &str) -> bool {
        self.absent.binary_search_by(|absent| absent.as_str().cmp(path)).is_ok()
    }

    /// The claimed content of the slice that goes with this proof; `None` if there is no slice.
    #[must_use]
    pub fn slice(&self) -> Option<SliceClaim<'_>> {
        let (index, range) = self.slice.as_ref()?;
        let (position, file) = self.files.get(*index)?;
        Some(SliceClaim { position: *position, file, range: *range })
    }
}

/// Splits a proof into the text above the first empty line and the note after it. The first empty line decides, because
/// the note has an empty line too.
fn split_at_first_empty_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(note) = bytes.strip_prefix(b"\n") {
        return Some((&[], note));
    }
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?.checked_add(1)?;
    let (claims, rest) = bytes.split_at_checked(end)?;
    rest.strip_prefix(b"\n").map(|note| (claims, note))
}

/// The parts of the text above the note. Their forms are right, but nothing else is checked.
struct Claims<'a> {
    files: Vec<Claim<'a>>,
    absent: Vec<(usize, &'a str)>,
    file_siblings: Vec<SiblingHash>,
    tensors: Vec<Claim<'a>>,
    tensor_siblings: Vec<SiblingHash>,
    slice: Option<ClaimedSlice>,
}

/// The claim that an entry is at a position.
struct Claim<'a> {
    line: usize,
    position: u64,
    entry: &'a str,
}

struct ClaimedSlice {
    line: usize,
    position: u64,
    range: Range<u64>,
}

impl<'a> Claims<'a> {
    /// Step 3 of `spec/proofs.md`.
    fn parse(bytes: &'a [u8]) -> Result<Self, ProofError> {
        let bytes = bytes.strip_prefix(VERSION.as_bytes()).ok_or(ProofError::Version)?;
        let bytes = bytes.strip_prefix(b"\n").ok_or(ProofError::Version)?;
        let text = core::str::from_utf8(bytes).map_err(|error| {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|b| **b == b'\n').count().saturating_add(2);
            ProofError::Form { line, fault: FormFault::NotUtf8 }
        })?;
        let mut lines = Lines { rest: Cursor::new(text), line: 2, counted: 0 };
        let files = lines.entries("{\"file\":")?;
        if files.is_empty() {
            return Err(lines.fail(FormFault::Place));
        }
        let absent = lines.absent();
        let file_siblings = lines.siblings()?;
        let tensors = lines.entries("{\"tensor\":")?;
        let tensor_siblings = if tensors.is_empty() { Vec::new() } else { lines.siblings()? };
        let slice = lines.slice()?;
        if lines.rest.rest_must_be_empty().is_none() {
            return Err(lines.fail(FormFault::Place));
        }
        if lines.counted > MAX_PROOF_ENTRIES {
            return Err(ProofError::TooMany { lines: lines.counted });
        }
        Ok(Self { files, absent, file_siblings, tensors, tensor_siblings, slice })
    }

    /// Steps 4 to 10 of `spec/proofs.md`.
    fn check(&self, head: VerifiedHead) -> Result<Proven, ProofError> {
        let (signed, count) = (head.head(), head.head().files.count);
        let files = self.file_entries()?;
        let absent = self.absent_paths()?;
        let tree = top(ListKind::Files, count, &self.files, &self.file_siblings)?;
        if model_root(signed.bytes, &tree) != signed.root {
            return Err(ProofError::Tree { list: ListKind::Files, error: TreeError::WrongRoot });
        }
        for ((line, _), path) in self.absent.iter().zip(&absent) {
            if !is_absent(path, &files, count) {
                return Err(ProofError::NotAbsent { line: *line });
            }
        }
        let tensors = self.tensor_entries(&files)?;
        if !self.tensors.is_empty() {
            let signed = signed.tensors.ok_or(ProofError::NoTensorList)?;
            let tree = top(ListKind::Tensors, signed.list.count, &self.tensors, &self.tensor_siblings)?;
            if tensors_root(Some(&tree)) != signed.root {
                return Err(ProofError::Tree { list: ListKind::Tensors, error: TreeError::WrongRoot });
            }
        }
        let slice = self.slice.as_ref().map(|slice| slice.check(&files)).transpose()?;
        Ok(Proven { head, files, tensors, absent, slice })
    }

    fn file_entries(&self) -> Result<Vec<(u64, FileEntry)>, ProofError> {
        let mut files: Vec<(u64, FileEntry)> = Vec::with_capacity(self.files.len());
        for &Claim { line, position, entry } in &self.files {
            let entry = FileEntry::parse(entry).map_err(|error| ProofError::Entry { line, error })?;
            if let Some((_, before)) = files.last() {
                in_order(line, before.path.cmp(&entry.path))?;
            }
            files.push((position, entry));
        }
        Ok(files)
    }

    fn absent_paths(&self) -> Result<Vec<EntryPath>, ProofError> {
        let mut paths: Vec<EntryPath> = Vec::with_capacity(self.absent.len());
        for &(line, path) in &self.absent {
            let path = EntryPath::parse(path).map_err(|error| ProofError::Path { line, error })?;
            if paths.last().is_some_and(|before| *before >= path) {
                return Err(ProofError::Form { line, fault: FormFault::AbsentOrder });
            }
            paths.push(path);
        }
        Ok(paths)
    }

    fn tensor_entries(&self, files: &[(u64, FileEntry)]) -> Result<Vec<(u64, TensorEntry)>, ProofError> {
        let mut tensors: Vec<(u64, TensorEntry)> = Vec::with_capacity(self.tensors.len());
        for &Claim { line, position, entry } in &self.tensors {
            let before = tensors.last().map(|(_, before)| before);
            let entry =
                TensorEntry::parse_after(entry, before).map_err(|error| ProofError::Entry { line, error })?;
            if let Some(before) = before {
                in_order(line, (&before.file, &before.name).cmp(&(&entry.file, &entry.name)))?;
            }
            let file = files.binary_search_by(|(_, file)| file.path.cmp(&entry.file)).ok();
            let (_, file) =
                file.and_then(|index| files.get(index)).ok_or(ProofError::FileNotShown { line })?;
            if Format::of(file.path.as_str()).is_none() {
                return Err(ProofError::NoTensorFile { line });
            }
            if entry.offset.checked_add(entry.size).is_none_or(|end| end > file.size) {
                return Err(ProofError::OutsideFile { line, size: file.size });
            }
            tensors.push((position, entry));
        }
        Ok(tensors)
    }
}

impl ClaimedSlice {
    /// Returns the index of the slice's file among the files of the proof, and the range.
    fn check(&self, files: &[(u64, FileEntry)]) -> Result<(usize, SliceRange), ProofError> {
        let Self { line, position, ref range } = *self;
        // Positions strictly increase, since the tree was computed from them.
        let index = files.binary_search_by_key(&position, |(position, _)| *position).ok();
        let (index, (_, file)) = index
            .and_then(|index| Some((index, files.get(index)?)))
            .ok_or(ProofError::SliceFileNotShown { line })?;
        let range = SliceRange::new(file.size, range.clone());
        range.map(|range| (index, range)).map_err(|error| ProofError::SliceRange { line, error })
    }
}

/// Computes the top of the tree from claims and sibling hashes, with the signed count (rule 1).
fn top(
    list: ListKind,
    count: u64,
    claims: &[Claim<'_>],
    siblings: &[SiblingHash],
) -> Result<CountedTree, ProofError> {
    let leaf = |claim: &Claim<'_>| (claim.position, EntryHash::of_line(claim.entry.as_bytes()));
    let leaves: Vec<_> = claims.iter().map(leaf).collect();
    root_of_proof(count, &leaves, siblings).map_err(|error| ProofError::Tree { list, error })
}

/// Whether the entries on both sides of the path's place are shown and are neighbours in the list. Paths and positions
/// of `files` strictly increase.
fn is_absent(path: &EntryPath, files: &[(u64, FileEntry)], count: u64) -> bool {
    let Err(place) = files.binary_search_by(|(_, file)| file.path.cmp(path)) else { return false };
    let position = |index: usize| files.get(index).map(|(position, _)| *position);
    match (place.checked_sub(1).and_then(position), position(place)) {
        (None, Some(above)) => above == 0,
        (Some(below), Some(above)) => below.checked_add(1) == Some(above),
        (Some(below), None) => below.checked_add(1) == Some(count),
        (None, None) => false,
    }
}

fn in_order(line: usize, before: Ordering) -> Result<(), ProofError> {
    match before {
        Ordering::Less => Ok(()),
        Ordering::Equal => Err(ProofError::Duplicate { line }),
        Ordering::Greater => Err(ProofError::Order { line }),
    }
}

/// Reads the text line by line, and counts the lines. Each line ends with LF, since an empty line follows the last.
struct Lines<'a> {
    rest: Cursor<'a>,
    /// The number of the next line, counted from 1.
    line: usize,
    /// The number of entries and absent paths so far. Up to the limit they are kept; beyond it they are only counted.
    counted: usize,
}

impl<'a> Lines<'a> {
    /// Returns the value that `read` makes of the next line. If `read` returns `None`, the line stays unread.
    fn next_if<T>(&mut self, read: impl FnOnce(&'a str) -> Option<T>) -> Option<(usize, T)> {
        let mut behind = self.rest;
        let read = read(behind.until('\n')?)?;
        self.rest = behind;
        let line = self.line;
        self.line = line.saturating_add(1);
        Some((line, read))
    }

    fn fail(&self, fault: FormFault) -> ProofError {
        ProofError::Form { line: self.line, fault }
    }

    fn keep<T>(&mut self, all: &mut Vec<T>, item: T) {
        self.counted = self.counted.saturating_add(1);
        if self.counted <= MAX_PROOF_ENTRIES {
            all.push(item);
        }
    }

    /// Reads all lines `POSITION LINE` whose LINE begins with `beginning`.
    fn entries(&mut self, beginning: &str) -> Result<Vec<Claim<'a>>, ProofError> {
        let mut all = Vec::new();
        let parts = |line: &'a str| line.split_once(' ').filter(|(_, entry)| entry.starts_with(beginning));
        while let Some((line, (position, entry))) = self.next_if(parts) {
            let position =
                canonical_number(position).ok_or(ProofError::Form { line, fault: FormFault::Position })?;
            self.keep(&mut all, Claim { line, position, entry });
        }
        Ok(all)
    }

    fn absent(&mut self) -> Vec<(usize, &'a str)> {
        let mut all = Vec::new();
        while let Some(path) = self.next_if(|line| line.strip_prefix("absent ")) {
            self.keep(&mut all, path);
        }
        all
    }

    /// Reads the next line if it has no space, since every other kind of line has one.
    fn siblings(&mut self) -> Result<Vec<SiblingHash>, ProofError> {
        let Some((line, encoded)) = self.next_if(|line| (!line.contains(' ')).then_some(line)) else {
            return Ok(Vec::new());
        };
        // The size of the result follows from the length of the line, which is bounded by the received bytes.
        let bytes = Base64::decode_vec(encoded).unwrap_or_default();
        match bytes.as_chunks::<32>() {
            (hashes @ [_, ..], []) => Ok(hashes.iter().map(|hash| SiblingHash::from_bytes(*hash)).collect()),
            _ => Err(ProofError::Form { line, fault: FormFault::Siblings }),
        }
    }

    fn slice(&mut self) -> Result<Option<ClaimedSlice>, ProofError> {
        let Some((line, slice)) = self.next_if(|line| line.strip_prefix("slice ")) else { return Ok(None) };
        let parts = || {
            let (position, range) = slice.split_once(' ')?;
            let (start, end) = range.split_once("..")?;
            let range = canonical_number(start)?..canonical_number(end)?;
            Some(ClaimedSlice { line, position: canonical_number(position)?, range })
        };
        parts().map(Some).ok_or(ProofError::Form { line, fault: FormFault::Slice })
    }
}

pub(crate) const VERSION: &str = "weighbridge/proof/v1";

/// The longest proof, in bytes: 4,096 entries of the longest line, their sibling hashes, and a note.
pub const MAX_PROOF: usize = 41_943_040;
