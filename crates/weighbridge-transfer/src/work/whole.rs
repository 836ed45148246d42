//! Files whose chunk layer nobody has: fetched from one source each, judged when the last byte has come.
//!
//! Until then nothing of them is verified, and nobody may read it: it lies in a quarantine of its own, which goes with the
//! run. There is nothing to go on from after a run that was killed.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use weighbridge_store::{IoError, Quarantine};
use weighbridge_verify::{WholeError, WholeFile};

use crate::{
    board::lock, decide::roster::due, error::FetchError, event::SourceIndex, source::Fault,
    work::engine::Engine, work::local, work::target::Target,
};

/// How a file did not come.
enum End {
    Fault(Fault),
    Slow(Duration),
    Mismatch(String),
    Here(FetchError),
}

/// A file for this source to give, if there is one.
pub(crate) fn take(engine: &Engine, source: SourceIndex) -> Option<usize> {
    let roster = engine.board.roster();
    let mut layerless = lock(&engine.layerless);
    let at = layerless.iter().position(|position| roster.may_serve(source, *position))?;
    layerless.remove(at)
}

/// Gives the file back, however the source ends.
struct FileGuard<'a> {
    engine: &'a Engine,
    position: Option<usize>,
}

impl Drop for FileGuard<'_> {
    fn drop(&mut self) {
        if let Some(position) = self.position {
            lock(&self.engine.layerless).push_back(position);
        }
        self.engine.board.changed.notify_waiters();
    }
}

/// Nothing is verified before the end: until then the watchdog of chunks looks away, and the one below watches.
struct Watched<'a> {
    engine: &'a Engine,
    source: SourceIndex,
}

impl<'a> Watched<'a> {
    fn here(engine: &'a Engine, source: SourceIndex) -> Self {
        engine.board.roster().came(source);
        Self { engine, source }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.engine.board.roster().landed(self.source, 0);
    }
}

/// Fetches the file at `position` from one source.
pub(crate) async fn run(engine: &Arc<Engine>, source: SourceIndex, position: usize) {
    let mut held = FileGuard { engine, position: Some(position) };
    let Some(target) = engine.targets.get(&position).map(Arc::clone) else { return };
    let board = &engine.board;
    let name = target.path.as_str();
    let _watched = Watched::here(engine, source);
    let (generation, cases) = {
        let roster = board.roster();
        (roster.generation(source), roster.cases(source))
    };
    let ended = gather(engine, source, &target).await;
    // What was under way when the source was judged says nothing new.
    let is_old = board.roster().generation(source) != generation;
    let is_suspect = match ended {
        Ok(()) => {
            held.position = None;
            engine.searching.fetch_sub(1, SeqCst);
            return;
        }
        Err(End::Here(error)) => return engine.fail(error),
        Err(End::Fault(_) | End::Slow(_)) if is_old => false,
        Err(End::Fault(fault)) => board.roster().failed(source, Some(position), &fault, Instant::now()),
        Err(End::Slow(window)) => {
            let what = format!("{name}: came too slowly for {} s", window.as_secs_f64());
            board.roster().stalled(source, what, window, Instant::now());
            false
        }
        Err(End::Mismatch(what)) => board.roster().suspect_since(source, cases, what),
    };
    if is_suspect {
        engine.case.find_out(board, source, None);
    }
}

async fn gather(engine: &Arc<Engine>, source: SourceIndex, target: &Arc<Target>) -> Result<(), End> {
    let board = &engine.board;
    let (what, size) = (target.what(), target.grid.len());
    let _asked = board.asks(target.path.as_str(), source);
    let here = |error: FetchError| End::Here(error);
    let root = target.root;
    let made = engine.blocking(move |engine| Ok(engine.destination.quarantine(root)?)).await;
    let quarantine = made.unwrap_or(Err(FetchError::Bug)).map_err(here)?;
    let mut whole = WholeFile::new(&engine.files, target.position, quarantine.writer())
        .map_err(|error| End::Here(FetchError::Entry(error)))?;
    let window = board.roster().window(board.least, target.grid.granule().bytes());
    let opened = board.sources[source].open(&what, 0..size);
    let opened = tokio::time::timeout(window, opened).await.map_err(|_| End::Slow(window))?;
    let mut body = opened.map_err(End::Fault)?;
    let mut since = Instant::now();
    let mut came = 0_u64;
    // Time in which what has come is paid for is not the source's.
    let mut paid = Duration::ZERO;
    loop {
        // Nothing is verified before the end, so here the watchdog looks at what is received.
        let frame = match tokio::time::timeout(window, body.next()).await {
            Ok(frame) => frame.map_err(End::Fault)?,
            Err(_) => return Err(End::Slow(window)),
        };
        let Some(frame) = frame else { break };
        let begun = Instant::now();
        board.received(frame.len(), source).await;
        paid += begun.elapsed();
        came += u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if since.elapsed().saturating_sub(paid) >= window {
            if came < due(board.least, window) {
                return Err(End::Slow(window));
            }
            (since, came, paid) = (Instant::now(), 0, Duration::ZERO);
        }
        let pushed = engine.blocking(move |_| whole.push(&frame).map(|()| whole)).await;
        whole = ended(pushed, target)?;
    }
    let finished = engine.blocking(move |_| whole.finish()).await;
    let _verified = ended(finished, target)?;
    let target = Arc::clone(target);
    let kept = engine.blocking(move |engine| keep(engine, source, &target, quarantine)).await;
    kept.unwrap_or(Err(FetchError::Bug)).map_err(here)
}

fn ended<T>(result: Option<Result<T, WholeError>>, target: &Target) -> Result<T, End> {
    result.ok_or(End::Here(FetchError::Bug))?.map_err(|error| match error {
        WholeError::Quarantine(error) => End::Here(IoError::at("write", target.path.as_str())(error).into()),
        error => End::Mismatch(format!("{}: {error}", target.path.as_str())),
    })
}

/// What was judged good is a file like all others, but for its final name.
fn keep(
    engine: &Engine,
    source: SourceIndex,
    target: &Target,
    quarantine: Quarantine,
) -> Result<(), FetchError> {
    engine.make_room_to_open(target)?;
    target.adopt(quarantine.release(target.grid.len())?);
    let new = target.store(&(0..target.grid.count()));
    engine.board.roster().came(source);
    engine.board.roster().landed(source, new);
    engine.count(target, new);
    local::tell_all(engine, target);
    Ok(())
}
