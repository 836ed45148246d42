//! Reading requests, and the record of each.

use std::{ops::Range, time::Instant};

/// The record of one request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The target as requested, with its query.
    pub target: String,
    /// The decoded path of the file below the folder, which rules match. Redirects do not change it.
    pub path: String,
    /// The requested bytes of the file. An open end is the end of the file, if the file exists. `None` without a
    /// `Range` header.
    pub range: Option<Range<u64>>,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The number of the connection, counted from 0.
    pub connection: usize,
    /// The time at which the head was complete.
    pub at: Instant,
    /// The status of the answer; `None` if there is none yet, or never was.
    pub status: Option<u16>,
    /// The number of body bytes that the operating system took, known once the answer ended or stalled. It includes
    /// bytes that a reset then discarded.
    pub sent: u64,
    /// The time at which the answer ended or broke off.
    pub ended: Option<Instant>,
}

impl Request {
    /// The first header of this name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }
}

/// The parsed head of a request.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// Parses a head; `None` if the text is no head of HTTP/1.1.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if version != "HTTP/1.1" || !target.starts_with('/') {
            return None;
        }
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.map(header).collect::<Option<_>>()?;
        Some(Self { method: method.to_owned(), target: target.to_owned(), headers })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// The route to the file, and its path with escapes and query.
    pub(super) fn route(&self) -> (Route<'_>, &str) {
        let marked = |mark: &str| self.target.strip_prefix(mark)?.split_once('/');
        if let Some((token, rest)) = marked(SIGNED) {
            return (Route::Signed(token), rest);
        }
        match marked(HOP).and_then(|(left, rest)| Some((left.parse().ok()?, rest))) {
            Some((left, rest)) => (Route::Hop(left), rest),
            None => (Route::Plain, self.target.strip_prefix('/').unwrap_or(&self.target)),
        }
    }

    /// The requested range. Several ranges count as none, since a server may then answer with the whole file.
    pub(super) fn asked(&self) -> Option<Asked> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        match (first, last) {
            ("", last) => Some(Asked::Last(last.parse().ok()?)),
            (first, "") => Some(Asked::From(first.parse().ok()?)),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then(|| Asked::Range(first..last.saturating_add(1)))
            }
        }
    }
}

/// The value of a `Range` header.
#[derive(Clone)]
pub(super) enum Asked {
    Range(Range<u64>),
    From(u64),
    Last(u64),
}

impl Asked {
    /// The range in a file of this length. An end behind the file's end is the file's end; a range that begins there
    /// is kept.
    pub(super) fn of(&self, length: u64) -> Range<u64> {
        match *self {
            Self::Range(Range { start, end }) if start < length => start..end.min(length),
            Self::Range(ref range) => range.clone(),
            Self::From(first) => first..length.max(first),
            Self::Last(bytes) => length.saturating_sub(bytes)..length,
        }
    }
}

/// The route on which a file is requested.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'h> {
    Plain,
    /// By a signed URL with this token.
    Signed(&'h str),
    /// By a chain of redirects, of which this number is left.
    Hop(u32),
}

pub(super) const SIGNED: &str = "/signed/";
pub(super) const HOP: &str = "/hop/";

/// The path of a request target, without the query and with its escapes decoded; `None` if an escape is malformed.
pub(super) fn decoded(target: &str) -> Option<String> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let mut decoded = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}

fn first<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
}
