//! What was accepted before: the last note of each name, so that nobody can lead back to an older one.
//!
//! One JSON object, name to note (`spec/trust.md`). Notes, not ids: today's policy judges them anew.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{ModelName, Remembered, SignedHead, TrustPolicy};
use weighbridge_verify::IoError;

use crate::failure::Failure;

/// The file in which accepted heads are remembered.
pub(crate) struct Memory {
    path: PathBuf,
    /// Whether the caller asked for this file, or it is the default.
    asked: bool,
}

impl Memory {
    /// The file the caller names, or the default; `None` on a system that gives no place for it.
    pub(crate) fn new(asked: Option<&PathBuf>) -> Option<Self> {
        if let Some(path) = asked {
            return Some(Self { path: path.clone(), asked: true });
        }
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("XDG_STATE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".local/state")))
            .or_else(|| set("LOCALAPPDATA"))?;
        Some(Self { path: folder.join("weighbridge").join("heads.json"), asked: false })
    }

    /// What is remembered of a name and still believed.
    pub(crate) fn recall(
        &self,
        name: &ModelName,
        policy: &TrustPolicy,
    ) -> Result<Option<Remembered>, Failure> {
        let notes = self.read()?;
        let Some(note) = notes.get(name.as_str()) else { return Ok(None) };
        let head = SignedHead::parse(note.as_bytes()).map_err(|_| self.malformed())?;
        Ok(head.recall(policy))
    }

    /// Remembers a note. At the default place a failure is only told: a read-only home must not stop a verification.
    pub(crate) fn remember(&self, name: &ModelName, note: &[u8]) -> Result<Option<String>, Failure> {
        match self.write(name, &String::from_utf8_lossy(note)) {
            Err(failure) if !self.asked && failure.code == 9002 => Ok(Some(failure.message)),
            result => result.map(|()| None),
        }
    }

    fn read(&self) -> Result<BTreeMap<String, String>, Failure> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| self.malformed()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(_) if !self.asked => Ok(BTreeMap::new()),
            Err(error) => Err(IoError::at("read", &self.path)(error).into()),
        }
    }

    fn write(&self, name: &ModelName, note: &str) -> Result<(), Failure> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(IoError::at("create", folder))?;
        // Two runs that end at once must not lose each other's notes.
        let lock_path = self.path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(IoError::at("create", &lock_path))?;
        // Where a file system has no locks, the rename below still keeps the file whole.
        let _ = lock.lock();
        let mut notes = self.read()?;
        if notes.insert(name.to_string(), note.to_owned()).as_deref() == Some(note) {
            return Ok(());
        }
        let failed = |error| Failure::from(IoError::at("write", &self.path)(error));
        let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let text = serde_json::to_string_pretty(&notes).map_err(|e| failed(e.into()))?;
        new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
        new.persist(&self.path).map_err(|e| failed(e.error))?;
        Ok(())
    }

    fn malformed(&self) -> Failure {
        Failure::new(9004, format!("{} does not hold remembered heads", self.path.display()))
            .hint("name another file with --state, or move this one away: what was accepted before is then forgotten")
    }
}
