//! Trust policies: accepted exactly if a reading of the page says so, over a generic TOML table.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use toml::{Table, Value};
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{Scope, Time, TrustPolicy, Vkey, tree::HeadId};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    // The TOML library keeps keys, spans and values of everything; its share is not ours to bound closely.
    let policy = bounded(16 * text.len(), || TrustPolicy::from_toml(text));
    let table = text.parse::<Table>().ok().filter(|_| !text.starts_with('\u{feff}'));
    let accepted = table.is_some_and(|table| well_formed(&table).is_some());
    assert_eq!(policy.is_ok(), accepted, "{policy:?}");

    let Ok(policy) = policy else { return };
    // A comment means nothing, an unknown key is never passed over.
    let same = TrustPolicy::from_toml(&format!("{text}\n# nothing\n")).expect("a comment was refused");
    assert_eq!(format!("{policy:?}"), format!("{same:?}"));
    assert!(TrustPolicy::from_toml(&format!("ignore = ['*']\n{text}")).is_err());
});

fn well_formed(policy: &Table) -> Option<()> {
    only(policy, &["publisher", "revoked", "accepted-heads", "held"])?;
    let publishers = list(policy, "publisher")?;
    let heads = list(policy, "accepted-heads")?;
    let is_head = |head: &Value| head.as_str().is_some_and(|id| HeadId::from_hex(id).is_ok());
    let is_key = |key: &Value| key.as_str().is_some_and(|line| Vkey::parse(line).is_ok());
    (heads.iter().all(is_head) && list(policy, "revoked")?.iter().all(is_key)).then_some(())?;
    let mut scopes = BTreeSet::new();
    for publisher in publishers {
        let publisher = publisher.as_table()?;
        only(publisher, &["scope", "threshold", "key"])?;
        let scope = Scope::parse(publisher.get("scope")?.as_str()?).ok()?;
        scopes.insert(scope.to_string()).then_some(())?;
        keys(publisher, "key")?;
    }
    if let Some(held) = policy.get("held") {
        let held = held.as_table()?;
        only(held, &["threshold", "auditor"])?;
        keys(held, "auditor")?;
    }
    (!publishers.is_empty() || !heads.is_empty()).then_some(())
}

/// Keys in order, and a threshold that they can reach.
fn keys(table: &Table, name: &str) -> Option<()> {
    let mut keys = BTreeSet::new();
    for key in list(table, name)? {
        let key = key.as_table()?;
        only(key, &["vkey", "from", "until"])?;
        keys.insert(*Vkey::parse(key.get("vkey")?.as_str()?).ok()?.public_key());
        let (from, until) = (time(key.get("from"))?, time(key.get("until"))?);
        (from.is_none() || until.is_none() || from < until).then_some(())?;
    }
    let threshold = table.get("threshold").map_or(Some(1), Value::as_integer)?;
    (1..=keys.len()).contains(&usize::try_from(threshold).ok()?).then_some(())
}

fn only(table: &Table, known: &[&str]) -> Option<()> {
    table.keys().all(|key| known.contains(&key.as_str())).then_some(())
}

fn list<'a>(table: &'a Table, key: &str) -> Option<&'a [Value]> {
    table.get(key).map_or(Some(&[]), |value| Some(value.as_array()?.as_slice()))
}

fn time(value: Option<&Value>) -> Option<Option<Time>> {
    match value {
        None => Some(None),
        Some(value) => Time::parse(value.as_str()?).ok().map(Some),
    }
}
