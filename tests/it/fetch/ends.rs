//! Fetches that a person ends.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::kit::{Fetch, fleet};
use crate::servers::Faulty;

/// It ended with 2, which scripts cannot tell from an error of the network.
#[test]
fn ctrl_c_ends_a_fetch_and_the_same_command_goes_on() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(1_000_000);
    let fetch = Fetch::from(&fleet, &[&server]);
    let mut run = fetch.start();
    let durable = run.wait_for("durable", |_| true);
    run.signal("INT");
    let fetched = run.end().stopped_by(2).named_nothing();
    fetched.expect(fetched.took < Duration::from_secs(2), "to end within two seconds");
    server.limit_rate(None);
    let asked_before = server.requests().len();
    let _ = fetch.run().arrived(&fleet);
    let chunk = super::kit::CHUNK;
    let there =
        durable["chunks"][0].as_u64().unwrap() * chunk..durable["chunks"][1].as_u64().unwrap() * chunk;
    let again = server.requests().into_iter().skip(asked_before).find(|request| {
        request.path == durable["file"]
            && request.range.as_ref().is_some_and(|range| super::kit::meets(range, &there))
    });
    assert!(again.is_none(), "{durable} was asked for again: {again:?}");
}

/// Whoever reads its words has stopped reading: it can say nothing more, and ends all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_does_not_read_does_not_hold_up_the_end() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(100_000);
    let (_reader, mut full) = std::io::pipe().unwrap();
    // As much as a pipe takes.
    full.write_all(&[b' '; 1 << 16]).unwrap();
    let line = format!("fetch {} -o out --json --name {} --vkey {}", server.url(), fleet.name, fleet.vkey);
    let mut child = fleet.world.command(&line).stdout(full).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while server.requests().is_empty() && start.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it has something to say");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if asked.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(status.code(), Some(128 + 15));
    assert!(asked.elapsed() < Duration::from_millis(2_300), "{:?}", asked.elapsed());
}
