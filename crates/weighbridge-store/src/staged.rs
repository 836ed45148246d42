//! Metadata while it is fetched, and how it takes the place of an earlier release.

use std::{
    fs::File,
    io::{self, ErrorKind::NotFound, Read as _},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use weighbridge_manifest::{Head, MAX_NOTE, Note};
use weighbridge_tree::{FileRoot, HeadId};
use weighbridge_verify::PageBuffer;

use crate::{
    disk::{FileKind, Opening, extents},
    io::read_exact_at,
    kept::id_of,
    metadata::{CHUNKS, FILES, HEAD, TENSORS, TEXT},
    naming::{Incoming, Naming, is_new, write_beside},
    partial::SparseFile,
    site::Site,
    store_error::StoreError,
};

/// The metadata of one release, at `weighbridge/partial/<head id>/`, where a later run finds it.
///
/// # Non-guarantee
/// The bytes that are read from here are not verified: another run left them, or anybody else.
#[derive(Debug)]
pub struct Staged {
    site: Arc<Site>,
    head: HeadId,
    folder: String,
    /// The bytes of the note. The head comes last, even if another process has moved the files meanwhile.
    note: Mutex<Option<Vec<u8>>>,
    /// Length and root of the file list, by which it is recognised where another process has moved it.
    list: Mutex<Option<(u64, FileRoot)>>,
}

impl Staged {
    pub(crate) fn open(site: &Arc<Site>, head: HeadId) -> Result<Self, StoreError> {
        let folder = format!("{}/{head}", site.incomplete());
        site.make_folder(&folder)?;
        Ok(Self { site: Arc::clone(site), head, folder, note: Mutex::default(), list: Mutex::default() })
    }

    /// The content that an earlier run left of a file; `None` if it left none, or if it is longer than `limit` and so
    /// not the right one.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be read, or is no file.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.site.read_bounded(&self.path(name)?, limit)?;
        if let Some(bytes) = &bytes {
            self.keep(name, bytes);
        }
        Ok(bytes)
    }

    /// Keeps a file, in place of what an earlier run left. The caller has verified it.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name)?;
        self.keep(name, bytes);
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            match self.write_once(&path, bytes) {
                // Another process has published the release, and removed the folder.
                Err(StoreError::Io(error)) if error.source.kind() == NotFound && tries < TRIES => {
                    self.site.forget_folders();
                }
                written => return written,
            }
        }
    }

    fn write_once(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.site.make_folder(&self.folder)?;
        self.site.has_file(path)?;
        self.replace(path, bytes)
    }

    /// The chunk layers, `len` bytes in all: a hole where none was written. If this release is in the folder already,
    /// with the layers of other files, these are there from the beginning.
    ///
    /// # Errors
    /// [`StoreError`]: the file cannot be opened or made.
    pub fn layers(&self, len: u64) -> Result<LayersFile, StoreError> {
        let path = self.path(CHUNKS)?;
        self.site.make_folder(&self.folder)?;
        let is_new = !self.site.has_file(&path)?;
        let layers = LayersFile(SparseFile::open(&self.site, path, len, Opening::Any)?);
        // An upload begins with nothing: whoever brings it finds out nothing of what stands.
        if is_new && !self.site.is_apart() && self.published_id()? == Some(self.head) {
            let published = self.site.read(&self.site.meta(CHUNKS))?.filter(|(_, there)| *there == len);
            if let Some((published, _)) = published {
                layers.take_over(&published).map_err(self.site.at("read", CHUNKS))?;
            }
        }
        Ok(layers)
    }

    /// Makes this the release of the folder, in place of the standing one.
    ///
    /// # Errors
    /// [`StoreError`]. Then the old release is there, or is marked as being replaced, or the new one is there; the next run ends it.
    pub fn publish(&self, naming: &mut Naming) -> Result<(), StoreError> {
        let site = &self.site;
        let Some(note) = self.note.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(self.vanished(HEAD));
        };
        self.check_places()?;
        site.make_folder(&self.folder)?;
        let is_published = self.published_id()? == Some(self.head);
        let mut metadata = Incoming::WithAll;
        if !is_published && !site.has_file(&self.path(FILES)?)? {
            // Another process was killed after it had put the list in its place, and perhaps more.
            if !self.is_begun()? {
                return Err(self.vanished(FILES));
            }
            metadata = Incoming::InPlaceInPart;
        }
        let new = write_beside(site, &self.folder, &note)?;
        naming.publish(&self.folder, Some(&new), metadata)?;
        // Files that another process has written since belong to that process: it will publish them.
        sweep(site, &self.folder, &[HEAD])
    }

    #[cfg(test)]
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The head of the release.
    pub(crate) fn head(&self) -> HeadId {
        self.head
    }

    /// Refuses to go on if something has the name of published metadata that is not ours to replace, such as a link.
    ///
    /// # Errors
    /// [`StoreError::InTheWay`].
    pub fn check_places(&self) -> Result<(), StoreError> {
        let names = [HEAD, TEXT, FILES, TENSORS, CHUNKS];
        names.iter().try_for_each(|name| self.site.has_file(&self.site.meta(name)).map(drop))
    }

    /// The bytes of another note, which an earlier run may have left, are not kept.
    fn keep(&self, name: &str, bytes: &[u8]) {
        if name == HEAD && id_of(bytes) == Some(self.head) {
            *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.to_vec());
        } else if name == FILES {
            *self.list.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((u64::try_from(bytes.len()).unwrap_or(u64::MAX), FileRoot::of(bytes)));
        }
    }

    /// Whether another process, which was ended before it could write the head, has put the file list in its place.
    fn is_begun(&self) -> Result<bool, StoreError> {
        let Some((len, root)) = *self.list.lock().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(false);
        };
        let Some((file, _)) = self.site.read(&self.site.meta(FILES))?.filter(|(_, there)| *there == len)
        else {
            return Ok(false);
        };
        let mut there = Vec::new();
        file.take(len).read_to_end(&mut there).map_err(self.site.at("read", FILES))?;
        Ok(FileRoot::of(&there) == root)
    }

    /// Writes a file under another name, and then gives it its own.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let site = &self.site;
        let new = write_beside(site, &self.folder, bytes)?;
        if let Err(error) = site.rename(&new, path) {
            let _ = site.disk().remove(&new);
            return Err(error);
        }
        site.sync_folder(&self.folder)
    }

    /// The id of the release that is there now, by its own word.
    fn published_id(&self) -> Result<Option<HeadId>, StoreError> {
        Ok(published_note(&self.site)?.and_then(|bytes| id_of(&bytes)))
    }

    fn path(&self, name: &str) -> Result<String, StoreError> {
        if ALL.contains(&name) {
            return Ok(format!("{}/{name}", self.folder));
        }
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no such file of metadata");
        Err(self.site.at("find", &self.folder)(error).into())
    }

    fn vanished(&self, name: &str) -> StoreError {
        let error = io::Error::new(NotFound, "it was not fetched, or was removed by another process");
        self.site.at("publish", &format!("{}/{name}", self.folder))(error).into()
    }
}

/// The chunk layers of a release, of which some may be there.
///
/// Everything takes `&self`, as for [`PartialFile`](crate::PartialFile).
///
/// # Non-guarantee
/// A hole reads as zeros, which no layer is: whoever reads one accepts it anew (rule 3).
#[derive(Debug)]
pub struct LayersFile(SparseFile);

impl LayersFile {
    /// The bytes of a range, as far as they are there.
    ///
    /// # Errors
    /// [`StoreError::Io`]; also for what lies past the end.
    pub fn read(&self, range: Range<u64>) -> Result<PageBuffer, StoreError> {
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
    /// [`StoreError::Io`]; also if the range has another length or lies past the end.
    pub fn write(&self, range: Range<u64>, bytes: &[u8]) -> Result<(), StoreError> {
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
                let length = part.end.saturating_sub(at).min(room);
                let piece = buffer.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
                read_exact_at(other, piece, at)?;
                self.0.file().write_at(piece, at)?;
                at = at.saturating_add(length);
            }
        }
        Ok(())
    }
}

/// Removes these files of staged metadata, what killed processes left of them, and the folder, if it is empty then.
pub(crate) fn sweep(site: &Site, folder: &str, names: &[&str]) -> Result<(), StoreError> {
    for name in site.names(folder)? {
        let path = format!("{folder}/{name}");
        if (is_new(&name) || names.contains(&name.as_str())) && site.look(&path)? == Some(FileKind::File) {
            site.remove_if_there(&path)?;
        }
    }
    // Something in it is not ours, or another process is at it.
    let _ = site.disk().remove_folder(folder);
    Ok(())
}

/// Everything that is staged.
pub(crate) const ALL: [&str; 4] = [HEAD, FILES, TENSORS, CHUNKS];

fn published_note(site: &Site) -> Result<Option<Vec<u8>>, StoreError> {
    site.read_bounded(&site.meta(HEAD), u64::try_from(MAX_NOTE).unwrap_or(u64::MAX))
}

/// The head of the release that is there now, if it can be read. It is not verified.
pub(crate) fn published_head(site: &Site) -> Result<Option<Head>, StoreError> {
    let note = published_note(site)?.and_then(|bytes| Note::parse(&bytes).ok());
    Ok(note.and_then(|note| Head::parse(note.text()).ok()))
}

/// The maximum number of tries to write a file when another process comes in between.
const TRIES: u32 = 8;
