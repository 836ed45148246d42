//! The end of a fetch: files get their names, and the head comes last.

use std::path::PathBuf;

use weighbridge_manifest::{EntryPath, VerifiedFileList, VerifiedHead};
use weighbridge_store::{Destination, FOLDER, HEAD, Naming, Staged, Standing};
use weighbridge_tree::HeadId;

use super::Fetched;
use crate::{
    error::{FetchError, Unpruned},
    event::{Event, Here},
    options::Unlisted,
    work::{engine::Engine, local},
};

/// Gives final names to everything that has come, and to the head last.
pub(super) fn finish(
    engine: &Engine,
    head: VerifiedHead,
    staged: &Staged,
    twins: &[(usize, usize)],
    unlisted: Unlisted,
    mut naming: Naming,
) -> Result<Fetched, FetchError> {
    let (mut partial, mut copied) = (0, 0_u64);
    // The old files stay if the new metadata cannot replace the old.
    staged.check_places()?;
    let files_to_name =
        engine.chunks.targets.values().filter(|target| target.is_whole()).count() + twins.len();
    engine.board.say(Event::Naming { files: u64::try_from(files_to_name).unwrap_or(u64::MAX) });
    let goes_on = || match engine.has_failed() {
        true => Err(FetchError::Stopped { progress: engine.board.figures.progress() }),
        false => Ok(()),
    };
    let mut named = Named { engine, names: Vec::new(), files: Vec::new() };
    for target in engine.chunks.targets.values() {
        if !target.is_whole() {
            partial += 1;
            continue;
        }
        goes_on()?;
        let _here = engine.board.works(target.path.as_str(), Here::Naming);
        local::place(engine, target, &mut naming)?;
        named.add(&target.path, target.grid.len(), &mut naming)?;
    }
    // A twin is copied from a file that has its final name already.
    named.settle(&mut naming)?;
    for (position, first) in twins {
        let (Some(entry), Some(first)) =
            (engine.chunks.files.entries().get(*position), engine.chunks.targets.get(first))
        else {
            continue;
        };
        goes_on()?;
        let _here = engine.board.works(entry.path.as_str(), Here::Naming);
        local::twin(engine, first, &entry.path, &mut naming)?;
        copied = copied.saturating_add(entry.size);
        named.add(&entry.path, entry.size, &mut naming)?;
    }
    named.settle(&mut naming)?;
    goes_on()?;
    {
        let _here = engine.board.works(HEAD, Here::Naming);
        staged.publish(&mut naming)?;
    }
    remove_unlisted(engine, head.id(), unlisted, &mut naming)?;
    // If a killed process had begun to replace another release, unwanted files may still be those of that release.
    let is_whole = partial == 0 && files_to_name == engine.chunks.files.entries().len();
    naming.sweep(if is_whole { Standing::IsWhole } else { Standing::MayBeReplaced })?;
    named.files.sort();
    let progress = engine.board.figures.progress();
    let bytes = progress.wanted.saturating_add(copied);
    Ok(Fetched { head, bytes, progress, files: named.files, partial })
}

/// Files that have final names which are not durable yet. The names are synced together, and reported then.
struct Named<'a> {
    engine: &'a Engine,
    names: Vec<(EntryPath, u64)>,
    /// The files whose names are durable.
    files: Vec<EntryPath>,
}

impl Named<'_> {
    fn add(&mut self, path: &EntryPath, size: u64, naming: &mut Naming) -> Result<(), FetchError> {
        self.names.push((path.clone(), size));
        if self.names.len() < NAMES { Ok(()) } else { self.settle(naming) }
    }

    fn settle(&mut self, naming: &mut Naming) -> Result<(), FetchError> {
        naming.settle()?;
        for (path, size) in self.names.drain(..) {
            self.files.push(path.clone());
            self.engine.board.say(Event::File { path, size });
        }
        Ok(())
    }
}

/// How many names are synced together. With more, a person sees the first one later; with fewer, the same folders are
/// synced more often.
const NAMES: usize = 2_048;

/// Reports the entries of the folder that are not listed, and removes them if the caller wants that.
fn remove_unlisted(
    engine: &Engine,
    head: HeadId,
    unlisted: Unlisted,
    naming: &mut Naming,
) -> Result<(), FetchError> {
    let _here = engine.board.works(FOLDER, Here::Listing);
    let is_listed = |path: &str| engine.chunks.files.find(path).is_some();
    let mut extras = engine.chunks.destination.unlisted(&is_listed)?;
    if unlisted == Unlisted::Prune {
        let roots = engine.chunks.files.entries().iter().map(|entry| entry.root).collect();
        extras.extend(engine.chunks.destination.left_over(&roots, head)?);
    }
    for extra in extras {
        let removed = unlisted == Unlisted::Prune && engine.chunks.destination.remove(naming, &extra)?;
        engine.board.say(Event::Extra { path: extra.path, removed, fault: extra.fault });
    }
    Ok(())
}

/// Refuses to remove anything from a folder that never held this model.
pub(super) fn only_listed(
    destination: &Destination,
    files: &VerifiedFileList,
    folder: PathBuf,
) -> Result<(), FetchError> {
    let extras = destination.unlisted(&|path| files.find(path).is_some())?;
    let Some(first) = extras.first() else { return Ok(()) };
    let why = Unpruned::Foreign { first: first.path.clone(), count: extras.len() };
    Err(FetchError::NotPruned { folder, why })
}
