//! The connections of a fetch, begun and ended as the decisions say.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::AbortHandle;

use crate::{
    decide::ConnectionId,
    event::SourceId,
    work::{
        connection::{self, Running},
        engine::Engine,
    },
};

/// The running connections.
pub(super) struct Crew<'a> {
    engine: &'a Arc<Engine>,
    running: Vec<(SourceId, u64, AbortHandle)>,
    next: u64,
}

impl<'a> Crew<'a> {
    pub(super) fn new(engine: &'a Arc<Engine>) -> Self {
        Self { engine, running: Vec::new(), next: 0 }
    }

    /// Ends connections that are not wanted any more, and begins those that are.
    pub(super) fn man(&mut self) {
        let board = &self.engine.board;
        let (generations, crew) = {
            let decisions = board.decide();
            let generations: BTreeMap<_, _> =
                decisions.sources().map(|source| (source, decisions.generation(source))).collect();
            (generations, decisions.crew())
        };
        self.running.retain(|(source, generation, task)| {
            if generations.get(source) != Some(generation) {
                task.abort();
            }
            !task.is_finished()
        });
        for (id, connections) in crew {
            let mine = self.running.iter().filter(|(source, ..)| *source == id).count();
            for _ in mine..connections {
                let (Some(source), Some(generation)) = (board.source(id), generations.get(&id)) else {
                    continue;
                };
                if !Self::has_work(self.engine) {
                    return;
                }
                self.next += 1;
                let running = Running::begin(self.engine, id);
                let work = connection::work(running, source, ConnectionId(self.next));
                if let Some(task) = self.engine.spawn(work) {
                    self.running.push((id, *generation, task));
                }
            }
        }
    }

    fn has_work(engine: &Engine) -> bool {
        let decisions = engine.board.decide();
        !decisions.is_finished() || !decisions.layerless().is_empty()
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        self.running.iter().for_each(|(.., task)| task.abort());
    }
}
