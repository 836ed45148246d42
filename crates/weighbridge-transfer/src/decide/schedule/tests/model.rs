//! Random steps, checked against a model that tracks each chunk by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index};

use super::{CHUNK, ConnectionId, Eligible, LeaseId, LeaseKind, Line, Schedule, Take, WishId, set_of};
use crate::{event::SourceId, guide::NamedRun, ranges::RangeSet};

const FILES: usize = 4;
const SOURCES: usize = 3;
const CONNECTIONS: usize = 7;

/// A schedule and its connections: connection `n` is of source `n % SOURCES`, and the last source gives whole files.
struct World {
    schedule: Schedule,
    counts: [u64; FILES],
    /// The chunks that each source may not serve.
    denied: [BTreeSet<Chunk>; SOURCES],
    rates: [u64; SOURCES],
    leases: [Option<(LeaseId, usize)>; CONNECTIONS],
    ended: Vec<(LeaseId, usize)>,
    /// The chunks that somebody waits for.
    wishes: Vec<(WishId, BTreeSet<Chunk>)>,
    now: Instant,
    /// The chunks that were added, tracked by the model.
    added: BTreeSet<Chunk>,
    done: BTreeSet<Chunk>,
}

type Chunk = (usize, u64);

/// The leases that have each chunk; a chunk without any is pending.
type States = BTreeMap<Chunk, BTreeSet<LeaseId>>;

#[derive(Clone, Debug)]
enum Step {
    Add(usize, Range<u64>),
    Take(usize, u64),
    /// A connection takes what a guide names: chunks of a file, perhaps as a copy.
    TakeNamed(usize, usize, Range<u64>, bool),
    /// A guide begins to direct the fetch.
    Shorten,
    /// Somebody waits for chunks of a file.
    Wish(usize, Range<u64>),
    /// Nobody waits any more for those that were wished for first.
    EndWish,
    /// A connection brings chunks: which connection, how many, and their offset from the front of what is left of its
    /// lease.
    Bring(usize, u64, u64),
    GiveBack(usize),
    /// Chunks are accepted after their lease was given back.
    BringLate(Index, u64, u64),
    Rate(usize, u64),
    Forbid(usize, usize),
    /// A source may serve these chunks of a file from now on.
    Allow(usize, usize, Range<u64>),
    /// A connection brings chunks that are not the signed ones.
    Refuse(usize, u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let run = || (0..20_u64, 0..20_u64).prop_map(|(start, len)| start..start + len);
    let rate = prop_oneof![Just(0), Just(1), 1_000..1_000_000_000_u64];
    let connection = || 0..CONNECTIONS;
    prop_oneof![
        4 => (0..FILES, run()).prop_map(|(file, run)| Step::Add(file, run)),
        12 => (connection(), 0..8_u64).prop_map(|(connection, most)| Step::Take(connection, most)),
        6 => (connection(), 0..FILES, run(), any::<bool>())
            .prop_map(|(connection, file, run, is_copy)| Step::TakeNamed(connection, file, run, is_copy)),
        1 => Just(Step::Shorten),
        1 => (0..FILES, run()).prop_map(|(file, run)| Step::Wish(file, run)),
        1 => Just(Step::EndWish),
        12 => (connection(), 1..5_u64, prop_oneof![9 => Just(0), 1 => 0..4_u64])
            .prop_map(|(connection, count, skip)| Step::Bring(connection, count, skip)),
        4 => connection().prop_map(Step::GiveBack),
        1 => (any::<Index>(), 0..20_u64, 1..4_u64).prop_map(|(at, from, count)| Step::BringLate(at, from, count)),
        2 => (0..SOURCES, rate).prop_map(|(source, rate)| Step::Rate(source, rate)),
        1 => (0..SOURCES, 0..FILES).prop_map(|(source, file)| Step::Forbid(source, file)),
        1 => (0..SOURCES, 0..FILES, run()).prop_map(|(source, file, run)| Step::Allow(source, file, run)),
        2 => (connection(), 1..4_u64).prop_map(|(connection, count)| Step::Refuse(connection, count)),
        4 => (0..5_000_u64).prop_map(Step::Wait),
    ]
}

fn counts() -> impl Strategy<Value = [u64; FILES]> {
    let count = prop_oneof![0..3_u64, 0..30_u64];
    [count.clone(), count.clone(), count.clone(), count]
}

impl World {
    fn new(counts: [u64; FILES], grain: u64) -> Self {
        Self {
            schedule: Schedule::new(CHUNK, grain),
            counts,
            denied: [const { BTreeSet::new() }; SOURCES],
            rates: [0; SOURCES],
            leases: [None; CONNECTIONS],
            ended: Vec::new(),
            wishes: Vec::new(),
            now: Instant::now(),
            added: BTreeSet::new(),
            done: BTreeSet::new(),
        }
    }

    fn chunks(&self, file: usize, run: &Range<u64>) -> BTreeSet<Chunk> {
        run.clone().filter(|chunk| *chunk < self.counts[file]).map(|chunk| (file, chunk)).collect()
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Add(file, run) => self.add(file, &run),
            Step::Take(connection, most) => self.take(connection, most * CHUNK),
            Step::TakeNamed(connection, file, chunks, is_copy) => {
                self.take_named(connection, &NamedRun { file, chunks, is_copy, claim: None });
            }
            Step::Shorten => self.shorten(),
            Step::Wish(file, run) => {
                let before = self.states();
                let wish = self.schedule.wish(file, run.clone());
                assert!(self.states().keys().eq(before.keys()), "no chunk is lost");
                self.wishes.push((wish, self.chunks(file, &run)));
            }
            Step::EndWish => {
                if !self.wishes.is_empty() {
                    self.schedule.end_wish(self.wishes.remove(0).0);
                }
            }
            Step::Bring(connection, count, skip) => {
                let Some(lease) = self.leases[connection] else { return };
                let from = self.schedule.extent(lease.0).start + skip;
                self.bring(lease, from..from + count);
            }
            Step::GiveBack(connection) => self.give_back(connection),
            Step::BringLate(at, from, count) => {
                if !self.ended.is_empty() {
                    self.bring(*at.get(&self.ended), from..from + count);
                }
            }
            Step::Rate(source, rate) => self.rates[source] = rate,
            Step::Forbid(source, file) => {
                let all = self.chunks(file, &(0..self.counts[file]));
                self.denied[source].extend(all);
                // The fetch does the same: a source that lacks a file is not asked for the rest of it.
                for connection in (source..CONNECTIONS).step_by(SOURCES) {
                    self.give_back(connection);
                }
            }
            Step::Allow(source, file, run) => {
                let allowed = self.chunks(file, &run);
                self.denied[source].retain(|chunk| !allowed.contains(chunk));
                self.schedule.look_again();
            }
            Step::Refuse(connection, count) => {
                let Some((lease, file)) = self.leases[connection] else { return };
                let left = self.schedule.extent(lease);
                let run = left.start..left.end.min(left.start + count);
                self.denied[connection % SOURCES].extend(self.chunks(file, &run));
                self.schedule.refuse(lease, &run);
            }
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
        }
    }

    fn eligible(&self, source: usize, file: usize) -> Eligible {
        let mut except = RangeSet::default();
        let denied = self.denied[source].range((file, 0)..(file + 1, 0));
        denied.for_each(|(_, chunk)| except.insert(*chunk..chunk + 1));
        if except.is_empty() { Eligible::All } else { Eligible::Except(except) }
    }

    fn add(&mut self, file: usize, run: &Range<u64>) {
        let run = run.start..run.end.min(self.counts[file]);
        self.added.extend(self.chunks(file, &run));
        self.schedule.add(file, &set_of(run));
    }

    fn bring(&mut self, (lease, file): (LeaseId, usize), chunks: Range<u64>) {
        self.done.extend(self.chunks(file, &chunks));
        self.schedule.done(lease, file, &chunks, self.now);
    }

    fn give_back(&mut self, connection: usize) {
        if let Some((lease, file)) = self.leases[connection].take() {
            self.schedule.give_back(lease);
            let once = self.states();
            self.schedule.give_back(lease);
            assert_eq!(self.states(), once);
            assert_eq!(self.schedule.extent(lease), 0..0);
            self.ended.push((lease, file));
        }
    }

    /// Takes a lease, and checks the result.
    fn take(&mut self, connection: usize, bytes: u64) {
        self.give_back(connection);
        let before = self.states();
        let source = connection % SOURCES;
        let limits = Take { bytes, whole_files: source == SOURCES - 1, only_stalled: false };
        let rates = self.rates;
        let number = ConnectionId(u64::try_from(connection).unwrap());
        let eligible: Vec<_> = (0..FILES).map(|file| self.eligible(source, file)).collect();
        let may = |chunk: &Chunk| !self.denied[source].contains(chunk);
        let rate_of = |source: SourceId| rates[source.number()];
        let line = Line { rate_of: &rate_of, capacity: 0 };
        let lease = self.schedule.take(
            number,
            SourceId::new(source),
            limits,
            &|file| eligible[file].clone(),
            &line,
            self.now,
        );
        let servable = |(chunk, leases): (&Chunk, &BTreeSet<LeaseId>)| leases.is_empty() && may(chunk);
        let first_servable = before.iter().find(|state| servable(*state)).map(|(chunk, _)| *chunk);
        let Some(lease) = lease else {
            assert_eq!(first_servable, None, "there was something to fetch");
            assert_eq!(self.states(), before);
            return;
        };
        assert_eq!(self.schedule.extent(lease.id), lease.chunks);
        assert_eq!(lease.kind == LeaseKind::Fresh, first_servable.is_some());
        let mut after = self.states();
        let mine: BTreeSet<Chunk> =
            after.iter().filter(|(_, leases)| leases.contains(&lease.id)).map(|(chunk, _)| *chunk).collect();
        assert_eq!(mine.first(), Some(&(lease.file, lease.chunks.start)));
        assert_eq!(mine.last(), Some(&(lease.file, lease.chunks.end - 1)));
        if !limits.whole_files {
            assert_eq!(mine, self.chunks(lease.file, &lease.chunks));
            assert!(lease.chunks.end - lease.chunks.start <= (bytes / CHUNK).max(self.schedule.grain));
            let wished: Vec<Chunk> = self
                .wishes
                .iter()
                .filter_map(|(_, chunks)| {
                    chunks
                        .iter()
                        .find(|chunk| before.get(chunk).is_some_and(|owners| owners.is_empty()) && may(chunk))
                })
                .copied()
                .collect();
            let first = mine.first();
            assert!(
                lease.kind != LeaseKind::Fresh
                    || if wished.is_empty() {
                        first == first_servable.as_ref()
                    } else {
                        wished.iter().any(|chunk| first == Some(chunk))
                    },
                "the first chunk of a wish goes first, else the first of all"
            );
        }
        assert!(mine.iter().all(may), "a chunk that the source may not serve");
        for chunk in &mine {
            let owners = &before[chunk];
            match lease.kind {
                LeaseKind::Fresh => assert!(owners.is_empty()),
                LeaseKind::Stolen => {
                    assert!(!owners.is_empty());
                    assert_eq!(after[chunk].len(), owners.len(), "taken, not copied");
                    let victim = owners.difference(&after[chunk]).next().unwrap();
                    let left = self.schedule.extent(*victim);
                    let is_cut = !left.is_empty() && left.end <= lease.chunks.start;
                    assert!(is_cut || owners.len() == 2, "from its end, and not all of it");
                }
                LeaseKind::Hedge => {
                    assert_eq!(owners.len(), 1);
                    assert!(mine.len() <= usize::try_from(self.schedule.grain).unwrap());
                    assert!(after[chunk].is_superset(owners));
                }
            }
            // All other chunks are as before.
            after.insert(*chunk, owners.clone());
        }
        assert_eq!(after, before);
        self.leases[connection] = Some((lease.id, lease.file));
    }

    /// Takes a lease of named chunks, and checks the result.
    fn take_named(&mut self, connection: usize, named: &NamedRun) {
        self.give_back(connection);
        let before = self.states();
        let source = connection % SOURCES;
        let number = ConnectionId(u64::try_from(connection).unwrap());
        let eligible = self.eligible(source, named.file);
        let lease = self.schedule.take_named(number, SourceId::new(source), named, &eligible, self.now);
        let may = |chunk: &Chunk| {
            chunk.0 == named.file && named.chunks.contains(&chunk.1) && !self.denied[source].contains(chunk)
        };
        let first = |owners: usize| {
            before
                .iter()
                .find(|(chunk, leases)| leases.len() == owners && may(chunk))
                .map(|(chunk, _)| *chunk)
        };
        let expected = first(0).or(if named.is_copy { first(1) } else { None });
        let Some(lease) = lease else {
            assert_eq!(expected, None, "there was something to fetch");
            assert_eq!(self.states(), before);
            return;
        };
        assert_eq!(Some((lease.file, lease.chunks.start)), expected);
        assert_eq!(lease.kind == LeaseKind::Fresh, first(0).is_some());
        let mine = self.chunks(lease.file, &lease.chunks);
        assert!(!mine.is_empty() && mine.iter().all(may), "a chunk that was not named, or not to be served");
        let mut after = self.states();
        for chunk in &mine {
            let owners = &before[chunk];
            assert_eq!(owners.len(), usize::from(lease.kind == LeaseKind::Hedge));
            let mut with = owners.clone();
            with.insert(lease.id);
            assert_eq!(after.insert(*chunk, owners.clone()), Some(with));
        }
        assert_eq!(after, before, "all other chunks are as before");
        self.leases[connection] = Some((lease.id, lease.file));
    }

    /// Leaves each lease its first chunks.
    fn shorten(&mut self) {
        let before = self.states();
        let grain = self.schedule.grain;
        self.schedule.shorten();
        let after = self.states();
        assert!(after.keys().eq(before.keys()), "no chunk is lost");
        for (lease, _) in self.leases.iter().flatten() {
            let had: Vec<Chunk> =
                before.iter().filter(|(_, leases)| leases.contains(lease)).map(|(chunk, _)| *chunk).collect();
            let kept: Vec<Chunk> =
                after.iter().filter(|(_, leases)| leases.contains(lease)).map(|(chunk, _)| *chunk).collect();
            let in_hand = had.first().map_or(0, |first| first.1 + grain);
            assert!(kept.iter().eq(had.iter().filter(|chunk| chunk.1 < in_hand)), "{had:?} became {kept:?}");
        }
    }

    /// The leases of each chunk, as the schedule sees them.
    fn states(&self) -> States {
        let mut states = States::new();
        for (file, pending) in &self.schedule.pending {
            states.extend(pending.iter().flatten().map(|chunk| ((*file, chunk), BTreeSet::new())));
        }
        for (id, running) in &self.schedule.leases {
            for chunk in running.chunks.iter().flatten() {
                let pending = &self.schedule.pending.get(&running.file);
                assert!(
                    !pending.is_some_and(|pending| pending.contains_range(&(chunk..chunk + 1))),
                    "leased and pending"
                );
                states.entry((running.file, chunk)).or_default().insert(*id);
            }
        }
        states
    }

    fn check(&self) {
        let states = self.states();
        let open: BTreeSet<Chunk> = self.added.difference(&self.done).copied().collect();
        assert_eq!(states.keys().copied().collect::<BTreeSet<_>>(), open);
        assert!(states.values().all(|leases| leases.len() <= 2), "three copies");
        let pending = states.iter().filter(|(_, leases)| leases.is_empty());
        let files: BTreeSet<usize> = pending.clone().map(|(chunk, _)| chunk.0).collect();
        let pending = u64::try_from(pending.count()).unwrap();
        let schedule = &self.schedule;
        assert_eq!(schedule.pending(), pending);
        assert_eq!(schedule.outstanding() + pending, u64::try_from(states.len()).unwrap());
        assert_eq!(schedule.is_finished(), states.is_empty());
        assert!(schedule.pending_files().eq(files.iter().copied()));
        let leased: BTreeSet<LeaseId> = states.into_values().flatten().collect();
        assert_eq!(schedule.oldest().is_some(), !leased.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_chunk_is_pending_leased_or_done(counts in counts(), grain in 1..5_u64, steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new(counts, grain);
        for step in steps {
            world.apply(step);
            world.check();
        }
    }

    /// Connection 0 brings a chunk in each round. The other connections act at random, and so do the reported rates.
    #[test]
    fn one_source_that_delivers_is_enough(
        counts in counts(),
        grain in 1..5_u64,
        good in 0..SOURCES,
        rates in [0..=2_000_000_u64, 0..=2_000_000_u64, 0..=2_000_000_u64],
        mut steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(counts, grain);
        world.rates = rates;
        for file in 0..FILES {
            world.add(file, &(0..30));
        }
        // Enough rounds for each chunk to come, and for the longest patience with each connection.
        let mut rounds = 4 * 31 * u32::try_from(FILES).unwrap() + 1_000;
        while !world.schedule.is_finished() {
            rounds -= 1;
            prop_assert!(rounds > 0, "no end: {:?}", world.states());
            world.now += Duration::from_millis(200);
            match world.leases[good].map(|lease| (lease, world.schedule.extent(lease.0))) {
                Some((lease, left)) if !left.is_empty() => world.bring(lease, left.start..left.start + 1),
                _ => world.take(good, 4 * CHUNK),
            }
            match steps.pop() {
                Some(Step::Forbid(source, _)) if source == good => {}
                Some(Step::Refuse(connection, _)) if connection % SOURCES == good => {}
                Some(Step::GiveBack(connection) | Step::Take(connection, _)) if connection == good => {}
                Some(step) => world.apply(step),
                None => {}
            }
            world.check();
        }
    }
}
