//! The way up: a model is brought to receivers, and what counts is what they have verified and made durable.
//!
//! Each target has a task of its own: a `receiver` is asked by the requests of `spec/push.md`, a `bucket` is written to. What has
//! happened there is on its `board`, from which events are told.

use std::{
    collections::HashSet,
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ::http::HeaderValue;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::MissedTickBehavior;
use url::Url;
use weighbridge_manifest::{Vkey, shown};
use weighbridge_store::{CHUNKS, FILES, IoError, OpenError, TENSORS};
use weighbridge_tree::{Coded, ErrorCode, HeadId, Nonce};

use crate::{
    board::lock,
    options::Stop,
    source::http::{Client, public},
};

pub(crate) mod messages;
mod model;
mod receiver;

use messages::{PushMissing, PushNeeds, PushState, parse_push_range};
use model::Model;
pub use receiver::{ReceiptFault, check_receipt};
use receiver::{Receiver, Trouble, content_range};

/// A place that a model is brought to.
pub struct PushTarget {
    name: String,
    to: To,
}

enum To {
    Receiver(Receiver),
}

/// Makes targets. All targets of one factory share one HTTP client.
#[derive(Default)]
pub struct PushTargets {
    client: std::sync::OnceLock<Result<Client, String>>,
}

impl PushTargets {
    /// A factory. Its client is made when it is first needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A server that takes models, by its address: `https://host`, or `http`. `vkey` is its key, which signs the receipt; `token` is
    /// the one that it knows the sender by.
    ///
    /// # Errors
    /// The reason, as a sentence. The address, which may hold a secret, is not part of it.
    ///
    /// # Example
    /// ```
    /// use weighbridge_transfer::PushTargets;
    /// # use weighbridge_manifest::{KeyName, Vkey};
    /// # let node = weighbridge_publish::SecretKey::generate(KeyName::parse("node")?)?;
    /// # let vkey = node.vkey().clone();
    ///
    /// let target = PushTargets::new().receiver("https://user@receiver.example/", vkey.clone(), Some("secret"))?;
    /// assert_eq!(target.name(), "https://receiver.example");
    /// assert!(PushTargets::new().receiver("ftp://receiver.example", vkey, None).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receiver(&self, address: &str, vkey: Vkey, token: Option<&str>) -> Result<PushTarget, String> {
        let mut url = Url::parse(address).map_err(|error| format!("it is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{} is no scheme of a receiver: http or https is", shown(url.scheme())));
        }
        url.set_fragment(None);
        url.set_query(None);
        let token = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            Ok::<_, ::http::header::InvalidHeaderValue>(value)
        });
        let token =
            token.transpose().map_err(|_| "the token has characters that no header can have".to_owned())?;
        let client = self.client.get_or_init(Client::new).clone().map_err(|error| error.clone())?;
        let (name, url) = (public(&url), url);
        Ok(PushTarget { name, to: To::Receiver(Receiver::new(client, url, token, vkey)) })
    }
}

impl PushTargets {
    /// A folder in a bucket, by its address: `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`.
    ///
    /// # Errors
    /// The reason, as a sentence.
    pub fn bucket(&self, _address: &str) -> Result<PushTarget, String> {
        Err("this build does not support buckets".to_owned())
    }
}

impl PushTarget {
    /// The address, without what may be a secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// How far a push to one target is. None of `verified` and `durable` falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushProgress {
    /// Bytes of chunks that were sent, each time that they were.
    pub sent: u64,
    /// Bytes that the target has verified, whoever brought them.
    pub verified: u64,
    /// Verified bytes that outlast a crash of the target.
    pub durable: u64,
    /// The bytes of the model. Files with the same content count once.
    pub wanted: u64,
}

/// The reason why nothing moved for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushWaiting {
    /// What is waited for.
    pub reason: PushReason,
    /// The file that it is about, or a file of metadata.
    pub path: Option<String>,
    /// For how long nothing has moved.
    pub since: Duration,
}

/// The kinds of reason why nothing moves.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushReason {
    /// The target says nothing, for this long.
    Silent(Duration),
    /// The target works: a word for what it does.
    Working(String),
    /// Bytes are on their way.
    Sending,
    /// The target is tried again later: the reason, and the time until then.
    Again(String, Duration),
    /// This machine reads.
    Reading,
}

/// What happens during a push. The number is that of the target, in the order of the options.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum PushEvent {
    /// The model is open.
    Begun {
        /// The name in its head.
        name: String,
        /// Its head.
        head: HeadId,
        /// The bytes of its files.
        bytes: u64,
    },
    /// Something has moved.
    Progress(usize, PushProgress),
    /// Nothing has moved for two seconds. Told once a second for as long as that lasts.
    Waiting(usize, PushWaiting),
    /// The target has all of it. The receipt's note, of a target that signs one.
    Done(usize, Option<String>),
    /// The push to this target has ended without success.
    Failed(usize, Arc<PushError>),
}

/// Options of a push.
pub struct PushOptions {
    /// The weighed folder.
    pub model: PathBuf,
    /// The targets, at least one.
    pub targets: Vec<PushTarget>,
    /// A target that nothing reaches for this long is given up; one that has never answered, in a tenth of it.
    pub patience: Duration,
}

/// The time for which a target may be silent, if the caller says nothing else.
pub const PUSH_PATIENCE: Duration = Duration::from_secs(300);

/// The reason why a push did not succeed.
#[non_exhaustive]
#[derive(Debug)]
pub enum PushError {
    /// The model cannot be opened.
    Model(OpenError),
    /// The model was weighed without layers, or they are not there.
    NoLayers,
    /// A file of the model cannot be read.
    Io(IoError),
    /// A file of the model has changed since it was weighed.
    Changed {
        /// The path of the file.
        path: String,
    },
    /// The receiver refuses.
    Refused {
        /// The stable code of the reason, if it says one.
        code: Option<u16>,
        /// Its words, as a sentence that begins behind the receiver's name.
        message: String,
    },
    /// The receiver did not answer for too long, or with nothing but excuses.
    Unreachable {
        /// The last reason.
        why: String,
    },
    /// The receipt shows nothing.
    Receipt(ReceiptFault),
    /// The caller asked for the end.
    Stopped,
    /// A fault of weighbridge.
    Bug,
}

impl Coded for PushError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Model(error) => error.error_code(),
            Self::NoLayers => ErrorCode::LAYER_NEEDED,
            Self::Io(error) => error.error_code(),
            Self::Changed { .. } => ErrorCode::CHUNK_MISMATCH,
            Self::Refused { .. } => ErrorCode::PUSH_REFUSED,
            Self::Unreachable { .. } => ErrorCode::NO_RECEIVER,
            Self::Receipt(fault) => fault.code,
            Self::Stopped => ErrorCode::PUSH_STOPPED,
            Self::Bug => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::NoLayers => {
                f.write_str("the model has no chunk layers, by which a receiver judges what comes")
            }
            Self::Io(error) => error.fmt(f),
            Self::Changed { path } => write!(f, "{} has changed since it was weighed", shown(path)),
            Self::Refused { message, .. } => f.write_str(message),
            Self::Unreachable { why } => f.write_str(why),
            Self::Receipt(fault) => fault.fmt(f),
            Self::Stopped => f.write_str("stopped"),
            Self::Bug => f.write_str("a fault of weighbridge, told above; please report it"),
        }
    }
}

impl std::error::Error for PushError {}

/// Brings a model to all targets at once.
///
/// # Guarantee
/// A target that is told as done has the whole model, as it says itself: a receiver by a receipt of its key that answers a nonce of
/// this run. What a target has verified before, in this run or another, is not sent again.
///
/// # Non-guarantee
/// A receipt is a claim. The bytes of a bucket were read back in part.
///
/// # Errors
/// [`PushError`], if the model cannot be opened. What happens to a target is an event: one that fails keeps no other from going on.
/// Returns the number of targets that are done.
///
/// # Cost
/// At most 8 MiB, or 8 chunks, for each target, and what the lists take. Needs a Tokio runtime with time and I/O.
pub async fn push(
    options: PushOptions,
    tell: &(dyn Fn(PushEvent) + Sync),
    stop: &Stop,
) -> Result<usize, PushError> {
    let _ends = stop.begin();
    let PushOptions { model, targets, patience } = options;
    let model = Arc::new(blocking(move || Model::open(&model)).await?);
    let head = model.head();
    tell(PushEvent::Begun {
        name: head.head().name.as_str().to_owned(),
        head: head.id(),
        bytes: head.head().bytes,
    });
    let mut seen = HashSet::new();
    let entries = model.files.entries().iter();
    let wanted = entries.filter(|entry| seen.insert(entry.root)).map(|entry| entry.size).sum();
    drop(seen);
    let boards: Vec<_> = targets.iter().map(|_| Arc::new(Board::new(wanted, patience))).collect();
    let mut tasks: FuturesUnordered<_> = targets
        .iter()
        .zip(&boards)
        .enumerate()
        .map(|(number, (target, board))| {
            let model = &model;
            async move {
                let To::Receiver(receiver) = &target.to;
                (number, Sender { receiver, model, board }.run().await)
            }
        })
        .collect();
    let mut pulses: Vec<_> = boards.iter().map(|board| Pulse::new(Arc::clone(board))).collect();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = 0;
    loop {
        tokio::select! {
            () = stop.asked() => {
                for (number, pulse) in pulses.iter_mut().enumerate().filter(|(_, pulse)| !pulse.has_ended) {
                    pulse.beat(number, tell);
                    tell(PushEvent::Failed(number, Arc::new(PushError::Stopped)));
                }
                return Ok(done);
            }
            _ = tick.tick() => {
                pulses.iter_mut().enumerate().for_each(|(number, pulse)| pulse.beat(number, tell));
            }
            ended = tasks.next() => {
                let Some((number, result)) = ended else { return Ok(done) };
                if let Some(pulse) = pulses.get_mut(number) {
                    pulse.beat(number, tell);
                    pulse.has_ended = true;
                }
                match result {
                    Ok(receipt) => {
                        done += 1;
                        tell(PushEvent::Done(number, receipt));
                    }
                    Err(error) => tell(PushEvent::Failed(number, Arc::new(error))),
                }
            }
        }
    }
}

/// What has happened at one target.
struct Board {
    wanted: u64,
    patience: Duration,
    sent: AtomicU64,
    verified: AtomicU64,
    durable: AtomicU64,
    state: Mutex<Standing>,
}

struct Standing {
    /// When something moved last: bytes were verified or made durable, metadata were taken.
    moved: Instant,
    /// When the target answered last.
    heard: Instant,
    has_answered: bool,
    /// The work of the target, by its last word.
    working: Option<(String, String)>,
    /// The reason why it is tried again, and when.
    again: Option<(String, Instant)>,
    /// The file that is being sent, or read here.
    at: Option<String>,
}

impl Board {
    fn new(wanted: u64, patience: Duration) -> Self {
        let now = Instant::now();
        let state =
            Standing { moved: now, heard: now, has_answered: false, working: None, again: None, at: None };
        let none = || AtomicU64::new(0);
        Self { wanted, patience, sent: none(), verified: none(), durable: none(), state: Mutex::new(state) }
    }

    fn progress(&self) -> PushProgress {
        PushProgress {
            sent: self.sent.load(Relaxed),
            verified: self.verified.load(Relaxed),
            durable: self.durable.load(Relaxed),
            wanted: self.wanted,
        }
    }

    /// The target has said how far it is. No number that is too large, or falls, is believed.
    fn hear(&self, state: &PushState) {
        let (verified, durable) = (state.verified.min(self.wanted), state.durable.min(self.wanted));
        let before = self.verified.fetch_max(verified, Relaxed);
        let moved = verified > before || durable > self.durable.fetch_max(durable, Relaxed);
        let mut standing = lock(&self.state);
        standing.heard = Instant::now();
        if moved {
            standing.moved = standing.heard;
        }
        standing.working = state.doing.as_ref().map(|doing| (shown(&doing.work), shown(&doing.path)));
    }

    fn move_on(&self) {
        let mut standing = lock(&self.state);
        standing.moved = Instant::now();
        (standing.heard, standing.again) = (standing.moved, None);
    }

    fn answers(&self) {
        let mut standing = lock(&self.state);
        (standing.heard, standing.again, standing.has_answered) = (Instant::now(), None, true);
    }

    fn at(&self, path: &str) {
        lock(&self.state).at = Some(path.to_owned());
    }

    fn waiting(&self) -> Option<PushWaiting> {
        let standing = lock(&self.state);
        let since = standing.moved.elapsed();
        if since < QUIET {
            return None;
        }
        let silent = standing.heard.elapsed();
        let path = standing.at.clone();
        let (reason, path) = match (&standing.again, &standing.working) {
            (Some((why, at)), _) => {
                (PushReason::Again(why.clone(), at.saturating_duration_since(Instant::now())), path)
            }
            _ if silent >= SILENT => (PushReason::Silent(silent), path),
            (None, Some((work, path))) => (PushReason::Working(work.clone()), Some(path.clone())),
            (None, None) => (PushReason::Sending, path),
        };
        Some(PushWaiting { reason, path, since })
    }
}

/// Tells of a target while it goes on.
struct Pulse {
    board: Arc<Board>,
    told: PushProgress,
    told_waiting: Option<Instant>,
    has_ended: bool,
}

impl Pulse {
    fn new(board: Arc<Board>) -> Self {
        Self { board, told: PushProgress::default(), told_waiting: None, has_ended: false }
    }

    fn beat(&mut self, number: usize, tell: &(dyn Fn(PushEvent) + Sync)) {
        if self.has_ended {
            return;
        }
        let progress = self.board.progress();
        if progress != self.told {
            self.told = progress;
            tell(PushEvent::Progress(number, progress));
        }
        let is_due = self.told_waiting.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
        if let Some(waiting) = self.board.waiting().filter(|_| is_due) {
            self.told_waiting = Some(Instant::now());
            tell(PushEvent::Waiting(number, waiting));
        }
    }
}

/// How often the state is told.
const TICK: Duration = Duration::from_millis(200);
/// How often a receiver is asked for its state.
const ASK: Duration = Duration::from_millis(500);
/// How long nothing may move before the push says that it waits.
const QUIET: Duration = Duration::from_millis(1500);
/// How long a receiver may say nothing before the push says so.
const SILENT: Duration = Duration::from_millis(1200);
/// The bytes of chunks in one request, where chunks are not larger.
const PIECE: u64 = 1 << 20;
/// The requests that bring chunks at the same time: at most, and at first.
const MOST_AT_ONCE: usize = 8;
const FIRST_AT_ONCE: usize = 2;
/// A request that took less time than this makes room for one more; one that took as long as that, for one less.
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(4);
/// The time before the first retry, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The push to one receiver.
struct Sender<'a> {
    receiver: &'a Receiver,
    model: &'a Arc<Model>,
    board: &'a Board,
}

impl Sender<'_> {
    /// Goes on until the receiver has signed a receipt, or will not.
    async fn run(&self) -> Result<Option<String>, PushError> {
        let mut pause = PAUSE;
        loop {
            let before = self.board.progress().verified;
            let trouble = match self.attempt().await {
                Ok(receipt) => return Ok(Some(receipt)),
                Err(trouble) => trouble,
            };
            if self.board.progress().verified > before {
                pause = PAUSE;
            }
            let (why, after) = match trouble {
                Trouble::Ended(error) => return Err(error),
                Trouble::WrongChunk(message) => {
                    return Err(PushError::Refused { code: Some(ErrorCode::CHUNK_MISMATCH.get()), message });
                }
                Trouble::Again { why, after } => (why, after),
                Trouble::Forgotten => ("has no such upload any more".to_owned(), Some(Duration::ZERO)),
            };
            let wait = after.unwrap_or(pause);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            {
                let mut standing = lock(&self.board.state);
                let quiet = standing.moved.elapsed();
                // An address that has never answered may be a wrong one.
                let patience = match standing.has_answered {
                    true => self.board.patience,
                    false => self.board.patience / 10,
                };
                if quiet.saturating_add(wait) > patience {
                    return Err(PushError::Unreachable { why });
                }
                standing.again = Some((why, Instant::now() + wait));
            }
            // A receiver that has forgotten the upload again and again is not asked in a busy loop.
            tokio::time::sleep(wait.max(PAUSE)).await;
        }
    }

    async fn attempt(&self) -> Result<String, Trouble> {
        let head = self.model.head();
        let state = self.receiver.offer(head, self.model.note.clone()).await?;
        self.board.answers();
        self.board.hear(&state);
        let asking = async {
            loop {
                tokio::time::sleep(ASK).await;
                // Requests that bring something say what is wrong.
                if let Ok(state) = self.receiver.state(head).await {
                    self.board.hear(&state);
                }
            }
        };
        tokio::select! {
            result = self.bring(state) => result,
            () = asking => Err(Trouble::Ended(PushError::Bug)),
        }
    }

    /// Brings what is needed, until nothing is.
    async fn bring(&self, mut state: PushState) -> Result<String, Trouble> {
        let head = self.model.head();
        loop {
            match state.needs {
                PushNeeds::Lists | PushNeeds::Layers | PushNeeds::Chunks => {
                    let missing = self.receiver.missing(head).await?;
                    self.board.answers();
                    let has_brought = self.bring_missing(&missing).await?;
                    if !has_brought {
                        // The receiver looks for chunks, or makes them durable.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                PushNeeds::Publish | PushNeeds::Nothing => {
                    let mut nonce = [0; 32];
                    getrandom::fill(&mut nonce).map_err(|_| Trouble::Ended(PushError::Bug))?;
                    let receipt = self.receiver.publish(head, Nonce::from_bytes(nonce)).await?;
                    self.board.verified.store(self.board.wanted, Relaxed);
                    self.board.durable.store(self.board.wanted, Relaxed);
                    return Ok(receipt);
                }
            }
            state = self.receiver.state(head).await?;
            self.board.hear(&state);
        }
    }

    /// Brings what is said to be missing. Returns whether that was anything.
    async fn bring_missing(&self, missing: &PushMissing) -> Result<bool, Trouble> {
        let head = self.model.head();
        for name in &missing.lists {
            let name = [FILES, TENSORS].into_iter().find(|known| known == name).ok_or_else(strange)?;
            self.board.at(name);
            let model = Arc::clone(self.model);
            let list = blocking(move || model.list(name)).await.map_err(Trouble::Ended)?;
            self.receiver.put_metadata(head, name, None, list).await?;
            self.board.move_on();
        }
        let size = self.model.layers_len();
        for range in &missing.layers {
            let range = parse_push_range(range).filter(|range| range.end <= size).ok_or_else(strange)?;
            self.board.at(CHUNKS);
            for piece in self.model.layer_pieces(&range, 4 * PIECE).ok_or_else(strange)? {
                let (model, here) = (Arc::clone(self.model), piece.clone());
                let bytes = blocking(move || model.layer_bytes(&here)).await.map_err(Trouble::Ended)?;
                let range = content_range(&piece, size);
                self.receiver.put_metadata(head, CHUNKS, Some(&range), bytes).await?;
                self.board.move_on();
            }
        }
        self.bring_chunks(missing).await?;
        Ok(!missing.lists.is_empty() || !missing.layers.is_empty() || !missing.files.is_empty())
    }

    /// Brings chunks, some requests at a time: few where the line is slow, so that each soon counts.
    async fn bring_chunks(&self, missing: &PushMissing) -> Result<(), Trouble> {
        let mut pieces = self.pieces(missing)?.into_iter().flatten();
        let mut under_way = FuturesUnordered::new();
        let mut at_once = FIRST_AT_ONCE;
        loop {
            while under_way.len() < at_once {
                let Some(piece) = pieces.next() else { break };
                under_way.push(self.bring_piece(piece));
            }
            let Some(took) = under_way.next().await.transpose()? else { return Ok(()) };
            if took < SHORT {
                at_once = at_once.saturating_add(1).min(MOST_AT_ONCE);
            } else if took >= LONG {
                at_once = at_once.saturating_sub(1).max(1);
            }
        }
    }

    /// The pieces of all missing ranges, each a part of one file that has whole chunks.
    fn pieces(
        &self,
        missing: &PushMissing,
    ) -> Result<Vec<impl Iterator<Item = (usize, Range<u64>)> + use<>>, Trouble> {
        let unit = self.model.files.chunk_size().bytes().max(1);
        let step = (PIECE / unit).max(1).saturating_mul(unit);
        let mut all = Vec::new();
        for file in &missing.files {
            let (position, entry) = self.model.files.find(&file.path).ok_or_else(strange)?;
            let size = entry.size;
            for range in &file.bytes {
                let range = parse_push_range(range).filter(|range| {
                    let is_whole = |at: u64| at == size || at.is_multiple_of(unit);
                    range.end <= size && is_whole(range.start) && is_whole(range.end)
                });
                let Range { start, end } = range.ok_or_else(strange)?;
                let starts = std::iter::successors(Some(start), move |at| at.checked_add(step));
                let pieces = starts.take_while(move |at| *at < end);
                all.push(pieces.map(move |at| (position, at..end.min(at.saturating_add(step)))));
            }
        }
        Ok(all)
    }

    async fn bring_piece(&self, (position, range): (usize, Range<u64>)) -> Result<Duration, Trouble> {
        let entry = self.model.files.entries().get(position).ok_or_else(strange)?;
        let path = entry.path.as_str();
        self.board.at(path);
        let (model, here, name) = (Arc::clone(self.model), range.clone(), path.to_owned());
        let bytes = blocking(move || model.bytes(&name, &here)).await.map_err(Trouble::Ended)?;
        let began = Instant::now();
        self.board.sent.fetch_add(range.end.saturating_sub(range.start), Relaxed);
        let head = self.model.head();
        match self.receiver.put_chunks(head, path, &range, entry.size, bytes).await {
            Ok(()) => {
                self.board.answers();
                Ok(began.elapsed())
            }
            Err(Trouble::WrongChunk(message)) => {
                // The file on this machine may have changed since it was weighed.
                let unit = self.model.files.chunk_size().bytes().max(1);
                let chunks = range.start / unit..range.end.div_ceil(unit);
                let model = Arc::clone(self.model);
                let is_good = move || Ok(chunks.into_iter().all(|chunk| model.is_good(position, chunk)));
                let is_good = blocking(is_good).await.map_err(Trouble::Ended)?;
                let error = match is_good {
                    true => return Err(Trouble::WrongChunk(message)),
                    false => PushError::Changed { path: path.to_owned() },
                };
                Err(Trouble::Ended(error))
            }
            Err(trouble) => Err(trouble),
        }
    }
}

/// The receiver asks for something that the model does not have.
fn strange() -> Trouble {
    let message = "it asks for what the model does not have".to_owned();
    Trouble::Ended(PushError::Refused { code: None, message })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PushError> + Send + 'static,
) -> Result<T, PushError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PushError::Bug)?
}
