//! A model that comes to be in a folder from bytes that somebody else brings, in any order.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use weighbridge_manifest::{EntryPath, VerifiedFileList, VerifiedHead, VerifiedTensorList};
use weighbridge_store::{
    CHUNKS, Destination, FILES, FOLDER, HEAD, IoError, LayersFile, Staged, Standing, StoreError, TENSORS,
    UPLOADS, open_to_read, read_bounded, read_exact_at,
};
use weighbridge_tree::Grid;
use weighbridge_verify::PageBuffer;

use crate::{
    board::lock,
    error::FetchError,
    event::{FetchProgress, Here},
    fetch::only_listed,
    options::{AnotherModel, Wanted},
    ranges::RangeSet,
    work::{
        chunk_store::{Accepted, ChunkStore},
        on_disk::{Watch, chunks_in, is_all_good, name_files, named, pieces, recount, stamp_of_file, unit},
        selection::Selection,
        target::Target,
    },
};

mod known;

pub use known::{Known, Place, ReadKnown};

/// A release that comes to be in a model folder, from metadata and chunks that somebody brings in any order and on any number of
/// threads. What is not complete lies in a folder of its own, and is found there by a later run.
///
/// # Guarantee
/// Nothing is written, counted or named that was not judged by the head that the caller has verified. What has come is there for
/// the next run, whatever interrupts this one. Only [`publish`](Self::publish) gives names.
///
/// # Non-guarantee
/// The caller says who may bring what, and how much of it.
///
/// # Cost
/// Memory for lists and layers. All methods but [`batch`](Self::batch) may wait for the disk.
pub struct Upload {
    head: VerifiedHead,
    note: Vec<u8>,
    folder: PathBuf,
    area: PathBuf,
    staged: Staged,
    lists: Mutex<Lists>,
    parts: OnceLock<Parts>,
    /// The present work of this machine, and its beginning.
    works: Mutex<Option<(Here, String, Instant)>>,
    looking: Mutex<Looking>,
    publishing: Mutex<()>,
}

#[derive(Default)]
struct Lists {
    destination: Option<Destination>,
    files: Option<Arc<VerifiedFileList>>,
    tensors: Option<Arc<VerifiedTensorList>>,
}

/// The chunks, and the layers that they are judged by.
struct Parts {
    chunks: ChunkStore,
    twins: Vec<(usize, usize)>,
    layers: LayersFile,
    /// The range of each file's layer in `chunks.layer`.
    places: Vec<Range<u64>>,
    /// The layers that are written.
    there: Mutex<RangeSet>,
}

/// Chunks that may be on this machine, and are not to be brought before that is known.
#[derive(Default)]
struct Looking {
    chunks: BTreeMap<usize, RangeSet>,
    has_begun: bool,
    /// Whether it is known which chunks may be here.
    is_planned: bool,
    has_ended: bool,
}

/// The things that an upload still needs, in the order in which they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Lists, by their names in the metadata folder.
    Lists(Vec<&'static str>),
    /// Parts of `chunks.layer`, as ranges of bytes. Each begins and ends with the layer of a file.
    Layers(Vec<Range<u64>>),
    /// Chunks.
    Chunks,
}

/// Chunks of a file that are neither there nor being looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The position of the file in the list.
    pub position: usize,
    /// The chunks, by position.
    pub chunks: Vec<Range<u64>>,
}

impl Upload {
    /// Opens the upload of a release into a model folder, or makes it. `key` names it beneath `weighbridge/uploads`: nobody who
    /// opens another one sees what it has.
    ///
    /// # Errors
    /// [`FetchError::Store`].
    pub fn open(folder: &Path, key: &str, head: VerifiedHead, note: &[u8]) -> Result<Self, FetchError> {
        let destination = Destination::for_upload(folder, key)?;
        let staged = destination.stage(head.id())?;
        staged.check_places()?;
        staged.write(HEAD, note)?;
        let upload = Self {
            head,
            note: note.to_owned(),
            folder: folder.to_owned(),
            area: Self::area(folder, key),
            staged,
            lists: Mutex::new(Lists { destination: Some(destination), ..Lists::default() }),
            parts: OnceLock::new(),
            works: Mutex::default(),
            looking: Mutex::default(),
            publishing: Mutex::default(),
        };
        upload.read_lists()?;
        Ok(upload)
    }

    /// The folder of what is not complete of an upload.
    #[must_use]
    pub fn area(folder: &Path, key: &str) -> PathBuf {
        folder.join(FOLDER).join(UPLOADS).join(key)
    }

    /// The head of the release.
    pub fn head(&self) -> &VerifiedHead {
        &self.head
    }

    /// The note of the head, as it was offered.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// The file list, once it is there.
    #[must_use]
    pub fn files(&self) -> Option<&Arc<VerifiedFileList>> {
        self.parts.get().map(|parts| &parts.chunks.files)
    }

    fn read_lists(&self) -> Result<(), FetchError> {
        let head = self.head.head();
        let names = [(FILES, Some(head.files.length)), (TENSORS, head.tensors.map(|all| all.list.length))];
        for (name, length) in names {
            let Some(length) = length else { continue };
            let mut staged = self.staged.read(name, length)?;
            if staged.is_none() && self.was_naming() {
                // It may have its place already.
                staged = read_bounded(&self.folder.join(FOLDER).join(name), length).ok();
                staged.iter().try_for_each(|bytes| self.staged.write(name, bytes))?;
            }
            if let Some(bytes) = staged {
                // A list that an earlier run left may be anything: a bad one is asked for again.
                let _ = self.take_list(name, &bytes)?;
            }
        }
        self.begin()
    }

    /// Takes a list by its name in the metadata folder. Returns the reason if it is not the signed one.
    fn take_list(&self, name: &str, bytes: &[u8]) -> Result<Result<(), String>, FetchError> {
        let mut lists = lock(&self.lists);
        let refused = |error: &dyn std::fmt::Display| Ok(Err(format!("{name}: {error}")));
        if name == FILES {
            match self.head.open_files(bytes) {
                Ok(files) => lists.files = Some(Arc::new(files)),
                Err(error) => return refused(&error),
            }
        } else if name == TENSORS {
            let Some(files) = &lists.files else { return refused(&"the file list has to come first") };
            match files.open_tensors(bytes) {
                Ok(tensors) => lists.tensors = Some(Arc::new(tensors)),
                Err(error) => return refused(&error),
            }
        } else {
            return refused(&"there is no such list");
        }
        Ok(Ok(()))
    }

    /// Takes a list, by its name in the metadata folder. The file list comes first.
    ///
    /// # Errors
    /// [`FetchError::Store`]. A list that is not the signed one is no error: the reason is returned.
    pub fn put_list(&self, name: &str, bytes: &[u8]) -> Result<Result<(), String>, FetchError> {
        if self.parts.get().is_some() {
            return Ok(Ok(()));
        }
        let taken = self.take_list(name, bytes)?;
        if taken.is_ok() {
            self.staged.write(name, bytes)?;
            self.begin()?;
        }
        Ok(taken)
    }

    /// Makes places for layers and chunks, once the lists are there.
    fn begin(&self) -> Result<(), FetchError> {
        let mut lists = lock(&self.lists);
        let Some(files) = lists.files.clone() else { return Ok(()) };
        if self.head.head().tensors.is_some() && lists.tensors.is_none() {
            return Ok(());
        }
        let Some(destination) = lists.destination.take() else { return Ok(()) };
        let tensors = lists.tensors.take();
        let Selection { targets, twins } = Selection::of(&files, tensors.as_deref(), &Wanted::default())?;
        let quiet = Box::new(|_event| {});
        let chunks =
            ChunkStore::new(destination, Arc::clone(&files), tensors, targets, Arc::default(), quiet)?;
        let mut end = 0_u64;
        let places = files.entries().iter().map(|entry| {
            let start = end;
            end = end.saturating_add(Grid::new(entry.size, files.chunk_size()).map_or(0, Grid::layer_len));
            start..end
        });
        let places: Vec<Range<u64>> = places.collect();
        let layers = self.staged.layers(end)?;
        let parts = Parts { chunks, twins, layers, places, there: Mutex::default() };
        let named = self.was_naming().then(|| self.folder.join(FOLDER).join(CHUNKS));
        let named = named.and_then(|path| open_to_read(&path).ok());
        for (position, place) in parts.places.iter().enumerate().filter(|(_, place)| !place.is_empty()) {
            let mut bytes = parts.layers.read(place.clone())?;
            let mut is_there = parts.is_layer(position, &bytes);
            if let Some(named) = named.as_ref().filter(|_| !is_there)
                && read_exact_at(named, &mut bytes, place.start).is_ok()
                && parts.is_layer(position, &bytes)
            {
                parts.layers.write(place.clone(), &bytes)?;
                is_there = true;
            }
            if is_there {
                lock(&parts.there).insert(place.clone());
            }
        }
        // Nobody else makes them: the lists are locked.
        let _ = self.parts.set(parts);
        Ok(())
    }

    /// The next thing that is needed.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let Some(parts) = self.parts.get() else {
            let lists = lock(&self.lists);
            let mut names = Vec::new();
            if lists.files.is_none() {
                names.push(FILES);
            }
            if self.head.head().tensors.is_some() && lists.tensors.is_none() {
                names.push(TENSORS);
            }
            return Needs::Lists(names);
        };
        let there = lock(&parts.there);
        let missing: Vec<_> = there.missing_in(&(0..parts.layers_len())).collect();
        if missing.is_empty() { Needs::Chunks } else { Needs::Layers(missing) }
    }

    /// The length of `chunks.layer`, once the lists are there.
    #[must_use]
    pub fn layers_len(&self) -> Option<u64> {
        self.parts.get().map(Parts::layers_len)
    }

    /// The range in `chunks.layer` of the layer that begins at `offset`. `None` if none does.
    #[must_use]
    pub fn layer_at(&self, offset: u64) -> Option<Range<u64>> {
        let parts = self.parts.get()?;
        let places = &parts.places;
        let at = places.partition_point(|place| place.start < offset || place.end <= offset);
        places.get(at).filter(|place| place.start == offset).cloned()
    }

    /// Takes the layers that begin at `offset` of `chunks.layer` and are whole in `bytes`. Returns the number of bytes that they have; the
    /// reason, if one is not the signed one.
    ///
    /// # Errors
    /// [`FetchError::Store`].
    pub fn put_layers(&self, offset: u64, bytes: &[u8]) -> Result<Result<usize, String>, FetchError> {
        let Some(parts) = self.parts.get() else { return Ok(Err("the lists have to come first".to_owned())) };
        let first = parts.places.partition_point(|place| place.start < offset || place.end <= offset);
        let mut taken = 0_usize;
        for (position, place) in parts.places.iter().enumerate().skip(first) {
            let at = offset.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
            if place.is_empty() {
                continue;
            }
            if place.start != at {
                return Ok(Err("layers are given from the beginning of one on".to_owned()));
            }
            let len = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(usize::MAX);
            let Some(layer) = bytes.get(taken..taken.saturating_add(len)) else { break };
            if !parts.is_layer(position, layer) {
                let path = parts.chunks.files.entries().get(position).map_or("", |entry| entry.path.as_str());
                return Ok(Err(format!(
                    "the layer of {} is not the signed one",
                    weighbridge_manifest::shown(path)
                )));
            }
            parts.layers.write(place.clone(), layer)?;
            lock(&parts.there).insert(place.clone());
            taken = taken.saturating_add(len);
        }
        Ok(Ok(taken))
    }

    /// Looks for chunks that are here: those that an earlier run took, and those that are in `known` models, from which `read` reads
    /// bytes at an offset and returns whether it could. Chunks that may be here are not [lacking](Self::lacking) meanwhile.
    ///
    /// Does nothing before all layers have come, and when it was called before.
    ///
    /// # Errors
    /// [`FetchError::Store`].
    pub fn look<M: Clone>(
        &self,
        known: &Known<M>,
        read: &mut ReadKnown<'_, M>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), FetchError> {
        let (Some(parts), Needs::Chunks) = (self.parts.get(), self.needs()) else { return Ok(()) };
        if std::mem::replace(&mut lock(&self.looking).has_begun, true) {
            return Ok(());
        }
        let result = self.look_in(parts, known, read, goes_on);
        let mut looking = lock(&self.looking);
        looking.chunks.clear();
        (looking.is_planned, looking.has_ended) = (true, true);
        drop(looking);
        *lock(&self.works) = None;
        result
    }

    fn look_in<M: Clone>(
        &self,
        parts: &Parts,
        known: &Known<M>,
        read: &mut ReadKnown<'_, M>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), FetchError> {
        let chunks = &parts.chunks;
        let has_named = self.was_naming();
        let (mut plan, mut unsure_chunks) = (Vec::new(), BTreeMap::new());
        for target in chunks.targets.values() {
            let begun = match chunks.destination.is_used() {
                true => chunks.destination.partial_if_there(target.root, target.grid.len())?,
                false => None,
            };
            let there = begun.map_or(Ok(RangeSet::default()), |begun| chunks_in(target, &begun))?;
            let named = has_named && named(chunks, target)?.is_some();
            let known_parts = known.parts(&chunks.files, chunks.tensors.as_deref(), target.position);
            let covered = known::covered(&known_parts, target.grid.len(), target.grid.granule().bytes());
            let mut unsure = there.clone();
            if named {
                unsure.insert(0..target.grid.count());
            }
            covered.iter().for_each(|run| unsure.insert(run.clone()));
            if !unsure.is_empty() {
                unsure_chunks.insert(target.position, unsure);
                plan.push((Arc::clone(target), there, named, known_parts, covered));
            }
        }
        {
            let mut looking = lock(&self.looking);
            (looking.chunks, looking.is_planned) = (unsure_chunks, true);
        }
        for (target, there, is_named, known_parts, covered) in plan {
            if !goes_on() {
                break;
            }
            self.works(Here::Reading, &target);
            let file = chunks.verifier.file(target.position).map_err(FetchError::Entry)?;
            let mut found = false;
            if is_named
                && let Some(named) = named(chunks, &target)?
                && let stamp = stamp_of_file(&named)
                && is_all_good(&target, file, &named, goes_on)?
            {
                chunks.found_in_place(&target, stamp);
                found = true;
            }
            if !found && !there.is_empty() && target.open_if_there(&chunks.destination)? {
                chunks.make_room_to_open(&target)?;
                recount(chunks, &target, file, &there, goes_on, &mut |_bad| {})?;
            }
            if !found {
                self.copy(parts, &target, &known_parts, &covered, read, goes_on)?;
            }
            lock(&self.looking).chunks.remove(&target.position);
        }
        Ok(())
    }

    /// Copies chunks that are in other models.
    fn copy<M: Clone>(
        &self,
        parts: &Parts,
        target: &Target,
        known: &[known::Part<'_, M>],
        covered: &[Range<u64>],
        read: &mut ReadKnown<'_, M>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), FetchError> {
        let chunks = &parts.chunks;
        let file = chunks.verifier.file(target.position).map_err(FetchError::Entry)?;
        let mut buffer = PageBuffer::new();
        for run in covered {
            let there = chunks.inventory().chunks(&target.root);
            let lacking: Vec<_> = there.missing_in(run).collect();
            for run in lacking.iter().flat_map(|run| pieces(target, run)) {
                if !goes_on() {
                    return Ok(());
                }
                buffer.resize(usize::try_from(target.bytes(&run)).unwrap_or(0));
                if !known::fill(known, target.range(&run).start, &mut buffer, read) {
                    continue;
                }
                for (index, piece) in run.zip(buffer.chunks(unit(target))) {
                    if let Ok(good) = file.accept_run(index, piece) {
                        let _new = chunks.write(target, &good)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn works(&self, here: Here, target: &Target) {
        *lock(&self.works) = Some((here, target.path.as_str().to_owned(), Instant::now()));
    }

    /// The work that this machine does for the upload now, the file, and since when.
    #[must_use]
    pub fn doing(&self) -> Option<(Here, String, Instant)> {
        lock(&self.works).clone()
    }

    /// The chunks that are to be brought: at most about `most` runs of them. Empty before all layers have come, and before it is known
    /// which chunks may be here.
    #[must_use]
    pub fn lacking(&self, most: usize) -> Vec<Lacking> {
        let (Some(parts), Needs::Chunks) = (self.parts.get(), self.needs()) else { return Vec::new() };
        let looking = lock(&self.looking);
        if !looking.is_planned {
            return Vec::new();
        }
        let (mut all, mut runs) = (Vec::new(), 0_usize);
        for target in parts.chunks.targets.values() {
            if runs >= most {
                break;
            }
            let mut there = parts.chunks.inventory().chunks(&target.root);
            if let Some(unsure) = looking.chunks.get(&target.position) {
                unsure.iter().for_each(|run| there.insert(run));
            }
            let chunks: Vec<_> = there.missing_in(&(0..target.grid.count())).take(most - runs).collect();
            if !chunks.is_empty() {
                runs += chunks.len();
                all.push(Lacking { position: target.position, chunks });
            }
        }
        all
    }

    /// Whether [`look`](Self::look) has begun, and has not ended.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        let looking = lock(&self.looking);
        looking.has_begun && !looking.has_ended
    }

    /// Judges whole chunks of a file from `first` on, and writes the good ones, as [`ChunkStore::accept`] does. Of files with the same
    /// content any is as good as another.
    ///
    /// # Errors
    /// [`FetchError`]: the file or its layer is not known, or the chunks cannot be written. Wrong chunks are no error.
    pub fn accept(&self, position: usize, first: u64, bytes: &[u8]) -> Result<Accepted, FetchError> {
        let parts = self.parts.get().ok_or(FetchError::NothingWanted)?;
        parts.chunks.accept(parts.first_of(position), first, bytes)
    }

    /// The bytes that have come. `received` is 0: the caller knows.
    #[must_use]
    pub fn progress(&self) -> FetchProgress {
        self.parts.get().map(|parts| parts.chunks.progress()).unwrap_or_default()
    }

    /// Waits until enough is written to be synced, or a second has passed; a second too before the lists have come.
    pub async fn batch(&self) {
        match self.parts.get() {
            Some(parts) => parts.chunks.batch().await,
            None => tokio::time::sleep(crate::work::chunk_store::BATCH_TIME).await,
        }
    }

    /// Makes durable what is written.
    ///
    /// # Errors
    /// [`FetchError::Store`].
    pub fn sync(&self) -> Result<(), FetchError> {
        let Some(parts) = self.parts.get() else { return Ok(()) };
        let path = parts.chunks.first_unsynced().map(str::to_owned);
        let syncing = path.map(|path| (Here::Syncing, path, Instant::now()));
        let is_told = syncing.is_some() && lock(&self.works).is_none();
        if is_told {
            *lock(&self.works) = syncing;
        }
        let synced = parts.chunks.sync();
        let mut works = lock(&self.works);
        if is_told && matches!(&*works, Some((Here::Syncing, ..))) {
            *works = None;
        }
        synced
    }

    /// Removes files that could not be synced: a system may report success for what it has lost, and show it until it is read from the disk
    /// again. What was in them is brought again.
    pub fn remove_unsynced(&self) {
        let targets = self.parts.get().into_iter().flat_map(|parts| parts.chunks.targets.values());
        targets.for_each(|target| target.remove_if_broken());
    }

    /// Whether every chunk of the model is verified and durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.parts.get().is_some_and(|parts| parts.chunks.is_durable()) && self.needs() == Needs::Chunks
    }

    /// Makes the release the one of the folder. `judge` is called under the folder's lock, before the first name is given: from then
    /// on no other process can put another release there. `record` is called when the release stands, under the lock as well.
    ///
    /// Everything in the folder that is not in the release is removed. Files of the release that stood stay for their readers. Where no
    /// release stood, a folder with other files is refused.
    ///
    /// # Errors
    /// [`FetchError`], that of `judge` too: then nothing has changed. If a name cannot be given, the next call goes on.
    pub fn publish(
        &self,
        judge: impl FnOnce() -> Result<(), FetchError>,
        record: impl FnOnce() -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let _turn = lock(&self.publishing);
        let _works = Works(self);
        self.sync()?;
        let parts = self.parts.get().filter(|_| self.is_durable()).ok_or(FetchError::NothingWanted)?;
        let destination = &parts.chunks.destination;
        *lock(&self.works) = Some((Here::Naming, FOLDER.to_owned(), Instant::now()));
        let folder_lock = destination.lock()?;
        let name = &self.head.head().name;
        let there = destination.model()?;
        let is_listed = |path: &str| parts.chunks.files.find(path).is_some();
        if there.is_none() && !self.was_naming() {
            // Files that nobody pushed may be anybody's.
            only_listed(destination, &parts.chunks.files, self.folder.clone())?;
        }
        AnotherModel::Refuse.allows(&self.folder, there, name)?;
        self.staged.check_places()?;
        judge()?;
        self.mark()?;
        let mut naming = destination.begin_naming(folder_lock, &self.staged)?;
        let mut names = Names(self);
        let named = name_files(&parts.chunks, &parts.twins, &mut naming, &mut names);
        named?;
        self.staged.publish(&mut naming)?;
        record()?;
        for extra in destination.unlisted(&is_listed)? {
            destination.remove(&mut naming, &extra)?;
        }
        naming.sweep(Standing::IsWhole)?;
        Ok(())
    }

    /// Whether names were being given when an earlier run ended: files may have theirs.
    fn was_naming(&self) -> bool {
        self.area.join(NAMING).exists()
    }

    /// Whether names of an upload were being given when an earlier run ended. All of its chunks were there then.
    #[must_use]
    pub fn is_marked(folder: &Path, key: &str) -> bool {
        Self::area(folder, key).join(NAMING).exists()
    }

    /// Says in the upload's folder that names are being given: a later run then looks for files under theirs.
    fn mark(&self) -> Result<(), FetchError> {
        let mark = self.area.join(NAMING);
        let file = fs::File::create(&mark).map_err(IoError::at("write", &mark))?;
        file.sync_all().map_err(IoError::at("sync", &mark))?;
        if cfg!(unix) {
            let folder = fs::File::open(&self.area).map_err(IoError::at("open", &self.area))?;
            folder.sync_all().map_err(IoError::at("sync", &self.area))?;
        }
        Ok(())
    }

    /// Removes what is left of an upload, and the folders above it that are empty then.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(folder: &Path, key: &str) -> Result<(), StoreError> {
        Self::remove_area(folder, &Self::area(folder, key))
    }

    /// Gives what there is of an upload a name under which nobody looks for it, so that it can be [removed](Self::remove_area) while another
    /// one of its name begins. `None` if there is nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn set_aside(folder: &Path, key: &str) -> Result<Option<PathBuf>, StoreError> {
        let area = Self::area(folder, key);
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| IoError::at("name a file in", folder)(io::Error::other(error.to_string())))?;
        let aside = folder.join(FOLDER).join(UPLOADS).join(format!(".{:016x}", u64::from_le_bytes(random)));
        match fs::rename(&area, &aside) {
            Ok(()) => {
                // The folder of the client, if it has no other upload here.
                let _ = area.parent().map(fs::remove_dir);
                Ok(Some(aside))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IoError::at("rename", &area)(error).into()),
        }
    }

    /// Removes a folder of `weighbridge/uploads`, and the folders above it that are empty then.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_area(folder: &Path, area: &Path) -> Result<(), StoreError> {
        match fs::remove_dir_all(area) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IoError::at("remove", area)(error).into());
            }
            _ => {}
        }
        let mut above = area.parent();
        // The first that is not empty ends it.
        while let Some(empty) = above.filter(|above| *above != folder && fs::remove_dir(above).is_ok()) {
            above = empty.parent();
        }
        Ok(())
    }
}

/// Says nothing of the machine's work any more when it is dropped.
struct Works<'a>(&'a Upload);

impl Drop for Works<'_> {
    fn drop(&mut self) {
        *lock(&self.0.works) = None;
    }
}

/// The file that says that names are being given.
const NAMING: &str = "naming";

/// Tells which file gets its name.
struct Names<'a>(&'a Upload);

impl Watch for Names<'_> {
    fn naming(
        &mut self,
        path: &EntryPath,
        name: &mut dyn FnMut() -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        *lock(&self.0.works) = Some((Here::Naming, path.as_str().to_owned(), Instant::now()));
        name()
    }

    fn named(&mut self, _path: EntryPath, _size: u64) {}
}

impl Parts {
    fn layers_len(&self) -> u64 {
        self.places.last().map_or(0, |place| place.end)
    }

    /// Whether these bytes are the signed layer of a file. The chunks of the file can be judged from then on.
    fn is_layer(&self, position: usize, layer: &[u8]) -> bool {
        self.chunks.accept_layer(self.first_of(position), layer).is_ok()
    }

    /// The first file with the content of this one.
    fn first_of(&self, position: usize) -> usize {
        // Twins stand in the order of their positions.
        let found = self.twins.binary_search_by_key(&position, |(twin, _)| *twin).ok();
        found.and_then(|at| self.twins.get(at)).map_or(position, |(_, first)| *first)
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("head", &self.head.id()).finish_non_exhaustive()
    }
}
