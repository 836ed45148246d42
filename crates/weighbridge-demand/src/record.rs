//! The record of a keeper, for a file that outlives the node.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Account, Judgement, Keeper, MOST_RELEASES, Release, Signal,
    demand::{
        Demand, Followers, Past,
        clock::Clock,
        history::{Counts, History, Trust},
    },
    hindsight::{Ledger, MOST_JUDGED, Open},
    keeper::Known,
    shelf::{Id, Shelf},
};

/// The memory of a keeper: asks, forecasts, judgements and pins. It can be serialised.
///
/// It does not say which bytes are on the disk, since only the disk does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    now: Duration,
    clock: Clock,
    schedules: Trust,
    follows: Trust,
    pace: Option<f64>,
    releases: Vec<Entry>,
    accounts: Vec<Account>,
    filled: Duration,
    judged: Vec<Judgement>,
}

/// The version of [`Record`]. Another one is not read.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    id: Id,
    known: Known,
    size: u64,
    is_pinned: bool,
    counts: Counts,
    followers: Followers,
    last: Option<Duration>,
    pace: Option<f64>,
    revises: Option<Id>,
    open: Option<Open>,
    in_vain: Vec<Signal>,
}

/// The reason why a record is refused. The node begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// It has another version.
    Version(u32),
    /// It names more releases than are remembered.
    TooMany(usize),
    /// It names a release, or its number, twice.
    Repeated,
    /// A number in it cannot have been written by a keeper.
    Number,
    /// It was written more than a day after the time that is given as now.
    Future,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "the record has version {version}, expected {VERSION}"),
            Self::TooMany(count) => write!(f, "the record names {count} releases, more than {MOST_RELEASES}"),
            Self::Repeated => f.write_str("the record names a release twice"),
            Self::Future => f.write_str("the record was written more than a day from now"),
            Self::Number => f.write_str("the record has a number that no keeper writes"),
        }
    }
}

impl std::error::Error for RecordError {}

impl Keeper {
    /// The memory of the keeper.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut ledger = self.ledger.clone();
        // The fetches of this node end with it: what has not come by now is not theirs to waste.
        for (id, place) in self.shelf.places() {
            ledger.give_back(id, place.still_to_come_ahead());
        }
        let entries = self.releases.iter().filter_map(|(id, known)| {
            let past = self.demand.past.get(id)?;
            let place = self.shelf.place(*id);
            Some(Entry {
                id: *id,
                known: known.clone(),
                size: place.size,
                is_pinned: place.is_pinned,
                counts: past.history.counts().clone(),
                followers: past.followers.clone(),
                last: past.last,
                pace: past.pace,
                revises: past.revises,
                open: ledger.open.get(id).cloned(),
                in_vain: ledger.in_vain.get(id).cloned().unwrap_or_default(),
            })
        });
        Record {
            version: VERSION,
            now: self.now,
            clock: self.demand.clock.clone(),
            schedules: self.demand.schedules,
            follows: self.demand.follows,
            pace: self.demand.pace,
            releases: entries.collect(),
            accounts: ledger.accounts,
            filled: ledger.filled,
            judged: ledger.judged.into(),
        }
    }

    /// A keeper that remembers this record, and knows of no byte on the disk: the caller tells
    /// [`holds`](Self::holds) of each release there.
    ///
    /// Forecasts are made anew. The keeper that wrote the record made each of them up to a day earlier, when it knew
    /// less, so the numbers can differ a little.
    ///
    /// # Errors
    /// [`RecordError`] if no keeper can have written the record.
    pub fn restore(record: Record, budget: u64, now: Duration) -> Result<Self, RecordError> {
        let Record { version, clock, schedules, follows, pace, releases, accounts, filled, judged, .. } =
            record;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        if releases.len() > MOST_RELEASES {
            return Err(RecordError::TooMany(releases.len()));
        }
        let tomorrow = now.saturating_add(A_DAY);
        if [record.now, clock.slot().start(), filled].iter().any(|time| *time > tomorrow) {
            return Err(RecordError::Future);
        }
        let is_well_formed = clock.is_well_formed()
            && schedules.is_well_formed()
            && follows.is_well_formed()
            && pace.is_none_or(is_pace)
            && accounts.iter().map(|account| account.signal).eq(Signal::FORECASTS)
            && judged.len() <= MOST_JUDGED
            && releases.iter().all(Entry::is_well_formed);
        if !is_well_formed {
            return Err(RecordError::Number);
        }
        let mut demand = Demand::new(now);
        (demand.clock, demand.schedules, demand.follows, demand.pace) = (clock, schedules, follows, pace);
        let mut ledger = Ledger::new(budget, now);
        (ledger.accounts, ledger.filled, ledger.judged) = (accounts, filled, judged.into());
        let mut names: BTreeMap<Release, Id> = BTreeMap::new();
        let mut known: BTreeMap<Id, Known> = BTreeMap::new();
        let mut shelf = Shelf::new(budget);
        let mut next_id = 0;
        for entry in releases {
            let id = entry.id;
            let is_new = names.insert(entry.known.release.clone(), id).is_none();
            if known.insert(id, entry.known).is_some() || !is_new {
                return Err(RecordError::Repeated);
            }
            next_id = id.0.checked_add(1).ok_or(RecordError::Number)?.max(next_id);
            shelf.change(id, |place| (place.size, place.is_pinned) = (entry.size, entry.is_pinned));
            let mut past = Past::with(History::with(entry.counts, &demand.clock));
            (past.followers, past.last, past.pace, past.revises) =
                (entry.followers, entry.last, entry.pace, entry.revises);
            demand.past.insert(id, past);
            if let Some(open) = entry.open {
                ledger.open.insert(id, open);
            }
            if !entry.in_vain.is_empty() {
                ledger.in_vain.insert(id, entry.in_vain);
            }
        }
        ledger.set_whole(budget);
        let mut keeper = Self { names, releases: known, shelf, demand, ledger, now: record.now, next_id };
        keeper.pass(now);
        Ok(keeper)
    }
}

const A_DAY: Duration = Duration::from_secs(86_400);

impl Entry {
    fn is_well_formed(&self) -> bool {
        self.counts.is_well_formed()
            && self.followers.is_well_formed()
            && self.pace.is_none_or(is_pace)
            && self.in_vain.len() <= Signal::FORECASTS.len()
    }
}

fn is_pace(seconds: f64) -> bool {
    (0.0..=1.0).contains(&seconds)
}
