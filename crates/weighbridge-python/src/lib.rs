//! The native half of the Python package `weighbridge`: trust, models, and tensor files whose every byte is verified before
//! it is in an array. The other half is in `python/weighbridge`; nothing here is meant to be called by anybody else.

use pyo3::prelude::*;

mod call;
mod cores;
mod failure;
mod model;
mod tensor_file;
mod trust;
mod verify;

/// The native half of weighbridge. Its names are no public interface.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::tensor_file::TensorFile;
    #[pymodule_export]
    use super::trust::{Trust, user_policy};

    #[pymodule_export]
    use super::model::{has_metadata, metadata_of};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
