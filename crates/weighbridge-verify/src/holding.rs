//! Where a node that proves something takes a model's bytes from.

use alloc::vec::Vec;

use weighbridge_tree::Layer;

/// A model as a node holds it, to make slices and answer audits: accepted layers, and chunks by position.
///
/// Files are counted in the order of the file list, chunks within their file, both from 0. What a holding gives is
/// checked by those who use it, so that a node never sends what the other side must refuse.
pub trait Holding {
    /// Why a layer or a chunk is not there.
    type Error;

    /// The accepted layer of the file at `position`, one without values for a file of at most one chunk.
    ///
    /// # Errors
    /// Those of the holding; also if no layer is published.
    fn layer(&mut self, position: usize) -> Result<Layer, Self::Error>;

    /// Replaces what is in `bytes` by chunk `index` of the file at `position`.
    ///
    /// # Errors
    /// Those of the holding; also if the file ends too early.
    fn chunk(&mut self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), Self::Error>;
}
