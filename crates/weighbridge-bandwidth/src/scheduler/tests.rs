//! The scheduler in virtual time, with users that come back when their last piece was granted.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MB: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Somebody who asks for pieces.
struct User {
    class: Class,
    peer: Peer,
    /// The bytes of each piece.
    bytes: u64,
    /// The time from one ask to the next, whatever is granted; if it is zero, each asks when the one before was granted.
    pause: Duration,
    asks_at: Option<Duration>,
    had: u64,
    longest_wait: Duration,
}

impl User {
    fn new(class: Class, bytes: u64) -> Self {
        let peer = Peer::unique();
        Self {
            class,
            peer,
            bytes,
            pause: Duration::ZERO,
            asks_at: Some(Duration::ZERO),
            had: 0,
            longest_wait: Duration::ZERO,
        }
    }

    /// One who asks for this many bytes a second.
    fn of_rate(class: Class, rate: u64, bytes: u64) -> Self {
        Self { pause: time_of(bytes, rate), ..Self::new(class, bytes) }
    }
}

/// Plays until `end`. Whoever looks for turns is late by what `late` gives.
fn play(scheduler: &mut Scheduler, users: &mut [User], end: Duration, mut late: impl FnMut() -> Duration) {
    let mut waiting: BTreeMap<u64, (usize, Duration)> = BTreeMap::new();
    let mut now = Duration::ZERO;
    loop {
        for (number, user) in users.iter_mut().enumerate() {
            while let Some(at) = user.asks_at.filter(|at| *at <= now) {
                let ticket = scheduler.ask(user.class, &user.peer, user.bytes, now);
                waiting.insert(ticket.number, (number, now));
                user.asks_at = (!user.pause.is_zero()).then(|| at + user.pause);
            }
        }
        while let Some(granted) = scheduler.grant(now) {
            let (number, since) = waiting.remove(&granted.number).unwrap();
            let user = &mut users[number];
            user.had += granted.bytes;
            user.longest_wait = user.longest_wait.max(now - since);
            if user.pause.is_zero() {
                let ticket = scheduler.ask(user.class, &user.peer, user.bytes, now);
                waiting.insert(ticket.number, (number, now));
            }
        }
        let asks = users.iter().filter_map(|user| user.asks_at);
        let turn = scheduler.next_turn().map(|turn| turn.max(now) + late());
        now = asks.chain(turn).min().unwrap().max(now + Duration::from_nanos(1));
        if now >= end {
            return;
        }
    }
}

fn limited(rate: u64) -> Scheduler {
    let mut scheduler = Scheduler::default();
    scheduler.set_rate(Some(rate));
    scheduler
}

fn on_time() -> Duration {
    Duration::ZERO
}

#[track_caller]
fn about(had: u64, expected: u64) {
    assert!(had.abs_diff(expected) <= expected / 20, "{had} beside {expected}");
}

#[test]
fn the_highest_class_that_waits_goes_first() {
    let mut scheduler = limited(MB);
    let peers = [(); 4].map(|()| Peer::unique());
    let asked = [3, 1, 2, 0].map(|class: usize| {
        (class, scheduler.ask(Class::ALL[class], &peers[class], 1_000, Duration::ZERO).number)
    });
    let mut order = Vec::new();
    while let Some(turn) = scheduler.next_turn() {
        let granted = scheduler.grant(turn).unwrap();
        order.push(asked.iter().find(|(_, number)| *number == granted.number).unwrap().0);
    }
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn what_a_class_leaves_is_lent_to_those_below() {
    let mut scheduler = limited(20 * MB);
    let mut users = [
        User::of_rate(Class::Awaited, 2 * MB, 16_000),
        User::of_rate(Class::Rest, 3 * MB, 64_000),
        User::of_rate(Class::Peers, 5 * MB, 1_000),
        User::new(Class::Prefetch, 64_000),
    ];
    play(&mut scheduler, &mut users, 10 * SECOND, on_time);
    for (user, rate) in users.iter().zip([2, 3, 5, 10]) {
        about(user.had, rate * 10 * MB);
    }
}

#[test]
fn a_class_below_has_nothing_while_one_above_takes_all() {
    let mut scheduler = limited(20 * MB);
    let mut users = [User::new(Class::Rest, 64_000), User::new(Class::Prefetch, 64_000)];
    play(&mut scheduler, &mut users, 10 * SECOND, on_time);
    assert_eq!(users[1].had, 0);
    about(users[0].had, 200 * MB);
}

/// Timers that are late give several pieces at once. Those are the due of the class above, which cannot have asked for more than one.
#[test]
fn a_late_timer_lends_nothing_to_classes_below() {
    let mut scheduler = limited(100 * MB);
    let mut users = [User::new(Class::Rest, 64_000), User::new(Class::Prefetch, 64_000)];
    // The one above needs a moment to come back, a tenth of what its piece takes.
    users[0].pause = Duration::from_micros(60);
    let (mut now, mut asked) = (Duration::ZERO, BTreeMap::new());
    let mut back = Some(Duration::ZERO);
    while now < 10 * SECOND {
        if back.take_if(|back| *back <= now).is_some() {
            asked.insert(scheduler.ask(Class::Rest, &users[0].peer, 64_000, now).number, 0);
        }
        if !asked.values().any(|user| *user == 1) {
            asked.insert(scheduler.ask(Class::Prefetch, &users[1].peer, 64_000, now).number, 1);
        }
        while let Some(granted) = scheduler.grant(now) {
            let user = asked.remove(&granted.number).unwrap();
            users[user].had += granted.bytes;
            if user == 0 {
                back = Some(now + users[0].pause);
            } else {
                asked.insert(scheduler.ask(Class::Prefetch, &users[1].peer, 64_000, now).number, 1);
            }
        }
        // The timer has a resolution of two milliseconds; whoever asks looks at once.
        let turn = scheduler.next_turn().unwrap().max(now) + ms(2);
        now = back.map_or(turn, |back| back.min(turn)).max(now + Duration::from_nanos(1));
    }
    about(users[0].had, 1_000 * MB);
    assert!(users[1].had < 20 * MB, "{}", users[1].had);
}

#[test]
fn without_a_rate_nothing_waits_but_for_classes_above_that_move() {
    let mut scheduler = Scheduler::default();
    let peer = Peer::unique();
    for number in 0..1_000 {
        scheduler.ask(Class::Peers, &peer, 64_000, ms(1));
        assert_eq!(scheduler.grant(ms(1)).map(|granted| granted.number), Some(number));
    }
    let below = scheduler.ask(Class::Prefetch, &peer, 1, ms(2));
    assert_eq!((scheduler.grant(ms(100)), scheduler.next_turn()), (None, Some(ms(101))));
    scheduler.ask(Class::Awaited, &peer, 1, ms(100));
    assert_eq!(scheduler.grant(ms(100)).map(|granted| granted.number), Some(below.number + 1));
    assert!(
        scheduler.is_outranked(Class::Prefetch, ms(199)) && !scheduler.is_outranked(Class::Awaited, ms(199))
    );
    assert_eq!((scheduler.grant(ms(199)), scheduler.next_turn()), (None, Some(ms(200))));
    assert_eq!(scheduler.grant(ms(200)), Some(Granted { number: below.number, bytes: 1 }));
    assert_eq!(scheduler.next_turn(), None);
}

#[test]
fn what_was_cancelled_leaves_nothing() {
    let mut scheduler = limited(MB);
    let peer = Peer::unique();
    let first = scheduler.ask(Class::Awaited, &peer, 10_000, SECOND);
    let second = scheduler.ask(Class::Prefetch, &peer, 10_000, SECOND);
    scheduler.cancel(&first);
    assert_eq!(scheduler.grant(SECOND), Some(Granted { number: second.number, bytes: 10_000 }));
    scheduler.cancel(&second);
    scheduler.cancel(&first);
    assert_eq!(
        (scheduler.next_turn(), scheduler.grant(2 * SECOND), scheduler.waited_since),
        (None, None, None)
    );
    // Nobody has waited meanwhile: nothing but ten milliseconds is made up for.
    (0..100).for_each(|_| drop(scheduler.ask(Class::Rest, &peer, 10_000, 5 * SECOND)));
    let at_once =
        std::iter::from_fn(|| scheduler.grant(5 * SECOND)).map(|granted| granted.bytes).sum::<u64>();
    assert_eq!(at_once, 20_000);
}

#[test]
fn a_rate_that_changes_holds_from_then_on() {
    let mut scheduler = limited(MB);
    let mut users = [User::new(Class::Rest, 64_000)];
    play(&mut scheduler, &mut users, 2 * SECOND, on_time);
    about(users[0].had, 2 * MB);
    let peer = Peer::unique();
    let mut had = 0;
    scheduler.set_rate(Some(10 * MB));
    let mut now = 2 * SECOND;
    while now < 4 * SECOND {
        scheduler.ask(Class::Rest, &peer, 64_000, now);
        while let Some(granted) = scheduler.grant(now) {
            had += granted.bytes;
        }
        now = scheduler.next_turn().unwrap().max(now);
    }
    about(had, 20 * MB);
}

fn class() -> impl Strategy<Value = Class> {
    (0usize..4).prop_map(|class| Class::ALL[class])
}

fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![1_000..100_000u64, 100_000..10_000_000u64, 10_000_000..1_000_000_000u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Users of any classes and sizes, of which one always waits, on a machine that is up to 30 ms late.
    #[test]
    fn a_rate_is_kept_over_ten_seconds(
        rate in rates(),
        users in prop::collection::vec((class(), 1..200_000u64), 1..8),
        lateness in prop::collection::vec(0..30_000u64, 1..20),
    ) {
        // A second of virtual time has ten thousand pieces at the most.
        let end = if rate > 100 * MB { SECOND } else { 10 * SECOND };
        let mut users: Vec<_> = users.into_iter().map(|(class, bytes)| User::new(class, bytes)).collect();
        let mut late = lateness.iter().cycle().map(|micros| Duration::from_micros(*micros));
        let least = users.iter().map(|user| user.bytes).min().unwrap();
        prop_assume!(least * 5_000 >= rate);
        play(&mut limited(rate), &mut users, end, || late.next().unwrap());
        let had: u64 = users.iter().map(|user| user.had).sum();
        let due = u64::try_from(u128::from(rate) * end.as_nanos() / 1_000_000_000).unwrap();
        prop_assert!(had <= due + due / 50 + QUANTUM.min(rate / 50 + 1), "{} of {}", had, due);
        prop_assert!(had >= due - due / 20, "{} of {}", had, due);
    }

    #[test]
    fn a_class_above_waits_for_one_piece_of_those_below_at_the_most(
        rate in rates(),
        below in prop::collection::vec((1usize..4, 1..200_000u64), 1..8),
        pauses in prop::collection::vec(1..400_000u64, 1..20),
    ) {
        let mut scheduler = limited(rate);
        let mut users: Vec<_> =
            below.into_iter().map(|(class, bytes)| User::new(Class::ALL[class], bytes)).collect();
        // It asks for next to nothing, so that what it waits for is not its own.
        users.push(User::of_rate(Class::Awaited, 1, 1));
        let pauses: Vec<_> = pauses.into_iter().map(Duration::from_micros).collect();
        users.last_mut().unwrap().pause = pauses.iter().sum::<Duration>() / u32::try_from(pauses.len()).unwrap();
        let piece = time_of(scheduler.piece(), rate) + time_of(1, rate);
        play(&mut scheduler, &mut users, SECOND.max(piece * 20).min(2 * SECOND), on_time);
        let above = users.last().unwrap();
        prop_assert!(above.had > 0);
        prop_assert!(above.longest_wait <= piece, "{:?} of {:?}", above.longest_wait, piece);
    }

    #[test]
    fn peers_of_a_class_have_equal_shares_whatever_is_above_and_below(
        rate in 1_000_000..50_000_000u64,
        sizes in prop::collection::vec(5_000..200_000u64, 2..6),
        above in prop::option::of(1..900_000u64),
    ) {
        let mut users: Vec<_> = sizes.iter().map(|bytes| User::new(Class::Peers, *bytes)).collect();
        users.push(User::new(Class::Prefetch, 64_000));
        users.extend(above.map(|rate| User::of_rate(Class::Rest, rate, 10_000)));
        play(&mut limited(rate), &mut users, 10 * SECOND, on_time);
        let had: Vec<_> = users.iter().take(sizes.len()).map(|user| user.had).collect();
        let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
        prop_assert!(most - least <= 3 * QUANTUM, "{:?}", had);
        prop_assert_eq!(users[sizes.len()].had, 0);
    }

    /// Each piece is granted once, is cancelled, or waits still.
    #[test]
    fn every_piece_is_granted_once_or_cancelled(
        rate in prop::option::of(1_000..10_000_000u64),
        steps in prop::collection::vec((class(), 0usize..3, 1..200_000u64, 0..20u64, any::<bool>()), 1..200),
    ) {
        let mut scheduler = Scheduler::default();
        scheduler.set_rate(rate);
        let peers = [(); 3].map(|()| Peer::unique());
        let mut now = Duration::ZERO;
        let mut waiting: BTreeMap<u64, (Ticket, u64)> = BTreeMap::new();
        for (class, peer, bytes, pause, is_cancelled) in steps {
            let ticket = scheduler.ask(class, &peers[peer], bytes, now);
            waiting.insert(ticket.number, (ticket, bytes.min(scheduler.piece())));
            if is_cancelled && let Some((_, (ticket, _))) = waiting.pop_first() {
                scheduler.cancel(&ticket);
            }
            now += ms(pause);
            while let Some(granted) = scheduler.grant(now) {
                let asked = waiting.remove(&granted.number);
                prop_assert_eq!(asked.map(|(_, bytes)| bytes), Some(granted.bytes));
            }
        }
        // Nobody starves once nothing new comes.
        while let Some(turn) = scheduler.next_turn() {
            now = now.max(turn);
            let granted = scheduler.grant(now);
            prop_assert!(granted.is_some_and(|granted| waiting.remove(&granted.number).is_some()));
        }
        prop_assert!(waiting.is_empty());
        prop_assert_eq!(scheduler.waited_since, None);
    }
}
