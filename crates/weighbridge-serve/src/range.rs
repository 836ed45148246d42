//! The part of a file that a request asks for (RFC 9110, sections 13 and 14).

use std::ops::Range;

use http::{HeaderMap, header};

/// The answer that the conditions and the range of a request ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole file, 200.
    Whole,
    /// These bytes, 206; at least one.
    Bytes(Range<u64>),
    /// None of the bytes that were asked for is in the file, 416.
    Beyond,
    /// The client has the file, 304.
    Known,
    /// The client wants another file than this one, 412.
    Other,
}

impl Part {
    /// Reads the headers of a `GET` for a file of `size` bytes. `tag` is its entity tag, with quotation marks.
    ///
    /// A `Range` that is malformed, has another unit, or has several ranges is passed over, as RFC 9110 allows. A range under a
    /// condition (`If-Range`) counts only where the condition names this tag: a date is no condition here, since no dates are sent.
    pub(crate) fn of(headers: &HeaderMap, size: u64, tag: &str) -> Self {
        match Self::by_tag(headers, tag) {
            Self::Whole => {}
            part => return part,
        }
        if headers.get(header::IF_RANGE).is_some_and(|condition| condition.as_bytes() != tag.as_bytes()) {
            return Self::Whole;
        }
        let mut ranges = headers.get_all(header::RANGE).iter();
        let (Some(range), None) = (ranges.next(), ranges.next()) else { return Self::Whole };
        range.to_str().ok().and_then(|text| Self::parse(text, size)).unwrap_or(Self::Whole)
    }

    /// The answer that the conditions alone ask for, as of a `HEAD`, which has no range (RFC 9110, section 14.2).
    pub(crate) fn by_tag(headers: &HeaderMap, tag: &str) -> Self {
        let named = |name| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).map(str::trim)
        };
        let is_asked = |name| headers.contains_key(name);
        if is_asked(header::IF_MATCH) && !named(header::IF_MATCH).any(|value| value == "*" || value == tag) {
            return Self::Other;
        }
        let is_known = |value: &str| value == "*" || value.strip_prefix("W/").unwrap_or(value) == tag;
        if named(header::IF_NONE_MATCH).any(is_known) { Self::Known } else { Self::Whole }
    }

    /// `None` if it is not one range of bytes.
    fn parse(text: &str, size: u64) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let (first, last) = (position(first)?, position(last)?);
        let range = match (first, last) {
            (None, None) => return None,
            // The last bytes of a file that has none are the whole file (section 14.1.2).
            (None, Some(1..)) if size == 0 => return None,
            (None, Some(count)) => size.saturating_sub(count)..size,
            (Some(first), None) => first..size,
            (Some(first), Some(last)) if first > last => return None,
            (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        };
        Some(if range.is_empty() { Self::Beyond } else { Self::Bytes(range) })
    }
}

/// A number, or nothing; `None` if it is neither. A number that is too large is larger than any file.
fn position(text: &str) -> Option<Option<u64>> {
    let text = text.trim_matches([' ', '\t']);
    match text {
        "" => Some(None),
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => None,
        _ => Some(Some(text.parse().unwrap_or(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use http::HeaderValue;

    use super::*;

    const TAG: &str = "\"ab\"";

    fn part(headers: &[(&'static str, &str)], size: u64) -> Part {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Part::of(&map, size, TAG)
    }

    #[test]
    fn one_range_of_bytes_is_what_it_says() {
        for (range, bytes) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-9", 0..10),
            ("bytes=3-", 3..10),
            ("bytes=-3", 7..10),
            ("bytes=-11", 0..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("Bytes = 2 - 4 ", 2..5),
            ("bytes=0-18446744073709551615", 0..10),
        ] {
            assert_eq!(part(&[("range", range)], 10), Part::Bytes(bytes), "{range}");
        }
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=18446744073709551615-"] {
            assert_eq!(part(&[("range", range)], 10), Part::Beyond, "{range}");
        }
        for range in ["bytes=0-", "bytes=-0", "bytes=0-0"] {
            assert_eq!(part(&[("range", range)], 0), Part::Beyond, "{range} of no bytes");
        }
        assert_eq!(part(&[("range", "bytes=-5")], 0), Part::Whole, "the last bytes of none are all");
    }

    #[test]
    fn anything_else_asks_for_the_whole_file() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=5-4",
            "bytes=0-1,4-5",
            "bytes=--1",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=1-2-3",
        ] {
            assert_eq!(part(&[("range", range)], 10), Part::Whole, "{range}");
        }
        assert_eq!(part(&[("range", "bytes=0-1"), ("range", "bytes=2-3")], 10), Part::Whole);
    }

    #[test]
    fn a_range_under_a_condition_counts_only_for_this_file() {
        assert_eq!(part(&[("range", "bytes=1-2"), ("if-range", TAG)], 10), Part::Bytes(1..3));
        for other in ["\"ac\"", "ab", "W/\"ab\"", "Sun, 29 Nov 2026 08:00:00 GMT", "*"] {
            assert_eq!(part(&[("range", "bytes=1-2"), ("if-range", other)], 10), Part::Whole, "{other}");
        }
    }

    #[test]
    fn a_client_that_has_the_file_gets_none() {
        for known in [TAG, "*", "\"x\", \"ab\"", "W/\"ab\""] {
            assert_eq!(part(&[("if-none-match", known), ("range", "bytes=1-2")], 10), Part::Known, "{known}");
        }
        assert_eq!(part(&[("if-none-match", "\"x\"")], 10), Part::Whole);
    }

    #[test]
    fn a_client_that_wants_another_file_gets_none() {
        for wanted in [TAG, "*", "\"x\", \"ab\""] {
            assert_eq!(
                part(&[("if-match", wanted), ("range", "bytes=1-2")], 10),
                Part::Bytes(1..3),
                "{wanted}"
            );
        }
        for wanted in ["\"x\"", "ab", "W/\"ab\"", ""] {
            assert_eq!(part(&[("if-match", wanted), ("if-none-match", TAG)], 10), Part::Other, "{wanted}");
        }
    }
}
