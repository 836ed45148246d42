//! Model names.

use alloc::string::String;
use core::fmt;

use weighbridge_tree::{Coded, ErrorCode};

/// The name under which a publisher releases a model, such as `sentence-transformers/all-MiniLM-L6-v2`.
///
/// A name consists of parts `[A-Za-z0-9][A-Za-z0-9._-]*` joined by `/`, at most 255 bytes in all (`spec/head.md`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] if the text is not such parts joined by `/`, or has more than 255 bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let well_formed = text.len() <= MAX_NAME && text.split('/').all(is_part);
        if well_formed { Ok(Self(String::from(text))) } else { Err(NameError) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part of the name: on a hub the organisation that publishes the model.
    #[must_use]
    pub fn organisation(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(first, _)| first)
    }
}

fn is_part(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

const MAX_NAME: usize = 255;

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a model name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl Coded for NameError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::MODEL_NAME_MALFORMED
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a model name is parts of letters, digits, '.', '_' and '-' joined by '/', each beginning with a letter or \
             digit, at most 255 bytes",
        )
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_and_refuses_the_rest() {
        for name in ["a", "org/model", "a/b/c", "0", "Meta-Llama/Llama-3.1_8B", &"x".repeat(255)] {
            assert!(ModelName::parse(name).is_ok(), "{name}");
        }
        for name in
            ["", "/", "a/", "/a", "a//b", ".a", "a/-b", "a b", "a\n", "ä", "a/..", "a*", &"x".repeat(256)]
        {
            assert_eq!(ModelName::parse(name), Err(NameError), "{name}");
        }
    }
}
