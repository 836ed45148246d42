//! The lines of the lists: each entry has one form, and every other form is refused.

use proptest::prelude::*;
use weighbridge_manifest::{Coded, Dtype, FileEntry, Format, LineError, MAX_LINE, TensorEntry};

const FILE: &str = r#"{"file":"a/b.gguf","size":36,"blake3":"10e8f38d1691143cb1b1fde7dba1a493c4fc3ba3ebca451dead48bd0b99e7718"}"#;
const WITH_SHA256: &str = r#"{"file":"a","size":0,"blake3":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;
const TENSOR: &str = r#"{"tensor":"t.w","file":"a/b.gguf","dtype":"Q4_0","shape":[2,32],"offset":64,"size":36,"blake3":"b6d9ffcb5cd7143238ab13e8017850108636171779cf16954d3c518618588158"}"#;

fn file_code(line: &str) -> u16 {
    FileEntry::parse(line).map_or_else(|error| error.error_code().get(), |_| 0)
}

fn tensor_code(line: &str) -> u16 {
    TensorEntry::parse(line).map_or_else(|error| error.error_code().get(), |_| 0)
}

/// `line` with its only occurrence of `old` replaced.
fn with(line: &str, old: &str, new: &str) -> String {
    assert_eq!(line.matches(old).count(), 1, "{old} in {line}");
    line.replace(old, new)
}

#[test]
fn reads_the_one_form_and_writes_it_again() {
    let escaped = with(FILE, "a/b.gguf", r#"\"q\" ü"#);
    for line in [FILE, WITH_SHA256, &escaped] {
        assert_eq!(FileEntry::parse(line).map(|entry| entry.to_string()).as_deref(), Ok(line));
    }
    assert_eq!(FileEntry::parse(&escaped).unwrap().path.as_str(), "\"q\" ü");
    let sixteen = with(TENSOR, "[2,32]", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,9007199254740991]");
    let odd_name = with(TENSOR, "t.w", r#"../\\\"/𝄞"#);
    for line in [TENSOR, &with(TENSOR, "[2,32]", "[]"), &with(TENSOR, "[2,32]", "[0]"), &sixteen, &odd_name] {
        assert_eq!(TensorEntry::parse(line).map(|entry| entry.to_string()).as_deref(), Ok(line));
    }
    assert_eq!(TensorEntry::parse(&odd_name).unwrap().name.as_str(), "../\\\"/𝄞");
    let tensor = TensorEntry::parse(TENSOR).unwrap();
    assert_eq!((tensor.dtype.as_str(), tensor.shape.as_slice()), ("Q4_0", &[2, 32][..]));
    assert_eq!((tensor.offset, tensor.size, tensor.file.as_str()), (64, 36, "a/b.gguf"));
}

#[test]
fn refuses_white_space_anywhere_outside_strings() {
    for line in [FILE, WITH_SHA256, TENSOR] {
        let code = |line: &str| if line.starts_with("{\"f") { file_code(line) } else { tensor_code(line) };
        let mut in_string = false;
        for (at, byte) in line.bytes().enumerate().chain([(line.len(), b' ')]) {
            for space in [" ", "\t", "\r"] {
                let mut spaced = line.to_owned();
                spaced.insert_str(at, space);
                // In a path or name, a space is an ordinary character.
                assert!(code(&spaced) == 1302 || (in_string && space == " "), "{spaced}");
            }
            in_string ^= byte == b'"';
        }
    }
}

#[test]
fn refuses_other_keys_and_another_order() {
    for line in [
        with(FILE, r#""size":36,"#, ""),
        with(FILE, r#""size":36,"#, r#""size":36,"size":36,"#),
        with(FILE, r#""size":36,"#, r#""size":36,"mode":1,"#),
        with(FILE, r#"{"file":"a/b.gguf","size":36,"#, r#"{"size":36,"file":"a/b.gguf","#),
        with(FILE, r#""size""#, r#""Size""#),
        with(FILE, r#""size""#, r#""s\u0069ze""#),
        with(FILE, r#""}"#, r#"","sha512":""}"#),
        with(FILE, r#""}"#, r#"",}"#),
        with(FILE, r#""}"#, r#"""#),
        with(FILE, r#""}"#, r#""}}"#),
        with(FILE, r#""}"#, r#""},"#),
        with(
            WITH_SHA256,
            r#","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#,
            r#","sha256":null"#,
        ),
        with(WITH_SHA256, r#"sha256":"#, r#"sha256":"","sha256":"#),
        with(FILE, r#"{"file""#, r#"["file""#),
        with(FILE, r#"{"file":"a/b.gguf""#, r#"{"file":null"#),
        with(FILE, r#"36"#, r#""36""#),
        format!("\u{feff}{FILE}"),
        format!("{FILE}{FILE}"),
        TENSOR.into(),
        "{}".into(),
        String::new(),
    ] {
        assert_eq!(file_code(&line), 1302, "{line}");
    }
    for line in [
        with(TENSOR, r#""dtype":"Q4_0","#, ""),
        with(TENSOR, r#""tensor":"t.w","file":"a/b.gguf""#, r#""file":"a/b.gguf","tensor":"t.w""#),
        with(TENSOR, r#""offset":64,"size":36"#, r#""size":36,"offset":64"#),
        with(
            TENSOR,
            r#""}"#,
            r#"","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#,
        ),
        FILE.into(),
    ] {
        assert_eq!(tensor_code(&line), 1302, "{line}");
    }
}

#[test]
fn only_quote_and_backslash_are_escaped() {
    for wrong in [
        r"a\/b", r"\u0061", r"\n", r"\t", r"\b", r"\x", r"\'", r"\ ", "a\"b", r"a\", r#"a\\"b"#, "a\nb",
        "a\tb", "a\0b", "a\u{1f}b",
    ] {
        assert_eq!(file_code(&with(FILE, "a/b.gguf", wrong)), 1302, "{wrong:?}");
        assert_eq!(tensor_code(&with(TENSOR, "t.w", wrong)), 1302, "{wrong:?}");
    }
    // Characters that JSON allows unescaped are left to the checks of paths and names.
    assert_eq!(file_code(&with(FILE, "a/b.gguf", "a\u{7f}")), 1405);
    assert_eq!(tensor_code(&with(TENSOR, "t.w", "a\u{85}")), 1432);
    assert_eq!(file_code(&with(FILE, "a/b.gguf", r"a\\b")), 1406);
}

#[test]
fn numbers_have_one_form_below_two_to_the_53() {
    let wrong = [
        "",
        "00",
        "036",
        "+36",
        "-36",
        "-0",
        "36.0",
        "36e0",
        "3.6e1",
        "36E0",
        "0x24",
        "９",
        "9007199254740992",
        "18446744073709551616",
        "99999999999999999999999999",
        "true",
        "[]",
    ];
    for number in wrong {
        assert_eq!(file_code(&with(FILE, ":36", &format!(":{number}"))), 1302, "size {number}");
        assert_eq!(tensor_code(&with(TENSOR, ":36", &format!(":{number}"))), 1302, "size {number}");
        assert_eq!(tensor_code(&with(TENSOR, ":64", &format!(":{number}"))), 1302, "offset {number}");
        assert_eq!(tensor_code(&with(TENSOR, "[2,", &format!("[{number},"))), 1302, "dimension {number}");
    }
    for number in ["0", "9007199254740991"] {
        assert_eq!(file_code(&with(FILE, ":36", &format!(":{number}"))), 0);
        assert_eq!(tensor_code(&with(TENSOR, ":64", &format!(":{number}"))), 0);
    }
}

#[test]
fn shapes_have_up_to_sixteen_dimensions_and_no_stray_comma() {
    let seventeen = format!("[{}]", ["1"; 17].join(","));
    for wrong in ["[2,32,]", "[,2]", "[2,,2]", "[", "]", "[[2]]", "2", "[2;2]", "null", &seventeen] {
        assert_eq!(tensor_code(&with(TENSOR, "[2,32]", wrong)), 1302, "{wrong}");
    }
}

#[test]
fn hashes_are_64_lower_case_digits() {
    for (line, code) in
        [(FILE, file_code as fn(&str) -> u16), (WITH_SHA256, file_code), (TENSOR, tensor_code)]
    {
        let hash = &line[line.len() - 66..line.len() - 2];
        for wrong in [&hash[1..], "", &format!("{hash}0"), &hash.to_uppercase(), &format!("g{}", &hash[1..])]
        {
            assert_eq!(code(&with(line, hash, wrong)), 1302, "{wrong}");
        }
    }
}

#[test]
fn dtypes_are_upper_case_words() {
    let (longest, longer) = ("A".repeat(32), "A".repeat(33));
    for good in ["F", "F32", "Q4_K", "A_", &longest] {
        assert_eq!(Dtype::parse(good).map(|dtype| dtype.to_string()).as_deref(), Some(good));
        assert_eq!(tensor_code(&with(TENSOR, "Q4_0", good)), 0, "{good}");
    }
    for wrong in ["", "f32", "4Q", "_Q", "F-32", "F 32", "Fx", "Ä", "F\u{301}", &longer] {
        assert_eq!(Dtype::parse(wrong), None);
        assert_eq!(tensor_code(&with(TENSOR, "Q4_0", wrong)), 1302, "{wrong}");
    }
}

#[test]
fn a_line_has_at_most_8192_bytes() {
    let padded = |room: usize| format!("{FILE}{}", " ".repeat(room - FILE.len()));
    assert_eq!(file_code(&padded(MAX_LINE)), 1302);
    assert_eq!(FileEntry::parse(&padded(8_193)), Err(LineError::TooLong));
    assert_eq!(tensor_code(&padded(8_193)), 1303);
}

#[test]
fn form_comes_before_paths_and_names_and_names_before_paths() {
    assert_eq!(file_code(&with(FILE, "a/b.gguf", "../x")), 1404);
    assert_eq!(file_code(&with(&with(FILE, "a/b.gguf", "../x"), ":36", ":036")), 1302);
    assert_eq!(tensor_code(&with(TENSOR, "a/b.gguf", "/x")), 1402);
    assert_eq!(tensor_code(&with(&with(TENSOR, "a/b.gguf", "/x"), "t.w", "")), 1431);
    assert_eq!(tensor_code(&with(TENSOR, "t.w", &"x".repeat(1025))), 1431);
}

#[test]
fn says_where_a_line_leaves_the_form() {
    let column = |line: &str| match FileEntry::parse(line) {
        Err(LineError::NotCanonical { column }) => column,
        other => panic!("{other:?}"),
    };
    assert_eq!(column(""), 1);
    assert_eq!(column(&with(FILE, r#"{"file""#, r#"{ "file""#)), 2);
    assert_eq!(column(&with(FILE, r#","size""#, r#","mode""#)), r#"{"file":"a/b.gguf",""#.len() + 1);
    assert_eq!(column(&with(FILE, "36", "036")), r#"{"file":"a/b.gguf","size":"#.len() + 1);
    assert_eq!(column(&format!("{FILE} ")), FILE.len() + 1);
    assert_eq!(
        FileEntry::parse(&format!("{FILE} ")).map_err(|e| e.to_string()),
        Err(format!("not in canonical form at byte {}", FILE.len() + 1))
    );
}

#[test]
fn tensor_files_are_known_by_their_extension_as_spelled() {
    for (path, expected) in [
        ("a.safetensors", Some(Format::Safetensors)),
        ("a/b.gguf", Some(Format::Gguf)),
        (".gguf", Some(Format::Gguf)),
        ("a.gguf.gguf", Some(Format::Gguf)),
        ("a.GGUF", None),
        ("a.safetensors.index.json", None),
        ("safetensors", None),
        ("a/gguf", None),
        ("a-gguf", None),
        ("a.gguf/x", None),
    ] {
        assert_eq!(Format::of(path), expected, "{path}");
    }
    for format in Format::ALL {
        assert_eq!(Format::of(&format!("model.{}", format.extension())), Some(format));
    }
}

/// Lines that are almost entries: parts of the form, almost in its order.
fn nearly(line: &'static str) -> impl Strategy<Value = String> {
    let edits = proptest::collection::vec(
        (any::<prop::sample::Index>(), 0..3_usize, "([\"\\\\{}:,\\[\\]0 ]|\\\\\"|00|ü|a){0,2}"),
        0..4,
    );
    edits.prop_map(move |edits| {
        let mut chars: Vec<char> = line.chars().collect();
        for (at, cut, put) in edits {
            let at = at.index(chars.len());
            chars.splice(at..(at + cut).min(chars.len()), put.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn an_accepted_file_line_is_the_one_that_would_be_written(
        line in prop_oneof![nearly(FILE), nearly(WITH_SHA256)],
    ) {
        if let Ok(entry) = FileEntry::parse(&line) {
            prop_assert_eq!(entry.to_string(), line);
        }
    }

    #[test]
    fn an_accepted_tensor_line_is_the_one_that_would_be_written(line in nearly(TENSOR)) {
        if let Ok(entry) = TensorEntry::parse(&line) {
            prop_assert_eq!(entry.to_string(), line);
        }
    }

    #[test]
    fn any_name_survives_its_line(name in "[^\\p{Cc}]{1,40}") {
        let mut entry = TensorEntry::parse(TENSOR).unwrap();
        entry.name = weighbridge_manifest::TensorName::parse(&name).unwrap();
        prop_assert_eq!(TensorEntry::parse(&entry.to_string()), Ok(entry));
    }
}
