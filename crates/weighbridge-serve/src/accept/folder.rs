//! The folder of a server that takes models, as it is on disk: which client has pushed what, and what is being uploaded.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use weighbridge_manifest::{Head, MAX_NOTE, ModelName, Note, Time};
use weighbridge_store::{FOLDER, HEAD, IoError, Metadata, PUSHED, UPLOADS, read_bounded};
use weighbridge_tree::{HeadId, head_id};

use crate::route::ServedName;

/// The word of a server about the release that stands in a model folder: which client has pushed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pushed {
    pub(super) client: String,
    pub(super) head: String,
    /// The bytes of its files.
    pub(super) bytes: u64,
    /// When the last byte of it was verified.
    pub(super) verified: String,
}

impl Pushed {
    /// The record of the release that stands in a folder. A record of another release counts for nothing.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let text = read_bounded(&folder.join(FOLDER).join(PUSHED), MAX_RECORD).ok()?;
        let pushed: Self = serde_json::from_slice(&text).ok()?;
        let (id, _) = standing(folder)?;
        (pushed.head == id.to_string()).then_some(pushed)
    }

    pub(super) fn verified(&self) -> Option<Time> {
        Time::parse(&self.verified).ok()
    }

    /// Writes the record beside the release that stands now. It comes to be in the folder of the upload.
    pub(super) fn write(&self, folder: &Path, area: &Path) -> Result<(), IoError> {
        let place = folder.join(FOLDER).join(PUSHED);
        let new = area.join(PUSHED);
        let text = serde_json::to_vec(self).unwrap_or_default();
        fs::write(&new, text).map_err(IoError::at("write", &new))?;
        let sync = |path: &Path| fs::File::open(path)?.sync_all();
        sync(&new).map_err(IoError::at("sync", &new))?;
        fs::rename(&new, &place).map_err(IoError::at("write", &place))?;
        if cfg!(unix) {
            sync(&folder.join(FOLDER)).map_err(IoError::at("sync", &place))?;
        }
        Ok(())
    }
}

/// The longest record.
const MAX_RECORD: u64 = 4096;

/// The head that stands in a model folder, by its own word, and its id.
pub(super) fn standing(folder: &Path) -> Option<(HeadId, Head)> {
    head_at(&Metadata::of_model(folder).folder().join(HEAD))
}

fn head_at(path: &Path) -> Option<(HeadId, Head)> {
    let note = read_bounded(path, u64::try_from(MAX_NOTE).ok()?).ok()?;
    let note = Note::parse(&note).ok()?;
    Some((head_id(note.text().as_bytes()), Head::parse(note.text()).ok()?))
}

/// The model folder of a name.
pub(super) fn place(root: &Path, name: &ServedName) -> PathBuf {
    root.join(name.as_str())
}

/// All model folders, whether a release stands in them or not.
pub(super) fn models(root: &Path) -> io::Result<Vec<(ServedName, PathBuf)>> {
    let mut all = Vec::new();
    for organisation in names(root)? {
        for model in names(&root.join(&organisation))? {
            let name = ModelName::parse(&format!("{organisation}/{model}")).ok().and_then(ServedName::of);
            all.extend(name.map(|name| (name.clone(), place(root, &name))));
        }
    }
    Ok(all)
}

/// The names of the folders in a folder; none if it is none.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A folder may be a link to one on another disk.
        if fs::metadata(entry.path()).is_ok_and(|found| found.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// An upload that an earlier run has left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) client: String,
    pub(super) head: HeadId,
    pub(super) bytes: u64,
    /// For how long nothing was written to it.
    pub(super) idle: Duration,
}

/// The uploads that earlier runs have left in a model folder.
pub(super) fn left(folder: &Path) -> io::Result<Vec<Left>> {
    let uploads = folder.join(FOLDER).join(UPLOADS);
    let mut all = Vec::new();
    for client in names(&uploads)? {
        // An upload that was being removed.
        if client.starts_with('.') {
            let _ = fs::remove_dir_all(uploads.join(&client));
            continue;
        }
        for name in names(&uploads.join(&client))? {
            let Ok(head) = HeadId::from_hex(&name) else { continue };
            let area = uploads.join(&client).join(&name);
            let bytes = head_at(&area.join(&name).join(HEAD)).map_or(0, |(_, head)| size(&head));
            all.push(Left { client: client.clone(), head, bytes, idle: idle(&area) });
        }
    }
    Ok(all)
}

/// The bytes of a release on disk, but for what is small.
pub(super) fn size(head: &Head) -> u64 {
    let lists = head.files.length.saturating_add(head.tensors.map_or(0, |tensors| tensors.list.length));
    head.bytes.saturating_add(lists)
}

/// The note of an upload, as an earlier run has left it: in the folder of the upload, or in its place already.
pub(super) fn note_of(place: &Path, area: &Path, head: HeadId) -> Option<Vec<u8>> {
    let limit = u64::try_from(MAX_NOTE).ok()?;
    let standing = || {
        let _is_it = standing(place).filter(|(id, _)| *id == head)?;
        read_bounded(&Metadata::of_model(place).folder().join(HEAD), limit).ok()
    };
    read_bounded(&area.join(head.to_string()).join(HEAD), limit).ok().or_else(standing)
}

/// The bytes of the disk that the files of an upload take.
pub(super) fn allocated(area: &Path) -> u64 {
    let files = fs::read_dir(area).into_iter().flatten().flatten();
    let of_file = |entry: fs::DirEntry| {
        let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        #[cfg(unix)]
        let bytes = std::os::unix::fs::MetadataExt::blocks(&found).saturating_mul(512);
        #[cfg(not(unix))]
        let bytes = found.len();
        Some(bytes)
    };
    files.filter_map(of_file).fold(0, u64::saturating_add)
}

fn idle(area: &Path) -> Duration {
    let times = fs::read_dir(area).into_iter().flatten().flatten();
    let times = times.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    let newest = times.max().unwrap_or(SystemTime::UNIX_EPOCH);
    // A clock that was set back makes nothing older.
    SystemTime::now().duration_since(newest).unwrap_or(Duration::ZERO)
}

/// The bytes that are free on the file system of a folder; `None` where that cannot be told.
pub(super) fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}
