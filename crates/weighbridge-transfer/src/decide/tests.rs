//! Waits, stalls and connections, in time that a test lets pass.

use std::time::{Duration, Instant};

use super::{Decisions, Gives, Means, Moved, pacing::FIRST_CONNECTIONS};
use crate::{
    event::{Blame, SourceId, SourceState},
    options::Watchdog,
    ranges::RangeSet,
    source::Fault,
};
use weighbridge_tree::HeadId;

mod last_resort;
mod verdicts;

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
        decide.plan(CHUNK, CHUNK, 96);
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
        play.decide.plan(16 << 20, 16 << 20, 96);
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
    play.decide.plan(1_000, 1_000, 96);
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
