//! The index of a sharded model: accepted forms, and every refusal.

use proptest::prelude::*;
use weighbridge_formats::Coded;
use weighbridge_formats::index::{Index, Lookup, is_index};

const SAMPLE: &str = r#"{
  "metadata": {"total_size": 12},
  "weight_map": {"b.weight": "model-00002-of-00002.safetensors", "a.weight": "model-00001-of-00002.safetensors"}
}
"#;

fn code(text: &str) -> u16 {
    Index::parse(text.as_bytes()).map_or_else(|error| error.error_code().get(), |_| 0)
}

#[test]
fn is_known_by_the_ending_of_its_name() {
    for (path, expected) in [
        ("model.safetensors.index.json", true),
        ("unet/diffusion_pytorch_model.safetensors.index.json", true),
        (".safetensors.index.json", true),
        ("model.safetensors", false),
        ("pytorch_model.bin.index.json", false),
        ("model.SAFETENSORS.index.json", false),
        ("model.safetensors.index.json.bak", false),
    ] {
        assert_eq!(is_index(path), expected, "{path}");
    }
}

#[test]
fn reads_the_weight_map_in_order_of_names() {
    let index = Index::parse(SAMPLE.as_bytes()).unwrap();
    let pairs: Vec<_> = index.weight_map().collect();
    let expected =
        [("a.weight", "model-00001-of-00002.safetensors"), ("b.weight", "model-00002-of-00002.safetensors")];
    assert_eq!(pairs, expected);
}

#[test]
fn refuses_what_is_malformed_or_ambiguous() {
    for (expected, text) in [
        (0, r#"{"weight_map":{}}"#),
        (0, "\n {\"weight_map\" : { } }\n\n"),
        (0, r#"{"metadata":null,"weight_map":{"":""},"else":[1.5e3,{"a":{}}]}"#),
        (4201, ""),
        (4201, "{}"),
        (4201, "[]"),
        (4201, r#"{"weight_map":{}"#),
        (4201, r#"{"weight_map":{}}{}"#),
        (4201, "\u{feff}{\"weight_map\":{}}"),
        (4201, r#"{"weight_map":{}}x"#),
        (4201, r#"{"weight_map":[]}"#),
        (4201, r#"{"weight_map":null}"#),
        (4201, r#"{"weight_map":{"a":1}}"#),
        (4201, r#"{"weight_map":{"a":["b"]}}"#),
        (4201, r#"{"weight_map":{"a":"b",}}"#),
        (4201, r#"{"weight_map":{},"weight_map":{}}"#),
        (4201, r#"{"weight_map":{},"weight\u005fmap":{}}"#),
        (4201, r#"{"weight_map":{},"x":1,"x":1}"#),
        (4201, r#"{"weight_map":{},"x":01}"#),
        (4204, r#"{"weight_map":{"a":"b","a":"b"}}"#),
        (4204, r#"{"weight_map":{"a":"b","c":"d","\u0061":"e"}}"#),
        // 4204 is only for an index that is otherwise well-formed.
        (4201, r#"{"weight_map":{"a":"b","a":"b"},"x":1,"x":1}"#),
        (4201, r#"{"weight_map":{"a":"b","a":"b"}"#),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
    assert_eq!(Index::parse(b"{\"weight_map\":{\"\xff\":\"\"}}").unwrap_err().error_code().get(), 4201);
    assert_eq!(code(&"{\"a\":".repeat(1_000_000)), 4201);
}

#[test]
fn size_is_bounded_before_anything_is_read() {
    let text = vec![b' '; (1 << 28) + 1];
    let error = Index::parse(&text).unwrap_err();
    assert_eq!(error.to_string(), "the index is longer than 268435456 bytes");
    assert_eq!(error.error_code().get(), 4201);
}

#[test]
fn names_the_first_lie_in_order_of_tensors() {
    let held = |file: &str, tensor: &str| match (file, tensor) {
        ("sub/one", "a" | "b") => Lookup::Tensor,
        ("sub/one", _) => Lookup::NoTensor,
        _ => Lookup::NoFile,
    };
    let check =
        |text: &str| Index::parse(text.as_bytes()).unwrap().check("sub/x.safetensors.index.json", held);
    assert_eq!(check(r#"{"weight_map":{"b":"one","a":"one"}}"#), Ok(()));
    for (text, code, message) in [
        (
            r#"{"weight_map":{"z":"two","c":"one","a":"one"}}"#,
            4203,
            r#"the index places tensor "c" in the file "sub/one", which does not hold it"#,
        ),
        (
            r#"{"weight_map":{"z":"one","a":"two"}}"#,
            4202,
            r#"the index places tensor "a" in the file "sub/two", which the model does not have"#,
        ),
        (
            r#"{"weight_map":{"a":"../sub/one"}}"#,
            4202,
            r#"the index places tensor "a" in the file "sub/../sub/one", which the model does not have"#,
        ),
    ] {
        let error = check(text).unwrap_err();
        assert_eq!((error.error_code().get(), error.to_string().as_str()), (code, message));
    }
    for outside in ["./one", "/sub/one", "", "one/", "sub/one"] {
        let text = format!(r#"{{"weight_map":{{"a":"{outside}"}}}}"#);
        assert_eq!(check(&text).unwrap_err().error_code().get(), 4202, "{outside}");
    }
}

#[test]
fn an_index_in_the_root_names_files_there() {
    let index = Index::parse(br#"{"weight_map":{"a":"f","b":"d/f"}}"#).unwrap();
    let mut asked = Vec::new();
    let verdict = index.check("model.safetensors.index.json", |file, tensor| {
        asked.push(format!("{tensor} {file}"));
        Lookup::Tensor
    });
    assert_eq!((verdict, asked), (Ok(()), vec!["a f".to_owned(), "b d/f".to_owned()]));
}

#[test]
fn every_truncation_is_refused() {
    for cut in 0..SAMPLE.trim_end().len() {
        assert_eq!(code(&SAMPLE[..cut]), 4201, "cut to {cut} bytes");
    }
}

proptest! {
    /// Near misses never panic. An accepted one is read in the same way as by `serde_json`.
    #[test]
    fn near_misses_are_refused_or_read_as_by_serde_json(
        at in 0..SAMPLE.len(), cut in 0_usize..4, put in r#"[ \[\]{}:,"\\0-9eE.a-z-]{0,3}"#,
    ) {
        let text = format!("{}{put}{}", &SAMPLE[..at], SAMPLE.get(at + cut..).unwrap_or_default());
        if let Ok(index) = Index::parse(text.as_bytes()) {
            let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
            let ours: serde_json::Map<_, _> =
                index.weight_map().map(|(tensor, file)| (tensor.to_owned(), file.into())).collect();
            prop_assert_eq!(&theirs["weight_map"], &serde_json::Value::Object(ours));
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Index::parse(&bytes);
    }
}
