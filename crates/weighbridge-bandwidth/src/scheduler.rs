//! The scheduler of one direction: which piece goes next, and when. It knows no clock: the caller gives the time, as the time since
//! some beginning.

use std::time::Duration;

use crate::{
    class::{ByClass, Class, Peer},
    turns::{QUANTUM, Turns},
};

/// The time of a line that was idle, or whose users did not come back in time, that is made up for.
const IDLE_CREDIT: Duration = Duration::from_millis(10);

/// The time that is made up for while somebody waited: timers, and busy machines, are late.
const LATE_CREDIT: Duration = Duration::from_millis(100);

/// The time for which a class that has moved bytes keeps those below waiting where there is no rate.
pub(crate) const QUIET: Duration = Duration::from_millis(100);

/// The pieces of a second in the rate: a piece takes a fiftieth of a second, or has [`QUANTUM`] bytes.
const PIECES_PER_SECOND: u64 = 50;

/// The order of all bytes of one direction.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// Bytes per second; no limit if `None`.
    rate: Option<u64>,
    /// The time at which the line has carried all that was granted.
    free_at: Duration,
    /// The time from which on somebody has waited without a break, had all turns been in time.
    waited_since: Option<Duration>,
    /// The time at which a piece was granted last, and by how much that was late.
    last: (Duration, Duration),
    waiting: ByClass<Turns>,
    /// By class: the end of the time for which it keeps those below waiting. With a rate this is the time that its pieces take, from
    /// when they were granted on, so that what is made up for is the due of the class that was late.
    keeps_off_until: ByClass<Duration>,
    next: u64,
}

/// A piece that waits.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    class: Class,
    peer: Peer,
}

/// A piece whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

impl Scheduler {
    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Sets the bytes per second; no limit if `None`.
    pub(crate) fn set_rate(&mut self, rate: Option<u64>) {
        self.rate = rate.map(|rate| rate.max(1));
    }

    /// The bytes of the longest piece.
    pub(crate) fn piece(&self) -> u64 {
        self.rate.map_or(QUANTUM, |rate| (rate / PIECES_PER_SECOND).clamp(1, QUANTUM))
    }

    /// A piece begins to wait, of as many bytes as are asked for, or those of the longest piece.
    pub(crate) fn ask(&mut self, class: Class, peer: &Peer, bytes: u64, now: Duration) -> Ticket {
        let (at, late) = self.last;
        // One that comes back at once was kept from coming sooner.
        let is_back = now.saturating_sub(at) <= IDLE_CREDIT;
        self.waited_since.get_or_insert(if is_back { now.saturating_sub(late) } else { now });
        let ticket = Ticket { number: self.next, class, peer: peer.clone() };
        self.next = self.next.wrapping_add(1);
        let bytes = bytes.clamp(1, self.piece());
        self.waiting.of_mut(class).add(peer, ticket.number, bytes);
        ticket
    }

    /// A piece waits no more. One that was granted stays so.
    pub(crate) fn cancel(&mut self, ticket: &Ticket) {
        self.waiting.of_mut(ticket.class).cancel(&ticket.peer, ticket.number);
        self.rest();
    }

    /// A class has moved bytes, and keeps those below waiting until then.
    pub(crate) fn keep_off(&mut self, class: Class, until: Duration) {
        let keeps = self.keeps_off_until.of_mut(class);
        *keeps = until.max(*keeps);
    }

    /// The end of the time for which a class keeps those below waiting, as far as is known.
    pub(crate) fn keeps_off_until(&self, class: Class) -> Duration {
        *self.keeps_off_until.of(class)
    }

    /// The next piece whose turn has come. It counts as moved.
    pub(crate) fn grant(&mut self, now: Duration) -> Option<Granted> {
        let class = self.first()?;
        if self.turn_of(class) > now {
            return None;
        }
        let (number, bytes) = self.waiting.of_mut(class).take()?;
        let keeps = self.keeps_off_until.of_mut(class);
        match self.rate {
            Some(rate) => {
                let time = time_of(bytes, rate);
                let due = self.waited_since.unwrap_or(now);
                self.last = (now, now.saturating_sub(self.free_at.max(due)));
                let due = due.saturating_sub(IDLE_CREDIT).max(now.saturating_sub(LATE_CREDIT));
                let start = self.free_at.max(due);
                self.free_at = start.saturating_add(time);
                *keeps = now.max(*keeps).saturating_add(time);
            }
            None => *keeps = now.saturating_add(QUIET),
        }
        self.rest();
        Some(Granted { number, bytes })
    }

    /// The time at which the next piece may be granted; `None` if none waits.
    pub(crate) fn next_turn(&self) -> Option<Duration> {
        self.first().map(|class| self.turn_of(class))
    }

    /// Returns true if something of a class above waits, or has just been moved.
    pub(crate) fn is_outranked(&self, class: Class, now: Duration) -> bool {
        class.above().any(|above| !self.waiting.of(above).is_empty() || *self.keeps_off_until.of(above) > now)
    }

    /// The first class that waits.
    fn first(&self) -> Option<Class> {
        Class::ALL.into_iter().find(|class| !self.waiting.of(*class).is_empty())
    }

    /// The time of the next turn of a class, if none above it waits.
    fn turn_of(&self, class: Class) -> Duration {
        let line = if self.rate.is_some() { self.free_at } else { Duration::ZERO };
        class.above().map(|above| *self.keeps_off_until.of(above)).fold(line, Duration::max)
    }

    fn rest(&mut self) {
        if self.first().is_none() {
            self.waited_since = None;
        }
    }
}

/// The time that bytes take at a rate.
fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes).saturating_mul(1_000_000_000).checked_div(rate.into()).unwrap_or(u128::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
