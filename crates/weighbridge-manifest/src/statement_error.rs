//! The kinds of statement, and why one is not read (`spec/statements.md`).

use core::fmt;

use crate::head::MAX_TEXT;

/// The kinds of statement.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// By an auditor, to a prover.
    Challenge,
    /// By an auditor, of a prover.
    Report,
    /// By a node, of itself.
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

/// Why a statement is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementError {
    /// What was to be read.
    pub kind: StatementKind,
    /// The line of the text, counted from 1; 0 if the fault is of the text or the note as a whole.
    pub line: usize,
    /// What is wrong.
    pub fault: StatementFault,
}

/// What is wrong with a statement.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementFault {
    /// Its text is longer than [`MAX_TEXT`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The first line is of another kind of text, or of a version that is not known.
    FirstLine,
    /// The line is not the one that belongs here, or is not there.
    Line {
        /// The one that belongs here.
        expected: &'static str,
    },
    /// A line behind the last.
    Behind,
    /// The line's value is malformed.
    Value {
        /// The line's key.
        key: &'static str,
    },
    /// Two lines contradict each other.
    Contradiction {
        /// In what.
        what: &'static str,
    },
    /// A signature line names the key that has to have signed, and is not its.
    BadSignature,
    /// No signature line is by the key that has to have signed.
    NotSigned,
    /// It is said of another head than the one that it is shown with.
    OtherHead,
}

impl StatementError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self.fault {
            StatementFault::TooLong { .. } => 1801,
            StatementFault::FirstLine => 1802,
            StatementFault::Line { .. } | StatementFault::Behind => 1803,
            StatementFault::Value { .. } => 1804,
            StatementFault::Contradiction { .. } => 1805,
            StatementFault::BadSignature => 3101,
            StatementFault::NotSigned => 3301,
            StatementFault::OtherHead => 3302,
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
