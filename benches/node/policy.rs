//! Policies: what is kept, and what is fetched ahead.

mod greedy;
mod keeper;
mod lru;
mod oracle;
mod s3_fifo;

pub use greedy::Greedy;
pub use keeper::Kept;
pub use lru::Lru;
pub use oracle::Oracle;
pub use s3_fifo::S3Fifo;

use super::{Room, Shelf, trace::Trace};

/// A policy. It is told what happens, in the order in which it happens.
pub trait Policy {
    /// A model is asked for. What is kept of it, if it is not all there.
    fn asked(&mut self, model: usize, shelf: &Shelf) -> Room;

    /// A model is a new revision of another.
    fn revised(&mut self, _new: usize, _old: usize, _shelf: &Shelf) {}

    /// Bytes of a model have come, and its fetch goes on.
    fn came(&mut self, _model: usize, _shelf: &Shelf) {}

    /// The fetch of a model has ended. It has brought so many bytes, in so many seconds.
    fn fetched(&mut self, _model: usize, _bytes: u64, _seconds: f64, _shelf: &Shelf) {}

    /// A reader has loaded the model.
    fn closed(&mut self, _model: usize) {}

    /// A model to fetch while the line is idle.
    fn ahead(&mut self, _shelf: &Shelf) -> Option<(usize, Room)> {
        None
    }

    /// When [`ahead`](Self::ahead) is to be asked again, if nothing happens.
    fn wakes(&self, _shelf: &Shelf) -> f64 {
        f64::INFINITY
    }
}

/// The policies that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is kept.
    NoCache,
    /// The least recently used model goes.
    Lru,
    /// The least frequently used one goes, with dynamic ageing.
    LfuDa,
    /// Three queues of S3-FIFO.
    S3Fifo,
    /// Greedy-Dual-Size-Frequency, with the measured seconds of a fetch as its cost.
    Gdsf,
    /// The keeper of a node, without fetches ahead.
    KeepsOnly,
    /// The keeper of a node.
    Keeper,
    /// All requests to come are known, and nothing is fetched ahead.
    OracleKeepsOnly,
    /// All requests to come are known.
    Oracle,
}

impl Choice {
    /// All policies.
    pub const ALL: [Self; 9] = [
        Self::NoCache,
        Self::Lru,
        Self::LfuDa,
        Self::S3Fifo,
        Self::Gdsf,
        Self::KeepsOnly,
        Self::Keeper,
        Self::OracleKeepsOnly,
        Self::Oracle,
    ];

    /// The name that is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCache => "no cache",
            Self::Lru => "LRU",
            Self::LfuDa => "LFU-DA",
            Self::S3Fifo => "S3-FIFO",
            Self::Gdsf => "GDSF",
            Self::KeepsOnly => "ours, without prefetch",
            Self::Keeper => "ours",
            Self::OracleKeepsOnly => "oracle, without prefetch",
            Self::Oracle => "oracle",
        }
    }

    /// The policy, at the start of a trace.
    #[must_use]
    pub fn policy(self, trace: &Trace) -> Box<dyn Policy> {
        match self {
            Self::NoCache => Box::new(NoCache),
            Self::Lru => Box::new(Lru::new(trace)),
            Self::LfuDa => Box::new(Greedy::lfu_da(trace)),
            Self::S3Fifo => Box::new(S3Fifo::new(trace)),
            Self::Gdsf => Box::new(Greedy::gdsf(trace)),
            Self::KeepsOnly => Box::new(Kept::new(trace, false)),
            Self::Keeper => Box::new(Kept::new(trace, true)),
            Self::OracleKeepsOnly => Box::new(Oracle::new(trace, false)),
            Self::Oracle => Box::new(Oracle::new(trace, true)),
        }
    }
}

struct NoCache;

impl Policy for NoCache {
    fn asked(&mut self, _model: usize, _shelf: &Shelf) -> Room {
        Room::default()
    }
}

/// Room for all of a model, where others go as a whole, each as `next` says: the next to go of those that may. No room
/// at all, if what may go does not suffice.
fn whole(model: usize, shelf: &Shelf, mut next: impl FnMut(&dyn Fn(usize) -> bool) -> Option<usize>) -> Room {
    let bytes = shelf.models[model].bytes;
    if shelf.is_whole(model) || shelf.room(model) == bytes {
        return Room { keep: bytes, cut: Vec::new() };
    }
    // Nothing goes in vain.
    let others = (0..shelf.models.len()).filter(|other| *other != model && shelf.may_go(*other));
    let most = others.map(|other| shelf.room(other)).sum::<u64>() + shelf.free() + shelf.room(model);
    if most < bytes {
        return Room::default();
    }
    let mut room = Room { keep: bytes, cut: Vec::new() };
    let mut free = shelf.free() + shelf.room(model);
    while free < bytes {
        let cut = &room.cut;
        let may_go = |other: usize| {
            other != model && shelf.may_go(other) && cut.iter().all(|(gone, _)| *gone != other)
        };
        let Some(gone) = next(&may_go) else { unreachable!("enough may go") };
        free += shelf.room(gone);
        room.cut.push((gone, 0));
    }
    room
}

/// The place of the least of these numbers.
fn least(numbers: &[f64], may: &dyn Fn(usize) -> bool) -> Option<usize> {
    (0..numbers.len()).filter(|at| may(*at)).min_by(|one, other| numbers[*one].total_cmp(&numbers[*other]))
}
