//! The vectors of rule 11: stories of what sources did, and the blame that follows (`spec/vectors/README.md`, `blame`).

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weighbridge_tree::{ErrorCode, HeadId};

use super::{ConnectionId, Decisions, Gives, Lease, LeaseId, Means, Moved, Rank};
use crate::{
    event::{Blame, SourceId},
    options::Watchdog,
    ranges::RangeSet,
    source::Fault,
};

const MEANS: Means = Means { pieces: 96, descriptors: None, rate: None };
const STEP: Duration = Duration::from_millis(100);

#[test]
fn every_story_ends_as_promised() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/blame");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 40, "only {} stories were found", paths.len());
    let mut failures = Vec::new();
    for path in paths {
        let (name, vector) = (path.file_name().unwrap(), Vector::read(&path));
        let mut play = Play::of(&vector);
        let events = vector.section("story").lines();
        events.for_each(|line| play.event(&serde_json::from_str(line).unwrap()));
        let ended = play.outcome();
        if ended != vector.section("outcome") {
            let promised = vector.section("outcome");
            failures.push(format!("{name:?}: promised\n{promised}and it ended\n{ended}"));
        }
        let code = play.code().map(|code| u64::from(code.get()));
        let promised = (vector.keys["expect"] == "refused").then(|| vector.number("code"));
        if code != promised {
            failures.push(format!("{name:?}: {code:?} instead of {promised:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A file in the form of `spec/vectors/README.md`, whose sections are text.
struct Vector {
    keys: BTreeMap<String, String>,
    sections: BTreeMap<String, String>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (top, mut rest) = text.split_once("\n\n").unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
        let keys = top.lines().map(|line| pair(line).unwrap()).collect();
        let mut sections = BTreeMap::new();
        while let Some((title, behind)) = rest.split_once('\n') {
            let (name, length) = title.strip_prefix("--- ").unwrap().rsplit_once(' ').unwrap();
            let (content, behind) = behind.split_at(length.parse().unwrap());
            sections.insert(name.to_owned(), content.to_owned());
            rest = behind.strip_prefix('\n').unwrap();
        }
        Self { keys, sections }
    }

    fn section(&self, name: &str) -> &str {
        &self.sections[name]
    }

    fn number(&self, key: &str) -> u64 {
        self.keys[key].parse().unwrap()
    }
}

/// A fetch in which the steps of a story happen.
struct Play {
    decide: Decisions,
    now: Instant,
    chunk: u64,
    /// How many chunks each file has.
    files: Vec<u64>,
    sources: usize,
    connections: u64,
    /// The last lease of each source. A late answer belongs to that lease.
    leases: BTreeMap<SourceId, LeaseId>,
}

impl Play {
    fn of(vector: &Vector) -> Self {
        let (chunk, sources) =
            (vector.number("chunk-size"), usize::try_from(vector.number("sources")).unwrap());
        let files: Vec<u64> = vector.keys["files"].split(' ').map(|count| count.parse().unwrap()).collect();
        let mut decide = Decisions::new(Watchdog::default(), MEANS, 7);
        (0..sources).for_each(|source| decide.join(SourceId::new(source), Gives::Model, false));
        decide.plan(chunk, chunk, 96);
        (0..).zip(&files).for_each(|(file, count)| decide.add(file, &set(0..*count)));
        Self { decide, now: Instant::now(), chunk, files, sources, connections: 0, leases: BTreeMap::new() }
    }

    fn event(&mut self, event: &Value) {
        let number = |key: &str| event[key].as_u64().unwrap();
        let source = event["source"].as_u64().map(|source| SourceId::new(usize::try_from(source).unwrap()));
        let source = || source.unwrap();
        let file = || usize::try_from(number("file")).unwrap();
        let chunks = || {
            let end = |at: usize| event["chunks"][at].as_u64().unwrap();
            end(0)..end(1)
        };
        let is_late = event["late"] == true;
        match event["event"].as_str().unwrap() {
            "gives" => self.gives(source(), file(), chunks()),
            "wrong" => self.wrong(source(), file(), chunks(), is_late),
            "wrong file" => {
                self.decide.hear(source());
                self.decide.refuse_whole(source(), file(), self.files[file()] * self.chunk);
                self.suspect(source(), is_late);
            }
            "wrong metadata" => {
                self.decide.hear(source());
                self.decide.refuse_metadata(source(), number("bytes"));
                self.suspect(source(), is_late);
            }
            "other length" => {
                let cases = self.cases(source(), is_late);
                let fault = Fault::OtherFile("has another length".to_owned());
                let _ = self.decide.fail(source(), Some(file()), cases, &fault, self.now);
            }
            "odd" => {
                self.decide.hear(source());
                self.decide.has_no_ranges(source());
            }
            "head" => self.head(source(), event),
            "ends" => self.decide.close_cases(),
            "last head" => {
                assert!(self.decide.convicted().contains(&source()), "it is not asked for its head: {event}");
                if event["shows"] == "other" {
                    self.set_stale(source(), event);
                }
            }
            "breaks" => (0..event["times"].as_u64().unwrap_or(1)).for_each(|_| self.breaks(source())),
            "busy" => {
                let retry_after = Some(Duration::from_secs(number("seconds")));
                self.fails(source(), None, &Fault::Busy { retry_after, what: "answers 503".to_owned() });
            }
            "lacks" => self.fails(source(), Some(file()), &Fault::Missing),
            "denies" => self.fails(source(), Some(file()), &Fault::Refused("answers 403".to_owned())),
            "passes" => self.passes(event),
            "stands still" => {
                self.now += Duration::from_secs(number("seconds"));
            }
            other => panic!("no event is {other:?}"),
        }
        self.decide.tick(self.now);
    }

    // Bytes.

    fn gives(&mut self, source: SourceId, file: usize, chunks: Range<u64>) {
        self.decide.hear(source);
        for chunk in chunks {
            let lease = self.lease_of(source, file, chunk);
            self.decide.piece_came(source);
            self.decide.done(lease, file, &(chunk..chunk + 1), self.now);
            self.decide.piece_landed(source, self.chunk, self.chunk);
            self.decide.give_back(lease);
        }
    }

    fn wrong(&mut self, source: SourceId, file: usize, chunks: Range<u64>, is_late: bool) {
        self.decide.hear(source);
        let lease = match is_late {
            true => self.leases[&source],
            false => self.lease_of(source, file, chunks.start),
        };
        let bytes = self.chunk * (chunks.end - chunks.start);
        self.decide.refuse(lease, source, file, chunks, bytes);
        self.decide.give_back(lease);
        self.suspect(source, is_late);
    }

    /// The lease of the source with this chunk. Panics if the source is not asked for the chunk.
    fn lease_of(&mut self, source: SourceId, file: usize, chunk: u64) -> LeaseId {
        let leases = self.all_of(source);
        let found = leases.iter().find(|lease| lease.file == file && lease.chunks.contains(&chunk));
        let found =
            found.unwrap_or_else(|| panic!("{source:?} is not asked for chunk {chunk} of file {file}"));
        leases.iter().filter(|lease| lease.id != found.id).for_each(|lease| self.decide.give_back(lease.id));
        self.leases.insert(source, found.id);
        found.id
    }

    /// All new leases that the source gets, over as many connections as it takes.
    fn all_of(&mut self, source: SourceId) -> Vec<Lease> {
        let mut leases = Vec::new();
        loop {
            self.connections += 1;
            let Some(lease) = self.decide.take(ConnectionId(self.connections), source, self.now) else {
                break;
            };
            if !lease.is_fresh() {
                self.decide.give_back(lease.id);
                break;
            }
            leases.push(lease);
        }
        leases
    }

    /// How often the source had been suspected when the request of the coming answer began.
    fn cases(&self, source: SourceId, is_late: bool) -> u64 {
        self.decide.cases(source) - u64::from(is_late)
    }

    fn suspect(&mut self, source: SourceId, is_late: bool) {
        let cases = self.cases(source, is_late);
        let _ = self.decide.suspect(source, cases, "does not match".to_owned());
    }

    // Heads: the steps that `Suspicion` takes.

    fn head(&mut self, source: SourceId, event: &Value) {
        assert!(self.decide.standing.is_suspect(source), "its head is not being read: {event}");
        let close = |decide: &mut Decisions, blame| decide.close_case(source, blame, "no head");
        match event["shows"].as_str().unwrap() {
            "other" => self.set_stale(source, event),
            "same" | "malformed" | "foreign" | "none" | "denied" => self.decide.convict(source),
            "breaks" => close(&mut self.decide, Blame::Unreachable),
            "silence" => close(&mut self.decide, Blame::Stalled),
            "busy" => close(&mut self.decide, Blame::Refused),
            other => panic!("no head is {other:?}"),
        }
    }

    fn set_stale(&mut self, source: SourceId, event: &Value) {
        let label = event["head"].as_str().unwrap().as_bytes()[0];
        let moved = Moved { head: HeadId::from_bytes([label; 32]), is_later: event["revision"] != "earlier" };
        let same = event["same"].as_array().unwrap().iter();
        let same = same.map(|file| usize::try_from(file.as_u64().unwrap()).unwrap()).collect();
        self.decide.set_stale(source, moved, "serves another head".to_owned(), same);
    }

    // Faults and time.

    fn fails(&mut self, source: SourceId, file: Option<usize>, fault: &Fault) {
        let cases = self.decide.cases(source);
        assert!(!self.decide.fail(source, file, cases, fault, self.now));
    }

    /// Breaks the connection, once the source is tried again.
    fn breaks(&mut self, source: SourceId) {
        if let Some(until) = self.decide.pacing.waits_until(source) {
            self.now = self.now.max(until);
            self.decide.tick(self.now);
        }
        self.fails(source, Some(0), &Fault::Unreachable("breaks off".to_owned()));
        self.decide.tick(self.now);
    }

    fn passes(&mut self, event: &Value) {
        let rates: Vec<Option<u64>> = event["gives"].as_array().unwrap().iter().map(Value::as_u64).collect();
        let waits_for_disk: Vec<SourceId> = event["disk"].as_array().map_or_else(Vec::new, |sources| {
            let of = |source: &Value| SourceId::new(usize::try_from(source.as_u64().unwrap()).unwrap());
            sources.iter().map(of).collect()
        });
        waits_for_disk.iter().for_each(|source| self.decide.piece_came(*source));
        let steps = event["seconds"].as_u64().unwrap() * 10;
        for _ in 0..steps {
            self.now += STEP;
            let rated =
                rates.iter().enumerate().filter_map(|(source, rate)| Some((SourceId::new(source), (*rate)?)));
            let asked: Vec<_> = rated.filter(|(source, _)| self.decide.is_usable(*source)).collect();
            for (source, rate) in &asked {
                self.decide.ask_begins(*source);
                if *rate > 0 {
                    self.decide.hear(*source);
                    self.decide.add_received(*source, rate / 10);
                    self.decide.piece_came(*source);
                    self.decide.piece_landed(*source, rate / 10, rate / 10);
                }
            }
            self.decide.tick(self.now);
            asked.iter().for_each(|(source, _)| self.decide.ask_ends(*source));
        }
        waits_for_disk.iter().for_each(|source| self.decide.piece_landed(*source, 0, 0));
    }

    // The outcome.

    fn outcome(&mut self) -> String {
        let sources: Vec<_> = (0..self.sources).map(SourceId::new).collect();
        sources.into_iter().map(|source| format!("{}\n", self.outcome_of(source))).collect()
    }

    fn outcome_of(&mut self, source: SourceId) -> Value {
        let files = 0..self.files.len();
        let missing: Vec<RangeSet> =
            files.map(|file| self.decide.pending_of(file).cloned().unwrap_or_default()).collect();
        let leases = self.all_of(source);
        leases.iter().for_each(|lease| self.decide.give_back(lease.id));
        let mut asked: Vec<RangeSet> = vec![RangeSet::default(); missing.len()];
        for lease in leases {
            // A source that gives only whole files may have unwanted chunks in the middle of its lease.
            let wanted = self.decide.eligible(source, lease.file).within(&missing[lease.file]);
            wanted.within(&lease.chunks).for_each(|run| asked[lease.file].insert(run));
        }
        let runs = |set: &RangeSet| set.iter().map(|run| json!([run.start, run.end])).collect::<Vec<_>>();
        let standing = match self.decide.standing.rank(source) {
            Rank::Good => "good",
            Rank::LastResort => "last resort",
            Rank::None if self.decide.standing.is_suspect(source) => "judged",
            Rank::None => "set aside",
        };
        let status = self.decide.statuses(self.now).into_iter().find(|status| status.source == source);
        json!({
            "asked": asked.iter().map(runs).collect::<Vec<_>>(),
            "blame": status.unwrap().blame.map(|(blame, _)| blame.word()),
            "source": source.number(),
            "standing": standing,
        })
    }

    /// The error code of a fetch that ends here because no missing chunk can come.
    fn code(&self) -> Option<ErrorCode> {
        let mut lacking = self.decide.pending_files().peekable();
        if lacking.peek().is_none() || !lacking.all(|file| self.decide.is_hopeless(file, false)) {
            return None;
        }
        let has_lied = self.decide.statuses(self.now).iter().any(crate::event::SourceStatus::has_lied);
        Some(match self.decide.all_moved_to() {
            Some(_) => ErrorCode::MODEL_OVERWRITTEN,
            None if has_lied => ErrorCode::SOURCES_REFUSED,
            None => ErrorCode::NO_SOURCE,
        })
    }
}

fn set(run: Range<u64>) -> RangeSet {
    let mut set = RangeSet::default();
    set.insert(run);
    set
}
