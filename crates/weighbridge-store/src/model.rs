//! Compares a model folder with its verified lists.

use std::{
    collections::HashMap,
    ops::{ControlFlow, Range},
    path::Path,
};

use weighbridge_formats::{Format, Parsed};
use weighbridge_manifest::{EntryPath, FileEntry, TensorEntry, VerifiedFileList, VerifiedTensorList};
use weighbridge_tree::{FileRoot, Grid, Layer, TensorHash};

use crate::{
    io::IoError,
    metadata::{Layers, LayersError},
    report::{
        BadChunks, BadRun, Event, ExtraFiles, FileFault, FileReport, Outcome, Reports, Summary, Uncompared,
        unlisted,
    },
    scan::{Header, Job, ScanError, Scanned, Tensors, Watch, scan},
    tensors::{Difference, TensorFault, compare},
    walk::{Walk, walk},
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
        let is_listed = |path: &str| self.files.find(path).is_some();
        decided.extend((listed..).zip(unlisted(&found, &is_listed, &wanted, self.extra)));
        let reports = Reports::new(tell);
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
        self.reports.read(bytes);
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
