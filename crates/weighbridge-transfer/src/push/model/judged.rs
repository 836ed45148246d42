//! The bytes of a model that is pushed, judged in the memory that is sent.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use weighbridge_manifest::ListError;
use weighbridge_store::{FILES, FileView, HoldingError, OpenError, ViewError, read_bounded};
#[cfg(feature = "cloud")]
use weighbridge_verify::FileVerifier;
use weighbridge_verify::PageBuffer;

use super::Model;
use crate::push::PushError;

/// A file of a model, or of its metadata, of which each read is judged (rule 10).
#[derive(Clone)]
pub(crate) enum Judged {
    File(Arc<FileView>),
    /// A list, as a whole.
    #[cfg(feature = "cloud")]
    List(Bytes),
    /// `chunks.layer`.
    Layers,
}

impl Model {
    /// Opens a file of the list. Waits for the disk.
    #[cfg(feature = "cloud")]
    pub(crate) fn judged_file(&self, position: usize) -> Result<Judged, PushError> {
        Ok(Judged::File(self.file(position)?))
    }

    /// Reads a list. Waits for the disk.
    pub(crate) fn list(&self, name: &'static str) -> Result<Bytes, PushError> {
        let head = self.head().head();
        let length = match name {
            FILES => head.files.length,
            _ => head.tensors.map_or(0, |tensors| tensors.list.length),
        };
        let bytes = read_bounded(&self.metadata.join(name), length).map_err(PushError::Io)?;
        let judged: Result<(), ListError> = match name {
            FILES => self.head().open_files(&bytes).map(drop),
            _ => self.files.open_tensors(&bytes).map(drop),
        };
        judged.map_err(|_| PushError::Changed { path: name.to_owned() })?;
        Ok(bytes.into())
    }

    /// Reads a range, which begins and ends with chunks if it is one of a file. Waits for the disk.
    pub(crate) fn read_judged(&self, from: &Judged, range: &Range<u64>) -> Result<Bytes, PushError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        match from {
            Judged::File(view) => {
                let mut buffer = PageBuffer::zeroed(length);
                let filled = view.fill_at(range.start, &mut buffer);
                filled.map_err(|error| self.unfit(view.verifier().position(), error))?;
                Ok(Bytes::from_owner(buffer))
            }
            #[cfg(feature = "cloud")]
            Judged::List(bytes) => {
                let start = usize::try_from(range.start).unwrap_or(usize::MAX);
                let end = start.saturating_add(length);
                (end <= bytes.len()).then(|| bytes.slice(start..end)).ok_or(PushError::Bug)
            }
            Judged::Layers => self.layers(range),
        }
    }

    /// A range of `chunks.layer`, put together from layers that their roots confirm.
    fn layers(&self, range: &Range<u64>) -> Result<Bytes, PushError> {
        let first = self.layers.partition_point(|place| place.end <= range.start);
        let here = self.layers.iter().enumerate().skip(first);
        let mut bytes = Vec::new();
        for (position, place) in here.take_while(|(_, place)| place.start < range.end) {
            if place.is_empty() {
                continue;
            }
            let layer = self.open.view.layer(position).map_err(|error| self.unfit(position, error))?;
            let layer: Vec<u8> = layer.values().iter().flat_map(|value| *value.as_bytes()).collect();
            let within = |at: u64| usize::try_from(at.saturating_sub(place.start)).unwrap_or(usize::MAX);
            let part = within(range.start)..within(range.end.min(place.end));
            bytes.extend_from_slice(layer.get(part).ok_or(PushError::Bug)?);
        }
        Ok(bytes.into())
    }

    /// A judge of chunks of a file that come from elsewhere. The file itself is not opened. Waits for the disk.
    #[cfg(feature = "cloud")]
    pub(crate) fn verifier(&self, position: usize) -> Result<FileVerifier, PushError> {
        let layer = self.open.view.layer(position).map_err(|error| self.unfit(position, error))?;
        FileVerifier::new(&self.files, position, layer).map_err(|_| PushError::Bug)
    }

    /// The error of a file that gives no bytes, or of its layer.
    pub(super) fn unfit(&self, position: usize, error: ViewError) -> PushError {
        match error {
            ViewError::Holding(HoldingError::Io(error)) => PushError::Io(error),
            ViewError::Chunk { .. }
            | ViewError::Changed { .. }
            | ViewError::Holding(HoldingError::Missing { .. } | HoldingError::WrongLength { .. }) => {
                let entry = self.files.entries().get(position);
                PushError::Changed {
                    path: entry.map(|entry| entry.path.as_str().to_owned()).unwrap_or_default(),
                }
            }
            error => PushError::Model(OpenError::View(error)),
        }
    }
}
