//! A place for bytes that cannot be judged yet.

use std::{
    io::{self, Write},
    sync::Arc,
};

use weighbridge_tree::FileRoot;

use super::{Destination, Site, claimed, random_name};
use crate::{
    disk::{DiskFile, Opening},
    error::FetchError,
    partial::{PARTIAL, PartialFile, path_of},
};

/// A file for bytes that nobody may read before they are judged. It goes when it is dropped; what a killed process left
/// goes when the file is begun anew.
#[derive(Debug)]
pub(crate) struct Quarantine {
    site: Arc<Site>,
    path: String,
    root: FileRoot,
    file: Arc<dyn DiskFile>,
    released: bool,
}

/// Writes to a quarantine, from its beginning on.
pub(crate) struct Writer {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Destination {
    /// Makes a quarantine for a file.
    ///
    /// # Errors
    /// [`FetchError::Io`]: it cannot be made.
    pub(crate) fn quarantine(&self, root: FileRoot) -> Result<Quarantine, FetchError> {
        let site = &self.site;
        let hex = root.to_string();
        for name in site.names(PARTIAL)?.iter().filter(|name| quarantined(name) == Some(&hex)) {
            site.remove_if_nobodys(&format!("{PARTIAL}/{name}"));
        }
        loop {
            site.make_folder(PARTIAL)?;
            let path = format!("{PARTIAL}/.{root}.{}", random_name()?);
            let file = site.disk.write(&path, Opening::New).map_err(site.at("create", &path))?;
            // Where the file system has no locks nobody takes it for left over either.
            let _ = file.file().try_lock();
            // Another process may have taken it for nobody's before it was locked.
            if site.look(&path)?.is_some() {
                let (site, file) = (Arc::clone(site), Arc::from(file));
                return Ok(Quarantine { site, path, root, file, released: false });
            }
        }
    }
}

impl Quarantine {
    pub(crate) fn writer(&self) -> Writer {
        Writer { file: Arc::clone(&self.file), at: 0 }
    }

    /// Gives what was judged good, and is so long, the place of an incomplete file of which every chunk is there.
    ///
    /// # Errors
    /// [`FetchError::Io`]: it cannot be renamed.
    pub(crate) fn release(mut self, size: u64) -> Result<PartialFile, FetchError> {
        let site = &self.site;
        site.disk.rename(&self.path, &path_of(self.root)).map_err(site.at("rename", &self.path))?;
        self.released = true;
        Ok(PartialFile::named(&self.site, self.root, size, Arc::clone(&self.file)))
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if !self.released {
            // There is nobody to tell; the next run removes it.
            let _ = self.site.disk.remove(&self.path);
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Site {
    /// Removes a quarantine whose process has ended. What cannot be locked or removed stays.
    fn remove_if_nobodys(&self, path: &str) {
        let Ok(Some((file, _))) = self.read(path) else { return };
        // Its name is never another file's.
        if file.try_lock().is_ok() {
            let _ = self.disk.remove(path);
        }
    }
}

/// The root in the name of a quarantine: `.<file root>.<random>`.
pub(super) fn quarantined(name: &str) -> Option<&str> {
    claimed(name.strip_prefix('.')?).map(|(root, _)| root)
}
