//! The outcome of a trace.

/// The waits of all readers, and the bytes that were fetched for them.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seconds that each reader waited, in the order in which they were served.
    pub waits: Vec<f64>,
    /// The bytes that came over the line.
    pub fetched: f64,
    /// Those of them that came while nobody waited for their model.
    pub ahead: f64,
    /// Those of them that went, or were left at the end, before anybody asked for their model.
    pub unused: f64,
    /// The seconds of the trace.
    pub seconds: f64,
}

impl Outcome {
    /// The wait that this part of the readers does not exceed.
    ///
    /// # Panics
    /// If nobody waited.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let mut waits = self.waits.clone();
        waits.sort_by(f64::total_cmp);
        let rank = (waits.len() as f64 * part).ceil() as usize;
        waits[rank.clamp(1, waits.len()) - 1]
    }

    /// The mean wait.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.waits.iter().sum::<f64>() / self.waits.len() as f64
    }

    /// The part of the readers that waited at all.
    #[must_use]
    pub fn waiting(&self) -> f64 {
        self.waits.iter().filter(|wait| **wait > 0.0).count() as f64 / self.waits.len() as f64
    }

    /// The part of the fetched bytes that came ahead and was not used.
    #[must_use]
    pub fn wasted(&self) -> f64 {
        self.unused / self.fetched
    }

    /// The part of the line's bytes that were fetched.
    #[must_use]
    pub fn load(&self, line: f64) -> f64 {
        self.fetched / (line * self.seconds)
    }

    /// Adds the readers and bytes of another outcome.
    pub fn add(&mut self, other: Self) {
        self.waits.extend(other.waits);
        self.fetched += other.fetched;
        self.ahead += other.ahead;
        self.unused += other.unused;
        self.seconds += other.seconds;
    }
}
