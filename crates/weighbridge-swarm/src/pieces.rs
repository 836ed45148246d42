//! The pieces of a release: the chunks that are claimed and asked for at once (`spec/swarm.md`, W11).

use std::{collections::BTreeMap, ops::Range};

use weighbridge_tree::FileRoot;

use crate::message::MAX_PIECES;

/// The division of a release into pieces.
///
/// # Cost
/// Some bytes for each file.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// By the first piece of each file that has pieces: the file.
    files: BTreeMap<u32, PiecedFile>,
    roots: BTreeMap<FileRoot, u32>,
    count: u32,
    /// The chunks of a piece.
    chunks: u64,
    chunk: u64,
}

#[derive(Clone, Copy, Debug)]
struct PiecedFile {
    root: FileRoot,
    /// The number of its chunks.
    chunks: u64,
    size: u64,
}

/// The smallest and the largest piece in bytes, unless chunks are larger.
const SMALLEST: u64 = 256 << 10;
const LARGEST: u64 = 1 << 20;
/// The number of pieces above which they become larger.
const MANY: u64 = 4096;

/// A piece as a part of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The root of the file.
    pub root: FileRoot,
    /// The chunks, by position.
    pub chunks: Range<u64>,
}

impl Pieces {
    /// Divides files, given in the order of the list by root and length in bytes. `chunk` is the chunk size in bytes. `None` if
    /// there are more than [`MAX_PIECES`].
    #[must_use]
    pub fn of(files: impl Iterator<Item = (FileRoot, u64)> + Clone, chunk: u64) -> Option<Self> {
        let bytes = files.clone().fold(0u64, |sum, (_, size)| sum.saturating_add(size));
        let is_enough = |len: u64| bytes.div_ceil(len.max(1)) <= MANY;
        let wanted = [SMALLEST, SMALLEST << 1].into_iter().find(|len| is_enough(*len)).unwrap_or(LARGEST);
        // Chunk sizes are powers of two, so a piece is a whole number of chunks.
        let chunks = wanted.max(chunk).checked_div(chunk)?;
        let mut pieces = Self { files: BTreeMap::new(), roots: BTreeMap::new(), count: 0, chunks, chunk };
        for (root, size) in files {
            if size == 0 || pieces.roots.contains_key(&root) {
                continue;
            }
            let of_file = size.div_ceil(chunk);
            let count = u32::try_from(of_file.div_ceil(chunks)).ok()?;
            pieces.roots.insert(root, pieces.count);
            pieces.files.insert(pieces.count, PiecedFile { root, chunks: of_file, size });
            pieces.count = pieces.count.checked_add(count).filter(|count| *count <= MAX_PIECES)?;
        }
        Some(pieces)
    }

    /// The number of pieces.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The usual length of a piece in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks.saturating_mul(self.chunk)
    }

    /// Whether there is no piece: all files are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The place of a piece; `None` if there is no such piece.
    #[must_use]
    pub fn place(&self, piece: u32) -> Option<Place> {
        let (first, file) = self.files.range(..=piece).next_back().filter(|_| piece < self.count)?;
        let start = u64::from(piece.checked_sub(*first)?).checked_mul(self.chunks)?;
        let end = start.saturating_add(self.chunks).min(file.chunks);
        Some(Place { root: file.root, chunks: start..end })
    }

    /// The length of a piece in bytes; 0 if there is no such piece.
    #[must_use]
    pub fn bytes(&self, piece: u32) -> u64 {
        let file = self.files.range(..=piece).next_back().map(|(_, file)| file);
        file.zip(self.place(piece)).map_or(0, |(file, place)| {
            let at = |chunk: u64| chunk.saturating_mul(self.chunk).min(file.size);
            at(place.chunks.end).saturating_sub(at(place.chunks.start))
        })
    }

    /// The pieces that have any of these chunks of a file.
    #[must_use]
    pub fn touched(&self, root: &FileRoot, chunks: &Range<u64>) -> Range<u32> {
        let Some((first, file)) =
            self.roots.get(root).and_then(|first| Some((first, self.files.get(first)?)))
        else {
            return 0..0;
        };
        let end = chunks.end.min(file.chunks);
        if chunks.start >= end {
            return 0..0;
        }
        let at = |chunk: u64| u32::try_from(chunk).unwrap_or(u32::MAX);
        let start = at(chunks.start.checked_div(self.chunks).unwrap_or(0));
        first.saturating_add(start)..first.saturating_add(at(end.div_ceil(self.chunks)))
    }
}

#[cfg(test)]
mod tests;
