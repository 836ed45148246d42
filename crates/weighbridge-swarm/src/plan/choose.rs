//! The choice of the next piece.

use std::time::Duration;

use super::{
    Ask, Giver, Piece, Plan,
    bits::ones,
    parties::{Neighbour, Request, Trust},
    rules::divide,
};
use crate::MemberKey;

impl Plan {
    /// Chooses a piece to ask this giver for, and records the request. `None` if it is not to be asked now.
    ///
    /// A neighbour is asked for the rarest piece that it has and that is not asked for; at last for a copy of the
    /// oldest request to another giver.
    ///
    /// The origin is asked for a piece that no trusted neighbour has, none claims, and it does not hold back. It is one
    /// that this member owns, in a [window](super::Rules::window) that moves with the pieces seen nearby; else one whose
    /// owner is late and for which this member stands in; else, when no piece has come for some leases, any that is
    /// wanted.
    ///
    /// # Cost
    /// For a neighbour: a step for each 64 pieces, and for each piece that it has and this member still needs, up to
    /// 4,096. For the origin: a step for each neighbour and 64 pieces, and for each piece that the member owns or whose
    /// owner is late.
    pub fn next(&mut self, giver: Giver, now: Duration) -> Option<Ask> {
        self.quiet_since.get_or_insert(now);
        if self.request_to(giver).is_some() {
            return None;
        }
        let (piece, is_copy, lease) = match giver {
            Giver::Origin => {
                if self.origin_rests_until > now {
                    return None;
                }
                let Some((piece, is_copy)) = self.next_of_origin(now) else {
                    self.rest_origin(now);
                    return None;
                };
                (piece, is_copy, self.origin_lease())
            }
            Giver::Member(key) => {
                let (piece, is_copy) = self.next_of_member(&key, now)?;
                (piece, is_copy, self.member_lease())
            }
        };
        self.open.clear(piece);
        let late_at = now.saturating_add(lease).saturating_add(self.random.time_below(divide(lease, 2)));
        self.requests.push(Request { giver, piece, since: now, late_at });
        Some(Ask { piece: Piece(piece), is_copy })
    }

    /// Whether [`next`](Self::next) may choose a piece for this giver now. A no is right; a yes may be wrong.
    ///
    /// # Cost
    /// A step for each request that is out, and for each 64 pieces of a neighbour.
    #[must_use]
    pub fn may_ask(&self, giver: Giver) -> bool {
        if self.request_to(giver).is_some() || self.is_complete() {
            return false;
        }
        let Giver::Member(key) = giver else { return true };
        let Some(neighbour) = self.place(&key).ok().and_then(|place| self.neighbours.get(place)) else {
            return false;
        };
        let to_members = self.requests.iter().filter(|request| request.giver != Giver::Origin).count();
        let has_open =
            || self.open.words().iter().zip(neighbour.has.words()).any(|(open, has)| open & has != 0);
        let has_asked = || self.requests.iter().any(|request| neighbour.has.get(request.piece));
        neighbour.gives && to_members < self.rules.requests_at_once && (has_open() || has_asked())
    }

    fn next_of_member(&mut self, key: &MemberKey, now: Duration) -> Option<(u32, bool)> {
        let to_members = self.requests.iter().filter(|request| request.giver != Giver::Origin).count();
        if to_members >= self.rules.requests_at_once {
            return None;
        }
        let place = self.place(key).ok()?;
        let neighbour = self.neighbours.get_mut(place)?;
        if neighbour.trust == Trust::Barred || !neighbour.gives || neighbour.pause.until > now {
            return None;
        }
        if !neighbour.refused.is_empty() && neighbour.refused_until <= now {
            neighbour.refused.clear_all();
        }
        let neighbour = self.neighbours.get(place)?;
        if self.neighbours.len() > self.rules.requests_at_once && self.is_slow(neighbour) {
            let slow = self.neighbours.iter().filter(|other| self.is_slow(other));
            let asked = slow.filter(|other| self.request_to(Giver::Member(other.key)).is_some()).count();
            if asked >= self.rules.slow_requests_at_once {
                return None;
            }
        }
        let (open, has) = (self.open.words(), neighbour.has.words());
        let start = self.random.below(u32::try_from(open.len()).unwrap_or(u32::MAX));
        let start = usize::try_from(start).unwrap_or(0);
        let (open_before, open) = open.split_at_checked(start)?;
        let (has_before, has) = has.split_at_checked(start)?;
        let mut best: Option<(u16, u32)> = None;
        let mut equal = 0_u32;
        let mut left = MOST_EXAMINED;
        // Begins at a random word, so that of many pieces the examined ones are a sample.
        for (place, (open, has)) in
            (start..).zip(open.iter().zip(has)).chain((0..).zip(open_before.iter().zip(has_before)))
        {
            let mut both = open & has;
            while both != 0 && left > 0 {
                let bit = both.trailing_zeros();
                both &= both.wrapping_sub(1);
                left = left.saturating_sub(1);
                let piece = u32::try_from(place).ok()?.saturating_mul(64).saturating_add(bit);
                let count = usize::try_from(piece).ok().and_then(|at| self.holders.get(at)).copied()?;
                if best.is_some_and(|(least, _)| count > least) || neighbour.refused.get(piece) {
                    continue;
                }
                equal =
                    if best.is_some_and(|(least, _)| count == least) { equal.saturating_add(1) } else { 1 };
                // Each of the equal ones is chosen with the same probability.
                if equal == 1 || self.random.below(equal) == 0 {
                    best = Some((count, piece));
                }
            }
        }
        if let Some((_, piece)) = best {
            return Some((piece, false));
        }
        let copied = self.copied(|request| {
            self.copy_at(request) <= now
                && neighbour.has.get(request.piece)
                && !neighbour.refused.get(request.piece)
        });
        copied.map(|piece| (piece, true))
    }

    fn next_of_origin(&mut self, now: Duration) -> Option<(u32, bool)> {
        if self.origin.pause.until > now || self.is_complete() {
            return None;
        }
        self.look_around(now);
        self.move_window(now);
        let own = self.members.owned_at(self.position).iter().skip(self.own_from);
        let held = own.take_while(|piece| self.held.get(**piece)).count();
        self.own_from = self.own_from.saturating_add(held);
        // Members that look for the same begin at different places.
        let first = self.random.below(self.pieces);
        let most = self.origin_lease().saturating_mul(CLAIMED_LEASES);
        let claimed = |piece: u32| {
            // Claims of members that come anew, or with other keys, do not follow each other for ever.
            let since = self.claimed_since.get(&piece).copied();
            if since.is_some_and(|since| now.saturating_sub(since) > most) {
                return false;
            }
            let mut claims = self.neighbours.iter().filter_map(|neighbour| neighbour.claim);
            claims.any(|(claimed, until)| claimed == piece && until > now)
        };
        let may =
            |piece: &u32| self.open.get(*piece) && self.origin.may_give(*piece, now) && !claimed(*piece);
        let near = &self.near;
        let end = self.window;
        let own = self.members.owned_at(self.position).get(self.own_from..).unwrap_or(&[]);
        let own = own.iter().copied().take_while(|piece| *piece < end);
        let own = own.filter(may).find(|piece| !near.proven.get(*piece));
        if let Some(piece) = own {
            return Some((piece, false));
        }
        let late = self.ends.get(1).copied().unwrap_or(0);
        let unseen = self.open.words().iter().zip(near.believed.words()).map(|(open, near)| open & !near);
        let overdue = ones((0..).zip(unseen)).take_while(|piece| *piece < late);
        let from = first.checked_rem(late).unwrap_or(0);
        let before = overdue.clone().take_while(|piece| *piece < from);
        let from_there = overdue.filter(|piece| *piece >= from);
        let mut overdue = from_there.chain(before).filter(|piece| self.may_stand_in(*piece, now));
        let overdue = overdue.find(may);
        if let Some(piece) = overdue {
            return Some((piece, false));
        }
        let is_due = self.out_of_turn_at().is_some_and(|at| at <= now);
        let has_owner = !self.members.keys().is_empty();
        if !is_due && has_owner {
            return self.late_copy(now);
        }
        let piece = self.rotated(first).find(|piece| may(piece) && !near.believed.get(*piece));
        let piece =
            piece.or_else(|| if is_due { self.rotated(first).find(|piece| may(piece)) } else { None });
        if let Some(piece) = piece {
            self.out_of_turn = is_due.then_some(piece);
            return Some((piece, false));
        }
        self.late_copy(now)
    }

    /// Spares further looks for a piece to ask the origin for, until something may have changed. Pieces that this
    /// member owns may come into the window at any time; other pieces become due only as time passes, or when a request
    /// fails, a claim ends or members change.
    fn rest_origin(&mut self, now: Duration) {
        if self.own_from >= self.members.owned_at(self.position).len() {
            self.origin_rests_until = self.wake(now).unwrap_or_default();
        }
    }

    /// Whether a neighbour takes twice as long for a piece as others do.
    fn is_slow(&self, neighbour: &Neighbour) -> bool {
        let others = self.member_time.unwrap_or(Duration::MAX);
        neighbour.time.is_some_and(|time| time > others.saturating_mul(2))
    }

    /// The piece of a request to a neighbour that is late, if no other neighbour is to be asked for it.
    fn late_copy(&self, now: Duration) -> Option<(u32, bool)> {
        let piece = self.copied(|request| {
            request.late_at <= now
                && self.origin.may_give(request.piece, now)
                && !self.neighbours.iter().any(|neighbour| {
                    Giver::Member(neighbour.key) != request.giver
                        && neighbour.has.get(request.piece)
                        && matches!(neighbour.trust, Trust::New | Trust::Proven)
                })
        })?;
        Some((piece, true))
    }

    /// The piece of the oldest request that has no copy and that `may` be copied.
    fn copied(&self, may: impl Fn(&Request) -> bool) -> Option<u32> {
        let is_single = |request: &&Request| {
            self.requests.iter().filter(|other| other.piece == request.piece).count() == 1
        };
        let wanted = self.requests.iter().filter(|request| self.wanted.get(request.piece));
        let oldest =
            wanted.filter(is_single).filter(|request| may(request)).min_by_key(|request| request.since);
        oldest.map(|request| request.piece)
    }

    /// When a request may be copied: once it has taken longer than pieces do, if nothing is left to ask for; else when
    /// it is late.
    pub(super) fn copy_at(&self, request: &Request) -> Duration {
        if self.open.is_empty() {
            request.since.saturating_add(self.member_time.unwrap_or_default())
        } else {
            request.late_at
        }
    }

    /// Whether this member may ask the origin for a piece whose owner is late by some leases. With each lease, twice as
    /// many may, those with the highest scores for the piece: first about two of those that see the owner's claims.
    ///
    /// An owner that goes from claim to claim has one lease more. So have owners that are no neighbours, and some more:
    /// their pieces may be on their way from afar.
    fn may_stand_in(&self, piece: u32, now: Duration) -> bool {
        let late = self.ends.iter().skip(1).take_while(|end| piece < **end).count();
        let lease = self.origin_lease();
        let owns = |other: &&Neighbour| self.members.owned_at(other.position).binary_search(&piece).is_ok();
        let (of, grace) = match self.neighbours.iter().find(owns) {
            Some(owner) => {
                let is_at_work = owner.claimed_at.is_some_and(|at| at.saturating_add(lease) > now);
                (self.neighbours.len().saturating_add(1), usize::from(is_at_work))
            }
            None => (self.members.keys().len(), self.rules.grace),
        };
        let Some(late) = late.checked_sub(grace).and_then(|late| u32::try_from(late).ok()) else {
            return false;
        };
        let of = u64::try_from(of).unwrap_or(u64::MAX);
        let rank = u128::from(u64::MAX.saturating_sub(self.score.of(piece))).saturating_mul(u128::from(of));
        late > 0 && rank >> 64 < 1_u128 << late
    }

    /// The open pieces in order, beginning at `first`.
    fn rotated(&self, first: u32) -> impl Iterator<Item = u32> {
        let open = || self.open.iter();
        open().filter(move |piece| *piece >= first).chain(open().filter(move |piece| *piece < first))
    }

    /// Moves the window with the number of pieces that are near, and records its end once a lease.
    fn move_window(&mut self, now: Duration) {
        let ahead = self.rules.window_of(self.members.keys().len());
        self.window = self.near.believed.count().saturating_add(ahead).max(self.window);
        if self.window_moves_at() <= now {
            self.ends.rotate_right(1);
            if let Some(last) = self.ends.first_mut() {
                *last = self.window;
            }
            self.window_at = now;
        }
    }

    /// When the end of the window is recorded next.
    pub(super) fn window_moves_at(&self) -> Duration {
        self.window_at.saturating_add(self.origin_lease())
    }

    /// Updates the pieces that are near: those of all neighbours, with those held here.
    pub(super) fn look_around(&mut self, now: Duration) {
        let Self { near, held, neighbours, requests, .. } = self;
        for request in requests.iter().filter(|request| request.late_at <= now) {
            if let Giver::Member(key) = request.giver
                && let Some(neighbour) = neighbours.iter_mut().find(|other| other.key == key)
            {
                neighbour.doubt();
            }
        }
        let soon = now.saturating_add(self.rules.least_lease);
        // Without owners, nobody is waited for that gives nothing now.
        let has_owners = !self.members.keys().is_empty();
        let doubted_at = |other: &Neighbour| other.met_at.saturating_add(self.rules.benefit_of_doubt);
        let may_give = |other: &&Neighbour| {
            let is_trusted = other.trust == Trust::Proven || doubted_at(other) > now;
            other.pause.until <= soon && (other.gives || (has_owners && is_trusted))
        };
        let trusted = |trust: Trust| {
            let of_trust = neighbours.iter().filter(move |other| other.trust == trust).filter(may_give);
            of_trust.map(|other| &other.has)
        };
        near.proven.unite(trusted(Trust::Proven).chain([&*held]));
        near.believed.unite(trusted(Trust::New).chain([&near.proven]));
    }
}

/// The most pieces of a neighbour of which the rarest is chosen. Of more, these are a sample.
const MOST_EXAMINED: usize = 4096;

/// The leases for which all claims of a piece together may keep this member from asking the origin for it.
const CLAIMED_LEASES: u32 = 3;
