//! The news for one member that are not sent yet.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncWrite, sync::Notify};

use crate::{
    member::MemberKey,
    message::{MAX_HAVE, Message, Peer, Role},
    ticket::Address,
    wire,
};

/// The news for one member. Newer news take the place of older ones of the same kind, so that a member that reads slowly costs
/// little memory: four bytes for each piece at most.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    news: Mutex<News>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct News {
    announce: Option<Message>,
    peers: Option<Vec<Peer>>,
    members: Option<(u64, Vec<MemberKey>)>,
    /// The pieces of the beginning: all, or those that are set.
    set: Option<Message>,
    have: VecDeque<u32>,
    claim: Option<Option<u32>>,
    slot: Option<bool>,
    is_leaving: bool,
}

/// The time without news after which a member says that it is there.
const SILENCE: Duration = Duration::from_secs(10);
/// The time that the other side has to take what is sent.
const WRITE_TIME: Duration = Duration::from_secs(30);

impl Outbox {
    pub(crate) fn announce(&self, role: Role, port: u16, addresses: Vec<Address>) {
        self.news().announce = Some(Message::Announce { role, port, addresses });
        self.changed.notify_one();
    }

    pub(crate) fn peers(&self, peers: Vec<Peer>) {
        self.news().peers = Some(peers);
        self.changed.notify_one();
    }

    pub(crate) fn members(&self, epoch: u64, keys: Vec<MemberKey>) {
        self.news().members = Some((epoch, keys));
        self.changed.notify_one();
    }

    /// Tells the pieces of the beginning, before any that are gained later.
    pub(crate) fn set(&self, message: Message) {
        self.news().set = Some(message);
        self.changed.notify_one();
    }

    pub(crate) fn have(&self, piece: u32) {
        self.news().have.push_back(piece);
        self.changed.notify_one();
    }

    pub(crate) fn claim(&self, piece: Option<u32>) {
        self.news().claim = Some(piece);
        self.changed.notify_one();
    }

    pub(crate) fn slot(&self, has_slot: bool) {
        self.news().slot = Some(has_slot);
        self.changed.notify_one();
    }

    pub(crate) fn leave(&self) {
        self.news().is_leaving = true;
        self.changed.notify_one();
    }

    /// Sends the news as they come, until the stream or the membership ends.
    pub(crate) async fn send(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        loop {
            let (messages, is_last) = self.take();
            for message in &messages {
                wire::write(stream, message, WRITE_TIME).await?;
            }
            if is_last {
                return Ok(());
            }
            if messages.is_empty() && tokio::time::timeout(SILENCE, self.changed.notified()).await.is_err() {
                wire::write(stream, &Message::Alive, WRITE_TIME).await?;
            }
        }
    }

    /// The messages to send now, and whether they are the last ones.
    fn take(&self) -> (Vec<Message>, bool) {
        let mut news = self.news();
        let mut messages = Vec::new();
        messages.extend(news.announce.take());
        messages.extend(news.peers.take().map(Message::Peers));
        messages.extend(news.members.take().map(|(epoch, keys)| Message::Members { epoch, keys }));
        messages.extend(news.set.take());
        messages.extend(news.claim.take().map(Message::Claim));
        while !news.have.is_empty() {
            let count = news.have.len().min(MAX_HAVE);
            messages.push(Message::Have(news.have.drain(..count).collect()));
        }
        messages.extend(news.slot.take().map(Message::Slot));
        if news.is_leaving {
            messages.push(Message::Bye);
        }
        (messages, news.is_leaving)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
