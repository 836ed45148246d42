//! Small secrets, such as tickets of swarms: whom they may come from, and what is refused.

use super::{Reply, Server, reply, status};
use crate::{
    Fault, SourceFactory, SourceOptions,
    source::{
        SecretError,
        http::scripted::{in_child, redirect},
    },
};

const LIMIT: u64 = 10;

async fn read(address: &str) -> Result<(String, Vec<u8>), SecretError> {
    SourceFactory::new().read_secret(address, &SourceOptions::default(), LIMIT).await
}

fn fault(read: Result<(String, Vec<u8>), SecretError>) -> Fault {
    match read {
        Err(SecretError::NotGiven { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

fn text(bytes: &'static [u8]) -> Reply {
    reply(&["200 OK", &format!("Content-Length: {}", bytes.len())], bytes)
}

#[tokio::test]
async fn a_secret_comes_with_the_headers_of_its_address_and_is_named_without_them() {
    let server = Server::start(|_, _| text(b"0123456789")).await;
    let mut options = SourceOptions::default();
    options.headers.push(("authorization".parse().unwrap(), "Bearer abc".parse().unwrap()));
    let address = server.url("/ticket?key=1#part");
    let (origin, secret) = SourceFactory::new().read_secret(&address, &options, LIMIT).await.unwrap();
    assert_eq!((origin, secret), (server.url("/ticket"), b"0123456789".to_vec()));
    let request = &server.requests()[0];
    assert!(request.starts_with("get /ticket?key=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: bearer abc\r\n"), "{request}");
    // An address may have the credentials in it. No error shows them.
    let address = server.url("/none?key=1").replace("//", "//user:pass@").replace("127.0.0.1", "localhost");
    let shown = format!("{:?}", SourceFactory::new().read_secret(&address, &options, 5).await.unwrap_err());
    assert!(!shown.contains("pass") && !shown.contains("key=1") && shown.contains("/none"), "{shown}");
    assert!(
        server.requests()[1].contains("\r\nauthorization: basic dxnlcjpwyxnz\r\n")
            || server.requests()[1].contains("bearer abc")
    );
}

#[tokio::test]
async fn a_secret_has_no_byte_more_than_it_may_have() {
    let chunked = |body: &[u8]| reply(&["200 OK", "Transfer-Encoding: chunked"], body);
    let server = Server::start(move |_, n| match n {
        0 => text(b"0123456789a"),
        1 => chunked(b"b\r\n0123456789a\r\n0\r\n\r\n"),
        2 => chunked(b"a\r\n0123456789\r\n0\r\n\r\n"),
        3 => reply(&["200 OK", "Content-Length: 10"], b"012").close(),
        _ => text(b""),
    });
    let url = server.await.url("/");
    assert!(matches!(fault(read(&url).await), Fault::OtherFile(_)));
    assert!(matches!(fault(read(&url).await), Fault::OtherFile(_)));
    assert_eq!(read(&url).await.unwrap().1, b"0123456789");
    assert!(matches!(fault(read(&url).await), Fault::Unreachable(_)));
    assert_eq!(read(&url).await.unwrap().1, b"");
}

#[tokio::test]
async fn a_server_that_denies_a_secret_is_told_from_one_that_fails() {
    for (answer, is_denied) in [
        ("401 x", true),
        ("403 x", true),
        ("404 x", true),
        ("410 x", true),
        ("500 x", false),
        ("400 x", false),
    ] {
        let server = Server::start(move |_, _| status(answer)).await;
        let error = read(&server.url("/t")).await.unwrap_err();
        assert_eq!(error.is_denied(), is_denied, "{answer}");
        assert!(error.to_string().starts_with(&server.url("/t: ")), "{error}");
    }
}

#[tokio::test]
async fn no_secret_comes_unencrypted_from_elsewhere_and_nobody_is_asked_for_one() {
    for address in [
        "http://model.example/t",
        "http://192.0.2.1/t",
        "http://[2001:db8::1]/t",
        "http://127.0.0.1.example/t",
        "http://localhost.example/t",
        "http://user@model.example/t?key=1",
        "HTTP://model.example/t",
    ] {
        let Err(SecretError::NoTls { origin }) = read(address).await else { panic!("{address}") };
        assert!(
            origin.starts_with("http://") && !origin.contains("key") && !origin.contains("user"),
            "{origin}"
        );
    }
    for address in
        ["ftp://model.example/t", "http://", "https://", "http://[::1", "file:///etc/passwd", "ticket"]
    {
        let error = read(address).await.unwrap_err();
        assert!(matches!(error, SecretError::Address(_) | SecretError::NoTls { .. }), "{address}: {error:?}");
    }
}

/// A redirect could lead to where anybody on the way answers, or asks.
#[tokio::test]
async fn an_address_of_this_machine_does_not_redirect() {
    let elsewhere = Server::start(|_, _| text(b"elsewhere")).await;
    for to in [elsewhere.url("/t"), "/t".to_owned(), "http://192.0.2.1/t".to_owned()] {
        let server = Server::start(move |_, _| redirect(&to)).await;
        assert_eq!(fault(read(&server.url("/")).await), Fault::Refused("answers 302 Found".to_owned()));
        assert_eq!(server.targets(), ["/"]);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_this_machine_does_not_go_by_way_of_a_proxy() {
    let proxy = Server::start(|_, _| text(b"proxy")).await;
    let environment = [("HTTP_PROXY", proxy.url("")), ("NO_PROXY", "localhost".to_owned())];
    let test = "a_secret_of_this_machine_does_not_go_by_way_of_a_proxy";
    if in_child(module_path!(), test, &environment).await.is_some() {
        assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
        return;
    }
    assert!(matches!(read("http://127.0.0.1:9/t").await, Err(SecretError::NoTls { .. })));
    // This one is reached without it, if anything is there.
    assert!(matches!(fault(read("http://localhost:9/t").await), Fault::Unreachable(_)));
}

/// A server could otherwise keep a fetch from beginning for ever.
#[tokio::test(start_paused = true)]
async fn a_secret_that_does_not_come_is_not_waited_for() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let late = reply(&["200 OK", "Content-Length: 10"], b"012").later(&gate, b"3456789");
    let server = Server::start(move |_, _| late.clone()).await;
    let url = server.url("/t");
    let what = fault(read(&url).await).to_string();
    assert_eq!(what, "has not given it in 30 s");
}
