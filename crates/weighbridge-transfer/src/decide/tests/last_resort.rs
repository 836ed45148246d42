//! Sources that lied, and sources that come, gain chunks and go.

use std::ops::Range;

use super::*;
use crate::decide::ConnectionId;

fn run(run: Range<u64>) -> RangeSet {
    let mut set = RangeSet::default();
    set.insert(run);
    set
}

/// The chunks, of a file of six, that a new connection of the source is given at once.
fn given(play: &mut Play, source: usize) -> Option<Range<u64>> {
    let lease = play.decide.take(ConnectionId(u64::try_from(source).unwrap()), id(source), play.now)?;
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
    play.decide.plan(CHUNK, 16 * CHUNK, 96);
    play.decide.add(0, &run(0..6));
    let lease = play.decide.take(ConnectionId(0), id(0), play.now).unwrap();
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
            let lease = play.decide.take(ConnectionId(0), id(0), play.now).unwrap();
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
        play.decide.plan(CHUNK, 2 * CHUNK, 96);
        play.decide.add(0, &run(0..6));
        let mut asked = 0;
        while !play.decide.is_finished() && !play.decide.is_hopeless(0, false) {
            for source in 0..3 {
                let connection = ConnectionId(u64::try_from(source).unwrap());
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
    play.decide.plan(CHUNK, 16 * CHUNK, 96);
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
    play.decide.plan(CHUNK, CHUNK, 96);
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
