//! What was accepted before: the last note of each name, so that nobody can lead back to an older one.
//!
//! One JSON object, name to note (`spec/trust.md`). Notes, not ids: today's policy judges them anew.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{ModelName, Remembered, SignedHead, TrustPolicy};
use weighbridge_verify::{IoError, shown_path};

use crate::failure::Failure;

/// The accepted heads, locked against other runs as long as this lives.
pub(crate) struct Memory {
    path: PathBuf,
    notes: BTreeMap<String, String>,
    /// Held, not read.
    _lock: Option<File>,
    /// Why nothing can be remembered. At the default place that is only told: a read-only home must not stop a
    /// verification.
    trouble: Option<String>,
}

impl Memory {
    /// Opens the file that the caller names, or the default one.
    pub(crate) fn open(asked: Option<&PathBuf>) -> Result<Self, Failure> {
        let Some(path) = asked.cloned().or_else(|| place("heads.json")) else {
            let trouble = Some("this system names no place for it; name one with --state".to_owned());
            return Ok(Self { path: PathBuf::new(), notes: BTreeMap::new(), _lock: None, trouble });
        };
        let (lock, trouble) = match lock(&path) {
            Ok(lock) => (Some(lock), None),
            Err(error) if asked.is_some() => return Err(error.into()),
            Err(error) => (None, Some(error.to_string())),
        };
        let notes = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| malformed(&path))?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                BTreeMap::new()
            }
            // What was accepted before is there and cannot be asked: nobody may go on as if there were nothing.
            Err(error) => return Err(IoError::at("read", &path)(error).into()),
        };
        Ok(Self { path, notes, _lock: lock, trouble })
    }

    /// What is remembered of a name and still believed.
    pub(crate) fn recall(
        &self,
        name: &ModelName,
        policy: &TrustPolicy,
    ) -> Result<Option<Remembered>, Failure> {
        let Some(note) = self.notes.get(name.as_str()) else { return Ok(None) };
        let head = SignedHead::parse(note.as_bytes()).map_err(|_| malformed(&self.path))?;
        Ok(head.recall(policy))
    }

    /// Remembers a note; or says why that is not possible.
    pub(crate) fn remember(&mut self, name: &ModelName, note: &[u8]) -> Result<Option<String>, Failure> {
        if let Some(trouble) = self.trouble.take() {
            return Ok(Some(trouble));
        }
        // A note is UTF-8, or it would not have been accepted.
        let note = String::from_utf8_lossy(note).into_owned();
        if self.notes.get(name.as_str()) == Some(&note) {
            return Ok(None);
        }
        self.notes.insert(name.to_string(), note);
        let failed = |error| Failure::from(IoError::at("write", &self.path)(error));
        let mut new = tempfile::NamedTempFile::new_in(folder_of(&self.path)).map_err(failed)?;
        let text = serde_json::to_string_pretty(&self.notes).map_err(|e| failed(e.into()))?;
        new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
        new.persist(&self.path).map_err(|e| failed(e.error))?;
        Ok(None)
    }
}

/// Where a file of this name is kept for the user, if the system names a place.
pub(crate) fn place(name: &str) -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .or_else(|| set("LOCALAPPDATA"))?;
    Some(folder.join("weighbridge").join(name))
}

/// Locks a file beside the state file, so that two runs at once do not lose what the other keeps.
pub(crate) fn lock(path: &Path) -> Result<File, IoError> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(IoError::at("create", folder))?;
    // The whole name with an ending of our own, never truncated: it must not be a file of anybody else's.
    let mut name = OsString::from(path.as_os_str());
    name.push(".weighbridge-lock");
    let name = PathBuf::from(name);
    let file = File::options().create(true).append(true).open(&name).map_err(IoError::at("open", &name))?;
    // Where a file system has no locks, the rename still keeps the file whole.
    let _ = file.lock();
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn malformed(path: &Path) -> Failure {
    Failure::new(9004, format!("{} does not hold remembered heads", shown_path(path))).hint(
        "name another file with --state, or move this one away: what was accepted before is then forgotten",
    )
}
