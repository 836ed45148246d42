//! Fetches in simulated time. Sources share their rate among their connections, and are asked as the engine asks them.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::{CHUNK, ConnectionId, Eligible, LeaseId, Line, Schedule, Take, all};
use crate::event::SourceId;

const MIB: u64 = 1 << 20;

/// The sizes and intervals of the engine: the first request, the bytes judged at once, the measuring of rates.
const FIRST_REQUEST: u64 = 4 * MIB;
const MAX_REQUEST: u64 = 64 * MIB;
const CHUNKS_OF_PIECE: u64 = 4;
const METER_MS: u64 = 200;
const TICK_MS: u64 = 100;

struct Source {
    /// The bytes per second, as a function of the milliseconds since the beginning.
    rate: Box<dyn Fn(u64) -> u64>,
    whole_files: bool,
    /// The bytes that the source could still have given when a request ended, and gives to the next one.
    spare: u64,
    measured: u64,
    given: u64,
    given_before: u64,
}

fn changing(rate: impl Fn(u64) -> u64 + 'static) -> Source {
    Source { rate: Box::new(rate), whole_files: false, spare: 0, measured: 0, given: 0, given_before: 0 }
}

fn steady(rate: u64) -> Source {
    changing(move |_| rate)
}

struct Connection {
    id: ConnectionId,
    source: usize,
    request: Option<Request>,
}

struct Request {
    lease: LeaseId,
    file: usize,
    first_byte_ms: u64,
    /// The position of the next byte.
    at: u64,
    /// The chunks that are judged together, once their last byte has come.
    piece: Range<u64>,
}

struct Simulation {
    schedule: Schedule,
    sizes: Vec<u64>,
    is_there: Vec<Vec<bool>>,
    sources: Vec<Source>,
    connections: Vec<Connection>,
    latency_ms: u64,
    ms: u64,
    start: Instant,
    /// The most bytes per second that all sources together gave.
    capacity: u64,
}

struct Outcome {
    seconds: f64,
    /// All bytes that came, as a multiple of those that were wanted.
    received: f64,
}

impl Simulation {
    fn new(sizes: Vec<u64>, sources: Vec<Source>, connections_each: usize, latency_ms: u64) -> Self {
        let mut schedule = Schedule::new(CHUNK, CHUNKS_OF_PIECE);
        let mut is_there = Vec::new();
        for (file, size) in sizes.iter().enumerate() {
            let count = size.div_ceil(CHUNK);
            schedule.add(file, &all(count));
            is_there.push(vec![false; usize::try_from(count).unwrap()]);
        }
        let numbers = (0_u64..).zip((0..sources.len()).cycle()).take(sources.len() * connections_each);
        let connection = |(number, source)| Connection { id: ConnectionId(number), source, request: None };
        let connections = numbers.map(connection).collect();
        Self {
            schedule,
            sizes,
            is_there,
            sources,
            connections,
            latency_ms,
            ms: 0,
            start: Instant::now(),
            capacity: 0,
        }
    }

    fn run(mut self) -> Outcome {
        let mut received = 0;
        let mut is_changed = true;
        while !self.schedule.is_finished() {
            assert!(self.ms < 10_000_000, "no end: {} chunks are pending", self.schedule.pending());
            if is_changed || self.ms.is_multiple_of(TICK_MS) {
                self.ask();
            }
            if self.ms.is_multiple_of(METER_MS) && self.ms > 0 {
                self.measure();
            }
            is_changed = false;
            for source in 0..self.sources.len() {
                let active = self.active(source);
                let bytes = (self.sources[source].rate)(self.ms) / 1000
                    + std::mem::take(&mut self.sources[source].spare);
                for (connection, others) in active.iter().zip((0..count(&active)).rev()) {
                    let share = bytes.div_ceil(count(&active)).min(bytes.saturating_sub(others));
                    let unused = self.receive(*connection, share);
                    received += share - unused.unwrap_or(0);
                    is_changed |= unused.is_some();
                    self.sources[source].spare += unused.unwrap_or(0);
                }
            }
            self.ms += 1;
        }
        assert!(self.is_there.iter().flatten().all(|is_there| *is_there));
        let wanted: u64 = self.sizes.iter().sum();
        Outcome { seconds: seconds(self.ms), received: ratio(received, wanted) }
    }

    /// The connections of a source that are receiving bytes.
    fn active(&self, source: usize) -> Vec<usize> {
        let is_active = |connection: &Connection| {
            let is_answered = |request: &Request| request.first_byte_ms <= self.ms;
            connection.source == source && connection.request.as_ref().is_some_and(is_answered)
        };
        (0..self.connections.len()).filter(|number| is_active(&self.connections[*number])).collect()
    }

    /// Gives work to every connection without a request.
    fn ask(&mut self) {
        let now = self.start + Duration::from_millis(self.ms);
        let rate_of = |source: SourceId| self.sources[source.number()].measured;
        let line = Line { rate_of: &rate_of, capacity: self.capacity };
        for connection in self.connections.iter_mut().filter(|connection| connection.request.is_none()) {
            let (id, source) = (connection.id, connection.source);
            let rate = self.sources[source].measured;
            let bytes = if rate == 0 { FIRST_REQUEST } else { rate.clamp(CHUNK, MAX_REQUEST) };
            let whole_files = self.sources[source].whole_files;
            let limits = Take { bytes, whole_files, only_stalled: false };
            let source = SourceId::new(source);
            let lease = self.schedule.take(id, source, limits, &|_| Eligible::All, &line, now);
            connection.request = lease.map(|lease| Request {
                lease: lease.id,
                file: lease.file,
                first_byte_ms: self.ms + self.latency_ms,
                at: if whole_files { 0 } else { lease.chunks.start * CHUNK },
                piece: piece(&lease.chunks, lease.chunks.start),
            });
        }
    }

    /// Receives bytes over a connection. If that ends its request, returns how many of them were not needed any more.
    fn receive(&mut self, connection: usize, bytes: u64) -> Option<u64> {
        let now = self.start + Duration::from_millis(self.ms);
        let connection = &mut self.connections[connection];
        let request = connection.request.as_mut()?;
        request.at += bytes;
        loop {
            let end = (request.piece.end * CHUNK).min(self.sizes[request.file]);
            if request.at < end {
                return None;
            }
            for chunk in request.piece.clone() {
                let is_there = &mut self.is_there[request.file][usize::try_from(chunk).unwrap()];
                let size = CHUNK.min(self.sizes[request.file] - chunk * CHUNK);
                self.sources[connection.source].given += if *is_there { 0 } else { size };
                *is_there = true;
            }
            self.schedule.done(request.lease, request.file, &request.piece, now);
            request.piece = piece(&self.schedule.extent(request.lease), request.piece.end);
            if request.piece.is_empty() {
                let unused = request.at - end;
                self.schedule.give_back(request.lease);
                connection.request = None;
                return Some(unused);
            }
        }
    }

    fn measure(&mut self) {
        for source in &mut self.sources {
            let rate = (source.given - source.given_before) * 1000 / METER_MS;
            source.given_before = source.given;
            let old = source.measured;
            source.measured = if old == 0 { rate } else { old - old / 5 + rate / 5 };
        }
        self.capacity = self.capacity.max(self.sources.iter().map(|source| source.measured).sum());
    }
}

/// The next chunks of a lease that are judged together.
fn piece(extent: &Range<u64>, from: u64) -> Range<u64> {
    let first = extent.start.max(from);
    first..extent.end.min(first + CHUNKS_OF_PIECE).max(first)
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap()
}

/// The file sizes of a model of `total` bytes in shards of 1 GiB.
fn shards(total: u64) -> Vec<u64> {
    const SHARD: u64 = 1024 * MIB;
    (0..total.div_ceil(SHARD)).map(|shard| SHARD.min(total - shard * SHARD)).collect()
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn ratio(part: u64, of: u64) -> f64 {
    Duration::from_micros(part).as_secs_f64() / Duration::from_micros(of).as_secs_f64()
}

const RATE: u64 = 100 * MIB;
const TOTAL: u64 = 6000 * MIB;
/// The time that two sources take, in seconds.
const OF_TWO: f64 = 30.0;
const CHUNK_SECONDS: f64 = 0.0025;

/// Checks the time of a model from sources that answer after 10 ms, with few connections to each and with many.
fn assert_takes(sizes: &[u64], sources: impl Fn() -> Vec<Source>, most: f64) {
    for connections_each in [2, 4, 8] {
        let outcome = Simulation::new(sizes.to_vec(), sources(), connections_each, 10).run();
        let Outcome { seconds, received } = outcome;
        assert!(seconds <= most, "{connections_each} connections each: {seconds} s, not {most}");
        // At most one chunk in a hundred is sent in vain.
        assert!(received <= 1.01, "{connections_each} connections each: {received} times the bytes");
    }
}

#[test]
fn a_source_that_becomes_slow_costs_nothing() {
    let slow = || changing(|ms| if ms < 7_000 { RATE } else { RATE / 100 });
    let left = TOTAL - 7 * 3 * RATE;
    let ideal = 7.0 + ratio(left, 2 * RATE + RATE / 100);
    assert_takes(&shards(TOTAL), || vec![steady(RATE), steady(RATE), slow()], ideal * 1.02);
    assert!(ideal * 1.02 <= OF_TWO * 1.05);
}

#[test]
fn a_source_that_becomes_slow_or_stalls_right_before_the_end_is_not_waited_for() {
    for rate in [RATE / 100, 0] {
        let third = || changing(move |ms| if ms < 19_900 { RATE } else { rate });
        assert_takes(&shards(TOTAL), || vec![steady(RATE), steady(RATE), third()], 20.05 + 1.0);
    }
}

#[test]
fn a_source_that_stalls_at_its_first_byte_costs_a_chunk_of_time() {
    let sources = || vec![steady(RATE), steady(RATE), steady(0)];
    assert_takes(&shards(TOTAL), sources, OF_TWO * 1.01 + CHUNK_SECONDS);
}

#[test]
fn equal_sources_end_together() {
    let sources = || (0..5).map(|_| steady(RATE)).collect();
    assert_takes(&shards(TOTAL), sources, ratio(TOTAL, 5 * RATE) * 1.015);
}

#[test]
fn sources_give_what_they_can() {
    let rates = [RATE, RATE, RATE / 2, RATE / 10, RATE / 100];
    let ideal = ratio(TOTAL, rates.iter().sum());
    assert_takes(&shards(TOTAL), || rates.map(steady).into(), ideal * 1.03);
}

#[test]
fn sources_that_pause_in_turn_are_not_waited_for() {
    let sources = || {
        let pausing =
            |turn: u64| changing(move |ms| if (ms + turn * 700) % 2000 < 1000 { 2 * RATE } else { 0 });
        (0..3).map(pausing).collect()
    };
    assert_takes(&shards(TOTAL), sources, ratio(TOTAL, 3 * RATE) * 1.03);
}

#[test]
fn a_source_of_whole_files_takes_its_share() {
    let whole = || Source { whole_files: true, ..steady(RATE) };
    let sources = || vec![steady(RATE), steady(RATE), whole()];
    let sizes = [300 * MIB; 20];
    let outcome = Simulation::new(sizes.to_vec(), sources(), 2, 10).run();
    assert!(outcome.seconds <= 20.0 * 1.03, "{} s", outcome.seconds);
    assert!(outcome.received <= 1.03, "{} times the bytes", outcome.received);
    // A whole-file source can also finish alone what others have begun.
    let outcome = Simulation::new(vec![100 * MIB; 6], vec![steady(0), whole()], 2, 10).run();
    assert!(outcome.seconds <= 6.0 * 1.05, "{} s", outcome.seconds);
}

#[test]
fn ten_thousand_files_of_one_chunk_come_at_full_rate() {
    let sources = || (0..3).map(|_| steady(RATE)).collect::<Vec<_>>();
    for connections_each in [1, 4] {
        let outcome = Simulation::new(vec![CHUNK; 10_000], sources(), connections_each, 0).run();
        assert!(outcome.seconds <= ratio(10_000 * CHUNK, 3 * RATE) * 1.01, "{} s", outcome.seconds);
        assert!(outcome.received <= 1.01, "{} times the bytes", outcome.received);
    }
    // Where each answer takes longer than its chunk, the answer time decides.
    let outcome = Simulation::new(vec![CHUNK; 10_000], sources(), 4, 50).run();
    let answers = 10_000.0 / 12.0 * (0.050 + 4.0 * CHUNK_SECONDS);
    assert!(outcome.seconds <= answers * 1.01, "{} s", outcome.seconds);
}
