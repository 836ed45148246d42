//! Generated GGUF models are as described: deterministic, well-formed, and of the requested size.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use weighbridge_formats::generate::Summary;
use weighbridge_formats::generate_gguf::{Gguf, Variant, Version};
use weighbridge_formats::split::{Part, Says, Split, check};
use weighbridge_formats::{Coded, Format, Parsed, TensorSpan, parse};

use crate::kit::Folder;

/// Writes a model and reads its files back.
fn write(folder: &Folder, model: &Gguf) -> (Summary, Vec<Read>) {
    let summary = model.write(folder.path()).unwrap();
    let files: Vec<_> = summary.files.iter().map(|name| Read::new(&folder.path().join(name))).collect();
    let bytes = files.iter().map(|file| u64::try_from(file.bytes.len()).unwrap()).sum::<u64>();
    let tensors = files.iter().map(|file| u64::try_from(file.tensors.len()).unwrap()).sum::<u64>();
    assert_eq!((bytes, tensors), (summary.bytes, summary.tensors));
    (summary, files)
}

/// A written file that was read back.
struct Read {
    bytes: Vec<u8>,
    tensors: Vec<TensorSpan>,
    split: Option<Split>,
}

impl Read {
    fn new(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let parsed = parse(Format::Gguf, &bytes, u64::try_from(bytes.len()).unwrap());
        let Ok(Parsed::Tensors { tensors, split, .. }) = parsed else {
            unreachable!("a generated file is well-formed: {parsed:?}")
        };
        Self { bytes, tensors, split }
    }

    fn data(&self, tensor: &TensorSpan) -> &[u8] {
        let at = usize::try_from(tensor.offset).unwrap();
        &self.bytes[at..at + usize::try_from(tensor.size).unwrap()]
    }
}

#[test]
fn the_same_settings_give_the_same_bytes() {
    let (one, two) = (Folder::new(), Folder::new());
    let files = |folder: &Folder, seed| write(folder, &Gguf::small(seed)).1.remove(0).bytes;
    assert_eq!(files(&one, 1), files(&two, 1));
    assert_ne!(files(&Folder::new(), 2), files(&Folder::new(), 1));
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let folder = Folder::new();
    let _ = Gguf::small(1).write(folder.path()).unwrap();
    let error = Gguf::small(2).write(folder.path()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn models_have_the_size_that_is_asked_for() {
    for variant in [Variant::F32, Variant::Bf16, Variant::Q8, Variant::Q4, Variant::Q4KSmall] {
        let folder = Folder::new();
        let (_, files) = write(&folder, &Gguf::of_size(20_000_000, variant, 1));
        let bytes: u64 = files[0].tensors.iter().map(|tensor| tensor.size).sum();
        assert!((19_000_000..21_000_000).contains(&bytes), "{variant:?}: {bytes}");
    }
}

#[test]
fn variants_have_the_types_of_their_names() {
    for (variant, expected) in [
        (Variant::F32, &["F32"][..]),
        (Variant::F16, &["F16", "F32"]),
        (Variant::Bf16, &["BF16", "F32"]),
        (Variant::Q8, &["F32", "Q8_0"]),
        (Variant::Q4, &["F32", "Q4_0", "Q6_K"]),
        (Variant::Q4KSmall, &["F32", "Q4_K", "Q6_K"]),
        (Variant::Q4KMedium, &["F32", "Q4_K", "Q6_K"]),
    ] {
        let folder = Folder::new();
        let (_, files) = write(&folder, &Gguf { variant, ..Gguf::small(1) });
        let dtypes: BTreeSet<_> = files[0].tensors.iter().map(|tensor| tensor.dtype.as_str()).collect();
        assert!(dtypes.into_iter().eq(expected.iter().copied()), "{variant:?}");
    }
}

#[test]
fn every_type_occurs_and_nothing_is_infinite() {
    let folder = Folder::new();
    let (_, files) = write(&folder, &Gguf { variant: Variant::Every, ..Gguf::small(3) });
    let file = &files[0];
    let dtypes: BTreeSet<_> = file.tensors.iter().map(|tensor| tensor.dtype.as_str()).collect();
    assert_eq!(dtypes.len(), 35, "{dtypes:?}");
    let ranks: BTreeSet<_> = file.tensors.iter().map(|tensor| tensor.shape.len()).collect();
    assert_eq!(ranks, BTreeSet::from([0, 1, 2, 3, 4]));
    for tensor in &file.tensors {
        let data = file.data(tensor);
        let finite = match tensor.dtype.as_str() {
            "F32" => data.chunks(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).abs() < 1.0),
            "F64" => data.chunks(8).all(|b| f64::from_le_bytes(b.try_into().unwrap()).abs() < 1.0),
            "F16" => data.chunks(2).all(|b| b[1] & 0x7c != 0x7c),
            "BF16" => data.chunks(2).all(|b| f32::from_le_bytes([0, 0, b[0], b[1]]).abs() < 1.0),
            "I8" | "I16" | "I32" | "I64" => true,
            // The scale of a block is usually an F16. An F16 is finite unless all bits of its exponent are set, and
            // these bits are all in its upper byte.
            _ => data.iter().all(|byte| byte & 0x7c != 0x7c),
        };
        assert!(finite, "{}", tensor.name);
    }
}

#[test]
fn parts_make_a_split() {
    for (parts, variant) in [(2, Variant::Q4KMedium), (5, Variant::Q8), (u16::MAX, Variant::Every)] {
        let folder = Folder::new();
        let (summary, files) = write(&folder, &Gguf { parts, variant, ..Gguf::small(4) });
        let count = files.len();
        assert_eq!(count, usize::from(parts).min(usize::try_from(summary.tensors).unwrap()));
        let mut split: Vec<_> = summary
            .files
            .iter()
            .zip(&files)
            .map(|(path, file)| Part {
                path,
                says: file.split.map_or(Says::Whole, Says::Part),
                tensors: file.tensors.iter().map(|tensor| tensor.name.as_str()).collect(),
            })
            .collect();
        assert!(split.iter().all(|part| part.says != Says::Whole && !part.tensors.is_empty()));
        assert_eq!(check(&split), Ok(()));
        split.pop();
        assert_eq!(check(&split).unwrap_err().error.error_code().get(), 4402);
    }
}

#[test]
fn versions_and_alignments_are_as_set() {
    for (version, alignment) in [(Version::V2, 32), (Version::V3, 8), (Version::V3, 4096)] {
        let folder = Folder::new();
        let (_, files) = write(&folder, &Gguf { version, alignment, parts: 2, ..Gguf::small(5) });
        for file in &files {
            assert_eq!(file.bytes[4], if version == Version::V2 { 2 } else { 3 });
            assert!(file.tensors.iter().all(|tensor| tensor.offset % u64::from(alignment) == 0));
        }
    }
}

#[test]
fn two_quantisations_share_what_both_have_in_one_dtype() {
    let folder = Folder::new();
    let [small, medium] = [Variant::Q4KSmall, Variant::Q4KMedium]
        .map(|variant| write(&folder, &Gguf { variant, ..Gguf::small(6) }).1.remove(0));
    let by_name = |file: &Read| -> BTreeMap<String, TensorSpan> {
        file.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect()
    };
    let (names, other) = (by_name(&small), by_name(&medium));
    assert!(names.keys().eq(other.keys()));
    let mut changed = Vec::new();
    for (name, tensor) in &names {
        let twin = &other[name];
        assert_eq!(tensor.shape, twin.shape);
        let same = tensor.dtype == twin.dtype;
        assert_eq!(same, small.data(tensor) == medium.data(twin), "{name}");
        if !same {
            changed.push(name.as_str());
        }
    }
    assert_eq!(changed, ["blk.0.attn_v.weight", "blk.0.ffn_down.weight"]);
}
