//! Chunks whose bytes lie in files of other releases on this machine.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use weighbridge_store::{FileView, ModelView};
use weighbridge_verify::{FileVerifier, PageBuffer};

use super::{engine::Engine, on_disk::pieces, target::Target};
use crate::{error::FetchError, nearby::NearbyTensor, ranges::RangeSet};

/// The chunks of a file that can be made of tensors of other releases.
#[derive(Default)]
pub(crate) struct Near {
    /// The tensors, by the range of their bytes in the wanted file: ascending, and disjoint.
    spans: Vec<(Range<u64>, NearbyTensor)>,
    /// The wanted chunks of which each byte is in one of them.
    pub(crate) chunks: RangeSet,
}

impl Near {
    /// Looks for the tensors of a file. Nothing is read.
    pub(crate) fn of(engine: &Engine, target: &Target) -> Self {
        let Some(tensors) = engine.chunks.tensors.as_ref().filter(|_| !engine.nearby.is_empty()) else {
            return Self::default();
        };
        let mut spans: Vec<_> = tensors
            .of_file(target.path.as_str())
            .iter()
            .filter(|tensor| tensor.size > 0)
            .filter_map(|tensor| {
                let near = engine.nearby.get(tensor.hash.as_bytes())?;
                Some((tensor.offset..tensor.offset.saturating_add(tensor.size), near.clone()))
            })
            .collect();
        spans.sort_by_key(|(bytes, _)| bytes.start);
        // Tensors of a list may overlap: `verify` refuses such a file, and a fetch does not.
        let mut end = 0;
        spans.retain(|(bytes, _)| {
            let is_behind = bytes.start >= end;
            end = end.max(if is_behind { bytes.end } else { 0 });
            is_behind
        });
        let mut covered = RangeSet::default();
        spans.iter().for_each(|(bytes, _)| covered.insert(bytes.clone()));
        let granule = target.grid.granule().bytes();
        let mut chunks = RangeSet::default();
        for bytes in covered.iter() {
            let is_at_end = bytes.end >= target.grid.len();
            let last =
                if is_at_end { target.grid.count() } else { bytes.end.checked_div(granule).unwrap_or(0) };
            let inner = bytes.start.div_ceil(granule)..last;
            if inner.start < inner.end {
                target.wanted.within(&inner).for_each(|run| chunks.insert(run));
            }
        }
        Self { spans, chunks }
    }

    /// Copies the chunks that are not among `have`, which grows by those that were good.
    ///
    /// Blocks on the disk.
    pub(crate) fn copy(
        &self,
        engine: &Engine,
        target: &Target,
        file: &FileVerifier,
        have: &mut RangeSet,
    ) -> Result<(), FetchError> {
        let mut hands = Hands::default();
        let lacking: Vec<_> =
            self.chunks.iter().flat_map(|run| have.missing_in(&run).collect::<Vec<_>>()).collect();
        for run in lacking.iter().flat_map(|run| pieces(target, run)) {
            if engine.has_failed() {
                return Ok(());
            }
            if self.take(engine, target, file, &run, &mut hands)? {
                have.insert(run);
                continue;
            }
            for index in run {
                let chunk = index..index.saturating_add(1);
                if self.take(engine, target, file, &chunk, &mut hands)? {
                    have.insert(chunk);
                }
            }
        }
        Ok(())
    }

    /// Copies a run of chunks. Returns whether all of them were good; if not, none is written.
    fn take(
        &self,
        engine: &Engine,
        target: &Target,
        file: &FileVerifier,
        run: &Range<u64>,
        hands: &mut Hands,
    ) -> Result<bool, FetchError> {
        hands.buffer.resize(usize::try_from(target.bytes(run)).unwrap_or(0));
        if !self.read(&mut hands.open, target.range(run).start, &mut hands.buffer) {
            return Ok(false);
        }
        // The chunks are judged in the buffer from which they are written (rule 10).
        let Ok(good) = file.accept_run(run.start, &hands.buffer) else { return Ok(false) };
        engine.board.figures.add_nearby(engine.chunks.write(target, &good)?);
        Ok(true)
    }

    /// Fills a buffer with the bytes from `start` on of the wanted file; `false` if one of the tensors cannot be read: its release
    /// may have been removed meanwhile.
    fn read(&self, open: &mut Open, start: u64, into: &mut [u8]) -> bool {
        let len = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let first = self.spans.partition_point(|(bytes, _)| bytes.end <= start);
        let (mut at, mut rest) = (start, into);
        for (bytes, near) in self.spans.iter().skip(first) {
            if rest.is_empty() {
                break;
            }
            let here = bytes.end.saturating_sub(at).min(len(rest));
            let here = usize::try_from(here).unwrap_or(0);
            let Some((part, behind)) = std::mem::take(&mut rest).split_at_mut_checked(here) else { break };
            let offset = near.offset.saturating_add(at.saturating_sub(bytes.start));
            let is_read =
                bytes.start <= at && open.file(near).is_some_and(|view| view.fill_at(offset, part).is_ok());
            if !is_read {
                return false;
            }
            (at, rest) = (bytes.end, behind);
        }
        rest.is_empty()
    }
}

/// The buffer and the open files of one who copies.
#[derive(Default)]
struct Hands {
    buffer: PageBuffer,
    open: Open,
}

/// The files that are open while one is copied; `None` for one that cannot be opened. A file is known by its release and its position.
#[derive(Default)]
struct Open(BTreeMap<(*const ModelView, usize), Option<FileView>>);

impl Open {
    fn file(&mut self, near: &NearbyTensor) -> Option<&FileView> {
        let key = (Arc::as_ptr(&near.view), near.file);
        self.0.entry(key).or_insert_with(|| near.view.open_file(near.file).ok()).as_ref()
    }
}
