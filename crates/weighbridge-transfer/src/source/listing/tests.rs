use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use weighbridge_manifest::{EntryPath, ListedDigest, PathError, Sha256};

use super::{
    Files, ListingFault, Malformed, sums,
    tree::{Revision, next_page, page},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

type Known = Vec<(String, u64, String)>;

/// The files of a tree of one page, as text.
fn tree(answer: &str) -> Result<Known, Malformed> {
    let mut files = Files::default();
    page(answer.as_bytes(), 1, &mut files)?;
    Ok(known(files.sorted()?))
}

fn known(files: Vec<(EntryPath, (u64, ListedDigest))>) -> Known {
    let text = |(path, (size, digest)): (EntryPath, (u64, ListedDigest))| {
        (path.as_str().to_owned(), size, digest.to_string())
    };
    files.into_iter().map(text).collect()
}

fn small(path: &str) -> Value {
    json!({"type": "file", "path": path, "size": 7, "oid": COMMIT})
}

fn large(path: &str) -> Value {
    let lfs = json!({"oid": SHA256, "size": 9, "pointerSize": 135});
    json!({"type": "file", "path": path, "size": 9, "oid": COMMIT, "lfs": lfs, "xetHash": SHA256})
}

/// The entry with one value replaced, or taken away.
fn with(mut entry: Value, key: &str, value: Option<Value>) -> Value {
    let (at, key) = match key.split_once('.') {
        Some((outer, inner)) => (&mut entry[outer], inner),
        None => (&mut entry, key),
    };
    match value {
        Some(value) => at[key] = value,
        None => drop(at.as_object_mut().unwrap().remove(key)),
    }
    entry
}

#[test]
fn a_tree_is_sorted_and_each_digest_is_of_its_kind() {
    let folder = json!({"type": "directory", "path": "a", "oid": COMMIT, "size": 0});
    let files = tree(&json!([small("b.json"), folder, large("a/model.safetensors")]).to_string()).unwrap();
    let expected = [
        ("a/model.safetensors".to_owned(), 9, format!("sha256:{SHA256}")),
        ("b.json".to_owned(), 7, format!("git-blob:{COMMIT}")),
    ];
    assert_eq!(files, expected);
}

#[test]
fn the_size_beside_a_pointer_may_be_that_of_the_pointer_or_missing() {
    for size in [Some(json!(135)), Some(json!(9)), Some(Value::Null), None] {
        let entry = with(large("a"), "size", size);
        assert_eq!(tree(&json!([entry]).to_string()).unwrap()[0].1, 9);
    }
    // Other answers of hubs call the SHA-256 by its name.
    let lfs = json!({"sha256": SHA256, "size": 9, "pointerSize": 135});
    let entry = with(large("a"), "lfs", Some(lfs));
    assert_eq!(tree(&json!([entry]).to_string()).unwrap()[0].2, format!("sha256:{SHA256}"));
}

#[test]
fn each_fault_of_an_entry_is_named_with_its_path() {
    use ListingFault::*;
    let path = |text, error| (small(text), Path(error));
    let other = |kind: &str| (with(small("a"), "type", Some(json!(kind))), Kind(kind.to_owned()));
    let cases = [
        path("../a", PathError::DotComponent),
        path("/a", PathError::Absolute),
        path("a//b", PathError::EmptyComponent),
        path("a\\b", PathError::Backslash),
        path(".git/config", PathError::Git),
        path("", PathError::Length { bytes: 0 }),
        other("symlink"),
        other("submodule"),
        other(""),
        (with(small("a"), "size", None), Incomplete),
        (with(small("a"), "oid", None), Incomplete),
        (with(small("a"), "oid", Some(Value::Null)), Incomplete),
        (with(small("a"), "oid", Some(json!(SHA256))), Digest),
        (with(small("a"), "oid", Some(json!(COMMIT.to_uppercase()))), Digest),
        (with(small("a"), "oid", Some(json!("é".repeat(20)))), Digest),
        (with(small("a"), "size", Some(json!(1_u64 << 53))), Size { size: 1 << 53 }),
        (with(small("a"), "xetHash", Some(json!(SHA256))), Incomplete),
        (with(large("a"), "lfs.oid", None), Incomplete),
        (with(large("a"), "lfs.size", None), Incomplete),
        (with(large("a"), "lfs.oid", Some(json!(COMMIT))), Digest),
        (with(large("a"), "lfs.oid", Some(json!(SHA256.to_uppercase()))), Digest),
        (with(large("a"), "lfs.size", Some(json!(10))), TwoSizes),
        (with(with(large("a"), "size", None), "lfs.size", Some(json!(u64::MAX))), Size { size: u64::MAX }),
    ];
    for (entry, fault) in cases {
        let malformed = tree(&json!([small("z"), entry]).to_string()).unwrap_err();
        assert_eq!(malformed.fault, fault, "{entry}");
        let named = entry["path"].as_str().unwrap();
        let place = if named.is_empty() { "a path".to_owned() } else { weighbridge_manifest::shown(named) };
        assert_eq!(malformed.place, place);
    }
}

#[test]
fn what_is_no_page_is_named_with_its_place() {
    let twice = format!(r#"[{{"type":"file","path":"a","size":1,"size":2,"oid":"{COMMIT}"}}]"#);
    for answer in ["", "{}", "null", "[1]", "[{}]", r#"[{"type":"file"}]"#, "[", "[]x", &twice, "\u{feff}[]"]
    {
        let malformed = tree(answer).unwrap_err();
        assert_eq!(malformed.place, "page 1");
        assert!(matches!(malformed.fault, ListingFault::Json(_)), "{answer}: {malformed:?}");
    }
    for key in ["size", "path", "type", "oid", "lfs"] {
        for value in [json!(-1), json!(1.5), json!([1]), json!({"x": 1}), json!(true)] {
            // An object of `lfs` that has nothing is incomplete.
            if key == "lfs" && value.is_object() {
                continue;
            }
            let entry = with(small("a"), key, Some(value));
            let malformed = tree(&json!([entry]).to_string()).unwrap_err();
            assert!(matches!(malformed.fault, ListingFault::Json(_)), "{entry}");
        }
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(tree(&deep).unwrap_err().fault, ListingFault::Json(_)));
}

#[test]
fn paths_are_listed_once_and_none_lies_below_another() {
    let fault = |entries: &[Value]| tree(&json!(entries).to_string()).unwrap_err();
    assert_eq!(fault(&[small("a"), small("b"), small("a")]), ListingFault::Twice.of("a"));
    assert_eq!(fault(&[small("a"), large("a")]), ListingFault::Twice.of("a"));
    // `a-b` is sorted between the two.
    assert_eq!(fault(&[small("a/b/c"), small("a-b"), small("a")]), ListingFault::BelowAFile.of("a/b/c"));
    assert_eq!(fault(&[]), ListingFault::Empty.at("all of it"));
    assert_eq!(fault(&[small(".cache/huggingface/x")]).fault, ListingFault::Empty);
}

#[test]
fn folders_that_are_in_no_model_are_passed_over_and_a_head_is_seen() {
    let mut files = Files::default();
    let entries = json!([small("a"), small("weighbridge/files.jsonl"), small("x/.cache/huggingface/y")]);
    page(entries.to_string().as_bytes(), 1, &mut files).unwrap();
    assert!(!files.has_head());
    page(json!([small("weighbridge/head.note")]).to_string().as_bytes(), 2, &mut files).unwrap();
    assert!(files.has_head());
    assert_eq!(known(files.sorted().unwrap()).len(), 1);
}

#[test]
fn a_revision_is_a_commit_and_what_its_card_says_of_bases() {
    let parse = |card: Value| {
        let answer = json!({"id": "org/name", "sha": COMMIT, "siblings": [], "cardData": card});
        Revision::parse(answer.to_string().as_bytes()).unwrap().base_models
    };
    assert_eq!(parse(json!({"base_model": "org/base"})), ["org/base"]);
    assert_eq!(parse(json!({"base_model": ["org/a", 7, "org/b"]})), ["org/a", "org/b"]);
    for card in [Value::Null, json!({}), json!({"base_model": 7}), json!("base_model"), json!(["base_model"])]
    {
        assert!(parse(card).is_empty());
    }
    let bare = format!(r#"{{"sha":"{COMMIT}"}}"#);
    let expected = Revision { commit: COMMIT.to_owned(), base_models: Vec::new() };
    assert_eq!(Revision::parse(bare.as_bytes()), Ok(expected));
    for sha in [json!("main"), json!(COMMIT.to_uppercase()), json!(SHA256), Value::Null] {
        let answer = json!({"sha": sha}).to_string();
        assert_eq!(Revision::parse(answer.as_bytes()).unwrap_err().fault, ListingFault::Commit);
    }
    assert_eq!(Revision::parse(b"{}").unwrap_err().fault, ListingFault::Commit);
    assert!(matches!(Revision::parse(b"<html>").unwrap_err().fault, ListingFault::Json(_)));
    // Also in what is passed over.
    let commit = "0123456789abcdef".repeat(3);
    let mut answer = format!(r#"{{"other":"?","sha":"{}"}}"#, &commit[..40]).into_bytes();
    assert!(Revision::parse(&answer).is_ok());
    answer[10] = 0xd3;
    assert!(matches!(Revision::parse(&answer).unwrap_err().fault, ListingFault::Json(_)));
}

#[test]
fn the_next_page_is_the_link_of_that_relation() {
    for (links, next) in [
        (&["<https://h/x?cursor=a,b>; rel=\"next\""][..], Some("https://h/x?cursor=a,b")),
        (&["<https://h/p>; rel=\"prev\", <https://h/n>; title=\"x\"; rel=next"], Some("https://h/n")),
        (&["<https://h/p>; rel=prev", "<https://h/n>; REL=\"last Next\""], Some("https://h/n")),
        (&["<https://h/p>; rel=\"nextish\""], None),
        (&["<https://h/p>; crel=next"], None),
        (&["https://h/p; rel=next", "<https://h/p; rel=next", "<>", "", ","], None),
        (&["<>; rel=next"], Some("")),
        (&[], None),
    ] {
        assert_eq!(next_page(links.iter().copied()), next, "{links:?}");
    }
}

/// The paths of a `SHA256SUMS`.
fn summed(text: &str) -> Result<Vec<String>, Malformed> {
    let files = sums::parse(text.as_bytes())?.sorted()?;
    let bytes = super::files::hex(SHA256).unwrap();
    assert!(files.iter().all(|(_, digest)| *digest == Sha256(bytes)));
    Ok(files.into_iter().map(|(path, _)| path.as_str().to_owned()).collect())
}

#[test]
fn sums_are_read_in_each_form_of_coreutils() {
    let upper = SHA256.to_uppercase();
    for (line, path) in [
        (format!("{SHA256}  a b"), "a b"),
        (format!("{SHA256} *a"), "a"),
        (format!("{SHA256}   a"), " a"),
        (format!("{SHA256}  *a"), "*a"),
        (format!("{upper}  a"), "a"),
        (format!(" \t{SHA256}  a"), "a"),
        (format!("{SHA256}  ./sub/a"), "sub/a"),
        (format!("{SHA256}  ././a"), "a"),
        (format!("\\{SHA256}  a"), "a"),
        (format!("SHA256 (a) = b) = {SHA256}"), "a) = b"),
        (format!("# comment\n\n{SHA256}  a\r\n#\n"), "a"),
        (format!("{SHA256}  weighbridge/head.note\n{SHA256}  a\n{SHA256}  ./SHA256SUMS"), "a"),
    ] {
        assert_eq!(summed(&line).as_deref(), Ok(&[path.to_owned()][..]), "{line}");
        assert_eq!(summed(&format!("{line}\n")).as_deref(), Ok(&[path.to_owned()][..]), "{line}");
    }
}

#[test]
fn each_fault_of_sums_is_named_with_its_line_or_path() {
    use ListingFault::*;
    for (text, place, fault) in [
        (SHA256.to_owned(), "line 1", Line),
        (format!("{SHA256} a"), "line 1", Line),
        (format!("#\n{SHA256}\ta"), "line 2", Line),
        (format!("{SHA256}  a\nSHA512 (a) = {SHA256}"), "line 2", Line),
        (format!("SHA256 (a)= {SHA256}"), "line 1", Line),
        (format!("{COMMIT}  a"), "line 1", Digest),
        (format!("{}g  a", &SHA256[1..]), "line 1", Digest),
        (format!("{SHA256}f  a"), "line 1", Digest),
        (format!("\\{SHA256}  a\\x"), "line 1", Line),
        (format!("\\{SHA256}  a\\"), "line 1", Line),
        (format!("\\{SHA256}  a\\nb"), "a\\nb", Path(PathError::Control)),
        (format!("\\{SHA256}  a\\\\b"), "a\\\\b", Path(PathError::Backslash)),
        (format!("{SHA256}  ../a"), "../a", Path(PathError::DotComponent)),
        (format!("{SHA256}  a\n{SHA256} *./a"), "a", Twice),
        (format!("{SHA256}  a\n{SHA256}  a/b"), "a/b", BelowAFile),
        (format!("{SHA256}  SHA256SUMS"), "all of it", Empty),
        (String::new(), "all of it", Empty),
        ("<!doctype html>\n".to_owned(), "line 1", Line),
    ] {
        let expected = Malformed { place: place.to_owned(), fault };
        assert_eq!(summed(&text), Err(expected), "{text}");
    }
    assert_eq!(sums::parse(b"\xff").unwrap_err(), NotUtf8.at("SHA256SUMS"));
}

fn a_path() -> impl Strategy<Value = String> {
    let component = "[a-z0-9äß ._-]{1,8}".prop_filter("a name", |name| !matches!(name.as_str(), "." | ".."));
    prop::collection::vec(component, 1..4).prop_map(|names| names.join("/"))
}

proptest! {
    #[test]
    fn any_files_in_any_order_and_pages_are_listed_as_they_are(
        files in prop::collection::btree_map(a_path(), (0..1_u64 << 53, any::<[u8; 32]>(), any::<bool>()), 1..20),
        seed in any::<u64>(),
        per_page in 1..7_usize,
    ) {
        // A path below another one makes the listing malformed, which other tests show.
        let is_below = |path: &str| {
            path.match_indices('/').any(|(end, _)| files.contains_key(&path[..end]))
        };
        let files: BTreeMap<_, _> = files.iter().filter(|(path, _)| !is_below(path)).collect();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut expected = Vec::new();
        let mut entries = Vec::new();
        for (path, (size, bytes, is_large)) in files {
            let (digest, entry) = match is_large {
                true => {
                    let lfs = json!({"oid": hex(bytes), "size": size, "pointerSize": 130});
                    let entry = json!({"type": "file", "path": path, "size": size, "oid": COMMIT, "lfs": lfs});
                    (format!("sha256:{}", hex(bytes)), entry)
                }
                false => {
                    let oid = hex(&bytes[..20]);
                    let entry = json!({"type": "file", "path": path, "size": size, "oid": oid});
                    (format!("git-blob:{oid}"), entry)
                }
            };
            expected.push((path.clone(), *size, digest));
            entries.push(entry);
        }
        let turn = usize::try_from(seed % 1_000).unwrap() % entries.len();
        entries.rotate_left(turn);
        let mut listed = Files::default();
        for (number, entries) in (1..).zip(entries.chunks(per_page)) {
            page(json!(entries).to_string().as_bytes(), number, &mut listed).unwrap();
        }
        prop_assert_eq!(known(listed.sorted().unwrap()), expected);
    }

    #[test]
    fn any_sums_are_listed_as_they_are(paths in prop::collection::btree_set(a_path(), 1..20)) {
        let is_below = |path: &str| path.match_indices('/').any(|(end, _)| paths.contains(&path[..end]));
        let paths: Vec<_> = paths.iter().filter(|path| !is_below(path)).cloned().collect();
        let text: String = paths.iter().rev().map(|path| format!("{SHA256}  {path}\n")).collect();
        prop_assert_eq!(summed(&text), Ok(paths));
    }
}
