//! C2SP signed notes: a text followed by its signatures.

use alloc::{string::String, vec::Vec};
use core::fmt;

use base64ct::{Base64, Encoding};
use weighbridge_tree::{Coded, ErrorCode};

use crate::key::{KeyName, Signature};

/// The parts of a well-formed note. A `Note` is not yet believed.
///
/// Source: C2SP `signed-note`; limits and order of checks in `spec/head.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line. The signature itself is not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    id: [u8; 4],
    signature: Signature,
}

impl Note {
    /// Splits a note at its last empty line and reads the signature lines. No signature is checked.
    ///
    /// # Errors
    /// [`NoteError`] for anything that is not exactly one note (rule 6).
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::TooLong { bytes: bytes.len() });
        }
        let note = core::str::from_utf8(bytes).map_err(|_| NoteError::Characters)?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Characters);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Unsigned)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Unsigned)?;
        let count = lines.split('\n').count();
        if count > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures { count });
        }
        let signatures = (1..)
            .zip(lines.split('\n'))
            .map(|(number, line)| NoteSignature::parse(line).ok_or(NoteError::SignatureLine { number }))
            .collect::<Result<_, _>>()?;
        let mut text = String::from(text);
        text.push('\n');
        Ok(Self { text, signatures })
    }

    /// Makes a note of a text and these lines. Unlike a received note, it may have no lines.
    pub(crate) fn of(text: &str, signatures: Vec<NoteSignature>) -> Self {
        Self { text: text.into(), signatures }
    }

    /// The text that was signed, its final LF included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in the order of the note.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

impl NoteSignature {
    /// Makes a signature line.
    #[must_use]
    pub fn new(name: KeyName, id: [u8; 4], signature: Signature) -> Self {
        Self { name, id, signature }
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let name = KeyName::parse(name).ok()?;
        let body = Base64::decode_vec(encoded).ok()?;
        let (&id, signature) = body.split_first_chunk::<4>()?;
        (!signature.is_empty()).then(|| Self { name, id, signature: Signature::new(signature) })
    }

    /// The name that the line claims.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key id that the line claims.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The bytes after the key id.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// Writes the line as in a note, without its LF.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = [&self.id, self.signature.as_bytes()].concat();
        write!(f, "{DASH}{} {}", self.name.as_str(), Base64::encode_string(&body))
    }
}

const DASH: &str = "\u{2014} ";

/// The longest note, in bytes, with room for post-quantum signatures.
pub const MAX_NOTE: usize = 131_072;
/// The most signature lines of a note. The limit bounds the cost of hostile notes (rule 12).
pub const MAX_SIGNATURES: usize = 100;

/// The reason why bytes are not a note.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// The note is longer than [`MAX_NOTE`].
    TooLong {
        /// The length of the note in bytes.
        bytes: usize,
    },
    /// The note is not UTF-8, or has a control character other than LF.
    Characters,
    /// There is no text, no empty line after it, or no complete line after the empty line.
    Unsigned,
    /// A signature line is not `— NAME BASE64`.
    SignatureLine {
        /// The number of the signature line, counted from 1.
        number: usize,
    },
    /// There are more than [`MAX_SIGNATURES`] signature lines.
    TooManySignatures {
        /// The number of signature lines.
        count: usize,
    },
}

impl Coded for NoteError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::TooLong { .. } => ErrorCode::NOTE_TOO_LONG,
            Self::Characters => ErrorCode::NOTE_CHARACTERS,
            Self::Unsigned => ErrorCode::NOTE_STRUCTURE,
            Self::SignatureLine { .. } => ErrorCode::NOTE_SIGNATURE_LINE,
            Self::TooManySignatures { .. } => ErrorCode::NOTE_TOO_MANY_SIGNATURES,
        }
    }
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(f, "a note has at most {MAX_NOTE} bytes, this one {bytes}"),
            Self::Characters => f.write_str("the note is not UTF-8 without control characters"),
            Self::Unsigned => f.write_str("the note is not a text, an empty line, and signature lines"),
            Self::SignatureLine { number } => write!(f, "signature line {number} is malformed"),
            Self::TooManySignatures { count } => {
                write!(f, "a note has at most {MAX_SIGNATURES} signature lines, this one {count}")
            }
        }
    }
}

impl core::error::Error for NoteError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};
    use proptest::prelude::*;

    #[test]
    fn splits_at_the_last_empty_line() {
        let note = Note::parse("a\n\nb\n\n\u{2014} k AAAAAAE=\n\u{2014} l AAAAAAI=\n".as_bytes()).unwrap();
        assert_eq!(note.text(), "a\n\nb\n");
        assert_eq!(note.signatures().len(), 2);
        assert_eq!(note.signatures()[0].to_string(), "\u{2014} k AAAAAAE=");
        assert_eq!(note.signatures()[1].signature().as_bytes(), [2]);
        // A text of one empty line is a text, though not a head.
        assert_eq!(Note::parse("\n\n\u{2014} k AAAAAAE=\n".as_bytes()).unwrap().text(), "\n");
    }

    #[test]
    fn refuses_what_is_not_exactly_a_note() {
        let line = "\u{2014} k AAAAAAE=\n";
        for (note, code) in [
            (String::new(), 1103),
            ("a\n".into(), 1103),
            (format!("a\n{line}"), 1103),
            (format!("\n{line}"), 1103),
            ("a\n\n".into(), 1103),
            (format!("a\n\n{}", line.trim_end()), 1103),
            (format!("a\r\n\r\n{line}"), 1102),
            (format!("a\u{0}\n\n{line}"), 1102),
            (format!("a\n\n{}", line.repeat(101)), 1105),
            ("a\n\n- k AAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014}k AAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014} kAAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014}  AAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014} k+ AAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014} k\u{a0} AAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014} k  AAAAAAE=\n".into(), 1104),
            ("a\n\n\u{2014} k AAAAAAE= \n".into(), 1104),
            ("a\n\n\u{2014} k AAAAAAE\n".into(), 1104),
            ("a\n\n\u{2014} k AAAAAAF=\n".into(), 1104),
            ("a\n\n\u{2014} k AAAAAA==\n".into(), 1104),
            ("a\n\n\u{2014} k \n".into(), 1104),
            (format!("a\n\n{line}x\n"), 1104),
            (format!("{}\n\n{line}", "a".repeat(MAX_NOTE)), 1101),
        ] {
            assert_eq!(Note::parse(note.as_bytes()).map_err(|e| e.error_code().get()), Err(code), "{note:?}");
        }
        assert_eq!(Note::parse(b"a\n\n\xff\n"), Err(NoteError::Characters));
        assert!(Note::parse(format!("a\n\n{}", line.repeat(100)).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn accepts_only_what_it_would_write(note in "[ab\n \u{2014}]{0,12}\n\n(\u{2014} k AAAAAAE=\n|\u{2014} k[+ ]?AAA[AQ=]{5}\n){0,3}") {
            if let Ok(parsed) = Note::parse(note.as_bytes()) {
                let mut written = format!("{}\n", parsed.text());
                for signature in parsed.signatures() {
                    written.push_str(&format!("{signature}\n"));
                }
                prop_assert_eq!(written, note);
            }
        }
    }
}
