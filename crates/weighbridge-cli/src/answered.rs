//! The nonces of challenges with an accepted answer. No answer to such a challenge is accepted again.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use weighbridge_store::{IoError, shown_path};
use weighbridge_tree::{ErrorCode, Nonce};

use crate::{failure::Failure, memory, place::NewFile};

/// The nonces, one on each line. The file is locked against other runs as long as this value lives.
pub(crate) struct Nonces {
    path: PathBuf,
    nonces: Vec<Nonce>,
    /// Held for the lock, never read.
    _lock: File,
}

impl Nonces {
    /// Opens the file that the caller names, or the default one.
    pub(crate) fn open(asked: Option<&PathBuf>) -> Result<Self, Failure> {
        let path = asked.cloned().or_else(|| memory::place("answered.txt")).ok_or_else(|| {
            Failure::usage("this system names no place for answered nonces; name one with --answered")
        })?;
        let lock = memory::lock(&path).map_err(|e| {
            Failure::from(e).hint("answered nonces have to be kept; --answered names another place")
        })?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(IoError::at("read", &path)(error).into()),
        };
        let text = str::from_utf8(&bytes).ok();
        let nonces = text.and_then(|text| text.lines().map(Nonce::from_hex).collect::<Result<_, _>>().ok());
        let nonces = nonces.ok_or_else(|| {
            Failure::new(ErrorCode::STATE_FILE_MALFORMED, format!("{} does not hold nonces", shown_path(&path)))
                .hint("name another file with --answered, or move this one away: answers can then be accepted again")
        })?;
        Ok(Self { path, nonces, _lock: lock })
    }

    pub(crate) fn contains(&self, nonce: &Nonce) -> bool {
        self.nonces.contains(nonce)
    }

    /// Adds a nonce, and writes the file.
    pub(crate) fn add(&mut self, nonce: Nonce) -> Result<(), Failure> {
        self.nonces.push(nonce);
        let lines: String = self.nonces.iter().map(|nonce| format!("{nonce}\n")).collect();
        NewFile::write(&self.path, lines.as_bytes())
    }
}
