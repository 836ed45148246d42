//! The accounts of the simulator, the policies beside ours, and ours beside them on short traces.

use super::{
    catalogue::Model,
    line::{Flow, share},
    policy::{Choice, Policy},
    trace::{Event, Kind, Shape, Trace, What},
    *,
};

const GB: u64 = 1_000_000_000;
/// A line of a gigabyte a second.
const GIGABYTE: f64 = 1e9;

/// A trace of requests: the second, and the model. All origins are faster than the line.
fn trace(sizes: &[u64], budget: u64, asks: &[(f64, usize)]) -> Trace {
    let models = sizes.iter().map(|size| Model { bytes: size * GB, rate: 2e9, base: None }).collect();
    let events = asks.iter().map(|(at, model)| Event { at: *at, model: *model, what: What::Ask }).collect();
    Trace { models, events, budget: budget * GB }
}

/// The waits in the order of serving, to a hundredth of a second.
fn waits(choice: Choice, trace: &Trace) -> Vec<f64> {
    let outcome = play(trace, choice.policy(trace).as_mut(), GIGABYTE);
    outcome.waits.iter().map(|wait| (wait * 100.0).round() / 100.0).collect()
}

#[test]
fn a_reader_waits_for_the_first_byte_and_for_all_others() {
    assert_eq!(waits(Choice::Lru, &trace(&[4], 10, &[(0.0, 0), (100.0, 0)])), [4.5, 0.0]);
    assert_eq!(waits(Choice::NoCache, &trace(&[4], 10, &[(0.0, 0), (100.0, 0)])), [4.5, 4.5]);
}

#[test]
fn readers_of_one_model_share_a_fetch() {
    let asks = [(0.0, 0), (2.5, 0)];
    assert_eq!(waits(Choice::Lru, &trace(&[4], 10, &asks)), [4.5, 2.0]);
    // Two gigabytes were not kept, and come again: those that had come when the second reader asked.
    assert_eq!(waits(Choice::NoCache, &trace(&[4], 10, &asks)), [4.5, 4.0]);
    let outcome =
        play(&trace(&[4], 10, &asks), Choice::NoCache.policy(&trace(&[4], 10, &asks)).as_mut(), GIGABYTE);
    assert!((outcome.fetched / 1e9 - 6.0).abs() < 0.01, "{}", outcome.fetched);
}

#[test]
fn fetches_share_the_line_and_slow_origins_leave_the_rest() {
    let flow = |origin, is_awaited: bool| {
        let mut flow = Flow::new(0, GB, 0.0, origin);
        flow.keep = 1e9;
        if is_awaited {
            flow.join(0.0);
        }
        flow
    };
    let mut flows = vec![flow(2e9, true), flow(1e8, true), flow(2e9, true), flow(2e9, false)];
    let rates = |flows: &mut Vec<Flow>, line| {
        share(flows, line, 0.0);
        flows.iter_mut().map(|flow| flow.run(0.0, 1.0).0).collect::<Vec<_>>()
    };
    assert_eq!(rates(&mut flows, 1e9), [4.5e8, 1e8, 4.5e8, 0.0]);
    assert_eq!(rates(&mut flows, 5e9), [2e9, 1e8, 2e9, 9e8]);
}

#[test]
fn lru_evicts_what_was_used_least_recently() {
    let asks = [(0.0, 0), (50.0, 1), (100.0, 0), (150.0, 2), (200.0, 0), (250.0, 1)];
    assert_eq!(waits(Choice::Lru, &trace(&[4, 4, 4], 8, &asks)), [4.5, 4.5, 0.0, 4.5, 0.0, 4.5]);
}

#[test]
fn lfu_da_keeps_what_is_used_often_for_a_while() {
    let mut asks: Vec<(f64, usize)> = (0..4).map(|ask| (50.0 * f64::from(ask), 0)).collect();
    asks.extend([(250.0, 1), (300.0, 2), (350.0, 0)]);
    assert_eq!(waits(Choice::LfuDa, &trace(&[4, 4, 4], 8, &asks))[4..], [4.5, 4.5, 0.0]);
    // LRU does not.
    assert_eq!(waits(Choice::Lru, &trace(&[4, 4, 4], 8, &asks))[4..], [4.5, 4.5, 4.5]);
}

#[test]
fn s3_fifo_keeps_what_was_used_again_through_a_scan() {
    let mut asks = vec![(0.0, 0), (50.0, 0), (100.0, 0)];
    asks.extend((1..12).map(|model| (100.0 + 50.0 * model as f64, model)));
    asks.push((900.0, 0));
    let sizes = [1; 12];
    assert_eq!(waits(Choice::S3Fifo, &trace(&sizes, 4, &asks)).last(), Some(&0.0));
    assert_eq!(waits(Choice::Lru, &trace(&sizes, 4, &asks)).last(), Some(&1.5));
}

#[test]
fn the_oracle_keeps_what_is_asked_for_next_and_has_it_there() {
    let asks = [(0.0, 0), (100.0, 1), (200.0, 2), (300.0, 0), (400.0, 2)];
    let trace = trace(&[4, 4, 4], 8, &asks);
    assert_eq!(waits(Choice::OracleKeepsOnly, &trace), [4.5, 4.5, 4.5, 0.0, 0.0]);
    // The first comes before it could be fetched.
    assert_eq!(waits(Choice::Oracle, &trace), [4.5, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn what_was_fetched_ahead_and_not_asked_for_is_counted() {
    /// Fetches the second model ahead, whatever happens.
    struct Wrong;
    impl Policy for Wrong {
        fn asked(&mut self, _: usize, _: &Shelf) -> Room {
            Room::default()
        }
        fn ahead(&mut self, shelf: &Shelf) -> Option<(usize, Room)> {
            shelf.is_missing(1).then(|| (1, Room { keep: 2 * GB, cut: vec![] }))
        }
    }
    let outcome = play(&trace(&[4, 2], 8, &[(0.0, 0), (50.0, 0)]), &mut Wrong, GIGABYTE);
    assert!((outcome.unused / 1e9 - 2.0).abs() < 0.01 && (outcome.ahead / 1e9 - 2.0).abs() < 0.01);
    assert!((outcome.wasted() - 0.2).abs() < 0.01, "{}", outcome.wasted());
}

/// Small enough for a test, and large enough that a schedule is found.
const SMALL: Shape = Shape { names: 60, days: 5.0, a_day: 500.0, budget: 0.1 };

#[test]
fn equal_seeds_give_equal_traces_and_outcomes() {
    for kind in Kind::ALL {
        let [one, other] = [1, 1].map(|seed| kind.draw(seed, SMALL));
        assert_eq!(one.events, other.events, "{}", kind.name());
        assert_ne!(one.events, kind.draw(2, SMALL).events, "{}", kind.name());
        let asks = one.events.iter().filter(|event| event.what == What::Ask).count() as f64;
        let about = SMALL.days * SMALL.a_day;
        assert!((0.7 * about..1.4 * about).contains(&asks), "{}: {asks}", kind.name());
    }
    let trace = Kind::Tenants.draw(1, SMALL);
    let [one, other] = [0, 1].map(|_| play(&trace, Choice::Keeper.policy(&trace).as_mut(), LINE).waits);
    assert_eq!(one, other);
}

#[test]
fn ours_is_not_worse_than_lru_on_any_trace_and_the_oracle_not_than_ours() {
    for kind in Kind::ALL {
        let trace = kind.draw(1, SMALL);
        let play = |choice: Choice| play(&trace, choice.policy(&trace).as_mut(), LINE);
        let [lru, ours, oracle] = [Choice::Lru, Choice::Keeper, Choice::Oracle].map(play);
        let name = kind.name();
        assert_eq!(lru.waits.len(), ours.waits.len(), "{name}");
        assert!(ours.mean() <= lru.mean() * 1.02, "{name}: {} {}", ours.mean(), lru.mean());
        let [one, other] = [&ours, &lru].map(|outcome| outcome.quantile(0.99));
        assert!(one <= other * 1.02, "{name}: {one} {other}");
        assert!(oracle.mean() < ours.mean(), "{name}: {} {}", oracle.mean(), ours.mean());
        assert!(ours.wasted() < 0.2, "{name}: {}", ours.wasted());
    }
}

#[test]
fn what_tenants_do_every_day_is_there_before_they_ask() {
    let trace = Kind::Tenants.draw(1, Shape { days: 8.0, ..SMALL });
    let [with, without] =
        [Choice::Keeper, Choice::KeepsOnly].map(|choice| play(&trace, choice.policy(&trace).as_mut(), LINE));
    assert!(with.ahead > 0.02 * with.fetched, "{}", with.ahead / with.fetched);
    assert!(with.mean() < without.mean(), "{} {}", with.mean(), without.mean());
}
