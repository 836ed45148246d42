//! Headers of safetensors files: one verdict however they arrive, and what is accepted is what another JSON library
//! reads, laid out without holes.
//!
//! Input: the file's size as eight bytes, least significant first, then the file's beginning.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use weighbridge_formats::{Format, Parsed, TensorSpan};
use weighbridge_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    let Some((file_size, prefix)) = data.split_first_chunk() else { return };
    // Twice: with the size as given, and with that of a file which ends where the input does.
    check(prefix, u64::from_le_bytes(*file_size));
    check(prefix, prefix.len() as u64);
});

fn check(prefix: &[u8], file_size: u64) {
    let verdict = bounded(prefix.len(), || Format::Safetensors.parse(prefix, file_size));

    // Read as the parser asks for it, from nothing, as far as there is something: the same verdict.
    let mut known = 0;
    let mut requests = 0;
    let grown = loop {
        match Format::Safetensors.parse(&prefix[..known], file_size) {
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

    let Ok(Parsed::Tensors { tensors, header_len, .. }) = verdict else { return };
    // The tensors cover the rest of the file, each byte once.
    let mut at = header_len;
    for tensor in &tensors {
        assert_eq!(tensor.offset, at, "{tensor:?}");
        at += tensor.size;
    }
    assert!(at == file_size && file_size < 1 << 53);

    let header = &prefix[8..usize::try_from(header_len).expect("a header in memory")];
    let mut theirs: BTreeMap<String, Value> = serde_json::from_slice(header).expect("JSON");
    theirs.remove("__metadata__");
    for TensorSpan { name, dtype, shape, offset, size } in tensors {
        let entry = theirs.remove(&name).expect("a tensor that only we see, or see twice");
        let begin = offset - header_len;
        let ours = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size] });
        assert_eq!(ours, entry);
    }
    assert!(theirs.is_empty(), "tensors that only others see");
}
