use super::{Web, good, good_range, range, refused};
use crate::source::{
    Fault, Source as _, SourceFactory, SourceOptions,
    http::scripted::{Reply, Server, redirect, reply, status},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hub(server: &Server, text: &str) -> Web {
    let options = SourceOptions {
        hub_token: Some("hf_secret\n".to_owned()),
        headers: vec![("x-mine".parse().unwrap(), "1".parse().unwrap())],
        ..SourceOptions::default()
    };
    hub_with(server, text, options)
}

fn hub_with(server: &Server, text: &str, options: SourceOptions) -> Web {
    let options = SourceOptions { hub_endpoint: Some(server.url("/hub/")), ..options };
    SourceFactory::new().hub(text.strip_prefix("hf://").unwrap(), &options).unwrap()
}

fn named(sha: &str) -> Reply {
    let body = format!(r#"{{"id":"org/name","sha":"{sha}","siblings":[]}}"#);
    reply(&["200 OK", &format!("Content-Length: {}", body.len())], body.as_bytes())
}

#[tokio::test]
async fn a_hubs_revision_is_resolved_once_and_its_token_stays_there() {
    let network = Server::start(|_, _| good()).await;
    let signed = network.url("/signed");
    let server = Server::start(move |request, _| match request.split(' ').nth(1).unwrap() {
        "/hub/api/models/org/name/revision/refs%2Fpr%2F1?expand=sha" => named(COMMIT),
        _ => redirect(&signed),
    });
    let server = server.await;
    let source = hub(&server, "hf://org/name@refs/pr/1");
    assert_eq!(source.name(), "hf://org/name@refs/pr/1");
    let (a, b, c) = tokio::join!(
        source.read("x".to_owned(), 2..6, 10, None),
        source.read("y z".to_owned(), 2..6, 10, None),
        range(&source)
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let mut asked = server.targets();
    assert_eq!(asked.remove(0), "/hub/api/models/org/name/revision/refs%2fpr%2f1?expand=sha");
    asked.sort();
    let file = |path: &str| format!("/hub/org/name/resolve/{COMMIT}/{path}");
    assert_eq!(asked, [file("a/b"), file("x"), file("y%20z")]);
    for request in server.requests() {
        assert!(request.contains(TOKEN) && request.contains("\r\nx-mine: 1\r\n"), "{request}");
    }
    assert_eq!(network.targets(), ["/signed"; 3]);
    for request in network.requests() {
        assert!(!request.contains("authorization") && !request.contains("x-mine"), "{request}");
    }
}

/// The public hub redirects small files within itself, and gives those of private models only to requests with the
/// token.
#[tokio::test]
async fn a_hub_that_redirects_within_itself_is_sent_the_token_again_and_nobody_behind_it() {
    let network = Server::start(|_, _| good()).await;
    let away = network.url("/back");
    let server = Server::start(move |request, _| match request.split(' ').nth(1).unwrap() {
        "/hub/api/models/org/name/revision/main?expand=sha" => named(COMMIT),
        "/cached/small" => good(),
        "/cached/large" => redirect(&away),
        path if path.ends_with("/a/b") => redirect("/cached/small"),
        _ => redirect("/cached/large"),
    });
    let server = server.await;
    let source = hub(&server, "hf://org/name");
    for _ in 0..2 {
        assert_eq!(range(&source).await, good_range());
    }
    for _ in 0..2 {
        assert!(source.read("large".to_owned(), 2..6, 10, None).await.is_ok());
    }
    let small = format!("/hub/org/name/resolve/{COMMIT}/a/b");
    let large = format!("/hub/org/name/resolve/{COMMIT}/large");
    let asked = server.targets().split_off(1);
    assert_eq!(asked, [&small, "/cached/small", &small, "/cached/small", &large, "/cached/large"]);
    for request in server.requests() {
        let is_first = request.contains("/hub/");
        assert!(request.contains(TOKEN) && request.contains("x-mine") == is_first, "{request}");
    }
    assert_eq!(network.targets(), ["/back"; 2]);
    assert!(network.requests().iter().all(|request| !request.contains("authorization")));
}

const TOKEN: &str = "\r\nauthorization: bearer hf_secret\r\n";

#[tokio::test]
async fn a_hub_that_does_not_name_a_commit_is_asked_again_the_next_time() {
    let server = Server::start(|request, n| match n {
        0 => status("503 x"),
        1 => named("../../../../evil"),
        2 => named(&COMMIT.to_uppercase()),
        3 => reply(&["200 OK", "Content-Length: 2"], b"[]"),
        4 => reply(&["200 OK", "Content-Length: 1048577"], b""),
        5 => status("404 x"),
        _ if request.contains("/revision/main") => named(COMMIT),
        _ => good(),
    });
    let server = server.await;
    let source = hub(&server, "hf://org/name");
    assert!(matches!(range(&source).await, Err(Fault::Busy { .. })));
    for _ in 1..4 {
        assert_eq!(range(&source).await, refused("does not say which commit the revision is"));
    }
    assert_eq!(
        range(&source).await,
        refused("its answer about the revision has 1048577 bytes, and may have at most 1048576")
    );
    assert_eq!(range(&source).await, refused("has no such model, or no such revision of it"));
    assert_eq!(range(&source).await, good_range());
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn a_model_may_have_no_organisation() {
    let server = Server::start(|request, _| match request.split(' ').nth(1).unwrap() {
        "/hub/api/models/gpt2/revision/main?expand=sha" => named(COMMIT),
        _ => good(),
    });
    let server = server.await;
    assert_eq!(range(&hub(&server, "hf://gpt2")).await, good_range());
    assert_eq!(server.targets()[1], format!("/hub/gpt2/resolve/{COMMIT}/a/b"));
}

/// A hub that answers as one does to an expired token: it denies everything, and without a token gives what is public.
async fn expired(public: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request, _| match request.contains("authorization: ") {
        true => status("401 Unauthorized"),
        false if request.contains("/api/models/") => named(COMMIT),
        false => public(request),
    })
    .await
}

fn kept(token: &str) -> SourceOptions {
    SourceOptions { kept_hub_token: Some(token.to_owned()), ..SourceOptions::default() }
}

/// Regression: a public model could not be fetched on a machine where a login had expired.
#[tokio::test]
async fn a_kept_token_that_has_expired_is_sent_once_and_a_given_one_stays_refused() {
    let server = expired(|_| good()).await;
    let source = hub_with(&server, "hf://org/name", kept("hf_old\n"));
    for _ in 0..3 {
        assert_eq!(range(&source).await, good_range());
    }
    assert_eq!(source.whole_at("x", 10).await, refused("answers 206 Partial Content"));
    let with_token: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.contains("authorization: bearer hf_old\r\n"))
        .collect();
    assert_eq!(with_token, [true, false, false, false, false, false]);

    let server = expired(|_| good()).await;
    let given = SourceOptions { hub_token: Some("hf_given".to_owned()), ..kept("hf_old") };
    let source = hub_with(&server, "hf://org/name", given);
    assert_eq!(range(&source).await, refused("answers 401 Unauthorized"));
    assert_eq!(server.requests().len(), 1);
    assert!(server.requests()[0].contains("authorization: bearer hf_given\r\n"));
}

#[tokio::test]
async fn a_kept_token_that_is_good_is_always_sent() {
    let server = Server::start(|request, _| match request.contains("authorization: Bearer hf_good\r\n") {
        false => status("401 Unauthorized"),
        true if request.contains("/api/models/") => named(COMMIT),
        true if request.contains("/gated ") => status("403 Forbidden"),
        true => good(),
    });
    let server = server.await;
    let source = hub_with(&server, "hf://org/name", kept("hf_good"));
    assert_eq!(range(&source).await, good_range());
    // One file is denied with the token and without it. The answer with the token is reported, and the token is still
    // sent.
    assert_eq!(source.whole_at("gated", 9).await, refused("answers 403 Forbidden"));
    assert_eq!(range(&source).await, good_range());
    let without = |request: &&String| !request.contains("authorization: ");
    assert_eq!(server.requests().iter().filter(without).count(), 1);
}

#[tokio::test]
async fn what_a_hub_says_without_a_kept_token_is_told_as_it_is() {
    let server = expired(|request| match request.contains("/busy ") {
        true => reply(&["503 x", "Retry-After: 3", "Content-Length: 0"], b""),
        false => status("404 Not Found"),
    });
    let server = server.await;
    let source = hub_with(&server, "hf://org/name", kept("hf_old"));
    assert_eq!(source.whole_at("none", 9).await, Err(Fault::Missing));
    assert!(matches!(source.whole_at("busy", 9).await, Err(Fault::Busy { retry_after: Some(_), .. })));
}

#[tokio::test]
async fn a_kept_token_gives_way_to_headers_and_one_that_no_header_can_have_is_none() {
    let server = Server::start(|request, _| match request.contains("/api/models/") {
        true => named(COMMIT),
        false => good(),
    });
    let server = server.await;
    let header = ("authorization".parse().unwrap(), "Bearer mine".parse().unwrap());
    let source =
        hub_with(&server, "hf://org/name", SourceOptions { headers: vec![header], ..kept("hf_old") });
    assert_eq!(range(&source).await, good_range());
    assert!(server.requests().iter().all(|request| request.contains("authorization: bearer mine\r\n")));
    let source = hub_with(&server, "hf://org/name", kept("a\nb"));
    assert_eq!(range(&source).await, good_range());
    assert!(!server.requests()[2].contains("authorization"));
}
