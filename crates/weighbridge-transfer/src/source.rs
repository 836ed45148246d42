//! The contract of every source that bytes come from. No source is trusted.
//!
//! The kinds of this crate are in `source/`. Other crates can implement more from this page, and check them with
//! `weighbridge_testkit::conformance`.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    ops::Range,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::watch;
use weighbridge_manifest::EntryPath;
use weighbridge_tree::FileRoot;

use crate::{guide::Claim, ranges::RangeSet};

mod address;
#[cfg(feature = "cloud")]
pub(crate) mod bucket;
pub(crate) mod contract;
mod fault;
mod folder;
pub(crate) mod http;
mod listing;
mod members;
mod paths;
mod secret;

pub use address::{SourceError, SourceFactory, SourceOptions};
pub use fault::Fault;
pub use listing::{Listing, ListingError, ListingFault};
pub use members::Sources;
pub use secret::SecretError;

/// A place that has, or claims to have, a model's files: a web server, a hub, a bucket, a folder, a peer.
///
/// # Guarantee
/// A source only carries bytes: the fetch judges everything that it gives before use, and the fetch alone decides
/// whether the source is asked again.
///
/// # Contract
/// - A source performs no retries and has no timeouts but that of connecting: the fetch knows which other sources have
///   the bytes.
/// - It may be asked for several things at once, and for the same thing twice.
/// - When the returned future or [`Body`] is dropped, the request ends, and its connection is closed or reused.
/// - [`Fault`] says what was seen, not what it may mean: a connection that breaks is [`Fault::Unreachable`], an answer
///   of another length than the signed one is [`Fault::OtherFile`].
///
/// # Example
/// A source whose files lie in memory:
/// ```
/// use std::{collections::HashMap, ops::Range};
/// use async_trait::async_trait;
/// use weighbridge_transfer::{Body, Fault, Source, What};
///
/// #[derive(Debug)]
/// struct InMemory(HashMap<String, Vec<u8>>);
///
/// impl InMemory {
///     fn find(&self, what: &What) -> Result<&Vec<u8>, Fault> {
///         self.0.get(what.path().as_ref()).ok_or(Fault::Missing)
///     }
/// }
///
/// #[async_trait]
/// impl Source for InMemory {
///     fn name(&self) -> &str {
///         "memory"
///     }
///
///     async fn whole(&self, what: &What, limit: u64) -> Result<Vec<u8>, Fault> {
///         let bytes = self.find(what)?;
///         match bytes.len() as u64 > limit {
///             true => Err(Fault::OtherFile(format!("has {} bytes", bytes.len()))),
///             false => Ok(bytes.clone()),
///         }
///     }
///
///     async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault> {
///         let bytes = self.find(what)?;
///         if what.size() != Some(bytes.len() as u64) {
///             return Err(Fault::OtherFile(format!("has {} bytes", bytes.len())));
///         }
///         let part = bytes[range.start as usize..range.end as usize].to_vec();
///         Ok(Body::of(range.start, part))
///     }
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let source = InMemory(HashMap::from([("weighbridge/head.note".to_owned(), b"note".to_vec())]));
/// assert_eq!(source.whole(&What::Head, 99).await, Ok(b"note".to_vec()));
/// assert!(matches!(source.whole(&What::Head, 3).await, Err(Fault::OtherFile(_))));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// The name of the source for people, such as an address without secrets.
    fn name(&self) -> &str;

    /// Reads a small file, a head, as a whole. The source reads it anew each time, so that changes are seen.
    ///
    /// # Errors
    /// [`Fault`]; for a file longer than `limit` bytes [`Fault::OtherFile`], and no more than `limit` bytes are kept.
    async fn whole(&self, what: &What, limit: u64) -> Result<Vec<u8>, Fault>;

    /// Begins to read a range of a file whose length is known. `range` is never empty, and lies within that
    /// length. Returns when the source has answered, before the bytes have come.
    ///
    /// # Errors
    /// [`Fault`].
    async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault>;

    /// Does as [`open`](Self::open), for a member of a swarm that claims the range. A source that does not tell members apart
    /// passes the claim over, and need not implement this.
    ///
    /// # Errors
    /// [`Fault`]; [`Fault::HeldBack`] if another member is given the range now.
    async fn open_claimed(&self, what: &What, range: Range<u64>, _claim: &Claim) -> Result<Body, Fault> {
        self.open(what, range).await
    }

    /// The chunks that the source says it has; `None` if it does not say. A source without an inventory is asked for
    /// any chunk, and answers [`Fault::Missing`] if it does not have it.
    fn inventory(&self) -> Option<&Inventory> {
        None
    }

    /// The folder that the source reads, if that is a folder on this machine. A fetch removes nothing below it.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// The file that a source is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// `head.note`. Its length is not known in advance.
    Head,
    /// `files.jsonl`, of the signed length.
    FileList {
        /// The length in bytes.
        size: u64,
    },
    /// `tensors.jsonl`, of the signed length.
    TensorList {
        /// The length in bytes.
        size: u64,
    },
    /// `chunks.layer`, of the length that the file list says.
    Layers {
        /// The length in bytes.
        size: u64,
    },
    /// A file of the model.
    File {
        /// Its path in the model.
        path: EntryPath,
        /// Its root. A source that is addressed by content needs no path.
        root: FileRoot,
        /// Its signed length in bytes.
        size: u64,
    },
    /// A file of a [`Listing`], whose root nobody knows yet. A source that is addressed by content does not have it.
    Listed {
        /// Its path in the model.
        path: EntryPath,
        /// Its listed length in bytes.
        size: u64,
    },
}

impl What {
    /// The path, relative to the model's folder.
    ///
    /// ```
    /// use weighbridge_transfer::What;
    /// assert_eq!(What::Head.path(), "weighbridge/head.note");
    /// ```
    #[must_use]
    pub fn path(&self) -> Cow<'_, str> {
        match self {
            Self::File { path, .. } | Self::Listed { path, .. } => Cow::Borrowed(path.as_str()),
            metadata => Cow::Owned(format!("{}/{}", weighbridge_store::FOLDER, metadata.name())),
        }
    }

    /// The signed or listed length in bytes; `None` for a head.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Head => None,
            Self::FileList { size }
            | Self::TensorList { size }
            | Self::Layers { size }
            | Self::File { size, .. }
            | Self::Listed { size, .. } => Some(*size),
        }
    }

    /// The name for people: the path of a file, or the name of a metadata file.
    #[must_use]
    pub fn name(&self) -> &str {
        use weighbridge_store::{CHUNKS, FILES, HEAD, TENSORS};
        match self {
            Self::Head => HEAD,
            Self::FileList { .. } => FILES,
            Self::TensorList { .. } => TENSORS,
            Self::Layers { .. } => CHUNKS,
            Self::File { path, .. } | Self::Listed { path, .. } => path.as_str(),
        }
    }

    /// Whether this is metadata and not a file of the model.
    #[must_use]
    pub fn is_metadata(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Listed { .. })
    }
}

/// The bytes of a range, as they arrive.
pub struct Body {
    start: u64,
    bytes: BoxStream<'static, Result<Bytes, Fault>>,
    /// The fault with which the body has ended.
    ended: Option<Fault>,
}

impl Body {
    /// A body whose first byte lies at `start` in the file: at the beginning of the range, or before it if the source
    /// cannot begin there. The stream goes on to the end of the range, or ends with a fault. Bytes behind the end of
    /// the range are ignored.
    pub fn new(start: u64, bytes: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> Self {
        Self { start, bytes: bytes.fuse().boxed(), ended: None }
    }

    /// A body whose bytes are all in memory already.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mut body = weighbridge_transfer::Body::of(7, b"abc".to_vec());
    /// assert_eq!(body.start(), 7);
    /// assert_eq!(body.next().await.unwrap().unwrap(), b"abc".as_slice());
    /// assert_eq!(body.next().await, Ok(None));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of(start: u64, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(start, stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
    }

    /// The position in the file of the first byte. It lies before the range if the source knows no ranges.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The next bytes, in order and never empty; `None` at the end, and each time after that.
    ///
    /// # Errors
    /// [`Fault`], also if the source ends before it has given all that it promised. After a fault there are no more
    /// bytes, and each call returns the same fault.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        if let Some(fault) = &self.ended {
            return Err(fault.clone());
        }
        loop {
            match self.bytes.next().await {
                // A stream that is always ready would keep other tasks from running.
                Some(Ok(bytes)) if bytes.is_empty() => tokio::task::yield_now().await,
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(fault)) => return Err(self.ended.insert(fault).clone()),
                None => return Ok(None),
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("start", &self.start).finish_non_exhaustive()
    }
}

/// The chunks of files that a source says it has. The set grows while the source gains chunks, and never shrinks.
///
/// A fetch waits for a source whose inventory may grow. The wait ends when the inventory is [finished](Self::finish),
/// or when the source [leaves](Sources::leave).
///
/// # Example
/// ```
/// use weighbridge_transfer::{FileRoot, Inventory};
///
/// let (inventory, root) = (Inventory::default(), FileRoot::from_bytes([7; 32]));
/// inventory.add(root, 3..5);
/// assert!(inventory.has(&root, 4) && !inventory.has(&root, 5));
/// ```
#[derive(Debug)]
pub struct Inventory {
    files: Mutex<Files>,
    /// Notified of each change. The value tells whether the inventory is finished.
    changed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Files {
    /// The chunks of each file, and the version in which the last of them was added.
    chunks: HashMap<FileRoot, (RangeSet, u64)>,
    /// The number of additions so far.
    version: u64,
}

impl Default for Inventory {
    /// An empty inventory that may grow.
    fn default() -> Self {
        Self { files: Mutex::default(), changed: watch::Sender::new(false) }
    }
}

impl Inventory {
    /// Records that the source has these chunks of a file now, by position.
    pub fn add(&self, root: FileRoot, chunks: Range<u64>) {
        {
            let mut files = self.files();
            files.version += 1;
            let version = files.version;
            let (there, changed) = files.chunks.entry(root).or_default();
            there.insert(chunks);
            *changed = version;
        }
        self.changed.send_modify(|_| {});
    }

    /// Records that the source will gain no more chunks.
    pub fn finish(&self) {
        self.changed.send_replace(true);
    }

    /// Whether the source may gain more chunks.
    #[must_use]
    pub fn may_grow(&self) -> bool {
        !*self.changed.borrow()
    }

    /// Whether the source says that it has a chunk.
    #[must_use]
    pub fn has(&self, root: &FileRoot, chunk: u64) -> bool {
        let Some(end) = chunk.checked_add(1) else { return false };
        self.has_all(root, &(chunk..end))
    }

    /// Whether the source says that it has all of these chunks.
    pub(crate) fn has_all(&self, root: &FileRoot, chunks: &Range<u64>) -> bool {
        self.files().chunks.get(root).is_some_and(|(there, _)| there.contains_range(chunks))
    }

    /// All chunks of a file that the source says it has.
    pub(crate) fn chunks(&self, root: &FileRoot) -> RangeSet {
        self.files().chunks.get(root).map(|(chunks, _)| chunks.clone()).unwrap_or_default()
    }

    /// The files that have gained chunks after this version, each with all chunks that the source says it has; and the
    /// version of now. Versions count from 0, the empty inventory.
    pub(crate) fn since(&self, version: u64) -> (Vec<(FileRoot, RangeSet)>, u64) {
        let files = self.files();
        let changed = files.chunks.iter().filter(|(_, (_, changed))| *changed > version);
        (changed.map(|(root, (chunks, _))| (*root, chunks.clone())).collect(), files.version)
    }

    /// A receiver that is notified of each addition from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn an_ended_body_stays_ended_whatever_its_stream_does() {
        let pieces = [Some(Ok(Bytes::from_static(b"abc"))), None, Some(Ok(Bytes::from_static(b"more")))];
        let mut pieces = pieces.into_iter();
        let mut body = Body::new(0, stream::poll_fn(move |_| Poll::Ready(pieces.next().flatten())));
        let mut next = || body.next().now_or_never().unwrap();
        assert_eq!(next(), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!((next(), next()), (Ok(None), Ok(None)));

        let fault = Fault::Unreachable("broken".to_owned());
        let pieces = [Err(fault.clone()), Ok(Bytes::from_static(b"more"))];
        let mut body = Body::new(0, stream::iter(pieces));
        let mut next = || body.next().now_or_never().unwrap();
        assert_eq!((next(), next()), (Err(fault.clone()), Err(fault)));
    }

    #[test]
    fn an_inventory_takes_any_positions_and_has_only_those_that_were_added() {
        let (inventory, root) = (Inventory::default(), FileRoot::from_bytes([7; 32]));
        for run in [5..5, Range { start: 9, end: 3 }, u64::MAX..u64::MAX] {
            inventory.add(root, run);
        }
        for chunk in [0, 1, 5, 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX] {
            assert!(!inventory.has(&root, chunk), "{chunk}");
        }
        inventory.add(root, 1..u64::MAX);
        inventory.add(root, 2..4);
        for (chunk, has) in [(0, false), (1, true), (1 << 63, true), (u64::MAX - 1, true), (u64::MAX, false)]
        {
            assert_eq!(inventory.has(&root, chunk), has, "{chunk}");
        }
        assert!(inventory.may_grow());
        inventory.finish();
        inventory.add(root, 0..1);
        assert!(!inventory.may_grow() && inventory.has(&root, 0), "what comes later is there all the same");
    }
}
