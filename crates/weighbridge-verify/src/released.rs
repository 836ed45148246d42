//! Accepted chunks and files. Only a check can make these types, so code that forgets the check does not compile.

use core::{fmt, iter::FusedIterator, ops::Range};

use weighbridge_manifest::EntryPath;
use weighbridge_tree::{FileRoot, Grid};

/// An accepted chunk, in the buffer in which it was checked.
///
/// # Guarantee
/// The bytes are those of the signed file with this [`root`](Self::root) in this [`range`](Self::range).
///
/// # Non-guarantee
/// Other chunks, and copies of this chunk that are read back from elsewhere, are not verified (rule 10).
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct VerifiedChunk<'b> {
    position: usize,
    root: FileRoot,
    index: u64,
    start: u64,
    bytes: &'b [u8],
}

impl<'b> VerifiedChunk<'b> {
    /// A whole chunk that was checked.
    pub(crate) fn new(position: usize, root: FileRoot, grid: Grid, index: u64, bytes: &'b [u8]) -> Self {
        Self { position, root, index, start: start_of(grid, index), bytes }
    }

    /// The position of the chunk's file in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The root of the chunk's file.
    pub fn root(&self) -> FileRoot {
        self.root
    }

    /// The chunk's position in its file.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The chunk's range in its file, in bytes.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        range_of(self.start, self.bytes)
    }

    /// The chunk's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }
}

/// Neighbouring chunks of one file that were accepted together, at least one.
///
/// # Guarantee
/// The guarantee of [`VerifiedChunk`], for each chunk of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct VerifiedRun<'b> {
    position: usize,
    root: FileRoot,
    grid: Grid,
    first: u64,
    bytes: &'b [u8],
}

impl<'b> VerifiedRun<'b> {
    /// Whole chunks that were checked, at least one.
    pub(crate) fn new(position: usize, root: FileRoot, grid: Grid, first: u64, bytes: &'b [u8]) -> Self {
        Self { position, root, grid, first, bytes }
    }

    /// The position of the run's file in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The root of the run's file.
    pub fn root(&self) -> FileRoot {
        self.root
    }

    /// The positions of the run's chunks in their file.
    #[must_use]
    pub fn indices(&self) -> Range<u64> {
        let len = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.first..self.first.saturating_add(len.div_ceil(self.grid.granule().bytes()))
    }

    /// The run's range in its file, in bytes.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        range_of(start_of(self.grid, self.first), self.bytes)
    }

    /// The bytes of all chunks of the run.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The chunks of the run, in order.
    pub fn chunks(self) -> impl FusedIterator<Item = VerifiedChunk<'b>> {
        let Self { position, root, grid, .. } = self;
        let pieces = self.bytes.chunks(unit_of(grid)).zip(self.indices());
        pieces.map(move |(piece, index)| VerifiedChunk::new(position, root, grid, index, piece))
    }
}

/// A file of which every chunk was accepted.
///
/// # Guarantee
/// All bytes of the file with this root were released, each at its place.
///
/// # Non-guarantee
/// The value holds no bytes. Whether the receivers of the bytes have stored them is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedFile {
    position: usize,
    path: EntryPath,
    size: u64,
    root: FileRoot,
}

impl VerifiedFile {
    pub(crate) fn new(position: usize, path: EntryPath, size: u64, root: FileRoot) -> Self {
        Self { position, path, size, root }
    }

    /// The file's position in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The file's path in the model.
    #[must_use]
    pub fn path(&self) -> &EntryPath {
        &self.path
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file's root.
    pub fn root(&self) -> FileRoot {
        self.root
    }
}

/// The size of a chunk in memory; never 0.
pub(crate) fn unit_of(grid: Grid) -> usize {
    usize::try_from(grid.granule().bytes()).unwrap_or(usize::MAX).max(1)
}

/// A checked chunk has a place in its file, so the 0 is never used.
fn start_of(grid: Grid, index: u64) -> u64 {
    grid.range(index).map_or(0, |range| range.start)
}

fn range_of(start: u64, bytes: &[u8]) -> Range<u64> {
    start..start.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// Shows no bytes.
impl fmt::Debug for VerifiedChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedChunk");
        shown.field("position", &self.position).field("index", &self.index).field("range", &self.range());
        shown.finish_non_exhaustive()
    }
}

/// Shows no bytes.
impl fmt::Debug for VerifiedRun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedRun");
        shown.field("position", &self.position).field("indices", &self.indices());
        shown.field("range", &self.range()).finish_non_exhaustive()
    }
}
