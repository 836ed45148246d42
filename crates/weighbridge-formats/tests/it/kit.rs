//! The folders to which generated models are written.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A place for one model. No folder is there at first; what is written is removed at the end.
pub(crate) struct Folder {
    path: PathBuf,
    _around: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        Self { path: around.path().join("model"), _around: around }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
