//! The connections and the memory of a server, and who gives way when there is no more of them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time,
};
use weighbridge_verify::PageBuffer;

/// How much a server takes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of connections. One more takes the place of the one that has been idle for longest, or that has taken no byte
    /// for longest; while all are busy it waits.
    pub connections: usize,
    /// The number of bytes of chunks that are read, judged and sent at the same time. Connections that find no room wait for it;
    /// one that has taken no byte for two seconds while others wait is closed. Each model needs room for two of its chunks.
    pub memory: usize,
    /// The time in which a head has to come, and for which a connection may be idle.
    pub head_time: Duration,
    /// The time for which a client may take no byte of its answer, while no other client waits for room.
    pub write_time: Duration,
    /// The time for which answers may go on once the server is told to end.
    pub end_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            memory: 256 << 20,
            head_time: Duration::from_secs(60),
            write_time: Duration::from_secs(60),
            end_time: Duration::from_secs(30),
        }
    }
}

/// The room of a server: seats for connections, and memory for what they send.
#[derive(Debug)]
pub(crate) struct Room {
    began: Instant,
    free_seats: Arc<Semaphore>,
    free_memory: Arc<Semaphore>,
    memory_units: u32,
    seats: Mutex<Seats>,
    spare: Mutex<Vec<PageBuffer>>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Seat>>,
}

/// Memory is counted in units of this many bytes, since a semaphore counts to 2^32 at most.
const UNIT: usize = 4096;

/// So many buffers are kept for the next answers.
const SPARE: usize = 8;

/// The time after which a connection that waits looks again who has to give way.
const PATIENCE: Duration = Duration::from_millis(20);

/// A connection that has asked for nothing for this long gives its seat to another.
const IDLE: Duration = Duration::from_millis(250);

/// A client that has taken no byte for this long gives way to others.
const STALLED: Duration = Duration::from_secs(2);

/// The thing that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scarce {
    Seats,
    Memory,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let units = u32::try_from(limits.memory.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        Arc::new(Self {
            began: Instant::now(),
            free_seats: Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS))),
            free_memory: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX))),
            memory_units: units,
            seats: Mutex::default(),
            spare: Mutex::default(),
        })
    }

    /// Waits until one more connection may be accepted.
    pub(crate) async fn seat(self: &Arc<Self>) -> Taken {
        let permit = Arc::clone(&self.free_seats).acquire_owned();
        let permit = self.waited_for(permit, Scarce::Seats).await;
        let mut seats = lock(&self.seats);
        let number = seats.next;
        seats.next = seats.next.wrapping_add(1);
        let seat = Arc::new(Seat {
            began: self.began,
            changed: AtomicU64::new(millis(self.began.elapsed())),
            requests: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            leave: Notify::new(),
        });
        seats.taken.insert(number, Arc::clone(&seat));
        Taken { seat, number, room: Arc::clone(self), _permit: permit }
    }

    /// Memory for this many bytes, if it is free. More than there is in all counts as all.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize, seat: &Arc<Seat>) -> Option<Portion> {
        let permit = Arc::clone(&self.free_memory).try_acquire_many_owned(self.units(bytes)).ok()?;
        Some(self.portion(permit, seat))
    }

    /// Waits for memory. Those who wait get it in their order.
    pub(crate) async fn take(self: Arc<Self>, bytes: usize, seat: Arc<Seat>) -> Portion {
        let permit = Arc::clone(&self.free_memory).acquire_many_owned(self.units(bytes));
        let permit = self.waited_for(permit, Scarce::Memory).await;
        self.portion(permit, &seat)
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.memory_units)
    }

    fn portion(self: &Arc<Self>, permit: OwnedSemaphorePermit, seat: &Arc<Seat>) -> Portion {
        seat.holds.fetch_add(1, Relaxed);
        Portion { room: Arc::clone(self), seat: Arc::clone(seat), buffer: PageBuffer::new(), _permit: permit }
    }

    /// Waits for a permit, and from time to time asks a connection to leave that stands in the way.
    async fn waited_for(
        &self,
        permit: impl Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>>,
        scarce: Scarce,
    ) -> OwnedSemaphorePermit {
        let mut permit = std::pin::pin!(permit);
        loop {
            match time::timeout(PATIENCE, permit.as_mut()).await {
                Ok(Ok(permit)) => return permit,
                // The semaphores of a room are never closed.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => self.make_way(scarce),
            }
        }
    }

    /// Asks the connection to leave that has stood in the way for longest: one whose client takes no bytes, or, for a seat, one that
    /// asks for nothing.
    fn make_way(&self, scarce: Scarce) {
        let seats = lock(&self.seats);
        let may_go = |seat: &&Arc<Seat>| match scarce {
            _ if seat.is_told.load(Relaxed) => false,
            Scarce::Seats if seat.is_idle() && !seat.is_blocked() => seat.unchanged_for() >= IDLE,
            Scarce::Memory if seat.holds.load(Relaxed) == 0 => false,
            _ => seat.is_blocked() && seat.unchanged_for() >= STALLED,
        };
        if let Some(seat) = seats.taken.values().filter(may_go).max_by_key(|seat| seat.unchanged_for()) {
            seat.is_told.store(true, Relaxed);
            seat.leave.notify_one();
        }
    }

    /// The number of connections.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.seats).taken.len()
    }
}

/// A connection, as far as others may have to know how it does.
#[derive(Debug)]
pub(crate) struct Seat {
    began: Instant,
    /// When a byte of an answer was taken last, or a request ended; in milliseconds since the server began. Bytes of heads do not
    /// count: a client that never ends one would keep its seat.
    changed: AtomicU64,
    /// The requests that are being answered: one, or none.
    requests: AtomicUsize,
    /// The portions of memory that it holds.
    holds: AtomicUsize,
    /// Whether bytes wait until the client takes them.
    is_blocked: AtomicBool,
    /// Whether it was asked to leave.
    is_told: AtomicBool,
    leave: Notify,
}

impl Seat {
    /// A seat that no server gave, for requests that come in another way.
    pub(crate) fn outside() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            changed: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            leave: Notify::new(),
        })
    }

    /// The client has taken some bytes.
    pub(crate) fn change(&self) {
        self.changed.store(millis(self.began.elapsed()), Relaxed);
        self.is_blocked.store(false, Relaxed);
    }

    /// The client takes no more bytes for now.
    pub(crate) fn block(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    pub(crate) fn begin_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn end_request(&self) {
        self.requests.fetch_sub(1, Relaxed);
        self.change();
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    pub(crate) fn unchanged_for(&self) -> Duration {
        let now = millis(self.began.elapsed());
        Duration::from_millis(now.saturating_sub(self.changed.load(Relaxed)))
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Relaxed) == 0
    }

    /// Returns once the connection is asked to leave.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

/// The seat of a connection, which others get when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) seat: Arc<Seat>,
    number: u64,
    room: Arc<Room>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.room.seats).taken.remove(&self.number);
    }
}

/// Memory that an answer holds until its bytes are sent: a buffer, and the right to its size.
#[derive(Debug)]
pub(crate) struct Portion {
    room: Arc<Room>,
    seat: Arc<Seat>,
    buffer: PageBuffer,
    _permit: OwnedSemaphorePermit,
}

impl Portion {
    /// The buffer, with this many bytes of any content.
    pub(crate) fn buffer(&mut self, len: usize) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = lock(&self.room.spare).pop().unwrap_or_default();
        }
        self.buffer.resize(len);
        &mut self.buffer
    }
}

impl AsRef<[u8]> for Portion {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.seat.holds.fetch_sub(1, Relaxed);
        let mut spare = lock(&self.room.spare);
        if spare.len() < SPARE && !self.buffer.is_empty() {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A value is whole whenever its lock is free, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    fn room(connections: usize, memory: usize) -> Arc<Room> {
        Room::new(&Limits { connections, memory, ..Limits::default() })
    }

    /// The time of a paused runtime does not reach `Instant`, so these tests take a second or two.
    #[tokio::test]
    async fn an_idle_connection_gives_its_seat_to_the_next_and_a_busy_one_does_not() {
        let room = room(2, 1 << 20);
        let (busy, idle) = (room.seat().await, room.seat().await);
        busy.seat.begin_request();
        let next = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.seat().await }
        });
        idle.seat.told_to_leave().await;
        assert!(!next.is_finished());
        drop(idle);
        let next = next.await.unwrap();
        assert_eq!(room.connections(), 2);
        drop((busy, next));
        assert_eq!(room.connections(), 0);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_gives_its_memory_to_those_who_wait() {
        let room = room(8, 2 * UNIT);
        let (slow, honest) = (room.seat().await, room.seat().await);
        slow.seat.begin_request();
        let held = room.try_take(2 * UNIT, &slow.seat).unwrap();
        slow.seat.block();
        assert!(room.try_take(1, &honest.seat).is_none());
        let waiting = tokio::spawn(Arc::clone(&room).take(1, Arc::clone(&honest.seat)));
        slow.seat.told_to_leave().await;
        assert!(slow.seat.unchanged_for() >= STALLED);
        drop((held, slow));
        drop(waiting.await.unwrap());
        assert!(room.try_take(usize::MAX, &honest.seat).is_some(), "all of it, and no more, is there");
    }

    #[test]
    fn buffers_are_used_again() {
        let room = room(1, 1 << 20);
        let seat = Seat::outside();
        let mut portion = room.try_take(5, &seat).unwrap();
        portion.buffer(5).copy_from_slice(b"bytes");
        assert_eq!(seat.holds.load(Relaxed), 1);
        drop(portion);
        assert_eq!(seat.holds.load(Relaxed), 0);
        let mut again = room.try_take(3, &seat).unwrap();
        assert_eq!(again.buffer(3), b"byt");
    }
}
