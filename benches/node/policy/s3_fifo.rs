//! S3-FIFO (Yang et al. 2023), with sizes: a small queue of a tenth of the bytes, a main one, and ghosts.

use std::collections::VecDeque;

use super::{Policy, whole};
use crate::node::{Room, Shelf, trace::Trace};

/// New models enter the small queue. Those that are used again there go to the main one, and the others leave a ghost;
/// a model with a ghost enters the main queue.
#[derive(Debug)]
pub struct S3Fifo {
    small: VecDeque<usize>,
    main: VecDeque<usize>,
    ghosts: VecDeque<usize>,
    uses: Vec<u8>,
}

impl S3Fifo {
    /// Empty queues.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let (small, main, ghosts) = Default::default();
        Self { small, main, ghosts, uses: vec![0; trace.models.len()] }
    }

    /// The next to go of those that may.
    fn next(&mut self, shelf: &Shelf, may_go: &dyn Fn(usize) -> bool) -> Option<usize> {
        let bytes =
            |queue: &VecDeque<usize>| queue.iter().map(|model| shelf.models[*model].bytes).sum::<u64>();
        // Each turn takes a use off a model, of which it has three at most, or moves a model to another place.
        for _ in 0..(self.small.len() + self.main.len()) * 10 {
            // A queue in which all are in use has nothing to give.
            let small_gives = self.small.iter().any(|model| self.uses[*model] > 1 || may_go(*model));
            let main_gives = self.main.iter().any(|model| may_go(*model));
            let is_small_full = bytes(&self.small) > shelf.budget / 10;
            let from_small = small_gives && (is_small_full || !main_gives);
            if from_small && let Some(model) = self.small.pop_front() {
                if self.uses[model] > 1 {
                    self.uses[model] = 0;
                    self.main.push_back(model);
                } else if may_go(model) {
                    self.ghosts.push_back(model);
                    while bytes(&self.ghosts) > shelf.budget / 10 * 9 {
                        self.ghosts.pop_front();
                    }
                    return Some(model);
                } else {
                    self.small.push_back(model);
                }
            } else {
                let model = self.main.pop_front()?;
                if self.uses[model] > 0 {
                    self.uses[model] -= 1;
                    self.main.push_back(model);
                } else if may_go(model) {
                    return Some(model);
                } else {
                    self.main.push_back(model);
                }
            }
        }
        None
    }
}

impl Policy for S3Fifo {
    fn asked(&mut self, model: usize, shelf: &Shelf) -> Room {
        if self.small.contains(&model) || self.main.contains(&model) {
            self.uses[model] = (self.uses[model] + 1).min(3);
            return Room { keep: shelf.models[model].bytes, cut: Vec::new() };
        }
        let room = whole(model, shelf, |may_go| self.next(shelf, may_go));
        debug_assert!(room.keep > 0 || room.cut.is_empty(), "what has left a queue is evicted");
        if room.keep > 0 {
            self.uses[model] = 0;
            match self.ghosts.iter().position(|ghost| *ghost == model) {
                Some(ghost) => {
                    self.ghosts.remove(ghost);
                    self.main.push_back(model);
                }
                None => self.small.push_back(model),
            }
        }
        room
    }
}
