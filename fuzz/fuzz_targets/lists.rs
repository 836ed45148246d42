//! Lists, under a head that is made for exactly these bytes: they are accepted if and only if a second implementation
//! of the specification, with another JSON parser and another tree, accepts them.
//!
//! Input: `files.jsonl`, an empty line, `tensors.jsonl`.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{
    bounded,
    lines::{BELOW, FileLine, TensorLine},
    naive,
};
use weighbridge_manifest::{
    Expectation, FileEntry, Head, HeadError, HeadFault, ListSize, ModelName, SignedHead, TensorEntry,
    Tensors, Time, TrustError, TrustPolicy, VerifiedFileList, VerifiedHead,
    tree::{ChunkSize, ModelRoot, TensorsRoot, head_id},
    write_files, write_tensors,
};

fuzz_target!(|data: &[u8]| {
    let (files, tensors) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&data[..=end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let Some(head) = head_for(files, tensors) else { return };
    let Some(list) = check_files(&head, files) else { return };
    check_tensors(&list, tensors);
});

fn check_files(head: &VerifiedHead, bytes: &[u8]) -> Option<VerifiedFileList> {
    let lines = lines(bytes);
    for line in lines.iter().flatten() {
        let ours = FileEntry::parse(line).map(|entry| entry.to_string()).ok();
        assert_eq!(ours.as_deref(), FileLine::read(line).map(|_| *line), "{line}");
    }
    let opened = bounded(bytes.len(), || head.open_files(bytes));
    assert_eq!(opened.is_ok(), files_are_good(lines.as_deref()), "{opened:?}");
    let list = opened.ok()?;
    assert_eq!(list.bytes(), head.head().bytes);
    for (position, entry) in list.entries().iter().enumerate() {
        assert_eq!(list.find(entry.path.as_str()), Some((position, entry)));
    }
    // The entries in any order are written as this list and no other.
    let shuffled = list.entries().iter().rev().cloned().collect();
    let written = write_files(shuffled).expect("what was opened can be written");
    assert_eq!(written.text.as_bytes(), bytes);
    assert_eq!((written.list, written.root), (head.head().files, head.head().root));
    // A single flipped bit is refused.
    let mut changed = bytes.to_vec();
    changed[bytes.len() / 2] ^= 1;
    assert!(head.open_files(&changed).is_err());
    Some(list)
}

fn check_tensors(files: &VerifiedFileList, bytes: &[u8]) {
    let lines = lines(bytes);
    for line in lines.iter().flatten() {
        let ours = TensorEntry::parse(line).map(|entry| entry.to_string()).ok();
        assert_eq!(ours.as_deref(), TensorLine::read(line).map(|_| *line), "{line}");
    }
    let opened = bounded(bytes.len(), || files.open_tensors(bytes));
    assert_eq!(opened.is_ok(), tensors_are_good(lines.as_deref(), files), "{opened:?}");
    let Ok(list) = opened else { return };
    let by_file: usize = files.entries().iter().map(|file| list.of_file(file.path.as_str()).len()).sum();
    assert_eq!(by_file, list.entries().len());
    let shuffled = list.entries().iter().rev().cloned().collect();
    let written = write_tensors(shuffled).expect("what was opened can be written");
    assert_eq!(written.text.as_bytes(), bytes);
    assert_eq!(Some(written.tensors), files.tensors());
    if !bytes.is_empty() {
        let mut changed = bytes.to_vec();
        changed[bytes.len() / 2] ^= 1;
        assert!(files.open_tensors(&changed).is_err());
    }
}

/// A head that signs these lists, whatever they are, if any head can. Its own id pins it.
fn head_for(files: &[u8], tensors: &[u8]) -> Option<VerifiedHead> {
    let raw = |bytes: &'_ [u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|b| *b == b'\n').map(|l| l.strip_suffix(b"\n").unwrap_or(l).to_vec()).collect()
    };
    let (file_lines, tensor_lines) = (raw(files), raw(tensors));
    let sizes = file_lines.iter().filter_map(|line| FileLine::read(str::from_utf8(line).ok()?));
    let bytes = sizes.fold(0_u64, |sum, line| sum.saturating_add(line.size));
    if file_lines.is_empty() || bytes >= BELOW {
        return None;
    }
    let leaves = |lines: &[Vec<u8>]| -> Vec<_> { lines.iter().map(|line| naive::leaf(line)).collect() };
    let size =
        |lines: &[Vec<u8>], bytes: &[u8]| ListSize { count: lines.len() as u64, length: bytes.len() as u64 };
    let head = Head {
        name: ModelName::parse("fuzzed/model").expect("a name"),
        revision: 1,
        previous: None,
        created: Time::from_unix(0).expect("a time"),
        expires: None,
        bytes,
        files: size(&file_lines, files),
        root: ModelRoot::from_bytes(naive::model_root(&leaves(&file_lines), bytes)),
        tensors: Some(Tensors {
            list: size(&tensor_lines, tensors),
            root: TensorsRoot::from_bytes(naive::tensors_root(&leaves(&tensor_lines))),
        }),
        chunk_size: ChunkSize::DEFAULT_MIN,
        ext: Vec::new(),
    };
    let text = head.to_string();
    let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
    let note = SignedHead::parse(format!("{text}\n\u{2014} nobody AAAAAAE=\n").as_bytes()).expect("a note");
    match note.verify(&policy, &Expectation::any(), None) {
        Ok(head) => Some(head),
        // No head says these sizes, and no list has them: some line is longer, or shorter, than an entry can be.
        Err(TrustError::Head(HeadError { fault: HeadFault::Value { key }, .. })) => {
            let is_good = match key {
                "files" => files_are_good(lines(files).as_deref()),
                _ => lines(tensors)
                    .is_some_and(|lines| lines.iter().all(|line| TensorLine::read(line).is_some())),
            };
            assert!(!is_good, "a list that no head can sign, by {key}");
            None
        }
        Err(error) => panic!("a head that is pinned: {error:?}"),
    }
}

/// The lines of a list; none for an empty list, `None` if the list is not UTF-8 or does not end with LF.
fn lines(bytes: &[u8]) -> Option<Vec<&str>> {
    match str::from_utf8(bytes).ok()? {
        "" => Some(Vec::new()),
        text => Some(text.strip_suffix('\n')?.split('\n').collect()),
    }
}

fn files_are_good(lines: Option<&[&str]>) -> bool {
    let Some(lines) = lines else { return false };
    let Some(files) = lines.iter().map(|line| FileLine::read(line)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let paths: BTreeSet<&str> = files.iter().map(|file| file.file.as_str()).collect();
    let has_parent = |path: &str| path.match_indices('/').any(|(end, _)| paths.contains(&path[..end]));
    let with_sha256 = files.iter().filter(|file| file.sha256.is_some()).count();
    files.is_sorted_by(|a, b| a.file < b.file)
        && !paths.iter().any(|path| has_parent(path))
        && (with_sha256 == 0 || with_sha256 == files.len())
}

fn tensors_are_good(lines: Option<&[&str]>, files: &VerifiedFileList) -> bool {
    let Some(lines) = lines else { return false };
    let Some(tensors) = lines.iter().map(|line| TensorLine::read(line)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let lies_in_its_file = |tensor: &TensorLine| {
        let file = files.entries().iter().find(|file| file.path.as_str() == tensor.file);
        let has_tensors = tensor.file.ends_with(".safetensors") || tensor.file.ends_with(".gguf");
        has_tensors && file.is_some_and(|file| tensor.offset + tensor.size <= file.size)
    };
    tensors.iter().all(lies_in_its_file)
        && tensors.is_sorted_by(|a, b| (&a.file, &a.tensor) < (&b.file, &b.tensor))
}
