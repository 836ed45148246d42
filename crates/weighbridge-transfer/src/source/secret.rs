//! Small texts that are secrets, and that nobody has signed, such as the ticket of a swarm.

use std::{fmt, time::Duration};

use tokio::time::timeout;
use url::{Host, Url};
use weighbridge_tree::{Coded, ErrorCode};

use super::{
    Fault, SourceError, SourceFactory, SourceOptions,
    http::{answer::check_whole, public, read},
};

/// The time in which all of a secret has to come.
const PATIENCE: Duration = Duration::from_secs(30);

impl SourceFactory {
    /// Reads a secret of at most `limit` bytes from an address of https, or of http on this machine. Returns it behind the address
    /// without user, password and query, for messages.
    ///
    /// The headers of the options are sent to the address, and to none that it redirects to.
    ///
    /// # Guarantee
    /// Nobody on the way can read or change what is returned: it came over TLS, or did not leave this machine. An address of
    /// https may redirect to others of https; one of http may not redirect, and is asked without a proxy or not at all.
    ///
    /// # Errors
    /// [`SecretError`], also if not all of it has come within 30 seconds.
    pub async fn read_secret(
        &self,
        address: &str,
        options: &SourceOptions,
        limit: u64,
    ) -> Result<(String, Vec<u8>), SecretError> {
        let scheme = if is_https(address) { "https" } else { "http" };
        let url = Url::parse(address);
        let mut url =
            url.map_err(|why| SecretError::Address(SourceError::Address { scheme, why: why.to_string() }))?;
        url.set_fragment(None);
        let (client, secrets) = self.of_web(options).map_err(SecretError::Address)?;
        let origin = public(&url);
        if !is_safe(&url) || (url.scheme() == "http" && client.has_proxy(&url)) {
            return Err(SecretError::NoTls { origin });
        }
        let asked = async {
            // From https no redirect leads to http.
            let answer = match url.scheme() {
                "https" => client.get(url, secrets, None).await?,
                _ => client.get_here(url, &secrets).await?,
            };
            check_whole(&answer.head(), limit)?;
            read(answer.response, limit).await
        };
        let late = || Fault::Unreachable(format!("has not given it in {} s", PATIENCE.as_secs()));
        let given = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()));
        match given {
            Ok(secret) => Ok((origin, secret)),
            Err(fault) => Err(SecretError::NotGiven { origin, fault }),
        }
    }
}

fn is_https(address: &str) -> bool {
    address.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// Whether nobody on the way to this address can read or write its answers: it has TLS, or is on this machine.
pub(super) fn is_safe(address: &Url) -> bool {
    match (address.scheme(), address.host()) {
        ("https", _) => true,
        ("http", Some(Host::Domain(name))) => name == "localhost",
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

/// The reason why a secret was not read. It does not contain what may be a secret in the address.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// The text is no address that can be asked.
    Address(SourceError),
    /// Others could read the answer on its way.
    NoTls {
        /// The address.
        origin: String,
    },
    /// The server did not give it.
    NotGiven {
        /// The address.
        origin: String,
        /// The thing that the server did instead.
        fault: Fault,
    },
}

impl SecretError {
    /// Whether the server denies it to this client, or says that it has none.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::NotGiven { fault: Fault::Missing, .. } => true,
            Self::NotGiven { fault: Fault::Refused(what), .. } => {
                ["answers 401 ", "answers 403 "].iter().any(|words| what.starts_with(words))
            }
            _ => false,
        }
    }
}

impl Coded for SecretError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Address(error) => error.error_code(),
            Self::NoTls { .. } => ErrorCode::USAGE,
            Self::NotGiven { .. } => ErrorCode::TICKET_NOT_GIVEN,
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::NoTls { origin } => {
                write!(f, "{origin}: a secret has to come by https, or from this machine without a proxy")
            }
            Self::NotGiven { origin, fault } => write!(f, "{origin}: {fault}"),
        }
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address(error) => Some(error),
            Self::NoTls { .. } => None,
            Self::NotGiven { fault, .. } => Some(fault),
        }
    }
}
