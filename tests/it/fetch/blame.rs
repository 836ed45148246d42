//! Several faults at once, stalls, and the reports while nothing arrives.

use std::{path::Path, thread, time::Duration};

use super::kit::{Fetch, Fetched, SHARD, SHARDS, fleet};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::{End, Fault, Faulty};

/// Runs tests that take the watchdog's ten seconds at the same time.
#[test]
fn who_gives_nothing_for_ten_seconds_beside_others_has_stalled() {
    let fleet = Fleet::of(12_000_000, "16KiB");
    let second = fleet.revise();
    thread::scope(|scope| {
        let (fleet, second) = (&fleet, second.as_path());
        scope.spawn(move || of_three_sources_the_liar_and_the_one_that_stalls_are_named(fleet, second));
        scope.spawn(move || of_six_sources_each_fault_has_its_word(fleet, second));
        scope.spawn(move || an_answer_that_does_not_come_is_a_stall(fleet, second));
        scope.spawn(move || slow_bytes_are_a_stall(fleet, second));
    });
}

#[test]
fn who_gives_nothing_for_ten_seconds_has_stalled() {
    let fleet = fleet();
    let second = fleet.revise();
    thread::scope(|scope| {
        let (fleet, second) = (&fleet, second.as_path());
        scope.spawn(move || who_is_alone_is_tried_again(fleet, second));
        scope.spawn(move || who_is_slow_enough_has_not_stalled(fleet, second));
        scope.spawn(move || a_whole_file_has_not_stalled_while_it_comes(fleet, second));
        scope.spawn(move || a_whole_file_that_is_never_answered_comes_from_another(fleet, second));
    });
}

fn of_three_sources_the_liar_and_the_one_that_stalls_are_named(fleet: &Fleet, second: &Path) {
    let [liar, stalled, honest] = [(); 3].map(|()| Faulty::start(second));
    drop(liar.fail(Fault::Garbage.on(SHARDS)));
    drop(stalled.fail(Fault::Break(End::Stall).on(SHARDS)));
    let fetched = ends_after_a_stall(&Fetch::from(fleet, &[&liar, &stalled, &honest]), &[&honest]);
    fleet.assert_same(&fetched.into, second);
    let _ = fetched.blames(0, "lied").blames(1, "stalled").trusts(1).trusts(2);
}

fn of_six_sources_each_fault_has_its_word(fleet: &Fleet, second: &Path) {
    let [liar, stalled, refuses, mut gone, honest] = [(); 5].map(|()| Faulty::start(second));
    let stale = Faulty::start(&fleet.model);
    drop(liar.fail(Fault::Swapped(16 << 10).on(SHARDS)));
    // A small file may be all that the liar is asked for, and has no chunks to be swapped.
    drop(liar.fail(Fault::Flip.on("*.json")));
    // The other sources may take all shards.
    for files in ["*.json", "*.md", SHARDS] {
        drop(stalled.fail(Fault::Break(End::Stall).on(files)));
        drop(refuses.fail(Fault::status(403).on(files)));
    }
    gone.unplug();
    let servers = [&liar, &stalled, &stale, &refuses, &gone, &honest];
    let fetched = ends_after_a_stall(&Fetch::from(fleet, &servers), &[&liar, &stale, &honest]);
    fleet.assert_same(&fetched.into, second);
    let words = ["lied", "stalled", "stale", "refused", "unreachable"];
    let fetched = fetched.trusts(5);
    let _ = words.iter().enumerate().fold(fetched, |fetched, (source, word)| fetched.blames(source, word));
}

fn an_answer_that_does_not_come_is_a_stall(fleet: &Fleet, second: &Path) {
    stalls_beside_an_honest_one(fleet, second, Fault::Unanswered(End::Stall));
}

fn slow_bytes_are_a_stall(fleet: &Fleet, second: &Path) {
    stalls_beside_an_honest_one(fleet, second, Fault::Dribble(100, Duration::from_millis(50)));
}

fn stalls_beside_an_honest_one(fleet: &Fleet, second: &Path, fault: Fault) {
    let (honest, faulty) = (Faulty::start(second), Faulty::start(second));
    drop(faulty.fail(fault.on(SHARDS)));
    let fetched = ends_after_a_stall(&Fetch::from(fleet, &[&honest, &faulty]), &[&honest]);
    fleet.assert_same(&fetched.into, second);
    let fetched = fetched.blames(1, "stalled").trusts(1);
    fetched.expect(fetched.blame(0).is_none(), "the honest one not to be blamed");
}

/// Runs a fetch from `slow` servers, which give all that they can once a source is called stalled. Before that they give enough
/// for the line not to be what is scarce, and so little that the model takes far longer than the watchdog's ten seconds.
fn ends_after_a_stall(fetch: &Fetch<'_>, slow: &[&Faulty]) -> Fetched {
    slow.iter().for_each(|server| server.limit_rate(200_000));
    let mut run = fetch.start();
    drop(run.wait_for("source", |status| status["blame"] == "stalled"));
    slow.iter().for_each(|server| server.limit_rate(None));
    run.end().done()
}

fn who_is_alone_is_tried_again(fleet: &Fleet, second: &Path) {
    let stalled = Faulty::start(second);
    drop(stalled.fail(Fault::Break(End::Stall).on(SHARDS)));
    let mut run = Fetch::from(fleet, &[&stalled]).start();
    let said = run.wait_for("source", |status| status["blame"] == "stalled");
    assert_eq!(said["state"], "waiting", "{said}");
    stalled.mend();
    let fetched = run.end().done().blames(0, "stalled");
    fleet.assert_same(&fetched.into, second);
}

fn who_is_slow_enough_has_not_stalled(fleet: &Fleet, second: &Path) {
    let slow = Faulty::start(second);
    // Twice the rate that the watchdog demands.
    slow.limit_rate(131_072);
    let fetched = Fetch::from(fleet, &[&slow]).run().done();
    fetched.expect(fetched.blame(0).is_none(), "a slow source not to be blamed");
}

fn a_whole_file_has_not_stalled_while_it_comes(fleet: &Fleet, second: &Path) {
    let server = Faulty::start(second);
    drop(server.fail(Fault::status(404).on("*chunks.layer")));
    server.limit_rate(SLOW);
    let fetched = Fetch::from(fleet, &[&server]).run().done();
    fetched.expect(!fetched.events("source").any(|status| status["blame"] == "stalled"), "no stall");
}

fn a_whole_file_that_is_never_answered_comes_from_another(fleet: &Fleet, second: &Path) {
    let [silent, honest] = [(); 2].map(|()| Faulty::start(second));
    [&silent, &honest].iter().for_each(|server| drop(server.fail(Fault::status(404).on("*chunks.layer"))));
    drop(silent.fail(Fault::Unanswered(End::Stall).on(SHARDS)));
    let fetched = Fetch::from(fleet, &[&silent, &honest]).run().done().blames(0, "stalled").trusts(1);
    fleet.assert_same(&fetched.into, second);
}

/// Bytes a second at which the model takes longer than the watchdog's ten seconds.
const SLOW: u64 = 140_000;

#[test]
fn while_nothing_comes_it_is_said_what_is_waited_for() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    drop(server.fail(Fault::Break(End::Stall).on(SHARD)));
    let mut run = Fetch::from(&fleet, &[&server]).start();
    let waiting = run.wait_for("waiting", |_| true);
    assert_eq!((&waiting["for"], &waiting["from"]), (&SHARD.into(), &0.into()), "{waiting}");
    assert_eq!(waiting["name"], server.url());
    let since = waiting["since"].as_f64().unwrap();
    assert!((2.0..3.5).contains(&since), "{waiting}");
    let chunks = waiting["chunks"].as_array().unwrap();
    assert!(chunks[0].as_u64().unwrap() < chunks[1].as_u64().unwrap(), "{waiting}");
    let later = run.wait_for("waiting", |later| later["since"].as_f64().unwrap() > since + 0.5);
    assert_eq!(later["for"], SHARD);
    run.terminate();
    let fetched = run.end().stopped_by(15).named_nothing();
    fetched.expect(fetched.took < Duration::from_secs(2), "to end within two seconds");

    let busy = Faulty::start(&fleet.model);
    drop(busy.fail(Fault::busy(503, "30").on("*head.note")));
    let mut run = Fetch::from(&fleet, &[&busy]).start();
    let waiting = run.wait_for("waiting", |waiting| waiting["again_in"].is_number());
    assert_eq!((&waiting["for"], &waiting["from"]), (&"head.note".into(), &0.into()), "{waiting}");
    assert!(waiting["chunks"].is_null(), "{waiting}");
    run.terminate();
    let _ = run.end().stopped_by(15).blames(0, "refused");
}

#[test]
fn when_a_plug_is_pulled_it_is_said_of_whom_why_and_for_how_long() {
    let fleet = fleet();
    let mut servers = [(); 2].map(|()| Faulty::start(&fleet.model));
    servers.iter().for_each(|server| server.limit_rate(300_000));
    let urls = servers.each_ref().map(Faulty::url);
    let mut run = Fetch::from(&fleet, &[]).and(&urls[0]).and(&urls[1]).start();
    let _ = run.wait_for("progress", |progress| progress["verified"].as_u64() > Some(200_000));
    // One source is gone: its status is reported, while the other source goes on.
    servers[0].unplug();
    let said = run.wait_for("source", |status| status["source"] == 0 && status["state"] == "waiting");
    assert_eq!((&said["name"], &said["blame"]), (&urls[0].clone().into(), &"unreachable".into()), "{said}");
    assert!(said["why"].is_string() && said["again_in"].as_f64() > Some(0.0), "{said}");
    // Both sources are gone: the command reports the file that it waits for, the source, the time since, and the time
    // of the next attempt.
    servers[1].unplug();
    let waiting = run.wait_for("waiting", |waiting| waiting["since"].as_f64() > Some(3.0));
    let from = usize::try_from(waiting["from"].as_u64().unwrap()).unwrap();
    assert_eq!(waiting["name"], urls[from], "{waiting}");
    assert!(waiting["for"].as_str().unwrap().ends_with(".safetensors"), "{waiting}");
    assert!(waiting["again_in"].is_number() && waiting["chunks"].is_null(), "{waiting}");
    servers.iter_mut().for_each(Faulty::plug_in);
    servers.iter().for_each(|server| server.limit_rate(None));
    let _ = run.end().arrived(&fleet).blames(0, "unreachable").blames(1, "unreachable");
}

/// The same holds for each part of the metadata.
#[test]
fn who_is_silent_once_is_asked_last_from_then_on() {
    let fleet = fleet();
    for part in ["*files.jsonl", "*tensors.jsonl", "*chunks.layer", "*"] {
        let (honest, silent) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
        drop(silent.fail(Fault::Unanswered(End::Stall).on(part)));
        let fetched = Fetch::from(&fleet, &[&silent, &honest]).run().arrived(&fleet).trusts(0);
        // The pause of two seconds occurs only once.
        fetched.expect(fetched.took < Duration::from_secs(6), part);
    }
}

#[test]
fn a_source_that_stalls_at_its_head_does_not_hold_up_others() {
    let fleet = fleet();
    let (honest, stalled) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
    drop(stalled.fail(Fault::Unanswered(End::Stall)));
    let fetched = Fetch::from(&fleet, &[&stalled, &honest]).run().arrived(&fleet).trusts(0);
    // The head costs two seconds, and nothing else waits for it.
    fetched.expect(fetched.took < Duration::from_secs(6), "not to wait for it");
}
