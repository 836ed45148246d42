//! A model in several GGUF files, each a complete GGUF file: `model-00001-of-00003.gguf` and so on.
//!
//! The header of each part states the number of the part and the number of parts. Loaders go by the names of the files.
//! So names and headers have to agree, and every part has to be there. Rules S1 to S5 of `spec/gguf.md`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use weighbridge_manifest::{Coded, ErrorCode};

use crate::error::Excerpt;

/// A header's claim about the split to which its file belongs. The claim is not yet compared with other files: see
/// [`check`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Split {
    /// The number of this part, counted from 0; below `count`.
    pub number: u16,
    /// The number of parts, at least 2.
    pub count: u16,
    /// The number of tensors in all parts together; `None` if the header does not state it.
    pub tensors: Option<u32>,
}

/// One GGUF file of a model.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// The file's path in the model.
    pub path: &'a str,
    /// The header's claim about the file's place in a split.
    pub says: Says,
    /// The names of the file's tensors. If the header was not read, an empty list means nothing.
    pub tensors: Vec<&'a str>,
}

/// The known place of a file in a split.
// Exhaustive on purpose: there are no other answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Says {
    /// The header says that the file is whole.
    Whole,
    /// The header says that the file is this part.
    Part(Split),
    /// The header was not read, because the file comes from an earlier release in which it was compared.
    Unread,
}

/// Compares the GGUF files of a model with each other. `parts` are all of them, sorted by the bytes of their paths.
///
/// # Guarantee
/// Every file that claims to be a part has the name of that part. All parts of its split are there and make the same
/// claims. No two of them have a tensor in common, and together they have the claimed number of tensors.
///
/// # Errors
/// [`SplitRefused`], the first in the order of `spec/gguf.md`.
///
/// # Panics
/// Never.
///
/// # Cost
/// A sort of the tensor names of each split.
pub fn check(parts: &[Part<'_>]) -> Result<(), SplitRefused> {
    for (file, part) in parts.iter().enumerate() {
        if let Says::Part(split) = part.says
            && stem(part.path, split).is_none()
        {
            let name = Excerpt::of(&name("", split.number, split.count));
            return Err(SplitRefused { file, error: SplitError::Name { name } });
        }
    }
    let mut checked = BTreeSet::new();
    for (file, part) in parts.iter().enumerate() {
        let Says::Part(split) = part.says else { continue };
        let stem = stem(part.path, split).unwrap_or_default();
        if checked.insert((stem, split.count)) {
            together(parts, stem, split).map_err(|error| SplitRefused { file, error })?;
        }
    }
    Ok(())
}

/// Checks all parts of one split (S2 to S5).
fn together(parts: &[Part<'_>], stem: &str, split: Split) -> Result<(), SplitError> {
    let mut names = Vec::new();
    let mut all_named = true;
    for number in 0..split.count {
        let path = name(stem, number, split.count);
        let found = parts.binary_search_by(|part| part.path.cmp(&path)).ok().and_then(|at| parts.get(at));
        let part = found.ok_or_else(|| SplitError::Missing { part: Excerpt::of(&path) })?;
        let agrees = match part.says {
            // The part's number was already compared with its name.
            Says::Part(other) => (other.count, other.tensors) == (split.count, split.tensors),
            Says::Whole => false,
            Says::Unread => true,
        };
        if !agrees {
            return Err(SplitError::Disagrees { part: Excerpt::of(&path) });
        }
        // An unread header may name tensors although none is listed.
        all_named &= part.says != Says::Unread || !part.tensors.is_empty();
        names.extend(part.tensors.iter().copied());
    }
    names.sort_unstable();
    let mut pairs = names.iter().zip(names.iter().skip(1));
    if let Some((tensor, _)) = pairs.find(|(one, next)| one == next) {
        return Err(SplitError::RepeatedTensor { tensor: Excerpt::of(tensor) });
    }
    let found = u64::try_from(names.len()).unwrap_or(u64::MAX);
    match split.tensors {
        Some(expected) if all_named && u64::from(expected) != found => {
            Err(SplitError::Tensors { expected, found })
        }
        _ => Ok(()),
    }
}

/// The path without the part's suffix; `None` if the path has no such suffix or another part's.
fn stem(path: &str, split: Split) -> Option<&str> {
    path.strip_suffix(&name("", split.number, split.count))
}

fn name(stem: &str, number: u16, count: u16) -> String {
    format!("{stem}-{:05}-of-{count:05}.gguf", u32::from(number).saturating_add(1))
}

/// The reason why the GGUF files of a model do not belong together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SplitRefused {
    /// The index in `parts` of the file that claims to be a part: the first of its split.
    pub file: usize,
    /// The fault.
    pub error: SplitError,
}

/// The fault of a split.
///
/// Names come from files and may have any content; they are cut and escaped ([`Excerpt`]).
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SplitError {
    /// The name of a part differs from its header (4401).
    Name {
        /// The required ending of the part's path.
        name: Excerpt,
    },
    /// The model lacks a part (4402).
    Missing {
        /// The path of the part.
        part: Excerpt,
    },
    /// A part makes another claim about the split (4403).
    Disagrees {
        /// The path of the part.
        part: Excerpt,
    },
    /// Two parts have a tensor of the same name (4404).
    RepeatedTensor {
        /// The name.
        tensor: Excerpt,
    },
    /// The number of tensors in the parts is not the claimed one (4405).
    Tensors {
        /// The claimed number.
        expected: u32,
        /// The number found.
        found: u64,
    },
}

impl Coded for SplitError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Name { .. } => ErrorCode::SPLIT_PART_NAME,
            Self::Missing { .. } => ErrorCode::SPLIT_PART_MISSING,
            Self::Disagrees { .. } => ErrorCode::SPLIT_CONTRADICTION,
            Self::RepeatedTensor { .. } => ErrorCode::SPLIT_REPEATED_TENSOR,
            Self::Tensors { .. } => ErrorCode::SPLIT_TENSOR_COUNT,
        }
    }
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => write!(f, "by its header the name of this part should end in {name}"),
            Self::Missing { part } => write!(f, "the split has a part {part}, which the model does not have"),
            Self::Disagrees { part } => write!(f, "the part {part} says something else about the split"),
            Self::RepeatedTensor { tensor } => write!(f, "two parts of the split have a tensor {tensor}"),
            Self::Tensors { expected, found } => {
                write!(f, "the parts of the split have {found} tensors, by their headers {expected}")
            }
        }
    }
}

impl Error for SplitError {}

impl fmt::Display for SplitRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for SplitRefused {}
