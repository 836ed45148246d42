//! Tensors of other releases on this machine.

use std::{collections::BTreeMap, fmt, sync::Arc};

use weighbridge_manifest::VerifiedTensorList;
use weighbridge_store::ModelView;

/// Knows the releases that lie on this machine, so that a fetch need not ask for tensors that they have: those of an earlier
/// revision, or of the model from which the wanted one was tuned.
///
/// # Guarantee
/// What is found is read and judged as the bytes of any source. A wrong answer costs the reading, and the bytes are then asked
/// for as if there had been none.
pub trait Nearby: fmt::Debug + Send + Sync {
    /// The places of these tensors, as many as are known. Called once in a fetch, before any file is looked for, and may block.
    fn find(&self, wanted: &VerifiedTensorList) -> NearbyTensors;
}

/// Tensors of other releases, by the bytes of their hashes.
pub type NearbyTensors = BTreeMap<[u8; 32], NearbyTensor>;

/// A tensor in a file of another release.
#[derive(Clone, Debug)]
pub struct NearbyTensor {
    /// The files of that release.
    pub view: Arc<ModelView>,
    /// The position of the file in its list.
    pub file: usize,
    /// The offset of the tensor's first byte in that file.
    pub offset: u64,
}
