//! Writing a file so that its name never stands for half of it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use weighbridge_store::{IoError, shown_path};

use crate::{
    failure::Failure,
    signals::{OnSignal, on_signal},
};

/// A file that gets its name when it is complete. Dropped before, or ended by a signal, it leaves what was there.
pub(crate) struct NewFile {
    path: PathBuf,
    file: NamedTempFile,
    _undone: OnSignal,
}

impl NewFile {
    /// Begins a file that will have this name, in place of the one that has it.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        // A device or a pipe would be replaced by a file, and a link cut off from what it leads to.
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(Failure::usage(format!("{} is there, and is no regular file", shown_path(path))));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(IoError::at("create a file in", folder))?;
        let begun = file.path().to_owned();
        let undone = on_signal(move || {
            let _ = fs::remove_file(begun);
        });
        Ok(Self { path: path.to_owned(), file, _undone: undone })
    }

    /// The whole file, but for its name.
    pub(crate) fn begin(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let mut new = Self::create(path)?;
        new.write_all(bytes).map_err(IoError::at("write", path))?;
        Ok(new)
    }

    /// Synced, and under its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { path, file, _undone } = self;
        file.as_file().sync_all().map_err(IoError::at("write", &path))?;
        file.persist(&path).map_err(|e| IoError::at("write", &path)(e.error))?;
        Ok(())
    }

    /// The whole file at once.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        Self::begin(path, bytes)?.finish()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
