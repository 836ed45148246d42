use std::time::Instant;

use weighbridge_tree::Coded as _;

use super::refused;
use crate::source::{
    Fault, Listing, ListingError, ListingFault, SourceFactory, SourceOptions, What,
    http::scripted::{Reply, Server, redirect, reply, status},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

async fn list(server: &Server, text: &str) -> Result<Listing, ListingError> {
    list_with(server, text, SourceOptions::default()).await
}

async fn list_with(server: &Server, text: &str, options: SourceOptions) -> Result<Listing, ListingError> {
    let options = SourceOptions { hub_endpoint: Some(server.url("/hub")), ..options };
    SourceFactory::new().list(text, &options).await.map(|(listing, _)| listing)
}

fn ok(body: &str) -> Reply {
    with_link("X-No: link", body)
}

fn with_link(link: &str, body: &str) -> Reply {
    reply(&["200 OK", link, &format!("Content-Length: {}", body.len())], body.as_bytes())
}

fn revision() -> Reply {
    ok(&format!(r#"{{"sha":"{COMMIT}","cardData":{{"base_model":"org/base"}}}}"#))
}

fn entry(path: &str) -> String {
    format!(r#"[{{"type":"file","path":"{path}","size":3,"oid":"{COMMIT}"}}]"#)
}

/// The target of a request.
fn target(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

const REVISION: &str = "/hub/api/models/org/name/revision/v%2F1?expand=sha&expand=cardData";
const TREE: &str =
    "/hub/api/models/org/name/tree/0123456789abcdef0123456789abcdef01234567?recursive=true&expand=false";

#[tokio::test]
async fn a_hub_is_asked_for_the_revision_once_and_then_for_each_page_of_its_commit() {
    let server = Server::start(|request, _| match target(request) {
        REVISION => revision(),
        TREE => with_link("Link: </hub/second?cursor=x>; rel=\"next\"", &entry("b")),
        "/hub/second?cursor=x" => ok(&entry("a")),
        _ => reply(&["206 x", "Content-Range: bytes 0-2/3", "Content-Length: 3"], b"abc"),
    });
    let server = server.await;
    let options = SourceOptions {
        hub_endpoint: Some(server.url("/hub")),
        hub_token: Some("hf_secret".to_owned()),
        ..SourceOptions::default()
    };
    let (listing, source) = SourceFactory::new().list("hf://org/name@v/1", &options).await.unwrap();
    assert_eq!(listing.origin, format!("hf://org/name@{COMMIT}"));
    assert_eq!(listing.commit.as_deref(), Some(COMMIT));
    assert_eq!(listing.base_models, ["org/base"]);
    assert!(!listing.has_head);
    let paths: Vec<_> = listing.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a", "b"]);
    // The source reads the listed commit, and does not resolve the revision again.
    let file = &listing.files[0];
    let what = What::Listed { path: file.path.clone(), size: file.size };
    let mut body = source.open(&what, 0..3).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), b"abc".as_slice());
    let file = format!("/hub/org/name/resolve/{COMMIT}/a");
    let asked = [REVISION, TREE, "/hub/second?cursor=x", &file].map(str::to_lowercase);
    assert_eq!(server.targets(), asked);
    assert!(server.requests().iter().all(|request| request.contains("authorization: bearer hf_secret\r\n")));
}

/// The listing of a hub that answers so for the pages of its tree, the first of which is number 0.
async fn pages(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Server, ListingError) {
    let server =
        Server::start(move |_, number| if number == 0 { revision() } else { answer(number - 1) }).await;
    let error = list(&server, "hf://org/name").await.unwrap_err();
    (server, error)
}

fn malformed(error: &ListingError) -> (&str, &ListingFault) {
    let ListingError::Malformed { place, fault, .. } = error else { panic!("{error}") };
    assert_eq!(error.error_code().get(), 9209);
    (place, fault)
}

#[tokio::test]
async fn the_next_page_is_on_the_same_server_and_a_new_one() {
    let elsewhere = Server::start(|_, _| ok("[]")).await;
    for link in
        [elsewhere.url("/x"), "https://127.0.0.1/x".to_owned(), "data:x".to_owned(), "http://[".to_owned()]
    {
        let (server, error) =
            pages(move |_| with_link(&format!("Link: <{link}>; rel=next"), &entry("a"))).await;
        assert_eq!(malformed(&error), ("page 1", &ListingFault::Elsewhere));
        assert_eq!(server.requests().len(), 2);
    }
    assert!(elsewhere.requests().is_empty());
    // Two pages that lead to each other.
    let (server, error) =
        pages(|number| with_link(&format!("Link: </{}>; rel=next", number % 2), &entry("a"))).await;
    assert_eq!(malformed(&error), ("page 3", &ListingFault::Loop));
    assert_eq!(server.requests().len(), 4);
    // Pages without an end.
    let (server, error) = pages(|number| with_link(&format!("Link: </{number}>; rel=next"), "[]")).await;
    assert_eq!(malformed(&error), ("page 1025", &ListingFault::TooLong));
    assert_eq!(server.requests().len(), 1 + 1024);
}

#[tokio::test]
async fn a_page_has_a_bounded_length() {
    let (_, error) = pages(|_| reply(&["200 OK", "Content-Length: 8388609"], b"")).await;
    let ListingError::NotGiven { what, fault, .. } = &error else { panic!("{error}") };
    assert_eq!(what, "page 1");
    assert_eq!(*fault, refused::<()>("has 8388609 bytes, and may have at most 8388608").unwrap_err());
}

#[tokio::test]
async fn what_a_hub_denies_or_does_not_have_is_named() {
    for (answer, denied) in [("401 x", true), ("403 x", true), ("404 x", false), ("400 x", false)] {
        let server = Server::start(move |_, _| status(answer)).await;
        let error = list(&server, "hf://org/name").await.unwrap_err();
        assert_eq!((error.is_denied(), error.error_code().get()), (denied, 9208), "{error}");
        assert!(error.to_string().starts_with("hf://org/name does not list its files: the revision: "));
        assert_eq!(server.requests().len(), 1);
    }
    let (_, error) = pages(|_| status("404 x")).await;
    assert_eq!(error.to_string(), "hf://org/name does not list its files: page 1: has no such file");
    let server = Server::start(|_, _| ok("{}")).await;
    let error = list(&server, "hf://org/name").await.unwrap_err();
    assert_eq!(malformed(&error), ("the revision", &ListingFault::Commit));
    assert_eq!(
        error.to_string(),
        "the listing of hf://org/name is malformed: the revision: names no commit of 40 hexadecimal digits"
    );
}

#[tokio::test]
async fn a_busy_hub_is_waited_for_and_not_for_ever() {
    let limited = || reply(&["429 x", "RateLimit: \"api\";r=0;t=1", "Content-Length: 0"], b"");
    let server = Server::start(move |request, number| match number {
        0 | 2 => limited(),
        _ if target(request).contains("/revision/") => revision(),
        _ => ok(&entry("a")),
    });
    let server = server.await;
    let began = Instant::now();
    assert_eq!(list(&server, "hf://org/name").await.unwrap().files.len(), 1);
    assert!(began.elapsed().as_secs_f64() > 1.9);
    assert_eq!(server.requests().len(), 4);

    let server = Server::start(|_, _| reply(&["503 x", "Retry-After: 301", "Content-Length: 0"], b"")).await;
    let error = list(&server, "hf://org/name").await.unwrap_err();
    assert!(error.to_string().ends_with("answers 503 Service Unavailable, asks to wait 301 s"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_three_times() {
    let server = Server::start(|_, _| Reply::default().close()).await;
    let error = list(&server, "hf://org/name").await.unwrap_err();
    assert!(matches!(error, ListingError::NotGiven { fault: Fault::Unreachable(_), .. }), "{error}");
    assert_eq!(server.requests().len(), 3);
}

fn sums(paths: &[&str]) -> Reply {
    ok(&paths.iter().map(|path| format!("{SHA256}  ./{path}\n")).collect::<String>())
}

#[tokio::test]
async fn a_folder_with_sums_is_asked_for_the_length_of_each_file() {
    let server = Server::start(|request, _| match target(request) {
        "/m/SHA256SUMS?key=1" => sums(&["partial", "whole", "empty", "sub/a%20b"]),
        "/m/whole?key=1" => reply(&["200 OK", "Content-Length: 7"], b"0123456"),
        "/m/empty?key=1" => reply(&["416 x", "Content-Range: bytes */0", "Content-Length: 0"], b""),
        "/m/partial?key=1" => redirect("/elsewhere"),
        _ => reply(&["206 x", "Content-Range: bytes 0-0/9", "Content-Length: 1"], b"0"),
    });
    let server = server.await;
    let address = server.url("/m/?key=1");
    let listing = list(&server, &address).await.unwrap();
    assert_eq!((listing.origin, listing.commit), (server.url("/m"), None));
    let sizes: Vec<_> = listing.files.iter().map(|file| (file.path.as_str(), file.size)).collect();
    assert_eq!(sizes, [("empty", 0), ("partial", 9), ("sub/a%20b", 9), ("whole", 7)]);
    assert!(server.targets().contains(&"/m/sub/a%2520b?key=1".to_owned()));
    assert!(server.requests()[1..].iter().all(|request| request.contains("\r\nrange: bytes=0-0\r\n")));
}

#[tokio::test]
async fn a_folder_that_does_not_say_a_length_is_not_listed() {
    for (answer, said) in [
        (status("404 x"), "a: has no such file"),
        (reply(&["206 x", "Content-Length: 1"], b"0"), "a: does not say how long the file is"),
        (
            reply(&["200 x", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
            "a: does not say how long the file is",
        ),
        (
            reply(&["200 x", "Content-Encoding: gzip", "Content-Length: 1"], b"0"),
            "a: answers compressed, unasked",
        ),
    ] {
        let server = Server::start(move |request, _| match target(request) {
            "/m/SHA256SUMS" => sums(&["a"]),
            _ => answer.clone(),
        });
        let server = server.await;
        let error = list(&server, &server.url("/m")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{} does not list its files: {said}", server.url("/m")));
    }
    let huge = reply(&["206 x", "Content-Range: bytes 0-0/9007199254740992", "Content-Length: 1"], b"0");
    let server = Server::start(move |request, _| match target(request) {
        "/SHA256SUMS" => sums(&["a"]),
        _ => huge.clone(),
    });
    let server = server.await;
    let error = list(&server, &server.url("/")).await.unwrap_err();
    assert_eq!(malformed(&error), ("a", &ListingFault::Size { size: 1 << 53 }));
}

#[tokio::test]
async fn only_hubs_and_safe_web_servers_have_listings() {
    let server = Server::start(|_, _| status("404 x")).await;
    for (text, said) in [
        ("model", "only hubs (hf://) and folders of web servers with SHA256SUMS list their files"),
        ("s3://bucket/x", "only hubs (hf://) and folders of web servers with SHA256SUMS list their files"),
        ("http://192.0.2.1/m", "a listing has to come by https, or from this machine"),
        ("http://localhost.example/m", "a listing has to come by https, or from this machine"),
        ("hf://a/b/c", "not an address of a source (hf): it has to be hf://org/name[@revision]"),
    ] {
        let error = list(&server, text).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.error_code().get()), (said, 9001));
    }
    let options =
        SourceOptions { hub_endpoint: Some("http://hub.example".to_owned()), ..SourceOptions::default() };
    let error = SourceFactory::new().list("hf://org/name", &options).await.unwrap_err();
    assert_eq!(error, ListingError::NoTls);
}
