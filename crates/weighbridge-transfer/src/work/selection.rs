//! The selection: the wanted files and chunks of a model.

use std::collections::BTreeMap;

use weighbridge_manifest::{FileEntry, VerifiedFileList, VerifiedTensorList};
use weighbridge_tree::Grid;

use crate::{error::FetchError, options::Wanted, ranges::RangeSet, work::target::Target};

/// The files of which all or a part is wanted.
pub(crate) struct Selection {
    /// The wanted files by position. Of several files with the same bytes only the first is listed.
    pub(crate) targets: Vec<Target>,
    /// The other files with the same bytes: the position of each, and that of the first.
    pub(crate) twins: Vec<(usize, usize)>,
}

impl Selection {
    /// Selects the wanted files of a list, and the wanted chunks of each.
    ///
    /// # Errors
    /// [`FetchError`]: tensors are wanted and not listed, or nothing matches.
    pub(crate) fn of(
        files: &VerifiedFileList,
        tensors: Option<&VerifiedTensorList>,
        wanted: &Wanted,
    ) -> Result<Self, FetchError> {
        let is_all = wanted.files.is_none() && wanted.tensors.is_none();
        let mut chunks: BTreeMap<usize, RangeSet> = BTreeMap::new();
        for (position, entry) in files.entries().iter().enumerate() {
            if is_all || wanted.files.as_ref().is_some_and(|globs| globs.is_match(entry.path.as_str())) {
                let mut all = RangeSet::default();
                all.insert(0..grid_of(files, entry)?.count());
                chunks.insert(position, all);
            }
        }
        if let Some(globs) = &wanted.tensors {
            let tensors = tensors.ok_or(FetchError::NoTensors)?;
            for tensor in tensors.entries().iter().filter(|tensor| globs.is_match(tensor.name.as_str())) {
                let Some((position, entry)) = files.find(tensor.file.as_str()) else { continue };
                let unit = files.chunk_size().bytes();
                let wanted = chunks.entry(position).or_insert_with(|| {
                    // A loader needs the header too, which ends where the first tensor begins.
                    let others = tensors.of_file(entry.path.as_str());
                    let first = others.iter().map(|tensor| tensor.offset).min().unwrap_or(0);
                    let mut header = RangeSet::default();
                    header.insert(0..first.div_ceil(unit));
                    header
                });
                let end = tensor.offset.saturating_add(tensor.size);
                if tensor.size > 0 {
                    wanted.insert(tensor.offset / unit..end.div_ceil(unit));
                }
            }
        }
        if chunks.is_empty() {
            return Err(FetchError::NothingWanted);
        }
        Self::of_chunks(files, chunks)
    }

    fn of_chunks(files: &VerifiedFileList, chunks: BTreeMap<usize, RangeSet>) -> Result<Self, FetchError> {
        let mut selection = Self { targets: Vec::new(), twins: Vec::new() };
        let mut firsts: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        for (position, wanted) in chunks {
            let Some(entry) = files.entries().get(position) else { continue };
            let target = Target::new(position, entry, grid_of(files, entry)?, wanted);
            // Files that are wanted in part are not twins: they get no final name, and so need no copy.
            if target.is_whole() {
                let first = *firsts.entry(*entry.root.as_bytes()).or_insert(position);
                if first != position {
                    selection.twins.push((position, first));
                    continue;
                }
            }
            selection.targets.push(target);
        }
        Ok(selection)
    }
}

fn grid_of(files: &VerifiedFileList, entry: &FileEntry) -> Result<Grid, FetchError> {
    // Sizes of a verified list are below 2^53, which is the only condition of a grid.
    Grid::new(entry.size, files.chunk_size()).map_err(|_| FetchError::NothingWanted)
}
