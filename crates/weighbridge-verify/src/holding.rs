//! The source of a model's bytes for a node that answers audits or makes slices.

use alloc::vec::Vec;

use weighbridge_tree::Layer;

/// A model as a node holds it, to make slices and answer audits: accepted layers, and chunks by position.
///
/// Files are counted in the order of the file list, chunks within their file, both from 0. The functions that use a
/// holding check all layers and chunks from it, so a node never sends anything that the other side must refuse.
///
/// Both methods take `&self`: a holding that is [`Sync`] answers requests from many threads at once, and each request
/// gets what it would get alone.
pub trait Holding {
    /// The reason why a layer or a chunk is not there.
    type Error;

    /// The accepted layer of the file at `position`. A file of at most one chunk has a layer without values.
    ///
    /// # Errors
    /// The holding's own errors; also if no layer is published.
    fn layer(&self, position: usize) -> Result<Layer, Self::Error>;

    /// Replaces the content of `bytes` by chunk `index` of the file at `position`.
    ///
    /// # Errors
    /// The holding's own errors; also if the file ends too early.
    fn chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), Self::Error>;
}
