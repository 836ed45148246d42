//! The file of accepted heads (`spec/trust.md`, memory): read, locked and replaced.

use std::{
    collections::BTreeSet,
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
use weighbridge_tree::ErrorCode;

use crate::failure::Failure;

/// The accepted heads. The file is locked against other runs as long as this value lives.
pub(crate) struct StateFile {
    path: PathBuf,
    memory: Memory,
    /// Held for the lock, never read.
    _lock: Option<File>,
    /// The reason why nothing can be remembered. At the default place this is only a message: a read-only home must
    /// not stop a verification.
    trouble: Option<String>,
}

/// The result of remembering a head.
pub(crate) enum Kept {
    /// The head is remembered, and the `forgotten` ones no longer are.
    Yes { forgotten: Vec<Remembered> },
    /// The head is not remembered, for this reason.
    No { trouble: String },
}

/// The reason why a believed head is not accepted.
pub(crate) enum Unaccepted {
    /// The head leads to an older revision or to a fork.
    Head(TrustError),
    /// The earlier heads cannot be read, or this one cannot be added.
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
            // The file exists and cannot be read. Going on would ignore the heads that were accepted before.
            Err(error) => return Err(IoError::at("read", &path)(error).into()),
        };
        Ok(Self { path, memory, _lock: lock, trouble })
    }

    /// The names of the models of which heads are remembered.
    pub(crate) fn names(&self) -> BTreeSet<ModelName> {
        self.memory.notes().map(|(name, _)| name.clone()).collect()
    }

    /// The remembered heads of a name that the policy still believes.
    pub(crate) fn recall(&self, name: &ModelName, policy: &TrustPolicy) -> Result<Vec<Remembered>, Failure> {
        self.memory.recall(name, policy).map_err(|error| malformed(&self.path, &error))
    }

    /// Accepts and remembers a believed head, unless it leads to an older revision or to a fork.
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

/// The user's path for a file of this name, if the system has a place for such files.
pub(crate) fn place(name: &str) -> Option<PathBuf> {
    // The XDG Base Directory Specification has relative paths ignored. The remembered heads must not depend on the
    // working folder.
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .or_else(|| set("LOCALAPPDATA"))?;
    Some(folder.join("weighbridge").join(name))
}

/// Locks a file beside the state file, so that of two runs at once neither loses the other's heads.
pub(crate) fn lock(path: &Path) -> Result<File, IoError> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(IoError::at("create", folder))?;
    // The full name of the state file and our own ending. The file is never truncated, in case it belongs to somebody
    // else.
    let mut name = OsString::from(path.as_os_str());
    name.push(".weighbridge-lock");
    let name = PathBuf::from(name);
    let file = File::options().create(true).append(true).open(&name).map_err(IoError::at("open", &name))?;
    // On a file system without locks, the rename still keeps the state file whole.
    let _ = file.lock();
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn malformed(path: &Path, error: &MemoryError) -> Failure {
    Failure::new(
        ErrorCode::STATE_FILE_MALFORMED,
        format!("{} does not hold remembered heads: {error}", shown_path(path)),
    )
    .hint("name another file with --state, or move this one away: what was accepted before is then forgotten")
}
