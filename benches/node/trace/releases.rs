//! New revisions of models, and new models.

use super::{DAY, Draft, Event, HOUR, USUAL, What, diurnal};
use crate::node::random::Weights;

/// The new revisions of a day.
const A_DAY: f64 = 4.0;
/// The seconds within which the node, and its users, hear of a release.
const HEARD: f64 = 900.0;
/// The mean seconds after which a user takes a new revision.
const TAKEN_UP: f64 = 4.0 * HOUR;

/// The revisions of a model, the oldest first: when each came out, and its position.
type Revisions = Vec<(f64, usize)>;

impl Draft {
    /// Popular models have more revisions. Every twentieth model comes out during the trace, with a burst that nothing
    /// foretells.
    pub(super) fn releases(&mut self) {
        let names = self.shape.names;
        let old = names - names / 20;
        let weights = self.popularity(names, USUAL);
        let popular = Weights::new(weights[..old].iter().copied());
        let revisions = self.revisions(&popular, old);
        for at in self.arrivals(self.shape.a_day * 0.85, diurnal) {
            let name = popular.draw(&mut self.random);
            let model = self.taken(&revisions[name], at);
            self.ask(at, model);
        }
        // After a release, users restart: as many requests more as on a usual day, in the first hours.
        let a_day = |name: usize| self.shape.a_day * weights[name] / popular.total();
        let usual: Vec<f64> = (0..names).map(a_day).collect();
        for (name, revisions) in revisions.iter().enumerate() {
            for (since, model) in &revisions[1..] {
                let burst = (usual[name] * self.random.between(0.5, 1.5)).ceil() as usize;
                for _ in 0..burst {
                    let at = since + HEARD + self.random.exponential(2.0 * HOUR);
                    self.ask(at, *model);
                }
            }
        }
        for (name, usual) in usual.into_iter().enumerate().skip(old) {
            let since = self.random.between(0.0, self.shape.seconds());
            for _ in 0..(usual * 3.0) as usize + 10 {
                let at = since + self.random.exponential(12.0 * HOUR);
                self.ask(at, name);
            }
        }
    }

    fn revisions(&mut self, popular: &Weights, names: usize) -> Vec<Revisions> {
        let mut revisions: Vec<Revisions> = (0..names).map(|name| vec![(f64::NEG_INFINITY, name)]).collect();
        let count = (self.shape.days * A_DAY) as usize;
        let mut times: Vec<f64> =
            (0..count).map(|_| self.random.between(0.2 * DAY, self.shape.seconds())).collect();
        times.sort_by(f64::total_cmp);
        for at in times {
            let name = popular.draw(&mut self.random);
            let (_, old) = revisions[name][revisions[name].len() - 1];
            let new = self.models.len();
            self.models.push(self.models[name]);
            revisions[name].push((at, new));
            let heard = at + self.random.between(0.0, HEARD);
            self.events.push(Event { at: heard, model: new, what: What::Revises(old) });
        }
        revisions
    }

    /// The revision that a user asks for: the newest that it has taken up.
    fn taken(&mut self, revisions: &Revisions, at: f64) -> usize {
        let newest = revisions.iter().rev().find(|(since, _)| {
            let known = at - since - HEARD;
            known > 0.0 && self.random.happens(1.0 - (-known / TAKEN_UP).exp())
        });
        newest.map_or(revisions[0].1, |(_, model)| *model)
    }
}
