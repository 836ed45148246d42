//! Adapters with their bases, and pipelines of models.

use super::{Draft, USUAL, diurnal};
use crate::node::{
    catalogue,
    random::{Weights, zipf},
};

/// The requests that an arrival makes, on average: a session 3, a pipeline 3, anything else 1.
const ASKS: f64 = 2.5;

impl Draft {
    /// 6 % of the models are bases, 60 % adapters. Half of the arrivals are sessions, a quarter pipelines.
    pub(super) fn adapters(&mut self) {
        let names = self.shape.names;
        let bases = names * 6 / 100;
        let rest = bases + names * 6 / 10;
        for model in &mut self.models[..bases] {
            *model = catalogue::base(&mut self.random);
        }
        let of_base = Weights::new(zipf(bases, USUAL));
        for model in bases..rest {
            let base = of_base.draw(&mut self.random);
            self.models[model] = catalogue::adapter(base, self.models[base], &mut self.random);
        }
        let weights = self.popularity(rest - bases, USUAL);
        let adapters = Weights::new(weights.iter().copied());
        let siblings = self.siblings(bases, rest, &weights);
        let others = Weights::new(self.popularity(names - rest, USUAL));
        let mut in_pipelines: Vec<usize> = (rest..names).collect();
        self.random.shuffle(&mut in_pipelines);
        let pipelines: Vec<&[usize]> = in_pipelines.chunks_exact(3).collect();
        let pipeline = Weights::new(zipf(pipelines.len(), USUAL));
        for at in self.arrivals(self.shape.a_day / ASKS, diurnal) {
            match self.random.below(4) {
                0 | 1 => {
                    let adapter = bases + adapters.draw(&mut self.random);
                    self.session(at, adapter, &siblings);
                }
                2 => {
                    let mut at = at;
                    for model in pipelines[pipeline.draw(&mut self.random)] {
                        self.ask(at, *model);
                        at += self.random.between(60.0, 900.0);
                    }
                }
                _ => {
                    let model = rest + others.draw(&mut self.random);
                    self.ask(at, model);
                }
            }
        }
    }

    /// A session asks for an adapter, for its base some seconds later, and often for other adapters of the base.
    fn session(&mut self, at: f64, adapter: usize, siblings: &[(Vec<usize>, Weights)]) {
        self.ask(at, adapter);
        let Some(base) = self.models[adapter].base else { return };
        let soon = at + self.random.between(1.0, 10.0);
        self.ask(soon, base);
        let mut later = at;
        while self.random.happens(0.5) {
            later += self.random.between(300.0, 2400.0);
            let (adapters, weights) = &siblings[base];
            let other = adapters[weights.draw(&mut self.random)];
            self.ask(later, other);
        }
    }

    /// The adapters of each base, and how popular they are.
    fn siblings(&self, bases: usize, rest: usize, weights: &[f64]) -> Vec<(Vec<usize>, Weights)> {
        let of = |base| {
            let adapters: Vec<usize> =
                (bases..rest).filter(|adapter| self.models[*adapter].base == Some(base)).collect();
            let weights = Weights::new(adapters.iter().map(|adapter| weights[adapter - bases]));
            (adapters, weights)
        };
        (0..bases).map(of).collect()
    }
}
