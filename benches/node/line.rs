//! Fetches that share a line.

/// A fetch of a model. All numbers of bytes are real: a line is fluid.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) model: usize,
    /// When its first byte can come.
    pub(super) ready: f64,
    /// The most bytes a second that its origin gives.
    pub(super) origin: f64,
    /// The bytes that it has brought.
    pub(super) sent: f64,
    /// The bytes that were missing when it began.
    pub(super) missing: f64,
    /// Those of them that have been kept, and those that are to be.
    pub(super) kept: f64,
    pub(super) keep: f64,
    /// The seconds in which it could run.
    pub(super) busy: f64,
    pub(super) readers: Vec<Reader>,
    rate: f64,
}

/// A reader that waits for a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) since: f64,
    /// The bytes that the fetch has to bring until the reader has all.
    pub(super) until: f64,
}

/// The bytes that a rounded sum may be off.
pub(super) const SLACK: f64 = 16.0;

impl Flow {
    pub(super) fn new(model: usize, missing: u64, ready: f64, origin: f64) -> Self {
        Self {
            model,
            ready,
            origin,
            sent: 0.0,
            missing: missing as f64,
            kept: 0.0,
            keep: 0.0,
            busy: 0.0,
            readers: Vec::new(),
            rate: 0.0,
        }
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.readers.is_empty()
    }

    /// Adds a reader. What has been brought and not kept comes again for it.
    pub(super) fn join(&mut self, since: f64) {
        self.readers.push(Reader { since, until: self.sent + self.missing - self.kept });
    }

    /// The bytes until a reader has all, or all is there that is to be kept.
    fn next(&self) -> f64 {
        let readers = self.readers.iter().map(|reader| reader.until - self.sent);
        readers.reduce(f64::min).unwrap_or(self.keep - self.kept).max(0.0)
    }

    /// When that is, if nothing changes until then.
    pub(super) fn next_at(&self, now: f64) -> f64 {
        if self.ready > now {
            self.ready
        } else if self.rate > 0.0 {
            now + self.next() / self.rate
        } else {
            f64::INFINITY
        }
    }

    /// Lets it run. Returns the bytes that have come, and those that were kept.
    pub(super) fn run(&mut self, now: f64, seconds: f64) -> (f64, f64) {
        if self.rate > 0.0 || self.ready > now {
            self.busy += seconds;
        }
        let bytes = self.rate * seconds;
        let kept = bytes.min(self.keep - self.kept).max(0.0);
        self.sent += bytes;
        self.kept += kept;
        (bytes, kept)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_ahead() && (self.kept + SLACK >= self.keep || self.sent + SLACK >= self.missing)
    }
}

/// Gives each fetch its rate: those that somebody waits for share the line fairly, and the others what is left.
pub(super) fn share(flows: &mut [Flow], line: f64, now: f64) {
    let mut left = line;
    for ahead in [false, true] {
        let mut open: Vec<&mut Flow> = flows.iter_mut().filter(|flow| flow.is_ahead() == ahead).collect();
        open.iter_mut().for_each(|flow| flow.rate = 0.0);
        open.retain(|flow| flow.ready <= now);
        // The slowest origins first: what they leave is for the others.
        open.sort_by(|one, other| one.origin.total_cmp(&other.origin));
        let count = open.len();
        for (done, flow) in open.into_iter().enumerate() {
            flow.rate = (left / (count - done) as f64).min(flow.origin);
            left -= flow.rate;
        }
        // Less than a millionth is a rounding error, and would never end.
        left = if left < line * 1e-6 { 0.0 } else { left };
    }
}

/// The part of the line that the fetches could use, if all ran at the rates of their origins.
pub(super) fn demand(flows: &[Flow]) -> f64 {
    flows.iter().map(|flow| flow.origin).sum()
}
