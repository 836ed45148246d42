//! A tensor list against the header that the file itself has.

use std::{collections::BTreeMap, fmt};

use weighbridge_formats::TensorSpan;
use weighbridge_manifest::{TensorEntry, shown_beginning};

/// A difference between a tensor list and the verified header of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFault {
    /// The tensor's name; one that only a header has can be any text.
    pub tensor: String,
    /// In what they differ.
    pub difference: Difference,
}

/// In what a listed tensor and a verified header, or verified bytes, differ.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The header does not have it.
    NotInHeader,
    /// The list does not have it.
    NotListed,
    /// Another dtype.
    Dtype,
    /// Another shape.
    Shape,
    /// Another offset.
    Offset,
    /// Another size.
    Size,
    /// The listed hash is of other bytes.
    Hash,
}

/// The first difference between what is listed for a file and what its verified header says, tensors by name.
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

impl TensorFault {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self.difference {
            Difference::NotInHeader => 2301,
            Difference::NotListed => 2302,
            Difference::Dtype => 2303,
            Difference::Shape => 2304,
            Difference::Offset => 2305,
            Difference::Size => 2306,
            Difference::Hash => 2307,
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
