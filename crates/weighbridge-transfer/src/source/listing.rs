//! Listings: what a hub, or a folder's `SHA256SUMS`, says of the files of a model that nobody may have weighed.
//!
//! The parsers below this module see bytes alone; `http/list.rs` asks for these bytes.

use std::{fmt, sync::Arc};

use weighbridge_manifest::ListedFile;
use weighbridge_tree::{Coded, ErrorCode};

use super::{
    Fault, Source, SourceError, SourceFactory, SourceOptions, http::HttpSource, paths::PathSource,
    secret::is_safe,
};

mod fault;
mod files;
pub(crate) mod sums;
pub(crate) mod tree;

pub use fault::ListingFault;
pub(crate) use fault::Malformed;
pub(crate) use files::Files;

/// The files of a model, as a hub or a folder's `SHA256SUMS` lists them at one time.
///
/// # Guarantee
/// The paths are valid and sorted, none occurs twice, and none lies below another. There is at least one file.
///
/// # Non-guarantee
/// The listing is what its server said, and nobody signed it. A server that changes a file can change the listing with
/// it. The id of a commit is a name here: it is not compared with the tree that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The listed place: `hf://ORG/NAME@COMMIT`, or the address of the folder without what may be a secret.
    pub origin: String,
    /// The commit of a hub, in 40 hexadecimal digits; `None` for a folder.
    pub commit: Option<String>,
    /// The models on which this one is based, in the words of its card; empty if the hub does not say.
    pub base_models: Vec<String>,
    /// Whether the place has a `weighbridge/head.note`: somebody has weighed the model.
    pub has_head: bool,
    /// The files. Those of `weighbridge` and `.cache/huggingface`, which are in no model, are not among them.
    pub files: Vec<ListedFile>,
}

/// Why a place gave no listing.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingError {
    /// The text is not the address of a source.
    Address(SourceError),
    /// The address is of a kind that has no listings.
    Kind,
    /// The address is of another machine and without TLS, so that anybody on the way could have written the listing.
    NoTls,
    /// The server did not give the listing, or a part of it.
    NotGiven {
        /// The address, without secrets.
        origin: String,
        /// The missing part, such as a page or the length of a file.
        what: String,
        /// What the server did instead.
        fault: Fault,
    },
    /// The server gave something that is no listing.
    Malformed {
        /// The address, without secrets.
        origin: String,
        /// The place in what it gave.
        place: String,
        /// What is wrong there.
        fault: ListingFault,
    },
}

impl Listing {
    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

impl SourceFactory {
    /// Lists the files of `hf://org/name[@revision]`, or of a folder of a web server that has `SHA256SUMS`. Returns the
    /// source beside the listing: that of a hub reads exactly the listed commit.
    ///
    /// A server that is busy is waited for, five minutes at most.
    ///
    /// # Errors
    /// [`ListingError`].
    ///
    /// # Cost
    /// For a hub a request for the revision and one for each page of its tree; for a folder one for `SHA256SUMS` and one
    /// for each file. At most 64 MiB of answers are read, and at most 8 MiB of one answer are in memory.
    pub async fn list(
        &self,
        address: &str,
        options: &SourceOptions,
    ) -> Result<(Listing, Arc<dyn Source>), ListingError> {
        let source = self.listed(address, options)?;
        let origin = source.name().to_owned();
        let listing = source.kind().list().await.map_err(|not_listed| not_listed.of(origin))?;
        Ok((listing, Arc::new(source)))
    }

    fn listed(&self, address: &str, options: &SourceOptions) -> Result<PathSource<HttpSource>, ListingError> {
        let (scheme, rest) = address.split_once("://").ok_or(ListingError::Kind)?;
        let source = match scheme.to_ascii_lowercase().as_str() {
            "http" => self.web("http", address, options),
            "https" => self.web("https", address, options),
            "hf" => self.hub(rest, options),
            _ => return Err(ListingError::Kind),
        };
        let source = source.map_err(ListingError::Address)?;
        match is_safe(source.kind().address()) {
            true => Ok(source),
            false => Err(ListingError::NoTls),
        }
    }
}

/// A [`ListingError`] that does not name the address yet.
#[derive(Debug)]
pub(crate) enum NotListed {
    NotGiven { what: String, fault: Fault },
    Malformed(Malformed),
}

impl NotListed {
    fn of(self, origin: String) -> ListingError {
        match self {
            Self::NotGiven { what, fault } => ListingError::NotGiven { origin, what, fault },
            Self::Malformed(Malformed { place, fault }) => ListingError::Malformed { origin, place, fault },
        }
    }
}

impl From<Malformed> for NotListed {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl ListingError {
    /// Whether the server denied the request. Hubs answer so to a request without a token, or with one that gives no
    /// access, for what is private, gated or not there.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::NotGiven { fault: Fault::Refused(what), .. }
            if ["answers 401 ", "answers 403 "].iter().any(|words| what.starts_with(words)))
    }
}

impl Coded for ListingError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Address(error) => error.error_code(),
            Self::Kind | Self::NoTls => ErrorCode::USAGE,
            Self::NotGiven { .. } => ErrorCode::NO_LISTING,
            Self::Malformed { .. } => ErrorCode::LISTING_MALFORMED,
        }
    }
}

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Kind => {
                f.write_str("only hubs (hf://) and folders of web servers with SHA256SUMS list their files")
            }
            Self::NoTls => f.write_str("a listing has to come by https, or from this machine"),
            Self::NotGiven { origin, what, fault } => {
                write!(f, "{origin} does not list its files: {what}: {fault}")
            }
            Self::Malformed { origin, place, fault } => {
                write!(f, "the listing of {origin} is malformed: {place}: {fault}")
            }
        }
    }
}

impl std::error::Error for ListingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address(error) => Some(error),
            Self::Kind | Self::NoTls => None,
            Self::NotGiven { fault, .. } => Some(fault),
            Self::Malformed { fault, .. } => Some(fault),
        }
    }
}

#[cfg(test)]
mod tests;
