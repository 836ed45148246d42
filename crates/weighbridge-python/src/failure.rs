//! Errors of the workspace as exceptions of Python.

use std::{fmt::Display, ops::Range};

use pyo3::{prelude::*, types::PyDict};
use weighbridge_store::{Coded, ErrorCode, ViewError};
use weighbridge_tree::ChunkError;

/// An error on its way to Python. It names the place as far as that is known.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ErrorCode,
    message: String,
    file: Option<String>,
    tensor: Option<String>,
    chunk: Option<u64>,
    range: Option<Range<u64>>,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), file: None, tensor: None, chunk: None, range: None }
    }

    /// The code and the sentence of an error.
    pub(crate) fn of(error: &(impl Coded + Display)) -> Self {
        Self::new(error.error_code(), error.to_string())
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::USAGE, message)
    }

    /// Adds something to the message.
    pub(crate) fn saying(mut self, more: &str) -> Self {
        self.message = format!("{}; {more}", self.message);
        self
    }

    pub(crate) fn is_refusal(&self) -> bool {
        self.code.is_refusal()
    }

    /// Names the file of the model.
    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// Names the tensor that was asked for.
    pub(crate) fn in_tensor(mut self, tensor: &str) -> Self {
        self.tensor = Some(tensor.to_owned());
        self
    }

    /// Names the chunk, and its bytes in the file.
    pub(crate) fn at_chunk(mut self, index: u64, range: Range<u64>) -> Self {
        (self.chunk, self.range) = (Some(index), Some(range));
        self
    }

    /// An error of a view, with the chunk that is bad.
    pub(crate) fn of_view(error: &ViewError) -> Self {
        let failure = Self::of(error);
        match error {
            ViewError::Chunk {
                fault: ChunkError::Mismatch { index, range } | ChunkError::WrongLength { index, range, .. },
                ..
            } => failure.at_chunk(*index, range.clone()),
            _ => failure,
        }
    }
}

impl From<Failure> for PyErr {
    /// Makes the exception in `weighbridge._errors`, which knows the classes.
    fn from(failure: Failure) -> Self {
        let Failure { code, message, file, tensor, chunk, range } = failure;
        Python::attach(|py| {
            let make = || -> PyResult<Bound<'_, PyAny>> {
                let place = PyDict::new(py);
                place.set_item("file", file)?;
                place.set_item("tensor", tensor)?;
                place.set_item("chunk", chunk)?;
                place.set_item("range", range.map(|range| (range.start, range.end)))?;
                let errors = py.import("weighbridge._errors")?;
                errors.getattr("of_native")?.call((code.get(), message, code.is_refusal()), Some(&place))
            };
            make().map_or_else(|error| error, Self::from_value)
        })
    }
}
