//! The vocabulary of these tests: fetches from servers, and the events that they report.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    ops::Range,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::fleet::Fleet;
use weighbridge_testkit::servers::Faulty;

/// The tensor files. Faults of these files leave the metadata alone.
pub(super) const SHARDS: &str = "*.safetensors";
/// The first tensor file.
pub(super) const SHARD: &str = "model-00001-of-00004.safetensors";
pub(super) const CHUNK: u64 = 16 << 10;

/// A model of 3 MB in four shards, in chunks of 16 KiB.
pub(super) fn fleet() -> Fleet {
    Fleet::of(3_000_000, "16KiB")
}

/// A fetch of that model, prepared to run.
pub(super) struct Fetch<'t> {
    fleet: &'t Fleet,
    servers: Vec<&'t Faulty>,
    sources: Vec<String>,
    into: String,
    /// The file of accepted heads; by default each folder has one of its own.
    state: Option<String>,
    words: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl<'t> Fetch<'t> {
    /// A fetch from these servers into a new folder.
    pub(super) fn from(fleet: &'t Fleet, servers: &[&'t Faulty]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self {
            fleet,
            servers: servers.to_vec(),
            sources: servers.iter().map(|server| server.url()).collect(),
            into: format!("out-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            state: None,
            words: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Adds a source.
    pub(super) fn and(mut self, source: &str) -> Self {
        self.sources.push(source.to_owned());
        self
    }

    pub(super) fn into(mut self, folder: &str) -> Self {
        folder.clone_into(&mut self.into);
        self
    }

    /// Remembers accepted heads in this file. By default each folder has one of its own.
    pub(super) fn remembering(mut self, file: &str) -> Self {
        self.state = Some(file.to_owned());
        self
    }

    pub(super) fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    #[track_caller]
    pub(super) fn run(&self) -> Fetched {
        self.start().end()
    }

    /// Starts the command, and reads its output while it runs.
    pub(super) fn start(&self) -> Running<'t> {
        let Self { fleet, into, .. } = self;
        let world = &fleet.world;
        let state = self.state.clone().unwrap_or_else(|| format!("{into}.heads"));
        let line =
            format!("fetch --json -o {into} --state {state} --name {} --vkey {}", fleet.name, fleet.vkey);
        let mut command = world.command(&line);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        command
            .args(&self.words)
            .args(&self.sources)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        let errors = world.path(&format!("{into}.errors"));
        command.stdout(Stdio::piped()).stderr(fs::File::create(&errors).unwrap());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let reader = {
            let told = Arc::clone(&told);
            thread::spawn(move || {
                for line in output.lines() {
                    let object = serde_json::from_str(&line.unwrap()).unwrap();
                    told.lock().unwrap().push(Told { at: Instant::now(), object });
                }
            })
        };
        let into = world.path(into);
        Running { servers: self.servers.clone(), child, told, reader: Some(reader), errors, into }
    }
}

/// One object, and the time at which it was read.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) object: Value,
}

/// A running command. It is killed on drop.
pub(super) struct Running<'t> {
    servers: Vec<&'t Faulty>,
    child: Child,
    told: Arc<Mutex<Vec<Told>>>,
    reader: Option<JoinHandle<()>>,
    errors: PathBuf,
    into: PathBuf,
}

impl Running<'_> {
    /// Waits for the first object of this event for which `is_it` holds.
    #[track_caller]
    pub(super) fn wait_for(&mut self, event: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let told = self.told.lock().unwrap();
            let found = told.iter().find(|told| told.object["event"] == event && is_it(&told.object));
            if let Some(found) = found {
                return found.object.clone();
            }
            drop(told);
            if start.elapsed() > DEADLINE || self.child.try_wait().unwrap().is_some() {
                let told: Vec<_> = self.told.lock().unwrap().iter().map(|told| told.object.clone()).collect();
                panic!("expected {event}:\n{told:#?}\n{}", fs::read_to_string(&self.errors).unwrap());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(super) fn signal(&self, name: &str) {
        let words = [format!("-{name}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(words).status().unwrap().success());
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until the command ends.
    #[track_caller]
    pub(super) fn end(mut self) -> Fetched {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > DEADLINE {
                self.child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = start.elapsed();
        self.reader.take().unwrap().join().unwrap();
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let errors = fs::read_to_string(&self.errors).unwrap();
        let fetched = Fetched { told, status: status.code(), errors, took, into: self.into.clone() };
        fetched.hold(&self.servers);
        fetched
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Longer than any run takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A fetch that has ended.
pub(super) struct Fetched {
    pub(super) told: Vec<Told>,
    /// `None` if the command was killed by a signal.
    pub(super) status: Option<i32>,
    errors: String,
    /// The time that [`Running::end`] waited.
    pub(super) took: Duration,
    pub(super) into: PathBuf,
}

impl Fetched {
    #[track_caller]
    pub(super) fn expect(&self, holds: bool, what: &str) {
        if !holds {
            let told: Vec<_> = self.told.iter().map(|told| told.object.to_string()).collect();
            panic!("expected {what}\n{}\n--- {:?} {}", told.join("\n"), self.status, self.errors);
        }
    }

    /// The objects of this event.
    pub(super) fn events(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.told.iter().map(|told| &told.object).filter(move |object| object["event"] == event)
    }

    /// Expects that everything that was wanted has arrived.
    #[track_caller]
    pub(super) fn done(self) -> Self {
        let results = self.events("result").collect::<Vec<_>>();
        self.expect(results.len() == 1 && results[0]["code"].is_null(), "a fetch that ends well");
        self.expect(self.status == Some(0), "exit status 0");
        self
    }

    /// Expects that the model has arrived, byte for byte.
    #[track_caller]
    pub(super) fn arrived(self, fleet: &Fleet) -> Self {
        let fetched = self.done();
        fleet.assert_same(&fetched.into, &fleet.model);
        fetched
    }

    /// Expects an end with this code: exit status 1 for a verdict (codes below 9000), otherwise 2.
    #[track_caller]
    pub(super) fn ended(self, code: u16) -> Self {
        let status = if code < 9000 { 1 } else { 2 };
        self.ended_with(code, status)
    }

    /// Expects that a signal ended the fetch, with the exit status by which shells report that.
    #[track_caller]
    pub(super) fn stopped_by(self, signal: i32) -> Self {
        self.ended_with(9202, 128 + signal)
    }

    #[track_caller]
    fn ended_with(self, code: u16, status: i32) -> Self {
        let is_told = self.events("result").all(|result| result["code"] == code);
        self.expect(is_told && self.events("result").count() == 1, &format!("code {code}"));
        self.expect(self.status == Some(status), &format!("exit status {status}"));
        self
    }

    /// Expects that no file has its final name.
    #[track_caller]
    pub(super) fn named_nothing(self) -> Self {
        let names: Vec<_> = fs::read_dir(&self.into)
            .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        self.expect(names.iter().all(|name| name == "weighbridge"), "no file under its final name");
        self.expect(!self.into.join("weighbridge/head.note").exists(), "no head");
        self
    }

    /// The last blame of a source.
    pub(super) fn blame(&self, source: usize) -> Option<String> {
        Some(self.status(source)?["blame"].as_str()?.to_owned())
    }

    /// The reason of that blame.
    #[track_caller]
    pub(super) fn why(&self, source: usize) -> String {
        let why = self.status(source).and_then(|status| status["why"].as_str());
        self.expect(why.is_some(), &format!("source {source} to be blamed"));
        why.unwrap_or_default().to_owned()
    }

    fn status(&self, source: usize) -> Option<&Value> {
        let result = self.events("result").next()?;
        result["sources"].as_array()?.iter().find(|status| status["source"] == source)
    }

    #[track_caller]
    pub(super) fn blames(self, source: usize, word: &str) -> Self {
        self.expect(
            self.blame(source).as_deref() == Some(word),
            &format!("source {source} to be called {word}"),
        );
        self
    }

    /// Expects that the source was never called a liar.
    #[track_caller]
    pub(super) fn trusts(self, source: usize) -> Self {
        let is_blamed = |status: &Value| status["source"] == source && status["blame"] == "lied";
        self.expect(
            !self.events("source").any(is_blamed),
            &format!("source {source} not to be called a liar"),
        );
        self
    }

    /// The chunks that were reported as durable, by file.
    pub(super) fn durable(&self) -> BTreeMap<String, Vec<Range<u64>>> {
        let mut durable: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for object in self.events("durable") {
            let run = object["chunks"][0].as_u64().unwrap()..object["chunks"][1].as_u64().unwrap();
            durable.entry(object["file"].as_str().unwrap().to_owned()).or_default().push(run);
        }
        durable
    }

    /// Checks the rules of every run.
    #[track_caller]
    fn hold(&self, servers: &[&Faulty]) {
        self.expect(!self.errors.contains("panicked"), "no panic");
        self.told.iter().for_each(|told| crate::command::events::is_in_the_schema(&told.object));
        let mut last = [0; 3];
        for figures in self.events("progress") {
            let now = ["received", "verified", "durable"].map(|figure| figures[figure].as_u64().unwrap());
            self.expect(now.iter().zip(last).all(|(now, last)| *now >= last), "figures that never fall");
            self.expect(now[2] <= now[1], "nothing durable that is not verified");
            self.expect(now[1] <= figures["wanted"].as_u64().unwrap(), "no more verified than wanted");
            last = now;
        }
        for (file, mut runs) in self.durable() {
            runs.sort_by_key(|run| run.start);
            let is_once = runs.windows(2).all(|pair| pair[0].end <= pair[1].start);
            self.expect(is_once, &format!("each chunk of {file} durable once"));
        }
        for server in servers {
            self.asks_for_nothing_durable(server);
        }
    }

    /// Expects that no durable chunk is asked for again. Requests sent shortly after the report do not count.
    #[track_caller]
    fn asks_for_nothing_durable(&self, server: &Faulty) {
        for told in self.told.iter().filter(|told| told.object["event"] == "durable") {
            let chunks = &told.object["chunks"];
            let bytes = chunks[0].as_u64().unwrap() * CHUNK..chunks[1].as_u64().unwrap() * CHUNK;
            let later = |at: Instant| at.saturating_duration_since(told.at) > Duration::from_millis(250);
            let again = server.requests().into_iter().find(|request| {
                request.path == told.object["file"]
                    && later(request.at)
                    && request.range.as_ref().is_some_and(|range| meets(range, &bytes))
            });
            // A source without ranges sends the durable chunks with the missing ones.
            let is_asked = again.is_some_and(|request| request.status != Some(200));
            self.expect(!is_asked, &format!("not to ask again for {}", told.object));
        }
    }
}

pub(super) fn meets(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// The ranges of a file that a server was asked for, sorted.
pub(super) fn asked(server: &Faulty, path: &str) -> Vec<Range<u64>> {
    let mut ranges: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.path == path)
        .map(|request| request.range.unwrap_or(0..u64::MAX))
        .collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges
}

/// The files of the model that a server was asked for.
pub(super) fn files_asked(server: &Faulty) -> Vec<String> {
    let mut files: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    files.retain(|file| !file.starts_with("weighbridge/"));
    files.sort();
    files.dedup();
    files
}
