use std::time::{Duration, Instant};

use super::{Decisions, Gives, Means, Moved, pacing::FIRST_CONNECTIONS, schedule::Order};
use crate::{
    event::{Blame, SourceId, SourceState},
    options::Watchdog,
    ranges::RangeSet,
    source::Fault,
};
use weighbridge_tree::HeadId;

const CHUNK: u64 = 256 << 10;
const MEANS: Means = Means { pieces: 96, descriptors: None, rate: None };

/// Decisions whose time advances when a test says so, in the steps of the fetch.
struct Play {
    decide: Decisions,
    now: Instant,
    /// The verified bytes that each source gives per second while it is asked.
    gives: Vec<u64>,
    /// The requests that a source ends in a tenth of a second.
    requests: u64,
}

impl Play {
    fn of(gives: &[u64]) -> Self {
        let mut play = Self::unheard(gives);
        (0..gives.len()).for_each(|source| play.decide.hear(id(source)));
        play
    }

    /// A play in which no source has answered yet.
    fn unheard(gives: &[u64]) -> Self {
        let mut decide = Decisions::new(Watchdog::default(), MEANS, 7);
        (0..gives.len()).for_each(|source| decide.join(id(source), Gives::Model, false));
        decide.plan(CHUNK, CHUNK, 96, Order::Position);
        let mut play = Self { decide, now: Instant::now(), gives: gives.to_vec(), requests: 0 };
        (0..gives.len()).for_each(|source| {
            play.decide.connection_begins(id(source));
            play.decide.ask_begins(id(source));
        });
        play
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += Duration::from_millis(100);
            for (source, gives) in self.gives.iter().enumerate() {
                let source = id(source);
                if self.decide.is_usable(source) {
                    self.decide.add_received(source, gives / 10);
                    self.decide.piece_came(source);
                    self.decide.piece_landed(source, gives / 10, gives / 10);
                    for _ in 0..self.requests {
                        self.decide.ask_begins(source);
                        self.decide.ask_ends(source);
                    }
                }
            }
            self.decide.tick(self.now);
        }
    }

    fn fails(&mut self, fault: &Fault) {
        assert!(!self.fail(0, Some(0), fault));
    }

    fn fail(&mut self, source: usize, file: Option<usize>, fault: &Fault) -> bool {
        let cases = self.decide.cases(id(source));
        self.decide.fail(id(source), file, cases, fault, self.now)
    }

    fn suspect(&mut self, source: usize, what: &str) -> bool {
        let cases = self.decide.cases(id(source));
        self.decide.suspect(id(source), cases, what.to_owned())
    }

    fn serves(&self, source: usize, file: usize) -> bool {
        let mut all = RangeSet::default();
        all.insert(0..9);
        self.decide.may_serve(id(source), file, &all)
    }

    /// The connections that the only source is to have.
    fn connections(&self) -> usize {
        self.decide.crew().get(&id(0)).copied().unwrap_or(0)
    }

    fn statuses(&self) -> Vec<crate::event::SourceStatus> {
        self.decide.statuses(self.now)
    }

    fn state(&self, source: usize) -> SourceState {
        self.decide.statuses(self.now)[source].state
    }

    fn blame(&self, source: usize) -> Option<Blame> {
        Some(self.decide.statuses(self.now)[source].blame.as_ref()?.0)
    }

    fn why(&self) -> String {
        self.decide.statuses(self.now)[0].blame.clone().unwrap().1
    }

    /// How long the first source is left alone.
    fn again_in(&self) -> Duration {
        self.decide.statuses(self.now)[0].again_in.unwrap()
    }
}

fn id(source: usize) -> SourceId {
    SourceId::new(source)
}

fn unreachable() -> Fault {
    Fault::Unreachable("is not there".to_owned())
}

fn busy(seconds: u64) -> Fault {
    Fault::Busy { retry_after: Some(Duration::from_secs(seconds)), what: "answers 503".to_owned() }
}

fn head(byte: u8) -> HeadId {
    HeadId::from_bytes([byte; 32])
}

fn moved(byte: u8, is_later: bool) -> Moved {
    Moved { head: head(byte), is_later }
}

#[test]
fn who_gives_too_little_is_tried_again_twice() {
    let mut play = Play::of(&[10_000, 1_000_000]);
    for _ in 0..2 {
        play.pass(8);
        assert_eq!(play.state(0), SourceState::Active);
        play.pass(3);
        assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Stalled)));
        let why = play.why();
        assert!(why.starts_with("gave ") && why.ends_with("000 bytes in 10 s"), "{why}");
        play.pass(7);
        assert_eq!(play.state(0), SourceState::Waiting);
        play.pass(3);
    }
    play.pass(11);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Stalled)));
    play.pass(600);
    assert_eq!(play.state(0), SourceState::SetAside);
    assert_eq!((play.state(1), play.blame(1)), (SourceState::Active, None));
}

/// Regression: four honest mirrors behind one slow line were all called stalled.
#[test]
fn sources_that_share_a_slow_line_have_not_stalled() {
    for rates in [&[25_000; 4][..], &[3_900; 64], &[1_000], &[20_000, 30_000, 40_000]] {
        let mut play = Play::of(rates);
        play.pass(600);
        for source in 0..rates.len() {
            assert_eq!((play.state(source), play.blame(source)), (SourceState::Active, None), "{rates:?}");
        }
    }
    // Of four such sources, one that gives next to nothing has stalled.
    let mut play = Play::of(&[25_000, 25_000, 25_000, 100]);
    play.pass(60);
    assert_eq!(play.blame(3), Some(Blame::Stalled));
    assert!((0..3).all(|source| play.blame(source).is_none()));
}

/// Regression: a laptop was closed, or a process stopped, for twelve seconds, and an honest source was blamed.
#[test]
fn time_in_which_this_machine_stood_still_is_nobodys() {
    let mut play = Play::of(&[1_000_000, 1_000_000]);
    play.pass(8);
    for _ in 0..5 {
        play.now += Duration::from_secs(3600);
        play.decide.tick(play.now);
        play.pass(1);
    }
    assert!((0..2).all(|source| play.blame(source).is_none()));
}

#[test]
fn enough_in_one_window_makes_up_for_stalls_before() {
    let mut play = Play::of(&[0]);
    for _ in 0..5 {
        play.gives = vec![0];
        let stalled = (0..25).any(|_| {
            play.pass(1);
            play.state(0) == SourceState::Waiting
        });
        assert!(stalled && play.blame(0) == Some(Blame::Stalled));
        play.gives = vec![100_000];
        play.pass(25);
        assert_eq!(play.state(0), SourceState::Active);
    }
}

#[test]
fn bytes_count_before_their_chunk_is_there_unless_they_are_refused() {
    for is_refused in [false, true] {
        let mut play = Play::of(&[0, 1_000_000]);
        play.decide.plan(16 << 20, 16 << 20, 96, Order::Position);
        for _ in 0..60 {
            play.decide.add_received(id(0), 100_000);
            if is_refused {
                play.decide.refuse_metadata(id(0), 100_000);
            }
            play.pass(1);
        }
        assert_eq!(play.blame(0), is_refused.then_some(Blame::Stalled));
    }
}

/// A source that repeatedly gives all but the end of a chunk, and then falls silent, never gives anything useful.
#[test]
fn only_verified_bytes_make_up_for_stalls_before() {
    let mut play = Play::of(&[0]);
    for _ in 0..3 {
        for _ in 0..20 {
            if play.state(0) == SourceState::Active {
                play.decide.add_received(id(0), 100_000);
            }
            play.pass(1);
        }
        play.pass(22);
    }
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Stalled)));
}

#[test]
fn pauses_and_bytes_that_wait_for_this_machine_are_no_stall() {
    let mut play = Play::of(&[0]);
    // The connections of the source wait for memory, which others hold.
    play.decide.ask_ends(id(0));
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, None));
    play.decide.ask_begins(id(0));
    play.decide.piece_came(id(0));
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, None));
    // The watch starts once the source is asked again and nothing waits.
    play.decide.piece_landed(id(0), 0, 0);
    play.pass(9);
    assert_eq!(play.blame(0), None);
    play.pass(2);
    assert_eq!(play.blame(0), Some(Blame::Stalled));
}

#[test]
fn each_failure_in_a_row_doubles_the_wait_and_the_eighth_is_the_last() {
    let mut play = Play::of(&[0]);
    for failure in 0..7 {
        play.fails(&unreachable());
        assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Unreachable)));
        let doubled = Duration::from_millis(500) * 2_u32.pow(failure);
        assert!((doubled / 2..=doubled * 3 / 2).contains(&play.again_in()), "{:?}", play.again_in());
        play.now += play.again_in();
        play.decide.tick(play.now);
        assert!(play.decide.is_usable(id(0)));
    }
    play.fails(&unreachable());
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
    assert_eq!(play.why(), "is not there");
}

/// Regression: a mistyped host as the only source was tried for 67 s.
#[test]
fn who_never_answered_is_given_up_after_three_failures_if_nobody_answers() {
    let mut play = Play::unheard(&[0, 0]);
    for _ in 0..2 {
        play.fails(&unreachable());
        assert_eq!(play.state(0), SourceState::Waiting);
        play.now += play.again_in();
        play.decide.tick(play.now);
    }
    play.fails(&unreachable());
    play.decide.tick(play.now);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
    assert_eq!(play.why(), "is not there");
    // The source has not failed yet.
    assert_eq!(play.state(1), SourceState::Active);
}

#[test]
fn who_never_answered_is_waited_for_as_long_as_somebody_does() {
    let mut play = Play::unheard(&[0, 0]);
    // An error status counts as an answer.
    assert!(!play.fail(1, None, &busy(200)));
    for _ in 0..4 {
        play.fails(&unreachable());
        play.now += play.again_in();
        play.decide.tick(play.now);
        assert!(play.decide.is_usable(id(0)));
    }
    // While the source is left alone the other one is set aside, so no source is left to wait for.
    play.fails(&unreachable());
    play.decide.set_aside(id(1), Blame::Lied, "chunk 3".to_owned());
    play.decide.tick(play.now);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
}

#[test]
fn who_has_answered_once_is_waited_for() {
    let mut play = Play::unheard(&[0]);
    play.decide.hear(id(0));
    for _ in 0..7 {
        play.fails(&unreachable());
        play.decide.tick(play.now);
        assert_eq!(play.state(0), SourceState::Waiting);
        play.now += play.again_in();
        play.decide.tick(play.now);
    }
}

#[test]
fn a_verified_byte_ends_the_row_and_one_that_was_refused_does_not() {
    let mut play = Play::of(&[0]);
    for failure in 0..39 {
        play.fails(&unreachable());
        play.now += play.again_in();
        play.decide.tick(play.now);
        play.decide.piece_came(id(0));
        play.decide.piece_landed(id(0), u64::from(failure < 32), u64::from(failure < 32));
    }
    assert_eq!(play.state(0), SourceState::Active);
    play.fails(&unreachable());
    assert_eq!(play.state(0), SourceState::SetAside);
}

#[test]
fn connections_that_fail_at_once_have_failed_once() {
    let mut play = Play::of(&[0]);
    (0..100).for_each(|_| play.fails(&unreachable()));
    assert_eq!(play.state(0), SourceState::Waiting);
    assert!(play.again_in() <= Duration::from_millis(750));
    // The longest of the waits that the source asked for applies.
    play.fails(&busy(60));
    play.fails(&unreachable());
    assert_eq!(play.again_in(), Duration::from_secs(60));
}

#[test]
fn who_asks_for_time_gets_it_up_to_five_minutes() {
    for (seconds, state) in
        [(1, SourceState::Waiting), (300, SourceState::Waiting), (301, SourceState::SetAside)]
    {
        let mut play = Play::of(&[0]);
        play.fails(&busy(seconds));
        assert_eq!((play.state(0), play.blame(0)), (state, Some(Blame::Refused)), "{seconds}");
        if state == SourceState::Waiting {
            assert_eq!(play.again_in(), Duration::from_secs(seconds));
        }
    }
}

#[test]
fn a_source_that_refuses_one_of_its_connections_gets_fewer() {
    let refused = Fault::Busy { retry_after: None, what: "answers 503".to_owned() };
    let mut play = Play::of(&[1_000_000]);
    play.decide.connection_begins(id(0));
    let before = play.decide.generation(id(0));
    assert!(!play.decide.is_crowded(id(0)));
    play.fails(&refused);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    assert!(play.decide.is_crowded(id(0)) && play.decide.generation(id(0)) == before);
    play.decide.connection_ends(id(0));
    assert!(!play.decide.is_crowded(id(0)));
    play.pass(29);
    assert_eq!(play.connections(), 1);
    // Then another connection is tried, and refusing the last one counts for the whole source.
    play.pass(4);
    assert_eq!(play.connections(), 2);
    play.fails(&refused);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Refused)));
    // A wait with a stated time applies to the whole source.
    let mut play = Play::of(&[0]);
    play.decide.connection_begins(id(0));
    play.fails(&busy(1));
    assert_eq!(play.state(0), SourceState::Waiting);
    // Requests for metadata count beside the connections of the source.
    for (running, state) in [(0, SourceState::Waiting), (1, SourceState::Active), (2, SourceState::Active)] {
        let mut play = Play::of(&[0]);
        play.decide.connection_ends(id(0));
        (0..running).for_each(|_| play.decide.connection_begins(id(0)));
        assert!(!play.fail(0, None, &refused));
        assert_eq!(play.state(0), state);
        assert_eq!(play.connections() == 1, running > 0);
    }
}

#[test]
fn a_verdict_ends_the_requests_of_a_source_and_a_broken_connection_does_not() {
    type End = fn(&mut Play);
    let ends: [(End, bool); 5] = [
        (|play| play.pass(11), true),
        (|play| assert!(play.suspect(0, "chunk 3")), true),
        (|play| play.decide.set_aside(id(0), Blame::Lied, String::new()), true),
        (|play| play.fails(&unreachable()), false),
        (|play| play.fails(&busy(1)), false),
    ];
    for (end, is_broken_off) in ends {
        let mut play = Play::of(&[0]);
        assert_eq!(play.connections(), FIRST_CONNECTIONS);
        let before = (play.decide.generation(id(0)), play.decide.broken_off());
        end(&mut play);
        assert_eq!(play.decide.generation(id(0)) != before.0, is_broken_off);
        assert_eq!(play.decide.broken_off() != before.1, is_broken_off);
        assert_eq!(play.connections(), 0, "nothing new is asked for");
    }
}

#[test]
fn a_missing_file_is_missing_and_the_source_serves_the_others() {
    let mut play = Play::of(&[0]);
    play.fails(&Fault::Missing);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    assert!(!play.serves(0, 0) && play.serves(0, 1));
}

#[test]
fn who_denies_a_file_is_asked_for_others_until_it_has_denied_three_and_given_none() {
    let denied = Fault::Refused("answers 403 Forbidden".to_owned());
    let mut play = Play::of(&[0, 0]);
    for file in 0..3 {
        assert_eq!((play.state(0), play.serves(0, file)), (SourceState::Active, true));
        assert!(!play.fail(0, Some(file), &denied));
        assert_eq!((play.blame(0), play.serves(0, file)), (Some(Blame::Refused), false));
    }
    assert_eq!(play.state(0), SourceState::SetAside);
    // One file that is denied on many connections counts once, and denied metadata does not count.
    play = Play::of(&[0, 0]);
    for file in [Some(0), Some(1), None] {
        (0..9).for_each(|_| match file {
            Some(_) => assert!(!play.fail(0, file, &denied)),
            None => play.decide.deny_metadata(id(0), &denied),
        });
        assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    }
    play.decide.piece_came(id(1));
    play.decide.piece_landed(id(1), 1, 1);
    for file in 0..9 {
        assert!(!play.fail(1, Some(file), &denied));
        assert_eq!(play.state(1), SourceState::Active);
    }
}

#[test]
fn what_a_source_without_ranges_gives_before_the_wanted_is_no_stall() {
    let mut play = Play::of(&[0]);
    for ranges in [true, false] {
        if !ranges {
            play.decide.has_no_ranges(id(0));
        }
        for _ in 0..12 {
            play.decide.add_received(id(0), 100_000);
            play.decide.add_passed(id(0), 100_000);
            play.pass(1);
        }
        assert_eq!(play.blame(0), ranges.then_some(Blame::Stalled));
        play = Play::of(&[0]);
    }
}

#[test]
fn a_window_may_be_shorter_than_a_second() {
    let watchdog = Watchdog { rate: 10_000, window: Duration::from_millis(500) };
    let mut play = Play { decide: Decisions::new(watchdog, MEANS, 7), ..Play::of(&[0]) };
    play.decide.join(id(0), Gives::Model, false);
    play.decide.plan(1_000, 1_000, 96, Order::Position);
    play.decide.connection_begins(id(0));
    play.decide.ask_begins(id(0));
    play.pass(1);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Stalled)));
    assert_eq!(play.why(), "gave 0 bytes in 0.5 s");
}

#[test]
fn who_is_tried_again_first_is_known() {
    let mut play = Play::of(&[0, 0]);
    assert_eq!(play.decide.first_again(play.now), None);
    play.fails(&busy(9));
    assert_eq!(play.decide.first_again(play.now), Some((id(0), Duration::from_secs(9))));
    assert!(!play.fail(1, Some(0), &busy(4)));
    assert_eq!(play.decide.first_again(play.now), Some((id(1), Duration::from_secs(4))));
}

#[test]
fn nobody_is_blamed_before_it_is_found_out_for_what() {
    let mut play = Play::of(&[0]);
    assert!(play.suspect(0, "chunk 3"));
    assert!(!play.suspect(0, "chunk 4"), "it is being found out already");
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, None));
    // Other faults of its connections change nothing.
    [unreachable(), busy(1000), Fault::Refused(String::new()), Fault::Missing]
        .iter()
        .for_each(|fault| play.fails(fault));
    assert!(!play.fail(0, Some(0), &Fault::OtherFile(String::new())));
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, None));
    assert!(play.decide.is_judging());
    play.decide.connection_ends(id(0));
    play.decide.convict(id(0));
    assert_eq!(
        (play.state(0), play.blame(0), play.why()),
        (SourceState::SetAside, Some(Blame::Lied), "chunk 3".to_owned())
    );
    assert!(!play.decide.is_judging());
}

#[test]
fn what_was_under_way_when_a_source_was_judged_says_nothing_new() {
    let mut play = Play::of(&[0]);
    let before = play.decide.cases(id(0));
    assert!(play.decide.suspect(id(0), before, "chunk 3".to_owned()));
    play.decide.set_stale(id(0), moved(1, true), "serves revision 2".to_owned(), [5].into());
    assert!(!play.decide.suspect(id(0), before, "chunks.layer".to_owned()));
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Stale)));
    let now = play.decide.cases(id(0));
    assert!(play.decide.suspect(id(0), now, "chunk 4".to_owned()));
}

#[test]
fn who_wants_to_be_left_alone_is_so_when_it_is_suspected_too() {
    let mut play = Play::of(&[0]);
    assert_eq!(play.decide.not_before(id(0)), None);
    play.fails(&busy(60));
    assert!(play.suspect(0, "chunk 3"));
    assert_eq!(play.decide.not_before(id(0)), Some(play.now + Duration::from_secs(60)));
}

#[test]
fn time_in_which_bytes_are_paid_for_is_no_stall_and_a_trickle_is_one() {
    let mut play = Play::of(&[0]);
    play.decide.pay(id(0), true);
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, None));
    // A byte now and then, each paid for at once: the clock pauses for the payment, and is not reset.
    play.decide.pay(id(0), false);
    for _ in 0..12 {
        play.pass(1);
        play.decide.pay(id(0), true);
        play.now += Duration::from_millis(100);
        play.decide.tick(play.now);
        play.decide.pay(id(0), false);
    }
    assert_eq!(play.blame(0), Some(Blame::Stalled));
}

#[test]
fn a_length_of_another_file_is_found_out_too() {
    let mut play = Play::of(&[0]);
    assert!(play.fail(0, Some(2), &Fault::OtherFile("has 9 bytes".to_owned())));
    play.decide.convict(id(0));
    assert_eq!((play.blame(0), play.why()), (Some(Blame::Lied), "has 9 bytes".to_owned()));
}

/// Regression: a liar was asked once more for a file that it has in another length.
#[test]
fn a_file_of_another_length_is_not_asked_for_again() {
    let other = Fault::OtherFile("has 9 bytes".to_owned());
    let mut play = Play::of(&[0]);
    assert!(play.fail(0, Some(2), &other));
    // The fault comes on another connection, while the head of the source is read again.
    assert!(!play.fail(0, Some(3), &other));
    play.decide.convict(id(0));
    assert!(!play.fail(0, Some(4), &other), "its head is not read again");
    let served: Vec<_> = (0..6).filter(|file| play.serves(0, *file)).collect();
    assert_eq!(served, [0, 1, 5]);
}

#[test]
fn who_shows_no_head_is_no_liar() {
    let mut play = Play::of(&[0, 0]);
    assert!(play.suspect(0, "chunk 3"));
    play.decide.close_case(id(0), Blame::Unreachable, "is gone");
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
    assert_eq!(play.why(), "chunk 3; and it did not show its head: is gone");
    assert!(play.suspect(1, "chunk 4"));
    play.decide.close_cases();
    assert_eq!((play.state(1), play.blame(1)), (SourceState::SetAside, Some(Blame::Stalled)));
    // The blame of a source that was judged before stays as it was.
    assert_eq!(play.blame(0), Some(Blame::Unreachable));
}

#[test]
fn a_stale_source_serves_what_is_the_same_and_lies_if_that_is_not() {
    let mut play = Play::of(&[100_000]);
    assert!(play.suspect(0, "chunk 3"));
    play.decide.set_stale(id(0), moved(1, false), "has revision 1".to_owned(), [2, 5].into());
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Stale)));
    assert!(play.decide.is_stale(id(0)));
    let served: Vec<_> = (0..8).filter(|file| play.serves(0, *file)).collect();
    assert_eq!(served, [2, 5]);
    // One more missing file changes nothing about the source.
    assert!(!play.fail(0, Some(2), &Fault::Missing));
    assert_eq!(play.blame(0), Some(Blame::Stale));
    // The source moves on, and is stale once more. It does not get back a head whose list it has belied.
    assert!(play.suspect(0, "chunk 4"));
    play.decide.set_stale(id(0), moved(2, true), "has revision 3".to_owned(), [0, 5].into());
    assert_eq!(play.blame(0), Some(Blame::Stale));
    let served: Vec<_> = (0..8).filter(|file| play.serves(0, *file)).collect();
    assert_eq!(served, [5], "what it had not before it has not now");
    assert!(play.suspect(0, "chunk 5"));
    play.decide.connection_ends(id(0));
    play.decide.set_stale(id(0), moved(1, false), "has revision 1".to_owned(), [5].into());
    assert_eq!(
        (play.state(0), play.blame(0), play.why()),
        (SourceState::SetAside, Some(Blame::Lied), "chunk 5".to_owned())
    );
}

#[test]
fn a_stale_source_without_a_file_that_is_the_same_is_set_aside() {
    let mut play = Play::of(&[0]);
    assert!(play.suspect(0, ""));
    play.decide.set_stale(id(0), moved(1, false), "has revision 1".to_owned(), [].into());
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Stale)));
}

#[test]
fn the_release_has_moved_on_if_every_source_that_is_left_says_so() {
    let mut play = Play::of(&[0; 4]);
    let says = |play: &mut Play, source, is_later| {
        assert!(play.suspect(source, ""));
        play.decide.set_stale(id(source), moved(9, is_later), String::new(), [].into());
    };
    assert_eq!(play.decide.all_moved_to(), None);
    says(&mut play, 0, true);
    assert_eq!(play.decide.all_moved_to(), None, "three serve it still");
    play.decide.set_aside(id(1), Blame::Lied, String::new());
    play.decide.set_aside(id(2), Blame::Unreachable, String::new());
    assert_eq!(play.decide.all_moved_to(), None, "one serves it still");
    // A place for metadata does not count here.
    play.decide.join(id(4), Gives::Metadata, false);
    assert!(play.suspect(3, ""));
    play.decide.convict(id(3));
    assert_eq!(play.decide.all_moved_to(), Some(head(9)), "a liar has no say");
    play.decide.set_stale(id(3), moved(9, false), String::new(), [].into());
    assert_eq!(play.decide.all_moved_to(), None, "one is behind");
    assert_eq!(Play::of(&[]).decide.all_moved_to(), None);
}

#[test]
fn connections_grow_while_that_brings_more_and_shrink_when_it_did_not() {
    let mut play = Play::of(&[0]);
    // Each connection up to the fifth brings a megabyte per second.
    let mut most = 0;
    for _ in 0..400 {
        let connections = play.connections();
        while play.decide.pacing.running(id(0)) < connections {
            play.decide.connection_begins(id(0));
        }
        while play.decide.pacing.running(id(0)) > connections {
            play.decide.connection_ends(id(0));
        }
        play.gives = vec![1_000_000 * u64::try_from(connections.min(5)).unwrap()];
        play.pass(1);
        most = most.max(connections);
        assert!((FIRST_CONNECTIONS..=8).contains(&connections));
    }
    assert!((5..=7).contains(&most), "{most}");
}

/// Small files end many requests in a second, so that the rate of a connection is known in less than two seconds.
#[test]
fn connections_to_a_source_of_small_files_grow_within_seconds() {
    let after = |seconds: u64, requests: u64| {
        let mut play = Play::of(&[0]);
        for _ in 0..seconds {
            let connections = play.connections();
            while play.decide.pacing.running(id(0)) < connections {
                play.decide.connection_begins(id(0));
            }
            play.gives = vec![1_000_000 * u64::try_from(connections).unwrap()];
            play.requests = requests;
            play.pass(1);
        }
        play.connections()
    };
    assert!(after(4, 100) >= 6, "{}", after(4, 100));
    assert!(after(4, 0) <= 4, "{}", after(4, 0));
}

#[test]
fn a_rate_falls_to_nothing_when_nothing_comes() {
    let mut play = Play::of(&[1_000_000]);
    play.pass(5);
    assert!(play.decide.pacing.rate(id(0)) > 900_000);
    play.gives = vec![0];
    play.pass(60);
    assert_eq!(play.decide.pacing.rate(id(0)), 0);
}

#[test]
fn news_is_told_once_and_rates_only_when_asked_for() {
    let mut play = Play::of(&[0, 0]);
    assert_eq!(play.decide.news(play.now, true).len(), 2);
    assert_eq!(play.decide.news(play.now, true), []);
    play.gives = vec![1_000_000, 0];
    play.pass(1);
    assert_eq!(play.decide.news(play.now, false), []);
    let news = play.decide.news(play.now, true);
    assert_eq!(news.iter().map(|status| status.source).collect::<Vec<_>>(), [id(0)]);
    play.fails(&unreachable());
    assert_eq!(play.decide.news(play.now, false).len(), 1);
    assert_eq!(play.decide.news(play.now, false), []);
}

fn run(run: std::ops::Range<u64>) -> RangeSet {
    let mut set = RangeSet::default();
    set.insert(run);
    set
}

/// The chunks, of a file of six, that a new connection of the source is given at once.
fn given(play: &mut Play, source: usize) -> Option<std::ops::Range<u64>> {
    let lease =
        play.decide.take(super::ConnectionId(u64::try_from(source).unwrap()), id(source), play.now)?;
    play.decide.give_back(lease.id);
    Some(lease.chunks)
}

fn convicted(play: &mut Play, source: usize) {
    assert!(play.suspect(source, "chunk 3"));
    play.decide.convict(id(source));
}

#[test]
fn a_convicted_source_is_the_last_resort_for_chunks_that_it_was_not_wrong_about() {
    let mut play = Play::of(&[0, 0]);
    play.decide.plan(CHUNK, 16 * CHUNK, 96, Order::Position);
    play.decide.add(0, &run(0..6));
    let lease = play.decide.take(super::ConnectionId(0), id(0), play.now).unwrap();
    play.decide.refuse(lease.id, id(0), 0, 2..3, CHUNK);
    convicted(&mut play, 0);
    play.decide.give_back(lease.id);
    assert_eq!(given(&mut play, 0), None, "the other one can give all of them");
    assert_eq!(given(&mut play, 1), Some(0..6));
    // The other source is gone, has stalled, or waits.
    assert!(!play.fail(1, Some(0), &busy(60)));
    assert_eq!(given(&mut play, 0), Some(0..2));
    play.decide.leave(id(1));
    assert!(!play.decide.is_hopeless(0, false));
    play.decide.done(lease.id, 0, &(0..2), play.now);
    assert_eq!(given(&mut play, 0), Some(3..6));
    play.decide.done(lease.id, 0, &(3..6), play.now);
    assert_eq!(given(&mut play, 0), None);
    assert!(play.decide.is_hopeless(0, false));
    assert_eq!(play.decide.pending_of(0), Some(&run(2..3)), "the end names what is missing");
    assert_eq!(play.blame(0), Some(Blame::Lied));
}

#[test]
fn a_source_that_lies_in_every_chunk_costs_its_budget_and_one_that_mostly_does_not_goes_on() {
    for (good, most) in [(0, 33), (1, u64::MAX)] {
        let mut play = Play::of(&[0]);
        convicted(&mut play, 0);
        let mut wrong = 0;
        while play.decide.is_usable(id(0)) && wrong < 1_000 {
            play.decide.add(0, &run(wrong..wrong + 1));
            let lease = play.decide.take(super::ConnectionId(0), id(0), play.now).unwrap();
            play.decide.refuse(lease.id, id(0), 0, lease.chunks, CHUNK);
            play.decide.give_back(lease.id);
            play.decide.piece_came(id(0));
            play.decide.piece_landed(id(0), good * CHUNK, good * CHUNK);
            wrong += 1;
        }
        assert_eq!(wrong, most.min(1_000), "8 MiB of chunks, and the one that was too much");
        assert_eq!(play.blame(0), Some(Blame::Lied));
    }
}

/// Each of 3 sources is wrong in some of 6 chunks: a chunk that any source has right is fetched.
#[test]
fn everything_comes_that_any_source_has_whatever_the_others_are_wrong_about() {
    for wrong in 0..1_u32 << 18 {
        let is_wrong = |source: usize, chunk: u64| wrong >> (source as u64 * 6 + chunk) & 1 == 1;
        let mut play = Play::of(&[0, 0, 0]);
        play.decide.plan(CHUNK, 2 * CHUNK, 96, Order::Position);
        play.decide.add(0, &run(0..6));
        let mut asked = 0;
        while !play.decide.is_finished() && !play.decide.is_hopeless(0, false) {
            for source in 0..3 {
                let connection = super::ConnectionId(u64::try_from(source).unwrap());
                let Some(lease) = play.decide.take(connection, id(source), play.now) else { continue };
                for chunk in lease.chunks.clone() {
                    asked += 1;
                    if is_wrong(source, chunk) {
                        play.decide.refuse(lease.id, id(source), 0, chunk..chunk + 1, CHUNK);
                        if play.suspect(source, "a chunk") {
                            play.decide.convict(id(source));
                        }
                    } else {
                        play.decide.done(lease.id, 0, &(chunk..chunk + 1), play.now);
                    }
                }
                play.decide.give_back(lease.id);
            }
            assert!(asked <= 18, "no chunk is asked of a source twice: {wrong:b}");
        }
        let missing: Vec<u64> =
            (0..6).filter(|chunk| (0..3).all(|source| is_wrong(source, *chunk))).collect();
        let pending = play.decide.pending_of(0).map_or_else(Vec::new, |set| set.iter().flatten().collect());
        assert_eq!(pending, missing, "{wrong:b}");
        for source in 0..3 {
            let is_honest = (0..6).all(|chunk| !is_wrong(source, chunk));
            assert!(!is_honest || play.blame(source).is_none(), "{wrong:b}");
        }
    }
}

#[test]
fn sources_join_late_gain_chunks_and_leave() {
    let mut play = Play::of(&[0]);
    play.decide.plan(CHUNK, 16 * CHUNK, 96, Order::Position);
    play.decide.add(0, &run(0..6));
    play.decide.join(id(7), Gives::Model, true);
    assert_eq!(given(&mut play, 7), None, "it has none yet");
    assert!(play.decide.gain(id(7), 0, &run(4..6)) && !play.decide.gain(id(7), 0, &run(5..6)));
    assert_eq!(given(&mut play, 7), Some(4..6));
    play.decide.leave(id(0));
    assert_eq!(given(&mut play, 0), None);
    assert!(!play.decide.is_hopeless(0, false));
    play.decide.add(1, &run(0..6));
    assert!(!play.decide.is_hopeless(1, false), "it may gain it still");
    play.decide.finish_inventory(id(7));
    assert!(play.decide.is_hopeless(1, false));
    assert!(play.statuses().iter().map(|status| status.source).eq([id(7)]));
}

#[test]
fn many_sources_have_no_more_connections_than_the_machine_bears() {
    let means = Means { pieces: 2, descriptors: Some(60), rate: None };
    let mut play = Play { decide: Decisions::new(Watchdog::default(), means, 7), ..Play::of(&[]) };
    (0..1_000).for_each(|source| play.decide.join(id(source), Gives::Model, false));
    play.decide.plan(CHUNK, CHUNK, 96, Order::Position);
    play.decide.add(0, &run(0..6));
    let crew = |play: &Play| -> Vec<usize> {
        let crew = play.decide.crew();
        crew.into_iter().filter(|(_, count)| *count > 0).map(|(source, _)| source.number()).collect()
    };
    assert_eq!(crew(&play), [0, 1]);
    assert_eq!(play.decide.most_requests(), 2);
    // A source that has nothing to give does not keep its place.
    play.decide.join(id(0), Gives::Model, true);
    assert_eq!(given(&mut play, 0), None);
    assert_eq!(crew(&play), [1, 2]);
    // A source that waits does not keep its place either.
    assert!(!play.fail(1, Some(0), &unreachable()));
    assert_eq!(crew(&play), [2, 3]);
}

/// A publisher whose upload is under way has the old head and new files.
#[test]
fn a_convicted_source_whose_next_head_is_another_one_is_stale_and_no_liar() {
    let mut play = Play::of(&[0]);
    convicted(&mut play, 0);
    assert_eq!(play.decide.convicted(), [id(0)]);
    play.decide.set_stale(id(0), moved(3, true), "serves revision 3".to_owned(), [].into());
    assert_eq!(play.blame(0), Some(Blame::Stale));
    assert_eq!(play.decide.all_moved_to(), Some(head(3)));
    assert!(play.decide.convicted().is_empty());
}
