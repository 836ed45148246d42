//! Tenants with working hours, and jobs by the clock.

use super::{DAY, Draft, HOUR, USUAL, diurnal, weekday};
use crate::node::random::{Weights, zipf};

const TENANTS: usize = 40;
/// The time zones of tenants and jobs, in hours.
const ZONES: [f64; 5] = [0.0, 1.0, 8.0, -5.0, -8.0];
/// The requests outside of working hours, in parts of the average of the week.
const QUIET: f64 = 0.06;

/// The days on which a job runs.
#[derive(Clone, Copy)]
enum Runs {
    Daily,
    Workdays,
    Weekly(f64),
}

impl Runs {
    fn on(self, weekday: f64) -> bool {
        match self {
            Self::Daily => true,
            Self::Workdays => weekday < 5.0,
            Self::Weekly(day) => weekday == day,
        }
    }

    fn a_day(self) -> f64 {
        match self {
            Self::Daily => 1.0,
            Self::Workdays => 5.0 / 7.0,
            Self::Weekly(_) => 1.0 / 7.0,
        }
    }
}

impl Draft {
    /// Half of the requests come from people, a quarter from jobs, and a quarter from anybody at any time.
    pub(super) fn tenants(&mut self) {
        let popular = Weights::new(self.popularity(self.shape.names, USUAL));
        for at in self.arrivals(self.shape.a_day / 4.0, diurnal) {
            let model = popular.draw(&mut self.random);
            self.ask(at, model);
        }
        let sizes = zipf(TENANTS, USUAL);
        let all: f64 = sizes.iter().sum();
        for size in sizes {
            self.people(&popular, self.shape.a_day / 2.0 * size / all);
        }
        let mut jobs = 0.0;
        while jobs < self.shape.a_day / 4.0 {
            jobs += self.job();
        }
    }

    /// The requests of one tenant's people, for three to eight models: from nine to six on workdays.
    fn people(&mut self, popular: &Weights, a_day: f64) {
        let zone = self.random.choose(&ZONES) * HOUR;
        let own: Vec<usize> = (0..3 + self.random.below(6)).map(|_| popular.draw(&mut self.random)).collect();
        let weights = Weights::new(zipf(own.len(), USUAL));
        let working = |at: f64| {
            let local = at + zone;
            let hour = (local / HOUR).rem_euclid(24.0);
            let works = weekday(local) < 5.0 && (9.0..18.0).contains(&hour);
            if works { super::PEAK } else { QUIET }
        };
        let working_part = 45.0 / 168.0;
        let mean = super::PEAK * working_part + QUIET * (1.0 - working_part);
        for at in self.arrivals(a_day / mean, working) {
            let model = own[weights.draw(&mut self.random)];
            self.ask(at, model);
        }
    }

    /// A job that loads one to four models, one after another, each for one to three readers. One run in twenty is left
    /// out. Returns its requests of a day.
    fn job(&mut self) -> f64 {
        let zone = self.random.choose(&ZONES) * HOUR;
        let own: Vec<usize> =
            (0..1 + self.random.below(4)).map(|_| self.random.below(self.shape.names)).collect();
        let readers = 1 + self.random.below(3);
        let runs = match self.random.part() {
            part if part < 0.6 => Runs::Daily,
            part if part < 0.85 => Runs::Workdays,
            _ => Runs::Weekly(self.random.below(7) as f64),
        };
        let start = self.random.below(24 * 12) as f64 * 300.0;
        for day in 0..self.shape.days.ceil() as usize {
            let midnight = day as f64 * DAY;
            if !runs.on(weekday(midnight)) || self.random.happens(0.05) {
                continue;
            }
            let mut at = midnight + start - zone + self.random.between(0.0, 180.0);
            for model in &own {
                for _ in 0..readers {
                    self.ask(at, *model);
                    at += self.random.between(0.0, 20.0);
                }
                at += self.random.between(60.0, 900.0);
            }
        }
        (own.len() * readers) as f64 * runs.a_day()
    }
}
