//! Generated models are as described: deterministic, well-formed, and of the requested size.

use std::collections::BTreeMap;
use std::fs;

use weighbridge_formats::generate::{Dtype, Llama, Summary};
use weighbridge_formats::index::{Index, Lookup};
use weighbridge_formats::{Format, Parsed, TensorSpan, parse};

use crate::kit::Folder;

fn files(folder: &Folder, summary: &Summary) -> BTreeMap<String, Vec<u8>> {
    summary.files.iter().map(|name| (name.clone(), fs::read(folder.path().join(name)).unwrap())).collect()
}

fn tensors(bytes: &[u8]) -> Vec<TensorSpan> {
    let Ok(Parsed::Tensors { tensors, header_len, .. }) =
        parse(Format::Safetensors, bytes, bytes.len().try_into().unwrap())
    else {
        unreachable!("a generated shard is well-formed")
    };
    assert_eq!(header_len % 8, 0);
    tensors
}

#[test]
fn shards_and_index_agree() {
    let folder = Folder::new();
    let summary = Llama::small(1).write(folder.path()).unwrap();
    let files = files(&folder, &summary);
    assert_eq!(files.values().map(|bytes| u64::try_from(bytes.len()).unwrap()).sum::<u64>(), summary.bytes);
    assert!((4_000_000..4_050_000).contains(&summary.bytes), "{} bytes", summary.bytes);
    assert_eq!(summary.tensors, 39);

    let mut held = BTreeMap::new();
    for (name, bytes) in files.iter().filter(|(name, _)| Format::of(name).is_some()) {
        held.insert(name.clone(), tensors(bytes));
    }
    assert_eq!(held.len(), 2);
    let index = Index::parse(&files["model.safetensors.index.json"]).unwrap();
    assert_eq!(index.weight_map().len(), 39);
    let verdict = index.check("model.safetensors.index.json", |file, tensor| match held.get(file) {
        None => Lookup::NoFile,
        Some(tensors) if tensors.iter().any(|t| t.name == tensor) => Lookup::Tensor,
        Some(_) => Lookup::NoTensor,
    });
    assert_eq!(verdict, Ok(()));
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert!(serde_json::from_slice::<serde_json::Value>(&files[name]).is_ok(), "{name}");
    }
}

#[test]
fn the_seed_decides_all_bytes() {
    let (one, again, other) = (Folder::new(), Folder::new(), Folder::new());
    let read = |folder: &Folder, seed| {
        let summary = Llama::of_size(500_000, 3, seed).write(folder.path()).unwrap();
        files(folder, &summary)
    };
    let (one, again, other) = (read(&one, 1), read(&again, 1), read(&other, 2));
    assert!(one == again);
    for (name, bytes) in one {
        let follows_the_seed = name.ends_with(".safetensors") || name == "README.md";
        assert_eq!(other[&name] != bytes, follows_the_seed, "{name}");
    }
}

#[test]
fn one_shard_has_no_index_and_every_dtype_is_finite() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        let folder = Folder::new();
        let model = Llama { bytes: 1_000_003, shards: 0, seed: 7, dtype };
        let summary = model.write(folder.path()).unwrap();
        let files = files(&folder, &summary);
        assert!(!files.contains_key("model.safetensors.index.json"));
        let bytes = &files["model.safetensors"];
        let first = &tensors(bytes)[0];
        let start = usize::try_from(first.offset).unwrap();
        let data = &bytes[start..start + usize::try_from(first.size).unwrap()];
        match dtype {
            Dtype::F32 => {
                for word in data.chunks_exact(4) {
                    let weight = f32::from_le_bytes(word.try_into().unwrap()).abs();
                    assert!((0.007..0.125).contains(&weight), "{weight}");
                }
            }
            Dtype::Bf16 => {
                for half in data.chunks_exact(2) {
                    let weight = f32::from_le_bytes([0, 0, half[0], half[1]]).abs();
                    assert!((0.007..0.125).contains(&weight), "{weight}");
                }
            }
            // Exponents 8 to 11, with a bias of 15.
            Dtype::F16 => assert!(data.chunks_exact(2).all(|half| (0x20..0x30).contains(&(half[1] & 0x7f)))),
        }
    }
}

#[test]
fn never_overwrites() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path()).unwrap();
    fs::write(folder.path().join("model.safetensors"), "somebody's").unwrap();
    let error = Llama::of_size(0, 1, 1).write(folder.path()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.path().join("model.safetensors")).unwrap(), b"somebody's");
}

#[test]
fn there_are_as_many_shards_as_asked_but_never_an_empty_one() {
    for (asked, expected) in [(0, 1), (1, 1), (5, 5), (39, 39), (1_000, 39)] {
        let folder = Folder::new();
        let summary = Llama::of_size(0, asked, 3).write(folder.path()).unwrap();
        let shards: Vec<_> = summary.files.iter().filter(|name| Format::of(name).is_some()).collect();
        assert_eq!(shards.len(), expected);
        assert!(shards.iter().all(|name| !tensors(&fs::read(folder.path().join(name)).unwrap()).is_empty()));
    }
}
