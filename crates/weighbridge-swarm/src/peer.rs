//! A member as a source of a fetch.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::{
    io::AsyncReadExt as _,
    sync::{Mutex as Turn, OwnedMutexGuard},
};
use weighbridge_transfer::{Body, Fault, Inventory, Source, What};

use crate::{
    channel::{self, Carrier, Purpose, Stream},
    member::MemberKey,
    message::{Item, Message},
    plan::Failure,
    ticket::{Address, SwarmKey},
    wire,
};

/// A member as a source. It is asked for one thing at a time, over one channel that stays open.
pub(crate) struct PeerSource {
    name: String,
    key: MemberKey,
    address: Address,
    swarm: SwarmKey,
    /// Whether a request for bytes of a file is given up when the member is busy: in an open swarm it has taken its slot back.
    gives_up: bool,
    carrier: Arc<dyn Carrier>,
    pub(crate) inventory: Inventory,
    /// The open channel. Its owner is the request that is under way.
    channel: Arc<Turn<Option<Box<dyn Stream>>>>,
    failure: Mutex<Option<Failure>>,
}

/// The time in which a member has to begin to answer: it may have others waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// The bytes that are read at once.
const FRAME: usize = 64 << 10;
/// The most times that a member may say that it is busy, for one request.
const BUSY_TIMES: u32 = 16;

impl PeerSource {
    pub(crate) fn new(
        key: MemberKey,
        address: Address,
        swarm: SwarmKey,
        gives_up: bool,
        carrier: Arc<dyn Carrier>,
    ) -> Self {
        let name = format!("member {key} at {address}");
        let inventory = Inventory::default();
        Self {
            name,
            key,
            address,
            swarm,
            gives_up,
            carrier,
            inventory,
            channel: Arc::default(),
            failure: Mutex::default(),
        }
    }

    /// The reason why the last request brought nothing, if it is known.
    pub(crate) fn take_failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, why: Failure) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Asks for something, and returns the answer and the channel on which its bytes come.
    async fn ask(
        &self,
        item: Item,
        range: Range<u64>,
    ) -> Result<(Message, OwnedMutexGuard<Option<Box<dyn Stream>>>), Fault> {
        let _ = self.take_failure();
        let mut turn = Arc::clone(&self.channel).lock_owned().await;
        let get = Message::Get { item, start: range.start, count: range.end.saturating_sub(range.start) };
        // A channel that was idle may have been closed by the other side meanwhile.
        let was_open = turn.is_some();
        for times in 0..BUSY_TIMES {
            let answer = match self.try_ask(&mut turn, &get).await {
                Err(_) if was_open && times == 0 => self.try_ask(&mut turn, &get).await,
                answer => answer,
            };
            match answer {
                Ok(Message::Busy(wait)) if self.gives_up && matches!(item, Item::File(_)) => {
                    return Err(self.is_busy(Duration::from_millis(wait.into()).min(LONGEST_WITHOUT_SLOT)));
                }
                Ok(Message::Busy(wait)) => {
                    tokio::time::sleep(Duration::from_millis(wait.into()).min(LONGEST_BUSY)).await;
                }
                Ok(Message::Lack) => {
                    self.failed(Failure::Lacks);
                    return Err(Fault::Missing);
                }
                Ok(answer) => return Ok((answer, turn)),
                Err(error) => {
                    self.failed(Failure::Gone);
                    return Err(fault(&error));
                }
            }
        }
        Err(self.is_busy(LONGEST_BUSY))
    }

    fn is_busy(&self, wait: Duration) -> Fault {
        self.failed(Failure::Busy(wait));
        Fault::Busy { retry_after: Some(wait), what: "answers others".to_owned() }
    }

    /// Sends a request, and reads the beginning of its answer. A request that is given up meanwhile closes the channel: otherwise the
    /// next one would be given the answer of this one, and an honest member would be taken for a liar.
    async fn try_ask(&self, channel: &mut Option<Box<dyn Stream>>, get: &Message) -> io::Result<Message> {
        let mut stream = match channel.take() {
            Some(stream) => stream,
            None => {
                let carrier = &*self.carrier;
                let opened = channel::connect(carrier, &self.address, &self.swarm, Purpose::Requests).await?;
                if opened.peer != self.key {
                    return Err(io::Error::other("another member answers there"));
                }
                opened.stream
            }
        };
        wire::write(&mut stream, get, PATIENCE).await?;
        let answer = wire::read(&mut stream, 0, PATIENCE).await?;
        *channel = Some(stream);
        Ok(answer)
    }
}

/// The longest time that a member is left alone at its own word.
const LONGEST_BUSY: Duration = Duration::from_secs(2);
/// The longest time where a slot may be waited for.
const LONGEST_WITHOUT_SLOT: Duration = Duration::from_secs(10);

fn fault(error: &io::Error) -> Fault {
    Fault::Unreachable(error.to_string())
}

fn odd() -> Fault {
    Fault::Refused("answers with another message than the one that was asked for".to_owned())
}

fn item(what: &What) -> Option<Item> {
    match what {
        What::Head => Some(Item::Head),
        What::FileList { .. } => Some(Item::Files),
        What::TensorList { .. } => Some(Item::Tensors),
        What::Layers { .. } => Some(Item::Layers),
        What::File { root, .. } => Some(Item::File(*root)),
        What::Listed { .. } => None,
    }
}

#[async_trait]
impl Source for PeerSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn whole(&self, what: &What, limit: u64) -> Result<Vec<u8>, Fault> {
        if *what != What::Head {
            return Err(Fault::Missing);
        }
        match self.ask(Item::Head, 0..1).await? {
            (Message::GiveAll(bytes), _) if u64::try_from(bytes.len()).is_ok_and(|len| len <= limit) => {
                Ok(bytes)
            }
            (Message::GiveAll(_), _) => Err(Fault::OtherFile(format!("has more than {limit} bytes"))),
            (_, mut channel) => {
                *channel = None;
                Err(odd())
            }
        }
    }

    async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault> {
        let item = item(what).ok_or(Fault::Missing)?;
        let (answer, mut channel) = self.ask(item, range.clone()).await?;
        let Some(stream) = channel.take().filter(|_| answer == Message::Give) else { return Err(odd()) };
        let coming = Coming { stream, channel, left: range.end.saturating_sub(range.start) };
        Ok(Body::new(range.start, stream::try_unfold(Some(coming), next)))
    }

    fn inventory(&self) -> Option<&Inventory> {
        Some(&self.inventory)
    }
}

/// The bytes of an answer that are still to come. If it is dropped before its end, the channel is closed.
struct Coming {
    stream: Box<dyn Stream>,
    channel: OwnedMutexGuard<Option<Box<dyn Stream>>>,
    left: u64,
}

async fn next(coming: Option<Coming>) -> Result<Option<(Bytes, Option<Coming>)>, Fault> {
    let Some(mut coming) = coming else { return Ok(None) };
    let most = usize::try_from(coming.left).unwrap_or(usize::MAX).min(FRAME);
    let mut bytes = BytesMut::with_capacity(most);
    let mut limited = (&mut coming.stream).take(u64::try_from(most).unwrap_or(0));
    let read = limited.read_buf(&mut bytes).await.map_err(|error| fault(&error))?;
    if read == 0 {
        return Err(Fault::Unreachable(format!("ended {} bytes early", coming.left)));
    }
    coming.left = coming.left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
    if coming.left == 0 {
        let Coming { stream, mut channel, .. } = coming;
        *channel = Some(stream);
        return Ok(Some((bytes.freeze(), None)));
    }
    Ok(Some((bytes.freeze(), Some(coming))))
}

impl fmt::Debug for PeerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSource").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use weighbridge_manifest::EntryPath;
    use weighbridge_tree::FileRoot;

    use super::*;
    use crate::{
        channel::{Arriving, Link},
        ticket::{Access, Side, Ticket},
    };

    const ME: MemberKey = MemberKey::from_bytes([1; 32]);
    const OTHER: MemberKey = MemberKey::from_bytes([2; 32]);

    /// Leads to a member that answers each request after a moment: each byte of an answer is the position at which it begins.
    struct ToSlowMember(SwarmKey);

    impl fmt::Debug for ToSlowMember {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("ToSlowMember")
        }
    }

    #[async_trait]
    impl Carrier for ToSlowMember {
        fn key(&self) -> MemberKey {
            ME
        }

        async fn connect(&self, _: &Address) -> io::Result<Link> {
            let (here, there) = duplex(1 << 16);
            tokio::spawn(answer_slowly(there, self.0.clone()));
            Ok(Link { peer: OTHER, exporter: [0; 32], stream: Box::new(here) })
        }

        async fn accept(&self) -> io::Result<Arriving> {
            std::future::pending().await
        }
    }

    async fn answer_slowly(mut stream: DuplexStream, swarm: SwarmKey) -> io::Result<()> {
        stream.read_exact(&mut [0; 48]).await?;
        stream.write_all(swarm.proof(Side::Accepts, &[0; 32], &ME, &OTHER).as_bytes()).await?;
        assert_eq!(stream.read_u8().await?, 2);
        loop {
            let Message::Get { start, count, .. } = wire::read(&mut stream, 0, PATIENCE).await? else {
                continue;
            };
            tokio::time::sleep(Duration::from_millis(50)).await;
            wire::write(&mut stream, &Message::Give, PATIENCE).await?;
            stream.write_all(&vec![u8::try_from(start).unwrap(); usize::try_from(count).unwrap()]).await?;
        }
    }

    /// Regression: the next request was given the answer of one that had been given up, and the member was banned for it.
    #[tokio::test]
    async fn a_request_that_is_given_up_leaves_its_answer_to_nobody() {
        let ticket = Ticket {
            name: weighbridge_manifest::ModelName::parse("org/model").unwrap(),
            head: weighbridge_tree::HeadId::from_bytes([0; 32]),
            expires: weighbridge_manifest::Time::from_unix(1 << 33).unwrap(),
            access: Access::Secret([7; 32].into()),
            trackers: Vec::new(),
            members: Vec::new(),
        };
        let carrier = Arc::new(ToSlowMember(ticket.key()));
        let source = PeerSource::new(OTHER, Address::parse("a:1").unwrap(), ticket.key(), false, carrier);
        let path = EntryPath::parse("model.bin").unwrap();
        let what = What::File { path, root: FileRoot::from_bytes([3; 32]), size: 100 };
        let read = async |start: u64| {
            let mut body = source.open(&what, start..start + 9).await.unwrap();
            let mut all = Vec::new();
            while let Some(bytes) = body.next().await.unwrap() {
                all.extend_from_slice(&bytes);
            }
            all
        };
        assert_eq!(read(1).await, [1; 9]);
        // Given up before the answer, on a channel that was open, and on one that was not.
        for start in [10, 30] {
            let early =
                tokio::time::timeout(Duration::from_millis(20), source.open(&what, start..start + 9)).await;
            assert!(early.is_err());
            assert_eq!(read(start + 10).await, [u8::try_from(start + 10).unwrap(); 9]);
        }
        // Given up in the middle of the answer.
        drop(source.open(&what, 50..59).await.unwrap());
        assert_eq!(read(60).await, [60; 9]);
        // One that has come to its end keeps the channel.
        assert!(source.channel.lock().await.is_some());
    }
}
