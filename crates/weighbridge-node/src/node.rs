//! A node: what is asked for and is not here is fetched, once for all who ask.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use tokio::{sync::watch, task::spawn_blocking};
use tracing::{info, warn};
use weighbridge_bandwidth::{Budget, Class, Peer};
use weighbridge_manifest::{Expectation, ModelName, Time, TrustPolicy};
use weighbridge_serve::{Models, NoSupply, Supplier, Supplying};
use weighbridge_store::{CachedModel, Existing, IoError, Metadata, OpenModel, read_bounded};
use weighbridge_transfer::{
    AnotherModel, Guide, Options, SourceFactory, SourceOptions, Stop, Unlisted, Wanted, Watchdog, fetch,
};
use weighbridge_tree::HeadId;

use crate::{
    arriving::{Arriving, Ear, Stage},
    config::{Config, Origin},
    judge::{Accepting, Judge},
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
    me: Weak<Node>,
}

/// A fetch that runs.
#[derive(Clone, Debug)]
struct Running {
    found: watch::Receiver<Found>,
    stop: Arc<Stop>,
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
        Arc::new_cyclic(|me| Self {
            config,
            judge,
            models,
            receive,
            fetches: Mutex::default(),
            me: Weak::clone(me),
        })
    }

    fn fetches(&self) -> MutexGuard<'_, BTreeMap<ModelName, Running>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch of a model, which is begun if there is none.
    fn fetch_of(&self, name: &ModelName, origin: &Origin) -> Result<watch::Receiver<Found>, NoSupply> {
        let mut fetches = self.fetches();
        if let Some(fetch) = fetches.get(name) {
            return Ok(fetch.found.clone());
        }
        // One has ended since the client looked.
        if self.models.has(name) {
            return Ok(watch::channel(Some(Ok(()))).1);
        }
        if fetches.len() >= MAX_FETCHES {
            let message = format!("{MAX_FETCHES} models are being fetched already");
            return Err(NoSupply::NotNow { retry_after: RETRY, message });
        }
        let node = self.me.upgrade().ok_or_else(ending)?;
        let (tell, heard) = watch::channel(None);
        let (origin, wanted) = (origin.clone(), name.clone());
        let stop = Arc::new(Stop::default());
        fetches.insert(name.clone(), Running { found: heard.clone(), stop: Arc::clone(&stop) });
        tokio::spawn(async move {
            let ends = Ends(&node, &wanted);
            let ended = node.bring(&wanted, &origin, &tell, &stop).await;
            drop(ends);
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
        Ok(heard)
    }

    /// Fetches a model into the cache, and publishes it as soon as its lists are here.
    async fn bring(
        &self,
        name: &ModelName,
        origin: &Origin,
        tell: &watch::Sender<Found>,
        stop: &Stop,
    ) -> Result<(), NoSupply> {
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
            () = publish => return Ok(()),
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
                Ok(())
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
            let mut fetch = self.fetch_of(name, origin)?;
            fetch.wait_for(Option::is_some).await.map_err(|_| ending())?.clone().unwrap_or(Ok(()))
        })
    }

    /// Ends all fetches. The next fetch of a model goes on from what has come.
    fn end(&self) -> Supplying<'_, ()> {
        Box::pin(async {
            self.fetches().values().for_each(|running| running.stop.ask());
            loop {
                let Some(mut running) = self.fetches().values().next().cloned() else { return };
                // The sender goes when the fetch has ended.
                while running.found.changed().await.is_ok() {}
                tokio::task::yield_now().await;
            }
        })
    }
}

fn ending() -> NoSupply {
    NoSupply::NotNow { retry_after: RETRY, message: "the node is ending".to_owned() }
}
