//! The one HTTP client: TLS, proxies, and the headers of every request.

use std::{
    error::Error,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, PROXY_AUTHORIZATION, RANGE, USER_AGENT},
    uri::Scheme,
};
use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use hyper_util::{
    client::{legacy, proxy::matcher::Matcher},
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use url::Url;
use weighbridge_bandwidth::Share;
use weighbridge_manifest::shown;

use super::{
    answer::Head,
    body::Response,
    connection::{AGENT, Connector, Flood, READ_AT_ONCE, TakesNoConnection},
    moved::{MAX_REDIRECTS, redirect},
    outgoing::Outgoing,
    secrets::Secrets,
};
use crate::source::Fault;

/// Asks web servers, and follows their redirects.
///
/// Proxies come from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; certificate authorities from the system, or from
/// `SSL_CERT_FILE` and `SSL_CERT_DIR`. The client speaks only HTTP/1.1: several connections carry more than one.
#[derive(Clone)]
pub(crate) struct Client {
    http: legacy::Client<Connector, Outgoing>,
    proxies: Arc<Matcher>,
    /// The number of sources that share the client.
    sources: Arc<AtomicUsize>,
    /// The share of a budget that the bodies of requests wait for, if there is one.
    send: Option<Share>,
}

/// A received answer whose body is not read yet.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// The final address of the answer, if it differs from the requested one and can be asked without a secret.
    pub(crate) moved_to: Option<Url>,
}

impl Client {
    /// # Errors
    /// A sentence that says why the client cannot be set up.
    pub(crate) fn new() -> Result<Self, String> {
        let tls = tls().map_err(|error| error.to_string())?;
        let proxies = Arc::new(Matcher::from_system());
        let connector = Connector::new(tls, Arc::clone(&proxies), CONNECT_TIMEOUT);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_SERVER)
            .http1_max_buf_size(READ_AT_ONCE)
            .http1_max_headers(MAX_HEADERS);
        Ok(Self { http: builder.build(connector), proxies, sources: Arc::default(), send: None })
    }

    /// The same client, whose bodies of requests wait for a share of a budget.
    pub(crate) fn sending(self, share: Share) -> Self {
        Self { send: Some(share), ..self }
    }

    /// The bytes per second that bodies may have now; `None` if there is no limit.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.send.as_ref()?.budget().rate()
    }

    /// The time that bodies may have to wait for their turn: that of as much as may be under way at the least rate.
    pub(crate) fn waits(&self) -> Duration {
        let rate = self.send.as_ref().and_then(|share| share.budget().least_rate());
        rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs((MOST_UNDER_WAY / rate.max(1)).saturating_add(1))
        })
    }

    /// The same client for one more source.
    pub(crate) fn share(&self) -> Self {
        self.sources.fetch_add(1, Ordering::Relaxed);
        self.clone()
    }

    /// Whether a connection to each source could exceed the process's open files: some systems allow a process only
    /// 256.
    fn is_crowded(&self) -> bool {
        self.sources.load(Ordering::Relaxed) > FEW_SOURCES
    }

    /// Whether requests to an address go by way of a proxy.
    pub(crate) fn has_proxy(&self, url: &Url) -> bool {
        Uri::try_from(url.as_str()).is_ok_and(|uri| self.proxies.intercept(&uri).is_some())
    }

    /// Asks for a file, or a range of it, and follows redirects. Secrets go where [`Secrets`] says. A request that is
    /// denied with a token that may have expired is repeated once without it: for such a token hubs deny what is
    /// public, too.
    ///
    /// # Errors
    /// [`Fault`]: there is no answer, or it redirects to a place that is not allowed. Any other answer is returned as
    /// it is.
    pub(crate) async fn get(
        &self,
        url: Url,
        secrets: Secrets,
        range: Option<&Range<u64>>,
    ) -> Result<Answer, Fault> {
        let answer = self.follow(url.clone(), secrets.clone(), range).await?;
        let Some(without) = secrets.without_kept_token().filter(|_| is_denied(&answer)) else {
            return Ok(answer);
        };
        let again = self.follow(url, without, range).await?;
        if again.response.status().is_success() {
            secrets.give_up_kept_token();
        }
        // If both requests are denied, the hub's reason for the one with the token is returned.
        Ok(if is_denied(&again) { answer } else { again })
    }

    /// Asks for a file, and follows no redirect.
    ///
    /// # Errors
    /// [`Fault`]: there is no answer. Any answer is returned as it is.
    pub(crate) async fn get_here(&self, url: Url, secrets: &Secrets) -> Result<Answer, Fault> {
        let response = self.once(url, secrets.headers(), None).await?;
        Ok(Answer { response, moved_to: None })
    }

    async fn follow(&self, url: Url, secrets: Secrets, range: Option<&Range<u64>>) -> Result<Answer, Fault> {
        let (mut at, mut secrets, mut moved) = (url, secrets, false);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(at.clone(), secrets.headers(), range).await?;
            let Some(target) = redirect(response.status(), response.headers(), &at)? else {
                let is_public = moved && !secrets.has_token();
                return Ok(Answer { response, moved_to: is_public.then_some(at) });
            };
            secrets = secrets.after_redirect(&at, &target);
            (at, moved) = (target, true);
        }
        Err(Fault::Refused(format!("redirects more than {MAX_REDIRECTS} times")))
    }

    async fn once(
        &self,
        url: Url,
        mut headers: HeaderMap,
        range: Option<&Range<u64>>,
    ) -> Result<Response, Fault> {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(Range { start, end }) = range {
            let text = format!("bytes={start}-{}", end.saturating_sub(1));
            let value = HeaderValue::try_from(text);
            headers
                .insert(RANGE, value.map_err(|_| Fault::Refused("cannot be asked for a range".to_owned()))?);
        } else if self.is_crowded() {
            // Every source is asked for its head, and most are asked for nothing else soon.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut request = Request::new(Bytes::new());
        *request.headers_mut() = headers;
        self.send(request, url).await
    }

    /// Sends a request as it is, with the headers that every request has.
    ///
    /// # Errors
    /// [`Fault`]: there is no answer.
    pub(crate) async fn send(&self, mut request: Request<Bytes>, mut url: Url) -> Result<Response, Fault> {
        let credentials = credentials(&mut url)?;
        let uri = Uri::try_from(url.as_str()).map_err(|_| cannot_be_asked())?;
        let headers = request.headers_mut();
        let mut add = |name, value: HeaderValue| {
            headers.entry(name).or_insert(value);
        };
        add(USER_AGENT, HeaderValue::from_static(AGENT));
        add(ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(credentials) = credentials {
            add(AUTHORIZATION, credentials);
        }
        // With TLS, the proxy gets its credentials when the connection is made.
        if uri.scheme() == Some(&Scheme::HTTP)
            && let Some(secret) = self.proxies.intercept(&uri).and_then(|proxy| proxy.basic_auth().cloned())
        {
            add(PROXY_AUTHORIZATION, secret);
        }
        *request.uri_mut() = uri;
        let request = request.map(|body| Outgoing::new(body, self.send.as_ref()));
        self.http.request(request).await.map(Response::new).map_err(|error| no_answer(&error))
    }
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer.response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Removes user and password from an address, and returns them as a header.
fn credentials(url: &mut Url) -> Result<Option<HeaderValue>, Fault> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut text: Vec<u8> = percent_decode_str(url.username()).collect();
    text.push(b':');
    text.extend(percent_decode_str(url.password().unwrap_or_default()));
    let value = HeaderValue::try_from(format!("Basic {}", Base64::encode_string(&text)));
    let mut value = value.map_err(|_| cannot_be_asked())?;
    value.set_sensitive(true);
    // Both calls succeed: an http URL has a host.
    let _ = (url.set_username(""), url.set_password(None));
    Ok(Some(value))
}

fn cannot_be_asked() -> Fault {
    Fault::Refused("has an address that cannot be asked".to_owned())
}

impl Answer {
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            status: self.response.status(),
            headers: self.response.headers(),
            length: self.response.declared_length(),
        }
    }
}

/// The TLS settings. On a system without certificate authorities the client still works: it can speak http, and trusts
/// no server's certificate.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = rustls::crypto::ring::default_provider();
    let builder =
        ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
    let verified = builder
        .clone()
        .with_platform_verifier()
        .unwrap_or_else(|_| builder.with_root_certificates(RootCertStore::empty()));
    let mut config = verified.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The fault when there is no answer. It does not contain the URL, which may be signed.
fn no_answer(error: &legacy::Error) -> Fault {
    Fault::Unreachable(if let Some(cause) = find::<TakesNoConnection>(error) {
        cause.to_string()
    } else if let Some(cause) = find::<Flood>(error) {
        cause.to_string()
    } else if error.is_connect() && has_no_tls(error) {
        "speaks no TLS where it was asked by https".to_owned()
    } else if error.is_connect() {
        let why = innermost(error);
        match why.strip_prefix("failed to lookup address information: ") {
            Some(why) => format!("its host cannot be found: {why}"),
            None => format!("cannot be connected to: {why}"),
        }
    } else {
        format!("breaks off before it answers: {}", innermost(error))
    })
}

/// The first cause of a type. An I/O error hides its inner error from `source`, at each layer of the connection.
pub(crate) fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Tells whether a server answered in another protocol than TLS, such as plain HTTP.
fn has_no_tls(error: &(dyn Error + 'static)) -> bool {
    use rustls::{Error::InvalidMessage, InvalidMessage::InvalidContentType};
    matches!(find(error), Some(InvalidMessage(InvalidContentType)))
}

/// The root cause of an error.
fn cause_of<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// The root cause as text, bounded and without terminal control characters. The outer errors repeat the URL, so they
/// are left out.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let text = cause_of(error).to_string();
    // The system's words alone: its number for the error tells a reader nothing more.
    shown(text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words))
}

/// The bytes that a push may have under way at once, where chunks are not larger than 8 MiB.
const MOST_UNDER_WAY: u64 = 64 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most headers that an answer may have.
const MAX_HEADERS: usize = 100;

/// How long an unused connection stays open.
const IDLE_TIME: Duration = Duration::from_secs(15);

/// How many unused connections to one server stay open: as many as a fetch has to one source.
const IDLE_PER_SERVER: usize = 8;

/// The number of sources up to which unused connections may stay open.
const FEW_SOURCES: usize = 32;
