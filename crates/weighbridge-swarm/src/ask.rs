//! Asks a tracker who is in a swarm, without being in it.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use crate::{
    channel::{self, Purpose},
    member::MemberKey,
    message::{Message, Role},
    ticket::{Address, Ticket},
    tls::{Identity, TlsCarrier},
    wire,
};

/// The time that a tracker has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The members of a swarm, as the first tracker that answers names them: those that it says fetch all of the release, and those at
/// whose addresses others are let in.
///
/// # Errors
/// The ticket names no tracker, or none answers.
pub async fn ask_tracker(
    ticket: &Ticket,
    identity: &Identity,
) -> io::Result<BTreeMap<MemberKey, Option<Address>>> {
    let listed = ticket.clone();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let carrier = TlsCarrier::bind(identity, any, move |key| listed.lists(key)).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the ticket names none");
    for tracker in &ticket.trackers {
        let asked = async {
            let channel = channel::connect(&carrier, tracker, &ticket.key(), Purpose::News).await?;
            let mut stream = channel.stream;
            // It fetches nothing that it could own, and lets nobody in.
            let announcement = Message::Announce { role: Role::FetchesPart, port: 0, addresses: Vec::new() };
            wire::write(&mut stream, &announcement, PATIENCE).await?;
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
            found.remove(&identity.key());
            Ok(found)
        };
        match asked.await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}
