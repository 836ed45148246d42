//! The node: what is on its disk, what its line brings, and who waits.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    catalogue::Model,
    line::{Flow, SLACK, demand, share},
    outcome::Outcome,
    policy::Policy,
    trace::{Trace, What},
};

/// The rate of the line, in bytes a second: 10 Gbit/s.
pub const LINE: f64 = 1.25e9;
/// The seconds until the first byte of a fetch comes.
const FIRST_BYTE: f64 = 0.5;
/// The bytes a second at which a reader loads a model, once all is there, and the seconds that it takes besides.
const LOAD: f64 = 2e9;
const LOAD_BESIDES: f64 = 10.0;
/// The most fetches at once that nobody waits for.
const AHEAD: usize = 4;
/// The part of the line that makes it busy.
const BUSY: f64 = 0.98;

/// The bytes on the disk of the node.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// The bytes that may be kept.
    pub budget: u64,
    /// The bytes that are kept or are to be.
    pub used: u64,
    /// The time, in seconds since the start of the trace.
    pub now: f64,
    /// All models, by their positions.
    pub models: Vec<Model>,
    places: Vec<Place>,
}

/// The state of a model on the disk, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    held: u64,
    room: u64,
    /// Those that came ahead of any request.
    unasked: u64,
    /// The readers that wait, or load.
    readers: u32,
    /// Whether it is being fetched.
    is_coming: bool,
}

impl Shelf {
    /// The bytes of a model that are there.
    #[must_use]
    pub fn held(&self, model: usize) -> u64 {
        self.places[model].held
    }

    /// The bytes of a model that are there, or for which there is room.
    #[must_use]
    pub fn room(&self, model: usize) -> u64 {
        self.places[model].room
    }

    /// Whether all of a model is there.
    #[must_use]
    pub fn is_whole(&self, model: usize) -> bool {
        self.held(model) == self.models[model].bytes
    }

    /// Whether bytes of a model are kept, and nobody needs them now.
    #[must_use]
    pub fn may_go(&self, model: usize) -> bool {
        self.room(model) > 0 && self.places[model].readers == 0
    }

    /// Whether a model is not all there, and not being fetched.
    #[must_use]
    pub fn is_missing(&self, model: usize) -> bool {
        !self.is_whole(model) && !self.places[model].is_coming
    }

    /// The bytes that are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.budget - self.used
    }

    fn set_room(&mut self, model: usize, room: u64) {
        self.used = self.used - self.places[model].room + room;
        self.places[model].room = room;
    }
}

/// The part of a model that is kept, and the models that go for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// The bytes of the model to keep, in all.
    pub keep: u64,
    /// The models that lose bytes, and the most that may be left of each.
    pub cut: Vec<(usize, u64)>,
}

/// Plays a trace with a policy, on a line of this rate.
///
/// # Panics
/// If the policy exceeds the budget, or evicts what is in use.
#[must_use]
pub fn play(trace: &Trace, policy: &mut dyn Policy, line: f64) -> Outcome {
    let mut world = World::new(trace, policy, line);
    let end = trace.events.last().map_or(0.0, |event| event.at);
    let mut events = trace.events.iter().peekable();
    loop {
        share(&mut world.flows, line, world.shelf.now);
        let next = world.next_at().min(events.peek().map_or(f64::INFINITY, |event| event.at));
        // After the last request, only readers are waited for.
        if events.peek().is_none() && world.flows.iter().all(Flow::is_ahead) && next >= end {
            break;
        }
        world.run_until(next.max(world.shelf.now));
        while let Some(event) = events.next_if(|event| event.at <= world.shelf.now) {
            match event.what {
                What::Ask => world.ask(event.model),
                What::Revises(old) => world.policy.revised(event.model, old, &world.shelf),
            }
        }
        world.fetch_ahead();
    }
    world.finish(end)
}

struct World<'p> {
    shelf: Shelf,
    flows: Vec<Flow>,
    closings: BinaryHeap<Closing>,
    policy: &'p mut dyn Policy,
    line: f64,
    outcome: Outcome,
}

/// A reader that has loaded a model at this time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Closing {
    at: f64,
    model: usize,
}

impl Eq for Closing {}

impl Ord for Closing {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.model.cmp(&self.model))
    }
}

impl PartialOrd for Closing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'p> World<'p> {
    fn new(trace: &Trace, policy: &'p mut dyn Policy, line: f64) -> Self {
        let shelf = Shelf {
            budget: trace.budget,
            used: 0,
            now: 0.0,
            models: trace.models.clone(),
            places: vec![Place::default(); trace.models.len()],
        };
        let (flows, closings, outcome) = (Vec::new(), BinaryHeap::new(), Outcome::default());
        Self { shelf, flows, closings, policy, line, outcome }
    }

    fn next_at(&self) -> f64 {
        let now = self.shelf.now;
        let flows = self.flows.iter().map(|flow| flow.next_at(now));
        let closing = self.closings.peek().map(|closing| closing.at);
        let wakes = Some(self.policy.wakes(&self.shelf)).filter(|at| *at > now);
        flows.chain(closing).chain(wakes).fold(f64::INFINITY, f64::min)
    }

    fn run_until(&mut self, now: f64) {
        let seconds = now - self.shelf.now;
        for flow in &mut self.flows {
            let (bytes, kept) = flow.run(self.shelf.now, seconds);
            self.outcome.fetched += bytes;
            let place = &mut self.shelf.places[flow.model];
            let held = (place.room as f64 - (flow.keep - flow.kept)).floor() as u64;
            if flow.is_ahead() {
                self.outcome.ahead += kept;
                place.unasked += held.saturating_sub(place.held);
            }
            place.held = held.clamp(place.held, place.room);
        }
        self.shelf.now = now;
        while self.closings.peek().is_some_and(|closing| closing.at <= now) {
            let Some(Closing { model, .. }) = self.closings.pop() else { break };
            self.shelf.places[model].readers -= 1;
            self.policy.closed(model);
        }
        self.serve();
        self.end_flows();
    }

    /// Lets go the readers that have all.
    fn serve(&mut self) {
        let now = self.shelf.now;
        for flow in &mut self.flows {
            let sent = flow.sent + SLACK;
            let (served, waiting) = flow.readers.iter().partition::<Vec<_>, _>(|reader| reader.until <= sent);
            flow.readers = waiting;
            for reader in served {
                self.outcome.waits.push(now - reader.since);
                self.closings.push(closing(&self.shelf, flow.model));
            }
        }
    }

    fn end_flows(&mut self) {
        let (over, running) = std::mem::take(&mut self.flows).into_iter().partition(Flow::is_over);
        self.flows = running;
        for flow in over {
            let place = &mut self.shelf.places[flow.model];
            place.is_coming = false;
            if flow.kept + SLACK >= flow.keep {
                place.held = place.room;
            }
            let held = place.held;
            self.shelf.set_room(flow.model, held);
            self.policy.fetched(flow.model, flow.sent as u64, flow.busy, &self.shelf);
        }
    }

    fn ask(&mut self, model: usize) {
        self.tell_held();
        let place = &mut self.shelf.places[model];
        place.unasked = 0;
        let room = self.policy.asked(model, &self.shelf);
        self.shelf.places[model].readers += 1;
        if self.shelf.is_whole(model) {
            self.outcome.waits.push(0.0);
            self.closings.push(closing(&self.shelf, model));
            return;
        }
        self.cut(&room.cut);
        let at = self.flows.iter().position(|flow| flow.model == model).unwrap_or_else(|| self.begin(model));
        self.keep(at, room.keep);
        self.flows[at].join(self.shelf.now);
    }

    /// Begins a fetch of what is missing. Returns its position.
    fn begin(&mut self, model: usize) -> usize {
        let Model { bytes, rate, .. } = self.shelf.models[model];
        let place = &mut self.shelf.places[model];
        place.is_coming = true;
        let flow = Flow::new(model, bytes - place.held, self.shelf.now + FIRST_BYTE, rate.min(self.line));
        self.flows.push(flow);
        self.flows.len() - 1
    }

    /// Gives the model of a fetch room for so many bytes in all.
    fn keep(&mut self, at: usize, keep: u64) {
        let flow = &mut self.flows[at];
        let room = keep.max(self.shelf.room(flow.model)).min(self.shelf.models[flow.model].bytes);
        flow.keep += (room - self.shelf.room(flow.model)) as f64;
        self.shelf.set_room(flow.model, room);
        assert!(self.shelf.used <= self.shelf.budget, "the budget is exceeded");
    }

    fn cut(&mut self, cuts: &[(usize, u64)]) {
        for (model, left) in cuts {
            assert!(self.shelf.may_go(*model), "what is in use is evicted");
            self.flows.retain(|flow| flow.model != *model);
            let place = &mut self.shelf.places[*model];
            place.is_coming = false;
            let held = place.held.min(*left);
            let wasted = place.unasked.min(place.held - held);
            place.unasked -= wasted;
            place.held = held;
            self.outcome.unused += wasted as f64;
            self.shelf.set_room(*model, held);
        }
    }

    /// Begins fetches that nobody waits for, while the line has something left.
    fn fetch_ahead(&mut self) {
        loop {
            let ahead = self.flows.iter().filter(|flow| flow.is_ahead()).count();
            if ahead >= AHEAD || demand(&self.flows) >= self.line * BUSY {
                return;
            }
            self.tell_held();
            let Some((model, room)) = self.policy.ahead(&self.shelf) else { return };
            self.cut(&room.cut);
            let at = self.begin(model);
            self.keep(at, room.keep);
        }
    }

    fn tell_held(&mut self) {
        for flow in &self.flows {
            self.policy.came(flow.model, &self.shelf);
        }
    }

    fn finish(mut self, seconds: f64) -> Outcome {
        self.outcome.unused += self.shelf.places.iter().map(|place| place.unasked as f64).sum::<f64>();
        self.outcome.seconds = seconds;
        self.outcome
    }
}

fn closing(shelf: &Shelf, model: usize) -> Closing {
    Closing { at: shelf.now + shelf.models[model].bytes as f64 / LOAD + LOAD_BESIDES, model }
}
