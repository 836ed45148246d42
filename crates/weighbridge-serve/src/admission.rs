//! The answers that are sent at the same time, those that wait for it, and when others are told to come again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{self, Instant},
};
use weighbridge_bandwidth::{Budget, Peer};

use crate::{
    room::{PATIENCE, Room, STALLED, lock},
    seat::Seat,
};

mod queue;

use queue::{Asked, Queue};

/// Decides which answers are sent now. Small ones always are.
#[derive(Debug)]
pub(crate) struct Admission {
    budget: Budget,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    waiting: HashMap<u64, oneshot::Sender<()>>,
    under_way: HashMap<u64, UnderWay>,
    next: u64,
    /// The times at which those come again who were told to, as far as they lie ahead.
    told: VecDeque<Instant>,
}

/// An answer that is being sent.
#[derive(Debug)]
struct UnderWay {
    seat: Arc<Seat>,
    began: Instant,
    bytes: u64,
    sent: Arc<AtomicU64>,
}

/// An answer that may be sent, until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    peer: Peer,
    number: u64,
    sent: Arc<AtomicU64>,
}

/// An answer that waits. If it is given up, nothing is left of it.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    peer: &'a Peer,
    number: u64,
    comes: oneshot::Receiver<()>,
}

/// Answers up to this size are as cheap as a refusal.
const SMALL: u64 = 64 << 10;

/// The bytes per second that an answer is to have.
const LEAST_SHARE: u64 = 64 << 10;

/// The answers that are sent at once at any rate.
const FEWEST: usize = 16;

/// The time for which an answer waits for a place: clients wait ten seconds for a first byte.
const WAIT: Duration = Duration::from_secs(5);

/// The least and the most time after which somebody is told to come again. Clients give up a server that asks for five minutes.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(120);

/// Those who were told to come again, and are counted.
const MOST_TOLD: usize = 1024;

impl Admission {
    pub(crate) fn new(budget: Budget, most: usize) -> Arc<Self> {
        let most = most.max(1);
        let state = State {
            queue: Queue::new(most),
            waiting: HashMap::new(),
            under_way: HashMap::new(),
            next: 0,
            told: VecDeque::new(),
        };
        Arc::new(Self { budget, most, state: Mutex::new(state) })
    }

    /// Waits until an answer of this many bytes may be sent; `None` for one that is not counted.
    ///
    /// # Errors
    /// The time after which there will be room for it.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        peer: &Peer,
        seat: &Arc<Seat>,
        bytes: u64,
    ) -> Result<Option<Admitted>, Duration> {
        if bytes <= SMALL {
            return Ok(None);
        }
        let places = self.places();
        let waits = {
            let mut state = self.state();
            state.set_places(places);
            match state.queue.ask(peer) {
                Asked::Goes => None,
                Asked::Full => return Err(state.come_again(self.budget.rate())),
                Asked::Waits { number, in_place_of } => {
                    let (told, comes) = oneshot::channel();
                    state.waiting.insert(number, told);
                    // Its sender is dropped, which it hears.
                    if let Some(other) = in_place_of {
                        state.waiting.remove(&other);
                    }
                    Some(Waiting { admission: self, peer, number, comes })
                }
            }
        };
        if let Some(waiting) = waits {
            waiting.wait().await?;
        }
        let mut state = self.state();
        let (number, sent) = (state.next, Arc::<AtomicU64>::default());
        state.next = number.wrapping_add(1);
        let under_way =
            UnderWay { seat: Arc::clone(seat), began: Instant::now(), bytes, sent: Arc::clone(&sent) };
        state.under_way.insert(number, under_way);
        drop(state);
        Ok(Some(Admitted { admission: Arc::clone(self), peer: peer.clone(), number, sent }))
    }

    /// The time after which there will be room for one more answer.
    pub(crate) fn come_again(&self) -> Duration {
        self.state().come_again(self.budget.rate())
    }

    fn places(&self) -> usize {
        let of = |rate: u64| usize::try_from(rate / LEAST_SHARE).unwrap_or(usize::MAX).max(FEWEST);
        self.budget.rate().map_or(self.most, |rate| of(rate).min(self.most))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn set_places(&mut self, places: usize) {
        self.queue.set_places(places);
        self.pass_on();
    }

    /// Gives free places to those who wait.
    fn pass_on(&mut self) {
        while let Some((number, peer)) = self.queue.next() {
            let told = self.waiting.remove(&number).is_some_and(|waiting| waiting.send(()).is_ok());
            if !told {
                self.queue.leave(&peer);
            }
        }
    }

    /// The time after which a place will be free for one more, behind all who wait, and all who were told to come again before that.
    fn come_again(&mut self, rate: Option<u64>) -> Duration {
        let now = Instant::now();
        self.told.retain(|at| *at > now);
        let before = self.waiting.len().saturating_add(self.told.len());
        let mut free_in: Vec<_> =
            self.under_way.values().map(|answer| answer.ends_in(now, rate, self.under_way.len())).collect();
        free_in.sort_unstable();
        let rounds = u32::try_from(before.checked_div(free_in.len()).unwrap_or(0)).unwrap_or(u32::MAX);
        let place = before.checked_rem(free_in.len()).unwrap_or(0);
        let all = free_in.last().copied().unwrap_or_default();
        let here = free_in.get(place).copied().unwrap_or_default();
        let time = all.saturating_mul(rounds).saturating_add(here);
        // Whole seconds, which are what can be said.
        let time = Duration::from_secs(time.as_secs().saturating_add(1)).clamp(SOONEST, LATEST);
        if self.told.len() < MOST_TOLD {
            self.told.extend(now.checked_add(time));
        }
        time
    }
}

impl UnderWay {
    /// The time that the answer still takes, at the pace that it has had, among `others` at this rate.
    fn ends_in(&self, now: Instant, rate: Option<u64>, others: usize) -> Duration {
        let sent = self.sent.load(Relaxed);
        let left = self.bytes.saturating_sub(sent);
        let took = now.saturating_duration_since(self.began).as_millis();
        // Bytes in a time, in milliseconds.
        let (bytes, took) = match (sent, rate) {
            (0, Some(rate)) => {
                (rate.checked_div(u64::try_from(others).unwrap_or(u64::MAX)).unwrap_or(rate), 1000)
            }
            (0, None) => (LEAST_SHARE, 1000),
            (sent, _) => (sent, took),
        };
        let millis = u128::from(left).saturating_mul(took).checked_div(bytes.max(1).into()).unwrap_or(0);
        let time = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        // One whose client takes nothing gives way.
        if self.seat.has_bytes_waiting() { time.min(STALLED) } else { time }
    }
}

impl Waiting<'_> {
    async fn wait(mut self) -> Result<(), Duration> {
        let since = Instant::now();
        loop {
            let (waiting, seats) = {
                let state = self.admission.state();
                let seats: Vec<_> = state.under_way.values().map(|answer| Arc::clone(&answer.seat)).collect();
                (state.waiting.len(), seats)
            };
            Room::make_way_for(waiting, &seats);
            match time::timeout(PATIENCE, &mut self.comes).await {
                Ok(Ok(())) => {
                    // The place is taken: dropping this does not give it back.
                    self.comes = oneshot::channel().1;
                    return Ok(());
                }
                Err(_) if since.elapsed() < WAIT => {}
                // Another one waits in its place, or it has waited for long enough.
                Ok(Err(_)) | Err(_) => return Err(self.admission.come_again()),
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        self.comes.close();
        if state.waiting.remove(&self.number).is_some() {
            state.queue.cancel(self.number);
        } else if self.comes.try_recv().is_ok() {
            state.queue.leave(self.peer);
            state.pass_on();
        }
    }
}

impl Admitted {
    /// Bytes of the answer are sent.
    pub(crate) fn send(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.under_way.remove(&self.number);
        state.queue.leave(&self.peer);
        state.pass_on();
    }
}

#[cfg(test)]
mod tests;
