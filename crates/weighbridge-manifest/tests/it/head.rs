//! The head's text, line by line.

use proptest::prelude::*;
use weighbridge_manifest::{
    Coded, Ext, Head, HeadError, ListSize, MAX_TEXT, ModelName, Tensors, Time,
    tree::{ChunkSize, HeadId, ModelRoot, TensorsRoot, head_id},
};

use crate::kit::{EXAMPLE, time};

const HASH: &str = "6904a71d8ea7ea2bc9582b8b42ec8323942d60c5765017b48323d19ddfaa63d0";

/// The code and line of a refusal; (0, 0) if the text is a head.
fn refusal(text: &str) -> (u16, usize) {
    Head::parse(text).map_or_else(|error| (error.error_code().get(), error.line), |_| (0, 0))
}

/// The example with line `number`, counted from 1, replaced by `line`.
fn with_line(number: usize, line: &str) -> String {
    let lines = EXAMPLE.lines().zip(1..).map(|(old, n)| if n == number { line } else { old });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn with_ext(lines: &[&str]) -> String {
    lines.iter().fold(EXAMPLE.to_owned(), |text, line| text + "ext " + line + "\n")
}

fn without_tensors() -> String {
    let lines = EXAMPLE.lines().map(|line| match line.split_once(' ') {
        Some((key @ ("tensors" | "tensors-root"), _)) => format!("{key} none\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn reads_the_example_of_the_design_and_writes_it_again() {
    let head = Head::parse(EXAMPLE).unwrap();
    assert_eq!(head.name.as_str(), "sentence-transformers/all-MiniLM-L6-v2");
    assert_eq!((head.revision, head.previous), (1, None));
    assert_eq!((head.created, head.expires), (time("2026-11-20T16:31:00Z"), None));
    assert_eq!((head.bytes, head.files), (91_618_861, ListSize { count: 13, length: 1527 }));
    assert_eq!(head.root.to_string(), "d367a6a908c4f35aef18d217f8c80529ef19cffdd83fc419af09614ea67a63d4");
    let tensors = head.tensors.unwrap();
    assert_eq!(tensors.list, ListSize { count: 104, length: 22_612 });
    assert_eq!(tensors.root.to_string(), "a59115395702898d170dac39d2a3befb1a1affb9a764103b6db1bb7663e7c01b");
    assert_eq!((head.chunk_size.bytes(), head.ext.len()), (262_144, 0));
    assert_eq!(head.to_text().as_deref(), Ok(EXAMPLE));
    // The id was computed with the blake3 package of Python.
    assert_eq!(head_id(EXAMPLE.as_bytes()).to_string(), HASH);
}

#[test]
fn writes_again_what_else_a_head_can_say() {
    for text in [
        with_ext(&["base meta-llama/Llama-3.1-8B", "base mistral/x", "source https://a/?b=c d"]),
        with_line(6, "expires 9999-12-31T23:59:59Z"),
        with_line(3, "revision 2").replace("previous none", &format!("previous {HASH}")),
        without_tensors(),
        with_line(10, "tensors 0 0"),
        with_line(8, "files 16777216 137455730688"),
        with_line(7, "bytes 0"),
    ] {
        assert_eq!(Head::parse(&text).and_then(|head| head.to_text()), Ok(text));
    }
}

#[test]
fn refuses_a_missing_line_where_it_should_stand() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for i in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(i);
        let code = if i == 0 { 1202 } else { 1203 };
        assert_eq!(refusal(&joined(&fewer)), (code, i + 1), "without {:?}", lines[i]);
        assert_eq!(refusal(&joined(&lines[..i])), (code, i + 1), "only {i} lines");
    }
    assert_eq!(refusal(""), (1202, 1));
    assert_eq!(refusal("weighbridge/head/v1"), (1202, 1));
}

#[test]
fn refuses_a_doubled_line_where_it_stands_again() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for i in 0..lines.len() {
        let mut more = lines.clone();
        more.insert(i, lines[i]);
        assert_eq!(refusal(&joined(&more)), (1203, i + 2), "{:?} twice", lines[i]);
    }
}

#[test]
fn refuses_lines_out_of_order() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for i in 0..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(i, i + 1);
        let code = if i == 0 { 1202 } else { 1203 };
        assert_eq!(refusal(&joined(&swapped)), (code, i + 1));
    }
}

#[test]
fn refuses_another_version_before_anything_else() {
    for first in ["weighbridge/head/v2", "weighbridge/head/v1 ", "\u{feff}weighbridge/head/v1", "", "\r"] {
        assert_eq!(refusal(&with_line(1, first)), (1202, 1), "{first:?}");
    }
    assert_eq!(refusal(&EXAMPLE.replace('\n', "\r\n")), (1202, 1));
}

#[test]
fn refuses_input_that_is_not_consumed_exactly() {
    for (end, line) in
        [("\n", 13), (" ", 13), ("x", 13), ("x\n", 13), ("ext a b", 13), ("chunk-size 262144\n", 13)]
    {
        assert_eq!(refusal(&format!("{EXAMPLE}{end}")), (1203, line), "{end:?}");
    }
    assert_eq!(refusal(EXAMPLE.trim_end()), (1203, 12), "the last LF is missing");
}

#[test]
fn refuses_each_malformed_value_with_its_line() {
    let hash = |change: fn(String) -> String| change(HASH.into());
    let (upper, short, long) = (hash(|h| h.to_uppercase()), hash(|h| h[1..].into()), hash(|h| h + "0"));
    let hashes = [upper.as_str(), &short, &long, "NONE", "nonea"];
    let numbers =
        ["01", "-1", "+1", "1.0", "1e3", "0x1", "9007199254740992", "18446744073709551617", "1_000", "one"];
    let times =
        ["2026-11-20", "2026-02-29T00:00:00Z", "2026-11-20T16:31:60Z", "2026-11-20T16:31:00+00:00", "none"];
    let lists = ["1", "1 2 3", "1  2", "01 2", "1 02", "16777217 1", "1 9007199254740992", "1\t2", "0 1"];
    let values: [(usize, &str, &[&str]); 11] = [
        (2, "name", &["a b", "/a", "a/", ".a", "a//b", "ä"]),
        (3, "revision", &numbers),
        (4, "previous", &hashes),
        (5, "created", &times),
        (6, "expires", &times),
        (7, "bytes", &numbers),
        (8, "files", &lists),
        (9, "root", &hashes),
        (10, "tensors", &lists),
        (11, "tensors-root", &hashes),
        (12, "chunk-size", &["0", "8192", "33554432", "262143", "0262144", "256KiB"]),
    ];
    for (number, key, wrong) in values {
        let good = EXAMPLE.lines().nth(number - 1).unwrap();
        for value in wrong {
            assert_eq!(
                refusal(&with_line(number, &format!("{key} {value}"))),
                (1204, number),
                "{key} {value}"
            );
        }
        let good_value = good.strip_prefix(key).unwrap().trim_start();
        for line in [
            key.to_owned(),
            format!("{key} "),
            format!("{key}  {good_value}"),
            format!("{good} "),
            format!("{good}\r"),
        ] {
            assert_eq!(refusal(&with_line(number, &line)), (1204, number), "{line:?}");
        }
        for line in [
            format!(" {good}"),
            format!("{key}\t{good_value}"),
            format!("{key}s {good_value}"),
            good.to_uppercase(),
        ] {
            assert_eq!(refusal(&with_line(number, &line)), (1203, number), "{line:?}");
        }
    }
    assert_eq!(refusal(&with_line(5, "created never")), (1204, 5));
    assert_eq!(refusal(&with_line(8, "files none")), (1204, 8));
    assert_eq!(refusal(&with_line(8, "files 0 0")), (1204, 8));
    assert_eq!(refusal(&with_line(9, "root none")), (1204, 9));
}

#[test]
fn takes_4096_bytes_and_not_one_more() {
    // Sixteen lines "ext NN VALUE" share the room; the last one takes the rest.
    let room = MAX_TEXT - EXAMPLE.len();
    let lines = (0..16).map(|i| {
        let length = if i < 15 { room / 16 } else { room - 15 * (room / 16) };
        format!("ext {} {}\n", 10 + i, "x".repeat(length - 8))
    });
    let full = lines.fold(EXAMPLE.to_owned(), |text, line| text + &line);
    assert_eq!((full.len(), refusal(&full)), (4_096, (0, 0)));
    let more = full.replacen("sentence", "sentencee", 1);
    assert_eq!((more.len(), refusal(&more)), (4_097, (1201, 0)));
    assert_eq!(refusal(&"\0".repeat(4_097)), (1201, 0), "the length comes first");
}

#[test]
fn takes_sixteen_ext_lines_and_not_one_more() {
    let lines: Vec<String> = (10..27).map(|i| format!("k{i} v")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(refusal(&with_ext(&lines[..16])), (0, 0));
    assert_eq!(refusal(&with_ext(&lines)), (1203, 29));
    let sixteen = with_ext(&lines[..16]);
    assert_eq!(refusal(&format!("{sixteen}\n")), (1203, 29));
    assert_eq!(refusal(&format!("{sixteen}ext BAD BAD\n")), (1203, 29), "a line too many, whatever it says");
}

#[test]
fn ext_lines_strictly_increase() {
    for good in
        [["a b", "a c"], ["a z", "a- b"], ["a z", "a.b c"], ["a b", "b a"], ["1 b", "a a"], ["a b", "a b b"]]
    {
        assert_eq!(refusal(&with_ext(&good)), (0, 0), "{good:?}");
        assert_eq!(refusal(&with_ext(&[good[1], good[0]])), (1203, 14), "{good:?}, exchanged");
        assert_eq!(refusal(&with_ext(&[good[0], good[0]])), (1203, 14), "{good:?}, the first twice");
    }
}

#[test]
fn ext_keys_and_values_have_a_grammar() {
    let (key, value) = ("k".repeat(33), "v".repeat(257));
    for good in [
        "a b".to_owned(),
        "a-.0 ~!\"\\ x".to_owned(),
        format!("{} v", &key[1..]),
        format!("k {}", &value[1..]),
    ] {
        assert_eq!(refusal(&with_ext(&[&good])), (0, 0), "{good:?}");
    }
    for bad in [
        "a",
        "a ",
        " a",
        "a  b",
        "a b ",
        "A b",
        "a_b c",
        "ä b",
        "a\tb c",
        "a b\tc",
        "a ü",
        "a b\u{7f}",
        "a b\r",
        "",
        &format!("{key} v"),
        &format!("k {value}"),
    ] {
        assert_eq!(refusal(&with_ext(&[bad])), (1204, 13), "{bad:?}");
    }
    assert_eq!(refusal(&format!("{EXAMPLE}ext\n")), (1204, 13));
    assert_eq!(refusal(&format!("{EXAMPLE}note a b\n")), (1203, 13));
}

#[test]
fn refuses_contradictions_behind_everything_else() {
    let previous = format!("previous {HASH}");
    for text in [
        with_line(4, &previous),
        with_line(3, "revision 2"),
        with_line(3, "revision 0"),
        with_line(3, "revision 0").replace("previous none", &previous),
        with_line(10, "tensors none"),
        with_line(11, "tensors-root none"),
        with_line(6, "expires 2026-11-20T16:31:00Z"),
        with_line(6, "expires 2026-11-20T16:30:59Z"),
    ] {
        assert_eq!(refusal(&text), (1205, 0), "{text}");
        assert_eq!(refusal(&text.replace("262144", "262143")), (1204, 12), "grammar first");
    }
    assert_eq!(refusal(&with_line(6, "expires 2026-11-20T16:31:01Z")), (0, 0));
}

#[test]
fn writes_no_head_that_would_be_read_as_another() {
    // `to_text` once checked only that its text could be read. An LF in a value then made a line of its own.
    let head = |key: &str, value: &str| Head {
        ext: vec![Ext { key: key.into(), value: value.into() }],
        ..Head::parse(EXAMPLE).unwrap()
    };
    assert!(head("base", "a").to_text().is_ok());
    for wrong in [head("a", "b\next c d"), head("a b", "c")] {
        assert_eq!(wrong.to_text().map_err(|e| e.error_code().get()), Err(1204), "{:?}", wrong.ext);
    }
}

#[test]
fn writes_no_head_that_could_not_be_read() {
    let good = Head::parse(EXAMPLE).unwrap();
    let ext = |key: &str| Ext { key: key.into(), value: "v".repeat(256) };
    for (wrong, code) in [
        (Head { bytes: 1 << 53, ..good.clone() }, 1204),
        (Head { revision: 0, ..good.clone() }, 1205),
        (Head { revision: 2, ..good.clone() }, 1205),
        (Head { expires: Some(good.created), ..good.clone() }, 1205),
        (Head { files: ListSize { count: 0, length: 0 }, ..good.clone() }, 1204),
        (Head { ext: vec![ext("b"), ext("a")], ..good.clone() }, 1203),
        (Head { ext: vec![ext("A")], ..good.clone() }, 1204),
        (Head { ext: ('a'..='p').map(|c| ext(&c.to_string())).collect(), ..good.clone() }, 1201),
    ] {
        assert_eq!(wrong.to_text().map_err(|e| e.error_code().get()), Err(code));
    }
}

#[test]
fn says_what_is_wrong_in_one_sentence() {
    let text = |text: &str| Head::parse(text).map_err(|e: HeadError| e.to_string()).unwrap_err();
    let seventeen: Vec<String> = (10..27).map(|i| format!("k{i} v")).collect();
    let seventeen: Vec<&str> = seventeen.iter().map(String::as_str).collect();
    for (wrong, sentence) in [
        ("x".repeat(5000), "the head's text has at most 4096 bytes, this one 5000"),
        ("x\n".into(), "the head is not of version weighbridge/head/v1 (line 1)"),
        (with_line(4, "x"), "the head's line 'previous' is missing (line 4)"),
        (with_line(4, "previous x"), "the head's value of 'previous' is malformed (line 4)"),
        (with_ext(&["b c", "a b"]), "the head's 'ext' lines do not strictly increase (line 14)"),
        (with_ext(&seventeen), "the head has more than 16 'ext' lines (line 29)"),
        (with_line(3, "revision 0"), "the head contradicts itself: revisions count from 1"),
    ] {
        assert_eq!(text(&wrong), sentence);
    }
}

prop_compose! {
    fn heads()(
        name in "[A-Za-z0-9][A-Za-z0-9._-]{0,20}(/[A-Za-z0-9][A-Za-z0-9._-]{0,20}){0,3}",
        revision in prop_oneof![Just(1), 2..1_u64 << 53],
        previous in any::<[u8; 32]>(),
        created in -62_167_219_200_i64..253_402_300_799,
        expires in proptest::option::of(1..1_i64 << 40),
        bytes in 0..1_u64 << 53,
        files in (1..=1_u64 << 24, 0..1_u64 << 53),
        roots in any::<([u8; 32], [u8; 32])>(),
        tensors in proptest::option::of((1..=1_u64 << 24, 0..1_u64 << 53)),
        chunk_size in 14..=24_u32,
        ext in proptest::collection::btree_set(("[a-z0-9.-]{1,32}", "[!-~]([ -~]{0,60}[!-~])?"), 0..=16),
    ) -> Head {
        let list = |(count, length): (u64, u64)| ListSize { count, length: length % (8_193 * count + 1) };
        Head {
            name: ModelName::parse(&name).unwrap(),
            revision,
            previous: (revision > 1).then(|| HeadId::from_bytes(previous)),
            created: Time::from_unix(created).unwrap(),
            expires: expires.and_then(|after| Time::from_unix(created + after)),
            bytes,
            files: list(files),
            root: ModelRoot::from_bytes(roots.0),
            tensors: tensors.map(|size| Tensors { list: list(size), root: TensorsRoot::from_bytes(roots.1) }),
            chunk_size: ChunkSize::new(1 << chunk_size).unwrap(),
            ext: ext.into_iter().map(|(key, value)| Ext { key, value }).collect(),
        }
    }
}

proptest! {
    #[test]
    fn every_head_reads_as_it_was_written(head in heads()) {
        let text = head.to_text().unwrap();
        prop_assert_eq!(Head::parse(&text), Ok(head));
    }

    #[test]
    fn an_accepted_text_is_the_one_that_would_be_written(
        head in heads(),
        at in any::<prop::sample::Index>(),
        cut in 0..3_usize,
        put in "(ext |none|never|[0-9a-f \nZ.-]){0,3}",
    ) {
        let mut text = head.to_text().unwrap();
        let at = at.index(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &put);
        if let Ok(parsed) = Head::parse(&text) {
            prop_assert_eq!(parsed.to_text(), Ok(text));
        }
    }
}
