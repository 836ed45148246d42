//! The worth of holding a release: how soon it is likely to be asked for.

use super::{
    clock::{Clock, HOUR},
    history::{History, Trust},
};
use crate::{
    Signal,
    number::{chance_of, decay, real},
};

/// The forecast for one release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outlook {
    /// The asks that are met by holding the release, for each hour of holding it: at the time for which it is best
    /// held. With asks at random, their rate.
    pub(crate) index: f64,
    /// The chance that it is asked for within `within`.
    pub(crate) chance: f64,
    /// In hours.
    pub(crate) within: f64,
    /// The strongest reason for it.
    pub(crate) signal: Signal,
    /// The slots from now to the time at which that signal is strongest.
    pub(crate) at: u64,
}

impl Outlook {
    /// The outlook of a release of which nothing is known.
    pub(crate) const NONE: Self = Self { index: 0.0, chance: 0.0, within: 0.0, signal: Signal::Rate, at: 0 };
}

/// An ask that is expected because another release was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) chance: f64,
    /// The hours from now until it is expected.
    pub(crate) hours: f64,
    pub(crate) signal: Signal,
}

/// The slots that are looked at one by one, before those that are looked at by the hour.
const CLOSE: u64 = 12;
/// The hours that are looked at in all, so that no slot is beyond the forecasts of a day.
const HOURS: u64 = 23;

/// Looks ahead by `limit` hours, or a day if that is less.
///
/// A release that takes `fetch` hours to come is fetched in part only if it is asked for sooner. That part of the ask
/// counts.
pub(crate) fn look(
    history: &History,
    clock: &Clock,
    trust: Trust,
    expected: Option<Expected>,
    limit: f64,
    fetch: f64,
) -> Outlook {
    let forecast = history.forecast(clock);
    let belief = history.trust_in_schedule(trust);
    let mut best = Outlook::NONE;
    // The chance that no ask has come yet, the asks that are met, and the hours for which the release is held.
    let (mut none_yet, mut met, mut held, mut passed) = (1.0, 0.0, 0.0, 0.0);
    let mut shares = Shares::default();
    for step in steps() {
        if passed >= limit {
            break;
        }
        let usual = forecast.usual(step.first.saturating_add(step.slots / 2));
        let slots = real(step.slots);
        let (rate, hours) = (usual.rate * slots, usual.hours * slots);
        let unscheduled = (0..step.slots).fold(1.0, |none, slot| {
            none * (1.0 - belief * forecast.scheduled(step.first.saturating_add(slot)))
        });
        let after = expected.map_or(0.0, |expected| expected.within(passed, step.hours()));
        let none_at_once = unscheduled * (1.0 - after);
        let chance = (1.0 - decay(rate + hours) * none_at_once).min(MOST);
        shares.add(Signal::Rate, none_yet * rate, step.first);
        shares.add(Signal::Hours, none_yet * hours, step.first);
        shares.add(Signal::Schedule, none_yet * (1.0 - unscheduled), step.first);
        if let Some(expected) = expected {
            shares.add(expected.signal, none_yet * after, step.first);
        }
        let until = match expected {
            Some(expected) if after > 0.5 * chance => expected.hours,
            _ => passed + step.hours() / 2.0,
        };
        met += none_yet * chance * if until < fetch { until / fetch } else { 1.0 };
        // The release is not held any longer for an ask that has come.
        held += none_yet * step.hours() * mean_rest(rate + hours) * (1.0 + none_at_once) / 2.0;
        passed += step.hours();
        none_yet *= 1.0 - chance;
        if met / held > best.index {
            let (signal, at) = shares.largest();
            best = Outlook { index: met / held, signal, at, ..best };
        }
        (best.chance, best.within) = (1.0 - none_yet, passed);
    }
    best
}

/// The mean part of a period that passes before the first of the asks that are expected in it, or before its end.
fn mean_rest(expected: f64) -> f64 {
    if expected < 1e-6 { 1.0 } else { chance_of(expected) / expected }
}

/// The largest chance that is believed.
const MOST: f64 = 0.999;

/// Some slots that are looked at together.
#[derive(Clone, Copy, Debug)]
struct Step {
    first: u64,
    slots: u64,
}

impl Step {
    fn hours(self) -> f64 {
        real(self.slots) / real(HOUR)
    }
}

fn steps() -> impl Iterator<Item = Step> {
    let close = (0..CLOSE).map(|first| Step { first, slots: 1 });
    let far = (CLOSE / HOUR..HOURS).map(|hour| Step { first: hour.saturating_mul(HOUR), slots: HOUR });
    close.chain(far)
}

impl Expected {
    /// The chance that the ask comes in the `hours` after `from`. It is spread evenly over twice the time until it is
    /// expected, and over a slot at least.
    fn within(self, from: f64, hours: f64) -> f64 {
        let spread = (self.hours * 2.0).max(1.0 / real(HOUR));
        self.chance * ((from + hours).min(spread) - from.min(spread)) / spread
    }
}

/// The parts that the signals have in an outlook, and the step in which each was strongest.
#[derive(Debug, Default)]
struct Shares(Vec<(Signal, f64, f64, u64)>);

impl Shares {
    fn add(&mut self, signal: Signal, part: f64, at: u64) {
        match self.0.iter_mut().find(|share| share.0 == signal) {
            Some((_, sum, most, place)) => {
                *sum += part;
                if part > *most {
                    (*most, *place) = (part, at);
                }
            }
            None => self.0.push((signal, part, part, at)),
        }
    }

    fn largest(&self) -> (Signal, u64) {
        let largest = self.0.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        largest.map_or((Signal::Rate, 0), |(signal, _, _, at)| (*signal, *at))
    }
}
