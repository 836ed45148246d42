//! Buckets: S3, Google Cloud Storage, Azure, by `object_store`, which knows where their objects are, finds credentials
//! and signs. The answers are judged here, as those of any web server.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{Extensions, Request};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use object_store::{
    ClientConfigKey, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreScheme, RetryConfig,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
    gcp::GoogleCloudStorageBuilder,
    path::Path,
};
use url::Url;

use super::{
    Fault,
    http::{
        Answer, Client, HttpBody, Secrets,
        answer::{self, Given},
        innermost, read,
    },
    paths::{Part, Paths},
};

/// A folder in a bucket.
pub(crate) struct BucketSource {
    store: Box<dyn ObjectStore>,
    folder: Path,
}

impl BucketSource {
    /// Credentials, endpoints and regions come from the environment variables of the bucket's maker.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(url: &Url, client: Client) -> Result<Self, String> {
        let (scheme, folder) = ObjectStoreScheme::parse(url).map_err(|error| innermost(&error))?;
        let connector = Connector(client);
        // Retries are the fetch's business: it knows who else has the bytes.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store: Result<Box<dyn ObjectStore>, object_store::Error> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::from_env().with_url(url.as_str());
                builder
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build()
                    .map(|store| Box::new(store) as _)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
                builder
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build()
                    .map(|store| Box::new(store) as _)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
                builder
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build()
                    .map(|store| Box::new(store) as _)
            }
            _ => return Err("no kind of bucket".to_owned()),
        };
        Ok(Self { store: store.map_err(|error| innermost(&error))?, folder })
    }

    async fn ask(&self, path: &str, range: Option<Range<u64>>) -> Result<Answer, Fault> {
        let object = match self.folder.as_ref() {
            "" => Path::parse(path),
            folder => Path::parse(format!("{folder}/{path}")),
        };
        let object = object.map_err(|_| Fault::Missing)?;
        let asked = Asked { range: range.clone(), answer: Arc::default() };
        let mut extensions = Extensions::new();
        extensions.insert(asked.clone());
        let options = GetOptions { range: range.map(GetRange::Bounded), extensions, ..GetOptions::default() };
        let result = self.store.get_opts(&object, options).await;
        match (asked.take(), result) {
            (Some(answer), _) => answer,
            (None, Err(error)) => Err(not_asked(&error)),
            (None, Ok(_)) => Err(Fault::Refused("was not asked for the object".to_owned())),
        }
    }
}

impl Paths for BucketSource {
    async fn whole(&self, path: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        let answer = self.ask(path, None).await?;
        answer::check_whole(&answer.head(), limit)?;
        read(answer.response, limit).await
    }

    async fn part(&self, path: &str, range: Range<u64>, size: u64) -> Result<Part, Fault> {
        let mut answer = self.ask(path, Some(range.clone())).await?;
        let mut given = answer::check_range(&answer.head(), &range, size)?;
        if given == Given::Unclear {
            answer = self.ask(path, None).await?;
            given = answer::check_range(&answer.head(), &range, size)?;
        }
        HttpBody::of(answer.response, &given)
    }
}

/// Without what may be a secret.
impl fmt::Debug for BucketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketSource").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Goes with the request for an object through `object_store`, and takes the answer past it: that would refuse what a
/// source may answer, such as the whole in place of a range, and forget what is worth knowing, such as `Retry-After`.
#[derive(Clone)]
struct Asked {
    range: Option<Range<u64>>,
    answer: Arc<Mutex<Option<Result<Answer, Fault>>>>,
}

impl Asked {
    fn put(&self, answer: Result<Answer, Fault>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    fn take(&self) -> Option<Result<Answer, Fault>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Gives `object_store` the client that all sources have.
struct Connector(Client);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let schemes: &[&str] = if http { &["https", "http"] } else { &["https"] };
        Ok(HttpClient::new(Service { client: self.0.clone(), schemes }))
    }
}

struct Service {
    client: Client,
    schemes: &'static [&'static str],
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(asked) = request.extensions().get::<Asked>().cloned() else {
            return self.credentials(request).await.map_err(failed);
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
        if !self.schemes.contains(&url.scheme()) {
            return Err(Fault::Refused(
                "has an endpoint without TLS, which its settings do not allow".to_owned(),
            ));
        }
        Ok(url)
    }

    /// What `object_store` asks others, whom its user has named or the machine runs in: no source.
    async fn credentials(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        let url = self.url(&request)?;
        let (parts, body) = request.into_parts();
        let body = body.as_bytes().cloned().unwrap_or_default();
        let request = Request::from_parts(parts, Full::new(body));
        let asking = async {
            let response = self.client.send(request, url).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok((status, headers, Bytes::from(read(response, MAX_CREDENTIALS).await?)))
        };
        let in_time = tokio::time::timeout(CREDENTIALS_TIMEOUT, asking).await;
        let too_late =
            |_| Fault::Unreachable(format!("no answer within {} s", CREDENTIALS_TIMEOUT.as_secs()));
        let (status, headers, body) = in_time.map_err(too_late)??;
        let mut response = HttpResponse::new(HttpResponseBody::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Of a kind that is never tried again.
fn failed(fault: Fault) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, fault)
}

/// Why the bucket itself was not asked: mostly for lack of credentials.
fn not_asked(error: &(dyn std::error::Error + 'static)) -> Fault {
    let what = format!("has no credentials: {}", innermost(error));
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Fault::Unreachable(_)) = error.downcast_ref::<Fault>() {
            return Fault::Unreachable(what);
        }
        cause = error.source();
    }
    Fault::Refused(what)
}

const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

const MAX_CREDENTIALS: u64 = 1 << 20;

#[cfg(test)]
mod tests;
