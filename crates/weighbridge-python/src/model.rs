//! An opened model: its head is believed, its lists are those that the head binds, and no weight is read yet.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use pyo3::prelude::*;
use weighbridge_manifest::{Expectation, ModelName, Time};
use weighbridge_store::{HEAD, Metadata, OpenModel};

use weighbridge_tree::FileRoot;

use crate::{
    failure::{Failure, Result},
    tensor_file::TensorFile,
    trust::{Trust, head_id},
    verify::{self, Verified},
};

/// A model folder whose head was verified. Any number of threads may use it.
#[pyclass(frozen, module = "weighbridge._native")]
pub(crate) struct Model(Arc<Opened>);

pub(crate) struct Opened {
    pub(crate) folder: PathBuf,
    pub(crate) metadata: Metadata,
    pub(crate) opened: OpenModel,
}

#[pymethods]
impl Model {
    /// Opens a model folder. `name` and `head` say which model is meant; one of the two is needed, unless the trust names a head.
    #[staticmethod]
    #[pyo3(signature = (folder, trust, *, meta=None, name=None, head=None))]
    fn open(
        py: Python<'_>,
        folder: PathBuf,
        trust: &Trust,
        meta: Option<PathBuf>,
        name: Option<&str>,
        head: Option<&str>,
    ) -> Result<Self> {
        let mut expected = Expectation::any();
        if let Some(name) = name {
            expected = expected.named(ModelName::parse(name).map_err(|error| Failure::of(&error))?);
        }
        let head = head.map(head_id).transpose()?.or(trust.head);
        if let Some(head) = head {
            expected = expected.head(head);
        }
        if name.is_none() && head.is_none() {
            return Err(Failure::usage(
                "which model is meant was not said: pass name='ORG/MODEL' or head='ID'",
            ));
        }
        py.detach(|| {
            let metadata = meta.map_or_else(|| Metadata::of_model(&folder), Metadata::at);
            let opened = OpenModel::open(&folder, &metadata, &trust.policy, &expected, now());
            let opened = opened.map_err(|error| Failure::of(&error))?;
            Ok(Self(Arc::new(Opened { folder, metadata, opened })))
        })
    }

    /// The model's name, as its publisher wrote it into the head.
    #[getter]
    fn name(&self) -> String {
        self.0.opened.view.files().head().head().name.to_string()
    }

    #[getter]
    fn revision(&self) -> u64 {
        self.0.opened.view.files().head().head().revision
    }

    #[getter]
    fn head(&self) -> String {
        self.0.opened.view.files().head().id().to_string()
    }

    /// The names of the signers that the policy counts; none for a head that is trusted by its id.
    #[getter]
    fn signers(&self) -> Vec<String> {
        let signers = self.0.opened.view.files().head().signers();
        signers.iter().map(|signer| signer.name.as_str().to_owned()).collect()
    }

    /// Whether the list has a file of this path.
    fn has(&self, path: &str) -> bool {
        self.0.opened.view.files().find(path).is_some()
    }

    /// The path of the listed file that has exactly these bytes; None if no file has.
    fn file_of(&self, py: Python<'_>, bytes: &[u8]) -> Option<String> {
        let root = py.detach(|| FileRoot::of(bytes));
        let entries = self.0.opened.view.files().entries();
        entries.iter().find(|entry| entry.root == root).map(|entry| entry.path.as_str().to_owned())
    }

    /// The number of chunks and of bytes that were read and hashed so far.
    fn reads(&self) -> (u64, u64) {
        let reads = self.0.opened.view.reads();
        (reads.chunks, reads.bytes)
    }

    /// Opens a tensor file. Its header is verified, and compared with the tensor list.
    fn file(&self, py: Python<'_>, path: &str) -> Result<TensorFile> {
        py.detach(|| TensorFile::open(Arc::clone(&self.0.opened.view), self.0.opened.by_name.as_ref(), path))
    }

    /// Reads and verifies all files, on all cores. `progress` is called now and then with the bytes that were read and those of
    /// all files.
    #[pyo3(signature = (*, tensors=false, allow_extra=false, progress=None))]
    fn verify(
        &self,
        py: Python<'_>,
        tensors: bool,
        allow_extra: bool,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Verified> {
        verify::run(py, &self.0, tensors, allow_extra, progress)
    }
}

/// The folder of a model's metadata, which need not be there.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "what Python gives is taken by value")]
pub(crate) fn metadata_of(folder: PathBuf) -> PathBuf {
    Metadata::of_model(&folder).folder().to_owned()
}

/// Whether a folder is that of a model with a head.
#[pyfunction]
pub(crate) fn has_metadata(folder: PathBuf) -> bool {
    metadata_of(folder).join(HEAD).is_file()
}

fn now() -> Option<Time> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Time::from_unix(i64::try_from(since.as_secs()).ok()?)
}
