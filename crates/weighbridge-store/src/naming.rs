//! The replacement of one release by another: the moment in which files and metadata get their names
//! (`spec/model-folder.md`).

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, ErrorKind::NotFound},
    sync::Arc,
};

use weighbridge_manifest::EntryPath;
use weighbridge_tree::{FileRoot, HeadId};

use crate::{
    destination::Destination,
    disk::{FileKind, MANY, Opening},
    kept::{BY, Replaces, Standing, list_of, name_of, standing, sweep},
    lock::{FolderLock, holder_line},
    metadata::{CHUNKS, FILES, HEAD, KEPT, TENSORS, TEXT},
    partial::{ClosedFile, PartialFile},
    site::{Site, folder_of, is_hex, random_name},
    stamp::Identity,
    store_error::StoreError,
};

/// The replacement of one release in a folder by another, for as long as names are given. Dropping it lets the next process in.
///
/// # Guarantee
/// Whatever interrupts it: until the new head stands, the old one does, and says that it is being replaced. A process that
/// reads the old release with a lease finds each of its files under its path or under its root.
#[derive(Debug)]
#[must_use]
pub struct Naming {
    site: Arc<Site>,
    lock: FolderLock,
    /// The head that stands.
    standing: Option<HeadId>,
    /// The head that is to stand; `None` for metadata that is not signed yet.
    next: Option<HeadId>,
    replaces: Replaces,
    /// The name of this work, for other processes.
    work: &'static str,
    /// The files of the standing release, by path. Empty if there is none, or if it is the one that is named again.
    old: HashMap<String, FileRoot>,
    is_marked: bool,
    /// Folders in which names were given that are not durable yet.
    touched: BTreeSet<String>,
}

/// An incomplete file that is ours to name.
#[derive(Clone, Copy)]
struct Ours<'a> {
    path: &'a str,
    identity: Option<Identity>,
    /// Whether the file was seen there by now, so that it stays there: others rename such files under the lock alone.
    is_there: bool,
}

fn placed_elsewhere() -> io::Error {
    io::Error::new(NotFound, "it was removed or placed elsewhere by another process")
}

impl Naming {
    pub(crate) fn begin(
        site: &Arc<Site>,
        lock: FolderLock,
        next: Option<HeadId>,
        replaces: Replaces,
        work: &'static str,
    ) -> Result<Self, StoreError> {
        // Another process that has ended may have removed any of them.
        site.forget_folders();
        let (standing, note) = standing(site)?.unzip();
        let mut old = HashMap::new();
        if replaces == Replaces::Files
            && standing != next
            && let Some(list) = note.and_then(|note| list_of(&site.place(site.metadata()), &note))
        {
            let entries = list.entries().iter();
            old = entries.map(|entry| (entry.path.as_str().to_owned(), entry.root)).collect();
        }
        let site = Arc::clone(site);
        let (is_marked, touched) = (false, BTreeSet::new());
        Ok(Self { site, lock, standing, next, replaces, work, old, is_marked, touched })
    }

    fn kept(&self) -> String {
        format!("{}/{}", self.site.meta(KEPT), name_of(self.standing))
    }

    /// Makes the folder in which the release is kept, and says there that its files are being replaced, before any of them is.
    fn mark(&mut self) -> Result<(), StoreError> {
        if self.is_marked || self.is_repair() {
            return Ok(());
        }
        let (site, kept) = (&self.site, self.kept());
        site.make_folder(&kept)?;
        let mark = format!("{kept}/{BY}");
        // The work of an earlier process goes on: its mark is as good.
        if self.replaces == Replaces::Files && !site.has_file(&mark)? {
            let new = write_beside(site, &kept, format!("{}\n", holder_line(self.work)).as_bytes())?;
            site.rename(&new, &mark)?;
            site.sync_folder(&kept)?;
        }
        self.is_marked = true;
        Ok(())
    }

    /// Whether the standing release is named again: to be repaired, or for more of its files.
    fn is_repair(&self) -> bool {
        self.standing.is_some() && self.standing == self.next
    }

    /// Gives a file its final name, in place of a file that has it. The name is durable once [`settle`](Self::settle) returns.
    ///
    /// The caller has accepted and written every chunk of the file, in this run or by reading it back.
    ///
    /// # Errors
    /// [`StoreError`]. The file is then where it was; or nowhere, if another process has removed it.
    ///
    /// # Non-guarantee
    /// Where files have no identity (outside POSIX) and folders have no locks, two processes that place the same file at once may
    /// place one that a third has just begun.
    pub fn place(
        &mut self,
        destination: &Destination,
        partial: &PartialFile,
        path: &EntryPath,
    ) -> Result<(), StoreError> {
        partial.check_len()?;
        partial.sync_bytes()?;
        self.place_ours(
            destination,
            Ours { path: partial.path(), identity: partial.identity(), is_there: false },
            path,
        )
    }

    /// As [`place`](Self::place), for a file that was closed. It is not opened again.
    ///
    /// # Errors
    /// As there. Of the kind [`io::ErrorKind::NotFound`] also if somebody has changed the file, or put another in its place, since it was
    /// closed: then nothing was done.
    pub fn place_closed(
        &mut self,
        destination: &Destination,
        file: &ClosedFile,
        path: &EntryPath,
    ) -> Result<(), StoreError> {
        let there = self.site.disk().stamp(file.path()).map_err(self.site.at("look at", file.path()))?;
        if there.as_ref() != Some(file.stamp()) {
            return Err(self.site.at("finish", file.path())(placed_elsewhere()).into());
        }
        let ours = Ours { path: file.path(), identity: Some(file.identity()), is_there: self.lock.is_held() };
        self.place_ours(destination, ours, path)
    }

    fn place_ours(
        &mut self,
        destination: &Destination,
        mut ours: Ours<'_>,
        path: &EntryPath,
    ) -> Result<(), StoreError> {
        self.mark()?;
        let mut tries = 0_u32;
        loop {
            match self.move_to(destination, ours, path) {
                // Another process has removed a folder that was empty, or taken the file back.
                Err(StoreError::Io(error)) if error.source.kind() == NotFound && tries < TRIES => {
                    tries = tries.saturating_add(1);
                    ours.is_there = false;
                    self.site.forget_folders();
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        destination.note_placed(ours.identity, path);
        Ok(())
    }

    /// One attempt. Where there are no locks, another process may place this file at any moment, and a third begin a new one under
    /// the old name: there the file first gets a name that no other process knows, and is looked at under that name.
    fn move_to(
        &mut self,
        destination: &Destination,
        ours: Ours<'_>,
        path: &EntryPath,
    ) -> Result<(), StoreError> {
        let place = path.as_str();
        if self.site.has_file(place)? {
            destination.may_be_replaced(path)?;
            self.keep(place)?;
        }
        self.site.make_folder(folder_of(place))?;
        if !ours.is_there && !self.is_at(ours, ours.path)? {
            return self.placed_by_another(ours, path);
        }
        let site = &self.site;
        if self.lock.is_held() {
            // At every moment the file has one of the two names: others that look for it find it.
            match site.disk().rename(ours.path, place) {
                Err(error) if error.kind() == NotFound => return self.placed_by_another(ours, path),
                renamed => renamed.map_err(site.at("write", place))?,
            }
            self.touched.extend([folder_of(place).to_owned(), self.site.incomplete().to_owned()]);
            return Ok(());
        }
        let claim = format!("{}.{}", ours.path, random_name()?);
        match site.disk().rename(ours.path, &claim) {
            Err(error) if error.kind() == NotFound => return self.placed_by_another(ours, path),
            claimed => claimed.map_err(site.at("rename", ours.path))?,
        }
        if !self.is_at(ours, &claim)? {
            destination.give_back(&claim, ours.path)?;
            return self.placed_by_another(ours, path);
        }
        if let Err(error) = site.disk().rename(&claim, place) {
            // The first error says more than one of the way back, and another process may have taken the file back already.
            let _ = destination.give_back(&claim, ours.path);
            return Err(site.at("write", place)(error).into());
        }
        self.touched.extend([folder_of(place).to_owned(), self.site.incomplete().to_owned()]);
        Ok(())
    }

    /// No file of ours has the name of the incomplete file. That is well if the final name is our file's.
    fn placed_by_another(&mut self, ours: Ours<'_>, path: &EntryPath) -> Result<(), StoreError> {
        if ours.identity.is_some() && self.is_at(ours, path.as_str())? {
            self.touched.insert(folder_of(path.as_str()).to_owned());
            return Ok(());
        }
        Err(self.site.at("finish", ours.path)(placed_elsewhere()).into())
    }

    /// Whether this name is that of our open file. Where the system cannot tell, the name is believed if there is a file.
    fn is_at(&self, ours: Ours<'_>, path: &str) -> Result<bool, StoreError> {
        if ours.identity.is_none() {
            return Ok(self.site.look_once(path)? == Some(FileKind::File));
        }
        let there = self.site.disk().stamp(path);
        Ok(there.is_ok_and(|there| there.and_then(|stamp| stamp.identity()) == ours.identity))
    }

    /// Gives a file of the standing release a second name, before another takes its path.
    fn keep(&mut self, path: &str) -> Result<(), StoreError> {
        let Some(root) = self.old.get(path) else { return Ok(()) };
        let (site, kept) = (&self.site, self.site.meta(KEPT));
        let to = format!("{kept}/{root}");
        let linked = match site.disk().link(path, &to) {
            // File systems without second names, and systems that give none to a file of another user. A rename would replace
            // what a process that was killed has kept already.
            Err(error) if !matches!(error.kind(), io::ErrorKind::AlreadyExists | NotFound) => {
                if site.look_once(&to)?.is_some() { Ok(()) } else { site.disk().rename(path, &to) }
            }
            linked => linked,
        };
        match linked {
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | NotFound) => {}
            linked => linked.map_err(site.at("keep", path))?,
        }
        self.touched.insert(kept);
        Ok(())
    }

    /// Makes the names durable that were given since the last call.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    ///
    /// # Cost
    /// One sync for each folder in which names were given; for very many folders, one of the whole file system.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        let touched = std::mem::take(&mut self.touched);
        if touched.len() >= MANY && self.site.disk().sync_all().map_err(self.site.at("sync", ""))? {
            return Ok(());
        }
        touched.iter().try_for_each(|folder| self.site.sync_folder(folder))
    }

    /// Removes a file that does not belong to the new release. If it was one of the old release, it is kept for its readers.
    pub(crate) fn remove(&mut self, path: &str) -> Result<(), StoreError> {
        if !self.old.is_empty() && self.old.contains_key(path) {
            self.site.make_folder(&self.site.meta(KEPT))?;
            self.keep(path)?;
        }
        self.site.remove_if_there(path)
    }

    /// Gives new metadata its names, the head last.
    ///
    /// `from` is the folder in which complete files lie under their final names; `note` the path of the complete note there, if
    /// there is one. Lists and layers that the new release does not have are removed.
    pub(crate) fn publish(
        &mut self,
        from: &str,
        note: Option<&str>,
        metadata: Incoming,
    ) -> Result<(), StoreError> {
        for name in [FILES, TENSORS, CHUNKS, TEXT, HEAD] {
            let place = self.site.meta(name);
            if self.site.look(&place)? == Some(FileKind::Folder) {
                return Err(self.site.at("replace", &place)(io::ErrorKind::IsADirectory.into()).into());
            }
        }
        self.mark()?;
        let is_first = !self.is_repair() && metadata == Incoming::WithAll;
        if is_first {
            self.keep_metadata()?;
        }
        let site = Arc::clone(&self.site);
        for name in [FILES, TENSORS, CHUNKS, TEXT] {
            let (new, place) = (format!("{from}/{name}"), site.meta(name));
            if site.has_file(&new)? {
                // Layers are written in place, and not synced before.
                site.disk().sync_file(&new).map_err(site.at("sync", &new))?;
                site.rename(&new, &place)?;
            } else if is_first {
                site.remove_if_there(&place)?;
            }
        }
        // The note is last on disk too, should the power fail.
        self.touched.insert(site.metadata().to_owned());
        self.settle()?;
        match note {
            Some(note) => site.rename(note, &site.meta(HEAD))?,
            None => site.remove_if_there(&site.meta(HEAD))?,
        }
        site.sync_folder(site.metadata())
    }

    /// Moves the lists and layers of the standing release to where its readers find them, the file list last: once it is there,
    /// all of them are.
    fn keep_metadata(&mut self) -> Result<(), StoreError> {
        let (site, kept) = (&self.site, self.kept());
        if self.standing.is_none() || site.has_file(&format!("{kept}/{FILES}"))? {
            return Ok(());
        }
        for names in [[TENSORS, CHUNKS, TEXT].as_slice(), &[FILES]] {
            for name in names {
                if site.look(&site.meta(name))? == Some(FileKind::File) {
                    site.rename(&site.meta(name), &format!("{kept}/{name}"))?;
                }
            }
            site.sync_folder(&kept)?;
            site.sync_folder(site.metadata())?;
        }
        Ok(())
    }

    /// Removes what was kept of replaced releases, except what readers have a lease on; and the mark of the release that stands, if
    /// the caller has named all its files.
    ///
    /// # Errors
    /// [`StoreError`]. The next process that gives names tries again.
    pub fn sweep(&self, state: Standing) -> Result<(), StoreError> {
        sweep(&self.site, state)
    }
}

/// The part of the new release's metadata that lies in the folder from which it gets its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// All that the release has.
    WithAll,
    /// The part that a killed process has not put in its place already. The old metadata has moved before that.
    InPlaceInPart,
}

/// The maximum number of retries of a placing when another process comes in between.
const TRIES: u32 = 8;

/// Writes a complete file beside others that come to be: under another name first, which it gives.
pub(crate) fn write_beside(site: &Site, folder: &str, bytes: &[u8]) -> Result<String, StoreError> {
    let new = format!("{folder}/{NEW}{}", random_name()?);
    let write = || {
        let file = site.disk().write(&new, Opening::New)?;
        file.write_at(bytes, 0)?;
        file.sync()
    };
    if let Err(error) = write() {
        // A full disk has some room again.
        let _ = site.disk().remove(&new);
        return Err(site.at("write", folder)(error).into());
    }
    Ok(new)
}

/// The beginning of the names of files that are not complete.
const NEW: &str = "new.";

/// Whether a file was left by a process that was killed while it wrote it.
pub(crate) fn is_new(name: &str) -> bool {
    name.strip_prefix(NEW).is_some_and(|random| is_hex(random, 16))
}

#[cfg(test)]
mod tests;
