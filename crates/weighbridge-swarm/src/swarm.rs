//! A member at work: who is connected, what is told, and what is answered.
//!
//! All decisions about pieces are those of [`Plan`], and all about members those of [`Neighbours`]. This module carries
//! them out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::lookup_host,
    sync::{oneshot, watch},
    task::JoinSet,
};
use tracing::{debug, info};
use weighbridge_bandwidth::Budget;
use weighbridge_transfer::{Guide, SourceId, Sources};

use crate::{
    channel::{self, Carrier, Purpose},
    door::{Door, Pass},
    giver, guide,
    member::MemberKey,
    message::{Peer, Role},
    neighbour::{self, Near},
    places::{Inside, Place},
    plan::{Block, Degree, Discovery, Neighbours, UploadRules},
    slots,
    ticket::{Address, SwarmKey, Tag, Ticket},
    tls::{Identity, TlsCarrier},
    turns::Turns,
};

/// The options of a member. They come from its user.
#[derive(Clone)]
pub struct SwarmOptions {
    /// The ticket of the swarm.
    pub ticket: Ticket,
    /// The secret half of this member's key.
    pub identity: Identity,
    /// The address at which other members are let in; port 0 is any that is free.
    pub listen: SocketAddr,
    /// Other addresses under which members reach this one.
    pub addresses: Vec<Address>,
    /// Members to connect to, beside those that trackers name.
    pub peers: Vec<Address>,
    /// Whether all of the release is fetched.
    pub is_whole: bool,
    /// The budget of what is sent. Members have equal shares in the class of peers.
    pub upload: Budget,
    /// Whether anything is given to others in an open swarm, where they may be anybody. In other swarms it is.
    pub share: bool,
}

/// A membership of a swarm: it gives a fetch the other members as sources, says what is asked of which, and gives
/// others what the fetch has verified.
///
/// # Guarantee
/// Nobody who has not proven to be a member gets a byte but those of TLS. What is sent was judged in the buffer from
/// which it is sent (rule 10). When this is dropped, all its tasks end.
///
/// # Non-guarantee
/// A member that other members cannot reach still fetches from them, and gives them nothing. In an open swarm anybody
/// may be a member.
pub struct Swarm {
    member: Arc<Member>,
    tasks: Mutex<JoinSet<()>>,
}

/// The bytes and members of a swarm, as one member has seen them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwarmFigures {
    /// The members that are connected now, without trackers.
    pub members: usize,
    /// The most members that were connected at once, without trackers.
    pub most_members: usize,
    /// Verified bytes of files that other members have given.
    pub taken: u64,
    /// Verified bytes of files that the other sources have given.
    pub of_origin: u64,
    /// Bytes of files that this member has sent to others.
    pub sent: u64,
}

/// One member, shared by its tasks.
pub(crate) struct Member {
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) ticket: Ticket,
    pub(crate) swarm: SwarmKey,
    pub(crate) key: MemberKey,
    /// The name of this member to an origin that has the ticket.
    pub(crate) tag: Tag,
    port: u16,
    addresses: Vec<Address>,
    pub(crate) sources: Sources,
    pub(crate) began: Instant,
    pub(crate) state: Mutex<State>,
    pub(crate) turns: Turns,
    pub(crate) upload: Budget,
    /// Becomes true when the list is known.
    pub(crate) begun: watch::Sender<bool>,
    /// Notified when there may be somebody to connect to.
    wake: tokio::sync::Notify,
}

/// The changing half of a member.
pub(crate) struct State {
    pub(crate) neighbours: Neighbours,
    /// The addresses of known members, and whether a tracker has said so.
    addresses: BTreeMap<MemberKey, (Address, bool)>,
    pub(crate) near: BTreeMap<MemberKey, Near>,
    pub(crate) role: Role,
    /// Whether this member gives others what it has.
    pub(crate) gives: bool,
    /// The members that fetch all, by the word of each connected tracker.
    pub(crate) told: BTreeMap<MemberKey, Vec<MemberKey>>,
    pub(crate) work: Option<guide::Work>,
    /// By source that is no member: whether it is set aside.
    pub(crate) origins: BTreeMap<SourceId, bool>,
    arrivals: BTreeMap<IpAddr, Vec<Instant>>,
    /// The member that each source is, or was.
    pub(crate) given_by: BTreeMap<SourceId, MemberKey>,
    /// The members that gave a wrong chunk, judged or not.
    pub(crate) suspects: BTreeSet<MemberKey>,
    /// By member: the end of its channel for requests, when another one takes its place.
    asking: BTreeMap<MemberKey, (u64, oneshot::Sender<()>)>,
    pub(crate) inside: Inside,
    pub(crate) figures: SwarmFigures,
    next_channel: u64,
}

/// The ways in which members are found.
const BY_TRACKER: Discovery = Discovery(0);
const BY_USER: Discovery = Discovery(1);
const BY_MEMBER: Discovery = Discovery(2);

/// The most addresses of a name, and the time after which it is looked up again.
const MOST_OF_NAME: usize = 64;
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The least and the most time between two attempts to reach an address.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// The most members that are dialled at once, and the least time until others are.
const DIALS_AT_ONCE: u32 = 8;
const BETWEEN_DIALS: Duration = Duration::from_millis(250);
/// The time that a member with a larger key leaves to the other to connect.
const COURTESY: Duration = Duration::from_millis(400);
/// The most connections that have not proven themselves, and of one address.
const MOST_WAITING: usize = 256;
const MOST_WAITING_OF_ADDRESS: usize = 16;
/// The most new keys of an address in a minute, where the ticket lists no members.
const MOST_NEW_KEYS: usize = 32;
const MINUTE: Duration = Duration::from_secs(60);

impl Swarm {
    /// Joins a swarm. Its members become `sources` of a fetch as they are found; the other sources there are the
    /// origin.
    ///
    /// # Errors
    /// The address to listen at cannot be had, or the ticket does not list this member.
    pub async fn join(options: SwarmOptions, sources: Sources) -> io::Result<Self> {
        let SwarmOptions { ticket, identity, listen, addresses, peers, is_whole, upload, share } = options;
        let gives = share || !ticket.is_open();
        // One that lets nobody in is not to be found.
        let listen = if gives { listen } else { SocketAddr::from(([127, 0, 0, 1], 0)) };
        let key = identity.key();
        if is_over(&ticket) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the ticket has expired"));
        }
        if !ticket.lists(&key) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the ticket does not list this member",
            ));
        }
        let listed = ticket.clone();
        let carrier = TlsCarrier::bind(&identity, listen, move |key| listed.lists(key)).await?;
        let port = if gives { carrier.address()?.port() } else { 0 };
        let mut seed = [0; 8];
        // The seed only spreads the choices of many members, so a failure here is harmless.
        let _ = getrandom::fill(&mut seed);
        let seed = u64::from_le_bytes(seed);
        // Pieces have owners that give them.
        let role = if is_whole && gives { Role::FetchesAll } else { Role::FetchesPart };
        let degree = if ticket.is_open() { Degree::open() } else { Degree::default() };
        let member = Arc::new(Member {
            carrier: Arc::new(carrier),
            tag: ticket.key().tag(&key),
            swarm: ticket.key(),
            ticket,
            key,
            port,
            addresses,
            sources,
            began: Instant::now(),
            state: Mutex::new(State {
                neighbours: Neighbours::new(key, degree, seed),
                addresses: BTreeMap::new(),
                near: BTreeMap::new(),
                role,
                gives,
                told: BTreeMap::new(),
                work: None,
                origins: BTreeMap::new(),
                arrivals: BTreeMap::new(),
                given_by: BTreeMap::new(),
                suspects: BTreeSet::new(),
                asking: BTreeMap::new(),
                inside: Inside::default(),
                figures: SwarmFigures::default(),
                next_channel: 0,
            }),
            turns: Turns::new(UploadRules::default()),
            upload,
            begun: watch::Sender::new(false),
            wake: tokio::sync::Notify::new(),
        });
        let mut tasks = JoinSet::new();
        if gives {
            tasks.spawn(let_in(Arc::clone(&member)));
        }
        if gives && member.ticket.is_open() {
            tasks.spawn(slots::give(Arc::clone(&member)));
        }
        tasks.spawn(connect_to_neighbours(Arc::clone(&member)));
        tasks.spawn(guide::watch(Arc::clone(&member)));
        for named in member.ticket.trackers.iter().cloned().chain(peers) {
            tasks.spawn(stay_connected_to_all(Arc::clone(&member), named));
        }
        Ok(Self { member, tasks: Mutex::new(tasks) })
    }

    /// The key of this member.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        self.member.key
    }

    /// The port at which other members are let in; 0 if none are.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.member.port
    }

    /// The guide of the fetch.
    #[must_use]
    pub fn guide(&self) -> Arc<dyn Guide> {
        Arc::<Member>::clone(&self.member)
    }

    /// Waits until a tracker or a member has answered, for this time at most. Returns whether any has.
    pub async fn found_somebody(&self, within: Duration) -> bool {
        let since = Instant::now();
        loop {
            if !self.member.state().near.is_empty() {
                return true;
            }
            if since.elapsed() >= within {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The figures until now.
    #[must_use]
    pub fn figures(&self) -> SwarmFigures {
        self.member.state().figures
    }

    /// Tells the others that this member has all, and goes on to give it for this time.
    pub async fn linger(&self, time: Duration) {
        self.member.set_role(Role::HasAll);
        tokio::time::sleep(time).await;
    }

    /// Does as [`linger`](Self::linger), but ends when each member that is known has all, after a second at the least.
    pub async fn linger_while_needed(&self, time: Duration) {
        let began = Instant::now();
        self.member.set_role(Role::HasAll);
        while began.elapsed() < time {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let is_needed = self.member.is_needed();
            if !is_needed && began.elapsed() >= Duration::from_secs(1) {
                break;
            }
        }
    }

    /// Takes leave of the others, and ends all tasks.
    pub async fn leave(&self) {
        self.member.state().near.values().for_each(|near| near.outbox.leave());
        // The last news are short, and nobody is waited for.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.member.fmt(f)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Member {
    /// Locks the state. No code panics while holding the lock.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since this member began, which is the time of its plan.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn announcement(&self, state: &State) -> (Role, u16, Vec<Address>) {
        (state.role, self.port, self.addresses.clone())
    }

    fn set_role(&self, role: Role) {
        let mut state = self.state();
        if !state.gives {
            return;
        }
        state.role = role;
        for near in state.near.values() {
            near.outbox.announce(role, self.port, self.addresses.clone());
        }
    }

    /// Whether a connected member still lacks anything.
    fn is_needed(&self) -> bool {
        let state = self.state();
        let of_trackers = state.told.values().flatten().any(|key| *key != self.key);
        let lacks = |near: &Near| matches!(near.role, Role::FetchesAll | Role::FetchesPart);
        of_trackers || state.near.values().any(lacks)
    }

    /// Takes in what a tracker, or a member, says of others.
    pub(crate) fn learn(&self, peers: Vec<Peer>, by_tracker: bool) {
        let by = if by_tracker { BY_TRACKER } else { BY_MEMBER };
        {
            let mut state = self.state();
            // Members do not fill the places that are left for the word of trackers.
            let most = if by_tracker { MOST_KNOWN } else { MOST_BY_MEMBERS };
            for peer in peers.into_iter().filter(|peer| peer.key != self.key && self.ticket.lists(&peer.key))
            {
                let known = state.addresses.get(&peer.key).map(|(_, by_tracker)| *by_tracker);
                if known.is_none() && state.addresses.len() >= most {
                    continue;
                }
                state.neighbours.found(peer.key, by);
                // The word of a tracker is not replaced by that of a member.
                if by_tracker || known != Some(true) {
                    state.addresses.insert(peer.key, (peer.address, by_tracker));
                }
            }
        }
        self.wake.notify_one();
    }

    /// Members to tell a neighbour about: those that are connected.
    pub(crate) fn acquaintances(&self, except: &MemberKey) -> Vec<Peer> {
        let state = self.state();
        let near = state.near.iter().filter(|(key, near)| *key != except && near.role != Role::Tracker);
        let peers = near.filter_map(|(key, near)| Some(Peer { key: *key, address: near.address.clone()? }));
        peers.take(crate::message::MAX_PEERS).collect()
    }

    /// The address for which channels and keys from another one count: in an open swarm, that of its block.
    pub(crate) fn counted(&self, from: IpAddr) -> IpAddr {
        if self.ticket.is_open() { Block::of(from).first() } else { from }
    }

    /// Whether a member with this key may come in from this address now: new keys of an address are limited.
    fn admits(&self, key: &MemberKey, from: IpAddr) -> bool {
        let mut state = self.state();
        if state.neighbours.is_banned(key) || state.suspects.contains(key) {
            return false;
        }
        if state.near.contains_key(key) || !self.ticket.members.is_empty() {
            return true;
        }
        state.arrivals.retain(|_, times| {
            times.retain(|at| at.elapsed() < MINUTE);
            !times.is_empty()
        });
        let times = state.arrivals.entry(self.counted(from)).or_default();
        let is_few = times.len() < MOST_NEW_KEYS;
        if is_few {
            times.push(Instant::now());
        }
        is_few
    }

    /// A number for a channel, by which its end is told from that of the channel that took its place.
    pub(crate) fn channel_number(&self) -> u64 {
        let mut state = self.state();
        state.next_channel = state.next_channel.wrapping_add(1);
        state.next_channel
    }
}

/// The most members whose addresses are remembered: in all, and by the word of members.
const MOST_KNOWN: usize = 16_384;
const MOST_BY_MEMBERS: usize = 4096;

/// Whether the ticket has ended.
fn is_over(ticket: &Ticket) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).is_ok_and(|now| now >= ticket.expires.unix())
}

/// Lets members in that have proven themselves.
async fn let_in(member: Arc<Member>) {
    let mut channels: JoinSet<()> = JoinSet::new();
    let mut door = Door::new(MOST_WAITING, MOST_WAITING_OF_ADDRESS);
    loop {
        while channels.try_join_next().is_some() {}
        let Ok(arriving) = member.carrier.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if is_over(&member.ticket) {
            continue;
        }
        let from = member.counted(arriving.from);
        let pass = door.make_room(from);
        let number = pass.number();
        let member = Arc::clone(&member);
        let task = channels.spawn(async move {
            if let Err(error) = welcome(&member, arriving, pass).await {
                debug!(target: "weighbridge", from = %from, "a channel of the swarm has ended: {error}");
            }
        });
        door.waits(number, from, task);
    }
}

async fn welcome(member: &Arc<Member>, arriving: channel::Arriving, pass: Pass) -> io::Result<()> {
    let from = arriving.from;
    let link = arriving.handshake.await?;
    let find = |label: &crate::ticket::Label, peer: &MemberKey| {
        (*label == member.swarm.label() && *peer != member.key).then(|| (member.swarm.clone(), ()))
    };
    let (channel, purpose, ()) = channel::accept(link, &member.key, find).await?;
    drop(pass);
    if !member.admits(&channel.peer, from) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let Some(_place) = Place::take(member, from, purpose) else {
        return Err(io::ErrorKind::QuotaExceeded.into());
    };
    match purpose {
        Purpose::News => neighbour::run(member, channel, Some(from), None, false).await,
        Purpose::Requests => {
            let (peer, number) = (channel.peer, member.channel_number());
            let (end, ends) = oneshot::channel();
            // A member has one channel for requests: a new one ends the old one.
            let replaced = member.state().asking.insert(peer, (number, end));
            drop(replaced);
            let ended = tokio::select! {
                ended = giver::answer(member, channel) => ended,
                _ = ends => return Err(io::ErrorKind::AlreadyExists.into()),
            };
            let asking = &mut member.state().asking;
            if asking.get(&peer).is_some_and(|(current, _)| *current == number) {
                asking.remove(&peer);
            }
            ended
        }
    }
}

/// Stays connected to each address of a host that the user, or the ticket, names. A name is looked up again from time to time:
/// that of a service has an address for each node that runs.
async fn stay_connected_to_all(member: Arc<Member>, named: Address) {
    let mut connected: JoinSet<()> = JoinSet::new();
    let mut known = BTreeSet::new();
    while !is_over(&member.ticket) {
        let found = lookup_host(named.as_str()).await.into_iter().flatten();
        for address in found.take(MOST_OF_NAME) {
            if known.len() < MOST_OF_NAME && known.insert(address) {
                connected.spawn(stay_connected(Arc::clone(&member), Address::from(address)));
            }
        }
        let pause = if known.is_empty() { LEAST_PAUSE } else { LOOK_AGAIN };
        tokio::time::sleep(pause).await;
    }
    // Members that are connected when the ticket ends stay so.
    while connected.join_next().await.is_some() {}
}

/// Stays connected to an address: that of a tracker, or of any member.
async fn stay_connected(member: Arc<Member>, address: Address) {
    let mut pause = LEAST_PAUSE;
    let mut has_told = false;
    while !is_over(&member.ticket) {
        let began = Instant::now();
        let connected = channel::connect(&*member.carrier, &address, &member.swarm, Purpose::News).await;
        let ended = match connected {
            Ok(channel) => {
                member.state().neighbours.found(channel.peer, BY_USER);
                neighbour::run(&member, channel, None, Some(address.clone()), true).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended
            && !std::mem::replace(&mut has_told, true)
        {
            info!(target: "weighbridge", address = address.as_str(), "no tracker or member answers: {error}");
        }
        pause = if began.elapsed() > MOST_PAUSE { LEAST_PAUSE } else { pause };
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(MOST_PAUSE);
    }
}

/// Connects to as many members as a member is to have.
async fn connect_to_neighbours(member: Arc<Member>) {
    let mut dialling: JoinSet<()> = JoinSet::new();
    loop {
        while dialling.try_join_next().is_some() {}
        let mut begun = 0u32;
        while begun < DIALS_AT_ONCE && !is_over(&member.ticket) {
            let now = member.now();
            let (key, address) = {
                let mut state = member.state();
                let Some(key) = state.neighbours.dial(now) else { break };
                (key, state.addresses.get(&key).map(|(address, _)| address.clone()))
            };
            let member = Arc::clone(&member);
            dialling.spawn(async move { dial(&member, key, address).await });
            begun = begun.saturating_add(1);
        }
        // Others name as many addresses as they like, and are not to have them all called.
        if begun > 0 {
            tokio::time::sleep(BETWEEN_DIALS).await;
        }
        let _ = tokio::time::timeout(BETWEEN_DIALS, member.wake.notified()).await;
    }
}

async fn dial(member: &Arc<Member>, key: MemberKey, address: Option<Address>) {
    // Both have heard of each other at the same time, and one channel is enough.
    if key < member.key {
        tokio::time::sleep(COURTESY).await;
        if member.state().near.contains_key(&key) {
            return;
        }
    }
    let ended = match address {
        Some(address) => {
            match channel::connect(&*member.carrier, &address, &member.swarm, Purpose::News).await {
                Ok(channel) if channel.peer == key => {
                    neighbour::run(member, channel, None, Some(address), false).await
                }
                Ok(_) => Err(io::Error::other("another member answers there")),
                Err(error) => Err(error),
            }
        }
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let has_failed = ended.is_err();
    if let Err(error) = ended {
        debug!(target: "weighbridge", member = %key, "no channel to the member: {error}");
    }
    let now = member.now();
    let mut state = member.state();
    if !state.near.contains_key(&key) {
        state.neighbours.lost(&key, now);
        // The word of a member that leads nowhere is forgotten, so that it does not take a place for ever.
        if has_failed && state.addresses.get(&key).is_some_and(|(_, by_tracker)| !by_tracker) {
            state.addresses.remove(&key);
            state.neighbours.vanished(&key, BY_MEMBER);
        }
    }
}
