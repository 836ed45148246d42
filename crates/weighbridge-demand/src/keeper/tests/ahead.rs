//! Fetches ahead, their reasons, and the losses of forecasts.

use super::*;
use crate::{Days, Evidence, Hindrance, Verdict};

/// Eight gigabytes.
const EIGHT: i64 = 8_000_000_000;

/// A node that has seen the release `job` asked for at 02:05 for four days, and whose disk the release `usual` fills since.
pub(super) fn scheduled() -> Toy {
    let mut toy = Toy::with(10, &[("job", 8), ("usual", 10)]);
    for day in 0..4 {
        toy.ask("job", at(day, 2, 5));
    }
    for minute in 0..40 {
        toy.ask("usual", at(3, 3, minute));
    }
    assert_eq!((toy.held("job"), toy.held("usual")), (0, 10 * GB));
    toy
}

/// Whether budgets differ by no more than what some minutes fill up.
fn is_about(one: i64, other: i64) -> bool {
    one.abs_diff(other) < GB / 100
}

/// Requests for the release `usual`, until nothing else is worth its room.
fn crowd_out(toy: &mut Toy, now: Duration) {
    for _ in 0..1000 {
        toy.ask("usual", now);
    }
    assert_eq!((toy.held("job"), toy.held("usual")), (0, 10 * GB));
}

#[test]
fn a_job_is_fetched_before_its_time_and_says_why() {
    let mut toy = scheduled();
    assert_eq!(toy.ahead(at(3, 22, 0)), None);
    let prefetch = toy.ahead(at(4, 1, 50)).unwrap();
    assert_eq!((&prefetch.release, &prefetch.evict[0].release), (&release("job"), &release("usual")));
    let Evidence::Schedule { days: Days::All, asked: 4, of: 4, .. } = prefetch.why.evidence else {
        panic!("{:?}", prefetch.why)
    };
    assert!(prefetch.why.chance > 0.5 && prefetch.why.saves > 4.0, "{:?}", prefetch.why);
    let text = prefetch.to_string();
    let start =
        format!("fetches {} ahead: asked for at 02:00Z on 4 of the last 4 days; likely to ", release("job"));
    assert!(text.starts_with(&start), "{text}");
    // Nothing else is worth it, and it is not fetched twice.
    assert_eq!(toy.ahead(at(4, 1, 51)), None);
    assert!(matches!(toy.ask("job", at(4, 2, 5)), Answer::Held { .. }));
    let plan = toy.keeper.plan();
    assert_eq!(plan.judged.len(), 1);
    assert!(matches!(plan.judged[0].verdict, Verdict::Used { saved } if saved > 7.0), "{:?}", plan.judged);
    assert_eq!((plan.judged[0].bytes, plan.judged[0].began), (8 * GB, at(4, 1, 50)));
}

#[test]
fn a_fetch_that_is_used_pays_back_twice() {
    let mut toy = scheduled();
    let before = toy.account(Signal::Schedule).budget;
    toy.ahead(at(4, 1, 50)).unwrap();
    assert_eq!(toy.account(Signal::Schedule).budget, before - EIGHT);
    toy.ask("job", at(4, 2, 5));
    let after = toy.account(Signal::Schedule);
    assert!(is_about(after.budget, before + EIGHT), "{after:?}");
    assert_eq!((after.used, after.wasted), (8 * GB, 0));
}

#[test]
fn a_forecast_loses_its_budget_by_bytes_that_are_evicted() {
    let mut toy = scheduled();
    let before = toy.account(Signal::Schedule).budget;
    toy.ahead(at(4, 1, 50)).unwrap();
    crowd_out(&mut toy, at(4, 1, 51));
    assert_eq!(toy.held("job"), 0);
    let after = toy.account(Signal::Schedule);
    assert!(is_about(after.budget, before - EIGHT), "{after:?}");
    assert_eq!((after.used, after.wasted), (0, 8 * GB));
    let judged = toy.keeper.plan().judged;
    assert!(judged.iter().all(|judgement| judgement.verdict == Verdict::Evicted), "{judged:?}");
    assert_eq!(judged.iter().map(|judgement| judgement.bytes).sum::<u64>(), 8 * GB);
}

#[test]
fn a_forecast_loses_its_budget_by_bytes_that_nobody_asks_for_in_two_days() {
    let mut toy = scheduled();
    toy.ahead(at(4, 1, 50)).unwrap();
    toy.pass(at(6, 1, 0));
    assert_eq!(toy.account(Signal::Schedule).wasted, 0);
    toy.pass(at(6, 2, 0));
    assert_eq!(toy.account(Signal::Schedule).wasted, 8 * GB);
    assert_eq!(toy.keeper.plan().judged[0].verdict, Verdict::NotAsked);
    // An ask after that is no use of it.
    toy.ask("job", at(6, 3, 0));
    assert_eq!(toy.account(Signal::Schedule).used, 0);
}

#[test]
fn a_release_is_not_fetched_again_in_vain() {
    let mut toy = scheduled();
    toy.ahead(at(4, 1, 50)).unwrap();
    crowd_out(&mut toy, at(4, 1, 51));
    toy.keeper.ledger.accounts.iter_mut().for_each(|account| account.budget = 10 * EIGHT);
    assert_eq!(toy.ahead(at(4, 1, 52)), None);
    let hindrance = |toy: &Toy| toy.keeper.plan().ahead[0].hindrance;
    assert_eq!(hindrance(&toy), Some(Hindrance::InVain));
    // Once it is asked for, it is trusted again.
    toy.ask("job", at(5, 2, 5));
    for minute in 0..40 {
        toy.ask("usual", at(5, 3, minute));
    }
    toy.pass(at(6, 1, 50));
    assert_ne!(hindrance(&toy), Some(Hindrance::InVain));
}

#[test]
fn a_forecast_without_budget_fetches_nothing_until_it_has_filled_up_again() {
    let mut toy = scheduled();
    let set = |toy: &mut Toy, budget| {
        let mut accounts = toy.keeper.ledger.accounts.iter_mut();
        accounts.find(|account| account.signal == Signal::Schedule).unwrap().budget = budget;
    };
    toy.pass(at(4, 1, 50));
    set(&mut toy, 0);
    assert_eq!(toy.ahead(at(4, 1, 50)), None);
    assert_eq!(toy.keeper.plan().ahead[0].hindrance, Some(Hindrance::NoBudget));
    // From nothing to its first size, an eighth of the node's budget, in four days.
    toy.pass(at(6, 1, 50));
    assert!(is_about(toy.account(Signal::Schedule).budget, EIGHT * 10 / 128));
    toy.pass(at(12, 1, 50));
    assert_eq!(toy.account(Signal::Schedule).budget, EIGHT * 10 / 64);
}

#[test]
fn no_budget_grows_beyond_the_whole() {
    let mut toy = scheduled();
    for day in 4..14 {
        toy.ahead(at(day, 1, 50));
        toy.ask("job", at(day, 2, 5));
        for minute in 0..40 {
            toy.ask("usual", at(day, 3, minute));
        }
    }
    assert_eq!(toy.account(Signal::Schedule).budget, EIGHT * 10 / 8);
    toy.keeper.set_budget(2 * GB, at(14, 4, 0));
    assert_eq!(toy.account(Signal::Schedule).budget, EIGHT * 2 / 8);
}

#[test]
fn bytes_that_did_not_come_cost_nothing() {
    let mut toy = scheduled();
    let before = toy.account(Signal::Schedule).budget;
    let prefetch = toy.begin_ahead(at(4, 1, 50)).unwrap();
    toy.come(&prefetch.release, 3 * GB);
    toy.keeper.fetched(&prefetch.release, 3 * GB, Duration::from_secs(3), at(4, 1, 52));
    assert!(is_about(toy.account(Signal::Schedule).budget, before - 3 * EIGHT / 8));
    // It goes on where it was, for the same reason.
    let rest = toy.ahead(at(4, 1, 53)).unwrap();
    assert_eq!(rest.release, release("job"), "{rest}");
    assert!(is_about(toy.account(Signal::Schedule).budget, before - EIGHT));
    toy.ask("job", at(4, 2, 5));
    assert_eq!(toy.account(Signal::Schedule).used, 8 * GB);
}

#[test]
fn a_fetch_that_fails_at_once_is_not_judged() {
    let mut toy = scheduled();
    let before = toy.account(Signal::Schedule).budget;
    let prefetch = toy.begin_ahead(at(4, 1, 50)).unwrap();
    toy.keeper.fetched(&prefetch.release, 0, Duration::ZERO, at(4, 1, 50));
    assert_eq!(toy.account(Signal::Schedule).budget, before);
    assert_eq!((toy.keeper.plan().judged, toy.keeper.ledger.open.len()), (vec![], 0));
    assert_eq!(toy.keeper.used(), 0);
}

#[test]
fn a_request_takes_over_the_fetch_that_is_under_way() {
    let mut toy = scheduled();
    let before = toy.account(Signal::Schedule).budget;
    let prefetch = toy.begin_ahead(at(4, 1, 50)).unwrap();
    toy.come(&prefetch.release, 2 * GB);
    let answer = toy.keeper.asked(&release("job"), None, at(4, 2, 5));
    assert_eq!(answer, Answer::Fetch { keep: true, evict: vec![] });
    // Two gigabytes had come ahead, and are used.
    let account = toy.account(Signal::Schedule);
    assert!(account.used == 2 * GB && is_about(account.budget, before + EIGHT / 4), "{account:?}");
    // Now somebody waits: nothing takes the room away.
    for _ in 0..50 {
        toy.ask("usual", at(4, 2, 6));
    }
    assert_eq!(toy.keeper.used(), 8 * GB);
    assert_eq!(toy.keeper.shelf.place(toy.keeper.names[&release("job")]).room, 8 * GB);
}

#[test]
fn a_request_stops_the_fetch_ahead_of_another() {
    let mut toy = scheduled();
    let prefetch = toy.begin_ahead(at(4, 1, 50)).unwrap();
    toy.come(&prefetch.release, GB);
    let evicted = (0..1000).find_map(|_| match toy.ask("usual", at(4, 1, 51)) {
        Answer::Fetch { evict, .. } if !evict.is_empty() => Some(evict),
        _ => None,
    });
    assert_eq!(evicted.unwrap()[0].release, release("job"));
    // Of the eight gigabytes, only the one that had come was wasted.
    assert_eq!(toy.account(Signal::Schedule).wasted, GB);
}

#[test]
fn a_pinned_release_comes_first_and_needs_no_forecast() {
    let mut toy = scheduled();
    toy.sizes.insert(release("pinned"), 4 * GB);
    toy.keeper.described(&release("pinned"), 4 * GB, None, at(4, 1, 0));
    toy.keeper.pin(&release("pinned"), at(4, 1, 0));
    let prefetch = toy.ahead(at(4, 1, 50)).unwrap();
    assert_eq!((&prefetch.release, &prefetch.why.evidence), (&release("pinned"), &Evidence::Pinned));
    assert_eq!(prefetch.evict[0].cause, Cause::Pinned { release: release("pinned") });
    assert_eq!(prefetch.to_string(), format!("fetches {} ahead: pinned", release("pinned")));
}

#[test]
fn a_new_revision_is_fetched_before_anybody_asks() {
    let mut toy = Toy::with(10, &[("old", 8), ("new", 8)]);
    for hour in 0..30 {
        toy.ask("old", at(0, hour, 10));
    }
    toy.keeper.revised(&release("new"), &release("old"), at(1, 8, 0));
    let prefetch = toy.ahead(at(1, 8, 0)).unwrap();
    assert_eq!(prefetch.why.evidence, Evidence::Revision { of: release("old") });
    assert!(prefetch.to_string().contains("a new revision of old@"), "{prefetch}");
    assert_eq!((toy.held("new"), prefetch.evict[0].release.clone()), (8 * GB, release("old")));
    toy.ask("new", at(1, 8, 30));
    assert_eq!(toy.account(Signal::Revision).used, 8 * GB);
}

#[test]
fn the_base_of_an_adapter_is_fetched_when_the_adapter_is_asked_for() {
    let mut toy = Toy::with(10, &[("base", 4), ("tuned", 1), ("other", 9)]);
    toy.keeper.described(&release("tuned"), GB, Some(&release("base")), at(0, 0, 0));
    for day in 0..6 {
        toy.ask("tuned", at(day, day * 3, 0));
        toy.ask("base", at(day, day * 3, 1));
        for minute in 2..30 {
            toy.ask("other", at(day, day * 3, minute));
        }
    }
    assert!(toy.held("base") < 4 * GB);
    toy.ask("tuned", at(6, 22, 0));
    let prefetch = toy.ahead(at(6, 22, 0)).unwrap();
    assert_eq!(
        (&prefetch.release, &prefetch.why.evidence),
        (&release("base"), &Evidence::Base { of: release("tuned") })
    );
}

#[test]
fn a_plan_says_what_is_held_and_what_speaks_for_and_against_the_rest() {
    let mut toy = scheduled();
    toy.keeper.pin(&release("usual"), at(4, 1, 50));
    toy.pass(at(4, 1, 50));
    let plan = toy.keeper.plan();
    assert_eq!((plan.budget, plan.used), (10 * GB, 10 * GB));
    let [held] = &plan.held[..] else { panic!("{:?}", plan.held) };
    assert_eq!((&held.release, held.size, held.held), (&release("usual"), 10 * GB, 10 * GB));
    assert!(held.pinned && !held.in_use && held.asks == 40 && held.worth > 0.0, "{held:?}");
    let [candidate] = &plan.ahead[..] else { panic!("{:?}", plan.ahead) };
    assert_eq!((&candidate.release, candidate.missing), (&release("job"), 8 * GB));
    assert_eq!(candidate.hindrance, Some(Hindrance::WorthLess));
    assert_eq!(candidate.why.evidence.signal(), Signal::Schedule);
    // In the afternoon nobody expects it.
    toy.keeper.unpin(&release("usual"));
    toy.pass(at(4, 15, 0));
    let hindrance = toy.keeper.plan().ahead[0].hindrance;
    assert!(matches!(hindrance, Some(Hindrance::WorthLess | Hindrance::Unlikely)), "{hindrance:?}");
    let texts = [Hindrance::Unlikely, Hindrance::WorthLess, Hindrance::InVain, Hindrance::NoBudget];
    assert!(texts.iter().all(|text| !text.to_string().is_empty()));
}
