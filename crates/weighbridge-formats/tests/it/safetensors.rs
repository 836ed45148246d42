//! Headers of safetensors files: accepted forms, and every refusal.

mod cases;

use cases::{ACCEPTED, REFUSED};
use proptest::prelude::*;
use serde_json::Value;
use weighbridge_formats::{Coded, Format, FormatError, Parsed, TensorSpan, needs_prefix, parse};

/// A file of this header and `buffer` bytes after it.
fn file(header: &str, buffer: usize) -> Vec<u8> {
    let len = u64::try_from(header.len()).unwrap();
    [&len.to_le_bytes(), header.as_bytes(), &vec![0; buffer]].concat()
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

fn tensors_of(bytes: &[u8]) -> Result<Vec<TensorSpan>, FormatError> {
    match parse(Format::Safetensors, bytes, size(bytes))? {
        Parsed::Tensors { tensors, .. } => Ok(tensors),
        Parsed::UnknownDtype { dtype, .. } => unreachable!("{dtype}"),
        Parsed::NeedPrefix(length) => unreachable!("asked for {length} bytes of {} given", bytes.len()),
    }
}

/// The code of the refusal, or of the reason why no tensor is listed.
fn code(header: &str, buffer: usize) -> u16 {
    parse_code(&file(header, buffer))
}

const SAMPLE: &str = concat!(
    r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"#,
    r#""a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#
);

#[test]
fn the_example_of_the_specification_is_accepted() {
    let span = |name: &str, dtype: &str, shape: &[u64], offset, size| TensorSpan {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.into(),
        offset,
        size,
    };
    let header = format!("{SAMPLE}   ");
    assert_eq!(header.len(), 144, "the page counts the same bytes");
    let expected = [span("a", "F32", &[2, 1], 152, 8), span("b", "BF16", &[], 160, 2)];
    assert_eq!(tensors_of(&file(&header, 10)).unwrap(), expected);
}

#[test]
fn accepts_what_the_format_allows() {
    for (header, buffer, tensors) in ACCEPTED {
        assert_eq!(tensors_of(&file(header, *buffer)).map(|found| found.len()), Ok(*tensors), "{header}");
    }
}

#[test]
fn knows_every_dtype_and_its_bits() {
    let dtypes = [
        (4, "F4"),
        (6, "F6_E2M3 F6_E3M2"),
        (8, "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ"),
        (16, "I16 U16 F16 BF16"),
        (32, "I32 U32 F32"),
        (64, "C64 F64 I64 U64"),
    ];
    for (bits, names) in dtypes {
        for dtype in names.split(' ') {
            let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,{bits}]}}}}"#);
            let tensors = tensors_of(&file(&header, bits)).unwrap();
            assert_eq!((tensors[0].dtype.as_str(), tensors[0].size), (dtype, u64::try_from(bits).unwrap()));
        }
    }
}

#[test]
fn says_how_much_it_needs_without_looking_into_the_header() {
    let needs = |prefix: &[u8], size| needs_prefix(Format::Safetensors, prefix, size);
    // The text is not a header, but is as long as it claims.
    let bytes = file("{ and so on", 10);
    let size = size(&bytes);
    assert_eq!((needs(&[], size), needs(&bytes[..7], size)), (Some(8), Some(8)));
    assert_eq!((needs(&bytes[..8], size), needs(&bytes[..18], size)), (Some(19), Some(19)));
    assert_eq!((needs(&bytes[..19], size), needs(&bytes, size)), (None, None));
    // Exactly when `parse` gives its verdict, no more bytes are needed.
    let headers = ACCEPTED.iter().map(|(header, ..)| *header).chain(["", "x", "version https://git-lfs"]);
    for bytes in
        headers.map(|header| file(header, 3)).chain([b"version https://git-lfs.github.com/".to_vec()])
    {
        for size in [0, 7, 8, 9, 39, 40, self::size(&bytes), 1 << 40] {
            for end in 0..=bytes.len() {
                let needed = match parse(Format::Safetensors, &bytes[..end], size) {
                    Ok(Parsed::NeedPrefix(length)) => Some(length),
                    Ok(Parsed::Tensors { .. } | Parsed::UnknownDtype { .. }) | Err(_) => None,
                };
                assert_eq!(needs(&bytes[..end], size), needed);
            }
        }
    }
}

#[test]
fn refuses_with_the_code_of_the_first_failure() {
    let failures: Vec<_> = REFUSED
        .iter()
        .filter_map(|(expected, header, buffer)| {
            let found = code(header, *buffer);
            (found != *expected).then(|| format!("expected {expected}, found {found}: {header}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// An unknown dtype was once a fault of the file (4108). Other faults are still reported.
#[test]
fn a_dtype_that_is_not_known_is_no_fault_and_hides_none() {
    let new = |dtype: &str| format!(r#""new":{{"dtype":{dtype:?},"shape":[3],"data_offsets":[4,5]}}"#);
    let old = |offsets: &str| format!(r#""old":{{"dtype":"F32","shape":[1],"data_offsets":[{offsets}]}}"#);
    for written in ["F128", "f32", "", "F32 ", "\u{1b}[2J"] {
        let header = format!("{{{},{}}}", new(written).replace("\\u{1b}", "\\u001b"), old("0,4"));
        let bytes = file(&header, 5);
        let parsed = parse(Format::Safetensors, &bytes, size(&bytes)).unwrap();
        let Parsed::UnknownDtype { dtype, names, split: None } = parsed else {
            panic!("{written}: {parsed:?}")
        };
        assert_eq!((dtype.error_code().get(), dtype.tensor().as_str()), (4108, "new"));
        assert_eq!((dtype.dtype().as_str(), names), (written, vec!["old".to_owned(), "new".to_owned()]));
        assert!(!dtype.to_string().contains('\u{1b}'), "{dtype}");
    }
    for (expected, entries, buffer) in [
        (4105, format!("{},", new("F128")), 5),
        (4106, [new("F128"), new("F128")].join(","), 5),
        (4107, r#""new":{"dtype":"F128","shape":7,"data_offsets":[0,1]}"#.to_owned(), 1),
        (4109, r#""new":{"dtype":"F128","shape":[7],"data_offsets":[1,0]}"#.to_owned(), 1),
        (4110, [new("F128"), old("0,3")].join(","), 5),
        (4112, new("F128"), 5),
        (4113, [new("F128"), old("0,4"), old("1,5").replace("old", "other")].join(","), 5),
        (4114, [new("F128"), old("0,4")].join(","), 4),
    ] {
        assert_eq!(code(&format!("{{{entries}}}"), buffer), expected, "{entries}");
    }
}

#[test]
fn every_code_is_broken_by_something() {
    let mut codes: Vec<_> = REFUSED.iter().map(|(code, ..)| *code).collect();
    codes.extend([4101, 4102, 4103, 4117]); // below: they need no header
    codes.sort_unstable();
    codes.dedup();
    // 4108 does not refuse a file.
    assert_eq!(codes, (4101..=4117).filter(|code| *code != 4108).collect::<Vec<_>>());
}

#[test]
fn lengths_are_checked_before_more_is_asked_for() {
    let parse = |prefix: &[u8], file_size| parse(Format::Safetensors, prefix, file_size);
    let code = |prefix: &[u8], file_size| parse(prefix, file_size).unwrap_err().error_code().get();
    let need = |prefix: &[u8], file_size| match parse(prefix, file_size) {
        Ok(Parsed::NeedPrefix(length)) => length,
        other => unreachable!("{other:?}"),
    };
    for file_size in 0..8 {
        assert_eq!(code(b"", file_size), 4101);
    }
    assert_eq!(need(b"", 8), 8);
    assert_eq!(need(&[2; 7], u64::MAX), 8);
    assert_eq!(need(&2_u64.to_le_bytes(), 10), 10);
    assert_eq!(need(&100_000_000_u64.to_le_bytes(), 100_000_008), 100_000_008);
    assert_eq!(code(&100_000_001_u64.to_le_bytes(), u64::MAX), 4102);
    assert_eq!(code(&u64::MAX.to_le_bytes(), 8), 4102);
    assert_eq!(code(&100_000_000_u64.to_le_bytes(), 100_000_007), 4103);
    assert_eq!(code(&1_u64.to_le_bytes(), 8), 4103);
    assert_eq!(code(&0_u64.to_le_bytes(), 8), 4104);
    // Bytes past the file's end do not belong to the file.
    assert_eq!(code(b"\x02\0\0\0\0\0\0\0{}", 9), 4103);
    assert_eq!(code(b"\0\0\0\0\0\0\0\0{}", 7), 4101);
}

#[test]
fn a_git_lfs_pointer_is_called_that_as_soon_as_it_can_be() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 90868376\n";
    let parse = |known: usize| parse(Format::Safetensors, &pointer[..known], size(pointer));
    assert_eq!(parse(0), Ok(Parsed::NeedPrefix(8)));
    for known in 8..40 {
        assert_eq!(parse(known), Ok(Parsed::NeedPrefix(40)));
    }
    for known in 40..pointer.len() {
        assert_eq!(parse(known), Err(FormatError::LfsPointer));
    }
    // A shortened pointer is a file whose first eight bytes are a very large number.
    assert_eq!(parse_code(&pointer[..39]), 4102);
    assert_eq!(parse_code(b"version 1, a text that is no pointer to anything at all"), 4102);
}

fn parse_code(bytes: &[u8]) -> u16 {
    match parse(Format::Safetensors, bytes, size(bytes)) {
        Err(error) => error.error_code().get(),
        Ok(Parsed::UnknownDtype { dtype, .. }) => dtype.error_code().get(),
        Ok(_) => 0,
    }
}

#[test]
fn the_verdict_does_not_depend_on_how_the_prefix_grows() {
    let headers = ACCEPTED.iter().map(|(header, buffer, _)| (*header, *buffer));
    for (header, buffer) in headers.chain(REFUSED.iter().map(|(_, header, buffer)| (*header, *buffer))) {
        let file = file(header, buffer);
        let whole = parse(Format::Safetensors, &file, size(&file));
        for known in 0..=file.len() {
            match parse(Format::Safetensors, &file[..known], size(&file)) {
                Ok(Parsed::NeedPrefix(length)) => {
                    assert!(length > size(&file[..known]) && length <= size(&file), "{header}");
                }
                verdict => assert_eq!(verdict, whole, "{header}"),
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = file(SAMPLE, 10);
    assert!(tensors_of(&whole).is_ok());
    for cut in 0..whole.len() {
        assert!(tensors_of(&whole[..cut]).is_err(), "cut to {cut} bytes");
        let cut_header = file(&SAMPLE[..cut.min(SAMPLE.len() - 1)], 10);
        assert!(tensors_of(&cut_header).is_err(), "header cut to {cut} bytes");
    }
}

#[test]
fn every_changed_byte_is_refused_or_says_something_else() {
    let whole = file(SAMPLE, 10);
    let tensors = tensors_of(&whole).unwrap();
    let in_metadata = 8 + SAMPLE.find("format").unwrap()..8 + SAMPLE.find("pt").unwrap() + 2;
    for at in 0..whole.len() - 10 {
        for value in 0..=u8::MAX {
            let mut changed = whole.clone();
            changed[at] = value;
            let parsed = parse(Format::Safetensors, &changed, size(&changed));
            let says_the_same =
                matches!(parsed, Ok(Parsed::Tensors { tensors: found, .. }) if found == tensors);
            assert!(!says_the_same || value == whole[at] || in_metadata.contains(&at), "byte {at}: {value}");
        }
    }
}

#[test]
fn deep_nesting_neither_overflows_nor_passes() {
    let nested = |depth| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(code(&nested(63), 0), 4107);
    assert_eq!(code(&nested(64), 0), 4105);
    assert_eq!(code(&format!(r#"{{"a":{}"#, "[".repeat(5_000_000)), 0), 4105);
}

/// Once, the end of each number was found by comparing all text after it: 9 seconds instead of a tenth of a second.
#[test]
fn a_hundred_thousand_tensors_take_no_time_to_speak_of() {
    let entry = |i| format!(r#""t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let entries: Vec<_> = (0..100_000).rev().map(entry).collect();
    let file = file(&format!("{{{}}}", entries.join(",")), 0);
    let start = std::time::Instant::now();
    let tensors = tensors_of(&file).unwrap();
    assert!(start.elapsed().as_secs() < 4, "{:?}", start.elapsed());
    assert_eq!(tensors.len(), 100_000);
    assert!(tensors.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn messages_say_where_and_how_much() {
    for (header, buffer, message) in [
        ("<html>", 0, "the header begins with the byte 0x3c, expected `{`"),
        (
            "{} \n\0",
            0,
            "the header is not well-formed JSON at byte 12 of the file: expected only white space after the object",
        ),
        (
            r#"{"a\u001b[2J":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            r#"tensor "a\u{1b}[2J": dtype and shape need 8 bytes, its offsets give 4"#,
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
            6,
            r#"tensor "b" begins at byte 115, before tensor "a" ends at byte 117"#,
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#,
            8,
            r#"bytes 61..65 before tensor "a" belong to no tensor"#,
        ),
        ("{}", 5, "the tensors end at byte 10, but the file has 15 bytes"),
        (r#"{"a":{"dtype":"U8","shape":[]}}"#, 0, r#"tensor "a": its entry lacks `data_offsets`"#),
    ] {
        assert_eq!(tensors_of(&file(header, buffer)).unwrap_err().to_string(), message);
    }
    let long = format!(r#"{{"{}":1}}"#, "\u{202e}".repeat(1_000_000));
    assert!(tensors_of(&file(&long, 0)).unwrap_err().to_string().len() < 1_000);
}

/// Reads an accepted header a second time, with the JSON library that most other readers use.
fn agrees_with_serde_json(bytes: &[u8], tensors: &[TensorSpan]) -> bool {
    let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let entries = header.as_object().unwrap();
    let data = size(&bytes[..8 + len]);
    let same = tensors.iter().all(|tensor| {
        let begin = tensor.offset - data;
        entries[&tensor.name]
            == serde_json::json!({
                "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, begin + tensor.size],
            })
    });
    same && tensors.len() == entries.keys().filter(|name| *name != "__metadata__").count()
}

fn any_tensor() -> impl Strategy<Value = (String, usize, Vec<u64>)> {
    let dimension = prop_oneof![1 => Just(0_u64), 9 => 1_u64..9];
    let name = prop_oneof!["[a-z]{1,3}(\\.[a-z0-9]{1,3}){0,2}", "\\PC{0,6}", "[\"\\\\\u{0}-\u{20}😀]{0,4}"];
    (name, 0_usize..5, prop::collection::vec(dimension, 0..4))
}

proptest! {
    /// Every written header is read back with the same content, in the order of the bytes.
    #[test]
    fn what_is_written_is_read(
        tensors in prop::collection::btree_map(any::<u64>(), any_tensor(), 0..12), padding in 0_usize..16,
    ) {
        const DTYPES: [(&str, u64); 5] = [("F4", 4), ("BOOL", 8), ("BF16", 16), ("F32", 32), ("C64", 64)];
        let mut written = std::collections::BTreeMap::new();
        let (mut entries, mut spans, mut end) = (Vec::new(), Vec::new(), 0);
        for (name, dtype, mut shape) in tensors.into_values() {
            let (dtype, bits) = DTYPES[dtype];
            if bits < 8 {
                shape.push(2);
            }
            let size = shape.iter().product::<u64>() * bits / 8;
            if name == "__metadata__" || written.insert(name.clone(), ()).is_some() {
                continue;
            }
            let value = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]});
            entries.push(format!("{}:{value}", Value::String(name.clone())));
            spans.push(TensorSpan { name, dtype: dtype.into(), shape, offset: end, size });
            end += size;
        }
        // The order of entries in the header does not matter.
        entries.sort();
        let header = format!("{{{}}}{}", entries.join(","), " ".repeat(padding));
        let bytes = file(&header, usize::try_from(end).unwrap());
        for span in &mut spans {
            span.offset += 8 + size(header.as_bytes());
        }
        spans.sort_by(|a, b| (a.offset, a.size, &a.name).cmp(&(b.offset, b.size, &b.name)));
        let found = tensors_of(&bytes).unwrap();
        prop_assert!(agrees_with_serde_json(&bytes, &found));
        prop_assert_eq!(found, spans);
    }

    /// Near misses never panic. An accepted one is read in the same way as by other readers.
    #[test]
    fn near_misses_never_panic(
        at in 0..SAMPLE.len(), cut in 0_usize..4, put in r#"[ \[\]{}:,"\\0-9eE.a-z-]{0,3}"#, buffer in 8_usize..12,
    ) {
        let header = format!("{}{put}{}", &SAMPLE[..at], SAMPLE.get(at + cut..).unwrap_or_default());
        let bytes = file(&header, buffer);
        if let Ok(Parsed::Tensors { tensors, .. }) = parse(Format::Safetensors, &bytes, size(&bytes)) {
            prop_assert!(agrees_with_serde_json(&bytes, &tensors));
        }
    }

    #[test]
    fn noise_never_panics(prefix in prop::collection::vec(any::<u8>(), 0..80), file_size: u64, len in 0_u64..80) {
        let _ = parse(Format::Safetensors, &prefix, file_size);
        let _ = parse(Format::Safetensors, &prefix, size(&prefix));
        let _ = parse(Format::Safetensors, &[&len.to_le_bytes(), &b"{"[..], &prefix].concat(), file_size);
    }
}
