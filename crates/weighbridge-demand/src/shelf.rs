//! The room that releases take on the disk, and which of them may go.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::Release;

/// A release of the record, by a number that is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Id(pub(crate) u64);

/// A release that goes. The caller deletes what there is of it, and stops a fetch ahead of a request that is under way for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eviction {
    /// The release.
    pub release: Release,
    /// The seconds that holding a gigabyte of it for a day would have saved, by the forecast.
    pub worth: f64,
    /// The cause.
    pub cause: Cause,
}

/// The cause of an eviction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Another release takes the room, because it is worth more.
    WorthMore {
        /// That release.
        release: Release,
        /// Its worth, in the same measure.
        worth: f64,
    },
    /// A pinned release takes the room.
    Pinned {
        /// That release.
        release: Release,
    },
    /// More is on the disk than the budget allows.
    Budget,
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, worth, cause } = self;
        write!(f, "evicts {release}, worth {worth:.2} s per GB and day, ")?;
        match cause {
            Cause::WorthMore { release, worth } => write!(f, "for {release}, worth {worth:.2}"),
            Cause::Pinned { release } => write!(f, "for {release}, which is pinned"),
            Cause::Budget => f.write_str("since there is more than the budget allows"),
        }
    }
}

/// The state of one release on the disk. All numbers are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    /// The size of the whole release; 0 while it is not known.
    pub(crate) size: u64,
    /// The bytes that are there.
    pub(crate) held: u64,
    /// The bytes that are there or are to come: what counts against the budget.
    pub(crate) room: u64,
    pub(crate) is_pinned: bool,
    /// The readers that wait for bytes, or have it open.
    pub(crate) readers: u32,
    pub(crate) fetch: Fetch,
}

/// A fetch that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fetch {
    #[default]
    None,
    /// Nobody has asked for the release: so many bytes more than these are to come.
    Ahead { from: u64, more: u64 },
    /// Somebody waits.
    Awaited,
}

impl Place {
    /// Sets the size. More than the whole release needs no room.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.size = size.max(self.held);
        self.room = self.room.min(self.size);
    }

    /// Whether there is room for all of it.
    pub(crate) fn has_room(&self) -> bool {
        self.size > 0 && self.room >= self.size
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.size > 0 && self.held >= self.size
    }

    /// The bytes that a fetch ahead of a request has not brought yet.
    pub(crate) fn still_to_come_ahead(&self) -> u64 {
        match self.fetch {
            Fetch::Ahead { from, more } => more.saturating_sub(self.held.saturating_sub(from)),
            Fetch::None | Fetch::Awaited => 0,
        }
    }

    /// Whether bytes of the release may be deleted now.
    fn may_go(&self) -> bool {
        self.room > 0 && !self.is_in_use()
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.is_pinned || self.readers > 0 || self.fetch == Fetch::Awaited
    }

    /// Whether the record of the release may be dropped.
    pub(crate) fn is_idle(&self) -> bool {
        self.room == 0 && !self.is_in_use() && self.fetch == Fetch::None
    }
}

/// The releases on the disk, within a budget.
///
/// # Guarantee
/// No decision takes the room of all releases above the budget. What is in use loses no byte.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    budget: u64,
    used: u64,
    places: BTreeMap<Id, Place>,
}

impl Shelf {
    pub(crate) fn new(budget: u64) -> Self {
        Self { budget, used: 0, places: BTreeMap::new() }
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Whether more is on the disk than the budget allows.
    pub(crate) fn is_over(&self) -> bool {
        self.used > self.budget
    }

    pub(crate) fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn place(&self, id: Id) -> Place {
        self.places.get(&id).copied().unwrap_or_default()
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = (Id, &Place)> {
        self.places.iter().map(|(id, place)| (*id, place))
    }

    /// Changes a place, and counts its room again.
    pub(crate) fn change<T>(&mut self, id: Id, change: impl FnOnce(&mut Place) -> T) -> T {
        let place = self.places.entry(id).or_default();
        let before = place.room;
        let result = change(place);
        self.used = self.used.saturating_sub(before).saturating_add(place.room);
        result
    }

    pub(crate) fn remove(&mut self, id: Id) {
        let room = self.places.remove(&id).map_or(0, |place| place.room);
        self.used = self.used.saturating_sub(room);
    }

    /// Looks for room for all of a release, which is worth `gain`: free room, and that of releases that are worth less,
    /// which are returned. `None` if there is not enough, or if it has its room.
    ///
    /// # Cost
    /// Sorts the releases that are held.
    pub(crate) fn fit(&self, id: Id, gain: f64, worth: impl Fn(Id) -> f64) -> Option<Vec<Id>> {
        let place = self.place(id);
        let need = place.size.saturating_sub(place.room);
        let over = self.used.saturating_add(need).saturating_sub(self.budget);
        let (gone, freed) = self.free_up(over, |other| other != id && worth(other) < gain, &worth);
        (need > 0 && freed >= over).then_some(gone)
    }

    /// The releases that go, where there are more than the budget allows.
    pub(crate) fn trim(&self, worth: impl Fn(Id) -> f64) -> Vec<Id> {
        let over = self.used.saturating_sub(self.budget);
        self.free_up(over, |_| true, &worth).0
    }

    /// Chooses the releases that go for so many bytes, the least worth first, and says how many bytes that frees. One that
    /// turns out not to be needed, because a larger one goes too, stays.
    fn free_up(&self, need: u64, may_go: impl Fn(Id) -> bool, worth: &impl Fn(Id) -> f64) -> (Vec<Id>, u64) {
        if need == 0 {
            return (Vec::new(), 0);
        }
        let going = self.places().filter(|(id, place)| place.may_go() && may_go(*id));
        let mut going: Vec<_> = going.map(|(id, place)| (worth(id), id, place.room)).collect();
        going.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut freed = 0_u64;
        let mut chosen = Vec::new();
        for (_, id, room) in going {
            if freed >= need {
                break;
            }
            freed = freed.saturating_add(room);
            chosen.push((id, room));
        }
        // The most valuable of those that are not needed is spared first.
        let mut gone = Vec::new();
        for (id, room) in chosen.into_iter().rev() {
            if freed.saturating_sub(room) >= need {
                freed = freed.saturating_sub(room);
            } else {
                gone.push(id);
            }
        }
        gone.reverse();
        (gone, freed)
    }
}
