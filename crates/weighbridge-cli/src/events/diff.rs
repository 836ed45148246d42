//! Objects of `diff`. OLD and NEW are the two models; `spec/diff.md` says what the keys mean.

use serde::Serialize;
use weighbridge_manifest::{self as manifest, Class};

use super::{
    common::Imported,
    values::{Always, Hash},
};

/// The head of one of the two models.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Head<'a> {
    /// The model of the two that has the head.
    pub(crate) side: Side,
    /// Whether the head satisfies the caller's trust; false if none was given.
    pub(crate) verified: bool,
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The revision.
    pub(crate) revision: u64,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The names of the keys that count, or the names on the signatures if nothing was verified.
    pub(crate) signers: &'a [String],
    /// The facts about an imported head; null of any other, and if nothing was verified.
    pub(crate) imported: Option<Imported<'a>>,
}

/// One of the two models.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Side {
    Old,
    New,
}

impl Side {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// The numbers of entries in each class.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary {
    /// The kind of the entries.
    pub(crate) of: Entries,
    /// Both models list them.
    pub(crate) compared: Always<true>,
    /// The entries of OLD.
    pub(crate) old: Classes,
    /// The entries of NEW.
    pub(crate) new: Classes,
    /// The sum of the sizes of NEW's entries that are in OLD.
    pub(crate) bytes_in_old: u64,
}

/// Entries that were not compared.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct NotCompared<'a> {
    /// The kind of the entries.
    pub(crate) of: Entries,
    /// Not both models list them.
    pub(crate) compared: Always<false>,
    /// The models that do not list them.
    pub(crate) unlisted: &'a [Side],
}

/// A kind of entries.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub(crate) enum Entries {
    Files,
    Tensors,
}

impl Entries {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Tensors => "tensors",
        }
    }
}

/// The entries of one model by their class.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Classes {
    /// The same name and content in both.
    same: Tally,
    /// The same content under another name.
    moved: Tally,
    /// The same name with other content.
    changed: Tally,
    /// The entries that only NEW has. Not said of OLD.
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<Tally>,
    /// The entries that only OLD has. Not said of NEW.
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<Tally>,
}

/// A number of entries.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Tally {
    /// The number of entries.
    entries: u64,
    /// The sum of their sizes.
    bytes: u64,
}

impl Classes {
    pub(crate) fn of(side: Side, classes: &manifest::Classes) -> Self {
        let tally = |class| {
            let manifest::Tally { entries, bytes } = classes.of(class);
            Tally { entries, bytes }
        };
        let (added, gone) = match side {
            Side::Old => (None, Some(tally(Class::Gone))),
            Side::New => (Some(tally(Class::Added)), None),
        };
        let [same, moved, changed] = [Class::Same, Class::Moved, Class::Changed].map(tally);
        Self { same, moved, changed, added, gone }
    }
}

/// An entry and its counterpart.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Difference<E> {
    /// The class.
    #[cfg_attr(test, schemars(extend("enum" = Class::ALL.map(Class::word))))]
    pub(crate) class: &'static str,
    /// The entry of OLD; null if it was added.
    pub(crate) old: Option<E>,
    /// The entry of NEW; null if it is gone.
    pub(crate) new: Option<E>,
    /// Whether an entry of OLD has the bytes of NEW's entry; null if it is gone.
    pub(crate) in_old: Option<bool>,
}

/// A file.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct FileEntry<'a> {
    /// The path in the model.
    path: &'a str,
    /// The size.
    size: u64,
    /// The root of the file.
    blake3: Hash,
}

impl<'a> From<&'a manifest::FileEntry> for FileEntry<'a> {
    fn from(file: &'a manifest::FileEntry) -> Self {
        Self { path: file.path.as_str(), size: file.size, blake3: file.root.into() }
    }
}

/// A tensor.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TensorEntry<'a> {
    /// The name.
    name: &'a str,
    /// The file of the tensor.
    file: &'a str,
    /// The type of its elements.
    dtype: &'a str,
    /// The dimensions, slowest first.
    shape: &'a [u64],
    /// The position of the first byte in the file.
    offset: u64,
    /// The number of bytes.
    size: u64,
    /// The hash of the tensor.
    blake3: Hash,
}

impl<'a> From<&'a manifest::TensorEntry> for TensorEntry<'a> {
    fn from(tensor: &'a manifest::TensorEntry) -> Self {
        Self {
            name: tensor.name.as_str(),
            file: tensor.file.as_str(),
            dtype: tensor.dtype.as_str(),
            shape: &tensor.shape,
            offset: tensor.offset,
            size: tensor.size,
            blake3: tensor.hash.into(),
        }
    }
}

/// The end of a comparison.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Result {
    /// Whether every entry is the same.
    pub(crate) same: bool,
    /// The size of NEW.
    pub(crate) bytes: u64,
    /// The bytes of NEW that OLD has.
    pub(crate) bytes_in_old: u64,
}
