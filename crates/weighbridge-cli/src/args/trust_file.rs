//! The arguments of `trust`.

use clap::{Parser, Subcommand};
use weighbridge_manifest::{KeyName, Role, Scope, Time};

use crate::examples;

/// Keep whom to trust, so that it need not be said each time
///
/// The policy is kept in $XDG_CONFIG_HOME/weighbridge/trust.toml, by default in ~/.config. It is in use where none of
/// --trust, --vkey and --head is given, and whatever uses it says so first. The file, all folders above it and all links on
/// the way have to belong to you or to root, and nobody else may write to them.
///
/// A run for which none of standard input, output and error is a terminal does not use it: jobs and services name their
/// policy, with --trust or in WEIGHBRIDGE_TRUST.
#[derive(Subcommand)]
#[command(after_help = examples::TRUST)]
pub(crate) enum TrustFile {
    Add(Add),
    /// Print the policy: who is trusted for what, and which keys are revoked
    #[command(after_help = examples::TRUST_LIST)]
    List,
    Remove(Remove),
    Revoke(Revoke),
}

/// Trust a key for the models of a scope, beside those that are trusted for this very scope already
///
/// The longest scope that covers a name decides alone. A key whose scope would take names away from an entry that is
/// stricter is not added without --replace. Each remembered head whose verdict changes is named.
#[derive(Parser)]
#[command(after_help = examples::TRUST_ADD)]
pub(crate) struct Add {
    /// The key's name, which stands in its vkey line and in signatures
    #[arg(value_parser = key_name)]
    pub(crate) name: KeyName,
    /// The public key: a vkey line, or a file with one
    pub(crate) vkey: String,
    /// For which models: a name, PREFIX/* or *
    #[arg(long, value_parser = scope)]
    pub(crate) scope: Scope,
    /// `publisher` if the key is that of whoever makes these models, `import` if it signs copies that it took from elsewhere
    #[arg(long, value_parser = role, default_value = "publisher")]
    pub(crate) role: Role,
    /// Trust it for heads from then on, like 2026-01-01 or 2026-01-01T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) from: Option<Time>,
    /// Trust it for heads before then
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) until: Option<Time>,
    /// Put the key in place of those that are trusted for this scope, and take names away from a stricter entry
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Trust the keys of a name no longer, as if they had never been added
///
/// Another entry may then decide about their models: revoke a key that may be in other hands.
#[derive(Parser)]
#[command(after_help = examples::TRUST_REMOVE)]
pub(crate) struct Remove {
    /// The name of the keys
    #[arg(value_parser = key_name)]
    pub(crate) name: KeyName,
}

/// Believe nothing that a key signed, whatever else trusts it
///
/// For a key that may be in other hands. There is no way back but to edit the file.
#[derive(Parser)]
#[command(after_help = examples::TRUST_REVOKE)]
pub(crate) struct Revoke {
    /// The name of the keys in the policy, a vkey line, or a file with one
    pub(crate) key: String,
}

fn key_name(text: &str) -> Result<KeyName, String> {
    KeyName::parse(text).map_err(|_| "a key's name has no spaces and no '+', and is not empty".to_owned())
}

fn scope(text: &str) -> Result<Scope, weighbridge_manifest::PolicyError> {
    Scope::parse(text)
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "a role is 'publisher' or 'import'".to_owned())
}

/// A time, or the beginning of a day.
fn date(text: &str) -> Result<Time, String> {
    let time = Time::parse(text).or_else(|_| Time::parse(&format!("{text}T00:00:00Z")));
    time.map_err(|_| "a date is written like 2026-01-01 or 2026-01-01T12:00:00Z".to_owned())
}
