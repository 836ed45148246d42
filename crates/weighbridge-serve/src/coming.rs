//! Releases that are served while they come: whoever runs the server fetches them for the clients that ask.

use std::{fmt, ops::Range, path::Path, pin::Pin, sync::Arc};

use weighbridge_manifest::{ModelName, VerifiedFileList, VerifiedTensorList};
use weighbridge_store::ViewError;
use weighbridge_tree::Layer;

/// A release whose files are on their way.
///
/// # Contract
/// Only accepted chunks are here, and they are judged again in the memory into which they are read (rule 10). What is here stays
/// here for as long as anybody keeps this.
pub trait Coming: fmt::Debug + Send + Sync {
    /// The folder in which the release will be served when it is complete.
    fn folder(&self) -> &Path;

    /// The bytes of `head.note`.
    fn note(&self) -> &[u8];

    /// The list of files.
    fn files(&self) -> &Arc<VerifiedFileList>;

    /// The list of tensors, if the release has one.
    fn tensors(&self) -> Option<&Arc<VerifiedTensorList>>;

    /// The accepted layer of a file.
    ///
    /// # Errors
    /// It has not come yet.
    fn layer(&self, file: usize) -> Result<Layer, ViewError>;

    /// Whether these bytes of a file are here.
    fn has(&self, file: usize, bytes: &Range<u64>) -> bool;

    /// Returns once the layers of these files are here, or will not come.
    fn wait_for_layers(&self, files: Range<usize>) -> Waiting;

    /// Asks for these bytes of a file before others, in order, for as long as the wish is kept.
    fn wish(&self, file: usize, bytes: &Range<u64>) -> Wished;

    /// Returns once these bytes of a file are here, or will not come.
    fn wait(&self, file: usize, bytes: Range<u64>) -> Waiting;

    /// Reads and judges bytes of a file that are here. Both ends are ends of chunks. Blocks on the disk.
    ///
    /// # Errors
    /// They are not here, cannot be read, or are not the signed ones any more.
    fn fill(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<(), ViewError>;
}

/// Keeps a wish until it is dropped.
pub type Wished = Box<dyn Send + Sync>;

/// The wait for bytes that come.
pub type Waiting = Pin<Box<dyn Future<Output = Result<(), ViewError>> + Send + Sync>>;

/// The work of a [`Supplier`].
pub type Supplying<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gets models that a server does not have when somebody asks for them.
pub trait Supplier: fmt::Debug + Send + Sync {
    /// Returns once the model is published, if only as [coming](crate::Models::publish_coming). It is called for each request for a
    /// model that is not published: many may ask for the same one at once.
    fn supply<'a>(&'a self, name: &'a ModelName) -> Supplying<'a, Result<(), NoSupply>>;

    /// Hears of each request for a model that is published, before it is answered. It must not block.
    fn asked(&self, _name: &ModelName) {}

    /// Ends its work, and makes durable what has come. It is called once, when nobody asks any more.
    fn end(&self) -> Supplying<'_, ()>;
}

/// The reason why a model is not supplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSupply {
    /// It is not to be had: nobody is configured to have a model of this name.
    Unknown,
    /// It may be to be had later.
    NotNow {
        /// The seconds after which it is worth asking again.
        retry_after: u32,
        /// The reason, in a sentence without a full stop.
        message: String,
    },
    /// Those who are to have it do not, or what they have is refused.
    Refused {
        /// The reason, in a sentence without a full stop.
        message: String,
    },
}
