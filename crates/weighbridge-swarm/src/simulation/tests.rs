//! The scenes that must hold, and the accounting of the simulator.

use super::{network::Network, *};

#[test]
fn the_small_cases_hold() {
    Case::small().iter().for_each(|case| (1..=2).for_each(|seed| hold(&case.with_seed(seed))));
}

#[test]
fn the_cases_of_open_swarms_hold() {
    Case::open().iter().for_each(|case| hold(&case.with_seed(1)));
}

fn hold(case: &Case) {
    let (outcome, ratio) = case.play();
    assert!(
        case.holds(&outcome, ratio),
        "{}, seed {}: {ratio:.3} of {}, {:.3} of {} models, {:.2?}, {} unfinished, {:?}",
        case.scene.name,
        case.scene.seed,
        case.ratio,
        outcome.egress,
        case.egress,
        outcome.joiners,
        outcome.unfinished,
        outcome.free_riders
    );
}

#[test]
fn equal_seeds_give_equal_outcomes_and_others_do_not() {
    let scene = Scene { neighbours: 4, ..Scene::of_equal(12, 10.0, 10.0, 5.0, 10.0) };
    let [one, other] = [scene.play(), scene.play()];
    assert_eq!((one.seconds, one.egress, one.progress), (other.seconds, other.egress, other.progress));
    assert_ne!(one.seconds, Scene { seed: 2, ..scene }.play().seconds);
}

#[test]
fn no_swarm_is_faster_than_its_bound() {
    for scene in [
        Scene::of_equal(1, 5.0, 20.0, 10.0, 10.0),
        Scene::of_equal(3, 1.0, 4.0, 20.0, 10.0),
        Scene::of_equal(4, 1.0, 20.0, 2.0, 10.0),
    ] {
        let outcome = scene.play();
        assert!(outcome.ratio() >= 1.0 && outcome.egress >= 0.999 && outcome.unfinished == 0, "{outcome:?}");
    }
}

#[test]
fn the_bound_names_its_largest_term() {
    let term = |scene: Scene| scene.bound().term;
    assert_eq!(term(Scene::of_equal(5, 20.0, 20.0, 5.0, 10.0)), Term::Origin);
    assert_eq!(term(Scene::of_equal(5, 20.0, 2.0, 5.0, 10.0)), Term::Download);
    assert_eq!(term(Scene::of_equal(5, 1.0, 20.0, 5.0, 10.0)), Term::Upload);
}

#[test]
fn transfers_share_links_fairly() {
    // Two transfers leave node 0, at 10 bytes a second; one of them ends at a link of 2.
    let mut network = Network::new(&[(10.0, 1.0), (1.0, 2.0), (1.0, 100.0)]);
    network.start(0, 0, 1, 20, 1);
    network.start(0, 0, 2, 80, 2);
    let mut ends = Vec::new();
    while let Some(at) = network.next_end() {
        if let Some(tag) = network.end_next() {
            ends.push((tag, (at as f64 / 1e9).round() as u64));
        }
    }
    ends.sort_unstable();
    assert_eq!(ends, [(1, 10), (2, 10)]);
    assert_eq!(network.sent_by(0, 10_000_000_000).round() as u64, 100);
}
