//! The guide of a fetch: it asks the plan, and tells the plan and the other members what has come.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tracing::warn;
use weighbridge_transfer::{Claim, Guide, Holding, NamedRun, SourceId, SourceState, SourceStatus};
use weighbridge_tree::FileRoot;

use crate::{
    member::MemberKey,
    message::{Message, Role},
    neighbour::Near,
    pieces::Pieces,
    plan::{Failure, Giver, Members, Piece, Plan, Rules, SlotRules, Slots},
    slots,
    swarm::{Member, State},
};

/// The work of a member whose list is known.
pub(crate) struct Work {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) pieces: Arc<Pieces>,
    pub(crate) plan: Plan,
    /// The upload slots of a member that gives, in an open swarm.
    pub(crate) slots: Option<Slots>,
    /// By position in the list: the root of each file that is wanted whole.
    roots: BTreeMap<usize, FileRoot>,
    /// The pieces that sources are asked for now.
    asked: BTreeMap<SourceId, (Giver, Piece)>,
    told_claim: Option<u32>,
    /// The time until which the plan is not asked again whether the origin is to be asked.
    origin_rests_until: Option<Instant>,
    members: Vec<MemberKey>,
    /// When the work began, and when it was learnt last that another member has come or gone.
    began: Instant,
    members_changed: Instant,
    last_gain: Instant,
}

/// The things that a member gives to others.
pub(crate) struct Shelf {
    pub(crate) holding: Holding,
    /// By root: the position of each wanted file in the list.
    pub(crate) positions: BTreeMap<FileRoot, usize>,
    /// The texts of the lists, once somebody has asked for them.
    pub(crate) files: OnceLock<Option<Vec<u8>>>,
    pub(crate) tensors: OnceLock<Option<Vec<u8>>>,
}

/// The time without news of members after which the origin is asked, and the time after which it is asked in any case.
const SETTLED: Duration = Duration::from_millis(300);
const SETTLED_AT_LAST: Duration = Duration::from_millis(1500);
/// The pause before the plan is asked about the origin again, if it had nothing to ask for.
const ORIGIN_RESTS: Duration = Duration::from_millis(20);
/// The pause before a source is named another piece, if it could not be asked for the last one.
const NOT_ASKED: Duration = Duration::from_millis(20);
/// The time without a new piece after which members are not expected to gain those that nobody has.
const STUCK: Duration = Duration::from_secs(60);

impl Guide for Member {
    fn begin(&self, holding: &Holding) {
        let files = holding.files();
        let entries = files.entries().iter().map(|entry| (entry.root, entry.size));
        let is_of_ticket = files.head().id() == self.ticket.head;
        let Some(pieces) = Pieces::of(entries, files.chunk_size().bytes()).filter(|_| is_of_ticket) else {
            // Members of a swarm have one release. The fetch of another one goes on by itself.
            warn!(target: "weighbridge", "the release is not the one of the swarm's ticket, or has too many pieces");
            return;
        };
        let pieces = Arc::new(pieces);
        let mut seed = [0; 8];
        let _ = getrandom::fill(&mut seed);
        let rules = Rules { needs_slots: self.ticket.is_open(), ..Rules::default() };
        let mut plan = Plan::new(self.key, pieces.count(), rules, u64::from_le_bytes(seed));
        let has_slots = self.ticket.is_open() && self.state().gives;
        let slots = has_slots.then(|| Slots::new(SlotRules::of(pieces.len(), slots::metadata(holding))));
        let whole: Vec<_> = holding.wanted().filter(|(.., is_whole)| *is_whole).collect();
        let roots: BTreeMap<_, _> = whole.iter().map(|(position, root, _)| (*position, *root)).collect();
        let positions: BTreeMap<_, _> =
            holding.wanted().map(|(position, root, _)| (root, position)).collect();
        // A piece is wanted once it is known not to be on the disk: nobody is asked for it, nor told a claim of it, before that.
        (0..pieces.count()).for_each(|piece| plan.unwant(Piece(piece)));
        let shelf =
            Shelf { holding: holding.clone(), positions, files: OnceLock::new(), tensors: OnceLock::new() };
        let now = self.now();
        {
            let mut state = self.state();
            state.work = Some(Work {
                shelf: Arc::new(shelf),
                pieces,
                plan,
                slots,
                roots,
                asked: BTreeMap::new(),
                told_claim: None,
                origin_rests_until: None,
                members: Vec::new(),
                began: Instant::now(),
                members_changed: Instant::now(),
                last_gain: Instant::now(),
            });
            let State { work, near, .. } = &mut *state;
            if let Some(work) = work {
                near.iter().for_each(|(key, near)| work.meet(*key, near, now));
            }
            state.update_members(self.key, now);
            let near: Vec<_> = state.near.keys().copied().collect();
            near.iter().for_each(|key| Self::tell_all(&mut state, key));
        }
        self.begun.send_replace(true);
    }

    fn directs(&self) -> bool {
        let state = self.state();
        let Some(work) = &state.work else { return false };
        !work.plan.is_complete() && (!work.plan.is_alone() || state.settles())
    }

    fn may_ask(&self, source: SourceId) -> bool {
        let state = self.state();
        let Some((work, giver)) = state.work.as_ref().zip(state.giver(source)) else { return false };
        let rests =
            giver == Giver::Origin && work.origin_rests_until.is_some_and(|until| Instant::now() < until);
        !rests && work.plan.may_ask(giver)
    }

    fn next(&self, source: SourceId, _: Instant) -> Option<NamedRun> {
        let now = self.now();
        let mut state = self.state();
        let giver = state.giver(source)?;
        if giver == Giver::Origin && state.settles() {
            return None;
        }
        let State { work, near, gives, .. } = &mut *state;
        let work = work.as_mut()?;
        let asked = work.plan.next(giver, now);
        if giver == Giver::Origin {
            // Each piece that any member gains may change the answer, and few do.
            work.origin_rests_until =
                asked.is_none().then(|| Instant::now().checked_add(ORIGIN_RESTS)).flatten();
        }
        let ask = asked?;
        work.asked.insert(source, (giver, ask.piece));
        if giver == Giver::Origin {
            work.tell_claim(near.values());
        }
        let place = work.pieces.place(ask.piece.0)?;
        let file = *work.shelf.positions.get(&place.root)?;
        // The origin holds nothing back for one that gives nothing.
        let claim = (giver == Giver::Origin && *gives)
            .then(|| Claim { tag: *self.tag.as_bytes(), lease: work.plan.origin_hold() });
        Some(NamedRun { file, chunks: place.chunks, is_copy: ask.is_copy, claim })
    }

    fn ended(&self, source: SourceId, is_done: bool, _: Instant) {
        let now = self.now();
        let mut state = self.state();
        let failure = state.failure_of(source);
        let State { work, near, .. } = &mut *state;
        let Some(work) = work else { return };
        let Some((giver, piece)) = work.asked.remove(&source) else { return };
        if !work.plan.holds(piece) {
            let why = match failure {
                Some(why) => why,
                // Other chunks of the piece are left.
                None if is_done => Failure::Busy(Duration::ZERO),
                None => Failure::Gone,
            };
            work.plan.failed(giver, piece, why, now);
        }
        work.tell_claim(near.values());
    }

    fn lacks(&self, file: usize, chunks: &Range<u64>) {
        let mut state = self.state();
        let Some(work) = &mut state.work else { return };
        let Some(root) = work.roots.get(&file) else { return };
        for piece in work.pieces.touched(root, chunks) {
            if !work.plan.holds(Piece(piece)) {
                work.plan.want(Piece(piece));
            }
        }
    }

    fn holds(&self, file: usize, chunks: &Range<u64>) {
        let now = self.now();
        let mut state = self.state();
        let State { work, near, .. } = &mut *state;
        let Some(work) = work else { return };
        let Some(root) = work.roots.get(&file) else { return };
        for piece in work.pieces.touched(root, chunks) {
            let Some(place) = work.pieces.place(piece) else { continue };
            if work.plan.holds(Piece(piece)) || !work.shelf.holding.has(file, &place.chunks) {
                continue;
            }
            let mut asked = work.asked.values().filter(|(_, asked)| asked.0 == piece);
            match (asked.next().copied(), asked.next()) {
                (Some((giver, asked)), None) => _ = work.plan.came(giver, asked, now),
                // Of two that were asked, it is not known which one gave it.
                _ => _ = work.plan.hold(Piece(piece)),
            }
            work.last_gain = Instant::now();
            near.values().filter(|near| near.is_told).for_each(|near| near.outbox.have(piece));
        }
    }

    fn not_asked(&self, source: SourceId, _: Instant) {
        let now = self.now();
        let mut state = self.state();
        let State { work, near, .. } = &mut *state;
        let Some(work) = work else { return };
        if let Some((giver, piece)) = work.asked.remove(&source) {
            // The giver has not failed: the piece is on its way from another one, or is not to be had from this one.
            work.plan.failed(giver, piece, Failure::Busy(NOT_ASKED), now);
        }
        work.tell_claim(near.values());
    }

    fn held_back(&self, source: SourceId, time: Duration, _: Instant) {
        let now = self.now();
        let mut state = self.state();
        let State { work, near, .. } = &mut *state;
        let Some(work) = work else { return };
        if let Some((giver, piece)) = work.asked.remove(&source) {
            work.plan.failed(giver, piece, Failure::HeldBack(time), now);
        }
        work.tell_claim(near.values());
    }

    fn gave(&self, source: SourceId, bytes: u64) {
        let mut state = self.state();
        let is_member = state.given_by.contains_key(&source);
        let figures = &mut state.figures;
        let of = if is_member { &mut figures.taken } else { &mut figures.of_origin };
        *of = of.saturating_add(bytes);
        let now = self.now();
        let State { work, given_by, .. } = &mut *state;
        let slots = work.as_mut().and_then(|work| work.slots.as_mut());
        if let Some((slots, key)) = slots.zip(given_by.get(&source)) {
            slots.gave(key, bytes, now);
        }
    }

    fn gave_wrong(&self, source: SourceId) {
        let gone = {
            let mut state = self.state();
            let Some(key) = state.given_by.get(&source).copied() else { return };
            state.suspects.insert(key);
            (!state.near.contains_key(&key)).then_some(key)
        };
        // It is not waited for: a member that has left, or comes again, does not begin anew.
        gone.into_iter().for_each(|key| self.ban(key));
    }

    fn source(&self, status: &SourceStatus) {
        let giver = {
            let mut state = self.state();
            let giver = state.giver(status.source);
            if giver == Some(Giver::Origin) {
                state.origins.insert(status.source, status.state == SourceState::SetAside);
            }
            giver
        };
        // A convicted source is asked only if no other one is left. Of a member nothing more is taken at all.
        if let Some(Giver::Member(key)) = giver
            && status.has_lied()
            && status.state == SourceState::SetAside
        {
            self.ban(key);
        }
    }
}

impl Member {
    /// Bans the key of a member that gave wrong bytes, and ends its channels.
    fn ban(&self, key: MemberKey) {
        let now = self.now();
        let gone = {
            let mut state = self.state();
            state.neighbours.ban(key);
            if let Some(work) = &mut state.work {
                work.part(&key, now);
            }
            let gone = state.near.remove(&key);
            state.told.remove(&key);
            state.count_members();
            state.update_members(self.key, now);
            gone
        };
        if let Some(near) = gone {
            warn!(target: "weighbridge", member = %key, "the member gave wrong bytes, and is banned");
            near.outbox.leave();
            near.source.iter().for_each(|(id, _)| self.sources.leave(*id));
        }
    }

    /// The pieces that are here, to be told to a member that is new, if the list is known.
    pub(crate) fn tell_all(state: &mut State, key: &MemberKey) {
        let State { work, near, gives, .. } = state;
        let (Some(work), Some(near), true) = (work, near.get_mut(key), *gives) else { return };
        // Trackers know who is there, and nothing of pieces.
        if !near.is_told && near.role != Role::Tracker {
            near.is_told = true;
            if let Some(set) = set_of(work.pieces.count(), |piece| work.plan.holds(Piece(piece))) {
                near.outbox.set(set);
            }
            near.outbox.claim(work.plan.claim().map(|piece| piece.0));
        }
    }
}

impl State {
    /// The party of the plan that a source is; `None` for a member that has left.
    fn giver(&self, source: SourceId) -> Option<Giver> {
        let Some(key) = self.given_by.get(&source) else { return Some(Giver::Origin) };
        let near = self.near.get(key).and_then(|near| near.source.as_ref());
        near.is_some_and(|(id, _)| *id == source).then_some(Giver::Member(*key))
    }

    /// Whether members that begin at the same time still hear of each other. Before they know of all, several of them would take
    /// themselves for the owner of the same piece.
    fn settles(&self) -> bool {
        let settles =
            |work: &Work| work.began.elapsed() < SETTLED_AT_LAST && work.members_changed.elapsed() < SETTLED;
        !self.near.is_empty() && self.work.as_ref().is_some_and(settles)
    }

    fn failure_of(&self, source: SourceId) -> Option<Failure> {
        let peers = self.near.values().filter_map(|near| near.source.as_ref());
        let peer = peers.into_iter().find(|(id, _)| *id == source)?;
        peer.1.take_failure()
    }

    /// Counts the members that are connected. Trackers give nothing, and do not count.
    pub(crate) fn count_members(&mut self) {
        let members = self.near.values().filter(|near| near.role != Role::Tracker).count();
        self.figures.members = members;
        self.figures.most_members = self.figures.most_members.max(members);
    }

    /// Tells the plan who fetches all of the release: those that trackers name; without a tracker, those that are connected.
    pub(crate) fn update_members(&mut self, me: MemberKey, now: Duration) {
        let Some(work) = &mut self.work else { return };
        let mut keys: Vec<MemberKey> = match self.told.is_empty() {
            false => self.told.values().flatten().copied().collect(),
            true => {
                let near = self.near.iter().filter(|(_, near)| near.role == Role::FetchesAll);
                let own = (self.role == Role::FetchesAll).then_some(me);
                near.map(|(key, _)| *key).chain(own).collect()
            }
        };
        // One that gives nothing waits for no owners.
        keys.retain(|key| self.gives && !self.neighbours.is_banned(key));
        keys.sort_unstable();
        keys.dedup();
        if keys != work.members {
            work.plan.set_members(Arc::new(Members::new(keys.iter().copied(), work.pieces.count())), now);
            work.members = keys;
            work.members_changed = Instant::now();
        }
    }
}

impl Work {
    /// Makes a member a neighbour: as one that can be asked, and as one that asks.
    pub(crate) fn meet(&mut self, key: MemberKey, near: &Near, now: Duration) {
        if near.source.is_some() {
            self.plan.meet(key, now);
            self.plan.set_slot(&key, near.gives_slot);
        }
        if near.role != Role::Tracker {
            self.slots.iter_mut().for_each(|slots| slots.meet(key, near.block, near.has_come(), now));
        }
    }

    /// Forgets a member that has left.
    pub(crate) fn part(&mut self, key: &MemberKey, now: Duration) {
        self.plan.part(key, now);
        self.slots.iter_mut().for_each(|slots| slots.part(key));
    }

    fn tell_claim<'a>(&mut self, near: impl Iterator<Item = &'a Near>) {
        let claim = self.plan.claim().map(|piece| piece.0);
        if claim != self.told_claim {
            self.told_claim = claim;
            near.filter(|near| near.is_told).for_each(|near| near.outbox.claim(claim));
        }
    }
}

/// The message that tells which pieces are here.
fn set_of(count: u32, holds: impl Fn(u32) -> bool) -> Option<Message> {
    let mut bits = vec![0u8; usize::try_from(count.div_ceil(8)).unwrap_or(0)];
    let mut held = 0u32;
    for piece in (0..count).filter(|piece| holds(*piece)) {
        if let Some(byte) = usize::try_from(piece / 8).ok().and_then(|at| bits.get_mut(at)) {
            *byte |= 1 << (piece % 8);
            held = held.saturating_add(1);
        }
    }
    match held {
        0 => None,
        all if all == count => Some(Message::HaveAll),
        _ => Some(Message::HaveSet(bits)),
    }
}

/// Ends the wait for members that could only gain what nobody has: a fetch without an origin is to end.
pub(crate) async fn watch(member: Arc<Member>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let state = member.state();
        let is_stuck = state
            .work
            .as_ref()
            .is_some_and(|work| work.last_gain.elapsed() > STUCK && !work.plan.is_complete());
        let has_origin = state.origins.is_empty() || state.origins.values().any(|is_out| !is_out);
        if is_stuck && !has_origin {
            let peers = state.near.values().filter_map(|near| near.source.as_ref());
            peers.for_each(|(_, peer)| peer.inventory.finish());
        }
    }
}
