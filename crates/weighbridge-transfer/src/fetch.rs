//! The fetch: first the head and the lists, then all files in parallel until all is durable.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::MissedTickBehavior,
};
use weighbridge_manifest::{EntryPath, TrustError, VerifiedHead};
use weighbridge_store::{Destination, FOLDER, HEAD, IoError, LayersFile, Metadata, PARTIAL, StoreError};
use weighbridge_tree::FileRoot;

use crate::{
    board::{Board, PATIENCE},
    catalog::{Case, Suspicion, Trust, best_head, judge_again, text},
    decide::{Decisions, Means},
    error::{FetchError, Missing, Unpruned},
    event::{Event, FetchProgress, Here, SourceId, SourceStatus},
    guide::{Guide, Holding},
    nearby::{Nearby, NearbyTensors},
    options::{AnotherModel, Options, Stop, Unlisted, Wanted},
    source::{Inventory, Source},
    tasks::{Spawner, Tasks},
    work::{
        buffers::Buffers,
        chunk_store::{ChunkStore, MAX_OPEN},
        engine::{Engine, piece_of},
        layers,
        selection::Selection,
    },
};

mod crew;
mod finish;
mod lists;
mod pulse;

use crew::Crew;
use finish::finish;
pub(crate) use finish::only_listed;
use pulse::Pulse;

/// A fetch that ended well.
#[derive(Debug)]
pub struct Fetched {
    /// The head of the fetched model.
    pub head: VerifiedHead,
    /// How much was received, verified and made durable.
    pub progress: FetchProgress,
    /// The verified bytes that were copied from other releases on this machine, and not received.
    pub nearby: u64,
    /// The wanted bytes as the list counts them: files with the same content count each.
    pub bytes: u64,
    /// The files that have their final names, in list order.
    pub files: Vec<EntryPath>,
    /// The number of files that are there in part, as wanted.
    pub partial: u64,
}

/// The caller's handler of the events of a fetch.
///
/// # Example
/// ```
/// use std::sync::Mutex;
/// use weighbridge_manifest::{TrustError, VerifiedHead};
/// use weighbridge_transfer::{Event, Observer};
///
/// /// The paths of the files that are complete.
/// #[derive(Default)]
/// struct Complete(Mutex<Vec<String>>);
///
/// impl Observer for Complete {
///     fn accept_head(&self, _head: &VerifiedHead, _note: &[u8]) -> Result<(), TrustError> {
///         Ok(()) // Whoever remembers notes refuses an older one here.
///     }
///
///     fn event(&self, event: Event) {
///         if let Event::File { path, .. } = event {
///             self.0.lock().unwrap().push(path.as_str().to_owned());
///         }
///     }
/// }
/// # use weighbridge_manifest::EntryPath;
/// #
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (head, note) = (sample.list.head(), &sample.note);
///
/// // A fetch calls it so:
/// let complete = Complete::default();
/// complete.accept_head(head, note)?;
/// complete.event(Event::File { path: EntryPath::parse("model.bin")?, size: 40_000 });
/// assert_eq!(*complete.0.lock().unwrap(), ["model.bin"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer: Send + Sync {
    /// Called when a head was chosen and the policy believes it. The caller may still refuse it, for example by the
    /// heads that it remembers.
    ///
    /// # Errors
    /// The reason for the refusal. The fetch ends with it.
    fn accept_head(&self, head: &VerifiedHead, note: &[u8]) -> Result<(), TrustError>;

    /// Called for each event. [`fetch`] calls it between two steps, so it should return soon.
    fn event(&self, event: Event);
}

/// Fetches what is wanted from all sources at once, into a folder.
///
/// The fetch hashes what the folder has already, from this release, from an earlier one or from a fetch that was ended
/// at any point, and does not ask again for what is good. Files get their final names when everything that is wanted is
/// durable, and the head comes last.
///
/// # Guarantee
/// A file that has its final name when this returns is the signed file, and was synced before it was named. Even after
/// an error, a signal or a power cut, no final name stands for unverified bytes, and a later run goes on from every
/// chunk that an [`Event::Durable`] named.
///
/// # Non-guarantee
/// Two fetches of different releases into one folder leave the files of the one that ends last, and may leave files of
/// both where only one release has them. `verify` reports that.
///
/// # Errors
/// [`FetchError`].
///
/// # Cost
/// Memory by [`Options::memory`], plus the lists and layers. Needs a Tokio runtime with time and I/O; files are read
/// and written on its blocking threads.
///
/// # Example
/// ```
/// use std::sync::Mutex;
/// use weighbridge_transfer::{Blame, Event, Options, SourceFactory, SourceOptions, Stop, fetch};
/// # use weighbridge_manifest::{Expectation, TrustError, TrustPolicy, VerifiedHead};
/// # use weighbridge_testkit::{Folder, Sample};
/// # use weighbridge_transfer::{AnotherModel, Observer, Sources, Unlisted, Wanted, Watchdog};
/// # let sample = Sample::of(&[("config.json", 100), ("model.bin", 400_000)], 1);
/// # let [good, bad, node] = [Folder::new(), Folder::new(), Folder::new()];
/// # for folder in [&good, &bad] {
/// #     sample.contents.iter().for_each(|(path, bytes)| folder.write(path.as_str(), bytes));
/// #     folder.write("weighbridge/head.note", &sample.note);
/// #     folder.write("weighbridge/files.jsonl", &sample.files);
/// #     folder.write("weighbridge/chunks.layer", &sample.layers);
/// # }
/// # bad.alter("model.bin", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
/// # bad.alter("config.json", |bytes| bytes[0] ^= 1);
/// # let source = |folder: &Folder| {
/// #     SourceFactory::new().parse(&folder.path().to_string_lossy(), &SourceOptions::default())
/// # };
/// # let (bad, good, content) = (source(&bad)?, source(&good)?, sample.bytes(1));
/// # #[derive(Default)]
/// # struct Log(Mutex<Vec<(usize, Blame)>>);
/// # impl Observer for Log {
/// #     fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> { Ok(()) }
/// #     fn event(&self, event: Event) {
/// #         let Event::Source(status) = event else { return };
/// #         self.0.lock().unwrap().extend(status.blame.map(|(blame, _why)| (status.source.number(), blame)));
/// #     }
/// # }
/// # let options = Options {
/// #     sources: Sources::default(),
/// #     metadata: None,
/// #     into: node.at("tiny"),
/// #     policy: TrustPolicy::pinned(sample.id),
/// #     expected: Expectation::any(),
/// #     now: None,
/// #     wanted: Wanted::default(),
/// #     unlisted: Unlisted::Report,
/// #     another_model: AnotherModel::Refuse,
/// #     memory: 128 << 20,
/// #     receive: weighbridge_bandwidth::Share::unlimited(),
/// #     watchdog: Watchdog::default(),
/// #     guide: None,
/// #     nearby: None,
/// # };
///
/// // Of two mirrors, the first gives other bytes than the signed ones. `options` says whom to believe and where to put
/// // the model; `log` keeps what sources are blamed for.
/// let options = Options { sources: vec![bad, good].into(), ..options };
/// let log = Log::default();
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// let fetched = runtime.block_on(fetch(options, &log, &Stop::default()))?;
///
/// assert_eq!(fetched.files.len(), 2);
/// assert_eq!(std::fs::read(node.at("tiny/model.bin"))?, content);
/// let blamed = log.0.into_inner()?;
/// assert!(blamed.iter().all(|blamed| *blamed == (0, Blame::Lied)), "the other is not blamed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn fetch(options: Options, observer: &dyn Observer, stop: &Stop) -> Result<Fetched, FetchError> {
    let into = options.into.clone();
    fetch_into(options, move || Destination::open(&into), observer, stop).await
}

/// Does as [`fetch`], into a destination that the caller opens at the folder that the options name.
async fn fetch_into(
    options: Options,
    open: impl FnOnce() -> Result<Destination, StoreError> + Send + 'static,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<Fetched, FetchError> {
    let _ends = stop.begin();
    let (events, mut told) = mpsc::unbounded_channel();
    let tasks = Tasks::default();
    let changes = options.sources.changes();
    let (run, trust) = Run::new(options, events, tasks.spawner());
    let ending = Ending(&run);
    let mut pulse = Pulse::default();
    let result = {
        let work = async {
            let result = run.work(trust, open, observer).await;
            run.verdicts().await;
            result
        };
        tokio::pin!(work);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = changes;
        loop {
            tokio::select! {
                biased;
                Some(event) = told.recv() => observer.event(event),
                () = stop.asked() => break Err(FetchError::Stopped { progress: FetchProgress::default() }),
                Ok(()) = changes.changed() => run.meet_sources(),
                _ = tick.tick() => pulse.beat(&run, observer),
                result = &mut work => break result,
            }
        }
        // The connections end together with the work.
    };
    // Written chunks are synced even after an error, so that the next run need not ask for them.
    if result.is_err()
        && let Some(engine) = run.engine.get().map(Arc::clone)
    {
        engine.end();
        let synced = run.board.tasks.blocking(move || engine.sync());
        let _ = tokio::time::timeout(LAST_SYNC, synced).await;
    }
    drop(ending);
    // The timeout bounds the wait for a disk that does not answer.
    let _ = tokio::time::timeout(LAST_SYNC, tasks.end()).await;
    while let Ok(event) = told.try_recv() {
        observer.event(event);
    }
    let (progress, sources) = pulse.last(&run, observer);
    result.map_err(|error| run.at_the_end(error, progress, sources))
}

/// How often the state of the fetch is checked.
const TICK: Duration = Duration::from_millis(100);
/// How long a check is delayed, so that it covers several changes.
const COALESCE: Duration = Duration::from_millis(2);
/// How long a stopped fetch may sync at the end, since a disk may not answer.
const LAST_SYNC: Duration = Duration::from_millis(1500);

struct Run {
    board: Arc<Board>,
    engine: OnceLock<Arc<Engine>>,
    case: OnceLock<Case>,
    into: PathBuf,
    wanted: Wanted,
    unlisted: Unlisted,
    another_model: AnotherModel,
    memory: u64,
    guide: Option<Arc<dyn Guide>>,
    nearby: Option<Arc<dyn Nearby>>,
}

/// Ends the work on other threads, also if the fetch is dropped.
struct Ending<'a>(&'a Run);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(engine) = self.0.engine.get() {
            engine.end();
        }
    }
}

impl Run {
    fn new(options: Options, events: UnboundedSender<Event>, tasks: Spawner) -> (Self, Trust) {
        let Options {
            sources,
            metadata,
            into,
            policy,
            expected,
            now,
            wanted,
            unlisted,
            another_model,
            memory,
            receive,
            watchdog,
            guide,
            nearby,
        } = options;
        let mut seed = [0; 8];
        // The random seed only spreads out the retries of many nodes, so a failure here is harmless.
        let _ = getrandom::fill(&mut seed);
        let means = Means {
            pieces: Buffers::count(memory, piece_of(0)),
            descriptors: weighbridge_store::descriptor_limit().map(descriptors_for_connections),
            rate: receive.budget().rate(),
        };
        let mut decisions = Decisions::new(watchdog, means, u64::from_le_bytes(seed));
        if let Some(guide) = &guide {
            decisions.follow(Arc::clone(guide));
        }
        let metadata = metadata.map(|source| (sources.reserve(), source));
        let board =
            Arc::new(Board::new(sources, metadata, decisions, receive, watchdog.window, events, tasks));
        let trust = Trust { policy: Arc::new(policy), expected: Arc::new(expected), now };
        let (engine, case) = (OnceLock::new(), OnceLock::new());
        (Self { board, engine, case, into, wanted, unlisted, another_model, memory, guide, nearby }, trust)
    }

    /// Adds the sources that joined, and drops those that left.
    fn meet_sources(&self) {
        for (id, source) in self.board.meet_sources() {
            if let Some(engine) = self.engine.get() {
                follow(engine, id, &source);
            }
        }
    }

    /// Updates the error when all work has ended: bytes that were under way at the time of the error have been judged
    /// and synced since.
    fn at_the_end(
        &self,
        error: FetchError,
        progress: FetchProgress,
        sources: Vec<SourceStatus>,
    ) -> FetchError {
        let moved = self.board.decide().all_moved_to();
        let begun = self.case.get().map(|case| case.head.id());
        let overwritten = begun.zip(moved).filter(|_| matches!(error, FetchError::NoSource { .. }));
        let error = match overwritten {
            Some((begun, now)) => FetchError::Overwritten { begun, now, progress },
            None => error,
        };
        error.at_the_end(progress, sources, self.missing())
    }

    /// The chunks that are still to be asked for.
    fn missing(&self) -> Vec<Missing> {
        let Some(engine) = self.engine.get() else { return Vec::new() };
        let decisions = self.board.decide();
        let missing = decisions.pending_files().filter_map(|file| {
            let path = engine.chunks.targets.get(&file)?.path.clone();
            Some(Missing { path, chunks: decisions.pending_of(file)?.iter().collect() })
        });
        missing.collect()
    }
}

/// How many of the process's `all` descriptors connections may use: files need some, and so does the process itself.
fn descriptors_for_connections(all: u64) -> usize {
    usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(MAX_OPEN + OTHER_DESCRIPTORS) / 2
}

/// The descriptors of a process that are neither connections nor files of the model.
const OTHER_DESCRIPTORS: usize = 32;

/// Tells the decisions which chunks a source says it has, now and whenever it gains some.
fn follow(engine: &Arc<Engine>, id: SourceId, source: &Arc<dyn Source>) {
    let Some(mut changes) = source.inventory().map(Inventory::changes) else { return };
    let (engine, source) = (Arc::clone(engine), Arc::clone(source));
    let here = Arc::clone(&engine);
    let _ = here.spawn(async move {
        let mut positions: HashMap<FileRoot, Vec<usize>> = HashMap::new();
        for target in engine.chunks.targets.values() {
            positions.entry(target.root).or_default().push(target.position);
        }
        let mut seen = 0;
        loop {
            if engine.board.source(id).is_none() {
                return;
            }
            if let Some(inventory) = source.inventory() {
                // Asked first: chunks that come before the end are seen then.
                let may_grow = inventory.may_grow();
                let (gained, now) = inventory.since(seen);
                seen = now;
                for (root, chunks) in gained {
                    for position in positions.get(&root).into_iter().flatten() {
                        let _ = engine.board.decide().gain(id, *position, &chunks);
                    }
                }
                if !may_grow {
                    return engine.board.decide().finish_inventory(id);
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
}

impl Run {
    async fn work(
        &self,
        trust: Trust,
        open: impl FnOnce() -> Result<Destination, StoreError> + Send + 'static,
        observer: &dyn Observer,
    ) -> Result<Fetched, FetchError> {
        let (board, root) = (&self.board, self.into.clone());
        let destination = {
            let _here = board.works(FOLDER, Here::Writing);
            blocking(&self.board.tasks, move || Ok(open()?)).await?
        };
        let (best, shown) = best_head(board, &trust).await?;
        observer.accept_head(&best.head, &best.note).map_err(FetchError::Trust)?;
        board.say(Event::Head(Box::new(best.head.clone())));
        let name = best.head.head().name.clone();
        let (destination, there) = blocking(&self.board.tasks, move || {
            let there = destination.model()?;
            Ok((destination, there))
        })
        .await?;
        let is_same = there.as_ref() == Some(&name);
        self.another_model.allows(&root, there, &name)?;
        let mut case = Case { trust, head: Arc::new(best.head.clone()), files: None };
        // A source that has another revision is not asked for a list.
        let mut others = shown;
        others.retain(|one| text(&one.note) != text(&best.note));

        let head = best.head;
        let (id, note) = (head.id(), best.note);
        let shared_note = note.clone();
        let (destination, staged) = blocking(&self.board.tasks, move || {
            let staged = destination.stage(id)?;
            // Checked early too, and not only when everything has come.
            staged.check_places()?;
            staged.write(HEAD, &note)?;
            Ok((destination, Arc::new(staged)))
        })
        .await?;
        let published = Metadata::at(root.join(FOLDER));
        let has_other = |source| others.iter().any(|other| other.source == source);
        let files = self.files(&case, &staged, &published, &has_other).await.map(Arc::new);
        case.files = files.as_ref().ok().map(Arc::clone);
        let _ = self.case.set(case.clone());
        // Done even without a list, so that each source gets the right blame.
        for other in others {
            let cases = board.decide().cases(other.source);
            if let Some(suspicion) = Suspicion::of(board, other.source, cases, other.why) {
                suspicion.judge(&case, Some(other.note));
            }
        }
        let files = files?;
        let tensors = self.tensors(&case, &staged, &published, &files).await?;

        let destination = if self.unlisted == Unlisted::Prune {
            self.refuse_sources_in(&root)?;
            let (root, files) = (root.clone(), Arc::clone(&files));
            blocking(&self.board.tasks, move || match is_same {
                true => Ok(destination),
                false => only_listed(&destination, &files, root).map(|()| destination),
            })
            .await?
        } else {
            destination
        };
        let selection = Selection::of(&files, tensors.as_deref(), &self.wanted)?;
        let twins = selection.twins;
        let events = board.listener();
        // The receiver is gone only when the fetch is over.
        let tell = Box::new(move |event| _ = events.send(event));
        let figures = Arc::clone(&board.figures);
        let mut chunks =
            ChunkStore::new(destination, Arc::clone(&files), tensors, selection.targets, figures, tell)?;
        if let Some(guide) = &self.guide {
            // The guide keeps the chunks, so they do not keep the guide.
            let guide = Arc::downgrade(guide);
            let holds = move |file, run: &_| _ = guide.upgrade().map(|guide| guide.holds(file, run));
            chunks = chunks.telling_runs(holds);
        }
        let chunks = Arc::new(chunks);
        let nearby = self.nearby(&chunks).await?;
        let engine = Arc::new(Engine::new(Arc::clone(board), case, Arc::clone(&chunks), nearby, self.memory));
        // The schedule is that of the engine: a wish that was made before would be lost.
        if let Some(guide) = &self.guide {
            guide.begin(&Holding::new(chunks, &shared_note, board));
        }
        let layers = Arc::new(staged.layers(layers::length(&engine))?);
        board.say(Event::Wanted {
            files: u64::try_from(engine.chunks.targets.len() + twins.len()).unwrap_or(u64::MAX),
            bytes: board.figures.progress().wanted,
            metadata: root.join(FOLDER).join(PARTIAL).join(head.id().to_string()),
        });
        let _ = self.engine.set(Arc::clone(&engine));
        for id in board.decide().model_sources() {
            if let Some(source) = board.source(id) {
                follow(&engine, id, &source);
            }
        }
        self.chunks(&engine, layers, &published, twins.clone()).await?;
        // Other processes may put files into the folder during the fetch, and those are not removed.
        let unlisted = if is_same { self.unlisted } else { Unlisted::Report };
        let (another_model, wanted) = (self.another_model, name);
        blocking(&self.board.tasks, move || {
            let lock = {
                let _here = engine.board.works(FOLDER, Here::Naming);
                engine.chunks.destination.lock()?
            };
            // Another fetch or signer may have put a model here meanwhile. From now on none can.
            another_model.allows(&root, engine.chunks.destination.model()?, &wanted)?;
            let naming = engine.chunks.destination.begin_naming(lock, &staged)?;
            finish(&engine, head, &staged, &twins, unlisted, naming)
        })
        .await
    }

    /// The tensors that other releases on this machine have.
    async fn nearby(&self, chunks: &Arc<ChunkStore>) -> Result<NearbyTensors, FetchError> {
        let (Some(nearby), Some(tensors)) = (&self.nearby, &chunks.tensors) else {
            return Ok(NearbyTensors::new());
        };
        let (nearby, tensors) = (Arc::clone(nearby), Arc::clone(tensors));
        blocking(&self.board.tasks, move || Ok(nearby.find(&tensors))).await
    }

    /// Refuses to remove files from a folder that a source reads, or that has such a folder in it.
    fn refuse_sources_in(&self, root: &Path) -> Result<(), FetchError> {
        // The real name is needed to compare the folder with those of sources. The folder exists, since the destination
        // was opened.
        let real = root.canonicalize().map_err(IoError::at("find", root))?;
        let sources = self.board.all_sources();
        for source in sources.iter().filter_map(|source| source.folder()) {
            if source.canonicalize().map_err(IoError::at("find", source))?.starts_with(&real) {
                let (folder, source) = (root.to_owned(), source.to_owned());
                return Err(FetchError::NotPruned { folder, why: Unpruned::Source { source } });
            }
        }
        Ok(())
    }

    /// Waits until no source is being judged: an earlier end would hide the blame.
    async fn verdicts(&self) {
        let until = Instant::now() + PATIENCE;
        while self.board.decide().is_judging() && Instant::now() < until {
            tokio::time::sleep(TICK).await;
        }
        self.board.decide().close_cases();
        if let Some(case) = self.case.get() {
            judge_again(&self.board, case).await;
        }
    }

    /// Runs until everything that is wanted is durable.
    async fn chunks(
        &self,
        engine: &Arc<Engine>,
        layers_file: Arc<LayersFile>,
        published: &Metadata,
        twins: Vec<(usize, usize)>,
    ) -> Result<(), FetchError> {
        let published = published.layers(&engine.chunks.files).ok().flatten();
        let _ = engine.spawn(Arc::clone(engine).sync_always());
        engine.searching.fetch_add(1, SeqCst);
        let here = Arc::clone(engine);
        let _ = engine.spawn(async move {
            if let Err(error) = layers::accept_all(&here, layers_file, published, twins).await {
                here.fail(error);
            }
            here.searching.fetch_sub(1, SeqCst);
            here.board.changed.notify_waiters();
        });
        let mut crew = Crew::new(engine);
        loop {
            let changed = engine.board.changed.notified();
            if let Some(error) = engine.take_failure() {
                return Err(error);
            }
            if engine.chunks.is_durable() && engine.searching.load(SeqCst) == 0 {
                return Ok(());
            }
            crew.man();
            if Self::is_stuck(engine) {
                return Err(Self::stuck(engine));
            }
            let _ = tokio::time::timeout(TICK, changed).await;
            // Several small files end within this delay, and are checked together.
            tokio::time::sleep(COALESCE).await;
        }
    }

    /// Whether no source will ever give the missing chunks.
    fn is_stuck(engine: &Engine) -> bool {
        let decisions = engine.board.decide();
        let layerless = decisions.layerless();
        // Nothing is being asked for or judged, and no task looks for more to do.
        if decisions.oldest().is_some()
            || decisions.is_judging_pieces()
            || engine.searching.load(SeqCst) != layerless.len()
        {
            return false;
        }
        let files = decisions.pending_files().map(|file| (file, false));
        let mut lacking = files.chain(layerless.iter().map(|file| (*file, true))).peekable();
        lacking.peek().is_some() && lacking.all(|(file, is_whole)| decisions.is_hopeless(file, is_whole))
    }

    fn stuck(engine: &Engine) -> FetchError {
        let first = {
            let decisions = engine.board.decide();
            decisions.pending_files().next().or_else(|| decisions.layerless().front().copied())
        };
        let target = first.and_then(|position| engine.chunks.targets.get(&position));
        FetchError::no_source(target.map_or("what is missing", |target| target.path.as_str()))
    }
}

async fn blocking<T: Send + 'static>(
    tasks: &Spawner,
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    match tasks.blocking(work).await {
        Ok(result) => result,
        Err(ended) if ended.is_panic() => Err(FetchError::Bug),
        Err(_) => Err(FetchError::Stopped { progress: FetchProgress::default() }),
    }
}

#[cfg(test)]
mod coming_and_going;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod from_nearby;
#[cfg(test)]
mod power_cuts;
