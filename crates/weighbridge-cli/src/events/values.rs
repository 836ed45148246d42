//! Values that the objects of several commands have.

use serde::{Serialize, Serializer};
use weighbridge_manifest::{self as manifest, Time};
use weighbridge_tree::{
    ChallengeHash, Coded, ErrorCode, FileRoot, HeadId, ModelRoot, ResponseHash, TensorHash, TensorsRoot,
};

/// The id of a head, a root, or another hash: 32 bytes as hexadecimal digits.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("pattern" = "^[0-9a-f]{64}$")))]
pub(crate) struct Hash(String);

macro_rules! from_hashes {
    ($($hash:ty),* $(,)?) => {$(
        impl From<$hash> for Hash {
            fn from(hash: $hash) -> Self {
                Self(hash.to_string())
            }
        }
    )*};
}

from_hashes!(ChallengeHash, FileRoot, HeadId, ModelRoot, ResponseHash, TensorHash, TensorsRoot);

/// A number of error-codes.md.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Code(u16);

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        Self(code.get())
    }
}

/// A time of day in UTC, as RFC 3339 writes it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("format" = "date-time")))]
pub(crate) struct Rfc3339(String);

impl From<Time> for Rfc3339 {
    fn from(time: Time) -> Self {
        Self(time.to_string())
    }
}

/// A truth value that is the same in all objects of its kind.
pub(crate) struct Always<const VALUE: bool>;

impl<const VALUE: bool> Serialize for Always<VALUE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(VALUE)
    }
}

/// The reason why a file or a place is refused, or could not be read.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Fault {
    /// The error code.
    code: Code,
    /// The reason, for people.
    message: String,
}

impl Fault {
    pub(crate) fn of(error: &impl Coded) -> Self {
        Self { code: error.error_code().into(), message: error.to_string() }
    }
}

/// A dtype that this version does not know.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct UnknownDtype {
    /// The code of the reason. It refuses nothing.
    code: Code,
    /// The first tensor with this dtype.
    tensor: String,
    /// The dtype as the file has it: a name in safetensors files, a number in GGUF files.
    dtype: String,
}

impl From<&weighbridge_formats::UnknownDtype> for UnknownDtype {
    fn from(dtype: &weighbridge_formats::UnknownDtype) -> Self {
        Self {
            code: dtype.error_code().into(),
            tensor: dtype.tensor().as_str().to_owned(),
            dtype: dtype.dtype(),
        }
    }
}

/// The content of a head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct HeadLines<'a> {
    /// The name of the model.
    name: &'a str,
    /// The revision, 1 for the first.
    revision: u64,
    /// The id of the previous head; null in the first revision.
    previous: Option<Hash>,
    /// The time at which the head was made, as the publisher says.
    created: Rfc3339,
    /// The time at which the head expires; null if it never does.
    expires: Option<Rfc3339>,
    /// The sum of the sizes of all files.
    bytes: u64,
    /// The number of files.
    files: u64,
    /// The root of the model.
    root: Hash,
    /// The number of tensors; null if they are not listed.
    tensors: Option<u64>,
    /// The root of the tensor list; null if there is none.
    tensors_root: Option<Hash>,
    /// The size of a chunk in bytes.
    chunk_size: u64,
    /// Further lines.
    ext: Vec<Ext<'a>>,
}

/// A further line of a head.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Ext<'a> {
    /// The key.
    key: &'a str,
    /// The value.
    value: &'a str,
}

impl<'a> From<&'a manifest::Head> for HeadLines<'a> {
    fn from(head: &'a manifest::Head) -> Self {
        Self {
            name: head.name.as_str(),
            revision: head.revision,
            previous: head.previous.map(Hash::from),
            created: head.created.into(),
            expires: head.expires.map(Rfc3339::from),
            bytes: head.bytes,
            files: head.files.count,
            root: head.root.into(),
            tensors: head.tensors.map(|tensors| tensors.list.count),
            tensors_root: head.tensors.map(|tensors| tensors.root.into()),
            chunk_size: head.chunk_size.bytes(),
            ext: head.ext.iter().map(|ext| Ext { key: &ext.key, value: &ext.value }).collect(),
        }
    }
}
