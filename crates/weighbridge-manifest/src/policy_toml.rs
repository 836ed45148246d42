//! Trust policies as TOML text.

use alloc::{string::ToString, vec::Vec};

use serde::Deserialize;
use weighbridge_tree::HeadId;

use crate::{
    key::Vkey,
    policy::{PolicyError, Publisher, Scope, TrustPolicy, TrustedKey},
    time::Time,
};

impl TrustPolicy {
    /// Reads a policy in the form of `spec/trust.md`.
    ///
    /// # Errors
    /// [`PolicyError`]: a key that is not known is refused, so that a misspelled one cannot weaken the policy.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let form: Form = toml::from_str(text).map_err(|e| PolicyError::Form { message: one_line(&e) })?;
        let publishers = form.publisher.iter().map(publisher).collect::<Result<_, _>>()?;
        let revoked =
            form.revoked.iter().map(|line| vkey(line).map(|k| *k.public_key())).collect::<Result<_, _>>()?;
        let heads =
            form.accepted_heads.iter().map(|id| HeadId::from_hex(id).map_err(|_| PolicyError::HeadId));
        Self::new(publishers, revoked, heads.collect::<Result<_, _>>()?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Form<'a> {
    #[serde(borrow, default)]
    revoked: Vec<Text<'a>>,
    #[serde(borrow, default)]
    accepted_heads: Vec<Text<'a>>,
    #[serde(borrow, default)]
    publisher: Vec<PublisherForm<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublisherForm<'a> {
    #[serde(borrow)]
    scope: Text<'a>,
    #[serde(default = "one")]
    threshold: usize,
    #[serde(borrow, default)]
    key: Vec<KeyForm<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm<'a> {
    #[serde(borrow)]
    vkey: Text<'a>,
    from: Option<Text<'a>>,
    until: Option<Text<'a>>,
}

type Text<'a> = alloc::borrow::Cow<'a, str>;

fn one() -> usize {
    1
}

fn publisher(form: &PublisherForm<'_>) -> Result<Publisher, PolicyError> {
    let scope = Scope::parse(&form.scope)?;
    let keys = form.key.iter().map(key).collect::<Result<_, _>>()?;
    Ok(Publisher { scope, threshold: form.threshold, keys })
}

fn key(form: &KeyForm<'_>) -> Result<TrustedKey, PolicyError> {
    let time =
        |text: &Option<Text<'_>>| text.as_deref().map(Time::parse).transpose().map_err(PolicyError::Time);
    Ok(TrustedKey { vkey: vkey(&form.vkey)?, from: time(&form.from)?, until: time(&form.until)? })
}

fn vkey(line: &str) -> Result<Vkey, PolicyError> {
    Vkey::parse(line).map_err(PolicyError::Key)
}

/// The reader's message with its place, without the drawing that it spreads over several lines.
fn one_line(error: &toml::de::Error) -> alloc::string::String {
    error.message().lines().next().unwrap_or("malformed").to_string()
}
