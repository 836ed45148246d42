//! Reads files once, on all cores, and computes every requested hash.
//!
//! Weighing and verifying differ only in their last step, so both use this module. Files are cut into blocks. Each
//! core takes the next block of the whole model, reads it into a buffer of its own, and hashes it there. So the disk
//! sees one nearly sequential reader, and memory does not grow with the number of files, only with that of threads.

use std::{
    fmt,
    fs::File,
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use weighbridge_formats::{Format, FormatError, Parsed, TensorSpan, is_lfs_pointer, needs_prefix, parse};
use weighbridge_manifest::{DigestKind, ListedDigest};
use weighbridge_tree::{
    ChainingValue, ChunkSize, Coded, Collector, ErrorCode, FileRoot, Granule, Grid, TensorHash,
};
use weighbridge_verify::{PAGE, PageBuffer};

use crate::{
    io::{IoError, has_byte_at, read_exact_at},
    place::{Place, is_led_elsewhere},
    stamp::Stamp,
    tensor_hashes::TensorHashes,
};

mod digest_files;
mod digester;

pub use digest_files::{DigestJob, digest_files};
use digester::Digester;

/// A file to be read.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file to open: the target, if the path in the model is a link.
    pub file: Place,
    /// The length in bytes that the file must have.
    pub size: u64,
    /// Whether the file's tensors are looked for and hashed.
    pub tensors: Tensors,
    /// The digest that is computed beside the root, if one is.
    pub digest: Option<DigestKind>,
    /// What to wait for, if the file is still being written.
    pub arrivals: Option<Arc<dyn Arrivals>>,
}

impl Job {
    /// A file that is there as a whole, and of which no digest is computed.
    #[must_use]
    pub fn of(file: impl Into<Place>, size: u64, tensors: Tensors) -> Self {
        Self { file: file.into(), size, tensors, digest: None, arrivals: None }
    }
}

/// The arrival of bytes of a file that is written while it is scanned.
pub trait Arrivals: fmt::Debug + Send + Sync {
    /// Waits until the file is there, and all bytes before `end` are written; after that, nobody writes them again. Returns
    /// false if they will not come: the scan then gives up the file with [`ScanError::Changed`].
    fn wait(&self, end: u64) -> bool;
}

/// Whether the tensors of a file are looked for and hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tensors {
    /// Tensors are not looked for.
    Ignore,
    /// The header is kept.
    Header(Format),
    /// The header is parsed, and the tensors it names are hashed; none is hashed if one has an unknown dtype. A
    /// malformed header ends the file before it is hashed.
    Hash(Format),
    /// The header is kept, and these ranges are hashed, whatever the header names. They must be sorted and disjoint;
    /// otherwise nothing is hashed.
    HashListed(Format, Vec<Range<u64>>),
}

/// The result of reading a file.
#[derive(Debug)]
pub struct Scanned {
    /// The hash of all bytes.
    pub root: FileRoot,
    /// The chaining values of the chunks; empty for a file of at most one chunk.
    pub values: Vec<ChainingValue>,
    /// The digest of all bytes, if the job asks for one.
    pub digest: Option<ListedDigest>,
    /// The header, if the job keeps it.
    pub header: Option<Header>,
    /// The parsed header, if the job parses it.
    pub parsed: Option<Parsed>,
    /// The hashes of the job's tensors, in the order of the header or of the given ranges.
    pub tensor_hashes: Option<Vec<TensorHash>>,
    /// Whether these bytes are a Git LFS pointer.
    pub is_lfs_pointer: bool,
    /// The identity and state of the file that was read.
    pub stamp: Stamp,
}

/// A header that is not parsed yet: the beginning of the file, from the very bytes that were hashed (rule 10).
#[derive(Clone, Debug)]
pub struct Header {
    format: Format,
    prefix: Arc<Vec<u8>>,
    file_size: u64,
}

impl Header {
    /// Parses the header; never returns [`Parsed::NeedPrefix`].
    ///
    /// # Errors
    /// [`FormatError`] if the header is malformed.
    ///
    /// # Cost
    /// The cost of [`weighbridge_formats::parse`]: for the longest header about 550 MB and a second. A caller with a
    /// signed root compares the root first, so that only signed bytes cost this much (rule 12).
    pub fn parse(&self) -> Result<Parsed, FormatError> {
        match parse(self.format, &self.prefix, self.file_size)? {
            // Does not happen: the prefix has the length that the format asked for.
            Parsed::NeedPrefix(_) => Err(FormatError::TooShort { file_size: self.file_size }),
            parsed => Ok(parsed),
        }
    }
}

/// The reason why a file gave no result.
#[non_exhaustive]
#[derive(Debug)]
pub enum ScanError {
    /// The operating system reported an error.
    Io(IoError),
    /// The file has another length than required, or was altered or replaced while it was read.
    Changed,
    /// The file is longer than any list can say.
    TooLarge {
        /// The file's length in bytes.
        size: u64,
    },
    /// The header is malformed.
    Format(FormatError),
    /// The id of a Git blob was asked for, and these bytes are made for a collision of SHA-1.
    Sha1Collision,
}

impl Coded for ScanError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Changed => ErrorCode::FILE_CHANGED,
            Self::TooLarge { .. } => ErrorCode::FILE_TOO_LARGE,
            Self::Format(error) => error.error_code(),
            Self::Sha1Collision => ErrorCode::SHA1_COLLISION,
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
            Self::Sha1Collision => f.write_str("the file is made for a collision of SHA-1"),
        }
    }
}

impl std::error::Error for ScanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Changed | Self::TooLarge { .. } | Self::Sha1Collision => None,
            Self::Format(error) => Some(error),
        }
    }
}

/// The receiver of a scan's results. It is called from many threads.
pub trait Watch: Sync {
    /// Reports that this number of further bytes was read and hashed.
    fn read(&self, bytes: u64);

    /// Reports the result of a job; jobs end in any order. After `Break` the scan ends and reports no other job.
    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()>;
}

/// Reads all files once, on all threads of the current rayon pool.
///
/// One thread reads a file with a [digest](Job::digest) from beginning to end, since digests cannot be split.
///
/// # Cost
/// A buffer of 256 KiB for each thread. For each file being read, 32 bytes for each chunk, or for each 256 KiB if
/// chunks are larger, and the file's beginning up to the end of its header: some hundred KiB in a real model, some MB
/// if the header holds a vocabulary, at most the 100 MB that the formats allow. Only [`Tensors::Hash`] parses
/// headers; the worst header costs about 550 MB and a second. Threads wait for each other only to take the next
/// block.
///
/// # Example
/// ```
/// use std::{ops::ControlFlow, sync::Mutex};
/// use weighbridge_store::{scan::{Job, ScanError, Scanned, Tensors, Watch, scan}, walk};
/// use weighbridge_store::verify::tree::{ChunkSize, FileRoot};
/// # let folder = weighbridge_testkit::Folder::with(&[("a.bin", b"weights"), ("b.bin", b"more of them")]);
/// # let model = folder.path();
///
/// struct Roots(Mutex<Vec<(usize, FileRoot)>>);
///
/// impl Watch for Roots {
///     fn read(&self, _bytes: u64) {}
///
///     fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
///         let Ok(file) = result else { return ControlFlow::Break(()) };
///         self.0.lock().unwrap().push((job, file.root));
///         ControlFlow::Continue(())
///     }
/// }
///
/// let found = walk(model)?.files.into_iter();
/// let jobs: Vec<_> = found.map(|f| Job::of(f.file, f.size, Tensors::Ignore)).collect();
/// let roots = Roots(Mutex::default());
/// scan(&jobs, ChunkSize::MIN, &roots);
/// let mut roots = roots.0.into_inner()?;
/// roots.sort_by_key(|(job, _)| *job);
/// assert_eq!(roots, [(0, FileRoot::of(b"weights")), (1, FileRoot::of(b"more of them"))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn scan(jobs: &[Job], chunk_size: ChunkSize, watch: &dyn Watch) {
    let queue = Queue { jobs, next: 0, open: None };
    let scan = Scan { queue: Mutex::new(queue), chunk_size, watch, stopped: AtomicBool::new(false) };
    rayon::broadcast(|_| scan.work());
}

struct Scan<'a> {
    queue: Mutex<Queue<'a>>,
    chunk_size: ChunkSize,
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
        // The lock is held while a file is opened and its header read: without the next file the other threads have
        // nothing to do either, and no more headers are in memory than files are being read.
        let mut queue = lock(&self.queue);
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        if queue.open.is_none() {
            let index = queue.next;
            let job = queue.jobs.get(index)?;
            queue.next = index.saturating_add(1);
            match Opened::new(index, job, self.chunk_size) {
                Ok(opened) => {
                    let blocks = 0..opened.blocks;
                    queue.open = Some((Arc::new(opened), blocks));
                }
                Err(error) => return Some(Task::Failed { job: index, error }),
            }
        }
        let (file, left) = queue.open.take()?;
        let take = if file.reads_in_order { left.end } else { left.start.saturating_add(1) };
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
        // The last reader finishes the file. Acquire and release, so that it sees the work of the other threads.
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
    /// The file's beginning up to the end of its header. Hashed from memory, not from a second read (rule 10).
    prefix: Arc<Vec<u8>>,
    /// The units of hashing: chunks, or blocks if chunks are larger.
    units: Grid,
    chunks: Grid,
    blocks: u64,
    arrivals: Option<Arc<dyn Arrivals>>,
    left: AtomicU64,
    failed: AtomicBool,
    /// Whether one thread reads all blocks, in order.
    reads_in_order: bool,
    tensors: Option<TensorHashes>,
    state: Mutex<FileState>,
}

struct FileState {
    values: Option<Collector>,
    root: Option<FileRoot>,
    digester: Option<Digester>,
    header: Option<Header>,
    parsed: Option<Parsed>,
    is_lfs_pointer: bool,
    error: Option<ScanError>,
}

impl Opened {
    fn new(job: usize, what: &Job, chunk_size: ChunkSize) -> Result<Self, ScanError> {
        let path = what.file.to_path_buf();
        let arrivals = what.arrivals.clone();
        wait(arrivals.as_ref(), 0)?;
        let (file, stamp) = open(&what.file, what.size, &path)?;
        let grid = |granule| Grid::new(what.size, granule).map_err(|e| ScanError::TooLarge { size: e.len });
        let (units, chunks) = (grid(BLOCK_GRANULE.min(chunk_size.into()))?, grid(chunk_size.into())?);
        let Layout { header, parsed, ranges } = layout(what, &file, &path)?;
        let prefix = header.as_ref().map(|h| Arc::clone(&h.prefix)).unwrap_or_default();
        // An empty file is one block of no bytes.
        let blocks = what.size.div_ceil(BLOCK).max(1);
        let values = units
            .has_layer()
            .then(|| Collector::new(units))
            .transpose()
            .map_err(|_| ScanError::Io(IoError::at("hash", &path)(io::ErrorKind::OutOfMemory.into())))?;
        let state = FileState {
            values,
            root: None,
            digester: what.digest.map(|kind| Digester::new(kind, what.size)),
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
            arrivals,
            left: AtomicU64::new(blocks),
            failed: AtomicBool::new(false),
            reads_in_order: what.digest.is_some(),
            tensors: ranges.and_then(TensorHashes::new),
            state: Mutex::new(state),
        })
    }

    /// Reads and hashes one block; returns the block's length.
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
        if let Some(digester) = &mut state.digester {
            digester.update(bytes);
        }
        Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    /// Fills the block at `start` from the prefix as far as that reaches, and from the file behind it.
    fn bytes<'b>(&self, start: u64, buffer: &'b mut PageBuffer) -> Result<&'b [u8], ScanError> {
        let length = usize::try_from(self.stamp.size().saturating_sub(start).min(BLOCK)).unwrap_or(0);
        wait(self.arrivals.as_ref(), start.saturating_add(BLOCK).min(self.stamp.size()))?;
        buffer.resize(length);
        let bytes = &mut **buffer;
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        let known = self.prefix.get(from..).unwrap_or_default();
        let known = known.get(..length).unwrap_or(known);
        // The read begins on a page. The few bytes that the prefix has as well are overwritten with those of the
        // prefix.
        let skipped = known.len().saturating_sub(known.len() % PAGE);
        let offset = start.saturating_add(u64::try_from(skipped).unwrap_or(0));
        read_exact_at(&self.file, bytes.get_mut(skipped..).unwrap_or_default(), offset)
            .map_err(|error| unread(error, &self.path))?;
        bytes.get_mut(..known.len()).unwrap_or_default().copy_from_slice(known);
        Ok(bytes)
    }

    /// Combines the results of the blocks. Called once, by the last reader.
    fn finish(&self) -> Result<Scanned, ScanError> {
        let mut state = lock(&self.state);
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        let stamp = match &self.arrivals {
            // The last byte has come, and was hashed. Whoever changes the file from here on is seen.
            Some(_) => {
                Stamp::of(&self.file).map_err(|e| ScanError::Io(IoError::at("look at", &self.path)(e)))?
            }
            None => self.stamp.clone(),
        };
        if stamp.size() != self.stamp.size() {
            return Err(ScanError::Changed);
        }
        check_unchanged(&self.file, &stamp, &self.path)?;
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
            digest: state.digester.take().map(Digester::finish).transpose()?,
            header: state.header.take(),
            parsed: state.parsed.take(),
            tensor_hashes: self.tensors.as_ref().and_then(TensorHashes::hashes),
            is_lfs_pointer: state.is_lfs_pointer,
            stamp,
        })
    }
}

/// Opens a file, and checks that it is a regular file of this length.
fn open(place: &Place, size: u64, path: &Path) -> Result<(File, Stamp), ScanError> {
    let file = place.open().map_err(|e| {
        // The walk resolved every link, so a link in this path was put there later.
        if is_led_elsewhere(&e) || path.is_symlink() {
            ScanError::Changed
        } else {
            ScanError::Io(IoError::at("open", path)(e))
        }
    })?;
    let stamp = Stamp::of(&file).map_err(|e| ScanError::Io(IoError::at("look at", path)(e)))?;
    if stamp.size() != size || !stamp.is_file() {
        return Err(ScanError::Changed);
    }
    Ok((file, stamp))
}

/// Checks that a file that was read is still the one that was opened.
fn check_unchanged(file: &File, stamp: &Stamp, path: &Path) -> Result<(), ScanError> {
    // A file may have more bytes than its length says: a file of procfs has the length 0.
    let goes_on = has_byte_at(file, stamp.size()).map_err(|e| ScanError::Io(IoError::at("read", path)(e)))?;
    let same = Stamp::of(file).is_ok_and(|now| now == *stamp);
    if goes_on || !same || !stamp.is_of(path) { Err(ScanError::Changed) } else { Ok(()) }
}

/// The error of a read that did not give all bytes.
fn unread(error: io::Error, path: &Path) -> ScanError {
    if is_eof(&error) { ScanError::Changed } else { ScanError::Io(IoError::at("read", path)(error)) }
}

/// The header of a file and the ranges of its tensors, as far as the job asks for them.
#[derive(Default)]
struct Layout {
    header: Option<Header>,
    parsed: Option<Parsed>,
    ranges: Option<Vec<Range<u64>>>,
}

fn layout(job: &Job, file: &File, path: &Path) -> Result<Layout, ScanError> {
    let header = |format| {
        let prefix = prefix(format, file, job).map_err(|error| unread(error, path))?;
        Ok(Header { format, prefix: Arc::new(prefix), file_size: job.size })
    };
    Ok(match &job.tensors {
        Tensors::Ignore => Layout::default(),
        Tensors::Header(format) => Layout { header: Some(header(*format)?), ..Layout::default() },
        Tensors::HashListed(format, ranges) => {
            Layout { header: Some(header(*format)?), ranges: Some(ranges.clone()), parsed: None }
        }
        Tensors::Hash(format) => {
            let header = header(*format)?;
            let parsed = header.parse().map_err(ScanError::Format)?;
            let spans: &[TensorSpan] =
                if let Parsed::Tensors { tensors, .. } = &parsed { tensors } else { &[] };
            let ranges = spans.iter().map(|t| t.offset..t.offset.saturating_add(t.size)).collect();
            Layout { header: Some(header), parsed: Some(parsed), ranges: Some(ranges) }
        }
    })
}

/// Reads the beginning of a file, as much as its format needs.
fn prefix(format: Format, file: &File, job: &Job) -> io::Result<Vec<u8>> {
    let (mut prefix, mut piece) = (Vec::new(), PageBuffer::new());
    while let Some(length) = needs_prefix(format, &prefix, job.size) {
        let from = prefix.len();
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let end = u64::try_from(length).unwrap_or(u64::MAX);
        wait(job.arrivals.as_ref(), end).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        // The format checked this length against the file's size and its own limit (rule 1).
        prefix.reserve_exact(length.saturating_sub(from));
        while prefix.len() < length {
            piece.resize(length.saturating_sub(prefix.len()).min(PIECE));
            read_exact_at(file, &mut piece, u64::try_from(prefix.len()).unwrap_or(u64::MAX))?;
            prefix.extend_from_slice(&piece);
        }
    }
    Ok(prefix)
}

fn wait(arrivals: Option<&Arc<dyn Arrivals>>, end: u64) -> Result<(), ScanError> {
    match arrivals.is_none_or(|arrivals| arrivals.wait(end)) {
        true => Ok(()),
        false => Err(ScanError::Changed),
    }
}

fn is_eof(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// Locks a mutex, poisoned or not: no code that holds one of these locks panics, so the data is never half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of bytes read at once: small enough to be hashed twice from the cache of a core. From 128 KiB to 1 MiB,
/// throughput differs by less than a twentieth.
pub(crate) const BLOCK: u64 = 1 << 18;
/// The number of bytes of a header read at once.
const PIECE: usize = 1 << 18;
const BLOCK_GRANULE: Granule = match Granule::new(BLOCK) {
    Some(granule) => granule,
    None => Granule::MIN,
};
