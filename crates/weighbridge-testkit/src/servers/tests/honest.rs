//! Without faults, the server behaves like other web servers.

use std::{
    io::ErrorKind,
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use super::{Ended, Folder, LENGTH, a, b, header};
use crate::{
    servers::{Fault, Faulty, Loopback},
    skip,
};

#[test]
fn gives_files_and_ranges_of_them() {
    let folder = Folder::new();
    let server = folder.serve();
    server.get("/a.bin").gives_whole(&a());
    server.get("/a.bin?and=more").gives_whole(&a());
    server.get("/empty").gives_whole(b"");
    server.get("/sub/100%20%25.txt").gives_whole(b"escaped");
    server.range("/a.bin", 0..1).gives_range(&a(), 0..1);
    server.range("/a.bin", 300_000..900_001).gives_range(&a(), 300_000..900_001);
    server.range("/a.bin", 999_000..2_000_000).gives_range(&a(), 999_000..LENGTH);
    server.client().get("/a.bin", &["Range: bytes=999990-"]).gives_range(&a(), 999_990..LENGTH);
    server.client().get("/a.bin", &["Range: bytes=-7"]).gives_range(&a(), 999_993..LENGTH);
    server.client().get("/a.bin", &["Range: bytes=0-1,5-6"]).gives_whole(&a());
    server.client().get("/a.bin", &["Range: bytes=9-8"]).gives_whole(&a());
}

#[test]
fn refuses_what_it_does_not_have() {
    let folder = Folder::new();
    folder.write("outside", b"secret");
    let server = Faulty::start(&folder.path().join("sub"));
    for target in ["/none", "/", "/../outside", "/%2e%2e/outside", "//etc/passwd"] {
        assert_eq!(server.get(target).status, 404, "{target}");
    }
    server.serve_from(&folder.path());
    assert_eq!(server.get("/sub").status, 404);
    for (target, range) in [("/a.bin", LENGTH..LENGTH + 1), ("/empty", 0..1)] {
        let got = server.range(target, range);
        let length = if target == "/empty" { 0 } else { LENGTH };
        assert_eq!((got.status, got.header("Content-Range")), (416, Some(&*format!("bytes */{length}"))));
    }
    let mut client = server.client();
    client.ask("PUT", "/a.bin", &[]);
    assert_eq!(client.answer(true).status, 405);
}

#[test]
fn keeps_connections() {
    let folder = Folder::new();
    let server = folder.serve();
    let mut client = server.client();
    // The requests are sent at once, and answered one after another.
    client.ask("GET", "/a.bin", &[&header(1..3)]);
    client.ask("HEAD", "/a.bin", &[]);
    client.ask("GET", "/b.bin", &["Connection: close"]);
    client.answer(true).gives_range(&a(), 1..3);
    let head = client.answer(false);
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("1000000")));
    client.answer(true).gives_whole(&b());
    assert_eq!(client.read(1), Err(Ended::Closed));
    assert_eq!(server.connections(), 1);
}

#[test]
fn knows_what_it_was_asked() {
    let folder = Folder::new();
    let server = folder.serve();
    let before = Instant::now();
    server.client().get("/sub/100%20%25.txt?x=1", &["Authorization: Bearer secret"]).gives_whole(b"escaped");
    server.client().get("/a.bin", &["Range: bytes=999990-"]).gives_range(&a(), 999_990..LENGTH);
    assert_eq!(server.range("/none", 5..9).status, 404);

    let requests = server.settled();
    let [first, second, third] = &*requests else { panic!("{requests:?}") };
    assert_eq!((&*first.method, &*first.target), ("GET", "/sub/100%20%25.txt?x=1"));
    assert_eq!((&*first.path, first.range.clone()), ("sub/100 %.txt", None));
    assert_eq!(first.header("authorization"), Some("Bearer secret"));
    assert_eq!((first.status, first.sent, first.connection), (Some(200), 7, 0));
    assert_eq!((second.range.clone(), second.sent, second.connection), (Some(999_990..1_000_000), 10, 1));
    assert_eq!((third.range.clone(), third.status), (Some(5..9), Some(404)));
    assert!(before < first.at && first.at < second.at && first.at < first.ended.unwrap());
    assert_eq!(server.max_concurrent(), 1);
}

#[test]
fn counts_what_is_answered_at_once() {
    let folder = Folder::new();
    let server = folder.serve();
    server.limit_rate(0);
    let mut clients = [server.client(), server.client(), server.client()];
    for client in &mut clients {
        client.ask("GET", "/a.bin", &[]);
        // The head has arrived, so the request is being answered.
        assert_eq!(client.answer(false).status, 200);
    }
    server.limit_rate(None);
    for mut client in clients {
        let mut left = LENGTH;
        while left > 0 {
            left -= client.read(left).unwrap().len();
        }
    }
    assert_eq!(server.settled().len(), 3);
    assert_eq!(server.max_concurrent(), 3);
}

#[test]
fn serves_at_either_address() {
    if !Loopback::V6.is_there() {
        return skip("this machine has no [::1]");
    }
    let folder = Folder::new();
    let server = Faulty::start_on(Loopback::V6, &folder.path());
    assert!(server.url().starts_with("http://[::1]:"));
    server.get("/a.bin").gives_whole(&a());
}

#[test]
fn serves_another_folder_from_one_moment_on() {
    let (folder, newer) = (Folder::new(), Folder::new());
    newer.write("a.bin", &b());
    let server = folder.serve();
    server.limit_rate(0);
    let mut client = server.client();
    client.ask("GET", "/a.bin", &[]);
    assert_eq!(client.answer(false).status, 200);
    server.serve_from(&newer.path());
    server.limit_rate(None);
    // An answer that has begun ends unchanged.
    let mut bytes = Vec::new();
    while bytes.len() < LENGTH {
        bytes.extend(client.read(LENGTH).unwrap());
    }
    assert!(bytes == a());
    client.get("/a.bin", &[]).gives_whole(&b());
}

#[test]
fn can_be_unplugged_and_plugged_in_again() {
    let folder = Folder::new();
    let mut server = folder.serve();
    let (mut idle, mut busy) = (server.client(), server.client());
    idle.get("/a.bin", &[]).gives_whole(&a());
    server.limit_rate(0);
    busy.ask("GET", "/a.bin", &[]);
    assert_eq!(busy.answer(false).status, 200);

    server.unplug();
    assert_eq!(idle.read(1), Err(Ended::Reset));
    assert_eq!(busy.read(1), Err(Ended::Reset));
    let refused = TcpStream::connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    server.limit_rate(None);
    server.plug_in();
    server.get("/a.bin").gives_whole(&a());
}

#[test]
fn accepts_slowly_when_told_to() {
    let folder = Folder::new();
    let mut server = folder.serve();
    let delay = Duration::from_millis(200);
    server.accept_slowly(delay);
    let start = Instant::now();
    server.get("/a.bin").gives_whole(&a());
    assert!(start.elapsed() >= delay);

    // The delay does not hold up the end of the server.
    server.accept_slowly(Duration::from_secs(3600));
    let mut client = server.client();
    client.ask("GET", "/a.bin", &[]);
    server.unplug();
    assert_eq!(client.answer(true).ended, Ended::Reset);
}

#[test]
fn all_connections_share_one_rate() {
    let folder = Folder::new();
    let server = folder.serve();
    server.limit_rate(4_000_000);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| server.get("/a.bin").gives_whole(&a()));
        }
    });
    // The transfer takes half a second, less the slice granted at the beginning.
    assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());
}

#[test]
fn curl_agrees() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::RedirectChain(3));
    let curl = |arguments: &[&str]| {
        let url = format!("{}/a.bin", server.url());
        let ran =
            Command::new("curl").args(["--silent", "--fail", "--location"]).args(arguments).arg(url).output();
        ran.ok().map(|output| (output.status.success(), output.stdout))
    };
    let Some(whole) = curl(&[]) else { return skip("curl is not installed") };
    assert!(whole == (true, a()));
    assert!(curl(&["--range", "1000-1999"]) == Some((true, a()[1000..2000].to_vec())));
    assert!(curl(&["--range", "2000000-"]).is_some_and(|(is_done, _)| !is_done));
    server.mend();
    server.fail(Fault::Gzip);
    if curl(&["--compressed"]).is_some_and(|(is_done, body)| !is_done || body != a()) {
        panic!("what is compressed is not what curl reads");
    }
    server.mend();
    server.fail(Fault::Chunked);
    assert!(curl(&[]) == Some((true, a())));
}
