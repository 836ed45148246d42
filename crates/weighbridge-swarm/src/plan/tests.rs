//! Toy swarms in virtual time: every message arrives in the step after it was sent, and every answer some steps later.

mod owners;
mod parts;
mod slots;
mod toy;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use toy::{HoldsBack, Kind, Toy};

fn key(index: u8) -> MemberKey {
    MemberKey::from_bytes([index; 32])
}

impl Plan {
    /// Asks the origin for the next piece, and fails.
    fn failed_of_origin(&mut self, now: Duration, why: Failure) {
        let ask = self.next(Giver::Origin, now).unwrap();
        self.failed(Giver::Origin, ask.piece, why, now);
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_piece_arrives_whatever_others_do(
        kinds in proptest::collection::vec(
            prop_oneof![
                4 => Just(Kind::Honest),
                1 => Just(Kind::Silent),
                1 => Just(Kind::Lacks),
                1 => Just(Kind::Busy),
                1 => Just(Kind::Wrong),
                1 => Just(Kind::Breaks),
                1 => (5_u64..200).prop_map(Kind::Leaves),
            ],
            1..7,
        ),
        pieces in 1_u32..60,
        seed: u64,
        views_differ: bool,
    ) {
        let mut toy = Toy::new(&kinds, pieces, seed);
        if views_differ {
            toy.make_views_differ();
        }
        toy.play(40_000);
        prop_assert!(toy.all_have_all(), "{toy:?}");
    }

    #[test]
    fn an_origin_that_holds_pieces_back_only_delays(
        kinds in proptest::collection::vec(
            prop_oneof![4 => Just(Kind::Honest), 1 => Just(Kind::Silent), 1 => (5_u64..200).prop_map(Kind::Leaves)],
            1..7,
        ),
        pieces in 1_u32..60,
        seed: u64,
        views_differ: bool,
        holds_back in prop_oneof![(1_u64..20_000).prop_map(HoldsBack::Claimed), Just(HoldsBack::EachTime)],
    ) {
        let mut toy = Toy::new(&kinds, pieces, seed);
        toy.origin_holds_back = holds_back;
        if views_differ {
            toy.make_views_differ();
        }
        toy.play(80_000);
        prop_assert!(toy.all_have_all(), "{toy:?}, {holds_back:?}");
    }

    #[test]
    fn the_members_suffice_when_the_origin_has_gone(
        nodes in 2_usize..7, pieces in 1_u32..60, seed: u64, gone_at in 10_u64..300,
    ) {
        let mut toy = Toy::new(&vec![Kind::Honest; nodes], pieces, seed);
        toy.play_until(20_000, |toy| toy.ms() > gone_at && toy.out() == toy.pieces());
        toy.origin_is_there = false;
        toy.play(40_000);
        prop_assert!(toy.all_have_all(), "{toy:?}");
    }

    #[test]
    fn under_equal_views_no_piece_is_asked_of_the_origin_twice_within_a_lease(
        nodes in 1_usize..8, pieces in 1_u32..120, seed: u64,
    ) {
        let mut toy = Toy::new(&vec![Kind::Honest; nodes], pieces, seed);
        toy.play(40_000);
        prop_assert!(toy.all_have_all());
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let lease = u64::try_from(Rules::default().least_lease.as_millis()).unwrap();
        for (ms, piece) in &toy.asked_of_origin {
            let before = last.insert(*piece, *ms);
            prop_assert!(before.is_none_or(|before| before + lease <= *ms), "piece {piece} at {before:?} and {ms}");
        }
    }

    #[test]
    fn a_hostile_neighbour_only_delays(
        honest in 2_usize..6, pieces in 8_u32..60, seed: u64,
        kind in prop_oneof![Just(Kind::Silent), Just(Kind::Wrong), Just(Kind::Lacks), Just(Kind::Busy)],
    ) {
        let mut kinds = vec![Kind::Honest; honest];
        let mut alone = Toy::new(&kinds, pieces, seed);
        alone.play(40_000);
        kinds.push(kind);
        let mut toy = Toy::new(&kinds, pieces, seed);
        toy.play(40_000);
        prop_assert!(toy.all_have_all(), "{toy:?}");
        // Some leases: the first one is of five seconds, and a pause or a lapse may follow it.
        prop_assert!(toy.ms() <= alone.ms() + 30_000, "{} and {}", toy.ms(), alone.ms());
    }
}

#[test]
fn the_rarest_piece_is_asked_for_first() {
    let mut plan = Plan::new(key(0), 10, Rules::default(), 1);
    let now = seconds(1);
    (1..=3).for_each(|other| plan.meet(key(other), now));
    plan.gained(&key(1), (0..10).map(Piece));
    plan.gained(&key(2), (0..10).filter(|piece| *piece != 7).map(Piece));
    plan.gained(&key(3), [Piece(1), Piece(99)]);
    let asked = |plan: &mut Plan, other| plan.next(Giver::Member(key(other)), now).map(|ask| ask.piece);
    assert_eq!(asked(&mut plan, 1), Some(Piece(7)));
    assert_eq!(asked(&mut plan, 1), None, "one request per peer");
    assert_eq!(asked(&mut plan, 3), Some(Piece(1)));
    assert_ne!(asked(&mut plan, 2), Some(Piece(1)), "not asked for twice while others are open");
}

#[test]
fn the_last_piece_is_copied_once() {
    let mut plan = Plan::new(key(0), 1, Rules::default(), 1);
    for other in 1..=3 {
        plan.meet(key(other), seconds(0));
        plan.gained(&key(other), [Piece(0)]);
    }
    let member = |other| Giver::Member(key(other));
    assert_eq!(plan.next(member(1), seconds(1)), Some(Ask { piece: Piece(0), is_copy: false }));
    assert_eq!(plan.next(member(2), seconds(2)), Some(Ask { piece: Piece(0), is_copy: true }));
    assert_eq!(plan.next(member(3), seconds(99)), None, "never a third");
    assert_eq!(plan.next(Giver::Origin, seconds(99)), None, "never a third");
    assert_eq!(plan.came(member(2), Piece(0), seconds(99)), Some(member(1)));
    assert!(plan.is_complete());
}

#[test]
fn a_claim_holds_the_piece_for_one_lease_and_once() {
    let rules = Rules::default();
    let mut plan = Plan::new(key(0), 1, rules.clone(), 1);
    let members = Arc::new(Members::new([key(0)], 1));
    plan.meet(key(1), seconds(0));
    plan.set_members(members, seconds(0));
    plan.claimed(&key(1), Some(Piece(0)), seconds(0));
    assert_eq!(plan.next(Giver::Origin, seconds(1)), None);
    let lapses = plan.wake(seconds(1)).unwrap();
    assert!(lapses <= rules.first_lease * 3 / 2);
    let mut other = Plan::new(key(0), 1, rules.clone(), 1);
    other.meet(key(1), seconds(0));
    other.set_members(Arc::new(Members::new([key(0)], 1)), seconds(0));
    other.claimed(&key(1), Some(Piece(0)), seconds(0));
    assert!(other.next(Giver::Origin, rules.first_lease * 3 / 2).is_some(), "the claim has lapsed");
    plan.claimed(&key(1), None, seconds(2));
    plan.claimed(&key(1), Some(Piece(0)), seconds(2));
    assert!(plan.next(Giver::Origin, seconds(2)).is_some(), "a second claim does not count");
}

#[test]
fn a_piece_that_is_held_back_is_passed_over_for_its_time_and_others_are_asked_for_at_once() {
    let mut plan = Plan::new(key(0), 2, Rules::default(), 1);
    plan.set_members(Arc::new(Members::new([key(0)], 2)), seconds(0));
    plan.failed_of_origin(seconds(1), Failure::HeldBack(seconds(3)));
    assert_eq!(plan.next(Giver::Origin, seconds(1)).map(|ask| ask.piece), Some(Piece(1)));
    plan.came(Giver::Origin, Piece(1), seconds(1));
    assert_eq!(plan.next(Giver::Origin, Duration::from_millis(3_999)), None);
    assert!(plan.wake(Duration::from_millis(3_999)).is_some_and(|at| at <= seconds(4)));
    assert_eq!(plan.next(Giver::Origin, seconds(4)).map(|ask| ask.piece), Some(Piece(0)));
}

#[test]
fn the_word_of_an_origin_holds_for_no_longer_than_a_lease() {
    let rules = Rules::default();
    let mut plan = Plan::new(key(0), 1, rules.clone(), 1);
    plan.set_members(Arc::new(Members::new([key(0)], 1)), seconds(0));
    plan.failed_of_origin(seconds(0), Failure::HeldBack(Duration::MAX));
    assert_eq!(plan.next(Giver::Origin, rules.first_lease - Duration::from_millis(1)), None);
    assert!(plan.next(Giver::Origin, rules.first_lease).is_some());
}

#[test]
fn a_piece_that_the_origin_holds_back_is_taken_from_a_member_and_not_copied_at_the_origin() {
    let rules = Rules::default();
    let mut plan = Plan::new(key(0), 1, rules.clone(), 1);
    plan.meet(key(1), seconds(0));
    plan.set_members(Arc::new(Members::new([key(0), key(1)], 1)), seconds(0));
    plan.gained(&key(1), [Piece(0)]);
    assert!(plan.next(Giver::Member(key(1)), seconds(0)).is_some());
    let late = rules.first_lease * 3 / 2;
    assert_eq!(plan.next(Giver::Origin, late), Some(Ask { piece: Piece(0), is_copy: true }));
    plan.failed(Giver::Origin, Piece(0), Failure::HeldBack(seconds(5)), late);
    // It would be asked for without end otherwise.
    assert_eq!(plan.next(Giver::Origin, late), None);
    assert!(plan.next(Giver::Origin, late + seconds(5)).is_some());
    assert_eq!(plan.came(Giver::Member(key(1)), Piece(0), late + seconds(6)), Some(Giver::Origin));
    assert!(plan.is_complete());
}

#[test]
fn a_claim_survives_a_new_epoch_and_ends_with_its_neighbour() {
    let mut plan = Plan::new(key(0), 1, Rules::default(), 1);
    plan.meet(key(1), seconds(0));
    plan.claimed(&key(1), Some(Piece(0)), seconds(0));
    plan.set_members(Arc::new(Members::new([key(0)], 1)), seconds(1));
    assert_eq!(plan.next(Giver::Origin, seconds(1)), None);
    plan.part(&key(1), seconds(1));
    assert!(plan.next(Giver::Origin, seconds(1)).is_some());
    assert_eq!(plan.claim(), Some(Piece(0)));
}

#[test]
fn a_member_asks_the_origin_for_what_no_owner_brings() {
    let mut plan = Plan::new(key(0), 4, Rules::default(), 1);
    plan.meet(key(1), seconds(0));
    plan.set_members(Arc::new(Members::new([key(1), key(2)], 4)), seconds(0));
    assert_eq!(plan.next(Giver::Origin, seconds(1)), None);
    let mut now = seconds(1);
    while plan.claim().is_none() {
        now = plan.wake(now).expect("a time at which the origin is asked");
        plan.next(Giver::Origin, now);
        assert!(now < seconds(100));
    }
}

#[test]
fn a_piece_that_is_not_wanted_is_not_asked_for() {
    let mut plan = Plan::new(key(0), 2, Rules::default(), 1);
    plan.set_members(Arc::new(Members::new([key(0)], 2)), seconds(0));
    assert!(plan.is_alone());
    plan.unwant(Piece(0));
    assert_eq!(plan.next(Giver::Origin, seconds(1)).map(|ask| ask.piece), Some(Piece(1)));
    plan.came(Giver::Origin, Piece(1), seconds(1));
    plan.want(Piece(1));
    assert!(plan.is_complete(), "a held piece is not asked for again");
    plan.want(Piece(0));
    assert!(!plan.is_complete());
    assert_eq!(plan.next(Giver::Origin, seconds(2)).map(|ask| ask.piece), Some(Piece(0)));
}

#[test]
fn a_giver_of_wrong_bytes_is_not_asked_again() {
    let mut plan = Plan::new(key(0), 9, Rules::default(), 1);
    plan.meet(key(1), seconds(0));
    plan.gained(&key(1), (0..9).map(Piece));
    let giver = Giver::Member(key(1));
    let ask = plan.next(giver, seconds(1)).unwrap();
    plan.failed(giver, ask.piece, Failure::Wrong, seconds(1));
    assert_eq!(plan.next(giver, seconds(1_000_000)), None);
}

#[test]
fn a_busy_giver_is_left_alone_for_its_time_but_not_for_ever() {
    let mut plan = Plan::new(key(0), 9, Rules::default(), 1);
    plan.meet(key(1), seconds(0));
    plan.gained(&key(1), (0..9).map(Piece));
    let giver = Giver::Member(key(1));
    let ask = plan.next(giver, seconds(1)).unwrap();
    plan.failed(giver, ask.piece, Failure::Busy(seconds(2)), seconds(1));
    assert_eq!(plan.next(giver, Duration::from_millis(2999)), None);
    let ask = plan.next(giver, seconds(3)).unwrap();
    plan.failed(giver, ask.piece, Failure::Busy(Duration::MAX), seconds(3));
    assert!(plan.next(giver, seconds(3) + Rules::default().most_pause).is_some());
}

#[test]
fn eight_requests_are_out_at_once_and_no_more() {
    let mut plan = Plan::new(key(0), 100, Rules::default(), 1);
    for other in 1..=12 {
        plan.meet(key(other), seconds(0));
        plan.gained(&key(other), (0..100).map(Piece));
    }
    let asked = (1..=12).filter(|other| plan.next(Giver::Member(key(*other)), seconds(1)).is_some()).count();
    assert_eq!(asked, 8);
    plan.part(&key(1), seconds(1));
    assert!(
        plan.next(Giver::Member(key(12)), seconds(1)).is_some(),
        "the request to a lost neighbour has ended"
    );
}

#[test]
fn a_request_that_hangs_is_copied_at_the_origin_after_a_lease() {
    let rules = Rules::default();
    let mut plan = Plan::new(key(0), 1, rules.clone(), 1);
    plan.meet(key(1), seconds(0));
    plan.set_members(Arc::new(Members::new([key(0), key(1)], 1)), seconds(0));
    plan.gained(&key(1), [Piece(0)]);
    assert!(plan.next(Giver::Member(key(1)), seconds(0)).is_some());
    assert_eq!(plan.next(Giver::Origin, rules.first_lease - Duration::from_millis(1)), None);
    let late = rules.first_lease * 3 / 2;
    assert_eq!(plan.next(Giver::Origin, late), Some(Ask { piece: Piece(0), is_copy: true }));
}

#[test]
fn pieces_of_a_trusted_neighbour_are_not_asked_of_the_origin() {
    let mut plan = Plan::new(key(0), 3, Rules::default(), 1);
    plan.meet(key(1), seconds(0));
    plan.set_members(Arc::new(Members::new([key(0)], 3)), seconds(0));
    plan.gained(&key(1), (0..3).map(Piece));
    let giver = Giver::Member(key(1));
    let ask = plan.next(giver, seconds(0)).unwrap();
    plan.came(giver, ask.piece, seconds(0));
    assert_eq!(plan.next(Giver::Origin, seconds(0)), None);
    plan.failed(giver, ask.piece, Failure::Gone, seconds(0));
    assert!(plan.next(Giver::Origin, seconds(0)).is_some(), "the neighbour is not trusted any more");
}

#[test]
fn the_window_bounds_how_far_an_owner_runs_ahead() {
    let rules = Rules { window: 5, small_swarm: 0, ..Rules::default() };
    let mut plan = Plan::new(key(0), 100, rules, 1);
    plan.meet(key(1), seconds(0));
    plan.set_members(Arc::new(Members::new([key(0), key(1)], 100)), seconds(0));
    let mut asked = Vec::new();
    while let Some(ask) = plan.next(Giver::Origin, seconds(0)) {
        assert!(ask.piece.0 < plan.held() + 5);
        asked.push(ask.piece);
        plan.came(Giver::Origin, ask.piece, seconds(0));
    }
    assert!(asked.len() < 50, "it waits for what the other member owns");
}

#[test]
fn a_neighbour_that_hangs_does_not_keep_others_from_the_origin() {
    let rules = Rules::default();
    let mut plan = Plan::new(key(0), 3, rules.clone(), 1);
    plan.meet(key(1), seconds(0));
    plan.set_members(Arc::new(Members::new([key(0)], 3)), seconds(0));
    plan.gained(&key(1), (0..3).map(Piece));
    let giver = Giver::Member(key(1));
    let ask = plan.next(giver, seconds(0)).unwrap();
    plan.came(giver, ask.piece, seconds(0));
    plan.next(giver, seconds(0)).unwrap();
    assert_eq!(plan.next(Giver::Origin, seconds(0)), None);
    let late = rules.least_lease * 3 / 2;
    assert_eq!(plan.next(Giver::Origin, late).map(|ask| ask.is_copy), Some(false));
}
