//! Suspicion, verdicts and stale sources.

use super::*;
use crate::decide::ConnectionId;

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
fn a_source_that_says_which_chunk_it_has_not_is_asked_for_the_others() {
    let mut play = Play::of(&[0]);
    let set = |run| {
        let mut set = RangeSet::default();
        set.insert(run);
        set
    };
    play.decide.add(0, &set(0..4));
    play.decide.lacks_chunk(id(0), 0, 1, "its copy is bad".to_owned());
    assert!(play.decide.may_serve(id(0), 0, &set(0..4)) && !play.decide.is_hopeless(0, false));
    assert_eq!((play.state(0), play.blame(0)), (SourceState::Active, Some(Blame::Refused)));
    assert!(!play.decide.may_serve(id(0), 0, &set(1..2)));
    let lease = play.decide.take(ConnectionId(0), id(0), play.now).unwrap();
    assert_eq!(lease.chunks, 0..1);
    let lease = play.decide.take(ConnectionId(1), id(0), play.now).unwrap();
    assert_eq!(lease.chunks.start, 2);
}
