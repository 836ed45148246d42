//! Faults of sources, and the verdicts over them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use weighbridge_tree::HeadId;

use super::{Decisions, MAX_WAIT, Moved, pacing::Next};
use crate::{
    event::{Blame, SourceId},
    source::Fault,
};

impl Decisions {
    pub(crate) fn cases(&self, source: SourceId) -> u64 {
        self.standing.cases(source)
    }

    /// Records that a request failed before any byte was judged. `cases` is how often the source had been suspected
    /// when the request began. Returns `true` if the source may have given another file: its head is to be read again
    /// before it is blamed.
    pub(crate) fn fail(
        &mut self,
        source: SourceId,
        file: Option<usize>,
        cases: u64,
        fault: &Fault,
        now: Instant,
    ) -> bool {
        if !matches!(fault, Fault::Unreachable(_)) {
            self.hear(source);
        }
        // The source is not asked for that file again, no matter what verdict follows.
        if matches!(fault, Fault::OtherFile(_)) {
            self.standing.lack(source, file);
        }
        if self.standing.is_out(source) || self.standing.is_suspect(source) {
            return false;
        }
        match (fault, file) {
            (Fault::Missing | Fault::Refused(_) | Fault::BadChunk(_) | Fault::HeldBack(_), Some(_)) => {
                self.standing.deny(source, file, fault);
                self.break_off_if_out(source);
            }
            (Fault::OtherFile(what), _) => {
                return self.suspect(source, cases, what.clone());
            }
            (Fault::Busy { retry_after: Some(after), .. }, _) if *after > MAX_WAIT => {
                self.set_aside(source, Blame::Refused, fault.to_string());
            }
            (Fault::Busy { retry_after: None, .. }, _)
                if self.pacing.falls_back(source, usize::from(file.is_some()), now) =>
            {
                self.standing.set_blame(source, Blame::Refused, fault.to_string());
            }
            (Fault::Busy { retry_after, .. }, _) => {
                self.retry(source, Blame::Refused, fault.to_string(), *retry_after, now);
            }
            (Fault::Missing | Fault::Refused(_) | Fault::BadChunk(_) | Fault::HeldBack(_), _) => {
                self.set_aside(source, Blame::Refused, fault.to_string());
            }
            (Fault::Unreachable(_), _) => {
                self.retry(source, Blame::Unreachable, fault.to_string(), None, now);
            }
        }
        false
    }

    /// Records that the source says that its copy of a chunk is bad. It is not asked for that chunk again, and for others as before.
    pub(crate) fn lacks_chunk(&mut self, source: SourceId, file: usize, chunk: u64, what: String) {
        self.hear(source);
        self.standing.add_wrong(source, file, chunk..chunk.saturating_add(1), 0);
        self.standing.set_blame(source, Blame::Refused, what);
    }

    /// Records that the source gives what it was asked for to another member of the swarm for this time. Nothing is held against it.
    pub(crate) fn hold_back(&mut self, source: SourceId, time: Duration, now: Instant) {
        self.hear(source);
        if let Some(guide) = &self.guide {
            guide.held_back(source, time, now);
        }
    }

    fn retry(
        &mut self,
        source: SourceId,
        blame: Blame,
        what: String,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        match self.pacing.fail(source, retry_after, now) {
            Next::GiveUp => self.set_aside(source, blame, what),
            Next::Waits => self.standing.set_blame(source, blame, what),
            Next::AsBefore => {}
        }
    }

    /// Records that the source denies metadata, which other sources may have.
    pub(crate) fn deny_metadata(&mut self, source: SourceId, fault: &Fault) {
        self.standing.deny(source, None, fault);
        self.break_off_if_out(source);
    }

    /// Suspects a source that gave bytes which do not match. Returns `true` if its head is to be read again.
    pub(crate) fn suspect(&mut self, source: SourceId, cases: u64, what: String) -> bool {
        let not_before = self.pacing.waits_until(source);
        let is_suspect = self.standing.suspect(source, cases, what, not_before);
        if is_suspect {
            self.pacing.break_off(source);
        }
        is_suspect
    }

    pub(crate) fn not_before(&self, source: SourceId) -> Option<Instant> {
        self.standing.not_before(source)
    }

    pub(crate) fn convict(&mut self, source: SourceId) {
        self.standing.convict(source);
        self.break_off_if_out(source);
    }

    pub(crate) fn set_stale(&mut self, source: SourceId, moved: Moved, what: String, same: BTreeSet<usize>) {
        self.standing.set_stale(source, moved, what, same);
    }

    pub(crate) fn is_stale(&self, source: SourceId) -> bool {
        self.standing.is_stale(source)
    }

    pub(crate) fn is_judging(&self) -> bool {
        self.standing.is_judging()
    }

    /// The sources that are convicted of lying so far. Each may show another head by now.
    pub(crate) fn convicted(&self) -> Vec<SourceId> {
        self.standing.convicted()
    }

    pub(crate) fn close_case(&mut self, source: SourceId, blame: Blame, why: &str) {
        self.standing.close_case(source, blame, why);
    }

    pub(crate) fn close_cases(&mut self) {
        self.standing.close_cases();
    }

    /// The later head that every useful source of the model has moved to, if there is one.
    pub(crate) fn all_moved_to(&self) -> Option<HeadId> {
        self.standing.all_moved_to(&self.model_sources())
    }

    pub(crate) fn set_aside(&mut self, source: SourceId, blame: Blame, what: String) {
        self.standing.set_aside(source, blame, what);
        self.break_off_if_out(source);
    }
}
