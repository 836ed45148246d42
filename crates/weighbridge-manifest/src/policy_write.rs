//! Writes trust policies as TOML text.

use alloc::{format, string::String, vec};
use core::fmt;

use crate::{
    policy::TrustPolicy,
    publisher::{Role, TrustedKey},
};

impl TrustPolicy {
    /// Writes the policy in the form of `spec/trust.md`: TOML 1.0 in UTF-8, each policy in one way, without what is the
    /// default.
    ///
    /// # Guarantee
    /// [`from_toml`](Self::from_toml) reads this very policy from the text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let lists = [list("revoked", self.revoked()), list("accepted-heads", self.accepted_heads())];
        let mut parts = vec![lists.concat()];
        for entry in self.publishers() {
            let role = match entry.role {
                Role::Publisher => String::new(),
                Role::Import => format!("role = {}\n", string(&entry.role.word())),
            };
            let (scope, threshold) = (string(&entry.scope), threshold(entry.threshold));
            parts.push(format!("[[publisher]]\nscope = {scope}\n{role}{threshold}"));
            parts.extend(entry.keys.iter().map(|key| trusted("publisher.key", key)));
        }
        if let Some(held) = self.auditors() {
            parts.push(format!("[held]\n{}", threshold(held.threshold)));
            parts.extend(held.keys.iter().map(|key| trusted("held.auditor", key)));
        }
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }
}

fn list(key: &str, values: &[impl fmt::Display]) -> String {
    let lines: String = values.iter().map(|value| format!("    {},\n", string(value))).collect();
    if lines.is_empty() { lines } else { format!("{key} = [\n{lines}]\n") }
}

fn threshold(threshold: usize) -> String {
    if threshold == 1 { String::new() } else { format!("threshold = {threshold}\n") }
}

fn trusted(table: &str, key: &TrustedKey) -> String {
    let date = |name, date: Option<_>| date.map(|time| format!("{name} = \"{time}\"\n")).unwrap_or_default();
    let TrustedKey { vkey, from, until } = key;
    format!("[[{table}]]\nvkey = {}\n{}{}", string(vkey), date("from", *from), date("until", *until))
}

/// A basic string of TOML. No value of a policy has a control character, which would need an escape too.
fn string(value: &impl fmt::Display) -> String {
    format!("\"{}\"", format!("{value}").replace('\\', "\\\\").replace('"', "\\\""))
}
