//! Decisions about sources and chunks. Pure: nothing here asks anybody or knows a clock.

pub(crate) mod roster;
pub(crate) mod schedule;
