//! Servers that keep sending bytes which are not a body.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{good, good_range, range, rest, source};
use crate::source::{
    Fault,
    http::scripted::{Reply, Server, reply},
};

/// The bytes that a flooding server could write, and the fault that its reader reports. The bytes include those in
/// buffers of the system.
async fn flooded(before: Reply, flood: &[u8]) -> (u64, Fault) {
    let written = Arc::new(AtomicU64::new(0));
    let flooding = before.flood(flood, &written);
    let server = Server::start(move |_, _| flooding.clone()).await;
    let fault = match source(&server.url("")).read("x".to_owned(), 2..6, 10, None).await {
        Ok(body) => rest(body).await.unwrap_err(),
        Err(fault) => fault,
    };
    (written.load(Ordering::Relaxed), fault)
}

const MUCH: u64 = 16 << 20;

/// Regression: interim responses were dropped silently, a gigabyte of them each second.
#[tokio::test]
async fn a_flood_of_interim_responses_ends_soon() {
    for status in ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: <x>"] {
        let interim = reply(&[status], b"").bytes().repeat(1000);
        let (written, fault) = flooded(Reply::default(), &interim).await;
        let Fault::Unreachable(what) = &fault else { panic!("{fault:?}") };
        let bytes =
            what.strip_prefix("sends ").and_then(|what| what.strip_suffix(" bytes without an answer"));
        let bytes: u64 = bytes.unwrap_or_else(|| panic!("{what}")).parse().unwrap();
        assert!((512 << 10..1 << 20).contains(&bytes), "{what}");
        assert!(written < MUCH, "{written}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_ends_soon() {
    for flood in [&b"X-Y: z\r\n".repeat(1000), &vec![b'x'; 8192]] {
        let (written, fault) = flooded(Reply::default().and(b"HTTP/1.1 200 OK\r\nX: "), flood).await;
        assert!(matches!(fault, Fault::Unreachable(_)), "{fault:?}");
        assert!(written < MUCH, "{written}");
    }
}

#[tokio::test]
async fn what_lies_between_parts_of_a_body_ends_soon() {
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Transfer-Encoding: chunked"];
    // The length of a chunk with an endless extension, and endless trailers.
    for (begun, flood) in
        [(&b"2\r\n23\r\n2;x="[..], vec![b'y'; 8192]), (b"2\r\n23\r\n0\r\n", b"X: y\r\n".repeat(1000))]
    {
        let (written, fault) = flooded(reply(&head, begun), &flood).await;
        let Fault::Unreachable(what) = &fault else { panic!("{fault:?}") };
        assert!(what.starts_with("ended after 2 of 4 bytes: "), "{what}");
        assert!(written < MUCH, "{written}");
    }
}

#[tokio::test]
async fn a_few_interim_responses_are_passed_over() {
    let interim = reply(&["103 Early Hints", "Link: </style.css>; rel=preload"], b"").bytes().repeat(100);
    let server = Server::start(move |_, _| Reply::default().and(&interim).and(&good().bytes())).await;
    let source = source(&server.url(""));
    for _ in 0..200 {
        assert_eq!(range(&source).await, good_range());
    }
}

/// All bytes that come with and behind the head are counted until they are handed on: a large body must not count as a
/// flood.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_taken_for_a_flood() {
    const LEN: u64 = 64 << 20;
    let bytes = vec![b'x'; 64 << 20];
    let head = reply(&["200 OK", &format!("Content-Length: {LEN}")], b"");
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &bytes[..1 << 20], b"\r\n"].concat();
    let chunked =
        reply(&["200 OK", "Transfer-Encoding: chunked"], &[&chunk.repeat(64)[..], b"0\r\n\r\n"].concat());
    for answer in [head.and(&bytes), chunked] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let source = source(&server.url(""));
        for _ in 0..3 {
            let mut body = source.read("x".to_owned(), 0..LEN, LEN, None).await.unwrap();
            let mut len = 0;
            while let Some(bytes) = body.next().await.unwrap() {
                len += bytes.len() as u64;
            }
            assert_eq!(len, LEN);
        }
    }
}
