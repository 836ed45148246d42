//! Carries out what a `Keeper` decides: models are kept, removed, and fetched while nobody waits (`spec/node.md`, N8 to N13).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};
use weighbridge_demand::{Answer, Eviction, Keeper, Release};
use weighbridge_manifest::ModelName;
use weighbridge_serve::Models;
use weighbridge_store::{CachedModel, Usage};
use weighbridge_tree::HeadId;

#[cfg(unix)]
use crate::control::{Passing, Reply, Request, State};
use crate::{node::Node, record::RecordFile};

/// Something that a keeping hears of.
#[derive(Debug)]
pub(crate) enum Told {
    /// A request for a model that is published.
    Asked(ModelName),
    /// A fetch knows its head, and the bytes of the release's files, each file once.
    Begun { release: Release, size: u64 },
    /// A fetch has ended.
    Ended {
        name: ModelName,
        /// The bytes that it has received, if it has brought all.
        received: Option<u64>,
        took: Duration,
        /// Whether it was asked to end.
        is_stopped: bool,
    },
    /// A person asks at the socket.
    #[cfg(unix)]
    Request(Request, oneshot::Sender<Reply>),
}

/// Tells a keeping what happens.
#[derive(Debug)]
pub(crate) struct Teller {
    told: UnboundedSender<Told>,
    /// The models whose requests are told and not heard yet: each takes one place in the queue.
    asked: Arc<Mutex<BTreeSet<ModelName>>>,
}

impl Teller {
    pub(crate) fn asked(&self, name: &ModelName) {
        if self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            self.tell(Told::Asked(name.clone()));
        }
    }

    pub(crate) fn tell(&self, told: Told) {
        // Nobody hears it once the node is ending.
        let _ = self.told.send(told);
    }
}

/// The models of a cache, and what is decided about them.
///
/// All calls block on the disk.
#[derive(Debug)]
pub(crate) struct Keeping {
    keeper: Keeper,
    hub: PathBuf,
    models: Arc<Models>,
    asked: Arc<Mutex<BTreeSet<ModelName>>>,
    /// The models of which files are on the disk, or are coming.
    here: BTreeMap<ModelName, Here>,
    /// The models that are in use.
    in_use: BTreeMap<ModelName, InUse>,
    /// The release that is fetched ahead.
    ahead: Option<Release>,
    no_ahead_before: Duration,
    /// Whether something has happened since the keeper was asked what to fetch ahead.
    is_news: bool,
    record: RecordFile,
}

/// A model on the disk.
#[derive(Debug)]
struct Here {
    release: Release,
    /// The bytes of all files of the release.
    size: u64,
    /// Those that were on the disk when they were counted.
    bytes: u64,
    is_kept: bool,
    is_coming: bool,
    /// When its fetch began.
    since: Duration,
}

/// A model that is in use.
#[derive(Debug)]
struct InUse {
    /// The release that was asked for.
    release: Release,
    /// The last request.
    last: Duration,
}

/// A model is in use for so long after a request.
const QUIET: Duration = Duration::from_secs(60);
/// The pause after a fetch ahead that did not succeed.
const PAUSE: Duration = Duration::from_secs(600);
/// The time between two looks at what has ended by itself.
const TICK: Duration = Duration::from_secs(1);

impl Keeping {
    /// Counts what is in the cache, and removes what exceeds the budget.
    pub(crate) fn begin(
        hub: PathBuf,
        models: Arc<Models>,
        budget: u64,
        told: UnboundedSender<Told>,
        now: Duration,
    ) -> (Self, Teller) {
        let record = RecordFile::at(&hub);
        let keeper = record.read(budget, now);
        let asked = Arc::<Mutex<BTreeSet<_>>>::default();
        let teller = Teller { told, asked: Arc::clone(&asked) };
        let (here, in_use) = (BTreeMap::new(), BTreeMap::new());
        let mut keeping = Self {
            keeper,
            hub,
            models,
            asked,
            here,
            in_use,
            ahead: None,
            no_ahead_before: Duration::ZERO,
            is_news: true,
            record,
        };
        let names = fs::read_dir(&keeping.hub).into_iter().flatten().filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let name = name.to_str()?.strip_prefix("models--")?.replacen("--", "/", 1);
            ModelName::parse(&name).ok()
        });
        for name in names.collect::<Vec<_>>() {
            keeping.find(&name, now);
        }
        let evictions = keeping.keeper.set_budget(budget, now);
        keeping.evict(&evictions, None, now);
        (keeping, teller)
    }

    /// Counts a model that is on the disk though this node has not fetched it.
    fn find(&mut self, name: &ModelName, now: Duration) {
        let usage = self.usage(name);
        let bytes = usage.bytes();
        if bytes == 0 {
            return;
        }
        // Bytes of a release that is not known are worth nothing.
        let known = || self.keeper.latest(name).cloned();
        let none = || Release::new(name.clone(), HeadId::from_bytes([0; 32]));
        let (release, size) = match usage.main {
            Some((head, size)) => (Release::new(name.clone(), head), size),
            None => (known().unwrap_or_else(none), bytes.saturating_add(1)),
        };
        if usage.main.is_some() {
            self.replaces(&release, now);
        }
        // Of a release of which a part is here the size is not known, unless it was before.
        if usage.main.is_some() || self.keeper.latest(name).is_none() {
            self.keeper.described(&release, size, None, now);
        }
        self.keeper.holds(&release, bytes, now);
        let here = Here { release, size, bytes, is_kept: true, is_coming: false, since: now };
        self.here.insert(name.clone(), here);
    }

    /// Puts a release in the place of the one of its model that was asked for last, if that is another one.
    fn replaces(&mut self, release: &Release, now: Duration) {
        let Some(before) = self.keeper.latest(release.name()).filter(|before| *before != release).cloned()
        else {
            return;
        };
        self.keeper.revised(release, &before, now);
        self.keeper.holds(&before, 0, now);
        if self.keeper.is_pinned(&before) {
            self.keeper.unpin(&before);
            self.keeper.pin(release, now);
        }
    }

    /// Counts a model whose fetch ended before its head was known: what a killed process has left in its place was put in order first.
    fn count_again(&mut self, name: &ModelName, now: Duration) {
        let Some(before) = self.here.remove(name) else { return };
        self.keeper.holds(&before.release, 0, now);
        self.find(name, now);
        if let Some(here) = self.here.get_mut(name).filter(|_| !before.is_kept) {
            (here.is_kept, here.since) = (false, before.since);
            self.keeper.holds(&here.release, 0, now);
        }
    }

    fn usage(&self, name: &ModelName) -> Usage {
        CachedModel::usage(&self.hub, name).unwrap_or_else(|error| {
            warn!(target: "weighbridge", model = name.as_str(), "not counted: {error}");
            Usage::default()
        })
    }

    /// Hears what has happened, and does what follows from it.
    fn hear(&mut self, told: Option<Told>, node: &Node) {
        let now = node.now();
        self.is_news |= told.is_some();
        match told {
            Some(Told::Asked(name)) => self.hear_asked(&name, node, now),
            Some(Told::Begun { release, size }) => self.hear_begun(release, size, node, now),
            Some(Told::Ended { name, received, took, is_stopped }) => {
                self.hear_ended(&name, received, took, is_stopped, now);
            }
            #[cfg(unix)]
            Some(Told::Request(request, tell)) => {
                // Whoever asked may have gone.
                let _ = tell.send(self.hear_request(request, node, now));
            }
            None => {}
        }
        self.end_uses(node, now);
        self.fetch_ahead(node, now);
        self.record.write_if_due(&self.keeper, now);
    }

    fn hear_asked(&mut self, name: &ModelName, node: &Node, now: Duration) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.record.is_changed = true;
        if let Some(in_use) = self.in_use.get_mut(name) {
            in_use.last = now;
            return;
        }
        if !self.here.contains_key(name) {
            self.find(name, now);
        }
        let Some(here) = self.here.get(name) else { return };
        let (release, size) = (here.release.clone(), here.size);
        self.in_use.insert(name.clone(), InUse { release: release.clone(), last: now });
        let (keep, evictions) = match self.keeper.asked(&release, Some(size), now) {
            Answer::Held { evict } => (true, evict),
            Answer::Fetch { keep, evict } => (keep, evict),
        };
        self.evict(&evictions, Some(node), now);
        let Some(here) = self.here.get_mut(name) else { return };
        // A pinned one stays, also if the budget has no room for it.
        let keep = keep || self.keeper.is_pinned(&release);
        here.is_kept = keep;
        if !here.is_coming {
            self.keeper.holds(&release, if keep { here.bytes } else { 0 }, now);
            self.keeper.fetched(&release, 0, Duration::ZERO, now);
        }
        if !keep {
            info!(target: "weighbridge", model = name.as_str(), "is given, and not kept: all that is kept is worth more");
        }
    }

    fn hear_begun(&mut self, release: Release, size: u64, node: &Node, now: Duration) {
        let name = release.name().clone();
        self.replaces(&release, now);
        self.keeper.described(&release, size, None, now);
        // The room for it was given back when the fetch before this one failed: the next request decides anew.
        if let Some(in_use) = self.in_use.remove(&name) {
            self.keeper.closed(&in_use.release);
        }
        let ahead = self.ahead.clone().filter(|ahead| *ahead.name() == name);
        if let Some(other) = ahead.as_ref().filter(|ahead| **ahead != release) {
            // Room was made for another release. The new one is fetched ahead if it is worth it.
            node.stop(&name);
            self.keeper.fetched(other, 0, Duration::ZERO, now);
        }
        let is_kept = ahead.is_some_and(|ahead| ahead == release);
        let here = Here { release, size, bytes: 0, is_kept, is_coming: true, since: now };
        self.here.insert(name, here);
    }

    fn hear_ended(
        &mut self,
        name: &ModelName,
        received: Option<u64>,
        took: Duration,
        is_stopped: bool,
        now: Duration,
    ) {
        let bytes = self.usage(name).bytes();
        if let Some(ahead) = self.ahead.take_if(|ahead| ahead.name() == name) {
            if received.is_none() && !is_stopped {
                self.no_ahead_before = now.saturating_add(PAUSE);
            }
            if self.here.get(name).is_none_or(|here| here.release != ahead) {
                self.keeper.fetched(&ahead, 0, Duration::ZERO, now);
            }
        }
        let Some(here) = self.here.get_mut(name).filter(|here| here.is_coming) else {
            self.count_again(name, now);
            return;
        };
        (here.is_coming, here.bytes) = (false, bytes);
        // An incomplete model is never taken for all of it.
        let held = if received.is_some() { bytes } else { bytes.min(here.size.saturating_sub(1)) };
        self.keeper.holds(&here.release, if here.is_kept { held } else { 0 }, now);
        self.keeper.fetched(&here.release, received.unwrap_or(0), took, now);
        if bytes == 0 {
            self.here.remove(name);
        }
    }

    #[cfg(unix)]
    fn hear_request(&mut self, request: Request, node: &Node, now: Duration) -> Reply {
        let (model, act): (_, fn(&mut Self, &Release, Duration) -> Reply) = match request {
            Request::Show => {
                let passing = self.here.iter().filter(|(_, here)| !here.is_kept);
                let passing = passing.map(|(name, here)| Passing {
                    release: here.release.clone(),
                    bytes: here.bytes,
                    in_use: self.in_use.contains_key(name),
                });
                return Reply::Shown(Box::new(State {
                    plan: self.keeper.plan(),
                    passing: passing.collect(),
                    fetching: node.fetching(),
                    ahead: self.ahead.as_ref().map(|ahead| ahead.name().to_string()),
                }));
            }
            Request::Pin { model } => (model, Self::pin),
            Request::Unpin { model } => (model, Self::unpin),
            Request::Evict { model } => (model, Self::evict_by_hand),
        };
        let name = ModelName::parse(&model).ok();
        let Some(release) = name.and_then(|name| {
            let here = self.here.get(&name).map(|here| here.release.clone());
            here.or_else(|| self.keeper.latest(&name).cloned())
        }) else {
            let why = "no release of it is known here: ask the node for it once, and then again";
            return Reply::Refused(why.to_owned());
        };
        act(self, &release, now)
    }

    #[cfg(unix)]
    fn pin(&mut self, release: &Release, now: Duration) -> Reply {
        self.keeper.pin(release, now);
        // It may be here only for those who read it.
        if let Some(here) = self.here.get_mut(release.name()).filter(|here| !here.is_kept) {
            here.is_kept = true;
            if !here.is_coming {
                self.keeper.holds(release, here.bytes, now);
                self.keeper.fetched(release, 0, Duration::ZERO, now);
            }
        }
        self.record.write(&self.keeper);
        Reply::Done
    }

    #[cfg(unix)]
    fn unpin(&mut self, release: &Release, _: Duration) -> Reply {
        self.keeper.unpin(release);
        self.record.write(&self.keeper);
        Reply::Done
    }

    #[cfg(unix)]
    fn evict_by_hand(&mut self, release: &Release, now: Duration) -> Reply {
        let name = release.name();
        let why = match self.here.get(name) {
            None => "it is not in the cache",
            Some(here) if here.is_coming => "it is being fetched",
            Some(_) if self.keeper.is_pinned(release) => "it is pinned",
            Some(_) if self.in_use.contains_key(name) => {
                "it is in use: it was asked for in the last minute, or is still read"
            }
            Some(_) => {
                self.remove(name, now);
                if !self.here.contains_key(name) {
                    return Reply::Done;
                }
                "it could not be removed: the log of the node says why"
            }
        };
        Reply::Refused(why.to_owned())
    }

    /// Ends the use of models that nobody asks for, and removes those that were not to be kept.
    fn end_uses(&mut self, node: &Node, now: Duration) {
        // A clock that went back counts as quiet: those who read are asked besides.
        let is_quiet = |since: Duration| now.checked_sub(since).is_none_or(|time| time > QUIET);
        let (models, keeper) = (&self.models, &mut self.keeper);
        let is_news = &mut self.is_news;
        self.in_use.retain(|name, in_use| {
            let stays = !is_quiet(in_use.last) || models.is_read(name);
            if !stays {
                keeper.closed(&in_use.release);
                *is_news = true;
            }
            stays
        });
        let goes = |name: &ModelName, here: &Here| {
            !here.is_kept && is_quiet(here.since) && !self.in_use.contains_key(name)
        };
        let going = self.here.iter().filter(|(name, here)| goes(name, here));
        let going: Vec<_> = going.map(|(name, here)| (name.clone(), here.is_coming)).collect();
        for (name, is_coming) in going {
            if is_coming {
                node.stop(&name);
            } else {
                self.remove(&name, now);
            }
        }
    }

    fn fetch_ahead(&mut self, node: &Node, now: Duration) {
        // A pause that is longer is one of a clock that went back.
        let is_pause = self.no_ahead_before > now && self.no_ahead_before <= now.saturating_add(PAUSE);
        let may = !is_pause && self.ahead.is_none() && !node.is_fetching();
        if !may || !(self.is_news || now >= self.keeper.wakes()) {
            return;
        }
        self.is_news = false;
        let Some(prefetch) = self.keeper.fetch_ahead(now) else { return };
        let name = prefetch.release.name();
        let is_other = self.here.get(name).is_some_and(|here| here.release != prefetch.release);
        if !node.has_origin(name) || is_other && self.models.has(name) {
            // Nothing goes for a fetch that will not begin.
            for eviction in &prefetch.evict {
                if let Some(here) = self.here.get(eviction.release.name()) {
                    self.keeper.holds(&here.release, here.bytes, now);
                }
            }
            self.keeper.fetched(&prefetch.release, 0, Duration::ZERO, now);
            self.no_ahead_before = now.saturating_add(PAUSE);
            return;
        }
        info!(target: "weighbridge", "{prefetch}");
        self.evict(&prefetch.evict, Some(node), now);
        if let Some(here) = self.here.get_mut(name).filter(|_| self.models.has(name)) {
            // It was given and not kept, and is all here still.
            here.is_kept = true;
            self.keeper.holds(&here.release, here.bytes, now);
            self.keeper.fetched(&here.release, 0, Duration::ZERO, now);
            return;
        }
        if node.fetch_ahead(prefetch.release.name()) {
            self.ahead = Some(prefetch.release);
        } else {
            self.keeper.fetched(&prefetch.release, 0, Duration::ZERO, now);
            self.no_ahead_before = now.saturating_add(PAUSE);
        }
    }

    fn evict(&mut self, evictions: &[Eviction], node: Option<&Node>, now: Duration) {
        for eviction in evictions {
            info!(target: "weighbridge", "{eviction}");
            let name = eviction.release.name();
            let Some(here) = self.here.get_mut(name).filter(|here| here.release == eviction.release) else {
                continue;
            };
            if let Some(node) = node.filter(|_| here.is_coming) {
                // The bytes that have come go when the fetch has ended.
                (here.is_kept, here.since) = (false, Duration::ZERO);
                node.stop(name);
            } else {
                // If somebody has just begun to read it, it goes when nobody does.
                (here.is_kept, here.since) = (false, Duration::ZERO);
                self.remove(name, now);
            }
        }
    }

    /// Removes a model, unless it is read, and counts what is left.
    fn remove(&mut self, name: &ModelName, now: Duration) {
        let removed = match CachedModel::open_unused(&self.hub, name) {
            Ok(Some(cached)) => self.models.withdraw_unread(name, || cached.remove()),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        match removed {
            Some(Ok(bytes)) => info!(target: "weighbridge", model = name.as_str(), bytes, "is removed"),
            Some(Err(error)) => {
                warn!(target: "weighbridge", model = name.as_str(), "not removed: {error}");
                // It counts, and is tried again at the next ask.
                if let Some(here) = self.here.get_mut(name) {
                    here.is_kept = true;
                }
            }
            None => info!(target: "weighbridge", model = name.as_str(), "is still in use, and stays for now"),
        }
        let bytes = self.usage(name).bytes();
        let Some(here) = self.here.get_mut(name) else { return };
        here.bytes = bytes;
        self.keeper.holds(&here.release, if here.is_kept { bytes } else { 0 }, now);
        if bytes == 0 {
            self.here.remove(name);
        }
    }
}

/// Hears what is told, until nobody tells any more.
pub(crate) async fn run(mut keeping: Keeping, node: Weak<Node>, mut told: UnboundedReceiver<Told>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let heard = tokio::select! {
            heard = told.recv() => match heard {
                Some(heard) => Some(heard),
                None => break,
            },
            _ = tick.tick() => None,
        };
        let Some(node) = node.upgrade() else { break };
        let hear = move || {
            keeping.hear(heard, &node);
            keeping
        };
        match spawn_blocking(hear).await {
            Ok(heard) => keeping = heard,
            Err(_) => return,
        }
    }
    let write = move || keeping.record.write(&keeping.keeper);
    let _ = spawn_blocking(write).await;
}
