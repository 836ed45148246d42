//! A strict cursor over JSON (RFC 8259), for untrusted headers.
//!
//! This is not `serde_json`, with which the tests compare it. Refusals here carry a code and a byte, in an order that
//! the specification fixes. They depend on details that a parsed value no longer shows, such as repeated keys and `1.0`
//! for 1. Only strings with escapes are allocated.

use std::borrow::Cow;

/// The place at which a text stops being JSON, and a description of the expected text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) expected: &'static str,
}

/// The result of reading a natural number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Natural {
    /// An integer below 2^53.
    Below(u64),
    /// An integer of 2^53 or more.
    TooLarge,
    /// No number, a negative number, or a number with a fraction or an exponent.
    Not,
}

/// Reads JSON from left to right. Positions in faults are counted from the start of the file.
pub(crate) struct Cursor<'a> {
    rest: &'a str,
    /// The position in the file at which `rest` ends.
    end: u64,
}

impl<'a> Cursor<'a> {
    /// Starts to read `bytes`. `start` is the position of the first byte in its file.
    pub(crate) fn new(bytes: &'a [u8], start: u64) -> Result<Self, Fault> {
        match str::from_utf8(bytes) {
            Ok(rest) => Ok(Self { rest, end: start.saturating_add(length(bytes)) }),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                Err(Fault { at: start.saturating_add(length(valid)), expected: "UTF-8" })
            }
        }
    }

    /// The position of the cursor in the file.
    pub(crate) fn at(&self) -> u64 {
        self.end.saturating_sub(length(self.rest.as_bytes()))
    }

    pub(crate) fn fault(&self, expected: &'static str) -> Fault {
        Fault { at: self.at(), expected }
    }

    /// Moves the cursor to the next byte that is not white space, and returns that byte.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches(WHITE_SPACE.map(char::from));
        self.rest.bytes().next()
    }

    /// Steps over white space and then `token`.
    pub(crate) fn expect(&mut self, token: &str, expected: &'static str) -> Result<(), Fault> {
        self.peek();
        self.rest = self.rest.strip_prefix(token).ok_or_else(|| self.fault(expected))?;
        Ok(())
    }

    /// Checks that only white space follows.
    pub(crate) fn expect_end(&mut self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(self.fault("only white space after the object")) }
    }

    /// The name of the next member of an object whose `{` was read; `None` when its `}` was read instead.
    pub(crate) fn next_name(&mut self, is_first: &mut bool) -> Result<Option<Cow<'a, str>>, Fault> {
        if !self.has_next("}", is_first, "`,` or `}`")? {
            return Ok(None);
        }
        let name = self.string()?;
        self.expect(":", "`:`")?;
        Ok(Some(name))
    }

    /// Whether another value follows in an array whose `[` was read; if not, its `]` was read.
    pub(crate) fn next_element(&mut self, is_first: &mut bool) -> Result<bool, Fault> {
        self.has_next("]", is_first, "`,` or `]`")
    }

    fn has_next(&mut self, close: &str, is_first: &mut bool, expected: &'static str) -> Result<bool, Fault> {
        self.peek();
        if let Some(rest) = self.rest.strip_prefix(close) {
            self.rest = rest;
            return Ok(false);
        }
        if !std::mem::replace(is_first, false) {
            self.expect(",", expected)?;
        }
        Ok(true)
    }

    /// Reads a string and resolves its escapes.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.expect("\"", "a string")?;
        let plain = self.plain();
        if let Some(rest) = self.rest.strip_prefix('"') {
            self.rest = rest;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            if let Some(rest) = self.rest.strip_prefix('"') {
                self.rest = rest;
                return Ok(Cow::Owned(text));
            }
            text.push(self.escape()?);
            text.push_str(self.plain());
        }
    }

    /// Steps over the unescaped characters of a string.
    fn plain(&mut self) -> &'a str {
        let stop = self.rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20);
        let (plain, rest) = self.rest.split_at_checked(stop.unwrap_or(self.rest.len())).unwrap_or_default();
        self.rest = rest;
        plain
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.fault("a character, an escape or the string's end");
        let rest = self.rest.strip_prefix('\\').ok_or(start)?;
        let (kind, rest) = rest.split_at_checked(1).ok_or_else(|| self.fault("an escape"))?;
        let character = match kind {
            "\"" => '"',
            "\\" => '\\',
            "/" => '/',
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "u" => return self.unicode_escape(),
            _ => return Err(self.fault("an escape")),
        };
        self.rest = rest;
        Ok(character)
    }

    /// Reads `\u` and four hexadecimal digits, twice for a character beyond U+FFFF. Half of such a pair is refused.
    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let fault = self.fault("an escape of a Unicode character");
        let (unit, rest) = code_unit(self.rest).ok_or_else(|| fault.clone())?;
        let (low, pair_rest) = code_unit(rest).map_or((None, rest), |(low, rest)| (Some(low), rest));
        let mut characters = char::decode_utf16([unit].into_iter().chain(low));
        let Some(Ok(character)) = characters.next() else { return Err(fault) };
        self.rest = if character > '\u{ffff}' { pair_rest } else { rest };
        Ok(character)
    }

    /// Reads a number below 2^53 that is written as digits alone. The cursor stays in place if there is no number.
    pub(crate) fn natural(&mut self) -> Result<Natural, Fault> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Ok(Natural::Not);
        }
        let token = self.number()?;
        if !token.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Natural::Not);
        }
        // The token has only digits, so a token that does not parse is too large.
        Ok(match token.parse() {
            Ok(value) if value < crate::error::NUMBER_LIMIT => Natural::Below(value),
            _ => Natural::TooLarge,
        })
    }

    fn number(&mut self) -> Result<&'a str, Fault> {
        let token = self.rest;
        self.rest = token.strip_prefix('-').unwrap_or(token);
        if let Some(rest) = self.rest.strip_prefix('0') {
            self.rest = rest;
        } else {
            self.digits()?;
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            self.digits()?;
        }
        if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
            self.rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            self.digits()?;
        }
        let read = token.len().saturating_sub(self.rest.len());
        Ok(token.get(..read).unwrap_or_default())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == self.rest.len() {
            return Err(self.fault("a digit"));
        }
        self.rest = rest;
        Ok(())
    }

    /// Steps over any value and checks its grammar. `depth` is the number of objects and arrays open around it.
    pub(crate) fn skip_value(&mut self, depth: u32) -> Result<(), Fault> {
        let inner = depth.saturating_add(1);
        let mut is_first = true;
        match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(self.fault("at most 64 levels of nesting")),
            Some(b'{') => {
                self.expect("{", "`{`")?;
                while self.next_name(&mut is_first)?.is_some() {
                    self.skip_value(inner)?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.expect("[", "`[`")?;
                while self.next_element(&mut is_first)? {
                    self.skip_value(inner)?;
                }
                Ok(())
            }
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.expect("true", "a value"),
            Some(b'f') => self.expect("false", "a value"),
            _ => self.expect("null", "a value"),
        }
    }
}

/// A four-digit escape at the start of `text`, and the text after it.
fn code_unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.strip_prefix("\\u")?.split_at_checked(4)?;
    // `from_str_radix` alone would accept a sign.
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten().map(|unit| (unit, rest))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The white space of JSON. No other Unicode character is white space here.
pub(crate) const WHITE_SPACE: [u8; 4] = *b" \t\n\r";
/// The deepest nesting of objects and arrays, including the outermost. It bounds the stack; a header needs three
/// levels.
const MAX_DEPTH: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grammar(text: &str) -> Result<(), Fault> {
        let mut cursor = Cursor::new(text.as_bytes(), 0)?;
        cursor.skip_value(0)?;
        cursor.expect_end()
    }

    #[test]
    fn reads_strings() {
        for (text, value) in [
            (r#""""#, Some("")),
            (r#""a\"\\\/\b\f\n\r\t""#, Some("a\"\\/\u{8}\u{c}\n\r\t")),
            (r#""\u0061\u00e9\u0000z""#, Some("aé\0z")),
            (r#""\ud83d\ude00!""#, Some("😀!")),
            (r#""\u00E9\u0061""#, Some("éa")),
            (r#""\ud83d""#, None),
            (r#""\ud83d\u0061""#, None),
            (r#""\ude00\ud83d""#, None),
            (r#""\u+061""#, None),
            (r#""\u006""#, None),
            (r#""\u00é""#, None),
            (r#""\x""#, None),
            (r#""\é""#, None),
            (r#""\"#, None),
            (r#""open"#, None),
            ("\"\n\"", None),
            ("'a'", None),
        ] {
            let read = Cursor::new(text.as_bytes(), 0).unwrap().string().ok();
            assert_eq!(read.as_deref(), value, "{text}");
        }
    }

    #[test]
    fn reads_natural_numbers() {
        for (text, value) in [
            ("0", Natural::Below(0)),
            ("9007199254740991", Natural::Below(9_007_199_254_740_991)),
            ("9007199254740992", Natural::TooLarge),
            ("18446744073709551616", Natural::TooLarge),
            ("-0", Natural::Not),
            ("-1", Natural::Not),
            ("1.0", Natural::Not),
            ("1e2", Natural::Not),
            ("1E-2", Natural::Not),
            ("\"1\"", Natural::Not),
            ("null", Natural::Not),
            ("+1", Natural::Not),
        ] {
            assert_eq!(Cursor::new(text.as_bytes(), 0).unwrap().natural(), Ok(value), "{text}");
        }
    }

    #[test]
    fn faults_say_where() {
        for (text, at, expected) in [
            ("{\"a\":1,}", 7, "a string"),
            ("{\"a\" 1}", 5, "`:`"),
            ("[1 2]", 3, "`,` or `]`"),
            ("[1.]", 3, "a digit"),
            ("[01]", 2, "`,` or `]`"),
            ("[NaN]", 1, "a value"),
            ("[\"\\q\"]", 2, "an escape"),
            ("{} x", 3, "only white space after the object"),
        ] {
            assert_eq!(grammar(text), Err(Fault { at, expected }), "{text}");
        }
        let not_utf8 = Cursor::new(b"{\"\xff\":1}", 8).err();
        assert_eq!(not_utf8, Some(Fault { at: 10, expected: "UTF-8" }));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(grammar(&nested(64)), Ok(()));
        assert_eq!(grammar(&nested(65)).unwrap_err().expected, "at most 64 levels of nesting");
        assert!(grammar(&"[{\"\":".repeat(1_000_000)).is_err());
    }

    const SAMPLE: &str = r#" {"a" : [0, -1.5e+3, true, false, null, "x\u00e9\ud83d\ude00\n"], "b":{}, "":[], "c":[{"d":[1,2]}]}"#;

    proptest! {
        /// The grammar equals that of `serde_json`, on near misses and on noise.
        #[test]
        fn agrees_with_serde_json(
            at in 0..SAMPLE.len(), cut in 0_usize..3, put in r#"[ \[\]{}:,"\\0-9eE.+truefalsn-]{0,2}"#,
            noise in r#"[ \[\]{}:,"\\0-9eE.+u-]{0,12}"#,
        ) {
            let tail: String = SAMPLE.chars().skip(at + cut).collect();
            let head: String = SAMPLE.chars().take(at).collect();
            for text in [head + &put + &tail, noise] {
                let theirs = serde_json::from_str::<serde_json::Value>(&text);
                // The only difference: here, a number too large for a float is still a number.
                prop_assume!(!theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range")));
                prop_assert_eq!(grammar(&text).is_ok(), theirs.is_ok(), "{}", text);
            }
        }
    }
}
