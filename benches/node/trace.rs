//! Requests of two weeks, in seven shapes.

mod adapters;
mod releases;
mod scans;
mod shifts;
mod steady;
mod tenants;

use super::{
    catalogue::{self, Model},
    random::{Random, zipf},
};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// In seconds since the start.
    pub at: f64,
    /// The position of the model in [`Trace::models`].
    pub model: usize,
    /// The event.
    pub what: What,
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A reader asks for the model.
    Ask,
    /// The node hears that the model is a new revision of this one.
    Revises(usize),
}

/// The requests of some days.
#[derive(Clone, Debug)]
pub struct Trace {
    /// All models and revisions.
    pub models: Vec<Model>,
    /// In the order of time.
    pub events: Vec<Event>,
    /// The bytes that the node may keep.
    pub budget: u64,
}

/// The size of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The models.
    pub names: usize,
    /// The days.
    pub days: f64,
    /// The requests of a day, about.
    pub a_day: f64,
    /// The budget, as a part of all models' bytes.
    pub budget: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { names: 200, days: 14.0, a_day: 3000.0, budget: 0.1 }
    }
}

impl Shape {
    fn seconds(&self) -> f64 {
        self.days * DAY
    }
}

/// The shape of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each model has its share of the requests, by Zipf's law with 0.7.
    SteadyFlat,
    /// The same with 1.2.
    SteadySteep,
    /// Tenants in five time zones, who work from nine to six, and jobs by the clock.
    Tenants,
    /// New revisions, which users take up within hours, and new models with a burst of requests.
    Releases,
    /// Adapters that are asked for with their bases, and pipelines of models.
    Adapters,
    /// A batch job asks for every model, one after another, each few days.
    Scans,
    /// Half of the models change places twice.
    Shifts,
}

impl Kind {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::SteadyFlat,
        Self::SteadySteep,
        Self::Tenants,
        Self::Releases,
        Self::Adapters,
        Self::Scans,
        Self::Shifts,
    ];

    /// The name that is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SteadyFlat => "steady 0.7",
            Self::SteadySteep => "steady 1.2",
            Self::Tenants => "tenants",
            Self::Releases => "releases",
            Self::Adapters => "adapters",
            Self::Scans => "scans",
            Self::Shifts => "shifts",
        }
    }

    /// The trace of this kind with this seed. Equal seeds give equal traces.
    #[must_use]
    pub fn draw(self, seed: u64, shape: Shape) -> Trace {
        let mut random = Random::new(seed, self as u64);
        let mut draft =
            Draft { models: catalogue::draw(shape.names, &mut random), events: Vec::new(), shape, random };
        match self {
            Self::SteadyFlat => draft.steady(0.7),
            Self::SteadySteep => draft.steady(1.2),
            Self::Tenants => draft.tenants(),
            Self::Releases => draft.releases(),
            Self::Adapters => draft.adapters(),
            Self::Scans => {
                draft.steady(USUAL);
                draft.scans();
            }
            Self::Shifts => draft.shifts(),
        }
        draft.finish()
    }
}

/// The exponent of popularity in all traces but the steady ones.
const USUAL: f64 = 0.9;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// A trace that is being made.
struct Draft {
    models: Vec<Model>,
    events: Vec<Event>,
    shape: Shape,
    random: Random,
}

impl Draft {
    /// Records a request, unless it is after the end.
    fn ask(&mut self, at: f64, model: usize) {
        if (0.0..self.shape.seconds()).contains(&at) {
            self.events.push(Event { at, model, what: What::Ask });
        }
    }

    /// The times of requests, so many a day on average, as often as `shape` says: on average 1, and [`PEAK`] at most.
    fn arrivals(&mut self, a_day: f64, shape: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut times = Vec::new();
        let mut at = 0.0;
        loop {
            at += self.random.exponential(DAY / a_day / PEAK);
            if at >= self.shape.seconds() {
                return times;
            }
            if self.random.happens(shape(at) / PEAK) {
                times.push(at);
            }
        }
    }

    /// The popularity of so many models, in any order.
    fn popularity(&mut self, models: usize, exponent: f64) -> Vec<f64> {
        let mut weights = zipf(models, exponent);
        self.random.shuffle(&mut weights);
        weights
    }

    fn finish(self) -> Trace {
        let Self { models, mut events, shape, .. } = self;
        events.sort_by(|one, other| one.at.total_cmp(&other.at));
        let bytes: u64 = models.iter().take(shape.names).map(|model| model.bytes).sum();
        Trace { models, events, budget: (bytes as f64 * shape.budget) as u64 }
    }
}

/// The most requests at any time, in parts of the average.
const PEAK: f64 = 1.8;

/// The requests at a time of the week, in parts of the average: three times as many in the afternoon as at night, and less on
/// weekends. The start is a Monday, at midnight.
fn diurnal(at: f64) -> f64 {
    let hour = (at / HOUR).rem_euclid(24.0);
    let wave = 1.0 + 0.5 * ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos();
    wave * if weekday(at) < 5.0 { 1.12 } else { 0.7 }
}

/// The day of the week, from 0 for Monday.
fn weekday(at: f64) -> f64 {
    (at / DAY).floor().rem_euclid(7.0)
}
