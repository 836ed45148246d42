//! The kinds of statement, and why a statement is not read (`spec/statements.md`).

use core::fmt;

use weighbridge_tree::{Coded, ErrorCode};

use crate::head::MAX_TEXT;

/// The kinds of statement.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// A text by an auditor to a prover.
    Challenge,
    /// A text by an auditor about a prover.
    Report,
    /// A text by a node about itself.
    Receipt,
}

impl StatementKind {
    pub(crate) fn first_line(self) -> &'static str {
        match self {
            Self::Challenge => "weighbridge/audit-challenge/v1",
            Self::Report => "weighbridge/audit-report/v1",
            Self::Receipt => "weighbridge/receipt/v1",
        }
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Challenge => "challenge",
            Self::Report => "report",
            Self::Receipt => "receipt",
        })
    }
}

/// The reason why a statement is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementError {
    /// The kind of statement to be read.
    pub kind: StatementKind,
    /// The line of the text, counted from 1; 0 if the whole text or the note is at fault.
    pub line: usize,
    /// The fault.
    pub fault: StatementFault,
}

/// Kinds of fault in a statement.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementFault {
    /// The statement's text is longer than [`MAX_TEXT`].
    TooLong {
        /// The length of the text in bytes.
        bytes: usize,
    },
    /// The first line belongs to another kind of text, or to an unknown version.
    FirstLine,
    /// The line is missing, or another line is in its place.
    Line {
        /// The key of the expected line.
        expected: &'static str,
    },
    /// There is a line after the last expected one.
    Behind,
    /// The line's value is malformed.
    Value {
        /// The line's key.
        key: &'static str,
    },
    /// Two lines contradict each other.
    Contradiction {
        /// The contradiction, as a sentence.
        what: &'static str,
    },
    /// A signature line names the expected key, but the signature is not by that key.
    BadSignature,
    /// No signature line is by the expected key.
    NotSigned,
    /// The statement is about another head than the one given.
    OtherHead,
}

impl Coded for StatementError {
    fn error_code(&self) -> ErrorCode {
        match self.fault {
            StatementFault::TooLong { .. } => ErrorCode::STATEMENT_TOO_LONG,
            StatementFault::FirstLine => ErrorCode::STATEMENT_FIRST_LINE,
            StatementFault::Line { .. } | StatementFault::Behind => ErrorCode::STATEMENT_LINE,
            StatementFault::Value { .. } => ErrorCode::STATEMENT_VALUE,
            StatementFault::Contradiction { .. } => ErrorCode::STATEMENT_CONTRADICTION,
            StatementFault::BadSignature => ErrorCode::BAD_SIGNATURE,
            StatementFault::NotSigned => ErrorCode::STATEMENT_NOT_SIGNED,
            StatementFault::OtherHead => ErrorCode::STATEMENT_OF_ANOTHER_HEAD,
        }
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        match self.fault {
            StatementFault::TooLong { bytes } => {
                write!(f, "the {kind}'s text has at most {MAX_TEXT} bytes, this one {bytes}")?;
            }
            StatementFault::FirstLine => write!(f, "the {kind} does not begin {}", kind.first_line())?,
            StatementFault::Line { expected } => write!(f, "the {kind}'s line '{expected}' is missing")?,
            StatementFault::Behind => write!(f, "the {kind} goes on behind its last line")?,
            StatementFault::Value { key } => write!(f, "the {kind}'s value of '{key}' is malformed")?,
            StatementFault::Contradiction { what } => write!(f, "the {kind} contradicts itself: {what}")?,
            StatementFault::BadSignature => {
                write!(f, "the signature of the {kind} does not verify: it was altered")?;
            }
            StatementFault::NotSigned => {
                write!(f, "the {kind} is not signed by the key that has to have signed it")?;
            }
            StatementFault::OtherHead => write!(f, "the {kind} is of another head")?,
        }
        if self.line > 0 { write!(f, " (line {})", self.line) } else { Ok(()) }
    }
}

impl core::error::Error for StatementError {}
