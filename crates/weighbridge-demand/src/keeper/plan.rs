//! The state of the keeper, for people and pages.

use serde::{Deserialize, Serialize};

use super::{Keeper, shown};
use crate::{Account, Hindrance, Judgement, Release, Why};

/// The releases that are kept, those that would be fetched next, and the outcomes of earlier forecasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The bytes that may be kept.
    pub budget: u64,
    /// The bytes that are kept, with those that are still to come.
    pub used: u64,
    /// The releases of which bytes are kept, the first to go first.
    pub held: Vec<Held>,
    /// The releases that could be fetched ahead, the most valuable first: 64 at most.
    pub ahead: Vec<Candidate>,
    /// The budget of each kind of forecast.
    pub accounts: Vec<Account>,
    /// The last judgements, the oldest first: 256 at most.
    pub judged: Vec<Judgement>,
}

/// A release of which bytes are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The release.
    pub release: Release,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes that are there.
    pub held: u64,
    /// The seconds that holding a gigabyte of it for a day saves, by the forecast.
    pub worth: f64,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether it is read or waited for.
    pub in_use: bool,
    /// How often it was asked for, ever.
    pub asks: u64,
    /// The seconds that its readers waited, all together.
    pub waited: f64,
}

/// A release that could be fetched ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The release.
    pub release: Release,
    /// The bytes that are missing.
    pub missing: u64,
    /// The seconds that holding a gigabyte of it for a day would save, by the forecast.
    pub worth: f64,
    /// The reason for it.
    pub why: Why,
    /// The reason against it, if there is one.
    pub hindrance: Option<Hindrance>,
}

/// The most candidates that a plan names.
const MOST_CANDIDATES: usize = 64;

impl Keeper {
    /// The plan as it is now. It changes nothing.
    ///
    /// # Cost
    /// Sorts what is held once for each candidate.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut held: Vec<_> = self.shelf.places().filter(|(_, place)| place.room > 0).collect();
        held.sort_by(|one, other| self.worth(one.0).total_cmp(&self.worth(other.0)));
        let held = held.into_iter().filter_map(|(id, place)| {
            let known = self.releases.get(&id)?;
            Some(Held {
                release: known.release.clone(),
                size: place.size,
                held: place.held,
                worth: shown(self.worth(id)),
                pinned: place.is_pinned,
                in_use: place.is_in_use() && !place.is_pinned || place.readers > 0,
                asks: known.asks,
                waited: known.waited.as_secs_f64(),
            })
        });
        let mut cases: Vec<_> = self
            .missing()
            .map(|id| match self.case(id) {
                Ok(case) => (case, None),
                Err((case, hindrance)) => (case, Some(hindrance)),
            })
            .collect();
        cases.sort_by(|one, other| other.0.gain.total_cmp(&one.0.gain).then(one.0.id.cmp(&other.0.id)));
        let ahead = cases.into_iter().take(MOST_CANDIDATES).filter_map(|(case, hindrance)| {
            let place = self.shelf.place(case.id);
            let missing = place.size.saturating_sub(place.held);
            Some(Candidate {
                release: self.name(case.id)?,
                missing,
                worth: shown(case.outlook.index * self.demand.pace(case.id)),
                why: self.why(&case, missing),
                hindrance: hindrance.or_else(|| self.fit_ahead(&case).err()),
            })
        });
        Plan {
            budget: self.shelf.budget(),
            used: self.shelf.used(),
            held: held.collect(),
            ahead: ahead.collect(),
            accounts: self.ledger.accounts.clone(),
            judged: self.ledger.judged.iter().cloned().collect(),
        }
    }
}
