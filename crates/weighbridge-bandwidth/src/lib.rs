//! Rates, schedules by the time of day, and whose bytes go first: one order for all that a process sends, and one for all that it
//! receives.
//!
//! - a [`Budget`] is the rate of one direction; a [`Share`] of it belongs to a [`Peer`] and has a [`Class`]
//! - [`Share::pay`] and [`Share::take`] wait for the turn of some bytes; [`Paced`] lets bytes go as their turn comes
//! - a [`Schedule`] is the rate by the time of day, and [`WeekTime`] that time
//!
//! The order is that of `spec/bandwidth.md`. It is decided by a scheduler that knows no clock, no task and no thread; what is above
//! only waits for it.
//!
//! # Guarantee
//! No class is delayed by one below it for longer than one piece takes. Peers of a class that wait have equal shares. The rate is
//! kept to 5 % over ten seconds in which something waits.
//!
//! # Non-guarantee
//! Nothing is known of the line, nor of other processes: a rate above what the line gives orders nothing.
//!
//! # Cost
//! Without a rate, and while no class above moves, a turn is one look at the clock and one at each class above: no lock, no
//! allocation.

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

mod budget;
mod class;
mod paced;
mod schedule;
mod scheduler;
mod size;
mod turns;

pub use budget::{Budget, Share, Take, WallClock};
pub use class::{Class, Peer};
pub use paced::Paced;
pub use schedule::{Schedule, ScheduleError, WeekTime};
pub use size::{SizeError, byte_size};
