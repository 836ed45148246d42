//! A connection, as far as others may have to know how it does.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::room::{UNIT, lock};

/// A client that takes fewer bytes per second, or less than a tenth of the memory that it holds, gives way to others from this long after
/// the beginning of its answer on.
const SLOW: u64 = 64 << 10;
pub(crate) const SLOW_AFTER: Duration = Duration::from_secs(4);

/// The time over which the rate of a client is taken: only time in which bytes wait for the client counts.
const WINDOW: Duration = Duration::from_secs(2);

/// A connection. Times are in milliseconds since the server began.
#[derive(Debug)]
pub(crate) struct Seat {
    began: Instant,
    /// When the client took a byte last, or came.
    changed: AtomicU64,
    /// When the client took a byte of a model last, or came: nobody keeps a seat by asking for little.
    pub(crate) useful: AtomicU64,
    /// The requests that are being answered: one, or none.
    requests: AtomicUsize,
    /// When the request that is being answered began.
    pub(crate) asked: AtomicU64,
    /// The memory that it holds, in units.
    pub(crate) holds: AtomicUsize,
    /// Whether bytes wait until the client takes them.
    is_blocked: AtomicBool,
    /// Whether bytes of a request are waited for.
    awaits_bytes: AtomicBool,
    window: Mutex<Window>,
    /// The bytes per second that the client took in the last window; of a client that was never waited for, more than any.
    pub(crate) rate: AtomicU64,
    pub(crate) is_told: AtomicBool,
    leave: Notify,
}

impl Seat {
    pub(crate) fn new(began: Instant) -> Self {
        let now = millis(began.elapsed());
        Self {
            began,
            changed: AtomicU64::new(now),
            useful: AtomicU64::new(now),
            requests: AtomicUsize::new(0),
            asked: AtomicU64::new(now),
            holds: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            awaits_bytes: AtomicBool::new(false),
            window: Mutex::default(),
            rate: AtomicU64::new(u64::MAX),
            is_told: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    /// A seat that no server gave, for requests that come in another way. Nobody asks it to leave.
    pub(crate) fn outside() -> Arc<Self> {
        Arc::new(Self::new(Instant::now()))
    }

    /// The client has taken bytes.
    pub(crate) fn take(&self, bytes: usize) {
        self.is_blocked.store(false, Relaxed);
        self.moved(bytes);
    }

    /// Bytes of the client's request have come.
    #[cfg(feature = "accept")]
    pub(crate) fn receive(&self, bytes: usize) {
        self.awaits_bytes.store(false, Relaxed);
        self.moved(bytes);
    }

    fn moved(&self, bytes: usize) {
        self.changed.store(self.now(), Relaxed);
        if self.holds.load(Relaxed) > 0 {
            self.useful.store(self.now(), Relaxed);
        }
        let mut window = lock(&self.window);
        window.bytes = window.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let blocked = window.blocked_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        window.blocked = window.blocked.saturating_add(blocked);
        if window.blocked >= WINDOW {
            let rate = window.bytes.saturating_mul(1000).checked_div(millis(window.blocked));
            self.rate.store(rate.unwrap_or(u64::MAX), Relaxed);
            *window = Window::default();
        }
    }

    /// The client takes no more bytes for now.
    pub(crate) fn block(&self) {
        self.is_blocked.store(true, Relaxed);
        lock(&self.window).blocked_since.get_or_insert_with(Instant::now);
    }

    /// Bytes of the client's request are waited for. A client that hardly sends any is as slow as one that hardly takes any.
    #[cfg(feature = "accept")]
    pub(crate) fn await_bytes(&self) {
        self.awaits_bytes.store(true, Relaxed);
        lock(&self.window).blocked_since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn begin_request(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.asked.store(self.now(), Relaxed);
        *lock(&self.window) = Window::default();
        self.rate.store(u64::MAX, Relaxed);
    }

    pub(crate) fn end_request(&self) {
        self.awaits_bytes.store(false, Relaxed);
        self.requests.fetch_sub(1, Relaxed);
    }

    /// Whether the client is waited for: to take bytes of an answer, or to send those of a request.
    pub(crate) fn is_blocked(&self) -> bool {
        self.has_bytes_waiting() || self.awaits_bytes.load(Relaxed)
    }

    /// Whether bytes wait until the client takes them.
    pub(crate) fn has_bytes_waiting(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    pub(crate) fn unchanged_for(&self) -> Duration {
        self.since(&self.changed)
    }

    /// Whether neither a request is being answered, nor the end of an answer waits to be taken.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.load(Relaxed) == 0 && !self.is_blocked()
    }

    /// Whether the client hardly takes what it is sent: nothing for as long as `stalled`, or little.
    pub(crate) fn is_slow(&self, stalled: Duration) -> bool {
        let has_begun = self.since(&self.asked);
        let held = u64::try_from(self.holds.load(Relaxed).saturating_mul(UNIT)).unwrap_or(u64::MAX);
        self.is_blocked()
            && ((self.unchanged_for() >= stalled && has_begun >= stalled)
                || (self.rate.load(Relaxed) < SLOW.max(held / 10) && has_begun >= SLOW_AFTER))
    }

    /// The request needs more from its client: until that has come, and this is dropped, the seat may be given to another.
    pub(crate) fn await_client(&self) -> AwaitedClient<'_> {
        self.requests.fetch_sub(1, Relaxed);
        AwaitedClient(self)
    }

    pub(crate) fn tell_to_leave(&self) {
        self.is_told.store(true, Relaxed);
        self.leave.notify_one();
    }

    /// Returns once the connection is asked to leave.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    pub(crate) fn since(&self, time: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(time.load(Relaxed)))
    }
}

/// A request that waits for the rest of itself, until this is dropped.
#[must_use]
pub(crate) struct AwaitedClient<'a>(&'a Seat);

impl Drop for AwaitedClient<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_add(1, Relaxed);
    }
}

/// The bytes that a client took, and the time for which it was waited for.
#[derive(Debug, Default)]
struct Window {
    bytes: u64,
    blocked: Duration,
    blocked_since: Option<Instant>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
