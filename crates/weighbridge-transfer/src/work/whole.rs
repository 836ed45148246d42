//! Files whose chunk layer no source has. Each is fetched from one source, and judged when the last byte has come.
//!
//! Until then nothing of the file is verified, and no reader may see it. It lies in a quarantine of its own, which is
//! removed with the run: after a run that was killed, it starts again from the beginning.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use weighbridge_store::{IoError, Quarantine, SequentialWriter};
use weighbridge_verify::{WholeError, WholeFile};

use super::{engine::Engine, target::Target};
use crate::{
    catalog::Suspicion,
    error::FetchError,
    event::SourceId,
    source::{Fault, contract},
};

/// Why a file did not come.
enum End {
    Fault(Fault),
    /// The request was ended because the source stalled, is suspected, or has left.
    BrokenOff,
    Mismatch(String),
    Here(FetchError),
}

/// Takes a file that this source is to give as a whole, if there is one.
pub(crate) fn take(engine: &Engine, source: SourceId) -> Option<usize> {
    engine.board.decide().take_layerless(source)
}

/// Gives the file back to the queue, however the request ends.
struct FileGuard<'a> {
    engine: &'a Engine,
    position: Option<usize>,
}

impl Drop for FileGuard<'_> {
    fn drop(&mut self) {
        if let Some(position) = self.position {
            self.engine.board.decide().add_layerless(position);
        }
        self.engine.board.changed.notify_waiters();
    }
}

/// Fetches the file at `position` from one source.
pub(crate) async fn run(engine: &Arc<Engine>, source: SourceId, position: usize) {
    let mut held = FileGuard { engine, position: Some(position) };
    let Some(target) = engine.chunks.targets.get(&position).map(Arc::clone) else { return };
    let board = &engine.board;
    let (generation, cases) = {
        let decisions = board.decide();
        (decisions.generation(source), decisions.cases(source))
    };
    let gathered = tokio::select! {
        gathered = gather(engine, source, &target) => gathered,
        () = board.broken_off(source, generation) => Err(End::BrokenOff),
    };
    // A file that has come is judged and kept, whatever becomes of its source meanwhile.
    let ended = match gathered {
        Ok((whole, quarantine)) => finish(engine, source, &target, whole, quarantine).await,
        Err(end) => Err(end),
    };
    let suspicion = match ended {
        Ok(()) => {
            held.position = None;
            engine.searching.fetch_sub(1, SeqCst);
            return;
        }
        Err(End::Here(error)) => return engine.fail(error),
        Err(End::BrokenOff) => return,
        Err(End::Fault(fault)) => Suspicion::of_fault(board, source, position, cases, &fault),
        Err(End::Mismatch(what)) => {
            board.decide().refuse_whole(source, position, target.grid.len());
            Suspicion::of(board, source, cases, what)
        }
    };
    if let Some(suspicion) = suspicion {
        suspicion.judge(&engine.case, None);
    }
}

type Whole = WholeFile<SequentialWriter>;

/// Receives all of a file into a quarantine.
async fn gather(
    engine: &Arc<Engine>,
    source: SourceId,
    target: &Arc<Target>,
) -> Result<(Whole, Quarantine), End> {
    let board = &engine.board;
    let (what, size) = (target.what(), target.grid.len());
    let _asked = board.asks(target.path.as_str(), source);
    let root = target.root;
    let made = here(engine, source, move |engine| Ok(engine.chunks.destination.quarantine(root)?)).await;
    let quarantine = made.unwrap_or(Err(FetchError::Bug)).map_err(End::Here)?;
    let mut whole = WholeFile::new(&engine.chunks.files, target.position, quarantine.writer())
        .map_err(|error| End::Here(FetchError::Entry(error)))?;
    let there = board.source(source).ok_or(End::BrokenOff)?;
    let mut body = contract::open(there.as_ref(), &what, 0..size).await.map_err(End::Fault)?;
    while let Some(frame) = body.next().await.map_err(End::Fault)? {
        board.received_of_file(frame.len(), source, target.position).await;
        let pushed = here(engine, source, move |_| whole.push(&frame).map(|()| whole)).await;
        whole = ended(pushed, target)?;
    }
    Ok((whole, quarantine))
}

/// Judges a file that has come, and keeps it if it is good.
async fn finish(
    engine: &Arc<Engine>,
    source: SourceId,
    target: &Arc<Target>,
    whole: Whole,
    quarantine: Quarantine,
) -> Result<(), End> {
    let finished = here(engine, source, move |_| whole.finish()).await;
    let _verified = ended(finished, target)?;
    let target = Arc::clone(target);
    let kept = here(engine, source, move |engine| keep(engine, source, &target, quarantine)).await;
    kept.unwrap_or(Err(FetchError::Bug)).map_err(End::Here)
}

/// Does what may wait for the disk: that is not the source's doing.
async fn here<T: Send + 'static>(
    engine: &Arc<Engine>,
    source: SourceId,
    work: impl FnOnce(&Engine) -> T + Send + 'static,
) -> Option<T> {
    struct Landing<'a>(&'a Engine, SourceId);
    impl Drop for Landing<'_> {
        fn drop(&mut self) {
            self.0.board.decide().piece_landed(self.1, 0, 0);
        }
    }
    engine.board.decide().piece_came(source);
    let _landing = Landing(engine, source);
    engine.blocking(work).await
}

fn ended<T>(result: Option<Result<T, WholeError>>, target: &Target) -> Result<T, End> {
    result.ok_or(End::Here(FetchError::Bug))?.map_err(|error| match error {
        WholeError::Quarantine(error) => End::Here(IoError::at("write", target.path.as_str())(error).into()),
        error => End::Mismatch(format!("{}: {error}", target.path.as_str())),
    })
}

/// Keeps a file that was judged good: it is treated like all others, but for its final name.
fn keep(
    engine: &Engine,
    source: SourceId,
    target: &Target,
    quarantine: Quarantine,
) -> Result<(), FetchError> {
    engine.chunks.make_room_to_open(target)?;
    target.adopt(quarantine.release(target.grid.len())?);
    let new = engine.chunks.found(target, &(0..target.grid.count()));
    let mut decisions = engine.board.decide();
    decisions.piece_came(source);
    decisions.piece_landed(source, new, new);
    drop(decisions);
    engine.chunks.tell_all_tensors(target);
    Ok(())
}
