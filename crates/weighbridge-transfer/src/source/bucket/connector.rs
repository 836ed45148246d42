//! How `object_store` asks: by the client that all sources and targets share.
//!
//! For a source, the answers about its objects go past `object_store`. For a target, requests are sent with their bodies, and
//! answers that are no success become [`Denied`].

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{
    HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT_ENCODING, HeaderMap},
};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use url::Url;
use weighbridge_manifest::shown;

use super::is_true;
use crate::source::{
    Fault,
    http::{Answer, Client, Secrets, answer::retry_after, read},
};

/// Accompanies the request for an object through `object_store`, and receives the answer past it. `object_store` would
/// refuse answers that a source may give, such as the whole in place of a range, and drop useful headers, such as
/// `Retry-After`.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) range: Option<Range<u64>>,
    pub(super) answer: Arc<Mutex<Option<Result<Answer, Fault>>>>,
}

impl Asked {
    fn put(&self, answer: Result<Answer, Fault>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    pub(super) fn take(&self) -> Option<Result<Answer, Fault>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a bucket is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Objects are read by a fetch.
    Source,
    /// Objects are written by a push.
    Target,
}

/// The answer of a bucket, or of a service that gives credentials for it, that is no success.
///
/// It has no more than the first line of the store's message: the rest may repeat what was sent, with secrets.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) status: StatusCode,
    /// The store's word for the reason, such as `NoSuchBucket`.
    pub(crate) code: Option<String>,
    message: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

impl Denied {
    fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body.get(..body.len().min(MAX_WORDS)).unwrap_or_default());
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            let line = value.lines().next().unwrap_or_default().trim();
            (!line.is_empty()).then(|| line.chars().take(MAX_LINE).collect::<String>())
        };
        let (code, message) = (element("Code"), element("Message"));
        Self { status, code, message, retry_after: retry_after(headers) }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answers {}", self.status)?;
        for words in [&self.code, &self.message].into_iter().flatten() {
            write!(f, ": {}", shown(words))?;
        }
        Ok(())
    }
}

impl std::error::Error for Denied {}

/// The metadata service of the machine, which may give credentials, does not answer.
#[derive(Debug)]
pub(crate) struct OfMachine(Fault);

impl fmt::Display for OfMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OfMachine {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The bytes of an answer in which a store's words are looked for, and the most characters of each that are kept.
const MAX_WORDS: usize = 16 << 10;
const MAX_LINE: usize = 300;

/// Gives `object_store` the client that all sources and targets share.
pub(super) struct Connector {
    pub(super) client: Client,
    /// The variable that allows endpoints without TLS.
    pub(super) allow_http: &'static str,
    pub(super) purpose: Purpose,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let says = |key| options.get_config_value(&key);
        let http = says(ClientConfigKey::AllowHttp).is_some_and(|value| is_true(&value));
        // `object_store` sets so short a timeout only for the metadata service of the machine.
        let connect = says(ClientConfigKey::ConnectTimeout);
        let (client, allow_http) = (self.client.clone(), self.allow_http);
        let asks = match connect.is_some_and(|time| time == "1s") {
            true => Asks::Machine,
            false if self.purpose == Purpose::Target => Asks::Target,
            false => Asks::Credentials,
        };
        Ok(HttpClient::new(Service { client, http, allow_http, asks }))
    }
}

struct Service {
    client: Client,
    /// Whether endpoints without TLS are allowed, and the variable that allows them.
    http: bool,
    allow_http: &'static str,
    asks: Asks,
}

/// Whom a service asks, beside a source for its objects.
#[derive(Clone, Copy)]
enum Asks {
    /// The metadata service of the machine.
    Machine,
    /// A service that gives credentials for a source.
    Credentials,
    /// A target, or a service that gives credentials for it.
    Target,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("http", &self.http).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(asked) = request.extensions().get::<Asked>().cloned() else {
            let response = self.send(request).await.map_err(|fault| match self.asks {
                Asks::Machine => HttpError::new(HttpErrorKind::Unknown, OfMachine(fault)),
                _ => failed(fault),
            })?;
            return match self.asks {
                Asks::Target if !response.status().is_success() => Err(denied(response).await),
                _ => Ok(response),
            };
        };
        asked.put(match self.url(&request) {
            Ok(url) => {
                self.client
                    .get(url, Secrets::new(request.headers().clone(), None), asked.range.as_ref())
                    .await
            }
            Err(fault) => Err(fault),
        });
        Err(failed(Fault::Unreachable("answered".to_owned())))
    }
}

impl Service {
    fn url(&self, request: &HttpRequest) -> Result<Url, Fault> {
        let url = Url::parse(&request.uri().to_string())
            .map_err(|_| Fault::Refused("has an address that cannot be asked".to_owned()))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.http => Ok(url),
            _ => Err(Fault::Refused(format!(
                "has an endpoint without TLS, which only {}=true allows",
                self.allow_http
            ))),
        }
    }

    /// Sends a request of `object_store` as it is, to a target or to a service other than the bucket: one that the user has
    /// named or the machine runs in.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        let url = self.url(&request)?;
        let (parts, body) = request.into_parts();
        let unread = |_| Fault::Refused("cannot be sent this".to_owned());
        // No copy: what a push sends is one piece.
        let body = body.collect().await.map_err(unread)?.to_bytes();
        let timeout = self.timeout(&parts.method, body.len());
        let mut request = Request::from_parts(parts, body);
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let limit = match self.asks {
            Asks::Machine | Asks::Credentials => MAX_CREDENTIALS,
            Asks::Target => MAX_ANSWER,
        };
        let asking = async {
            let response = self.client.send(request, url).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok((status, headers, Bytes::from(read(response, limit).await?)))
        };
        let in_time = tokio::time::timeout(timeout, asking).await;
        let too_late = |_| Fault::Unreachable(format!("no answer within {} s", timeout.as_secs()));
        let (status, headers, body) = in_time.map_err(too_late)??;
        let mut response = HttpResponse::new(HttpResponseBody::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    fn timeout(&self, method: &Method, sent: usize) -> Duration {
        match self.asks {
            Asks::Machine => METADATA_TIMEOUT,
            Asks::Credentials => CREDENTIALS_TIMEOUT,
            Asks::Target => {
                let sent = u64::try_from(sent).unwrap_or(u64::MAX);
                let bytes = if method == Method::GET { MAX_ANSWER } else { sent };
                let waits = self.client.waits();
                TARGET_TIMEOUT.saturating_add(Duration::from_secs(bytes / SLOWEST)).saturating_add(waits)
            }
        }
    }
}

async fn denied(response: HttpResponse) -> HttpError {
    let (parts, body) = response.into_parts();
    let body = body.bytes().await.unwrap_or_default();
    HttpError::new(HttpErrorKind::Unknown, Denied::new(parts.status, &parts.headers, &body))
}

/// An error of a kind that `object_store` never retries.
fn failed(fault: Fault) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, fault)
}

const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata service of a cloud is near. Outside a cloud, no machine answers at its address.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The time for the answer of a target, beside that for the bytes.
const TARGET_TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes a second that a line to a target carries at least: half a megabit.
const SLOWEST: u64 = 64 << 10;

const MAX_CREDENTIALS: u64 = 1 << 20;

/// The longest answer of a target: a chunk.
const MAX_ANSWER: u64 = 16 << 20;
