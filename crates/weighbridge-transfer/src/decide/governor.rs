//! The governor: how many connections all sources together may have.

use std::time::{Duration, Instant};

/// The resources that this machine and the caller grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// How many pieces fit into the memory of the fetch. Each connection needs one.
    pub(crate) pieces: usize,
    /// How many file descriptors connections may use; `None` if the system does not limit them.
    pub(crate) descriptors: Option<usize>,
    /// The caller's limit in bytes per second for all sources together, if there is one.
    pub(crate) rate: Option<u64>,
}

impl Means {
    /// The number of connections that they allow.
    fn most(&self) -> usize {
        let limited = |rate: u64| usize::try_from(rate / LIMITED_SHARE).unwrap_or(usize::MAX);
        let most = self.pieces.min(self.descriptors.unwrap_or(usize::MAX)).max(FEWEST);
        most.min(self.rate.map_or(usize::MAX, limited).max(FEWEST))
    }
}

/// Decides how many connections are admitted: never more than the means allow or the line makes use of, however many
/// sources there are.
///
/// The number begins small. The governor tries a larger number as long as the line then gives more, and a smaller one
/// where each connection gets next to nothing and fewer get as much.
#[derive(Debug)]
pub(crate) struct Governor {
    means: Means,
    level: usize,
    since: Option<Instant>,
    held_until: Option<Instant>,
    trial: Option<Trial>,
    /// The last trial showed that more connections give no more.
    is_full: bool,
    /// The last trial showed that fewer connections give less.
    fewer_failed: bool,
}

/// A number of connections that is being tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    level_before: usize,
    /// The rate before the trial, in bytes per second.
    rate_before: u64,
}

const FIRST: usize = 16;
const FEWEST: usize = 2;
const STEP: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_secs(30);
/// The least useful share of a connection, in bytes per second. A connection that gets less is one too many if the
/// others get what it leaves.
const LEAST_SHARE: u64 = 64 << 10;
/// The share of each connection under a caller's limit, in bytes per second. A server sends ahead as much as the
/// buffers on the way hold; fewer connections have fewer buffers.
const LIMITED_SHARE: u64 = 256 << 10;
/// The most requests for metadata that may be under way at once.
const MOST_REQUESTS: usize = 32;

impl Governor {
    pub(crate) fn new(means: Means) -> Self {
        Self {
            means,
            level: means.most().min(FIRST),
            since: None,
            held_until: None,
            trial: None,
            is_full: false,
            fewer_failed: false,
        }
    }

    /// No more pieces than this fit into memory: they are longer than they were taken to be.
    pub(crate) fn set_pieces(&mut self, pieces: usize) {
        self.means.pieces = self.means.pieces.min(pieces);
        self.level = self.level.min(self.means.most());
    }

    /// The caller's limit is another one from now on.
    pub(crate) fn set_rate(&mut self, rate: Option<u64>) {
        if self.means.rate != rate {
            self.means.rate = rate;
            self.level = self.level.min(self.means.most());
        }
    }

    /// How many connections all sources together may have.
    pub(crate) fn level(&self) -> usize {
        self.level
    }

    /// How many requests for metadata may be under way at once.
    pub(crate) fn requests(&self) -> usize {
        self.means.most().clamp(FEWEST, MOST_REQUESTS)
    }

    /// Whether the line or the caller's limit is the bottleneck, so that one connection gains only what another one
    /// loses.
    pub(crate) fn is_scarce(&self, rate: u64) -> bool {
        self.is_full || self.means.rate.is_some_and(|limit| rate >= limit - limit / 5)
    }

    /// Advances the time. `rate` is what all sources together give in bytes per second; `running` is how many
    /// connections they have.
    pub(crate) fn tick(&mut self, now: Instant, rate: u64, running: usize) {
        if running < self.level {
            self.since = None;
            self.trial = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < STEP {
            return;
        }
        self.since = Some(now);
        if let Some(Trial { level_before, rate_before }) = self.trial.take() {
            let is_more = level_before < self.level;
            let was_good = if is_more {
                rate > rate_before + rate_before / 10
            } else {
                rate >= rate_before - rate_before / 10
            };
            self.fewer_failed = !is_more && !was_good;
            if was_good {
                self.is_full &= !is_more;
            } else {
                self.level = level_before;
                self.is_full = is_more;
                self.held_until = is_more.then(|| now + HOLD);
            }
        }
        if self.held_until.is_some_and(|until| now < until) {
            return;
        }
        let share = rate / u64::try_from(self.level).unwrap_or(u64::MAX).max(1);
        let next = match share < LEAST_SHARE && self.level > FEWEST && !self.fewer_failed {
            true => (self.level / 2).max(FEWEST),
            false => (self.level + self.level.div_ceil(2)).min(self.means.most()),
        };
        if next != self.level {
            self.trial = Some(Trial { level_before: self.level, rate_before: rate });
            self.level = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn means() -> Means {
        Means { pieces: 96, descriptors: None, rate: None }
    }

    /// Runs the governor for a minute on a line that gives `rate(connections)`.
    fn minute(governor: &mut Governor, from: Instant, rate: impl Fn(u64) -> u64) -> Vec<usize> {
        let step = |tenth: u32| {
            let running = governor.level();
            governor.tick(from + tenth * Duration::from_millis(100), rate(running as u64), running);
            governor.level()
        };
        (0..600).map(step).collect()
    }

    #[test]
    fn the_means_are_kept() {
        for (pieces, descriptors, rate, most) in [
            (2, None, None, 2),
            (0, Some(0), Some(0), 2),
            (96, Some(40), None, 40),
            (96, None, Some(MIB), 4),
            (96, None, Some(MIB / 100), 2),
        ] {
            let mut governor = Governor::new(Means { pieces, descriptors, rate });
            assert!(governor.level() <= most);
            let levels = minute(&mut governor, Instant::now(), |running| running * 50 * MIB);
            assert!(levels.iter().all(|level| *level <= most), "{levels:?}");
            assert_eq!(levels.last(), Some(&most));
        }
    }

    #[test]
    fn a_limit_that_changes_holds_from_then_on() {
        let (mut governor, begin) = (Governor::new(means()), Instant::now());
        minute(&mut governor, begin, |running| running * 50 * MIB);
        assert_eq!(governor.level(), 96);
        governor.set_rate(Some(MIB));
        assert_eq!((governor.level(), governor.is_scarce(MIB)), (4, true));
        governor.set_rate(None);
        let levels = minute(&mut governor, begin + Duration::from_secs(60), |running| running * 50 * MIB);
        assert_eq!((levels.last(), governor.is_scarce(MIB)), (Some(&96), false));
    }

    #[test]
    fn a_line_that_gives_more_to_more_connections_gets_more() {
        let mut governor = Governor::new(means());
        let levels = minute(&mut governor, Instant::now(), |running| running * MIB);
        assert_eq!((levels[0], levels.last()), (16, Some(&96)));
        assert!(!governor.is_scarce(96 * MIB));
    }

    #[test]
    fn a_line_that_is_full_is_known_to_be_and_keeps_its_number() {
        let mut governor = Governor::new(means());
        let levels = minute(&mut governor, Instant::now(), |_| 20 * MIB);
        assert!(levels.iter().all(|level| (16..=24).contains(level)), "{levels:?}");
        assert_eq!(levels.last(), Some(&16));
        assert!(governor.is_scarce(20 * MIB));
    }

    #[test]
    fn a_slow_line_is_given_fewer_connections_unless_that_makes_it_slower() {
        let mut governor = Governor::new(means());
        let levels = minute(&mut governor, Instant::now(), |_| 250_000);
        assert!(*levels.last().unwrap() <= 4, "{levels:?}");
        // Each source is slow by itself, and the line is not the limit.
        let mut governor = Governor::new(means());
        let levels = minute(&mut governor, Instant::now(), |running| running * 4_000);
        assert!(levels.last().unwrap() > &16, "{levels:?}");
    }

    #[test]
    fn a_limit_that_is_used_up_is_scarce() {
        let governor = Governor::new(Means { rate: Some(MIB), ..means() });
        assert!(
            governor.is_scarce(MIB) && governor.is_scarce(MIB - MIB / 10) && !governor.is_scarce(MIB / 2)
        );
        assert!(!Governor::new(means()).is_scarce(u64::MAX));
    }
}
