//! Compares a model folder with a listing, which nobody signed.

use std::path::Path;

use weighbridge_manifest::ListedFile;

use crate::{
    io::IoError,
    report::{Event, ExtraFiles, FileFault, FileReport, Outcome, Reports, Summary, unlisted},
    scan::{DigestJob, ScanError, digest_files},
    walk::{Walk, walk},
};

/// A check of a model folder against the digests of a listing. Every setting comes from the caller (rule 9).
///
/// # Guarantee
/// A file that is reported as [`Outcome::Verified`] has the listed length and the listed digest.
///
/// # Non-guarantee
/// Nobody signed a listing. Whoever could change it could have made it fit the files.
///
/// # Example
/// ```
/// use weighbridge_manifest::{EntryPath, ListedDigest, ListedFile, Sha256};
/// use weighbridge_store::{ExtraFiles, ListedCheck};
/// # let folder = weighbridge_testkit::Folder::with(&[("a.bin", b"weights"), ("b.bin", b"more of them")]);
///
/// let listed = |path| ListedFile {
///     path: EntryPath::parse(path).unwrap(),
///     size: 7,
///     digest: ListedDigest::Sha256(Sha256([0; 32])),
/// };
/// let (model, files) = (folder.path(), &[listed("a.bin"), listed("c.bin")]);
/// let summary = ListedCheck { model, files, only: None, extra: ExtraFiles::Refuse }.run(&|_| {})?;
/// // `a.bin` has another digest, `c.bin` is missing, and `b.bin` is not listed.
/// assert_eq!((summary.verified, summary.refused), (0, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ListedCheck<'a> {
    /// The model folder.
    pub model: &'a Path,
    /// The files of the listing, sorted by path.
    pub files: &'a [ListedFile],
    /// Selects the files to look at, by path; `None` selects all.
    pub only: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
    /// Whether files that are not listed are refused. Links out of the model and special files are always refused.
    pub extra: ExtraFiles,
}

impl ListedCheck<'_> {
    /// Reads the model once, on all threads of the current rayon pool, and reports on every file.
    ///
    /// # Errors
    /// [`IoError`] if the folder cannot be listed. Faults of single files are reported and counted instead.
    ///
    /// # Cost
    /// One pass of the listed digest over the bytes of each file, on one core; nothing else is computed.
    pub fn run(&self, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Summary, IoError> {
        let found = walk(self.model)?;
        let wanted = |path: &str| self.only.is_none_or(|only| only(path));
        let selected: Vec<&ListedFile> =
            self.files.iter().filter(|file| wanted(file.path.as_str())).collect();
        let reports = Reports::new(tell);
        let (mut jobs, mut read) = (Vec::new(), Vec::new());
        for (order, file) in selected.iter().enumerate() {
            match job(file, &found) {
                Ok(job) => {
                    jobs.push(job);
                    read.push((order, *file));
                }
                Err(outcome) => reports.put(order, FileReport::of_listed(file, outcome)),
            }
        }
        let is_listed = |path: &str| self.files.binary_search_by(|file| file.path.as_str().cmp(path)).is_ok();
        for (order, report) in (selected.len()..).zip(unlisted(&found, &is_listed, &wanted, self.extra)) {
            reports.put(order, report);
        }
        digest_files(&jobs, &|bytes| reports.read(bytes), &|job, result| {
            let Some((order, file)) = read.get(job) else { return };
            let outcome = match result {
                Ok(digest) if digest == file.digest => Outcome::Verified,
                Ok(found) => refused(FileFault::ListedMismatch { listed: file.digest, found }),
                Err(ScanError::Io(error)) => Outcome::Unknown(error),
                Err(ScanError::Sha1Collision) => refused(FileFault::Sha1Collision),
                // No header is read, and a listed length is never too large.
                Err(ScanError::Changed | ScanError::TooLarge { .. } | ScanError::Format(_)) => {
                    refused(FileFault::Changed)
                }
            };
            reports.put(*order, FileReport::of_listed(file, outcome));
        });
        Ok(reports.summary())
    }
}

/// The job that reads a listed file; or the outcome, if that is known without reading.
fn job(file: &ListedFile, found: &Walk) -> Result<DigestJob, Outcome> {
    let path = file.path.as_str();
    let at = found.files.binary_search_by(|there| there.path.cmp(&file.path)).ok();
    let Some(there) = at.and_then(|at| found.files.get(at)) else {
        return Err(match (found.unread_at(path), found.unfit_at(path)) {
            (Some(unread), _) => Outcome::Unknown(unread.error.again()),
            (None, Some(unfit)) => refused(FileFault::Unfit(unfit.fault.clone())),
            (None, None) => refused(FileFault::Missing),
        });
    };
    if there.size != file.size {
        return Err(refused(FileFault::ListedLength { listed: file.size, found: there.size }));
    }
    Ok(DigestJob { file: there.file.clone(), size: file.size, kind: file.digest.kind() })
}

fn refused(fault: FileFault) -> Outcome {
    Outcome::Refused(vec![fault])
}

impl FileReport {
    /// The report on a file of a listing, which has no chunks.
    #[must_use]
    pub fn of_listed(file: &ListedFile, outcome: Outcome) -> Self {
        Self { path: file.path.as_str().to_owned(), size: file.size, chunks: 0, outcome, uncompared: None }
    }
}
