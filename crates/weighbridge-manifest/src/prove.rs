//! Makes proofs from verified lists (`spec/proofs.md`).

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::{
    fmt::{self, Write},
    ops::Range,
};

use base64ct::{Base64, Encoding};
use weighbridge_tree::{ListTree, MAX_PROOF_ENTRIES, SliceRange};

use crate::{
    list::{ListKind, VerifiedFileList, VerifiedTensorList},
    note::NoteError,
    path::EntryPath,
    proof::{SignedProof, VERSION},
    proof_error::{ProofError, ProveError},
};

/// The content of a proof to be made, collected entry by entry. The order does not matter, and repeated entries have no
/// effect.
#[derive(Clone, Debug)]
#[must_use]
pub struct Wanted<'a> {
    files: &'a VerifiedFileList,
    tensors: Option<&'a VerifiedTensorList>,
    file_positions: BTreeSet<usize>,
    tensor_positions: BTreeSet<usize>,
    absent: BTreeSet<EntryPath>,
    slice: Option<(usize, SliceRange)>,
}

/// The possible readings of `FILE:NAME`, as pairs of file and name.
pub fn readings(asked: &str) -> impl Iterator<Item = (&str, &str)> {
    asked
        .match_indices(':')
        .filter_map(|(at, colon)| Some((asked.get(..at)?, asked.get(at.checked_add(colon.len())?..)?)))
}

impl<'a> Wanted<'a> {
    /// Starts without any content, for these lists. Tensors can only be shown if `tensors` is given.
    pub fn of(files: &'a VerifiedFileList, tensors: Option<&'a VerifiedTensorList>) -> Self {
        let (file_positions, tensor_positions) = (BTreeSet::new(), BTreeSet::new());
        Self { files, tensors, file_positions, tensor_positions, absent: BTreeSet::new(), slice: None }
    }

    /// Adds the statement that the model has this file.
    ///
    /// # Errors
    /// [`ProveError::NotListed`] (9001).
    pub fn file(mut self, path: &str) -> Result<Self, ProveError> {
        self.add_file(path)?;
        Ok(self)
    }

    /// Adds the statement that the model has this tensor, and the tensor's file.
    ///
    /// # Errors
    /// [`ProveError::NotListed`] or [`ProveError::NoTensorList`] (9001).
    pub fn tensor(mut self, file: &str, name: &str) -> Result<Self, ProveError> {
        let tensors = self.tensors.ok_or(ProveError::NoTensorList)?;
        let not_listed = ProveError::NotListed { list: ListKind::Tensors };
        let (position, _) = tensors.find(file, name).ok_or(not_listed)?;
        self.add_file(file)?;
        self.tensor_positions.insert(position);
        Ok(self)
    }

    /// Adds the statement that the model has the tensor that a user calls `FILE:NAME`. Both parts may have colons: of the possible
    /// readings, the first that is listed is meant.
    ///
    /// # Errors
    /// As of [`tensor`](Self::tensor).
    pub fn tensor_named(self, asked: &str) -> Result<Self, ProveError> {
        let tensors = self.tensors.ok_or(ProveError::NoTensorList)?;
        let listed = readings(asked).find(|(file, name)| tensors.find(file, name).is_some());
        let (file, name) = listed.unwrap_or((asked, ""));
        self.tensor(file, name)
    }

    /// Adds the statement that the model does not have this file, and the files next to its place in the list.
    ///
    /// # Errors
    /// [`ProveError::Path`] (14xx) if no list could have the path; [`ProveError::Listed`] (2505) if this list has it.
    pub fn absent(mut self, path: &str) -> Result<Self, ProveError> {
        let path = EntryPath::parse(path).map_err(ProveError::Path)?;
        let place = self.files.place(path.as_str()).err().ok_or(ProveError::Listed)?;
        self.file_positions.extend(place.checked_sub(1));
        if place < self.files.entries().len() {
            self.file_positions.insert(place);
        }
        self.absent.insert(path);
        Ok(self)
    }

    /// Adds the content of the slice that will go with the proof, and the slice's file. A proof has one slice: a second
    /// call replaces the first slice.
    ///
    /// # Errors
    /// [`ProveError::NotListed`] (9001); [`ProveError::Range`] (2601) if the file has no slice with this range.
    pub fn slice(mut self, path: &str, range: Range<u64>) -> Result<Self, ProveError> {
        let (position, size) = self.add_file(path)?;
        self.slice = Some((position, SliceRange::new(size, range).map_err(ProveError::Range)?));
        Ok(self)
    }

    /// Adds a file, and returns its position and size.
    fn add_file(&mut self, path: &str) -> Result<(usize, u64), ProveError> {
        let not_listed = ProveError::NotListed { list: ListKind::Files };
        let (position, file) = self.files.find(path).ok_or(not_listed)?;
        self.file_positions.insert(position);
        Ok((position, file.size))
    }

    /// Writes the proof. `note` is a note of the head under which the file list was opened.
    ///
    /// # Guarantee
    /// The returned proof was checked as a receiver checks it, except for the signatures, which are those of `note`.
    ///
    /// # Errors
    /// [`ProveError::Refused`] with the code that a receiver would find: 11xx and 2506 if `note` is not a note of this
    /// head, 2402 if nothing was asked for, 24xx if the lists belong to another head, 2406 for more than 4,096 entries
    /// and absent paths.
    ///
    /// # Cost
    /// One pass for writing the text, and one for checking it. The trees were kept when the lists were opened.
    pub fn prove(self, note: &[u8]) -> Result<String, ProveError> {
        let lines =
            [self.file_positions.len(), self.tensor_positions.len(), self.absent.len()].into_iter().sum();
        if lines > MAX_PROOF_ENTRIES {
            return Err(ProofError::TooMany { lines }.into());
        }
        let note = core::str::from_utf8(note).map_err(|_| ProofError::Note(NoteError::Characters))?;
        let mut proof = String::new();
        self.write(&mut proof)?;
        proof.push('\n');
        proof.push_str(note);
        let _ = SignedProof::parse(proof.as_bytes())?.under(self.files.head())?;
        Ok(proof)
    }

    /// Writes all lines above the empty line.
    fn write(&self, proof: &mut String) -> Result<(), ProofError> {
        line(proof, VERSION);
        entries(proof, &self.file_positions, self.files.entries());
        for path in &self.absent {
            line(proof, format_args!("absent {}", path.as_str()));
        }
        siblings(proof, ListKind::Files, &self.file_positions, self.files.tree())?;
        if let Some((list, tree)) = self.tensors.and_then(|list| Some((list, list.tree()?)))
            && !self.tensor_positions.is_empty()
        {
            entries(proof, &self.tensor_positions, list.entries());
            siblings(proof, ListKind::Tensors, &self.tensor_positions, tree)?;
        }
        if let Some((position, range)) = self.slice {
            let range = range.range();
            line(proof, format_args!("slice {position} {}..{}", range.start, range.end));
        }
        Ok(())
    }
}

fn entries<E: fmt::Display>(proof: &mut String, positions: &BTreeSet<usize>, list: &[E]) {
    for (position, entry) in positions.iter().filter_map(|position| Some((position, list.get(*position)?))) {
        line(proof, format_args!("{position} {entry}"));
    }
}

fn siblings(
    proof: &mut String,
    list: ListKind,
    positions: &BTreeSet<usize>,
    tree: &ListTree,
) -> Result<(), ProofError> {
    let positions: Vec<u64> = positions.iter().map(|p| u64::try_from(*p).unwrap_or(u64::MAX)).collect();
    let hashes = tree.prove(&positions).map_err(|error| ProofError::Tree { list, error })?;
    if !hashes.is_empty() {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        line(proof, Base64::encode_string(&bytes));
    }
    Ok(())
}

fn line(proof: &mut String, line: impl fmt::Display) {
    // Writing into a String does not fail.
    let _ = writeln!(proof, "{line}");
}
