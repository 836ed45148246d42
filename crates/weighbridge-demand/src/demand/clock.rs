//! The division of time into slots of ten minutes, and which of them were watched.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The slots of a day.
pub(crate) const DAY: u64 = 144;
/// The slots of a week.
pub(crate) const WEEK: u64 = 7 * DAY;
/// The slots that are remembered.
pub(crate) const KEPT: u64 = 4 * WEEK;
/// The seconds of a slot.
const SECONDS: u64 = 600;
/// The slots of an hour.
pub(crate) const HOUR: u64 = 6;
/// The most slots without any event after which the node still counts as running all the time.
const PAUSE: u64 = HOUR;

/// Ten minutes, by their number since the Unix epoch, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Slot(u64);

impl Slot {
    pub(crate) fn of(time: Duration) -> Self {
        Self(time.as_secs().checked_div(SECONDS).unwrap_or(0))
    }

    pub(crate) fn start(self) -> Duration {
        Duration::from_secs(self.0.saturating_mul(SECONDS))
    }

    pub(crate) fn later(self, slots: u64) -> Self {
        Self(self.0.saturating_add(slots))
    }

    pub(crate) fn earlier(self, slots: u64) -> Self {
        Self(self.0.saturating_sub(slots))
    }

    /// The number of slots from `other` to this one; 0 if it is earlier.
    pub(crate) fn since(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }

    /// The number of the slot in its day.
    pub(crate) fn of_day(self) -> usize {
        usize::try_from(self.0.checked_rem(DAY).unwrap_or(0)).unwrap_or(0)
    }

    /// Whether the slot lies on a day from Monday to Friday, in UTC.
    pub(crate) fn is_workday(self) -> bool {
        // The epoch was a Thursday.
        let weekday = self.0.checked_div(DAY).unwrap_or(0).saturating_add(3).checked_rem(7).unwrap_or(0);
        weekday < 5
    }
}

/// A bit for each of the last four weeks' slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bits(Vec<u64>);

/// The number of words of [`Bits`].
const WORDS: usize = 63;

impl Bits {
    pub(crate) fn new() -> Self {
        Self(vec![0; WORDS])
    }

    pub(crate) fn set(&mut self, slot: Slot, value: bool) {
        let (word, bit) = Self::place(slot);
        if let Some(word) = self.0.get_mut(word) {
            *word = if value { *word | bit } else { *word & !bit };
        }
    }

    /// The bit of a slot of the last four weeks. A slot that is earlier shares the bit of a later one.
    pub(crate) fn get(&self, slot: Slot) -> bool {
        let (word, bit) = Self::place(slot);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        self.0.len() == WORDS
    }

    fn place(slot: Slot) -> (usize, u64) {
        let at = slot.0.checked_rem(KEPT).unwrap_or(0);
        (usize::try_from(at >> 6).unwrap_or(usize::MAX), 1 << (at & 63))
    }
}

/// A half-life, in slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfLife {
    /// The part that is left after one slot.
    left: f64,
    /// The weight that the slots of the watched time had, if each were decayed to now.
    span: f64,
}

/// The time before the first slot, as if it had been watched without any ask: two hours. It keeps one ask right after
/// the start from looking like a hundred a day.
const PRIOR: f64 = 12.0;

impl HalfLife {
    pub(crate) fn decay(self, count: f64) -> f64 {
        count * self.left
    }

    /// The asks of a slot, where so many decayed ones were counted.
    pub(crate) fn rate(self, count: f64) -> f64 {
        count / (self.span + PRIOR)
    }
}

/// The slot that time is in, and the slots before in which the node was running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clock {
    slot: Slot,
    watched: Bits,
    /// The number of watched slots, ever.
    seen: u64,
    fast_span: f64,
    slow_span: f64,
}

/// The half-life of the count that follows bursts: 6 hours, in slots.
const FAST: f64 = 36.0;
/// The half-life of the count that knows what is asked for on most days: 3 days, in slots.
const SLOW: f64 = 432.0;

impl Clock {
    pub(crate) fn new(now: Duration) -> Self {
        Self { slot: Slot::of(now), watched: Bits::new(), seen: 0, fast_span: 0.0, slow_span: 0.0 }
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// The number of slots that have to pass to come to `now`, and whether the node was running all the time.
    pub(crate) fn behind(&self, now: Duration) -> (u64, bool) {
        let slots = Slot::of(now).since(self.slot);
        (slots, slots <= PAUSE)
    }

    /// Ends the slot, which was watched.
    pub(crate) fn pass(&mut self) {
        self.watched.set(self.slot, true);
        self.seen = self.seen.saturating_add(1);
        self.fast_span = self.fast().decay(self.fast_span) + 1.0;
        self.slow_span = self.slow().decay(self.slow_span) + 1.0;
        self.slot = self.slot.later(1);
    }

    /// Passes over slots in which the node did not run.
    pub(crate) fn skip(&mut self, slots: u64) {
        for slot in 0..slots.min(KEPT) {
            self.watched.set(self.slot.later(slot), false);
        }
        self.slot = self.slot.later(slots);
    }

    pub(crate) fn fast(&self) -> HalfLife {
        HalfLife { left: crate::number::halved(1.0 / FAST), span: self.fast_span }
    }

    pub(crate) fn slow(&self) -> HalfLife {
        HalfLife { left: crate::number::halved(1.0 / SLOW), span: self.slow_span }
    }

    /// The part of the difference between fast and slow rate that is left so many slots from now.
    pub(crate) fn fades(slots: f64) -> f64 {
        crate::number::halved(slots / FAST)
    }

    /// Whether the node was running in a slot of the last four weeks, which is over.
    pub(crate) fn was_watched(&self, slot: Slot) -> bool {
        slot < self.slot && self.slot.since(slot) < KEPT && self.watched.get(slot)
    }

    /// Whether the node has run for a day.
    pub(crate) fn has_seen_a_day(&self) -> bool {
        self.seen >= DAY
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        let is_span = |span: f64| (0.0..=1e4).contains(&span);
        self.watched.is_well_formed() && is_span(self.fast_span) && is_span(self.slow_span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(text: &str) -> Slot {
        let time = weighbridge_manifest::Time::parse(text).unwrap();
        Slot::of(Duration::from_secs(time.unix().unsigned_abs()))
    }

    #[test]
    fn slots_know_day_and_week() {
        assert_eq!(slot("2026-11-02T00:00:00Z").of_day(), 0);
        assert_eq!(slot("2026-11-02T23:59:59Z").of_day(), 143);
        let workdays = (2..=8).map(|day| slot(&format!("2026-11-{day:02}T12:00:00Z")).is_workday());
        assert_eq!(workdays.collect::<Vec<_>>(), [true, true, true, true, true, false, false]);
    }

    #[test]
    fn only_the_last_four_weeks_were_watched() {
        let mut clock = Clock::new(Duration::from_secs(1_000_000_000));
        let first = clock.slot();
        for _ in 0..KEPT + 10 {
            clock.pass();
        }
        assert!(!clock.was_watched(first) && !clock.was_watched(clock.slot()));
        assert!(
            clock.was_watched(clock.slot().earlier(1)) && clock.was_watched(clock.slot().earlier(KEPT - 1))
        );
        assert!(!clock.was_watched(clock.slot().earlier(KEPT)));
        clock.skip(3);
        assert_eq!([1, 3, 4].map(|back| clock.was_watched(clock.slot().earlier(back))), [false, false, true]);
    }

    #[test]
    fn a_pause_of_more_than_an_hour_is_not_watched() {
        let clock = Clock::new(Duration::from_secs(600 * 1000));
        assert_eq!(clock.behind(Duration::from_secs(600 * 1006)), (6, true));
        assert_eq!(clock.behind(Duration::from_secs(600 * 1007)), (7, false));
        assert_eq!(clock.behind(Duration::ZERO), (0, true));
    }

    #[test]
    fn rates_are_asks_a_slot_from_the_start() {
        let mut clock = Clock::new(Duration::ZERO);
        let mut counts = [0.0; 2];
        for _ in 0..1000 {
            counts = counts.map(|count| count + 0.5);
            counts = [clock.fast().decay(counts[0]), clock.slow().decay(counts[1])];
            clock.pass();
        }
        let rates = [clock.fast().rate(counts[0]), clock.slow().rate(counts[1])];
        assert!(rates.iter().all(|rate| (0.38..0.5).contains(rate)), "{rates:?}");
    }
}
