//! Each fault of a source alone: the fetch survives it or names it, and ends with its own code if no other source has
//! the model.

use std::time::Duration;

use super::kit::{Fetch, SHARD, SHARDS, fleet};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::{End, Fault, Faulty, Rule};

/// The name of a fault, and the rules that cause it.
type Wrong = (&'static str, Vec<Rule>);

fn server(fleet: &Fleet, rules: Vec<Rule>) -> Faulty {
    let server = Faulty::start(&fleet.model);
    rules.into_iter().for_each(|rule| drop(server.fail(rule)));
    server
}

#[test]
fn what_servers_do_is_lived_with_and_nobody_is_blamed() {
    let fleet = fleet();
    let faults: [Wrong; 15] = [
        ("redirects", vec![Fault::RedirectChain(3).into()]),
        ("a signed URL, used twice", vec![Fault::Signed(2).into()]),
        ("200 in place of 206", vec![Fault::Whole.into()]),
        ("no length", vec![Fault::Unframed.into()]),
        ("HTTP's chunks", vec![Fault::Chunked.on(SHARDS)]),
        ("an endless body", vec![Fault::Endless.on(SHARDS)]),
        ("more than the length says", vec![Fault::Surplus(1_000).on(SHARDS)]),
        // The form is odd, and the bytes are good.
        ("a longer length", vec![Fault::ContentLength(1_000).on(SHARDS)]),
        ("a shorter length", vec![Fault::ContentLength(-1_000).on(SHARDS).times(1)]),
        ("a longer body", vec![Fault::Longer(1_000).on(SHARDS)]),
        ("another range", vec![Fault::OtherRange(5, 5).on(SHARDS)]),
        ("a range beyond the end", vec![Fault::OtherRange(9_000_000, 9_000_001).on(SHARDS)]),
        ("no Content-Range", vec![Fault::Header("Content-Range", None).on(SHARDS)]),
        (
            "a coding that is none",
            vec![Fault::Header("Content-Encoding", Some("aws-chunked".to_owned())).into()],
        ),
        (
            "a coding that was not used",
            vec![Fault::Header("Content-Encoding", Some("gzip".to_owned())).on(SHARDS)],
        ),
    ];
    for (what, rules) in faults {
        let server = server(&fleet, rules);
        let fetched = Fetch::from(&fleet, &[&server]).run().arrived(&fleet);
        fetched.expect(fetched.blame(0).is_none(), what);
    }
}

#[test]
fn what_passes_is_tried_again_and_told() {
    let fleet = fleet();
    let faults: [(Wrong, &str); 8] = [
        (("a reset", vec![Fault::Break(End::Reset).on(SHARDS).times(1)]), "unreachable"),
        (
            ("a reset in the middle", vec![Fault::Break(End::Reset).on(SHARD).at(300_000).times(3)]),
            "unreachable",
        ),
        (("a short body", vec![Fault::Break(End::Close).on(SHARD).at(300_000).times(2)]), "unreachable"),
        (("no HTTP", vec![Fault::Raw(b"220 mail.example\r\n".to_vec()).on(SHARDS).times(1)]), "unreachable"),
        (("a reset for an answer", vec![Fault::Unanswered(End::Reset).on(SHARDS).times(1)]), "unreachable"),
        (("500", vec![Fault::status(500).on("*files.jsonl").times(1)]), "refused"),
        (("429", vec![Fault::busy(429, "1").on(SHARDS).times(1)]), "refused"),
        (("503 for the head", vec![Fault::busy(503, "1").on("*head.note").times(1)]), "refused"),
    ];
    for ((what, rules), blame) in faults {
        let server = server(&fleet, rules);
        let fetched = Fetch::from(&fleet, &[&server]).run().arrived(&fleet).blames(0, blame);
        fetched.expect(fetched.events("source").any(|status| status["state"] == "waiting"), what);
    }
}

#[test]
fn a_faulty_source_is_named_and_another_gives_the_model() {
    let fleet = fleet();
    let other = fleet.model.join("model-00003-of-00004.safetensors");
    let size = std::fs::metadata(fleet.model.join(SHARD)).unwrap().len();
    let lied: Vec<Wrong> = vec![
        ("a bit flipped", vec![Fault::Flip.on(SHARDS)]),
        ("zeros", vec![Fault::Zeros.on(SHARDS)]),
        ("garbage", vec![Fault::Garbage.on(SHARDS)]),
        ("another file", vec![Fault::OtherFile(other).on(SHARDS)]),
        ("chunks exchanged", vec![Fault::Swapped(16 << 10).on(SHARDS)]),
        ("another total", vec![Fault::OtherTotal(size + 1).on(SHARDS)]),
        ("a shorter file", vec![Fault::Resized(100_000).on(SHARDS)]),
    ];
    let refused: Vec<Wrong> = vec![
        ("redirects without an end", vec![Fault::RedirectLoop.on(SHARDS)]),
        ("a redirect to nowhere", vec![Fault::Redirect("file:///etc/passwd".to_owned()).on(SHARDS)]),
        ("compression", vec![Fault::Gzip.on(SHARDS)]),
        ("403", vec![Fault::status(403).on(SHARDS)]),
        ("404", vec![Fault::status(404).on(SHARDS)]),
        ("a signed URL that is never good", vec![Fault::Signed(0).on(SHARDS)]),
        ("come again in an hour", vec![Fault::busy(503, "3600").on(SHARDS)]),
    ];
    let unreachable: Vec<Wrong> = vec![
        ("resets", vec![Fault::Break(End::Reset).on(SHARDS)]),
        ("closes", vec![Fault::Unanswered(End::Close).on(SHARDS)]),
        ("no HTTP", vec![Fault::Raw(b"hello\n".to_vec()).on(SHARDS)]),
    ];
    let all = [("lied", lied), ("refused", refused), ("unreachable", unreachable)];
    for (word, (what, rules)) in
        all.into_iter().flat_map(|(word, all)| all.into_iter().map(move |one| (word, one)))
    {
        let (honest, faulty) = (Faulty::start(&fleet.model), server(&fleet, rules));
        honest.limit_rate(8_000_000);
        let fetched = Fetch::from(&fleet, &[&honest, &faulty]).run().arrived(&fleet);
        fetched.expect(fetched.blame(1).as_deref() == Some(word), &format!("{word}: {what}"));
        let fetched = fetched.trusts(0);
        fetched.expect(fetched.blame(0).is_none(), "the honest one not to be blamed");
    }
}

#[test]
fn a_fault_of_the_only_source_ends_with_its_code() {
    let fleet = fleet();
    let faults: [(Wrong, &str); 9] = [
        (("a bit flipped", vec![Fault::Flip.on(SHARD)]), "lied"),
        (("another file", vec![Fault::Resized(100_000).on(SHARD)]), "lied"),
        (("garbage for a head", vec![Fault::Garbage.on("*head.note")]), "lied"),
        (("garbage for a list", vec![Fault::Garbage.on("*files.jsonl")]), "lied"),
        (("redirects without an end", vec![Fault::RedirectLoop.on(SHARD)]), "refused"),
        (("compression", vec![Fault::Gzip.on(SHARD)]), "refused"),
        (("404 for a file", vec![Fault::status(404).on(SHARD)]), "refused"),
        (("403 for everything", vec![Fault::status(403).into()]), "refused"),
        (("404 for everything", vec![Fault::status(404).into()]), "refused"),
    ];
    for ((what, rules), word) in faults {
        let server = server(&fleet, rules);
        let code = if word == "lied" { 5501 } else { 9201 };
        let fetched = Fetch::from(&fleet, &[&server]).run().ended(code).named_nothing();
        fetched.expect(fetched.blame(0).as_deref() == Some(word), &format!("{word}: {what}"));
        let error = fetched.events("error").last().unwrap();
        let hints = error["hints"].as_array().unwrap();
        let is_said = |hint: &serde_json::Value| hint.as_str().unwrap().contains(word);
        fetched.expect(hints.iter().any(is_said), "the error to name the source with its word");
    }
}

/// Object stores answer so if the caller may not list their objects.
#[test]
fn who_denies_what_it_has_not_gives_the_rest() {
    let fleet = fleet();
    let [one, two] = [(); 2].map(|()| Faulty::start(&fleet.model));
    drop(one.fail(Fault::status(403).on(SHARD)));
    drop(one.fail(Fault::status(403).on("*chunks.layer")));
    drop(two.fail(Fault::status(403).on("*-0000[2-4]-*")));
    let fetched = Fetch::from(&fleet, &[&one, &two]).run().arrived(&fleet);
    fetched.expect(
        fetched.events("result").all(|result| result["sources"][0]["state"] != "set aside"),
        "one to stay",
    );
    let alone = Faulty::start(&fleet.model);
    drop(alone.fail(Fault::status(403).on("*chunks.layer")));
    let _ = Fetch::from(&fleet, &[&alone]).run().arrived(&fleet);
    drop(alone.fail(Fault::status(403)));
    let before = alone.requests().len();
    let _ = Fetch::from(&fleet, &[&alone]).run().ended(9201).blames(0, "refused");
    assert!(alone.requests().len() < before + 10, "who denies everything is asked for little");
}

#[test]
fn layers_that_one_source_has_not_and_another_lies_about_are_done_without() {
    let fleet = fleet();
    let [without, liar] = [(); 2].map(|()| Faulty::start(&fleet.model));
    drop(without.fail(Fault::status(404).on("*chunks.layer")));
    drop(liar.fail(Fault::Flip.on("*chunks.layer")));
    let _ = Fetch::from(&fleet, &[&without, &liar]).run().arrived(&fleet).blames(1, "lied").trusts(0);
    // The liar is the last resort for the files as a whole.
    let _ = Fetch::from(&fleet, &[&liar]).run().arrived(&fleet).blames(0, "lied");
}

#[test]
fn who_lies_and_then_falls_silent_has_lied() {
    let fleet = Fleet::of(24_000_000, "16KiB");
    let [liar, honest] = [(); 2].map(|()| Faulty::start(&fleet.model));
    drop(liar.fail(Fault::Flip.on(SHARDS)));
    drop(liar.fail(Fault::Break(End::Stall).on(SHARDS).at(1_500_000)));
    honest.limit_rate(4_000_000);
    let fetched = Fetch::from(&fleet, &[&liar, &honest]).run().arrived(&fleet).blames(0, "lied").trusts(1);
    let stalled = fetched.events("source").any(|status| status["blame"] == "stalled");
    fetched.expect(!stalled, "nobody to be called stalled");
}

#[test]
fn nobody_is_asked_again_before_the_time_that_it_said() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let _ = server.fail(Fault::busy(503, "2").on(SHARDS).times(1));
    let fetched = Fetch::from(&fleet, &[&server]).run().arrived(&fleet).blames(0, "refused");
    let requests = server.requests();
    let busy = requests.iter().find(|request| request.status == Some(503)).unwrap();
    // Requests that were already sent do not count.
    let after = requests.iter().map(|request| request.at.saturating_duration_since(busy.at));
    let soon = Duration::from_millis(150)..Duration::from_millis(1_950);
    fetched.expect(!after.into_iter().any(|time| soon.contains(&time)), "no request for two seconds");
    let said = fetched.events("source").find(|status| status["state"] == "waiting").unwrap();
    let again = said["again_in"].as_f64().unwrap();
    fetched.expect((1.5..=2.0).contains(&again), "to say when it is tried again");
}

#[test]
fn who_refuses_connections_is_unreachable_until_it_takes_them() {
    let fleet = fleet();
    let (honest, mut gone) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
    gone.unplug();
    let _ = Fetch::from(&fleet, &[&gone, &honest]).run().arrived(&fleet).blames(0, "unreachable").trusts(1);

    let (mut gone, url) = (honest, Faulty::url);
    gone.unplug();
    let mut run = Fetch::from(&fleet, &[]).and(&url(&gone)).start();
    let said = run.wait_for("source", |status| status["blame"] == "unreachable");
    assert_eq!((&said["state"], &said["source"]), (&"waiting".into(), &0.into()));
    assert!(said["why"].as_str().unwrap().contains("refused"), "{said}");
    gone.plug_in();
    let _ = run.end().arrived(&fleet);
}
