//! The nodes of a scene.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Hostile, network::FlowId};
use crate::{MemberKey, Neighbours, Plan, Slots, Uploads};

/// A node that fetches the model, or pretends to.
pub(super) struct Node {
    pub(super) key: MemberKey,
    pub(super) plan: Plan,
    pub(super) neighbours: Neighbours,
    pub(super) uploads: Uploads,
    /// In an open swarm, in place of the uploads.
    pub(super) slots: Option<Slots>,
    pub(super) is_free_rider: bool,
    pub(super) hostile: Option<Hostile>,
    /// Whether the node is in the swarm now.
    pub(super) is_there: bool,
    /// The nodes that this one has a connection with.
    pub(super) linked: Vec<usize>,
    /// The requests that this node has made.
    pub(super) requests: Vec<Request>,
    /// The requests of others that wait here: who, which piece, and the number of the request.
    pub(super) waiting: Vec<(usize, u32, u64)>,
    /// The pieces that are to be told to the neighbours, and whether a time for that is set.
    pub(super) news: Vec<u32>,
    pub(super) is_telling: bool,
    /// The claim that the neighbours know of.
    pub(super) told_claim: Option<u32>,
    /// The earliest time at which the plan is asked again.
    pub(super) wakes_at: u64,
    pub(super) joined_at: u64,
    pub(super) done_at: Option<u64>,
}

/// A request that a node has made.
pub(super) struct Request {
    /// The node that is asked; one behind the last is the origin.
    pub(super) of: usize,
    pub(super) piece: u32,
    pub(super) number: u64,
    /// The transfer, once it has begun, and when that was.
    pub(super) flow: Option<(FlowId, u64)>,
}

/// Something that happens to a node.
pub(super) enum Event {
    /// A request of a node reaches the one that is asked.
    Asked {
        by: usize,
        of: usize,
        piece: u32,
        number: u64,
    },
    /// The last byte of an answer reaches the node that has asked.
    Answered {
        by: usize,
        number: u64,
    },
    /// A refusal reaches the node that has asked.
    Refused {
        by: usize,
        number: u64,
        nanos: u64,
    },
    /// The origin holds the piece back from the node that has asked.
    HeldBack {
        by: usize,
        number: u64,
        nanos: u64,
    },
    /// A request has brought nothing for too long.
    TimedOut {
        by: usize,
        number: u64,
    },
    /// The positions that a node has gained reach a neighbour.
    Gained {
        from: usize,
        to: usize,
        pieces: std::rc::Rc<[u32]>,
    },
    /// The claim of a node reaches a neighbour.
    Claimed {
        from: usize,
        to: usize,
        piece: Option<u32>,
    },
    /// A node tells what it has gained.
    Tell {
        node: usize,
    },
    /// A plan is to be asked again.
    Wake {
        node: usize,
    },
    /// A node sees that a neighbour has gone.
    Parted {
        from: usize,
        to: usize,
    },
    /// Two nodes try to connect, if the first still wants more neighbours.
    Dial {
        node: usize,
    },
    /// Nodes leave or join.
    Leave,
    Join,
    /// The members are told anew to all.
    Epoch,
    /// A node gives slots, and takes them away.
    Slots {
        node: usize,
    },
    /// A slot that a node has given or taken away is known to the neighbour.
    Slot {
        from: usize,
        to: usize,
        has_slot: bool,
    },
    /// A hostile node claims the next piece.
    HostileClaim {
        node: usize,
        piece: u32,
    },
    /// The progress is recorded.
    Sample,
}

/// The events to come, in the order of their times and then as they were added.
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    added: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: u64, event: Event) {
        let place = self.free.pop().unwrap_or(self.events.len() as u32);
        if place as usize == self.events.len() {
            self.events.push(Some(event));
        } else {
            self.events[place as usize] = Some(event);
        }
        self.added += 1;
        self.heap.push(Reverse((at, self.added, place)));
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn take(&mut self) -> Option<Event> {
        let Reverse((_, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.events[place as usize].take()
    }
}
