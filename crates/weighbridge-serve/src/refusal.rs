//! The ways in which a request is not answered with what it asks for.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header, request::Parts};
use weighbridge_store::ViewError;
use weighbridge_tree::Coded as _;

#[cfg(feature = "accept")]
use weighbridge_tree::ErrorCode;

use crate::{
    coming::NoSupply,
    reply::{Answer, PLAIN, insert, text},
};

/// The end of a decision that is no answer with content.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) headers: Box<HeaderMap>,
    /// The fault of a file, for the log.
    pub(crate) fault: Option<Box<ViewError>>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), headers: Box::default(), fault: None }
    }

    /// The sentence of the refusal.
    #[cfg(feature = "accept")]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        insert(&mut self.headers, name, value);
        self
    }

    /// Adds the headers of every answer about the same thing.
    pub(crate) fn about(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Says the stable code of the reason, for programs.
    #[cfg(feature = "accept")]
    pub(crate) fn coded(self, code: ErrorCode) -> Self {
        self.with(CODE, &code.to_string())
    }

    /// The name that hubs have for the reason; their clients look at it.
    pub(crate) fn hub_code(self, code: &str) -> Self {
        self.with(HeaderName::from_static("x-error-code"), code)
    }

    /// The connection is closed after the answer: what follows on it may be a body that nobody reads.
    pub(crate) fn closing(self) -> Self {
        self.with(header::CONNECTION, "close")
    }

    pub(crate) fn into_answer(self) -> Answer {
        let mut answer = text(PLAIN, format!("{}\n", self.message));
        answer.status = self.status;
        answer.headers.extend(*self.headers);
        answer
    }
}

pub(crate) fn no_such_model() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no model of this name is served").hub_code("RepoNotFound")
}

/// A model that is not published, and that does not come.
pub(crate) fn not_supplied(why: NoSupply) -> Refusal {
    match why {
        NoSupply::Unknown => no_such_model(),
        NoSupply::NotNow { retry_after, message } => {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message);
            refusal.with(header::RETRY_AFTER, &retry_after.to_string())
        }
        NoSupply::Refused { message } => Refusal::new(StatusCode::BAD_GATEWAY, message),
    }
}

/// A file of the server that cannot be sent. The place of the file on the server's disk is for its log.
pub(crate) fn unreadable(fault: ViewError) -> Refusal {
    let code = fault.error_code().get();
    let message = match &fault {
        ViewError::Chunk { .. } => format!("not sent: {fault} [W{code}]"),
        _ => format!("the server cannot read this file now [W{code}]"),
    };
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).with(CODE, &code.to_string());
    Refusal { fault: Some(Box::new(fault)), ..refusal }
}

/// Says to `weighbridge fetch` that a file is bad, and that the server is not busy.
const CODE: HeaderName = HeaderName::from_static("weighbridge-code");

/// The server has no room for a request before this time has passed.
pub(crate) fn busy(come_again: Duration) -> Refusal {
    let seconds = come_again.as_secs();
    let message = format!("the server is busy; come again in {seconds} s");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).with(header::RETRY_AFTER, &seconds.to_string())
}

/// A state that does not happen.
pub(crate) fn failed() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "this is a fault of the server; please report it")
}

pub(crate) fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// A request with a body that nobody reads ends its connection.
pub(crate) fn close_after(refusal: Refusal, parts: &Parts) -> Refusal {
    let length = parts.headers.get(header::CONTENT_LENGTH);
    if length.is_none_or(|length| length == "0") { refusal } else { refusal.closing() }
}
