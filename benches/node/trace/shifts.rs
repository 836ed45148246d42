//! Half of the models change their places among the popular ones at once, twice.

use super::{Draft, USUAL, diurnal};
use crate::node::random::Weights;

impl Draft {
    pub(super) fn shifts(&mut self) {
        let names = self.shape.names;
        let mut weights = self.popularity(names, USUAL);
        let mut popular = Weights::new(weights.iter().copied());
        let mut shifts = [0.3, 0.65].map(|part| part * self.shape.seconds()).into_iter().peekable();
        for at in self.arrivals(self.shape.a_day, diurnal) {
            if shifts.next_if(|shift| *shift <= at).is_some() {
                let mut places: Vec<usize> = (0..names).collect();
                self.random.shuffle(&mut places);
                places.truncate(names / 2);
                let mut moved: Vec<f64> = places.iter().map(|place| weights[*place]).collect();
                self.random.shuffle(&mut moved);
                for (place, weight) in places.into_iter().zip(moved) {
                    weights[place] = weight;
                }
                popular = Weights::new(weights.iter().copied());
            }
            let model = popular.draw(&mut self.random);
            self.ask(at, model);
        }
    }
}
