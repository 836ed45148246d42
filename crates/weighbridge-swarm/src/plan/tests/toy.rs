//! A toy swarm: full mesh, steps of a millisecond, and no limits on lines.

use std::sync::Arc;

use super::*;

/// The behaviour of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Honest,
    /// Fetches and gives like an honest one, until it leaves at this millisecond.
    Leaves(u64),
    /// Announces and claims all pieces, and answers nothing; its requests time out.
    Silent,
    /// Announces all pieces, and says that it lacks each.
    Lacks,
    /// Announces all pieces, and is always busy.
    Busy,
    /// Announces all pieces, and gives wrong bytes.
    Wrong,
    /// Announces all pieces, and breaks the connection.
    Breaks,
}

pub(super) struct Toy {
    plans: Vec<Plan>,
    kinds: Vec<Kind>,
    pieces: u32,
    ms: u64,
    pub(super) origin_is_there: bool,
    /// The way in which the origin holds pieces back.
    pub(super) origin_holds_back: HoldsBack,
    /// By piece: the member that the origin gave it to, and when.
    grants: BTreeMap<u32, (usize, u64)>,
    /// The requests that are out: when they are answered, by whom they were made, of which giver, and the piece.
    out: Vec<(u64, usize, Giver, Piece)>,
    claims: Vec<Option<Piece>>,
    is_out: Vec<bool>,
    pub(super) asked_of_origin: Vec<(u64, u32)>,
    random: Random,
}

impl std::fmt::Debug for Toy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held: Vec<_> = self.plans.iter().map(Plan::held).collect();
        write!(f, "{:?} hold {held:?} of {} after {} ms", self.kinds, self.pieces, self.ms)
    }
}

/// The pieces that an origin does not give now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldsBack {
    Never,
    /// Those that another member was given within a lease of this many milliseconds (W21).
    Claimed(u64),
    /// The next request for each, whatever it was given before; it says that it does so for an hour.
    EachTime,
}

/// The time that the caller waits for an answer.
const TIMEOUT_MS: u64 = 3000;

impl Toy {
    /// A swarm of an honest member and these.
    pub(super) fn new(kinds: &[Kind], pieces: u32, seed: u64) -> Self {
        let kinds: Vec<Kind> = [Kind::Honest].iter().chain(kinds).copied().collect();
        let keys: Vec<_> = (0..kinds.len()).map(|index| key(u8::try_from(index).unwrap())).collect();
        let members = Arc::new(Members::new(keys.clone(), pieces));
        let mut random = Random::new(seed);
        let plan = |me: usize| {
            let mut plan = Plan::new(keys[me], pieces, Rules::default(), random.next());
            plan.set_members(Arc::clone(&members), Duration::ZERO);
            for (other, kind) in kinds.iter().enumerate().filter(|(other, _)| *other != me) {
                plan.meet(keys[other], Duration::ZERO);
                if !matches!(kind, Kind::Honest | Kind::Leaves(_)) {
                    plan.gained(&keys[other], (0..pieces).map(Piece));
                }
            }
            plan
        };
        let plans = (0..kinds.len()).map(plan).collect();
        Self {
            plans,
            claims: vec![None; kinds.len()],
            kinds,
            pieces,
            ms: 0,
            origin_is_there: true,
            origin_holds_back: HoldsBack::Never,
            grants: BTreeMap::new(),
            out: Vec::new(),
            is_out: vec![false; pieces as usize],
            asked_of_origin: Vec::new(),
            random,
        }
    }

    /// Lets each member see other members, and some none.
    pub(super) fn make_views_differ(&mut self) {
        for me in 0..self.plans.len() {
            let seen = (0..self.plans.len()).filter(|_| self.random.below(2) == 0);
            let keys: Vec<_> = seen.map(|index| key(u8::try_from(index).unwrap())).collect();
            self.plans[me].set_members(Arc::new(Members::new(keys, self.pieces)), Duration::ZERO);
        }
    }

    pub(super) fn ms(&self) -> u64 {
        self.ms
    }

    pub(super) fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The number of pieces that have come to a member that stays.
    pub(super) fn out(&self) -> u32 {
        u32::try_from(self.is_out.iter().filter(|is_out| **is_out).count()).unwrap()
    }

    pub(super) fn all_have_all(&self) -> bool {
        let honest = self.kinds.iter().zip(&self.plans).filter(|(kind, _)| **kind == Kind::Honest);
        honest.into_iter().all(|(_, plan)| plan.is_complete() && plan.held() == self.pieces)
    }

    pub(super) fn play(&mut self, most_steps: u64) {
        self.play_until(most_steps, |_| false);
    }

    pub(super) fn play_until(&mut self, most_steps: u64, is_enough: impl Fn(&Self) -> bool) {
        for _ in 0..most_steps {
            if self.all_have_all() || is_enough(self) {
                return;
            }
            self.step();
        }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.ms)
    }

    fn fetches(&self, member: usize) -> bool {
        matches!(self.kinds[member], Kind::Honest)
            || matches!(self.kinds[member], Kind::Leaves(at) if at > self.ms)
    }

    fn step(&mut self) {
        self.ms += 1;
        for member in 0..self.kinds.len() {
            if self.kinds[member] == Kind::Leaves(self.ms) {
                self.out.retain(|(_, by, ..)| *by != member);
                let gone = key(u8::try_from(member).unwrap());
                for other in 0..self.plans.len() {
                    let now = self.now();
                    self.plans[other].part(&gone, now);
                    self.out.retain(|(_, by, giver, _)| *by != other || *giver != Giver::Member(gone));
                }
            }
            if self.kinds[member] == Kind::Silent {
                let piece = u32::try_from(self.ms / 10).unwrap() % self.pieces;
                self.tell_claim(member, Some(Piece(piece)));
            }
        }
        let due: Vec<_> = self.out.extract_if(.., |(at, ..)| *at <= self.ms).collect();
        for (_, by, giver, piece) in due {
            self.answer(by, giver, piece);
        }
        // Each member speaks in turn, and is heard at once.
        for member in 0..self.plans.len() {
            if self.fetches(member) {
                self.ask_all(member);
            }
        }
    }

    fn ask_all(&mut self, member: usize) {
        let now = self.now();
        let others = (0..self.plans.len()).filter(|other| *other != member);
        let givers = others.map(|other| Giver::Member(key(u8::try_from(other).unwrap())));
        let givers: Vec<_> = givers.chain([Giver::Origin]).collect();
        for giver in givers {
            let Some(ask) = self.plans[member].next(giver, now) else { continue };
            self.check(member, giver, ask);
            let took = 5 + u64::from(self.random.below(20));
            let kind = match giver {
                Giver::Origin => {
                    self.asked_of_origin.push((self.ms, ask.piece.0));
                    Kind::Honest
                }
                Giver::Member(key) => self.kinds[usize::from(key.as_bytes()[0])],
            };
            let took = if kind == Kind::Silent { TIMEOUT_MS } else { took };
            self.out.push((self.ms + took, member, giver, ask.piece));
            self.tell_claim(member, self.plans[member].claim());
        }
    }

    /// The limits that hold for every request.
    fn check(&self, member: usize, giver: Giver, ask: Ask) {
        let out: Vec<_> = self.out.iter().filter(|(_, by, ..)| *by == member).collect();
        assert!(out.iter().all(|(_, _, other, _)| *other != giver), "one request per giver");
        let to_members = out.iter().filter(|(_, _, other, _)| *other != Giver::Origin).count();
        assert!(giver == Giver::Origin || to_members < 8, "eight at once");
        let same = out.iter().filter(|(.., piece)| *piece == ask.piece).count();
        assert!(same < 2, "never a third copy");
        assert_eq!(ask.is_copy, same == 1);
    }

    fn answer(&mut self, by: usize, giver: Giver, piece: Piece) {
        let now = self.now();
        let failure = match giver {
            Giver::Origin if !self.origin_is_there => Some(Failure::Gone),
            Giver::Origin => self.held_back(by, piece).map(Failure::HeldBack),
            Giver::Member(key) => {
                let from = usize::from(key.as_bytes()[0]);
                match self.kinds[from] {
                    Kind::Honest | Kind::Leaves(_) => {
                        assert!(self.plans[from].holds(piece), "asked only for what was announced");
                        None
                    }
                    Kind::Silent | Kind::Breaks => Some(Failure::Gone),
                    Kind::Lacks => Some(Failure::Lacks),
                    Kind::Busy => Some(Failure::Busy(Duration::from_secs(1))),
                    Kind::Wrong => Some(Failure::Wrong),
                }
            }
        };
        if let Some(failure) = failure {
            self.plans[by].failed(giver, piece, failure, now);
        } else {
            let other = self.plans[by].came(giver, piece, now);
            self.out.retain(|(_, asker, giver, _)| *asker != by || Some(*giver) != other);
            if self.kinds[by] == Kind::Honest {
                self.is_out[piece.0 as usize] = true;
            }
            let me = key(u8::try_from(by).unwrap());
            for plan in &mut self.plans {
                plan.gained(&me, [piece]);
            }
        }
        self.tell_claim(by, self.plans[by].claim());
    }

    fn held_back(&mut self, by: usize, piece: Piece) -> Option<Duration> {
        let grant = self.grants.get(&piece.0).copied();
        match (self.origin_holds_back, grant) {
            (HoldsBack::Never, _) => return None,
            (HoldsBack::Claimed(lease), Some((to, at))) if to != by && self.ms < at + lease => {
                return Some(Duration::from_millis(at + lease - self.ms));
            }
            (HoldsBack::Claimed(lease), Some((to, at))) if to == by || self.ms < at + 4 * lease => {
                return None;
            }
            (HoldsBack::EachTime, Some(_)) => {
                self.grants.remove(&piece.0);
                return Some(Duration::from_secs(3600));
            }
            _ => {}
        }
        self.grants.insert(piece.0, (by, self.ms));
        None
    }

    fn tell_claim(&mut self, member: usize, claim: Option<Piece>) {
        if std::mem::replace(&mut self.claims[member], claim) == claim {
            return;
        }
        let (me, now) = (key(u8::try_from(member).unwrap()), self.now());
        for plan in &mut self.plans {
            plan.claimed(&me, claim, now);
        }
    }
}
