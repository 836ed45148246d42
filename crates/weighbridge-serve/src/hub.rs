//! The answers in the language of a hub, for clients that know no other: lists of files, and headers.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use weighbridge_manifest::shown_beginning;

use crate::{
    refusal::Refusal,
    release::{Item, Release},
    reply::{Answer, insert, text},
    route::parameters,
};

/// The headers of every answer about a file.
pub(crate) fn headers(release: &Release) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, COMMIT, &release.commit());
    headers
}

const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// A path at which the release has nothing. Loaders ask for files that a model may have, and look at this code.
pub(crate) fn no_entry(release: &Release, path: &str) -> Refusal {
    let message = format!("the model has no {}", shown_beginning(path, 200));
    let refusal = Refusal::new(http::StatusCode::NOT_FOUND, message);
    refusal.hub_code("EntryNotFound").with(COMMIT, &release.commit())
}

/// About as many bytes of memory as a list of all files takes, while it is written.
pub(crate) fn memory(release: &Release) -> u64 {
    release.head().files.length.saturating_mul(6).saturating_add(1 << 18)
}

/// A model: its name, its commit, and its files; with their sizes if the query asks for `blobs`.
pub(crate) fn info(release: &Release, query: Option<&str>) -> Result<Answer, Refusal> {
    let has_sizes = is_asked(query, "blobs");
    let name = release.name.as_str();
    let model = json!({
        "_id": name,
        "id": name,
        "modelId": name,
        "author": release.name.name().organisation(),
        "sha": release.commit(),
        "lastModified": release.head().created.to_string(),
        "private": false,
        "gated": false,
        "disabled": false,
        "tags": [],
    });
    let siblings = release.items().into_iter().map(|(path, item)| match has_sizes {
        false => json!({ "rfilename": path }),
        true => {
            let (size, id) = (release.size(item), release.tag(item));
            with_sha256(json!({ "rfilename": path, "size": size, "blobId": id }), release, item)
        }
    });
    // Value by value: a list may have millions of files.
    let mut written = model.to_string();
    written.truncate(written.len().saturating_sub(1));
    written.push_str(",\"siblings\":");
    write_list(&mut written, siblings, limit(release))?;
    written.push('}');
    Ok(json_answer(release, written))
}

/// The files and folders in a folder of a release, and below it if the query asks for `recursive`.
pub(crate) fn tree(release: &Release, folder: &str, query: Option<&str>) -> Result<Answer, Refusal> {
    let is_recursive = is_asked(query, "recursive");
    let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut last_folder = String::new();
    let mut is_there = folder.is_empty();
    let mut written = String::new();
    let commit = release.commit();
    let entries = release.items().into_iter().flat_map(|(path, item)| {
        let mut entries = Vec::new();
        let Some(rest) = path.strip_prefix(&below) else { return entries };
        is_there = true;
        // The folders between: each once, since paths come in order.
        let depth = if is_recursive { usize::MAX } else { 1 };
        for (at, _) in rest.match_indices('/').take(depth) {
            let between = format!("{below}{}", rest.get(..at).unwrap_or_default());
            let is_new = last_folder != between && !last_folder.starts_with(&format!("{between}/"));
            if is_new {
                entries.push(json!({ "type": "directory", "path": between, "size": 0, "oid": commit }));
                last_folder = between;
            }
        }
        if is_recursive || !rest.contains('/') {
            let (size, id) = (release.size(item), release.tag(item));
            let entry = json!({ "type": "file", "path": path, "size": size, "oid": id });
            entries.push(with_sha256(entry, release, item));
        }
        entries
    });
    write_list(&mut written, entries, limit(release))?;
    if is_there { Ok(json_answer(release, written)) } else { Err(no_entry(release, folder)) }
}

/// Writes values, as long as they have no more bytes in all than memory was taken for: the folders of paths may be very many.
fn write_list(written: &mut String, values: impl Iterator<Item = Value>, most: usize) -> Result<(), Refusal> {
    written.push('[');
    for (number, value) in values.enumerate() {
        // Writing to a string does not fail.
        let _ = write!(written, "{}{value}", if number > 0 { "," } else { "" });
        if written.len() > most {
            let message = "the list is too long to be written at once: ask for one folder after the other";
            return Err(Refusal::new(http::StatusCode::PAYLOAD_TOO_LARGE, message));
        }
    }
    written.push(']');
    Ok(())
}

/// The longest text of a list: memory is for it and for the paths from which it is written.
fn limit(release: &Release) -> usize {
    usize::try_from(memory(release) / 2).unwrap_or(usize::MAX)
}

/// Adds the SHA-256 of a file, as hubs give it for large files, if the list has it.
fn with_sha256(mut value: Value, release: &Release, item: Item) -> Value {
    let sha256 = release.entry(item).and_then(|entry| entry.sha256);
    if let (Some(sha256), Some(object)) = (sha256, value.as_object_mut()) {
        let (sha256, size) = (sha256.to_string(), release.size(item));
        let lfs = json!({ "oid": sha256, "sha256": sha256, "size": size, "pointerSize": 134 });
        object.insert("lfs".to_owned(), lfs);
    }
    value
}

fn is_asked(query: Option<&str>, key: &str) -> bool {
    let parameters = parameters(query).unwrap_or_default();
    parameters.iter().any(|(name, value)| name == key && matches!(value.as_str(), "" | "1" | "true" | "True"))
}

fn json_answer(release: &Release, written: String) -> Answer {
    let mut answer = text("application/json", written);
    answer.headers.extend(headers(release));
    answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
