//! The models that a server publishes, and how it notices that one has changed.

mod open_files;
mod places;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use weighbridge_manifest::{ModelName, VerifiedTensorList};
use weighbridge_store::{HEAD, Metadata, ModelView, Stamp, ViewError, open_to_read};
use weighbridge_tree::{Coded, ErrorCode, HeadId, Layer};

use crate::{
    coming::Coming,
    release::{Release, ReleaseError, Stored},
    room::lock,
    route::ServedName,
};
use open_files::OpenFiles;
use places::{DEPTH, Found, is_same_place};

/// The models that a server publishes: folders, or folders of them.
///
/// # Guarantee
/// Bytes of one answer are those of one release. A release that another one has replaced is given to whoever asks for it by its id,
/// for as long as it was asked for in the last five minutes; its files stay in `weighbridge/kept` meanwhile.
///
/// # Cost
/// [`look`](Self::look) asks the file system for the state of each `head.note`. The lists of each release are in memory; at most
/// 256 files are open, with their layers: 32 bytes for each of their chunks.
#[derive(Debug)]
pub struct Models {
    places: Vec<PathBuf>,
    began: Instant,
    /// By name. A request looks a model up here, and nowhere else.
    published: RwLock<BTreeMap<ServedName, Arc<Published>>>,
    /// By folder.
    seen: Mutex<BTreeMap<PathBuf, Seen>>,
    /// Models of which something could not be opened, to be opened anew.
    faulty: Mutex<BTreeSet<ServedName>>,
    /// Changes that the next look tells.
    untold: Mutex<Vec<Change>>,
    /// Releases that are not served any more. They are dropped by a look, since the last reader of one removes its files.
    leaving: Mutex<Vec<Arc<Release>>>,
    lookups: AtomicU64,
    open_files: OpenFiles,
}

/// A model as it is published now.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) folder: PathBuf,
    pub(crate) current: Arc<Release>,
    /// Releases that others have replaced, the newest first.
    earlier: Vec<Arc<Release>>,
}

/// The state in which a folder was when it was opened last.
#[derive(Debug)]
struct Seen {
    /// The note then; `None` if it could not be opened.
    stamp: Option<Stamp>,
    at: Instant,
    /// The model that the folder publishes.
    name: Option<ServedName>,
    fault: Option<String>,
}

/// A folder that cannot be served is opened again after this time, or when its note changes.
const RETRY: Duration = Duration::from_secs(10);

/// A model of which something could not be opened is opened anew after this time at the earliest.
const REOPEN: Duration = Duration::from_secs(2);

/// For this long a release that was replaced is kept for those who ask for it.
const LINGER: Duration = Duration::from_secs(300);

/// Something that has changed in what is published.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A release is served from now on.
    Published {
        /// The model's folder.
        folder: PathBuf,
        /// The model's name.
        name: ModelName,
        /// The release's revision.
        revision: u64,
        /// The release's head.
        head: HeadId,
        /// The sum of its files' sizes.
        bytes: u64,
    },
    /// A model is not served any more, since its folder has no head.
    Withdrawn {
        /// The folder.
        folder: PathBuf,
        /// The model's name.
        name: ModelName,
    },
    /// A folder cannot be served as it is. What was served of it before still is.
    Refused {
        /// The folder.
        folder: PathBuf,
        /// The number of the reason.
        code: ErrorCode,
        /// The reason.
        message: String,
    },
}

impl Models {
    /// Models in these places: each is a model folder, or has model folders in it, or in folders in it. Nothing is looked at before
    /// [`look`](Self::look).
    #[must_use]
    pub fn of(places: Vec<PathBuf>) -> Self {
        Self {
            places,
            began: Instant::now(),
            published: RwLock::default(),
            seen: Mutex::default(),
            faulty: Mutex::default(),
            untold: Mutex::default(),
            leaving: Mutex::default(),
            lookups: AtomicU64::new(0),
            open_files: OpenFiles::new(),
        }
    }

    /// Looks at all places, opens what is new, and lets go of what is gone. Says what has changed; the same fault is told once.
    ///
    /// Reads metadata, and no weights. A server calls this once a second.
    ///
    /// # Example
    /// ```
    /// use weighbridge_serve::{Change, Models};
    /// # use weighbridge_testkit::{Folder, bytes};
    /// # let files = [("model.bin", bytes(40_000, 1))];
    /// # let (folder, _) = Folder::weighed(&files, weighbridge_verify::tree::ChunkSize::MIN);
    ///
    /// let models = Models::of(vec![folder.path().to_owned()]);
    /// assert!(matches!(models.look().as_slice(), [Change::Published { revision: 1, .. }]));
    /// assert_eq!(models.look(), [], "nothing has changed since");
    /// ```
    pub fn look(&self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut *lock(&self.untold));
        let mut seen = lock(&self.seen);
        let mut found = Found::default();
        self.places.iter().for_each(|place| found.look_in(place, DEPTH));
        let faulty = std::mem::take(&mut *lock(&self.faulty));
        for folder in &found.models {
            self.look_at(folder, &faulty, &mut seen, &mut changes);
        }
        let is_gone = |folder: &&PathBuf| {
            !found.models.contains(*folder) && !found.unread.iter().any(|unread| folder.starts_with(unread))
        };
        let gone = seen.keys().filter(is_gone).cloned().collect::<Vec<_>>();
        for folder in gone {
            // Another snapshot of a cache may have taken its place.
            let is_published =
                |name: &ServedName| self.read().get(name).is_some_and(|published| published.folder == folder);
            if let Some(name) = seen.remove(&folder).and_then(|seen| seen.name).filter(is_published) {
                self.withdraw(&folder, &name, &mut changes);
            }
        }
        self.let_go();
        changes
    }

    /// Looks at one folder now, since a release has taken its place there. The next look tells of it.
    pub fn look_at_now(&self, folder: &Path) {
        let mut changes = Vec::new();
        self.look_at(folder, &BTreeSet::new(), &mut lock(&self.seen), &mut changes);
        lock(&self.untold).extend(changes);
    }

    fn withdraw(&self, folder: &Path, name: &ServedName, changes: &mut Vec<Change>) {
        if let Some(published) = self.change(|published| published.remove(name)) {
            let all = std::iter::once(&published.current).chain(&published.earlier);
            lock(&self.leaving).extend(all.map(Arc::clone));
        }
        changes.push(Change::Withdrawn { folder: folder.to_owned(), name: name.name().clone() });
    }

    fn look_at(
        &self,
        folder: &Path,
        faulty: &BTreeSet<ServedName>,
        all: &mut BTreeMap<PathBuf, Seen>,
        changes: &mut Vec<Change>,
    ) {
        let note = Metadata::of_model(folder).folder().join(HEAD);
        let stamp = open_to_read(&note).ok().and_then(|file| Stamp::of(&file).ok());
        let before = all.get(folder);
        let is_as_it_was = |before: &Seen| {
            let is_due = before.fault.is_some() && before.at.elapsed() >= RETRY;
            let is_faulty = before.name.as_ref().is_some_and(|name| faulty.contains(name));
            if is_faulty && before.at.elapsed() < REOPEN {
                lock(&self.faulty).extend(before.name.clone());
                return true;
            }
            before.stamp == stamp && !is_due && !is_faulty
        };
        if before.is_some_and(is_as_it_was) {
            return;
        }
        let named = before.and_then(|seen| seen.name.clone());
        let opened = Release::open(folder).and_then(|release| {
            let there = self.read().get(&release.name).map(|published| published.folder.clone());
            if there.is_some_and(|there| !is_same_place(&there, folder)) {
                Err(ReleaseError::NameTaken)
            } else {
                Ok(release)
            }
        });
        match opened {
            Ok(release) => {
                let release = Arc::new(release);
                if let Some(other) = named.filter(|name| *name != release.name) {
                    self.withdraw(folder, &other, changes);
                }
                let was_refused = before.is_some_and(|seen| seen.fault.is_some());
                if was_refused || !self.is_current(&release) {
                    changes.push(Change::Published {
                        folder: folder.to_owned(),
                        name: release.name.name().clone(),
                        revision: release.head().revision,
                        head: release.id,
                        bytes: release.head().bytes,
                    });
                }
                let name = release.name.clone();
                self.publish(folder, &release);
                all.insert(
                    folder.to_owned(),
                    Seen { stamp, at: Instant::now(), name: Some(name), fault: None },
                );
            }
            Err(error) => {
                let message = error.to_string();
                if before.and_then(|seen| seen.fault.as_ref()) != Some(&message) {
                    let (folder, code) = (folder.to_owned(), error.error_code());
                    changes.push(Change::Refused { folder, code, message: message.clone() });
                }
                all.insert(
                    folder.to_owned(),
                    Seen { stamp, at: Instant::now(), name: named, fault: Some(message) },
                );
            }
        }
    }

    /// Publishes a release that is on its way, until [`look_at_now`](Self::look_at_now) finds it complete in its folder or it is
    /// [withdrawn](Self::withdraw_coming).
    ///
    /// # Errors
    /// [`ReleaseError`]: its name has no path here, or another folder has a model of this name.
    pub fn publish_coming(&self, coming: Arc<dyn Coming>) -> Result<(), ReleaseError> {
        let folder = coming.folder().to_owned();
        let release = Arc::new(Release::coming(coming)?);
        let there = self.read().get(&release.name).map(|published| published.folder.clone());
        if there.is_some_and(|there| !is_same_place(&there, &folder)) {
            return Err(ReleaseError::NameTaken);
        }
        self.publish(&folder, &release);
        Ok(())
    }

    /// Withdraws a release that will not come. Those who are being given it are told so by their own waits.
    pub fn withdraw_coming(&self, name: &ModelName, head: HeadId) {
        let Some(name) = ServedName::of(name.clone()) else { return };
        let is_it = |published: &Arc<Published>| {
            published.current.id == head && matches!(published.current.content, Stored::Coming(_))
        };
        // Its readers may be the last ones of a release: it is not dropped while the lock is held.
        let _gone =
            self.change(
                |published| {
                    if published.get(&name).is_some_and(is_it) { published.remove(&name) } else { None }
                },
            );
    }

    /// Whether answers are being given from the model of this name. A look at all models counts for a moment, too.
    #[must_use]
    pub fn is_read(&self, name: &ModelName) -> bool {
        let _no_look = lock(&self.seen);
        ServedName::of(name.clone()).is_some_and(|name| {
            self.is_left_to_readers(&name) || self.change(|all| all.get(&name).is_some_and(is_held))
        })
    }

    /// Whether a release that was opened anew is still read as it was before. A look empties the list for a moment.
    fn is_left_to_readers(&self, name: &ServedName) -> bool {
        let is_read = |release: &Arc<Release>| release.name == *name && Arc::strong_count(release) > 1;
        lock(&self.leaving).iter().any(is_read)
    }

    /// Withdraws the model of this name, if no answer is being given from it, and calls `remove` for its files. No look publishes it
    /// before that has returned. The next look tells that it is withdrawn, or publishes it again if its files are still there.
    ///
    /// Returns `None` if answers are being given. A model that is not published is removed, too.
    pub fn withdraw_unread<T>(&self, name: &ModelName, remove: impl FnOnce() -> T) -> Option<T> {
        let mut seen = lock(&self.seen);
        let name = ServedName::of(name.clone());
        if name.as_ref().is_some_and(|name| self.is_left_to_readers(name)) {
            return None;
        }
        let withdrawn = self.change(|published| {
            let Some(name) = &name else { return Ok(None) };
            match published.get(name) {
                Some(model) if is_held(model) => Err(()),
                _ => Ok(published.remove(name)),
            }
        });
        let withdrawn = withdrawn.ok()?;
        if let Some(model) = &withdrawn {
            for release in std::iter::once(&model.current).chain(&model.earlier) {
                self.open_files.forget(release.id);
            }
        }
        let removed = remove();
        if let Some(model) = withdrawn {
            seen.remove(&model.folder);
            let (folder, name) = (model.folder.clone(), model.current.name.name().clone());
            lock(&self.untold).push(Change::Withdrawn { folder, name });
        }
        Some(removed)
    }

    /// Whether a release of a folder is published.
    fn is_current(&self, release: &Release) -> bool {
        let is_it =
            |current: &Release| current.id == release.id && matches!(current.content, Stored::Folder(_));
        self.read().get(&release.name).is_some_and(|published| is_it(&published.current))
    }

    fn publish(&self, folder: &Path, release: &Arc<Release>) {
        self.used(release);
        let before = self.change(|published| {
            let before = published.remove(&release.name);
            let all =
                before.iter().flat_map(|before| std::iter::once(&before.current).chain(&before.earlier));
            let earlier = all.filter(|earlier| earlier.id != release.id).map(Arc::clone).collect();
            let entry = Published { folder: folder.to_owned(), current: Arc::clone(release), earlier };
            published.insert(release.name.clone(), Arc::new(entry));
            before
        });
        // The same release, opened anew: with another signature, or since a file could not be opened, or since it stands again.
        let all = before.iter().flat_map(|before| std::iter::once(&before.current).chain(&before.earlier));
        lock(&self.leaving).extend(all.filter(|same| same.id == release.id).map(Arc::clone));
    }

    /// Drops the releases that nobody asks for any more.
    fn let_go(&self) {
        let limit = self.seconds().saturating_sub(LINGER.as_secs());
        for published in self.read().values() {
            let is_asked_for = |release: &Arc<Release>| release.used_at() >= limit;
            let (earlier, gone): (Vec<_>, Vec<_>) = published.earlier.iter().cloned().partition(is_asked_for);
            if gone.is_empty() {
                continue;
            }
            let entry = Published {
                folder: published.folder.clone(),
                current: Arc::clone(&published.current),
                earlier,
            };
            self.change(|published| published.insert(entry.current.name.clone(), Arc::new(entry)));
            lock(&self.leaving).extend(gone);
        }
        // A request holds a release for as long as it is answered.
        let (still_read, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut *lock(&self.leaving))
            .into_iter()
            .partition(|release| Arc::strong_count(release) > 1);
        lock(&self.leaving).extend(still_read);
        for release in gone {
            // Files of the same release, opened anew, may be closed with it: they are opened again.
            self.open_files.forget(release.id);
        }
    }

    /// The model of this name.
    pub(crate) fn find(&self, name: &ServedName) -> Option<Arc<Published>> {
        self.lookups.fetch_add(1, Relaxed);
        self.published.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The release of a model that a request means: the one that stands, or the one of a revision.
    pub(crate) fn release(&self, published: &Published, revision: Option<&str>) -> Option<Arc<Release>> {
        let revision = revision.filter(|revision| *revision != "main");
        let mut all = std::iter::once(&published.current).chain(&published.earlier);
        let release = all.find(|release| revision.is_none_or(|revision| release.is_named(revision)))?;
        self.used(release);
        Some(Arc::clone(release))
    }

    /// The folder from which the model of this name is published.
    #[cfg(feature = "accept")]
    pub(crate) fn folder_of(&self, name: &ServedName) -> Option<PathBuf> {
        self.read().get(name).map(|published| published.folder.clone())
    }

    /// Whether a model of this name is published.
    #[must_use]
    pub fn has(&self, name: &ModelName) -> bool {
        ServedName::of(name.clone()).is_some_and(|name| self.read().contains_key(&name))
    }

    /// Whether no model is published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// The files and tensors of each release that is served whole, and lists its tensors.
    #[must_use]
    pub fn with_tensors(&self) -> Vec<(Arc<ModelView>, Arc<VerifiedTensorList>)> {
        let models = self.all();
        let releases = models.iter().flat_map(|model| std::iter::once(&model.current).chain(&model.earlier));
        releases.filter_map(|release| release.with_tensors()).collect()
    }

    /// All models, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Published>> {
        self.read().into_values().collect()
    }

    /// The number of times that a name was looked up.
    pub(crate) fn lookups(&self) -> u64 {
        self.lookups.load(Relaxed)
    }

    /// Reads and judges bytes of a file, as [`FileView::fill_at`] does.
    pub(crate) fn fill(
        &self,
        release: &Release,
        position: usize,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), ViewError> {
        let view = match &release.content {
            Stored::Folder(view) => view,
            Stored::Coming(coming) => return coming.fill(position, offset, into),
        };
        let key = (release.id, position);
        let read = |into: &mut [u8]| self.open_files.open(view, key)?.fill_at(offset, into);
        let result = match read(into) {
            // A repaired file may have taken the place of the one that is open.
            Err(ViewError::Changed { .. }) => {
                self.open_files.close(key);
                read(into)
            }
            result => result,
        };
        result.inspect_err(|fault| self.read_failed(release, Some(position), fault))
    }

    /// The accepted layer of a file.
    pub(crate) fn layer(&self, release: &Release, position: usize) -> Result<Layer, ViewError> {
        let layer = match &release.content {
            Stored::Folder(view) => view.layer(position),
            Stored::Coming(coming) => return coming.layer(position),
        };
        layer.inspect_err(|fault| self.read_failed(release, None, fault))
    }

    /// Makes the next reader of a file open it anew, after it could not be read: it may have been replaced by a repaired one. If it
    /// could not be opened, or layers could not be read, the next look opens the folder anew: the file may lie in another place by
    /// now.
    fn read_failed(&self, release: &Release, position: Option<usize>, fault: &ViewError) {
        if let Some(position) = position {
            self.open_files.close((release.id, position));
        }
        if (position.is_none() || matches!(fault, ViewError::Holding(_))) && self.is_current(release) {
            lock(&self.faulty).insert(release.name.clone());
        }
    }

    /// The release was asked for just now.
    pub(crate) fn used(&self, release: &Release) {
        release.use_at(self.seconds());
    }

    fn read(&self) -> BTreeMap<ServedName, Arc<Published>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The closure returns the releases that it takes out: the last reader of a release removes files, and nobody waits for that.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ServedName, Arc<Published>>) -> T) -> T {
        change(&mut self.published.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// Whether anybody has the model besides the map that it is in.
fn is_held(model: &Arc<Published>) -> bool {
    let mut releases = std::iter::once(&model.current).chain(&model.earlier);
    Arc::strong_count(model) > 1 || releases.any(|release| Arc::strong_count(release) > 1)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    #![allow(clippy::disallowed_methods, reason = "tests name their own files")]

    use std::fs;

    use weighbridge_store::FileView;
    use weighbridge_testkit::{Folder, bytes};
    use weighbridge_tree::ChunkSize;

    use super::*;

    fn models() -> (Folder, Models, ServedName) {
        let all = Folder::new();
        let (model, _) = Folder::weighed(&[("model.bin", bytes(40_000, 1))], ChunkSize::MIN);
        fs::create_dir(all.at("org")).unwrap();
        fs::rename(model.path(), all.at("org/model")).unwrap();
        fs::create_dir(model.path()).unwrap();
        let models = Models::of(vec![all.path().to_owned()]);
        assert!(matches!(models.look().as_slice(), [Change::Published { .. }]));
        (all, models, ServedName::of(ModelName::parse("test/model").unwrap()).unwrap())
    }

    fn open(models: &Models, release: &Release) -> Arc<FileView> {
        let Stored::Folder(view) = &release.content else { panic!("it is a folder") };
        models.open_files.open(view, (release.id, 0)).unwrap()
    }

    /// A link that leads nowhere in a circle stands for whatever cannot be read: without descriptors, or on a server that is gone.
    #[test]
    fn what_cannot_be_read_is_not_gone() {
        let (all, models, name) = models();
        let [org, away] = ["org", "away"].map(|name| all.at(name));
        fs::rename(&org, &away).unwrap();
        std::os::unix::fs::symlink("org", &org).unwrap();
        let changes = models.look();
        let is_withdrawn = |change: &Change| matches!(change, Change::Withdrawn { .. });
        assert!(!changes.iter().any(is_withdrawn) && models.find(&name).is_some(), "{changes:?}");
        fs::remove_file(&org).unwrap();
        fs::remove_dir_all(&away).unwrap();
        assert!(matches!(models.look().as_slice(), [Change::Withdrawn { .. }]));
        assert!(models.find(&name).is_none() && models.is_empty());
    }

    #[test]
    fn a_model_that_is_withdrawn_stays_for_its_readers_and_leaves_nothing_open() {
        let (all, models, name) = models();
        let published = models.find(&name).unwrap();
        let release = models.release(&published, None).unwrap();
        drop(published);
        let _file = open(&models, &release);
        fs::remove_dir_all(all.at("org")).unwrap();
        assert_eq!(models.look().len(), 1);
        assert_eq!(lock(&models.leaving).len(), 1);
        assert_eq!(models.open_files.count(), 1);
        drop(release);
        assert_eq!(models.look(), []);
        assert!(lock(&models.leaving).is_empty() && models.open_files.count() == 0);
    }

    #[test]
    fn a_model_is_withdrawn_only_while_nobody_reads_it() {
        let (all, models, name) = models();
        let model = name.name().clone();
        let release = models.release(&models.find(&name).unwrap(), None).unwrap();
        let _file = open(&models, &release);
        assert!(models.is_read(&model));
        assert_eq!(models.withdraw_unread(&model, || panic!("it is read")), None::<()>);
        assert!(models.find(&name).is_some());
        drop(release);
        assert!(!models.is_read(&model));
        // A model that cannot be removed is published again.
        let closed = models.withdraw_unread(&model, || models.open_files.count());
        assert_eq!((closed, models.find(&name).is_none()), (Some(0), true));
        let changes = models.look();
        assert!(matches!(&changes[..], [Change::Withdrawn { .. }, Change::Published { .. }]), "{changes:?}");
        models.withdraw_unread(&model, || fs::remove_dir_all(all.at("org/model"))).unwrap().unwrap();
        assert!(matches!(&models.look()[..], [Change::Withdrawn { .. }]));
        assert!(models.is_empty());
        assert_eq!(models.withdraw_unread(&model, || 7), Some(7), "nobody reads what is not there");
    }

    #[test]
    fn a_folder_that_cannot_be_served_is_not_opened_in_every_look() {
        let (all, models, name) = models();
        let note = all.at("org/model/weighbridge/head.note");
        let good = fs::read(&note).unwrap();
        fs::write(&note, "nonsense").unwrap();
        assert!(matches!(models.look().as_slice(), [Change::Refused { .. }]));
        let opened = || lock(&models.seen).values().next().unwrap().at;
        let before = opened();
        assert_eq!(models.look(), []);
        assert_eq!(opened(), before);
        assert!(models.find(&name).is_some(), "what was served of it before still is");
        fs::write(&note, good).unwrap();
        assert!(matches!(models.look().as_slice(), [Change::Published { .. }]));
    }

    #[test]
    fn many_who_ask_for_a_file_open_it_once() {
        let (_all, models, name) = models();
        let release = models.release(&models.find(&name).unwrap(), None).unwrap();
        let first = open(&models, &release);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(Arc::ptr_eq(&first, &open(&models, &release))));
            }
        });
        let fault = ViewError::Changed { path: String::new() };
        models.read_failed(&release, Some(0), &fault);
        assert!(!Arc::ptr_eq(&first, &open(&models, &release)));
        assert!(lock(&models.faulty).is_empty(), "the folder is as it was");
        models.read_failed(&release, None, &fault);
        assert_eq!(lock(&models.faulty).len(), 1);
    }
}
