//! Metadata while it is fetched, and how it takes the place of an earlier release.

use std::{
    fs::File,
    io::{self, ErrorKind::NotFound, Read as _},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use weighbridge_manifest::{Head, MAX_NOTE, Note};
use weighbridge_store::{CHUNKS, FILES, FOLDER, FolderLock, HEAD, TENSORS, TEXT, read_exact_at};
use weighbridge_tree::{FileRoot, HeadId, head_id};
use weighbridge_verify::PageBuffer;

use super::{Site, is_hex, random_name};
use crate::{
    disk::{Kind, Opening, extents},
    error::FetchError,
    partial::{PARTIAL, SparseFile},
};

/// The metadata of one release, at `weighbridge/partial/<head id>/`, where a later run finds it.
///
/// # Non-guarantee
/// What is read from here is not verified: another run left it, or anybody else.
#[derive(Debug)]
pub(crate) struct Staged {
    site: Arc<Site>,
    head: HeadId,
    folder: String,
    /// Kept, so that the head can be the last to come even if another process has moved the files meanwhile.
    note: Mutex<Option<Vec<u8>>>,
    /// Of the file list, so that it is known again where another process has moved it.
    list: Mutex<Option<FileRoot>>,
}

impl Staged {
    pub(super) fn open(site: &Arc<Site>, head: HeadId) -> Result<Self, FetchError> {
        let folder = format!("{PARTIAL}/{head}");
        site.make_folder(&folder)?;
        Ok(Self { site: Arc::clone(site), head, folder, note: Mutex::default(), list: Mutex::default() })
    }

    /// What an earlier run left of a file; `None` if nothing, or if it is longer than `limit` and so not the right one.
    ///
    /// # Errors
    /// [`FetchError`]: it cannot be read, or is no file.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let bytes = self.site.read_bounded(&self.path(name)?, limit)?;
        if let Some(bytes) = &bytes {
            self.keep(name, bytes);
        }
        Ok(bytes)
    }

    /// Keeps a file, in place of what an earlier run left. The caller has verified it.
    ///
    /// # Errors
    /// [`FetchError`]: it cannot be written.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let path = self.path(name)?;
        self.keep(name, bytes);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.write_once(&path, bytes) {
                // Another process has published the release, and removed the folder.
                Err(FetchError::Io(error)) if error.source.kind() == NotFound && tries < TRIES => {
                    self.site.forget_folders();
                }
                written => return written,
            }
        }
    }

    fn write_once(&self, path: &str, bytes: &[u8]) -> Result<(), FetchError> {
        self.site.make_folder(&self.folder)?;
        self.site.look_for_file(path)?;
        self.replace(path, bytes)
    }

    /// The chunk layers, `len` bytes in all: a hole where none was written. If this release is in the folder already,
    /// with the layers of other files, these are there from the beginning.
    ///
    /// # Errors
    /// [`FetchError`]: the file cannot be opened or made.
    pub(crate) fn layers(&self, len: u64) -> Result<LayersFile, FetchError> {
        let path = self.path(CHUNKS)?;
        self.site.make_folder(&self.folder)?;
        let is_new = self.site.look_for_file(&path)?.is_none();
        let layers = LayersFile(SparseFile::open(&self.site, path, len, Opening::Any)?);
        if is_new && self.published_id()? == Some(self.head) {
            let published = self.site.read(&published(CHUNKS))?.filter(|(_, there)| *there == len);
            if let Some((published, _)) = published {
                layers.take_over(&published).map_err(self.site.at("read", CHUNKS))?;
            }
        }
        Ok(layers)
    }

    /// Makes this the release of the folder, in place of an earlier one.
    ///
    /// The old head goes first and the new one comes last, so that no head ever stands beside the lists of another. Lists
    /// and layers that this release does not have are removed with the old ones.
    ///
    /// # Errors
    /// [`FetchError`]. Then the old release is there, or the new one, or no head at all; the next run ends it.
    pub(crate) fn publish(&self, _lock: &FolderLock) -> Result<(), FetchError> {
        let site = &self.site;
        let Some(note) = self.note.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(self.vanished(HEAD));
        };
        self.check_places()?;
        // Another process that has published the same release has removed it.
        site.forget_folders();
        site.make_folder(&self.folder)?;
        let mut is_published = self.published_id()? == Some(self.head);
        if !is_published {
            if site.look_for_file(&self.path(FILES)?)?.is_none() {
                is_published = self.is_begun()?;
                if !is_published {
                    return Err(self.vanished(FILES));
                }
            }
            site.remove_if_there(&published(HEAD))?;
            // For signers; it does not come with a fetch, and an old one does not fit.
            site.remove_if_there(&published(TEXT))?;
            site.sync_folder(FOLDER)?;
        }
        for name in [FILES, TENSORS, CHUNKS] {
            let staged = self.path(name)?;
            if site.look_for_file(&staged)?.is_some() {
                // The layers are written in place, and not synced before.
                site.disk.sync_file(&staged).map_err(site.at("sync", &staged))?;
                site.rename(&staged, &published(name))?;
            } else if !is_published {
                site.remove_if_there(&published(name))?;
            }
        }
        site.sync_folder(FOLDER)?;
        self.replace(&published(HEAD), &note)?;
        // What another process has written since belongs to it: it will publish that.
        sweep(site, &self.folder, &[HEAD])
    }

    /// Refuses to go on if something has the name of published metadata that is not ours to replace, such as a link.
    ///
    /// # Errors
    /// [`FetchError::InTheWay`].
    pub(crate) fn check_places(&self) -> Result<(), FetchError> {
        let names = [HEAD, TEXT, FILES, TENSORS, CHUNKS];
        names.iter().try_for_each(|name| self.site.look_for_file(&published(name)).map(drop))
    }

    /// The bytes of another note, which an earlier run may have left, are not kept.
    fn keep(&self, name: &str, bytes: &[u8]) {
        if name == HEAD && id_of(bytes) == Some(self.head) {
            *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.to_vec());
        } else if name == FILES {
            *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(FileRoot::of(bytes));
        }
    }

    /// Whether another process, which was ended before it could write the head, has put the file list in its place.
    fn is_begun(&self) -> Result<bool, FetchError> {
        let mut there = Vec::new();
        if let Some((mut file, _)) = self.site.read(&published(FILES))? {
            let read = file.read_to_end(&mut there);
            read.map_err(self.site.at("read", FILES))?;
        }
        Ok(*self.list.lock().unwrap_or_else(PoisonError::into_inner) == Some(FileRoot::of(&there)))
    }

    /// Writes a file under another name, and then gives it its own.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let (site, new) = (&self.site, format!("{}/{NEW}{}", self.folder, random_name()?));
        let write = || {
            let file = site.disk.write(&new, Opening::New)?;
            file.write_at(bytes, 0)?;
            file.sync()
        };
        let written = write().map_err(site.at("write", path)).map_err(FetchError::from);
        let renamed = written.and_then(|()| site.rename(&new, path));
        if renamed.is_err() {
            // There is nobody to tell, and a full disk has some room again.
            let _ = site.disk.remove(&new);
        }
        renamed?;
        site.sync_folder(path.rsplit_once('/').unwrap_or_default().0)
    }

    /// Which release is there now, by its own word.
    fn published_id(&self) -> Result<Option<HeadId>, FetchError> {
        Ok(published_note(&self.site)?.and_then(|bytes| id_of(&bytes)))
    }

    /// Waits until nobody else gives names in the folder. Held from the first file's name to the head's.
    ///
    /// # Errors
    /// [`FetchError::Busy`]: another process does not end.
    pub(crate) fn lock(&self) -> Result<FolderLock, FetchError> {
        let folder = match self.site.disk.lockable(FOLDER) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(FolderLock::none()),
            folder => folder.map_err(self.site.at("lock", FOLDER))?,
        };
        FolderLock::take(folder, &self.site.place(FOLDER), "a fetch").map_err(FetchError::Busy)
    }

    fn path(&self, name: &str) -> Result<String, FetchError> {
        if ALL.contains(&name) {
            return Ok(format!("{}/{name}", self.folder));
        }
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no such file of metadata");
        Err(self.site.at("find", &self.folder)(error).into())
    }

    fn vanished(&self, name: &str) -> FetchError {
        let error = io::Error::new(NotFound, "it was not fetched, or was removed by another process");
        self.site.at("publish", &format!("{}/{name}", self.folder))(error).into()
    }
}

/// The chunk layers of a release, of which some may be there.
///
/// Everything takes `&self`, as for [`PartialFile`](crate::partial::PartialFile).
///
/// # Non-guarantee
/// A hole reads as zeros, which no layer is: whoever reads one accepts it anew (rule 3).
#[derive(Debug)]
pub(crate) struct LayersFile(SparseFile);

impl LayersFile {
    /// What is there of a range.
    ///
    /// # Errors
    /// [`FetchError::Io`]; also for what lies past the end.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<PageBuffer, FetchError> {
        let error = || self.0.misuse("read");
        let len =
            range.end.checked_sub(range.start).filter(|_| range.end <= self.0.len()).ok_or_else(error)?;
        let mut bytes = PageBuffer::zeroed(usize::try_from(len).map_err(|_| error())?);
        self.0.read_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// Keeps the accepted layer of a file at its place.
    ///
    /// # Errors
    /// [`FetchError::Io`]; also if the range has another length or lies past the end.
    pub(crate) fn write(&self, range: Range<u64>, bytes: &[u8]) -> Result<(), FetchError> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if range.end.checked_sub(range.start) != Some(len) || range.end > self.0.len() {
            return Err(self.0.misuse("write"));
        }
        self.0.write_at(bytes, range.start)
    }
}

impl LayersFile {
    /// Copies what there is of another file of the same length. It is not looked at: whoever reads it accepts it.
    fn take_over(&self, other: &File) -> io::Result<()> {
        let mut buffer = PageBuffer::zeroed(1 << 18);
        for part in extents(other, self.0.len())? {
            let mut at = part.start;
            while at < part.end {
                let room = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
                let piece = &mut buffer[..usize::try_from((part.end - at).min(room)).unwrap_or(0)];
                read_exact_at(other, piece, at)?;
                self.0.file().write_at(piece, at)?;
                at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            }
        }
        Ok(())
    }
}

/// What the operations on metadata need of the folder.
impl Site {
    /// All of a regular file of at most `limit` bytes; `None` if there is none, or a longer one.
    fn read_bounded(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let there = match self.look_for_file(path)? {
            Some(()) => self.read(path)?,
            None => None,
        };
        let Some((file, len)) = there.filter(|(_, len)| *len <= limit) else { return Ok(None) };
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX));
        room.map_err(|_| self.at("read", path)(io::ErrorKind::OutOfMemory.into()))?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(self.at("read", path))?;
        Ok(u64::try_from(bytes.len()).is_ok_and(|read| read <= limit).then_some(bytes))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FetchError> {
        Ok(self.disk.rename(from, to).map_err(self.at("write", to))?)
    }

    pub(super) fn remove_if_there(&self, path: &str) -> Result<(), FetchError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == NotFound => Ok(()),
            removed => Ok(removed.map_err(self.at("remove", path))?),
        }
    }
}

/// Removes these files of staged metadata, what killed processes left of them, and the folder, if it is empty then.
pub(super) fn sweep(site: &Site, folder: &str, names: &[&str]) -> Result<(), FetchError> {
    for name in site.names(folder)? {
        let is_new = name.strip_prefix(NEW).is_some_and(|random| is_hex(random, 16));
        let path = format!("{folder}/{name}");
        if (is_new || names.contains(&name.as_str())) && site.look(&path)? == Some(Kind::File) {
            site.remove_if_there(&path)?;
        }
    }
    // Something in it is not ours, or another process is at it.
    let _ = site.disk.remove_folder(folder);
    Ok(())
}

/// Everything that is staged.
pub(super) const ALL: [&str; 4] = [HEAD, FILES, TENSORS, CHUNKS];

/// The release that a note says it is of.
fn id_of(note: &[u8]) -> Option<HeadId> {
    Note::parse(note).ok().map(|note| head_id(note.text().as_bytes()))
}

fn published_note(site: &Site) -> Result<Option<Vec<u8>>, FetchError> {
    site.read_bounded(&published(HEAD), u64::try_from(MAX_NOTE).unwrap_or(u64::MAX))
}

/// The head of the release that is there now, if it can be read. It is not verified.
pub(super) fn published_head(site: &Site) -> Result<Option<Head>, FetchError> {
    let note = published_note(site)?.and_then(|bytes| Note::parse(&bytes).ok());
    Ok(note.and_then(|note| Head::parse(note.text()).ok()))
}

fn published(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

/// How names of files begin that are not complete.
const NEW: &str = "new.";
/// How often a file is written when another process comes in between.
const TRIES: u32 = 8;
