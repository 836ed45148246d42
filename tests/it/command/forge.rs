//! Metadata that no honest publisher makes, signed all the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use weighbridge_manifest::{Head, ListSize, Tensors};
use weighbridge_publish::SecretKey;
use weighbridge_tree::{CountedTree, EntryHash, list_root, model_root, tensors_root};

/// The metadata of a weighed model, with its lists taken apart into lines that a test may change.
pub(crate) struct Forge {
    folder: PathBuf,
    /// The values of the head. Signing adjusts counts, lengths, roots and the sum of sizes to the lines.
    pub(crate) head: Head,
    pub(crate) files: Vec<String>,
    pub(crate) tensors: Vec<String>,
}

impl Forge {
    /// Takes the metadata of this folder apart.
    pub(crate) fn open(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let read = |name: &str| fs::read_to_string(folder.join(name));
        // A model whose tensors are not listed has no tensor list.
        let lines = |name: &str| read(name).unwrap_or_default().lines().map(str::to_owned).collect();
        let head = Head::parse(&read("head.txt").unwrap()).unwrap();
        Self { head, files: lines("files.jsonl"), tensors: lines("tensors.jsonl"), folder }
    }

    /// The first line that contains `text`.
    #[track_caller]
    pub(crate) fn file(&mut self, text: &str) -> &mut String {
        self.files
            .iter_mut()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("no line has {text:?}"))
    }

    /// Writes the metadata, signed by `key`.
    pub(crate) fn sign(self, key: &SecretKey) {
        self.sign_saying(key, |_| {});
    }

    /// Writes the metadata, signed by `key`, with a head that `lie` has changed.
    pub(crate) fn sign_saying(self, key: &SecretKey, lie: impl FnOnce(&mut Head)) {
        let Self { folder, mut head, files, tensors } = self;
        let size = |line: &String| serde_json::from_str::<Value>(line).ok()?.get("size")?.as_u64();
        head.bytes = files.iter().filter_map(size).sum();
        head.files = list_size(&files);
        head.root = model_root(head.bytes, &tree(&files));
        let root = if tensors.is_empty() { tensors_root(None) } else { tensors_root(Some(&tree(&tensors))) };
        head.tensors = Some(Tensors { list: list_size(&tensors), root });
        lie(&mut head);
        fs::write(folder.join("files.jsonl"), text_of(&files)).unwrap();
        fs::write(folder.join("tensors.jsonl"), text_of(&tensors)).unwrap();
        sign_text(&folder, &head.to_string(), &[key]);
    }
}

/// Writes `text` as the signed head of a folder, whatever it is.
pub(crate) fn sign_text(folder: &Path, text: &str, keys: &[&SecretKey]) {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.sign(text.as_bytes()))).collect();
    fs::write(folder.join("head.note"), format!("{text}\n{lines}")).unwrap();
}

/// Replaces `from`, which must occur in the line.
#[track_caller]
pub(crate) fn replace(line: &mut String, from: &str, to: &str) {
    assert!(line.contains(from), "{from:?} is not in {line}");
    *line = line.replacen(from, to, 1);
}

fn text_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn list_size(lines: &[String]) -> ListSize {
    let length = text_of(lines).len();
    ListSize { count: lines.len().try_into().unwrap(), length: length.try_into().unwrap() }
}

fn tree(lines: &[String]) -> CountedTree {
    list_root(lines.iter().map(|line| EntryHash::of_line(line.as_bytes())).collect()).unwrap()
}

/// Subtracts two from a number of the line.
pub(crate) fn less(line: &mut String, key: &str) {
    let key = format!("\"{key}\":");
    let from = line.find(&key).unwrap() + key.len();
    let to = from + line[from..].find(',').unwrap();
    let number: u64 = line[from..to].parse().unwrap();
    line.replace_range(from..to, &(number - 2).to_string());
}
