//! Releases that are kept, and releases that go.

use super::*;

#[test]
fn what_fits_is_kept() {
    let mut toy = Toy::with(10, &[("a", 4), ("b", 6)]);
    assert_eq!(toy.ask("a", at(0, 1, 0)), Answer::Fetch { keep: true, evict: vec![] });
    assert_eq!(toy.ask("b", at(0, 1, 1)), Answer::Fetch { keep: true, evict: vec![] });
    assert_eq!(toy.ask("a", at(0, 1, 2)), Answer::Held { evict: vec![] });
    assert_eq!((toy.keeper.used(), toy.keeper.budget()), (10 * GB, 10 * GB));
}

#[test]
fn what_is_asked_for_once_does_not_throw_out_what_is_asked_for_daily() {
    let mut toy = Toy::with(10, &[("daily", 10), ("once", 8)]);
    for day in 0..5 {
        toy.ask("daily", at(day, day * 5, 0));
    }
    assert_eq!(toy.ask("once", at(5, 3, 0)), Answer::Fetch { keep: false, evict: vec![] });
    assert_eq!(toy.held("daily"), 10 * GB);
    // Asked for again and again, it comes to be worth more.
    let answers: Vec<Answer> = (0..6).map(|minute| toy.ask("once", at(5, 3, minute))).collect();
    assert!(matches!(&answers[5], Answer::Held { .. }), "{answers:?}");
}

#[test]
fn no_more_goes_than_is_needed_and_the_least_worth_first() {
    let mut toy = Toy::with(20, &[("often", 8), ("seldom", 12), ("new", 5)]);
    for hour in 0..20 {
        toy.ask("often", at(0, hour, 0));
    }
    toy.ask("seldom", at(0, 2, 0));
    let answer = (0..4)
        .map(|minute| toy.ask("new", at(1, 0, minute)))
        .find(|answer| matches!(answer, Answer::Fetch { keep: true, .. }));
    let Some(Answer::Fetch { evict, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((evict.len(), &evict[0].release), (1, &release("seldom")));
    let Cause::WorthMore { release: cause, worth } = &evict[0].cause else { panic!("{evict:?}") };
    assert!(*cause == release("new") && *worth > evict[0].worth, "{evict:?}");
    assert_eq!((toy.held("often"), toy.held("seldom"), toy.held("new")), (8 * GB, 0, 5 * GB));
    let text = evict[0].to_string();
    assert!(text.starts_with("evicts seldom@") && text.contains("for new@"), "{text}");
}

#[test]
fn what_turns_out_not_to_be_needed_stays() {
    let mut toy = Toy::with(20, &[("small", 4), ("large", 15), ("new", 14)]);
    // The small one is worth less, and would go first.
    toy.ask("small", at(0, 1, 0));
    toy.ask("large", at(0, 1, 1));
    toy.ask("large", at(0, 1, 2));
    let answers: Vec<Answer> = (0..9).map(|minute| toy.ask("new", at(0, 2, minute))).collect();
    assert!(matches!(answers.last(), Some(Answer::Held { .. })), "{answers:?}");
    assert_eq!((toy.held("small"), toy.held("large"), toy.held("new")), (4 * GB, 0, 14 * GB));
}

#[test]
fn what_comes_slowly_is_worth_more() {
    let mut toy = Toy::with(10, &[("fast", 10), ("slow", 10)]);
    for minute in 0..3 {
        toy.ask("fast", at(0, 1, minute));
    }
    let slow = release("slow");
    // Its source gives a tenth of what the other gives. So it stays, although it is asked for less.
    toy.keeper.asked(&slow, None, at(0, 1, 3));
    toy.keeper.fetched(&slow, 10 * GB, Duration::from_secs(100), at(0, 1, 3));
    toy.keeper.closed(&slow);
    let Answer::Fetch { keep: true, evict } = toy.keeper.asked(&slow, None, at(0, 1, 4)) else {
        panic!("it is not kept")
    };
    toy.evict(&evict);
    toy.come(&slow, 10 * GB);
    assert_eq!((toy.held("fast"), toy.held("slow")), (0, 10 * GB));
}

#[test]
fn what_is_in_use_or_pinned_stays() {
    let mut toy = Toy::with(10, &[("open", 5), ("pinned", 5), ("hot", 5)]);
    toy.ask("open", at(0, 1, 0));
    toy.ask("pinned", at(0, 1, 0));
    toy.keeper.pin(&release("pinned"), at(0, 1, 1));
    assert!(matches!(toy.keeper.asked(&release("open"), None, at(0, 1, 1)), Answer::Held { .. }));
    for minute in 2..40 {
        assert_eq!(toy.ask("hot", at(0, 1, minute)), Answer::Fetch { keep: false, evict: vec![] });
    }
    assert_eq!(toy.keeper.set_budget(0, at(0, 2, 0)), vec![]);
    toy.keeper.set_budget(10 * GB, at(0, 2, 0));
    // The reader goes, and the pin ends.
    toy.keeper.closed(&release("open"));
    assert!(matches!(toy.ask("hot", at(0, 2, 1)), Answer::Fetch { keep: true, .. }));
    assert_eq!((toy.held("open"), toy.held("pinned")), (0, 5 * GB));
    toy.keeper.unpin(&release("pinned"));
    assert_eq!(toy.keeper.set_budget(5 * GB, at(0, 2, 2)).len(), 1);
}

#[test]
fn a_release_that_is_waited_for_stays_until_its_fetch_ends() {
    let mut toy = Toy::with(10, &[("coming", 10), ("hot", 10)]);
    let coming = release("coming");
    assert!(matches!(toy.keeper.asked(&coming, None, at(0, 1, 0)), Answer::Fetch { keep: true, .. }));
    // Its reader gives up, and the fetch goes on.
    toy.keeper.closed(&coming);
    for minute in 0..9 {
        assert_eq!(toy.ask("hot", at(0, 1, minute)), Answer::Fetch { keep: false, evict: vec![] });
    }
    toy.come(&coming, 4 * GB);
    toy.keeper.fetched(&coming, 4 * GB, Duration::from_secs(4), at(0, 1, 10));
    assert_eq!(toy.keeper.used(), 4 * GB, "what did not come takes no room");
    let answer = toy.ask("hot", at(0, 1, 11));
    assert!(matches!(&answer, Answer::Fetch { keep: true, evict } if evict.len() == 1), "{answer:?}");
}

#[test]
fn a_second_reader_gets_room_that_the_first_did_not() {
    let mut toy = Toy::with(10, &[("old", 10), ("new", 10)]);
    for hour in 0..20 {
        toy.ask("old", at(0, hour, 0));
    }
    let new = release("new");
    let asked = |toy: &mut Toy| match toy.keeper.asked(&new, None, at(0, 20, 0)) {
        Answer::Fetch { keep, .. } => keep,
        Answer::Held { .. } => panic!("nothing has come"),
    };
    let keeps: Vec<bool> = (0..30).map(|_| asked(&mut toy)).collect();
    assert_eq!((keeps[0], keeps[29]), (false, true), "{keeps:?}");
}

#[test]
fn a_part_is_not_kept() {
    let mut toy = Toy::with(10, &[("a", 9), ("b", 16)]);
    toy.ask("a", at(0, 1, 0));
    assert_eq!(toy.ask("b", at(0, 1, 1)), Answer::Fetch { keep: false, evict: vec![] });
    assert_eq!(toy.keeper.used(), 9 * GB);
}

#[test]
fn the_latest_release_of_a_model_is_the_one_that_was_asked_for_last() {
    let mut keeper = Keeper::new(10 * GB, at(0, 0, 0));
    let of = |head: u8| Release::new(ModelName::parse("org/model").unwrap(), HeadId::from_bytes([head; 32]));
    let name = of(0).name().clone();
    assert_eq!(keeper.latest(&name), None);
    for (minute, head) in [(1, 3), (2, 7), (3, 5)] {
        keeper.asked(&of(head), Some(GB), at(0, 0, minute));
    }
    keeper.described(&of(9), GB, None, at(0, 0, 4));
    keeper.asked(&release("org/model-2"), Some(GB), at(0, 0, 5));
    assert_eq!(keeper.latest(&name), Some(&of(5)));
}

#[test]
fn a_release_of_unknown_size_is_not_kept_until_the_size_is_known() {
    let mut toy = Toy::new(10 * GB);
    let a = release("a");
    assert_eq!(toy.keeper.asked(&a, None, at(0, 1, 0)), Answer::Fetch { keep: false, evict: vec![] });
    assert_eq!(toy.keeper.asked(&a, Some(3 * GB), at(0, 1, 0)), Answer::Fetch { keep: true, evict: vec![] });
}

#[test]
fn a_lower_budget_takes_the_least_worth() {
    let mut toy = Toy::with(10, &[("often", 5), ("seldom", 5)]);
    for hour in 0..9 {
        toy.ask("often", at(0, hour, 0));
    }
    toy.ask("seldom", at(0, 9, 0));
    let evicted = toy.keeper.set_budget(7 * GB, at(0, 10, 0));
    assert_eq!(evicted.len(), 1);
    assert_eq!((&evicted[0].release, &evicted[0].cause), (&release("seldom"), &Cause::Budget));
    assert_eq!(toy.keeper.used(), 5 * GB);
}

#[test]
fn what_could_not_be_deleted_counts_and_goes_with_the_next_request() {
    let mut toy = Toy::with(10, &[("a", 10), ("b", 2)]);
    toy.ask("a", at(0, 1, 0));
    let evicted = toy.keeper.set_budget(4 * GB, at(0, 1, 1));
    assert_eq!(evicted[0].release, release("a"));
    toy.keeper.holds(&release("a"), 10 * GB, at(0, 1, 2));
    assert_eq!(toy.keeper.used(), 10 * GB);
    assert_eq!(toy.keeper.fetch_ahead(at(0, 1, 2)), None);
    let answer = toy.ask("b", at(0, 1, 3));
    let Answer::Fetch { evict, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(evict[0].release, release("a"));
    assert!(toy.keeper.used() <= 4 * GB);
}

#[test]
fn the_record_is_bounded_whatever_the_names() {
    let mut keeper = Keeper::new(10 * GB, at(0, 0, 0));
    let kept = release("kept");
    keeper.holds(&kept, GB, at(0, 0, 0));
    let often = release("often");
    for minute in 0..3 {
        keeper.asked(&often, Some(GB), at(0, 0, minute));
        keeper.fetched(&often, 0, Duration::ZERO, at(0, 0, minute));
        keeper.closed(&often);
    }
    for name in 0..MOST_RELEASES + 500 {
        let stranger = release(&format!("stranger/{name}"));
        keeper.asked(&stranger, None, at(0, 1, 0));
        keeper.fetched(&stranger, 0, Duration::ZERO, at(0, 1, 0));
        keeper.closed(&stranger);
    }
    assert_eq!((keeper.names.len(), keeper.releases.len()), (MOST_RELEASES, MOST_RELEASES));
    assert_eq!((keeper.shelf.places().count(), keeper.demand.past.len()), (MOST_RELEASES, MOST_RELEASES));
    assert!(keeper.names.contains_key(&kept) && keeper.names.contains_key(&often));
}

#[test]
fn a_release_is_served_unrecorded_where_nothing_can_be_forgotten() {
    let mut keeper = Keeper::new(u64::MAX, at(0, 0, 0));
    for name in 0..MOST_RELEASES {
        keeper.holds(&release(&format!("held/{name}")), 1, at(0, 0, 0));
    }
    let new = release("new");
    assert_eq!(keeper.asked(&new, Some(5), at(0, 0, 1)), Answer::Fetch { keep: false, evict: vec![] });
    // The rest of its life does no harm.
    keeper.holds(&new, 5, at(0, 0, 1));
    keeper.fetched(&new, 5, Duration::from_secs(1), at(0, 0, 1));
    keeper.served(&new, 5, Duration::ZERO);
    keeper.closed(&new);
    assert_eq!((keeper.names.len(), keeper.used()), (MOST_RELEASES, MOST_RELEASES as u64));
}

#[test]
fn time_does_not_run_backwards() {
    let mut toy = Toy::with(10, &[("a", 5)]);
    toy.ask("a", at(3, 0, 0));
    let wakes = toy.keeper.wakes();
    toy.keeper.asked(&release("a"), None, at(0, 0, 0));
    assert_eq!((toy.keeper.now, toy.keeper.wakes()), (at(3, 0, 0), wakes));
}

#[test]
fn a_keeper_can_go_to_another_thread() {
    fn assert_send<T: Send>(_: &T) {}
    assert_send(&Keeper::new(0, Duration::ZERO));
}
