//! A file whose bytes come in any order, over several runs, and can be judged only when all of them are there.

use std::{fs::TryLockError, ops::Range, sync::Arc};

use weighbridge_tree::FileRoot;

use crate::{
    destination::Destination,
    disk::{Opening, extents},
    lock::LockError,
    partial::{PARTIAL, PartialFile, SparseFile},
    place::Place,
    site::{Site, is_hex},
    store_error::StoreError,
};

/// A file of which some bytes may be there, and none was judged, at `weighbridge/partial/unjudged.<key>`. No reader of
/// models looks there. Dropping it leaves it for a later run.
///
/// One process at a time writes one such file.
///
/// # Non-guarantee
/// Nothing is known of the bytes in it, except that a process wrote some bytes there under the same key. After a power cut
/// they may be others than it wrote.
#[derive(Debug)]
pub struct Unjudged {
    site: Arc<Site>,
    path: String,
    sparse: SparseFile,
    /// Whether an earlier run, or an earlier call, has made it.
    was_there: bool,
}

impl Destination {
    /// Opens the file that an earlier run began under this key, or makes it, a hole of `size` bytes. A key stands for what the
    /// bytes have to be, such as a path and a digest.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be opened; [`StoreError::Busy`]: another process writes it.
    pub fn unjudged(&self, key: FileRoot, size: u64) -> Result<Unjudged, StoreError> {
        let site = Arc::clone(self.site());
        site.make_folder(PARTIAL)?;
        let path = format!("{PARTIAL}/{UNJUDGED}{key}");
        let was_there = site.has_file(&path)?;
        let sparse = SparseFile::open(&site, path.clone(), size, Opening::Any)?;
        // Where the file system has no locks, two processes are on their own: what they write is judged at the end.
        if matches!(sparse.file().file().try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(StoreError::Busy(LockError { folder: site.place(&path), holder: None }));
        }
        Ok(Unjudged { site, path, sparse, was_there })
    }

    /// The place of the file of this key, for a scan.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the folder cannot be opened.
    pub fn place_of_unjudged(&self, key: FileRoot) -> Result<Place, StoreError> {
        self.place_beneath(&format!("{PARTIAL}/{UNJUDGED}{key}"))
    }
}

impl Unjudged {
    /// The length of the file when all of it is there, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sparse.len()
    }

    /// The parts in which bytes were written before the file was opened, in order. All of a file that was there, if the file system does not
    /// tell its holes.
    ///
    /// Systems tell holes by the page: bytes that were not written count as written if they share a page with others. Whoever
    /// writes whole pages, and the end of the file, gets back what was written.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn written(&self) -> Result<Vec<Range<u64>>, StoreError> {
        if !self.was_there {
            return Ok(Vec::new());
        }
        let found = extents(self.sparse.file().file(), self.sparse.len());
        Ok(found.map_err(self.site.at("look at", &self.path))?)
    }

    /// Writes bytes at their place.
    ///
    /// # Errors
    /// [`StoreError::Io`]; also if they do not lie within the file, and then nothing is written.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let end = u64::try_from(bytes.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.sparse.len()) {
            return Err(self.sparse.misuse("write"));
        }
        self.sparse.write_at(bytes, offset)
    }

    /// Removes the file: its bytes were judged, and are not the right ones.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn discard(self) -> Result<(), StoreError> {
        self.site.remove_if_there(&self.path)
    }

    /// The file, which the caller has judged good, as one that can get its [final name](crate::Naming::place). Until then
    /// it keeps this one, under which a later run finds it.
    #[must_use]
    pub fn judged(self, root: FileRoot) -> PartialFile {
        PartialFile::of(&self.site, root, self.sparse)
    }
}

/// The beginning of the names of files that were never judged.
const UNJUDGED: &str = "unjudged.";

/// Whether a file in `partial` was never judged.
pub(crate) fn is_unjudged(name: &str) -> bool {
    name.strip_prefix(UNJUDGED).is_some_and(|key| is_hex(key, 64))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use weighbridge_manifest::EntryPath;

    use super::*;

    fn destination() -> (tempfile::TempDir, Destination) {
        let place = tempfile::tempdir().unwrap();
        let destination = Destination::open(place.path()).unwrap();
        (place, destination)
    }

    const PAGE: usize = 1 << 16;

    #[test]
    fn what_was_written_is_there_in_a_later_run_and_gets_a_final_name_when_it_is_judged() {
        let (place, destination) = destination();
        let (key, size) = (FileRoot::of(b"key"), 3 * PAGE as u64 + 10);
        let bytes: Vec<u8> = b"weights, ".iter().copied().cycle().take(3 * PAGE + 10).collect();
        {
            let file = destination.unjudged(key, size).unwrap();
            assert!(file.written().unwrap().is_empty(), "whatever the file system tells of holes");
            file.write_at(&bytes[2 * PAGE..], 2 * PAGE as u64).unwrap();
        }
        let file = destination.unjudged(key, size).unwrap();
        assert_eq!(file.written().unwrap(), [2 * PAGE as u64..size; 1]);
        file.write_at(&bytes[..2 * PAGE], 0).unwrap();
        assert_eq!(file.written().unwrap(), [0..size; 1]);
        assert_eq!(fs::read(&*destination.place_of_unjudged(key).unwrap()).unwrap(), bytes);
        drop(file);

        let head = weighbridge_tree::head_id(b"a head");
        let staged = destination.stage(head).unwrap();
        let mut naming = destination.begin_naming(destination.lock().unwrap(), &staged).unwrap();
        let judged = destination.unjudged(key, size).unwrap().judged(FileRoot::of(&bytes));
        naming.place(&destination, &judged, &EntryPath::parse("a/model.bin").unwrap()).unwrap();
        naming.settle().unwrap();
        assert_eq!(fs::read(place.path().join("a/model.bin")).unwrap(), bytes);
        assert!(!destination.place_of_unjudged(key).unwrap().exists());
    }

    #[test]
    fn nothing_is_written_outside_of_the_file_and_one_process_writes_at_a_time() {
        let (_place, destination) = destination();
        let file = destination.unjudged(FileRoot::of(b"key"), 10).unwrap();
        for (len, offset) in [(11, 0), (1, 10), (1, u64::MAX), (10, 1)] {
            assert!(file.write_at(&vec![1; len], offset).is_err(), "{len} at {offset}");
        }
        file.write_at(b"", 10).unwrap();
        assert!(matches!(destination.unjudged(FileRoot::of(b"key"), 10), Err(StoreError::Busy(_))));
        assert!(destination.unjudged(FileRoot::of(b"other"), 10).is_ok());
        file.discard().unwrap();
        assert!(!destination.place_of_unjudged(FileRoot::of(b"key")).unwrap().exists());
    }

    #[test]
    fn what_was_never_judged_is_left_over_for_a_fetch() {
        let (_place, destination) = destination();
        let key = FileRoot::of(b"key");
        drop(destination.unjudged(key, 10).unwrap());
        let left = destination.left_over(&[key].into(), weighbridge_tree::head_id(b"a head")).unwrap();
        assert_eq!(
            left.iter().map(|extra| &extra.path).collect::<Vec<_>>(),
            [&format!("{PARTIAL}/{UNJUDGED}{key}")]
        );
    }
}
