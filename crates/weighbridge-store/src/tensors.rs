//! Compares a tensor list with the header of the file itself.

use std::{collections::BTreeMap, fmt};

use weighbridge_formats::TensorSpan;
use weighbridge_manifest::{TensorEntry, shown_beginning};
use weighbridge_tree::{Coded, ErrorCode};

/// A difference between a tensor list and the verified header of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFault {
    /// The tensor's name. A name that only the header has can be any text.
    pub tensor: String,
    /// The property in which they differ.
    pub difference: Difference,
}

/// The property in which a listed tensor differs from a verified header, or from verified bytes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The tensor is listed, and the header does not have it.
    NotInHeader,
    /// The header has the tensor, and the list does not.
    NotListed,
    /// The dtypes differ.
    Dtype,
    /// The shapes differ.
    Shape,
    /// The offsets differ.
    Offset,
    /// The sizes differ.
    Size,
    /// The listed hash differs from the hash of the verified bytes.
    Hash,
}

/// Returns the first difference, by tensor name, between the list and the verified header of a file.
///
/// # Example
/// ```
/// use weighbridge_formats::{Format, Parsed, parse};
/// use weighbridge_store::{Difference, compare};
/// # use weighbridge_testkit::{Draft, safetensors};
/// # let file = safetensors(&[("bias", &[1; 8]), ("weight", &[2; 64])]);
/// # let model = [("model.safetensors", file.clone())];
/// # let tensors = Draft::of(&model, weighbridge_verify::tree::ChunkSize::MIN).sign().tensors.unwrap();
///
/// // `file` is the verified beginning of the file, up to the end of its header at least.
/// let Parsed::Tensors { tensors: mut found, .. } = parse(Format::Safetensors, &file, file.len().try_into()?)? else {
///     return Err("more of the file is needed, or a dtype is unknown".into());
/// };
/// let listed = tensors.of_file("model.safetensors");
/// assert_eq!(compare(listed, &found), None);
///
/// // A list that calls other bytes by a tensor's name is found out.
/// found[1].offset -= 8;
/// let fault = compare(listed, &found).ok_or("they are the same")?;
/// assert_eq!((fault.tensor.as_str(), fault.difference), ("weight", Difference::Offset));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn compare(listed: &[TensorEntry], found: &[TensorSpan]) -> Option<TensorFault> {
    let mut found: BTreeMap<&str, &TensorSpan> = found.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut faults = Vec::new();
    for entry in listed {
        let name = entry.name.as_str();
        let difference = match found.remove(name) {
            None => Some(Difference::NotInHeader),
            Some(span) => difference(entry, span),
        };
        faults.extend(difference.map(|difference| (name, difference)));
    }
    faults.extend(found.into_keys().map(|name| (name, Difference::NotListed)));
    let (name, difference) = faults.into_iter().min_by_key(|(name, _)| *name)?;
    Some(TensorFault { tensor: name.to_owned(), difference })
}

fn difference(entry: &TensorEntry, span: &TensorSpan) -> Option<Difference> {
    if entry.dtype.as_str() != span.dtype {
        Some(Difference::Dtype)
    } else if entry.shape != span.shape {
        Some(Difference::Shape)
    } else if entry.offset != span.offset {
        Some(Difference::Offset)
    } else if entry.size != span.size {
        Some(Difference::Size)
    } else {
        None
    }
}

impl Coded for TensorFault {
    fn error_code(&self) -> ErrorCode {
        match self.difference {
            Difference::NotInHeader => ErrorCode::TENSOR_NOT_IN_HEADER,
            Difference::NotListed => ErrorCode::TENSOR_NOT_LISTED,
            Difference::Dtype => ErrorCode::TENSOR_DTYPE,
            Difference::Shape => ErrorCode::TENSOR_SHAPE,
            Difference::Offset => ErrorCode::TENSOR_OFFSET,
            Difference::Size => ErrorCode::TENSOR_SIZE,
            Difference::Hash => ErrorCode::TENSOR_MISMATCH,
        }
    }
}

impl fmt::Display for TensorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shown_beginning(&self.tensor, 80);
        match self.difference {
            Difference::NotInHeader => write!(f, "tensor '{name}' is listed, and not in the file's header"),
            Difference::NotListed => write!(f, "tensor '{name}' is in the file's header, and not listed"),
            Difference::Dtype => write!(f, "tensor '{name}' is listed with another dtype than its header's"),
            Difference::Shape => write!(f, "tensor '{name}' is listed with another shape than its header's"),
            Difference::Offset => write!(f, "tensor '{name}' is listed at another offset than its header's"),
            Difference::Size => write!(f, "tensor '{name}' is listed with another size than its header's"),
            Difference::Hash => write!(f, "tensor '{name}' is listed with the hash of other bytes"),
        }
    }
}

impl std::error::Error for TensorFault {}
