//! The upload slots of open swarms, and what a plan makes of those of others.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::*;

const PIECE: u64 = 1000;

fn rules() -> SlotRules {
    SlotRules::of(PIECE, 500)
}

fn block(number: u8) -> Block {
    Block::of(Ipv4Addr::new(192, 0, 2, number).into())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Slots whose neighbours 0, 1, … each come from a block of their own.
fn slots_of(neighbours: u8) -> Slots {
    let mut slots = Slots::new(rules());
    (0..neighbours).for_each(|one| slots.meet(key(one), block(one), true, seconds(0)));
    slots
}

fn holders(slots: &Slots) -> Vec<u8> {
    slots.holders().map(|key| key.as_bytes()[0]).collect()
}

fn choose(slots: &mut Slots, is_complete: bool, at: Duration) -> Vec<u8> {
    slots.choose(is_complete, |_| true, at);
    holders(slots)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Meets(u8, u8),
    Parts(u8),
    Gave(u8, u64),
    Asks(u8),
    Wants(u8, bool),
    Passes(u64),
    Completes,
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = 0_u8..20;
    prop_oneof![
        3 => (one.clone(), 0_u8..6).prop_map(|(one, block)| Step::Meets(one, block)),
        1 => one.clone().prop_map(Step::Parts),
        3 => (one.clone(), 1_u64..9 * PIECE).prop_map(|(one, bytes)| Step::Gave(one, bytes)),
        6 => one.clone().prop_map(Step::Asks),
        2 => (one, any::<bool>()).prop_map(|(one, wants)| Step::Wants(one, wants)),
        6 => (1_u64..4000).prop_map(Step::Passes),
        1 => Just(Step::Completes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn only_those_with_a_slot_take_and_only_givers_take_more_than_trials(
        steps in proptest::collection::vec(any_step(), 1..300),
    ) {
        let rules = rules();
        let mut slots = Slots::new(rules.clone());
        let (mut now, mut is_complete) = (seconds(1), false);
        let mut told: BTreeSet<u8> = BTreeSet::new();
        let mut there: BTreeMap<u8, (u8, Duration)> = BTreeMap::new();
        let mut wanting: BTreeSet<u8> = (0..20).collect();
        let mut gave: BTreeMap<u8, Duration> = BTreeMap::new();
        // The times and bytes of those that took while they had given nothing.
        let mut took: Vec<(Duration, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Meets(one, of) => {
                    slots.meet(key(one), block(of), true, now);
                    there.entry(one).or_insert((of, now));
                }
                Step::Parts(one) => {
                    slots.part(&key(one));
                    told.remove(&one);
                    there.remove(&one);
                    gave.remove(&one);
                }
                Step::Gave(one, bytes) => {
                    slots.gave(&key(one), bytes, now);
                    there.get(&one).into_iter().for_each(|_| _ = gave.insert(one, now));
                }
                Step::Asks(one) => match slots.may_take(&key(one), now) {
                    Ok(()) => {
                        prop_assert!(there.contains_key(&one), "a stranger takes");
                        slots.took(&key(one), PIECE, now);
                        if !gave.contains_key(&one) && !is_complete {
                            took.push((now, PIECE));
                        }
                    }
                    Err(wait) => prop_assert!(wait >= ms(250) && wait <= rules.beat, "an honest time: {wait:?}"),
                },
                Step::Wants(one, true) => _ = wanting.insert(one),
                Step::Wants(one, false) => _ = wanting.remove(&one),
                Step::Passes(time) => now += ms(time),
                Step::Completes => is_complete = true,
            }
            for SlotChange { member, has_slot } in slots.choose(is_complete, |key| wanting.contains(&key.as_bytes()[0]), now) {
                let one = member.as_bytes()[0];
                prop_assert!(if has_slot { told.insert(one) } else { told.remove(&one) }, "a change that is none");
            }
            prop_assert_eq!(&holders(&slots), &told.iter().copied().collect::<Vec<_>>(), "each change is told");
            let recent = |one: &u8| gave.get(one).is_some_and(|at| *at + rules.window > now);
            let of_takers = told.iter().filter(|one| wanting.contains(one) && !recent(one)).count();
            if !is_complete {
                // Those that have given nothing lately are on trial, and never more than there are slots.
                prop_assert!(of_takers <= rules.earned + 1, "{of_takers} on trial");
            }
            let waiting = there.keys().filter(|one| wanting.contains(one) && !told.contains(one)).count();
            let held = told.iter().filter(|one| wanting.contains(one)).count();
            prop_assert!(held >= 1 || waiting == 0 || took.len() >= 8, "{waiting} wait, and nobody has a slot");
        }
        // In any ten seconds no more than the trials of twenty, and the request that is on its way.
        for (at, _) in &took {
            let within = took.iter().filter(|(other, _)| *other >= *at && *other < *at + rules.beat);
            let bytes: u64 = within.map(|(_, bytes)| bytes).sum();
            prop_assert!(bytes <= 2 * (u64::try_from(rules.earned).unwrap() + 1) * 9 * PIECE, "{bytes} for nothing");
        }
    }

    #[test]
    fn everybody_who_waits_is_on_trial_in_turn(takers in 2_u8..16) {
        let givers = 8;
        let mut slots = slots_of(takers + givers);
        let mut tried = BTreeSet::new();
        // Every other trial is one of those that had one before.
        let beats = 2 * u64::from(takers);
        for look in 0..beats * 40 {
            let now = ms(look * 250);
            (0..givers).for_each(|one| slots.gave(&key(one), PIECE, now));
            tried.extend(choose(&mut slots, false, now).into_iter().filter(|one| *one >= givers));
        }
        prop_assert_eq!(tried.len(), usize::from(takers), "in {} beats", beats);
    }
}

#[test]
fn those_who_give_most_earn_the_slots_and_one_more_is_on_trial() {
    let mut slots = slots_of(12);
    (0..11).for_each(|one| slots.gave(&key(one), u64::from(one + 1), seconds(1)));
    // Eleven gave something; the four that are left out wait for the one on trial.
    let first = choose(&mut slots, false, seconds(1));
    assert_eq!(first, [0, 3, 4, 5, 6, 7, 8, 9, 10]);
    // One of them gives most from now on: it is noticed at the next beat, and the least of the others goes.
    slots.gave(&key(1), 99, seconds(2));
    assert_eq!(choose(&mut slots, false, seconds(2)), first);
    let next = choose(&mut slots, false, seconds(11));
    assert!(next.contains(&1) && !next.contains(&3), "{next:?}");
    assert_eq!(next.len(), 9);
}

#[test]
fn one_that_gave_and_gives_no_more_is_as_one_that_never_gave() {
    let mut slots = slots_of(10);
    (0..8).for_each(|one| slots.gave(&key(one), PIECE, seconds(1)));
    assert_eq!(choose(&mut slots, false, seconds(1)).len(), 9);
    for now in (2..50).map(seconds) {
        (1..8).for_each(|one| slots.gave(&key(one), PIECE, now));
        let there = choose(&mut slots, false, now);
        assert!((1..8).all(|one| there.contains(&one)), "{there:?}");
        assert!(
            now < seconds(31)
                || there.iter().filter(|one| ![1, 2, 3, 4, 5, 6, 7].contains(*one)).count() <= 2
        );
    }
}

#[test]
fn a_trial_is_of_eight_pieces_and_one_request_more_is_answered() {
    let mut slots = slots_of(9);
    (0..8).for_each(|one| slots.gave(&key(one), PIECE, seconds(0)));
    assert_eq!(choose(&mut slots, false, seconds(0)).len(), 9);
    for piece in 0..8 {
        assert_eq!(slots.may_take(&key(8), ms(piece)), Ok(()));
        slots.took(&key(8), PIECE, ms(piece));
    }
    // The next one may be on its way before the member hears that the trial is over.
    assert_eq!(slots.may_take(&key(8), ms(9)), Ok(()));
    slots.took(&key(8), PIECE, ms(9));
    assert_eq!(slots.may_take(&key(8), ms(10)), Err(ms(9990)), "the time until slots are given anew");
    assert_eq!(slots.choose(false, |_| true, ms(250)), [SlotChange { member: key(8), has_slot: false }]);
    assert_eq!(slots.may_take(&key(8), ms(300)), Err(ms(9700)));
    // It is alone in waiting, and gets the next trial, not before the time of this one is over.
    assert!(!choose(&mut slots, false, ms(9_900)).contains(&8));
    (0..8).for_each(|one| slots.gave(&key(one), PIECE, seconds(10)));
    assert!(choose(&mut slots, false, seconds(10)).contains(&8));
    assert_eq!(slots.may_take(&key(8), seconds(10)), Ok(()));
}

#[test]
fn a_request_that_comes_soon_after_the_slot_was_lost_is_answered_and_a_second_is_not() {
    for (after, expected) in [(ms(1999), Ok(())), (ms(2000), Err(ms(8000)))] {
        let mut slots = slots_of(2);
        slots.choose(false, |_| true, seconds(0));
        assert_eq!(slots.choose(false, |key| *key != MemberKey::from_bytes([1; 32]), ms(0)).len(), 1);
        assert_eq!(slots.may_take(&key(1), after), expected);
        assert!(slots.may_take(&key(1), after).is_err());
    }
    let mut slots = slots_of(1);
    assert_eq!(slots.may_take(&key(0), seconds(0)), Err(ms(250)), "one that never had a slot");
    assert_eq!(slots.may_take(&key(9), seconds(0)), Err(ms(250)), "a stranger");
}

#[test]
fn slots_that_nobody_has_earned_are_on_trial() {
    let mut slots = slots_of(20);
    let first = choose(&mut slots, false, seconds(1));
    assert_eq!(first.len(), 9);
    // Those who give keep theirs, and the others give way to further trials, of which half are those of newcomers.
    first.iter().take(3).for_each(|one| slots.gave(&key(*one), PIECE, seconds(2)));
    let second = choose(&mut slots, false, seconds(11));
    assert!(second.len() == 9 && first.iter().take(3).all(|one| second.contains(one)), "{second:?}");
    assert_eq!(second.iter().filter(|one| !first.contains(one)).count(), 3, "{second:?}");
}

#[test]
fn many_keys_of_one_block_are_on_trial_no_longer_than_one() {
    let mut slots = Slots::new(rules());
    (0..8).for_each(|one| slots.meet(key(one), block(one), true, seconds(0)));
    (10..30).for_each(|one| slots.meet(key(one), block(100), true, seconds(0)));
    slots.meet(key(40), block(101), true, seconds(0));
    let mut of_one = 0;
    for look in 0..800 {
        let now = ms(look * 250);
        (0..8).for_each(|one| slots.gave(&key(one), PIECE, now));
        of_one += u32::from(choose(&mut slots, false, now).contains(&40));
    }
    // Twenty beats: half of them, and one less because of the newcomers of the beginning.
    assert!((360..=400).contains(&of_one), "{of_one} of 800 looks");
}

#[test]
fn every_other_trial_is_that_of_a_newcomer() {
    let mut slots = Slots::new(rules());
    (0..8).for_each(|one| slots.meet(key(one), block(one), true, seconds(0)));
    slots.meet(key(50), block(50), true, seconds(0));
    let mut of_first = 0;
    for beat in 0..40_u8 {
        let now = seconds(10 * u64::from(beat));
        (0..8).for_each(|one| slots.gave(&key(one), PIECE, now));
        // There is always somebody from a block of his own.
        slots.meet(key(100 + beat), block(100 + beat), true, now);
        let there = choose(&mut slots, false, now);
        of_first += u32::from(there.contains(&50));
        assert!(there.iter().filter(|one| **one >= 50).count() == 1, "{there:?}");
    }
    assert!(of_first >= 2, "{of_first} of 40: whoever was on trial is so again, whatever newcomers come");
}

#[test]
fn one_that_has_all_prefers_those_who_gave_and_then_those_who_take_most() {
    let mut slots = slots_of(14);
    (0..3).for_each(|one| slots.gave(&key(one), PIECE, seconds(1)));
    (3..14).for_each(|one| slots.took(&key(one), u64::from(one) * PIECE, seconds(100)));
    let there = choose(&mut slots, true, seconds(100));
    assert_eq!(there, [0, 1, 2, 3, 9, 10, 11, 12, 13], "one of the others is on trial");
    assert!(slots.may_take(&key(13), seconds(100)).is_ok());
}

#[test]
fn of_one_block_two_earn_a_slot_for_nothing_while_others_want_one() {
    let mut slots = Slots::new(rules());
    for one in 0..12 {
        slots.meet(key(one), block(1), true, seconds(0));
        slots.took(&key(one), 100 * PIECE, seconds(1));
    }
    assert_eq!(choose(&mut slots, true, seconds(1)).len(), 9, "nobody else wants one");
    (20..26).for_each(|one| slots.meet(key(one), block(one), true, seconds(2)));
    let there = choose(&mut slots, true, seconds(12));
    assert!((20..26).all(|one| there.contains(&one)), "{there:?}");
    assert!(there.iter().filter(|one| **one < 12).count() <= 3, "{there:?}");
}

#[test]
fn those_who_lack_nothing_keep_their_slot_and_take_none_from_others() {
    let mut slots = slots_of(12);
    (0..4).for_each(|one| slots.gave(&key(one), PIECE, seconds(1)));
    let wants = |key: &MemberKey| key.as_bytes()[0] >= 2;
    slots.choose(false, |_| true, seconds(1));
    slots.choose(false, wants, seconds(12));
    let there = holders(&slots);
    assert!((0..4).all(|one| there.contains(&one)), "{there:?}");
    assert_eq!(there.len(), 2 + 9, "two that want nothing, and nine that do");
}

#[test]
fn metadata_is_given_twice_without_a_slot() {
    let mut slots = slots_of(1);
    assert_eq!(slots.may_take_metadata(&key(0), 500, seconds(1)), Ok(()));
    assert_eq!(slots.may_take_metadata(&key(0), 501, seconds(1)), Err(ms(250)));
    assert_eq!(slots.may_take_metadata(&key(0), 500, seconds(1)), Ok(()));
    assert_eq!(slots.may_take_metadata(&key(0), 1, seconds(1)), Err(ms(250)));
    assert_eq!(slots.may_take_metadata(&key(0), u64::MAX, seconds(1)), Err(ms(250)));
    assert!(slots.may_take_metadata(&key(7), 1, seconds(1)).is_err(), "a stranger");
    choose(&mut slots, false, seconds(1));
    assert_eq!(slots.may_take_metadata(&key(0), 5000, seconds(1)), Ok(()), "with a slot");
}

#[test]
fn a_place_is_made_by_one_that_came_and_gave_nothing() {
    let mut slots = Slots::new(rules());
    for (one, has_come, met) in [(1, true, 0), (2, false, 0), (3, true, 5), (4, true, 20)] {
        slots.meet(key(one), block(one), has_come, seconds(met));
    }
    assert_eq!(slots.least(seconds(29)), None, "each has had less than half a minute");
    assert_eq!(slots.least(seconds(30)), Some(key(1)));
    slots.gave(&key(1), 1, seconds(30));
    assert_eq!(slots.least(seconds(36)), Some(key(3)));
    slots.choose(false, |one| *one == key(3), seconds(36));
    assert_eq!(slots.least(seconds(36)), None, "one that is on trial stays, and one that was dialled");
    slots.part(&key(3));
    assert_eq!(slots.least(seconds(50)), Some(key(4)));
}

#[test]
fn a_block_is_an_address_or_the_network_of_one() {
    let v6 = |last: u16, of_network: u16| {
        Block::of(Ipv6Addr::new(0x2001, 0xdb8, 0, of_network, 0, 0, 0, last).into())
    };
    assert_eq!(v6(1, 7), v6(2, 7));
    assert_ne!(v6(1, 7), v6(1, 8));
    assert_eq!(v6(1, 7).first(), Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, 0));
    let v4 = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(Block::of(v4.into()), Block::of(v4.to_ipv6_mapped().into()));
    assert_ne!(block(1), block(2));
    assert_eq!(block(1).first(), v4);
    assert_ne!(Block::of_unknown(&key(1)), Block::of_unknown(&key(2)));
}

/// A plan that needs slots, and its neighbours 1 and 2, which have all pieces.
fn plan() -> Plan {
    let mut plan = Plan::new(key(0), 10, Rules { needs_slots: true, ..Rules::default() }, 1);
    plan.set_members(Arc::new(Members::new([key(0), key(9)], 10)), seconds(0));
    for other in 1..=2 {
        plan.meet(key(other), seconds(0));
        plan.gained(&key(other), (0..10).map(Piece));
    }
    plan
}

#[test]
fn a_neighbour_is_asked_only_while_it_gives_a_slot() {
    let mut plan = plan();
    let member = Giver::Member(key(1));
    assert!(!plan.may_ask(member) && plan.next(member, seconds(1)).is_none());
    plan.set_slot(&key(1), true);
    assert!(plan.may_ask(member));
    let Some(ask) = plan.next(member, seconds(1)) else { panic!("it is asked") };
    plan.came(member, ask.piece, seconds(2));
    plan.set_slot(&key(1), false);
    assert!(!plan.may_ask(member) && plan.next(member, seconds(2)).is_none());
    // Where no slots are needed, what is said of them says nothing.
    let mut closed = Plan::new(key(0), 1, Rules::default(), 1);
    closed.meet(key(1), seconds(0));
    closed.gained(&key(1), [Piece(0)]);
    closed.set_slot(&key(1), false);
    assert!(closed.may_ask(member) && closed.next(member, seconds(1)).is_some());
}

#[test]
fn pieces_of_those_who_give_nothing_are_believed_for_half_a_minute() {
    let believed = |plan: &mut Plan, at: u64| {
        plan.look_around(seconds(at));
        plan.near.believed.count()
    };
    let mut of_members = plan();
    assert_eq!((believed(&mut of_members, 29), believed(&mut of_members, 30)), (10, 0));
    // One that has given something counts for longer.
    of_members.set_slot(&key(1), true);
    let Some(ask) = of_members.next(Giver::Member(key(1)), seconds(31)) else { panic!("it is asked") };
    of_members.came(Giver::Member(key(1)), ask.piece, seconds(32));
    of_members.set_slot(&key(1), false);
    assert_eq!(believed(&mut of_members, 99), 10);
    // One without owners counts on those alone that give now.
    let mut alone = plan();
    alone.set_members(Arc::new(Members::new([], 10)), seconds(0));
    assert_eq!(believed(&mut alone, 1), 0);
    alone.set_slot(&key(1), true);
    assert_eq!(believed(&mut alone, 1), 10);
}

#[test]
fn a_member_lacks_what_is_held_and_it_has_not_told() {
    let mut plan = Plan::new(key(0), 70, Rules::default(), 1);
    plan.meet(key(1), seconds(0));
    assert!(!plan.has_for(&key(1)) && !plan.has_for(&key(7)));
    plan.hold(Piece(69));
    assert!(plan.has_for(&key(1)) && plan.has_for(&key(7)));
    plan.gained(&key(1), [Piece(69)]);
    assert!(!plan.has_for(&key(1)) && plan.has_for(&key(7)), "one that is no neighbour tells nothing");
}
