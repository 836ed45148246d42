//! The faults of answers, and the rules that decide which answers have them.

use std::{ops::Range, path::PathBuf, time::Duration};

/// A fault of an answer. Several faults may hold for one answer, each applied to the result of those before it. A
/// fault that is another answer stands alone: faults of the file's bytes then wait for an answer that has the file's
/// bytes.
#[derive(Clone, Debug)]
pub enum Fault {
    // Other answers.
    /// This status, these headers, and a short body. See [`status`](Self::status), [`busy`](Self::busy).
    Status(u16, Vec<(String, String)>),
    /// A redirect to this URL, in which `{path}` stands for the path of the file.
    Redirect(String),
    /// This number of redirects, one after another, and then the file.
    RedirectChain(u32),
    /// A redirect to the URL that was requested.
    RedirectLoop,
    /// A redirect to a signed URL, a new one each time. The URL answers this number of requests, and 403 from then
    /// on.
    Signed(u64),
    /// The request is read, and not answered.
    Unanswered(End),
    /// These bytes, whether or not they are HTTP, and then the connection closes.
    Raw(Vec<u8>),

    // Another file.
    /// The file of the same path in another folder.
    Folder(PathBuf),
    /// A file with these bytes.
    Content(Vec<u8>),
    /// The file appears to have this number of bytes: it is cut, or followed by zeros.
    Resized(u64),

    // Other bytes of the file, within the rule's range.
    /// One bit of the first byte is flipped.
    Flip,
    /// Zeros.
    Zeros,
    /// Bytes that look random, and are the same each time.
    Garbage,
    /// The bytes at the same places of the file at this path, with zeros behind its end.
    OtherFile(PathBuf),
    /// Neighbouring chunks of this size are exchanged in pairs. A last chunk without a partner, or with a shorter
    /// one, stays.
    Swapped(u64),

    // Heads that do not describe the body.
    /// The whole file, as if no range had been requested.
    Whole,
    /// 416 in place of a range. Without a requested range the file is given.
    Unsatisfiable,
    /// At most this number of bytes of a requested range, from its beginning. `Content-Range` says so.
    Shorter(u64),
    /// This number of bytes more than the requested range at each end, if the file has them. `Content-Range` says so.
    Wider(u64),
    /// The status is this one; headers and body stay.
    OtherStatus(u16),
    /// `Content-Length` is too large by this number of bytes, or too small if negative. If too large, the connection
    /// closes behind the body.
    ContentLength(i64),
    /// `Content-Range` has this total length.
    OtherTotal(u64),
    /// `Content-Range` has this first and last byte.
    OtherRange(u64, u64),
    /// This header has another value, or is missing if `None`.
    Header(&'static str, Option<String>),
    /// The body is compressed, and the head says so.
    Gzip,

    // Bodies that differ from the head.
    /// The body is longer by this number of bytes, and `Content-Length` includes them.
    Longer(u64),
    /// This number of bytes follows behind the end by `Content-Length`.
    Surplus(u64),
    /// The body never ends, and has no length.
    Endless,
    /// The body has no length: the end of the connection ends the body.
    Unframed,
    /// The body is in HTTP's chunked encoding, and has no length.
    Chunked,

    // Events on the way, from the start of the rule's range on.
    /// The body ends at that byte.
    Break(End),
    /// Nothing is sent for this time, and then the body goes on.
    Pause(Duration),
    /// The body is sent at this number of bytes a second.
    Slow(u64),
    /// This number of bytes is sent, then nothing for this time, and so on.
    Dribble(usize, Duration),
}

/// The end of an answer or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection stays open, and nothing is sent until the other side goes away.
    Stall,
    /// The connection is closed (FIN).
    Close,
    /// The connection is reset (RST). Bytes on their way may be lost.
    Reset,
}

impl Fault {
    /// An answer with this status, without headers.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }

    /// 429 or 503, with a `Retry-After` header.
    pub fn busy(status: u16, retry_after: &str) -> Self {
        Self::Status(status, vec![("Retry-After".to_owned(), retry_after.to_owned())])
    }

    /// Whether the answer has none of the file's bytes.
    pub(super) fn is_another_answer(&self) -> bool {
        use Fault as F;
        matches!(
            self,
            F::Status(..)
                | F::Redirect(_)
                | F::RedirectChain(_)
                | F::RedirectLoop
                | F::Signed(_)
                | F::Unanswered(_)
                | F::Raw(_)
        )
    }

    /// The range of a file of this length that is given in place of the requested one.
    pub(super) fn given(&self, range: Range<u64>, length: u64) -> Range<u64> {
        match self {
            Self::Shorter(most) => range.start..range.end.min(range.start + most),
            Self::Wider(more) => range.start.saturating_sub(*more)..length.min(range.end + more),
            _ => range,
        }
    }

    /// Whether the fault redirects to another URL of the same file.
    pub(super) fn leads_here(&self) -> bool {
        matches!(self, Self::RedirectChain(_) | Self::Signed(_))
    }

    /// Limits the fault to files whose path matches; `*` stands for any characters.
    pub fn on(self, pattern: &str) -> Rule {
        Rule::from(self).on(pattern)
    }

    /// Limits the fault to this byte of a file.
    pub fn at(self, byte: u64) -> Rule {
        Rule::from(self).at(byte)
    }

    /// Limits the fault to these bytes of a file.
    pub fn within(self, bytes: Range<u64>) -> Rule {
        Rule::from(self).within(bytes)
    }

    /// Limits the fault to this number of answers.
    pub fn times(self, count: u64) -> Rule {
        Rule::from(self).times(count)
    }

    /// Exempts this number of answers at first.
    pub fn after(self, count: u64) -> Rule {
        Rule::from(self).after(count)
    }
}

/// A fault, and the answers that have it: by default all.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) fault: Fault,
    pub(super) pattern: String,
    pub(super) within: Option<Range<u64>>,
    pub(super) after: u64,
    pub(super) times: u64,
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, pattern: "*".to_owned(), within: None, after: 0, times: u64::MAX }
    }
}

impl Rule {
    /// Limits the rule to files whose path matches; `*` stands for any characters, `/` included.
    pub fn on(self, pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), ..self }
    }

    /// Limits the rule to answers with this byte of the file, counted from its beginning. Events on the way happen
    /// before it.
    pub fn at(self, byte: u64) -> Self {
        self.within(byte..byte + 1)
    }

    /// Limits the rule to answers with any of these bytes of the file.
    pub fn within(self, bytes: Range<u64>) -> Self {
        Self { within: Some(bytes), ..self }
    }

    /// Limits the rule to this number of the remaining answers.
    pub fn times(self, count: u64) -> Self {
        Self { times: count, ..self }
    }

    /// Exempts this number of matching answers at first.
    pub fn after(self, count: u64) -> Self {
        Self { after: count, ..self }
    }

    /// Whether the rule matches these bytes of this file, apart from its counts.
    pub(super) fn is_about(&self, path: &str, bytes: &Range<u64>) -> bool {
        let meets = |within: &Range<u64>| within.start.max(bytes.start) < within.end.min(bytes.end);
        is_like(path, &self.pattern) && self.within.as_ref().is_none_or(meets)
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((before, behind)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| is_like(rest, behind)))
        }),
    }
}
