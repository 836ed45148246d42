//! Buckets: S3, Google Cloud Storage and Azure, through `object_store`, which locates objects, finds credentials and
//! signs requests. The answers are judged here, as those of any web server.

use std::{fmt, ops::Range, sync::Arc};

use ::http::Extensions;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreScheme, RetryConfig, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, multipart::MultipartStore, path::Path,
};
use url::Url;

use super::{
    Fault,
    http::{
        Answer, Client, HttpBody,
        answer::{self, Given},
        find, innermost, read,
    },
    paths::{Part, Paths},
};
use crate::guide::Claim;

mod connector;
mod profile;
mod s3;

use connector::{Asked, Connector};
pub(crate) use connector::{Denied, OfMachine, Purpose};

/// A folder in a bucket, as a source.
pub(crate) struct BucketSource(Place);

/// A folder in a bucket, and the way to it.
pub(crate) struct Place {
    pub(crate) store: Box<dyn Store>,
    folder: Path,
    /// Where credentials were looked for, if none were found except those that the machine may give.
    nowhere: Option<String>,
    /// Whether names in the metadata of objects may have a hyphen.
    pub(crate) takes_hyphens: bool,
}

/// A store of objects that are written whole or in parts.
pub(crate) trait Store: ObjectStore + MultipartStore {}

impl<S: ObjectStore + MultipartStore> Store for S {}

/// Why a bucket cannot be used.
pub(crate) enum BucketError {
    /// The address is wrong, for this reason.
    Address(String),
    /// The files with the credentials cannot be used, for this reason.
    Credentials(String),
}

/// Reads the text of an address. What may be a secret is left out, or refused.
///
/// # Errors
/// The reason, as a sentence.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|why| why.to_string())?;
    // Azure writes the container in the place of the user name.
    let container = url.username();
    if url.password().is_some() || (!container.is_empty() && !url.scheme().starts_with("ab")) {
        return Err("credentials come from the environment".to_owned());
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// The name of a bucket's folder for people.
pub(crate) fn name(address: &Url) -> String {
    address.as_str().trim_end_matches('/').to_owned()
}

impl Place {
    /// Reads the address of a bucket. Credentials, endpoints and regions come from the environment variables of the
    /// cloud provider, those of S3 also from a profile.
    ///
    /// # Errors
    /// [`BucketError`].
    pub(crate) fn open(url: &Url, client: Client, purpose: Purpose) -> Result<Self, BucketError> {
        let address = |error: &(dyn std::error::Error + 'static)| BucketError::Address(innermost(error));
        let (scheme, folder) = ObjectStoreScheme::parse(url).map_err(|error| address(&error))?;
        let connector = |allow_http| Connector { client, allow_http, purpose };
        let mut nowhere = None;
        // Only a fetch or a push retries: it knows who else has the bytes, and tells what it waits for.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let takes_hyphens = scheme != ObjectStoreScheme::MicrosoftAzure;
        let store: Result<Box<dyn Store>, object_store::Error> = match scheme {
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
        Ok(Self { store: store.map_err(|error| address(&error))?, folder, nowhere, takes_hyphens })
    }

    /// A folder of any store, which needs no credentials.
    #[cfg(test)]
    pub(crate) fn of(store: impl Store, folder: &str) -> Self {
        let (store, folder) = (Box::new(store), Path::from(folder));
        Self { store, folder, nowhere: None, takes_hyphens: true }
    }

    /// The name of the object of a file; `None` if there can be none of that name.
    pub(crate) fn object(&self, path: &str) -> Option<Path> {
        match self.folder.as_ref() {
            "" => Path::parse(path).ok(),
            folder => Path::parse(format!("{folder}/{path}")).ok(),
        }
    }

    /// Whether credentials can come only from the machine.
    pub(crate) fn has_no_keys(&self) -> bool {
        self.nowhere.is_some()
    }

    /// The fault when no request reached the bucket, mostly for lack of credentials.
    pub(crate) fn not_asked(&self, error: &(dyn std::error::Error + 'static)) -> Fault {
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

impl BucketSource {
    /// Reads the address of a bucket.
    ///
    /// # Errors
    /// [`BucketError`].
    pub(crate) fn parse(url: &Url, client: Client) -> Result<Self, BucketError> {
        Place::open(url, client, Purpose::Source).map(Self)
    }

    async fn ask(&self, path: &str, range: Option<Range<u64>>) -> Result<Answer, Fault> {
        let object = self.0.object(path).ok_or(Fault::Missing)?;
        let asked = Asked { range: range.clone(), answer: Arc::default() };
        let mut extensions = Extensions::new();
        extensions.insert(asked.clone());
        let options = GetOptions { range: range.map(GetRange::Bounded), extensions, ..GetOptions::default() };
        let result = self.0.store.get_opts(&object, options).await;
        match (asked.take(), result) {
            (Some(answer), _) => answer,
            (None, Err(error)) => Err(self.0.not_asked(&error)),
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

    async fn part(&self, path: &str, range: Range<u64>, size: u64, _: Option<&Claim>) -> Result<Part, Fault> {
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
        f.debug_struct("BucketSource").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// Whether the value of a setting means yes.
fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].into_iter().any(|word| value.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
