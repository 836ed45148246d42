//! Opens a model folder for programs that read it: from the caller's trust to verified reads.

use std::{fmt, path::Path, sync::Arc};

use weighbridge_manifest::{
    Expectation, NoteError, SignedHead, Time, TrustError, TrustPolicy, VerifiedFileList, VerifiedTensorList,
};
use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    io::IoError,
    metadata::{Metadata, MetadataError},
    store_error::BeingReplaced,
    tensor::TensorView,
    view::ModelView,
    view_error::ViewError,
};

/// A model folder whose head is believed, and whose lists are those that the head binds.
///
/// # Guarantee
/// Those of [`ModelView`] and [`TensorView`].
///
/// # Non-guarantee
/// Files that are not listed are not looked at.
///
/// # Example
/// ```
/// use weighbridge_manifest::{Expectation, TrustPolicy};
/// use weighbridge_store::{Coded, Metadata, OpenModel};
/// # let sample = weighbridge_testkit::Sample::of(&[("config.json", 100), ("model.bin", 40_000)], 1);
/// # let (folder, id) = (weighbridge_testkit::Folder::new(), sample.id);
/// # folder.write("weighbridge/head.note", &sample.note);
/// # folder.write("weighbridge/files.jsonl", &sample.files);
/// # folder.write("weighbridge/chunks.layer", &sample.layers);
/// # folder.write("model.bin", sample.bytes(1));
/// # let model = folder.path();
///
/// // The caller believes one head, by its id.
/// let (policy, metadata) = (TrustPolicy::pinned(id), Metadata::of_model(model));
/// let opened = OpenModel::open(model, &metadata, &policy, &Expectation::any(), None)?;
/// let mut bytes = [0; 100];
/// opened.view.read_at(1, 20_000, &mut bytes)?;
/// assert_eq!(bytes, sample.bytes(1)[20_000..20_100]);
///
/// // Somebody who believes another one opens nothing.
/// let other = TrustPolicy::pinned(weighbridge_verify::tree::HeadId::from_bytes([7; 32]));
/// let refused = OpenModel::open(model, &metadata, &other, &Expectation::any(), None).unwrap_err();
/// assert_eq!(refused.error_code().get(), 3106);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct OpenModel {
    /// The file list. It has the head.
    pub files: Arc<VerifiedFileList>,
    /// The tensor list; `None` if the head says `tensors none`.
    pub tensors: Option<Arc<VerifiedTensorList>>,
    /// Verified reads of files.
    pub view: Arc<ModelView>,
    /// Verified reads of tensors, if some are listed.
    pub by_name: Option<TensorView>,
}

impl OpenModel {
    /// Opens a folder. No weight is read.
    ///
    /// `now` is the caller's time; `None` if the caller does not know the time.
    ///
    /// # Errors
    /// [`OpenError`]: the release in the folder is being replaced (9108); the head is malformed or not believed (11xx, 12xx, 31xx,
    /// 32xx); a list is not the one that the head binds (13xx, 14xx); the layers have a wrong length (2201); something cannot be
    /// read (9002).
    pub fn open(
        folder: &Path,
        metadata: &Metadata,
        policy: &TrustPolicy,
        expected: &Expectation,
        now: Option<Time>,
    ) -> Result<Self, OpenError> {
        // The files in the folder may be of two releases, wherever the metadata lie.
        if let Some(error) = Metadata::of_model(folder).being_replaced() {
            return Err(OpenError::BeingReplaced(error));
        }
        let note = metadata.note().map_err(OpenError::Io)?;
        let head = SignedHead::parse(&note).map_err(OpenError::Note)?;
        let head = head.verify(policy, expected, now).map_err(OpenError::Trust)?;
        let files = Arc::new(metadata.files(&head).map_err(OpenError::Metadata)?);
        let tensors = metadata.tensors(&files).map_err(OpenError::Metadata)?.map(Arc::new);
        let view = Arc::new(ModelView::open(folder, metadata, Arc::clone(&files)).map_err(OpenError::View)?);
        let by_name = tensors.as_ref();
        let by_name = by_name.map(|tensors| TensorView::new(Arc::clone(&view), Arc::clone(tensors)));
        Ok(Self { files, tensors, view, by_name })
    }
}

/// The reason why a model folder is not opened.
#[non_exhaustive]
#[derive(Debug)]
pub enum OpenError {
    /// The release in the folder is being replaced by another.
    BeingReplaced(BeingReplaced),
    /// The note cannot be read.
    Io(IoError),
    /// The note is malformed.
    Note(NoteError),
    /// The head is not believed, or is not the one that is meant.
    Trust(TrustError),
    /// A list cannot be read, or is not the signed one.
    Metadata(MetadataError),
    /// The folder, or its layers, cannot be used.
    View(ViewError),
}

impl OpenError {
    fn inner(&self) -> &dyn Coded {
        match self {
            Self::BeingReplaced(error) => error,
            Self::Io(error) => error,
            Self::Note(error) => error,
            Self::Trust(error) => error,
            Self::Metadata(error) => error,
            Self::View(error) => error,
        }
    }
}

impl Coded for OpenError {
    fn error_code(&self) -> ErrorCode {
        self.inner().error_code()
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner())
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::BeingReplaced(_) => None,
            Self::Io(error) => Some(error),
            Self::Note(error) => Some(error),
            Self::Trust(error) => Some(error),
            Self::Metadata(error) => Some(error),
            Self::View(error) => Some(error),
        }
    }
}
