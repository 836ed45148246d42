//! The part of a replaced release that stays, in `weighbridge/kept`, for as long as somebody reads it
//! (`spec/model-folder.md`).

use std::{
    collections::HashSet,
    fs::{File, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use weighbridge_manifest::{Expectation, MAX_NOTE, Note, SignedHead, TrustPolicy, VerifiedFileList};
use weighbridge_tree::{FileRoot, HeadId, head_id};
use weighbridge_verify::PageBuffer;

use crate::{
    disk::{FileKind, Folder},
    io::{open_no_link, read_bounded},
    lock::read_holder,
    metadata::{CHUNKS, FILES, FOLDER, HEAD, KEPT, Metadata, TENSORS, TEXT},
    naming::is_new,
    site::{Site, is_hex},
    store_error::{BeingReplaced, StoreError},
};

/// The file that says which process replaces files of a release.
pub(crate) const BY: &str = "by";
/// The name in place of a head id where no head stands.
pub(crate) const NONE: &str = "none";

/// The kind of content that a process is about to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaces {
    Files,
    Metadata,
}

/// The head id that a note says it is of. Nobody has verified it.
pub(crate) fn id_of(note: &[u8]) -> Option<HeadId> {
    Note::parse(note).ok().map(|note| head_id(note.text().as_bytes()))
}

/// The note of the head that stands, and its id. A link, or anything else that is no file, is no head.
pub(crate) fn standing(site: &Site) -> Result<Option<(HeadId, Vec<u8>)>, StoreError> {
    let place = site.meta(HEAD);
    if site.look(&place)? != Some(FileKind::File) {
        return Ok(None);
    }
    let note = site.read_bounded(&place, u64::try_from(MAX_NOTE).unwrap_or(u64::MAX))?;
    Ok(note.and_then(|note| Some((id_of(&note)?, note))))
}

/// The name of a head's folder in `kept`.
pub(crate) fn name_of(standing: Option<HeadId>) -> String {
    standing.map_or_else(|| NONE.to_owned(), |id| id.to_string())
}

/// Whether files of the release in a metadata folder are being replaced. The release is named by its head, which may be missing.
pub(crate) fn being_replaced(folder: &Path, standing: Option<HeadId>) -> Option<BeingReplaced> {
    let mark = folder.join(KEPT).join(name_of(standing)).join(BY);
    mark.symlink_metadata().ok()?;
    let by = open_no_link(&mark).ok().and_then(read_holder);
    Some(BeingReplaced { folder: folder.to_owned(), by })
}

/// The file list that belongs to a note in a metadata folder; `None` if there is no such list. The head is believed by its own
/// word: the list says which files are worth keeping, and nothing else.
pub(crate) fn list_of(folder: &Path, note: &[u8]) -> Option<VerifiedFileList> {
    let signed = SignedHead::parse(note).ok()?;
    let head = signed.verify(&TrustPolicy::pinned(id_of(note)?), &Expectation::any(), None).ok()?;
    Metadata::at(folder).files(&head).ok()
}

/// A reader's claim on a release: the files of the release stay, under their roots, for as long as it lives.
///
/// # Guarantee
/// While a lease lives, and its release is replaced by a process that follows `spec/model-folder.md`, each file of the release is
/// under its path or at `weighbridge/kept/<file root>`.
///
/// # Non-guarantee
/// Other programs, and file systems without locks, know no leases. Where a lease cannot be taken, readers go on without one.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The file list, locked. `None` once it is given back.
    list: Option<File>,
    model: PathBuf,
}

impl Lease {
    /// Takes a lease on the release of a head, if it is the one in the model folder, or was until it was replaced.
    pub(crate) fn take(model: &Path, head: HeadId) -> Option<Self> {
        if !cfg!(unix) {
            // A lock would keep others from reading the list.
            return None;
        }
        let folder = model.join(FOLDER);
        for _ in 0..TRIES {
            let Some(path) = Self::list_of(&folder, head) else { continue };
            let Ok(list) = open_no_link(&path) else { continue };
            match list.try_lock_shared() {
                Ok(()) => {}
                // The process that removes the release looks whether anybody reads it. It ends soon.
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::Error(_)) => return None,
            }
            // The list may have moved, or have been removed, before it was locked.
            if Self::list_of(&folder, head).is_some_and(|path| is_at(&list, &path)) {
                return Some(Self { list: Some(list), model: model.to_owned() });
            }
        }
        None
    }

    /// The place of the file list of a head.
    fn list_of(folder: &Path, head: HeadId) -> Option<PathBuf> {
        let kept = folder.join(KEPT).join(head.to_string()).join(FILES);
        if kept.is_file() {
            return Some(kept);
        }
        let note = read_bounded(&folder.join(HEAD), u64::try_from(MAX_NOTE).unwrap_or(u64::MAX)).ok()?;
        (id_of(&note) == Some(head)).then(|| folder.join(FILES))
    }
}

impl Drop for Lease {
    /// The last reader of a release that was replaced removes what was kept for it. An error leaves that to the next process
    /// that gives names.
    fn drop(&mut self) {
        self.list = None;
        let kept = self.model.join(FOLDER).join(KEPT);
        if !kept.is_dir() {
            return;
        }
        let Ok(disk) = Folder::at(&self.model) else { return };
        let Ok(site) = Site::of_model(Arc::new(disk), &self.model) else { return };
        if let Ok(Some(_lock)) = site.try_lock("a reader that ends") {
            let _ = sweep(&site, Standing::MayBeReplaced);
        }
    }
}

const TRIES: u32 = 16;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use crate::stamp::identity_of;
    let identity = |metadata: io::Result<std::fs::Metadata>| metadata.ok().and_then(|m| identity_of(&m));
    let held = identity(file.metadata());
    held.is_some() && held == identity(path.symlink_metadata())
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// The state of the release that stands, as far as the process knows that has given names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All its files and metadata have their names.
    IsWhole,
    /// A process that was killed may have begun to replace its files.
    MayBeReplaced,
}

/// Removes what is kept of releases on which nobody has a lease, and the mark of the release that stands, if that is whole. The
/// caller holds the lock.
pub(crate) fn sweep(site: &Site, state: Standing) -> Result<(), StoreError> {
    let kept = site.meta(KEPT);
    let standing = name_of(standing(site)?.map(|(id, _)| id));
    let names = site.names_if_there(&kept)?;
    if state == Standing::MayBeReplaced && names.contains(&standing) {
        return Ok(());
    }
    let mut unneeded: HashSet<&str> =
        names.iter().map(String::as_str).filter(|name| FileRoot::from_hex(name).is_ok()).collect();
    let mut leased = Vec::new();
    // Each list stays locked until everything is removed: nobody takes a lease on a release that goes.
    let mut free = Vec::new();
    for name in names.iter().filter(|name| is_hex(name, 64) && **name != standing) {
        if site.look(&format!("{kept}/{name}"))? != Some(FileKind::Folder) {
            continue;
        }
        let Ok(Some((list, _))) = site.read(&format!("{kept}/{name}/{FILES}")) else { continue };
        if matches!(list.try_lock(), Err(TryLockError::WouldBlock)) {
            keep_named(list, &mut unneeded).map_err(site.at("read", &format!("{kept}/{name}/{FILES}")))?;
            leased.push(name);
        } else {
            free.push(list);
        }
    }
    for name in &names {
        let path = format!("{kept}/{name}");
        match site.look(&path)? {
            Some(FileKind::File) if unneeded.contains(name.as_str()) => {
                site.remove_if_there(&path)?;
            }
            Some(FileKind::Folder) if (is_hex(name, 64) || name == NONE) && !leased.contains(&name) => {
                for file in site.names(&path)? {
                    let is_ours = [TENSORS, CHUNKS, TEXT, FILES, BY].contains(&file.as_str());
                    if is_ours || is_new(&file) {
                        site.remove_if_there(&format!("{path}/{file}"))?;
                    }
                }
                // Anything else in it was not written by weighbridge, and stays.
                let _ = site.disk().remove_folder(&path);
            }
            _ => {}
        }
    }
    let _ = site.disk().remove_folder(&kept);
    site.forget_folders();
    Ok(())
}

/// Takes the roots that a file list names out of a set. The list is not verified, and may be of any length: it keeps files from
/// being removed, and costs no memory.
fn keep_named(mut list: File, unneeded: &mut HashSet<&str>) -> io::Result<()> {
    let mut piece = PageBuffer::zeroed(64 << 10);
    // The word between two quotation marks, as far as it can be a root.
    let mut word = Vec::new();
    loop {
        let read = match list.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        for byte in bytes {
            if *byte == b'"' {
                let root = std::str::from_utf8(&word).ok();
                root.map(|root| unneeded.remove(root));
                word.clear();
            } else if word.len() <= ROOT_LEN {
                word.push(*byte);
            }
        }
    }
}

/// The length of a root in hexadecimal digits.
const ROOT_LEN: usize = 64;
