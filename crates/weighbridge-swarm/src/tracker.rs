//! A tracker: it fetches nothing, and tells the members of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{io::AsyncRead, task::JoinSet};
use tracing::{debug, info};
use weighbridge_manifest::ModelName;
use weighbridge_tree::HeadId;

use crate::{
    channel::{self, Arriving, Carrier, Channel, Purpose},
    door::{Door, Pass},
    member::MemberKey,
    message::{MAX_OWNERS, MAX_PEERS, Message, Peer, Role},
    outbox::Outbox,
    plan::Block,
    ticket::{Address, Label, SwarmKey, Tag, Ticket},
    tls::{Identity, TlsCarrier},
    wire,
};

/// A tracker of one or more swarms.
///
/// # Guarantee
/// Nobody who has not proven to be a member of one of its swarms learns anything, not even whether there is one: he gets no byte
/// but those of TLS. Members of one swarm learn nothing of another.
///
/// # Non-guarantee
/// What members say of themselves is passed on as it is, but for their keys, and the addresses from which they have connected.
///
/// # Cost
/// Some kilobytes for each member. A change costs 32 bytes for each member to each member, at most four times a second.
pub struct Tracker {
    shared: Arc<Shared>,
    carrier: TlsCarrier,
}

struct Shared {
    swarms: Vec<Tracked>,
    figures: Mutex<TrackerFigures>,
}

struct Tracked {
    ticket: Ticket,
    key: SwarmKey,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    there: BTreeMap<MemberKey, Tracking>,
    /// The names of these members to an origin.
    tags: BTreeSet<Tag>,
    epoch: u64,
    is_changed: bool,
    /// When all members were told last.
    told_at: Option<Instant>,
    next_channel: u64,
}

struct Tracking {
    channel: u64,
    role: Role,
    address: Option<Address>,
    /// The address from which it has connected; in an open swarm, the first of its block.
    from: IpAddr,
    outbox: Arc<Outbox>,
}

/// The figures of a tracker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackerFigures {
    /// Connections that have proven to be those of members.
    pub admitted: u64,
    /// Connections that have proven nothing.
    pub refused: u64,
    /// Lookups of members: none before a connection has proven to be a member's.
    pub lookups: u64,
}

/// One swarm, as its tracker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmStatus {
    /// The model's name.
    pub name: ModelName,
    /// The members, in the order of their keys.
    pub members: Vec<MemberStatus>,
}

/// A member, as its tracker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The key of the member.
    pub key: MemberKey,
    /// Its role.
    pub role: Role,
    /// The address at which it lets others in, if it does.
    pub address: Option<Address>,
}

/// The time for each member between two times that all are told: who all members are costs each of them as much.
const PER_MEMBER: Duration = Duration::from_millis(2);
/// The time between two looks at what has changed.
const BEAT: Duration = Duration::from_millis(250);
/// The time after which a silent member counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
const MOST_ANNOUNCEMENTS: u32 = 8;
/// The most connections, all of them and from one address.
const MOST_CONNECTIONS: usize = 16_384;
const MOST_OF_ADDRESS: usize = 256;
/// The most owners of pieces of one block of addresses, in an open swarm.
const MOST_OWNERS_OF_BLOCK: usize = 4;
/// The most connections that have not proven themselves, and of one address.
const MOST_WAITING: usize = 256;
const MOST_WAITING_OF_ADDRESS: usize = 32;

/// Tells that a connection from an address is over, however it ends.
struct Left(IpAddr, tokio::sync::mpsc::UnboundedSender<IpAddr>);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

impl Tracker {
    /// Listens at an address; port 0 is any that is free.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(identity: &Identity, address: SocketAddr, tickets: Vec<Ticket>) -> io::Result<Self> {
        let listed = tickets.clone();
        let lists = move |key: &MemberKey| listed.iter().any(|ticket| ticket.lists(key));
        let carrier = TlsCarrier::bind(identity, address, lists).await?;
        let track = |ticket: Ticket| Tracked { key: ticket.key(), ticket, members: Mutex::default() };
        let swarms = tickets.into_iter().map(track).collect();
        Ok(Self { shared: Arc::new(Shared { swarms, figures: Mutex::default() }), carrier })
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.carrier.address()
    }

    /// A view of the tracker that stays while it runs.
    #[must_use]
    pub fn view(&self) -> TrackerView {
        TrackerView(Arc::clone(&self.shared))
    }

    /// Lets members in until `end` is ready.
    pub async fn run(self, end: impl Future<Output = ()>) {
        let Self { shared, carrier } = self;
        let me = carrier.key();
        let mut channels: JoinSet<()> = JoinSet::new();
        let mut door = Door::new(MOST_WAITING, MOST_WAITING_OF_ADDRESS);
        let (leaves, mut left) = tokio::sync::mpsc::unbounded_channel::<IpAddr>();
        let mut open: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let mut beats = tokio::time::interval(BEAT);
        let mut end = std::pin::pin!(end);
        loop {
            while channels.try_join_next().is_some() {}
            while let Ok(from) = left.try_recv() {
                let Some(count) = open.get_mut(&from) else { continue };
                *count = count.saturating_sub(1);
            }
            open.retain(|_, count| *count > 0);
            let arriving = tokio::select! {
                () = &mut end => break,
                _ = beats.tick() => {
                    shared.swarms.iter().for_each(Tracked::tell);
                    continue;
                }
                arriving = carrier.accept() => arriving,
            };
            let Ok(arriving) = arriving else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let from = arriving.from;
            let pass = door.make_room(from);
            let of_address = open.entry(from).or_default();
            if channels.len() >= MOST_CONNECTIONS || *of_address >= MOST_OF_ADDRESS {
                continue;
            }
            *of_address = of_address.saturating_add(1);
            let (shared, leaves, number) = (Arc::clone(&shared), Left(from, leaves.clone()), pass.number());
            let task = channels.spawn(async move {
                let _leaves = leaves;
                if let Err(error) = shared.welcome(arriving, me, pass).await {
                    debug!(target: "weighbridge", from = %from, "a channel to the tracker has ended: {error}");
                }
            });
            door.waits(number, from, task);
        }
        channels.shutdown().await;
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// The figures and members of a tracker that runs.
#[derive(Clone)]
pub struct TrackerView(Arc<Shared>);

impl TrackerView {
    /// The figures until now.
    #[must_use]
    pub fn figures(&self) -> TrackerFigures {
        self.0.figures().clone()
    }

    /// The number of the swarm that shares this release, and that has a member with this tag now. Swarms are counted from 0, in the
    /// order in which their tickets were given.
    #[must_use]
    pub fn swarm_of(&self, tag: &Tag, head: HeadId) -> Option<usize> {
        let has = |tracked: &Tracked| tracked.ticket.head == head && tracked.members().tags.contains(tag);
        self.0.swarms.iter().position(has)
    }

    /// The swarms, in the order in which the tickets were given.
    #[must_use]
    pub fn swarms(&self) -> Vec<SwarmStatus> {
        let status = |tracked: &Tracked| {
            let members = tracked.members();
            let status = |(key, one): (&MemberKey, &Tracking)| MemberStatus {
                key: *key,
                role: one.role,
                address: one.address.clone(),
            };
            SwarmStatus {
                name: tracked.ticket.name.clone(),
                members: members.there.iter().map(status).collect(),
            }
        };
        self.0.swarms.iter().map(status).collect()
    }
}

impl fmt::Debug for TrackerView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackerView").finish_non_exhaustive()
    }
}

impl Shared {
    fn figures(&self) -> MutexGuard<'_, TrackerFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn welcome(&self, arriving: Arriving, me: MemberKey, pass: Pass) -> io::Result<()> {
        let refuse = |error: io::Error| {
            let mut figures = self.figures();
            figures.refused = figures.refused.saturating_add(1);
            error
        };
        let link = arriving.handshake.await.map_err(refuse)?;
        let find = |label: &Label, peer: &MemberKey| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let is_it = |tracked: &&Tracked| {
                tracked.key.label() == *label
                    && tracked.ticket.lists(peer)
                    && now < tracked.ticket.expires.unix()
            };
            self.swarms.iter().find(is_it).map(|tracked| (tracked.key.clone(), tracked))
        };
        let (channel, purpose, tracked) = channel::accept(link, &me, find).await.map_err(refuse)?;
        drop(pass);
        {
            let mut figures = self.figures();
            figures.admitted = figures.admitted.saturating_add(1);
            figures.lookups = figures.lookups.saturating_add(1);
        }
        // A tracker has nothing to give.
        if purpose == Purpose::Requests {
            return Ok(());
        }
        tracked.run(channel, arriving.from).await
    }
}

impl Tracked {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, channel: Channel, from: IpAddr) -> io::Result<()> {
        let Channel { peer, stream } = channel;
        let (mut reading, mut writing) = tokio::io::split(stream);
        let outbox = Arc::new(Outbox::default());
        outbox.announce(Role::Tracker, 0, Vec::new());
        let number = {
            let mut members = self.members();
            members.next_channel = members.next_channel.wrapping_add(1);
            members.next_channel
        };
        let _leaving = Leaving { tracked: self, key: peer, channel: number };
        tokio::select! {
            sent = outbox.send(&mut writing) => sent,
            heard = self.hear(&mut reading, peer, number, from, &outbox) => heard,
        }
    }

    async fn hear(
        &self,
        reading: &mut (impl AsyncRead + Unpin),
        key: MemberKey,
        channel: u64,
        from: IpAddr,
        outbox: &Arc<Outbox>,
    ) -> io::Result<()> {
        let mut announcements = 0u32;
        loop {
            match wire::read(reading, 0, SILENCE).await? {
                Message::Announce { role, port, addresses } => {
                    announcements = announcements.saturating_add(1);
                    if announcements > MOST_ANNOUNCEMENTS {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    let seen = (port > 0).then(|| Address::from(SocketAddr::new(from, port)));
                    // Anybody may be in an open swarm, and is not to lead its members to somebody else.
                    let told = addresses.into_iter().next().filter(|_| !self.ticket.is_open());
                    let address = told.or(seen);
                    info!(target: "weighbridge", model = self.ticket.name.as_str(), member = %key, from = %from, role = role.word(), "is in the swarm");
                    let from = if self.ticket.is_open() { Block::of(from).first() } else { from };
                    let outbox = Arc::clone(outbox);
                    let tracking = Tracking { channel, role, address, from, outbox };
                    self.take_in(key, tracking);
                }
                Message::Alive => {}
                Message::Bye => return Ok(()),
                // Members tell each other of pieces, and of others; a tracker is told of neither.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    fn take_in(&self, key: MemberKey, tracking: Tracking) {
        let mut members = self.members();
        let outbox = Arc::clone(&tracking.outbox);
        members.tags.insert(self.key.tag(&key));
        let replaced = members.there.insert(key, tracking);
        if let Some(old) = replaced.filter(|old| !Arc::ptr_eq(&old.outbox, &outbox)) {
            old.outbox.leave();
        }
        members.is_changed = true;
        // A member that comes is told at once, and others with the next beat.
        let all: Vec<_> = members.there.iter().collect();
        outbox.peers(members.some_for(&key, &all));
        outbox.members(members.epoch, self.owners(&members));
    }

    /// The members that fetch all of the release; in an open swarm, a few of each block of addresses.
    fn owners(&self, members: &Members) -> Vec<MemberKey> {
        let most = if self.ticket.is_open() { MOST_OWNERS_OF_BLOCK } else { usize::MAX };
        let mut of_address: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let owners = members.there.iter().filter(|(_, one)| one.role == Role::FetchesAll);
        let owners = owners.filter(|(_, one)| {
            let count = of_address.entry(one.from).or_default();
            *count = count.saturating_add(1);
            *count <= most
        });
        owners.map(|(key, _)| *key).take(MAX_OWNERS).collect()
    }

    /// Tells all members of what has changed.
    fn tell(&self) {
        let mut members = self.members();
        let count = u32::try_from(members.there.len()).unwrap_or(u32::MAX);
        let is_early = members.told_at.is_some_and(|at| at.elapsed() < PER_MEMBER.saturating_mul(count));
        if !members.is_changed || is_early {
            return;
        }
        members.is_changed = false;
        members.told_at = Some(Instant::now());
        members.epoch = members.epoch.wrapping_add(1);
        let owners = self.owners(&members);
        let all: Vec<_> = members.there.iter().collect();
        for (key, tracking) in &all {
            tracking.outbox.members(members.epoch, owners.clone());
            tracking.outbox.peers(members.some_for(key, &all));
        }
    }
}

impl Members {
    /// Some members for another one to connect to: all others if they are few, else random ones, not more than four of one
    /// address.
    fn some_for(&self, key: &MemberKey, all: &[(&MemberKey, &Tracking)]) -> Vec<Peer> {
        let peer = |one: &(&MemberKey, &Tracking)| {
            Some(Peer { key: *one.0, address: one.1.address.clone().filter(|_| one.0 != key)? })
        };
        if all.len() <= MAX_PEERS.saturating_add(1) {
            return all.iter().filter_map(peer).collect();
        }
        let mut of_address: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let mut peers: Vec<Peer> = Vec::new();
        for draw in 0..TRIES {
            let at =
                self.random(key, draw).checked_rem(len(all.len())).and_then(|at| usize::try_from(at).ok());
            let Some(one) = at.and_then(|at| all.get(at)) else { continue };
            let Some(peer) = peer(one).filter(|peer| peers.iter().all(|other| other.key != peer.key)) else {
                continue;
            };
            let count = of_address.entry(one.1.from).or_default();
            if *count >= 4 && !one.1.from.is_loopback() {
                continue;
            }
            *count = count.saturating_add(1);
            peers.push(peer);
            if peers.len() >= MAX_PEERS {
                break;
            }
        }
        peers
    }

    /// A number that is as good as random, and another one with each change.
    fn random(&self, key: &MemberKey, draw: u64) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes()).update(&self.epoch.to_le_bytes()).update(&draw.to_le_bytes());
        hasher.finalize().as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// The most draws for the members that one is told about.
const TRIES: u64 = 64;

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Forgets a member whose channel has ended.
struct Leaving<'a> {
    tracked: &'a Tracked,
    key: MemberKey,
    channel: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut members = self.tracked.members();
        if members.there.get(&self.key).is_some_and(|one| one.channel == self.channel) {
            members.there.remove(&self.key);
            members.tags.remove(&self.tracked.key.tag(&self.key));
            members.is_changed = true;
            info!(target: "weighbridge", model = self.tracked.ticket.name.as_str(), member = %self.key, "has left the swarm");
        }
    }
}
