//! The asks for one release, and the forecasts that follow from them alone.

use serde::{Deserialize, Serialize};

use super::{
    clock::{Bits, Clock, DAY, HOUR, Slot},
    schedule::{self, Pattern},
};
use crate::number::{chance_of, halved};

/// The ways to forecast the asks of a slot that are compared with each other.
pub(super) const FORECASTS: usize = 3;
/// The slots for which there is a forecast by the time of the day.
pub(super) const FORESEEN: u64 = DAY - 4;

/// The asks for one release.
///
/// # Cost
/// About 3 KiB. The end of a slot takes some hundred steps.
#[derive(Clone, Debug)]
pub(crate) struct History {
    counts: Counts,
    /// For the slots to come, by their place in the day: the chance of an ask by the hours of earlier days.
    hours: Vec<f64>,
    /// The same by the schedule, as far as it is more than chance.
    schedule: Vec<f64>,
    /// The rates at the start of the slot.
    then: [f64; 2],
}

/// The part of a history from which the rest is computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The slot in which the record of the release began.
    since: Slot,
    fast: f64,
    slow: f64,
    /// The slots in which the release was asked for.
    asked: Bits,
    /// Whether it has been asked for in this slot.
    is_asked: bool,
    /// The squared errors of each way to forecast, of the last days.
    errors: [f64; FORECASTS],
    /// How well the schedule has foreseen the asks.
    trust: Trust,
    /// The part of the usual asks that is expected to stay: less than 1 once there is a new revision.
    stays: f64,
}

/// The asks that a kind of forecast foresaw, and those that came. Both decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trust {
    foreseen: f64,
    came: f64,
}

impl Trust {
    /// Records a forecast with this chance, and the part of an ask that came beyond what was to be expected anyway.
    /// Earlier ones count less, as if about `span` were remembered.
    pub(crate) fn judge(&mut self, chance: f64, came: f64, span: f64) {
        self.foreseen += chance - self.foreseen / span;
        self.came += came - self.came / span;
    }

    /// The part of the foreseen asks that came, where `prior` of them are added to `weight` that were foreseen.
    pub(crate) fn part(self, prior: f64, weight: f64) -> f64 {
        ((self.came + prior * weight) / (self.foreseen + weight)).min(1.0)
    }

    pub(crate) fn is_well_formed(self) -> bool {
        (0.0..=1e6).contains(&self.foreseen) && (0.0..=1e6).contains(&self.came)
    }
}

/// The schedule's forecasts that a release remembers.
const OWN_SPAN: f64 = 32.0;
/// The schedule's forecasts of all releases that are remembered.
pub(super) const ALL_SPAN: f64 = 2048.0;
/// The least chance of a schedule that is judged.
const LEAST_JUDGED: f64 = 0.1;
/// The slots for which errors are remembered: 4 days.
const ERROR_SPAN: f64 = 576.0;
/// How much more weight a forecast has for each squared error less: its double for half an error.
const SHARPNESS: f64 = 2.0;

/// The asks that are expected in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    /// By the counts that decay.
    pub(super) rate: f64,
    /// By the hours of earlier days.
    pub(super) hours: f64,
}

impl History {
    pub(crate) fn new(clock: &Clock) -> Self {
        let counts = Counts {
            since: clock.slot(),
            fast: 0.0,
            slow: 0.0,
            asked: Bits::new(),
            is_asked: false,
            errors: [0.0; FORECASTS],
            trust: Trust::default(),
            stays: 1.0,
        };
        Self::with(counts, clock)
    }

    /// The history with these counts.
    pub(crate) fn with(counts: Counts, clock: &Clock) -> Self {
        let day = usize::try_from(DAY).unwrap_or(0);
        let mut history = Self { counts, hours: vec![0.0; day], schedule: vec![0.0; day], then: [0.0; 2] };
        history.resume(clock);
        history
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn ask(&mut self) {
        self.counts.fast += 1.0;
        self.counts.slow += 1.0;
        self.counts.is_asked = true;
        self.counts.stays = (self.counts.stays + 1.0) / 2.0;
    }

    /// Splits the asks to come between this release and its new revision, whose history is returned.
    pub(crate) fn hand_on(&mut self) -> Self {
        let heir = self.clone();
        self.counts.fast *= LEFT_BEHIND;
        self.counts.slow *= LEFT_BEHIND;
        self.counts.stays *= LEFT_BEHIND;
        heir
    }

    /// The asks of a slot, from the count that follows bursts, and from the one that knows what is usual.
    pub(crate) fn rates(&self, clock: &Clock) -> [f64; 2] {
        // A single ask makes no burst.
        let burst = (self.counts.fast - 1.0).max(0.0);
        [clock.fast().rate(burst), clock.slow().rate(self.counts.slow)]
    }

    /// The decayed count of asks.
    pub(crate) fn weight(&self) -> f64 {
        self.counts.slow
    }

    /// Ends the slot: judges the forecasts for it, and records whether the release was asked for. The schedule's
    /// forecast and what came of it are added to `all`.
    pub(crate) fn end_slot(&mut self, clock: &Clock, all: &mut Trust) {
        let slot = clock.slot();
        let counts = &mut self.counts;
        let asked = if counts.is_asked { 1.0 } else { 0.0 };
        let [fast, slow] = self.then.map(chance_of);
        let hours = if slot.since(counts.since) < DAY { slow } else { forecast(&self.hours, slot) };
        for (error, chance) in counts.errors.iter_mut().zip([fast, slow, hours]) {
            *error += (chance - asked) * (chance - asked) - *error / ERROR_SPAN;
        }
        let chance = forecast(&self.schedule, slot);
        if chance >= LEAST_JUDGED {
            let came = (asked - slow).max(0.0);
            counts.trust.judge(chance, came, OWN_SPAN);
            all.judge(chance, came, ALL_SPAN);
        }
        counts.asked.set(slot, counts.is_asked);
        counts.is_asked = false;
        counts.fast = clock.fast().decay(counts.fast);
        counts.slow = clock.slow().decay(counts.slow);
    }

    /// Begins a slot, and makes the forecast for one that is almost a day later.
    pub(crate) fn begin_slot(&mut self, clock: &Clock) {
        self.then = self.rates(clock);
        self.foresee(clock, clock.slot().later(FORESEEN));
    }

    /// Forgets slots that lay four weeks before ones in which the node did not run.
    pub(crate) fn skip(&mut self, from: Slot, slots: u64) {
        self.counts.is_asked = false;
        for slot in 0..slots.min(super::clock::KEPT) {
            self.counts.asked.set(from.later(slot), false);
        }
    }

    /// Makes all forecasts anew.
    pub(crate) fn resume(&mut self, clock: &Clock) {
        self.then = self.rates(clock);
        for slot in 0..=FORESEEN {
            self.foresee(clock, clock.slot().later(slot));
        }
    }

    fn foresee(&mut self, clock: &Clock, slot: Slot) {
        let [_, slow] = self.rates(clock).map(chance_of);
        let hours = schedule::hours(&self.counts.asked, clock, slot, slow);
        let chance = self.pattern(clock, slot).map_or(0.0, |pattern| pattern.chance);
        for (forecasts, new) in [(&mut self.hours, hours), (&mut self.schedule, chance)] {
            if let Some(forecast) = forecasts.get_mut(slot.of_day()) {
                *forecast = new;
            }
        }
    }

    /// The regular time at which the slot lies, if there is one.
    pub(super) fn pattern(&self, clock: &Clock, slot: Slot) -> Option<Pattern> {
        let [_, slow] = self.rates(clock).map(chance_of);
        schedule::pattern(&self.counts.asked, clock, slot, slow)
    }

    /// The part of the schedule's chances that is to be believed, where `all` of the releases' were right so often.
    pub(super) fn trust_in_schedule(&self, all: Trust) -> f64 {
        self.counts.trust.part(all.part(0.5, 2.0), 2.0)
    }

    /// The part of the forecast that each way makes: those with fewer errors make more of it.
    fn weights(&self, clock: &Clock) -> [f64; FORECASTS] {
        let knows_hours = clock.has_seen_a_day() && clock.slot().since(self.counts.since) >= DAY;
        let usable = if knows_hours { FORECASTS } else { FORECASTS.saturating_sub(1) };
        let errors = self.counts.errors.iter().take(usable);
        let least = errors.clone().copied().fold(f64::INFINITY, f64::min);
        let mut weights = [0.0; FORECASTS];
        for (weight, error) in weights.iter_mut().zip(errors) {
            *weight = halved(SHARPNESS * (error - least));
        }
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| weight / sum)
    }

    /// The forecasts for the slots to come.
    pub(super) fn forecast(&self, clock: &Clock) -> Forecast<'_> {
        Forecast { history: self, slot: clock.slot(), rates: self.rates(clock), weights: self.weights(clock) }
    }
}

/// The forecasts for the slots from now to [`FORESEEN`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast<'h> {
    history: &'h History,
    slot: Slot,
    rates: [f64; 2],
    weights: [f64; FORECASTS],
}

impl Forecast<'_> {
    /// The asks that are expected so many slots from now, if there is no schedule.
    pub(super) fn usual(&self, ahead: u64) -> Usual {
        let ([fast, slow], [by_fast, by_slow, by_hours]) = (self.rates, self.weights);
        let left = Clock::fades(crate::number::real(ahead));
        Usual {
            rate: by_fast * (slow + (fast - slow) * left) + by_slow * slow,
            hours: by_hours
                * self.history.counts.stays
                * forecast(&self.history.hours, self.slot.later(ahead)),
        }
    }

    /// The chance of an ask by the schedule, so many slots from now. A schedule is kept once in its slot.
    pub(super) fn scheduled(&self, ahead: u64) -> f64 {
        let is_over = ahead == 0 && self.history.counts.is_asked;
        let chance = forecast(&self.history.schedule, self.slot.later(ahead));
        if is_over { 0.0 } else { self.history.counts.stays * chance }
    }
}

/// The part of the asks that is expected to stay with a release that has a new revision.
const LEFT_BEHIND: f64 = 0.3;

fn forecast(forecasts: &[f64], slot: Slot) -> f64 {
    forecasts.get(slot.of_day()).copied().unwrap_or(0.0)
}

impl Counts {
    pub(crate) fn is_well_formed(&self) -> bool {
        let is_count = |count: f64| (0.0..=1e12).contains(&count);
        is_count(self.fast)
            && is_count(self.slow)
            && self.asked.is_well_formed()
            && self.errors.iter().all(|error| (0.0..=1e6).contains(error))
            && self.trust.is_well_formed()
            && (0.0..=1.0).contains(&self.stays)
    }
}

/// The slots of an hour around one: it, and three to each side.
pub(super) const AROUND: u64 = HOUR / 2;
