//! A place for bytes that cannot be judged yet.

use std::sync::Arc;

use weighbridge_tree::FileRoot;

use crate::{
    destination::{Destination, claimed},
    disk::{DiskFile, Opening, SequentialWriter},
    partial::PartialFile,
    site::{Site, random_name},
    store_error::StoreError,
};

/// A file for bytes that no reader may see before they are judged. Dropping a quarantine removes the file; one that a killed
/// process left is removed when a quarantine for the same root is made.
#[derive(Debug)]
pub struct Quarantine {
    site: Arc<Site>,
    path: String,
    root: FileRoot,
    file: Arc<dyn DiskFile>,
    released: bool,
}

impl Destination {
    /// Makes a quarantine for a file.
    ///
    /// # Errors
    /// [`StoreError::Io`]: it cannot be made.
    pub fn quarantine(&self, root: FileRoot) -> Result<Quarantine, StoreError> {
        let site = self.site();
        let hex = root.to_string();
        let folder = site.incomplete();
        for name in site.names(folder)?.iter().filter(|name| quarantined(name) == Some(&hex)) {
            site.remove_if_nobodys(&format!("{folder}/{name}"));
        }
        loop {
            site.make_folder(folder)?;
            let path = format!("{folder}/.{root}.{}", random_name()?);
            let file = site.disk().write(&path, Opening::New).map_err(site.at("create", &path))?;
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
    /// Writes from the beginning of the file on.
    #[must_use]
    pub fn writer(&self) -> SequentialWriter {
        SequentialWriter::new(Arc::clone(&self.file))
    }

    /// Makes the bytes, which the caller has judged good and which are `size` in number, the incomplete file of their root, of
    /// which every chunk is there.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the file cannot be renamed.
    pub fn release(mut self, size: u64) -> Result<PartialFile, StoreError> {
        let site = &self.site;
        // Another process may be about to name the incomplete file of this root, whose place this one takes.
        self.file.sync().map_err(site.at("sync", &self.path))?;
        site.disk()
            .rename(&self.path, &site.incomplete_file(self.root))
            .map_err(site.at("rename", &self.path))?;
        self.released = true;
        Ok(PartialFile::named(&self.site, self.root, size, Arc::clone(&self.file)))
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if !self.released {
            // There is nobody to tell; the next run removes it.
            let _ = self.site.disk().remove(&self.path);
        }
    }
}

impl Site {
    /// Removes a quarantine whose process has ended. What cannot be locked or removed stays.
    fn remove_if_nobodys(&self, path: &str) {
        let Ok(Some((file, _))) = self.read(path) else { return };
        // Its name is never another file's.
        if file.try_lock().is_ok() {
            let _ = self.disk().remove(path);
        }
    }
}

/// The root in the name of a quarantine: `.<file root>.<random>`.
pub(crate) fn quarantined(name: &str) -> Option<&str> {
    claimed(name.strip_prefix('.')?).map(|(root, _)| root)
}
