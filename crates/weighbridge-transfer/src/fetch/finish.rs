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
    work::{
        engine::Engine,
        on_disk::{Watch, name_files},
    },
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
    let partial = engine.chunks.targets.values().filter(|target| !target.is_whole()).count();
    // The old files stay if the new metadata cannot replace the old.
    staged.check_places()?;
    let files_to_name =
        engine.chunks.targets.values().filter(|target| target.is_whole()).count() + twins.len();
    engine.board.say(Event::Naming { files: u64::try_from(files_to_name).unwrap_or(u64::MAX) });
    let mut watch = Names { engine, files: Vec::new() };
    let copied = name_files(&engine.chunks, twins, &mut naming, &mut watch)?;
    let Names { mut files, .. } = watch;
    goes_on(engine)?;
    {
        let _here = engine.board.works(HEAD, Here::Naming);
        staged.publish(&mut naming)?;
    }
    remove_unlisted(engine, head.id(), unlisted, &mut naming)?;
    // If a killed process had begun to replace another release, unwanted files may still be those of that release.
    let is_whole = partial == 0 && files_to_name == engine.chunks.files.entries().len();
    naming.sweep(if is_whole { Standing::IsWhole } else { Standing::MayBeReplaced })?;
    files.sort();
    let progress = engine.board.figures.progress();
    let bytes = progress.wanted.saturating_add(copied);
    let nearby = engine.board.figures.nearby();
    let partial = u64::try_from(partial).unwrap_or(u64::MAX);
    Ok(Fetched { head, bytes, progress, nearby, files, partial })
}

fn goes_on(engine: &Engine) -> Result<(), FetchError> {
    match engine.has_failed() {
        true => Err(FetchError::Stopped { progress: engine.board.figures.progress() }),
        false => Ok(()),
    }
}

/// Reports the names that files get.
struct Names<'a> {
    engine: &'a Engine,
    /// The files whose names are durable.
    files: Vec<EntryPath>,
}

impl Watch for Names<'_> {
    fn naming(
        &mut self,
        path: &EntryPath,
        name: &mut dyn FnMut() -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        goes_on(self.engine)?;
        let _here = self.engine.board.works(path.as_str(), Here::Naming);
        name()
    }

    fn named(&mut self, path: EntryPath, size: u64) {
        self.files.push(path.clone());
        self.engine.board.say(Event::File { path, size });
    }
}

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
pub(crate) fn only_listed(
    destination: &Destination,
    files: &VerifiedFileList,
    folder: PathBuf,
) -> Result<(), FetchError> {
    let extras = destination.unlisted(&|path| files.find(path).is_some())?;
    let Some(first) = extras.first() else { return Ok(()) };
    let why = Unpruned::Foreign { first: first.path.clone(), count: extras.len() };
    Err(FetchError::NotPruned { folder, why })
}
