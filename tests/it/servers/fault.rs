//! What can go wrong with an answer, and when it does.

use std::{ops::Range, path::PathBuf, time::Duration};

/// What goes wrong. Several faults may hold for one answer, each on what those before it left; but another answer stands
/// alone, and what was to happen to the file's bytes waits for one that gives them.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    // Other answers.
    /// This status, these headers, and a short body. See [`status`](Self::status), [`busy`](Self::busy).
    Status(u16, Vec<(String, String)>),
    /// A redirect to there; `{path}` in it stands for the path of the file.
    Redirect(String),
    /// So many redirects, one after another, and then the file.
    RedirectChain(u32),
    /// A redirect to where the request came from.
    RedirectLoop,
    /// A redirect to a signed URL, another one each time, that answers so many requests and 403 from then on.
    Signed(u64),
    /// The request is read, and not answered.
    Unanswered(End),
    /// These bytes, whatever they are, and the connection closes.
    Raw(Vec<u8>),

    // Another file.
    /// The file of the same path in another folder.
    Folder(PathBuf),
    /// A file with these bytes.
    Content(Vec<u8>),
    /// The file seems to have so many bytes: it is cut, or zeros follow.
    Resized(u64),

    // Other bytes of the file, within the rule's range.
    /// The first byte with one bit flipped.
    Flip,
    /// Zeros.
    Zeros,
    /// What looks random, and is the same each time.
    Garbage,
    /// The bytes at the same places of the file at this path, zeros behind its end.
    OtherFile(PathBuf),
    /// Each two neighbouring chunks of this size are exchanged; the last stays if it has no other, or a shorter one.
    Swapped(u64),

    // Another head than the body has.
    /// The whole file, as if no range had been asked for.
    Whole,
    /// `Content-Length` says so many bytes more than there are, or fewer; if more, the connection closes behind them.
    ContentLength(i64),
    /// `Content-Range` says that the file has so many bytes.
    OtherTotal(u64),
    /// `Content-Range` says this first and last byte.
    OtherRange(u64, u64),
    /// This header has another value, or is missing.
    Header(&'static str, Option<String>),
    /// The body is compressed, and says so.
    Gzip,

    // Another body than the head says.
    /// The body is so many bytes longer, and its length says so.
    Longer(u64),
    /// So many bytes follow behind the end that its length says.
    Surplus(u64),
    /// The body never ends, and has no length.
    Endless,
    /// The body has no length: it ends with the connection.
    Unframed,
    /// The body is in HTTP's chunks, and has no length.
    Chunked,

    // On the way, from the rule's range on.
    /// The body ends there.
    Break(End),
    /// Nothing for this time, then it goes on.
    Pause(Duration),
    /// So many bytes a second.
    Slow(u64),
    /// So many bytes, then nothing for this time, and so on.
    Dribble(usize, Duration),
}

/// How something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection stays open, and nothing comes, until the other side goes away.
    Stall,
    /// The connection is closed (FIN).
    Close,
    /// The connection is reset (RST); what is on its way may be lost.
    Reset,
}

impl Fault {
    /// Another status, without a header of interest.
    pub(crate) fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }

    /// 429 or 503, and when to come again.
    pub(crate) fn busy(status: u16, retry_after: &str) -> Self {
        Self::Status(status, vec![("Retry-After".to_owned(), retry_after.to_owned())])
    }

    /// Whether the file's bytes are not given at all.
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

    /// Whether it redirects to another URL of the same file.
    pub(super) fn leads_here(&self) -> bool {
        matches!(self, Self::RedirectChain(_) | Self::Signed(_))
    }

    /// Only for files whose path is like this; `*` stands for anything.
    pub(crate) fn on(self, pattern: &str) -> Rule {
        Rule::from(self).on(pattern)
    }

    /// Only for this byte of a file.
    pub(crate) fn at(self, byte: u64) -> Rule {
        Rule::from(self).at(byte)
    }

    /// Only for these bytes of a file.
    pub(crate) fn within(self, bytes: Range<u64>) -> Rule {
        Rule::from(self).within(bytes)
    }

    /// Only for so many answers.
    pub(crate) fn times(self, count: u64) -> Rule {
        Rule::from(self).times(count)
    }

    /// Not for the first answers.
    pub(crate) fn after(self, count: u64) -> Rule {
        Rule::from(self).after(count)
    }
}

/// A fault, and which answers have it. Of itself: all.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
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
    /// Only files whose path is like this; `*` stands for anything, `/` too.
    pub(crate) fn on(self, pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), ..self }
    }

    /// Only answers with this byte of the file, counted from its beginning. What happens on the way happens before it.
    pub(crate) fn at(self, byte: u64) -> Self {
        self.within(byte..byte + 1)
    }

    /// Only answers with any of these bytes of the file.
    pub(crate) fn within(self, bytes: Range<u64>) -> Self {
        Self { within: Some(bytes), ..self }
    }

    /// Only the first of the answers that are left.
    pub(crate) fn times(self, count: u64) -> Self {
        Self { times: count, ..self }
    }

    /// Not the first of them.
    pub(crate) fn after(self, count: u64) -> Self {
        Self { after: count, ..self }
    }

    /// Whether it is about these bytes of this file; without looking at how many were before.
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
