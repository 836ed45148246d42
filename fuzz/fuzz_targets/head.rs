//! Heads: each head has exactly one text, and each head that can be written can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{Head, MAX_TEXT};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(head) = bounded(text.len(), || Head::parse(text)) else { return };
    assert_eq!(head.to_string(), text, "written again it is another head");

    // The rules of the specification, checked without the parser.
    const BELOW: u64 = 1 << 53;
    assert!(text.len() <= MAX_TEXT && text.is_ascii());
    assert_eq!(text.lines().count(), 12 + head.ext.len());
    assert!(head.revision < BELOW && head.bytes < BELOW);
    assert_eq!(head.revision == 1, head.previous.is_none());
    assert!(head.files.count >= 1);
    let lists = [Some(head.files), head.tensors.map(|tensors| tensors.list)];
    for list in lists.into_iter().flatten() {
        assert!(list.count <= 1 << 24 && list.length < BELOW);
    }
    assert!(head.expires.is_none_or(|expires| expires > head.created));
    assert!(head.ext.len() <= 16 && head.ext.is_sorted_by(|a, b| a < b));

    // The parser consumes its input exactly (rule 6).
    for changed in [format!("{text}\n"), format!("{text} "), format!("\u{feff}{text}"), text.repeat(2)] {
        assert!(Head::parse(&changed).is_err(), "accepted: {changed:?}");
    }
    assert!(Head::parse(&text[..text.len() - 1]).is_err(), "the last LF is missing");

    // Another head has another text: the next revision can be written too.
    let id = weighbridge_manifest::tree::head_id(data);
    let next = Head { revision: head.revision + 1, previous: Some(id), ..head };
    let next_text = next.to_string();
    if next.revision < BELOW && next_text.len() <= MAX_TEXT {
        assert_eq!(Head::parse(&next_text), Ok(next));
    }
});
