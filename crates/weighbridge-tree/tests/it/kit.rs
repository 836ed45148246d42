//! Bytes to hash, and conversions of small numbers.

/// The period 251 is prime to every power of two. So no two chunks are equal, and every exchange is detected.
pub(crate) fn data(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

pub(crate) fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}
