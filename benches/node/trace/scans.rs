//! A batch job that asks for every model, in the same order each time.

use super::{DAY, Draft};

impl Draft {
    pub(super) fn scans(&mut self) {
        let mut order: Vec<usize> = (0..self.shape.names).collect();
        self.random.shuffle(&mut order);
        let mut start = self.random.between(0.5, 2.0) * DAY;
        while start < self.shape.seconds() {
            let mut at = start;
            for model in &order {
                self.ask(at, *model);
                at += self.random.between(60.0, 420.0);
            }
            start += self.random.between(2.0, 3.5) * DAY;
        }
    }
}
