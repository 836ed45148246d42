//! The way up: a model is brought to receivers, and what counts is what they have verified and made durable.
//!
//! Each target has a task of its own: a `receiver` is asked by the requests of `spec/push.md`, a `bucket` is written to. What has
//! happened there is on its `board`, from which events are told.

use std::{
    collections::HashSet,
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::MissedTickBehavior;
use weighbridge_manifest::shown;
use weighbridge_store::{CHUNKS, FILES, IoError, OpenError, TENSORS};
use weighbridge_tree::{Coded, ErrorCode, HeadId, Nonce};

use crate::{board::lock, options::Stop, ranges::RangeSet};

mod board;
#[cfg(feature = "cloud")]
mod bucket;
pub(crate) mod messages;
mod model;
mod pace;
mod receiver;
mod target;

use board::{Board, Pulse, Trouble};
use messages::{PushMissing, PushNeeds, PushState};
use model::{Model, judged::Judged};
use pace::Pace;
pub use receiver::{ReceiptFault, check_receipt};
use receiver::{Receiver, content_range};
use target::To;
pub use target::{PushTarget, PushTargets};

/// The progress of a push to one target. None of `verified` and `durable` falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushProgress {
    /// Bytes of chunks that the target has taken, each time that it did.
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
    /// The reason of the wait.
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

/// An event of a push. The number is that of the target, in the order of the options.
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
    /// A target that nothing reaches for this long is given up; one that has never answered, in a tenth of it. To this comes the time
    /// that bytes may have to wait for their turn.
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
    /// A list or the layers of the model cannot be read.
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
/// this run, a bucket by taking every object, the head last. No byte is sent to a bucket that was not judged in that memory. What a
/// target has verified before, in this run or another, is not sent again.
///
/// # Non-guarantee
/// A receipt is a claim. The bytes of a bucket were read back in part. Of an object that a bucket had before, the push believes
/// the root that the bucket has noted with it, and what is read back.
///
/// # Errors
/// [`PushError`], if the model cannot be opened. What happens to a target is an event: one that fails keeps no other from going on.
/// Returns the number of targets that are done.
///
/// # Cost
/// At most 8 MiB, or 8 chunks, for each receiver; for each bucket 8 parts, of 8 MiB, a chunk, or a ten-thousandth of the largest file,
/// whichever is most. And what the lists take. Needs a Tokio runtime with time and I/O.
pub async fn push(
    options: PushOptions,
    tell: &(dyn Fn(PushEvent) + Sync),
    stop: &Stop,
) -> Result<usize, PushError> {
    let _ends = stop.begin();
    let PushOptions { model, targets, patience } = options;
    let open = blocking(move || Model::open(&model));
    let model = tokio::select! {
        model = open => Arc::new(model?),
        () = stop.asked() => return Err(PushError::Stopped),
    };
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
    let metadata = model.metadata_len();
    let files = u64::try_from(model.files.entries().len()).unwrap_or(u64::MAX);
    let board = |target: &PushTarget| {
        let patience = patience.saturating_add(target.waits);
        Arc::new(Board::new(files, wanted, metadata, patience, target.silent()))
    };
    let boards: Vec<_> = targets.iter().map(board).collect();
    let mut tasks: FuturesUnordered<_> = targets
        .iter()
        .zip(&boards)
        .enumerate()
        .map(|(number, (target, board))| {
            let model = &model;
            async move {
                let ended = match &target.to {
                    To::Receiver(receiver) => {
                        Sender { receiver, model, board, pace: Pace::default() }.run().await
                    }
                    #[cfg(feature = "cloud")]
                    To::Bucket(bucket) => bucket.push(model, board).await.map(|()| None),
                };
                (number, ended)
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
                drop(tasks);
                give_up(&targets).await;
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

/// How often the state is told.
const TICK: Duration = Duration::from_millis(200);
/// How often a receiver is asked for its state.
const ASK: Duration = Duration::from_millis(500);
/// The first pause where a receiver asks for nothing.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// The time for which a receiver may say nothing at all while it publishes.
const PATIENCE: Duration = Duration::from_secs(120);
/// The bytes of chunks in one request, where chunks are not larger.
const PIECE: u64 = 1 << 20;

/// The push to one receiver.
struct Sender<'a> {
    receiver: &'a Receiver,
    model: &'a Arc<Model>,
    board: &'a Board,
    pace: Pace,
}

impl Sender<'_> {
    /// Goes on until the receiver has signed a receipt, or will not.
    async fn run(&self) -> Result<Option<String>, PushError> {
        self.board.persevere(async || self.attempt().await).await.map(Some)
    }

    async fn attempt(&self) -> Result<String, Trouble> {
        let head = self.model.head();
        let offered = self.receiver.offer(head, self.model.note.clone());
        let state = tokio::select! {
            state = offered => state?,
            () = self.board.silent_for(self.board.patience()) => {
                return Err(Trouble::unanswered("does not answer".to_owned()));
            }
        };
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
        let taken = Mutex::new(Taken::default());
        let mut pause = FIRST_LOOK;
        loop {
            if self.board.alive() > self.board.patience() {
                return Err(gets_nowhere());
            }
            match state.needs {
                PushNeeds::Lists | PushNeeds::Layers | PushNeeds::Chunks => {
                    let missing = self.receiver.missing(head).await?;
                    self.board.answers();
                    let has_brought = self.bring_missing(&missing, &taken).await?;
                    if has_brought {
                        pause = FIRST_LOOK;
                    } else {
                        // The receiver looks for chunks, or makes them durable.
                        tokio::time::sleep(pause).await;
                        pause = pause.saturating_mul(3).checked_div(2).unwrap_or(ASK).min(ASK);
                    }
                }
                PushNeeds::Publish | PushNeeds::Nothing => {
                    let mut nonce = [0; 32];
                    getrandom::fill(&mut nonce).map_err(|_| Trouble::Ended(PushError::Bug))?;
                    self.board.at_nothing();
                    // It may take long: the receiver says meanwhile what it does.
                    let receipt = tokio::select! {
                        receipt = self.receiver.publish(head, Nonce::from_bytes(nonce)) => receipt?,
                        () = self.board.silent_for(PATIENCE) => {
                            return Err(Trouble::unanswered("has not answered while it published".to_owned()));
                        }
                    };
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
    async fn bring_missing(&self, missing: &PushMissing, taken: &Mutex<Taken>) -> Result<bool, Trouble> {
        let head = self.model.head();
        for name in &missing.lists {
            let name = [FILES, TENSORS].into_iter().find(|known| known == name).ok_or_else(strange)?;
            self.board.at(name);
            let model = Arc::clone(self.model);
            let list = self.board.read(move || model.list(name)).await?;
            let bytes = list.len();
            self.receiver.put_metadata(head, name, None, list).await?;
            self.board.take_metadata(bytes);
        }
        let size = self.model.layers_len();
        for range in missing.layers(size).ok_or_else(strange)? {
            self.board.at(CHUNKS);
            for piece in self.model.layer_pieces(&range, 4 * PIECE).ok_or_else(strange)? {
                let (model, here) = (Arc::clone(self.model), piece.clone());
                let bytes = self.board.read(move || model.read_judged(&Judged::Layers, &here)).await?;
                let range = content_range(&piece, size);
                let taken = bytes.len();
                self.receiver.put_metadata(head, CHUNKS, Some(&range), bytes).await?;
                self.board.take_metadata(taken);
            }
        }
        self.bring_chunks(missing, taken).await?;
        Ok(!missing.lists.is_empty() || !missing.layers.is_empty() || !missing.files.is_empty())
    }

    async fn bring_chunks(&self, missing: &PushMissing, taken: &Mutex<Taken>) -> Result<(), Trouble> {
        let pieces = self.pieces(missing, &lock(taken))?;
        self.pace.all(pieces.into_iter().flatten(), |piece| self.bring_piece(piece, taken)).await
    }

    /// The bytes of chunks in one request: what the rate lets go in about two seconds, so that each soon counts.
    fn piece(&self) -> u64 {
        self.receiver.rate().map_or(PIECE, |rate| rate.saturating_mul(2).min(PIECE))
    }

    /// The pieces of all missing ranges, each a part of one file that has whole chunks.
    fn pieces(
        &self,
        missing: &PushMissing,
        taken: &Taken,
    ) -> Result<Vec<impl Iterator<Item = Piece> + use<>>, Trouble> {
        let unit = self.model.files.chunk_size().bytes().max(1);
        let step = (self.piece() / unit).max(1).saturating_mul(unit);
        let mut all = Vec::new();
        let size = |path: &str| self.model.files.find(path).map(|(_, entry)| entry.size);
        for (path, ranges) in missing.chunks(size, unit).ok_or_else(strange)? {
            let (position, _) = self.model.files.find(path).ok_or_else(strange)?;
            for Range { start, end } in ranges {
                if taken.get(&position).is_some_and(|taken| taken.within(&(start..end)).next().is_some()) {
                    return Err(strange());
                }
                let starts = std::iter::successors(Some(start), move |at| at.checked_add(step));
                let pieces = starts.take_while(move |at| *at < end);
                all.push(pieces.map(move |at| (position, at..end.min(at.saturating_add(step)))));
            }
        }
        Ok(all)
    }

    async fn bring_piece(
        &self,
        (position, range): Piece,
        taken: &Mutex<Taken>,
    ) -> Result<Option<Duration>, Trouble> {
        let entry = self.model.files.entries().get(position).ok_or_else(strange)?;
        let path = entry.path.as_str();
        if self.board.alive() > self.board.patience() {
            return Err(gets_nowhere());
        }
        self.board.at(path);
        let (model, here) = (Arc::clone(self.model), range.clone());
        let bytes = self.board.read(move || model.chunks(position, &here)).await?;
        let began = Instant::now();
        self.receiver.put_chunks(self.model.head(), path, &range, entry.size, bytes).await?;
        let took = began.elapsed();
        self.board.take_chunks(range.end.saturating_sub(range.start))?;
        lock(taken).entry(position).or_default().insert(range);
        Ok(Some(took))
    }
}

/// The receiver takes what it is brought, and its figures do not move.
fn gets_nowhere() -> Trouble {
    let why = "takes what it is brought, and does not go on".to_owned();
    Trouble::Ended(PushError::Unreachable { why })
}

/// A part of a file: its position in the list, and a range of bytes.
type Piece = (usize, Range<u64>);

/// The bytes that a receiver has taken since the head was offered. It has no reason to ask for them again.
type Taken = std::collections::BTreeMap<usize, RangeSet>;

/// The receiver asks for something that the model does not have, or that it has taken.
fn strange() -> Trouble {
    let message = "asks for what the model does not have, or what it has taken".to_owned();
    Trouble::Ended(PushError::Refused { code: None, message })
}

/// Gives up at buckets what was begun and not completed.
async fn give_up(targets: &[PushTarget]) {
    #[cfg(feature = "cloud")]
    futures_util::future::join_all(targets.iter().filter_map(|target| match &target.to {
        To::Bucket(bucket) => Some(bucket.give_up()),
        To::Receiver(_) => None,
    }))
    .await;
    #[cfg(not(feature = "cloud"))]
    let _ = targets;
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PushError> + Send + 'static,
) -> Result<T, PushError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PushError::Bug)?
}
