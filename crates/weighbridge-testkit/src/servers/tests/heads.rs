//! Answers other than the file, and heads that do not describe the body.

use std::io::Read as _;

use super::{Ended, Folder, Got, LENGTH, a, b, header};
use crate::servers::{End, Fault, Faulty, Request};

/// Follows redirects of this server; returns the final answer and the number of redirects.
fn follow(server: &Faulty, target: &str) -> (Got, usize) {
    let mut target = target.to_owned();
    for count in 0..10 {
        let got = server.get(&target);
        if got.status != 302 {
            return (got, count);
        }
        let location = got.header("Location").unwrap();
        target = location.strip_prefix(&server.url()).unwrap_or(location).to_owned();
    }
    panic!("redirects without end");
}

#[test]
fn rules_are_about_some_answers_only() {
    let folder = Folder::new();
    let server = folder.serve();
    let strikes = server.fail(Fault::status(500).on("a*.bin").after(1).times(2));
    let statuses = |target: &str| (0..4).map(|_| server.get(target).status).collect::<Vec<_>>();
    assert_eq!(statuses("/b.bin"), [200; 4]);
    assert_eq!(statuses("/a.bin"), [200, 500, 500, 200]);
    assert_eq!(strikes.count(), 2);

    let strikes = server.fail(Fault::status(403).on("*/100*").within(3..5));
    let status = |range| server.range("/sub/100%20%25.txt", range).status;
    assert_eq!([0..3, 0..4, 4..7, 5..7].map(status), [206, 403, 403, 206]);
    assert_eq!(server.get("/sub/100%20%25.txt").status, 403);
    assert_eq!(strikes.count(), 3);
    server.mend();
    assert_eq!(server.get("/sub/100%20%25.txt").status, 200);
}

#[test]
fn another_answer_does_not_use_up_what_is_about_the_file() {
    let folder = Folder::new();
    let server = folder.serve();
    let short = server.fail(Fault::Break(End::Close).at(10).times(1));
    server.fail(Fault::status(503).times(1));
    assert_eq!(server.get("/a.bin").status, 503);
    assert_eq!(short.count(), 0);
    assert_eq!(server.get("/a.bin").body.len(), 10);
    server.get("/a.bin").gives_whole(&a());
}

#[test]
fn answers_any_status() {
    let folder = Folder::new();
    let server = folder.serve();
    for status in [403, 404, 416, 429, 500, 503] {
        server.mend();
        server.fail(Fault::status(status));
        let got = server.range("/a.bin", 0..9);
        assert_eq!((got.status, got.ended, got.header("Retry-After")), (status, Ended::Complete, None));
    }
    for status in [429, 503] {
        server.mend();
        server.fail(Fault::busy(status, "7").times(1));
        let got = server.get("/a.bin");
        assert_eq!((got.status, got.header("Retry-After")), (status, Some("7")));
        server.get("/a.bin").gives_whole(&a());
    }
}

#[test]
fn redirects_elsewhere_round_and_round_and_in_chains() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let (server, other) = (folder.serve(), elsewhere.serve());
    server.fail(Fault::Redirect(format!("{}/{{path}}", other.url())));
    let got = server.get("/sub/100%20%25.txt?x=1");
    assert_eq!(got.header("Location"), Some(&*format!("{}/sub/100%20%25.txt?x=1", other.url())));

    server.mend();
    server.fail(Fault::RedirectLoop.after(1));
    server.get("/a.bin").gives_whole(&a());
    assert_eq!(server.get("/a.bin").header("Location"), Some("/a.bin"));

    server.mend();
    let strikes = server.fail(Fault::RedirectChain(3).times(2));
    for _ in 0..2 {
        let (got, count) = follow(&server, "/sub/100%20%25.txt");
        got.gives_whole(b"escaped");
        assert_eq!(count, 3);
    }
    assert_eq!((strikes.count(), follow(&server, "/a.bin").1), (2, 0));
}

#[test]
fn signed_urls_expire() {
    let folder = Folder::new();
    let server = folder.serve();
    let strikes = server.fail(Fault::Signed(2).on("a.bin"));
    let location = || server.get("/a.bin").header("Location").unwrap().replace(&server.url(), "");
    let (one, another) = (location(), location());
    assert!(one.starts_with("/signed/") && one.ends_with("/a.bin") && one != another, "{one}");
    server.range(&one, 5..7).gives_range(&a(), 5..7);
    server.get(&one).gives_whole(&a());
    assert_eq!([&one, &one, &another].map(|target| server.get(target).status), [403, 403, 200]);
    // A signed URL gives one file only.
    assert_eq!(server.get(&another.replace("a.bin", "b.bin")).status, 403);
    assert_eq!(strikes.count(), 2);
    let is_of_it = |request: &&Request| request.path == "a.bin";
    assert_eq!(server.requests().iter().filter(is_of_it).count(), 7);
}

#[test]
fn answers_nothing() {
    let folder = Folder::new();
    let server = folder.serve();
    for (end, seen) in [(End::Stall, Ended::Silent), (End::Close, Ended::Closed), (End::Reset, Ended::Reset)]
    {
        server.mend();
        server.fail(Fault::Unanswered(end).times(1));
        let got = server.client().impatient().get("/a.bin", &[]);
        assert_eq!((got.status, got.body.len(), got.ended), (0, 0, seen));
        server.get("/a.bin").gives_whole(&a());
    }
    let requests = server.settled();
    assert_eq!(requests.iter().filter(|request| request.status.is_none()).count(), 3);
}

#[test]
fn answers_what_is_no_http() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Raw(b"HTTP/1.1 what?".to_vec()));
    let got = server.get("/a.bin");
    assert_eq!((&*got.body, got.ended), (&b"HTTP/1.1 what?"[..], Ended::Closed));
}

#[test]
fn gives_everything_in_place_of_a_range() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Whole);
    let got = server.range("/a.bin", 5..10);
    assert_eq!(got.header("Content-Range"), None);
    got.gives_whole(&a());
}

#[test]
fn gives_another_range_and_says_so() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Shorter(3));
    server.range("/a.bin", 5..10).gives_range(&a(), 5..8);
    server.range("/a.bin", 5..7).gives_range(&a(), 5..7);
    server.get("/a.bin").gives_whole(&a());
    server.mend();
    server.fail(Fault::Wider(3));
    server.range("/a.bin", 5..10).gives_range(&a(), 2..13);
    server.range("/a.bin", 1..LENGTH - 1).gives_range(&a(), 0..LENGTH);
}

#[test]
fn gives_no_range_or_another_status_for_it() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Unsatisfiable);
    let got = server.range("/a.bin", 5..10);
    assert_eq!((got.status, got.header("Content-Range")), (416, Some("bytes */1000000")));
    server.get("/a.bin").gives_whole(&a());
    server.mend();
    server.fail(Fault::OtherStatus(200));
    let got = server.range("/a.bin", 5..10);
    assert_eq!((got.status, got.header("Content-Range")), (200, Some("bytes 5-9/1000000")));
    assert_eq!(got.body, a()[5..10]);
}

#[test]
fn lies_about_the_length() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::ContentLength(5));
    let got = server.range("/a.bin", 0..100);
    assert_eq!((got.header("Content-Length"), got.body.len(), got.ended), (Some("105"), 100, Ended::Closed));

    server.mend();
    server.fail(Fault::ContentLength(-5));
    let mut client = server.client();
    let got = client.get("/a.bin", &[&header(0..100)]);
    assert_eq!((got.header("Content-Length"), got.body.len(), got.ended), (Some("95"), 95, Ended::Complete));
    // The rest of the body follows all the same.
    let mut rest = [0; 5];
    client.0.read_exact(&mut rest).unwrap();
    assert_eq!(rest, a()[95..100]);
}

#[test]
fn lies_about_the_range() {
    let folder = Folder::new();
    let server = folder.serve();
    let said = |fault: Fault| {
        server.mend();
        server.fail(fault);
        let got = server.range("/a.bin", 5..10);
        assert_eq!((got.status, &*got.body), (206, &a()[5..10]));
        got.header("Content-Range").map(str::to_owned)
    };
    assert_eq!(said(Fault::OtherTotal(77)).as_deref(), Some("bytes 5-9/77"));
    assert_eq!(said(Fault::OtherRange(6, 10)).as_deref(), Some("bytes 6-10/1000000"));
    assert_eq!(said(Fault::Header("Content-Range", None)), None);
    assert_eq!(said(Fault::Header("content-range", Some("bites".to_owned()))).as_deref(), Some("bites"));
}

#[test]
fn compresses_unasked() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Gzip);
    let got = server.range("/a.bin", 5..200_000);
    assert_eq!((got.status, got.header("Content-Encoding")), (206, Some("gzip")));
    assert_eq!((got.header("Content-Range"), got.ended), (Some("bytes 5-199999/1000000"), Ended::Complete));
    // A head of ten bytes, five bytes for each stored block of 65535, and eight bytes at the end.
    assert_eq!(got.body.len(), 199_995 + 10 + 4 * 5 + 8);
    assert_eq!((&got.body[..3], &got.body[15..25]), (&[0x1f, 0x8b, 8][..], &a()[5..15]));
    assert_eq!(server.get("/empty").body.len(), 10 + 5 + 8);
}

#[test]
fn seems_to_have_other_files() {
    let (folder, older) = (Folder::new(), Folder::new());
    older.write("a.bin", &b()[..LENGTH - 1]);
    std::fs::remove_file(older.path().join("b.bin")).unwrap();
    let server = folder.serve();
    server.fail(Fault::Folder(older.path()).on("?.bin"));
    server.get("/a.bin").gives_whole(&a());
    server.fail(Fault::Folder(older.path()).on("*.bin"));
    server.range("/a.bin", 7..9).gives_range(&b()[..LENGTH - 1], 7..9);
    assert_eq!(server.get("/b.bin").status, 404);

    server.mend();
    server.fail(Fault::Content(b"other".to_vec()).on("a.bin"));
    server.get("/a.bin").gives_whole(b"other");
    server.range("/a.bin", 1..3).gives_range(b"other", 1..3);

    server.mend();
    server.fail(Fault::Resized(5));
    server.get("/a.bin").gives_whole(&a()[..5]);
    assert_eq!(server.range("/a.bin", 5..6).header("Content-Range"), Some("bytes */5"));
    server.mend();
    server.fail(Fault::Resized(1 << 40));
    let got = server.range("/a.bin", 999_998..1_000_002);
    assert_eq!(got.header("Content-Range"), Some("bytes 999998-1000001/1099511627776"));
    assert_eq!(got.body, [&a()[999_998..], &[0, 0]].concat());
}
