//! The places that a model is brought to.

use std::{sync::OnceLock, time::Duration};

use ::http::HeaderValue;
use url::Url;
use weighbridge_bandwidth::Share;
use weighbridge_manifest::{Vkey, shown};

#[cfg(feature = "cloud")]
use super::bucket::Bucket;
use super::{board::SILENT, receiver::Receiver};
use crate::source::http::{Client, public};

/// A place that a model is brought to.
pub struct PushTarget {
    pub(super) name: String,
    pub(super) to: To,
    /// The time that what is sent may have to wait for its turn.
    pub(super) waits: Duration,
}

pub(super) enum To {
    Receiver(Box<Receiver>),
    #[cfg(feature = "cloud")]
    Bucket(Bucket),
}

/// Makes targets. All targets of one factory share one HTTP client, and one share of a budget.
pub struct PushTargets {
    client: OnceLock<Result<Client, String>>,
    send: Share,
}

impl PushTargets {
    /// A factory of targets for which all that is sent waits for `send`. Its client is made when it is first needed.
    #[must_use]
    pub fn new(send: Share) -> Self {
        Self { client: OnceLock::new(), send }
    }

    fn client(&self) -> Result<Client, String> {
        self.client.get_or_init(|| Ok(Client::new()?.sending(self.send.clone()))).clone()
    }

    /// A server that takes models, by its address: `https://host`, or `http`. `vkey` is its key, which signs the receipt; `token` is
    /// the one that it knows the sender by.
    ///
    /// # Errors
    /// The reason, as a sentence. The address, which may hold a secret, is not part of it.
    ///
    /// # Example
    /// ```
    /// use weighbridge_bandwidth::Share;
    /// use weighbridge_transfer::PushTargets;
    /// # use weighbridge_manifest::{KeyName, Vkey};
    /// # let node = weighbridge_publish::SecretKey::generate(KeyName::parse("node")?)?;
    /// # let vkey = node.vkey().clone();
    ///
    /// let targets = PushTargets::new(Share::unlimited());
    /// let target = targets.receiver("https://user@receiver.example/", vkey.clone(), Some("secret"))?;
    /// assert_eq!(target.name(), "https://receiver.example");
    /// assert!(targets.receiver("ftp://receiver.example", vkey, None).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receiver(&self, address: &str, vkey: Vkey, token: Option<&str>) -> Result<PushTarget, String> {
        let mut url = Url::parse(address).map_err(|error| format!("it is no address: {error}"))?;
        if url.query().is_some() {
            return Err("the address of a receiver has no query".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{} is no scheme of a receiver: http or https is", shown(url.scheme())));
        }
        url.set_fragment(None);
        let token = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            Ok::<_, ::http::header::InvalidHeaderValue>(value)
        });
        let token =
            token.transpose().map_err(|_| "the token has characters that no header can have".to_owned())?;
        let client = self.client()?;
        let (name, waits) = (public(&url), client.waits());
        Ok(PushTarget { name, to: To::Receiver(Box::new(Receiver::new(client, url, token, vkey))), waits })
    }
}

impl PushTargets {
    /// A folder in a bucket, by its address: `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`. Credentials are
    /// found where those of a bucket are that is a source. Asks nobody yet.
    ///
    /// # Errors
    /// The reason, as a sentence, also without the feature `cloud`. The address, which may hold a secret, is not part of it.
    #[cfg_attr(not(feature = "cloud"), allow(clippy::unused_self, reason = "a build with buckets uses it"))]
    pub fn bucket(&self, address: &str) -> Result<PushTarget, String> {
        #[cfg(feature = "cloud")]
        {
            let address = crate::source::bucket::address(address)?;
            let client = self.client()?;
            let (name, waits) = (crate::source::bucket::name(&address), client.waits());
            Ok(PushTarget { name, to: To::Bucket(Bucket::open(&address, client)?), waits })
        }
        #[cfg(not(feature = "cloud"))]
        {
            let _ = address;
            Err("this build does not support buckets".to_owned())
        }
    }
}

impl PushTarget {
    /// The address, without what may be a secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long it may say nothing before the push says so.
    pub(super) fn silent(&self) -> Duration {
        match self.to {
            To::Receiver(_) => SILENT,
            #[cfg(feature = "cloud")]
            To::Bucket(_) => super::bucket::SILENT,
        }
    }
}
