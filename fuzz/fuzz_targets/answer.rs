//! Heads of answers from web servers. The first line of the input is `STATUS FIRST END SIZE LENGTH`, in which
//! `LENGTH` may be missing; each other line is a header.
#![no_main]

use std::{ops::Range, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_RANGE};
use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;

#[path = "../../crates/weighbridge-transfer/src/source/http/answer.rs"]
mod answer;
#[path = "../../crates/weighbridge-transfer/src/source/fault.rs"]
#[allow(dead_code, reason = "an answer that does not come is none")]
mod fault;
/// The place where `answer` looks for faults.
mod source {
    pub(crate) use crate::fault::Fault;
}

use answer::{Given, Head, check_range, check_size, check_whole};
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
    let length = |given: &Range<u64>| given.end - given.start;
    match check_range(head, &(start..end), size) {
        Ok(Given::Bytes(given)) => {
            assert!(given.contains(&start) && given.end <= end);
            // More than a body has is never expected of it.
            assert!(head.length.is_none_or(|has| has >= length(&given)));
            match head.status {
                StatusCode::PARTIAL_CONTENT => {}
                StatusCode::OK => assert!(given == (0..end) || says(head.headers, given.start)),
                status => panic!("{status}"),
            }
        }
        Ok(Given::Unclear) => assert!(matches!(head.status.as_u16(), 200 | 206 | 416)),
        Err(fault) => told_as_it_is(head, &fault),
    }
    match check_whole(head, size) {
        Ok(()) => assert!(head.status == StatusCode::OK && head.length.is_none_or(|length| length <= size)),
        Err(fault) => told_as_it_is(head, &fault),
    }
    match check_size(head) {
        Ok(said) => assert!(match head.status.as_u16() {
            200 => head.length == Some(said),
            status => matches!(status, 206 | 416) && head.headers.contains_key(CONTENT_RANGE),
        }),
        Err(fault) => told_as_it_is(head, &fault),
    }
}

/// Whether there is one `Content-Range`, and its first byte is this one.
fn says(headers: &HeaderMap, first: u64) -> bool {
    let said: Vec<_> =
        headers.get_all(CONTENT_RANGE).iter().filter_map(|value| value.to_str().ok()).collect();
    let [said] = said[..] else { return false };
    let number = said.trim().split_once(' ').and_then(|(_, rest)| rest.trim_start().split_once('-'));
    number.and_then(|(digits, _)| digits.parse().ok()) == Some(first)
}

fn told_as_it_is(head: &Head<'_>, fault: &Fault) {
    let status = head.status.as_u16();
    // A value that is no text is no code.
    let code = head.headers.get("weighbridge-code").filter(|code| code.to_str().is_ok());
    let has_code = status == 503 && code.is_some();
    match fault {
        Fault::Missing => assert!(matches!(status, 404 | 410)),
        Fault::Busy { retry_after, .. } => {
            assert!(matches!(status, 408 | 429 | 500..=599) && !has_code);
            assert!(retry_after.is_none_or(|time| time <= Duration::from_secs(86_400)));
        }
        Fault::HeldBack(time) => {
            assert!(status == 409 && head.headers.contains_key("weighbridge-claim"));
            assert!(!time.is_zero() && *time <= Duration::from_secs(60));
        }
        Fault::OtherFile(_) => assert!(matches!(status, 200 | 206 | 416)),
        Fault::BadChunk(_) => assert!(has_code),
        Fault::Refused(_) => assert!(has_code || !matches!(status, 404 | 410 | 429 | 503)),
        Fault::Unreachable(_) => unreachable!("it has answered"),
    }
}
