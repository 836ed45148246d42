use ::http::{HeaderMap, StatusCode};

use super::{Web, good, good_range, range, refused, source, web};
use crate::source::{
    Fault, Source as _, SourceOptions,
    http::{
        moved,
        scripted::{Reply, Server, redirect, status},
    },
};

fn with_secrets(url: &str) -> Web {
    let mut options = SourceOptions::default();
    for (name, value) in
        [("x-secret", "one"), ("x-secret", "two"), ("range", "bytes=0-0"), ("accept-encoding", "gzip")]
    {
        options.headers.push((name.parse().unwrap(), value.parse().unwrap()));
    }
    let source = web(&url.replace("http://", "http://user:pass@"), &options);
    for shown in [source.name().to_owned(), format!("{source:?}"), format!("{options:?}")] {
        assert!(!shown.contains("pass") && !shown.contains("one") && !shown.contains("key"), "{shown}");
    }
    source
}

#[tokio::test]
async fn what_the_caller_sends_is_never_sent_to_where_a_redirect_leads() {
    let server = Server::start(|request, _| match request.split(' ').nth(1).unwrap() {
        "/base/a/b?key=1" => redirect("/other"),
        "/other" => redirect("http://evil:name@localhost:1/"),
        _ => status("500 x"),
    });
    let server = server.await;
    // Port 1 is closed: the request gets that far.
    let gone = range(&with_secrets(&server.url("/base?key=1"))).await;
    assert!(matches!(gone, Err(Fault::Unreachable(_))), "{gone:?}");
    let requests = server.requests();
    assert_eq!(server.targets(), ["/base/a/b?key=1", "/other"]);
    assert!(requests[0].contains("\r\nx-secret: one\r\n") && requests[0].contains("\r\nx-secret: two\r\n"));
    assert!(requests[0].contains("\r\nauthorization: basic dxnlcjpwyxnz\r\n"), "{}", requests[0]);
    for request in &requests {
        // The caller cannot change the client's own headers.
        assert!(request.contains("\r\nrange: bytes=2-5\r\n") && !request.contains("bytes=0-0"), "{request}");
        assert!(
            request.contains("\r\naccept-encoding: identity\r\n") && !request.contains("gzip"),
            "{request}"
        );
    }
    assert!(!requests[1].contains("secret") && !requests[1].contains("authorization"), "{}", requests[1]);
}

#[tokio::test]
async fn where_a_redirect_led_is_asked_directly_the_next_time() {
    let server = Server::start(|request, _| match request.split(' ').nth(1).unwrap() {
        "/a/b" => redirect("/signed?signature=1"),
        "/c" => redirect("/signed?signature=2"),
        _ => good(),
    });
    let server = server.await;
    let source = source(&server.url(""));
    for _ in 0..3 {
        assert_eq!(range(&source).await, good_range());
    }
    source.read("c".to_owned(), 2..6, 10, None).await.unwrap();
    let signed = "/signed?signature=1";
    assert_eq!(server.targets(), ["/a/b", signed, signed, signed, "/c", "/signed?signature=2"]);
    // Changes at the source are seen only there.
    let _ = source.whole_at("a/b", 10).await;
    assert_eq!(server.targets()[6..], ["/a/b", signed]);
}

#[tokio::test]
async fn an_expired_target_sends_the_request_back_to_the_source_once() {
    for expired in ["401 x", "403 x", "404 x", "410 x"] {
        // The first target is good once, the second never again.
        let server = Server::start(move |request, n| match request.split(' ').nth(1).unwrap() {
            "/a/b" => redirect(&format!("/signed?n={n}")),
            "/signed?n=0" if n == 1 => good(),
            "/signed?n=3" if n == 4 => good(),
            _ => status(expired),
        });
        let server = server.await;
        let source = source(&server.url(""));
        assert_eq!(range(&source).await, good_range());
        assert_eq!(range(&source).await, good_range());
        let fault = range(&source).await.unwrap_err();
        let expected = [
            "/a/b",
            "/signed?n=0",
            "/signed?n=0",
            "/a/b",
            "/signed?n=3",
            "/signed?n=3",
            "/a/b",
            "/signed?n=6",
        ];
        assert_eq!(server.targets(), expected);
        assert!(matches!(fault, Fault::Refused(_) | Fault::Missing), "{fault}");
        // The next request begins at the source.
        let _ = range(&source).await;
        assert_eq!(server.targets()[8..], ["/a/b", "/signed?n=8"]);
    }
}

#[tokio::test]
async fn a_target_that_breaks_is_forgotten_and_one_that_is_busy_is_not() {
    let server = Server::start(|request, n| match (request.split(' ').nth(1).unwrap(), n) {
        ("/a/b", _) => redirect("/there"),
        (_, 2) => status("503 x"),
        (_, 3) => Reply::default().close(),
        _ => good(),
    });
    let server = server.await;
    let source = source(&server.url(""));
    assert_eq!(range(&source).await, good_range());
    assert!(matches!(range(&source).await, Err(Fault::Busy { .. })));
    assert!(matches!(range(&source).await, Err(Fault::Unreachable(_))));
    assert_eq!(range(&source).await, good_range());
    assert_eq!(server.targets(), ["/a/b", "/there", "/there", "/there", "/a/b", "/there"]);
}

#[tokio::test]
async fn follows_ten_redirects_and_no_more() {
    let server = Server::start(|_, n| redirect(&format!("/{n}"))).await;
    assert_eq!(range(&source(&server.url(""))).await, refused("redirects more than 10 times"));
    assert_eq!(server.requests().len(), 11);
    let server = Server::start(|_, n| if n < 10 { redirect(&format!("/{n}")) } else { good() }).await;
    assert_eq!(range(&source(&server.url(""))).await, good_range());
}

#[tokio::test]
async fn redirects_lead_to_web_servers_only() {
    let to = |location: String| async move {
        let server = Server::start(move |_, _| redirect(&location)).await;
        range(&source(&server.url(""))).await
    };
    let neither = || refused("redirects to what is neither http nor https");
    assert_eq!(to("file:///etc/passwd".to_owned()).await, neither());
    assert_eq!(to("ftp://127.0.0.1/x".to_owned()).await, neither());
    assert_eq!(to("http://[::1".to_owned()).await, refused("redirects to what is no address"));
    assert_eq!(to("x".repeat(9000)).await, refused("redirects to an address that is too long"));
    let server = Server::start(|_, _| status("302 Found")).await;
    assert_eq!(range(&source(&server.url(""))).await, refused("redirects without saying where to"));
}

#[test]
fn redirects_never_leave_https() {
    let redirect = |at: &str, to: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("location", to.parse().unwrap());
        let target = moved::redirect(StatusCode::FOUND, &headers, &at.parse().unwrap());
        target.map(|target| target.unwrap().to_string())
    };
    let secure = "https://user:pass@a.example/x?key=1";
    assert_eq!(redirect(secure, "http://a.example/"), refused("redirects from https to http"));
    assert_eq!(redirect(secure, "/y").unwrap(), "https://a.example/y");
    assert_eq!(redirect(secure, "//b.example:8/y?z").unwrap(), "https://b.example:8/y?z");
    assert_eq!(redirect("http://a.example", "https://u:p@b.example/y").unwrap(), "https://b.example/y");
}

#[test]
fn what_is_remembered_of_redirects_is_bounded() {
    let mut moved = moved::Moved::default();
    for n in 0..10_000 {
        moved.remember(&n.to_string(), format!("http://a.example/{n}").parse().unwrap());
        assert_eq!(moved.target(&n.to_string()).unwrap().path(), format!("/{n}"));
        assert!(moved.len() <= 256);
    }
}
