//! Signers and fetches that name files in one folder take turns, and never leave a mixture that verifies.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::kit::{Fetch, fleet};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::Faulty;

const WEIGH: &str = "weigh some --name org/llama --chunk-size 16KiB --key @alice.key --force";
const VERIFY: &str = "verify some --name org/llama --vkey @alice --state fresh.json";
const STAGED: &str = "some/weighbridge/.new/head.note";

/// A fleet, a server of its first revision, and a folder into which that revision was fetched.
fn fetched() -> (Fleet, Faulty) {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let _ = Fetch::from(&fleet, &[&server]).into("some").run().arrived(&fleet);
    (fleet, server)
}

/// Holds the lock as another process would.
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

/// Regression: a weighing went on while a fetch named its files, and the other way round.
#[test]
fn a_weighing_and_a_fetch_wait_while_somebody_gives_names() {
    let (fleet, _first) = fetched();
    let second = Faulty::start(&fleet.revise());
    for line in [WEIGH.to_owned(), fetch(&second, "some")] {
        // The head that the last round remembered may be another one of the first revision, weighed in another second.
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let head = fleet.world.read("some/weighbridge/head.note");
        let lock = held(&fleet);
        let mut run = start(&fleet, &line);
        if line == WEIGH {
            wait_for(&fleet, STAGED);
        }
        thread::sleep(Duration::from_millis(1_000));
        if run.try_wait().unwrap().is_some() {
            panic!("{line}: it does not wait: {:?}", end(run));
        }
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

/// Regression: files that changed between their last read and the head were signed with their old content.
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

/// Regression: a signature over the old head replaced a new head that a fetch had just brought.
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

/// Whichever run is killed, and whichever is first, in the end a release verifies, or the same commands make one.
#[test]
fn signers_and_fetches_that_are_killed_leave_a_release_or_say_so_and_are_mended() {
    let (fleet, first) = fetched();
    let second = Faulty::start(&fleet.revise());
    let delays = [0, 5, 15, 30, 60, 90, 120, 160, 200];
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
        // One release verifies, and it is a whole one; or the folder says that its release is being replaced.
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let verdict = fleet.world.run(VERIFY);
        if verdict.status == Some(0) {
            let files = fleet.world.files("some");
            assert!(
                ["first", "second"].iter().any(|release| fleet.world.files(release) == files),
                "a mixture"
            );
        } else {
            let _ = verdict.unjudged(9108, "is being replaced by another: a fetch, process ");
            let elsewhere = WEIGH.replace("--force", "-o elsewhere");
            for weigh in [WEIGH, &elsewhere] {
                let _ = fleet.world.run(weigh).unjudged(9108, "is being replaced by another");
            }
            assert!(!fleet.world.exists("elsewhere"));
        }
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let _ = fleet.world.run(&fetch(servers[round % 2], "some")).done();
        let _ = fleet.world.run(VERIFY).done();
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
    }
}

/// A fetch that is killed while it gives names, at different moments. The reference says what the command says.
#[test]
fn a_fetch_that_is_killed_while_it_gives_names_says_so_and_the_same_command_ends_it() {
    let fleet = fleet();
    let weigh = |folder: &str, more: &str| {
        // So many files that giving them names takes a moment.
        for file in 0..400 {
            fleet.world.write(&format!("{folder}/small/{file}"), format!("{folder} {file}"));
        }
        let line =
            format!("weigh {folder} --name org/llama --chunk-size 16KiB --key @alice.key --force{more}");
        let _ = fleet.world.run(&line).done();
    };
    weigh("first", "");
    let _ = fleet.revise();
    weigh("second", " --previous first/weighbridge/head.note");
    let [first, second] = ["first", "second"].map(|folder| Faulty::start(&fleet.world.path(folder)));
    let servers = [&first, &second];
    let _ = fleet.world.run(&fetch(&first, "some")).done();
    let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
    let mut told = 0;
    for round in 0..8 {
        let line = format!("{} --json", fetch(servers[(round + 1) % 2], "some"));
        let mut run =
            fleet.world.command(&line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(run.stdout.take().unwrap()));
        let mut lines = lines.map_while(Result::ok);
        let _ = lines.find(|line| line.contains("\"naming\""));
        thread::sleep(Duration::from_millis(u64::try_from(round).unwrap()));
        run.kill().unwrap();
        let _ = run.wait().unwrap();
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let verdict = fleet.world.run(VERIFY);
        if verdict.status != Some(0) {
            told += 1;
            let _ = verdict.unjudged(9108, "is being replaced by another: a fetch, process ");
            let mut reference = Command::new("python3");
            reference.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference"));
            reference.args(["-m", "weighbridge_ref", "verify"]).arg(fleet.world.path("some"));
            let said = reference.arg("--vkey").arg(fleet.world.vkey("alice").to_string()).output().unwrap();
            let said = String::from_utf8(said.stderr).unwrap();
            assert!(said.contains("[W9108]"), "{said}");
        }
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
        let _ = fleet.world.run(&fetch(servers[(round + 1) % 2], "some")).done();
        assert!(!fleet.world.exists("some/weighbridge/kept"));
        let _ = fleet.world.run(VERIFY).done();
        let _ = std::fs::remove_file(fleet.world.path("fresh.json"));
    }
    assert!(told > 0, "no fetch was killed in time");
}
