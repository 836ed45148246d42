use std::{
    env,
    time::{Duration, Instant},
};

use crate::source::{
    Fault, Source as _, SourceFactory, SourceOptions,
    bucket::BucketSource,
    http::scripted::{Reply, Server, in_child, redirect, reply, status},
    paths::PathSource,
};

type Bucket = PathSource<BucketSource>;

const AT: &str = "WEIGHBRIDGE_TEST_AT";

async fn range(source: &Bucket, path: &str) -> Result<(u64, Vec<u8>), Fault> {
    let mut body = source.read(path.to_owned(), 2..6, 10, None).await?;
    let mut all = Vec::new();
    while let Some(bytes) = body.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok((body.start(), all))
}

fn source(url: &str) -> Bucket {
    SourceFactory::new().bucket(url).unwrap()
}

fn good() -> Reply {
    reply(&["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"], b"2345")
}

fn good_range() -> Result<(u64, Vec<u8>), Fault> {
    Ok((2, b"2345".to_vec()))
}

fn is_child() -> bool {
    env::var_os(AT).is_some()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// The answer of the scripted bucket for each file, of S3, Google or Azure.
fn answer(request: &str) -> Reply {
    // Google's objects are one segment each, with everything escaped.
    let line = decoded(request.lines().next().unwrap());
    match line.split([' ', '/']).rfind(|part| part.contains('_')).unwrap_or_default() {
        "chunked_range" => {
            let head = ["206 Partial Content", "Content-Range: bytes 2-5/*", "Transfer-Encoding: chunked"];
            reply(&head, b"4\r\n2345\r\n0\r\n\r\n")
        }
        "odd_range" if request.contains("\r\nrange: ") => status("416 Range Not Satisfiable"),
        "no_ranges" | "odd_range" => reply(&["200 OK", "Content-Length: 10"], b"0123456789"),
        "other_size" => {
            let head = ["206 Partial Content", "Content-Range: bytes 2-5/11", "Content-Length: 4"];
            reply(&head, b"2345")
        }
        "cut_off" => {
            let head = ["206 Partial Content", "Content-Range: bytes 2-5/10", "Content-Length: 4"];
            reply(&head, b"23").close()
        }
        "not_there" => status("404 Not Found"),
        "not_yours" => status("403 Forbidden"),
        "too_much" => reply(&["503 Slow Down", "Retry-After: 3", "Content-Length: 0"], b""),
        "some_error" => status("500 Internal Server Error"),
        "moved_on" => redirect("/elsewhere"),
        "whole_file" => reply(&["200 OK", "Content-Length: 3"], b"abc"),
        _ => good(),
    }
}

/// Checks a bucket source against all answers that a bucket of any kind may give.
async fn meets_every_answer(source: &Bucket) {
    assert_eq!(range(source, "good").await, good_range());
    assert_eq!(range(source, "sub/ä b%#?.bin").await, good_range());
    assert_eq!(range(source, "no_ranges").await, Ok((0, b"012345".to_vec())));
    assert_eq!(range(source, "odd_range").await, Ok((0, b"012345".to_vec())));
    assert_eq!(range(source, "chunked_range").await, good_range());
    assert_eq!(range(source, "moved_on").await, good_range());
    let other = Err(Fault::OtherFile("has 11 bytes, signed are 10".to_owned()));
    assert_eq!(range(source, "other_size").await, other);
    let cut_off = Err(Fault::Unreachable("ended after 2 of 4 bytes".to_owned()));
    assert_eq!(range(source, "cut_off").await, cut_off);
    assert_eq!(range(source, "not_there").await, Err(Fault::Missing));
    let not_yours = Err(Fault::Refused("answers 403 Forbidden".to_owned()));
    assert_eq!(range(source, "not_yours").await, not_yours);
    let too_much = range(source, "too_much").await.unwrap_err().to_string();
    assert_eq!(too_much, "answers 503 Service Unavailable, asks to wait 3 s");
    let error = range(source, "some_error").await;
    assert!(matches!(error, Err(Fault::Busy { retry_after: None, .. })), "{error:?}");
    assert_eq!(source.whole_at("whole_file", 3).await, Ok(b"abc".to_vec()));
    assert!(matches!(source.whole_at("whole_file", 2).await, Err(Fault::OtherFile(_))));
    assert_eq!(source.whole_at("not_there", 2).await, Err(Fault::Missing));
}

/// The objects that [`meets_every_answer`] asks for. Each is asked for once, except the one with an odd range: the
/// source never retries.
fn targets(folder: &str) -> Vec<String> {
    let object = |name: &str| format!("{folder}/{name}");
    let good = [
        "good",
        "sub/%c3%a4%20b%25%23%3f.bin",
        "no_ranges",
        "odd_range",
        "odd_range",
        "chunked_range",
        "moved_on",
    ];
    let mut targets: Vec<_> = good.map(object).into();
    targets.push("/elsewhere".to_owned());
    let faulty = ["other_size", "cut_off", "not_there", "not_yours", "too_much", "some_error"];
    targets.extend(faulty.map(object));
    targets.extend(["whole_file", "whole_file", "not_there"].map(object));
    targets
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_bucket_is_judged_as_a_web_server_is() {
    if is_child() {
        let source = source("s3://models/a/b/");
        assert_eq!(source.name(), "s3://models/a/b");
        assert!(!format!("{source:?}").contains("SECRET"));
        return meets_every_answer(&source).await;
    }
    let server = Server::start(|request, _| answer(request)).await;
    let environment = [
        (AT, "1".to_owned()),
        ("AWS_ENDPOINT", server.url("")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "KEYID".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "SECRET".to_owned()),
    ];
    in_child(module_path!(), "an_s3_bucket_is_judged_as_a_web_server_is", &environment).await.unwrap();
    assert_eq!(server.targets(), targets("/models/a/b"));
    for request in server.requests() {
        let signed = request.contains("\r\nauthorization: aws4-hmac-sha256 credential=keyid/");
        assert_eq!(signed, !request.starts_with("get /elsewhere "), "{request}");
        assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
        let whole = ["whole_file", "odd_range"].iter().any(|name| request.contains(name))
            || request.starts_with("get /models/a/b/not_there ");
        assert!(whole || request.contains("\r\nrange: bytes=2-5\r\n"), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_azure_container_is_judged_as_a_web_server_is() {
    if is_child() {
        return meets_every_answer(&source("az://models/a")).await;
    }
    let server = Server::start(|request, _| answer(request)).await;
    let environment = [
        (AT, "1".to_owned()),
        ("AZURE_STORAGE_ENDPOINT", server.url("")),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account".to_owned()),
        ("AZURE_SKIP_SIGNATURE", "true".to_owned()),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
    ];
    in_child(module_path!(), "an_azure_container_is_judged_as_a_web_server_is", &environment).await.unwrap();
    assert_eq!(server.targets(), targets("/models/a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_google_bucket_is_judged_as_a_web_server_is() {
    if is_child() {
        return meets_every_answer(&source("gs://models/a")).await;
    }
    let server = Server::start(|request, _| answer(request)).await;
    let environment = [
        (AT, "1".to_owned()),
        ("GOOGLE_BASE_URL", server.url("")),
        ("GOOGLE_SKIP_SIGNATURE", "true".to_owned()),
        ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
    ];
    in_child(module_path!(), "a_google_bucket_is_judged_as_a_web_server_is", &environment).await.unwrap();
    let decoded = |targets: Vec<String>| targets.iter().map(|target| decoded(target)).collect::<Vec<_>>();
    assert_eq!(decoded(server.targets()), decoded(targets("/models/a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_tls_has_to_be_allowed() {
    if is_child() {
        let refused =
            Fault::Refused("has an endpoint without TLS, which only AWS_ALLOW_HTTP=true allows".to_owned());
        assert_eq!(range(&source("s3://models/a"), "x").await, Err(refused));
        return;
    }
    let server = Server::start(|_, _| good()).await;
    let environment =
        [(AT, "1".to_owned()), ("AWS_ENDPOINT", server.url("")), ("AWS_SKIP_SIGNATURE", "true".to_owned())];
    in_child(module_path!(), "an_endpoint_without_tls_has_to_be_allowed", &environment).await.unwrap();
    assert!(server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_machine_or_are_told_to_be_missing() {
    const TEST: &str = "credentials_come_from_the_machine_or_are_told_to_be_missing";
    if let Ok(at) = env::var(AT) {
        let begun = Instant::now();
        let got = range(&source("s3://models/a"), "x").await;
        let told = |what| {
            format!(
                "has no credentials: not in the environment, not in profile `default`, and the machine's metadata \
                 service {what}"
            )
        };
        match (at.as_str(), got) {
            ("good", got) => assert_eq!(got, good_range()),
            ("refusing", Err(Fault::Refused(what))) => {
                assert!(what.starts_with(&told("gives none: ")) && what.contains("403"), "{what}");
            }
            ("dead" | "silent", Err(Fault::Unreachable(what))) => assert_eq!(what, told("does not answer")),
            (at, got) => panic!("{at}: {got:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        return;
    }
    let server = Server::start(|request, _| match request.split(' ').nth(1).unwrap() {
        "/latest/api/token" => reply(&["200 OK", "Content-Length: 5"], b"token"),
        "/latest/meta-data/iam/security-credentials/" => reply(&["200 OK", "Content-Length: 4"], b"role"),
        "/latest/meta-data/iam/security-credentials/role" => {
            reply(&["200 OK", &format!("Content-Length: {}", ROLE.len())], ROLE.as_bytes())
        }
        _ => good(),
    });
    let (server, refusing) = (server.await, Server::start(|_, _| status("403 Forbidden")).await);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = Server::start(|_, _| Reply::default()).await;
    for (at, machine) in [
        ("good", server.url("")),
        ("refusing", refusing.url("")),
        ("dead", format!("http://{dead}")),
        ("silent", silent.url("")),
    ] {
        let environment = [
            (AT, at.to_owned()),
            ("AWS_ENDPOINT", server.url("")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_METADATA_ENDPOINT", machine),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ];
        in_child(module_path!(), TEST, &environment).await.unwrap();
    }
    let last = server.requests().pop().unwrap();
    assert!(last.starts_with("get /models/a/x ") && last.contains("credential=rolekey/"), "{last}");
}

const ROLE: &str =
    r#"{"AccessKeyId":"ROLEKEY","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_profile_where_the_environment_has_none() {
    const TEST: &str = "keys_come_from_a_profile_where_the_environment_has_none";
    if is_child() {
        match SourceFactory::new().bucket("s3://models/a") {
            Ok(source) => assert_eq!(range(&source, "x").await, good_range()),
            Err(error) => println!("told: {error}"),
        }
        return;
    }
    let server = Server::start(|_, _| good()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let credentials = "[me]\naws_access_key_id = MINE\naws_secret_access_key = s\naws_session_token = t\n";
    let endpoint = server.url("");
    let config =
        format!("[profile me]\nregion = mars-1\nendpoint_url = {endpoint}\n[profile sso]\nsso_session = x\n");
    let environment = [
        (AT, "1".to_owned()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", file("credentials", credentials.to_owned())),
        ("AWS_CONFIG_FILE", file("config", config)),
    ];
    let run = async |more: &[(&'static str, &str)]| {
        let mut environment = environment.to_vec();
        environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        in_child(module_path!(), TEST, &environment).await.unwrap()
    };
    run(&[("AWS_PROFILE", "me")]).await;
    let request = server.requests().pop().unwrap();
    assert!(request.contains(" credential=mine/") && request.contains("/mars-1/s3/"), "{request}");
    assert!(request.contains("\r\nx-amz-security-token: t\r\n"), "{request}");
    // The environment takes precedence, and then nothing of the profile is read.
    let keys = [("AWS_ACCESS_KEY_ID", "GIVEN"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ENDPOINT", &endpoint)];
    run(&[&keys[..], &[("AWS_PROFILE", "sso")]].concat()).await;
    let request = server.requests().pop().unwrap();
    assert!(request.contains(" credential=given/") && !request.contains("security-token"), "{request}");
    run(&[("AWS_PROFILE", "me"), ("AWS_REGION", "venus-1")]).await;
    assert!(server.requests().pop().unwrap().contains("/venus-1/s3/"));
    // An empty variable counts as none.
    let empty = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"]
        .map(|name| (name, ""));
    run(&[&empty[..], &[("AWS_PROFILE", "me")]].concat()).await;
    let request = server.requests().pop().unwrap();
    assert!(request.contains(" credential=mine/") && request.contains("/mars-1/s3/"), "{request}");
    let told = "told: no credentials for a bucket: profile `sso` gets its keys by single sign-on (SSO), which is not read";
    assert!(run(&[("AWS_PROFILE", "sso")]).await.contains(told));
    let told = "told: no credentials for a bucket: the environment has AWS_SESSION_TOKEN, and no keys that it belongs to";
    assert!(run(&[("AWS_PROFILE", "me"), ("AWS_SESSION_TOKEN", "t")]).await.contains(told));
    assert!(run(&[("AWS_PROFILE", "you")]).await.contains("profile `you` is not in "));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn settings_say_yes_in_several_words() {
    for (value, says_yes) in [("true", true), ("TRUE", true), ("1", true), ("false", false), ("", false)] {
        assert_eq!(super::is_true(value), says_yes, "{value}");
    }
}

#[test]
fn refuses_what_is_no_bucket_and_takes_no_credentials_in_its_address() {
    for text in ["s3://", "s3://key:secret@bucket/x", "s3://key@bucket/x", "gs://", "az://key:secret@x/y"] {
        let error = SourceFactory::new().parse(text, &SourceOptions::default()).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
