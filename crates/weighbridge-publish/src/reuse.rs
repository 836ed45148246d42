//! Takes over files of an earlier release unread: an edit of a README must not cost reading 700 GB.

use std::fmt;

use weighbridge_manifest::{FileEntry, Format, TensorEntry, VerifiedFileList, VerifiedTensorList};
use weighbridge_store::{Found, Layers, LayersError};
use weighbridge_tree::{ChainingValue, ChunkSize, Coded, ErrorCode, Grid};

use crate::weigh::{Sha256Listing, TensorListing};

/// An earlier, verified release, and a choice of its files to take over if their size is still the same.
///
/// # Non-guarantee
/// The bytes of these files are not looked at: the caller states that they did not change.
///
/// # Example
/// ```
/// use weighbridge_publish::{Reuse, TensorListing, Weighing};
/// # use weighbridge_manifest::{ModelName, Time};
/// # use weighbridge_publish::Sha256Listing;
/// # use weighbridge_testkit::{Draft, Folder, bytes};
/// # let content = [("README.md", b"draft".to_vec()), ("model.bin", bytes(40_000, 1))];
/// # let earlier = Draft::of(&content, weighbridge_tree::ChunkSize::MIN).sign();
/// # let layers = earlier.metadata.layers(&earlier.files)?;
/// # let folder = Folder::of(&content);
/// # let (name, created) = (ModelName::parse("test/model")?, Time::parse("2026-11-21T00:00:00Z")?);
/// # let (chunk_size, expires, sha256, ext, take) = (None, None, Sha256Listing::Omit, Vec::new(), None);
///
/// // `earlier` is the release before, verified. Only the README was edited since.
/// folder.write("README.md", b"edited");
/// let reuse = Reuse {
///     matches: &|path| path.ends_with(".bin"),
///     files: &earlier.files,
///     tensors: earlier.tensors.as_ref(),
///     layers: layers.as_ref(),
/// };
/// let weighing = Weighing {
///     model: folder.path(),
///     previous: Some((&earlier.head).into()),
///     reuse: Some(reuse),
///     tensors: TensorListing::List,
/// #   name, created, chunk_size, expires, sha256, ext, take,
///     // And so on.
/// };
/// let weighed = weighing.weigh(&|_event| {})?;
/// assert_eq!((weighed.head.revision, weighed.head.bytes), (2, 40_006));
/// let read: Vec<_> = weighed.read.iter().map(|(path, ..)| path.as_str()).collect();
/// assert_eq!(read, ["README.md"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reuse<'a> {
    /// Selects the files to take over, by path.
    pub matches: &'a (dyn Fn(&str) -> bool + Sync),
    /// The earlier file list.
    pub files: &'a VerifiedFileList,
    /// The earlier tensor list, if there is one.
    pub tensors: Option<&'a VerifiedTensorList>,
    /// The earlier layers, if they are published.
    pub layers: Option<&'a Layers>,
}

/// The entries and the layer of one file that is taken over.
pub(crate) struct Reused {
    pub(crate) file: FileEntry,
    pub(crate) tensors: Vec<TensorEntry>,
    pub(crate) layer: Vec<ChainingValue>,
}

impl Reuse<'_> {
    /// Returns the entries of a file in the earlier release; `None` if the file has to be read.
    pub(crate) fn take(
        &self,
        found: &Found,
        tensors: TensorListing,
        sha256: Sha256Listing,
    ) -> Result<Option<Reused>, ReuseFault> {
        let path = found.path.as_str();
        let Some((position, entry)) = self.files.find(path).filter(|_| (self.matches)(path)) else {
            return Ok(None);
        };
        if entry.size != found.size {
            return Err(ReuseFault::Size { earlier: entry.size, now: found.size });
        }
        let mut file = entry.clone();
        match (sha256, file.sha256) {
            (Sha256Listing::Omit, _) => file.sha256 = None,
            (Sha256Listing::List, None) => return Err(ReuseFault::Lacks { what: "SHA-256 hashes" }),
            (Sha256Listing::List, Some(_)) => {}
        }
        let tensors = match (tensors, self.tensors) {
            (TensorListing::List, Some(list)) => list.of_file(path).to_vec(),
            (TensorListing::List, None) if Format::of(entry.path.as_str()).is_some() => {
                return Err(ReuseFault::Lacks { what: "tensors" });
            }
            _ => Vec::new(),
        };
        let has_layer = Grid::new(entry.size, self.files.chunk_size()).is_ok_and(Grid::has_layer);
        let layer = match self.layers {
            _ if !has_layer => Vec::new(),
            None => return Err(ReuseFault::Lacks { what: "chunk layers" }),
            Some(layers) => layers.of(self.files, position).map_err(ReuseFault::Layer)?.values().to_vec(),
        };
        Ok(Some(Reused { file, tensors, layer }))
    }
}

/// The reason why a file is not taken over unread.
#[non_exhaustive]
#[derive(Debug)]
pub enum ReuseFault {
    /// The file has another size than its earlier entry.
    Size {
        /// The size listed earlier.
        earlier: u64,
        /// The size now.
        now: u64,
    },
    /// No file was taken over.
    Nothing,
    /// The earlier release has another chunk size than the requested one.
    ChunkSize {
        /// The chunk size of the earlier release.
        earlier: ChunkSize,
    },
    /// The earlier release lacks something that this release needs.
    Lacks {
        /// The missing part of the metadata.
        what: &'static str,
    },
    /// The index, which is always read, differs from the earlier one.
    Index,
    /// The earlier layer is refused, or cannot be read.
    Layer(LayersError),
}

impl Coded for ReuseFault {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Size { .. } => ErrorCode::REUSE_SIZE,
            Self::Nothing => ErrorCode::REUSE_NOTHING,
            Self::ChunkSize { .. } => ErrorCode::REUSE_CHUNK_SIZE,
            Self::Lacks { .. } => ErrorCode::REUSE_LACKS_METADATA,
            Self::Index => ErrorCode::REUSE_INDEX,
            Self::Layer(error) => error.error_code(),
        }
    }
}

impl fmt::Display for ReuseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { earlier, now } => {
                write!(f, "not reused: {now} bytes, the earlier list says {earlier}")
            }
            Self::Nothing => {
                f.write_str("nothing to reuse: no file here is both matched and in the earlier list")
            }
            Self::ChunkSize { earlier } => {
                write!(f, "the earlier release has chunks of {} bytes", earlier.bytes())
            }
            Self::Lacks { what } => write!(f, "not reused: the earlier release has no {what}"),
            Self::Index => f.write_str("not reused: the index is not the one of the earlier release"),
            Self::Layer(error) => write!(f, "not reused: {error}"),
        }
    }
}

impl std::error::Error for ReuseFault {}
