//! How fast leases get on, as far as anybody knows: who is late, and how work is shared.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use crate::{
    decide::schedule::{ConnectionId, Running, Take},
    event::SourceIndex,
};

/// Who looks for work.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) connection: ConnectionId,
    pub(super) source: SourceIndex,
    pub(super) limits: Take,
}

/// What is known of all leases at one moment.
///
/// A source's rate is shared by its leases that have something left. A lease that has brought nothing for longer than its
/// rate explains has stalled, whatever is said of its source.
pub(super) struct Paces<'a> {
    chunk: u64,
    grain: u64,
    /// How many leases of each source have something left.
    leases: BTreeMap<SourceIndex, u64>,
    rate_of: &'a dyn Fn(SourceIndex) -> u64,
    now: Instant,
}

/// In bytes per second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Too early to tell.
    Unknown,
    Stalled,
    Steady(u64),
}

impl<'a> Paces<'a> {
    pub(super) fn new<'l>(
        chunk: u64,
        grain: u64,
        running: impl Iterator<Item = &'l Running>,
        rate_of: &'a dyn Fn(SourceIndex) -> u64,
        now: Instant,
    ) -> Self {
        let mut leases = BTreeMap::new();
        for lease in running.filter(|lease| !lease.chunks.is_empty()) {
            *leases.entry(lease.source).or_default() += 1;
        }
        Self { chunk, grain, leases, rate_of, now }
    }

    /// How long a lease will take, as an order: of two that have stalled or are unknown, the one that has
    /// been silent longer is the later one.
    pub(super) fn time_left(&self, lease: &Running) -> (Duration, Duration) {
        let bytes = self.bytes(&lease.chunks.span());
        let time = match self.pace(lease) {
            Pace::Steady(pace) => time(bytes.saturating_add(lease.before), pace),
            Pace::Unknown | Pace::Stalled => Duration::MAX,
        };
        (time, self.silence(lease))
    }

    /// How many of its last chunks a lease loses, so that both are through at the same time; `None` if nobody gains. The
    /// first chunks, which are on their way, are never among them.
    pub(super) fn loot(&self, lease: &Running, thief: Asker) -> Option<u64> {
        let count = lease.chunks.len();
        let most = count.checked_sub(self.grain).filter(|most| *most > 0)?;
        // What is unknown is taken to be like the other.
        let (theirs, ours) = match (self.pace(lease), self.share(thief.source, 1)) {
            (Pace::Stalled, _) => (0, 1),
            (Pace::Steady(theirs), Pace::Steady(ours)) => (u128::from(theirs), u128::from(ours)),
            _ => (1, 1),
        };
        let (count, end) = (u128::from(count), u128::from(lease.chunks.span().end));
        // A source of whole files reads everything up to the end, wherever it begins.
        let whole = thief.limits.whole_files;
        let keep =
            if whole { (end * theirs).div_ceil(ours) } else { (count * theirs).div_ceil(theirs + ours) };
        let loot = most.min(u64::try_from(count.saturating_sub(keep)).unwrap_or(u64::MAX)).max(1);
        let work = if whole { end } else { u128::from(loot) };
        let gains = work * theirs < count * ours;
        let target = if whole { most } else { (thief.limits.bytes / self.chunk).max(1) };
        gains.then_some(loot.min(target))
    }

    /// Whether the asker should repeat the first chunks that are left of a lease: it would be through first, or the lease
    /// has stalled.
    pub(super) fn is_late(&self, lease: &Running, chunks: &Range<u64>, asker: Asker) -> bool {
        let bytes = self.bytes(chunks);
        let silence = self.silence(lease);
        if lease.source == asker.source {
            // Others come first.
            return silence > self.patience(lease).saturating_mul(2);
        }
        match (self.pace(lease), self.share(asker.source, 1)) {
            (Pace::Stalled, _) => true,
            (Pace::Steady(theirs), Pace::Steady(ours)) => {
                let expected = time(bytes.saturating_add(lease.before), theirs);
                // What is overdue is expected to take as long again as it is.
                let overdue = silence.saturating_sub(expected).saturating_sub(GRACE);
                let left = expected.saturating_sub(silence).max(overdue);
                let before = if asker.limits.whole_files { self.bytes(&(0..chunks.start)) } else { 0 };
                left > time(bytes.saturating_add(before), ours)
            }
            _ => silence > PATIENCE,
        }
    }

    fn pace(&self, lease: &Running) -> Pace {
        if self.silence(lease) > self.patience(lease) {
            return Pace::Stalled;
        }
        self.share(lease.source, 0)
    }

    /// What each lease of a source gets, if it had some more.
    fn share(&self, source: SourceIndex, more: u64) -> Pace {
        match (self.rate_of)(source) {
            0 => Pace::Unknown,
            rate => {
                let leases = self.leases.get(&source).copied().unwrap_or(0) + more;
                Pace::Steady((rate / leases.max(1)).max(1))
            }
        }
    }

    /// How long a lease may be silent.
    fn patience(&self, lease: &Running) -> Duration {
        let Pace::Steady(pace) = self.share(lease.source, 0) else { return PATIENCE };
        let expected = time(self.bytes(&(0..self.grain)).saturating_add(lease.before), pace);
        expected.saturating_mul(2).clamp(PATIENCE, MAX_PATIENCE)
    }

    fn bytes(&self, chunks: &Range<u64>) -> u64 {
        chunks.end.saturating_sub(chunks.start).saturating_mul(self.chunk)
    }

    fn silence(&self, lease: &Running) -> Duration {
        self.now.saturating_duration_since(lease.since)
    }
}

fn time(bytes: u64, pace: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(pace.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What every lease may be silent for, and the most that any may, whatever rate is said of its source.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(30);
/// By so much a chunk may be late for reasons that say nothing of the next one.
const GRACE: Duration = Duration::from_millis(200);
