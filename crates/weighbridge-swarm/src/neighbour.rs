//! The channel for news of one member.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use weighbridge_transfer::{Source, SourceId};

use crate::{
    channel::Channel,
    member::MemberKey,
    message::{HEADER, Header, Message, Role},
    outbox::Outbox,
    peer::PeerSource,
    plan::{Block, Piece},
    swarm::Member,
    ticket::Address,
    wire,
};

/// A member that is connected.
pub(crate) struct Near {
    /// The number of its channel.
    channel: u64,
    /// Whether this side has opened the channel.
    is_own: bool,
    pub(crate) role: Role,
    /// The block of its address.
    pub(crate) block: Block,
    /// The address at which it lets others in, if it does.
    pub(crate) address: Option<Address>,
    pub(crate) outbox: Arc<Outbox>,
    /// The member as a source of the fetch.
    pub(crate) source: Option<(SourceId, Arc<PeerSource>)>,
    /// Whether it has been told which pieces are here, and is told of new ones.
    pub(crate) is_told: bool,
    /// Whether it gives this member one of its slots, in an open swarm.
    pub(crate) gives_slot: bool,
}

impl Near {
    /// Whether it has connected to this member.
    pub(crate) fn has_come(&self) -> bool {
        !self.is_own
    }
}

/// The time after which a silent member counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// The most times that a member says who it is.
const MOST_ANNOUNCEMENTS: u32 = 8;
/// The most sources of which it is remembered which member they are, or were.
const MOST_REMEMBERED: usize = 256;
/// The messages of a burst, and the least time that it takes: more are read no faster.
const BURST: u32 = 256;
const BURST_TIME: Duration = Duration::from_millis(100);

/// Exchanges news with a member, until either side ends it. `from` is the address from which it has connected, and `dialled` the one
/// at which this side has. `is_named` tells whether the user or the ticket names that address: only such a member may be a
/// tracker.
pub(crate) async fn run(
    member: &Arc<Member>,
    channel: Channel,
    from: Option<IpAddr>,
    dialled: Option<Address>,
    is_named: bool,
) -> io::Result<()> {
    let Channel { peer, stream } = channel;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let outbox = Arc::new(Outbox::default());
    {
        let state = member.state();
        let (role, port, addresses) = member.announcement(&state);
        outbox.announce(role, port, addresses);
    }
    let number = member.channel_number();
    let is_own = dialled.is_some();
    let ip = from.or_else(|| dialled.as_ref().and_then(Address::ip));
    let near = Near {
        channel: number,
        is_own,
        role: Role::Tracker,
        block: ip.map_or_else(|| Block::of_unknown(&peer), Block::of),
        address: dialled,
        outbox: Arc::clone(&outbox),
        source: None,
        is_told: false,
        gives_slot: false,
    };
    let guard = Leaving { member, key: peer, channel: number };
    let ended = tokio::select! {
        sent = outbox.send(&mut writing) => sent,
        read = hear(member, peer, &mut reading, near, from, is_named) => read,
    };
    drop(guard);
    ended
}

/// Undoes what a channel has brought, however it ends.
struct Leaving<'a> {
    member: &'a Arc<Member>,
    key: MemberKey,
    channel: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let now = self.member.now();
        let gone = {
            let mut state = self.member.state();
            // Another channel may have taken its place.
            if state.near.get(&self.key).is_none_or(|near| near.channel != self.channel) {
                return;
            }
            let gone = state.near.remove(&self.key);
            state.neighbours.lost(&self.key, now);
            // It is not to begin anew with another channel before it is judged.
            if state.suspects.contains(&self.key) {
                state.neighbours.ban(self.key);
            }
            state.told.remove(&self.key);
            state.count_members();
            if let Some(work) = &mut state.work {
                work.part(&self.key, now);
            }
            state.update_members(self.member.key, now);
            gone
        };
        if let Some((id, _)) = gone.and_then(|near| near.source) {
            self.member.sources.leave(id);
        }
    }
}

async fn hear(
    member: &Arc<Member>,
    peer: MemberKey,
    reading: &mut (impl AsyncRead + Unpin),
    near: Near,
    from: Option<IpAddr>,
    is_named: bool,
) -> io::Result<()> {
    let Message::Announce { role, port, addresses } = wire::read(reading, 0, SILENCE).await? else {
        return Err(broken());
    };
    // A tracker says who owns the pieces, and is no neighbour that counts: not everybody may be one.
    if role == Role::Tracker && !is_named {
        return Err(broken());
    }
    // Anybody may be in an open swarm, and is not to lead its members to somebody else.
    let heard = addresses.into_iter().next().filter(|_| !member.ticket.is_open());
    let seen = from.filter(|_| port > 0).map(|from| Address::from(std::net::SocketAddr::new(from, port)));
    let address = near.address.clone().or(seen).or(heard);
    meet(member, peer, Near { role, address, ..near })?;
    let mut announcements = 1u32;
    let (mut has_set, mut has_named) = (false, false);
    let mut seen: Vec<u64> = Vec::new();
    let (mut count, mut since) = (0u32, tokio::time::Instant::now());
    loop {
        count = count.saturating_add(1);
        if count >= BURST {
            tokio::time::sleep(BURST_TIME.saturating_sub(since.elapsed())).await;
            (count, since) = (0, tokio::time::Instant::now());
        }
        let Some(message) = next(member, reading, role == Role::Tracker).await? else { continue };
        // One that is banned may still send, as long as it takes no leave.
        if member.state().neighbours.is_banned(&peer) {
            return Err(broken());
        }
        match message {
            Message::Announce { role: now, .. } => {
                let is_changed = (now == Role::Tracker) != (role == Role::Tracker);
                let role = now;
                announcements = announcements.saturating_add(1);
                if announcements > MOST_ANNOUNCEMENTS || is_changed {
                    return Err(broken());
                }
                let now = member.now();
                let mut state = member.state();
                state.near.get_mut(&peer).ok_or_else(broken)?.role = role;
                state.update_members(member.key, now);
            }
            Message::Peers(peers) => {
                let again = std::mem::replace(&mut has_named, true);
                if role == Role::Tracker || !again || !member.ticket.is_open() {
                    member.learn(peers, role == Role::Tracker);
                }
            }
            Message::Members { keys, .. } if role == Role::Tracker => {
                let now = member.now();
                let mut state = member.state();
                state.told.insert(peer, keys);
                state.update_members(member.key, now);
            }
            // Only trackers know all members.
            Message::Members { .. } => return Err(broken()),
            Message::HaveAll | Message::HaveSet(_) if std::mem::replace(&mut has_set, true) => {
                return Err(broken());
            }
            Message::HaveAll => gain(member, &peer, &mut seen, 0..)?,
            Message::HaveSet(bits) => {
                let is_set = |piece: &u32| {
                    let byte = usize::try_from(piece / 8).ok().and_then(|at| bits.get(at));
                    byte.is_some_and(|byte| byte >> (piece % 8) & 1 == 1)
                };
                let most = u32::try_from(bits.len()).unwrap_or(u32::MAX).saturating_mul(8);
                gain(member, &peer, &mut seen, (0..most).filter(is_set))?;
            }
            Message::Have(pieces) => gain(member, &peer, &mut seen, pieces)?,
            Message::Claim(piece) => {
                let now = member.now();
                if let Some(work) = &mut member.state().work {
                    work.plan.claimed(&peer, piece.map(Piece), now);
                }
            }
            Message::Slot(has_slot) => {
                let mut state = member.state();
                state.near.get_mut(&peer).ok_or_else(broken)?.gives_slot = has_slot;
                if let Some(work) = &mut state.work {
                    work.plan.set_slot(&peer, has_slot);
                }
            }
            Message::Bye => return Ok(()),
            Message::Alive => {}
            _ => return Err(broken()),
        }
    }
}

/// Reads the next message. Those about pieces wait until the list is known, and others behind them: the member is read no further.
async fn next(
    member: &Member,
    reading: &mut (impl AsyncRead + Unpin),
    is_tracker: bool,
) -> io::Result<Option<Message>> {
    let mut header = [0; HEADER];
    wire::timed(SILENCE, reading.read_exact(&mut header)).await?;
    let mut pieces = 0;
    if Header::is_of_trackers(header) && !is_tracker {
        return Err(broken());
    }
    if Header::is_about_pieces(header) {
        let mut begun = member.begun.subscribe();
        let _ = begun.wait_for(|begun| *begun).await;
        pieces = member.state().work.as_ref().map_or(0, |work| work.pieces.count());
    }
    let header =
        Header::parse(header, pieces).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    wire::content(reading, header, pieces, SILENCE).await
}

/// Makes a member a neighbour.
fn meet(member: &Arc<Member>, peer: MemberKey, mut near: Near) -> io::Result<()> {
    let now = member.now();
    let is_tracker = near.role == Role::Tracker;
    let source = near.address.clone().filter(|_| !is_tracker).map(|address| {
        let (swarm, carrier) = (member.swarm.clone(), Arc::clone(&member.carrier));
        Arc::new(PeerSource::new(peer, address, swarm, member.ticket.is_open(), carrier))
    });
    let outbox = Arc::clone(&near.outbox);
    let gone = {
        let mut state = member.state();
        if let Some(there) = state.near.get(&peer)
            && there.is_own != near.is_own
            && near.is_own != (member.key < peer)
        {
            // Of two channels, both sides keep the one that the smaller key has opened.
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.suspects.contains(&peer) || state.neighbours.is_banned(&peer) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut gone = Vec::new();
        if !is_tracker && !state.neighbours.connected(peer, near.is_own) {
            gone.extend(state.make_room(now));
            if !state.neighbours.connected(peer, near.is_own) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        if let Some(replaced) = state.near.remove(&peer) {
            gone.push(replaced);
            state.work.iter_mut().for_each(|work| work.part(&peer, now));
        }
        if let Some(source) = source {
            let joining: Arc<dyn Source> = Arc::<PeerSource>::clone(&source);
            let id = member.sources.join(joining);
            near.source = Some((id, source));
            let newest = id;
            state.given_by.insert(id, peer);
            while state.given_by.len() > MOST_REMEMBERED {
                let has_left = |id: &SourceId| {
                    let mut near = state.near.values().filter_map(|near| near.source.as_ref());
                    near.all(|(there, _)| there != id) && *id != newest
                };
                let Some(gone) = state.given_by.keys().find(|id| has_left(id)).copied() else { break };
                state.given_by.remove(&gone);
            }
        }
        if let Some(work) = &mut state.work {
            work.meet(peer, &near, now);
        }
        state.near.insert(peer, near);
        state.count_members();
        Member::tell_all(&mut state, &peer);
        state.update_members(member.key, now);
        gone
    };
    for old in gone {
        old.outbox.leave();
        old.source.iter().for_each(|(id, _)| member.sources.leave(*id));
    }
    if !is_tracker {
        outbox.peers(member.acquaintances(&peer));
    }
    Ok(())
}

/// Records pieces that a member has, each for the first time.
fn gain(
    member: &Member,
    peer: &MemberKey,
    seen: &mut Vec<u64>,
    pieces: impl IntoIterator<Item = u32>,
) -> io::Result<()> {
    let mut state = member.state();
    let source =
        state.near.get(peer).and_then(|near| near.source.as_ref()).map(|(_, source)| Arc::clone(source));
    let Some(work) = &mut state.work else { return Ok(()) };
    let count = work.pieces.count();
    seen.resize(usize::try_from(count.div_ceil(64)).unwrap_or(0), 0);
    for piece in pieces.into_iter().take_while(|piece| *piece < count) {
        let word = usize::try_from(piece / 64).ok().and_then(|at| seen.get_mut(at)).ok_or_else(broken)?;
        let bit = 1 << (piece % 64);
        if *word & bit != 0 {
            return Err(broken());
        }
        *word |= bit;
        work.plan.gained(peer, [Piece(piece)]);
        if let (Some(source), Some(place)) = (&source, work.pieces.place(piece)) {
            source.inventory.add(place.root, place.chunks);
        }
    }
    Ok(())
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a member does not keep to the order of messages")
}
