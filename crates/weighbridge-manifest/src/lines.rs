//! Reads texts of lines `KEY VALUE` in a fixed order, the form of heads and statements.

use crate::cursor::Cursor;

/// Reads a text line by line, and counts the lines.
pub(crate) struct Lines<'a> {
    rest: Cursor<'a>,
    line: usize,
}

/// The reason why a line is not the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The key of the expected line.
    pub(crate) key: &'static str,
    pub(crate) fault: LineFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFault {
    /// The line has another key, or there is no whole line.
    Key,
    /// The key's value is malformed.
    Value,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: Cursor::new(text), line: 0 }
    }

    /// The number of the last line read, counted from 1.
    pub(crate) fn number(&self) -> usize {
        self.line
    }

    /// The next line without its LF. A line without an LF is not a line.
    pub(crate) fn next(&mut self) -> Option<&'a str> {
        self.line = self.line.saturating_add(1);
        self.rest.until('\n')
    }

    /// The value of the next line, which must have the key `key`. A key without a value has the empty value.
    pub(crate) fn value<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Misread> {
        let found = self
            .next()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .filter(|(found, _)| *found == key);
        let fail = |fault| Misread { line: self.line, key, fault };
        let (_, value) = found.ok_or(fail(LineFault::Key))?;
        read(value).ok_or(fail(LineFault::Value))
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.rest_must_be_empty().is_some()
    }
}
