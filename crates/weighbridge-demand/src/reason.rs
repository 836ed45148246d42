//! The reasons of decisions, for people to read.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Release;

/// A kind of forecast. Each kind has a budget of its own, which it loses when it does not pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Signal {
    /// The release is asked for often.
    Rate,
    /// The release is asked for in these hours of the day.
    Hours,
    /// The release is asked for at this time of the day or week.
    Schedule,
    /// Another release was asked for, and this one is asked for after it.
    Follows,
    /// An adapter was asked for, and this is its base.
    Base,
    /// The release is a new revision of one that is asked for.
    Revision,
    /// The release is pinned. That is no forecast: it needs no budget, and is not judged.
    Pinned,
}

impl Signal {
    /// All kinds of forecasts. A pin is none.
    pub const FORECASTS: [Self; 6] =
        [Self::Rate, Self::Hours, Self::Schedule, Self::Follows, Self::Base, Self::Revision];
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rate => "rate",
            Self::Hours => "hours",
            Self::Schedule => "schedule",
            Self::Follows => "follows",
            Self::Base => "base",
            Self::Revision => "revision",
            Self::Pinned => "pinned",
        })
    }
}

/// Days that are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Days {
    /// All days.
    All,
    /// Monday to Friday.
    Workdays,
    /// Saturday and Sunday.
    Weekends,
    /// The same day of the week.
    SameDay,
}

/// The observation behind a forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// The release is asked for so many times a day.
    Rate {
        /// Asks a day, from a count that decays.
        a_day: f64,
    },
    /// The release is asked for in the hour around this time of the day.
    Hours {
        /// The time of the day, in UTC.
        at: Duration,
    },
    /// The release was asked for at this time on so many of the last days.
    Schedule {
        /// The time of the day, in UTC, to ten minutes.
        at: Duration,
        /// The days that were compared.
        days: Days,
        /// The days on which it was asked for.
        asked: u32,
        /// All of these days that were watched.
        of: u32,
    },
    /// This release was asked for just now.
    Follows {
        /// The release that was asked for.
        after: Release,
    },
    /// This adapter was asked for just now.
    Base {
        /// The adapter.
        of: Release,
    },
    /// This release has a new revision.
    Revision {
        /// The release that was asked for so far.
        of: Release,
    },
    /// The release is pinned.
    Pinned,
}

impl Evidence {
    /// The kind of forecast that rests on this observation.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            Self::Rate { .. } => Signal::Rate,
            Self::Hours { .. } => Signal::Hours,
            Self::Schedule { .. } => Signal::Schedule,
            Self::Follows { .. } => Signal::Follows,
            Self::Base { .. } => Signal::Base,
            Self::Revision { .. } => Signal::Revision,
            Self::Pinned => Signal::Pinned,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { a_day } => write!(f, "asked for {a_day:.1} times a day"),
            Self::Hours { at } => write!(f, "asked for in the hours around {}", time_of_day(*at)),
            Self::Schedule { at, days, asked, of } => {
                let days = match days {
                    Days::All => "days",
                    Days::Workdays => "workdays",
                    Days::Weekends => "days of weekends",
                    Days::SameDay => "weeks",
                };
                write!(f, "asked for at {} on {asked} of the last {of} {days}", time_of_day(*at))
            }
            Self::Follows { after } => write!(f, "asked for after {after}"),
            Self::Base { of } => write!(f, "the base of {of}"),
            Self::Revision { of } => write!(f, "a new revision of {of}"),
            Self::Pinned => f.write_str("pinned"),
        }
    }
}

fn time_of_day(at: Duration) -> String {
    let minutes = at.as_secs().checked_div(60).unwrap_or(0);
    let [hour, minute] = [minutes.checked_div(60), minutes.checked_rem(60)].map(Option::unwrap_or_default);
    format!("{hour:02}:{minute:02}Z")
}

/// The reason why a release is fetched ahead of a request, or would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The observation.
    pub evidence: Evidence,
    /// The chance that the release is asked for within `within`.
    pub chance: f64,
    /// The time for which the chance holds.
    pub within: Duration,
    /// The seconds for which nobody will have to wait, weighed by their chance.
    pub saves: f64,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.evidence.fmt(f)?;
        if self.evidence == Evidence::Pinned {
            return Ok(());
        }
        let minutes = self.within.as_secs().div_ceil(60);
        write!(f, "; likely to {:.0} % in {minutes} min, saves {:.1} s", self.chance * 100.0, self.saves)
    }
}

/// The reason why a release is not fetched ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Hindrance {
    /// It is not likely enough to be asked for soon.
    Unlikely,
    /// The releases that would have to go are worth as much.
    WorthLess,
    /// Its last fetch for this reason was in vain, and it has not been asked for since.
    InVain,
    /// Its kind of forecast has used up its budget.
    NoBudget,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlikely => "not likely enough to be asked for soon",
            Self::WorthLess => "what would have to go is worth as much",
            Self::InVain => "its last fetch for this reason was in vain",
            Self::NoBudget => "forecasts of this kind have used up their budget",
        })
    }
}
