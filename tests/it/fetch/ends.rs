//! Fetches that a person ends, and the messages at the end of a fetch.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::kit::{Fetch, fleet};
use weighbridge_testkit::servers::{Fault, Faulty};

/// Regression: the exit status was 2, which scripts cannot tell from a network error.
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

/// Regression: the end was reported before the received bytes were verified and synced: "nothing was added to what is
/// on disk", while 19 MiB were.
#[test]
fn what_is_said_to_be_on_disk_at_the_end_is_on_disk() {
    let fleet = fleet();
    let liar = Faulty::start(&fleet.model);
    drop(liar.fail(Fault::Flip.on("model-00004-*").at(200_000)));
    let fetched = Fetch::from(&fleet, &[&liar]).run().ended(5501).blames(0, "lied");
    let durable = fetched.events("result").next().unwrap()["durable"].as_u64().unwrap();
    let error = fetched.events("error").next().unwrap();
    let hints = error["hints"].as_array().unwrap();
    let says = |words: &str| hints.iter().any(|hint| hint.as_str().unwrap().contains(words));
    fetched.expect(durable > 0, "something to be on disk");
    fetched.expect(says(" is on disk;") && !says("nothing was added"), "it to be told");
    fetched.expect(says("lied: model-00004-of-00004.safetensors"), "the liar to be named");
    let line = format!("verify --partial --json --name {} --vkey {}", fleet.name, fleet.vkey);
    let ran = fleet.world.run_with(&line, &[fetched.into.to_str().unwrap()]).done();
    assert_eq!(ran.objects().last().unwrap()["bytes"], durable);
}

/// Regression: a mistyped host or a wrong scheme as the only source was tried for 67 s.
#[test]
fn an_address_where_nobody_is_ends_a_fetch_in_seconds_and_says_so() {
    let fleet = fleet();
    let (server, mut gone) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
    gone.unplug();
    let addresses = [
        ("http://no-such-host.invalid/llama".to_owned(), "its host cannot be found"),
        (gone.url(), "Connection refused"),
        (server.url().replace("http:", "https:"), "speaks no TLS"),
    ];
    for (address, why) in addresses {
        let fetched = Fetch::from(&fleet, &[]).and(&address).run().ended(9201).blames(0, "unreachable");
        fetched.expect(fetched.took < Duration::from_secs(20), "to end in seconds");
        fetched.expect(fetched.why(0).contains(why), why);
        let error = fetched.events("error").next().unwrap().to_string();
        fetched.expect(error.contains(&address) && error.contains(why), "the address and the reason");
    }
}

/// A server that has answered before is waited for.
#[test]
fn a_server_that_restarts_in_the_middle_is_waited_for() {
    let fleet = fleet();
    let mut server = Faulty::start(&fleet.model);
    server.limit_rate(1_000_000);
    let mut run = Fetch::from(&fleet, &[]).and(&server.url()).start();
    let _ = run.wait_for("durable", |_| true);
    server.unplug();
    // Three attempts have failed by then.
    thread::sleep(Duration::from_secs(5));
    server.plug_in();
    server.limit_rate(None);
    let _ = run.end().arrived(&fleet).blames(0, "unreachable");
}

/// The reader of the command's output has stopped reading. The command cannot print any more, and still ends.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_does_not_read_does_not_hold_up_the_end() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(100_000);
    let (_reader, mut full) = std::io::pipe().unwrap();
    // The capacity of a pipe.
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
