//! The claims of members of swarms (`spec/swarm.md`, W21): bytes that one member is given are held back from the others for a
//! while, so that these take other pieces from here, and this one from the member.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName};
use weighbridge_tree::HeadId;

use crate::{room::lock, route::ServedName};

/// The header of a claim, and of the answer that holds bytes back.
pub(crate) const CLAIM: HeaderName = HeaderName::from_static("weighbridge-claim");

/// The claim of a member of a swarm to the bytes that it asks for.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use weighbridge_serve::Claim;
///
/// let claim = Claim::parse("000102030405060708090a0b0c0d0e0f 8000");
/// assert!(claim.is_some_and(|claim| claim.tag[15] == 15 && claim.lease == Duration::from_secs(8)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The tag of the member.
    pub tag: [u8; 16],
    /// The time for which nobody else is to be given the bytes; zero if others may have them at once.
    pub lease: Duration,
}

/// The least and the longest lease, in milliseconds, of a claim that holds bytes back.
const LEASES: std::ops::RangeInclusive<u64> = 1_000..=60_000;

impl Claim {
    /// Reads the value of the header: 32 hexadecimal digits, a space, and milliseconds, 0 or 1,000 to 60,000. `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, lease) = text.split_once(' ')?;
        let is_plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 32 || !digits.bytes().all(is_plain) {
            return None;
        }
        let mut tag = [0; 16];
        for (byte, pair) in tag.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let lease = if lease == "0" {
            0
        } else {
            let is_number = lease.bytes().all(|byte| byte.is_ascii_digit()) && !lease.starts_with('0');
            lease.parse().ok().filter(|lease| is_number && LEASES.contains(lease))?
        };
        Some(Self { tag, lease: Duration::from_millis(lease) })
    }

    /// The claim of a request, if it has one, and no more than one.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CLAIM).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.to_str().ok()?)
    }
}

/// The swarms whose tracker this program is.
pub struct Swarms(Box<FindSwarm>);

type FindSwarm = dyn Fn(&[u8; 16], HeadId) -> Option<usize> + Send + Sync;

impl Swarms {
    /// The swarms that this function finds: the number of the one that shares the release with this head id, and in which a member
    /// with this tag is now. It is called for each request that has a claim.
    pub fn new(find: impl Fn(&[u8; 16], HeadId) -> Option<usize> + Send + Sync + 'static) -> Self {
        Self(Box::new(find))
    }
}

impl fmt::Debug for Swarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Swarms")
    }
}

/// The bytes that members of swarms were given.
///
/// # Guarantee
/// A request without a claim, or with that of nobody who is a member now, is never held back. Bytes are held back for a lease, which is
/// no longer than that of the member that asks, and then for none during three: whatever members claim, and whoever copies a tag, each member that asks for some bytes again and again
/// is given them.
///
/// # Cost
/// About a hundred bytes of memory for each range that was claimed, 65,536 of them at most.
#[derive(Debug)]
pub(crate) struct Claims {
    swarms: Swarms,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    grants: BTreeMap<Key, Grant>,
    /// When grants were looked through for room last.
    swept: Option<Instant>,
    figures: BTreeMap<ServedName, ClaimFigures>,
}

/// A range of a file of the release that a swarm shares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    swarm: usize,
    file: usize,
    start: u64,
    end: u64,
}

/// A range that was given to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grant {
    tag: [u8; 16],
    at: Instant,
    lease: Duration,
}

/// The bytes of a model that members have claimed and were given, by whether they had been given before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimFigures {
    /// To no member of the swarm, as far as is remembered.
    pub(crate) once: u64,
    /// To the same member.
    pub(crate) same_member: u64,
    /// To another one, whose lease had ended.
    pub(crate) after_lease: u64,
    /// How many requests were held back.
    pub(crate) held_back: u64,
}

/// The most ranges that are remembered.
const MOST_GRANTS: usize = 65_536;
/// The leases after which bytes may be held back again: one for which they are, and three for which they are not.
const CYCLE: u32 = 4;
/// The least time between two searches for room.
const SWEEP: Duration = Duration::from_secs(1);

/// The decision about a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It has no claim that counts.
    Unclaimed,
    Given(Claimed),
    /// The claim of another member holds for this time.
    HeldBack(Duration),
}

impl Claims {
    pub(crate) fn new(swarms: Swarms) -> Arc<Self> {
        Arc::new(Self { swarms, given: Mutex::default() })
    }

    /// Decides whether a request for a range of a file of the release `head` is answered now.
    pub(crate) fn decide(
        self: &Arc<Self>,
        headers: &HeaderMap,
        (model, head): (&ServedName, HeadId),
        file: usize,
        range: &Range<u64>,
        now: Instant,
    ) -> Verdict {
        let Some(claim) = Claim::of(headers) else { return Verdict::Unclaimed };
        let Some(swarm) = (self.swarms.0)(&claim.tag, head) else { return Verdict::Unclaimed };
        let key = Key { swarm, file, start: range.start, end: range.end };
        let mut given = lock(&self.given);
        let (before, made) = match given.grants.get(&key).copied() {
            Some(grant) if grant.tag == claim.tag => (Before::SameMember, None),
            Some(grant) => {
                let since = now.saturating_duration_since(grant.at);
                // Nobody waits for longer than its own lease: that of a member on a slow line is long.
                let left = grant.lease.min(claim.lease).saturating_sub(since);
                if !left.is_zero() {
                    let figures = given.figures.entry(model.clone()).or_default();
                    figures.held_back = figures.held_back.saturating_add(1);
                    return Verdict::HeldBack(left);
                }
                let is_over = since >= grant.lease.saturating_mul(CYCLE);
                (Before::AfterLease, is_over.then(|| given.grant(key, &claim, now)).flatten())
            }
            None => (Before::Never, given.grant(key, &claim, now)),
        };
        Verdict::Given(Claimed {
            claims: Arc::clone(self),
            model: model.clone(),
            before,
            made,
            sent: 0,
            is_whole: false,
        })
    }

    pub(crate) fn figures(&self) -> Vec<(String, ClaimFigures)> {
        let given = lock(&self.given);
        given.figures.iter().map(|(model, figures)| (model.as_str().to_owned(), *figures)).collect()
    }
}

impl Given {
    /// Remembers that a member is given a range, if there is room.
    fn grant(&mut self, key: Key, claim: &Claim, now: Instant) -> Option<(Key, Grant)> {
        let has_room = self.grants.len() < MOST_GRANTS || self.grants.contains_key(&key);
        if !has_room && self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.grants.retain(|_, grant| {
                now.saturating_duration_since(grant.at) < grant.lease.saturating_mul(CYCLE)
            });
        }
        if !has_room && self.grants.len() >= MOST_GRANTS {
            return None;
        }
        let grant = Grant { tag: claim.tag, at: now, lease: claim.lease };
        self.grants.insert(key.clone(), grant);
        Some((key, grant))
    }
}

/// The member to which bytes were given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Never,
    SameMember,
    AfterLease,
}

/// A claimed range that is being sent. If it is dropped before it [is whole](Self::end), the claim does not count.
#[derive(Debug)]
pub(crate) struct Claimed {
    claims: Arc<Claims>,
    model: ServedName,
    before: Before,
    /// The grant that this request has made.
    made: Option<(Key, Grant)>,
    sent: u64,
    is_whole: bool,
}

impl Claimed {
    /// Ends the answer: so many bytes were sent, and whether these are all.
    pub(crate) fn end(mut self, sent: u64, is_whole: bool) {
        self.sent = sent;
        self.is_whole = is_whole;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut given = lock(&self.claims.given);
        if let Some((key, grant)) = self.made.take().filter(|_| !self.is_whole)
            && given.grants.get(&key) == Some(&grant)
        {
            given.grants.remove(&key);
        }
        let figures = given.figures.entry(self.model.clone()).or_default();
        let of = match self.before {
            Before::Never => &mut figures.once,
            Before::SameMember => &mut figures.same_member,
            Before::AfterLease => &mut figures.after_lease,
        };
        *of = of.saturating_add(self.sent);
    }
}

#[cfg(test)]
mod tests;
