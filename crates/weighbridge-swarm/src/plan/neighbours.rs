//! The choice of neighbours among all members.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::random::Random;
use crate::MemberKey;

/// The way in which a member was found, such as a tracker or a list; numbered by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Discovery(pub u8);

/// The number of neighbours that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degree {
    /// Up to this number of members, with this one, all are neighbours of each other.
    pub mesh: usize,
    /// The number of neighbours below which a member dials more.
    pub least: usize,
    /// The number of neighbours from which a member admits no more.
    pub most: usize,
    /// The least number of neighbours that the member has dialled itself: those that come cannot surround it.
    pub least_dialled: usize,
    /// The most neighbours that were not dialled.
    pub most_admitted: usize,
    /// The least number of neighbours from each discovery that names enough: one that lies cannot surround a member.
    pub of_each_discovery: usize,
    /// The most members that are remembered; further ones are ignored.
    pub most_known: usize,
    /// The pause after a neighbour was lost or could not be reached; doubled each time.
    pub least_pause: Duration,
    /// The most time of such a pause.
    pub most_pause: Duration,
}

impl Default for Degree {
    fn default() -> Self {
        Self {
            mesh: 8,
            least: 8,
            most: 12,
            least_dialled: 0,
            most_admitted: usize::MAX,
            of_each_discovery: 2,
            most_known: 16_384,
            least_pause: Duration::from_millis(500),
            most_pause: Duration::from_secs(60),
        }
    }
}

/// The members that are known, and those that are neighbours.
///
/// # Guarantee
/// A banned key is neither dialled nor admitted again. Not more than [`most`](Degree::most) neighbours are admitted,
/// except where all members are neighbours. A neighbour that is lost is replaced, if another member is known.
///
/// # Non-guarantee
/// A ban stops a key, not a person: where keys are free, the caller limits new ones by address.
///
/// # Cost
/// [`dial`](Self::dial): a step for each known member. The other methods: logarithmic in their number.
#[derive(Debug)]
pub struct Neighbours {
    me: MemberKey,
    degree: Degree,
    random: Random,
    known: BTreeMap<MemberKey, Known>,
    banned: BTreeSet<MemberKey>,
}

/// A member that was found, or has come by itself.
#[derive(Debug, Default)]
struct Known {
    discoveries: BTreeSet<Discovery>,
    link: Link,
    /// Whether this member has dialled, if there is a link.
    is_dialled: bool,
    /// Before this time it is not dialled.
    not_before: Duration,
    /// The next pause; zero if the last connection was made.
    pause: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    #[default]
    None,
    Dialled,
    Up,
}

impl Degree {
    /// The number of neighbours in an open swarm, where anybody may connect.
    #[must_use]
    pub fn open() -> Self {
        Self { most: 16, least_dialled: 6, most_admitted: 10, ..Self::default() }
    }
}

impl Neighbours {
    /// Nobody is known yet. Members need different seeds.
    #[must_use]
    pub fn new(me: MemberKey, degree: Degree, seed: u64) -> Self {
        Self { me, degree, random: Random::new(seed), known: BTreeMap::new(), banned: BTreeSet::new() }
    }

    /// Records that a discovery names this member.
    pub fn found(&mut self, key: MemberKey, by: Discovery) {
        let has_room = self.known.len() < self.degree.most_known || self.known.contains_key(&key);
        if key != self.me && has_room && !self.banned.contains(&key) {
            self.known.entry(key).or_default().discoveries.insert(by);
        }
    }

    /// Records that a discovery does not name this member any more. A neighbour stays one.
    pub fn vanished(&mut self, key: &MemberKey, by: Discovery) {
        let Some(known) = self.known.get_mut(key) else { return };
        known.discoveries.remove(&by);
        if known.discoveries.is_empty() && known.link == Link::None {
            self.known.remove(key);
        }
    }

    /// The next member to dial, which then counts as a neighbour until [`lost`](Self::lost). `None` if there are enough
    /// neighbours, or nobody is to be dialled now. The caller asks until there is none.
    pub fn dial(&mut self, now: Duration) -> Option<MemberKey> {
        let linked = self.known.values().filter(|known| known.link != Link::None).count();
        let dialled = self.linked(true);
        let lacking = self.lacking_discovery(linked);
        if linked >= self.least() && dialled >= self.degree.least_dialled && lacking.is_none() {
            return None;
        }
        let mut chosen = None;
        let mut seen = 0_u32;
        for (key, known) in &self.known {
            let is_idle = known.link == Link::None && known.not_before <= now;
            if !is_idle || lacking.is_some_and(|by| !known.discoveries.contains(&by)) {
                continue;
            }
            seen = seen.saturating_add(1);
            if self.random.below(seen) == 0 {
                chosen = Some(*key);
            }
        }
        let chosen = chosen?;
        let known = self.known.get_mut(&chosen)?;
        (known.link, known.is_dialled) = (Link::Dialled, true);
        Some(chosen)
    }

    /// Records a connection with this member, which `is_own` if this side has dialled. Returns whether it is welcome;
    /// otherwise the caller closes it and need not call [`lost`](Self::lost).
    pub fn connected(&mut self, key: MemberKey, is_own: bool) -> bool {
        if key == self.me || self.banned.contains(&key) {
            return false;
        }
        let linked = self.known.values().filter(|known| known.link != Link::None).count();
        let is_linked = self.known.get(&key).is_some_and(|known| known.link != Link::None);
        let has_room = linked < self.degree.most.max(self.least());
        let may_come = is_own || self.linked(false) < self.degree.most_admitted;
        let is_welcome = is_linked || (has_room && may_come);
        if is_welcome {
            let known = self.known.entry(key).or_default();
            known.link = Link::Up;
            known.is_dialled |= is_own;
            known.pause = Duration::ZERO;
        }
        is_welcome
    }

    /// Records that the connection with this member ended, or could not be made.
    pub fn lost(&mut self, key: &MemberKey, now: Duration) {
        let Some(known) = self.known.get_mut(key) else { return };
        (known.link, known.is_dialled) = (Link::None, false);
        let pause = known.pause.clamp(self.degree.least_pause, self.degree.most_pause);
        known.not_before = now.saturating_add(pause);
        known.pause = pause.saturating_mul(2);
        if known.discoveries.is_empty() {
            self.known.remove(key);
        }
    }

    /// Bans a key for good. Returns whether it was a neighbour, whose connection the caller ends.
    pub fn ban(&mut self, key: MemberKey) -> bool {
        self.banned.insert(key);
        self.known.remove(&key).is_some_and(|known| known.link != Link::None)
    }

    /// Whether the key is banned.
    #[must_use]
    pub fn is_banned(&self, key: &MemberKey) -> bool {
        self.banned.contains(key)
    }

    /// The connected neighbours, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &MemberKey> {
        self.known.iter().filter(|(_, known)| known.link == Link::Up).map(|(key, _)| key)
    }

    /// The first time after `now` at which [`dial`](Self::dial) may name a member that it does not name now.
    #[must_use]
    pub fn wake(&self, now: Duration) -> Option<Duration> {
        let idle = self.known.values().filter(|known| known.link == Link::None);
        idle.map(|known| known.not_before).filter(|at| *at > now).min()
    }

    /// The number of links that this member has dialled, or of the others.
    fn linked(&self, is_dialled: bool) -> usize {
        let linked = self.known.values().filter(|known| known.link != Link::None);
        linked.filter(|known| known.is_dialled == is_dialled).count()
    }

    /// The number of neighbours below which more are dialled.
    fn least(&self) -> usize {
        let is_mesh = self.known.len() < self.degree.mesh;
        if is_mesh { self.known.len() } else { self.degree.least }
    }

    /// A discovery of which there are too few neighbours, though it names more that are not neighbours, if there is
    /// room for them.
    fn lacking_discovery(&self, linked: usize) -> Option<Discovery> {
        if linked >= self.degree.most {
            return None;
        }
        let mut of_each: BTreeMap<Discovery, (usize, usize)> = BTreeMap::new();
        for known in self.known.values() {
            for by in &known.discoveries {
                let (linked, idle) = of_each.entry(*by).or_default();
                let count = if known.link == Link::None { idle } else { linked };
                *count = count.saturating_add(1);
            }
        }
        let mut lacking =
            of_each.iter().filter(|(_, (linked, idle))| *linked < self.degree.of_each_discovery && *idle > 0);
        lacking.next().map(|(by, _)| *by)
    }
}
