//! Links and the transfers that share them.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The largest number of nodes for which the rates of all transfers are computed together.
const MOST_FAIR: usize = 100;

/// Transfers over the uplink of one node and the downlink of another.
///
/// With up to [`MOST_FAIR`] nodes the rates are max-min fair. With more, each link gives all of its transfers the same
/// rate, and a transfer has the lesser one of its two links; so links that could be full may not be. Times are in
/// nanoseconds, rates in bytes per second.
pub(super) struct Network {
    /// The rates of the uplinks, and then of the downlinks.
    rates: Vec<f64>,
    nodes: usize,
    /// The transfers of each link.
    on: Vec<Vec<u32>>,
    flows: Vec<Flow>,
    free: Vec<u32>,
    ends: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// The bytes that each node has sent, without those under way.
    sent: Vec<f64>,
    /// When a transfer last began or ended, if the rates have not been computed since.
    changed: Option<u64>,
}

#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: usize,
    left: f64,
    rate: f64,
    at: u64,
    /// The earliest time at which the transfer is looked at.
    looked_at: u64,
    generation: u32,
    is_running: bool,
    tag: u64,
}

/// A transfer that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowId(u32, u32);

impl Network {
    pub(super) fn new(links: &[(f64, f64)]) -> Self {
        let nodes = links.len();
        let rates = links.iter().map(|(up, _)| *up).chain(links.iter().map(|(_, down)| *down)).collect();
        Self {
            rates,
            nodes,
            on: vec![Vec::new(); nodes * 2],
            flows: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            sent: vec![0.0; nodes],
            changed: None,
        }
    }

    /// Begins a transfer. `tag` comes back when it ends.
    pub(super) fn start(&mut self, now: u64, from: usize, to: usize, bytes: u64, tag: u64) -> FlowId {
        let flow = Flow {
            from,
            to,
            left: bytes as f64,
            rate: 0.0,
            at: now,
            looked_at: u64::MAX,
            generation: 0,
            is_running: true,
            tag,
        };
        let id = self.free.pop().unwrap_or(self.flows.len() as u32);
        if id as usize == self.flows.len() {
            self.flows.push(flow);
        } else {
            let generation = self.flows[id as usize].generation;
            self.flows[id as usize] = Flow { generation, ..flow };
        }
        self.on[from].push(id);
        self.on[self.nodes + to].push(id);
        self.share(now, from, to);
        FlowId(id, self.flows[id as usize].generation)
    }

    /// Ends a transfer before its time; nothing if it has ended.
    pub(super) fn stop(&mut self, now: u64, FlowId(id, generation): FlowId) {
        if self.flows[id as usize].generation == generation && self.flows[id as usize].is_running {
            self.settle(id, now);
            self.remove(id, now);
        }
    }

    /// The time at which the next transfer may end.
    pub(super) fn next_end(&mut self) -> Option<u64> {
        if let Some(now) = self.changed.take() {
            self.fill(now);
        }
        self.ends.peek().map(|Reverse((at, ..))| *at)
    }

    /// The tag of a transfer that ends at [`next_end`](Self::next_end); `None` if it was a false alarm.
    pub(super) fn end_next(&mut self) -> Option<u64> {
        let Reverse((now, id, generation)) = self.ends.pop()?;
        let flow = &self.flows[id as usize];
        if !flow.is_running || flow.generation != generation || flow.looked_at != now {
            return None;
        }
        self.settle(id, now);
        let flow = &mut self.flows[id as usize];
        if flow.left > 1.0 {
            flow.looked_at = u64::MAX;
            self.look_at_end(id);
            return None;
        }
        let tag = flow.tag;
        self.remove(id, now);
        Some(tag)
    }

    /// The bytes that a node has sent.
    pub(super) fn sent_by(&mut self, node: usize, now: u64) -> f64 {
        for at in 0..self.on[node].len() {
            self.settle(self.on[node][at], now);
        }
        self.sent[node]
    }

    fn settle(&mut self, id: u32, now: u64) {
        let flow = &mut self.flows[id as usize];
        let bytes = (flow.rate * (now - flow.at) as f64 / 1e9).min(flow.left);
        flow.left -= bytes;
        flow.at = now;
        self.sent[flow.from] += bytes;
    }

    fn remove(&mut self, id: u32, now: u64) {
        let flow = &mut self.flows[id as usize];
        flow.is_running = false;
        flow.generation += 1;
        let (from, to) = (flow.from, flow.to);
        for link in [from, self.nodes + to] {
            let place = self.on[link].iter().position(|other| *other == id);
            self.on[link].swap_remove(place.unwrap_or(0));
        }
        self.free.push(id);
        self.share(now, from, to);
    }

    /// Shares the two links anew among their transfers.
    fn share(&mut self, now: u64, from: usize, to: usize) {
        if self.nodes <= MOST_FAIR {
            // All changes of an instant are computed at once. Rates of the past are settled first.
            self.changed = Some(now);
            return;
        }
        for link in [from, self.nodes + to] {
            for at in 0..self.on[link].len() {
                let id = self.on[link][at];
                let flow = &self.flows[id as usize];
                let [up, down] = [flow.from, self.nodes + flow.to];
                let rate = (self.rates[up] / self.on[up].len() as f64)
                    .min(self.rates[down] / self.on[down].len() as f64);
                self.set_rate(id, rate, now);
            }
        }
    }

    fn set_rate(&mut self, id: u32, rate: f64, now: u64) {
        self.settle(id, now);
        self.flows[id as usize].rate = rate;
        self.look_at_end(id);
    }

    /// Sees to it that the transfer is looked at when it ends. It may be looked at too early, if it has become slower.
    fn look_at_end(&mut self, id: u32) {
        let flow = &mut self.flows[id as usize];
        let end = flow.at + (flow.left / flow.rate.max(1e-3) * 1e9).ceil() as u64 + 1;
        if end < flow.looked_at {
            flow.looked_at = end;
            self.ends.push(Reverse((end, id, flow.generation)));
        }
    }

    /// Computes max-min fair rates: the link that gives its transfers least is shared first.
    fn fill(&mut self, now: u64) {
        let mut left = self.rates.clone();
        let mut open: Vec<usize> = self.on.iter().map(Vec::len).collect();
        let mut new: Vec<Option<f64>> = vec![None; self.flows.len()];
        loop {
            let shares = (0..left.len()).filter(|link| open[*link] > 0);
            let Some((share, link)) = shares
                .map(|link| (left[link].max(0.0) / open[link] as f64, link))
                .min_by(|one, other| one.0.total_cmp(&other.0))
            else {
                break;
            };
            for id in &self.on[link] {
                if new[*id as usize].is_some() {
                    continue;
                }
                new[*id as usize] = Some(share);
                let flow = &self.flows[*id as usize];
                for link in [flow.from, self.nodes + flow.to] {
                    left[link] -= share;
                    open[link] -= 1;
                }
            }
        }
        for (id, rate) in (0..).zip(new) {
            if let Some(rate) = rate {
                self.set_rate(id, rate, now);
            }
        }
    }
}
