//! Fetches that were ended early, and the fetches after them.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use super::kit::{CHUNK, Fetch, fleet, meets};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::Faulty;

#[test]
fn a_fetch_that_was_stopped_goes_on_from_what_is_durable() {
    goes_on(|run| run.terminate(), Some(15));
}

#[test]
fn a_fetch_that_was_killed_goes_on_from_what_is_durable() {
    goes_on(|run| run.kill(), None);
}

fn goes_on(end: impl FnOnce(&mut super::kit::Running<'_>), signal: Option<i32>) {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(800_000);
    let fetch = Fetch::from(&fleet, &[&server]).into("out");
    let mut run = fetch.start();
    let _ = run.wait_for("durable", |_| true);
    let _ = run.wait_for("progress", |progress| progress["verified"].as_u64() > Some(1_200_000));
    end(&mut run);
    let mut fetched = run.end();
    if let Some(signal) = signal {
        fetched = fetched.stopped_by(signal);
        fetched.expect(fetched.took < Duration::from_secs(2), "to end within two seconds");
    }
    let fetched = fetched.named_nothing();
    assert_durable_is_not_asked_for(&fleet, &server, &fetch, &fetched.durable());
}

fn assert_durable_is_not_asked_for(
    fleet: &Fleet,
    server: &Faulty,
    fetch: &Fetch<'_>,
    durable: &BTreeMap<String, Vec<Range<u64>>>,
) {
    assert!(!durable.is_empty());
    let before = server.requests().len();
    server.limit_rate(None);
    let fetched = fetch.run().arrived(fleet);
    for request in server.requests().into_iter().skip(before) {
        let Some(range) = request.range else { continue };
        for run in durable.get(&request.path).into_iter().flatten() {
            let bytes = run.start * CHUNK..run.end * CHUNK;
            fetched.expect(
                !meets(&range, &bytes),
                &format!("{} {bytes:?} not to be asked for again", request.path),
            );
        }
    }
}

#[test]
fn two_fetches_into_one_folder_do_not_hurt_each_other() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(3_000_000);
    let [one, two] = [(); 2].map(|()| Fetch::from(&fleet, &[]).and(&server.url()).into("out").start());
    let _ = (one.end().arrived(&fleet), two.end().arrived(&fleet));
}
