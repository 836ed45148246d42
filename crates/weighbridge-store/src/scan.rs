//! Reading files once, on all cores, and computing every hash that is asked for.
//!
//! Weighing and verifying are the same work up to its last step, so both are done here. Files are cut into blocks;
//! each core takes the next block of the whole model, reads it into a buffer of its own, and hashes from there. So the
//! disk sees one nearly sequential reader, and memory does not grow with files, threads apart.

use std::{
    fmt,
    fs::{self, File},
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use sha2::Digest as _;
use weighbridge_formats::{Format, FormatError, Parsed, TensorSpan, is_lfs_pointer};
use weighbridge_manifest::Sha256;
use weighbridge_tree::{ChainingValue, ChunkSize, Collector, FileRoot, Granule, Grid, TensorHash};
use weighbridge_verify::{PAGE, PageBuffer};

use crate::{
    io::{Identity, IoError, has_byte_at, identity_of, read_exact_at},
    place::{Place, is_led_elsewhere},
    tensor_hashes::TensorHashes,
};

/// A file to be read.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file to open: where its link leads, if it is one.
    pub file: Place,
    /// The length that it has to have.
    pub size: u64,
    /// Whether tensors are looked for and hashed.
    pub tensors: Tensors,
}

/// Whether the tensors of a file are looked for and hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tensors {
    /// Nothing.
    Ignore,
    /// Keep the header.
    Header(Format),
    /// Parse the header, and hash the tensors that it names, none if one has a dtype that is not known. A malformed one
    /// ends the file before it is hashed.
    Hash(Format),
    /// Keep the header, and hash these ranges, whatever it names. They are sorted and disjoint, or nothing is hashed.
    HashListed(Format, Vec<Range<u64>>),
}

/// The result of reading a file.
#[derive(Debug)]
pub struct Scanned {
    /// The hash of all bytes.
    pub root: FileRoot,
    /// The chaining values of the chunks; none for a file of at most one chunk.
    pub values: Vec<ChainingValue>,
    /// The SHA-256 of all bytes, if it was asked for.
    pub sha256: Option<Sha256>,
    /// The header, if it was to be kept.
    pub header: Option<Header>,
    /// The parsed header, if it was to be parsed.
    pub parsed: Option<Parsed>,
    /// The hashes of the tensors that were to be hashed, in the order of the header or of the ranges.
    pub tensor_hashes: Option<Vec<TensorHash>>,
    /// Whether these bytes are a Git LFS pointer.
    pub is_lfs_pointer: bool,
    /// Which file it was, and in which state.
    pub stamp: Stamp,
}

/// A header that nobody has looked into: the file's beginning, of the very bytes that were hashed (rule 10).
#[derive(Clone, Debug)]
pub struct Header {
    format: Format,
    prefix: Arc<Vec<u8>>,
    file_size: u64,
}

impl Header {
    /// Where the tensors lie; never [`Parsed::NeedPrefix`].
    ///
    /// # Errors
    /// [`FormatError`], if it is malformed.
    ///
    /// # Cost
    /// That of [`Format::parse`]: of the longest header, about 550 MB and a second. Whoever has a signed root compares
    /// it first, so that only signed bytes cost as much (rule 12).
    pub fn parse(&self) -> Result<Parsed, FormatError> {
        match self.format.parse(&self.prefix, self.file_size)? {
            // Does not happen: the format was asked how much it needs.
            Parsed::NeedPrefix(_) => Err(FormatError::TooShort { file_size: self.file_size }),
            parsed => Ok(parsed),
        }
    }
}

/// Why a file gave nothing.
#[non_exhaustive]
#[derive(Debug)]
pub enum ScanError {
    /// The operating system reported an error.
    Io(IoError),
    /// The file has another length than it should, or was altered or replaced while it was read.
    Changed,
    /// No list can say its length.
    TooLarge {
        /// Its length in bytes.
        size: u64,
    },
    /// The header is malformed.
    Format(FormatError),
}

impl ScanError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Changed => 2106,
            Self::TooLarge { .. } => 2109,
            Self::Format(error) => error.error_code(),
        }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Changed => f.write_str("the file changed while it was read"),
            Self::TooLarge { size } => write!(f, "{size} bytes; a file of a model has less than 2^53"),
            Self::Format(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ScanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Changed | Self::TooLarge { .. } => None,
            Self::Format(error) => Some(error),
        }
    }
}

/// The receiver of a scan's results. It is called from many threads.
pub trait Watch: Sync {
    /// This number of further bytes was read and hashed.
    fn read(&self, bytes: u64);

    /// A job ended with this result; jobs end in any order. `Break` ends the scan, and the other jobs are not reported.
    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()>;
}

/// Reads all files once, on all threads of the current rayon pool.
///
/// With `sha256` each file is read by one thread from its beginning to its end, since that hash cannot be split.
///
/// # Cost
/// A buffer of 256 KiB a thread; of each file under way 32 bytes for each chunk, or for each 256 KiB where chunks are
/// larger, and its beginning up to the end of the header: of a real model some hundred KiB, with a vocabulary in it some
/// MB, at most the 100 MB that the formats allow. Only [`Tensors::Hash`] parses headers, the worst of them in about
/// 550 MB and a second each. Threads never wait for each other but to take the next block.
pub fn scan(jobs: &[Job], chunk_size: ChunkSize, sha256: bool, watch: &dyn Watch) {
    let queue = Queue { jobs, next: 0, open: None };
    let scan = Scan { queue: Mutex::new(queue), chunk_size, sha256, watch, stopped: AtomicBool::new(false) };
    rayon::broadcast(|_| scan.work());
}

struct Scan<'a> {
    queue: Mutex<Queue<'a>>,
    chunk_size: ChunkSize,
    sha256: bool,
    watch: &'a dyn Watch,
    stopped: AtomicBool,
}

/// The files that are still to be read, in order.
struct Queue<'a> {
    jobs: &'a [Job],
    next: usize,
    open: Option<(Arc<Opened>, Range<u64>)>,
}

/// The next thing for a thread to do.
enum Task {
    Read { file: Arc<Opened>, blocks: Range<u64> },
    Failed { job: usize, error: ScanError },
}

impl Scan<'_> {
    fn work(&self) {
        let mut buffer = PageBuffer::new();
        while let Some(task) = self.next() {
            match task {
                Task::Read { file, blocks } => {
                    for block in blocks {
                        self.read(&file, block, &mut buffer);
                    }
                }
                Task::Failed { job, error } => self.done(job, Err(error)),
            }
        }
    }

    fn next(&self) -> Option<Task> {
        // Files are opened, and headers read, under the lock: without the next file there is nothing to do for others
        // either, and no more headers are in memory than there are files under way.
        let mut queue = lock(&self.queue);
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        if queue.open.is_none() {
            let index = queue.next;
            let job = queue.jobs.get(index)?;
            queue.next = index.saturating_add(1);
            match Opened::new(index, job, self.chunk_size, self.sha256) {
                Ok(opened) => {
                    let blocks = 0..opened.blocks;
                    queue.open = Some((Arc::new(opened), blocks));
                }
                Err(error) => return Some(Task::Failed { job: index, error }),
            }
        }
        let (file, left) = queue.open.take()?;
        let take = if self.sha256 { left.end } else { left.start.saturating_add(1) };
        if take < left.end {
            queue.open = Some((Arc::clone(&file), take..left.end));
        }
        Some(Task::Read { file, blocks: left.start..take })
    }

    fn read(&self, file: &Arc<Opened>, block: u64, buffer: &mut PageBuffer) {
        if !file.failed.load(Ordering::Relaxed) && !self.stopped.load(Ordering::Relaxed) {
            match file.read(block, buffer) {
                Ok(bytes) => self.watch.read(bytes),
                Err(error) => {
                    file.failed.store(true, Ordering::Relaxed);
                    lock(&file.state).error.get_or_insert(error);
                }
            }
        }
        // The last reader finishes the file. Acquire and release, so that it sees the work of the others.
        if file.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done(file.job, file.finish());
        }
    }

    fn done(&self, job: usize, result: Result<Scanned, ScanError>) {
        if !self.stopped.load(Ordering::Relaxed) && self.watch.done(job, result).is_break() {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }
}

/// A file that is being read.
struct Opened {
    job: usize,
    path: PathBuf,
    file: File,
    stamp: Stamp,
    /// The file's beginning up to the end of its header. Not read again (rule 10).
    prefix: Arc<Vec<u8>>,
    /// Units of hashing: chunks, or blocks where chunks are larger.
    units: Grid,
    chunks: Grid,
    blocks: u64,
    left: AtomicU64,
    failed: AtomicBool,
    tensors: Option<TensorHashes>,
    state: Mutex<FileState>,
}

struct FileState {
    values: Option<Collector>,
    root: Option<FileRoot>,
    sha256: Option<Box<sha2::Sha256>>,
    header: Option<Header>,
    parsed: Option<Parsed>,
    is_lfs_pointer: bool,
    error: Option<ScanError>,
}

impl Opened {
    fn new(job: usize, what: &Job, chunk_size: ChunkSize, sha256: bool) -> Result<Self, ScanError> {
        let path = what.file.to_path_buf();
        let file = what.file.open().map_err(|e| {
            // The walk followed all links: a link that is here now was put here since.
            if is_led_elsewhere(&e) || path.is_symlink() {
                ScanError::Changed
            } else {
                ScanError::Io(IoError::at("open", &path)(e))
            }
        })?;
        let stamp = Stamp::of(&file.metadata().map_err(|e| ScanError::Io(IoError::at("look at", &path)(e)))?);
        if stamp.size != what.size || !stamp.is_file {
            return Err(ScanError::Changed);
        }
        let grid = |granule| Grid::new(what.size, granule).map_err(|e| ScanError::TooLarge { size: e.len });
        let (units, chunks) = (grid(BLOCK_GRANULE.min(chunk_size.into()))?, grid(chunk_size.into())?);
        let header = |format| {
            let prefix = prefix(format, &file, what.size).map_err(|e| {
                if is_eof(&e) { ScanError::Changed } else { ScanError::Io(IoError::at("read", &path)(e)) }
            })?;
            Ok(Header { format, prefix: Arc::new(prefix), file_size: what.size })
        };
        let (header, parsed, ranges) = match &what.tensors {
            Tensors::Ignore => (None, None, None),
            Tensors::Header(format) => (Some(header(*format)?), None, None),
            Tensors::HashListed(format, ranges) => (Some(header(*format)?), None, Some(ranges.clone())),
            Tensors::Hash(format) => {
                let header = header(*format)?;
                let parsed = header.parse().map_err(ScanError::Format)?;
                let spans: &[TensorSpan] =
                    if let Parsed::Tensors { tensors, .. } = &parsed { tensors } else { &[] };
                let ranges = spans.iter().map(|t| t.offset..t.offset.saturating_add(t.size)).collect();
                (Some(header), Some(parsed), Some(ranges))
            }
        };
        let prefix = header.as_ref().map(|h| Arc::clone(&h.prefix)).unwrap_or_default();
        // An empty file is one block of nothing.
        let blocks = what.size.div_ceil(BLOCK).max(1);
        let values = units
            .has_layer()
            .then(|| Collector::new(units))
            .transpose()
            .map_err(|_| ScanError::Io(IoError::at("hash", &path)(io::ErrorKind::OutOfMemory.into())))?;
        let state = FileState {
            values,
            root: None,
            sha256: sha256.then(|| Box::new(sha2::Sha256::new())),
            header: header.filter(|_| parsed.is_none()),
            parsed,
            is_lfs_pointer: false,
            error: None,
        };
        Ok(Self {
            job,
            path,
            file,
            stamp,
            prefix,
            units,
            chunks,
            blocks,
            left: AtomicU64::new(blocks),
            failed: AtomicBool::new(false),
            tensors: ranges.and_then(TensorHashes::new),
            state: Mutex::new(state),
        })
    }

    /// Reads and hashes one block; gives its length.
    fn read(&self, block: u64, buffer: &mut PageBuffer) -> Result<u64, ScanError> {
        let start = block.saturating_mul(BLOCK);
        let bytes = self.bytes(start, buffer)?;
        let mut values = Vec::new();
        let mut root = None;
        if self.units.has_layer() {
            let unit = usize::try_from(self.units.granule().bytes()).unwrap_or(usize::MAX);
            let first = start.checked_div(self.units.granule().bytes()).unwrap_or(0);
            for (index, bytes) in (first..).zip(bytes.chunks(unit)) {
                let value = self.units.chaining_value(index, bytes).map_err(|_| ScanError::Changed)?;
                values.push((index, value));
            }
        } else {
            root = Some(FileRoot::of(bytes));
        }
        if let Some(tensors) = &self.tensors {
            tensors.block(start, bytes);
        }
        let mut state = lock(&self.state);
        state.is_lfs_pointer = self.blocks == 1 && is_lfs_pointer(bytes);
        state.root = root.or(state.root);
        if let Some(collector) = &mut state.values {
            for (index, value) in values {
                collector.insert(index, value).map_err(|_| ScanError::Changed)?;
            }
        }
        if let Some(sha256) = &mut state.sha256 {
            sha256.update(bytes);
        }
        Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    /// The bytes of the block at `start`: what is in the prefix from there, the rest from the file.
    fn bytes<'b>(&self, start: u64, buffer: &'b mut PageBuffer) -> Result<&'b [u8], ScanError> {
        let length = usize::try_from(self.stamp.size.saturating_sub(start).min(BLOCK)).unwrap_or(0);
        buffer.resize(length);
        let bytes = &mut **buffer;
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        let known = self.prefix.get(from..).unwrap_or_default();
        let known = known.get(..length).unwrap_or(known);
        // From the start of a page on. Less than a page is read a second time, and not looked at.
        let skipped = known.len().saturating_sub(known.len() % PAGE);
        let offset = start.saturating_add(u64::try_from(skipped).unwrap_or(0));
        match read_exact_at(&self.file, bytes.get_mut(skipped..).unwrap_or_default(), offset) {
            Ok(()) => {}
            Err(error) if is_eof(&error) => return Err(ScanError::Changed),
            Err(error) => return Err(ScanError::Io(IoError::at("read", &self.path)(error))),
        }
        bytes.get_mut(..known.len()).unwrap_or_default().copy_from_slice(known);
        Ok(bytes)
    }

    /// Puts together what the blocks gave. Called once, by the last reader.
    fn finish(&self) -> Result<Scanned, ScanError> {
        let mut state = lock(&self.state);
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        // A file of procfs, say, has the length 0 and more bytes than that.
        if has_byte_at(&self.file, self.stamp.size)
            .map_err(|e| ScanError::Io(IoError::at("read", &self.path)(e)))?
        {
            return Err(ScanError::Changed);
        }
        let same = self.file.metadata().is_ok_and(|m| Stamp::of(&m) == self.stamp);
        if !same || !self.stamp.is_of(&self.path) {
            return Err(ScanError::Changed);
        }
        let (root, values) = match state.values.take() {
            Some(collector) => {
                let values = collector.finish().map_err(|_| ScanError::Changed)?;
                let root = self.units.merge_root(&values).map_err(|_| ScanError::Changed)?;
                (root, self.units.coarsen(&values, self.chunks).map_err(|_| ScanError::Changed)?)
            }
            None => (state.root.ok_or(ScanError::Changed)?, Vec::new()),
        };
        Ok(Scanned {
            root,
            values,
            sha256: state.sha256.take().map(|hasher| Sha256(hasher.finalize().into())),
            header: state.header.take(),
            parsed: state.parsed.take(),
            tensor_hashes: self.tensors.as_ref().and_then(TensorHashes::hashes),
            is_lfs_pointer: state.is_lfs_pointer,
            stamp: self.stamp.clone(),
        })
    }
}

/// The identity, length and time of the last change of a file: if they are the same, the file is taken to be so.
///
/// # Non-guarantee
/// A writer can set the time, or write through a mapping: only hashing shows what a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    is_file: bool,
    size: u64,
    modified: Option<SystemTime>,
    identity: Option<Identity>,
}

impl Stamp {
    /// Whether the file at this path is the same still.
    #[must_use]
    pub fn is_of(&self, file: &Path) -> bool {
        fs::metadata(file).is_ok_and(|now| Self::of(&now) == *self)
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            is_file: metadata.is_file(),
            size: metadata.len(),
            modified: metadata.modified().ok(),
            identity: identity_of(metadata),
        }
    }
}

/// As much of a file's beginning as its format needs.
fn prefix(format: Format, file: &File, size: u64) -> io::Result<Vec<u8>> {
    let (mut prefix, mut piece) = (Vec::new(), PageBuffer::new());
    while let Some(length) = format.needs_prefix(&prefix, size) {
        let from = prefix.len();
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // The format checked the length against the file's size and its own limit (rule 1).
        prefix.reserve_exact(length.saturating_sub(from));
        while prefix.len() < length {
            piece.resize(length.saturating_sub(prefix.len()).min(PIECE));
            read_exact_at(file, &mut piece, u64::try_from(prefix.len()).unwrap_or(u64::MAX))?;
            prefix.extend_from_slice(&piece);
        }
    }
    Ok(prefix)
}

fn is_eof(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// A lock whose holder cannot have left it half changed: no code that holds one panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much is read at once: small enough to be hashed twice from the cache of a core. From 128 KiB to 1 MiB throughput
/// differs by less than a twentieth.
pub(crate) const BLOCK: u64 = 1 << 18;
/// How much of a header is read at once.
const PIECE: usize = 1 << 18;
const BLOCK_GRANULE: Granule = match Granule::new(BLOCK) {
    Some(granule) => granule,
    None => Granule::MIN,
};
