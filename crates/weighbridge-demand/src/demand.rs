//! The record of what was asked for, and the forecast of what will be.

pub(crate) mod clock;
mod followers;
pub(crate) mod history;
mod outlook;
mod schedule;
#[cfg(test)]
mod tests;

use std::{cell::Cell, collections::BTreeMap, time::Duration};

pub(crate) use followers::Followers;
pub(crate) use outlook::Outlook;

use crate::{
    Days, Signal,
    number::{chance_of, real},
    shelf::Id,
};
use clock::{Clock, DAY};
use followers::{Recent, WINDOW};
use history::{History, Trust};
use outlook::Expected;

/// The record of all releases.
///
/// # Guarantee
/// The memory of a release is bounded, whatever happens; so is the work for an ask. The caller bounds the number of
/// releases.
///
/// # Cost
/// About 4 KiB for each release. Every ten minutes, some hundred steps for each; after a pause of more than an hour, as
/// many as for a day.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) clock: Clock,
    pub(crate) past: BTreeMap<Id, Past>,
    recent: Recent,
    /// How well schedules foresee asks.
    pub(crate) schedules: Trust,
    /// How well asks for one release foresee those for another.
    pub(crate) follows: Trust,
    /// The seconds that a byte takes to come, of all releases, if any was measured.
    pub(crate) pace: Option<f64>,
}

/// The record of one release.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) history: History,
    pub(crate) followers: Followers,
    /// The last ask.
    pub(crate) last: Option<Duration>,
    /// The seconds that a byte takes to come, if that was measured.
    pub(crate) pace: Option<f64>,
    /// The release of which this one is a new revision, until it is asked for itself.
    pub(crate) revises: Option<Id>,
    awaited: Option<Awaited>,
    /// The outlook for keeping the release, until something changes.
    keep: Cell<Option<Outlook>>,
    /// The outlook for fetching it in so many hours, until something changes.
    ahead: Cell<Option<(f64, Outlook)>>,
}

/// An ask that is expected because another release was asked for.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    after: Id,
    chance: f64,
    at: Duration,
    until: Duration,
    signal: Signal,
}

/// The observation that an outlook rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ground {
    Rate { a_day: f64 },
    Hours { at: Duration },
    Schedule { at: Duration, days: Days, hits: u32, of: u32 },
    Follows(Id),
    Base(Id),
    Revision(Id),
}

/// The seconds of a byte before any is measured: 100 MB a second.
const FIRST_PACE: f64 = 1e-8;
/// The hours for which a release may be held before it is asked for, besides twice the time that its fetch takes.
const LEAD: f64 = 0.3;
/// The chance by which a release has to be likelier to follow than to be asked for anyway.
const LEAST_LIFT: f64 = 0.05;
/// The forecasts of following that are remembered.
const FOLLOW_SPAN: f64 = 256.0;

impl Demand {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            clock: Clock::new(now),
            past: BTreeMap::new(),
            recent: Recent::default(),
            schedules: Trust::default(),
            follows: Trust::default(),
            pace: None,
        }
    }

    /// Lets the time pass. A time before the last one changes nothing.
    pub(crate) fn pass(&mut self, now: Duration) {
        let (slots, is_running) = self.clock.behind(now);
        if slots == 0 {
            return;
        }
        self.end_slot();
        if is_running {
            for _ in 1..slots {
                self.begin_slot();
                self.end_slot();
            }
            self.begin_slot();
            return;
        }
        let (from, skipped) = (self.clock.slot(), slots.saturating_sub(1));
        self.clock.skip(skipped);
        for past in self.past.values_mut() {
            past.history.skip(from, skipped);
            past.history.resume(&self.clock);
            past.changed();
        }
    }

    fn end_slot(&mut self) {
        for past in self.past.values_mut() {
            past.history.end_slot(&self.clock, &mut self.schedules);
        }
        self.clock.pass();
    }

    fn begin_slot(&mut self) {
        for past in self.past.values_mut() {
            past.history.begin_slot(&self.clock);
            past.changed();
        }
    }

    /// Begins the record of a release, unless there is one.
    pub(crate) fn know(&mut self, id: Id) {
        let clock = &self.clock;
        self.past.entry(id).or_insert_with(|| Past::with(History::new(clock)));
    }

    /// The decayed count of asks for a release.
    pub(crate) fn weight(&self, id: Id) -> f64 {
        self.past.get(&id).map_or(0.0, |past| past.history.weight())
    }

    /// The start of the next slot.
    pub(crate) fn next_slot(&self) -> Duration {
        self.clock.slot().later(1).start()
    }

    /// Drops the record of a release.
    pub(crate) fn forget(&mut self, id: Id) {
        self.past.remove(&id);
    }

    /// Names the base of an adapter.
    pub(crate) fn set_base(&mut self, adapter: Id, base: Id) {
        if let Some(past) = self.past.get_mut(&adapter) {
            past.followers.set_base(base);
        }
    }

    /// Lets a new revision inherit the record of the release that it replaces, unless it has asks of its own.
    pub(crate) fn revise(&mut self, new: Id, old: Id) {
        if new == old || self.past.get(&new).is_none_or(|past| past.last.is_some() || past.revises.is_some())
        {
            return;
        }
        let Some(past) = self.past.get_mut(&old) else { return };
        let mut heir = Past::with(past.history.hand_on());
        past.changed();
        (heir.followers, heir.pace, heir.revises) = (past.followers.clone(), past.pace, Some(old));
        self.past.insert(new, heir);
    }

    /// Records an ask. `is_surprising` says that the release was not held, or only because it was fetched ahead: asks
    /// for others are searched for one that could have foretold it.
    pub(crate) fn ask(&mut self, id: Id, is_surprising: bool, now: Duration) {
        let Some(past) = self.past.get_mut(&id) else { return };
        let last = past.last.replace(now);
        past.history.ask();
        past.revises = None;
        if past.awaited.take().is_some_and(|awaited| awaited.until > now) {
            self.follows.judge(0.0, 1.0, FOLLOW_SPAN);
        }
        past.changed();
        let begins = past.followers.lead(now);
        if is_surprising {
            for (leader, gap) in self.recent.leaders(id, last, now) {
                if let Some(leader) = self.past.get_mut(&leader) {
                    leader.followers.follow(id, gap);
                }
            }
        }
        if begins {
            self.recent.push(id, now);
            self.expect_followers(id, now);
        }
    }

    fn expect_followers(&mut self, id: Id, now: Duration) {
        let Some(past) = self.past.get(&id) else { return };
        let trust = self.follows.part(1.0, 4.0);
        for next in past.followers.next().collect::<Vec<_>>() {
            let Some(follower) = self.past.get_mut(&next.id) else { continue };
            let [_, slow] = follower.history.rates(&self.clock);
            let anyway = chance_of(slow * 2.0);
            let chance = next.chance * trust;
            let is_likelier = chance > anyway + LEAST_LIFT && (next.is_base || chance > 2.0 * anyway);
            let is_new =
                follower.awaited.is_none_or(|awaited| awaited.until <= now || awaited.chance < chance);
            if next.id == id || !is_likelier || !is_new {
                continue;
            }
            let gap = Duration::try_from_secs_f64(next.gap).unwrap_or(WINDOW);
            let until = now.saturating_add(gap.saturating_mul(2).max(Duration::from_secs(60)));
            let signal = if next.is_base { Signal::Base } else { Signal::Follows };
            let at = now.saturating_add(gap);
            follower.awaited = Some(Awaited { after: id, chance, at, until, signal });
            follower.changed();
            self.follows.judge(next.chance, 0.0, FOLLOW_SPAN);
        }
    }

    /// Records that so many bytes of a release took that long to come.
    pub(crate) fn measure(&mut self, id: Id, bytes: u64, took: Duration) {
        if bytes == 0 {
            return;
        }
        let pace = (took.as_secs_f64() / real(bytes)).clamp(LEAST_PACE, MOST_PACE);
        self.pace = Some(self.pace.map_or(pace, |old| old + (pace - old) / 16.0));
        if let Some(past) = self.past.get_mut(&id) {
            past.pace = Some(past.pace.map_or(pace, |old| (old + pace) / 2.0));
        }
    }

    /// The seconds that a byte of a release takes to come.
    pub(crate) fn pace(&self, id: Id) -> f64 {
        self.past.get(&id).and_then(|past| past.pace).or(self.pace).unwrap_or(FIRST_PACE)
    }

    /// The worth of holding a release for as long as is best, by what is known now.
    pub(crate) fn outlook(&self, id: Id, now: Duration) -> Outlook {
        let Some(past) = self.past.get(&id) else { return Outlook::NONE };
        if let Some(outlook) = past.keep.get() {
            return outlook;
        }
        let outlook = past.look(&self.clock, self.schedules, now, f64::INFINITY, 0.0);
        past.keep.set(Some(outlook));
        outlook
    }

    /// The same for a release whose missing bytes take so many hours to come. Later asks do not count: the fetch can begin
    /// later, too.
    pub(crate) fn outlook_ahead(&self, id: Id, now: Duration, fetch: f64) -> Outlook {
        let Some(past) = self.past.get(&id) else { return Outlook::NONE };
        match past.ahead.get() {
            Some((same, outlook)) if same == fetch => outlook,
            _ => {
                let outlook = past.look(&self.clock, self.schedules, now, LEAD + 2.0 * fetch, fetch);
                past.ahead.set(Some((fetch, outlook)));
                outlook
            }
        }
    }

    /// The observation behind an outlook.
    pub(crate) fn ground(&self, id: Id, outlook: Outlook) -> Ground {
        let rate = |past: &Past| Ground::Rate { a_day: past.history.rates(&self.clock)[1] * real(DAY) };
        let Some(past) = self.past.get(&id) else { return Ground::Rate { a_day: 0.0 } };
        if let Some(old) = past.revises {
            return Ground::Revision(old);
        }
        let slot = self.clock.slot().later(outlook.at);
        let at = self.time_of_day(outlook.at);
        match (outlook.signal, past.awaited) {
            (Signal::Follows, Some(awaited)) => Ground::Follows(awaited.after),
            (Signal::Base, Some(awaited)) => Ground::Base(awaited.after),
            (Signal::Hours, _) => Ground::Hours { at },
            (Signal::Schedule, _) => match past.history.pattern(&self.clock, slot) {
                Some(pattern) => {
                    Ground::Schedule { at, days: pattern.days, hits: pattern.hits, of: pattern.of }
                }
                None => rate(past),
            },
            _ => rate(past),
        }
    }

    fn time_of_day(&self, slots_ahead: u64) -> Duration {
        let seconds = self.clock.slot().later(slots_ahead).start().as_secs();
        Duration::from_secs(seconds.checked_rem(86_400).unwrap_or(0))
    }
}

/// A gigabyte in a microsecond is nobody's measure, nor is a byte in a second.
const LEAST_PACE: f64 = 1e-15;
const MOST_PACE: f64 = 1.0;

impl Past {
    pub(crate) fn with(history: History) -> Self {
        Self {
            history,
            followers: Followers::default(),
            last: None,
            pace: None,
            revises: None,
            awaited: None,
            keep: Cell::new(None),
            ahead: Cell::new(None),
        }
    }

    fn changed(&self) {
        self.keep.set(None);
        self.ahead.set(None);
    }

    fn look(&self, clock: &Clock, schedules: Trust, now: Duration, limit: f64, fetch: f64) -> Outlook {
        let expected = self.awaited.filter(|awaited| awaited.until > now).map(|awaited| Expected {
            chance: awaited.chance,
            hours: awaited.at.saturating_sub(now).as_secs_f64() / 3600.0,
            signal: awaited.signal,
        });
        let mut outlook = outlook::look(&self.history, clock, schedules, expected, limit, fetch);
        if self.revises.is_some() {
            outlook.signal = Signal::Revision;
        }
        outlook
    }
}
