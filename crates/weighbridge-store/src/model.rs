//! Compares a model folder with its verified lists.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::{ControlFlow, Range},
    path::Path,
    sync::Mutex,
};

use weighbridge_formats::{Format, FormatError, Parsed, UnknownDtype};
use weighbridge_manifest::{EntryPath, FileEntry, TensorEntry, VerifiedFileList, VerifiedTensorList, shown};
use weighbridge_tree::{Coded, ErrorCode, FileRoot, Grid, Layer, LayerError, TensorHash};

use crate::{
    io::IoError,
    metadata::{Layers, LayersError},
    scan::{Header, Job, ScanError, Scanned, Tensors, Watch, lock, scan},
    tensors::{Difference, TensorFault, compare},
    walk::{UnfitFault, Walk, walk},
};

/// A check of a model folder against verified lists. Every setting comes from the caller (rule 9).
///
/// # Example
/// ```
/// use std::sync::Mutex;
/// use weighbridge_store::{Event, ExtraFiles, ModelCheck, Outcome, TensorHashing};
/// # use weighbridge_testkit::{Draft, Folder, bytes};
/// # let content = [("config.json", bytes(100, 1)), ("model.bin", bytes(40_000, 2))];
/// # let signed = Draft::of(&content, weighbridge_verify::tree::ChunkSize::MIN).sign();
/// # let (folder, files) = (Folder::of(&content), &signed.files);
/// # let layers = signed.metadata.layers(files)?;
/// # folder.alter("model.bin", |bytes| bytes[20_000] ^= 1);
/// # folder.write("extra.py", b"print()");
///
/// // `files` is the verified list, `layers` what `Metadata::layers` has opened. A bit of `model.bin` has flipped, and
/// // `extra.py` was signed by nobody.
/// let check = ModelCheck {
///     model: folder.path(),
///     files,
///     tensors: None,
///     layers: layers.as_ref(),
///     only: None,
///     tensor_hashes: TensorHashing::Skip,
///     extra: ExtraFiles::Refuse,
/// };
/// let refused = Mutex::new(Vec::new());
/// let summary = check.run(&|event| match event {
///     Event::File(file) if matches!(file.outcome, Outcome::Refused(_)) => {
///         refused.lock().unwrap().push(file.path.clone());
///     }
///     _ => {}
/// })?;
/// assert_eq!((summary.verified, summary.refused), (1, 2));
/// assert_eq!(*refused.lock().unwrap(), ["model.bin", "extra.py"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ModelCheck<'a> {
    /// The model folder.
    pub model: &'a Path,
    /// The verified file list.
    pub files: &'a VerifiedFileList,
    /// The verified tensor list, if the head binds one.
    pub tensors: Option<&'a VerifiedTensorList>,
    /// The chunk layers, if they are published. A layer tells which chunks of a bad file are bad.
    pub layers: Option<&'a Layers>,
    /// Selects the files to look at, by path; `None` selects all.
    pub only: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
    /// Whether to hash each tensor too.
    pub tensor_hashes: TensorHashing,
    /// Whether files that are not listed are refused. Links out of the model and special files are always refused.
    pub extra: ExtraFiles,
}

/// Whether a check hashes each tensor too. The file's root already covers every byte; tensor hashes check the tensor
/// list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorHashing {
    /// Tensors are not hashed.
    Skip,
    /// Each tensor is hashed; a listed hash that differs is a refusal.
    Check,
}

/// Whether files that are not listed are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraFiles {
    /// Files that are not listed are refused.
    Refuse,
    /// Files that are not listed are reported, and not refused.
    Report,
}

/// A step of a check. Events come from many threads; those about files come one at a time, in list order.
#[derive(Debug)]
pub enum Event<'a> {
    /// This number of further bytes was read and hashed.
    Read(u64),
    /// The result of one file.
    File(&'a FileReport),
}

/// The result of checking one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file's path in the model.
    pub path: String,
    /// The file's length in bytes: the listed length, if the file is listed.
    pub size: u64,
    /// The number of chunks of the file.
    pub chunks: u64,
    /// Whether the file is as signed.
    pub outcome: Outcome,
    /// For a tensor file whose bytes are as signed, while tensors are listed: the reason why its header was not
    /// compared with the tensor list. Not a refusal: the file's root is the authority over its bytes (rule 13).
    pub uncompared: Option<Uncompared>,
}

/// The reason why the verified header of a tensor file was not compared with the tensor list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncompared {
    /// No tensor of the file is listed: the signer covered it as a file, as signers do with a dtype that they do not
    /// know.
    NotListed,
    /// The header has a dtype that this version does not know. The list may be right; the check cannot tell.
    UnknownDtype(UnknownDtype),
}

/// Whether a file is as signed.
#[derive(Debug)]
pub enum Outcome {
    /// The whole file is as signed.
    Verified,
    /// The file is not listed, and the caller or the specification permits that.
    Extra,
    /// The place is not listed, and was not looked into because models have nothing there (`None`); or it could not
    /// be looked at, for this reason, and the caller permits files that are not listed.
    LeftOut(Option<IoError>),
    /// The file is refused for these reasons, at least one.
    Refused(Vec<FileFault>),
    /// The file could not be read.
    Unknown(IoError),
}

/// The reason why a file is refused.
#[non_exhaustive]
#[derive(Debug)]
pub enum FileFault {
    /// The file is listed and absent.
    Missing,
    /// The file is present and not listed.
    Extra,
    /// The thing on disk cannot be part of a model.
    Unfit(UnfitFault),
    /// The file has another length than the listed one.
    Length {
        /// The listed length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// The file's bytes do not give the signed root.
    Mismatch {
        /// The chunks that differ, if a layer tells which.
        chunks: Option<BadChunks>,
        /// Another listed file that has exactly these bytes, if there is one.
        bytes_of: Option<EntryPath>,
    },
    /// The file changed while it was read.
    Changed,
    /// The file's published layer does not merge to the file's root.
    Layer(LayerError),
    /// The file's verified header is malformed, and tensors of the file are listed.
    Format(FormatError),
    /// The tensor list differs from the file's verified header or bytes.
    Tensor(TensorFault),
}

/// The chunks of a file that differ from the signed ones.
#[derive(Clone, Debug)]
pub struct BadChunks {
    /// Runs of neighbouring bad chunks, by position.
    pub runs: Vec<BadRun>,
    /// The number of bad chunks.
    pub bad: u64,
    /// The number of chunks of the file.
    pub of: u64,
}

/// A run of bad chunks.
#[derive(Clone, Debug)]
pub struct BadRun {
    /// The positions of the first and the last chunk.
    pub chunks: (u64, u64),
    /// The byte range of the run.
    pub bytes: Range<u64>,
    /// The tensors that have bytes in this range, by offset.
    pub tensors: Vec<TensorEntry>,
}

/// The totals of a whole check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Summary {
    /// The number of files that are as signed.
    pub verified: u64,
    /// The sum of the sizes of the files that are as signed, in bytes.
    pub bytes: u64,
    /// The number of files that are refused.
    pub refused: u64,
    /// The number of files that could not be read.
    pub unknown: u64,
    /// The number of files that are as signed and [`Uncompared`].
    pub uncompared: u64,
}

impl ModelCheck<'_> {
    /// Reads the model once, on all threads of the current rayon pool, and reports on every file.
    ///
    /// # Errors
    /// [`IoError`] if the folder cannot be listed. Faults of single files are reported and counted instead.
    ///
    /// # Cost
    /// One BLAKE3 pass over all bytes, two with tensor hashes. Memory does not grow with the model, except for the
    /// lists.
    pub fn run(&self, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Summary, IoError> {
        let found = walk(self.model)?;
        let wanted = |path: &str| self.only.is_none_or(|only| only(path));
        let (mut jobs, mut places, mut decided) = (Vec::new(), Vec::new(), Vec::new());
        let selected = || self.files.entries().iter().enumerate().filter(|(_, e)| wanted(e.path.as_str()));
        for (order, (position, entry)) in selected().enumerate() {
            match self.before_reading(position, entry, &found) {
                Ok(job) => {
                    jobs.push(job);
                    places.push((order, position));
                }
                Err(report) => decided.push((order, *report)),
            }
        }
        let listed = selected().count();
        decided.extend((listed..).zip(self.unlisted(&found, &wanted)));
        let reports = Reports { state: Mutex::default(), tell };
        for (order, report) in decided {
            reports.put(order, report);
        }
        let by_root = self.files.entries().iter().map(|e| (e.root, &e.path)).collect();
        let watch = ScanReporter { check: self, places, by_root, reports: &reports };
        scan(&jobs, self.files.chunk_size(), &watch);
        Ok(reports.summary())
    }

    /// Returns the job that reads a listed file; or the file's report, if the file is refused or unknown without
    /// being read.
    fn before_reading(
        &self,
        position: usize,
        entry: &FileEntry,
        found: &Walk,
    ) -> Result<Job, Box<FileReport>> {
        let at = found.files.binary_search_by(|f| f.path.cmp(&entry.path)).ok();
        let Some(file) = at.and_then(|at| found.files.get(at)) else {
            if let Some(unread) = found.unread_at(entry.path.as_str()) {
                return Err(Box::new(self.report_of(entry, Outcome::Unknown(unread.error.again()))));
            }
            let unfit = found.unfit_at(entry.path.as_str());
            let fault = unfit.map_or(FileFault::Missing, |u| FileFault::Unfit(u.fault.clone()));
            return Err(Box::new(self.unread(position, entry, fault)));
        };
        if file.size != entry.size {
            let fault = FileFault::Length { expected: entry.size, actual: file.size };
            return Err(Box::new(self.unread(position, entry, fault)));
        }
        Ok(Job::of(file.file.clone(), entry.size, self.tensors_of(entry)))
    }

    fn tensors_of(&self, entry: &FileEntry) -> Tensors {
        let (Some(list), Some(format)) = (self.tensors, Format::of(entry.path.as_str())) else {
            return Tensors::Ignore;
        };
        match self.tensor_hashes {
            TensorHashing::Skip => Tensors::Header(format),
            TensorHashing::Check => {
                let tensors = by_offset(list.of_file(entry.path.as_str()));
                Tensors::HashListed(format, tensors.iter().map(|t| range(t)).collect())
            }
        }
    }

    /// Reports on every selected thing in the folder that is not listed.
    fn unlisted(&self, found: &Walk, wanted: &dyn Fn(&str) -> bool) -> Vec<FileReport> {
        let is_listed = |path: &str| self.files.find(path).is_some();
        let extra = found.files.iter().filter(|f| !is_listed(f.path.as_str())).map(|f| {
            let hub = f.path.as_str() == ".gitattributes";
            let passes = hub || self.extra == ExtraFiles::Report;
            let outcome = if passes { Outcome::Extra } else { Outcome::Refused(vec![FileFault::Extra]) };
            FileReport {
                path: f.path.as_str().to_owned(),
                size: f.size,
                chunks: 0,
                outcome,
                uncompared: None,
            }
        });
        let unlisted = |place: &String, outcome| FileReport {
            path: place.clone(),
            size: 0,
            chunks: 0,
            outcome,
            uncompared: None,
        };
        let unfit = found.unfit.iter().filter(|u| !u.has_path() || !is_listed(&u.place));
        let unfit =
            unfit.map(|u| unlisted(&u.place, Outcome::Refused(vec![FileFault::Unfit(u.fault.clone())])));
        let unread = found.unread.iter().filter(|u| !is_listed(&u.place)).map(|u| {
            let passes = self.extra == ExtraFiles::Report && !u.is_link;
            let error = u.error.again();
            unlisted(&u.place, if passes { Outcome::LeftOut(Some(error)) } else { Outcome::Unknown(error) })
        });
        let left_out = found.left_out.iter().map(|place| unlisted(place, Outcome::LeftOut(None)));
        let all = extra.chain(unfit).chain(unread).chain(left_out);
        let mut reports: Vec<FileReport> = all.filter(|report| wanted(&report.path)).collect();
        reports.sort_by(|a, b| a.path.cmp(&b.path));
        reports
    }

    /// Reports on a file whose bytes were not judged. The file's layer is judged all the same.
    fn unread(&self, position: usize, entry: &FileEntry, fault: FileFault) -> FileReport {
        let mut faults = vec![fault];
        // A layer that cannot be read adds nothing: the file is refused already.
        if let Err(LayersError::Layer(error)) = self.layer(position) {
            faults.push(FileFault::Layer(error));
        }
        self.report(entry, faults)
    }

    fn layer(&self, position: usize) -> Result<Option<Layer>, LayersError> {
        self.layers.map(|layers| layers.of(self.files, position)).transpose()
    }

    fn report(&self, entry: &FileEntry, faults: Vec<FileFault>) -> FileReport {
        let outcome = if faults.is_empty() { Outcome::Verified } else { Outcome::Refused(faults) };
        self.report_of(entry, outcome)
    }

    fn report_of(&self, entry: &FileEntry, outcome: Outcome) -> FileReport {
        let chunks = Grid::new(entry.size, self.files.chunk_size()).map_or(0, Grid::count);
        FileReport {
            path: entry.path.as_str().to_owned(),
            size: entry.size,
            chunks,
            outcome,
            uncompared: None,
        }
    }

    /// Compares the result of reading a file with its entry, layer and tensors.
    fn judge(&self, position: usize, entry: &FileEntry, read: &Scanned, by_root: &ByRoot<'_>) -> FileReport {
        let mut faults = Vec::new();
        let layer = match self.layer(position) {
            Ok(layer) => layer,
            Err(LayersError::Layer(error)) => {
                faults.push(FileFault::Layer(error));
                None
            }
            Err(LayersError::Io(error)) => return self.report_of(entry, Outcome::Unknown(error)),
        };
        if read.root != entry.root {
            let chunks = layer.and_then(|layer| self.bad_chunks(entry, &layer, read));
            let bytes_of = by_root.get(&read.root).map(|path| (*path).clone());
            faults.insert(0, FileFault::Mismatch { chunks, bytes_of });
            return self.report(entry, faults);
        }
        let mut uncompared = None;
        if let Some(list) = self.tensors
            && Format::of(entry.path.as_str()).is_some()
        {
            let listed = list.of_file(entry.path.as_str());
            let compared = compare_header(listed, read.header.as_ref());
            uncompared = compared.as_ref().ok().cloned().flatten();
            let hashes = || hash_fault(listed, read.tensor_hashes.as_deref(), self.tensor_hashes);
            faults.extend(compared.err().or_else(hashes));
        }
        FileReport { uncompared, ..self.report(entry, faults) }
    }

    fn bad_chunks(&self, entry: &FileEntry, layer: &Layer, read: &Scanned) -> Option<BadChunks> {
        let grid = layer.grid();
        let mut runs: Vec<BadRun> = Vec::new();
        let mut bad = 0u64;
        for index in layer.differing(&read.values).ok()? {
            bad = bad.saturating_add(1);
            let bytes = grid.range(index)?;
            match runs.last_mut() {
                Some(run) if run.bytes.end == bytes.start => {
                    run.chunks.1 = index;
                    run.bytes.end = bytes.end;
                }
                _ => runs.push(BadRun { chunks: (index, index), bytes, tensors: Vec::new() }),
            }
        }
        if let Some(list) = self.tensors {
            // A list may overlap, though no header agrees with it; it must not name every tensor for every run
            // (rule 12).
            let mut end = 0;
            let mut tensors = by_offset(list.of_file(entry.path.as_str()));
            tensors.retain(|t| {
                let apart = t.size > 0 && t.offset >= end;
                end = if apart { range(t).end } else { end };
                apart
            });
            for run in &mut runs {
                let first = tensors.partition_point(|t| range(t).end <= run.bytes.start);
                let touched = tensors.iter().skip(first).take_while(|t| t.offset < run.bytes.end);
                run.tensors = touched.map(|t| (*t).clone()).collect();
            }
        }
        Some(BadChunks { runs, bad, of: grid.count() })
    }
}

/// Compares the tensor list with the verified header; returns the reason if they were not compared.
fn compare_header(listed: &[TensorEntry], header: Option<&Header>) -> Result<Option<Uncompared>, FileFault> {
    // These bytes are the signed ones. Parsing them earlier would expose the parser to bytes of anybody.
    let parsed = header.map(Header::parse).transpose();
    if listed.is_empty() {
        // The list names no tensor of this file, so the header cannot contradict the list. A header without tensors
        // agrees with it.
        let is_borne_out = matches!(&parsed, Ok(Some(Parsed::Tensors { tensors, .. })) if tensors.is_empty());
        return Ok((!is_borne_out).then_some(Uncompared::NotListed));
    }
    let tensors = match parsed.map_err(FileFault::Format)? {
        Some(Parsed::Tensors { tensors, .. }) => tensors,
        Some(Parsed::UnknownDtype { dtype, .. }) => return Ok(Some(Uncompared::UnknownDtype(dtype))),
        // The header of every tensor file was kept. Without a header, no listed tensor is found in it.
        Some(Parsed::NeedPrefix(_)) | None => Vec::new(),
    };
    compare(listed, &tensors).map_or(Ok(None), |fault| Err(FileFault::Tensor(fault)))
}

/// The first tensor by name whose listed hash differs from the hash of the verified bytes; `None` if hashes were not
/// asked for.
fn hash_fault(
    listed: &[TensorEntry],
    hashes: Option<&[TensorHash]>,
    hashing: TensorHashing,
) -> Option<FileFault> {
    if hashing == TensorHashing::Skip {
        return None;
    }
    // A missing hash counts as a different one, so that nothing passes unchecked.
    let hashes = hashes.unwrap_or_default();
    let other =
        by_offset(listed).into_iter().enumerate().filter(|(i, entry)| hashes.get(*i) != Some(&entry.hash));
    let first = other.map(|(_, entry)| &entry.name).min()?;
    let fault = TensorFault { tensor: first.as_str().to_owned(), difference: Difference::Hash };
    Some(FileFault::Tensor(fault))
}

/// Sorts by offset, then size: an empty tensor comes before the tensor that begins at the same offset, as disjoint
/// ranges do.
fn by_offset(listed: &[TensorEntry]) -> Vec<&TensorEntry> {
    let mut tensors: Vec<&TensorEntry> = listed.iter().collect();
    tensors.sort_by_key(|t| (t.offset, t.size));
    tensors
}

fn range(tensor: &TensorEntry) -> Range<u64> {
    tensor.offset..tensor.offset.saturating_add(tensor.size)
}

type ByRoot<'a> = HashMap<FileRoot, &'a EntryPath>;

/// Watches a scan, and turns each result into a report.
struct ScanReporter<'a> {
    check: &'a ModelCheck<'a>,
    /// For each job: the order of its report, and the file's position.
    places: Vec<(usize, usize)>,
    by_root: ByRoot<'a>,
    reports: &'a Reports<'a>,
}

impl Watch for ScanReporter<'_> {
    fn read(&self, bytes: u64) {
        (self.reports.tell)(Event::Read(bytes));
    }

    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
        let place = self.places.get(job);
        let Some((order, position, entry)) = place.and_then(|(order, position)| {
            Some((*order, *position, self.check.files.entries().get(*position)?))
        }) else {
            return ControlFlow::Continue(());
        };
        let report = match result {
            Ok(read) => self.check.judge(position, entry, &read, &self.by_root),
            Err(ScanError::Io(error)) => self.check.report_of(entry, Outcome::Unknown(error)),
            // A listed length is never too large, and no digest is asked for.
            Err(ScanError::Changed | ScanError::TooLarge { .. } | ScanError::Sha1Collision) => {
                self.check.unread(position, entry, FileFault::Changed)
            }
            Err(ScanError::Format(error)) => self.check.unread(position, entry, FileFault::Format(error)),
        };
        self.reports.put(order, report);
        ControlFlow::Continue(())
    }
}

/// Passes reports on in order, whatever the order in which they arrive.
struct Reports<'a> {
    state: Mutex<ReportState>,
    tell: &'a (dyn Fn(Event<'_>) + Sync),
}

#[derive(Default)]
struct ReportState {
    next: usize,
    waiting: BTreeMap<usize, FileReport>,
    summary: Summary,
}

impl Reports<'_> {
    fn put(&self, order: usize, report: FileReport) {
        let mut state = lock(&self.state);
        state.waiting.insert(order, report);
        loop {
            let next = state.next;
            let Some(report) = state.waiting.remove(&next) else { return };
            state.next = state.next.saturating_add(1);
            state.summary.count(&report);
            (self.tell)(Event::File(&report));
        }
    }

    fn summary(&self) -> Summary {
        lock(&self.state).summary
    }
}

impl Summary {
    fn count(&mut self, report: &FileReport) {
        let field = match report.outcome {
            Outcome::Verified => {
                self.bytes = self.bytes.saturating_add(report.size);
                self.uncompared = self.uncompared.saturating_add(report.uncompared.is_some().into());
                &mut self.verified
            }
            Outcome::Refused(_) => &mut self.refused,
            Outcome::Unknown(_) => &mut self.unknown,
            Outcome::Extra | Outcome::LeftOut(_) => return,
        };
        *field = field.saturating_add(1);
    }
}

impl Coded for FileFault {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Mismatch { .. } => ErrorCode::FILE_MISMATCH,
            Self::Length { .. } => ErrorCode::FILE_LENGTH,
            Self::Missing => ErrorCode::FILE_MISSING,
            Self::Extra => ErrorCode::FILE_NOT_LISTED,
            Self::Changed => ErrorCode::FILE_CHANGED,
            Self::Unfit(fault) => fault.error_code(),
            Self::Layer(error) => error.error_code(),
            Self::Format(error) => error.error_code(),
            Self::Tensor(fault) => fault.error_code(),
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is missing"),
            Self::Extra => f.write_str("the file is not listed"),
            Self::Changed => f.write_str("the file changed while it was read"),
            Self::Length { expected, actual } => write!(f, "{actual} bytes, {expected} are signed"),
            Self::Mismatch { bytes_of: Some(path), .. } => {
                write!(
                    f,
                    "data does not match the signed root: these are the bytes of {}",
                    shown(path.as_str())
                )
            }
            Self::Mismatch { .. } => f.write_str("data does not match the signed root"),
            Self::Unfit(fault) => fault.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::Tensor(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for FileFault {}
