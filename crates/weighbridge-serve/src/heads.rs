//! Heads of requests, as bytes: what two programs could read in two ways goes no further.

/// Looks at the bytes of a connection before the HTTP parser does, and says how many of them may go on.
///
/// The parser takes a line that ends in a bare LF, and a head with both lengths (RFC 9112, sections 2.2 and 6.3). A proxy in front
/// of the server may take them for something else, so that a request could be hidden in another one.
///
/// Refused are: lines that end in a bare LF, a CR that ends no line, a continued header line (obs-fold), a `Content-Length` that is
/// no number, two of them, and one beside a `Transfer-Encoding`. Nothing goes on behind a head with a `Transfer-Encoding`: the
/// server answers it, and closes the connection.
#[derive(Debug)]
pub(crate) struct Heads {
    place: Place,
    /// Whether the last byte was a CR.
    after_cr: bool,
    name: Word<17>,
    value: Word<20>,
    length: Option<u64>,
    is_in_pieces: bool,
    is_refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where the first line of a head begins.
    Begin,
    RequestLine,
    /// Where a header line begins, or the empty line at the end.
    Line,
    Name,
    Value,
    /// This many bytes of a body are left.
    Body(u64),
    /// Nothing more goes on.
    End,
}

impl Heads {
    pub(crate) const fn new() -> Self {
        Self {
            place: Place::Begin,
            after_cr: false,
            name: Word::new(),
            value: Word::new(),
            length: None,
            is_in_pieces: false,
            is_refused: false,
        }
    }

    /// Looks at the next bytes of the connection, and returns how many may go on: all, unless it refuses one.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0usize;
        while let Some(byte) = bytes.get(at) {
            match self.place {
                Place::End => return at,
                Place::Body(left) => {
                    let here =
                        bytes.len().saturating_sub(at).min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                    self.place = if left == 0 { Place::Begin } else { Place::Body(left) };
                    at = at.saturating_add(here);
                }
                _ => {
                    if !self.takes(*byte) {
                        self.place = Place::End;
                        self.is_refused = true;
                        return at;
                    }
                    at = at.saturating_add(1);
                }
            }
        }
        at
    }

    /// Whether a byte was refused. The parser has to be told.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Takes a byte of a head. Returns whether it may stand there.
    fn takes(&mut self, byte: u8) -> bool {
        if self.after_cr {
            self.after_cr = false;
            return byte == b'\n' && self.line_ends();
        }
        match byte {
            b'\n' => return false,
            b'\r' => self.after_cr = true,
            _ => match self.place {
                Place::Begin => self.place = Place::RequestLine,
                Place::Line if byte == b' ' || byte == b'\t' => return false,
                Place::Line => {
                    self.name.clear();
                    self.value.clear();
                    self.name.push(byte.to_ascii_lowercase());
                    self.place = Place::Name;
                }
                Place::Name if byte == b':' => self.place = Place::Value,
                Place::Name => self.name.push(byte.to_ascii_lowercase()),
                Place::Value if self.value.is_empty() && (byte == b' ' || byte == b'\t') => {}
                Place::Value => self.value.push(byte),
                _ => {}
            },
        }
        true
    }

    fn line_ends(&mut self) -> bool {
        match self.place {
            // Empty lines before a head are skipped by the parser as well (RFC 9112, section 2.2).
            Place::Begin => true,
            Place::Line => self.head_ends(),
            Place::Value | Place::Name => self.header_ends(),
            _ => {
                self.place = Place::Line;
                true
            }
        }
    }

    fn header_ends(&mut self) -> bool {
        self.place = Place::Line;
        match self.name.as_bytes() {
            b"transfer-encoding" => self.is_in_pieces = true,
            b"content-length" => {
                let text = self.value.as_bytes().trim_ascii_end();
                let number = text.iter().try_fold(0u64, |number, digit| {
                    let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
                    number.checked_mul(10)?.checked_add(u64::from(digit))
                });
                let (Some(number), None, false) = (number, self.length, text.is_empty()) else {
                    return false;
                };
                self.length = Some(number);
            }
            _ => {}
        }
        !(self.is_in_pieces && self.length.is_some())
    }

    fn head_ends(&mut self) -> bool {
        self.place = match (self.is_in_pieces, self.length.take()) {
            (true, _) => Place::End,
            (false, None | Some(0)) => Place::Begin,
            (false, Some(length)) => Place::Body(length),
        };
        true
    }
}

/// The first bytes of a word; of one that is longer than any that is looked for, as many as show that it is.
#[derive(Debug)]
struct Word<const LONGEST: usize> {
    bytes: [u8; LONGEST],
    len: usize,
    is_longer: bool,
}

impl<const LONGEST: usize> Word<LONGEST> {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST], len: 0, is_longer: false }
    }

    fn clear(&mut self) {
        (self.len, self.is_longer) = (0, false);
    }

    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len = self.len.saturating_add(1);
            }
            None => self.is_longer = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The word; a longer one is none that is looked for.
    fn as_bytes(&self) -> &[u8] {
        if self.is_longer { b"-" } else { self.bytes.get(..self.len).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that go on, of a connection that gives its bytes in pieces of `piece`, and whether one was refused.
    fn passed(connection: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut heads = Heads::new();
        let passed =
            connection.chunks(piece).flat_map(|piece| &piece[..heads.pass(piece)]).copied().collect();
        (passed, heads.is_refused())
    }

    const GOOD: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\rcGET / HTTP/1.1\r\n\r\n",
        "PUT /x HTTP/1.1\r\ncontent-length:\t 5 \r\nA: b\r\n\r\n\n\n\n\n\nGET / HTTP/1.1\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length-Or-Not: a, b\r\nX: \r\n\r\n",
    ];

    const BAD: &[&str] = &[
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nTRANSFER-encoding: x\r\nA: b\r\nContent-Length: 5\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nContent-Length: +5\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nContent-Length: 0x5\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nContent-Length: \r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 000000000000000000000000000005\r\n\r\nabcde",
        "PUT /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcdeGET / HTTP/1.1\n\n",
    ];

    #[test]
    fn passes_clear_heads_and_bodies_and_ends_at_the_others_wherever_they_are_cut() {
        for piece in 1..40 {
            for connection in GOOD {
                let connection = connection.as_bytes();
                assert_eq!(passed(connection, piece), (connection.to_vec(), false), "in pieces of {piece}");
            }
            for connection in BAD {
                let (passed, is_refused) = passed(connection.as_bytes(), piece);
                assert!(is_refused && passed.len() < connection.len(), "passed {connection:?}");
                assert!(connection.as_bytes().starts_with(&passed));
            }
            let head = "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
            let connection = format!("{head}0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
            assert_eq!(passed(connection.as_bytes(), piece), (head.into(), false));
        }
    }

    proptest! {
        /// However the bytes of a connection come, the same of them go on: no fault hides at a border.
        #[test]
        fn judges_by_bytes_and_not_by_pieces(
            words in proptest::collection::vec(0..TOKENS.len(), 0..40),
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let connection: Vec<u8> = words.iter().flat_map(|word| TOKENS[*word].bytes()).collect();
            let whole = passed(&connection, connection.len().max(1));
            let mut heads = Heads::new();
            let (mut rest, mut found) = (connection.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                found.extend(&piece[..heads.pass(piece)]);
                rest = behind;
            }
            prop_assert_eq!((found, heads.is_refused()), whole);
        }
    }

    const TOKENS: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "PUT /x HTTP/1.1\r\n",
        "Content-Length: 3\r\n",
        "content-length:",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "\r",
        "\n",
        " ",
        "3",
        "abc",
        "a: b\r\n",
    ];
}
