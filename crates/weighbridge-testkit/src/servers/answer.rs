//! Builds and writes the answer to a request, from a file and its faults.

use std::{ops::Range, path::Path};

use super::{
    content::{Content, Edit},
    fault::{End, Fault},
    gzip::gzip,
    link::{Flow, Link, Pace},
    request::Asked,
    rules::Struck,
};

/// The answer to a request.
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    content: Content,
    /// The range of the content that the body has.
    range: Range<u64>,
    /// The number of extra bytes behind the content.
    surplus: u64,
    framing: Framing,
    /// Events before the byte of the content at this offset.
    on_the_way: Vec<(u64, Event)>,
    /// The end of the connection behind the answer; `None` keeps the connection.
    then: Option<End>,
}

enum Framing {
    /// `Content-Length` has this value.
    Length(u64),
    /// The end of the connection ends the body.
    Unframed,
    Chunked,
}

enum Event {
    Break(End),
    Go(Pace),
    Pause(std::time::Duration),
}

impl Reply {
    /// An answer with this status and its name as the body.
    pub(super) fn status(status: u16, headers: Vec<(String, String)>) -> Self {
        Self::bytes(status, headers, format!("{status} {}\n", reason(status)).into_bytes())
    }

    /// An answer with this status and body.
    pub(super) fn bytes(status: u16, headers: Vec<(String, String)>, bytes: Vec<u8>) -> Self {
        let content = Content::of(bytes);
        let range = 0..content.length;
        Self::of(status, headers, content, range)
    }

    /// The same answer with these headers in addition, or in place of those of the same names.
    pub(super) fn with(mut self, headers: Vec<(String, String)>) -> Self {
        headers.into_iter().for_each(|header| self.replace(header));
        self
    }

    /// An answer with the file, or the requested range of it.
    pub(super) fn file(
        mut content: Content,
        mut asked: Option<&Asked>,
        path: &str,
        struck: Vec<Struck>,
    ) -> Self {
        for Struck { fault, .. } in &struck {
            match fault {
                Fault::Folder(folder) => match Content::open(&folder.join(path)) {
                    Some(other) => content = other,
                    None => return Self::status(404, Vec::new()),
                },
                Fault::Content(bytes) => content = Content::of(bytes.clone()),
                Fault::Resized(length) => content.length = *length,
                Fault::Whole => asked = None,
                _ => {}
            }
        }
        let length = content.length;
        let has_no_ranges = struck.iter().any(|struck| matches!(struck.fault, Fault::Unsatisfiable));
        let mut reply = match asked.map(|asked| asked.of(length)) {
            None => Self::of(200, Vec::new(), content, 0..length),
            Some(range) if has_no_ranges || range.is_empty() || range.start >= length => {
                return Self::status(416, vec![header("Content-Range", &format!("bytes */{length}"))]);
            }
            Some(range) => {
                let range = struck.iter().fold(range, |range, struck| struck.fault.given(range, length));
                let content_range = content_range(&range, length);
                Self::of(206, vec![content_range], content, range)
            }
        };
        reply.headers.push(header("Accept-Ranges", "bytes"));
        reply.headers.push(header("Content-Type", "application/octet-stream"));
        for Struck { fault, within } in struck {
            reply.change(fault, within);
        }
        reply
    }

    fn of(status: u16, headers: Vec<(String, String)>, content: Content, range: Range<u64>) -> Self {
        let framing = Framing::Length(range.end - range.start);
        Self { status, headers, content, range, surplus: 0, framing, on_the_way: Vec::new(), then: None }
    }

    fn change(&mut self, fault: Fault, within: Option<Range<u64>>) {
        let length = self.content.length;
        let strikes = within.unwrap_or(self.range.clone());
        let at = strikes.start.max(self.range.start);
        let mut edit = |edit| self.content.edit(edit, strikes.clone());
        match fault {
            Fault::Flip => edit(Edit::Flip),
            Fault::Zeros => edit(Edit::Zeros),
            Fault::Garbage => edit(Edit::Garbage),
            Fault::OtherFile(path) => edit(Edit::Other(open(&path))),
            Fault::Swapped(chunk) => edit(Edit::Swapped(chunk)),

            Fault::ContentLength(more) => {
                self.lengthen(more);
                if more > 0 {
                    self.then = Some(End::Close);
                }
            }
            Fault::OtherTotal(total) => self.replace(content_range(&self.range, total)),
            Fault::OtherRange(first, last) => self.replace(content_range(&(first..last + 1), length)),
            Fault::Header(name, Some(value)) => self.replace(header(name, &value)),
            Fault::Header(name, None) => self.remove(name),
            Fault::Gzip => self.compress(),
            Fault::OtherStatus(status) => self.status = status,

            Fault::Longer(bytes) => {
                self.surplus += bytes;
                self.lengthen(bytes.try_into().unwrap());
            }
            Fault::Surplus(bytes) => self.surplus += bytes,
            Fault::Endless => {
                self.surplus = u64::MAX - self.range.end;
                self.framing = Framing::Unframed;
            }
            Fault::Unframed => self.framing = Framing::Unframed,
            Fault::Chunked => self.framing = Framing::Chunked,

            Fault::Break(end) => self.on_the_way.push((at, Event::Break(end))),
            Fault::Pause(time) => self.on_the_way.push((at, Event::Pause(time))),
            Fault::Slow(rate) => self.on_the_way.push((at, Event::Go(Pace::Slow(rate)))),
            Fault::Dribble(bytes, time) => {
                self.on_the_way.push((at, Event::Go(Pace::Dribble(bytes, time))));
            }

            Fault::Folder(_) | Fault::Content(_) | Fault::Resized(_) => {}
            Fault::Whole | Fault::Unsatisfiable | Fault::Shorter(_) | Fault::Wider(_) => {}
            Fault::Status(..)
            | Fault::Redirect(_)
            | Fault::RedirectChain(_)
            | Fault::RedirectLoop
            | Fault::Signed(_)
            | Fault::Unanswered(_)
            | Fault::Raw(_) => unreachable!("another answer stands alone"),
        }
    }

    fn lengthen(&mut self, more: i64) {
        if let Framing::Length(length) = &mut self.framing {
            *length = length.saturating_add_signed(more);
        }
    }

    fn remove(&mut self, name: &str) {
        self.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
    }

    fn replace(&mut self, new: (String, String)) {
        self.remove(&new.0);
        self.headers.push(new);
    }

    fn compress(&mut self) {
        let mut bytes = vec![0; usize::try_from(self.range.end - self.range.start).unwrap()];
        self.content.read(self.range.start, &mut bytes);
        self.content = Content::of(gzip(&bytes));
        self.on_the_way.iter_mut().for_each(|(at, _)| *at -= self.range.start);
        self.range = 0..self.content.length;
        self.framing = Framing::Length(self.content.length);
        self.replace(header("Content-Encoding", "gzip"));
    }

    /// Writes the answer. `has_body` is false for a HEAD request.
    pub(super) fn write(mut self, link: &mut Link<'_>, has_body: bool) -> Flow<()> {
        match self.framing {
            Framing::Length(length) => self.headers.push(header("Content-Length", &length.to_string())),
            Framing::Chunked => self.headers.push(header("Transfer-Encoding", "chunked")),
            Framing::Unframed => {
                self.headers.push(header("Connection", "close"));
                self.then = Some(End::Close);
            }
        }
        let lines: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        link.write(format!("HTTP/1.1 {} {}\r\n{lines}\r\n", self.status, reason(self.status)).as_bytes())?;
        if has_body {
            self.write_body(link)?;
        }
        self.then.map_or(Ok(()), Err)
    }

    fn write_body(&mut self, link: &mut Link<'_>) -> Flow<()> {
        // The sort is stable: among events at the same offset, the rule that was set first comes first.
        self.on_the_way.sort_by_key(|(at, _)| *at);
        let mut events = self.on_the_way.drain(..).peekable();
        let (Range { start: mut at, end }, mut pace) = (self.range.clone(), Pace::Free);
        let last = end.saturating_add(self.surplus);
        let mut buffer = vec![0; usize::try_from(last - at).unwrap_or(PIECE).min(PIECE)];
        loop {
            while let Some((_, event)) = events.next_if(|(strikes, _)| *strikes <= at) {
                match event {
                    Event::Break(end) => return Err(end),
                    Event::Go(new) => pace = new,
                    Event::Pause(time) => link.wait(time)?,
                }
            }
            if at == last {
                break;
            }
            let stop = if at < end { end } else { last };
            let stop = events.peek().map_or(stop, |(strikes, _)| stop.min(*strikes));
            let most = usize::try_from(stop - at).unwrap_or(PIECE).min(PIECE);
            let piece = link.allowance(most, pace)?;
            let piece = &mut buffer[..piece];
            if at < end {
                self.content.read(at, piece);
            } else {
                piece.fill(SURPLUS);
            }
            if matches!(self.framing, Framing::Chunked) {
                link.write(format!("{:x}\r\n", piece.len()).as_bytes())?;
                link.write_body(piece)?;
                link.write(b"\r\n")?;
            } else {
                link.write_body(piece)?;
            }
            link.keep_pace(piece.len(), pace)?;
            at += u64::try_from(piece.len()).unwrap();
        }
        if matches!(self.framing, Framing::Chunked) { link.write(b"0\r\n\r\n") } else { Ok(()) }
    }
}

fn open(path: &Path) -> std::fs::File {
    std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn content_range(range: &Range<u64>, total: u64) -> (String, String) {
    header("Content-Range", &format!("bytes {}-{}/{total}", range.start, range.end - 1))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Whatever",
    }
}

/// The number of bytes read and written at once.
const PIECE: usize = 256 * 1024;
/// The value of all extra bytes.
const SURPLUS: u8 = b'+';
