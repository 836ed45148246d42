//! A dtype that the tables of this version do not have.

use std::fmt;

use crate::error::Excerpt;

/// A tensor of a dtype that this version does not know: one that is newer than it, or that only a fork has.
///
/// Nothing is wrong with the file. How long such a tensor has to be cannot be told, so that no tensor of the file is
/// listed, and none compared with a list: the file's bytes are covered by its root alone.
///
/// Name and dtype come from the file and may be anything; they are cut and escaped ([`Excerpt`]).
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

    /// The first tensor that has it, in the order of the header.
    #[must_use]
    pub fn tensor(&self) -> &Excerpt {
        &self.tensor
    }

    /// The dtype as the file writes it: a name in safetensors files, a number in GGUF files.
    #[must_use]
    pub fn dtype(&self) -> String {
        match &self.dtype {
            Written::Name(name) => name.as_str().to_owned(),
            Written::Number(number) => number.to_string(),
        }
    }

    /// The stable number in `spec/error-codes.md` (4108, 4314). It gives a reason and refuses no file.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self.dtype {
            Written::Name(_) => 4108,
            Written::Number(_) => 4314,
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
