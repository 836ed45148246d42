//! Signers and fetches that give names in one folder: one after the other, and never a mixture that passes.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::kit::{Fetch, fleet};
use crate::servers::{Faulty, Fleet};

const WEIGH: &str = "weigh some --name org/llama --chunk-size 16KiB --key @alice.key --force";
const VERIFY: &str = "verify some --name org/llama --vkey @alice --state fresh.json";
const STAGED: &str = "some/weighbridge/.new/head.note";

/// A folder that has the first revision, by a fetch.
fn fetched() -> (Fleet, Faulty) {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let _ = Fetch::from(&fleet, &[&server]).into("some").run().arrived(&fleet);
    (fleet, server)
}

/// Held as another process would hold it.
fn held(fleet: &Fleet) -> File {
    let folder = File::open(fleet.world.path("some/weighbridge")).unwrap();
    folder.lock().unwrap();
    folder
}

fn start(fleet: &Fleet, line: &str) -> Child {
    fleet.world.command(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(fleet: &Fleet, path: &str) {
    for _ in 0..3_000 {
        if fleet.world.exists(path) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{path} does not come");
}

fn end(run: Child) -> (Option<i32>, String) {
    let output = run.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A weighing ran through a fetch that was giving names, and the other way round.
#[test]
fn a_weighing_and_a_fetch_wait_while_somebody_gives_names() {
    let (fleet, _first) = fetched();
    let second = Faulty::start(&fleet.revise());
    for line in [WEIGH.to_owned(), fetch(&second, "some")] {
        let head = fleet.world.read("some/weighbridge/head.note");
        let lock = held(&fleet);
        let mut run = start(&fleet, &line);
        if line == WEIGH {
            wait_for(&fleet, STAGED);
        }
        thread::sleep(Duration::from_millis(1_000));
        assert!(run.try_wait().unwrap().is_none(), "{line}: it does not wait");
        assert_eq!(fleet.world.read("some/weighbridge/head.note"), head);
        drop(lock);
        let (status, said) = end(run);
        assert_eq!(status, Some(0), "{line}: {said}");
        // A weighing in the same second gives the same head again.
        assert!(line == WEIGH || fleet.world.read("some/weighbridge/head.note") != head, "{line}");
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let _ = fleet.world.run(VERIFY).done();
    }
}

fn fetch(server: &Faulty, into: &str) -> String {
    format!("fetch {} -o {into} --name org/llama --vkey @alice --state fresh.json", server.url())
}

/// Files that got other content between the last read and the head were signed for what they had been.
#[test]
fn what_changes_before_the_names_are_given_is_not_signed() {
    let (fleet, _server) = fetched();
    let head = fleet.world.read("some/weighbridge/head.note");
    let lock = held(&fleet);
    let run = start(&fleet, WEIGH);
    wait_for(&fleet, STAGED);
    thread::sleep(Duration::from_millis(100));
    fleet.world.write("some/config.json", "{}");
    drop(lock);
    let (status, said) = end(run);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("[W2106]") && said.contains("config.json"), "{said}");
    assert_eq!(fleet.world.read("some/weighbridge/head.note"), head);
    assert!(!fleet.world.exists("some/weighbridge/.new"));
}

/// A signature over the old head took the place of a new head that a fetch had just brought.
#[test]
fn a_head_that_is_replaced_while_it_is_signed_stays() {
    let (fleet, _server) = fetched();
    let second = fleet.revise();
    let lock = held(&fleet);
    let _ = fleet.world.vkey("bob");
    let run = start(&fleet, "sign some --key @bob.key");
    wait_for(&fleet, STAGED);
    let new = std::fs::read(second.join("weighbridge/head.note")).unwrap();
    fleet.world.write("some/weighbridge/head.note", &new);
    drop(lock);
    let (status, said) = end(run);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("[W2106]") && said.contains("sign again"), "{said}");
    assert_eq!(fleet.world.read("some/weighbridge/head.note"), new);
}

/// Whatever is killed, and whoever comes first: one release verifies in the end, or the same commands bring it about.
#[test]
fn signers_and_fetches_that_are_killed_leave_nothing_that_cannot_be_mended() {
    let (fleet, first) = fetched();
    let second = Faulty::start(&fleet.revise());
    let delays = [0, 5, 15, 30, 60, 90];
    for (round, delay) in delays.into_iter().enumerate() {
        let servers = [&first, &second];
        let lines =
            [fetch(servers[round % 2], "some"), WEIGH.to_owned(), "sign some --key @bob.key".to_owned()];
        let _ = fleet.world.vkey("bob");
        let mut runs: Vec<Child> = lines.iter().map(|line| start(&fleet, line)).collect();
        if round % 3 == 2 {
            runs.reverse();
        }
        thread::sleep(Duration::from_millis(delay));
        let killed = runs.remove(round % 3);
        assert!(Command::new("kill").args(["-9", &killed.id().to_string()]).status().unwrap().success());
        let _ = end(killed);
        runs.into_iter().for_each(|run| drop(end(run)));
        // It may be refused, and then it names why; it never hangs, and a fetch brings a release back.
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let _ = fleet.world.run(VERIFY);
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let _ = fleet.world.run(&fetch(servers[round % 2], "some")).done();
        let _ = fleet.world.run(VERIFY).done();
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
    }
}
