//! Objects of `swarm`, and of `fetch` as a member. `spec/swarm.md` says what they mean.

use std::borrow::Cow;

use serde::Serialize;

use super::values::Hash;

/// A ticket was made.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Made<'a> {
    /// The file of the ticket.
    pub(crate) path: Cow<'a, str>,
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The time from which nobody joins.
    pub(crate) expires: String,
    /// Whether anybody may have it.
    pub(crate) open: bool,
}

/// A member of a swarm.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Member {
    /// The beginning of its key, in hexadecimal.
    pub(crate) key: String,
    /// The address at which it lets others in; null if it is not known.
    pub(crate) address: Option<String>,
    /// Its role, as it says: `fetches`, `fetches a part`, `has all`; null if it was not asked, or does not answer.
    pub(crate) role: Option<&'static str>,
    /// The part of the pieces that it says it has, from 0 to 1; null if it says nothing of them.
    pub(crate) has: Option<f64>,
    /// The piece that it asks the origin for; null if it asks for none.
    pub(crate) claim: Option<u32>,
}

/// The part of the swarm in a fetch.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Part {
    /// The most members that were connected at once, without trackers.
    pub(crate) members: u64,
    /// The verified bytes that came from members.
    pub(crate) from_members: u64,
    /// The verified bytes that came from the sources of the command line.
    pub(crate) from_origin: u64,
    /// The bytes that were sent to members until then.
    pub(crate) sent: u64,
    /// The seconds from the head to the last chunk.
    pub(crate) seconds: f64,
    /// The seconds that the same bytes take at the best rate of any second: no fetch over this line is faster.
    pub(crate) bound: f64,
}

/// The member has left the swarm.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Shared {
    /// The bytes that it has sent to members.
    pub(crate) sent: u64,
    /// The most members that were connected at once, without trackers.
    pub(crate) members: u64,
    /// The seconds after the fetch for which it gave the model to others.
    pub(crate) seconds: f64,
}
