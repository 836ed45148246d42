//! The connections and the memory of a server, and who gives way when there is no more of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use weighbridge_store::descriptor_limit;
use weighbridge_verify::PageBuffer;

use crate::seat::Seat;

/// The limits of what a server takes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of connections; fewer, where the process may not have as many descriptors. One more takes the place of the one
    /// that has been idle for longest, or of those whose clients hardly take what they are sent; while all are busy it waits.
    pub connections: usize,
    /// The number of bytes of chunks that are read, judged and sent at the same time. When half of it is in use, answers get one
    /// chunk at a time. Answers that find no room wait for it; clients that hardly take what they are sent are left meanwhile.
    pub memory: usize,
    /// The number of answers with bytes of models that are sent at the same time; fewer, where the rate at which the server may send
    /// is less than 64 KiB per second for each, but 16 in any case. As many more wait, five seconds at the most; others are told
    /// when to come again.
    pub answers: usize,
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
            answers: 1024,
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
    spare: Mutex<Spare>,
    /// Those who wait for memory, and the units that they want in all.
    waiting: Mutex<Waiting>,
    /// When somebody looked last whose memory others need.
    looked: Mutex<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    answers: u32,
    units: usize,
}

/// Buffers for the next answers, with the length that each has had at most.
#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<(PageBuffer, usize)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Seat>>,
}

/// Memory is counted in units of this many bytes, since a semaphore counts to 2^32 at most.
pub(crate) const UNIT: usize = 4096;

/// As many bytes of buffers are kept for the next answers.
const SPARE: usize = 16 << 20;

/// The time after which a connection that waits looks again who has to give way.
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

/// A connection that has taken no byte of a model for this long, and asks for nothing now, gives its seat to another.
const IDLE: Duration = Duration::from_millis(250);

/// A client that has taken no byte for this long gives way to others; the sooner, the more of them wait for memory.
pub(crate) const STALLED: Duration = Duration::from_secs(2);
const STALLED_AT_LEAST: Duration = Duration::from_millis(500);

/// When as many wait, the time is half as long.
const MANY: u32 = 16;

/// The time between two looks for memory at all connections, however many wait.
const LOOK: Duration = Duration::from_millis(5);

/// The thing that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scarce {
    Seats,
    Memory,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let units = u32::try_from(limits.memory.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        // Files, and whatever else the process has open, take the rest.
        let descriptors =
            descriptor_limit().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let most = (descriptors / 4).saturating_mul(3).min(Semaphore::MAX_PERMITS);
        let now = Instant::now();
        Arc::new(Self {
            began: now,
            free_seats: Arc::new(Semaphore::new(limits.connections.clamp(1, most.max(1)))),
            free_memory: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX))),
            memory_units: units,
            seats: Mutex::default(),
            spare: Mutex::default(),
            waiting: Mutex::default(),
            looked: Mutex::new(now),
        })
    }

    /// Waits until one more connection may be accepted.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        self.waited_for(&self.free_seats, 1, Scarce::Seats).await
    }

    /// Gives the place to a connection.
    pub(crate) fn seat(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Taken {
        let seat = Arc::new(Seat::new(self.began));
        let mut seats = lock(&self.seats);
        let number = seats.next;
        seats.next = seats.next.wrapping_add(1);
        seats.taken.insert(number, Arc::clone(&seat));
        Taken { seat, number, room: Arc::clone(self), _place: place }
    }

    /// Whether more than half of the memory is free, so that answers may take more than they need.
    pub(crate) fn is_ample(&self) -> bool {
        self.free_memory.available_permits() > usize::try_from(self.memory_units / 2).unwrap_or(0)
    }

    /// Memory for this many bytes, if it is free. More than there is in all counts as all.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize, seat: &Arc<Seat>) -> Option<Portion> {
        let permit = Arc::clone(&self.free_memory).try_acquire_many_owned(self.units(bytes)).ok()?;
        Some(self.portion(permit, seat))
    }

    /// Waits for memory. Those who wait get it in their order.
    pub(crate) async fn take(self: Arc<Self>, bytes: usize, seat: Arc<Seat>) -> Portion {
        let permit = self.waited_for(&self.free_memory, self.units(bytes), Scarce::Memory).await;
        self.portion(permit, &seat)
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.memory_units)
    }

    fn portion(self: &Arc<Self>, permit: OwnedSemaphorePermit, seat: &Arc<Seat>) -> Portion {
        seat.holds.fetch_add(permit.num_permits(), Relaxed);
        let (room, seat) = (Arc::clone(self), Arc::clone(seat));
        Portion { room, seat, buffer: PageBuffer::new(), most: 0, permit }
    }

    /// Waits for permits, and has connections leave that stand in the way.
    async fn waited_for(&self, free: &Arc<Semaphore>, permits: u32, scarce: Scarce) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(free).try_acquire_many_owned(permits) {
            return permit;
        }
        let began = Instant::now();
        let _counted = (scarce == Scarce::Memory).then(|| Counted::new(self, permits));
        let mut permit = std::pin::pin!(Arc::clone(free).acquire_many_owned(permits));
        loop {
            self.make_way(scarce, began.elapsed());
            match time::timeout(PATIENCE, permit.as_mut()).await {
                Ok(Ok(permit)) => return permit,
                // The semaphores of a room are never closed.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
        }
    }

    /// The process has no descriptor for one more connection.
    pub(crate) fn lacks_descriptors(&self) {
        self.make_way(Scarce::Seats, Duration::ZERO);
    }

    /// Asks connections to leave, as many as somebody needs who waits: those that take least of what they are sent; and for a seat, the
    /// one that has been idle for longest.
    fn make_way(&self, scarce: Scarce, has_waited: Duration) {
        // For a seat only the acceptor waits.
        if scarce == Scarce::Memory {
            let mut looked = lock(&self.looked);
            if looked.elapsed() < LOOK {
                return;
            }
            *looked = Instant::now();
        }
        let waiting = *lock(&self.waiting);
        let stalled = stalled(waiting.answers);
        let seats = lock(&self.seats);
        let (told, staying): (Vec<_>, Vec<_>) =
            seats.taken.values().partition(|seat| seat.is_told.load(Relaxed));
        let mut slow: Vec<_> = staying.iter().filter(|seat| seat.is_slow(stalled)).collect();
        slow.sort_by_key(|seat| seat.rate.load(Relaxed));
        match scarce {
            // The one that was told leaves soon.
            Scarce::Seats if !told.is_empty() => {}
            Scarce::Seats => {
                let is_free = |seat: &&&Arc<Seat>| {
                    seat.is_idle() && (seat.since(&seat.useful) >= IDLE || has_waited >= IDLE)
                };
                let idle = staying.iter().filter(is_free).max_by_key(|seat| seat.since(&seat.useful));
                if let Some(seat) = idle.or(slow.first().copied()) {
                    seat.tell_to_leave();
                }
            }
            Scarce::Memory => {
                let mut freed =
                    told.iter().fold(0usize, |sum, seat| sum.saturating_add(seat.holds.load(Relaxed)));
                for seat in slow {
                    if freed >= waiting.units {
                        break;
                    }
                    freed = freed.saturating_add(seat.holds.load(Relaxed));
                    seat.tell_to_leave();
                }
            }
        }
    }

    /// Asks connections to leave whose answers keep others from theirs: of these seats those that take least of what they are sent, as
    /// many as answers wait.
    pub(crate) fn make_way_for(waiting: usize, seats: &[Arc<Seat>]) {
        let stalled = stalled(u32::try_from(waiting).unwrap_or(u32::MAX));
        let (told, staying): (Vec<_>, Vec<_>) = seats.iter().partition(|seat| seat.is_told.load(Relaxed));
        let mut slow: Vec<_> = staying.into_iter().filter(|seat| seat.is_slow(stalled)).collect();
        slow.sort_by_key(|seat| seat.rate.load(Relaxed));
        slow.iter().take(waiting.saturating_sub(told.len())).for_each(|seat| seat.tell_to_leave());
    }

    /// The bytes of all memory.
    #[cfg(feature = "accept")]
    pub(crate) fn memory(&self) -> u64 {
        u64::from(self.memory_units).saturating_mul(u64::try_from(UNIT).unwrap_or(u64::MAX))
    }

    /// The number of connections.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.seats).taken.len()
    }
}

/// An answer that waits for memory, until this is dropped.
struct Counted<'a> {
    room: &'a Room,
    units: usize,
}

impl<'a> Counted<'a> {
    fn new(room: &'a Room, units: u32) -> Self {
        let units = usize::try_from(units).unwrap_or(usize::MAX);
        let mut waiting = lock(&room.waiting);
        waiting.answers = waiting.answers.saturating_add(1);
        waiting.units = waiting.units.saturating_add(units);
        Self { room, units }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.room.waiting);
        waiting.answers = waiting.answers.saturating_sub(1);
        waiting.units = waiting.units.saturating_sub(self.units);
    }
}

/// The seat of a connection, which others get when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) seat: Arc<Seat>,
    number: u64,
    room: Arc<Room>,
    _place: OwnedSemaphorePermit,
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
    /// The length that the buffer has had at most: it never shrinks.
    most: usize,
    permit: OwnedSemaphorePermit,
}

impl Portion {
    /// Gives back the memory that is more than for this many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let more = self.permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        if let Some(more) = self.permit.split(more) {
            self.seat.holds.fetch_sub(more.num_permits(), Relaxed);
        }
    }

    /// The buffer, with this many bytes of any content.
    pub(crate) fn buffer(&mut self, len: usize) -> &mut [u8] {
        if self.most == 0 {
            let mut spare = lock(&self.room.spare);
            // A buffer that is much larger than what it is for would take memory that nobody has counted.
            let fits = |most: usize| most >= len && most / 2 <= len;
            if let Some(at) = spare.buffers.iter().position(|(_, most)| fits(*most)) {
                (self.buffer, self.most) = spare.buffers.swap_remove(at);
                spare.bytes = spare.bytes.saturating_sub(self.most);
            }
        }
        self.most = self.most.max(len);
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
        self.seat.holds.fetch_sub(self.permit.num_permits(), Relaxed);
        let mut spare = lock(&self.room.spare);
        let bytes = spare.bytes.saturating_add(self.most);
        if self.most > 0 && bytes <= SPARE {
            spare.bytes = bytes;
            spare.buffers.push((std::mem::take(&mut self.buffer), self.most));
        }
    }
}

/// The time for which a client may take nothing while this many answers wait.
fn stalled(waiting: u32) -> Duration {
    let stalled = STALLED.checked_div((waiting / MANY).saturating_add(1)).unwrap_or(STALLED);
    stalled.max(STALLED_AT_LEAST)
}

/// A value is whole whenever its lock is free, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use crate::seat::SLOW_AFTER;

    fn room(connections: usize, memory: usize) -> Arc<Room> {
        Room::new(&Limits { connections, memory, ..Limits::default() })
    }

    /// The time of a paused runtime does not reach `Instant`, so these tests take a second or two.
    #[tokio::test]
    async fn an_idle_connection_gives_its_seat_to_the_next_and_a_busy_one_does_not() {
        let room = room(2, 1 << 20);
        let (busy, idle) = (room.seat(room.place().await), room.seat(room.place().await));
        busy.seat.begin_request();
        let waiting = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.place().await }
        });
        idle.seat.told_to_leave().await;
        assert!(!waiting.is_finished() && !busy.seat.is_told.load(Relaxed));
        drop(idle);
        let next = room.seat(waiting.await.unwrap());
        assert_eq!(room.connections(), 2);
        drop((busy, next));
        assert_eq!(room.connections(), 0);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_gives_its_memory_to_those_who_wait() {
        let room = room(8, 2 * UNIT);
        let (slow, honest) = (room.seat(room.place().await), room.seat(room.place().await));
        slow.seat.begin_request();
        let held = room.try_take(2 * UNIT, &slow.seat).unwrap();
        slow.seat.block();
        assert!(room.try_take(1, &honest.seat).is_none() && !room.is_ample());
        let waiting = tokio::spawn(Arc::clone(&room).take(1, Arc::clone(&honest.seat)));
        slow.seat.told_to_leave().await;
        assert!(slow.seat.unchanged_for() >= STALLED);
        drop((held, slow));
        drop(waiting.await.unwrap());
        assert!(room.try_take(usize::MAX, &honest.seat).is_some(), "all of it, and no more, is there");
    }

    /// A client that takes a little now and then never stalls.
    #[tokio::test]
    async fn a_client_that_takes_hardly_anything_gives_way_too() {
        let room = room(8, UNIT);
        let slow = room.seat(room.place().await);
        slow.seat.begin_request();
        let _held = room.try_take(UNIT, &slow.seat).unwrap();
        let _waiting = tokio::spawn(Arc::clone(&room).take(1, Seat::outside()));
        let taking = async {
            for _ in 0..80 {
                slow.seat.block();
                time::sleep(Duration::from_millis(100)).await;
                slow.seat.take(1_000);
                slow.seat.block();
            }
        };
        tokio::select! {
            () = slow.seat.told_to_leave() => assert!(slow.seat.since(&slow.seat.asked) >= SLOW_AFTER),
            () = taking => panic!("it stays"),
        }
    }

    /// A server that is slow itself, or has no memory, does not find its clients slow.
    #[tokio::test]
    async fn as_many_leave_as_are_needed_and_none_that_is_not_waited_for() {
        let room = room(8, 4 * UNIT);
        let seats = [(); 4].map(|()| room.free_seats.clone().try_acquire_owned().unwrap());
        let seats = seats.map(|place| room.seat(place));
        let held: Vec<_> = seats.iter().map(|taken| room.try_take(UNIT, &taken.seat).unwrap()).collect();
        for taken in &seats {
            taken.seat.begin_request();
        }
        seats[1..].iter().for_each(|taken| taken.seat.block());
        seats[2].seat.rate.store(5, Relaxed);
        time::sleep(STALLED + PATIENCE).await;
        let waiting = tokio::spawn(Arc::clone(&room).take(UNIT, Seat::outside()));
        seats[2].seat.told_to_leave().await;
        time::sleep(PATIENCE * 3).await;
        let told = seats.each_ref().map(|taken| taken.seat.is_told.load(Relaxed));
        assert_eq!(told, [false, false, true, false]);
        drop(held);
        drop(waiting.await.unwrap());
    }

    #[test]
    fn memory_that_turns_out_not_to_be_needed_is_given_back() {
        let room = room(1, 4 * UNIT);
        let seat = Seat::outside();
        let mut portion = room.try_take(4 * UNIT, &seat).unwrap();
        portion.shrink(UNIT + 1);
        assert_eq!(seat.holds.load(Relaxed), 2);
        drop((room.try_take(2 * UNIT, &seat).unwrap(), portion));
        assert_eq!(seat.holds.load(Relaxed), 0);
    }

    #[test]
    fn buffers_are_used_again_for_what_is_about_as_long() {
        let room = room(1, 1 << 20);
        let seat = Seat::outside();
        let mut portion = room.try_take(5, &seat).unwrap();
        portion.buffer(5).copy_from_slice(b"bytes");
        assert_eq!(seat.holds.load(Relaxed), 1);
        drop(portion);
        assert_eq!(seat.holds.load(Relaxed), 0);
        assert_eq!(room.try_take(1, &seat).unwrap().buffer(1), [0], "another buffer");
        let mut again = room.try_take(3, &seat).unwrap();
        assert_eq!(again.buffer(3), b"byt");
    }
}
