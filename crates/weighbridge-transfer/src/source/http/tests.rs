use std::sync::Arc;

use tokio::sync::Notify;

use super::scripted::{Reply, Server, reply, status};
use crate::source::{
    Body, Fault, Source as _, SourceFactory, SourceOptions, http::HttpSource, paths::PathSource,
};

mod addresses;
mod claims;
mod environment;
mod floods;
mod hub;
mod idle;
mod list;
mod redirects;
mod secrets;

/// The file that most tests fetch.
const FILE: &[u8; 10] = b"0123456789";

type Web = PathSource<HttpSource>;

fn source(url: &str) -> Web {
    web(url, &SourceOptions::default())
}

fn web(url: &str, options: &SourceOptions) -> Web {
    SourceFactory::new().web("http", url, options).unwrap()
}

async fn rest(mut body: Body) -> Result<Vec<u8>, Fault> {
    let mut all = Vec::new();
    while let Some(bytes) = body.next().await? {
        assert!(!bytes.is_empty());
        all.extend_from_slice(&bytes);
    }
    assert_eq!(body.next().await, Ok(None));
    Ok(all)
}

/// Bytes 2 to 5 of [`FILE`].
async fn range(source: &Web) -> Result<(u64, Vec<u8>), Fault> {
    let body = source.read("a/b".to_owned(), 2..6, 10, None).await?;
    let start = body.start();
    Ok((start, rest(body).await?))
}

fn good() -> Reply {
    reply(&["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"], b"2345")
}

fn whole() -> Reply {
    reply(&["200 OK", "Content-Length: 10"], FILE)
}

fn good_range() -> Result<(u64, Vec<u8>), Fault> {
    Ok((2, b"2345".to_vec()))
}

fn unreachable<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::Unreachable(what.to_owned()))
}

fn refused<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::Refused(what.to_owned()))
}

fn other<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::OtherFile(what.to_owned()))
}

#[tokio::test]
async fn asks_for_exactly_the_range_and_nothing_compressed() {
    let server = Server::start(|_, _| good()).await;
    assert_eq!(range(&source(&server.url("/base/?token=1%2F2#x"))).await, good_range());
    let request = &server.requests()[0];
    assert!(request.starts_with("get /base/a/b?token=1%2f2 http/1.1\r\n"), "{request}");
    for line in ["range: bytes=2-5", "accept-encoding: identity"] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn paths_are_escaped_segment_by_segment() {
    let server = Server::start(|_, _| whole()).await;
    let path = "ä b/50%/a?b#c+d;e&f=g@h:i'(j)*~.-_";
    assert_eq!(source(&server.url("")).whole_at(path, 10).await.unwrap(), FILE);
    let expected = "/%c3%a4%20b/50%25/a%3fb%23c%2bd%3be%26f%3dg%40h%3ai%27%28j%29%2a~.-_";
    assert_eq!(server.targets(), [expected]);
}

#[tokio::test]
async fn speaks_to_ipv6_hosts() {
    let server = Server::start_at("[::1]:0", |_, _| good()).await;
    let source = source(&server.url("/base"));
    assert_eq!(source.name(), server.url("/base"));
    assert!(source.name().starts_with("http://[::1]:"), "{source:?}");
    assert_eq!(range(&source).await, good_range());
}

#[tokio::test]
async fn a_user_in_an_address_is_told_to_the_server_unless_a_header_says_another() {
    let server = Server::start(|_, _| good()).await;
    let url = server.url("/base").replace("//", "//user:p%40ss@");
    assert_eq!(range(&source(&url)).await, good_range());
    let header = ("authorization".parse().unwrap(), "Bearer mine".parse().unwrap());
    let options = SourceOptions { headers: vec![header], ..SourceOptions::default() };
    assert_eq!(range(&web(&url, &options)).await, good_range());
    let requests = server.requests();
    // user:p@ss
    assert!(requests[0].contains("\r\nauthorization: basic dxnlcjpwqhnz\r\n"), "{requests:?}");
    assert!(requests[1].contains("\r\nauthorization: bearer mine\r\n"), "{requests:?}");
    for request in requests {
        assert!(request.contains(&format!("\r\nhost: {}\r\n", server.address)), "{request}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start(|_, _| good()).await;
    let source = source(&server.url(""));
    for _ in 0..5 {
        assert_eq!(range(&source).await, good_range());
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_gives_all_from_the_beginning() {
    let server = Server::start(|_, _| whole()).await;
    // Bytes behind the range are not handed on.
    assert_eq!(range(&source(&server.url(""))).await, Ok((0, b"012345".to_vec())));
    let server = Server::start(|_, _| reply(&["200 OK", "Content-Length: 11"], b"0123456789x")).await;
    assert_eq!(range(&source(&server.url(""))).await, other("has 11 bytes, signed are 10"));
    // Without a declared length, the received bytes are all there are.
    let chunked = b"8\r\n01234567\r\n2\r\n89\r\n0\r\n\r\n";
    let server = Server::start(|_, _| reply(&["200 OK", "Transfer-Encoding: chunked"], chunked)).await;
    assert_eq!(range(&source(&server.url(""))).await, Ok((0, b"012345".to_vec())));
}

#[tokio::test]
async fn no_byte_behind_the_range_is_given_out() {
    let too_long = b"a\r\n2345678901\r\n0\r\n\r\n";
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Transfer-Encoding: chunked"];
    let server = Server::start(move |_, _| reply(&head, too_long)).await;
    assert_eq!(range(&source(&server.url(""))).await, good_range());
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"];
    let server = Server::start(move |_, _| reply(&head, b"2345678901").close()).await;
    assert_eq!(range(&source(&server.url(""))).await, good_range());
}

#[tokio::test]
async fn lies_about_length_are_of_another_file() {
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/12", "Content-Length: 4"];
    let server = Server::start(move |_, _| reply(&head, b"2345")).await;
    assert_eq!(range(&source(&server.url(""))).await, other("has 12 bytes, signed are 10"));
    let head = ["416 Range Not Satisfiable", "Content-Range: bytes */1", "Content-Length: 0"];
    let server = Server::start(move |_, _| reply(&head, b"")).await;
    assert_eq!(range(&source(&server.url(""))).await, other("has 1 bytes, signed are 10"));
}

/// The first and the last byte that a request asks for; `None` if it asks for no range.
fn asked(request: &str) -> Option<(usize, usize)> {
    let (_, rest) = request.split_once("\r\nrange: bytes=")?;
    let (first, last) = rest.lines().next()?.split_once('-')?;
    Some((first.parse().unwrap(), last.parse().unwrap()))
}

#[tokio::test]
async fn what_a_shorter_answer_lacks_is_asked_for() {
    let server = Server::start(|request, _| {
        // Bytes in pairs that begin at even positions: both less than is asked for, and more.
        let (first, _) = asked(request).unwrap();
        let first = first / 2 * 2;
        let range = format!("Content-Range: bytes {first}-{}/10", first + 1);
        reply(&["206 Partial Content", &range, "Content-Length: 2"], &FILE[first..first + 2])
    })
    .await;
    let source = source(&server.url(""));
    assert_eq!(range(&source).await, good_range());
    assert_eq!(server.requests().len(), 2);
    // In the middle of a pair, the second answer begins before the byte that is missing.
    let body = source.read("a".to_owned(), 3..9, 10, None).await.unwrap();
    assert_eq!((body.start(), rest(body).await), (2, Ok(FILE[2..9].to_vec())));
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_its_bytes_is_asked_for_the_whole() {
    let part = ["206 Partial Content", "Content-Range: bytes 0-1/10", "Content-Length: 2"];
    let parts =
        ["206 Partial Content", "Content-Type: multipart/byteranges; boundary=b", "Content-Length: 2"];
    for odd in [status("416 Range Not Satisfiable"), reply(&part, b"01"), reply(&parts, b"--")] {
        let answer = odd.clone();
        let server =
            Server::start(move |request, _| if asked(request).is_some() { answer.clone() } else { whole() })
                .await;
        assert_eq!(range(&source(&server.url(""))).await, Ok((0, b"012345".to_vec())));
        let server = Server::start(move |_, _| odd.clone()).await;
        assert_eq!(range(&source(&server.url(""))).await, refused("does not say which bytes it gives"));
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn two_lengths_that_differ_are_no_answer() {
    let head =
        ["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4", "Content-Length: 5"];
    let server = Server::start(move |_, _| reply(&head, b"2345")).await;
    assert!(matches!(range(&source(&server.url(""))).await, Err(Fault::Unreachable(_))));
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_broken_connection() {
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"];
    let server = Server::start(move |_, _| reply(&head, b"23").close()).await;
    assert_eq!(range(&source(&server.url(""))).await, unreachable("ended after 2 of 4 bytes"));
    // Chunked: first cut off, then ended as if that were all.
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Transfer-Encoding: chunked"];
    let server = Server::start(move |_, _| reply(&head, b"2\r\n23\r\n").close()).await;
    assert_eq!(range(&source(&server.url(""))).await, unreachable("ended after 2 of 4 bytes"));
    let server = Server::start(move |_, _| reply(&head, b"2\r\n23\r\n0\r\n\r\n")).await;
    assert_eq!(range(&source(&server.url(""))).await, unreachable("ended after 2 of 4 bytes"));
    let server = Server::start(|_, _| reply(&["200 OK"], b"012").close()).await;
    assert_eq!(range(&source(&server.url(""))).await, unreachable("ended after 3 of 6 bytes"));
    let server = Server::start(|_, _| reply(&["200 OK", "Content-Length: 10"], b"012").close()).await;
    assert_eq!(source(&server.url("")).whole_at("x", 99).await, unreachable("ended after 3 of 10 bytes"));
}

#[tokio::test]
async fn a_reset_is_a_broken_connection() {
    let gate = Arc::new(Notify::new());
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"];
    let reset = reply(&head, b"23").later(&gate, b"").reset();
    let server = Server::start(move |_, _| reset.clone()).await;
    let source = source(&server.url(""));
    // The head and each part of the body are handed on as they come, without waiting for the rest.
    let mut body = source.read("x".to_owned(), 2..6, 10, None).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), b"23".as_slice());
    gate.notify_one();
    let Err(Fault::Unreachable(what)) = body.next().await else { panic!("nothing is left to come") };
    assert!(what.starts_with("ended after 2 of 4 bytes: ") && what.contains("reset"), "{what}");
    // The next call returns the same fault.
    assert!(matches!(body.next().await, Err(Fault::Unreachable(_))));
}

#[tokio::test]
async fn the_head_alone_opens_and_the_body_may_come_late() {
    let gate = Arc::new(Notify::new());
    let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"];
    let slow = reply(&head, b"").later(&gate, b"2345");
    let server = Server::start(move |_, _| slow.clone()).await;
    let source = source(&server.url(""));
    let body = source.read("x".to_owned(), 2..6, 10, None).await.unwrap();
    gate.notify_one();
    assert_eq!(rest(body).await, Ok(b"2345".to_vec()));
}

#[tokio::test]
async fn a_connection_without_an_answer_is_unreachable() {
    let server = Server::start(|_, _| Reply::default().close()).await;
    let Err(Fault::Unreachable(what)) = range(&source(&server.url("/?secret=1"))).await else { panic!() };
    assert!(what.starts_with("breaks off before it answers: ") && !what.contains("secret"), "{what}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = source(&format!("http://user:pass@127.0.0.1:{port}/?secret=1"));
    let Err(Fault::Unreachable(what)) = range(&nobody).await else { panic!() };
    assert!(what.starts_with("cannot be connected to: ") && !what.contains("secret"), "{what}");
    assert!(!what.contains("pass") && !what.contains("user"), "{what}");
}

#[tokio::test]
async fn each_status_is_told_as_what_it_is() {
    let answer = |head: &'static [&'static str]| async move {
        let server = Server::start(move |_, _| reply(head, b"")).await;
        range(&source(&server.url(""))).await.unwrap_err()
    };
    assert_eq!(answer(&["404 Not Found", "Content-Length: 0"]).await, Fault::Missing);
    let forbidden = answer(&["403 Look here", "Content-Length: 0"]).await;
    assert_eq!(forbidden.to_string(), "answers 403 Forbidden");
    let busy = answer(&["503 x", "Retry-After: 9", "Content-Length: 0"]).await;
    assert_eq!(busy.to_string(), "answers 503 Service Unavailable, asks to wait 9 s");
    let busy = answer(&["500 x", "Content-Length: 0"]).await;
    assert!(matches!(busy, Fault::Busy { retry_after: None, .. }));
    assert!(matches!(answer(&["304 x"]).await, Fault::Refused(_)));
    let compressed = answer(&["206 x", "Content-Range: bytes 2-5/10", "Content-Encoding: gzip"]).await;
    assert_eq!(compressed, Fault::Refused("answers compressed, unasked".to_owned()));
}

#[tokio::test]
async fn a_whole_file_is_never_longer_than_its_limit() {
    let server = Server::start(|_, _| whole()).await;
    assert_eq!(source(&server.url("")).whole_at("x", 10).await, Ok(FILE.to_vec()));
    assert!(!server.requests()[0].contains("range"));
    assert_eq!(source(&server.url("")).whole_at("x", 9).await, other("has 10 bytes, and may have at most 9"));
    // Without a declared length, nothing is kept behind the limit, and the rest is not waited for.
    let endless = || reply(&["200 OK"], &[b'x'; 4096]);
    let server = Server::start(move |_, _| endless()).await;
    assert_eq!(
        source(&server.url("")).whole_at("x", 9).await,
        other("has more than the 9 bytes that it may have")
    );
    let server = Server::start(|_, _| good()).await;
    assert_eq!(source(&server.url("")).whole_at("x", 9).await, refused("answers 206 Partial Content"));
    let server = Server::start(|_, _| reply(&["200 OK", "Content-Encoding: br"], b"")).await;
    assert_eq!(source(&server.url("")).whole_at("x", 9).await, refused("answers compressed, unasked"));
}
