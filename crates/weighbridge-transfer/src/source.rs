//! Where bytes come from. Never trusted.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use ::http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use bytes::Bytes;
use reqwest::Url;
use weighbridge_manifest::shown;
use weighbridge_store::shown_path;
use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    fault::Fault,
    folder::FolderSource,
    http::{Base, Client, HttpSource, Hub, Secrets, public},
};

/// A place that has, or claims to have, a model's files: a web server, a hub, a bucket, a folder.
///
/// # Non-guarantee
/// Nothing that it gives is the signed thing before it is accepted.
///
/// # Example
/// ```
/// use weighbridge_transfer::{Source, SourceError, SourceOptions};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().to_str().ok_or("the path is not UTF-8")?;
///
/// let options = SourceOptions::default();
/// let mirror = Source::parse("https://user:secret@mirror.example/tiny?signature=abc", &options)?;
/// assert_eq!(mirror.name(), "https://mirror.example/tiny", "no secret is shown");
/// assert_eq!(Source::parse("hf://example/tiny@v1.0", &options)?.name(), "hf://example/tiny@v1.0");
/// assert_eq!(Source::parse(path, &options)?.name(), path);
///
/// assert!(matches!(Source::parse("ftp://mirror.example/tiny", &options), Err(SourceError::Scheme { .. })));
/// assert!(matches!(Source::parse("no/such/folder", &options), Err(SourceError::Folder { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Source {
    name: String,
    kind: SourceKind,
}

#[derive(Debug)]
enum SourceKind {
    Folder(FolderSource),
    Http(Box<HttpSource>),
    #[cfg(feature = "cloud")]
    Bucket(crate::bucket::BucketSource),
}

/// What sources need to know beside their addresses.
///
/// # Example
/// ```
/// use weighbridge_transfer::{Source, SourceOptions};
///
/// let options = SourceOptions { hub_token: Some("hf_secret".into()), ..SourceOptions::default() };
/// let source = Source::parse("hf://example/private", &options)?;
/// assert!(!format!("{source:?} {options:?}").contains("hf_secret"), "a log may have both");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct SourceOptions {
    /// Sent with every request to a web server or a hub, and never to where it redirects; buckets and folders take
    /// none.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Where the hub is; `None` for `https://huggingface.co`.
    pub hub_endpoint: Option<String>,
    /// Sent to the hub, and to where it redirects within itself, but to no other place.
    pub hub_token: Option<String>,
}

/// Why a text is no source. The text itself, which may hold a secret, is not part of it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// It begins as an address does, and cannot be read as one.
    Address {
        /// How it begins.
        scheme: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It begins as an address of no kind that there is.
    Scheme {
        /// How it begins.
        scheme: String,
    },
    /// It is a bucket, and this build has no buckets.
    NoBuckets,
    /// It is no address, and there is no folder of this name.
    Folder {
        /// The name.
        path: PathBuf,
        /// What the operating system says, or that it is no folder.
        why: String,
    },
    /// The HTTP client cannot be set up.
    Setup(String),
}

/// The bytes of a range, as they come. Where a source gives less than it was asked for, the rest is asked for.
#[derive(Debug)]
pub(crate) struct Body<'s> {
    /// Where in the file the first byte lies. Before what was asked for, if the source knows no ranges.
    pub(crate) start: u64,
    source: &'s Source,
    path: String,
    size: u64,
    /// Where in the file the next byte lies, and where the range ends.
    at: u64,
    end: u64,
    part: Bodies,
}

/// What one answer gives of a range: its beginning at least, which may have other bytes before it.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where in the file the first byte lies.
    pub(crate) start: u64,
    pub(crate) bytes: Bodies,
}

#[derive(Debug)]
pub(crate) enum Bodies {
    Folder(crate::folder::FolderBody),
    Http(crate::http::HttpBody),
    #[cfg(feature = "cloud")]
    Bucket(crate::bucket::BucketBody),
}

impl Source {
    /// Reads an address, or the name of a folder:
    ///
    /// - `https://host/folder`, or `http`; a query is kept with every request
    /// - `hf://org/name`, a model of the hub (or `hf://name`, of one without an organisation); its revision `main` unless another follows, as in `@v1.0`
    /// - `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`, `abfss://container@host/folder`, with the
    ///   feature `cloud`
    /// - anything else: a local folder
    ///
    /// Nothing is asked for yet. Proxies, certificate authorities and credentials of buckets come from the usual
    /// environment variables; nothing else does.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn parse(text: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Self::folder(text) };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => Self::web("http", text, options),
            "https" => Self::web("https", text, options),
            "hf" => Self::hub(rest, options),
            "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss" => Self::bucket(text),
            _ if Path::new(text).is_dir() => Self::folder(text),
            _ => Err(SourceError::Scheme { scheme: shown(scheme) }),
        }
    }

    fn folder(text: &str) -> Result<Self, SourceError> {
        let path = PathBuf::from(text);
        let why = match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                return Ok(Self { name: text.to_owned(), kind: SourceKind::Folder(FolderSource::new(path)) });
            }
            Ok(_) => "not a folder".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(SourceError::Folder { path, why })
    }

    fn web(scheme: &'static str, text: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let mut url = Url::parse(text).map_err(|why| SourceError::address(scheme, why))?;
        url.set_fragment(None);
        let name = public(&url);
        let source = HttpSource::new(client()?, Base::Folder(url), Secrets::new(headers(options)?, None));
        Ok(Self { name, kind: SourceKind::Http(Box::new(source)) })
    }

    fn hub(rest: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let endpoint = options.hub_endpoint.as_deref().unwrap_or(HUB);
        let no_endpoint = || SourceError::address("hf", "the hub's endpoint is no address of http or https");
        let endpoint = Url::parse(endpoint).map_err(|_| no_endpoint())?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(no_endpoint());
        }
        let hub = Hub::parse(rest, endpoint).map_err(|why| SourceError::address("hf", why))?;
        let headers = headers(options)?;
        // What is said for this source alone goes before what is in the environment.
        let token = options.hub_token.as_ref().filter(|_| !headers.contains_key(AUTHORIZATION));
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {}", token.trim()))).transpose();
        let token = token.map_err(|_| SourceError::address("hf", "the hub's token cannot be sent"))?;
        let name = format!("hf://{rest}");
        let source = HttpSource::new(client()?, Base::Hub(hub), Secrets::new(headers, token));
        Ok(Self { name, kind: SourceKind::Http(Box::new(source)) })
    }

    #[cfg(feature = "cloud")]
    fn bucket(text: &str) -> Result<Self, SourceError> {
        let mut url = Url::parse(text).map_err(|why| SourceError::address("bucket", why))?;
        // Azure writes the container where others write a user.
        let container = url.username().to_owned();
        if url.password().is_some() || (!container.is_empty() && !url.scheme().starts_with("ab")) {
            return Err(SourceError::address("bucket", "credentials come from the environment"));
        }
        url.set_query(None);
        url.set_fragment(None);
        let name = url.as_str().trim_end_matches('/').to_owned();
        let bucket = crate::bucket::BucketSource::parse(&url, client()?);
        let bucket = bucket.map_err(|why| SourceError::address("bucket", why))?;
        Ok(Self { name, kind: SourceKind::Bucket(bucket) })
    }

    #[cfg(not(feature = "cloud"))]
    fn bucket(_: &str) -> Result<Self, SourceError> {
        Err(SourceError::NoBuckets)
    }

    /// What people call it: the text it was made from, without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that is read, of a local one.
    pub(crate) fn local(&self) -> Option<&Path> {
        match &self.kind {
            SourceKind::Folder(source) => Some(source.root()),
            _ => None,
        }
    }

    /// The whole of a file of at most `limit` bytes, such as a head. `path` is relative to the model folder.
    ///
    /// # Errors
    /// [`Fault`]; of a longer one [`Fault::OtherFile`], and no more than `limit` bytes were kept.
    pub(crate) async fn whole(&self, path: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        match &self.kind {
            SourceKind::Folder(source) => source.whole(path, limit).await,
            SourceKind::Http(source) => source.whole(path, limit).await,
            #[cfg(feature = "cloud")]
            SourceKind::Bucket(source) => source.whole(path, limit).await,
        }
    }

    /// Begins to read a range, never empty, of a file whose signed length is `size`.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) async fn open(&self, path: &str, range: Range<u64>, size: u64) -> Result<Body<'_>, Fault> {
        let end = range.end;
        let Part { start, bytes } = self.part(path, range, size).await?;
        Ok(Body { start, source: self, path: path.to_owned(), size, at: start, end, part: bytes })
    }

    async fn part(&self, path: &str, range: Range<u64>, size: u64) -> Result<Part, Fault> {
        match &self.kind {
            SourceKind::Folder(source) => source.open(path, range, size).await,
            SourceKind::Http(source) => source.open(path, range, size).await,
            #[cfg(feature = "cloud")]
            SourceKind::Bucket(source) => source.open(path, range, size).await,
        }
    }
}

impl Body<'_> {
    /// The next bytes, in order, never none; `None` when all of the range has come, and not before.
    ///
    /// # Errors
    /// [`Fault`]: also if the source ends before it has given what it said. What comes behind the range is not looked at.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(bytes) = self.part.next().await? {
                self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                return Ok(Some(bytes));
            } else if self.at >= self.end {
                return Ok(None);
            } else {
                let Part { start, bytes } =
                    self.source.part(&self.path, self.at..self.end, self.size).await?;
                if start != self.at {
                    // Whoever opens the rest anew sees, and pays for, what comes before it.
                    let what = "gave less than it was asked for, and then not the rest".to_owned();
                    return Err(Fault::Unreachable(what));
                }
                self.part = bytes;
            }
        }
    }
}

impl Bodies {
    /// The next bytes of the part, in order, never none; `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Folder(body) => body.next().await,
            Self::Http(body) => body.next().await,
            #[cfg(feature = "cloud")]
            Self::Bucket(body) => body.next().await,
        }
    }
}

fn client() -> Result<Client, SourceError> {
    Client::new().map_err(SourceError::Setup)
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
            Self::Setup(why) => write!(f, "cannot set up HTTP: {why}"),
        }
    }
}

impl std::error::Error for SourceError {}

/// Without values of headers and without the token.
impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("SourceOptions").field("headers", &names).finish_non_exhaustive()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
