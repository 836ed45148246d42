//! Gathering chaining values that arrive in any order.

use alloc::vec::Vec;
use core::fmt;

use crate::error_code::{Coded, ErrorCode};
use crate::geometry::Grid;
use crate::hash::ChainingValue;

/// The chaining values of a file's granules, collected in any order as workers compute them.
///
/// A separate bit per granule records whether its value is known; an unknown value is never read (rule 5). The
/// collector has no lock: a caller that shares it between threads adds one.
///
/// The collector takes 32 bytes and one bit for each granule up to the highest position inserted.
#[derive(Debug)]
#[must_use]
pub struct Collector {
    grid: Grid,
    /// A place whose bit in `known` is not set holds a meaningless filler.
    values: Vec<ChainingValue>,
    /// Bit `i % 64` of word `i / 64` is set once value `i` is inserted.
    known: Vec<u64>,
    missing: u64,
}

impl Collector {
    /// An empty collector for the granules of `grid`.
    ///
    /// # Errors
    /// [`CollectError::NoLayer`] if `grid` has fewer than two granules; [`CollectError::OutOfMemory`] if the values of
    /// all granules do not fit in memory.
    pub fn new(grid: Grid) -> Result<Self, CollectError> {
        if !grid.has_layer() {
            return Err(CollectError::NoLayer);
        }
        let out_of_memory = CollectError::OutOfMemory { count: grid.count() };
        let Ok(count) = usize::try_from(grid.count()) else { return Err(out_of_memory) };
        let (mut values, mut known) = (Vec::new(), Vec::new());
        // Reserved, not written: a claimed size costs only address space until values come (rule 12).
        if values.try_reserve_exact(count).is_err() || known.try_reserve_exact(count.div_ceil(64)).is_err() {
            return Err(out_of_memory);
        }
        Ok(Self { grid, values, known, missing: grid.count() })
    }

    /// The division of the file into granules.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Inserts the value of granule `index`.
    ///
    /// # Errors
    /// [`CollectError`] if there is no such granule, or its value was inserted before; the earlier value stays.
    pub fn insert(&mut self, index: u64, value: ChainingValue) -> Result<(), CollectError> {
        let out_of_range = CollectError::OutOfRange { index, count: self.grid.count() };
        if index >= self.grid.count() {
            return Err(out_of_range);
        }
        let Ok(at) = usize::try_from(index) else { return Err(out_of_range) };
        let (word, bit) = place(at);
        if self.values.len() <= at {
            self.values.resize(at.saturating_add(1), ChainingValue::from_bytes([0; 32]));
            self.known.resize(word.saturating_add(1), 0);
        }
        let (Some(place), Some(known)) = (self.values.get_mut(at), self.known.get_mut(word)) else {
            return Err(out_of_range);
        };
        if *known & bit != 0 {
            return Err(CollectError::Twice { index });
        }
        *place = value;
        *known |= bit;
        self.missing = self.missing.saturating_sub(1);
        Ok(())
    }

    /// The value of granule `index`, if it was inserted.
    pub fn get(&self, index: u64) -> Option<ChainingValue> {
        let at = usize::try_from(index).ok()?;
        let (word, bit) = place(at);
        let known = self.known.get(word)? & bit != 0;
        self.values.get(at).copied().filter(|_| known)
    }

    /// The number of values that are still missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Whether every value was inserted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// All values, in order.
    ///
    /// # Errors
    /// [`CollectError::Incomplete`]; the collected values are dropped. Call [`is_complete`](Self::is_complete) first.
    pub fn finish(self) -> Result<Vec<ChainingValue>, CollectError> {
        if self.is_complete() {
            Ok(self.values)
        } else {
            Err(CollectError::Incomplete { missing: self.missing })
        }
    }
}

/// The word and the bit that record whether value `at` is known.
fn place(at: usize) -> (usize, u64) {
    let bit = u32::try_from(at & 63).unwrap_or(0);
    (at >> 6, 1_u64.wrapping_shl(bit))
}

/// The reason why a value was not inserted, or why the values are not handed out.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CollectError {
    /// A file of at most one granule has no chaining values.
    NoLayer,
    /// One value per granule does not fit in memory.
    OutOfMemory {
        /// The number of granules.
        count: u64,
    },
    /// There is no such granule.
    OutOfRange {
        /// The position asked for.
        index: u64,
        /// The number of granules.
        count: u64,
    },
    /// The value of this granule was inserted before.
    Twice {
        /// The position.
        index: u64,
    },
    /// Values are missing.
    Incomplete {
        /// The number of missing values.
        missing: u64,
    },
}

impl Coded for CollectError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfMemory { .. } => ErrorCode::IO,
            _ => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLayer => write!(f, "API misuse: a file of at most one granule has no chaining values"),
            Self::OutOfMemory { count } => write!(f, "no memory for the chaining values of {count} granules"),
            Self::OutOfRange { index, count } => {
                write!(f, "API misuse: granule {index} is past the end of a file of {count} granules")
            }
            Self::Twice { index } => {
                write!(f, "API misuse: the chaining value of granule {index} came twice")
            }
            Self::Incomplete { missing } => write!(f, "API misuse: {missing} chaining values are missing"),
        }
    }
}

impl core::error::Error for CollectError {}
