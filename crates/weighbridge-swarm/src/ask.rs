//! Asks who is in a swarm, and how far each is, without being in it.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt as _, task::JoinSet, time::Instant};

use crate::{
    channel::{self, Carrier, Purpose, Stream},
    member::MemberKey,
    message::{HEADER, Header, MAX_PIECES, Message, Role},
    ticket::{Address, SwarmKey, Ticket},
    tls::{Identity, TlsCarrier},
    wire,
};

/// The time that a tracker, or a member, has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that a member has to say which pieces it has: those that know the list say it at once, others say nothing.
const NEWS: Duration = Duration::from_secs(1);
/// The most members that are asked at once.
const AT_ONCE: usize = 16;

/// A member, by the word of its tracker and by its own. Nobody vouches for either.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedMember {
    /// The address at which it lets others in, if the tracker names one.
    pub address: Option<Address>,
    /// The things that it says of itself; `None` if its address is not known, or it does not answer.
    pub says: Option<Says>,
}

/// The things that a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Says {
    /// Its role.
    pub role: Role,
    /// The part of the pieces that it has, from 0 to 1, and at most seven pieces too small. `None` if it says nothing of
    /// pieces: it does not know the list yet, or has as many neighbours as it may have.
    pub has: Option<f64>,
    /// The piece that it asks the origin for, and waits for.
    pub claim: Option<u32>,
}

/// The members of a swarm, as the first tracker that answers names them: those that it says fetch all of the release, and those at
/// whose addresses others are let in. The latter are asked how far they are.
///
/// A member that is asked has a neighbour more meanwhile.
///
/// # Errors
/// The ticket names no tracker, or none answers.
pub async fn ask_members(
    ticket: &Ticket,
    identity: &Identity,
) -> io::Result<BTreeMap<MemberKey, AskedMember>> {
    let listed = ticket.clone();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let carrier = Arc::new(TlsCarrier::bind(identity, any, move |key| listed.lists(key)).await?);
    let mut found = ask_tracker(ticket, &carrier).await?;
    found.remove(&identity.key());
    let mut members: BTreeMap<MemberKey, AskedMember> =
        found.into_iter().map(|(key, address)| (key, AskedMember { address, says: None })).collect();
    let mut to_ask: Vec<_> =
        members.iter().filter_map(|(key, member)| Some((*key, member.address.clone()?))).collect();
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < AT_ONCE
            && let Some((key, address)) = to_ask.pop()
        {
            let (carrier, swarm) = (Arc::clone(&carrier), ticket.key());
            asking.spawn(async move { (key, ask_member(&*carrier, &swarm, key, &address).await) });
        }
        let Some(asked) = asking.join_next().await else { return Ok(members) };
        if let Ok((key, Ok(says))) = asked
            && let Some(member) = members.get_mut(&key)
        {
            member.says = Some(says);
        }
    }
}

/// The members that the first tracker which answers names.
async fn ask_tracker(
    ticket: &Ticket,
    carrier: &TlsCarrier,
) -> io::Result<BTreeMap<MemberKey, Option<Address>>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the ticket names none");
    for tracker in &ticket.trackers {
        let asked = async {
            let (mut stream, _) = open(carrier, &ticket.key(), tracker).await?;
            let mut found: BTreeMap<MemberKey, Option<Address>> = BTreeMap::new();
            let (mut has_peers, mut has_members) = (false, false);
            while !has_peers || !has_members {
                match wire::read(&mut stream, 0, PATIENCE).await? {
                    Message::Peers(peers) => {
                        found.extend(peers.into_iter().map(|peer| (peer.key, Some(peer.address))));
                        has_peers = true;
                    }
                    Message::Members { keys, .. } => {
                        keys.into_iter().for_each(|key| _ = found.entry(key).or_default());
                        has_members = true;
                    }
                    _ => {}
                }
            }
            Ok(found)
        };
        match asked.await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Opens a channel for news, and announces a member that fetches nothing that it could own, and lets nobody in.
async fn open(
    carrier: &dyn Carrier,
    swarm: &SwarmKey,
    address: &Address,
) -> io::Result<(Box<dyn Stream>, MemberKey)> {
    let channel = channel::connect(carrier, address, swarm, Purpose::News).await?;
    let mut stream = channel.stream;
    let announcement = Message::Announce { role: Role::FetchesPart, port: 0, addresses: Vec::new() };
    wire::write(&mut stream, &announcement, PATIENCE).await?;
    Ok((stream, channel.peer))
}

/// Hears what a member tells a neighbour that is new.
async fn ask_member(
    carrier: &dyn Carrier,
    swarm: &SwarmKey,
    key: MemberKey,
    address: &Address,
) -> io::Result<Says> {
    let (mut stream, peer) = open(carrier, swarm, address).await?;
    if peer != key {
        return Err(io::Error::other("another member answers there"));
    }
    let Message::Announce { role, .. } = wire::read(&mut stream, 0, PATIENCE).await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut says = Says { role, has: None, claim: None };
    let until = Instant::now().checked_add(NEWS).unwrap_or_else(Instant::now);
    // The channel may end meanwhile, which takes back nothing of what was said.
    let _ = tokio::time::timeout_at(until, hear(&mut stream, &mut says)).await;
    let _ = wire::write(&mut stream, &Message::Bye, NEWS).await;
    Ok(says)
}

/// Hears the news until the claim, which ends those of the beginning.
async fn hear(stream: &mut Box<dyn Stream>, says: &mut Says) -> io::Result<()> {
    loop {
        let mut bytes = [0; HEADER];
        stream.read_exact(&mut bytes).await?;
        // The set has a bit for each piece of the release, whose number nobody here knows.
        let pieces = Header::set_pieces(bytes).unwrap_or(MAX_PIECES);
        let header = Header::parse(bytes, pieces)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match wire::content(stream, header, pieces, NEWS).await? {
            Some(Message::HaveAll) => says.has = Some(1.0),
            Some(Message::HaveSet(bits)) => {
                let held: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
                says.has = Some(f64::from(held) / f64::from(pieces.max(1)));
            }
            Some(Message::Claim(piece)) => {
                // One that knows the list and has nothing says nothing else.
                says.has.get_or_insert(0.0);
                says.claim = piece;
                return Ok(());
            }
            _ => {}
        }
    }
}
