//! Tables of accepted and refused files.

use super::build::{
    ARRAY, BF16, BOOL, F32, File, I8, I32, Q8_0, STRING, U8, U16, U32, array, file, nested, string, tensor,
    value,
};

/// One file for each accepted form.
pub(crate) fn accepted() -> Vec<(&'static str, File)> {
    let byte = |name: &str, offset| tensor(name, I8, &[1], offset);
    let empty = |name: &str, offset| tensor(name, I8, &[0], offset);
    let with = |values: &[Vec<u8>]| file(values, &[byte("a", 0)], 1);
    let large = (1 << 53) - 1;
    let split = |no: u16, count: u16, total: i32| {
        with(&[
            value("split.no", U16, &no.to_le_bytes()),
            value("split.count", U16, &count.to_le_bytes()),
            value("split.tensors.count", I32, &total.to_le_bytes()),
        ])
    };
    vec![
        ("version 2", File { version: 2, ..with(&[]) }),
        ("padded end", file(&[], &[byte("a", 0)], 32)),
        ("nothing, padded", file(&[], &[], 0)),
        ("a scalar", file(&[], &[tensor("a", F32, &[], 0)], 4)),
        ("four dimensions", file(&[], &[tensor("a", Q8_0, &[64, 1, 2, 3], 0)], 34 * 12)),
        (
            "five dimensions, as gguf-py writes them",
            file(&[], &[tensor("a", Q8_0, &[32, 1, 2, 1, 3], 0)], 34 * 6),
        ),
        ("16 dimensions", file(&[], &[tensor("a", I8, &[[2; 8], [1; 8]].concat(), 0)], 256)),
        ("an empty name", file(&[], &[byte("", 0)], 1)),
        ("a long name", file(&[], &[byte(&"n".repeat(2_000), 0)], 1)),
        ("a control character", file(&[], &[byte("\n", 0)], 1)),
        ("header order is not byte order", file(&[], &[byte("a", 32), byte("b", 0)], 33)),
        ("empty tensors share an offset", file(&[], &[byte("a", 0), empty("b", 0), empty("c", 32)], 32)),
        ("empty tensors alone", file(&[], &[empty("a", 0), empty("b", 0)], 0)),
        ("zero beside huge", file(&[], &[tensor("a", Q8_0, &[0, large, large, large], 0)], 0)),
        ("huge beside zero", file(&[], &[tensor("a", I8, &[large, large, large, 0], 0)], 0)),
        ("alignment 8", file(&[], &[byte("a", 0), byte("b", 8)], 9).aligned(8)),
        ("alignment 2^20", file(&[], &[byte("a", 0), byte("b", 1 << 20)], (1 << 20) + 1).aligned(1 << 20)),
        ("a string that is not UTF-8", with(&[value("k", STRING, &string(b"\xff\0"))])),
        ("an empty string", with(&[value("k", STRING, &string(""))])),
        ("keys of 65,535 bytes", with(&[value("k".repeat(65_535), U8, &[0])])),
        ("a key of any characters", with(&[value("\u{0}é ", U8, &[0])])),
        ("bools", with(&[value("k", BOOL, &[1]), value("l", ARRAY, &array(BOOL, 3, &[0, 1, 1]))])),
        ("strings", with(&[value("k", ARRAY, &array(STRING, 2, &[string("a"), string("")].concat()))])),
        ("an empty array", with(&[value("k", ARRAY, &array(STRING, 0, &[]))])),
        ("eight levels", with(&[value("k", ARRAY, &nested(8))])),
        ("arrays of arrays", {
            let inner =
                [array(U16, 2, &[0; 4]), array(STRING, 1, &string("x")), array(BOOL, 0, &[])].concat();
            with(&[value("k", ARRAY, &array(ARRAY, 3, &inner)), value("l", U8, &[9])])
        }),
        ("part of a split", split(2, 3, 9)),
        ("the last of many", split(65_534, 65_535, 0)),
        ("merged from a split", split(7, 0, -1)),
        ("split in one", split(7, 1, -1)),
        ("split.no alone", with(&[value("split.no", U8, &[0])])),
    ]
}

/// One or more files for each code.
pub(crate) fn refused() -> Vec<(u16, &'static str, File)> {
    let byte = |name: &str, offset| tensor(name, I8, &[1], offset);
    let empty = |name: &str, offset| tensor(name, I8, &[0], offset);
    let ok = file(&[], &[byte("a", 0)], 1);
    let with = |values: &[Vec<u8>]| file(values, &[byte("a", 0)], 1);
    let one = |tensor, data| file(&[], &[tensor], data);
    let large = (1 << 53) - 1;
    let claims = |tensors, values| File { counts: Some((tensors, values)), ..ok.clone() };
    let aligned = |alignment: u32| File { alignment: 32, ..ok.clone().aligned(alignment) };
    let named = |name: &[u8]| {
        let mut tensor = byte("", 0);
        tensor.name = name.into();
        one(tensor, 1)
    };
    let short = |number: u16| number.to_le_bytes();
    let split =
        |no: &[u8], count: u16| with(&[value("split.no", U16, no), value("split.count", U16, &short(count))]);
    let mut ranked = byte("a", 0);
    ranked.rank = 17;
    vec![
        (4301, "another magic", File { magic: *b"GGML", ..ok.clone() }),
        (4301, "lower case", File { magic: *b"gguf", ..ok.clone() }),
        (4302, "version 0", File { version: 0, ..ok.clone() }),
        (4302, "version 1", File { version: 1, ..ok.clone() }),
        (4302, "version 4", File { version: 4, ..ok.clone() }),
        (4302, "big-endian version 1", File { version: 1 << 24, ..ok.clone() }),
        (4303, "big-endian version 2", File { version: 2 << 24, ..ok.clone() }),
        (4303, "big-endian version 3", File { version: 3 << 24, ..ok.clone() }),
        (4304, "2^63 tensors", claims(1 << 63, 0)),
        (4304, "2^63 values", claims(0, 1 << 63)),
        (4304, "counts that wrap", claims(u64::MAX, u64::MAX)),
        (4304, "more than the file has room for", claims(5, 0)),
        (4304, "more values than the file has room for", claims(0, 9)),
        (4305, "a byte more than the file has", file(&[value("k", STRING, &20_u64.to_le_bytes())], &[], 0)),
        (4305, "a string of 2^63", with(&[value("k", STRING, &(1_u64 << 63).to_le_bytes())])),
        (4305, "a string of 2^64 - 1", with(&[value("k", STRING, &u64::MAX.to_le_bytes())])),
        (4305, "2^63 bytes", with(&[value("k", ARRAY, &array(U8, 1 << 63, &[]))])),
        (4305, "numbers that wrap", with(&[value("k", ARRAY, &array(U32, 1 << 62, &[]))])),
        (4305, "strings that wrap", with(&[value("k", ARRAY, &array(STRING, 1 << 61, &[]))])),
        (4305, "2^40 arrays", with(&[value("k", ARRAY, &array(ARRAY, 1 << 40, &[]))])),
        (4307, "no key", with(&[value("", U8, &[0])])),
        (4307, "a key of 65,536 bytes", with(&[value("k".repeat(65_536), U8, &[0])])),
        (4307, "a key of 2^63 bytes", with(&[[&(1_u64 << 63).to_le_bytes()[..], &[0; 9]].concat()])),
        (4307, "a key that is not UTF-8", with(&[value(b"\xc3", U8, &[0])])),
        (4308, "type 13", with(&[value("k", 13, &[0; 8])])),
        (4308, "type 2^32 - 1", with(&[value("k", u32::MAX, &[0; 8])])),
        (4308, "elements of type 13", with(&[value("k", ARRAY, &array(13, 0, &[]))])),
        (4309, "nine levels", with(&[value("k", ARRAY, &nested(9))])),
        (4309, "ten thousand levels", with(&[value("k", ARRAY, &nested(10_000))])),
        (4310, "2", with(&[value("k", BOOL, &[2])])),
        (4310, "255 among others", with(&[value("k", ARRAY, &array(BOOL, 3, &[0, 1, 255]))])),
        (4311, "a name that is not UTF-8", named(b"\xf0\x9f")),
        (4325, "17 dimensions", one(tensor("a", I8, &[1; 17], 0), 1)),
        (4325, "17 that are not there", one(ranked, 1)),
        (4313, "2^53", one(tensor("a", I8, &[1, 1 << 53], 0), 1)),
        (4313, "2^63 beside 0", one(tensor("a", I8, &[0, 1 << 63], 0), 0)),
        (4313, "dimensions before the type", one(tensor("a", 99, &[u64::MAX], 0), 1)),
        (4315, "half a block", one(tensor("a", Q8_0, &[16], 0), 17)),
        (4315, "blocks along the wrong dimension", one(tensor("a", Q8_0, &[1, 32], 0), 34)),
        (4315, "a scalar block", one(tensor("a", Q8_0, &[], 0), 34)),
        (4316, "a key twice", with(&[value("k", U8, &[0]), value("j", U8, &[0]), value("k", U32, &[0; 4])])),
        (4316, "alignment twice", ok.clone().aligned(32).aligned(32)),
        (4317, "alignment 0", aligned(0)),
        (4317, "alignment 4", aligned(4)),
        (4317, "alignment 24", aligned(24)),
        (4317, "alignment 2^21", aligned(1 << 21)),
        (4317, "alignment of 64 bits", with(&[value("general.alignment", 10, &32_u64.to_le_bytes())])),
        (4317, "signed alignment", with(&[value("general.alignment", I32, &32_u32.to_le_bytes())])),
        (4318, "count without number", with(&[value("split.count", U16, &short(2))])),
        (4318, "count of 32 bits", with(&[value("split.count", U32, &[2, 0, 0, 0])])),
        (4318, "signed count", with(&[value("split.count", 3, &short(2))])),
        (4318, "number is count", split(&short(2), 2)),
        (4318, "number of 8 bits", {
            with(&[value("split.no", U8, &[0]), value("split.count", U16, &short(2))])
        }),
        (4318, "a negative number of tensors", {
            let mut file = split(&short(0), 2);
            file.values.push(value("split.tensors.count", I32, &[255; 4]));
            file
        }),
        (4318, "an unsigned number of tensors", {
            let mut file = split(&short(0), 2);
            file.values.push(value("split.tensors.count", U32, &[1, 0, 0, 0]));
            file
        }),
        (4319, "a name twice", file(&[], &[byte("a", 0), byte("b", 32), byte("a", 64)], 65)),
        (4320, "an offset of 1", one(byte("a", 1), 2)),
        (4320, "an offset of half the alignment", file(&[], &[byte("a", 0), byte("b", 16)], 17)),
        (4320, "an offset of the default alignment", {
            file(&[], &[byte("a", 0), byte("b", 32)], 33).aligned(64)
        }),
        (4321, "a byte too few", one(tensor("a", I8, &[3], 0), 2)),
        (4321, "no byte at all", one(byte("a", 0), 0)),
        (4321, "an offset of 2^63", one(byte("a", 1 << 63), 1)),
        (4321, "an offset that wraps", one(byte("a", 0_u64.wrapping_sub(32)), 1)),
        (4321, "an empty tensor far away", one(empty("a", 32), 0)),
        (4321, "a product that wraps to 0", one(tensor("a", I8, &[1 << 32, 1 << 32], 0), 0)),
        (4321, "a product of 222 bits", one(tensor("a", Q8_0, &[large - 31, large, large, large], 0), 1)),
        (4321, "the second is cut", file(&[], &[byte("a", 0), tensor("b", BF16, &[2], 32)], 35)),
        (4322, "the first is not at the start", one(byte("a", 32), 33)),
        (4322, "a gap of one alignment", file(&[], &[byte("a", 0), byte("b", 64)], 65)),
        (4322, "a gap after an empty one", file(&[], &[empty("a", 0), byte("b", 32)], 33)),
        (4323, "the same bytes", file(&[], &[byte("a", 0), byte("b", 0)], 1)),
        (4323, "the last block of one", file(&[], &[tensor("a", I8, &[33], 0), byte("b", 32)], 64)),
        (4323, "an empty tensor within one", file(&[], &[tensor("a", I8, &[33], 0), empty("b", 32)], 33)),
        (4324, "a byte more", one(byte("a", 0), 2)),
        (4324, "a byte less than its padding", one(byte("a", 0), 31)),
        (4324, "a byte more than its padding", one(byte("a", 0), 33)),
        (4324, "bytes after nothing", file(&[], &[], 1)),
        // The order of faults: the first one in the file first, then keys, alignment, split, names, tensors.
        (4302, "version before counts", File { version: 9, ..claims(1 << 63, 0) }),
        (4307, "key before type", with(&[value("", 13, &[0])])),
        (4316, "keys before a type that is not known", {
            file(&[value("k", U8, &[0]), value("k", U8, &[0])], &[tensor("a", 99, &[], 0)], 1)
        }),
        (4316, "keys before alignment", aligned(3).aligned(3)),
        (4317, "alignment before names", {
            File { alignment: 32, ..file(&[], &[byte("a", 0), byte("a", 0)], 1).aligned(3) }
        }),
        (4319, "names before offsets", file(&[], &[byte("a", 1), byte("a", 1)], 1)),
        (4320, "first tensor before second", file(&[], &[byte("a", 1), byte("b", 1 << 60)], 1)),
        (4321, "first tensor before second", file(&[], &[byte("a", 1 << 60), byte("b", 1)], 1)),
    ]
}
