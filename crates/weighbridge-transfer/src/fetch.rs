//! The fetch itself: head, lists, and then everything at once until all is durable.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use weighbridge_manifest::{
    EntryPath, ListError, TrustError, VerifiedFileList, VerifiedHead, VerifiedTensorList,
};
use weighbridge_store::{
    Destination, FILES, FOLDER, HEAD, IoError, LayersFile, Metadata, Naming, PARTIAL, Staged, Standing,
    StoreError, TENSORS, read_bounded,
};
use weighbridge_tree::HeadId;
use weighbridge_verify::ModelVerifier;

use crate::{
    board::{Board, PATIENCE, lock},
    catalog::{Case, Part, Trust, best_head, no_source, one_of, text},
    decide::roster::Roster,
    decide::schedule::ConnectionId,
    error::{FetchError, Unpruned},
    event::{Event, FetchProgress, Here, SourceIndex, SourceState, SourceStatus},
    options::{AnotherModel, Options, Stop, Unlisted, Wanted},
    source::What,
    work::connection,
    work::engine::Engine,
    work::layers,
    work::local,
    work::selection::Selection,
};

/// A fetch that ended well.
#[derive(Debug)]
pub struct Fetched {
    /// The head.
    pub head: VerifiedHead,
    /// How much was received, verified and made durable.
    pub progress: FetchProgress,
    /// How many bytes were wanted, as the list counts them: of two files with the same content, both.
    pub bytes: u64,
    /// How many files have their final names.
    pub files: u64,
    /// How many files are there in part, as wanted.
    pub partial: u64,
}

/// What the caller does with what happens.
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
    /// A head was chosen, and the policy believes it. The caller may refuse it still, by what it remembers say.
    ///
    /// # Errors
    /// Why not. The fetch ends with it.
    fn accept_head(&self, head: &VerifiedHead, note: &[u8]) -> Result<(), TrustError>;

    /// Something happened. Called from within [`fetch`], between what it does: it should return soon.
    fn event(&self, event: Event);
}

/// Fetches what is wanted from all sources at once, into a folder.
///
/// What the folder has already, of this release, of an earlier one or of a fetch that was ended at any point, is hashed
/// and not asked for again if it is good. Files get their final names when everything that is wanted is durable, and the
/// head comes last.
///
/// # Guarantee
/// What has a final name when this returns is the signed file, and was synced before it was named. Whatever happens
/// before, an error, a signal, a power cut: no final name stands for unverified bytes, and a later run goes on from
/// every chunk that an [`Event::Durable`] named.
///
/// # Non-guarantee
/// Two fetches of different releases into one folder leave the files of whichever ends last, and may leave files of both
/// where only one has them; `verify` tells.
///
/// # Errors
/// [`FetchError`].
///
/// # Cost
/// Memory by [`Options::memory`], lists and layers apart. Needs a Tokio runtime with time and I/O; files are read and
/// written on its blocking threads.
///
/// # Example
/// ```
/// use std::sync::Mutex;
/// use weighbridge_transfer::{Blame, Event, Options, SourceFactory, SourceOptions, Stop, fetch};
/// # use weighbridge_manifest::{Expectation, TrustError, TrustPolicy, VerifiedHead};
/// # use weighbridge_testkit::{Folder, Sample};
/// # use weighbridge_transfer::{AnotherModel, Observer, Unlisted, Wanted, Watchdog};
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
/// #         self.0.lock().unwrap().extend(status.blame.map(|(blame, _why)| (status.source, blame)));
/// #     }
/// # }
/// # let options = Options {
/// #     sources: Vec::new(),
/// #     metadata: None,
/// #     into: node.at("tiny"),
/// #     policy: TrustPolicy::pinned(sample.id),
/// #     expected: Expectation::any(),
/// #     now: None,
/// #     wanted: Wanted::default(),
/// #     unlisted: Unlisted::Report,
/// #     another_model: AnotherModel::Refuse,
/// #     memory: 128 << 20,
/// #     limit_rate: None,
/// #     watchdog: Watchdog::default(),
/// # };
///
/// // Of two mirrors, the first gives other bytes than the signed ones. `options` says whom to believe and where to put
/// // the model; `log` keeps what sources are blamed for.
/// let options = Options { sources: vec![bad, good], ..options };
/// let log = Log::default();
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// let fetched = runtime.block_on(fetch(options, &log, &Stop::default()))?;
///
/// assert_eq!(fetched.files, 2);
/// assert_eq!(std::fs::read(node.at("tiny/model.bin"))?, content);
/// let blamed = log.0.into_inner()?;
/// assert!(blamed.iter().all(|blamed| *blamed == (0, Blame::Lied)), "the other is not blamed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn fetch(options: Options, observer: &dyn Observer, stop: &Stop) -> Result<Fetched, FetchError> {
    let into = options.into.clone();
    fetch_into(options, move || Destination::open(&into), observer, stop).await
}

/// As [`fetch`], into a destination that somebody else opens, at the place that the options name.
async fn fetch_into(
    options: Options,
    open: impl FnOnce() -> Result<Destination, StoreError> + Send + 'static,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<Fetched, FetchError> {
    let (events, mut told) = mpsc::unbounded_channel();
    let Options {
        mut sources,
        metadata,
        into,
        policy,
        expected,
        now,
        wanted,
        unlisted,
        another_model,
        memory,
        ..
    } = options;
    let byte_sources = sources.len();
    sources.extend(metadata);
    let mut seed = [0; 8];
    // Only to keep nodes apart from each other; without it they are not.
    let _ = getrandom::fill(&mut seed);
    let roster = Roster::new(sources.len(), options.watchdog, u64::from_le_bytes(seed));
    let board = Arc::new(Board::new(sources, byte_sources, roster, options.limit_rate, events));
    let trust = Trust { policy: Arc::new(policy), expected: Arc::new(expected), now };
    let run =
        Run { board: Arc::clone(&board), engine: OnceLock::new(), wanted, unlisted, another_model, memory };
    let mut pulse = Pulse::default();
    let result = {
        let work = async {
            let result = run.work(trust, into, open, observer).await;
            run.verdicts().await;
            result
        };
        tokio::pin!(work);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                Some(event) = told.recv() => observer.event(event),
                () = stop.asked() => break Err(FetchError::Stopped { progress: FetchProgress::default() }),
                _ = tick.tick() => pulse.beat(&run, observer),
                result = &mut work => break result,
            }
        }
        // With the work its connections end.
    };
    // What was written is made to last, whatever has happened, so that the next run need not ask for it.
    if result.is_err()
        && let Some(engine) = run.engine.get().map(Arc::clone)
    {
        engine.end();
        let synced = tokio::task::spawn_blocking(move || engine.sync());
        let _ = tokio::time::timeout(LAST_SYNC, synced).await;
    }
    while let Ok(event) = told.try_recv() {
        observer.event(event);
    }
    let (progress, sources) = pulse.last(&run, observer);
    result.map_err(|error| error.at_the_end(progress, sources))
}

/// How often it is looked at what has become of everything.
const TICK: Duration = Duration::from_millis(100);
/// How long further changes are waited for before they are looked at.
const COALESCE: Duration = Duration::from_millis(2);
/// A fetch that was asked to end does so, even if a disk does not.
const LAST_SYNC: Duration = Duration::from_millis(1500);

struct Run {
    board: Arc<Board>,
    engine: OnceLock<Arc<Engine>>,
    wanted: Wanted,
    unlisted: Unlisted,
    another_model: AnotherModel,
    memory: u64,
}

impl Run {
    async fn work(
        &self,
        trust: Trust,
        root: PathBuf,
        open: impl FnOnce() -> Result<Destination, StoreError> + Send + 'static,
        observer: &dyn Observer,
    ) -> Result<Fetched, FetchError> {
        let board = &self.board;
        let destination = {
            let _here = board.works(FOLDER, Here::Writing);
            blocking(move || Ok(open()?)).await?
        };
        let (best, shown) = best_head(board, &trust).await?;
        observer.accept_head(&best.head, &best.note).map_err(FetchError::Trust)?;
        board.say(Event::Head(Box::new(best.head.clone())));
        let name = best.head.head().name.clone();
        let (destination, there) = blocking(move || {
            let there = destination.model()?;
            Ok((destination, there))
        })
        .await?;
        let is_same = there.as_ref() == Some(&name);
        self.another_model.allows(&root, there, &name)?;
        let mut case = Case { trust, head: Arc::new(best.head.clone()), files: None };
        // Who has another revision is asked for no list.
        let mut others = shown;
        others.retain(|one| text(&one.note) != text(&best.note));

        let head = best.head;
        let (id, note) = (head.id(), best.note);
        let (destination, staged) = blocking(move || {
            let staged = destination.stage(id)?;
            // Not only when everything has come.
            staged.check_places()?;
            staged.write(HEAD, &note)?;
            Ok((destination, Arc::new(staged)))
        })
        .await?;
        let published = Metadata::at(root.join(FOLDER));
        let has_other = |source| others.iter().any(|other| other.source == source);
        let files = self.files(&case, &staged, &published, &has_other).await.map(Arc::new);
        case.files = files.as_ref().ok().map(Arc::clone);
        // Also if there is no list: it is said what each is to be blamed for.
        for other in others {
            if board.roster().suspect(other.source, other.why) {
                case.find_out(board, other.source, Some(other.note));
            }
        }
        let files = files?;
        let tensors = self.tensors(&case, &staged, &published, &files).await?;

        let destination = if self.unlisted == Unlisted::Prune {
            self.refuse_sources_in(&root)?;
            let (root, files) = (root.clone(), Arc::clone(&files));
            blocking(move || match is_same {
                true => Ok(destination),
                false => only_listed(&destination, &files, root).map(|()| destination),
            })
            .await?
        } else {
            destination
        };
        let selection = Selection::of(&files, tensors.as_deref(), &self.wanted)?;
        let twins = selection.twins;
        let targets: BTreeMap<_, _> =
            selection.targets.into_iter().map(|target| (target.position, Arc::new(target))).collect();
        let wanted = ModelVerifier::only(Arc::clone(&files), targets.keys().copied());
        let engine = Arc::new(Engine::new(
            Arc::clone(board),
            case,
            Arc::clone(&files),
            wanted.map_err(FetchError::Entry)?,
            destination,
            targets,
            tensors,
            self.memory,
        ));
        let layers = Arc::new(staged.layers(layers::length(&engine))?);
        board.say(Event::Wanted {
            files: u64::try_from(engine.targets.len() + twins.len()).unwrap_or(u64::MAX),
            bytes: board.progress().wanted,
            metadata: root.join(FOLDER).join(PARTIAL).join(head.id().to_string()),
        });
        let _ = self.engine.set(Arc::clone(&engine));
        self.chunks(&engine, layers, &published).await?;
        // Files that come to a folder while it is fetched into may be anybody's, too.
        let unlisted = if is_same { self.unlisted } else { Unlisted::Report };
        let (another_model, wanted) = (self.another_model, name);
        blocking(move || {
            let lock = {
                let _here = engine.board.works(FOLDER, Here::Naming);
                engine.destination.lock()?
            };
            // Another fetch or signer may have put a model here meanwhile. From now on nobody can.
            another_model.allows(&root, engine.destination.model()?, &wanted)?;
            let naming = engine.destination.begin_naming(lock, &staged)?;
            finish(&engine, head, &staged, &twins, unlisted, naming)
        })
        .await
    }

    /// Refuses to remove files from a folder that a source reads, or that has such a folder in it.
    fn refuse_sources_in(&self, root: &Path) -> Result<(), FetchError> {
        // Without its real name nothing can be told of the folder. It is there: the destination was opened.
        let real = root.canonicalize().map_err(IoError::at("find", root))?;
        for source in self.board.sources.iter().filter_map(|source| source.folder()) {
            if source.canonicalize().map_err(IoError::at("find", source))?.starts_with(&real) {
                let (folder, source) = (root.to_owned(), source.to_owned());
                return Err(FetchError::NotPruned { folder, why: Unpruned::Source { source } });
            }
        }
        Ok(())
    }

    /// Until it is known what each source is to be blamed for: an end that comes before would hide it.
    async fn verdicts(&self) {
        let until = Instant::now() + PATIENCE;
        while self.board.roster().is_judging() && Instant::now() < until {
            tokio::time::sleep(TICK).await;
        }
        self.board.roster().close_cases();
    }

    async fn files(
        &self,
        case: &Case,
        staged: &Arc<Staged>,
        published: &Metadata,
        has_other: &(dyn Fn(SourceIndex) -> bool + Sync),
    ) -> Result<VerifiedFileList, FetchError> {
        let head = &case.head;
        let length = head.head().files.length;
        if let Some(list) = here(staged, published, FILES, length, |bytes| head.open_files(bytes).ok())? {
            return Ok(list);
        }
        let opened = |bytes: Vec<u8>| match head.open_files(&bytes) {
            Ok(list) => Ok((list, bytes)),
            Err(error) => Err(format!("{FILES}: {error}")),
        };
        let found =
            one_of(&self.board, case, &Part::whole(What::FileList { size: length }), has_other, opened)
                .await?;
        let (list, bytes) = found.ok_or_else(|| no_source(&self.board, FILES))?;
        let staged = Arc::clone(staged);
        blocking(move || Ok(staged.write(FILES, &bytes)?)).await?;
        Ok(list)
    }

    async fn tensors(
        &self,
        case: &Case,
        staged: &Arc<Staged>,
        published: &Metadata,
        files: &VerifiedFileList,
    ) -> Result<Option<Arc<VerifiedTensorList>>, FetchError> {
        let Some(signed) = files.tensors() else { return Ok(None) };
        let length = signed.list.length;
        let open = |bytes: &[u8]| files.open_tensors(bytes);
        if let Some(list) = here(staged, published, TENSORS, length, |bytes| open(bytes).ok())? {
            return Ok(Some(Arc::new(list)));
        }
        let opened = |bytes: Vec<u8>| match open(&bytes) {
            Ok(list) => Ok((list, bytes)),
            Err(error) => Err(wrong(TENSORS, &error)),
        };
        let found =
            one_of(&self.board, case, &Part::whole(What::TensorList { size: length }), &|_| false, opened)
                .await;
        let is_needed = self.wanted.files.is_none() || self.wanted.tensors.is_some();
        let found = match found {
            // Whether files can come is found out later.
            Err(FetchError::NoSource { .. } | FetchError::Overwritten { .. }) if !is_needed => None,
            Ok(None) if is_needed => return Err(no_source(&self.board, TENSORS)),
            found => found?,
        };
        let Some((list, bytes)) = found else { return Ok(None) };
        let staged = Arc::clone(staged);
        blocking(move || Ok(staged.write(TENSORS, &bytes)?)).await?;
        Ok(Some(Arc::new(list)))
    }

    /// Until everything that is wanted is durable.
    async fn chunks(
        &self,
        engine: &Arc<Engine>,
        layers_file: Arc<LayersFile>,
        published: &Metadata,
    ) -> Result<(), FetchError> {
        let published = published.layers(&engine.files).ok().flatten();
        let mut helpers = JoinSet::new();
        helpers.spawn(Arc::clone(engine).sync_always());
        engine.searching.fetch_add(1, SeqCst);
        let here = Arc::clone(engine);
        helpers.spawn(async move {
            if let Err(error) = layers::accept_all(&here, layers_file, published).await {
                here.fail(error);
            }
            here.searching.fetch_sub(1, SeqCst);
            here.board.changed.notify_waiters();
        });
        let mut crew = Crew::default();
        loop {
            let changed = engine.board.changed.notified();
            if let Some(error) = engine.take_failure() {
                return Err(error);
            }
            if engine.is_durable() && engine.searching.load(SeqCst) == 0 {
                return Ok(());
            }
            crew.man(engine);
            while let Some(ended) = helpers.try_join_next() {
                bug_if_panicked(engine, &ended);
            }
            if self.is_stuck(engine) {
                return Err(self.stuck(engine));
            }
            let _ = tokio::time::timeout(TICK, changed).await;
            // Of many small files several end meanwhile: they are looked at together.
            tokio::time::sleep(COALESCE).await;
        }
    }

    /// Whether nobody will ever give what is missing.
    fn is_stuck(&self, engine: &Engine) -> bool {
        let roster = self.board.roster();
        let any = |file: usize| (0..self.board.byte_sources).any(|source| roster.may_serve(source, file));
        let schedule = engine.schedule();
        let layerless = lock(&engine.layerless);
        // Nobody is at work, and nobody looks for more to do.
        if schedule.oldest().is_some() || engine.searching.load(SeqCst) != layerless.len() {
            return false;
        }
        let mut lacking = schedule.pending_files().chain(layerless.iter().copied()).peekable();
        lacking.peek().is_some() && !lacking.any(any)
    }

    fn stuck(&self, engine: &Engine) -> FetchError {
        let first = engine.schedule().pending_files().next();
        let first = first.or_else(|| lock(&engine.layerless).front().copied());
        let target = first.and_then(|position| engine.targets.get(&position));
        let what = target.map_or("what is missing", |target| target.path.as_str());
        engine.case.nobody(&self.board, what, self.board.byte_sources)
    }
}

/// What a task was to do that has panicked is not waited for.
fn bug_if_panicked(engine: &Engine, ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        engine.fail(FetchError::Bug);
    }
}

/// A list that is in the folder already: of this fetch, or of the release that is there.
fn here<T>(
    staged: &Staged,
    published: &Metadata,
    name: &'static str,
    length: u64,
    open: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, FetchError> {
    if let Some(list) = staged.read(name, length).ok().flatten().and_then(|bytes| open(&bytes)) {
        return Ok(Some(list));
    }
    let Ok(bytes) = read_bounded(&published.folder().join(name), length) else { return Ok(None) };
    let Some(list) = open(&bytes) else { return Ok(None) };
    staged.write(name, &bytes)?;
    Ok(Some(list))
}

fn wrong(name: &str, error: &ListError) -> String {
    format!("{name}: {error}")
}

/// The connections.
#[derive(Default)]
struct Crew {
    tasks: JoinSet<()>,
    running: Vec<(usize, u64, tokio::task::AbortHandle)>,
    next: u64,
}

impl Crew {
    /// Ends what is not wanted any more, and begins what is.
    fn man(&mut self, engine: &Arc<Engine>) {
        while let Some(ended) = self.tasks.try_join_next() {
            bug_if_panicked(engine, &ended);
        }
        let board = &engine.board;
        self.running.retain(|(source, generation, task)| {
            if board.roster().generation(*source) != *generation {
                task.abort();
            }
            !task.is_finished()
        });
        for source in 0..board.byte_sources {
            let (generation, connections) = {
                let roster = board.roster();
                (roster.generation(source), roster.connections(source))
            };
            let mine = self.running.iter().filter(|(other, ..)| *other == source).count();
            for _ in mine..connections {
                if !Self::has_work(engine) {
                    break;
                }
                self.next += 1;
                let connection = ConnectionId(self.next);
                let task = self.tasks.spawn(connection::work(Arc::clone(engine), source, connection));
                self.running.push((source, generation, task));
            }
        }
    }

    fn has_work(engine: &Engine) -> bool {
        !lock(&engine.layerless).is_empty() || !engine.schedule().is_finished()
    }
}

/// Gives names to everything that has come, and the head last.
fn finish(
    engine: &Engine,
    head: VerifiedHead,
    staged: &Staged,
    twins: &[(usize, usize)],
    unlisted: Unlisted,
    mut naming: Naming,
) -> Result<Fetched, FetchError> {
    let (mut partial, mut copied) = (0, 0_u64);
    // The old files stay if the new metadata cannot take its place.
    staged.check_places()?;
    let files_to_name = engine.targets.values().filter(|target| target.is_whole()).count() + twins.len();
    engine.board.say(Event::Naming { files: u64::try_from(files_to_name).unwrap_or(u64::MAX) });
    let goes_on = || match engine.has_failed() {
        true => Err(FetchError::Stopped { progress: engine.board.progress() }),
        false => Ok(()),
    };
    let mut named = Named { engine, names: Vec::new(), files: 0 };
    for target in engine.targets.values() {
        if !target.is_whole() {
            partial += 1;
            continue;
        }
        goes_on()?;
        let _here = engine.board.works(target.path.as_str(), Here::Naming);
        local::place(engine, target, &mut naming)?;
        named.add(&target.path, target.grid.len(), &mut naming)?;
    }
    // A twin is copied from a file that has its name.
    named.settle(&mut naming)?;
    for (position, first) in twins {
        let (Some(entry), Some(first)) = (engine.files.entries().get(*position), engine.targets.get(first))
        else {
            continue;
        };
        goes_on()?;
        let _here = engine.board.works(entry.path.as_str(), Here::Naming);
        local::twin(engine, first, &entry.path, &mut naming)?;
        copied = copied.saturating_add(entry.size);
        named.add(&entry.path, entry.size, &mut naming)?;
    }
    named.settle(&mut naming)?;
    goes_on()?;
    {
        let _here = engine.board.works(HEAD, Here::Naming);
        staged.publish(&mut naming)?;
    }
    remove_unlisted(engine, head.id(), unlisted, &mut naming)?;
    // Of a release that a killed process had begun to replace, files that are not wanted may be those of the other still.
    let is_whole = partial == 0 && files_to_name == engine.files.entries().len();
    naming.sweep(if is_whole { Standing::IsWhole } else { Standing::MayBeReplaced })?;
    let progress = engine.board.progress();
    let bytes = progress.wanted.saturating_add(copied);
    Ok(Fetched { head, bytes, progress, files: named.files, partial })
}

/// Files that have got their names, and whose names are not durable yet: they are made durable together, and told then.
struct Named<'a> {
    engine: &'a Engine,
    names: Vec<(EntryPath, u64)>,
    /// How many are durable.
    files: u64,
}

impl Named<'_> {
    fn add(&mut self, path: &EntryPath, size: u64, naming: &mut Naming) -> Result<(), FetchError> {
        self.names.push((path.clone(), size));
        if self.names.len() < NAMES { Ok(()) } else { self.settle(naming) }
    }

    fn settle(&mut self, naming: &mut Naming) -> Result<(), FetchError> {
        naming.settle()?;
        for (path, size) in self.names.drain(..) {
            self.files += 1;
            self.engine.board.say(Event::File { path, size });
        }
        Ok(())
    }
}

/// How many names are made durable together: more take longer until a person sees one, fewer sync the same folders more often.
const NAMES: usize = 2_048;

/// Says what is in the folder and not listed, and removes it if the caller wants that.
fn remove_unlisted(
    engine: &Engine,
    head: HeadId,
    unlisted: Unlisted,
    naming: &mut Naming,
) -> Result<(), FetchError> {
    let _here = engine.board.works(FOLDER, Here::Listing);
    let is_listed = |path: &str| engine.files.find(path).is_some();
    let mut extras = engine.destination.unlisted(&is_listed)?;
    if unlisted == Unlisted::Prune {
        let roots = engine.files.entries().iter().map(|entry| entry.root).collect();
        extras.extend(engine.destination.left_over(&roots, head)?);
    }
    for extra in extras {
        let removed = unlisted == Unlisted::Prune && engine.destination.remove(naming, &extra)?;
        engine.board.say(Event::Extra { path: extra.path, removed, fault: extra.fault });
    }
    Ok(())
}

/// Refuses to remove anything from a folder that never was this model's.
fn only_listed(
    destination: &Destination,
    files: &VerifiedFileList,
    folder: PathBuf,
) -> Result<(), FetchError> {
    let extras = destination.unlisted(&|path| files.find(path).is_some())?;
    let Some(first) = extras.first() else { return Ok(()) };
    let why = Unpruned::Foreign { first: first.path.clone(), count: extras.len() };
    Err(FetchError::NotPruned { folder, why })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) if ended.is_panic() => Err(FetchError::Bug),
        Err(_) => Err(FetchError::Stopped { progress: FetchProgress::default() }),
    }
}

/// Tells how far it is.
#[derive(Default)]
struct Pulse {
    beats: u64,
    told: Option<FetchProgress>,
}

impl Pulse {
    fn beat(&mut self, run: &Run, observer: &dyn Observer) {
        let now = Instant::now();
        let board = &run.board;
        let chunk = run.engine.get().map_or(0, |engine| engine.files.chunk_size().bytes());
        board.roster().tick(now, board.least, chunk);
        board.changed.notify_waiters();
        board.shortened.notify_waiters();
        self.beats += 1;
        if self.beats.is_multiple_of(3) {
            self.progress(run, observer);
        }
        let second = self.beats.is_multiple_of(10);
        let news = board.roster().news(now, second);
        news.into_iter().for_each(|status| observer.event(Event::Source(status)));
        if second && let Some(waiting) = waiting(run, now) {
            observer.event(Event::Waiting(waiting));
        }
    }

    fn progress(&mut self, run: &Run, observer: &dyn Observer) -> FetchProgress {
        let progress = run.board.progress();
        // Nobody can tell how far it is before it is known what is wanted.
        if run.engine.get().is_some() && self.told != Some(progress) {
            self.told = Some(progress);
            observer.event(Event::Progress(progress));
        }
        progress
    }

    /// How it was in the end: the figures and the sources that were told last.
    fn last(&mut self, run: &Run, observer: &dyn Observer) -> (FetchProgress, Vec<SourceStatus>) {
        let progress = self.progress(run, observer);
        let now = Instant::now();
        // Whatever a source is asked for still, nobody waits for.
        let at_rest = |mut status: SourceStatus| {
            if status.state == SourceState::Active {
                status.state = SourceState::Idle;
            }
            status
        };
        let news = run.board.roster().news(now, false);
        news.into_iter().for_each(|status| observer.event(Event::Source(at_rest(status))));
        (progress, run.board.roster().statuses(now).into_iter().map(at_rest).collect())
    }
}

fn waiting(run: &Run, now: Instant) -> Option<crate::event::Waiting> {
    let path = |engine: &Engine, file| Some(engine.targets.get(&file)?.path.as_str().to_owned());
    let oldest = run.engine.get().and_then(|engine| {
        let (source, file, chunks) = engine.schedule().oldest()?;
        Some((path(engine, file)?, chunks, source))
    });
    let next = || {
        // Before it is known what is wanted, the head is what everything waits for.
        let Some(engine) = run.engine.get() else { return Some(HEAD.to_owned()) };
        let next = engine.schedule().pending_files().next();
        let next = next.or_else(|| lock(&engine.layerless).front().copied());
        path(engine, next?)
    };
    run.board.waiting(oldest, next, now)
}

#[cfg(test)]
mod power_cuts;
