//! `spec/events.md` names every object that `--json` prints, and all of its keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::OnceLock,
};

use serde_json::Value;

use super::kit::root;

/// The keys that an object always has, and those that it may have.
#[derive(Debug)]
struct Keys {
    always: BTreeSet<String>,
    sometimes: BTreeSet<String>,
}

/// The rows of the page, by event. Several commands may print the same event with different keys.
fn page() -> &'static BTreeMap<String, Vec<Keys>> {
    static PAGE: OnceLock<BTreeMap<String, Vec<Keys>>> = OnceLock::new();
    PAGE.get_or_init(|| {
        let text = fs::read_to_string(root().join("spec/events.md")).unwrap();
        let mut events: BTreeMap<String, Vec<Keys>> = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let [_, event, _, keys, _] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (always, sometimes) = keys.split_once('[').unwrap_or((keys, ""));
            let keys = Keys { always: words(always), sometimes: words(sometimes) };
            events.entry(words(event).pop_first().unwrap()).or_default().push(keys);
        }
        events
    })
}

/// The words between backticks.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Checks an object against the page. The tests call it for every object that they read.
#[track_caller]
pub(crate) fn is_on_its_page(object: &Value) {
    let mut has: BTreeSet<String> = object.as_object().unwrap().keys().cloned().collect();
    assert!(has.remove("event"), "an object without event: {object}");
    let event = object["event"].as_str().unwrap();
    let kinds = page().get(event).map_or(&[][..], Vec::as_slice);
    let is_so = |keys: &Keys| {
        keys.always.is_subset(&has) && has.difference(&keys.always).all(|key| keys.sometimes.contains(key))
    };
    assert!(kinds.iter().any(is_so), "spec/events.md has no such {event}: {object}\n{kinds:#?}");
}

/// Regression: every command printed `note`, and no page named it.
#[test]
fn every_event_of_the_command_is_on_its_page_and_every_one_of_the_page_in_the_command() {
    let mut said = BTreeSet::new();
    for file in sources(&root().join("crates/weighbridge-cli/src")) {
        for begin in ["\"event\": \"", "event: \"", "[\"event\"] = \""] {
            let ends = file.split(begin).skip(1).filter_map(|rest| rest.split_once('"'));
            said.extend(ends.map(|(event, _)| event.to_owned()));
        }
    }
    let on_page: BTreeSet<String> = page().keys().cloned().collect();
    assert_eq!(said, on_page);
    // The patterns found events of each spelling.
    assert!(said.contains("note") && said.contains("tensor") && said.contains("source"));
}

fn sources(folder: &Path) -> Vec<String> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            sources.push(fs::read_to_string(path).unwrap());
        }
    }
    sources
}
