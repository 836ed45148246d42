//! Times in the form that all formats use: RFC 3339 in UTC, in whole seconds.

use core::fmt;

use weighbridge_tree::{Coded, ErrorCode};

/// A moment, in whole seconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// Covers the years 0000 to 9999 of the proleptic Gregorian calendar, the range of the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The moment `seconds` after the Unix epoch, or `None` outside the years 0000 to 9999.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Option<Self> {
        (FIRST..=LAST).contains(&seconds).then_some(Self(seconds))
    }

    /// The number of seconds since the Unix epoch.
    #[must_use]
    pub fn unix(self) -> i64 {
        self.0
    }

    /// Reads `YYYY-MM-DDThh:mm:ssZ`, and no other form.
    ///
    /// # Errors
    /// [`TimeError`] for any other form, and for a date or time that does not exist. Seconds go up to 59.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or(TimeError)
    }

    /// The number of seconds from `other` to `self`; negative if `self` is earlier.
    #[must_use]
    pub fn seconds_after(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

fn parse(text: &str) -> Option<Time> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2, b'Z'] =
        *bytes
    else {
        return None;
    };
    let year = number(&[y1, y2, y3, y4])?;
    let month = number(&[mo1, mo2])?;
    let day = number(&[d1, d2])?;
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[mi1, mi2])?, number(&[s1, s2])?);
    let real = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    real.then(|| Time::at(days_before(year, month, day), hour, minute, second))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |n, b| {
        let digit = b.is_ascii_digit().then(|| i64::from(b.saturating_sub(b'0')))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[allow(clippy::arithmetic_side_effects, reason = "all operands are dates of the years 0000 to 9999")]
impl Time {
    fn at(days: i64, hour: i64, minute: i64, second: i64) -> Self {
        Self(days * DAY + hour * 3600 + minute * 60 + second)
    }

    /// The year, month and day, and the seconds since midnight.
    fn civil(self) -> (i64, i64, i64, i64) {
        // The inverse of `days_before`, in the same calendar, whose years begin on 1 March.
        let days = self.0.div_euclid(DAY) + MARCH_EPOCH;
        let (era, day_of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day, self.0.rem_euclid(DAY))
    }
}

/// The number of days from the Unix epoch to the given date. Years begin in March, so that the leap day comes last.
#[allow(clippy::arithmetic_side_effects, reason = "all operands are dates of the years 0000 to 9999")]
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - MARCH_EPOCH
}

const DAY: i64 = 86_400;
/// The number of days in 400 Gregorian years.
const ERA: i64 = 146_097;
/// The number of days from 1 March 0000 to 1 January 1970.
const MARCH_EPOCH: i64 = 719_468;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, second) = self.civil();
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The text does not have the form `YYYY-MM-DDThh:mm:ssZ`, or the time does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeError;

impl Coded for TimeError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::TIME_MALFORMED
    }
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time is written like 2026-11-20T16:31:00Z")
    }
}

impl core::error::Error for TimeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn knows_the_calendar() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-20T16:31:00Z", 1_795_192_260),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("0000-01-01T00:00:00Z", FIRST),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(Time::parse(text).map(Time::unix), Ok(seconds), "{text}");
            assert_eq!(Time(seconds).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_does_not_exist_or_is_written_otherwise() {
        for text in [
            "",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00z",
            "2026-01-01t00:00:00Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.0Z",
            "2026-01-01T00:00:00+00:00",
            "+026-01-01T00:00:00Z",
            "2026-1-01T00:00:000Z",
        ] {
            assert_eq!(Time::parse(text), Err(TimeError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_seconds_agree(seconds in FIRST..=LAST) {
            let time = Time::from_unix(seconds).unwrap();
            prop_assert_eq!(Time::parse(&time.to_string()), Ok(time));
        }
    }
}
