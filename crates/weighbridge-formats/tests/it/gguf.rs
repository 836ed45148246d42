//! Headers of GGUF files: accepted forms, and every refusal.

mod build;
mod cases;
#[path = "../../../../fuzz/src/gguf.rs"]
#[allow(clippy::cast_possible_truncation, unreachable_pub, reason = "it is the fuzz target's")]
mod naive;

use build::{ARRAY, BF16, F32, File, I8, Q8_0, STRING, U8, U16, U32, array, file, string, tensor, value};
use cases::{accepted, refused};
use proptest::prelude::*;
use weighbridge_formats::{Coded, Format, FormatError, Parsed, TensorSpan, needs_prefix, parse};

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

fn tensors_of(bytes: &[u8]) -> Result<Vec<TensorSpan>, FormatError> {
    match parse(Format::Gguf, bytes, size(bytes))? {
        Parsed::Tensors { tensors, .. } => Ok(tensors),
        Parsed::UnknownDtype { dtype, .. } => unreachable!("{dtype}"),
        Parsed::NeedPrefix(length) => unreachable!("asked for {length} bytes of {} given", bytes.len()),
    }
}

/// The code of the refusal, or of the reason why no tensor is listed.
fn code(bytes: &[u8]) -> u16 {
    match parse(Format::Gguf, bytes, size(bytes)) {
        Err(error) => error.error_code().get(),
        Ok(Parsed::UnknownDtype { dtype, .. }) => dtype.error_code().get(),
        Ok(_) => 0,
    }
}

/// Whether another reader comes to the same verdict on a complete file: tensors, names alone, or a refusal.
fn is_read_the_same(bytes: &[u8]) -> bool {
    let theirs = naive::read(bytes, size(bytes)).map(|header| header.tensors);
    match (parse(Format::Gguf, bytes, size(bytes)), theirs) {
        (Ok(Parsed::Tensors { tensors, header_len, .. }), Some(naive::Tensors::Known { places, data })) => {
            let line = |span: TensorSpan| (span.name, span.dtype, span.shape, span.offset, span.size);
            header_len == data && tensors.into_iter().map(line).eq(places)
        }
        (
            Ok(Parsed::UnknownDtype { dtype, names, .. }),
            Some(naive::Tensors::Unknown { first, kind, names: theirs }),
        ) => names == theirs && theirs[first] == dtype.tensor().as_str() && dtype.dtype() == kind.to_string(),
        (Err(_), None) => true,
        _ => false,
    }
}

/// The example file of the specification: two tensors, the last of them padded.
fn sample() -> File {
    file(&[], &[tensor("a", F32, &[1, 2], 0), tensor("b", BF16, &[], 8)], 16).aligned(8)
}

#[test]
fn the_example_of_the_specification_is_accepted() {
    let span = |name: &str, dtype: &str, shape: &[u64], offset, size| TensorSpan {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.into(),
        offset,
        size,
    };
    let bytes = sample().bytes();
    assert_eq!((sample().header().len(), bytes.len()), (123, 144), "the page counts the same bytes");
    let tensors = vec![span("a", "F32", &[2, 1], 128, 8), span("b", "BF16", &[], 136, 2)];
    let expected = Parsed::Tensors { tensors, header_len: 128, split: None };
    assert_eq!(parse(Format::Gguf, &bytes, 144), Ok(expected));
}

#[test]
fn accepts_what_the_format_allows() {
    for (what, file) in accepted() {
        let bytes = file.bytes();
        let tensors = tensors_of(&bytes);
        assert_eq!(tensors.as_ref().map(Vec::len), Ok(file.tensors.len()), "{what}");
        assert!(is_read_the_same(&bytes), "{what}");
    }
    // Without tensors, no byte has to follow the header.
    assert_eq!(code(&file(&[], &[], 0).header()), 0);
}

#[test]
fn knows_every_dtype_and_its_blocks() {
    for (number, name, block, bytes) in naive::DTYPES {
        let number = u32::try_from(number).unwrap();
        let two =
            |dims: &[u64]| file(&[], &[tensor("a", number, dims, 0)], usize::try_from(bytes * 6).unwrap());
        let tensors = tensors_of(&two(&[block * 2, 3]).bytes()).unwrap();
        assert_eq!((tensors[0].dtype.as_str(), tensors[0].size), (name, bytes * 6));
        assert_eq!(tensors[0].shape, [3, block * 2]);
        assert_eq!(code(&two(&[block * 2 + 1, 3]).bytes()), if block == 1 { 4321 } else { 4315 });
    }
    let known = |number: u32| code(&file(&[], &[tensor("a", number, &[0], 0)], 0).bytes()) == 0;
    assert_eq!((0..10_000).filter(|number| known(*number)).count(), naive::DTYPES.len());
}

#[test]
fn refuses_with_the_code_of_the_first_failure() {
    let failures: Vec<_> = refused()
        .into_iter()
        .filter_map(|(expected, what, file)| {
            let found = code(&file.bytes());
            (found != expected).then(|| format!("expected {expected}, found {found}: {what}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A reader written from the page alone refuses them too.
    let other = refused().into_iter().find(|(_, _, file)| !is_read_the_same(&file.bytes()));
    assert_eq!(other.map(|(_, what, _)| what), None);
}

#[test]
fn every_code_is_broken_by_something() {
    let mut codes: Vec<_> = refused().iter().map(|(code, ..)| *code).collect();
    codes.push(4306); // below: it needs a long header
    codes.sort_unstable();
    codes.dedup();
    // 4312 is retired, and 4314 does not refuse a file.
    assert_eq!(codes, (4301..=4325).filter(|code| ![4312, 4314].contains(code)).collect::<Vec<_>>());
}

/// An unknown dtype was once a fault of the file (4314). Other faults are still reported.
#[test]
fn a_dtype_that_is_not_known_is_no_fault_and_hides_none() {
    let unknown = |number| tensor("new", number, &[3, 1], 32);
    for number in [4, 5, 31, 32, 33, 36, 37, 38, 43, 142, u32::MAX] {
        let file = file(
            &[value("split.no", U16, &[1, 0]), value("split.count", U16, &[2, 0])],
            &[tensor("old", F32, &[8], 0), unknown(number), tensor("last", I8, &[1], 4096)],
            4097,
        );
        let parsed = parse(Format::Gguf, &file.bytes(), size(&file.bytes())).unwrap();
        let Parsed::UnknownDtype { dtype, names, split } = parsed else { panic!("{number}: {parsed:?}") };
        assert_eq!(
            (dtype.error_code().get(), dtype.tensor().as_str(), dtype.dtype()),
            (4314, "new", number.to_string())
        );
        assert_eq!(
            dtype.to_string(),
            format!("tensor \"new\" has the dtype {number}, which this version does not know")
        );
        assert_eq!(
            (names, split.map(|split| split.number)),
            (["old", "new", "last"].map(String::from).into(), Some(1))
        );
    }
    for (expected, second, data) in [
        (4319, tensor("new", I8, &[1], 0), 33),
        (4320, tensor("b", I8, &[1], 1), 64),
        (4321, tensor("b", I8, &[40], 0), 39),
        (4321, tensor("b", I8, &[1], 0), 31),
        (4315, tensor("b", Q8_0, &[31], 0), 64),
    ] {
        assert_eq!(code(&file(&[], &[unknown(99), second], data).bytes()), expected);
    }
}

#[test]
fn a_header_may_have_a_hundred_million_bytes_and_no_more() {
    let start = value("k", ARRAY, &array(U8, 0, &[]));
    let before = 24 + start.len();
    for (bytes, expected) in [(100_000_000, 0), (100_000_001, 4306)] {
        let count = bytes - before;
        let header = File {
            values: vec![value("k", ARRAY, &array(U8, u64::try_from(count).unwrap(), &vec![0; count]))],
            ..file(&[], &[], 0)
        }
        .header();
        assert_eq!(header.len(), bytes);
        assert_eq!(code(&header), expected);
        // The fault is reported as early as possible.
        if expected != 0 {
            assert_eq!(
                parse(Format::Gguf, &header[..before], u64::MAX).unwrap_err().error_code().get(),
                expected
            );
        }
    }
}

#[test]
fn more_than_a_million_tensors_are_refused_unread() {
    for (counts, expected) in
        [((1 << 20, 1 << 20), 0), (((1 << 20) + 1, 0), 4304), ((0, (1 << 20) + 1), 4304)]
    {
        let header = File { counts: Some(counts), ..file(&[], &[], 0) }.header();
        let verdict = parse(Format::Gguf, &header, 1 << 40);
        assert_eq!(verdict.map_or_else(|error| error.error_code().get(), |_| 0), expected);
    }
}

#[test]
fn a_git_lfs_pointer_is_called_that_as_soon_as_it_can_be() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 90868376\n";
    let parse = |known: usize| parse(Format::Gguf, &pointer[..known], size(pointer));
    for known in 0..40 {
        assert_eq!(parse(known), Ok(Parsed::NeedPrefix(size(pointer))));
    }
    for known in 40..pointer.len() {
        assert_eq!(parse(known), Err(FormatError::LfsPointer));
    }
    assert_eq!(code(&pointer[..39]), 4301);
    assert_eq!(code(b"version 1, a text that is no pointer to anything at all"), 4301);
}

#[test]
fn the_verdict_does_not_depend_on_how_the_prefix_grows() {
    for (what, file) in
        accepted().into_iter().chain(refused().into_iter().map(|(_, what, file)| (what, file)))
    {
        let file = file.bytes();
        let whole = parse(Format::Gguf, &file, size(&file));
        // Long files are only cut near the beginning and the end.
        let lengths = (0..=file.len()).filter(|known| *known < 400 || *known + 40 > file.len());
        for known in lengths {
            let needed = needs_prefix(Format::Gguf, &file[..known], size(&file));
            match parse(Format::Gguf, &file[..known], size(&file)) {
                Ok(Parsed::NeedPrefix(length)) => {
                    assert!(length > size(&file[..known]) && length <= size(&file), "{what}");
                    assert_eq!(needed, Some(length), "{what}");
                }
                verdict => assert_eq!((&verdict, needed), (&whole, None), "{what}"),
            }
        }
    }
}

#[test]
fn what_lies_past_the_files_end_is_not_of_the_file() {
    let bytes = sample().bytes();
    for cut in 0..bytes.len() {
        let alone = parse(Format::Gguf, &bytes[..cut], size(&bytes[..cut]));
        assert_eq!(parse(Format::Gguf, &bytes, size(&bytes[..cut])), alone);
    }
}

#[test]
fn every_truncation_is_refused_but_that_of_the_padding() {
    let whole = sample().bytes();
    for cut in 0..whole.len() {
        let verdict = code(&whole[..cut]);
        assert_eq!(verdict == 0, cut == 138, "cut to {cut} bytes: {verdict}");
        if cut > 128 {
            assert_eq!(
                verdict,
                if cut < 138 {
                    4321
                } else if cut == 138 {
                    0
                } else {
                    4324
                }
            );
        }
    }
}

#[test]
fn every_changed_byte_is_read_as_others_read_it() {
    let inner = [array(U8, 2, &[1, 2]), array(STRING, 1, &string("x"))].concat();
    let mut rich = sample();
    rich.values.extend([
        value("name", STRING, &string("text")),
        value("flag", 7, &[1]),
        value("nested", ARRAY, &array(ARRAY, 2, &inner)),
        value("split.no", 2, &[1, 0]),
        value("split.count", 2, &[3, 0]),
    ]);
    rich.tensors.push(tensor("c", 8, &[32, 2], 16));
    rich.data = 16 + 68;
    for whole in [sample().bytes(), rich.bytes()] {
        let tensors = tensors_of(&whole).unwrap();
        assert!(is_read_the_same(&whole));
        let header = usize::try_from(tensors[0].offset).unwrap();
        for at in 0..header {
            for byte in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[at] = byte;
                assert!(is_read_the_same(&changed), "byte {at}: {byte}");
            }
        }
    }
}

#[test]
fn numbers_that_claim_too_much_ask_for_nothing() {
    let mut file = sample();
    file.values.extend([
        value("s", STRING, &string("text")),
        value("a", ARRAY, &array(STRING, 2, &[string("x"), string("y")].concat())),
        value("n", ARRAY, &build::nested(3)),
    ]);
    let whole = file.bytes();
    for at in 8..file.header().len() - 8 {
        for claim in [1 << 31, 1 << 32, 1 << 53, 1 << 63, u64::MAX, u64::MAX / 8 + 1, u64::MAX / 12 + 2] {
            let mut changed = whole.clone();
            changed[at..at + 8].copy_from_slice(&u64::to_le_bytes(claim));
            for file_size in [size(&changed), 1 << 53, 1 << 63, u64::MAX] {
                let verdict = parse(Format::Gguf, &changed, file_size);
                if let Ok(Parsed::NeedPrefix(length)) = verdict {
                    assert!(length <= file_size.min(100_000_000), "byte {at}: {claim}");
                }
            }
            assert!(is_read_the_same(&changed), "byte {at}: {claim}");
        }
    }
}

#[test]
fn a_large_vocabulary_is_asked_for_in_few_steps() {
    let tokens: Vec<u8> = (0..300_000).flat_map(|token| string(format!("token{token}"))).collect();
    let values = [value("tokens", ARRAY, &array(STRING, 300_000, &tokens)), value("last", U32, &[0; 4])];
    let bytes = file(&values, &[tensor("a", I8, &[1], 0)], 1 << 20).bytes();
    let (mut known, mut steps, mut read) = (0, 0, 0);
    while let Some(length) = needs_prefix(Format::Gguf, &bytes[..known], size(&bytes)) {
        known = usize::try_from(length).unwrap();
        (steps, read) = (steps + 1, read + known);
    }
    assert!(parse(Format::Gguf, &bytes[..known], size(&bytes)).is_err(), "the data are no tensor");
    assert!(steps < 30, "{steps} steps");
    assert!(read < 6 * tokens.len(), "{read} bytes walked for {}", tokens.len());
    assert!(known < tokens.len() + tokens.len() / 3, "{known} bytes read for {}", tokens.len());
}

#[test]
fn messages_say_where_and_how_much() {
    let shown = |file: &File| tensors_of(&file.bytes()).unwrap_err().to_string();
    let byte = |name: &str, offset| tensor(name, I8, &[1], offset);
    for (file, message) in [
        (
            file(&[value("k", STRING, &20_u64.to_le_bytes())], &[], 0),
            "the header claims 20 bytes from byte 45 on, but the file has only 64",
        ),
        (
            file(&[], &[tensor("a\u{1b}[2J", 8, &[33], 0)], 1),
            r#"tensor "a\u{1b}[2J": its first dimension of 33 is no multiple of Q8_0's block of 32"#,
        ),
        (
            file(&[], &[byte("a", 0), byte("b", 96)], 97),
            r#"bytes 128..192 before tensor "b" belong to no tensor and are no padding"#,
        ),
        (
            file(&[], &[tensor("a", I8, &[40], 0), byte("b", 32)], 64),
            r#"tensor "b" begins at byte 128, before tensor "a", which ends at byte 136, and its padding end"#,
        ),
        (
            file(&[], &[byte("a", 0)], 2),
            "the tensors end at byte 65, with padding at byte 96, but the file has 66 bytes",
        ),
    ] {
        assert_eq!(shown(&file), message);
    }
    let long = file(&[], &[byte(&"\u{202e}".repeat(100_000), 1)], 2);
    assert!(shown(&long).len() < 1_000);
}

fn any_value() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let scalar = (0_u32..13).prop_filter("no scalar", |kind| !matches!(kind, 7..=9));
    let scalar = (scalar, any::<[u8; 8]>()).prop_map(|(kind, bytes)| {
        let width = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][usize::try_from(kind).unwrap()];
        (kind, bytes[..width].to_vec())
    });
    let text = prop::collection::vec(any::<u8>(), 0..9).prop_map(|text| (STRING, string(text)));
    let leaf = prop_oneof![scalar, text, any::<bool>().prop_map(|flag| (7, vec![u8::from(flag)]))];
    leaf.prop_recursive(7, 20, 3, |element| {
        (element, 0_u64..4).prop_map(|((kind, bytes), count)| {
            (ARRAY, array(kind, count, &bytes.repeat(usize::try_from(count).unwrap())))
        })
    })
}

fn any_tensor() -> impl Strategy<Value = (usize, Vec<u64>)> {
    (
        0..naive::DTYPES.len(),
        prop_oneof![prop::collection::vec(0_u64..4, 0..6), prop::collection::vec(1_u64..3, 6..17)],
    )
}

proptest! {
    /// Every written header is read back with the same content, in the order of the bytes.
    #[test]
    fn what_is_written_is_read(
        values in prop::collection::btree_map("[a-z.]{1,6}", any_value(), 0..6),
        tensors in prop::collection::btree_map("\\PC{0,6}", any_tensor(), 0..8),
        alignment in 3_u32..9, is_padded: bool, version in 2_u32..4,
    ) {
        let alignment = 1_u32 << alignment;
        let (mut written, mut spans, mut end, mut padded) = (Vec::new(), Vec::new(), 0, 0);
        for (name, (dtype, mut dims)) in tensors {
            let (number, dtype, block, bytes) = naive::DTYPES[dtype];
            if block > 1 && dims.is_empty() {
                dims.push(1);
            }
            let size = dims.iter().product::<u64>() * bytes;
            if let Some(first) = dims.first_mut() {
                *first *= block;
            }
            written.push(tensor(&name, u32::try_from(number).unwrap(), &dims, padded));
            dims.reverse();
            spans.push(TensorSpan { name, dtype: dtype.into(), shape: dims, offset: padded, size });
            end = padded + size;
            padded = end.next_multiple_of(u64::from(alignment));
        }
        written.reverse();
        let values: Vec<_> = values.iter().map(|(key, (kind, bytes))| value(key, *kind, bytes)).collect();
        let data = usize::try_from(if is_padded { padded } else { end }).unwrap();
        let file = File { version, ..file(&values, &written, data).aligned(alignment) };
        let start = file.header().len().next_multiple_of(file.alignment);
        for span in &mut spans {
            span.offset += u64::try_from(start).unwrap();
        }
        spans.sort_by(|a, b| (a.offset, a.size, &a.name).cmp(&(b.offset, b.size, &b.name)));
        let found = tensors_of(&file.bytes()).unwrap();
        prop_assert!(is_read_the_same(&file.bytes()));
        prop_assert_eq!(found, spans);
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..120), file_size: u64, small in 0_u8..4) {
        let _ = parse(Format::Gguf, &noise, file_size);
        let start = [&b"GGUF\x03\0\0\0"[..], &[small, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]].concat();
        let bytes = [&start[..], &noise].concat();
        let _ = parse(Format::Gguf, &bytes, file_size);
        prop_assert!(is_read_the_same(&bytes));
    }
}
