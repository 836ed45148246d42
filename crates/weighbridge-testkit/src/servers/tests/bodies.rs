//! Bodies with other bytes than the file has, or with more of them.

use std::io::Read as _;

use super::{Ended, Folder, LENGTH, a, b};
use crate::servers::{Fault, Rule};

/// The positions at which two files of the same length differ.
fn differences(one: &[u8], other: &[u8]) -> Vec<usize> {
    assert_eq!(one.len(), other.len());
    (0..one.len()).filter(|at| one[*at] != other[*at]).collect()
}

#[test]
fn a_flipped_bit_lies_in_the_file_and_not_in_the_answer() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Flip.at(600_000));
    assert_eq!(differences(&server.get("/a.bin").body, &a()), [600_000]);
    assert_eq!(differences(&server.range("/a.bin", 599_990..600_010).body, &a()[599_990..600_010]), [10]);
    server.range("/a.bin", 600_001..600_010).gives_range(&a(), 600_001..600_010);
    server.range("/a.bin", 0..600_000).gives_range(&a(), 0..600_000);

    // A rule without a place flips the first byte of the requested range.
    server.mend();
    server.fail(Fault::Flip.times(2));
    assert_eq!(differences(&server.range("/a.bin", 5..10).body, &a()[5..10]), [0]);
    assert_eq!(differences(&server.get("/a.bin").body, &a()), [0]);
    server.get("/a.bin").gives_whole(&a());
}

#[test]
fn gives_other_bytes() {
    let folder = Folder::new();
    folder.write("short.bin", &b()[..500_000]);
    let server = folder.serve();
    let body = |rule: Rule| {
        server.mend();
        server.fail(rule);
        let got = server.get("/a.bin");
        assert_eq!((got.status, got.ended, got.body.len()), (200, Ended::Complete, LENGTH));
        got.body
    };

    let zeros = body(Fault::Zeros.within(300_000..600_000));
    assert!(zeros == [&a()[..300_000], &[0; 300_000], &a()[600_000..]].concat());
    assert!(body(Fault::Zeros.into()) == [0; LENGTH]);

    let garbage = body(Fault::Garbage.into());
    assert!(garbage == body(Fault::Garbage.into()));
    // One byte in 256 is equal by chance.
    assert!(differences(&garbage, &a()).len() > LENGTH / 100 * 99);
    let part = server.range("/a.bin", 300_000..300_100);
    assert_eq!(part.body, garbage[300_000..300_100]);

    let other = body(Fault::OtherFile(folder.path().join("b.bin")).within(10..LENGTH as u64));
    assert!(other == [&a()[..10], &b()[10..]].concat());
    let other = body(Fault::OtherFile(folder.path().join("short.bin")).into());
    assert!(other == [&b()[..500_000], &[0; 500_000]].concat());
}

#[test]
fn exchanges_neighbouring_chunks() {
    let folder = Folder::new();
    let server = folder.serve();
    let chunk = 65_536;
    server.fail(Fault::Swapped(65_536).within(0..196_608));
    let a = a();
    let two = [&a[chunk..2 * chunk], &a[..chunk], &a[3 * chunk..4 * chunk], &a[3 * chunk..]].concat();
    assert!(server.get("/a.bin").body == two);
    assert!(server.range("/a.bin", 10..2 * chunk + 5).body == two[10..2 * chunk + 5]);

    // The last whole chunk has only a shorter partner, so it stays.
    server.mend();
    server.fail(Fault::Swapped(65_536));
    let all = server.get("/a.bin").body;
    assert!(all[12 * chunk..13 * chunk] == a[13 * chunk..14 * chunk]);
    assert!(all[14 * chunk..] == a[14 * chunk..]);
}

#[test]
fn several_faults_add_up() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Content(b()));
    server.fail(Fault::Flip.at(7));
    server.fail(Fault::Flip.at(700_000));
    server.fail(Fault::OtherTotal(5));
    let got = server.range("/a.bin", 0..LENGTH);
    assert_eq!(differences(&got.body, &b()), [7, 700_000]);
    assert_eq!(got.header("Content-Range"), Some("bytes 0-999999/5"));
}

#[test]
fn gives_more_than_there_is() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Longer(50).on("a.bin"));
    let got = server.range("/a.bin", 0..100);
    assert_eq!((got.header("Content-Length"), got.body.len()), (Some("150"), 150));
    assert_eq!((&got.body[..100], &got.body[100..]), (&a()[..100], &[b'+'; 50][..]));
    assert_eq!(got.header("Content-Range"), Some("bytes 0-99/1000000"));

    server.mend();
    server.fail(Fault::Surplus(50).times(1));
    let mut client = server.client();
    client.get("/a.bin", &[]).gives_whole(&a());
    // The surplus stands where the next answer should begin.
    let mut surplus = [0; 50];
    client.0.read_exact(&mut surplus).unwrap();
    assert_eq!(surplus, [b'+'; 50]);
    client.get("/b.bin", &[]).gives_whole(&b());
}

#[test]
fn never_ends() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Endless.on("empty"));
    let mut client = server.client();
    client.ask("GET", "/empty", &[]);
    let got = client.answer(false);
    assert_eq!((got.status, got.header("Content-Length")), (200, None));
    let mut count = 0;
    while count < 20_000_000 {
        count += client.read(1 << 20).unwrap().len();
    }
    drop(client);
    assert!(server.settled()[0].sent >= 20_000_000);
}

#[test]
fn says_no_length() {
    let folder = Folder::new();
    let server = folder.serve();
    server.fail(Fault::Unframed);
    let got = server.range("/a.bin", 5..300_000);
    assert_eq!((got.status, got.header("Content-Length"), got.ended), (206, None, Ended::Closed));
    assert!(got.body == a()[5..300_000]);

    server.mend();
    server.fail(Fault::Chunked);
    let mut client = server.client();
    let got = client.get("/a.bin", &["Connection: close", "Range: bytes=0-299999"]);
    assert_eq!((got.header("Transfer-Encoding"), got.header("Content-Length")), (Some("chunked"), None));
    let first = b"40000\r\n";
    assert!(got.body.starts_with(first) && got.body.ends_with(b"\r\n0\r\n\r\n"));
    assert!(got.body[first.len()..][..0x40000] == a()[..0x40000]);
    assert_eq!(server.settled()[1].sent, 300_000);
}
