//! Decides what a node keeps of the models that its clients ask for, and what it fetches ahead of them.
//!
//! A [`Keeper`] is told what happens (a release is asked for, bytes have come, a reader has gone) and answers what is to
//! be kept, what goes for it, and what to fetch while nobody waits. Each answer says why, and each fetch ahead of a
//! request is judged in hindsight.
//!
//! # What a release is worth
//! The seconds that are saved by holding a byte of it for an hour: the asks that are expected, for each hour until they
//! come, times the measured seconds of a byte. This is Greedy-Dual-Size-Frequency with the size and the cost as they
//! are, and with a forecast for the frequency; it needs no clock to age what was popular once, because the forecast does.
//! What is worth least goes first, as a whole, and only for what is worth more. So a release that was
//! asked for once does not take the place of one that is asked for daily.
//!
//! # What is expected
//! - by rate: two counts that decay, one by half in six hours, one in three days
//! - by the hours of the day, on workdays or weekends
//! - by a schedule: asks within the same ten minutes, daily, on workdays, on weekends, or weekly
//! - after another release that was asked for, among these the base after its adapter
//! - in place of the release that a new revision replaces
//!
//! Rates and hours are mixed, and the one with fewer errors on a release counts for more. Schedules and what follows are believed as
//! far as they came true.
//!
//! # What is fetched ahead
//! What is worth twice as much as what goes for it, counted only from when the fetch would have to begin. A kind of forecast
//! has a [budget](Account) in bytes, which it loses by bytes that are not asked for.
//!
//! The crate opens no file and no connection, and knows no clock: the caller supplies the times. Equal events give equal
//! decisions, on any platform.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use weighbridge_demand::{Answer, Keeper, Release};
//!
//! let release = |name: &str| format!("{name}@{}", "0a".repeat(32)).parse::<Release>();
//! let (daily, once) = (release("org/daily")?, release("org/once")?);
//! let day = |number: u64| Duration::from_secs(number * 86_400);
//! let mut keeper = Keeper::new(10_000, day(0));
//! for number in 0..4 {
//!     keeper.asked(&daily, Some(8_000), day(number));
//!     keeper.holds(&daily, 8_000, day(number));
//!     keeper.fetched(&daily, 8_000, Duration::from_secs(2), day(number));
//!     keeper.closed(&daily);
//! }
//! // There is no room for both, and the one that is asked for daily is worth more.
//! assert_eq!(keeper.asked(&once, Some(8_000), day(4)), Answer::Fetch { keep: false, evict: vec![] });
//! # Ok::<(), weighbridge_demand::ReleaseError>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

mod demand;
mod hindsight;
mod keeper;
mod number;
mod reason;
mod record;
mod release;
mod shelf;

pub use hindsight::{Account, Judgement, Verdict};
pub use keeper::{Answer, Candidate, Held, Keeper, MOST_RELEASES, Plan, Prefetch};
pub use reason::{Days, Evidence, Hindrance, Signal, Why};
pub use record::{Record, RecordError};
pub use release::{Release, ReleaseError};
pub use shelf::{Cause, Eviction};
