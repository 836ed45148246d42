//! The secrets that a source is sent, and that other servers must not see.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ::http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use url::Url;

use super::answer::CLAIM;
use crate::guide::Claim;

/// The headers and the token of one source. Clones share the knowledge whether the token is of use.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// Headers that go to the requested address, and to none that it redirects to.
    headers: HeaderMap,
    /// The token, which also goes to redirect targets within a hub.
    token: Option<Token>,
}

/// The token of a hub.
#[derive(Clone)]
pub(crate) struct Token {
    value: HeaderValue,
    /// Set for a token that the caller did not give for this fetch: whether the hub gives more without it.
    kept: Option<Arc<AtomicBool>>,
}

impl Token {
    /// A token that is always sent.
    ///
    /// # Errors
    /// The text cannot be the value of a header.
    pub(crate) fn given(text: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))?;
        value.set_sensitive(true);
        Ok(Self { value, kept: None })
    }

    /// A token that was found on the machine, and may have expired.
    ///
    /// # Errors
    /// The text cannot be the value of a header.
    pub(crate) fn kept(text: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(Self { kept: Some(Arc::default()), ..Self::given(text)? })
    }

    fn is_of_use(&self) -> bool {
        !self.kept.as_ref().is_some_and(|useless| useless.load(Ordering::Relaxed))
    }
}

impl Secrets {
    pub(crate) fn new(mut headers: HeaderMap, token: Option<Token>) -> Self {
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        Self { headers, token }
    }

    /// Adds the header that names a member of a swarm. Redirect targets do not get it either.
    pub(super) fn with_claim(mut self, claim: Option<&Claim>) -> Self {
        let value = claim.and_then(|claim| {
            let tag: String = claim.tag.iter().map(|byte| format!("{byte:02x}")).collect();
            HeaderValue::try_from(format!("{tag} {}", claim.lease.as_millis())).ok()
        });
        value.into_iter().for_each(|value| _ = self.headers.insert(CLAIM, value));
        self
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(token) = self.token() {
            headers.insert(AUTHORIZATION, token.value.clone());
        }
        headers
    }

    pub(super) fn has_token(&self) -> bool {
        self.token().is_some()
    }

    fn token(&self) -> Option<&Token> {
        self.token.as_ref().filter(|token| token.is_of_use())
    }

    /// The secrets that are sent after a redirect.
    pub(super) fn after_redirect(self, from: &Url, to: &Url) -> Self {
        let is_same = from.origin() == to.origin();
        Self { headers: HeaderMap::new(), token: self.token.filter(|_| is_same) }
    }

    /// The secrets without a token that may have expired; `None` if there is no such token, or it is not sent any more.
    pub(super) fn without_kept_token(&self) -> Option<Self> {
        self.token().filter(|token| token.kept.is_some())?;
        Some(Self { headers: self.headers.clone(), token: None })
    }

    /// Stops sending the token, because the hub gives more without it.
    pub(super) fn give_up_kept_token(&self) {
        if let Some(useless) = self.token.as_ref().and_then(|token| token.kept.as_ref()) {
            useless.store(true, Ordering::Relaxed);
        }
    }
}
