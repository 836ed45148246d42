//! Headers of GGUF files: the verdict does not depend on how the header arrives, and verdict, tensors and split are
//! those of a second implementation.
//!
//! Input: the file's size as eight bytes, least significant first, then the file's beginning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_formats::{Format, FormatError, Parsed, TensorSpan, needs_prefix, parse, split::Split};
use weighbridge_fuzz::{
    bounded,
    gguf::{Header, Tensors, read},
};

fuzz_target!(|data: &[u8]| {
    let Some((file_size, prefix)) = data.split_first_chunk() else { return };
    // Once with the given size, and once with the size of a file that ends where the input ends.
    check(prefix, u64::from_le_bytes(*file_size));
    check(prefix, prefix.len() as u64);
});

fn check(prefix: &[u8], file_size: u64) {
    let verdict = bounded(prefix.len(), || parse(Format::Gguf, prefix, file_size));
    agree(prefix, file_size, &verdict);

    // The parser gets only as many bytes as it asked for, from none on, until the input ends. The verdict has to be
    // the same.
    let mut known = 0;
    let grown = loop {
        let beginning = &prefix[..known];
        let end = parse(Format::Gguf, beginning, file_size);
        agree(beginning, file_size, &end);
        match end {
            Ok(Parsed::NeedPrefix(length)) if known < prefix.len() => {
                assert!(length > known as u64 && length <= file_size, "asked for {length} bytes");
                // Each request grows by a fourth, so that all calls together cost no more than a few.
                assert!(length >= (known as u64 / 4 * 5).min(file_size), "asked for {length} after {known}");
                known = prefix.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            }
            end => break end,
        }
    };
    assert_eq!(grown, verdict);

    let theirs = read(prefix, file_size);
    let said = |split: Option<Split>| split.map(|split| (split.number, split.count, split.tensors));
    let ours = match verdict {
        Ok(Parsed::NeedPrefix(_)) => None,
        Err(error) => return assert_eq!(theirs, None, "{error}"),
        Ok(Parsed::Tensors { tensors, header_len, split }) => {
            let line = |TensorSpan { name, dtype, shape, offset, size }| (name, dtype, shape, offset, size);
            let places = tensors.into_iter().map(line).collect();
            Some(Header { tensors: Tensors::Known { places, data: header_len }, split: said(split) })
        }
        Ok(Parsed::UnknownDtype { dtype, names, split }) => {
            let whose = |name: &String| name.chars().take(80).eq(dtype.tensor().as_str().chars());
            let first = match &theirs {
                // The shown name is cut, so several names may begin with it.
                Some(Header { tensors: Tensors::Unknown { first, .. }, .. }) if whose(&names[*first]) => {
                    *first
                }
                other => panic!("{dtype}: {other:?}"),
            };
            let kind = dtype.dtype().parse().expect("a number");
            Some(Header { tensors: Tensors::Unknown { first, kind, names }, split: said(split) })
        }
    };
    assert_eq!(theirs, ours);
}

/// `needs_prefix` asks for the same length as `parse`, keeps no memory, and refuses nothing.
fn agree(prefix: &[u8], file_size: u64, verdict: &Result<Parsed, FormatError>) {
    let needed = bounded(0, || needs_prefix(Format::Gguf, prefix, file_size));
    let expected = match verdict {
        Ok(Parsed::NeedPrefix(length)) => Some(*length),
        Ok(Parsed::Tensors { .. } | Parsed::UnknownDtype { .. }) | Err(_) => None,
    };
    assert_eq!(needed, expected);
}
