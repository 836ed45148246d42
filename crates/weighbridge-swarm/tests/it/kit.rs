//! Members, origins and hostile members for the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use weighbridge_bandwidth::{Budget, Class, Peer, Share};
use weighbridge_manifest::{Expectation, ModelName, Time, TrustError, TrustPolicy, VerifiedHead};
use weighbridge_swarm::{
    Access, Address, Carrier as _, HEADER, Header, Identity, Item, Link, Message, Pieces, Role, Side, Stream,
    Swarm, SwarmKey, SwarmOptions, Tag, Ticket, TlsCarrier, Tracker, TrackerView,
};
use weighbridge_testkit::{CHUNK, Sample};
use weighbridge_transfer::{
    AnotherModel, Blame, Body, Claim, Event, Fault, FetchError, Fetched, Observer, Options, Source, Sources,
    Stop, Unlisted, Wanted, Watchdog, What, fetch,
};

/// The time in which everything that is to end has ended, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The length of a piece of the models here.
pub(crate) const PIECE: u64 = 256 << 10;

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub(crate) fn at(place: u64) -> usize {
    usize::try_from(place).unwrap()
}

/// A model of one file with so many pieces, the last one short.
pub(crate) fn model(pieces: u64) -> Arc<Sample> {
    Arc::new(Sample::of(&[("model.bin", at(pieces * PIECE - 1000))], 1))
}

/// A ticket for the release. With `members`, only these are members.
pub(crate) fn ticket(sample: &Sample, members: &[&Identity]) -> Ticket {
    let mut members: Vec<_> = members.iter().map(|one| one.key()).collect();
    members.sort_unstable();
    Ticket {
        name: ModelName::parse("test/model").unwrap(),
        head: sample.id,
        expires: Time::parse("2999-01-01T00:00:00Z").unwrap(),
        access: Access::Secret([7; 32].into()),
        trackers: Vec::new(),
        members,
    }
}

/// An open ticket for the release.
pub(crate) fn open_ticket(sample: &Sample) -> Ticket {
    Ticket { access: Access::Open([7; 32]), ..ticket(sample, &[]) }
}

pub(crate) fn pieces(sample: &Sample) -> Pieces {
    Pieces::of(sample.list.entries().iter().map(|entry| (entry.root, entry.size)), CHUNK).unwrap()
}

/// A tracker that runs.
pub(crate) struct Tracking {
    pub(crate) address: SocketAddr,
    pub(crate) view: TrackerView,
    runs: JoinHandle<()>,
}

impl Tracking {
    pub(crate) async fn start(tickets: Vec<Ticket>) -> Self {
        let tracker = Tracker::bind(&Identity::random().unwrap(), loopback(), tickets).await.unwrap();
        let (address, view) = (tracker.address().unwrap(), tracker.view());
        let runs = tokio::spawn(tracker.run(std::future::pending()));
        Self { address, view, runs }
    }

    /// Starts a tracker for this ticket, and names it there.
    pub(crate) async fn named(ticket: &mut Ticket) -> Self {
        let tracking = Self::start(vec![ticket.clone()]).await;
        ticket.trackers.push(tracking.address.into());
        tracking
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.runs.abort();
    }
}

/// A budget of this many bytes per second, or without a limit.
fn budget(rate: Option<u64>) -> Budget {
    rate.map_or_else(Budget::unlimited, Budget::of)
}

/// An origin whose line all members share.
pub(crate) struct Origin {
    sample: Arc<Sample>,
    line: Share,
    pub(crate) given: AtomicU64,
    /// The chunks of the files that it gave, by path.
    gave: Mutex<BTreeSet<(String, u64)>>,
    /// By tag and first byte: how often a member has claimed a piece here.
    pub(crate) claims: Mutex<BTreeMap<(Tag, u64), u32>>,
    /// The time for which each member is to wait with each piece that it claims; for none, if `None`.
    holds_back: Option<Duration>,
    /// The origin is gone once it has given each chunk.
    dies: bool,
    /// Whether it gives bytes of files now.
    pub(crate) gives: watch::Sender<bool>,
    is_dead: AtomicBool,
}

impl Origin {
    pub(crate) fn new(sample: &Arc<Sample>, rate: impl Into<Option<u64>>) -> Arc<Self> {
        Arc::new(Self::of(sample, rate.into(), false))
    }

    /// An origin that answers nobody any more once it has given each chunk.
    pub(crate) fn that_dies(sample: &Arc<Sample>, rate: u64) -> Arc<Self> {
        Arc::new(Self::of(sample, Some(rate), true))
    }

    /// An origin that holds each piece back from each member once, for this time.
    pub(crate) fn that_holds_back(sample: &Arc<Sample>, rate: u64, time: Duration) -> Arc<Self> {
        Arc::new(Self { holds_back: Some(time), ..Self::of(sample, Some(rate), false) })
    }

    fn of(sample: &Arc<Sample>, rate: Option<u64>, dies: bool) -> Self {
        Self {
            sample: Arc::clone(sample),
            line: budget(rate).share(Class::Rest, Peer::unique()),
            given: AtomicU64::new(0),
            gave: Mutex::default(),
            claims: Mutex::default(),
            holds_back: None,
            dies,
            gives: watch::Sender::new(true),
            is_dead: AtomicBool::new(false),
        }
    }

    pub(crate) fn given(&self) -> u64 {
        self.given.load(SeqCst)
    }

    /// The number of models that it has given.
    #[allow(clippy::cast_precision_loss, reason = "models here are small")]
    pub(crate) fn models(&self) -> f64 {
        self.given() as f64 / size(&self.sample) as f64
    }

    fn gave(&self, path: &str, bytes: Range<u64>) {
        self.given.fetch_add(bytes.end - bytes.start, SeqCst);
        let mut gave = self.gave.lock().unwrap();
        gave.extend((bytes.start / CHUNK..bytes.end.div_ceil(CHUNK)).map(|chunk| (path.to_owned(), chunk)));
        let all: u64 = self.sample.list.entries().iter().map(|entry| entry.size.div_ceil(CHUNK)).sum();
        if self.dies && gave.len() == at(all) {
            self.is_dead.store(true, SeqCst);
        }
    }
}

/// The bytes of all files.
pub(crate) fn size(sample: &Sample) -> u64 {
    sample.list.entries().iter().map(|entry| entry.size).sum()
}

/// The origin as one member sees it.
pub(crate) struct Line(pub(crate) Arc<Origin>);

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("origin")
    }
}

#[async_trait]
impl Source for Line {
    fn name(&self) -> &'static str {
        "origin"
    }

    async fn whole(&self, what: &What, _: u64) -> Result<Vec<u8>, Fault> {
        match what {
            What::Head if !self.0.is_dead.load(SeqCst) => Ok(self.0.sample.note.clone()),
            What::Head => Err(Fault::Unreachable("dead".to_owned())),
            _ => Err(Fault::Missing),
        }
    }

    async fn open_claimed(&self, what: &What, range: Range<u64>, claim: &Claim) -> Result<Body, Fault> {
        let times = {
            let mut claims = self.0.claims.lock().unwrap();
            let times = claims.entry((Tag::from_bytes(claim.tag), range.start)).or_default();
            *times += 1;
            *times
        };
        match self.0.holds_back.filter(|_| times == 1) {
            Some(time) => Err(Fault::HeldBack(time)),
            None => self.open(what, range).await,
        }
    }

    async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault> {
        let origin = &self.0;
        if origin.is_dead.load(SeqCst) {
            return Err(Fault::Unreachable("dead".to_owned()));
        }
        let part = at(range.start)..at(range.end);
        match what {
            What::FileList { .. } => Ok(Body::of(range.start, origin.sample.files[part].to_vec())),
            What::Layers { .. } => Ok(Body::of(range.start, origin.sample.layers[part].to_vec())),
            What::File { path, .. } => {
                let found = origin.sample.contents.iter().find(|(there, _)| there == path);
                let bytes = found.ok_or(Fault::Missing)?.1[part].to_vec();
                let frames: Vec<_> = bytes.chunks(at(CHUNK)).map(<[u8]>::to_vec).collect();
                let state = (frames.into_iter(), Arc::clone(origin), range.start, path.as_str().to_owned());
                let next = |(mut frames, origin, start, path): (
                    std::vec::IntoIter<Vec<u8>>,
                    Arc<Origin>,
                    u64,
                    String,
                )| async move {
                    let frame = frames.next()?;
                    let _ = origin.gives.subscribe().wait_for(|gives| *gives).await;
                    origin.line.pay(frame.len()).await;
                    let end = start + u64::try_from(frame.len()).unwrap();
                    origin.gave(&path, start..end);
                    Some((Ok(frame.into()), (frames, origin, end, path)))
                };
                Ok(Body::new(range.start, stream::unfold(state, next).boxed()))
            }
            _ => Err(Fault::Missing),
        }
    }
}

/// The blames that a fetch has heard, by the number of the source.
#[derive(Default)]
pub(crate) struct Heard(Mutex<BTreeMap<usize, BTreeSet<&'static str>>>);

impl Observer for Heard {
    fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> {
        Ok(())
    }

    fn event(&self, event: Event) {
        if let Event::Source(status) = event
            && let Some((blame, _)) = status.blame
        {
            self.0.lock().unwrap().entry(status.source.number()).or_default().insert(blame.word());
        }
    }
}

impl Heard {
    /// The blames of a source.
    pub(crate) fn blames(&self, source: usize) -> Vec<&'static str> {
        self.0.lock().unwrap().get(&source).into_iter().flatten().copied().collect()
    }

    /// The number of sources that were blamed for a lie.
    pub(crate) fn liars(&self) -> usize {
        let heard = self.0.lock().unwrap();
        heard.values().filter(|words| words.contains(Blame::Lied.word())).count()
    }
}

/// The beginning of a member.
pub(crate) struct Begin {
    pub(crate) sample: Arc<Sample>,
    pub(crate) ticket: Ticket,
    pub(crate) identity: Identity,
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) part: Option<&'static str>,
    pub(crate) place: TempDir,
    pub(crate) rate: Option<u64>,
    pub(crate) share: bool,
}

impl Begin {
    pub(crate) fn of(sample: &Arc<Sample>, ticket: &Ticket) -> Self {
        Self {
            sample: Arc::clone(sample),
            ticket: ticket.clone(),
            identity: Identity::random().unwrap(),
            origin: None,
            peers: Vec::new(),
            part: None,
            place: tempfile::tempdir().unwrap(),
            rate: None,
            share: true,
        }
    }

    pub(crate) fn origin(self, origin: &Arc<Origin>) -> Self {
        Self { origin: Some(Arc::clone(origin)), ..self }
    }

    pub(crate) fn peers(self, peers: &[SocketAddr]) -> Self {
        Self { peers: peers.to_vec(), ..self }
    }

    /// Joins the swarm, and begins to fetch.
    pub(crate) async fn start(self) -> Node {
        self.join().await.fetch()
    }

    /// Joins the swarm, and fetches nothing yet.
    pub(crate) async fn join(self) -> Joined {
        self.try_join().await.unwrap()
    }

    /// Joins the swarm, unless it is refused.
    pub(crate) async fn try_join(self) -> io::Result<Joined> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        sources
            .extend(self.origin.iter().map(|origin| Arc::new(Line(Arc::clone(origin))) as Arc<dyn Source>));
        let sources = Sources::from(sources);
        let options = SwarmOptions {
            ticket: self.ticket.clone(),
            identity: self.identity.clone(),
            listen: loopback(),
            addresses: Vec::new(),
            peers: self.peers.iter().map(|peer| Address::from(*peer)).collect(),
            is_whole: self.part.is_none(),
            upload: budget(self.rate),
            share: self.share,
        };
        let swarm = Arc::new(Swarm::join(options, sources.clone()).await?);
        Ok(Joined { begin: self, swarm, sources })
    }

    /// A member that has all of the release, and gives it.
    pub(crate) async fn seed(self) -> Node {
        let origin = Origin::new(&self.sample, None);
        let node = self.origin(&origin).start().await;
        node.done().await;
        node
    }
}

/// A member that does not fetch yet.
pub(crate) struct Joined {
    begin: Begin,
    pub(crate) swarm: Arc<Swarm>,
    sources: Sources,
}

impl Joined {
    pub(crate) fn fetch(self) -> Node {
        let Self { begin, swarm, sources } = self;
        let wanted = begin.part.map(|pattern| {
            globset::GlobSet::builder().add(globset::Glob::new(pattern).unwrap()).build().unwrap()
        });
        let options = Options {
            sources,
            metadata: None,
            into: begin.place.path().join("m"),
            policy: TrustPolicy::pinned(begin.sample.id),
            expected: Expectation::any(),
            now: None,
            wanted: Wanted { files: wanted, tensors: None },
            unlisted: Unlisted::Report,
            another_model: AnotherModel::Refuse,
            memory: 64 << 20,
            receive: Share::unlimited(),
            watchdog: Watchdog { rate: 1024, window: Duration::from_secs(3) },
            guide: Some(swarm.guide()),
            nearby: None,
        };
        let (heard, stop) = (Arc::new(Heard::default()), Arc::new(Stop::default()));
        let (hears, stops) = (Arc::clone(&heard), Arc::clone(&stop));
        let fetch = tokio::spawn(async move { fetch(options, &*hears, &stops).await });
        let place = Some(begin.place);
        let part = begin.part.is_some();
        Node { sample: begin.sample, swarm, heard, stop, part, place, fetch: Mutex::new(Some(fetch)) }
    }
}

/// A member that fetches. When it is dropped, it is gone without a word.
pub(crate) struct Node {
    pub(crate) sample: Arc<Sample>,
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) stop: Arc<Stop>,
    part: bool,
    pub(crate) place: Option<TempDir>,
    fetch: Mutex<Option<JoinHandle<Result<Fetched, FetchError>>>>,
}

impl Node {
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.swarm.port()))
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.place.as_ref().unwrap().path().join("m")
    }

    /// The end of its fetch, whatever it is.
    pub(crate) async fn ended(&self, within: Duration) -> Result<Fetched, FetchError> {
        let fetch = self.fetch.lock().unwrap().take().unwrap();
        timeout(within, fetch).await.expect("the fetch ends in time").unwrap()
    }

    /// Waits until the fetch has ended well, and looks at each file.
    pub(crate) async fn done(&self) -> Fetched {
        self.done_within(SOON).await
    }

    pub(crate) async fn done_within(&self, within: Duration) -> Fetched {
        let fetched = self.ended(within).await.expect("the fetch ends well");
        for (path, bytes) in &self.sample.contents {
            let there = std::fs::read(self.folder().join(path.as_str()));
            assert!(
                there.as_ref().ok() == Some(bytes) || (self.part && there.is_err()),
                "{path:?} has other bytes"
            );
        }
        fetched
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(fetch) = self.fetch.lock().unwrap().take() {
            fetch.abort();
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(what, SOON, is_so).await;
}

pub(crate) async fn until_within(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < within, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A member that says what it likes.
pub(crate) struct Hostile {
    pub(crate) identity: Identity,
    pub(crate) carrier: TlsCarrier,
    pub(crate) swarm: SwarmKey,
    pub(crate) pieces: u32,
}

impl Hostile {
    pub(crate) async fn new(sample: &Sample, ticket: &Ticket) -> Self {
        Self::with(Identity::random().unwrap(), sample, ticket).await
    }

    pub(crate) async fn with(identity: Identity, sample: &Sample, ticket: &Ticket) -> Self {
        let carrier = TlsCarrier::bind(&identity, loopback(), |_| true).await.unwrap();
        Self { identity, carrier, swarm: ticket.key(), pieces: pieces(sample).count() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.carrier.address().unwrap()
    }

    pub(crate) async fn link(&self, to: SocketAddr) -> io::Result<Link> {
        self.carrier.connect(&to.into()).await
    }

    /// Connects, and proves that it is a member.
    pub(crate) async fn prove(&self, to: SocketAddr) -> io::Result<Talk> {
        let Link { peer, exporter, mut stream } = self.link(to).await?;
        let me = self.identity.key();
        stream.write_all(self.swarm.label().as_bytes()).await?;
        stream.write_all(self.swarm.proof(Side::Connects, &exporter, &me, &peer).as_bytes()).await?;
        stream.flush().await?;
        let mut proof = [0; 32];
        timeout(SOON, stream.read_exact(&mut proof)).await??;
        assert!(
            self.swarm.proof(Side::Accepts, &exporter, &me, &peer) == proof,
            "the other side proves itself"
        );
        Ok(Talk { stream, pieces: self.pieces })
    }

    /// Opens a channel for news, and says who it is.
    pub(crate) async fn news(&self, to: SocketAddr, role: Role) -> io::Result<Talk> {
        let mut talk = self.prove(to).await?;
        let announce = Message::Announce { role, port: self.address().port(), addresses: Vec::new() };
        talk.raw(&[1]).await?;
        talk.say(&announce).await?;
        // The other side does the same at once.
        let Message::Announce { .. } = talk.hear().await? else { panic!("another first message") };
        Ok(talk)
    }

    /// Opens a channel for requests.
    pub(crate) async fn requests(&self, to: SocketAddr) -> io::Result<Talk> {
        let mut talk = self.prove(to).await?;
        talk.raw(&[2]).await?;
        Ok(talk)
    }

    /// Waits for a member that connects, and proves itself to it. Returns the purpose too.
    pub(crate) async fn accept(&self) -> io::Result<(Talk, u8)> {
        let Link { peer, exporter, mut stream } = self.carrier.accept().await?.handshake.await?;
        let mut hello = [0; 48];
        stream.read_exact(&mut hello).await?;
        let proof = self.swarm.proof(Side::Accepts, &exporter, &peer, &self.identity.key());
        stream.write_all(proof.as_bytes()).await?;
        stream.flush().await?;
        let purpose = stream.read_u8().await?;
        Ok((Talk { stream, pieces: self.pieces }, purpose))
    }

    /// Answers the requests of members in some way, for as long as the result is kept.
    pub(crate) fn serve(
        self: &Arc<Self>,
        answer: impl Fn(Item, Range<u64>) -> Answer + Send + Sync + 'static,
    ) -> Serving {
        let (hostile, answer) = (Arc::clone(self), Arc::new(answer));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let of_task = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut channels = tokio::task::JoinSet::new();
            loop {
                let Ok((talk, purpose)) = hostile.accept().await else { continue };
                if purpose == 2 {
                    channels.spawn(answer_all(talk, Arc::clone(&answer), Arc::clone(&of_task)));
                }
            }
        });
        Serving { asked, task }
    }
}

/// The answer of a hostile member.
pub(crate) enum Answer {
    Give(Vec<u8>),
    /// The note of a head.
    Note(Vec<u8>),
    /// These bytes, and then the end of the channel.
    Break(Vec<u8>),
    /// Bytes without an end.
    Endless,
    Say(Message),
    /// Nothing at all.
    Silence,
    Close,
}

async fn answer_all(
    mut talk: Talk,
    answer: Arc<impl Fn(Item, Range<u64>) -> Answer>,
    asked: Arc<Mutex<Asked>>,
) -> io::Result<()> {
    loop {
        let Message::Get { item, start, count } = talk.hear().await? else { return Ok(()) };
        asked.lock().unwrap().push((item, start..start + count));
        match answer(item, start..start + count) {
            Answer::Give(bytes) => {
                talk.say(&Message::Give).await?;
                talk.raw(&bytes).await?;
            }
            Answer::Note(note) => talk.say(&Message::GiveAll(note)).await?,
            Answer::Break(bytes) => {
                talk.say(&Message::Give).await?;
                talk.raw(&bytes).await?;
                return Ok(());
            }
            Answer::Endless => {
                talk.say(&Message::Give).await?;
                loop {
                    talk.raw(&[0x5a; 16_384]).await?;
                }
            }
            Answer::Say(message) => talk.say(&message).await?,
            Answer::Silence => std::future::pending().await,
            Answer::Close => return Ok(()),
        }
    }
}

/// The requests that a member has heard.
pub(crate) type Asked = Vec<(Item, Range<u64>)>;

/// A hostile member that answers.
pub(crate) struct Serving {
    pub(crate) asked: Arc<Mutex<Asked>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// The number of requests for bytes of files.
    pub(crate) fn asked_for_files(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(item, _)| matches!(item, Item::File(_))).count()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The right bytes of an item.
pub(crate) fn right(sample: &Sample, item: Item, range: &Range<u64>) -> Vec<u8> {
    let part = at(range.start)..at(range.end);
    match item {
        Item::Head => sample.note.clone(),
        Item::Files => sample.files[part].to_vec(),
        Item::Layers => sample.layers[part].to_vec(),
        Item::Tensors => Vec::new(),
        Item::File(root) => {
            let file = (0..sample.contents.len()).find(|file| sample.root(*file) == root).unwrap();
            sample.bytes(file)[part].to_vec()
        }
    }
}

/// A channel whose one end is hostile.
pub(crate) struct Talk {
    stream: Box<dyn Stream>,
    pieces: u32,
}

impl Talk {
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(crate) async fn say(&mut self, message: &Message) -> io::Result<()> {
        self.raw(&message.write()).await
    }

    /// The next message of the other side.
    pub(crate) async fn hear(&mut self) -> io::Result<Message> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).await?;
        let header = Header::parse(header, self.pieces).map_err(io::Error::other)?;
        let mut content = vec![0; at(header.len.into())];
        self.stream.read_exact(&mut content).await?;
        Ok(Message::parse(header, &content, self.pieces).map_err(io::Error::other)?.expect("a known kind"))
    }

    /// Asks for bytes, and returns the answer with the bytes that belong to it.
    pub(crate) async fn get(&mut self, item: Item, range: Range<u64>) -> io::Result<(Message, Vec<u8>)> {
        let count = range.end - range.start;
        self.say(&Message::Get { item, start: range.start, count }).await?;
        let answer = timeout(SOON, self.hear()).await??;
        let mut bytes = Vec::new();
        if answer == Message::Give {
            bytes.resize(at(count), 0);
            timeout(SOON, self.stream.read_exact(&mut bytes)).await??;
        }
        Ok((answer, bytes))
    }

    /// Whether the other side closes the channel within this time, whatever it says before.
    pub(crate) async fn is_closed_within(&mut self, time: Duration) -> bool {
        let mut bytes = [0; 4096];
        let reads = async { while let Ok(1..) = self.stream.read(&mut bytes).await {} };
        timeout(time, reads).await.is_ok()
    }

    /// Keeps the channel open, and reads what comes, until the result is dropped.
    pub(crate) fn keep(mut self) -> Kept {
        Kept(tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(1..) = self.stream.read(&mut bytes).await {}
        }))
    }
}

/// A channel that is kept open.
pub(crate) struct Kept(JoinHandle<()>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The resident memory of this process in bytes; 0 where the system does not tell.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Checks that this process has grown by less than what a member without bounds would take. Other tests run beside.
pub(crate) fn assert_is_small(before: u64) {
    let more = resident().saturating_sub(before);
    assert!(more < 512 << 20, "{more} bytes more");
}

/// Another address of loopback, from which nobody else comes.
pub(crate) fn other_address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}
