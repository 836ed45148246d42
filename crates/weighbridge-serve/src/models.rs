//! The models that a server publishes, and how it notices that one has changed.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use weighbridge_manifest::ModelName;
use weighbridge_store::{FileView, HEAD, Metadata, Stamp, ViewError, descriptor_limit, open_to_read};
use weighbridge_tree::{Coded, ErrorCode, HeadId};

use crate::{
    release::{Release, ReleaseError},
    room::lock,
    route::ServedName,
};

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
    lookups: AtomicU64,
    open_files: OpenFiles,
}

/// A model as it is published now.
#[derive(Debug)]
pub(crate) struct Published {
    folder: PathBuf,
    pub(crate) current: Arc<Release>,
    /// Releases that others have replaced, the newest first.
    earlier: Vec<Arc<Release>>,
}

/// The state in which a folder was when it was looked at last.
#[derive(Debug)]
struct Seen {
    /// The note when it was opened; `None` if it could not be.
    stamp: Option<Stamp>,
    /// The model that the folder publishes.
    name: Option<ServedName>,
    fault: Option<String>,
}

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
        let mut changes = Vec::new();
        let mut seen = lock(&self.seen);
        let folders: Vec<PathBuf> = self.places.iter().flat_map(|place| model_folders(place)).collect();
        for folder in &folders {
            self.look_at(folder, &mut seen, &mut changes);
        }
        let gone = seen.keys().filter(|folder| !folders.contains(folder)).cloned().collect::<Vec<_>>();
        for folder in gone {
            if let Some(name) = seen.remove(&folder).and_then(|seen| seen.name) {
                self.change(|published| published.remove(&name));
                changes.push(Change::Withdrawn { folder, name: name.name().clone() });
            }
        }
        self.let_go();
        changes
    }

    fn look_at(&self, folder: &Path, all: &mut BTreeMap<PathBuf, Seen>, changes: &mut Vec<Change>) {
        let note = Metadata::of_model(folder).folder().join(HEAD);
        let stamp = open_to_read(&note).ok().and_then(|file| Stamp::of(&file).ok());
        let before = all.get(folder);
        if let Some(before) = before
            && before.fault.is_none()
            && stamp.is_some()
            && before.stamp == stamp
        {
            return;
        }
        let named = before.and_then(|seen| seen.name.clone());
        let opened = Release::open(folder).and_then(|release| {
            let taken = self.read().get(&release.name).is_some_and(|published| published.folder != folder);
            if taken { Err(ReleaseError::NameTaken) } else { Ok(release) }
        });
        match opened {
            Ok(release) => {
                let release = Arc::new(release);
                if let Some(other) = named.filter(|name| *name != release.name) {
                    self.change(|published| published.remove(&other));
                    changes.push(Change::Withdrawn { folder: folder.to_owned(), name: other.name().clone() });
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
                all.insert(folder.to_owned(), Seen { stamp, name: Some(name), fault: None });
            }
            Err(error) => {
                let message = error.to_string();
                if before.and_then(|seen| seen.fault.as_ref()) != Some(&message) {
                    let (folder, code) = (folder.to_owned(), error.error_code());
                    changes.push(Change::Refused { folder, code, message: message.clone() });
                }
                all.insert(folder.to_owned(), Seen { stamp: None, name: named, fault: Some(message) });
            }
        }
    }

    fn is_current(&self, release: &Release) -> bool {
        self.read().get(&release.name).is_some_and(|published| published.current.id == release.id)
    }

    fn publish(&self, folder: &Path, release: &Arc<Release>) {
        self.change(|published| {
            let before = published.remove(&release.name);
            let mut earlier = Vec::new();
            if let Some(before) = before {
                let all = std::iter::once(&before.current).chain(&before.earlier);
                earlier.extend(all.filter(|earlier| earlier.id != release.id).map(Arc::clone));
            }
            release.use_at(self.seconds());
            let entry = Published { folder: folder.to_owned(), current: Arc::clone(release), earlier };
            published.insert(release.name.clone(), Arc::new(entry));
        });
    }

    /// Drops the replaced releases that nobody asks for any more.
    fn let_go(&self) {
        let limit = self.seconds().saturating_sub(LINGER.as_secs());
        // A request holds a release for as long as it is answered.
        let is_asked_for = |release: &Arc<Release>| release.used() >= limit || Arc::strong_count(release) > 1;
        let all = self.read();
        let changed = all.values().filter(|published| !published.earlier.iter().all(is_asked_for));
        for published in changed {
            let earlier: Vec<_> =
                published.earlier.iter().filter(|release| is_asked_for(release)).cloned().collect();
            let (folder, current) = (published.folder.clone(), Arc::clone(&published.current));
            for gone in published.earlier.iter().filter(|release| !is_asked_for(release)) {
                self.open_files.forget(gone.id);
            }
            let entry = Arc::new(Published { folder, current, earlier });
            self.change(|published| published.insert(entry.current.name.clone(), Arc::clone(&entry)));
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
        release.use_at(self.seconds());
        Some(Arc::clone(release))
    }

    /// Whether no model is published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// All models, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Published>> {
        self.read().into_values().collect()
    }

    /// The number of times that a name was looked up.
    pub(crate) fn lookups(&self) -> u64 {
        self.lookups.load(Relaxed)
    }

    /// Opens a file of a release, or gives the one that is open.
    pub(crate) fn file(&self, release: &Release, position: usize) -> Result<Arc<FileView>, ViewError> {
        self.open_files.open(release, position)
    }

    /// Makes the next reader of a file open it anew, after it could not be read: it may have been replaced by a repaired one. If it
    /// could not be opened, its folder is opened anew, too: the file may lie in another place by now.
    pub(crate) fn read_failed(&self, release: &Release, position: usize, fault: &ViewError) {
        self.open_files.close((release.id, position));
        if matches!(fault, ViewError::Holding(_)) {
            let mut seen = lock(&self.seen);
            let folders = seen.values_mut().filter(|seen| seen.name.as_ref() == Some(&release.name));
            folders.for_each(|seen| seen.stamp = None);
        }
    }

    fn read(&self) -> BTreeMap<ServedName, Arc<Published>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ServedName, Arc<Published>>) -> T) {
        // What is taken out is dropped after the lock is free: the last reader of a release removes files.
        let _changed = change(&mut self.published.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// The model folders at a place: itself, or those in it and in its folders.
fn model_folders(place: &Path) -> Vec<PathBuf> {
    if has_head(place) {
        return vec![place.to_owned()];
    }
    let mut found = Vec::new();
    for folder in folders(place) {
        if has_head(&folder) {
            found.push(folder);
        } else {
            found.extend(folders(&folder).into_iter().filter(|folder| has_head(folder)));
        }
    }
    found.sort();
    found
}

fn has_head(folder: &Path) -> bool {
    Metadata::of_model(folder).folder().join(HEAD).is_file()
}

fn folders(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Files that stay open from one request to the next, those used last at the end.
#[derive(Debug)]
struct OpenFiles {
    files: Mutex<VecDeque<(FileKey, Arc<FileView>)>>,
    most: usize,
}

type FileKey = (HeadId, usize);

impl OpenFiles {
    fn new() -> Self {
        // The connections need descriptors as well.
        let limit = descriptor_limit().map_or(256, |limit| usize::try_from(limit / 8).unwrap_or(256));
        Self { files: Mutex::default(), most: limit.clamp(8, 256) }
    }

    fn open(&self, release: &Release, position: usize) -> Result<Arc<FileView>, ViewError> {
        let key = (release.id, position);
        {
            let mut files = lock(&self.files);
            if let Some(at) = files.iter().rposition(|(other, _)| *other == key)
                && let Some(found) = files.remove(at)
            {
                let file = Arc::clone(&found.1);
                files.push_back(found);
                return Ok(file);
            }
        }
        // Without the lock: opening may take long, and others read on meanwhile.
        let file = Arc::new(release.view.open_file(position)?);
        let mut files = lock(&self.files);
        files.retain(|(other, _)| *other != key);
        while files.len() >= self.most {
            files.pop_front();
        }
        files.push_back((key, Arc::clone(&file)));
        Ok(file)
    }

    fn close(&self, key: FileKey) {
        lock(&self.files).retain(|(other, _)| *other != key);
    }

    fn forget(&self, head: HeadId) {
        lock(&self.files).retain(|((other, _), _)| *other != head);
    }
}
