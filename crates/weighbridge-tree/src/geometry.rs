//! Chunk sizes, and the division of a file into parts of a power of two.

use core::fmt;
use core::ops::Range;

use crate::error_code::{Coded, ErrorCode};

/// The upper limit of a file's length, exclusive: 2^53 bytes. From 2^53 on, numbers lose digits in JSON readers.
pub const FILE_LEN_LIMIT: u64 = 1 << 53;

/// The size of a model's chunks: a power of two from 16 KiB to 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub struct ChunkSize(u64);

impl ChunkSize {
    /// 16 KiB.
    pub const MIN: Self = Self(1 << 14);
    /// 16 MiB.
    pub const MAX: Self = Self(1 << 24);
    /// 256 KiB: the search for a default starts here.
    pub const DEFAULT_MIN: Self = Self(1 << 18);

    /// The largest number of chunks that the default allows in a model, unless the size is already [`MAX`](Self::MAX).
    const DEFAULT_MAX_CHUNKS: u64 = 1 << 20;
    /// The candidates for the default: the powers of two from [`DEFAULT_MIN`](Self::DEFAULT_MIN) to [`MAX`](Self::MAX).
    const DEFAULTS: [Self; 7] = [
        Self::DEFAULT_MIN,
        Self(1 << 19),
        Self(1 << 20),
        Self(1 << 21),
        Self(1 << 22),
        Self(1 << 23),
        Self::MAX,
    ];

    /// Converts a number of bytes into a chunk size.
    ///
    /// # Errors
    /// [`ChunkSizeError`] (1704), unless it is a power of two from 16,384 to 16,777,216.
    pub const fn new(bytes: u64) -> Result<Self, ChunkSizeError> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Ok(Self(bytes))
        } else {
            Err(ChunkSizeError(bytes))
        }
    }

    /// The default for a model with files of these sizes: the smallest size from 256 KiB up at which all files larger
    /// than one chunk have at most 2^20 chunks together; 16 MiB if no size does.
    pub fn default_for(file_sizes: impl IntoIterator<Item = u64>) -> Self {
        let mut chunks = [0_u64; Self::DEFAULTS.len()];
        for len in file_sizes {
            for (sum, size) in chunks.iter_mut().zip(Self::DEFAULTS) {
                if len > size.0 {
                    *sum = sum.saturating_add(len.div_ceil(size.0));
                }
            }
        }
        let fits = chunks.iter().zip(Self::DEFAULTS).find(|(sum, _)| **sum <= Self::DEFAULT_MAX_CHUNKS);
        fits.map_or(Self::MAX, |(_, size)| size)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Writes the size in bytes, as a head does.
impl fmt::Display for ChunkSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number that is not a chunk size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChunkSizeError(u64);

impl Coded for ChunkSizeError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::CHUNK_SIZE
    }
}

impl fmt::Display for ChunkSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a chunk size is a power of two from 16384 to 16777216, not {}", self.0)
    }
}

impl core::error::Error for ChunkSizeError {}

/// The size of the parts into which a [`Grid`] divides a file: a power of two from 1,024 bytes, which is BLAKE3's own
/// chunk, to 2^53.
///
/// A model's chunks are granules, and so are the finer pieces in which a file is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub struct Granule(u64);

impl Granule {
    /// BLAKE3's own chunk of 1,024 bytes.
    pub const MIN: Self = Self(1 << 10);

    /// Converts a number of bytes into a granule; `None` unless it is a power of two from 1,024 to 2^53.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= FILE_LEN_LIMIT {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The positions of the granules that have a byte of the range.
    pub(crate) fn positions(self, range: &Range<u64>) -> Range<u64> {
        range.start.checked_div(self.0).unwrap_or(0)..range.end.div_ceil(self.0)
    }
}

impl From<ChunkSize> for Granule {
    fn from(size: ChunkSize) -> Self {
        Self(size.0)
    }
}

/// The division of a file into granules: aligned runs of one size, the last one possibly shorter.
///
/// Every granule is one whole subtree of the file's BLAKE3 tree. An empty file has no granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Grid {
    len: u64,
    granule: Granule,
}

impl Grid {
    /// Divides a file (or a tensor, or anything else hashed by itself) of `len` bytes.
    ///
    /// `len` comes from signed data (rule 1).
    ///
    /// # Errors
    /// [`TooLong`] from 2^53 bytes on: lists cannot express such a size.
    pub fn new(len: u64, granule: impl Into<Granule>) -> Result<Self, TooLong> {
        if len >= FILE_LEN_LIMIT {
            return Err(TooLong { len });
        }
        Ok(Self { len, granule: granule.into() })
    }

    /// The length of the whole file, in bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.len
    }

    /// Whether there are no bytes, and therefore no granules.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The size of every granule except the last.
    pub const fn granule(self) -> Granule {
        self.granule
    }

    /// The number of granules: 0 for an empty file.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.len.div_ceil(self.granule.0)
    }

    /// The byte range of granule `index`, never empty; `None` past the end.
    ///
    /// This is the only source of a granule's offset (rule 4).
    #[must_use]
    pub fn range(self, index: u64) -> Option<Range<u64>> {
        let start = index.checked_mul(self.granule.0).filter(|start| *start < self.len)?;
        let end = start.saturating_add(self.granule.0).min(self.len);
        Some(start..end)
    }

    /// The positions of the chunks that hold these bytes; `None` if the range is not within the file.
    #[must_use]
    pub fn chunks_of(self, bytes: &Range<u64>) -> Option<Range<u64>> {
        if bytes.start > bytes.end || bytes.end > self.len {
            return None;
        }
        if bytes.is_empty() {
            return Some(0..0);
        }
        let unit = self.granule.bytes();
        Some(bytes.start.checked_div(unit)?..bytes.end.div_ceil(unit))
    }

    /// Whether the file has a layer, which takes more than one granule. With fewer, the root is checked directly.
    #[must_use]
    pub const fn has_layer(self) -> bool {
        self.len > self.granule.0
    }

    /// The length of the layer in bytes: 32 for each granule, 0 if there is no layer.
    #[must_use]
    pub const fn layer_len(self) -> u64 {
        if self.has_layer() { self.count().saturating_mul(32) } else { 0 }
    }
}

pub(crate) fn len_of(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A length that no file of a model can have: 2^53 bytes or more.
///
/// Lists and heads cannot express such a number, so the caller is at fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TooLong {
    /// The length in bytes.
    pub len: u64,
}

impl Coded for TooLong {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::BUG
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a file has fewer than 2^53 bytes, not {}", self.len)
    }
}

impl core::error::Error for TooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_the_powers_of_two_between_the_limits() {
        let accepted: std::vec::Vec<u64> = (0..64)
            .flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1])
            .filter(|bytes| ChunkSize::new(*bytes).is_ok())
            .collect();
        let expected: std::vec::Vec<u64> = (14..=24).map(|bit| 1 << bit).collect();
        assert_eq!(accepted, expected);
        assert_eq!(ChunkSize::new(0).unwrap_err().error_code().get(), 1704);
        assert!(ChunkSize::new(u64::MAX).is_err());
    }

    #[test]
    fn default_grows_with_the_model() {
        const KIB: u64 = 1 << 10;
        let default_for = |sizes: &[u64]| ChunkSize::default_for(sizes.iter().copied()).bytes();
        assert_eq!(default_for(&[]), 256 * KIB);
        assert_eq!(default_for(&[90_868_376, 612]), 256 * KIB);
        // 2^20 chunks of 256 KiB are 2^38 bytes; one byte more is one chunk more.
        assert_eq!(default_for(&[1 << 38]), 256 * KIB);
        assert_eq!(default_for(&[(1 << 38) + 1]), 512 * KIB);
        assert_eq!(default_for(&[1 << 37, (1 << 37) + 1]), 512 * KIB);
        // Files of at most one chunk have no layer and do not count.
        assert_eq!(default_for(&[1 << 38, 256 * KIB, 1, 0]), 256 * KIB);
        assert_eq!(default_for(&[1 << 38, 256 * KIB + 1]), 512 * KIB);
        // The largest size is the default for all larger models.
        assert_eq!(default_for(&[1 << 43, 1 << 43]), 1 << 24);
        assert_eq!(default_for(&[u64::MAX, u64::MAX]), 1 << 24);
    }

    #[test]
    fn granules_partition_the_file() {
        for granule in [1024, 4096, 1 << 14].map(|bytes| Granule::new(bytes).unwrap()) {
            let unit = granule.bytes();
            for len in [0, 1, unit - 1, unit, unit + 1, 2 * unit, 2 * unit + 1, 7 * unit - 1, 13 * unit] {
                let grid = Grid::new(len, granule).unwrap();
                let mut end = 0;
                for index in 0..grid.count() {
                    let range = grid.range(index).unwrap();
                    assert_eq!(range.start, end);
                    assert!(range.start < range.end && range.end - range.start <= unit);
                    end = range.end;
                }
                assert_eq!(end, len);
                assert_eq!(grid.range(grid.count()), None);
                assert_eq!(grid.range(u64::MAX), None);
                assert_eq!(grid.has_layer(), grid.count() > 1);
                assert_eq!(grid.layer_len(), if grid.count() > 1 { 32 * grid.count() } else { 0 });
            }
        }
    }

    #[test]
    fn limits_hold_and_nothing_overflows() {
        for len in [FILE_LEN_LIMIT, FILE_LEN_LIMIT + 1, u64::MAX] {
            assert_eq!(Grid::new(len, Granule::MIN), Err(TooLong { len }));
        }
        let grid = Grid::new(FILE_LEN_LIMIT - 1, Granule::MIN).unwrap();
        assert_eq!(grid.count(), 1 << 43);
        assert_eq!(grid.layer_len(), 1 << 48);
        assert_eq!(grid.range((1 << 43) - 1), Some(FILE_LEN_LIMIT - 1024..FILE_LEN_LIMIT - 1));
        assert_eq!(Granule::new(512), None);
        assert_eq!(Granule::new(3072), None);
        assert_eq!(Granule::new(1 << 54), None);
        let whole = Granule::new(FILE_LEN_LIMIT).unwrap();
        assert_eq!(Grid::new(FILE_LEN_LIMIT - 1, whole).unwrap().count(), 1);
    }
}
