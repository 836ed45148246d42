//! The choice of what is fetched while nobody waits.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Keeper;
use crate::{
    Eviction, Evidence, Hindrance, Release, Signal, Why,
    demand::{Ground, Outlook},
    number::real,
    shelf::{Fetch, Id},
};

/// A release to fetch although nobody waits for it.
///
/// The caller fetches it with what the line has left, pauses while the line is needed, and tells
/// [`holds`](Keeper::holds) and [`fetched`](Keeper::fetched).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prefetch {
    /// The release.
    pub release: Release,
    /// The releases that make room, which the caller deletes before it writes.
    pub evict: Vec<Eviction>,
    /// The reason.
    pub why: Why,
}

impl fmt::Display for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fetches {} ahead: {}", self.release, self.why)
    }
}

/// The reasons for a release that could be fetched.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) id: Id,
    /// The seconds that a byte of it saves in an hour.
    pub(super) gain: f64,
    pub(super) outlook: Outlook,
    pub(super) signal: Signal,
}

/// How much more a fetch has to be worth than what goes for it. What goes would have to come back otherwise.
const MARGIN: f64 = 2.0;
/// The least chance of an ask that is expected at a certain time.
const LEAST_CHANCE: f64 = 0.5;
/// The cases that are tried, of those that are worth most.
const TRIED: usize = 8;

impl Keeper {
    /// Chooses a release to fetch, while the line is idle. `None` if nothing is worth it.
    ///
    /// The caller asks again when the line has more to give, when anything has happened, and
    /// when the keeper [`wakes`](Self::wakes).
    pub fn fetch_ahead(&mut self, now: Duration) -> Option<Prefetch> {
        self.pass(now);
        if self.shelf.is_over() {
            return None;
        }
        let mut cases: Vec<_> = self.missing().filter_map(|id| self.case(id).ok()).collect();
        cases.sort_by(|one, other| other.gain.total_cmp(&one.gain).then(one.id.cmp(&other.id)));
        let (case, goes) = cases.into_iter().take(TRIED).find_map(|case| {
            let goes = self.fit_ahead(&case).ok()?;
            Some((case, goes))
        })?;
        let release = self.name(case.id)?;
        let place = self.shelf.place(case.id);
        let more = place.size.saturating_sub(place.held);
        let why = self.why(&case, more);
        if case.signal != Signal::Pinned {
            self.ledger.begin(case.id, why.clone(), more, self.now);
        }
        let evict = self.carry_out(Some((case.id, case.gain)), &goes);
        self.shelf.change(case.id, |place| place.fetch = Fetch::Ahead { from: place.held, more });
        Some(Prefetch { release, evict, why })
    }

    /// The releases that are not held whole, and not being fetched.
    pub(super) fn missing(&self) -> impl Iterator<Item = Id> {
        let is_missing = |place: &crate::shelf::Place| {
            place.size > 0 && !place.is_whole() && place.fetch == Fetch::None && place.readers == 0
        };
        self.shelf.places().filter(move |(_, place)| is_missing(place)).map(|(id, _)| id)
    }

    /// The reason for fetching a release ahead.
    ///
    /// # Errors
    /// The reason against it.
    pub(super) fn case(&self, id: Id) -> Result<Case, (Case, Hindrance)> {
        let place = self.shelf.place(id);
        let pace = self.demand.pace(id);
        let fetch = real(place.size.saturating_sub(place.held)) * pace / 3600.0;
        let outlook = self.demand.outlook_ahead(id, self.now, fetch);
        if place.is_pinned {
            return Ok(Case { id, gain: f64::INFINITY, outlook, signal: Signal::Pinned });
        }
        let case = Case { id, gain: outlook.index * pace, outlook, signal: outlook.signal };
        let is_of_a_time = matches!(case.signal, Signal::Schedule | Signal::Follows | Signal::Base);
        if case.gain <= 0.0 || (is_of_a_time && outlook.chance < LEAST_CHANCE) {
            return Err((case, Hindrance::Unlikely));
        }
        if self.ledger.is_in_vain(id, case.signal) {
            return Err((case, Hindrance::InVain));
        }
        Ok(case)
    }

    /// The releases that go for a case.
    ///
    /// # Errors
    /// The reason against it.
    pub(super) fn fit_ahead(&self, case: &Case) -> Result<Vec<Id>, Hindrance> {
        let goes = self.shelf.fit(case.id, case.gain / MARGIN, |other| self.worth(other));
        let goes = goes.ok_or(Hindrance::WorthLess)?;
        if self.ledger.allows(case.id, case.signal) { Ok(goes) } else { Err(Hindrance::NoBudget) }
    }

    /// The reason of a case, if so many bytes come.
    pub(super) fn why(&self, case: &Case, more: u64) -> Why {
        let Outlook { chance, within, .. } = case.outlook;
        let evidence = match self.demand.ground(case.id, case.outlook) {
            _ if case.signal == Signal::Pinned => Evidence::Pinned,
            Ground::Hours { at } => Evidence::Hours { at },
            Ground::Schedule { at, days, hits, of } => Evidence::Schedule { at, days, asked: hits, of },
            Ground::Rate { a_day } => Evidence::Rate { a_day },
            Ground::Follows(id) | Ground::Base(id) | Ground::Revision(id) => {
                match (self.name(id), case.signal) {
                    (Some(after), Signal::Follows) => Evidence::Follows { after },
                    (Some(of), Signal::Base) => Evidence::Base { of },
                    (Some(of), _) => Evidence::Revision { of },
                    // The record of the other release was dropped.
                    (None, _) => Evidence::Rate { a_day: 0.0 },
                }
            }
        };
        let saves = chance * self.demand.pace(case.id) * real(more);
        let within = Duration::try_from_secs_f64(within * 3600.0).unwrap_or_default();
        Why { evidence, chance, within, saves }
    }
}
