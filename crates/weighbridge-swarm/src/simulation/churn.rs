//! Nodes that come, go and connect.

use std::sync::Arc;

use super::{
    PIECE,
    stage::{Event, Node},
    world::{EPOCH, MS, World, index_of},
};
use crate::{Block, Giver, Members, Piece};

/// The time after which a node sees that a neighbour has gone.
const PARTED: u64 = 50 * MS;

impl World<'_> {
    pub(super) fn leave(&mut self, node: usize) {
        self.nodes[node].is_there = false;
        for request in std::mem::take(&mut self.nodes[node].requests) {
            if let Some((flow, since)) = request.flow {
                self.network.stop(self.now, flow);
                self.upload_ends(request.of, node, since);
            }
        }
        for to in std::mem::take(&mut self.nodes[node].linked) {
            let flows = self.nodes[to].requests.iter().filter(|request| request.of == node);
            let flows: Vec<_> = flows.filter_map(|request| request.flow).collect();
            flows.iter().for_each(|(flow, _)| self.network.stop(self.now, *flow));
            self.agenda.add(self.now + PARTED, Event::Parted { from: node, to });
        }
    }

    /// A node loses a neighbour, and looks for another.
    pub(super) fn parted(&mut self, from: usize, to: usize) {
        let (key, now) = (self.nodes[from].key, self.time());
        let place = self.nodes[to].linked.iter().position(|other| *other == from);
        if let Some(place) = place {
            self.nodes[to].linked.remove(place);
        }
        self.cancel(to, Giver::Member(key));
        let this = &mut self.nodes[to];
        this.plan.part(&key, now);
        this.neighbours.lost(&key, now);
        this.uploads.left(&key);
        this.slots.iter_mut().for_each(|slots| slots.part(&key));
        this.waiting.retain(|(by, ..)| *by != from);
        self.serve_next(to);
        self.ask_all(to);
        self.agenda.add(self.now + 20 * MS, Event::Dial { node: to });
    }

    /// Connects a node with as many others as it wants.
    pub(super) fn dial(&mut self, node: usize) {
        if !self.nodes[node].is_there {
            return;
        }
        let now = self.time();
        while let Some(key) = self.nodes[node].neighbours.dial(now) {
            let other = index_of(&key);
            let me = self.nodes[node].key;
            let is_welcome = self.nodes[other].is_there && self.nodes[other].neighbours.connected(me, false);
            if is_welcome && self.nodes[node].neighbours.connected(key, true) {
                self.link(node, other);
                self.link(other, node);
            } else {
                self.nodes[node].neighbours.lost(&key, now);
            }
        }
    }

    /// Makes `other` a neighbour of `node`, which hears what the other has and claims.
    fn link(&mut self, node: usize, other: usize) {
        if self.nodes[node].linked.contains(&other) {
            return;
        }
        let (key, now) = (self.nodes[other].key, self.time());
        self.nodes[node].linked.push(other);
        if let Some(slots) = &mut self.nodes[node].slots {
            slots.meet(key, Block::of_unknown(&key), false, now);
        }
        // Nobody learns an address of one that lets nobody in.
        if self.nodes[other].is_free_rider {
            return;
        }
        self.nodes[node].plan.meet(key, now);
        let has: Vec<u32> = match self.nodes[other].hostile {
            Some(_) => (0..self.pieces).collect(),
            None => (0..self.pieces).filter(|piece| self.nodes[other].plan.holds(Piece(*piece))).collect(),
        };
        let at = self.now + 2 * self.delay(node, other);
        if !has.is_empty() {
            self.agenda.add(at, Event::Gained { from: other, to: node, pieces: has.into() });
        }
        if let Some(piece) = self.nodes[other].told_claim {
            self.agenda.add(at, Event::Claimed { from: other, to: node, piece: Some(piece) });
        }
    }

    pub(super) fn join(&mut self) {
        let first = self.scene.links.len();
        let bytes = PIECE as f64 / 1e6;
        for node in first..self.nodes.len() {
            self.nodes[node].is_there = true;
            self.nodes[node].joined_at = self.now;
        }
        let missing: u32 = self.nodes.iter().map(|node| self.pieces - node.plan.held()).sum();
        let (up, down) = self.scene.links[0];
        let sending = self.scene.origin + up * self.nodes.len() as f64;
        let bound = (f64::from(missing) * bytes / sending).max(f64::from(self.pieces) * bytes / down);
        for node in first..self.nodes.len() {
            self.joiner_bounds.push((node, bound));
            self.dial(node);
        }
        self.agenda.add(self.now + EPOCH / 10, Event::Epoch);
    }

    /// The members as a tracker knows them: those that are there and have not all pieces.
    pub(super) fn members(&self) -> Arc<Members> {
        let owns = |node: &&Node| node.is_there && node.done_at.is_none() && !node.is_free_rider;
        let there = self.nodes.iter().filter(owns);
        Arc::new(Members::new(there.map(|node| node.key), self.pieces))
    }
}
