//! The record of one target: its events, the reports of them, and the patience with a target that fails.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{PushError, PushEvent, PushProgress, PushReason, PushWaiting, blocking, messages::PushState};
use crate::board::lock;

/// The reason why a request was not answered as it should have been.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be another time. `has_answered` says whether anything came.
    Again { why: String, after: Option<Duration>, has_answered: bool },
    /// The receiver does not know the upload: it was started anew, or has given it up.
    Forgotten,
    /// It will not be.
    Ended(PushError),
}

impl Trouble {
    pub(super) fn unanswered(why: String) -> Self {
        Self::Again { why, after: None, has_answered: false }
    }
}

/// The record of one target.
pub(super) struct Board {
    pub(super) wanted: u64,
    patience: Duration,
    /// How long the target may say nothing before the push says so.
    silent: Duration,
    pub(super) sent: AtomicU64,
    pub(super) verified: AtomicU64,
    pub(super) durable: AtomicU64,
    /// Bytes of lists and layers that were taken, and how many there are.
    metadata: AtomicU64,
    most_metadata: u64,
    /// The things that a bucket did and that no figure counts, and how many of them count as going on.
    #[cfg(feature = "cloud")]
    others: AtomicU64,
    #[cfg(feature = "cloud")]
    most_others: u64,
    state: Mutex<Standing>,
}

struct Standing {
    /// When the figures of the target moved last, as a person sees them.
    moved: Instant,
    /// When it showed last that it goes on: also by metadata that it takes, or by counting anew after it was started anew.
    alive: Instant,
    /// The verified bytes that it told last, since it was started.
    counted: u64,
    /// How often it has begun to count anew.
    restarts: u32,
    /// When the target answered last.
    heard: Instant,
    has_answered: bool,
    /// The work of the target, by its last word.
    working: Option<(String, String)>,
    is_looking: bool,
    /// The reason why it is tried again, and when.
    again: Option<(String, Instant)>,
    /// The file that is being brought, and whether this machine reads it.
    at: Option<String>,
    reads: usize,
}

/// How often a target may begin to count anew, and be believed that it goes on.
const MOST_RESTARTS: u32 = 100;

/// The bytes per second that a target reads at least, of what it has already.
const LEAST_RATE: u64 = 20 << 20;

impl Board {
    /// A board for a model of `files` files with `wanted` bytes, whose lists and layers have `most_metadata`.
    #[cfg_attr(not(feature = "cloud"), allow(unused_variables, reason = "buckets count files"))]
    pub(super) fn new(
        files: u64,
        wanted: u64,
        most_metadata: u64,
        patience: Duration,
        silent: Duration,
    ) -> Self {
        let now = Instant::now();
        let state = Standing {
            moved: now,
            alive: now,
            counted: 0,
            restarts: 0,
            heard: now,
            has_answered: false,
            working: None,
            is_looking: false,
            again: None,
            at: None,
            reads: 0,
        };
        let none = || AtomicU64::new(0);
        Self {
            wanted,
            patience,
            silent,
            sent: none(),
            verified: none(),
            durable: none(),
            metadata: none(),
            most_metadata,
            #[cfg(feature = "cloud")]
            others: none(),
            #[cfg(feature = "cloud")]
            most_others: files.saturating_mul(4).saturating_add(1_000),
            state: Mutex::new(state),
        }
    }

    pub(super) fn progress(&self) -> PushProgress {
        let verified = self.verified.load(Relaxed);
        PushProgress {
            sent: self.sent.load(Relaxed),
            verified,
            durable: self.durable.load(Relaxed).min(verified),
            wanted: self.wanted,
        }
    }

    /// The target has said how far it is. No number that is too large, or falls, is shown.
    pub(super) fn hear(&self, state: &PushState) {
        let (verified, durable) = (state.verified.min(self.wanted), state.durable.min(self.wanted));
        let more_verified = verified > self.verified.fetch_max(verified, Relaxed);
        let more_durable = durable > self.durable.fetch_max(durable, Relaxed);
        let mut standing = lock(&self.state);
        let now = Instant::now();
        standing.heard = now;
        if more_verified || more_durable {
            standing.moved = now;
        }
        if verified < standing.counted {
            standing.restarts = standing.restarts.saturating_add(1);
        }
        if more_verified
            || more_durable
            || (verified > standing.counted && standing.restarts <= MOST_RESTARTS)
        {
            standing.alive = now;
        }
        if standing.is_looking && !state.looking {
            // It has found what it has, and asks for the rest now.
            standing.restarts = standing.restarts.saturating_add(1);
            if standing.restarts <= MOST_RESTARTS {
                standing.alive = now;
            }
        }
        standing.counted = verified;
        standing.is_looking = state.looking;
        standing.working = state.doing.as_ref().map(|doing| (doing.work.clone(), doing.path.clone()));
    }

    /// The target has taken metadata. It goes on by that once: one that asks for the same again and again gets nowhere.
    pub(super) fn take_metadata(&self, bytes: usize) {
        self.answers();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.metadata.fetch_add(bytes, Relaxed).saturating_add(bytes) <= self.most_metadata {
            lock(&self.state).alive = Instant::now();
        }
    }

    /// The target has taken chunks. An honest one has verified them by then.
    ///
    /// # Errors
    /// It takes more and more, and verifies nothing.
    pub(super) fn take_chunks(&self, bytes: u64) -> Result<(), Trouble> {
        self.answers();
        let sent = self.sent.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let most = self.wanted.saturating_add(self.wanted / 4).saturating_add(ALLOWANCE);
        if sent <= most {
            return Ok(());
        }
        let message = "asks for the model again and again".to_owned();
        Err(Trouble::Ended(PushError::Refused { code: None, message }))
    }

    pub(super) fn answers(&self) {
        let mut standing = lock(&self.state);
        (standing.heard, standing.has_answered) = (Instant::now(), true);
    }

    /// The time for which the target may show nothing.
    pub(super) fn patience(&self) -> Duration {
        let standing = lock(&self.state);
        let works = standing.is_looking || standing.working.is_some();
        match (standing.has_answered, works) {
            // An address that has never answered may be a wrong one.
            (false, _) => self.patience / 10,
            (true, false) => self.patience,
            // It may read or sync a large file, of which it counts nothing before the end.
            (true, true) => self.patience.saturating_add(Duration::from_secs(self.wanted / LEAST_RATE)),
        }
    }

    pub(super) fn alive(&self) -> Duration {
        lock(&self.state).alive.elapsed()
    }

    pub(super) fn at(&self, path: &str) {
        lock(&self.state).at = Some(path.to_owned());
    }

    /// Reads on a thread that may wait.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PushError> + Send + 'static,
    ) -> Result<T, Trouble> {
        struct Reads<'a>(&'a Board);
        impl Drop for Reads<'_> {
            fn drop(&mut self) {
                let mut standing = lock(&self.0.state);
                standing.reads = standing.reads.saturating_sub(1);
            }
        }
        {
            let mut standing = lock(&self.state);
            standing.reads = standing.reads.saturating_add(1);
        }
        let _reads = Reads(self);
        blocking(work).await.map_err(Trouble::Ended)
    }

    /// Returns once the target has said nothing for this long.
    pub(super) async fn silent_for(&self, time: Duration) {
        loop {
            let silent = lock(&self.state).heard.elapsed();
            match time.checked_sub(silent) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }

    /// Objects of a bucket stand, in parts or whole: so many bytes more are there, and so many of whole objects.
    #[cfg(feature = "cloud")]
    pub(super) fn gain(&self, verified: u64, durable: u64) {
        self.verified.fetch_add(verified, Relaxed);
        self.durable.fetch_add(durable, Relaxed);
        self.answers();
        if verified > 0 || durable > 0 {
            let mut standing = lock(&self.state);
            standing.moved = Instant::now();
            standing.alive = standing.moved;
        }
    }

    /// Tries until it succeeds, or never will: with pauses, and for as long as the patience since the target went on lasts.
    pub(super) async fn persevere<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, Trouble>,
    ) -> Result<T, PushError> {
        let mut pause = PAUSE;
        loop {
            let before = self.progress().verified;
            lock(&self.state).again = None;
            let trouble = match attempt().await {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            if self.progress().verified > before {
                pause = PAUSE;
            }
            let (why, after) = match trouble {
                Trouble::Ended(error) => return Err(error),
                Trouble::Again { why, after, has_answered } => {
                    if has_answered {
                        self.answers();
                    }
                    (why, after)
                }
                Trouble::Forgotten => {
                    self.answers();
                    ("has no such upload any more".to_owned(), Some(Duration::ZERO))
                }
            };
            // A target that has forgotten the upload again and again is not asked in a busy loop.
            let wait = after.unwrap_or(pause).max(PAUSE);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            if self.alive().saturating_add(wait) > self.patience() {
                return Err(PushError::Unreachable { why });
            }
            lock(&self.state).again = Some((why, Instant::now() + wait));
            tokio::time::sleep(wait).await;
        }
    }

    /// The target has taken something that no figure counts.
    #[cfg(feature = "cloud")]
    pub(super) fn goes_on(&self) {
        self.answers();
        // One that does the same again and again gets nowhere.
        if self.others.fetch_add(1, Relaxed) < self.most_others {
            lock(&self.state).alive = Instant::now();
        }
    }

    /// Nothing of the model is at the target's hands alone any more: it publishes.
    pub(super) fn at_nothing(&self) {
        lock(&self.state).at = None;
    }

    pub(super) fn waiting(&self) -> Option<PushWaiting> {
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
            _ if silent >= self.silent => (PushReason::Silent(silent), path),
            (None, Some((work, path))) => (PushReason::Working(work.clone()), Some(path.clone())),
            (None, None) if standing.reads > 0 => (PushReason::Reading, path),
            (None, None) => (PushReason::Sending, path),
        };
        Some(PushWaiting { reason, path, since })
    }
}

/// The bytes that may be sent twice beside a quarter of the model, all restarts of a target together.
const ALLOWANCE: u64 = 256 << 20;

/// Tells of a target while it goes on.
pub(super) struct Pulse {
    board: Arc<Board>,
    told: PushProgress,
    told_waiting: Option<Instant>,
    pub(super) has_ended: bool,
}

impl Pulse {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { board, told: PushProgress::default(), told_waiting: None, has_ended: false }
    }

    pub(super) fn beat(&mut self, number: usize, tell: &(dyn Fn(PushEvent) + Sync)) {
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

/// How long nothing may move before the push says that it waits.
const QUIET: Duration = Duration::from_millis(1500);
/// How long a receiver may say nothing before the push says so.
pub(super) const SILENT: Duration = Duration::from_millis(1200);
/// The time before the first retry, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
