//! Listings. The first line of the input is `revision`, `sums`, `link`, or anything else for a page of a tree; the rest is
//! the answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{EntryPath, ListedDigest, ListedFile, Sha256};

#[path = "../../crates/weighbridge-transfer/src/source/listing/fault.rs"]
#[allow(dead_code, reason = "the faults of the addresses of pages")]
mod fault;
#[path = "../../crates/weighbridge-transfer/src/source/listing/files.rs"]
mod files;
#[path = "../../crates/weighbridge-transfer/src/source/listing/sums.rs"]
mod sums;
#[path = "../../crates/weighbridge-transfer/src/source/listing/tree.rs"]
mod tree;

use fault::{ListingFault, Malformed};
use files::Files;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (kind, answer) = data.split_at(end);
    let answer = answer.get(1..).unwrap_or_default();
    bounded(data.len(), || match kind {
        b"revision" => revision(answer),
        b"sums" => sums(answer),
        b"link" => link(answer),
        _ => page(answer),
    });
});

fn revision(answer: &[u8]) {
    let Ok(said) = tree::Revision::parse(answer) else { return };
    assert!(said.commit.len() == 40 && said.commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let text = String::from_utf8_lossy(answer).into_owned();
    assert!(said.base_models.is_empty() || text.contains("base_model") || text.contains("\\u"));
}

fn page(answer: &[u8]) {
    let mut files = Files::default();
    if let Err(Malformed { place, .. }) = tree::page(answer, 1, &mut files) {
        return assert!(!place.is_empty());
    }
    let has_head = files.has_head();
    let Ok(files) = files.sorted() else { return };
    check(files.iter().map(|(path, _)| path));
    assert!(!has_head || answer.len() > "weighbridge/head.note".len());
    // What is passed over may have escapes of half a character.
    let Ok(entries) = serde_json::from_slice::<Vec<Value>>(answer) else {
        return assert!(String::from_utf8_lossy(answer).contains("\\u"), "a page is an array");
    };
    for (path, (size, digest)) in files {
        let file = ListedFile { path, size, digest };
        assert!(file.size < 1 << 53);
        let entry = entries.iter().find(|entry| entry["path"] == file.path.as_str());
        // An entry may be an array, which this does not look into.
        if let Some(entry) = entry.filter(|entry| entry["lfs"].is_object()) {
            assert!(matches!(file.digest, ListedDigest::Sha256(_)));
            assert_eq!(entry["lfs"]["size"], file.size);
        }
        let (kind, digits) =
            file.digest.to_string().split_once(':').map(|(a, b)| (a.len(), b.len())).unwrap();
        assert!(matches!((kind, digits), (6, 64) | (8, 40)));
    }
}

fn sums(answer: &[u8]) {
    let Ok(files) = sums::parse(answer) else { return };
    let lines = answer.iter().filter(|byte| **byte == b'\n').count() + 1;
    let Ok(files) = files.sorted() else { return };
    assert!(files.len() <= lines);
    check(files.iter().map(|(path, _)| path));
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    assert!(files.iter().all(|(_, digest): &(_, Sha256)| text.contains(&digest.to_string())));
}

fn link(answer: &[u8]) {
    let Ok(text) = str::from_utf8(answer) else { return };
    if let Some(target) = tree::next_page(text.lines()) {
        assert!(text.contains(&format!("<{target}>")) && text.to_ascii_lowercase().contains("next"));
    }
}

/// Paths are sorted, each once, and none lies below another.
fn check<'p>(paths: impl Iterator<Item = &'p EntryPath>) {
    let paths: Vec<&str> = paths.map(EntryPath::as_str).collect();
    assert!(!paths.is_empty() && paths.is_sorted_by(|a, b| a < b));
    for path in &paths {
        let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
        assert!(above.all(|folder| paths.binary_search(&folder).is_err()));
    }
}
