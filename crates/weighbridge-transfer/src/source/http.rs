//! Web servers and hubs as sources: which requests are sent, where, and with which secrets.
//!
//! `answer` judges the answers of a server, and `moved` judges its redirects, before a byte is handed on.

use std::{
    fmt,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ::http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{
    Fault,
    paths::{Part, Paths},
};
use crate::guide::Claim;

pub(crate) mod answer;
mod body;
mod client;
mod connection;
mod hub;
mod list;
mod moved;
mod outgoing;
#[cfg(test)]
pub(crate) mod scripted;
mod secrets;
#[cfg(test)]
mod tests;

use answer::Given;
pub(crate) use body::{HttpBody, read};
pub(crate) use client::{Answer, Client};
#[cfg(feature = "cloud")]
pub(crate) use client::{find, innermost};
pub(crate) use hub::Hub;
use moved::Moved;
pub(crate) use secrets::{Secrets, Token};

/// A web server, or a hub.
pub(crate) struct HttpSource {
    client: Client,
    base: Base,
    secrets: Secrets,
    /// The redirect targets of the source, by path.
    moved: Mutex<Moved>,
}

/// The base that paths are relative to.
pub(crate) enum Base {
    /// A folder. Its query is part of every request.
    Folder(Url),
    Hub(Hub),
}

impl HttpSource {
    pub(crate) fn new(client: Client, base: Base, secrets: Secrets) -> Self {
        Self { client, base, secrets, moved: Mutex::default() }
    }

    async fn try_open(
        &self,
        path: &str,
        range: &Range<u64>,
        size: u64,
        claim: Option<&Claim>,
    ) -> Result<Part, Fault> {
        let mut answer = self.ask(path, Some(range), claim).await?;
        let mut given = answer::check_range(&answer.head(), range, size)?;
        if given == Given::Unclear {
            answer = self.ask(path, None, None).await?;
            given = answer::check_range(&answer.head(), range, size)?;
        }
        HttpBody::of(answer.response, &given)
    }

    /// Sends the request to the last redirect target, if there is one, or else to the source.
    async fn ask(
        &self,
        path: &str,
        range: Option<&Range<u64>>,
        claim: Option<&Claim>,
    ) -> Result<Answer, Fault> {
        let known = self.moved().target(path);
        if let Some(target) = known {
            let answer = self.client.get(target, Secrets::default(), range).await?;
            if !may_have_expired(answer.response.status()) {
                self.remember(path, &answer);
                return Ok(answer);
            }
            self.moved().forget(path);
        }
        let answer = self.ask_source(path, range, claim).await?;
        self.remember(path, &answer);
        Ok(answer)
    }

    async fn ask_source(
        &self,
        path: &str,
        range: Option<&Range<u64>>,
        claim: Option<&Claim>,
    ) -> Result<Answer, Fault> {
        match &self.base {
            Base::Folder(url) => {
                let url = beneath(url, path.split('/'));
                self.client.get(url, self.secrets.clone().with_claim(claim), range).await
            }
            // Hubs have no swarms.
            Base::Hub(hub) => {
                let url = hub.file(&self.client, &self.secrets, path).await?;
                self.client.get(url, self.secrets.clone(), range).await
            }
        }
    }

    fn remember(&self, path: &str, answer: &Answer) {
        if let Some(target) = &answer.moved_to
            && answer.response.status().is_success()
        {
            self.moved().remember(path, target.clone());
        }
    }

    /// Locks the redirects. No code panics while holding the lock.
    fn moved(&self) -> MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paths for HttpSource {
    /// Asks the source itself each time, so that changes there are seen.
    async fn whole(&self, path: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        let answer = self.ask_source(path, None, None).await?;
        answer::check_whole(&answer.head(), limit)?;
        read(answer.response, limit).await
    }

    async fn part(
        &self,
        path: &str,
        range: Range<u64>,
        size: u64,
        claim: Option<&Claim>,
    ) -> Result<Part, Fault> {
        let opened = self.try_open(path, &range, size, claim).await;
        // The next request begins at the source, which may redirect it elsewhere.
        if opened.as_ref().is_err_and(|fault| !matches!(fault, Fault::Busy { .. } | Fault::HeldBack(_))) {
            self.moved().forget(path);
        }
        opened
    }
}

/// Omits secrets: errors and logs may show it.
impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = match &self.base {
            Base::Folder(url) => public(url),
            Base::Hub(hub) => hub.to_string(),
        };
        f.debug_struct("HttpSource").field("base", &base).finish_non_exhaustive()
    }
}

/// Whether a redirect target may have expired, by its answer. An example is a signed URL whose time is over; stores
/// answer that with several statuses. Answers that the server is busy, or has no such range, do not count.
fn may_have_expired(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 408 | 416 | 429)
}

/// The URL of a path below another URL, by the names on the way. The query stays.
///
/// Every character that may need escaping is escaped: servers differ in which others they treat as special.
pub(crate) fn beneath<'n>(base: &Url, names: impl IntoIterator<Item = &'n str>) -> Url {
    let mut path = base.path().trim_end_matches('/').to_owned();
    for name in names {
        path.push('/');
        path.extend(utf8_percent_encode(name, &ESCAPED));
    }
    let mut url = base.clone();
    url.set_path(&path);
    url
}

const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A URL without what may be a secret: user, password, query, fragment.
pub(crate) fn public(url: &Url) -> String {
    let mut url = url.clone();
    // Both calls succeed: an http URL has a host.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}
