//! Making proofs, from verified lists (`spec/proofs.md`).

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

/// What a proof is to show, gathered entry by entry. In any order, and twice is as good as once.
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

impl<'a> Wanted<'a> {
    /// Nothing yet, of these lists. Tensors can be shown with their list only.
    pub fn of(files: &'a VerifiedFileList, tensors: Option<&'a VerifiedTensorList>) -> Self {
        let (file_positions, tensor_positions) = (BTreeSet::new(), BTreeSet::new());
        Self { files, tensors, file_positions, tensor_positions, absent: BTreeSet::new(), slice: None }
    }

    /// Also that the model has this file.
    ///
    /// # Errors
    /// [`ProveError::NotListed`] (9001).
    pub fn file(mut self, path: &str) -> Result<Self, ProveError> {
        self.add_file(path)?;
        Ok(self)
    }

    /// Also that the model has this tensor, with its file.
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

    /// Also that the model does not have this file, with the files beside its place in the list.
    ///
    /// # Errors
    /// [`ProveError::Path`] (14xx) if no list could have it; [`ProveError::Listed`] (2505) if this one has.
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

    /// Also what the slice holds that will go with the proof, with its file. There is one slice: a second one takes the
    /// place of the first.
    ///
    /// # Errors
    /// [`ProveError::NotListed`] (9001); [`ProveError::Range`] (2601) if no slice of the file can have this range.
    pub fn slice(mut self, path: &str, range: Range<u64>) -> Result<Self, ProveError> {
        let (position, size) = self.add_file(path)?;
        self.slice = Some((position, SliceRange::new(size, range).map_err(ProveError::Range)?));
        Ok(self)
    }

    /// The file's position and size.
    fn add_file(&mut self, path: &str) -> Result<(usize, u64), ProveError> {
        let not_listed = ProveError::NotListed { list: ListKind::Files };
        let (position, file) = self.files.find(path).ok_or(not_listed)?;
        self.file_positions.insert(position);
        Ok((position, file.size))
    }

    /// Writes the proof, with this note of the head under which the file list was opened.
    ///
    /// # Guarantee
    /// What is returned was checked as a receiver checks it, signatures apart: they are those of `note`.
    ///
    /// # Errors
    /// [`ProveError::Refused`] with the code that a receiver would find: 11xx and 2506 if `note` is not one of this head,
    /// 2402 if nothing was asked for, 24xx if the lists are of another head, 2406 for more than 4,096 entries and absent
    /// paths.
    ///
    /// # Cost
    /// One pass over what is written, for writing it and for checking it; the trees were kept when the lists were opened.
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

    /// All that stands above the empty line.
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
