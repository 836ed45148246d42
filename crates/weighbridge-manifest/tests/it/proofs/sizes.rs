//! The sizes of proofs in large models stay within the documented limits.

use weighbridge_manifest::tree::sibling_count;

use super::model::{Model, file, tensor};

/// A path of 64 bytes.
fn path(number: u64) -> String {
    format!("{number:0>52}.safetensors")
}

fn model(files: u64, tensors: Option<u64>) -> Model {
    let bytes = 4_999_999_999;
    let lines = (0..files).map(|i| file(&path(i), bytes)).collect();
    let tensor_of = |i: u64, count: u64| {
        let (of, within) = (i * files / count, i);
        let name = format!("model.layers.{within:0>44}.weight");
        assert_eq!(name.len(), 64);
        tensor(&path(of), &name, 4_900_000_000, 33_554_432)
    };
    Model::of(lines, tensors.map(|count| (0..count).map(|i| tensor_of(i, count)).collect()))
}

/// The position whose line and sibling hashes take the most bytes.
fn largest(lines: &[String]) -> usize {
    let count = lines.len() as u64;
    let size = |position: &usize| {
        let siblings = sibling_count(count, &[*position as u64]).unwrap();
        position.to_string().len() + lines[*position].len() + (32 * siblings).div_ceil(3) * 4
    };
    (0..lines.len()).max_by_key(size).unwrap()
}

/// The sizes of the largest proof of a file, and of a tensor with its file.
fn sizes(files: u64, tensors: Option<u64>) -> (usize, Option<usize>) {
    let model = model(files, tensors);
    let opened = model.open();
    let (at, entries) = (largest(&model.files), opened.files.entries());
    let of_file = opened.prove(opened.wanted().file(entries[at].path.as_str()).unwrap()).unwrap().len();
    let of_tensor = opened.tensors.as_ref().map(|list| {
        // The parts of file and tensor depend on each other only by the tensor's position: try the largest of both.
        let lines = model.tensors.as_ref().unwrap();
        let candidates = [largest(lines), lines.len() - 1];
        let with_largest_file = list.entries().iter().rposition(|t| t.file == entries[at].path);
        candidates
            .into_iter()
            .chain(with_largest_file)
            .map(|position| {
                let tensor = &list.entries()[position];
                let wanted = opened.wanted().tensor(tensor.file.as_str(), tensor.name.as_str()).unwrap();
                opened.prove(wanted).unwrap().len()
            })
            .max()
            .unwrap()
    });
    println!("{files} files, {tensors:?} tensors: {of_file} bytes for a file, {of_tensor:?} for a tensor");
    (of_file, of_tensor)
}

#[test]
fn proofs_in_a_model_of_100_000_entries_are_small() {
    let (of_file, of_tensor) = sizes(1_000, Some(99_000));
    assert!(of_file <= 1_280, "{of_file}");
    assert!(of_tensor.unwrap() <= 2_304, "{of_tensor:?}");
}

#[test]
fn proofs_grow_with_the_logarithm_of_each_list() {
    let (alone, none) = sizes(100_000, None);
    let (beside, of_tensor) = sizes(100_000, Some(100_000));
    assert_eq!(none, None);
    assert!(alone <= 1_408 && beside <= 1_536, "{alone} {beside}");
    assert!(of_tensor.unwrap() <= 2_688, "{of_tensor:?}");
}
