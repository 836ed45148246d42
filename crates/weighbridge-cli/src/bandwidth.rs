//! The rates that the user says, by the machine's local time.

use chrono::{Datelike as _, Timelike as _};
use weighbridge_bandwidth::{Budget, Schedule, WeekTime};

/// The budget of a direction; without a limit, if none is said.
pub(crate) fn budget(rate: Option<Schedule>) -> Budget {
    rate.map_or_else(Budget::unlimited, |rate| Budget::new(rate, local_time))
}

fn local_time() -> WeekTime {
    let now = chrono::Local::now();
    let day = now.weekday().num_days_from_monday();
    WeekTime::new(day, now.hour(), now.minute(), now.second()).unwrap_or_default()
}
