//! Writing a file so that its name never stands for an incomplete file.

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

/// A new file that gets its name when it is complete. If it is dropped or a signal comes before, the old file stays.
pub(crate) struct NewFile {
    path: PathBuf,
    file: NamedTempFile,
    _undone: OnSignal,
}

impl NewFile {
    /// Begins a file that will replace the file of this name.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Self::create_by(&builder, path)
    }

    fn create_by(builder: &tempfile::Builder<'_, '_>, path: &Path) -> Result<Self, Failure> {
        // Do not replace a device, a pipe or a link by a regular file.
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(Failure::usage(format!("{} is there, and is no regular file", shown_path(path))));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = builder.tempfile_in(folder).map_err(IoError::at("create a file in", folder))?;
        let begun = file.path().to_owned();
        let undone = on_signal(move || {
            let _ = fs::remove_file(begun);
        });
        Ok(Self { path: path.to_owned(), file, _undone: undone })
    }

    /// Writes the whole file, but does not name it yet.
    pub(crate) fn begin(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let mut new = Self::create(path)?;
        new.write_all(bytes).map_err(IoError::at("write", path))?;
        Ok(new)
    }

    /// Syncs the file and gives it its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { path, file, _undone } = self;
        file.as_file().sync_all().map_err(IoError::at("write", &path))?;
        file.persist(&path).map_err(|e| IoError::at("write", &path)(e.error))?;
        Ok(())
    }

    /// Writes the whole file at once.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        Self::begin(path, bytes)?.finish()
    }

    /// Writes the whole file at once, which nobody but its owner can read or write.
    pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        // By default, these files are private.
        let mut new = Self::create_by(&tempfile::Builder::new(), path)?;
        new.write_all(bytes).map_err(IoError::at("write", path))?;
        new.finish()
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
