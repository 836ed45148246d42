//! Answers, and the responses that they become.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    body::{Body, Pieces},
    figures::Record,
    release::len,
};

/// An answer, before it becomes a response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Sent,
}

pub(crate) enum Sent {
    Whole(Bytes),
    /// Bytes of a model, of which the first piece is judged.
    Pieces(Box<Pieces>, Bytes),
    /// Nothing, of something that has this many bytes.
    Length(u64),
}

pub(crate) const PLAIN: &str = "text/plain; charset=utf-8";

/// An answer of one text.
pub(crate) fn text(kind: &'static str, text: String) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answer { status: StatusCode::OK, headers, content: Sent::Whole(text.into()) }
}

/// Inserts a header whose value was made here. One that no header can have is left out.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The response, whose body counts for the record.
pub(crate) fn respond(answer: Answer, mut record: Record, is_head: bool) -> Response<Body> {
    let Answer { status, headers, content } = answer;
    record.status = Some(status);
    let content = match content {
        Sent::Whole(bytes) if is_head => Sent::Length(len(&bytes)),
        content => content,
    };
    let mut length = None;
    let body = match content {
        Sent::Whole(bytes) => Body::whole(bytes, record),
        Sent::Pieces(pieces, first) => Body::pieces(pieces, first, record),
        Sent::Length(bytes) => {
            length = (status != StatusCode::NOT_MODIFIED).then_some(bytes);
            Body::whole(Bytes::new(), record)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
