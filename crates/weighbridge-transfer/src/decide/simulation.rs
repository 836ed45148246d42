//! Whole fetches in virtual time: the real decisions, against sources and lines that a seed describes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use super::{ConnectionId, Decisions, Gives, Lease, LeaseId, Means};
use crate::{
    event::{Blame, SourceId, SourceState},
    options::Watchdog,
    ranges::RangeSet,
    source::Fault,
};

const CHUNK: u64 = 256 << 10;
const PIECE: u64 = 1 << 20;
const STEP_MS: u64 = 10;
const TICK_MS: u64 = 100;
/// The time that reading the head of a suspected source takes, in milliseconds.
const VERDICT_MS: u64 = 100;

/// The true properties of a source.
#[derive(Clone, Debug)]
struct Server {
    /// The bytes per second of all its connections together.
    rate: u64,
    latency_ms: u64,
    /// The chunks that it gives wrong.
    wrong: BTreeSet<u64>,
    joins_ms: u64,
    leaves_ms: Option<u64>,
    /// The time from which it gives nothing, in milliseconds.
    stalls_ms: Option<u64>,
    /// How many of a hundred answers are broken off.
    breaks: u64,
    /// The milliseconds between the chunks that it gains, in an order of its own; `None` if it has all chunks.
    gains_every_ms: Option<u64>,
    /// Whether it serves another revision, as its head says, with the same file.
    is_stale: bool,
}

fn server(rate: u64) -> Server {
    Server {
        rate,
        latency_ms: 20,
        wrong: BTreeSet::new(),
        joins_ms: 0,
        leaves_ms: None,
        stalls_ms: None,
        breaks: 0,
        gains_every_ms: None,
        is_stale: false,
    }
}

/// A fetch of one file.
struct World {
    decide: Decisions,
    servers: Vec<Server>,
    /// The bytes per second that all connections together get.
    line: u64,
    count: u64,
    there: RangeSet,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    verdicts: Vec<(u64, SourceId)>,
    ms: u64,
    start: Instant,
    random: Random,
    received: u64,
    /// The bytes that servers sent, with those that were under way when a request was cut.
    sent: u64,
    blamed: BTreeMap<SourceId, BTreeSet<&'static str>>,
}

struct Connection {
    source: SourceId,
    generation: u64,
    request: Option<Request>,
}

struct Request {
    lease: LeaseId,
    /// The chunk that is being received, and how many bytes of it have come.
    chunk: u64,
    have: u64,
    /// The end of the chunks that were asked for.
    end: u64,
    first_byte_ms: u64,
    /// The number of bytes after which the connection breaks.
    breaks_after: Option<u64>,
}

/// How a fetch ended.
#[derive(Debug)]
struct Outcome {
    is_complete: bool,
    ms: u64,
    received: f64,
    sent: f64,
    blamed: BTreeMap<SourceId, BTreeSet<&'static str>>,
    /// The sources that were not asked any more at the end.
    set_aside: BTreeSet<SourceId>,
}

/// xorshift64*
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % most.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl World {
    fn new(servers: Vec<Server>, line: u64, count: u64, means: Means, seed: u64) -> Self {
        let mut decide = Decisions::new(Watchdog::default(), means, seed);
        decide.plan(CHUNK, PIECE, means.pieces);
        let mut all = RangeSet::default();
        all.insert(0..count);
        decide.add(0, &all);
        Self {
            decide,
            servers,
            line,
            count,
            there: RangeSet::default(),
            connections: BTreeMap::new(),
            next: 0,
            verdicts: Vec::new(),
            ms: 0,
            start: Instant::now(),
            random: Random(seed.wrapping_mul(2).wrapping_add(1)),
            received: 0,
            sent: 0,
            blamed: BTreeMap::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn run(mut self, most_ms: u64) -> Outcome {
        let is_complete = loop {
            if self.ms.is_multiple_of(TICK_MS) {
                self.tick();
            }
            self.man();
            if self.there.len() == self.count {
                break true;
            }
            let is_idle = self.decide.oldest().is_none() && self.verdicts.is_empty();
            // A fetch does not wait for sources that may join one day; in this simulation all announced sources join.
            let comes_later = self.servers.iter().any(|server| server.joins_ms + TICK_MS > self.ms);
            if is_idle && !comes_later && self.decide.is_hopeless(0, false) {
                break false;
            }
            self.flow();
            self.ms += STEP_MS;
            assert!(self.ms < most_ms, "no end: {} of {} chunks are there", self.there.len(), self.count);
        };
        let all = as_f64(self.count * CHUNK);
        let (received, sent) = (as_f64(self.received) / all, as_f64(self.sent) / all);
        let statuses = self.decide.statuses(self.now()).into_iter();
        let set_aside = statuses.filter(|status| status.state == SourceState::SetAside);
        let set_aside = set_aside.map(|status| status.source).collect();
        Outcome { is_complete, ms: self.ms, received, sent, blamed: self.blamed, set_aside }
    }

    fn tick(&mut self) {
        let now = self.now();
        for (number, server) in self.servers.iter().enumerate() {
            let id = SourceId::new(number);
            let is_there = self.decide.sources().any(|source| source == id);
            let has_left = server.leaves_ms.is_some_and(|leaves| self.ms >= leaves);
            if !is_there && !has_left && self.ms >= server.joins_ms {
                self.decide.join(id, Gives::Model, server.gains_every_ms.is_some());
            } else if is_there && has_left {
                self.decide.leave(id);
            }
            if let Some(every) = server.gains_every_ms.filter(|_| !has_left) {
                let gained = (self.ms.saturating_sub(server.joins_ms) / every.max(1)).min(self.count);
                // Each source gains its chunks in an order of its own.
                let mut chunks = RangeSet::default();
                (0..gained).for_each(|nth| {
                    let chunk = (nth * 7 + number as u64 * 3) % self.count;
                    chunks.insert(chunk..chunk + 1);
                });
                if gained == self.count {
                    chunks.insert(0..self.count);
                }
                if self.ms >= server.joins_ms {
                    let _ = self.decide.gain(id, 0, &chunks);
                }
                if gained == self.count {
                    self.decide.finish_inventory(id);
                }
            }
        }
        self.decide.tick(now);
        let due: Vec<_> = self.verdicts.extract_if(.., |(at, _)| *at <= self.ms).collect();
        for (_, source) in due {
            match self.servers[source.number()].is_stale {
                true => {
                    let head = weighbridge_tree::HeadId::from_bytes([9; 32]);
                    let moved = super::Moved { head, is_later: true };
                    self.decide.set_stale(source, moved, String::new(), [0].into());
                }
                false => self.decide.convict(source),
            }
        }
        for status in self.decide.statuses(now) {
            if let Some((blame, _)) = status.blame {
                self.blamed.entry(status.source).or_default().insert(blame.word());
            }
        }
    }

    /// Ends and begins connections, and gives work to those that have none.
    fn man(&mut self) {
        let gone: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| self.decide.generation(connection.source) != connection.generation)
            .map(|(number, _)| *number)
            .collect();
        gone.into_iter().for_each(|number| self.end(number));
        for (source, wanted) in self.decide.crew() {
            let mine = self.connections.values().filter(|connection| connection.source == source).count();
            for _ in mine..wanted {
                if self.decide.is_finished() {
                    break;
                }
                self.decide.connection_begins(source);
                let generation = self.decide.generation(source);
                self.connections.insert(self.next, Connection { source, generation, request: None });
                self.next += 1;
            }
        }
        let idle: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.request.is_none())
            .map(|(number, _)| *number)
            .collect();
        for number in idle {
            let source = self.connections[&number].source;
            let lease = match self.decide.is_crowded(source) {
                true => None,
                false => self.decide.take(ConnectionId(number), source, self.now()),
            };
            match lease {
                Some(lease) => self.ask(number, source, &lease),
                None => self.end(number),
            }
        }
    }

    fn ask(&mut self, number: u64, source: SourceId, lease: &Lease) {
        self.decide.ask_begins(source);
        let server = &self.servers[source.number()];
        let bytes = (lease.chunks.end - lease.chunks.start) * CHUNK;
        let breaks = self.random.below(100) < server.breaks;
        let request = Request {
            lease: lease.id,
            chunk: lease.chunks.start,
            have: 0,
            end: lease.chunks.end,
            first_byte_ms: self.ms + server.latency_ms,
            breaks_after: breaks.then(|| self.random.below(bytes)),
        };
        self.connections.get_mut(&number).unwrap().request = Some(request);
    }

    /// Removes a connection that is gone.
    fn end(&mut self, number: u64) {
        self.end_request(number, 0);
        let connection = self.connections.remove(&number).unwrap();
        self.decide.connection_ends(connection.source);
    }

    /// Ends a request. `in_flight` bytes of it were sent and are never read.
    fn end_request(&mut self, number: u64, in_flight: u64) {
        let connection = self.connections.get_mut(&number).unwrap();
        if let Some(request) = connection.request.take() {
            self.decide.give_back(request.lease);
            self.decide.ask_ends(connection.source);
            self.sent += in_flight;
        }
    }

    /// Delivers bytes, for one step.
    fn flow(&mut self) {
        let mut shares: BTreeMap<u64, u64> = BTreeMap::new();
        let is_active = |connection: &Connection| {
            let server = &self.servers[connection.source.number()];
            let has_stalled = server.stalls_ms.is_some_and(|stalls| self.ms >= stalls);
            let is_gone = server.leaves_ms.is_some_and(|leaves| self.ms >= leaves);
            let is_answered =
                connection.request.as_ref().is_some_and(|request| request.first_byte_ms <= self.ms);
            is_answered && !has_stalled && !is_gone
        };
        let mut of_source: BTreeMap<SourceId, u64> = BTreeMap::new();
        let active: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| is_active(connection))
            .map(|(number, connection)| {
                *of_source.entry(connection.source).or_default() += 1;
                *number
            })
            .collect();
        for number in &active {
            let source = self.connections[number].source;
            shares.insert(*number, self.servers[source.number()].rate / of_source[&source]);
        }
        share_line(&mut shares, self.line);
        for (number, rate) in shares {
            // The remainder of the division comes at random, so that the line gives its full rate on average.
            let exact = rate * STEP_MS;
            let bytes = exact / 1000 + u64::from(self.random.below(1000) < exact % 1000);
            self.receive(number, bytes, rate);
        }
    }

    fn receive(&mut self, number: u64, mut bytes: u64, rate: u64) {
        let connection = self.connections.get_mut(&number).unwrap();
        let source = connection.source;
        let Some(request) = connection.request.as_mut() else { return };
        let lease = request.lease;
        self.received += bytes;
        self.sent += bytes;
        self.decide.add_received(source, bytes);
        let now = self.now();
        self.decide.lease_received(lease, bytes, now);
        let connection = self.connections.get_mut(&number).unwrap();
        let Some(request) = connection.request.as_mut() else { return };
        let is_broken = request.breaks_after.as_mut().is_some_and(|left| {
            let is_over = *left < bytes;
            *left = left.saturating_sub(bytes);
            is_over
        });
        let in_flight = rate * self.servers[source.number()].latency_ms / 1000;
        while bytes > 0 {
            let left = self.decide.extent(lease);
            let request = self.connections.get_mut(&number).unwrap().request.as_mut().unwrap();
            if request.chunk >= left.end {
                self.received -= bytes;
                return self.end_request(number, in_flight);
            }
            let took = bytes.min(CHUNK - request.have);
            request.have += took;
            bytes -= took;
            if request.have < CHUNK {
                break;
            }
            let chunk = request.chunk;
            (request.chunk, request.have) = (chunk + 1, 0);
            self.judge(source, lease, chunk);
            if self.decide.extent(lease).is_empty() {
                // The rest of the bytes does not arrive. It counts as in flight if the request went on.
                self.received -= bytes;
                self.sent -= bytes;
                let is_cut =
                    self.connections[&number].request.as_ref().is_some_and(|one| one.end > chunk + 1);
                return self.end_request(number, if is_cut { in_flight } else { 0 });
            }
        }
        if is_broken {
            self.end_request(number, 0);
            let cases = self.decide.cases(source);
            let fault = Fault::Unreachable("ended early".to_owned());
            let now = self.now();
            let _ = self.decide.fail(source, Some(0), cases, &fault, now);
        }
    }

    fn judge(&mut self, source: SourceId, lease: LeaseId, chunk: u64) {
        let run: Range<u64> = chunk..chunk + 1;
        self.decide.piece_came(source);
        if self.servers[source.number()].wrong.contains(&chunk) {
            self.decide.refuse(lease, source, 0, run, CHUNK);
            self.decide.piece_landed(source, 0, 0);
            let cases = self.decide.cases(source);
            if self.decide.suspect(source, cases, format!("chunk {chunk}")) {
                self.verdicts.push((self.ms + VERDICT_MS, source));
            }
            return;
        }
        let is_new = !self.there.contains_range(&run);
        self.there.insert(run.clone());
        self.decide.done(lease, 0, &run, self.now());
        self.decide.piece_landed(source, CHUNK, if is_new { CHUNK } else { 0 });
    }
}

/// Limits the bytes of each connection to what it wanted, and those of all together to what the line gives.
fn share_line(wanted: &mut BTreeMap<u64, u64>, line: u64) {
    let mut left = line;
    let mut by_rate: Vec<(u64, u64)> = wanted.iter().map(|(number, rate)| (*rate, *number)).collect();
    by_rate.sort_unstable();
    let mut others = u64::try_from(by_rate.len()).unwrap();
    for (rate, number) in by_rate {
        let share = rate.min(left / others.max(1));
        wanted.insert(number, share);
        left -= share;
        others -= 1;
    }
}

fn as_f64(bytes: u64) -> f64 {
    Duration::from_micros(bytes).as_secs_f64()
}

const FAST: u64 = 100_000_000;
const MEANS: Means = Means { pieces: 96, descriptors: None, rate: None };

/// Regression: four honest mirrors behind one slow line were all called stalled, and the fetch failed.
#[test]
fn mirrors_that_share_a_line_take_the_lines_own_time_and_are_not_blamed() {
    for line in [250_000, 1_000_000] {
        for mirrors in [1, 2, 4, 8, 16, 64] {
            let count = 60 * line / CHUNK;
            let world = World::new(vec![server(FAST); mirrors], line, count, MEANS, 7);
            let outcome = world.run(300_000);
            let own = as_f64(count * CHUNK) / as_f64(line);
            let took = Duration::from_millis(outcome.ms).as_secs_f64();
            let what = format!("{mirrors} mirrors at {line} B/s: {took} s of {own}, {outcome:?}");
            assert!(outcome.is_complete && took <= own * 1.1, "{what}");
            assert!(outcome.received <= 1.05 && outcome.sent <= 1.05, "{what}");
            assert!(outcome.blamed.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_limit_costs_no_bytes_however_fast_the_sources_are() {
    let means = Means { rate: Some(1_000_000), ..MEANS };
    let outcome = World::new(vec![server(FAST); 16], 1_000_000, 228, means, 7).run(300_000);
    assert!(outcome.is_complete && outcome.received <= 1.05 && outcome.sent <= 1.1, "{outcome:?}");
    assert!(outcome.blamed.is_empty(), "{outcome:?}");
}

#[test]
fn answers_that_are_broken_off_cost_little() {
    let breaking = Server { breaks: 30, ..server(5_000_000) };
    for sources in [1, 4] {
        let outcome = World::new(vec![breaking.clone(); sources], FAST, 2_000, MEANS, 7).run(900_000);
        assert!(outcome.is_complete && outcome.received <= 1.1, "{outcome:?}");
    }
}

#[test]
fn a_thousand_sources_take_little_more_time_than_one() {
    let means = Means { pieces: 2, descriptors: Some(60), rate: None };
    let alone = World::new(vec![server(20_000_000)], FAST, 800, means, 7).run(300_000);
    let many = World::new(vec![server(20_000_000); 1_000], FAST, 800, means, 7).run(300_000);
    assert!(alone.is_complete && many.is_complete);
    assert!(many.ms <= alone.ms * 3 / 2, "{many:?} beside {alone:?}");
}

/// A world with random lines, faults, joins and leaves.
fn random_world(seed: u64) -> World {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let count = 8 + random.below(120);
    let sources = 1 + random.below(8);
    let same_rate = random.one_in(2).then(|| 200_000 << random.below(8));
    let servers: Vec<_> = (0..sources)
        .map(|_| {
            let mut one = server(same_rate.unwrap_or(200_000 << random.below(8)));
            one.latency_ms = STEP_MS + random.below(20) * STEP_MS;
            if random.one_in(4) {
                let few = 1 + random.below(12);
                one.wrong = (0..few).map(|_| random.below(count)).collect();
            }
            if random.one_in(12) {
                one.wrong = (0..count).collect();
            }
            if random.one_in(4) {
                one.joins_ms = random.below(100) * TICK_MS;
            }
            if random.one_in(6) {
                one.leaves_ms = Some(one.joins_ms + random.below(200) * TICK_MS);
            }
            if random.one_in(6) {
                one.stalls_ms = Some(random.below(200) * TICK_MS);
            }
            if random.one_in(5) {
                one.breaks = random.below(50);
            }
            if random.one_in(5) {
                one.gains_every_ms = Some(20 + random.below(200));
            }
            one.is_stale = random.one_in(10);
            one
        })
        .collect();
    let line = if random.one_in(2) { u64::MAX >> 20 } else { 100_000 << random.below(8) };
    World::new(servers, line, count, MEANS, seed)
}

/// Checks the properties that hold in every world.
fn check(seed: u64) {
    let world = random_world(seed);
    let (servers, count, line) = (world.servers.clone(), world.count, world.line);
    let outcome = world.run(100_000_000);
    // A source that stays and does not stall gives all that it is not wrong about. One that is broken off may be given up: on a
    // slow line, ten seconds may pass before a chunk of it arrives.
    let is_steady = |(source, server): &(usize, &Server)| {
        let is_given_up = server.breaks > 0 && outcome.set_aside.contains(&SourceId::new(*source));
        server.leaves_ms.is_none() && server.stalls_ms.is_none() && !is_given_up
    };
    let budget = usize::try_from((8_u64 << 20) / CHUNK).unwrap();
    let has = |chunk: u64| {
        let gives = |server: &Server| !server.wrong.contains(&chunk) && server.wrong.len() < budget;
        servers.iter().enumerate().filter(is_steady).any(|(_, server)| gives(server))
    };
    let is_all_there = (0..count).all(has);
    // The last source may join after the others were found to be useless; a fetch does not wait for sources to come.
    assert!(outcome.is_complete || !is_all_there, "seed {seed}: {outcome:?} {servers:#?}");
    let is_honest = |server: &Server| {
        server.wrong.is_empty()
            && server.stalls_ms.is_none()
            && server.leaves_ms.is_none()
            && server.breaks == 0
    };
    if servers.iter().all(is_honest) && outcome.is_complete {
        // These models are small. Beside a tenth, the end may cost a piece for each source. Sources that are far slower
        // than the others, which are helped out, may cost another piece.
        let fastest = servers.iter().map(|server| server.rate).max().unwrap();
        let slow = servers.iter().filter(|server| server.rate < fastest).count();
        let pieces = u64::try_from(servers.len() + slow).unwrap();
        let helped = as_f64(pieces * PIECE) / as_f64(count * CHUNK);
        assert!(outcome.received <= 1.1 + helped, "seed {seed}: {outcome:?} {servers:#?}");
    }
    for (source, words) in &outcome.blamed {
        let server = &servers[source.number()];
        if server.wrong.is_empty() {
            assert!(!words.contains(Blame::Lied.word()), "seed {seed}: {source:?}, {server:#?}");
        }
        let used_its_share = server.stalls_ms.is_none() && server.leaves_ms.is_none();
        if used_its_share && server.wrong.is_empty() {
            let all: Vec<_> =
                servers.iter().map(|server| (server.rate, server.joins_ms, server.stalls_ms)).collect();
            assert!(
                !words.contains(Blame::Stalled.word()),
                "seed {seed}, line {line}: {source:?}, {server:#?}, {outcome:?}, {all:?}"
            );
        }
    }
}

/// How many worlds the test tries by default; `WEIGHBRIDGE_WORLDS` sets another number.
const WORLDS: u64 = 2_000;

#[test]
fn every_world_ends_and_completes_whenever_its_sources_have_everything() {
    let worlds = std::env::var("WEIGHBRIDGE_WORLDS").ok().and_then(|text| text.parse().ok());
    let worlds = worlds.unwrap_or(WORLDS);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (0..worlds).filter(|seed| seed % threads == thread).for_each(check));
        }
    });
}
