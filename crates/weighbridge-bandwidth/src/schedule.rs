//! Rates by the time of day (`spec/bandwidth.md`, B3).

use std::{fmt, time::Duration};

use crate::size::{SizeError, byte_size};

/// The rate by the time of day.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use weighbridge_bandwidth::{Schedule, WeekTime};
///
/// let schedule = Schedule::parse("mon-fri 08:00-18:00 20MB/s, 22:00-06:00 unlimited, else 50MB")?;
/// let tuesday_noon = WeekTime::new(1, 12, 0, 0).ok_or("no such time")?;
/// assert_eq!(schedule.rate_at(tuesday_noon), Some(20_000_000));
/// assert_eq!(schedule.next_change(tuesday_noon), Some(Duration::from_secs(6 * 3600)));
/// assert!(Schedule::parse("08:00-18:00 20MB").is_err(), "the other hours need a rate too");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    rules: Vec<Rule>,
    otherwise: Option<u64>,
}

/// A time of the week, in whichever zone its maker lives. By default it is the beginning of Monday.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeekTime {
    /// Seconds since Monday began.
    seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// By day, from Monday on: whether the rule begins on it.
    days: [bool; 7],
    /// Seconds of the day; the end is one of the next day if it is not later than the start.
    start: u32,
    end: u32,
    /// No limit if `None`.
    rate: Option<u64>,
}

/// The reason why a text is no schedule, and where in it. Rules count from 1.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleError {
    /// A text that is to be one rate is no size.
    Rate(SizeError),
    /// A rule is none: its number, the word that is wrong, and what would be right.
    Rule(usize, String, &'static str),
    /// A rule does not have the words of one: its number.
    Words(usize),
    /// The last part does not begin with `else`.
    NoElse,
    /// There is something behind the part that begins with `else`.
    BehindElse,
}

const DAY: u32 = 24 * 3600;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const A_TIME: &str = "a time is written like 08:00, up to 24:00";
const A_SPAN: &str = "from when to when is written like 08:00-18:00";
const ANOTHER_END: &str = "it has to end at another time than it begins";
const A_DAY: &str = "days are written mon, tue, wed, thu, fri, sat, sun, or like mon-fri";
const A_RATE: &str = "a rate is a size like 256KiB or 100MB, or `unlimited`";
const SOME_RATE: &str = "a rate is at least one byte per second";

/// The words of a text that is quoted.
const MOST_QUOTED: usize = 40;

impl Schedule {
    /// One rate at all times; no limit if `None`.
    #[must_use]
    pub fn always(rate: Option<u64>) -> Self {
        Self { rules: Vec::new(), otherwise: rate }
    }

    /// Reads a rate, such as `50MB`, or rules, such as `08:00-18:00 50MB, else unlimited`.
    ///
    /// # Errors
    /// [`ScheduleError`], which names the place.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let Some((last, rules)) = parts.split_last() else { return Err(ScheduleError::NoElse) };
        if rules.is_empty() && !last.contains(':') {
            return match rate(last) {
                Ok(rate) => Ok(Self::always(rate)),
                Err(error) => Err(ScheduleError::Rate(error)),
            };
        }
        if rules.iter().any(|part| is_else(part)) {
            return Err(ScheduleError::BehindElse);
        }
        let read = |(number, part): (usize, &&str)| rule(part, number.saturating_add(1));
        let rules = rules.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let number = rules.len().saturating_add(1);
        if !is_else(last) {
            // A fault of it as a rule is told first.
            rule(last, number)?;
            return Err(ScheduleError::NoElse);
        }
        let mut words = last.split_whitespace().skip(1);
        let (Some(word), None) = (words.next(), words.next()) else {
            return Err(ScheduleError::Words(number));
        };
        Ok(Self { rules, otherwise: rate(word).map_err(|error| of_rate(number, word, error))? })
    }

    /// The rate at a time, in bytes per second; `None` if there is no limit.
    #[must_use]
    pub fn rate_at(&self, time: WeekTime) -> Option<u64> {
        self.rules.iter().find(|rule| rule.holds_at(time)).map_or(self.otherwise, |rule| rule.rate)
    }

    /// The time from `time` on until the rate may be another one; `None` if it is always the same.
    #[must_use]
    pub fn next_change(&self, time: WeekTime) -> Option<Duration> {
        if self.rules.is_empty() {
            return None;
        }
        let here = time.second_of_day();
        // Days begin at midnight.
        let ends = self.rules.iter().flat_map(|rule| [rule.start, rule.end]).chain([DAY]);
        let next = ends.filter(|end| *end > here).min().unwrap_or(DAY);
        Some(Duration::from_secs(next.saturating_sub(here).into()))
    }

    /// The least rate of any time; `None` if there never is a limit.
    #[must_use]
    pub fn least(&self) -> Option<u64> {
        self.rules.iter().map(|rule| rule.rate).chain([self.otherwise]).flatten().min()
    }
}

impl Rule {
    fn holds_at(&self, time: WeekTime) -> bool {
        let (day, here) = (time.day(), time.second_of_day());
        let begins_on = |day: usize| self.days.get(day).is_some_and(|begins| *begins);
        if self.start < self.end {
            return begins_on(day) && (self.start..self.end).contains(&here);
        }
        let yesterday = day.checked_sub(1).unwrap_or(6);
        (begins_on(day) && here >= self.start) || (begins_on(yesterday) && here < self.end)
    }
}

impl WeekTime {
    /// A time of the week. `day` counts from 0 for Monday.
    #[must_use]
    pub fn new(day: u32, hour: u32, minute: u32, second: u32) -> Option<Self> {
        // A minute may have a leap second.
        if day > 6 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let of_day = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
        Some(Self { seconds: day.checked_mul(DAY)?.checked_add(of_day.min(DAY.saturating_sub(1)))? })
    }

    fn day(self) -> usize {
        usize::try_from(self.seconds.checked_div(DAY).unwrap_or(0)).unwrap_or(0)
    }

    fn second_of_day(self) -> u32 {
        self.seconds.checked_rem(DAY).unwrap_or(0)
    }
}

fn is_else(part: &str) -> bool {
    part.split_whitespace().next() == Some("else")
}

/// Reads `[DAYS] FROM-TO RATE`.
fn rule(part: &str, number: usize) -> Result<Rule, ScheduleError> {
    let words: Vec<&str> = part.split_whitespace().collect();
    let (days, span, last) = match words.as_slice() {
        [span, last] => (None, *span, *last),
        [days, span, last] => (Some(*days), *span, *last),
        _ => return Err(ScheduleError::Words(number)),
    };
    let wrong =
        |word: &str, right| ScheduleError::Rule(number, word.chars().take(MOST_QUOTED).collect(), right);
    let days = days.map_or(Some([true; 7]), days_of).ok_or_else(|| wrong(days.unwrap_or_default(), A_DAY))?;
    let (from, to) = span.split_once('-').ok_or_else(|| wrong(span, A_SPAN))?;
    let start = time_of(from).filter(|start| *start < DAY).ok_or_else(|| wrong(from, A_TIME))?;
    let end = time_of(to).ok_or_else(|| wrong(to, A_TIME))?;
    if start == end {
        return Err(wrong(span, ANOTHER_END));
    }
    Ok(Rule { days, start, end, rate: rate(last).map_err(|error| of_rate(number, last, error))? })
}

fn of_rate(number: usize, word: &str, error: SizeError) -> ScheduleError {
    let right = if error == SizeError::Nothing { SOME_RATE } else { A_RATE };
    ScheduleError::Rule(number, word.chars().take(MOST_QUOTED).collect(), right)
}

fn days_of(text: &str) -> Option<[bool; 7]> {
    let position = |name: &str| DAYS.iter().position(|day| *day == name);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (position(first)?, position(last)?),
        None => (position(text)?, position(text)?),
    };
    let mut days = [false; 7];
    for (day, begins) in days.iter_mut().enumerate() {
        *begins = match first <= last {
            true => (first..=last).contains(&day),
            false => day >= first || day <= last,
        };
    }
    Some(days)
}

/// Seconds of the day.
fn time_of(text: &str) -> Option<u32> {
    let [h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(10);
    let hour = digit(*h1)?.checked_mul(10)?.checked_add(digit(*h2)?)?;
    let minute = digit(*m1)?.checked_mul(10)?.checked_add(digit(*m2)?)?;
    let seconds = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?;
    (minute < 60 && seconds <= DAY).then_some(seconds)
}

fn rate(text: &str) -> Result<Option<u64>, SizeError> {
    match text {
        "unlimited" => Ok(None),
        text => byte_size(text.strip_suffix("/s").unwrap_or(text)).map(Some),
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(error) => {
                write!(f, "{error}; rules by the time of day like `08:00-18:00 50MB, else unlimited`")
            }
            Self::Rule(number, word, right) => write!(f, "rule {number}, {word:?}: {right}"),
            Self::Words(number) => {
                write!(
                    f,
                    "rule {number}: a rule is written `08:00-18:00 50MB` or `mon-fri 08:00-18:00 50MB`, and the last one `else 50MB`"
                )
            }
            Self::NoElse => {
                f.write_str("the other times need a rate too: the last part is written `else unlimited`")
            }
            Self::BehindElse => f.write_str("the part that begins with `else` has to be the last one"),
        }
    }
}

impl std::error::Error for ScheduleError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(day: u32, hour: u32, minute: u32) -> WeekTime {
        WeekTime::new(day, hour, minute, 0).unwrap()
    }

    #[track_caller]
    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_single_rate_holds_always() {
        for (text, rate) in
            [("50MB", Some(50_000_000)), ("1KiB/s", Some(1024)), ("unlimited", None), (" 7 ", Some(7))]
        {
            let schedule = schedule(text);
            assert_eq!(
                (schedule.rate_at(at(3, 4, 5)), schedule.next_change(at(3, 4, 5))),
                (rate, None),
                "{text}"
            );
            assert_eq!(schedule.least(), rate);
        }
    }

    #[test]
    fn the_first_rule_that_holds_gives_the_rate() {
        let schedule =
            schedule("mon-fri 08:00-18:00 20MB/s, 06:00-24:00 40MB,sat-mon 00:00-06:00 3,   else unlimited");
        for (time, rate) in [
            (at(0, 7, 59), Some(40_000_000)),
            (at(0, 8, 0), Some(20_000_000)),
            (at(4, 17, 59), Some(20_000_000)),
            (at(4, 18, 0), Some(40_000_000)),
            (at(5, 12, 0), Some(40_000_000)),
            (at(5, 23, 59), Some(40_000_000)),
            (at(6, 0, 0), Some(3)),
            (at(0, 5, 59), Some(3)),
            (at(1, 0, 0), None),
            (at(4, 5, 59), None),
        ] {
            assert_eq!(schedule.rate_at(time), rate, "{time:?}");
        }
        assert_eq!(schedule.least(), Some(3));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let schedule = schedule("fri 22:00-06:00 5, sun 23:00-01:00 6, 12:00-00:00 7, else unlimited");
        for (time, rate) in [
            (at(4, 21, 59), Some(7)),
            (at(4, 22, 0), Some(5)),
            (at(5, 5, 59), Some(5)),
            (at(5, 6, 0), None),
            (at(5, 22, 30), Some(7)),
            (at(6, 0, 30), None),
            (at(6, 23, 0), Some(6)),
            (at(0, 0, 59), Some(6)),
            (at(0, 1, 0), None),
        ] {
            assert_eq!(schedule.rate_at(time), rate, "{time:?}");
        }
    }

    #[test]
    fn each_way_to_be_wrong_is_refused_by_name() {
        for (text, said) in [
            ("", "a size is written like"),
            ("fast", "a size is written like"),
            ("1 MiB", "a size is written like"),
            ("else 50MB", "a size is written like"),
            ("0", "a size is at least one byte"),
            ("50MB/m", "a size is written like"),
            ("08:00-18:00 50MB", "the last part is written `else unlimited`"),
            ("08:00-18:00 50MB, 50MB", "rule 2: a rule is written"),
            ("08:00-18:00 50MB,", "rule 2: a rule is written"),
            ("else 50MB, 08:00-18:00 50MB", "has to be the last one"),
            ("08:00-18:00 50MB, else 1, else 2", "has to be the last one"),
            ("08:00-18:00 50MB, else", "rule 2: a rule is written"),
            ("08:00-18:00 50MB, else 1 2", "rule 2: a rule is written"),
            ("08:00-18:00 50MB, else fast", "rule 2, \"fast\": a rate is a size"),
            ("08:00-18:00 50MB, else 0", "rule 2, \"0\": a rate is at least one byte"),
            ("08:00-18:00 50MB, 18:00-25:00 1, else 1", "rule 2, \"25:00\": a time is written like"),
            ("24:00-08:00 1, else 1", "rule 1, \"24:00\": a time is written like"),
            ("08:00-24:01 1, else 1", "rule 1, \"24:01\""),
            ("08:60-18:00 1, else 1", "rule 1, \"08:60\""),
            ("8:00-18:00 1, else 1", "rule 1, \"8:00\""),
            ("08:00-18 1, else 1", "rule 1, \"18\""),
            ("+8:00-18:00 1, else 1", "rule 1, \"+8:00\""),
            ("08:00 1, else 1", "rule 1, \"08:00\": from when to when"),
            ("08:00-08:00 1, else 1", "rule 1, \"08:00-08:00\": it has to end at another time"),
            ("work 08:00-18:00 1, else 1", "rule 1, \"work\": days are written"),
            ("mon-day 08:00-18:00 1, else 1", "rule 1, \"mon-day\": days are written"),
            ("Mon 08:00-18:00 1, else 1", "rule 1, \"Mon\": days are written"),
            ("mon tue 08:00-18:00 1, else 1", "rule 1: a rule is written"),
            ("08:00-18:00 fast, else 1", "rule 1, \"fast\": a rate is a size"),
        ] {
            let error = Schedule::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let long = format!("08:00-18:00 {}, else 1", "x".repeat(1_000));
        assert!(Schedule::parse(&long).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for (day, hour, minute, second) in [(7, 0, 0, 0), (0, 24, 0, 0), (0, 0, 60, 0), (0, 0, 0, 61)] {
            assert_eq!(WeekTime::new(day, hour, minute, second), None);
        }
        assert_eq!(WeekTime::new(6, 23, 59, 60), WeekTime::new(6, 23, 59, 59), "a leap second");
    }

    fn rules() -> impl Strategy<Value = String> {
        let time = |most: u32| {
            (0..=most, 0..60u32).prop_map(move |(h, m)| format!("{h:02}:{:02}", if h == 24 { 0 } else { m }))
        };
        let days = prop::option::of((0..7usize, prop::option::of(0..7usize)));
        let days = days.prop_map(|days| match days {
            None => String::new(),
            Some((first, None)) => format!("{} ", DAYS[first]),
            Some((first, Some(last))) => format!("{}-{} ", DAYS[first], DAYS[last]),
        });
        let rate = prop::option::of(1..1_000_000u64);
        let rate = rate.prop_map(|rate| rate.map_or("unlimited".to_owned(), |rate| format!("{rate}")));
        let rule = (days, time(23), time(24), rate.clone())
            .prop_filter("an end", |(_, from, to, _)| from != to)
            .prop_map(|(days, from, to, rate)| format!("{days}{from}-{to} {rate}"));
        (prop::collection::vec(rule, 1..5), rate)
            .prop_map(|(rules, rate)| format!("{}, else {rate}", rules.join(", ")))
    }

    proptest! {
        /// Between two changes that are foretold the rate stays the same.
        #[test]
        fn no_change_comes_unforetold(text in rules(), seconds in 0..7 * DAY, part in 0.0..1.0f64) {
            let schedule = schedule(&text);
            let time = WeekTime { seconds };
            let until = schedule.next_change(time).unwrap();
            prop_assert!(!until.is_zero() && until <= Duration::from_secs(DAY.into()));
            let later = WeekTime { seconds: (u64::from(seconds) + until.mul_f64(part).as_secs()).try_into().unwrap() };
            prop_assert_eq!(schedule.rate_at(time), schedule.rate_at(later));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9:, /-]{0,60}|\\PC{0,30}") {
            if let Err(error) = Schedule::parse(&text) {
                prop_assert!(error.to_string().len() < 400);
            }
        }
    }
}
