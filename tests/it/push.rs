//! `push`: a model to receivers that are killed, stand still, refuse, or lie.

#[cfg(feature = "cloud")]
mod bucket;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use weighbridge_store::power_cut::Dice;

use crate::{
    command::kit::{Ran, World, binary, root},
    fleet::Fleet,
    process::Process,
};

/// A server that takes models into the folder `taken`, at any free port.
fn receiver(world: &World, more: &str) -> (Process, String) {
    let _ = world.vkey("node");
    let line = format!(
        "serve --accept taken --vkey @alice --node-key @node.key --listen 127.0.0.1:0 --log off{more}"
    );
    let process = Process::start(world.command(&line));
    let (_, listening) = process.wait_for(|object| object["event"] == "listening");
    (process, listening["url"].as_str().unwrap().to_owned())
}

fn push_line(url: &str) -> String {
    format!("push first {url} --receiver @node --receipts receipts")
}

/// A line between a sender and a receiver that may come and go: it carries so many bytes a second at most, and counts what the sender
/// sends.
struct Line {
    address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
    sent: Arc<AtomicU64>,
}

impl Line {
    fn new(rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to, sent) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
        let (target, count) = (Arc::clone(&to), Arc::clone(&sent));
        let free = Arc::new(Mutex::new(Instant::now()));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target: Option<SocketAddr> = *target.lock().unwrap();
                let Some(server) = target.and_then(|address| TcpStream::connect(address).ok()) else {
                    continue;
                };
                let (count, free) = (Arc::clone(&count), Arc::clone(&free));
                let (mut up, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    let mut buffer = [0; 16 << 10];
                    while let Ok(read @ 1..) = up.read(&mut buffer) {
                        count.fetch_add(u64::try_from(read).unwrap(), SeqCst);
                        let wait = {
                            let mut free = free.lock().unwrap();
                            let now = Instant::now();
                            *free = (*free).max(now)
                                + Duration::from_nanos(u64::try_from(read).unwrap() * 1_000_000_000 / rate);
                            *free - now
                        };
                        thread::sleep(wait);
                        if into.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = (into.shutdown(Shutdown::Write), up.shutdown(Shutdown::Read));
                });
                let (mut down, mut into) = (server, client);
                thread::spawn(move || {
                    let _ = std::io::copy(&mut down, &mut into);
                    let _ = (into.shutdown(Shutdown::Both), down.shutdown(Shutdown::Both));
                });
            }
        });
        Self { address, to, sent }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn lead_to(&self, url: &str) {
        *self.to.lock().unwrap() = url.strip_prefix("http://").map(|address| address.parse().unwrap());
    }
}

/// The bytes that a sender has under way at most: eight requests of 1 MiB.
const WINDOW: u64 = 8 << 20;

/// Sender and receiver are killed at 50 moments, one of them or both, and the push ends well: what the receiver had is not sent again.
#[test]
fn a_push_that_is_killed_again_and_again_ends_and_sends_little_twice() {
    let fleet = Fleet::of(24_000_000, "64KiB");
    let world = &fleet.world;
    let (mut server, url) = receiver(world, "");
    let line = Line::new(12_000_000);
    line.lead_to(&url);
    let mut dice = Dice(16);
    let mut kills = 0;
    let mut sender = Process::start(world.command(&push_line(&line.url())));
    while kills < 50 {
        thread::sleep(Duration::from_millis(10 + dice.roll(110)));
        if sender.child.try_wait().unwrap().is_some() {
            // It was quicker: the next begins with nothing.
            assert!(world.exists("taken/org/llama/weighbridge/head.note"));
            world.run(&push_line(&line.url())).done();
            break;
        }
        let which = dice.roll(3);
        if which != 0 {
            sender.kill();
            kills += 1;
        } else {
            drop(sender);
        }
        if which != 1 {
            line.lead_to("");
            server.kill();
            kills += 1;
            let url;
            (server, url) = receiver(world, "");
            line.lead_to(&url);
        }
        sender = Process::start(world.command(&push_line(&line.url())));
    }
    drop(sender);
    let ran = world.run(&push_line(&line.url())).done();
    drop(ran);
    fleet.assert_same(&world.path("taken/org/llama"), &fleet.model);
    world.run("verify taken/org/llama --name org/llama --vkey @alice --tensors").done();
    let size: u64 =
        fleet.files().iter().map(|file| fs::metadata(fleet.model.join(file)).unwrap().len()).sum();
    let twice = line.sent.load(SeqCst).saturating_sub(size);
    assert!(kills >= 40, "only {kills} kills were in time");
    // A window has 8 MiB; far less is lost, since what a receiver has taken of a request counts.
    assert!(twice <= kills * WINDOW / 8, "{twice} bytes beyond {size} were sent, with {kills} kills");
    assert!(!world.exists("taken/org/llama/weighbridge/uploads"));
    check_receipt(world);
}

/// The receipt of the only target checks with the command.
fn check_receipt(world: &World) {
    let receipts = fs::read_dir(world.path("receipts")).unwrap();
    let receipt = receipts
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    world.run("prove first --file config.json -o config.proof").done();
    let receipt = receipt.unwrap();
    let words = ["--receipt", receipt.to_str().unwrap()];
    world
        .run_with("check config.proof --name org/llama --vkey @alice --file config.json", &words)
        .done()
        .prints("claim    node says");
}

/// The receiver stands still in the middle: within two seconds the sender says what it waits for, from whom, since when.
#[test]
fn a_receiver_that_stands_still_is_named_within_two_seconds() {
    let fleet = Fleet::of(12_000_000, "64KiB");
    let (server, url) = receiver(&fleet.world, "");
    let line = Line::new(4_000_000);
    line.lead_to(&url);
    let sender = Process::start(fleet.world.command(&push_line(&line.url())));
    sender.wait_for(|object| object["event"] == "progress" && object["verified"].as_u64() > Some(1_000_000));
    server.signal(Signal::STOP);
    let stopped = Instant::now();
    let (at, waiting) =
        sender.wait_for(|object| object["event"] == "waiting" && object["reason"] == "silent");
    let after = at.saturating_duration_since(stopped);
    assert!(after <= Duration::from_secs(2), "{after:?}");
    assert_eq!(waiting["name"], line.url());
    assert!(waiting["path"].is_string() && waiting["since"].as_f64() > Some(1.0), "{waiting}");
    server.signal(Signal::CONT);
    let (_, result) = sender.wait_for(|object| object["event"] == "result");
    assert_eq!(result["pushed"], true);
    fleet.assert_same(&fleet.world.path("taken/org/llama"), &fleet.model);
}

fn refused(ran: Ran, code: u16, of_target: Option<u16>, words: &str) {
    let ran = ran.unjudged(code, "");
    let objects = ran.objects();
    let unpushed = objects.iter().find(|object| object["event"] == "unpushed").unwrap();
    assert_eq!(unpushed["of_target"].as_u64(), of_target.map(u64::from), "{unpushed}");
    assert!(unpushed["message"].as_str().unwrap().contains(words), "{unpushed}");
}

#[test]
fn heads_that_are_not_to_be_taken_are_refused_also_after_the_model_is_gone() {
    let fleet = Fleet::of(1_000_000, "64KiB");
    let world = &fleet.world;
    fleet.revise();
    let (server, url) = receiver(world, "");
    let push = |folder: &str| world.run(&format!("push {folder} {url} --receiver @node --json"));
    push("first").done();
    push("second").done();
    fleet.assert_same(&world.path("taken/org/llama"), &world.path("second"));
    refused(push("first"), 9301, Some(3204), "revision");
    // The same revision once more, with other content.
    world.copy("first", "fork");
    world.write("fork/config.json", "{}");
    world
        .run("weigh fork --name org/llama --key @alice.key --previous first/weighbridge/head.note --force")
        .done();
    refused(push("fork"), 9301, Some(3205), "");
    // Signed by nobody whom the policy knows.
    world.copy("first", "forged");
    world.run("weigh forged --name org/llama --key @mallory.key --force").done();
    refused(push("forged"), 9301, Some(3102), "");
    let ran = world.run(&format!("push forged {url} --receiver @node"));
    ran.unjudged(9301, "none of the signatures is by a trusted key")
        .hints("sign the head by a key that it trusts");
    // The memory outlasts the server, and the model.
    drop(server);
    fs::remove_dir_all(world.path("taken/org")).unwrap();
    let (_server, url) = receiver(world, "");
    let push = |folder: &str| world.run(&format!("push {folder} {url} --receiver @node --json"));
    refused(push("first"), 9301, Some(3204), "");
    push("second").done();
}

#[test]
fn a_next_revision_sends_what_it_changed() {
    let fleet = Fleet::of(6_000_000, "64KiB");
    let world = &fleet.world;
    fleet.revise();
    let (_server, url) = receiver(world, "");
    world.run(&format!("push first {url} --receiver @node")).done();
    let ran = world.run(&format!("push second {url} --receiver @node --json")).done();
    let sent = |object: &Value| (object["event"] == "progress").then(|| object["sent"].as_u64().unwrap());
    let sent = ran.objects().iter().filter_map(sent).max().unwrap();
    assert!(sent < 1_500_000, "{sent}");
    fleet.assert_same(&world.path("taken/org/llama"), &world.path("second"));
    world.run("verify taken/org/llama --name org/llama --vkey @alice --tensors").done();
}

#[test]
fn a_receipt_by_another_key_is_refused_and_so_is_a_file_that_has_changed() {
    let fleet = Fleet::of(1_000_000, "64KiB");
    let world = &fleet.world;
    let (_server, url) = receiver(world, "");
    world.copy("first", "changed");
    world.flip("changed/model-00002-of-00004.safetensors", 200_000);
    let ran = world.run(&format!("push changed {url} --receiver @node"));
    ran.refused(2102, "model-00002-of-00004.safetensors has changed since it was weighed");
    assert!(!world.exists("taken/org/llama/weighbridge/head.note"));
    let ran = world.run(&format!("push first {url} --receiver @alice --receipts receipts"));
    ran.unjudged(9301, "says that its key is");
    assert_eq!(fs::read_dir(world.path("receipts")).unwrap().count(), 0);
    world.run(&push_line(&url)).done();
    check_receipt(world);
    let vkey = world.vkey("node");
    world.run_with("push first", &[&format!("{url}#{vkey}")]).done();
    world.run(&format!("push first {url}")).misused().says("--receiver VKEY");
    world.run(&format!("push first {url} --receiver @node --token http://else token")).misused();
}

#[test]
fn several_targets_are_brought_to_at_once_and_one_that_refuses_keeps_no_other_waiting() {
    let fleet = Fleet::of(2_000_000, "64KiB");
    let world = &fleet.world;
    world.write(
        "tokens",
        "up 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 push org/* 100MiB\n",
    );
    world.write("token", "test\n");
    let (_one, open) = receiver(world, "");
    let line = "serve --accept others --vkey @alice --node-key @node.key --listen 127.0.0.1:0 --log off --tokens tokens";
    let two = Process::start(world.command(line));
    let closed = two.wait_for(|object| object["event"] == "listening").1["url"].as_str().unwrap().to_owned();
    let both = format!("push first {open} {closed} --receiver @node --receipts receipts");
    let ran = world.run(&both).unjudged(9301, "1 of 2 targets do not have the model");
    ran.says("").prints(&format!("pushed   to {open}"));
    fleet.assert_same(&world.path("taken/org/llama"), &fleet.model);
    assert!(!world.exists("others/org"));
    world.run(&format!("{both} --token {closed} token")).done();
    fleet.assert_same(&world.path("others/org/llama"), &fleet.model);
    assert_eq!(fs::read_dir(world.path("receipts")).unwrap().count(), 2);
}

/// A server that anybody could reach has to know its clients.
#[test]
fn a_server_that_takes_models_has_to_be_told_whose_and_from_whom() {
    let world = World::weighed();
    let _ = world.vkey("node");
    world.write("broken", "name\n");
    for (line, words) in [
        ("serve --accept taken --vkey @alice", "--node-key"),
        ("serve --accept taken --node-key @node.key", "--accept: whose models are taken was not said"),
        (
            "serve --accept taken --vkey @alice --node-key @node.key --listen 0.0.0.0:0",
            "--accept on other addresses than loopback needs --tokens",
        ),
        ("serve llama --node-key @node.key", "--node-key signs nothing"),
        ("serve llama --trust policy.toml", "--accept"),
        ("serve --accept taken --vkey @alice --node-key @node.key --tokens broken", "line 1"),
    ] {
        world.run(line).misused().says(words);
    }
    assert!(!world.exists("taken"), "a folder of a server that did not start");
}

/// The key of the page.
const NODE: &str = "node+1df02999+AZrcuUlJ3juk1eFfmEAR4Amjxl+2HGyd/k36ZxN3lnfh";

/// The lines of `spec/push.md`, as they stand there.
#[test]
fn the_page_about_pushing_shows_what_curl_does() {
    let page = fs::read_to_string(root().join("spec/push.md")).unwrap();
    let (_, behind) = page.split_once("tests/it/push.rs -->\n```console\n").expect("the lines are marked");
    let (block, _) = behind.split_once("\n```").unwrap();
    let world = World::empty();
    world.write("model/config.json", vec![b' '; 612]);
    world.run("weigh model --name org/model --key @alice.key").done();
    world.write(
        "tokens",
        "up 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 push org/* 100MiB\n",
    );
    world.write("token", "test");
    let (_server, url) = receiver(&world, " --tokens tokens");
    let mut script = "set -eu\n".to_owned();
    let mut expected = String::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => script += &format!("{}\n", command.replace("http://127.0.0.1:8080", &url)),
            // The page has another key.
            None => expected += &format!("{}\n", line.replace(NODE, &world.vkey("node").to_string())),
        }
    }
    let bin = binary().parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    let ran = world.at_home(&mut shell).arg("-c").arg(&script).env("PATH", path).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), expected);
    assert!(world.read("taken/org/model/config.json") == world.read("model/config.json"));
    let receipt = world.text("receipt");
    assert!(receipt.starts_with("weighbridge/receipt/v2\nname org/model\n"), "{receipt}");
    let _: &Path = bin;
}
