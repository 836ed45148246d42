//! Pacing: how long the fetch waits for each source, and over how many connections it asks.
//!
//! The caller supplies all times, tick by tick. A tick counts as half a second at most, so that no source is blamed for
//! time in which this machine stood still.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{event::SourceId, options::Watchdog};

mod climb;

use climb::Climb;
#[cfg(test)]
pub(super) use climb::FIRST_CONNECTIONS;
pub(super) use climb::Meter;

/// The pace of all sources, and of the line that they share.
#[derive(Debug)]
pub(crate) struct Pacing {
    members: BTreeMap<SourceId, Member>,
    watchdog: Watchdog,
    /// The state of the random numbers that spread out the retries of many nodes.
    random: u64,
    line: Meter,
    received: u64,
    /// The most that the line gave recently, in bytes per second.
    capacity: u64,
    last: Option<Instant>,
    /// How often requests were broken off.
    broken_off: u64,
    /// Changes whenever a source begins or ends to wait.
    waits: u64,
}

#[derive(Debug, Default)]
struct Member {
    waits_until: Option<Instant>,
    /// Failures in a row, with no verified byte between them.
    failures: u32,
    /// Stalls since verified bytes last came in time.
    stalls: u32,
    /// Whether the source has ever answered.
    heard: bool,
    /// The rate of verified bytes.
    meter: Meter,
    verified: u64,
    /// The rate of received bytes.
    flow: Meter,
    received: u64,
    /// Received bytes that were refused, or that came before the wanted ones although the source knows ranges.
    useless: u64,
    window: Option<Window>,
    /// How many connections the source has.
    running: usize,
    /// How many requests wait for the source now.
    asked: usize,
    /// How many requests wait for the turn of what has come (`Options::receive`).
    paying: usize,
    /// How many pieces have come from the source, and wait for this machine.
    landing: usize,
    /// How many requests have ended.
    answered: u64,
    climb: Climb,
    knows_no_ranges: bool,
    /// Whether the source was slow to give metadata, and has given none since.
    slow: bool,
    /// A counter that is raised whenever the requests of the source have to end.
    generation: u64,
}

/// A period of asking a source, and the bytes that were due in it.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// How long the source was asked, without pauses.
    asked: Duration,
    /// The bytes that the watchdog demands for that time.
    due: u64,
    /// The bytes that the source had given before, without useless ones.
    given: u64,
    /// The verified bytes that the source had given before.
    verified: u64,
}

/// The next step for a source that failed or stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The source is tried again later.
    Waits,
    /// The source has failed too often.
    GiveUp,
    /// The source had failed or stalled already, so nothing changes.
    AsBefore,
}

/// A source that stalled.
#[derive(Debug)]
pub(crate) struct Stalled {
    pub(crate) source: SourceId,
    pub(crate) next: Next,
    pub(crate) what: String,
}

/// The failures in a row after which a source is not tried again.
const MAX_FAILURES: u32 = 8;
/// The failures in a row after which a source that never answered is given up, while no other source answers. With the
/// waits between them they take about two seconds.
const UNHEARD_FAILURES: u32 = 3;
/// The wait after the first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The stalls, without enough verified bytes between them, after which a source is not tried again.
const MAX_STALLS: u32 = 3;
/// The longest wait that a source may ask for and still be tried again.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(300);
/// The longest time that one tick counts for.
const MAX_TICK: Duration = Duration::from_millis(500);

impl Pacing {
    pub(crate) fn new(watchdog: Watchdog, seed: u64) -> Self {
        Self {
            members: BTreeMap::new(),
            watchdog,
            random: seed | 1,
            line: Meter::default(),
            received: 0,
            capacity: 0,
            last: None,
            broken_off: 0,
            waits: 0,
        }
    }

    pub(crate) fn join(&mut self, source: SourceId) {
        self.members.insert(source, Member::default());
    }

    pub(crate) fn leave(&mut self, source: SourceId) {
        self.members.remove(&source);
        self.broken_off += 1;
    }

    fn with<T: Default>(&mut self, source: SourceId, change: impl FnOnce(&mut Member) -> T) -> T {
        self.members.get_mut(&source).map(change).unwrap_or_default()
    }

    fn of<T: Default>(&self, source: SourceId, read: impl FnOnce(&Member) -> T) -> T {
        self.members.get(&source).map(read).unwrap_or_default()
    }

    pub(crate) fn waits_until(&self, source: SourceId) -> Option<Instant> {
        self.members.get(&source)?.waits_until
    }

    pub(crate) fn knows_ranges(&self, source: SourceId) -> bool {
        !self.of(source, |member| member.knows_no_ranges)
    }

    pub(crate) fn has_no_ranges(&mut self, source: SourceId) {
        self.with(source, |member| member.knows_no_ranges = true);
    }

    /// Whether the source is asked for metadata after all others.
    pub(crate) fn is_slow(&self, source: SourceId) -> bool {
        self.of(source, |member| member.slow)
    }

    pub(crate) fn set_slow(&mut self, source: SourceId, slow: bool) {
        self.with(source, |member| member.slow = slow);
    }

    /// A counter that changes whenever the requests of the source have to end.
    pub(crate) fn generation(&self, source: SourceId) -> u64 {
        self.members.get(&source).map_or(u64::MAX, |member| member.generation)
    }

    /// Ends all requests of the source.
    pub(crate) fn break_off(&mut self, source: SourceId) {
        self.with(source, |member| member.generation += 1);
        self.broken_off += 1;
    }

    /// A counter that changes whenever the requests of any source have to end.
    pub(crate) fn broken_off(&self) -> u64 {
        self.broken_off
    }

    /// Verified bytes per second of the source, over the last seconds.
    pub(crate) fn rate(&self, source: SourceId) -> u64 {
        self.of(source, |member| member.meter.rate)
    }

    /// Received bytes per second of the source, over the last seconds.
    pub(crate) fn flow(&self, source: SourceId) -> u64 {
        self.of(source, |member| member.flow.rate)
    }

    /// Received bytes per second of all sources together, over the last seconds.
    pub(crate) fn line(&self) -> u64 {
        self.line.rate
    }

    /// The most bytes per second that all sources together gave recently.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many connections the source makes use of.
    pub(crate) fn target(&self, source: SourceId) -> usize {
        self.of(source, |member| member.climb.target)
    }

    pub(crate) fn running(&self, source: SourceId) -> usize {
        self.of(source, |member| member.running)
    }

    pub(crate) fn all_running(&self) -> usize {
        self.members.values().map(|member| member.running).sum()
    }

    pub(crate) fn connection_begins(&mut self, source: SourceId) {
        self.with(source, |member| member.running += 1);
    }

    pub(crate) fn connection_ends(&mut self, source: SourceId) {
        self.with(source, |member| member.running = member.running.saturating_sub(1));
    }

    /// Records that a request begins to wait for the source.
    pub(crate) fn ask_begins(&mut self, source: SourceId) {
        self.with(source, |member| member.asked += 1);
    }

    pub(crate) fn ask_ends(&mut self, source: SourceId) {
        self.with(source, |member| {
            member.asked = member.asked.saturating_sub(1);
            member.answered += 1;
        });
    }

    /// Records that a request begins or ends to wait for the rate limit. Its source does not count as asked meanwhile.
    pub(crate) fn pay(&mut self, source: SourceId, begins: bool) {
        self.with(source, |member| {
            member.paying = if begins { member.paying + 1 } else { member.paying.saturating_sub(1) };
        });
    }

    /// Records that the source answered, with success or not.
    pub(crate) fn hear(&mut self, source: SourceId) {
        self.with(source, |member| member.heard = true);
    }

    /// Records bytes that came from the source.
    pub(crate) fn add_received(&mut self, source: SourceId, bytes: u64) {
        self.received += bytes;
        self.with(source, |member| {
            member.heard = true;
            member.received += bytes;
        });
    }

    /// Records bytes of the source that were refused, or that came before the wanted ones.
    pub(crate) fn add_useless(&mut self, source: SourceId, bytes: u64) {
        self.with(source, |member| member.useless += bytes);
    }

    /// Records that a piece has come from the source. Delays from here on do not count against it.
    pub(crate) fn piece_came(&mut self, source: SourceId) {
        self.with(source, |member| member.landing += 1);
    }

    /// Records that a piece was judged: `verified` bytes of it are good, including any that were there before.
    pub(crate) fn piece_landed(&mut self, source: SourceId, verified: u64) {
        self.with(source, |member| {
            member.landing = member.landing.saturating_sub(1);
            if verified > 0 {
                member.verified += verified;
                member.failures = 0;
            }
        });
    }

    /// Whether a piece from the source waits to be judged and written.
    pub(crate) fn is_landing(&self, source: SourceId) -> bool {
        self.of(source, |member| member.landing > 0)
    }

    /// Lowers the number of connections after the source refused one: servers limit the connections of one address.
    /// Returns whether the source goes on with the `others` that it has.
    pub(crate) fn falls_back(&mut self, source: SourceId, others: usize, now: Instant) -> bool {
        self.with(source, |member| {
            let has_others = member.running > others;
            if has_others {
                member.climb.fall_back((member.running - 1).max(1), now);
            }
            has_others
        })
    }

    /// Records that a request failed. The source is tried again later, unless it has failed too often; its other
    /// requests go on.
    pub(crate) fn fail(&mut self, source: SourceId, retry_after: Option<Duration>, now: Instant) -> Next {
        let jitter = self.jitter();
        let Some(member) = self.members.get_mut(&source) else { return Next::AsBefore };
        // Requests that fail at the same moment count as one failure.
        if member.waits_until.is_none() {
            member.failures += 1;
        }
        if member.failures >= MAX_FAILURES {
            return Next::GiveUp;
        }
        self.waits += 1;
        let doubled = FIRST_WAIT * 2_u32.pow(member.failures.saturating_sub(1));
        member.wait(now + retry_after.unwrap_or_default().max(doubled.mul_f64(jitter)));
        Next::Waits
    }

    /// Changes whenever a source begins or ends to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits
    }

    /// The source that waits and is tried again first, of those that may be asked, and when from now on.
    pub(crate) fn first_again(
        &self,
        now: Instant,
        is_asked: impl Fn(SourceId) -> bool,
    ) -> Option<(SourceId, Duration)> {
        let again = |(source, member): (&SourceId, &Member)| {
            Some((*source, member.waits_until?.saturating_duration_since(now)))
        };
        let waiting = self.members.iter().filter(|(source, _)| is_asked(**source)).filter_map(again);
        waiting.min_by_key(|(_, time)| *time)
    }

    /// The sources that never answered, and have failed often enough to be given up if no other one answers: a mistyped
    /// address is as likely as a server that restarts.
    pub(crate) fn unheard(&self) -> Vec<SourceId> {
        let is_unheard = |member: &Member| {
            !member.heard && member.waits_until.is_some() && member.failures >= UNHEARD_FAILURES
        };
        self.members.iter().filter(|(_, member)| is_unheard(member)).map(|(source, _)| *source).collect()
    }

    pub(crate) fn has_answered(&self, source: SourceId) -> bool {
        self.of(source, |member| member.heard)
    }

    /// Advances the time: waiting sources are tried again, rates are measured, and stalls are found. `is_asked` tells
    /// which sources may be asked at all.
    pub(crate) fn tick(&mut self, now: Instant, is_asked: impl Fn(SourceId) -> bool) -> Vec<Stalled> {
        let passed =
            self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last)).min(MAX_TICK);
        self.last = Some(now);
        self.line.tick(now, self.received);
        // The capacity fades within about a minute, since the line may have become slower.
        let fades = self.capacity / 1000 * u64::try_from(passed.as_millis()).unwrap_or(0) / 20;
        self.capacity = self.capacity.saturating_sub(fades).max(self.line.rate);
        let requests =
            |member: &Member| u64::try_from(member.asked.saturating_sub(member.paying)).unwrap_or(0);
        // Connections share the line: a source that is asked over one connection gets less than one that is asked over
        // five.
        let share = self.line.rate / self.members.values().map(requests).sum::<u64>().max(1);
        let mut stalled = Vec::new();
        for (source, member) in &mut self.members {
            member.meter.tick(now, member.verified);
            member.flow.tick(now, member.received);
            if member.waits_until.is_some_and(|until| now >= until) {
                self.waits += 1;
                member.waits_until = None;
                member.window = None;
            }
            member.climb.tick(now, member.meter.rate, member.running, member.answered);
            if member.waits_until.is_some() || !is_asked(*source) {
                member.window = None;
                continue;
            }
            let least = self.watchdog.rate.min(share.saturating_mul(requests(member)) / 2).max(1);
            if let Some(what) = member.watch(passed, least, self.watchdog.window) {
                member.stalls += 1;
                member.generation += 1;
                self.broken_off += 1;
                self.waits += 1;
                let next = if member.stalls >= MAX_STALLS { Next::GiveUp } else { Next::Waits };
                if next == Next::Waits {
                    member.wait(now + self.watchdog.window);
                }
                stalled.push(Stalled { source: *source, next, what });
            }
        }
        stalled
    }

    /// A random factor between 0.5 and 1.5 (xorshift64).
    fn jitter(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        0.5 + f64::from(u32::try_from(self.random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

impl Member {
    fn wait(&mut self, until: Instant) {
        self.waits_until = Some(self.waits_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Advances the time, in which the source is to give `least` bytes per second. Returns a message if it gave less
    /// for `shortest`.
    ///
    /// Bytes count as they come, unless they are refused: a whole chunk takes minutes on a slow line.
    fn watch(&mut self, passed: Duration, least: u64, shortest: Duration) -> Option<String> {
        let given = self.received.saturating_sub(self.useless);
        let begun = Window { asked: Duration::ZERO, due: 0, given, verified: self.verified };
        let seen = self.window.get_or_insert(begun);
        // Bytes that have come and wait for a slow disk do not count against the source.
        if self.landing > 0 {
            *seen = begun;
        }
        if self.asked > self.paying {
            seen.asked += passed;
            seen.due += due(least, passed);
        }
        if seen.asked < shortest {
            return None;
        }
        let given = given.saturating_sub(seen.given);
        if given >= seen.due.max(1) {
            if self.verified > seen.verified {
                self.stalls = 0;
            }
            *seen = begun;
            return None;
        }
        self.window = None;
        Some(format!("gave {given} bytes in {} s", tenths(shortest)))
    }
}

/// The time in seconds, rounded to a tenth.
fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// The bytes that are due in a time at a rate per second.
fn due(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(time.as_millis()) / 1000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
