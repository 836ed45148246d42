//! Models without bytes, and hand-written proofs of them.

use std::{fmt::Write as _, ops::Range};

use base64ct::{Base64, Encoding as _};
use weighbridge_manifest::{
    Coded, Dtype, EntryPath, Expectation, FileEntry, Head, ProofError, ProveError, Proven, SignedHead,
    SignedProof, TensorEntry, TensorName, TrustPolicy, VerifiedFileList, VerifiedHead, VerifiedTensorList,
    Wanted,
    tree::{EntryHash, FileRoot, ListTree, SiblingHash, TensorHash},
};

use crate::kit::{self, alice};

/// The lines of a model's lists, in the order in which they were signed, even if that is not the valid order.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) files: Vec<String>,
    pub(crate) tensors: Option<Vec<String>>,
    pub(crate) text: String,
    pub(crate) note: String,
}

impl Model {
    pub(crate) fn of(files: Vec<String>, tensors: Option<Vec<String>>) -> Self {
        let head = head_over(&files, tensors.as_deref());
        Self::under(files, tensors, &head)
    }

    /// A model under a head that need not fit the lists.
    pub(crate) fn under(files: Vec<String>, tensors: Option<Vec<String>>, head: &Head) -> Self {
        let text = head.to_text().unwrap();
        let note = format!("{text}\n{}\n", alice().line(&text));
        Self { files, tensors, text, note }
    }

    /// A model of the files `f00`, `f02`, and so on, with room for others between them.
    pub(crate) fn of_files(count: u64) -> Self {
        Self::of((0..count).map(|i| file(&numbered(2 * i), i)).collect(), None)
    }

    /// A model of files, the second of which holds tensors.
    pub(crate) fn with_tensors(files: u64, tensors: u64) -> Self {
        let path = |i| if i == 1 { "f1.safetensors".to_owned() } else { format!("f{i:02}") };
        let mut lines: Vec<_> = (0..files).map(|i| file(&path(i), 1_000 * i)).collect();
        lines.sort();
        let tensors = (0..tensors).map(|i| tensor("f1.safetensors", &format!("t{i:02}"), 8 * i, 8)).collect();
        Self::of(lines, Some(tensors))
    }

    pub(crate) fn head(&self) -> VerifiedHead {
        SignedHead::parse(self.note.as_bytes()).unwrap().verify(&policy(), &Expectation::any(), None).unwrap()
    }

    pub(crate) fn open(&self) -> Opened {
        let head = self.head();
        let files = head.open_files(text(&self.files).as_bytes()).unwrap();
        let open = |lines: &Vec<String>| files.open_tensors(text(lines).as_bytes()).unwrap();
        let tensors = self.tensors.as_ref().map(open);
        Opened { head, files, tensors, note: self.note.clone() }
    }

    /// A proof of these positions, with the sibling hashes that they require.
    pub(crate) fn parts(&self, files: &[u64], tensors: &[u64]) -> Parts {
        let none = Vec::new();
        let (files, file_siblings) = chosen(&self.files, files);
        let (tensors, tensor_siblings) = chosen(self.tensors.as_ref().unwrap_or(&none), tensors);
        Parts {
            version: "weighbridge/proof/v1".to_owned(),
            files,
            absent: Vec::new(),
            file_siblings,
            tensors,
            tensor_siblings,
            slice: None,
            note: self.note.clone(),
        }
    }
}

fn chosen(lines: &[String], positions: &[u64]) -> (Vec<String>, Vec<SiblingHash>) {
    if positions.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let entry = |p: &u64| format!("{p} {}", lines[usize::try_from(*p).unwrap()]);
    (positions.iter().map(entry).collect(), tree(lines).prove(positions).unwrap())
}

pub(crate) fn tree(lines: &[String]) -> ListTree {
    ListTree::build(lines.iter().map(|line| EntryHash::of_line(line.as_bytes())).collect()).unwrap()
}

/// A verified model.
pub(crate) struct Opened {
    pub(crate) head: VerifiedHead,
    pub(crate) files: VerifiedFileList,
    pub(crate) tensors: Option<VerifiedTensorList>,
    pub(crate) note: String,
}

impl Opened {
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted::of(&self.files, self.tensors.as_ref())
    }

    pub(crate) fn prove(&self, wanted: Wanted<'_>) -> Result<String, ProveError> {
        wanted.prove(self.note.as_bytes())
    }

    pub(crate) fn check(&self, proof: &str) -> Result<Proven, ProofError> {
        SignedProof::parse(proof.as_bytes())?.under(&self.head)
    }

    /// Makes the proof of exactly the content of `proven`.
    pub(crate) fn prove_again(&self, proven: &Proven) -> String {
        let mut wanted = self.wanted();
        for (_, file) in proven.files() {
            wanted = wanted.file(file.path.as_str()).unwrap();
        }
        for (_, tensor) in proven.tensors() {
            wanted = wanted.tensor(tensor.file.as_str(), tensor.name.as_str()).unwrap();
        }
        for path in proven.absent() {
            wanted = wanted.absent(path.as_str()).unwrap();
        }
        if let Some(slice) = proven.slice() {
            wanted = wanted.slice(slice.file.path.as_str(), slice.range.range()).unwrap();
        }
        self.prove(wanted).unwrap()
    }
}

/// A proof before it is written. Tests replace its parts.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) version: String,
    pub(crate) files: Vec<String>,
    pub(crate) absent: Vec<String>,
    pub(crate) file_siblings: Vec<SiblingHash>,
    pub(crate) tensors: Vec<String>,
    pub(crate) tensor_siblings: Vec<SiblingHash>,
    pub(crate) slice: Option<(u64, Range<u64>)>,
    pub(crate) note: String,
}

impl Parts {
    pub(crate) fn absent(mut self, paths: &[&str]) -> Self {
        self.absent = paths.iter().map(|path| format!("absent {path}")).collect();
        self
    }

    pub(crate) fn slice(mut self, position: u64, range: Range<u64>) -> Self {
        self.slice = Some((position, range));
        self
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let siblings = |hashes: &[SiblingHash]| {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
            (!bytes.is_empty()).then(|| Base64::encode_string(&bytes))
        };
        let mut lines = vec![self.version.clone()];
        lines.extend(self.files.iter().chain(&self.absent).cloned());
        lines.extend(siblings(&self.file_siblings));
        lines.extend(self.tensors.iter().cloned());
        lines.extend(siblings(&self.tensor_siblings));
        lines.extend(
            self.slice.as_ref().map(|(at, range)| format!("slice {at} {}..{}", range.start, range.end)),
        );
        lines
    }

    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", text(&self.lines()), self.note)
    }

    /// The code of the verdict under a policy that trusts the signer; 0 if the proof is accepted.
    pub(crate) fn verdict(&self) -> u16 {
        verdict(self.text().as_bytes())
    }
}

pub(crate) fn verdict(proof: &[u8]) -> u16 {
    verify(proof).map_or_else(|error| error.error_code().get(), |_| 0)
}

pub(crate) fn verify(proof: &[u8]) -> Result<Proven, ProofError> {
    SignedProof::parse(proof)?.verify(&policy(), &Expectation::any(), None)
}

pub(crate) fn policy() -> TrustPolicy {
    TrustPolicy::any_of(vec![alice().vkey()]).unwrap()
}

pub(crate) fn text(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

/// A head that binds these lines in this order. Lines that are not files count as 0 bytes.
pub(crate) fn head_over(files: &[String], tensors: Option<&[String]>) -> Head {
    let bytes = files.iter().filter_map(|line| FileEntry::parse(line).ok()).map(|file| file.size).sum();
    let tensors = tensors.map(text);
    kit::head_over(text(files).as_bytes(), bytes, tensors.as_deref().map(str::as_bytes))
}

/// The names `f00` to `f99`, then `g00` to `g99`.
pub(crate) fn numbered(number: u64) -> String {
    format!("{}{:02}", if number < 100 { 'f' } else { 'g' }, number % 100)
}

pub(crate) fn file(path: &str, size: u64) -> String {
    let root = FileRoot::of(path.as_bytes());
    FileEntry { path: EntryPath::parse(path).unwrap(), size, root, sha256: None }.to_string()
}

pub(crate) fn tensor(file: &str, name: &str, offset: u64, size: u64) -> String {
    let entry = TensorEntry {
        name: TensorName::parse(name).unwrap(),
        file: EntryPath::parse(file).unwrap(),
        dtype: Dtype::parse("BF16").unwrap(),
        shape: vec![size / 2],
        offset,
        size,
        hash: TensorHash::of(name.as_bytes()),
    };
    entry.to_string()
}
