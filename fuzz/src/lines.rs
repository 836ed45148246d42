//! Lines of lists, as another JSON library reads them.

use serde::{Deserialize, Serialize};
use weighbridge_manifest::{Dtype, EntryPath, TensorName, tree::FileRoot};

/// The bound of all numbers, exclusive.
pub const BELOW: u64 = 1 << 53;

/// A line of a file list. It is canonical if the JSON library writes the same bytes.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileLine {
    pub file: String,
    pub size: u64,
    pub blake3: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TensorLine {
    pub tensor: String,
    pub file: String,
    pub dtype: String,
    pub shape: Vec<u64>,
    pub offset: u64,
    pub size: u64,
    pub blake3: String,
}

fn is_hash(text: &str) -> bool {
    FileRoot::from_hex(text).is_ok()
}

fn is_canonical<T: Serialize>(value: &T, line: &str) -> bool {
    line.len() <= 8192 && serde_json::to_string(value).is_ok_and(|written| written == line)
}

impl FileLine {
    pub fn read(line: &str) -> Option<Self> {
        let value: Self = serde_json::from_str(line).ok()?;
        let good = is_canonical(&value, line)
            && EntryPath::parse(&value.file).is_ok()
            && value.size < BELOW
            && is_hash(&value.blake3)
            && value.sha256.as_deref().is_none_or(is_hash);
        good.then_some(value)
    }
}

impl TensorLine {
    pub fn read(line: &str) -> Option<Self> {
        let value: Self = serde_json::from_str(line).ok()?;
        let good = is_canonical(&value, line)
            && TensorName::parse(&value.tensor).is_ok()
            && EntryPath::parse(&value.file).is_ok()
            && Dtype::parse(&value.dtype).is_some()
            && value.shape.len() <= 16
            && value.shape.iter().chain([&value.offset, &value.size]).all(|number| *number < BELOW)
            && is_hash(&value.blake3);
        good.then_some(value)
    }
}
