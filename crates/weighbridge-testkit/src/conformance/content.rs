//! The model that a source under test has to serve.

use std::{fs, path::Path};

use weighbridge_store::{CHUNKS, FILES, HEAD, TENSORS};
use weighbridge_transfer::What;
use weighbridge_tree::{ChunkSize, HeadId};

use crate::{CHUNK, Draft, bytes, safetensors};

/// A small model with its metadata: all that a source under test has to serve.
///
/// The lengths of its files lie at the borders of chunks, one file is empty, one is larger than what sources read at
/// once, and one has a path that has to be escaped in a URL. Head, lists, layers and roots are true, so that a source
/// may verify what it serves.
pub struct Content {
    items: Vec<Item>,
    head: HeadId,
}

/// A file of the model, or of its metadata.
pub struct Item {
    pub what: What,
    pub bytes: Vec<u8>,
}

impl Content {
    /// The same content each time.
    #[allow(clippy::new_without_default, reason = "it is no empty content")]
    pub fn new() -> Self {
        Self::of_seed(0)
    }

    /// The content of another seed: the same paths and lengths, and other bytes.
    pub fn of_seed(seed: u8) -> Self {
        let chunk = usize::try_from(CHUNK).unwrap();
        let weights = bytes(2_600_000, seed.wrapping_add(1));
        let (first, second) = weights.split_at(1_500_000);
        let files = [
            ("border.bin", bytes(3 * chunk + 1, seed.wrapping_add(2))),
            ("config.json", br#"{"model_type": "conformance"}"#.to_vec()),
            ("empty.txt", Vec::new()),
            ("exact.bin", bytes(2 * chunk, seed.wrapping_add(3))),
            ("model.safetensors", safetensors(&[("a", first), ("b", second)])),
            ("one", vec![b'1' ^ seed]),
            ("sub folder/\u{e4} 100%25 #+&.bin", bytes(1_000, seed.wrapping_add(4))),
        ];
        let draft = Draft::of(&files, ChunkSize::new(CHUNK).unwrap());
        let signed = draft.sign();
        let read = |name: &str| fs::read(signed.folder.at(name)).unwrap();
        let item = |name: &str, what: fn(u64) -> What| {
            let bytes = read(name);
            Item { what: what(length(&bytes)), bytes }
        };
        let mut items = vec![
            item(HEAD, |_| What::Head),
            item(FILES, |size| What::FileList { size }),
            item(TENSORS, |size| What::TensorList { size }),
            item(CHUNKS, |size| What::Layers { size }),
        ];
        items.extend(draft.files.into_iter().map(|entry| {
            let (_, bytes) = files.iter().find(|(path, _)| *path == entry.path.as_str()).unwrap();
            let what = What::File { path: entry.path, root: entry.root, size: entry.size };
            Item { what, bytes: bytes.clone() }
        }));
        Self { items, head: signed.head.id() }
    }

    /// The head, the lists, the layers, and the files in the order of their paths.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The id of the head, by which the content is believed: nobody has signed it.
    pub fn head_id(&self) -> HeadId {
        self.head
    }

    /// The number of bytes of a chunk.
    pub fn chunk(&self) -> u64 {
        CHUNK
    }

    /// Writes all of it to a folder, each item at its [path](What::path).
    pub fn write(&self, folder: &Path) {
        for Item { what, bytes } in &self.items {
            let path = folder.join(&*what.path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// The bytes of `head.note`.
    pub(super) fn note(&self) -> &[u8] {
        &self.items[0].bytes
    }

    /// The things that have a length and a byte, and can thus be asked for by ranges.
    pub(super) fn ranged(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.what != What::Head && !item.bytes.is_empty())
    }

    /// The files of the model that have a byte.
    pub(super) fn files(&self) -> impl Iterator<Item = &Item> {
        self.ranged().filter(|item| !item.what.is_metadata())
    }

    /// The largest item.
    pub(super) fn largest(&self) -> &Item {
        self.items.iter().max_by_key(|item| item.bytes.len()).unwrap()
    }
}

impl Item {
    pub fn size(&self) -> u64 {
        length(&self.bytes)
    }

    /// The number of its chunks.
    pub(super) fn chunks(&self) -> u64 {
        self.size().div_ceil(CHUNK)
    }

    /// The same thing with another signed length.
    pub(super) fn of_size(&self, size: u64) -> What {
        match self.what.clone() {
            What::Head => What::Head,
            What::FileList { .. } => What::FileList { size },
            What::TensorList { .. } => What::TensorList { size },
            What::Layers { .. } => What::Layers { size },
            What::File { path, root, .. } => What::File { path, root, size },
            What::Listed { path, .. } => What::Listed { path, size },
        }
    }

    /// The same file of the model, as one asks for it who does not know its root.
    pub(super) fn listed(&self) -> What {
        match &self.what {
            What::File { path, size, .. } => What::Listed { path: path.clone(), size: *size },
            what => what.clone(),
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}
