//! Events on the way of a body.

use std::time::{Duration, Instant};

use super::{Ended, Folder, a, header};
use crate::servers::{End, Fault, Strikes};

#[test]
fn breaks_where_it_is_told_to() {
    let folder = Folder::new();
    let server = folder.serve();
    for (end, seen) in [(End::Close, Ended::Closed), (End::Stall, Ended::Silent)] {
        server.mend();
        let strikes: Strikes = server.fail(Fault::Break(end).on("a.bin").at(600_000));
        server.range("/a.bin", 0..600_000).gives_range(&a(), 0..600_000);
        server.range("/a.bin", 600_001..600_009).gives_range(&a(), 600_001..600_009);
        assert_eq!(strikes.count(), 0);
        let got = server.client().impatient().get("/a.bin", &[&header(100_000..700_000)]);
        assert_eq!((got.status, got.ended, got.header("Content-Length")), (206, seen, Some("600000")));
        assert!(got.body == a()[100_000..600_000]);
        assert_eq!(strikes.count(), 1);
        assert_eq!(server.settled().last().unwrap().sent, 500_000);
    }
}

#[test]
fn resets_where_it_is_told_to() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Break(End::Reset).at(600_000));
    let got = server.get("/a.bin");
    // A reset may overtake bytes that were sent before it.
    assert_eq!((got.status, got.ended), (200, Ended::Reset));
    assert!(a()[..600_000].starts_with(&got.body));
    assert_eq!(server.settled()[0].sent, 600_000);
}

#[test]
fn gives_the_head_and_then_nothing() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Break(End::Stall));
    let got = server.client().impatient().get("/a.bin", &[&header(5..9)]);
    assert_eq!((got.status, got.body.len(), got.ended), (206, 0, Ended::Silent));
}

#[test]
fn a_stalled_answer_ends_with_the_server() {
    let folder = Folder::new();
    let mut server = folder.serve();
    server.fail(Fault::Break(End::Stall).at(5));
    let mut client = server.client();
    client.ask("GET", "/a.bin", &[]);
    assert_eq!(client.answer(false).status, 200);
    server.unplug();
    server.settled();
}

#[test]
fn pauses_and_goes_on() {
    let folder = Folder::new();
    let server = folder.serve();
    let pause = Duration::from_millis(200);
    server.fail(Fault::Pause(pause).at(500_000));
    let start = Instant::now();
    server.get("/a.bin").gives_whole(&a());
    assert!(start.elapsed() >= pause);
}

#[test]
fn goes_slowly_from_a_byte_on() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Slow(10_000).at(997_000));
    let start = Instant::now();
    server.get("/a.bin").gives_whole(&a());
    // Six pieces, with a pause after each but the last.
    assert!(start.elapsed() >= Duration::from_millis(250));

    server.mend();
    server.fail(Fault::Dribble(1, Duration::from_millis(20)));
    let start = Instant::now();
    server.range("/a.bin", 0..10).gives_range(&a(), 0..10);
    assert!(start.elapsed() >= Duration::from_millis(180));
}

#[test]
fn a_rate_can_change_in_the_midst_of_an_answer() {
    let folder = Folder::new();
    let server = folder.serve();
    // At this rate the answer would take more than a day.
    server.limit_rate(10);
    let mut client = server.client();
    client.ask("GET", "/a.bin", &[]);
    assert_eq!(client.answer(false).status, 200);
    let mut bytes = client.read(1).unwrap();
    server.limit_rate(None);
    while bytes.len() < a().len() {
        bytes.extend(client.read(1 << 20).unwrap());
    }
    assert!(bytes == a());
}
