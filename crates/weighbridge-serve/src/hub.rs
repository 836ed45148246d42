//! The answers in the language of a hub, for clients that know no other: lists of files, and headers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use weighbridge_manifest::shown_beginning;

use crate::{
    answer::{Answer, Refusal, insert, text},
    release::{Item, Release},
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

/// A model: its name, its commit, and its files; with their sizes if the query asks for `blobs`.
pub(crate) fn info(release: &Release, query: Option<&str>) -> Answer {
    let has_sizes = is_asked(query, "blobs");
    let siblings = release.items().into_iter().map(|(path, item)| {
        let mut sibling = json!({ "rfilename": path });
        if has_sizes && let Some(object) = sibling.as_object_mut() {
            object.insert("size".to_owned(), json!(release.size(item)));
            object.insert("blobId".to_owned(), json!(release.tag(item)));
            object.extend(lfs(release, item));
        }
        sibling
    });
    let siblings: Vec<Value> = siblings.collect();
    let name = release.name.as_str();
    let created = release.head().created.to_string();
    json_answer(
        release,
        &json!({
            "_id": name,
            "id": name,
            "modelId": name,
            "author": release.name.name().organisation(),
            "sha": release.commit(),
            "lastModified": created,
            "private": false,
            "gated": false,
            "disabled": false,
            "tags": [],
            "siblings": siblings,
        }),
    )
}

/// The files and folders in a folder of a release, and below it if the query asks for `recursive`.
pub(crate) fn tree(release: &Release, folder: &str, query: Option<&str>) -> Result<Answer, Refusal> {
    let is_recursive = is_asked(query, "recursive");
    let mut entries: Vec<Value> = Vec::new();
    let mut last_folder = String::new();
    let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut is_there = folder.is_empty();
    for (path, item) in release.items() {
        let Some(rest) = path.strip_prefix(&below) else { continue };
        is_there = true;
        // The folders between: each once, since paths come in order.
        let depth = if is_recursive { usize::MAX } else { 1 };
        for (at, _) in rest.match_indices('/').take(depth) {
            let between = format!("{below}{}", rest.get(..at).unwrap_or_default());
            let is_new = last_folder != between && !last_folder.starts_with(&format!("{between}/"));
            if is_new {
                entries.push(
                    json!({ "type": "directory", "path": between, "size": 0, "oid": release.commit() }),
                );
                last_folder = between;
            }
        }
        if is_recursive || !rest.contains('/') {
            let mut entry = json!({
                "type": "file", "path": path, "size": release.size(item), "oid": release.tag(item),
            });
            if let Some(object) = entry.as_object_mut() {
                object.extend(lfs(release, item));
            }
            entries.push(entry);
        }
    }
    if is_there { Ok(json_answer(release, &Value::Array(entries))) } else { Err(no_entry(release, folder)) }
}

/// The SHA-256 of a file, as hubs give it for large files, if the list has it.
fn lfs(release: &Release, item: Item) -> serde_json::Map<String, Value> {
    let sha256 = release.entry(item).and_then(|entry| entry.sha256);
    let lfs = sha256.map(|sha256| {
        let sha256 = sha256.to_string();
        (
            "lfs".to_owned(),
            json!({ "oid": sha256, "sha256": sha256, "size": release.size(item), "pointerSize": 134 }),
        )
    });
    lfs.into_iter().collect()
}

fn is_asked(query: Option<&str>, key: &str) -> bool {
    let parameters = parameters(query).unwrap_or_default();
    parameters.iter().any(|(name, value)| name == key && matches!(value.as_str(), "" | "1" | "true" | "True"))
}

fn json_answer(release: &Release, value: &Value) -> Answer {
    let mut answer = text("application/json", value.to_string());
    answer.headers.extend(headers(release));
    answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
