//! Judges the head of an answer, before the body comes, against the request and the signed length (rule 1).

use std::{ops::Range, time::Duration};

use ::http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING},
};
use weighbridge_manifest::Time;

use crate::source::Fault;

/// The head of an answer, without its body.
pub(crate) struct Head<'r> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'r HeaderMap,
    /// The declared length of the body, if there is one.
    pub(crate) length: Option<u64>,
}

/// The part of the file that an answer to a range request gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The body begins with these bytes of the file. They include the first requested byte; they may begin before it,
    /// and end before the last.
    Bytes(Range<u64>),
    /// The answer does not say which bytes it gives, or gives others. The server can be asked for the whole file
    /// instead.
    Unclear,
}

/// Checks that the body can be the whole of a file of at most `limit` bytes.
///
/// # Errors
/// [`Fault`].
pub(crate) fn check_whole(head: &Head<'_>, limit: u64) -> Result<(), Fault> {
    if head.status != StatusCode::OK {
        return Err(fault(head));
    }
    check_encoding(head, None)?;
    match head.length {
        Some(length) if length > limit => {
            Err(Fault::OtherFile(format!("has {length} bytes, and may have at most {limit}")))
        }
        _ => Ok(()),
    }
}

/// Finds out which bytes of a file of `size` bytes the body begins with, where `range` was asked for.
///
/// Servers answer in odd forms, and an odd form is not a lie, since the bytes are judged. The only lie in a head is
/// another length of the file.
///
/// # Errors
/// [`Fault`].
pub(crate) fn check_range(head: &Head<'_>, range: &Range<u64>, size: u64) -> Result<Given, Fault> {
    match head.status {
        StatusCode::PARTIAL_CONTENT => check_partial(head, range, size),
        StatusCode::OK => check_all(head, range, size),
        StatusCode::RANGE_NOT_SATISFIABLE => match content_range(head.headers) {
            Ok(Some(ContentRange { total: Some(total), .. })) if total != size => {
                Err(other_size(total, size))
            }
            _ => Ok(Given::Unclear),
        },
        _ => Err(fault(head)),
    }
}

/// The length of the whole file, by the answer to a request for its first byte.
///
/// # Errors
/// [`Fault`], also if the answer does not say how long the file is.
pub(crate) fn check_size(head: &Head<'_>) -> Result<u64, Fault> {
    let said = match head.status {
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            content_range(head.headers).ok().flatten().and_then(|range| range.total)
        }
        StatusCode::OK => head.length,
        _ => return Err(fault(head)),
    };
    check_encoding(head, None)?;
    said.ok_or_else(|| Fault::Refused("does not say how long the file is".to_owned()))
}

fn check_partial(head: &Head<'_>, range: &Range<u64>, size: u64) -> Result<Given, Fault> {
    if first(head.headers, &CONTENT_TYPE).is_some_and(is_multipart) {
        return Ok(Given::Unclear);
    }
    let asked = len(range);
    let Ok(Some(ContentRange { range: Some(said), total })) = content_range(head.headers) else {
        check_encoding(head, Some(size))?;
        // The judging of the bytes will show whether that is so.
        return Ok(match head.length {
            Some(length) if length == asked => Given::Bytes(range.clone()),
            Some(length) if length == size => Given::Bytes(0..range.end),
            _ => Given::Unclear,
        });
    };
    // Ranges refer to the bytes that are sent: if those have the signed length, they are not compressed.
    check_encoding(head, (total == Some(size)).then(|| len(&said)))?;
    if let Some(total) = total.filter(|total| *total != size) {
        return Err(other_size(total, size));
    }
    // A body that is shorter than the range ends early. The excess of a longer one is not read.
    let end = head.length.map_or(said.end, |length| said.end.min(said.start.saturating_add(length)));
    Ok(if said.start <= range.start && range.start < end {
        Given::Bytes(said.start..end.min(range.end))
    } else {
        Given::Unclear
    })
}

fn check_all(head: &Head<'_>, range: &Range<u64>, size: u64) -> Result<Given, Fault> {
    let is_all = head.length == Some(size);
    if let Ok(Some(ContentRange { range: Some(said), .. })) = content_range(head.headers) {
        // With this status the field has no meaning (RFC 9110, 14.4), but some servers give the range that it names.
        match head.length {
            Some(length) if length == len(&said) => return check_partial(head, range, size),
            _ if is_all => {}
            Some(length) => {
                check_encoding(head, None)?;
                return Err(other_size(length, size));
            }
            None => return Ok(Given::Unclear),
        }
    }
    check_encoding(head, Some(size))?;
    match head.length {
        Some(length) if !is_all => Err(other_size(length, size)),
        _ => Ok(Given::Bytes(0..range.end)),
    }
}

/// Checks that the body is not compressed. The request asks for no compression, so a body compressed on the way is no
/// lie about the file, but is of no use. A body as long as the uncompressed bytes that are `due` is not compressed,
/// whatever its label.
fn check_encoding(head: &Head<'_>, due: Option<u64>) -> Result<(), Fault> {
    let has = |name, codings: &[&str]| {
        let values = head.headers.get_all(name).iter();
        values.flat_map(|value| value.as_bytes().split(|b| *b == b',')).any(|coding| {
            codings.iter().any(|known| coding.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
        })
    };
    let is_due = due.is_some() && head.length == due;
    if (has(CONTENT_ENCODING, &COMPRESSIONS) && !is_due) || has(TRANSFER_ENCODING, &COMPRESSIONS) {
        return Err(Fault::Refused("answers compressed, unasked".to_owned()));
    }
    Ok(())
}

/// The registered codings that change bytes. Other labels, such as `utf-8` or `aws-chunked`, are mistakes of the
/// uploader.
const COMPRESSIONS: [&str; 12] = [
    "aes128gcm",
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "exi",
    "gzip",
    "pack200-gzip",
    "x-compress",
    "x-gzip",
    "zstd",
];

/// The number of the reason why a server of weighbridge does not send a file (`spec/serving.md`, S7).
const CODE: HeaderName = HeaderName::from_static("weighbridge-code");
/// The claim of a member of a swarm, in requests; in an answer the milliseconds for which the claim of another one holds
/// (`spec/swarm.md`, W21).
pub(crate) const CLAIM: HeaderName = HeaderName::from_static("weighbridge-claim");
/// The longest time for which a server holds bytes back.
const LONGEST_CLAIM: u64 = 60_000;
/// A chunk is not the signed one.
const BAD_CHUNK: &str = "2102";

/// The fault of an answer that does not give the file.
fn fault(head: &Head<'_>) -> Fault {
    let status = head.status;
    // The phrase of the standard, not that of the server.
    let words = status.canonical_reason().map(|words| format!(" {words}")).unwrap_or_default();
    let what = format!("answers {}{words}", status.as_u16());
    match status.as_u16() {
        404 | 410 => Fault::Missing,
        // `weighbridge serve` judges what it sends: it has a bad chunk, or a bad file, and is not busy.
        503 if let Some(code) = first(head.headers, &CODE) => match code.trim() {
            BAD_CHUNK => Fault::BadChunk("says that its own copy of this chunk is bad".to_owned()),
            _ => Fault::Refused("says that it cannot read its own copy of this file".to_owned()),
        },
        409 if let Some(time) = first(head.headers, &CLAIM).and_then(held_back) => Fault::HeldBack(time),
        429 | 503 => Fault::Busy { retry_after: retry_after(head.headers), what },
        // The condition may pass.
        408 | 500..=599 => Fault::Busy { retry_after: None, what },
        _ => Fault::Refused(what),
    }
}

/// The time for which the claim of another member holds.
fn held_back(text: &str) -> Option<Duration> {
    number(text).filter(|time| (1..=LONGEST_CLAIM).contains(time)).map(Duration::from_millis)
}

fn other_size(said: u64, size: u64) -> Fault {
    Fault::OtherFile(format!("has {said} bytes, signed are {size}"))
}

fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn is_multipart(content_type: &str) -> bool {
    content_type.split_once('/').is_some_and(|(kind, _)| kind.trim().eq_ignore_ascii_case("multipart"))
}

/// A parsed field: `bytes 0-9/100`, `bytes 0-9/*`, `bytes */100`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ContentRange {
    range: Option<Range<u64>>,
    total: Option<u64>,
}

/// The value of `Content-Range`, if there is one. Two such fields are an error.
fn content_range(headers: &HeaderMap) -> Result<Option<ContentRange>, ()> {
    let mut values = headers.get_all(CONTENT_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(parse_content_range).map(Some).ok_or(()),
        _ => Err(()),
    }
}

fn parse_content_range(text: &str) -> Option<ContentRange> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, total) = rest.trim_start().split_once('/')?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let range = match range.split_once('-') {
        None if range == "*" => None,
        None => return None,
        Some((first, last)) => Some(number(first)?..number(last)?.checked_add(1)?),
    };
    let sound = match (&range, total) {
        (Some(range), total) => !range.is_empty() && total.is_none_or(|total| range.end <= total),
        (None, total) => total.is_some(),
    };
    (unit.eq_ignore_ascii_case("bytes") && sound).then_some(ContentRange { range, total })
}

/// Parses digits alone: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The time for which a server asks to be left alone, from now on.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    first(headers, &RETRY_AFTER).and_then(wait).or_else(|| reset(headers))
}

/// The wait that `Retry-After` asks for, from now on.
fn wait(text: &str) -> Option<Duration> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    wait_at(text, i64::try_from(now.as_secs()).ok()?)
}

/// The time until a used up `RateLimit` resets, from now on: 55 seconds for `"api";r=0;t=55`, the longest of several.
///
/// The field is that of draft-ietf-httpapi-ratelimit-headers, which hubs send in place of `Retry-After`.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let texts = headers.get_all(RATE_LIMIT).iter().filter_map(|value| value.to_str().ok());
    let limits = texts.flat_map(|text| text.split(',')).filter_map(|limit| {
        let parameter = |name: &str| {
            let mut parameters = limit.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
            parameters.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
        };
        (parameter("r")? == "0").then(|| parameter("t"))?.filter(|seconds| !seconds.is_empty()).and_then(
            |seconds| {
                let seconds = seconds.bytes().all(|b| b.is_ascii_digit()).then_some(seconds)?;
                Some(Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)).min(MAX_WAIT))
            },
        )
    });
    limits.max()
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Parses seconds, or a date in the form that servers have to send; an unreadable value is ignored. The result is at
/// most [`MAX_WAIT`], so that a source cannot exclude itself for a year.
fn wait_at(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number can have mean more than a day, too.
        true => text.parse().unwrap_or(u64::MAX),
        false => u64::try_from(parse_date(text)?.unix().saturating_sub(now)).unwrap_or(0),
    };
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`. The day of the week is redundant, and ignored.
fn parse_date(text: &str) -> Option<Time> {
    let (_, rest) = text.split_once(", ")?;
    let rest = rest.strip_suffix(" GMT")?;
    let mut fields = rest.split(' ');
    let (day, month, year, clock) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let month = MONTHS.iter().position(|name| *name == month)?.saturating_add(1);
    // `Time` parses no other form, so that each field must have its exact width.
    let time = Time::parse(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()?;
    fields.next().is_none().then_some(time)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
