//! Trust policies: a policy is accepted exactly if a second implementation of the specification, over a generic TOML
//! table, accepts it.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use toml::{Table, Value};
use weighbridge_fuzz::bounded;
use weighbridge_manifest::{Coded, Scope, Time, TrustPolicy, Vkey, tree::HeadId};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        assert_eq!(
            TrustPolicy::from_toml(data).map(drop).map_err(|error| error.error_code().get()),
            Err(1601)
        );
        return;
    };
    // The TOML library keeps keys, spans and values of the whole text, so its memory has a wider bound.
    let policy = bounded(16 * text.len(), || TrustPolicy::from_toml(text));
    let table = text.parse::<Table>().ok().filter(|_| !text.starts_with('\u{feff}') && is_toml_1_0(text));
    let accepted = table.is_some_and(|table| well_formed(&table).is_some());
    assert_eq!(policy.is_ok(), accepted, "{policy:?}");

    let Ok(policy) = policy else { return };
    // A comment changes nothing, and an unknown key is refused.
    let same = TrustPolicy::from_toml(&format!("{text}\n# nothing\n")).expect("a comment was refused");
    assert_eq!(format!("{policy:?}"), format!("{same:?}"));
    assert!(TrustPolicy::from_toml(&format!("ignore = ['*']\n{text}")).is_err());
    // A policy reads as it is written, and is written in one way.
    let written = policy.to_toml();
    assert!(is_toml_1_0(&written));
    let again = TrustPolicy::from_toml(&written).expect("a written policy was refused");
    assert_eq!((format!("{policy:?}"), &written), (format!("{again:?}"), &again.to_toml()));
});

/// Whether a text of TOML 1.1 has only features of TOML 1.0, read character by character.
fn is_toml_1_0(text: &str) -> bool {
    let (mut rest, mut open, mut before) = (text, Vec::new(), ' ');
    while let Some(char) = rest.chars().next() {
        let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| rest.starts_with(quotes));
        if let Some(quotes) = quotes {
            let (string, behind) = string(rest, quotes);
            let escapes = || string.split("\\\\").any(|part| part.contains("\\e") || part.contains("\\x"));
            if quotes.starts_with('"') && escapes() {
                return false;
            }
            (rest, before) = (behind, char);
            continue;
        }
        match char {
            '#' => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '[' | '{' => open.push(char),
            '}' if before == ',' => return false,
            ']' | '}' => {
                open.pop();
            }
            '\n' if open.last() == Some(&'{') => return false,
            _ => {}
        }
        if !char.is_ascii_whitespace() {
            before = char;
        }
        rest = &rest[char.len_utf8()..];
    }
    true
}

/// Splits off a string with its quotes; returns the string and the rest. A string of several lines may end with up to
/// two quotes of its own.
fn string<'a>(text: &'a str, quotes: &str) -> (&'a str, &'a str) {
    let mut at = quotes.len();
    while at < text.len() && !text[at..].starts_with(quotes) {
        let skip = if quotes.starts_with('"') && text[at..].starts_with('\\') { 1 } else { 0 };
        at += skip;
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    let mut end = text.len().min(at + quotes.len());
    for _ in 0..if quotes.len() == 3 { 2 } else { 0 } {
        end += usize::from(text[end..].starts_with(&quotes[..1]));
    }
    text.split_at(end)
}

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
        only(publisher, &["scope", "role", "threshold", "key"])?;
        let scope = Scope::parse(publisher.get("scope")?.as_str()?).ok()?;
        let role = publisher.get("role").map_or(Some("publisher"), Value::as_str)?;
        ["publisher", "import"].contains(&role).then_some(())?;
        scopes.insert((scope.to_string(), role)).then_some(())?;
        keys(publisher, "key")?;
    }
    if let Some(held) = policy.get("held") {
        let held = held.as_table()?;
        only(held, &["threshold", "auditor"])?;
        keys(held, "auditor")?;
    }
    (!publishers.is_empty() || !heads.is_empty()).then_some(())
}

/// Well-formed keys, and a threshold that they can reach.
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
