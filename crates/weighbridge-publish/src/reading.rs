//! Reads files for a weighing; decides which faults end it, and which are collected.

use std::{
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

use weighbridge_formats::FormatError;
use weighbridge_store::scan::{Job, ScanError, Scanned, Watch, scan};
use weighbridge_tree::ChunkSize;

use crate::weigh::Event;

/// Reads all files once, until a fault ends the scan. Returns the result of each job; `None` for a job that was not
/// reported by then.
pub(crate) fn read_all(
    jobs: &[Job],
    chunk_size: ChunkSize,
    next: AfterPointer,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Vec<Option<Result<Scanned, ScanError>>> {
    let results = Mutex::new(jobs.iter().map(|_| None).collect());
    let watch = ResultKeeper { tell, results, next };
    scan(jobs, chunk_size, &watch);
    watch.results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a scan, and keeps the results of its jobs, faults included.
struct ResultKeeper<'a> {
    tell: &'a (dyn Fn(Event<'_>) + Sync),
    results: Mutex<Vec<Option<Result<Scanned, ScanError>>>>,
    next: AfterPointer,
}

/// The behaviour of a scan after a tensor file that is a Git LFS pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterPointer {
    /// The scan goes on, to find further pointers.
    GoOn,
    /// The scan ends, as after any other fault.
    Stop,
}

impl Watch for ResultKeeper<'_> {
    fn read(&self, bytes: u64) {
        (self.tell)(Event::Read(bytes));
    }

    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
        let goes_on = match &result {
            Ok(_) => true,
            Err(error) => is_pointer(error) && self.next == AfterPointer::GoOn,
        };
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = results.get_mut(job) {
            *place = Some(result);
        }
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Whether a tensor file turned out to be a Git LFS pointer.
pub(crate) fn is_pointer(error: &ScanError) -> bool {
    matches!(error, ScanError::Format(FormatError::LfsPointer))
}
