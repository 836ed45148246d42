//! The keeper: what happens goes in, decisions come out.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use weighbridge_manifest::ModelName;
use weighbridge_tree::HeadId;

mod ahead;
mod plan;
#[cfg(test)]
mod tests;

pub use ahead::Prefetch;
pub use plan::{Candidate, Held, Plan};

use crate::{
    Cause, Eviction, Release,
    demand::Demand,
    hindsight::Ledger,
    shelf::{Fetch, Id, Shelf},
};

/// The most releases that are remembered. Those that are asked for least go first; the ones on the disk stay.
pub const MOST_RELEASES: usize = 4096;

/// Decides what a node keeps, and what it fetches ahead.
///
/// The caller tells what happens, in the order in which it happens, and carries out what is decided before it tells
/// more. All times are since the Unix epoch; one that lies before the last counts as the last.
///
/// # Guarantee
/// No decision takes the bytes that are kept above the budget. Where they are above it already, because more was found on
/// the disk or a file could not be deleted, the next request brings them down to it, as far as nothing in use has to
/// go. What is pinned, read or waited for loses no byte. Equal events give equal decisions. Memory and work for an event
/// are bounded by [`MOST_RELEASES`], whatever the names.
///
/// # Non-guarantee
/// A forecast is none of certainty. Days and hours are those of UTC: a change to summer time looks like a change of habits.
///
/// # Cost
/// About 4 KiB for each release. A decision looks at each release that is held, or could be; an event that needs none takes a
/// number of steps that does not grow with them, but for one in ten minutes.
#[derive(Clone, Debug)]
pub struct Keeper {
    pub(crate) names: BTreeMap<Release, Id>,
    pub(crate) releases: BTreeMap<Id, Known>,
    pub(crate) shelf: Shelf,
    pub(crate) demand: Demand,
    pub(crate) ledger: Ledger,
    pub(crate) now: Duration,
    pub(crate) next_id: u64,
}

/// The facts about a release besides its asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) release: Release,
    /// How often it was asked for.
    pub(crate) asks: u64,
    /// The bytes that readers were given.
    pub(crate) bytes: u64,
    /// How long they waited.
    pub(crate) waited: Duration,
}

/// The decision about a release that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// All of it is held.
    Held {
        /// The releases that go because there is more than the budget allows.
        evict: Vec<Eviction>,
    },
    /// It is fetched, or a fetch of it goes on. All bytes go to the reader as they come.
    Fetch {
        /// Whether it is kept. If not, it goes when its readers have gone, and does not count.
        keep: bool,
        /// The releases that make room, which the caller deletes before it writes.
        evict: Vec<Eviction>,
    },
}

impl Keeper {
    /// A keeper that knows nothing yet, with a budget in bytes.
    #[must_use]
    pub fn new(budget: u64, now: Duration) -> Self {
        Self {
            names: BTreeMap::new(),
            releases: BTreeMap::new(),
            shelf: Shelf::new(budget),
            demand: Demand::new(now),
            ledger: Ledger::new(budget, now),
            now,
            next_id: 0,
        }
    }

    /// Changes the budget. Returns what goes for it.
    pub fn set_budget(&mut self, budget: u64, now: Duration) -> Vec<Eviction> {
        self.pass(now);
        self.shelf.set_budget(budget);
        self.ledger.set_whole(budget);
        self.trim()
    }

    /// Records what a release is: its size in bytes, and the release that is its base, if it is an adapter.
    pub fn described(&mut self, release: &Release, size: u64, base: Option<&Release>, now: Duration) {
        self.pass(now);
        let Some(id) = self.know(release) else { return };
        self.shelf.change(id, |place| place.set_size(size));
        if let Some(base) = base.filter(|base| *base != release).and_then(|base| self.know(base)) {
            self.demand.set_base(id, base);
        }
    }

    /// Records that a release is a new revision of another: it is expected to be asked for in its place.
    pub fn revised(&mut self, new: &Release, old: &Release, now: Duration) {
        self.pass(now);
        let Some(old) = self.names.get(old).copied() else { return };
        if let Some(new) = self.know(new) {
            self.demand.revise(new, old);
        }
    }

    /// Records that a reader asks for a release, and decides what is kept of it. The release is in use until the reader
    /// has [`closed`](Self::closed) it.
    ///
    /// `size` is the release's, if it is known by now. Of a release whose size is not known, nothing is kept.
    pub fn asked(&mut self, release: &Release, size: Option<u64>, now: Duration) -> Answer {
        self.pass(now);
        let Some(id) = self.know(release) else { return Answer::Fetch { keep: false, evict: Vec::new() } };
        let before = self.shelf.place(id);
        self.ledger.give_back(id, before.still_to_come_ahead());
        let was_ahead = self.ledger.ask(id, self.demand.pace(id), self.now, Some(release.clone()));
        self.demand.ask(id, was_ahead || !before.is_whole(), self.now);
        if let Some(known) = self.releases.get_mut(&id) {
            known.asks = known.asks.saturating_add(1);
        }
        let place = self.shelf.change(id, |place| {
            place.set_size(size.unwrap_or(place.size));
            place.readers = place.readers.saturating_add(1);
            if !place.is_whole() {
                place.fetch = Fetch::Awaited;
            }
            *place
        });
        let mut evict = self.trim();
        if place.is_whole() {
            return Answer::Held { evict };
        }
        let gain = if place.is_pinned { f64::INFINITY } else { self.worth(id) };
        let goes = self.shelf.fit(id, gain, |other| self.worth(other));
        if let Some(goes) = goes {
            evict.extend(self.carry_out(Some((id, gain)), &goes));
        }
        Answer::Fetch { keep: self.shelf.place(id).has_room(), evict }
    }

    /// Records that a reader has been given all that it asked for: so many bytes, after so long a wait.
    pub fn served(&mut self, release: &Release, bytes: u64, waited: Duration) {
        if let Some(known) = self.names.get(release).and_then(|id| self.releases.get_mut(id)) {
            known.bytes = known.bytes.saturating_add(bytes);
            known.waited = known.waited.saturating_add(waited);
        }
    }

    /// Records that a reader has gone, whether it was served or not.
    pub fn closed(&mut self, release: &Release) {
        if let Some(id) = self.names.get(release).copied() {
            self.shelf.change(id, |place| place.readers = place.readers.saturating_sub(1));
        }
    }

    /// Records how many bytes of a release are on the disk now: as they come, when the node starts, and when some could
    /// not be deleted.
    ///
    /// Bytes beyond what was to be kept are counted, and make up for it at the next decision.
    pub fn holds(&mut self, release: &Release, bytes: u64, now: Duration) {
        self.pass(now);
        let Some(id) = self.know(release) else { return };
        self.shelf.change(id, |place| {
            place.held = bytes;
            place.size = place.size.max(bytes);
            place.room = if place.fetch == Fetch::None { bytes } else { place.room.max(bytes) };
        });
    }

    /// Records that a fetch has ended, with all bytes or not, after [`holds`](Self::holds) has told what is there. It
    /// has brought so many bytes in so long a time, without pauses that the node made.
    pub fn fetched(&mut self, release: &Release, bytes: u64, took: Duration, now: Duration) {
        self.pass(now);
        let Some(id) = self.names.get(release).copied() else { return };
        let before = self.shelf.change(id, |place| {
            let before = *place;
            place.fetch = Fetch::None;
            place.room = place.held;
            before
        });
        self.ledger.give_back(id, before.still_to_come_ahead());
        if !matches!(before.fetch, Fetch::Ahead { .. }) {
            // A fetch ahead of a request has only what others leave of the line, and says nothing of the source.
            self.demand.measure(id, bytes, took);
        }
    }

    /// Pins a release: it stays, and is fetched before all others.
    pub fn pin(&mut self, release: &Release, now: Duration) {
        self.pass(now);
        if let Some(id) = self.know(release) {
            self.shelf.change(id, |place| place.is_pinned = true);
        }
    }

    /// Ends the pin of a release.
    pub fn unpin(&mut self, release: &Release) {
        if let Some(id) = self.names.get(release).copied() {
            self.shelf.change(id, |place| place.is_pinned = false);
        }
    }

    /// Whether a release is pinned.
    #[must_use]
    pub fn is_pinned(&self, release: &Release) -> bool {
        self.names.get(release).is_some_and(|id| self.shelf.place(*id).is_pinned)
    }

    /// The release of a model that was asked for last, of those that are remembered.
    #[must_use]
    pub fn latest(&self, name: &ModelName) -> Option<&Release> {
        let first = Release::new(name.clone(), HeadId::from_bytes([0; 32]));
        let same = self.names.range(first..).take_while(|(release, _)| release.name() == name);
        same.max_by_key(|(_, id)| self.demand.past.get(id).and_then(|past| past.last))
            .map(|(release, _)| release)
    }

    /// The time at which [`fetch_ahead`](Self::fetch_ahead) may decide otherwise, although nothing happens.
    #[must_use]
    pub fn wakes(&self) -> Duration {
        self.demand.next_slot()
    }

    /// The bytes that are kept, with those that are still to come.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shelf.used()
    }

    /// The bytes that may be kept.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.shelf.budget()
    }

    /// Lets the time pass.
    pub(crate) fn pass(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.demand.pass(self.now);
        let releases = &self.releases;
        self.ledger.pass(self.now, |id| releases.get(&id).map(|known| known.release.clone()));
    }

    /// The seconds that are saved by holding a byte of a release for an hour.
    fn worth(&self, id: Id) -> f64 {
        self.demand.outlook(id, self.now).index * self.demand.pace(id)
    }

    fn name(&self, id: Id) -> Option<Release> {
        self.releases.get(&id).map(|known| known.release.clone())
    }

    /// Returns what goes where there is more than the budget allows.
    fn trim(&mut self) -> Vec<Eviction> {
        let goes = self.shelf.trim(|id| self.worth(id));
        self.carry_out(None, &goes)
    }

    /// Gives a release its room, and takes that of others.
    fn carry_out(&mut self, gets: Option<(Id, f64)>, goes: &[Id]) -> Vec<Eviction> {
        let gets_name = gets.and_then(|(id, gain)| Some((self.name(id)?, gain)));
        let cause = match gets_name {
            Some((release, gain)) if gain.is_finite() => Cause::WorthMore { release, worth: shown(gain) },
            Some((release, _)) => Cause::Pinned { release },
            None => Cause::Budget,
        };
        let mut evictions = Vec::new();
        for id in goes {
            let worth = shown(self.worth(*id));
            let before = self.shelf.change(*id, |place| {
                let before = *place;
                (place.held, place.room, place.fetch) = (0, 0, Fetch::None);
                before
            });
            let Some(release) = self.name(*id) else { continue };
            self.ledger.give_back(*id, before.still_to_come_ahead());
            self.ledger.lose(*id, before.held, self.now, Some(release.clone()));
            evictions.push(Eviction { release, worth, cause: cause.clone() });
        }
        if let Some((id, _)) = gets {
            self.shelf.change(id, |place| place.room = place.size);
        }
        evictions
    }

    /// The number of a release, which is new to the record if need be. `None` if all that are remembered are in use or
    /// on the disk.
    fn know(&mut self, release: &Release) -> Option<Id> {
        if let Some(id) = self.names.get(release) {
            return Some(*id);
        }
        if self.names.len() >= MOST_RELEASES {
            self.forget_one()?;
        }
        let id = Id(self.next_id);
        self.next_id = self.next_id.checked_add(1)?;
        self.names.insert(release.clone(), id);
        let known = Known { release: release.clone(), asks: 0, bytes: 0, waited: Duration::ZERO };
        self.releases.insert(id, known);
        self.shelf.change(id, |_| ());
        self.demand.know(id);
        Some(id)
    }

    /// Forgets the release that is asked for least, of those that are not on the disk.
    fn forget_one(&mut self) -> Option<()> {
        let idle = self.shelf.places().filter(|(_, place)| place.is_idle()).map(|(id, _)| id);
        let least = idle.min_by(|one, other| {
            let [one, other] = [*one, *other].map(|id| self.demand.weight(id));
            one.total_cmp(&other)
        })?;
        let known = self.releases.remove(&least)?;
        self.names.remove(&known.release);
        self.shelf.remove(least);
        self.demand.forget(least);
        self.ledger.forget(least);
        Some(())
    }
}

/// A worth as people read it: in seconds for each gigabyte and day.
fn shown(worth: f64) -> f64 {
    worth * 1e9 * 24.0
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { .. } => f.write_str("held"),
            Self::Fetch { keep: false, .. } => f.write_str("fetched, and not kept"),
            Self::Fetch { keep: true, .. } => f.write_str("fetched, and kept"),
        }
    }
}
