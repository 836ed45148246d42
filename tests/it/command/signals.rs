//! Ctrl-C and SIGTERM: the exit status of a run, and the files that it leaves.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::command::kit::{World, binary, skip};

/// Ends a run by a signal; returns the exit status.
fn end(mut run: Child, signal: &str) -> Option<i32> {
    let words = [format!("-{signal}"), run.id().to_string()];
    assert!(Command::new("kill").args(words).status().unwrap().success());
    let asked = Instant::now();
    loop {
        if let Some(status) = run.try_wait().unwrap() {
            return status.code();
        }
        if asked.elapsed() > Duration::from_secs(10) {
            run.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a run has done something.
fn wait_for(run: &mut Child, is_there: impl Fn() -> bool) {
    while !is_there() {
        assert!(run.try_wait().unwrap().is_none(), "it goes on for a while");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Regression: the folder for new metadata was left, with its lock.
#[test]
fn a_weighing_that_a_signal_ends_leaves_nothing() {
    let world = World::empty();
    // A hole takes no room on the disk, and takes time to read.
    world.write("model/weights.bin", "");
    fs::File::options().write(true).open(world.path("model/weights.bin")).unwrap().set_len(1 << 35).unwrap();
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let mut run = world.command("weigh model --name org/model").spawn().unwrap();
        wait_for(&mut run, || world.exists("model/weighbridge/.new/lock"));
        thread::sleep(Duration::from_millis(100));
        assert_eq!(end(run, signal), Some(status), "{signal}");
        assert!(!world.exists("model/weighbridge"), "{signal}: {:?}", world.files("model/weighbridge"));
    }
    // Files that were there before stay as they are.
    world.write("model/weighbridge/mine", "");
    let mut run = world.command("weigh model --name org/model").spawn().unwrap();
    wait_for(&mut run, || world.exists("model/weighbridge/.new/lock"));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(end(run, "INT"), Some(130));
    assert!(world.exists("model/weighbridge/mine") && !world.exists("model/weighbridge/.new"));
}

/// The receipt's file is created before the model is read. Regression: half of a receipt was left under a temporary
/// name.
#[test]
fn a_verification_that_a_signal_ends_leaves_no_half_of_a_receipt() {
    let world = World::weighed();
    fs::create_dir(world.path("receipts")).unwrap();
    world.write("state.json.weighbridge-lock", "");
    let lock = fs::File::open(world.path("state.json.weighbridge-lock")).unwrap();
    // Nothing is verified while this lock is held.
    lock.lock().unwrap();
    let verify = "verify llama --vkey @alice --state state.json --receipt receipts/r.note --key @node.key";
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let mut run = world.command(verify).stdout(Stdio::null()).spawn().unwrap();
        wait_for(&mut run, || !world.files("receipts").is_empty());
        thread::sleep(Duration::from_millis(100));
        assert_eq!(end(run, signal), Some(status), "{signal}");
        assert!(world.files("receipts").is_empty(), "{signal}: {:?}", world.files("receipts"));
    }
    lock.unlock().unwrap();
    world.run(verify).done();
    assert_eq!(world.files("receipts").len(), 1);
}

/// The prompt turns the echo of the terminal off, and keeps Ctrl-C from becoming a signal.
#[test]
fn a_prompt_that_ctrl_c_ends_leaves_the_terminal_as_it_was() {
    let world = World::empty();
    let mut script = Command::new("script");
    let line = format!(
        "stty -a >before; {} keygen alice -o keys; echo \"status $?\"; stty -a >after",
        binary().display()
    );
    script.args(["-q", "-c", &line, "/dev/null"]);
    let started = world.at_home(&mut script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut script) = started else { return skip("there is no `script`") };
    let (mut typed, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut seen = String::new();
    let mut read_to = |end: &str| {
        let mut byte = [0];
        while !seen.contains(end) && screen.read(&mut byte).unwrap() > 0 {
            seen.push(char::from(byte[0]));
        }
        assert!(seen.contains(end), "{end} in {seen}");
    };
    read_to("New passphrase: ");
    typed.write_all(b"secret\x03").unwrap();
    read_to("status 130");
    drop(typed);
    let _ = script.wait().unwrap();
    assert_eq!(world.text("after"), world.text("before"));
    assert!(world.files("keys").is_empty());
}
