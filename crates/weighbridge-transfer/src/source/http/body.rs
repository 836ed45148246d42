//! Bodies of answers: exactly the requested bytes, or a fault.

use std::{error::Error, io, ops::Range};

use ::http::{HeaderMap, StatusCode, response::Parts};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::{answer::Given, client::innermost, connection::Meter};
use crate::source::{Fault, paths::Part};

/// An answer whose body may still have to come.
pub(crate) struct Response {
    head: Parts,
    body: Incoming,
    /// The meter of its connection.
    meter: Meter,
}

impl Response {
    pub(super) fn new(response: ::http::Response<Incoming>) -> Self {
        let (mut head, body) = response.into_parts();
        let meter = head.extensions.remove().unwrap_or_default();
        Self { head, body, meter }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The declared length of the body, if there is one.
    pub(super) fn declared_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next bytes of the body, possibly empty; `None` at its end.
    async fn next(&mut self) -> hyper::Result<Option<Bytes>> {
        loop {
            let Some(frame) = self.body.frame().await.transpose()? else { return Ok(None) };
            // Trailers are dropped.
            if let Ok(bytes) = frame.into_data() {
                self.meter.restart();
                return Ok(Some(bytes));
            }
        }
    }
}

/// The bytes of a range, as they arrive. There is no timeout here: the fetch watches the source.
pub(crate) struct HttpBody {
    response: Response,
    given: u64,
    len: u64,
}

impl HttpBody {
    /// The body of an answer. It may hold more behind the `given` bytes, which is not read.
    ///
    /// # Errors
    /// [`Fault`] if the answer does not say which bytes it gives.
    pub(crate) fn of(response: Response, given: &Given) -> Result<Part, Fault> {
        let Given::Bytes(Range { start, end }) = *given else {
            return Err(Fault::Refused("does not say which bytes it gives".to_owned()));
        };
        let body = Self { response, given: 0, len: end.saturating_sub(start) };
        let next =
            |mut body: Self| async move { Ok::<_, Fault>(body.next().await?.map(|bytes| (bytes, body))) };
        Ok(Part { start, bytes: stream::try_unfold(body, next).boxed() })
    }

    /// The next bytes, never empty; `None` when all have come. Bytes behind them are ignored.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] if the connection ends early.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let left = self.len.saturating_sub(self.given);
        if left == 0 {
            return Ok(None);
        }
        loop {
            match self.response.next().await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(mut bytes)) => {
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    self.given = self.given.saturating_add(len(&bytes));
                    return Ok(Some(bytes));
                }
                Ok(None) => return Err(ended(self.given, Some(self.len), None)),
                Err(error) => return Err(ended(self.given, Some(self.len), Some(&error))),
            }
        }
    }
}

/// All of a body of at most `limit` bytes.
///
/// # Errors
/// [`Fault`]: the body ends before its declared length, or is longer than `limit`. Of a longer body no more than
/// `limit` bytes are kept.
pub(crate) async fn read(mut response: Response, limit: u64) -> Result<Vec<u8>, Fault> {
    let declared = response.declared_length();
    let mut all = Vec::new();
    loop {
        match response.next().await {
            Ok(Some(bytes)) if len(&all).saturating_add(len(&bytes)) > limit => {
                return Err(Fault::OtherFile(format!("has more than the {limit} bytes that it may have")));
            }
            Ok(Some(bytes)) => all.extend_from_slice(&bytes),
            Ok(None) => return Ok(all),
            Err(error) => return Err(ended(len(&all), declared, Some(&error))),
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The fault of a body that ended early, with the cause if that says more.
fn ended(given: u64, of: Option<u64>, error: Option<&hyper::Error>) -> Fault {
    let of = of.map_or_else(String::new, |len| format!(" of {len}"));
    let why = error.filter(|error| !is_plain_end(*error)).map(|error| format!(": {}", innermost(error)));
    Fault::Unreachable(format!("ended after {given}{of} bytes{}", why.unwrap_or_default()))
}

/// Whether an error says only that the connection ended.
fn is_plain_end(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
