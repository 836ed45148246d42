//! Each forecast: what makes it, and what ends it.

use proptest::prelude::*;

use super::*;
use crate::number::chance_of;

/// Monday, 2026-11-02, at midnight.
const MONDAY: u64 = 1_793_577_600;
const A: Id = Id(0);
const B: Id = Id(1);

/// Days, hours and minutes after that Monday.
fn at(day: u64, hour: u64, minute: u64) -> Duration {
    Duration::from_secs(MONDAY + day * 86_400 + hour * 3600 + minute * 60)
}

/// A record of two releases, from that Monday on.
fn two_releases() -> Demand {
    let mut demand = Demand::new(at(0, 0, 0));
    demand.know(A);
    demand.know(B);
    demand
}

/// Asks at some times, and lets the time pass up to the last.
fn ask(demand: &mut Demand, id: Id, times: impl IntoIterator<Item = Duration>) {
    for time in times {
        pass(demand, time);
        demand.ask(id, true, time);
    }
}

/// Lets the time pass on a node that is running.
fn pass(demand: &mut Demand, until: Duration) {
    while demand.next_slot() <= until {
        let next = demand.next_slot();
        demand.pass(next);
    }
    demand.pass(until);
}

/// The outlook for fetching in six minutes.
fn ahead(demand: &Demand, id: Id, now: Duration) -> Outlook {
    demand.outlook_ahead(id, now, 0.1)
}

#[test]
fn a_daily_time_is_foreseen_after_some_days() {
    let mut demand = two_releases();
    ask(&mut demand, A, (0..4).map(|day| at(day, 2, 5 + day)));
    pass(&mut demand, at(4, 1, 45));
    let outlook = ahead(&demand, A, at(4, 1, 45));
    assert_eq!(outlook.signal, Signal::Schedule);
    assert!(outlook.chance > 0.7, "{outlook:?}");
    let ground = demand.ground(A, outlook);
    let two = Duration::from_secs(2 * 3600);
    assert_eq!(ground, Ground::Schedule { at: two, days: Days::All, hits: 4, of: 4 });
    // Too early to fetch, but worth keeping.
    pass(&mut demand, at(4, 1, 0));
    let mut earlier = two_releases();
    ask(&mut earlier, A, (0..4).map(|day| at(day, 2, 5 + day)));
    pass(&mut earlier, at(3, 20, 0));
    assert!(ahead(&earlier, A, at(3, 20, 0)).chance < 0.1);
    assert!(earlier.outlook(A, at(3, 20, 0)).index > 0.1);
}

#[test]
fn a_time_of_workdays_is_not_foreseen_on_weekends() {
    let mut demand = two_releases();
    let workdays = (0..12).filter(|day| day % 7 < 5);
    ask(&mut demand, A, workdays.map(|day| at(day, 9, 2)));
    for (day, chance) in [(12, 0.0..0.1), (13, 0.0..0.1), (14, 0.6..1.0)] {
        pass(&mut demand, at(day, 8, 45));
        let outlook = ahead(&demand, A, at(day, 8, 45));
        assert!(chance.contains(&outlook.chance), "day {day}: {outlook:?}");
        if day == 14 {
            let ground = demand.ground(A, outlook);
            assert!(
                matches!(ground, Ground::Schedule { days: Days::Workdays, hits: 6, of: 6, .. }),
                "{ground:?}"
            );
        }
    }
}

#[test]
fn a_time_of_one_day_of_the_week_is_foreseen_after_three_weeks() {
    let mut demand = two_releases();
    ask(&mut demand, A, [2, 9, 16].map(|day| at(day, 22, 30)));
    pass(&mut demand, at(22, 22, 10));
    assert!(ahead(&demand, A, at(22, 22, 10)).chance < 0.1);
    pass(&mut demand, at(23, 22, 10));
    let outlook = ahead(&demand, A, at(23, 22, 10));
    let ground = demand.ground(A, outlook);
    assert!(outlook.chance > 0.8, "{outlook:?}");
    assert!(matches!(ground, Ground::Schedule { days: Days::SameDay, hits: 3, of: 3, .. }), "{ground:?}");
}

#[test]
fn a_schedule_that_ends_is_not_believed_for_long() {
    let mut demand = two_releases();
    ask(&mut demand, A, (0..6).map(|day| at(day, 2, 5)));
    let chances: Vec<f64> = (6..10)
        .map(|day| {
            pass(&mut demand, at(day, 1, 45));
            ahead(&demand, A, at(day, 1, 45)).chance
        })
        .collect();
    assert!(chances[0] > 0.7 && chances[3] < 0.4, "{chances:?}");
    assert!(chances.windows(2).all(|two| two[1] < two[0]), "{chances:?}");
}

#[test]
fn days_on_which_the_node_did_not_run_say_nothing() {
    let mut demand = two_releases();
    ask(&mut demand, A, (0..4).map(|day| at(day, 2, 5)));
    // Four days later, in one step.
    demand.pass(at(8, 1, 45));
    let outlook = ahead(&demand, A, at(8, 1, 45));
    assert_eq!(outlook.signal, Signal::Schedule);
    let ground = demand.ground(A, outlook);
    assert!(matches!(ground, Ground::Schedule { hits, of, .. } if hits == of && of < 4), "{ground:?}");
    // A node that runs without any ask for as long sees that the schedule has ended.
    let mut running = two_releases();
    ask(&mut running, A, (0..4).map(|day| at(day, 2, 5)));
    pass(&mut running, at(8, 1, 45));
    assert!(ahead(&running, A, at(8, 1, 45)).chance < 0.3);
}

#[test]
fn a_schedule_is_kept_once_in_its_slot() {
    let mut demand = two_releases();
    ask(&mut demand, A, (0..4).map(|day| at(day, 2, 5)));
    pass(&mut demand, at(4, 2, 1));
    let scheduled = |demand: &Demand| demand.past[&A].history.forecast(&demand.clock).scheduled(0);
    assert!(scheduled(&demand) > 0.8);
    demand.ask(A, false, at(4, 2, 2));
    assert_eq!(scheduled(&demand), 0.0);
}

#[test]
fn asks_at_random_are_taken_for_their_rate() {
    let mut demand = two_releases();
    let mut random = 1_u64;
    let mut time = at(0, 0, 0);
    while time < at(14, 0, 0) {
        // Every two hours on average, from a linear congruence.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        time += Duration::from_secs((random >> 33) % 14_400);
        ask(&mut demand, A, [time]);
    }
    let outlook = demand.outlook(A, time);
    assert!((0.2..1.2).contains(&outlook.index), "{outlook:?}");
    let likely = (0..DAY).filter(|slot| {
        let past = &demand.past[&A];
        past.history.forecast(&demand.clock).scheduled(*slot % history::FORESEEN)
            * past.history.trust_in_schedule(demand.schedules)
            > 0.5
    });
    assert!(likely.count() < 4);
}

#[test]
fn working_hours_are_foreseen() {
    let mut demand = two_releases();
    for day in (0..9).filter(|day| day % 7 < 5) {
        // Every half an hour or so, at no fixed times.
        ask(&mut demand, A, (0..16).map(|ask| at(day, 9, ask * 31 + (day * 13) % 29)));
    }
    pass(&mut demand, at(9, 4, 0));
    let night = ahead(&demand, A, at(9, 4, 0));
    pass(&mut demand, at(9, 9, 40));
    let morning = ahead(&demand, A, at(9, 9, 40));
    assert!(morning.index > night.index * 3.0, "{night:?} {morning:?}");
    assert!(matches!(morning.signal, Signal::Hours | Signal::Schedule), "{morning:?}");
}

#[test]
fn a_burst_counts_at_once_and_passes() {
    let mut demand = two_releases();
    ask(&mut demand, A, (0..10).map(|day| at(day, 3 * day % 24, 0)));
    ask(&mut demand, B, (0..10).map(|minute| at(9, 20, minute * 3)));
    let [calm, burst] = [A, B].map(|id| demand.outlook(id, at(9, 20, 30)).index);
    assert!(burst > calm * 5.0, "{burst} {calm}");
    pass(&mut demand, at(12, 0, 0));
    assert!(demand.outlook(B, at(12, 0, 0)).index < burst / 5.0);
}

/// Asks for `A` on some days at different hours, and for `B` five minutes later.
fn pairs(demand: &mut Demand, days: u64) {
    for day in 0..days {
        ask(demand, A, [at(day, 3 + day * 7 % 17, 0)]);
        ask(demand, B, [at(day, 3 + day * 7 % 17, 5)]);
    }
}

#[test]
fn a_release_that_follows_another_is_foreseen() {
    let mut demand = two_releases();
    pairs(&mut demand, 6);
    let now = at(6, 23, 0);
    pass(&mut demand, now);
    assert!(demand.outlook_ahead(B, now, 0.01).chance < 0.5);
    demand.ask(A, true, now);
    let outlook = demand.outlook_ahead(B, now, 0.01);
    assert_eq!((outlook.signal, demand.ground(B, outlook)), (Signal::Follows, Ground::Follows(A)));
    assert!(outlook.chance > 0.5, "{outlook:?}");
    // There is no time to fetch for an hour: that part of the ask does not count.
    let late = demand.outlook_ahead(B, now, 1.0);
    assert!(late.index < outlook.index / 5.0, "{late:?} {outlook:?}");
    // It passes, if B is not asked for.
    pass(&mut demand, now + Duration::from_secs(1800));
    assert!(demand.outlook_ahead(B, now + Duration::from_secs(1800), 0.01).chance < 0.5);
}

#[test]
fn a_release_that_does_not_follow_any_more_is_not_foreseen() {
    let mut demand = two_releases();
    pairs(&mut demand, 6);
    for day in 6..16 {
        ask(&mut demand, A, [at(day, 20, 0)]);
    }
    let now = at(16, 20, 0);
    ask(&mut demand, A, [now]);
    assert!(demand.outlook_ahead(B, now, 0.01).chance < 0.5);
}

#[test]
fn what_is_asked_for_all_the_time_follows_nothing() {
    let mut demand = two_releases();
    for hour in 0..48 {
        ask(&mut demand, B, (0..6).map(|tenth| at(0, hour, tenth * 10)));
        ask(&mut demand, A, [at(0, hour, 55)]);
    }
    assert!(demand.past[&B].awaited.is_none());
}

#[test]
fn the_base_of_an_adapter_is_foreseen_from_the_first_ask_on() {
    let mut demand = two_releases();
    demand.set_base(A, B);
    ask(&mut demand, A, [at(0, 5, 0)]);
    let outlook = demand.outlook_ahead(B, at(0, 5, 0), 0.001);
    assert_eq!((outlook.signal, demand.ground(B, outlook)), (Signal::Base, Ground::Base(A)));
    assert!((0.4..0.6).contains(&outlook.chance), "{outlook:?}");
    for day in 1..8 {
        ask(&mut demand, A, [at(day, day, 0)]);
        ask(&mut demand, B, [at(day, day, 1)]);
    }
    ask(&mut demand, A, [at(8, 20, 0)]);
    assert!(demand.outlook_ahead(B, at(8, 20, 0), 0.001).chance > 0.7);
}

#[test]
fn a_base_that_is_never_asked_for_is_not_foreseen() {
    let mut demand = two_releases();
    demand.set_base(A, B);
    ask(&mut demand, A, (0..12).map(|day| at(day, day, 0)));
    assert!(demand.outlook_ahead(B, at(11, 11, 0), 0.001).chance < 0.2);
}

#[test]
fn a_new_revision_inherits_until_it_has_asks_of_its_own() {
    let mut demand = two_releases();
    ask(&mut demand, A, (0..48).map(|hour| at(0, hour, 20)));
    let now = at(2, 0, 0);
    pass(&mut demand, now);
    let before = demand.outlook(A, now).index;
    demand.revise(B, A);
    let [old, new] = [A, B].map(|id| demand.outlook(id, now));
    assert!(new.index > 0.8 * before && old.index < 0.5 * before, "{before} {old:?} {new:?}");
    assert_eq!((new.signal, demand.ground(B, new)), (Signal::Revision, Ground::Revision(A)));
    assert_eq!(demand.pace(B), demand.pace(A));
    demand.ask(B, true, now);
    assert_ne!(demand.outlook(B, now).signal, Signal::Revision);
    // It is no revision of anything else now, nor of itself.
    let weight = demand.weight(B);
    demand.revise(B, A);
    demand.revise(A, A);
    assert_eq!(demand.weight(B), weight);
}

#[test]
fn paces_are_measured_and_bounded() {
    let mut demand = two_releases();
    assert_eq!(demand.pace(A), FIRST_PACE);
    demand.measure(A, 1_000_000_000, Duration::from_secs(2));
    assert_eq!(demand.pace(A), 2e-9);
    demand.measure(A, 1_000_000_000, Duration::from_secs(4));
    assert!((demand.pace(A) - 3e-9).abs() < 1e-15);
    // Of others, a mean of all is known.
    assert!((2e-9..3e-9).contains(&demand.pace(B)));
    demand.measure(A, 0, Duration::from_secs(9));
    assert!((demand.pace(A) - 3e-9).abs() < 1e-15);
    demand.measure(B, 1, Duration::MAX);
    assert!(demand.pace(B) <= MOST_PACE);
}

#[test]
fn followers_are_bounded_and_the_frequent_ones_stay() {
    let mut followers = Followers::default();
    for occasion in 0..200_u64 {
        followers.lead(at(0, occasion, 0));
        followers.follow(Id(1), 60.0);
        for other in 0..10 {
            followers.follow(Id(100 + occasion * 10 + other), 60.0);
        }
    }
    let next: Vec<_> = followers.next().filter(|next| next.chance > 0.5).collect();
    assert_eq!(next.iter().map(|next| next.id).collect::<Vec<_>>(), [Id(1)]);
    assert!(followers.is_well_formed());
}

proptest! {
    #[test]
    fn outlooks_are_numbers_whatever_happens(
        asks in proptest::collection::vec((0_u64..400_000, any::<bool>()), 1..60),
        fetch in 0.0..50.0,
    ) {
        let mut demand = two_releases();
        let mut now = at(0, 0, 0);
        for (seconds, which) in asks {
            now += Duration::from_secs(seconds);
            demand.pass(now);
            demand.ask(if which { A } else { B }, true, now);
            for id in [A, B] {
                for outlook in [demand.outlook(id, now), demand.outlook_ahead(id, now, fetch)] {
                    prop_assert!(outlook.index.is_finite() && outlook.index >= 0.0, "{outlook:?}");
                    prop_assert!((0.0..=1.0).contains(&outlook.chance), "{outlook:?}");
                }
                demand.ground(id, demand.outlook(id, now));
            }
        }
        prop_assert!(demand.past.values().all(|past| past.history.counts().is_well_formed()));
    }

    #[test]
    fn the_rate_of_asks_at_random_is_found(every in 20_u64..300) {
        let mut demand = two_releases();
        let mut now = at(0, 0, 0);
        // Gaps that are far from regular, with a known mean.
        for step in 0..(20_000 / every) {
            now += Duration::from_secs(every * 60 * if step % 3 == 0 { 2 } else { 1 } / if step % 3 == 1 { 2 } else { 1 });
            ask(&mut demand, A, [now]);
        }
        let [_, slow] = demand.past[&A].history.rates(&demand.clock);
        let real = 10.0 / (every as f64 * 7.0 / 6.0);
        prop_assert!((0.5..1.6).contains(&(slow / real)), "{slow} {real}");
        prop_assert!(chance_of(slow) <= 1.0);
    }
}
