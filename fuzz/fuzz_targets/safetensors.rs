//! Headers of safetensors files: the verdict does not depend on how the header arrives, and an accepted header has
//! the content that another JSON library reads, without holes between tensors.
//!
//! Input: the file's size as eight bytes, least significant first, then the file's beginning.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use weighbridge_formats::{Format, Parsed, TensorSpan, UnknownDtype, parse};
use weighbridge_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Some((file_size, prefix)) = data.split_first_chunk() else { return };
    // Once with the given size, and once with the size of a file that ends where the input ends.
    check(prefix, u64::from_le_bytes(*file_size));
    check(prefix, prefix.len() as u64);
});

fn check(prefix: &[u8], file_size: u64) {
    let verdict = bounded(prefix.len(), || parse(Format::Safetensors, prefix, file_size));

    // The parser gets only as many bytes as it asked for, from none on, until the input ends. The verdict has to be
    // the same.
    let mut known = 0;
    let mut requests = 0;
    let grown = loop {
        match parse(Format::Safetensors, &prefix[..known], file_size) {
            Ok(Parsed::NeedPrefix(length)) if known < prefix.len() => {
                assert!(length > known as u64 && length <= file_size, "asked for {length} bytes");
                known = prefix.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                requests += 1;
            }
            end => break end,
        }
    };
    assert!(requests <= 3, "asked {requests} times");
    assert_eq!(grown, verdict);

    let (tensors, header_len) = match verdict {
        Ok(Parsed::Tensors { tensors, header_len, .. }) => (tensors, header_len),
        Ok(Parsed::UnknownDtype { dtype, names, .. }) => return unknown(prefix, &dtype, names),
        Ok(Parsed::NeedPrefix(_)) | Err(_) => return,
    };
    // The tensors cover the rest of the file, each byte exactly once.
    let mut at = header_len;
    for tensor in &tensors {
        assert_eq!(tensor.offset, at, "{tensor:?}");
        at += tensor.size;
    }
    assert!(at == file_size && file_size < 1 << 53);

    let mut theirs = entries(prefix);
    assert_eq!(header_len, header_end(prefix) as u64);
    for TensorSpan { name, dtype, shape, offset, size } in tensors {
        let entry = theirs.remove(&name).expect("a tensor that only we see, or see twice");
        let begin = offset - header_len;
        let ours = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size] });
        assert_eq!(ours, entry);
    }
    assert!(theirs.is_empty(), "tensors that only others see");
}

/// Checks a header with an unknown dtype: the header has this dtype, and `names` are all of its names.
fn unknown(prefix: &[u8], dtype: &UnknownDtype, names: Vec<String>) {
    let theirs = entries(prefix);
    let whose = |(name, entry): (&String, &Value)| {
        let named = name.chars().take(80).eq(dtype.tensor().as_str().chars());
        let written = entry["dtype"].as_str().expect("a dtype").chars();
        named && written.take(80).eq(dtype.dtype().chars())
    };
    assert!(theirs.iter().any(whose), "{dtype}");
    let ours: BTreeSet<String> = names.into_iter().collect();
    assert!(ours.iter().eq(theirs.keys()));
}

/// The tensors of a header as another JSON library reads them.
fn entries(prefix: &[u8]) -> BTreeMap<String, Value> {
    let header = &prefix[8..header_end(prefix)];
    let mut entries: BTreeMap<String, Value> = serde_json::from_slice(header).expect("JSON");
    entries.remove("__metadata__");
    entries
}

fn header_end(prefix: &[u8]) -> usize {
    let len = prefix.first_chunk().map(|len| u64::from_le_bytes(*len)).expect("a length");
    8 + usize::try_from(len).expect("a header in memory")
}
