//! Models that are brought to a server, by requests as bytes (`spec/push.md`).

use std::{
    fs,
    io::{BufReader, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weighbridge_serve::{Accept, Clients, Judge, Limits, NotTaken, Rules};
use weighbridge_testkit::{Folder, Key, Signed, bytes, safetensors};
use weighbridge_verify::{
    manifest::{Expectation, MAX_NOTE, Note, Receipt, SignedHead, SignedReceipt, TrustPolicy, VerifiedHead},
    tree::{ChunkSize, ErrorCode, HeadId, head_id},
};

use crate::kit::{Answer, BIG, Served, files, model};

/// The SHA-256 of `test` and of `other`.
const TOKENS: &str = "\
ci     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 push test/* 10MiB
ci     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 read test/*
other  d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa push test/*,else/* 10MiB
";

const CI: &str = "Authorization: Bearer test\r\n";
const OTHER: &str = "Authorization: Bearer other\r\n";
const NONCE: &str = "7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c";

/// Takes the heads of these ids, for as long as it takes any.
struct Ids(Vec<HeadId>, Arc<AtomicBool>);

impl Judge for Ids {
    fn judge(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken> {
        let refused = |code, message: &str| NotTaken { code, message: message.to_owned() };
        let parsed = Note::parse(note).map_err(|_| refused(ErrorCode::NOTE_TOO_LONG, "no note"))?;
        let id = head_id(parsed.text().as_bytes());
        let signed = SignedHead::parse(note).map_err(|_| refused(ErrorCode::NOTE_TOO_LONG, "no note"))?;
        match self.0.contains(&id) {
            true => Ok(signed.verify(&TrustPolicy::pinned(id), &Expectation::any(), None).unwrap()),
            false => Err(refused(ErrorCode::BAD_SIGNATURE, "nobody has signed it")),
        }
    }

    fn accept(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken> {
        match self.1.load(SeqCst) {
            true => self.judge(note),
            false => Err(NotTaken { code: ErrorCode::ROLLBACK, message: "there is a newer one".to_owned() }),
        }
    }
}

/// A server that takes models into a folder.
struct Receiver {
    served: Served,
    folder: PathBuf,
    takes: Arc<AtomicBool>,
}

impl Receiver {
    fn new(folder: &Folder, signed: &[&Signed], tokens: Option<&str>, limits: Limits) -> Self {
        let takes = Arc::new(AtomicBool::new(true));
        let ids = signed.iter().map(|signed| signed.head.id()).collect();
        let signer = Key::new("node", 1);
        let sign = move |receipt: &Receipt| {
            let text = receipt.to_text().ok()?;
            Some(format!("{text}\n{}\n", signer.line(&text)))
        };
        let judge = Ids(ids, Arc::clone(&takes));
        let node = Key::new("node", 1).vkey();
        let accept = Accept::new(folder.path().to_owned(), node, judge, sign).unwrap();
        let clients = tokens.map(|tokens| Clients::parse(tokens).unwrap());
        let rules = Rules { clients, accept: Some(Arc::new(accept)), ..Rules::default() };
        let served = Served::by(vec![folder.path().to_owned()], rules, limits);
        Self { served, folder: folder.path().to_owned(), takes }
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.served.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The server may have answered, and be done with the connection, before it has read everything.
        let _ = stream.write_all(body);
        Answer::read(&mut BufReader::new(stream), true)
    }

    fn push<'a>(&'a self, signed: &'a Signed, auth: &'a str) -> Push<'a> {
        Push { receiver: self, signed, auth, base: format!("/api/push/v1/test/model/{}", signed.head.id()) }
    }
}

/// An upload of one client.
struct Push<'a> {
    receiver: &'a Receiver,
    signed: &'a Signed,
    auth: &'a str,
    base: String,
}

impl Push<'_> {
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let headers = format!("{}{headers}", self.auth);
        self.receiver.ask(method, &format!("{}{path}", self.base), &headers, body)
    }

    fn metadata(&self, name: &str) -> Vec<u8> {
        fs::read(self.signed.folder.at(name)).unwrap()
    }

    fn offer(&self) -> Answer {
        self.ask("POST", "", "", &self.metadata("head.note"))
    }

    /// Offers it, and brings lists and layers.
    fn begin(&self) {
        assert_eq!(self.offer().json()["needs"], "lists");
        for name in ["files.jsonl", "tensors.jsonl"] {
            let put = self.ask("PUT", &format!("/weighbridge/{name}"), "", &self.metadata(name));
            assert_eq!(put.status, 204, "{name}: {}", put.text());
        }
        assert_eq!(self.state()["needs"], "layers");
        let put = self.ask("PUT", "/weighbridge/chunks.layer", "", &self.metadata("chunks.layer"));
        assert_eq!(put.status, 204, "{}", put.text());
        self.looked();
    }

    /// Waits until the server knows what it has.
    fn looked(&self) {
        self.until(|state| state["looking"] == false);
    }

    fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let state = self.state();
            if is(&state) {
                return state;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{state}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn state(&self) -> Value {
        self.ask("GET", "", "", b"").json()
    }

    fn missing(&self) -> Value {
        self.ask("GET", "/missing", "", b"").json()
    }

    /// The bytes that are missing, in all.
    fn missing_bytes(&self) -> u64 {
        let missing = self.missing();
        let ranges = missing["files"].as_array().into_iter().flatten();
        let ranges = ranges.flat_map(|file| file["bytes"].as_array().unwrap());
        let number = |text: &str| text.parse::<u64>().unwrap();
        ranges
            .map(|range| {
                let (first, last) = range.as_str().unwrap().split_once('-').unwrap();
                number(last) - number(first) + 1
            })
            .sum()
    }

    fn put(&self, path: &str, range: Option<(usize, usize)>, all: &[u8]) -> Answer {
        let (headers, body) = match range {
            None => (String::new(), all),
            Some((first, end)) => {
                let range = format!("Content-Range: bytes {first}-{}/{}\r\n", end - 1, all.len());
                (range, &all[first..end])
            }
        };
        self.ask("PUT", &format!("/files/{path}"), &headers, body)
    }

    fn put_all(&self, files: &[(&str, Vec<u8>)]) {
        for (path, bytes) in files {
            let path: String = path.replace(' ', "%20").replace('\u{e4}', "%C3%A4");
            let put = self.put(&path, None, bytes);
            assert_eq!(put.status, 204, "{path}: {}", put.text());
        }
        self.until(|state| state["needs"] == "publish");
    }

    fn publish(&self) -> Answer {
        self.ask("POST", &format!("/publish?nonce={NONCE}"), "", b"")
    }
}

#[test]
fn a_model_that_was_brought_is_served_at_once_and_the_receipt_is_of_it() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
    assert_eq!(receiver.served.get("/readyz").status, 200, "a server that takes models may have none yet");
    let push = receiver.push(&signed, CI);
    push.begin();
    let wanted: usize = files().iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(push.missing_bytes(), u64::try_from(wanted).unwrap());
    assert_eq!(push.publish().status, 409, "nothing has come");
    push.put_all(&files());
    assert_eq!(push.missing(), json!({"more": false}));
    let published = push.publish();
    assert_eq!(published.status, 200, "{}", published.text());
    let claim = SignedReceipt::parse(&published.body).unwrap().check().unwrap();
    claim.receipt().check_is_of(&signed.head).unwrap();
    assert_eq!(claim.receipt().node, Key::new("node", 1).vkey());
    assert_eq!(claim.receipt().nonce.unwrap().to_string(), NONCE);
    let read = receiver.served.get_with("/test/model/config.json", CI.trim_end());
    assert_eq!(read.text(), "{}\n");
    for (path, bytes) in files() {
        assert!(fs::read(receiver.folder.join("test/model").join(path)).unwrap() == bytes, "{path}");
    }
    assert!(
        !receiver.folder.join("test/model/weighbridge/uploads").exists(),
        "nothing is left of the upload"
    );
    assert_eq!(push.state()["needs"], "nothing");
    let again = push.publish();
    assert_eq!((again.status, push.offer().json()["needs"].clone()), (200, "nothing".into()));
    // To another client the release that stands is none of its own: it says nothing of it.
    let other = receiver.push(&signed, OTHER);
    assert_eq!(other.ask("GET", "", "", b"").status, 404);
    assert_eq!(other.publish().status, 404);
    // Nor does it find out by what it need not bring.
    other.offer();
    for name in ["files.jsonl", "tensors.jsonl"] {
        other.ask("PUT", &format!("/weighbridge/{name}"), "", &other.metadata(name));
    }
    assert_eq!(other.state()["needs"], "layers");
}

/// A server is killed while the names of a release are given: the next one ends that by itself.
#[test]
fn a_publication_that_was_begun_is_ended_when_the_server_starts() {
    let (_source, signed) = model();
    for names_given in [0, 1, 3, 9] {
        let folder = Folder::new();
        let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
        let push = receiver.push(&signed, CI);
        push.begin();
        push.put_all(&files());
        drop(receiver);
        let place = folder.at("test/model");
        let area = place.join(format!("weighbridge/uploads/ci/{}", signed.head.id()));
        fs::write(area.join("naming"), "").unwrap();
        if names_given > 0 {
            let root = signed.files.find("model.bin").unwrap().1.root;
            fs::rename(area.join(root.to_string()), place.join("model.bin")).unwrap();
        }
        if names_given > 1 {
            for name in ["files.jsonl", "chunks.layer"] {
                let staged = area.join(signed.head.id().to_string()).join(name);
                fs::rename(staged, place.join("weighbridge").join(name)).unwrap();
            }
        }
        if names_given > 3 {
            // All of them, and the head: what is left is to say who has brought it.
            for (path, bytes) in files() {
                let to = place.join(path);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(to, bytes).unwrap();
            }
            let staged = area.join(signed.head.id().to_string());
            for name in ["tensors.jsonl", "head.note"] {
                fs::rename(staged.join(name), place.join("weighbridge").join(name)).unwrap();
            }
            fs::remove_dir(staged).unwrap();
            for (_, bytes) in files() {
                let root = weighbridge_verify::tree::FileRoot::of(&bytes).to_string();
                let _ = fs::remove_file(area.join(root));
            }
        }
        let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
        let began = Instant::now();
        while receiver.served.get_with("/test/model/config.json", CI.trim_end()).status != 200 {
            assert!(began.elapsed() < Duration::from_secs(20), "{names_given}");
            std::thread::sleep(Duration::from_millis(20));
        }
        while !place.join("weighbridge/pushed").exists() || place.join("weighbridge/uploads").exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "{names_given}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let push = receiver.push(&signed, CI);
        assert_eq!(push.state()["needs"], "nothing");
        assert_eq!(push.publish().status, 200);
        for (path, bytes) in files() {
            assert!(fs::read(place.join(path)).unwrap() == bytes, "{path}");
        }
        assert!(!place.join("weighbridge/uploads").exists());
    }
}

/// What is in the place of a model, and nobody has pushed, stays.
#[test]
fn files_and_models_that_nobody_pushed_stay() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], None, Limits::default());
    folder.write("test/model/notes.txt", b"mine");
    let push = receiver.push(&signed, "");
    push.begin();
    push.put_all(&files());
    let refused = push.publish();
    assert_eq!((refused.status, refused.header("weighbridge-code")), (409, "9206"), "{}", refused.text());
    assert_eq!(fs::read(folder.at("test/model/notes.txt")).unwrap(), b"mine");
    assert!(!folder.at("test/model/config.json").exists());
    fs::remove_file(folder.at("test/model/notes.txt")).unwrap();
    assert_eq!(push.publish().status, 200, "it need not be brought again");

    // A folder that has the name of another model, as on a file system that takes two names for one.
    let other = Folder::new();
    let receiver = Receiver::new(&other, &[&signed], None, Limits::default());
    let note = fs::read(signed.folder.at("head.note")).unwrap();
    let note = String::from_utf8(note).unwrap().replace("name test/model", "name test/Model");
    other.write("test/model/weighbridge/head.note", note.as_bytes());
    let refused = receiver.push(&signed, "").offer();
    assert_eq!(refused.status, 409, "{}", refused.text());
}

#[test]
fn an_upload_that_is_given_up_ends_requests_that_are_under_way() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], None, Limits::default());
    let push = receiver.push(&signed, "");
    push.begin();
    let mut stream = receiver.served.connect();
    let head = format!(
        "PUT {}/files/model.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BIG}\r\n\r\n",
        push.base
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes(BIG, 1)[..100_000]).unwrap();
    push.until(|state| state["verified"].as_u64() > Some(0));
    assert_eq!(push.ask("DELETE", "", "", b"").status, 204);
    assert_eq!(Answer::read(&mut BufReader::new(stream), true).status, 404);
    assert!(!receiver.folder.join("test/model/weighbridge/uploads").exists());
    assert_eq!(push.ask("GET", "", "", b"").status, 404);
}

#[test]
fn chunks_come_in_any_order_on_any_connection_and_twice() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], None, Limits::default());
    let push = receiver.push(&signed, "");
    push.begin();
    let all = bytes(BIG, 1);
    let unit = 16 << 10;
    let ends: Vec<(usize, usize)> =
        (0..BIG).step_by(7 * unit).map(|at| (at, BIG.min(at + 7 * unit))).collect();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (push, all, ends) = (&push, &all, &ends);
            scope.spawn(move || {
                for range in ends.iter().rev().skip(part).step_by(4) {
                    assert_eq!(push.put("model.bin", Some(*range), all).status, 204);
                }
            });
        }
    });
    let state = push.until(|state| state["durable"] == BIG);
    assert_eq!((&state["verified"], &state["received"]), (&json!(BIG), &json!(BIG)));
    assert_eq!(push.put("model.bin", Some(ends[1]), &all).status, 204);
    let state = push.state();
    assert_eq!((&state["verified"], &state["received"]), (&json!(BIG), &json!(BIG + 7 * unit)));
    push.put_all(&files());
    assert_eq!(push.publish().status, 200);
}

/// Each request that is wrong gets its status, and changes nothing.
#[test]
fn each_wrong_request_is_refused_and_what_was_good_stays() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], None, Limits::default());
    let push = receiver.push(&signed, "");
    let refused = |method: &str, path: &str, headers: &str, body: &[u8], status: u16, code: &str| {
        let answer = push.ask(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path} {headers}: {}", answer.text());
        let said = answer.headers.get("weighbridge-code").map_or("", String::as_str);
        assert_eq!(said, code, "{method} {path} {headers}: {}", answer.text());
    };
    let (list, layers) = (push.metadata("files.jsonl"), push.metadata("chunks.layer"));
    let all = bytes(BIG, 1);
    let unit = 16 << 10;

    // Before the offer, and offers of something else.
    for (method, path) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/missing"),
        ("PUT", "/weighbridge/files.jsonl"),
        ("PUT", "/files/config.json"),
    ] {
        refused(method, path, "", b"", 404, "");
    }
    refused("POST", &format!("/publish?nonce={NONCE}"), "", b"", 404, "");
    refused("POST", "", "", b"nonsense", 400, "");
    refused("POST", "", "", &vec![b'x'; MAX_NOTE + 1], 413, "");
    let mut forged = String::from_utf8(push.metadata("head.note")).unwrap();
    forged = forged.replace("revision 1", "revision 2");
    refused("POST", "", "", forged.as_bytes(), 400, "");
    {
        let nobody = Folder::new();
        let strict = Receiver::new(&nobody, &[], None, Limits::default());
        let answer = strict.push(&signed, "").offer();
        assert_eq!((answer.status, answer.header("weighbridge-code")), (403, "3101"));
        assert!(fs::read_dir(nobody.path()).unwrap().next().is_none(), "nothing of it is on the disk");
    }
    let elsewhere = format!("/api/push/v1/test/other/{}", signed.head.id());
    assert_eq!(receiver.ask("POST", &elsewhere, "", &push.metadata("head.note")).status, 400);
    assert!(fs::read_dir(&receiver.folder).unwrap().next().is_none(), "nothing of it is on the disk");
    assert_eq!(push.offer().status, 200);
    // The upload is one of its name.
    for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/missing")] {
        let answer = receiver.ask(method, &format!("{elsewhere}{path}"), "", b"");
        assert_eq!(answer.status, 404, "{method} {path}");
    }

    // Lists.
    refused("PUT", "/weighbridge/tensors.jsonl", "", &push.metadata("tensors.jsonl"), 422, "1308");
    refused("PUT", "/weighbridge/chunks.layer", "", &layers, 409, "");
    refused("PUT", "/files/config.json", "", b"{}\n", 409, "");
    refused("PUT", "/weighbridge/files.jsonl", "", &list[1..], 400, "");
    let mut other = list.clone();
    other[20] ^= 1;
    refused("PUT", "/weighbridge/files.jsonl", "", &other, 422, "1308");
    for path in ["/weighbridge/head.note", "/weighbridge/lock", "/weighbridge/../x", "/else", "/files/"] {
        // Such a path names nothing.
        refused("PUT", path, "", b"x", 405, "");
    }
    for name in ["files.jsonl", "tensors.jsonl"] {
        assert_eq!(push.ask("PUT", &format!("/weighbridge/{name}"), "", &push.metadata(name)).status, 204);
    }

    // Layers: the one of model.bin is first, then that of the file in the folder.
    let first = BIG.div_ceil(unit) * 32;
    assert_eq!(push.missing(), json!({"layers": [format!("0-{}", layers.len() - 1)], "more": false}));
    let range =
        |first: usize, end: usize, of: usize| format!("Content-Range: bytes {first}-{}/{of}\r\n", end - 1);
    refused("PUT", "/weighbridge/chunks.layer", "", &layers[1..], 400, "");
    refused("PUT", "/weighbridge/chunks.layer", &range(32, first, layers.len()), &layers[32..first], 400, "");
    refused("PUT", "/weighbridge/chunks.layer", &range(0, 32, layers.len()), &layers[..32], 400, "");
    let mut other = layers.clone();
    other[5] ^= 1;
    refused("PUT", "/weighbridge/chunks.layer", "", &other, 422, "2202");
    refused("PUT", "/files/model.bin", "", &all, 409, "");
    assert_eq!(
        push.ask("PUT", "/weighbridge/chunks.layer", &range(0, first, layers.len()), &layers[..first]).status,
        204
    );
    assert_eq!(push.missing(), json!({"layers": [format!("{first}-{}", layers.len() - 1)], "more": false}));
    assert_eq!(
        push.ask(
            "PUT",
            "/weighbridge/chunks.layer",
            &range(first, layers.len(), layers.len()),
            &layers[first..]
        )
        .status,
        204
    );
    push.looked();

    // Chunks.
    let at = |first: usize, end: usize| range(first, end, BIG);
    let chunk = |nth: usize| &all[nth * unit..(nth + 1) * unit];
    let mut wrong = chunk(0).to_vec();
    wrong[5] ^= 1;
    refused("PUT", "/files/model.bin", &at(0, unit), &wrong, 422, "2102");
    refused("PUT", "/files/model.bin", &at(0, unit), chunk(1), 422, "2102");
    refused("PUT", "/files/config.json", "", b"{]\n", 422, "2102");
    for headers in [
        at(1, unit + 1),
        at(0, unit - 1),
        at(0, 2 * unit),
        range(0, unit, BIG + 1),
        "Content-Range: bytes */16384\r\n".to_owned(),
        "Content-Range: items 0-16383/3158073\r\n".to_owned(),
        "Content-Range: bytes 16383-0/3158073\r\n".to_owned(),
        "Content-Range: bytes 0-+16383/3158073\r\n".to_owned(),
        format!("Content-Range: bytes 0-{BIG}/{BIG}\r\n"),
        format!("Content-Range: bytes {BIG}-{BIG}/{BIG}\r\n"),
        format!("Content-Range: bytes 0-4294967295/{BIG}\r\n"),
        format!("Content-Range: bytes 9223372036854775808-9223372036854792191/{BIG}\r\n"),
        format!("Content-Range: bytes 0-18446744073709551615/{BIG}\r\n"),
        format!("Content-Range: bytes 18446744073709551616-18446744073709567999/{BIG}\r\n"),
        format!("Content-Range: bytes 0-16383/0{BIG}\r\n"),
        format!("{}{}", at(0, unit), at(0, unit)),
        String::new(),
    ] {
        refused("PUT", "/files/model.bin", &headers, chunk(0), 400, "");
    }
    let last = BIG / unit * unit;
    refused("PUT", "/files/model.bin", &at(last, last + unit), chunk(0), 400, "");
    for (path, status) in [
        ("none", 404),
        ("Config.json", 404),
        ("weighbridge/head.note", 404),
        ("model.bin/", 405),
        ("../model.bin", 405),
        ("%2e%2e/x", 405),
        ("a%00b", 405),
    ] {
        refused("PUT", &format!("/files/{path}"), "", b"x", status, "");
    }
    for (method, path, allowed) in [
        ("PUT", "", "DELETE, GET, HEAD, POST"),
        ("POST", "/missing", "GET, HEAD"),
        ("GET", "/publish", "POST"),
        ("GET", "/files/model.bin", "PUT"),
        ("DELETE", "/weighbridge/files.jsonl", "PUT"),
    ] {
        let answer = push.ask(method, path, "", b"");
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
    }
    for query in [
        "",
        "?nonce=",
        "?nonce=7c",
        &format!("?nonce={}", NONCE.to_uppercase()),
        &format!("?nonce={NONCE}&x=y"),
    ] {
        refused("POST", &format!("/publish{query}"), "", b"", 400, "");
    }
    refused("POST", &format!("/publish?nonce={NONCE}"), "", b"x", 413, "");
    let state = push.state();
    assert_eq!((&state["verified"], &state["durable"]), (&json!(0), &json!(0)));
    assert_eq!(receiver.served.figure("weighbridge_chunks_refused_total"), 3);

    // The good chunks before a wrong one count.
    let mut body = all[..4 * unit].to_vec();
    body[2 * unit] ^= 1;
    refused("PUT", "/files/model.bin", &at(0, 4 * unit), &body, 422, "2102");
    let missing = push.missing();
    let of_model =
        missing["files"].as_array().unwrap().iter().find(|file| file["path"] == "model.bin").unwrap();
    let verified = push.state()["verified"].as_u64().unwrap();
    // Chunks behind the wrong one may have come with it.
    assert!([2 * 16384, 3 * 16384].contains(&verified), "{verified}");
    assert!(of_model["bytes"][0].as_str().unwrap().starts_with("32768-"), "{of_model}");
    push.put_all(&files());
    assert_eq!(push.publish().status, 200);
}

#[test]
fn a_client_without_the_right_token_costs_no_disk_and_finds_out_nothing() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
    let held = receiver.push(&signed, CI);
    held.begin();
    held.put_all(&files());
    assert_eq!(held.publish().status, 200);
    let lookups = receiver.served.get_with("/metrics", CI.trim_end()).text();
    let shape = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("date");
        (answer.status, headers, answer.body.clone())
    };
    let mut of_not_held = receiver.push(&signed, "");
    of_not_held.base = format!("/api/push/v1/test/none/{}", "ab".repeat(32));
    let requests: [(&str, &str); 7] = [
        ("GET", ""),
        ("POST", ""),
        ("DELETE", ""),
        ("GET", "/missing"),
        ("PUT", "/weighbridge/files.jsonl"),
        ("PUT", "/files/config.json"),
        ("POST", "/publish?nonce=00"),
    ];
    let unknown = "Authorization: Bearer wrong\r\n";
    // `ci` may push models of `test` alone; a token that reads may not push.
    for (auth, name, status) in [("", "test", 401), (unknown, "test", 401), (CI, "else", 403)] {
        for (method, path) in requests {
            let ask = |base: &str, body: &[u8]| {
                receiver.ask(
                    method,
                    &format!("{}{path}", base.replace("/test/", &format!("/{name}/"))),
                    auth,
                    body,
                )
            };
            let first = shape(&ask(&held.base, b""));
            assert_eq!(first.0, status, "{method} {path}");
            assert_eq!(shape(&ask(&of_not_held.base, b"")), first, "{method} {path}");
            // With a body that nobody reads the answer comes as well.
            let answer = ask(&of_not_held.base, &vec![b'x'; 3 << 20]);
            assert_eq!((answer.status, answer.header("connection")), (status, "close"));
        }
    }
    let count = |text: &str| {
        text.lines().find(|line| line.starts_with("weighbridge_lookups_total ")).unwrap().to_owned()
    };
    let after = receiver.served.get_with("/metrics", CI.trim_end()).text();
    assert_eq!(count(&after), count(&lookups), "nothing was looked up");
    let names: Vec<_> =
        fs::read_dir(&receiver.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["test"]);
}

#[test]
fn no_client_has_more_than_its_quota_and_what_is_given_up_is_free_again() {
    let big = bytes(6 << 20, 9);
    let (_one, first) = Folder::weighed(&[("a.bin", big)], ChunkSize::MIN);
    let (_two, second) = Folder::weighed(&[("a.bin", bytes(5 << 20, 8))], ChunkSize::MIN);
    let (_three, huge) = Folder::weighed(&[("a.bin", bytes(11 << 20, 7))], ChunkSize::MIN);
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&first, &second, &huge], Some(TOKENS), Limits::default());
    let too_large = receiver.push(&huge, CI).offer();
    assert_eq!(too_large.status, 413, "{}", too_large.text());
    assert!(fs::read_dir(&receiver.folder).unwrap().next().is_none(), "nothing of it is on the disk");
    let (one, two) = (receiver.push(&first, CI), receiver.push(&second, CI));
    assert_eq!(one.offer().status, 200);
    assert_eq!(one.offer().status, 200, "the same again takes no more");
    assert_eq!(two.offer().status, 413, "both are more than the quota");
    assert_eq!(receiver.push(&second, OTHER).offer().status, 200, "another client has its own");
    assert_eq!(one.ask("DELETE", "", "", b"").status, 204);
    assert_eq!(one.ask("DELETE", "", "", b"").status, 404);
    assert_eq!(two.offer().status, 200);
    two.ask("DELETE", "", "", b"");
    one.begin();
    one.put_all(&[("a.bin", bytes(6 << 20, 9))]);
    assert_eq!(one.publish().status, 200);
    assert_eq!(two.offer().status, 413, "what stands counts");
    fs::remove_dir_all(receiver.folder.join("test/model")).unwrap();
    assert_eq!(two.offer().status, 200, "what was removed does not");
}

#[test]
fn the_uploads_of_two_clients_are_apart() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
    let (one, two) = (receiver.push(&signed, CI), receiver.push(&signed, OTHER));
    one.begin();
    one.put_all(&files());
    two.begin();
    let wanted: usize = files().iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(two.missing_bytes(), u64::try_from(wanted).unwrap(), "nobody learns what others have brought");
    assert_eq!(one.ask("DELETE", "", "", b"").status, 204);
    two.put_all(&files());
    assert_eq!(two.publish().status, 200);
}

#[test]
fn a_server_that_was_started_anew_has_what_came_and_asks_for_what_is_not_good() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let all = bytes(BIG, 1);
    let (unit, half) = (16 << 10, 64 * (16 << 10));
    {
        let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
        let push = receiver.push(&signed, CI);
        push.begin();
        assert_eq!(push.put("model.bin", Some((0, half)), &all).status, 204);
        // A request that breaks off: what came before counts, but for the chunk in which it ended.
        let mut stream = receiver.served.connect();
        let head = format!(
            "PUT {}/files/model.bin HTTP/1.1\r\nHost: localhost\r\n{CI}Content-Length: {}\r\nContent-Range: bytes {half}-{}/{BIG}\r\n\r\n",
            push.base,
            BIG - half,
            BIG - 1
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&all[half..half + 3 * unit + 100]).unwrap();
        drop(stream);
        push.until(|state| state["verified"] == half + 3 * unit);
    }
    let root = signed.files.find("model.bin").unwrap().1.root;
    let area = folder.at(&format!("test/model/weighbridge/uploads/ci/{}", signed.head.id()));
    let partial = area.join(root.to_string());
    let mut bytes = fs::read(&partial).unwrap();
    bytes[5 * unit] ^= 1;
    fs::write(&partial, bytes).unwrap();
    let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
    let push = receiver.push(&signed, CI);
    assert_eq!(push.put("model.bin", Some((0, half)), &all).status, 404, "the head has to be offered again");
    assert_eq!(push.offer().json()["needs"], "chunks", "lists and layers are there");
    push.looked();
    let there = push.state()["verified"].as_u64().unwrap();
    let lost =
        push.missing()["files"].as_array().unwrap().iter().find(|file| file["path"] == "model.bin").unwrap()
            ["bytes"]
            .as_array()
            .unwrap()[0]
            .clone();
    assert_eq!((there, lost), (u64::try_from(half + 2 * unit).unwrap(), json!("81920-98303")));
    push.put_all(&files());
    assert_eq!(push.publish().status, 200);
}

/// Five tensors of which the middle one has changed.
fn tuned(seed: u8) -> Vec<(&'static str, Vec<u8>)> {
    let tensors: Vec<(String, Vec<u8>)> = (0..5u8)
        .map(|n| (format!("layer.{n}"), bytes(300_000 + usize::from(n), if n == 2 { seed } else { n })))
        .collect();
    let tensors: Vec<(&str, &[u8])> =
        tensors.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    vec![
        ("model.safetensors", safetensors(&tensors)),
        ("config.json", vec![seed]),
        ("same.bin", bytes(50_000, 70)),
    ]
}

#[test]
fn a_fine_tune_brings_what_it_changed_unless_the_client_may_not_know_the_base() {
    let (_base, base) = Folder::weighed(&tuned(100), ChunkSize::MIN);
    let (_tune, tune) = Folder::weighed(&tuned(101), ChunkSize::MIN);
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&base, &tune], Some(TOKENS), Limits::default());
    let push = receiver.push(&base, CI);
    push.begin();
    push.put_all(&tuned(100));
    assert_eq!(push.publish().status, 200);

    let whole: usize = tuned(101).iter().map(|(_, bytes)| bytes.len()).sum();
    let stranger = receiver.push(&tune, OTHER);
    stranger.begin();
    assert_eq!(stranger.missing_bytes(), u64::try_from(whole).unwrap());

    let push = receiver.push(&tune, CI);
    push.begin();
    let missing = push.missing_bytes();
    // The changed tensor, the chunks at its ends, the header and the configuration.
    assert!((300_000..300_000 + 4 * 16_384).contains(&missing), "{missing}");
    for file in push.missing()["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let all = &tuned(101).into_iter().find(|(name, _)| *name == path).unwrap().1;
        for range in file["bytes"].as_array().unwrap() {
            let (first, last) = range.as_str().unwrap().split_once('-').unwrap();
            let range = (first.parse().unwrap(), last.parse::<usize>().unwrap() + 1);
            assert_eq!(push.put(path, Some(range), all).status, 204);
        }
    }
    push.until(|state| state["needs"] == "publish");
    assert_eq!(push.publish().status, 200);
    for (path, bytes) in tuned(101) {
        assert!(fs::read(receiver.folder.join("test/model").join(path)).unwrap() == bytes, "{path}");
    }
}

/// Between the offer and the publication another head may have been accepted.
#[test]
fn a_head_is_judged_again_before_its_release_takes_its_place() {
    let (_source, signed) = model();
    let folder = Folder::new();
    let receiver = Receiver::new(&folder, &[&signed], Some(TOKENS), Limits::default());
    let push = receiver.push(&signed, CI);
    push.begin();
    push.put_all(&files());
    receiver.takes.store(false, SeqCst);
    let refused = push.publish();
    assert_eq!((refused.status, refused.header("weighbridge-code")), (409, "3204"), "{}", refused.text());
    assert!(!receiver.folder.join("test/model/config.json").exists());
    assert!(!receiver.folder.join("test/model/weighbridge/head.note").exists());
    receiver.takes.store(true, SeqCst);
    assert_eq!(push.publish().status, 200);
}

/// Many senders that give a byte now and then hold no memory that an honest one needs for long.
#[test]
fn senders_that_hardly_send_do_not_keep_an_honest_one_waiting() {
    let files = [("a.bin", bytes(10 << 20, 3))];
    let (_source, signed) = Folder::weighed(&files, ChunkSize::MIN);
    let folder = Folder::new();
    // Memory for 128 chunks.
    let limits = Limits { memory: 2 << 20, connections: 400, ..Limits::default() };
    let receiver = Receiver::new(&folder, &[&signed], None, limits);
    let push = receiver.push(&signed, "");
    push.begin();
    let head = format!(
        "PUT {}/files/a.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        push.base,
        10 << 20
    );
    let mut slow: Vec<_> = (0..250)
        .map(|_| {
            let mut stream = receiver.served.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let dripping = std::thread::spawn(move || {
        while !is_over.load(SeqCst) {
            slow.iter_mut().for_each(|stream| drop(stream.write_all(b"x")));
            std::thread::sleep(Duration::from_millis(900));
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    push.put_all(&files);
    assert_eq!(push.publish().status, 200);
    let took = began.elapsed();
    over.store(true, SeqCst);
    dripping.join().unwrap();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
