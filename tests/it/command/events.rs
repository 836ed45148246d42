//! `spec/events.schema.json` has every object that `--json` prints, and `spec/events.md` the same keys for people.

use std::{collections::BTreeSet, fs, sync::OnceLock};

use serde_json::{Value, json};

use super::{json_schema::check, kit::root};

fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = fs::read_to_string(root().join("spec/events.schema.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    })
}

/// The schemas of the objects, one for each row of the page.
fn objects() -> &'static [Value] {
    schema()["anyOf"].as_array().unwrap()
}

/// Checks an object against the schema. The tests call it for every object that they read.
#[track_caller]
pub(crate) fn is_in_the_schema(object: &Value) {
    if let Err(faults) = find(object) {
        panic!("spec/events.schema.json has no such object: {object}\n{faults}");
    }
}

/// Several commands may print the same event with different keys.
fn find(object: &Value) -> Result<(), String> {
    let is_of_event = |schema: &&Value| schema["properties"]["event"]["const"] == object["event"];
    let mut faults = String::new();
    for of_event in objects().iter().filter(is_of_event) {
        match check(schema(), of_event, object, "") {
            Ok(()) => return Ok(()),
            Err(fault) => faults += &format!("{}: {fault}\n", of_event["title"]),
        }
    }
    Err(faults)
}

/// A row of the page.
#[derive(Debug, PartialEq)]
struct Row {
    event: String,
    printed_by: String,
    /// The keys that an object always has, and those that it may have.
    always: BTreeSet<String>,
    sometimes: BTreeSet<String>,
}

fn page() -> Vec<Row> {
    let text = fs::read_to_string(root().join("spec/events.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let [_, event, printed_by, keys, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (always, sometimes) = keys.split_once('[').unwrap_or((keys, ""));
        let [event, printed_by] = [event.trim_matches('`').to_owned(), printed_by.to_owned()];
        Row { event, printed_by, always: words(always), sometimes: words(sometimes) }
    });
    rows.collect()
}

/// The words between backticks.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A unit test of the command compares the schema with the types of the objects.
///
/// Regression: every command printed `note`, and no page named it.
#[test]
fn the_page_has_the_events_and_keys_of_the_schema() {
    let of_schema: Vec<Row> = objects()
        .iter()
        .map(|schema| {
            let (event, printed_by) = schema["title"].as_str().unwrap().split_once(": ").unwrap();
            let mut all: BTreeSet<String> =
                schema["properties"].as_object().unwrap().keys().cloned().collect();
            let required = schema["required"].as_array().unwrap().iter();
            let mut always: BTreeSet<String> = required.map(|key| key.as_str().unwrap().to_owned()).collect();
            assert!(all.remove("event") && always.remove("event"), "{schema}");
            let sometimes = all.difference(&always).cloned().collect();
            Row { event: event.to_owned(), printed_by: printed_by.to_owned(), always, sometimes }
        })
        .collect();
    let page = page();
    for (page, schema) in page.iter().zip(&of_schema) {
        assert_eq!(page, schema);
    }
    assert_eq!(page.len(), of_schema.len());
}

#[test]
fn the_examples_of_the_pages_are_in_the_schema() {
    let mut count = 0;
    for page in fs::read_dir(root().join("spec")).unwrap().map(|entry| entry.unwrap().path()) {
        let Some(text) = fs::read_to_string(page).ok() else { continue };
        let is_object = |line: &&str| line.starts_with("{\"") && line.contains("\"event\":");
        for line in text.lines().filter(is_object) {
            is_in_the_schema(&serde_json::from_str(line).unwrap());
            count += 1;
        }
    }
    assert!(count > 20, "{count} examples were found");
}

#[test]
fn an_object_that_is_not_as_the_schema_says_is_found() {
    let head = json!({
        "event": "head", "name": "org/llama", "revision": 1, "head": "0".repeat(64), "signers": ["alice"],
        "imported": null, "freshness": "current",
    });
    is_in_the_schema(&head);
    for (key, value) in [
        ("event", json!("heads")),
        ("name", json!(null)),
        ("revision", json!("1")),
        ("revision", json!(-1)),
        ("revision", json!(1.5)),
        ("head", json!("0".repeat(63))),
        ("head", json!("F".repeat(64))),
        ("signers", json!("alice")),
        ("signers", json!(["alice", 2])),
        ("freshness", json!("stale")),
        ("imported", json!(true)),
        ("imported", json!({"from": [], "not_signed_by": null})),
        ("further", json!(1)),
    ] {
        let mut other = head.clone();
        other[key] = value;
        assert!(find(&other).is_err(), "{other}");
    }
    for key in head.as_object().unwrap().keys() {
        let mut other = head.clone();
        other.as_object_mut().unwrap().remove(key);
        assert!(find(&other).is_err(), "{other}");
    }
    // A key is absent or has its value, also within an object, and is never null instead.
    let file = json!({
        "event": "file", "path": "config.json", "status": "refused", "size": 2, "chunks": 1,
        "faults": [{ "code": 2101, "message": "", "bad_chunks": [] }],
    });
    is_in_the_schema(&file);
    for (place, value) in [("/uncompared", json!(null)), ("/faults/0/bad_chunks", json!(null))] {
        let mut other = file.clone();
        other["uncompared"] = "not-listed".into();
        is_in_the_schema(&other);
        *other.pointer_mut(place).unwrap() = value;
        assert!(find(&other).is_err(), "{other}");
    }
    let mut time =
        json!({ "event": "report", "auditor": "a", "prover": "p", "received": "2026-11-29T12:00:00Z" });
    is_in_the_schema(&time);
    time["received"] = "yesterday".into();
    assert!(find(&time).is_err(), "{time}");
}
