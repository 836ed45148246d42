//! Tensors that models of the cache have already.

use std::{collections::HashMap, sync::Arc};

use weighbridge_manifest::VerifiedTensorList;
use weighbridge_serve::Models;
use weighbridge_transfer::{Nearby, NearbyTensor, NearbyTensors};

/// The models of the cache, for a fetch that may take tensors from them.
#[derive(Debug)]
pub(crate) struct Cached(pub(crate) Arc<Models>);

impl Nearby for Cached {
    /// # Cost
    /// A step of some tens of nanoseconds for each tensor of each model in the cache; their lists are in memory.
    fn find(&self, wanted: &VerifiedTensorList) -> NearbyTensors {
        let mut open: HashMap<[u8; 32], u64> =
            wanted.entries().iter().map(|tensor| (*tensor.hash.as_bytes(), tensor.size)).collect();
        let mut found = NearbyTensors::new();
        for (view, tensors) in self.0.with_tensors() {
            for tensor in tensors.entries() {
                if open.is_empty() {
                    return found;
                }
                let hash = tensor.hash.as_bytes();
                if open.get(hash) == Some(&tensor.size)
                    && let Some((file, _)) = view.files().find(tensor.file.as_str())
                {
                    open.remove(hash);
                    found
                        .insert(*hash, NearbyTensor { view: Arc::clone(&view), file, offset: tensor.offset });
                }
            }
        }
        found
    }
}
