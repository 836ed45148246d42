//! The index of a sharded model: the shard of each tensor.
//!
//! Hubs and loaders find the files of a sharded model by a `model.safetensors.index.json` next to them. The content of
//! the index follows from the headers of the shards. It is read only to check that it agrees with them.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use weighbridge_manifest::{Coded, ErrorCode};

use crate::error::Excerpt;
use crate::json::{self, Cursor};

/// Whether the file at `path` is an index. Only the ending of the name decides, compared exactly.
#[must_use]
pub fn is_index(path: &str) -> bool {
    path.ends_with(".safetensors.index.json")
}

/// A well-formed index. It is not yet compared with the model: see [`Index::check`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Index {
    /// Pairs of tensor and file, sorted by tensor. Tensors are unique.
    weight_map: Vec<(String, String)>,
}

/// The result of looking for a tensor in the file in which an index places it.
// Exhaustive on purpose: there are no other results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// The model has no such file.
    NoFile,
    /// The model has the file, but the file does not hold the tensor.
    NoTensor,
    /// The file holds the tensor.
    Tensor,
}

impl Index {
    /// Reads the bytes of an index.
    ///
    /// `weight_map` must be there exactly once. All other keys are skipped, including `metadata`.
    ///
    /// # Errors
    /// [`IndexError`] with the code 4201, or 4204 for an index that is well-formed except for a repeated tensor.
    ///
    /// # Panics
    /// Never.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_INDEX {
            return Err(IndexError::TooLong);
        }
        let mut weight_map = read(bytes)?;
        weight_map.sort_unstable();
        let mut pairs = weight_map.iter().zip(weight_map.iter().skip(1));
        if let Some(((tensor, _), _)) = pairs.find(|((one, _), (next, _))| one == next) {
            return Err(IndexError::RepeatedTensor { tensor: Excerpt::of(tensor) });
        }
        let own = |(tensor, file): (Cow<'_, str>, Cow<'_, str>)| (tensor.into_owned(), file.into_owned());
        Ok(Self { weight_map: weight_map.into_iter().map(own).collect() })
    }

    /// Each tensor with the file that the index names for it, sorted by the bytes of the tensors' names.
    ///
    /// Files are written as in the index: relative to the folder of the index.
    pub fn weight_map(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.weight_map.iter().map(|(tensor, file)| (tensor.as_str(), file.as_str()))
    }

    /// Compares the index with the model: each named file must be in the model and hold its tensors.
    ///
    /// `index_path` is the index's own path in the model. `look_up` is called with a path in the model, with `/`
    /// between components, and a tensor's name. Paths are joined and compared as text, so `../x` or `./x` is never a
    /// file of a model.
    ///
    /// # Guarantee
    /// Every entry of the index is true. The index may be incomplete: a missing tensor is not an error.
    ///
    /// # Errors
    /// [`IndexError`] with the code 4202 or 4203, the first in the order of [`weight_map`](Self::weight_map).
    pub fn check(
        &self,
        index_path: &str,
        mut look_up: impl FnMut(&str, &str) -> Lookup,
    ) -> Result<(), IndexError> {
        let folder = index_path.rsplit_once('/').map(|(folder, _)| folder);
        let mut path = String::new();
        for (tensor, file) in self.weight_map() {
            path.clear();
            if let Some(folder) = folder {
                path.push_str(folder);
                path.push('/');
            }
            path.push_str(file);
            match look_up(&path, tensor) {
                Lookup::Tensor => {}
                Lookup::NoFile => {
                    return Err(IndexError::NoFile { tensor: Excerpt::of(tensor), file: Excerpt::of(&path) });
                }
                Lookup::NoTensor => {
                    return Err(IndexError::NoTensor {
                        tensor: Excerpt::of(tensor),
                        file: Excerpt::of(&path),
                    });
                }
            }
        }
        Ok(())
    }
}

type Placed<'a> = (Cow<'a, str>, Cow<'a, str>);

fn read(bytes: &[u8]) -> Result<Vec<Placed<'_>>, IndexError> {
    let mut cursor = Cursor::new(bytes, 0)?;
    let mut keys = Vec::new();
    let mut weight_map = None;
    let mut is_first = true;
    cursor.expect("{", "`{`")?;
    while let Some(key) = cursor.next_name(&mut is_first)? {
        if key == "weight_map" && weight_map.is_none() {
            weight_map = Some(read_weight_map(&mut cursor)?);
        } else {
            cursor.skip_value(1)?;
        }
        keys.push(key);
    }
    cursor.expect_end()?;
    keys.sort_unstable();
    let mut pairs = keys.iter().zip(keys.iter().skip(1));
    if let Some((key, _)) = pairs.find(|(one, next)| one == next) {
        return Err(IndexError::RepeatedKey { key: Excerpt::of(key) });
    }
    weight_map.ok_or(IndexError::NoWeightMap)
}

fn read_weight_map<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Placed<'a>>, IndexError> {
    let mut weight_map = Vec::new();
    let mut is_first = true;
    cursor.expect("{", "`weight_map` as an object")?;
    while let Some(tensor) = cursor.next_name(&mut is_first)? {
        if weight_map.len() == MAX_ENTRIES {
            return Err(IndexError::TooManyTensors);
        }
        weight_map.push((tensor, cursor.string()?));
    }
    Ok(weight_map)
}

/// The reason why an index was refused.
///
/// Names come from the index and may have any content; they are cut and escaped ([`Excerpt`]).
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IndexError {
    /// The index is longer than 256 MiB (4201).
    TooLong,
    /// The index is not one JSON object of the expected form (4201).
    NotJson {
        /// The first byte that is not allowed in its place.
        at: u64,
        /// A description of the allowed bytes.
        expected: &'static str,
    },
    /// A key of the index occurs twice (4201).
    RepeatedKey {
        /// The key.
        key: Excerpt,
    },
    /// The index has no `weight_map` (4201).
    NoWeightMap,
    /// The index has more than 2^24 tensors (4201).
    TooManyTensors,
    /// The model has no such file (4202).
    NoFile {
        /// A tensor that should be in the file.
        tensor: Excerpt,
        /// The file's path in the model.
        file: Excerpt,
    },
    /// The file does not hold the tensor (4203).
    NoTensor {
        /// The tensor.
        tensor: Excerpt,
        /// The file's path in the model.
        file: Excerpt,
    },
    /// A tensor occurs twice (4204).
    RepeatedTensor {
        /// The tensor.
        tensor: Excerpt,
    },
}

impl Coded for IndexError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::TooLong
            | Self::NotJson { .. }
            | Self::RepeatedKey { .. }
            | Self::NoWeightMap
            | Self::TooManyTensors => ErrorCode::INDEX_MALFORMED,
            Self::NoFile { .. } => ErrorCode::INDEX_NO_FILE,
            Self::NoTensor { .. } => ErrorCode::INDEX_NO_TENSOR,
            Self::RepeatedTensor { .. } => ErrorCode::INDEX_REPEATED_TENSOR,
        }
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the index is longer than {MAX_INDEX} bytes"),
            Self::NotJson { at, expected } => {
                write!(f, "the index is malformed at byte {at}: expected {expected}")
            }
            Self::RepeatedKey { key } => write!(f, "the index has the key {key} twice"),
            Self::NoWeightMap => write!(f, "the index has no `weight_map`"),
            Self::TooManyTensors => write!(f, "the index names more than {MAX_ENTRIES} tensors"),
            Self::NoFile { tensor, file } => {
                write!(
                    f,
                    "the index places tensor {tensor} in the file {file}, which the model does not have"
                )
            }
            Self::NoTensor { tensor, file } => {
                write!(f, "the index places tensor {tensor} in the file {file}, which does not hold it")
            }
            Self::RepeatedTensor { tensor } => write!(f, "the index names tensor {tensor} twice"),
        }
    }
}

impl Error for IndexError {}

impl From<json::Fault> for IndexError {
    fn from(fault: json::Fault) -> Self {
        Self::NotJson { at: fault.at, expected: fault.expected }
    }
}

/// 256 MiB, which is sixteen bytes for each of the most tensors that a list can hold.
pub const MAX_INDEX: u64 = 1 << 28;
const MAX_ENTRIES: usize = 1 << 24;
