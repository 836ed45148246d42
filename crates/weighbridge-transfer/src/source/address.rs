//! Addresses: turns the text that a person writes into a source of the right kind.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ::http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use url::Url;
use weighbridge_manifest::shown;
use weighbridge_store::shown_path;
use weighbridge_tree::{Coded, ErrorCode};

use super::{
    Source,
    folder::FolderSource,
    http::{Base, Client, HttpSource, Hub, Secrets, Token, public},
    paths::{PathSource, Paths},
};

/// Makes sources from addresses. All sources of one factory share one HTTP client: its connections, and the certificate
/// authorities that it read once.
///
/// # Example
/// ```
/// use weighbridge_transfer::{SourceError, SourceFactory, SourceOptions};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().to_str().ok_or("the path is not UTF-8")?;
///
/// let (sources, options) = (SourceFactory::new(), SourceOptions::default());
/// let mirror = sources.parse("https://user:secret@mirror.example/tiny?signature=abc", &options)?;
/// assert_eq!(mirror.name(), "https://mirror.example/tiny", "no secret is shown");
/// assert_eq!(sources.parse("hf://example/tiny@v1.0", &options)?.name(), "hf://example/tiny@v1.0");
/// assert_eq!(sources.parse(path, &options)?.name(), path);
///
/// assert!(matches!(sources.parse("ftp://mirror.example/tiny", &options), Err(SourceError::Scheme { .. })));
/// assert!(matches!(sources.parse("no/such/folder", &options), Err(SourceError::Folder { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct SourceFactory {
    /// Made for the first source that needs it. Folders need none.
    client: OnceLock<Result<Client, String>>,
}

/// The settings of a source beside its address.
///
/// # Example
/// ```
/// use weighbridge_transfer::{SourceFactory, SourceOptions};
///
/// let options = SourceOptions { hub_token: Some("hf_secret".into()), ..SourceOptions::default() };
/// let source = SourceFactory::new().parse("hf://example/private", &options)?;
/// assert!(!format!("{source:?} {options:?}").contains("hf_secret"), "a log may have both");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct SourceOptions {
    /// Sent with every request to a web server or a hub, and never to a redirect target. Buckets and folders take none.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The address of the hub; `None` for `https://huggingface.co`.
    pub hub_endpoint: Option<String>,
    /// The token for the hub. It is also sent to redirect targets within the hub, but to no other place.
    pub hub_token: Option<String>,
    /// A fallback if there is no `hub_token`: a token that the caller did not give for this fetch, such as one that a
    /// login left on the machine. A request that the hub denies with it is repeated once without it. If that succeeds,
    /// the source does not send the token any more. *An expired token makes a hub deny even what is public.*
    pub kept_hub_token: Option<String>,
}

/// Why a text is not a valid source. The text itself, which may hold a secret, is not part of the error.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// The text begins as an address does, and cannot be parsed as one.
    Address {
        /// The scheme of the address.
        scheme: &'static str,
        /// The reason.
        why: String,
    },
    /// The text is an address of an unknown scheme.
    Scheme {
        /// The scheme of the address.
        scheme: String,
    },
    /// The text is the address of a bucket, and this build does not support buckets.
    NoBuckets,
    /// The text is not an address, and there is no folder of this name.
    Folder {
        /// The name.
        path: PathBuf,
        /// The message of the operating system, or that the path is not a folder.
        why: String,
    },
    /// The files that may hold credentials for the source, or the profile in them, cannot be used.
    Credentials(String),
    /// The HTTP client cannot be set up.
    Setup(String),
}

impl fmt::Debug for SourceFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFactory").finish_non_exhaustive()
    }
}

/// Whether a source has a model, or only its metadata.
#[derive(Clone, Copy)]
enum Of {
    Model,
    Metadata,
}

impl Of {
    fn made<P: Paths>(self, source: PathSource<P>) -> Arc<dyn Source> {
        match self {
            Self::Model => Arc::new(source),
            Self::Metadata => Arc::new(source.of_metadata()),
        }
    }
}

impl SourceFactory {
    /// A factory. Its client is made when it is first needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the address, or the folder's name, of a source that has the model:
    ///
    /// - `https://host/folder`, or `http`; a query is kept with every request
    /// - `hf://org/name`, a model of the hub (or `hf://name`, of one without an organisation); its revision `main` unless another follows, as in `@v1.0`
    /// - `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`, `abfss://container@host/folder`, with the
    ///   feature `cloud`
    /// - anything else: a local folder
    ///
    /// Sends no request yet. Proxies, certificate authorities and credentials of buckets come from the usual
    /// environment variables; no other setting does. Without S3 keys in the environment, they come from the profile
    /// that `AWS_PROFILE` names, or `default`, in the files of Amazon's tools, and last from the machine's metadata
    /// service.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn parse(&self, text: &str, options: &SourceOptions) -> Result<Arc<dyn Source>, SourceError> {
        self.make(Of::Model, text, options)
    }

    /// Does as [`parse`](Self::parse), for a place that has only a model's metadata, in a folder `weighbridge` or
    /// without one.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn parse_metadata(
        &self,
        text: &str,
        options: &SourceOptions,
    ) -> Result<Arc<dyn Source>, SourceError> {
        self.make(Of::Metadata, text, options)
    }

    fn make(&self, of: Of, text: &str, options: &SourceOptions) -> Result<Arc<dyn Source>, SourceError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(of.made(folder(text)?)) };
        Ok(match scheme.to_ascii_lowercase().as_str() {
            "http" => of.made(self.web("http", text, options)?),
            "https" => of.made(self.web("https", text, options)?),
            "hf" => of.made(self.hub(rest, options)?),
            "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss" => self.any_bucket(of, text)?,
            _ if Path::new(text).is_dir() => of.made(folder(text)?),
            _ => return Err(SourceError::Scheme { scheme: shown(scheme) }),
        })
    }

    /// The shared client, for one more source.
    fn client(&self) -> Result<Client, SourceError> {
        let client = self.client.get_or_init(Client::new).as_ref();
        client.map(Client::share).map_err(|why| SourceError::Setup(why.clone()))
    }

    /// The client and the secrets for an address of the web.
    pub(super) fn of_web(&self, options: &SourceOptions) -> Result<(Client, Secrets), SourceError> {
        Ok((self.client()?, Secrets::new(headers(options)?, None)))
    }

    pub(crate) fn web(
        &self,
        scheme: &'static str,
        text: &str,
        options: &SourceOptions,
    ) -> Result<PathSource<HttpSource>, SourceError> {
        let mut url = Url::parse(text).map_err(|why| SourceError::address(scheme, why))?;
        url.set_fragment(None);
        let name = public(&url);
        let (client, secrets) = self.of_web(options)?;
        Ok(PathSource::new(name, HttpSource::new(client, Base::Folder(url), secrets)))
    }

    pub(crate) fn hub(
        &self,
        rest: &str,
        options: &SourceOptions,
    ) -> Result<PathSource<HttpSource>, SourceError> {
        let endpoint = options.hub_endpoint.as_deref().unwrap_or(HUB);
        let no_endpoint = || SourceError::address("hf", "the hub's endpoint is no address of http or https");
        let endpoint = Url::parse(endpoint).map_err(|_| no_endpoint())?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(no_endpoint());
        }
        let hub = Hub::parse(rest, endpoint).map_err(|why| SourceError::address("hf", why))?;
        let headers = headers(options)?;
        // A token for this source alone takes precedence over one for all sources.
        let token = match (&options.hub_token, &options.kept_hub_token) {
            _ if headers.contains_key(AUTHORIZATION) => None,
            (Some(given), _) => Some(
                Token::given(given)
                    .map_err(|_| SourceError::address("hf", "the hub's token cannot be sent"))?,
            ),
            // The caller did not give this token, so a damaged one is ignored.
            (None, kept) => kept.as_ref().and_then(|kept| Token::kept(kept).ok()),
        };
        let name = format!("hf://{rest}");
        let secrets = Secrets::new(headers, token);
        Ok(PathSource::new(name, HttpSource::new(self.client()?, Base::Hub(hub), secrets)))
    }

    #[cfg(feature = "cloud")]
    fn any_bucket(&self, of: Of, text: &str) -> Result<Arc<dyn Source>, SourceError> {
        Ok(of.made(self.bucket(text)?))
    }

    #[cfg(not(feature = "cloud"))]
    #[allow(clippy::unused_self, reason = "a build with buckets uses it")]
    fn any_bucket(&self, _: Of, _: &str) -> Result<Arc<dyn Source>, SourceError> {
        Err(SourceError::NoBuckets)
    }

    #[cfg(feature = "cloud")]
    pub(crate) fn bucket(&self, text: &str) -> Result<PathSource<super::bucket::BucketSource>, SourceError> {
        use super::bucket::{BucketError, BucketSource, address, name};
        let url = address(text).map_err(|why| SourceError::address("bucket", why))?;
        let bucket = BucketSource::parse(&url, self.client()?);
        let bucket = bucket.map_err(|error| match error {
            BucketError::Address(why) => SourceError::address("bucket", why),
            BucketError::Credentials(why) => SourceError::Credentials(why),
        });
        Ok(PathSource::new(name(&url), bucket?))
    }
}

fn folder(text: &str) -> Result<PathSource<FolderSource>, SourceError> {
    let path = PathBuf::from(text);
    let why = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            return Ok(PathSource::new(text.to_owned(), FolderSource::new(path)));
        }
        Ok(_) => "not a folder".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(SourceError::Folder { path, why })
}

fn headers(options: &SourceOptions) -> Result<HeaderMap, SourceError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let added = headers.try_append(name.clone(), value.clone());
        added.map_err(|_| SourceError::Setup("too many headers".to_owned()))?;
    }
    Ok(headers)
}

const HUB: &str = "https://huggingface.co";

impl SourceError {
    fn address(scheme: &'static str, why: impl fmt::Display) -> Self {
        Self::Address { scheme, why: why.to_string() }
    }
}

impl Coded for SourceError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::USAGE
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { scheme, why } => write!(f, "not an address of a source ({scheme}): {why}"),
            Self::Scheme { scheme } => write!(f, "{scheme}:// is no kind of source"),
            Self::NoBuckets => f.write_str("this build of weighbridge has no buckets"),
            Self::Folder { path, why } => {
                write!(f, "neither an address nor a folder: {}: {why}", shown_path(path))
            }
            Self::Credentials(why) => write!(f, "no credentials for a bucket: {why}"),
            Self::Setup(why) => write!(f, "cannot set up HTTP: {why}"),
        }
    }
}

impl std::error::Error for SourceError {}

/// Omits the values of headers and the token.
impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("SourceOptions").field("headers", &names).finish_non_exhaustive()
    }
}
