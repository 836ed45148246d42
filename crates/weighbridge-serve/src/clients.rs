//! The clients that a server knows by name (`spec/serving.md`, Clients).

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use sha2::{Digest as _, Sha256};
use weighbridge_manifest::{ModelName, Scope};
use weighbridge_store::{IoError, Stamp, open_to_read, read_bounded, shown_path};
use weighbridge_tree::HeadId;

use crate::room::lock;

/// The clients of a tokens file. A client is known by a bearer token, of which the file has the SHA-256 alone.
///
/// # Example
/// ```
/// use weighbridge_serve::Clients;
///
/// let text = "\
/// ## name  SHA-256 of the token                                                     right  models            quota
/// ci       9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08          read   org/*,org2/model
/// ci       9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08          push   org/model         2TiB
/// ";
/// let clients = Clients::parse(text)?;
/// let name = weighbridge_verify::manifest::ModelName::parse("org/model").unwrap();
/// assert!(clients.by_token("test").is_some_and(|client| client.may_read(&name)));
/// assert_eq!(clients.by_token("test").and_then(|client| client.may_push(&name)), Some(2 << 40));
/// assert!(clients.by_token("other").is_none());
/// # Ok::<(), weighbridge_serve::ClientsError>(())
/// ```
#[derive(Debug)]
pub struct Clients {
    known: RwLock<Vec<Arc<Client>>>,
    file: Option<TokensFile>,
}

/// The file that the clients were read from.
#[derive(Debug)]
struct TokensFile {
    path: PathBuf,
    /// As it was when it was read last, whether it was good or not.
    stamp: Mutex<Option<Stamp>>,
}

/// A client, and what it may do.
#[derive(Debug)]
pub struct Client {
    name: Arc<str>,
    token: [u8; 32],
    /// The models that it may read; those that it may push, and the bytes that it may have on the server.
    reads: Option<Vec<Scope>>,
    pushes: Option<(Vec<Scope>, u64)>,
}

impl Clients {
    /// Reads a tokens file: a line for each right of a client, with its name, the SHA-256 of its token in hexadecimal, `read` or `push`,
    /// and the models, separated by commas: `ORG/NAME`, `ORG/*` or `*`. A line of `push` ends with the bytes that the client may have on
    /// the server: a number, or one with `KiB`, `MiB`, `GiB` or `TiB`. Empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// [`ClientsError`], with the number of the line.
    pub fn parse(text: &str) -> Result<Self, ClientsError> {
        Ok(Self { known: RwLock::new(Self::lines(text)?), file: None })
    }

    /// Reads a tokens file, which is read again when it changes: a client whose line is removed is refused from then on.
    ///
    /// # Errors
    /// [`ClientsFileError`].
    pub fn read(path: PathBuf) -> Result<Self, ClientsFileError> {
        let (stamp, known) = read(&path)?;
        Ok(Self { known: RwLock::new(known), file: Some(TokensFile { path, stamp: Mutex::new(stamp) }) })
    }

    /// Reads the file again if it has changed. If it is not good, the clients that were known before still are.
    ///
    /// # Errors
    /// [`ClientsFileError`], once for each change of the file.
    pub fn look(&self) -> Result<(), ClientsFileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut stamp = lock(&file.stamp);
        let now = stamp_of(&file.path);
        if now == *stamp {
            return Ok(());
        }
        *stamp = now;
        let (_, known) = read(&file.path)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    fn lines(text: &str) -> Result<Vec<Arc<Client>>, ClientsError> {
        let mut clients: Vec<Arc<Client>> = Vec::new();
        for (number, line) in (1u64..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |fault| ClientsError { line: number, fault };
            let client = Client::parse(line).map_err(error)?;
            let is_near = |other: &Arc<Client>| other.name == client.name || other.token == client.token;
            let Some(at) = clients.iter().position(is_near) else {
                clients.push(Arc::new(client));
                continue;
            };
            let other = clients.get_mut(at).and_then(Arc::get_mut);
            let same = other.filter(|other| other.name == client.name && other.token == client.token);
            let same = same.ok_or_else(|| error("another line has the same name, or the same token"))?;
            same.add(client).map_err(error)?;
        }
        Ok(clients)
    }

    /// The client whose token this is.
    ///
    /// The hash of the token is compared, so that the time that it takes says nothing of other tokens.
    #[must_use]
    pub fn by_token(&self, token: &str) -> Option<Arc<Client>> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|client| client.token == hash).map(Arc::clone)
    }
}

impl Client {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut words = line.split_ascii_whitespace();
        let mut word = |fault| words.next().ok_or(fault);
        let name = word("a name is missing")?;
        let token = word("the SHA-256 of the token is missing")?;
        let right = word("the right is missing: `read` or `push`")?;
        let scopes = word("the models are missing: `*`, `ORG/*` or `ORG/NAME`")?;
        let quota = words.next();
        if words.next().is_some() {
            return Err("there is more than name, SHA-256, right, models and quota");
        }
        let is_name = |name: &str| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name(name) {
            return Err("the name has other than printable ASCII characters, or more than 64");
        }
        let token = hash(token).ok_or("the SHA-256 of the token is not 64 hexadecimal digits")?;
        let scopes: Result<Vec<_>, _> = scopes.split(',').map(Scope::parse).collect();
        let scopes =
            scopes.map_err(|_| "the models are not `*`, `ORG/*` or `ORG/NAME`, separated by commas")?;
        let mut client = Self { name: name.into(), token, reads: None, pushes: None };
        match (right, quota) {
            ("read", None) => client.reads = Some(scopes),
            ("read", Some(_)) => return Err("a quota is for `push`"),
            ("push", _) if !is_folder(name) => {
                return Err(
                    "the name of a client that pushes has other than small letters, digits, `-`, `_` and `.`, \
                     or begins with a dot",
                );
            }
            ("push", None) => return Err("the quota is missing: the bytes that the client may have here"),
            ("push", Some(quota)) => {
                let quota = bytes(quota).ok_or("the quota is no number of bytes, such as `500GiB`")?;
                client.pushes = Some((scopes, quota));
            }
            _ => return Err("the right is neither `read` nor `push`"),
        }
        Ok(client)
    }

    /// Adds the right of another line.
    fn add(&mut self, other: Self) -> Result<(), &'static str> {
        let is_twice = (self.reads.is_some() && other.reads.is_some())
            || (self.pushes.is_some() && other.pushes.is_some());
        if is_twice {
            return Err("another line gives the client the same right");
        }
        self.reads = self.reads.take().or(other.reads);
        self.pushes = self.pushes.take().or(other.pushes);
        Ok(())
    }

    /// The name, for logs.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the client may read a model of this name, whether there is one or not.
    #[must_use]
    pub fn may_read(&self, name: &ModelName) -> bool {
        self.reads.iter().flatten().any(|scope| scope.covers(name))
    }

    /// The bytes that the client may have on the server, if it may push a model of this name.
    #[must_use]
    pub fn may_push(&self, name: &ModelName) -> Option<u64> {
        let (scopes, quota) = self.pushes.as_ref()?;
        scopes.iter().any(|scope| scope.covers(name)).then_some(*quota)
    }
}

/// The tickets of swarms.
pub struct Tickets(Box<FindTicket>);

type FindTicket = dyn Fn(&ModelName, HeadId) -> Option<String> + Send + Sync;

impl Tickets {
    /// The tickets that this function finds, by the model's name and the head id of the release that stands.
    pub fn new(find: impl Fn(&ModelName, HeadId) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(find))
    }

    pub(crate) fn find(&self, name: &ModelName, head: HeadId) -> Option<String> {
        (self.0)(name, head)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// Whether a name is one that every file system takes for the same, and for no other.
fn is_folder(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    !name.starts_with('.') && name.bytes().all(is_plain)
}

/// A number of bytes: digits, and perhaps a unit.
fn bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let with_unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = with_unit.unwrap_or((text, 0));
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if is_number { number.parse().ok()? } else { return None };
    number.checked_mul(1u64.checked_shl(bits)?)
}

fn hash(text: &str) -> Option<[u8; 32]> {
    // The reader of hexadecimal hashes that all pages use.
    weighbridge_tree::FileRoot::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    Stamp::of(&open_to_read(path).ok()?).ok()
}

/// The clients of a file, and its stamp before it was read: what changes meanwhile is read again.
fn read(path: &Path) -> Result<(Option<Stamp>, Vec<Arc<Client>>), ClientsFileError> {
    let stamp = stamp_of(path);
    let text = read_bounded(path, MAX_FILE).map_err(ClientsFileError::Io)?;
    let about = |fault| ClientsFileError::Line { path: path.to_owned(), fault };
    let text =
        String::from_utf8(text).map_err(|_| about(ClientsError { line: 0, fault: "it is no text" }))?;
    Ok((stamp, Clients::lines(&text).map_err(about)?))
}

/// The longest tokens file.
const MAX_FILE: u64 = 1 << 20;

/// The reason why the clients of a file are not known.
#[non_exhaustive]
#[derive(Debug)]
pub enum ClientsFileError {
    /// The file cannot be read.
    Io(IoError),
    /// A line of it is malformed.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        fault: ClientsError,
    },
}

impl fmt::Display for ClientsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Line { path, fault } => write!(f, "{}: {fault}", shown_path(path)),
        }
    }
}

impl std::error::Error for ClientsFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line { fault, .. } => Some(fault),
        }
    }
}

/// The reason why a tokens file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsError {
    /// The line, from 1 on; 0 if the fault is of the file as a whole.
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
    fn a_client_has_the_rights_of_all_its_lines() {
        let text = format!("ci {HASH} push org/* 3GiB\nci {HASH} read other/model\nup {OTHER} push * 7\n");
        let clients = Clients::parse(&text).unwrap();
        let client = clients.by_token("test").unwrap();
        let name = |name| ModelName::parse(name).unwrap();
        assert_eq!(client.may_push(&name("org/a")), Some(3 << 30));
        assert_eq!(client.may_push(&name("other/model")), None);
        assert!(client.may_read(&name("other/model")) && !client.may_read(&name("org/a")));
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
            format!("ok {OTHER} read org/*"),
            format!("ok {HASH} push * 1"),
            format!("ci {HASH} read * 1GiB"),
            format!("ci {HASH} push *"),
            format!("ci {HASH} push * 1GB"),
            format!("ci {HASH} push * -1"),
            format!("ci {HASH} push * +1"),
            format!("ci {HASH} push * GiB"),
            format!("ci {HASH} push * 99999999TiB"),
            format!("ci {HASH} push * 1 2"),
            format!("Ci {HASH} push * 1"),
            format!("../ci {HASH} push * 1"),
            format!(".ci {HASH} push * 1"),
        ] {
            let text = format!("ok {OTHER} read *\n{line}\n");
            assert_eq!(Clients::parse(&text).unwrap_err().line, 2, "{line}");
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&format!("ci {HASH} read *"));
        let clients = Clients::read(path.clone()).unwrap();
        assert!(clients.look().is_ok() && clients.by_token("test").is_some());
        write("nonsense");
        let told = clients.look().unwrap_err().to_string();
        assert!(told.ends_with("tokens: line 1: the SHA-256 of the token is missing"), "{told}");
        assert!(clients.look().is_ok(), "it is told once");
        assert!(clients.by_token("test").is_some());
        write(&format!("other {OTHER} read *"));
        assert!(clients.look().is_ok());
        assert!(clients.by_token("test").is_none(), "its line is gone");
        std::fs::remove_file(&path).unwrap();
        assert!(clients.look().is_err() && clients.look().is_ok());
    }
}
