//! Buckets: S3, Google Cloud Storage and Azure, through `object_store`, which locates objects, finds credentials and
//! signs requests. The answers are judged here, as those of any web server.

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
        find, innermost, read,
    },
    paths::{Part, Paths},
};

mod profile;
mod s3;

/// A folder in a bucket.
pub(crate) struct BucketSource {
    store: Box<dyn ObjectStore>,
    folder: Path,
    /// Where credentials were looked for, if none were found except those that the machine may give.
    nowhere: Option<String>,
}

/// Why a bucket cannot be used as a source.
pub(crate) enum BucketError {
    /// The address is wrong, for this reason.
    Address(String),
    /// The files with the credentials cannot be used, for this reason.
    Credentials(String),
}

impl BucketSource {
    /// Reads the address of a bucket. Credentials, endpoints and regions come from the environment variables of the
    /// cloud provider, those of S3 also from a profile.
    ///
    /// # Errors
    /// [`BucketError`].
    pub(crate) fn parse(url: &Url, client: Client) -> Result<Self, BucketError> {
        let address = |error: &(dyn std::error::Error + 'static)| BucketError::Address(innermost(error));
        let (scheme, folder) = ObjectStoreScheme::parse(url).map_err(|error| address(&error))?;
        let connector = |allow_http| Connector { client, allow_http };
        let mut nowhere = None;
        // Only the fetch retries: it knows which other sources have the bytes.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store: Result<Box<dyn ObjectStore>, object_store::Error> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let (builder, asked) = s3::settings().map_err(BucketError::Credentials)?;
                nowhere = asked;
                builder
                    .with_url(url.as_str())
                    .with_retry(retry)
                    .with_http_connector(connector("AWS_ALLOW_HTTP"))
                    .build()
                    .map(|store| Box::new(store) as _)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
                builder
                    .with_retry(retry)
                    .with_http_connector(connector("GOOGLE_ALLOW_HTTP"))
                    .build()
                    .map(|store| Box::new(store) as _)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
                builder
                    .with_retry(retry)
                    .with_http_connector(connector("AZURE_ALLOW_HTTP"))
                    .build()
                    .map(|store| Box::new(store) as _)
            }
            _ => return Err(BucketError::Address("no kind of bucket".to_owned())),
        };
        Ok(Self { store: store.map_err(|error| address(&error))?, folder, nowhere })
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
            (None, Err(error)) => Err(self.not_asked(&error)),
            (None, Ok(_)) => Err(Fault::Refused("was not asked for the object".to_owned())),
        }
    }
}

impl BucketSource {
    /// The fault when no request reached the bucket, mostly for lack of credentials.
    fn not_asked(&self, error: &(dyn std::error::Error + 'static)) -> Fault {
        let is_unreachable = matches!(find(error), Some(Fault::Unreachable(_)));
        let what = match (&self.nowhere, is_unreachable) {
            (None, _) => innermost(error),
            (Some(nowhere), true) => {
                format!("{nowhere}, and the machine's metadata service does not answer")
            }
            (Some(nowhere), false) => {
                format!("{nowhere}, and the machine's metadata service gives none: {}", innermost(error))
            }
        };
        let what = format!("has no credentials: {what}");
        if is_unreachable { Fault::Unreachable(what) } else { Fault::Refused(what) }
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

/// Omits what may be a secret.
impl fmt::Debug for BucketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketSource").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Accompanies the request for an object through `object_store`, and receives the answer past it. `object_store` would
/// refuse answers that a source may give, such as the whole in place of a range, and drop useful headers, such as
/// `Retry-After`.
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

/// Gives `object_store` the client that all sources share.
struct Connector {
    client: Client,
    /// The variable that allows endpoints without TLS.
    allow_http: &'static str,
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
        let timeout = match connect.is_some_and(|time| time == "1s") {
            true => METADATA_TIMEOUT,
            false => CREDENTIALS_TIMEOUT,
        };
        let (client, allow_http) = (self.client.clone(), self.allow_http);
        Ok(HttpClient::new(Service { client, http, allow_http, timeout }))
    }
}

struct Service {
    client: Client,
    /// Whether endpoints without TLS are allowed, and the variable that allows them.
    http: bool,
    allow_http: &'static str,
    /// The timeout for answers of a service that gives credentials.
    timeout: Duration,
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
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.http => Ok(url),
            _ => Err(Fault::Refused(format!(
                "has an endpoint without TLS, which only {}=true allows",
                self.allow_http
            ))),
        }
    }

    /// Sends a request of `object_store` to a service other than the bucket: one that the user has named or the machine
    /// runs in. That service is not a source.
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
        let in_time = tokio::time::timeout(self.timeout, asking).await;
        let too_late = |_| Fault::Unreachable(format!("no answer within {} s", self.timeout.as_secs()));
        let (status, headers, body) = in_time.map_err(too_late)??;
        let mut response = HttpResponse::new(HttpResponseBody::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// An error of a kind that `object_store` never retries.
fn failed(fault: Fault) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, fault)
}

/// Whether the value of a setting means yes.
fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].into_iter().any(|word| value.eq_ignore_ascii_case(word))
}

const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata service of a cloud is near. Outside a cloud, no machine answers at its address.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

const MAX_CREDENTIALS: u64 = 1 << 20;

#[cfg(test)]
mod tests;
