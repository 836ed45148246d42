//! The givers and the requests to them, as a plan sees them.

use std::{collections::BTreeMap, time::Duration};

use super::{Giver, Rules, bits::Bits, rules::divide};
use crate::MemberKey;

/// The state of the origin, as seen from here.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) pause: Pause,
    /// The pieces of which the origin gave wrong bytes, or said that it lacks them.
    pub(super) refused: Bits,
    /// Until when it gives pieces to another member alone.
    pub(super) held_back: BTreeMap<u32, Duration>,
    /// The recent time of a piece from the origin.
    pub(super) time: Option<Duration>,
}

/// A connected member, as seen from here.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) key: MemberKey,
    /// Its position among the members.
    pub(super) position: Option<usize>,
    pub(super) has: Bits,
    /// The pieces that it said it lacks, until they are forgotten; no bits if there are none.
    pub(super) refused: Bits,
    pub(super) refused_until: Duration,
    /// The pieces that it has claimed so far: a second claim of the same piece does not count.
    pub(super) claims: Bits,
    /// Its claim at the origin, and the time at which that lapses.
    pub(super) claim: Option<(u32, Duration)>,
    /// When it last claimed another piece.
    pub(super) claimed_at: Option<Duration>,
    /// The recent time of a piece from it.
    pub(super) time: Option<Duration>,
    pub(super) trust: Trust,
    pub(super) pause: Pause,
    pub(super) met_at: Duration,
    /// Whether it may be asked: where slots are needed, whether this member has one of its slots.
    pub(super) gives: bool,
}

/// The trust in the announcements of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It has not been tried.
    New,
    /// The last request to it brought a piece.
    Proven,
    /// The last request to it failed or came late.
    Doubted,
    /// It gave wrong bytes, and is not asked any more.
    Barred,
}

/// The time for which a giver is left alone.
#[derive(Debug, Default)]
pub(super) struct Pause {
    pub(super) until: Duration,
    /// The length of the next pause after a failure; zero if the last request brought a piece.
    pub(super) next: Duration,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) giver: Giver,
    pub(super) piece: u32,
    pub(super) since: Duration,
    /// When it counts as late.
    pub(super) late_at: Duration,
}

#[derive(Debug)]
pub(super) struct Near {
    pub(super) proven: Bits,
    pub(super) believed: Bits,
}

impl Origin {
    /// Whether the origin may be asked for a piece, as far as its own answers tell.
    pub(super) fn may_give(&self, piece: u32, now: Duration) -> bool {
        let is_held_back = self.held_back.get(&piece).is_some_and(|until| *until > now);
        !is_held_back && !self.refused.get(piece)
    }
}

impl Neighbour {
    pub(super) fn doubt(&mut self) {
        if self.trust != Trust::Barred {
            self.trust = Trust::Doubted;
        }
    }
}

impl Pause {
    pub(super) fn set(&mut self, now: Duration, time: Duration, rules: &Rules) {
        self.until = now.saturating_add(time.min(rules.most_pause));
    }

    /// Begins a pause that is twice as long as the last one.
    pub(super) fn lengthen(&mut self, now: Duration, rules: &Rules) {
        let time = self.next.clamp(rules.least_pause, rules.most_pause);
        self.next = time.saturating_mul(2);
        self.set(now, time, rules);
    }
}

/// Updates the recent time of a piece: a quarter of it is the last one.
pub(super) fn measure(recent: &mut Option<Duration>, took: Option<Duration>) {
    let Some(took) = took else { return };
    *recent = Some(recent.map_or(took, |recent| divide(recent.saturating_mul(3).saturating_add(took), 4)));
}
