//! The members of one epoch, and the table of owners.

use std::fmt;

use super::{
    Piece,
    random::{mix, splitmix64},
};
use crate::MemberKey;

/// The members that fetch all of a model and do not have it yet, and the owner of each piece among them.
///
/// An owner is the member that is to ask the origin for a piece, so that the origin gives each piece once. Ownership is
/// a hint: it spares the origin, and no guarantee of a [`Plan`](super::Plan) depends on it.
///
/// # The table of owners
/// There are `P` pieces and `N` members. All numbers have 64 bits and wrap; `>>` shifts zeros in.
///
/// ```text
/// mix(z):    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
///            z = (z ^ (z >> 27)) * 0x94d049bb133111eb
///            mix = z ^ (z >> 31)
/// spread(p)  = mix(p + 0x9e3779b97f4a7c15)
/// id(m)      = the first 8 bytes of BLAKE3(the 32 bytes of the key m), little-endian
/// score(m,p) = mix(id(m) ^ spread(p))
/// cap        = P / N, rounded up
/// ```
///
/// The pieces are walked in the order of their positions, from 0. The owner of a piece is the member with the highest
/// score among those that own fewer than `cap` pieces so far. Of equal scores, the smaller key wins; keys are compared
/// as 32 bytes, the first one first.
///
/// # Guarantee
/// Each piece has one owner, unless there are no members. No member owns more than `cap` pieces. Equal sets of keys
/// give equal tables, in whatever order the keys come.
///
/// # Non-guarantee
/// When a member leaves, its pieces move, and a few others that the cap had kept from their best member.
///
/// # Cost
/// Making the table takes `P × N` steps of a few nanoseconds: about a tenth of a second for 10,000 members and 4,000
/// pieces. It is made once per epoch and shared.
pub struct Members {
    /// In order, without repetitions.
    keys: Vec<MemberKey>,
    /// The owned pieces, by owner in the order of the keys, and then by position.
    pieces: Vec<u32>,
    /// The end of each owner's pieces, in the order of the keys.
    ends: Vec<usize>,
}

impl Members {
    /// The table for these members and a model of so many pieces.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = MemberKey>, pieces: u32) -> Self {
        let mut keys: Vec<MemberKey> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut owned = vec![Vec::new(); keys.len()];
        let members = u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1);
        let cap = usize::try_from(pieces.div_ceil(members)).unwrap_or(usize::MAX);
        // The members below the cap. They stay in order, so that the first of equal scores has the smallest key.
        let scores = keys.iter().map(Score::of_member);
        let mut free: Vec<(Score, usize)> = scores.enumerate().map(|(at, score)| (score, at)).collect();
        for piece in 0..pieces {
            let spread = splitmix64(u64::from(piece));
            let mut best = None;
            for (place, (score, _)) in free.iter().enumerate() {
                let score = score.at(spread);
                if best.is_none_or(|(most, _)| score > most) {
                    best = Some((score, place));
                }
            }
            let Some((_, place)) = best else { break };
            let Some(owner) = free.get(place).and_then(|(_, at)| owned.get_mut(*at)) else { break };
            owner.push(piece);
            if owner.len() >= cap {
                free.remove(place);
            }
        }
        let mut ends = Vec::with_capacity(keys.len());
        let mut all = Vec::with_capacity(usize::try_from(pieces).unwrap_or(0));
        for owned in owned {
            all.extend(owned);
            ends.push(all.len());
        }
        Self { keys, pieces: all, ends }
    }

    /// The members, in the order of their keys.
    #[must_use]
    pub fn keys(&self) -> &[MemberKey] {
        &self.keys
    }

    /// Whether this key is a member.
    #[must_use]
    pub fn contains(&self, key: &MemberKey) -> bool {
        self.position(key).is_some()
    }

    /// The pieces that this member owns, by position; none if it is not a member.
    pub fn owned_by(&self, key: &MemberKey) -> impl DoubleEndedIterator<Item = Piece> {
        self.owned_at(self.position(key)).iter().copied().map(Piece)
    }

    /// The owner of this piece; `None` if there are no members or no such piece.
    ///
    /// # Cost
    /// A step for each piece of the model.
    #[must_use]
    pub fn owner(&self, piece: Piece) -> Option<&MemberKey> {
        let place = self.pieces.iter().position(|owned| *owned == piece.0)?;
        self.keys.get(self.ends.partition_point(|end| *end <= place))
    }

    pub(super) fn position(&self, key: &MemberKey) -> Option<usize> {
        self.keys.binary_search(key).ok()
    }

    pub(super) fn owned_at(&self, position: Option<usize>) -> &[u32] {
        let Some(position) = position else { return &[] };
        let start = position.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let end = self.ends.get(position).copied();
        start.zip(end).and_then(|(start, end)| self.pieces.get(start..end)).unwrap_or(&[])
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("members", &self.keys.len())
            .field("pieces", &self.pieces.len())
            .finish()
    }
}

/// The scores of one member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score(u64);

impl Score {
    pub(super) fn of_member(key: &MemberKey) -> Self {
        let hash = blake3::hash(key.as_bytes());
        Self(hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first)))
    }

    /// The score of the member for this piece.
    pub(super) fn of(self, piece: u32) -> u64 {
        self.at(splitmix64(u64::from(piece)))
    }

    fn at(self, spread: u64) -> u64 {
        mix(self.0 ^ spread)
    }
}
