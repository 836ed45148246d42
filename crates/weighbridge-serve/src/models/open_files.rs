//! Files of releases that stay open.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use weighbridge_store::{FileView, ModelView, ViewError, descriptor_limit};
use weighbridge_tree::HeadId;

use crate::room::lock;

/// Files that stay open from one request to the next, those used last at the end.
#[derive(Debug)]
pub(super) struct OpenFiles {
    files: Mutex<VecDeque<(FileKey, Arc<Slot>)>>,
    most: usize,
}

type FileKey = (HeadId, usize);

/// A file that is open, or is being opened by the one who has the lock.
type Slot = Mutex<Option<Arc<FileView>>>;

impl OpenFiles {
    pub(super) fn new() -> Self {
        // The connections need descriptors as well.
        let limit = descriptor_limit().map_or(256, |limit| usize::try_from(limit / 8).unwrap_or(256));
        Self { files: Mutex::default(), most: limit.clamp(8, 256) }
    }

    /// Many ask for one file at once: one of them opens it, and reads its layer.
    pub(super) fn open(&self, view: &Arc<ModelView>, key: FileKey) -> Result<Arc<FileView>, ViewError> {
        let slot = self.slot(key);
        let mut slot = lock(&slot);
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(view.open_file(key.1)?);
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    fn slot(&self, key: FileKey) -> Arc<Slot> {
        let mut files = lock(&self.files);
        let found = files.iter().rposition(|(other, _)| *other == key).and_then(|at| files.remove(at));
        let slot = found.map_or_else(Arc::default, |(_, slot)| slot);
        while files.len() >= self.most {
            files.pop_front();
        }
        files.push_back((key, Arc::clone(&slot)));
        slot
    }

    pub(super) fn close(&self, key: FileKey) {
        lock(&self.files).retain(|(other, _)| *other != key);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.files).len()
    }

    pub(super) fn forget(&self, head: HeadId) {
        lock(&self.files).retain(|((other, _), _)| *other != head);
    }
}
