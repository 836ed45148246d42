use std::time::Duration;

use super::*;

mod model;
mod simulation;

const CHUNK: u64 = 256 << 10;

fn all(count: u64) -> RangeSet {
    set_of(0..count)
}

/// A request for more work than there is.
const MUCH: Take = Take { bytes: 1 << 40, whole_files: false, only_stalled: false };

fn ask(
    schedule: &mut Schedule,
    connection: u64,
    limits: Take,
    rates: [u64; 2],
    now: Instant,
) -> Option<Lease> {
    let source = SourceId::new(usize::try_from(connection % 2).unwrap());
    let rate_of = |source: SourceId| rates[source.number()];
    let line = Line { rate_of: &rate_of, capacity: 0 };
    schedule.take(ConnectionId(connection), source, limits, &|_| Eligible::All, &line, now)
}

fn of_one_file(chunks: u64) -> (Schedule, Instant) {
    let mut schedule = Schedule::new(CHUNK, 1);
    schedule.add(0, &all(chunks));
    (schedule, Instant::now())
}

#[test]
fn takes_over_in_proportion_to_the_rates() {
    for (rates, expected) in
        [([100, 100], 50..100), ([300, 100], 75..100), ([100, 300], 25..100), ([0, 0], 50..100)]
    {
        let (mut schedule, now) = of_one_file(100);
        let rates = rates.map(|rate| rate * CHUNK);
        let victim = ask(&mut schedule, 0, MUCH, rates, now).unwrap();
        let lease = ask(&mut schedule, 1, MUCH, rates, now).unwrap();
        assert_eq!((lease.kind, lease.chunks), (LeaseKind::Stolen, expected.clone()));
        assert_eq!(schedule.extent(victim.id), 0..expected.start);
    }
}

#[test]
fn a_stalled_lease_keeps_the_chunk_that_is_on_its_way_and_that_one_is_hedged() {
    let (mut schedule, start) = of_one_file(100);
    let rates = [CHUNK, CHUNK];
    let stalled = ask(&mut schedule, 0, MUCH, rates, start).unwrap();
    let later = start + Duration::from_millis(2_001);
    let stolen = ask(&mut schedule, 1, MUCH, rates, later).unwrap();
    assert_eq!((stolen.kind, stolen.chunks.clone()), (LeaseKind::Stolen, 1..100));
    schedule.done(stolen.id, 0, &(1..100), later);
    schedule.give_back(stolen.id);
    let hedge = ask(&mut schedule, 1, MUCH, rates, later).unwrap();
    assert_eq!((hedge.kind, hedge.chunks.clone()), (LeaseKind::Hedge, 0..1));
    // Two copies are enough. When both stall, a third connection takes one over.
    assert_eq!(ask(&mut schedule, 2, MUCH, rates, later), None);
    let latest = later + Duration::from_secs(60);
    let third = ask(&mut schedule, 2, MUCH, rates, latest).unwrap();
    assert_eq!((third.kind, third.chunks.clone()), (LeaseKind::Stolen, 0..1));
    assert_eq!((schedule.extent(stalled.id), schedule.extent(hedge.id)), (0..0, 0..1));
    schedule.done(third.id, 0, &(0..1), latest);
    assert_eq!(schedule.extent(hedge.id), 0..0);
    assert!(schedule.is_finished());
}

#[test]
fn nothing_is_taken_from_who_will_be_through_first() {
    let (mut schedule, now) = of_one_file(10);
    let rates = [100 * CHUNK, CHUNK];
    ask(&mut schedule, 0, MUCH, rates, now).unwrap();
    assert_eq!(ask(&mut schedule, 1, MUCH, rates, now), None);
    assert_eq!(ask(&mut schedule, 1, Take { whole_files: true, ..MUCH }, rates, now), None);
}

#[test]
fn a_source_hedges_its_own_chunks_later_than_others_do() {
    let (mut schedule, start) = of_one_file(1);
    let rates = [CHUNK, CHUNK];
    ask(&mut schedule, 0, MUCH, rates, start).unwrap();
    let later = start + Duration::from_millis(2_001);
    assert_eq!(ask(&mut schedule, 2, MUCH, rates, later), None);
    let other = ask(&mut schedule, 1, MUCH, rates, later).unwrap();
    assert_eq!(other.kind, LeaseKind::Hedge);
    schedule.give_back(other.id);
    let latest = start + Duration::from_millis(4_001);
    assert_eq!(ask(&mut schedule, 2, MUCH, rates, latest).unwrap().kind, LeaseKind::Hedge);
}

#[test]
fn a_source_of_whole_files_gets_one_that_nobody_works_on() {
    let mut schedule = Schedule::new(CHUNK, 1);
    for file in 0..3 {
        schedule.add(file, &all(8));
    }
    schedule.done(LeaseId(0), 1, &(3..5), Instant::now());
    let (now, whole) = (Instant::now(), Take { bytes: CHUNK, ..WHOLE });
    let first = ask(&mut schedule, 0, Take { bytes: CHUNK, ..MUCH }, [0, 0], now).unwrap();
    let second = ask(&mut schedule, 1, whole, [0, 0], now).unwrap();
    assert_eq!((first.file, first.chunks, second.file, second.chunks), (0, 0..1, 1, 0..8));
    assert_eq!(schedule.outstanding(), 1 + 6);
    assert_eq!(ask(&mut schedule, 3, whole, [0, 0], now).unwrap().file, 2);
    // Then a file that other connections work on.
    let last = ask(&mut schedule, 5, whole, [0, 0], now).unwrap();
    assert_eq!((last.file, last.chunks), (0, 1..8));
}

#[test]
fn chunks_that_come_after_their_lease_was_given_back_are_not_asked_for_again() {
    let (mut schedule, now) = of_one_file(10);
    let lease = ask(&mut schedule, 0, MUCH, [0, 0], now).unwrap();
    schedule.give_back(lease.id);
    schedule.done(lease.id, 0, &(0..4), now);
    assert_eq!(ask(&mut schedule, 1, MUCH, [0, 0], now).unwrap().chunks, 4..10);
    // A late search of the folder that did not find them does not make them pending again.
    schedule.add(0, &all(10));
    assert_eq!(schedule.pending(), 0);
}

#[test]
fn waits_longest_for_who_has_brought_nothing_for_longest() {
    let (mut schedule, start) = of_one_file(10);
    let one = ask(&mut schedule, 0, Take { bytes: 5 * CHUNK, ..MUCH }, [0, 0], start).unwrap();
    let later = start + Duration::from_secs(1);
    ask(&mut schedule, 1, MUCH, [0, 0], later).unwrap();
    assert_eq!(schedule.oldest(), Some((SourceId::new(0), 0, 0..5)));
    schedule.done(one.id, 0, &(0..1), later + Duration::from_secs(1));
    assert_eq!(schedule.oldest(), Some((SourceId::new(1), 0, 5..10)));
}

#[test]
fn a_connection_takes_nothing_from_itself() {
    for chunks in [1, 10] {
        let (mut schedule, start) = of_one_file(chunks);
        ask(&mut schedule, 0, MUCH, [CHUNK, CHUNK], start).unwrap();
        assert_eq!(ask(&mut schedule, 0, MUCH, [CHUNK, CHUNK], start + Duration::from_secs(100)), None);
    }
}

#[test]
fn leases_share_the_rate_of_their_source() {
    let (mut schedule, now) = of_one_file(200);
    let rates = [200 * CHUNK, 100 * CHUNK];
    for connection in [0, 2] {
        ask(&mut schedule, connection, Take { bytes: 100 * CHUNK, ..MUCH }, rates, now).unwrap();
    }
    // Each of the first two has a rate of 100, and so has the third.
    assert_eq!(ask(&mut schedule, 1, MUCH, rates, now).unwrap().chunks, 150..200);
}

#[test]
fn a_single_chunk_is_hedged_when_it_is_late() {
    let cases = [
        // Rates of owner and asker in chunks per second, then milliseconds of silence.
        ([1000, 1000], 150, false), // it was to take one, but answers take their time
        ([1000, 1000], 250, true),
        ([1, 2], 450, true), // the asker would be through first
        ([1, 2], 550, false),
        ([1, 0], 900, false), // nobody knows
        ([1, 0], 1_100, true),
        ([0, 1], 900, false),
        ([0, 1], 1_100, true),
    ];
    for (rates, ms, is_hedged) in cases {
        let (mut schedule, start) = of_one_file(1);
        let rates = rates.map(|rate| rate * CHUNK);
        ask(&mut schedule, 0, MUCH, rates, start).unwrap();
        let lease = ask(&mut schedule, 1, MUCH, rates, start + Duration::from_millis(ms));
        assert_eq!(
            lease.map(|lease| lease.kind),
            is_hedged.then_some(LeaseKind::Hedge),
            "{rates:?} after {ms} ms"
        );
    }
}

/// The wanted chunks lie far from the beginning of the file.
fn of_the_end_of_a_file() -> (Schedule, Instant) {
    let mut schedule = Schedule::new(CHUNK, 1);
    schedule.add(0, &set_of(900..1000));
    (schedule, Instant::now())
}

const WHOLE: Take = Take { whole_files: true, ..MUCH };

#[test]
fn a_source_of_whole_files_is_given_time_to_get_there() {
    let (mut schedule, start) = of_the_end_of_a_file();
    let rates = [100 * CHUNK, CHUNK];
    let whole = ask(&mut schedule, 0, WHOLE, rates, start).unwrap();
    assert_eq!(whole.chunks, 900..1000);
    assert_eq!(ask(&mut schedule, 1, MUCH, rates, start + Duration::from_secs(9)), None);
    // Once it has reached the wanted chunks, the lease is treated as any other.
    schedule.done(whole.id, 0, &(900..901), start + Duration::from_secs(9));
    let lease = ask(&mut schedule, 1, MUCH, rates, start + Duration::from_secs(11)).unwrap();
    assert_eq!((lease.kind, lease.chunks), (LeaseKind::Stolen, 902..1000));
}

#[test]
fn the_way_to_its_chunks_counts_for_and_against_a_source_of_whole_files() {
    // The asking source reads everything from the beginning of the file.
    let (mut schedule, now) = of_one_file(100);
    ask(&mut schedule, 0, MUCH, [CHUNK, 2 * CHUNK], now).unwrap();
    assert_eq!(ask(&mut schedule, 1, WHOLE, [CHUNK, 2 * CHUNK], now).unwrap().chunks, 50..100);
    let (mut schedule, now) = of_the_end_of_a_file();
    ask(&mut schedule, 0, MUCH, [CHUNK, 5 * CHUNK], now).unwrap();
    assert_eq!(ask(&mut schedule, 1, WHOLE, [CHUNK, 5 * CHUNK], now), None);
    // The same for a single chunk.
    schedule.done(LeaseId(0), 0, &(900..999), now);
    assert_eq!(ask(&mut schedule, 1, WHOLE, [CHUNK, 5 * CHUNK], now), None);
    assert!(ask(&mut schedule, 1, MUCH, [CHUNK, 5 * CHUNK], now).is_some());

    // The other way round: the lease with fewer chunks left takes longer, so it loses some.
    let (mut schedule, now) = of_the_end_of_a_file();
    schedule.add(1, &all(500));
    let rates = [100 * CHUNK, 100 * CHUNK, 100 * CHUNK];
    let mut ask = |source: usize, limits: Take, only: &dyn Fn(usize) -> bool| {
        let connection = ConnectionId(u64::try_from(source).unwrap());
        let rate_of = |source: SourceId| rates[source.number()];
        let line = Line { rate_of: &rate_of, capacity: 0 };
        let eligible = |file| if only(file) { Eligible::All } else { Eligible::None };
        schedule.take(connection, SourceId::new(source), limits, &eligible, &line, now).unwrap()
    };
    assert_eq!(ask(0, WHOLE, &|file| file == 0).chunks, 900..1000);
    assert_eq!(ask(1, MUCH, &|file| file == 1).chunks, 0..500);
    assert_eq!(ask(2, MUCH, &|_| true).file, 0);
}

#[test]
fn what_a_connection_has_in_hand_is_not_taken_apart() {
    let mut schedule = Schedule::new(CHUNK, 4);
    schedule.add(0, &all(8));
    let (start, rates) = (Instant::now(), [CHUNK, CHUNK]);
    let victim = ask(&mut schedule, 0, MUCH, rates, start).unwrap();
    let later = start + Duration::from_secs(9);
    assert_eq!(ask(&mut schedule, 1, MUCH, rates, later).unwrap().chunks, 4..8);
    let hedge = ask(&mut schedule, 3, MUCH, rates, later).unwrap();
    assert_eq!((hedge.kind, hedge.chunks), (LeaseKind::Hedge, 0..4));
    assert_eq!(schedule.extent(victim.id), 0..4);
}

/// Asks for work with the given rates of the line.
fn ask_of(
    schedule: &mut Schedule,
    (connection, limits): (u64, Take),
    eligible: &dyn Fn(usize) -> Eligible,
    (rate, capacity): (u64, u64),
    now: Instant,
) -> Option<Lease> {
    let source = SourceId::new(usize::try_from(connection).unwrap());
    let rate_of = |_: SourceId| rate;
    schedule.take(
        ConnectionId(connection),
        source,
        limits,
        eligible,
        &Line { rate_of: &rate_of, capacity },
        now,
    )
}

#[test]
fn a_source_is_asked_for_chunks_that_it_has_and_for_more_when_it_gains_them() {
    let (mut schedule, now) = of_one_file(10);
    let only = |run: Range<u64>| move |_| Eligible::Only(set_of(run.clone()));
    let ask = |schedule: &mut Schedule, has: Range<u64>| {
        ask_of(schedule, (0, MUCH), &only(has), (0, 0), now).map(|lease| lease.chunks)
    };
    assert_eq!(ask(&mut schedule, 4..6), Some(4..6));
    assert_eq!(ask(&mut schedule, 4..6), None);
    schedule.look_again();
    assert_eq!(ask(&mut schedule, 4..8), Some(6..8));
    schedule.look_again();
    assert_eq!(ask(&mut schedule, 0..10), Some(0..4));
    assert_eq!(ask(&mut schedule, 0..10), Some(8..10));
}

#[test]
fn refused_chunks_are_pending_again() {
    let (mut schedule, now) = of_one_file(10);
    let all = |_| Eligible::All;
    let lease = ask_of(&mut schedule, (0, MUCH), &all, (0, 0), now).unwrap();
    schedule.refuse(lease.id, &(3..5));
    // A second refusal, and one of a lease that is over, changes nothing.
    schedule.refuse(lease.id, &(3..5));
    assert_eq!((schedule.pending(), schedule.extent(lease.id)), (2, 0..10));
    let except = |_| Eligible::Except(set_of(3..5));
    schedule.look_again();
    assert!(ask_of(&mut schedule, (0, MUCH), &except, (0, 0), now).is_none(), "of the source that was wrong");
    schedule.look_again();
    assert_eq!(ask_of(&mut schedule, (1, MUCH), &all, (0, 0), now).unwrap().chunks, 3..5);
    schedule.give_back(lease.id);
    schedule.refuse(lease.id, &(0..1));
    assert_eq!(schedule.pending(), 8);
}

/// Chunks that somebody waits for go first: in turn, where several wait, and in parts of a quarter of a request.
#[test]
fn chunks_that_somebody_waits_for_go_first() {
    let (mut schedule, now) = of_one_file(100);
    schedule.add(1, &set_of(0..40));
    let next = |schedule: &mut Schedule, connection| {
        let eight = Take { bytes: 8 * CHUNK, ..MUCH };
        let lease = ask_of(schedule, (connection, eight), &|_| Eligible::All, (0, 0), now).unwrap();
        (lease.file, lease.chunks)
    };
    assert_eq!(next(&mut schedule, 0), (0, 0..8));
    // What a request has not in hand is left to others, also to whoever waits for it.
    let first = schedule.wish(1, 30..33);
    let second = schedule.wish(0, 5..20);
    let order: Vec<_> = (1..5).map(|connection| next(&mut schedule, connection)).collect();
    assert_eq!(order, [(1, 30..32), (0, 5..7), (1, 32..33), (0, 7..9)]);
    // A request for a wish keeps what it has.
    let third = schedule.wish(0, 90..91);
    assert_eq!(next(&mut schedule, 5), (0, 90..91));
    [first, second, third].into_iter().for_each(|wish| schedule.end_wish(wish));
    assert_eq!(next(&mut schedule, 6), (0, 1..5));
}

/// A lease has the class of what somebody waits for as long as chunks of a wish are left of it.
#[test]
fn a_lease_is_awaited_while_it_has_chunks_of_a_wish() {
    let (mut schedule, now) = of_one_file(8);
    let next = |schedule: &mut Schedule, connection| {
        ask_of(schedule, (connection, MUCH), &|_| Eligible::All, (0, 0), now).unwrap()
    };
    let lease = next(&mut schedule, 0);
    assert!(!schedule.is_awaited(lease.id) && !schedule.may_serve_wish());
    let first = schedule.wish(0, 0..1);
    assert!(schedule.is_awaited(lease.id) && schedule.is_file_awaited(0) && !schedule.is_file_awaited(1));
    assert!(!schedule.may_serve_wish(), "a connection has been asked for it, and other chunks are pending");
    let second = schedule.wish(0, 2..4);
    assert!(schedule.may_serve_wish());
    let wished = next(&mut schedule, 1);
    assert!(wished.chunks.start == 2 && schedule.is_awaited(wished.id));
    schedule.done(lease.id, 0, &(0..1), now);
    assert!(!schedule.is_awaited(lease.id));
    [first, second].into_iter().for_each(|wish| schedule.end_wish(wish));
    assert!(!schedule.is_awaited(wished.id) && !schedule.may_serve_wish() && !schedule.is_file_awaited(0));
    // Where nothing is pending, a free connection may take chunks over.
    schedule.take_pending(0, &(0..8));
    assert!(!schedule.may_serve_wish());
    let _wish = schedule.wish(0, 2..3);
    assert!(schedule.may_serve_wish());
}

#[test]
fn a_lease_that_gets_its_share_of_the_line_is_not_copied() {
    // Eight leases share a line that gives eight chunks in a hundred seconds. A connection becomes free after thirty.
    for (capacity, is_hedged) in [(8 * CHUNK / 100, false), (80 * CHUNK, true)] {
        let (mut schedule, start) = of_one_file(8);
        let one = Take { bytes: CHUNK, ..MUCH };
        for connection in 0..8 {
            assert!(ask_of(&mut schedule, (connection, one), &|_| Eligible::All, (0, 0), start).is_some());
        }
        let later = start + Duration::from_secs(31);
        let rate = CHUNK / 100;
        let lease = ask_of(&mut schedule, (9, one), &|_| Eligible::All, (rate, capacity), later);
        assert_eq!(lease.is_some(), is_hedged, "{capacity}");
    }
}

#[test]
fn on_a_full_line_only_a_lease_that_has_stalled_is_helped() {
    let (mut schedule, start) = of_one_file(100);
    let scarce = Take { only_stalled: true, ..MUCH };
    let ask = |schedule: &mut Schedule, connection, limits, ms| {
        let now = start + Duration::from_millis(ms);
        ask_of(schedule, (connection, limits), &|_| Eligible::All, (10 * CHUNK, 10 * CHUNK), now)
    };
    assert!(ask(&mut schedule, 0, MUCH, 0).is_some());
    assert_eq!(ask(&mut schedule, 1, scarce, 500), None);
    assert_eq!(ask(&mut schedule, 1, scarce, 1_500).unwrap().chunks, 1..100);
}
