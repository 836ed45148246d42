//! Turns a model folder into lists, layers and the head's text.

use std::{
    collections::{HashMap, HashSet},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use weighbridge_formats::{
    Format, MAX_LFS_POINTER, Parsed, TensorSpan, UnknownDtype,
    index::{self, Index, IndexError, Lookup, MAX_INDEX},
    split::{self, Part, Says},
};
use weighbridge_manifest::{
    DigestKind, Dtype, EntryPath, Ext, FileEntry, Head, HeadError, ListSize, ListedDigest, ModelName,
    TensorEntry, TensorName, Time, VerifiedHead, unseen_in, write_files, write_tensors,
};
use weighbridge_store::{
    CHUNKS, FILES, Found, Staging, Stamp, StoreError, TENSORS, TEXT, Walk, read_bounded,
    scan::{Job, ScanError, Scanned, Tensors},
    walk,
};
use weighbridge_tree::{ChainingValue, ChunkSize, FileRoot, ModelRoot, TensorHash};

use crate::{
    leftover,
    reading::{AfterPointer, is_pointer, read_all},
    refusal::{self, Refusal, RefusalFault},
    reuse::{Reuse, ReuseFault, Reused},
    weigh_error::{WeighError, refuse},
};

/// A weighing: the model folder, and the values of the head that the caller chooses.
///
/// # Example
/// ```
/// use weighbridge_manifest::{ModelName, Time};
/// use weighbridge_publish::{Existing, Sha256Listing, Staging, TensorListing, Weighing};
/// # let folder = weighbridge_testkit::Folder::with(&[("config.json", b"{}"), ("model.bin", b"weights")]);
/// # let model = folder.path();
///
/// let weighing = Weighing {
///     model,
///     name: ModelName::parse("example/tiny")?,
///     previous: None,
///     created: Time::parse("2026-11-20T16:31:00Z")?,
///     expires: None,
///     chunk_size: None,
///     tensors: TensorListing::List,
///     sha256: Sha256Listing::Omit,
///     ext: Vec::new(),
///     reuse: None,
///     take: None,
/// };
/// let weighed = weighing.weigh(&|_event| {})?;
/// assert_eq!((weighed.head.revision, weighed.head.bytes), (1, 9));
///
/// // The metadata come beside the model. To sign the head at once, write the note of a `Signing` as `head.note` too.
/// let staging = Staging::open(&model.join("weighbridge"), Existing::Keep)?;
/// weighed.write(&staging)?;
/// let lock = staging.lock()?;
/// weighed.check_unchanged()?;
/// staging.publish(lock)?;
/// assert_eq!(std::fs::read_to_string(model.join("weighbridge/head.txt"))?, weighed.text);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Weighing<'a> {
    /// The model folder.
    pub model: &'a Path,
    /// The model's name.
    pub name: ModelName,
    /// The previous revision, if there is one.
    pub previous: Option<Previous>,
    /// The time at which the head is made.
    pub created: Time,
    /// The time at which the head expires; `None` if it never does.
    pub expires: Option<Time>,
    /// The unit of verification; by default chosen by the sizes of the files.
    pub chunk_size: Option<ChunkSize>,
    /// Whether tensors are listed.
    pub tensors: TensorListing,
    /// Whether the file list has SHA-256 hashes.
    pub sha256: Sha256Listing,
    /// Further lines of the head.
    pub ext: Vec<Ext>,
    /// The earlier release whose files are taken over unread, if there is one.
    pub reuse: Option<Reuse<'a>>,
    /// Selects files, by path, that are weighed although they are leftovers or Git LFS pointers; `None` selects none.
    pub take: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
}

/// Whether tensors are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorListing {
    /// Every tensor of every tensor file is listed. A file with an unknown dtype lists none of its tensors; a
    /// malformed file is an error.
    List,
    /// No tensor is listed: the head says `tensors none`.
    Omit,
}

/// Whether the file list has SHA-256 hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sha256Listing {
    /// The list has no SHA-256 hashes.
    Omit,
    /// The list has the SHA-256 hash of every file. One thread then hashes each file.
    List,
}

/// The release before this one.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The head id of the previous release.
    pub id: weighbridge_tree::HeadId,
    /// The revision of the previous release.
    pub revision: u64,
    /// The model's name in the previous release.
    pub name: ModelName,
}

impl From<&VerifiedHead> for Previous {
    fn from(head: &VerifiedHead) -> Self {
        Self { id: head.id(), revision: head.head().revision, name: head.head().name.clone() }
    }
}

/// A step of a weighing. Events come from many threads.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// This number of bytes will be read.
    Total(u64),
    /// This number of further bytes was read and hashed.
    Read(u64),
    /// This file was taken over unread.
    Reused(&'a EntryPath),
    /// This place, relative to the model folder, was not looked into, because models have nothing there.
    LeftOut(&'a str),
}

/// A weighed model: its metadata without the signatures.
#[derive(Debug)]
pub struct Weighed {
    /// The values of the head.
    pub head: Head,
    /// The exact bytes to sign.
    pub text: String,
    /// The bytes of `files.jsonl`.
    pub files: String,
    /// The bytes of `tensors.jsonl`; `None` if tensors are not listed.
    pub tensors: Option<String>,
    /// The layers of all files that have more than one chunk, in list order.
    pub layers: Vec<Vec<ChainingValue>>,
    /// The tensor files, by path, none of whose tensors is listed, with the reason. Files that were taken over unread
    /// are not among them.
    pub unlisted: Vec<(EntryPath, UnknownDtype)>,
    /// The files that were read, with the state in which they were read.
    pub read: Vec<(EntryPath, PathBuf, Stamp)>,
}

impl Weighed {
    /// Writes everything that was weighed, except the note.
    ///
    /// # Errors
    /// [`StoreError::Io`] if something cannot be written.
    pub fn write(&self, staging: &Staging) -> Result<(), StoreError> {
        staging.write(FILES, |w| w.write_all(self.files.as_bytes()))?;
        if let Some(tensors) = &self.tensors {
            staging.write(TENSORS, |w| w.write_all(tensors.as_bytes()))?;
        }
        staging.write(CHUNKS, |w| {
            self.layers.iter().flatten().try_for_each(|value| w.write_all(value.as_bytes()))
        })?;
        staging.write(TEXT, |w| w.write_all(self.text.as_bytes()))
    }

    /// Checks that the files that were read have not changed since. Hold a lock on the folder
    /// ([`Staging::lock`](crate::Staging::lock)), so that no fetch changes the files between this call and
    /// publishing.
    ///
    /// # Errors
    /// [`WeighError::Scan`] (2106) for the first file that has changed.
    pub fn check_unchanged(&self) -> Result<(), WeighError> {
        match self.read.iter().find(|(_, file, stamp)| !stamp.is_of(file)) {
            Some((path, ..)) => Err(WeighError::Scan { path: Some(path.clone()), error: ScanError::Changed }),
            None => Ok(()),
        }
    }
}

impl Weighing<'_> {
    /// Reads the model once, on all threads of the current rayon pool.
    ///
    /// # Errors
    /// [`WeighError`] for the first fault; but [`WeighError::Refused`] collects all refusals by names, or all Git LFS
    /// pointers. Nothing is written anywhere.
    ///
    /// # Cost
    /// One BLAKE3 pass over all bytes, and a second over those of tensors if tensors are listed. Memory does not grow
    /// with the model, except for lists and layers.
    pub fn weigh(&self, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Weighed, WeighError> {
        let _ = self.place()?;
        let found = self.walk(tell)?;
        let chunk_size = self.chunk_size(&found)?;
        let entries = self.entries(&found, chunk_size, tell)?;
        self.assemble(&found, chunk_size, entries)
    }

    /// Weighs files that were read already, in the order of path bytes. They may lie anywhere; the model folder is not looked
    /// at. Each was scanned with the [chunk size](Self::chunk_size_of) and [tensors](Self::tensors_of) of this weighing.
    ///
    /// # Errors
    /// [`WeighError`], as [`weigh`](Self::weigh); leftovers and Git LFS pointers are not refused.
    ///
    /// # Cost
    /// Index files are read again.
    pub fn weigh_read(&self, read: Vec<(Found, Scanned)>) -> Result<Weighed, WeighError> {
        let (mut found, mut entries) = (Vec::new(), Vec::new());
        for (file, scanned) in read {
            let mut entry = WeighedFile::new(&file, scanned)?;
            // The digest of a scan may be one that only some files have.
            entry.file.sha256 = entry.file.sha256.filter(|_| self.sha256 == Sha256Listing::List);
            entries.push(entry);
            found.push(file);
        }
        Self::check_paths(found.iter().map(|file| &file.path))?;
        if found.is_empty() {
            return Err(WeighError::Empty);
        }
        self.assemble(&found, self.chunk_size(&found)?, entries)
    }

    /// The unit of verification for files of these lengths, unless the caller chose one.
    pub fn chunk_size_of(&self, sizes: impl IntoIterator<Item = u64>) -> ChunkSize {
        self.chunk_size.unwrap_or_else(|| ChunkSize::default_for(sizes))
    }

    /// Checks that a head can hold the values that the caller chose, before anything is read.
    ///
    /// # Errors
    /// [`HeadError`], for the shortest head with these values.
    pub fn check_head(&self) -> Result<(), HeadError> {
        let shortest = Head {
            name: self.name.clone(),
            revision: 1,
            previous: None,
            created: self.created,
            expires: self.expires,
            bytes: 0,
            files: ListSize { count: 1, length: 1 },
            // Any root will do: all have the same length.
            root: ModelRoot::from_bytes([0xff; 32]),
            tensors: None,
            chunk_size: ChunkSize::MIN,
            ext: self.ext.clone(),
        };
        shortest.to_text().map(drop)
    }

    /// Refuses paths that other systems take for the same, or cannot have.
    ///
    /// # Errors
    /// [`WeighError::Refused`], with all of them.
    pub fn check_paths<'p>(paths: impl Iterator<Item = &'p EntryPath> + Clone) -> Result<(), WeighError> {
        refuse(refusal::of_paths(paths))
    }

    /// What a scan has to look for in the file of this path.
    #[must_use]
    pub fn tensors_of(&self, path: &str) -> Tensors {
        match (self.tensors, Format::of(path)) {
            (TensorListing::List, Some(format)) => Tensors::Hash(format),
            _ => Tensors::Ignore,
        }
    }

    /// Makes the lists, the layers and the head's text of files that were read or taken over.
    fn assemble(
        &self,
        found: &[Found],
        chunk_size: ChunkSize,
        mut entries: Vec<WeighedFile>,
    ) -> Result<Weighed, WeighError> {
        let (revision, previous) = self.place()?;
        check_indexes(found, &entries, self.tensors)?;
        check_splits(&entries, self.tensors)?;
        let layers =
            entries.iter_mut().map(|e| std::mem::take(&mut e.layer)).filter(|l| !l.is_empty()).collect();
        let read = found.iter().zip(&entries).filter_map(|(found, entry)| match &entry.source {
            Source::Read(stamp) => Some((found.path.clone(), found.file.to_path_buf(), stamp.clone())),
            Source::Reused => None,
        });
        let read = read.collect();
        let unlisted =
            entries.iter().filter_map(|e| Some((e.file.path.clone(), e.unknown.clone()?))).collect();
        let tensors = match self.tensors {
            TensorListing::List => {
                let all = entries.iter_mut().flat_map(|e| std::mem::take(&mut e.tensors)).collect();
                Some(write_tensors(all).map_err(WeighError::List)?)
            }
            TensorListing::Omit => None,
        };
        let files = write_files(entries.into_iter().map(|e| e.file).collect()).map_err(WeighError::List)?;
        let head = Head {
            name: self.name.clone(),
            revision,
            previous,
            created: self.created,
            expires: self.expires,
            bytes: files.bytes,
            files: files.list,
            root: files.root,
            tensors: tensors.as_ref().map(|t| t.tensors),
            chunk_size,
            ext: self.ext.clone(),
        };
        let text = head.to_text().map_err(WeighError::Head)?;
        Ok(Weighed {
            head,
            text,
            files: files.text,
            tensors: tensors.map(|t| t.text),
            layers,
            unlisted,
            read,
        })
    }

    /// The revision of this release, and the id of the previous head.
    fn place(&self) -> Result<(u64, Option<weighbridge_tree::HeadId>), WeighError> {
        let Some(previous) = &self.previous else { return Ok((1, None)) };
        if previous.name != self.name {
            return Err(WeighError::OtherModel { name: previous.name.clone() });
        }
        Ok((previous.revision.saturating_add(1), Some(previous.id)))
    }

    fn walk(&self, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Vec<Found>, WeighError> {
        let Walk { files, unfit, unread, left_out, .. } = walk(self.model).map_err(WeighError::Io)?;
        left_out.iter().for_each(|place| tell(Event::LeftOut(place)));
        let unfit =
            unfit.into_iter().map(|u| Refusal { place: u.place, fault: RefusalFault::Unfit(u.fault) });
        let mut refused: Vec<Refusal> = unfit.collect();
        refused.extend(refusal::of_paths(files.iter().map(|f| &f.path)));
        refused.extend(leftover::among(files.iter().map(|f| &f.path).filter(|path| !self.takes(path))));
        refuse(refused)?;
        if let Some(unread) = unread.into_iter().next() {
            return Err(WeighError::Io(unread.error));
        }
        if files.is_empty() {
            return Err(WeighError::Empty);
        }
        Ok(files)
    }

    /// Whether the caller wants this file weighed even if it is a leftover or a pointer.
    fn takes(&self, path: &EntryPath) -> bool {
        self.take.is_some_and(|take| take(path.as_str()))
    }

    fn chunk_size(&self, found: &[Found]) -> Result<ChunkSize, WeighError> {
        let earlier = self.reuse.as_ref().map(|reuse| reuse.files.chunk_size());
        match (self.chunk_size, earlier) {
            (Some(wanted), Some(earlier)) if wanted != earlier => {
                Err(WeighError::Reuse { path: None, fault: ReuseFault::ChunkSize { earlier } })
            }
            (_, Some(earlier)) => Ok(earlier),
            (Some(wanted), None) => Ok(wanted),
            (None, None) => Ok(self.chunk_size_of(found.iter().map(|f| f.size))),
        }
    }

    /// The entries of all files, by path, taken over or read.
    fn entries(
        &self,
        found: &[Found],
        chunk_size: ChunkSize,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Vec<WeighedFile>, WeighError> {
        let mut entries: Vec<Option<WeighedFile>> = Vec::new();
        let mut jobs = Vec::new();
        for file in found {
            let reused =
                self.reuse.as_ref().map_or(Ok(None), |reuse| reuse.take(file, self.tensors, self.sha256));
            let reused =
                reused.map_err(|fault| WeighError::Reuse { path: Some(file.path.clone()), fault })?;
            if reused.is_none() {
                let digest = (self.sha256 == Sha256Listing::List).then_some(DigestKind::Sha256);
                let job = Job::of(file.file.clone(), file.size, self.tensors_of(file.path.as_str()));
                let job = Job { digest, ..job };
                jobs.push((entries.len(), job));
            } else {
                tell(Event::Reused(&file.path));
            }
            entries.push(reused.map(WeighedFile::from));
        }
        if self.reuse.is_some() && jobs.len() == found.len() {
            return Err(WeighError::Reuse { path: None, fault: ReuseFault::Nothing });
        }
        tell(Event::Total(jobs.iter().fold(0, |sum, (_, job)| sum.saturating_add(job.size))));
        // Git LFS pointers are all refused in one run, before hours of reading.
        let may_be_pointer = |(_, job): &(usize, Job)| job.size <= MAX_LFS_POINTER;
        let (small, large): (Vec<_>, Vec<_>) = jobs.into_iter().partition(may_be_pointer);
        for (jobs, next) in [(small, AfterPointer::GoOn), (large, AfterPointer::Stop)] {
            let mut pointers = Vec::new();
            for (place, scanned) in self.read(jobs, found, chunk_size, next, tell)? {
                let (Some(file), Some(entry)) = (found.get(place), entries.get_mut(place)) else { continue };
                match scanned {
                    Some(scanned) => *entry = Some(WeighedFile::new(file, scanned)?),
                    None => pointers.push(Refusal::of(&file.path, RefusalFault::LfsPointer)),
                }
            }
            refuse(pointers)?;
        }
        // Every job has a result unless there was an error. A list that omits a file must not be signed as complete.
        let all: Option<Vec<WeighedFile>> = entries.into_iter().collect();
        all.ok_or(WeighError::Incomplete)
    }

    /// The result of each job, with the file's position in `found`; `None` for a Git LFS pointer that the caller did
    /// not choose to weigh.
    fn read(
        &self,
        jobs: Vec<(usize, Job)>,
        found: &[Found],
        chunk_size: ChunkSize,
        next: AfterPointer,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Vec<(usize, Option<Scanned>)>, WeighError> {
        let (places, jobs): (Vec<usize>, Vec<Job>) = jobs.into_iter().unzip();
        let results = read_all(&jobs, chunk_size, next, tell);
        let (mut read, mut incomplete) = (Vec::new(), false);
        for (place, result) in places.into_iter().zip(results) {
            let path = found.get(place).map(|file| &file.path);
            let taken = path.is_some_and(|path| self.takes(path));
            match result {
                Some(Ok(scanned)) => read.push((place, Some(scanned).filter(|s| taken || !s.is_lfs_pointer))),
                Some(Err(error)) if is_pointer(&error) && next == AfterPointer::GoOn && !taken => {
                    read.push((place, None));
                }
                Some(Err(error)) => return Err(WeighError::Scan { path: path.cloned(), error }),
                // The fault of another file ended the scan; that fault follows.
                None => incomplete = true,
            }
        }
        if incomplete { Err(WeighError::Incomplete) } else { Ok(read) }
    }
}

/// The entry, tensors and layer of one file that was read or taken over.
struct WeighedFile {
    source: Source,
    file: FileEntry,
    tensors: Vec<TensorEntry>,
    /// The tensor names in a header whose tensors are not listed; `unknown` has the reason.
    unlisted: Vec<String>,
    unknown: Option<UnknownDtype>,
    says: Says,
    /// Empty for a file of at most one chunk.
    layer: Vec<ChainingValue>,
}

/// The origin of an entry.
enum Source {
    Read(Stamp),
    Reused,
}

impl From<Reused> for WeighedFile {
    fn from(reused: Reused) -> Self {
        let Reused { file, tensors, layer } = reused;
        let (unlisted, unknown) = (Vec::new(), None);
        Self { source: Source::Reused, file, tensors, unlisted, unknown, says: Says::Unread, layer }
    }
}

impl WeighedFile {
    fn new(file: &Found, read: Scanned) -> Result<Self, WeighError> {
        let (spans, unlisted, unknown, split) = match read.parsed {
            Some(Parsed::Tensors { tensors, split, .. }) => (tensors, Vec::new(), None, split),
            Some(Parsed::UnknownDtype { dtype, names, split }) => (Vec::new(), names, Some(dtype), split),
            Some(Parsed::NeedPrefix(_)) => return Err(WeighError::Incomplete),
            None => (Vec::new(), Vec::new(), None, None),
        };
        let hashes = read.tensor_hashes.unwrap_or_default();
        if spans.len() != hashes.len() {
            return Err(WeighError::Incomplete);
        }
        let pairs = spans.into_iter().zip(hashes);
        let tensors = pairs.map(|(span, hash)| tensor(&file.path, span, hash)).collect::<Result<_, _>>()?;
        let sha256 = read.digest.and_then(ListedDigest::sha256);
        let entry = FileEntry { path: file.path.clone(), size: file.size, root: read.root, sha256 };
        let says = split.map_or(Says::Whole, Says::Part);
        Ok(Self {
            source: Source::Read(read.stamp),
            file: entry,
            tensors,
            unlisted,
            unknown,
            says,
            layer: read.values,
        })
    }

    /// The names of all known tensors of the file, listed or not.
    fn names(&self) -> impl Iterator<Item = &str> {
        let listed = self.tensors.iter().map(|tensor| tensor.name.as_str());
        listed.chain(self.unlisted.iter().map(String::as_str))
    }

    /// Whether the file may hold tensors with unknown names: its header was not read, and none of its tensors is
    /// listed.
    fn may_hold_others(&self) -> bool {
        let is_read = matches!(self.source, Source::Read(_));
        !is_read && self.tensors.is_empty() && Format::of(self.file.path.as_str()).is_some()
    }
}

fn tensor(file: &EntryPath, span: TensorSpan, hash: TensorHash) -> Result<TensorEntry, WeighError> {
    let refused = |fault| WeighError::TensorName { path: file.clone(), name: span.name.clone(), fault };
    let name = TensorName::parse(&span.name).map_err(refused)?;
    if let Some(character) = unseen_in(name.as_str()) {
        return Err(WeighError::Unseen { path: file.clone(), tensor: span.name, character });
    }
    Ok(TensorEntry {
        name,
        file: file.clone(),
        // The formats return only known dtypes, and every known dtype can stand in a list.
        dtype: Dtype::parse(&span.dtype).ok_or(WeighError::Incomplete)?,
        shape: span.shape,
        offset: span.offset,
        size: span.size,
        hash,
    })
}

/// Compares each index with the files that it names, and with the tensors of those files whose headers are known.
fn check_indexes(found: &[Found], entries: &[WeighedFile], tensors: TensorListing) -> Result<(), WeighError> {
    let is_index = |(f, _): &(&Found, &WeighedFile)| index::is_index(f.path.as_str());
    let mut indexes = found.iter().zip(entries).filter(is_index).peekable();
    if indexes.peek().is_none() {
        return Ok(());
    }
    let held: HashMap<&str, (&WeighedFile, HashSet<&str>)> =
        entries.iter().map(|e| (e.file.path.as_str(), (e, e.names().collect()))).collect();
    for (file, entry) in indexes {
        let refused = |error| WeighError::Index { path: file.path.clone(), error };
        let index = Index::parse(&read_again(file, entry)?).map_err(refused)?;
        let look_up = |path: &str, name: &str| match held.get(path) {
            None => Lookup::NoFile,
            Some(_) if tensors == TensorListing::Omit => Lookup::Tensor,
            Some((entry, names)) if names.contains(name) || entry.may_hold_others() => Lookup::Tensor,
            Some(_) => Lookup::NoTensor,
        };
        index.check(file.path.as_str(), look_up).map_err(refused)?;
    }
    Ok(())
}

/// Compares the parts of each split GGUF model with each other, if tensors are listed. `entries` must be sorted by
/// path.
fn check_splits(entries: &[WeighedFile], tensors: TensorListing) -> Result<(), WeighError> {
    if tensors == TensorListing::Omit {
        return Ok(());
    }
    let of_gguf = |entry: &&WeighedFile| Format::of(entry.file.path.as_str()) == Some(Format::Gguf);
    let entries: Vec<&WeighedFile> = entries.iter().filter(of_gguf).collect();
    let mut parts = Vec::new();
    for entry in &entries {
        let tensors = entry.names().collect();
        parts.push(Part { path: entry.file.path.as_str(), says: entry.says, tensors });
    }
    split::check(&parts).map_err(|refused| match entries.get(refused.file) {
        Some(entry) => WeighError::Split { path: entry.file.path.clone(), error: refused.error },
        None => WeighError::Incomplete,
    })
}

/// Reads a weighed file again. The bytes are verified again (rule 10).
fn read_again(file: &Found, entry: &WeighedFile) -> Result<Vec<u8>, WeighError> {
    let path = || file.path.clone();
    let bytes = read_bounded(&file.file, MAX_INDEX).map_err(|error| match error.source.kind() {
        ErrorKind::FileTooLarge => WeighError::Index { path: path(), error: IndexError::TooLong },
        _ => WeighError::Io(error),
    })?;
    match entry.source {
        _ if FileRoot::of(&bytes) == entry.file.root => Ok(bytes),
        Source::Read(_) => Err(WeighError::Scan { path: Some(path()), error: ScanError::Changed }),
        Source::Reused => Err(WeighError::Reuse { path: Some(path()), fault: ReuseFault::Index }),
    }
}
