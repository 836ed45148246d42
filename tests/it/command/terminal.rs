//! The output on a terminal, which a person reads line by line.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::command::kit::World;

/// Runs a command with a terminal as its input and output; returns the exit status and everything sent to the
/// terminal.
pub(super) fn on_terminal(command: &mut Command) -> (Option<i32>, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let terminal =
        fs::File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
    let end = || Stdio::from(terminal.try_clone().unwrap());
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    // From here on, only the child holds the other end of the terminal.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(terminal);
    let mut sent = Vec::new();
    // On Linux, reading at the end of a terminal is an error.
    let _ = fs::File::from(ours).read_to_end(&mut sent);
    (child.wait().unwrap().code(), String::from_utf8(sent).unwrap().replace("\r\n", "\n"))
}

impl World {
    /// A world with a model of 300 small files, signed by alice.
    fn of_many_files() -> Self {
        let world = Self::empty();
        for number in 0..300 {
            world.write(&format!("many/{number:03}.json"), "{}");
        }
        world.run("weigh many --name org/many --key @alice.key").done();
        world
    }

    /// The lines that the terminal shows in the end.
    fn lines_on_terminal(&self, line: &str, status: i32) -> Vec<String> {
        let (ended, sent) = on_terminal(&mut self.command(line));
        assert_eq!(ended, Some(status), "{line}\n{sent}");
        // The bar overwrites itself: the text behind the last carriage return stays, without cursor sequences.
        let last = |line: &str| -> String {
            let mut parts = line.rsplit('\r').next().unwrap_or_default().split('\u{1b}');
            let text = parts.next().unwrap_or_default().to_owned();
            let behind =
                |part: &str| part.split_once(char::is_alphabetic).map_or("", |(_, text)| text).to_owned();
            text + &parts.map(behind).collect::<String>()
        };
        let lines =
            sent.lines().map(|line| if line.contains('\u{1b}') { last(line) } else { line.to_owned() });
        lines.filter(|line| !line.is_empty()).collect()
    }
}

/// Regression: `verify` of 300 files printed 300 lines with `ok`, so that refusals scrolled away.
#[test]
fn a_long_list_shows_on_a_terminal_what_is_refused_and_counts_the_rest() {
    let world = World::of_many_files();
    let verify = "verify many --vkey @alice";
    let lines = world.lines_on_terminal(verify, 0);
    let is_there = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
    assert!(is_there(&lines, "ok       300 files, each with a line in a pipe and with --json"), "{lines:?}");
    assert!(is_there(&lines, "verified 300 files, 600 B; head ") && lines.len() < 8, "{lines:?}");

    world.write("many/123.json", "{");
    world.write("many/extra", "");
    let lines = world.lines_on_terminal(verify, 1);
    assert!(is_there(&lines, "refused  123.json") && is_there(&lines, "refused  extra"), "{lines:?}");
    assert!(is_there(&lines, "ok       299 files") && lines.len() < 12, "{lines:?}");

    // Of many refusals, only the first ones are shown.
    for number in 0..200 {
        world.write(&format!("many/{number:03}.json"), "{");
    }
    let lines = world.lines_on_terminal(verify, 1);
    assert!(is_there(&lines, "refused  161 more files, each with a line"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("1 bytes, 2 are signed")).count(), 40, "{lines:?}");

    // Pipes and programs get every line.
    let ran = world.run(verify);
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("refused  ")).count(), 201);
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("ok       ")).count(), 100);
    let ran = world.run(&format!("{verify} --json"));
    assert_eq!(ran.objects().iter().filter(|object| object["event"] == "file").count(), 301);
    let (_, sent) = on_terminal(&mut world.command(&format!("{verify} --json")));
    assert_eq!(sent.lines().filter(|line| line.contains("\"event\":\"file\"")).count(), 301);
}

#[test]
fn other_long_lists_are_cut_on_a_terminal_too() {
    let world = World::of_many_files();
    world.copy("many", "old");
    for number in 0..100 {
        world.write(&format!("many/{number:03}.json"), "[]");
        world.write(&format!("many/new-{number:03}.json"), "[]");
    }
    let weigh = "weigh many --name org/many --key @alice.key --force --reuse 2*.json --from old/weighbridge";
    let counted = |line: &str, text: &str, at_most: usize| {
        let lines = world.lines_on_terminal(line, 0);
        assert!(lines.iter().any(|line| line.starts_with(text)) && lines.len() <= at_most, "{lines:?}");
    };
    counted(weigh, "reused   100 files, each", 8);
    counted("diff old many --vkey @alice", "changed  60 more files, each", 100);
    counted("diff old many --vkey @alice", "added    60 more files, each", 100);
    counted("fetch many -o fetched --name org/many --vkey @alice", "fetched  400 files, ", 8);
    counted("fetch many -o fetched --name org/many --vkey @alice --only 1*.json", "fetched  100 files, ", 8);
    // A short list is shown in full.
    let lines = world.lines_on_terminal("verify many --vkey @alice --only 00*.json", 0);
    assert_eq!(lines.iter().filter(|line| line.starts_with("ok       00")).count(), 10, "{lines:?}");
}

/// Before `--quiet`, a run on a terminal could be without bar and notes only if standard error, errors included, was
/// discarded.
#[test]
fn a_quiet_run_prints_results_and_errors_alone() {
    let world = World::weighed();
    for line in ["verify llama --vkey @alice", "fetch llama -o out --name org/llama --vkey @alice"] {
        let (status, sent) = on_terminal(&mut world.command(line));
        assert!(status == Some(0) && sent.contains("weighbridge: "), "{sent}");
    }
    for line in ["verify llama --vkey @alice", "fetch llama -o out --name org/llama --vkey @alice"] {
        let loud = world.run(line).done();
        let (status, sent) = on_terminal(&mut world.command(&format!("{line} --quiet")));
        assert!(status == Some(0) && !sent.contains(['\u{1b}']) && !sent.contains("weighbridge: "), "{sent}");
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&sent), sorted(&loud.stdout), "results are the same");
        let quiet = world.run(&format!("-q {line}")).done();
        quiet.expect(quiet.stderr.is_empty(), "nothing on standard error");
    }
    // Errors and hints are still printed.
    let ran = world.run("verify llama --vkey @bob --quiet").refused(3102, "");
    ran.hints("`weighbridge inspect` shows");
}
