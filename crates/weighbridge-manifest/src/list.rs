//! Opens the lists under a verified head, and writes them.
//!
//! Checks are made in the order of `spec/lists.md`.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt::{self, Write};

use weighbridge_tree::{
    ChunkSize, Coded, EntryHash, ErrorCode, ListTree, MAX_ENTRIES, ModelRoot, TensorsRoot, list_root,
    model_root, tensors_root,
};

use crate::{
    cursor::MAX_NUMBER,
    entry::{FileEntry, LineError, MAX_LINE, TensorEntry},
    format::Format,
    head::{ListSize, Tensors},
    trust::VerifiedHead,
};

/// The complete, ordered list of a model's files, bound by a verified head. It keeps its tree, to make proofs.
///
/// # Guarantee
/// A file that is not in the list is not part of the model. Paths are safe to join to a folder on POSIX systems.
///
/// # Non-guarantee
/// The list says nothing about bytes on any disk.
#[derive(Clone, Debug)]
pub struct VerifiedFileList {
    head: VerifiedHead,
    entries: Vec<FileEntry>,
    tree: Arc<ListTree>,
}

/// The complete, ordered list of a model's tensors, bound by a verified head. It keeps its tree, to make proofs.
///
/// # Non-guarantee
/// The list is the signer's view of the files. The agreement of a file's header with the list is checked against the
/// verified header (`spec/tensors.md`).
#[derive(Clone, Debug)]
pub struct VerifiedTensorList {
    entries: Vec<TensorEntry>,
    /// The tree over the lines; `None` if there are no tensors.
    tree: Option<Arc<ListTree>>,
}

impl VerifiedHead {
    /// Checks a file list against this head.
    ///
    /// # Errors
    /// [`ListError`], the first in the order of `spec/lists.md`. No part of a refused list is returned.
    ///
    /// # Cost
    /// One pass over `bytes`, and one BLAKE3 compression per 64 bytes and per entry. Memory in proportion to `bytes`,
    /// whose length is first checked against the signed length (rule 1). The tree is kept and takes 64 bytes per entry.
    pub fn open_files(&self, bytes: &[u8]) -> Result<VerifiedFileList, ListError> {
        let mut reader = self.read_files(count(bytes.len()))?;
        reader.push(bytes)?;
        reader.finish()
    }

    /// Begins to check a file list of `length` bytes against this head, while it is read.
    ///
    /// # Errors
    /// [`ListError`] if the length is not the signed one. Then no byte of the list has to be read (rule 1).
    pub fn read_files(&self, length: u64) -> Result<FileListReader<'_>, ListError> {
        let lines = Lines::new(ListKind::Files, length, self.head().files.length)?;
        let files = Files { entries: Vec::new(), leaves: Vec::new(), total: 0, with_sha256: None };
        Ok(FileListReader { head: self, lines, files })
    }
}

/// Checks a file list line by line while it is read, so the text of the list is never wholly in memory.
///
/// # Cost
/// Memory in proportion to the accepted lines, plus one line. A sparse file that claims gigabytes is refused at its
/// first line (rule 12).
#[derive(Debug)]
pub struct FileListReader<'h> {
    head: &'h VerifiedHead,
    lines: Lines,
    files: Files,
}

#[derive(Debug)]
struct Files {
    entries: Vec<FileEntry>,
    leaves: Vec<EntryHash>,
    total: u64,
    with_sha256: Option<bool>,
}

impl FileListReader<'_> {
    /// Takes the next bytes of the list, of any length.
    ///
    /// # Errors
    /// [`ListError`], the first in the order of `spec/lists.md`. Then the list is refused, whatever bytes follow.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ListError> {
        self.lines.push(bytes, |line| self.files.line(line))
    }

    /// Ends the list.
    ///
    /// # Errors
    /// [`ListError`] if the list is not the signed one.
    pub fn finish(self) -> Result<VerifiedFileList, ListError> {
        let Self { head: verified, lines, files: Files { entries, leaves, total, .. } } = self;
        let head = verified.head();
        let whole = |fault| ListError::at(ListKind::Files, 0, fault);
        lines.end()?;
        let count = count(entries.len());
        if count != head.files.count {
            return Err(whole(Fault::Count { found: count, signed: head.files.count }));
        }
        if total != head.bytes {
            return Err(whole(Fault::Sum { found: total, signed: head.bytes }));
        }
        no_path_is_a_parent(&entries)
            .map_err(|number| ListError::at(ListKind::Files, number, Fault::Parent))?;
        let tree = ListTree::build(leaves).map_err(|_| whole(Fault::Root))?;
        if model_root(total, &tree.root()) != head.root {
            return Err(whole(Fault::Root));
        }
        Ok(VerifiedFileList { head: verified.clone(), entries, tree: Arc::new(tree) })
    }
}

impl Files {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        let entry = FileEntry::parse(line).map_err(Fault::Line)?;
        if *self.with_sha256.get_or_insert(entry.sha256.is_some()) != entry.sha256.is_some() {
            return Err(Fault::MixedSha256);
        }
        in_order(self.entries.last().map(|e| &e.path), &entry.path)?;
        self.total = self.total.saturating_add(entry.size);
        self.leaves.push(EntryHash::of_line(line.as_bytes()));
        self.entries.push(entry);
        Ok(())
    }
}

impl VerifiedFileList {
    /// Checks the tensor list that the same head binds.
    ///
    /// # Errors
    /// [`ListError`], the first in the order of `spec/lists.md`. If the head says `tensors none`, any list is refused.
    ///
    /// # Cost
    /// The same as that of [`VerifiedHead::open_files`].
    pub fn open_tensors(&self, bytes: &[u8]) -> Result<VerifiedTensorList, ListError> {
        let mut reader = self.read_tensors(count(bytes.len()))?;
        reader.push(bytes)?;
        reader.finish()
    }

    /// Begins to check a tensor list of `length` bytes against the same head, while it is read.
    ///
    /// # Errors
    /// [`ListError`] if the length is not the signed one, or the head says `tensors none`.
    pub fn read_tensors(&self, length: u64) -> Result<TensorListReader<'_>, ListError> {
        let signed = self.tensors().ok_or_else(|| ListError::at(ListKind::Tensors, 0, Fault::NotSigned))?;
        let lines = Lines::new(ListKind::Tensors, length, signed.list.length)?;
        let tensors = TensorLines { files: self, entries: Vec::new(), leaves: Vec::new(), file: None };
        Ok(TensorListReader { signed, lines, tensors })
    }

    /// The head that binds the list.
    pub fn head(&self) -> &VerifiedHead {
        &self.head
    }

    /// All files, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    /// The file of this path, with its position.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(usize, &FileEntry)> {
        let position = self.place(path).ok()?;
        self.entries.get(position).map(|e| (position, e))
    }

    /// The position of this path; if the list does not have it, the position of the first greater path as an error.
    pub(crate) fn place(&self, path: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|e| e.path.as_str().cmp(path))
    }

    /// The tree over the lines.
    pub(crate) fn tree(&self) -> &ListTree {
        &self.tree
    }

    /// The sum of all file sizes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.head.head().bytes
    }

    /// The unit of verification of files that are larger than it.
    pub fn chunk_size(&self) -> ChunkSize {
        self.head.head().chunk_size
    }

    /// The head's description of the tensor list; `None` if the model has no tensor list.
    #[must_use]
    pub fn tensors(&self) -> Option<Tensors> {
        self.head.head().tensors
    }
}

/// Checks a tensor list line by line while it is read, as a [`FileListReader`] checks a file list.
#[derive(Debug)]
pub struct TensorListReader<'f> {
    signed: Tensors,
    lines: Lines,
    tensors: TensorLines<'f>,
}

#[derive(Debug)]
struct TensorLines<'f> {
    files: &'f VerifiedFileList,
    entries: Vec<TensorEntry>,
    leaves: Vec<EntryHash>,
    /// The file of the previous line, since most tensors have the same file as the previous one.
    file: Option<&'f FileEntry>,
}

impl TensorListReader<'_> {
    /// Takes the next bytes of the list, of any length.
    ///
    /// # Errors
    /// [`ListError`], the first in the order of `spec/lists.md`. Then the list is refused, whatever bytes follow.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ListError> {
        self.lines.push(bytes, |line| self.tensors.line(line))
    }

    /// Ends the list.
    ///
    /// # Errors
    /// [`ListError`] if the list is not the signed one.
    pub fn finish(self) -> Result<VerifiedTensorList, ListError> {
        let Self { signed, lines, tensors: TensorLines { entries, leaves, .. } } = self;
        let whole = |fault| ListError::at(ListKind::Tensors, 0, fault);
        lines.end()?;
        let count = count(entries.len());
        if count != signed.list.count {
            return Err(whole(Fault::Count { found: count, signed: signed.list.count }));
        }
        let tree = if leaves.is_empty() {
            None
        } else {
            Some(Arc::new(ListTree::build(leaves).map_err(|_| whole(Fault::Root))?))
        };
        if tensors_root(tree.as_ref().map(|tree| tree.root()).as_ref()) != signed.root {
            return Err(whole(Fault::Root));
        }
        Ok(VerifiedTensorList { entries, tree })
    }
}

impl TensorLines<'_> {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        let before = self.entries.last();
        let entry = TensorEntry::parse_after(line, before).map_err(Fault::Line)?;
        if self.file.is_none_or(|f| f.path != entry.file) {
            let found = self.files.find(entry.file.as_str());
            self.file = found.map(|(_, f)| f).filter(|f| Format::of(f.path.as_str()).is_some());
        }
        let file = self.file.ok_or(Fault::NoSuchFile)?;
        if entry.offset.checked_add(entry.size).is_none_or(|end| end > file.size) {
            return Err(Fault::OutsideFile { size: file.size });
        }
        in_order(before.map(|b| (&b.file, &b.name)).as_ref(), &(&entry.file, &entry.name))?;
        self.leaves.push(EntryHash::of_line(line.as_bytes()));
        self.entries.push(entry);
        Ok(())
    }
}

impl VerifiedTensorList {
    /// All tensors, sorted by file and name.
    #[must_use]
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// The tensor of this name in this file, with its position.
    #[must_use]
    pub fn find(&self, file: &str, name: &str) -> Option<(usize, &TensorEntry)> {
        let wanted = (file, name);
        let place =
            self.entries.binary_search_by(|t| (t.file.as_str(), t.name.as_str()).cmp(&wanted)).ok()?;
        self.entries.get(place).map(|t| (place, t))
    }

    /// The tree over the lines; `None` if there are no lines.
    pub(crate) fn tree(&self) -> Option<&ListTree> {
        self.tree.as_deref()
    }

    /// The tensors of one file, sorted by name.
    #[must_use]
    pub fn of_file(&self, path: &str) -> &[TensorEntry] {
        let start = self.entries.partition_point(|t| t.file.as_str() < path);
        let end = self.entries.partition_point(|t| t.file.as_str() <= path);
        self.entries.get(start..end).unwrap_or_default()
    }
}

/// A written file list, with the values that the head states about it.
#[derive(Clone, Debug)]
pub struct WrittenFiles {
    /// The bytes of `files.jsonl`.
    pub text: String,
    /// The size of the list.
    pub list: ListSize,
    /// The sum of all file sizes.
    pub bytes: u64,
    /// The root that binds the list.
    pub root: ModelRoot,
}

/// A written tensor list, with the values that the head states about it.
#[derive(Clone, Debug)]
pub struct WrittenTensors {
    /// The bytes of `tensors.jsonl`.
    pub text: String,
    /// The size and the root of the list.
    pub tensors: Tensors,
}

/// Writes a file list. The entries may be in any order.
///
/// # Errors
/// [`ListError`] if a list of these entries could not be opened again.
pub fn write_files(mut entries: Vec<FileEntry>) -> Result<WrittenFiles, ListError> {
    let whole = |fault| ListError::at(ListKind::Files, 0, fault);
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let (text, leaves) = write_lines(ListKind::Files, &entries, FileEntry::parse, |a, b| a.path == b.path)?;
    no_path_is_a_parent(&entries).map_err(|number| ListError::at(ListKind::Files, number, Fault::Parent))?;
    if entries.windows(2).any(|pair| matches!(pair, [a, b] if a.sha256.is_some() != b.sha256.is_some())) {
        return Err(whole(Fault::MixedSha256));
    }
    let bytes = entries.iter().fold(0u64, |sum, e| sum.saturating_add(e.size));
    let list = ListSize { count: count(entries.len()), length: count(text.len()) };
    if bytes >= MAX_NUMBER {
        return Err(whole(Fault::TooLarge));
    }
    let root = root_of_files(leaves, bytes).ok_or_else(|| whole(Fault::NoTree { lines: list.count }))?;
    Ok(WrittenFiles { text, list, bytes, root })
}

/// Writes a tensor list. The entries may be in any order.
///
/// # Errors
/// [`ListError`] if a list of these entries could not be opened again. The entries' files are not checked.
pub fn write_tensors(mut entries: Vec<TensorEntry>) -> Result<WrittenTensors, ListError> {
    entries.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    let same = |a: &TensorEntry, b: &TensorEntry| (&a.file, &a.name) == (&b.file, &b.name);
    let (text, leaves) = write_lines(ListKind::Tensors, &entries, TensorEntry::parse, same)?;
    let list = ListSize { count: count(entries.len()), length: count(text.len()) };
    let root = root_of_tensors(leaves)
        .ok_or_else(|| ListError::at(ListKind::Tensors, 0, Fault::NoTree { lines: list.count }))?;
    Ok(WrittenTensors { text, tensors: Tensors { list, root } })
}

/// Reads each line back before it is written, because an entry can hold values that no line can express, such as a
/// number of 2^53.
fn write_lines<E: fmt::Display>(
    kind: ListKind,
    entries: &[E],
    parse: impl Fn(&str) -> Result<E, LineError>,
    same: impl Fn(&E, &E) -> bool,
) -> Result<(String, Vec<EntryHash>), ListError> {
    let mut text = String::new();
    let mut leaves = Vec::with_capacity(entries.len());
    let mut line = String::new();
    let mut before: Option<&E> = None;
    for (number, entry) in (1..).zip(entries) {
        if before.replace(entry).is_some_and(|before| same(before, entry)) {
            return Err(ListError::at(kind, number, Fault::Duplicate));
        }
        line.clear();
        // Writing into a String does not fail.
        let _ = write!(line, "{entry}");
        parse(&line).map_err(|error| ListError::at(kind, number, Fault::Line(error)))?;
        leaves.push(EntryHash::of_line(line.as_bytes()));
        text.push_str(&line);
        text.push('\n');
    }
    Ok((text, leaves))
}

/// Splits the incoming bytes of a list into lines. The length of the list is the signed one.
#[derive(Debug)]
struct Lines {
    kind: ListKind,
    /// The number of bytes that are still to come.
    left: u64,
    signed: u64,
    /// The number of complete lines read.
    number: u64,
    /// The beginning of an incomplete line, at most [`MAX_LINE`] bytes.
    begun: Vec<u8>,
}

impl Lines {
    fn new(kind: ListKind, found: u64, signed: u64) -> Result<Self, ListError> {
        if found != signed {
            return Err(ListError::length(kind, found, signed));
        }
        Ok(Self { kind, left: signed, signed, number: 0, begun: Vec::new() })
    }

    fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), Fault>,
    ) -> Result<(), ListError> {
        self.left = self.left.checked_sub(count(bytes.len())).ok_or_else(|| {
            ListError::length(self.kind, self.signed.saturating_add(count(bytes.len())), self.signed)
        })?;
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let number = self.number.saturating_add(1);
            let place = |fault| ListError::at(self.kind, number, fault);
            let (content, is_whole) = match piece.split_last() {
                Some((b'\n', content)) => (content, true),
                _ => (piece, false),
            };
            if self.begun.len().saturating_add(content.len()) > MAX_LINE {
                return Err(place(Fault::Line(LineError::TooLong)));
            }
            if !is_whole || !self.begun.is_empty() {
                self.begun.extend_from_slice(content);
            }
            if is_whole {
                let line = if self.begun.is_empty() { content } else { &self.begun };
                let text = core::str::from_utf8(line).map_err(|e| {
                    place(Fault::Line(LineError::NotCanonical { column: e.valid_up_to().saturating_add(1) }))
                })?;
                each(text).map_err(place)?;
                self.begun.clear();
                self.number = number;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), ListError> {
        if self.left > 0 {
            return Err(ListError::length(self.kind, self.signed.saturating_sub(self.left), self.signed));
        }
        if self.begun.is_empty() {
            return Ok(());
        }
        // The last line has no LF. It is not canonical at the place of the missing LF.
        let column = self.begun.len().saturating_add(1);
        let fault = Fault::Line(LineError::NotCanonical { column });
        Err(ListError::at(self.kind, self.number.saturating_add(1), fault))
    }
}

fn in_order<T: Ord>(before: Option<&T>, this: &T) -> Result<(), Fault> {
    match before.map(|before| before.cmp(this)) {
        None | Some(core::cmp::Ordering::Less) => Ok(()),
        Some(core::cmp::Ordering::Equal) => Err(Fault::Duplicate),
        Some(core::cmp::Ordering::Greater) => Err(Fault::Order),
    }
}

/// Checks that no path lies below another path. Otherwise, the error is the line of the first path that does, counted
/// from 1. The entries are sorted.
///
/// # Cost
/// One pass. A lookup of each parent would be quadratic in the length of hostile paths (rule 12).
fn no_path_is_a_parent(entries: &[FileEntry]) -> Result<(), u64> {
    // Every path that sorts between `a` and `a/b` begins with `a`. So `a` is still in `beginnings` when its child `a/b`
    // comes. Each beginning begins with the one before it. The parent is the last one, because a path after it would
    // have been refused as its child.
    let mut beginnings: Vec<&str> = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let path = entry.path.as_str();
        while beginnings.pop_if(|beginning| !path.starts_with(*beginning)).is_some() {}
        let rest = beginnings.last().and_then(|parent| path.strip_prefix(parent));
        if rest.is_some_and(|rest| rest.starts_with('/')) {
            return Err(number);
        }
        beginnings.push(path);
    }
    Ok(())
}

fn root_of_files(leaves: Vec<EntryHash>, bytes: u64) -> Option<ModelRoot> {
    list_root(leaves).ok().map(|tree| model_root(bytes, &tree))
}

fn root_of_tensors(leaves: Vec<EntryHash>) -> Option<TensorsRoot> {
    if leaves.is_empty() {
        return Some(tensors_root(None));
    }
    list_root(leaves).ok().map(|tree| tensors_root(Some(&tree)))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The kind of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// `files.jsonl`
    Files,
    /// `tensors.jsonl`
    Tensors,
}

impl fmt::Display for ListKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files.jsonl",
            Self::Tensors => "tensors.jsonl",
        })
    }
}

/// The reason why a list was refused. No part of it was returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListError {
    kind: ListKind,
    line: u64,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Length { found: u64, signed: u64 },
    Line(LineError),
    Order,
    Duplicate,
    Count { found: u64, signed: u64 },
    Sum { found: u64, signed: u64 },
    Root,
    NoSuchFile,
    OutsideFile { size: u64 },
    MixedSha256,
    Parent,
    NotSigned,
    NoTree { lines: u64 },
    TooLarge,
}

impl ListError {
    fn at(kind: ListKind, line: u64, fault: Fault) -> Self {
        Self { kind, line, fault }
    }

    /// The error for a list that is not read, because its length is not the signed one (rule 1).
    #[must_use]
    pub fn length(kind: ListKind, found: u64, signed: u64) -> Self {
        Self::at(kind, 0, Fault::Length { found, signed })
    }

    /// The kind of the refused list.
    #[must_use]
    pub fn list(&self) -> ListKind {
        self.kind
    }

    /// The line at fault, counted from 1; `None` if the whole list is at fault.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        (self.line > 0).then_some(self.line)
    }
}

impl Coded for ListError {
    fn error_code(&self) -> ErrorCode {
        match self.fault {
            Fault::Length { .. } | Fault::NotSigned => ErrorCode::LIST_LENGTH,
            Fault::Line(error) => error.error_code(),
            Fault::Order => ErrorCode::LIST_ORDER,
            Fault::Duplicate => ErrorCode::LIST_DUPLICATE,
            Fault::Count { .. } | Fault::NoTree { .. } => ErrorCode::LIST_COUNT,
            Fault::Sum { .. } | Fault::TooLarge => ErrorCode::LIST_SUM,
            Fault::Root => ErrorCode::LIST_ROOT,
            Fault::NoSuchFile => ErrorCode::LIST_NO_TENSOR_FILE,
            Fault::OutsideFile { .. } => ErrorCode::LIST_TENSOR_OUTSIDE_FILE,
            Fault::MixedSha256 => ErrorCode::LIST_MIXED_SHA256,
            Fault::Parent => ErrorCode::LIST_FILE_IS_PARENT,
        }
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(line) = self.line() {
            write!(f, ", line {line}")?;
        }
        match self.fault {
            Fault::Length { found, signed } => write!(f, ": {found} bytes, the head signs {signed}"),
            Fault::Line(error) => write!(f, ": {error}"),
            Fault::Order => f.write_str(": sorts before the line above it"),
            Fault::Duplicate => f.write_str(": the same entry twice"),
            Fault::Count { found, signed } => write!(f, ": {found} lines, the head signs {signed}"),
            Fault::Sum { found, signed } => write!(f, ": sizes add up to {found}, the head signs {signed}"),
            Fault::Root => f.write_str(": does not hash to the signed root"),
            Fault::NoSuchFile => f.write_str(": the tensor's file is not a listed tensor file"),
            Fault::OutsideFile { size } => {
                write!(f, ": the tensor does not lie within its file of {size} bytes")
            }
            Fault::MixedSha256 => f.write_str(": sha256 stands on some entries and not on others"),
            Fault::Parent => f.write_str(": the path lies below another file"),
            Fault::NotSigned => f.write_str(": the head binds no tensor list"),
            Fault::NoTree { lines } => write!(f, ": a list has 1 to {MAX_ENTRIES} lines, this one {lines}"),
            Fault::TooLarge => f.write_str(": sizes add up to 2^53 or more"),
        }
    }
}

impl core::error::Error for ListError {}
