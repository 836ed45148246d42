//! Lines that sources share, rates that the caller limits, and many sources.

use std::{thread, time::Duration};

use super::kit::{Fetch, Fetched, SHARDS, fleet};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::{End, Fault, Faulty, Request, Strikes};

/// Bytes a second.
const LINE: u64 = 250_000;

/// A fetch from this many mirrors, all of them on the line of one server.
fn of_mirrors<'t>(fleet: &'t Fleet, server: &'t Faulty, count: usize) -> Fetch<'t> {
    let mirror = |fetch: Fetch<'t>, number| fetch.and(&format!("{}?mirror={number}", server.url()));
    (0..count).fold(Fetch::from(fleet, &[]), mirror)
}

fn figures(fetched: &Fetched) -> (f64, f64) {
    let result = fetched.events("result").next().unwrap();
    let figure = |name: &str| result[name].as_f64().unwrap();
    (figure("received"), figure("wanted"))
}

/// The bytes of bodies that the server sent, of metadata too.
fn sent(server: &Faulty) -> f64 {
    let sent: u64 = server.requests().iter().map(|request| request.sent).sum();
    Duration::from_micros(sent).as_secs_f64() * 1e6
}

/// Four honest mirrors behind one slow line were all called stalled, and the fetch failed.
#[test]
fn mirrors_that_share_a_slow_line_take_its_own_time_and_are_not_blamed() {
    let fleet = fleet();
    thread::scope(|scope| {
        for mirrors in [4, 16] {
            let fleet = &fleet;
            scope.spawn(move || {
                let server = Faulty::start(&fleet.model);
                server.limit_rate(LINE);
                let fetched = of_mirrors(fleet, &server, mirrors).run().arrived(fleet);
                let (received, wanted) = figures(&fetched);
                let own = Duration::from_secs_f64(wanted / LINE as f64);
                fetched
                    .expect(fetched.took < own.mul_f64(1.1) + Duration::from_secs(2), "the line's own time");
                // The threads of the server share its line unevenly while other tests run: a copy is not always needless.
                fetched.expect(received <= wanted * 1.1, "few bytes to come twice");
                fetched.expect(sent(&server) <= wanted * 1.1, "few bytes to be sent in vain");
                for source in 0..mirrors {
                    fetched.expect(fetched.blame(source).is_none(), "nobody to be blamed");
                }
            });
        }
    });
}

#[test]
fn a_limited_rate_costs_no_bytes_however_many_fast_sources_there_are() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let fetched = of_mirrors(&fleet, &server, 16).with(&["--limit-rate", "1MB"]).run().arrived(&fleet);
    let (received, wanted) = figures(&fetched);
    fetched.expect(received <= wanted * 1.05, "few bytes to come twice");
    fetched.expect(sent(&server) <= wanted * 1.1, "few bytes to be sent in vain");
    fetched.expect(fetched.took >= Duration::from_secs(2), "the limit to be kept");
    fetched.expect((0..16).all(|source| fetched.blame(source).is_none()), "nobody to be blamed");
}

/// A third of all answers end early, and what has come of them is kept.
#[test]
fn answers_that_break_off_cost_few_bytes() {
    let fleet = fleet();
    // A machine that stands still for a second makes sources look stalled, and another one is asked for the same.
    let few = (0..3).any(|_| {
        let servers = [(); 3].map(|()| Faulty::start(&fleet.model));
        let breaks = servers.iter().flat_map(|server| {
            (1..8).map(|number| {
                let end = if number % 2 == 0 { End::Close } else { End::Reset };
                server.fail(Fault::Break(end).on(SHARDS).at(number * 93_000).times(1))
            })
        });
        let breaks: Vec<_> = breaks.collect();
        let [first, second, third] = &servers;
        let fetched = Fetch::from(&fleet, &[first, second, third]).run().arrived(&fleet);
        let is_of_shard = |request: &&Request| request.path.ends_with(".safetensors");
        let answers: usize =
            servers.iter().map(|server| server.requests().iter().filter(is_of_shard).count()).sum();
        let broken: u64 = breaks.iter().map(Strikes::count).sum();
        fetched.expect(broken * 10 > answers as u64 * 3, &format!("{broken} of {answers} answers to break"));
        for source in 0..3 {
            let is_mild = fetched.blame(source).is_none_or(|word| word == "unreachable" || word == "stalled");
            fetched.expect(is_mild, "nobody to be called a liar");
        }
        let (received, wanted) = figures(&fetched);
        received <= wanted * 1.1
    });
    assert!(few, "more than a tenth came twice, three times");
}

/// One source after the other was asked, two seconds later each: forty took 81 seconds.
#[test]
fn a_list_that_twenty_sources_withhold_is_found_at_the_next_within_seconds() {
    let fleet = fleet();
    let (silent, honest) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
    drop(silent.fail(Fault::Unanswered(End::Stall).on("*files.jsonl")));
    let fetched = of_mirrors(&fleet, &silent, 20).and(&honest.url()).run().arrived(&fleet);
    fetched.expect(fetched.took < Duration::from_secs(14), "not to wait for each");
}

#[test]
fn hundreds_of_sources_fit_into_little_memory() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let fetched = of_mirrors(&fleet, &server, 400).with(&["--memory", "34MiB"]).run().arrived(&fleet);
    fetched.expect((0..400).all(|source| fetched.blame(source).is_none()), "nobody to be blamed");
    let (received, wanted) = figures(&fetched);
    fetched.expect(received <= wanted * 1.05, "few bytes to come twice");
}
