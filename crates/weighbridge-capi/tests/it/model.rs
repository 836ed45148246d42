//! A model folder on disk, by way of C.

use std::{fs, ptr};

use weighbridge_capi::*;
use weighbridge_formats::generate::Llama;
use weighbridge_testkit::{Folder, Sample};

use crate::handle::{ANY, Failed, Handle, c, called, code, file, made, policy_of_head, text};

fn open(folder: &Folder, meta: Option<&str>, id: &str) -> Result<Handle<wb_model>, Failed> {
    let (path, meta) = (c(folder.path().to_str().unwrap()), meta.map(c));
    let meta = meta.as_ref().map_or(ptr::null(), |meta| meta.as_ptr());
    let policy = policy_of_head(id).ok().unwrap();
    // SAFETY: the texts end with NUL.
    made(|place, error| unsafe { wb_model_open(path.as_ptr(), meta, *policy, &ANY, place, error) })
}

fn read(model: &Handle<wb_model>, file: usize, offset: u64, len: usize) -> Result<Vec<u8>, Failed> {
    let mut into = vec![0; len];
    // SAFETY: pointer and length are those of a slice.
    called(|error| unsafe { wb_model_read(**model, file, offset, into.as_mut_ptr(), len, error) })?;
    Ok(into)
}

fn sample() -> (Sample, Folder) {
    let sample = Sample::of(&[("config.json", 100), ("empty", 0), ("model.bin", 40_000)], 1);
    let folder = Folder::new();
    for nth in 0..3 {
        folder.write(sample.path(nth).as_str(), sample.bytes(nth));
    }
    folder.write("weighbridge/head.note", &sample.note);
    folder.write("weighbridge/files.jsonl", &sample.files);
    folder.write("weighbridge/chunks.layer", &sample.layers);
    (sample, folder)
}

#[test]
fn reads_verify_the_chunks_that_they_touch() {
    let (sample, folder) = sample();
    folder.alter("model.bin", |bytes| bytes[39_000] ^= 1);
    let model = open(&folder, None, &sample.id.to_string()).ok().unwrap();
    assert_eq!(read(&model, 2, 16_380, 100).ok().unwrap(), &sample.bytes(2)[16_380..16_480]);
    let (mut chunks, mut bytes) = (0, 0);
    // SAFETY: the places are for numbers; the model lives.
    unsafe {
        wb_model_reads(*model, &raw mut chunks, &raw mut bytes);
        assert_eq!((chunks, bytes), (2, 32_768));
        assert!(wb_model_tensors(*model).is_null(), "the head lists none");
        assert_eq!(text(wb_head_name(wb_model_head(*model))), "test/model");
        assert_eq!(text(file(wb_model_files(*model), 2).unwrap().path), "model.bin");
        assert_eq!(wb_model_verify_file(*model, 0, ptr::null_mut()), WB_OK);
        assert_eq!(wb_model_verify_file(*model, 1, ptr::null_mut()), WB_OK);
        let failed = called(|error| wb_model_verify_file(*model, 2, error)).err().unwrap();
        assert_eq!((failed.code, failed.chunk), (2102, Some((2, 32_768, 40_000))));
        assert_eq!(wb_model_verify_file(*model, 3, ptr::null_mut()), 9001);
    }
    assert_eq!(code(read(&model, 2, 32_767, 2)), 2102);
    assert_eq!(code(read(&model, 2, 39_999, 2)), 9001);
    assert_eq!(code(read(&model, 2, u64::MAX, 2)), 9001);
    assert_eq!(code(read(&model, 3, 0, 0)), 9001);
    assert_eq!(code(read(&model, 2, 40_000, 0)), 0);
    fs::remove_file(folder.at("config.json")).unwrap();
    assert_eq!(code(read(&model, 0, 0, 100)), 2106);
}

#[test]
fn what_is_wrong_with_the_metadata_is_told_when_a_model_is_opened() {
    let (sample, folder) = sample();
    let id = sample.id.to_string();
    assert_eq!(code(open(&folder, None, &"0".repeat(64))), 3106);
    assert_eq!(code(open(&folder, Some("/nowhere"), &id)), 9002);
    let meta = Folder::new();
    for name in ["head.note", "files.jsonl", "chunks.layer"] {
        fs::rename(folder.at(&format!("weighbridge/{name}")), meta.at(name)).unwrap();
    }
    assert_eq!(code(open(&folder, None, &id)), 9002);
    let at = meta.path().to_str().unwrap().to_owned();
    assert_eq!(code(open(&folder, Some(&at), &id)), 0);
    meta.alter("files.jsonl", |bytes| bytes[10] ^= 1);
    assert!((1301..=1312).contains(&code(open(&folder, Some(&at), &id))));
    meta.alter("files.jsonl", |bytes| bytes[10] ^= 1);
    meta.alter("chunks.layer", |bytes| bytes.truncate(64));
    assert_eq!(code(open(&folder, Some(&at), &id)), 2201);
    fs::remove_file(meta.at("chunks.layer")).unwrap();
    let model = open(&folder, Some(&at), &id).ok().unwrap();
    assert_eq!((code(read(&model, 0, 0, 100)), code(read(&model, 2, 0, 100))), (0, 9106));
}

#[test]
fn tensors_are_read_wherever_the_model_is_split() {
    let folder = Folder::new();
    let _ = Llama::of_size(300_000, 2, 1).write(folder.path()).unwrap();
    let contents: Vec<(String, Vec<u8>)> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    let contents: Vec<_> = contents.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let signed = weighbridge_testkit::Draft::of(&contents, weighbridge_verify::tree::ChunkSize::MIN).sign();
    let (meta, id) = (signed.metadata.folder().to_str().unwrap(), signed.head.id().to_string());
    let model = open(&folder, Some(meta), &id).ok().unwrap();
    let read = |position: usize, offset: u64, len: u64| {
        let mut into = vec![0; usize::try_from(len).unwrap()];
        // SAFETY: pointer and length are those of a slice.
        called(|error| unsafe {
            wb_model_read_tensor(*model, position, offset, into.as_mut_ptr(), into.len(), error)
        })
        .map(|()| into)
    };
    // SAFETY: the model lives; the places are for what is asked for.
    unsafe {
        let tensors = wb_model_tensors(*model);
        let count = wb_tensors_count(tensors);
        assert!(count > 10);
        let mut of_files = std::collections::BTreeSet::new();
        for position in 0..count {
            let mut tensor = std::mem::zeroed();
            assert!(wb_tensors_get(tensors, position, &raw mut tensor));
            let (name, file) = (text(tensor.name), text(tensor.file));
            let (_, content) = contents.iter().find(|(name, _)| *name == file).unwrap();
            let start = usize::try_from(tensor.offset).unwrap();
            let expected = &content[start..start + usize::try_from(tensor.size).unwrap()];
            assert_eq!(read(position, 0, tensor.size).ok().unwrap(), expected, "{name}");
            assert_eq!(read(position, tensor.size - 1, 1).ok().unwrap(), expected[expected.len() - 1..]);
            assert_eq!(code(read(position, 1, tensor.size)), 9001);
            assert_eq!(code(read(position, u64::MAX, 1)), 9001);
            let shape = std::slice::from_raw_parts(tensor.shape, tensor.rank);
            assert_eq!(shape.iter().product::<u64>() * 2, tensor.size, "BF16");
            of_files.insert(tensor.file_position);
        }
        assert_eq!(of_files.len(), 2);
        assert_eq!(code(read(count, 0, 0)), 9001);
    }
}

#[test]
fn a_relative_folder_is_the_one_of_the_call() {
    let (sample, folder) = sample();
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    let policy = policy_of_head(&sample.id.to_string()).ok().unwrap();
    // SAFETY: the texts end with NUL.
    let model = made(|place, error| unsafe {
        wb_model_open(c".".as_ptr(), c"weighbridge".as_ptr(), *policy, &ANY, place, error)
    });
    std::env::set_current_dir("/").unwrap();
    let model = model.ok().unwrap();
    assert_eq!(read(&model, 2, 0, 40_000).ok().unwrap(), sample.bytes(2));
    assert_eq!(read(&model, 0, 0, 100).ok().unwrap(), sample.bytes(0));
    std::env::set_current_dir(before).unwrap();
}
