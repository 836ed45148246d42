//! Releases, as the record names them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use weighbridge_manifest::ModelName;
use weighbridge_tree::HeadId;

/// One release of a model: the model's name, and the id of the release's head.
///
/// Its text is `NAME@ID`, with the id in 64 lower-case hexadecimal digits; it is serialised as that text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Release {
    name: ModelName,
    head: HeadId,
}

impl Release {
    /// The release of this model that has this head.
    #[must_use]
    pub fn new(name: ModelName, head: HeadId) -> Self {
        Self { name, head }
    }

    /// The name of the model.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.name
    }

    /// The id of the release's head.
    pub fn head(&self) -> HeadId {
        self.head
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.head)
    }
}

impl FromStr for Release {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let (name, head) = text.split_once('@').ok_or(ReleaseError)?;
        let name = ModelName::parse(name).map_err(|_| ReleaseError)?;
        let head = HeadId::from_hex(head).map_err(|_| ReleaseError)?;
        Ok(Self { name, head })
    }
}

impl From<Release> for String {
    fn from(release: Release) -> Self {
        release.to_string()
    }
}

impl TryFrom<String> for Release {
    type Error = ReleaseError;

    fn try_from(text: String) -> Result<Self, ReleaseError> {
        text.parse()
    }
}

/// The text is no release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseError;

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a release is a model name, '@', and the head's id in 64 lower-case hexadecimal digits")
    }
}

impl std::error::Error for ReleaseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_its_text() {
        let text = format!("org/model@{}", "0a".repeat(32));
        let release: Release = text.parse().unwrap();
        assert_eq!((release.name().as_str(), release.head().to_string()), ("org/model", "0a".repeat(32)));
        assert_eq!(release.to_string(), text);
        assert_eq!(serde_json::to_string(&release).unwrap(), format!("{text:?}"));
        assert_eq!(serde_json::from_str::<Release>(&format!("{text:?}")).unwrap(), release);
    }

    #[test]
    fn refuses_what_is_no_release() {
        let hex = "0a".repeat(32);
        for text in [
            "",
            "@",
            "org/model",
            &hex,
            &format!("@{hex}"),
            &format!("a b@{hex}"),
            &format!("a@{}", &hex[1..]),
        ] {
            assert_eq!(text.parse::<Release>(), Err(ReleaseError), "{text}");
        }
        assert_eq!(format!("a@{}", hex.to_uppercase()).parse::<Release>(), Err(ReleaseError));
    }
}
