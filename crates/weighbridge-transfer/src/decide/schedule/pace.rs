//! The pace of leases, as far as it is known: which ones are late, and how work is shared.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use super::{ConnectionId, Line, Running, Take};
use crate::event::SourceId;

/// The connection that asks for a lease.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) connection: ConnectionId,
    pub(super) source: SourceId,
    pub(super) limits: Take,
}

/// The known facts about all leases at one moment.
///
/// The leases of a source that have something left share its rate. A lease that has brought nothing for longer than its
/// rate explains has stalled, whatever rate its source is said to have.
pub(super) struct Paces<'a> {
    chunk: u64,
    grain: u64,
    /// How many leases with something left each source has.
    leases: BTreeMap<SourceId, u64>,
    line: Line<'a>,
    /// How many leases with something left all sources have.
    active: u64,
    now: Instant,
}

/// The pace of a lease, in bytes per second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The pace cannot be told yet.
    Unknown,
    Stalled,
    Steady(u64),
}

impl<'a> Paces<'a> {
    pub(super) fn new<'l>(
        chunk: u64,
        grain: u64,
        running: impl Iterator<Item = &'l Running>,
        active: u64,
        line: &Line<'a>,
        now: Instant,
    ) -> Self {
        let mut leases: BTreeMap<SourceId, u64> = BTreeMap::new();
        for lease in running.filter(|lease| !lease.chunks.is_empty()) {
            *leases.entry(lease.source).or_default() += 1;
        }
        let now_active = leases.values().sum::<u64>().max(1);
        let active = (active / 1000).max(now_active);
        Self { chunk, grain, leases, line: *line, active, now }
    }

    /// The expected time left of a lease, as a sort key. Of two leases that have stalled or are unknown, the one that
    /// has been silent longer sorts later.
    pub(super) fn time_left(&self, lease: &Running) -> (Duration, Duration) {
        let bytes = self.bytes(&lease.chunks.span());
        let time = match self.pace(lease) {
            Pace::Steady(pace) => time(bytes.saturating_add(lease.before), pace),
            Pace::Unknown | Pace::Stalled => Duration::MAX,
        };
        (time, self.silence(lease))
    }

    /// How many of its last chunks a lease loses, so that both leases end at the same time; `None` if that saves no
    /// time. The first chunks, which are on their way, are never among them.
    pub(super) fn loot(&self, lease: &Running, thief: Asker) -> Option<u64> {
        if thief.limits.only_stalled && self.pace(lease) != Pace::Stalled {
            return None;
        }
        let count = lease.chunks.len();
        let most = count.checked_sub(self.grain).filter(|most| *most > 0)?;
        // An unknown pace is assumed to equal the other one.
        let (theirs, ours) = match (self.pace(lease), self.share(thief.source, 1)) {
            (Pace::Stalled, _) => (0, 1),
            (Pace::Steady(theirs), Pace::Steady(ours)) => (u128::from(theirs), u128::from(ours)),
            _ => (1, 1),
        };
        let (count, end) = (u128::from(count), u128::from(lease.chunks.span().end));
        // A source of whole files reads everything up to the end, even if the range begins later.
        let whole = thief.limits.whole_files;
        let keep =
            if whole { (end * theirs).div_ceil(ours) } else { (count * theirs).div_ceil(theirs + ours) };
        let loot = most.min(u64::try_from(count.saturating_sub(keep)).unwrap_or(u64::MAX)).max(1);
        let work = if whole { end } else { u128::from(loot) };
        let gains = work * theirs < count * ours;
        let target = if whole { most } else { (thief.limits.bytes / self.chunk).max(1) };
        gains.then_some(loot.min(target))
    }

    /// Whether the asker should repeat the first chunks that are left of a lease, because it would end first, or the
    /// lease has stalled.
    pub(super) fn is_late(&self, lease: &Running, chunks: &Range<u64>, asker: Asker) -> bool {
        let bytes = self.bytes(chunks);
        let silence = self.silence(lease);
        if lease.source == asker.source {
            // Connections of other sources come first, so a lease of the same source gets twice the patience.
            return silence > self.patience(lease).saturating_mul(2);
        }
        match (self.pace(lease), self.share(asker.source, 1)) {
            (Pace::Stalled, _) => true,
            // A lease that gets half of its equal share of the line, or more, is as fast as the line allows: a copy would take
            // from others what it gives.
            (Pace::Steady(theirs), _) if asker.limits.only_stalled || !self.is_slow(lease, theirs) => false,
            (Pace::Steady(theirs), Pace::Steady(ours)) => {
                let left = if lease.meter.rate > 0 {
                    time(bytes.saturating_sub(lease.in_hand), theirs)
                } else {
                    let expected = time(bytes.saturating_add(lease.before), theirs);
                    // An overdue lease is expected to take as long again as it is overdue.
                    let overdue = silence.saturating_sub(expected).saturating_sub(GRACE);
                    expected.saturating_sub(silence).max(overdue)
                };
                let before = if asker.limits.whole_files { self.bytes(&(0..chunks.start)) } else { 0 };
                left > time(bytes.saturating_add(before), ours)
            }
            _ => silence > PATIENCE.max(self.patience_of_the_line(lease)),
        }
    }

    fn pace(&self, lease: &Running) -> Pace {
        if self.silence(lease) > self.patience(lease) {
            return Pace::Stalled;
        }
        match lease.meter.rate {
            0 => self.share(lease.source, 0),
            rate => Pace::Steady(rate),
        }
    }

    /// The rate of each lease of a source, if the source had `more` leases.
    fn share(&self, source: SourceId, more: u64) -> Pace {
        match (self.line.rate_of)(source) {
            0 => Pace::Unknown,
            rate => {
                let leases = self.leases.get(&source).copied().unwrap_or(0) + more;
                Pace::Steady((rate / leases.max(1)).max(1))
            }
        }
    }

    /// How long a lease may be silent.
    fn patience(&self, lease: &Running) -> Duration {
        let bytes = self.expected(lease);
        let by_its_rate = match self.share(lease.source, 0) {
            Pace::Steady(pace) => time(bytes, pace).saturating_mul(2).clamp(PATIENCE, MAX_PATIENCE),
            _ => PATIENCE,
        };
        by_its_rate.max(self.patience_of_the_line(lease))
    }

    /// Whether a lease gets less than half of an equal share of the line, and has for as long as two frames take at that
    /// share: before that its rate is chance.
    fn is_slow(&self, lease: &Running, rate: u64) -> bool {
        let is_known = lease.heard.is_none()
            || lease.slow_since.is_some_and(|since| {
                self.now.saturating_duration_since(since) >= self.patience_of_the_line(lease)
            });
        is_known && rate < self.least_fair()
    }

    /// How many chunks are repeated at once: those that an equal share of the line gives in a second, so that a copy that
    /// turns out needless costs little on a slow line.
    pub(super) fn copied(&self) -> u64 {
        match self.fair() {
            0 => self.grain,
            fair => (fair / self.chunk.max(1)).clamp(1, self.grain),
        }
    }

    /// How long a lease may be silent on a slow line that many share, whatever is known of its source.
    fn patience_of_the_line(&self, lease: &Running) -> Duration {
        let bytes = self.expected(lease);
        match self.fair() {
            0 => Duration::ZERO,
            fair => time(bytes, fair).saturating_mul(2),
        }
    }

    /// The bytes that a silence may cover: those of a frame once bytes come, and before that those of the first piece.
    fn expected(&self, lease: &Running) -> u64 {
        match lease.heard {
            Some(_) => FRAME,
            None => self.bytes(&(0..self.grain)).saturating_add(lease.before),
        }
    }

    /// Half of an equal share of the line; larger than any rate if the capacity is unknown.
    fn least_fair(&self) -> u64 {
        if self.line.capacity == 0 { u64::MAX } else { self.fair() / 2 }
    }

    /// An equal share of the recent capacity of the line; 0 if that is unknown.
    fn fair(&self) -> u64 {
        self.line.capacity / self.active
    }

    fn bytes(&self, chunks: &Range<u64>) -> u64 {
        chunks.end.saturating_sub(chunks.start).saturating_mul(self.chunk)
    }

    fn silence(&self, lease: &Running) -> Duration {
        self.now.saturating_duration_since(lease.heard.map_or(lease.since, |heard| heard.max(lease.since)))
    }
}

/// About the number of bytes that a connection delivers at once.
const FRAME: u64 = 64 << 10;

fn time(bytes: u64, pace: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(pace.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The silence that every lease is allowed, and the most that any is allowed, at any reported rate of its source.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(30);
/// The lateness of a chunk that says nothing about the next one.
const GRACE: Duration = Duration::from_millis(200);
