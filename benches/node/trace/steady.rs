//! Each model has its share of the requests, whatever the time.

use super::{Draft, diurnal};
use crate::node::random::Weights;

impl Draft {
    pub(super) fn steady(&mut self, exponent: f64) {
        let popular = Weights::new(self.popularity(self.shape.names, exponent));
        for at in self.arrivals(self.shape.a_day, diurnal) {
            let model = popular.draw(&mut self.random);
            self.ask(at, model);
        }
    }
}
