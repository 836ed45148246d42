//! Claims of members of swarms, and answers that hold bytes back.

use std::time::Duration;

use weighbridge_manifest::EntryPath;
use weighbridge_tree::FileRoot;

use super::{FILE, Reply, Server, good, good_range, reply, rest, source};
use crate::{
    Claim, Fault, Source, SourceFactory, SourceOptions, What,
    source::{contract, http::scripted::redirect},
};

const CLAIM: Claim =
    Claim { tag: *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff", lease: LEASE };
const LEASE: Duration = Duration::from_millis(8_500);
const LINE: &str = "\r\nweighbridge-claim: 000102030405060708090a0b0c0d0eff 8500\r\n";

fn what() -> What {
    let path = EntryPath::parse("a/b").unwrap();
    What::File { path, root: FileRoot::from_bytes([0; 32]), size: 10 }
}

/// Bytes 2 to 5 of [`FILE`], as a member of a swarm asks for them.
async fn claimed(source: &dyn Source) -> Result<(u64, Vec<u8>), Fault> {
    let body = source.open_claimed(&what(), 2..6, &CLAIM).await?;
    Ok((body.start(), rest(body).await?))
}

fn held_back(value: &str) -> Reply {
    reply(&["409 Conflict", &format!("Weighbridge-Claim: {value}"), "Content-Length: 3"], b"no\n")
}

#[tokio::test]
async fn a_claim_is_a_header_of_its_request_alone() {
    let server = Server::start(|_, _| good()).await;
    let source = source(&server.url("/base"));
    assert_eq!(claimed(&source).await, good_range());
    assert_eq!(rest(source.open(&what(), 2..6).await.unwrap()).await.unwrap(), FILE[2..6]);
    let requests = server.requests();
    assert!(requests[0].contains(LINE), "{}", requests[0]);
    assert!(!requests[1].contains("weighbridge-claim"), "{}", requests[1]);
}

/// The rest of what was asked for is not another claim: a server that gave the beginning would hold the rest back.
#[tokio::test]
async fn the_rest_of_an_answer_is_asked_for_without_the_claim() {
    let short = |range: &str, body: &[u8]| {
        let range = format!("Content-Range: bytes {range}/10");
        reply(&["206 Partial Content", &range, &format!("Content-Length: {}", body.len())], body)
    };
    let server =
        Server::start(move |_, n| if n == 0 { short("2-3", b"23") } else { short("4-5", b"45") }).await;
    assert_eq!(claimed(&source(&server.url(""))).await, good_range());
    let requests = server.requests();
    assert!(requests[0].contains(LINE) && !requests[1].contains("weighbridge-claim"), "{requests:?}");
}

#[tokio::test]
async fn a_claim_is_sent_neither_to_where_a_redirect_leads_nor_to_a_hub() {
    let server = Server::start(|request, _| match request.split(' ').nth(1).unwrap() {
        "/base/a/b" => redirect("/other"),
        target if target.starts_with("/api/") => {
            let body = format!("{{\"sha\":\"{}\"}}", "1".repeat(40));
            reply(&["200 OK", &format!("Content-Length: {}", body.len())], body.as_bytes())
        }
        _ => good(),
    })
    .await;
    let web = source(&server.url("/base"));
    // The second request goes to where the first one was led.
    for _ in 0..2 {
        assert_eq!(claimed(&web).await, good_range());
    }
    let options = SourceOptions { hub_endpoint: Some(server.url("")), ..SourceOptions::default() };
    let hub = SourceFactory::new().parse("hf://org/name", &options).unwrap();
    assert_eq!(claimed(&*hub).await, good_range());
    let requests = server.requests();
    assert_eq!(server.targets()[..3], ["/base/a/b", "/other", "/other"]);
    let claims: Vec<_> = requests.iter().map(|request| request.contains("weighbridge-claim")).collect();
    assert_eq!(claims, [true, false, false, false, false], "{requests:?}");
}

#[tokio::test]
async fn bytes_that_another_member_is_given_are_held_back_and_the_source_stays_as_good() {
    let server = Server::start(|_, n| if n == 0 { held_back("1500") } else { good() }).await;
    let source = source(&server.url(""));
    assert_eq!(claimed(&source).await, Err(Fault::HeldBack(Duration::from_millis(1_500))));
    assert_eq!(claimed(&source).await, good_range());
}

#[tokio::test]
async fn nothing_is_held_back_from_a_request_without_a_claim() {
    let server = Server::start(|_, _| held_back("1500")).await;
    let source = source(&server.url(""));
    let refused = |fault| assert!(matches!(fault, Fault::Refused(_)), "{fault:?}");
    refused(contract::open(&source, &what(), 2..6).await.map(drop).unwrap_err());
    refused(contract::open_for(&source, &what(), 2..6, None).await.map(drop).unwrap_err());
    refused(contract::whole(&source, &What::Head, 99).await.unwrap_err());
    let held = contract::open_for(&source, &what(), 2..6, Some(&CLAIM)).await.map(drop).unwrap_err();
    assert_eq!(held, Fault::HeldBack(Duration::from_millis(1_500)));
}

#[tokio::test]
async fn a_conflict_that_says_no_time_is_a_refusal() {
    for value in ["", "0", "60001", "-1", "+1", "1.5", "1s", "1, 2", "99999999999999999999"] {
        let server = Server::start(move |_, _| held_back(value)).await;
        let fault = claimed(&source(&server.url(""))).await.unwrap_err();
        assert_eq!(fault, Fault::Refused("answers 409 Conflict".to_owned()), "{value}");
    }
    // With other statuses the header says nothing.
    for (status, is_busy) in [("429 x", true), ("503 x", true), ("403 x", false)] {
        let answer = move || reply(&[status, "Weighbridge-Claim: 1500", "Content-Length: 0"], b"");
        let server = Server::start(move |_, _| answer()).await;
        let fault = claimed(&source(&server.url(""))).await.unwrap_err();
        assert_eq!(matches!(fault, Fault::Busy { .. }), is_busy, "{fault:?}");
        assert!(!matches!(fault, Fault::HeldBack(_)));
    }
}
