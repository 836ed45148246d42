//! `fetch`: a model from many untrusted sources.

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, mpsc},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use globset::GlobSet;
use http::{HeaderName, HeaderValue};
use tokio::runtime::Runtime;
use weighbridge_bandwidth::{Class, Peer};
use weighbridge_manifest::{TrustError, VerifiedHead, shown};
use weighbridge_store::{Existing, FOLDER, PARTIAL, read_bounded, shown_path};
use weighbridge_swarm::Ticket;
use weighbridge_transfer::{
    AnotherModel, Blame, Event, FetchError, FetchProgress, Fetched, Missing, Observer, Options, SourceError,
    SourceFactory, SourceId, SourceOptions, SourceState, SourceStatus, Sources, Stop, Unlisted, Wanted,
    Watchdog, fetch,
};
use weighbridge_tree::{Coded, ErrorCode, HeadId};

use crate::{
    args::Fetch,
    bandwidth,
    destination::Destination,
    events::{
        self,
        values::{Code, Hash},
    },
    failure::{DENIED_BY_HUB, Failure},
    fetch_json,
    fetch_view::{Counts, View, blamed},
    memory::Unaccepted,
    output::{Output, count, size},
    signals::{self, Signal},
    swarm::{self, Joined},
    trust::{self, Demand},
    weigh::globs,
};

pub(crate) mod hub_home;
pub(crate) mod hub_name;
mod hub_token;
use hub_token::HubToken;

pub(crate) fn run(mut args: Fetch, output: &Output, stop: &Stop) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(|error| {
        Failure::new(ErrorCode::IO, format!("cannot start the threads of a fetch: {error}"))
    })?;
    let factory = SourceFactory::new();
    let ticket = ticket(&args, &factory, &runtime)?;
    if let Some(ticket) = &ticket {
        args.which.name.get_or_insert_with(|| ticket.name.clone());
    }
    if !args.any_name && args.which.name.is_none() && args.which.head.is_none() {
        args.which.name = Some(hub_name::wanted(&args.sources)?.ok_or_else(which_model)?);
    }
    let args = &args;
    let demand = Demand::of(&args.trust, &args.which, output)?;
    let mut options = options(args, &factory, &demand)?;
    let existing = if args.replace { Existing::Replace } else { Existing::Keep };
    let into = Destination::open(&args.into, args.which.name.as_ref(), existing, output)?;
    options.into = into.folder();
    let names: Vec<String> = options
        .sources
        .names()
        .into_values()
        .chain(options.metadata.iter().map(|source| source.name().to_owned()))
        .collect();
    let joined = ticket.map(|ticket| {
        let is_whole = options.wanted.files.is_none() && options.wanted.tensors.is_none();
        // Every member fetches the release of the ticket. Who signed it is judged as ever.
        options.expected = options.expected.clone().head(ticket.head);
        Joined::join(&args.membership, ticket, is_whole, &options.sources, &runtime, output)
    });
    let joined = joined.transpose()?;
    options.guide = joined.as_ref().map(Joined::guide);
    let watcher = Watcher::new(output, names, &options.sources, &demand, stop, into.is_cache());
    let ended = thread::scope(|scope| {
        let (tell, heard) = mpsc::channel();
        let signals = tell.clone();
        // If this fails, a signal ends the fetch like any process; durable bytes stay durable.
        if !output.is_embedded() {
            let _ = signals::listen(&runtime, move |signal| {
                // After the end of the fetch nobody receives the signal.
                let _ = signals.send(Heard::Signal(signal));
            });
        }
        let watcher = &watcher;
        scope.spawn(move || end_by_signal(&heard, watcher, scope));
        let _ended = Ended(tell);
        runtime.block_on(fetch(options, watcher, stop))
    });
    let ended = watcher.end(ended, into, joined.as_ref());
    if let Some(joined) = joined {
        joined.end(ended.is_ok(), &runtime, output, stop);
    }
    // Do not wait for reads of a file system that does not answer.
    runtime.shutdown_background();
    ended
}

fn which_model() -> Failure {
    Failure::usage("which model is wanted was not said").hint(
        "name it with --name ORG/MODEL or --head ID: a source could serve another model of the same publisher; \
         --any-name takes whichever it is, and hf://ORG/MODEL names it too",
    )
}

/// The ticket of the swarm, if one is to be joined: from a file, or from an address with the headers that are given for it.
fn ticket(args: &Fetch, factory: &SourceFactory, runtime: &Runtime) -> Result<Option<Ticket>, Failure> {
    let Some(place) = &args.membership.swarm else { return Ok(None) };
    let Some(address) = swarm::address(place) else { return swarm::ticket(place).map(Some) };
    let options = source_options(address, headers(args)?.remove(address).unwrap_or_default());
    swarm::ticket_of(factory, address, &options, runtime).map(Some)
}

/// Turns the arguments into the options of the library, but for the folder.
fn options(args: &Fetch, factory: &SourceFactory, demand: &Demand<'_>) -> Result<Options, Failure> {
    let headers = headers(args)?;
    // A source that is named twice gets its headers both times.
    let source_options =
        |text: &String| source_options(text, headers.get(text.as_str()).cloned().unwrap_or_default());
    let usage = |error: SourceError| {
        let failure = Failure::usage(error.to_string());
        match error {
            SourceError::Credentials(_) => failure.hint(
                "put keys into the environment: `aws configure export-credentials --format env` prints those of a profile",
            ),
            _ => failure,
        }
    };
    let source = |text: &String| factory.parse(text, &source_options(text)).map_err(usage);
    let metadata = |text: &String| factory.parse_metadata(text, &source_options(text)).map_err(usage);
    let patterns = |patterns: &[String]| -> Result<Option<GlobSet>, Failure> {
        if patterns.is_empty() { Ok(None) } else { globs(patterns).map(Some) }
    };
    Ok(Options {
        sources: args.sources.iter().map(source).collect::<Result<Vec<_>, _>>()?.into(),
        metadata: args.meta.as_ref().map(metadata).transpose()?,
        into: PathBuf::new(),
        policy: demand.policy.clone(),
        expected: demand.beforehand()?,
        now: demand.now,
        wanted: Wanted { files: patterns(&args.only)?, tensors: patterns(&args.tensor)? },
        unlisted: if args.prune { Unlisted::Prune } else { Unlisted::Report },
        another_model: if args.replace { AnotherModel::Replace } else { AnotherModel::Refuse },
        memory: args.memory,
        receive: bandwidth::budget(args.limit_rate.clone()).share(Class::Rest, Peer::unique()),
        watchdog: Watchdog::default(),
        guide: None,
        nearby: None,
    })
}

/// How a source is asked that the caller names: a hub by this user's token, others by none.
pub(crate) fn source_options(source: &str, headers: Vec<Header>) -> SourceOptions {
    let hub_endpoint = env::var("HF_ENDPOINT").ok().filter(|value| !value.is_empty());
    let options = SourceOptions { headers, hub_endpoint, ..SourceOptions::default() };
    match is_of_hub(source).then(HubToken::of_environment).flatten() {
        Some(HubToken::Given(token)) => SourceOptions { hub_token: Some(token), ..options },
        Some(HubToken::Kept(token)) => SourceOptions { kept_hub_token: Some(token), ..options },
        None => options,
    }
}

/// Whether a source is named as one of a hub.
pub(crate) fn is_of_hub(source: &str) -> bool {
    source.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("hf"))
}

type Header = (HeaderName, HeaderValue);

/// The headers for each source, by the source's text on the command line.
fn headers(args: &Fetch) -> Result<BTreeMap<&str, Vec<Header>>, Failure> {
    let mut headers: BTreeMap<&str, Vec<Header>> = BTreeMap::new();
    for pair in args.header.chunks_exact(2) {
        let [source, line] = pair else { continue };
        let ticket = args.membership.swarm.as_deref().and_then(swarm::address);
        if ticket != Some(source) && !args.sources.iter().chain(&args.meta).any(|named| named == source) {
            let message = format!("--header: {} is no source of this fetch", shown(source));
            return Err(
                Failure::usage(message).hint("name the source in the same words as on the command line")
            );
        }
        let of_source = headers.entry(source.as_str()).or_default();
        let Some(path) = line.strip_prefix('@').map(Path::new) else {
            of_source.push(header(line).ok_or_else(|| not_a_header("--header: the line"))?);
            continue;
        };
        let bytes = read_bounded(path, MAX_HEADERS)?;
        let text = String::from_utf8(bytes).map_err(|_| not_a_header("the text").about(path))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let about = || not_a_header(&format!("line {}", number + 1)).about(path);
            of_source.push(header(line).ok_or_else(about)?);
        }
    }
    Ok(headers)
}

fn header(line: &str) -> Option<Header> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::try_from(value.trim()).ok()?;
    // Any header may be a secret.
    value.set_sensitive(true);
    Some((HeaderName::try_from(name.trim()).ok()?, value))
}

/// The message does not show the line, which may hold a secret.
fn not_a_header(what: &str) -> Failure {
    Failure::usage(format!("{what} is not a header")).hint("a header is written `Name: value`")
}

/// The longest file of headers.
const MAX_HEADERS: u64 = 64 << 10;

/// Reports the fetch, and keeps everything that is reported at the end.
struct Watcher<'a> {
    output: &'a Output,
    /// The names of the sources, by number. Members of a swarm come while the fetch runs.
    names: RwLock<Vec<String>>,
    sources: Sources,
    demand: &'a Demand<'a>,
    stop: &'a Stop,
    /// Whether the model is put into a cache.
    is_cached: bool,
    view: Mutex<View>,
    seen: Mutex<Seen>,
}

/// Locked for moments only, never while something is printed: an end by force needs the lock.
#[derive(Default)]
struct Seen {
    head: Option<HeadId>,
    progress: FetchProgress,
    sources: BTreeMap<SourceId, SourceStatus>,
    /// The command's own reason to end the fetch.
    failure: Option<Failure>,
    /// The signal that asked for the end of the fetch.
    signal: Option<Signal>,
    /// By source: for how long it was asked for bytes, and the time since which it is being asked again.
    asked: BTreeMap<SourceId, (Duration, Option<Instant>)>,
    speed: Speed,
}

/// The bytes of a fetch over time.
#[derive(Default)]
struct Speed {
    began: Option<Instant>,
    /// The bytes that were verified at some times, over the last second.
    last: VecDeque<(Instant, u64)>,
    /// The most bytes that were verified in a second, per second.
    best: f64,
    /// When a byte was verified last.
    ended: Option<Instant>,
}

impl Speed {
    fn begin() -> Self {
        Self { began: Some(Instant::now()), ..Self::default() }
    }

    fn add(&mut self, verified: u64) {
        let now = Instant::now();
        if self.last.back().is_none_or(|(_, before)| *before < verified) {
            self.ended = Some(now);
        }
        self.last.push_back((now, verified));
        while let Some((then, before)) = self.last.front().copied() {
            let seconds = now.duration_since(then).as_secs_f64();
            if seconds < 1.0 {
                break;
            }
            self.best = self.best.max(verified.saturating_sub(before) as f64 / seconds);
            self.last.pop_front();
        }
    }

    /// The seconds from the head to the last byte.
    fn seconds(&self) -> f64 {
        self.began.zip(self.ended).map_or(0.0, |(began, ended)| ended.duration_since(began).as_secs_f64())
    }
}

impl Seen {
    fn source(&mut self, status: &SourceStatus) {
        let (asked, since) = self.asked.entry(status.source).or_default();
        *asked += since.take().map(|since: Instant| since.elapsed()).unwrap_or_default();
        *since = (status.state == SourceState::Active).then(Instant::now);
        self.sources.insert(status.source, status.clone());
    }

    /// The part of the swarm in the fetch.
    fn part(&self, joined: &Joined, verified: u64) -> events::swarm::Part {
        let figures = joined.figures();
        let seconds = self.speed.seconds();
        events::swarm::Part {
            members: u64::try_from(figures.most_members).unwrap_or(u64::MAX),
            from_members: figures.taken,
            from_origin: figures.of_origin,
            sent: figures.sent,
            seconds,
            bound: if self.speed.best > 0.0 {
                (verified as f64 / self.speed.best).min(seconds)
            } else {
                seconds
            },
        }
    }

    /// Whether a source was asked for bytes for a while and gave none, although the fetch ended too early to blame it.
    fn is_silent(&self, status: &SourceStatus) -> bool {
        let asked = self.asked.get(&status.source).map(|(asked, _)| *asked);
        status.verified == 0 && asked.is_some_and(|asked| asked >= SILENT)
    }
}

/// The time without an answer after which a source that was asked is reported as silent.
const SILENT: Duration = Duration::from_secs(1);

impl<'a> Watcher<'a> {
    fn new(
        output: &'a Output,
        names: Vec<String>,
        sources: &Sources,
        demand: &'a Demand<'a>,
        stop: &'a Stop,
        is_cached: bool,
    ) -> Self {
        let view = Mutex::new(View::new(output, &names, Counts::Verified));
        let (names, sources) = (RwLock::new(names), sources.clone());
        Self { output, names, sources, demand, stop, is_cached, view, seen: Mutex::default() }
    }

    /// The names of the sources until now.
    fn names(&self) -> RwLockReadGuard<'_, Vec<String>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns the name of a source that has joined.
    fn learn(&self, source: SourceId) {
        if source.number() < self.names().len() {
            return;
        }
        let there = self.sources.names();
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        for number in names.len()..=source.number() {
            let name = there.get(&SourceId::new(number)).cloned();
            names.push(name.unwrap_or_else(|| "a member that has left".to_owned()));
        }
        self.view().rename(&names);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the end of the fetch, and returns its result.
    fn end(
        self,
        ended: Result<Fetched, FetchError>,
        into: Destination,
        joined: Option<&Joined>,
    ) -> Result<(), Failure> {
        let names = self.names.into_inner().unwrap_or_else(PoisonError::into_inner);
        let names = names.as_slice();
        let mut seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut folder = None;
        if let (None, Ok(fetched)) = (&seen.failure, &ended) {
            match into.publish(fetched.head.id(), |path| fetched.files.binary_search(path).is_ok()) {
                Ok(place) => folder = Some(place),
                Err(failure) => seen.failure = Some(failure),
            }
        }
        let view = self.view.into_inner().unwrap_or_else(PoisonError::into_inner);
        let output = self.output;
        let progress = ended.as_ref().map_or(seen.progress, |fetched| fetched.progress);
        view.finish(output, &progress);
        let told = |status: &&SourceStatus| status.blame.is_some() || seen.is_silent(status);
        let told: Vec<&SourceStatus> = seen.sources.values().filter(told).collect();
        let (code, text) = match (&seen.failure, &ended) {
            (Some(failure), _) => (Some(failure.code), String::new()),
            (None, Ok(fetched)) => (None, done(fetched, folder.as_deref(), self.is_cached)),
            (None, Err(error)) => (Some(error.error_code()), String::new()),
        };
        // If no source could deliver, the error's hints name each source.
        let named_later = matches!(ended, Err(FetchError::NoSource { .. }));
        let lines = told.iter().filter(|_| !named_later).map(|status| source_line(status, names));
        let text: Vec<String> = lines.chain(Some(text).filter(|text| !text.is_empty())).collect();
        let ended_well = ended.as_ref().ok().filter(|_| code.is_none());
        output.result(&text.join("\n"), || events::fetch::Result {
            fetched: code.is_none(),
            code: code.map(Code::from),
            head: seen.head.map(Hash::from),
            folder: folder.as_deref().map(Path::to_string_lossy),
            files: ended_well.map(|fetched| number(&fetched.files)),
            partial: ended_well.map(|fetched| fetched.partial),
            bytes: ended_well.map(|fetched| fetched.bytes),
            sources: seen.sources.values().map(|status| fetch_json::source(status, names)).collect(),
            swarm: joined.map(|joined| seen.part(joined, progress.verified)),
            missing: missing(&ended),
            progress: progress.into(),
        });
        match (seen.failure, ended) {
            (Some(failure), _) => Err(failure),
            (None, Ok(_)) => Ok(()),
            (None, Err(error)) => {
                // After a signal the fetch may still fail for another reason.
                let signal = seen.signal.filter(|_| matches!(error, FetchError::Stopped { .. }));
                Err(Failure { signal, ..failure(error, names) })
            }
        }
    }
}

impl Observer for Watcher<'_> {
    fn accept_head(&self, head: &VerifiedHead, _note: &[u8]) -> Result<(), TrustError> {
        let kept = match self.demand.accept(head) {
            Ok(kept) => kept,
            Err(Unaccepted::Head(error)) => return Err(error),
            Err(Unaccepted::Memory(failure)) => {
                self.seen().failure = Some(failure);
                self.stop.ask();
                return Ok(());
            }
        };
        self.seen().head = Some(head.id());
        self.view().aside(|| {
            trust::print(head, self.output);
            if let Some(kept) = kept {
                kept.tell(self.output);
            }
        });
        Ok(())
    }

    fn event(&self, event: Event) {
        match &event {
            Event::Head(_) => self.seen().speed = Speed::begin(),
            Event::Progress(progress) => {
                let mut seen = self.seen();
                seen.progress = *progress;
                seen.speed.add(progress.verified);
            }
            Event::Source(status) => {
                self.learn(status.source);
                self.seen().source(status);
            }
            Event::Waiting(waiting) => waiting.from.iter().for_each(|from| self.learn(*from)),
            _ => {}
        }
        if self.is_cached && matches!(event, Event::Extra { .. }) {
            return;
        }
        if !self.output.is_json() {
            self.view().show(&event, self.output);
        } else if let Some(event) = fetch_json::object(&event, &self.names()) {
            self.output.object(&*event);
        }
    }
}

/// The lines of a fetch that ended well, with the model in `folder`.
fn done(fetched: &Fetched, folder: Option<&Path>, is_cached: bool) -> String {
    let Fetched { head, bytes, files, partial, .. } = fetched;
    let folder = folder.unwrap_or(Path::new(""));
    let (in_part, mut lines) = match partial {
        0 => (String::new(), Vec::new()),
        n => {
            let place = folder.join(FOLDER).join(PARTIAL);
            let line = format!(
                "partial  in {}; `weighbridge verify --partial` says what is there",
                shown_path(place)
            );
            (format!(" and {n} more in part"), vec![line])
        }
    };
    if is_cached {
        lines.push(format!("wrote    {}", shown_path(folder)));
    }
    let files = count(number(files), "file");
    lines.push(format!("fetched  {files}{in_part}, {}; head {}", size(*bytes), head.id()));
    lines.join("\n")
}

fn number<T>(things: &[T]) -> u64 {
    u64::try_from(things.len()).unwrap_or(u64::MAX)
}

/// The chunks that no source could deliver.
fn missing(ended: &Result<Fetched, FetchError>) -> Vec<events::fetch::MissingChunks<'_>> {
    let Err(FetchError::NoSource { missing, .. }) = ended else { return Vec::new() };
    let runs = |missing: &Missing| missing.chunks.iter().map(|run| [run.start, run.end]).collect();
    missing
        .iter()
        .map(|missing| events::fetch::MissingChunks { file: missing.path.as_str(), chunks: runs(missing) })
        .collect()
}

/// The line of a source that is reported at the end of the fetch.
fn source_line(status: &SourceStatus, names: &[String]) -> String {
    if status.blame.is_some() {
        return format!("source   {}", of_source(status, names));
    }
    let name = names.get(status.source.number()).map_or("", String::as_str);
    format!("source   {}  gave nothing, asked for more than a second", shown(name))
}

/// The blame of a source, or its last state if it has none.
fn of_source(status: &SourceStatus, names: &[String]) -> String {
    let name = names.get(status.source.number()).map_or("", String::as_str);
    let what = status.blame.as_ref().map_or_else(|| status.state.word().to_owned(), blamed);
    format!("{}  {what}", shown(name))
}

/// The failure with the names of the sources, which the library's error does not hold.
fn failure(error: FetchError, names: &[String]) -> Failure {
    let FetchError::NoSource { sources, .. } = &error else { return error.into() };
    let mut hints: Vec<String> = sources.iter().map(|status| of_source(status, names)).collect();
    if sources.iter().any(|status| is_denied_by_hub(status, names)) {
        hints.push(DENIED_BY_HUB.to_owned());
    }
    let mut failure = Failure::from(error);
    failure.hints.splice(0..0, hints);
    failure
}

fn is_denied_by_hub(status: &SourceStatus, names: &[String]) -> bool {
    let denies = |why: &str| ["answers 401 ", "answers 403 "].iter().any(|words| why.contains(words));
    names.get(status.source.number()).is_some_and(|name| name.starts_with("hf://"))
        && matches!(&status.blame, Some((Blame::Refused, why)) if denies(why))
}

/// The messages of the thread that ends a fetch from outside.
enum Heard {
    Signal(Signal),
    End,
}

/// Reports the end of the fetch when dropped, also by a panic: the scope waits for the thread that listens to signals.
struct Ended(mpsc::Sender<Heard>);

impl Drop for Ended {
    fn drop(&mut self) {
        // After an end by a signal the receiver is gone.
        let _ = self.0.send(Heard::End);
    }
}

/// After a signal asks the fetch to end, and ends the process if the fetch does not end in time.
fn end_by_signal<'scope>(
    heard: &mpsc::Receiver<Heard>,
    watcher: &'scope Watcher<'_>,
    scope: &'scope Scope<'scope, '_>,
) {
    let Ok(Heard::Signal(signal)) = heard.recv() else { return };
    watcher.seen().signal = Some(signal);
    watcher.stop.ask();
    if let Ok(Heard::End) = heard.recv_timeout(GRACE) {
        return;
    }
    let (told, waits) = mpsc::channel();
    let failure = by_force(&watcher.seen().progress);
    scope.spawn(move || {
        if let Ok(view) = watcher.view.try_lock() {
            view.finish(watcher.output, &FetchProgress::default());
        }
        let _ = (watcher.output.fail(&failure), told.send(()));
    });
    // A blocked reader of our last words must not delay the end.
    let _ = waits.recv_timeout(LAST_WORDS);
    #[allow(
        clippy::exit,
        reason = "what does not end by itself is ended from here; what is on disk is of use"
    )]
    process::exit(signal.status().into())
}

/// The failure of a fetch that did not end by itself. The known state lacks the last sync.
fn by_force(progress: &FetchProgress) -> Failure {
    let there = match progress.wanted {
        0 => String::new(),
        wanted => format!("; at least {} of {} is on disk", size(progress.durable), size(wanted)),
    };
    Failure::new(ErrorCode::FETCH_STOPPED, format!("stopped by force{there}"))
        .hint("the same command goes on from there")
}

/// The maximum time for a fetch to end. Together with the last words, the end takes less than two seconds.
const GRACE: Duration = Duration::from_millis(1_600);
const LAST_WORDS: Duration = Duration::from_millis(200);
