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
///
/// # Example
/// ```
/// use weighbridge_verify::{FileVerifier, Holding, tree::Layer};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (files, layers, content) = (&sample.list, &sample.layers, sample.bytes(0));
///
/// /// A model of one file in memory.
/// struct InMemory(Layer, Vec<u8>);
///
/// impl Holding for InMemory {
///     type Error = &'static str;
///
///     fn layer(&self, position: usize) -> Result<Layer, Self::Error> {
///         if position == 0 { Ok(self.0.clone()) } else { Err("no such file") }
///     }
///
///     fn read_chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), Self::Error> {
///         let at = usize::try_from(index).map_err(|_| "no such chunk")?;
///         let chunk = self.1.chunks(16_384).nth(at).filter(|_| position == 0).ok_or("no such chunk")?;
///         bytes.clear();
///         bytes.extend_from_slice(chunk);
///         Ok(())
///     }
/// }
///
/// let verifier = FileVerifier::from_layer_bytes(files, 0, layers)?;
/// let holding = InMemory(verifier.layer().clone(), content.to_vec());
/// let mut chunk = Vec::new();
/// holding.read_chunk(0, 2, &mut chunk)?;
/// assert!(verifier.accept(2, &chunk).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    fn read_chunk(&self, position: usize, index: u64, bytes: &mut Vec<u8>) -> Result<(), Self::Error>;
}
