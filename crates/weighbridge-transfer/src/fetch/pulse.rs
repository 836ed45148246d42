//! The reports of a fetch while it runs.

use std::time::Instant;

use weighbridge_store::HEAD;

use super::{Observer, Run};
use crate::{
    event::{Event, FetchProgress, SourceState, SourceStatus, Waiting},
    work::engine::Engine,
};

/// Reports the progress of a fetch.
#[derive(Default)]
pub(super) struct Pulse {
    beats: u64,
    told: Option<FetchProgress>,
}

impl Pulse {
    pub(super) fn beat(&mut self, run: &Run, observer: &dyn Observer) {
        let now = Instant::now();
        let board = &run.board;
        let rate = board.receive.budget().rate();
        board.decide().set_rate(rate);
        board.decide().tick(now);
        board.changed.notify_waiters();
        board.shortened.notify_waiters();
        self.beats += 1;
        if self.beats.is_multiple_of(3) {
            self.progress(run, observer);
        }
        let second = self.beats.is_multiple_of(10);
        let news = board.decide().news(now, second);
        for status in news {
            if let Some(guide) = &run.guide {
                guide.source(&status);
            }
            observer.event(Event::Source(status));
        }
        if second && let Some(waiting) = waiting(run, now) {
            observer.event(Event::Waiting(waiting));
        }
    }

    fn progress(&mut self, run: &Run, observer: &dyn Observer) -> FetchProgress {
        let progress = run.board.figures.progress();
        // The progress means nothing before it is known what is wanted.
        if run.engine.get().is_some() && self.told != Some(progress) {
            self.told = Some(progress);
            observer.event(Event::Progress(progress));
        }
        progress
    }

    /// The final state: the figures and the sources that were reported last.
    pub(super) fn last(&mut self, run: &Run, observer: &dyn Observer) -> (FetchProgress, Vec<SourceStatus>) {
        let progress = self.progress(run, observer);
        let now = Instant::now();
        // A request to a source may still be under way, but the fetch does not wait for it.
        let at_rest = |mut status: SourceStatus| {
            if status.state == SourceState::Active {
                status.state = if status.has_lied() { SourceState::SetAside } else { SourceState::Idle };
            }
            status
        };
        let news = run.board.decide().news(now, false);
        news.into_iter().for_each(|status| observer.event(Event::Source(at_rest(status))));
        (progress, run.board.decide().statuses(now).into_iter().map(at_rest).collect())
    }
}

fn waiting(run: &Run, now: Instant) -> Option<Waiting> {
    let path = |engine: &Engine, file| Some(engine.chunks.targets.get(&file)?.path.as_str().to_owned());
    let oldest = run.engine.get().and_then(|engine| {
        let (source, file, chunks) = engine.board.decide().oldest()?;
        Some((path(engine, file)?, chunks, source))
    });
    let next = || {
        // Before it is known what is wanted, the fetch waits for the head.
        let Some(engine) = run.engine.get() else { return Some(HEAD.to_owned()) };
        let next = {
            let decisions = engine.board.decide();
            decisions.pending_files().next().or_else(|| decisions.layerless().front().copied())
        };
        path(engine, next?)
    };
    run.board.waiting(oldest, next, now)
}
