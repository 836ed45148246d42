//! The record of a keeper: it brings everything back, and nothing that no keeper writes.

use super::*;
use crate::{Record, RecordError};

/// A keeper with something of everything in its record.
fn keeper() -> Toy {
    let mut toy = Toy::with(10, &[("job", 8), ("usual", 10), ("base", 4), ("tuned", 1)]);
    toy.keeper.described(&release("tuned"), GB, Some(&release("base")), at(0, 0, 0));
    for day in 0..4 {
        toy.ask("job", at(day, 2, 5));
        toy.ask("tuned", at(day, 12, 0));
        toy.ask("base", at(day, 12, 1));
    }
    for minute in 0..40 {
        toy.ask("usual", at(3, 13, minute));
    }
    toy.keeper.pin(&release("tuned"), at(3, 14, 0));
    toy.ahead(at(4, 1, 50)).unwrap();
    toy
}

/// The keeper of this record, which is told what is on the disk.
fn restored(toy: &Toy) -> Keeper {
    let now = toy.keeper.now;
    let mut keeper = Keeper::restore(toy.keeper.record(), 10 * GB, now).unwrap();
    for (release, bytes) in &toy.disk {
        keeper.holds(release, *bytes, now);
    }
    keeper
}

#[test]
fn a_record_brings_everything_back() {
    let mut toy = keeper();
    let mut other = restored(&toy);
    assert_eq!(other.record(), toy.keeper.record());
    let names = |keeper: &Keeper| {
        let plan = keeper.plan();
        let held = plan.held.into_iter().map(|held| (held.release, held.held, held.asks));
        let ahead =
            plan.ahead.into_iter().map(|one| (one.release, one.missing, u64::from(one.hindrance.is_some())));
        (held.chain(ahead).collect::<Vec<_>>(), plan.accounts, plan.judged)
    };
    assert_eq!(names(&other), names(&toy.keeper));
    for (minute, name) in (0..60).zip(["job", "usual", "base", "tuned"].into_iter().cycle()) {
        let (now, name) = (at(4, 2, minute), release(name));
        let [one, two] = [&mut other, &mut toy.keeper].map(|keeper| {
            let ahead = keeper.fetch_ahead(now).map(|prefetch| prefetch.release);
            let evicted = match keeper.asked(&name, None, now) {
                Answer::Held { .. } => vec![],
                Answer::Fetch { evict, .. } => evict.into_iter().map(|one| one.release).collect(),
            };
            keeper.fetched(&name, GB, Duration::from_secs(1), now);
            keeper.closed(&name);
            (ahead, evicted, keeper.used())
        });
        assert_eq!(one, two, "{minute}");
    }
}

#[test]
fn a_record_survives_as_text() {
    let record = keeper().keeper.record();
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.starts_with(r#"{"version":1,"#) && text.contains(r#""release":"job@"#), "{text:.200}");
    let again: Record = serde_json::from_str(&text).unwrap();
    let [one, other] = [record, again].map(|record| {
        Keeper::restore(record, 10 * GB, at(4, 2, 0)).unwrap().plan().ahead.into_iter().map(|one| one.release)
    });
    assert!(one.eq(other));
}

#[test]
fn a_restored_keeper_goes_on_after_a_pause() {
    let record = keeper().keeper.record();
    let mut keeper = Keeper::restore(record, 20 * GB, at(9, 1, 50)).unwrap();
    assert_eq!(keeper.wakes(), at(9, 2, 0));
    keeper.holds(&release("usual"), 10 * GB, at(9, 1, 50));
    // First what is pinned, and then the job, whose days off are not counted.
    let first = keeper.fetch_ahead(at(9, 1, 50)).unwrap();
    assert_eq!(first.release, release("tuned"));
    let second = keeper.fetch_ahead(at(9, 1, 50)).unwrap();
    assert_eq!(second.release, release("job"));
}

/// The error of a record that is changed as text.
fn refused(change: impl FnOnce(&mut serde_json::Value)) -> Option<RecordError> {
    let mut value = serde_json::to_value(keeper().keeper.record()).unwrap();
    change(&mut value);
    let record: Record = serde_json::from_value(value).unwrap();
    Keeper::restore(record, 10 * GB, at(4, 2, 0)).err()
}

#[test]
fn refuses_what_no_keeper_writes() {
    assert_eq!(refused(|_| ()), None);
    assert_eq!(refused(|record| record["version"] = 2.into()), Some(RecordError::Version(2)));
    let first = |record: &serde_json::Value| record["releases"][0].clone();
    let many = refused(|record| record["releases"] = vec![first(record); MOST_RELEASES + 1].into());
    assert_eq!(many, Some(RecordError::TooMany(MOST_RELEASES + 1)));
    let twice = refused(|record| record["releases"] = vec![first(record); 2].into());
    assert_eq!(twice, Some(RecordError::Repeated));
    let same_name = refused(|record| record["releases"][1]["known"] = record["releases"][0]["known"].clone());
    assert_eq!(same_name, Some(RecordError::Repeated));
    let far = serde_json::json!({"secs": START + 40 * 86_400, "nanos": 0});
    for place in ["now", "filled"] {
        assert_eq!(refused(|record| record[place] = far.clone()), Some(RecordError::Future), "{place}");
    }
    let slot = serde_json::json!((START + 40 * 86_400) / 600);
    assert_eq!(refused(|record| record["clock"]["slot"] = slot.clone()), Some(RecordError::Future));
}

#[test]
fn refuses_numbers_that_no_keeper_writes() {
    let number = |path: &str, value: serde_json::Value| {
        let refused = refused(|record| *record.pointer_mut(path).unwrap() = value.clone());
        assert_eq!(refused, Some(RecordError::Number), "{path}: {value}");
    };
    for path in [
        "/pace",
        "/clock/fast_span",
        "/clock/slow_span",
        "/schedules/came",
        "/schedules/foreseen",
        "/follows/came",
        "/releases/0/counts/fast",
        "/releases/0/counts/slow",
        "/releases/0/counts/errors/0",
        "/releases/0/counts/trust/came",
        "/releases/0/counts/stays",
        "/releases/0/followers/occasions",
        "/releases/3/followers/followers/0/count",
        "/releases/3/followers/followers/0/gap",
        "/releases/0/pace",
    ] {
        number(path, (-1.0).into());
        number(path, 1e300.into());
    }
    number("/clock/watched", vec![0_u64; 62].into());
    number("/releases/0/counts/asked", vec![0_u64; 64].into());
    number("/accounts", Vec::<u64>::new().into());
    number("/releases/0/id", u64::MAX.into());
    number("/releases/0/in_vain", vec!["rate"; 7].into());
}

#[test]
fn errors_are_sentences_without_stop() {
    let errors = [
        RecordError::Version(7),
        RecordError::TooMany(9999),
        RecordError::Repeated,
        RecordError::Number,
        RecordError::Future,
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.starts_with("the record ") && !text.ends_with('.'), "{text}");
    }
}

/// A restart used to charge a forecast again for bytes that had never come.
#[test]
fn what_a_fetch_ahead_has_not_brought_before_a_restart_is_not_charged() {
    let mut toy = ahead::scheduled();
    let before = toy.account(Signal::Schedule).budget;
    let begun = toy.begin_ahead(at(4, 1, 50)).unwrap();
    toy.come(&begun.release, 3 * GB);
    let keeper = Keeper::restore(toy.keeper.record(), 10 * GB, toy.keeper.now).unwrap();
    let accounts = keeper.plan().accounts;
    let account = accounts.iter().find(|account| account.signal == Signal::Schedule).unwrap();
    assert_eq!(before.abs_diff(account.budget) / (GB / 10), 30, "{account:?}");
    assert_eq!(keeper.ledger.open.values().map(|open| open.bytes).sum::<u64>(), 3 * GB);
}
