use ::http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn range_of(text: &str) -> Option<(Option<Range<u64>>, Option<u64>)> {
    parse_content_range(text).map(|ContentRange { range, total }| (range, total))
}

#[test]
fn reads_every_form_of_content_range() {
    assert_eq!(range_of("bytes 0-9/100"), Some((Some(0..10), Some(100))));
    assert_eq!(range_of("Bytes 5-5/*"), Some((Some(5..6), None)));
    assert_eq!(range_of("bytes */100"), Some((None, Some(100))));
    assert_eq!(range_of(" bytes  0-9/10 "), Some((Some(0..10), Some(10))));
}

#[test]
fn refuses_what_is_no_content_range() {
    let most = u64::MAX;
    for text in [
        "",
        "bytes",
        "bytes ",
        "bytes 0-9",
        "0-9/10",
        "items 0-9/10",
        "bytes 9-0/10",
        "bytes 0-10/10",
        "bytes */*",
        "bytes -/10",
        "bytes 0-/10",
        "bytes -9/10",
        "bytes +0-9/10",
        "bytes 0-9/+10",
        "bytes 0-9/",
        "bytes 0--9/10",
        "bytes 0-9/10/11",
        "bytes 0 - 9/10",
        "bytes 0x0-0x9/10",
        "bytes=0-9/10",
        "bytes 0-9/99999999999999999999",
        &format!("bytes 0-{most}/*"),
    ] {
        assert_eq!(range_of(text), None, "{text}");
    }
}

#[test]
fn waits_for_seconds_and_until_dates_and_at_most_a_day() {
    let wait = |text| wait_at(text, 784_111_777).map(|time| time.as_secs());
    assert_eq!(wait("0"), Some(0));
    assert_eq!(wait(" 120 "), Some(120));
    assert_eq!(wait("86401"), Some(86_400));
    assert_eq!(wait("99999999999999999999999"), Some(86_400));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
    assert_eq!(wait("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
    assert_eq!(wait("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
    assert_eq!(wait("Wed, 06 Nov 2999 08:49:37 GMT"), Some(86_400));
    for text in [
        "",
        "soon",
        "-1",
        "1.5",
        "1 minute",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
    ] {
        assert_eq!(wait(text), None, "{text}");
    }
}

/// A server that judges what it sends is not busy when it has a bad chunk.
#[test]
fn a_server_that_names_its_reason_is_not_waited_for() {
    let fault_of = |status: u16, code: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.extend(code.map(|code| (CODE, HeaderValue::from_static(code))));
        let status = StatusCode::from_u16(status).unwrap();
        check_range(&Head { status, headers: &headers, length: None }, &(0..1), 10).unwrap_err()
    };
    assert!(matches!(fault_of(503, Some("2102")), Fault::BadChunk(_)));
    for code in ["2104", "9002", "", "2102, 2102", "x"] {
        assert!(matches!(fault_of(503, Some(code)), Fault::Refused(_)), "{code}");
    }
    assert!(matches!(fault_of(503, None), Fault::Busy { .. }));
    assert!(matches!(fault_of(500, Some("2102")), Fault::Busy { .. }));
    assert_eq!(fault_of(404, Some("2102")), Fault::Missing);
}

#[test]
fn a_used_up_rate_limit_is_waited_for() {
    let of = |lines: &[(&'static str, &str)]| {
        let headers = headers(lines);
        let head = Head { status: StatusCode::TOO_MANY_REQUESTS, headers: &headers, length: None };
        let Fault::Busy { retry_after, .. } = fault(&head) else { panic!("it is busy") };
        retry_after.map(|time| time.as_secs())
    };
    assert_eq!(of(&[("ratelimit", "\"api\";r=0;t=55")]), Some(55));
    assert_eq!(of(&[("ratelimit", " \"api\" ; r=0 ; t=55 ")]), Some(55));
    assert_eq!(of(&[("ratelimit", "\"pages\";r=3;t=900, \"resolvers\";t=7;r=0, \"api\";r=0;t=5")]), Some(7));
    assert_eq!(of(&[("ratelimit", "\"a\";r=0;t=5"), ("ratelimit", "\"b\";r=0;t=6")]), Some(6));
    assert_eq!(of(&[("ratelimit", "\"api\";r=0;t=99999999999999999999")]), Some(86_400));
    // The older field takes precedence.
    assert_eq!(of(&[("ratelimit", "\"api\";r=0;t=55"), ("retry-after", "3")]), Some(3));
    for nothing in [
        "",
        "api",
        "\"api\";r=0",
        "\"api\";t=5",
        "\"api\";r=1;t=5",
        "\"api\";r=0;t=",
        "\"api\";r=0;t=-5",
        "r=0;t=5",
    ] {
        assert_eq!(of(&[("ratelimit", nothing)]), None, "{nothing}");
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The result for a status, where bytes 2 to 5 of a file of 10 were asked for.
fn given(status: u16, lines: &[(&'static str, &str)], length: Option<u64>) -> Result<Given, Fault> {
    let head = Head { status: StatusCode::from_u16(status).unwrap(), headers: &headers(lines), length };
    check_range(&head, &(2..6), 10)
}

fn said(range: &str) -> [(&'static str, &str); 1] {
    [("content-range", range)]
}

#[expect(clippy::unnecessary_wraps, reason = "as `given` returns it")]
fn bytes(range: Range<u64>) -> Result<Given, Fault> {
    Ok(Given::Bytes(range))
}

const UNCLEAR: Result<Given, Fault> = Ok(Given::Unclear);

#[test]
fn takes_what_a_part_has_of_the_range() {
    for length in [Some(4), None] {
        assert_eq!(given(206, &said("bytes 2-5/10"), length), bytes(2..6));
        assert_eq!(given(206, &said("bytes 2-5/*"), length), bytes(2..6));
    }
    // Less than was asked for, and more: before, behind, both.
    assert_eq!(given(206, &said("bytes 2-4/10"), Some(3)), bytes(2..5));
    assert_eq!(given(206, &said("bytes 2-9/10"), Some(8)), bytes(2..6));
    assert_eq!(given(206, &said("bytes 1-5/10"), Some(5)), bytes(1..6));
    assert_eq!(given(206, &said("bytes 0-9/10"), None), bytes(0..6));
    assert_eq!(given(206, &said("bytes 0-2/10"), None), bytes(0..3));
    // A body that is not as long as its declared range.
    assert_eq!(given(206, &said("bytes 2-5/10"), Some(3)), bytes(2..5));
    assert_eq!(given(206, &said("bytes 2-5/10"), Some(5)), bytes(2..6));
    // Nothing says which part the body is, and its length fits one part, or all.
    let twice = [said("bytes 2-5/10"), said("bytes 2-5/10")].concat();
    for odd in [&[][..], &said("nonsense"), &said("bytes */10"), &twice] {
        assert_eq!(given(206, odd, Some(4)), bytes(2..6));
        assert_eq!(given(206, odd, Some(10)), bytes(0..6));
        assert_eq!(given(206, odd, Some(5)), UNCLEAR);
        assert_eq!(given(206, odd, None), UNCLEAR);
    }
}

#[test]
fn takes_a_whole_file_for_a_range_and_what_it_calls_a_part() {
    assert_eq!(given(200, &[], Some(10)), bytes(0..6));
    assert_eq!(given(200, &[], None), bytes(0..6));
    // With this status the field has no meaning, unless the body is as long as the field says.
    assert_eq!(given(200, &said("bytes 2-5/10"), Some(10)), bytes(0..6));
    assert_eq!(given(200, &said("bytes 0-9/10"), Some(10)), bytes(0..6));
    assert_eq!(given(200, &said("bytes 2-5/10"), Some(4)), bytes(2..6));
    assert_eq!(given(200, &said("bytes 2-5/10"), None), UNCLEAR);
    assert_eq!(given(200, &said("nonsense"), Some(10)), bytes(0..6));
}

#[test]
fn asks_for_the_whole_where_a_part_is_of_no_use() {
    for odd in ["bytes 3-6/10", "bytes 6-9/10", "bytes 0-1/10"] {
        assert_eq!(given(206, &said(odd), None), UNCLEAR, "{odd}");
    }
    assert_eq!(given(206, &said("bytes 0-5/10"), Some(2)), UNCLEAR);
    let parts = [("content-type", "Multipart/byteranges; boundary=x"), ("content-range", "bytes 2-5/10")];
    assert_eq!(given(206, &parts, None), UNCLEAR);
    for odd in [&[][..], &said("bytes */10"), &said("nonsense")] {
        assert_eq!(given(416, odd, Some(0)), UNCLEAR);
    }
}

#[test]
fn only_another_length_of_the_file_is_a_lie() {
    let other = |length: u64| Err(Fault::OtherFile(format!("has {length} bytes, signed are 10")));
    assert_eq!(given(206, &said("bytes 2-5/11"), Some(4)), other(11));
    assert_eq!(given(206, &said("bytes 0-3/4"), Some(4)), other(4));
    assert_eq!(given(416, &said("bytes */4"), None), other(4));
    assert_eq!(given(200, &[], Some(11)), other(11));
    assert_eq!(given(200, &said("bytes 2-5/10"), Some(5)), other(5));
    assert_eq!(given(200, &said("bytes 2-5/11"), Some(4)), other(11));
    // Regression: all of the signed length was asked for, and came as a part of a longer file.
    assert_eq!(given(200, &said("bytes 0-9/11"), Some(10)), other(11));
}

#[test]
fn refuses_what_is_compressed_and_judges_what_is_only_labelled() {
    let refused = Err(Fault::Refused("answers compressed, unasked".to_owned()));
    for (name, value) in
        [("content-encoding", "gzip"), ("content-encoding", "identity, br"), ("content-encoding", "ZSTD")]
    {
        let lines = [(name, value), ("content-range", "bytes 2-5/10")];
        // The sent bytes have the signed length, so they are not compressed.
        assert_eq!(given(206, &lines, Some(4)), bytes(2..6), "{value}");
        assert_eq!(given(200, &[(name, value)], Some(10)), bytes(0..6), "{value}");
        for length in [Some(3), None] {
            assert_eq!(given(206, &lines, length), refused, "{value}");
            assert_eq!(given(200, &[(name, value)], length), refused, "{value}");
        }
        // Regression: a file that was uploaded compressed has another length, or none is declared. That is not a lie.
        for (range, length) in [
            ("bytes 2-5/7", Some(4)),
            ("bytes 2-5/*", Some(4)),
            ("bytes 2-5/*", None),
            ("bytes 2-5/7", Some(5)),
        ] {
            let lines = [(name, value), ("content-range", range)];
            assert_eq!(given(206, &lines, length), refused, "{value} {range}");
            assert_eq!(
                given(200, &lines, length),
                if length.is_some() { refused.clone() } else { UNCLEAR },
                "{value} {range}"
            );
        }
        assert_eq!(given(206, &[(name, value)], Some(4)), refused, "{value}");
        assert_eq!(given(206, &[(name, value)], Some(10)), bytes(0..6), "{value}");
    }
    let wrapped = [("transfer-encoding", "gzip, chunked"), ("content-range", "bytes 2-5/10")];
    assert_eq!(given(206, &wrapped, Some(4)), refused);
    for label in ["Identity", "aws-chunked", "utf-8", "binary", ""] {
        let plain = [
            ("content-encoding", label),
            ("transfer-encoding", "chunked"),
            ("content-range", "bytes 2-5/10"),
        ];
        assert_eq!(given(206, &plain, None), bytes(2..6), "{label}");
        assert_eq!(given(200, &[("content-encoding", label)], None), bytes(0..6), "{label}");
    }
}

#[test]
fn tells_refusals_from_what_may_pass() {
    let of = |status: u16| {
        let headers = headers(&[("retry-after", "7")]);
        fault(&Head { status: StatusCode::from_u16(status).unwrap(), headers: &headers, length: None })
    };
    let busy = |secs: Option<u64>, what: &str| Fault::Busy {
        retry_after: secs.map(Duration::from_secs),
        what: what.to_owned(),
    };
    assert_eq!(of(404), Fault::Missing);
    assert_eq!(of(410), Fault::Missing);
    assert_eq!(of(401), Fault::Refused("answers 401 Unauthorized".to_owned()));
    assert_eq!(of(403), Fault::Refused("answers 403 Forbidden".to_owned()));
    assert_eq!(of(204), Fault::Refused("answers 204 No Content".to_owned()));
    assert_eq!(of(799), Fault::Refused("answers 799".to_owned()));
    assert_eq!(of(429), busy(Some(7), "answers 429 Too Many Requests"));
    assert_eq!(of(503), busy(Some(7), "answers 503 Service Unavailable"));
    assert_eq!(of(408), busy(None, "answers 408 Request Timeout"));
    assert_eq!(of(502), busy(None, "answers 502 Bad Gateway"));
}

proptest! {
    /// For any head, the given bytes include the first requested byte, and none behind the last.
    #[test]
    fn what_is_given_begins_with_the_first_byte_asked_for(
        status in prop_oneof![Just(200_u16), Just(206), Just(416)],
        first in 0..20_u64, len in 1..20_u64, total in 1..24_u64, length in proptest::option::of(0..24_u64),
        start in 0..10_u64, asked in 1..11_u64,
    ) {
        let headers = headers(&said(&format!("bytes {first}-{}/{total}", first + len - 1)));
        let range = start..(start + asked).min(10);
        let head = Head { status: StatusCode::from_u16(status).unwrap(), headers: &headers, length };
        if let Ok(Given::Bytes(given)) = check_range(&head, &range, 10) {
            prop_assert!(given.contains(&range.start) && given.end <= range.end);
        }
    }

    #[test]
    fn content_range_is_read_as_it_is_written(first in 0..u64::MAX, len in 1..1_000u64, more in 0..1_000u64) {
        let end = first.saturating_add(len);
        let total = end.saturating_add(more);
        let text = format!("bytes {first}-{}/{total}", end - 1);
        prop_assert_eq!(range_of(&text), Some((Some(first..end), Some(total))));
    }

    #[test]
    fn any_content_range_is_refused_or_is_a_range(text in "(bytes )?[-0-9*/ ]{0,24}|\\PC{0,40}") {
        if let Some((range, total)) = range_of(&text) {
            prop_assert!(range.is_some() || total.is_some());
            if let Some(range) = range {
                prop_assert!(range.start < range.end && total.is_none_or(|total| range.end <= total));
            }
        }
    }

    #[test]
    fn no_retry_after_is_longer_than_a_day(text in WAITS, now in any::<i64>()) {
        prop_assert!(wait_at(&text, now).is_none_or(|time| time <= MAX_WAIT));
    }
}

/// Numbers, dates of all kinds, and arbitrary text.
const WAITS: &str = "[0-9]{0,30}|[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9:]{8} GMT|\\PC{0,40}";
