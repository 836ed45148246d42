//! The states of the sources, as the fetch reports them.

use std::time::{Duration, Instant};

use super::{Decisions, standing::Rank};
use crate::event::{SourceId, SourceState, SourceStatus};

impl Decisions {
    /// The source that is tried again first, and the time until then, if every source is waiting.
    pub(crate) fn first_again(&self, now: Instant) -> Option<(SourceId, Duration)> {
        let suspects = self.sources().filter(|source| self.standing.is_suspect(*source)).map(|source| {
            let until = self.standing.not_before(source).unwrap_or(now);
            (source, until.saturating_duration_since(now))
        });
        let waiting = self.pacing.first_again(now, |source| !self.standing.is_out(source));
        suspects.chain(waiting).min_by_key(|(_, time)| *time)
    }

    /// The statuses that changed since the last call: states and blames at once, rates only if `rates` is set.
    pub(crate) fn news(&mut self, now: Instant, rates: bool) -> Vec<SourceStatus> {
        let statuses = self.statuses(now);
        let is_news = |status: &SourceStatus| {
            self.told.get(&status.source).is_none_or(|told| {
                told.state != status.state
                    || told.blame != status.blame
                    || (rates && told.rate != status.rate)
            })
        };
        let news: Vec<_> = statuses.into_iter().filter(is_news).collect();
        news.iter().for_each(|status| _ = self.told.insert(status.source, status.clone()));
        news
    }

    /// The status of every source.
    pub(crate) fn statuses(&self, now: Instant) -> Vec<SourceStatus> {
        self.sources().map(|source| self.status(source, now)).collect()
    }

    fn status(&self, source: SourceId, now: Instant) -> SourceStatus {
        let is_at_work = self.pacing.running(source) > 0;
        let waits = self.pacing.waits_until(source);
        let (state, again_in) = match self.standing.rank(source) {
            Rank::None if self.standing.is_suspect(source) => (SourceState::Waiting, None),
            Rank::None => (SourceState::SetAside, None),
            _ if waits.is_some() => {
                (SourceState::Waiting, waits.map(|until| until.saturating_duration_since(now)))
            }
            _ if is_at_work => (SourceState::Active, None),
            Rank::LastResort => (SourceState::SetAside, None),
            Rank::Good => (SourceState::Idle, None),
        };
        SourceStatus {
            source,
            state,
            blame: self.standing.blame(source),
            again_in,
            verified: self.standing.verified(source),
            rate: self.pacing.rate(source),
        }
    }
}
