//! The only text reader of this crate. It moves forward, by literal or delimiter, never by index.

/// A position in a text that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Steps over `literal`. Returns `None`, without a move, if the text does not continue with `literal`.
    pub(crate) fn literal(&mut self, literal: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// Reads up to the next `delimiter`, and steps over the delimiter.
    pub(crate) fn until(&mut self, delimiter: char) -> Option<&'a str> {
        let (before, behind) = self.rest.split_once(delimiter)?;
        self.rest = behind;
        Some(before)
    }

    /// Reads characters as long as `of_kind` holds.
    pub(crate) fn while_is(&mut self, of_kind: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !of_kind(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    pub(crate) fn char(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    /// The unread rest of the text.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(crate) fn rest_must_be_empty(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

/// Reads a number in its one canonical form. The number is below 2^53, so that every language can hold it.
pub(crate) fn canonical_number(digits: &str) -> Option<u64> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if !canonical {
        return None;
    }
    digits.parse().ok().filter(|&n| n < MAX_NUMBER)
}

/// 2^53: the first integer that JSON readers with doubles can confuse with another.
pub(crate) const MAX_NUMBER: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(canonical_number("0"), Some(0));
        assert_eq!(canonical_number("10"), Some(10));
        assert_eq!(canonical_number("9007199254740991"), Some(MAX_NUMBER - 1));
        for wrong in
            ["", "00", "01", "+1", "-1", "1.0", "1e3", " 1", "9007199254740992", "18446744073709551616", "१"]
        {
            assert_eq!(canonical_number(wrong), None, "{wrong}");
        }
    }
}
