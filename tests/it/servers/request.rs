//! Requests: how they are read, and what is recorded of them.

use std::{ops::Range, time::Instant};

/// What is known of one request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it was asked for, query and all.
    pub(crate) target: String,
    /// The path of the file below the folder, decoded: what rules look at. The same before a redirect and after it.
    pub(crate) path: String,
    /// The bytes of the file that were asked for: an end that was left open is the file's, if there is such a file.
    /// `None` without a `Range`.
    pub(crate) range: Option<Range<u64>>,
    /// Names are in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    /// When its head was there.
    pub(crate) at: Instant,
    /// What it was answered; `None` if nothing, or not yet.
    pub(crate) status: Option<u16>,
    /// How many bytes of the body were given to the operating system, known once it ended or stalled. What a reset then
    /// threw away counts as well.
    pub(crate) sent: u64,
    /// When the answer ended, or broke off.
    pub(crate) ended: Option<Instant>,
}

impl Request {
    /// The first header of this name, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }
}

/// The head of a request, read.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// `None` for what is no head of HTTP/1.1.
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

    /// What is asked for: how it is reached, and the path with its escapes and the query.
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

    /// The one range that is asked for. Several are as good as none: a server may answer with everything.
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

/// The value of a `Range`.
#[derive(Clone)]
pub(super) enum Asked {
    Range(Range<u64>),
    From(u64),
    Last(u64),
}

impl Asked {
    /// In a file of this length. An end behind it is its end; a range that begins there is left as it is.
    pub(super) fn of(&self, length: u64) -> Range<u64> {
        match *self {
            Self::Range(Range { start, end }) if start < length => start..end.min(length),
            Self::Range(ref range) => range.clone(),
            Self::From(first) => first..length.max(first),
            Self::Last(bytes) => length.saturating_sub(bytes)..length,
        }
    }
}

/// How a file is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'h> {
    Plain,
    /// By a signed URL, with this token.
    Signed(&'h str),
    /// By a chain of redirects, of which so many are left.
    Hop(u32),
}

pub(super) const SIGNED: &str = "/signed/";
pub(super) const HOP: &str = "/hop/";

/// The path in what was asked for: without the query, the escapes undone.
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
