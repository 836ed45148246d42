//! Redirects, which are followed here: where they may lead, and which are remembered.

use std::collections::HashMap;

use ::http::{HeaderMap, StatusCode, header::LOCATION};
use url::Url;

use crate::source::Fault;

/// The most redirects that one request follows.
pub(super) const MAX_REDIRECTS: usize = 10;

/// The target of an answer from `at`, if it is a redirect.
///
/// The target is http or https, and never http after https. User and password are removed: those of the source are not
/// for other servers, and a server has no reason to give any.
pub(super) fn redirect(status: StatusCode, headers: &HeaderMap, at: &Url) -> Result<Option<Url>, Fault> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let refuse = |why: &str| Err(Fault::Refused(format!("redirects {why}")));
    let Some(location) = headers.get(LOCATION) else { return refuse("without saying where to") };
    if location.len() > MAX_LOCATION {
        return refuse("to an address that is too long");
    }
    let joined = std::str::from_utf8(location.as_bytes()).ok().and_then(|text| at.join(text).ok());
    let Some(mut target) = joined else { return refuse("to what is no address") };
    match (at.scheme(), target.scheme()) {
        ("https", "http") => return refuse("from https to http"),
        (_, "http" | "https") => {}
        _ => return refuse("to what is neither http nor https"),
    }
    // Both calls succeed: an http URL has a host.
    let _ = (target.set_username(""), target.set_password(None));
    Ok(Some(target))
}

/// The redirect targets of a source, by path.
#[derive(Default)]
pub(super) struct Moved(HashMap<String, Url>);

impl Moved {
    pub(super) fn target(&self, path: &str) -> Option<Url> {
        self.0.get(path).cloned()
    }

    pub(super) fn remember(&mut self, path: &str, target: Url) {
        // Forgetting them costs one redirect for each file that is still read.
        if self.0.len() >= MAX_MOVED && !self.0.contains_key(path) {
            self.0.clear();
        }
        self.0.insert(path.to_owned(), target);
    }

    pub(super) fn forget(&mut self, path: &str) {
        self.0.remove(path);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The longest address that is followed. Signed URLs have one or two thousand bytes.
const MAX_LOCATION: usize = 8192;

/// The most paths whose targets are kept: together at most 2 MiB.
const MAX_MOVED: usize = 256;
