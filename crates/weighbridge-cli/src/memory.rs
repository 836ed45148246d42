//! The file of accepted heads (`spec/trust.md`, memory): read, locked and replaced.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{
    Memory, MemoryError, ModelName, Remembered, TrustError, TrustPolicy, VerifiedHead,
};
use weighbridge_store::{IoError, shown_path};

use crate::failure::Failure;

/// The accepted heads, locked against other runs as long as this lives.
pub(crate) struct StateFile {
    path: PathBuf,
    memory: Memory,
    /// Held, not read.
    _lock: Option<File>,
    /// Why nothing can be remembered. At the default place that is only told: a read-only home must not stop a
    /// verification.
    trouble: Option<String>,
}

/// The result of remembering a head.
pub(crate) enum Kept {
    /// It is remembered, and these are no more.
    Yes { forgotten: Vec<Remembered> },
    /// It is not, for this reason.
    No { trouble: String },
}

/// Why a head that the policy believes is not accepted.
pub(crate) enum Unaccepted {
    /// It leads back or aside.
    Head(TrustError),
    /// What was accepted before cannot be told, or this cannot be added to it.
    Memory(Failure),
}

impl From<Failure> for Unaccepted {
    fn from(failure: Failure) -> Self {
        Self::Memory(failure)
    }
}

impl From<Unaccepted> for Failure {
    fn from(why: Unaccepted) -> Self {
        match why {
            Unaccepted::Head(error) => error.into(),
            Unaccepted::Memory(failure) => failure,
        }
    }
}

impl StateFile {
    /// Opens the file that the caller names, or the default one.
    pub(crate) fn open(asked: Option<&PathBuf>) -> Result<Self, Failure> {
        let Some(path) = asked.cloned().or_else(|| place("heads.json")) else {
            let trouble = Some("this system names no place for it; name one with --state".to_owned());
            return Ok(Self { path: PathBuf::new(), memory: Memory::default(), _lock: None, trouble });
        };
        let (lock, trouble) = match lock(&path) {
            Ok(lock) => (Some(lock), None),
            Err(error) if asked.is_some() => return Err(error.into()),
            Err(error) => (None, Some(error.to_string())),
        };
        let memory = match fs::read(&path) {
            Ok(bytes) => Memory::from_json(&bytes).map_err(|error| malformed(&path, &error))?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Memory::default()
            }
            // What was accepted before is there and cannot be asked: nobody may go on as if there were nothing.
            Err(error) => return Err(IoError::at("read", &path)(error).into()),
        };
        Ok(Self { path, memory, _lock: lock, trouble })
    }

    /// What is remembered of a name and still believed.
    pub(crate) fn recall(&self, name: &ModelName, policy: &TrustPolicy) -> Result<Vec<Remembered>, Failure> {
        self.memory.recall(name, policy).map_err(|error| malformed(&self.path, &error))
    }

    /// Accepts a head that the policy believes, unless it leads back or aside, and remembers it.
    pub(crate) fn accept(mut self, head: &VerifiedHead, policy: &TrustPolicy) -> Result<Kept, Unaccepted> {
        let before = self.memory.clone();
        let forgotten = self.memory.accept(head, policy).map_err(|error| match error {
            MemoryError::Trust(error) => Unaccepted::Head(error),
            error => Unaccepted::Memory(malformed(&self.path, &error)),
        })?;
        if let Some(trouble) = self.trouble.take() {
            return Ok(Kept::No { trouble });
        }
        if self.memory != before {
            self.write()?;
        }
        Ok(Kept::Yes { forgotten })
    }

    fn write(&self) -> Result<(), Failure> {
        let failed = |error| Failure::from(IoError::at("write", &self.path)(error));
        let mut new = tempfile::NamedTempFile::new_in(folder_of(&self.path)).map_err(failed)?;
        let text = self.memory.to_json();
        new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
        new.persist(&self.path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

/// Where a file of this name is kept for the user, if the system names a place.
pub(crate) fn place(name: &str) -> Option<PathBuf> {
    // A path that is relative is invalid there, and ignored, as the XDG Base Directory Specification says: what is
    // remembered must not depend on the folder in which the command runs.
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
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

fn malformed(path: &Path, error: &MemoryError) -> Failure {
    Failure::new(9004, format!("{} does not hold remembered heads: {error}", shown_path(path))).hint(
        "name another file with --state, or move this one away: what was accepted before is then forgotten",
    )
}
