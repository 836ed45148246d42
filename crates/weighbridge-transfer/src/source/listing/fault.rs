//! The reasons why bytes are no listing.

use std::fmt;

use weighbridge_manifest::{PathError, shown_beginning};

/// What is wrong with a listing at one place.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingFault {
    /// The answer of a hub is not JSON, or lacks something, or has it twice or of another type. Holds the words of the
    /// parser.
    Json(String),
    /// The answer of a hub about a revision names no commit of 40 hexadecimal digits.
    Commit,
    /// The text is not UTF-8.
    NotUtf8,
    /// The line is neither a digest with a path, nor a comment, nor empty.
    Line,
    /// A file cannot have this path.
    Path(PathError),
    /// The path is listed twice.
    Twice,
    /// The path lies below another listed file.
    BelowAFile,
    /// The entry is neither a file nor a folder. Holds its type, such as `submodule`.
    Kind(String),
    /// The entry has no size, or no digest of its content.
    Incomplete,
    /// The entry has two different sizes.
    TwoSizes,
    /// The size is 2^53 or more.
    Size {
        /// The size in bytes.
        size: u64,
    },
    /// The digest is not hexadecimal, or has another length.
    Digest,
    /// No file is listed.
    Empty,
    /// The listing has more pages, bytes or files than a listing may have.
    TooLong,
    /// The next page is one that was given before.
    Loop,
    /// The next page is on another server, or has no address.
    Elsewhere,
}

impl fmt::Display for ListingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(words) => write!(f, "not the JSON of a hub: {words}"),
            Self::Commit => f.write_str("names no commit of 40 hexadecimal digits"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Line => f.write_str("not a SHA-256 with a path"),
            Self::Path(error) => error.fmt(f),
            Self::Twice => f.write_str("the path is listed twice"),
            Self::BelowAFile => f.write_str("the path lies below another listed file"),
            Self::Kind(kind) => {
                write!(f, "neither a file nor a folder, but \"{}\"", shown_beginning(kind, 40))
            }
            Self::Incomplete => f.write_str("has no size, or no digest of its content"),
            Self::TwoSizes => f.write_str("has two sizes that differ"),
            Self::Size { size } => write!(f, "{size} bytes; a file of a model has less than 2^53"),
            Self::Digest => f.write_str("the digest is malformed"),
            Self::Empty => f.write_str("no file is listed"),
            Self::TooLong => f.write_str("longer than any listing that is read"),
            Self::Loop => f.write_str("leads to a page that was there before"),
            Self::Elsewhere => f.write_str("leads to another server for the next page"),
        }
    }
}

impl std::error::Error for ListingFault {}

/// A place of a listing, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// A path, a page or a line, fit to be shown.
    pub(crate) place: String,
    pub(crate) fault: ListingFault,
}

impl ListingFault {
    pub(crate) fn at(self, place: impl Into<String>) -> Malformed {
        Malformed { place: place.into(), fault: self }
    }

    /// The fault of an entry with this path, which may be any text.
    pub(crate) fn of(self, path: &str) -> Malformed {
        self.at(if path.is_empty() { "a path".to_owned() } else { shown_beginning(path, 200) })
    }
}
