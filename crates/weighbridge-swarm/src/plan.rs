//! The decisions of one member of a swarm.
//!
//! All of it is pure: it opens no connection and reads no clock. The caller supplies the times, as [`Duration`]s since
//! an instant of its choice, and one seed.

mod bits;
mod choose;
mod members;
mod neighbours;
mod parties;
mod random;
mod rules;
mod slots;
mod uploads;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::MemberKey;
use bits::Bits;
#[cfg(feature = "simulation")]
pub(crate) use random::Random;
#[cfg(not(feature = "simulation"))]
use random::Random;

pub use members::Members;
use members::Score;
pub use neighbours::{Degree, Discovery, Neighbours};
use parties::{Near, Neighbour, Origin, Pause, Request, Trust, measure};
pub use rules::Rules;
use rules::divide;
pub use slots::{Block, SlotChange, SlotRules, Slots};
pub use uploads::{Admission, UploadRules, Uploads};

/// The position of a piece, counted from 0 over all pieces of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece(pub u32);

/// A party that can be asked for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Giver {
    /// The source that has all pieces and is to give each of them once.
    Origin,
    /// A neighbour.
    Member(MemberKey),
}

/// A request that the caller is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The piece to ask for.
    pub piece: Piece,
    /// Whether another giver has been asked for the piece and has not answered yet.
    pub is_copy: bool,
}

/// The reason why a request brought no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The giver is to be left alone for this time.
    Busy(Duration),
    /// The giver does not have the piece.
    Lacks,
    /// The connection ended, or the giver gave nothing for too long.
    Gone,
    /// The giver gave other bytes than the signed ones.
    Wrong,
    /// The origin gives the piece to another member now, and for this time to nobody else.
    HeldBack(Duration),
}

/// The decisions of one member: the piece to ask for whenever a giver is free.
///
/// The caller tells what happens and has at most one connection to each giver. Whenever a giver has no request, and
/// something has happened or [`wake`](Self::wake) has passed, the caller asks [`next`](Self::next) for a request to it.
///
/// # Guarantee
/// At most one request is out at the origin, one at each neighbour, and
/// [`requests_at_once`](Rules::requests_at_once) at all neighbours together. No piece is asked of more than two givers
/// at once. A piece that is held is not asked for. If the origin or a neighbour has a wanted piece and gives what it is
/// asked for, the piece comes, whatever others announce, claim or refuse. Members that see each other's claims, and
/// have the same [`Members`], do not ask the origin for the same piece within one lease.
///
/// # Non-guarantee
/// The origin may be asked for a piece twice: claims travel, and lapse after a lease. A neighbour that announces pieces
/// and gives none delays each of them by up to a lease. Nothing is remembered of a neighbour that has left.
///
/// # Cost
/// Memory: about half a byte for each piece and neighbour, and three bytes for each piece. Each method says its time.
#[derive(Debug)]
pub struct Plan {
    me: MemberKey,
    score: Score,
    pieces: u32,
    rules: Rules,
    random: Random,
    members: Arc<Members>,
    /// The position of this member among the members.
    position: Option<usize>,
    wanted: Bits,
    held: Bits,
    /// The pieces that are wanted, not held and not asked for.
    open: Bits,
    /// The number of neighbours that have each piece.
    holders: Vec<u16>,
    /// The number of pieces that are held before the first missing one, of those that this member owns.
    own_from: usize,
    /// When each piece that is not held was claimed by a neighbour for the first time.
    claimed_since: BTreeMap<u32, Duration>,
    /// In the order of their keys.
    neighbours: Vec<Neighbour>,
    origin: Origin,
    requests: Vec<Request>,
    /// The recent time of a piece from a member.
    member_time: Option<Duration>,
    /// Since when no piece has come.
    quiet_since: Option<Duration>,
    /// The time without a piece after which this member asks the origin out of turn, in sixteenths of a lease.
    patience: u32,
    /// The piece that the origin was asked for out of turn.
    out_of_turn: Option<u32>,
    /// The end of the pieces that may be asked of the origin by their owners.
    window: u32,
    /// The end of the window at `window_at`, and one to seven leases before. Of the pieces before the second of them,
    /// the owners are late.
    ends: [u32; 8],
    window_at: Duration,
    /// Until then, no piece is to be asked of the origin, unless something happens.
    origin_rests_until: Duration,
    /// The pieces that trusted neighbours have, and those that neighbours have that are not distrusted. Kept only to
    /// save allocations.
    near: Near,
}

impl Plan {
    /// The plan of a member that wants all of so many pieces, holds none, and knows nobody.
    ///
    /// Equal seeds give equal decisions; members need different ones.
    #[must_use]
    pub fn new(me: MemberKey, pieces: u32, rules: Rules, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let window_at = random.time_below(rules.first_lease);
        let patience = 16_u32.saturating_add(random.below(16));
        Self {
            me,
            score: Score::of_member(&me),
            pieces,
            rules,
            random,
            members: Arc::new(Members::new([], pieces)),
            position: None,
            wanted: Bits::full(pieces),
            held: Bits::new(pieces),
            open: Bits::full(pieces),
            holders: vec![0; usize::try_from(pieces).unwrap_or(0)],
            own_from: 0,
            claimed_since: BTreeMap::new(),
            neighbours: Vec::new(),
            origin: Origin {
                pause: Pause::default(),
                refused: Bits::new(pieces),
                held_back: BTreeMap::new(),
                time: None,
            },
            requests: Vec::new(),
            member_time: None,
            quiet_since: None,
            patience,
            out_of_turn: None,
            origin_rests_until: Duration::ZERO,
            window: 0,
            ends: [0; 8],
            window_at,
            near: Near { proven: Bits::new(pieces), believed: Bits::new(pieces) },
        }
    }

    /// Replaces the members: a new epoch. Claims and requests of the last epoch stay.
    ///
    /// # Cost
    /// A search for each neighbour.
    pub fn set_members(&mut self, members: Arc<Members>, now: Duration) {
        self.origin_rests_until = Duration::ZERO;
        self.quiet_since.get_or_insert(now);
        self.position = members.position(&self.me);
        self.own_from = 0;
        for neighbour in &mut self.neighbours {
            neighbour.position = members.position(&neighbour.key);
        }
        self.members = members;
        self.draw_patience();
    }

    /// Adds a neighbour, which has no pieces until it [announces](Self::gained) them. Does nothing if it is one.
    ///
    /// The caller limits the number of neighbours: time and memory grow with it.
    ///
    /// # Cost
    /// A step for each 64 pieces.
    pub fn meet(&mut self, key: MemberKey, now: Duration) {
        self.quiet_since.get_or_insert(now);
        let Err(place) = self.place(&key) else { return };
        if key == self.me {
            return;
        }
        let neighbour = Neighbour {
            key,
            position: self.members.position(&key),
            has: Bits::new(self.pieces),
            refused: Bits::default(),
            refused_until: Duration::ZERO,
            claims: Bits::new(self.pieces),
            claim: None,
            claimed_at: None,
            time: None,
            trust: Trust::New,
            pause: Pause::default(),
            met_at: now,
            gives: !self.rules.needs_slots,
        };
        self.neighbours.insert(place, neighbour);
    }

    /// Removes a neighbour: its claim and the request to it end.
    ///
    /// # Cost
    /// A step for each piece that it had.
    pub fn part(&mut self, key: &MemberKey, now: Duration) {
        self.origin_rests_until = Duration::ZERO;
        self.quiet_since.get_or_insert(now);
        let Ok(place) = self.place(key) else { return };
        let gone = self.neighbours.remove(place);
        for piece in gone.has.iter() {
            self.count_holder(piece, false);
        }
        self.end_request(Giver::Member(*key), None);
    }

    /// Records that a neighbour has these pieces. Pieces may be named again, and in any order; positions that the model
    /// does not have are ignored.
    ///
    /// # Cost
    /// A constant number of steps for each piece named.
    pub fn gained(&mut self, key: &MemberKey, pieces: impl IntoIterator<Item = Piece>) {
        let Ok(place) = self.place(key) else { return };
        let Some(neighbour) = self.neighbours.get_mut(place) else { return };
        for Piece(piece) in pieces {
            if neighbour.has.set(piece)
                && let Some(count) = usize::try_from(piece).ok().and_then(|at| self.holders.get_mut(at))
            {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Records the claim of a neighbour: the piece that it asks the origin for now, if any. It replaces its last claim.
    ///
    /// A claim keeps this member from asking the origin for the piece until it lapses, after a lease. A neighbour can
    /// claim each piece once.
    ///
    /// # Cost
    /// A constant number of steps.
    pub fn claimed(&mut self, key: &MemberKey, piece: Option<Piece>, now: Duration) {
        self.origin_rests_until = Duration::ZERO;
        let lease = self.origin_lease();
        let until = now.saturating_add(lease).saturating_add(self.random.time_below(divide(lease, 2)));
        let Ok(place) = self.place(key) else { return };
        let Some(neighbour) = self.neighbours.get_mut(place) else { return };
        let Some(Piece(piece)) = piece else {
            neighbour.claim = None;
            return;
        };
        if neighbour.claim.is_none_or(|(claimed, _)| claimed != piece) {
            neighbour.claim = neighbour.claims.set(piece).then_some((piece, until));
            neighbour.claimed_at = Some(now);
            if neighbour.claim.is_some() && !self.held.get(piece) {
                self.claimed_since.entry(piece).or_insert(now);
            }
        }
    }

    /// Records that a neighbour gives this member one of its upload slots, or has taken it away. This says something
    /// only where [slots are needed](Rules::needs_slots).
    ///
    /// # Cost
    /// A search among the neighbours.
    pub fn set_slot(&mut self, key: &MemberKey, has_slot: bool) {
        self.origin_rests_until = Duration::ZERO;
        let gives = has_slot || !self.rules.needs_slots;
        self.neighbour(key).into_iter().for_each(|neighbour| neighbour.gives = gives);
    }

    /// Whether a piece is held that a member has not said to have. One that is no neighbour has said nothing.
    ///
    /// # Cost
    /// A step for each 64 pieces.
    #[must_use]
    pub fn has_for(&self, key: &MemberKey) -> bool {
        let Some(neighbour) = self.place(key).ok().and_then(|place| self.neighbours.get(place)) else {
            return !self.held.is_empty();
        };
        self.held.words().iter().zip(neighbour.has.words()).any(|(held, has)| held & !has != 0)
    }

    /// Records that a piece is here and verified, wherever it came from. Returns the givers that were asked for it:
    /// their requests have ended for the plan, and the caller cuts them short.
    ///
    /// # Cost
    /// A step for each request that is out.
    pub fn hold(&mut self, piece: Piece) -> Vec<Giver> {
        self.held.set(piece.0);
        self.open.clear(piece.0);
        self.claimed_since.remove(&piece.0);
        self.origin.held_back.remove(&piece.0);
        let mut asked = Vec::new();
        self.requests.retain(|request| {
            if request.piece == piece.0 {
                asked.push(request.giver);
            }
            request.piece != piece.0
        });
        asked
    }

    /// Wants a piece that was not wanted.
    ///
    /// # Cost
    /// A step for each request that is out.
    pub fn want(&mut self, piece: Piece) {
        self.origin_rests_until = Duration::ZERO;
        self.wanted.set(piece.0);
        self.reopen(piece.0);
    }

    /// Leaves a piece out: it is not asked for from now on. A request for it that is out goes on.
    ///
    /// # Cost
    /// A constant number of steps.
    pub fn unwant(&mut self, piece: Piece) {
        self.wanted.clear(piece.0);
        self.open.clear(piece.0);
    }

    /// Records that a giver gave a piece, and that it is verified. Returns the other giver that was asked for it, if
    /// any: that request has ended for the plan, and the caller cuts it short.
    ///
    /// # Cost
    /// A step for each request that is out.
    pub fn came(&mut self, giver: Giver, piece: Piece, now: Duration) -> Option<Giver> {
        let since = self.end_request(giver, Some(piece.0));
        let took = since.map(|since| now.saturating_sub(since));
        match giver {
            Giver::Origin => {
                self.origin.pause = Pause::default();
                measure(&mut self.origin.time, took);
            }
            Giver::Member(key) => {
                measure(&mut self.member_time, took);
                if let Some(neighbour) = self.neighbour(&key)
                    && neighbour.trust != Trust::Barred
                {
                    measure(&mut neighbour.time, took);
                    neighbour.trust = Trust::Proven;
                    neighbour.pause = Pause::default();
                }
            }
        }
        // A piece that was asked for out of turn does not end the quiet: the next follows at once, until others come.
        if !self.held.get(piece.0) && self.out_of_turn != Some(piece.0) {
            self.quiet_since = Some(now);
            self.draw_patience();
        }
        self.hold(piece).first().copied()
    }

    /// Records that a request ended without the piece. The piece is asked for again, of others or later.
    ///
    /// # Cost
    /// A step for each request that is out.
    pub fn failed(&mut self, giver: Giver, piece: Piece, why: Failure, now: Duration) {
        self.origin_rests_until = Duration::ZERO;
        self.end_request(giver, Some(piece.0));
        let lease = self.origin_lease();
        let rules = &self.rules;
        let forget_at = now.saturating_add(rules.forget_lack);
        match giver {
            Giver::Origin => match why {
                Failure::Busy(time) => self.origin.pause.set(now, time, rules),
                Failure::Gone => self.origin.pause.lengthen(now, rules),
                Failure::Lacks | Failure::Wrong => {
                    self.origin.refused.set(piece.0);
                }
                // It counts as the claim of another member, which holds for no longer than a lease.
                Failure::HeldBack(time) => {
                    self.origin.held_back.retain(|_, until| *until > now);
                    self.origin.held_back.insert(piece.0, now.saturating_add(time.min(lease)));
                }
            },
            Giver::Member(key) => {
                let all = self.pieces;
                let Some(neighbour) = self.neighbours.iter_mut().find(|other| other.key == key) else {
                    return;
                };
                if neighbour.trust == Trust::Barred {
                    return;
                }
                match why {
                    Failure::Busy(time) => neighbour.pause.set(now, time, rules),
                    Failure::Lacks => {
                        neighbour.trust = Trust::Doubted;
                        if neighbour.refused.is_empty() {
                            neighbour.refused = Bits::new(all);
                        }
                        neighbour.refused.set(piece.0);
                        neighbour.refused_until = forget_at;
                    }
                    Failure::Gone => {
                        neighbour.trust = Trust::Doubted;
                        neighbour.pause.lengthen(now, rules);
                    }
                    Failure::Wrong => {
                        neighbour.trust = Trust::Barred;
                        neighbour.claim = None;
                    }
                    // Members do not hold pieces back.
                    Failure::HeldBack(_) => {}
                }
            }
        }
    }

    /// The piece that this member asks the origin for now: the claim that the caller tells all neighbours, whenever it
    /// has changed.
    #[must_use]
    pub fn claim(&self) -> Option<Piece> {
        self.request_to(Giver::Origin).map(|request| Piece(request.piece))
    }

    /// The first time after `now` at which [`next`](Self::next) may answer otherwise though nothing has happened.
    /// `None` if there is no such time.
    ///
    /// # Cost
    /// A step for each neighbour, each request that is out, and each piece that the origin holds back.
    #[must_use]
    pub fn wake(&self, now: Duration) -> Option<Duration> {
        if self.is_complete() {
            return None;
        }
        let of_neighbours = self.neighbours.iter().flat_map(|neighbour| {
            let lapses = neighbour.claim.map_or(Duration::ZERO, |(_, until)| until);
            let forgets = if neighbour.refused.is_empty() { Duration::ZERO } else { neighbour.refused_until };
            [neighbour.pause.until, lapses, forgets]
        });
        let late = self.requests.iter().flat_map(|request| [request.late_at, self.copy_at(request)]);
        let own =
            [self.origin.pause.until, self.window_moves_at(), self.out_of_turn_at().unwrap_or_default()];
        let held_back = self.origin.held_back.values().copied();
        of_neighbours.chain(late).chain(own).chain(held_back).filter(|at| *at > now).min()
    }

    /// Whether there is nobody to share with: no neighbour, and no other member. The caller then fetches in the
    /// ordinary way, with as many requests as it likes.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.neighbours.is_empty() && self.members.keys().iter().all(|key| *key == self.me)
    }

    /// Whether every wanted piece is held.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
            && self
                .requests
                .iter()
                .all(|request| self.held.get(request.piece) || !self.wanted.get(request.piece))
    }

    /// Whether this piece is held.
    #[must_use]
    pub fn holds(&self, piece: Piece) -> bool {
        self.held.get(piece.0)
    }

    /// The number of pieces that are held.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held.count()
    }

    fn place(&self, key: &MemberKey) -> Result<usize, usize> {
        self.neighbours.binary_search_by(|neighbour| neighbour.key.cmp(key))
    }

    fn neighbour(&mut self, key: &MemberKey) -> Option<&mut Neighbour> {
        let place = self.place(key).ok()?;
        self.neighbours.get_mut(place)
    }

    fn count_holder(&mut self, piece: u32, is_new: bool) {
        let Some(count) = usize::try_from(piece).ok().and_then(|at| self.holders.get_mut(at)) else { return };
        *count = if is_new { count.saturating_add(1) } else { count.saturating_sub(1) };
    }

    fn request_to(&self, giver: Giver) -> Option<&Request> {
        self.requests.iter().find(|request| request.giver == giver)
    }

    /// Ends the request to this giver, if there is one for this piece, or for any piece. Returns when it began.
    fn end_request(&mut self, giver: Giver, piece: Option<u32>) -> Option<Duration> {
        let matches =
            |request: &Request| request.giver == giver && piece.is_none_or(|piece| request.piece == piece);
        let place = self.requests.iter().position(matches)?;
        let ended = self.requests.swap_remove(place);
        self.reopen(ended.piece);
        Some(ended.since)
    }

    /// Makes a piece open, if it is wanted, not held and not asked for.
    fn reopen(&mut self, piece: u32) {
        let is_asked = self.requests.iter().any(|request| request.piece == piece);
        if self.wanted.get(piece) && !self.held.get(piece) && !is_asked {
            self.open.set(piece);
        }
    }

    /// The time for which a claim at the origin is live.
    #[must_use]
    pub fn origin_lease(&self) -> Duration {
        self.rules.lease(self.origin.time)
    }

    /// The time for which the origin, if it knows the members, is to give a piece to this member alone: a lease, and
    /// none in a small swarm. Its members hear the claims of each other.
    #[must_use]
    pub fn origin_hold(&self) -> Duration {
        if self.rules.is_small(self.members.keys().len()) { Duration::ZERO } else { self.origin_lease() }
    }

    /// The time after which a request to a neighbour counts as late.
    fn member_lease(&self) -> Duration {
        self.rules.lease(self.member_time.max(self.origin.time))
    }

    /// When this member asks the origin out of turn, if no piece comes until then.
    fn out_of_turn_at(&self) -> Option<Duration> {
        let patience = divide(self.origin_lease().saturating_mul(self.patience), 16);
        Some(self.quiet_since?.saturating_add(patience))
    }

    /// Chooses how long this member waits before it asks the origin out of turn: one to two leases in a small swarm, up
    /// to nine in a large one, because all members may wait for the same reason.
    fn draw_patience(&mut self) {
        let members = u32::try_from(self.members.keys().len()).unwrap_or(u32::MAX);
        let spread = members.saturating_mul(2).clamp(16, 128);
        self.patience = 16_u32.saturating_add(self.random.below(spread));
    }
}

#[cfg(test)]
mod tests;
