//! Reads tensors of GGUF files by name, where the file has only the chunks of the tensor and of the header, and holes
//! elsewhere.

use std::{collections::BTreeSet, fs, os::unix::fs::FileExt as _};

use weighbridge_formats::generate_gguf::{Gguf, Variant};
use weighbridge_store::{Coded, ModelView, TensorError, TensorView};
use weighbridge_testkit::{Draft, Folder};
use weighbridge_verify::tree::ChunkSize;

/// A GGUF header does not tell its own length, so its parser asks for more bytes than the header has. Those bytes may
/// be a hole.
#[test]
fn a_tensor_costs_its_chunks_and_those_of_the_header_and_needs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let model = Gguf { variant: Variant::Q4KMedium, ..Gguf::small(4) };
    let written = model.write(folder.path()).unwrap();
    let [name] = &written.files[..] else { panic!("{written:?}") };
    let bytes = fs::read(folder.path().join(name)).unwrap();
    for size in [1 << 14, 1 << 18].map(|size| ChunkSize::new(size).unwrap()) {
        let signed = Draft::of(&[(name, bytes.clone())], size).sign();
        let tensors = signed.tensors.clone().unwrap();
        let unit = usize::try_from(size.bytes()).unwrap();
        let data = tensors.entries().iter().map(|tensor| tensor.offset).min().unwrap();
        let chunks = |offset: u64, len: u64| {
            let unit = size.bytes();
            offset / unit..(offset + len).div_ceil(unit)
        };
        for entry in tensors.entries() {
            let holes = Folder::new();
            let file = fs::File::create(holes.at(name)).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            let there: BTreeSet<_> = chunks(0, data).chain(chunks(entry.offset, entry.size)).collect();
            for index in &there {
                let start = usize::try_from(*index).unwrap() * unit;
                let end = (start + unit).min(bytes.len());
                file.write_all_at(&bytes[start..end], start as u64).unwrap();
            }
            let view = ModelView::open(holes.path(), &signed.metadata, signed.files.clone()).unwrap();
            let view = TensorView::new(view, tensors.clone());
            let tensor = view
                .read(entry.name.as_str())
                .unwrap_or_else(|error| panic!("{}: {error}", entry.name.as_str()));
            let from = usize::try_from(entry.offset).unwrap();
            assert!(tensor.bytes() == &bytes[from..from + tensor.bytes().len()], "{}", entry.name.as_str());
            assert_eq!((tensor.dtype(), tensor.shape()), (&entry.dtype, &entry.shape[..]));
            assert_eq!(view.view().reads().chunks, there.len() as u64, "{}", entry.name.as_str());
        }
    }
}

/// A list may place tensors within the header. The header is still read, and it contradicts the list.
#[test]
fn a_list_with_tensors_in_the_header_is_refused_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let written = Gguf { variant: Variant::F16, ..Gguf::small(4) }.write(folder.path()).unwrap();
    let name = written.files[0].as_str();
    let bytes = fs::read(folder.path().join(name)).unwrap();
    for offset in [0, 1, 23, 24, 100, 4_000] {
        let mut draft = Draft::of(&[(name, bytes.clone())], ChunkSize::DEFAULT_MIN);
        let entry = draft.tensors.as_mut().unwrap().iter_mut().min_by_key(|tensor| tensor.offset).unwrap();
        entry.offset = offset;
        let asked = entry.name.clone();
        let signed = draft.sign();
        let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
        let error = TensorView::new(view, signed.tensors.unwrap()).read(asked.as_str()).unwrap_err();
        assert_eq!(error.error_code().get(), 2305, "{offset}: {error}");
    }
}

/// A view returns tensors that agree with the verified header. A header with an unknown dtype cannot be parsed to its
/// end, so the view returns an error for the file's tensors.
#[test]
fn tensors_of_a_header_with_a_dtype_that_is_not_known_are_not_given_but_their_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let written = Gguf { variant: Variant::F16, ..Gguf::small(4) }.write(folder.path()).unwrap();
    let name = written.files[0].as_str();
    let mut bytes = fs::read(folder.path().join(name)).unwrap();
    let draft = Draft::of(&[(name, bytes.clone())], ChunkSize::DEFAULT_MIN);
    let listed = draft.tensors.unwrap();
    // The number of the dtype follows the name, a dimension count of 4 bytes and two dimensions of 8 bytes each.
    let matrix = listed.iter().find(|tensor| tensor.shape.len() == 2).unwrap();
    let at =
        bytes.windows(matrix.name.as_str().len()).position(|w| w == matrix.name.as_str().as_bytes()).unwrap();
    bytes[at + matrix.name.as_str().len() + 4 + 16] = 142;
    fs::write(folder.path().join(name), &bytes).unwrap();
    let mut draft = Draft::of(&[(name, bytes.clone())], ChunkSize::DEFAULT_MIN);
    draft.tensors = Some(listed.clone());
    let signed = draft.sign();
    let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let view = TensorView::new(view, signed.tensors.unwrap());
    let asked = &listed[0];
    let error = view.read(asked.name.as_str()).unwrap_err();
    assert!(matches!(error, TensorError::UnknownDtype { .. }) && error.error_code().get() == 4314, "{error}");
    assert!(error.to_string().contains("has the dtype 142, which this version does not know"), "{error}");
    let from = usize::try_from(asked.offset).unwrap();
    let mut into = vec![0; usize::try_from(asked.size).unwrap()];
    view.view().read_at(0, asked.offset, &mut into).unwrap();
    assert!(into == bytes[from..from + into.len()]);
}
