//! A policy that knows all requests to come.

use super::Policy;
use crate::node::{
    Room, Shelf,
    trace::{Trace, What},
};

/// Keeps by the seconds that a byte saves, for each second until its model is asked for next; and fetches ahead the model
/// whose fetch would have to begin first to be there in time, if it saves more than what goes for it.
///
/// No better policy is known to us for models of different sizes, from different origins, over one line; that none is
/// better is not proven.
#[derive(Debug)]
pub struct Oracle {
    asks: Vec<Vec<f64>>,
    /// The requests of each model that are over.
    past: Vec<usize>,
    fetches_ahead: bool,
}

/// The models whose fetches would have to begin first, which are tried.
const TRIED: usize = 8;

impl Oracle {
    /// Knows this trace.
    #[must_use]
    pub fn new(trace: &Trace, fetches_ahead: bool) -> Self {
        let mut asks = vec![Vec::new(); trace.models.len()];
        for event in trace.events.iter().filter(|event| event.what == What::Ask) {
            asks[event.model].push(event.at);
        }
        Self { past: vec![0; asks.len()], asks, fetches_ahead }
    }

    /// When a model is asked for next.
    fn next(&self, model: usize) -> f64 {
        self.asks[model].get(self.past[model]).copied().unwrap_or(f64::INFINITY)
    }

    fn worth(&self, model: usize, shelf: &Shelf) -> f64 {
        1.0 / shelf.models[model].rate / (self.next(model) - shelf.now).max(1.0)
    }

    /// The seconds that the missing bytes of a model take.
    fn takes(model: usize, shelf: &Shelf) -> f64 {
        let missing = shelf.models[model].bytes - shelf.held(model);
        missing as f64 / shelf.models[model].rate
    }

    /// Room for a model, from those that are worth less.
    fn room(&self, model: usize, worth: f64, shelf: &Shelf) -> Room {
        let want = shelf.models[model].bytes - shelf.room(model);
        let mut need = want.saturating_sub(shelf.free());
        let mut cut = Vec::new();
        let others = (0..shelf.models.len()).filter(|other| *other != model && shelf.may_go(*other));
        let mut others: Vec<(f64, usize)> = others.map(|other| (self.worth(other, shelf), other)).collect();
        others.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (_, other) in others.into_iter().take_while(|other| other.0 < worth) {
            if need == 0 {
                break;
            }
            let taken = need.min(shelf.room(other));
            cut.push((other, shelf.room(other) - taken));
            need -= taken;
        }
        Room { keep: shelf.models[model].bytes - need, cut }
    }
}

impl Policy for Oracle {
    fn asked(&mut self, model: usize, shelf: &Shelf) -> Room {
        self.past[model] += 1;
        self.room(model, self.worth(model, shelf), shelf)
    }

    fn ahead(&mut self, shelf: &Shelf) -> Option<(usize, Room)> {
        if !self.fetches_ahead {
            return None;
        }
        let missing = |model: &usize| shelf.is_missing(*model) && self.next(*model).is_finite();
        let begins = |model: usize| (self.next(model) - Self::takes(model, shelf), model);
        let mut wanted: Vec<_> = (0..shelf.models.len()).filter(missing).map(begins).collect();
        wanted.sort_by(|one, other| one.0.total_cmp(&other.0));
        wanted.into_iter().take(TRIED).find_map(|(_, model)| {
            // Bytes that do not come in time save less.
            let in_time = ((self.next(model) - shelf.now) / Self::takes(model, shelf)).min(1.0);
            let room = self.room(model, self.worth(model, shelf) * in_time, shelf);
            (room.keep > shelf.held(model) + LEAST).then_some((model, room))
        })
    }
}

/// Fewer bytes are not worth a fetch.
const LEAST: u64 = 1_000_000;
