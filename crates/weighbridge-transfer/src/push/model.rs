//! The model that is pushed, as it lies in its folder.

use std::{
    collections::VecDeque,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use weighbridge_manifest::{Expectation, Note, TrustPolicy, VerifiedFileList, VerifiedHead};
use weighbridge_store::{CHUNKS, FileView, Metadata, OpenError, OpenModel, open_to_read};
use weighbridge_tree::{Grid, head_id};

use super::PushError;
use crate::board::lock;

pub(crate) mod judged;

use judged::Judged;

/// A weighed model. Its head is believed by its own word: the receiver judges it.
///
/// # Guarantee
/// Everything is judged in the memory from which it is sent (rule 10): of a file that has changed since it was weighed nothing wrong is
/// sent.
pub(crate) struct Model {
    metadata: PathBuf,
    pub(crate) note: Bytes,
    pub(crate) files: Arc<VerifiedFileList>,
    /// Keeps the files of the release, should another one take its place meanwhile.
    open: OpenModel,
    open_files: Mutex<VecDeque<(usize, Arc<Slot>)>>,
    /// The range of each file's layer in `chunks.layer`, and the length of all.
    layers: Vec<Range<u64>>,
}

impl Model {
    /// Opens a weighed folder. No weight is read.
    pub(crate) fn open(folder: &Path) -> Result<Self, PushError> {
        let metadata = Metadata::of_model(folder);
        let note = metadata.note().map_err(PushError::Io)?;
        let parsed = Note::parse(&note).map_err(|error| PushError::Model(OpenError::Note(error)))?;
        let id = head_id(parsed.text().as_bytes());
        let expected = Expectation::any().head(id).allow_expired();
        let open = OpenModel::open(folder, &metadata, &TrustPolicy::pinned(id), &expected, None);
        let open = open.map_err(PushError::Model)?;
        let files = Arc::clone(&open.files);
        let mut end = 0_u64;
        let place = |entry: &weighbridge_manifest::FileEntry| {
            let start = end;
            end = end.saturating_add(Grid::new(entry.size, files.chunk_size()).map_or(0, Grid::layer_len));
            start..end
        };
        let layers: Vec<_> = files.entries().iter().map(place).collect();
        let model = Self {
            metadata: metadata.folder().to_owned(),
            note: note.into(),
            files,
            open,
            open_files: Mutex::default(),
            layers,
        };
        let len = model.layers_len();
        let there = open_to_read(&model.metadata.join(CHUNKS)).and_then(|file| file.metadata());
        if len > 0 && !there.is_ok_and(|there| there.len() == len) {
            return Err(PushError::NoLayers);
        }
        Ok(model)
    }

    pub(crate) fn head(&self) -> &VerifiedHead {
        self.files.head()
    }

    pub(crate) fn layers_len(&self) -> u64 {
        self.layers.last().map_or(0, |place| place.end)
    }

    /// The bytes of lists and layers.
    pub(crate) fn metadata_len(&self) -> u64 {
        let head = self.head().head();
        let tensors = head.tensors.map_or(0, |tensors| tensors.list.length);
        head.files.length.saturating_add(tensors).saturating_add(self.layers_len())
    }

    /// Divides a range of `chunks.layer` into pieces of whole layers, of about `most` bytes. `None` if a layer does not begin or end
    /// with the range.
    pub(crate) fn layer_pieces(&self, range: &Range<u64>, most: u64) -> Option<Vec<Range<u64>>> {
        let first =
            self.layers.partition_point(|place| place.start < range.start || place.end <= range.start);
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut at = range.start;
        for place in self.layers.iter().skip(first).filter(|place| !place.is_empty()) {
            if place.start != at || at >= range.end {
                break;
            }
            at = place.end;
            match pieces.last_mut() {
                Some(last) if place.end.saturating_sub(last.start) <= most => last.end = place.end,
                _ => pieces.push(place.clone()),
            }
        }
        (at == range.end).then_some(pieces)
    }

    /// Reads whole chunks of a file, judged in the memory from which they are sent. Waits for the disk.
    pub(crate) fn chunks(&self, position: usize, range: &Range<u64>) -> Result<Bytes, PushError> {
        self.read_judged(&Judged::File(self.file(position)?), range)
    }

    /// A file, open, with its layer. Many may ask for one at once: one of them opens it, and others have theirs meanwhile.
    fn file(&self, position: usize) -> Result<Arc<FileView>, PushError> {
        let slot = {
            let mut open_files = lock(&self.open_files);
            let at = open_files.iter().position(|(other, _)| *other == position);
            let slot = at.and_then(|at| open_files.remove(at)).map_or_else(Arc::default, |(_, slot)| slot);
            if open_files.len() >= MOST_OPEN {
                open_files.pop_front();
            }
            open_files.push_back((position, Arc::clone(&slot)));
            slot
        };
        let mut slot = lock(&slot);
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = self.open.view.open_file(position).map_err(|fault| self.unfit(position, fault))?;
        let file = Arc::new(file);
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// A file that is open, or is being opened.
type Slot = Mutex<Option<Arc<FileView>>>;

/// The files that stay open from one piece to the next.
const MOST_OPEN: usize = 16;
