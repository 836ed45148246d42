//! A model folder as a [`Holding`]: what slices and answers to audits are made from.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use weighbridge_manifest::{EntryPath, FileEntry, VerifiedFileList, shown};
use weighbridge_tree::{Coded, ErrorCode, Grid, Layer, LayerError, TooLong};

use weighbridge_verify::Holding;

use crate::{
    io::{IoError, is_gone, read_exact_at},
    kept::Lease,
    metadata::{CHUNKS, FOLDER, KEPT, Layers, LayersError, Metadata, MetadataError, PARTIAL},
    place::Place,
    scan::lock,
    spare::SpareBuffers,
    walk::{UnfitFault, Walk, walk},
};

/// A model folder with its metadata, from which many threads can answer requests at once.
///
/// # Guarantee
/// Each request gets what it would get alone: files are read by position, into a buffer of the request's own.
///
/// # Non-guarantee
/// Chunks are given as they are read. The functions that make proofs of them check them against the layer. For bytes that are
/// checked, see [`ModelView`](crate::ModelView). A file that is replaced while it is open is read as it was before: a
/// node whose files were repaired or changed opens the folder anew.
///
/// # Replaced releases
/// If another release replaces this one while this value lives, the files of this one are kept in `weighbridge/kept` and read
/// there. Dropping the value removes them, if it was their last reader (`spec/model-folder.md`).
///
/// # Cost
/// Threads do not wait for each other's reads. Files are opened when they are asked for, and the 16 opened last stay
/// open. Each thread that reads has a buffer of one chunk; at most four, and 16 MiB, are kept for the next reads.
///
/// # Example
/// ```
/// use weighbridge_store::{HeldFolder, verify::{UnsignedResponse, manifest::SignedChallenge}};
/// # use weighbridge_store::verify::{Answered, manifest::{Challenge, Time}, tree::{ChunkSize, Nonce}};
/// # use weighbridge_testkit::{Draft, Folder, Key, bytes};
/// # let model = [("model.bin", bytes(40_000, 1))];
/// # let (folder, signed) = (Folder::of(&model), Draft::of(&model, ChunkSize::MIN).sign());
/// # let (metadata, files) = (&signed.metadata, &signed.files);
/// # let (node, auditor) = (Key::new("node", 1), Key::new("auditor", 2));
/// # let (issued, deadline) = (Time::parse("2026-11-20T18:00:00Z")?, Time::parse("2026-11-20T18:00:30Z")?);
/// # let (head, nonce) = (signed.head.id(), Nonce::from_bytes([7; 32]));
/// # let root = signed.head.head().root;
/// # let text = Challenge { head, root, prover: node.vkey(), nonce, issued, deadline, samples: 10 }.to_text()?;
/// # let note = format!("{text}\n{}\n", auditor.line(&text));
///
/// // A node answers the challenge of an auditor, `note`, from its model folder.
/// let holding = HeldFolder::open(folder.path(), metadata, files)?;
/// let challenge = SignedChallenge::parse(note.as_bytes())?.claims()?;
/// let response = UnsignedResponse::make(&challenge, &node.vkey(), files, &holding, None)?;
/// let signature = node.sign(response.message());
/// let response = response.sign(&signature)?;
/// # let asked = SignedChallenge::parse(note.as_bytes())?.verify(&auditor.vkey())?;
/// # let answered = Answered::check(&asked, files, &response, issued, |_| false)?;
/// assert_eq!(answered.report().samples, 10, "the auditor accepts it");
///
/// // From a damaged file it sends nothing: every chunk that it reads is checked first.
/// folder.alter("model.bin", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
/// assert!(UnsignedResponse::make(&challenge, &node.vkey(), files, &holding, None).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HeldFolder<'a> {
    files: &'a VerifiedFileList,
    places: Places,
    /// The files opened last, the last one at the end. Two threads that open a file at once leave one of the two here.
    open: Mutex<VecDeque<(usize, Arc<File>)>>,
    buffers: SpareBuffers,
}

impl<'a> HeldFolder<'a> {
    /// Looks at a folder, without reading a file of it.
    ///
    /// # Errors
    /// [`HoldingError`] if the folder cannot be walked, or the layers have a wrong length.
    pub fn open(
        model: &Path,
        metadata: &Metadata,
        files: &'a VerifiedFileList,
    ) -> Result<Self, HoldingError> {
        let places = Places::of(model, metadata, files)?;
        let buffers = SpareBuffers::new(files.chunk_size().bytes());
        Ok(Self { files, places, open: Mutex::default(), buffers })
    }

    fn file(&self, position: usize) -> Result<Arc<File>, HoldingError> {
        if let Some((_, file)) = lock(&self.open).iter().find(|(opened, _)| *opened == position) {
            return Ok(Arc::clone(file));
        }
        // Without the lock: opening can take long, and other threads read on meanwhile.
        let file = Arc::new(self.places.open(entry_of(self.files, position)?)?.file);
        let mut open = lock(&self.open);
        open.retain(|(opened, _)| *opened != position);
        if open.len() >= MAX_OPEN {
            open.pop_front();
        }
        open.push_back((position, Arc::clone(&file)));
        Ok(file)
    }
}

impl Holding for HeldFolder<'_> {
    type Error = HoldingError;

    fn layer(&self, position: usize) -> Result<Layer, HoldingError> {
        self.places.layer(self.files, position)
    }

    fn read_chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), HoldingError> {
        let entry = entry_of(self.files, position)?;
        let grid = Grid::new(entry.size, self.files.chunk_size()).map_err(HoldingError::TooLong)?;
        let range = grid.range(index).ok_or(HoldingError::NoSuchEntry)?;
        let length = range.end.saturating_sub(range.start);
        let file = self.file(position)?;
        let mut buffer = self.buffers.take();
        // At most one chunk, 16 MiB.
        buffer.resize(usize::try_from(length).unwrap_or(0));
        let read = read_exact_at(&file, &mut buffer, range.start);
        bytes.clear();
        bytes.extend_from_slice(&buffer);
        self.buffers.give_back(buffer);
        Ok(read.map_err(IoError::at("read", entry.path.as_str()))?)
    }
}

/// The maximum number of files that stay open: a few for each thread of a node, and far fewer than a process may have
/// open.
const MAX_OPEN: usize = 16;

/// The places of the files of a list in a model folder, and their layers.
#[derive(Debug)]
pub(crate) struct Places {
    layers: Option<Layers>,
    walk: Walk,
    /// The metadata folder of the model folder.
    folder: PathBuf,
    /// Keeps the files of the release, should another replace it.
    _lease: Option<Lease>,
}

/// A file that was opened.
pub(crate) struct Opened<'a> {
    pub(crate) file: File,
    /// The path of the file; `None` while the file has only its root for a name.
    pub(crate) place: Option<&'a Path>,
    /// The path that the file gets if another release replaces this one.
    pub(crate) kept: PathBuf,
}

impl Places {
    /// Looks at a folder, without reading a file of it.
    pub(crate) fn of(
        model: &Path,
        metadata: &Metadata,
        files: &VerifiedFileList,
    ) -> Result<Self, HoldingError> {
        let lease = Lease::take(model, files.head().id());
        let layers = metadata.layers(files).map_err(HoldingError::Metadata)?;
        let walk = walk(model).map_err(HoldingError::Io)?;
        Ok(Self { layers, walk, folder: model.join(FOLDER), _lease: lease })
    }

    /// Opens the file of an entry. A file whose fetch is not complete is opened under its root: it gets its path later, in place
    /// of what may have that path now. A file of a release that was replaced is opened where it is kept.
    pub(crate) fn open(&self, entry: &FileEntry) -> Result<Opened<'_>, HoldingError> {
        let name = entry.root.to_string();
        let by_root = |folder: &str| {
            let place = Place::below(self.walk.root.as_ref(), self.folder.join(folder).join(&name));
            unless_gone(open_signed(&place, &entry.path, entry.size))
        };
        let kept = self.folder.join(KEPT).join(&name);
        // In the order in which a file moves: from `partial` to its path, and from there to `kept`.
        if let Some(file) = by_root(PARTIAL)? {
            return Ok(Opened { file, place: None, kept });
        }
        let named = self.file(entry).and_then(|place| {
            Ok(unless_gone(open_signed(place, &entry.path, entry.size))?.map(|file| (file, place)))
        });
        if let Ok(Some(file)) = by_root(KEPT) {
            return Ok(Opened { file, place: None, kept });
        }
        let missing = || HoldingError::Missing { path: String::from(entry.path.as_str()) };
        let (file, place) = named?.ok_or_else(missing)?;
        Ok(Opened { file, place: Some(place), kept })
    }

    /// The file to open for an entry: where its link leads, if it is one.
    fn file(&self, entry: &FileEntry) -> Result<&Place, HoldingError> {
        let path = entry.path.as_str();
        let found = self.walk.files.binary_search_by(|found| found.path.as_str().cmp(path));
        let Some(found) = found.ok().and_then(|index| self.walk.files.get(index)) else {
            let path = String::from(path);
            if let Some(unread) = self.walk.unread_at(&path) {
                return Err(unread.error.again().into());
            }
            return Err(match self.walk.unfit_at(&path) {
                Some(unfit) => HoldingError::Unfit { path, fault: unfit.fault.clone() },
                None => HoldingError::Missing { path },
            });
        };
        Ok(&found.file)
    }

    /// The accepted layer of the file at `position`.
    pub(crate) fn layer(&self, files: &VerifiedFileList, position: usize) -> Result<Layer, HoldingError> {
        let entry = entry_of(files, position)?;
        let grid = Grid::new(entry.size, files.chunk_size()).map_err(HoldingError::TooLong)?;
        let path = || String::from(entry.path.as_str());
        if !grid.has_layer() {
            return Layer::accept(grid, entry.root, &[])
                .map_err(|fault| HoldingError::Layer { path: path(), fault });
        }
        let layers = self.layers.as_ref().ok_or_else(|| HoldingError::NoLayer { path: path() })?;
        layers.of(files, position).map_err(|error| match error {
            LayersError::Io(error) => HoldingError::Io(error),
            LayersError::Layer(fault) => HoldingError::Layer { path: path(), fault },
        })
    }
}

fn unless_gone(opened: Result<File, HoldingError>) -> Result<Option<File>, HoldingError> {
    match opened {
        Err(HoldingError::Io(error)) if is_gone(&error.source) => Ok(None),
        result => result.map(Some),
    }
}

pub(crate) fn entry_of(files: &VerifiedFileList, position: usize) -> Result<&FileEntry, HoldingError> {
    files.entries().get(position).ok_or(HoldingError::NoSuchEntry)
}

/// Opens a regular file that has the signed length. Its bytes are not looked at. A link is an error here: whoever
/// listed the folder followed those that it may have.
pub(crate) fn open_signed(file: &Place, path: &EntryPath, size: u64) -> Result<File, HoldingError> {
    let opened = file.open().map_err(IoError::at("open", file))?;
    let metadata = opened.metadata().map_err(IoError::at("look at", file))?;
    let path = || String::from(path.as_str());
    if metadata.is_dir() {
        return Err(IoError::at("open", file)(io::ErrorKind::IsADirectory.into()).into());
    }
    if !metadata.is_file() {
        return Err(HoldingError::Unfit { path: path(), fault: UnfitFault::Special });
    }
    if metadata.len() != size {
        return Err(HoldingError::WrongLength { path: path(), expected: size, actual: metadata.len() });
    }
    Ok(opened)
}

/// The reason why a folder does not give the requested data.
#[non_exhaustive]
#[derive(Debug)]
pub enum HoldingError {
    /// It cannot be read.
    Io(IoError),
    /// The layers were refused as a whole.
    Metadata(MetadataError),
    /// The layer of a file was refused.
    Layer {
        /// The file.
        path: String,
        /// The reason why the layer was refused.
        fault: LayerError,
    },
    /// A file of more than one chunk, and no layers are published.
    NoLayer {
        /// The file.
        path: String,
    },
    /// The file is not there.
    Missing {
        /// The file.
        path: String,
    },
    /// Something that can be no part of a model lies there.
    Unfit {
        /// The file.
        path: String,
        /// The reason why the thing cannot be part of a model.
        fault: UnfitFault,
    },
    /// The file has another length than the signed one.
    WrongLength {
        /// The file.
        path: String,
        /// The signed length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// No file or chunk has this position; never caused by the data.
    NoSuchEntry,
    /// No list can say this length; never caused by the data.
    TooLong(TooLong),
}

impl From<IoError> for HoldingError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl Coded for HoldingError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Io(error) => error.error_code(),
            Self::Metadata(error) => error.error_code(),
            Self::Layer { fault, .. } => fault.error_code(),
            Self::NoLayer { .. } => ErrorCode::LAYER_NEEDED,
            Self::Missing { .. } => ErrorCode::FILE_MISSING,
            Self::Unfit { fault, .. } => fault.error_code(),
            Self::WrongLength { .. } => ErrorCode::FILE_LENGTH,
            Self::NoSuchEntry => ErrorCode::BUG,
            Self::TooLong(error) => error.error_code(),
        }
    }
}

impl fmt::Display for HoldingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Metadata(error) => error.fmt(f),
            Self::Layer { path, fault } => write!(f, "{}: {fault}", shown(path)),
            Self::NoLayer { path } => {
                write!(f, "{}: its chunk layer is needed, and there is no {CHUNKS}", shown(path))
            }
            Self::Missing { path } => write!(f, "{} is missing", shown(path)),
            Self::Unfit { path, fault } => write!(f, "{}: {fault}", shown(path)),
            Self::WrongLength { path, expected, actual } => {
                write!(f, "{} has {actual} bytes, the signed length is {expected}", shown(path))
            }
            Self::NoSuchEntry => f.write_str("API misuse: no file or chunk has this position"),
            Self::TooLong(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HoldingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Metadata(error) => Some(error),
            Self::Layer { fault, .. } => Some(fault),
            _ => None,
        }
    }
}
