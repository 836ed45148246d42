//! Pushes into stores in memory, and the answers of a scripted S3.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use weighbridge_bandwidth::Share;
use weighbridge_testkit::{Folder, bytes};
use weighbridge_tree::{ChunkSize, Coded as _};

use super::{Bucket, Place, object::draw};
use crate::{
    PushError, PushEvent, PushOptions, PushProgress, PushTarget, PushTargets, Stop,
    board::lock,
    push::{push, target::To},
    source::http::scripted::{Server, in_child, reply},
};

mod odd;
use odd::Odd;

/// A model in chunks of 16 KiB, of which one file is larger than the parts below: of seven chunks, in four parts.
fn model() -> Folder {
    model_of(1)
}

fn model_of(seed: u8) -> Folder {
    let files = [
        ("a/ä b%#?.bin", bytes(612, seed)),
        ("a/twin.bin", bytes(612, seed)),
        ("empty.txt", Vec::new()),
        ("model.bin", bytes(LARGE, seed)),
        ("small.bin", bytes(20_000, seed)),
    ];
    Folder::weighed(&files, ChunkSize::MIN).0
}

const LARGE: usize = 100_000;
const PART: u64 = 32 << 10;
const WANTED: u64 = 612 + LARGE as u64 + 20_000;
const HEAD: &str = "models/tiny/weighbridge/head.note";
/// The writes of a whole push, but for those of the large file.
const SMALL: [&str; 4] = ["a/ä b%#?.bin", "a/twin.bin", "empty.txt", "small.bin"];
const LISTS: [&str; 3] = ["weighbridge/files.jsonl", "weighbridge/tensors.jsonl", "weighbridge/chunks.layer"];

struct Pushed {
    ended: Result<(), PushError>,
    progress: PushProgress,
    /// The reasons why the store was tried again.
    waited: Vec<String>,
}

async fn push_into(store: &Odd, model: &Folder) -> Pushed {
    push_with(store, model, Duration::from_secs(20), &Stop::default()).await
}

async fn push_with(store: &Odd, model: &Folder, patience: Duration, stop: &Stop) -> Pushed {
    let bucket = Bucket::of(Place::of(store.clone(), "models/tiny"), PART);
    let target =
        PushTarget { name: "mem://models/tiny".to_owned(), to: To::Bucket(bucket), waits: Duration::ZERO };
    let told = std::sync::Mutex::new((PushProgress::default(), Vec::new(), None));
    let tell = |event| {
        let mut told = lock(&told);
        match event {
            PushEvent::Progress(0, progress) => {
                assert!(progress.verified >= told.0.verified && progress.durable >= told.0.durable);
                assert!(progress.durable <= progress.verified && progress.verified <= progress.wanted);
                told.0 = progress;
            }
            PushEvent::Waiting(0, waiting) => told.1.push(format!("{:?}", waiting.reason)),
            PushEvent::Done(0, None) => told.2 = Some(Ok(())),
            PushEvent::Failed(0, error) => told.2 = Some(Err(error)),
            PushEvent::Begun { .. } => {}
            event => panic!("{event:?}"),
        }
    };
    let options = PushOptions { model: model.path().to_owned(), targets: vec![target], patience };
    let done = push(options, &tell, stop).await.unwrap();
    let (progress, waited, ended) = told.into_inner().unwrap();
    let ended = ended.expect("the end is told").map_err(|error| std::sync::Arc::into_inner(error).unwrap());
    assert_eq!(done, usize::from(ended.is_ok()));
    Pushed { ended, progress, waited }
}

/// Asserts that the bucket has all of the model.
async fn assert_there(store: &Odd, model: &Folder) {
    for path in SMALL.iter().chain(&LISTS).chain(&["model.bin", "weighbridge/head.note"]) {
        let there = store.content(&format!("models/tiny/{path}")).await;
        assert!(there == Some(std::fs::read(model.at(path)).unwrap()), "{path}");
    }
}

fn writes(record: &[String], path: &str) -> usize {
    record.iter().filter(|write| write.starts_with(&format!("put models/tiny/{path}"))).count()
}

#[tokio::test]
async fn every_object_is_there_and_the_head_is_written_last() {
    let (store, model) = (Odd::default(), model());
    // Parts that are sent one after another would not end.
    store.waits_for_two.store(true, SeqCst);
    let Pushed { ended, progress, .. } = push_into(&store, &model).await;
    ended.unwrap();
    assert_there(&store, &model).await;
    let sent = WANTED + 612;
    assert_eq!(progress, PushProgress { sent, verified: WANTED, durable: WANTED, wanted: WANTED });

    let record = store.take_record();
    let at = |write: &str| record.iter().position(|done| done == write).expect(write);
    assert_eq!(at(&format!("put {HEAD}")), record.len() - 1);
    for path in SMALL {
        assert!(at(&format!("put models/tiny/{path}")) < at("begin models/tiny/model.bin"));
    }
    for list in LISTS {
        assert!(at(&format!("put models/tiny/{list}")) > at("complete models/tiny/model.bin"));
    }
    let parts: Vec<_> = record.iter().filter(|write| write.starts_with("part ")).collect();
    assert_eq!(parts.len(), 4, "{record:?}");
    assert_eq!(record.len(), SMALL.len() + LISTS.len() + 1 + 4 + 2, "{record:?}");
}

#[tokio::test]
async fn a_file_that_has_changed_is_not_sent_and_no_head_is_written() {
    let change_last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let shorten = |bytes: &mut Vec<u8>| bytes.truncate(10);
    for (path, change) in [
        ("model.bin", change_last as fn(&mut Vec<u8>)),
        ("small.bin", change_last),
        ("a/twin.bin", shorten),
        ("empty.txt", |bytes| bytes.push(0)),
    ] {
        let (store, model) = (Odd::default(), model());
        model.alter(path, change);
        let error = push_into(&store, &model).await.ended.unwrap_err();
        assert!(matches!(&error, PushError::Changed { path: at } if at == path), "{path}: {error:?}");
        assert_eq!(store.content(HEAD).await, None);
        let record = store.take_record();
        assert!(!record.iter().any(|write| write.contains("head.note")), "{record:?}");
        // Chunks before the changed one were sent in parts, and are given up.
        let count = |what: &str| record.iter().filter(|write| write.starts_with(what)).count();
        assert_eq!(count("abort "), usize::from(path == "model.bin"), "{record:?}");
        assert_eq!(count("begin "), usize::from(path == "model.bin"), "{record:?}");
        assert!(!record.contains(&"part models/tiny/model.bin 3".to_owned()) || path != "model.bin");
    }
}

#[tokio::test]
async fn a_list_that_has_changed_since_it_was_read_is_not_sent() {
    let model = model();
    let opened = std::sync::Arc::new(super::Model::open(model.path()).unwrap());
    model.alter("weighbridge/files.jsonl", |bytes| bytes[10] ^= 1);
    let error = opened.list("files.jsonl").map(drop).unwrap_err();
    assert!(matches!(&error, PushError::Changed { path } if path == "files.jsonl"), "{error:?}");
    model.alter("weighbridge/chunks.layer", |bytes| bytes[10] ^= 1);
    let length = opened.layers_len();
    let error = opened.read_judged(&super::Judged::Layers, &(0..length)).unwrap_err();
    assert_eq!(error.error_code().get(), 2202);
}

#[tokio::test]
async fn each_object_is_read_back_and_more_of_large_ones_and_all_that_was_wrong() {
    let model = model();
    let opened = super::Model::open(model.path()).unwrap();
    let bucket = Bucket::of(Place::of(Odd::default(), ""), PART);
    let objects = super::Object::files(&bucket, &opened).unwrap();
    let objects: Vec<_> = objects.iter().collect();
    objects[3].state().wrong = Some(6);
    for _ in 0..20 {
        let drawn = draw(&objects, 0).unwrap();
        assert!((0..objects.len()).all(|number| drawn.iter().any(|(of, _)| *of == number)));
        assert!(drawn.contains(&(3, 6)) && drawn.len() <= objects.len() + 1);
    }
    // Of 1 + 1 + 1 + 7 + 2 chunks, with the one that the empty file has not.
    let all = draw(&objects, 5_000).unwrap();
    assert_eq!(all.len(), 12);
    assert!(all.iter().all(|(number, unit)| *unit < objects[*number].units().max(1)));
}

#[tokio::test]
async fn layers_are_read_in_any_parts() {
    let model = model();
    let opened = super::Model::open(model.path()).unwrap();
    let all = std::fs::read(model.at("weighbridge/chunks.layer")).unwrap();
    let length = opened.layers_len();
    assert_eq!(length, all.len() as u64);
    for start in (0..all.len()).step_by(29) {
        for end in (start..=all.len()).step_by(31) {
            let part = opened.read_judged(&super::Judged::Layers, &(start as u64..end as u64)).unwrap();
            assert!(part == all[start..end], "{start}..{end}");
        }
    }
}

#[tokio::test]
async fn an_object_that_reads_back_wrong_is_sent_once_more() {
    // One byte of each chunk; of a file of one chunk; of a list.
    for (path, at) in [("model.bin", 100), ("a/twin.bin", 0), ("weighbridge/files.jsonl", 7)] {
        let (store, model) = (Odd::default(), model());
        *lock(&store.spoils) = Some((path, at, 1));
        let Pushed { ended, progress, .. } = push_into(&store, &model).await;
        ended.unwrap();
        assert_there(&store, &model).await;
        assert_eq!((progress.verified, progress.durable), (WANTED, WANTED));
        let record = store.take_record();
        let times = writes(&record, path)
            + record.iter().filter(|write| *write == &format!("complete models/tiny/{path}")).count();
        assert_eq!(times, 2, "{path}: {record:?}");
        assert_eq!(record.last(), Some(&format!("put {HEAD}")));
    }
}

#[tokio::test]
async fn a_bucket_that_keeps_other_bytes_gets_no_head() {
    for (path, at) in [("model.bin", 3), ("small.bin", 3), ("weighbridge/chunks.layer", 7)] {
        let (store, model) = (Odd::default(), model());
        *lock(&store.spoils) = Some((path, at, 2));
        let error = push_into(&store, &model).await.ended.unwrap_err();
        let PushError::Refused { code: Some(2102), message } = &error else { panic!("{error:?}") };
        let words = "gives other bytes than it was sent, also after it was sent again: chunk ";
        let chunk = message.strip_prefix(words).and_then(|rest| rest.strip_suffix(&format!(" of {path}")));
        assert!(chunk.is_some_and(|chunk| chunk.parse::<u64>().unwrap() < 7), "{message}");
        assert_eq!(store.content(HEAD).await, None);
    }
}

#[tokio::test]
async fn what_stands_is_not_sent_again() {
    let (store, model) = (Odd::default(), model());
    push_into(&store, &model).await.ended.unwrap();
    store.take_record();
    let Pushed { ended, progress, .. } = push_into(&store, &model).await;
    ended.unwrap();
    assert_eq!(progress, PushProgress { sent: 0, verified: WANTED, durable: WANTED, wanted: WANTED });
    let record = store.take_record();
    assert_eq!(record.len(), LISTS.len() + 1, "{record:?}");

    // Of another size, without a root, or gone.
    store.set("models/tiny/small.bin", &bytes(19_999, 1)).await;
    store.set("models/tiny/model.bin", &bytes(LARGE, 2)).await;
    push_into(&store, &model).await.ended.unwrap();
    assert_there(&store, &model).await;
    let record = store.take_record();
    assert_eq!(writes(&record, "small.bin"), 1);
    assert!(record.contains(&"complete models/tiny/model.bin".to_owned()), "{record:?}");
    assert_eq!(record.len(), LISTS.len() + 1 + 1 + 4 + 2, "{record:?}");
}

#[tokio::test]
async fn what_stands_is_read_back_too() {
    let (store, model) = (Odd::default(), model());
    *lock(&store.spoils) = Some(("small.bin", 0, 2));
    push_into(&store, &model).await.ended.unwrap_err();
    // It has the size and the root, and one other byte.
    store.take_record();
    push_into(&store, &model).await.ended.unwrap();
    assert_eq!(writes(&store.take_record(), "small.bin"), 1);
    assert_there(&store, &model).await;
}

#[tokio::test]
async fn a_push_that_was_denied_in_the_middle_goes_on_from_there() {
    let (store, model) = (Odd::default(), model());
    store.denies_from.store(3, SeqCst);
    let began = std::time::Instant::now();
    let error = push_into(&store, &model).await.ended.unwrap_err();
    assert!(
        matches!(&error, PushError::Refused { code: None, message } if message == "denies it"),
        "{error:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(2), "it ends at once");
    let before = store.take_record();
    assert_eq!(before.len(), 2, "{before:?}");
    store.denies_from.store(0, SeqCst);
    let Pushed { ended, progress, .. } = push_into(&store, &model).await;
    ended.unwrap();
    let after = store.take_record();
    assert!(before.iter().all(|write| !after.contains(write)), "{before:?} {after:?}");
    assert_eq!(progress.verified, WANTED);
    assert_there(&store, &model).await;
}

#[tokio::test]
async fn a_store_without_metadata_gets_everything_again() {
    let (store, model) = (Odd::default(), model());
    store.takes_no_metadata.store(true, SeqCst);
    for _ in 0..2 {
        let Pushed { ended, progress, .. } = push_into(&store, &model).await;
        ended.unwrap();
        assert_eq!(progress.sent, WANTED + 612);
        assert_eq!(store.take_record().len(), SMALL.len() + LISTS.len() + 1 + 4 + 2);
    }
    assert_there(&store, &model).await;
}

#[tokio::test]
async fn a_store_that_fails_is_tried_again_and_keeps_its_parts() {
    // During the small files; between the parts; at the end of an upload; at the head.
    for after in [2, SMALL.len() + 3, SMALL.len() + 5, SMALL.len() + 6 + LISTS.len()] {
        let (store, model) = (Odd::default(), model());
        store.fails_after.store(after, SeqCst);
        store.fails.store(3, SeqCst);
        push_into(&store, &model).await.ended.unwrap();
        assert_there(&store, &model).await;
        let mut record = store.take_record();
        assert_eq!(record.last(), Some(&format!("put {HEAD}")));
        let all = record.len();
        record.sort();
        record.dedup();
        assert_eq!(record.len(), all, "nothing that was taken is sent again, after {after}: {record:?}");
        assert_eq!(all, SMALL.len() + LISTS.len() + 1 + 4 + 2);
    }
}

#[tokio::test]
async fn a_store_that_goes_on_failing_is_given_up() {
    let (store, model) = (Odd::default(), model());
    store.fails_after.store(SMALL.len() + 2, SeqCst);
    store.fails.store(usize::MAX, SeqCst);
    let Pushed { ended, waited, .. } =
        push_with(&store, &model, Duration::from_secs(3), &Stop::default()).await;
    let error = ended.unwrap_err();
    assert!(matches!(&error, PushError::Unreachable { why } if why == "is tired"), "{error:?}");
    assert!(waited.iter().any(|reason| reason.starts_with("Again(\"is tired\"")), "{waited:?}");
    let record = store.take_record();
    assert_eq!(record.last().map(String::as_str), Some("abort models/tiny/model.bin"), "{record:?}");
    assert_eq!(store.content(HEAD).await, None);
}

#[tokio::test]
async fn an_upload_that_the_store_has_forgotten_is_begun_anew() {
    let (store, model) = (Odd::default(), model());
    store.forgets.store(true, SeqCst);
    push_into(&store, &model).await.ended.unwrap();
    assert_there(&store, &model).await;
    let record = store.take_record();
    let count = |what: &str| record.iter().filter(|write| write.starts_with(what)).count();
    assert_eq!((count("begin "), count("complete "), count("abort ")), (2, 1, 1), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_stopped_gives_its_parts_up() {
    let (store, model, stop) = (Odd::default(), model(), Stop::default());
    store.hangs.store(true, SeqCst);
    let pushing = push_with(&store, &model, Duration::from_secs(60), &stop);
    let asking = async {
        while !store.has_taken_a_part() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.ask();
    };
    let (pushed, ()) = tokio::join!(pushing, asking);
    assert!(matches!(pushed.ended, Err(PushError::Stopped)));
    assert_eq!(store.take_record().last().map(String::as_str), Some("abort models/tiny/model.bin"));
}

#[tokio::test]
async fn an_older_head_stands_until_the_new_one_does() {
    let (store, old, new) = (Odd::default(), model(), model_of(2));
    push_into(&store, &old).await.ended.unwrap();
    let head = |model: &Folder| std::fs::read(model.at("weighbridge/head.note")).ok();
    *lock(&store.spoils) = Some(("model.bin", 0, 2));
    push_into(&store, &new).await.ended.unwrap_err();
    assert_eq!(store.content(HEAD).await, head(&old));
    push_into(&store, &new).await.ended.unwrap();
    assert_eq!(store.content(HEAD).await, head(&new));
    assert_there(&store, &new).await;
    assert!(!store.take_record().contains(&"delete".to_owned()));
}

/// An S3 that is busy at first, and then denies, with a secret in its words.
#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_store_are_told_without_secrets() {
    const TEST: &str = "the_words_of_a_store_are_told_without_secrets";
    let model = model();
    if std::env::var_os(AT).is_some() {
        let target =
            PushTargets::new(Share::unlimited()).bucket("s3://models/tiny?secret=SECRET#SECRET").unwrap();
        assert_eq!(target.name(), "s3://models/tiny");
        let told = std::sync::Mutex::new(String::new());
        let tell = |event| {
            if let PushEvent::Failed(_, error) = &event {
                println!("told: {error}");
            }
            *lock(&told) += &format!("{event:?}");
        };
        let targets = vec![target];
        let patience = Duration::from_secs(20);
        let options = PushOptions { model: model.path().to_owned(), targets, patience };
        assert_eq!(push(options, &tell, &Stop::default()).await.unwrap(), 0);
        assert!(!lock(&told).contains("SECRET"), "{told:?}");
        return;
    }
    let server = Server::start(|request, before| match request.split(' ').next() {
        Some("HEAD") => reply(&["404 Not Found"], b""),
        _ if before < 3 => {
            reply(&["503 Slow Down", "Retry-After: 1", "Content-Length: 0"], b"")
        }
        _ => {
            let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature \u{1b}differs.\nSECRET</Message>\
                        <CanonicalRequest>x-amz-security-token:SECRET</CanonicalRequest></Error>";
            reply(&["403 Forbidden", &format!("Content-Length: {}", body.len())], body.as_bytes())
        }
    })
    .await;
    let environment = [
        (AT, "1".to_owned()),
        ("AWS_ENDPOINT", server.url("")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "KEYID".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "SECRET".to_owned()),
    ];
    let said = in_child(module_path!(), TEST, &environment).await.unwrap();
    let words = "told: answers 403 Forbidden: SignatureDoesNotMatch: The signature \\u{1b}differs.";
    assert!(said.contains(words), "{said}");
    let requests = server.requests();
    let first = requests.iter().find(|request| request.starts_with("put ")).unwrap();
    assert!(first.contains("\r\nx-amz-meta-weighbridge-root: "), "{first}");
    assert!(first.contains("\r\nx-amz-content-sha256: ") && !first.contains("secret"), "{first}");
}

/// Without keys, a push ends at once, whether the machine has no service that gives some or is refused them there.
#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_a_push_ends_at_once() {
    const TEST: &str = "without_credentials_a_push_ends_at_once";
    if let Some(at) = std::env::var_os(AT) {
        let (model, began) = (model(), std::time::Instant::now());
        let targets = vec![PushTargets::new(Share::unlimited()).bucket("s3://models/tiny").unwrap()];
        let tell = |event| {
            if let PushEvent::Failed(_, error) = &event {
                println!("told {}: {error} {:?}", at.to_string_lossy(), error.error_code());
            }
        };
        let patience = Duration::from_secs(60);
        let options = PushOptions { model: model.path().to_owned(), targets, patience };
        assert_eq!(push(options, &tell, &Stop::default()).await.unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(20));
        return;
    }
    let bucket = Server::start(|_, _| reply(&["200 OK", "Content-Length: 0"], b"")).await;
    let refusing = Server::start(|_, _| reply(&["404 Not Found", "Content-Length: 0"], b"")).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (at, machine, words) in [
        ("dead", format!("http://{dead}"), "and the machine's metadata service does not answer"),
        ("refusing", refusing.url(""), "and the machine's metadata service gives none: "),
    ] {
        let environment = [
            (AT, at.to_owned()),
            ("AWS_ENDPOINT", bucket.url("")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_METADATA_ENDPOINT", machine),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ];
        let said = in_child(module_path!(), TEST, &environment).await.unwrap();
        let none = "has no credentials: not in the environment, not in profile `default`, ";
        assert!(said.contains(&format!("told {at}: {none}{words}")), "{said}");
        assert!(said.contains("PUSH_REFUSED") || said.contains("9301"), "{said}");
    }
    assert!(bucket.requests().is_empty());
}

const AT: &str = "WEIGHBRIDGE_TEST_AT";
