//! Reads tensors by name, with every byte verified.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
};

use weighbridge_formats::{Format, FormatError, Parsed, UnknownDtype, parse};
use weighbridge_manifest::{Dtype, TensorEntry, VerifiedTensorList, shown, shown_beginning};
use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    folder::HoldingError,
    io::IoError,
    tensors::{TensorFault, compare},
    view::{FileView, ModelView},
    view_error::ViewError,
};

/// Reads the tensors of a local model folder by name. The folder may be complete or have holes.
///
/// # Guarantee
/// The bytes of a returned tensor are those of the signed file; its dtype, shape and place are those in the header of
/// the signed file. Before the first tensor of a file is returned, the chunks of the file's header are accepted, and
/// the header is compared with all that is listed for the file (`spec/tensors.md`, V1 to V3).
///
/// # Non-guarantee
/// The tensor's own hash is not computed: a tensor hash finds and compares, and never accepts (rule 13). Files and
/// chunks that were not touched are not covered.
///
/// # Cost
/// Only the chunks that hold bytes of the tensor or of its file's header are read and hashed. Each header is compared
/// once, however often its file is asked for. In addition to the memory of a [`ModelView`], one number for each
/// tensor and one flag for each file.
///
/// # Example
/// ```
/// use weighbridge_store::{Coded, ModelView, TensorView};
/// # use weighbridge_testkit::{Draft, Folder, bytes, safetensors};
/// # let (weight, bias) = (bytes(40_000, 1), bytes(64, 2));
/// # let model = [("model.safetensors", safetensors(&[("weight", &weight), ("bias", &bias)]))];
/// # let signed = Draft::of(&model, weighbridge_verify::tree::ChunkSize::MIN).sign();
/// # let folder = Folder::of(&model);
/// # folder.alter("model.safetensors", |bytes| bytes[20_000] ^= 1);
/// # let (metadata, files, tensors) = (signed.metadata, signed.files, signed.tensors);
///
/// // `tensors` is what `Metadata::tensors` gives.
/// let tensors = tensors.ok_or("the head lists no tensors")?;
/// let view = TensorView::new(ModelView::open(folder.path(), &metadata, files)?, tensors);
/// let tensor = view.read("bias")?;
/// assert_eq!((tensor.dtype().as_str(), tensor.shape()), ("U8", &[64][..]));
/// assert_eq!(tensor.bytes(), bias);
///
/// // A bit in the middle of `weight` has flipped: nothing of that tensor is given.
/// assert_eq!(view.read("weight").unwrap_err().error_code().get(), 2102);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct TensorView {
    view: Arc<ModelView>,
    tensors: Arc<VerifiedTensorList>,
    /// Positions in the tensor list, sorted by name, then by file.
    by_name: Vec<usize>,
    /// One flag for each file of the list, set once the file's header agrees with the list. Two threads may both
    /// compare the same header.
    agreed: Vec<OnceLock<()>>,
}

impl TensorView {
    /// Makes a view; reads nothing yet. `tensors` must be the list that the view's head binds.
    ///
    /// # Cost
    /// A sort of the tensors by name.
    pub fn new(view: impl Into<Arc<ModelView>>, tensors: impl Into<Arc<VerifiedTensorList>>) -> Self {
        let (view, tensors) = (view.into(), tensors.into());
        let mut names: Vec<_> =
            tensors.entries().iter().zip(0..).map(|(t, at)| (t.name.as_str(), at)).collect();
        names.sort_unstable();
        let by_name = names.into_iter().map(|(_, at)| at).collect();
        let mut agreed = Vec::new();
        agreed.resize_with(view.files().entries().len(), OnceLock::new);
        Self { view, tensors, by_name, agreed }
    }

    /// Reads the tensor named `name`.
    ///
    /// # Errors
    /// [`TensorError`]: no tensor has this name, or several files have one (9001); and the errors of
    /// [`read_at`](Self::read_at).
    ///
    /// # Panics
    /// Never, for any name.
    pub fn read(&self, name: &str) -> Result<VerifiedTensor<'_>, TensorError> {
        let first = self.by_name.partition_point(|at| self.name(*at) < name);
        let mut found = self.by_name.iter().skip(first).take_while(|at| self.name(**at) == name);
        match (found.next(), found.next()) {
            (Some(at), None) => self.read_at(*at),
            (Some(_), Some(_)) => Err(TensorError::Ambiguous { name: String::from(name) }),
            (None, _) => Err(TensorError::NotListed { name: String::from(name) }),
        }
    }

    /// Reads the tensor named `name` in `file`. Tensor names are unique only within a file.
    ///
    /// # Errors
    /// [`TensorError`]: the file has no such tensor (9001); and the errors of [`read_at`](Self::read_at).
    ///
    /// # Panics
    /// Never, for any arguments.
    pub fn read_in(&self, file: &str, name: &str) -> Result<VerifiedTensor<'_>, TensorError> {
        let found = self.tensors.find(file, name);
        let (at, _) = found.ok_or_else(|| TensorError::NotListed { name: String::from(name) })?;
        self.read_at(at)
    }

    /// Reads the tensor at `position` of the tensor list.
    ///
    /// # Errors
    /// [`TensorError`]: the errors of [`ModelView::file`] and [`FileView::read_at`]; the header is malformed (41xx,
    /// 43xx), has a dtype that this version does not know, be it that of another tensor (4108, 4314), or differs from
    /// the tensor list (23xx); there is no memory for the tensor (9002); the list has no such position (9999). No
    /// byte is returned. The same tensor may be asked for again.
    ///
    /// # Panics
    /// Never, for any position.
    pub fn read_at(&self, position: usize) -> Result<VerifiedTensor<'_>, TensorError> {
        let entry = self.tensors.entries().get(position).ok_or(HoldingError::NoSuchEntry)?;
        let (file, _) = self.view.files().find(entry.file.as_str()).ok_or(HoldingError::NoSuchEntry)?;
        let view = self.view.file(file)?;
        self.agree(file, entry.file.as_str(), view)?;
        // The header confirms that the tensor lies within the file, and the file has its signed length.
        let mut bytes = Vec::new();
        grow(&mut bytes, entry.size, entry.file.as_str())?;
        view.read_at(entry.offset, &mut bytes)?;
        Ok(VerifiedTensor { entry, bytes })
    }

    /// Reads the header of a tensor file, and compares it with all that is listed for the file, unless that was done before.
    ///
    /// # Errors
    /// [`TensorError`]: as [`read_at`](Self::read_at), or the list names no such file (9999).
    pub fn check_header(&self, file: &str) -> Result<(), TensorError> {
        let (position, _) = self.view.files().find(file).ok_or(HoldingError::NoSuchEntry)?;
        self.agree(position, file, self.view.file(position)?)
    }

    /// Compares the list with the verified header of a file, unless an earlier call did.
    fn agree(&self, file: usize, path: &str, view: &FileView) -> Result<(), TensorError> {
        let agreed = self.agreed.get(file).ok_or(HoldingError::NoSuchEntry)?;
        if agreed.get().is_some() {
            return Ok(());
        }
        let path_of = || String::from(path);
        // A verified list names only tensor files.
        let format = Format::of(path).ok_or(HoldingError::NoSuchEntry)?;
        let size = view.verifier().layer().grid().len();
        // By the list the header ends at `data`, and the bytes behind may be a hole. A format that cannot tell the
        // length of its header in advance asks for more bytes than the header has.
        let data = self.tensors.of_file(path).iter().map(|tensor| tensor.offset).min().unwrap_or(size);
        let mut prefix = Vec::new();
        let spans = loop {
            // Only accepted bytes are parsed.
            match parse(format, &prefix, size) {
                Err(fault) => return Err(TensorError::Format { file: path_of(), fault }),
                Ok(Parsed::Tensors { tensors, .. }) => break tensors,
                // The view can still give the bytes. Whether the listed dtype and shape are those of the header
                // cannot be told.
                Ok(Parsed::UnknownDtype { dtype, .. }) => {
                    return Err(TensorError::UnknownDtype { file: path_of(), dtype });
                }
                Ok(Parsed::NeedPrefix(len)) => {
                    let start = prefix.len();
                    let known = u64::try_from(start).unwrap_or(u64::MAX);
                    grow(&mut prefix, if known < data { len.min(data) } else { len }, path)?;
                    view.read_at(known, prefix.get_mut(start..).unwrap_or_default())?;
                }
            }
        };
        if let Some(fault) = compare(self.tensors.of_file(path), &spans) {
            return Err(TensorError::Header { file: path_of(), fault });
        }
        let _ = agreed.set(());
        Ok(())
    }

    fn name(&self, position: usize) -> &str {
        self.tensors.entries().get(position).map_or("", |tensor| tensor.name.as_str())
    }

    /// The tensor list.
    #[must_use]
    pub fn tensors(&self) -> &VerifiedTensorList {
        &self.tensors
    }

    /// The view that reads the bytes. It counts what was read.
    pub fn view(&self) -> &ModelView {
        &self.view
    }
}

/// Makes room for `len` bytes. A checked length can still exceed the memory.
fn grow(bytes: &mut Vec<u8>, len: u64, path: &str) -> Result<(), IoError> {
    let no_room = || IoError::at("make room for", path)(io::ErrorKind::OutOfMemory.into());
    let len = usize::try_from(len).map_err(|_| no_room())?;
    bytes.try_reserve_exact(len.saturating_sub(bytes.len())).map_err(|_| no_room())?;
    bytes.resize(len, 0);
    Ok(())
}

/// A tensor whose chunks were all accepted.
///
/// # Guarantee
/// Bytes, dtype and shape are those of the signed file.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct VerifiedTensor<'a> {
    entry: &'a TensorEntry,
    bytes: Vec<u8>,
}

impl<'a> VerifiedTensor<'a> {
    /// The tensor's entry in the tensor list, with which the header agrees.
    #[must_use]
    pub fn entry(&self) -> &'a TensorEntry {
        self.entry
    }

    /// The type of the tensor's elements.
    #[must_use]
    pub fn dtype(&self) -> &'a Dtype {
        &self.entry.dtype
    }

    /// The tensor's dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &'a [u64] {
        &self.entry.shape
    }

    /// The tensor's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tensor's bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The reason why a tensor is not returned. None of its bytes were released.
#[non_exhaustive]
#[derive(Debug)]
pub enum TensorError {
    /// The tensor's file gives no bytes, or bytes that are not the signed ones.
    View(ViewError),
    /// No tensor has this name. The caller's fault.
    NotListed {
        /// The name that was asked for.
        name: String,
    },
    /// Several files have a tensor of this name, and the caller named no file. The caller's fault.
    Ambiguous {
        /// The name that was asked for.
        name: String,
    },
    /// The verified header of the file is malformed.
    Format {
        /// The file.
        file: String,
        /// The fault of the header.
        fault: FormatError,
    },
    /// The verified header of the file has a dtype that this version does not know, so that the header cannot be
    /// compared. Nothing is wrong with the file: [`TensorView::view`] gives its bytes.
    UnknownDtype {
        /// The file.
        file: String,
        /// The unknown dtype, and the tensor that has it.
        dtype: UnknownDtype,
    },
    /// The tensor list differs from the verified header of the file.
    Header {
        /// The file.
        file: String,
        /// The difference.
        fault: TensorFault,
    },
}

impl From<ViewError> for TensorError {
    fn from(error: ViewError) -> Self {
        Self::View(error)
    }
}

impl From<HoldingError> for TensorError {
    fn from(error: HoldingError) -> Self {
        Self::View(error.into())
    }
}

impl From<IoError> for TensorError {
    fn from(error: IoError) -> Self {
        Self::View(error.into())
    }
}

impl Coded for TensorError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::View(error) => error.error_code(),
            Self::NotListed { .. } | Self::Ambiguous { .. } => ErrorCode::USAGE,
            Self::Format { fault, .. } => fault.error_code(),
            Self::UnknownDtype { dtype, .. } => dtype.error_code(),
            Self::Header { fault, .. } => fault.error_code(),
        }
    }
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(error) => error.fmt(f),
            Self::NotListed { name } => write!(f, "no tensor '{}' is listed", shown_beginning(name, 80)),
            Self::Ambiguous { name } => {
                write!(f, "several files have a tensor '{}'", shown_beginning(name, 80))
            }
            Self::Format { file, fault } => write!(f, "{}: {fault}", shown(file)),
            Self::UnknownDtype { file, dtype } => write!(f, "{}: {dtype}", shown(file)),
            Self::Header { file, fault } => write!(f, "{}: {fault}", shown(file)),
        }
    }
}

impl std::error::Error for TensorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::View(error) => Some(error),
            Self::Format { fault, .. } => Some(fault),
            _ => None,
        }
    }
}

impl fmt::Debug for TensorView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorView").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Leaves out the bytes.
impl fmt::Debug for VerifiedTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTensor").field("entry", &self.entry).finish_non_exhaustive()
    }
}
