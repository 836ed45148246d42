//! Connections that have not proven to be those of members.

use std::{collections::VecDeque, net::IpAddr};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
};

/// The connections that wait at the door. If there are too many, the one that has waited longest goes: a member proves itself in
/// a moment, and a stranger never does.
pub(crate) struct Door {
    most: usize,
    most_of_address: usize,
    waiting: VecDeque<Waiting>,
    next: u64,
    passes: UnboundedSender<u64>,
    passed: UnboundedReceiver<u64>,
}

struct Waiting {
    number: u64,
    from: IpAddr,
    task: AbortHandle,
}

/// Dropped when a connection has proven itself, or has ended.
pub(crate) struct Pass {
    number: u64,
    passes: UnboundedSender<u64>,
}

impl Pass {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // The door may be gone already.
        let _ = self.passes.send(self.number);
    }
}

impl Door {
    pub(crate) fn new(most: usize, most_of_address: usize) -> Self {
        let (passes, passed) = unbounded_channel();
        Self { most, most_of_address, waiting: VecDeque::new(), next: 0, passes, passed }
    }

    /// Makes room for one more connection from this address.
    pub(crate) fn make_room(&mut self, from: IpAddr) -> Pass {
        while let Ok(number) = self.passed.try_recv() {
            self.waiting.retain(|one| one.number != number);
        }
        let of_address = self.waiting.iter().filter(|one| one.from == from).count();
        let oldest = if of_address >= self.most_of_address {
            self.waiting.iter().position(|one| one.from == from)
        } else {
            (self.waiting.len() >= self.most).then_some(0)
        };
        if let Some(gone) = oldest.and_then(|at| self.waiting.remove(at)) {
            gone.task.abort();
        }
        self.next = self.next.wrapping_add(1);
        Pass { number: self.next, passes: self.passes.clone() }
    }

    /// Records the task of a connection, which has the pass of this number.
    pub(crate) fn waits(&mut self, number: u64, from: IpAddr, task: AbortHandle) {
        self.waiting.push_back(Waiting { number, from, task });
    }
}
