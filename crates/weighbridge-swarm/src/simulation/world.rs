//! A swarm while it is played.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    Bound, FreeRiders, Hostile, Outcome, PIECE, Scene,
    network::Network,
    stage::{Agenda, Event, Node, Request},
};
use crate::{
    Admission, Degree, Discovery, Failure, Giver, MemberKey, Members, Neighbours, Piece, Plan, Rules,
    SlotRules, Slots, UploadRules, Uploads, plan::Random,
};

pub(super) const MS: u64 = 1_000_000;
/// A request that has brought nothing for this time has failed.
const TIMEOUT: u64 = 10_000 * MS;
/// The time after which a tracker tells all members who has left or joined.
pub(super) const EPOCH: u64 = 500 * MS;
/// The time between two looks at the slots of a node.
const LOOK: u64 = 250 * MS;
/// No scene takes longer than this many times its bound.
const MOST: f64 = 20.0;

pub(super) struct World<'a> {
    pub(super) scene: &'a Scene,
    pub(super) bound: Bound,
    pub(super) pieces: u32,
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    /// The tag of a transfer has the node that asked in its upper 24 bits, and the number of the request.
    pub(super) network: Network,
    pub(super) agenda: Agenda,
    pub(super) random: Random,
    /// The number of the next request.
    pub(super) next: u64,
    pub(super) is_origin_there: bool,
    /// By piece: the node that the origin gave it to first in this cycle, and when.
    grants: Vec<Option<(usize, u64, u64)>>,
    /// Which pieces have come to some node, and how many.
    pub(super) is_out: Vec<bool>,
    pub(super) out: u32,
    /// The number of nodes that are waited for and lack pieces.
    pub(super) left: usize,
    pub(super) progress: Vec<(f64, f64)>,
    pub(super) joiner_bounds: Vec<(usize, f64)>,
    /// The number of free riders that lack pieces.
    riders_left: usize,
    /// The pieces that the origin gave to free riders.
    to_riders: u64,
    /// The pieces that free riders had when nobody was waited for any more.
    of_riders: Option<u64>,
}

impl<'a> World<'a> {
    pub(super) fn new(scene: &'a Scene) -> Self {
        let joiners = scene.join.map_or(0, |(count, _)| count);
        let mut links: Vec<(f64, f64)> = scene.links.clone();
        links.extend(vec![scene.links[0]; joiners]);
        let mut random = Random::new(scene.seed);
        let pieces = scene.pieces();
        let keys: Vec<MemberKey> = (0..links.len()).map(|index| key_of(scene.seed, index)).collect();
        let most = scene.neighbours + 4;
        let degree = match scene.is_open {
            true => Degree { least: scene.neighbours, ..Degree::open() },
            false => Degree { least: scene.neighbours, most, ..Degree::default() },
        };
        let rules = Rules { needs_slots: scene.is_open, ..scene.rules.clone() };
        let riders = scene.links.len() - scene.free_riders..scene.links.len();
        let count = keys.len();
        let node = |index: usize, random: &mut Random| {
            let key = keys[index];
            let mut neighbours = Neighbours::new(key, degree.clone(), random.next());
            // A tracker names some members to each node, but only those that are there.
            let named = if count <= 64 { count } else { scene.neighbours * 3 };
            for at in 0..named {
                let other = if count <= 64 { at } else { random.below(scene.links.len() as u32) as usize };
                // One that lets nobody in has no address that could be named.
                if other < riders.start {
                    neighbours.found(keys[other], Discovery(0));
                }
            }
            let is_hostile = index + 1 == scene.links.len();
            let is_free_rider = riders.contains(&index);
            Node {
                key,
                plan: Plan::new(key, pieces, rules.clone(), random.next()),
                neighbours,
                uploads: Uploads::new(UploadRules::default()),
                slots: (scene.is_open && !is_free_rider).then(|| Slots::new(SlotRules::of(PIECE, 0))),
                is_free_rider,
                hostile: scene.hostile.filter(|_| is_hostile),
                is_there: index < scene.links.len(),
                linked: Vec::new(),
                requests: Vec::new(),
                waiting: Vec::new(),
                news: Vec::new(),
                is_telling: false,
                told_claim: None,
                wakes_at: u64::MAX,
                joined_at: 0,
                done_at: None,
            }
        };
        let nodes: Vec<Node> = (0..count).map(|index| node(index, &mut random)).collect();
        let rates: Vec<(f64, f64)> =
            links.iter().chain([&(scene.origin, 1.0)]).map(|(up, down)| (up * 1e6, down * 1e6)).collect();
        Self {
            scene,
            bound: scene.bound(),
            pieces,
            now: 0,
            nodes,
            network: Network::new(&rates),
            agenda: Agenda::default(),
            random,
            next: 0,
            is_origin_there: true,
            grants: vec![None; pieces as usize],
            is_out: vec![false; pieces as usize],
            out: 0,
            left: 0,
            progress: Vec::new(),
            joiner_bounds: Vec::new(),
            riders_left: scene.free_riders,
            to_riders: 0,
            of_riders: None,
        }
    }

    pub(super) fn play(mut self) -> Outcome {
        self.begin();
        let end = seconds(self.bound.seconds * MOST);
        while self.left > 0 || self.riders_left > 0 {
            let event_at = self.agenda.next_at().unwrap_or(u64::MAX);
            let flow_at = self.network.next_end().unwrap_or(u64::MAX);
            let at = event_at.min(flow_at);
            if at > end {
                break;
            }
            self.now = at;
            if flow_at <= event_at {
                if let Some(tag) = self.network.end_next() {
                    self.transfer_ends((tag >> 40) as usize, tag & ((1 << 40) - 1));
                }
            } else if let Some(event) = self.agenda.take() {
                self.handle(event);
            }
        }
        self.outcome()
    }

    fn begin(&mut self) {
        let leaving = self.scene.leave.map_or(0, |(count, _)| count);
        let joining = self.nodes.len() - self.scene.links.len();
        self.left = self.scene.waited_for() - leaving + joining;
        let members = self.members();
        let mut order: Vec<usize> = (0..self.scene.links.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.random.below(at as u32 + 1) as usize);
        }
        for node in order {
            self.set_members(node, &members);
            self.dial(node);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].hostile == Some(Hostile::Silent) {
                self.agenda.add(MS, Event::HostileClaim { node, piece: 0 });
            }
            let at = u64::from(self.random.below(50)) * MS;
            self.wake_at(node, at);
            if self.nodes[node].slots.is_some() {
                self.agenda.add(at, Event::Slots { node });
            }
        }
        let at = |part: f64| seconds(self.bound.seconds * part);
        if let Some((_, part)) = self.scene.leave {
            self.agenda.add(at(part), Event::Leave);
        }
        if let Some((_, part)) = self.scene.join {
            self.agenda.add(at(part), Event::Join);
        }
        self.agenda.add(0, Event::Sample);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Asked { by, of, piece, number } => self.is_asked(by, of, piece, number),
            Event::Answered { by, number } => self.is_answered(by, number),
            Event::Refused { by, number, nanos } => {
                self.fails(by, number, Failure::Busy(Duration::from_nanos(nanos)));
            }
            Event::HeldBack { by, number, nanos } => {
                self.fails(by, number, Failure::HeldBack(Duration::from_nanos(nanos)));
            }
            Event::TimedOut { by, number } => self.fails(by, number, Failure::Gone),
            Event::Gained { from, to, pieces } => {
                let key = self.nodes[from].key;
                self.nodes[to].plan.gained(&key, pieces.iter().copied().map(Piece));
                if self.nodes[to].is_there {
                    self.ask(to, Giver::Member(key));
                    self.ask(to, Giver::Origin);
                    self.set_wake(to);
                }
            }
            Event::Claimed { from, to, piece } => {
                let key = self.nodes[from].key;
                let now = self.time();
                self.nodes[to].plan.claimed(&key, piece.map(Piece), now);
                self.ask(to, Giver::Origin);
            }
            Event::Tell { node } => {
                let this = &mut self.nodes[node];
                this.is_telling = false;
                let pieces: Rc<[u32]> = std::mem::take(&mut this.news).into();
                if this.is_free_rider {
                    return;
                }
                for at in 0..self.nodes[node].linked.len() {
                    let to = self.nodes[node].linked[at];
                    let at = self.now + self.delay(node, to);
                    self.agenda.add(at, Event::Gained { from: node, to, pieces: Rc::clone(&pieces) });
                }
            }
            Event::Wake { node } => {
                if self.nodes[node].wakes_at <= self.now {
                    self.nodes[node].wakes_at = u64::MAX;
                    self.ask_all(node);
                }
            }
            Event::Parted { from, to } => self.parted(from, to),
            Event::Dial { node } => self.dial(node),
            Event::Leave => {
                let leaving = self.scene.leave.map_or(0, |(count, _)| count);
                for node in 0..leaving {
                    self.leave(node);
                }
                self.agenda.add(self.now + EPOCH, Event::Epoch);
            }
            Event::Join => self.join(),
            Event::Epoch => {
                let members = self.members();
                for node in 0..self.nodes.len() {
                    if self.nodes[node].is_there {
                        self.set_members(node, &members);
                        self.ask_all(node);
                    }
                }
            }
            Event::Slots { node } => self.choose_slots(node),
            Event::Slot { from, to, has_slot } => {
                let key = self.nodes[from].key;
                self.nodes[to].plan.set_slot(&key, has_slot);
                self.ask(to, Giver::Member(key));
            }
            Event::HostileClaim { node, piece } => {
                self.tell_claim(node, Some(piece));
                let next = (piece + 1) % self.pieces;
                self.agenda.add(self.now + 100 * MS, Event::HostileClaim { node, piece: next });
            }
            Event::Sample => {
                let held: u64 = self.nodes.iter().map(|node| u64::from(node.plan.held())).sum();
                let all = f64::from(self.pieces) * self.nodes.len() as f64;
                self.progress.push((self.now as f64 / 1e9, held as f64 / all));
                self.agenda.add(self.now + seconds(self.bound.seconds / 100.0), Event::Sample);
            }
        }
    }

    /// Tells a node who the members are. A free rider owns nothing, and goes by no owners.
    fn set_members(&mut self, node: usize, members: &Arc<Members>) {
        let now = self.time();
        let members = match self.nodes[node].is_free_rider {
            true => Arc::new(Members::new([], self.pieces)),
            false => Arc::clone(members),
        };
        self.nodes[node].plan.set_members(members, now);
    }

    /// A node gives slots and takes them away.
    fn choose_slots(&mut self, node: usize) {
        let now = self.time();
        let lacks: Vec<bool> = self.nodes.iter().map(|node| node.done_at.is_none()).collect();
        let this = &mut self.nodes[node];
        let (plan, is_complete) = (&this.plan, this.done_at.is_some());
        let Some(slots) = this.slots.as_mut().filter(|_| this.is_there) else { return };
        let changes = slots.choose(is_complete, |key| lacks[index_of(key)] && plan.has_for(key), now);
        for change in changes {
            let to = index_of(&change.member);
            let at = self.now + self.delay(node, to);
            self.agenda.add(at, Event::Slot { from: node, to, has_slot: change.has_slot });
        }
        self.agenda.add(self.now + LOOK, Event::Slots { node });
    }

    /// Asks every giver that is free, beginning at a random one.
    pub(super) fn ask_all(&mut self, node: usize) {
        if !self.nodes[node].is_there || self.nodes[node].hostile.is_some() {
            return;
        }
        self.ask(node, Giver::Origin);
        let count = self.nodes[node].linked.len();
        let first = self.random.below(count as u32) as usize;
        for at in 0..count {
            let other = self.nodes[node].linked[(first + at) % count];
            self.ask(node, Giver::Member(self.nodes[other].key));
        }
        self.set_wake(node);
    }

    fn ask(&mut self, node: usize, giver: Giver) {
        let now = self.time();
        let this = &mut self.nodes[node];
        if this.hostile.is_some() || this.done_at.is_some() || !this.is_there {
            return;
        }
        if this.is_free_rider && giver == Giver::Origin && !self.scene.riders_ask_origin && self.left > 0 {
            return;
        }
        let Some(ask) = this.plan.next(giver, now) else { return };
        let of = match giver {
            Giver::Origin => self.nodes.len(),
            Giver::Member(key) => index_of(&key),
        };
        self.next += 1;
        let number = self.next;
        let piece = ask.piece.0;
        self.nodes[node].requests.push(Request { of, piece, number, flow: None });
        let at = self.now + self.delay(node, of);
        self.agenda.add(at, Event::Asked { by: node, of, piece, number });
        if giver == Giver::Origin {
            self.tell_claim(node, Some(piece));
        }
    }

    fn tell_claim(&mut self, node: usize, piece: Option<u32>) {
        if self.nodes[node].told_claim == piece || self.nodes[node].is_free_rider {
            return;
        }
        self.nodes[node].told_claim = piece;
        for at in 0..self.nodes[node].linked.len() {
            let to = self.nodes[node].linked[at];
            let at = self.now + self.delay(node, to);
            self.agenda.add(at, Event::Claimed { from: node, to, piece });
        }
    }

    fn is_asked(&mut self, by: usize, of: usize, piece: u32, number: u64) {
        if self.request(by, number).is_none() {
            return;
        }
        if of == self.nodes.len() {
            if let Some(nanos) = self.held_back(by, piece) {
                let at = self.now + self.delay(by, of);
                self.agenda.add(at, Event::HeldBack { by, number, nanos });
            } else if self.is_origin_there {
                self.begin_transfer(by, of, number);
            } else {
                self.fails(by, number, Failure::Gone);
            }
            return;
        }
        if !self.nodes[of].is_there || self.nodes[of].hostile == Some(Hostile::Silent) {
            self.agenda.add(self.now + TIMEOUT, Event::TimedOut { by, number });
            return;
        }
        let (peer, now) = (self.nodes[by].key, self.time());
        let admission = match &mut self.nodes[of].slots {
            Some(slots) => slots.may_take(&peer, now).map_or_else(Admission::Busy, |()| Admission::Serve),
            None => self.nodes[of].uploads.ask(peer),
        };
        match admission {
            Admission::Serve => self.begin_transfer(by, of, number),
            Admission::Wait => self.nodes[of].waiting.push((by, piece, number)),
            Admission::Busy(time) => {
                let at = self.now + self.delay(by, of);
                self.agenda.add(at, Event::Refused { by, number, nanos: time.as_nanos() as u64 });
            }
        }
    }

    /// The time for which the origin holds a piece back from this node; `None` if it gives it now.
    fn held_back(&mut self, by: usize, piece: u32) -> Option<u64> {
        let lease = self.nodes[by].plan.origin_hold().as_nanos() as u64;
        let grant = self.grants.get_mut(piece as usize).filter(|_| self.scene.origin_holds_back)?;
        match *grant {
            Some((to, at, its)) if to != by && self.now < at + its.min(lease) => {
                return Some(at + its.min(lease) - self.now);
            }
            Some((to, at, its)) if to == by || self.now < at + 4 * its => {}
            _ => *grant = Some((by, self.now, lease)),
        }
        None
    }

    fn begin_transfer(&mut self, by: usize, of: usize, number: u64) {
        let tag = (by as u64) << 40 | number;
        let flow = self.network.start(self.now, of, by, PIECE, tag);
        let now = self.now;
        if let Some(request) = self.nodes[by].requests.iter_mut().find(|request| request.number == number) {
            request.flow = Some((flow, now));
        }
    }

    /// The last byte of a transfer leaves.
    fn transfer_ends(&mut self, by: usize, number: u64) {
        let Some(request) = self.request(by, number) else { return };
        let (of, flow) = (request.of, request.flow);
        let at = self.now + self.delay(by, of);
        self.agenda.add(at, Event::Answered { by, number });
        let (taker, now) = (self.nodes[by].key, self.time());
        if let Some(slots) = self.nodes.get_mut(of).and_then(|of| of.slots.as_mut()) {
            slots.took(&taker, PIECE, now);
        }
        if let Some((_, since)) = flow {
            self.upload_ends(of, by, since);
        }
    }

    /// A node has served a request of another, and takes the next one.
    pub(super) fn upload_ends(&mut self, of: usize, by: usize, since: u64) {
        if of == self.nodes.len() {
            return;
        }
        let peer = self.nodes[by].key;
        self.nodes[of].uploads.done(&peer, Duration::from_nanos(self.now - since));
        self.serve_next(of);
    }

    pub(super) fn serve_next(&mut self, of: usize) {
        while let Some(key) = self.nodes[of].uploads.serve_next() {
            let peer = index_of(&key);
            let place = self.nodes[of].waiting.iter().position(|(by, ..)| *by == peer);
            let number = place.map(|place| self.nodes[of].waiting.remove(place).2);
            match number.filter(|number| self.request(peer, *number).is_some()) {
                Some(number) => self.begin_transfer(peer, of, number),
                None => self.nodes[of].uploads.done(&key, Duration::ZERO),
            }
        }
    }

    fn is_answered(&mut self, by: usize, number: u64) {
        let Some(request) = self.take_request(by, number) else { return };
        let (giver, piece) = (self.giver(request.of), request.piece);
        let now = self.time();
        if request.of < self.nodes.len() && self.nodes[request.of].hostile == Some(Hostile::Wrong) {
            self.nodes[by].plan.failed(giver, Piece(piece), Failure::Wrong, now);
            let key = self.nodes[request.of].key;
            self.nodes[by].neighbours.ban(key);
            self.parted(request.of, by);
            self.parted(by, request.of);
            return;
        }
        let this = &mut self.nodes[by];
        self.to_riders += u64::from(this.is_free_rider && giver == Giver::Origin);
        if !this.plan.holds(Piece(piece)) {
            if let (Giver::Member(key), Some(slots)) = (giver, &mut this.slots) {
                slots.gave(&key, PIECE, now);
            }
            this.news.push(piece);
            if !this.is_telling {
                this.is_telling = true;
                self.agenda.add(self.now + seconds(self.scene.batch), Event::Tell { node: by });
            }
            if !std::mem::replace(&mut self.is_out[piece as usize], true) {
                self.out += 1;
                if self.out == self.pieces && self.scene.origin_goes {
                    self.is_origin_there = false;
                }
            }
        }
        if let Some(other) = self.nodes[by].plan.came(giver, Piece(piece), now) {
            self.cancel(by, other);
        }
        if self.nodes[by].plan.is_complete() && self.nodes[by].done_at.is_none() {
            self.nodes[by].done_at = Some(self.now);
            if self.nodes[by].is_free_rider {
                self.riders_left -= 1;
                return self.leave(by);
            }
            if self.is_waited_for(by) {
                self.left -= 1;
            }
            if self.left == 0 {
                let riders = self.nodes.iter().filter(|node| node.is_free_rider);
                self.of_riders.get_or_insert(riders.map(|node| u64::from(node.plan.held())).sum());
            }
        }
        self.ask(by, giver);
        self.ask_all(by);
        if self.nodes[by].plan.claim().is_none() {
            self.tell_claim(by, None);
        }
    }

    /// Cuts the request of a node to this giver short.
    pub(super) fn cancel(&mut self, by: usize, giver: Giver) {
        let place = self.nodes[by].requests.iter().position(|request| self.giver(request.of) == giver);
        let Some(place) = place else { return };
        let request = self.nodes[by].requests.remove(place);
        if let Some((flow, since)) = request.flow {
            self.network.stop(self.now, flow);
            self.upload_ends(request.of, by, since);
        }
    }

    fn fails(&mut self, by: usize, number: u64, why: Failure) {
        let Some(request) = self.take_request(by, number) else { return };
        let (giver, now) = (self.giver(request.of), self.time());
        self.nodes[by].plan.failed(giver, Piece(request.piece), why, now);
        self.ask_all(by);
    }

    pub(super) fn set_wake(&mut self, node: usize) {
        let now = self.time();
        if let Some(at) = self.nodes[node].plan.wake(now) {
            self.wake_at(node, at.as_nanos() as u64);
        }
    }

    fn wake_at(&mut self, node: usize, at: u64) {
        if at < self.nodes[node].wakes_at {
            self.nodes[node].wakes_at = at;
            self.agenda.add(at, Event::Wake { node });
        }
    }

    fn is_waited_for(&self, node: usize) -> bool {
        let leaving = self.scene.leave.map_or(0, |(count, _)| count);
        let last = self.scene.waited_for();
        node >= leaving && (node < last || node >= self.scene.links.len())
    }

    fn request(&self, by: usize, number: u64) -> Option<&Request> {
        self.nodes[by].requests.iter().find(|request| request.number == number)
    }

    fn take_request(&mut self, by: usize, number: u64) -> Option<Request> {
        let place = self.nodes[by].requests.iter().position(|request| request.number == number)?;
        Some(self.nodes[by].requests.remove(place))
    }

    fn giver(&self, node: usize) -> Giver {
        self.nodes.get(node).map_or(Giver::Origin, |node| Giver::Member(node.key))
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// The time that a message takes between two nodes: 1 to 15 ms, so that a round trip takes 2 to 30 ms.
    pub(super) fn delay(&self, one: usize, other: usize) -> u64 {
        let pair = (one.min(other) as u64) << 32 | one.max(other) as u64;
        MS + Random::new(pair ^ self.scene.seed).next() % (14 * MS)
    }

    fn outcome(mut self) -> Outcome {
        let model = f64::from(self.pieces) * PIECE as f64;
        let all = self.network.sent_by(self.nodes.len(), self.now) / model;
        let egress = all - self.to_riders as f64 / f64::from(self.pieces);
        let waited = (0..self.scene.links.len()).filter(|node| self.is_waited_for(*node));
        let ends: Vec<Option<u64>> = waited.map(|node| self.nodes[node].done_at).collect();
        let last = ends.iter().map(|end| end.unwrap_or(self.now)).max().unwrap_or(0);
        let joiners = self.joiner_bounds.iter().map(|(node, bound)| {
            let node = &self.nodes[*node];
            node.done_at.map_or(f64::INFINITY, |at| (at - node.joined_at) as f64 / 1e9 / bound)
        });
        let riders = self.nodes.iter().filter(|node| node.is_free_rider);
        let first = riders.clone().map(|node| node.done_at.map_or(f64::INFINITY, |at| at as f64));
        let first = first.fold(f64::INFINITY, f64::min) / last as f64;
        let all = f64::from(self.pieces) * riders.count() as f64;
        let part = self.of_riders.map_or(f64::NAN, |pieces| pieces as f64 / all);
        let free_riders = (self.scene.free_riders > 0).then_some(FreeRiders { part, first });
        let sent: f64 = (0..=self.nodes.len()).map(|node| self.network.sent_by(node, self.now)).sum();
        let came: u64 = self.nodes.iter().map(|node| u64::from(node.plan.held()) * PIECE).sum();
        Outcome {
            seconds: last as f64 / 1e9,
            bound: self.bound,
            egress,
            twice: sent / came as f64 - 1.0,
            unfinished: self.left,
            joiners: joiners.collect(),
            progress: self.progress,
            free_riders,
        }
    }
}

/// The key of a node. Its last bytes are the index, so that no table is needed.
fn key_of(seed: u64, index: usize) -> MemberKey {
    let mut bytes = [0; 32];
    let mut random = Random::new(seed ^ (index as u64) << 32);
    bytes[..8].copy_from_slice(&random.next().to_le_bytes());
    bytes[28..].copy_from_slice(&(index as u32).to_le_bytes());
    MemberKey::from_bytes(bytes)
}

pub(super) fn index_of(key: &MemberKey) -> usize {
    let bytes = key.as_bytes();
    u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]) as usize
}

fn seconds(time: f64) -> u64 {
    (time * 1e9) as u64
}
