//! A wanted file, and its progress.

use std::{
    io::ErrorKind::NotFound,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use weighbridge_manifest::{EntryPath, FileEntry};
use weighbridge_store::{ClosedFile, Destination, Naming, PartialFile, Stamp, StoreError};
use weighbridge_tree::{FileRoot, Grid};

use crate::{error::FetchError, ranges::RangeSet, source::What};

/// A file of which chunks are wanted.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) position: usize,
    pub(crate) path: EntryPath,
    pub(crate) root: FileRoot,
    pub(crate) grid: Grid,
    /// The positions of the wanted chunks.
    pub(crate) wanted: RangeSet,
    state: Mutex<TargetState>,
}

#[derive(Debug, Default)]
struct TargetState {
    /// Opened when it is first needed, closed when nothing is left to write.
    partial: Option<Arc<PartialFile>>,
    /// The identity of the file when it was closed.
    closed: Option<ClosedFile>,
    /// The chunks that are accepted and written, and those of them that are synced.
    stored: RangeSet,
    unsynced: RangeSet,
    /// Whether all of the file is under its final name already.
    in_place: bool,
    /// The identity of the file under its final name when it was read.
    found: Option<Stamp>,
}

impl Target {
    pub(crate) fn new(position: usize, entry: &FileEntry, grid: Grid, wanted: RangeSet) -> Self {
        let state = Mutex::default();
        Self { position, path: entry.path.clone(), root: entry.root, grid, wanted, state }
    }

    /// Whether all of the file is wanted, so that it gets its final name.
    pub(crate) fn is_whole(&self) -> bool {
        self.wanted.len() == self.grid.count()
    }

    /// The file in the form in which sources are asked for it.
    pub(crate) fn what(&self) -> What {
        What::File { path: self.path.clone(), root: self.root, size: self.grid.len() }
    }

    /// The bytes of the chunks of a run.
    pub(crate) fn bytes(&self, chunks: &Range<u64>) -> u64 {
        let range = self.range(chunks);
        range.end.saturating_sub(range.start)
    }

    /// The byte range of a run of chunks.
    pub(crate) fn range(&self, chunks: &Range<u64>) -> Range<u64> {
        let unit = self.grid.granule().bytes();
        let len = self.grid.len();
        chunks.start.saturating_mul(unit).min(len)..chunks.end.saturating_mul(unit).min(len)
    }

    /// The bytes of the wanted chunks.
    pub(crate) fn wanted_bytes(&self) -> u64 {
        self.wanted.iter().map(|chunks| self.bytes(&chunks)).sum()
    }

    /// Opens or creates the file that its chunks are written to.
    pub(crate) fn partial(&self, destination: &Destination) -> Result<Arc<PartialFile>, FetchError> {
        self.state().open(self, destination)
    }

    /// Opens the file that its chunks are written to, if there is one. Returns whether it is open.
    pub(crate) fn open_if_there(&self, destination: &Destination) -> Result<bool, FetchError> {
        let mut state = self.state();
        if state.partial.is_none() {
            state.partial = destination.partial_if_there(self.root, self.grid.len())?.map(Arc::new);
        }
        Ok(state.partial.is_some())
    }

    /// The file that these chunks are to be written to; `None` if they have been written already.
    pub(crate) fn to_store(
        &self,
        chunks: &Range<u64>,
        destination: &Destination,
    ) -> Result<Option<Arc<PartialFile>>, FetchError> {
        let mut state = self.state();
        // Checked and opened under one lock: a file that is closed, or has its final name, is not opened again for
        // chunks that came twice.
        if state.stored.contains_range(chunks) {
            return Ok(None);
        }
        state.open(self, destination).map(Some)
    }

    /// Takes over a file in which every chunk was accepted.
    pub(crate) fn adopt(&self, partial: PartialFile) {
        self.state().partial = Some(Arc::new(partial));
    }

    /// Whether the partial file is open.
    pub(crate) fn is_open(&self) -> bool {
        self.state().partial.is_some()
    }

    /// Gives the final name to the file in which every chunk was accepted. Returns `false` if the named file may be a
    /// different one: other processes may have put another in its place since it was closed.
    pub(crate) fn place(&self, destination: &Destination, naming: &mut Naming) -> Result<bool, FetchError> {
        let state = self.state();
        let placed = match (&state.partial, &state.closed) {
            (Some(partial), _) => naming.place(destination, partial, &self.path),
            (None, Some(closed)) => naming.place_closed(destination, closed, &self.path),
            (None, None) => return Ok(false),
        };
        match placed {
            Err(StoreError::Io(error)) if error.source.kind() == NotFound => Ok(false),
            placed => Ok(placed.map(|()| true)?),
        }
    }

    /// Counts chunks as written. Returns the bytes of the wanted ones that were not counted before.
    pub(crate) fn store(&self, chunks: &Range<u64>) -> u64 {
        let mut state = self.state();
        let new: Vec<_> = state.stored.missing_in(chunks).collect();
        state.stored.insert(chunks.clone());
        let mut bytes = 0;
        for run in new {
            // Chunks that are not wanted are never reported as durable.
            for wanted in self.wanted.within(&run) {
                bytes += self.bytes(&wanted);
                state.unsynced.insert(wanted);
            }
        }
        bytes
    }

    /// Counts all of the file as being under its final name, as it was `found` when it was read. Returns the wanted
    /// bytes that were not counted before.
    pub(crate) fn is_in_place_already(&self, found: Option<Stamp>) -> u64 {
        let bytes = self.store(&(0..self.grid.count()));
        let mut state = self.state();
        (state.in_place, state.found) = (true, found);
        bytes
    }

    /// Whether the file has its final name, and is still the file that was read. Where the system cannot recognise
    /// files, the name is trusted.
    pub(crate) fn is_in_place(&self, destination: &Destination) -> Result<bool, FetchError> {
        let (in_place, found) = {
            let state = self.state();
            (state.in_place, state.found.clone())
        };
        if !in_place || found.is_none() {
            return Ok(in_place);
        }
        let now = destination.finished(&self.path)?;
        Ok(now.and_then(|(file, _)| Stamp::of(&file).ok()) == found)
    }

    /// Takes the chunks that are written and not known to be synced, to be synced now.
    pub(crate) fn take_unsynced(&self) -> (Option<Arc<PartialFile>>, RangeSet) {
        let mut state = self.state();
        (state.partial.clone(), std::mem::take(&mut state.unsynced))
    }

    /// Whether every wanted chunk is written and synced.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state();
        state.unsynced.is_empty() && self.wanted.iter().all(|run| state.stored.contains_range(&run))
    }

    /// Closes the file, since all is written and synced. Where an open file cannot be recognised later, it stays open.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        if let Some(closed) = state.partial.as_ref().and_then(|partial| partial.closed()) {
            state.closed = Some(closed);
            state.partial = None;
        }
    }

    /// Closes the file for now, if all that is written is synced and nobody is writing. It is opened again for the next chunk.
    pub(crate) fn put_aside(&self) {
        let mut state = self.state();
        let is_free = state.partial.as_ref().is_some_and(|partial| Arc::strong_count(partial) == 1);
        if is_free && state.unsynced.is_empty() {
            state.partial = None;
        }
    }

    /// Removes the incomplete file if it could not be synced.
    pub(crate) fn remove_if_broken(&self) {
        if let Some(partial) = &self.state().partial {
            partial.remove_if_broken();
        }
    }

    /// Records that the file has its final name.
    pub(crate) fn placed(&self) {
        let mut state = self.state();
        state.partial = None;
        (state.in_place, state.found) = (true, None);
    }

    fn state(&self) -> MutexGuard<'_, TargetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetState {
    fn open(&mut self, target: &Target, destination: &Destination) -> Result<Arc<PartialFile>, FetchError> {
        if let Some(partial) = &self.partial {
            return Ok(Arc::clone(partial));
        }
        let partial = Arc::new(destination.partial(target.root, target.grid.len())?);
        self.partial = Some(Arc::clone(&partial));
        Ok(partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge_testkit::Sample;

    /// The first file, with all of it written, synced and closed.
    fn closed(sample: &Sample, destination: &Destination) -> Target {
        let entry = &sample.list.entries()[0];
        let grid = Grid::new(entry.size, sample.list.chunk_size()).unwrap();
        let mut wanted = RangeSet::default();
        wanted.insert(0..grid.count());
        let target = Target::new(0, entry, grid, wanted);
        let run = sample.verifier(0).accept_run(0, sample.bytes(0)).unwrap();
        let partial = target.to_store(&run.indices(), destination).unwrap().unwrap();
        partial.write(&run).unwrap();
        target.store(&run.indices());
        assert!(target.to_store(&run.indices(), destination).unwrap().is_none(), "it is there");
        target.close();
        assert!(target.is_open(), "what is not synced is not closed");
        destination.sync(&[&partial]).remove(0).unwrap();
        drop((target.take_unsynced(), partial));
        target.close();
        target
    }

    /// Regression: another process had placed the file, and a hole of the same name got its final name.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_closed_is_not_taken_for_another_of_its_name() {
        let place = tempfile::tempdir().unwrap();
        let sample = Sample::of(&[("a", 100_000)], 1);
        let destination = Destination::open(place.path()).unwrap();
        let target = closed(&sample, &destination);
        let entry = &sample.list.entries()[0];
        let path = place.path().join(format!("weighbridge/partial/{}", entry.root));
        assert!(!target.is_open() && destination.open_files() == 0);
        let staged = destination.stage(sample.id).unwrap();
        let mut naming = destination.begin_naming(destination.lock().unwrap(), &staged).unwrap();
        let aside = place.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        assert!(!target.place(&destination, &mut naming).unwrap(), "nothing is there");
        drop(destination.partial(entry.root, entry.size).unwrap());
        assert!(!target.place(&destination, &mut naming).unwrap(), "a hole was taken for it");
        // By its time, the file itself has changed since it was renamed, so it would have to be read again.
        std::fs::rename(&aside, &path).unwrap();
        assert!(!target.place(&destination, &mut naming).unwrap(), "somebody was at it");
        assert!(!place.path().join("a").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_closed_file_gets_its_name_without_being_opened() {
        let place = tempfile::tempdir().unwrap();
        let sample = Sample::of(&[("a", 100_000)], 1);
        let destination = Destination::open(place.path()).unwrap();
        let target = closed(&sample, &destination);
        let staged = destination.stage(sample.id).unwrap();
        let mut naming = destination.begin_naming(destination.lock().unwrap(), &staged).unwrap();
        assert!(target.place(&destination, &mut naming).unwrap());
        assert_eq!(destination.open_files(), 0);
        assert_eq!(std::fs::read(place.path().join("a")).unwrap(), sample.bytes(0));
    }
}
