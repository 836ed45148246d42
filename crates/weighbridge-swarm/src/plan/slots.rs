//! The upload slots of a member of an open swarm: who is given bytes where nobody is trusted to give any.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::rules::divide;
use crate::MemberKey;

/// The constants of [`Slots`].
///
/// The defaults are the ones that were simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRules {
    /// The number of slots that can be earned. There is one more, on trial.
    pub earned: usize,
    /// The time for which an earned slot stays with its member, and the time of a trial.
    pub beat: Duration,
    /// The bytes of a trial. A request that begins below is answered whole.
    pub trial: u64,
    /// The bytes of heads, lists and layers that a member is given without a slot.
    pub metadata: u64,
    /// The time over which bytes count for the choice, at least five sixths of it.
    pub window: Duration,
    /// The time for which one request is still answered of a member that has lost its slot: it may have asked before it
    /// heard of that.
    pub grace: Duration,
    /// The most earned slots of the members of one block that have given nothing, while others want one.
    pub of_block: usize,
}

impl SlotRules {
    /// The rules for a release whose pieces have this length, and which has so many bytes of head, lists and layers.
    #[must_use]
    pub fn of(piece: u64, metadata: u64) -> Self {
        Self {
            earned: 8,
            beat: Duration::from_secs(10),
            trial: piece.saturating_mul(8),
            metadata: metadata.saturating_mul(2),
            window: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            of_block: 2,
        }
    }
}

/// The addresses that one holder is likely to have: an IPv4 address, or all IPv6 addresses with the same first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block([u8; 16]);

impl Block {
    /// The block of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Self(Ipv6Addr::from(network).octets())
            }
        }
    }

    /// The first address of the block.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// A block of its own for a member whose address is not known.
    #[must_use]
    pub fn of_unknown(key: &MemberKey) -> Self {
        Self(key.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// A slot that was given or taken away: its member is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// The member.
    pub member: MemberKey,
    /// Whether it has a slot now.
    pub has_slot: bool,
}

/// The neighbours of a member of an open swarm, and the slots that they have here.
///
/// # Guarantee
/// As long as this member lacks pieces, a neighbour that has given it nothing within the [window](SlotRules::window) has
/// no slot but on trial. At each [beat](SlotRules::beat) the earned slots go to those that want something and have given
/// most. There are as many trials at once as earned slots that nobody has earned, and one. They go from block to block,
/// so that keys, which cost nothing, gain no time; every other one goes to a newcomer, if there is one.
///
/// # Non-guarantee
/// A neighbour that gives a little is preferred to one that gives nothing. Until the caller asks again, more neighbours
/// than there are earned slots may take at once: those that wanted nothing have kept theirs.
///
/// # Cost
/// [`choose`](Self::choose): n log n steps for n neighbours. Each other method: at most a step for each neighbour. The
/// caller limits their number.
#[derive(Debug)]
pub struct Slots {
    rules: SlotRules,
    takers: BTreeMap<MemberKey, Taker>,
    /// When a member of each block was on trial last.
    tried: BTreeMap<Block, Duration>,
    next_beat: Duration,
    /// Whether the last trial was one of a newcomer.
    last_was_new: bool,
}

/// A neighbour, as one that takes.
#[derive(Debug)]
struct Taker {
    block: Block,
    /// Whether it has connected to this member by itself.
    has_come: bool,
    met_at: Duration,
    wants: bool,
    slot: Slot,
    /// When it lost its slot last, and whether a request that comes soon after is answered.
    lost_at: Option<Duration>,
    has_grace: bool,
    /// When it was on trial last, and the bytes that it took since then.
    tried_at: Option<Duration>,
    trial: u64,
    given: Recent,
    /// All bytes that it ever gave.
    given_ever: u64,
    taken: Recent,
    /// The bytes of metadata that it was given without a slot.
    metadata: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    None,
    Earned,
    Trial,
    /// Its trial is not over, and it has had all that it is given on trial.
    Spent,
}

impl Taker {
    fn has_slot(&self) -> bool {
        matches!(self.slot, Slot::Earned | Slot::Trial)
    }
}

impl Slots {
    /// No neighbours yet.
    #[must_use]
    pub fn new(rules: SlotRules) -> Self {
        let next_beat = Duration::ZERO;
        Self { rules, takers: BTreeMap::new(), tried: BTreeMap::new(), next_beat, last_was_new: false }
    }

    /// Adds a neighbour, without a slot. `has_come` tells whether it has connected to this member by itself. Does
    /// nothing if it is one.
    pub fn meet(&mut self, key: MemberKey, block: Block, has_come: bool, now: Duration) {
        self.takers.entry(key).or_insert_with(|| Taker {
            block,
            has_come,
            met_at: now,
            wants: false,
            slot: Slot::None,
            lost_at: None,
            has_grace: false,
            tried_at: None,
            trial: 0,
            given: Recent::default(),
            given_ever: 0,
            taken: Recent::default(),
            metadata: 0,
        });
    }

    /// Removes a neighbour. Nothing is remembered but when its block was on trial.
    pub fn part(&mut self, key: &MemberKey) {
        self.takers.remove(key);
    }

    /// Records bytes that a neighbour gave, that were accepted, and that were not here before.
    pub fn gave(&mut self, key: &MemberKey, bytes: u64, now: Duration) {
        let time = self.box_time();
        let Some(taker) = self.takers.get_mut(key) else { return };
        taker.given.add(bytes, now, time);
        taker.given_ever = taker.given_ever.saturating_add(bytes);
    }

    /// Records bytes of files that were sent to a neighbour.
    pub fn took(&mut self, key: &MemberKey, bytes: u64, now: Duration) {
        let time = self.box_time();
        let Some(taker) = self.takers.get_mut(key) else { return };
        taker.taken.add(bytes, now, time);
        taker.trial = taker.trial.saturating_add(bytes);
    }

    /// Whether a member that asks for bytes of a file is answered.
    ///
    /// # Errors
    /// It is not. The time until slots are given anew, which may be when it gets one.
    pub fn may_take(&mut self, key: &MemberKey, now: Duration) -> Result<(), Duration> {
        let (trial, grace) = (self.rules.trial, self.rules.grace);
        let wait = self.next_beat.saturating_sub(now).clamp(LEAST_WAIT, MOST_WAIT);
        let taker = self.takers.get_mut(key).ok_or(wait)?;
        let (has_slot, had_slot) = match taker.slot {
            Slot::Earned => (true, true),
            Slot::Trial => (taker.trial < trial, true),
            Slot::None | Slot::Spent => {
                (false, taker.lost_at.is_some_and(|at| at.saturating_add(grace) > now))
            }
        };
        // The one that is on its way while the member is told.
        let is_last = !has_slot && had_slot && taker.has_grace;
        taker.has_grace &= has_slot;
        if has_slot || is_last { Ok(()) } else { Err(wait) }
    }

    /// Whether a member that asks for so many bytes of a head, a list or layers is answered.
    ///
    /// # Errors
    /// It is not, as in [`may_take`](Self::may_take).
    pub fn may_take_metadata(&mut self, key: &MemberKey, bytes: u64, now: Duration) -> Result<(), Duration> {
        let most = self.rules.metadata;
        let wait = self.next_beat.saturating_sub(now).clamp(LEAST_WAIT, MOST_WAIT);
        let taker = self.takers.get_mut(key).ok_or(wait)?;
        let taken = taker.metadata.saturating_add(bytes);
        if !taker.has_slot() && taken > most {
            return Err(wait);
        }
        taker.metadata = taken;
        Ok(())
    }

    /// Gives slots and takes them away. `is_complete` tells whether this member has all that it wants, and `wants`
    /// whether a neighbour lacks something that is here. The caller asks some times in a second.
    pub fn choose(
        &mut self,
        is_complete: bool,
        wants: impl Fn(&MemberKey) -> bool,
        now: Duration,
    ) -> Vec<SlotChange> {
        let before: Vec<MemberKey> = self.holders().collect();
        self.takers.iter_mut().for_each(|(key, taker)| taker.wants = wants(key));
        let is_beat = now >= self.next_beat;
        if is_beat {
            self.next_beat = now.saturating_add(self.rules.beat);
        }
        let earned = self.choose_earned(is_complete, is_beat, now);
        self.choose_trials(earned, now);
        let mut changes = Vec::new();
        for (key, taker) in &mut self.takers {
            let has_slot = taker.has_slot();
            if has_slot != before.binary_search(key).is_ok() {
                taker.lost_at = (!has_slot).then_some(now);
                taker.has_grace |= has_slot;
                changes.push(SlotChange { member: *key, has_slot });
            }
        }
        changes
    }

    /// The neighbours that have a slot, in the order of their keys.
    pub fn holders(&self) -> impl Iterator<Item = MemberKey> {
        self.takers.iter().filter(|(_, taker)| taker.has_slot()).map(|(key, _)| *key)
    }

    /// The neighbour that is to go if its place is needed: of those that have connected by themselves, have had time to
    /// give something and gave nothing, and have no slot, the one that has been there longest.
    #[must_use]
    pub fn least(&self, now: Duration) -> Option<MemberKey> {
        let time = self.box_time();
        let is_useless = |taker: &Taker| {
            taker.has_come
                && taker.slot == Slot::None
                && taker.met_at.saturating_add(self.rules.window) <= now
                && taker.given.sum(now, time) == 0
        };
        let useless = self.takers.iter().filter(|(_, taker)| is_useless(taker));
        useless.min_by_key(|(_, taker)| taker.met_at).map(|(key, _)| *key)
    }

    /// Returns the number of earned slots whose members want something.
    fn choose_earned(&mut self, is_complete: bool, is_beat: bool, now: Duration) -> usize {
        let time = self.box_time();
        let mut candidates = Vec::new();
        for (key, taker) in &mut self.takers {
            let given = taker.given.sum(now, time);
            if given == 0 && !is_complete {
                taker.slot = if taker.slot == Slot::Earned { Slot::None } else { taker.slot };
            } else if taker.wants {
                let is_kept = taker.slot == Slot::Earned && !is_beat;
                // A member that lacks nothing is given nothing any more, and remembers.
                let given = if is_complete { taker.given_ever } else { given };
                let merit = (Reverse(given), Reverse(taker.taken.sum(now, time)));
                candidates.push((Reverse(is_kept), merit, taker.tried_at, taker.met_at, *key, taker.block));
            }
        }
        candidates.sort_unstable();
        let mut of_block: BTreeMap<Block, usize> = BTreeMap::new();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (Reverse(is_kept), (Reverse(given), _), .., key, block) in candidates {
            let count = of_block.entry(block).or_default();
            // Of members that have given nothing there are as many as somebody makes keys.
            if given == 0 && !is_kept && *count >= self.rules.of_block {
                last.push(key);
            } else {
                *count = count.saturating_add(1);
                first.push(key);
            }
        }
        let mut earned = 0_usize;
        for key in first.into_iter().chain(last) {
            let Some(taker) = self.takers.get_mut(&key) else { continue };
            if earned < self.rules.earned {
                earned = earned.saturating_add(1);
                taker.slot = Slot::Earned;
            } else if taker.slot == Slot::Earned {
                taker.slot = Slot::None;
            }
        }
        earned
    }

    /// Gives every slot that nobody has earned on trial, and one more.
    fn choose_trials(&mut self, earned: usize, now: Duration) {
        let free = self.rules.earned.saturating_sub(earned).saturating_add(1);
        let mut on_trial = Vec::new();
        for (key, taker) in &mut self.takers {
            let began = taker.tried_at.unwrap_or_default();
            match taker.slot {
                Slot::None | Slot::Earned => continue,
                _ if began.saturating_add(self.rules.beat) <= now => taker.slot = Slot::None,
                _ if !taker.wants => taker.slot = Slot::None,
                _ => on_trial.push((began, *key)),
            }
            if taker.slot == Slot::Trial && taker.trial >= self.rules.trial {
                taker.slot = Slot::Spent;
            }
        }
        // Of too many trials, those that began last go on: the others have had more of their time.
        on_trial.sort_unstable_by_key(|trial| Reverse(*trial));
        for (_, key) in on_trial.iter().skip(free) {
            self.takers.get_mut(key).into_iter().for_each(|taker| taker.slot = Slot::None);
        }
        for _ in on_trial.len()..free {
            let Some((key, is_new)) = self.next_on_trial() else { return };
            self.last_was_new = is_new;
            let Some(taker) = self.takers.get_mut(&key) else { return };
            (taker.slot, taker.tried_at, taker.trial) = (Slot::Trial, Some(now), 0);
            self.tried.insert(taker.block, now);
            if self.tried.len() > MOST_TRIED {
                let oldest = self.tried.iter().min_by_key(|(_, at)| **at).map(|(block, _)| *block);
                oldest.iter().for_each(|block| _ = self.tried.remove(block));
            }
        }
    }

    /// The neighbour that is on trial next, and whether it is a newcomer: whether nobody of its block was on trial.
    fn next_on_trial(&self) -> Option<(MemberKey, bool)> {
        let waiting = self.takers.iter().filter(|(_, taker)| taker.slot == Slot::None && taker.wants);
        // Every other trial is one of those that have waited for another.
        let order = |(key, taker): &(&MemberKey, &Taker)| {
            let tried = self.tried.get(&taker.block).copied();
            (tried.is_none() == self.last_was_new, tried, taker.tried_at, taker.met_at, **key)
        };
        let (key, taker) = waiting.min_by_key(order)?;
        Some((*key, !self.tried.contains_key(&taker.block)))
    }

    /// The time of a box of [`Recent`].
    fn box_time(&self) -> Duration {
        divide(self.rules.window, 6)
    }
}

/// The least and the most time that a member without a slot is told to wait.
const LEAST_WAIT: Duration = Duration::from_millis(250);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// The most blocks of which it is remembered when they were on trial.
const MOST_TRIED: usize = 1024;

/// The bytes of the last six boxes of time, the present one among them.
#[derive(Clone, Debug, Default)]
struct Recent([(u64, u64); 6]);

impl Recent {
    fn add(&mut self, bytes: u64, now: Duration, time: Duration) {
        let number = number(now, time);
        let place = usize::try_from(number % 6).ok().and_then(|place| self.0.get_mut(place));
        let Some((of, sum)) = place else { return };
        if *of != number {
            (*of, *sum) = (number, 0);
        }
        *sum = sum.saturating_add(bytes);
    }

    fn sum(&self, now: Duration, time: Duration) -> u64 {
        let number = number(now, time);
        let recent = self.0.iter().filter(|(of, _)| of.saturating_add(6) > number);
        recent.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

/// The number of the box at a time.
fn number(now: Duration, time: Duration) -> u64 {
    let number = now.as_millis().checked_div(time.as_millis()).unwrap_or(0);
    u64::try_from(number).unwrap_or(u64::MAX)
}
