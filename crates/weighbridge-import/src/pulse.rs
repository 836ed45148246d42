//! Tells how an import goes, several times a second.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use weighbridge_transfer::{
    Blame, Event, Fault, FetchProgress, Listing, SourceId, SourceState, SourceStatus, Waiting,
};

use crate::{figures::Figures, import::Observer};

pub(crate) struct Pulse {
    figures: Arc<Figures>,
    wanted: u64,
    origin: String,
    progress: FetchProgress,
    state: Option<SourceState>,
    /// The time at which something was last hashed.
    moved: Instant,
    /// The time of the last report on the source and the waiting.
    told: Option<Instant>,
    /// The bytes that had come at each beat of the last seconds.
    seen: VecDeque<(Instant, u64)>,
}

impl Pulse {
    pub(crate) fn new(listing: &Listing, figures: &Arc<Figures>) -> Self {
        let (progress, moved) = (FetchProgress::default(), Instant::now());
        let (wanted, origin) = (listing.bytes(), listing.origin.clone());
        Self {
            figures: Arc::clone(figures),
            wanted,
            origin,
            progress,
            state: None,
            moved,
            told: None,
            seen: VecDeque::new(),
        }
    }

    pub(crate) fn beat(&mut self, observer: &dyn Observer) {
        let (now, figures) = (Instant::now(), Arc::clone(&self.figures));
        let progress = FetchProgress {
            received: figures.received.load(SeqCst),
            verified: figures.hashed.load(SeqCst),
            durable: figures.good.load(SeqCst),
            wanted: self.wanted,
        };
        if progress != self.progress {
            if progress.verified != self.progress.verified {
                self.moved = now;
            }
            self.progress = progress;
            observer.event(Event::Progress(progress));
        }
        let pause = figures.pauses.now(now);
        let state = if pause.is_some() { SourceState::Waiting } else { SourceState::Active };
        let rate = self.rate(now, progress.received);
        let is_second = self.told.is_none_or(|told| now.duration_since(told) >= SECOND);
        if self.state.replace(state) != Some(state) || is_second {
            observer.event(Event::Source(SourceStatus {
                source: SourceId::new(0),
                state,
                blame: pause.as_ref().map(|(fault, _)| (blame_of(fault), fault.to_string())),
                again_in: pause.as_ref().map(|(_, left)| *left),
                verified: progress.received,
                rate,
            }));
        }
        if is_second {
            self.told = Some(now);
            let since = now.duration_since(self.moved);
            if since >= QUIET && progress.verified < progress.wanted {
                observer.event(Event::Waiting(Waiting {
                    for_what: self.origin.clone(),
                    chunks: None,
                    from: Some(SourceId::new(0)),
                    again_in: pause.map(|(_, left)| left),
                    here: None,
                    since,
                }));
            }
        }
    }

    /// Bytes a second over the last seconds.
    fn rate(&mut self, now: Instant, received: u64) -> u64 {
        self.seen.push_back((now, received));
        while self.seen.len() > 2
            && self.seen.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW)
        {
            self.seen.pop_front();
        }
        let Some((then, before)) = self.seen.front() else { return 0 };
        let millis = u64::try_from(now.duration_since(*then).as_millis()).unwrap_or(u64::MAX);
        received.saturating_sub(*before).saturating_mul(1_000).checked_div(millis).unwrap_or(0)
    }
}

fn blame_of(fault: &Fault) -> Blame {
    match fault {
        Fault::Unreachable(_) => Blame::Unreachable,
        _ => Blame::Refused,
    }
}

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(3);
/// The time without a hashed byte after which a report says so.
const QUIET: Duration = Duration::from_secs(2);
