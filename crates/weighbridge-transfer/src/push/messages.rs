//! The messages of a push (`spec/push.md`): what a receiver says of an upload.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The version of the protocol, which is also in the paths.
pub const PUSH_VERSION: u32 = 1;

/// The state of an upload, as its receiver tells it. A sender believes no number of it that signed data contradict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushState {
    /// [`PUSH_VERSION`].
    pub version: u32,
    /// The vkey line of the receiver, by its own word: a sender that knows another one need not send anything.
    #[serde(default)]
    pub receiver: String,
    /// The next need of the upload.
    pub needs: PushNeeds,
    /// The bytes of all chunks of the model. Files with the same content count once. 0 before the lists have come.
    pub wanted: u64,
    /// Bytes of chunks that came over connections, the same ones each time that they came.
    pub received: u64,
    /// Bytes of chunks that were judged good and written.
    pub verified: u64,
    /// Bytes of verified chunks that are synced.
    pub durable: u64,
    /// Whether the receiver still looks for chunks that it has already.
    pub looking: bool,
    /// The work of the receiver, where the upload waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doing: Option<PushWork>,
    /// The seconds after which the upload is given up if no byte comes.
    pub expires_in: u64,
}

/// The next thing that an upload needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PushNeeds {
    /// The file list, and then the tensor list if there is one.
    #[default]
    Lists,
    /// The chunk layers.
    Layers,
    /// Chunks.
    Chunks,
    /// Nothing more: all is verified and durable, and can be published.
    Publish,
    /// Nothing: the release is published.
    Nothing,
}

/// Work of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushWork {
    /// A word for it: `reading`, `writing`, `syncing`, `naming`.
    pub work: String,
    /// The path of the file.
    pub path: String,
    /// For how long.
    pub seconds: u64,
}

/// The parts that an upload lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushMissing {
    /// The names of missing lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<String>,
    /// Missing ranges of `chunks.layer`, in the form of `Content-Range`: `0-95`, both counted from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Files of which chunks are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PushMissingFile>,
    /// Whether more is missing than this answer has room for.
    #[serde(default)]
    pub more: bool,
}

/// A file of which chunks are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushMissingFile {
    /// The path.
    pub path: String,
    /// The ranges of bytes, as above. Each has whole chunks.
    pub bytes: Vec<String>,
}

impl PushMissing {
    /// The missing chunks: for each file its path and its ranges of bytes. `size` knows the files of the model, and `unit` is the length
    /// of a chunk.
    ///
    /// `None` if the answer names what the model does not have, a part of a chunk, or something twice: no number of it is believed
    /// that signed data contradict. Ranges of a file have to ascend.
    #[must_use]
    pub fn chunks(&self, size: impl Fn(&str) -> Option<u64>, unit: u64) -> Option<Vec<MissingChunks<'_>>> {
        let mut named = std::collections::HashSet::new();
        let of_file = |file: &'_ PushMissingFile| {
            let size = size(&file.path)?;
            let is_whole = |at: u64| at == size || at.checked_rem(unit) == Some(0);
            let ranges = ascending(&file.bytes, size)?;
            ranges.iter().all(|range| is_whole(range.start) && is_whole(range.end)).then_some(ranges)
        };
        self.files
            .iter()
            .map(|file| {
                named.insert(file.path.as_str()).then(|| Some((file.path.as_str(), of_file(file)?)))?
            })
            .collect()
    }

    /// The missing ranges of `chunks.layer`, which has `size` bytes. `None` as above.
    #[must_use]
    pub fn layers(&self, size: u64) -> Option<Vec<Range<u64>>> {
        ascending(&self.layers, size)
    }
}

/// The path of a file, and its missing ranges of bytes.
pub type MissingChunks<'a> = (&'a str, Vec<Range<u64>>);

/// Reads ranges that ascend, and do not overlap.
fn ascending(texts: &[String], size: u64) -> Option<Vec<Range<u64>>> {
    let mut end = 0;
    let range = |text: &String| {
        let range = parse_push_range(text).filter(|range| range.start >= end && range.end <= size)?;
        end = range.end;
        Some(range)
    };
    texts.iter().map(range).collect()
}

/// Reads a range: `0-95`, both counted from 0. `None` if it is none, or empty.
#[must_use]
pub fn parse_push_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse::<u64>().ok() } else { None }
    };
    let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
    (first < end).then_some(first..end)
}

/// Writes a range that is not empty.
#[must_use]
pub fn push_range(range: &Range<u64>) -> String {
    format!("{}-{}", range.start, range.end.saturating_sub(1))
}
