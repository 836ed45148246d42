//! Tickets: the text that lets a node join a swarm, and the keys that follow from it (`spec/swarm.md`, W3 and W4).

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use base64ct::{Base64, Encoding as _};
use weighbridge_manifest::{ModelName, Time};
use weighbridge_tree::{Coded, ErrorCode, HeadId};
use zeroize::Zeroizing;

use crate::member::MemberKey;

/// The ticket of a swarm. Whoever has it may join; its [`Access`] says whether it is a secret.
///
/// # Example
/// ```
/// use weighbridge_manifest::{ModelName, Time};
/// use weighbridge_swarm::{Access, Address, Ticket};
/// use weighbridge_tree::HeadId;
///
/// let ticket = Ticket {
///     name: ModelName::parse("org/model")?,
///     head: HeadId::from_bytes([7; 32]),
///     expires: Time::parse("2026-12-07T00:00:00Z")?,
///     access: Access::Secret([1; 32].into()),
///     trackers: vec![Address::parse("origin.example:7070").ok_or("malformed")?],
///     members: Vec::new(),
/// };
/// let text = ticket.write();
/// assert!(Ticket::parse(text.as_bytes())? == ticket);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The model's name.
    pub name: ModelName,
    /// The head id of the release.
    pub head: HeadId,
    /// The time from which nobody joins.
    pub expires: Time,
    /// Who may have the ticket.
    pub access: Access,
    /// The addresses of trackers, at most [`MAX_TRACKERS`].
    pub trackers: Vec<Address>,
    /// The only members, ascending and at most [`MAX_MEMBERS`]; if empty, whoever has the ticket is one. A ticket that
    /// anybody may have lists none.
    pub members: Vec<MemberKey>,
}

/// Who may have a ticket: part of the swarm's key, so that nobody takes the one kind for the other.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// Nodes that trust each other to give.
    Secret(Secret),
    /// Anybody: the swarm is open. The bytes are random, and no secret; without the ticket nobody finds the swarm.
    Open([u8; 32]),
}

/// The most trackers of a ticket.
pub const MAX_TRACKERS: usize = 8;
/// The most members that a ticket lists.
pub const MAX_MEMBERS: usize = 1024;
/// The longest ticket in bytes.
pub const MAX_TICKET: usize = 65_536;

const VERSION: &str = "weighbridge/swarm/v1";

/// The 32 random bytes of a ticket. They are wiped when dropped, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl Secret {
    /// Makes a secret from the system's randomness.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }
}

impl Access {
    /// Makes the value of an open ticket from the system's randomness.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn open() -> Result<Self, getrandom::Error> {
        let mut value = [0; 32];
        getrandom::fill(&mut value)?;
        Ok(Self::Open(value))
    }

    /// Makes a secret.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn secret() -> Result<Self, getrandom::Error> {
        Secret::random().map(Self::Secret)
    }
}

impl fmt::Debug for Access {
    /// Omits the bytes, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Open(_)) { "open" } else { "secret" })
    }
}

/// The key of a swarm, by which members prove that they have its ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct SwarmKey(Zeroizing<[u8; 32]>);

/// The name of a swarm to those who have its ticket. It tells others nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label([u8; 16]);

impl Label {
    /// The label of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the label.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The name of a member to an origin that has the swarm's ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; 16]);

impl Tag {
    /// The tag of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the tag.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The side of a channel that proves its membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The member that has opened the connection.
    Connects,
    /// The member that has accepted it.
    Accepts,
}

impl SwarmKey {
    /// A key that no swarm has.
    #[cfg(feature = "carrier")]
    pub(crate) fn of_nobody() -> Self {
        Self(Zeroizing::new([0; 32]))
    }

    /// The label of the swarm.
    #[must_use]
    pub fn label(&self) -> Label {
        let hash = blake3::keyed_hash(&self.0, b"label");
        let mut label = [0; 16];
        label.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Label(label)
    }

    /// The tag by which an origin that has the ticket knows this member (W21). It tells others neither the swarm nor the member.
    #[must_use]
    pub fn tag(&self, member: &MemberKey) -> Tag {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"origin").update(member.as_bytes());
        let mut tag = [0; 16];
        hasher.finalize_xof().fill(&mut tag);
        Tag(tag)
    }

    /// The proof of membership of one side of a channel (W6). Equality of the result takes constant time.
    #[must_use]
    pub fn proof(
        &self,
        side: Side,
        exporter: &[u8; 32],
        connects: &MemberKey,
        accepts: &MemberKey,
    ) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(match side {
            Side::Connects => b"connects",
            Side::Accepts => b"accepts",
        });
        hasher.update(exporter).update(connects.as_bytes()).update(accepts.as_bytes());
        hasher.finalize()
    }
}

impl Ticket {
    /// Reads a ticket.
    ///
    /// # Errors
    /// [`TicketError`]: the first line that is not as it has to be.
    pub fn parse(bytes: &[u8]) -> Result<Self, TicketError> {
        if bytes.len() > MAX_TICKET {
            return Err(TicketError { line: 1, fault: TicketFault::TooLong });
        }
        let mut lines = Lines::of(bytes);
        if lines.next() != Some(VERSION.as_bytes()) {
            return Err(lines.fault(TicketFault::Version));
        }
        let name = lines.value("name", |value| ModelName::parse(value).ok())?;
        let head = lines.value("head", |value| HeadId::from_hex(value).ok())?;
        let expires =
            lines.value("expires", |value| Time::parse(value).ok().filter(|time| time.unix() >= 0))?;
        let (access, most_members) = if lines.is_at("open") {
            (Access::Open(lines.value("open", decode)?), 0)
        } else if lines.is_at("secret") {
            (Access::Secret(lines.value("secret", decode)?.into()), MAX_MEMBERS)
        } else {
            let _ = lines.next();
            return Err(lines.fault(TicketFault::Access));
        };
        let mut trackers: Vec<Address> = Vec::new();
        while trackers.len() < MAX_TRACKERS && lines.is_at("tracker") {
            let is_new = |address: &Address| !trackers.contains(address);
            let tracker = lines.value("tracker", |value| Address::parse(value).filter(is_new))?;
            trackers.push(tracker);
        }
        let mut members: Vec<MemberKey> = Vec::new();
        while members.len() < most_members && lines.is_at("member") {
            let follows = |key: &MemberKey| members.last().is_none_or(|last| last < key);
            let member =
                lines.value("member", |value| decode(value).map(MemberKey::from_bytes).filter(follows))?;
            members.push(member);
        }
        lines.end()?;
        Ok(Self { name, head, expires, access, trackers, members })
    }

    /// The text of the ticket.
    #[must_use]
    pub fn write(&self) -> Zeroizing<String> {
        let (key, bytes) = match &self.access {
            Access::Secret(secret) => ("secret", secret.0.as_slice()),
            Access::Open(value) => ("open", value.as_slice()),
        };
        let mut text = format!(
            "{VERSION}\nname {}\nhead {}\nexpires {}\n{key} {}\n",
            self.name,
            self.head,
            self.expires,
            Zeroizing::new(Base64::encode_string(bytes)).as_str()
        );
        for tracker in &self.trackers {
            text.push_str(&format!("tracker {tracker}\n"));
        }
        for member in &self.members {
            text.push_str(&format!("member {}\n", Base64::encode_string(member.as_bytes())));
        }
        Zeroizing::new(text)
    }

    /// The key of the swarm.
    #[must_use]
    pub fn key(&self) -> SwarmKey {
        let (context, bytes) = match &self.access {
            Access::Secret(secret) => ("weighbridge swarm v1 key", secret.0.as_slice()),
            Access::Open(value) => ("weighbridge swarm v1 open key", value.as_slice()),
        };
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(bytes).update(self.head.as_bytes());
        hasher.update(&self.expires.unix().to_le_bytes());
        SwarmKey(Zeroizing::new(*hasher.finalize().as_bytes()))
    }

    /// Whether anybody may have the ticket: the swarm is open (W22).
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.access, Access::Open(_))
    }

    /// Whether a node with this key may be a member.
    #[must_use]
    pub fn lists(&self, key: &MemberKey) -> bool {
        self.members.is_empty() || self.members.binary_search(key).is_ok()
    }
}

impl fmt::Debug for Ticket {
    /// Omits the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("name", &self.name.as_str())
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// 32 bytes from base64 with padding.
fn decode(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    (Base64::decode(text, &mut bytes).ok()?.len() == bytes.len()).then_some(bytes)
}

/// The lines of a ticket, in order.
struct Lines<'a> {
    rest: &'a [u8],
    /// The number of the line that was read last, from 1; 0 before the first.
    number: usize,
}

impl<'a> Lines<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self { rest, number: 0 }
    }

    /// The next line without its LF; `None` if there is none, or if it has no LF.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.number = self.number.saturating_add(1);
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        Some(line)
    }

    fn is_at(&self, key: &str) -> bool {
        self.rest.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
    }

    /// The value of the next line, which has to have this key.
    fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, TicketError> {
        let is_there = self.is_at(key);
        let Some(line) = self.next().filter(|_| is_there) else {
            return Err(self.fault(TicketFault::Line(key)));
        };
        let value = line.get(key.len().saturating_add(1)..).unwrap_or_default();
        let value = str::from_utf8(value).ok().and_then(read);
        value.ok_or(self.fault(TicketFault::Value(key)))
    }

    fn end(&mut self) -> Result<(), TicketError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.number = self.number.saturating_add(1);
        Err(self.fault(TicketFault::Line("nothing more")))
    }

    fn fault(&self, fault: TicketFault) -> TicketError {
        TicketError { line: self.number, fault }
    }
}

/// The refusal of a ticket. It does not contain the ticket's text, which is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketError {
    /// The line, counted from 1.
    pub line: usize,
    /// The fault of the line.
    pub fault: TicketFault,
}

/// The reason why a ticket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketFault {
    /// It is longer than [`MAX_TICKET`] bytes.
    TooLong,
    /// Its first line names a version that is not known.
    Version,
    /// A line has another key than this one, has no LF, or is missing.
    Line(&'static str),
    /// The line that says who may have the ticket has another key, has no LF, or is missing.
    Access,
    /// The value of the line with this key is malformed.
    Value(&'static str),
}

impl Coded for TicketError {
    fn error_code(&self) -> ErrorCode {
        match self.fault {
            TicketFault::TooLong => ErrorCode::TICKET_TOO_LONG,
            TicketFault::Version => ErrorCode::TICKET_VERSION,
            TicketFault::Line(_) | TicketFault::Access => ErrorCode::TICKET_LINE,
            TicketFault::Value(_) => ErrorCode::TICKET_VALUE,
        }
    }
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match self.fault {
            TicketFault::TooLong => write!(f, "the ticket is longer than {MAX_TICKET} bytes"),
            TicketFault::Version => write!(f, "line 1 of the ticket is not `{VERSION}`"),
            TicketFault::Line(key) => {
                write!(f, "line {line} of the ticket is not `{key}`, where that has to be")
            }
            TicketFault::Access => {
                write!(f, "line {line} of the ticket is neither `secret` nor `open`, where that has to be")
            }
            TicketFault::Value(key) => {
                write!(f, "line {line} of the ticket: the value of `{key}` is malformed")
            }
        }
    }
}

impl std::error::Error for TicketError {}

/// The address of a member: a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

/// The longest address in bytes.
pub const MAX_ADDRESS: usize = 255;

impl Address {
    /// Reads `HOST:PORT`, where the host is an IPv4 address, an IPv6 address in brackets, or a name in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_port = !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
        let _ = port.parse::<u16>().ok().filter(|port| is_port && *port > 0)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            // An address may be written in several ways, and only one of them is taken.
            Some(host) => host.parse::<Ipv6Addr>().is_ok_and(|address| address.to_string() == host),
            None => host.parse::<Ipv4Addr>().is_ok() || is_name(host),
        };
        (is_host && text.len() <= MAX_ADDRESS).then(|| Self(text.to_owned()))
    }

    /// The text of the address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The IP address of the host; `None` if it is a name.
    #[cfg(feature = "carrier")]
    pub(crate) fn ip(&self) -> Option<std::net::IpAddr> {
        self.0.parse().ok().map(|address: std::net::SocketAddr| address.ip())
    }
}

impl From<std::net::SocketAddr> for Address {
    /// Leaves out the scope of an IPv6 address, which means something on one machine alone.
    fn from(address: std::net::SocketAddr) -> Self {
        Self(std::net::SocketAddr::new(address.ip(), address.port()).to_string())
    }
}

fn is_name(host: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&part.len()) && part.bytes().all(is_plain)
    };
    // The system takes a name whose last part is a number for an address, in one of several old forms.
    let is_number = |part: &str| {
        let hexadecimal = part.strip_prefix("0x");
        part.bytes().all(|byte| byte.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    host.len() <= 253 && host.split('.').all(is_part) && !host.rsplit('.').next().is_some_and(is_number)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
