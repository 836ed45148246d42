//! Reads files once, and compares what they are with what is listed of them.

use std::{
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use weighbridge_store::scan::{Job, ScanError, Scanned, Tensors, Watch, scan};
use weighbridge_transfer::ListedDigest;
use weighbridge_tree::ChunkSize;

/// The results of a scan, by the positions of the files.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Files that are what is listed.
    pub(crate) good: Vec<(usize, Scanned)>,
    /// Files that are something else, and the digest of their bytes.
    pub(crate) wrong: Vec<(usize, ListedDigest)>,
    /// Files that could not be read, did not come, or are listed and no good model file.
    pub(crate) failed: Vec<(usize, ScanError)>,
}

/// Reads all files, on all threads of the current rayon pool; `listed` has a digest for each. `hashed` counts bytes, and
/// `good` is told of each file that is what is listed.
pub(crate) fn check(
    jobs: &[Job],
    listed: &[ListedDigest],
    chunk_size: ChunkSize,
    hashed: &AtomicU64,
    good: &(dyn Fn(usize) + Sync),
) -> Checked {
    let read = |jobs: &[Job], listed: &[ListedDigest], good: &(dyn Fn(usize) + Sync)| {
        let judge = Judge { listed, hashed, good, checked: Mutex::default() };
        scan(jobs, chunk_size, &judge);
        judge.checked.into_inner().unwrap_or_else(PoisonError::into_inner)
    };
    let mut checked = read(jobs, listed, good);
    // A header that is malformed ends a scan before the digest is known, and may be malformed because the bytes are wrong.
    for (position, error) in std::mem::take(&mut checked.failed) {
        let job = jobs.get(position).filter(|_| matches!(error, ScanError::Format(_)));
        let Some((job, listed)) = job.zip(listed.get(position)) else {
            checked.failed.push((position, error));
            continue;
        };
        let job = Job { tensors: Tensors::Ignore, ..job.clone() };
        let bytes = read(std::slice::from_ref(&job), std::slice::from_ref(listed), &|_| {});
        let [wrong, failed] =
            [bytes.wrong.into_iter().next().map(Ok), bytes.failed.into_iter().next().map(Err)];
        match wrong.or(failed) {
            Some(Ok((_, digest))) => checked.wrong.push((position, digest)),
            Some(Err((_, error))) => checked.failed.push((position, error)),
            None => checked.failed.push((position, error)),
        }
    }
    checked
}

struct Judge<'a> {
    listed: &'a [ListedDigest],
    hashed: &'a AtomicU64,
    good: &'a (dyn Fn(usize) + Sync),
    checked: Mutex<Checked>,
}

impl Watch for Judge<'_> {
    fn read(&self, bytes: u64) {
        self.hashed.fetch_add(bytes, SeqCst);
    }

    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
        let Some(listed) = self.listed.get(job) else { return ControlFlow::Break(()) };
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Err(error) => checked.failed.push((job, error)),
            Ok(scanned) => match scanned.digest {
                Some(digest) if digest == *listed => {
                    checked.good.push((job, scanned));
                    drop(checked);
                    (self.good)(job);
                }
                Some(digest) => checked.wrong.push((job, digest)),
                // Each job asks for the listed kind.
                None => checked.failed.push((job, ScanError::Changed)),
            },
        }
        ControlFlow::Continue(())
    }
}
