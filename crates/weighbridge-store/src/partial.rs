//! An incomplete file, which has no name that a loader would look for.

use std::{
    fs::File,
    io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use weighbridge_store::{IoError, read_exact_at};
use weighbridge_tree::FileRoot;
use weighbridge_verify::VerifiedRun;

use crate::{
    destination::Site,
    disk::{self, DiskFile, Kind, Opening, extents, identity_of, links_to, stamp_of},
    error::FetchError,
};

/// A file of which some chunks may be there, at `weighbridge/partial/<file root>`.
///
/// Everything takes `&self`. Threads and processes may write one such file at once: all of them write the same bytes,
/// since nothing is written that was not accepted for this root.
///
/// # Guarantee
/// What [`sync`](Self::sync) has returned for is there after a power cut, under this name or, once
/// [placed](crate::destination::Destination::place), the final one.
///
/// # Non-guarantee
/// What is read from it is not verified: a hole reads as zeros, and an earlier run, or anybody else, may have left
/// anything there (rule 10).
#[derive(Debug)]
pub(crate) struct PartialFile {
    root: FileRoot,
    sparse: SparseFile,
    site: Arc<Site>,
    /// Its name is durable.
    named: AtomicBool,
    /// A sync failed. The system may have thrown away what it could not write, and call the next sync a success.
    broken: AtomicBool,
}

impl PartialFile {
    pub(crate) fn open(
        site: &Arc<Site>,
        root: FileRoot,
        size: u64,
        opening: Opening,
    ) -> Result<Self, FetchError> {
        let sparse = SparseFile::open(site, path_of(root), size, opening)?;
        Ok(Self::of(site, root, sparse))
    }

    /// A file that has just been given its name: it is not looked for by that, under which another may be by now.
    pub(crate) fn named(site: &Arc<Site>, root: FileRoot, size: u64, file: Arc<dyn DiskFile>) -> Self {
        let path = path_of(root);
        let place = site.place(&path);
        Self::of(site, root, SparseFile { path, place, len: size, file })
    }

    fn of(site: &Arc<Site>, root: FileRoot, sparse: SparseFile) -> Self {
        let (named, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        site.open_files.fetch_add(1, SeqCst);
        Self { root, sparse, site: Arc::clone(site), named, broken }
    }

    /// Its name, in the folder that is fetched into.
    pub(crate) fn path(&self) -> &str {
        &self.sparse.path
    }

    pub(crate) fn file(&self) -> &File {
        self.sparse.file().file()
    }

    /// The parts that may hold data, in order: all of it, if the file system cannot tell holes.
    pub(crate) fn extents(&self) -> Result<Vec<Range<u64>>, FetchError> {
        let found =
            extents(self.file(), self.sparse.len).map_err(IoError::at("look at", &self.sparse.place))?;
        Ok(found)
    }

    /// Fills `buffer` from `offset` on, with whatever is there.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), FetchError> {
        self.sparse.read_at(buffer, offset)
    }

    /// Writes accepted chunks at their place.
    ///
    /// # Errors
    /// [`FetchError::Io`]; also if they are chunks of another file, which are not written.
    pub(crate) fn write(&self, run: &VerifiedRun<'_>) -> Result<(), FetchError> {
        let range = run.range();
        if run.root() != self.root || range.end > self.sparse.len {
            return Err(self.sparse.misuse("write"));
        }
        self.sparse.write_at(run.bytes(), range.start)
    }

    /// Makes what was written before this was called durable.
    ///
    /// # Errors
    /// [`FetchError::Io`], and then for ever: nothing that was written since the last success counts as durable.
    pub(crate) fn sync(&self) -> Result<(), FetchError> {
        self.sync_bytes()?;
        if !self.named.load(SeqCst) {
            self.site.sync_folder(PARTIAL)?;
            self.named.store(true, SeqCst);
        }
        Ok(())
    }

    /// As [`sync`](Self::sync), but for its name.
    pub(crate) fn sync_bytes(&self) -> Result<(), FetchError> {
        let synced = match self.broken.load(SeqCst) {
            true => Err(io::Error::other("an earlier attempt failed, and what was written may be lost")),
            false => self.sparse.file().sync(),
        };
        synced.map_err(|error| {
            self.broken.store(true, SeqCst);
            IoError::at("sync", &self.sparse.place)(error).into()
        })
    }

    /// Whether it still has the length that it has to have. Somebody may have cut it.
    pub(crate) fn check_len(&self) -> Result<(), FetchError> {
        let metadata = self.file().metadata().map_err(IoError::at("look at", &self.sparse.place))?;
        if metadata.len() == self.sparse.len {
            return Ok(());
        }
        let error = io::Error::new(io::ErrorKind::InvalidData, "its length was changed by somebody else");
        Err(IoError::at("finish", &self.sparse.place)(error).into())
    }

    pub(crate) fn identity(&self) -> Option<disk::Identity> {
        self.file().metadata().ok().and_then(|metadata| identity_of(&metadata))
    }

    /// By what it is recognised if it is closed and opened again; `None` if the system does not tell.
    pub(crate) fn stamp(&self) -> Option<disk::Stamp> {
        self.file().metadata().ok().and_then(|metadata| stamp_of(&metadata))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        self.site.open_files.fetch_sub(1, SeqCst);
    }
}

/// The folder of incomplete files.
pub(crate) const PARTIAL: &str = "weighbridge/partial";

/// Where the incomplete file of this root lies.
pub(crate) fn path_of(root: FileRoot) -> String {
    format!("{PARTIAL}/{root}")
}

/// A file that has its length from the beginning, and is a hole where nothing was written.
#[derive(Debug)]
pub(crate) struct SparseFile {
    path: String,
    /// For messages.
    place: PathBuf,
    len: u64,
    file: Arc<dyn DiskFile>,
}

impl SparseFile {
    /// Opens it, or makes it. One that is there and has another length gets this one; nothing else of it is changed.
    pub(crate) fn open(site: &Site, path: String, len: u64, opening: Opening) -> Result<Self, FetchError> {
        let place = site.place(&path);
        let in_the_way = |what, needed| FetchError::InTheWay { path: place.clone(), what, needed };
        let file = match site.disk().write(&path, opening) {
            Ok(file) => file,
            Err(error) => {
                return Err(match site.disk().look(&path) {
                    Ok(Some(kind)) if kind != Kind::File => in_the_way(kind.what(), Kind::File.what()),
                    _ => IoError::at("open", &place)(error).into(),
                });
            }
        };
        let metadata = file.file().metadata().map_err(IoError::at("look at", &place))?;
        if !metadata.is_file() {
            return Err(in_the_way(Kind::Special.what(), Kind::File.what()));
        }
        // What is written here would be written to a file elsewhere, that may be anybody's.
        if links_to(&metadata) > 1 {
            return Err(in_the_way("a file that has a second name elsewhere", "a file of its own"));
        }
        if metadata.len() != len {
            file.set_len(len).map_err(IoError::at("set the length of", &place))?;
        }
        Ok(Self { path, place, len, file: Arc::from(file) })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// It was asked for what it cannot have; never caused by what was fetched.
    pub(crate) fn misuse(&self, doing: &'static str) -> FetchError {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no such bytes in this file");
        IoError::at(doing, &self.place)(error).into()
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), FetchError> {
        Ok(read_exact_at(self.file.file(), buffer, offset).map_err(IoError::at("read", &self.place))?)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), FetchError> {
        Ok(self.file.write_at(bytes, offset).map_err(IoError::at("write", &self.place))?)
    }
}

#[cfg(test)]
mod tests;
