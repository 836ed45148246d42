//! Accepted chunks, for tests: a model that is believed by its head id.

use std::{fs, path::Path, sync::Arc};

use weighbridge_manifest::{EntryPath, FileEntry, VerifiedFileList, write_files};
use weighbridge_store::{FILES, KEPT, Metadata};
use weighbridge_tree::{ChunkSize, FileRoot, HeadId};
use weighbridge_verify::FileVerifier;

use crate::disk::{bind, layer};

/// A model of small files in chunks of 16 KiB.
pub struct Sample {
    pub contents: Vec<(EntryPath, Vec<u8>)>,
    pub list: Arc<VerifiedFileList>,
    pub id: HeadId,
    /// The bytes of `head.note`, `files.jsonl` and `chunks.layer`.
    pub note: Vec<u8>,
    pub files: Vec<u8>,
    pub layers: Vec<u8>,
    verifiers: Vec<FileVerifier>,
}

pub const CHUNK: u64 = 16_384;

impl Sample {
    /// Files by path and length, in the order of paths; another seed gives other bytes.
    pub fn of(files: &[(&str, usize)], seed: u8) -> Self {
        Self::of_seeds(&files.iter().map(|(path, len)| (*path, *len, seed)).collect::<Vec<_>>())
    }

    /// As [`of`](Self::of), with a seed for each file.
    pub fn of_seeds(files: &[(&str, usize, u8)]) -> Self {
        let path = |path: &&str| EntryPath::parse(path).unwrap();
        let contents: Vec<_> = files.iter().map(|(at, len, seed)| (path(at), bytes(*len, *seed))).collect();
        let chunk_size = ChunkSize::new(CHUNK).unwrap();
        let entry = |(path, bytes): &(EntryPath, Vec<u8>)| FileEntry {
            path: path.clone(),
            size: bytes.len().try_into().unwrap(),
            root: FileRoot::of(bytes),
            sha256: None,
        };
        let written = write_files(contents.iter().map(entry).collect()).unwrap();
        let (note, head) = bind("test/model", &written, None, chunk_size);
        let id = head.id();
        let list = Arc::new(head.open_files(written.text.as_bytes()).unwrap());
        let layer_of: Vec<_> = contents.iter().map(|(_, bytes)| layer(bytes, chunk_size).concat()).collect();
        let verifiers = layer_of.iter().enumerate();
        let verifiers =
            verifiers.map(|(at, layer)| FileVerifier::from_layer_bytes(&list, at, layer).unwrap());
        Self {
            verifiers: verifiers.collect(),
            layers: layer_of.concat(),
            contents,
            id,
            note,
            files: written.text.into(),
            list,
        }
    }

    /// Checks a folder whose head is that of this release: the file list is there, or kept while another release replaces it;
    /// and each file is there, or the folder says that its files are being replaced.
    #[track_caller]
    pub fn assert_stands(&self, root: &Path) {
        let metadata = Metadata::of_model(root);
        let kept = metadata.folder().join(KEPT).join(self.id.to_string());
        let list = [kept.as_path(), metadata.folder()].map(|folder| fs::read(folder.join(FILES)).ok());
        assert!(list.contains(&Some(self.files.clone())), "a head without its list");
        let is_there = |(path, bytes): &(EntryPath, Vec<u8>)| {
            fs::read(root.join(path.as_str())).ok().as_ref() == Some(bytes)
        };
        let is_told = metadata.being_replaced().is_some();
        assert!(
            is_told || self.contents.iter().all(is_there),
            "files of another release, and nothing says so"
        );
    }

    pub fn path(&self, file: usize) -> &EntryPath {
        &self.contents[file].0
    }

    pub fn bytes(&self, file: usize) -> &[u8] {
        &self.contents[file].1
    }

    pub fn root(&self, file: usize) -> FileRoot {
        self.list.entries()[file].root
    }

    pub fn size(&self, file: usize) -> u64 {
        self.list.entries()[file].size
    }

    pub fn verifier(&self, file: usize) -> &FileVerifier {
        &self.verifiers[file]
    }

    /// The bytes of a run of chunks.
    pub fn chunks(&self, file: usize, chunks: std::ops::Range<u64>) -> &[u8] {
        let at = |chunk: u64| usize::try_from((chunk * CHUNK).min(self.size(file))).unwrap();
        &self.bytes(file)[at(chunks.start)..at(chunks.end)]
    }

    pub fn count(&self, file: usize) -> u64 {
        self.size(file).div_ceil(CHUNK)
    }
}

/// Bytes in which no two places are alike, and none is zero.
fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((state >> 33) & 0xff).unwrap().max(1)
    };
    std::iter::repeat_with(next).take(len).collect()
}
