//! A folder in which files are written: what is known of it, and the steps that several kinds of writing share.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::{self, ErrorKind::NotFound, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};

use weighbridge_tree::FileRoot;

use crate::{
    disk::{Disk, FileKind},
    io::IoError,
    lock::FolderLock,
    metadata::FOLDER,
    partial::PARTIAL,
    store_error::StoreError,
};

/// A folder that is written to. Paths are relative to it.
pub(crate) struct Site {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// The metadata folder: [`FOLDER`] in a model folder; empty where the folder itself is one.
    metadata: &'static str,
    /// The folder of what is not complete.
    incomplete: String,
    /// Folders that outlast a power cut.
    lasting: Mutex<HashSet<String>>,
    /// The number of incomplete files that are open.
    pub(crate) open_files: AtomicUsize,
}

impl Site {
    /// A model folder, at `root`.
    pub(crate) fn of_model(disk: Arc<dyn Disk>, root: &Path) -> Result<Arc<Self>, StoreError> {
        // The working directory may become another one.
        let root = std::path::absolute(root).map_err(IoError::at("find", root))?;
        Ok(Self::new(disk, root, FOLDER, PARTIAL.to_owned()))
    }

    /// A model folder, at `root`, in which what is not complete has a folder of its own: no other process goes on with it.
    pub(crate) fn apart(
        disk: Arc<dyn Disk>,
        root: &Path,
        incomplete: String,
    ) -> Result<Arc<Self>, StoreError> {
        let root = std::path::absolute(root).map_err(IoError::at("find", root))?;
        Ok(Self::new(disk, root, FOLDER, incomplete))
    }

    /// A metadata folder, at `root`, wherever its model is.
    pub(crate) fn of_metadata(disk: Arc<dyn Disk>, root: &Path) -> Arc<Self> {
        Self::new(disk, root.to_owned(), "", PARTIAL.to_owned())
    }

    fn new(disk: Arc<dyn Disk>, root: PathBuf, metadata: &'static str, incomplete: String) -> Arc<Self> {
        let (lasting, open_files) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { root, disk, metadata, incomplete, lasting, open_files })
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The metadata folder.
    pub(crate) fn metadata(&self) -> &'static str {
        self.metadata
    }

    /// The folder of what is not complete.
    pub(crate) fn incomplete(&self) -> &str {
        &self.incomplete
    }

    /// Whether what is not complete has a folder of its own.
    pub(crate) fn is_apart(&self) -> bool {
        self.incomplete != PARTIAL
    }

    /// The path of the incomplete file of a root.
    pub(crate) fn incomplete_file(&self, root: FileRoot) -> String {
        format!("{}/{root}", self.incomplete)
    }

    /// The path of a name in the metadata folder.
    pub(crate) fn meta(&self, name: &str) -> String {
        if self.metadata.is_empty() { name.to_owned() } else { format!("{}/{name}", self.metadata) }
    }

    /// The path on this machine, for messages and for reading whole folders.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// Builds the closure for `map_err`.
    pub(crate) fn at(&self, doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> IoError + use<> {
        IoError::at(doing, self.place(path))
    }

    /// The kind of what has this name; `None` if nothing has.
    ///
    /// # Errors
    /// [`StoreError::InTheWay`] if something above the name is no folder.
    pub(crate) fn look(&self, path: &str) -> Result<Option<FileKind>, StoreError> {
        let error = match self.disk.look(path) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        // The error does not say which of the folders above is none.
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default();
            match self.look_once(above)? {
                None => return Ok(None),
                Some(FileKind::Folder) => {}
                Some(kind) => return Err(self.in_the_way(above, kind, FileKind::Folder)),
            }
        }
        Err(self.at("look at", path)(error).into())
    }

    pub(crate) fn look_once(&self, path: &str) -> Result<Option<FileKind>, StoreError> {
        Ok(self.disk.look(path).map_err(self.at("look at", path))?)
    }

    /// Whether there is a regular file.
    ///
    /// # Errors
    /// [`StoreError::InTheWay`] if there is anything else.
    pub(crate) fn has_file(&self, path: &str) -> Result<bool, StoreError> {
        match self.look(path)? {
            None => Ok(false),
            Some(FileKind::File) => Ok(true),
            Some(kind) => Err(self.in_the_way(path, kind, FileKind::File)),
        }
    }

    /// Opens a regular file, and gives its length; `None` if there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<(File, u64)>, StoreError> {
        let file = match self.disk.read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == NotFound => return Ok(None),
            Err(error) => return Err(self.at("open", path)(error).into()),
        };
        let metadata = file.metadata().map_err(self.at("look at", path))?;
        if metadata.is_file() {
            Ok(Some((file, metadata.len())))
        } else {
            let kind = if metadata.is_dir() { FileKind::Folder } else { FileKind::Special };
            Err(self.in_the_way(path, kind, FileKind::File))
        }
    }

    /// All of a regular file of at most `limit` bytes; `None` if there is none, or a longer one.
    pub(crate) fn read_bounded(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let there = if self.has_file(path)? { self.read(path)? } else { None };
        let Some((file, len)) = there.filter(|(_, len)| *len <= limit) else { return Ok(None) };
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX));
        room.map_err(|_| self.at("read", path)(io::ErrorKind::OutOfMemory.into()))?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(self.at("read", path))?;
        Ok(u64::try_from(bytes.len()).is_ok_and(|read| read <= limit).then_some(bytes))
    }

    pub(crate) fn in_the_way(&self, path: &str, kind: FileKind, needed: FileKind) -> StoreError {
        StoreError::InTheWay { path: self.place(path), what: kind.what(), needed: needed.what() }
    }

    /// Makes a folder and those above it, and makes their names durable: also the name of a folder that is there, which
    /// another process may have made a moment ago.
    pub(crate) fn make_folder(&self, path: &str) -> Result<(), StoreError> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for folder in ends.filter_map(|end| path.get(..end)).filter(|folder| !folder.is_empty()) {
            if self.lasting().contains(folder) {
                continue;
            }
            match self.disk.make_folder(folder) {
                Ok(()) => {}
                Err(error) => match self.look_once(folder)? {
                    Some(FileKind::Folder) => {}
                    Some(kind) => return Err(self.in_the_way(folder, kind, FileKind::Folder)),
                    None => return Err(self.at("create", folder)(error).into()),
                },
            }
            self.sync_folder(folder_of(folder))?;
            self.lasting().insert(folder.to_owned());
        }
        Ok(())
    }

    /// Forgets which folders were made. Another process may have removed them: they are made anew when they are needed.
    pub(crate) fn forget_folders(&self) {
        self.lasting().clear();
    }

    pub(crate) fn sync_folder(&self, path: &str) -> Result<(), StoreError> {
        Ok(self.disk.sync_folder(path).map_err(self.at("sync", path))?)
    }

    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.disk.names(path).map_err(self.at("read the folder", path))?)
    }

    /// The names in a folder; none if there is no folder.
    pub(crate) fn names_if_there(&self, path: &str) -> Result<Vec<String>, StoreError> {
        if self.look(path)? == Some(FileKind::Folder) { self.names(path) } else { Ok(Vec::new()) }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        Ok(self.disk.rename(from, to).map_err(self.at("write", to))?)
    }

    pub(crate) fn remove_if_there(&self, path: &str) -> Result<(), StoreError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == NotFound => Ok(()),
            removed => Ok(removed.map_err(self.at("remove", path))?),
        }
    }

    /// Takes the lock under which names are given in the folder.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: another process holds it, and does not end.
    pub(crate) fn lock(&self, what: &str) -> Result<FolderLock, StoreError> {
        let folder = match self.disk.lockable(self.metadata) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(FolderLock::none()),
            folder => folder.map_err(self.at("lock", self.metadata))?,
        };
        FolderLock::take(folder, &self.place(self.metadata), what).map_err(StoreError::Busy)
    }

    /// As [`lock`](Self::lock), without waiting: `None` if another process holds it, or if there are no locks.
    pub(crate) fn try_lock(&self, what: &str) -> Result<Option<FolderLock>, StoreError> {
        let folder = self.disk.lockable(self.metadata).map_err(self.at("lock", self.metadata))?;
        Ok(FolderLock::try_take(folder, what))
    }

    fn lasting(&self) -> MutexGuard<'_, HashSet<String>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("root", &self.root).finish_non_exhaustive()
    }
}

/// The folder in which a path ends; empty for one at the top.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// 16 hexadecimal digits that no other process has drawn.
pub(crate) fn random_name() -> Result<String, StoreError> {
    let number = getrandom::u64().map_err(|_| {
        IoError::at("name a file in", FOLDER)(io::Error::other("the system gives no random bytes"))
    })?;
    Ok(format!("{number:016x}"))
}

/// Whether a text is `len` hexadecimal digits in lower case.
pub(crate) fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
