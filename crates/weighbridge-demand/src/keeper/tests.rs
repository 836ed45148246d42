//! Decisions, and what comes of them.

mod ahead;
mod kept;
mod properties;
mod records;

use super::*;
use crate::{Cause, Signal};

/// Friday, 2026-10-30, at midnight: the first days are of both kinds.
const START: u64 = 1_793_318_400;
const GB: u64 = 1_000_000_000;

/// Days, hours and minutes after that Friday.
fn at(day: u64, hour: u64, minute: u64) -> Duration {
    Duration::from_secs(START + day * 86_400 + hour * 3600 + minute * 60)
}

fn release(name: &str) -> Release {
    let head = name.bytes().fold([0; 32], |mut head, byte| {
        head.rotate_left(1);
        head[31] ^= byte;
        head
    });
    Release::new(ModelName::parse(name).unwrap(), HeadId::from_bytes(head))
}

/// A node that carries out what its keeper decides, and whose fetches take a second for each gigabyte.
struct Toy {
    keeper: Keeper,
    /// The bytes on the disk.
    disk: BTreeMap<Release, u64>,
    sizes: BTreeMap<Release, u64>,
}

impl Toy {
    fn new(budget: u64) -> Self {
        Self { keeper: Keeper::new(budget, at(0, 0, 0)), disk: BTreeMap::new(), sizes: BTreeMap::new() }
    }

    /// A node on which these releases are known, with their sizes in gigabytes.
    fn with(budget: u64, releases: &[(&str, u64)]) -> Self {
        let mut toy = Self::new(budget * GB);
        for (name, size) in releases {
            toy.sizes.insert(release(name), size * GB);
            toy.keeper.described(&release(name), size * GB, None, at(0, 0, 0));
        }
        toy
    }

    /// Lets the time pass on a node that is running.
    fn pass(&mut self, until: Duration) {
        while self.keeper.wakes() <= until {
            let next = self.keeper.wakes();
            self.keeper.pass(next);
        }
        self.keeper.pass(until);
    }

    fn evict(&mut self, evictions: &[Eviction]) {
        for eviction in evictions {
            let held = self.disk.entry(eviction.release.clone()).or_default();
            *held = 0;
        }
    }

    /// A reader asks, is served and goes.
    fn ask(&mut self, name: &str, now: Duration) -> Answer {
        self.pass(now);
        let release = release(name);
        let answer = self.keeper.asked(&release, None, now);
        match &answer {
            Answer::Held { evict } => self.evict(evict),
            Answer::Fetch { keep, evict } => {
                self.evict(evict);
                let missing = self.sizes[&release] - self.held(name);
                if *keep {
                    self.come(&release, self.sizes[&release]);
                }
                self.keeper.fetched(&release, missing, Duration::from_secs(missing.div_ceil(GB)), now);
            }
        }
        self.keeper.served(&release, self.sizes[&release], Duration::ZERO);
        self.keeper.closed(&release);
        answer
    }

    /// Fetches ahead what the keeper says, to the end.
    fn ahead(&mut self, now: Duration) -> Option<Prefetch> {
        let prefetch = self.begin_ahead(now)?;
        let size = self.sizes[&prefetch.release];
        self.come(&prefetch.release, size);
        self.keeper.fetched(&prefetch.release, size, Duration::from_secs(1), now);
        Some(prefetch)
    }

    /// Begins what the keeper says.
    fn begin_ahead(&mut self, now: Duration) -> Option<Prefetch> {
        self.pass(now);
        let prefetch = self.keeper.fetch_ahead(now)?;
        self.evict(&prefetch.evict);
        Some(prefetch)
    }

    fn come(&mut self, release: &Release, bytes: u64) {
        self.disk.insert(release.clone(), bytes);
        self.keeper.holds(release, bytes, self.keeper.now);
    }

    fn held(&self, name: &str) -> u64 {
        self.disk.get(&release(name)).copied().unwrap_or(0)
    }

    fn account(&self, signal: Signal) -> crate::Account {
        self.keeper.plan().accounts.into_iter().find(|account| account.signal == signal).unwrap()
    }
}
