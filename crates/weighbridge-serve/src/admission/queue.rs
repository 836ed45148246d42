//! The answers that have a place, and those that wait for one. It knows no clock and no task.

use std::collections::{HashMap, VecDeque};

use weighbridge_bandwidth::Peer;

/// The places, and a queue of as many.
#[derive(Debug)]
pub(crate) struct Queue {
    places: usize,
    taken: usize,
    by_peer: HashMap<Peer, usize>,
    waiting: VecDeque<(u64, Peer)>,
    next: u64,
}

/// The answer to one who asks for a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It has a place.
    Goes,
    /// It waits; if the queue was full, in the place of another one, who waits no more.
    Waits { number: u64, in_place_of: Option<u64> },
    /// There is no room in the queue.
    Full,
}

impl Queue {
    pub(crate) fn new(places: usize) -> Self {
        Self { places, taken: 0, by_peer: HashMap::new(), waiting: VecDeque::new(), next: 0 }
    }

    /// Changes the number of places. Nobody loses the place that it has.
    pub(crate) fn set_places(&mut self, places: usize) {
        self.places = places;
    }

    pub(crate) fn ask(&mut self, peer: &Peer) -> Asked {
        if self.may_go(peer) {
            self.enter(peer);
            return Asked::Goes;
        }
        let mut in_place_of = None;
        if self.waiting.len() >= self.places {
            let Some(other) = self.last_of_most(peer) else { return Asked::Full };
            self.cancel(other);
            in_place_of = Some(other);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.push_back((number, peer.clone()));
        Asked::Waits { number, in_place_of }
    }

    /// The next who waits and has a place now: of those who may, the first of the peers that have fewest.
    pub(crate) fn next(&mut self) -> Option<(u64, Peer)> {
        let may = self.waiting.iter().enumerate().filter(|(_, (_, peer))| self.may_go(peer));
        let (at, _) = may.min_by_key(|(at, (_, peer))| (self.of(peer), *at))?;
        let (number, peer) = self.waiting.remove(at)?;
        self.enter(&peer);
        Some((number, peer))
    }

    /// A place is free again.
    pub(crate) fn leave(&mut self, peer: &Peer) {
        if let Some(taken) = self.by_peer.get_mut(peer) {
            *taken = taken.saturating_sub(1);
            self.taken = self.taken.saturating_sub(1);
            if *taken == 0 {
                self.by_peer.remove(peer);
            }
        }
    }

    /// One waits no more.
    pub(crate) fn cancel(&mut self, number: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != number);
    }

    /// Returns true if there is a place for a peer. None has more than three quarters of all, so that there is room for another one.
    fn may_go(&self, peer: &Peer) -> bool {
        self.taken < self.places && self.of(peer) < self.places.saturating_sub(self.places / 4)
    }

    fn of(&self, peer: &Peer) -> usize {
        self.by_peer.get(peer).copied().unwrap_or(0)
    }

    fn enter(&mut self, peer: &Peer) {
        let taken = self.by_peer.entry(peer.clone()).or_default();
        *taken = taken.saturating_add(1);
        self.taken = self.taken.saturating_add(1);
    }

    /// The last who waits of the peer that waits most often, if that is more often than `peer` would then.
    fn last_of_most(&self, peer: &Peer) -> Option<u64> {
        let mut counts: HashMap<&Peer, (usize, u64)> = HashMap::new();
        for (number, waiting) in &self.waiting {
            let (count, last) = counts.entry(waiting).or_default();
            *count = count.saturating_add(1);
            *last = *number;
        }
        let own = counts.get(peer).map_or(0, |(count, _)| *count);
        let (count, last) = counts.into_values().max()?;
        (count > own.saturating_add(1)).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn waits(asked: &Asked) -> u64 {
        let Asked::Waits { number, .. } = asked else { panic!("{asked:?}") };
        *number
    }

    #[test]
    fn a_free_place_goes_to_the_peer_that_has_fewest() {
        let mut queue = Queue::new(4);
        let [busy, other] = [Peer::unique(), Peer::unique()];
        assert!((0..3).all(|_| queue.ask(&busy) == Asked::Goes));
        // One place is left for others.
        let first = waits(&queue.ask(&busy));
        assert_eq!(queue.next(), None);
        assert_eq!(queue.ask(&other), Asked::Goes);
        let second = waits(&queue.ask(&other));
        queue.leave(&busy);
        assert_eq!(queue.next().map(|(number, _)| number), Some(second));
        queue.leave(&other);
        assert_eq!(queue.next().map(|(number, _)| number), Some(first));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_full_queue_has_room_for_one_who_waits_less_often() {
        let mut queue = Queue::new(4);
        let [busy, other] = [Peer::unique(), Peer::unique()];
        assert!((0..3).all(|_| queue.ask(&busy) == Asked::Goes));
        let waiting = [(); 4].map(|()| waits(&queue.ask(&busy)));
        assert_eq!(queue.ask(&busy), Asked::Full);
        assert_eq!(queue.ask(&other), Asked::Goes);
        for taken in [3, 2] {
            let asked = queue.ask(&other);
            assert!(
                matches!(asked, Asked::Waits { in_place_of, .. } if in_place_of == Some(waiting[taken])),
                "{asked:?}"
            );
        }
        assert_eq!(queue.ask(&other), Asked::Full, "both wait twice");
    }

    #[test]
    fn one_place_is_a_place_for_anybody() {
        let mut queue = Queue::new(1);
        let peer = Peer::unique();
        assert_eq!(queue.ask(&peer), Asked::Goes);
        let number = waits(&queue.ask(&peer));
        queue.cancel(number);
        queue.leave(&peer);
        assert_eq!((queue.next(), queue.ask(&peer)), (None, Asked::Goes));
    }

    proptest! {
        #[test]
        fn no_place_is_given_twice_and_none_is_lost(
            places in 1usize..9,
            steps in prop::collection::vec((0usize..4, 0u8..4), 0..200),
        ) {
            let peers = [(); 4].map(|()| Peer::unique());
            let mut queue = Queue::new(places);
            let mut here: Vec<Peer> = Vec::new();
            let mut waiting: Vec<u64> = Vec::new();
            for (peer, step) in steps {
                match step {
                    0 | 1 => match queue.ask(&peers[peer]) {
                        Asked::Goes => here.push(peers[peer].clone()),
                        Asked::Waits { number, in_place_of } => {
                            waiting.retain(|waiting| Some(*waiting) != in_place_of);
                            waiting.push(number);
                        }
                        Asked::Full => prop_assert_eq!(waiting.len(), places),
                    },
                    2 if !here.is_empty() => {
                        queue.leave(&here.swap_remove(peer % here.len()));
                        while let Some((number, peer)) = queue.next() {
                            prop_assert!(waiting.contains(&number));
                            waiting.retain(|waiting| *waiting != number);
                            here.push(peer);
                        }
                    }
                    3 if !waiting.is_empty() => queue.cancel(waiting.swap_remove(peer % waiting.len())),
                    _ => {}
                }
                prop_assert!(here.len() <= places && waiting.len() <= places);
                prop_assert_eq!((queue.taken, queue.waiting.len()), (here.len(), waiting.len()));
            }
            // Once nobody new comes, all who wait have a place in the end.
            while let Some(peer) = here.pop() {
                queue.leave(&peer);
                while let Some((_, peer)) = queue.next() {
                    here.push(peer);
                    waiting.pop();
                }
            }
            prop_assert!(waiting.is_empty() && queue.by_peer.is_empty() && queue.taken == 0);
        }
    }
}
