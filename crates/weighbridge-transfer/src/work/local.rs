//! Files that are in the folder already: they are hashed again, and good chunks are not asked for.

use std::{
    fs::File,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use weighbridge_verify::{FileVerifier, PageBuffer};

use super::{
    engine::Engine,
    nearby::Near,
    on_disk::{MOMENT, chunks_in, is_all_good, is_signed, named, pieces, read, recount, stamp_of_file, unit},
    target::Target,
};
use crate::{error::FetchError, event::Here, ranges::RangeSet};

/// The places where a file may be already, as far as names and holes tell.
enum Found {
    /// The file is nowhere, so all of it is asked for.
    Nothing,
    /// An earlier fetch has begun the file, and may have written these chunks; or they can be made of tensors of other releases. The
    /// others are asked for.
    Begun(RangeSet, Near),
    /// The file is under its final name, or begun under another one. It has to be read before any chunk is asked for.
    Others,
}

/// Looks where a file may be, without reading it, so that missing files are asked for before any file is hashed. If
/// other processes may be at work, a missing file is looked for twice: while another process gives it its name, it has
/// none.
///
/// Blocks on the disk: not for an async thread.
fn glance(engine: &Engine, target: &Target, is_second: bool) -> Result<Found, FetchError> {
    if engine.has_failed() {
        return Ok(Found::Nothing);
    }
    let destination = &engine.chunks.destination;
    destination.take_from_cache(&target.path, Some(target.root), target.grid.len());
    // If no file was begun when this fetch started, there is nothing to look for: both processes write what others have
    // begun since. The file is not kept open, since there may be more files than may be open at once.
    let begun = match destination.is_used() {
        true => destination.partial_if_there(target.root, target.grid.len())?,
        false => None,
    };
    let there = begun.map_or(Ok(RangeSet::default()), |begun| chunks_in(target, &begun))?;
    // The final name is checked last: another process may have given the file its name during the search.
    if !destination.claims(target.root).is_empty() || named(&engine.chunks, target)?.is_some() {
        return Ok(Found::Others);
    }
    let is_begun = target.wanted.iter().any(|run| there.within(&run).next().is_some());
    if !is_begun && !is_second && destination.is_used() {
        return Ok(Found::Nothing);
    }
    let near = Near::of(engine, target);
    let mut hoped = there.clone();
    near.chunks.iter().for_each(|run| hoped.insert(run));
    engine.lack(target, &lacking(target, &hoped));
    Ok(if is_begun || !near.chunks.is_empty() { Found::Begun(there, near) } else { Found::Nothing })
}

/// Reads what may be there of a file, and asks for the rest.
///
/// Blocks on the disk: not for an async thread.
fn begin(engine: &Engine, target: &Target, found: &Found) -> Result<(), FetchError> {
    if engine.has_failed() {
        return Ok(());
    }
    let file = engine.chunks.verifier.file(target.position).map_err(FetchError::Entry)?;
    let _here = engine.board.works(target.path.as_str(), Here::Reading);
    let there = match found {
        Found::Nothing => return Ok(()),
        // The file is opened only if it still exists: another process may have given it its name, and a new one would
        // be a hole.
        Found::Begun(there, near)
            if there.is_empty() || target.open_if_there(&engine.chunks.destination)? =>
        {
            let mut have = there.clone();
            near.copy(engine, target, file, &mut have)?;
            let mut not_good = RangeSet::default();
            near.chunks.iter().for_each(|run| have.missing_in(&run).for_each(|run| not_good.insert(run)));
            engine.lack(target, &not_good);
            return recount_here(engine, target, file, there);
        }
        Found::Begun(..) | Found::Others => {
            if let Some(named) = named(&engine.chunks, target)?
                && let stamp = stamp_of_file(&named)
                && is_all_good(target, file, &named, &|| !engine.has_failed())?
            {
                engine.chunks.found_in_place(target, stamp);
                engine.chunks.tell_all_tensors(target);
                return Ok(());
            }
            on_disk(engine, target)?
        }
    };
    let mut have = there.clone();
    let mut others = engine.chunks.destination.claims(target.root);
    others.extend(named(&engine.chunks, target)?);
    for other in &others {
        copy(engine, target, file, other, &mut have)?;
    }
    Near::of(engine, target).copy(engine, target, file, &mut have)?;
    engine.lack(target, &lacking(target, &have));
    recount_here(engine, target, file, &there)
}

/// Hashes the chunks that an earlier fetch has written. Bad ones are asked for like all others.
fn recount_here(
    engine: &Engine,
    target: &Target,
    file: &FileVerifier,
    there: &RangeSet,
) -> Result<(), FetchError> {
    let goes_on = || !engine.has_failed();
    recount(&engine.chunks, target, file, there, &goes_on, &mut |bad| engine.lack(target, bad))
}

/// The wanted chunks that are not among `have`.
fn lacking(target: &Target, have: &RangeSet) -> RangeSet {
    let mut lacking = RangeSet::default();
    for run in target.wanted.iter() {
        have.missing_in(&run).for_each(|run| lacking.insert(run));
    }
    lacking
}

/// Looks for a file without a layer: it is there as a whole, or not at all. Returns whether it is there.
///
/// Blocks on the disk: not for an async thread.
fn begin_whole(engine: &Engine, target: &Target) -> Result<bool, FetchError> {
    if engine.has_failed() {
        return Ok(true);
    }
    let _here = engine.board.works(target.path.as_str(), Here::Reading);
    let (destination, len) = (&engine.chunks.destination, target.grid.len());
    destination.take_from_cache(&target.path, Some(target.root), len);
    let named = destination.finished(&target.path)?.filter(|(_, there)| *there == len);
    if let Some((named, _)) = named
        && let stamp = stamp_of_file(&named)
        && is_signed(&engine.chunks, target, &named)?
    {
        engine.chunks.found_in_place(target, stamp);
    } else if destination.has_partial(target.root)?
        && is_signed(&engine.chunks, target, target.partial(destination)?.file())?
    {
        engine.chunks.found(target, &(0..target.grid.count()));
    } else {
        return Ok(false);
    }
    engine.chunks.tell_all_tensors(target);
    Ok(true)
}

/// The chunks of which an earlier fetch has written every byte, as far as the file system tells. They are not verified
/// yet.
fn on_disk(engine: &Engine, target: &Target) -> Result<RangeSet, FetchError> {
    if !engine.chunks.destination.has_partial(target.root)? {
        return Ok(RangeSet::default());
    }
    engine.chunks.make_room_to_open(target)?;
    chunks_in(target, &*target.partial(&engine.chunks.destination)?)
}

/// Copies the chunks that the file of an earlier release has in common with the wanted one, at the same places.
fn copy(
    engine: &Engine,
    target: &Target,
    file: &FileVerifier,
    named: &File,
    have: &mut RangeSet,
) -> Result<(), FetchError> {
    let mut buffer = PageBuffer::new();
    let lacking: Vec<_> =
        target.wanted.iter().flat_map(|run| have.missing_in(&run).collect::<Vec<_>>()).collect();
    for run in lacking {
        for run in pieces(target, &run) {
            if engine.has_failed() || !read(target, named, &run, &mut buffer)? {
                return Ok(());
            }
            for (index, piece) in run.clone().zip(buffer.chunks(unit(target))) {
                // The chunks are judged in the buffer from which they are written (rule 10).
                if let Ok(good) = file.accept_run(index, piece) {
                    engine.chunks.write(target, &good)?;
                    have.insert(index..index + 1);
                }
            }
        }
    }
    Ok(())
}

/// Begins files: chunks that are nowhere in the folder are asked for at once, and files that may be there are read
/// meanwhile. The fetch does not end before that. One task looks for each group of files, since most files of a first
/// fetch are nowhere.
pub(crate) fn spawn(engine: &Arc<Engine>, positions: Vec<usize>) {
    engine.searching.fetch_add(1, SeqCst);
    let engine = Arc::clone(engine);
    let here = Arc::clone(&engine);
    let _ = here.spawn(async move {
        let targets: Vec<_> =
            positions.iter().filter_map(|at| engine.chunks.targets.get(at).map(Arc::clone)).collect();
        let looked = engine.in_turn(&engine.glancing, move |engine| {
            let look = |target: &Arc<Target>| glance(engine, target, false);
            targets.iter().map(|target| (target.position, look(target))).collect::<Vec<_>>()
        });
        for (position, found) in looked.await.into_iter().flatten() {
            // While another process gives the file its name, it has neither that nor its old one.
            let is_nowhere = matches!(found, Ok(Found::Nothing)) && !engine.chunks.destination.is_used();
            if !is_nowhere {
                begin_found(&engine, position, found);
            }
        }
        engine.searching.fetch_sub(1, SeqCst);
        engine.board.changed.notify_waiters();
    });
}

/// How many files one task looks for.
pub(crate) const GROUP: usize = 64;

/// Begins a file that may be in the folder.
fn begin_found(engine: &Arc<Engine>, position: usize, mut found: Result<Found, FetchError>) {
    look(engine, position, |engine, target| async move {
        if matches!(found, Ok(Found::Nothing | Found::Others)) && engine.chunks.destination.is_used() {
            tokio::time::sleep(MOMENT).await;
            let here = Arc::clone(&target);
            found = engine.in_turn(&engine.glancing, move |engine| glance(engine, &here, true)).await?;
        }
        match found {
            Ok(Found::Nothing) => Some(Ok(true)),
            Ok(found) => {
                let begin = move |engine: &Engine| begin(engine, &target, &found).map(|()| true);
                engine.in_turn(&engine.looking, begin).await
            }
            Err(error) => Some(Err(error)),
        }
    });
}

/// Begins a file whose layer no source has. If it is not in the folder, it is queued to be fetched as a whole.
pub(crate) fn spawn_whole(engine: &Arc<Engine>, position: usize) {
    look(engine, position, |engine, target| async move {
        engine.in_turn(&engine.looking, move |engine| begin_whole(engine, &target)).await
    });
}

/// Looks for a file. In the end it is there or has been asked for (`true`), or has to be fetched as a whole.
fn look<F>(engine: &Arc<Engine>, position: usize, begin: impl FnOnce(Arc<Engine>, Arc<Target>) -> F)
where
    F: Future<Output = Option<Result<bool, FetchError>>> + Send + 'static,
{
    let Some(target) = engine.chunks.targets.get(&position).map(Arc::clone) else { return };
    engine.searching.fetch_add(1, SeqCst);
    let begun = begin(Arc::clone(engine), target);
    let engine = Arc::clone(engine);
    let here = Arc::clone(&engine);
    let _ = here.spawn(async move {
        match begun.await {
            // It counts until it is there.
            Some(Ok(false)) => engine.board.decide().add_layerless(position),
            Some(Ok(true)) | None => _ = engine.searching.fetch_sub(1, SeqCst),
            Some(Err(error)) => engine.fail(error),
        }
        engine.board.changed.notify_waiters();
    });
}
