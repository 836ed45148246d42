//! Nodes that fetch the same model share what they have verified.
//!
//! - [`Plan`] decides which piece is asked of which member, and which of the origin: pure, in the caller's time
//! - a [`Ticket`] lets a node join, and a [`Message`] is what members say to each other
//! - with the feature `carrier`, a `Swarm` is a membership, and a `Tracker` tells members of each other
//!
//! All of it is specified in `spec/swarm.md`.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

#[cfg(feature = "carrier")]
mod ask;
#[cfg(feature = "carrier")]
mod channel;
#[cfg(feature = "carrier")]
mod door;
#[cfg(feature = "carrier")]
mod giver;
#[cfg(feature = "carrier")]
mod guide;
mod member;
mod message;
#[cfg(feature = "carrier")]
mod neighbour;
#[cfg(feature = "carrier")]
mod outbox;
#[cfg(feature = "carrier")]
mod peer;
mod pieces;
#[cfg(feature = "carrier")]
mod places;
mod plan;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "carrier")]
mod slots;
#[cfg(feature = "carrier")]
mod swarm;
mod ticket;
#[cfg(feature = "carrier")]
mod tls;
#[cfg(feature = "carrier")]
mod tracker;
#[cfg(feature = "carrier")]
mod turns;
#[cfg(feature = "carrier")]
mod wire;

#[cfg(feature = "carrier")]
pub use ask::{AskedMember, Says, ask_members};
#[cfg(feature = "carrier")]
pub use channel::{Arriving, Carrier, Link, Stream};
pub use member::MemberKey;
pub use message::{
    HEADER, Header, Item, MAX_ADDRESSES, MAX_HAVE, MAX_NOTE, MAX_OWNERS, MAX_PEERS, MAX_PIECES, Message,
    MessageError, Peer, Role,
};
pub use pieces::{Pieces, Place};
pub use plan::{
    Admission, Ask, Block, Degree, Discovery, Failure, Giver, Members, Neighbours, Piece, Plan, Rules,
    SlotChange, SlotRules, Slots, UploadRules, Uploads,
};
#[cfg(feature = "carrier")]
pub use swarm::{Swarm, SwarmFigures, SwarmOptions};
pub use ticket::{
    Access, Address, Label, MAX_ADDRESS, MAX_MEMBERS, MAX_TICKET, MAX_TRACKERS, Secret, Side, SwarmKey, Tag,
    Ticket, TicketError, TicketFault,
};
#[cfg(feature = "carrier")]
pub use tls::{Identity, TlsCarrier};
#[cfg(feature = "carrier")]
pub use tracker::{MemberStatus, SwarmStatus, Tracker, TrackerFigures, TrackerView};
