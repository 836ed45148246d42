//! Heads of answers from web servers. The first line of the input is `STATUS FIRST END SIZE LENGTH`, in which
//! `LENGTH` may be missing; each other line is a header.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_RANGE};
use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;

#[path = "../../crates/weighbridge-transfer/src/http/answer.rs"]
mod answer;
#[path = "../../crates/weighbridge-transfer/src/fault.rs"]
#[allow(dead_code, reason = "an answer that does not come is none")]
mod fault;

use answer::{Head, check_range, check_whole};
use fault::Fault;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let numbers: Vec<u64> = first.split(' ').map_while(|number| number.parse().ok()).collect();
    let [status, start, end, size, ref length @ ..] = numbers[..] else { return };
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let Some(status) = status.filter(|_| start < end && end <= size) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")).take(64) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let head = Head { status, headers: &headers, length: length.first().copied() };
    bounded(text.len(), || judge(&head, start, end, size));
});

fn judge(head: &Head<'_>, start: u64, end: u64, size: u64) {
    match check_range(head, &(start..end), size) {
        Ok(given) if head.status == StatusCode::PARTIAL_CONTENT => {
            assert_eq!(given, start..end);
            assert!(head.length.is_none_or(|length| length == end - start));
            says_so(head.headers, &[start, end - 1, size]);
        }
        Ok(given) => {
            assert_eq!((head.status, given), (StatusCode::OK, 0..end));
            assert!(head.length.is_none_or(|length| length == size));
        }
        Err(fault) => told_as_it_is(head.status.as_u16(), &fault),
    }
    match check_whole(head, size) {
        Ok(()) => assert!(head.status == StatusCode::OK && head.length.is_none_or(|length| length <= size)),
        Err(fault) => told_as_it_is(head.status.as_u16(), &fault),
    }
}

/// Asserts that there is one `Content-Range`, with these numbers; the last may be a star.
fn says_so(headers: &HeaderMap, numbers: &[u64]) {
    let said: Vec<_> = headers.get_all(CONTENT_RANGE).iter().collect();
    let [said] = said[..] else { panic!("{said:?}") };
    let said = said.to_str().expect("text").to_lowercase();
    let rest = said.trim().strip_prefix("bytes ").expect("the unit");
    let words: Vec<_> = rest.trim_start().split(['-', '/']).collect();
    assert_eq!(words.len(), numbers.len(), "{said:?}");
    for (place, (word, number)) in words.iter().zip(numbers).enumerate() {
        let digits = word.trim_start_matches('0');
        let digits = if digits.is_empty() && !word.is_empty() { "0" } else { digits };
        assert!(digits == number.to_string() || (place == 2 && *word == "*"), "{said:?}");
    }
}

fn told_as_it_is(status: u16, fault: &Fault) {
    match fault {
        Fault::Missing => assert!(matches!(status, 404 | 410)),
        Fault::Busy { retry_after, .. } => {
            assert!(matches!(status, 408 | 429 | 500..=599));
            assert!(retry_after.is_none_or(|time| time <= Duration::from_secs(86_400)));
        }
        Fault::OtherFile(_) => assert!(matches!(status, 200 | 206 | 416)),
        Fault::Refused(_) => assert!(!matches!(status, 404 | 410 | 429 | 503)),
        Fault::Unreachable(_) => unreachable!("it has answered"),
    }
}
