//! This crate computes the worked examples of `spec/file-tree.md` and `spec/trees.md`.

use std::fmt::Display;

use weighbridge_tree::{
    ChunkSize, EntryHash, FileRoot, Grid, Layer, ListTree, TensorsRoot, model_root, root_of_proof,
    tensors_root,
};

use crate::kit::data;

const FILE_TREE: &str = include_str!("../../../../spec/file-tree.md");
const TREES: &str = include_str!("../../../../spec/trees.md");

/// Collects the values that a page lacks, so that one run reports all of them.
struct Page {
    text: &'static str,
    missing: Vec<String>,
}

impl Page {
    fn says(&mut self, what: &str, value: impl Display) {
        if !self.text.contains(&value.to_string()) {
            self.missing.push(format!("{what}: {value}"));
        }
    }

    fn finish(self) {
        assert!(self.missing.is_empty(), "the page lacks\n{}", self.missing.join("\n"));
    }
}

#[test]
fn file_tree_example_is_true() {
    let mut page = Page { text: FILE_TREE, missing: Vec::new() };
    let bytes = data(40_000);
    let root = FileRoot::of(&bytes);
    let grid = Grid::new(40_000, ChunkSize::MIN).unwrap();
    let mut layer = Vec::new();
    for (index, chunk) in (0..).zip(bytes.chunks(16_384)) {
        let value = grid.chaining_value(index, chunk).unwrap();
        page.says(&format!("CV {index}"), value);
        layer.extend(value.as_bytes());
    }
    assert!(Layer::accept(grid, root, &layer).is_ok());
    page.says("root", root);
    let pairs = Grid::new(40_000, ChunkSize::new(32_768).unwrap()).unwrap();
    page.says("CV of chunks 0 and 1", pairs.chaining_value(0, &bytes[..32_768]).unwrap());
    page.says("root of nothing", FileRoot::of(&[]));
    page.finish();
}

#[test]
fn trees_example_is_true() {
    let mut page = Page { text: TREES, missing: Vec::new() };
    let files = [("config.json", 612_usize), ("tokenizer.json", 1_000), ("weights.bin", 40_000)];
    let lines = files.map(|(name, size)| {
        format!(r#"{{"file":"{name}","size":{size},"blake3":"{}"}}"#, FileRoot::of(&data(size)))
    });
    let entries = lines.each_ref().map(|line| EntryHash::of_line(line.as_bytes()));
    for (line, entry) in lines.iter().zip(&entries) {
        page.says("line", line);
        page.says("leaf", entry);
    }
    let tree = ListTree::build(entries.to_vec()).unwrap();
    page.says("node 1", tree.prove(&[0]).unwrap()[0]);
    page.says("node 0", tree.root().hash());
    page.says("root", model_root(41_612, &tree.root()));
    page.says("tensors-root of none", tensors_root(None));
    let none: TensorsRoot = tensors_root(None);
    assert_ne!(none, tensors_root(Some(&tree.root())));

    let siblings = tree.prove(&[1]).unwrap();
    let expected: Vec<_> = [entries[2], entries[0]].iter().map(|entry| *entry.as_bytes()).collect();
    assert_eq!(siblings.iter().map(|sibling| *sibling.as_bytes()).collect::<Vec<_>>(), expected);
    assert_eq!(root_of_proof(3, &[(1, entries[1])], &siblings), Ok(tree.root()));
    page.finish();
}
