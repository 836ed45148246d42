//! The keeper of a node.

use std::{collections::BTreeMap, time::Duration};

use weighbridge_demand::{Answer, Eviction, Keeper, Release};
use weighbridge_manifest::ModelName;
use weighbridge_tree::HeadId;

use super::Policy;
use crate::node::{Room, Shelf, trace::Trace};

/// A [`Keeper`], and the releases that the models of a trace are for it.
#[derive(Debug)]
pub struct Kept {
    keeper: Keeper,
    releases: Vec<Release>,
    positions: BTreeMap<Release, usize>,
    fetches_ahead: bool,
}

impl Kept {
    /// A keeper that knows nothing of the trace but its budget.
    #[must_use]
    pub fn new(trace: &Trace, fetches_ahead: bool) -> Self {
        let releases: Vec<Release> = (0..trace.models.len()).map(release).collect();
        let positions = releases.iter().cloned().zip(0..).collect();
        Self { keeper: Keeper::new(trace.budget, time(0.0)), releases, positions, fetches_ahead }
    }

    /// The keeper.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Tells what the head of a model says.
    fn describe(&mut self, model: usize, shelf: &Shelf) {
        let base = shelf.models[model].base.map(|base| &self.releases[base]);
        self.keeper.described(&self.releases[model], shelf.models[model].bytes, base, time(shelf.now));
    }

    fn cuts(&self, evictions: &[Eviction]) -> Vec<(usize, u64)> {
        evictions.iter().map(|eviction| (self.positions[&eviction.release], 0)).collect()
    }
}

impl Policy for Kept {
    fn asked(&mut self, model: usize, shelf: &Shelf) -> Room {
        self.describe(model, shelf);
        match self.keeper.asked(&self.releases[model], None, time(shelf.now)) {
            Answer::Held { .. } => Room { keep: shelf.models[model].bytes, cut: Vec::new() },
            Answer::Fetch { keep, evict } => {
                let keep = if keep { shelf.models[model].bytes } else { shelf.held(model) };
                Room { keep, cut: self.cuts(&evict) }
            }
        }
    }

    fn revised(&mut self, new: usize, old: usize, shelf: &Shelf) {
        self.describe(new, shelf);
        self.keeper.revised(&self.releases[new], &self.releases[old], time(shelf.now));
    }

    fn came(&mut self, model: usize, shelf: &Shelf) {
        self.keeper.holds(&self.releases[model], shelf.held(model), time(shelf.now));
    }

    fn fetched(&mut self, model: usize, bytes: u64, seconds: f64, shelf: &Shelf) {
        self.came(model, shelf);
        let took = Duration::from_secs_f64(seconds);
        self.keeper.fetched(&self.releases[model], bytes, took, time(shelf.now));
    }

    fn closed(&mut self, model: usize) {
        self.keeper.closed(&self.releases[model]);
    }

    fn ahead(&mut self, shelf: &Shelf) -> Option<(usize, Room)> {
        if !self.fetches_ahead {
            return None;
        }
        let prefetch = self.keeper.fetch_ahead(time(shelf.now))?;
        let model = self.positions[&prefetch.release];
        Some((model, Room { keep: shelf.models[model].bytes, cut: self.cuts(&prefetch.evict) }))
    }

    fn wakes(&self, _shelf: &Shelf) -> f64 {
        if self.fetches_ahead { (self.keeper.wakes() - time(0.0)).as_secs_f64() } else { f64::INFINITY }
    }
}

/// The start of all traces, in seconds since the Unix epoch: a Monday, at midnight.
const START: u64 = 1_793_577_600;

/// The time so many seconds after the start.
fn time(seconds: f64) -> Duration {
    Duration::from_secs(START) + Duration::from_secs_f64(seconds)
}

#[allow(clippy::expect_used, reason = "the name is well-formed, and nobody would take the error")]
fn release(model: usize) -> Release {
    let name = ModelName::parse(&format!("bench/model-{model:04}")).expect("a name");
    let mut head = [0; 32];
    head[..8].copy_from_slice(&(model as u64).to_le_bytes());
    Release::new(name, HeadId::from_bytes(head))
}
