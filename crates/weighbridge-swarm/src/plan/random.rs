//! Numbers that look random and follow from a seed.

use std::time::Duration;

/// A generator of numbers: SplitMix64. Nothing secret depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `most`; 0 if that is 0. The bias is below one in 2^32 for numbers of 32 bits.
    pub(crate) fn below(&mut self, most: u32) -> u32 {
        let high = self.next() >> 32;
        u32::try_from(high.wrapping_mul(u64::from(most)) >> 32).unwrap_or(0)
    }

    /// A time below `most`.
    pub(crate) fn time_below(&mut self, most: Duration) -> Duration {
        most.saturating_mul(self.below(1 << 12)).checked_div(1 << 12).unwrap_or_default()
    }
}

/// The first output of SplitMix64 with this seed.
pub(super) fn splitmix64(seed: u64) -> u64 {
    mix(seed.wrapping_add(GOLDEN))
}

/// The finaliser of SplitMix64.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
