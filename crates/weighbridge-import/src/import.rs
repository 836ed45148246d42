//! An import from its beginning to its end.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use weighbridge_manifest::{Ext, FileEntry, ModelName, Time, VerifiedFileList, VerifiedHead};
use weighbridge_publish::{Previous, SecretKey, Sha256Listing, Signing, TensorListing, Weighed, Weighing};
use weighbridge_store::{
    CHUNKS, Destination, FILES, FOLDER, Found, HEAD, PARTIAL, Place, Standing, TENSORS,
    scan::{Job, ScanError, Scanned},
};
use weighbridge_transfer::{Event, ListedFile, Listing, Source, SourceFactory, SourceOptions};
use weighbridge_tree::{ChunkSize, FileRoot, HeadId, head_id};

use crate::{
    checked::{Checked, check},
    download::{Coming, Download, PIECE},
    error::{ImportError, Wrong},
    figures::Figures,
    pulse::Pulse,
};

/// An import: the place of the model, the folder for it, and the keys that sign it.
pub struct Import {
    /// The place that lists the model: `hf://ORG/NAME[@REV]`, or the address of a folder with a `SHA256SUMS` file.
    pub address: String,
    /// The settings with which the place is asked.
    pub options: SourceOptions,
    /// Makes the source.
    pub factory: SourceFactory,
    /// The folder for the model. It is made if need be.
    pub into: PathBuf,
    /// The name of the model in the head.
    pub name: ModelName,
    /// The keys that sign the head.
    pub keys: Vec<SecretKey>,
    /// The time at which the head is made.
    pub created: Time,
    /// Whether tensors are listed. Without them a file is taken whose header is malformed.
    pub tensors: TensorListing,
    /// The release in the folder that the new one follows; `None` if none may be there.
    pub earlier: Option<Earlier>,
}

/// A release that the import replaces.
pub struct Earlier {
    /// The words of the new head about it.
    pub previous: Previous,
    /// The place from which its files were taken, by its head.
    pub source: Option<String>,
    /// Its files. Those that are not listed any more are removed.
    pub files: VerifiedFileList,
    /// The folder in which they lie: the one that is imported into, or a snapshot in a Hugging Face cache.
    pub folder: PathBuf,
}

impl Earlier {
    /// The release of a head, with its list and its folder.
    #[must_use]
    pub fn of(head: &VerifiedHead, files: VerifiedFileList, folder: PathBuf) -> Self {
        let source = head.head().ext.iter().find(|ext| ext.key == "source").map(|ext| ext.value.clone());
        Self { previous: Previous::from(head), source, files, folder }
    }

    /// Refuses a release of which a file is not there, or has another length.
    fn refuse_incomplete(&self) -> Result<(), ImportError> {
        let is_there = |entry: &&FileEntry| {
            let found = std::fs::metadata(self.folder.join(entry.path.as_str()));
            found.is_ok_and(|found| found.is_file() && found.len() == entry.size)
        };
        match self.files.entries().iter().find(|entry| !is_there(entry)) {
            Some(entry) => {
                Err(ImportError::Incomplete { folder: self.folder.clone(), path: entry.path.clone() })
            }
            None => Ok(()),
        }
    }
}

/// Hears what an import does. Calls come from several threads.
pub trait Observer: Sync {
    /// The files are known.
    fn listed(&self, listing: &Listing);

    /// The branch has another commit by now. The import has what it was when the import began.
    fn moved(&self, to: &str);

    /// All bytes of a file are there, and are what is listed. The file has no final name yet.
    fn as_listed(&self, file: &ListedFile);

    /// A step, as of a fetch from source 0. Of the figures, `verified` counts bytes that were hashed, and `durable` those of files
    /// that are what is listed.
    fn event(&self, event: Event);
}

/// An imported model.
#[derive(Debug)]
pub struct Imported {
    /// The head id.
    pub head: HeadId,
    /// The weighed model.
    pub weighed: Weighed,
    /// The listing that vouches for it.
    pub listing: Listing,
    /// The number of bytes that came from the source.
    pub received: u64,
}

/// Imports a model; `None` if the earlier release is of the listed commit, and its files are there: they are not read. Dropping the future stops the import; what has come is
/// there for the next one.
///
/// # Errors
/// [`ImportError`]. Nothing has a new final name then, unless it is [`ImportError::Store`].
///
/// # Cost
/// Each file is received once and read back once, while it comes. Memory does not grow with the model, except for lists and
/// layers.
///
/// # Example
/// ```
/// use weighbridge_import::{Import, Observer, import};
/// use weighbridge_manifest::{ListedFile, ModelName, Time};
/// use weighbridge_publish::TensorListing;
/// use weighbridge_transfer::{Event, Listing, SourceFactory, SourceOptions};
/// # use weighbridge_manifest::KeyName;
/// # use weighbridge_publish::SecretKey;
/// # use weighbridge_testkit::{Folder, servers::Hub};
/// # let (source, place) = (Folder::with(&[("model.bin", b"weights")]), Folder::new());
/// # let hub = Hub::start();
/// # let commit = hub.commit("example/tiny", source.path());
/// # let key = SecretKey::generate(KeyName::parse("importer")?)?;
/// # let (endpoint, into) = (hub.url(), place.at("model"));
///
/// struct Quiet;
///
/// impl Observer for Quiet {
///     fn listed(&self, _: &Listing) {}
///     fn moved(&self, _: &str) {}
///     fn as_listed(&self, _: &ListedFile) {}
///     fn event(&self, _: Event) {}
/// }
///
/// let options = Import {
///     address: "hf://example/tiny@main".to_owned(),
///     options: SourceOptions { hub_endpoint: Some(endpoint), ..SourceOptions::default() },
///     factory: SourceFactory::new(),
///     into,
///     name: ModelName::parse("example/tiny")?,
///     keys: vec![key],
///     created: Time::parse("2026-11-20T16:31:00Z")?,
///     tensors: TensorListing::List,
///     earlier: None,
/// };
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// # let imported = runtime.block_on(async {
/// let imported = import(options, &Quiet).await?;
/// # Ok::<_, weighbridge_import::ImportError>(imported)
/// # })?;
/// let imported = imported.ok_or("it was there")?;
/// assert_eq!(imported.listing.origin, format!("hf://example/tiny@{commit}"));
/// assert_eq!(std::fs::read(place.at("model/model.bin"))?, b"weights");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn import(import: Import, observer: &dyn Observer) -> Result<Option<Imported>, ImportError> {
    let (listing, source) =
        import.factory.list(&import.address, &import.options).await.map_err(ImportError::List)?;
    observer.listed(&listing);
    // A commit never changes.
    if let Some(earlier) = &import.earlier
        && listing.commit.is_some()
        && earlier.source.as_ref() == Some(&listing.origin)
    {
        earlier.refuse_incomplete()?;
        return Ok(None);
    }
    let into = import.into.clone();
    let destination = blocking(move || Ok(Arc::new(Destination::open(&into)?))).await?;
    let (say, mut said) = unbounded_channel();
    let figures = Arc::<Figures>::default();
    let mut pulse = Pulse::new(&listing, &figures);
    let run = Run { import, listing, source, destination, say, figures };
    let work = Arc::new(run).work();
    tokio::pin!(work);
    let tell = |said| match said {
        Said::Event(event) => observer.event(event),
        Said::Moved(to) => observer.moved(&to),
        Said::AsListed(file) => observer.as_listed(&file),
    };
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            Some(said) = said.recv() => tell(said),
            () = tokio::time::sleep(TICK) => pulse.beat(observer),
        }
    };
    pulse.beat(observer);
    while let Ok(said) = said.try_recv() {
        tell(said);
    }
    ended.map(Some)
}

/// A report of a thread of the import.
enum Said {
    Event(Event),
    Moved(String),
    AsListed(ListedFile),
}

struct Run {
    import: Import,
    listing: Listing,
    source: Arc<dyn Source>,
    destination: Arc<Destination>,
    say: UnboundedSender<Said>,
    figures: Arc<Figures>,
}

/// The place of a file that is as listed.
#[derive(Clone, Debug)]
enum At {
    /// Under its final name.
    Named,
    /// The unjudged file of this key.
    Unjudged(FileRoot),
}

/// The files that are what is listed, by their positions in the listing.
type Good = HashMap<usize, (At, Scanned)>;

impl Run {
    async fn work(self: Arc<Self>) -> Result<Imported, ImportError> {
        // What would be refused in the end is refused before anything comes.
        self.weighing().check_head().map_err(ImportError::Head)?;
        let paths = self.listing.files.iter().map(|file| &file.path);
        Weighing::check_paths(paths).map_err(ImportError::Weigh)?;
        let this = Arc::clone(&self);
        blocking(move || this.refuse_another_model()).await?;
        self.event(Event::Wanted {
            files: u64::try_from(self.listing.files.len()).unwrap_or(u64::MAX),
            bytes: self.listing.bytes(),
            metadata: self.import.into.join(FOLDER).join(PARTIAL),
        });
        let good = self.gather().await?;
        self.list_again().await?;
        let this = Arc::clone(&self);
        blocking(move || this.publish(good)).await
    }

    fn event(&self, event: Event) {
        self.tell(Said::Event(event));
    }

    fn tell(&self, said: Said) {
        // Nobody hears it once the import was dropped.
        let _ = self.say.send(said);
    }

    fn refuse_another_model(&self) -> Result<(), ImportError> {
        let there = self.destination.model()?;
        let expected = self.import.earlier.as_ref().map(|earlier| &earlier.previous.name);
        match there {
            Some(name) if expected != Some(&name) => Err(ImportError::Exists { name }),
            _ => Ok(()),
        }
    }

    /// The weighing of this import.
    fn weighing(&self) -> Weighing<'_> {
        let Import { into, name, created, tensors, earlier, .. } = &self.import;
        let line = |key: &str, value: &str| Ext { key: key.to_owned(), value: value.to_owned() };
        // What a card says is not under the importer's control: names alone, and no more than a head has room for.
        let bases = self.listing.base_models.iter().filter(|base| ModelName::parse(base).is_ok());
        let room = bases.scan(0, |taken, base| {
            *taken += base.len();
            (*taken <= MAX_BASES).then_some(base)
        });
        let mut ext: Vec<Ext> = room.take(MAX_BASE_LINES).map(|base| line("base", base)).collect();
        ext.push(line("source", &self.listing.origin));
        ext.sort();
        ext.dedup();
        Weighing {
            model: into,
            name: name.clone(),
            previous: earlier.as_ref().map(|earlier| earlier.previous.clone()),
            created: *created,
            expires: None,
            chunk_size: None,
            tensors: *tensors,
            sha256: Sha256Listing::Omit,
            ext,
            reuse: None,
            take: None,
        }
    }

    fn chunk_size(&self) -> ChunkSize {
        self.weighing().chunk_size_of(self.listing.files.iter().map(|file| file.size))
    }

    /// Reads what is there, and gets the rest.
    async fn gather(self: &Arc<Self>) -> Result<Good, ImportError> {
        let this = Arc::clone(self);
        let mut good = blocking(move || this.check_named()).await?;
        // A file that a killed run left in part may be wrong, after a power cut. All of it then comes anew, once.
        for _ in 0..2 {
            let missing: Vec<usize> =
                (0..self.listing.files.len()).filter(|position| !good.contains_key(position)).collect();
            if missing.is_empty() {
                break;
            }
            self.get(&missing, &mut good).await?;
        }
        Ok(good)
    }

    /// Checks the files that lie in the folder already.
    fn check_named(&self) -> Result<Good, ImportError> {
        let mut there = Vec::new();
        for (position, file) in self.listing.files.iter().enumerate() {
            self.destination.take_from_cache(&file.path, None, file.size);
            if let Some((_, len)) = self.destination.finished(&file.path)?
                && len == file.size
            {
                there.push((position, self.destination.place_of(&file.path)?));
            }
        }
        let (positions, places): (Vec<_>, Vec<_>) = there.into_iter().unzip();
        let jobs = positions.iter().zip(places).filter_map(|(position, place)| self.job(*position, place));
        let jobs: Vec<_> = jobs.collect();
        let checked = self.check(&positions, &jobs);
        // What comes in their place is hashed anew.
        let again = checked.wrong.iter().filter_map(|(job, _)| self.listing.files.get(*positions.get(*job)?));
        self.figures.hashed.fetch_sub(again.map(|file| file.size).sum(), SeqCst);
        self.refuse_failed(&positions, checked.failed)?;
        let good = checked.good.into_iter();
        Ok(good.filter_map(|(job, scanned)| Some((*positions.get(job)?, (At::Named, scanned)))).collect())
    }

    fn job(&self, position: usize, place: Place) -> Option<Job> {
        let ListedFile { path, size, digest } = self.listing.files.get(position)?;
        let tensors = self.weighing().tensors_of(path.as_str());
        Some(Job { digest: Some(digest.kind()), ..Job::of(place, *size, tensors) })
    }

    fn check(&self, positions: &[usize], jobs: &[Job]) -> Checked {
        let file = |position: &usize| self.listing.files.get(*position);
        let listed: Vec<_> = positions.iter().filter_map(file).map(|file| file.digest).collect();
        let good = |job: usize| {
            let Some(file) = positions.get(job).and_then(file) else { return };
            self.figures.good.fetch_add(file.size, SeqCst);
            self.tell(Said::AsListed(file.clone()));
        };
        check(jobs, &listed, self.chunk_size(), &self.figures.hashed, &good)
    }

    /// Refuses the first file that could not be read.
    fn refuse_failed(&self, positions: &[usize], failed: Vec<(usize, ScanError)>) -> Result<(), ImportError> {
        let Some((job, error)) = failed.into_iter().next() else { return Ok(()) };
        let file = positions.get(job).and_then(|position| self.listing.files.get(*position));
        let path = file.ok_or(ImportError::Bug)?.path.clone();
        Err(ImportError::Scan { path, error })
    }

    /// Gets files, and hashes them as they come.
    async fn get(self: &Arc<Self>, positions: &[usize], good: &mut Good) -> Result<(), ImportError> {
        let (mut coming, mut resumed) = (Vec::new(), Vec::new());
        for position in positions {
            let file = self.listing.files.get(*position).ok_or(ImportError::Bug)?;
            let this = Arc::clone(self);
            let one = Coming::new(file.path.clone(), file.size, key_of(file));
            let (one, found) = blocking(move || {
                let found = one.resume(&this.destination)?;
                Ok((one, found))
            })
            .await?;
            coming.push(one);
            resumed.push(found > 0);
        }
        let download = Download::new(
            Arc::clone(&self.source),
            Arc::clone(&self.destination),
            Arc::clone(&self.figures),
            coming,
            PIECE,
        );
        let download = Arc::new(download);
        let mut jobs = Vec::new();
        for (position, coming) in positions.iter().zip(&download.files) {
            let place = self.destination.place_of_unjudged(coming.key)?;
            let job = self.job(*position, place).ok_or(ImportError::Bug)?;
            jobs.push(Job { arrivals: Some(Arc::clone(&coming.arrived) as _), ..job });
        }
        let (this, chosen) = (Arc::clone(self), positions.to_vec());
        let hashing = tokio::task::spawn_blocking(move || this.check(&chosen, &jobs));
        let downloaded = download.run().await;
        let checked = hashing.await.map_err(|_| ImportError::Bug)?;
        // Bytes that are wrong are not gone on from.
        let mut wrong = Vec::new();
        for (job, found) in checked.wrong {
            let (file, was_resumed) = positions
                .get(job)
                .and_then(|position| self.listing.files.get(*position))
                .zip(resumed.get(job))
                .ok_or(ImportError::Bug)?;
            self.destination.unjudged(key_of(file), file.size)?.discard()?;
            self.figures.hashed.fetch_sub(file.size, SeqCst);
            if !was_resumed {
                wrong.push(Wrong { file: file.clone(), found });
            }
        }
        // A verdict comes before what could not be told.
        if !wrong.is_empty() {
            return Err(ImportError::Wrong(wrong));
        }
        downloaded?;
        self.refuse_failed(positions, checked.failed)?;
        for (job, scanned) in checked.good {
            let (position, coming) =
                positions.get(job).zip(download.files.get(job)).ok_or(ImportError::Bug)?;
            good.insert(*position, (At::Unjudged(coming.key), scanned));
        }
        Ok(())
    }

    /// Lists the model again: what was checked has to be what is listed now, too.
    async fn list_again(&self) -> Result<(), ImportError> {
        let Import { address, options, factory, .. } = &self.import;
        let (mut again, _) = factory.list(address, options).await.map_err(ImportError::List)?;
        if let Some(to) = again.commit.clone().filter(|commit| Some(commit) != self.listing.commit.as_ref()) {
            self.tell(Said::Moved(to));
            (again, _) = factory.list(&self.listing.origin, options).await.map_err(ImportError::List)?;
        }
        let pairs = self.listing.files.iter().map(Some).chain(std::iter::repeat(None));
        let changed = pairs.zip(again.files.iter().map(Some).chain(std::iter::repeat(None)));
        let count = self.listing.files.len().max(again.files.len());
        for (before, now) in changed.take(count) {
            if before != now
                && let Some(file) = before.or(now)
            {
                return Err(ImportError::Changed { path: file.path.clone() });
            }
        }
        Ok(())
    }

    /// Weighs what was read, signs the head, and gives everything its name.
    fn publish(&self, mut good: Good) -> Result<Imported, ImportError> {
        let (mut read, mut places) = (Vec::new(), Vec::new());
        for (position, file) in self.listing.files.iter().enumerate() {
            let (at, scanned) = good.remove(&position).ok_or(ImportError::Bug)?;
            let place = match at {
                At::Named => self.destination.place_of(&file.path)?,
                At::Unjudged(key) => self.destination.place_of_unjudged(key)?,
            };
            places.push((file, at, scanned.root));
            read.push((Found { path: file.path.clone(), file: place, size: file.size }, scanned));
        }
        let weighed = self.weighing().weigh_read(read).map_err(ImportError::Weigh)?;
        let note = self.sign(&weighed.text)?;
        let head = head_id(weighed.text.as_bytes());
        let staged = self.destination.stage(head)?;
        staged.check_places()?;
        staged.write(HEAD, note.as_bytes())?;
        staged.write(FILES, weighed.files.as_bytes())?;
        if let Some(tensors) = &weighed.tensors {
            staged.write(TENSORS, tensors.as_bytes())?;
        }
        let layers: Vec<u8> = weighed.layers.iter().flatten().flat_map(|value| *value.as_bytes()).collect();
        if !layers.is_empty() {
            staged.write(CHUNKS, &layers)?;
        }
        let lock = self.destination.lock()?;
        // Another process may have put a model here meanwhile. From now on none can.
        self.refuse_another_model()?;
        weighed.check_unchanged().map_err(ImportError::Weigh)?;
        self.event(Event::Naming { files: u64::try_from(places.len()).unwrap_or(u64::MAX) });
        let roots = places.iter().map(|(.., root)| *root).collect();
        let mut naming = self.destination.begin_naming(lock, &staged)?;
        for batch in places.chunks(BATCH) {
            let mut partials = Vec::new();
            for (file, at, root) in batch {
                match at {
                    At::Named => self.destination.settle(&file.path)?,
                    At::Unjudged(key) => {
                        let unjudged = self.destination.unjudged(*key, file.size)?;
                        partials.push((&file.path, unjudged.judged(*root)));
                    }
                }
            }
            let files: Vec<_> = partials.iter().map(|(_, partial)| partial).collect();
            self.destination.sync(&files).into_iter().collect::<Result<(), _>>()?;
            for (path, partial) in &partials {
                naming.place(&self.destination, partial, path)?;
            }
            naming.settle()?;
        }
        staged.publish(&mut naming)?;
        let files = &self.listing.files;
        let is_listed = |path: &str| files.binary_search_by(|file| file.path.as_str().cmp(path)).is_ok();
        for extra in self.destination.unlisted(&is_listed)? {
            let earlier = self.import.earlier.as_ref();
            let was_listed = earlier.is_some_and(|earlier| earlier.files.find(&extra.path).is_some());
            let removed = was_listed && self.destination.remove(&mut naming, &extra)?;
            self.event(Event::Extra { path: extra.path, removed, fault: extra.fault });
        }
        // Runs that were killed, or had another listing, left what nobody goes on with.
        for left in self.destination.left_over(&roots, head)? {
            let _ = self.destination.remove(&mut naming, &left)?;
        }
        naming.sweep(Standing::IsWhole)?;
        let received = self.figures.received.load(SeqCst);
        Ok(Imported { head, weighed, listing: self.listing.clone(), received })
    }

    fn sign(&self, text: &str) -> Result<String, ImportError> {
        let mut signing = Signing::of_text(text.to_owned()).map_err(ImportError::Head)?;
        for key in &self.import.keys {
            let signature = key.sign(signing.text().as_bytes());
            signing.add(key.vkey(), signature).map_err(ImportError::Sign)?;
        }
        Ok(signing.note().unwrap_or_default())
    }
}

/// The key under which the bytes of a file come together: another listing of the path begins it anew.
fn key_of(file: &ListedFile) -> FileRoot {
    FileRoot::of(format!("{}\n{} {}", file.path.as_str(), file.size, file.digest).as_bytes())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ImportError::Bug))
}

/// The most lines for base models, and the most bytes of their names: a head has 16 further lines, and 4,096 bytes.
const MAX_BASE_LINES: usize = 15;
const MAX_BASES: usize = 2_048;
/// The time between two reports on the progress.
const TICK: Duration = Duration::from_millis(200);
/// The number of files that are synced and named together.
const BATCH: usize = 256;
