//! The least recently used model goes.

use super::{Policy, least, whole};
use crate::node::{Room, Shelf, trace::Trace};

/// Least recently used.
#[derive(Debug)]
pub struct Lru {
    last: Vec<f64>,
}

impl Lru {
    /// Nothing has been used yet.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        Self { last: vec![0.0; trace.models.len()] }
    }
}

impl Policy for Lru {
    fn asked(&mut self, model: usize, shelf: &Shelf) -> Room {
        self.last[model] = shelf.now;
        whole(model, shelf, |may_go| least(&self.last, may_go))
    }
}
