//! The messages of members, as bytes (`spec/swarm.md`, W8 to W10). No I/O.

use std::fmt;

use weighbridge_tree::{Coded, ErrorCode, FileRoot};

use crate::{
    member::MemberKey,
    ticket::{Address, MAX_ADDRESS},
};

/// The length of a message's kind and length.
pub const HEADER: usize = 5;
/// The longest message of a kind that is not known.
const MAX_UNKNOWN: u32 = 65_536;
/// The most members of `PEERS`.
pub const MAX_PEERS: usize = 12;
/// The most addresses of `ANNOUNCE`.
pub const MAX_ADDRESSES: usize = 4;
/// The most keys of `MEMBERS`.
pub const MAX_OWNERS: usize = 65_536;
/// The most pieces of one `HAVE`.
pub const MAX_HAVE: usize = 1024;
/// The most pieces of a release.
pub const MAX_PIECES: u32 = 1 << 24;
/// The longest `head.note`.
pub const MAX_NOTE: usize = 131_072;

/// The part that a member has in its swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It fetches nothing, and tells members of each other.
    Tracker,
    /// It fetches all of the release.
    FetchesAll,
    /// It fetches a part of the release.
    FetchesPart,
    /// It has all of the release.
    HasAll,
}

impl Role {
    const ALL: [Self; 4] = [Self::Tracker, Self::FetchesAll, Self::FetchesPart, Self::HasAll];

    /// The word for the role in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tracker => "tracker",
            Self::FetchesAll => "fetches",
            Self::FetchesPart => "fetches a part",
            Self::HasAll => "has all",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Tracker => 0,
            Self::FetchesAll => 1,
            Self::FetchesPart => 2,
            Self::HasAll => 3,
        }
    }
}

/// A member and the address at which it accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The key of the member.
    pub key: MemberKey,
    /// Its address.
    pub address: Address,
}

/// The thing that a member is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// `head.note`.
    Head,
    /// `files.jsonl`.
    Files,
    /// `tensors.jsonl`.
    Tensors,
    /// `chunks.layer`.
    Layers,
    /// The file with this root.
    File(FileRoot),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The sender's role and addresses.
    Announce {
        /// Its role.
        role: Role,
        /// The port at which it accepts connections, under the address from which it has connected; 0 for none.
        port: u16,
        /// Other addresses, at most [`MAX_ADDRESSES`].
        addresses: Vec<Address>,
    },
    /// Members of the swarm, at most [`MAX_PEERS`].
    Peers(Vec<Peer>),
    /// The members that fetch all of the release.
    Members {
        /// The number of times that the sender has changed the list.
        epoch: u64,
        /// The keys, ascending and at most [`MAX_OWNERS`].
        keys: Vec<MemberKey>,
    },
    /// The sender has every piece.
    HaveAll,
    /// The sender has the pieces whose bits are set.
    HaveSet(Vec<u8>),
    /// The sender has gained these pieces, at most [`MAX_HAVE`].
    Have(Vec<u32>),
    /// The piece that the sender asks the origin for.
    Claim(Option<u32>),
    /// The sender leaves.
    Bye,
    /// The sender has nothing to say.
    Alive,
    /// Whether the receiver has one of the sender's upload slots from now on, in an open swarm.
    Slot(bool),
    /// The sender asks for bytes of an item.
    Get {
        /// The item.
        item: Item,
        /// The first byte.
        start: u64,
        /// The number of bytes, at least 1.
        count: u64,
    },
    /// The bytes follow this message.
    Give,
    /// The sender asks not to be asked for so many milliseconds.
    Busy(u32),
    /// The sender does not have all of the bytes.
    Lack,
    /// The whole of an item.
    GiveAll(Vec<u8>),
}

/// The kind and length of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u8,
    /// The number of bytes that follow.
    pub len: u32,
}

const ANNOUNCE: u8 = 1;
const PEERS: u8 = 2;
const MEMBERS: u8 = 3;
const HAVE_ALL: u8 = 4;
const HAVE_SET: u8 = 5;
const HAVE: u8 = 6;
const CLAIM: u8 = 7;
const BYE: u8 = 8;
const ALIVE: u8 = 9;
const SLOT: u8 = 12;
const GET: u8 = 16;
const GIVE: u8 = 17;
const BUSY: u8 = 18;
const LACK: u8 = 19;
const GIVE_ALL: u8 = 20;

impl Header {
    /// Whether the bytes are those of a message that only trackers send.
    #[must_use]
    pub fn is_of_trackers(bytes: [u8; HEADER]) -> bool {
        let [kind, ..] = bytes;
        kind == MEMBERS
    }

    /// Whether the bytes are those of a message about pieces, which is understood only once their number is known.
    #[must_use]
    pub fn is_about_pieces(bytes: [u8; HEADER]) -> bool {
        let [kind, ..] = bytes;
        matches!(kind, HAVE_ALL | HAVE_SET | HAVE | CLAIM)
    }

    /// The most pieces that a release can have whose `HAVE_SET` has this header; `None` for other kinds, and for more pieces than
    /// any release has.
    #[must_use]
    pub fn set_pieces(bytes: [u8; HEADER]) -> Option<u32> {
        let [kind, a, b, c, d] = bytes;
        let pieces = u32::from_le_bytes([a, b, c, d]).checked_mul(8)?;
        (kind == HAVE_SET && pieces <= MAX_PIECES).then_some(pieces)
    }

    /// Reads a header. Its length is bounded by its kind, and that of `HAVE_SET` by the number of pieces: so nobody
    /// makes room for more than that.
    ///
    /// # Errors
    /// [`MessageError`]: the length is not one of this kind.
    pub fn parse(bytes: [u8; HEADER], pieces: u32) -> Result<Self, MessageError> {
        let [kind, a, b, c, d] = bytes;
        let len = u32::from_le_bytes([a, b, c, d]);
        let most = |count: usize, each: usize| u32::try_from(count.saturating_mul(each)).unwrap_or(u32::MAX);
        let allowed = match kind {
            ANNOUNCE => 4..=4u32.saturating_add(most(MAX_ADDRESSES, MAX_ADDRESS.saturating_add(1))),
            PEERS => 0..=most(MAX_PEERS, MAX_ADDRESS.saturating_add(33)),
            MEMBERS => 8..=8u32.saturating_add(most(MAX_OWNERS, 32)),
            HAVE_SET => pieces.div_ceil(8)..=pieces.div_ceil(8),
            HAVE => 4..=most(MAX_HAVE, 4),
            CLAIM => 0..=4,
            SLOT => 1..=1,
            GET => 17..=49,
            BUSY => 4..=4,
            GIVE_ALL => 1..=most(1, MAX_NOTE),
            HAVE_ALL | BYE | ALIVE | GIVE | LACK => 0..=0,
            _ => 0..=MAX_UNKNOWN,
        };
        if allowed.contains(&len) { Ok(Self { kind, len }) } else { Err(MessageError::Length) }
    }
}

impl Message {
    /// Reads the content of a message; `None` if its kind is not known. `pieces` is the number of pieces of the release.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(header: Header, content: &[u8], pieces: u32) -> Result<Option<Self>, MessageError> {
        if u32::try_from(content.len()) != Ok(header.len) {
            return Err(MessageError::Length);
        }
        let mut from = Cursor(content);
        let piece = |number: u32| if number < pieces { Ok(number) } else { Err(MessageError::Value) };
        let message = match header.kind {
            ANNOUNCE => {
                let role = from.u8()?;
                let role =
                    Role::ALL.into_iter().find(|one| one.number() == role).ok_or(MessageError::Value)?;
                let port = u16::from_le_bytes(from.array()?);
                let count = usize::from(from.u8()?);
                if count > MAX_ADDRESSES {
                    return Err(MessageError::Value);
                }
                let addresses = (0..count).map(|_| from.address()).collect::<Result<_, _>>()?;
                Self::Announce { role, port, addresses }
            }
            PEERS => {
                let mut peers = Vec::new();
                while !from.is_empty() {
                    peers.push(Peer { key: from.key()?, address: from.address()? });
                }
                if peers.len() > MAX_PEERS {
                    return Err(MessageError::Value);
                }
                Self::Peers(peers)
            }
            MEMBERS => {
                let epoch = from.u64()?;
                let mut keys = Vec::new();
                while !from.is_empty() {
                    keys.push(from.key()?);
                }
                if !keys.is_sorted_by(|one, next| one < next) {
                    return Err(MessageError::Value);
                }
                Self::Members { epoch, keys }
            }
            HAVE_ALL => Self::HaveAll,
            HAVE_SET => {
                let used = pieces % 8;
                let last = content.last().copied().unwrap_or(0);
                if used > 0 && u32::from(last) >> used != 0 {
                    return Err(MessageError::Value);
                }
                from = Cursor(&[]);
                Self::HaveSet(content.to_vec())
            }
            HAVE => {
                let mut have = Vec::new();
                while !from.is_empty() {
                    have.push(piece(from.u32()?)?);
                }
                Self::Have(have)
            }
            CLAIM if from.is_empty() => Self::Claim(None),
            CLAIM => Self::Claim(Some(piece(from.u32()?)?)),
            BYE => Self::Bye,
            ALIVE => Self::Alive,
            SLOT => match from.u8()? {
                0 => Self::Slot(false),
                1 => Self::Slot(true),
                _ => return Err(MessageError::Value),
            },
            GET => {
                let item = match from.u8()? {
                    0 => Item::Head,
                    1 => Item::Files,
                    2 => Item::Tensors,
                    3 => Item::Layers,
                    4 => Item::File(FileRoot::from_bytes(from.array()?)),
                    _ => return Err(MessageError::Value),
                };
                let (start, count) = (from.u64()?, from.u64()?);
                let is_of_head = start == 0 && count == 1;
                if count == 0 || start.checked_add(count).is_none() || (item == Item::Head && !is_of_head) {
                    return Err(MessageError::Value);
                }
                Self::Get { item, start, count }
            }
            GIVE => Self::Give,
            BUSY => Self::Busy(from.u32()?),
            LACK => Self::Lack,
            GIVE_ALL => {
                from = Cursor(&[]);
                Self::GiveAll(content.to_vec())
            }
            _ => return Ok(None),
        };
        if from.is_empty() { Ok(Some(message)) } else { Err(MessageError::Length) }
    }

    /// The bytes of the message, with its header.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind(), 0, 0, 0, 0];
        match self {
            Self::Announce { role, port, addresses } => {
                bytes.push(role.number());
                bytes.extend_from_slice(&port.to_le_bytes());
                bytes.push(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
                addresses.iter().for_each(|address| write_address(&mut bytes, address));
            }
            Self::Peers(peers) => {
                for peer in peers {
                    bytes.extend_from_slice(peer.key.as_bytes());
                    write_address(&mut bytes, &peer.address);
                }
            }
            Self::Members { epoch, keys } => {
                bytes.extend_from_slice(&epoch.to_le_bytes());
                keys.iter().for_each(|key| bytes.extend_from_slice(key.as_bytes()));
            }
            Self::HaveSet(content) | Self::GiveAll(content) => bytes.extend_from_slice(content),
            Self::Have(pieces) => {
                pieces.iter().for_each(|piece| bytes.extend_from_slice(&piece.to_le_bytes()));
            }
            Self::Claim(Some(number)) | Self::Busy(number) => bytes.extend_from_slice(&number.to_le_bytes()),
            Self::Get { item, start, count } => {
                bytes.push(match item {
                    Item::Head => 0,
                    Item::Files => 1,
                    Item::Tensors => 2,
                    Item::Layers => 3,
                    Item::File(_) => 4,
                });
                if let Item::File(root) = item {
                    bytes.extend_from_slice(root.as_bytes());
                }
                bytes.extend_from_slice(&start.to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
            }
            Self::Slot(has_slot) => bytes.push(u8::from(*has_slot)),
            Self::HaveAll | Self::Claim(None) | Self::Bye | Self::Alive | Self::Give | Self::Lack => {}
        }
        let len = u32::try_from(bytes.len().saturating_sub(HEADER)).unwrap_or(u32::MAX);
        bytes.iter_mut().skip(1).zip(len.to_le_bytes()).for_each(|(to, from)| *to = from);
        bytes
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Announce { .. } => ANNOUNCE,
            Self::Peers(_) => PEERS,
            Self::Members { .. } => MEMBERS,
            Self::HaveAll => HAVE_ALL,
            Self::HaveSet(_) => HAVE_SET,
            Self::Have(_) => HAVE,
            Self::Claim(_) => CLAIM,
            Self::Bye => BYE,
            Self::Alive => ALIVE,
            Self::Slot(_) => SLOT,
            Self::Get { .. } => GET,
            Self::Give => GIVE,
            Self::Busy(_) => BUSY,
            Self::Lack => LACK,
            Self::GiveAll(_) => GIVE_ALL,
        }
    }
}

fn write_address(bytes: &mut Vec<u8>, address: &Address) {
    // An address has at most 255 bytes.
    bytes.push(u8::try_from(address.as_str().len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(address.as_str().as_bytes());
}

/// The bytes of a message that are left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(MessageError::Length)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        self.array().map(u64::from_le_bytes)
    }

    fn key(&mut self) -> Result<MemberKey, MessageError> {
        self.array().map(MemberKey::from_bytes)
    }

    fn address(&mut self) -> Result<Address, MessageError> {
        let len = usize::from(self.u8()?);
        let (address, rest) = self.0.split_at_checked(len).ok_or(MessageError::Length)?;
        self.0 = rest;
        str::from_utf8(address).ok().and_then(Address::parse).ok_or(MessageError::Value)
    }
}

/// The fault of a message. Either ends the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Its length is not one of its kind, or not the one of its content.
    Length,
    /// A value in it is not allowed.
    Value,
}

impl Coded for MessageError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::SWARM_MESSAGE
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a message of a member has a length that its kind does not have",
            Self::Value => "a message of a member has a value that is not allowed",
        })
    }
}

impl std::error::Error for MessageError {}

#[cfg(test)]
mod tests;
