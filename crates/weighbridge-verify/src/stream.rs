//! Common parts of streams of a file's chunks: the next chunk, and the place where the stream has to end.

use alloc::vec::Vec;
use core::{fmt, ops::Range};

use weighbridge_tree::{Coded, ErrorCode, Grid};

/// The chunks of a run that a stream still has to bring, in order.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    grid: Grid,
    next: u64,
    end: u64,
}

impl Run {
    /// All chunks of a file; none for an empty file.
    pub(crate) fn whole(grid: Grid) -> Self {
        Self { grid, next: 0, end: grid.count() }
    }

    /// A run of at least one chunk (rule 6).
    pub(crate) fn of(grid: Grid, chunks: Range<u64>) -> Result<Self, NoSuchRun> {
        if chunks.is_empty() || chunks.end > grid.count() {
            return Err(NoSuchRun { chunks, count: grid.count() });
        }
        Ok(Self { grid, next: chunks.start, end: chunks.end })
    }

    /// The position and the length of the next chunk; `None` at the end.
    pub(crate) fn wanted(&self) -> Option<(u64, usize)> {
        let range = self.grid.range(self.next).filter(|_| self.next < self.end)?;
        Some((self.next, usize::try_from(range.end.saturating_sub(range.start)).ok()?))
    }

    pub(crate) fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// The refusal of a stream that ends after `gathered` bytes of the next chunk.
    pub(crate) fn ends_early(&self, gathered: usize) -> LengthError {
        let gathered = u64::try_from(gathered).unwrap_or(u64::MAX);
        let at = self.start_of(self.next).saturating_add(gathered);
        LengthError::EndsEarly { at, end: self.start_of(self.end) }
    }

    /// The refusal of a stream that has more bytes than the run.
    pub(crate) fn goes_on(&self) -> LengthError {
        LengthError::GoesOn { end: self.start_of(self.end) }
    }

    /// The byte at which a chunk begins; the file's length for the position behind the last chunk.
    fn start_of(&self, index: u64) -> u64 {
        self.grid.range(index).map_or(self.grid.len(), |range| range.start)
    }
}

/// Gathers bytes that come in any splits into whole chunks. Holds less than one chunk between calls.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) run: Run,
    gathered: Vec<u8>,
}

/// The index and bytes of a whole chunk, and the bytes behind it.
type Whole<'a, 'b> = (u64, &'a [u8], &'b [u8]);

impl Gather {
    pub(crate) fn new(run: Run) -> Self {
        Self { run, gathered: Vec::new() }
    }

    /// The next whole chunk, made of the gathered bytes and `bytes`; `None` if these are too few.
    ///
    /// A chunk that lies in `bytes` as a whole is not copied. After using the chunk, the caller calls
    /// [`advance`](Self::advance).
    pub(crate) fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &'b [u8],
    ) -> Result<Option<Whole<'a, 'b>>, LengthError> {
        let Some((index, len)) = self.run.wanted() else { return Err(self.run.goes_on()) };
        let lacking = len.saturating_sub(self.gathered.len());
        let Some((now, behind)) = bytes.split_at_checked(lacking) else {
            // Reserve exactly: a chunk has at most 16 MiB, and a vector that grows by itself would take up to twice as
            // much.
            self.gathered.reserve_exact(lacking);
            self.gathered.extend_from_slice(bytes);
            return Ok(None);
        };
        if self.gathered.is_empty() {
            return Ok(Some((index, now, behind)));
        }
        self.gathered.extend_from_slice(now);
        Ok(Some((index, &self.gathered, behind)))
    }

    /// Goes on to the next chunk.
    pub(crate) fn advance(&mut self) {
        self.gathered.clear();
        self.run.advance();
    }

    /// Checks that the run ends here.
    pub(crate) fn finish(&self) -> Result<(), LengthError> {
        if self.run.is_done() { Ok(()) } else { Err(self.run.ends_early(self.gathered.len())) }
    }
}

/// A stream of a file's bytes does not end where the signed bytes end. The error does not depend on the earlier bytes:
/// these were checked by themselves.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LengthError {
    /// The stream ends early. A broken connection looks the same, and is no lie (rule 11).
    EndsEarly {
        /// The place where the stream ends, counted from the file's beginning.
        at: u64,
        /// The place where the stream has to end.
        end: u64,
    },
    /// The stream has bytes behind its end.
    GoesOn {
        /// The place where the stream has to end, counted from the file's beginning.
        end: u64,
    },
}

impl Coded for LengthError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::FILE_LENGTH
    }
}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndsEarly { at, end } => {
                write!(f, "the stream ends at byte {at}, expected up to byte {end}")
            }
            Self::GoesOn { end } => write!(f, "the stream goes on behind byte {end}, where it has to end"),
        }
    }
}

impl core::error::Error for LengthError {}

/// A run of chunks that the file does not have, or an empty one. The caller's fault; data never causes this error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchRun {
    /// The positions that the caller named.
    pub chunks: Range<u64>,
    /// The number of chunks of the file.
    pub count: u64,
}

impl Coded for NoSuchRun {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::BUG
    }
}

impl fmt::Display for NoSuchRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunks: Range { start, end }, count } = self;
        write!(f, "API misuse: {start}..{end} is no run of chunks of a file of {count}")
    }
}

impl core::error::Error for NoSuchRun {}
