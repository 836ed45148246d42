//! What streams of a file's chunks have in common: which chunk comes next, and where they have to end.

use alloc::vec::Vec;
use core::{fmt, ops::Range};

use weighbridge_tree::Grid;

/// The rest of a run of chunks that a stream brings in order.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    grid: Grid,
    next: u64,
    end: u64,
}

impl Run {
    /// All chunks of a file; of an empty one, none.
    pub(crate) fn whole(grid: Grid) -> Self {
        Self { grid, next: 0, end: grid.count() }
    }

    /// These chunks, at least one (rule 6).
    pub(crate) fn of(grid: Grid, chunks: Range<u64>) -> Result<Self, NoSuchRun> {
        if chunks.is_empty() || chunks.end > grid.count() {
            return Err(NoSuchRun { chunks, count: grid.count() });
        }
        Ok(Self { grid, next: chunks.start, end: chunks.end })
    }

    /// The position of the next chunk, and its length; `None` at the end.
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

    /// Where a chunk begins, or the file ends.
    fn start_of(&self, index: u64) -> u64 {
        self.grid.range(index).map_or(self.grid.len(), |range| range.start)
    }
}

/// Makes whole chunks of bytes that come in any splits. Holds less than one chunk between calls.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) run: Run,
    gathered: Vec<u8>,
}

/// A whole chunk, and the bytes behind it.
type Whole<'a, 'b> = (u64, &'a [u8], &'b [u8]);

impl Gather {
    pub(crate) fn new(run: Run) -> Self {
        Self { run, gathered: Vec::new() }
    }

    /// The next whole chunk, out of what was gathered and `bytes`; `None` if it takes more than these.
    ///
    /// A chunk that lies in `bytes` as a whole is not copied. Whoever has used the chunk calls
    /// [`advance`](Self::advance).
    pub(crate) fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &'b [u8],
    ) -> Result<Option<Whole<'a, 'b>>, LengthError> {
        let Some((index, len)) = self.run.wanted() else { return Err(self.run.goes_on()) };
        let lacking = len.saturating_sub(self.gathered.len());
        let Some((now, behind)) = bytes.split_at_checked(lacking) else {
            // Exactly: a chunk has at most 16 MiB, and a vector that grows would take up to twice as much.
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

    /// Whether the run ends here.
    pub(crate) fn finish(&self) -> Result<(), LengthError> {
        if self.run.is_done() { Ok(()) } else { Err(self.run.ends_early(self.gathered.len())) }
    }
}

/// A stream of a file's bytes that ends in another place than the signed one. Which bytes it had says nothing of that:
/// those before were checked by themselves.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LengthError {
    /// It ends before. A broken connection looks like this too, and is no lie (rule 11).
    EndsEarly {
        /// Where it ends, counted from the file's beginning.
        at: u64,
        /// Where it has to end.
        end: u64,
    },
    /// It goes on behind.
    GoesOn {
        /// Where it has to end, counted from the file's beginning.
        end: u64,
    },
}

impl LengthError {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        2103
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

/// A run of chunks that the file does not have, or an empty one. The caller's fault, never that of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchRun {
    /// The positions that were named.
    pub chunks: Range<u64>,
    /// How many chunks the file has.
    pub count: u64,
}

impl NoSuchRun {
    /// The number in `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        9999
    }
}

impl fmt::Display for NoSuchRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunks: Range { start, end }, count } = self;
        write!(f, "API misuse: {start}..{end} is no run of chunks of a file of {count}")
    }
}

impl core::error::Error for NoSuchRun {}
