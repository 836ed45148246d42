//! Rates by the time of day: what `fetch` receives, and what `serve`, `push` and members of a swarm send.

use std::time::{Duration, Instant};

use crate::{fleet::Fleet, process::Process};

/// Three seconds at 1 MB/s.
fn fleet() -> Fleet {
    Fleet::of(3_000_000, "64KiB")
}

/// One rate at all times of day, as a schedule.
const ALWAYS: &str = "--limit-rate=mon-sun 00:00-24:00 1MB/s, else unlimited";

/// A busy machine may take longer, and none is faster.
#[track_caller]
fn took_its_time(began: Instant) {
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_700), "{took:?}");
}

fn serve(fleet: &Fleet, more: &[&str]) -> (Process, String) {
    let mut command = fleet.world.command("serve first --listen 127.0.0.1:0 --log off");
    command.args(more);
    let process = Process::start(command);
    let (_, listening) = process.wait_for(|object| object["event"] == "listening");
    (process, format!("{}/org/llama", listening["url"].as_str().unwrap()))
}

#[test]
fn a_fetch_receives_no_more_than_its_schedule_allows() {
    let fleet = fleet();
    let (_server, url) = serve(&fleet, &[]);
    let began = Instant::now();
    fleet
        .world
        .run_with(&format!("fetch {url} -o copy --name org/llama --vkey {}", fleet.vkey), &[ALWAYS])
        .done();
    took_its_time(began);
    fleet.assert_same(&fleet.world.path("copy"), &fleet.model);
}

#[test]
fn a_server_sends_no_more_than_its_schedule_allows_and_its_clients_find_no_fault() {
    let fleet = fleet();
    let (_server, url) = serve(&fleet, &[ALWAYS]);
    let began = Instant::now();
    let ran =
        fleet.world.run(&format!("fetch {url} -o copy --name org/llama --vkey {} --json", fleet.vkey)).done();
    took_its_time(began);
    fleet.assert_same(&fleet.world.path("copy"), &fleet.model);
    assert!(ran.objects().iter().all(|object| object["blame"].is_null()), "{:?}", ran.objects());
}

#[test]
fn a_push_sends_no_more_than_its_schedule_allows() {
    let fleet = fleet();
    let world = &fleet.world;
    let _ = world.vkey("node");
    let line = "serve --accept taken --vkey @alice --node-key @node.key --listen 127.0.0.1:0 --log off";
    let receiver = Process::start(world.command(line));
    let (_, listening) = receiver.wait_for(|object| object["event"] == "listening");
    let url = listening["url"].as_str().unwrap();
    let began = Instant::now();
    world.run_with(&format!("push first {url} --receiver @node"), &[ALWAYS]).done();
    took_its_time(began);
    fleet.assert_same(&world.path("taken/org/llama"), &world.path("first"));
}

#[test]
fn a_schedule_that_is_none_is_refused_and_its_place_named() {
    let fleet = fleet();
    let world = &fleet.world;
    for (line, option) in [
        ("fetch first -o copy --name org/llama --vkey @alice", "--limit-rate"),
        ("fetch first -o copy --name org/llama --vkey @alice --swarm ticket", "--upload-rate"),
        ("serve first --listen 127.0.0.1:0", "--limit-rate"),
        ("push first http://127.0.0.1:1 --receiver @alice", "--limit-rate"),
    ] {
        for (rate, said) in [
            (
                "08:00-18:00 50MB, 18:00-25:00 1MB, else unlimited",
                "rule 2, \"25:00\": a time is written like 08:00",
            ),
            ("08:00-18:00 50MB", "the other times need a rate too"),
            ("0", "a size is at least one byte"),
            ("fast", "a size is written like 262144, 256KiB, 1GiB or 100MB"),
        ] {
            world.run_with(line, &[&format!("{option}={rate}")]).misused().says(said);
        }
    }
    assert!(!world.exists("copy"));
}
