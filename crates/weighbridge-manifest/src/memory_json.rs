//! The memory as a JSON file.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};
use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::memory::{Memory, MemoryError, NoteFault, RememberedNote, sha256};

impl Memory {
    /// Reads the state file described in `spec/trust.md`.
    ///
    /// # Guarantee
    /// Each note is read exactly as it was written, without a change of any character.
    ///
    /// # Errors
    /// [`MemoryError::Form`] and [`MemoryError::Note`]. One bad note refuses the whole file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, MemoryError> {
        let names: Members<Members<String>> = serde_json::from_slice(bytes)
            .map_err(|error| MemoryError::Form { line: error.line(), column: error.column() })?;
        let mut memory = Self::default();
        for (name, Members(notes)) in names.0 {
            for (digest, note) in notes {
                let fail = |fault| Err(MemoryError::Note(fault));
                if sha256(&note).to_string() != digest {
                    return fail(NoteFault::Sha256);
                }
                let note = RememberedNote::parse(&note).map_err(MemoryError::Note)?;
                if note.head.name.as_str() != name {
                    return fail(NoteFault::OtherName);
                }
                memory.add(note);
            }
        }
        Ok(memory)
    }

    /// Writes the state file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut names = Map::new();
        for (name, note) in self.notes() {
            let notes = names.entry(name.as_str()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(notes) = notes {
                notes.insert(sha256(&note).to_string(), note.into());
            }
        }
        format!("{:#}\n", Value::Object(names))
    }
}

/// A JSON object whose member names are all different. By itself, serde keeps the last of two members with the same
/// name.
struct Members<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData)).map(Self)
    }
}

struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(members)
    }
}
