//! Policies that keep what is used often, and age what is not: LFU-DA and GDSF (Arlitt et al. 2000, Cherkasova 1998).

use super::{Policy, least, whole};
use crate::node::{Room, Shelf, trace::Trace};

/// The key of a model is the age of the cache when it was last used, and its uses since it came, times the seconds of a
/// byte for GDSF. The least key goes, and becomes the age.
#[derive(Debug)]
pub struct Greedy {
    uses: Vec<f64>,
    keys: Vec<f64>,
    /// The measured seconds of a byte.
    seconds: Vec<f64>,
    age: f64,
    has_costs: bool,
}

impl Greedy {
    /// Least frequently used, with dynamic ageing.
    #[must_use]
    pub fn lfu_da(trace: &Trace) -> Self {
        Self::new(trace, false)
    }

    /// Greedy-Dual-Size-Frequency.
    #[must_use]
    pub fn gdsf(trace: &Trace) -> Self {
        Self::new(trace, true)
    }

    fn new(trace: &Trace, has_costs: bool) -> Self {
        let zero = vec![0.0; trace.models.len()];
        // The cost before any is measured: 500 MB a second.
        let seconds = vec![2.0; trace.models.len()];
        Self { uses: zero.clone(), keys: zero, seconds, age: 0.0, has_costs }
    }
}

impl Policy for Greedy {
    fn asked(&mut self, model: usize, shelf: &Shelf) -> Room {
        if shelf.room(model) == 0 {
            self.uses[model] = 0.0;
        }
        self.uses[model] += 1.0;
        let (keys, mut age) = (&self.keys, self.age);
        let room = whole(model, shelf, |may_go| {
            let gone = least(keys, may_go)?;
            age = age.max(keys[gone]);
            Some(gone)
        });
        self.age = age;
        let cost = if self.has_costs { self.seconds[model] } else { 1.0 };
        self.keys[model] = age + self.uses[model] * cost;
        room
    }

    fn fetched(&mut self, model: usize, bytes: u64, seconds: f64, _shelf: &Shelf) {
        if bytes > 0 {
            self.seconds[model] = seconds / bytes as f64 * 1e9;
        }
    }
}
