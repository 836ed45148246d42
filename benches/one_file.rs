//! One generated file of a verified list, and its chunks accepted on several threads.

use std::{
    hint::black_box,
    io::{self, Read},
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use weighbridge_manifest::{EntryPath, FileEntry, VerifiedFileList, write_files};
use weighbridge_publish::Weighed;
use weighbridge_tree::{ChunkSize, FileRoot, Grid, Layer};
use weighbridge_verify::FileVerifier;

use crate::{believed, head};

/// Bytes that are generated as they are read and never stored, the same each time. No two words of eight bytes are
/// alike, so no two chunks are. Generating takes a fraction of the time of hashing.
#[derive(Debug)]
pub struct Generated {
    left: u64,
    word: u64,
    block: Vec<u8>,
    ready: Range<usize>,
}

impl Generated {
    /// A stream of `len` bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { left: len, word: 0, block: vec![0; BLOCK], ready: 0..0 }
    }

    fn refill(&mut self) {
        for word in self.block.as_chunks_mut().0 {
            self.word = self.word.wrapping_add(STRIDE);
            *word = self.word.to_le_bytes();
        }
        self.ready = 0..usize::try_from(self.left).map_or(BLOCK, |left| left.min(BLOCK));
        self.left -= u64::try_from(self.ready.len()).unwrap_or(self.left);
    }
}

impl Read for Generated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.refill();
        }
        let read = (&self.block[self.ready.clone()]).read(into)?;
        self.ready.start += read;
        Ok(read)
    }
}

/// Small enough to stay in the cache of a core until it is read.
const BLOCK: usize = 64 << 10;
/// The first 64 binary digits of the golden ratio. Odd, so that its multiples pass through all words before one
/// repeats.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// A verified list of one file, and the file's accepted layer.
#[derive(Debug)]
pub struct OneFile {
    files: VerifiedFileList,
    layer: Layer,
}

impl OneFile {
    /// Reads a file one chunk at a time, and keeps 32 bytes for each chunk.
    ///
    /// # Panics
    /// If the file cannot be read, has another length, or is no larger than a chunk, since there is nothing to
    /// measure then.
    #[allow(clippy::expect_used, reason = "a benchmark has nobody to return an error to")]
    pub fn of(mut reader: impl Read, len: u64, chunk_size: ChunkSize) -> Self {
        let grid = Grid::new(len, chunk_size).expect("below 2^53 bytes");
        let mut buffer = Vec::new();
        let mut values = Vec::new();
        while let Some(range) = grid.range(values.len().try_into().expect("a position")) {
            buffer.resize(usize::try_from(range.end - range.start).expect("a chunk"), 0);
            reader.read_exact(&mut buffer).expect("a chunk");
            let index = range.start / chunk_size.bytes();
            values.push(grid.chaining_value(index, &buffer).expect("more than one chunk"));
        }
        let root = grid.merge_root(&values).expect("more than one chunk");
        let layer: Vec<u8> = values.iter().flat_map(|value| *value.as_bytes()).collect();
        Self {
            files: believed_list(len, root, chunk_size),
            layer: Layer::accept(grid, root, &layer).expect("a layer"),
        }
    }

    /// A verifier that has accepted no chunk yet.
    ///
    /// # Panics
    /// Never: the layer belongs to the file.
    pub fn verifier(&self) -> FileVerifier {
        FileVerifier::new(&self.files, 0, self.layer.clone())
            .unwrap_or_else(|_| unreachable!("the file's own layer"))
    }
}

#[allow(clippy::expect_used, reason = "a benchmark has nobody to return an error to")]
fn believed_list(len: u64, root: FileRoot, chunk_size: ChunkSize) -> VerifiedFileList {
    let path = EntryPath::parse("model.safetensors").expect("a path");
    let files = write_files(vec![FileEntry { path, size: len, root, sha256: None }]).expect("a list");
    let head = head(&files, None, chunk_size);
    let text = head.to_text().expect("a head");
    let weighed = Weighed {
        head,
        text,
        files: files.text,
        tensors: None,
        layers: Vec::new(),
        unlisted: Vec::new(),
        read: Vec::new(),
    };
    believed(&weighed).open_files(weighed.files.as_bytes()).expect("files")
}

/// Accepts all chunks of a file in memory, and finishes the file. The threads, the calling thread among them, take
/// one chunk at a time.
///
/// # Panics
/// If a chunk is refused.
#[allow(clippy::expect_used, reason = "a benchmark has nobody to return an error to")]
pub fn accept_all(verifier: FileVerifier, bytes: &[u8], threads: usize) {
    let unit = verifier.layer().grid().granule().bytes();
    let unit = usize::try_from(unit).expect("a chunk");
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(chunk) = bytes.chunks(unit).nth(index) else { return };
            let index = index.try_into().expect("a position");
            let _ = black_box(verifier.accept(index, chunk).expect("the chunk at this position"));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let _ = verifier.finish().expect("all chunks");
}
