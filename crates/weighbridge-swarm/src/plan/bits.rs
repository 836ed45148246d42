//! Sets of pieces.

/// A set of pieces of one model, a bit each.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Box<[u64]>,
    /// The number of bits.
    len: u32,
    ones: u32,
}

impl Bits {
    /// The empty set of `len` pieces.
    pub(super) fn new(len: u32) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(0);
        Self { words: vec![0; words].into_boxed_slice(), len, ones: 0 }
    }

    /// The set of all `len` pieces.
    pub(super) fn full(len: u32) -> Self {
        let mut bits = Self::new(len);
        for (index, word) in (0_u32..).zip(&mut bits.words) {
            let left = len.saturating_sub(index.saturating_mul(64));
            *word = if left >= 64 { u64::MAX } else { (1_u64 << left).saturating_sub(1) };
        }
        bits.ones = len;
        bits
    }

    pub(super) fn get(&self, bit: u32) -> bool {
        let word = usize::try_from(bit / 64).ok().and_then(|index| self.words.get(index));
        word.is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Adds a piece, if there is such a piece. Returns whether the set has changed.
    pub(super) fn set(&mut self, bit: u32) -> bool {
        self.change(bit, true)
    }

    /// Removes a piece. Returns whether the set has changed.
    pub(super) fn clear(&mut self, bit: u32) -> bool {
        self.change(bit, false)
    }

    fn change(&mut self, bit: u32, to: bool) -> bool {
        if bit >= self.len {
            return false;
        }
        let word = usize::try_from(bit / 64).ok().and_then(|index| self.words.get_mut(index));
        let Some(word) = word else { return false };
        let mask = 1_u64 << (bit % 64);
        if (*word & mask != 0) == to {
            return false;
        }
        *word ^= mask;
        self.ones = if to { self.ones.saturating_add(1) } else { self.ones.saturating_sub(1) };
        true
    }

    pub(super) fn clear_all(&mut self) {
        self.words.fill(0);
        self.ones = 0;
    }

    /// Makes this set that of all pieces in any of the sets.
    pub(super) fn unite<'a>(&mut self, sets: impl IntoIterator<Item = &'a Self>) {
        self.words.fill(0);
        for set in sets {
            self.words.iter_mut().zip(&set.words).for_each(|(word, other)| *word |= other);
        }
        self.ones = self.words.iter().fold(0, |ones, word| ones.saturating_add(word.count_ones()));
    }

    /// The number of pieces in the set.
    pub(super) fn count(&self) -> u32 {
        self.ones
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ones == 0
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// The pieces that are in the set, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        ones((0..).zip(self.words.iter().copied()))
    }
}

/// The positions of the bits that are set in these words, which are given with their places.
pub(super) fn ones(words: impl Iterator<Item = (u32, u64)> + Clone) -> impl Iterator<Item = u32> + Clone {
    words.flat_map(|(place, word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            Some(place.saturating_mul(64).saturating_add(bit))
        })
    })
}
