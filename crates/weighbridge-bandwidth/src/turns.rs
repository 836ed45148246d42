//! The turns of the peers of one class: deficit round robin.
//!
//! In each round a peer may have [`QUANTUM`] bytes, piece by piece in turn with the others. What its last piece took beyond that
//! counts in the next round. A peer that waits for one piece at a time, and comes back before the round ends, still has the rest of its
//! quantum: so neither large pieces nor many requests give a larger share.

use std::collections::{HashMap, VecDeque};

use crate::class::Peer;

/// The bytes of a peer in a round. No piece is longer, so that each peer that waits has a piece in each round.
pub(crate) const QUANTUM: u64 = 64 << 10;

/// The peers that are remembered while nobody waits. More than these would be a cost without use.
const MOST_REMEMBERED: usize = 1024;

/// The pieces that wait, by peer.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    round: u64,
    /// The peers that wait and may have more in this round, in their order.
    now: VecDeque<Peer>,
    /// The peers that wait for the next round.
    later: VecDeque<Peer>,
    peers: HashMap<Peer, Spending>,
}

#[derive(Debug, Default)]
struct Spending {
    /// The pieces that wait: their numbers, and their bytes.
    waiting: VecDeque<(u64, u64)>,
    round: u64,
    /// The bytes that it has had in that round.
    spent: u64,
}

impl Spending {
    /// Goes on to a later round.
    fn go_on(&mut self, round: u64) {
        let passed = round.saturating_sub(self.round);
        self.spent = self.spent.saturating_sub(passed.saturating_mul(QUANTUM));
        self.round = round;
    }

    fn may_have_more(&self) -> bool {
        self.spent < QUANTUM
    }
}

impl Turns {
    pub(crate) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.later.is_empty()
    }

    /// A piece of at most [`QUANTUM`] bytes begins to wait.
    pub(crate) fn add(&mut self, peer: &Peer, number: u64, bytes: u64) {
        let spending = self.peers.entry(peer.clone()).or_default();
        spending.go_on(self.round);
        if spending.waiting.is_empty() {
            if spending.may_have_more() { &mut self.now } else { &mut self.later }.push_back(peer.clone());
        }
        spending.waiting.push_back((number, bytes));
    }

    /// The piece whose turn it is: its number, and its bytes.
    pub(crate) fn take(&mut self) -> Option<(u64, u64)> {
        if self.now.is_empty() {
            self.next_round();
        }
        let peer = self.now.pop_front()?;
        let spending = self.peers.get_mut(&peer)?;
        let (number, bytes) = spending.waiting.pop_front()?;
        spending.spent = spending.spent.saturating_add(bytes);
        if !spending.waiting.is_empty() {
            if spending.may_have_more() { &mut self.now } else { &mut self.later }.push_back(peer);
        } else if self.is_empty() && self.peers.len() > MOST_REMEMBERED {
            self.peers.clear();
        }
        Some((number, bytes))
    }

    /// A piece waits no more, if it still does.
    pub(crate) fn cancel(&mut self, peer: &Peer, number: u64) {
        let Some(spending) = self.peers.get_mut(peer) else { return };
        let before = spending.waiting.len();
        spending.waiting.retain(|(waiting, _)| *waiting != number);
        if spending.waiting.is_empty() && before > 0 {
            let owes_nothing = spending.spent == 0;
            self.now.retain(|waiting| waiting != peer);
            self.later.retain(|waiting| waiting != peer);
            if owes_nothing {
                self.peers.remove(peer);
            }
        }
    }

    fn next_round(&mut self) {
        if self.later.is_empty() {
            return;
        }
        self.round = self.round.saturating_add(1);
        let round = self.round;
        self.peers.retain(|_, spending| {
            spending.go_on(round);
            !spending.waiting.is_empty() || spending.spent > 0
        });
        std::mem::swap(&mut self.now, &mut self.later);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Numbers have the peer in their thousands, so that a piece that was taken shows whose it is.
    fn of(number: u64) -> u64 {
        number / 1000
    }

    #[test]
    fn a_peer_that_waits_for_one_piece_at_a_time_has_as_much_as_one_of_many_large_ones() {
        let mut turns = Turns::default();
        let peers = [Peer::unique(), Peer::unique()];
        let ask = |turns: &mut Turns, peer: usize| match peer {
            0 => turns.add(&peers[0], 0, 1_000),
            _ => turns.add(&peers[1], 1_000, QUANTUM),
        };
        (0..8).for_each(|_| ask(&mut turns, 1));
        ask(&mut turns, 0);
        let mut had = [0u64; 2];
        for _ in 0..10_000 {
            let (number, bytes) = turns.take().unwrap();
            let peer = usize::try_from(of(number)).unwrap();
            had[peer] += bytes;
            ask(&mut turns, peer);
        }
        assert!(had[0].abs_diff(had[1]) <= 2 * QUANTUM, "{had:?}");
    }

    #[test]
    fn peers_that_came_and_went_are_forgotten() {
        let mut turns = Turns::default();
        for _ in 0..10 * MOST_REMEMBERED {
            turns.add(&Peer::unique(), 0, 10);
            assert_eq!(turns.take(), Some((0, 10)));
        }
        assert!(turns.peers.len() <= MOST_REMEMBERED + 1);
        // While others wait they are forgotten round by round.
        let [busy, busier] = [Peer::unique(), Peer::unique()];
        for number in 0..10 * MOST_REMEMBERED {
            let number = u64::try_from(number).unwrap();
            [&busy, &busier].iter().for_each(|peer| turns.add(peer, number, QUANTUM));
            turns.add(&Peer::unique(), number, 10);
            assert!((0..2).all(|_| turns.take().is_some()));
        }
        let waiting = turns.now.len() + turns.later.len();
        assert!(turns.peers.len() <= MOST_REMEMBERED + waiting, "{} of {waiting}", turns.peers.len());
    }

    proptest! {
        /// Peers that always wait, with pieces of any size, some cancelled and asked anew.
        #[test]
        fn peers_that_wait_have_equal_shares(
            sizes in prop::collection::vec(prop::collection::vec(1..=QUANTUM, 1..8), 2..6),
            cancels in prop::collection::vec(0usize..6, 0..50),
        ) {
            let peers: Vec<_> = sizes.iter().map(|_| Peer::unique()).collect();
            let mut turns = Turns::default();
            let mut asked = vec![0u64; peers.len()];
            let mut ask = |turns: &mut Turns, peer: usize| {
                let sizes = &sizes[peer];
                let number = asked[peer];
                asked[peer] += 1;
                let size = sizes[usize::try_from(number).unwrap() % sizes.len()];
                turns.add(&peers[peer], u64::try_from(peer).unwrap() * 1_000_000 + number, size);
                u64::try_from(peer).unwrap() * 1_000_000 + number
            };
            let mut last = Vec::new();
            for peer in 0..peers.len() {
                ask(&mut turns, peer);
                last.push(ask(&mut turns, peer));
            }
            let mut had: BTreeMap<u64, u64> = BTreeMap::new();
            for turn in 0..2_000usize {
                let (number, bytes) = turns.take().unwrap();
                *had.entry(number / 1_000_000).or_default() += bytes;
                let peer = usize::try_from(number / 1_000_000).unwrap();
                last[peer] = ask(&mut turns, peer);
                if let Some(peer) = cancels.get(turn).filter(|peer| **peer < peers.len()) {
                    turns.cancel(&peers[*peer], last[*peer]);
                    last[*peer] = ask(&mut turns, *peer);
                }
            }
            let (least, most) = (had.values().min().unwrap(), had.values().max().unwrap());
            prop_assert_eq!(had.len(), peers.len());
            prop_assert!(most - least <= 3 * QUANTUM, "{:?}", had);
        }

        #[test]
        fn nothing_is_left_of_what_was_cancelled(
            pieces in prop::collection::vec((0usize..4, 1..=QUANTUM, any::<bool>()), 0..60),
        ) {
            let peers = [(); 4].map(|()| Peer::unique());
            let mut turns = Turns::default();
            let mut kept = Vec::new();
            for (number, (peer, bytes, stays)) in pieces.iter().enumerate() {
                let number = u64::try_from(number).unwrap();
                turns.add(&peers[*peer], number, *bytes);
                if *stays {
                    kept.push((number, *bytes));
                } else {
                    turns.cancel(&peers[*peer], number);
                    // A second time changes nothing.
                    turns.cancel(&peers[*peer], number);
                }
            }
            let mut given: Vec<_> = std::iter::from_fn(|| turns.take()).collect();
            given.sort_unstable();
            prop_assert_eq!(given, kept);
            prop_assert!(turns.is_empty());
            prop_assert!(turns.peers.values().all(|spending| spending.waiting.is_empty() && spending.spent > 0));
        }
    }
}
