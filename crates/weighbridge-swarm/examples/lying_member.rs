//! A member that says it has all of a release, and gives wrong bytes for every chunk: to see that others ban it, in
//! `benches/swarm_lab.py --liar`.
//!
//! usage: `lying_member TICKET HEAD.NOTE ADDRESS`. It lets members in at port 7171 of the address.

use std::{error::Error, fs, io, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};
use weighbridge_swarm::{
    Address, Carrier as _, HEADER, Header, Identity, Item, Link, Message, Role, Side, Stream, Ticket,
    TlsCarrier,
};

const PORT: u16 = 7171;
/// More pieces than any release of the laboratory has.
const PIECES: u32 = 1 << 20;

struct Liar {
    carrier: TlsCarrier,
    ticket: Ticket,
    note: Vec<u8>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: lying_member TICKET HEAD.NOTE ADDRESS");
    let ticket = Ticket::parse(&fs::read(next()?)?)?;
    let note = fs::read(next()?)?;
    let at = format!("{}:{PORT}", next()?).parse()?;
    let carrier = TlsCarrier::bind(&Identity::random()?, at, |_| true).await?;
    let liar = Arc::new(Liar { carrier, ticket, note });
    let mut channels = JoinSet::new();
    for tracker in liar.ticket.trackers.clone() {
        channels.spawn(Arc::clone(&liar).tell(tracker, None));
    }
    loop {
        let arriving = liar.carrier.accept().await?;
        let liar = Arc::clone(&liar);
        channels.spawn(async move { liar.answer(arriving.handshake.await?).await });
    }
}

impl Liar {
    /// Tells a tracker, and each member that it names, that all is here.
    fn tell(self: Arc<Self>, address: Address, lie: Option<Message>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let Link { peer, exporter, mut stream } = self.carrier.connect(&address).await?;
            let (swarm, me) = (self.ticket.key(), self.carrier.key());
            stream.write_all(swarm.label().as_bytes()).await?;
            stream.write_all(swarm.proof(Side::Connects, &exporter, &me, &peer).as_bytes()).await?;
            stream.flush().await?;
            stream.read_exact(&mut [0; 32]).await?;
            stream.write_all(&[1]).await?;
            self.introduce(&mut stream, lie).await?;
            let mut told = JoinSet::new();
            loop {
                if let Message::Peers(peers) = hear(&mut stream).await? {
                    for peer in peers {
                        told.spawn(Arc::clone(&self).tell(peer.address, Some(Message::HaveAll)));
                    }
                }
            }
        })
    }

    async fn introduce(&self, stream: &mut Box<dyn Stream>, lie: Option<Message>) -> io::Result<()> {
        let announce = Message::Announce { role: Role::HasAll, port: PORT, addresses: Vec::new() };
        stream.write_all(&announce.write()).await?;
        if let Some(lie) = lie {
            stream.write_all(&lie.write()).await?;
        }
        stream.flush().await
    }

    async fn answer(&self, link: Link) -> io::Result<()> {
        let Link { peer, exporter, mut stream } = link;
        stream.read_exact(&mut [0; 48]).await?;
        let proof = self.ticket.key().proof(Side::Accepts, &exporter, &peer, &self.carrier.key());
        stream.write_all(proof.as_bytes()).await?;
        stream.flush().await?;
        if stream.read_u8().await? == 1 {
            self.introduce(&mut stream, Some(Message::HaveAll)).await?;
        }
        loop {
            let Message::Get { item, count, .. } = hear(&mut stream).await? else { continue };
            match item {
                Item::Head => stream.write_all(&Message::GiveAll(self.note.clone()).write()).await?,
                Item::File(_) => {
                    eprintln!("{peer} is given {count} wrong bytes");
                    stream.write_all(&Message::Give.write()).await?;
                    stream.write_all(&vec![0x5a; usize::try_from(count).unwrap_or(0)]).await?;
                }
                _ => stream.write_all(&Message::Lack.write()).await?,
            }
            stream.flush().await?;
        }
    }
}

/// The next message that names members or asks for something. The liar does not know how many pieces there are, and takes no
/// interest in those of others.
async fn hear(stream: &mut Box<dyn Stream>) -> io::Result<Message> {
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await?;
        let [kind, len @ ..] = header;
        let mut content = vec![0; usize::try_from(u32::from_le_bytes(len)).unwrap_or(0)];
        stream.read_exact(&mut content).await?;
        if matches!(kind, 2 | 16)
            && let Ok(header) = Header::parse(header, PIECES)
            && let Ok(Some(message)) = Message::parse(header, &content, PIECES)
        {
            return Ok(message);
        }
    }
}
