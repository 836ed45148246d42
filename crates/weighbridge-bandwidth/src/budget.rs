//! The budget of a direction, as tasks wait for it.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    class::{ByClass, Class, Peer},
    schedule::{Schedule, WeekTime},
    scheduler::{QUIET, Scheduler, Ticket},
};

/// Tells the time of the week, in the zone of the schedule.
pub type WallClock = fn() -> WeekTime;

/// The rate of one direction, shared by all that moves bytes in it. A clone is the same budget.
///
/// # Example
/// ```
/// use weighbridge_bandwidth::{Budget, Class, Peer};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let budget = Budget::of(1_000_000);
/// let [asked, early] = [Class::Awaited, Class::Prefetch].map(|class| budget.share(class, Peer::unique()));
/// // 100 ms at this rate; what is asked for goes first.
/// tokio::join!(early.pay(50_000), asked.pay(50_000));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    began: Instant,
    schedule: Schedule,
    clock: WallClock,
    /// The end of the time in which nothing is limited, in milliseconds from the beginning; 0 if something is.
    free_until: AtomicU64,
    /// By class: the end of the time for which it keeps those below waiting where nothing is limited, in milliseconds from the
    /// beginning.
    keeps_off_until: ByClass<AtomicU64>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    scheduler: Scheduler,
    /// Those who wait for a turn, by the numbers of their pieces.
    waiting: HashMap<u64, Slot>,
    /// The one who looks for turns, with a timer; all others wait to be woken.
    driver: Option<u64>,
    /// The next time at which the schedule is looked at; never again if `None`.
    look_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The bytes that were granted.
    granted: Option<u64>,
    waker: Option<Waker>,
}

/// The longest time between two looks at a schedule: the clock may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Budget {
    /// A budget by the time of day, which `clock` tells.
    #[must_use]
    pub fn new(schedule: Schedule, clock: WallClock) -> Self {
        let budget = Self(Arc::new(Inner {
            began: Instant::now(),
            schedule,
            clock,
            free_until: AtomicU64::new(0),
            keeps_off_until: ByClass::default(),
            queue: Mutex::new(Queue { look_at: Some(Duration::ZERO), ..Queue::default() }),
        }));
        budget.0.look(&mut budget.0.queue(), Duration::ZERO);
        budget
    }

    /// A budget of this many bytes per second.
    #[must_use]
    pub fn of(rate: u64) -> Self {
        Self::new(Schedule::always(Some(rate)), WeekTime::default)
    }

    /// A budget without a rate. Classes keep their order, and nothing else waits.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(Schedule::always(None), WeekTime::default)
    }

    /// The share of a peer.
    #[must_use]
    pub fn share(&self, class: Class, peer: Peer) -> Share {
        Share { budget: self.clone(), class, peer }
    }

    /// The bytes per second at this time; `None` if there is no limit.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let now = self.0.now();
        if self.0.is_free(now) {
            return None;
        }
        let mut queue = self.0.queue();
        self.0.look(&mut queue, now);
        queue.scheduler.rate()
    }

    /// The least bytes per second of any time; `None` if there never is a limit.
    #[must_use]
    pub fn least_rate(&self) -> Option<u64> {
        self.0.schedule.least()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.0.schedule).finish()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_free(&self, now: Duration) -> bool {
        millis(now) < self.free_until.load(Acquire)
    }

    /// Returns true if a class above has just moved something where nothing is limited.
    fn is_kept_off(&self, class: Class, now: Duration) -> bool {
        class.above().any(|above| self.keeps_off_until.of(above).load(Relaxed) > millis(now))
    }

    /// Takes a turn without a lock, if nothing is limited, and no class above moves.
    fn passes(&self, class: Class) -> bool {
        let now = self.now();
        if !self.is_free(now) || self.is_kept_off(class, now) {
            return false;
        }
        let until = millis(now).saturating_add(millis(QUIET));
        let keeps_off = self.keeps_off_until.of(class);
        // Most pieces find the same millisecond, and write nothing that others read.
        if keeps_off.load(Relaxed) < until {
            keeps_off.fetch_max(until, Relaxed);
        }
        true
    }

    /// Looks at the schedule, if it is time to.
    fn look(&self, queue: &mut Queue, now: Duration) {
        if queue.look_at.is_none_or(|at| now < at) {
            return;
        }
        let time = (self.clock)();
        let rate = self.schedule.rate_at(time);
        let next = self.schedule.next_change(time).map(|next| next.min(LOOK_AGAIN));
        queue.look_at = next.map(|next| now.saturating_add(next));
        queue.scheduler.set_rate(rate);
        let free_until = match rate {
            Some(_) => 0,
            None => queue.look_at.map_or(u64::MAX, millis),
        };
        self.free_until.store(free_until, Release);
    }

    /// Gives turns to all whose time has come.
    fn grant(&self, queue: &mut Queue, now: Duration) {
        self.look(queue, now);
        let is_free = queue.scheduler.rate().is_none();
        if is_free {
            for class in Class::ALL {
                let until = self.keeps_off_until.of(class).load(Relaxed);
                queue.scheduler.keep_off(class, Duration::from_millis(until));
            }
        }
        while let Some(granted) = queue.scheduler.grant(now) {
            let Some(slot) = queue.waiting.get_mut(&granted.number) else { continue };
            slot.granted = Some(granted.bytes);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
        if is_free {
            // Those below who take no lock see it too.
            for class in Class::ALL {
                let until = millis(queue.scheduler.keeps_off_until(class));
                self.keeps_off_until.of(class).fetch_max(until, Relaxed);
            }
        }
    }
}

impl Queue {
    /// Has another one look for turns.
    fn hand_over(&mut self) {
        let next = self.waiting.iter_mut().find(|(_, slot)| slot.granted.is_none());
        // Named before it is woken: if it is dropped instead, it hands over in its turn.
        self.driver = next.as_ref().map(|(number, _)| **number);
        if let Some(waker) = next.and_then(|(_, slot)| slot.waker.take()) {
            waker.wake();
        }
    }

    /// The next time at which somebody has to look for turns.
    fn next_look(&self) -> Option<Duration> {
        let turn = self.scheduler.next_turn()?;
        Some(self.look_at.map_or(turn, |at| turn.min(at)))
    }
}

/// The part of a budget that a peer has in a class.
#[derive(Clone, Debug)]
pub struct Share {
    budget: Budget,
    class: Class,
    peer: Peer,
}

impl Share {
    /// The share of a budget without a rate, of which nobody else has any.
    #[must_use]
    pub fn unlimited() -> Self {
        Budget::unlimited().share(Class::Rest, Peer::unique())
    }

    /// The budget.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The share of the same peer in another class.
    #[must_use]
    pub fn in_class(&self, class: Class) -> Self {
        Self { class, ..self.clone() }
    }

    /// The peer.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes a turn for all bytes at once, if nothing is limited and no class above moves. This takes no lock, and does not wait.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.budget.0.passes(self.class)
    }

    /// Waits until this many bytes may be moved, piece by piece in turn with others.
    ///
    /// If it is dropped, what it has not got yet stays with others.
    pub async fn pay(&self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            left = left.saturating_sub(self.take(left).await);
        }
    }

    /// Waits until some bytes may be moved: at least one, and `most` at the most. `most` is not 0.
    pub fn take(&self, most: usize) -> Take {
        Take { share: self.clone(), most, waits: None, timer: None }
    }

    /// Returns true if a class above waits, or has just moved something: bytes of this share may wait for long.
    #[must_use]
    pub fn is_outranked(&self) -> bool {
        let inner = &self.budget.0;
        let now = inner.now();
        if inner.is_free(now) {
            return inner.is_kept_off(self.class, now);
        }
        inner.queue().scheduler.is_outranked(self.class, now)
    }
}

/// The turn of some bytes, which comes. The output is their number.
pub struct Take {
    share: Share,
    most: usize,
    waits: Option<Ticket>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Take {
    fn bytes(granted: u64) -> usize {
        usize::try_from(granted).unwrap_or(usize::MAX)
    }
}

impl Future for Take {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let Self { share: Share { budget, class, peer }, most, waits, timer } = self.get_mut();
        if waits.is_none() && budget.0.passes(*class) {
            return Poll::Ready(*most);
        }
        let inner = &budget.0;
        loop {
            let mut queue = inner.queue();
            let now = inner.now();
            let number = match waits {
                Some(ticket) => ticket.number,
                None => {
                    // The longest piece depends on the rate.
                    inner.look(&mut queue, now);
                    let bytes = u64::try_from(*most).unwrap_or(u64::MAX);
                    let ticket = queue.scheduler.ask(*class, peer, bytes, now);
                    queue.waiting.insert(ticket.number, Slot::default());
                    waits.insert(ticket).number
                }
            };
            inner.grant(&mut queue, now);
            if let Some(bytes) = queue.waiting.get(&number).and_then(|slot| slot.granted) {
                queue.waiting.remove(&number);
                if queue.driver == Some(number) {
                    queue.hand_over();
                }
                *waits = None;
                return Poll::Ready(Self::bytes(bytes));
            }
            if let Some(slot) = queue.waiting.get_mut(&number) {
                slot.waker = Some(context.waker().clone());
            }
            if *queue.driver.get_or_insert(number) != number {
                return Poll::Pending;
            }
            // It waits itself, so there is a next look.
            let at = inner.began.checked_add(queue.next_look().unwrap_or(now)).unwrap_or(inner.began);
            drop(queue);
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        let Some(ticket) = self.waits.take() else { return };
        let mut queue = self.share.budget.0.queue();
        queue.scheduler.cancel(&ticket);
        queue.waiting.remove(&ticket.number);
        if queue.driver == Some(ticket.number) {
            queue.hand_over();
        }
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take").field("share", &self.share).field("most", &self.most).finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
