//! The one HTTP client: TLS, proxies, and what every request says.

use std::{error::Error, ops::Range, time::Duration};

use ::http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, AUTHORIZATION, RANGE},
};
use reqwest::{Response, Url, redirect::Policy};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use weighbridge_manifest::shown;

use super::{
    answer::Head,
    moved::{MAX_REDIRECTS, redirect},
};
use crate::source::Fault;

/// Asks web servers, and follows their redirects.
///
/// Proxies come from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; certificate authorities from the system, or from
/// `SSL_CERT_FILE` and `SSL_CERT_DIR`. Only HTTP/1.1 is spoken: several connections carry more than one.
#[derive(Clone)]
pub(crate) struct Client(reqwest::Client);

/// What came, of which the body is not read yet.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Where it came from, if not from where it was asked for, and if it can be asked for there without a secret.
    pub(crate) moved_to: Option<Url>,
}

/// What a source is sent, and others must not see.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// Go to the address that is asked, and to none that it redirects to.
    headers: HeaderMap,
    /// Goes also to where a hub redirects within itself.
    token: Option<HeaderValue>,
}

impl Secrets {
    pub(crate) fn new(mut headers: HeaderMap, mut token: Option<HeaderValue>) -> Self {
        headers.values_mut().chain(&mut token).for_each(|value| value.set_sensitive(true));
        Self { headers, token }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        headers
    }

    fn after_redirect(self, from: &Url, to: &Url) -> Self {
        let is_same = from.origin() == to.origin();
        Self { headers: HeaderMap::new(), token: self.token.filter(|_| is_same) }
    }
}

impl Client {
    /// # Errors
    /// A sentence.
    pub(crate) fn new() -> Result<Self, String> {
        let tls = tls().map_err(|error| error.to_string())?;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| innermost(&error))
    }

    /// Asks for a file, or a range of it, and follows redirects. Secrets go where [`Secrets`] says.
    ///
    /// # Errors
    /// [`Fault`]: there is no answer, or it redirects to where nobody should go. Any other answer is given as it is.
    pub(crate) async fn get(
        &self,
        url: Url,
        secrets: Secrets,
        range: Option<&Range<u64>>,
    ) -> Result<Answer, Fault> {
        let (mut at, mut secrets, mut moved) = (url, secrets, false);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(at.clone(), secrets.headers(), range).await?;
            let Some(target) = redirect(response.status(), response.headers(), &at)? else {
                let is_public = moved && secrets.token.is_none();
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
        }
        self.0.get(url).headers(headers).send().await.map_err(|error| no_answer(&error))
    }

    /// For what is not asked of a source: credentials, say.
    #[cfg(feature = "cloud")]
    pub(crate) fn plain(&self) -> &reqwest::Client {
        &self.0
    }
}

impl Answer {
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            status: self.response.status(),
            headers: self.response.headers(),
            length: self.response.content_length(),
        }
    }
}

/// Of a system that knows no certificate authority nothing else is affected: it can still speak http, and believes no
/// server's certificate.
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

/// Why there is no answer. The URL, which may be signed, is no part of it.
pub(crate) fn no_answer(error: &reqwest::Error) -> Fault {
    if error.is_builder() {
        return Fault::Refused("has an address that cannot be asked".to_owned());
    }
    Fault::Unreachable(if error.is_connect() && error.is_timeout() {
        format!("takes no connection within {} s", CONNECT_TIMEOUT.as_secs())
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

/// Tells whether a server answered in another protocol than TLS, such as plain HTTP.
fn has_no_tls(error: &(dyn Error + 'static)) -> bool {
    use rustls::{Error::InvalidMessage, InvalidMessage::InvalidContentType};
    let mut cause = cause_of(error);
    // An error of I/O hides what it holds from `source`, at each layer of the connection.
    while let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        cause = inner;
    }
    matches!(cause.downcast_ref(), Some(InvalidMessage(InvalidContentType)))
}

/// The cause behind all others.
fn cause_of<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// The cause behind all others, bounded and without what a terminal would obey. What stands before it repeats the URL.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let text = cause_of(error).to_string();
    // The system's words; its number for them tells nobody more.
    shown(text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
