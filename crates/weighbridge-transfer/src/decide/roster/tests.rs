use std::time::{Duration, Instant};

use super::{Moved, Roster, climb::FIRST_CONNECTIONS};
use crate::{
    event::{Blame, SourceState},
    options::Watchdog,
    source::Fault,
};
use weighbridge_tree::HeadId;

const CHUNK: u64 = 256 << 10;

/// A roster whose time goes by when a test says so, in the steps of the fetch.
struct Play {
    roster: Roster,
    now: Instant,
    /// Verified bytes that each source gives per second while it is asked.
    gives: Vec<u64>,
    /// The requests that a source ends in a tenth of a second.
    requests: u64,
    chunk: u64,
}

impl Play {
    fn of(gives: &[u64]) -> Self {
        let mut play = Self::unheard(gives);
        (0..gives.len()).for_each(|source| play.roster.heard(source));
        play
    }

    /// Nobody has answered yet.
    fn unheard(gives: &[u64]) -> Self {
        let roster = Roster::new(gives.len(), Watchdog::default(), 7);
        let mut play = Self { roster, now: Instant::now(), gives: gives.to_vec(), requests: 0, chunk: CHUNK };
        (0..gives.len()).for_each(|source| {
            play.roster.begins(source);
            play.roster.ask_begins(source);
        });
        play
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += Duration::from_millis(100);
            for (source, gives) in self.gives.iter().enumerate() {
                if self.roster.is_usable(source) {
                    self.roster.came(source);
                    self.roster.landed(source, gives / 10);
                    for _ in 0..self.requests {
                        self.roster.ask_begins(source);
                        self.roster.ask_ends(source);
                    }
                }
            }
            self.roster.tick(self.now, self.roster.least(None), self.chunk);
        }
    }

    fn fails(&mut self, fault: &Fault) {
        assert!(!self.roster.failed(0, Some(0), fault, self.now));
    }

    fn state(&self, source: usize) -> SourceState {
        self.roster.statuses(self.now)[source].state
    }

    fn blame(&self, source: usize) -> Option<Blame> {
        Some(self.roster.statuses(self.now)[source].blame.as_ref()?.0)
    }

    fn why(&self) -> String {
        self.roster.statuses(self.now)[0].blame.clone().unwrap().1
    }

    /// How long the first source is left alone.
    fn again_in(&self) -> Duration {
        self.roster.statuses(self.now)[0].again_in.unwrap()
    }
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
    let mut play = Play::of(&[60_000, 70_000]);
    for _ in 0..2 {
        play.pass(9);
        assert_eq!(play.state(0), SourceState::Active);
        play.pass(2);
        assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Stalled)));
        assert_eq!(play.why(), "gave 600000 verified bytes in 10 s");
        play.pass(8);
        assert_eq!(play.state(0), SourceState::Waiting);
        play.pass(2);
    }
    play.pass(11);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Stalled)));
    play.pass(600);
    assert_eq!(play.state(0), SourceState::SetAside);
    assert_eq!((play.state(1), play.blame(1)), (SourceState::Active, None));
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
fn a_source_of_large_chunks_has_the_time_for_two_and_is_tried_again_too() {
    let mut play = Play::of(&[0]);
    play.chunk = 16 << 20;
    for _ in 0..2 {
        play.pass(511);
        assert_eq!(play.state(0), SourceState::Active);
        play.pass(2);
        assert_eq!(play.state(0), SourceState::Waiting);
        assert!(play.again_in() > Duration::from_secs(510));
        play.pass(512);
    }
    play.pass(513);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Stalled)));
}

#[test]
fn pauses_and_bytes_that_wait_for_this_machine_are_no_stall() {
    let mut play = Play::of(&[0]);
    // Its connections wait for memory, which others hold.
    play.roster.ask_ends(0);
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, None));
    play.roster.ask_begins(0);
    play.roster.came(0);
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, None));
    // From when it is asked again, and nothing waits.
    play.roster.landed(0, 0);
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
        play.roster.tick(play.now, 1, CHUNK);
        assert!(play.roster.is_usable(0));
    }
    play.fails(&unreachable());
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
    assert_eq!(play.why(), "is not there");
}

/// A mistyped host as the only source was tried for 67 s.
#[test]
fn who_never_answered_is_given_up_after_three_failures_if_nobody_answers() {
    let mut play = Play::unheard(&[0, 0]);
    for _ in 0..2 {
        play.fails(&unreachable());
        assert_eq!(play.state(0), SourceState::Waiting);
        play.now += play.again_in();
        play.roster.tick(play.now, 1, CHUNK);
    }
    play.fails(&unreachable());
    play.roster.tick(play.now, 1, CHUNK);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
    assert_eq!(play.why(), "is not there");
    // It has not failed yet.
    assert_eq!(play.state(1), SourceState::Active);
}

#[test]
fn who_never_answered_is_waited_for_as_long_as_somebody_does() {
    let mut play = Play::unheard(&[0, 0]);
    // A status is an answer.
    assert!(!play.roster.failed(1, None, &busy(200), play.now));
    for _ in 0..4 {
        play.fails(&unreachable());
        play.now += play.again_in();
        play.roster.tick(play.now, 1, CHUNK);
        assert!(play.roster.is_usable(0));
    }
    // While it is left alone the other is set aside: nobody is left to wait for.
    play.fails(&unreachable());
    play.roster.set_aside(1, Blame::Lied, "chunk 3".to_owned());
    play.roster.tick(play.now, 1, CHUNK);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
}

#[test]
fn who_has_answered_once_is_waited_for() {
    let mut play = Play::unheard(&[0]);
    play.roster.heard(0);
    for _ in 0..7 {
        play.fails(&unreachable());
        play.roster.tick(play.now, 1, CHUNK);
        assert_eq!(play.state(0), SourceState::Waiting);
        play.now += play.again_in();
        play.roster.tick(play.now, 1, CHUNK);
    }
}

#[test]
fn a_verified_byte_ends_the_row_and_one_that_was_refused_does_not() {
    let mut play = Play::of(&[0]);
    for failure in 0..39 {
        play.fails(&unreachable());
        play.now += play.again_in();
        play.roster.tick(play.now, 1, CHUNK);
        play.roster.came(0);
        play.roster.landed(0, u64::from(failure < 32));
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
    // The longest of what they were told.
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
    play.roster.begins(0);
    let before = play.roster.generation(0);
    assert!(!play.roster.is_crowded(0));
    play.fails(&refused);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    assert!(play.roster.is_crowded(0) && play.roster.generation(0) == before);
    play.roster.ends(0);
    assert!(!play.roster.is_crowded(0));
    play.pass(29);
    assert_eq!(play.roster.connections(0), 1);
    // Then another is tried, and the last one that is refused is the source.
    play.pass(4);
    assert_eq!(play.roster.connections(0), 2);
    play.fails(&refused);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Refused)));
    // Who says for how long means all of it.
    let mut play = Play::of(&[0]);
    play.roster.begins(0);
    play.fails(&busy(1));
    assert_eq!(play.state(0), SourceState::Waiting);
    // Beside its connections it is asked for metadata, too.
    for (running, state) in [(0, SourceState::Waiting), (1, SourceState::Active), (2, SourceState::Active)] {
        let mut play = Play::of(&[0]);
        play.roster.ends(0);
        (0..running).for_each(|_| play.roster.begins(0));
        assert!(!play.roster.failed(0, None, &refused, play.now));
        assert_eq!(play.state(0), state);
        assert_eq!(play.roster.connections(0) == 1, running > 0);
    }
}

#[test]
fn whatever_a_source_is_blamed_for_ends_what_it_is_doing() {
    let ends: [fn(&mut Play); 5] = [
        |play| play.fails(&unreachable()),
        |play| play.fails(&busy(1)),
        |play| play.pass(11),
        |play| assert!(play.roster.suspect(0, "chunk 3".to_owned())),
        |play| play.roster.set_aside(0, Blame::Lied, String::new()),
    ];
    for end in ends {
        let mut play = Play::of(&[0]);
        assert_eq!(play.roster.connections(0), FIRST_CONNECTIONS);
        let before = play.roster.generation(0);
        end(&mut play);
        assert_ne!(play.roster.generation(0), before);
        assert_eq!(play.roster.connections(0), 0);
    }
}

#[test]
fn a_missing_file_is_missing_and_the_source_serves_the_others() {
    let mut play = Play::of(&[0]);
    play.fails(&Fault::Missing);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    assert!(!play.roster.may_serve(0, 0) && play.roster.may_serve(0, 1));
}

#[test]
fn who_denies_a_file_is_asked_for_others_until_it_has_denied_three_and_given_none() {
    let denied = Fault::Refused("answers 403 Forbidden".to_owned());
    let mut play = Play::of(&[0, 0]);
    for file in 0..3 {
        assert_eq!((play.state(0), play.roster.may_serve(0, file)), (SourceState::Active, true));
        assert!(!play.roster.failed(0, Some(file), &denied, play.now));
        assert_eq!((play.blame(0), play.roster.may_serve(0, file)), (Some(Blame::Refused), false));
    }
    assert_eq!(play.state(0), SourceState::SetAside);
    // One file on many connections is one, and metadata is none.
    play = Play::of(&[0, 0]);
    for file in [Some(0), Some(1), None] {
        (0..9).for_each(|_| play.roster.denied(0, file, &denied));
        assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    }
    play.roster.came(1);
    play.roster.landed(1, 1);
    for file in 0..9 {
        assert!(!play.roster.failed(1, Some(file), &denied, play.now));
        assert_eq!(play.state(1), SourceState::Active);
    }
}

#[test]
fn what_a_source_without_ranges_gives_before_the_wanted_is_no_stall() {
    let mut play = Play::of(&[0]);
    for ranges in [true, false] {
        if !ranges {
            play.roster.lacks_ranges(0);
        }
        for _ in 0..12 {
            play.roster.passed(0, 100_000);
            play.pass(1);
        }
        assert_eq!(play.blame(0), ranges.then_some(Blame::Stalled));
        play = Play::of(&[0]);
    }
}

#[test]
fn a_window_may_be_shorter_than_a_second() {
    let watchdog = Watchdog { rate: 10_000, window: Duration::from_millis(500) };
    let mut play = Play { roster: Roster::new(1, watchdog, 7), ..Play::of(&[0]) };
    play.roster.begins(0);
    play.roster.ask_begins(0);
    play.chunk = 1_000;
    play.pass(1);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, Some(Blame::Stalled)));
    assert_eq!(play.why(), "gave 0 verified bytes in 0.5 s");
}

#[test]
fn who_is_tried_again_first_is_known() {
    let mut play = Play::of(&[0, 0]);
    assert_eq!(play.roster.first_again(play.now), None);
    play.fails(&busy(9));
    assert_eq!(play.roster.first_again(play.now), Some((0, Duration::from_secs(9))));
    assert!(!play.roster.failed(1, Some(0), &busy(4), play.now));
    assert_eq!(play.roster.first_again(play.now), Some((1, Duration::from_secs(4))));
}

#[test]
fn nobody_is_blamed_before_it_is_found_out_for_what() {
    let mut play = Play::of(&[0]);
    assert!(play.roster.suspect(0, "chunk 3".to_owned()));
    assert!(!play.roster.suspect(0, "chunk 4".to_owned()), "it is being found out already");
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, None));
    // What else happens to its connections changes nothing.
    [unreachable(), busy(1000), Fault::Refused(String::new()), Fault::Missing]
        .iter()
        .for_each(|fault| play.fails(fault));
    assert!(!play.roster.failed(0, Some(0), &Fault::OtherFile(String::new()), play.now));
    play.roster.stalled(0, String::new(), Duration::from_secs(1), play.now);
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Waiting, None));
    assert!(play.roster.is_judging());
    play.roster.lied(0);
    assert_eq!(
        (play.state(0), play.blame(0), play.why()),
        (SourceState::SetAside, Some(Blame::Lied), "chunk 3".to_owned())
    );
    assert!(!play.roster.is_judging());
}

#[test]
fn what_was_under_way_when_a_source_was_judged_says_nothing_new() {
    let mut play = Play::of(&[0]);
    let before = play.roster.cases(0);
    assert!(play.roster.suspect_since(0, before, "chunk 3".to_owned()));
    play.roster.stale(0, moved(1, true), "serves revision 2".to_owned(), [5].into());
    assert!(!play.roster.suspect_since(0, before, "chunks.layer".to_owned()));
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Stale)));
    let now = play.roster.cases(0);
    assert!(play.roster.suspect_since(0, now, "chunk 4".to_owned()));
}

#[test]
fn who_wants_to_be_left_alone_is_so_when_it_is_suspected_too() {
    let mut play = Play::of(&[0]);
    assert_eq!(play.roster.not_before(0), None);
    play.fails(&busy(60));
    assert!(play.roster.suspect(0, "chunk 3".to_owned()));
    assert_eq!(play.roster.not_before(0), Some(play.now + Duration::from_secs(60)));
}

#[test]
fn time_in_which_bytes_are_paid_for_is_no_stall_and_a_trickle_is_one() {
    let mut play = Play::of(&[0]);
    play.roster.pays(0, true);
    play.pass(60);
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, None));
    // A byte now and then, each paid for at once: the clock stands still then, and does not begin anew.
    play.roster.pays(0, false);
    for _ in 0..12 {
        play.pass(1);
        play.roster.pays(0, true);
        play.now += Duration::from_millis(100);
        play.roster.tick(play.now, 65_536, CHUNK);
        play.roster.pays(0, false);
    }
    assert_eq!(play.blame(0), Some(Blame::Stalled));
}

#[test]
fn a_length_of_another_file_is_found_out_too() {
    let mut play = Play::of(&[0]);
    assert!(play.roster.failed(0, Some(2), &Fault::OtherFile("has 9 bytes".to_owned()), play.now));
    play.roster.lied(0);
    assert_eq!((play.blame(0), play.why()), (Some(Blame::Lied), "has 9 bytes".to_owned()));
}

#[test]
fn who_shows_no_head_is_no_liar() {
    let mut play = Play::of(&[0, 0]);
    assert!(play.roster.suspect(0, "chunk 3".to_owned()));
    play.roster.close_case(0, Blame::Unreachable, "is gone");
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Unreachable)));
    assert_eq!(play.why(), "chunk 3; and it did not show its head: is gone");
    assert!(play.roster.suspect(1, "chunk 4".to_owned()));
    play.roster.close_cases();
    assert_eq!((play.state(1), play.blame(1)), (SourceState::SetAside, Some(Blame::Stalled)));
    // Who was found out before is left as it was.
    assert_eq!(play.blame(0), Some(Blame::Unreachable));
}

#[test]
fn a_stale_source_serves_what_is_the_same_and_lies_if_that_is_not() {
    let mut play = Play::of(&[100_000]);
    assert!(play.roster.suspect(0, "chunk 3".to_owned()));
    play.roster.stale(0, moved(1, false), "has revision 1".to_owned(), [2, 5].into());
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Stale)));
    assert!(play.roster.is_stale(0));
    let served: Vec<_> = (0..8).filter(|file| play.roster.may_serve(0, *file)).collect();
    assert_eq!(served, [2, 5]);
    // That it lacks one more file is no news about it.
    assert!(!play.roster.failed(0, Some(2), &Fault::Missing, play.now));
    assert_eq!(play.blame(0), Some(Blame::Stale));
    // It moves on, and is stale once more; but it does not go back to a head whose list it has belied.
    assert!(play.roster.suspect(0, "chunk 4".to_owned()));
    play.roster.stale(0, moved(2, true), "has revision 3".to_owned(), [0, 5].into());
    assert_eq!(play.blame(0), Some(Blame::Stale));
    let served: Vec<_> = (0..8).filter(|file| play.roster.may_serve(0, *file)).collect();
    assert_eq!(served, [5], "what it had not before it has not now");
    assert!(play.roster.suspect(0, "chunk 5".to_owned()));
    play.roster.stale(0, moved(1, false), "has revision 1".to_owned(), [5].into());
    assert_eq!(
        (play.state(0), play.blame(0), play.why()),
        (SourceState::SetAside, Some(Blame::Lied), "chunk 5".to_owned())
    );
}

#[test]
fn a_stale_source_without_a_file_that_is_the_same_is_set_aside() {
    let mut play = Play::of(&[0]);
    assert!(play.roster.suspect(0, String::new()));
    play.roster.stale(0, moved(1, false), "has revision 1".to_owned(), [].into());
    assert_eq!((play.state(0), play.blame(0)), (SourceState::SetAside, Some(Blame::Stale)));
}

#[test]
fn the_release_has_moved_on_if_every_source_that_is_left_says_so() {
    let mut play = Play::of(&[0; 4]);
    let says = |play: &mut Play, source, is_later| {
        assert!(play.roster.suspect(source, String::new()));
        play.roster.stale(source, moved(9, is_later), String::new(), [].into());
    };
    assert_eq!(play.roster.all_moved_to(4), None);
    says(&mut play, 0, true);
    assert_eq!(play.roster.all_moved_to(4), None, "three serve it still");
    play.roster.set_aside(1, Blame::Lied, String::new());
    play.roster.set_aside(2, Blame::Unreachable, String::new());
    assert_eq!(play.roster.all_moved_to(4), None, "one serves it still");
    assert_eq!(play.roster.all_moved_to(3), Some(head(9)), "who lied has no say");
    says(&mut play, 3, false);
    assert_eq!(play.roster.all_moved_to(4), None, "one is behind");
    assert_eq!(Play::of(&[]).roster.all_moved_to(0), None);
}

#[test]
fn connections_grow_while_that_brings_more_and_shrink_when_it_did_not() {
    let mut play = Play::of(&[0]);
    // Each connection up to the fifth brings a megabyte per second.
    let mut most = 0;
    for _ in 0..400 {
        let connections = play.roster.connections(0);
        while play.roster.members[0].running < connections {
            play.roster.begins(0);
        }
        while play.roster.members[0].running > connections {
            play.roster.ends(0);
        }
        play.gives = vec![1_000_000 * u64::try_from(connections.min(5)).unwrap()];
        play.pass(1);
        most = most.max(connections);
        assert!((FIRST_CONNECTIONS..=8).contains(&connections));
    }
    assert!((5..=7).contains(&most), "{most}");
}

/// Small files end many requests in a second, so that the rate of a connection is known sooner than after two.
#[test]
fn connections_to_a_source_of_small_files_grow_within_seconds() {
    let after = |seconds: u64, requests: u64| {
        let mut play = Play::of(&[0]);
        for _ in 0..seconds {
            let connections = play.roster.connections(0);
            while play.roster.members[0].running < connections {
                play.roster.begins(0);
            }
            play.gives = vec![1_000_000 * u64::try_from(connections).unwrap()];
            play.requests = requests;
            play.pass(1);
        }
        play.roster.connections(0)
    };
    assert!(after(4, 100) >= 6, "{}", after(4, 100));
    assert!(after(4, 0) <= 4, "{}", after(4, 0));
}

#[test]
fn a_rate_falls_to_nothing_when_nothing_comes() {
    let mut play = Play::of(&[1_000_000]);
    play.pass(5);
    assert!(play.roster.rate(0) > 900_000);
    play.gives = vec![0];
    play.pass(60);
    assert_eq!(play.roster.rate(0), 0);
}

#[test]
fn news_is_told_once_and_rates_only_when_asked_for() {
    let mut play = Play::of(&[0, 0]);
    assert_eq!(play.roster.news(play.now, true).len(), 2);
    assert_eq!(play.roster.news(play.now, true), []);
    play.gives = vec![1_000_000, 0];
    play.pass(1);
    assert_eq!(play.roster.news(play.now, false), []);
    let news = play.roster.news(play.now, true);
    assert_eq!(news.iter().map(|status| status.source).collect::<Vec<_>>(), [0]);
    play.fails(&unreachable());
    assert_eq!(play.roster.news(play.now, false).len(), 1);
    assert_eq!(play.roster.news(play.now, false), []);
}
