//! The model that is pushed, as it lies in its folder.

use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use weighbridge_manifest::{Expectation, Note, TrustPolicy, VerifiedFileList, VerifiedHead};
use weighbridge_store::{
    CHUNKS, FILES, HEAD, IoError, Metadata, OpenError, OpenModel, TENSORS, open_to_read, read_bounded,
    read_exact_at,
};
use weighbridge_tree::{Grid, head_id};
use weighbridge_verify::PageBuffer;

use super::PushError;

/// A weighed model. Its head is believed by its own word: the receiver judges it.
///
/// # Non-guarantee
/// Bytes are sent as they are read. A file that has changed since it was weighed is found by the receiver.
pub(crate) struct Model {
    folder: PathBuf,
    metadata: PathBuf,
    pub(crate) note: Bytes,
    pub(crate) files: std::sync::Arc<VerifiedFileList>,
    /// Keeps the files of the release, should another one take its place meanwhile.
    open: OpenModel,
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
        let files = std::sync::Arc::clone(&open.files);
        let mut end = 0_u64;
        let place = |entry: &weighbridge_manifest::FileEntry| {
            let start = end;
            end = end.saturating_add(Grid::new(entry.size, files.chunk_size()).map_or(0, Grid::layer_len));
            start..end
        };
        let layers: Vec<_> = files.entries().iter().map(place).collect();
        let model = Self {
            folder: folder.to_owned(),
            metadata: metadata.folder().to_owned(),
            note: note.into(),
            files,
            open,
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

    /// Reads a list. Waits for the disk.
    pub(crate) fn list(&self, name: &str) -> Result<Bytes, PushError> {
        let head = self.head().head();
        let length = match name {
            FILES => head.files.length,
            TENSORS => head.tensors.map_or(0, |tensors| tensors.list.length),
            HEAD => return Ok(self.note.clone()),
            _ => 0,
        };
        let place = self.metadata.join(name);
        let bytes = read_bounded(&place, length).map_err(PushError::Io)?;
        if u64::try_from(bytes.len()) == Ok(length) {
            return Ok(bytes.into());
        }
        let error = std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "it is not the one that the head has signed",
        );
        Err(PushError::Io(IoError::at("read", place)(error)))
    }

    /// Reads a range of `chunks.layer`. Waits for the disk.
    pub(crate) fn layer_bytes(&self, range: &Range<u64>) -> Result<Bytes, PushError> {
        read(&self.metadata.join(CHUNKS), range)
    }

    /// Reads a range of a file. Waits for the disk.
    pub(crate) fn bytes(&self, path: &str, range: &Range<u64>) -> Result<Bytes, PushError> {
        read(&self.folder.join(path), range)
    }

    /// Whether a chunk of a file is the signed one, as it is read now. Waits for the disk.
    pub(crate) fn is_good(&self, position: usize, chunk: u64) -> bool {
        let Some(entry) = self.files.entries().get(position) else { return false };
        let grid = Grid::new(entry.size, self.files.chunk_size()).ok();
        let Some(range) = grid.and_then(|grid| grid.range(chunk)) else { return false };
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let file = self.open.view.open_file(position);
        file.and_then(|file| file.fill_at(range.start, &mut PageBuffer::zeroed(length))).is_ok()
    }
}

fn read(place: &Path, range: &Range<u64>) -> Result<Bytes, PushError> {
    let failed = |error| PushError::Io(IoError::at("read", place)(error));
    let file: File = open_to_read(place).map_err(failed)?;
    let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut buffer = PageBuffer::zeroed(length);
    read_exact_at(&file, &mut buffer, range.start).map_err(failed)?;
    Ok(Bytes::from_owner(buffer))
}
