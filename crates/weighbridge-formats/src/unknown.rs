//! A dtype that is missing in this version's tables.

use std::error::Error;
use std::fmt;

use weighbridge_manifest::{Coded, ErrorCode};

use crate::error::Excerpt;

/// A tensor whose dtype this version does not know, because the dtype is newer or belongs to a fork.
///
/// The file is not at fault. The size of such a tensor cannot be checked. So no tensor of the file is listed or
/// compared with a list; only the file's root covers its bytes.
///
/// Name and dtype come from the file and may have any content; they are cut and escaped ([`Excerpt`]).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownDtype {
    tensor: Excerpt,
    dtype: Written,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Written {
    Name(Excerpt),
    Number(u32),
}

impl UnknownDtype {
    pub(crate) fn of_safetensors(tensor: &str, dtype: &str) -> Self {
        Self { tensor: Excerpt::of(tensor), dtype: Written::Name(Excerpt::of(dtype)) }
    }

    pub(crate) fn of_gguf(tensor: &str, dtype: u32) -> Self {
        Self { tensor: Excerpt::of(tensor), dtype: Written::Number(dtype) }
    }

    /// The first tensor with the dtype, in the order of the header.
    #[must_use]
    pub fn tensor(&self) -> &Excerpt {
        &self.tensor
    }

    /// The dtype as written in the file: a name in safetensors files, a number in GGUF files.
    #[must_use]
    pub fn dtype(&self) -> String {
        match &self.dtype {
            Written::Name(name) => name.as_str().to_owned(),
            Written::Number(number) => number.to_string(),
        }
    }
}

impl Coded for UnknownDtype {
    /// 4108 or 4314. It gives a reason, and refuses no file.
    fn error_code(&self) -> ErrorCode {
        match self.dtype {
            Written::Name(_) => ErrorCode::SAFETENSORS_UNKNOWN_DTYPE,
            Written::Number(_) => ErrorCode::GGUF_UNKNOWN_DTYPE,
        }
    }
}

impl fmt::Display for UnknownDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = &self.tensor;
        match &self.dtype {
            Written::Name(name) => {
                write!(f, "tensor {tensor} has the dtype {name}, which this version does not know")
            }
            Written::Number(number) => {
                write!(f, "tensor {tensor} has the dtype {number}, which this version does not know")
            }
        }
    }
}

impl Error for UnknownDtype {}
