//! Positioned reads of local files, that verify what is touched.

use std::{
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    path::{self, Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use weighbridge_manifest::VerifiedFileList;
use weighbridge_tree::Layer;
use weighbridge_verify::{FileVerifier, VerifierError};

use crate::{
    chunk_cache::ChunkCache,
    folder::{HoldingError, Opened, Places, entry_of, open_signed},
    io::{IoError, is_gone, is_placed, read_exact_at},
    metadata::Metadata,
    place::Place,
    stamp::{Identity, identity_of},
    view_error::ViewError,
};

/// A local file, whole or with holes, of which each read is verified.
///
/// # Guarantee
/// Bytes that it gives are those of the signed file: they lie where their chunk was accepted, or are copied from there
/// (rules 2 and 10). A hole reads as zeros, and so is refused wherever the true chunk is not zeros.
///
/// # Non-guarantee
/// It says nothing of chunks that were not touched, nor of what others read from the same file.
///
/// # Cost
/// Every chunk that holds a byte of a read is read and hashed as a whole, by the thread that reads; threads do not wait
/// for each other. Some chunks of which a part was read, at most 64 and 16 MiB, are kept in memory: for small
/// neighbouring reads a chunk is hashed once, not once for each. Beside them there is a buffer of one chunk for each
/// thread that reads, and at most four in reserve.
///
/// # Example
/// ```
/// use weighbridge_store::{Coded, FileView, verify::FileVerifier};
/// # use weighbridge_testkit::{Folder, Sample};
/// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
/// # let (files, layer, content) = (&sample.list, &sample.layers, sample.bytes(0));
/// # let folder = Folder::with(&[("model.bin", content)]);
/// # folder.alter("model.bin", |bytes| bytes[39_000] ^= 1);
///
/// // A file of three chunks of 16 KiB, of which the last is not as signed.
/// let view = FileView::open(&folder.at("model.bin"), FileVerifier::from_layer_bytes(files, 0, layer)?)?;
/// let mut bytes = [0; 100];
/// view.read_at(16_350, &mut bytes)?;
/// assert_eq!(bytes, content[16_350..16_450]);
/// assert_eq!(view.reads().chunks, 2, "the 100 bytes lie in two chunks");
///
/// // No byte of the bad chunk is given.
/// let error = view.read_at(32_768, &mut bytes).unwrap_err();
/// assert_eq!(error.error_code().get(), 2102);
/// assert_eq!(bytes, content[16_350..16_450]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct FileView {
    verifier: FileVerifier,
    file: File,
    /// The file's place and identity; `None` for a file that a fetch has not named yet.
    named: Option<(PathBuf, Option<Identity>)>,
    /// The place in which the file is kept if another release replaces its own.
    kept: Option<PathBuf>,
    cache: Arc<ChunkCache>,
    chunks_read: AtomicU64,
    bytes_read: AtomicU64,
}

impl FileView {
    /// Opens a file. Nothing but its length is checked.
    ///
    /// `file` may lie anywhere, but is no link itself. `verifier` counts the chunks that are touched.
    ///
    /// # Errors
    /// [`ViewError`]: it cannot be opened, or is a folder (9002), it is a FIFO, socket or device (5104), or has another
    /// length than the signed one (2103).
    pub fn open(file: &Path, verifier: FileVerifier) -> Result<Self, ViewError> {
        let cache = ChunkCache::new(verifier.layer().grid().granule().bytes());
        let opened =
            open_signed(&Place::from(file.to_owned()), verifier.path(), verifier.layer().grid().len())?;
        Self::sharing(opened, Some(file), None, verifier, Arc::new(cache))
    }

    fn sharing(
        file: File,
        place: Option<&Path>,
        kept: Option<PathBuf>,
        verifier: FileVerifier,
        cache: Arc<ChunkCache>,
    ) -> Result<Self, ViewError> {
        let named = match place {
            None => None,
            Some(place) => {
                // The working directory may become another one.
                let place = path::absolute(place).map_err(IoError::at("find", place))?;
                let metadata = file.metadata().map_err(IoError::at("look at", &place))?;
                Some((place, identity_of(&metadata)))
            }
        };
        Ok(Self {
            verifier,
            file,
            named,
            kept,
            cache,
            chunks_read: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
        })
    }

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`ViewError`]: a chunk is not the signed one, or is missing (2102); the file was truncated, extended, replaced or
    /// removed since it was opened (2106); it cannot be read (9002); it has no such bytes (9999). Of `into`, what lies in
    /// chunks before the first bad one is then filled with the signed bytes, and the rest is as it was. The same read may
    /// be tried again.
    ///
    /// # Panics
    /// Never, for any arguments.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        self.read(offset, into, |index, chunk, part, into| self.copy(index, chunk, part, into))
    }

    /// As [`read_at`](Self::read_at), into memory of which nothing is used after an error: a whole chunk that begins with a page
    /// of `into` is read and verified there, and not copied.
    ///
    /// # Errors
    /// As there; but what lies in the first bad chunk may then be zero.
    ///
    /// # Panics
    /// Never, for any arguments.
    ///
    /// # Example
    /// ```
    /// use weighbridge_store::{FileView, verify::{FileVerifier, PageBuffer}};
    /// # use weighbridge_testkit::{Folder, Sample};
    /// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
    /// # let (files, layer, content) = (&sample.list, &sample.layers, sample.bytes(0));
    /// # let folder = Folder::with(&[("model.bin", content)]);
    ///
    /// let view = FileView::open(&folder.at("model.bin"), FileVerifier::from_layer_bytes(files, 0, layer)?)?;
    /// let mut bytes = PageBuffer::zeroed(40_000);
    /// view.fill_at(0, &mut bytes)?;
    /// assert!(*bytes == *content);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fill_at(&self, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        self.read(offset, into, |index, chunk, part, into| self.fill(index, chunk, part, into))
    }

    /// Reads each chunk of a range by its part of `into`.
    fn read(
        &self,
        offset: u64,
        into: &mut [u8],
        read_part: impl Fn(u64, &Range<u64>, Range<usize>, &mut [u8]) -> Result<(), ViewError>,
    ) -> Result<(), ViewError> {
        let grid = self.verifier.layer().grid();
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        let wanted = offset..offset.saturating_add(len);
        let past_end = || ViewError::PastEnd { path: self.path(), range: wanted.clone(), size: grid.len() };
        let chunks = grid.chunks_of(&wanted).ok_or_else(past_end)?;
        let (mut at, mut rest) = (offset, into);
        for index in chunks {
            let chunk = grid.range(index).ok_or_else(past_end)?;
            let end = chunk.end.min(wanted.end);
            let part = within(&chunk, at)..within(&chunk, end);
            let (into, behind) = rest.split_at_mut_checked(part.len()).ok_or_else(past_end)?;
            read_part(index, &chunk, part, into)?;
            (at, rest) = (end, behind);
        }
        Ok(())
    }

    /// As [`fill_at`](Self::fill_at), on all threads of the current rayon pool; on the calling thread, if the pool has one.
    ///
    /// # Errors
    /// As there, for the first bad place. Of `into`, the part of each chunk then has its signed bytes, is as it was, or is zero.
    ///
    /// # Panics
    /// Never, for any arguments.
    ///
    /// # Example
    /// ```
    /// use weighbridge_store::{FileView, verify::FileVerifier};
    /// # use weighbridge_testkit::{Folder, Sample};
    /// # let sample = Sample::of(&[("model.bin", 3_000_000)], 1);
    /// # let (files, layer, content) = (&sample.list, &sample.layers, sample.bytes(0));
    /// # let folder = Folder::with(&[("model.bin", content)]);
    ///
    /// let view = FileView::open(&folder.at("model.bin"), FileVerifier::from_layer_bytes(files, 0, layer)?)?;
    /// let mut bytes = vec![0; 2_900_000];
    /// view.fill_at_on_all_cores(1_000, &mut bytes)?;
    /// assert!(bytes == content[1_000..2_901_000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fill_at_on_all_cores(&self, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        let chunk = self.verifier.layer().grid().granule().bytes();
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        // No chunk is read by two threads.
        let middle = offset.saturating_add(len / 2).checked_next_multiple_of(chunk);
        let at = middle.and_then(|middle| usize::try_from(middle.checked_sub(offset)?).ok());
        let is_split = into.len() > ONE_THREAD && rayon::current_num_threads() > 1;
        let halves = match at.filter(|at| is_split && *at < into.len()) {
            Some(at) => into.split_at_mut_checked(at),
            None => return self.fill_at(offset, into),
        };
        let (Some((first, second)), Some(middle)) = (halves, middle) else { return Ok(()) };
        let (before, behind) = rayon::join(
            || self.fill_at_on_all_cores(offset, first),
            || self.fill_at_on_all_cores(middle, second),
        );
        before.and(behind)
    }

    /// Reads a chunk where it is used, if all of it is.
    fn fill(
        &self,
        index: u64,
        chunk: &Range<u64>,
        part: Range<usize>,
        into: &mut [u8],
    ) -> Result<(), ViewError> {
        if part.len() != within(chunk, chunk.end) || !is_placed(into) {
            return self.copy(index, chunk, part, into);
        }
        let result = self.load(index, chunk, into).map(drop);
        if result.is_err() {
            into.fill(0);
        }
        result
    }

    /// Copies a part of one chunk, once the chunk is accepted.
    fn copy(
        &self,
        index: u64,
        chunk: &Range<u64>,
        part: Range<usize>,
        into: &mut [u8],
    ) -> Result<(), ViewError> {
        let key = (self.verifier.position(), index);
        if let Some(kept) = self.cache.get(key) {
            into.copy_from_slice(self.part_of(&kept, part)?);
            return Ok(());
        }
        let mut buffer = self.cache.buffer();
        // At most one chunk, 16 MiB. What is in the buffer is overwritten, or not looked at.
        buffer.resize(within(chunk, chunk.end));
        let accepted = self.load(index, chunk, &mut buffer).and_then(|bytes| self.part_of(bytes, part));
        let result = accepted.map(|bytes| into.copy_from_slice(bytes));
        // A chunk that was read as a whole is not kept: a later read would ask for another one.
        if result.is_ok() && buffer.len() > into.len() {
            self.cache.keep(key, buffer);
        } else {
            self.cache.give_back(buffer);
        }
        result
    }

    /// Reads a chunk into memory of its length, and gives it if it is accepted.
    fn load<'b>(&self, index: u64, chunk: &Range<u64>, buffer: &'b mut [u8]) -> Result<&'b [u8], ViewError> {
        match read_exact_at(&self.file, buffer, chunk.start) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.changed()),
            Err(error) => return Err(self.io("read", error)),
        }
        self.chunks_read.fetch_add(1, Relaxed);
        self.bytes_read.fetch_add(chunk.end.saturating_sub(chunk.start), Relaxed);
        if !self.is_same()? {
            return Err(self.changed());
        }
        match self.verifier.accept(index, buffer) {
            Ok(chunk) => Ok(chunk.bytes()),
            Err(fault) => Err(ViewError::Chunk { path: self.path(), fault }),
        }
    }

    /// Whether the file still is the one that was opened, and as long. Not whether it was written to: chunks tell that,
    /// and one that is being completed is written to all the time.
    fn is_same(&self) -> Result<bool, ViewError> {
        let size = self.verifier.layer().grid().len();
        let opened = self.file.metadata().map_err(|error| self.io("look at", error))?;
        let Some((place, identity)) = &self.named else { return Ok(opened.len() == size) };
        let is_at = |place: &Path| match fs::symlink_metadata(place) {
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(self.io("look at", error)),
            Ok(named) => Ok(named.len() == size && identity_of(&named) == *identity),
        };
        if opened.len() != size {
            return Ok(false);
        }
        Ok(is_at(place)? || self.kept.as_deref().map_or(Ok(false), is_at)?)
    }

    fn io(&self, doing: &'static str, error: io::Error) -> ViewError {
        match &self.named {
            Some((place, _)) => IoError::at(doing, place)(error).into(),
            None => IoError::at(doing, self.verifier.path().as_str())(error).into(),
        }
    }

    fn part_of<'b>(&self, chunk: &'b [u8], part: Range<usize>) -> Result<&'b [u8], ViewError> {
        // Does not happen: an accepted chunk has the length that its place gives.
        chunk.get(part).ok_or_else(|| self.changed())
    }

    /// Counts the distinct chunks that were touched and accepted, and knows which they are.
    pub fn verifier(&self) -> &FileVerifier {
        &self.verifier
    }

    /// The chunks and bytes that were read from the file so far.
    pub fn reads(&self) -> Reads {
        Reads { chunks: self.chunks_read.load(Relaxed), bytes: self.bytes_read.load(Relaxed) }
    }

    fn path(&self) -> String {
        String::from(self.verifier.path().as_str())
    }

    fn changed(&self) -> ViewError {
        ViewError::Changed { path: self.path() }
    }
}

/// As many bytes are read by one thread: to wake another takes longer.
const ONE_THREAD: usize = 1 << 20;

/// The chunks and bytes that a view has read and hashed, with those that were read again or refused. Chunks that came from
/// memory are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reads {
    /// The number of chunks.
    pub chunks: u64,
    /// The number of their bytes.
    pub bytes: u64,
}

/// A model folder, whole or with holes or with files missing, of which each read is verified.
///
/// Files are opened when they are touched, and stay open. A file that a fetch has not completed is read where the fetch has
/// it, and may get its name meanwhile.
///
/// If another release replaces this one while this value lives, the files of this one are kept in `weighbridge/kept` and read
/// there. Dropping the value removes them, if it was their last reader (`spec/model-folder.md`).
///
/// # Guarantee, non-guarantee
/// Those of [`FileView`], for each file.
///
/// # Cost
/// Of files that were not touched, a slot; of the others, that of [`FileView`], with one memory of chunks for all of them,
/// an open file, and its layer: 32 bytes for each of its chunks.
///
/// # Example
/// ```
/// use weighbridge_store::{Coded, ModelView};
/// # use weighbridge_testkit::{Draft, Folder, bytes};
/// # let model = [("config.json", bytes(100, 1)), ("model.bin", bytes(40_000, 2))];
/// # let signed = Draft::of(&model, weighbridge_verify::tree::ChunkSize::MIN).sign();
/// # let (folder, metadata, files) = (Folder::of(&model[1..]), signed.metadata, signed.files);
/// # let content = &model[1].1;
///
/// // In this folder `model.bin` is complete, and `config.json` has not come yet.
/// let view = ModelView::open(folder.path(), &metadata, files)?;
/// let (position, _) = view.files().find("model.bin").ok_or("not in the model")?;
/// let mut bytes = [0; 1_000];
/// view.read_at(position, 30_000, &mut bytes)?;
/// assert_eq!(bytes, content[30_000..31_000]);
///
/// assert_eq!(view.read_at(0, 0, &mut bytes[..100]).unwrap_err().error_code().get(), 2104);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ModelView {
    files: Arc<VerifiedFileList>,
    places: Places,
    /// One for each file of the list, filled once. Of two threads that open a file at once, one uses the other's. Boxed,
    /// since a list may have millions of files of which three are touched.
    views: Vec<OnceLock<Box<FileView>>>,
    cache: Arc<ChunkCache>,
}

impl ModelView {
    /// Looks at a folder, without reading a file of it. Missing files, and links that lead astray, are refused when they
    /// are touched.
    ///
    /// # Errors
    /// [`ViewError`]: the folder cannot be walked (9002), or the layers have a wrong length (2201).
    pub fn open(
        model: &Path,
        metadata: &Metadata,
        files: impl Into<Arc<VerifiedFileList>>,
    ) -> Result<Self, ViewError> {
        let files = files.into();
        let places = Places::of(model, metadata, &files)?;
        let mut views = Vec::new();
        views.resize_with(files.entries().len(), OnceLock::new);
        let cache = Arc::new(ChunkCache::new(files.chunk_size().bytes()));
        Ok(Self { files, places, views, cache })
    }

    /// The list.
    #[must_use]
    pub fn files(&self) -> &VerifiedFileList {
        &self.files
    }

    /// The file at `position` of the list. The first call opens it, and accepts its layer.
    ///
    /// # Errors
    /// [`ViewError`]: the file is missing (2104), a link that leads astray or no regular file (51xx), or has another
    /// length than the signed one (2103); its layer is missing (9106) or refused (2202); something cannot be read, or the
    /// file has become a link since the folder was looked at (9002);
    /// the list has no such file (9999). A later call tries again.
    pub fn file(&self, position: usize) -> Result<&FileView, ViewError> {
        let slot = self.views.get(position).ok_or(HoldingError::NoSuchEntry)?;
        if let Some(view) = slot.get() {
            return Ok(view);
        }
        let view = self.open_file(position)?;
        Ok(slot.get_or_init(|| Box::new(view)))
    }

    /// Opens the file at `position` of the list, as [`file`](Self::file) does, for a caller that decides how long it stays open.
    ///
    /// # Errors
    /// As there.
    pub fn open_file(&self, position: usize) -> Result<FileView, ViewError> {
        let Opened { file, place, kept } = self.places.open(entry_of(&self.files, position)?)?;
        let layer = self.places.layer(&self.files, position)?;
        let verifier = FileVerifier::new(&self.files, position, layer).map_err(|error| match error {
            VerifierError::Layer { path, fault } => {
                HoldingError::Layer { path: String::from(path.as_str()), fault }
            }
            _ => HoldingError::NoSuchEntry,
        })?;
        FileView::sharing(file, place, Some(kept), verifier, Arc::clone(&self.cache))
    }

    /// Reads and accepts the layer of the file at `position` of the list. The file itself is not opened.
    ///
    /// # Errors
    /// [`ViewError`]: the layer is missing (9106) or refused (2202), or cannot be read (9002); the list has no such file (9999).
    pub fn layer(&self, position: usize) -> Result<Layer, ViewError> {
        Ok(self.places.layer(&self.files, position)?)
    }

    /// Fills `into` with the bytes from `offset` on of the file at `position` of the list.
    ///
    /// # Errors
    /// [`ViewError`]: as [`file`](Self::file) and [`FileView::read_at`].
    ///
    /// # Panics
    /// Never, for any arguments.
    pub fn read_at(&self, position: usize, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        self.file(position)?.read_at(offset, into)
    }

    /// The chunks and bytes that were read from all files so far.
    pub fn reads(&self) -> Reads {
        self.views.iter().filter_map(OnceLock::get).map(|view| view.reads()).fold(
            Reads { chunks: 0, bytes: 0 },
            |sum, reads| Reads {
                chunks: sum.chunks.saturating_add(reads.chunks),
                bytes: sum.bytes.saturating_add(reads.bytes),
            },
        )
    }
}

/// The offset of a byte in a chunk.
fn within(chunk: &Range<u64>, at: u64) -> usize {
    usize::try_from(at.saturating_sub(chunk.start)).unwrap_or(usize::MAX)
}

impl fmt::Debug for FileView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FileView");
        shown.field("verifier", &self.verifier).field("named", &self.named).field("reads", &self.reads());
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for ModelView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelView").field("reads", &self.reads()).finish_non_exhaustive()
    }
}
