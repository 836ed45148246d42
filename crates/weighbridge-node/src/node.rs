//! A node: what is asked for and is not here is fetched, once for all who ask.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};
use tracing::{info, warn};
use weighbridge_bandwidth::{Budget, Class, Peer};
use weighbridge_demand::Release;
use weighbridge_manifest::{Expectation, ModelName, Time, TrustPolicy};
use weighbridge_serve::{Models, NoSupply, Supplier, Supplying};
use weighbridge_store::{CachedModel, Existing, IoError, Metadata, OpenModel, distinct_bytes, read_bounded};
use weighbridge_transfer::{
    AnotherModel, Guide, Options, SourceFactory, SourceOptions, Stop, Unlisted, Wanted, Watchdog, fetch,
};
use weighbridge_tree::HeadId;

use crate::{
    arriving::{Arriving, Ear, Stage},
    config::{Config, Origin},
    judge::{Accepting, Judge},
    keeping::{self, Keeping, Teller, Told},
    nearby::Cached,
};

/// A cache of models that is filled while it is asked.
///
/// # Guarantee
/// However many clients ask for a model that is not here, one fetch of it runs.
///
/// # Cost
/// At most 16 models are fetched at once. Each takes about the memory of its fetch, and threads for its disk.
#[derive(Debug)]
pub struct Node {
    config: Config,
    judge: Arc<dyn Judge>,
    models: Arc<Models>,
    receive: Budget,
    fetches: Mutex<BTreeMap<ModelName, Running>>,
    /// Whether no fetch begins any more.
    is_ending: AtomicBool,
    clock: Clock,
    /// Tells what happens to the task that keeps the budget, while it runs.
    keeping: Mutex<Option<Kept>>,
    me: Weak<Node>,
}

/// The task that keeps to the budget, and its socket.
#[derive(Debug)]
struct Kept {
    teller: Teller,
    task: JoinHandle<()>,
    #[cfg(unix)]
    control: JoinHandle<()>,
}

/// The time since the Unix epoch.
struct Clock(Box<dyn Fn() -> Duration + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// A fetch that runs.
#[derive(Clone, Debug)]
struct Running {
    found: watch::Receiver<Found>,
    stop: Arc<Stop>,
    /// Whether no client has asked for it.
    is_ahead: bool,
}

/// Forgets a fetch that has ended, however it ended.
struct Ends<'a>(&'a Node, &'a ModelName);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetches().remove(self.1);
    }
}

/// The state of a fetch as a client sees it that waits for the model to be published.
type Found = Option<Result<(), NoSupply>>;

impl Node {
    /// A node that publishes what it has by `models`, which is to have the node's cache among its places,
    /// by the path of the configuration. That path has no links in it. What it fetches waits for `receive`, a budget by the rate of the
    /// configuration.
    #[must_use]
    pub fn new(config: Config, judge: Arc<dyn Judge>, models: Arc<Models>, receive: Budget) -> Arc<Self> {
        Self::with_clock(config, judge, models, receive, || {
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
        })
    }

    /// A node whose days and hours are those of a clock, which gives the time since the Unix epoch. By it asks are told apart and
    /// forecast; waits for sources go by the clock of the system.
    #[must_use]
    pub fn with_clock(
        config: Config,
        judge: Arc<dyn Judge>,
        models: Arc<Models>,
        receive: Budget,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Arc<Self> {
        let clock = Clock(Box::new(clock));
        Arc::new_cyclic(|me| Self {
            config,
            judge,
            models,
            receive,
            fetches: Mutex::default(),
            is_ending: AtomicBool::new(false),
            clock,
            keeping: Mutex::default(),
            me: Weak::clone(me),
        })
    }

    /// Begins to hold the budget of the configuration, if it has one: counts what is in the cache, and removes what exceeds it. The
    /// record of what was asked for, in the cache, is read, or begun anew if it is of no use. To be called once, before anybody asks.
    /// Requests are answered at a socket in the cache from then on (`ask`).
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`IoError`]: another node with a budget has this cache, or the socket cannot be made.
    ///
    /// # Panics
    /// Outside of a runtime of Tokio.
    pub fn keep_to_budget(&self) -> Result<(), IoError> {
        let Some(budget) = self.config.budget else { return Ok(()) };
        #[cfg(unix)]
        let control = crate::control::Control::bind(&self.config.cache)?;
        let (told, hears) = mpsc::unbounded_channel();
        let (hub, models) = (self.config.cache.clone(), Arc::clone(&self.models));
        let (keeping, teller) = Keeping::begin(hub, models, budget, told, self.now());
        let task = tokio::spawn(keeping::run(keeping, Weak::clone(&self.me), hears));
        *self.keeping() = Some(Kept {
            teller,
            task,
            #[cfg(unix)]
            control: tokio::spawn(control.run(Weak::clone(&self.me))),
        });
        Ok(())
    }

    fn keeping(&self) -> MutexGuard<'_, Option<Kept>> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, told: Told) {
        if let Some(kept) = &*self.keeping() {
            kept.teller.tell(told);
        }
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock.0)()
    }

    /// Whether a fetch runs.
    pub(crate) fn is_fetching(&self) -> bool {
        !self.fetches().is_empty()
    }

    /// The models that are fetched.
    #[cfg(unix)]
    pub(crate) fn fetching(&self) -> Vec<String> {
        self.fetches().keys().map(ToString::to_string).collect()
    }

    /// Ends the fetch of a model.
    pub(crate) fn stop(&self, name: &ModelName) {
        if let Some(running) = self.fetches().get(name) {
            running.stop.ask();
        }
    }

    /// Whether an origin has models of this name.
    pub(crate) fn has_origin(&self, name: &ModelName) -> bool {
        self.config.origin_of(name).is_some()
    }

    /// Begins to fetch a model for which nobody waits. Returns whether it has begun.
    pub(crate) fn fetch_ahead(&self, name: &ModelName) -> bool {
        let begun = self.config.origin_of(name).map(|origin| self.fetch_of(name, origin, true));
        // One whose end is known already is here.
        begun.is_some_and(|begun| begun.is_ok_and(|begun| begun.found.borrow().is_none()))
    }

    fn fetches(&self) -> MutexGuard<'_, BTreeMap<ModelName, Running>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch of a model, which is begun if there is none.
    fn fetch_of(&self, name: &ModelName, origin: &Origin, is_ahead: bool) -> Result<Running, NoSupply> {
        let mut fetches = self.fetches();
        if self.is_ending.load(Relaxed) {
            return Err(ending());
        }
        if let Some(fetch) = fetches.get_mut(name) {
            fetch.is_ahead &= is_ahead;
            return Ok(fetch.clone());
        }
        // One has ended since the client looked.
        if self.models.has(name) {
            let (found, stop) = (watch::channel(Some(Ok(()))).1, Arc::default());
            return Ok(Running { found, stop, is_ahead });
        }
        if fetches.values().filter(|fetch| !fetch.is_ahead).count() >= MAX_FETCHES {
            let message = format!("{MAX_FETCHES} models are being fetched already");
            return Err(NoSupply::NotNow { retry_after: RETRY, message });
        }
        // A client comes before whatever nobody waits for.
        fetches.values().filter(|fetch| fetch.is_ahead).for_each(|fetch| fetch.stop.ask());
        let node = self.me.upgrade().ok_or_else(ending)?;
        let (tell, heard) = watch::channel(None);
        let (origin, wanted) = (origin.clone(), name.clone());
        let stop = Arc::new(Stop::default());
        let running = Running { found: heard, stop: Arc::clone(&stop), is_ahead };
        fetches.insert(name.clone(), running.clone());
        tokio::spawn(async move {
            let ends = Ends(&node, &wanted);
            let began = Instant::now();
            let ended = node.bring(&wanted, &origin, &tell, &stop).await;
            node.tell(Told::Ended {
                name: wanted.clone(),
                received: ended.as_ref().ok().copied(),
                took: began.elapsed(),
                is_stopped: stop.is_asked(),
            });
            drop(ends);
            let ended = ended.map(|_| ());
            if let Err(why) = &ended {
                warn!(target: "weighbridge", model = wanted.as_str(), "not fetched: {why:?}");
            }
            // Those who wait still, and those who waited for the model to be published.
            tell.send_if_modified(|found| {
                let is_open = found.is_none();
                found.get_or_insert(ended);
                is_open
            });
        });
        Ok(running)
    }

    /// Fetches a model into the cache, and publishes it as soon as its lists are here. Returns the bytes that were received.
    async fn bring(
        &self,
        name: &ModelName,
        origin: &Origin,
        tell: &watch::Sender<Found>,
        stop: &Stop,
    ) -> Result<u64, NoSupply> {
        let factory = SourceFactory::new();
        let headers = match origin.token.clone() {
            Some(token) => blocking(move || authorization(&token)).await?.map_err(|error| refused(&error))?,
            None => Vec::new(),
        };
        let source = |source: &String| {
            let is_http = source.split_once("://").is_some_and(|(scheme, _)| scheme.starts_with("http"));
            let headers = if is_http { headers.clone() } else { Vec::new() };
            factory.parse(source, &SourceOptions { headers, ..SourceOptions::default() })
        };
        let sources: Result<Vec<_>, _> = origin.sources_of(name).iter().map(source).collect();
        let sources = sources.map_err(|error| refused(&error))?;
        let (hub, wanted) = (self.config.cache.clone(), name.clone());
        let open = move || CachedModel::open(&hub, &wanted, Existing::Replace, |_| {});
        let cached = blocking(open).await?.map_err(|error| refused(&error))?;
        let (judge, named) = (Arc::clone(&self.judge), name.clone());
        let demand = blocking(move || judge.demand(&named)).await?;
        let (policy, expected) = demand.map_err(|message| NoSupply::Refused { message })?;
        let ear = Ear::new();
        let guide: Arc<dyn Guide> = Arc::<Ear>::clone(&ear);
        let options = Options {
            sources: sources.into(),
            metadata: None,
            into: cached.incoming(),
            policy: policy.clone(),
            expected: expected.named(name.clone()),
            now: now(),
            wanted: Wanted::default(),
            unlisted: Unlisted::Report,
            another_model: AnotherModel::Replace,
            memory: self.config.memory,
            receive: self.receive.share(Class::Rest, Peer::unique()),
            watchdog: Watchdog::default(),
            guide: Some(guide),
            nearby: Some(Arc::new(Cached(Arc::clone(&self.models)))),
        };
        let accepting = Accepting { judge: &*self.judge, policy, stop, trouble: Mutex::default() };
        let mut begun = ear.news.subscribe();
        let coming: OnceLock<(HeadId, Arc<Arriving>)> = OnceLock::new();
        let publish = async {
            if begun.wait_for(|news| news.begun).await.is_ok()
                && let Some(holding) = ear.holding.get()
            {
                let head = holding.files().head().id();
                let (release, size) = (Release::new(name.clone(), head), distinct_bytes(holding.files()));
                self.tell(Told::Begun { release, size });
                let arriving =
                    Arc::new(Arriving::new(holding.clone(), Arc::clone(&ear), cached.snapshot_of(head)));
                match self.models.publish_coming(Arc::<Arriving>::clone(&arriving)) {
                    Ok(()) => {
                        let _ = coming.set((head, arriving));
                        tell.send_replace(Some(Ok(())));
                    }
                    Err(error) => warn!(target: "weighbridge", "not served while it comes: {error}"),
                }
            }
            std::future::pending::<()>().await;
        };
        let fetched = tokio::select! {
            fetched = fetch(options, &accepting, stop) => fetched,
            () = publish => return Ok(0),
        };
        let placed = match fetched {
            Ok(fetched) => {
                let head = ear.holding.get().map(|holding| holding.files().head().id());
                let publish = move || head.map(|head| cached.publish(head, |_| true));
                match blocking(publish).await? {
                    Some(Ok(snapshot)) => Ok((snapshot, fetched)),
                    Some(Err(error)) => Err(refused(&error)),
                    None => Err(NoSupply::Refused { message: "nothing has come".to_owned() }),
                }
            }
            Err(error) => Err(NoSupply::NotNow {
                retry_after: RETRY,
                message: accepting.take_trouble().unwrap_or_else(|| error.to_string()),
            }),
        };
        let coming = coming.into_inner();
        match placed {
            Ok((snapshot, fetched)) => {
                let (received, copied) = (fetched.progress.received, fetched.nearby);
                info!(target: "weighbridge", model = name.as_str(), received, copied, "is in the cache");
                let models = Arc::clone(&self.models);
                let (head, arriving) = coming.unzip();
                let opened = blocking(move || {
                    let view = head.and_then(|head| {
                        let expected = Expectation::any().head(head).allow_expired();
                        let (policy, metadata) = (TrustPolicy::pinned(head), Metadata::of_model(&snapshot));
                        OpenModel::open(&snapshot, &metadata, &policy, &expected, None).ok()
                    });
                    models.look_at_now(&snapshot);
                    view.map(|opened| opened.view)
                })
                .await?;
                if let Some((arriving, view)) = arriving.zip(opened) {
                    let _ = arriving.placed.set(view);
                }
                ear.end(Stage::Done);
                Ok(received)
            }
            Err(why) => {
                ear.end(Stage::Failed(format!("{why:?}")));
                if let Some((head, _)) = coming {
                    self.models.withdraw_coming(name, head);
                }
                Err(why)
            }
        }
    }
}

/// The time by this machine's clock, if it is one that heads may have.
fn now() -> Option<Time> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Time::from_unix(i64::try_from(since.as_secs()).ok()?)
}

/// The most models that are fetched at once. *Names cost nothing to whoever asks.*
const MAX_FETCHES: usize = 16;

/// The seconds after which a fetch that has ended is worth another try.
const RETRY: u32 = 10;

/// The header with the token of a file.
fn authorization(file: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, IoError> {
    let token = read_bounded(file, MAX_TOKEN)?;
    let token = token.trim_ascii();
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
    let no_token = |_| io::Error::new(io::ErrorKind::InvalidData, "it has no token");
    let mut value = value.map_err(no_token).map_err(IoError::at("use", file))?;
    value.set_sensitive(true);
    Ok(vec![(AUTHORIZATION, value)])
}

/// The longest file of a token.
const MAX_TOKEN: u64 = 64 << 10;

fn refused(error: &dyn fmt::Display) -> NoSupply {
    NoSupply::Refused { message: error.to_string() }
}

/// Runs a call that may block on a disk on a thread where it delays no other task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoSupply> {
    spawn_blocking(work).await.map_err(|_| NoSupply::Refused { message: "the node is ending".to_owned() })
}

impl Supplier for Node {
    fn supply<'a>(&'a self, name: &'a ModelName) -> Supplying<'a, Result<(), NoSupply>> {
        Box::pin(async move {
            let origin = self.config.origin_of(name).ok_or(NoSupply::Unknown)?;
            loop {
                let mut fetch = self.fetch_of(name, origin, false)?;
                let found = fetch.found.wait_for(Option::is_some).await.map_err(|_| ending())?;
                match found.clone().unwrap_or(Ok(())) {
                    // Nobody waited for it when it was stopped.
                    Err(_) if fetch.stop.is_asked() => {}
                    found => return found,
                }
            }
        })
    }

    fn asked(&self, name: &ModelName) {
        // Somebody reads what comes: its fetch is not ended for another client.
        if let Some(fetch) = self.fetches().get_mut(name) {
            fetch.is_ahead = false;
        }
        if let Some(kept) = &*self.keeping() {
            kept.teller.asked(name);
        }
    }

    /// Ends all fetches, and writes down what was asked for. The next fetch of a model goes on from what has come.
    fn end(&self) -> Supplying<'_, ()> {
        Box::pin(async {
            self.is_ending.store(true, Relaxed);
            self.fetches().values().for_each(|running| running.stop.ask());
            loop {
                let Some(mut running) = self.fetches().values().next().cloned() else { break };
                // The sender goes when the fetch has ended.
                while running.found.changed().await.is_ok() {}
                tokio::task::yield_now().await;
            }
            let keeping = self.keeping().take();
            if let Some(kept) = keeping {
                #[cfg(unix)]
                kept.control.abort();
                drop(kept.teller);
                let _ = kept.task.await;
            }
        })
    }
}

fn ending() -> NoSupply {
    NoSupply::NotNow { retry_after: RETRY, message: "the node is ending".to_owned() }
}
