//! The clients that a server knows by name (`spec/serving.md`, Clients).

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};
use weighbridge_manifest::{ModelName, Scope};

/// The clients of a tokens file. A client is known by a bearer token, of which the file has the SHA-256 alone.
///
/// # Example
/// ```
/// use weighbridge_serve::Clients;
///
/// let text = "\
/// ## name  SHA-256 of the token                                                     right  models
/// ci       9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08          read   org/*,org2/model
/// ";
/// let clients = Clients::parse(text)?;
/// let name = weighbridge_verify::manifest::ModelName::parse("org/model").unwrap();
/// assert!(clients.by_token("test").is_some_and(|client| client.may_read(&name)));
/// assert!(clients.by_token("other").is_none());
/// # Ok::<(), weighbridge_serve::ClientsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clients(Vec<Client>);

/// A client, and what it may do.
#[derive(Clone, Debug)]
pub struct Client {
    name: Arc<str>,
    token: [u8; 32],
    scopes: Vec<Scope>,
}

impl Clients {
    /// Reads a tokens file: a line for each client, with its name, the SHA-256 of its token in hexadecimal, `read`, and the models
    /// that it may read, separated by commas: `ORG/NAME`, `ORG/*` or `*`. Empty lines, and those that begin with `#`, are passed
    /// over.
    ///
    /// # Errors
    /// [`ClientsError`], with the number of the line.
    pub fn parse(text: &str) -> Result<Self, ClientsError> {
        let mut clients: Vec<Client> = Vec::new();
        for (number, line) in (1u64..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |fault| ClientsError { line: number, fault };
            let client = Client::parse(line).map_err(error)?;
            let is_taken = |other: &Client| other.name == client.name || other.token == client.token;
            if clients.iter().any(is_taken) {
                return Err(error("another line has the same name, or the same token"));
            }
            clients.push(client);
        }
        Ok(Self(clients))
    }

    /// The client whose token this is.
    ///
    /// The hash of the token is compared, so that the time that it takes says nothing of other tokens.
    #[must_use]
    pub fn by_token(&self, token: &str) -> Option<&Client> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.0.iter().find(|client| client.token == hash)
    }
}

impl Client {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut words = line.split_ascii_whitespace();
        let mut word = |fault| words.next().ok_or(fault);
        let name = word("a name is missing")?;
        let token = word("the SHA-256 of the token is missing")?;
        let right = word("the right is missing: `read`")?;
        let scopes = word("the models are missing: `*`, `ORG/*` or `ORG/NAME`")?;
        if words.next().is_some() {
            return Err("there is more than name, SHA-256, right and models");
        }
        let is_name = |name: &str| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name(name) {
            return Err("the name has other than printable ASCII characters, or more than 64");
        }
        if right != "read" {
            return Err("the right is not `read`");
        }
        let token = hash(token).ok_or("the SHA-256 of the token is not 64 hexadecimal digits")?;
        let scopes: Result<_, _> = scopes.split(',').map(Scope::parse).collect();
        let scopes =
            scopes.map_err(|_| "the models are not `*`, `ORG/*` or `ORG/NAME`, separated by commas")?;
        Ok(Self { name: name.into(), token, scopes })
    }

    /// The name, for logs.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the client may read a model of this name, whether there is one or not.
    #[must_use]
    pub fn may_read(&self, name: &ModelName) -> bool {
        self.scopes.iter().any(|scope| scope.covers(name))
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    // The reader of hexadecimal hashes that all pages use.
    weighbridge_tree::FileRoot::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

/// The reason why a tokens file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsError {
    /// The line, from 1 on.
    pub line: u64,
    fault: &'static str,
}

impl fmt::Display for ClientsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl std::error::Error for ClientsError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const OTHER: &str = "0f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_client_reads_the_models_of_its_line_and_no_others() {
        let clients = Clients::parse(&format!("# ci\n\nci {HASH}  read\torg/*,one/model\n")).unwrap();
        let client = clients.by_token("test").unwrap();
        for (name, may) in [("org/a", true), ("one/model", true), ("one/other", false), ("organ/a", false)] {
            assert_eq!(client.may_read(&ModelName::parse(name).unwrap()), may, "{name}");
        }
        assert!(clients.by_token("").is_none() && clients.by_token(HASH).is_none());
    }

    #[test]
    fn each_malformed_line_is_named() {
        for line in [
            "ci".to_owned(),
            format!("ci {HASH}"),
            format!("ci {HASH} read"),
            format!("ci {HASH} write *"),
            format!("ci {HASH} read * more"),
            format!("ci {} read *", &HASH[1..]),
            format!("ci {} read *", HASH.to_uppercase()),
            format!("ci {HASH} read *,"),
            format!("ci {HASH} read org/**"),
            format!("c\u{e4} {HASH} read *"),
            format!("{} {HASH} read *", "c".repeat(65)),
            format!("ok {HASH} read *"),
            format!("other {OTHER} read *"),
        ] {
            let text = format!("ok {OTHER} read *\n{line}\n");
            assert_eq!(Clients::parse(&text).unwrap_err().line, 2, "{line}");
        }
    }
}
