//! Fetches that are killed again and again. A chunk that was printed as durable is never requested again, and every
//! file with a final name has signed bytes.

mod disks;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weighbridge_store::power_cut::Dice;

use crate::fleet::Fleet;
use weighbridge_testkit::servers::{Fault, Faulty};

fn micros(dice: &mut Dice, below: u64) -> Duration {
    Duration::from_micros(dice.roll(below))
}

/// A run of `fetch --json`, whose standard output is read while it runs.
struct Run {
    process: Child,
    lines: Receiver<Value>,
    /// The objects printed so far.
    seen: Vec<Value>,
    ended: bool,
}

impl Run {
    fn start(fleet: &Fleet, servers: &[Faulty], into: &Path) -> Self {
        let mut command = fleet.world.command(&format!("fetch --name {} --vkey @alice --json", fleet.name));
        command
            .args(servers.iter().map(Faulty::url))
            .arg("-o")
            .arg(into)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            // A line that the kill cut off does not count as printed.
            for line in output.split(b'\n').map_while(Result::ok) {
                let Ok(value) = serde_json::from_slice(&line) else { break };
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        Self { process, lines, seen: Vec::new(), ended: false }
    }

    /// Reads until this number of events of this name have come, or until this time.
    fn await_events(&mut self, name: &str, count: usize, until: Instant) {
        while self.count(name) < count && !self.ended {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(value) => self.seen.push(value),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.ended = true,
            }
        }
    }

    fn count(&self, name: &str) -> usize {
        self.seen.iter().filter(|value| value["event"] == name).count()
    }

    /// Waits for a moment whose kind the dice choose.
    fn await_moment(&mut self, dice: &mut Dice) {
        let start = Instant::now();
        let in_time = start + Duration::from_millis(1_200);
        match dice.roll(10) {
            // The fetch has hardly begun.
            0 | 1 => thread::sleep(micros(dice, 60_000)),
            // Any moment.
            2..=4 => thread::sleep(micros(dice, 500_000)),
            // The metadata is complete, and the first chunks arrive.
            5 | 6 => {
                self.await_events("wanted", 1, in_time);
                thread::sleep(micros(dice, 40_000));
            }
            // Chunks have just been synced.
            7 | 8 => {
                let count = 1 + usize::try_from(dice.roll(6)).unwrap();
                self.await_events("durable", count, in_time);
            }
            // Files get their names.
            _ => {
                self.await_events("file", 1, in_time);
                thread::sleep(micros(dice, 2_000));
            }
        }
    }

    /// Kills the run, and reads the rest of the pipe. Also returns whether the kill came before the run ended.
    fn kill(mut self) -> (Vec<Value>, bool) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        self.seen.extend(self.lines.iter());
        assert!(status.success() || status.code().is_none(), "{status}: {:?}", self.seen.last());
        (self.seen, status.code().is_none())
    }
}

/// The bytes of each file that were printed as durable, and how far the servers' requests were checked against them.
struct Books {
    chunk: u64,
    sizes: BTreeMap<String, u64>,
    durable: BTreeMap<String, Vec<Range<u64>>>,
    /// For each server, the number of requests that were checked.
    looked_at: Vec<usize>,
}

impl Books {
    fn of(model: &Path, files: &[String]) -> Self {
        let size = |file: &String| (file.clone(), fs::metadata(model.join(file)).unwrap().len());
        let sizes = files.iter().map(size).collect();
        Self { chunk: CHUNK, sizes, durable: BTreeMap::new(), looked_at: vec![0; SERVERS] }
    }

    /// Checks that no request since the last check asked for bytes that an earlier run printed as durable.
    #[track_caller]
    fn check_requests(&mut self, servers: &[Faulty]) {
        for (server, looked_at) in servers.iter().zip(&mut self.looked_at) {
            let requests = server.requests();
            for request in &requests[*looked_at..] {
                let Some(durable) = self.durable.get(&request.path) else { continue };
                let asked = request.range.clone().unwrap_or(0..self.sizes[&request.path]);
                let again =
                    durable.iter().find(|there| there.start.max(asked.start) < there.end.min(asked.end));
                assert_eq!(again, None, "asked again for {asked:?} of {}", request.path);
            }
            *looked_at = requests.len();
        }
    }

    fn enter(&mut self, printed: &[Value]) {
        for event in printed.iter().filter(|value| value["event"] == "durable") {
            let file = event["file"].as_str().unwrap();
            let at = |nth: usize| {
                let byte = event["chunks"][nth].as_u64().unwrap() * self.chunk;
                byte.min(self.sizes[file])
            };
            self.durable.entry(file.to_owned()).or_default().push(at(0)..at(1));
        }
    }
}

/// The files of each revision, to compare with.
struct Releases(Vec<BTreeMap<String, Vec<u8>>>);

impl Releases {
    fn of(folders: &[&Path]) -> Self {
        Self(folders.iter().map(|folder| read_all(folder)).collect())
    }

    /// Checks that every file with a final name is one of a release, and that the lists belong to the head.
    #[track_caller]
    fn check(&self, folder: &Path) {
        if !folder.exists() {
            return;
        }
        for (name, bytes) in read_all(folder) {
            let is_signed = self.0.iter().any(|release| release.get(&name) == Some(&bytes));
            assert!(is_signed, "{name} is not what was signed");
        }
        // Another process may be giving names: whoever reads the head and then a list looks again if they do not fit.
        let fits = || lists_fit(&folder.join("weighbridge"), &self.0);
        assert!(
            (0..100).any(|_| fits() || {
                thread::sleep(Duration::from_millis(20));
                false
            }),
            "lists of another head"
        );
    }
}

/// Whether the lists are those of the head, which may be kept while another release replaces it.
fn lists_fit(metadata: &Path, releases: &[BTreeMap<String, Vec<u8>>]) -> bool {
    let Ok(note) = fs::read(metadata.join("head.note")) else { return true };
    let release = releases.iter().find(|release| release["weighbridge/head.note"] == note).unwrap();
    let text = note.windows(2).position(|two| two == b"\n\n").unwrap() + 1;
    let kept = metadata.join("kept").join(weighbridge_tree::head_id(&note[..text]).to_string());
    ["files.jsonl", "tensors.jsonl"].iter().all(|list| {
        let there = fs::read(kept.join(list)).or_else(|_| fs::read(metadata.join(list)));
        there.is_ok_and(|there| there == release[&format!("weighbridge/{list}")])
    })
}

/// The files of a model, with its head and lists.
fn read_all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    for entry in entries.filter(|entry| entry.file_type().unwrap().is_file()) {
        all.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    }
    for name in ["head.note", "files.jsonl", "tensors.jsonl"] {
        if let Ok(bytes) = fs::read(folder.join("weighbridge").join(name)) {
            all.insert(format!("weighbridge/{name}"), bytes);
        }
    }
    all
}

/// A model of some tens of megabytes in two revisions, a server that lies and an honest one, and the folders that the
/// model is fetched into.
struct Torture {
    fleet: Fleet,
    servers: [Faulty; SERVERS],
    revisions: [PathBuf; 2],
    releases: Releases,
    dice: Dice,
    /// The number of fetches that were complete before their run was killed.
    stage: usize,
    into: PathBuf,
    books: Books,
    left: u64,
}

const SERVERS: usize = 2;
const BYTES: u64 = 24 << 20;
const CHUNK: u64 = 1 << 16;

impl Torture {
    fn begin(seed: u64) -> Self {
        let fleet = Fleet::of(BYTES, "64KiB");
        let revisions = [fleet.model.clone(), fleet.revise()];
        let releases = Releases::of(&[&revisions[0], &revisions[1]]);
        let servers = [(); SERVERS].map(|()| Faulty::start(&revisions[0]));
        drop(servers[0].fail(Fault::Flip.on("*.safetensors")));
        let books = Books::of(&revisions[0], &fleet.files());
        let into = fleet.world.path("out0");
        Self { fleet, servers, revisions, releases, dice: Dice(seed), stage: 0, into, books, left: BYTES }
    }

    /// Limits the rate so that each of the runs still to come finds work left.
    fn throttle(&self, kills: u64) {
        let rate = self.left / (kills + 1) * 3;
        let rate = if kills < 5 { None } else { Some(rate.max(1 << 16)) };
        self.servers.iter().for_each(|server| server.limit_rate(rate));
    }

    /// Checks folder and requests after a kill, or after the kills of several runs.
    fn look(&mut self, printed: &[Vec<Value>]) {
        self.releases.check(&self.into);
        self.books.check_requests(&self.servers);
        for printed in printed {
            self.books.enter(printed);
            let verified = printed.iter().filter_map(|value| value["verified"].as_u64());
            self.left = self.left.min(BYTES.saturating_sub(verified.max().unwrap_or(0)));
        }
    }

    /// Goes on after a complete fetch: the next revision is fetched over the first, or the first into a new folder.
    fn go_on(&mut self) {
        let revision = self.stage % 2;
        self.fleet.assert_same(&self.into, &self.revisions[revision]);
        self.stage += 1;
        self.left = BYTES / 4;
        if revision == 1 {
            self.fleet.world.forget();
            self.into = self.fleet.world.path(&format!("out{}", self.stage));
            self.left = BYTES;
        }
        let model = &self.revisions[self.stage % 2];
        self.servers.iter().for_each(|server| server.serve_from(model));
        let looked_at = std::mem::take(&mut self.books.looked_at);
        self.books = Books { looked_at, ..Books::of(model, &self.fleet.files()) };
    }

    /// Completes the fetch without a kill.
    fn end(&mut self) {
        self.servers.iter().for_each(|server| server.limit_rate(None));
        let [liar, honest] = self.servers.each_ref().map(Faulty::url);
        let line = format!("fetch {liar} {honest} --name {} --vkey @alice --json", self.fleet.name);
        let ended = self.fleet.world.run_with(&line, &["-o", self.into.to_str().unwrap()]).done();
        self.look(&[ended.objects()]);
        self.fleet.assert_same(&self.into, &self.revisions[self.stage % 2]);
    }
}

#[test]
fn a_fetch_that_is_killed_a_hundred_times_loses_no_durable_chunk() {
    let mut torture = Torture::begin(1);
    let mut killed = 0;
    while killed < 100 {
        torture.throttle((99 - killed) % 50);
        let mut run = Run::start(&torture.fleet, &torture.servers, &torture.into);
        run.await_moment(&mut torture.dice);
        let (printed, was_killed) = run.kill();
        torture.look(&[printed]);
        if was_killed {
            killed += 1;
        } else {
            torture.go_on();
        }
    }
    torture.end();
    assert!(torture.stage > 0, "both revisions were fetched");
}

#[test]
fn two_fetches_into_one_folder_that_are_killed_lose_no_durable_chunk() {
    let mut torture = Torture::begin(2);
    for round in 0..24 {
        torture.throttle((23 - round) % 12);
        let runs: Vec<_> =
            (0..2).map(|_| Run::start(&torture.fleet, &torture.servers, &torture.into)).collect();
        let mut printed = Vec::new();
        let mut completed = false;
        for mut run in runs {
            run.await_moment(&mut torture.dice);
            let (lines, was_killed) = run.kill();
            printed.push(lines);
            completed |= !was_killed;
            torture.releases.check(&torture.into);
        }
        torture.look(&printed);
        if completed {
            torture.end();
            torture.go_on();
        }
    }
    torture.end();
}
