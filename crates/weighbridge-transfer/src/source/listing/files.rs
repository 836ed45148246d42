//! The files of a listing, while they are collected.

use std::collections::HashSet;

use weighbridge_manifest::{EntryPath, PathError};

use super::{ListingFault, Malformed};

/// Files with what is known of each, in the order in which they are listed.
#[derive(Debug)]
pub(crate) struct Files<T> {
    files: Vec<(EntryPath, T)>,
    has_head: bool,
}

impl<T> Default for Files<T> {
    fn default() -> Self {
        Self { files: Vec::new(), has_head: false }
    }
}

impl<T> Files<T> {
    /// Adds a file. Paths in folders that are in no model are passed over.
    pub(crate) fn add(&mut self, path: &str, known: T) -> Result<(), Malformed> {
        match EntryPath::parse(path) {
            Ok(_) if self.files.len() >= MAX_FILES => Err(ListingFault::TooLong.of(path)),
            Ok(path) => {
                self.files.push((path, known));
                Ok(())
            }
            Err(PathError::Reserved) => {
                self.has_head |= path == HEAD;
                Ok(())
            }
            Err(error) => Err(ListingFault::Path(error).of(path)),
        }
    }

    /// Whether the place has a head.
    pub(crate) fn has_head(&self) -> bool {
        self.has_head
    }

    /// The files, sorted by path.
    pub(crate) fn sorted(mut self) -> Result<Vec<(EntryPath, T)>, Malformed> {
        self.files.sort_by(|a, b| a.0.cmp(&b.0));
        let mut paths = HashSet::with_capacity(self.files.len());
        for (path, _) in &self.files {
            if !paths.insert(path.as_str()) {
                return Err(ListingFault::Twice.of(path.as_str()));
            }
        }
        for (path, _) in &self.files {
            let path = path.as_str();
            let mut above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
            if above.any(|folder| paths.contains(folder)) {
                return Err(ListingFault::BelowAFile.of(path));
            }
        }
        if self.files.is_empty() { Err(ListingFault::Empty.at("all of it")) } else { Ok(self.files) }
    }
}

/// Parses exactly `N` bytes in lower-case hexadecimal digits.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The most files that a listing may have: more than any hub takes.
const MAX_FILES: usize = 1 << 20;

/// The path of the head of a model that somebody has weighed.
const HEAD: &str = "weighbridge/head.note";
