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

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// What 206 comes to, of bytes 2 to 5 of a file of 10.
fn partial(lines: &[(&'static str, &str)], length: Option<u64>) -> Result<Range<u64>, Fault> {
    let head = Head { status: StatusCode::PARTIAL_CONTENT, headers: &headers(lines), length };
    check_range(&head, &(2..6), 10)
}

#[test]
fn takes_a_range_only_if_everything_said_about_it_agrees() {
    assert_eq!(partial(&[("content-range", "bytes 2-5/10")], Some(4)), Ok(2..6));
    assert_eq!(partial(&[("content-range", "bytes 2-5/*")], None), Ok(2..6));
    let other = |what: &str| Err(Fault::OtherFile(what.to_owned()));
    let unread = other("does not say readably which bytes it gives");
    assert_eq!(partial(&[], Some(4)), unread);
    assert_eq!(partial(&[("content-range", "nonsense")], Some(4)), unread);
    assert_eq!(partial(&[("content-range", "bytes */10")], Some(4)), unread);
    let twice = [("content-range", "bytes 2-5/10"), ("content-range", "bytes 2-5/10")];
    assert_eq!(partial(&twice, Some(4)), unread);
    let moved = other("gives bytes 3-6, asked for 2-5");
    assert_eq!(partial(&[("content-range", "bytes 3-6/10")], Some(4)), moved);
    let shorter = other("gives bytes 2-4, asked for 2-5");
    assert_eq!(partial(&[("content-range", "bytes 2-4/10")], Some(3)), shorter);
    assert_eq!(partial(&[("content-range", "bytes 2-5/11")], Some(4)), other("has 11 bytes, signed are 10"));
    let declared = other("declares a body of 5 bytes for a range of 4");
    assert_eq!(partial(&[("content-range", "bytes 2-5/10")], Some(5)), declared);
}

#[test]
fn refuses_parts_and_codings_that_nobody_asked_for() {
    let refused = |what: &str| Err(Fault::Refused(what.to_owned()));
    let parts = [("content-type", "Multipart/byteranges; boundary=x"), ("content-range", "bytes 2-5/10")];
    assert_eq!(partial(&parts, None), refused("answers several parts, where one range was asked for"));
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-encoding", "identity, br"),
        ("transfer-encoding", "gzip, chunked"),
    ] {
        let lines = [(name, value), ("content-range", "bytes 2-5/10")];
        assert_eq!(partial(&lines, Some(4)), refused("answers compressed, unasked"), "{value}");
    }
    let plain = [
        ("content-encoding", "Identity"),
        ("transfer-encoding", "chunked"),
        ("content-range", "bytes 2-5/10"),
    ];
    assert_eq!(partial(&plain, Some(4)), Ok(2..6));
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

/// Numbers, dates of all kinds, and anything.
const WAITS: &str = "[0-9]{0,30}|[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9:]{8} GMT|\\PC{0,40}";
