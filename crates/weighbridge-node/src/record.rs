//! The file in which a node remembers what it was asked for.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::warn;
use weighbridge_demand::Keeper;
use weighbridge_store::{IoError, read_bounded, shown_path};

/// The record of a keeper, in the folder of the cache.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    /// Whether something has happened since it was written.
    pub(crate) is_changed: bool,
    written: Duration,
}

/// The name of the file.
const NAME: &str = ".weighbridge-demand.json";
/// The longest file: some times as much as a full record has.
const MAX: u64 = 64 << 20;
/// The time between two writes.
const BETWEEN: Duration = Duration::from_secs(60);

impl RecordFile {
    pub(crate) fn at(hub: &Path) -> Self {
        Self { path: hub.join(NAME), is_changed: false, written: Duration::ZERO }
    }

    /// The keeper that has written the file, or a new one if there is none or it is of no use.
    pub(crate) fn read(&self, budget: u64, now: Duration) -> Keeper {
        let restored = match read_bounded(&self.path, MAX) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| error.to_string())
                .and_then(|record| Keeper::restore(record, budget, now).map_err(|error| error.to_string())),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Keeper::new(budget, now),
            Err(error) => Err(error.to_string()),
        };
        restored.unwrap_or_else(|why| {
            let path = shown_path(&self.path);
            warn!(target: "weighbridge", "what was asked for before is forgotten: {path}: {why}");
            Keeper::new(budget, now)
        })
    }

    pub(crate) fn write_if_due(&mut self, keeper: &Keeper, now: Duration) {
        // A clock that went back counts as due.
        let is_due = now.checked_sub(self.written).is_none_or(|since| since >= BETWEEN);
        if self.is_changed && is_due {
            (self.is_changed, self.written) = (false, now);
            self.write(keeper);
        }
    }

    /// Writes the file as a whole: a reader, and a node that begins after a power cut, finds the old one or the new one.
    pub(crate) fn write(&self, keeper: &Keeper) {
        let new = self.path.with_extension("new");
        let write = || {
            let text = serde_json::to_vec(&keeper.record()).map_err(io::Error::other)?;
            // A link that lies there is removed, and not written through.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::create_new(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        if let Err(error) = write().map_err(IoError::at("write", &self.path)) {
            warn!(target: "weighbridge", "what was asked for is not written down: {error}");
        }
    }
}
