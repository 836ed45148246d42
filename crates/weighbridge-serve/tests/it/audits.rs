//! Audits: a challenge as the body of a request.

use std::time::{SystemTime, UNIX_EPOCH};

use weighbridge_serve::{Audits, Clients, Limits, Rules};
use weighbridge_testkit::{Folder, Key, Signed};
use weighbridge_verify::{
    Answered,
    manifest::{Challenge, SignedChallenge, Time, response_message},
    tree::Nonce,
};

use crate::kit::{Answer, Served, model};

struct Audited {
    folder: Folder,
    signed: Signed,
    served: Served,
    node: Key,
    auditor: Key,
}

impl Audited {
    fn new(clients: Option<Clients>) -> Self {
        let (folder, signed) = model();
        let (node, auditor) = (Key::new("node", 1), Key::new("auditor", 2));
        let signer = Key::new("node", 1);
        let sign = move |challenge: &_, response: &_| signer.sign(response_message(challenge, response));
        let audits = Some(Audits::new(node.vkey(), sign, [Key::new("another", 3).vkey(), auditor.vkey()]));
        let rules = Rules { audits, clients, ..Rules::default() };
        let served = Served::by(vec![folder.path().to_owned()], rules, Limits::default());
        Self { folder, signed, served, node, auditor }
    }

    fn challenge(&self, samples: u64, by: &Key) -> String {
        self.challenge_with(samples, by, |_| {})
    }

    fn challenge_with(&self, samples: u64, by: &Key, change: impl FnOnce(&mut Challenge)) -> String {
        let head = &self.signed.head;
        let mut challenge = Challenge {
            head: head.id(),
            root: head.head().root,
            prover: self.node.vkey(),
            nonce: Nonce::from_bytes([7; 32]),
            issued: now(-5),
            deadline: now(60),
            samples,
        };
        change(&mut challenge);
        let text = challenge.to_text().unwrap();
        format!("{text}\n{}\n", by.line(&text))
    }

    fn post(&self, body: &str) -> Answer {
        self.post_with(body, "X: y")
    }

    fn post_with(&self, body: &str, header: &str) -> Answer {
        let len = body.len();
        let head = format!(
            "POST /test/model/weighbridge/audit HTTP/1.1\r\nHost: localhost\r\n{header}\r\nContent-Length: {len}"
        );
        self.served.ask(&format!("{head}\r\n\r\n{body}"))
    }
}

fn now(seconds: i64) -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Time::from_unix(i64::try_from(since).unwrap() + seconds).unwrap()
}

#[test]
fn an_auditor_gets_a_response_that_it_accepts() {
    let audited = Audited::new(None);
    let note = audited.challenge(50, &audited.auditor);
    let answer = audited.post(&note);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let asked = SignedChallenge::parse(note.as_bytes()).unwrap().verify(&audited.auditor.vkey()).unwrap();
    let answered = Answered::check(&asked, &audited.signed.files, &answer.body, now(0), |_| false).unwrap();
    assert_eq!(answered.report().samples, 50);
}

#[test]
fn others_get_nothing_and_nothing_is_looked_up_for_them() {
    let audited = Audited::new(None);
    let stranger = Key::new("auditor", 9);
    assert_eq!(audited.post(&audited.challenge(1, &stranger)).status, 403);
    let note = audited.challenge(1, &audited.auditor);
    let changed = note.replace("samples 1", "samples 2");
    assert_eq!(audited.post(&changed).status, 403);
    assert_eq!(audited.post("").status, 400);
    assert_eq!(audited.post("nonsense").status, 400);
    assert_eq!(audited.post(&"x".repeat(200_000)).status, 413);
    assert_eq!(audited.served.get("/test/model/weighbridge/audit").status, 405);
    assert_eq!(audited.served.figure("weighbridge_lookups_total"), 0);
    // A server without a key of its own has no such path.
    let served = Served::of(&audited.folder);
    let head = "POST /test/model/weighbridge/audit HTTP/1.1\r\nHost: localhost";
    assert_eq!(served.ask(&format!("{head}\r\nContent-Length: {}\r\n\r\n{note}", note.len())).status, 404);
}

#[test]
fn clients_need_their_tokens_here_too() {
    let tokens = "ci 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 read *";
    let audited = Audited::new(Some(Clients::parse(tokens).unwrap()));
    let note = audited.challenge(1, &audited.auditor);
    assert_eq!(audited.post(&note).status, 401);
    assert_eq!(audited.post_with(&note, "Authorization: Bearer test").status, 200);
}

#[test]
fn a_challenge_that_cannot_be_answered_says_why() {
    let audited = Audited::new(None);
    let by = &audited.auditor;
    let refused = |note: &str| {
        let answer = audited.post(note);
        assert_eq!(answer.status, 400, "{}", answer.text());
        answer.text().rsplit("[W").next().unwrap()[..4].to_owned()
    };
    let other = audited.challenge_with(1, by, |asked| asked.prover = Key::new("node", 4).vkey());
    assert_eq!(refused(&other), "2702");
    let late = audited.challenge_with(1, by, |asked| asked.deadline = now(-1));
    assert_eq!(refused(&late), "2704");
    let of_another = audited
        .challenge_with(1, by, |asked| asked.head = weighbridge_verify::tree::HeadId::from_bytes([1; 32]));
    assert_eq!(refused(&of_another), "2701");
}

#[test]
fn a_node_that_has_lost_bytes_answers_nothing() {
    let audited = Audited::new(None);
    audited.folder.alter("model.bin", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
    let answer = audited.post(&audited.challenge(100, &audited.auditor));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("[W2102]"), "{}", answer.text());
    // The same challenge is answered once the file is mended.
    audited.folder.alter("model.bin", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
    assert_eq!(audited.post(&audited.challenge(100, &audited.auditor)).status, 200);
}

/// As users repair a file: another one takes its place.
#[test]
fn a_file_that_was_repaired_is_audited_at_once() {
    let audited = Audited::new(None);
    assert_eq!(audited.post(&audited.challenge(40, &audited.auditor)).status, 200);
    let content = std::fs::read(audited.folder.at("model.bin")).unwrap();
    audited.folder.write("new", &content);
    std::fs::rename(audited.folder.at("new"), audited.folder.at("model.bin")).unwrap();
    let another = |asked: &mut Challenge| asked.nonce = Nonce::from_bytes([9; 32]);
    assert_eq!(audited.post(&audited.challenge_with(40, &audited.auditor, another)).status, 200);
    let slice = audited.served.get("/test/model/weighbridge/slice?file=model.bin&bytes=5-9");
    assert_eq!(slice.status, 200);
}

#[test]
fn an_auditor_has_a_budget() {
    let audited = Audited::new(None);
    // Those that are not answered cost nothing, whoever sends them.
    for change in [
        |asked: &mut Challenge| asked.prover = Key::new("node", 4).vkey(),
        |asked: &mut Challenge| asked.deadline = now(-1),
    ] {
        assert_eq!(audited.post(&audited.challenge_with(4_096, &audited.auditor, change)).status, 400);
    }
    let whole = audited.challenge(4_096, &audited.auditor);
    assert_eq!(audited.post(&whole).status, 200);
    assert_eq!(audited.post(&whole).status, 409);
    let another = |asked: &mut Challenge| asked.nonce = Nonce::from_bytes([8; 32]);
    let enough = audited.post(&audited.challenge_with(4_096, &audited.auditor, another));
    assert_eq!(enough.status, 429);
    let wait: u64 = enough.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    // That of another auditor is its own.
    assert_eq!(audited.post(&audited.challenge(4_096, &Key::new("another", 3))).status, 200);
}
