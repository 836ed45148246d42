//! What acceptance releases. Nothing else makes these types, so that a forgotten check does not compile.

use core::{fmt, iter::FusedIterator, ops::Range};

use weighbridge_manifest::EntryPath;
use weighbridge_tree::{FileRoot, Grid};

/// A chunk that was accepted, in the buffer in which it was checked.
///
/// # Guarantee
/// The bytes are those of the signed file with this [`root`](Self::root) in this [`range`](Self::range).
///
/// # Non-guarantee
/// It says nothing about other chunks, nor about a copy that is read back from elsewhere (rule 10).
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

    /// The position of its file in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The root of its file.
    pub fn root(&self) -> FileRoot {
        self.root
    }

    /// Its position in its file.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Where it lies in its file, in bytes.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        range_of(self.start, self.bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }
}

/// Neighbouring chunks of one file that were accepted together, at least one.
///
/// # Guarantee
/// As for each [`VerifiedChunk`] in it.
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

    /// The position of its file in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The root of its file.
    pub fn root(&self) -> FileRoot {
        self.root
    }

    /// The positions of its chunks in their file.
    #[must_use]
    pub fn indices(&self) -> Range<u64> {
        let len = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.first..self.first.saturating_add(len.div_ceil(self.grid.granule().bytes()))
    }

    /// Where it lies in its file, in bytes.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        range_of(start_of(self.grid, self.first), self.bytes)
    }

    /// The bytes of all its chunks.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Its chunks, in order.
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
/// It holds no bytes, and says nothing about where those who received them have put them.
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

    /// Its position in the file list.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Where it lies in the model.
    #[must_use]
    pub fn path(&self) -> &EntryPath {
        &self.path
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its root.
    pub fn root(&self) -> FileRoot {
        self.root
    }
}

/// The size of a chunk in memory; never 0.
pub(crate) fn unit_of(grid: Grid) -> usize {
    usize::try_from(grid.granule().bytes()).unwrap_or(usize::MAX).max(1)
}

/// What was checked has a place in its file, so the 0 is never taken.
fn start_of(grid: Grid, index: u64) -> u64 {
    grid.range(index).map_or(0, |range| range.start)
}

fn range_of(start: u64, bytes: &[u8]) -> Range<u64> {
    start..start.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// Without the bytes.
impl fmt::Debug for VerifiedChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedChunk");
        shown.field("position", &self.position).field("index", &self.index).field("range", &self.range());
        shown.finish_non_exhaustive()
    }
}

/// Without the bytes.
impl fmt::Debug for VerifiedRun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedRun");
        shown.field("position", &self.position).field("indices", &self.indices());
        shown.field("range", &self.range()).finish_non_exhaustive()
    }
}
