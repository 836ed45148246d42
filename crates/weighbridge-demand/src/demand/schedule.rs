//! Asks at the same time of earlier days.

use super::{
    clock::{Bits, Clock, DAY, Slot},
    history::AROUND,
};
use crate::Days;

/// The chance of an ask in a slot, by the hour around it on the day before and on days of the same kind, of a week.
///
/// `usual` is the chance in any slot. It counts as one observed hour in which it was right for half the slots.
pub(super) fn hours(asked: &Bits, clock: &Clock, slot: Slot, usual: f64) -> f64 {
    let (mut hits, mut slots) = (0.0, 0.0);
    for back in 1..=7_u64 {
        let then = slot.earlier(back.saturating_mul(DAY));
        if back > 1 && then.is_workday() != slot.is_workday() {
            continue;
        }
        for near in around(then, AROUND).filter(|near| clock.was_watched(*near)) {
            slots += 1.0;
            hits += if asked.get(near) { 1.0 } else { 0.0 };
        }
    }
    (hits + PRIOR_SLOTS * usual) / (slots + PRIOR_SLOTS)
}

const PRIOR_SLOTS: f64 = 3.5;

/// A time at which a release is asked for regularly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pattern {
    /// The chance that it is asked for in the slot, as far as the pattern goes.
    pub(super) chance: f64,
    /// The days that were compared.
    pub(super) days: Days,
    /// The days on which it was asked for at that time.
    pub(super) hits: u32,
    /// The days that were watched.
    pub(super) of: u32,
}

/// The chance that a slot lies in a schedule of one kind, before anything is known of it.
const PRIOR: f64 = 0.001;
/// The chance of an ask at a time that has a schedule, of which nothing else is known.
const KEPT_TIMES: f64 = 0.9;
/// The part of the chance of half an hour that each of its three slots has.
const THIRD: f64 = 0.4;
/// The days that are compared, by how many days they lie back.
const BACK: [u64; 9] = [1, 2, 3, 4, 5, 6, 7, 14, 21];
/// The kinds of schedules.
const KINDS: [Days; 4] = [Days::All, Days::Workdays, Days::Weekends, Days::SameDay];

/// The most likely pattern in which the slot lies, if the release was ever asked for at that time.
///
/// Some explanations of the last week's asks, and of those on the same day of earlier weeks, are weighed against each
/// other: that the release is asked for at any time, in so many slots as are `usual`; and that it has a schedule for this
/// time on all days, on workdays, on weekends, or on this day of the week. That is done for the slot, and for half an hour.
pub(super) fn pattern(asked: &Bits, clock: &Clock, slot: Slot, usual: f64) -> Option<Pattern> {
    let narrow = pattern_within(asked, clock, slot, 0, usual.clamp(0.002, 0.8));
    let none = (1.0 - usual) * (1.0 - usual) * (1.0 - usual);
    let wide = pattern_within(asked, clock, slot, 1, (1.0 - none).clamp(0.002, 0.8));
    let wide = wide.map(|wide| Pattern { chance: wide.chance * THIRD, ..wide });
    [narrow, wide].into_iter().flatten().max_by(|one, other| one.chance.total_cmp(&other.chance))
}

/// The same for a time that is `wide` slots longer to each side, and an ask in it has this chance anyway.
fn pattern_within(asked: &Bits, clock: &Clock, slot: Slot, wide: u64, anyway: f64) -> Option<Pattern> {
    let days = BACK.iter().map(|back| (*back, slot.earlier(DAY.saturating_mul(*back))));
    let days: Vec<(u64, Slot, bool)> = days
        .filter(|(_, then)| clock.was_watched(*then))
        .map(|(back, then)| {
            let is_hit = around(then, wide).any(|near| clock.was_watched(near) && asked.get(near));
            (back, then, is_hit)
        })
        .collect();
    // Where a kind has no schedule, it says the same as no schedule at all, and those days weigh nothing.
    let weigh = |kind: Days| {
        let (mut odds, mut hits, mut of) = (PRIOR, 0_u32, 0_u32);
        for (_, _, is_hit) in days.iter().filter(|(back, then, _)| is_on(kind, *back, *then)) {
            of = of.saturating_add(1);
            if *is_hit {
                hits = hits.saturating_add(1);
                odds *= KEPT_TIMES / anyway;
            } else {
                odds *= (1.0 - KEPT_TIMES) / (1.0 - anyway);
            }
        }
        (kind, odds, hits, of)
    };
    let weighed = KINDS.map(weigh);
    let all = 1.0 + weighed.iter().map(|(_, odds, _, _)| odds).sum::<f64>();
    let here: Vec<_> = weighed.iter().filter(|(kind, ..)| is_on(*kind, WEEK_BACK, slot)).collect();
    // A schedule that was not kept on some days is kept less often from now on.
    let kept = |hits: u32, of: u32| (f64::from(hits) + KEPT_TIMES) / (f64::from(of) + 1.0);
    let chance = here.iter().map(|(_, odds, hits, of)| odds / all * kept(*hits, *of)).sum::<f64>();
    let (days, _, hits, of) = here.into_iter().rev().max_by(|one, other| one.1.total_cmp(&other.1))?;
    (*hits > 0).then_some(Pattern { chance, days: *days, hits: *hits, of: *of })
}

/// A number of days after which it is the same day of the week.
const WEEK_BACK: u64 = 7;

/// Whether a schedule of this kind, which has the time of a slot some days later, has the time of this slot.
fn is_on(kind: Days, back: u64, then: Slot) -> bool {
    match kind {
        Days::All => true,
        Days::Workdays => then.is_workday(),
        Days::Weekends => !then.is_workday(),
        Days::SameDay => back.checked_rem(WEEK_BACK) == Some(0),
    }
}

fn around(slot: Slot, many: u64) -> impl Iterator<Item = Slot> {
    (0..=many.saturating_mul(2)).map(move |near| slot.earlier(many).later(near))
}
